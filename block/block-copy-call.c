/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The calls of a block copy: those in the background, those that a coroutine
 * waits for, and how each has ended.  See include/block/block-copy.h.
 */
#include "qemu/osdep.h"
#include "block-copy-int.h"
#include "qemu/lockable.h"

BlockCopyCallState *block_copy_async(BlockCopyState *s, int64_t offset,
                                     int64_t bytes, int max_workers,
                                     int64_t max_chunk,
                                     BlockCopyAsyncCallbackFunc cb,
                                     void *cb_opaque)
{
    BlockCopyCallState *call = g_new0(BlockCopyCallState, 1);

    call->s = s;
    call->offset = offset;
    call->bytes = bytes;
    call->max_workers = max_workers;
    call->background = true;
    copy_window_init(&call->window);
    call->any_chunk = !max_chunk;
    call->max_chunk = block_copy_max_chunk(s, max_chunk);
    call->cb = cb;
    call->cb_opaque = cb_opaque;
    call->co = qemu_coroutine_create(block_copy_call_run, call);
    qemu_coroutine_enter(call->co);
    return call;
}

/* --- a call that somebody waits for --- */

/*
 * The waiter, a write, may leave before the call has ended: after a time, or
 * because the copy is abandoned.  Therefore the call has a coroutine of its
 * own, and the last of the two frees this.
 */
struct BlockCopyWait {
    BlockCopyCallState call;
    AioContext *ctx;            /* of both */
    QEMUTimer timer;
    BlockCopyAsyncCallbackFunc cb;
    void *cb_opaque;

    /* Under the lock of the BlockCopyState. */
    Coroutine *waiter;          /* NULL: it does not sleep, or is woken */
    bool done;                  /* the call has ended */
    bool left;                  /* the waiter has gone */
    QLIST_ENTRY(BlockCopyWait) list;
};

/* The caller must wake what this returns; NULL: there is nobody to wake. */
static Coroutine *block_copy_wait_take_locked(BlockCopyWait *w)
{
    Coroutine *co = w->waiter;

    w->waiter = NULL;
    return co;
}

static void block_copy_wait_timer_cb(void *opaque)
{
    BlockCopyWait *w = opaque;
    Coroutine *co;

    WITH_QEMU_LOCK_GUARD(&w->call.s->lock) {
        co = block_copy_wait_take_locked(w);
    }
    if (co) {
        aio_co_wake(co);
    }
}

/* The call has ended. */
static void block_copy_wait_done(void *opaque)
{
    BlockCopyWait *w = opaque;
    Coroutine *co;
    bool left;

    WITH_QEMU_LOCK_GUARD(&w->call.s->lock) {
        w->done = true;
        left = w->left;
        co = block_copy_wait_take_locked(w);
    }
    if (w->cb) {
        w->cb(w->cb_opaque);
    }
    if (co) {
        aio_co_wake(co);
    }
    if (left) {
        g_free(w);
    }
}

/*
 * Wait for the call, @timeout_ns at most if that is not 0.  Frees @w if the
 * call has ended, else leaves it to the call.
 */
static int coroutine_fn block_copy_wait(BlockCopyWait *w, uint64_t timeout_ns)
{
    BlockCopyState *s = w->call.s;
    int ret;

    aio_timer_init(w->ctx, &w->timer, QEMU_CLOCK_REALTIME, SCALE_NS,
                   block_copy_wait_timer_cb, w);
    qemu_mutex_lock(&s->lock);
    if (!w->done && !qatomic_read(&s->abandoned)) {
        if (timeout_ns) {
            int64_t now = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

            timer_mod(&w->timer, now + MIN(timeout_ns, INT64_MAX - now));
        }
        w->waiter = qemu_coroutine_self();
        QLIST_INSERT_HEAD(&s->waits, w, list);
        qemu_mutex_unlock(&s->lock);
        /* A waker in another thread schedules it here, so after this. */
        qemu_coroutine_yield();
        qemu_mutex_lock(&s->lock);
        QLIST_REMOVE(w, list);
    }
    w->left = !w->done;
    qemu_mutex_unlock(&s->lock);
    timer_del(&w->timer);

    if (w->left) {
        /* The call cannot end here and now: it runs in this thread. */
        block_copy_call_cancel(&w->call);
        return qatomic_read(&s->abandoned) ? -ECANCELED : -ETIMEDOUT;
    }
    ret = w->call.ret;
    g_free(w);
    return ret;
}

int coroutine_fn block_copy(BlockCopyState *s, int64_t offset, int64_t bytes,
                            bool ignore_ratelimit, uint64_t timeout_ns,
                            BlockCopyAsyncCallbackFunc cb, void *cb_opaque)
{
    BlockCopyWait *w;

    if (block_copy_is_done(s, offset, bytes)) {
        /* As for most writes: that costs no coroutine. */
        if (cb) {
            cb(cb_opaque);
        }
        return 0;
    }
    w = g_new0(BlockCopyWait, 1);
    w->ctx = qemu_get_current_aio_context();
    w->cb = cb;
    w->cb_opaque = cb_opaque;
    w->call = (BlockCopyCallState) {
        .s = s,
        .offset = offset,
        .bytes = bytes,
        .max_workers = BLOCK_COPY_MAX_WORKERS,
        .max_chunk = BLOCK_COPY_CHUNK,
        .ignore_ratelimit = ignore_ratelimit,
        .cb = block_copy_wait_done,
        .cb_opaque = w,
    };
    w->call.co = qemu_coroutine_create(block_copy_call_run, &w->call);
    qemu_coroutine_enter(w->call.co);
    return block_copy_wait(w, timeout_ns);
}

void block_copy_abandon(BlockCopyState *s)
{
    BlockCopyWait *w;

    QEMU_LOCK_GUARD(&s->lock);
    qatomic_set(&s->abandoned, true);
    QLIST_FOREACH(w, &s->waits, list) {
        Coroutine *co = block_copy_wait_take_locked(w);

        if (co) {
            /* Not entered here: the caller need not be ready for that. */
            aio_co_schedule(w->ctx, co);
        }
    }
}

void block_copy_call_free(BlockCopyCallState *call)
{
    if (call) {
        assert(call->finished);
        g_free(call);
    }
}

bool block_copy_call_finished(BlockCopyCallState *call)
{
    return qatomic_load_acquire(&call->finished);
}

bool block_copy_call_succeeded(BlockCopyCallState *call)
{
    return block_copy_call_finished(call) &&
           !qatomic_read(&call->cancelled) && call->ret == 0;
}

bool block_copy_call_failed(BlockCopyCallState *call)
{
    return block_copy_call_finished(call) &&
           !qatomic_read(&call->cancelled) && call->ret < 0;
}

int block_copy_call_status(BlockCopyCallState *call, bool *error_is_read)
{
    assert(call->finished);
    if (error_is_read) {
        *error_is_read = call->error_is_read;
    }
    return call->ret;
}

void block_copy_call_cancel(BlockCopyCallState *call)
{
    qatomic_set(&call->cancelled, true);
    /* It need not sleep any longer for the limit of speed. */
    qemu_co_sleep_wake(&call->sleep);
}
