/* SPDX-License-Identifier: GPL-2.0-or-later */
/* When to stay awake: see the header. */
#include "qemu/osdep.h"
#include "qemu/aio-awake.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"

static bool may_stay_awake(AioContext *ctx)
{
    return qemu_processors() > 1 &&
           (ctx->poll_max_ns || ctx == qemu_get_aio_context());
}

void aio_awake_idle(AioAwake *a, AioContext *ctx)
{
    int64_t now = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

    a->busy = false;
    a->idle_since = now;
    a->stay_ns = 0;
    if (a->pause) {
        a->pause--;
    } else if (a->gap_ns <= AIO_AWAKE_GAP_NS && may_stay_awake(ctx)) {
        a->stay_ns = MIN(2 * a->gap_ns + AIO_AWAKE_LEAST_NS,
                         AIO_AWAKE_MAX_NS);
        aio_stay_awake(ctx, now + a->stay_ns);
    }
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
