/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Headers of sparse extents: "KDMV" (hosted, VMDK 5.0 specification, "Hosted
 * Sparse Extent Header") and "COWD" (ESX, "ESX Server Sparse Extents").
 *
 * Nothing of a header is used before it was checked against the limits and
 * the length of the file.
 */
#include "qemu/osdep.h"
#include "block/vmdk/format.h"
#include "qemu/cutils.h"

typedef struct QEMU_PACKED CowdHeader {
    uint32_t magic;
    uint32_t version;
    uint32_t flags;
    uint32_t capacity;
    uint32_t granularity;
    uint32_t gd_offset;
    uint32_t gd_entries;
    uint32_t next_free;
    uint8_t pad[480];
} CowdHeader;
QEMU_BUILD_BUG_ON(sizeof(CowdHeader) != 512);

typedef struct VmdkLength {
    BlockDriverState *bs;
    int64_t bytes;
} VmdkLength;

/* At the end of a file, where a footer is looked for. */
#define FOOTER_BYTES MiB

/*
 * The header has line ends of all kinds, which transfers as text change.
 * Zeroes are of writers that do not care.
 */
static bool changed_as_text(const KdmvHeader *raw)
{
    return (raw->flags & GUINT32_TO_LE(VMDK_FLAG_NEWLINE_TEST))
           && memcmp(raw->newlines, "\n \r\n", 4)
           && memcmp(raw->newlines, "\0\0\0", 4);
}

static void decode_kdmv(VmdkHeader *h, const KdmvHeader *raw)
{
    *h = (VmdkHeader) {
        .magic = VMDK_KDMV_MAGIC,
        .version = GUINT32_FROM_LE(raw->version),
        .flags = GUINT32_FROM_LE(raw->flags),
        .capacity = GUINT64_FROM_LE(raw->capacity),
        .grain_sectors = GUINT64_FROM_LE(raw->granularity),
        .desc_offset = GUINT64_FROM_LE(raw->desc_offset),
        .desc_sectors = GUINT64_FROM_LE(raw->desc_size),
        .gt_entries = GUINT32_FROM_LE(raw->num_gtes_per_gt),
        .rgd_offset = GUINT64_FROM_LE(raw->rgd_offset),
        .gd_offset = GUINT64_FROM_LE(raw->gd_offset),
        .overhead = GUINT64_FROM_LE(raw->overhead),
        .compression = GUINT16_FROM_LE(raw->compress_algorithm),
        .unclean = raw->unclean == 1,
        .as_text = changed_as_text(raw),
    };
}

static void decode_cowd(VmdkHeader *h, const CowdHeader *raw)
{
    *h = (VmdkHeader) {
        .magic = VMDK_COWD_MAGIC,
        .version = GUINT32_FROM_LE(raw->version),
        .flags = GUINT32_FROM_LE(raw->flags),
        .capacity = GUINT32_FROM_LE(raw->capacity),
        .grain_sectors = GUINT32_FROM_LE(raw->granularity),
        .gt_entries = VMDK_COWD_GTES,
        .gd_offset = GUINT32_FROM_LE(raw->gd_offset),
        .gd_entries = GUINT32_FROM_LE(raw->gd_entries),
        .overhead = 1,
    };
}

/* The words are QEMU's: downloaders read the number. */
static int file_truncated(BdrvChild *file, uint64_t bytes, Error **errp)
{
    error_setg(errp, "File truncated, expecting at least %" PRIu64 " bytes"
               " in '%s'", bytes, file->bs->filename);
    return -EINVAL;
}

/* Whether the last sector of @buf with content is that of a footer. */
static bool find_footer(const uint8_t *buf, size_t size, KdmvHeader *header)
{
    VmdkMarker marker;
    size_t end = size;

    while (end && buffer_is_zero(buf + end - 512, 512)) {
        end -= 512;
    }
    if (end < sizeof(marker) + sizeof(*header)) {
        return false;
    }
    memcpy(header, buf + end - sizeof(*header), sizeof(*header));
    memcpy(&marker, buf + end - sizeof(*header) - sizeof(marker),
           sizeof(marker));
    return GUINT32_FROM_LE(header->magic) == VMDK_KDMV_MAGIC && !marker.size
           && GUINT32_FROM_LE(marker.type) == VMDK_MARKER_FOOTER;
}

static bool differs(uint64_t footer, uint64_t header)
{
    return header && footer != header;
}

/* Both must tell the same; but some writers know it late. */
static bool check_footer(const VmdkHeader *footer, const VmdkHeader *h,
                         const char *name, Error **errp)
{
    if (footer->gd_offset == VMDK_GD_AT_END) {
        error_setg(errp, "Invalid footer in '%s': no grain directory", name);
        return false;
    }
    if (differs(footer->capacity, h->capacity)
        || differs(footer->grain_sectors, h->grain_sectors)
        || differs(footer->gt_entries, h->gt_entries)
        || differs(footer->compression, h->compression)) {
        error_setg(errp, "Invalid footer in '%s': it is of another disk than"
                   " the header", name);
        return false;
    }
    return true;
}

/* Whether the redundant copy can do without tables at the end: footer.c. */
static bool has_tables_in_front(const VmdkHeader *h)
{
    return (h->flags & VMDK_FLAG_RGD) && (h->flags & VMDK_FLAG_MARKERS)
           && h->rgd_offset && h->rgd_offset < h->overhead
           && h->gd_offset >= h->overhead;
}

/* Without a footer, the header says where its copy of the tables is. */
static int use_tables_in_front(VmdkHeader *h, const char *name, Error **errp)
{
    if (!has_tables_in_front(h)) {
        error_setg(errp, "Invalid footer in '%s': the end of the file is"
                   " missing, or damaged", name);
        return -EINVAL;
    }
    warn_report("The end of '%s' is missing, or damaged: its redundant grain"
                " tables are used", name);
    h->gd_offset = h->rgd_offset;
    h->rgd_offset = 0;
    h->has_footer = true;
    h->lost_footer = true;
    return 0;
}

/*
 * Replace @h by the copy of the header in the footer of @length bytes: before
 * the end marker, and what zeroes there are behind that.  If there is none, and
 * the image can do without, it stays the header.
 */
static int read_footer(BdrvChild *file, VmdkHeader *h, int64_t length,
                       Error **errp)
{
    const char *name = file->bs->filename;
    int64_t end = ROUND_DOWN(length, 512);
    int64_t bytes = MIN(end, FOOTER_BYTES);
    g_autofree uint8_t *buf = g_malloc(bytes);
    KdmvHeader raw;
    VmdkHeader footer;
    int ret = bdrv_pread(file, end - bytes, bytes, buf, 0);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "Failed to read footer of '%s'", name);
        return ret;
    }
    if (!find_footer(buf, bytes, &raw)) {
        return use_tables_in_front(h, name, errp);
    }
    decode_kdmv(&footer, &raw);
    if (!check_footer(&footer, h, name, errp)) {
        return -EINVAL;
    }
    footer.has_footer = true;
    footer.from_footer = true;
    if (!has_tables_in_front(&footer)) {
        footer.rgd_offset = 0;
    }
    /* Some writers leave these out of the footer. */
    footer.desc_offset = h->desc_offset;
    footer.desc_sectors = h->desc_sectors;
    *h = footer;
    return 0;
}

