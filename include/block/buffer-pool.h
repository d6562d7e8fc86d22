/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Buffers that are used again: fresh memory costs a page fault per page, which
 * is more than the copying of what goes through it.
 *
 * The caller locks.
 */
#ifndef BLOCK_BUFFER_POOL_H
#define BLOCK_BUFFER_POOL_H

#include "block/block.h"

#define BUFFER_POOL_MAX 64

typedef struct BufferPool {
    size_t size;                /* of each, bytes */
    int n;
    void *free[BUFFER_POOL_MAX];
} BufferPool;

/*
 * A buffer for direct requests of @bytes to @bs, from the pool if there is one
 * that is large enough; NULL without memory.  buffer_pool_put() takes it back.
 */
static inline void *buffer_pool_get(BufferPool *pool, BlockDriverState *bs,
                                    size_t bytes)
{
    if (bytes > pool->size) {
        return qemu_try_blockalign(bs, bytes);
    }
    return pool->n ? pool->free[--pool->n] :
           qemu_try_blockalign(bs, pool->size);
}

/* @bytes: as when it was taken.  NULL is fine. */
static inline void buffer_pool_put(BufferPool *pool, void *buf, size_t bytes)
{
    if (buf && bytes <= pool->size && pool->n < BUFFER_POOL_MAX) {
        pool->free[pool->n++] = buf;
    } else {
        qemu_vfree(buf);
    }
}

static inline void buffer_pool_destroy(BufferPool *pool)
{
    while (pool->n) {
        qemu_vfree(pool->free[--pool->n]);
    }
}

#endif
