/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writing compressed grains.
 *
 * A grain is written once, as a whole, behind the last one.  What was there is
 * the end of the stream: closing the image writes a new one (footer.c).
 *
 * Packing and unpacking take most of the time, so worker threads do that.  The
 * whole grains of a request are packed at the same time, and then written in
 * their order.
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"
#include "block/vmdk/stream.h"

int vmdk_stream_find_end(VmdkExtent *e, uint64_t *needed_bytes)
{
    const VmdkArea *area = &g_array_index(e->areas, VmdkArea,
                                          e->areas->len - 1);
    uint64_t end = MAX(area->end, e->overhead);
    GrainMarker marker;
    int ret;

    if (!e->compressed || !e->has_markers) {
        return 0;
    }
    if (e->last_grain) {
        uint64_t start = (uint64_t)e->last_grain << BDRV_SECTOR_BITS;
        uint64_t grain_end = start + sizeof(marker);

        if (grain_end <= (uint64_t)e->file_bytes) {
            ret = bdrv_pread(e->file, start, sizeof(marker), &marker, 0);
            if (ret < 0) {
                return ret;
            }
            grain_end += GUINT32_FROM_LE(marker.size);
        }
        if (needed_bytes && grain_end > (uint64_t)e->file_bytes) {
            *needed_bytes = MAX(*needed_bytes, grain_end);
        }
        end = MAX(end, DIV_ROUND_UP(grain_end, BDRV_SECTOR_SIZE));
    }
    e->next_sector = end;
    return 0;
}

/* The grain @data as it goes to the file; *@size in bytes, whole sectors. */
static uint8_t *pack_grain(VmdkExtent *e, int64_t grain, const uint8_t *data,
                           size_t *size)
{
    size_t skip = marker_bytes(e);
    size_t packed = vmdk_deflate_bound(e->grain_bytes);
    size_t room = ROUND_UP(skip + packed, (size_t)BDRV_SECTOR_SIZE);
    uint8_t *raw = g_try_malloc0(room);

    if (!raw) {
        return NULL;
    }
    if (vmdk_deflate(raw + skip, &packed, data, e->grain_bytes) < 0) {
        g_free(raw);
        return NULL;
    }
    if (skip) {
        GrainMarker *marker = (GrainMarker *)raw;

        marker->lba = GUINT64_TO_LE(grain * e->grain_sectors);
        marker->size = GUINT32_TO_LE((uint32_t)packed);
    }
    *size = ROUND_UP(skip + packed, (size_t)BDRV_SECTOR_SIZE);
    return raw;
}

/* --- packing in worker threads --- */

struct VmdkPackedGrain {
    VmdkExtent *e;
    int64_t grain;
    uint8_t *data;
    uint8_t *raw;               /* NULL: not enough memory */
    size_t size;
};

static int pack_worker(void *opaque)
{
    VmdkPackedGrain *p = opaque;

    if (p->data) {
        p->raw = pack_grain(p->e, p->grain, p->data, &p->size);
    }
    g_free(p->data);
    p->data = NULL;
    return 0;
}

VmdkPackedGrain *coroutine_fn vmdk_stream_pack(VmdkExtent *e, int64_t offset,
                                               int64_t bytes,
                                               QEMUIOVector *qiov,
                                               size_t qiov_offset,
                                               int *count)
{
    int64_t first = DIV_ROUND_UP(offset, e->grain_bytes);
    int64_t n = (offset + bytes) / e->grain_bytes - first;
    VmdkPackedGrain *packed;
    int64_t i;

    *count = 0;
    n = MIN(n, vmdk_stream_max_grains(e));
    if (n < 2) {
        return NULL;
    }
    packed = g_try_new0(VmdkPackedGrain, n);
    if (!packed) {
        return NULL;
    }
    *count = n;
    for (i = 0; i < n; i++) {
        VmdkPackedGrain *p = &packed[i];
        int64_t start = (first + i) * e->grain_bytes;

        *p = (VmdkPackedGrain) {
            .e = e, .grain = first + i,
            .data = g_try_malloc(e->grain_bytes),
        };
        if (p->data) {
            qemu_iovec_to_buf(qiov, qiov_offset + (start - offset), p->data,
                              e->grain_bytes);
        }
    }
    vmdk_run_all(pack_worker, packed, sizeof(*packed), n);
    return packed;
}

void vmdk_stream_free_packed(VmdkPackedGrain *packed, int count)
{
    int i;

    for (i = 0; i < count; i++) {
        g_free(packed[i].raw);
    }
    g_free(packed);
}

/* Take @grain out of @packed, if it is there. */
static uint8_t *take_packed(VmdkPackedGrain *packed, int count, int64_t grain,
                            size_t *size)
{
    int64_t i = count ? grain - packed[0].grain : -1;
    uint8_t *raw;

    if (i < 0 || i >= count) {
        return NULL;
    }
    raw = packed[i].raw;
    packed[i].raw = NULL;
    *size = packed[i].size;
    return raw;
}

