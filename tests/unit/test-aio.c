/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of AioContext in one thread: BHs, event notifiers, descriptors,
 * busy polling, coroutines, and the GSource.
 */
#include "qemu/osdep.h"
#include <sys/socket.h>
#include "qemu/aio.h"
#include "qapi/error.h"
#include "qemu/coroutine.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"

static AioContext *ctx;
static GString *ran;

static void assert_ran(const char *expected)
{
    g_assert_cmpstr(ran->str, ==, expected);
    g_string_truncate(ran, 0);
}

/* A loop may return early, without progress: changed handlers wake it. */
static void poll_progress(void)
{
    while (!aio_poll(ctx, true)) {
    }
}

/* --- BHs --- */

typedef struct {
    QEMUBH *bh;
    char name;
    int reschedule;             /* so many times, from the callback */
    bool poll;                  /* a nested event loop in the callback */
    bool delete;                /* @other, in the callback */
    QEMUBH *other;
} TestBH;

static void bh_cb(void *opaque)
{
    TestBH *t = opaque;

    g_string_append_c(ran, t->name);
    if (t->reschedule) {
        t->reschedule--;
        qemu_bh_schedule(t->bh);
    }
    if (t->delete) {
        qemu_bh_delete(t->other);
        t->delete = false;
    }
    if (t->poll) {
        t->poll = false;
        aio_poll(ctx, false);
        g_string_append_c(ran, '.');
    }
}

static void test_bh_init(TestBH *t, char name)
{
    *t = (TestBH) { .name = name };
    t->bh = aio_bh_new(ctx, bh_cb, t);
}

static void test_bh_schedule(void)
{
    TestBH t;

    test_bh_init(&t, 'a');
    g_assert_false(aio_poll(ctx, false));
    qemu_bh_schedule(t.bh);
    assert_ran("");
    g_assert_true(aio_poll(ctx, true));
    assert_ran("a");
    g_assert_false(aio_poll(ctx, false));

    /* Twice is once. */
    qemu_bh_schedule(t.bh);
    qemu_bh_schedule(t.bh);
    g_assert_true(aio_poll(ctx, true));
    g_assert_false(aio_poll(ctx, false));
    assert_ran("a");
    aio_bh_call(t.bh);
    assert_ran("a");
    qemu_bh_delete(t.bh);
}

static void test_bh_order(void)
{
    TestBH t[8];
    int i;

    for (i = 0; i < 8; i++) {
        test_bh_init(&t[i], 'a' + i);
    }
    for (i = 0; i < 8; i++) {
        qemu_bh_schedule(t[i * 3 % 8].bh);
    }
    aio_poll(ctx, true);
    assert_ran("adgbehcf");
    for (i = 0; i < 8; i++) {
        qemu_bh_delete(t[i].bh);
    }
}

static void test_bh_cancel(void)
{
    TestBH a, b;

    test_bh_init(&a, 'a');
    test_bh_init(&b, 'b');
    qemu_bh_schedule(a.bh);
    qemu_bh_schedule(b.bh);
    qemu_bh_cancel(a.bh);
    aio_poll(ctx, true);
    assert_ran("b");
    /* Cancelled is not lost. */
    qemu_bh_schedule(a.bh);
    aio_poll(ctx, true);
    assert_ran("a");
    qemu_bh_schedule(a.bh);
    qemu_bh_cancel(a.bh);
    qemu_bh_schedule(a.bh);
    aio_poll(ctx, true);
    assert_ran("a");
    qemu_bh_delete(a.bh);
    qemu_bh_delete(b.bh);
}

static void test_bh_delete(void)
{
    TestBH a, b;

    test_bh_init(&a, 'a');
    test_bh_init(&b, 'b');
    qemu_bh_schedule(a.bh);
    qemu_bh_delete(a.bh);
    g_assert_false(aio_poll(ctx, false));
    assert_ran("");

    /* Another one, and itself, from a callback. */
    test_bh_init(&a, 'a');
    a.delete = true;
    a.other = b.bh;
    qemu_bh_schedule(a.bh);
    qemu_bh_schedule(b.bh);
    aio_poll(ctx, true);
    assert_ran("a");
    a.delete = true;
    a.other = a.bh;
    qemu_bh_schedule(a.bh);
    aio_poll(ctx, true);
    g_assert_false(aio_poll(ctx, false));
    assert_ran("a");
}

