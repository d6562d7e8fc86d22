/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * AioContext: descriptor handlers, busy polling, and the iteration itself.
 *
 * One iteration waits (by busy polling first, if that has paid off lately,
 * then in the fd monitor), then dispatches: BHs, ready handlers, timers.  The
 * dispatch is one defer_call() section, so that requests which its callbacks
 * queue go to the kernel in one batch.
 *
 * An iteration that does not wait asks the io_poll callbacks only: no system
 * call.  So that descriptors without io_poll are not forgotten by a loop that
 * never waits, such an iteration looks at them, too, when AIO_LOOK_NS have
 * passed since the last look.  Do not rely on either where a file is to work in
 * QEMU: its monitors need not ask anybody in a poll that does not wait.  For
 * tests the environment variable AIO_NONBLOCKING_LOOK says "never" (the
 * strictest monitor: neither io_poll nor descriptors) or "always".
 */
#include "qemu/osdep.h"
#include <poll.h>
#include "aio-posix.h"
#include "qemu/coroutine.h"
#include "qemu/defer-call.h"
#include "qemu/error-report.h"

#define AIO_LOOK_NS (2 * SCALE_MS)
#define AIO_POLL_FIRST_NS 4000

int qemu_poll_ns(struct pollfd *fds, unsigned nfds, int64_t timeout)
{
    struct timespec ts;

    if (timeout < 0) {
        return ppoll(fds, nfds, NULL, NULL);
    }
    ts.tv_sec = timeout / NANOSECONDS_PER_SECOND;
    ts.tv_nsec = timeout % NANOSECONDS_PER_SECOND;
    return ppoll(fds, nfds, &ts, NULL);
}

/* --- handlers --- */

static AioHandler *find_aio_handler(AioContext *ctx, int fd)
{
    AioHandler *node;

    QLIST_FOREACH(node, &ctx->aio_handlers, node) {
        if (node->fd == fd && !node->deleted) {
            return node;
        }
    }
    return NULL;
}

/* A handler with the contents of @new. */
static AioHandler *aio_alloc_handler_locked(AioContext *ctx,
                                            const AioHandler *new)
{
    AioHandler *node = QLIST_FIRST(&ctx->spare_handlers);

    if (!node) {
        return g_memdup2(new, sizeof(*new));
    }
    QLIST_REMOVE(node, node);
    ctx->n_spare_handlers--;
    *node = *new;
    return node;
}

static void aio_free_handler_locked(AioContext *ctx, AioHandler *node)
{
    if (ctx->n_spare_handlers == AIO_MAX_SPARE_HANDLERS) {
        g_free(node);
        return;
    }
    QLIST_INSERT_HEAD(&ctx->spare_handlers, node, node);
    ctx->n_spare_handlers++;
}

static void aio_free_deleted_locked(AioContext *ctx)
{
    AioHandler *node, *next;

    qatomic_set(&ctx->deleted_handlers, false);
    QLIST_FOREACH_SAFE(node, &ctx->aio_handlers, node, next) {
        if (node->deleted) {
            QLIST_REMOVE(node, node);
            aio_free_handler_locked(ctx, node);
        }
    }
}

/*
 * Handlers are freed by the home thread only, here, so that walking takes no
 * lock.  A change wakes the home thread, which frees what it has deleted.
 */
static void aio_walk_end(AioContext *ctx)
{
    if (!--ctx->walking && qatomic_read(&ctx->deleted_handlers)) {
        qemu_rec_mutex_lock(&ctx->list_lock);
        aio_free_deleted_locked(ctx);
        qemu_rec_mutex_unlock(&ctx->list_lock);
    }
}

static void aio_count_handler_locked(AioContext *ctx, const AioHandler *node,
                                     int n)
{
    if (node->events) {
        qatomic_set(&ctx->n_fds, ctx->n_fds + n);
    }
    if (node->io_poll) {
        qatomic_set(&ctx->n_poll_handlers, ctx->n_poll_handlers + n);
    } else if (node->events) {
        qatomic_set(&ctx->n_plain_fds, ctx->n_plain_fds + n);
    }
}

static void aio_add_to_g_source_locked(AioContext *ctx, AioHandler *node)
{
    /* POLLIN and friends have the same values as their G_IO namesakes. */
    node->g_tag = g_source_add_unix_fd(&ctx->source, node->fd,
                                       node->events | G_IO_ERR | G_IO_HUP);
}

