/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Coroutines: creation, entering, yielding, and the pool of free ones.
 *
 * The pool has two levels.  A thread frees coroutines to, and takes them from,
 * a list of its own, without any synchronization.  When that list holds two
 * batches, one of them goes to the global list; when it is empty, one comes
 * from there.  So a thread that only ends coroutines (which came to it from
 * elsewhere) feeds a thread that only creates them, at the price of one lock
 * per batch.  Both levels are bounded; beyond, stacks are unmapped.
 */
#include "qemu/osdep.h"
#include "qemu/coroutine_int.h"
#include "qemu/coroutine-tls.h"
#include "qemu/aio.h"
#include "trace/trace-util.h"

enum {
    POOL_BATCH = 64,
    POOL_DEFAULT = 128,

    /*
     * A stack is two mappings, its guard page included, and Linux allows a
     * process 65530 of them (vm.max_map_count): leave half to everyone else.
     */
    POOL_HARD_MAX = 16384,
};

typedef QSLIST_HEAD(, Coroutine) CoroutineList;

typedef struct {
    CoroutineList free;
    unsigned size;
    Notifier thread_exit;
} CoroutinePool;

/* The batches that no thread has; a list of lists would save little. */
static struct {
    QemuSpin lock;
    CoroutineList free;
    unsigned size;
    unsigned max;               /* what the users ask for, in total */
} global_pool = {
    .max = POOL_DEFAULT,
};

QEMU_DEFINE_STATIC_CO_TLS(CoroutinePool, local_pool)

/* Move up to @n coroutines, of which there are enough. */
static void pool_move(CoroutineList *from, CoroutineList *to, unsigned n)
{
    while (n-- > 0) {
        Coroutine *co = QSLIST_FIRST(from);

        QSLIST_REMOVE_HEAD(from, pool_next);
        QSLIST_INSERT_HEAD(to, co, pool_next);
    }
}

static void pool_delete_all(CoroutineList *list)
{
    while (!QSLIST_EMPTY(list)) {
        Coroutine *co = QSLIST_FIRST(list);

        QSLIST_REMOVE_HEAD(list, pool_next);
        qemu_coroutine_delete(co);
    }
}

static unsigned global_pool_limit(void)
{
    return MIN(qatomic_read(&global_pool.max), POOL_HARD_MAX);
}

/* Give @n coroutines of the thread's list away. */
static void local_pool_put_back(CoroutinePool *pool, unsigned n)
{
    CoroutineList surplus = QSLIST_HEAD_INITIALIZER(surplus);
    unsigned room, limit = global_pool_limit();

    pool->size -= n;
    qemu_spin_lock(&global_pool.lock);
    room = limit > global_pool.size ? limit - global_pool.size : 0;
    room = MIN(room, n);
    pool_move(&pool->free, &global_pool.free, room);
    qatomic_set(&global_pool.size, global_pool.size + room);
    qemu_spin_unlock(&global_pool.lock);

    pool_move(&pool->free, &surplus, n - room);
    pool_delete_all(&surplus);
}

static void local_pool_refill(CoroutinePool *pool)
{
    unsigned n;

    /* Racy, but a coroutine that is missed now is found the next time. */
    if (!qatomic_read(&global_pool.size)) {
        return;
    }
    qemu_spin_lock(&global_pool.lock);
    n = MIN(global_pool.size, POOL_BATCH);
    pool_move(&global_pool.free, &pool->free, n);
    qatomic_set(&global_pool.size, global_pool.size - n);
    qemu_spin_unlock(&global_pool.lock);
    pool->size += n;
}

static void local_pool_thread_exit(Notifier *n, void *data)
{
    CoroutinePool *pool = container_of(n, CoroutinePool, thread_exit);

    pool->thread_exit.notify = NULL;
    local_pool_put_back(pool, pool->size);
}

/* At the end of the process, for tools that look for leaks. */
static void __attribute__((destructor)) global_pool_cleanup(void)
{
    CoroutineList all;

    qemu_spin_lock(&global_pool.lock);
    all = global_pool.free;
    QSLIST_INIT(&global_pool.free);
    qatomic_set(&global_pool.size, 0);
    qatomic_set(&global_pool.max, 0);
    qemu_spin_unlock(&global_pool.lock);
    pool_delete_all(&all);
}

static QEMU_NOINLINE void local_pool_watch_exit(CoroutinePool *pool)
{
    pool->thread_exit.notify = local_pool_thread_exit;
    qemu_thread_atexit_add(&pool->thread_exit);
}

static QEMU_ALWAYS_INLINE void coroutine_release(Coroutine *co)
{
    CoroutinePool *pool = get_ptr_local_pool();

    if (unlikely(!pool->thread_exit.notify)) {
        local_pool_watch_exit(pool);
    }
    co->caller = NULL;
    QSLIST_INSERT_HEAD(&pool->free, co, pool_next);
    if (unlikely(++pool->size >= 2 * POOL_BATCH)) {
        local_pool_put_back(pool, POOL_BATCH);
    }
}

