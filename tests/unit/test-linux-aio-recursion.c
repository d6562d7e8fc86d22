/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux AIO engine: neither recursion nor hang, whatever the kernel does.
 *
 * The kernel is mock-aio-kernel.h.  Each test says which law of the engine it
 * checks:
 *
 *   L1 bounded stack       L2 exactly once        L3 own wake-up
 *   L4 nested loops        L5 refused request     L6 -EAGAIN
 *   L8 fairness
 *
 * test-linux-aio-transfer.c has the others.
 */
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

#include "linux-aio-workers.h"

/* The most that io_submit() calls may be apart on the stack. */
#define STACK_SPREAD_MAX (16 * 1024)

/* --- a kernel that completes within io_submit() --- */

/*
 * L1, L2, L3: several coroutines, each woken in the completion pass of
 * another: unbounded, this nests once per request.
 */
static void do_test_sync(bool no_signal, unsigned accept_max)
{
    Worker what = reader, w[4];
    unsigned i;

    mock_reset();
    mock.sync = true;
    mock.no_signal = no_signal;
    mock.accept_max = accept_max;
    what.requests = 20000;
    workers_start(w, 4, what);
    check_own_wakeup();
    poll_until_finished();

    for (i = 0; i < 4; i++) {
        g_assert_cmpuint(w[i].done, ==, what.requests);
    }
    g_assert_cmpuint(mock.requests, ==, 4 * what.requests);
    g_assert_cmpuint(mock_stack_spread(), <=, STACK_SPREAD_MAX);
    check_idle();
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
    do_test_sync(false, 1);
}

static void test_sync_one_by_one_not_signalled(void)
{
    do_test_sync(true, 1);
}

/* The same with flushes and with writes. */
static void test_sync_write_flush(void)
{
    Worker what = reader, w[8];

    mock_reset();
    mock.sync = mock.no_signal = true;
    what.requests = 2000;
    what.type = QEMU_AIO_WRITE;
    workers_start(w, 4, what);
    what.type = QEMU_AIO_FLUSH;
    workers_start(w + 4, 4, what);
    poll_until_finished();
    g_assert_cmpuint(mock.requests, ==, 8 * what.requests);
    g_assert_cmpuint(mock_stack_spread(), <=, STACK_SPREAD_MAX);
    check_idle();
}

/* --- refused requests (L5) --- */

static unsigned refuse_at;      /* which of the requests offered, from 0 */
static unsigned refuse_seen;
static int refuse_error;
static struct iocb *refused;

/* The request at refuse_at, whenever it is offered. */
static int refuse_one(struct iocb *iocb)
{
    if (iocb == refused) {
        return refuse_error;
    }
    if (!refused && refuse_seen++ == refuse_at) {
        refused = iocb;
        return refuse_error;
    }
    return 0;
}

static void do_test_refused(unsigned at, int error, bool sync)
{
    Worker w[4];
    unsigned i, failed = 0;

    mock_reset();
    mock.sync = sync;
    mock.no_signal = sync;
    mock.refuse = refuse_one;
    refuse_at = at;
    refuse_seen = 0;
    refuse_error = error;
    refused = NULL;

    defer_call_begin();
    for (i = 0; i < 4; i++) {
        w[i] = reader;
        w[i].want = i == at ? error : 0;
        worker_start(&w[i]);
    }
    defer_call_end();

    /* The rest of the batch went in the same pass. */
    g_assert_cmpuint(mock.requests, ==, 3);
    check_own_wakeup();
    if (!sync) {
        mock_complete(mock.last, 3);
    }
    poll_until_finished();
    for (i = 0; i < 4; i++) {
        g_assert_cmpuint(w[i].done, ==, 1);
        failed += w[i].want != 0;
    }
    g_assert_cmpuint(failed, ==, 1);
    check_idle();
    check_inline();
}

static void test_refused_first(void)
{
    do_test_refused(0, -EIO, false);
    do_test_refused(0, -EBADF, true);
}

static void test_refused_middle(void)
{
    do_test_refused(1, -EIO, false);
    do_test_refused(2, -EINVAL, true);
}

static void test_refused_last(void)
{
    do_test_refused(3, -EIO, false);
    do_test_refused(3, -EIO, true);
}

static int refuse_all(struct iocb *iocb)
{
    return -EIO;
}

