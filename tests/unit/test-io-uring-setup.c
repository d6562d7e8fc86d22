/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Setting up io_uring: which rings there are on which kernel, whose thread they
 * belong to, and which buffers they hold.  The kernel is the real one, which a
 * library in front of it makes older, or forbids.
 */
#include "qemu/osdep.h"
#include "block/aio-bufs.h"
#include "block/block.h"
#include "block/io_uring.h"
#include "block/raw-aio.h"
#include "qapi/error.h"
#include "qemu/aio-wait.h"
#include "qemu/coroutine.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"
#include "system/block-backend.h"
#include "test-thread-loop.h"
#include "util/aio-posix.h"

#include <dlfcn.h>
#include <liburing.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define N_LOOPS 3               /* the first is the main one */
#define N_REQUESTS 10           /* in each */
#define MAX_SETUPS 64

#define BLOCK 4096

/* What kernels have known; each has what is before it, too. */
#define KERNEL_5_5 IORING_SETUP_CQSIZE
#define KERNEL_5_18 (KERNEL_5_5 | IORING_SETUP_SUBMIT_ALL)
#define KERNEL_5_19 (KERNEL_5_18 | IORING_SETUP_COOP_TASKRUN | \
                     IORING_SETUP_TASKRUN_FLAG)
#define KERNEL_6_0 (KERNEL_5_19 | IORING_SETUP_SINGLE_ISSUER)
#define KERNEL_6_1 (KERNEL_6_0 | IORING_SETUP_DEFER_TASKRUN)

typedef struct {
    unsigned flags;
    int fd;                     /* or -errno */
    pid_t thread;
} Setup;

static struct {
    unsigned flags;             /* known ones */
    unsigned no_features;
    int error;                  /* -errno of each setup, but for EINVAL */
    int disabled;               /* of the sysctl; -1: there is none */
    QemuMutex lock;             /* of what follows */
    Setup setups[MAX_SETUPS];
    unsigned n;
    unsigned rings;             /* that there are */
    unsigned pinned;            /* fixed buffers that the kernel has taken */
    unsigned strange;           /* calls by others than who made the ring */
} fake = { .flags = KERNEL_6_1, .disabled = -1 };

static pid_t self(void)
{
    return syscall(SYS_gettid);
}

static Setup *setup_at(unsigned i)
{
    g_assert_cmpuint(i, <, fake.n);
    return &fake.setups[i];
}

/* --- in front of liburing's and GLib's --- */

typedef int QueueInit(unsigned entries, struct io_uring *ring,
                      struct io_uring_params *p);
typedef void QueueExit(struct io_uring *ring);
typedef int Submit(struct io_uring *ring);
typedef int Enter2(unsigned fd, unsigned to_submit, unsigned min_complete,
                   unsigned flags, sigset_t *sig, size_t size);

typedef int UpdateTag(struct io_uring *ring, unsigned off,
                      const struct iovec *iov, const __u64 *tags, unsigned nr);

#define REAL(type, name) ((type *)dlsym(RTLD_NEXT, name))

int io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
                               struct io_uring_params *p)
{
    int ret = fake.error ? fake.error : p->flags & ~fake.flags ? -EINVAL :
              REAL(QueueInit, "io_uring_queue_init_params")(entries, ring, p);

    qemu_mutex_lock(&fake.lock);
    g_assert_cmpuint(fake.n, <, MAX_SETUPS);
    fake.setups[fake.n++] = (Setup) {
        .flags = p->flags, .fd = ret < 0 ? ret : ring->ring_fd,
        .thread = self(),
    };
    fake.rings += ret == 0;
    qemu_mutex_unlock(&fake.lock);
    if (ret == 0) {
        ring->features &= ~fake.no_features;
    }
    return ret;
}

void io_uring_queue_exit(struct io_uring *ring)
{
    unsigned i;

    qemu_mutex_lock(&fake.lock);
    for (i = 0; i < fake.n; i++) {
        if (fake.setups[i].fd == ring->ring_fd) {
            fake.setups[i].fd = -ENOENT;
        }
    }
    fake.rings--;
    qemu_mutex_unlock(&fake.lock);
    REAL(QueueExit, "io_uring_queue_exit")(ring);
}

static void note_call(int fd)
{
    unsigned i;

    qemu_mutex_lock(&fake.lock);
    for (i = 0; i < fake.n; i++) {
        fake.strange += fake.setups[i].fd == fd &&
                        fake.setups[i].thread != self();
    }
    qemu_mutex_unlock(&fake.lock);
}

int io_uring_submit(struct io_uring *ring)
{
    note_call(ring->ring_fd);
    return REAL(Submit, "io_uring_submit")(ring);
}

