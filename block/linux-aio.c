/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux AIO engine (aio=native).
 *
 * One LinuxAioState per AioContext, used in its home thread only.
 *
 * A request waits on io_q.pending until ioq_submit() gives it to the kernel.
 * Its completion appears in the ring, which user space reads without a system
 * call; laio_reap() takes it from there and wakes the coroutine.  The kernel
 * may complete requests within io_submit(2): then the woken coroutines queue
 * more requests, which complete at once, and so on.  Five rules keep that from
 * becoming a recursion, a hang, or an event loop that does nothing else:
 *   - Submitting and reaping are two steps.  ioq_submit() gives everything
 *     pending to the kernel; it reaps inline only while a per-thread count of
 *     active ioq_submit() calls is below IOQ_SUBMIT_MAX_DEPTH.
 *   - Reaping is a loop.  After the section in which coroutines are woken has
 *     ended, and with it their new requests have been submitted, the loop
 *     reads the ring again.
 *   - A dispatch has a budget: LAIO_BUDGET completions, and LAIO_BUDGET_NS of
 *     time once io_submit(2) completes requests itself.  When it is used up the
 *     event loop looks at all descriptors and timers first (laio_yield()).
 *   - A function that leaves work behind makes sure that the event loop comes
 *     back for it (laio_update_bh()), and does so before every callback, too,
 *     since a callback may run a nested event loop.
 *   - A refused request goes on s->rejected, which the reaper completes: no
 *     coroutine is woken from within ioq_submit()'s loop.
 *
 * No local variable keeps state across a callback, because a nested event loop
 * may change it.
 */
#include "qemu/osdep.h"
#include "block/block.h"
#include "block/raw-aio.h"
#include "block/aio-parts.h"
#include "block/linux-aio-quiet.h"
#include "qapi/error.h"
#include "qemu/coroutine.h"
#include "qemu/coroutine-tls.h"
#include "qemu/defer-call.h"
#include "qemu/error-report.h"
#include "qemu/event_notifier.h"
#include "qemu/queue.h"
#include "qemu/timer.h"
#include "trace/trace-block.h"

/* On the stack of the coroutine that waits for it. */
typedef struct LaioRequest {
    struct iocb iocb;
    LinuxAioState *s;
    Coroutine *co;
    QEMUIOVector *qiov;
    uint64_t offset;
    ssize_t ret;                /* -EINPROGRESS until LAIO_DONE */
    size_t done;                /* bytes transferred by earlier submissions */
    int fd;
    int type;
    BdrvRequestFlags flags;
    LaioState state;
    unsigned max_batch;         /* of an io_submit(2) that it is part of */
    unsigned interrupted;       /* how often its result was -EINTR */
    QEMUIOVector tail;          /* of qiov from done on; if done is not 0 */
    QSIMPLEQ_ENTRY(LaioRequest) next;
} LaioRequest;

typedef QSIMPLEQ_HEAD(, LaioRequest) LaioRequestList;

typedef struct {
    LaioRequestList pending;
    unsigned in_queue;          /* length of pending */
    unsigned in_flight;         /* accepted by the kernel, not yet reaped */
    bool blocked;               /* wait for a completion or the retry timer */
} LaioQueue;

/* All fields belong to the home thread. */
struct LinuxAioState {
    AioContext *aio_context;
    io_context_t ctx;
    EventNotifier e;

    LaioQueue io_q;
    LaioRequestList rejected;

    QEMUBH *completion_bh;
    bool bh_scheduled;
    bool reaping;               /* delivers events; see laio_is_due() */

    /* The budget of this dispatch (L8); see laio_budget_begin(). */
    unsigned budget;            /* completions that are left */
    int64_t deadline_ns;        /* 0 until io_submit(2) completes a request */
    bool time_over;
    unsigned sync_calls;        /* since the clock was started */
    bool in_dispatch;           /* else the deadline may be an old one */
    unsigned slice;             /* requests per call, if those are slow */
    QEMUTimer *yield_timer;
    bool yielded;

    QEMUTimer *retry_timer;
    bool retry_armed;
    int64_t retry_delay_ns;     /* of the next retry; 0: the first one */
    unsigned retries;           /* in a row */

