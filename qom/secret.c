/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The object "secret". */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "qapi/error.h"
#include "qom/objects.h"

typedef struct Secret {
    SecretProperties *properties;
    uint8_t *bytes;
    size_t len;
} Secret;

/* The text of the secret as it was given. */
static char *load_text(const SecretProperties *p, size_t *len, Error **errp)
{
    g_autoptr(GError) gerr = NULL;
    char *text;
    gsize size;

    if (p->file && p->data) {
        error_setg(errp, "'file' and 'data' are mutually exclusive");
        return NULL;
    }
    if (p->data) {
        *len = strlen(p->data);
        return g_strdup(p->data);
    }
    if (!p->file) {
        error_setg(errp, "Either 'file' or 'data' must be provided");
        return NULL;
    }
    if (!g_file_get_contents(p->file, &text, &size, &gerr)) {
        error_setg(errp, "Unable to read %s: %s", p->file, gerr->message);
        return NULL;
    }
    *len = size;
    return text;
}

/* Base64 as people write it to files: with white space. */
static bool is_base64(const char *text, size_t len)
{
    size_t i, chars = 0;

    for (i = 0; i < len; i++) {
        if (g_ascii_isspace(text[i])) {
            continue;
        }
        if (!g_ascii_isalnum(text[i]) && !strchr("+/=", text[i])) {
            return false;
        }
        chars++;
    }
    return chars % 4 == 0 && !memchr(text, '\0', len);
}

static void wipe(void *buf, size_t len)
{
    explicit_bzero(buf, len);
    g_free(buf);
}

static bool decode(Secret *secret, char *text, size_t len, Error **errp)
{
    gsize size;

    if (!secret->properties->has_format ||
        secret->properties->format == QCRYPTO_SECRET_FORMAT_RAW) {
        secret->bytes = (uint8_t *)text;
        secret->len = len;
        return true;
    }
    if (!is_base64(text, len)) {
        error_setg(errp, "Base64 data contains invalid characters");
        wipe(text, len);
        return false;
    }
    secret->bytes = g_base64_decode(text, &size);
    secret->len = size;
    wipe(text, len);
    return true;
}

static void destroy(void *object)
{
    Secret *secret = object;

    if (secret->bytes) {
        wipe(secret->bytes, secret->len);
    }
    qapi_free_SecretProperties(secret->properties);
    g_free(secret);
}

static void *create(const ObjectOptions *options, Error **errp)
{
    Secret *secret = g_new0(Secret, 1);
    size_t len;
    char *text;

    secret->properties = QAPI_CLONE(SecretProperties, &options->u.secret);
    text = load_text(secret->properties, &len, errp);
    if (!text || !decode(secret, text, len, errp)) {
        destroy(secret);
        return NULL;
    }
    return secret;
}

uint8_t *secret_lookup(const char *id, size_t *len, Error **errp)
{
    Secret *secret = user_object_of_type(id, OBJECT_TYPE_SECRET, errp);

    if (!secret) {
        return NULL;
    }
    *len = secret->len;
    return g_memdup2(secret->bytes, secret->len);
}

static struct json_object *get_data(void *object)
{
    return property_string(((Secret *)object)->properties->data);
}

static struct json_object *get_file(void *object)
{
    return property_string(((Secret *)object)->properties->file);
}

static struct json_object *get_format(void *object)
{
    const SecretProperties *p = ((Secret *)object)->properties;

    return property_string(QCryptoSecretFormat_str(
        p->has_format ? p->format : QCRYPTO_SECRET_FORMAT_RAW));
}

static const ObjectProperty properties[] = {
    { "format", "QCryptoSecretFormat", get_format },
    { "file", "string", get_file },
    { "data", "string", get_data },
    { NULL }
};

const UserObjectType secret_object_type = {
    .parent = "secret_common",
    .properties = properties,
    .create = create,
    .destroy = destroy,
};
