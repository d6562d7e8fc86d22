/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Active and inactive nodes.
 *
 * The user of an inactive node may not write to it, and lets other processes
 * do everything: so a disk is handed over from one process to another, each
 * having it open all the time.  An active node has active children; a node
 * with an active parent is active.  Main thread, outside coroutines.
 */
#include "qemu/osdep.h"
#include "block-io.h"
#include "block-open.h"

bool bdrv_is_inactive(const BlockDriverState *bs)
{
    return bs->open_flags & BDRV_O_INACTIVE;
}

/*
 * The children of @bs, with references that go with the array: what is done to
 * one of them polls, and another may be taken from @bs meanwhile.
 */
static GPtrArray *bdrv_hold_children(BlockDriverState *bs)
{
    GPtrArray *nodes =
        g_ptr_array_new_with_free_func((GDestroyNotify)bdrv_unref);
    BdrvChild *c;

    QLIST_FOREACH(c, &bs->children, next) {
        bdrv_ref(c->bs);
        g_ptr_array_add(nodes, c->bs);
    }
    return nodes;
}

/* --- activating --- */

static int coroutine_fn bdrv_activate_entry(void *opaque)
{
    BlockDriverState *bs = opaque;

    return bdrv_co_refresh_size(bs);
}

static int bdrv_activate_parents(BlockDriverState *bs, Error **errp)
{
    BdrvChild *c;

    QLIST_FOREACH(c, &bs->parents, next_parent) {
        if (c->klass->activate) {
            int ret = c->klass->activate(c, errp);

            if (ret < 0) {
                return ret;
            }
        }
    }
    return 0;
}

static void bdrv_set_inactive(BlockDriverState *bs, bool inactive)
{
    bs->open_flags = (bs->open_flags & ~BDRV_O_INACTIVE) |
                     (inactive ? BDRV_O_INACTIVE : 0);
}

static int bdrv_set_inactive_perms(BlockDriverState *bs, bool inactive,
                                   Error **errp)
{
    int ret;

    bdrv_graph_wrlock();
    bdrv_set_inactive(bs, inactive);
    ret = bdrv_refresh_perms(bs, errp);
    if (ret < 0) {
        bdrv_set_inactive(bs, !inactive);
    }
    bdrv_graph_wrunlock();
    return ret;
}

/* Its children are active. */
static int bdrv_do_activate(BlockDriverState *bs, Error **errp)
{
    int ret;

    bdrv_drained_begin(bs);
    ret = bdrv_set_inactive_perms(bs, false, errp);
    if (ret == 0) {
        /* The other process may have changed it. */
        bdrv_status_forget(bs, 0, BDRV_MAX_LENGTH);
        ret = bdrv_run_co(bdrv_get_aio_context(bs), bdrv_activate_entry, bs);
        if (ret < 0) {
            error_setg_errno(errp, -ret, "Could not refresh total sector "
                             "count");
        }
    }
    if (ret == 0) {
        ret = bdrv_activate_parents(bs, errp);
    }
    if (ret < 0 && !bdrv_is_inactive(bs)) {
        bdrv_set_inactive_perms(bs, true, NULL);
    }
    bdrv_drained_end(bs);
    return ret;
}

int bdrv_activate(BlockDriverState *bs, Error **errp)
{
    g_autoptr(GPtrArray) children = NULL;
    int ret = 0;
    guint i;

    GLOBAL_STATE_CODE();
    if (!bs->drv) {
        error_setg(errp, "Node '%s' has no medium", bs->node_name);
        return -ENOMEDIUM;
    }
    bdrv_ref(bs);
    children = bdrv_hold_children(bs);
    for (i = 0; i < children->len && ret == 0; i++) {
        ret = bdrv_activate(g_ptr_array_index(children, i), errp);
    }
    if (ret == 0 && bdrv_is_inactive(bs)) {
        ret = bdrv_do_activate(bs, errp);
    }
    bdrv_unref(bs);
    return ret;
}

/* --- inactivating --- */

static bool bdrv_has_active_parent(BlockDriverState *bs)
{
    BdrvChild *c;

    QLIST_FOREACH(c, &bs->parents, next_parent) {
        if (c->klass->parent_is_bds && !bdrv_is_inactive(c->opaque)) {
            return true;
        }
    }
    return false;
}

