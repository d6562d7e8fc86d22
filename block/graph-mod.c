/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changes of the graph: nodes put in, taken out, and replaced.
 *
 * Each change drains the nodes concerned first, which may poll; then takes the
 * graph lock, moves edges and asks for permissions, which does not; and then
 * lets the nodes go on.
 */
#include "qemu/osdep.h"
#include "block-open.h"
#include "block/block_int.h"

/* Drain @a and @b, either of which may be NULL, and keep them alive. */
static void bdrv_change_begin(BlockDriverState *a, BlockDriverState *b)
{
    GLOBAL_STATE_CODE();
    /* Both before the first poll: a job that ends then may drop @b. */
    if (a) {
        bdrv_ref(a);
    }
    if (b) {
        bdrv_ref(b);
    }
    if (a) {
        bdrv_drained_begin(a);
    }
    if (b) {
        bdrv_drained_begin(b);
    }
}

static void bdrv_change_end(BlockDriverState *a, BlockDriverState *b)
{
    if (b) {
        bdrv_drained_end(b);
        bdrv_unref(b);
    }
    if (a) {
        bdrv_drained_end(a);
        bdrv_unref(a);
    }
}

/*
 * @bs is to have the users of @of: it moves to their home.  *@old is where it
 * was, for bdrv_go_home() if nothing comes of it.
 */
static int bdrv_join_home_of(BlockDriverState *of, BlockDriverState *bs,
                             AioContext **old, Error **errp)
{
    *old = bdrv_get_aio_context(bs);
    return bdrv_try_change_aio_context(bs, bdrv_get_aio_context(of), NULL,
                                       errp);
}

static void bdrv_go_home(BlockDriverState *bs, AioContext *old)
{
    bdrv_try_change_aio_context(bs, old, NULL, NULL);
}

void bdrv_refresh_limits_above(BlockDriverState *bs)
{
    BdrvChild *c;

    bdrv_refresh_limits(bs, NULL);
    bdrv_refresh_filename(bs);
    QLIST_FOREACH(c, &bs->parents, next_parent) {
        if (c->klass->parent_is_bds) {
            bdrv_refresh_limits_above(c->opaque);
        }
    }
}

/* Add @bs and all nodes below it to @set. */
static void bdrv_collect_below(BlockDriverState *bs, GHashTable *set)
{
    BdrvChild *c;

    if (g_hash_table_add(set, bs)) {
        QLIST_FOREACH(c, &bs->children, next) {
            bdrv_collect_below(c->bs, set);
        }
    }
}

/*
 * Edges of the nodes in @below stay, or there would be a circle; so do those
 * whose parents are about that very node.
 */
static bool bdrv_should_move(const BdrvChild *c, GHashTable *below)
{
    return !c->klass->stay_at_node &&
           !(c->klass->parent_is_bds &&
             g_hash_table_contains(below, c->opaque));
}

static int GRAPH_WRLOCK bdrv_replace_node_noperm(BlockDriverState *from,
                                                 BlockDriverState *to,
                                                 Transaction *tran,
                                                 Error **errp)
{
    g_autoptr(GHashTable) below = g_hash_table_new(NULL, NULL);
    BdrvChild *c, *next;

    bdrv_collect_below(to, below);
    QLIST_FOREACH(c, &from->parents, next_parent) {
        if (bdrv_should_move(c, below) && c->frozen) {
            error_setg(errp, "Cannot change '%s' link to '%s'", c->name,
                       from->node_name);
            return -EPERM;
        }
    }
    QLIST_FOREACH_SAFE(c, &from->parents, next_parent, next) {
        if (bdrv_should_move(c, below)) {
            bdrv_replace_child_tran(c, to, tran);
        }
    }
    return 0;
}

/* The edge of the chain of @top that leads to @bs; NULL if there is none. */
static BdrvChild *bdrv_chain_edge_to(BlockDriverState *top,
                                     BlockDriverState *bs)
{
    BdrvChild *c;

    while ((c = bdrv_filter_or_cow_child(top)) && c->bs != bs) {
        top = c->bs;
    }
    return c;
}

/* @detach: @from loses its link to @to, which is below it in its chain. */
static int bdrv_replace_node_common(BlockDriverState *from,
                                    BlockDriverState *to, bool detach,
                                    Error **errp)
{
    BlockDriverState *nodes[] = { to, from, NULL };
    BdrvChild *link = NULL;
    AioContext *old_ctx;
    Transaction *tran;
    int ret;

    ret = bdrv_join_home_of(from, to, &old_ctx, errp);
    if (ret < 0) {
        return ret;
    }
    bdrv_change_begin(from, to);
    bdrv_graph_wrlock();
    tran = tran_new();
    if (detach) {
        link = bdrv_chain_edge_to(from, to);
        assert(link);
        if (bdrv_child_has_flush_error(link)) {
            /* Its parents have not been told: they take it along. */
            bdrv_note_flush_error(from, -EIO);
        }
    }
    if (link && link->frozen) {
        error_setg(errp, "Cannot change '%s' link to '%s'", link->name,
                   to->node_name);
        ret = -EPERM;
    } else {
        ret = bdrv_replace_node_noperm(from, to, tran, errp);
    }
    if (ret == 0 && link) {
        bdrv_remove_child_tran(link, tran);
    }
    if (ret == 0) {
        ret = bdrv_list_refresh_perms(nodes, tran, errp);
    }
    tran_finalize(tran, ret);
    if (ret == 0) {
        bdrv_refresh_limits_above(to);
    }
    if (ret == 0 && from->total_sectors != to->total_sectors) {
        /* A base that is longer, or a server's disk that has changed. */
        bdrv_do_parent_cb_resize(to);
    }
    bdrv_graph_wrunlock();
    bdrv_change_end(from, to);
    if (ret < 0) {
        bdrv_go_home(to, old_ctx);
    }
    return ret;
}

