/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * JSON as QEMU writes it: ", " and ": " between things, ASCII only.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "monitor-internal.h"

static void write_value(GString *out, struct json_object *json, bool pretty,
                        unsigned depth);

static void new_line(GString *out, bool pretty, unsigned depth)
{
    if (pretty) {
        g_string_append_printf(out, "\n%*s", depth * 4, "");
    }
}

static void write_char(GString *out, gunichar c)
{
    static const char special[] = "\"\\\b\f\n\r\t";
    static const char names[] = "\"\\bfnrt";
    const char *found = c && c < 0x80 ? strchr(special, c) : NULL;

    if (found) {
        g_string_append_printf(out, "\\%c", names[found - special]);
    } else if (c >= 0x20 && c < 0x7f) {
        g_string_append_c(out, c);
    } else if (c < 0x10000) {
        g_string_append_printf(out, "\\u%04X", c);
    } else {
        c -= 0x10000;
        g_string_append_printf(out, "\\u%04X\\u%04X", 0xd800 + (c >> 10),
                               0xdc00 + (c & 0x3ff));
    }
}

/* Bytes that are no UTF-8, as names of files may have, become U+FFFD. */
static void write_string(GString *out, const char *text, size_t len)
{
    const char *end = text + len;

    g_string_append_c(out, '"');
    while (text < end) {
        gunichar c = g_utf8_get_char_validated(text, end - text);

        if (*text == '\0') {
            write_char(out, 0);
            text++;
        } else if (c == (gunichar)-1 || c == (gunichar)-2) {
            write_char(out, 0xfffd);
            text++;
        } else {
            write_char(out, c);
            text = g_utf8_next_char(text);
        }
    }
    g_string_append_c(out, '"');
}

static void write_object(GString *out, struct json_object *json, bool pretty,
                         unsigned depth)
{
    struct json_object_iterator it = json_object_iter_begin(json);
    struct json_object_iterator end = json_object_iter_end(json);
    const char *comma = "";

    g_string_append_c(out, '{');
    for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
        const char *name = json_object_iter_peek_name(&it);

        g_string_append(out, comma);
        new_line(out, pretty, depth + 1);
        write_string(out, name, strlen(name));
        g_string_append(out, ": ");
        write_value(out, json_object_iter_peek_value(&it), pretty,
                    depth + 1);
        comma = pretty ? "," : ", ";
    }
    new_line(out, pretty, depth);
    g_string_append_c(out, '}');
}

static void write_array(GString *out, struct json_object *json, bool pretty,
                        unsigned depth)
{
    size_t n = json_object_array_length(json);
    size_t i;

    g_string_append_c(out, '[');
    for (i = 0; i < n; i++) {
        g_string_append(out, i ? (pretty ? "," : ", ") : "");
        new_line(out, pretty, depth + 1);
        write_value(out, json_object_array_get_idx(json, i), pretty,
                    depth + 1);
    }
    new_line(out, pretty, depth);
    g_string_append_c(out, ']');
}

static void write_int(GString *out, struct json_object *json)
{
    int64_t value = json_object_get_int64(json);

    if (value == INT64_MAX) {
        g_string_append_printf(out, "%" PRIu64,
                               json_object_get_uint64(json));
    } else {
        g_string_append_printf(out, "%" PRId64, value);
    }
}

/* NaN and the infinities, which json-c reads, are no JSON. */
static void write_double(GString *out, double value)
{
    char text[G_ASCII_DTOSTR_BUF_SIZE];

    if (value - value != 0) {
        g_string_append(out, "null");
        return;
    }
    g_ascii_dtostr(text, sizeof(text), value);
    g_string_append(out, text);
}

static void write_value(GString *out, struct json_object *json, bool pretty,
                        unsigned depth)
{
    switch (json_object_get_type(json)) {
    case json_type_null:
        g_string_append(out, "null");
        break;
    case json_type_boolean:
        g_string_append(out, json_object_get_boolean(json) ? "true" :
                                                             "false");
        break;
    case json_type_double:
        write_double(out, json_object_get_double(json));
        break;
    case json_type_int:
        write_int(out, json);
        break;
    case json_type_object:
        write_object(out, json, pretty, depth);
        break;
    case json_type_array:
        write_array(out, json, pretty, depth);
        break;
    case json_type_string:
        write_string(out, json_object_get_string(json),
                     json_object_get_string_len(json));
        break;
    }
}

void json_write(GString *out, struct json_object *json, bool pretty)
{
    write_value(out, json, pretty, 0);
}