/* L1, L5: coroutines that go on after each failure do not nest either. */
static void test_refused_all(void)
{
    Worker what = reader, w[4];

    mock_reset();
    mock.refuse = refuse_all;
    what.requests = 5000;
    what.want = -EIO;
    workers_start(w, 4, what);
    poll_until_finished();
    g_assert_cmpuint(mock.requests, ==, 0);
    g_assert_cmpuint(mock_stack_spread(), <=, STACK_SPREAD_MAX);
    check_idle();
}

/* L8: as many refused ones as one pass may not complete. */
static void test_refused_many(void)
{
    Worker what = reader;
    static Worker w[2 * LAIO_BUDGET];
    LaioInfo info;

    mock_reset();
    mock.refuse = refuse_all;
    what.want = -EIO;
    ctx->aio_max_batch = 4 * LAIO_BUDGET;
    workers_start(w, ARRAY_SIZE(w), what);
    laio_get_info(aio_get_linux_aio(ctx), &info);
    g_assert(info.rejected);
    g_assert_cmpuint(n_unfinished, >=, LAIO_BUDGET);
    check_own_wakeup();
    poll_until_finished();
    ctx->aio_max_batch = 0;
    check_idle();
}

/* --- -EAGAIN (L6) --- */

#define AGAIN_NS 100000000LL

static int64_t again_until;
static int again_error;

static int again_for_a_while(void)
{
    return qemu_clock_get_ns(QEMU_CLOCK_REALTIME) < again_until ?
           again_error : 0;
}

/*
 * With nothing in flight: tried again from the event loop, with a back-off:
 * at 0.1, 0.2, 0.4 ... 10 ms, 100 ms are some 16 attempts.
 */
static void do_test_again_idle(int error, int (*call_error)(void))
{
    Worker w[4];

    mock_reset();
    mock.sync = mock.no_signal = true;
    mock.call_error = call_error;
    again_error = error;
    again_until = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + AGAIN_NS;
    workers_start(w, 4, reader);
    check_own_wakeup();
    poll_until_finished();
    g_assert_cmpuint(mock.requests, ==, 4);
    /* On a busy machine few of the attempts find the time. */
    g_assert_cmpuint(mock.calls, >=, 2);
    g_assert_cmpuint(mock.calls, <=, 40);
    check_idle();
}

static void test_again_idle(void)
{
    do_test_again_idle(-EAGAIN, again_for_a_while);
}

static void test_took_none(void)
{
    do_test_again_idle(MOCK_TAKE_NONE, again_for_a_while);
}

static int64_t retry_times[64];
static unsigned n_retries;

static int note_retry(void)
{
    if (n_retries < ARRAY_SIZE(retry_times)) {
        retry_times[n_retries++] = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    }
    return n_retries < 10 ? again_error : 0;
}

/* The delay doubles up to its limit, and begins anew after a success. */
static void test_back_off(void)
{
    unsigned i;
    LaioInfo info;

    n_retries = 0;
    do_test_again_idle(-EAGAIN, note_retry);
    g_assert_cmpuint(n_retries, ==, 10);
    for (i = 1; i < n_retries; i++) {
        int64_t delay = i > 20 ? LAIO_RETRY_MAX_NS :
                        MIN(LAIO_RETRY_MIN_NS << (i - 1), LAIO_RETRY_MAX_NS);

        g_assert_cmpint(retry_times[i] - retry_times[i - 1], >=, delay);
    }
    laio_get_info(aio_get_linux_aio(ctx), &info);
    g_assert_cmpint(info.retry_delay_ns, ==, 0);
}

static unsigned refusals;

/* Each time later than the delay. */
static int again_many_times(void)
{
    mock.ahead_ns += 2 * LAIO_RETRY_MAX_NS;
    return refusals++ < 3 * LAIO_RETRIES_TO_WARN ? -EAGAIN : 0;
}

/* A kernel that goes on refusing is no secret, and no flood of messages. */
static void test_again_endless(void)
{
    Worker w;

    if (!in_own_process()) {
        g_test_trap_assert_stderr("*refused requests*");
        g_test_trap_assert_stderr_unmatched("*refused*refused*");
        return;
    }
    aio_setup_linux_aio(ctx, &error_abort);
    mock.sync = true;
    mock.call_error = again_many_times;
    workers_start(&w, 1, reader);
    poll_until_finished();
}

