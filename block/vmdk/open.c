/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opening a VMDK image: find its descriptor, then its extents and its
 * backing file, which are named relative to the descriptor.
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"
#include "qemu/cutils.h"
#include "trace/trace-block.h"

/*
 * What a descriptor of its own may describe.  The extents tell the rest: by
 * hand, descriptors are also made for single files that lost theirs.
 */
static const char *const text_create_types[] = {
    "monolithicFlat", "twoGbMaxExtentFlat", "twoGbMaxExtentSparse", "vmfs",
    "vmfsSparse", "seSparse", "monolithicSparse", "streamOptimized", "custom",
};

/* The text at @s->desc_offset, terminated; NULL with @errp set. */
static char *read_descriptor(BlockDriverState *bs, Error **errp)
{
    BDRVVmdkState *s = bs->opaque;
    char *text;
    int ret;

    if (s->desc_bytes > VMDK_MAX_DESC_BYTES) {
        error_setg(errp, "The VMDK descriptor of '%s' is too large: %" PRId64
                   " bytes", bs->file->bs->filename, s->desc_bytes);
        return NULL;
    }
    text = g_malloc0(s->desc_bytes + 1);
    ret = bdrv_pread(bs->file, s->desc_offset, s->desc_bytes, text, 0);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not read the VMDK descriptor of"
                         " '%s'", bs->file->bs->filename);
        g_free(text);
        return NULL;
    }
    return text;
}

/*
 * Behind the NUL that ends the text may be the last characters of a longer
 * one: QEMU writes a new CID with as few digits as it needs, moves the rest up
 * and leaves what is behind.  But an extent there would be a part of the disk
 * that nobody sees.
 */
static bool has_extents_behind(const char *text, size_t size)
{
    const char *end = text + size;
    const char *p = text + strlen(text);

    while (p < end) {
        size_t len = strcspn(p, "\r\n");

        if (vmdk_desc_is_extent(p)) {
            return true;
        }
        p += len + 1;
    }
    return false;
}

/* @whole: the disk is in bs->file, whatever its name in the text. */
static int parse_descriptor(BlockDriverState *bs, bool whole, Error **errp)
{
    BDRVVmdkState *s = bs->opaque;
    g_autofree char *text = read_descriptor(bs, errp);

    if (!text) {
        return -EINVAL;
    }
    if (!s->desc_embedded && !vmdk_desc_is_utf16(text)
        && has_extents_behind(text, s->desc_bytes)) {
        error_setg(errp, "The VMDK descriptor '%s' has a NUL byte in it, and"
                   " extents behind that", bs->file->bs->filename);
        return -EINVAL;
    }
    if (s->desc_embedded && !*text) {
        vmdk_no_descriptor(bs, errp);
        return -EINVAL;
    }
    if (!vmdk_desc_parse(&s->desc, text, whole,
                         bs->file->bs->filename, errp)) {
        return -EINVAL;
    }
    s->has_desc = true;
    return 0;
}

static BdrvChild *open_extent_file(BlockDriverState *bs, QOpts *options,
                                   const VmdkExtentLine *line, int index,
                                   Error **errp)
{
    g_autofree char *name = g_strdup_printf("extents.%d", index);
    g_autofree char *path = NULL;
    BdrvChildRole role = BDRV_CHILD_DATA;

    if (!vmdk_type_is_flat(line->type)) {
        role |= BDRV_CHILD_METADATA;
    }
    if (!vmdk_child_is_given(options, name)) {
        path = vmdk_resolve_path(bs, line->path, errp);
        if (!path) {
            return NULL;
        }
    }
    return bdrv_open_child(path, options, name, bs, role, false, errp);
}

