/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What json-c's parser does not tell.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "qemu/json-util.h"

size_t json_count_members(struct json_object *json)
{
    size_t n = 0, i;

    switch (json_object_get_type(json)) {
    case json_type_object: {
        json_object_object_foreach(json, key, value) {
            (void)key;
            n += 1 + json_count_members(value);
        }
        break;
    }
    case json_type_array:
        for (i = 0; i < json_object_array_length(json); i++) {
            n += json_count_members(json_object_array_get_idx(json, i));
        }
        break;
    default:
        break;
    }
    return n;
}
