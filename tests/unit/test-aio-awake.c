/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of staying awake: an event loop that polls its descriptors before
 * it sleeps, and the decision when it is worth that.
 */
#include "qemu/osdep.h"
#include <time.h>
#include "util/aio-posix.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"

static AioContext *ctx;

/* --- the loop --- */

/* The real monitor, and what it was asked for. */
static const FDMonOps *real_ops;
static FDMonOps watching_ops;
static EventNotifier later;
static int looks;               /* waits of no time */
static int sleeps;
static int signal_at_look;      /* what is waited for comes then; 0: never */
static int signals;

static void watching_wait(AioContext *c, AioHandlerList *ready,
                          int64_t timeout)
{
    sleeps += timeout != 0;
    looks += timeout == 0;
    if (timeout == 0 && looks == signal_at_look) {
        event_notifier_set(&later);
    }
    real_ops->wait(c, ready, timeout);
}

static void later_cb(EventNotifier *e)
{
    event_notifier_test_and_clear(e);
    signals++;
}

static void watch_begin(void)
{
    event_notifier_init(&later, false);
    aio_set_event_notifier(ctx, &later, later_cb, NULL, NULL);
    /* Handlers have seen all that came before. */
    while (aio_poll(ctx, false)) {
    }
    real_ops = ctx->fdmon_ops;
    watching_ops = *real_ops;
    watching_ops.wait = watching_wait;
    ctx->fdmon_ops = &watching_ops;
    looks = sleeps = signals = signal_at_look = 0;
}

static void watch_end(void)
{
    ctx->fdmon_ops = real_ops;
    aio_set_event_notifier(ctx, &later, NULL, NULL, NULL);
    event_notifier_cleanup(&later);
    aio_poll(ctx, false);
}

static int64_t now_ns(void)
{
    return qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
}

/* A descriptor without io_poll is seen by a loop that does not sleep. */
static void test_looks(void)
{
    watch_begin();
    signal_at_look = 5;
    aio_stay_awake(ctx, now_ns() + 3600 * NANOSECONDS_PER_SECOND);
    while (!signals) {
        aio_poll(ctx, true);
    }
    g_assert_cmpint(looks, >=, 5);
    g_assert_cmpint(sleeps, ==, 0);
    ctx->awake_until = 0;
    watch_end();
}

static void timer_cb(void *opaque)
{
    bool *expired = opaque;

    *expired = true;
}

/* Timers expire in time; afterwards it is still awake. */
static void test_timer(void)
{
    bool expired = false;
    QEMUTimer timer;

    watch_begin();
    aio_timer_init(ctx, &timer, QEMU_CLOCK_REALTIME, SCALE_NS, timer_cb,
                   &expired);
    timer_mod(&timer, now_ns() + SCALE_MS);
    aio_stay_awake(ctx, now_ns() + 3600 * NANOSECONDS_PER_SECOND);
    while (!expired) {
        aio_poll(ctx, true);
    }
    g_assert_cmpint(sleeps, ==, 0);
    signal_at_look = looks + 3;
    while (!signals) {
        aio_poll(ctx, true);
    }
    g_assert_cmpint(sleeps, ==, 0);
    ctx->awake_until = 0;
    watch_end();
}

static int64_t thread_cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return ts.tv_sec * NANOSECONDS_PER_SECOND + ts.tv_nsec;
}

/* It sleeps when the time is over, and does not look any more. */
static void test_sleeps_again(void)
{
    bool expired = false;
    QEMUTimer timer;
    int64_t used;
    int before;

    watch_begin();
    aio_timer_init(ctx, &timer, QEMU_CLOCK_REALTIME, SCALE_NS, timer_cb,
                   &expired);
    timer_mod(&timer, now_ns() + 300 * SCALE_MS);
    aio_stay_awake(ctx, now_ns() + AIO_AWAKE_MAX_NS);
    used = thread_cpu_ns();
    while (!expired) {
        aio_poll(ctx, true);
    }
    used = thread_cpu_ns() - used;
    g_assert_cmpint(sleeps, >=, 1);
    g_assert_cmpint(used, <, 100 * SCALE_MS);

    /* A loop that was not told to stay awake looks no more. */
    before = looks;
    event_notifier_set(&later);
    while (!signals) {
        aio_poll(ctx, true);
    }
    g_assert_cmpint(looks, ==, before);
    watch_end();
}

/* An iteration that does not wait is not held up. */
static void test_nonblocking(void)
{
    watch_begin();
    aio_stay_awake(ctx, now_ns() + 3600 * NANOSECONDS_PER_SECOND);
    g_assert_false(aio_poll(ctx, false));
    g_assert_cmpint(sleeps, ==, 0);
    ctx->awake_until = 0;
    watch_end();
}

