/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * io_uring engine (aio=io_uring).
 *
 * One LuringState per AioContext, used in its home thread only.  It keeps the
 * laws of the Linux AIO engine (docs/devel/linux-aio.rst) in the same way:
 * submitting and reaping are two steps, reaping is a loop within a budget, a
 * count of active luring_submit() calls bounds the stack, and whoever leaves
 * work behind makes sure that the event loop comes back for it.
 *
 * What differs: a request that the kernel refuses has a completion like any
 * other; what it did not take stays in the submission queue; and the ring's
 * descriptor is readable as long as there are completions, so that nothing
 * depends on a signal.
 *
 * No local variable keeps state across a callback, because a nested event loop
 * may change it.
 */
#include "qemu/osdep.h"
#include "block/aio-parts.h"
#include "block/block.h"
#include "block/raw-aio.h"
#include "block/io_uring-fixed.h"
#include "block/io_uring-ring.h"
#include "block/io_uring.h"
#include "qapi/error.h"
#include "qemu/aio-uring.h"
#include "qemu/coroutine.h"
#include "qemu/coroutine-tls.h"
#include "qemu/defer-call.h"
#include "qemu/error-report.h"
#include "qemu/iov.h"
#include "qemu/queue.h"
#include "qemu/timer.h"
#include "trace/trace-block.h"

/* On the stack of the coroutine that waits for it. */
typedef struct LuringRequest {
    LuringState *s;
    Coroutine *co;
    QEMUIOVector *qiov;         /* NULL: a flush */
    uint64_t offset;
    ssize_t ret;                /* -EINPROGRESS until it is done */
    size_t done;                /* bytes transferred by earlier submissions */
    int fd;
    int type;
    BdrvRequestFlags flags;
    unsigned sq_end;            /* position behind it in the SQ */
    unsigned interrupted;       /* how often its result was -EINTR */
    QEMUIOVector tail;          /* of qiov from done on; if done is not 0 */
    QSIMPLEQ_ENTRY(LuringRequest) next;
} LuringRequest;

/* All fields belong to the home thread. */
struct LuringState {
    AioContext *aio_context;
    struct io_uring *ring;      /* own_ring, or the fd monitor's */
    struct io_uring own_ring;
    bool shared;
    bool has_read;              /* the kernel (5.6) reads without an iovec */
    LuringFixed fixed;

    /* Not in the submission queue yet. */
    QSIMPLEQ_HEAD(, LuringRequest) pending;
    unsigned in_queue;          /* length of pending */
    unsigned in_flight;         /* in the SQ or the kernel, not yet reaped */
    unsigned sq_end;            /* position behind the last one in the SQ */
    uint64_t sq_bytes;          /* of the requests there */
    bool left;                  /* the next aio_poll() submits the SQ */
    bool sync;                  /* requests seem to complete within the call */
    unsigned left_in_a_row;     /* batches */
    bool blocked;               /* wait for a completion or the retry timer */

    QEMUBH *completion_bh;
    bool bh_scheduled;
    bool reaping;               /* delivers completions; see luring_is_due() */

    /* The budget of this dispatch (L8). */
    unsigned budget;            /* completions that are left */
    int64_t deadline_ns;        /* 0 until a call completes requests itself */
    bool time_over;

    QEMUTimer *retry_timer;
    bool retry_armed;
    int64_t retry_delay_ns;     /* of the next retry; 0: the first one */
    unsigned retries;           /* in a row */
};

/* Active luring_submit() calls of this thread; they share one stack (L1). */
QEMU_DEFINE_STATIC_CO_TLS(unsigned, luring_submit_depth)

static void luring_submit(LuringState *s);
static void luring_deferred_fn(void *opaque);

/* --- the ring --- */

/* Hand over the monitor's completions before the first of a request. */
static bool __attribute__((noinline)) luring_skip_others(LuringState *s)
{
    while (io_uring_cq_ready(s->ring)) {
        struct io_uring_cqe *cqe = luring_ring_first(s->ring);
        uint64_t user_data = cqe->user_data;
        int res = cqe->res;

        if (!aio_uring_is_own(cqe)) {
            return true;
        }
        io_uring_cqe_seen(s->ring, cqe);
        aio_uring_process(s->aio_context, user_data, res);
    }
    return false;
}

