/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux AIO engine (aio=native).
 *
 * One LinuxAioState per AioContext, used in its home thread only.
 *
 * A request waits on io_q.pending until ioq_submit() gives it to the kernel.
 * Its completion appears in the ring, which user space reads without a system
 * call; laio_reap() takes it from there and wakes the coroutine.  The kernel
 * may complete requests within io_submit(2): then the ring has something as
 * soon as the call returns, the woken coroutines queue more, and so on.  What
 * keeps that from becoming a recursion, or a hang, is:
 *
 *   - Submitting and reaping are two steps.  ioq_submit() gives everything
 *     pending to the kernel.  It reaps inline afterwards only while a
 *     per-thread count of active ioq_submit() calls is below
 *     IOQ_SUBMIT_MAX_DEPTH; at the bound it leaves the ring to the reaper
 *     below it on the stack, and to the bottom half.
 *
 *   - Reaping is a loop.  When the section in which coroutines are woken has
 *     ended, and with it what they queued has been submitted, the ring is
 *     looked at again, up to LAIO_BUDGET completions per dispatch.
 *
 *   - Whoever leaves work behind schedules the bottom half itself
 *     (laio_settle()), and before every callback, which may run a nested event
 *     loop.  No signal of somebody else's is relied upon.  The bottom half is
 *     cancelled only when nothing is left for it.
 *
 *   - A refused request goes on s->rejected, which the reaper completes: no
 *     coroutine is woken from within ioq_submit()'s loop.
 *
 * Nothing that a nested event loop can change is kept in a local variable
 * across a callback: an event leaves the ring before its request is completed.
 */
#include "qemu/osdep.h"
#include "block/block.h"
#include "block/raw-aio.h"
#include "block/linux-aio.h"
#include "qapi/error.h"
#include "qemu/coroutine.h"
#include "qemu/coroutine-tls.h"
#include "qemu/defer-call.h"
#include "qemu/event_notifier.h"
#include "qemu/iov.h"
#include "qemu/queue.h"
#include "qemu/timer.h"

#include <libaio.h>
#include <sys/stat.h>

/* The kernel's struct aio_ring, mapped into the process by io_setup(2). */
struct aio_ring {
    unsigned id;
    unsigned nr;                /* events that the array has */
    unsigned head;              /* next to read; written by user space */
    unsigned tail;              /* next to write; written by the kernel */
    unsigned magic;
    unsigned compat_features;
    unsigned incompat_features;
    unsigned header_length;     /* of this struct */
    struct io_event io_events[];
};

#define AIO_RING_MAGIC 0xa10a10a1
#define AIO_RING_COMPAT_FEATURES 1
#define AIO_RING_INCOMPAT_FEATURES 0

/* Events read at a time where the ring is not understood. */
#define LAIO_GETEVENTS_BATCH 32

/*
 * Tails that a short transfer leaves are tried at the exact offset; if the
 * kernel finds that unaligned, from a multiple of this.
 */
#define LAIO_TAIL_ALIGN 4096

/* On the stack of the coroutine that waits for it. */
typedef struct LaioRequest {
    struct iocb iocb;
    LinuxAioState *s;
    Coroutine *co;
    QEMUIOVector *qiov;
    uint64_t offset;
    ssize_t ret;                /* -EINPROGRESS until LAIO_DONE */
    size_t done;                /* bytes transferred by earlier submissions */
    size_t start;               /* where this submission begins in qiov */
    bool has_tail;              /* tail is in use */
    int fd;
    int type;
    BdrvRequestFlags flags;
    LaioState state;
    QEMUIOVector tail;
    QSIMPLEQ_ENTRY(LaioRequest) next;
} LaioRequest;

typedef QSIMPLEQ_HEAD(, LaioRequest) LaioRequestList;

typedef struct {
    LaioRequestList pending;
    unsigned in_queue;          /* length of pending */
    unsigned in_flight;         /* accepted by the kernel, not yet reaped */
    bool blocked;               /* nobody submits but reaper and timer */
} LaioQueue;

/* All fields belong to the home thread. */
struct LinuxAioState {
    AioContext *aio_context;
    io_context_t ctx;
    EventNotifier e;
    bool use_ring;

    LaioQueue io_q;
    LaioRequestList rejected;

    QEMUBH *completion_bh;
    bool bh_scheduled;          /* spares scheduling it again */
    unsigned budget;            /* completions left for this dispatch */

