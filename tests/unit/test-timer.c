/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of timers: order, re-arming, deletion, nested event loops, and
 * arming from another thread.  What is asserted is order and number, never
 * how long something took.
 */
#include "qemu/osdep.h"
#include "qemu/aio.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"

typedef struct {
    QEMUTimer timer;
    AioContext *ctx;
    char name;
    int runs;
    int rearm;                  /* so many times */
    bool poll;                  /* run the event loop from the callback */
} TestTimer;

static AioContext *ctx;
static GString *ran;

static int64_t now_ns(void)
{
    return qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
}

static void timer_cb(void *opaque)
{
    TestTimer *t = opaque;

    t->runs++;
    g_string_append_c(ran, t->name);
    if (t->rearm) {
        t->rearm--;
        timer_mod(&t->timer, now_ns());
    }
    if (t->poll) {
        t->poll = false;
        aio_poll(ctx, false);
        g_string_append_c(ran, '.');
    }
}

static void test_timer_init(TestTimer *t, char name)
{
    *t = (TestTimer) { .ctx = ctx, .name = name };
    aio_timer_init(ctx, &t->timer, QEMU_CLOCK_REALTIME, SCALE_NS, timer_cb,
                   t);
}

static void assert_ran(const char *expected)
{
    g_assert_cmpstr(ran->str, ==, expected);
    g_string_truncate(ran, 0);
}

static void wait_for_runs(TestTimer *t, int runs)
{
    while (t->runs < runs) {
        aio_poll(ctx, true);
    }
}

static void test_never_before_its_time(void)
{
    TestTimer t;
    int64_t expire = now_ns() + 5 * SCALE_MS;

    test_timer_init(&t, 'a');
    g_assert_false(timer_pending(&t.timer));
    timer_mod(&t.timer, expire);
    g_assert_true(timer_pending(&t.timer));
    while (!t.runs) {
        aio_poll(ctx, true);
        g_assert_true(!t.runs || now_ns() >= expire);
    }
    g_assert_false(timer_pending(&t.timer));
    assert_ran("a");
    g_assert_false(aio_poll(ctx, false));
}

static void test_order(void)
{
    int64_t past = now_ns() - 1000;
    TestTimer t[4];
    int i;

    for (i = 0; i < 4; i++) {
        test_timer_init(&t[i], 'a' + i);
    }
    timer_mod(&t[2].timer, past + 3);
    timer_mod(&t[0].timer, past + 1);
    timer_mod(&t[3].timer, past + 4);
    timer_mod(&t[1].timer, past + 2);
    aio_poll(ctx, false);
    assert_ran("abcd");
}

/* Of equal deadlines the one armed first runs first. */
static void test_order_of_equals(void)
{
    int64_t past = now_ns() - 1000;
    TestTimer t[3];
    int i;

    for (i = 0; i < 3; i++) {
        test_timer_init(&t[i], 'a' + i);
        timer_mod(&t[i].timer, past);
    }
    aio_poll(ctx, false);
    assert_ran("abc");
}

static void test_mod_moves(void)
{
    int64_t past = now_ns() - 1000;
    TestTimer a, b;

    test_timer_init(&a, 'a');
    test_timer_init(&b, 'b');
    timer_mod(&a.timer, past);
    timer_mod(&b.timer, past + 1);
    timer_mod(&a.timer, past + 2);
    aio_poll(ctx, false);
    assert_ran("ba");

    /* Far away now: nothing runs. */
    timer_mod(&a.timer, past);
    timer_mod(&a.timer, now_ns() + 3600 * NANOSECONDS_PER_SECOND);
    g_assert_false(aio_poll(ctx, false));
    timer_del(&a.timer);
    assert_ran("");
}

static void test_del(void)
{
    TestTimer a, b;

    test_timer_init(&a, 'a');
    test_timer_init(&b, 'b');
    timer_mod(&a.timer, now_ns() - 2);
    timer_mod(&b.timer, now_ns() - 1);
    timer_del(&a.timer);
    timer_del(&a.timer);        /* harmless */
    g_assert_false(timer_pending(&a.timer));
    aio_poll(ctx, false);
    assert_ran("b");
}

/* A timer that re-arms itself for now does not keep the loop to itself. */
static void test_rearm(void)
{
    TestTimer t;
    int polls = 0;

    test_timer_init(&t, 'a');
    t.rearm = 9;
    timer_mod(&t.timer, now_ns() - 1);
    while (t.runs < 10) {
        aio_poll(ctx, true);
        polls++;
    }
    g_assert_cmpint(polls, >, 1);
    assert_ran("aaaaaaaaaa");
    g_assert_false(timer_pending(&t.timer));
}

static void delete_other_cb(void *opaque)
{
    TestTimer *other = opaque;

    g_string_append_c(ran, 'd');
    timer_del(&other->timer);
}

static void test_del_from_callback(void)
{
    TestTimer other;
    QEMUTimer *timer = aio_timer_new(ctx, QEMU_CLOCK_REALTIME, SCALE_NS,
                                     delete_other_cb, &other);

    test_timer_init(&other, 'a');
    timer_mod(timer, now_ns() - 2);
    timer_mod(&other.timer, now_ns() - 1);
    aio_poll(ctx, false);
    assert_ran("d");
    timer_free(timer);
    timer_free(NULL);
}