static int check_flat(const VmdkExtent *e, const char *path, Error **errp)
{
    int64_t length = bdrv_getlength(e->file->bs);

    if (length < 0) {
        error_setg_errno(errp, -length, "Could not get the size of extent"
                         " '%s'", path);
        return length;
    }
    if (length < e->bytes || length - e->bytes < e->flat_offset) {
        error_setg(errp, "Extent '%s' is too small: %" PRId64 " bytes,"
                   " expecting at least %" PRId64 " bytes", path, length,
                   e->flat_offset + e->bytes);
        return -EINVAL;
    }
    return 0;
}

static int init_sparse_extent(BDRVVmdkState *s, VmdkExtent *e,
                              const char *path, Error **errp)
{
    VmdkHeader h;
    uint32_t magic = e->type == VMDK_SPARSE ? VMDK_KDMV_MAGIC
                                            : VMDK_COWD_MAGIC;
    int ret;

    if (e->type == VMDK_SESPARSE) {
        return vmdk_se_init(s, e, errp);
    }
    ret = vmdk_header_read(e->file, &h, errp);
    if (ret < 0) {
        return ret;
    }
    if (h.magic != magic) {
        error_setg(errp, "Extent '%s' is not of type %s", path,
                   vmdk_type_names[e->type]);
        return -EINVAL;
    }
    if (h.capacity < (uint64_t)e->bytes >> BDRV_SECTOR_BITS) {
        error_setg(errp, "Extent '%s' is too small: %" PRIu64 " sectors,"
                   " %" PRId64 " needed", path, h.capacity,
                   e->bytes >> BDRV_SECTOR_BITS);
        return -EINVAL;
    }
    if (!vmdk_limit_directories(s, h.gd_entries, path, errp)) {
        return -EFBIG;
    }
    return vmdk_sparse_init(e, &h, vmdk_extent_cache(s), errp);
}

/* By file, then by where in it; lines that open no file come first. */
static int compare_lines(const void *a, const void *b)
{
    const VmdkExtentLine *line = *(VmdkExtentLine *const *)a;
    const VmdkExtentLine *other = *(VmdkExtentLine *const *)b;
    const char *path = vmdk_line_has_file(line) ? line->path : "";
    const char *other_path = vmdk_line_has_file(other) ? other->path : "";
    int order = strcmp(path, other_path);

    return order ? order : line->offset < other->offset ? -1
                           : line->offset > other->offset;
}

/* Whether a write to one of the two could change the other. */
static bool check_apart(const VmdkExtentLine *a, const VmdkExtentLine *b,
                        Error **errp)
{
    bool flat = vmdk_type_is_flat(a->type) && vmdk_type_is_flat(b->type);

    if (!vmdk_line_has_file(a) || !vmdk_line_has_file(b)
        || strcmp(a->path, b->path)) {
        return true;
    }
    if (!flat) {
        error_setg(errp, "Extent '%s' is there twice", a->path);
        return false;
    }
    if (a->offset + a->sectors > b->offset
        && (a->access == VMDK_RW || b->access == VMDK_RW)) {
        error_setg(errp, "Extents in '%s' overlap, at sector %" PRId64,
                   a->path, b->offset);
        return false;
    }
    return true;
}

static bool check_all_apart(const BDRVVmdkState *s, Error **errp)
{
    guint count = s->desc.lines->len;
    g_autofree VmdkExtentLine **lines = g_new(VmdkExtentLine *, count + 1);
    guint i;

    for (i = 0; i < count; i++) {
        lines[i] = &g_array_index(s->desc.lines, VmdkExtentLine, i);
    }
    qsort(lines, count, sizeof(*lines), compare_lines);
    for (i = 1; i < count; i++) {
        if (!check_apart(lines[i - 1], lines[i], errp)) {
            return false;
        }
    }
    return true;
}

