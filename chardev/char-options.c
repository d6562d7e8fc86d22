/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The options of --chardev, which are older than those of chardev-add. */
#include "qemu/osdep.h"
#include "chardev.h"
#include "qapi/error.h"
#include "qemu/option.h"

static bool take_bool(QOpts *opts, const char *key, bool *has, bool *value,
                      Error **errp)
{
    *has = qopts_has(opts, key);
    return qopts_take_bool(opts, key, false, value, errp);
}

static bool take_int(QOpts *opts, const char *key, bool *has, int64_t *value,
                     Error **errp)
{
    uint64_t number = 0;

    *has = qopts_has(opts, key);
    if (!qopts_take_number(opts, key, 0, &number, errp)) {
        return false;
    }
    if (number > INT64_MAX) {
        error_setg(errp, "Parameter '%s' is too large", key);
        return false;
    }
    *value = number;
    return true;
}

static bool take_common(QOpts *opts, ChardevCommon *common, Error **errp)
{
    return qopts_take_str(opts, "logfile", NULL, &common->logfile, errp) &&
           take_bool(opts, "logappend", &common->has_logappend,
                     &common->logappend, errp);
}

static bool parse_file(QOpts *opts, ChardevFile *file, Error **errp)
{
    if (!qopts_take_str(opts, "path", NULL, &file->out, errp) ||
        !qopts_take_str(opts, "input-path", NULL, &file->in, errp) ||
        !take_bool(opts, "append", &file->has_append, &file->append, errp)) {
        return false;
    }
    if (!file->out) {
        error_setg(errp, "chardev: file: no filename given");
        return false;
    }
    return true;
}

static bool parse_unix(QOpts *opts, char *path, UnixSocketAddress *addr,
                       Error **errp)
{
    addr->path = path;
    return take_bool(opts, "abstract", &addr->has_abstract, &addr->abstract,
                     errp) &&
           take_bool(opts, "tight", &addr->has_tight, &addr->tight, errp);
}

static bool parse_inet(QOpts *opts, InetSocketAddress *addr, Error **errp)
{
    int64_t to = 0;

    if (!qopts_take_str(opts, "host", "", &addr->host, errp) ||
        !qopts_take_str(opts, "port", NULL, &addr->port, errp) ||
        !take_bool(opts, "numeric", &addr->has_numeric, &addr->numeric,
                   errp) ||
        !take_int(opts, "to", &addr->has_to, &to, errp) ||
        !take_bool(opts, "ipv4", &addr->has_ipv4, &addr->ipv4, errp) ||
        !take_bool(opts, "ipv6", &addr->has_ipv6, &addr->ipv6, errp) ||
        !take_bool(opts, "keep-alive", &addr->has_keep_alive,
                   &addr->keep_alive, errp)) {
        return false;
    }
    if (!addr->port) {
        error_setg(errp, "chardev: socket: no port given");
        return false;
    }
    if (to > UINT16_MAX) {
        error_setg(errp, "Parameter 'to' expects uint16_t");
        return false;
    }
    addr->to = to;
    return true;
}

static bool parse_address(QOpts *opts, SocketAddressLegacy *addr,
                          Error **errp)
{
    char *path = NULL;

    if (qopts_has(opts, "path") + qopts_has(opts, "host") +
        qopts_has(opts, "fd") > 1) {
        error_setg(errp, "None or one of 'path', 'fd' or 'host' option "
                   "required.");
        return false;
    }
    if (qopts_has(opts, "path")) {
        addr->type = SOCKET_ADDRESS_TYPE_UNIX;
        addr->u.q_unix.data = g_new0(UnixSocketAddress, 1);
        return qopts_take_str(opts, "path", NULL, &path, errp) &&
               parse_unix(opts, path, addr->u.q_unix.data, errp);
    }
    if (qopts_has(opts, "fd")) {
        addr->type = SOCKET_ADDRESS_TYPE_FD;
        addr->u.fd.data = g_new0(FdSocketAddress, 1);
        return qopts_take_str(opts, "fd", NULL, &addr->u.fd.data->str, errp);
    }
    if (!qopts_has(opts, "port")) {
        error_setg(errp, "one of 'path', 'port' or 'fd' option required");
        return false;
    }
    addr->type = SOCKET_ADDRESS_TYPE_INET;
    addr->u.inet.data = g_new0(InetSocketAddress, 1);
    return parse_inet(opts, addr->u.inet.data, errp);
}