/* Scheduled by a callback: the next iteration's, however often. */
static void test_bh_reschedule(void)
{
    TestBH t;
    int i;

    test_bh_init(&t, 'a');
    t.reschedule = 3;
    qemu_bh_schedule(t.bh);
    for (i = 0; i < 4; i++) {
        g_assert_true(aio_poll(ctx, false));
        assert_ran("a");
    }
    g_assert_false(aio_poll(ctx, false));
    qemu_bh_delete(t.bh);
}

static void test_bh_oneshot(void)
{
    TestBH t = { .name = 'o' };

    aio_bh_schedule_oneshot(ctx, bh_cb, &t);
    aio_bh_schedule_oneshot(ctx, bh_cb, &t);
    aio_poll(ctx, true);
    assert_ran("oo");
    g_assert_false(aio_poll(ctx, false));
}

/* A nested loop runs what its callers still have to run, before the new. */
static void test_bh_nested(void)
{
    TestBH a, b, c;

    test_bh_init(&a, 'a');
    test_bh_init(&b, 'b');
    test_bh_init(&c, 'c');
    a.poll = true;
    a.reschedule = 1;
    b.poll = true;
    qemu_bh_schedule(a.bh);
    qemu_bh_schedule(b.bh);
    qemu_bh_schedule(c.bh);
    aio_poll(ctx, true);
    assert_ran("abca..");
    g_assert_false(aio_poll(ctx, false));
    qemu_bh_delete(a.bh);
    qemu_bh_delete(b.bh);
    qemu_bh_delete(c.bh);
}

static void test_bh_idle(void)
{
    TestBH t;

    test_bh_init(&t, 'i');
    qemu_bh_schedule_idle(t.bh);
    /* It runs, but is no progress. */
    g_assert_false(aio_poll(ctx, true));
    assert_ran("i");
    qemu_bh_schedule_idle(t.bh);
    qemu_bh_schedule(t.bh);
    g_assert_cmpint(aio_compute_timeout(ctx), >=, 0);
    aio_poll(ctx, true);
    assert_ran("i");
    qemu_bh_delete(t.bh);
    aio_poll(ctx, false);
}

/* --- event notifiers and descriptors --- */

typedef struct {
    EventNotifier e;
    int runs;
    bool remove;                /* in the callback */
    EventNotifier *remove_other;
    bool poll;
    /* busy polling */
    int asked;
    int ready_after;            /* io_poll says yes after so many questions */
    int ready_runs;
    int begins, ends;
} TestNotifier;

static void notifier_cb(EventNotifier *e)
{
    TestNotifier *t = container_of(e, TestNotifier, e);

    event_notifier_test_and_clear(e);
    t->runs++;
    if (t->remove) {
        aio_set_event_notifier(ctx, e, NULL, NULL, NULL);
    }
    if (t->remove_other) {
        aio_set_event_notifier(ctx, t->remove_other, NULL, NULL, NULL);
    }
    if (t->poll) {
        t->poll = false;
        aio_poll(ctx, false);
    }
}

static void notifier_init(TestNotifier *t)
{
    *t = (TestNotifier) { .runs = 0 };
    g_assert_cmpint(event_notifier_init(&t->e, false), ==, 0);
    aio_set_event_notifier(ctx, &t->e, notifier_cb, NULL, NULL);
}

static void notifier_cleanup(TestNotifier *t)
{
    aio_set_event_notifier(ctx, &t->e, NULL, NULL, NULL);
    event_notifier_cleanup(&t->e);
}

