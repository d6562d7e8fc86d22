/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sockets by the addresses of QMP. */
#include "qemu/osdep.h"
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <linux/vm_sockets.h>
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/sockets.h"

static bool unix_address(const UnixSocketAddress *addr,
                         struct sockaddr_un *un, socklen_t *len,
                         Error **errp)
{
    size_t length = strlen(addr->path);
    bool abstract = addr->has_abstract && addr->abstract;
    bool tight = !addr->has_tight || addr->tight;
    size_t max = sizeof(un->sun_path) - (abstract ? 1 : 0);

    memset(un, 0, sizeof(*un));
    un->sun_family = AF_UNIX;
    if (!length && !abstract) {
        error_setg(errp, "UNIX socket path is empty");
        return false;
    }
    if (length > max || (!abstract && length == max)) {
        error_setg(errp, "UNIX socket path '%s' is too long", addr->path);
        error_append_hint(errp, "Path must be less than %zu bytes\n",
                          sizeof(un->sun_path));
        return false;
    }
    memcpy(un->sun_path + (abstract ? 1 : 0), addr->path, length);
    *len = sizeof(*un);
    if (abstract && tight) {
        *len = offsetof(struct sockaddr_un, sun_path) + 1 + length;
    }
    return true;
}

static const char *unix_kind(const UnixSocketAddress *addr)
{
    return addr->has_abstract && addr->abstract ? "abstract:" : "";
}

/* A socket file that nobody listens on any more is in the way. */
static void remove_stale(const UnixSocketAddress *addr,
                         const struct sockaddr_un *un, socklen_t len)
{
    struct stat st;
    int fd;

    if ((addr->has_abstract && addr->abstract) ||
        stat(addr->path, &st) < 0 || !S_ISSOCK(st.st_mode)) {
        return;
    }
    /* A server that does not accept could keep us waiting. */
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return;
    }
    if (connect(fd, (const struct sockaddr *)un, len) < 0 &&
        errno == ECONNREFUSED) {
        unlink(addr->path);
    }
    close(fd);
}

/* @fd, which is bound, or -1 with @errp set and @fd closed. */
static int listen_or_close(int fd, int backlog, Error **errp)
{
    if (listen(fd, backlog) < 0) {
        error_setg_errno(errp, errno, "Failed to listen on socket");
        close(fd);
        return -1;
    }
    return fd;
}

static int unix_listen(const UnixSocketAddress *addr, int backlog,
                       Error **errp)
{
    struct sockaddr_un un;
    socklen_t len;
    int fd;

    if (!unix_address(addr, &un, &len, errp)) {
        return -1;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        error_setg_errno(errp, errno, "Failed to create UNIX socket");
        return -1;
    }
    remove_stale(addr, &un, len);
    if (bind(fd, (struct sockaddr *)&un, len) < 0) {
        error_setg_errno(errp, errno, "Failed to bind socket to %s%s",
                         unix_kind(addr), addr->path);
        close(fd);
        return -1;
    }
    return listen_or_close(fd, backlog, errp);
}

static int unix_connect(const UnixSocketAddress *addr, Error **errp)
{
    struct sockaddr_un un;
    socklen_t len;
    int fd;

    if (!unix_address(addr, &un, &len, errp)) {
        return -1;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        error_setg_errno(errp, errno, "Failed to create socket");
        return -1;
    }
    if (connect(fd, (struct sockaddr *)&un, len) < 0) {
        error_setg_errno(errp, errno, "Failed to connect to '%s%s'",
                         unix_kind(addr), addr->path);
        close(fd);
        return -1;
    }
    return fd;
}