static int open_extent(BlockDriverState *bs, QOpts *options, guint index,
                       Error **errp)
{
    BDRVVmdkState *s = bs->opaque;
    VmdkExtentLine *line = &g_array_index(s->desc.lines, VmdkExtentLine,
                                          index);
    VmdkExtent *e = &s->extents[s->nb_extents];
    int64_t start = bs->total_sectors << BDRV_SECTOR_BITS;

    if (!line->sectors) {
        return 0;
    }
    *e = (VmdkExtent) {
        .access = line->access,
        .type = line->type,
        .start = start,
        .bytes = line->sectors << BDRV_SECTOR_BITS,
        .flat_offset = line->offset << BDRV_SECTOR_BITS,
    };
    s->nb_extents++;
    bs->total_sectors += line->sectors;
    if (!vmdk_line_has_file(line)) {
        return 0;
    }
    e->file = open_extent_file(bs, options, line, index, errp);
    if (!e->file) {
        return -EINVAL;
    }
    return vmdk_type_is_flat(e->type) ? check_flat(e, line->path, errp)
                                      : init_sparse_extent(s, e, line->path,
                                                           errp);
}

static int open_extents(BlockDriverState *bs, QOpts *options, Error **errp)
{
    BDRVVmdkState *s = bs->opaque;
    int ret = 0;
    guint i;

    if (!check_all_apart(s, errp)) {
        return -EINVAL;
    }
    s->extents = g_new0(VmdkExtent, s->desc.lines->len);
    for (i = 0; ret == 0 && i < s->desc.lines->len; i++) {
        ret = open_extent(bs, options, i, errp);
    }
    return ret;
}

static int check_create_type(BlockDriverState *bs, Error **errp)
{
    BDRVVmdkState *s = bs->opaque;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(text_create_types); i++) {
        if (!g_ascii_strcasecmp(s->desc.create_type, text_create_types[i])) {
            return 0;
        }
    }
    error_setg(errp, "Unsupported image type '%.100s' in '%s'",
               s->desc.create_type, bs->file->bs->filename);
    return -ENOTSUP;
}

/* The same as probing, so that -f vmdk opens what is opened without it. */
static int check_is_text(BlockDriverState *bs, int64_t length, Error **errp)
{
    char head[4096] = "";
    size_t size = MIN(length, (int64_t)sizeof(head) - 1);
    int ret = bdrv_pread(bs->file, 0, size, head, 0);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not read '%s'",
                         bs->file->bs->filename);
        return ret;
    }
    if (!vmdk_desc_is_utf16(head) && !vmdk_desc_probe(head, strlen(head))) {
        vmdk_not_vmdk(bs, head, size, errp);
        return -EINVAL;
    }
    return 0;
}

static int open_text(BlockDriverState *bs, QOpts *options, int64_t length,
                     Error **errp)
{
    BDRVVmdkState *s = bs->opaque;
    int ret;

    s->desc_bytes = length;
    ret = check_is_text(bs, length, errp);
    if (ret == 0) {
        ret = parse_descriptor(bs, false, errp);
    }
    if (ret == 0) {
        ret = check_create_type(bs, errp);
    }
    return ret < 0 ? ret : open_extents(bs, options, errp);
}

/* The whole disk is in bs->file. */
static int add_embedded(BlockDriverState *bs, const VmdkHeader *h,
                        Error **errp)
{
    BDRVVmdkState *s = bs->opaque;
    VmdkExtent *e;

    s->extents = g_new0(VmdkExtent, 1);
    if (!h->capacity) {
        return 0;
    }
    e = &s->extents[s->nb_extents++];
    e->file = bs->file;
    e->embedded = true;
    e->type = h->magic == VMDK_KDMV_MAGIC ? VMDK_SPARSE : VMDK_VMFSSPARSE;
    e->bytes = h->capacity << BDRV_SECTOR_BITS;
    if (s->has_desc && s->desc.lines->len == 1) {
        e->access = g_array_index(s->desc.lines, VmdkExtentLine, 0).access;
    }
    bs->total_sectors = h->capacity;
    return vmdk_sparse_init(e, h, vmdk_extent_cache(s), errp);
}

