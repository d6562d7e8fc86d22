/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The socket of an NBD client, for coroutines: one reads, one writes.
 */
#include "qemu/osdep.h"
#include <sys/socket.h>
#include "nbd-internal.h"
#include "qemu/main-loop.h"
#ifdef CONFIG_GNUTLS
#include "crypto/tls.h"
#include "qom/objects.h"
#include "trace/trace-nbd.h"
#endif

/* The most that goes into one record of TLS. */
#define NBD_TLS_BUFFER_SIZE (16 * KiB)

/* What a client that has negotiated sends is read in pieces of this size. */
#define NBD_INPUT_SIZE (32 * KiB)

/* --- waiting for the socket --- */

void nbd_client_ref(NBDClient *c)
{
    qatomic_inc(&c->refcount);
}

void nbd_client_unref(NBDClient *c)
{
    if (qatomic_fetch_dec(&c->refcount) == 1) {
        g_free(c);
    }
}

/*
 * The handlers stay if the coroutine that was woken comes back to wait, as it
 * does nearly always: to change them costs a system call.  The client may have
 * gone meanwhile, and its context may be another one.
 */
static void client_woken(NBDClient *c, AioContext *ctx)
{
    if (qatomic_read(&c->ctx) == ctx) {
        nbd_client_watch(c);
    }
    nbd_client_unref(c);
}

static void client_readable(void *opaque)
{
    NBDClient *c = opaque;
    AioContext *ctx = qatomic_read(&c->ctx);
    Coroutine *co = c->reader;

    c->reader = NULL;
    nbd_client_ref(c);
    if (co) {
        aio_co_wake(co);
    }
    client_woken(c, ctx);
}

static void client_writable(void *opaque)
{
    NBDClient *c = opaque;
    AioContext *ctx = qatomic_read(&c->ctx);
    Coroutine *co = c->writer;

    c->writer = NULL;
    nbd_client_ref(c);
    if (co) {
        aio_co_wake(co);
    } else if (c->send_blocked) {
        nbd_client_send_more(c);
    }
    client_woken(c, ctx);
}

void nbd_client_watch(NBDClient *c)
{
    unsigned want = (c->reader ? 1 : 0) |
                    (c->writer || c->send_blocked ? 2 : 0);

    if (want != c->watched) {
        c->watched = want;
        aio_set_fd_handler(c->ctx, c->fd, want & 1 ? client_readable : NULL,
                           want & 2 ? client_writable : NULL, NULL, NULL, c);
    }
}

void coroutine_fn nbd_client_move(NBDClient *c, AioContext *ctx)
{
    assert(!c->reader && !c->writer && !c->send_blocked);
    nbd_client_watch(c);
    qatomic_set(&c->ctx, ctx);
    aio_co_reschedule_self(ctx);
}

static void coroutine_fn client_wait(NBDClient *c, Coroutine **who)
{
    assert(!*who);
    *who = qemu_coroutine_self();
    nbd_client_watch(c);
    qemu_coroutine_yield();
}

/* --- with TLS: a reader may have to wait for writing, and vice versa --- */

#ifdef CONFIG_GNUTLS
/*
 * The other direction is taken by another coroutine, perhaps; that happens only
 * in a handshake, of which there is one, before there are others.
 */
static void coroutine_fn tls_wait(NBDClient *c, bool write)
{
    client_wait(c, write ? &c->writer : &c->reader);
}

int coroutine_fn nbd_client_start_tls(NBDClient *c)
{
    Error *err = NULL;
    bool write;
    int ret = -EIO;

    c->tls = tls_session_new(c->tls_creds, c->fd, &err);
    while (c->tls) {
        ret = tls_session_handshake(c->tls, &write, &err);
        if (ret != -EAGAIN) {
            break;
        }
        if (qatomic_read(&c->closing)) {
            ret = -EPIPE;
            break;
        }
        tls_wait(c, write);
    }
    if (ret == 0 && c->tls_authz &&
        !authz_is_allowed_by_id(c->tls_authz, tls_session_identity(c->tls),
                                &err)) {
        ret = -EPERM;
    }
    trace_nbd_tls(c, ret, err ? error_get_pretty(err) : "");
    error_free(err);
    if (ret == 0) {
        c->tls_buf = g_malloc(NBD_TLS_BUFFER_SIZE);
    }
    return ret;
}

void nbd_client_free_tls(NBDClient *c)
{
    if (c->tls) {
        tls_session_free(c->tls);
    }
    tls_creds_unref(c->tls_creds);
    g_free(c->tls_authz);
    g_free(c->tls_buf);
}

