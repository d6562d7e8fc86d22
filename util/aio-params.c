/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The thread pool and the parameters that an AioContext carries.
 */
#include "qemu/osdep.h"
#include "qemu/aio.h"
#include "qemu/thread-pool.h"
#include "qapi/error.h"

ThreadPoolAio *aio_get_thread_pool(AioContext *ctx)
{
    if (!ctx->thread_pool) {
        ctx->thread_pool = thread_pool_new_aio(ctx);
    }
    return ctx->thread_pool;
}

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

void aio_context_set_poll_weight(AioContext *ctx, int64_t weight)
{
    assert(weight >= 0 && weight < 64);
    ctx->poll_weight = weight;
    ctx->poll_average_ns = 0;
}

void aio_context_set_aio_params(AioContext *ctx, int64_t max_batch)
{
    ctx->aio_max_batch = max_batch;
}

void aio_context_set_one_request(AioContext *ctx, bool one)
{
    ctx->one_request = one;
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
