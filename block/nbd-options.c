/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The options of the NBD client, and its file names:
 *
 *   nbd://HOST[:PORT]/[EXPORT]          nbd+tcp:// is the same
 *   nbds://HOST[:PORT]/[EXPORT]         with TLS, and only so
 *   nbd+unix:///[EXPORT]?socket=PATH
 *   nbds+unix:///[EXPORT]?socket=PATH   with TLS, and only so
 *   nbd:HOST:PORT[:exportname=EXPORT]
 *   nbd:unix:PATH[:exportname=EXPORT]
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "nbd-client.h"
#ifdef CONFIG_GNUTLS
#include "crypto/tls.h"
#endif
#include "qapi/util.h"
#include "qemu/cutils.h"

NBDParams *nbd_params_ref(NBDParams *p)
{
    qatomic_inc(&p->refcount);
    return p;
}

void nbd_params_unref(NBDParams *p)
{
    if (!p || qatomic_fetch_dec(&p->refcount) > 1) {
        return;
    }
    qapi_free_SocketAddress(p->addr);
    g_free(p->export);
    g_free(p->context);
    g_free(p->tls_dir);
    g_free(p->tls_psk_file);
    g_free(p->tls_username);
    g_free(p->tls_hostname);
    g_free(p);
}

/* --- file names --- */

/* "/NAME" of a URI; all slashes before the name are taken away. */
static void set_export(QOpts *options, const char *name)
{
    if (name && *name) {
        qopts_set_str(options, "export", name);
    }
}

static bool parse_unix_uri(GUri *uri, QOpts *options)
{
    g_autoptr(GHashTable) query = NULL;
    const char *socket;

    if ((g_uri_get_host(uri) && *g_uri_get_host(uri)) ||
        g_uri_get_port(uri) != -1 || !g_uri_get_query(uri)) {
        return false;
    }
    query = g_uri_parse_params(g_uri_get_query(uri), -1, "&",
                               G_URI_PARAMS_NONE, NULL);
    if (!query || g_hash_table_size(query) != 1) {
        return false;
    }
    socket = g_hash_table_lookup(query, "socket");
    if (!socket || !*socket) {
        return false;
    }
    qopts_set_str(options, "server.type", "unix");
    qopts_set_str(options, "server.path", socket);
    return true;
}

static bool parse_inet_uri(GUri *uri, QOpts *options)
{
    g_autofree char *port = NULL;

    if (!g_uri_get_host(uri) || !*g_uri_get_host(uri) ||
        g_uri_get_query(uri)) {
        return false;
    }
    port = g_uri_get_port(uri) > 0 ?
           g_strdup_printf("%d", g_uri_get_port(uri)) :
           g_strdup(NBD_DEFAULT_PORT);
    qopts_set_str(options, "server.type", "inet");
    qopts_set_str(options, "server.host", g_uri_get_host(uri));
    qopts_set_str(options, "server.port", port);
    return true;
}

static bool parse_uri(const char *filename, QOpts *options)
{
    g_autoptr(GUri) uri = g_uri_parse(filename, G_URI_FLAGS_ENCODED_QUERY,
                                      NULL);
    const char *path;
    bool ok;

    if (!uri) {
        return false;
    }
    ok = g_str_has_suffix(g_uri_get_scheme(uri), "+unix") ?
         parse_unix_uri(uri, options) : parse_inet_uri(uri, options);
    path = g_uri_get_path(uri);
    set_export(options, path && *path == '/' ? path + 1 : path);
    if (g_str_has_prefix(g_uri_get_scheme(uri), "nbds")) {
        qopts_set_str(options, NBD_URI_TLS, "on");
    }
    return ok;
}

/* The address of "nbd:HOST:PORT". */
static bool parse_host_port(const char *text, QOpts *options)
{
    g_autofree char *host = NULL;
    const char *port;

    if (*text == '[') {
        const char *end = strchr(text, ']');

        if (!end || end[1] != ':') {
            return false;
        }
        host = g_strndup(text + 1, end - text - 1);
        port = end + 2;
    } else {
        port = strchr(text, ':');
        if (!port) {
            return false;
        }
        host = g_strndup(text, port - text);
        port++;
    }
    if (!*port || strchr(port, ':')) {
        return false;
    }
    qopts_set_str(options, "server.type", "inet");
    qopts_set_str(options, "server.host", host);
    qopts_set_str(options, "server.port", port);
    return true;
}

