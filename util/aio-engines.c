/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engines and the parameters that an AioContext carries.
 */
#include "qemu/osdep.h"
#include "qemu/aio.h"
#include "block/raw-aio.h"
#include "qemu/thread-pool.h"
#include "qapi/error.h"

ThreadPoolAio *aio_get_thread_pool(AioContext *ctx)
{
    if (!ctx->thread_pool) {
        ctx->thread_pool = thread_pool_new_aio(ctx);
    }
    return ctx->thread_pool;
}

#ifdef CONFIG_LINUX_AIO
LinuxAioState *aio_setup_linux_aio(AioContext *ctx, Error **errp)
{
    if (!ctx->linux_aio) {
        ctx->linux_aio = laio_init(errp);
        if (ctx->linux_aio) {
            laio_attach_aio_context(ctx->linux_aio, ctx);
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

#ifdef CONFIG_LINUX_IO_URING
struct LuringState *aio_setup_linux_io_uring(AioContext *ctx, Error **errp)
{
    if (!ctx->linux_io_uring) {
        ctx->linux_io_uring = luring_init(errp);
        if (ctx->linux_io_uring) {
            luring_attach_aio_context(ctx->linux_io_uring, ctx);
        }
    }
    return ctx->linux_io_uring;
}

struct LuringState *aio_get_linux_io_uring(AioContext *ctx)
{
    assert(ctx->linux_io_uring);
    return ctx->linux_io_uring;
}
#endif

void aio_context_set_poll_params(AioContext *ctx, int64_t max_ns, int64_t grow,
                                 int64_t shrink, Error **errp)
{
    if (max_ns < 0 || grow < 0 || shrink < 0) {
        error_setg(errp, "poll-max-ns, poll-grow and poll-shrink must be in "
                   "range [0, %" PRId64 "]", INT64_MAX);
        return;
    }
    ctx->poll_max_ns = max_ns;
    ctx->poll_ns = 0;
    ctx->poll_grow = grow;
    ctx->poll_shrink = shrink;
    aio_notify(ctx);
}

void aio_context_set_aio_params(AioContext *ctx, int64_t max_batch)
{
    ctx->aio_max_batch = max_batch;
}

void aio_context_set_thread_pool_params(AioContext *ctx, int64_t min,
                                        int64_t max, Error **errp)
{
    if (min < 0 || max < 1 || min > max || max > INT_MAX) {
        error_setg(errp, "bad thread-pool-min/thread-pool-max values");
        return;
    }
    ctx->thread_pool_min = min;
    ctx->thread_pool_max = max;
    if (ctx->thread_pool) {
        thread_pool_update_params(ctx->thread_pool, ctx);
    }
}
