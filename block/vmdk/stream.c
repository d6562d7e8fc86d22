/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compressed grains (VMDK 5.0 specification, "Stream-Optimized Compressed
 * Sparse Extents"): a marker with the sector and the length, then a zlib
 * stream, filled up to whole sectors.
 *
 * A grain is written once, as a whole, at the end of the file.
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"
#include "qemu/cutils.h"
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

/* Unpack @raw, the @raw_bytes at the grain's place, into @data. */
static int unpack_grain(const VmdkExtent *e, const uint8_t *raw,
                        size_t raw_bytes, uint8_t *data, uLongf *data_bytes)
{
    size_t skip = marker_bytes(e);
    size_t size = raw_bytes;
    int ret;

    if (skip) {
        const GrainMarker *marker = (const GrainMarker *)raw;

        size = GUINT32_FROM_LE(marker->size);
        if (!size || raw_bytes < skip || size > raw_bytes - skip) {
            return -EIO;
        }
    }
    *data_bytes = e->grain_bytes;
    ret = uncompress(data, data_bytes, raw + skip, size);
    return ret == Z_OK ? 0 : ret == Z_MEM_ERROR ? -ENOMEM : -EIO;
}

int coroutine_fn vmdk_stream_read(VmdkExtent *e, int64_t offset,
                                  const VmdkRun *run, int64_t bytes,
                                  QEMUIOVector *qiov, size_t qiov_offset)
{
    int64_t in_grain = offset % e->grain_bytes;
    int64_t raw_bytes = MIN((int64_t)max_compressed(e),
                            e->file_bytes - run->file_offset);
    g_autofree uint8_t *raw = g_try_malloc(raw_bytes);
    g_autofree uint8_t *data = g_try_malloc(e->grain_bytes);
    uLongf data_bytes;
    int ret;

    if (!raw || !data) {
        return -ENOMEM;
    }
    BLKDBG_EVENT(e->file, BLKDBG_READ_COMPRESSED);
    ret = bdrv_co_pread(e->file, run->file_offset, raw_bytes, raw, 0);
    if (ret < 0) {
        return ret;
    }
    ret = unpack_grain(e, raw, raw_bytes, data, &data_bytes);
    if (ret < 0) {
        return ret;
    }
    if (in_grain + bytes > (int64_t)data_bytes) {
        return -EIO;
    }
    qemu_iovec_from_buf(qiov, qiov_offset, data + in_grain, bytes);
    return 0;
}

/* Whether the last sector of the file is behind @end and an end marker. */
static int ends_with_marker(VmdkExtent *e, uint64_t end, bool *result)
{
    uint64_t last = (e->file_bytes >> BDRV_SECTOR_BITS) - 1;
    uint8_t buf[BDRV_SECTOR_SIZE];
    int ret = 0;

    *result = false;
    if (e->file_bytes % BDRV_SECTOR_SIZE == 0 && end <= last) {
        ret = bdrv_pread(e->file, last << BDRV_SECTOR_BITS, sizeof(buf), buf,
                         0);
        *result = ret == 0 && buffer_is_zero(buf, sizeof(buf));
    }
    return ret;
}

int vmdk_stream_find_end(VmdkExtent *e, uint32_t last,
                         uint64_t *needed_bytes)
{
    const VmdkArea *area = &g_array_index(e->areas, VmdkArea,
                                          e->areas->len - 1);
    uint64_t end = MAX(area->end, e->overhead);
    GrainMarker marker;
    bool has_marker;
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
    ret = ends_with_marker(e, end, &has_marker);
    if (ret == 0 && has_marker) {
        e->next_sector = (e->file_bytes >> BDRV_SECTOR_BITS) - 1;
    }
    return ret;
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

static int coroutine_fn write_grain(BlockDriverState *bs, VmdkExtent *e,
                                    VmdkAlloc *a, int64_t offset,
                                    int64_t bytes, QEMUIOVector *qiov,
                                    size_t qiov_offset)
{
    g_autofree uint8_t *data = g_try_malloc(e->grain_bytes);
    g_autofree uint8_t *raw = NULL;
    size_t size;
    int ret;

    if (!data) {
        return -ENOMEM;
    }
    ret = compose_grain(bs, e, offset, bytes, qiov, qiov_offset, a->was_zero,
                        data);
    if (ret < 0) {
        return ret;
    }
    raw = pack_grain(e, a->first, data, &size);
    if (!raw) {
        return -ENOMEM;
    }
    ret = vmdk_alloc_reserve(e, a, size >> BDRV_SECTOR_BITS);
    if (ret < 0) {
        return ret;
    }
    BLKDBG_EVENT(e->file, BLKDBG_WRITE_COMPRESSED);
    ret = bdrv_co_pwrite(e->file, (int64_t)a->sector << BDRV_SECTOR_BITS,
                         size, raw, 0);
    return ret < 0 ? ret : vmdk_alloc_commit(e, a);
}

int coroutine_fn vmdk_stream_write(BlockDriverState *bs, VmdkExtent *e,
                                   int64_t offset, int64_t bytes,
                                   QEMUIOVector *qiov, size_t qiov_offset)
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
    ret = write_grain(bs, e, &a, offset, bytes, qiov, qiov_offset);
    vmdk_alloc_end(&a);
    return ret;
}
