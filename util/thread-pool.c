/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Worker threads for system calls that block.
 *
 * Threads.  The home thread of the AioContext submits and completes; workers
 * run the functions.  A worker is busy (in a function), searching (awake and
 * about to take a request), or idle (asleep on its own semaphore).  A request
 * is queued when it is submitted, and one more worker is recruited only if
 * there are more queued requests than searching workers: the idle one that fell
 * asleep last, whose cache is the warmest, or a new one.  The others, at the
 * bottom of the stack of idle workers, end after IDLE_TIMEOUT_MS.
 *
 * Requests that may be merged are a group, of which the first one is queued: it
 * is one for all that is said here, until it has been carried out.
 *
 * A burst makes the home thread create at most one thread at a time: a new
 * worker, when it has taken its first request, recruits the next one.
 *
 * Completion.  Workers push what is done on a lock-free stack.  Only who finds
 * it empty schedules the completion BH, which takes all of it.  A callback may
 * run a nested event loop, so what was taken waits on @ready, not in a local
 * variable, and the BH stays scheduled while there is something on it.
 *
 * Locking.  @lock protects the queue and the workers.  Semaphores are posted
 * and threads created after it is released.  A worker's structure lives as
 * long as the pool, so it may be posted late.
 */
#include "qemu/osdep.h"
#include "qemu/aio.h"
#include "qemu/thread-pool.h"
#include "qemu/coroutine.h"
#include "qemu/defer-call.h"
#include "qemu/queue.h"
#include "qemu/thread.h"
#include "trace/trace-util.h"

#define IDLE_TIMEOUT_MS 10000

typedef enum {
    REQ_QUEUED,         /* on pool->queue */
    REQ_ACTIVE,         /* a worker's */
    REQ_CANCELED,       /* never begun; on its way to completion */
} ThreadPoolState;

typedef struct ThreadPoolRequest ThreadPoolRequest;

struct ThreadPoolRequest {
    ThreadPoolAio *pool;
    ThreadPoolFunc *func;
    void *arg;
    int ret;
    ThreadPoolState state;                      /* lock */
    QTAILQ_ENTRY(ThreadPoolRequest) link;       /* lock */
    const ThreadPoolMerge *merge;               /* or NULL */
    ThreadPoolRequest *group_next;              /* lock, then the worker's */
    ThreadPoolRequest *group_last;              /* of the first one; lock */
    unsigned group_size;                        /* the same */
    ThreadPoolRequest *done_next;               /* on pool->done */
    QSIMPLEQ_ENTRY(ThreadPoolRequest) ready;    /* home thread */

    /* In the home thread, last: the request is gone afterwards. */
    void (*complete)(ThreadPoolRequest *req);
};

typedef struct {
    BlockAIOCB common;
    ThreadPoolRequest req;
} ThreadPoolAiocb;

typedef struct {
    Coroutine *co;
    ThreadPoolRequest req;
} ThreadPoolCo;

typedef struct ThreadPoolWorker ThreadPoolWorker;

struct ThreadPoolWorker {
    ThreadPoolAio *pool;
    QemuSemaphore wake;
    bool started;                           /* a thread runs it; lock */
    bool woken;                             /* a post comes; lock */
    QTAILQ_ENTRY(ThreadPoolWorker) link;    /* idle or unused; lock */
};

struct ThreadPoolAio {
    AioContext *ctx;
    QEMUBH *completion_bh;

    QemuMutex lock;
    QemuCond stopped;                       /* n_workers became 0 */
    QTAILQ_HEAD(, ThreadPoolRequest) queue;
    ThreadPoolRequest *last;                /* of the queue; NULL: taken */
    QTAILQ_HEAD(, ThreadPoolWorker) idle;   /* last to fall asleep first */
    QTAILQ_HEAD(, ThreadPoolWorker) unused;
    int n_queued;
    int n_searching;
    int n_workers;                          /* new ones included */
    int min_workers;
    int max_workers;
    bool spawning;                          /* a new one has not run yet */
    bool stopping;

    ThreadPoolRequest *done;                /* atomic stack */
    QSIMPLEQ_HEAD(, ThreadPoolRequest) ready;   /* home thread */
    int n_requests;                         /* home thread */
};

static void *thread_pool_worker(void *opaque);

/* Under the lock.  Returns a worker for worker_kick(), or NULL. */
static ThreadPoolWorker *pool_recruit(ThreadPoolAio *pool)
{
    ThreadPoolWorker *w;

    if (pool->n_queued <= pool->n_searching) {
        return NULL;
    }
    w = QTAILQ_FIRST(&pool->idle);
    if (w) {
        QTAILQ_REMOVE(&pool->idle, w, link);
        w->woken = true;
        pool->n_searching++;
        return w;
    }
    if (pool->spawning || pool->n_workers >= pool->max_workers) {
        return NULL;
    }

    w = QTAILQ_FIRST(&pool->unused);
    if (w) {
        QTAILQ_REMOVE(&pool->unused, w, link);
    } else {
        w = g_new0(ThreadPoolWorker, 1);
        w->pool = pool;
        qemu_sem_init(&w->wake, 0);
    }
    w->started = false;
    pool->spawning = true;
    pool->n_workers++;
    pool->n_searching++;
    return w;
}

