/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * BlockBackend: names, the device in front of it, and what errors lead to.
 * Main thread, unless told otherwise.
 */
#include "qemu/osdep.h"
#include "qapi/qapi-events-block-core.h"
#include "qemu/id.h"
#include "block/blk-int.h"

/* --- names --- */

static BlockBackend *blk_first_named(BlockBackend *blk)
{
    while (blk && !blk->name) {
        blk = blk_all_next(blk);
    }
    return blk;
}

BlockBackend *blk_next(BlockBackend *blk)
{
    GLOBAL_STATE_CODE();
    return blk_first_named(blk_all_next(blk));
}

BlockBackend *blk_by_name(const char *name)
{
    BlockBackend *blk = NULL;

    while ((blk = blk_next(blk)) != NULL) {
        if (!strcmp(name, blk->name)) {
            return blk;
        }
    }
    return NULL;
}

const char *blk_name(const BlockBackend *blk)
{
    return blk->name ? blk->name : "";
}

bool monitor_add_blk(BlockBackend *blk, const char *name, Error **errp)
{
    GLOBAL_STATE_CODE();
    assert(!blk->name && name && *name);
    if (!id_wellformed(name)) {
        error_setg(errp, "Invalid device name");
        return false;
    }
    if (blk_by_name(name)) {
        error_setg(errp, "Device with id '%s' already exists", name);
        return false;
    }
    if (bdrv_find_node(name)) {
        error_setg(errp, "Device name '%s' conflicts with an existing node "
                   "name", name);
        return false;
    }
    blk->name = g_strdup(name);
    return true;
}

void monitor_remove_blk(BlockBackend *blk)
{
    GLOBAL_STATE_CODE();
    g_clear_pointer(&blk->name, g_free);
}

BlockDriverState *bdrv_lookup_bs(const char *device, const char *node_name,
                                 Error **errp)
{
    BlockBackend *blk = device ? blk_by_name(device) : NULL;
    BlockDriverState *bs;

    GLOBAL_STATE_CODE();
    if (blk) {
        bs = blk_bs(blk);
        if (!bs) {
            error_setg(errp, "Device '%s' has no medium", device);
        }
        return bs;
    }
    bs = node_name ? bdrv_find_node(node_name) : NULL;
    if (!bs) {
        error_setg(errp, "Cannot find device='%s' nor node-name='%s'",
                   device ? device : "", node_name ? node_name : "");
    }
    return bs;
}

/* --- the device --- */

void blk_set_dev_ops(BlockBackend *blk, const BlockDevOps *ops, void *opaque)
{
    GLOBAL_STATE_CODE();
    assert(!ops || !blk->dev_ops);
    blk->dev_ops = ops;
    blk->dev_opaque = opaque;
    /* One that comes while the root is drained has to be quiet at once. */
    if (blk_is_drained(blk) && ops && ops->drained_begin) {
        ops->drained_begin(opaque);
    }
}

void blk_set_attached_dev_path(BlockBackend *blk, const char *path)
{
    GLOBAL_STATE_CODE();
    g_free(blk->dev_path);
    blk->dev_path = g_strdup(path);
}

void blk_set_disable_request_queuing(BlockBackend *blk, bool disable)
{
    GLOBAL_STATE_CODE();
    blk->disable_request_queuing = disable;
}

/* --- errors --- */

void blk_set_on_error(BlockBackend *blk, BlockdevOnError on_read_error,
                      BlockdevOnError on_write_error)
{
    GLOBAL_STATE_CODE();
    blk->on_read_error = on_read_error;
    blk->on_write_error = on_write_error;
}

BlockdevOnError blk_get_on_error(BlockBackend *blk, bool is_read)
{
    return is_read ? blk->on_read_error : blk->on_write_error;
}

BlockErrorAction blk_get_error_action(BlockBackend *blk, bool is_read,
                                      int error)
{
    switch (blk_get_on_error(blk, is_read)) {
    case BLOCKDEV_ON_ERROR_ENOSPC:
    case BLOCKDEV_ON_ERROR_AUTO:
        return error == ENOSPC ? BLOCK_ERROR_ACTION_STOP :
               BLOCK_ERROR_ACTION_REPORT;
    case BLOCKDEV_ON_ERROR_STOP:
        return BLOCK_ERROR_ACTION_STOP;
    case BLOCKDEV_ON_ERROR_IGNORE:
        return BLOCK_ERROR_ACTION_IGNORE;
    default:
        return BLOCK_ERROR_ACTION_REPORT;
    }
}

void blk_error_action(BlockBackend *blk, BlockErrorAction action,
                      bool is_read, int error)
{
    BlockDriverState *bs = blk_bs(blk);

    GLOBAL_STATE_CODE();
    assert(error > 0);
    if (action == BLOCK_ERROR_ACTION_STOP && blk->iostatus_enabled &&
        blk->iostatus == BLOCK_DEVICE_IO_STATUS_OK) {
        blk->iostatus = error == ENOSPC ? BLOCK_DEVICE_IO_STATUS_NOSPACE :
                        BLOCK_DEVICE_IO_STATUS_FAILED;
    }
    qapi_event_send_block_io_error(blk->dev_path ?: "", blk_name(blk),
                                   bs ? bdrv_get_node_name(bs) : NULL,
                                   is_read ? IO_OPERATION_TYPE_READ :
                                   IO_OPERATION_TYPE_WRITE, action,
                                   action == BLOCK_ERROR_ACTION_STOP,
                                   error == ENOSPC, strerror(error));
}

void blk_iostatus_enable(BlockBackend *blk)
{
    GLOBAL_STATE_CODE();
    blk->iostatus_enabled = true;
    blk->iostatus = BLOCK_DEVICE_IO_STATUS_OK;
}

bool blk_iostatus_is_enabled(const BlockBackend *blk)
{
    return blk->iostatus_enabled;
}

BlockDeviceIoStatus blk_iostatus(const BlockBackend *blk)
{
    return blk->iostatus;
}

void blk_iostatus_reset(BlockBackend *blk)
{
    GLOBAL_STATE_CODE();
    blk->iostatus = BLOCK_DEVICE_IO_STATUS_OK;
}
