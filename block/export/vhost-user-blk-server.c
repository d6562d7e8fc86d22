/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The socket of a vhost-user-blk export: one client at a time, a coroutine
 * that reads its messages.  Others wait to be accepted.  Main thread.
 */
#include "qemu/osdep.h"
#include <sys/socket.h>
#include "vhost-user-blk.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/sockets.h"

/* Messages to the client. */
#define VHOST_USER_BACKEND_CONFIG_CHANGE_MSG 2
/* Of refused messages of a client, that are told. */
#define MAX_REPORTS 8
/* A message that has begun has to end within that, or an answer to be read. */
#define MESSAGE_MAX_SECONDS 10

static void server_watch(VuBlkExport *exp, bool watch);

/* --- the socket --- */

static void client_ready(void *opaque)
{
    VuBlkClient *c = opaque;

    aio_set_fd_handler(qemu_get_aio_context(), c->fd, NULL, NULL, NULL, NULL,
                       NULL);
    aio_co_wake(g_steal_pointer(&c->waiting));
}

static void client_too_late(void *opaque)
{
    VuBlkClient *c = opaque;

    c->late = true;
    shutdown(c->fd, SHUT_RDWR);
}

/*
 * @due: not for ever.  A client may be silent between two messages as long as
 * it likes; but one that stops within a message has the socket for nothing.
 */
static void coroutine_fn client_wait(VuBlkClient *c, bool write, bool due)
{
    if (due && !timer_pending(c->timer)) {
        timer_mod(c->timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) +
                  MESSAGE_MAX_SECONDS * NANOSECONDS_PER_SECOND);
    }
    c->waiting = qemu_coroutine_self();
    aio_set_fd_handler(qemu_get_aio_context(), c->fd,
                       write ? NULL : client_ready,
                       write ? client_ready : NULL, NULL, NULL, c);
    qemu_coroutine_yield();
}

/* Keep the descriptors that came along; close those that are too many. */
static bool take_fds(struct msghdr *mh, VuMsg *msg)
{
    bool ok = !(mh->msg_flags & MSG_CTRUNC);
    struct cmsghdr *cmsg;

    for (cmsg = CMSG_FIRSTHDR(mh); cmsg; cmsg = CMSG_NXTHDR(mh, cmsg)) {
        size_t i, n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        for (i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(fd));
            if (msg->n_fds < VU_MAX_FDS) {
                msg->fds[msg->n_fds++] = fd;
            } else {
                close(fd);
                ok = false;
            }
        }
    }
    return ok;
}

/*
 * @len bytes, of a message that has @begun; descriptors may come with any of
 * them.  0: as wanted; 1: the client has gone before the first byte; -errno.
 */
