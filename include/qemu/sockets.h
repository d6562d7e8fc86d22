/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sockets by the addresses of QMP.  Names are looked up and connections are
 * made while the caller waits.  Any thread.
 */
#ifndef QEMU_SOCKETS_H
#define QEMU_SOCKETS_H

#include "qapi/qapi-types-sockets.h"

/*
 * A listening socket, non-blocking and close-on-exec; a UNIX socket's file
 * is replaced if nobody can be using it any more.  -1 with @errp set.
 */
int socket_listen(const SocketAddress *addr, int backlog, Error **errp);
/* A connected one, by the same rules. */
int socket_connect(const SocketAddress *addr, Error **errp);
/*
 * Accept a connection: a descriptor, non-blocking and close-on-exec.  -EAGAIN:
 * none is waiting any more.  Any other -errno, such as -EMFILE: the connection
 * still waits, and @listen_fd stays readable, so the caller must not watch it
 * for SOCKET_ACCEPT_RETRY_MS, or the event loop would turn without end.
 */
int socket_accept(int listen_fd);
#define SOCKET_ACCEPT_RETRY_MS 500
/* Remove the file of a UNIX socket that socket_listen() made. */
void socket_unlink(const SocketAddress *addr);
/* The address as one of the newer form, a copy. */
SocketAddress *socket_address_flatten(const SocketAddressLegacy *addr);
/*
 * "unix:/path", "tcp:host:port" or "fd:N", to be freed.  @fd, unless it is
 * -1, is the socket, whose own address is told then.
 */
char *socket_address_text(const SocketAddress *addr, int fd);
/* "host:port" of the other end of a TCP connection; NULL for others. */
char *socket_peer_text(int fd);

#endif
