/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options of the command line that have a type in the schema: as JSON, or as
 * "key=value,a.b=value", which is the same with all values as text.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "qapi/error.h"
#include "qapi/util.h"
#include "qemu/option.h"

/* Put @value at the place "a.b.c" of @json, whose reference is taken. */
static bool nest(struct json_object *json, const char *key,
                 struct json_object *value, Error **errp)
{
    g_auto(GStrv) parts = g_strsplit(key, ".", -1);
    struct json_object *inner;
    size_t i;

    for (i = 0; parts[i + 1]; i++) {
        if (!json_object_object_get_ex(json, parts[i], &inner)) {
            inner = json_object_new_object();
            json_object_object_add(json, parts[i], inner);
        }
        if (!json_object_is_type(inner, json_type_object)) {
            error_setg(errp, "Parameters '%s.*' used inconsistently",
                       parts[i]);
            json_object_put(value);
            return false;
        }
        json = inner;
    }
    if (json_object_object_get_ex(json, parts[i], NULL)) {
        error_setg(errp, "Parameters '%s.*' used inconsistently", parts[i]);
        json_object_put(value);
        return false;
    }
    json_object_object_add(json, parts[i], value);
    return true;
}

static struct json_object *nest_all(QOpts *opts, Error **errp)
{
    struct json_object *json = json_object_new_object();
    const char *key;

    while ((key = qopts_first_key(opts))) {
        struct json_object *value =
            json_object_new_string(qopts_get_str(opts, key));

        if (!*key || strstr(key, "..") || *key == '.' ||
            g_str_has_suffix(key, ".")) {
            error_setg(errp, "Invalid parameter '%s'", key);
            json_object_put(value);
            json_object_put(json);
            return NULL;
        }
        if (!nest(json, key, value, errp)) {
            json_object_put(json);
            return NULL;
        }
        qopts_del(opts, key);
    }
    return json;
}

static struct json_object *parse_json(const char *text, Error **errp)
{
    struct json_tokener *tok = json_tokener_new();
    struct json_object *json;
    enum json_tokener_error code;

    /* The NUL at the end tells the tokener that there is no more. */
    json = json_tokener_parse_ex(tok, text, strlen(text) + 1);
    code = json_tokener_get_error(tok);
    if (code != json_tokener_success) {
        error_setg(errp, "JSON parse error, %s",
                   code == json_tokener_continue ||
                   code == json_tokener_error_parse_eof ? "premature EOI" :
                   json_tokener_error_desc(code));
        json_object_put(json);
        json = NULL;
    } else if (text[json_tokener_get_parse_end(tok)]) {
        error_setg(errp, "JSON parse error, expecting value's end, but there "
                   "is '%s'", text + json_tokener_get_parse_end(tok));
        json_object_put(json);
        json = NULL;
    }
    json_tokener_free(tok);
    return json;
}

bool qapi_parse_option(const QapiType *type, const char *text,
                       const char *implied, void *slot, Error **errp)
{
    struct json_object *json;
    QOpts *opts;
    bool ok;

    if (*text == '{') {
        json = parse_json(text, errp);
        ok = json && qapi_input(type, json, QAPI_INPUT_JSON, slot, errp);
        json_object_put(json);
        return ok;
    }
    if (qopts_has_help(text)) {
        error_setg(errp, "Help is not available for this option");
        return false;
    }
    opts = qopts_parse(text, implied, errp);
    if (!opts) {
        return false;
    }
    json = nest_all(opts, errp);
    qopts_unref(opts);
    ok = json && qapi_input(type, json, QAPI_INPUT_KEYVAL, slot, errp);
    json_object_put(json);
    return ok;
}