/* With requests in flight: not tried again before one of them completes. */
static void test_again_in_flight(void)
{
    Worker a[2], b[2];
    unsigned calls;

    mock_reset();
    workers_start(a, 2, reader);
    g_assert_cmpuint(mock.requests, ==, 2);

    mock.call_error = again_for_a_while;
    again_error = -EAGAIN;
    again_until = INT64_MAX;
    workers_start(b, 2, reader);
    calls = mock.calls;
    check_own_wakeup();
    aio_poll(ctx, false);
    aio_poll(ctx, false);
    g_assert_cmpuint(mock.calls, ==, calls);

    again_until = 0;
    g_assert_cmpuint(mock_complete(mock.last, 1), ==, 1);
    while (!a[0].finished) {
        aio_poll(ctx, true);
    }
    g_assert_cmpuint(mock.requests, ==, 4);
    mock_complete(mock.last, 3);
    poll_until_finished();
    check_idle();
}

/* --- nested event loops (L4) --- */

static unsigned nested_left, nested_depth, nested_deepest;

static void nested_loop(void *opaque);

static void nested_loop_bh(void *opaque)
{
    n_unfinished--;
    nested_loop(opaque);
}

/*
 * Runs at the end of a completion pass: starts a request of its own and polls
 * for it.
 */
static void nested_loop(void *opaque)
{
    Worker w = reader;

    if (qemu_in_coroutine()) {
        /* There is no section, or it ends in a coroutine. */
        n_unfinished++;
        aio_bh_schedule_oneshot(ctx, nested_loop_bh, opaque);
        return;
    }
    nested_depth++;
    nested_deepest = MAX(nested_deepest, nested_depth);
    w.requests = 3;
    worker_start(&w);
    while (!w.finished) {
        aio_poll(ctx, true);
    }
    nested_depth--;
}

static void coroutine_fn nesting_entry(void *opaque)
{
    Worker w = reader;

    while (nested_left) {
        nested_left--;
        n_unfinished++;
        worker_entry(memcpy(&w, &reader, sizeof(w)));
        /* Within the completion pass that has woken this coroutine. */
        defer_call(nested_loop, opaque);
    }
    n_unfinished--;
}

static void do_test_nested(bool no_signal)
{
    unsigned i;

    mock_reset();
    mock.sync = true;
    mock.no_signal = no_signal;
    nested_left = 60;
    nested_depth = nested_deepest = 0;
    defer_call_begin();
    for (i = 0; i < 3; i++) {
        n_unfinished++;
        qemu_coroutine_enter(qemu_coroutine_create(nesting_entry,
                                                   GUINT_TO_POINTER(i)));
    }
    defer_call_end();
    poll_until_finished();
    g_assert_cmpuint(nested_deepest, >=, 1);
    check_idle();
}

static void test_nested(void)
{
    do_test_nested(false);
}

static void test_nested_not_signalled(void)
{
    do_test_nested(true);
}

/* A loop within a section: what it queues is put off, but not for ever. */
static void test_nested_in_section(void)
{
    mock_reset();
    mock.sync = mock.no_signal = true;
    defer_call_begin();
    nested_loop(NULL);
    defer_call_end();
    check_idle();
}

/* L4: a nested loop with nothing to do waits, and does not spin. */
static void test_no_spinning(void)
{
    Worker w;
    unsigned turns = 0;

    mock_reset();
    workers_start(&w, 1, reader);
    while (aio_poll(ctx, false)) {
        g_assert_cmpuint(++turns, <, 10);
    }
    mock_complete(mock.last, 1);
    poll_until_finished();
    check_idle();
}

/* --- fairness (L8) --- */

static void set_flag(void *opaque)
{
    *(bool *)opaque = true;
}

/* Timers and bottom halves run while requests complete without end. */
static void test_fairness(void)
{
    Worker what = reader, w[4];
    bool timer_ran = false, bh_ran = false;
    QEMUTimer *timer = aio_timer_new(ctx, QEMU_CLOCK_REALTIME, SCALE_NS,
                                     set_flag, &timer_ran);

    mock_reset();
    mock.sync = true;
    what.requests = UINT_MAX / 2;
    timer_mod(timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME));
    aio_bh_schedule_oneshot(ctx, set_flag, &bh_ran);
    workers_start(w, 4, what);
    g_assert_cmpuint(mock.requests, <=, LAIO_BUDGET + 16);

    mock.requests = 0;
    aio_poll(ctx, true);
    g_assert_cmpuint(mock.requests, <=, 2 * LAIO_BUDGET);
    aio_poll(ctx, true);
    g_assert(bh_ran && timer_ran);

    /* Let them come to an end. */
    w[0].requests = w[1].requests = w[2].requests = w[3].requests = 0;
    poll_until_finished();
    timer_free(timer);
    check_idle();
}