static void test_notifier(void)
{
    TestNotifier t;

    notifier_init(&t);
    g_assert_false(aio_poll(ctx, false));
    event_notifier_set(&t.e);
    event_notifier_set(&t.e);
    poll_progress();
    g_assert_cmpint(t.runs, ==, 1);

    aio_set_event_notifier(ctx, &t.e, NULL, NULL, NULL);
    event_notifier_set(&t.e);
    aio_notify(ctx);
    g_assert_false(aio_poll(ctx, false));
    g_assert_cmpint(t.runs, ==, 1);
    event_notifier_cleanup(&t.e);
}

/* A loop that never waits still looks at descriptors now and then. */
static void test_notifier_nonblocking(void)
{
    int64_t end = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) +
                  NANOSECONDS_PER_SECOND;
    TestNotifier t;

    notifier_init(&t);
    event_notifier_set(&t.e);
    while (!t.runs && qemu_clock_get_ns(QEMU_CLOCK_REALTIME) < end) {
        aio_poll(ctx, false);
    }
    g_assert_cmpint(t.runs, ==, 1);
    notifier_cleanup(&t);
}

static void test_notifier_remove_self(void)
{
    TestNotifier t;

    notifier_init(&t);
    t.remove = true;
    event_notifier_set(&t.e);
    poll_progress();
    event_notifier_set(&t.e);
    aio_notify(ctx);
    aio_poll(ctx, false);
    g_assert_cmpint(t.runs, ==, 1);
    event_notifier_cleanup(&t.e);
}

/* Both are ready, and each removes the other: exactly one runs. */
static void test_notifier_remove_other(void)
{
    TestNotifier a, b;

    notifier_init(&a);
    notifier_init(&b);
    a.remove_other = &b.e;
    b.remove_other = &a.e;
    event_notifier_set(&a.e);
    event_notifier_set(&b.e);
    poll_progress();
    aio_notify(ctx);
    aio_poll(ctx, true);
    g_assert_cmpint(a.runs + b.runs, ==, 1);
    notifier_cleanup(&a);
    notifier_cleanup(&b);
}

/* Hundreds of descriptors: epoll takes over, nothing is lost or doubled. */
static void test_notifier_many(void)
{
    enum { N = 200 };
    g_autofree TestNotifier *t = g_new(TestNotifier, N);
    int round, i;

    for (i = 0; i < N; i++) {
        notifier_init(&t[i]);
    }
    for (round = 1; round <= 3; round++) {
        for (i = 0; i < N; i++) {
            event_notifier_set(&t[i].e);
        }
        for (i = 0; i < N; i++) {
            while (t[i].runs < round) {
                poll_progress();
            }
        }
    }
    if (!getenv("AIO_FD_MONITOR")) {
        g_assert_cmpint(ctx->epollfd, >=, 0);
    }
    for (i = 0; i < N; i++) {
        g_assert_cmpint(t[i].runs, ==, 3);
        notifier_cleanup(&t[i]);
    }
    aio_notify(ctx);
    aio_poll(ctx, false);
}

typedef struct {
    int fd[2];
    int reads, writes;
    bool nested;                /* read the other end's answer in a nest */
    bool close;                 /* remove and close in the callback */
} TestPair;

static void pair_read(void *opaque)
{
    TestPair *p = opaque;
    char c;

    g_assert_cmpint(read(p->fd[0], &c, 1), >=, 0);
    p->reads++;
    if (p->nested) {
        p->nested = false;
        g_assert_cmpint(write(p->fd[1], "y", 1), ==, 1);
        while (p->reads < 2) {
            poll_progress();
        }
    }
    if (p->close) {
        aio_set_fd_handler(ctx, p->fd[0], NULL, NULL, NULL, NULL, NULL);
        close(p->fd[0]);
    }
}

static void pair_write(void *opaque)
{
    TestPair *p = opaque;

    p->writes++;
    aio_set_fd_handler(ctx, p->fd[0], pair_read, NULL, NULL, NULL, p);
}

static void pair_open(TestPair *p)
{
    *p = (TestPair) { .reads = 0 };
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, p->fd), ==, 0);
}