static void free_self_cb(void *opaque)
{
    QEMUTimer **timer = opaque;

    g_string_append_c(ran, 'f');
    timer_free(*timer);
    *timer = NULL;
}

static void test_free_from_callback(void)
{
    QEMUTimer *timer;

    timer = aio_timer_new(ctx, QEMU_CLOCK_REALTIME, SCALE_NS, free_self_cb,
                          &timer);
    timer_mod(timer, now_ns() - 1);
    aio_poll(ctx, false);
    assert_ran("f");
    g_assert_null(timer);
}

/* aio_poll() in a callback runs the timers that are due, each once. */
static void test_nested(void)
{
    TestTimer a, b;

    test_timer_init(&a, 'a');
    test_timer_init(&b, 'b');
    a.poll = true;
    timer_mod(&a.timer, now_ns() - 2);
    timer_mod(&b.timer, now_ns() - 1);
    aio_poll(ctx, false);
    assert_ran("ab.");
}

static void test_scale(void)
{
    QEMUTimer timer;
    TestTimer t;

    test_timer_init(&t, 'm');
    aio_timer_init(ctx, &timer, QEMU_CLOCK_REALTIME, SCALE_MS, timer_cb, &t);
    timer_mod(&timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + 3600 * 1000);
    g_assert_false(aio_poll(ctx, false));
    /* More than there are nanoseconds is as late as can be. */
    timer_mod(&timer, INT64_MAX);
    g_assert_false(aio_poll(ctx, false));
    g_assert_true(timer_pending(&timer));
    timer_mod(&timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) - 1);
    aio_poll(ctx, false);
    timer_mod(&timer, INT64_MIN);
    aio_poll(ctx, false);
    timer_del(&timer);
    assert_ran("mm");
}

static void test_clocks(void)
{
    QEMUClockType type;

    for (type = 0; type < QEMU_CLOCK_MAX; type++) {
        QEMUTimer timer;
        TestTimer t;

        test_timer_init(&t, '0' + type);
        aio_timer_init(ctx, &timer, type, SCALE_NS, timer_cb, &t);
        timer_mod(&timer, qemu_clock_get_ns(type));
        wait_for_runs(&t, 1);
    }
    assert_ran("012");
}

static void test_deadline(void)
{
    TestTimer a, b;

    g_assert_cmpint(timerlistgroup_deadline_ns(&ctx->tlg), ==, -1);
    test_timer_init(&a, 'a');
    test_timer_init(&b, 'b');
    timer_mod(&a.timer, now_ns() + 7200 * NANOSECONDS_PER_SECOND);
    g_assert_cmpint(timerlistgroup_deadline_ns(&ctx->tlg), >,
                    3600 * NANOSECONDS_PER_SECOND);
    timer_mod(&b.timer, now_ns() + 1800 * NANOSECONDS_PER_SECOND);
    g_assert_cmpint(timerlistgroup_deadline_ns(&ctx->tlg), <=,
                    1800 * NANOSECONDS_PER_SECOND);
    timer_mod(&b.timer, 0);
    g_assert_cmpint(timerlistgroup_deadline_ns(&ctx->tlg), ==, 0);
    timer_del(&a.timer);
    timer_del(&b.timer);
    g_assert_cmpint(timerlistgroup_deadline_ns(&ctx->tlg), ==, -1);
}

static void *arm_thread(void *opaque)
{
    TestTimer *t = opaque;

    timer_mod(&t->timer, now_ns());
    return NULL;
}

/* The loop is (or goes) to sleep for an hour; another thread arms a timer. */
static void test_arm_from_thread(void)
{
    TestTimer far, t;
    int i;

    test_timer_init(&far, 'x');
    test_timer_init(&t, 'a');
    timer_mod(&far.timer, now_ns() + 3600 * NANOSECONDS_PER_SECOND);
    for (i = 1; i <= 200; i++) {
        QemuThread thread;

        qemu_thread_create(&thread, "arm", arm_thread, &t,
                           QEMU_THREAD_JOINABLE);
        wait_for_runs(&t, i);
        qemu_thread_join(&thread);
    }
    timer_del(&far.timer);
    g_assert_cmpint(far.runs, ==, 0);
    g_assert_cmpint(t.runs, ==, 200);
    g_string_truncate(ran, 0);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    ctx = qemu_get_aio_context();
    ran = g_string_new(NULL);
    g_test_add_func("/timer/never-before-its-time",
                    test_never_before_its_time);
    g_test_add_func("/timer/order", test_order);
    g_test_add_func("/timer/order-of-equals", test_order_of_equals);
    g_test_add_func("/timer/mod-moves", test_mod_moves);
    g_test_add_func("/timer/del", test_del);
    g_test_add_func("/timer/rearm", test_rearm);
    g_test_add_func("/timer/del-from-callback", test_del_from_callback);
    g_test_add_func("/timer/free-from-callback", test_free_from_callback);
    g_test_add_func("/timer/nested", test_nested);
    g_test_add_func("/timer/scale", test_scale);
    g_test_add_func("/timer/clocks", test_clocks);
    g_test_add_func("/timer/deadline", test_deadline);
    g_test_add_func("/timer/arm-from-thread", test_arm_from_thread);
    ret = g_test_run();
    g_string_free(ran, true);
    qemu_cleanup_main_loop();
    return ret;
}