static bool check_geometry(VmdkHeader *h, const char *name, Error **errp)
{
    uint64_t table_sectors;

    if (h->grain_sectors < 1 || h->grain_sectors > VMDK_MAX_GRAIN_SECTORS
        || !is_power_of_2(h->grain_sectors) || !h->gt_entries) {
        error_setg(errp, "L1 entry size is invalid: grains of %" PRIu64
                   " sectors, %u entries per table in '%s'",
                   h->grain_sectors, h->gt_entries, name);
        return false;
    }
    if (h->magic == VMDK_KDMV_MAGIC && h->gt_entries > VMDK_MAX_GTES) {
        error_setg(errp, "L2 table size too big: %u entries in '%s'",
                   h->gt_entries, name);
        return false;
    }
    table_sectors = h->grain_sectors * h->gt_entries;
    if (h->capacity > BDRV_MAX_LENGTH >> BDRV_SECTOR_BITS
        || DIV_ROUND_UP(h->capacity, table_sectors) > VMDK_MAX_GD_ENTRIES) {
        error_setg(errp, "L1 size too big: %" PRIu64 " sectors in '%s'",
                   h->capacity, name);
        return false;
    }
    if (h->magic == VMDK_COWD_MAGIC
        && h->gd_entries < DIV_ROUND_UP(h->capacity, table_sectors)) {
        error_setg(errp, "L1 size too small: %" PRIu64 " entries for %" PRIu64
                   " sectors in '%s'", h->gd_entries, h->capacity, name);
        return false;
    }
    h->gd_entries = DIV_ROUND_UP(h->capacity, table_sectors);
    return true;
}

