/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "qemu-img check" for VMDK: every grain lies in the file, outside of the
 * metadata, is used once, and can be unpacked if it is compressed; no two
 * pieces of metadata overlap.  check-copies.c compares the grain tables with
 * their redundant copies.
 */
#include "qemu/osdep.h"
#include "block/vmdk/check.h"
#include "qemu/interrupt.h"

#define MAX_MARKED 64
/* Of grain tables that are read together. */
#define WINDOW_SECTORS 512

static void corrupt(VmdkCheck *c)
{
    c->result->corruptions++;
}

void vmdk_check_grain_fault(const VmdkExtent *e, BdrvCheckResult *result,
                            uint64_t grain, VmdkGrainFault fault)
{
    static const struct {
        const char *what, *how;
    } texts[] = {
        [VMDK_FAULT_BEHIND_EOF] = { "cluster offset for", "points after EOF" },
        [VMDK_FAULT_IN_METADATA] = { "cluster offset for",
                                     "points into the metadata" },
        [VMDK_FAULT_OF_ANOTHER] = { "cluster offset for",
                                    "points to another cluster" },
        [VMDK_FAULT_CUT] = { "cluster of", "is cut by EOF" },
        [VMDK_FAULT_SHARED] = { "cluster of", "is used twice" },
        [VMDK_FAULT_NOT_PACKED] = { "cluster of", "cannot be unpacked" },
    };

    fprintf(stderr, "ERROR: %s sector %" PRIu64 " %s\n", texts[fault].what,
            (e->start >> BDRV_SECTOR_BITS) + grain * e->grain_sectors,
            texts[fault].how);
    result->corruptions++;
}

static void grain_fault(VmdkCheck *c, uint64_t grain, VmdkGrainFault fault)
{
    vmdk_check_grain_fault(c->e, c->result, grain, fault);
}

/* --- where the metadata is --- */

static VmdkArea *get_area(const VmdkCheck *c, guint i)
{
    return &g_array_index(c->areas, VmdkArea, i);
}

static void check_areas(VmdkCheck *c)
{
    uint64_t end = 0;
    guint first = 0;            /* of those that overlap in a row */
    guint i;

    for (i = 0; i < c->areas->len; i++) {
        VmdkArea *area = get_area(c, i);

        if (area->start < end) {
            fprintf(stderr, "ERROR: the metadata at sector %" PRIu64
                    " overlaps other metadata\n", area->start);
            corrupt(c);
            get_area(c, first)->shared = true;
            area->shared = true;
        } else {
            first = i;
        }
        end = MAX(end, area->end);
    }
}