static void test_fd_read_write(void)
{
    TestPair p;

    pair_open(&p);
    /* Writable at once; nothing to read yet. */
    aio_set_fd_handler(ctx, p.fd[0], pair_read, pair_write, NULL, NULL, &p);
    poll_progress();
    g_assert_cmpint(p.writes, ==, 1);
    g_assert_cmpint(p.reads, ==, 0);
    g_assert_cmpint(write(p.fd[1], "x", 1), ==, 1);
    poll_progress();
    g_assert_cmpint(p.writes, ==, 1);
    g_assert_cmpint(p.reads, ==, 1);

    /* The other end hangs up: that is for the reader. */
    close(p.fd[1]);
    p.close = true;
    poll_progress();
    g_assert_cmpint(p.reads, ==, 2);
}

static void test_fd_nested(void)
{
    TestPair p;

    pair_open(&p);
    aio_set_fd_handler(ctx, p.fd[0], pair_read, NULL, NULL, NULL, &p);
    p.nested = true;
    g_assert_cmpint(write(p.fd[1], "x", 1), ==, 1);
    poll_progress();
    g_assert_cmpint(p.reads, ==, 2);
    aio_set_fd_handler(ctx, p.fd[0], NULL, NULL, NULL, NULL, NULL);
    close(p.fd[0]);
    close(p.fd[1]);
}

/* A descriptor number that is closed and comes again is a new one. */
static void test_fd_reuse(void)
{
    TestPair p;
    int i;

    for (i = 0; i < 10; i++) {
        pair_open(&p);
        p.close = true;
        aio_set_fd_handler(ctx, p.fd[0], pair_read, NULL, NULL, NULL, &p);
        g_assert_cmpint(write(p.fd[1], "x", 1), ==, 1);
        poll_progress();
        g_assert_cmpint(p.reads, ==, 1);
        close(p.fd[1]);
    }
}

/* --- busy polling --- */

static bool poll_cb(void *opaque)
{
    TestNotifier *t = container_of((EventNotifier *)opaque, TestNotifier, e);

    return t->ready_after && ++t->asked >= t->ready_after;
}

static void poll_ready_cb(EventNotifier *e)
{
    TestNotifier *t = container_of(e, TestNotifier, e);

    t->ready_runs++;
    t->ready_after = 0;
}

static void poll_begin_cb(EventNotifier *e)
{
    container_of(e, TestNotifier, e)->begins++;
}

static void poll_end_cb(EventNotifier *e)
{
    container_of(e, TestNotifier, e)->ends++;
}

static void poller_init(TestNotifier *t)
{
    notifier_init(t);
    aio_set_event_notifier(ctx, &t->e, notifier_cb, poll_cb, poll_ready_cb);
    aio_set_event_notifier_poll(ctx, &t->e, poll_begin_cb, poll_end_cb);
}

/* Without waiting: io_poll is asked, descriptors are not. */
static void test_poll_nonblocking(void)
{
    TestNotifier t;

    poller_init(&t);
    g_assert_false(aio_poll(ctx, false));
    t.ready_after = 1;
    g_assert_true(aio_poll(ctx, false));
    g_assert_cmpint(t.ready_runs, ==, 1);
    g_assert_cmpint(t.runs, ==, 0);
    g_assert_false(aio_poll(ctx, false));

    t.ready_after = 1;
    poll_progress();
    g_assert_cmpint(t.ready_runs, ==, 2);
    notifier_cleanup(&t);
}

static void timer_nothing(void *opaque)
{
}

/* How long the loop polls, now @ns, after it has waited for a millisecond. */
static int64_t poll_time_after_wait(int64_t weight, int64_t ns)
{
    QEMUTimer timer;

    aio_context_set_poll_weight(ctx, weight);
    ctx->poll_ns = ns;
    aio_timer_init(ctx, &timer, QEMU_CLOCK_REALTIME, SCALE_NS, timer_nothing,
                   NULL);
    timer_mod(&timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + SCALE_MS);
    while (timer_pending(&timer)) {
        aio_poll(ctx, true);
    }
    return ctx->poll_ns;
}