static struct addrinfo *inet_lookup(const InetSocketAddress *addr,
                                    const char *port, bool listening,
                                    Error **errp)
{
    struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM,
        .ai_flags = listening ? AI_PASSIVE : AI_ADDRCONFIG,
    };
    struct addrinfo *list;
    unsigned long number;
    int ret;

    /* The C library takes the lower 16 bits. */
    if (qemu_strtoul(port, NULL, 10, &number) == 0 && number > UINT16_MAX) {
        error_setg(errp, "address resolution failed for %s:%s: the port must "
                   "be between 0 and %d", addr->host, port, UINT16_MAX);
        return NULL;
    }
    if (addr->has_ipv4 && addr->ipv4 && addr->has_ipv6 && addr->ipv6) {
        hints.ai_family = PF_UNSPEC;
    } else if ((addr->has_ipv4 && addr->ipv4) ||
               (addr->has_ipv6 && !addr->ipv6)) {
        hints.ai_family = PF_INET;
    } else if ((addr->has_ipv6 && addr->ipv6) ||
               (addr->has_ipv4 && !addr->ipv4)) {
        hints.ai_family = PF_INET6;
    }
    if (addr->has_ipv4 && !addr->ipv4 && addr->has_ipv6 && !addr->ipv6) {
        error_setg(errp, "Cannot disable IPv4 and IPv6 at same time");
        return NULL;
    }
    if (addr->has_numeric && addr->numeric) {
        hints.ai_flags |= AI_NUMERICHOST | AI_NUMERICSERV;
    }
    ret = getaddrinfo(*addr->host ? addr->host : NULL, port, &hints, &list);
    if (ret) {
        error_setg(errp, "address resolution failed for %s:%s: %s",
                   addr->host, port, gai_strerror(ret));
        return NULL;
    }
    return list;
}

static int listen_on(const struct addrinfo *ai, int backlog)
{
    int one = 1;
    int fd = socket(ai->ai_family,
                    ai->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
                    ai->ai_protocol);

    if (fd < 0) {
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 ||
        listen(fd, backlog) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* A connection has the options of the socket that it was accepted from. */
static bool inet_set_keep_alive(int fd, const InetSocketAddress *addr,
                                Error **errp)
{
    const struct {
        int level, name;
        uint32_t value;         /* 0: as it is */
        const char *text;
    } options[] = {
        { SOL_SOCKET, SO_KEEPALIVE, 1, "keep-alive" },
        { IPPROTO_TCP, TCP_KEEPCNT, addr->keep_alive_count,
          "keep-alive-count" },
        { IPPROTO_TCP, TCP_KEEPIDLE, addr->keep_alive_idle,
          "keep-alive-idle" },
        { IPPROTO_TCP, TCP_KEEPINTVL, addr->keep_alive_interval,
          "keep-alive-interval" },
    };
    size_t i;

    if (!addr->has_keep_alive || !addr->keep_alive) {
        return true;
    }
    for (i = 0; i < ARRAY_SIZE(options); i++) {
        if (options[i].value &&
            setsockopt(fd, options[i].level, options[i].name,
                       &options[i].value, sizeof(uint32_t)) < 0) {
            error_setg_errno(errp, errno, "Unable to set %s option on socket",
                             options[i].text);
            return false;
        }
    }
    return true;
}

static int inet_listen(const InetSocketAddress *addr, int backlog,
                       Error **errp)
{
    unsigned long first, port, last;
    bool numeric = qemu_strtoul(addr->port, NULL, 10, &first) == 0;
    int saved_errno = EINVAL;

    if (!numeric && addr->has_to) {
        error_setg(errp, "port '%s' is no number, so there is nothing to "
                   "count from up to %u", addr->port, addr->to);
        return -1;
    }
    first = numeric ? first : 0;
    last = addr->has_to ? addr->to : first;
    for (port = first; port <= last; port++) {
        g_autofree char *text = numeric ? g_strdup_printf("%lu", port) :
                                          g_strdup(addr->port);
        struct addrinfo *list = inet_lookup(addr, text, true, errp);
        struct addrinfo *ai;
        int fd = -1;

        if (!list) {
            return -1;
        }
        for (ai = list; ai && fd < 0; ai = ai->ai_next) {
            fd = listen_on(ai, backlog);
            saved_errno = errno;
        }
        freeaddrinfo(list);
        if (fd >= 0 && !inet_set_keep_alive(fd, addr, errp)) {
            close(fd);
            return -1;
        }
        if (fd >= 0) {
            return fd;
        }
    }
    error_setg_errno(errp, saved_errno, "Failed to find an available port");
    return -1;
}

static int inet_connect(const InetSocketAddress *addr, Error **errp)
{
    struct addrinfo *list = inet_lookup(addr, addr->port, false, errp);
    struct addrinfo *ai;
    int saved_errno = 0;
    int fd;

    if (!list) {
        return -1;
    }
    for (ai = list; ai; ai = ai->ai_next) {
        fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC,
                    ai->ai_protocol);
        if (fd >= 0 && connect(fd, ai->ai_addr, ai->ai_addrlen) == 0) {
            freeaddrinfo(list);
            if (!inet_set_keep_alive(fd, addr, errp)) {
                close(fd);
                return -1;
            }
            return fd;
        }
        saved_errno = errno;
        if (fd >= 0) {
            close(fd);
        }
    }
    freeaddrinfo(list);
    error_setg_errno(errp, saved_errno, "Failed to connect to '%s:%s'",
                     addr->host, addr->port);
    return -1;
}

static bool vsock_number(const char *what, const char *text, unsigned *value,
                         Error **errp)
{
    uint64_t number;

    if (parse_uint_full(text, 10, &number) < 0 || number > UINT32_MAX) {
        error_setg(errp, "Failed to parse %s '%s'", what, text);
        return false;
    }
    *value = number;
    return true;
}

/* A new socket for @addr, whose parts are in @svm; -1 with @errp set. */
static int vsock_new(const VsockSocketAddress *addr, struct sockaddr_vm *svm,
                     int flags, Error **errp)
{
    int fd;

    memset(svm, 0, sizeof(*svm));
    svm->svm_family = AF_VSOCK;
    if (!vsock_number("cid", addr->cid, &svm->svm_cid, errp) ||
        !vsock_number("port", addr->port, &svm->svm_port, errp)) {
        return -1;
    }
    fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0) {
        error_setg_errno(errp, errno, "Failed to create socket family "
                         "AF_VSOCK");
    }
    return fd;
}