void aio_handlers_use_g_source(AioContext *ctx)
{
    AioHandler *node;

    qemu_rec_mutex_lock(&ctx->list_lock);
    QLIST_FOREACH(node, &ctx->aio_handlers, node) {
        if (!node->deleted && node->events && !node->g_tag) {
            aio_add_to_g_source_locked(ctx, node);
        }
    }
    ctx->use_g_source = true;
    qemu_rec_mutex_unlock(&ctx->list_lock);
}

static void aio_delete_handler_locked(AioContext *ctx, AioHandler *node)
{
    if (node->events) {
        ctx->fdmon_ops->update(ctx, node, node->fd, node->events, 0);
    }
    if (node->g_tag) {
        g_source_remove_unix_fd(&ctx->source, node->g_tag);
        node->g_tag = NULL;
    }
    aio_count_handler_locked(ctx, node, -1);
    qatomic_set(&node->deleted, true);
    qatomic_set(&ctx->deleted_handlers, true);
}

static void aio_add_handler_locked(AioContext *ctx, const AioHandler *new)
{
    AioHandler *node = aio_alloc_handler_locked(ctx, new);

    /* Pairs with the walks of the home thread. */
    QLIST_INSERT_HEAD_ATOMIC(&ctx->aio_handlers, node, node);
    if (node->events) {
        ctx->fdmon_ops->update(ctx, node, node->fd, 0, node->events);
        if (ctx->use_g_source) {
            aio_add_to_g_source_locked(ctx, node);
        }
    }
    aio_count_handler_locked(ctx, node, 1);
}

void aio_set_fd_handler(AioContext *ctx, int fd, IOHandler *io_read,
                        IOHandler *io_write, AioPollFn *io_poll,
                        IOHandler *io_poll_ready, void *opaque)
{
    AioHandler new = {
        .fd = fd,
        .events = (io_read ? POLLIN : 0) | (io_write ? POLLOUT : 0),
        .io_read = io_read,
        .io_write = io_write,
        .io_poll = io_poll,
        .io_poll_ready = io_poll_ready,
        .opaque = opaque,
    };
    AioHandler *old;

    assert(!io_poll || io_poll_ready);
    qemu_rec_mutex_lock(&ctx->list_lock);
    old = find_aio_handler(ctx, fd);
    if (old) {
        aio_delete_handler_locked(ctx, old);
    }
    if (io_read || io_write || io_poll) {
        aio_add_handler_locked(ctx, &new);
    }
    /* Pairs with the acquire in fdmon_ppoll_wait(). */
    qatomic_store_release(&ctx->handlers_gen, ctx->handlers_gen + 1);
    qemu_rec_mutex_unlock(&ctx->list_lock);
    aio_notify(ctx);
}

void aio_set_fd_poll(AioContext *ctx, int fd, IOHandler *io_poll_begin,
                     IOHandler *io_poll_end)
{
    AioHandler *node;

    qemu_rec_mutex_lock(&ctx->list_lock);
    node = find_aio_handler(ctx, fd);
    if (node) {
        node->io_poll_begin = io_poll_begin;
        node->io_poll_end = io_poll_end;
    }
    qemu_rec_mutex_unlock(&ctx->list_lock);
}

void aio_set_event_notifier(AioContext *ctx, EventNotifier *notifier,
                            EventNotifierHandler *io_read, AioPollFn *io_poll,
                            EventNotifierHandler *io_poll_ready)
{
    aio_set_fd_handler(ctx, event_notifier_get_fd(notifier),
                       (IOHandler *)(void (*)(void))io_read, NULL, io_poll,
                       (IOHandler *)(void (*)(void))io_poll_ready, notifier);
}

void aio_set_event_notifier_poll(AioContext *ctx, EventNotifier *notifier,
                                 EventNotifierHandler *io_poll_begin,
                                 EventNotifierHandler *io_poll_end)
{
    aio_set_fd_poll(ctx, event_notifier_get_fd(notifier),
                    (IOHandler *)(void (*)(void))io_poll_begin,
                    (IOHandler *)(void (*)(void))io_poll_end);
}

void aio_add_ready_handler(AioHandlerList *ready, AioHandler *node,
                           short revents)
{
    /* Perhaps from the list of the iteration that this one is nested in. */
    if (QLIST_IS_INSERTED(node, ready)) {
        QLIST_REMOVE(node, ready);
        revents |= node->revents;
    }
    node->revents = revents;
    QLIST_INSERT_HEAD(ready, node, ready);
}