static int read_embedded_descriptor(BlockDriverState *bs, const VmdkHeader *h,
                                    int64_t length, Error **errp)
{
    BDRVVmdkState *s = bs->opaque;

    if (!h->desc_offset) {
        vmdk_no_descriptor(bs, errp);
        return -EINVAL;
    }
    if (h->desc_offset >= (uint64_t)length >> BDRV_SECTOR_BITS
        || h->desc_sectors > ((uint64_t)length >> BDRV_SECTOR_BITS)
                             - h->desc_offset) {
        error_setg(errp, "The VMDK descriptor, sector %" PRIu64 ", is not in"
                   " the file '%s'", h->desc_offset, bs->file->bs->filename);
        return -EINVAL;
    }
    s->desc_offset = h->desc_offset << BDRV_SECTOR_BITS;
    s->desc_bytes = h->desc_sectors << BDRV_SECTOR_BITS;
    s->desc_embedded = true;
    return parse_descriptor(bs, h->capacity, errp);
}

/* How many extents with data the descriptor tells of. */
static guint count_extents(const BDRVVmdkState *s)
{
    guint count = 0;
    guint i;

    for (i = 0; i < s->desc.lines->len; i++) {
        count += g_array_index(s->desc.lines, VmdkExtentLine, i).sectors > 0;
    }
    return count;
}

static int open_binary(BlockDriverState *bs, QOpts *options, int64_t length,
                       Error **errp)
{
    BDRVVmdkState *s = bs->opaque;
    VmdkHeader h;
    int ret = vmdk_header_read(bs->file, &h, errp);

    if (ret == 0 && h.magic == VMDK_KDMV_MAGIC) {
        ret = read_embedded_descriptor(bs, &h, length, errp);
        if (ret == 0 && !h.capacity && count_extents(s)) {
            return open_extents(bs, options, errp);
        }
        if (ret == 0 && count_extents(s) > 1) {
            error_setg(errp, "'%s' describes %u extents, and is one itself:"
                       " put its descriptor into a file of its own",
                       bs->file->bs->filename, count_extents(s));
            ret = -EINVAL;
        }
    } else if (ret == 0) {
        g_autofree char *descriptor = vmdk_find_descriptor(bs);

        if (descriptor) {
            warn_report("'%s' is a part of '%s': by itself, what it lacks"
                        " reads as zeroes", bs->file->bs->filename,
                        descriptor);
        }
        s->desc.create_type = g_strdup("vmfsSparse");
        s->desc.cid = VMDK_NO_PARENT;
        s->desc.parent_cid = VMDK_NO_PARENT;
    }
    return ret < 0 ? ret : add_embedded(bs, &h, errp);
}

/* Why the image must not be written, if it can be read; NULL: it may be. */
static char *read_only_reason(BDRVVmdkState *s, bool check)
{
    int i;

    if (s->desc.change_tracking) {
        return g_strdup("VMDK with changed block tracking must be read only:"
                        " what is written would not be noted");
    }
    for (i = 0; i < s->nb_extents; i++) {
        VmdkExtent *e = &s->extents[i];

        if (e->type == VMDK_SESPARSE) {
            return g_strdup("No write support for seSparse images available");
        }
        if (e->tracked) {
            return g_strdup("VMDK version 3 must be read only: its changed"
                            " block tracking would not note what is written");
        }
        if (e->damage && !check) {
            return g_strdup_printf("'%s' must be read only: %s",
                                   e->file->bs->filename, e->damage);
        }
    }
    return NULL;
}

/* A user that only reads or checks goes on, but should know. */
static void warn_of_damage(const BDRVVmdkState *s)
{
    int i;

    for (i = 0; i < s->nb_extents; i++) {
        VmdkExtent *e = &s->extents[i];

        if (e->damage && !e->damage_reported) {
            warn_report("'%s' is damaged: %s", e->file->bs->filename,
                        e->damage);
            e->damage_reported = true;
        }
    }
}

