/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The objects "tls-creds-anon", "tls-creds-psk" and "tls-creds-x509". */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "crypto/tls.h"
#include "qapi/error.h"
#include "qom/objects.h"

static void take_common(TLSCreds *like, const char *id,
                        const TlsCredsProperties *p)
{
    like->id = (char *)id;
    like->dir = p->dir;
    like->priority = p->priority;
    like->server = p->has_endpoint &&
                   p->endpoint == QCRYPTO_TLS_CREDS_ENDPOINT_SERVER;
    like->verify_peer = !p->has_verify_peer || p->verify_peer;
}

static void *create_anon(const ObjectOptions *options, Error **errp)
{
    TLSCreds like = { .kind = TLS_CREDS_ANON };

    take_common(&like, options->id,
                (const TlsCredsProperties *)&options->u.tls_creds_anon);
    return tls_creds_new(&like, NULL, errp);
}

static void *create_psk(const ObjectOptions *options, Error **errp)
{
    const TlsCredsPskProperties *p = &options->u.tls_creds_psk;
    TLSCreds like = { .kind = TLS_CREDS_PSK, .username = p->username };

    take_common(&like, options->id, (const TlsCredsProperties *)p);
    if (like.server && p->username) {
        error_setg(errp, "username should not be set when endpoint=server");
        return NULL;
    }
    return tls_creds_new(&like, NULL, errp);
}

static void *create_x509(const ObjectOptions *options, Error **errp)
{
    const TlsCredsX509Properties *p = &options->u.tls_creds_x509;
    TLSCreds like = {
        .kind = TLS_CREDS_X509,
        .sanity_check = !p->has_sanity_check || p->sanity_check,
        .passwordid = p->passwordid,
    };
    uint8_t *secret = NULL;
    char *password = NULL;
    void *creds;
    size_t len;

    take_common(&like, options->id, (const TlsCredsProperties *)p);
    if (p->passwordid) {
        secret = secret_lookup(p->passwordid, &len, errp);
        if (!secret) {
            return NULL;
        }
        password = g_strndup((char *)secret, len);
        explicit_bzero(secret, len);
        g_free(secret);
    }
    creds = tls_creds_new(&like, password, errp);
    if (password) {
        explicit_bzero(password, strlen(password));
        g_free(password);
    }
    return creds;
}

static void destroy(void *object)
{
    tls_creds_remove(object);
}

/* --- properties --- */

static struct json_object *get_dir(void *object)
{
    return property_string(((TLSCreds *)object)->dir);
}

static struct json_object *get_endpoint(void *object)
{
    return property_string(((TLSCreds *)object)->server ? "server" : "client");
}

static struct json_object *get_priority(void *object)
{
    return property_string(((TLSCreds *)object)->priority);
}

static struct json_object *get_username(void *object)
{
    return property_string(((TLSCreds *)object)->username);
}

static struct json_object *get_verify_peer(void *object)
{
    return json_object_new_boolean(((TLSCreds *)object)->verify_peer);
}

static struct json_object *get_sanity_check(void *object)
{
    return json_object_new_boolean(((TLSCreds *)object)->sanity_check);
}

static struct json_object *get_passwordid(void *object)
{
    return property_string(((TLSCreds *)object)->passwordid);
}

#define COMMON_PROPERTIES                                               \
    { "endpoint", "QCryptoTLSCredsEndpoint", get_endpoint },            \
    { "dir", "string", get_dir },                                       \
    { "verify-peer", "bool", get_verify_peer },                         \
    { "priority", "string", get_priority }

static const ObjectProperty properties[] = {
    COMMON_PROPERTIES,
    { NULL }
};

static const ObjectProperty psk_properties[] = {
    COMMON_PROPERTIES,
    { "username", "string", get_username },
    { NULL }
};

static const ObjectProperty x509_properties[] = {
    COMMON_PROPERTIES,
    { "sanity-check", "bool", get_sanity_check },
    { "passwordid", "string", get_passwordid },
    { NULL }
};

static const UserObjectType tls_creds_anon_type = {
    .parent = "tls-creds",
    .properties = properties,
    .create = create_anon,
    .destroy = destroy,
};

static const UserObjectType tls_creds_psk_type = {
    .parent = "tls-creds",
    .properties = psk_properties,
    .create = create_psk,
    .destroy = destroy,
};

static const UserObjectType tls_creds_x509_type = {
    .parent = "tls-creds",
    .properties = x509_properties,
    .create = create_x509,
    .destroy = destroy,
};

USER_OBJECT_TYPE(OBJECT_TYPE_TLS_CREDS_ANON, tls_creds_anon_type)
USER_OBJECT_TYPE(OBJECT_TYPE_TLS_CREDS_PSK, tls_creds_psk_type)
USER_OBJECT_TYPE(OBJECT_TYPE_TLS_CREDS_X509, tls_creds_x509_type)