/* --- dispatch --- */

static bool aio_dispatch_handler(AioContext *ctx, AioHandler *node)
{
    short revents = node->revents;
    bool poll_ready = node->poll_ready;
    bool progress = false;

    node->revents = 0;
    node->poll_ready = false;
    if (qatomic_read(&node->deleted)) {
        return false;
    }
    if (poll_ready) {
        node->io_poll_ready(node->opaque);
        progress = node->opaque != &ctx->notifier;
        if (!revents || qatomic_read(&node->deleted)) {
            return progress;
        }
    }
    if ((revents & (POLLIN | POLLHUP | POLLERR | POLLNVAL)) &&
        node->io_read) {
        node->io_read(node->opaque);
        /* The notifier only says that there is something elsewhere. */
        progress |= node->opaque != &ctx->notifier;
    }
    if (!qatomic_read(&node->deleted) &&
        (revents & (POLLOUT | POLLERR | POLLHUP)) &&
        node->io_write) {
        node->io_write(node->opaque);
        progress = true;
    }
    return progress;
}

static bool aio_dispatch_ready(AioContext *ctx, AioHandlerList *ready)
{
    AioHandler *node;
    bool progress = false;

    while ((node = QLIST_FIRST(ready))) {
        QLIST_REMOVE(node, ready);
        progress |= aio_dispatch_handler(ctx, node);
    }
    return progress;
}

/* --- busy polling --- */

bool aio_ask_poll_handlers(AioContext *ctx, AioHandlerList *ready)
{
    AioHandler *node;
    bool found = false;

    QLIST_FOREACH_ATOMIC(node, &ctx->aio_handlers, node) {
        if (node->io_poll && !qatomic_read(&node->deleted) &&
            node->io_poll(node->opaque)) {
            node->poll_ready = true;
            aio_add_ready_handler(ready, node, 0);
            found = true;
        }
    }
    return found;
}

void aio_poll_set_started(AioContext *ctx, bool started)
{
    AioHandler *node;

    if (ctx->poll_started == started) {
        return;
    }
    ctx->poll_started = started;
    QLIST_FOREACH_ATOMIC(node, &ctx->aio_handlers, node) {
        IOHandler *fn = started ? node->io_poll_begin : node->io_poll_end;

        if (fn && !qatomic_read(&node->deleted)) {
            fn(node->opaque);
        }
    }
}

/* Look at all descriptors, for up to @timeout ns; a system call. */
static void aio_look(AioContext *ctx, AioHandlerList *ready, int64_t timeout)
{
    ctx->nonblocking_since = 0;
    ctx->look_next = false;
    ctx->fdmon_ops->wait(ctx, ready, timeout);
}

/* Ask all, those that have only a descriptor, too: that is a system call. */
static bool aio_ask_all(AioContext *ctx, AioHandlerList *ready)
{
    if (aio_ask_poll_handlers(ctx, ready)) {
        return true;
    }
    if (qatomic_read(&ctx->n_plain_fds)) {
        aio_look(ctx, ready, 0);
    }
    return !QLIST_EMPTY(ready);
}

/*
 * How long this iteration, which would wait, polls before that: so long as
 * this has paid off lately, or as somebody knows that it will.
 */
static int64_t aio_busy_poll_ns(AioContext *ctx, bool adaptive)
{
    int64_t ns = adaptive ? ctx->poll_ns : 0;

    if (ctx->awake_until) {
        int64_t now = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

        if (now < ctx->awake_until) {
            return MAX(ns, ctx->awake_until - now);
        }
        ctx->awake_until = 0;
    }
    return ns;
}

/* Busy poll for up to @max_ns; takes the time off *@timeout. */
static bool aio_busy_poll(AioContext *ctx, AioHandlerList *ready,
                          int64_t max_ns, int64_t *timeout)
{
    int64_t start, elapsed;
    bool found;

    max_ns = qemu_soonest_timeout(*timeout, max_ns);
    aio_poll_set_started(ctx, true);
    start = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    do {
        found = aio_ask_all(ctx, ready);
        elapsed = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - start;
    } while (!found && elapsed < max_ns);

    if (found) {
        *timeout = 0;
    } else if (*timeout > 0) {
        *timeout = MAX(*timeout - elapsed, 0);
    }
    return found;
}