/* (On a ring of the engine's own there are no others.) */
static inline bool luring_has_events(LuringState *s)
{
    if (!io_uring_cq_ready(s->ring)) {
        return false;
    }
    return likely(!aio_uring_is_own(luring_ring_first(s->ring))) ||
           luring_skip_others(s);
}

/* Requests may be submitted again.  The timer is of the next refusal, then. */
static void luring_unblock(LuringState *s)
{
    s->blocked = false;
    if (s->retry_armed) {
        s->retry_armed = false;
        timer_del(s->retry_timer);
    }
}

/* Take one event off the ring; false if there is none. */
static bool luring_next_event(LuringState *s, LuringRequest **req, int *res)
{
    struct io_uring_cqe *cqe;

    if (!luring_has_events(s)) {
        return false;
    }
    cqe = luring_ring_first(s->ring);
    *req = io_uring_cqe_get_data(cqe);
    *res = cqe->res;
    io_uring_cqe_seen(s->ring, cqe);
    s->in_flight--;
    /* Before any callback runs: a nested event loop may depend on it. */
    if (unlikely(s->blocked)) {
        luring_unblock(s);
    }
    return true;
}

/*
 * Requests in the submission queue.  Entries of the monitor behind them do not
 * count; those between them do, which are there only after a refusal.
 */
static unsigned luring_in_sq(LuringState *s)
{
    int n = s->sq_end - luring_ring_sq_begin(s->ring);

    return MIN(MAX(n, 0), (int)s->in_flight);
}

/*
 * Requests that wait for luring_submit(), prepared or not.  What is left to the
 * next aio_poll() does not.
 */
static bool luring_has_pending(LuringState *s)
{
    return s->in_queue || (!s->left && luring_in_sq(s));
}

/* Will there be a completion? */
static bool luring_kernel_has_some(LuringState *s)
{
    return s->in_flight > luring_in_sq(s);
}

/* --- the budget of a dispatch (L8) --- */

static bool luring_exhausted(LuringState *s)
{
    return !s->budget || s->time_over;
}

static void luring_budget_begin(LuringState *s)
{
    s->budget = LURING_BUDGET;
    s->time_over = false;
    if (s->deadline_ns) {
        s->deadline_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) +
                         LURING_BUDGET_NS;
    }
}

/* Nothing is left to do: the next synchronous request starts the clock. */
static void luring_budget_reset(LuringState *s)
{
    s->deadline_ns = 0;
    luring_budget_begin(s);
}

/* A call has completed requests itself, so that it may have taken any time. */
static void luring_charge_time(LuringState *s)
{
    int64_t now = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

    if (!s->deadline_ns) {
        s->deadline_ns = now + LURING_BUDGET_NS;
    } else if (now >= s->deadline_ns) {
        s->time_over = true;
    }
}

/* --- own wake-up (L3) --- */

/* Is there anything that need not wait for the kernel? */
static bool luring_has_work(LuringState *s)
{
    return (luring_has_pending(s) && !s->blocked) || luring_has_events(s);
}

/*
 * Make the event loop come back if, and only if, there is work.  Called last
 * by each function that may leave work behind.
 */
static void luring_update_bh(LuringState *s)
{
    bool wanted = luring_has_work(s);

    if (wanted && luring_exhausted(s)) {
        /* The BH runs after the others have had their turn (L8). */
        aio_look_next(s->aio_context);
    }
    if (wanted && !s->bh_scheduled) {
        qemu_bh_schedule(s->completion_bh);
    } else if (!wanted && s->bh_scheduled) {
        qemu_bh_cancel(s->completion_bh);
    }
    s->bh_scheduled = wanted;
}

/*
 * Before a callback, which may run a nested event loop: leave that a way in
 * (L4).  It asks luring_poll_cb().  Where there is no nested loop this costs
 * nothing, as a BH would, for which the next turn of the loop does not wait.
 */
