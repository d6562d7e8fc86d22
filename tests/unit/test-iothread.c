/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IOThreads: life, names, parameters.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/aio-wait.h"
#include "qemu/main-loop.h"
#include "system/iothread.h"

typedef struct {
    AioContext *ctx;            /* in which it has run */
    QemuThread thread;
    unsigned runs;              /* atomic */
} Seen;

static void see_bh(void *opaque)
{
    Seen *seen = opaque;

    seen->ctx = qemu_get_current_aio_context();
    qemu_thread_get_self(&seen->thread);
    qatomic_inc(&seen->runs);
}

static void test_run(void)
{
    IOThread *t = iothread_create("io0", &error_abort);
    Seen seen = { NULL };

    g_assert_cmpstr(iothread_get_id(t), ==, "io0");
    g_assert_cmpint(t->thread_id, >, 0);
    aio_wait_bh_oneshot(iothread_get_aio_context(t), see_bh, &seen);
    g_assert(seen.ctx == iothread_get_aio_context(t));
    g_assert(!qemu_thread_is_self(&seen.thread));
    g_assert(seen.ctx != qemu_get_aio_context());
    iothread_destroy(t);
}

/* In the thread that is to make the condition false, it has to poll. */
static void wait_at_home_bh(void *opaque)
{
    AioContext *ctx = qemu_get_current_aio_context();
    Seen *seen = opaque;

    g_assert_false(AIO_WAIT_WHILE(ctx, qatomic_read(&seen->runs)));
    aio_bh_schedule_oneshot(ctx, see_bh, seen);
    g_assert_true(AIO_WAIT_WHILE(ctx, !qatomic_read(&seen->runs)));
    g_assert(seen->ctx == ctx);
}

static void kick_bh(void *opaque)
{
    see_bh(opaque);
    aio_wait_kick();
}

static void test_wait(void)
{
    IOThread *t = iothread_create("io0", &error_abort);
    AioContext *ctx = iothread_get_aio_context(t);
    Seen seen = { NULL };

    aio_wait_bh_oneshot(ctx, wait_at_home_bh, &seen);
    g_assert_cmpuint(seen.runs, ==, 1);
    /* From elsewhere: it is polled for at home, and tells of it. */
    aio_bh_schedule_oneshot(ctx, kick_bh, &seen);
    AIO_WAIT_WHILE(ctx, qatomic_load_acquire(&seen.runs) < 2);
    g_assert(seen.ctx == ctx && !qemu_thread_is_self(&seen.thread));
    iothread_destroy(t);
}

static void schedule_more_bh(void *opaque)
{
    aio_bh_schedule_oneshot(qemu_get_current_aio_context(), see_bh, opaque);
}

static void schedule_much_more_bh(void *opaque)
{
    aio_bh_schedule_oneshot(qemu_get_current_aio_context(), schedule_more_bh,
                            opaque);
}

/* What is scheduled before the end runs, and what that schedules. */
static void test_destroy(void)
{
    Seen seen = { NULL };
    IOThread *t;
    int i;

    for (i = 0; i < 200; i++) {
        t = iothread_create("io0", &error_abort);
        aio_bh_schedule_oneshot(t->ctx, see_bh, &seen);
        aio_bh_schedule_oneshot(t->ctx, schedule_much_more_bh, &seen);
        iothread_destroy(t);
        g_assert_cmpuint(qatomic_read(&seen.runs), ==, 2 * (i + 1));
    }
    iothread_destroy(NULL);
}

static void test_names(void)
{
    IOThread *a = iothread_create("a", &error_abort);
    IOThread *b = iothread_create("b", &error_abort);
    Error *err = NULL;

    g_assert(!iothread_create("a", &err));
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "There is an iothread 'a' already");
    error_free_or_abort(&err);
    g_assert(!iothread_create("", &err));
    error_free_or_abort(&err);

    g_assert(iothread_by_id("a") == a && iothread_by_id("b") == b);
    g_assert(!iothread_by_id("c"));
    g_assert(iothread_next(NULL) == a);
    g_assert(iothread_next(a) == b);
    g_assert(!iothread_next(b));
    g_assert(iothread_by_aio_context(b->ctx) == b);
    g_assert(!iothread_by_aio_context(qemu_get_aio_context()));
    iothread_destroy(a);
    g_assert(!iothread_by_id("a"));
    iothread_destroy(b);
    g_assert(!iothread_next(NULL));
}

static void check_refused(bool ok, Error **err, const char *message)
{
    g_assert(!ok);
    g_assert_cmpstr(error_get_pretty(*err), ==, message);
    error_free_or_abort(err);
}

static void test_params(void)
{
    IOThread *t = iothread_create("io0", &error_abort);
    Error *err = NULL;

    g_assert_cmpint(t->poll_max_ns, ==, 32768);
    g_assert(iothread_set_poll_params(t, 1000, 2, 3, &error_abort));
    g_assert(iothread_set_poll_weight(t, 5, &error_abort));
    g_assert(iothread_set_aio_max_batch(t, 7, &error_abort));
    g_assert(iothread_set_thread_pool_params(t, 1, 8, &error_abort));
    g_assert_cmpint(t->ctx->poll_max_ns, ==, 1000);
    g_assert_cmpint(t->ctx->poll_grow, ==, 2);
    g_assert_cmpint(t->ctx->poll_shrink, ==, 3);
    g_assert_cmpint(t->ctx->poll_weight, ==, 5);
    g_assert_cmpint(t->ctx->aio_max_batch, ==, 7);
    g_assert_cmpint(t->ctx->thread_pool_min, ==, 1);
    g_assert_cmpint(t->ctx->thread_pool_max, ==, 8);

    check_refused(iothread_set_poll_params(t, -1, 0, 0, &err), &err,
                  "poll-max-ns value must be in range [0, "
                  "9223372036854775807]");
    check_refused(iothread_set_poll_params(t, 0, 0, -5, &err), &err,
                  "poll-shrink value must be in range [0, "
                  "9223372036854775807]");
    check_refused(iothread_set_poll_weight(t, 64, &err), &err,
                  "poll-weight value must be in range [0, 63]");
    check_refused(iothread_set_aio_max_batch(t, -1, &err), &err,
                  "aio-max-batch value must be in range [0, "
                  "9223372036854775807]");
    check_refused(iothread_set_thread_pool_params(t, 9, 8, &err), &err,
                  "bad thread-pool-min/thread-pool-max values");
    check_refused(iothread_set_thread_pool_params(t, 0, 0, &err), &err,
                  "thread-pool-max value must be in range [1, 2147483647]");
    g_assert_cmpint(t->poll_max_ns, ==, 1000);
    g_assert_cmpint(t->thread_pool_max, ==, 8);
    iothread_destroy(t);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);

    g_test_add_func("/iothread/run", test_run);
    g_test_add_func("/iothread/wait", test_wait);
    g_test_add_func("/iothread/destroy", test_destroy);
    g_test_add_func("/iothread/names", test_names);
    g_test_add_func("/iothread/params", test_params);
    ret = g_test_run();

    qemu_cleanup_main_loop();
    return ret;
}