/* One wait that was too long ends it, or is lost in an average. */
static void test_poll_weight(void)
{
    TestNotifier t;

    poller_init(&t);
    aio_context_set_poll_params(ctx, 1000, 0, 0, &error_abort);
    g_assert_cmpint(poll_time_after_wait(0, 1000), ==, 0);
    g_assert_cmpint(poll_time_after_wait(63, 1000), ==, 1000);
    aio_context_set_poll_weight(ctx, 0);
    aio_context_set_poll_params(ctx, 0, 0, 0, &error_abort);
    notifier_cleanup(&t);
}

/* It grows up to the most there may be: no factor makes it wrap around. */
static void test_poll_grow(void)
{
    TestNotifier t;

    poller_init(&t);
    aio_context_set_poll_params(ctx, NANOSECONDS_PER_SECOND, INT64_MAX, 0,
                                &error_abort);
    g_assert_cmpint(poll_time_after_wait(0, 1000), ==, NANOSECONDS_PER_SECOND);
    aio_context_set_poll_params(ctx, 0, 0, 0, &error_abort);
    notifier_cleanup(&t);
}

/* With busy polling: found without a signal, long after the beginning. */
static void test_poll_busy(void)
{
    TestNotifier t;

    poller_init(&t);
    aio_context_set_poll_params(ctx, 3600 * NANOSECONDS_PER_SECOND, 0, 0,
                                &error_abort);
    ctx->poll_ns = ctx->poll_max_ns;
    t.ready_after = 10000;
    poll_progress();
    g_assert_cmpint(t.ready_runs, ==, 1);
    g_assert_cmpint(t.asked, ==, 10000);
    /* On a busy machine something else may have come in between. */
    g_assert_cmpint(t.begins, >=, 1);

    /* So it is when a GLib main loop waits next. */
    aio_prepare(ctx);
    g_assert_cmpint(t.ends, ==, t.begins);
    qatomic_and(&ctx->notify_me, ~1u);
    t.ready_after = 1;
    poll_progress();

    /* Back to descriptors: what was begun is ended. */
    aio_context_set_poll_params(ctx, 0, 0, 0, &error_abort);
    event_notifier_set(&t.e);
    poll_progress();
    g_assert_cmpint(t.runs, ==, 1);
    g_assert_cmpint(t.ends, ==, t.begins);
    notifier_cleanup(&t);
}

/* --- coroutines --- */

static void coroutine_fn trace_entry(void *opaque)
{
    const char *name = opaque;

    g_string_append(ran, name);
    qemu_coroutine_yield();
    g_string_append(ran, name);
}

static void test_co_schedule(void)
{
    Coroutine *a = qemu_coroutine_create(trace_entry, (void *)"a");
    Coroutine *b = qemu_coroutine_create(trace_entry, (void *)"b");

    aio_co_schedule(ctx, a);
    aio_co_schedule(ctx, b);
    assert_ran("");
    poll_progress();
    assert_ran("ab");
    /* Outside coroutines a wake-up enters at once. */
    aio_co_wake(b);
    assert_ran("b");
    aio_co_wake(a);
    assert_ran("a");
}

static void coroutine_fn wake_entry(void *opaque)
{
    aio_co_wake(opaque);
    g_string_append(ran, "w");
}

/* Inside a coroutine it waits for that one to end. */
static void test_co_wake_inside(void)
{
    Coroutine *a = qemu_coroutine_create(trace_entry, (void *)"a");

    qemu_coroutine_enter(a);
    qemu_coroutine_enter(qemu_coroutine_create(wake_entry, a));
    assert_ran("awa");
}

/* --- in a GLib main loop --- */

typedef struct {
    AioContext *gctx;
    GMainLoop *loop;
    QEMUTimer timer;
    EventNotifier e;
} TestSource;

static void source_timer_cb(void *opaque)
{
    TestSource *t = opaque;

    g_string_append_c(ran, 't');
    g_main_loop_quit(t->loop);
}

static void source_notifier_cb(EventNotifier *e)
{
    TestSource *t = container_of(e, TestSource, e);

    event_notifier_test_and_clear(e);
    g_string_append_c(ran, 'n');
    timer_mod(&t->timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + SCALE_MS);
}

