/* SPDX-License-Identifier: GPL-2.0-or-later */
/* When to stay awake: see the header. */
#include "qemu/osdep.h"
#include "qemu/aio.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"

bool aio_awake_would_stay(const AioAwake *a, AioContext *ctx)
{
    return !a->pause && a->gap_ns <= AIO_AWAKE_GAP_NS &&
           (ctx->poll_max_ns || ctx == qemu_get_aio_context());
}

static void awake_begin(AioAwake *a, AioContext *ctx, bool may_stay)
{
    int64_t now = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

    a->busy = false;
    a->idle_since = now;
    a->stay_ns = 0;
    if (may_stay && aio_awake_would_stay(a, ctx)) {
        a->stay_ns = MIN(2 * a->gap_ns + AIO_AWAKE_LEAST_NS,
                         AIO_AWAKE_MAX_NS);
        aio_stay_awake(ctx, now + a->stay_ns);
    } else if (a->pause) {
        a->pause--;
    }
}

void aio_awake_idle(AioAwake *a, AioContext *ctx)
{
    awake_begin(a, ctx, qemu_processors() > 1);
}

void aio_awake_wait(AioAwake *a, AioContext *ctx)
{
    awake_begin(a, ctx, true);
}

void aio_awake_end_idle(AioAwake *a)
{
    a->gap_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - a->idle_since;
    a->idle_since = 0;
    if (!a->stay_ns) {
        return;
    }
    if (a->gap_ns <= a->stay_ns) {
        a->misses = 0;
    } else {
        a->misses = MIN(MAX(2 * a->misses, 1), AIO_AWAKE_MAX_PAUSE);
        a->pause = a->misses;
    }
}