/* Without a new thread the others must do; without any, there is no way. */
static void worker_create_failed(ThreadPoolWorker *w, int err)
{
    ThreadPoolAio *pool = w->pool;

    QEMU_LOCK_GUARD(&pool->lock);
    pool->spawning = false;
    pool->n_searching--;
    pool->n_workers--;
    QTAILQ_INSERT_HEAD(&pool->unused, w, link);
    if (pool->n_workers == 0) {
        fprintf(stderr, "qemu: cannot create a worker thread: %s\n",
                strerror(err));
        abort();
    }
}

/* Without the lock: wake or create a worker that was recruited. */
static void worker_kick(ThreadPoolWorker *w)
{
    QemuThread thread;
    int ret;

    if (!w) {
        return;
    }

    /* Stable: a new worker has no thread, an idle one waits for the post. */
    if (w->started) {
        qemu_sem_post(&w->wake);
        return;
    }
    ret = qemu_thread_try_create(&thread, "worker", thread_pool_worker, w,
                                 QEMU_THREAD_DETACHED);
    if (ret < 0) {
        worker_create_failed(w, -ret);
    }
}

/*
 * Under the lock, which is released meanwhile: go to sleep.  Returns true,
 * searching again, when there may be work; false, also searching, after a time
 * without any.
 */
static bool worker_sleep(ThreadPoolAio *pool, ThreadPoolWorker *w)
{
    int ret;

    pool->n_searching--;
    w->woken = false;
    QTAILQ_INSERT_HEAD(&pool->idle, w, link);
    qemu_mutex_unlock(&pool->lock);
    ret = qemu_sem_timedwait(&w->wake, IDLE_TIMEOUT_MS);
    qemu_mutex_lock(&pool->lock);

    if (w->woken) {
        if (ret < 0) {
            /* Recruited at the last moment: take the post that is due. */
            qemu_mutex_unlock(&pool->lock);
            qemu_sem_wait(&w->wake);
            qemu_mutex_lock(&pool->lock);
        }
        return true;
    }
    QTAILQ_REMOVE(&pool->idle, w, link);
    pool->n_searching++;
    return false;
}

/* Under the lock.  No other can join @req any more. */
static void pool_unqueue(ThreadPoolAio *pool, ThreadPoolRequest *req)
{
    QTAILQ_REMOVE(&pool->queue, req, link);
    pool->n_queued--;
    if (pool->last == req) {
        pool->last = NULL;
    }
}

/* Under the lock: the next request for a searching worker; NULL: end. */
static ThreadPoolRequest *worker_next(ThreadPoolAio *pool, ThreadPoolWorker *w)
{
    ThreadPoolRequest *req;

    while (QTAILQ_EMPTY(&pool->queue)) {
        if (pool->stopping || pool->n_workers > pool->max_workers) {
            return NULL;
        }
        if (!worker_sleep(pool, w) && QTAILQ_EMPTY(&pool->queue) &&
            pool->n_workers > pool->min_workers) {
            return NULL;
        }
    }
    if (pool->n_workers > pool->max_workers) {
        return NULL;
    }
    req = QTAILQ_FIRST(&pool->queue);
    pool_unqueue(pool, req);
    req->state = REQ_ACTIVE;
    return req;
}

/* Any thread: hand @req to the completion BH. */
static void pool_push_done(ThreadPoolAio *pool, ThreadPoolRequest *req)
{
    ThreadPoolRequest *old = qatomic_read(&pool->done), *seen;

    for (;;) {
        req->done_next = old;

        /* Pairs with the exchange in thread_pool_completion_bh(). */
        seen = qatomic_cmpxchg(&pool->done, old, req);
        if (seen == old) {
            break;
        }
        old = seen;
    }
    if (!old) {
        qemu_bh_schedule(pool->completion_bh);
    }
}

/* Under the lock, which is released: the pool may be gone afterwards. */
static void worker_exit(ThreadPoolAio *pool, ThreadPoolWorker *w)
{
    ThreadPoolWorker *other;

    pool->n_searching--;
    pool->n_workers--;
    QTAILQ_INSERT_HEAD(&pool->unused, w, link);

    /* One too many, with work left: another one has to do it. */
    other = pool_recruit(pool);
    if (pool->stopping && pool->n_workers == 0) {
        qemu_cond_signal(&pool->stopped);
    }
    qemu_mutex_unlock(&pool->lock);
    worker_kick(other);
}

