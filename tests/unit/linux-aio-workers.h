/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Coroutines that make requests on the mock kernel, and what must hold of the
 * engine meanwhile.  For the unit tests of the Linux AIO engine that run on
 * mock-aio-kernel.h; each test includes it once.
 */
#ifndef LINUX_AIO_WORKERS_H
#define LINUX_AIO_WORKERS_H

#include "block/linux-aio.h"
#include "mock-aio-kernel.h"

/* A descriptor that is not open: the mock kernel does not look at it. */
#define MOCK_FD 1000000

/* A test that makes no progress for that many seconds hangs. */
#define HANG_SECONDS 30

static AioContext *ctx;

/* --- the watchdog --- */

static unsigned long progress;  /* atomic; requests that were completed */

/*
 * A thread, since a signal does not do: qemu_init_main_loop() blocks SIGALRM,
 * and an event loop that hangs may do so in a system call.
 */
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

static void watchdog_start(void)
{
    QemuThread thread;

    qemu_thread_create(&thread, "watchdog", watchdog_run, NULL,
                       QEMU_THREAD_DETACHED);
}

/* For tests that poll by themselves. */
static void G_GNUC_UNUSED watchdog_reset(void)
{
    qatomic_set(&progress, qatomic_read(&progress) + 1);
}

/* --- running coroutines --- */

typedef struct Worker {
    unsigned requests;          /* to make, one after the other */
    size_t bytes;               /* of each */
    int type;
    int want;                   /* result that each must have */
    unsigned place, step;       /* if step: where they are, in @bytes */
    unsigned done;
    bool finished;
} Worker;

static unsigned n_unfinished;

static void G_GNUC_UNUSED poll_until_finished(void)
{
    while (n_unfinished) {
        aio_poll(ctx, true);
    }
}

static uint64_t G_GNUC_UNUSED worker_offset(unsigned i, size_t bytes)
{
    return (uint64_t)(i * 37 % (MOCK_DISK_SIZE / bytes)) * bytes;
}

static uint64_t worker_place(const Worker *w, unsigned i)
{
    return w->step ? (w->place + i * w->step) * w->bytes :
                     worker_offset(i, w->bytes);
}

static void coroutine_fn worker_entry(void *opaque)
{
    Worker *w = opaque;
    g_autofree uint8_t *buf = g_malloc(w->bytes);
    QEMUIOVector qiov;
    unsigned i;

    for (i = 0; i < w->requests; i++) {
        uint64_t offset = worker_place(w, i);
        int ret;

        qemu_iovec_init_buf(&qiov, buf, w->bytes);
        if (w->type == QEMU_AIO_READ) {
            memset(buf, 0x5a, w->bytes);
        } else {
            memcpy(buf, mock.disk + offset, w->bytes);
        }
        ret = laio_co_submit(MOCK_FD, offset, w->type == QEMU_AIO_FLUSH ? NULL :
                             &qiov, w->type, 0, 0);
        g_assert_cmpint(ret, ==, w->want);
        if (w->type == QEMU_AIO_READ && !ret) {
            g_assert(!memcmp(buf, mock.disk + offset, w->bytes));
        }
        w->done++;
        watchdog_reset();
    }
    g_assert(!w->finished);
    w->finished = true;
    n_unfinished--;
}

static void G_GNUC_UNUSED worker_start(Worker *w)
{
    n_unfinished++;
    qemu_coroutine_enter(qemu_coroutine_create(worker_entry, w));
}

/* Start @n workers in one section, so that their requests are one batch. */
static void G_GNUC_UNUSED workers_start(Worker *w, unsigned n, Worker what)
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
static void G_GNUC_UNUSED check_idle(void)
{
    LaioInfo info;

    laio_get_info(aio_get_linux_aio(ctx), &info);
    g_assert_cmpuint(info.pending, ==, 0);
    g_assert_cmpuint(info.in_flight, ==, 0);
    g_assert(!info.rejected && !info.blocked && !info.retry_armed);
    g_assert(info.ring_empty && !info.quiet);
}

/* L3: what is pending has something that will come back to it. */
static void G_GNUC_UNUSED check_own_wakeup(void)
{
    LaioInfo info;

    laio_get_info(aio_get_linux_aio(ctx), &info);
    if (info.pending) {
        g_assert(info.in_flight || info.bh_scheduled || info.yielded ||
                 info.retry_armed);
    }
    g_assert(!info.quiet || info.look_armed);
    if (info.rejected || (mock.no_signal && !info.ring_empty)) {
        g_assert(info.bh_scheduled || info.yielded);
    }
}

static const Worker reader = {
    .requests = 1, .bytes = 4096, .type = QEMU_AIO_READ,
};

/* L2: nothing is left of what other tests did: inline reaping works. */
static void G_GNUC_UNUSED check_inline(void)
{
    Worker w;

    mock_reset();
    mock.sync = mock.no_signal = true;
    workers_start(&w, 1, reader);
    g_assert(w.finished);
    check_idle();
}

/*
 * The main context has one engine, made once: a test of another ring, or of
 * what is said once, is run again in a process of its own, which has no engine
 * yet.  True in that process.
 */
static bool G_GNUC_UNUSED in_own_process(void)
{
    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, 0);
        g_test_trap_assert_passed();
        return false;
    }
    mock_reset();
    return true;
}

/* The main context, with an engine unless a test makes it. */
static void workers_init(int *argc, char ***argv)
{
    g_test_init(argc, argv, NULL);
    qemu_init_main_loop(&error_abort);
    ctx = qemu_get_current_aio_context();
    if (!g_test_subprocess()) {
        aio_setup_linux_aio(ctx, &error_abort);
    }
    watchdog_start();
}

/* Run the tests; for main() to return. */
static int workers_run(void)
{
    int ret = g_test_run();

    /* Bottom halves that were cancelled are still on the list. */
    aio_poll(ctx, false);
    return ret;
}

#endif