/* Poll longer when a little longer would have been enough; else shorter. */
static void aio_adjust_poll_time(AioContext *ctx, int64_t block_ns)
{
    int64_t grow = ctx->poll_grow ? ctx->poll_grow : 2;
    int64_t ns;

    ctx->poll_average_ns += (block_ns - ctx->poll_average_ns) >>
                            ctx->poll_weight;
    if (ctx->poll_average_ns <= ctx->poll_ns) {
        return;
    }
    if (ctx->poll_average_ns > ctx->poll_max_ns) {
        ctx->poll_ns = ctx->poll_shrink ? ctx->poll_ns / ctx->poll_shrink : 0;
    } else if (ctx->poll_ns < ctx->poll_max_ns) {
        /* The factor may be any number of the user's. */
        if (__builtin_mul_overflow(ctx->poll_ns, grow, &ns)) {
            ns = ctx->poll_max_ns;
        }
        ctx->poll_ns = MIN(ns ? ns : AIO_POLL_FIRST_NS, ctx->poll_max_ns);
    }
}

/* --- the iteration --- */

/*
 * In an iteration that does not wait: is it time to look at descriptors?  Only
 * a loop of such iterations reads the clock.
 */
static bool aio_time_to_look(AioContext *ctx)
{
    int64_t now;

    if (ctx->nonblocking_look != AIO_LOOK_BY_TIME) {
        return ctx->nonblocking_look == AIO_LOOK_ALWAYS;
    }
    now = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    if (!ctx->nonblocking_since) {
        ctx->nonblocking_since = now;
    }
    return now - ctx->nonblocking_since >= AIO_LOOK_NS;
}

/* Wait as told, filling @ready. */
static void aio_wait_ready(AioContext *ctx, AioHandlerList *ready,
                           int64_t timeout)
{
    bool adaptive = timeout && ctx->poll_max_ns &&
                    qatomic_read(&ctx->n_poll_handlers) > 1;
    bool must_submit = ctx->fdmon_ops->need_wait &&
                       ctx->fdmon_ops->need_wait(ctx);
    bool must_look = ctx->look_next || must_submit;
    bool may_poll = timeout && !must_submit;
    int64_t start = 0, poll_ns;
    bool found;

    if (!timeout && ctx->nonblocking_look == AIO_LOOK_NEVER && !must_look) {
        return;
    }
    if (adaptive) {
        start = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    }
    if (may_poll && aio_disk_requests_few(ctx) && !ctx->awake_disk.idle_since) {
        aio_awake_wait(&ctx->awake_disk, ctx);
    }
    poll_ns = may_poll ? aio_busy_poll_ns(ctx, adaptive) : 0;
    if (poll_ns) {
        found = aio_busy_poll(ctx, ready, poll_ns, &timeout);
    } else {
        found = aio_ask_poll_handlers(ctx, ready);
        timeout = found ? 0 : timeout;
    }

    if (timeout || must_look || aio_time_to_look(ctx)) {
        aio_poll_set_started(ctx, false);
        if (timeout) {
            /* Notifications are on again: what came before is seen here. */
            timeout = aio_ask_poll_handlers(ctx, ready) ? 0 : timeout;
        }
        aio_look(ctx, ready, timeout);
    }
    if (adaptive) {
        aio_adjust_poll_time(ctx,
                             qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - start);
    }
}

static bool aio_run_callbacks(AioContext *ctx, AioHandlerList *ready)
{
    bool progress;

    defer_call_begin();
    progress = aio_bh_poll(ctx) > 0;
    progress |= aio_dispatch_ready(ctx, ready);
    progress |= timerlistgroup_run_timers(&ctx->tlg);
    defer_call_end();
    /*
     * The end of the section may have run calls that a caller of a nested
     * aio_poll() had deferred; "no progress" means that none is to be had now.
     */
    return progress || aio_compute_timeout(ctx) == 0;
}