/* A single coroutine that never has to wait cannot keep the loop. */
static void test_fairness_single(void)
{
    Worker w = reader;

    mock_reset();
    mock.sync = mock.no_signal = true;
    w.requests = 5 * LAIO_BUDGET;
    worker_start(&w);
    g_assert_cmpuint(mock.requests, <=, LAIO_BUDGET + 1);
    poll_until_finished();
    g_assert_cmpuint(w.done, ==, w.requests);
    check_idle();
}

/* The time of a dispatch, and of one system call, in the tests below. */
#define REQUEST_NS 300000LL
#define CALL_NS (LAIO_DEFAULT_MAX_BATCH * REQUEST_NS)
#define TURN_NS (LAIO_BUDGET_NS + CALL_NS)

typedef struct {
    EventNotifier e;
    QEMUTimer *timer;
    int64_t since;              /* ready since; 0: not */
    int64_t timer_since;
    int64_t longest;
    unsigned served;            /* of the descriptor */
    unsigned timer_served;
} Bystander;

static int64_t now_ns(void)
{
    return qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
}

static void bystander_served(Bystander *b, int64_t *since)
{
    b->longest = MAX(b->longest, now_ns() - *since);
    *since = now_ns();
}

static void bystander_timer(void *opaque)
{
    Bystander *b = opaque;

    bystander_served(b, &b->timer_since);
    b->timer_served++;
    b->timer_since += SCALE_MS;
    timer_mod(b->timer, b->timer_since);
}

/* It stays ready, since its signal is not cleared. */
static void bystander_descriptor(EventNotifier *e)
{
    Bystander *b = container_of(e, Bystander, e);

    bystander_served(b, &b->since);
    b->served++;
}

/*
 * L8: a request takes time, and there is always a next one.  Each turn of the
 * event loop is short; a timer and a descriptor that has no io_poll are served.
 */
static void do_test_fairness_time(unsigned workers, bool no_signal)
{
    Worker what = reader, w[64];
    Bystander b = { .served = 0 };
    int64_t start, longest_turn = 0;
    unsigned i;

    mock_reset();
    mock.sync = true;
    mock.no_signal = no_signal;
    mock.request_ns = REQUEST_NS;
    mock_freeze();
    event_notifier_init(&b.e, true);
    aio_set_event_notifier(ctx, &b.e, bystander_descriptor, NULL, NULL);
    b.timer = aio_timer_new(ctx, QEMU_CLOCK_REALTIME, SCALE_NS,
                            bystander_timer, &b);
    b.since = b.timer_since = start = now_ns();
    timer_mod(b.timer, start);

    what.requests = UINT_MAX / 2;
    workers_start(w, workers, what);
    /* The first call starts the clock. */
    g_assert_cmpint(now_ns() - start, <=, 2 * TURN_NS);
    for (i = 0; i < 50; i++) {
        start = now_ns();
        aio_poll(ctx, true);
        longest_turn = MAX(longest_turn, now_ns() - start);
        check_own_wakeup();
    }
    g_assert_cmpint(longest_turn, <=, TURN_NS);
    /* The call before the first turn, and two turns. */
    g_assert_cmpint(b.longest, <=, CALL_NS + 2 * TURN_NS);
    g_assert_cmpuint(b.served, >=, 20);
    g_assert_cmpuint(b.timer_served, >=, 20);
    g_assert_cmpuint(mock.requests, >=, 50);

    for (i = 0; i < workers; i++) {
        w[i].requests = 0;
    }
    poll_until_finished();
    aio_set_event_notifier(ctx, &b.e, NULL, NULL, NULL);
    event_notifier_cleanup(&b.e);
    timer_free(b.timer);
    check_idle();
}

static void test_fairness_time(void)
{
    do_test_fairness_time(1, false);
    do_test_fairness_time(4, false);
    do_test_fairness_time(64, false);
}

static void test_fairness_time_not_signalled(void)
{
    do_test_fairness_time(1, true);
    do_test_fairness_time(64, true);
}

static void poll_turns(unsigned n)
{
    while (n--) {
        aio_poll(ctx, true);
    }
}

