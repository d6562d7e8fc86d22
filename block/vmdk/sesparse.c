/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * seSparse extents: snapshots of ESXi 6.5 and newer.  They are read only.
 *
 * VMware has not published the layout.  What stands here has been compared
 * with what QEMU reads, entry by entry: tests/e2e/vmdk-sesparse.sh.
 *
 * All numbers are 64 bit and little-endian, offsets are in sectors.  The grain
 * tables follow each other in one area, the grains in another one, and the
 * entries of directory and tables are numbers of tables and grains there.  The
 * highest four bits tell what an entry is.
 */
#include "qemu/osdep.h"
#include "block/vmdk/check.h"
#include "qemu/cutils.h"
#include "qemu/interrupt.h"

#define VOLATILE_MAGIC 0x00000000cafecafeull
#define VERSION 0x0000000200000001ull
#define GRAIN_SECTORS 8
#define TABLE_SECTORS 64
#define TABLE_ENTRIES (TABLE_SECTORS * BDRV_SECTOR_SIZE / sizeof(uint64_t))

/* Of an entry of the directory. */
#define GDE_KIND 0xffffffff00000000ull
#define GDE_TABLE 0x1000000000000000ull

/* Of an entry of a table. */
#define GTE_KIND_SHIFT 60
enum { GTE_NONE, GTE_UNMAPPED, GTE_ZEROES, GTE_GRAIN };
/* The number of a grain: its lowest 12 bits stand above the others. */
#define GTE_LOW_SHIFT 48
#define GTE_LOW_BITS 12

/* A place that no file has. */
#define NOWHERE ((uint64_t)INT64_MAX >> BDRV_SECTOR_BITS)

typedef struct ConstHeader {
    uint64_t magic;
    uint64_t version;
    uint64_t capacity;
    uint64_t grain_sectors;
    uint64_t table_sectors;
    uint64_t flags;
    uint64_t reserved[4];
    uint64_t volatile_offset;
    uint64_t volatile_sectors;
    uint64_t journal[4];
    uint64_t gd_offset;
    uint64_t gd_sectors;
    uint64_t tables_offset;
    uint64_t tables_sectors;
    uint64_t free_map[2];
    uint64_t back_map[2];
    uint64_t grains_offset;
    uint64_t grains_sectors;
    uint64_t pad[38];
} ConstHeader;
QEMU_BUILD_BUG_ON(sizeof(ConstHeader) != 512);

typedef struct VolatileHeader {
    uint64_t magic;
    uint64_t free_table;
    uint64_t next_transaction;
    uint64_t replay_journal;
    uint64_t pad[60];
} VolatileHeader;
QEMU_BUILD_BUG_ON(sizeof(VolatileHeader) != 512);

/* Read @bytes at sector @offset, as numbers in host order. */
static int read_numbers(BdrvChild *file, uint64_t offset, size_t bytes,
                        uint64_t *numbers, const char *what, Error **errp)
{
    uint64_t length = MAX(vmdk_exact_length(file), 0);
    size_t i;
    int ret;

    if (offset > length >> BDRV_SECTOR_BITS
        || bytes > length - (offset << BDRV_SECTOR_BITS)) {
        error_setg(errp, "The %s, sector %" PRIu64 ", is not in the file"
                   " '%s'", what, offset, file->bs->filename);
        return -EINVAL;
    }
    ret = bdrv_pread(file, offset << BDRV_SECTOR_BITS, bytes, numbers, 0);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not read the %s of '%s'", what,
                         file->bs->filename);
        return ret;
    }
    for (i = 0; i < bytes / sizeof(*numbers); i++) {
        numbers[i] = GUINT64_FROM_LE(numbers[i]);
    }
    return 0;
}

