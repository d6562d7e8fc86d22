/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fd monitor: ppoll(2), for few descriptors.
 *
 * The array of descriptors is kept from one wait to the next and made anew
 * when the handlers have changed.
 */
#include "qemu/osdep.h"
#include <poll.h>
#include "aio-posix.h"

typedef struct {
    struct pollfd *fds;
    AioHandler **nodes;
    unsigned n;
    unsigned size;
    unsigned gen;               /* ctx->handlers_gen that this was made from */
    bool valid;
} FDMonPpoll;

static void fdmon_ppoll_update(AioContext *ctx, AioHandler *node, int fd,
                               short old, short new)
{
    /* The generation tells. */
}

static void fdmon_ppoll_rebuild(AioContext *ctx, FDMonPpoll *s)
{
    AioHandler *node;

    qemu_rec_mutex_lock(&ctx->list_lock);
    s->n = 0;
    QLIST_FOREACH(node, &ctx->aio_handlers, node) {
        if (node->deleted || !node->events) {
            continue;
        }
        if (s->n == s->size) {
            s->size = MAX(8, s->size * 2);
            s->fds = g_renew(struct pollfd, s->fds, s->size);
            s->nodes = g_renew(AioHandler *, s->nodes, s->size);
        }
        s->fds[s->n] = (struct pollfd) {
            .fd = node->fd,
            .events = node->events,
        };
        s->nodes[s->n++] = node;
    }
    s->gen = ctx->handlers_gen;
    s->valid = true;
    qemu_rec_mutex_unlock(&ctx->list_lock);
}

static void fdmon_ppoll_wait(AioContext *ctx, AioHandlerList *ready,
                             int64_t timeout)
{
    FDMonPpoll *s = ctx->fdmon_opaque;
    unsigned i;
    int n;

    if (!s) {
        s = ctx->fdmon_opaque = g_new0(FDMonPpoll, 1);
    }
    if (!s->valid || s->gen != qatomic_load_acquire(&ctx->handlers_gen)) {
        fdmon_ppoll_rebuild(ctx, s);
    }

    n = qemu_poll_ns(s->fds, s->n, timeout);
    for (i = 0; n > 0 && i < s->n; i++) {
        if (s->fds[i].revents) {
            aio_add_ready_handler(ready, s->nodes[i], s->fds[i].revents);
            n--;
        }
    }
}

static void fdmon_ppoll_destroy(AioContext *ctx)
{
    FDMonPpoll *s = ctx->fdmon_opaque;

    if (s) {
        g_free(s->fds);
        g_free(s->nodes);
        g_free(s);
    }
    ctx->fdmon_opaque = NULL;
}

const FDMonOps fdmon_ppoll_ops = {
    .name = "ppoll",
    .update = fdmon_ppoll_update,
    .wait = fdmon_ppoll_wait,
    .destroy = fdmon_ppoll_destroy,
};
