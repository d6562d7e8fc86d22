/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Information of a format about an image, for people.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "programs.h"

static void print_members(struct json_object *value, int level);

/* The text behind a name and its colon: on the same line, or below. */
static void print_member(struct json_object *value, int level)
{
    if (json_object_is_type(value, json_type_object) ||
        json_object_is_type(value, json_type_array)) {
        printf("\n");
        print_members(value, level + 1);
    } else {
        printf(" %s\n", value ? json_object_get_string(value) : "null");
    }
}

static void print_members(struct json_object *value, int level)
{
    size_t i, len;

    if (json_object_is_type(value, json_type_array)) {
        len = json_object_array_length(value);
        for (i = 0; i < len; i++) {
            printf("%*s[%zu]:", level * 4, "", i);
            print_member(json_object_array_get_idx(value, i), level);
        }
        return;
    }
    json_object_object_foreach(value, key, member) {
        g_autofree char *name = g_strdelimit(g_strdup(key), "-", ' ');

        printf("%*s%s:", level * 4, "", name);
        print_member(member, level);
    }
}

void program_print_specific_info(struct json_object *info, int level)
{
    struct json_object *data;

    if (json_object_object_get_ex(info, "data", &data) &&
        json_object_is_type(data, json_type_object) &&
        json_object_object_length(data) > 0) {
        printf("%*sFormat specific information:\n", level * 4, "");
        print_members(data, level + 1);
    }
}
