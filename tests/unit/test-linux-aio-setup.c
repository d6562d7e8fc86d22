/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux AIO engine: setting up and tearing down, and what a kernel can do.
 *
 * The system calls are real, but each can be told to fail.
 */
#include "qemu/osdep.h"
#include "qemu/aio.h"
#include "block/block.h"
#include "block/linux-aio.h"
#include "block/raw-aio.h"
#include "qapi/error.h"
#include "qemu/coroutine.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"

#include <libaio.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

/* The head of the kernel's ring. */
typedef struct RingHead {
    unsigned id, nr, head, tail, magic, compat, incompat, header_length;
} RingHead;

/* What the next calls do; 0: as the kernel does. */
static struct {
    int eventfd;                /* -errno */
    int setup, submit, destroy; /* -errno */
    unsigned again;             /* -EAGAIN of io_submit(), so many times */
    int getevents[3];           /* -errno, one call after the other */
    long res;                   /* of each event */
    size_t ring_field;          /* offset in RingHead, to be changed */
    unsigned getevents_calls;
} fake;

int eventfd(unsigned int count, int flags)
{
    if (fake.eventfd) {
        errno = -fake.eventfd;
        return -1;
    }
    return syscall(SYS_eventfd2, count, flags);
}

static long result(long ret)
{
    return ret < 0 ? -errno : ret;
}

int io_setup(int maxevents, io_context_t *ctxp)
{
    int ret = fake.setup;

    if (!ret) {
        ret = result(syscall(SYS_io_setup, maxevents, ctxp));
    }
    if (!ret && fake.ring_field) {
        *(unsigned *)((char *)*ctxp + fake.ring_field) += 1;
    }
    return ret;
}

int io_submit(io_context_t ctx, long nr, struct iocb *iocbs[])
{
    if (fake.again) {
        fake.again--;
        return -EAGAIN;
    }
    return fake.submit ? fake.submit
                       : result(syscall(SYS_io_submit, ctx, nr, iocbs));
}

int io_getevents(io_context_t ctx, long min_nr, long nr,
                 struct io_event *events, struct timespec *timeout)
{
    unsigned call = MIN(fake.getevents_calls, ARRAY_SIZE(fake.getevents) - 1);
    long n, i;

    fake.getevents_calls++;
    if (fake.getevents[call]) {
        return fake.getevents[call];
    }
    n = result(syscall(SYS_io_getevents, ctx, min_nr, nr, events, timeout));
    for (i = 0; i < n && fake.res; i++) {
        events[i].res = fake.res;
    }
    return n;
}

int io_destroy(io_context_t ctx)
{
    int ret = result(syscall(SYS_io_destroy, ctx));

    return fake.destroy ? fake.destroy : ret;
}

static void fake_reset(void)
{
    memset(&fake, 0, sizeof(fake));
}

/* Returns an unnamed file of 4 KiB, and a pattern. */
static int new_file(void)
{
    char name[] = "/tmp/test-linux-aio-setup-XXXXXX", buf[4096];
    int fd = mkstemp(name);

    g_assert_cmpint(fd, >=, 0);
    unlink(name);
    memset(buf, 0x2b, sizeof(buf));
    g_assert_cmpint(write(fd, buf, sizeof(buf)), ==, sizeof(buf));
    return fd;
}

/* --- laio_init(), laio_cleanup() --- */

static void check_refused(const char *message, int error)
{
    g_autofree char *want = g_strdup_printf("%s: %s", message,
                                            strerror(error));
    Error *err = NULL;

    g_assert(!laio_init(&err));
    g_assert_cmpstr(error_get_pretty(err), ==, want);
    error_free(err);
    g_assert(!laio_init(NULL));
    fake_reset();
}

static void test_init_fails(void)
{
    fake.eventfd = -EMFILE;
    check_refused("failed to initialize event notifier", EMFILE);
    /* Then a notifier is a pipe, which the kernel cannot signal. */
    fake.eventfd = -ENOSYS;
    check_refused("failed to initialize event notifier", ENOSYS);
    fake.setup = -EAGAIN;
    check_refused("failed to create linux AIO context", EAGAIN);
    fake.setup = -ENOSYS;
    check_refused("failed to create linux AIO context", ENOSYS);
}