/* Carry out @req, and those that have joined it. */
static void worker_run(ThreadPoolAio *pool, ThreadPoolRequest *req)
{
    void *args[THREAD_POOL_MERGE_MAX];
    int rets[THREAD_POOL_MERGE_MAX];
    ThreadPoolRequest *r, *next;
    unsigned n = 0;

    if (likely(!req->group_next)) {
        req->ret = req->func(req->arg);
        pool_push_done(pool, req);
        return;
    }
    for (r = req; r; r = r->group_next) {
        args[n++] = r->arg;
    }
    req->merge->run(args, rets, n);
    for (r = req, n = 0; r; r = next) {
        next = r->group_next;
        r->ret = rets[n++];
        pool_push_done(pool, r);
    }
}

static void *thread_pool_worker(void *opaque)
{
    ThreadPoolWorker *w = opaque;
    ThreadPoolAio *pool = w->pool;
    ThreadPoolRequest *req;

    qemu_mutex_lock(&pool->lock);
    w->started = true;
    pool->spawning = false;
    while ((req = worker_next(pool, w)) != NULL) {
        ThreadPoolWorker *other;

        pool->n_searching--;
        other = pool_recruit(pool);
        qemu_mutex_unlock(&pool->lock);
        worker_kick(other);

        worker_run(pool, req);

        qemu_mutex_lock(&pool->lock);
        pool->n_searching++;
    }
    worker_exit(pool, w);
    return NULL;
}

/* Take over what the workers have done, oldest first. */
static void pool_take_done(ThreadPoolAio *pool)
{
    ThreadPoolRequest *req = qatomic_xchg(&pool->done, NULL);
    ThreadPoolRequest *fifo = NULL;

    while (req) {
        ThreadPoolRequest *next = req->done_next;

        req->done_next = fifo;
        fifo = req;
        req = next;
    }
    for (req = fifo; req; req = req->done_next) {
        QSIMPLEQ_INSERT_TAIL(&pool->ready, req, ready);
    }
}

static void thread_pool_completion_bh(void *opaque)
{
    ThreadPoolAio *pool = opaque;
    ThreadPoolRequest *req;

    /* Callbacks submit again; let them do so together. */
    defer_call_begin();
    pool_take_done(pool);
    req = QSIMPLEQ_FIRST(&pool->ready);
    if (req && QSIMPLEQ_NEXT(req, ready)) {
        /* For a nested event loop, which would take all of @ready. */
        qemu_bh_schedule(pool->completion_bh);
    }
    while ((req = QSIMPLEQ_FIRST(&pool->ready)) != NULL) {
        QSIMPLEQ_REMOVE_HEAD(&pool->ready, ready);
        pool->n_requests--;
        trace_thread_pool_complete(pool, req, req->arg, req->ret);
        req->complete(req);
    }
    qemu_bh_cancel(pool->completion_bh);

    /* A worker may have scheduled the BH before it was cancelled. */
    if (qatomic_read(&pool->done)) {
        qemu_bh_schedule(pool->completion_bh);
    }
    defer_call_end();
}

/* Under the lock: does @req join the last request in the queue? */
static bool pool_join(ThreadPoolAio *pool, ThreadPoolRequest *req)
{
    ThreadPoolRequest *first = pool->last;

    if (!req->merge || !first || first->merge != req->merge ||
        first->group_size == THREAD_POOL_MERGE_MAX ||
        !req->merge->follows(first->group_last->arg, req->arg)) {
        return false;
    }
    first->group_last->group_next = req;
    first->group_last = req;
    first->group_size++;
    return true;
}

static void pool_submit(ThreadPoolAio *pool, ThreadPoolRequest *req)
{
    ThreadPoolWorker *w = NULL;

    trace_thread_pool_submit(pool, req, req->arg);
    req->pool = pool;
    req->state = REQ_QUEUED;
    req->group_next = NULL;
    req->group_last = req;
    req->group_size = 1;
    pool->n_requests++;

    qemu_mutex_lock(&pool->lock);
    if (!pool_join(pool, req)) {
        QTAILQ_INSERT_TAIL(&pool->queue, req, link);
        pool->last = req;
        pool->n_queued++;
        w = pool_recruit(pool);
    }
    qemu_mutex_unlock(&pool->lock);
    worker_kick(w);
}

static void thread_pool_cancel(BlockAIOCB *acb)
{
    ThreadPoolAiocb *tpa = container_of(acb, ThreadPoolAiocb, common);
    ThreadPoolRequest *req = &tpa->req;
    ThreadPoolAio *pool = req->pool;

    trace_thread_pool_cancel(req, acb->opaque);
    WITH_QEMU_LOCK_GUARD(&pool->lock) {
        if (req->state != REQ_QUEUED) {
            return;
        }
        pool_unqueue(pool, req);
        req->state = REQ_CANCELED;
        req->ret = -ECANCELED;
    }
    pool_push_done(pool, req);
}