Coroutine *qemu_coroutine_create(CoroutineEntry *entry, void *opaque)
{
    CoroutinePool *pool = get_ptr_local_pool();
    Coroutine *co;

    if (QSLIST_EMPTY(&pool->free)) {
        local_pool_refill(pool);
    }
    co = QSLIST_FIRST(&pool->free);
    if (likely(co)) {
        QSLIST_REMOVE_HEAD(&pool->free, pool_next);
        pool->size--;
    } else {
        co = qemu_coroutine_new();
        QSIMPLEQ_INIT(&co->co_queue_wakeup);
    }

    co->entry = entry;
    co->entry_arg = opaque;
    return co;
}

void qemu_coroutine_inc_pool_size(unsigned int additional_pool_size)
{
    qatomic_add(&global_pool.max, additional_pool_size);
}

void qemu_coroutine_dec_pool_size(unsigned int additional_pool_size)
{
    unsigned old = qatomic_fetch_sub(&global_pool.max, additional_pool_size);

    assert(old >= additional_pool_size);
}

static void QEMU_NORETURN enter_error(const char *what, const char *where)
{
    fprintf(stderr, "qemu: cannot enter a coroutine that %s%s%s\n",
            what, where ? ": " : "", where ? where : "");
    abort();
}

/* Make @co, which must be suspended, the one that runs next. */
static QEMU_ALWAYS_INLINE void coroutine_prepare(AioContext *ctx,
                                                 Coroutine *self,
                                                 Coroutine *co)
{
    const char *scheduled = qatomic_read(&co->scheduled);

    /*
     * Somebody else would enter it a second time, when it may be waiting for
     * something else, or be gone.
     */
    if (unlikely(scheduled)) {
        enter_error("is already scheduled to run", scheduled);
    }
    if (unlikely(co->caller)) {
        enter_error(co == self ? "is the current one" : "is running", NULL);
    }

    co->caller = self;

    /*
     * Before @co publishes itself on a list where another thread finds it and
     * looks at its context, by whatever barrier that list has.
     */
    qatomic_set(&co->ctx, ctx);
}

static QEMU_ALWAYS_INLINE CoroutineAction
coroutine_run(AioContext *ctx, Coroutine *self, Coroutine *co)
{
    trace_qemu_aio_coroutine_enter(ctx, self, co, co->entry_arg);
    coroutine_prepare(ctx, self, co);
    return qemu_coroutine_switch(self, co, COROUTINE_ENTER);
}

static QEMU_ALWAYS_INLINE void coroutine_has_run(Coroutine *co,
                                                 CoroutineAction action)
{
    if (action == COROUTINE_TERMINATE) {
        trace_qemu_coroutine_terminate(co);
        assert(co->locks_held == 0);
        coroutine_release(co);
    }
}

/* @co, which has run, has woken others: run them, and what they wake. */
static QEMU_NOINLINE void coroutine_run_woken(AioContext *ctx, Coroutine *self,
                                              Coroutine *co,
                                              CoroutineAction action)
{
    QSIMPLEQ_HEAD(, Coroutine) pending = QSIMPLEQ_HEAD_INITIALIZER(pending);

    for (;;) {
        /* Depth first: what @co has woken runs before what was waiting. */
        QSIMPLEQ_PREPEND(&pending, &co->co_queue_wakeup);
        coroutine_has_run(co, action);

        co = QSIMPLEQ_FIRST(&pending);
        if (!co) {
            return;
        }
        QSIMPLEQ_REMOVE_HEAD(&pending, co_queue_next);
        action = coroutine_run(ctx, self, co);
    }
}

void qemu_aio_coroutine_enter(AioContext *ctx, Coroutine *co)
{
    Coroutine *self = qemu_coroutine_self();
    CoroutineAction action = coroutine_run(ctx, self, co);

    if (unlikely(!QSIMPLEQ_EMPTY(&co->co_queue_wakeup))) {
        coroutine_run_woken(ctx, self, co, action);
    } else {
        coroutine_has_run(co, action);
    }
}

void qemu_coroutine_enter(Coroutine *co)
{
    qemu_aio_coroutine_enter(qemu_get_current_aio_context(), co);
}

void qemu_coroutine_enter_if_inactive(Coroutine *co)
{
    if (!qemu_coroutine_entered(co)) {
        qemu_coroutine_enter(co);
    }
}

void coroutine_fn qemu_coroutine_yield(void)
{
    Coroutine *self = qemu_coroutine_self();
    Coroutine *to = self->caller;

    if (unlikely(!to)) {
        fprintf(stderr, "qemu: yield outside of a coroutine\n");
        abort();
    }
    trace_qemu_coroutine_yield(self, to);
    self->caller = NULL;
    qemu_coroutine_switch(self, to, COROUTINE_YIELD);
}

bool qemu_coroutine_entered(Coroutine *co)
{
    return co->caller;
}

AioContext *qemu_coroutine_get_aio_context(Coroutine *co)
{
    return qatomic_read(&co->ctx);
}