static int vsock_listen(const VsockSocketAddress *addr, int backlog,
                        Error **errp)
{
    struct sockaddr_vm svm;
    int fd = vsock_new(addr, &svm, SOCK_NONBLOCK, errp);

    if (fd < 0) {
        return -1;
    }
    if (bind(fd, (struct sockaddr *)&svm, sizeof(svm)) < 0) {
        error_setg_errno(errp, errno, "Failed to bind socket");
        close(fd);
        return -1;
    }
    return listen_or_close(fd, backlog, errp);
}

static int vsock_connect(const VsockSocketAddress *addr, Error **errp)
{
    struct sockaddr_vm svm;
    int fd = vsock_new(addr, &svm, 0, errp);

    if (fd >= 0 &&
        connect(fd, (struct sockaddr *)&svm, sizeof(svm)) < 0) {
        error_setg_errno(errp, errno, "Failed to connect to '%s:%s'",
                         addr->cid, addr->port);
        close(fd);
        return -1;
    }
    return fd;
}

/* A descriptor of ours, as @listening says: with SO_ACCEPTCONN or without. */
static int inherited_fd(const FdSocketAddress *addr, bool listening,
                        Error **errp)
{
    unsigned long number;
    int value = 0;
    socklen_t len = sizeof(value);

    if (qemu_strtoul(addr->str, NULL, 10, &number) < 0 || number > INT_MAX) {
        error_setg(errp, "Unable to parse FD number %s", addr->str);
        return -1;
    }
    if (getsockopt(number, SOL_SOCKET, SO_ACCEPTCONN, &value, &len) < 0) {
        error_setg_errno(errp, errno, "File descriptor '%s' is not a socket",
                         addr->str);
        return -1;
    }
    if (value != listening) {
        error_setg(errp, "File descriptor '%s' is %s", addr->str, listening ?
                   "not a listening socket" : "a listening socket");
        return -1;
    }
    if (fcntl(number, F_SETFD, FD_CLOEXEC) < 0) {
        error_setg_errno(errp, errno, "File descriptor '%s'", addr->str);
        return -1;
    }
    return number;
}

static int set_nonblocking(int fd, Error **errp)
{
    int flags;

    if (fd < 0) {
        return -1;
    }
    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        error_setg_errno(errp, errno, "Cannot make a socket non-blocking");
        close(fd);
        return -1;
    }
    return fd;
}

int socket_listen(const SocketAddress *addr, int backlog, Error **errp)
{
    switch (addr->type) {
    case SOCKET_ADDRESS_TYPE_INET:
        return inet_listen(&addr->u.inet, backlog, errp);
    case SOCKET_ADDRESS_TYPE_UNIX:
        return unix_listen(&addr->u.q_unix, backlog, errp);
    case SOCKET_ADDRESS_TYPE_VSOCK:
        return vsock_listen(&addr->u.vsock, backlog, errp);
    case SOCKET_ADDRESS_TYPE_FD:
        return set_nonblocking(inherited_fd(&addr->u.fd, true, errp), errp);
    default:
        g_assert_not_reached();
    }
}