static bool check_kind(const ConstHeader *h, const char *name, Error **errp)
{
    if (h->magic != VMDK_SESPARSE_MAGIC) {
        error_setg(errp, "Bad const header magic: 0x%016" PRIx64 " in '%s'",
                   h->magic, name);
    } else if (h->version != VERSION) {
        error_setg(errp, "Unsupported version: 0x%016" PRIx64 " in '%s'",
                   h->version, name);
    } else if (h->grain_sectors != GRAIN_SECTORS) {
        error_setg(errp, "Unsupported grain size: %" PRIu64 " in '%s'",
                   h->grain_sectors, name);
    } else if (h->table_sectors != TABLE_SECTORS) {
        error_setg(errp, "Unsupported grain table size: %" PRIu64 " in '%s'",
                   h->table_sectors, name);
    } else if (h->flags) {
        error_setg(errp, "Unsupported flags: 0x%016" PRIx64 " in '%s'",
                   h->flags, name);
    } else if (!buffer_is_zero(h->reserved, sizeof(h->reserved))) {
        error_setg(errp, "Unsupported reserved bits in '%s'", name);
    } else {
        return true;
    }
    return false;
}

/* Whether what the header says is about a disk of @sectors, and makes sense. */
static bool check_places(const ConstHeader *h, uint64_t sectors,
                         const char *name, Error **errp)
{
    if (h->capacity < sectors) {
        error_setg(errp, "Extent '%s' is too small: %" PRIu64 " sectors,"
                   " %" PRIu64 " needed", name, h->capacity, sectors);
        return false;
    }
    /* A sector number of a table has 32 bits. */
    if (!h->tables_offset || !h->grains_offset
        || h->tables_offset > UINT32_MAX
        || h->grains_offset > INT64_MAX >> BDRV_SECTOR_BITS) {
        error_setg(errp, "The grain tables or the grains of '%s' are not in"
                   " the file", name);
        return false;
    }
    return true;
}

static int read_headers(VmdkExtent *e, ConstHeader *h, Error **errp)
{
    const char *name = e->file->bs->filename;
    VolatileHeader v;
    int ret = read_numbers(e->file, 0, sizeof(*h), (uint64_t *)h,
                           "const header", errp);

    if (ret == 0 && (!check_kind(h, name, errp)
                     || !check_places(h, e->bytes >> BDRV_SECTOR_BITS, name,
                                      errp))) {
        ret = -EINVAL;
    }
    if (ret == 0) {
        ret = read_numbers(e->file, h->volatile_offset, sizeof(v),
                           (uint64_t *)&v, "volatile header", errp);
    }
    if (ret < 0) {
        return ret;
    }
    if (v.magic != VOLATILE_MAGIC) {
        error_setg(errp, "Bad volatile header magic: 0x%016" PRIx64 " in"
                   " '%s'", v.magic, name);
        return -EINVAL;
    }
    if (v.replay_journal) {
        error_setg(errp, "'%s' is dirty, replaying its journal is not"
                   " supported: let ESXi open and close the disk", name);
        return -ENOTSUP;
    }
    return 0;
}

/* Where a table is; one that cannot be is told of when it is needed. */
static uint32_t table_sector(const ConstHeader *h, uint64_t gde)
{
    uint64_t sector = h->tables_offset + (gde & ~GDE_KIND) * TABLE_SECTORS;

    if (!gde) {
        return 0;
    }
    return (gde & GDE_KIND) == GDE_TABLE && sector < UINT32_MAX ? sector
           : UINT32_MAX;
}

static int read_directory(VmdkExtent *e, const ConstHeader *h, Error **errp)
{
    size_t bytes = e->gd_entries * sizeof(uint64_t);
    g_autofree uint64_t *entries = g_try_malloc(bytes);
    uint32_t i;
    int ret;

    e->gd = g_try_new(uint32_t, e->gd_entries);
    if (!entries || !e->gd) {
        error_setg(errp, "No memory for the grain directory of '%s'",
                   e->file->bs->filename);
        return -ENOMEM;
    }
    if (bytes > h->gd_sectors << BDRV_SECTOR_BITS) {
        error_setg(errp, "L1 size too small: %" PRIu64 " sectors for %u"
                   " entries in '%s'", h->gd_sectors, e->gd_entries,
                   e->file->bs->filename);
        return -EINVAL;
    }
    ret = read_numbers(e->file, h->gd_offset, bytes, entries,
                       "grain directory", errp);
    for (i = 0; ret == 0 && i < e->gd_entries; i++) {
        e->gd[i] = table_sector(h, entries[i]);
    }
    return ret;
}

