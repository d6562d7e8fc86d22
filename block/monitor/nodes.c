/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The QMP commands that make, change and delete nodes.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "block/block_int.h"
#include "block/blockjob.h"
#include "block/export.h"
#include "nodes.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-block-core.h"
#include "qemu/option.h"
#include "system/block-backend.h"
#include "system/iothread.h"

/* In the order of their creation; each is a reference. */
static GPtrArray *monitor_nodes;

BlockDriverState *block_qmp_lookup(const char *device, const char *node_name,
                                   Error **errp)
{
    BlockDriverState *bs = node_name ? bdrv_find_node(node_name) : NULL;

    if (!bs) {
        error_setg(errp, "Cannot find device='%s' nor node-name='%s'",
                   device ?: "", node_name ?: "");
    }
    return bs;
}

/* The options as the drivers take them; NULL with @errp set. */
static QOpts *flatten_options(BlockdevOptions *options, Error **errp)
{
    struct json_object *json = QAPI_TO_JSON(BlockdevOptions, options);
    QOpts *opts = qopts_flatten(json, errp);

    json_object_put(json);
    return opts;
}

void qmp_blockdev_add(BlockdevOptions *options, Error **errp)
{
    BlockDriverState *bs;
    QOpts *opts;

    if (!options->node_name) {
        error_setg(errp, "'node-name' must be specified for the root node");
        return;
    }
    opts = flatten_options(options, errp);
    if (!opts) {
        return;
    }
    bs = bdrv_open(NULL, NULL, opts, BDRV_O_RDWR, errp);
    if (!bs) {
        return;
    }
    if (!monitor_nodes) {
        monitor_nodes = g_ptr_array_new();
    }
    g_ptr_array_add(monitor_nodes, bs);
}

static BlockDriverState *find_node(const char *node_name, Error **errp)
{
    BlockDriverState *bs = bdrv_find_node(node_name);

    if (!bs) {
        error_setg(errp, "Failed to find node with node-name='%s'",
                   node_name);
    }
    return bs;
}

void qmp_blockdev_del(const char *node_name, Error **errp)
{
    BlockDriverState *bs = find_node(node_name, errp);

    if (!bs) {
        return;
    }
    if (bdrv_has_blk(bs)) {
        error_setg(errp, "Node %s is in use",
                   bdrv_get_device_or_node_name(bs));
        return;
    }
    if (block_job_blocks(bs, errp) || bdrv_is_backing_hd(bs, errp)) {
        return;
    }
    if (!monitor_nodes || !g_ptr_array_find(monitor_nodes, bs, NULL)) {
        error_setg(errp, "Node %s is not owned by the monitor",
                   bs->node_name);
        return;
    }
    if (bs->refcnt > 1) {
        error_setg(errp, "Block device %s is in use",
                   bdrv_get_device_or_node_name(bs));
        return;
    }
    g_ptr_array_remove(monitor_nodes, bs);
    bdrv_unref(bs);
}

void blockdev_close_all(void)
{
    while (monitor_nodes && monitor_nodes->len) {
        bdrv_unref(g_ptr_array_remove_index(monitor_nodes,
                                            monitor_nodes->len - 1));
    }
    g_clear_pointer(&monitor_nodes, g_ptr_array_unref);
}

void qmp_blockdev_reopen(BlockdevOptionsList *list, Error **errp)
{
    BlockReopenQueue *queue = NULL;

    for (; list; list = list->next) {
        BlockdevOptions *options = list->value;
        BlockDriverState *bs;
        QOpts *opts;

        if (!options->node_name) {
            error_setg(errp, "node-name not specified");
            goto fail;
        }
        bs = find_node(options->node_name, errp);
        if (!bs) {
            goto fail;
        }
        opts = flatten_options(options, errp);
        if (!opts) {
            goto fail;
        }
        queue = bdrv_reopen_queue(queue, bs, opts, false);
    }
    if (queue) {
        bdrv_reopen_multiple(queue, errp);
    }
    return;

fail:
    if (queue) {
        bdrv_reopen_queue_free(queue);
    }
}