    QEMUTimer *retry_timer;
    bool retry_armed;
    int64_t retry_delay_ns;     /* of the next retry; 0: the first one */

    /* events[event_idx..event_count) are still to be delivered; !use_ring */
    unsigned event_idx;
    unsigned event_count;
    struct io_event events[LAIO_GETEVENTS_BATCH];

    /* For io_submit(2): no callback runs while it is in use. */
    struct iocb *iocbs[LAIO_MAX_EVENTS];
};

const LaioObserver *laio_observer;

/* Active ioq_submit() calls of this thread: see IOQ_SUBMIT_MAX_DEPTH. */
QEMU_DEFINE_STATIC_CO_TLS(unsigned, ioq_submit_depth)

static void ioq_submit(LinuxAioState *s);
static void laio_deferred_fn(void *opaque);

static void laio_set_state(LaioRequest *req, LaioState state)
{
    req->state = state;
    if (laio_observer && laio_observer->request) {
        laio_observer->request(req->s, req, req->type, state, req->ret);
    }
}

/* --- the ring --- */

static struct aio_ring *laio_ring(LinuxAioState *s)
{
    return (struct aio_ring *)s->ctx;
}

static bool laio_ring_usable(LinuxAioState *s)
{
    struct aio_ring *ring = laio_ring(s);

    return ring->magic == AIO_RING_MAGIC &&
           ring->compat_features == AIO_RING_COMPAT_FEATURES &&
           ring->incompat_features == AIO_RING_INCOMPAT_FEATURES &&
           ring->header_length == sizeof(*ring);
}

static bool laio_has_events(LinuxAioState *s)
{
    struct aio_ring *ring = laio_ring(s);

    if (!s->use_ring) {
        struct timespec zero = { 0 };
        int n;

        if (s->event_idx < s->event_count) {
            return true;
        }
        if (!s->io_q.in_flight) {
            return false;
        }
        n = io_getevents(s->ctx, 0, LAIO_GETEVENTS_BATCH, s->events, &zero);
        s->event_idx = 0;
        s->event_count = MAX(n, 0);
        return s->event_count > 0;
    }
    /* Pairs with the kernel's barrier before it moves the tail. */
    return ring->head != qatomic_load_acquire(&ring->tail);
}

/* Take one event off the ring; false if there is none. */
static bool laio_next_event(LinuxAioState *s, LaioRequest **req, ssize_t *res)
{
    struct aio_ring *ring = laio_ring(s);
    struct io_event event;

    if (!laio_has_events(s)) {
        return false;
    }
    if (s->use_ring) {
        unsigned head = ring->head;

        event = ring->io_events[head];
        head = head + 1 == ring->nr ? 0 : head + 1;
        /* The event is read before the kernel may write over it. */
        qatomic_store_release(&ring->head, head);
    } else {
        event = s->events[s->event_idx++];
    }

    *req = container_of(event.obj, LaioRequest, iocb);
    /* A long with -errno; res2 is the kernel's own business. */
    *res = (ssize_t)event.res;
    s->io_q.in_flight--;
    /*
     * This is what blocked requests have waited for.  Said before any
     * callback: a nested event loop may depend on them.
     */
    s->io_q.blocked = false;
    return true;
}

/* --- own wake-up (L3) --- */

static void laio_schedule_bh(LinuxAioState *s)
{
    if (!s->bh_scheduled) {
        s->bh_scheduled = true;
        qemu_bh_schedule(s->completion_bh);
    }
}

/* Is there anything that waits for nothing but being looked at? */
static bool laio_has_work(LinuxAioState *s)
{
    return !QSIMPLEQ_EMPTY(&s->rejected) ||
           (!QSIMPLEQ_EMPTY(&s->io_q.pending) && !s->io_q.blocked) ||
           laio_has_events(s);
}

/* A callback may run a nested event loop: before it, leave that a way in. */
static void laio_offer_bh(LinuxAioState *s)
{
    if (!s->bh_scheduled && laio_has_work(s)) {
        laio_schedule_bh(s);
    }
}

/* Called last: leave the bottom half scheduled just if it has work. */
static void laio_settle(LinuxAioState *s)
{
    if (laio_has_work(s)) {
        laio_schedule_bh(s);
    } else if (s->bh_scheduled) {
        s->bh_scheduled = false;
        qemu_bh_cancel(s->completion_bh);
    }
}

/* --- completion --- */

