/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux AIO engine: neither recursion nor hang, whatever the kernel does.
 *
 * What the small form of the fix gives; installed as
 * tests/unit/test-linux-aio-recursion.c in QEMU 8.2 and newer.  The kernel is
 * mock-aio-kernel.h.  Each test says which law of the engine it checks:
 *
 *   L1 bounded stack       L3 own wake-up
 *   L5 refused request     L6 -EAGAIN
 */
#include "qemu/osdep.h"
#include "block/block.h"
#include "block/raw-aio.h"
#include "qapi/error.h"
#include "qemu/coroutine.h"
#include "qemu/defer-call.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"

#ifdef CONFIG_LINUX_AIO

#include "mock-aio-kernel.h"

/* What the deepest io_submit() may be below the shallowest one. */
#define STACK_SPREAD_MAX (16 * 1024)

/* Far beyond what any test needs: what hangs is ended by SIGALRM. */
#define HANG_SECONDS 60

#define REQUEST_BYTES 4096
#define AGAIN_NS 50000000LL

static AioContext *ctx;

/* --- laio_co_submit(), which has no flags before QEMU 10.1 --- */

typedef int SubmitFlagsFn(int, uint64_t, QEMUIOVector *, int,
                          BdrvRequestFlags, uint64_t);
typedef int SubmitFn(int, uint64_t, QEMUIOVector *, int, uint64_t);

static int coroutine_fn submit_read(uint64_t offset, QEMUIOVector *qiov)
{
    SubmitFlagsFn *with_flags = _Generic(&laio_co_submit,
        SubmitFlagsFn *: laio_co_submit, default: NULL);
    SubmitFn *without_flags = _Generic(&laio_co_submit,
        SubmitFn *: laio_co_submit, default: NULL);

    return with_flags ? with_flags(3, offset, qiov, QEMU_AIO_READ, 0, 0) :
                        without_flags(3, offset, qiov, QEMU_AIO_READ, 0);
}

/* --- running coroutines --- */

typedef struct Worker {
    unsigned requests;          /* to make, one after the other */
    int want;                   /* result that each must have */
    unsigned done;
    bool finished;
} Worker;

static unsigned n_unfinished;

static void poll_until_finished(void)
{
    alarm(HANG_SECONDS);
    while (n_unfinished) {
        aio_poll(ctx, true);
    }
    alarm(0);
}

static void coroutine_fn worker_entry(void *opaque)
{
    Worker *w = opaque;
    g_autofree uint8_t *buf = g_malloc(REQUEST_BYTES);
    QEMUIOVector qiov;

    while (w->done < w->requests) {
        uint64_t offset = w->done * 37 % (MOCK_DISK_SIZE / REQUEST_BYTES) *
                          REQUEST_BYTES;

        qemu_iovec_init_buf(&qiov, buf, REQUEST_BYTES);
        memset(buf, 0x5a, REQUEST_BYTES);
        g_assert_cmpint(submit_read(offset, &qiov), ==, w->want);
        g_assert(w->want ||
                 !memcmp(buf, mock.disk + offset, REQUEST_BYTES));
        w->done++;
    }
    g_assert(!w->finished);
    w->finished = true;
    n_unfinished--;
}

static void worker_start(Worker *w, unsigned requests, int want)
{
    *w = (Worker) { .requests = requests, .want = want };
    n_unfinished++;
    qemu_coroutine_enter(qemu_coroutine_create(worker_entry, w));
}

/* Start @n workers in one section, so that their requests are one batch. */
static void workers_start(Worker *w, unsigned n, unsigned requests, int want)
{
    unsigned i;

    defer_call_begin();
    for (i = 0; i < n; i++) {
        worker_start(&w[i], requests, want);
    }
    defer_call_end();
}

/* --- a kernel that completes within io_submit() --- */

/*
 * L1, L3: several coroutines, each woken in the completion pass of another:
 * unbounded, this nests once per request; bounded but without a wake-up of
 * its own, it hangs if the kernel does not signal.
 */
static void do_test_sync(bool no_signal, unsigned accept_max)
{
    const unsigned requests = 20000;
    Worker w[4];

    mock_reset();
    mock.sync = true;
    mock.no_signal = no_signal;
    mock.accept_max = accept_max;
    workers_start(w, 4, requests, 0);
    poll_until_finished();
    g_assert_cmpuint(mock.requests, ==, 4 * requests);
    g_assert_cmpuint(mock_stack_spread(), <=, STACK_SPREAD_MAX);
}

static void test_sync(void)
{
    do_test_sync(false, 0);
}

static void test_sync_not_signalled(void)
{
    do_test_sync(true, 0);
}

static void test_sync_one_by_one(void)
{
    do_test_sync(true, 1);
}

/* L3: more than a batch, and than what one pass gives to the kernel. */
static void test_sync_many(void)
{
    const unsigned n = 3000;
    g_autofree Worker *w = g_new(Worker, n);

    mock_reset();
    mock.sync = mock.no_signal = true;
    workers_start(w, n, 3, 0);
    poll_until_finished();
    g_assert_cmpuint(mock.requests, ==, 3 * n);
    g_assert_cmpuint(mock_stack_spread(), <=, STACK_SPREAD_MAX);
}

/* A kernel that takes its time: the same calls, and all complete. */
static void test_async(void)
{
    Worker w[16];

    mock_reset();
    workers_start(w, 16, 50, 0);
    g_assert_cmpuint(mock.calls, ==, 1);
    g_assert_cmpuint(mock.largest_batch, ==, 16);
    alarm(HANG_SECONDS);
    while (n_unfinished) {
        mock_complete(mock.last, 5);
        aio_poll(ctx, true);
    }
    alarm(0);
    g_assert_cmpuint(mock.requests, ==, 16 * 50);
}

