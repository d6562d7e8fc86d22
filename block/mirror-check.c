/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a mirror job is asked for in vain.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "mirror-int.h"
#include "qemu/cutils.h"

/* Only what shows the same data as the source, now and always. */
static bool mirror_can_replace(BlockDriverState *bs, const char *name,
                               Error **errp)
{
    BlockDriverState *to_replace = bdrv_find_node(name), *p;

    if (!to_replace) {
        error_setg(errp, "Failed to find node with node-name='%s'", name);
        return false;
    }
    for (p = bs; p; p = bdrv_filter_bs(p)) {
        if (p == to_replace) {
            return true;
        }
    }
    error_setg(errp, "Cannot replace '%s' by a node mirrored from '%s', "
               "because it cannot be guaranteed that doing so would not lead "
               "to an abrupt change of visible data", name,
               bdrv_get_node_name(bs));
    return false;
}

bool mirror_check(BlockDriverState *bs, BlockDriverState *target,
                  uint32_t granularity, bool is_commit,
                  const MirrorJobOptions *o, Error **errp)
{
    int64_t len, target_len;

    if (!is_power_of_2(granularity)) {
        error_setg(errp, "Granularity must be a power of 2");
    } else if (o->buf_size < 0) {
        error_setg(errp, "Invalid parameter 'buf-size'");
    } else if (bs == target) {
        error_setg(errp, "Can't mirror node into itself");
    } else if (o->replaces && !mirror_can_replace(bs, o->replaces, errp)) {
        return false;
    } else if (block_job_blocks(bs, errp) || block_job_blocks(target, errp)) {
        return false;
    } else {
        len = bdrv_getlength(bs);
        target_len = bdrv_getlength(target);
        if (len < 0 || target_len < 0) {
            error_setg_errno(errp, len < 0 ? -len : -target_len,
                             "Could not get the length of the %s",
                             len < 0 ? "source" : "target");
        } else if (len != target_len && !(is_commit && len < target_len)) {
            error_setg(errp, "Source and target image have different sizes");
        } else {
            return true;
        }
    }
    return false;
}