static void source_bh(void *opaque)
{
    TestSource *t = opaque;

    g_string_append_c(ran, 'b');
    event_notifier_set(&t->e);
}

static void *source_thread(void *opaque)
{
    TestSource *t = opaque;

    /* The loop may be waiting: it has to see that this handler is a new one. */
    aio_set_event_notifier(t->gctx, &t->e, NULL, NULL, NULL);
    aio_set_event_notifier(t->gctx, &t->e, source_notifier_cb, NULL, NULL);
    aio_bh_schedule_oneshot(t->gctx, source_bh, t);
    return NULL;
}

/* A thread's BH wakes the loop; then a descriptor, then a timer. */
static void test_source(void)
{
    TestSource t = { .gctx = aio_context_new(&error_abort) };
    GSource *source = aio_get_g_source(t.gctx);
    QemuThread thread;
    int i;

    t.loop = g_main_loop_new(NULL, false);
    g_source_attach(source, NULL);
    g_assert_cmpint(event_notifier_init(&t.e, false), ==, 0);
    aio_timer_init(t.gctx, &t.timer, QEMU_CLOCK_REALTIME, SCALE_NS,
                   source_timer_cb, &t);
    for (i = 0; i < 50; i++) {
        qemu_thread_create(&thread, "source", source_thread, &t,
                           QEMU_THREAD_JOINABLE);
        g_main_loop_run(t.loop);
        qemu_thread_join(&thread);
        assert_ran("bnt");
    }
    while (g_main_context_iteration(NULL, false)) {
    }
    assert_ran("");
    aio_set_event_notifier(t.gctx, &t.e, NULL, NULL, NULL);
    event_notifier_cleanup(&t.e);
    g_source_destroy(source);
    g_source_unref(source);
    g_main_loop_unref(t.loop);
    aio_context_unref(t.gctx);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    ctx = qemu_get_aio_context();
    ran = g_string_new(NULL);
    g_test_add_func("/aio/bh/schedule", test_bh_schedule);
    g_test_add_func("/aio/bh/order", test_bh_order);
    g_test_add_func("/aio/bh/cancel", test_bh_cancel);
    g_test_add_func("/aio/bh/delete", test_bh_delete);
    g_test_add_func("/aio/bh/reschedule", test_bh_reschedule);
    g_test_add_func("/aio/bh/oneshot", test_bh_oneshot);
    g_test_add_func("/aio/bh/nested", test_bh_nested);
    g_test_add_func("/aio/bh/idle", test_bh_idle);
    g_test_add_func("/aio/notifier/set", test_notifier);
    g_test_add_func("/aio/notifier/nonblocking", test_notifier_nonblocking);
    g_test_add_func("/aio/notifier/remove-self", test_notifier_remove_self);
    g_test_add_func("/aio/notifier/remove-other", test_notifier_remove_other);
    g_test_add_func("/aio/fd/read-write", test_fd_read_write);
    g_test_add_func("/aio/fd/nested", test_fd_nested);
    g_test_add_func("/aio/fd/reuse", test_fd_reuse);
    g_test_add_func("/aio/poll/nonblocking", test_poll_nonblocking);
    g_test_add_func("/aio/poll/busy", test_poll_busy);
    g_test_add_func("/aio/poll/weight", test_poll_weight);
    g_test_add_func("/aio/poll/grow", test_poll_grow);
    g_test_add_func("/aio/co/schedule", test_co_schedule);
    g_test_add_func("/aio/co/wake-inside", test_co_wake_inside);
    g_test_add_func("/aio/source", test_source);
    /* The last suite: with its first test the main context has epoll. */
    g_test_add_func("/aio/epoll/many", test_notifier_many);
    g_test_add_func("/aio/epoll/remove-other", test_notifier_remove_other);
    g_test_add_func("/aio/epoll/read-write", test_fd_read_write);
    g_test_add_func("/aio/epoll/nested", test_fd_nested);
    g_test_add_func("/aio/epoll/reuse", test_fd_reuse);
    ret = g_test_run();
    g_string_free(ran, true);
    qemu_cleanup_main_loop();
    return ret;
}
