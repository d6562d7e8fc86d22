/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The socket of an NBD client, for coroutines: one reads, one writes.
 */
#include "qemu/osdep.h"
#include <sys/socket.h>
#include "nbd-internal.h"
#include "qemu/main-loop.h"

static void client_set_handlers(NBDClient *c);

static void client_readable(void *opaque)
{
    NBDClient *c = opaque;
    Coroutine *co = c->reader;

    c->reader = NULL;
    client_set_handlers(c);
    aio_co_wake(co);
}

static void client_writable(void *opaque)
{
    NBDClient *c = opaque;
    Coroutine *co = c->writer;

    c->writer = NULL;
    client_set_handlers(c);
    aio_co_wake(co);
}

static void client_set_handlers(NBDClient *c)
{
    aio_set_fd_handler(qemu_get_aio_context(), c->fd,
                       c->reader ? client_readable : NULL,
                       c->writer ? client_writable : NULL, NULL, NULL, c);
}

static void coroutine_fn client_wait(NBDClient *c, Coroutine **who)
{
    assert(!*who);
    *who = qemu_coroutine_self();
    client_set_handlers(c);
    qemu_coroutine_yield();
}

int coroutine_fn nbd_client_read(NBDClient *c, void *buf, size_t len)
{
    while (len) {
        ssize_t n = recv(c->fd, buf, len, 0);

        if (n > 0) {
            buf = (char *)buf + n;
            len -= n;
        } else if (n == 0 || c->closing) {
            return -EPIPE;
        } else if (errno == EAGAIN) {
            client_wait(c, &c->reader);
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

int coroutine_fn nbd_client_writev(NBDClient *c, const struct iovec *iov,
                                   int niov)
{
    g_autofree struct iovec *copy = g_memdup2(iov, niov * sizeof(*iov));
    struct msghdr msg = { .msg_iov = copy, .msg_iovlen = niov };

    while (msg.msg_iovlen) {
        ssize_t n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN) {
            client_wait(c, &c->writer);
        } else if (n < 0 && errno != EINTR) {
            return errno == ECONNRESET ? -EPIPE : -errno;
        }
        while (n > 0 || (msg.msg_iovlen && !msg.msg_iov->iov_len)) {
            size_t part = MIN((size_t)MAX(n, 0), msg.msg_iov->iov_len);

            msg.msg_iov->iov_base = (char *)msg.msg_iov->iov_base + part;
            msg.msg_iov->iov_len -= part;
            n -= part;
            if (!msg.msg_iov->iov_len) {
                msg.msg_iov++;
                msg.msg_iovlen--;
            }
        }
    }
    return 0;
}

int coroutine_fn nbd_client_write(NBDClient *c, const void *buf, size_t len)
{
    struct iovec iov = { .iov_base = (void *)buf, .iov_len = len };

    return nbd_client_writev(c, &iov, 1);
}

void nbd_client_shutdown(NBDClient *c)
{
    if (!c->closing) {
        c->closing = true;
        shutdown(c->fd, SHUT_RDWR);
    }
}
