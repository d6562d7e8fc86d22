/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux AIO engine: neither recursion nor hang, whatever the kernel does.
 *
 * The kernel is mock-aio-kernel.h.  Each test says which law of the engine it
 * checks:
 *
 *   L1 bounded stack       L2 exactly once        L3 own wake-up
 *   L4 nested loops        L5 refused request     L6 -EAGAIN
 *   L7 short transfer      L8 fairness            L9 batches as before
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

#include "block/linux-aio.h"
#include "mock-aio-kernel.h"

/* What the deepest io_submit() may be below the shallowest one. */
#define STACK_SPREAD_MAX (16 * 1024)

/* Far beyond what any test needs: time to say that it hangs. */
#define HANG_NS 20000000000LL

static AioContext *ctx;

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

/* Poll until the workers are finished; a hang is a failure. */
static void poll_until_finished(void)
{
    int64_t end = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + HANG_NS;

    while (n_unfinished) {
        g_assert_cmpint(qemu_clock_get_ns(QEMU_CLOCK_REALTIME), <, end);
        aio_poll(ctx, true);
    }
}

static uint64_t worker_offset(unsigned i, size_t bytes)
{
    return (uint64_t)(i * 37 % (MOCK_DISK_SIZE / bytes)) * bytes;
}

static void coroutine_fn worker_entry(void *opaque)
{
    Worker *w = opaque;
    g_autofree uint8_t *buf = g_malloc(w->bytes);
    QEMUIOVector qiov;
    unsigned i;

    for (i = 0; i < w->requests; i++) {
        uint64_t offset = worker_offset(i, w->bytes);
        int ret;

        qemu_iovec_init_buf(&qiov, buf, w->bytes);
        if (w->type == QEMU_AIO_READ) {
            memset(buf, 0x5a, w->bytes);
        } else {
            memcpy(buf, mock.disk + offset, w->bytes);
        }
        ret = laio_co_submit(3, offset, w->type == QEMU_AIO_FLUSH ? NULL :
                             &qiov, w->type, 0, 0);
        g_assert_cmpint(ret, ==, w->want);
        if (w->type == QEMU_AIO_READ && !ret) {
            g_assert(!memcmp(buf, mock.disk + offset, w->bytes));
        }
        w->done++;
    }
    g_assert(!w->finished);
    w->finished = true;
    n_unfinished--;
}

static void worker_start(Worker *w)
{
    n_unfinished++;
    qemu_coroutine_enter(qemu_coroutine_create(worker_entry, w));
}

/* Start @n workers in one section, so that their requests are one batch. */
static void workers_start(Worker *w, unsigned n, Worker what)
{
    unsigned i;

    defer_call_begin();
    for (i = 0; i < n; i++) {
        w[i] = what;
        worker_start(&w[i]);
    }
    defer_call_end();
}

/* L3: with nothing left to do nothing is left behind. */
static void check_idle(void)
{
    LaioInfo info;

    laio_get_info(aio_get_linux_aio(ctx), &info);
    g_assert_cmpuint(info.pending, ==, 0);
    g_assert_cmpuint(info.in_flight, ==, 0);
    g_assert(!info.rejected && !info.blocked && !info.retry_armed);
    g_assert(info.ring_empty);
}

/* L3: what is pending has something that will come back to it. */
static void check_own_wakeup(void)
{
    LaioInfo info;

    laio_get_info(aio_get_linux_aio(ctx), &info);
    if (info.pending) {
        g_assert(info.in_flight || info.bh_scheduled || info.retry_armed);
    }
    if (info.rejected) {
        g_assert(info.bh_scheduled);
    }
    if (mock.no_signal && !info.ring_empty) {
        g_assert(info.bh_scheduled);
    }
}

static const Worker reader = {
    .requests = 1, .bytes = 4096, .type = QEMU_AIO_READ,
};

