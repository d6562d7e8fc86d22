/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The server's end of a connection with TLS. */
#include "qemu/osdep.h"
#include <sys/socket.h>
#include "crypto/tls.h"
#include "gnutls-late.h"
#include "qapi/error.h"

struct TLSSession {
    TLSCreds *creds;
    gnutls_session_t session;
    int fd;
    char *identity;
};

/* GnuTLS' own functions would have the process killed by SIGPIPE. */
static ssize_t session_push(gnutls_transport_ptr_t opaque, const void *buf,
                            size_t len)
{
    TLSSession *s = opaque;
    ssize_t n = send(s->fd, buf, len, MSG_NOSIGNAL);

    if (n < 0) {
        gnutls_transport_set_errno(s->session, errno);
    }
    return n;
}

static ssize_t session_pull(gnutls_transport_ptr_t opaque, void *buf,
                            size_t len)
{
    TLSSession *s = opaque;
    ssize_t n = recv(s->fd, buf, len, 0);

    if (n < 0) {
        gnutls_transport_set_errno(s->session, errno);
    }
    return n;
}

static const char *const default_priority[] = {
    [TLS_CREDS_ANON] = "NORMAL:+ANON-ECDH:+ANON-DH",
    [TLS_CREDS_PSK] = "NORMAL:+ECDHE-PSK:+DHE-PSK:+PSK",
    [TLS_CREDS_X509] = "NORMAL",
};
static const char *const more_priority[] = {
    [TLS_CREDS_ANON] = ":+ANON-ECDH:+ANON-DH",
    [TLS_CREDS_PSK] = ":+ECDHE-PSK:+DHE-PSK:+PSK",
    [TLS_CREDS_X509] = "",
};

static int session_set_credentials(TLSSession *s)
{
    static const gnutls_credentials_type_t types[] = {
        [TLS_CREDS_ANON] = GNUTLS_CRD_ANON,
        [TLS_CREDS_PSK] = GNUTLS_CRD_PSK,
        [TLS_CREDS_X509] = GNUTLS_CRD_CERTIFICATE,
    };
    TLSCreds *creds = s->creds;
    g_autofree char *priority = creds->priority ?
        g_strconcat(creds->priority, more_priority[creds->kind], NULL) :
        g_strdup(default_priority[creds->kind]);
    int ret = gnutls_priority_set_direct(s->session, priority, NULL);

    if (ret == 0) {
        ret = gnutls_credentials_set(s->session, types[creds->kind],
                                     creds->server_creds);
    }
    if (ret == 0 && creds->kind == TLS_CREDS_X509) {
        gnutls_certificate_server_set_request(s->session, creds->verify_peer ?
                                              GNUTLS_CERT_REQUIRE :
                                              GNUTLS_CERT_IGNORE);
    }
    return ret;
}

TLSSession *tls_session_new(TLSCreds *creds, int fd, Error **errp)
{
    TLSSession *s = g_new0(TLSSession, 1);
    int ret;

    s->creds = tls_creds_ref(creds);
    s->fd = fd;
    ret = gnutls_init(&s->session, GNUTLS_SERVER | GNUTLS_NONBLOCK);
    if (ret == 0) {
        ret = session_set_credentials(s);
    }
    if (ret < 0) {
        error_setg(errp, "Cannot initialize TLS session: %s",
                   gnutls_strerror(ret));
        tls_session_free(s);
        return NULL;
    }
    gnutls_transport_set_ptr(s->session, s);
    gnutls_transport_set_push_function(s->session, session_push);
    gnutls_transport_set_pull_function(s->session, session_pull);
    /* The server has its own limit, handshake-max-seconds. */
    gnutls_handshake_set_timeout(s->session, 0);
    return s;
}

void tls_session_free(TLSSession *s)
{
    if (s) {
        if (s->session) {
            gnutls_deinit(s->session);
        }
        tls_creds_unref(s->creds);
        g_free(s->identity);
        g_free(s);
    }
}

/* --- who is it? --- */

static int session_check_certificate(TLSSession *s, Error **errp)
{
    const gnutls_datum_t *list;
    gnutls_x509_crt_t cert;
    gnutls_datum_t dn = { NULL, 0 };
    unsigned n, status;
    int ret = gnutls_certificate_verify_peers2(s->session, &status);

    if (ret < 0 || status) {
        error_setg(errp, "The certificate of the client is not valid: %s",
                   ret < 0 ? gnutls_strerror(ret) :
                   status & GNUTLS_CERT_REVOKED ? "it has been revoked" :
                   status & GNUTLS_CERT_EXPIRED ? "it has expired" :
                   "it is not trusted");
        return -EPERM;
    }
    list = gnutls_certificate_get_peers(s->session, &n);
    if (!list || !n || gnutls_x509_crt_init(&cert) < 0) {
        error_setg(errp, "The client has no certificate");
        return -EPERM;
    }
    ret = gnutls_x509_crt_import(cert, &list[0], GNUTLS_X509_FMT_DER);
    if (ret == 0) {
        ret = gnutls_x509_crt_get_dn2(cert, &dn);
    }
    if (ret == 0) {
        s->identity = g_strndup((char *)dn.data, dn.size);
        gnutls_free(dn.data);
    } else {
        error_setg(errp, "Cannot get the name of the client's certificate: %s",
                   gnutls_strerror(ret));
    }
    gnutls_x509_crt_deinit(cert);
    return ret < 0 ? -EPERM : 0;
}

static int session_check_peer(TLSSession *s, Error **errp)
{
    if (s->creds->kind == TLS_CREDS_PSK) {
        s->identity = g_strdup(gnutls_psk_server_get_username(s->session));
    }
    return s->creds->kind == TLS_CREDS_X509 && s->creds->verify_peer ?
           session_check_certificate(s, errp) : 0;
}

const char *tls_session_identity(const TLSSession *s)
{
    return s->identity;
}

/* --- input and output --- */

static int session_errno(TLSSession *s, int ret, bool *write)
{
    switch (ret) {
    case GNUTLS_E_AGAIN:
    case GNUTLS_E_INTERRUPTED:
        *write = gnutls_record_get_direction(s->session);
        return -EAGAIN;
    case GNUTLS_E_PREMATURE_TERMINATION:
        return -EPIPE;
    default:
        return -EIO;
    }
}

int tls_session_handshake(TLSSession *s, bool *write, Error **errp)
{
    int ret = gnutls_handshake(s->session);
    int error;

    if (ret == 0) {
        return session_check_peer(s, errp);
    }
    error = session_errno(s, ret, write);
    if (error == -EAGAIN) {
        return error;
    }
    if (!gnutls_error_is_fatal(ret)) {
        *write = gnutls_record_get_direction(s->session);
        return -EAGAIN;
    }
    error_setg(errp, "TLS handshake failed: %s", gnutls_strerror(ret));
    return error;
}

ssize_t tls_session_read(TLSSession *s, void *buf, size_t len, bool *write)
{
    ssize_t n = gnutls_record_recv(s->session, buf, len);

    return n < 0 ? session_errno(s, n, write) : n;
}

ssize_t tls_session_write(TLSSession *s, const void *buf, size_t len,
                          bool *write)
{
    ssize_t n = gnutls_record_send(s->session, buf, len);

    return n < 0 ? session_errno(s, n, write) : n;
}

void tls_session_bye(TLSSession *s)
{
    gnutls_bye(s->session, GNUTLS_SHUT_WR);
}