/* --- refused requests (L5) --- */

static unsigned refuse_at;      /* which of the requests offered, from 0 */
static unsigned refuse_seen;
static struct iocb *refused;

static int refuse_one(struct iocb *iocb)
{
    if (!refused && refuse_seen++ == refuse_at) {
        refused = iocb;
    }
    return iocb == refused ? -EIO : 0;
}

/* One fails; the rest of its batch goes in the same pass. */
static void do_test_refused(unsigned at, bool sync)
{
    Worker w[4];
    unsigned i;

    mock_reset();
    mock.sync = mock.no_signal = sync;
    mock.refuse = refuse_one;
    refuse_at = at;
    refuse_seen = 0;
    refused = NULL;

    defer_call_begin();
    for (i = 0; i < 4; i++) {
        worker_start(&w[i], 1, i == at ? -EIO : 0);
    }
    defer_call_end();
    g_assert_cmpuint(mock.requests, ==, 3);
    mock_complete(mock.last, 3);
    poll_until_finished();
    for (i = 0; i < 4; i++) {
        g_assert_cmpuint(w[i].done, ==, 1);
    }
}

static void test_refused_first(void)
{
    do_test_refused(0, false);
    do_test_refused(0, true);
}

static void test_refused_middle(void)
{
    do_test_refused(1, false);
    do_test_refused(2, true);
}

static void test_refused_last(void)
{
    do_test_refused(3, false);
    do_test_refused(3, true);
}

static int refuse_all(struct iocb *iocb)
{
    return -EIO;
}

/* L1, L5: coroutines that go on after each failure do not nest either. */
static void test_refused_all(void)
{
    Worker w[4];

    mock_reset();
    mock.refuse = refuse_all;
    workers_start(w, 4, 5000, -EIO);
    poll_until_finished();
    g_assert_cmpuint(mock.requests, ==, 0);
    g_assert_cmpuint(mock_stack_spread(), <=, STACK_SPREAD_MAX);
}

/* --- -EAGAIN (L6) --- */

static int64_t again_until;

static int again_for_a_while(void)
{
    return qemu_clock_get_ns(QEMU_CLOCK_REALTIME) < again_until ? -EAGAIN : 0;
}

/* With nothing in flight: tried again from the event loop, not all the time. */
static void test_again_idle(void)
{
    Worker w[4];

    mock_reset();
    mock.sync = mock.no_signal = true;
    mock.call_error = again_for_a_while;
    again_until = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + AGAIN_NS;
    workers_start(w, 4, 1, 0);
    poll_until_finished();
    g_assert_cmpuint(mock.requests, ==, 4);
    g_assert_cmpuint(mock.calls, >=, 2);
    /* Tried once a ms: a busy loop would be at many thousands. */
    g_assert_cmpuint(mock.calls, <=, 200);
}

static unsigned again_left;

static int again_once(void)
{
    return again_left && again_left-- ? -EAGAIN : 0;
}

/* Once, after which nothing is in flight and nothing signals. */
static void test_again_once(void)
{
    Worker w[4];

    mock_reset();
    mock.sync = mock.no_signal = true;
    mock.call_error = again_once;
    again_left = 1;
    workers_start(w, 4, 100, 0);
    poll_until_finished();
    g_assert_cmpuint(mock.requests, ==, 400);
}

/* With requests in flight: not tried again before one of them completes. */
static void test_again_in_flight(void)
{
    Worker a[2], b[2];
    unsigned calls;

    mock_reset();
    workers_start(a, 2, 1, 0);
    g_assert_cmpuint(mock.requests, ==, 2);

    mock.call_error = again_once;
    again_left = UINT_MAX;
    workers_start(b, 2, 1, 0);
    calls = mock.calls;
    aio_poll(ctx, false);
    aio_poll(ctx, false);
    g_assert_cmpuint(mock.calls, ==, calls);

    again_left = 0;
    g_assert_cmpuint(mock_complete(mock.last, 1), ==, 1);
    alarm(HANG_SECONDS);
    while (!a[0].finished) {
        aio_poll(ctx, true);
    }
    g_assert_cmpuint(mock.requests, ==, 4);
    mock_complete(mock.last, 3);
    poll_until_finished();
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    ctx = qemu_get_current_aio_context();
    aio_setup_linux_aio(ctx, &error_abort);

    g_test_add_func("/linux-aio/sync/signalled", test_sync);
    g_test_add_func("/linux-aio/sync/not-signalled",
                    test_sync_not_signalled);
    g_test_add_func("/linux-aio/sync/one-by-one", test_sync_one_by_one);
    g_test_add_func("/linux-aio/sync/many", test_sync_many);
    g_test_add_func("/linux-aio/async", test_async);
    g_test_add_func("/linux-aio/refused/first", test_refused_first);
    g_test_add_func("/linux-aio/refused/middle", test_refused_middle);
    g_test_add_func("/linux-aio/refused/last", test_refused_last);
    g_test_add_func("/linux-aio/refused/all", test_refused_all);
    g_test_add_func("/linux-aio/again/idle", test_again_idle);
    g_test_add_func("/linux-aio/again/once", test_again_once);
    g_test_add_func("/linux-aio/again/in-flight", test_again_in_flight);

    ret = g_test_run();
    /* Bottom halves that were cancelled are still on the list. */
    aio_poll(ctx, false);
    return ret;
}

#else /* !CONFIG_LINUX_AIO */

static void test_skip(void)
{
    g_test_skip("this build has no Linux AIO");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/linux-aio/skip", test_skip);
    return g_test_run();
}

#endif
