/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fd monitor: io_uring(7).  One io_uring_enter(2) submits, waits with a
 * timeout, and fetches what has happened.
 *
 * Polls.  A handler has one FDMonPoll, and that at most one POLL_ADD in the
 * kernel.  It is a one-shot poll, which looks at the descriptor when it is
 * submitted: polling again after each event makes it level-triggered, as
 * handlers expect, and a handler that is removed by its own callback costs
 * nothing.  A poll that is in the kernel outlives its handler, until its
 * completion comes.
 *
 * Threads.  Only the home thread may use the ring (IORING_SETUP_SINGLE_ISSUER).
 * update() by another thread puts the poll on the list "changed", which the
 * next wait works off; aio_notify() brings that about.  The kernel keeps the
 * file of a poll open.  So the home thread cancels at once, that the file can
 * be closed for good by whoever removes its handler; if another thread removes
 * it, the file stays open until the home thread wakes up.
 *
 * The kernel runs completions only while the home thread is in
 * io_uring_enter(2) with GETEVENTS (IORING_SETUP_DEFER_TASKRUN): it is not
 * interrupted, and IORING_SQ_TASKRUN says, without a call, that there is
 * something.  The ring's own descriptor must not be waited for: ppoll() and
 * epoll are not woken by such completions (seen with Linux 6.18).
 *
 * Locking.  list_lock protects polls, their lists and poll->node.
 */
#include "qemu/osdep.h"
#include "aio-posix.h"
#include "qemu/aio-uring.h"

/* For the requests of an engine, too: see LURING_SQ_ENTRIES and its kin. */
#define FDMON_URING_SQ 256
#define FDMON_URING_CQ 4096
/* After a refusal the kernel is asked again that much later. */
#define FDMON_URING_RETRY_NS SCALE_MS

/* Of polls: user_data is the address and 1, or 1 where it does not matter. */
#define FDMON_URING_TAG 1

struct FDMonPoll {
    AioHandler *node;           /* NULL: it was removed */
    int fd;
    short events;
    short revents;              /* found, and not delivered yet */
    bool in_kernel;
    bool is_changed;            /* on m->changed */
    QTAILQ_ENTRY(FDMonPoll) changed;
    QLIST_ENTRY(FDMonPoll) all;
};

typedef struct {
    struct io_uring ring;
    QTAILQ_HEAD(, FDMonPoll) changed;   /* to be submitted, or cancelled */
    QLIST_HEAD(, FDMonPoll) all;
    QLIST_HEAD(, FDMonPoll) spare;      /* free, to be used again */
    unsigned n_spare;
    bool dirty;                 /* atomic: changed is not empty */
    bool found;                 /* home thread: some poll has revents */
    bool submit;                /* home thread: wait() submits what is there */
    const AioUringClient *client;       /* home thread: uses the ring, too */
    void *client_opaque;
} FDMonUring;

static uint64_t fdmon_uring_poll_data(FDMonPoll *poll)
{
    return (uintptr_t)poll | FDMON_URING_TAG;
}

static void fdmon_uring_note_change(FDMonUring *m, FDMonPoll *poll)
{
    if (!poll->is_changed) {
        poll->is_changed = true;
        QTAILQ_INSERT_TAIL(&m->changed, poll, changed);
        qatomic_set(&m->dirty, true);
    }
}

static void fdmon_uring_free_poll(FDMonUring *m, FDMonPoll *poll)
{
    if (poll->is_changed) {
        QTAILQ_REMOVE(&m->changed, poll, changed);
    }
    QLIST_REMOVE(poll, all);
    if (m->n_spare == AIO_MAX_SPARE_HANDLERS) {
        g_free(poll);
        return;
    }
    QLIST_INSERT_HEAD(&m->spare, poll, all);
    m->n_spare++;
}

/* All zeroes. */
static FDMonPoll *fdmon_uring_get_poll(FDMonUring *m)
{
    FDMonPoll *poll = QLIST_FIRST(&m->spare);

    if (!poll) {
        return g_new0(FDMonPoll, 1);
    }
    QLIST_REMOVE(poll, all);
    m->n_spare--;
    *poll = (FDMonPoll) { 0 };
    return poll;
}

/* --- the ring; home thread --- */

/*
 * Give the kernel up to all of the submission queue, and wait for @min_complete
 * completions up to @timeout ns (-1: for ever).  -errno or the number taken.
 */