    LaioQuiet quiet;            /* requests without the eventfd (L3) */

    /* For io_submit(2): no callback runs while it is in use. */
    struct iocb *iocbs[LAIO_MAX_EVENTS];
};

static const char *const laio_state_names[] = {
    [LAIO_PENDING] = "pending",
    [LAIO_IN_FLIGHT] = "in-flight",
    [LAIO_REJECTED] = "rejected",
    [LAIO_DONE] = "done",
};

/*
 * Active ioq_submit() calls of this thread, of all its engines together: they
 * share one stack.  See IOQ_SUBMIT_MAX_DEPTH.
 */
QEMU_DEFINE_STATIC_CO_TLS(unsigned, ioq_submit_depth)

static void ioq_submit(LinuxAioState *s);

static void laio_set_state(LaioRequest *req, LaioState state)
{
    req->state = state;
    trace_laio_request(req->s, req, req->type, laio_state_names[state],
                       req->ret);
}

/* --- the ring --- */

static bool laio_has_events(LinuxAioState *s)
{
    struct aio_ring *ring = laio_ring(s->ctx);

    /* Pairs with the kernel's barrier before it moves the tail. */
    return ring->head != qatomic_load_acquire(&ring->tail);
}

/* Take one event off the ring; false if there is none. */
static bool laio_next_event(LinuxAioState *s, LaioRequest **req, ssize_t *res)
{
    struct aio_ring *ring = laio_ring(s->ctx);
    unsigned head = ring->head;
    struct io_event event;

    if (!laio_has_events(s)) {
        return false;
    }
    event = ring->io_events[head];
    head = head + 1 == ring->nr ? 0 : head + 1;
    /* The event is read before the kernel may write over it. */
    qatomic_store_release(&ring->head, head);

    *req = container_of(event.obj, LaioRequest, iocb);
    /* A long with -errno; res2 has no meaning for user space. */
    *res = (ssize_t)event.res;
    s->io_q.in_flight--;
    s->quiet.requests -= laio_is_quiet(event.obj);
    /* Before any callback runs: a nested event loop may depend on it. */
    s->io_q.blocked = false;
    return true;
}

/* --- the budget of a dispatch (L8) --- */

static bool laio_exhausted(LinuxAioState *s)
{
    return !s->budget || s->time_over;
}

/* An engine with a budget does not wait for its turn. */
static void laio_budget_renew(LinuxAioState *s)
{
    s->budget = LAIO_BUDGET;
    s->time_over = false;
    if (s->yielded) {
        s->yielded = false;
        timer_del(s->yield_timer);
    }
}

/*
 * A callback of the event loop begins: a dispatch.  A coroutine that runs
 * outside of one uses what the last dispatch has left, since its requests may
 * complete at once, one after the other, without an end.
 */
static void laio_budget_begin(LinuxAioState *s)
{
    laio_budget_renew(s);
    s->in_dispatch = true;
    if (s->deadline_ns) {
        s->deadline_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) +
                         LAIO_BUDGET_NS;
        s->sync_calls = 0;
    }
}

/* Nothing is left to do: the next synchronous request starts the clock. */
static void laio_budget_reset(LinuxAioState *s)
{
    laio_budget_renew(s);
    s->deadline_ns = 0;
    s->in_dispatch = false;
    s->slice = LAIO_MAX_EVENTS;
}

/* A call has completed some of its @len requests, and taken any time. */
static void laio_charge_time(LinuxAioState *s, unsigned len)
{
    int64_t now = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

    if (!s->deadline_ns) {
        s->deadline_ns = now + LAIO_BUDGET_NS;
        s->sync_calls = 0;
    }
    s->sync_calls++;
    if (now >= s->deadline_ns) {
        s->time_over = true;
        if (s->in_dispatch && now - s->deadline_ns > LAIO_BUDGET_NS) {
            /* A single call takes longer than a dispatch should. */
            s->slice = MAX(len / 2, 1);
        }
    }
}

/* The dispatch ends. */
static void laio_budget_end(LinuxAioState *s)
{
    s->in_dispatch = false;
    if (!s->time_over || s->sync_calls >= 4) {
        s->slice = MIN(s->slice * 2, LAIO_MAX_EVENTS);
    }
}