/* That all are to be looked at does not send the loop to sleep. */
static void test_look_next(void)
{
    bool expired = false;
    QEMUTimer timer;

    watch_begin();
    aio_timer_init(ctx, &timer, QEMU_CLOCK_REALTIME, SCALE_NS, timer_cb,
                   &expired);
    timer_mod(&timer, now_ns() + 10 * SCALE_MS);
    aio_stay_awake(ctx, now_ns() + 3600 * NANOSECONDS_PER_SECOND);
    while (!expired) {
        aio_look_next(ctx);
        aio_poll(ctx, true);
    }
    g_assert_cmpint(sleeps, ==, 0);
    g_assert_cmpint(looks, >, 0);
    ctx->awake_until = 0;
    watch_end();
}

/* --- disks --- */

/* The loop runs for so long, whatever happens. */
static void run_for(int64_t ns)
{
    bool expired = false;
    QEMUTimer timer;

    aio_timer_init(ctx, &timer, QEMU_CLOCK_REALTIME, SCALE_NS, timer_cb,
                   &expired);
    timer_mod(&timer, now_ns() + ns);
    while (!expired) {
        aio_poll(ctx, true);
    }
}

static void test_disk(void)
{
    AioAwake *a = &ctx->awake_disk;
    int64_t since;
    int before;

    watch_begin();
    *a = (AioAwake) {};
    aio_disk_request_begin(ctx);
    run_for(SCALE_MS);
    since = a->idle_since;
    g_assert_cmpint(since, >, 0);
    g_assert_cmpint(a->stay_ns, ==, AIO_AWAKE_LEAST_NS);
    g_assert_cmpint(looks, >, 0);
    g_assert_cmpint(sleeps, >, 0);
    /* The request goes on when something else has ended a sleep. */
    run_for(SCALE_MS);
    g_assert_cmpint(a->idle_since, ==, since);
    aio_disk_request_end(ctx);
    g_assert_cmpint(a->idle_since, ==, 0);
    g_assert_cmpint(a->gap_ns, >=, 2 * SCALE_MS);

    /* A slow disk is not worth it. */
    before = looks;
    aio_disk_request_begin(ctx);
    run_for(SCALE_MS);
    g_assert_cmpint(a->idle_since, >, 0);
    g_assert_cmpint(a->stay_ns, ==, 0);
    g_assert_cmpint(looks, ==, before);
    aio_disk_request_end(ctx);
    watch_end();
}

static void disk_requests_begin(int n)
{
    while (n--) {
        aio_disk_request_begin(ctx);
    }
}

static void disk_requests_end(int n)
{
    while (n--) {
        aio_disk_request_end(ctx);
    }
}

/* The first of several ends the wait, and the others are waited for anew. */
static void test_disk_several(void)
{
    AioAwake *a = &ctx->awake_disk;

    watch_begin();
    *a = (AioAwake) {};
    disk_requests_begin(AIO_AWAKE_DISK_REQUESTS);
    run_for(SCALE_MS);
    g_assert_cmpint(a->idle_since, >, 0);
    g_assert_cmpint(looks, >, 0);
    aio_disk_request_end(ctx);
    g_assert_cmpint(a->idle_since, ==, 0);
    g_assert_cmpint(a->misses, ==, 1);
    /* It was in vain: the next time it is asleep. */
    a->gap_ns = 0;
    looks = 0;
    run_for(SCALE_MS);
    g_assert_cmpint(a->idle_since, >, 0);
    g_assert_cmpint(a->stay_ns, ==, 0);
    g_assert_cmpint(looks, ==, 0);
    disk_requests_end(AIO_AWAKE_DISK_REQUESTS - 1);
    g_assert_cmpint(ctx->disk_requests, ==, 0);
    watch_end();
}

/* With more requests nothing is tried, nor without any. */
static void test_disk_many(void)
{
    watch_begin();
    ctx->awake_disk = (AioAwake) {};
    disk_requests_begin(AIO_AWAKE_DISK_REQUESTS + 1);
    run_for(SCALE_MS);
    g_assert_cmpint(ctx->awake_disk.idle_since, ==, 0);
    disk_requests_end(AIO_AWAKE_DISK_REQUESTS + 1);
    run_for(SCALE_MS);
    g_assert_cmpint(ctx->awake_disk.idle_since, ==, 0);
    g_assert_cmpint(looks, ==, 0);
    watch_end();
}

/* --- the decision --- */

static bool can_stay(void)
{
    return g_get_num_processors() > 1;
}

/* The client comes back after @gap_ns. */
static void come_back(AioAwake *a, int64_t gap_ns)
{
    a->idle_since -= gap_ns;
    aio_awake_busy(a);
}

static void test_hit(void)
{
    AioAwake a = {};
    int i;

    if (!can_stay()) {
        g_test_skip("there is one processor only");
        return;
    }
    for (i = 0; i < 3; i++) {
        aio_awake_idle(&a, ctx);
        g_assert_cmpint(a.stay_ns, >=, AIO_AWAKE_LEAST_NS);
        g_assert_cmpint(a.stay_ns, <=, AIO_AWAKE_MAX_NS);
        /* However slow the machine is now. */
        a.stay_ns = NANOSECONDS_PER_SECOND * 3600;
        aio_awake_busy(&a);
        g_assert_cmpint(a.misses, ==, 0);
        g_assert_cmpint(a.pause, ==, 0);
        a.gap_ns = 10 * SCALE_US;
    }
    aio_awake_idle(&a, ctx);
    g_assert_cmpint(a.stay_ns, ==, 20 * SCALE_US + AIO_AWAKE_LEAST_NS);
    ctx->awake_until = 0;
}

