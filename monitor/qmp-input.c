/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a client's bytes to messages.
 *
 * json-c's tokener takes the bytes as they come.  It knows no bounds but the
 * depth, so this counts bytes and values; the memory of a message is at most
 * a few times QMP_MAX_BYTES and some hundred bytes for each value.
 *
 * After something that is no JSON, input is skipped up to the end of the
 * line, or up to a byte 0xFF, which QMP has for this: what follows in the
 * line may be the inside of a message, and must not be taken for a request.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "monitor-internal.h"
#include "qapi/error.h"
#include "qemu/json-util.h"

struct QmpInput {
    QmpMessageFunc *func;
    void *opaque;
    struct json_tokener *tok;
    size_t bytes;               /* of this message, until now */
    size_t values;
    size_t members;             /* of all its objects */
    char quote;                 /* of the string that is open, or 0 */
    bool escape;                /* after a backslash in it */
    bool skipping;
};

static const char control_error[] =
    "JSON parse error, stray control character";

QmpInput *qmp_input_new(QmpMessageFunc *func, void *opaque)
{
    QmpInput *in = g_new0(QmpInput, 1);

    in->func = func;
    in->opaque = opaque;
    in->tok = json_tokener_new_ex(QMP_MAX_DEPTH);
    json_tokener_set_flags(in->tok, JSON_TOKENER_VALIDATE_UTF8);
    return in;
}

void qmp_input_free(QmpInput *in)
{
    json_tokener_free(in->tok);
    g_free(in);
}

/* The next byte begins a message. */
static void next_message(QmpInput *in)
{
    json_tokener_reset(in->tok);
    in->bytes = in->values = in->members = 0;
    in->quote = 0;
    in->escape = false;
}

void qmp_input_reset(QmpInput *in)
{
    next_message(in);
    in->skipping = false;
}

static void fail(QmpInput *in, const char *message)
{
    Error *err = NULL;

    error_setg(&err, "%s", message);
    next_message(in);
    in->skipping = true;
    in->func(in->opaque, NULL, err);
}

static void fail_parse(QmpInput *in)
{
    enum json_tokener_error code = json_tokener_get_error(in->tok);
    g_autofree char *message = NULL;

    if (code == json_tokener_error_depth) {
        fail(in, "JSON nesting depth limit exceeded");
        return;
    }
    message = g_strdup_printf("JSON parse error, %s",
                              json_tokener_error_desc(code));
    fail(in, message);
}

/*
 * Each value but the first has a comma, or what it is in, before it.  Returns
 * where a string has a control character, which json-c lets pass, or @size.
 */
static size_t count(QmpInput *in, const char *buf, size_t size)
{
    size_t i;

    in->bytes += size;
    for (i = 0; i < size; i++) {
        char c = buf[i];

        if (in->quote) {
            if (in->escape) {
                in->escape = false;
            } else if (c == '\\') {
                in->escape = true;
            } else if (c == in->quote) {
                in->quote = 0;
            } else if ((unsigned char)c < 0x20) {
                return i;
            }
        } else if (c == '"' || c == '\'') {
            in->quote = c;
        } else if (c == ':') {
            in->members++;
        } else if (c == ',' || c == '[' || c == '{') {
            in->values++;
        }
    }
    return size;
}

/* Skip to where a message can begin; returns the bytes skipped. */
static size_t skip(QmpInput *in, const char *buf, size_t size)
{
    size_t i;

    for (i = 0; i < size; i++) {
        if (buf[i] == '\n' || buf[i] == '\xff') {
            in->skipping = false;
            return i + 1;
        }
    }
    return size;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The bytes that json-c can have: it takes a NUL for the end of all. */
static size_t plain_bytes(const char *buf, size_t size)
{
    size_t i;

    for (i = 0; i < size && buf[i] != '\0' && buf[i] != '\xff'; i++) {
        /* Count only. */
    }
    return i;
}

/* A whole message; json-c has taken the last of members with one name. */
static void deliver(QmpInput *in, struct json_object *message)
{
    Error *err = NULL;

    if (json_count_members(message) < in->members) {
        error_setg(&err, "%s", JSON_DUPLICATE_KEY);
        json_object_put(message);
        message = NULL;
    }
    next_message(in);
    in->func(in->opaque, message, err);
}

/* Returns the bytes that were used. */
static size_t parse(QmpInput *in, const char *buf, size_t size)
{
    size_t plain = plain_bytes(buf, size);
    struct json_object *message;
    size_t used, good;

    if (!plain) {
        if (*buf == '\xff' && !in->bytes) {
            return 1;
        }
        fail(in, control_error);
        return *buf == '\xff' ? 0 : 1;
    }
    message = json_tokener_parse_ex(in->tok, buf, plain);
    switch (json_tokener_get_error(in->tok)) {
    case json_tokener_continue:
        good = count(in, buf, plain);
        if (good < plain) {
            fail(in, control_error);
            return good;
        }
        if (in->bytes > QMP_MAX_BYTES) {
            fail(in, "JSON token size limit exceeded");
        } else if (in->values > QMP_MAX_VALUES) {
            fail(in, "JSON token count limit exceeded");
        }
        return plain;
    case json_tokener_success:
        used = json_tokener_get_parse_end(in->tok);
        good = count(in, buf, used);
        if (good < used) {
            json_object_put(message);
            fail(in, control_error);
            return good;
        }
        deliver(in, message);
        return used;
    default:
        used = MIN(json_tokener_get_parse_end(in->tok), plain);
        fail_parse(in);
        return used;
    }
}

void qmp_input_feed(QmpInput *in, const char *buf, size_t size)
{
    while (size) {
        size_t used;

        if (in->skipping) {
            used = skip(in, buf, size);
        } else if (!in->bytes && is_space(*buf)) {
            used = 1;
        } else {
            used = parse(in, buf, size);
        }
        buf += used;
        size -= used;
    }
}
