/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From guest offsets to grains: the cache of grain tables, and the lookup.
 *
 * extent->tables has a slot for each entry of the grain directory, so that a
 * lookup is two array accesses and never allocates, locks or waits.  Tables
 * are loaded, and the one that the hand of a clock finds unused is evicted,
 * only with extent->lock held; a commit holds it too, so its table stays.
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"
#include "trace/trace-block.h"

bool vmdk_table_in_file(const VmdkExtent *e, uint32_t sector)
{
    return sector + (uint64_t)vmdk_table_sectors(e)
           <= (uint64_t)e->file_bytes >> BDRV_SECTOR_BITS;
}

uint32_t vmdk_count_tables(const VmdkExtent *e, uint32_t index, uint32_t max)
{
    uint32_t sectors = vmdk_table_sectors(e);
    uint64_t file_sectors = (uint64_t)e->file_bytes >> BDRV_SECTOR_BITS;
    const uint32_t *gd = e->gd + index;
    uint64_t next = gd[0];
    uint32_t n = 1;

    if (next >= file_sectors) {
        return 1;
    }
    max = MIN(max, e->gd_entries - index);
    max = MIN(max, (file_sectors - next) / sectors);
    while (n < max && gd[n] == (next += sectors)) {
        n++;
    }
    return n;
}

/* How long a compressed grain is, its data tell. */
uint64_t vmdk_grain_end(const VmdkExtent *e, uint64_t grain, uint64_t sector)
{
    int64_t in_extent = e->bytes - grain * e->grain_bytes;

    return (sector << BDRV_SECTOR_BITS)
           + (e->compressed ? 1 : MIN(e->grain_bytes, in_extent));
}

bool vmdk_grain_is_free(const VmdkExtent *e, uint64_t grain, uint64_t sector)
{
    return vmdk_grain_end(e, grain, sector)
           <= MIN(vmdk_areas_free_until(e, sector),
                  UINT64_MAX >> BDRV_SECTOR_BITS) << BDRV_SECTOR_BITS;
}

int coroutine_fn vmdk_table_read(VmdkExtent *e, uint32_t sector,
                                 uint32_t *entries)
{
    uint64_t bytes = vmdk_table_bytes(e);

    if (!vmdk_table_in_file(e, sector)) {
        return -EIO;
    }
    BLKDBG_EVENT(e->file, BLKDBG_L2_LOAD);
    return bdrv_co_pread(e->file, (int64_t)sector << BDRV_SECTOR_BITS, bytes,
                         entries, 0);
}

/* A place in e->cached: a free one, or that of a table evicted for it. */
static uint32_t find_slot(VmdkExtent *e)
{
    uint32_t slot;

    if (e->nb_cached < e->max_cached) {
        return e->nb_cached++;
    }
    while (e->cached[e->hand]->used) {
        e->cached[e->hand]->used = false;
        e->hand = (e->hand + 1) % e->max_cached;
    }
    slot = e->hand;
    e->hand = (e->hand + 1) % e->max_cached;
    e->tables[e->cached[slot]->index] = NULL;
    g_free(e->cached[slot]);
    return slot;
}

static VmdkTable *table_new(const VmdkExtent *e)
{
    return g_try_malloc(sizeof(VmdkTable) + vmdk_table_bytes(e));
}

static void table_insert(VmdkExtent *e, VmdkTable *t, uint32_t index, bool used)
{
    t->index = index;
    t->used = used;
    e->cached[find_slot(e)] = t;
    e->tables[index] = t;
}

/*
 * How many tables to read from @index on: one, unless those before it were
 * loaded last; then twice as many as that time, if they follow each other in
 * the file and are not cached.
 */
static uint32_t read_ahead_count(VmdkExtent *e, uint32_t index)
{
    uint32_t max, n = 1;

    if (index != e->next_load) {
        e->read_ahead = 1;
    } else {
        e->read_ahead = MIN(MAX(2 * e->read_ahead, 2), VMDK_READ_AHEAD);
    }
    max = vmdk_count_tables(e, index, MIN(e->max_cached / 4, e->read_ahead));
    while (n < max && !e->tables[index + n]) {
        n++;
    }
    return n;
}

/* Table @index and those behind it; as if nothing were there if that fails. */
static void coroutine_fn read_ahead(VmdkExtent *e, uint32_t index, uint32_t n)
{
    size_t bytes = vmdk_table_sectors(e) * BDRV_SECTOR_SIZE;
    uint8_t *buf = qemu_try_blockalign(e->file->bs, n * bytes);
    uint32_t i;

    BLKDBG_EVENT(e->file, BLKDBG_L2_LOAD);
    if (buf && bdrv_co_pread(e->file, (int64_t)e->gd[index]
                                      << BDRV_SECTOR_BITS,
                             n * bytes, buf, 0) == 0) {
        for (i = 0; i < n; i++) {
            VmdkTable *t = table_new(e);

            if (!t) {
                break;
            }
            memcpy(t->entries, buf + i * bytes, vmdk_table_bytes(e));
            table_insert(e, t, index + i, i == 0);
        }
    }
    qemu_vfree(buf);
}