static bool check_compression(const VmdkHeader *h, const char *name,
                              Error **errp)
{
    bool deflate = h->compression == VMDK_COMPRESSION_DEFLATE;

    if ((h->flags & VMDK_FLAG_COMPRESSED) && !deflate) {
        error_setg(errp, "Unsupported compression algorithm %u in '%s'",
                   h->compression, name);
        return false;
    }
    if (deflate && h->grain_sectors << BDRV_SECTOR_BITS
                   > VMDK_MAX_COMPRESSED_GRAIN) {
        error_setg(errp, "Compressed grains of %" PRIu64 " sectors in '%s'"
                   " are too large", h->grain_sectors, name);
        return false;
    }
    return true;
}

/* That @entries of 4 bytes at sector @offset are in the file. */
static bool check_directory(uint64_t offset, uint64_t entries, int64_t length,
                            const char *what, const char *name, Error **errp)
{
    uint64_t bytes = entries * sizeof(uint32_t);

    if (bytes && (offset < 1 || offset > length >> BDRV_SECTOR_BITS
                  || bytes > length - (offset << BDRV_SECTOR_BITS))) {
        error_setg(errp, "%s at sector %" PRIu64 " is not in the file '%s'",
                   what, offset, name);
        return false;
    }
    return true;
}

static bool check_header(VmdkHeader *h, int64_t length, const char *name,
                         Error **errp)
{
    if (h->version > 3 || !h->version) {
        error_setg(errp, "Unsupported VMDK version %u in '%s'", h->version,
                   name);
        return false;
    }
    if (!check_geometry(h, name, errp)
        || !check_compression(h, name, errp)) {
        return false;
    }
    if (!check_directory(h->gd_offset, h->gd_entries, length,
                         "Grain directory", name, errp)) {
        return false;
    }
    return !(h->flags & VMDK_FLAG_RGD) || h->magic != VMDK_KDMV_MAGIC
           || !h->rgd_offset
           || check_directory(h->rgd_offset, h->gd_entries, length,
                              "Redundant grain directory", name, errp);
}

static int coroutine_fn exact_length_entry(void *opaque)
{
    VmdkLength *l = opaque;

    l->bytes = l->bs->drv->bdrv_co_getlength(l->bs);
    return 0;
}

int64_t vmdk_exact_length(BdrvChild *file)
{
    VmdkLength l = { .bs = file->bs };

    if (!file->bs->drv->bdrv_co_getlength) {
        return bdrv_getlength(file->bs);
    }
    bdrv_run_co(bdrv_get_aio_context(file->bs), exact_length_entry, &l);
    return l.bytes;
}