/* It says so, and nothing of the engine is left. */
static void test_destroy_fails(void)
{
    if (g_test_subprocess()) {
        fake.destroy = -EINVAL;
        laio_cleanup(laio_init(&error_abort));
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr("*io_destroy failed*");
}

/* --- rings that only the kernel may read --- */

typedef struct Read {
    int fd;
    int ret;
    uint8_t buf[4096];
} Read;

static void coroutine_fn read_entry(void *opaque)
{
    Read *r = opaque;
    QEMUIOVector qiov;

    qemu_iovec_init_buf(&qiov, r->buf, sizeof(r->buf));
    r->ret = laio_co_submit(r->fd, 0, &qiov, QEMU_AIO_READ, 0, 0);
}

/* A request with an engine of its own. */
static void read_with_new_engine(void)
{
    AioContext *ctx = aio_context_new(&error_abort);
    AioContext *old = qemu_get_current_aio_context();
    Read r = { .fd = new_file(), .ret = -EINPROGRESS };

    qemu_set_current_aio_context(ctx);
    aio_setup_linux_aio(ctx, &error_abort);
    qemu_coroutine_enter(qemu_coroutine_create(read_entry, &r));
    while (r.ret == -EINPROGRESS) {
        aio_poll(ctx, true);
    }
    g_assert_cmpint(r.ret, ==, 0);
    g_assert_cmphex(r.buf[0], ==, 0x2b);
    g_assert_cmphex(r.buf[4095], ==, 0x2b);
    qemu_set_current_aio_context(old);
    aio_context_unref(ctx);
    close(r.fd);
}

/* How often io_getevents() was called for a request. */
static unsigned read_with_ring_field(size_t field)
{
    fake_reset();
    fake.ring_field = field;
    read_with_new_engine();
    return fake.getevents_calls;
}

static void test_unknown_ring(void)
{
    g_assert_cmpuint(read_with_ring_field(0), ==, 0);
    g_assert_cmpuint(read_with_ring_field(offsetof(RingHead, magic)), >, 0);
    g_assert_cmpuint(read_with_ring_field(offsetof(RingHead, compat)), >, 0);
    g_assert_cmpuint(read_with_ring_field(offsetof(RingHead, incompat)), >,
                     0);
    g_assert_cmpuint(read_with_ring_field(offsetof(RingHead, header_length)),
                     >, 0);
    fake_reset();
}

/* --- observers --- */

static GString *seen;

static void see_submit(LinuxAioState *s, int nr, int ret, unsigned depth)
{
    g_string_append_printf(seen, "submit %d %d %u; ", nr, ret, depth);
}

static void see_request(LinuxAioState *s, const void *req, int type,
                        LaioState state, ssize_t ret)
{
    g_assert_cmpint(type, ==, QEMU_AIO_READ);
    g_string_append_printf(seen, "request %d; ", state);
}

static void see_reap(LinuxAioState *s, unsigned events)
{
    g_string_append_printf(seen, "reap %u; ", events);
}

static void see_retry(LinuxAioState *s, int64_t delay_ns)
{
    g_string_append_printf(seen, "retry %" PRId64 "; ", delay_ns);
}

/* Each step is told to those who want to know it. */
static void test_observers(void)
{
    static const LaioObserver all = {
        .submit = see_submit, .request = see_request, .reap = see_reap,
        .retry = see_retry,
    };
    static const LaioObserver nothing;

    seen = g_string_new(NULL);
    fake.again = 1;
    laio_observer = &all;
    read_with_new_engine();
    g_assert_cmpstr(seen->str, ==,
                    "request 0; submit 1 -11 1; retry 100000; "
                    "submit 1 1 1; request 1; request 3; reap 1; ");
    g_string_truncate(seen, 0);

    fake.again = 1;
    laio_observer = &nothing;
    read_with_new_engine();
    fake.again = 1;
    laio_observer = NULL;
    read_with_new_engine();
    g_assert_cmpstr(seen->str, ==, "");
    g_string_free(seen, true);
    fake_reset();
}

/* --- what the kernel can do --- */

static void test_has_fdsync(void)
{
    int fd = new_file();

    /* Since Linux 4.18, for each file that fsync(2) takes. */
    g_assert(laio_has_fdsync(fd));

    fake.setup = -EAGAIN;
    g_assert(!laio_has_fdsync(fd));
    fake_reset();
    fake.submit = -EINVAL;
    g_assert(!laio_has_fdsync(fd));
    g_assert_cmpuint(fake.getevents_calls, ==, 0);
    fake_reset();

    fake.getevents[0] = fake.getevents[1] = -EINTR;
    g_assert(laio_has_fdsync(fd));
    g_assert_cmpuint(fake.getevents_calls, ==, 3);
    fake_reset();
    fake.getevents[0] = -EINVAL;
    g_assert(!laio_has_fdsync(fd));
    fake_reset();

    /* The kernel's own answer comes as an event, too. */
    fake.res = -EINVAL;
    g_assert(!laio_has_fdsync(fd));
    fake.res = -EIO;
    g_assert(laio_has_fdsync(fd));
    fake_reset();
    close(fd);
}

static void test_has_fua(void)
{
#ifdef HAVE_IO_PREP_PWRITEV2
    g_assert(laio_has_fua());
#else
    g_assert(!laio_has_fua());
#endif
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    g_test_add_func("/linux-aio/init-fails", test_init_fails);
    g_test_add_func("/linux-aio/destroy-fails", test_destroy_fails);
    g_test_add_func("/linux-aio/unknown-ring-head", test_unknown_ring);
    g_test_add_func("/linux-aio/observers", test_observers);
    g_test_add_func("/linux-aio/has-fdsync", test_has_fdsync);
    g_test_add_func("/linux-aio/has-fua", test_has_fua);
    ret = g_test_run();
    qemu_cleanup_main_loop();
    return ret;
}