static bool parse_socket(QOpts *opts, ChardevSocket *sock, Error **errp)
{
    int64_t seconds;
    bool has_seconds;

    /* Other defaults than in QMP: connect; and a server waits. */
    sock->has_server = true;
    if (!qopts_take_bool(opts, "server", false, &sock->server, errp)) {
        return false;
    }
    sock->has_wait = sock->server || qopts_has(opts, "wait");
    if (!qopts_take_bool(opts, "wait", sock->server, &sock->wait, errp) ||
        !take_bool(opts, "nodelay", &sock->has_nodelay, &sock->nodelay,
                   errp) ||
        !take_int(opts, "reconnect", &has_seconds, &seconds, errp) ||
        !take_int(opts, "reconnect-ms", &sock->has_reconnect_ms,
                  &sock->reconnect_ms, errp)) {
        return false;
    }
    if (has_seconds && sock->has_reconnect_ms) {
        error_setg(errp, "'reconnect' and 'reconnect-ms' are mutually "
                   "exclusive");
        return false;
    }
    if (has_seconds) {
        sock->has_reconnect_ms = true;
        sock->reconnect_ms = MIN(seconds, INT32_MAX) * 1000;
    }
    sock->addr = g_new0(SocketAddressLegacy, 1);
    return parse_address(opts, sock->addr, errp);
}

/* The kind's own options; @common is where those of all kinds go. */
static bool parse_kind(ChardevBackend *backend, QOpts *opts,
                       ChardevCommon **common, Error **errp)
{
    switch (backend->type) {
    case CHARDEV_BACKEND_KIND_FILE:
        backend->u.file.data = g_new0(ChardevFile, 1);
        *common = (ChardevCommon *)backend->u.file.data;
        return parse_file(opts, backend->u.file.data, errp);
    case CHARDEV_BACKEND_KIND_SOCKET:
        backend->u.socket.data = g_new0(ChardevSocket, 1);
        *common = (ChardevCommon *)backend->u.socket.data;
        return parse_socket(opts, backend->u.socket.data, errp);
    case CHARDEV_BACKEND_KIND_PTY:
        backend->u.pty.data = g_new0(ChardevPty, 1);
        *common = (ChardevCommon *)backend->u.pty.data;
        return qopts_take_str(opts, "path", NULL, &backend->u.pty.data->path,
                              errp);
    case CHARDEV_BACKEND_KIND_NULL:
        *common = backend->u.null.data = g_new0(ChardevCommon, 1);
        return true;
    case CHARDEV_BACKEND_KIND_STDIO:
        backend->u.stdio.data = g_new0(ChardevStdio, 1);
        *common = (ChardevCommon *)backend->u.stdio.data;
        return take_bool(opts, "signal", &backend->u.stdio.data->has_signal,
                         &backend->u.stdio.data->signal, errp);
    case CHARDEV_BACKEND_KIND_RINGBUF:
        backend->u.ringbuf.data = g_new0(ChardevRingbuf, 1);
        *common = (ChardevCommon *)backend->u.ringbuf.data;
        return take_int(opts, "size", &backend->u.ringbuf.data->has_size,
                        &backend->u.ringbuf.data->size, errp);
    default:
        g_assert_not_reached();
    }
}

ChardevBackend *chardev_parse_opts(ChardevBackendKind kind, QOpts *opts,
                                   Error **errp)
{
    g_autoptr(ChardevBackend) backend = g_new0(ChardevBackend, 1);
    ChardevCommon *common;

    backend->type = kind;
    if (!parse_kind(backend, opts, &common, errp) ||
        !take_common(opts, common, errp) ||
        !qopts_check_empty(opts, errp)) {
        return NULL;
    }
    return g_steal_pointer(&backend);
}
