/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The requests in flight of a queue of an export: see the header. */
#include "qemu/osdep.h"
#include "export-queue.h"
#include "qemu/defer-call.h"

void export_queue_begin_pass(ExportQueue *q)
{
    defer_call_begin();
    q->in_pass = true;
}

void export_queue_end_pass(ExportQueue *q)
{
    defer_call_end();
    q->in_pass = false;
    if (!q->in_flight && q->awake.busy) {
        /* All of them were done at once. */
        aio_awake_idle(&q->awake, q->ctx);
    }
}

void export_queue_end_request(ExportQueue *q)
{
    assert(in_aio_context_home_thread(q->ctx));
    if (--q->in_flight) {
        return;
    }
    /* Within a pass the next request may come at once. */
    if (!q->in_pass) {
        aio_awake_idle(&q->awake, q->ctx);
    }
    /*
     * In a later iteration of the loop: the deferred calls of this one still
     * use the queue.
     */
    if (q->stopper) {
        aio_co_schedule(q->ctx, g_steal_pointer(&q->stopper));
    }
}

void coroutine_fn export_queue_wait_idle(ExportQueue *q)
{
    if (q->in_flight) {
        q->stopper = qemu_coroutine_self();
        qemu_coroutine_yield();
    }
}
