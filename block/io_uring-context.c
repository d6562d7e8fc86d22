/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The io_uring engine of an AioContext: made when first asked for, and gone
 * with it.
 */
#include "qemu/osdep.h"
#include "aio-engines.h"
#include "block/io_uring.h"
#include "qapi/error.h"
#include "qemu/aio-uring.h"

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
    AioEngineRefusal *refusal = &ctx->linux_io_uring_refusal;
    struct io_uring *ring;

    if (aio_engine_is_refused(refusal)) {
        return;
    }
    ring = aio_uring_share(ctx);
    ctx->linux_io_uring = ring ? luring_init_shared(ring) :
                          luring_init(&refusal->error);
    if (!ctx->linux_io_uring) {
        aio_engine_refused(refusal);
        return;
    }
    luring_attach_aio_context(ctx->linux_io_uring, ctx);
    aio_engine_free_with_context(ctx, aio_free_linux_io_uring);
}

LuringState *aio_setup_linux_io_uring(AioContext *ctx, Error **errp)
{
    if (unlikely(!ctx->linux_io_uring)) {
        aio_make_linux_io_uring(ctx);
        if (!ctx->linux_io_uring) {
            error_propagate(errp,
                            error_copy(ctx->linux_io_uring_refusal.error));
        }
    }
    return ctx->linux_io_uring;
}

LuringState *aio_get_linux_io_uring(AioContext *ctx)
{
    assert(ctx->linux_io_uring);
    return ctx->linux_io_uring;
}
