/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Worker threads for system calls that block, one pool per AioContext.
 */
#ifndef BLOCK_THREAD_POOL_H
#define BLOCK_THREAD_POOL_H

#include "qemu/aio.h"

#define THREAD_POOL_MAX_THREADS_DEFAULT 64

/* Work to do in a worker thread; its return value is the request's result. */
typedef int ThreadPoolFunc(void *opaque);

/*
 * A pool whose completions are delivered in @ctx.  In @ctx's home thread, as
 * are all functions below.  Users call aio_get_thread_pool() instead.
 */
ThreadPoolAio *thread_pool_new_aio(AioContext *ctx);

/* Wait for the threads to end.  There must be no request left. */
void thread_pool_free_aio(ThreadPoolAio *pool);

/*
 * Run func(@arg) in a thread of the current AioContext's pool, and
 * cb(@opaque, result) in its event loop afterwards.  The returned request is
 * valid until @cb is called.  Its aiocb_info->cancel_async() takes it back if
 * no thread has begun it: then the result is -ECANCELED.
 */
BlockAIOCB *thread_pool_submit_aio(ThreadPoolFunc *func, void *arg,
                                   BlockCompletionFunc *cb, void *opaque);

/* The same for a coroutine, which yields until it is done: the result. */
int coroutine_fn thread_pool_submit_co(ThreadPoolFunc *func, void *arg);

/*
 * Requests that are worth doing together.  One that comes while the last one
 * in the queue waits for a thread joins it, if it follows it.
 */
typedef struct ThreadPoolMerge {
    /* Both are queued.  Under the pool's lock: it must be quick. */
    bool (*follows)(const void *arg, const void *next_arg);
    /* Instead of each one's function, in a thread: the @n results. */
    void (*run)(void *const *args, int *rets, unsigned n);
} ThreadPoolMerge;

/* So many at most. */
#define THREAD_POOL_MERGE_MAX 16

/* As thread_pool_submit_co(); @merge is constant. */
int coroutine_fn thread_pool_submit_co_merge(ThreadPoolFunc *func, void *arg,
                                             const ThreadPoolMerge *merge);

/*
 * Take over the limits of @ctx (thread_pool_min, thread_pool_max); a maximum
 * of 0 means the default.  Threads beyond it end as soon as they are idle.
 */
void thread_pool_update_params(ThreadPoolAio *pool, AioContext *ctx);

#endif
