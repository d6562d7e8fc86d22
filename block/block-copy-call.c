/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The calls of a block copy: those in the background, those that a coroutine
 * waits for, and how each has ended.  See include/block/block-copy.h.
 */
#include "qemu/osdep.h"
#include "block-copy-int.h"

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

/* --- a call that waits, perhaps only for a while --- */

typedef struct {
    BlockCopyCallState *call;
    Coroutine *waiter;          /* NULL: it has given up */
    QemuCoSleep sleep;
    bool done;
    BlockCopyAsyncCallbackFunc cb;
    void *cb_opaque;
} BlockCopyWait;

static void block_copy_wait_done(void *opaque)
{
    BlockCopyWait *w = opaque;

    w->done = true;
    if (w->waiter) {
        qemu_co_sleep_wake(&w->sleep);
        return;
    }
    /* The waiter has gone: this is the end of both. */
    if (w->cb) {
        w->cb(w->cb_opaque);
    }
    g_free(w->call);
    g_free(w);
}

int coroutine_fn block_copy(BlockCopyState *s, int64_t offset, int64_t bytes,
                            bool ignore_ratelimit, uint64_t timeout_ns,
                            BlockCopyAsyncCallbackFunc cb, void *cb_opaque)
{
    BlockCopyCallState *call = g_new0(BlockCopyCallState, 1);
    BlockCopyWait *w;
    int ret;

    call->s = s;
    call->offset = offset;
    call->bytes = bytes;
    call->max_workers = BLOCK_COPY_MAX_WORKERS;
    call->max_chunk = BLOCK_COPY_CHUNK;
    call->ignore_ratelimit = ignore_ratelimit;
    if (!timeout_ns) {
        call->co = qemu_coroutine_self();
        block_copy_call_run(call);
        ret = call->ret;
        g_free(call);
        return ret;
    }

    w = g_new0(BlockCopyWait, 1);
    w->call = call;
    w->cb = cb;
    w->cb_opaque = cb_opaque;
    w->waiter = qemu_coroutine_self();
    call->cb = block_copy_wait_done;
    call->cb_opaque = w;
    call->co = qemu_coroutine_create(block_copy_call_run, call);
    qemu_coroutine_enter(call->co);
    if (!w->done) {
        qemu_co_sleep_ns_wakeable(&w->sleep, QEMU_CLOCK_REALTIME,
                                  MIN(timeout_ns, INT64_MAX));
    }
    w->waiter = NULL;
    if (!w->done) {
        block_copy_call_cancel(call);
        return -ETIMEDOUT;
    }
    ret = call->ret;
    g_free(call);
    g_free(w);
    return ret;
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