int vmdk_se_init(BDRVVmdkState *s, VmdkExtent *e, Error **errp)
{
    ConstHeader h;
    int64_t length = vmdk_exact_length(e->file);
    int ret = read_headers(e, &h, errp);

    if (ret < 0) {
        return ret;
    }
    e->grain_sectors = GRAIN_SECTORS;
    e->grain_bytes = GRAIN_SECTORS * BDRV_SECTOR_SIZE;
    e->gt_entries = TABLE_ENTRIES;
    e->gd_entries = DIV_ROUND_UP(e->bytes, e->grain_bytes * TABLE_ENTRIES);
    e->gd_offset = h.gd_offset << BDRV_SECTOR_BITS;
    e->overhead = h.grains_offset;
    e->has_zero_grain = true;
    e->file_bytes = ROUND_DOWN(length, BDRV_SECTOR_SIZE);
    if (!vmdk_limit_directories(s, e->gd_entries, e->file->bs->filename,
                                errp)) {
        return -EFBIG;
    }
    ret = read_directory(e, &h, errp);
    return ret < 0 ? ret : vmdk_tables_init(e, vmdk_extent_cache(s), errp);
}

uint64_t vmdk_se_entry(const VmdkExtent *e, const VmdkTable *t, uint32_t n)
{
    uint64_t gte, number;

    memcpy(&gte, (const uint8_t *)t->entries + n * sizeof(gte), sizeof(gte));
    gte = GUINT64_FROM_LE(gte);
    switch (gte >> GTE_KIND_SHIFT) {
    case GTE_NONE:
        return gte ? NOWHERE : 0;
    case GTE_UNMAPPED:
    case GTE_ZEROES:
        return VMDK_GTE_ZERO;
    case GTE_GRAIN:
        number = gte << (64 - GTE_LOW_SHIFT) >> (64 - GTE_LOW_SHIFT);
        number = number << GTE_LOW_BITS
                 | (gte >> GTE_LOW_SHIFT & ((1 << GTE_LOW_BITS) - 1));
        /* More than any file has, so that no sum of it is too large. */
        return number > NOWHERE >> GTE_LOW_BITS
               ? NOWHERE : e->overhead + number * GRAIN_SECTORS;
    default:
        return NOWHERE;
    }
}

static void check_grain(const VmdkExtent *e, uint64_t grain, uint64_t sector,
                        uint8_t *used, BdrvCheckResult *result)
{
    uint64_t place;

    if (sector == 0 || sector == VMDK_GTE_ZERO) {
        return;
    }
    if (sector >= e->file_bytes >> BDRV_SECTOR_BITS) {
        vmdk_check_grain_fault(e, result, grain, VMDK_FAULT_BEHIND_EOF);
        return;
    }
    if (vmdk_grain_end(e, grain, sector) > (uint64_t)e->file_bytes) {
        vmdk_check_grain_fault(e, result, grain, VMDK_FAULT_CUT);
        return;
    }
    place = (sector - e->overhead) / GRAIN_SECTORS;
    if (vmdk_test_bit(used, place)) {
        vmdk_check_grain_fault(e, result, grain, VMDK_FAULT_SHARED);
    }
    vmdk_set_bit(used, place);
}

static void coroutine_fn check_table(VmdkExtent *e, uint32_t index,
                                     uint8_t *used, BdrvCheckResult *result)
{
    uint64_t first = (uint64_t)index * TABLE_ENTRIES;
    VmdkTable *t;
    uint32_t i;
    int ret;

    ret = vmdk_table_get_locked(e, index, &t);
    if (ret < 0) {
        vmdk_check_unreadable(e, result, "grain table", index, e->gd[index],
                              ret);
        return;
    }
    for (i = 0; i < TABLE_ENTRIES
                && (first + i) * e->grain_bytes < e->bytes; i++) {
        check_grain(e, first + i, vmdk_se_entry(e, t, i), used, result);
    }
}

int coroutine_fn vmdk_se_check(VmdkExtent *e, BdrvCheckResult *result)
{
    g_autofree uint8_t *used = vmdk_bits_new(e->file_bytes / e->grain_bytes);
    uint32_t i;

    if (!used) {
        return -ENOMEM;
    }
    for (i = 0; i < e->gd_entries; i++) {
        if (qemu_interrupted()) {
            return -EINTR;
        }
        if (e->gd[i]) {
            check_table(e, i, used, result);
        }
    }
    return 0;
}