int bdrv_replace_node(BlockDriverState *from, BlockDriverState *to,
                      Error **errp)
{
    return bdrv_replace_node_common(from, to, false, errp);
}

int bdrv_drop_filter(BlockDriverState *bs, Error **errp)
{
    BlockDriverState *child = NULL, *now;
    int ret;

    /*
     * Draining polls, and a job that ends meanwhile may take out the filter
     * below: until the child is still the child when both are drained.
     */
    bdrv_change_begin(bs, NULL);
    while ((now = bdrv_filter_bs(bs)) != child) {
        assert(now);
        bdrv_change_end(child, NULL);
        child = now;
        bdrv_change_begin(child, NULL);
    }
    ret = bdrv_replace_node_common(bs, child, true, errp);
    bdrv_change_end(bs, child);
    return ret;
}

static BdrvChildRole bdrv_backing_role(const BlockDriverState *bs)
{
    return bs->drv->is_filter ? BDRV_CHILD_FILTERED | BDRV_CHILD_PRIMARY :
           BDRV_CHILD_COW;
}

/* The child of @bs by which bdrv_append() hangs the old top node. */
static const char *bdrv_append_name(const BlockDriverState *bs)
{
    return bs->drv->is_filter && !bs->drv->filtered_child_is_backing ?
           "file" : "backing";
}

int bdrv_append(BlockDriverState *bs_new, BlockDriverState *bs_top,
                Error **errp)
{
    BlockDriverState *nodes[] = { bs_new, NULL };
    AioContext *old_ctx;
    Transaction *tran;
    int ret = -EINVAL;

    assert(!bs_new->backing);
    if (bdrv_join_home_of(bs_top, bs_new, &old_ctx, errp) < 0) {
        return -EPERM;
    }
    bdrv_change_begin(bs_new, bs_top);
    bdrv_graph_wrlock();
    tran = tran_new();
    if (bdrv_attach_child_noperm(bs_new, bs_top, bdrv_append_name(bs_new),
                                 &child_of_bds, bdrv_backing_role(bs_new),
                                 tran, errp)) {
        ret = bdrv_replace_node_noperm(bs_top, bs_new, tran, errp);
    }
    if (ret == 0) {
        ret = bdrv_list_refresh_perms(nodes, tran, errp);
    }
    tran_finalize(tran, ret);
    if (ret == 0) {
        if (bs_new->drv->is_filter && !bs_new->drv->bdrv_co_getlength) {
            qatomic_set(&bs_new->total_sectors,
                        qatomic_read(&bs_top->total_sectors));
        }
        bdrv_refresh_limits_above(bs_new);
    }
    bdrv_graph_wrunlock();
    bdrv_change_end(bs_new, bs_top);
    if (ret < 0) {
        bdrv_go_home(bs_new, old_ctx);
    }
    return ret;
}

BlockDriverState *bdrv_insert_node(BlockDriverState *bs, QOpts *options,
                                   int flags, Error **errp)
{
    g_autoptr(QOpts) opts = options;
    g_autofree char *drvname = NULL;
    g_autofree char *node_name = NULL;
    BlockDriverState *new_bs;
    BlockDriver *drv;

    GLOBAL_STATE_CODE();
    if (!qopts_take_str(opts, "driver", NULL, &drvname, errp) ||
        !qopts_take_str(opts, "node-name", NULL, &node_name, errp)) {
        return NULL;
    }
    if (!drvname) {
        error_setg(errp, "driver is not specified");
        return NULL;
    }
    drv = bdrv_find_format(drvname);
    if (!drv) {
        error_setg(errp, "Unknown driver: '%s'", drvname);
        return NULL;
    }
    new_bs = bdrv_new_open_driver_opts(drv, node_name, g_steal_pointer(&opts),
                                       flags, errp);
    if (!new_bs) {
        error_prepend(errp, "Could not create node: ");
        return NULL;
    }
    if (bdrv_replace_node(bs, new_bs, errp) < 0) {
        error_prepend(errp, "Could not replace node: ");
        bdrv_unref(new_bs);
        return NULL;
    }
    return new_bs;
}

