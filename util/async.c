/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * AioContext: bottom halves, notification, coroutines, and the GSource.
 *
 * Bottom halves.  Any thread schedules one by setting flags and, if it is on
 * no list yet (BH_PENDING), pushing it on ctx->bh_list, a lock-free stack.
 * The home thread takes the whole stack, turns it round, and hangs it up as a
 * slice in ctx->bh_slices; nested aio_bh_poll() calls take from the oldest
 * slice first, so BHs run in the order of scheduling at any depth.
 *
 * Notification.  A home thread about to wait raises ctx->notify_me, then looks
 * for work; another thread makes work visible, then reads notify_me and
 * signals the notifier if it is raised.  A full barrier on both sides keeps
 * one of them from missing the other.
 */
#include "qemu/osdep.h"
#include "aio-posix.h"
#include "qemu/aio-wait.h"
#include "qemu/thread-pool.h"
#include "qapi/error.h"
#include "qemu/coroutine-tls.h"
#include "qemu/coroutine_int.h"
#include "qemu/main-loop.h"

enum {
    BH_PENDING   = 1 << 0,      /* on bh_list or in a slice */
    BH_SCHEDULED = 1 << 1,
    BH_DELETED   = 1 << 2,
    BH_ONESHOT   = 1 << 3,      /* delete after the call */
    BH_IDLE      = 1 << 4,      /* no progress, no hurry */
};

struct QEMUBH {
    AioContext *ctx;
    const char *name;
    QEMUBHFunc *cb;
    void *opaque;
    QSLIST_ENTRY(QEMUBH) next;
    unsigned flags;             /* atomic */
};

QEMU_DEFINE_STATIC_CO_TLS(AioContext *, my_aiocontext)

static QEMU_NOINLINE AioContext *aio_context_of_main_thread(void)
{
    return qemu_in_main_thread() ? qemu_get_aio_context() : NULL;
}

/* An accessor of the variable itself: see coroutine-tls.h. */
QEMU_NOINLINE AioContext *qemu_get_current_aio_context(void)
{
    AioContext *ctx;

    __asm__ volatile("");
    ctx = co_tls_my_aiocontext;
    return likely(ctx) ? ctx : aio_context_of_main_thread();
}

void qemu_set_current_aio_context(AioContext *ctx)
{
    set_my_aiocontext(ctx);
}

/* --- bottom halves --- */

static void aio_bh_enqueue(QEMUBH *bh, unsigned new_flags)
{
    AioContext *ctx = bh->ctx;
    unsigned old;

    /*
     * A full barrier: the callback sees what was written before.  Pairs with
     * the fetch_and in aio_bh_dequeue().  Once the flags are set a one-shot
     * BH may run and be freed, unless this call is the one that lists it.
     */
    old = qatomic_fetch_or(&bh->flags, BH_PENDING | new_flags);
    if (!(old & BH_PENDING)) {
        QSLIST_INSERT_HEAD_ATOMIC(&ctx->bh_list, bh, next);
    }
    aio_notify(ctx);
}

static QEMUBH *aio_bh_dequeue(BHListSlice *slice, unsigned *flags)
{
    QEMUBH *bh = slice->first;

    if (bh) {
        slice->first = bh->next.sle_next;
        *flags = qatomic_fetch_and(&bh->flags,
                                   ~(BH_PENDING | BH_SCHEDULED | BH_IDLE));
    }
    return bh;
}

QEMUBH *aio_bh_new_full(AioContext *ctx, QEMUBHFunc *cb, void *opaque,
                        const char *name)
{
    QEMUBH *bh = g_new(QEMUBH, 1);

    *bh = (QEMUBH) {
        .ctx = ctx,
        .cb = cb,
        .opaque = opaque,
        .name = name,
    };
    return bh;
}

void aio_bh_schedule_oneshot_full(AioContext *ctx, QEMUBHFunc *cb,
                                  void *opaque, const char *name)
{
    aio_bh_enqueue(aio_bh_new_full(ctx, cb, opaque, name),
                   BH_SCHEDULED | BH_ONESHOT);
}

void aio_bh_call(QEMUBH *bh)
{
    bh->cb(bh->opaque);
}

void qemu_bh_schedule(QEMUBH *bh)
{
    aio_bh_enqueue(bh, BH_SCHEDULED);
}

