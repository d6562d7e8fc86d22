/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Private to compressed grains (VMDK 5.0 specification, "Stream-Optimized
 * Compressed Sparse Extents"): a marker with the sector and the length, then a
 * zlib stream, filled up to whole sectors.
 */
#ifndef BLOCK_VMDK_STREAM_H
#define BLOCK_VMDK_STREAM_H

#include "qemu/thread-pool.h"

typedef struct QEMU_PACKED GrainMarker {
    uint64_t lba;
    uint32_t size;
} GrainMarker;

static inline size_t marker_bytes(const VmdkExtent *e)
{
    return e->has_markers ? sizeof(GrainMarker) : 0;
}

/* The most that any compressor makes of a grain, marker included. */
static inline size_t max_compressed(const VmdkExtent *e)
{
    return sizeof(GrainMarker) + e->grain_bytes + e->grain_bytes / 8 + 4096;
}

/*
 * How many grains worker threads pack or unpack at a time, 0 if they are so
 * small that a thread is not worth it.  Each is in memory twice, and a request
 * may have millions of them.
 */
static inline int64_t vmdk_stream_max_grains(const VmdkExtent *e)
{
    return e->grain_bytes < 16 * KiB ? 0 : MIN(32, 8 * MiB / e->grain_bytes);
}

/* deflate.c: any thread. */

/* The most that vmdk_deflate() makes of @bytes. */
size_t vmdk_deflate_bound(size_t bytes);
/* @to has room for *@to_bytes, which becomes how many it has.  0 or -ENOMEM. */
int vmdk_deflate(uint8_t *to, size_t *to_bytes, const uint8_t *from,
                 size_t from_bytes);
/*
 * What follows the stream in @from does not count.  0, -ENOMEM, or -EIO for
 * data that are damaged or too many.
 */
int vmdk_inflate(uint8_t *to, size_t *to_bytes, const uint8_t *from,
                 size_t from_bytes);

/*
 * Call @fn in worker threads for each of the @count elements of @size bytes
 * at @items, and wait for all.  Coroutine of the node's AioContext.
 */
void coroutine_fn vmdk_run_all(ThreadPoolFunc *fn, void *items, size_t size,
                               int count);

#endif
