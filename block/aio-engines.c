/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engines of an AioContext: made when first asked for, and gone with it.
 * That of io_uring is in io_uring-context.c.
 */
#include "qemu/osdep.h"
#include "aio-engines.h"
#include "qapi/error.h"
#include "qemu/timer.h"

#define SETUP_RETRY_NS NANOSECONDS_PER_SECOND

bool aio_engine_is_refused(AioEngineRefusal *refusal)
{
    if (refusal->error &&
        qemu_clock_get_ns(QEMU_CLOCK_REALTIME) < refusal->retry_ns) {
        return true;
    }
    error_free(refusal->error);
    refusal->error = NULL;
    return false;
}

void aio_engine_refused(AioEngineRefusal *refusal)
{
    refusal->retry_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) +
                        SETUP_RETRY_NS;
}

void aio_engine_free_with_context(AioContext *ctx,
                                  void (*fn)(Notifier *, void *))
{
    Notifier *notifier = g_new0(Notifier, 1);

    notifier->notify = fn;
    notifier_list_add(&ctx->finalize_notifiers, notifier);
}

#ifdef CONFIG_LINUX_AIO
static void aio_free_linux_aio(Notifier *notifier, void *opaque)
{
    AioContext *ctx = opaque;

    laio_detach_aio_context(ctx->linux_aio, ctx);
    laio_cleanup(ctx->linux_aio);
    ctx->linux_aio = NULL;
    g_free(notifier);
}

static void aio_make_linux_aio(AioContext *ctx)
{
    AioEngineRefusal *refusal = &ctx->linux_aio_refusal;

    if (aio_engine_is_refused(refusal)) {
        return;
    }
    ctx->linux_aio = laio_init(&refusal->error);
    if (!ctx->linux_aio) {
        aio_engine_refused(refusal);
        return;
    }
    laio_attach_aio_context(ctx->linux_aio, ctx);
    aio_engine_free_with_context(ctx, aio_free_linux_aio);
}

LinuxAioState *aio_setup_linux_aio(AioContext *ctx, Error **errp)
{
    if (unlikely(!ctx->linux_aio)) {
        aio_make_linux_aio(ctx);
        if (!ctx->linux_aio) {
            error_propagate(errp, error_copy(ctx->linux_aio_refusal.error));
        }
    }
    return ctx->linux_aio;
}

LinuxAioState *aio_get_linux_aio(AioContext *ctx)
{
    assert(ctx->linux_aio);
    return ctx->linux_aio;
}
#endif