/* --- own wake-up (L3) --- */

/*
 * Come back after the event loop has looked at all descriptors and timers.
 * Not by a bottom half: an event loop that has one scheduled does not wait,
 * and one that does not wait need not look at descriptors.  The signal is seen
 * by the next poll that waits.  The timer is for a loop of polls that do not.
 */
static void laio_yield(LinuxAioState *s)
{
    if (!s->yielded) {
        s->yielded = true;
        event_notifier_set(&s->e);
        timer_mod(s->yield_timer,
                  qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + LAIO_YIELD_NS);
        trace_laio_yield(s, s->io_q.in_queue, s->time_over);
    }
}

/* Is there anything that need not wait for the kernel? */
static bool laio_has_work(LinuxAioState *s)
{
    return !QSIMPLEQ_EMPTY(&s->rejected) ||
           (!QSIMPLEQ_EMPTY(&s->io_q.pending) && !s->io_q.blocked) ||
           laio_has_events(s);
}

/*
 * Make the event loop come back if, and only if, there is work.  Called last by
 * each function that may leave work behind.
 */
static void laio_update_bh(LinuxAioState *s)
{
    bool wanted = laio_has_work(s);

    if (wanted && laio_exhausted(s)) {
        laio_yield(s);
        wanted = false;
    }
    if (wanted && !s->bh_scheduled) {
        qemu_bh_schedule(s->completion_bh);
    } else if (!wanted && s->bh_scheduled) {
        qemu_bh_cancel(s->completion_bh);
    }
    s->bh_scheduled = wanted;
}

/* Before a callback, which may run a nested event loop: leave that a way in. */
static void laio_offer_bh(LinuxAioState *s)
{
    if (!s->bh_scheduled) {
        laio_update_bh(s);
    }
}

/* --- completion --- */

/* Tell the coroutine.  It may run before this returns; @req is gone then. */
static void laio_finish(LaioRequest *req, ssize_t ret)
{
    req->ret = ret;
    laio_set_state(req, LAIO_DONE);

    /* A coroutine that is still in laio_co_submit() finds the result there. */
    if (!qemu_coroutine_entered(req->co)) {
        aio_co_wake(req->co);
    }
}

static void laio_queue(LaioRequest *req)
{
    LinuxAioState *s = req->s;

    laio_set_state(req, LAIO_PENDING);
    QSIMPLEQ_INSERT_TAIL(&s->io_q.pending, req, next);
    s->io_q.in_queue++;
}

/* For what is still to do. */
static void laio_prep(LaioRequest *req)
{
    laio_prep_iocb(&req->iocb, req->fd, req->type, req->flags,
                   req->done ? &req->tail : req->qiov,
                   req->offset + req->done);
    io_set_eventfd(&req->iocb, event_notifier_get_fd(&req->s->e));
}

/* @bytes more were transferred, but not all: queue the rest (L7). */
static void laio_queue_tail(LaioRequest *req, size_t bytes)
{
    if (req->done) {
        qemu_iovec_reset(&req->tail);
    } else {
        qemu_iovec_init(&req->tail, req->qiov->niov);
    }
    req->done += bytes;
    qemu_iovec_concat(&req->tail, req->qiov, req->done,
                      req->qiov->size - req->done);
    laio_prep(req);
    laio_queue(req);
}

/* The kernel has transferred 0 bytes: the end of the file, or of the disk. */
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
 * The kernel has done less than all of @req: @res bytes, or -errno.  Either
 * completes the request or queues it, or its tail, again.
 */
static void laio_process_result(LaioRequest *req, ssize_t res)
{
    if (res == -EINTR && req->interrupted++ < LAIO_EINTR_MAX) {
        /* FUSE, when a signal came in; worker threads try again, too. */
        laio_queue(req);
        return;
    }
    if (res == -EINVAL && req->type == QEMU_AIO_READ && req->done &&
        laio_is_at_eof(req->fd, req->offset + req->done)) {
        res = 0;
    }

    if (res < 0 || req->type == QEMU_AIO_FLUSH) {
        laio_finish(req, res);
    } else if (res == 0) {
        laio_finish(req, laio_no_progress(req));
    } else if (req->type == QEMU_AIO_ZONE_APPEND) {
        /* The engine does not know where the rest of it would go. */
        laio_finish(req, -EIO);
    } else {
        laio_queue_tail(req, res);
    }
}

