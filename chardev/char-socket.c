/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Character devices that are sockets.
 *
 * A server has one client at a time; others wait in the kernel's queue until
 * that one has gone.  A client may connect again after a while.
 */
#include "qemu/osdep.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include "chardev.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/interrupt.h"
#include "qemu/main-loop.h"
#include "qemu/sockets.h"
#include "qemu/timer.h"

/* Clients that may wait in the kernel. */
#define SOCKET_BACKLOG 16

typedef struct CharSocket {
    CharFds fds;
    Chardev *chr;
    SocketAddress *addr;
    bool server, nodelay;
    int64_t reconnect_ms;       /* 0: never */
    int listen_fd;              /* -1: a client */
    int fd;                     /* the connection; -1: none */
    QEMUTimer *timer;           /* to connect, or to accept, again */
    CharConnect *connect;       /* on its way; NULL: none */
} CharSocket;

static void socket_acceptable(void *opaque);

static void set_filename(CharSocket *sock)
{
    g_autofree char *text = socket_address_text(
        sock->addr, sock->server ? sock->listen_fd : -1);
    g_autofree char *peer = sock->fd >= 0 ? socket_peer_text(sock->fd) : NULL;

    g_free(sock->chr->filename);
    sock->chr->filename = g_strdup_printf(
        "%s%s%s%s%s", sock->fd < 0 ? "disconnected:" : "", text,
        sock->server ? ",server=on" : "", peer ? " <-> " : "",
        peer ? peer : "");
}

static void retry_later(CharSocket *sock, int64_t ms)
{
    int64_t now = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);

    timer_mod(sock->timer, now + MIN(ms, INT64_MAX - now));
}

static void socket_hup(Chardev *chr)
{
    CharSocket *sock = chr->opaque;

    char_fds_stop(&sock->fds);
    close(sock->fd);
    sock->fd = -1;
    set_filename(sock);
    qemu_chr_be_event(chr, CHR_EVENT_CLOSED);
    if (sock->server) {
        qemu_set_fd_handler(sock->listen_fd, socket_acceptable, NULL, sock);
    } else if (sock->reconnect_ms) {
        retry_later(sock, sock->reconnect_ms);
    }
}

static void socket_connected(CharSocket *sock, int fd)
{
    int one = 1;

    sock->fd = fd;
    if (sock->nodelay) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    }
    char_fds_init(&sock->fds, sock->chr, fd, fd, socket_hup);
    set_filename(sock);
    if (sock->server) {
        qemu_set_fd_handler(sock->listen_fd, NULL, NULL, NULL);
    }
    qemu_chr_be_event(sock->chr, CHR_EVENT_OPENED);
    char_fds_update_read(&sock->fds);
}

static void socket_acceptable(void *opaque)
{
    CharSocket *sock = opaque;
    int fd = socket_accept(sock->listen_fd);

    if (fd >= 0) {
        socket_connected(sock, fd);
    } else if (fd != -EAGAIN) {
        /* The client stays in the queue. */
        qemu_set_fd_handler(sock->listen_fd, NULL, NULL, NULL);
        retry_later(sock, SOCKET_ACCEPT_RETRY_MS);
    }
}

/* The end of a connection's beginning; @fd is -1 if it has failed. */
static void socket_has_connected(void *opaque, int fd)
{
    CharSocket *sock = opaque;

    sock->connect = NULL;
    if (fd < 0) {
        retry_later(sock, sock->reconnect_ms);
    } else {
        socket_connected(sock, fd);
    }
}

static void socket_timer(void *opaque)
{
    CharSocket *sock = opaque;

    if (sock->server) {
        qemu_set_fd_handler(sock->listen_fd, socket_acceptable, NULL, sock);
        return;
    }
    sock->connect = char_connect_new(sock->addr, socket_has_connected, sock);
    if (!sock->connect) {
        retry_later(sock, sock->reconnect_ms);
    }
}

/* wait=on: the program goes on when the first client is there. */
static bool wait_for_client(CharSocket *sock, Error **errp)
{
    info_report("QEMU waiting for connection on: %s", sock->chr->filename);
    qemu_set_fd_handler(sock->listen_fd, socket_acceptable, NULL, sock);
    while (sock->fd < 0) {
        if (qemu_interrupted()) {
            error_setg(errp, "Interrupted while waiting for a connection");
            return false;
        }
        main_loop_wait(false);
    }
    return true;
}

