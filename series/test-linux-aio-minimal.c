/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux AIO engine: neither recursion nor hang, whatever the kernel does.
 *
 * What the small form of the fix gives; installed as
 * tests/unit/test-linux-aio-recursion.c in QEMU 8.2 and newer.  The kernel is
 * mock-aio-kernel.h.  Each test says which law of the engine it checks:
 *
 *   L1 bounded stack       L2 exactly once, with the right result
 *   L3 own wake-up         L5 refused request     L6 -EAGAIN
 *   L7 short transfer      L10 no error is swallowed
 */
/* begin: series */
/*
 * What is between "begin: WORDS" and "end" is installed where one of the
 * alternatives, which commas separate, holds, that is all of its words do: a
 * step of series/steps/ is done, or the tree is
 *
 *   tails      one that submits the tails of short transfers again
 *   released   one that has the released bound
 *   unbounded  one that has not
 *
 * So a case comes with the step before which it fails.  These guard what was
 * right, and come with the first commit:
 *
 *   everywhere             async, again/in-flight, sync/many
 *   tails                  short/2, short/refused
 *   tails and unbounded    short/9, short/16, short/not-signalled
 *   unbounded              sync/starved, sync/submitted
 *   released               sync/signalled
 *
 * tests/series/apply-test.sh sees both: each case of a step fails before it;
 * the cases of the first commit are those above, and pass.
 */
/* end */
#include "qemu/osdep.h"
#include "block/block.h"
#include "block/raw-aio.h"
#include "qapi/error.h"
#include "qemu/coroutine.h"
#include "qemu/defer-call.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"

#ifdef CONFIG_LINUX_AIO

#include "mock-aio-kernel.h"

/* A descriptor that is not open: the mock kernel does not look at it. */
#define MOCK_FD 1000000

/* A test that makes no progress for that many seconds hangs. */
#define HANG_SECONDS 30

#define REQUEST_BYTES 4096

static AioContext *ctx;

/* --- laio_co_submit(), which has no flags before QEMU 10.0 --- */

typedef int SubmitFlagsFn(int, uint64_t, QEMUIOVector *, int,
                          BdrvRequestFlags, uint64_t);
typedef int SubmitFn(int, uint64_t, QEMUIOVector *, int, uint64_t);

static int coroutine_fn submit(uint64_t offset, QEMUIOVector *qiov, int type)
{
    SubmitFlagsFn *with_flags = _Generic(&laio_co_submit,
        SubmitFlagsFn *: laio_co_submit, default: NULL);
    SubmitFn *without_flags = _Generic(&laio_co_submit,
        SubmitFn *: laio_co_submit, default: NULL);

    return with_flags ? with_flags(MOCK_FD, offset, qiov, type, 0, 0) :
                        without_flags(MOCK_FD, offset, qiov, type, 0);
}

/* --- the watchdog --- */

static unsigned long progress;  /* atomic; requests that were completed */

/* A thread, since qemu_init_main_loop() blocks SIGALRM. */
static void *watchdog_run(void *opaque)
{
    unsigned long seen = 0;
    unsigned seconds = 0;

    while (seconds++ < HANG_SECONDS) {
        unsigned long now;

        g_usleep(G_USEC_PER_SEC);
        now = qatomic_read(&progress);
        if (now != seen) {
            seen = now;
            seconds = 0;
        }
    }
    fprintf(stderr, "the test hangs: no request was completed in %d s\n",
            HANG_SECONDS);
    abort();
    return NULL;
}

/* --- running coroutines --- */

typedef struct Worker {
    unsigned requests;          /* to make, one after the other */
    size_t bytes;               /* of each */
    int type;
    int want;                   /* result that each must have */
    unsigned done;
    bool finished;
} Worker;

static unsigned n_unfinished;
static unsigned n_offered;      /* requests that coroutines have made */

static void G_GNUC_UNUSED poll_until_finished(void)
{
    while (n_unfinished) {
        aio_poll(ctx, true);
    }
}

static void coroutine_fn worker_entry(void *opaque)
{
    Worker *w = opaque;
    g_autofree uint8_t *buf = g_malloc(w->bytes);
    QEMUIOVector qiov;

    while (w->done < w->requests) {
        uint64_t offset = w->done * 37 % (MOCK_DISK_SIZE / w->bytes) *
                          w->bytes;

        qemu_iovec_init_buf(&qiov, buf, w->bytes);
        memset(buf, 0x5a, w->bytes);
        n_offered++;
        g_assert_cmpint(submit(offset, &qiov, w->type), ==, w->want);
        g_assert(w->want || !memcmp(buf, mock.disk + offset, w->bytes));
        w->done++;
        qatomic_set(&progress, qatomic_read(&progress) + 1);
    }
    g_assert(!w->finished);
    w->finished = true;
    n_unfinished--;
}

static void worker_start(Worker *w, Worker what)
{
    *w = what;
    n_unfinished++;
    qemu_coroutine_enter(qemu_coroutine_create(worker_entry, w));
}

