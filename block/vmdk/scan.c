/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is a sparse extent whole?  All tables are read once, before anything is
 * written: at open, or by the first write if there are very many.
 *
 * A table entry that points behind the end of the file is harmless until the
 * file grows: then the new grain is at that place, and the old entry shows it
 * as if it were its own data.  Two entries for one place are as bad: a write
 * to one changes the other.  So an extent that has such entries is not
 * written, and places that are used twice are not read either, since nothing
 * tells which of the grains is there.
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"
#include "qemu/cutils.h"

/* Tables are read in pieces of at most so many bytes. */
#define PIECE_BYTES MiB
#define MIN_READ_BYTES (64 * KiB)
/* Tables are read at open up to this size, in so many pieces at most. */
#define EAGER_BYTES (64 * MiB)
#define EAGER_PIECES 4096
/* And if a bit for each place where a grain may be needs at most 64 MiB. */
#define EAGER_PLACES (1ull << 29)

typedef struct VmdkScan {
    VmdkExtent *e;
    uint8_t *seen;              /* a bit each: places where grains begin */
    uint64_t places;
    bool has_base;
    uint32_t base;              /* of most grains: sector % grain_sectors */
    GArray *odd;                /* sectors of the others */
    uint64_t needed_bytes;      /* how long the file has to be */
} VmdkScan;