static void luring_offer(LuringState *s)
{
    if (!s->aio_context->look_next && luring_has_work(s)) {
        aio_look_next(s->aio_context);
    }
}

/* --- completion --- */

/* Tell the coroutine.  It may run before this returns; @req is gone then. */
static void luring_finish(LuringRequest *req, ssize_t ret)
{
    req->ret = ret;
    /* A coroutine that is still in luring_co_submit() finds the result. */
    if (!qemu_coroutine_entered(req->co)) {
        aio_co_wake(req->co);
    }
}

static void luring_queue(LuringRequest *req)
{
    QSIMPLEQ_INSERT_TAIL(&req->s->pending, req, next);
    req->s->in_queue++;
}

/* @bytes more were transferred, but not all: queue the rest (L7). */
static void luring_queue_tail(LuringRequest *req, size_t bytes)
{
    if (req->done) {
        qemu_iovec_reset(&req->tail);
    } else {
        qemu_iovec_init(&req->tail, req->qiov->niov);
    }
    req->done += bytes;
    qemu_iovec_concat(&req->tail, req->qiov, req->done,
                      req->qiov->size - req->done);
    luring_queue(req);
}

/* 0 bytes: the end of the file, or of the disk. */
static ssize_t luring_no_progress(LuringRequest *req)
{
    if (req->type == QEMU_AIO_READ) {
        qemu_iovec_memset(req->qiov, req->done, 0,
                          req->qiov->size - req->done);
        return 0;
    }
    return -ENOSPC;
}

static void luring_arm_retry(LuringState *s);

/* Submit no more until a completion, or the timer if none will come (L6). */
static void luring_block(LuringState *s)
{
    s->blocked = true;
    if (!luring_kernel_has_some(s) && !s->retry_armed) {
        luring_arm_retry(s);
    }
}

/* The kernel could not do it now: wait as if it had not taken it (L6). */
static void luring_try_later(LuringRequest *req)
{
    luring_queue(req);
    luring_block(req->s);
}

/* The kernel is done with @req: complete it, or queue it, or its tail. */
static void luring_process_result(LuringRequest *req, int res)
{
    if (res == -EINTR && req->interrupted++ < LURING_EINTR_MAX) {
        luring_queue(req);
    } else if (res == -EAGAIN) {
        luring_try_later(req);
    } else if (res < 0 || req->type == QEMU_AIO_FLUSH) {
        luring_finish(req, res);
    } else if (req->done + res >= req->qiov->size) {
        luring_finish(req, 0);
    } else if (res == 0) {
        luring_finish(req, luring_no_progress(req));
    } else if (req->type == QEMU_AIO_ZONE_APPEND) {
        /* The engine does not know where the rest of it would go. */
        luring_finish(req, -EIO);
    } else {
        luring_queue_tail(req, res);
    }
}

/* Deliver the events of the ring, within the budget; how many they were. */
static unsigned luring_reap_events(LuringState *s)
{
    LuringRequest *req;
    unsigned events = 0;
    int res;

    while (!luring_exhausted(s) && luring_next_event(s, &req, &res)) {
        s->budget--;
        events++;
        if (res != -EAGAIN) {
            s->retry_delay_ns = 0;
            s->retries = 0;
        }
        luring_offer(s);
        luring_process_result(req, res);
    }
    return events;
}

/*
 * Complete what can be completed, and repeat that as long as it makes the
 * kernel complete more, within the budget.  Wakes coroutines.
 */
static void luring_reap(LuringState *s)
{
    unsigned events, total = 0;

    do {
        defer_call_begin();
        s->reaping = true;
        events = luring_reap_events(s);
        s->reaping = false;
        if (luring_has_pending(s)) {
            /* Requests that were blocked have no deferred call yet. */
            defer_call(luring_deferred_fn, s);
        }
        /* Submits what the coroutines have queued. */
        defer_call_end();
        total += events;
    } while (events && !luring_exhausted(s) && luring_has_events(s));

    trace_luring_reap(s, total);
}