int vmdk_check_writable(BlockDriverState *bs, int flags, Error **errp)
{
    BDRVVmdkState *s = bs->opaque;
    g_autofree char *reason = read_only_reason(s, flags & BDRV_O_CHECK);

    if (!reason || !(flags & BDRV_O_RDWR)) {
        return 0;
    }
    if (flags & BDRV_O_AUTO_RDONLY) {
        return bdrv_apply_auto_read_only(bs, reason, errp);
    }
    error_setg(errp, "%s", reason);
    return -EACCES;
}

static int open_image(BlockDriverState *bs, QOpts *options, Error **errp)
{
    const char *name = bs->file->bs->filename;
    int64_t length = bdrv_getlength(bs->file->bs);
    uint32_t magic = 0;
    int ret;

    if (length < 0) {
        error_setg_errno(errp, -length, "Could not get the size of '%s'",
                         name);
        return length;
    }
    if (length >= (int64_t)sizeof(magic)) {
        ret = bdrv_pread(bs->file, 0, sizeof(magic), &magic, 0);
        if (ret < 0) {
            error_setg_errno(errp, -ret, "Could not read '%s'", name);
            return ret;
        }
    }
    magic = GUINT32_FROM_LE(magic);
    return magic == VMDK_KDMV_MAGIC || magic == VMDK_COWD_MAGIC
           ? open_binary(bs, options, length, errp)
           : open_text(bs, options, length, errp);
}

static bool take_options(BDRVVmdkState *s, QOpts *options, Error **errp)
{
    g_autoptr(BlockdevOptionsVmdk) o = QOPTS_TAKE(BlockdevOptionsVmdk,
                                                  options, errp);

    if (!o) {
        return false;
    }
    s->has_cache_bytes = o->has_table_cache_size;
    s->cache_bytes = o->table_cache_size;
    return true;
}

int vmdk_open(BlockDriverState *bs, QOpts *options, int flags, Error **errp)
{
    ERRP_GUARD();
    BDRVVmdkState *s = bs->opaque;
    int ret = bdrv_open_file_child(NULL, options, "file", bs, errp);

    if (ret < 0) {
        return ret;
    }
    if (!take_options(s, options, errp)) {
        return -EINVAL;
    }
    qemu_co_mutex_init(&s->lock);
    bs->total_sectors = 0;
    ret = open_image(bs, options, errp);
    if (ret == 0) {
        ret = vmdk_check_writable(bs, flags, errp);
    }
    if (ret == 0) {
        vmdk_limit_caches(s);
        warn_of_damage(s);
        ret = vmdk_open_backing(bs, options, flags, errp);
    }
    if (ret < 0) {
        vmdk_close(bs);
        return ret;
    }
    bs->supported_zero_flags = BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK;
    if (s->nb_extents == 1 && s->extents[0].compressed) {
        bs->supported_write_flags = BDRV_REQ_WRITE_COMPRESSED;
    }
    trace_vmdk_open(bs, s->desc.create_type, s->nb_extents,
                    bs->total_sectors);
    return 0;
}

void vmdk_close(BlockDriverState *bs)
{
    BDRVVmdkState *s = bs->opaque;
    int i, ret;

    ret = vmdk_finish(bs);
    if (ret < 0) {
        /*
         * The data are safe: it is a redundant copy, or the end of a stream,
         * which has its tables in front, too.
         */
        warn_report("Could not finish writing '%s': %s", bs->filename,
                    strerror(-ret));
    }
    g_clear_pointer(&s->grains, vmdk_grain_cache_free);
    for (i = 0; i < s->nb_extents; i++) {
        vmdk_sparse_free(&s->extents[i]);
    }
    g_free(s->extents);
    s->extents = NULL;
    s->nb_extents = 0;
    vmdk_desc_clear(&s->desc);
}