static ssize_t coroutine_fn tls_read(NBDClient *c, void *buf, size_t len)
{
    bool write;
    ssize_t n;

    while ((n = tls_session_read(c->tls, buf, len, &write)) == -EAGAIN &&
           !qatomic_read(&c->closing)) {
        tls_wait(c, false);
    }
    return n;
}

static int coroutine_fn tls_write(NBDClient *c, const void *buf, size_t len)
{
    while (len) {
        bool write;
        ssize_t n = tls_session_write(c->tls, buf, len, &write);

        if (n == -EAGAIN && !qatomic_read(&c->closing)) {
            tls_wait(c, true);
        } else if (n < 0) {
            return -EPIPE;
        } else {
            buf = (const char *)buf + n;
            len -= n;
        }
    }
    return 0;
}

/* Small pieces go into one record. */
static int coroutine_fn tls_writev(NBDClient *c, const struct iovec *iov,
                                   int niov)
{
    size_t size = iov_size(iov, niov);
    int ret = 0;
    int i;

    if (size <= NBD_TLS_BUFFER_SIZE) {
        iov_to_buf(iov, niov, 0, c->tls_buf, size);
        return tls_write(c, c->tls_buf, size);
    }
    for (i = 0; i < niov && ret == 0; i++) {
        ret = tls_write(c, iov[i].iov_base, iov[i].iov_len);
    }
    return ret;
}
#else
void nbd_client_free_tls(NBDClient *c)
{
}
#endif

/* --- for all --- */

/* At the beginning of requests: read in larger pieces from now on. */
void nbd_client_start_input(NBDClient *c)
{
    if (!c->tls) {
        c->input = g_malloc(NBD_INPUT_SIZE);
    }
}

/* Of a long payload the rest is on its way. */
static void coroutine_fn client_wait_input(NBDClient *c, size_t len)
{
    bool payload = len > NBD_INPUT_SIZE;

    if (payload) {
        aio_awake_idle(&c->awake_input, c->ctx);
    }
    client_wait(c, &c->reader);
    if (payload) {
        aio_awake_busy(&c->awake_input);
    }
}

static ssize_t coroutine_fn client_recv(NBDClient *c, void *buf, size_t len)
{
    ssize_t n;

    if (c->drained) {
        /* The last read has left nothing. */
        c->drained = false;
        client_wait(c, &c->reader);
    }
    while ((n = recv(c->fd, buf, len, 0)) < 0) {
        if (qatomic_read(&c->closing)) {
            return -EPIPE;
        }
        if (errno == EAGAIN) {
            client_wait_input(c, len);
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return n;
}

static ssize_t coroutine_fn client_read_buffered(NBDClient *c, void *buf,
                                                 size_t len)
{
    ssize_t n;

    if (c->input_pos == c->input_len) {
        if (len >= NBD_INPUT_SIZE) {
            return client_recv(c, buf, len);
        }
        n = client_recv(c, c->input, NBD_INPUT_SIZE);
        if (n <= 0) {
            return n;
        }
        c->input_pos = 0;
        c->input_len = n;
        c->drained = n < (ssize_t)NBD_INPUT_SIZE;
    }
    n = MIN(len, c->input_len - c->input_pos);
    memcpy(buf, c->input + c->input_pos, n);
    c->input_pos += n;
    return n;
}

static ssize_t coroutine_fn client_read_some(NBDClient *c, void *buf,
                                             size_t len)
{
#ifdef CONFIG_GNUTLS
    if (c->tls) {
        return tls_read(c, buf, len);
    }
#endif
    return c->input ? client_read_buffered(c, buf, len) :
                      client_recv(c, buf, len);
}

int coroutine_fn nbd_client_read(NBDClient *c, void *buf, size_t len)
{
    while (len) {
        ssize_t n = client_read_some(c, buf, len);

        if (n <= 0) {
            return n == 0 ? -EPIPE : n;
        }
        buf = (char *)buf + n;
        len -= n;
    }
    return 0;
}

int coroutine_fn nbd_client_writev(NBDClient *c, const struct iovec *iov,
                                   int niov)
{
    g_autofree struct iovec *copy = NULL;
    struct msghdr msg = { .msg_iovlen = niov };

#ifdef CONFIG_GNUTLS
    if (c->tls) {
        return tls_writev(c, iov, niov);
    }
#endif
    msg.msg_iov = copy = g_memdup2(iov, niov * sizeof(*iov));
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
    if (qatomic_xchg(&c->closing, true)) {
        return;
    }
#ifdef CONFIG_GNUTLS
    if (c->tls && !c->writer &&
        in_aio_context_home_thread(qatomic_read(&c->ctx))) {
        tls_session_bye(c->tls);
    }
#endif
    shutdown(c->fd, SHUT_RDWR);
}
