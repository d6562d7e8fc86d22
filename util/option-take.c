/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options: taking them out with a type, one by one or by a table, and the
 * help that a table gives.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/option.h"

/*
 * Remove @key.  Returns false if it is not there, else *@value is a reference
 * for the caller (NULL for a JSON null).
 */
static bool take(QOpts *opts, const char *key, json_object **value)
{
    if (!json_object_object_get_ex(opts, key, value)) {
        return false;
    }
    json_object_get(*value);
    json_object_object_del(opts, key);
    return true;
}

/* NULL if @value is no string. */
static const char *string_of(json_object *value)
{
    return json_object_is_type(value, json_type_string) ?
           json_object_get_string(value) : NULL;
}

bool qopts_take_str(QOpts *opts, const char *key, const char *def,
                    char **value, Error **errp)
{
    json_object *obj;
    bool ok = true;

    if (!take(opts, key, &obj)) {
        *value = g_strdup(def);
        return true;
    }
    if (string_of(obj)) {
        *value = g_strdup(string_of(obj));
    } else {
        error_setg(errp, "Invalid parameter type for '%s', expected: string",
                   key);
        *value = g_strdup(def);
        ok = false;
    }
    json_object_put(obj);
    return ok;
}

static bool parse_bool(const char *s, bool *value)
{
    static const char *const words[][2] = {
        { "off", "on" }, { "no", "yes" }, { "false", "true" }, { "n", "y" },
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(words); i++) {
        *value = !strcmp(s, words[i][1]);
        if (*value || !strcmp(s, words[i][0])) {
            return true;
        }
    }
    return false;
}

bool qopts_take_bool(QOpts *opts, const char *key, bool def,
                     bool *value, Error **errp)
{
    json_object *obj;
    bool ok = true;

    if (!take(opts, key, &obj)) {
        *value = def;
        return true;
    }
    if (json_object_is_type(obj, json_type_boolean)) {
        *value = json_object_get_boolean(obj);
    } else if (!string_of(obj) || !parse_bool(string_of(obj), value)) {
        error_setg(errp, "Parameter '%s' expects 'on' or 'off'", key);
        *value = def;
        ok = false;
    }
    json_object_put(obj);
    return ok;
}

typedef int ParseFunc(const char *s, const char **end, uint64_t *value);

/*
 * Take @key as an integer, or a string that @parse understands.  0, or
 * -EINVAL or -ERANGE with *@text being the value in words, to be freed.
 */
static int take_uint(QOpts *opts, const char *key, uint64_t def,
                     uint64_t *value, ParseFunc *parse, char **text)
{
    json_object *obj;
    int ret = -EINVAL;

    *value = def;
    if (!take(opts, key, &obj)) {
        return 0;
    }
    if (string_of(obj)) {
        ret = parse(string_of(obj), NULL, value);
    } else if (json_object_is_type(obj, json_type_int) &&
               json_object_get_int64(obj) >= 0) {
        /* The check is exact: larger values than an int64_t's saturate. */
        *value = json_object_get_uint64(obj);
        ret = 0;
    }
    if (ret < 0) {
        *value = def;
        *text = g_strdup(obj ? json_object_get_string(obj) : "null");
    }
    json_object_put(obj);
    return ret;
}

static int parse_number(const char *s, const char **end, uint64_t *value)
{
    return parse_uint(s, end, 0, value);
}

bool qopts_take_number(QOpts *opts, const char *key, uint64_t def,
                       uint64_t *value, Error **errp)
{
    g_autofree char *text = NULL;
    int ret = take_uint(opts, key, def, value, parse_number, &text);

    if (ret == -ERANGE) {
        error_setg(errp, "Value '%s' is too large for parameter '%s'",
                   text, key);
    } else if (ret < 0) {
        error_setg(errp, "Parameter '%s' expects a number", key);
    }
    return ret == 0;
}

bool qopts_take_size(QOpts *opts, const char *key, uint64_t def,
                     uint64_t *value, Error **errp)
{
    ERRP_GUARD();
    g_autofree char *text = NULL;
    int ret = take_uint(opts, key, def, value, qemu_strtosz, &text);

    if (ret == -ERANGE) {
        error_setg(errp, "Value '%s' is out of range for parameter '%s'",
                   text, key);
    } else if (ret < 0) {
        error_setg(errp, "Parameter '%s' expects a non-negative number "
                   "below 2^64", key);
        error_append_hint(errp, "Optional suffix k, M, G, T, P or E means "
                          "kilo-, mega-, giga-, tera-, peta-\n"
                          "and exabytes, respectively.\n");
    }
    return ret == 0;
}