static bool server_start(CharSocket *sock, bool wait, Error **errp)
{
    sock->listen_fd = socket_listen(sock->addr, SOCKET_BACKLOG, errp);
    if (sock->listen_fd < 0) {
        return false;
    }
    set_filename(sock);
    if (wait) {
        return wait_for_client(sock, errp);
    }
    qemu_set_fd_handler(sock->listen_fd, socket_acceptable, NULL, sock);
    return true;
}

static bool client_start(CharSocket *sock, Error **errp)
{
    int fd;

    if (sock->reconnect_ms) {
        set_filename(sock);
        socket_timer(sock);
        return true;
    }
    fd = socket_connect(sock->addr, errp);
    if (fd < 0) {
        return false;
    }
    socket_connected(sock, fd);
    return true;
}

static bool check_options(const ChardevSocket *opts, bool server,
                          Error **errp)
{
    if (opts->has_reconnect_ms && opts->reconnect_ms < 0) {
        error_setg(errp, "'reconnect-ms' must not be negative");
        return false;
    }
    if (server && opts->has_reconnect_ms && opts->reconnect_ms) {
        error_setg(errp, "'reconnect-ms' option is incompatible with socket "
                   "in server listen mode");
        return false;
    }
    if (opts->has_reconnect_ms && opts->reconnect_ms &&
        opts->addr->type == SOCKET_ADDRESS_TYPE_FD) {
        /* Its number may be that of any other descriptor then. */
        error_setg(errp, "'reconnect-ms' option is incompatible with 'fd' "
                   "address type");
        return false;
    }
    if (!server && opts->has_wait) {
        error_setg(errp, "'wait' option is incompatible with socket in "
                   "client connect mode");
        return false;
    }
    return true;
}

static void socket_free(CharSocket *sock)
{
    if (sock->listen_fd >= 0) {
        qemu_set_fd_handler(sock->listen_fd, NULL, NULL, NULL);
        close(sock->listen_fd);
        if (sock->addr->type != SOCKET_ADDRESS_TYPE_FD) {
            socket_unlink(sock->addr);
        }
    }
    if (sock->connect) {
        char_connect_cancel(sock->connect);
    }
    char_fds_stop(&sock->fds);
    if (sock->fd >= 0) {
        close(sock->fd);
    }
    timer_free(sock->timer);
    qapi_free_SocketAddress(sock->addr);
    g_free(sock);
}

static bool socket_open(Chardev *chr, ChardevBackend *backend, Error **errp)
{
    ChardevSocket *opts = backend->u.socket.data;
    bool server = !opts->has_server || opts->server;
    CharSocket *sock;

    if (!check_options(opts, server, errp)) {
        return false;
    }
    sock = g_new0(CharSocket, 1);
    sock->chr = chr;
    sock->addr = socket_address_flatten(opts->addr);
    sock->server = server;
    sock->nodelay = opts->has_nodelay && opts->nodelay;
    sock->reconnect_ms = opts->has_reconnect_ms ? opts->reconnect_ms : 0;
    sock->listen_fd = sock->fd = -1;
    sock->timer = aio_timer_new(qemu_get_aio_context(), QEMU_CLOCK_REALTIME,
                                SCALE_MS, socket_timer, sock);
    chr->opaque = sock;
    if (server ? server_start(sock, opts->has_wait && opts->wait, errp) :
                 client_start(sock, errp)) {
        return true;
    }
    socket_free(sock);
    return false;
}

static void socket_close(Chardev *chr)
{
    socket_free(chr->opaque);
}

static ssize_t socket_write(Chardev *chr, const void *buf, size_t len)
{
    CharSocket *sock = chr->opaque;

    return char_fds_write(&sock->fds, buf, len);
}

static void socket_update_read(Chardev *chr)
{
    CharSocket *sock = chr->opaque;

    char_fds_update_read(&sock->fds);
}

static void socket_want_write(Chardev *chr)
{
    CharSocket *sock = chr->opaque;

    char_fds_want_write(&sock->fds);
}

const ChardevDriver chardev_socket = {
    .kind = CHARDEV_BACKEND_KIND_SOCKET,
    .open = socket_open,
    .close = socket_close,
    .write = socket_write,
    .update_read = socket_update_read,
    .want_write = socket_want_write,
};
