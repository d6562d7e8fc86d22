/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The file driver with aio=native, used from several AioContexts at once: each
 * has an engine of its own, made by its first request.  Where the kernel gives
 * none, worker threads do the work, and a warning says so once.
 */
#include "qemu/osdep.h"
#include "block/block.h"
#include "block/raw-aio.h"
#include "qapi/error.h"
#include "qemu/aio-wait.h"
#include "qemu/coroutine.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"
#include "system/block-backend.h"
#include "test-thread-loop.h"

#include <libaio.h>
#include <sys/syscall.h>

#define N_LOOPS 3               /* the first is the main one */
#define N_WORKERS 4             /* in each */
#define N_REQUESTS 100
#define BLOCK 4096

static AioContext *ctxs[N_LOOPS];
static BlockBackend *blk;
static unsigned running;        /* atomic */
static unsigned setups;         /* atomic; calls of io_setup() */
static int setup_error;
static bool no_fdsync;          /* a kernel before 4.18 */
static unsigned refused;        /* atomic; flushes */

/* In front of libaio's. */
int io_setup(int maxevents, io_context_t *ctxp)
{
    long ret;

    qatomic_inc(&setups);
    if (setup_error) {
        return setup_error;
    }
    ret = syscall(SYS_io_setup, maxevents, ctxp);
    return ret < 0 ? -errno : ret;
}

int io_submit(io_context_t ctx, long nr, struct iocb *iocbs[])
{
    long n = 0, ret;

    while (no_fdsync && n < nr &&
           iocbs[n]->aio_lio_opcode != IO_CMD_FDSYNC) {
        n++;
    }
    if (no_fdsync && n == 0) {
        qatomic_inc(&refused);
        return -EINVAL;
    }
    ret = syscall(SYS_io_submit, ctx, no_fdsync ? n : nr, iocbs);
    return ret < 0 ? -errno : ret;
}

static void coroutine_fn worker(void *opaque)
{
    unsigned id = GPOINTER_TO_UINT(opaque), i;
    g_autofree uint8_t *buf = g_malloc(2 * BLOCK);
    int64_t offset = (int64_t)id * BLOCK;
    QEMUIOVector out = QEMU_IOVEC_INIT_BUF(out, buf, BLOCK);
    QEMUIOVector in = QEMU_IOVEC_INIT_BUF(in, buf + BLOCK, BLOCK);

    for (i = 0; i < N_REQUESTS; i++) {
        BdrvRequestFlags flags = i % 10 ? 0 : BDRV_REQ_FUA;

        memset(buf, id + i, BLOCK);
        memset(buf + BLOCK, 0, BLOCK);
        g_assert_cmpint(blk_co_pwritev(blk, offset, BLOCK, &out, flags),
                        ==, 0);
        g_assert_cmpint(blk_co_preadv(blk, offset, BLOCK, &in, 0), ==, 0);
        g_assert(!memcmp(buf, buf + BLOCK, BLOCK));
        if (i % 25 == 0) {
            g_assert_cmpint(blk_co_flush(blk), ==, 0);
        }
    }
    qatomic_dec(&running);
    aio_wait_kick();
}

static void run_workers(void)
{
    g_autofree char *name = g_strdup("/tmp/test-contexts-XXXXXX");
    int fd = g_mkstemp(name);
    unsigned i;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, N_LOOPS * N_WORKERS * BLOCK), ==, 0);
    blk = blk_new_open(name, NULL, NULL, BDRV_O_RDWR | BDRV_O_PROTOCOL |
                       BDRV_O_NATIVE_AIO, &error_abort);
    /* Opening makes no engine. */
    g_assert_cmpuint(setups, ==, 0);

    running = N_LOOPS * N_WORKERS;
    for (i = 0; i < N_LOOPS * N_WORKERS; i++) {
        aio_co_schedule(ctxs[i % N_LOOPS],
                        qemu_coroutine_create(worker, GUINT_TO_POINTER(i)));
    }
    AIO_WAIT_WHILE(NULL, qatomic_read(&running) > 0);
    blk_unref(blk);
    unlink(name);
    close(fd);
}

static void test_engines(void)
{
    if (in_own_process()) {
        run_workers();
        g_assert_cmpuint(setups, ==, N_LOOPS);
    } else {
        g_test_trap_assert_stderr_unmatched("*unable to use*");
    }
}

static void test_fallback(void)
{
    int64_t start = g_get_monotonic_time();

    if (in_own_process()) {
        setup_error = -EAGAIN;
        run_workers();
        /* No context asks for it twice within a second. */
        g_assert_cmpuint(setups, >=, 1);
        g_assert_cmpuint(setups, <=, N_LOOPS *
                         (1 + (g_get_monotonic_time() - start) /
                              G_USEC_PER_SEC));

        /* Then it is there. */
        setup_error = 0;
        setups = 0;
        g_usleep(G_USEC_PER_SEC + 100000);
        run_workers();
        g_assert_cmpuint(setups, ==, N_LOOPS);
    } else {
        g_test_trap_assert_stderr("*unable to use linux aio, falling back to "
                                  "thread pool: *fs.aio-max-nr*");
        g_test_trap_assert_stderr_unmatched("*unable to*unable to*");
    }
}

/* A flush that the engine cannot do is done by a worker thread from then on. */
static void test_flush_refused(void)
{
    if (in_own_process()) {
        no_fdsync = true;
        run_workers();
        /* One each, at the most, before all have learnt it. */
        g_assert_cmpuint(refused, >=, 1);
        g_assert_cmpuint(refused, <=, N_LOOPS * N_WORKERS);
    }
}

int main(int argc, char **argv)
{
    TestLoop *loops[N_LOOPS];
    unsigned i;
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    ctxs[0] = qemu_get_aio_context();
    for (i = 1; i < N_LOOPS; i++) {
        loops[i] = test_loop_new();
        ctxs[i] = loops[i]->ctx;
    }
    g_test_add_func("/file-posix/contexts/engines", test_engines);
    g_test_add_func("/file-posix/contexts/fallback", test_fallback);
    g_test_add_func("/file-posix/contexts/flush-refused", test_flush_refused);
    ret = g_test_run();
    for (i = 1; i < N_LOOPS; i++) {
        test_loop_free(loops[i]);
    }
    qemu_cleanup_main_loop();
    return ret;
}
