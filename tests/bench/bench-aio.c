/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the event loop costs: BHs, iterations, deferred calls.  Prints ns per
 * operation; asserts none.
 */
#include "qemu/osdep.h"
#include "qemu/aio.h"
#include "qapi/error.h"
#include "qemu/defer-call.h"
#include "qemu/main-loop.h"

#define ROUNDS 2000000

static unsigned long calls;

static void count(void *opaque)
{
    calls++;
}

static void report(const char *what, int64_t start, unsigned long n)
{
    printf("%-40s %8.1f ns\n", what,
           (double)(qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - start) / n);
}

static void bench_bh(AioContext *ctx, unsigned burst)
{
    g_autofree char *what = g_strdup_printf("BH, %u per iteration", burst);
    g_autofree QEMUBH **bhs = g_new(QEMUBH *, burst);
    int64_t start;
    unsigned i, j;

    for (i = 0; i < burst; i++) {
        bhs[i] = aio_bh_new(ctx, count, NULL);
    }
    start = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    for (i = 0; i < ROUNDS / burst; i++) {
        for (j = 0; j < burst; j++) {
            qemu_bh_schedule(bhs[j]);
        }
        aio_poll(ctx, false);
    }
    report(what, start, ROUNDS / burst * burst);
    for (i = 0; i < burst; i++) {
        qemu_bh_delete(bhs[i]);
    }
    aio_poll(ctx, false);
}

static void bench_oneshot(AioContext *ctx)
{
    int64_t start = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    unsigned i;

    for (i = 0; i < ROUNDS; i++) {
        aio_bh_schedule_oneshot(ctx, count, NULL);
        if (i % 32 == 31) {
            aio_poll(ctx, false);
        }
    }
    aio_poll(ctx, false);
    report("one-shot BH, 32 per iteration", start, ROUNDS);
}

static void bench_empty(AioContext *ctx)
{
    int64_t start = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    unsigned i;

    for (i = 0; i < ROUNDS; i++) {
        aio_poll(ctx, false);
    }
    report("iteration with nothing to do", start, ROUNDS);
}

static void bench_event(AioContext *ctx)
{
    unsigned n = ROUNDS / 10, i;
    int64_t start = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

    for (i = 0; i < n; i++) {
        event_notifier_set(&ctx->notifier);
        aio_poll(ctx, true);
    }
    report("event notifier: set, wait, clear", start, n);
}

static void bench_defer(void)
{
    int64_t start = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    unsigned i;

    for (i = 0; i < ROUNDS; i++) {
        defer_call_begin();
        defer_call(count, NULL);
        defer_call(count, &calls);
        defer_call(count, NULL);
        defer_call_end();
    }
    report("section with 3 defer_call(), 2 distinct", start, ROUNDS);
}

int main(void)
{
    AioContext *ctx;

    qemu_init_main_loop(&error_fatal);
    ctx = qemu_get_aio_context();
    bench_empty(ctx);
    bench_bh(ctx, 1);
    bench_bh(ctx, 32);
    bench_oneshot(ctx);
    bench_event(ctx);
    bench_defer();
    return calls ? 0 : 1;
}