static int fdmon_uring_enter(FDMonUring *m, bool submit, unsigned min_complete,
                             int64_t timeout)
{
    struct io_uring *ring = &m->ring;
    struct __kernel_timespec ts;
    struct io_uring_getevents_arg arg = {
        .sigmask_sz = _NSIG / 8,
    };
    unsigned count = 0;
    int ret;

    if (timeout >= 0) {
        ts.tv_sec = timeout / NANOSECONDS_PER_SECOND;
        ts.tv_nsec = timeout % NANOSECONDS_PER_SECOND;
        arg.ts = (uintptr_t)&ts;
    }
    if (submit) {
        /* The entries that were filled since: the kernel may read them. */
        ring->sq.sqe_head = ring->sq.sqe_tail;
        io_uring_smp_store_release(ring->sq.ktail, ring->sq.sqe_tail);
        count = io_uring_sq_ready(ring);
    }
    ret = io_uring_enter2(ring->ring_fd, count, min_complete,
                          IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG,
                          (void *)&arg, sizeof(arg));
    assert(ret != -EEXIST);     /* another thread's ring */
    return ret;
}

/* A free entry; the kernel is given what is there if need be.  Or NULL. */
static struct io_uring_sqe *fdmon_uring_get_sqe(FDMonUring *m)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&m->ring);

    if (!sqe && fdmon_uring_enter(m, true, 0, 0) > 0) {
        sqe = io_uring_get_sqe(&m->ring);
    }
    return sqe;
}

/* Under list_lock: an entry that submits @poll, or cancels it. */
static bool fdmon_uring_prep(FDMonUring *m, FDMonPoll *poll)
{
    struct io_uring_sqe *sqe = fdmon_uring_get_sqe(m);

    if (!sqe) {
        return false;
    }
    if (poll->node) {
        io_uring_prep_poll_add(sqe, poll->fd, (unsigned short)poll->events);
        sqe->user_data = fdmon_uring_poll_data(poll);
        poll->in_kernel = true;
    } else {
        io_uring_prep_poll_remove(sqe, 0);
        sqe->addr = fdmon_uring_poll_data(poll);
        sqe->user_data = FDMON_URING_TAG;
    }
    m->submit = true;
    return true;
}

/*
 * Work off the list "changed".  What does not fit stays on it, and what has
 * been found but not delivered: the handler has to run first.
 */
static void fdmon_uring_apply_changes(AioContext *ctx, FDMonUring *m)
{
    FDMonPoll *poll, *next;

    qemu_rec_mutex_lock(&ctx->list_lock);
    QTAILQ_FOREACH_SAFE(poll, &m->changed, changed, next) {
        if (!poll->revents && fdmon_uring_prep(m, poll)) {
            QTAILQ_REMOVE(&m->changed, poll, changed);
            poll->is_changed = false;
        }
    }
    qatomic_set(&m->dirty, !QTAILQ_EMPTY(&m->changed));
    qemu_rec_mutex_unlock(&ctx->list_lock);
}

/* --- completions; home thread --- */

/* What ppoll() says of the same. */
static short fdmon_uring_revents(int res)
{
    return res >= 0 ? res : res == -EBADF ? POLLNVAL : POLLERR;
}

/* A completion of the monitor's own. */
static void fdmon_uring_process(AioContext *ctx, FDMonUring *m,
                                uint64_t user_data, int res)
{
    FDMonPoll *poll = (void *)(uintptr_t)(user_data & ~FDMON_URING_TAG);

    if (!poll) {
        return;                 /* of a POLL_REMOVE */
    }
    qemu_rec_mutex_lock(&ctx->list_lock);
    poll->in_kernel = false;
    if (!poll->node) {
        fdmon_uring_free_poll(m, poll);
    } else if (res == -ECANCELED || res == -EAGAIN || res == -EINTR) {
        fdmon_uring_note_change(m, poll);
    } else {
        poll->revents = fdmon_uring_revents(res);
        m->found = true;
        /* The list tells which ones have been found, too. */
        fdmon_uring_note_change(m, poll);
    }
    qemu_rec_mutex_unlock(&ctx->list_lock);
}