/* Tell the coroutine.  It may run before this returns; @req is gone then. */
static void laio_finish(LaioRequest *req, ssize_t ret)
{
    req->ret = ret;
    laio_set_state(req, LAIO_DONE);

    /*
     * A coroutine that is still in laio_co_submit() finds the result there.
     * From within another coroutine aio_co_wake() only queues it.
     */
    if (!qemu_coroutine_entered(req->co)) {
        aio_co_wake(req->co);
    }
}

static void laio_queue(LinuxAioState *s, LaioRequest *req)
{
    laio_set_state(req, LAIO_PENDING);
    QSIMPLEQ_INSERT_TAIL(&s->io_q.pending, req, next);
    s->io_q.in_queue++;
}

/* Prepare the iocb for what the request has still to do. */
static void laio_prep(LaioRequest *req)
{
    LinuxAioState *s = req->s;
    QEMUIOVector *qiov = req->has_tail ? &req->tail : req->qiov;
    uint64_t offset = req->offset + req->start;

    if (req->type == QEMU_AIO_READ) {
        io_prep_preadv(&req->iocb, req->fd, qiov->iov, qiov->niov, offset);
    } else if (req->type == QEMU_AIO_FLUSH) {
        io_prep_fdsync(&req->iocb, req->fd);
    } else {
        assert(req->type == QEMU_AIO_WRITE ||
               req->type == QEMU_AIO_ZONE_APPEND);
#ifdef HAVE_IO_PREP_PWRITEV2
        io_prep_pwritev2(&req->iocb, req->fd, qiov->iov, qiov->niov, offset,
                         (req->flags & BDRV_REQ_FUA) ? RWF_DSYNC : 0);
#else
        assert(!(req->flags & BDRV_REQ_FUA));
        io_prep_pwritev(&req->iocb, req->fd, qiov->iov, qiov->niov, offset);
#endif
    }
    io_set_eventfd(&req->iocb, event_notifier_get_fd(&s->e));
}

/* Queue what begins at byte @start of the request (L7). */
static void laio_submit_tail(LaioRequest *req, size_t start)
{
    req->start = start;
    if (req->has_tail) {
        qemu_iovec_reset(&req->tail);
    } else {
        qemu_iovec_init(&req->tail, req->qiov->niov);
        req->has_tail = true;
    }
    qemu_iovec_concat(&req->tail, req->qiov, start, req->qiov->size - start);
    laio_prep(req);
    laio_queue(req->s, req);
}

/* No byte more is to be had: the end of the file, or of the disk. */
static ssize_t laio_no_progress(LaioRequest *req)
{
    if (req->type == QEMU_AIO_READ) {
        qemu_iovec_memset(req->qiov, req->done, 0,
                          req->qiov->size - req->done);
        return 0;
    }
    return -ENOSPC;
}

/*
 * The exact tail of a short direct transfer may be unaligned, which the kernel
 * refuses with -EINVAL.  Then do again, harmlessly, from an aligned offset;
 * false if that is where it was tried.
 */
static bool laio_try_realigned(LaioRequest *req)
{
    uint64_t down = (req->offset + req->done) & ~(LAIO_TAIL_ALIGN - 1ULL);
    size_t start = down > req->offset ? down - req->offset : 0;

    if (start == req->start) {
        return false;
    }
    laio_submit_tail(req, start);
    return true;
}

/*
 * The kernel is done with @req: @res bytes, or -errno.  Either completes the
 * request or queues its tail.
 */
static void laio_process_result(LaioRequest *req, ssize_t res)
{
    size_t reached;

    if (req->type == QEMU_AIO_FLUSH) {
        laio_finish(req, res < 0 ? res : 0);
        return;
    }
    if (res < 0) {
        if (res == -EINVAL && req->start && laio_try_realigned(req)) {
            return;
        }
        laio_finish(req, res);
        return;
    }

    reached = req->start + res;
    if (reached == req->qiov->size) {
        laio_finish(req, 0);
    } else if (reached > req->qiov->size) {
        /* More than was asked for: nothing of it can be trusted. */
        laio_finish(req, -EIO);
    } else if (req->type == QEMU_AIO_ZONE_APPEND) {
        /* Appended where, and how much of it?  It cannot be continued. */
        laio_finish(req, -EIO);
    } else if (res == 0 || reached <= req->done) {
        laio_finish(req, laio_no_progress(req));
    } else {
        req->done = reached;
        laio_submit_tail(req, reached);
    }
}