/* Each miss doubles the pause, up to a bound; a hit ends that. */
static void test_miss(void)
{
    unsigned pause = 1, i;
    AioAwake a = {};

    if (!can_stay()) {
        g_test_skip("there is one processor only");
        return;
    }
    while (pause <= AIO_AWAKE_MAX_PAUSE) {
        aio_awake_idle(&a, ctx);
        g_assert_cmpint(a.stay_ns, >, 0);
        come_back(&a, NANOSECONDS_PER_SECOND);
        g_assert_cmpint(a.pause, ==, pause);
        for (i = 0; i < pause; i++) {
            aio_awake_idle(&a, ctx);
            g_assert_cmpint(a.stay_ns, ==, 0);
            aio_awake_busy(&a);
        }
        /* Not so long that it were not worth it. */
        a.gap_ns = 10 * SCALE_US;
        pause *= 2;
    }
    aio_awake_idle(&a, ctx);
    come_back(&a, NANOSECONDS_PER_SECOND);
    g_assert_cmpint(a.pause, ==, AIO_AWAKE_MAX_PAUSE);
    ctx->awake_until = 0;
}

/* For one who takes long nothing is tried. */
static void test_slow_client(void)
{
    AioAwake a = {};
    int i;

    for (i = 0; i < 100; i++) {
        a.gap_ns = AIO_AWAKE_GAP_NS + 1;
        a.pause = 0;
        aio_awake_idle(&a, ctx);
        g_assert_cmpint(a.stay_ns, ==, 0);
        come_back(&a, SCALE_MS);
    }
    g_assert_cmpint(ctx->awake_until, ==, 0);
    g_assert_cmpint(a.misses, ==, 0);
}

/* The first of several that come together ends the wait. */
static void test_several(void)
{
    AioAwake a = {};
    int64_t gap;
    int i;

    aio_awake_idle(&a, ctx);
    g_assert(!a.busy);
    come_back(&a, 10 * SCALE_US);
    gap = a.gap_ns;
    g_assert_cmpint(gap, >=, 10 * SCALE_US);
    for (i = 0; i < 64; i++) {
        aio_awake_busy(&a);
    }
    g_assert(a.busy);
    g_assert_cmpint(a.gap_ns, ==, gap);
    a.pause = 0;
    aio_awake_idle(&a, ctx);
    g_assert_cmpint(a.stay_ns > 0, ==, can_stay());
    ctx->awake_until = 0;
}

/* poll-max-ns=0 of an iothread turns it off. */
static void test_off(void)
{
    AioContext *other = aio_context_new(&error_abort);
    AioAwake a = {};

    aio_awake_idle(&a, other);
    g_assert_cmpint(a.stay_ns, ==, 0);
    aio_awake_wait(&a, other);
    g_assert_cmpint(a.stay_ns, ==, 0);
    g_assert_cmpint(other->awake_until, ==, 0);
    aio_context_set_poll_params(other, 32768, 0, 0, &error_abort);
    aio_awake_idle(&a, other);
    g_assert_cmpint(a.stay_ns > 0, ==, can_stay());
    g_assert_cmpint(other->awake_until > 0, ==, can_stay());
    aio_awake_wait(&a, other);
    g_assert_cmpint(a.stay_ns, >, 0);
    g_assert_cmpint(other->awake_until, >, 0);
    aio_context_unref(other);
}

int main(int argc, char **argv)
{
    qemu_init_main_loop(&error_abort);
    ctx = qemu_get_aio_context();
    g_test_init(&argc, &argv, NULL);
    /* The monitor is chosen by the first iteration. */
    aio_poll(ctx, false);
    g_test_add_func("/aio-awake/looks", test_looks);
    g_test_add_func("/aio-awake/timer", test_timer);
    g_test_add_func("/aio-awake/sleeps-again", test_sleeps_again);
    g_test_add_func("/aio-awake/nonblocking", test_nonblocking);
    g_test_add_func("/aio-awake/look-next", test_look_next);
    g_test_add_func("/aio-awake/disk", test_disk);
    g_test_add_func("/aio-awake/disk-several", test_disk_several);
    g_test_add_func("/aio-awake/disk-many", test_disk_many);
    g_test_add_func("/aio-awake/hit", test_hit);
    g_test_add_func("/aio-awake/miss", test_miss);
    g_test_add_func("/aio-awake/slow-client", test_slow_client);
    g_test_add_func("/aio-awake/several", test_several);
    g_test_add_func("/aio-awake/off", test_off);
    return g_test_run();
}
