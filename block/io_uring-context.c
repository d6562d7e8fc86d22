/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The io_uring engine of an AioContext: made when first asked for, and gone
 * with it.
 */
#include "qemu/osdep.h"
#include "block/raw-aio.h"
#include "qapi/error.h"
#include "qemu/notify.h"
#include "qemu/timer.h"

/*
 * Each request asks for the engine while there is none.  After a refusal the
 * kernel is not asked again for that long.
 */
#define SETUP_RETRY_NS NANOSECONDS_PER_SECOND

static void aio_free_linux_io_uring(Notifier *notifier, void *opaque)
{
    AioContext *ctx = opaque;

    luring_detach_aio_context(ctx->linux_io_uring, ctx);
    luring_cleanup(ctx->linux_io_uring);
    ctx->linux_io_uring = NULL;
    g_free(notifier);
}

static void aio_make_linux_io_uring(AioContext *ctx)
{
    int64_t now = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    Notifier *notifier;

    if (ctx->linux_io_uring_error && now < ctx->linux_io_uring_retry_ns) {
        return;
    }
    error_free(ctx->linux_io_uring_error);
    ctx->linux_io_uring_error = NULL;
    ctx->linux_io_uring = luring_init(&ctx->linux_io_uring_error);
    if (!ctx->linux_io_uring) {
        ctx->linux_io_uring_retry_ns = now + SETUP_RETRY_NS;
        return;
    }
    luring_attach_aio_context(ctx->linux_io_uring, ctx);
    notifier = g_new0(Notifier, 1);
    notifier->notify = aio_free_linux_io_uring;
    notifier_list_add(&ctx->finalize_notifiers, notifier);
}

LuringState *aio_setup_linux_io_uring(AioContext *ctx, Error **errp)
{
    if (unlikely(!ctx->linux_io_uring)) {
        aio_make_linux_io_uring(ctx);
        if (!ctx->linux_io_uring) {
            error_propagate(errp, error_copy(ctx->linux_io_uring_error));
        }
    }
    return ctx->linux_io_uring;
}

LuringState *aio_get_linux_io_uring(AioContext *ctx)
{
    assert(ctx->linux_io_uring);
    return ctx->linux_io_uring;
}