static const AIOCBInfo thread_pool_aiocb_info = {
    .aiocb_size = sizeof(ThreadPoolAiocb),
    .cancel_async = thread_pool_cancel,
};

static void thread_pool_complete_aio(ThreadPoolRequest *req)
{
    ThreadPoolAiocb *tpa = container_of(req, ThreadPoolAiocb, req);

    tpa->common.cb(tpa->common.opaque, req->ret);
    qemu_aio_unref(tpa);
}

BlockAIOCB *thread_pool_submit_aio(ThreadPoolFunc *func, void *arg,
                                   BlockCompletionFunc *cb, void *opaque)
{
    ThreadPoolAio *pool = aio_get_thread_pool(qemu_get_current_aio_context());
    ThreadPoolAiocb *tpa = qemu_aio_get(&thread_pool_aiocb_info, cb,
                                        opaque);

    tpa->req.func = func;
    tpa->req.arg = arg;
    tpa->req.merge = NULL;
    tpa->req.complete = thread_pool_complete_aio;
    pool_submit(pool, &tpa->req);
    return &tpa->common;
}

static void thread_pool_complete_co(ThreadPoolRequest *req)
{
    aio_co_wake(container_of(req, ThreadPoolCo, req)->co);
}

int coroutine_fn thread_pool_submit_co(ThreadPoolFunc *func, void *arg)
{
    return thread_pool_submit_co_merge(func, arg, NULL);
}

int coroutine_fn thread_pool_submit_co_merge(ThreadPoolFunc *func, void *arg,
                                             const ThreadPoolMerge *merge)
{
    ThreadPoolAio *pool = aio_get_thread_pool(qemu_get_current_aio_context());
    ThreadPoolCo tpc = {
        .co = qemu_coroutine_self(),
        .req = {
            .func = func,
            .arg = arg,
            .merge = merge,
            .complete = thread_pool_complete_co,
        },
    };

    assert(qemu_in_coroutine());
    pool_submit(pool, &tpc.req);
    qemu_coroutine_yield();
    return tpc.req.ret;
}

/* Under the lock: have all idle workers look around. */
static void pool_wake_idle(ThreadPoolAio *pool)
{
    ThreadPoolWorker *w;

    while ((w = QTAILQ_FIRST(&pool->idle)) != NULL) {
        QTAILQ_REMOVE(&pool->idle, w, link);
        w->woken = true;
        pool->n_searching++;
        qemu_sem_post(&w->wake);
    }
}

void thread_pool_update_params(ThreadPoolAio *pool, AioContext *ctx)
{
    int max = ctx->thread_pool_max ? ctx->thread_pool_max :
              THREAD_POOL_MAX_THREADS_DEFAULT;

    QEMU_LOCK_GUARD(&pool->lock);
    pool->max_workers = max;
    pool->min_workers = MIN(ctx->thread_pool_min, max);
    if (pool->n_workers > pool->max_workers) {
        pool_wake_idle(pool);
    }
}

ThreadPoolAio *thread_pool_new_aio(AioContext *ctx)
{
    ThreadPoolAio *pool = g_new0(ThreadPoolAio, 1);

    pool->ctx = ctx;
    pool->completion_bh = aio_bh_new(ctx, thread_pool_completion_bh, pool);
    qemu_mutex_init(&pool->lock);
    qemu_cond_init(&pool->stopped);
    QTAILQ_INIT(&pool->queue);
    QTAILQ_INIT(&pool->idle);
    QTAILQ_INIT(&pool->unused);
    QSIMPLEQ_INIT(&pool->ready);
    thread_pool_update_params(pool, ctx);
    return pool;
}

void thread_pool_free_aio(ThreadPoolAio *pool)
{
    ThreadPoolWorker *w;

    if (!pool) {
        return;
    }
    assert(pool->n_requests == 0);

    qemu_mutex_lock(&pool->lock);
    pool->stopping = true;
    pool_wake_idle(pool);
    while (pool->n_workers > 0) {
        qemu_cond_wait(&pool->stopped, &pool->lock);
    }
    qemu_mutex_unlock(&pool->lock);

    /* Only now: a worker schedules the BH after its request is gone. */
    qemu_bh_delete(pool->completion_bh);
    while ((w = QTAILQ_FIRST(&pool->unused)) != NULL) {
        QTAILQ_REMOVE(&pool->unused, w, link);
        qemu_sem_destroy(&w->wake);
        g_free(w);
    }
    qemu_cond_destroy(&pool->stopped);
    qemu_mutex_destroy(&pool->lock);
    g_free(pool);
}