void qemu_bh_schedule_idle(QEMUBH *bh)
{
    aio_bh_enqueue(bh, BH_SCHEDULED | BH_IDLE);
}

void qemu_bh_cancel(QEMUBH *bh)
{
    /* It stays listed; without BH_SCHEDULED its turn does nothing. */
    qatomic_and(&bh->flags, ~BH_SCHEDULED);
}

void qemu_bh_delete(QEMUBH *bh)
{
    aio_bh_enqueue(bh, BH_DELETED);
}

/* Take everything from bh_list, oldest first. */
static QEMUBH *aio_bh_take(AioContext *ctx)
{
    BHList list;
    QEMUBH *fifo = NULL, *bh, *next;

    /* Pairs with QSLIST_INSERT_HEAD_ATOMIC() in aio_bh_enqueue(). */
    QSLIST_MOVE_ATOMIC(&list, &ctx->bh_list);
    for (bh = QSLIST_FIRST(&list); bh; bh = next) {
        next = bh->next.sle_next;
        bh->next.sle_next = fifo;
        fifo = bh;
    }
    return fifo;
}

int aio_bh_poll(AioContext *ctx)
{
    BHListSlice slice = { .first = NULL }, **link;
    int ret = 0;

    if (!qatomic_read(&ctx->bh_list.slh_first) && !ctx->bh_slices) {
        return 0;
    }
    slice.first = aio_bh_take(ctx);

    /* Behind the slices of the calls that this one is nested in. */
    for (link = &ctx->bh_slices; *link; link = &(*link)->next) {
    }
    *link = &slice;

    while (ctx->bh_slices) {
        unsigned flags;
        QEMUBH *bh = aio_bh_dequeue(ctx->bh_slices, &flags);

        if (!bh) {
            ctx->bh_slices = ctx->bh_slices->next;
            continue;
        }
        if ((flags & (BH_SCHEDULED | BH_DELETED)) == BH_SCHEDULED) {
            /* An idle BH is no progress: it would spin its waiter. */
            if (!(flags & BH_IDLE)) {
                ret++;
            }
            aio_bh_call(bh);
        }
        if (flags & (BH_DELETED | BH_ONESHOT)) {
            g_free(bh);
        }
    }
    return ret;
}

static int64_t aio_bh_list_timeout(const QEMUBH *bh)
{
    int64_t timeout = -1;

    for (; bh; bh = bh->next.sle_next) {
        unsigned flags = qatomic_read(&bh->flags);

        if ((flags & (BH_SCHEDULED | BH_DELETED)) == BH_SCHEDULED) {
            if (!(flags & BH_IDLE)) {
                return 0;
            }
            timeout = 10 * SCALE_MS;    /* idle BHs run every 10 ms */
        }
    }
    return timeout;
}

int64_t aio_compute_timeout(AioContext *ctx)
{
    BHListSlice *slice;
    int64_t timeout;

    timeout = aio_bh_list_timeout(qatomic_load_acquire(
                                      &ctx->bh_list.slh_first));
    for (slice = ctx->bh_slices; slice && timeout; slice = slice->next) {
        timeout = qemu_soonest_timeout(timeout,
                                       aio_bh_list_timeout(slice->first));
    }
    if (timeout == 0) {
        return 0;
    }
    return qemu_soonest_timeout(timeout,
                                timerlistgroup_deadline_ns(&ctx->tlg));
}

/* --- notification --- */

void aio_notify(AioContext *ctx)
{
    /* For busy polling, which reads no notify_me. */
    qatomic_set(&ctx->notified, true);

    /*
     * What there is to do is written before notify_me is read; pairs with
     * the barrier after the change of notify_me in aio_poll() and
     * aio_prepare().
     */
    smp_mb();
    if (qatomic_read(&ctx->notify_me)) {
        event_notifier_set(&ctx->notifier);
    }
}

void aio_notify_accept(AioContext *ctx)
{
    if (qatomic_read(&ctx->notified)) {
        qatomic_set(&ctx->notified, false);
        /* Clear before looking for work; pairs with smp_mb in aio_notify. */
        smp_mb();
    }
}

static void aio_timerlist_notify(void *opaque, QEMUClockType type)
{
    aio_notify(opaque);
}

