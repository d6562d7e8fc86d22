/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options: making, reading and changing the dictionary.
 *
 * json-c is the container because it keeps the order of keys, carries the
 * types that JSON input has, and is what QMP uses anyway.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/json-util.h"
#include "qemu/option.h"

/* json-c has no const; none of the calls made with this changes the object. */
static json_object *unconst(const QOpts *opts)
{
    return (json_object *)opts;
}

QOpts *qopts_new(void)
{
    return json_object_new_object();
}

void qopts_unref(QOpts *opts)
{
    json_object_put(opts);
}

QOpts *qopts_dup(const QOpts *opts)
{
    QOpts *copy = NULL;
    int ret = json_object_deep_copy(unconst(opts), &copy, NULL);

    assert(ret == 0);
    return copy;
}

bool qopts_is_help(const char *s)
{
    return !strcmp(s, "help") || !strcmp(s, "?");
}

/*
 * Copy a value up to a single comma or the end, ",," becoming ",".  *@p is
 * moved to that comma or end.  To be freed.
 */
static char *parse_value(const char **p)
{
    GString *value = g_string_new(NULL);
    const char *s = *p;

    while (*s && (*s != ',' || s[1] == ',')) {
        g_string_append_c(value, *s);
        s += *s == ',' ? 2 : 1;
    }
    *p = s;
    return g_string_free(value, false);
}

/* One element of a list at *@p, which is moved behind it and its comma. */
static void parse_element(const char **p, const char *implied_key,
                          char **key, char **value)
{
    size_t key_len = strcspn(*p, "=,");
    bool has_value = (*p)[key_len] == '=';

    if (!has_value && implied_key) {
        *key = g_strdup(implied_key);
        *value = parse_value(p);
    } else {
        *key = g_strndup(*p, key_len);
        *p += key_len + has_value;
        *value = has_value ? parse_value(p) : g_strdup("on");
    }
    *p += **p == ',';
}

QOpts *qopts_parse(const char *params, const char *implied_key,
                   Error **errp)
{
    g_autoptr(QOpts) opts = qopts_new();
    const char *p = params;

    while (*p) {
        g_autofree char *key = NULL;
        g_autofree char *value = NULL;

        parse_element(&p, implied_key, &key, &value);
        implied_key = NULL;
        if (!*key) {
            error_setg(errp, "Invalid parameter ''");
            return NULL;
        }
        qopts_set_str(opts, key, value);
    }
    return g_steal_pointer(&opts);
}

bool qopts_has_help(const char *params)
{
    const char *p = params;

    while (*p) {
        g_autofree char *element = parse_value(&p);

        if (qopts_is_help(element)) {
            return true;
        }
        p += *p == ',';
    }
    return false;
}

static bool flatten_value(QOpts *flat, const char *key, json_object *value,
                          Error **errp);

static bool flatten_array(QOpts *flat, const char *key, json_object *array,
                          Error **errp)
{
    size_t i, len = json_object_array_length(array);

    for (i = 0; i < len; i++) {
        g_autofree char *sub = g_strdup_printf("%s.%zu", key, i);

        if (!flatten_value(flat, sub, json_object_array_get_idx(array, i),
                           errp)) {
            return false;
        }
    }
    return true;
}

/* @key: what comes before the names in @object, NULL at the top. */
static bool flatten_object(QOpts *flat, const char *key, json_object *object,
                           Error **errp)
{
    json_object_object_foreach(object, name, value) {
        g_autofree char *sub =
            key ? g_strdup_printf("%s.%s", key, name) : g_strdup(name);

        if (!flatten_value(flat, sub, value, errp)) {
            return false;
        }
    }
    return true;
}

static bool flatten_value(QOpts *flat, const char *key, json_object *value,
                          Error **errp)
{
    if (json_object_is_type(value, json_type_object) &&
        json_object_object_length(value)) {
        return flatten_object(flat, key, value, errp);
    }
    if (json_object_is_type(value, json_type_array) &&
        json_object_array_length(value)) {
        return flatten_array(flat, key, value, errp);
    }
    if (json_object_is_type(value, json_type_string) &&
        strlen(json_object_get_string(value)) !=
        (size_t)json_object_get_string_len(value)) {
        error_setg(errp, "Parameter '%s' must not contain a NUL character",
                   key);
        return false;
    }
    if (qopts_has(flat, key)) {
        error_setg(errp, "Parameter '%s' is given twice", key);
        return false;
    }
    json_object_object_add(flat, key, json_object_get(value));
    return true;
}

QOpts *qopts_flatten(struct json_object *nested, Error **errp)
{
    g_autoptr(QOpts) flat = qopts_new();

    if (!json_object_is_type(nested, json_type_object)) {
        error_setg(errp, "Invalid JSON object given");
        return NULL;
    }
    if (!flatten_object(flat, NULL, nested, errp)) {
        return NULL;
    }
    return g_steal_pointer(&flat);
}

/* The error in @text after @tok has read it; NULL if there is none. */
static const char *json_fault(json_tokener *tok, const char *text, size_t len)
{
    enum json_tokener_error err = json_tokener_get_error(tok);
    const char *rest = text + json_tokener_get_parse_end(tok);

    /* A comment may swallow the rest, and the NUL: json-c calls that good. */
    if (err == json_tokener_continue ||
        err == json_tokener_error_parse_eof || rest > text + len) {
        return "premature end of input";
    }
    if (err != json_tokener_success) {
        return json_tokener_error_desc(err);
    }
    rest += strspn(rest, " \t\r\n");
    return *rest ? "extra text after the object" : NULL;
}