static void damaged(VmdkExtent *e, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

/* Keep the first reason. */
static void damaged(VmdkExtent *e, const char *format, ...)
{
    va_list ap;

    if (e->damage) {
        return;
    }
    va_start(ap, format);
    e->damage = g_strdup_vprintf(format, ap);
    va_end(ap);
}

/* --- places that are used twice --- */

/* Grains are far apart if they begin in different places but for odd ones. */
static uint64_t place_of(const VmdkExtent *e, uint64_t sector)
{
    return e->compressed ? sector : sector / e->grain_sectors;
}

bool vmdk_grain_is_shared(const VmdkExtent *e, uint64_t sector)
{
    uint64_t place = place_of(e, sector);

    /* Markers tell whose data are there. */
    if (!e->shared || (e->compressed && e->has_markers)) {
        return false;
    }
    return place < e->nb_places && vmdk_test_bit(e->shared, place);
}

/* Of two grains, where one begins is @sector. */
static void mark_shared(VmdkScan *s, uint64_t sector)
{
    VmdkExtent *e = s->e;

    if (!e->shared) {
        e->nb_places = s->places;
        e->shared = vmdk_bits_new(s->places);
    }
    if (e->shared) {
        vmdk_set_bit(e->shared, place_of(e, sector));
    }
    damaged(e, "the grain at sector %" PRIu64 " is used twice", sector);
}

static void mark_seen(VmdkScan *s, uint32_t sector)
{
    VmdkExtent *e = s->e;
    uint64_t place = place_of(e, sector);
    uint32_t rest = e->compressed ? 0 : sector % e->grain_sectors;

    if (!s->has_base) {
        s->has_base = true;
        s->base = rest;
    }
    if (rest != s->base) {
        g_array_append_val(s->odd, sector);
    } else if (vmdk_test_bit(s->seen, place)) {
        mark_shared(s, sector);
    } else {
        vmdk_set_bit(s->seen, place);
    }
}

static int compare_sectors(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

/* @sector is of an odd grain; another begins in @place, if one was seen. */
static void check_odd(VmdkScan *s, uint32_t sector, uint64_t place)
{
    uint64_t other = place * s->e->grain_sectors + s->base;

    if (place < s->places && vmdk_test_bit(s->seen, place)) {
        mark_shared(s, sector);
        mark_shared(s, other);
    }
}

/* Grains that are not at the same distance from each other as most. */
static void check_all_odd(VmdkScan *s)
{
    uint32_t grain_sectors = s->e->grain_sectors;
    guint i;

    g_array_sort(s->odd, compare_sectors);
    for (i = 0; i < s->odd->len; i++) {
        uint32_t sector = g_array_index(s->odd, uint32_t, i);
        uint64_t place = sector / grain_sectors;
        uint32_t rest = sector % grain_sectors;

        if (i + 1 < s->odd->len) {
            uint32_t next = g_array_index(s->odd, uint32_t, i + 1);

            if (next - sector < grain_sectors) {
                mark_shared(s, sector);
                mark_shared(s, next);
            }
        }
        check_odd(s, sector, place);
        if (rest < s->base && place) {
            check_odd(s, sector, place - 1);
        } else if (rest > s->base) {
            check_odd(s, sector, place + 1);
        }
    }
}

/* --- tables --- */

static void scan_grain(VmdkScan *s, uint64_t grain, uint32_t sector)
{
    VmdkExtent *e = s->e;
    uint64_t end;

    if (!sector || (sector == VMDK_GTE_ZERO && e->has_zero_grain)) {
        return;
    }
    end = vmdk_grain_end(e, grain, sector);
    if (end > (uint64_t)e->file_bytes) {
        s->needed_bytes = MAX(s->needed_bytes, end);
        return;
    }
    if (!vmdk_grain_is_free(e, grain, sector)) {
        damaged(e, "the grain at sector %u is where the metadata is", sector);
        return;
    }
    e->last_grain = MAX(e->last_grain, sector);
    mark_seen(s, sector);
}

static void scan_table(VmdkScan *s, uint32_t index, const uint32_t *entries)
{
    VmdkExtent *e = s->e;
    uint64_t first = (uint64_t)index * e->gt_entries;
    uint32_t i;

    if (buffer_is_zero(entries, e->gt_entries * sizeof(uint32_t))) {
        return;
    }
    for (i = 0; i < e->gt_entries; i++) {
        if ((first + i) * e->grain_bytes >= (uint64_t)e->bytes) {
            break;
        }
        scan_grain(s, first + i, GUINT32_FROM_LE(entries[i]));
    }
}

/* How many tables from @index on are read in one piece. */
static uint32_t count_tables(const VmdkExtent *e, uint32_t index)
{
    return vmdk_count_tables(e, index, PIECE_BYTES / (vmdk_table_sectors(e) *
                                                      BDRV_SECTOR_SIZE));
}

/* Where there are no tables or none in the file; else the same @index. */
static uint32_t skip_missing(VmdkScan *s, uint32_t index)
{
    VmdkExtent *e = s->e;

    while (index < e->gd_entries) {
        uint64_t sector = e->gd[index];

        if (sector && vmdk_table_in_file(e, sector)) {
            break;
        }
        if (sector) {
            uint64_t end = (sector + vmdk_table_sectors(e))
                           << BDRV_SECTOR_BITS;

            s->needed_bytes = MAX(s->needed_bytes, end);
        }
        index++;
    }
    return index;
}

/*
 * The tables from @index on that are to be read next; or, with *@empty, those
 * that need not be, since they are a hole of the file: most tables of a large
 * and sparse disk are.
 */
static uint32_t next_tables(const VmdkExtent *e, uint32_t index, bool *empty)
{
    int64_t table_bytes = vmdk_table_sectors(e) * BDRV_SECTOR_SIZE;
    uint32_t n = count_tables(e, index);
    int64_t bytes = n * table_bytes;
    int ret = bdrv_block_status(e->file->bs,
                                (int64_t)e->gd[index] << BDRV_SECTOR_BITS,
                                bytes, &bytes, NULL, NULL);

    *empty = ret >= 0 && (ret & BDRV_BLOCK_ZERO) && bytes >= table_bytes;
    if (*empty) {
        return bytes / table_bytes;
    }
    /* A few holes are read faster than looked at. */
    return ret < 0 ? n : MIN(n, DIV_ROUND_UP(MAX(bytes, MIN_READ_BYTES),
                                             table_bytes));
}

/* The @n tables from @index on, which follow each other in the file. */
static int scan_piece(VmdkScan *s, uint32_t index, uint32_t n, uint8_t *buf)
{
    VmdkExtent *e = s->e;
    size_t table_bytes = vmdk_table_sectors(e) * BDRV_SECTOR_SIZE;
    uint32_t i;
    int ret = bdrv_pread(e->file, (int64_t)e->gd[index] << BDRV_SECTOR_BITS,
                         n * table_bytes, buf, 0);

    if (ret < 0) {
        return ret;
    }
    for (i = 0; i < n; i++) {
        scan_table(s, index + i, (const uint32_t *)(buf + i * table_bytes));
    }
    return 0;
}

static int scan_tables(VmdkScan *s, uint8_t *buf)
{
    VmdkExtent *e = s->e;
    uint32_t index = skip_missing(s, 0);

    while (index < e->gd_entries) {
        bool empty;
        uint32_t n = next_tables(e, index, &empty);
        int ret = empty ? 0 : scan_piece(s, index, n, buf);

        if (ret < 0) {
            return ret;
        }
        index = skip_missing(s, index + n);
    }
    return 0;
}

/* --- the extent --- */

static void finish_scan(VmdkScan *s)
{
    VmdkExtent *e = s->e;

    check_all_odd(s);
    if (e->areas_overlap) {
        damaged(e, "its metadata overlap");
    }
    if (s->needed_bytes > (uint64_t)e->file_bytes) {
        g_free(e->damage);
        e->damage = g_strdup_printf(
            "File truncated, expecting at least %" PRIu64 " bytes",
            s->needed_bytes);
    }
}

static int scan_with(VmdkScan *s, uint8_t *buf)
{
    VmdkExtent *e = s->e;
    int ret;

    g_clear_pointer(&e->shared, g_free);
    g_clear_pointer(&e->damage, g_free);
    e->last_grain = 0;
    ret = scan_tables(s, buf);
    if (ret == 0) {
        ret = vmdk_stream_find_end(e, &s->needed_bytes);
    }
    if (ret == 0) {
        finish_scan(s);
    }
    e->scanned = ret == 0;
    return ret;
}

/* No table entry leads behind sector UINT32_MAX, however long the file is. */
static uint64_t count_places(const VmdkExtent *e)
{
    uint64_t sectors = DIV_ROUND_UP(e->file_bytes, BDRV_SECTOR_SIZE);

    return place_of(e, MIN(sectors, UINT32_MAX)) + 1;
}

int vmdk_scan(VmdkExtent *e)
{
    size_t table_bytes = vmdk_table_sectors(e) * BDRV_SECTOR_SIZE;
    VmdkScan s = { .e = e };
    uint8_t *buf;
    int ret = -ENOMEM;

    if (e->scanned) {
        return 0;
    }
    s.places = count_places(e);
    s.seen = vmdk_bits_new(s.places);
    buf = qemu_try_blockalign(e->file->bs, MAX(table_bytes, PIECE_BYTES));
    if (s.seen && buf) {
        s.odd = g_array_new(false, false, sizeof(uint32_t));
        ret = scan_with(&s, buf);
        g_array_unref(s.odd);
    }
    qemu_vfree(buf);
    g_free(s.seen);
    return ret;
}

void vmdk_scan_at_open(VmdkExtent *e)
{
    uint64_t pieces = 0;
    uint64_t tables = 0;
    uint32_t i;

    /* Another program may write: the file is longer than it was at open. */
    if (e->file->bs->force_share) {
        return;
    }
    for (i = 0; i < e->gd_entries; i++) {
        if (e->gd[i] && vmdk_table_in_file(e, e->gd[i])) {
            uint32_t n = count_tables(e, i);

            pieces++;
            tables += n;
            i += n - 1;
        }
    }
    if (pieces <= EAGER_PIECES && count_places(e) <= EAGER_PLACES
        && tables * vmdk_table_sectors(e) <= EAGER_BYTES
                                             >> BDRV_SECTOR_BITS) {
        int ret = vmdk_scan(e);

        if (ret < 0) {
            /* Much may be readable still; the first write tries again. */
            warn_report("Could not read the grain tables of '%s': %s",
                        e->file->bs->filename, strerror(-ret));
        }
    }
}

int coroutine_fn vmdk_scan_for_write(BlockDriverState *bs, VmdkExtent *e)
{
    int ret;

    if (likely(e->scanned && !e->damage)) {
        return 0;
    }
    qemu_co_mutex_lock(&e->lock);
    ret = vmdk_scan(e);
    if (ret == 0 && e->damage) {
        vmdk_signal_corruption(bs, e, e->damage, -1, 0, true);
    }
    qemu_co_mutex_unlock(&e->lock);
    if (ret == 0 && e->damage) {
        if (!e->damage_reported) {
            error_report("'%s' cannot be written: %s",
                         e->file->bs->filename, e->damage);
            e->damage_reported = true;
        }
        return -EIO;
    }
    return ret;
}
