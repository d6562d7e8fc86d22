/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of what all fd monitors have in common; AIO_FD_MONITOR says which
 * one it is.
 */
#include "qemu/osdep.h"
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include "util/aio-posix.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"

static AioContext *ctx;

typedef struct {
    int fd[2];
    int runs;
    bool consume;
    QemuEvent *done;
} Pair;

static void pair_cb(void *opaque)
{
    Pair *p = opaque;
    char c;

    p->runs++;
    if (p->consume) {
        g_assert_cmpint(read(p->fd[0], &c, 1), ==, 1);
    }
}

static void pair_open(Pair *p)
{
    *p = (Pair) { .consume = true };
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, p->fd), ==, 0);
    aio_set_fd_handler(ctx, p->fd[0], pair_cb, NULL, NULL, NULL, p);
}

static void pair_write(Pair *p)
{
    g_assert_cmpint(write(p->fd[1], "x", 1), ==, 1);
}

static void pair_close(Pair *p)
{
    aio_set_fd_handler(ctx, p->fd[0], NULL, NULL, NULL, NULL, NULL);
    close(p->fd[0]);
    close(p->fd[1]);
}

/* A turn that waits no longer than 10 ms. */
static void turn_ends(void *opaque)
{
}

static void turn(void)
{
    QEMUTimer timer;

    aio_timer_init(ctx, &timer, QEMU_CLOCK_REALTIME, SCALE_MS, turn_ends,
                   NULL);
    timer_mod(&timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) / SCALE_MS + 10);
    /* What was notified: a turn with that does not wait. */
    aio_poll(ctx, false);
    aio_poll(ctx, true);
    timer_del(&timer);
}

static void test_chosen(void)
{
    const char *monitor = getenv("AIO_FD_MONITOR");

    if (!g_strcmp0(monitor, "io_uring") &&
        strcmp(ctx->fdmon_ops->name, "io_uring")) {
        g_test_skip("the kernel has no io_uring for it (6.1)");
        return;
    }
    g_assert_cmpstr(ctx->fdmon_ops->name, ==, monitor ? monitor : "ppoll");
}

/* What is left unread is told again in each turn, and then no more. */
static void test_level(void)
{
    Pair p;
    int i;

    pair_open(&p);
    p.consume = false;
    pair_write(&p);
    for (i = 0; i < 20; i++) {
        turn();
    }
    g_assert_cmpint(p.runs, >=, 19);
    p.consume = true;
    turn();
    p.runs = 0;
    turn();
    g_assert_cmpint(p.runs, ==, 0);
    pair_close(&p);
}

/* Data that somebody else takes before the turn is not told. */
static void test_taken(void)
{
    Pair p;
    char c;
    int i;

    pair_open(&p);
    turn();
    for (i = 0; i < 20; i++) {
        pair_write(&p);
        turn();
        g_assert_cmpint(p.runs, ==, 1);
        pair_write(&p);
        p.consume = false;
        turn();
        g_assert_cmpint(p.runs, ==, 2);
        /* The handler has not read it. */
        g_assert_cmpint(read(p.fd[0], &c, 1), ==, 1);
        p.consume = true;
        turn();
        g_assert_cmpint(p.runs, ==, 2);
        p.runs = 0;
    }
    pair_close(&p);
}

/* A file whose handler is removed is closed by close(). */
static void test_close(void)
{
    Pair p;
    char c;

    pair_open(&p);
    turn();
    turn();
    aio_set_fd_handler(ctx, p.fd[0], NULL, NULL, NULL, NULL, NULL);
    close(p.fd[0]);
    g_assert_cmpint(recv(p.fd[1], &c, 1, MSG_DONTWAIT), ==, 0);
    close(p.fd[1]);
    turn();
    g_assert_cmpint(p.runs, ==, 0);
}

static void *remover(void *opaque)
{
    Pair *p = opaque;

    aio_set_fd_handler(ctx, p->fd[0], NULL, NULL, NULL, NULL, NULL);
    qemu_event_set(p->done);
    return NULL;
}