/* The callbacks of the event loop come here: a dispatch. */
static void luring_dispatch(LuringState *s)
{
    luring_budget_begin(s);
    if (luring_ring_needs_enter(s->ring)) {
        io_uring_get_events(s->ring);
    }
    luring_reap(s);
    /* Where this is within another section, its end did not submit. */
    luring_deferred_fn(s);
    luring_update_bh(s);
    if (!luring_has_work(s)) {
        luring_budget_reset(s);
    }
}

static void luring_completion_bh(void *opaque)
{
    LuringState *s = opaque;

    s->bh_scheduled = false;
    luring_dispatch(s);
}

/* Where the bottom half is scheduled that will be a dispatch: one is enough. */
static void luring_poll_ready(void *opaque)
{
    LuringState *s = opaque;

    if (!s->bh_scheduled) {
        luring_dispatch(s);
    }
}

static bool luring_poll_cb(void *opaque)
{
    LuringState *s = opaque;

    return luring_has_work(s) || luring_ring_needs_enter(s->ring);
}

/* --- submission --- */

/* The kernel wants no more now, and no completion will tell when (L6). */
static void luring_arm_retry(LuringState *s)
{
    int64_t delay = MAX(s->retry_delay_ns, LURING_RETRY_MIN_NS);

    s->retry_armed = true;
    s->retry_delay_ns = MIN(delay * 2, LURING_RETRY_MAX_NS);
    timer_mod(s->retry_timer,
              qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + delay);
    if (++s->retries == LURING_RETRIES_TO_WARN) {
        warn_report_once("io_uring: the kernel has refused requests %u times "
                         "with EAGAIN, trying again every %lld ms",
                         s->retries, LURING_RETRY_MAX_NS / SCALE_MS);
    }
}

static void luring_retry_cb(void *opaque)
{
    LuringState *s = opaque;

    luring_unblock(s);
    luring_dispatch(s);
}

/* @sqe is the last one in the submission queue: what is still to do. */
static void luring_prep(LuringRequest *req, struct io_uring_sqe *sqe)
{
    luring_prep_sqe(sqe, req->fd, req->type, req->flags,
                    req->done ? &req->tail : req->qiov,
                    req->offset + req->done, req->s->has_read);
    luring_use_fixed(&req->s->fixed, req->s->ring, sqe);
    io_uring_sqe_set_data(sqe, req);
    req->sq_end = luring_ring_sq_end(req->s->ring);
}

/*
 * Pending requests go to the submission queue, as far as there is room, and,
 * where requests may take their time within the call, not too many bytes.
 */
static void luring_fill_sq(LuringState *s, bool bounded)
{
    unsigned queued = s->in_queue;

    if (!luring_in_sq(s)) {
        s->sq_bytes = 0;
    }
    while (!QSIMPLEQ_EMPTY(&s->pending) &&
           s->in_flight < LURING_MAX_EVENTS &&
           (!bounded || s->sq_bytes < LURING_SYNC_BYTES)) {
        LuringRequest *req = QSIMPLEQ_FIRST(&s->pending);
        struct io_uring_sqe *sqe = io_uring_get_sqe(s->ring);

        if (!sqe) {
            break;
        }
        QSIMPLEQ_REMOVE_HEAD(&s->pending, next);
        s->in_queue--;
        s->in_flight++;
        s->sq_bytes += req->qiov ? req->qiov->size : 0;
        luring_prep(req, sqe);
    }
    if (s->in_queue != queued) {
        s->sq_end = luring_ring_sq_end(s->ring);
    }
}

/* Of a completion: was the request still in the SQ, which began at @begin? */
static bool luring_is_behind(void *user_data, unsigned begin)
{
    LuringRequest *req = user_data;

    return (int)(req->sq_end - begin) > 0;
}

