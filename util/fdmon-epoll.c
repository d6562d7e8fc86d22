/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fd monitor: epoll(7), for many descriptors.
 *
 * The kernel may refuse a descriptor: there is no memory, the user watches too
 * many (/proc/sys/fs/epoll/max_user_watches), or it is a regular file.  Then
 * the context goes back to ppoll(), which takes all of them, for good.  A
 * refusal may come in any thread; the home thread changes the monitor, in its
 * next wait.
 */
#include "qemu/osdep.h"
#include <poll.h>
#include <sys/epoll.h>
#include "aio-posix.h"

#define FDMON_EPOLL_BATCH 128

/* POLLIN and friends have the same values as their EPOLL namesakes. */
QEMU_BUILD_BUG_ON(POLLIN != EPOLLIN || POLLOUT != EPOLLOUT ||
                  POLLERR != EPOLLERR || POLLHUP != EPOLLHUP);

static int fdmon_epoll_ctl(AioContext *ctx, AioHandler *node, int fd,
                           short old, short new)
{
    struct epoll_event ev = {
        .events = (unsigned short)new,
        .data.ptr = node,
    };
    int op = !old ? EPOLL_CTL_ADD : new ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;

    return epoll_ctl(ctx->epollfd, op, fd, &ev);
}

static void fdmon_epoll_update(AioContext *ctx, AioHandler *node, int fd,
                               short old, short new)
{
    if (!old && !new) {
        return;
    }
    /* Removal may find the descriptor closed already, which removed it. */
    if (fdmon_epoll_ctl(ctx, node, fd, old, new) < 0 && new) {
        /*
         * The caller's aio_notify() wakes the home thread; pairs with
         * fdmon_epoll_wait().
         */
        qatomic_set(&ctx->epoll_failed, true);
    }
}

static void fdmon_epoll_destroy(AioContext *ctx)
{
    close(ctx->epollfd);
    ctx->epollfd = -1;
}

/* Go back to ppoll(), which finds the handlers in the list of the context. */
static void fdmon_epoll_downgrade(AioContext *ctx)
{
    qemu_rec_mutex_lock(&ctx->list_lock);
    fdmon_epoll_destroy(ctx);
    ctx->fdmon_ops = &fdmon_ppoll_ops;
    qemu_rec_mutex_unlock(&ctx->list_lock);
}

static void fdmon_epoll_wait(AioContext *ctx, AioHandlerList *ready,
                             int64_t timeout)
{
    struct epoll_event events[FDMON_EPOLL_BATCH];
    int i, n;

    if (unlikely(qatomic_read(&ctx->epoll_failed))) {
        fdmon_epoll_downgrade(ctx);
        ctx->fdmon_ops->wait(ctx, ready, timeout);
        return;
    }
    if (timeout > 0) {
        /* epoll_wait() counts in ms: let ppoll() do the waiting. */
        struct pollfd pfd = { .fd = ctx->epollfd, .events = POLLIN };

        if (qemu_poll_ns(&pfd, 1, timeout) <= 0) {
            return;
        }
        timeout = 0;
    }
    n = epoll_wait(ctx->epollfd, events, ARRAY_SIZE(events),
                   timeout < 0 ? -1 : 0);
    for (i = 0; i < n; i++) {
        aio_add_ready_handler(ready, events[i].data.ptr, events[i].events);
    }
}

const FDMonOps fdmon_epoll_ops = {
    .name = "epoll",
    .update = fdmon_epoll_update,
    .wait = fdmon_epoll_wait,
    .destroy = fdmon_epoll_destroy,
};

void fdmon_epoll_upgrade(AioContext *ctx)
{
    AioHandler *node;
    bool ok;

    if (ctx->fdmon_ops != &fdmon_ppoll_ops ||
        qatomic_read(&ctx->epoll_failed)) {
        return;
    }

    qemu_rec_mutex_lock(&ctx->list_lock);
    ctx->epollfd = epoll_create1(EPOLL_CLOEXEC);
    ok = ctx->epollfd >= 0;
    QLIST_FOREACH(node, &ctx->aio_handlers, node) {
        if (!ok) {
            break;
        }
        if (!node->deleted && node->events) {
            ok = !fdmon_epoll_ctl(ctx, node, node->fd, 0, node->events);
        }
    }
    if (ok) {
        ctx->fdmon_ops->destroy(ctx);
        ctx->fdmon_ops = &fdmon_epoll_ops;
    } else {
        if (ctx->epollfd >= 0) {
            close(ctx->epollfd);
            ctx->epollfd = -1;
        }
        qatomic_set(&ctx->epoll_failed, true);
    }
    qemu_rec_mutex_unlock(&ctx->list_lock);
}