static void laio_complete_rejected(LinuxAioState *s)
{
    while (s->budget && !QSIMPLEQ_EMPTY(&s->rejected)) {
        LaioRequest *req = QSIMPLEQ_FIRST(&s->rejected);

        QSIMPLEQ_REMOVE_HEAD(&s->rejected, next);
        s->budget--;
        laio_offer_bh(s);
        laio_process_result(req, req->ret);
    }
}

/* Deliver what the ring has, within the budget; number of completions. */
static unsigned laio_reap_events(LinuxAioState *s)
{
    LaioRequest *req;
    ssize_t res;
    unsigned events = 0;

    while (s->budget && laio_next_event(s, &req, &res)) {
        s->budget--;
        events++;
        laio_offer_bh(s);
        laio_process_result(req, res);
    }
    return events;
}

/*
 * Complete what can be completed, and go on as long as that makes the kernel
 * complete more, within the budget.  Wakes coroutines.
 */
static void laio_reap(LinuxAioState *s)
{
    unsigned events, total = 0;

    do {
        defer_call_begin();
        laio_complete_rejected(s);
        events = laio_reap_events(s);
        if (!QSIMPLEQ_EMPTY(&s->io_q.pending)) {
            /* What was blocked has not been deferred yet. */
            defer_call(laio_deferred_fn, s);
        }
        /* Submits what the coroutines have queued. */
        defer_call_end();
        total += events;
    } while (events && s->budget && laio_has_events(s));

    if (total && laio_observer && laio_observer->reap) {
        laio_observer->reap(s, total);
    }
}

/* An event loop callback: a new dispatch, with a budget of its own. */
static void laio_dispatch(LinuxAioState *s)
{
    s->budget = LAIO_BUDGET;
    laio_reap(s);
    /* Where this is within another section, its end did not submit. */
    laio_deferred_fn(s);
    laio_settle(s);
}

static void laio_completion_bh(void *opaque)
{
    LinuxAioState *s = opaque;

    s->bh_scheduled = false;
    laio_dispatch(s);
}

static void laio_completion_cb(EventNotifier *e)
{
    LinuxAioState *s = container_of(e, LinuxAioState, e);

    /*
     * First the signal, which a nested event loop may have taken before, then
     * the ring: what comes later signals again.
     */
    event_notifier_test_and_clear(&s->e);
    laio_dispatch(s);
}

static bool laio_poll_cb(void *opaque)
{
    EventNotifier *e = opaque;
    LinuxAioState *s = container_of(e, LinuxAioState, e);

    return laio_has_events(s);
}

static void laio_poll_ready(EventNotifier *e)
{
    laio_dispatch(container_of(e, LinuxAioState, e));
}

/* --- submission --- */

/* The kernel wants no more now, and no completion will tell when (L6). */
static void laio_arm_retry(LinuxAioState *s)
{
    int64_t delay = MAX(s->retry_delay_ns, LAIO_RETRY_MIN_NS);

    /* While it is armed the queue is blocked, and nobody submits. */
    assert(!s->retry_armed);
    s->retry_armed = true;
    s->retry_delay_ns = MIN(delay * 2, LAIO_RETRY_MAX_NS);
    timer_mod(s->retry_timer,
              qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + delay);
    if (laio_observer && laio_observer->retry) {
        laio_observer->retry(s, delay);
    }
}

static void laio_retry_cb(void *opaque)
{
    LinuxAioState *s = opaque;

    s->retry_armed = false;
    s->io_q.blocked = false;
    s->budget = LAIO_BUDGET;
    ioq_submit(s);
}

/* Move the first @n pending requests to the state IN_FLIGHT. */
static void laio_accepted(LinuxAioState *s, int n)
{
    s->io_q.in_queue -= n;
    s->io_q.in_flight += n;
    while (n--) {
        LaioRequest *req = QSIMPLEQ_FIRST(&s->io_q.pending);

        QSIMPLEQ_REMOVE_HEAD(&s->io_q.pending, next);
        laio_set_state(req, LAIO_IN_FLIGHT);
    }
}

/* Take the first pending request for one that the kernel does not want. */
static void laio_reject_first(LinuxAioState *s, int error)
{
    LaioRequest *req = QSIMPLEQ_FIRST(&s->io_q.pending);

    QSIMPLEQ_REMOVE_HEAD(&s->io_q.pending, next);
    s->io_q.in_queue--;
    req->ret = error;
    laio_set_state(req, LAIO_REJECTED);
    QSIMPLEQ_INSERT_TAIL(&s->rejected, req, next);
}