/* The same by another thread: then, when the home thread has woken up. */
static void test_close_by_other(void)
{
    QemuEvent done;
    QemuThread thread;
    Pair p;
    char c;
    int i;

    qemu_event_init(&done, false);
    for (i = 0; i < 50; i++) {
        pair_open(&p);
        p.done = &done;
        qemu_event_reset(&done);
        if (i % 2) {
            turn();
        }
        qemu_thread_create(&thread, "remover", remover, &p,
                           QEMU_THREAD_JOINABLE);
        qemu_event_wait(&done);
        qemu_thread_join(&thread);
        close(p.fd[0]);
        turn();
        g_assert_cmpint(recv(p.fd[1], &c, 1, MSG_DONTWAIT), ==, 0);
        close(p.fd[1]);
        g_assert_cmpint(p.runs, ==, 0);
    }
    qemu_event_destroy(&done);
}

static void *adder(void *opaque)
{
    Pair *p = opaque;

    aio_set_fd_handler(ctx, p->fd[0], pair_cb, NULL, NULL, NULL, p);
    pair_write(p);
    return NULL;
}

/* A handler that another thread adds while the home thread waits. */
static void test_add_by_other(void)
{
    QemuThread thread;
    Pair p;
    int i;

    for (i = 0; i < 50; i++) {
        p = (Pair) { .consume = true };
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, p.fd), ==, 0);
        qemu_thread_create(&thread, "adder", adder, &p, QEMU_THREAD_JOINABLE);
        while (!p.runs) {
            aio_poll(ctx, true);
        }
        qemu_thread_join(&thread);
        g_assert_cmpint(p.runs, ==, 1);
        pair_close(&p);
    }
}

/* More descriptors than there are entries in a ring, all ready at once. */
static void test_many(void)
{
    struct rlimit limit;
    Pair *pairs;
    int n = 700, round, i;

    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    limit.rlim_cur = MIN(limit.rlim_max, 4096);
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < 2 * n + 100) {
        g_test_skip("RLIMIT_NOFILE allows too few descriptors");
        return;
    }
    pairs = g_new0(Pair, n);
    for (i = 0; i < n; i++) {
        pair_open(&pairs[i]);
    }
    for (round = 1; round <= 4; round++) {
        for (i = 0; i < n; i++) {
            pair_write(&pairs[i]);
        }
        for (i = 0; i < n; i++) {
            while (pairs[i].runs < round) {
                aio_poll(ctx, true);
            }
        }
    }
    turn();
    for (i = 0; i < n; i++) {
        g_assert_cmpint(pairs[i].runs, ==, 4);
        pair_close(&pairs[i]);
    }
    g_free(pairs);
    turn();
}

/* Calls of epoll_ctl() that add a descriptor fail with this, if it is not 0. */
static int epoll_refusal;

/* The linker puts this in the place of epoll_ctl(), see meson.build. */
int __real_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event);

int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    int err = qatomic_read(&epoll_refusal);

    if (err && op == EPOLL_CTL_ADD) {
        errno = err;
        return -1;
    }
    return __real_epoll_ctl(epfd, op, fd, event);
}

static void *refused_adder(void *opaque)
{
    Pair *p = opaque;

    qatomic_set(&epoll_refusal, ENOMEM);
    aio_set_fd_handler(ctx, p->fd[0], pair_cb, NULL, NULL, NULL, p);
    pair_write(p);
    return NULL;
}

/*
 * epoll refuses a descriptor that the home thread adds, or another thread while
 * the home thread waits: neither it nor the others are lost, nor told twice.
 */