bool qopts_take_enum(QOpts *opts, const char *key,
                     const char *const table[], int def,
                     int *value, Error **errp)
{
    g_autofree char *choices = NULL;
    json_object *obj;
    int i;

    *value = def;
    if (!take(opts, key, &obj)) {
        return true;
    }
    for (i = 0; table[i]; i++) {
        if (string_of(obj) && !strcmp(string_of(obj), table[i])) {
            *value = i;
            json_object_put(obj);
            return true;
        }
    }
    choices = g_strjoinv(", ", (char **)table);
    error_setg(errp, "Parameter '%s' does not accept value '%s' "
               "(possible: %s)", key,
               obj ? json_object_get_string(obj) : "null", choices);
    json_object_put(obj);
    return false;
}

/* Move one option of a table from @from to @to, in its type. */
static bool take_desc(const QemuOptDesc *desc, QOpts *from, QOpts *to,
                      Error **errp)
{
    g_autofree char *str = NULL;
    uint64_t number;
    bool flag, ok;

    switch (desc->type) {
    case QEMU_OPT_BOOL:
        ok = qopts_take_bool(from, desc->name, false, &flag, errp);
        qopts_set_bool(to, desc->name, flag);
        return ok;
    case QEMU_OPT_NUMBER:
        ok = qopts_take_number(from, desc->name, 0, &number, errp);
        qopts_set_uint(to, desc->name, number);
        return ok;
    case QEMU_OPT_SIZE:
        ok = qopts_take_size(from, desc->name, 0, &number, errp);
        qopts_set_uint(to, desc->name, number);
        return ok;
    case QEMU_OPT_STRING:
        ok = qopts_take_str(from, desc->name, NULL, &str, errp);
        qopts_set_str(to, desc->name, str);
        return ok;
    }
    g_assert_not_reached();
}

QOpts *qopts_take_table(const QemuOptsList *table, QOpts *opts,
                        Error **errp)
{
    g_autoptr(QOpts) taken = qopts_new();
    const QemuOptDesc *desc;

    for (desc = table->desc; desc->name; desc++) {
        if (qopts_has(opts, desc->name)) {
            if (!take_desc(desc, opts, taken, errp)) {
                return NULL;
            }
        } else if (desc->def_value_str) {
            g_autoptr(QOpts) def = qopts_new();

            qopts_set_str(def, desc->name, desc->def_value_str);
            take_desc(desc, def, taken, &error_abort);
        }
    }
    return g_steal_pointer(&taken);
}

const QemuOptDesc *qemu_opt_find_desc(const QemuOptsList *table,
                                      const char *name)
{
    const QemuOptDesc *desc;

    for (desc = table->desc; desc->name; desc++) {
        if (!strcmp(desc->name, name)) {
            return desc;
        }
    }
    return NULL;
}

static const char *type_name(QemuOptType type)
{
    switch (type) {
    case QEMU_OPT_STRING:
        return "str";
    case QEMU_OPT_BOOL:
        return "bool (on/off)";
    case QEMU_OPT_NUMBER:
        return "num";
    case QEMU_OPT_SIZE:
        return "size";
    }
    g_assert_not_reached();
}

static int compare_lines(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void qemu_opts_print_help(const QemuOptsList *table, bool print_caption)
{
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
    const QemuOptDesc *desc;
    guint i;

    for (desc = table->desc; desc->name; desc++) {
        g_autofree char *option =
            g_strdup_printf("%s=<%s>", desc->name, type_name(desc->type));

        g_ptr_array_add(lines, desc->help ?
                        g_strdup_printf("  %-22s - %s", option, desc->help) :
                        g_strdup_printf("  %s", option));
    }
    g_ptr_array_sort(lines, compare_lines);

    if (print_caption && lines->len) {
        printf("Supported %s%soptions:\n", table->name ?: "",
               table->name ? " " : "");
    } else if (print_caption) {
        printf("There are no options for %s.\n", table->name ?: "this");
    }
    for (i = 0; i < lines->len; i++) {
        puts(g_ptr_array_index(lines, i));
    }
}