static void aio_context_notifier_cb(EventNotifier *e)
{
    event_notifier_test_and_clear(e);
}

static bool aio_context_notifier_poll(void *opaque)
{
    EventNotifier *e = opaque;
    AioContext *ctx = container_of(e, AioContext, notifier);

    return qatomic_read(&ctx->notified);
}

static void aio_context_notifier_poll_ready(EventNotifier *e)
{
    /* The iteration itself finds what there is to do. */
}

/* --- coroutines --- */

static void co_schedule_bh_cb(void *opaque)
{
    AioContext *ctx = opaque;
    CoScheduledList list, fifo = QSLIST_HEAD_INITIALIZER(fifo);

    /* Pairs with QSLIST_INSERT_HEAD_ATOMIC() in aio_co_schedule(). */
    QSLIST_MOVE_ATOMIC(&list, &ctx->scheduled_coroutines);
    while (!QSLIST_EMPTY(&list)) {
        Coroutine *co = QSLIST_FIRST(&list);

        QSLIST_REMOVE_HEAD(&list, co_scheduled_next);
        QSLIST_INSERT_HEAD(&fifo, co, co_scheduled_next);
    }
    while (!QSLIST_EMPTY(&fifo)) {
        Coroutine *co = QSLIST_FIRST(&fifo);

        QSLIST_REMOVE_HEAD(&fifo, co_scheduled_next);
        /* Pairs with the cmpxchg in aio_co_schedule(). */
        qatomic_set_mb(&co->scheduled, NULL);
        qemu_aio_coroutine_enter(ctx, co);
    }
}

void aio_co_schedule(AioContext *ctx, Coroutine *co)
{
    const char *scheduled = qatomic_cmpxchg(&co->scheduled, NULL, __func__);

    if (scheduled) {
        fprintf(stderr, "%s: coroutine was already scheduled in '%s'\n",
                __func__, scheduled);
        abort();
    }

    /* @ctx may go away once the coroutine has run in it. */
    aio_context_ref(ctx);
    QSLIST_INSERT_HEAD_ATOMIC(&ctx->scheduled_coroutines, co,
                              co_scheduled_next);
    qemu_bh_schedule(ctx->co_schedule_bh);
    aio_context_unref(ctx);
}

void aio_co_enter(AioContext *ctx, Coroutine *co)
{
    Coroutine *self;

    if (ctx != qemu_get_current_aio_context()) {
        aio_co_schedule(ctx, co);
        return;
    }
    self = qemu_coroutine_self();
    if (self->caller) {
        /* As qemu_in_coroutine(), without another look at the thread. */
        assert(self != co);
        QSIMPLEQ_INSERT_TAIL(&self->co_queue_wakeup, co, co_queue_next);
    } else {
        qemu_aio_coroutine_enter(ctx, co);
    }
}

void aio_co_wake(Coroutine *co)
{
    /* Pairs with the release of co->ctx when the coroutine was entered. */
    aio_co_enter(qatomic_load_acquire(&co->ctx), co);
}

typedef struct {
    AioContext *ctx;
    Coroutine *co;
} AioCoRescheduleSelf;

static void aio_co_reschedule_self_bh(void *opaque)
{
    AioCoRescheduleSelf *data = opaque;

    aio_co_schedule(data->ctx, data->co);
}

void coroutine_fn aio_co_reschedule_self(AioContext *ctx)
{
    AioContext *old = qemu_get_current_aio_context();

    if (old != ctx) {
        AioCoRescheduleSelf data = {
            .ctx = ctx,
            .co = qemu_coroutine_self(),
        };

        /* Only from outside: the target may run as soon as it is told. */
        aio_bh_schedule_oneshot(old, aio_co_reschedule_self_bh, &data);
        qemu_coroutine_yield();
    }
}

void coroutine_fn aio_co_give_way(void)
{
    aio_co_schedule(qemu_get_current_aio_context(), qemu_coroutine_self());
    qemu_coroutine_yield();
}

/* --- the GSource --- */

bool aio_prepare(AioContext *ctx)
{
    /* The GLib loop waits for descriptors only. */
    aio_poll_set_started(ctx, false);
    /* Pairs with the barrier in aio_notify(). */
    qatomic_or(&ctx->notify_me, 1);
    smp_mb__after_rmw();
    return aio_compute_timeout(ctx) == 0;
}