/* Give the kernel all that it takes.  No coroutine runs. */
static void luring_submit_pending(LuringState *s, unsigned depth)
{
    s->left = false;
    while (luring_has_pending(s) && !s->time_over) {
        unsigned cq_end = luring_ring_cq_end(s->ring), sq_begin, count;
        int ret = -EBUSY;

        /* It is not known how a call of the event loop ended. */
        luring_fill_sq(s, s->deadline_ns || s->shared);
        count = io_uring_sq_ready(s->ring);
        sq_begin = luring_ring_sq_begin(s->ring);
        if (count) {
            do {
                ret = io_uring_submit(s->ring);
            } while (ret == -EINTR);
            trace_luring_submit(s, count, ret, depth);
        }
        if (ret <= 0) {
            /* Whatever the reason is, the requests stay where they are. */
            luring_block(s);
            return;
        }
        /* (Others that are complete now are those of a disk.) */
        s->sync = luring_ring_any(s->ring, cq_end, luring_is_behind, sq_begin);
        if (s->sync) {
            luring_charge_time(s);
        }
    }
}

/*
 * Submit what is pending, then complete what is complete already, unless that
 * would nest too deeply (L1) or has used up the budget (L8).
 */
static void luring_submit(LuringState *s)
{
    unsigned depth = get_luring_submit_depth() + 1;

    set_luring_submit_depth(depth);
    luring_submit_pending(s, depth);
    if (depth < LURING_SUBMIT_MAX_DEPTH && !luring_exhausted(s) &&
        (!s->reaping || s->deadline_ns) && luring_has_events(s)) {
        luring_reap(s);
    }
    set_luring_submit_depth(depth - 1);
    luring_update_bh(s);
}

/*
 * Let the next aio_poll() submit with the system call that waits, if this is
 * all that there is.  Not where requests complete within the call: there a
 * dispatch goes on with what they have caused.  Now and then a batch is
 * submitted to see whether they do.
 */
static bool luring_leave_pending(LuringState *s)
{
    if (!s->shared || s->sync || !aio_uring_can_leave(s->aio_context) ||
        ++s->left_in_a_row % LURING_LEFT_MAX == 0) {
        return false;
    }
    luring_fill_sq(s, true);
    if (s->in_queue) {
        return false;
    }
    s->left = true;
    aio_uring_leave(s->aio_context);
    luring_update_bh(s);
    return true;
}

static void luring_deferred_fn(void *opaque)
{
    LuringState *s = opaque;

    if (luring_has_pending(s) && !s->blocked && !luring_leave_pending(s)) {
        luring_submit(s);
    }
}

static unsigned luring_max_batch(LuringState *s)
{
    return s->aio_context->aio_max_batch > 0 ?
           MIN(s->aio_context->aio_max_batch, LURING_SQ_ENTRIES) :
           LURING_DEFAULT_MAX_BATCH;
}

/*
 * Must pending requests not wait for the end of the section?  In one that
 * delivers completions the disk may have nothing else to do until it ends.
 */
static bool luring_is_due(LuringState *s, const LuringRequest *last)
{
    const LuringRequest *first = QSIMPLEQ_FIRST(&s->pending);
    unsigned n = s->in_queue;

    return n >= luring_max_batch(s) ||
           (s->reaping && !s->deadline_ns && n >= 2 && luring_has_events(s) &&
            aio_is_part(n, n + s->in_flight, first->qiov,
                        last->offset - first->offset));
}

static void luring_do_submit(LuringRequest *req)
{
    LuringState *s = req->s;

    luring_queue(req);
    if (s->blocked) {
        return;
    }
    if (luring_is_due(s, req)) {
        luring_submit(s);
        return;
    }
    defer_call(luring_deferred_fn, s);
    if (luring_has_pending(s)) {
        /*
         * The end of the section submits it; but a nested event loop within
         * the section would wait for that for ever (L4).
         */
        luring_offer(s);
    }
}

int coroutine_fn luring_co_submit(int fd, uint64_t offset, QEMUIOVector *qiov,
                                  int type, BdrvRequestFlags flags)
{
    LuringState *s = aio_get_linux_io_uring(qemu_get_current_aio_context());
    LuringRequest req;

    req.s = s;
    req.co = qemu_coroutine_self();
    req.qiov = qiov;
    req.offset = offset;
    req.ret = -EINPROGRESS;
    req.done = 0;
    req.fd = fd;
    req.type = type;
    req.flags = flags;
    req.interrupted = 0;

    luring_do_submit(&req);
    if (req.ret == -EINPROGRESS) {
        qemu_coroutine_yield();
    }
    assert(req.ret != -EINPROGRESS);

    if (req.done) {
        qemu_iovec_destroy(&req.tail);
    }
    return req.ret;
}

