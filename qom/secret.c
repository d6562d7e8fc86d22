/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The object "secret". */
#include "qemu/osdep.h"
#include <json-c/json.h>
#ifdef CONFIG_GNUTLS
#include "gnutls-late.h"
#endif
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

/* --- encrypted ones --- */

#ifdef CONFIG_GNUTLS
#define SECRET_KEY_SIZE 32
#define SECRET_IV_SIZE 16

/* The end of the last block says how much of it is padding. */
static bool remove_padding(Secret *secret, Error **errp)
{
    uint8_t pad = secret->len ? secret->bytes[secret->len - 1] : 0;

    if (!pad || pad > SECRET_IV_SIZE || pad > secret->len) {
        error_setg(errp, "Incorrect number of padding bytes (%d) found on "
                   "decrypted data", pad);
        return false;
    }
    secret->len -= pad;
    return true;
}

static bool decrypt_with(Secret *secret, const uint8_t *key, size_t key_len,
                         const uint8_t *iv, Error **errp)
{
    gnutls_datum_t key_data = { (uint8_t *)key, key_len };
    gnutls_datum_t iv_data = { (uint8_t *)iv, SECRET_IV_SIZE };
    gnutls_cipher_hd_t cipher;
    int ret;

    if (secret->len % SECRET_IV_SIZE) {
        error_setg(errp, "Length of the encrypted secret %zu is no multiple "
                   "of %d", secret->len, SECRET_IV_SIZE);
        return false;
    }
    if (!gnutls_late_load(errp)) {
        return false;
    }
    ret = gnutls_cipher_init(&cipher, GNUTLS_CIPHER_AES_256_CBC, &key_data,
                             &iv_data);
    if (ret == 0) {
        ret = gnutls_cipher_decrypt(cipher, secret->bytes, secret->len);
        gnutls_cipher_deinit(cipher);
    }
    if (ret < 0) {
        error_setg(errp, "Cannot decrypt the secret: %s",
                   gnutls_strerror(ret));
        return false;
    }
    return remove_padding(secret, errp);
}

/* secret->bytes is the encrypted secret in base64, if the format is raw. */
static bool decrypt(Secret *secret, Error **errp)
{
    const SecretProperties *p = secret->properties;
    g_autofree uint8_t *iv = NULL;
    uint8_t *key;
    size_t key_len;
    gsize iv_len = 0;
    bool ok = false;

    if (!p->keyid) {
        if (p->iv) {
            error_setg(errp, "IV should not be set without a key");
            return false;
        }
        return true;
    }
    if (!p->iv) {
        error_setg(errp, "IV is required to decrypt secret");
        return false;
    }
    key = secret_lookup(p->keyid, &key_len, errp);
    if (!key) {
        return false;
    }
    if (is_base64(p->iv, strlen(p->iv))) {
        iv = g_base64_decode(p->iv, &iv_len);
    }
    if (key_len != SECRET_KEY_SIZE) {
        error_setg(errp, "Key should be %d bytes in length", SECRET_KEY_SIZE);
    } else if (iv_len != SECRET_IV_SIZE) {
        error_setg(errp, "IV should be %d bytes in length not %zu",
                   SECRET_IV_SIZE, iv_len);
    } else {
        ok = decrypt_with(secret, key, key_len, iv, errp);
    }
    wipe(key, key_len);
    return ok;
}
#else
static bool decrypt(Secret *secret, Error **errp)
{
    return true;
}
#endif

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
    if (!text || !decode(secret, text, len, errp) ||
        !decrypt(secret, errp)) {
        destroy(secret);
        return NULL;
    }
    return secret;
}

uint8_t *secret_lookup(const char *id, size_t *len, Error **errp)
{
    Secret *secret = user_object_of_type(id, OBJECT_TYPE_SECRET, errp);
    uint8_t *bytes;

    if (!secret) {
        return NULL;
    }
    *len = secret->len;
    /* An empty secret is one, too, and g_memdup2() has no copy of nothing. */
    bytes = g_malloc(secret->len + 1);
    memcpy(bytes, secret->bytes, secret->len);
    return bytes;
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

#ifdef CONFIG_GNUTLS
static struct json_object *get_iv(void *object)
{
    return property_string(((Secret *)object)->properties->iv);
}

static struct json_object *get_keyid(void *object)
{
    return property_string(((Secret *)object)->properties->keyid);
}
#endif

static const ObjectProperty properties[] = {
#ifdef CONFIG_GNUTLS
    { "iv", "string", get_iv },
    { "keyid", "string", get_keyid },
#endif
    { "format", "QCryptoSecretFormat", get_format },
    { "file", "string", get_file },
    { "data", "string", get_data },
    { NULL }
};

static const UserObjectType secret_object_type = {
    .parent = "secret_common",
    .properties = properties,
    .create = create,
    .destroy = destroy,
};

USER_OBJECT_TYPE(OBJECT_TYPE_SECRET, secret_object_type)
