/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engines of an AioContext: made when first asked for, and gone with it.
 */
#include "qemu/osdep.h"
#include "block/raw-aio.h"
#include "qemu/notify.h"

#ifdef CONFIG_LINUX_AIO
static void aio_free_linux_aio(Notifier *notifier, void *opaque)
{
    AioContext *ctx = opaque;

    laio_detach_aio_context(ctx->linux_aio, ctx);
    laio_cleanup(ctx->linux_aio);
    ctx->linux_aio = NULL;
    g_free(notifier);
}

LinuxAioState *aio_setup_linux_aio(AioContext *ctx, Error **errp)
{
    if (unlikely(!ctx->linux_aio)) {
        Notifier *notifier;

        ctx->linux_aio = laio_init(errp);
        if (!ctx->linux_aio) {
            return NULL;
        }
        laio_attach_aio_context(ctx->linux_aio, ctx);
        notifier = g_new0(Notifier, 1);
        notifier->notify = aio_free_linux_aio;
        notifier_list_add(&ctx->finalize_notifiers, notifier);
    }
    return ctx->linux_aio;
}

LinuxAioState *aio_get_linux_aio(AioContext *ctx)
{
    assert(ctx->linux_aio);
    return ctx->linux_aio;
}
#endif