/* --- life --- */

void luring_get_info(LuringState *s, LuringInfo *info)
{
    *info = (LuringInfo) {
        .pending = s->in_queue + luring_in_sq(s),
        .in_flight = s->in_flight - luring_in_sq(s),
        .left = s->left,
        .offered = s->aio_context->look_next && luring_has_work(s),
        .blocked = s->blocked,
        .bh_scheduled = s->bh_scheduled,
        .retry_armed = s->retry_armed,
        .ring_empty = !luring_has_events(s),
        .depth = get_luring_submit_depth(),
    };
}

/*
 * While requests are blocked only a completion or the timer changes that; the
 * monitor's own need not wait for it.
 */
static bool luring_may_submit(void *opaque)
{
    LuringState *s = opaque;

    return !s->blocked || !luring_in_sq(s);
}

/* The event loop tries it again when luring_may_submit() (L6). */
static void luring_left_refused(void *opaque)
{
    luring_block(opaque);
}

static const AioUringClient luring_client = {
    .may_submit = luring_may_submit,
    .refused = luring_left_refused,
};

void luring_detach_aio_context(LuringState *s, AioContext *old_context)
{
    assert(s->aio_context == old_context);
    assert(!luring_has_pending(s) && !s->in_flight);

    aio_set_fd_handler(old_context, s->ring->ring_fd, NULL, NULL, NULL, NULL,
                       NULL);
    if (s->shared) {
        aio_uring_set_client(old_context, NULL, NULL);
    }
    qemu_bh_delete(s->completion_bh);
    timer_free(s->retry_timer);
    s->bh_scheduled = s->retry_armed = false;
    s->aio_context = NULL;
}

void luring_attach_aio_context(LuringState *s, AioContext *new_context)
{
    s->aio_context = new_context;
    s->completion_bh = aio_bh_new(new_context, luring_completion_bh, s);
    s->retry_timer = aio_timer_new(new_context, QEMU_CLOCK_REALTIME, SCALE_NS,
                                   luring_retry_cb, s);
    s->retry_delay_ns = 0;
    s->retries = 0;
    luring_budget_reset(s);
    if (s->shared) {
        aio_uring_set_client(new_context, &luring_client, s);
    }
    /* The monitor does not wait for the descriptor of its own ring. */
    aio_set_fd_handler(new_context, s->ring->ring_fd,
                       s->shared ? NULL : luring_poll_ready, NULL,
                       luring_poll_cb, luring_poll_ready, s);
}

static LuringState *luring_new(struct io_uring *shared)
{
    LuringState *s = g_new0(LuringState, 1);

    QSIMPLEQ_INIT(&s->pending);
    s->shared = shared;
    s->ring = shared ? shared : &s->own_ring;
    s->sync = true;
    return s;
}

/* Came with IORING_OP_READ. */
static void luring_look_for_read(LuringState *s)
{
    s->has_read = s->ring->features & IORING_FEAT_RW_CUR_POS;
}

LuringState *luring_init_shared(struct io_uring *ring)
{
    LuringState *s = luring_new(ring);

    s->sq_end = luring_ring_sq_begin(ring);
    luring_look_for_read(s);
    return s;
}

LuringState *luring_init(Error **errp)
{
    LuringState *s = luring_new(NULL);
    int ret = luring_init_ring(s->ring);

    if (ret < 0) {
        luring_explain_setup(-ret, errp);
        g_free(s);
        return NULL;
    }
    luring_look_for_read(s);
    return s;
}

void luring_cleanup(LuringState *s)
{
    assert(!s->aio_context);
    if (!s->shared) {
        io_uring_queue_exit(s->ring);
    }
    g_free(s);
}