int io_uring_enter2(unsigned fd, unsigned to_submit, unsigned min_complete,
                    unsigned flags, sigset_t *sig, size_t size)
{
    note_call(fd);
    return REAL(Enter2, "io_uring_enter2")(fd, to_submit, min_complete, flags,
                                           sig, size);
}

int io_uring_register_buffers_update_tag(struct io_uring *ring, unsigned off,
                                         const struct iovec *iov,
                                         const __u64 *tags, unsigned nr)
{
    int ret = REAL(UpdateTag, "io_uring_register_buffers_update_tag")(
        ring, off, iov, tags, nr);

    note_call(ring->ring_fd);
    if (ret == 1 && iov->iov_base) {
        qatomic_inc(&fake.pinned);
    }
    return ret;
}

gboolean g_file_get_contents(const gchar *filename, gchar **contents,
                             gsize *length, GError **error)
{
    g_assert_cmpstr(filename, ==, "/proc/sys/kernel/io_uring_disabled");
    if (fake.disabled < 0) {
        return FALSE;
    }
    *contents = g_strdup_printf("%d\n", fake.disabled);
    return TRUE;
}

/* The real one: without it there is little to try. */
static bool kernel_has_uring(void)
{
    struct io_uring ring;

    if (luring_init_ring(&ring) < 0) {
        return false;
    }
    io_uring_queue_exit(&ring);
    fake.n = 0;
    return true;
}

/* --- a ring of an engine's own --- */

static void check_flags(unsigned known, unsigned calls, unsigned flags)
{
    struct io_uring ring;

    fake.n = 0;
    fake.flags = known;
    g_assert_cmpint(luring_init_ring(&ring), ==, 0);
    g_assert_cmpuint(fake.n, ==, calls);
    g_assert_cmphex(setup_at(calls - 1)->flags, ==, flags);
    io_uring_queue_exit(&ring);
}

/* What helps and is known; never what ppoll() would sleep with. */
static void test_flags(void)
{
    struct io_uring ring;

    check_flags(KERNEL_6_1, 1, KERNEL_6_0);
    check_flags(KERNEL_6_0, 1, KERNEL_6_0);
    check_flags(KERNEL_5_19, 2, KERNEL_5_18);
    check_flags(KERNEL_5_18, 2, KERNEL_5_18);
    check_flags(KERNEL_5_5, 3, KERNEL_5_5);
    fake.n = 0;
    fake.flags = 0;
    g_assert_cmpint(luring_init_ring(&ring), ==, -EINVAL);
    g_assert_cmpuint(fake.n, ==, 3);
    g_assert_cmpuint(fake.rings, ==, 0);
    fake.flags = KERNEL_6_1;
}

/* --- why there is none --- */

static void check_refused(int error, int disabled, const char *message)
{
    Error *err = NULL;

    fake.n = 0;
    fake.error = -error;
    fake.disabled = disabled;
    g_assert_null(luring_init(&err));
    g_assert_cmpstr(error_get_pretty(err), ==, message);
    error_free(err);
    /* Nothing that it would have been asked for in vain. */
    g_assert_cmpuint(fake.n, ==, 1);
    fake.error = 0;
    fake.disabled = -1;
}

static void test_refused(void)
{
    static const char *const filter =
        "io_uring is forbidden, by a seccomp filter or a security module";

    check_refused(ENOSYS, -1, "this kernel has no io_uring, or a seccomp "
                  "filter hides it");
    check_refused(ENOSYS, 2, "this kernel has no io_uring, or a seccomp "
                  "filter hides it");
    check_refused(EPERM, 1, "io_uring is forbidden by the sysctl "
                  "kernel.io_uring_disabled, which is 1");
    check_refused(EPERM, 2, "io_uring is forbidden by the sysctl "
                  "kernel.io_uring_disabled, which is 2");
    check_refused(EPERM, 0, filter);
    check_refused(EPERM, -1, filter);
    check_refused(ENOMEM, -1, "no memory for io_uring; before Linux 5.12 it "
                  "counts against RLIMIT_MEMLOCK (ulimit -l)");
    check_refused(EMFILE, -1, "failed to init linux io_uring ring: Too many "
                  "open files");
}

/* --- the rings of contexts --- */

static TestLoop *loops[N_LOOPS];
static AioContext *ctxs[N_LOOPS];
static pid_t threads[N_LOOPS];
static BlockBackend *blk;
static unsigned running;        /* atomic */

