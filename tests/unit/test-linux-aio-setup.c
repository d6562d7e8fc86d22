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
#include "trace/trace-block.h"

#include <dlfcn.h>
#include <libaio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
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
    int getevents;              /* -errno */
    long res;                   /* of each event */
    bool ring;                  /* change the field at ring_field */
    size_t ring_field;          /* offset in RingHead */
    int fsync_fd;               /* descriptor of the last fdsync */
    const char *proc;           /* a file of /proc is this one */
    bool no_memfd;
} fake;

LaioHooks laio_hooks;

int eventfd(unsigned int count, int flags)
{
    if (fake.eventfd) {
        errno = -fake.eventfd;
        return -1;
    }
    return syscall(SYS_eventfd2, count, flags);
}

/* The names of a build with 64-bit offsets. */
FILE *fopen64(const char *path, const char *mode)
{
    static FILE *(*real)(const char *, const char *);

    if (!real) {
        real = (FILE *(*)(const char *, const char *))dlsym(RTLD_NEXT,
                                                            "fopen64");
    }
    return real(fake.proc && g_str_has_prefix(path, "/proc/") ? fake.proc
                                                              : path, mode);
}

int memfd_create(const char *name, unsigned flags)
{
    if (fake.no_memfd) {
        errno = EPERM;
        return -1;
    }
    return syscall(SYS_memfd_create, name, flags);
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
    if (!ret && fake.ring) {
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
    if (iocbs[0]->aio_lio_opcode == IO_CMD_FDSYNC) {
        fake.fsync_fd = iocbs[0]->aio_fildes;
    }
    return fake.submit ? fake.submit
                       : result(syscall(SYS_io_submit, ctx, nr, iocbs));
}

int io_getevents(io_context_t ctx, long min_nr, long nr,
                 struct io_event *events, struct timespec *timeout)
{
    long n, i;

    if (fake.getevents) {
        return fake.getevents;
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
    if (!g_pattern_match_simple(want, error_get_pretty(err))) {
        g_test_message("wanted '%s', got '%s'", want, error_get_pretty(err));
        g_test_fail();
    }
    error_free(err);
    g_assert(!laio_init(NULL));
    fake_reset();
}

static void test_init_fails(void)
{
    fake.eventfd = -EMFILE;
    check_refused("failed to initialize event notifier", EMFILE);
    fake.eventfd = -ENOSYS;
    check_refused("failed to initialize event notifier", ENOSYS);
    fake.setup = -ENOSYS;
    check_refused("failed to create linux AIO context", ENOSYS);
    /* With the kernel's numbers, and where they are set. */
    fake.setup = -EAGAIN;
    check_refused("failed to create linux AIO context for 1024 events: "
                  "fs.aio-nr is *, fs.aio-max-nr *, to be raised with sysctl",
                  EAGAIN);
    /* 0 where /proc does not say. */
    fake.setup = -EAGAIN;
    fake.proc = "/dev/null";
    check_refused("*fs.aio-nr is 0, fs.aio-max-nr 0, *", EAGAIN);
    fake.setup = -EAGAIN;
    fake.proc = "/nonexistent";
    check_refused("*fs.aio-nr is 0, fs.aio-max-nr 0, *", EAGAIN);
}

/* User space reads the ring: not one that it does not know. */
static void test_unknown_ring(void)
{
    static const size_t fields[] = {
        offsetof(RingHead, magic), offsetof(RingHead, compat),
        offsetof(RingHead, incompat), offsetof(RingHead, header_length),
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(fields); i++) {
        fake.ring = true;
        fake.ring_field = fields[i];
        check_refused("linux AIO ring of an unknown layout", ENOTSUP);
    }
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

/* --- trace events --- */

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

static GString *seen;

static void see_submit(void *s, unsigned nr, int ret, unsigned depth)
{
    g_string_append_printf(seen, "submit %u %d %u; ", nr, ret, depth);
}

static void see_request(void *s, const void *req, int type, const char *state,
                        ssize_t ret)
{
    g_assert_cmpint(type, ==, QEMU_AIO_READ);
    g_string_append_printf(seen, "%s; ", state);
}

static void see_reap(void *s, unsigned events)
{
    if (events) {
        g_string_append_printf(seen, "reap %u; ", events);
    }
}

static void see_retry(void *s, int64_t delay_ns)
{
    g_string_append_printf(seen, "retry %" PRId64 "; ", delay_ns);
}

/* Each step has its event. */
static void test_trace(void)
{
    seen = g_string_new(NULL);
    fake.again = 1;
    laio_hooks = (LaioHooks) {
        .submit = see_submit, .request = see_request, .reap = see_reap,
        .retry = see_retry,
    };
    read_with_new_engine();
    g_assert_cmpstr(seen->str, ==,
                    "pending; submit 1 -11 1; retry 100000; "
                    "submit 1 1 1; in-flight; done; reap 1; ");
    g_string_free(seen, true);
    memset(&laio_hooks, 0, sizeof(laio_hooks));
    fake_reset();
}

/* --- what the kernel can do --- */

/* The answer is kept, so that each way of asking needs a process. */
static void do_test_fdsync(const char *how)
{
    int fd = new_file();
    bool want = !how;

    if (!g_strcmp0(how, "setup")) {
        fake.setup = -EAGAIN;
    } else if (!g_strcmp0(how, "submit")) {
        fake.submit = -EINVAL;
    } else if (!g_strcmp0(how, "getevents")) {
        fake.getevents = -EINVAL;
    } else if (!g_strcmp0(how, "memfd")) {
        fake.no_memfd = true;
    } else if (!g_strcmp0(how, "event")) {
        fake.res = -EINVAL;
    }
    g_assert(laio_has_fdsync(fd) == want);
    /* L10: an fsync of the file would take the error of somebody's flush. */
    g_assert_cmpint(fake.fsync_fd, !=, fd);
    fake_reset();
    g_assert(laio_has_fdsync(fd) == want);
    g_assert_cmpint(fake.fsync_fd, ==, 0);
    close(fd);
}

static void test_has_fdsync(const void *opaque)
{
    if (g_test_subprocess()) {
        do_test_fdsync(opaque);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
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
    g_test_add_func("/linux-aio/trace", test_trace);
    g_test_add_data_func("/linux-aio/has-fdsync/yes", NULL,
                         test_has_fdsync);
    g_test_add_data_func("/linux-aio/has-fdsync/no-setup", "setup",
                         test_has_fdsync);
    g_test_add_data_func("/linux-aio/has-fdsync/refused", "submit",
                         test_has_fdsync);
    g_test_add_data_func("/linux-aio/has-fdsync/no-event", "getevents",
                         test_has_fdsync);
    g_test_add_data_func("/linux-aio/has-fdsync/no-memfd", "memfd",
                         test_has_fdsync);
    g_test_add_data_func("/linux-aio/has-fdsync/failed", "event",
                         test_has_fdsync);
    g_test_add_func("/linux-aio/has-fua", test_has_fua);
    ret = g_test_run();
    qemu_cleanup_main_loop();
    return ret;
}