static void parse_legacy(const char *rest, QOpts *options, Error **errp)
{
    static const char separator[] = ":exportname=";
    const char *name = strstr(rest, separator);
    g_autofree char *addr = name ? g_strndup(rest, name - rest) :
                            g_strdup(rest);
    const char *path;

    if (name) {
        set_export(options, name + strlen(separator));
    }
    if (strstart(addr, "unix:", &path)) {
        qopts_set_str(options, "server.type", "unix");
        qopts_set_str(options, "server.path", path);
    } else if (!parse_host_port(addr, options)) {
        error_setg(errp, "error parsing address '%s'", addr);
    }
}

void nbd_parse_filename(const char *filename, QOpts *options, Error **errp)
{
    const char *rest;

    if (qopts_has(options, "host") || qopts_has(options, "port") ||
        qopts_has(options, "path")) {
        error_setg(errp, "host/port/path and file names may not be specified "
                   "at the same time");
        return;
    }
    if (strstr(filename, "://")) {
        if (!parse_uri(filename, options)) {
            error_setg(errp, "No valid URL specified");
        }
    } else if (strstart(filename, "nbd:", &rest)) {
        if (*rest) {
            parse_legacy(rest, options, errp);
        }
    } else {
        error_setg(errp, "File name string for the NBD protocol must start "
                   "with 'nbd:'");
    }
}

/* --- the server --- */

/* File names and old command lines give these; no schema has them. */
static SocketAddress *legacy_server(const char *path, const char *host,
                                    const char *port, Error **errp)
{
    SocketAddress *addr;

    if (path && host) {
        error_setg(errp, "path and host may not be used at the same time");
        return NULL;
    }
    if (path && port) {
        error_setg(errp, "port may not be used without host");
        return NULL;
    }
    if (!path && !host) {
        error_setg(errp, "NBD server address missing");
        return NULL;
    }
    addr = g_new0(SocketAddress, 1);
    if (path) {
        addr->type = SOCKET_ADDRESS_TYPE_UNIX;
        addr->u.q_unix.path = g_strdup(path);
    } else {
        addr->type = SOCKET_ADDRESS_TYPE_INET;
        addr->u.inet.host = g_strdup(host);
        addr->u.inet.port = g_strdup(port ? port : NBD_DEFAULT_PORT);
    }
    return addr;
}

/* QMP gives numbers and booleans, a command line text: text does for both. */
static SocketAddress *server_from_options(QOpts *server, Error **errp)
{
    struct json_object *text = json_object_new_object();
    SocketAddress *addr = NULL;

    json_object_object_foreach(server, key, value) {
        const char *s = json_object_is_type(value, json_type_boolean) ?
                        (json_object_get_boolean(value) ? "on" : "off") :
                        json_object_get_string(value);

        json_object_object_add(text, key, json_object_new_string(s ? s : ""));
    }
    qapi_input(&qapi_type_SocketAddress, text, QAPI_INPUT_KEYVAL, &addr, errp);
    json_object_put(text);
    return addr;
}

SocketAddress *nbd_take_server(QOpts *options, Error **errp)
{
    g_autoptr(QOpts) server = qopts_extract_sub(options, "server.");
    g_autofree char *path = NULL, *host = NULL, *port = NULL;

    if (!qopts_take_str(options, "path", NULL, &path, errp) ||
        !qopts_take_str(options, "host", NULL, &host, errp) ||
        !qopts_take_str(options, "port", NULL, &port, errp)) {
        return NULL;
    }
    if (!qopts_count(server)) {
        return legacy_server(path, host, port, errp);
    }
    if (path || host || port) {
        error_setg(errp, "Cannot use 'server' and path/host/port at the same "
                   "time");
        return NULL;
    }
    return server_from_options(server, errp);
}

/* --- TLS --- */