static int bdrv_inactivate_parents(BlockDriverState *bs, Error **errp)
{
    BdrvChild *c;

    QLIST_FOREACH(c, &bs->parents, next_parent) {
        if (c->klass->parent_is_bds) {
            continue;
        }
        if (!c->klass->inactivate || c->klass->inactivate(c) < 0) {
            g_autofree char *user = bdrv_child_user_desc(c);

            error_setg(errp, "Node '%s' is in use by %s", bs->node_name,
                       user);
            return -EPERM;
        }
    }
    return 0;
}

/* Metadata in memory would be out of date once another process has written. */
bool bdrv_can_be_inactive(BlockDriverState *bs, Error **errp)
{
    BdrvChild *c;

    QLIST_FOREACH(c, &bs->children, next) {
        if (c->role & BDRV_CHILD_METADATA) {
            error_setg(errp, "Node '%s' cannot be inactive: driver '%s' keeps "
                       "metadata in memory", bs->node_name,
                       bs->drv->format_name);
            return false;
        }
    }
    return true;
}

static int bdrv_do_inactivate(BlockDriverState *bs, Error **errp)
{
    int ret = bdrv_is_writable(bs) ? bdrv_flush(bs) : 0;

    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not flush node '%s'",
                         bs->node_name);
        return ret;
    }
    ret = bdrv_inactivate_parents(bs, errp);
    if (ret == 0 && (bs->cumulative_perms &
                     (BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED))) {
        error_setg(errp, "Node '%s' is being written to", bs->node_name);
        ret = -EPERM;
    }
    if (ret == 0 && bs->drv->bdrv_inactivate) {
        ret = bs->drv->bdrv_inactivate(bs, errp);
    }
    if (ret == 0) {
        ret = bdrv_set_inactive_perms(bs, true, errp);
    }
    if (ret < 0) {
        bdrv_activate_parents(bs, NULL);
    }
    return ret;
}

/* Not an error for a child: others may have it active. */
static int bdrv_inactivate_recurse(BlockDriverState *bs, bool top,
                                   Error **errp)
{
    g_autoptr(GPtrArray) children = NULL;
    int ret = 0;
    guint i;

    if (!bs->drv) {
        error_setg(errp, "Node '%s' has no medium", bs->node_name);
        return -ENOMEDIUM;
    }
    if (bdrv_has_active_parent(bs)) {
        if (top) {
            error_setg(errp, "Node has active parent node");
        }
        return top ? -EPERM : 0;
    }
    if (!bdrv_can_be_inactive(bs, errp)) {
        return -ENOTSUP;
    }
    if (!bdrv_is_inactive(bs)) {
        bdrv_drained_begin(bs);
        ret = bdrv_do_inactivate(bs, errp);
        bdrv_drained_end(bs);
    }
    children = bdrv_hold_children(bs);
    for (i = 0; i < children->len && ret == 0; i++) {
        ret = bdrv_inactivate_recurse(g_ptr_array_index(children, i), false,
                                      errp);
    }
    return ret;
}

int bdrv_inactivate(BlockDriverState *bs, Error **errp)
{
    int ret;

    GLOBAL_STATE_CODE();
    bdrv_ref(bs);
    ret = bdrv_inactivate_recurse(bs, true, errp);
    bdrv_unref(bs);
    return ret;
}

/* --- all nodes --- */

static bool bdrv_has_node_parent(BlockDriverState *bs)
{
    BdrvChild *c;

    QLIST_FOREACH(c, &bs->parents, next_parent) {
        if (c->klass->parent_is_bds) {
            return true;
        }
    }
    return false;
}

int bdrv_activate_all(Error **errp)
{
    BlockDriverState *bs = NULL;
    int ret = 0;

    GLOBAL_STATE_CODE();
    while (ret == 0 && (bs = bdrv_next_node_ref(bs))) {
        ret = bdrv_activate(bs, errp);
    }
    bdrv_unref(bs);
    return ret;
}

int bdrv_inactivate_all(Error **errp)
{
    BlockDriverState *bs = NULL;
    int ret = 0;

    GLOBAL_STATE_CODE();
    /* Those at the top take the others along. */
    while (ret == 0 && (bs = bdrv_next_node_ref(bs))) {
        if (!bdrv_has_node_parent(bs)) {
            ret = bdrv_inactivate(bs, errp);
        }
    }
    bdrv_unref(bs);
    return ret;
}
