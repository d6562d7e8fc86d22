/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Credentials for TLS.
 *
 * The files have the names that are usual with QEMU: ca-cert.pem, ca-crl.pem,
 * server-cert.pem, server-key.pem, client-cert.pem, client-key.pem, keys.psk.
 */
#include "qemu/osdep.h"
#include "crypto/tls.h"
#include "gnutls-late.h"
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "tls-check.h"

static GPtrArray *all_creds;

const char *tls_creds_kind(const TLSCreds *creds)
{
    static const char *const names[] = { "anon", "psk", "x509" };

    return names[creds->kind];
}

char *tls_creds_path(const TLSCreds *creds, const char *name)
{
    return g_build_filename(creds->dir, name, NULL);
}

static bool has_file(const char *path)
{
    return access(path, R_OK) == 0;
}

static bool need_file(const char *path, Error **errp)
{
    if (!has_file(path)) {
        error_setg_errno(errp, errno, "Unable to access credentials %s",
                         path);
        return false;
    }
    return true;
}

/* --- of a server --- */

static bool load_anon(TLSCreds *creds, Error **errp)
{
    gnutls_anon_server_credentials_t anon;
    int ret = gnutls_anon_allocate_server_credentials(&anon);

    if (ret < 0) {
        error_setg(errp, "Cannot allocate credentials: %s",
                   gnutls_strerror(ret));
        return false;
    }
    gnutls_anon_set_server_known_dh_params(anon, GNUTLS_SEC_PARAM_MEDIUM);
    creds->server_creds = anon;
    return true;
}

static bool load_psk(TLSCreds *creds, Error **errp)
{
    g_autofree char *path = tls_creds_path(creds, "keys.psk");
    gnutls_psk_server_credentials_t psk;
    int ret;

    if (!need_file(path, errp)) {
        return false;
    }
    ret = gnutls_psk_allocate_server_credentials(&psk);
    if (ret < 0) {
        error_setg(errp, "Cannot allocate credentials: %s",
                   gnutls_strerror(ret));
        return false;
    }
    creds->server_creds = psk;
    ret = gnutls_psk_set_server_credentials_file(psk, path);
    if (ret < 0) {
        error_setg(errp, "Cannot set PSK server credentials: %s",
                   gnutls_strerror(ret));
        return false;
    }
    gnutls_psk_set_server_known_dh_params(psk, GNUTLS_SEC_PARAM_MEDIUM);
    return true;
}

static bool load_x509(TLSCreds *creds, const char *password, Error **errp)
{
    g_autofree char *ca = tls_creds_path(creds, "ca-cert.pem");
    g_autofree char *crl = tls_creds_path(creds, "ca-crl.pem");
    g_autofree char *cert = tls_creds_path(creds, "server-cert.pem");
    g_autofree char *key = tls_creds_path(creds, "server-key.pem");
    gnutls_certificate_credentials_t x509;
    int ret;

    if (!need_file(ca, errp) || !need_file(cert, errp) ||
        !need_file(key, errp)) {
        return false;
    }
    ret = gnutls_certificate_allocate_credentials(&x509);
    if (ret < 0) {
        error_setg(errp, "Cannot allocate credentials: %s",
                   gnutls_strerror(ret));
        return false;
    }
    creds->server_creds = x509;
    ret = gnutls_certificate_set_x509_trust_file(x509, ca,
                                                 GNUTLS_X509_FMT_PEM);
    if (ret < 0) {
        error_setg(errp, "Cannot load CA certificate '%s': %s", ca,
                   gnutls_strerror(ret));
        return false;
    }
    ret = gnutls_certificate_set_x509_key_file2(x509, cert, key,
                                                GNUTLS_X509_FMT_PEM, password,
                                                0);
    if (ret < 0) {
        error_setg(errp, "Cannot load certificate '%s' & key '%s': %s", cert,
                   key, gnutls_strerror(ret));
        return false;
    }
    if (has_file(crl)) {
        ret = gnutls_certificate_set_x509_crl_file(x509, crl,
                                                   GNUTLS_X509_FMT_PEM);
        if (ret < 0) {
            error_setg(errp, "Cannot load CRL '%s': %s", crl,
                       gnutls_strerror(ret));
            return false;
        }
    }
    gnutls_certificate_set_known_dh_params(x509, GNUTLS_SEC_PARAM_MEDIUM);
    return true;
}