int bdrv_replace_child_bs(BdrvChild *child, BlockDriverState *new_bs,
                          Error **errp)
{
    BlockDriverState *old_bs = child->bs;
    BlockDriverState *nodes[] = { new_bs, old_bs, NULL };
    AioContext *old_ctx;
    Transaction *tran;
    int ret;

    if (old_bs == new_bs) {
        return 0;
    }
    if (child->frozen) {
        error_setg(errp, "Cannot change '%s' link to '%s'", child->name,
                   old_bs->node_name);
        return -EPERM;
    }
    if (child->klass->parent_is_bds &&
        !bdrv_check_cycle(child->opaque, new_bs, child->name, errp)) {
        return -EINVAL;
    }
    ret = bdrv_join_home_of(old_bs, new_bs, &old_ctx, errp);
    if (ret < 0) {
        return ret;
    }
    bdrv_change_begin(old_bs, new_bs);
    bdrv_graph_wrlock();
    tran = tran_new();
    bdrv_replace_child_tran(child, new_bs, tran);
    ret = bdrv_list_refresh_perms(nodes, tran, errp);
    tran_finalize(tran, ret);
    if (ret == 0 && child->klass->parent_is_bds) {
        bdrv_refresh_limits_above(child->opaque);
    }
    bdrv_graph_wrunlock();
    bdrv_change_end(old_bs, new_bs);
    if (ret < 0) {
        bdrv_go_home(new_bs, old_ctx);
    }
    return ret;
}

int bdrv_set_file_or_backing_noperm(BlockDriverState *parent,
                                    BlockDriverState *child, bool is_backing,
                                    Transaction *tran, Error **errp)
{
    BdrvChild *c = is_backing ? parent->backing : parent->file;
    const char *name = is_backing ? "backing" : "file";

    if (child_bs(c) == child) {
        return 0;
    }
    if (c && c->frozen) {
        error_setg(errp, "Cannot change frozen '%s' link from '%s' to '%s'",
                   name, parent->node_name, c->bs->node_name);
        return -EPERM;
    }
    if (is_backing && child && !parent->drv->is_filter &&
        !parent->drv->supports_backing) {
        error_setg(errp, "Driver '%s' of node '%s' does not support backing "
                   "files", parent->drv->format_name, parent->node_name);
        return -EINVAL;
    }
    if (!child) {
        bdrv_remove_child_tran(c, tran);
        return 0;
    }
    if (!c) {
        return bdrv_attach_child_noperm(parent, child, name, &child_of_bds,
                                        bdrv_backing_role(parent), tran,
                                        errp) ? 0 : -EINVAL;
    }
    if (!bdrv_check_cycle(parent, child, name, errp)) {
        return -EINVAL;
    }
    bdrv_replace_child_tran(c, child, tran);
    return 0;
}

int bdrv_set_backing_hd(BlockDriverState *bs, BlockDriverState *backing_hd,
                        Error **errp)
{
    BlockDriverState *old = child_bs(bs->backing);
    BlockDriverState *nodes[] = { bs, old, NULL };
    Transaction *tran;
    BdrvHomes homes;
    int ret;

    if (backing_hd && bdrv_join_nodes(&homes, bs, backing_hd, errp) < 0) {
        return -EPERM;
    }
    bdrv_change_begin(bs, backing_hd);
    bdrv_graph_wrlock();
    tran = tran_new();
    ret = bdrv_set_file_or_backing_noperm(bs, backing_hd, true, tran, errp);
    if (ret == 0) {
        ret = bdrv_list_refresh_perms(nodes, tran, errp);
    }
    tran_finalize(tran, ret);
    if (ret == 0) {
        bdrv_refresh_limits_above(bs);
    }
    bdrv_graph_wrunlock();
    bdrv_change_end(bs, backing_hd);
    if (ret < 0 && backing_hd) {
        bdrv_join_undo(&homes);
    }
    return ret;
}

/* --- lists of children --- */

/* The children of @bs, which is drained, have changed, or not. */
static void bdrv_list_change_end(BlockDriverState *bs)
{
    bdrv_graph_wrlock();
    bdrv_refresh_limits_above(bs);
    bdrv_graph_wrunlock();
    bdrv_change_end(bs, NULL);
}

void bdrv_add_child(BlockDriverState *parent, BlockDriverState *child_bs,
                    Error **errp)
{
    if (!parent->drv->bdrv_add_child) {
        error_setg(errp, "The node %s does not support adding a child",
                   bdrv_get_device_or_node_name(parent));
        return;
    }
    if (!QLIST_EMPTY(&child_bs->parents)) {
        error_setg(errp, "The node %s already has a parent",
                   child_bs->node_name);
        return;
    }
    bdrv_change_begin(parent, NULL);
    parent->drv->bdrv_add_child(parent, child_bs, errp);
    bdrv_list_change_end(parent);
}

void bdrv_del_child(BlockDriverState *parent, BdrvChild *child, Error **errp)
{
    if (!parent->drv->bdrv_del_child) {
        error_setg(errp, "The node %s does not support removing a child",
                   bdrv_get_device_or_node_name(parent));
        return;
    }
    bdrv_change_begin(parent, NULL);
    parent->drv->bdrv_del_child(parent, child, errp);
    bdrv_list_change_end(parent);
}