/* One io_submit(2) of what fits; its result. */
static int laio_submit_batch(LinuxAioState *s, unsigned room)
{
    LaioRequest *req;
    int eintr = 0, len = 0, ret;

    QSIMPLEQ_FOREACH(req, &s->io_q.pending, next) {
        s->iocbs[len++] = &req->iocb;
        if ((unsigned)len == room) {
            break;
        }
    }

    do {
        ret = io_submit(s->ctx, len, s->iocbs);
    } while (ret == -EINTR && ++eintr < LAIO_EINTR_MAX);

    if (laio_observer && laio_observer->submit) {
        laio_observer->submit(s, len, ret, get_ioq_submit_depth());
    }
    /* None taken and no reason given: that is a "try again", too. */
    return ret == 0 || ret == -EINTR ? -EAGAIN : ret;
}

/*
 * Give the kernel all that it takes.  Requests that it refuses go on
 * s->rejected; the rest of their batch is submitted all the same (L5).  No
 * coroutine runs.
 */
static void laio_submit_pending(LinuxAioState *s)
{
    while (!QSIMPLEQ_EMPTY(&s->io_q.pending) &&
           s->io_q.in_flight < LAIO_MAX_EVENTS) {
        int ret = laio_submit_batch(s, LAIO_MAX_EVENTS - s->io_q.in_flight);

        if (ret == -EAGAIN) {
            break;
        }
        s->retry_delay_ns = 0;
        if (ret < 0) {
            laio_reject_first(s, ret);
        } else {
            laio_accepted(s, ret);
        }
    }

    s->io_q.blocked = !QSIMPLEQ_EMPTY(&s->io_q.pending);
    if (s->io_q.blocked && !s->io_q.in_flight) {
        laio_arm_retry(s);
    }
}

/*
 * Submit what is pending, then complete what is complete already, unless that
 * would nest too deeply (L1) or has gone on for too long (L8).
 */
static void ioq_submit(LinuxAioState *s)
{
    unsigned depth = get_ioq_submit_depth() + 1;

    set_ioq_submit_depth(depth);
    laio_submit_pending(s);
    if (depth < IOQ_SUBMIT_MAX_DEPTH && s->budget &&
        (!QSIMPLEQ_EMPTY(&s->rejected) || laio_has_events(s))) {
        laio_reap(s);
    }
    set_ioq_submit_depth(depth - 1);

    laio_settle(s);
}

static void laio_deferred_fn(void *opaque)
{
    LinuxAioState *s = opaque;

    if (!QSIMPLEQ_EMPTY(&s->io_q.pending) && !s->io_q.blocked) {
        ioq_submit(s);
    }
}

static unsigned laio_max_batch(LinuxAioState *s, uint64_t dev_max_batch)
{
    uint64_t max_batch = s->aio_context->aio_max_batch > 0 ?
                         s->aio_context->aio_max_batch :
                         LAIO_DEFAULT_MAX_BATCH;

    return MIN(MIN_NON_ZERO(dev_max_batch, max_batch), LAIO_MAX_EVENTS);
}

static void laio_do_submit(LaioRequest *req, uint64_t dev_max_batch)
{
    LinuxAioState *s = req->s;

    laio_prep(req);
    laio_queue(s, req);
    if (s->io_q.blocked) {
        return;
    }
    if (s->io_q.in_queue >= laio_max_batch(s, dev_max_batch)) {
        ioq_submit(s);
    } else {
        defer_call(laio_deferred_fn, s);
        if (!QSIMPLEQ_EMPTY(&s->io_q.pending) && !s->io_q.blocked) {
            /*
             * Put off to the end of the section; but a nested event loop
             * within it would wait for that for ever (L4).
             */
            laio_schedule_bh(s);
        }
    }
}

int coroutine_fn laio_co_submit(int fd, uint64_t offset, QEMUIOVector *qiov,
                                int type, BdrvRequestFlags flags,
                                uint64_t dev_max_batch)
{
    LinuxAioState *s = aio_get_linux_aio(qemu_get_current_aio_context());
    LaioRequest req;

    req.s = s;
    req.co = qemu_coroutine_self();
    req.qiov = qiov;
    req.offset = offset;
    req.ret = -EINPROGRESS;
    req.done = 0;
    req.start = 0;
    req.has_tail = false;
    req.fd = fd;
    req.type = type;
    req.flags = flags;

    laio_do_submit(&req, dev_max_batch);
    if (req.state != LAIO_DONE) {
        qemu_coroutine_yield();
    }
    assert(req.state == LAIO_DONE);

    if (req.has_tail) {
        qemu_iovec_destroy(&req.tail);
    }
    return req.ret;
}