/* Writes of its own block, each with a flush. */
static void coroutine_fn worker(void *opaque)
{
    unsigned id = GPOINTER_TO_UINT(opaque), i;
    g_autofree uint8_t *buf = g_malloc(2 * BLOCK);
    QEMUIOVector out = QEMU_IOVEC_INIT_BUF(out, buf, BLOCK);
    QEMUIOVector in = QEMU_IOVEC_INIT_BUF(in, buf + BLOCK, BLOCK);

    threads[id] = self();
    for (i = 0; i < N_REQUESTS; i++) {
        memset(buf, id + i + 1, BLOCK);
        g_assert_cmpint(blk_co_pwritev(blk, id * BLOCK, BLOCK, &out, 0), ==,
                        0);
        g_assert_cmpint(blk_co_flush(blk), ==, 0);
        g_assert_cmpint(blk_co_preadv(blk, id * BLOCK, BLOCK, &in, 0), ==, 0);
        g_assert(!memcmp(buf, buf + BLOCK, BLOCK));
    }
    qatomic_dec(&running);
    aio_wait_kick();
}

/* The same from memory that is given back, and comes again as other pages. */
static void coroutine_fn fixed_worker(void *opaque)
{
    unsigned id = GPOINTER_TO_UINT(opaque), i;
    g_autofree uint8_t *got = g_malloc(BLOCK);
    void *buf = NULL;

    for (i = 0; i < N_REQUESTS; i++) {
        QEMUIOVector out, in = QEMU_IOVEC_INIT_BUF(in, got, BLOCK);

        buf = mmap(buf, BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE |
                   MAP_ANONYMOUS | (buf ? MAP_FIXED : 0), -1, 0);
        g_assert(buf != MAP_FAILED);
        qemu_iovec_init_buf(&out, buf, BLOCK);
        aio_register_buf(buf, BLOCK);
        memset(buf, id + i + 1, BLOCK);
        g_assert_cmpint(blk_co_pwritev(blk, id * BLOCK, BLOCK, &out, 0), ==,
                        0);
        g_assert_cmpint(blk_co_preadv(blk, id * BLOCK, BLOCK, &in, 0), ==, 0);
        g_assert(!memcmp(buf, got, BLOCK));
        memset(buf, 0, BLOCK);
        g_assert_cmpint(blk_co_preadv(blk, id * BLOCK, BLOCK, &out, 0), ==, 0);
        g_assert(!memcmp(buf, got, BLOCK));
        aio_unregister_buf(buf);
    }
    munmap(buf, BLOCK);
    qatomic_dec(&running);
    aio_wait_kick();
}

static void run_all(CoroutineEntry *entry)
{
    unsigned i;

    qatomic_set(&running, N_LOOPS);
    for (i = 0; i < N_LOOPS; i++) {
        aio_co_schedule(ctxs[i], qemu_coroutine_create(entry,
                                                       GUINT_TO_POINTER(i)));
    }
    AIO_WAIT_WHILE(NULL, qatomic_load_acquire(&running) > 0);
}

static void run_workers(void)
{
    run_all(worker);
}

static void open_disk(void)
{
    g_autofree char *name = g_strdup("/tmp/test-uring-XXXXXX");
    int fd = g_mkstemp(name);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, N_LOOPS * BLOCK), ==, 0);
    blk = blk_new_open(name, NULL, NULL, BDRV_O_RDWR | BDRV_O_PROTOCOL |
                       BDRV_O_IO_URING, &error_abort);
    unlink(name);
    close(fd);
    /* Opening makes no ring. */
    g_assert_cmpuint(fake.n, ==, 0);
}

static void begin(void)
{
    unsigned i;

    qemu_init_main_loop(&error_abort);
    bdrv_init();
    ctxs[0] = qemu_get_aio_context();
    for (i = 1; i < N_LOOPS; i++) {
        loops[i] = test_loop_new();
        ctxs[i] = loops[i]->ctx;
    }
    open_disk();
}

/* The rings go with their contexts. */
static void end(void)
{
    unsigned i;

    blk_unref(blk);
    for (i = 1; i < N_LOOPS; i++) {
        test_loop_free(loops[i]);
    }
    qemu_cleanup_main_loop();
    g_assert_cmpuint(fake.rings, ==, 0);
    g_assert_cmpuint(fake.strange, ==, 0);
}

/* A ring with these flags for each thread, and @refused setups before it. */
static void check_rings(unsigned refused, unsigned flags, bool shared)
{
    unsigned i, k, good;

    begin();
    run_workers();
    run_workers();
    g_assert_cmpuint(fake.n, ==, N_LOOPS * (refused + 1));
    g_assert_cmpuint(fake.rings, ==, N_LOOPS);
    for (i = 0; i < N_LOOPS; i++) {
        g_assert_nonnull(ctxs[i]->linux_io_uring);
        g_assert(!strcmp(ctxs[i]->fdmon_ops->name, "io_uring") == shared);
        good = 0;
        for (k = 0; k < fake.n; k++) {
            Setup *s = setup_at(k);

            if (s->thread == threads[i] && s->fd >= 0) {
                good++;
                g_assert_cmphex(s->flags, ==, flags);
            }
        }
        g_assert_cmpuint(good, ==, 1);
    }
    end();
}

