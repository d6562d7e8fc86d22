/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A look at certificates before they are used. */
#include "qemu/osdep.h"
#include "gnutls-late.h"
#include "qapi/error.h"
#include "tls-check.h"

typedef struct CertList {
    gnutls_x509_crt_t *certs;
    unsigned n;
} CertList;

static void cert_list_free(CertList *list)
{
    unsigned i;

    for (i = 0; i < list->n; i++) {
        gnutls_x509_crt_deinit(list->certs[i]);
    }
    gnutls_free(list->certs);
    list->n = 0;
    list->certs = NULL;
}

static bool cert_list_load(CertList *list, const char *path, Error **errp)
{
    g_autoptr(GError) gerr = NULL;
    gnutls_datum_t data;
    char *text;
    gsize len;
    int ret;

    if (!g_file_get_contents(path, &text, &len, &gerr)) {
        error_setg(errp, "Cannot load certificate %s: %s", path,
                   gerr->message);
        return false;
    }
    data.data = (unsigned char *)text;
    data.size = len;
    ret = gnutls_x509_crt_list_import2(&list->certs, &list->n, &data,
                                       GNUTLS_X509_FMT_PEM, 0);
    g_free(text);
    if (ret < 0) {
        error_setg(errp, "Unable to import certificate %s: %s", path,
                   gnutls_strerror(ret));
        list->certs = NULL;
        list->n = 0;
        return false;
    }
    return true;
}

static bool check_times(const CertList *list, const char *path, Error **errp)
{
    time_t now = time(NULL);
    unsigned i;

    for (i = 0; i < list->n; i++) {
        if (gnutls_x509_crt_get_expiration_time(list->certs[i]) < now) {
            error_setg(errp, "The certificate %s has expired", path);
            return false;
        }
        if (gnutls_x509_crt_get_activation_time(list->certs[i]) > now) {
            error_setg(errp, "The certificate %s is not yet active", path);
            return false;
        }
    }
    return true;
}

static bool check_signed(const CertList *own, const char *own_path,
                         const CertList *ca, const char *ca_path,
                         Error **errp)
{
    unsigned status = 0;
    int ret = gnutls_x509_crt_list_verify(own->certs, own->n, ca->certs,
                                          ca->n, NULL, 0, 0, &status);

    if (ret < 0 || status) {
        error_setg(errp, "Our own certificate %s failed validation against "
                   "%s: %s", own_path, ca_path, ret < 0 ?
                   gnutls_strerror(ret) :
                   status & GNUTLS_CERT_SIGNER_NOT_FOUND ?
                   "The certificate hasn't got a known issuer" :
                   status & GNUTLS_CERT_REVOKED ?
                   "The certificate has been revoked" :
                   status & GNUTLS_CERT_INSECURE_ALGORITHM ?
                   "The certificate uses an insecure algorithm" :
                   "Invalid reason");
        return false;
    }
    return true;
}

bool tls_check_certificates(const TLSCreds *creds, Error **errp)
{
    g_autofree char *ca_path = tls_creds_path(creds, "ca-cert.pem");
    g_autofree char *own_path =
        tls_creds_path(creds, creds->server ? "server-cert.pem" :
                       "client-cert.pem");
    bool own_there = creds->server || access(own_path, R_OK) == 0;
    CertList ca = { NULL, 0 }, own = { NULL, 0 };
    bool ok;

    ok = cert_list_load(&ca, ca_path, errp) &&
         check_times(&ca, ca_path, errp) &&
         (!own_there || (cert_list_load(&own, own_path, errp) &&
                         check_times(&own, own_path, errp) &&
                         check_signed(&own, own_path, &ca, ca_path, errp)));
    cert_list_free(&own);
    cert_list_free(&ca);
    return ok;
}