/* --- life --- */

void laio_get_info(LinuxAioState *s, LaioInfo *info)
{
    *info = (LaioInfo) {
        .pending = s->io_q.in_queue,
        .in_flight = s->io_q.in_flight,
        .rejected = !QSIMPLEQ_EMPTY(&s->rejected),
        .blocked = s->io_q.blocked,
        .bh_scheduled = s->bh_scheduled,
        .retry_armed = s->retry_armed,
        .ring_empty = !laio_has_events(s),
    };
}

void laio_detach_aio_context(LinuxAioState *s, AioContext *old_context)
{
    assert(s->aio_context == old_context);
    assert(QSIMPLEQ_EMPTY(&s->io_q.pending) && !s->io_q.in_flight &&
           QSIMPLEQ_EMPTY(&s->rejected));

    aio_set_event_notifier(old_context, &s->e, NULL, NULL, NULL);
    qemu_bh_delete(s->completion_bh);
    s->completion_bh = NULL;
    s->bh_scheduled = false;
    timer_free(s->retry_timer);
    s->retry_timer = NULL;
    s->retry_armed = false;
    s->aio_context = NULL;
}

void laio_attach_aio_context(LinuxAioState *s, AioContext *new_context)
{
    s->aio_context = new_context;
    s->completion_bh = aio_bh_new(new_context, laio_completion_bh, s);
    s->retry_timer = aio_timer_new(new_context, QEMU_CLOCK_REALTIME, SCALE_NS,
                                   laio_retry_cb, s);
    s->retry_delay_ns = 0;
    aio_set_event_notifier(new_context, &s->e, laio_completion_cb,
                           laio_poll_cb, laio_poll_ready);
}

LinuxAioState *laio_init(Error **errp)
{
    LinuxAioState *s = g_new0(LinuxAioState, 1);
    struct stat st = { 0 };
    int ret;

    ret = event_notifier_init(&s->e, false);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "failed to initialize event notifier");
        goto free_state;
    }
    /* A pipe, if there is no eventfd(2): the kernel cannot signal that. */
    fstat(event_notifier_get_fd(&s->e), &st);
    if (S_ISFIFO(st.st_mode)) {
        error_setg_errno(errp, ENOSYS, "failed to initialize event notifier");
        goto cleanup_notifier;
    }
    ret = io_setup(LAIO_MAX_EVENTS, &s->ctx);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "failed to create linux AIO context");
        goto cleanup_notifier;
    }

    s->use_ring = laio_ring_usable(s);
    s->budget = LAIO_BUDGET;
    QSIMPLEQ_INIT(&s->io_q.pending);
    QSIMPLEQ_INIT(&s->rejected);
    return s;

cleanup_notifier:
    event_notifier_cleanup(&s->e);
free_state:
    g_free(s);
    return NULL;
}

void laio_cleanup(LinuxAioState *s)
{
    assert(!s->aio_context);
    event_notifier_cleanup(&s->e);
    if (io_destroy(s->ctx) != 0) {
        fprintf(stderr, "%s: io_destroy failed\n", __func__);
    }
    g_free(s);
}

bool laio_has_fdsync(int fd)
{
    struct iocb cb;
    struct iocb *cbs[] = { &cb };
    struct io_event event;
    io_context_t ctx = NULL;
    bool ok = false;

    if (io_setup(1, &ctx) < 0) {
        return false;
    }
    io_prep_fdsync(&cb, fd);    /* clears the rest */
    if (io_submit(ctx, 1, cbs) == 1) {
        int ret;

        do {
            ret = io_getevents(ctx, 1, 1, &event, NULL);
        } while (ret == -EINTR);
        /* A file that cannot be synced at all is not the engine's matter. */
        ok = ret == 1 && (ssize_t)event.res != -EINVAL;
    }
    io_destroy(ctx);
    return ok;
}

bool laio_has_fua(void)
{
#ifdef HAVE_IO_PREP_PWRITEV2
    return true;
#else
    return false;
#endif
}