static void laio_complete_rejected(LinuxAioState *s)
{
    while (!laio_exhausted(s) && !QSIMPLEQ_EMPTY(&s->rejected)) {
        LaioRequest *req = QSIMPLEQ_FIRST(&s->rejected);

        QSIMPLEQ_REMOVE_HEAD(&s->rejected, next);
        s->budget--;
        laio_offer_bh(s);
        laio_process_result(req, req->ret);
    }
}

/* Deliver the events of the ring, within the budget; how many they were. */
static unsigned laio_reap_events(LinuxAioState *s)
{
    LaioRequest *req;
    ssize_t res;
    unsigned events = 0;

    while (!laio_exhausted(s) && laio_next_event(s, &req, &res)) {
        s->budget--;
        events++;
        laio_offer_bh(s);
        if (res > 0 && req->done + res >= req->qiov->size) {
            laio_finish(req, 0);
        } else {
            laio_process_result(req, res);
        }
    }
    return events;
}

static void laio_deferred_fn(void *opaque)
{
    LinuxAioState *s = opaque;

    if (!QSIMPLEQ_EMPTY(&s->io_q.pending) && !s->io_q.blocked) {
        ioq_submit(s);
    }
}

/*
 * Complete what can be completed, and repeat that as long as it makes the
 * kernel complete more, within the budget.  Wakes coroutines.
 */
static void laio_reap(LinuxAioState *s)
{
    unsigned events, total = 0;

    do {
        defer_call_begin();
        laio_complete_rejected(s);
        s->reaping = true;
        events = laio_reap_events(s);
        s->reaping = false;
        if (!QSIMPLEQ_EMPTY(&s->io_q.pending)) {
            /* Requests that were blocked have no deferred call yet. */
            defer_call(laio_deferred_fn, s);
        }
        /* Submits what the coroutines have queued. */
        defer_call_end();
        total += events;
    } while (events && !laio_exhausted(s) && laio_has_events(s));

    trace_laio_reap(s, total);
}

/* The callbacks of the event loop come here: a dispatch. */
static void laio_dispatch(void *opaque)
{
    LinuxAioState *s = opaque;

    laio_budget_begin(s);
    laio_reap(s);
    /* Where this is within another section, its end did not submit. */
    laio_deferred_fn(s);
    laio_update_bh(s);
    if (laio_has_work(s)) {
        laio_budget_end(s);
    } else {
        laio_budget_reset(s);
    }
}

static void laio_completion_bh(void *opaque)
{
    LinuxAioState *s = opaque;

    s->bh_scheduled = false;
    laio_dispatch(s);
}

/* Where the bottom half is scheduled that will be a dispatch: one is enough. */
static void laio_poll_ready(EventNotifier *e)
{
    LinuxAioState *s = container_of(e, LinuxAioState, e);

    if (!s->bh_scheduled) {
        laio_dispatch(s);
    }
}

static void laio_completion_cb(EventNotifier *e)
{
    /* Before the ring is read: a completion that comes later signals again. */
    event_notifier_test_and_clear(e);
    laio_poll_ready(e);
}

/* While it yields the engine wants the event loop to look at descriptors. */
static bool laio_poll_cb(void *opaque)
{
    LinuxAioState *s = container_of((EventNotifier *)opaque, LinuxAioState, e);

    return !s->yielded && laio_has_events(s);
}

/* --- submission --- */

/* The kernel wants no more now, and no completion will tell when (L6). */
static void laio_arm_retry(LinuxAioState *s)
{
    int64_t delay = MAX(s->retry_delay_ns, LAIO_RETRY_MIN_NS);

    /* While the timer is armed the queue is blocked, so nobody submits. */
    assert(!s->retry_armed);
    s->retry_armed = true;
    s->retry_delay_ns = MIN(delay * 2, LAIO_RETRY_MAX_NS);
    timer_mod(s->retry_timer,
              qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + delay);
    trace_laio_retry(s, delay);
    if (++s->retries == LAIO_RETRIES_TO_WARN) {
        warn_report_once("Linux AIO: the kernel has refused requests %u times "
                         "with EAGAIN, trying again every %lld ms",
                         s->retries, LAIO_RETRY_MAX_NS / SCALE_MS);
    }
}

