/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Replies of the NBD server, many at once.
 *
 * A coroutine puts its reply into the queue of its client and waits.  The queue
 * is sent by a deferred call: at the end of a pass of the event loop, in which
 * many requests may have been read and completed, one system call sends all of
 * their replies.  When the socket is full, the rest follows once it is
 * writable.  With TLS each coroutine sends by itself.
 */
#include "qemu/osdep.h"
#include <sys/socket.h>
#include "nbd-internal.h"
#include "qemu/defer-call.h"

/* Elements of one sendmsg(2). */
#define NBD_SEND_IOV 128

struct NBDReply {
    const struct iovec *iov;    /* the sender's, of which */
    int niov;
    size_t sent;                /* these bytes have been sent */
    size_t size;
    Coroutine *co;
    bool waits;
    bool done;
    int ret;
    QSIMPLEQ_ENTRY(NBDReply) next;
};

/* What is left of @r, as far as there is room; the number of elements. */
static int reply_rest(const NBDReply *r, struct iovec *to, int room)
{
    size_t skip = r->sent;
    int i, n = 0;

    for (i = 0; i < r->niov && n < room; i++) {
        size_t len = r->iov[i].iov_len;

        if (skip >= len) {
            skip -= len;
            continue;
        }
        to[n].iov_base = (char *)r->iov[i].iov_base + skip;
        to[n++].iov_len = len - skip;
        skip = 0;
    }
    return n;
}

static void reply_end(NBDClient *c, NBDReply *r, int ret)
{
    QSIMPLEQ_REMOVE_HEAD(&c->replies, next);
    r->ret = ret;
    r->done = true;
    if (r->waits) {
        aio_co_wake(r->co);
    }
}

static void replies_sent(NBDClient *c, size_t n)
{
    NBDReply *r;

    while ((r = QSIMPLEQ_FIRST(&c->replies)) && n >= r->size - r->sent) {
        n -= r->size - r->sent;
        reply_end(c, r, 0);
    }
    if (r) {
        r->sent += n;
    }
}

/* False: the socket is full. */
static bool send_some(NBDClient *c)
{
    struct iovec iov[NBD_SEND_IOV];
    struct msghdr msg = { .msg_iov = iov };
    NBDReply *r;
    ssize_t n;

    QSIMPLEQ_FOREACH(r, &c->replies, next) {
        msg.msg_iovlen += reply_rest(r, iov + msg.msg_iovlen,
                                     NBD_SEND_IOV - msg.msg_iovlen);
        if (msg.msg_iovlen == NBD_SEND_IOV) {
            break;
        }
    }
    do {
        n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
        replies_sent(c, n);
        return true;
    }
    if (errno == EAGAIN) {
        return false;
    }
    c->send_error = errno == ECONNRESET ? -EPIPE : -errno;
    return true;
}

/*
 * A coroutine that is woken may come with its next reply.  Or it was the last
 * one for which the client waited, which then goes: the deferred call has a
 * reference of its own, so the memory stays until it is done.
 */
static void send_all_replies(NBDClient *c)
{
    NBDReply *r;

    if (c->sending || c->send_blocked) {
        return;
    }
    c->sending = true;
    while ((r = QSIMPLEQ_FIRST(&c->replies)) && !c->send_blocked) {
        if (c->send_error) {
            reply_end(c, r, c->send_error);
        } else if (!send_some(c)) {
            c->send_blocked = true;
            nbd_client_watch(c);
            aio_awake_idle(&c->awake_output, c->ctx);
        }
    }
    c->sending = false;
}

static void send_replies(void *opaque)
{
    NBDClient *c = opaque;

    c->send_deferred = false;
    send_all_replies(c);
    nbd_client_unref(c);
}

/* Once for all replies of a pass. */
static void QEMU_NOINLINE send_later(NBDClient *c)
{
    if (!c->send_deferred) {
        c->send_deferred = true;
        nbd_client_ref(c);
        defer_call(send_replies, c);
    }
}

void nbd_client_send_more(NBDClient *c)
{
    c->send_blocked = false;
    aio_awake_busy(&c->awake_output);
    send_later(c);
}

int coroutine_fn nbd_client_send(NBDClient *c, const struct iovec *iov,
                                 int niov)
{
    NBDReply r = {
        .iov = iov, .niov = niov, .size = iov_size(iov, niov),
        .co = qemu_coroutine_self(),
    };
    int ret;

    if (c->tls) {
        qemu_co_mutex_lock(&c->send_lock);
        ret = nbd_client_writev(c, iov, niov);
        qemu_co_mutex_unlock(&c->send_lock);
        return ret;
    }
    if (c->send_error) {
        return c->send_error;
    }
    QSIMPLEQ_INSERT_TAIL(&c->replies, &r, next);
    send_later(c);
    if (!r.done) {
        r.waits = true;
        qemu_coroutine_yield();
    }
    return r.ret;
}