int coroutine_fn vmdk_table_get_locked(VmdkExtent *e, uint32_t index,
                                       VmdkTable **table)
{
    int ret;

    qemu_co_mutex_assert_locked(&e->lock);
    if (!e->tables[index]) {
        uint32_t n = read_ahead_count(e, index);

        if (n > 1) {
            read_ahead(e, index, n);
        }
        e->next_load = index + n;
    }
    if (!e->tables[index]) {
        VmdkTable *t = table_new(e);

        if (!t) {
            return -ENOMEM;
        }
        ret = vmdk_table_read(e, e->gd[index], t->entries);
        trace_vmdk_table_load(e, index, e->gd[index], ret);
        if (ret < 0) {
            g_free(t);
            return ret;
        }
        table_insert(e, t, index, true);
    }
    *table = e->tables[index];
    return 0;
}

static int coroutine_fn load_table(VmdkExtent *e, uint32_t index)
{
    VmdkTable *t;
    int ret;

    qemu_co_mutex_lock(&e->lock);
    ret = vmdk_table_get_locked(e, index, &t);
    qemu_co_mutex_unlock(&e->lock);
    return ret;
}

/* Whether the whole grain is there, and nothing else. */
static bool grain_is_whole(const VmdkExtent *e, uint64_t grain, uint64_t gte)
{
    return vmdk_grain_end(e, grain, gte) <= (uint64_t)e->file_bytes
           && vmdk_grain_is_free(e, grain, gte)
           && !vmdk_grain_is_shared(e, gte);
}

/*
 * Count on from the grain @n of @t as long as it goes on like @gte; returns
 * the number of grains.  *@next is the entry that would go on.
 */
static uint32_t count_run(const VmdkExtent *e, const VmdkTable *t, uint32_t n,
                          uint32_t max, VmdkGrainKind kind, uint64_t *next)
{
    uint32_t count = 0;

    max = MIN(max, e->gt_entries - n);
    while (count < max) {
        uint64_t gte = vmdk_table_entry(e, t, n + count);

        if (vmdk_entry_kind(e, gte) != kind) {
            break;
        }
        if (kind == VMDK_GRAIN_DATA) {
            uint64_t grain = (uint64_t)t->index * e->gt_entries + n + count;

            if (gte != *next || !grain_is_whole(e, grain, gte)) {
                break;
            }
            *next += e->grain_sectors;
        }
        count++;
    }
    return count;
}

/* Grains of @kind from @grain on, up to @max: as far as the cache knows. */
static int64_t extend_run(VmdkExtent *e, int64_t grain, int64_t max,
                          VmdkGrainKind kind, uint64_t next)
{
    int64_t count = 0;

    while (count < max) {
        uint32_t index = (grain + count) / e->gt_entries;
        uint32_t n = (grain + count) % e->gt_entries;
        VmdkTable *t = e->tables[index];
        uint32_t found;

        if (!t) {
            if (e->gd[index] || kind != VMDK_GRAIN_UNALLOCATED) {
                break;
            }
            count += MIN(max - count, e->gt_entries - n);
            continue;
        }
        t->used = true;
        found = count_run(e, t, n, MIN(max - count, UINT32_MAX), kind, &next);
        count += found;
        if (found < e->gt_entries - n) {
            break;
        }
    }
    return count;
}

int coroutine_fn vmdk_map(VmdkExtent *e, int64_t offset, int64_t bytes,
                          VmdkRun *run)
{
    int64_t grain = offset / e->grain_bytes;
    int64_t in_grain = offset % e->grain_bytes;
    int64_t max = DIV_ROUND_UP(in_grain + bytes, e->grain_bytes);
    uint32_t index = grain / e->gt_entries;
    uint64_t gte = 0;
    int64_t count;
    int ret;

    while (e->gd[index] && !e->tables[index]) {
        ret = load_table(e, index);
        if (ret < 0) {
            return ret;
        }
    }
    if (e->tables[index]) {
        gte = vmdk_table_entry(e, e->tables[index], grain % e->gt_entries);
    }
    run->kind = vmdk_entry_kind(e, gte);
    run->file_offset = (int64_t)gte << BDRV_SECTOR_BITS;
    if (run->kind == VMDK_GRAIN_DATA && !grain_is_whole(e, grain, gte)) {
        return -EIO;
    }
    if (run->kind == VMDK_GRAIN_DATA && e->compressed) {
        count = 1;
    } else {
        count = extend_run(e, grain, max, run->kind, gte);
        run->file_offset += in_grain;
    }
    run->bytes = MIN(bytes, count * e->grain_bytes - in_grain);
    return 0;
}
