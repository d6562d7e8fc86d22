/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The name of a node, with which the same image can be opened again: that of
 * the file if there is nothing else to say, else "json:" and all options that
 * matter.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "block-open.h"
#include <json-c/json.h>

/* Options that change how the data are reached, but not which they are. */
static const char *const weak_options[] = {
    "driver", "node-name", "cache.direct", "cache.no-flush", "read-only",
    "auto-read-only", "force-share", "discard", "detect-zeroes", "aio",
    "aio-max-batch", "locking", "active", "reconnect-delay", "open-timeout",
    "table-cache-size",
};

static bool is_weak(const char *key)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(weak_options); i++) {
        if (!strcmp(key, weak_options[i])) {
            return true;
        }
    }
    return false;
}

/* Whether @key says what child of @bs there is; that is told by the child. */
static bool is_of_any_child(BlockDriverState *bs, const char *key)
{
    BdrvChild *child;

    if (bs->drv->children_list) {
        return qopts_key_is_of(key, bs->drv->children_list);
    }
    QLIST_FOREACH(child, &bs->children, next) {
        if (qopts_key_is_of(key, child->name)) {
            return true;
        }
    }
    return false;
}

/*
 * Whether the backing file is another than the image names, however it got it:
 * an overlay that was opened with "backing": null may have got the right one by
 * a snapshot.
 */
static bool has_other_backing(BlockDriverState *bs)
{
    if (!bs->backing) {
        return bs->full_backing_file &&
               qopts_has_child(bs->options, "backing");
    }
    return g_strcmp0(bs->full_backing_file, bs->backing->bs->filename) != 0;
}

/* Whether the name of the file alone says less than the options of @bs. */
static bool has_strong_options(BlockDriverState *bs)
{
    json_object_object_foreach(bs->options, key, value) {
        (void)value;
        if (!is_weak(key) && !qopts_key_is_of(key, "file") &&
            !qopts_key_is_of(key, "backing")) {
            return true;
        }
    }
    return has_other_backing(bs);
}

/* A child that the image itself does not name. */
static bool child_matters(BlockDriverState *bs, BdrvChild *child)
{
    if (child == bs->backing) {
        return has_other_backing(bs);
    }
    return child == bs->file || qopts_has_child(bs->options, child->name);
}

static struct json_object *node_options(BlockDriverState *bs)
{
    struct json_object *obj = json_object_new_object();
    struct json_object *list = NULL;
    BdrvChild *child;

    if (bs->drv->children_list) {
        list = json_object_new_array();
        json_object_object_add(obj, bs->drv->children_list, list);
    }

    json_object_object_add(obj, "driver",
                           json_object_new_string(bs->drv->format_name));
    json_object_object_foreach(bs->options, key, value) {
        if (!is_weak(key) && !is_of_any_child(bs, key) &&
            !qopts_key_is_of(key, "backing")) {
            json_object_object_add(obj, key, json_object_get(value));
        }
    }
    if (!bs->backing && has_other_backing(bs)) {
        json_object_object_add(obj, "backing", NULL);
    }
    QLIST_FOREACH(child, &bs->children, next) {
        if (list) {
            json_object_array_add(list, node_options(child->bs));
        } else if (child_matters(bs, child)) {
            json_object_object_add(obj, child->name,
                                   node_options(child->bs));
        }
    }
    return obj;
}

void bdrv_refresh_format_filename(BlockDriverState *bs)
{
    BlockDriverState *file = bs->file->bs;

    g_free(bs->filename);
    g_free(bs->exact_filename);
    if (file->exact_filename[0] && !has_strong_options(bs)) {
        bs->filename = g_strdup(file->filename);
        bs->exact_filename = g_strdup(file->exact_filename);
    } else {
        bs->filename = g_strdup("");
        bs->exact_filename = g_strdup("");
    }
}

void bdrv_set_json_filename(BlockDriverState *bs)
{
    struct json_object *options = node_options(bs);

    g_free(bs->filename);
    bs->filename = g_strdup_printf("json:%s",
        json_object_to_json_string_ext(options, JSON_C_TO_STRING_SPACED
                                       | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(options);
}