static Worker reader(unsigned requests, int want)
{
    return (Worker) {
        .requests = requests,
        .bytes = REQUEST_BYTES,
        .type = QEMU_AIO_READ,
        .want = want,
    };
}

/* Start @n workers in one section, so that their requests are one batch. */
static void workers_start(Worker *w, unsigned n, unsigned requests, int want)
{
    unsigned i;

    defer_call_begin();
    for (i = 0; i < n; i++) {
        worker_start(&w[i], reader(requests, want));
    }
    defer_call_end();
}

/* A kernel that takes its time: the same calls, and all complete. */
static void test_async(void)
{
    Worker w[16];

    mock_reset();
    workers_start(w, 16, 50, 0);
    g_assert_cmpuint(mock.calls, ==, 1);
    g_assert_cmpuint(mock.largest_batch, ==, 16);
    while (n_unfinished) {
        mock_complete(mock.last, 5);
        aio_poll(ctx, true);
    }
    g_assert_cmpuint(mock.requests, ==, 16 * 50);
}

/* --- a kernel that completes within io_submit() --- */

/* begin: bound, released, wakeup */
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
}

static void test_sync(void)
{
    do_test_sync(false, 0);
}

/* end */
/* begin: bound, wakeup */
static void test_sync_not_signalled(void)
{
    do_test_sync(true, 0);
}

static void test_sync_one_by_one(void)
{
    do_test_sync(true, 1);
}

/* end */
/* begin: unbounded, wakeup */
static void busy_bh(void *opaque)
{
    QEMUBH **bh = opaque;

    qemu_bh_schedule(*bh);
}

/* L3: a poll does not look at descriptors while a bottom half is scheduled. */
static void test_sync_starved(void)
{
    Worker w[4];
    QEMUBH *bh;

    mock_reset();
    mock.sync = true;
    bh = aio_bh_new(ctx, busy_bh, &bh);
    qemu_bh_schedule(bh);
    workers_start(w, 4, 100, 0);
    poll_until_finished();
    qemu_bh_delete(bh);
}

/* end */
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
}

/* begin: unbounded, two-steps */
/* At the bound requests are submitted all the same: none waits for a turn. */
static void test_sync_submitted(void)
{
    Worker w[4];

    mock_reset();
    mock.sync = mock.no_signal = true;
    n_offered = 0;
    workers_start(w, 4, 1000, 0);
    g_assert_cmpuint(mock.requests, ==, n_offered);
    aio_poll(ctx, true);
    g_assert_cmpuint(mock.requests, ==, n_offered);
    poll_until_finished();
}

/* end */
/* begin: stack */
/* The most that io_submit() calls may be apart on the stack. */
#define STACK_SPREAD_MAX (16 * 1024)

/* L1: the levels that are allowed do not cost much. */
static void test_sync_stack(void)
{
    Worker w[4];

    mock_reset();
    mock.sync = mock.no_signal = true;
    workers_start(w, 4, 1000, 0);
    poll_until_finished();
    g_assert_cmpuint(mock_stack_spread(), <=, STACK_SPREAD_MAX);
}

/* end */
/* begin: refused */
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
        worker_start(&w[i], reader(1, i == at ? -EIO : 0));
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
}

/* end */
/* --- -EAGAIN (L6) --- */

/* begin: again */
#define AGAIN_NS 50000000LL

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

/* end */
static unsigned again_left;

static int again_once(void)
{
    return again_left && again_left-- ? -EAGAIN : 0;
}

/* begin: again */
/* Once, after which nothing is in flight and nothing signals. */
static void test_again_once(void)
{
    Worker w[4];

    mock_reset();
    mock.sync = mock.no_signal = true;
    mock.call_error = again_once;
    again_left = 1;
    workers_start(w, 4, 2, 0);
    poll_until_finished();
    g_assert_cmpuint(mock.requests, ==, 8);
}

/* end */
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
    while (!a[0].finished) {
        aio_poll(ctx, true);
    }
    g_assert_cmpuint(mock.requests, ==, 4);
    mock_complete(mock.last, 3);
    poll_until_finished();
}

/* begin: tails */
/* --- short transfers (L2, L7) --- */

/* A request that the kernel carries out in @parts, whole in the end. */
static void do_test_short(unsigned parts, int type, int want)
{
    Worker w;

    mock.transfer_max = REQUEST_BYTES;
    worker_start(&w, (Worker) {
        .requests = 1,
        .bytes = parts * REQUEST_BYTES,
        .type = type,
        .want = want,
    });
    while (!w.finished) {
        mock_complete(mock.last, 1);
        aio_poll(ctx, true);
    }
    if (!want) {
        g_assert_cmpuint(mock.requests, ==, parts);
    }
}

static void do_test_short_sync(unsigned parts, bool no_signal)
{
    const int types[] = { QEMU_AIO_READ, QEMU_AIO_WRITE };
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(types); i++) {
        mock_reset();
        mock.sync = true;
        mock.no_signal = no_signal;
        do_test_short(parts, types[i], 0);
    }
}

