/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The QMP commands that shorten backing chains: block-commit, block-stream and
 * change-backing-file.
 */
#include "qemu/osdep.h"
#include "block-qmp.h"
#include "block/block_int.h"
#include "block/mirror.h"
#include "block/stream.h"
#include "qapi/qapi-commands-block-core.h"
#include "qapi/qapi-commands-block-jobs.h"
#include "system/block-backend.h"

/* --- commit --- */

/* The node of the chain of @bs that an argument names; NULL with @errp. */
static BlockDriverState *commit_find(BlockDriverState *bs, const char *node,
                                     const char *file, bool is_top,
                                     Error **errp)
{
    BlockDriverState *found;

    if (node) {
        found = bdrv_find_node(node);
        if (!found) {
            error_setg(errp, "Cannot find device='' nor node-name='%s'", node);
        } else if (!bdrv_chain_contains(bs, found)) {
            error_setg(errp, "'%s' is not in this backing file chain", node);
            found = NULL;
        }
        return found;
    }
    found = !strcmp(bs->filename, file) ? bs :
            bdrv_find_backing_image(bs, file);
    if (!found && is_top) {
        error_setg(errp, "Top image file %s not found", file);
    } else if (!found) {
        error_setg(errp, "Can't find '%s' in the backing chain", file);
    }
    return found;
}

static bool commit_check_names(const char *base_node, const char *base,
                               const char *top_node, const char *top,
                               Error **errp)
{
    if (top_node && top) {
        error_setg(errp, "'top-node' and 'top' are mutually exclusive");
        return false;
    }
    if (base_node && base) {
        error_setg(errp, "'base-node' and 'base' are mutually exclusive");
        return false;
    }
    return true;
}

void qmp_block_commit(const char *job_id, const char *device,
        const char *base_node, const char *base, const char *top_node,
        const char *top, const char *backing_file,
        bool has_backing_mask_protocol, bool backing_mask_protocol,
        bool has_speed, int64_t speed, bool has_on_error,
        BlockdevOnError on_error, const char *filter_node_name,
        bool has_auto_finalize, bool auto_finalize, bool has_auto_dismiss,
        bool auto_dismiss, Error **errp)
{
    MirrorJobOptions o = {
        .job_id = job_id,
        .speed = has_speed ? speed : 0,
        .unmap = true,
        .filter_node_name = filter_node_name,
        .on_source_error = has_on_error ? on_error : BLOCKDEV_ON_ERROR_REPORT,
        .on_target_error = has_on_error ? on_error : BLOCKDEV_ON_ERROR_REPORT,
        .flags = block_qmp_job_flags(has_auto_finalize, auto_finalize,
                                     has_auto_dismiss, auto_dismiss),
    };
    BlockDriverState *bs, *top_bs, *base_bs;
    BlockJob *job;

    if (!bdrv_lookup_bs(device, device, NULL)) {
        /* Clients tell this error from others by its class. */
        error_set(errp, ERROR_CLASS_DEVICE_NOT_FOUND, "Device '%s' not found",
                  device);
        return;
    }
    top_bs = bs = block_qmp_root_node(device, errp);
    if (!bs || !commit_check_names(base_node, base, top_node, top, errp)) {
        return;
    }
    if (top_node || top) {
        top_bs = commit_find(bs, top_node, top, true, errp);
    }
    if (!top_bs) {
        return;
    }
    if (base_node || base) {
        base_bs = commit_find(top_bs, base_node, base, false, errp);
    } else {
        base_bs = bdrv_find_base(top_bs);
    }
    if (!base_bs) {
        return;
    }
    if (bdrv_skip_filters(top_bs) == bdrv_skip_filters(base_bs)) {
        error_setg(errp, "cannot commit an image into itself");
        return;
    }
    if (bdrv_skip_filters(top_bs) != bdrv_skip_filters(bs)) {
        ChainJobOptions c = {
            .job_id = job_id,
            .backing_file = backing_file,
            .speed = o.speed,
            .on_error = o.on_source_error,
            .filter_node_name = filter_node_name,
            .flags = o.flags,
        };

        job = commit_job_create(bs, top_bs, base_bs, &c, errp);
        if (job) {
            job_start(&job->job);
        }
        return;
    }
    if (backing_file) {
        error_setg(errp, "'backing-file' specified, but 'top' is the active "
                   "layer");
        return;
    }
    job = commit_active_job_create(bs, base_bs, &o, errp);
    if (job) {
        job_start(&job->job);
    }
}