static int coroutine_fn client_read(VuBlkClient *c, VuMsg *msg, void *buf,
                                    size_t len, bool begun)
{
    size_t done = 0;

    while (done < len) {
        union {
            struct cmsghdr header;
            char space[CMSG_SPACE(sizeof(int) * VU_MAX_FDS)];
        } control;
        struct iovec iov = { (char *)buf + done, len - done };
        struct msghdr mh = {
            .msg_iov = &iov,
            .msg_iovlen = 1,
            .msg_control = &control,
            .msg_controllen = sizeof(control),
        };
        ssize_t n = recvmsg(c->fd, &mh, MSG_CMSG_CLOEXEC);

        if (n > 0) {
            done += n;
            if (!take_fds(&mh, msg)) {
                return -E2BIG;
            }
        } else if (n == 0 || c->closing) {
            return done ? -EPIPE : 1;
        } else if (errno == EAGAIN) {
            client_wait(c, false, begun || done);
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

static int coroutine_fn read_message(VuBlkClient *c, VuMsg *msg, Error **errp)
{
    uint32_t header[3];
    int ret;

    memset(&msg->u, 0, sizeof(msg->u));
    msg->n_fds = 0;
    ret = client_read(c, msg, header, sizeof(header), false);
    if (ret) {
        goto out;
    }
    msg->request = header[0];
    msg->flags = header[1];
    msg->size = header[2];
    if ((msg->flags & VU_MSG_VERSION_MASK) != VU_MSG_VERSION ||
        msg->size > VU_MSG_MAX_SIZE) {
        error_setg(errp, "a message with flags 0x%x and %u bytes is not of "
                   "the protocol", msg->flags, msg->size);
        return -EINVAL;
    }
    ret = client_read(c, msg, &msg->u, msg->size, true);
    if (ret > 0) {
        ret = -EPIPE;
    }
out:
    timer_del(c->timer);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "cannot read a message");
    }
    return ret;
}

static bool coroutine_fn send_message(VuBlkClient *c, VuMsg *msg)
{
    uint32_t header[3] = {
        msg->request, VU_MSG_VERSION | VU_MSG_REPLY, msg->size,
    };
    struct iovec iov[] = { { header, sizeof(header) }, { &msg->u, msg->size } };
    size_t left = sizeof(header) + msg->size;
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = { .header = {
        .cmsg_len = CMSG_LEN(sizeof(int)),
        .cmsg_level = SOL_SOCKET,
        .cmsg_type = SCM_RIGHTS,
    } };
    struct msghdr mh = { .msg_iov = iov, .msg_iovlen = 2 };

    if (msg->n_fds) {
        mh.msg_control = &control;
        mh.msg_controllen = sizeof(control);
        memcpy(CMSG_DATA(&control.header), msg->fds, sizeof(int));
    }
    for (;;) {
        ssize_t n = sendmsg(c->fd, &mh, MSG_NOSIGNAL);

        /* So small a message is sent as a whole, or not. */
        if (n >= 0) {
            timer_del(c->timer);
            return (size_t)n == left;
        }
        if (errno == EAGAIN && !c->closing) {
            client_wait(c, true, true);
        } else if (errno != EINTR) {
            return false;
        }
    }
}

void vu_blk_client_config_changed(VuBlkExport *exp)
{
    uint32_t header[3] = {
        VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, VU_MSG_VERSION, 0,
    };

    /*
     * If the socket is full the client has not read earlier messages yet; it
     * will read the configuration after those.
     */
    if (exp->client.backend_fd >= 0 &&
        send(exp->client.backend_fd, header, sizeof(header),
             MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        return;
    }
}

/* --- the client --- */

/* One message.  False: it is the last one; @errp is set if that is an error. */
static bool coroutine_fn client_message(VuBlkExport *exp, VuMsg *msg,
                                        Error **errp)
{
    VuBlkClient *c = &exp->client;
    Error *err = NULL;
    bool reply = false, ack, ok;

    if (read_message(c, msg, errp) != 0) {
        return false;
    }
    ack = vu_blk_wants_ack(exp, msg);
    ok = vu_blk_handle_message(exp, msg, &reply, &err);
    if (!ok) {
        g_autofree char *name = vu_blk_message_name(msg->request);

        error_prepend(&err, "%s: ", name);
        if (!ack) {
            error_propagate(errp, err);
            return false;
        }
        if (c->errors++ < MAX_REPORTS) {
            error_reportf_err(err, "export '%s': ", exp->common.id);
        } else {
            error_free(err);
        }
    }
    if (!reply && ack) {
        vu_blk_close_fds(msg);
        msg->u.u64 = ok ? 0 : 1;
        msg->size = sizeof(msg->u.u64);
        reply = true;
    }
    return !reply || send_message(c, msg);
}

static void coroutine_fn client_entry(void *opaque)
{
    VuBlkExport *exp = opaque;
    VuMsg *msg = g_new0(VuMsg, 1);
    Error *err = NULL;

    while (!exp->client.closing && client_message(exp, msg, &err)) {
        vu_blk_close_fds(msg);
    }
    vu_blk_close_fds(msg);
    g_free(msg);
    if (exp->client.late) {
        error_free(err);
        err = NULL;
        error_setg(&err, "for %d seconds it has not sent the rest of a "
                   "message, or not read an answer", MESSAGE_MAX_SECONDS);
    }
    timer_free(exp->client.timer);
    if (err && !exp->client.closing) {
        error_reportf_err(err, "export '%s': the client is disconnected: ",
                          exp->common.id);
    } else {
        error_free(err);
    }
    vu_blk_forget_client(exp);
    close(exp->client.fd);
    exp->client.fd = -1;
    server_watch(exp, true);
    blk_exp_unref(&exp->common);
}

void vu_blk_client_start(VuBlkExport *exp, int fd)
{
    VuBlkClient *c = &exp->client;

    assert(c->fd < 0);
    *c = (VuBlkClient) { .fd = fd, .backend_fd = -1 };
    c->timer = aio_timer_new(qemu_get_aio_context(), QEMU_CLOCK_REALTIME,
                             SCALE_NS, client_too_late, c);
    server_watch(exp, false);
    blk_exp_ref(&exp->common);
    qemu_coroutine_enter(qemu_coroutine_create(client_entry, exp));
}

void vu_blk_client_shutdown(VuBlkExport *exp)
{
    if (exp->client.fd >= 0 && !exp->client.closing) {
        exp->client.closing = true;
        shutdown(exp->client.fd, SHUT_RDWR);
    }
}

/* --- the listener --- */

static void server_accept(void *opaque)
{
    VuBlkExport *exp = opaque;
    int fd = socket_accept(exp->listen_fd);

    if (fd >= 0) {
        vu_blk_client_start(exp, fd);
    } else if (fd != -EAGAIN) {
        /* The client stays in the queue, and would wake us at once. */
        server_watch(exp, false);
        timer_mod(exp->accept_timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) +
                  SOCKET_ACCEPT_RETRY_MS * SCALE_MS);
    }
}

static void server_retry(void *opaque)
{
    VuBlkExport *exp = opaque;

    server_watch(exp, exp->client.fd < 0);
}

static void server_watch(VuBlkExport *exp, bool watch)
{
    if (exp->listen_fd >= 0) {
        aio_set_fd_handler(qemu_get_aio_context(), exp->listen_fd,
                           watch ? server_accept : NULL, NULL, NULL, NULL,
                           exp);
    }
}

static bool is_unix_socket(int fd)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);

    return getsockname(fd, (struct sockaddr *)&ss, &len) == 0 &&
           ss.ss_family == AF_UNIX;
}

bool vu_blk_server_start(VuBlkExport *exp, Error **errp)
{
    if (exp->addr->type != SOCKET_ADDRESS_TYPE_UNIX &&
        exp->addr->type != SOCKET_ADDRESS_TYPE_FD) {
        error_setg(errp, "Only socket addresses of type 'unix' and 'fd' are "
                   "supported");
        return false;
    }
    exp->listen_fd = socket_listen(exp->addr, 1, errp);
    if (exp->listen_fd < 0) {
        return false;
    }
    if (!is_unix_socket(exp->listen_fd)) {
        error_setg(errp, "The socket is no UNIX domain socket");
        close(exp->listen_fd);
        exp->listen_fd = -1;
        return false;
    }
    exp->accept_timer = aio_timer_new(qemu_get_aio_context(),
                                      QEMU_CLOCK_REALTIME, SCALE_NS,
                                      server_retry, exp);
    server_watch(exp, true);
    return true;
}

void vu_blk_server_stop(VuBlkExport *exp)
{
    if (exp->listen_fd < 0) {
        return;
    }
    timer_free(exp->accept_timer);
    server_watch(exp, false);
    close(exp->listen_fd);
    exp->listen_fd = -1;
    socket_unlink(exp->addr);
}