/* In the home thread, whose own the ring of io_uring must be. */
static void aio_choose_fdmon(AioContext *ctx)
{
    int ret = 0;

    if (ctx->fdmon_wanted == AIO_FDMON_EPOLL ||
        (ctx->fdmon_wanted == AIO_FDMON_AUTO &&
         qatomic_read(&ctx->n_fds) >= EPOLL_ENABLE_THRESHOLD)) {
        fdmon_epoll_upgrade(ctx);
    } else if (ctx->fdmon_wanted == AIO_FDMON_IO_URING &&
               !ctx->fdmon_chosen) {
        ret = fdmon_io_uring_upgrade(ctx);
    }
    if (ret < 0) {
        warn_report_once("AIO_FD_MONITOR: there is no io_uring for it here "
                         "(%s), using ppoll", strerror(-ret));
        ctx->fdmon_wanted = AIO_FDMON_AUTO;
    }
    ctx->fdmon_chosen = true;
}

bool aio_poll(AioContext *ctx, bool blocking)
{
    AioHandlerList ready = QLIST_HEAD_INITIALIZER(ready);
    int64_t timeout = 0;
    bool progress;

    assert(!qemu_in_coroutine());
    assert(in_aio_context_home_thread(ctx));

    if (unlikely(!ctx->fdmon_chosen ||
                 qatomic_read(&ctx->n_fds) >= EPOLL_ENABLE_THRESHOLD)) {
        aio_choose_fdmon(ctx);
    }
    ctx->walking++;
    if (blocking) {
        /* Pairs with the barrier in aio_notify(). */
        qatomic_set(&ctx->notify_me, qatomic_read(&ctx->notify_me) + 2);
        smp_mb();
        timeout = aio_compute_timeout(ctx);
    }
    aio_wait_ready(ctx, &ready, timeout);
    if (blocking) {
        qatomic_store_release(&ctx->notify_me,
                              qatomic_read(&ctx->notify_me) - 2);
    }
    aio_notify_accept(ctx);

    ctx->dispatching++;
    progress = aio_run_callbacks(ctx, &ready);
    ctx->dispatching--;
    aio_walk_end(ctx);
    return progress;
}

bool aio_pending(AioContext *ctx)
{
    AioHandler *node;
    bool pending = false;

    qemu_rec_mutex_lock(&ctx->list_lock);
    QLIST_FOREACH(node, &ctx->aio_handlers, node) {
        if ((node->g_tag &&
             g_source_query_unix_fd(&ctx->source, node->g_tag)) ||
            (node->io_poll && !node->deleted && node->io_poll(node->opaque))) {
            pending = true;
            break;
        }
    }
    qemu_rec_mutex_unlock(&ctx->list_lock);
    return pending;
}

void aio_dispatch(AioContext *ctx)
{
    AioHandlerList ready = QLIST_HEAD_INITIALIZER(ready);

    ctx->walking++;
    aio_ask_poll_handlers(ctx, &ready);
    ctx->fdmon_ops->wait(ctx, &ready, 0);
    aio_notify_accept(ctx);
    aio_run_callbacks(ctx, &ready);
    aio_walk_end(ctx);
}

void aio_context_setup(AioContext *ctx)
{
    static const char *const monitors[] = { "ppoll", "epoll", "io_uring" };
    const char *look = getenv("AIO_NONBLOCKING_LOOK");
    const char *monitor = getenv("AIO_FD_MONITOR");
    size_t i;

    if (!g_strcmp0(look, "never")) {
        ctx->nonblocking_look = AIO_LOOK_NEVER;
    } else if (!g_strcmp0(look, "always")) {
        ctx->nonblocking_look = AIO_LOOK_ALWAYS;
    }
    for (i = 0; monitor && i < ARRAY_SIZE(monitors); i++) {
        if (!strcmp(monitor, monitors[i])) {
            ctx->fdmon_wanted = AIO_FDMON_PPOLL + i;
        }
    }
    if (monitor && ctx->fdmon_wanted == AIO_FDMON_AUTO) {
        warn_report_once("AIO_FD_MONITOR: '%s' is none of ppoll, epoll and "
                         "io_uring", monitor);
    }
    ctx->fdmon_ops = &fdmon_ppoll_ops;
    ctx->epollfd = -1;
}

void aio_context_destroy(AioContext *ctx)
{
    AioHandler *node;

    qemu_rec_mutex_lock(&ctx->list_lock);
    aio_free_deleted_locked(ctx);
    while ((node = QLIST_FIRST(&ctx->spare_handlers))) {
        QLIST_REMOVE(node, node);
        g_free(node);
    }
    qemu_rec_mutex_unlock(&ctx->list_lock);
    ctx->fdmon_ops->destroy(ctx);
}