/* --- stream --- */

static bool stream_check_names(const char *base, const char *base_node,
                               const char *bottom, Error **errp)
{
    if (base && base_node) {
        error_setg(errp, "'base' and 'base-node' cannot be specified at the "
                   "same time");
        return false;
    }
    if (base && bottom) {
        error_setg(errp, "'base' and 'bottom' cannot be specified at the same "
                   "time");
        return false;
    }
    if (bottom && base_node) {
        error_setg(errp, "'bottom' and 'base-node' cannot be specified at the "
                   "same time");
        return false;
    }
    return true;
}

/* False with @errp set; *@found NULL: all of the chain. */
static bool stream_find_base(BlockDriverState *bs, const char *base,
                             const char *base_node, const char *bottom,
                             BlockDriverState **found, Error **errp)
{
    const char *node = base_node ? base_node : bottom;

    *found = NULL;
    if (base) {
        *found = bdrv_find_backing_image(bs, base);
        if (!*found) {
            error_setg(errp, "Can't find '%s' in the backing chain", base);
            return false;
        }
        return true;
    }
    if (!node) {
        return true;
    }
    *found = bdrv_find_node(node);
    if (!*found) {
        error_setg(errp, "Cannot find device='' nor node-name='%s'", node);
        return false;
    }
    if ((base_node && *found == bs) || !bdrv_chain_contains(bs, *found)) {
        error_setg(errp, bottom ?
                   "Node '%s' is not in a chain starting from '%s'" :
                   "Node '%s' is not a backing image of '%s'", node,
                   bdrv_get_node_name(bs));
        return false;
    }
    if (bottom) {
        *found = bdrv_backing_chain_next(*found);
    }
    return true;
}

void qmp_block_stream(const char *job_id, const char *device,
        const char *base, const char *base_node, const char *backing_file,
        bool has_backing_mask_protocol, bool backing_mask_protocol,
        const char *bottom, bool has_speed, int64_t speed, bool has_on_error,
        BlockdevOnError on_error, const char *filter_node_name,
        bool has_auto_finalize, bool auto_finalize, bool has_auto_dismiss,
        bool auto_dismiss, Error **errp)
{
    ChainJobOptions o = {
        .job_id = job_id,
        .backing_file = backing_file,
        .speed = has_speed ? speed : 0,
        .on_error = has_on_error ? on_error : BLOCKDEV_ON_ERROR_REPORT,
        .filter_node_name = filter_node_name,
        .flags = block_qmp_job_flags(has_auto_finalize, auto_finalize,
                                     has_auto_dismiss, auto_dismiss),
    };
    BlockDriverState *bs = block_qmp_node(device, errp), *base_bs;
    BlockJob *job;

    if (!bs || !stream_check_names(base, base_node, bottom, errp) ||
        !stream_find_base(bs, base, base_node, bottom, &base_bs, errp)) {
        return;
    }
    if (!base_bs && backing_file) {
        error_setg(errp, "backing file specified, but streaming the entire "
                   "chain");
        return;
    }
    job = stream_job_create(bs, base_bs, &o, errp);
    if (job) {
        job_start(&job->job);
    }
}

void qmp_change_backing_file(const char *device, const char *image_node_name,
                             const char *backing_file, Error **errp)
{
    BlockDriverState *bs = block_qmp_root_node(device, errp), *image;
    bool read_only;
    int ret;

    if (!bs) {
        return;
    }
    image = bdrv_find_node(image_node_name);
    if (!image) {
        error_setg(errp, "Cannot find device='' nor node-name='%s'",
                   image_node_name);
        return;
    }
    if (!bdrv_backing_chain_next(image)) {
        error_setg(errp, "not allowing backing file change on an image "
                   "without a backing file");
        return;
    }
    if (!bdrv_chain_contains(bs, image)) {
        error_setg(errp, "'%s' and image file are not in the same chain",
                   device);
        return;
    }
    read_only = bdrv_is_read_only(image);
    if (read_only && bdrv_reopen_set_read_only(image, false, errp) < 0) {
        return;
    }
    ret = bdrv_change_backing_file(image, backing_file, image->backing_format,
                                   false);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not change backing file to '%s'",
                         backing_file);
    }
    if (read_only) {
        bdrv_reopen_set_read_only(image, true, ret < 0 ? NULL : errp);
    }
}