void qmp_block_resize(const char *device, const char *node_name,
                      int64_t size, Error **errp)
{
    BlockDriverState *bs = block_qmp_lookup(device, node_name, errp);
    BlockBackend *blk;

    if (!bs) {
        return;
    }
    if (size < 0) {
        error_setg(errp, "Parameter 'size' expects a >0 size");
        return;
    }
    if (block_job_blocks(bs, NULL)) {
        error_setg(errp, "Device '%s' is in use",
                   bdrv_get_device_or_node_name(bs));
        return;
    }
    blk = blk_new(bdrv_get_aio_context(bs), BLK_PERM_RESIZE, BLK_PERM_ALL);
    blk_exp_share_resize(true);
    if (blk_insert_bs(blk, bs, errp) == 0) {
        blk_truncate(blk, size, false, PREALLOC_MODE_OFF, 0, errp);
    }
    blk_unref(blk);
    blk_exp_share_resize(false);
}

void qmp_x_blockdev_set_iothread(const char *node_name, StrOrNull *iothread,
                                 bool has_force, bool force, Error **errp)
{
    BlockDriverState *bs = find_node(node_name, errp);
    AioContext *ctx = qemu_get_aio_context();

    if (!bs) {
        return;
    }
    if (!(has_force && force) && bdrv_has_blk(bs)) {
        error_setg(errp, "Node %s is associated with a BlockBackend and "
                   "could be in use (use force=true to override this check)",
                   node_name);
        return;
    }
    if (iothread->type == QTYPE_QSTRING) {
        IOThread *thread = iothread_by_id(iothread->u.s);

        if (!thread) {
            error_setg(errp, "Cannot find iothread %s", iothread->u.s);
            return;
        }
        ctx = iothread_get_aio_context(thread);
    }
    bdrv_try_change_aio_context(bs, ctx, NULL, errp);
}

void qmp_block_set_write_threshold(const char *node_name,
                                   uint64_t write_threshold, Error **errp)
{
    BlockDriverState *bs = bdrv_find_node(node_name);

    if (!bs) {
        error_setg(errp, "Device '%s' not found", node_name);
        return;
    }
    qatomic_set(&bs->write_threshold, write_threshold);
}

static BdrvChild *find_child(BlockDriverState *parent, const char *name,
                             Error **errp)
{
    BdrvChild *c;

    QLIST_FOREACH(c, &parent->children, next) {
        if (!strcmp(c->name, name)) {
            return c;
        }
    }
    error_setg(errp, "Node '%s' does not have child '%s'", parent->node_name,
               name);
    return NULL;
}

void qmp_x_blockdev_change(const char *parent, const char *child,
                           const char *node, Error **errp)
{
    BlockDriverState *bs = block_qmp_lookup(parent, parent, errp);

    if (!bs) {
        return;
    }
    if (!child == !node) {
        error_setg(errp, child ? "The parameters child and node are in "
                   "conflict" : "Either child or node must be specified");
    } else if (child) {
        BdrvChild *c = find_child(bs, child, errp);

        if (c) {
            bdrv_del_child(bs, c, errp);
        }
    } else {
        BlockDriverState *new_bs = bdrv_find_node(node);

        if (new_bs) {
            bdrv_add_child(bs, new_bs, errp);
        } else {
            error_setg(errp, "Node '%s' not found", node);
        }
    }
}

void qmp_blockdev_set_active(const char *node_name, bool active, Error **errp)
{
    BlockDriverState *bs;

    if (!node_name) {
        if (active) {
            bdrv_activate_all(errp);
        } else {
            bdrv_inactivate_all(errp);
        }
        return;
    }
    bs = find_node(node_name, errp);
    if (!bs) {
        return;
    }
    if (active) {
        bdrv_activate(bs, errp);
    } else {
        bdrv_inactivate(bs, errp);
    }
}
