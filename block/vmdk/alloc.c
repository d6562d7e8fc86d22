/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Allocation of grains: announce, reserve, (the caller writes the data,)
 * commit, end.
 *
 * The order in the file is: data, grain table, and some time after a flush
 * the redundant grain table.  Until the table is written the image reads as
 * before, so a failure or a kill leaks at most the reserved grains; they are
 * not used again while the image is open.  After it, only the redundant copy
 * can be behind, which is harmless, and told from damage by "qemu-img check".
 *
 * If power is lost, the disk may have the table without the data: the new
 * grain is zeroes then, since the file had nothing there.  That is what the
 * guest had before, but not if there is a backing file: then the data are
 * flushed before the table is written.
 *
 * Commits are grouped: whoever gets extent->lock writes for all that wait
 * for the same table.
 */
#include "qemu/osdep.h"
#include "block/vmdk/format.h"
#include "trace/trace-block.h"

typedef QSIMPLEQ_HEAD(, VmdkAlloc) VmdkAllocQueue;

bool coroutine_fn vmdk_alloc_begin(VmdkExtent *e, VmdkAlloc *a,
                                   VmdkGrainKind kind, int64_t first,
                                   int64_t *count)
{
    VmdkAlloc *other;

    *count = MIN(*count, e->gt_entries - first % e->gt_entries);
    QLIST_FOREACH(other, &e->allocs, next) {
        if (first >= other->first && first < other->first + other->count) {
            qemu_co_queue_wait(&other->waiters, NULL);
            return false;
        }
        if (other->first > first) {
            *count = MIN(*count, other->first - first);
        }
    }
    *a = (VmdkAlloc) {
        .first = first,
        .count = *count,
        .was_zero = kind == VMDK_GRAIN_ZERO,
    };
    qemu_co_queue_init(&a->waiters);
    QLIST_INSERT_HEAD(&e->allocs, a, next);
    return true;
}

int vmdk_alloc_reserve(VmdkExtent *e, VmdkAlloc *a, uint32_t sectors)
{
    uint64_t end = e->next_sector + (uint64_t)sectors * a->count;

    if (end > UINT32_MAX) {
        return -EFBIG;
    }
    a->sector = e->next_sector;
    a->step = sectors;
    e->next_sector = end;
    trace_vmdk_alloc(e, a->first, a->count, a->sector);
    return 0;
}

/* Write @entries of the directory at @offset, index @index. */
static int coroutine_fn write_gd_entry(VmdkExtent *e, int64_t offset,
                                       uint32_t index, uint32_t sector)
{
    uint32_t entry = GUINT32_TO_LE(sector);

    BLKDBG_EVENT(e->file, BLKDBG_L1_UPDATE);
    return bdrv_co_pwrite(e->file, offset + (int64_t)index * sizeof(entry),
                          sizeof(entry), &entry, 0);
}

/* In a stream, metadata have a marker in front: at @sector. */
static int coroutine_fn write_table_marker(VmdkExtent *e, uint64_t sector)
{
    VmdkMarker marker = vmdk_marker(VMDK_MARKER_TABLE, vmdk_table_sectors(e));

    return bdrv_co_pwrite(e->file, sector << BDRV_SECTOR_BITS, sizeof(marker),
                          &marker, 0);
}

/* Append an empty table; its sector, or -errno. */
static int64_t coroutine_fn append_table(VmdkExtent *e)
{
    uint64_t bytes = vmdk_table_sectors(e) * BDRV_SECTOR_SIZE;
    bool is_stream = e->compressed && e->has_markers;
    uint64_t sector = e->next_sector + is_stream;
    uint64_t end = sector + vmdk_table_sectors(e);
    int ret;

    if (!e->compressed) {
        end = ROUND_UP(end, (uint64_t)e->grain_sectors);
    }
    if (end > UINT32_MAX) {
        return -EFBIG;
    }
    e->next_sector = end;
    ret = e->compressed ? 0 : vmdk_grow(e, end << BDRV_SECTOR_BITS);
    if (ret == 0 && is_stream) {
        ret = write_table_marker(e, sector - 1);
    }
    if (ret < 0) {
        return ret;
    }
    memset(e->scratch, 0, bytes);
    BLKDBG_EVENT(e->file, BLKDBG_L2_ALLOC_WRITE);
    ret = bdrv_co_pwrite(e->file, sector << BDRV_SECTOR_BITS, bytes,
                         e->scratch, 0);
    if (ret < 0) {
        return ret;
    }
    vmdk_areas_add_table(e, sector);
    e->file_bytes = MAX(e->file_bytes, (int64_t)(sector << BDRV_SECTOR_BITS)
                                       + (int64_t)bytes);
    return sector;
}

static int coroutine_fn add_table(VmdkExtent *e, uint32_t *gd,
                                  int64_t gd_offset, uint32_t index)
{
    int64_t sector = append_table(e);
    int ret = sector < 0 ? sector
              : write_gd_entry(e, gd_offset, index, sector);

    if (ret == 0) {
        gd[index] = sector;
    }
    return ret;
}

