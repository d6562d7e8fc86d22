/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What json-c's parser does not tell.
 */
#ifndef QEMU_JSON_UTIL_H
#define QEMU_JSON_UTIL_H

struct json_object;

/*
 * The members of all objects in @json, at any depth; NULL has none.  json-c
 * lets the last of several members with one name count, so these are fewer
 * than the text has (by the colons outside of strings) if a key is there twice.
 * Recurses as deep as @json is nested.
 */
size_t json_count_members(struct json_object *json);

#define JSON_DUPLICATE_KEY "JSON parse error, duplicate key"

#endif