static void laio_retry_cb(void *opaque)
{
    LinuxAioState *s = opaque;

    s->retry_armed = false;
    s->io_q.blocked = false;
    laio_dispatch(s);
}

static void laio_look_cb(void *opaque)
{
    LinuxAioState *s = opaque;

    laio_quiet_look(&s->quiet);
    laio_dispatch(s);
}

/* Move the first @n pending requests to the state IN_FLIGHT. */
static void laio_accepted(LinuxAioState *s, int n)
{
    s->io_q.in_queue -= n;
    s->io_q.in_flight += n;
    while (n--) {
        LaioRequest *req = QSIMPLEQ_FIRST(&s->io_q.pending);

        QSIMPLEQ_REMOVE_HEAD(&s->io_q.pending, next);
        s->quiet.requests += laio_is_quiet(&req->iocb);
        laio_set_state(req, LAIO_IN_FLIGHT);
    }
    laio_quiet_note_call(&s->quiet, s->io_q.in_flight);
}

/* The kernel does not take the first pending request. */
static void laio_reject_first(LinuxAioState *s, int error)
{
    LaioRequest *req = QSIMPLEQ_FIRST(&s->io_q.pending);

    QSIMPLEQ_REMOVE_HEAD(&s->io_q.pending, next);
    s->io_q.in_queue--;
    req->ret = error;
    laio_set_state(req, LAIO_REJECTED);
    QSIMPLEQ_INSERT_TAIL(&s->rejected, req, next);
}

/* Of an event: has the io_submit(2) that took the request not ended? */
static bool laio_is_pending(struct iocb *cb)
{
    return container_of(cb, LaioRequest, iocb)->state == LAIO_PENDING;
}

/* One io_submit(2); its result, -EAGAIN if it has taken none. */
static int laio_submit_batch(LinuxAioState *s, unsigned depth)
{
    unsigned room = MIN(LAIO_MAX_EVENTS - s->io_q.in_flight, s->slice);
    bool quiet = laio_quiet_wanted(&s->quiet);
    unsigned tail, len = 0;
    LaioRequest *req;
    int ret;

    QSIMPLEQ_FOREACH(req, &s->io_q.pending, next) {
        if (len >= MIN(room, req->max_batch)) {
            break;
        }
        /* (A thread of the kernel's carries out a flush, also of a tmpfs.) */
        laio_set_quiet(&req->iocb, quiet && req->type != QEMU_AIO_FLUSH);
        s->iocbs[len++] = &req->iocb;
    }
    laio_set_quiet(s->iocbs[len - 1], false);
    tail = qatomic_read(&laio_ring(s->ctx)->tail);
    ret = io_submit(s->ctx, len, s->iocbs);
    trace_laio_submit(s, len, ret, depth);
    if (laio_ring_any(s->ctx, tail, laio_is_pending)) {
        laio_charge_time(s, len);
    }
    return ret ? ret : -EAGAIN;
}

/*
 * Give the kernel all that it takes, and wake nobody.  Requests that it refuses
 * go on s->rejected; the rest of their batch is submitted all the same (L5).
 */
static void laio_submit_pending(LinuxAioState *s, unsigned depth)
{
    while (!QSIMPLEQ_EMPTY(&s->io_q.pending) && !s->time_over) {
        int ret = -EAGAIN;

        if (s->io_q.in_flight < LAIO_MAX_EVENTS) {
            ret = laio_submit_batch(s, depth);
        }
        if (ret == -EAGAIN) {
            s->io_q.blocked = true;
            if (!s->io_q.in_flight) {
                laio_arm_retry(s);
            }
            return;
        }
        s->retry_delay_ns = 0;
        s->retries = 0;
        if (ret < 0) {
            laio_reject_first(s, ret);
        } else {
            laio_accepted(s, ret);
        }
    }
}

/*
 * Submit what is pending, then complete what is complete already, unless that
 * would nest too deeply (L1) or has used up the budget (L8).
 */