/* Where a single request is slow, a call has not many of them. */
static void test_fairness_slow(void)
{
    Worker what = reader, w[64];
    unsigned i;

    mock_reset();
    mock.sync = true;
    mock.request_ns = 2000000;
    mock_freeze();
    what.requests = UINT_MAX / 2;
    workers_start(w, 64, what);
    poll_turns(20);
    mock.largest_batch = 0;
    poll_turns(5);
    g_assert_cmpuint(mock.largest_batch, >, 0);
    g_assert_cmpuint(mock.largest_batch * mock.request_ns, <=,
                     2 * LAIO_BUDGET_NS);

    /* They get larger again. */
    mock.request_ns = 1000;
    poll_turns(50);
    mock.largest_batch = 0;
    poll_turns(5);
    g_assert_cmpuint(mock.largest_batch, ==, LAIO_DEFAULT_MAX_BATCH);
    for (i = 0; i < 64; i++) {
        w[i].requests = 0;
    }
    poll_until_finished();
    check_idle();
}

static void keep_scheduled(void *opaque)
{
    qemu_bh_schedule(*(QEMUBH **)opaque);
}

/*
 * L3, L8: a bottom half that always reschedules itself keeps the event loop
 * from waiting, and perhaps from looking at descriptors.  The engine must not
 * depend on that.
 */
static void test_fairness_busy_bh(void)
{
    Worker what = reader, w[4];
    QEMUBH *bh = NULL;

    bh = aio_bh_new(ctx, keep_scheduled, &bh);
    qemu_bh_schedule(bh);
    mock_reset();
    mock.sync = true;
    what.requests = 5 * LAIO_BUDGET;
    workers_start(w, 4, what);
    poll_until_finished();
    qemu_bh_delete(bh);
    check_idle();
}

/* L9: on asynchronous I/O the engine reads no clock. */
static void test_no_clock(void)
{
    Worker w[64];
    unsigned reads, one = 0, i;

    mock_reset();
    /* After synchronous ones the first may be one of which nobody is told. */
    workers_start(w, 1, reader);
    mock_complete(mock.last, 1);
    poll_until_finished();
    reads = mock.clock_reads;
    workers_start(w, 64, reader);
    g_assert_cmpuint(mock.clock_reads, ==, reads);
    for (i = 0; i < 2; i++) {
        mock_complete(mock.last, i ? 63 : 1);
        reads = mock.clock_reads;
        aio_poll(ctx, true);
        reads = mock.clock_reads - reads;
        if (i == 0) {
            one = reads;
        }
    }
    /* The event loop reads the clock for itself. */
    g_assert_cmpuint(reads, ==, one);
    poll_until_finished();
    check_idle();
}

int main(int argc, char **argv)
{
    workers_init(&argc, &argv);

    g_test_add_func("/linux-aio/sync", test_sync);
    g_test_add_func("/linux-aio/sync/not-signalled",
                    test_sync_not_signalled);
    g_test_add_func("/linux-aio/sync/one-by-one", test_sync_one_by_one);
    g_test_add_func("/linux-aio/sync/one-by-one-not-signalled",
                    test_sync_one_by_one_not_signalled);
    g_test_add_func("/linux-aio/sync/write-flush", test_sync_write_flush);
    g_test_add_func("/linux-aio/refused/first", test_refused_first);
    g_test_add_func("/linux-aio/refused/middle", test_refused_middle);
    g_test_add_func("/linux-aio/refused/last", test_refused_last);
    g_test_add_func("/linux-aio/refused/all", test_refused_all);
    g_test_add_func("/linux-aio/refused/many", test_refused_many);
    g_test_add_func("/linux-aio/again/idle", test_again_idle);
    g_test_add_func("/linux-aio/again/took-none", test_took_none);
    g_test_add_func("/linux-aio/again/back-off", test_back_off);
    g_test_add_func("/linux-aio/again/endless", test_again_endless);
    g_test_add_func("/linux-aio/again/in-flight", test_again_in_flight);
    g_test_add_func("/linux-aio/nested", test_nested);
    g_test_add_func("/linux-aio/nested/not-signalled",
                    test_nested_not_signalled);
    g_test_add_func("/linux-aio/nested/in-section", test_nested_in_section);
    g_test_add_func("/linux-aio/nested/no-spinning", test_no_spinning);
    g_test_add_func("/linux-aio/fairness", test_fairness);
    g_test_add_func("/linux-aio/fairness/single", test_fairness_single);
    g_test_add_func("/linux-aio/fairness/time", test_fairness_time);
    g_test_add_func("/linux-aio/fairness/time-not-signalled",
                    test_fairness_time_not_signalled);
    g_test_add_func("/linux-aio/fairness/slow", test_fairness_slow);
    g_test_add_func("/linux-aio/fairness/busy-bh", test_fairness_busy_bh);
    g_test_add_func("/linux-aio/fairness/no-clock", test_no_clock);

    return workers_run();
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