/* The first sector of the file, of @length bytes. */
static int read_first(BdrvChild *file, VmdkHeader *h, int64_t length,
                      Error **errp)
{
    const char *name = file->bs->filename;
    union {
        uint32_t magic;
        KdmvHeader kdmv;
        CowdHeader cowd;
    } raw;
    uint32_t magic;
    int ret;

    if (length < (int64_t)sizeof(raw)) {
        return file_truncated(file, sizeof(raw), errp);
    }
    ret = bdrv_pread(file, 0, sizeof(raw), &raw, 0);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not read header from file '%s'",
                         name);
        return ret;
    }
    magic = GUINT32_FROM_LE(raw.magic);
    if (magic == VMDK_COWD_MAGIC) {
        decode_cowd(h, &raw.cowd);
    } else if (magic == VMDK_KDMV_MAGIC) {
        decode_kdmv(h, &raw.kdmv);
    } else {
        error_setg(errp, "Image not in VMDK format: '%s'", name);
        return -EINVAL;
    }
    return 0;
}

/* Signs that the file was cut, or changed on its way. */
static int check_transfer(BdrvChild *file, const VmdkHeader *h,
                          int64_t length, Error **errp)
{
    if (h->as_text) {
        error_setg(errp, "'%s' was damaged by a transfer as text: transfer it"
                   " again, as binary", file->bs->filename);
        return -EINVAL;
    }
    if (h->overhead > (uint64_t)length >> BDRV_SECTOR_BITS
        && h->overhead <= UINT32_MAX) {
        return file_truncated(file, h->overhead << BDRV_SECTOR_BITS, errp);
    }
    return 0;
}

int vmdk_header_read(BdrvChild *file, VmdkHeader *h, Error **errp)
{
    const char *name = file->bs->filename;
    int64_t length = vmdk_exact_length(file);
    int ret;

    if (length < 0) {
        error_setg_errno(errp, -length, "Could not get the size of '%s'",
                         name);
        return length;
    }
    ret = read_first(file, h, length, errp);
    if (ret == 0) {
        ret = check_transfer(file, h, length, errp);
    }
    if (ret == 0 && h->gd_offset == VMDK_GD_AT_END) {
        ret = read_footer(file, h, length, errp);
    }
    if (ret == 0 && !check_header(h, length, name, errp)) {
        ret = -EINVAL;
    }
    return ret;
}

/* Read a grain directory into host order; NULL with @errp set. */
static uint32_t *read_directory(VmdkExtent *e, int64_t offset, Error **errp)
{
    size_t bytes = e->gd_entries * sizeof(uint32_t);
    uint32_t *gd = g_try_malloc(bytes);
    uint32_t i;
    int ret = -ENOMEM;

    if (gd) {
        ret = bdrv_pread(e->file, offset, bytes, gd, 0);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not read l1 table from extent"
                         " '%s'", e->file->bs->filename);
        g_free(gd);
        return NULL;
    }
    for (i = 0; i < e->gd_entries; i++) {
        gd[i] = GUINT32_FROM_LE(gd[i]);
    }
    return gd;
}

static int read_directories(VmdkExtent *e, Error **errp)
{
    if (!e->gd_entries) {
        return 0;
    }
    e->gd = read_directory(e, e->gd_offset, errp);
    if (!e->gd) {
        return -EIO;
    }
    if (e->rgd_offset) {
        e->rgd = read_directory(e, e->rgd_offset, errp);
        if (!e->rgd) {
            return -EIO;
        }
    }
    return 0;
}

int vmdk_tables_init(VmdkExtent *e, uint64_t cache_bytes, Error **errp)
{
    e->max_cached = MIN(e->gd_entries,
                        MAX(cache_bytes / vmdk_table_bytes(e), 1));
    qemu_co_mutex_init(&e->lock);
    QLIST_INIT(&e->allocs);
    QSIMPLEQ_INIT(&e->pending);
    e->scratch = qemu_try_blockalign(e->file->bs, vmdk_table_sectors(e)
                                                  * BDRV_SECTOR_SIZE);
    e->tables = g_try_new0(VmdkTable *, e->gd_entries);
    e->cached = g_try_new0(VmdkTable *, e->max_cached);
    if (!e->scratch || (e->gd_entries && (!e->tables || !e->cached))
        || !vmdk_copies_init(e)) {
        error_setg(errp, "No memory for the grain tables of '%s'",
                   e->file->bs->filename);
        return -ENOMEM;
    }
    vmdk_areas_init(e);
    return 0;
}