static bool load_server(TLSCreds *creds, const char *password, Error **errp)
{
    switch (creds->kind) {
    case TLS_CREDS_ANON:
        return load_anon(creds, errp);
    case TLS_CREDS_PSK:
        return load_psk(creds, errp);
    default:
        return load_x509(creds, password, errp);
    }
}

/* --- of a client: the files are read when it connects --- */

static bool check_client(const TLSCreds *creds, Error **errp)
{
    g_autofree char *path =
        tls_creds_path(creds, creds->kind == TLS_CREDS_PSK ? "keys.psk" :
                       "ca-cert.pem");

    return creds->kind == TLS_CREDS_ANON || need_file(path, errp);
}

/* --- their life --- */

static void tls_creds_free(TLSCreds *creds)
{
    if (creds->server_creds) {
        switch (creds->kind) {
        case TLS_CREDS_ANON:
            gnutls_anon_free_server_credentials(creds->server_creds);
            break;
        case TLS_CREDS_PSK:
            gnutls_psk_free_server_credentials(creds->server_creds);
            break;
        default:
            gnutls_certificate_free_credentials(creds->server_creds);
            break;
        }
    }
    g_free(creds->id);
    g_free(creds->dir);
    g_free(creds->username);
    g_free(creds->priority);
    g_free(creds->passwordid);
    g_free(creds);
}

TLSCreds *tls_creds_ref(TLSCreds *creds)
{
    qatomic_inc(&creds->refcount);
    return creds;
}

void tls_creds_unref(TLSCreds *creds)
{
    if (creds && qatomic_fetch_dec(&creds->refcount) == 1) {
        tls_creds_free(creds);
    }
}

static bool tls_creds_load(TLSCreds *creds, const char *password,
                           Error **errp)
{
    if (!gnutls_late_load(errp)) {
        return false;
    }
    if (creds->kind != TLS_CREDS_ANON && !creds->dir) {
        error_setg(errp, "Missing 'dir' property value");
        return false;
    }
    if (creds->kind == TLS_CREDS_X509 && creds->sanity_check &&
        !tls_check_certificates(creds, errp)) {
        return false;
    }
    return creds->server ? load_server(creds, password, errp) :
                           check_client(creds, errp);
}

TLSCreds *tls_creds_new(const TLSCreds *like, const char *password,
                        Error **errp)
{
    TLSCreds *creds = g_new0(TLSCreds, 1);

    *creds = *like;
    creds->refcount = 1;
    creds->id = g_strdup(like->id);
    creds->dir = g_strdup(like->dir);
    creds->username = g_strdup(like->username);
    creds->priority = g_strdup(like->priority);
    creds->passwordid = g_strdup(like->passwordid);
    creds->server_creds = NULL;
    if (!tls_creds_load(creds, password, errp)) {
        tls_creds_free(creds);
        return NULL;
    }
    if (!all_creds) {
        all_creds = g_ptr_array_new();
    }
    g_ptr_array_add(all_creds, creds);
    return creds;
}

void tls_creds_remove(TLSCreds *creds)
{
    g_ptr_array_remove(all_creds, creds);
    if (!all_creds->len) {
        g_clear_pointer(&all_creds, g_ptr_array_unref);
    }
    tls_creds_unref(creds);
}

TLSCreds *tls_creds_get(const char *id, bool server, Error **errp)
{
    guint i;

    for (i = 0; all_creds && i < all_creds->len; i++) {
        TLSCreds *creds = all_creds->pdata[i];

        if (strcmp(creds->id, id)) {
            continue;
        }
        if (creds->server != server) {
            error_setg(errp, "Expecting TLS credentials with a %s endpoint",
                       server ? "server" : "client");
            return NULL;
        }
        return tls_creds_ref(creds);
    }
    error_setg(errp, "No TLS credentials with id '%s'", id);
    return NULL;
}
