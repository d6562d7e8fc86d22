/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ring of an AioContext's fd monitor, for an engine that shares it, so that
 * one system call submits requests, waits, and fetches completions of both.
 * Home thread only.
 *
 * The engine prepares entries with user_data that is even and not 0, takes its
 * completions off the ring itself, and has a handler with io_poll for
 * ring->ring_fd, which is asked after each wait that has left completions
 * there.  The submission queue may also have entries of the monitor.
 */
#ifndef QEMU_AIO_URING_H
#define QEMU_AIO_URING_H

#include "qemu/aio.h"

#include <liburing.h>

/*
 * The ring, as long as @ctx lives; @ctx goes over to this monitor if need be.
 * NULL: the kernel is too old (before 6.1), or another monitor is wanted, so
 * that the engine needs a ring of its own.
 */
struct io_uring *aio_uring_share(AioContext *ctx);

typedef struct AioUringClient {
    /* May the monitor give the kernel what is in the submission queue? */
    bool (*may_submit)(void *opaque);
    /*
     * The kernel did not take it (-EAGAIN, -EBUSY).  The monitor tries again in
     * the first aio_poll() in which it may: the engine tells when.
     */
    void (*refused)(void *opaque);
} AioUringClient;

/* From now on the engine uses the ring; NULL: no more. */
void aio_uring_set_client(AioContext *ctx, const AioUringClient *client,
                          void *opaque);

/*
 * Is this completion the monitor's?  The engine then hands over what was in it,
 * after it has taken it off the ring.
 */
static inline bool aio_uring_is_own(const struct io_uring_cqe *cqe)
{
    return cqe->user_data & 1;
}
void aio_uring_process(AioContext *ctx, uint64_t user_data, int res);

/*
 * Leave what the submission queue has to the next aio_poll(), which submits it
 * whether it waits or not.  Only where aio_uring_can_leave(): in a callback of
 * an aio_poll(), after which there is a next one, that does not begin with busy
 * polling.
 */
static inline bool aio_uring_can_leave(AioContext *ctx)
{
    return ctx->dispatching && !ctx->poll_ns &&
           !(aio_disk_requests_few(ctx) &&
             aio_awake_would_stay(&ctx->awake_disk, ctx));
}
void aio_uring_leave(AioContext *ctx);

#endif
