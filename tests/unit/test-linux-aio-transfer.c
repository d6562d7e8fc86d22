/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux AIO engine: what a request comes to, and how many calls it takes.
 *
 * The kernel is mock-aio-kernel.h.  Each test says which law of the engine it
 * checks:
 *
 *   L2 exactly once        L7 short transfer      L9 batches as before
 *   L3 own wake-up, without a signal
 *
 * test-linux-aio-recursion.c has the others.
 */
#include "qemu/osdep.h"
#include "block/aio-parts.h"
#include "block/block.h"
#include "block/raw-aio.h"
#include "qapi/error.h"
#include "qemu/coroutine.h"
#include "qemu/defer-call.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"

#ifdef CONFIG_LINUX_AIO

#include <fcntl.h>

#include "linux-aio-workers.h"

#define MAX_PARTS 128

/* A ring that user space cannot read is refused when the engine is made. */
static void test_unknown_ring(void)
{
    Error *err = NULL;

    mock_reset();
    mock.bad_magic = true;
    g_assert_null(laio_init(&err));
    g_assert_nonnull(err);
    error_free(err);
}

/* While io_submit(2) runs, two of those before complete. */
static int complete_two(void)
{
    mock_complete(mock.last, 2);
    return 0;
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
    mock.call_error = sync ? NULL : complete_two;
    aio_setup_linux_aio(ctx, &error_abort);

    what.requests = 300;
    workers_start(w, 16, what);
    while (n_unfinished) {
        check_own_wakeup();
        if (!sync) {
            mock_complete(mock.last, 3);
        }
        aio_poll(ctx, true);
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
    int fd;                     /* 0: none that is open */
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
    r->ret = laio_co_submit(r->fd ? r->fd : MOCK_FD, r->offset, &qiov, r->type,
                            0, 0);
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

/*
 * The same on a kernel that refuses an unaligned tail also at the end of the
 * file: the size of the file tells that it is the end, or that it is not.
 */
static void test_eof_align_first(void)
{
    uint8_t buf[16384];
    char name[] = "/tmp/laio-eof.XXXXXX";
    OneRequest r = {
        .offset = 8192, .bytes = sizeof(buf), .type = QEMU_AIO_READ,
        .buf = buf, .fd = g_mkstemp(name),
    };
    size_t i;

    g_assert_cmpint(r.fd, >=, 0);
    unlink(name);
    g_assert_cmpint(ftruncate(r.fd, 8192 + 5000), ==, 0);
    mock_reset();
    mock.sync = mock.no_signal = mock.align_first = true;
    mock.file_size = 8192 + 5000;
    mock.direct_align = 512;
    memset(buf, 0x5a, sizeof(buf));
    do_one(&r);
    g_assert_cmpint(r.ret, ==, 0);
    g_assert(!memcmp(buf, mock.disk + 8192, 5000));
    for (i = 5000; i < sizeof(buf); i++) {
        g_assert_cmpuint(buf[i], ==, 0);
    }

    g_assert_cmpint(ftruncate(r.fd, 8192 + 5001), ==, 0);
    do_one(&r);
    g_assert_cmpint(r.ret, ==, -EINVAL);
    close(r.fd);
    r.fd = open("/dev/null", O_RDONLY);         /* it has no size */
    do_one(&r);
    g_assert_cmpint(r.ret, ==, -EINVAL);
    close(r.fd);
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
    mock.transfer_max = 2560;
    mock.direct_align = 512;
    do_one(&r);
    g_assert_cmpint(r.ret, ==, 0);
    g_assert(!memcmp(buf, mock.disk + 4096, sizeof(buf)));
    g_assert_cmpuint(mock.requests, ==, 7);
}

/* A tail that the kernel refuses is an error, and not the end of the file. */
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
    mock.transfer_max = 4096;
    do_one(&r);
    g_assert_cmpint(r.ret, ==, -EINVAL);
    g_assert_cmpuint(mock.requests, ==, 2);
    check_idle();
}

static unsigned interruptions;

static int interrupt(struct iocb *iocb)
{
    if (!interruptions) {
        return 0;
    }
    interruptions--;
    return -EINTR;
}

/* L2: a request that was interrupted goes again; not for ever. */
static void do_test_interrupted(int type, unsigned times, int want, bool sync)
{
    Worker what = reader, w[2];

    mock_reset();
    mock.sync = sync;
    mock.fail = interrupt;
    interruptions = times;
    what.type = type;
    what.want = want;
    workers_start(w, 1, what);
    while (n_unfinished) {
        if (!sync) {
            g_assert_cmpuint(mock_complete(mock.last, 1), ==, 1);
        }
        aio_poll(ctx, true);
    }
    g_assert_cmpuint(mock.requests, ==, MIN(times, LAIO_EINTR_MAX) + 1);
    check_idle();
}

static void test_interrupted(void)
{
    do_test_interrupted(QEMU_AIO_READ, 1, 0, true);
    do_test_interrupted(QEMU_AIO_READ, 3, 0, false);
    do_test_interrupted(QEMU_AIO_WRITE, LAIO_EINTR_MAX, 0, true);
    do_test_interrupted(QEMU_AIO_FLUSH, 2, 0, false);
    do_test_interrupted(QEMU_AIO_READ, UINT_MAX, -EINTR, true);
    do_test_interrupted(QEMU_AIO_FLUSH, UINT_MAX, -EINTR, false);
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
    check_idle();
}

/*
 * What the coroutines of one pass queue goes to a disk in parts of @part: it
 * has the first while the last is prepared.  @n of @type, in order or not.
 */
static void check_parts(unsigned n, int type, bool in_order, unsigned part)
{
    static Worker w[MAX_PARTS];
    unsigned i;

    mock_reset();
    defer_call_begin();
    for (i = 0; i < n; i++) {
        w[i] = reader;
        w[i].type = type;
        w[i].requests = 2;
        w[i].place = i;
        w[i].step = in_order ? n : 0;
        worker_start(&w[i]);
    }
    defer_call_end();
    mock.calls = mock.largest_batch = 0;
    mock_complete(mock.last, n);
    while (mock.requests < 2 * n) {
        aio_poll(ctx, true);
    }
    g_assert_cmpuint(mock.calls, ==, n / part);
    g_assert_cmpuint(mock.largest_batch, ==, part);
    mock_complete(mock.last, n);
    poll_until_finished();
    check_idle();
}

static void test_parts(void)
{
    Worker what = reader, w[MAX_PARTS];
    unsigned n = ARRAY_SIZE(w);

    check_parts(8, QEMU_AIO_READ, false, 2);
    check_parts(64, QEMU_AIO_READ, false, 2);
    check_parts(MAX_PARTS, QEMU_AIO_READ, false, MAX_PARTS / AIO_PASS_CALLS);
    check_parts(16, QEMU_AIO_FLUSH, false, 2);
    /* The kernel makes one of those that follow each other. */
    check_parts(4, QEMU_AIO_READ, true, 4);
    check_parts(8, QEMU_AIO_READ, true, 4);
    check_parts(32, QEMU_AIO_READ, true, 16);

    /* Not where the disk has the greater part of them. */
    what.requests = 2;
    mock_reset();
    workers_start(w, n, what);
    mock.calls = 0;
    mock_complete(mock.last, 3);
    while (mock.requests < n + 3) {
        aio_poll(ctx, true);
    }
    g_assert_cmpuint(mock.calls, ==, 1);
    while (n_unfinished) {
        mock_complete(mock.last, n);
        aio_poll(ctx, true);
    }
    check_idle();
}

/* It is the disk that completes them, though a call is not over yet. */
static void test_parts_meanwhile(void)
{
    Worker what = reader, w[64];

    what.requests = 8;
    mock_reset();
    workers_start(w, ARRAY_SIZE(w), what);
    mock.largest_batch = 0;
    mock.call_error = complete_two;
    mock_complete(mock.last, 16);
    while (n_unfinished) {
        aio_poll(ctx, true);
        mock_complete(mock.last, 1);
    }
    g_assert_cmpuint(mock.largest_batch, ==, 2);
    check_idle();
}

/* A kernel that completes them within the call is given whole batches. */
static void test_no_parts(void)
{
    Worker what = reader, w[2 * LAIO_DEFAULT_MAX_BATCH];

    /* The first are completed later, so that a dispatch wakes coroutines. */
    what.requests = 16;
    mock_reset();
    workers_start(w, ARRAY_SIZE(w), what);
    mock_complete(mock.last, ARRAY_SIZE(w));
    mock.sync = mock.no_signal = true;
    /* A dispatch that is out of time would end a batch, too. */
    mock_freeze();
    poll_until_finished();
    g_assert_cmpuint(mock.requests, ==, ARRAY_SIZE(w) * what.requests);
    g_assert_cmpuint(mock.calls, <=,
                     mock.requests / LAIO_DEFAULT_MAX_BATCH + 2);
    check_idle();
}

static int refuse_all_calls(void)
{
    return -EAGAIN;
}

/* The limit of AioContext or device, within the limit of the kernel. */
static void test_batch_limits(void)
{
    static Worker w[LAIO_MAX_EVENTS + 8];

    mock_reset();
    ctx->aio_max_batch = 8;
    workers_start(w, 16, reader);
    g_assert_cmpuint(mock.largest_batch, ==, 8);
    mock_complete(mock.last, 16);
    poll_until_finished();

    /* Also of those that had to wait. */
    mock_reset();
    mock.call_error = refuse_all_calls;
    workers_start(w, 64, reader);
    mock.call_error = NULL;
    mock.largest_batch = 0;
    while (mock.requests < 64) {
        aio_poll(ctx, true);
    }
    g_assert_cmpuint(mock.largest_batch, ==, 8);
    mock_complete(mock.last, 64);
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

/* --- requests without a signal --- */

/* @rounds calls of a whole batch, which are complete when they return. */
static void sync_rounds(unsigned rounds)
{
    Worker what = reader, w[LAIO_DEFAULT_MAX_BATCH];
    unsigned calls = mock.calls;

    mock.sync = true;
    /* A dispatch that is out of time would end a batch. */
    mock_freeze();
    what.requests = rounds;
    workers_start(w, ARRAY_SIZE(w), what);
    poll_until_finished();
    mock.frozen = false;
    mock.sync = false;
    g_assert_cmpuint(mock.calls, ==, calls + rounds);
}

/* How many signals there are in so many rounds. */
static unsigned signals_of_rounds(unsigned rounds)
{
    unsigned signals = mock.signals;

    sync_rounds(rounds);
    return mock.signals - signals;
}

/* A new engine, in a process of its own, has seen synchronous calls only. */
static bool start_quiet(void)
{
    if (!in_own_process()) {
        return false;
    }
    aio_setup_linux_aio(ctx, &error_abort);
    sync_rounds(LAIO_QUIET_CALLS);
    mock.ahead_ns += NANOSECONDS_PER_SECOND;
    /* No signal of before is left. */
    while (aio_poll(ctx, false)) {
        g_assert_cmpuint(n_unfinished, ==, 0);
    }
    return true;
}

/* Wait for the end of all but @left, without completing any more. */
static void poll_until_left(unsigned left)
{
    while (n_unfinished > left) {
        check_own_wakeup();
        aio_poll(ctx, true);
    }
    g_assert_cmpuint(n_unfinished, ==, left);
}

/* L9: one signal for each call is enough where all complete within it. */
static void test_quiet(void)
{
    if (!start_quiet()) {
        return;
    }
    g_assert_cmpuint(mock.signals, ==,
                     LAIO_QUIET_CALLS * LAIO_DEFAULT_MAX_BATCH);
    g_assert_cmpuint(signals_of_rounds(10), ==, 10);
    check_idle();
}

/* L3: the kernel keeps requests of which it will not tell, for a while. */
static void test_quiet_kept(void)
{
    Worker w[8];
    unsigned signals;

    if (!start_quiet()) {
        return;
    }
    signals = mock.signals;
    workers_start(w, 8, reader);
    poll_until_left(8);
    mock_complete(mock.last, 4);
    g_assert_cmpuint(mock.signals, ==, signals);
    poll_until_left(4);
    mock_complete(mock.last, 3);
    g_assert_cmpuint(mock.signals, ==, signals);
    poll_until_left(1);
    mock_complete(mock.last, 1);
    g_assert_cmpuint(mock.signals, ==, signals + 1);
    poll_until_left(0);
    check_idle();

    /* And it will tell of others, until it has been as before for longer. */
    signals = mock.signals;
    workers_start(w, 8, reader);
    mock_complete(mock.last, 8);
    g_assert_cmpuint(mock.signals, ==, signals + 8);
    poll_until_left(0);
    mock_freeze();
    g_assert_cmpuint(signals_of_rounds(4 * LAIO_QUIET_CALLS), ==,
                     4 * LAIO_QUIET_CALLS * LAIO_DEFAULT_MAX_BATCH);
    g_assert_cmpuint(signals_of_rounds(10), ==, 10);
    check_idle();
}

/* L3: the kernel takes the first of a batch, which is not the last of it. */
static void test_quiet_partial(void)
{
    Worker w[3];
    unsigned signals;

    if (!start_quiet()) {
        return;
    }
    signals = mock.signals;
    mock.accept_max = 1;
    workers_start(w, 3, reader);
    mock_complete(mock.last, 1);
    g_assert_cmpuint(mock.signals, ==, signals);
    poll_until_left(2);
    mock_complete(mock.last, 2);
    g_assert_cmpuint(mock.signals, ==, signals + 2);
    poll_until_left(0);
    check_idle();
}

/* L3: a flush takes its time on a kernel that does all else at once. */
static void test_quiet_flush(void)
{
    Worker what = reader, w[2];
    unsigned signals;

    if (!start_quiet()) {
        return;
    }
    signals = mock.signals;
    what.type = QEMU_AIO_FLUSH;
    defer_call_begin();
    w[0] = what;
    worker_start(&w[0]);
    w[1] = reader;
    worker_start(&w[1]);
    defer_call_end();
    mock_complete(mock.last, 1);
    g_assert_cmpuint(mock.signals, ==, signals + 1);
    poll_until_left(1);
    mock_complete(mock.last, 1);
    poll_until_left(0);
    check_idle();
}

int main(int argc, char **argv)
{
    workers_init(&argc, &argv);

    g_test_add_func("/linux-aio/unknown-ring", test_unknown_ring);
    g_test_add_func("/linux-aio/small-ring/sync", test_small_ring_sync);
    g_test_add_func("/linux-aio/small-ring/async", test_small_ring_async);
    g_test_add_func("/linux-aio/short", test_short);
    g_test_add_func("/linux-aio/short/eof", test_eof);
    g_test_add_func("/linux-aio/short/eof/align-first",
                    test_eof_align_first);
    g_test_add_func("/linux-aio/short/direct", test_short_direct);
    g_test_add_func("/linux-aio/interrupted", test_interrupted);
    g_test_add_func("/linux-aio/short/unalignable", test_short_unalignable);
    g_test_add_func("/linux-aio/short/append", test_short_append);
    g_test_add_func("/linux-aio/short/disk-full", test_disk_full);
    g_test_add_func("/linux-aio/batches", test_batches);
    g_test_add_func("/linux-aio/batches/parts", test_parts);
    g_test_add_func("/linux-aio/batches/parts-meanwhile",
                    test_parts_meanwhile);
    g_test_add_func("/linux-aio/batches/no-parts", test_no_parts);
    g_test_add_func("/linux-aio/batches/limits", test_batch_limits);
    g_test_add_func("/linux-aio/unplugged", test_unplugged);
    g_test_add_func("/linux-aio/many", test_many);
    g_test_add_func("/linux-aio/quiet/calls", test_quiet);
    g_test_add_func("/linux-aio/quiet/kept", test_quiet_kept);
    g_test_add_func("/linux-aio/quiet/partial", test_quiet_partial);
    g_test_add_func("/linux-aio/quiet/flush", test_quiet_flush);

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
