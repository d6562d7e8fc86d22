/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The native engine of an AioContext: made when first asked for, and gone with
 * it.
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

#ifdef CONFIG_LINUX_AIO
static void aio_free_linux_aio(Notifier *notifier, void *opaque)
{
    AioContext *ctx = opaque;

    laio_detach_aio_context(ctx->linux_aio, ctx);
    laio_cleanup(ctx->linux_aio);
    ctx->linux_aio = NULL;
    g_free(notifier);
}

/* Make the engine; on failure note why, and until when that holds. */
static void aio_make_linux_aio(AioContext *ctx)
{
    int64_t now = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    Notifier *notifier;

    if (ctx->linux_aio_error && now < ctx->linux_aio_retry_ns) {
        return;
    }
    error_free(ctx->linux_aio_error);
    ctx->linux_aio_error = NULL;
    ctx->linux_aio = laio_init(&ctx->linux_aio_error);
    if (!ctx->linux_aio) {
        ctx->linux_aio_retry_ns = now + SETUP_RETRY_NS;
        return;
    }
    laio_attach_aio_context(ctx->linux_aio, ctx);
    notifier = g_new0(Notifier, 1);
    notifier->notify = aio_free_linux_aio;
    notifier_list_add(&ctx->finalize_notifiers, notifier);
}

LinuxAioState *aio_setup_linux_aio(AioContext *ctx, Error **errp)
{
    if (unlikely(!ctx->linux_aio)) {
        aio_make_linux_aio(ctx);
        if (!ctx->linux_aio) {
            error_propagate(errp, error_copy(ctx->linux_aio_error));
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