/* L2: nothing is left of what other tests did: inline reaping works. */
static void check_inline(void)
{
    Worker w;

    mock_reset();
    mock.sync = mock.no_signal = true;
    workers_start(&w, 1, reader);
    g_assert(w.finished);
    check_idle();
}

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

/*
 * The engine reads its ring in the manner decided when it is made, and the
 * main context has only one: a test of another ring is run again in a process
 * of its own, which has no engine yet.  True in that process.
 */
static bool in_own_process(void)
{
    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, 0);
        g_test_trap_assert_passed();
        return false;
    }
    mock_reset();
    return true;
}

/* L2: a ring that user space must not read goes through io_getevents(). */
static void test_unknown_ring(void)
{
    Worker what = reader, w[4];

    if (!in_own_process()) {
        return;
    }
    mock.bad_magic = mock.sync = true;
    aio_setup_linux_aio(ctx, &error_abort);

    what.requests = 500;
    workers_start(w, 4, what);
    poll_until_finished();
    g_assert_cmpuint(mock.requests, ==, 4 * what.requests);
    g_assert_cmpuint(mock.getevents_calls, >, 0);
    check_idle();
}

/* --- a ring that wraps, and is full --- */

/* L2, L6: room for 4 events, 16 coroutines, both kinds of kernel. */
static void do_test_small_ring(bool sync)
{
    Worker what = reader, w[16];

    if (!in_own_process()) {
        return;
    }
    mock.ring_size = 5;
    mock.sync = sync;
    aio_setup_linux_aio(ctx, &error_abort);

    what.requests = 300;
    workers_start(w, 16, what);
    while (n_unfinished) {
        check_own_wakeup();
        if (!sync) {
            mock_complete(mock.last, 3);
        }
        aio_poll(ctx, sync);
    }
    g_assert_cmpuint(mock.requests, ==, 16 * what.requests);
    check_idle();
}

static void test_small_ring_sync(void)
{
    do_test_small_ring(true);
}