bool nbd_check_uri_tls(QOpts *options, const char *creds_id, Error **errp)
{
    g_autofree char *tls = NULL;

    if (!qopts_take_str(options, NBD_URI_TLS, NULL, &tls, errp)) {
        return false;
    }
    if (tls && !creds_id) {
        error_setg(errp, "A file name with 'nbds' needs TLS credentials: "
                   "tls-creds is missing");
        return false;
    }
    return true;
}

#ifdef CONFIG_GNUTLS
/* What libnbd cannot do is refused: it would be less safe than it looks. */
static bool tls_check(const NBDParams *p, const TLSCreds *creds, Error **errp)
{
    if (creds->kind == TLS_CREDS_ANON) {
        error_setg(errp, "TLS without certificates (tls-creds-anon) is not "
                   "supported by the NBD client");
    } else if (creds->priority) {
        error_setg(errp, "The priority of TLS credentials is not supported by "
                   "the NBD client");
    } else if (creds->passwordid) {
        error_setg(errp, "A key with a password is not supported by the NBD "
                   "client");
    } else if (creds->kind == TLS_CREDS_X509 && creds->verify_peer &&
               !p->tls_hostname) {
        error_setg(errp, "No hostname for certificate validation");
    } else if (creds->kind == TLS_CREDS_X509 && creds->verify_peer &&
               !NBD_HAVE_TLS_HOSTNAME &&
               (p->addr->type != SOCKET_ADDRESS_TYPE_INET ||
                strcmp(p->tls_hostname, p->addr->u.inet.host))) {
        error_setg(errp, "This version of libnbd cannot check a certificate "
                   "for another host than the one that it connects to");
    } else {
        return true;
    }
    return false;
}

bool nbd_take_tls(NBDParams *p, const char *creds_id, const char *hostname,
                  Error **errp)
{
    TLSCreds *creds;
    bool ok;

    if (!creds_id) {
        if (hostname) {
            error_setg(errp, "tls-hostname needs tls-creds");
        }
        return !hostname;
    }
    creds = tls_creds_get(creds_id, false, errp);
    if (!creds) {
        return false;
    }
    if (!hostname && p->addr->type == SOCKET_ADDRESS_TYPE_INET) {
        hostname = p->addr->u.inet.host;
    }
    p->tls = true;
    p->tls_hostname = g_strdup(hostname);
    p->tls_verify = creds->verify_peer;
    if (creds->kind == TLS_CREDS_PSK) {
        p->tls_psk_file = tls_creds_path(creds, "keys.psk");
        p->tls_username = g_strdup(creds->username ? creds->username :
                                   "qemu");
    } else {
        p->tls_dir = g_strdup(creds->dir);
    }
    ok = tls_check(p, creds, errp);
    tls_creds_unref(creds);
    return ok;
}
#else
bool nbd_take_tls(NBDParams *p, const char *creds_id, const char *hostname,
                  Error **errp)
{
    if (creds_id || hostname) {
        error_setg(errp, "This program was built without TLS");
        return false;
    }
    return true;
}
#endif

char *nbd_params_uri(const NBDParams *p)
{
    g_autofree char *export = NULL;
    const char *slash = p->export && *p->export ? "/" : "";

    if (p->tls) {
        return NULL;
    }
    export = g_uri_escape_string(p->export ? p->export : "",
                                 G_URI_RESERVED_CHARS_ALLOWED_IN_PATH, false);
    if (p->addr->type == SOCKET_ADDRESS_TYPE_UNIX &&
        !p->addr->u.q_unix.has_abstract) {
        g_autofree char *path = g_uri_escape_string(p->addr->u.q_unix.path,
                                                    "/:@!$,;=", false);

        return g_strdup_printf("nbd+unix://%s%s?socket=%s", slash, export,
                               path);
    }
    if (p->addr->type == SOCKET_ADDRESS_TYPE_INET) {
        const InetSocketAddress *inet = &p->addr->u.inet;
        bool six = strchr(inet->host, ':');

        return g_strdup_printf("nbd://%s%s%s:%s%s%s", six ? "[" : "",
                               inet->host, six ? "]" : "", inet->port, slash,
                               export);
    }
    return NULL;
}
