/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The object "load": a load for a node, whose counts are its properties. */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "block/load.h"
#include "qapi/error.h"
#include "qom/objects.h"

/* Reads out of 100 requests, by default. */
#define LOAD_READ_PERCENT 50

typedef struct LoadObject {
    BlockLoad *load;
    char *node_name;
} LoadObject;

static void *create(const ObjectOptions *options, Error **errp)
{
    const LoadProperties *p = &options->u.load;
    BlockLoadOptions opts = {
        .seed = p->has_seed ? p->seed : 0,
        .iodepth = p->has_iodepth ? p->iodepth : 0,
        .block_size = p->has_block_size ? p->block_size : 0,
        .size = p->has_size ? p->size : 0,
        .read_percent = p->has_read_percent ? p->read_percent :
                                              LOAD_READ_PERCENT,
        .interval_us = p->has_interval_us ? p->interval_us : 0,
        .on_read_error = p->has_rerror ? p->rerror :
                         BLOCKDEV_ON_ERROR_REPORT,
        .on_write_error = p->has_werror ? p->werror :
                          BLOCKDEV_ON_ERROR_REPORT,
    };
    g_autofree char *path = g_strdup_printf("/objects/%s", options->id);
    BlockDriverState *bs = bdrv_find_node(p->node_name);
    LoadObject *obj;
    BlockLoad *load;

    if (!bs) {
        error_setg(errp, "Failed to find node with node-name='%s'",
                   p->node_name);
        return NULL;
    }
    opts.qom_path = path;
    load = block_load_new(bs, &opts, errp);
    if (!load) {
        return NULL;
    }
    obj = g_new0(LoadObject, 1);
    obj->load = load;
    obj->node_name = g_strdup(p->node_name);
    return obj;
}

static void destroy(void *object)
{
    LoadObject *obj = object;

    block_load_free(obj->load);
    g_free(obj->node_name);
    g_free(obj);
}

static struct json_object *get_node_name(void *object)
{
    return property_string(((LoadObject *)object)->node_name);
}

static struct json_object *get_first_error(void *object)
{
    return property_string(
        block_load_first_error(((LoadObject *)object)->load));
}

static struct json_object *get_running(void *object)
{
    return json_object_new_boolean(
        block_load_is_running(((LoadObject *)object)->load));
}

static bool set_running(void *object, struct json_object *value, Error **errp)
{
    if (!json_object_is_type(value, json_type_boolean)) {
        error_setg(errp, "Invalid parameter type for 'running', expected: "
                   "boolean");
        return false;
    }
    block_load_set_running(((LoadObject *)object)->load,
                           json_object_get_boolean(value));
    return true;
}

#define GET_STAT(member)                                            \
    static struct json_object *get_##member(void *object)           \
    {                                                               \
        BlockLoadStats stats;                                       \
                                                                    \
        block_load_get_stats(((LoadObject *)object)->load, &stats); \
        return json_object_new_uint64(stats.member);                \
    }

GET_STAT(reads)
GET_STAT(writes)
GET_STAT(flushes)
GET_STAT(errors)
GET_STAT(mismatches)
GET_STAT(p50_us)
GET_STAT(p99_us)
GET_STAT(max_us)

static const ObjectProperty properties[] = {
    { "node-name", "string", get_node_name },
    { "running", "bool", get_running, set_running },
    { "reads", "uint64", get_reads },
    { "writes", "uint64", get_writes },
    { "flushes", "uint64", get_flushes },
    { "errors", "uint64", get_errors },
    { "mismatches", "uint64", get_mismatches },
    { "first-error", "string", get_first_error },
    { "p50-us", "uint64", get_p50_us },
    { "p99-us", "uint64", get_p99_us },
    { "max-us", "uint64", get_max_us },
    { NULL }
};

static const UserObjectType load_object_type = {
    .parent = "object",
    .properties = properties,
    .uses_nodes = true,
    .create = create,
    .destroy = destroy,
};

USER_OBJECT_TYPE(OBJECT_TYPE_LOAD, load_object_type)