static void test_small_ring_async(void)
{
    do_test_small_ring(false);
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
static void do_test_again_idle(int error)
{
    Worker w[4];

    mock_reset();
    mock.sync = mock.no_signal = true;
    mock.call_error = again_for_a_while;
    again_error = error;
    again_until = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + AGAIN_NS;
    workers_start(w, 4, reader);
    check_own_wakeup();
    poll_until_finished();
    g_assert_cmpuint(mock.requests, ==, 4);
    g_assert_cmpuint(mock.calls, >=, 5);
    g_assert_cmpuint(mock.calls, <=,
                     (error == -EINTR ? LAIO_EINTR_MAX : 1) * 40);
    check_idle();
}

static void test_again_idle(void)
{
    do_test_again_idle(-EAGAIN);
}

static void test_took_none(void)
{
    do_test_again_idle(MOCK_TAKE_NONE);
}

static int64_t retry_delays[64];
static unsigned n_retries;

static void note_retry(LinuxAioState *s, int64_t delay_ns)
{
    if (n_retries < ARRAY_SIZE(retry_delays)) {
        retry_delays[n_retries++] = delay_ns;
    }
}

/* The delay doubles up to its limit, and begins anew after a success. */
static void test_back_off(void)
{
    static const LaioObserver observer = { .retry = note_retry };
    unsigned round, i;

    laio_observer = &observer;
    for (round = 0; round < 2; round++) {
        n_retries = 0;
        do_test_again_idle(-EAGAIN);
        g_assert_cmpuint(n_retries, >=, 4);
        g_assert_cmpint(retry_delays[0], ==, LAIO_RETRY_MIN_NS);
        for (i = 1; i < n_retries; i++) {
            g_assert_cmpint(retry_delays[i], ==,
                            MIN(retry_delays[i - 1] * 2, LAIO_RETRY_MAX_NS));
        }
    }
    laio_observer = NULL;
}

static void test_interrupted(void)
{
    do_test_again_idle(-EINTR);
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

/* --- short transfers (L7) --- */

static void test_short(void)
{
    Worker what = reader, w[4];

    mock_reset();
    mock.sync = mock.no_signal = true;
    mock.transfer_max = 1000;
    what.requests = 50;
    what.bytes = 8192;
    workers_start(w, 4, what);
    poll_until_finished();
    /* 8 times 1000 and once 192 */
    g_assert_cmpuint(mock.requests, ==, 4 * 50 * 9);

    what.type = QEMU_AIO_WRITE;
    workers_start(w, 4, what);
    poll_until_finished();
    check_idle();
}

typedef struct {
    uint64_t offset;
    size_t bytes;
    int type;
    int ret;
    uint8_t *buf;
} OneRequest;

static void coroutine_fn one_entry(void *opaque)
{
    OneRequest *r = opaque;
    struct iovec iov[2] = {
        { r->buf, r->bytes / 4 },
        { r->buf + r->bytes / 4, r->bytes - r->bytes / 4 },
    };
    QEMUIOVector qiov;

    qemu_iovec_init_external(&qiov, iov, 2);
    r->ret = laio_co_submit(3, r->offset, &qiov, r->type, 0, 0);
    n_unfinished--;
}

static void do_one(OneRequest *r)
{
    n_unfinished++;
    qemu_coroutine_enter(qemu_coroutine_create(one_entry, r));
    poll_until_finished();
}

/* A read past the end of the file has zeroes there. */
static void do_test_eof(uint64_t file_size, size_t direct_align)
{
    uint8_t buf[16384];
    OneRequest r = {
        .offset = 8192, .bytes = sizeof(buf), .type = QEMU_AIO_READ,
        .buf = buf,
    };
    size_t i, n = MIN(MAX(file_size, 8192) - 8192, sizeof(buf));

    mock_reset();
    mock.sync = mock.no_signal = true;
    mock.file_size = file_size;
    mock.direct_align = direct_align;
    memset(buf, 0x5a, sizeof(buf));
    do_one(&r);
    g_assert_cmpint(r.ret, ==, 0);
    g_assert(!memcmp(buf, mock.disk + 8192, n));
    for (i = n; i < sizeof(buf); i++) {
        g_assert_cmpuint(buf[i], ==, 0);
    }
}

static void test_eof(void)
{
    do_test_eof(8192 + 16384, 0);
    do_test_eof(8192 + 5000, 0);
    do_test_eof(8192 + 5000, 512);      /* the tail is unaligned */
    do_test_eof(8192 + 3, 4096);
    do_test_eof(8192, 0);
    do_test_eof(100, 512);
    check_idle();
}

/* Short direct reads in the middle of a file are continued, too. */
static void test_short_direct(void)
{
    uint8_t buf[16384];
    OneRequest r = {
        .offset = 4096, .bytes = sizeof(buf), .type = QEMU_AIO_READ,
        .buf = buf,
    };

    mock_reset();
    mock.sync = mock.no_signal = true;
    mock.transfer_max = 5000;           /* unaligned: rounded down */
    mock.direct_align = 512;
    do_one(&r);
    g_assert_cmpint(r.ret, ==, 0);
    g_assert(!memcmp(buf, mock.disk + 4096, sizeof(buf)));
}

/* The kernel wants an alignment that no tail of its own has: that is said. */
static void test_short_unalignable(void)
{
    uint8_t buf[16384];
    OneRequest r = {
        .offset = 16384, .bytes = sizeof(buf), .type = QEMU_AIO_READ,
        .buf = buf,
    };

    mock_reset();
    mock.sync = mock.no_signal = true;
    mock.direct_align = 16384;
    mock.transfer_max = 4096;           /* a tail at a page */
    do_one(&r);
    g_assert_cmpint(r.ret, ==, -EINVAL);
    g_assert_cmpuint(mock.requests, ==, 2);
    mock.transfer_max = 5000;           /* tried at the page before, too */
    do_one(&r);
    g_assert_cmpint(r.ret, ==, -EINVAL);
    g_assert_cmpuint(mock.requests, ==, 2 + 3);
    check_idle();
}

/* Where the rest of a short append would go nobody knows. */
static void test_short_append(void)
{
    uint8_t buf[8192] = { 1 };
    OneRequest r = {
        .offset = 8192, .bytes = sizeof(buf), .type = QEMU_AIO_ZONE_APPEND,
        .buf = buf,
    };

    mock_reset();
    mock.sync = true;
    do_one(&r);
    g_assert_cmpint(r.ret, ==, 0);
    mock.transfer_max = 4096;
    do_one(&r);
    g_assert_cmpint(r.ret, ==, -EIO);
    g_assert_cmpuint(mock.requests, ==, 2);
    check_idle();
}

static void test_disk_full(void)
{
    uint8_t buf[16384];
    OneRequest r = {
        .offset = 8192, .bytes = sizeof(buf), .type = QEMU_AIO_WRITE,
        .buf = buf,
    };

    memset(buf, 0x77, sizeof(buf));
    mock_reset();
    mock.sync = mock.no_signal = true;
    mock.disk_full_at = 8192 + 4096;
    do_one(&r);
    g_assert_cmpint(r.ret, ==, -ENOSPC);
    mock.disk_full_at = 8192;
    do_one(&r);
    g_assert_cmpint(r.ret, ==, -ENOSPC);
    mock.disk_full_at = 0;
    do_one(&r);
    g_assert_cmpint(r.ret, ==, 0);
    g_assert(!memcmp(buf, mock.disk + 8192, sizeof(buf)));
    check_idle();
}

/* --- nested event loops (L4) --- */

static unsigned nested_left, nested_depth, nested_deepest;

/*
 * Runs at the end of a completion pass, outside coroutines: starts a request
 * of its own and polls for it.
 */
static void nested_loop(void *opaque)
{
    Worker w = reader;
    int64_t end = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + HANG_NS;

    nested_depth++;
    nested_deepest = MAX(nested_deepest, nested_depth);
    w.requests = 3;
    worker_start(&w);
    while (!w.finished) {
        g_assert_cmpint(qemu_clock_get_ns(QEMU_CLOCK_REALTIME), <, end);
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

/* --- asynchronous kernels (L9) --- */

static void test_batches(void)
{
    Worker w[64];

    mock_reset();
    workers_start(w, 16, reader);
    g_assert_cmpuint(mock.calls, ==, 1);
    g_assert_cmpuint(mock.largest_batch, ==, 16);
    mock_complete(mock.last, 16);
    poll_until_finished();
    g_assert_cmpuint(mock.calls, ==, 1);

    /* The default batch is 32. */
    mock_reset();
    workers_start(w, 64, reader);
    g_assert_cmpuint(mock.calls, ==, 2);
    g_assert_cmpuint(mock.largest_batch, ==, LAIO_DEFAULT_MAX_BATCH);
    mock_complete(mock.last, 64);
    poll_until_finished();
    g_assert_cmpuint(mock.calls, ==, 2);
    g_assert_cmpuint(mock.getevents_calls, ==, 0);
    check_idle();
}

/* What is asked for by AioContext or device, within what the kernel takes. */
static void test_batch_limits(void)
{
    static Worker w[LAIO_MAX_EVENTS + 8];

    mock_reset();
    ctx->aio_max_batch = 8;
    workers_start(w, 16, reader);
    g_assert_cmpuint(mock.largest_batch, ==, 8);
    mock_complete(mock.last, 16);
    poll_until_finished();

    mock_reset();
    ctx->aio_max_batch = 10 * LAIO_MAX_EVENTS;
    workers_start(w, ARRAY_SIZE(w), reader);
    g_assert_cmpuint(mock.largest_batch, ==, LAIO_MAX_EVENTS);
    g_assert_cmpuint(mock.calls, ==, 1);
    mock_complete(mock.last, LAIO_MAX_EVENTS);
    while (mock.requests < ARRAY_SIZE(w)) {
        aio_poll(ctx, true);
    }
    mock_complete(mock.last, 8);
    poll_until_finished();
    ctx->aio_max_batch = 0;
    check_idle();
}

/* Outside of sections a request goes to the kernel at once. */
static void test_unplugged(void)
{
    Worker w[3];
    unsigned i;

    mock_reset();
    for (i = 0; i < 3; i++) {
        w[i] = reader;
        worker_start(&w[i]);
        g_assert_cmpuint(mock.calls, ==, i + 1);
    }
    mock_complete(mock.last, 3);
    poll_until_finished();
    check_idle();
}

/* More than the kernel is given at a time. */
static void test_many(void)
{
    unsigned n = 3 * LAIO_MAX_EVENTS, completed = 0;
    g_autofree Worker *w = g_new(Worker, n);

    mock_reset();
    workers_start(w, n, reader);
    g_assert_cmpuint(mock.requests, ==, LAIO_MAX_EVENTS);
    while (n_unfinished) {
        completed += mock_complete(mock.last, 100);
        aio_poll(ctx, true);
        check_own_wakeup();
    }
    g_assert_cmpuint(completed, ==, n);
    check_idle();
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    ctx = qemu_get_current_aio_context();
    if (!g_test_subprocess()) {
        aio_setup_linux_aio(ctx, &error_abort);
    }

    g_test_add_func("/linux-aio/sync", test_sync);
    g_test_add_func("/linux-aio/sync/not-signalled",
                    test_sync_not_signalled);
    g_test_add_func("/linux-aio/sync/one-by-one", test_sync_one_by_one);
    g_test_add_func("/linux-aio/sync/one-by-one-not-signalled",
                    test_sync_one_by_one_not_signalled);
    g_test_add_func("/linux-aio/sync/write-flush", test_sync_write_flush);
    g_test_add_func("/linux-aio/unknown-ring", test_unknown_ring);
    g_test_add_func("/linux-aio/small-ring/sync", test_small_ring_sync);
    g_test_add_func("/linux-aio/small-ring/async", test_small_ring_async);
    g_test_add_func("/linux-aio/refused/first", test_refused_first);
    g_test_add_func("/linux-aio/refused/middle", test_refused_middle);
    g_test_add_func("/linux-aio/refused/last", test_refused_last);
    g_test_add_func("/linux-aio/refused/all", test_refused_all);
    g_test_add_func("/linux-aio/refused/many", test_refused_many);
    g_test_add_func("/linux-aio/again/idle", test_again_idle);
    g_test_add_func("/linux-aio/again/took-none", test_took_none);
    g_test_add_func("/linux-aio/again/back-off", test_back_off);
    g_test_add_func("/linux-aio/again/interrupted", test_interrupted);
    g_test_add_func("/linux-aio/again/in-flight", test_again_in_flight);
    g_test_add_func("/linux-aio/short", test_short);
    g_test_add_func("/linux-aio/short/eof", test_eof);
    g_test_add_func("/linux-aio/short/direct", test_short_direct);
    g_test_add_func("/linux-aio/short/unalignable", test_short_unalignable);
    g_test_add_func("/linux-aio/short/append", test_short_append);
    g_test_add_func("/linux-aio/short/disk-full", test_disk_full);
    g_test_add_func("/linux-aio/nested", test_nested);
    g_test_add_func("/linux-aio/nested/not-signalled",
                    test_nested_not_signalled);
    g_test_add_func("/linux-aio/nested/in-section", test_nested_in_section);
    g_test_add_func("/linux-aio/nested/no-spinning", test_no_spinning);
    g_test_add_func("/linux-aio/fairness", test_fairness);
    g_test_add_func("/linux-aio/fairness/single", test_fairness_single);
    g_test_add_func("/linux-aio/batches", test_batches);
    g_test_add_func("/linux-aio/batches/limits", test_batch_limits);
    g_test_add_func("/linux-aio/unplugged", test_unplugged);
    g_test_add_func("/linux-aio/many", test_many);

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
