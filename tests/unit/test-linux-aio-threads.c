/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux AIO engine: several threads at once, on the real kernel.
 *
 * Each thread has an AioContext and an engine of its own; coroutines also
 * move between them in the middle of their work.  Checks L1 (the depth is
 * counted per thread, and stays right when coroutines move) and L2.
 */
#include "qemu/osdep.h"
#include "qemu/aio-wait.h"
#include "block/block.h"
#include "block/linux-aio.h"
#include "block/raw-aio.h"
#include "qapi/error.h"
#include "qemu/coroutine.h"
#include "qemu/main-loop.h"
#include "trace/trace-block.h"

#define N_THREADS 4
#define N_COROUTINES 8
#define N_REQUESTS 2000
#define BLOCK 4096
#define N_BLOCKS 256

typedef struct {
    QemuThread thread;
    QemuEvent ready;
    AioContext *ctx;
    bool stop;
} Loop;

static Loop loops[N_THREADS];
static int fd;
static unsigned running;
static unsigned deepest;        /* atomic */
static unsigned long submitted; /* atomic */
static bool moving;

LaioHooks laio_hooks;

static void *loop_run(void *opaque)
{
    Loop *loop = opaque;

    loop->ctx = aio_context_new(&error_abort);
    qemu_set_current_aio_context(loop->ctx);
    aio_setup_linux_aio(loop->ctx, &error_abort);
    qemu_event_set(&loop->ready);
    while (!qatomic_load_acquire(&loop->stop)) {
        aio_poll(loop->ctx, true);
    }
    return NULL;
}

static void note_submit(void *s, unsigned nr, int ret, unsigned depth)
{
    unsigned seen = qatomic_read(&deepest);

    while (depth > seen) {
        unsigned old = qatomic_cmpxchg(&deepest, seen, depth);

        if (old == seen) {
            break;
        }
        seen = old;
    }
    qatomic_add(&submitted, MAX(ret, 0));
}

static void fill_block(uint8_t *buf, unsigned block)
{
    unsigned i;

    for (i = 0; i < BLOCK; i++) {
        buf[i] = block * 31 + i * 7 + (i >> 8);
    }
}

static void coroutine_fn reader(void *opaque)
{
    unsigned id = GPOINTER_TO_UINT(opaque), i;
    uint8_t *buf = qemu_memalign(BLOCK, 2 * BLOCK);

    for (i = 0; i < N_REQUESTS; i++) {
        unsigned block = (id * 97 + i * 13) % N_BLOCKS;
        QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, BLOCK);

        if (moving && i % 16 == id % 16) {
            aio_co_reschedule_self(loops[(id + i) % N_THREADS].ctx);
        }
        memset(buf, 0, BLOCK);
        g_assert_cmpint(laio_co_submit(fd, (uint64_t)block * BLOCK, &qiov,
                                       QEMU_AIO_READ, 0, 0), ==, 0);
        fill_block(buf + BLOCK, block);
        g_assert(!memcmp(buf, buf + BLOCK, BLOCK));
    }
    qemu_vfree(buf);
    qatomic_dec(&running);
    aio_wait_kick();
}

static void run_all(bool move)
{
    unsigned i, n = N_THREADS * N_COROUTINES;

    moving = move;
    running = n;
    deepest = 0;
    submitted = 0;
    for (i = 0; i < n; i++) {
        aio_co_schedule(loops[i % N_THREADS].ctx,
                        qemu_coroutine_create(reader, GUINT_TO_POINTER(i)));
    }
    AIO_WAIT_WHILE(NULL, qatomic_load_acquire(&running) > 0);
    g_assert_cmpuint(deepest, <=, IOQ_SUBMIT_MAX_DEPTH);
    g_assert_cmpuint(submitted, ==, (unsigned long)n * N_REQUESTS);
}

static void test_threads(void)
{
    run_all(false);
}

static void test_moving(void)
{
    run_all(true);
}

static void make_file(void)
{
    g_autofree char *path = g_strdup("/dev/shm/test-laio-threads-XXXXXX");
    uint8_t buf[BLOCK];
    unsigned i;

    fd = mkstemp(path);
    if (fd < 0) {
        g_free(path);
        path = g_strdup("/tmp/test-laio-threads-XXXXXX");
        fd = mkstemp(path);
    }
    g_assert_cmpint(fd, >=, 0);
    unlink(path);
    for (i = 0; i < N_BLOCKS; i++) {
        fill_block(buf, i);
        g_assert_cmpint(qemu_write_full(fd, buf, BLOCK), ==, BLOCK);
    }
}

int main(int argc, char **argv)
{
    int i, ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    make_file();
    laio_hooks.submit = note_submit;
    for (i = 0; i < N_THREADS; i++) {
        qemu_event_init(&loops[i].ready, false);
        qemu_thread_create(&loops[i].thread, "loop", loop_run, &loops[i],
                           QEMU_THREAD_JOINABLE);
        qemu_event_wait(&loops[i].ready);
    }

    g_test_add_func("/linux-aio/threads", test_threads);
    g_test_add_func("/linux-aio/threads/moving", test_moving);
    ret = g_test_run();

    for (i = 0; i < N_THREADS; i++) {
        qatomic_store_release(&loops[i].stop, true);
        aio_notify(loops[i].ctx);
        qemu_thread_join(&loops[i].thread);
        aio_context_unref(loops[i].ctx);
        qemu_event_destroy(&loops[i].ready);
    }
    close(fd);
    qemu_cleanup_main_loop();
    return ret;
}