/* How many areas begin before @sector. */
static guint areas_before(const VmdkCheck *c, uint64_t sector)
{
    guint low = 0;
    guint high = c->areas->len;

    while (low < high) {
        guint mid = low + (high - low) / 2;

        if (get_area(c, mid)->start < sector) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

/*
 * Mark the metadata in these sectors; true if there is any.  Areas that
 * overlap each other are marked already, the others end in their order.
 */
static bool mark_areas(VmdkCheck *c, uint64_t start, uint64_t end)
{
    guint n = areas_before(c, end);
    bool found = n && get_area(c, n - 1)->end > start;
    int count = 0;

    while (!c->all_shared && n && get_area(c, n - 1)->end > start) {
        n--;
        get_area(c, n)->shared = true;
        /* A huge grain over many tables: not for each grain again. */
        c->all_shared = ++count == MAX_MARKED;
    }
    return found;
}

bool vmdk_check_may_write(const VmdkCheck *c, uint32_t sector)
{
    guint n = areas_before(c, sector);

    return !c->all_shared && n < c->areas->len
           && get_area(c, n)->start == sector && !get_area(c, n)->shared;
}

/* --- tables and grains --- */

/*
 * The grain at @gte is where it may be, but for metadata.  How long a
 * compressed one is is not known here: it counts with its first sector, and
 * keeps the repair away from where it may end.
 */
static bool grain_in_metadata(VmdkCheck *c, uint32_t gte)
{
    uint64_t sectors = c->e->grain_sectors;
    bool found;

    if (!c->e->compressed) {
        return mark_areas(c, gte, gte + sectors);
    }
    found = mark_areas(c, gte, gte + 1);
    mark_areas(c, gte, gte + 2 * sectors + 16);
    return found;
}

static void coroutine_fn check_stream(VmdkCheck *c, uint64_t grain,
                                      uint32_t gte)
{
    const VmdkExtent *e = c->e;
    bool readable;
    int ret = vmdk_stream_load(c->e, grain, (int64_t)gte << BDRV_SECTOR_BITS,
                               c->data, &readable);

    if (ret == -EILSEQ && readable) {
        grain_fault(c, grain, VMDK_FAULT_OF_ANOTHER);
    } else if (ret == -EIO && readable) {
        grain_fault(c, grain, VMDK_FAULT_NOT_PACKED);
    } else if (ret < 0) {
        fprintf(stderr, "ERROR: could not read the cluster of sector %" PRIu64
                ": %s\n", (e->start >> BDRV_SECTOR_BITS)
                          + grain * e->grain_sectors, strerror(-ret));
        c->result->check_errors++;
    }
}

/* Before all grains: the entry is wrong, not the metadata it leads to. */
static bool is_nonsense(const VmdkCheck *c, uint64_t grain, uint32_t gte)
{
    return !c->e->compressed && gte < c->e->overhead
           && !vmdk_grain_is_free(c->e, grain, gte);
}

bool vmdk_check_is_grain(const VmdkCheck *c, uint32_t index, uint32_t n,
                         uint32_t gte)
{
    const VmdkExtent *e = c->e;
    uint64_t grain = (uint64_t)index * e->gt_entries + n;

    return grain * e->grain_bytes < (uint64_t)e->bytes && gte
           && !(gte == VMDK_GTE_ZERO && e->has_zero_grain);
}

static void coroutine_fn check_grain(VmdkCheck *c, uint64_t grain,
                                     uint32_t gte)
{
    if (!gte || (gte == VMDK_GTE_ZERO && c->e->has_zero_grain)) {
        return;
    }
    if (gte >= c->e->file_bytes >> BDRV_SECTOR_BITS) {
        grain_fault(c, grain, VMDK_FAULT_BEHIND_EOF);
        c->behind_eof[grain / c->e->gt_entries] = true;
    } else if (is_nonsense(c, grain, gte) || grain_in_metadata(c, gte)) {
        grain_fault(c, grain, VMDK_FAULT_IN_METADATA);
    } else if (vmdk_grain_end(c->e, grain, gte)
               > (uint64_t)c->e->file_bytes) {
        grain_fault(c, grain, VMDK_FAULT_CUT);
        c->behind_eof[grain / c->e->gt_entries] = true;
    } else if (vmdk_grain_is_shared(c->e, gte)) {
        grain_fault(c, grain, VMDK_FAULT_SHARED);
    } else {
        vmdk_set_bit(c->used, vmdk_check_place(c, gte));
        if (c->e->compressed) {
            check_stream(c, grain, gte);
        }
    }
}

int coroutine_fn vmdk_check_window_read(VmdkExtent *e, VmdkTableWindow *w,
                                        uint32_t sector, uint32_t *entries)
{
    uint64_t sectors = vmdk_table_sectors(e);
    uint64_t end = sector + sectors;
    bool in_order = sector == w->next;

    w->next = end;
    if (sector < w->start || end > w->end) {
        if (!in_order || !w->buf || !vmdk_table_in_file(e, sector)) {
            return vmdk_table_read(e, sector, entries);
        }
        w->start = sector;
        w->end = MIN(sector + MAX(WINDOW_SECTORS, sectors),
                     (uint64_t)e->file_bytes >> BDRV_SECTOR_BITS);
        if (bdrv_co_pread(e->file, (int64_t)sector << BDRV_SECTOR_BITS,
                          (w->end - w->start) << BDRV_SECTOR_BITS, w->buf,
                          0) < 0) {
            /* Which table is it? */
            w->end = 0;
            return vmdk_table_read(e, sector, entries);
        }
    }
    memcpy(entries, w->buf + ((sector - w->start) << BDRV_SECTOR_BITS),
           e->gt_entries * sizeof(uint32_t));
    return 0;
}

static void window_init(const VmdkExtent *e, VmdkTableWindow *w)
{
    /* Without memory each table is read for itself. */
    w->buf = qemu_try_blockalign(e->file->bs,
                                 MAX(WINDOW_SECTORS, vmdk_table_sectors(e))
                                 << BDRV_SECTOR_BITS);
    w->next = UINT64_MAX;
}

void vmdk_check_unreadable(const VmdkExtent *e, BdrvCheckResult *result,
                           const char *what, uint32_t index, uint32_t sector,
                           int error)
{
    bool in_file = vmdk_table_in_file(e, sector);

    fprintf(stderr, "ERROR: could not read %s %u: %s\n", what, index,
            in_file ? strerror(-error) : "it is not in the file");
    if (in_file) {
        result->check_errors++;
    } else {
        result->corruptions++;
    }
}

bool coroutine_fn vmdk_check_read_table(VmdkCheck *c, uint32_t index)
{
    const VmdkExtent *e = c->e;
    int ret;

    if (!e->gd[index]) {
        /* A kill can leave a redundant table alone: as empty as it was made. */
        memset(c->table, 0, e->gt_entries * sizeof(uint32_t));
        return true;
    }
    ret = vmdk_check_window_read(c->e, &c->tables, e->gd[index], c->table);
    if (ret < 0) {
        vmdk_check_unreadable(e, c->result, "grain table", index,
                              e->gd[index], ret);
    }
    return ret == 0;
}

static void coroutine_fn check_table(VmdkCheck *c, uint32_t index)
{
    VmdkExtent *e = c->e;
    uint64_t first = (uint64_t)index * e->gt_entries;
    uint32_t i;

    if (!vmdk_check_read_table(c, index)) {
        return;
    }
    for (i = 0; e->gd[index] && i < e->gt_entries; i++) {
        if ((first + i) * e->grain_bytes >= (uint64_t)e->bytes) {
            break;
        }
        check_grain(c, first + i, GUINT32_FROM_LE(c->table[i]));
    }
    vmdk_check_copies(c, index);
}

/*
 * Everything is looked at before anything is repaired.  -EINTR if a signal has
 * ended that.
 */
static int coroutine_fn check_tables(VmdkCheck *c)
{
    VmdkExtent *e = c->e;
    uint32_t i;
    int ret;

    check_areas(c);
    for (i = 0; i < e->gd_entries; i++) {
        if (qemu_interrupted()) {
            return -EINTR;
        }
        check_table(c, i);
    }
    vmdk_check_repair_eof(c);
    ret = vmdk_check_repair_copies(c);
    if (ret == 0) {
        vmdk_check_footer(c);
    }
    return ret;
}

static int coroutine_fn check_extent(VmdkCheck *c)
{
    VmdkExtent *e = c->e;
    size_t bytes = e->gt_entries * sizeof(uint32_t);
    int ret = -ENOMEM;

    /* For grains that are used twice.  A failure shows again below. */
    vmdk_scan(e);
    c->table = g_try_malloc(bytes);
    c->redundant = g_try_malloc(bytes);
    window_init(e, &c->tables);
    window_init(e, &c->copies_read);
    c->data = g_try_malloc(e->compressed ? e->grain_bytes : 1);
    c->used = vmdk_bits_new(vmdk_check_place(c, c->e->file_bytes
                                                >> BDRV_SECTOR_BITS) + 1);
    c->copies = g_try_new0(uint8_t, e->gd_entries + 1);
    c->behind_eof = g_try_new0(uint8_t, e->gd_entries + 1);
    if (c->table && c->redundant && c->data && c->used && c->copies
        && c->behind_eof) {
        c->areas = vmdk_areas_new(e, true);
        ret = check_tables(c);
        g_array_unref(c->areas);
    }
    g_free(c->table);
    g_free(c->redundant);
    qemu_vfree(c->tables.buf);
    qemu_vfree(c->copies_read.buf);
    g_free(c->data);
    g_free(c->used);
    g_free(c->copies);
    g_free(c->behind_eof);
    return ret;
}

int coroutine_fn vmdk_co_check(BlockDriverState *bs, BdrvCheckResult *result,
                               BdrvCheckMode fix)
{
    BDRVVmdkState *s = bs->opaque;
    int ret = 0;
    int i;

    for (i = 0; ret == 0 && i < s->nb_extents; i++) {
        VmdkCheck c = {
            .bs = bs,
            .e = &s->extents[i],
            .result = result,
            .fix = fix,
        };

        if (c.e->file && vmdk_extent_is_sparse(c.e)) {
            qemu_co_mutex_lock(&c.e->lock);
            ret = c.e->type == VMDK_SESPARSE ? vmdk_se_check(c.e, result)
                                             : check_extent(&c);
            qemu_co_mutex_unlock(&c.e->lock);
        }
    }
    return ret;
}
