/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compressed grains (VMDK 5.0 specification, "Stream-Optimized Compressed
 * Sparse Extents"): a marker with the sector and the length, then a zlib
 * stream, filled up to whole sectors.
 *
 * A grain is written once, as a whole, at the end of the file.  Behind the
 * last one is the end marker, a sector of zeroes: the next grain takes its
 * place, and closing the image writes a new one.
 *
 * Packing and unpacking take most of the time, so worker threads do that.  The
 * whole grains of a request are packed at the same time, and then written in
 * their order.
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"
#include "qemu/thread-pool.h"
#include <zlib.h>

typedef struct QEMU_PACKED GrainMarker {
    uint64_t lba;
    uint32_t size;
} GrainMarker;

static size_t marker_bytes(const VmdkExtent *e)
{
    return e->has_markers ? sizeof(GrainMarker) : 0;
}

/* The most that any compressor makes of a grain, marker included. */
static size_t max_compressed(const VmdkExtent *e)
{
    return sizeof(GrainMarker) + e->grain_bytes + e->grain_bytes / 8 + 4096;
}

/* Whether the marker is that of @grain: counted in the extent, or the disk. */
static bool marker_fits(const VmdkExtent *e, int64_t grain,
                        const GrainMarker *marker)
{
    uint64_t sector = grain * e->grain_sectors;
    uint64_t lba = GUINT64_FROM_LE(marker->lba);

    return lba == sector || lba == sector + (e->start >> BDRV_SECTOR_BITS);
}

/*
 * Unpack @raw, the @raw_bytes at the place of @grain, into @data.  -EILSEQ
 * if that is another grain, -EIO if it is damaged.
 */
static int unpack_grain(const VmdkExtent *e, int64_t grain,
                        const uint8_t *raw, size_t raw_bytes, uint8_t *data)
{
    int64_t needed = MIN(e->grain_bytes, e->bytes - grain * e->grain_bytes);
    size_t skip = marker_bytes(e);
    size_t size = raw_bytes;
    uLongf data_bytes = e->grain_bytes;
    int ret;

    if (skip) {
        const GrainMarker *marker = (const GrainMarker *)raw;

        if (raw_bytes < skip) {
            return -EIO;
        }
        size = GUINT32_FROM_LE(marker->size);
        if (!size || size > raw_bytes - skip) {
            return -EIO;
        }
        if (!marker_fits(e, grain, marker)) {
            return -EILSEQ;
        }
    }
    ret = uncompress(data, &data_bytes, raw + skip, size);
    if (ret == Z_MEM_ERROR) {
        return -ENOMEM;
    }
    return ret == Z_OK && (int64_t)data_bytes >= needed ? 0 : -EIO;
}

typedef struct Unpack {
    const VmdkExtent *e;
    int64_t grain;
    const uint8_t *raw;
    size_t raw_bytes;
    uint8_t *data;
} Unpack;

static int unpack_worker(void *opaque)
{
    Unpack *u = opaque;

    return unpack_grain(u->e, u->grain, u->raw, u->raw_bytes, u->data);
}

int coroutine_fn vmdk_stream_load(VmdkExtent *e, int64_t grain,
                                  int64_t file_offset, uint8_t *data,
                                  bool *readable)
{
    int64_t raw_bytes = MIN((int64_t)max_compressed(e),
                            e->file_bytes - file_offset);
    g_autofree uint8_t *raw = g_try_malloc(raw_bytes);
    int ret;

    *readable = false;
    if (!raw) {
        return -ENOMEM;
    }
    BLKDBG_EVENT(e->file, BLKDBG_READ_COMPRESSED);
    ret = bdrv_co_pread(e->file, file_offset, raw_bytes, raw, 0);
    if (ret == 0) {
        Unpack u = {
            .e = e, .grain = grain, .raw = raw, .raw_bytes = raw_bytes,
            .data = data,
        };

        *readable = true;
        ret = thread_pool_submit_co(unpack_worker, &u);
    }
    return ret;
}

int coroutine_fn vmdk_stream_read(VmdkExtent *e, int64_t offset,
                                  const VmdkRun *run, int64_t bytes,
                                  QEMUIOVector *qiov, size_t qiov_offset)
{
    g_autofree uint8_t *data = g_try_malloc(e->grain_bytes);
    bool readable;
    int ret;

    if (!data) {
        return -ENOMEM;
    }
    ret = vmdk_stream_load(e, offset / e->grain_bytes, run->file_offset, data,
                           &readable);
    if (ret < 0) {
        return ret == -EILSEQ ? -EIO : ret;
    }
    qemu_iovec_from_buf(qiov, qiov_offset, data + offset % e->grain_bytes,
                        bytes);
    return 0;
}

int vmdk_stream_find_end(VmdkExtent *e, uint32_t last,
                         uint64_t *needed_bytes)
{
    const VmdkArea *area = &g_array_index(e->areas, VmdkArea,
                                          e->areas->len - 1);
    uint64_t end = MAX(area->end, e->overhead);
    GrainMarker marker;
    int ret;

    if (!e->compressed || !e->has_markers || e->has_footer) {
        return 0;
    }
    if (last) {
        uint64_t start = (uint64_t)last << BDRV_SECTOR_BITS;
        uint64_t grain_end = start + sizeof(marker);

        if (grain_end <= (uint64_t)e->file_bytes) {
            ret = bdrv_pread(e->file, start, sizeof(marker), &marker, 0);
            if (ret < 0) {
                return ret;
            }
            grain_end += GUINT32_FROM_LE(marker.size);
        }
        if (grain_end > (uint64_t)e->file_bytes) {
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
    uLongf packed = compressBound(e->grain_bytes);
    size_t room = ROUND_UP(skip + packed, (size_t)BDRV_SECTOR_SIZE);
    uint8_t *raw = g_try_malloc0(room);

    if (!raw) {
        return NULL;
    }
    if (compress(raw + skip, &packed, data, e->grain_bytes) != Z_OK) {
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

/*
 * At a time: each grain has a coroutine, and is in memory twice.  A request
 * may have millions of grains.
 */
#define PACK_MAX_GRAINS 32
#define PACK_MAX_BYTES (8 * MiB)
/* Smaller ones are packed faster than a thread is woken. */
#define PACK_MIN_GRAIN_BYTES (16 * KiB)

typedef struct PackGroup {
    Coroutine *waiter;          /* NULL: does not wait yet */
    int pending;
} PackGroup;

struct VmdkPackedGrain {
    PackGroup *group;
    VmdkExtent *e;
    int64_t grain;
    uint8_t *data;
    uint8_t *raw;               /* NULL: not enough memory */
    size_t size;
};

static int pack_worker(void *opaque)
{
    VmdkPackedGrain *p = opaque;

    p->raw = pack_grain(p->e, p->grain, p->data, &p->size);
    return 0;
}

static void coroutine_fn pack_co(void *opaque)
{
    VmdkPackedGrain *p = opaque;
    PackGroup *group = p->group;

    if (p->data) {
        thread_pool_submit_co(pack_worker, p);
    }
    g_free(p->data);
    p->data = NULL;
    if (--group->pending == 0 && group->waiter) {
        aio_co_wake(group->waiter);
    }
}

VmdkPackedGrain *coroutine_fn vmdk_stream_pack(VmdkExtent *e, int64_t offset,
                                               int64_t bytes,
                                               QEMUIOVector *qiov,
                                               size_t qiov_offset,
                                               int *count)
{
    int64_t first = DIV_ROUND_UP(offset, e->grain_bytes);
    int64_t n = (offset + bytes) / e->grain_bytes - first;
    PackGroup group = { .pending = 0 };
    VmdkPackedGrain *packed;
    int64_t i;

    *count = 0;
    n = MIN(n, MIN(PACK_MAX_GRAINS, PACK_MAX_BYTES / e->grain_bytes));
    if (n < 2 || e->grain_bytes < PACK_MIN_GRAIN_BYTES) {
        return NULL;
    }
    packed = g_try_new0(VmdkPackedGrain, n);
    if (!packed) {
        return NULL;
    }
    *count = n;
    group.pending = n;
    for (i = 0; i < n; i++) {
        VmdkPackedGrain *p = &packed[i];
        int64_t start = (first + i) * e->grain_bytes;

        *p = (VmdkPackedGrain) {
            .group = &group, .e = e, .grain = first + i,
            .data = g_try_malloc(e->grain_bytes),
        };
        if (p->data) {
            qemu_iovec_to_buf(qiov, qiov_offset + (start - offset), p->data,
                              e->grain_bytes);
        }
        qemu_coroutine_enter(qemu_coroutine_create(pack_co, p));
    }
    while (group.pending) {
        group.waiter = qemu_coroutine_self();
        qemu_coroutine_yield();
    }
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
    BLKDBG_EVENT(e->file, BLKDBG_WRITE_COMPRESSED);
    ret = bdrv_co_pwrite(e->file, (int64_t)a->sector << BDRV_SECTOR_BITS,
                         size, raw, 0);
    if (ret < 0) {
        return ret;
    }
    e->needs_end_marker = e->has_markers;
    return vmdk_alloc_commit(e, a);
}

int vmdk_stream_finish(VmdkExtent *e)
{
    static const uint8_t zeroes[BDRV_SECTOR_SIZE];
    int ret;

    if (!e->needs_end_marker) {
        return 0;
    }
    ret = bdrv_pwrite(e->file, (int64_t)e->next_sector << BDRV_SECTOR_BITS,
                      sizeof(zeroes), zeroes, 0);
    if (ret == 0) {
        e->needs_end_marker = false;
        ret = bdrv_flush(e->file->bs);
    }
    return ret;
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
        ret = vmdk_map(e, offset, bytes, &run);
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