int socket_connect(const SocketAddress *addr, Error **errp)
{
    switch (addr->type) {
    case SOCKET_ADDRESS_TYPE_INET:
        return set_nonblocking(inet_connect(&addr->u.inet, errp), errp);
    case SOCKET_ADDRESS_TYPE_UNIX:
        return set_nonblocking(unix_connect(&addr->u.q_unix, errp), errp);
    case SOCKET_ADDRESS_TYPE_VSOCK:
        return set_nonblocking(vsock_connect(&addr->u.vsock, errp), errp);
    case SOCKET_ADDRESS_TYPE_FD:
        return set_nonblocking(inherited_fd(&addr->u.fd, false, errp), errp);
    default:
        g_assert_not_reached();
    }
}

int socket_accept(int listen_fd)
{
    int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd >= 0) {
        return fd;
    }
    /*
     * Those that are retried at once leave nothing behind.  All others may
     * come again and again, known ones (EMFILE, ENFILE, ENOBUFS, ENOMEM) and
     * unknown ones.
     */
    return errno == EINTR || errno == ECONNABORTED || errno == EWOULDBLOCK ?
           -EAGAIN : -errno;
}

void socket_unlink(const SocketAddress *addr)
{
    if (addr->type == SOCKET_ADDRESS_TYPE_UNIX &&
        !(addr->u.q_unix.has_abstract && addr->u.q_unix.abstract)) {
        unlink(addr->u.q_unix.path);
    }
}

SocketAddress *socket_address_flatten(const SocketAddressLegacy *addr)
{
    SocketAddress *flat = g_new0(SocketAddress, 1);

    flat->type = addr->type;
    switch (addr->type) {
    case SOCKET_ADDRESS_TYPE_INET:
        QAPI_CLONE_MEMBERS(InetSocketAddress, &flat->u.inet,
                           addr->u.inet.data);
        break;
    case SOCKET_ADDRESS_TYPE_UNIX:
        QAPI_CLONE_MEMBERS(UnixSocketAddress, &flat->u.q_unix,
                           addr->u.q_unix.data);
        break;
    case SOCKET_ADDRESS_TYPE_VSOCK:
        QAPI_CLONE_MEMBERS(VsockSocketAddress, &flat->u.vsock,
                           addr->u.vsock.data);
        break;
    case SOCKET_ADDRESS_TYPE_FD:
        QAPI_CLONE_MEMBERS(FdSocketAddress, &flat->u.fd, addr->u.fd.data);
        break;
    default:
        g_assert_not_reached();
    }
    return flat;
}

static char *inet_text(const struct sockaddr *sa, socklen_t len)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if ((sa->sa_family != AF_INET && sa->sa_family != AF_INET6) ||
        getnameinfo(sa, len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV)) {
        return NULL;
    }
    return g_strdup_printf(sa->sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s",
                           host, port);
}

char *socket_peer_text(int fd)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);

    if (getpeername(fd, (struct sockaddr *)&ss, &len) < 0) {
        return NULL;
    }
    return inet_text((struct sockaddr *)&ss, len);
}

char *socket_address_text(const SocketAddress *addr, int fd)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    g_autofree char *own = NULL;

    switch (addr->type) {
    case SOCKET_ADDRESS_TYPE_INET:
        if (fd >= 0 && getsockname(fd, (struct sockaddr *)&ss, &len) == 0) {
            own = inet_text((struct sockaddr *)&ss, len);
        }
        if (own) {
            return g_strdup_printf("tcp:%s", own);
        }
        return g_strdup_printf("tcp:%s:%s", addr->u.inet.host,
                               addr->u.inet.port);
    case SOCKET_ADDRESS_TYPE_UNIX:
        return g_strdup_printf("unix:%s%s", addr->u.q_unix.path,
                               addr->u.q_unix.has_abstract &&
                               addr->u.q_unix.abstract ? ",abstract=on" : "");
    case SOCKET_ADDRESS_TYPE_VSOCK:
        return g_strdup_printf("vsock:%s:%s", addr->u.vsock.cid,
                               addr->u.vsock.port);
    case SOCKET_ADDRESS_TYPE_FD:
        return g_strdup_printf("fd:%s", addr->u.fd.str);
    default:
        g_assert_not_reached();
    }
}
