/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small engine of the shape that aio=native has in QEMU 10.1, fault and
 * all: what series/minimal.cocci is tried on.  It works on a kernel that
 * completes asynchronously; apply-test.sh runs it before and after the patch.
 */
#include "qemu/osdep.h"
#include "block/aio.h"
#include "block/block.h"
#include "block/raw-aio.h"
#include "qapi/error.h"
#include "qemu/coroutine.h"
#include "qemu/defer-call.h"
#include "qemu/event_notifier.h"
#include "qemu/iov.h"
#include "qemu/queue.h"

#include <libaio.h>

#define MAX_EVENTS 1024
#define DEFAULT_MAX_BATCH 32

struct qemu_laiocb {
    Coroutine *co;
    LinuxAioState *ctx;
    struct iocb iocb;
    ssize_t ret;                /* -EINPROGRESS until it is complete */
    int fd;
    int type;
    BdrvRequestFlags flags;
    uint64_t offset;
    QEMUIOVector *qiov;
    QSIMPLEQ_ENTRY(qemu_laiocb) next;
};

typedef struct {
    unsigned int in_queue;
    unsigned int in_flight;
    bool blocked;
    QSIMPLEQ_HEAD(, qemu_laiocb) pending;
} LaioQueue;

struct LinuxAioState {
    AioContext *aio_context;

    io_context_t ctx;
    EventNotifier e;

    LaioQueue io_q;

    QEMUBH *completion_bh;
};

struct laio_ring {
    unsigned id, nr, head, tail, magic, compat, incompat, header_length;
    struct io_event events[];
};

static void ioq_submit(LinuxAioState *s);

/* One event off the ring; the next caller gets the next one. */
static bool laio_ring_take(LinuxAioState *s, struct io_event *event)
{
    struct laio_ring *ring = (struct laio_ring *)s->ctx;
    unsigned head = ring->head;

    if (head == qatomic_load_acquire(&ring->tail)) {
        return false;
    }
    *event = ring->events[head];
    qatomic_store_release(&ring->head, (head + 1) % ring->nr);
    return true;
}

static void qemu_laio_process_completion(struct qemu_laiocb *laiocb)
{
    if (laiocb->ret > 0) {
        size_t done = laiocb->ret;

        laiocb->ret = 0;
        if (done < laiocb->qiov->size) {
            if (laiocb->type == QEMU_AIO_READ) {
                qemu_iovec_memset(laiocb->qiov, done, 0,
                                  laiocb->qiov->size - done);
            } else {
                laiocb->ret = -ENOSPC;
            }
        }
    }
    if (!qemu_coroutine_entered(laiocb->co)) {
        aio_co_wake(laiocb->co);
    }
}

static void qemu_laio_process_completions(LinuxAioState *s)
{
    struct io_event event;

    defer_call_begin();
    /* For a nested event loop in a coroutine that is woken here. */
    qemu_bh_schedule(s->completion_bh);

    while (laio_ring_take(s, &event)) {
        struct qemu_laiocb *laiocb = container_of(event.obj,
                                                  struct qemu_laiocb, iocb);

        s->io_q.in_flight--;
        laiocb->ret = (ssize_t)event.res;
        qemu_laio_process_completion(laiocb);
    }

    qemu_bh_cancel(s->completion_bh);
    defer_call_end();
}

static void qemu_laio_process_completions_and_submit(LinuxAioState *s)
{
    qemu_laio_process_completions(s);
    if (!QSIMPLEQ_EMPTY(&s->io_q.pending)) {
        ioq_submit(s);
    }
}

static void qemu_laio_completion_bh(void *opaque)
{
    LinuxAioState *s = opaque;

    qemu_laio_process_completions_and_submit(s);
}

static void qemu_laio_completion_cb(EventNotifier *e)
{
    LinuxAioState *s = container_of(e, LinuxAioState, e);

    if (event_notifier_test_and_clear(&s->e)) {
        qemu_laio_process_completions_and_submit(s);
    }
}

static void ioq_submit(LinuxAioState *s)
{
    int ret, len;
    struct qemu_laiocb *aiocb;
    QEMU_UNINITIALIZED struct iocb *iocbs[MAX_EVENTS];
    int i;

    do {
        if (s->io_q.in_flight >= MAX_EVENTS) {
            break;
        }
        len = 0;
        QSIMPLEQ_FOREACH(aiocb, &s->io_q.pending, next) {
            iocbs[len++] = &aiocb->iocb;
            if (s->io_q.in_flight + len >= MAX_EVENTS) {
                break;
            }
        }

        ret = io_submit(s->ctx, len, iocbs);
        if (ret == -EAGAIN) {
            break;
        }
        if (ret < 0) {
            /* The first one is refused. */
            aiocb = QSIMPLEQ_FIRST(&s->io_q.pending);
            QSIMPLEQ_REMOVE_HEAD(&s->io_q.pending, next);
            s->io_q.in_queue--;
            aiocb->ret = ret;
            qemu_laio_process_completion(aiocb);
            continue;
        }

        s->io_q.in_flight += ret;
        s->io_q.in_queue -= ret;
        for (i = 0; i < ret; i++) {
            QSIMPLEQ_REMOVE_HEAD(&s->io_q.pending, next);
        }
    } while (ret == len && !QSIMPLEQ_EMPTY(&s->io_q.pending));
    s->io_q.blocked = (s->io_q.in_queue > 0);

    if (s->io_q.in_flight) {
        /* What is complete already need not wait for the event loop. */
        qemu_laio_process_completions(s);
    }
}