/* Take completions off the ring, those of others excepted. */
static void fdmon_uring_reap(AioContext *ctx, FDMonUring *m)
{
    struct io_uring_cqe *cqe;

    while (io_uring_cq_ready(&m->ring) &&
           io_uring_peek_cqe(&m->ring, &cqe) == 0 && aio_uring_is_own(cqe)) {
        uint64_t user_data = cqe->user_data;
        int res = cqe->res;

        io_uring_cqe_seen(&m->ring, cqe);
        fdmon_uring_process(ctx, m, user_data, res);
    }
}

void aio_uring_process(AioContext *ctx, uint64_t user_data, int res)
{
    fdmon_uring_process(ctx, ctx->fdmon_opaque, user_data, res);
}

/* Put the handlers whose polls have found something on @ready. */
static void fdmon_uring_deliver(AioContext *ctx, FDMonUring *m,
                                AioHandlerList *ready)
{
    FDMonPoll *poll;

    m->found = false;
    qemu_rec_mutex_lock(&ctx->list_lock);
    QTAILQ_FOREACH(poll, &m->changed, changed) {
        if (poll->revents && poll->node) {
            aio_add_ready_handler(ready, poll->node, poll->revents);
        }
        poll->revents = 0;
    }
    qemu_rec_mutex_unlock(&ctx->list_lock);
}

/* --- the monitor's table --- */

/* Under list_lock. */
static void fdmon_uring_remove(AioContext *ctx, FDMonUring *m, FDMonPoll *poll)
{
    poll->node = NULL;
    if (!poll->in_kernel) {
        fdmon_uring_free_poll(m, poll);
    } else if (in_aio_context_home_thread(ctx) && fdmon_uring_prep(m, poll)) {
        fdmon_uring_enter(m, true, 0, 0);
        m->submit = io_uring_sq_ready(&m->ring);
    } else {
        fdmon_uring_note_change(m, poll);
    }
}

static void fdmon_uring_update(AioContext *ctx, AioHandler *node, int fd,
                               short old, short new)
{
    FDMonUring *m = ctx->fdmon_opaque;
    FDMonPoll *poll = node->fdmon_poll;

    if (poll) {
        node->fdmon_poll = NULL;
        fdmon_uring_remove(ctx, m, poll);
    }
    if (new) {
        poll = fdmon_uring_get_poll(m);
        poll->node = node;
        poll->fd = fd;
        poll->events = new;
        node->fdmon_poll = poll;
        QLIST_INSERT_HEAD(&m->all, poll, all);
        fdmon_uring_note_change(m, poll);
    }
}

/* Is there something that wait() is to submit, and may? */
static bool fdmon_uring_wants_submit(FDMonUring *m)
{
    return m->submit && io_uring_sq_ready(&m->ring) &&
           (!m->client || m->client->may_submit(m->client_opaque));
}

/* The kernel takes nothing now.  Others need not wait for that. */
static void fdmon_uring_refused(FDMonUring *m, int64_t timeout)
{
    if (m->client) {
        m->client->refused(m->client_opaque);
    } else {
        fdmon_uring_enter(m, false, timeout != 0,
                          qemu_soonest_timeout(timeout, FDMON_URING_RETRY_NS));
    }
}

static void fdmon_uring_wait(AioContext *ctx, AioHandlerList *ready,
                             int64_t timeout)
{
    FDMonUring *m = ctx->fdmon_opaque;
    bool submit;
    int ret;

    if (qatomic_read(&m->dirty)) {
        fdmon_uring_apply_changes(ctx, m);
    }
    if (m->found || io_uring_cq_ready(&m->ring)) {
        timeout = 0;
    }
    submit = fdmon_uring_wants_submit(m);
    if (timeout || submit ||
        qatomic_read(m->ring.sq.kflags) & (IORING_SQ_CQ_OVERFLOW |
                                           IORING_SQ_TASKRUN)) {
        ret = fdmon_uring_enter(m, submit, timeout != 0, timeout);
        if (submit && ret < 0 && ret != -EINTR && ret != -ETIME) {
            fdmon_uring_refused(m, timeout);
        }
        m->submit = io_uring_sq_ready(&m->ring);
    }
    fdmon_uring_reap(ctx, m);
    if (m->client && io_uring_cq_ready(&m->ring)) {
        aio_ask_poll_handlers(ctx, ready);
    }
    if (m->found) {
        fdmon_uring_deliver(ctx, m, ready);
    }
}