static gboolean aio_ctx_prepare(GSource *source, gint *timeout)
{
    AioContext *ctx = (AioContext *)source;
    int64_t ns;

    if (aio_prepare(ctx)) {
        *timeout = 0;
        return TRUE;
    }
    ns = aio_compute_timeout(ctx);
    *timeout = ns < 0 ? -1 : MIN(DIV_ROUND_UP(ns, SCALE_MS), INT_MAX);
    return *timeout == 0;
}

static gboolean aio_ctx_check(GSource *source)
{
    AioContext *ctx = (AioContext *)source;

    qatomic_and(&ctx->notify_me, ~1u);
    return aio_compute_timeout(ctx) == 0 || aio_pending(ctx);
}

static gboolean aio_ctx_dispatch(GSource *source, GSourceFunc callback,
                                 gpointer user_data)
{
    aio_dispatch((AioContext *)source);
    return TRUE;
}

static void aio_ctx_finalize(GSource *source)
{
    AioContext *ctx = (AioContext *)source;

    thread_pool_free_aio(ctx->thread_pool);
    notifier_list_notify(&ctx->finalize_notifiers, ctx);
    error_free(ctx->linux_aio_refusal.error);
    error_free(ctx->linux_io_uring_refusal.error);
    assert(QSLIST_EMPTY(&ctx->scheduled_coroutines));
    qemu_bh_delete(ctx->co_schedule_bh);
    aio_bh_poll(ctx);           /* frees what was deleted */

    aio_set_event_notifier(ctx, &ctx->notifier, NULL, NULL, NULL);
    event_notifier_cleanup(&ctx->notifier);
    timerlistgroup_deinit(&ctx->tlg);
    aio_context_destroy(ctx);
    qemu_rec_mutex_destroy(&ctx->list_lock);
}

static GSourceFuncs aio_source_funcs = {
    aio_ctx_prepare,
    aio_ctx_check,
    aio_ctx_dispatch,
    aio_ctx_finalize,
    NULL, NULL,
};

GSource *aio_get_g_source(AioContext *ctx)
{
    /* A GLib main loop cannot wait for the completions of a ring. */
    assert(!ctx->linux_io_uring);
    ctx->fdmon_wanted = AIO_FDMON_PPOLL;
    aio_handlers_use_g_source(ctx);
    return g_source_ref(&ctx->source);
}

/* --- life --- */

AioContext *aio_context_new(Error **errp)
{
    AioContext *ctx = (AioContext *)g_source_new(&aio_source_funcs,
                                                 sizeof(*ctx));
    int ret;

    qemu_rec_mutex_init(&ctx->list_lock);
    aio_context_setup(ctx);
    timerlistgroup_init(&ctx->tlg, aio_timerlist_notify, ctx);
    notifier_list_init(&ctx->finalize_notifiers);
    ctx->co_schedule_bh = aio_bh_new(ctx, co_schedule_bh_cb, ctx);

    ret = event_notifier_init(&ctx->notifier, false);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Failed to initialize event notifier");
        g_source_unref(&ctx->source);
        return NULL;
    }
    g_source_set_can_recurse(&ctx->source, true);
    aio_set_event_notifier(ctx, &ctx->notifier, aio_context_notifier_cb,
                           aio_context_notifier_poll,
                           aio_context_notifier_poll_ready);
    ctx->thread_pool_max = 64;
    return ctx;
}

void aio_context_ref(AioContext *ctx)
{
    g_source_ref(&ctx->source);
}

void aio_context_unref(AioContext *ctx)
{
    g_source_unref(&ctx->source);
}

QEMUTimer *aio_timer_new(AioContext *ctx, QEMUClockType type, int scale,
                         QEMUTimerCB *cb, void *opaque)
{
    QEMUTimer *ts = g_new(QEMUTimer, 1);

    timer_init_tlg(ts, &ctx->tlg, type, scale, cb, opaque);
    return ts;
}

void aio_timer_init(AioContext *ctx, QEMUTimer *ts, QEMUClockType type,
                    int scale, QEMUTimerCB *cb, void *opaque)
{
    timer_init_tlg(ts, &ctx->tlg, type, scale, cb, opaque);
}