/* The colons of @text outside of strings. */
static size_t json_text_members(const char *text)
{
    char quote = 0;
    size_t n = 0;

    for (; *text; text++) {
        if (quote && *text == '\\' && text[1]) {
            text++;
        } else if (quote) {
            quote = *text == quote ? 0 : quote;
        } else if (*text == '"' || *text == '\'') {
            quote = *text;
        } else {
            n += *text == ':';
        }
    }
    return n;
}

QOpts *qopts_parse_json(const char *text, Error **errp)
{
    json_tokener *tok = json_tokener_new();
    json_object *nested = NULL;
    QOpts *opts = NULL;
    const char *fault = "too long";
    size_t len = strlen(text);

    json_tokener_set_flags(tok, JSON_TOKENER_VALIDATE_UTF8);
    if (len < INT_MAX) {
        /* With its NUL, or a number might go on. */
        nested = json_tokener_parse_ex(tok, text, len + 1);
        fault = json_fault(tok, text, len);
    }
    if (!fault && json_count_members(nested) < json_text_members(text)) {
        fault = JSON_DUPLICATE_KEY;
    }
    if (fault) {
        error_setg(errp, "Could not parse the JSON options: %s", fault);
    } else {
        opts = qopts_flatten(nested, errp);
    }
    json_object_put(nested);
    json_tokener_free(tok);
    return opts;
}

char *qopts_to_string(const QOpts *opts)
{
    GString *str = g_string_new(NULL);

    json_object_object_foreach(unconst(opts), key, value) {
        const char *s = value ? json_object_get_string(value) : "null";

        g_string_append_printf(str, "%s%s=", str->len ? "," : "", key);
        for (; *s; s++) {
            g_string_append(str, *s == ',' ? "," : "");
            g_string_append_c(str, *s);
        }
    }
    return g_string_free(str, false);
}

bool qopts_has(const QOpts *opts, const char *key)
{
    return json_object_object_get_ex(opts, key, NULL);
}

bool qopts_key_is_of(const char *key, const char *name)
{
    size_t len = strlen(name);

    return !strncmp(key, name, len) && (!key[len] || key[len] == '.');
}

bool qopts_has_child(const QOpts *opts, const char *name)
{
    json_object_object_foreach((json_object *)opts, key, value) {
        (void)value;
        if (qopts_key_is_of(key, name)) {
            return true;
        }
    }
    return false;
}

bool qopts_is_null(const QOpts *opts, const char *key)
{
    json_object *value;

    return json_object_object_get_ex(opts, key, &value) && !value;
}

const char *qopts_first_key(const QOpts *opts)
{
    json_object_object_foreach(unconst(opts), key, value) {
        (void)value;
        return key;
    }
    return NULL;
}

int qopts_count(const QOpts *opts)
{
    return json_object_object_length(opts);
}

const char *qopts_get_str(const QOpts *opts, const char *key)
{
    json_object *value;

    if (!json_object_object_get_ex(opts, key, &value) ||
        !json_object_is_type(value, json_type_string)) {
        return NULL;
    }
    return json_object_get_string(value);
}

bool qopts_get_bool(const QOpts *opts, const char *key, bool def)
{
    json_object *value;

    if (!json_object_object_get_ex(opts, key, &value)) {
        return def;
    }
    assert(json_object_is_type(value, json_type_boolean));
    return json_object_get_boolean(value);
}

uint64_t qopts_get_number(const QOpts *opts, const char *key, uint64_t def)
{
    json_object *value;

    if (!json_object_object_get_ex(opts, key, &value)) {
        return def;
    }
    assert(json_object_is_type(value, json_type_int));
    return json_object_get_uint64(value);
}

uint64_t qopts_get_size(const QOpts *opts, const char *key, uint64_t def)
{
    return qopts_get_number(opts, key, def);
}

void qopts_set_str(QOpts *opts, const char *key, const char *value)
{
    json_object_object_add(opts, key,
                           value ? json_object_new_string(value) : NULL);
}

void qopts_set_bool(QOpts *opts, const char *key, bool value)
{
    json_object_object_add(opts, key, json_object_new_boolean(value));
}

void qopts_set_int(QOpts *opts, const char *key, int64_t value)
{
    json_object_object_add(opts, key, json_object_new_int64(value));
}

void qopts_set_uint(QOpts *opts, const char *key, uint64_t value)
{
    json_object_object_add(opts, key, json_object_new_uint64(value));
}

void qopts_del(QOpts *opts, const char *key)
{
    json_object_object_del(opts, key);
}

bool qopts_check_empty(const QOpts *opts, Error **errp)
{
    const char *key = qopts_first_key(opts);

    if (key) {
        error_setg(errp, "Invalid parameter '%s'", key);
    }
    return !key;
}

QOpts *qopts_extract_sub(QOpts *opts, const char *prefix)
{
    QOpts *sub = qopts_new();
    const char *rest;

    /* json-c allows removal of the current key in this loop. */
    json_object_object_foreach(opts, key, value) {
        if (strstart(key, prefix, &rest) && *rest) {
            json_object_object_add(sub, rest, json_object_get(value));
            json_object_object_del(opts, key);
        }
    }
    return sub;
}

void qopts_join(QOpts *dst, const QOpts *src, bool overwrite)
{
    json_object_object_foreach(unconst(src), key, value) {
        if (overwrite || !qopts_has(dst, key)) {
            json_object *copy = NULL;

            if (value) {
                int ret = json_object_deep_copy(value, &copy, NULL);

                assert(ret == 0);
            }
            json_object_object_add(dst, key, copy);
        }
    }
}
