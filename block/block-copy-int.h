/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared by the clusters of a block copy, block-copy.c, and its calls,
 * block-copy-call.c.
 */
#ifndef BLOCK_COPY_INT_H
#define BLOCK_COPY_INT_H

#include "block/block-copy.h"
#include "block/buffer-pool.h"
#include "block/copy-window.h"
#include "qemu/ratelimit.h"

/*
 * One request, where the caller sets no limit: what has been read is still in
 * the processor's cache when it is written.
 */
#define BLOCK_COPY_CHUNK (256 * KiB)

typedef struct BlockCopyTask BlockCopyTask;
typedef struct BlockCopyWait BlockCopyWait;

struct BlockCopyState {
    BdrvChild *source;
    BdrvChild *target;
    int64_t cluster_size;
    int64_t len;                /* of the source */
    int64_t max_transfer;       /* what one request may have */
    BdrvRequestFlags write_flags;
    bool discard_source;

    bool skip_unallocated;      /* atomic */
    BlockDriverState *base;     /* below what is copied then; or NULL */
    bool use_copy_range;        /* atomic; until it was refused */
    bool target_is_partial;     /* it may get a backing file later */
    bool abandoned;             /* atomic */

    QemuMutex lock;             /* protects what follows */
    int64_t in_flight_bytes;
    CoQueue memory_queue;       /* until in_flight_bytes is lower */
    int64_t task_bytes;         /* of all tasks */
    bool keeps_source;          /* no discard of it begins any more */
    unsigned discards;          /* of the source, that run */
    CoQueue discard_queue;      /* until there are none */
    QLIST_HEAD(, BlockCopyTask) tasks;
    QLIST_HEAD(, BlockCopyWait) waits;
    ProgressMeter *progress;
    BufferPool buffers;

    BdrvDirtyBitmap *copy_bitmap;
    RateLimit rate_limit;
};

struct BlockCopyCallState {
    BlockCopyState *s;
    int64_t offset;
    int64_t bytes;
    int max_workers;
    bool background;            /* nobody waits for it */
    int64_t max_chunk;
    bool any_chunk;             /* the caller sets no limit */
    bool ignore_ratelimit;
    BlockCopyAsyncCallbackFunc cb;
    void *cb_opaque;
    Coroutine *co;

    /* The coroutine's, and its tasks', which run in one context. */
    int running;                /* tasks */
    CopyWindow window;          /* of a call in the background */
    bool waiting;               /* the coroutine, for a task to end */
    QemuCoSleep sleep;
    int ret;
    bool error_is_read;

    bool cancelled;             /* atomic */
    bool finished;              /* atomic */
};

/*
 * Copy what is dirty in the range of the call @opaque, wait for what other
 * calls copy of it, and tell the call's callback.  In the call's coroutine.
 */
void coroutine_fn block_copy_call_run(void *opaque);

/*
 * Whether the target has all clusters of the range, so that a call would have
 * nothing to copy and nothing to wait for; false if it is abandoned.
 */
bool block_copy_is_done(BlockCopyState *s, int64_t offset, int64_t bytes);

/*
 * The longest request in bytes of a call in the background, for which its
 * caller wants @wanted, 0 for no limit.  Any thread.
 */
int64_t block_copy_max_chunk(BlockCopyState *s, int64_t wanted);

#endif