/* One for the engine and the event loop, which has to wait in the kernel. */
static void test_shared(void)
{
    struct io_uring ring;
    unsigned flags = KERNEL_6_1 & ~IORING_SETUP_COOP_TASKRUN;

    if (!in_own_process()) {
        g_test_trap_assert_stderr_unmatched("*unable to use*");
        return;
    }
    if (io_uring_queue_init_params(1, &ring, &(struct io_uring_params) {
                                       .flags = flags, .cq_entries = 2,
                                   }) < 0) {
        exit(0);                /* the kernel is too old */
    }
    io_uring_queue_exit(&ring);
    fake.n = 0;
    check_rings(0, flags, true);
}

static void test_old_kernel(void)
{
    if (in_own_process()) {
        fake.flags = KERNEL_5_19;
        /* For the event loop, and with all that could help. */
        check_rings(2, KERNEL_5_18, false);
    } else {
        g_test_trap_assert_stderr_unmatched("*unable to use*");
    }
}

/* A kernel whose wait has no timeout, or that may lose completions. */
static void check_missing(unsigned feature)
{
    if (in_own_process()) {
        fake.no_features = feature;
        check_rings(1, KERNEL_6_0, false);
    } else {
        g_test_trap_assert_stderr_unmatched("*unable to use*");
    }
}

static void test_no_ext_arg(void)
{
    check_missing(IORING_FEAT_EXT_ARG);
}

static void test_no_nodrop(void)
{
    check_missing(IORING_FEAT_NODROP);
}

/* The event loop is to stay what it is. */
static void test_other_monitor(void)
{
    if (in_own_process()) {
        g_setenv("AIO_FD_MONITOR", "ppoll", true);
        fake.flags = KERNEL_6_1;
        check_rings(0, KERNEL_6_0, false);
    } else {
        g_test_trap_assert_stderr_unmatched("*unable to use*");
    }
}

/* Does the kernel (5.19) have what fixed buffers need? */
static bool kernel_has_fixed(void)
{
    struct io_uring ring;
    bool has = false;

    if (luring_init_ring(&ring) == 0) {
        has = io_uring_register_buffers_sparse(&ring, 1) == 0;
        io_uring_queue_exit(&ring);
    }
    fake.n = 0;
    return has;
}

/* Data is that of the memory which has the address now, in each ring. */
static void test_fixed(void)
{
    bool has_fixed;

    if (!in_own_process()) {
        g_test_trap_assert_stderr_unmatched("*unable to use*");
        return;
    }
    has_fixed = kernel_has_fixed();
    begin();
    run_all(fixed_worker);
    g_assert_cmpuint(fake.rings, ==, N_LOOPS);
    if (has_fixed) {
        g_assert_cmpuint(fake.pinned, >=, N_LOOPS * N_REQUESTS);
    }
    end();
}

/*
 * Worker threads do what a forbidden ring would have done, and one line says
 * why.  The kernel is not asked for each request; later it may have changed.
 */
static void test_forbidden(void)
{
    int64_t start = g_get_monotonic_time();
    unsigned asked;

    if (!in_own_process()) {
        g_test_trap_assert_stderr(
            "*: unable to use linux io_uring, falling back to thread pool: "
            "io_uring is forbidden by the sysctl kernel.io_uring_disabled, "
            "which is 2\n");
        g_test_trap_assert_stderr_unmatched("*unable to*unable to*");
        return;
    }
    fake.error = -EPERM;
    fake.disabled = 2;
    begin();
    run_workers();
    /* For the event loop, and for the engine. */
    asked = 2 * (1 + (g_get_monotonic_time() - start) / G_USEC_PER_SEC);
    g_assert_cmpuint(fake.n, >=, 2 * N_LOOPS);
    g_assert_cmpuint(fake.n, <=, N_LOOPS * asked);
    g_assert_cmpuint(fake.rings, ==, 0);

    fake.error = 0;
    g_usleep(G_USEC_PER_SEC + 100000);
    run_workers();
    g_assert_cmpuint(fake.rings, ==, N_LOOPS);
    end();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_mutex_init(&fake.lock);
    g_test_add_func("/io-uring/setup/refused", test_refused);
    if (kernel_has_uring()) {
        g_test_add_func("/io-uring/setup/flags", test_flags);
        g_test_add_func("/io-uring/setup/shared", test_shared);
        g_test_add_func("/io-uring/setup/old-kernel", test_old_kernel);
        g_test_add_func("/io-uring/setup/no-ext-arg", test_no_ext_arg);
        g_test_add_func("/io-uring/setup/no-nodrop", test_no_nodrop);
        g_test_add_func("/io-uring/setup/other-monitor", test_other_monitor);
        g_test_add_func("/io-uring/setup/fixed", test_fixed);
        g_test_add_func("/io-uring/setup/forbidden", test_forbidden);
    }
    return g_test_run();
}