/* --- writing --- */

/* The whole new content of the grain: old, with the request over it. */
static int coroutine_fn compose_grain(BlockDriverState *bs, VmdkExtent *e,
                                      int64_t offset, int64_t bytes,
                                      QEMUIOVector *qiov, size_t qiov_offset,
                                      bool was_zero, uint8_t *data)
{
    int64_t start = QEMU_ALIGN_DOWN(offset, e->grain_bytes);
    int64_t there = MIN(e->grain_bytes, e->bytes - start);
    QEMUIOVector old;
    int ret = 0;

    if (was_zero) {
        memset(data, 0, e->grain_bytes);
    } else if (bytes < e->grain_bytes) {
        memset(data + there, 0, e->grain_bytes - there);
        qemu_iovec_init_buf(&old, data, there);
        ret = vmdk_read_backing(bs, e->start + start, there, &old, 0);
    }
    if (ret == 0) {
        qemu_iovec_to_buf(qiov, qiov_offset, data + (offset - start), bytes);
    }
    return ret;
}

/* The grain as it goes to the file; NULL with *@ret set. */
static uint8_t *coroutine_fn compose_packed(BlockDriverState *bs,
                                            VmdkExtent *e, VmdkAlloc *a,
                                            int64_t offset, int64_t bytes,
                                            QEMUIOVector *qiov,
                                            size_t qiov_offset, size_t *size,
                                            int *ret)
{
    g_autofree uint8_t *data = g_try_malloc(e->grain_bytes);
    uint8_t *raw = NULL;

    *ret = -ENOMEM;
    if (data) {
        *ret = compose_grain(bs, e, offset, bytes, qiov, qiov_offset,
                             a->was_zero, data);
    }
    if (*ret == 0) {
        raw = pack_grain(e, a->first, data, size);
        *ret = raw ? 0 : -ENOMEM;
    }
    return raw;
}

/*
 * It could not be written.  The next one goes to its place: zeroes there would
 * be the end for those who read the stream from front to back.  If others are
 * behind it already, there is no stream any more, but an image all the same.
 */
static void give_back(VmdkExtent *e, const VmdkAlloc *a)
{
    if (e->next_sector == (uint64_t)a->sector + a->step) {
        e->next_sector = a->sector;
    } else {
        e->has_hole = true;
        e->needs_end = false;
    }
}

static int coroutine_fn write_grain(BlockDriverState *bs, VmdkExtent *e,
                                    VmdkAlloc *a, int64_t offset,
                                    int64_t bytes, QEMUIOVector *qiov,
                                    size_t qiov_offset,
                                    VmdkPackedGrain *packed, int count)
{
    size_t size = 0;
    g_autofree uint8_t *raw = take_packed(packed, count, a->first, &size);
    int ret;

    if (!raw) {
        raw = compose_packed(bs, e, a, offset, bytes, qiov, qiov_offset,
                             &size, &ret);
        if (!raw) {
            return ret;
        }
    }
    ret = vmdk_alloc_reserve(e, a, size >> BDRV_SECTOR_BITS);
    if (ret < 0) {
        return ret;
    }
    /* Also if that fails: it may have gone over the old end. */
    e->needs_end = e->has_markers && !e->has_hole;
    BLKDBG_EVENT(e->file, BLKDBG_WRITE_COMPRESSED);
    ret = bdrv_co_pwrite(e->file, (int64_t)a->sector << BDRV_SECTOR_BITS,
                         size, raw, 0);
    if (ret < 0) {
        give_back(e, a);
        return ret;
    }
    return vmdk_alloc_commit(e, a);
}

int coroutine_fn vmdk_stream_write(BlockDriverState *bs, VmdkExtent *e,
                                   int64_t offset, int64_t bytes,
                                   QEMUIOVector *qiov, size_t qiov_offset,
                                   VmdkPackedGrain *packed, int packed_count)
{
    int64_t count;
    VmdkAlloc a;
    VmdkRun run;
    int ret;

    do {
        ret = vmdk_map_checked(bs, e, offset, bytes, &run);
        if (ret < 0) {
            return ret;
        }
        if (run.kind == VMDK_GRAIN_DATA) {
            error_report("Could not write to allocated cluster for"
                         " streamOptimized");
            return -EIO;
        }
        count = 1;
    } while (!vmdk_alloc_begin(e, &a, run.kind, offset / e->grain_bytes,
                               &count));
    ret = write_grain(bs, e, &a, offset, bytes, qiov, qiov_offset, packed,
                      packed_count);
    vmdk_alloc_end(&a);
    return ret;
}