static void laio_deferred_fn(void *opaque)
{
    LinuxAioState *s = opaque;

    if (!s->io_q.blocked && !QSIMPLEQ_EMPTY(&s->io_q.pending)) {
        ioq_submit(s);
    }
}

static unsigned laio_batch_limit(LinuxAioState *s, uint64_t dev_max_batch)
{
    uint64_t limit = s->aio_context->aio_max_batch ?: DEFAULT_MAX_BATCH;

    return MIN(MIN_NON_ZERO(dev_max_batch, limit), MAX_EVENTS);
}

static int laio_do_submit(struct qemu_laiocb *laiocb, uint64_t dev_max_batch)
{
    LinuxAioState *s = laiocb->ctx;
    struct iocb *iocbs = &laiocb->iocb;
    QEMUIOVector *qiov = laiocb->qiov;

    switch (laiocb->type) {
    case QEMU_AIO_WRITE:
#ifdef HAVE_IO_PREP_PWRITEV2
        io_prep_pwritev2(iocbs, laiocb->fd, qiov->iov, qiov->niov,
                         laiocb->offset,
                         (laiocb->flags & BDRV_REQ_FUA) ? RWF_DSYNC : 0);
#else
        io_prep_pwritev(iocbs, laiocb->fd, qiov->iov, qiov->niov,
                        laiocb->offset);
#endif
        break;
    case QEMU_AIO_READ:
        io_prep_preadv(iocbs, laiocb->fd, qiov->iov, qiov->niov,
                       laiocb->offset);
        break;
    case QEMU_AIO_FLUSH:
        io_prep_fdsync(iocbs, laiocb->fd);
        break;
    default:
        return -ENOTSUP;
    }
    io_set_eventfd(iocbs, event_notifier_get_fd(&s->e));

    QSIMPLEQ_INSERT_TAIL(&s->io_q.pending, laiocb, next);
    s->io_q.in_queue++;
    if (!s->io_q.blocked) {
        if (s->io_q.in_queue >= laio_batch_limit(s, dev_max_batch)) {
            ioq_submit(s);
        } else {
            defer_call(laio_deferred_fn, s);
        }
    }
    return 0;
}

int coroutine_fn laio_co_submit(int fd, uint64_t offset, QEMUIOVector *qiov,
                                int type, BdrvRequestFlags flags,
                                uint64_t dev_max_batch)
{
    struct qemu_laiocb laiocb = {
        .co = qemu_coroutine_self(),
        .ctx = aio_get_linux_aio(qemu_get_current_aio_context()),
        .ret = -EINPROGRESS,
        .fd = fd,
        .type = type,
        .flags = flags,
        .offset = offset,
        .qiov = qiov,
    };
    int ret = laio_do_submit(&laiocb, dev_max_batch);

    if (ret < 0) {
        return ret;
    }
    if (laiocb.ret == -EINPROGRESS) {
        qemu_coroutine_yield();
    }
    return laiocb.ret;
}

void laio_detach_aio_context(LinuxAioState *s, AioContext *old_context)
{
    aio_set_event_notifier(old_context, &s->e, NULL, NULL, NULL);
    qemu_bh_delete(s->completion_bh);
    s->aio_context = NULL;
}

void laio_attach_aio_context(LinuxAioState *s, AioContext *new_context)
{
    s->aio_context = new_context;
    s->completion_bh = aio_bh_new(new_context, qemu_laio_completion_bh, s);
    aio_set_event_notifier(new_context, &s->e, qemu_laio_completion_cb,
                           NULL, NULL);
}

LinuxAioState *laio_init(Error **errp)
{
    LinuxAioState *s = g_new0(LinuxAioState, 1);

    if (event_notifier_init(&s->e, false) < 0) {
        error_setg(errp, "no event notifier");
        g_free(s);
        return NULL;
    }
    if (io_setup(MAX_EVENTS, &s->ctx) != 0) {
        error_setg(errp, "no Linux AIO context");
        event_notifier_cleanup(&s->e);
        g_free(s);
        return NULL;
    }
    QSIMPLEQ_INIT(&s->io_q.pending);
    return s;
}

void laio_cleanup(LinuxAioState *s)
{
    event_notifier_cleanup(&s->e);
    io_destroy(s->ctx);
    g_free(s);
}

bool laio_has_fdsync(int fd)
{
    return fd >= 0;
}

bool laio_has_fua(void)
{
#ifdef HAVE_IO_PREP_PWRITEV2
    return true;
#else
    return false;
#endif
}
