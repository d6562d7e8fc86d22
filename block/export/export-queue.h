/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the queues of all exports have that take requests in passes: how many
 * are in flight, and what happens when the last one has ended.
 *
 * All of it belongs to the home thread of the queue's context.
 */
#ifndef BLOCK_EXPORT_EXPORT_QUEUE_H
#define BLOCK_EXPORT_EXPORT_QUEUE_H

#include "qemu/aio.h"
#include "qemu/coroutine.h"

typedef struct ExportQueue {
    AioContext *ctx;
    unsigned in_flight;
    bool in_pass;
    AioAwake awake;             /* waiting for the next request */
    Coroutine *stopper;         /* waits until in_flight is 0 */
} ExportQueue;

/*
 * A pass takes requests.  It is a section of defer_call(), so that all of them
 * go to the kernel together.
 */
void export_queue_begin_pass(ExportQueue *q);
void export_queue_end_pass(ExportQueue *q);

/* A request has been taken; its coroutine is entered after this. */
static inline void export_queue_begin_request(ExportQueue *q)
{
    aio_awake_busy(&q->awake);
    q->in_flight++;
}

/* It has been answered. */
void export_queue_end_request(ExportQueue *q);

/* Until nothing is in flight; nothing must be taken any more. */
void coroutine_fn export_queue_wait_idle(ExportQueue *q);

#endif