/* ESX and some stream writers have no table where there is no grain. */
static int coroutine_fn ensure_table(VmdkExtent *e, uint32_t index)
{
    int ret = 0;

    if (e->gd[index]) {
        return 0;
    }
    if (e->rgd && !e->rgd[index]) {
        ret = add_table(e, e->rgd, e->rgd_offset, index);
    }
    return ret < 0 ? ret : add_table(e, e->gd, e->gd_offset, index);
}

/* ESX takes the next free sector from the header. */
static int coroutine_fn write_next_free(VmdkExtent *e)
{
    uint32_t sector = GUINT32_TO_LE((uint32_t)e->next_sector);

    if (e->magic != VMDK_COWD_MAGIC) {
        return 0;
    }
    return bdrv_co_pwrite(e->file, VMDK_COWD_NEXT_FREE, sizeof(sector),
                          &sector, 0);
}

int coroutine_fn vmdk_table_write(VmdkExtent *e, uint32_t sector,
                                  const uint32_t *entries, uint32_t from,
                                  uint32_t to)
{
    const uint32_t per_sector = BDRV_SECTOR_SIZE / sizeof(uint32_t);
    int64_t start;
    int64_t bytes;

    if (!vmdk_table_in_file(e, sector)) {
        return -EIO;
    }
    from = ROUND_DOWN(from, per_sector);
    to = MIN(ROUND_UP(to, per_sector), e->gt_entries);
    start = from * sizeof(uint32_t);
    bytes = (to - from) * sizeof(uint32_t);
    BLKDBG_EVENT(e->file, BLKDBG_L2_UPDATE);
    return bdrv_co_pwrite(e->file,
                          ((int64_t)sector << BDRV_SECTOR_BITS) + start,
                          bytes, entries + from, 0);
}

/* Put the entries of @a into the table copy @entries. */
static void set_entries(VmdkExtent *e, const VmdkAlloc *a, uint32_t *entries)
{
    uint32_t n = a->first % e->gt_entries;
    int64_t i;

    for (i = 0; i < a->count; i++) {
        uint32_t gte = a->sector ? a->sector + i * a->step : VMDK_GTE_ZERO;

        entries[n + i] = GUINT32_TO_LE(gte);
    }
}

static int coroutine_fn commit_queue(VmdkExtent *e, uint32_t index,
                                     VmdkAllocQueue *queue)
{
    VmdkAlloc *a;
    VmdkTable *t;
    uint32_t from = UINT32_MAX;
    uint32_t to = 0;
    int ret = ensure_table(e, index);

    if (ret == 0) {
        ret = vmdk_table_get_locked(e, index, &t);
    }
    if (ret < 0) {
        return ret;
    }
    memcpy(e->scratch, t->entries, e->gt_entries * sizeof(uint32_t));
    QSIMPLEQ_FOREACH(a, queue, next_pending) {
        uint32_t n = a->first % e->gt_entries;

        set_entries(e, a, e->scratch);
        from = MIN(from, n);
        to = MAX(to, n + (uint32_t)a->count);
    }
    ret = write_next_free(e);
    if (ret == 0) {
        ret = vmdk_table_write(e, e->gd[index], e->scratch, from, to);
    }
    if (ret == 0) {
        memcpy(t->entries, e->scratch, e->gt_entries * sizeof(uint32_t));
        vmdk_copies_changed(e, index);
    }
    return ret;
}

/* All that is pending for table @index.  With e->lock held. */
static void coroutine_fn commit_table(VmdkExtent *e, uint32_t index)
{
    VmdkAllocQueue queue = QSIMPLEQ_HEAD_INITIALIZER(queue);
    VmdkAlloc *a;
    VmdkAlloc *tmp;
    int ret;

    QSIMPLEQ_FOREACH_SAFE(a, &e->pending, next_pending, tmp) {
        if (a->first / e->gt_entries == index) {
            QSIMPLEQ_REMOVE(&e->pending, a, VmdkAlloc, next_pending);
            QSIMPLEQ_INSERT_TAIL(&queue, a, next_pending);
        }
    }
    ret = commit_queue(e, index, &queue);
    trace_vmdk_commit(e, index, ret);
    QSIMPLEQ_FOREACH(a, &queue, next_pending) {
        a->ret = ret;
        a->done = true;
    }
}

int coroutine_fn vmdk_alloc_commit(VmdkExtent *e, VmdkAlloc *a)
{
    e->file_bytes = MAX(e->file_bytes, vmdk_alloc_end_byte(a));
    QSIMPLEQ_INSERT_TAIL(&e->pending, a, next_pending);
    qemu_co_mutex_lock(&e->lock);
    if (!a->done) {
        commit_table(e, a->first / e->gt_entries);
    }
    qemu_co_mutex_unlock(&e->lock);
    return a->ret;
}

void coroutine_fn vmdk_alloc_end(VmdkAlloc *a)
{
    QLIST_REMOVE(a, next);
    qemu_co_queue_restart_all(&a->waiters);
}
