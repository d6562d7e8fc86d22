/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux AIO engine: the ring, with a kernel that has a thread of its own.
 *
 * The other mock kernels post their events from the thread that reads them, so
 * that no barrier is ever missed.  This one writes events, and the memory of
 * reads, from a thread; a ring of few entries is used again and again.  Under
 * ThreadSanitizer it finds an order of accesses that is wrong; without, at
 * times, data that is wrong.
 *
 * What the two sides rely on, as in Linux (fs/aio.c): the kernel writes an
 * event, then the tail; user space reads the tail, then the event, then writes
 * the head; the kernel reads the head before it writes over an event.
 */
#include "qemu/osdep.h"
#include "aio-iocb.h"
#include "block/block.h"
#include "block/linux-aio.h"
#include "block/raw-aio.h"
#include "qapi/error.h"
#include "qemu/coroutine.h"
#include "qemu/defer-call.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"
#include "trace/trace-block.h"

#include <libaio.h>
#include <sys/syscall.h>

#define RING_ENTRIES 6
#define QUEUE_MAX 32
#define BLOCK 64
#define N_BLOCKS 128
#define N_COROUTINES 12
#define N_REQUESTS 2000

typedef struct KRing {
    unsigned id, nr, head, tail, magic, compat, incompat, header_length;
    struct io_event events[RING_ENTRIES];
} KRing;

typedef struct KContext {
    KRing ring;                 /* first: an io_context_t points to it */
    QemuThread thread;
    QemuMutex lock;
    QemuCond cond;
    struct iocb *queue[QUEUE_MAX];      /* under the lock, as what follows */
    unsigned n_queued;
    bool stop;
} KContext;

LaioHooks laio_hooks;

static uint8_t disk[N_BLOCKS * BLOCK];
static unsigned running;
static AioContext *ctx;

/* --- the kernel --- */

/* A raw system call: a sanitizer must not take it for a barrier. */
static void kernel_signal(int fd)
{
    uint64_t one = 1;
    long n = syscall(SYS_write, fd, &one, sizeof(one));

    g_assert_cmpint(n, ==, sizeof(one));
}

static void kernel_complete(KContext *c, struct iocb *iocb)
{
    KRing *ring = &c->ring;
    unsigned tail = ring->tail;
    unsigned next = tail + 1 == ring->nr ? 0 : tail + 1;
    struct iovec single;
    int niov, fd = iocb_signals(iocb) ? (int)iocb->u.c.resfd : -1;
    const struct iovec *iov = iocb_vector(iocb, &single, &niov);

    g_assert_cmpint(niov, ==, 1);
    if (iocb_is_write(iocb)) {
        memcpy(disk + iocb->u.v.offset, iov->iov_base, iov->iov_len);
    } else {
        memcpy(iov->iov_base, disk + iocb->u.v.offset, iov->iov_len);
    }
    /*
     * Room in the ring.  Pairs with the engine's release of the head: nothing
     * else orders this thread's write of an event behind the engine's read.
     */
    while (next == qatomic_load_acquire(&ring->head)) {
        g_usleep(1);
    }
    ring->events[tail] = (struct io_event) {
        .obj = iocb, .res = iov->iov_len,
    };
    /* Pairs with the engine's acquire of the tail. */
    qatomic_store_release(&ring->tail, next);
    /* The iocb is no longer there. */
    if (fd >= 0) {
        kernel_signal(fd);
    }
}

static void *kernel_run(void *opaque)
{
    KContext *c = opaque;

    qemu_mutex_lock(&c->lock);
    while (!c->stop) {
        struct iocb *iocb;

        if (!c->n_queued) {
            qemu_cond_wait(&c->cond, &c->lock);
            continue;
        }
        iocb = c->queue[0];
        memmove(c->queue, c->queue + 1, --c->n_queued * sizeof(iocb));
        qemu_mutex_unlock(&c->lock);
        kernel_complete(c, iocb);
        qemu_mutex_lock(&c->lock);
    }
    qemu_mutex_unlock(&c->lock);
    return NULL;
}

int io_setup(int maxevents, io_context_t *ctxp)
{
    KContext *c = g_new0(KContext, 1);

    c->ring.nr = RING_ENTRIES;
    c->ring.magic = 0xa10a10a1;
    c->ring.compat = 1;
    c->ring.header_length = 32;
    qemu_mutex_init(&c->lock);
    qemu_cond_init(&c->cond);
    qemu_thread_create(&c->thread, "kernel", kernel_run, c,
                       QEMU_THREAD_JOINABLE);
    *ctxp = (io_context_t)c;
    return 0;
}

int io_destroy(io_context_t io_ctx)
{
    KContext *c = (KContext *)io_ctx;

    qemu_mutex_lock(&c->lock);
    c->stop = true;
    qemu_cond_signal(&c->cond);
    qemu_mutex_unlock(&c->lock);
    qemu_thread_join(&c->thread);
    qemu_cond_destroy(&c->cond);
    qemu_mutex_destroy(&c->lock);
    g_free(c);
    return 0;
}

/*
 * It takes more than the ring has room for, which Linux does not: so that the
 * lock of the queue says nothing about the entries of the ring.
 */
int io_submit(io_context_t io_ctx, long nr, struct iocb *iocbs[])
{
    KContext *c = (KContext *)io_ctx;
    long i;

    qemu_mutex_lock(&c->lock);
    for (i = 0; i < nr && c->n_queued < QUEUE_MAX; i++) {
        c->queue[c->n_queued++] = iocbs[i];
    }
    qemu_cond_signal(&c->cond);
    qemu_mutex_unlock(&c->lock);
    return i ? i : -EAGAIN;
}

int io_getevents(io_context_t io_ctx, long min_nr, long nr,
                 struct io_event *events, struct timespec *timeout)
{
    g_assert_not_reached();
}

/* --- the test --- */

static void coroutine_fn worker(void *opaque)
{
    unsigned id = GPOINTER_TO_UINT(opaque), i, j;
    uint8_t buf[BLOCK];

    for (i = 0; i < N_REQUESTS; i++) {
        /* Each has blocks of its own. */
        unsigned block = id * (N_BLOCKS / N_COROUTINES) +
                         i % (N_BLOCKS / N_COROUTINES);
        QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, BLOCK);

        memset(buf, id + i, sizeof(buf));
        g_assert_cmpint(laio_co_submit(1000000, block * BLOCK, &qiov,
                                       QEMU_AIO_WRITE, 0, 0), ==, 0);
        memset(buf, 0, sizeof(buf));
        g_assert_cmpint(laio_co_submit(1000000, block * BLOCK, &qiov,
                                       QEMU_AIO_READ, 0, 0), ==, 0);
        for (j = 0; j < BLOCK; j++) {
            g_assert_cmpuint(buf[j], ==, (uint8_t)(id + i));
        }
    }
    running--;
}

static void test_kthread(void)
{
    unsigned i;

    running = N_COROUTINES;
    for (i = 0; i < N_COROUTINES; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(worker,
                                                   GUINT_TO_POINTER(i)));
    }
    while (running) {
        aio_poll(ctx, true);
    }
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    ctx = qemu_get_current_aio_context();
    aio_setup_linux_aio(ctx, &error_abort);
    g_test_add_func("/linux-aio/kthread", test_kthread);
    ret = g_test_run();
    qemu_cleanup_main_loop();
    return ret;
}