static void test_short_2(void)
{
    do_test_short_sync(2, false);
}

/* end */
/* begin: tails unbounded, tail */
static void test_short_9(void)
{
    do_test_short_sync(9, false);
}

static void test_short_16(void)
{
    do_test_short_sync(16, false);
}

/* end */
/* begin: tail */
/* The first part completes within io_submit(), the others do not. */
static int later_call(void)
{
    mock.sync = mock.calls == 1;
    return 0;
}

static void test_short_later(void)
{
    mock_reset();
    mock.call_error = later_call;
    do_test_short(3, QEMU_AIO_READ, 0);
    mock_reset();
    mock.call_error = later_call;
    do_test_short(3, QEMU_AIO_WRITE, 0);
}

/* end */
/* begin: tails unbounded, tails wakeup */
static void test_short_not_signalled(void)
{
    do_test_short_sync(16, true);
}

/* end */
/* begin: tails */
static int refused_call(void)
{
    return mock.calls == 2 ? -EIO : 0;
}

/* L5: a tail that is refused. */
static void test_short_refused(void)
{
    mock_reset();
    mock.sync = true;
    mock.call_error = refused_call;
    do_test_short(3, QEMU_AIO_WRITE, -EIO);
}

/* end */
/* begin: tail */
static int again_call(void)
{
    return mock.calls == 2 ? -EAGAIN : 0;
}

/* L6: a tail that the kernel does not take at once. */
static void test_short_again(void)
{
    mock_reset();
    mock.sync = true;
    mock.call_error = again_call;
    do_test_short(3, QEMU_AIO_WRITE, 0);
}

/* end */
/* begin: probe */
/* --- what is asked when an image is opened (L10) --- */

static bool probe_seen;

static int probe_note(struct iocb *iocb)
{
    probe_seen = probe_seen || iocb->aio_fildes == MOCK_FD;
    return 0;
}

/* An fsync of the image itself would take its write-back error. */
static void test_probe(void)
{
    mock_reset();
    mock.sync = mock.no_signal = true;
    mock.refuse = probe_note;
    g_assert(laio_has_fdsync(MOCK_FD));
    g_assert_cmpuint(mock.requests, ==, 1);
    g_assert(!probe_seen);
}

/* end */
static void add_tests(void)
{
    g_test_add_func("/linux-aio/async", test_async);
    /* begin: bound, released */
    g_test_add_func("/linux-aio/sync/signalled", test_sync);
    /* end */
    /* begin: bound, wakeup */
    g_test_add_func("/linux-aio/sync/not-signalled",
                    test_sync_not_signalled);
    g_test_add_func("/linux-aio/sync/one-by-one", test_sync_one_by_one);
    /* end */
    /* begin: unbounded, wakeup */
    g_test_add_func("/linux-aio/sync/starved", test_sync_starved);
    /* end */
    g_test_add_func("/linux-aio/sync/many", test_sync_many);
    /* begin: unbounded, two-steps */
    g_test_add_func("/linux-aio/sync/submitted", test_sync_submitted);
    /* end */
    /* begin: stack */
    g_test_add_func("/linux-aio/sync/stack", test_sync_stack);
    /* end */
    /* begin: refused */
    g_test_add_func("/linux-aio/refused/first", test_refused_first);
    g_test_add_func("/linux-aio/refused/middle", test_refused_middle);
    g_test_add_func("/linux-aio/refused/last", test_refused_last);
    g_test_add_func("/linux-aio/refused/all", test_refused_all);
    /* end */
    /* begin: again */
    g_test_add_func("/linux-aio/again/idle", test_again_idle);
    g_test_add_func("/linux-aio/again/once", test_again_once);
    /* end */
    g_test_add_func("/linux-aio/again/in-flight", test_again_in_flight);
    /* begin: tails */
    g_test_add_func("/linux-aio/short/2", test_short_2);
    /* end */
    /* begin: tails unbounded, tail */
    g_test_add_func("/linux-aio/short/9", test_short_9);
    g_test_add_func("/linux-aio/short/16", test_short_16);
    /* end */
    /* begin: tail */
    g_test_add_func("/linux-aio/short/later", test_short_later);
    /* end */
    /* begin: tails unbounded, tails wakeup */
    g_test_add_func("/linux-aio/short/not-signalled",
                    test_short_not_signalled);
    /* end */
    /* begin: tails */
    g_test_add_func("/linux-aio/short/refused", test_short_refused);
    /* end */
    /* begin: tail */
    g_test_add_func("/linux-aio/short/again", test_short_again);
    /* end */
    /* begin: probe */
    g_test_add_func("/linux-aio/probe", test_probe);
    /* end */
}

int main(int argc, char **argv)
{
    QemuThread watchdog;
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    ctx = qemu_get_current_aio_context();
    aio_setup_linux_aio(ctx, &error_abort);
    qemu_thread_create(&watchdog, "watchdog", watchdog_run, NULL,
                       QEMU_THREAD_DETACHED);
    add_tests();

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
