/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A thread that runs an event loop of its own, for tests.
 */
#ifndef TEST_THREAD_LOOP_H
#define TEST_THREAD_LOOP_H

#include "qemu/aio.h"
#include "qemu/main-loop.h"

typedef struct TestLoop {
    AioContext *ctx;
    QemuThread thread;
    bool stop;                  /* home thread only */
} TestLoop;

static void *test_loop_thread(void *opaque)
{
    TestLoop *loop = opaque;

    qemu_set_current_aio_context(loop->ctx);
    while (!loop->stop) {
        aio_poll(loop->ctx, true);
    }
    return NULL;
}

static void test_loop_stop_bh(void *opaque)
{
    TestLoop *loop = opaque;

    loop->stop = true;
}

/* test_loop_free() ends the thread, after what is scheduled now. */
static inline TestLoop *test_loop_new(void)
{
    TestLoop *loop = g_new0(TestLoop, 1);

    loop->ctx = aio_context_new(&error_abort);
    qemu_thread_create(&loop->thread, "loop", test_loop_thread, loop,
                       QEMU_THREAD_JOINABLE);
    return loop;
}

static inline void test_loop_free(TestLoop *loop)
{
    aio_bh_schedule_oneshot(loop->ctx, test_loop_stop_bh, loop);
    qemu_thread_join(&loop->thread);
    aio_context_unref(loop->ctx);
    g_free(loop);
}

/*
 * The test is run again in a process of its own, whose contexts have no engine
 * and no ring yet.  True in that process; in the other one g_test_trap_*() has
 * what that has said.
 */
static inline bool in_own_process(void)
{
    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, 0);
        g_test_trap_assert_passed();
        return false;
    }
    return true;
}

#endif