static bool fdmon_uring_need_wait(AioContext *ctx)
{
    FDMonUring *m = ctx->fdmon_opaque;

    return m->found || fdmon_uring_wants_submit(m);
}

/*
 * A ring may get the memory of one that another thread has given back.  The
 * kernel orders that; this says so to ThreadSanitizer, which does not see it.
 */
static unsigned fdmon_uring_changes;

static void fdmon_uring_destroy(AioContext *ctx)
{
    FDMonUring *m = ctx->fdmon_opaque;
    FDMonPoll *poll;

    qatomic_inc(&fdmon_uring_changes);
    io_uring_queue_exit(&m->ring);
    while ((poll = QLIST_FIRST(&m->all))) {
        if (poll->node) {
            poll->node->fdmon_poll = NULL;
        }
        fdmon_uring_free_poll(m, poll);
    }
    while ((poll = QLIST_FIRST(&m->spare))) {
        QLIST_REMOVE(poll, all);
        g_free(poll);
    }
    g_free(m);
    ctx->fdmon_opaque = NULL;
}

const FDMonOps fdmon_io_uring_ops = {
    .name = "io_uring",
    .update = fdmon_uring_update,
    .wait = fdmon_uring_wait,
    .need_wait = fdmon_uring_need_wait,
    .destroy = fdmon_uring_destroy,
};

/* --- going over to it --- */

/* 0 or -errno; -ENOTSUP: the kernel is too old. */
static int fdmon_uring_init_ring(struct io_uring *ring)
{
    struct io_uring_params params = {
        /* 6.1 has all of them */
        .flags = IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL |
                 IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_TASKRUN_FLAG,
        .cq_entries = FDMON_URING_CQ,
    };
    int ret = io_uring_queue_init_params(FDMON_URING_SQ, ring, &params);
    unsigned i;

    if (ret < 0) {
        return ret == -EINVAL ? -ENOTSUP : ret;
    }
    if (!(ring->features & IORING_FEAT_EXT_ARG) ||
        !(ring->features & IORING_FEAT_NODROP)) {
        io_uring_queue_exit(ring);
        return -ENOTSUP;
    }
    qatomic_inc(&fdmon_uring_changes);
    /* In their order, which fdmon_uring_enter() relies on. */
    for (i = 0; i < ring->sq.ring_entries; i++) {
        ring->sq.array[i] = i;
    }
    return 0;
}

int fdmon_io_uring_upgrade(AioContext *ctx)
{
    FDMonUring *m;
    AioHandler *node;
    int ret;

    assert(in_aio_context_home_thread(ctx));
    ctx->fdmon_chosen = true;
    if (ctx->fdmon_ops == &fdmon_io_uring_ops) {
        return 0;
    }
    m = g_new0(FDMonUring, 1);
    ret = fdmon_uring_init_ring(&m->ring);
    if (ret < 0) {
        g_free(m);
        return ret;
    }
    QTAILQ_INIT(&m->changed);
    QLIST_INIT(&m->all);

    qemu_rec_mutex_lock(&ctx->list_lock);
    ctx->fdmon_ops->destroy(ctx);
    ctx->fdmon_opaque = m;
    ctx->fdmon_ops = &fdmon_io_uring_ops;
    QLIST_FOREACH(node, &ctx->aio_handlers, node) {
        if (!node->deleted && node->events) {
            fdmon_uring_update(ctx, node, node->fd, 0, node->events);
        }
    }
    qemu_rec_mutex_unlock(&ctx->list_lock);
    return 0;
}

struct io_uring *aio_uring_share(AioContext *ctx)
{
    FDMonUring *m;

    if (ctx->fdmon_wanted == AIO_FDMON_PPOLL ||
        ctx->fdmon_wanted == AIO_FDMON_EPOLL ||
        fdmon_io_uring_upgrade(ctx) < 0) {
        return NULL;
    }
    m = ctx->fdmon_opaque;
    return &m->ring;
}

void aio_uring_set_client(AioContext *ctx, const AioUringClient *client,
                          void *opaque)
{
    FDMonUring *m = ctx->fdmon_opaque;

    m->client = client;
    m->client_opaque = opaque;
}

void aio_uring_leave(AioContext *ctx)
{
    FDMonUring *m = ctx->fdmon_opaque;

    m->submit = true;
}