static void ioq_submit(LinuxAioState *s)
{
    unsigned depth = get_ioq_submit_depth() + 1;

    set_ioq_submit_depth(depth);
    laio_submit_pending(s, depth);
    if (depth < IOQ_SUBMIT_MAX_DEPTH && !laio_exhausted(s) &&
        (!s->reaping || s->deadline_ns) &&
        (!QSIMPLEQ_EMPTY(&s->rejected) || laio_has_events(s))) {
        laio_reap(s);
    }
    set_ioq_submit_depth(depth - 1);

    laio_update_bh(s);
    if (s->deadline_ns && !s->in_dispatch && !qemu_in_coroutine() &&
        !laio_has_work(s)) {
        laio_budget_reset(s);
    }
}

/*
 * Must pending requests not wait for the end of the section?  In one that
 * delivers completions a disk may have nothing else to do until it ends.
 */
static bool laio_is_due(LinuxAioState *s, const LaioRequest *last)
{
    const LaioRequest *first = QSIMPLEQ_FIRST(&s->io_q.pending);
    unsigned n = s->io_q.in_queue;

    return n >= last->max_batch ||
           (s->reaping && !s->deadline_ns && n >= 2 && laio_has_events(s) &&
            aio_is_part(n, n + s->io_q.in_flight, first->qiov,
                        last->offset - first->offset));
}

static void laio_do_submit(LaioRequest *req)
{
    LinuxAioState *s = req->s;

    laio_prep(req);
    laio_queue(req);
    if (s->io_q.blocked) {
        return;
    }
    if (laio_is_due(s, req)) {
        ioq_submit(s);
        return;
    }
    defer_call(laio_deferred_fn, s);
    if (!QSIMPLEQ_EMPTY(&s->io_q.pending)) {
        /*
         * The end of the section submits it; but a nested event loop within
         * the section would wait for that for ever (L4).
         */
        laio_offer_bh(s);
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
    req.fd = fd;
    req.type = type;
    req.flags = flags;
    req.max_batch = laio_max_batch(s->aio_context->aio_max_batch,
                                   dev_max_batch);
    req.interrupted = 0;

    laio_do_submit(&req);
    if (req.state != LAIO_DONE) {
        qemu_coroutine_yield();
    }
    assert(req.state == LAIO_DONE);

    if (req.done) {
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
        .yielded = s->yielded,
        .retry_armed = s->retry_armed,
        .retry_delay_ns = s->retry_delay_ns,
        .quiet = laio_quiet_in_kernel(&s->quiet),
        .look_armed = s->quiet.armed,
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
    timer_free(s->yield_timer);
    s->yield_timer = NULL;
    s->yielded = false;
    timer_free(s->retry_timer);
    s->retry_timer = NULL;
    s->retry_armed = false;
    laio_quiet_detach(&s->quiet);
    s->aio_context = NULL;
}

void laio_attach_aio_context(LinuxAioState *s, AioContext *new_context)
{
    s->aio_context = new_context;
    s->completion_bh = aio_bh_new(new_context, laio_completion_bh, s);
    s->yield_timer = aio_timer_new(new_context, QEMU_CLOCK_REALTIME, SCALE_NS,
                                   laio_dispatch, s);
    s->retry_timer = aio_timer_new(new_context, QEMU_CLOCK_REALTIME, SCALE_NS,
                                   laio_retry_cb, s);
    s->retry_delay_ns = 0;
    s->retries = 0;
    laio_quiet_attach(&s->quiet, s->ctx, new_context, laio_look_cb, s);
    laio_budget_reset(s);
    aio_set_event_notifier(new_context, &s->e, laio_completion_cb,
                           laio_poll_cb, laio_poll_ready);
}

LinuxAioState *laio_init(Error **errp)
{
    g_autofree LinuxAioState *s = g_new0(LinuxAioState, 1);
    int ret = event_notifier_init(&s->e, false);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "failed to initialize event notifier");
        return NULL;
    }
    s->ctx = laio_setup_context(errp);
    if (!s->ctx) {
        event_notifier_cleanup(&s->e);
        return NULL;
    }

    QSIMPLEQ_INIT(&s->io_q.pending);
    QSIMPLEQ_INIT(&s->rejected);
    trace_laio_init(s);
    return g_steal_pointer(&s);
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