static void do_test_refused(bool by_other)
{
    enum { N = EPOLL_ENABLE_THRESHOLD };
    Pair pairs[N + 2];
    QemuThread thread;
    int i;

    ctx->epoll_failed = false;
    for (i = 0; i < N; i++) {
        pair_open(&pairs[i]);
    }
    turn();
    if (ctx->epollfd < 0) {
        g_test_skip("the monitor is not epoll");
        goto out;
    }
    if (by_other) {
        pairs[i] = (Pair) { .consume = true };
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i].fd), ==,
                        0);
        qemu_thread_create(&thread, "adder", refused_adder, &pairs[i],
                           QEMU_THREAD_JOINABLE);
        while (!pairs[i].runs) {
            aio_poll(ctx, true);
        }
        qemu_thread_join(&thread);
        pairs[i].runs = 0;
    } else {
        epoll_refusal = ENOSPC;
        pair_open(&pairs[i]);
    }
    i++;
    pair_open(&pairs[i++]);
    epoll_refusal = 0;
    while (i--) {
        pair_write(&pairs[i]);
    }
    for (i = 0; i < N + 2; i++) {
        while (!pairs[i].runs) {
            aio_poll(ctx, true);
        }
    }
    turn();
    g_assert_cmpstr(ctx->fdmon_ops->name, ==, "ppoll");
    g_assert_cmpint(ctx->epollfd, ==, -1);
    for (i = 0; i < N + 2; i++) {
        g_assert_cmpint(pairs[i].runs, ==, 1);
    }
out:
    while (i--) {
        pair_close(&pairs[i]);
    }
    turn();
}

static void test_refused(void)
{
    do_test_refused(false);
}

static void test_refused_by_other(void)
{
    do_test_refused(true);
}

static void fired_cb(void *opaque)
{
    *(bool *)opaque = true;
}

/* A wait ends at its time: never before; nor later, if the machine lets it. */
static void test_timeout(void)
{
    QEMUTimer timer;
    int64_t start, ns, best = INT64_MAX;
    bool fired;
    int i;

    aio_timer_init(ctx, &timer, QEMU_CLOCK_REALTIME, SCALE_NS, fired_cb,
                   &fired);
    for (i = 0; i < 20; i++) {
        fired = false;
        start = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
        timer_mod(&timer, start + 3 * SCALE_MS);
        while (!fired) {
            aio_poll(ctx, true);
        }
        ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - start;
        g_assert_cmpint(ns, >=, 3 * SCALE_MS);
        best = MIN(best, ns);
    }
    g_assert_cmpint(best, <, NANOSECONDS_PER_SECOND / 4);
}

/* A handler goes away, and another comes for the same number, in one turn. */
static void test_replace(void)
{
    Pair a, b;
    int i;

    for (i = 0; i < 20; i++) {
        pair_open(&a);
        turn();
        aio_set_fd_handler(ctx, a.fd[0], NULL, NULL, NULL, NULL, NULL);
        b = a;
        aio_set_fd_handler(ctx, a.fd[0], pair_cb, NULL, NULL, NULL, &b);
        pair_write(&b);
        while (!b.runs) {
            turn();
        }
        g_assert_cmpint(a.runs, ==, 0);
        g_assert_cmpint(b.runs, ==, 1);
        pair_close(&b);
    }
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    ctx = qemu_get_aio_context();
    aio_poll(ctx, false);
    g_test_add_func("/fdmon/chosen", test_chosen);
    g_test_add_func("/fdmon/level", test_level);
    g_test_add_func("/fdmon/taken", test_taken);
    g_test_add_func("/fdmon/close", test_close);
    g_test_add_func("/fdmon/close-by-other", test_close_by_other);
    g_test_add_func("/fdmon/add-by-other", test_add_by_other);
    g_test_add_func("/fdmon/timeout", test_timeout);
    g_test_add_func("/fdmon/replace", test_replace);
    g_test_add_func("/fdmon/many", test_many);
    g_test_add_func("/fdmon/refused", test_refused);
    g_test_add_func("/fdmon/refused-by-other", test_refused_by_other);
    ret = g_test_run();
    qemu_cleanup_main_loop();
    return ret;
}