/*
 * Where new grains go: behind all others.  The last one can be longer than
 * the file, and if grains are not at multiples of their size, it can go on
 * behind the next multiple.
 */
static uint64_t first_free_sector(const VmdkExtent *e, const VmdkHeader *h,
                                  int64_t length)
{
    uint64_t sector = DIV_ROUND_UP(length, BDRV_SECTOR_SIZE);

    if (e->compressed) {
        return sector;
    }
    sector = ROUND_UP(sector, (uint64_t)e->grain_sectors);
    return h->overhead % e->grain_sectors ? sector + e->grain_sectors
                                          : sector;
}

int vmdk_sparse_init(VmdkExtent *e, const VmdkHeader *h, uint64_t cache_bytes,
                     Error **errp)
{
    int64_t length = vmdk_exact_length(e->file);
    int ret;

    if (length < 0) {
        error_setg_errno(errp, -length, "Could not get the size of '%s'",
                         e->file->bs->filename);
        return length;
    }
    e->magic = h->magic;
    e->compressed = h->compression == VMDK_COMPRESSION_DEFLATE;
    e->has_markers = h->flags & VMDK_FLAG_MARKERS;
    e->has_zero_grain = h->magic == VMDK_KDMV_MAGIC
                        && (h->flags & VMDK_FLAG_ZERO_GRAIN);
    e->has_footer = h->has_footer;
    e->lost_footer = h->lost_footer;
    e->from_footer = h->from_footer;
    e->unclean = h->unclean;
    e->tracked = h->version == 3 && !e->compressed;
    e->grain_sectors = h->grain_sectors;
    e->grain_bytes = h->grain_sectors << BDRV_SECTOR_BITS;
    e->gt_entries = h->gt_entries;
    e->gd_entries = h->gd_entries;
    e->gd_offset = h->gd_offset << BDRV_SECTOR_BITS;
    if ((h->flags & VMDK_FLAG_RGD) && h->magic == VMDK_KDMV_MAGIC) {
        e->rgd_offset = h->rgd_offset << BDRV_SECTOR_BITS;
    }
    /* Some writers have one copy only, and both offsets lead to it. */
    if (e->rgd_offset == e->gd_offset) {
        e->rgd_offset = 0;
    }
    e->overhead = h->overhead;
    if (e->embedded && h->magic == VMDK_KDMV_MAGIC) {
        /* It was read; that of a part of a disk is used by nobody. */
        e->desc_sector = h->desc_offset;
        e->desc_sectors = h->desc_sectors;
    }
    e->next_sector = first_free_sector(e, h, length);
    e->safe_bytes = length;
    qemu_co_mutex_init(&e->grow_lock);
    e->file_bytes = e->compressed ? length : ROUND_DOWN(length, 512);
    ret = read_directories(e, errp);
    if (ret == 0) {
        ret = vmdk_tables_init(e, cache_bytes, errp);
    }
    if (ret == 0) {
        vmdk_scan_at_open(e);
    }
    return ret;
}

void vmdk_sparse_free(VmdkExtent *e)
{
    uint32_t i;

    for (i = 0; i < e->nb_cached; i++) {
        g_free(e->cached[i]);
    }
    g_free(e->cached);
    g_free(e->tables);
    qemu_vfree(e->scratch);
    vmdk_copies_free(e);
    g_free(e->gd);
    g_free(e->rgd);
    if (e->areas) {
        g_array_unref(e->areas);
    }
    g_free(e->damage);
    g_free(e->shared);
}
