/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The edges of the graph: a parent holds a node.
 *
 * An edge has a reference to its node.  It moves only in the main thread, with
 * the graph lock held for writing, and while its parent is quiesced and has no
 * requests: the callers drain the nodes concerned before they take the lock.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "block/dirty-bitmap.h"
#include "block/graph-lock.h"
#include "qemu/aio-wait.h"

/* --- nodes as parents --- */

static char *child_of_bds_get_parent_desc(BdrvChild *c)
{
    BlockDriverState *parent = c->opaque;

    return g_strdup_printf("node '%s'", bdrv_get_node_name(parent));
}

static void child_of_bds_drained_begin(BdrvChild *c)
{
    bdrv_quiesce(c->opaque);
}

static bool child_of_bds_drained_poll(BdrvChild *c)
{
    return bdrv_drain_poll(c->opaque);
}

static void child_of_bds_drained_end(BdrvChild *c)
{
    bdrv_unquiesce(c->opaque);
}

/* A filter is as long as its child, unless its driver says otherwise. */
static void GRAPH_UNCHECKED child_of_bds_resize(BdrvChild *c)
{
    BlockDriverState *parent = c->opaque;
    int64_t sectors = qatomic_read(&c->bs->total_sectors);

    if (!(c->role & BDRV_CHILD_PRIMARY) || !parent->drv) {
        return;
    }
    if (parent->drv->bdrv_length_by_child) {
        sectors = DIV_ROUND_UP(parent->drv->bdrv_length_by_child(
                                   parent, sectors * BDRV_SECTOR_SIZE),
                               (int64_t)BDRV_SECTOR_SIZE);
    } else if (!(c->role & BDRV_CHILD_FILTERED)) {
        return;
    }
    if (qatomic_xchg(&parent->total_sectors, sectors) != sectors) {
        bdrv_dirty_bitmap_truncate(parent);
        bdrv_do_parent_cb_resize(parent);
    }
}

static bool child_of_bds_change_aio_ctx(BdrvChild *c, AioContext *ctx,
                                        GHashTable *visited,
                                        Transaction *tran, Error **errp)
{
    return bdrv_change_aio_context(c->opaque, ctx, visited, tran, errp);
}

static AioContext *child_of_bds_get_parent_aio_context(BdrvChild *c)
{
    return bdrv_get_aio_context(c->opaque);
}

const BdrvChildClass child_of_bds = {
    .parent_is_bds = true,
    .get_parent_desc = child_of_bds_get_parent_desc,
    .drained_begin = child_of_bds_drained_begin,
    .drained_poll = child_of_bds_drained_poll,
    .drained_end = child_of_bds_drained_end,
    .resize = child_of_bds_resize,
    .change_aio_ctx = child_of_bds_change_aio_ctx,
    .get_parent_aio_context = child_of_bds_get_parent_aio_context,
};

char *bdrv_child_user_desc(BdrvChild *child)
{
    return child->klass->get_parent_desc(child);
}

/* --- the list of a node's children --- */

/* The member of @parent that is for @c; NULL if there is none. */
static BdrvChild **bdrv_child_slot(BlockDriverState *parent,
                                   const BdrvChild *c)
{
    if (c->role & BDRV_CHILD_COW) {
        return &parent->backing;
    }
    if (c->role & (BDRV_CHILD_PRIMARY | BDRV_CHILD_FILTERED)) {
        return parent->drv && parent->drv->is_filter &&
               parent->drv->filtered_child_is_backing ?
               &parent->backing : &parent->file;
    }
    return NULL;
}

/* In the order in which they came: "extents.0", "extents.1", ... */
static void bdrv_link_child(BlockDriverState *parent, BdrvChild *c)
{
    BdrvChild **slot = bdrv_child_slot(parent, c);
    BdrvChild *it, *last = NULL;

    QLIST_FOREACH(it, &parent->children, next) {
        last = it;
    }
    if (last) {
        QLIST_INSERT_AFTER(last, c, next);
    } else {
        QLIST_INSERT_HEAD(&parent->children, c, next);
    }
    if (slot) {
        assert(!*slot);
        *slot = c;
    }
}

static void bdrv_unlink_child(BlockDriverState *parent, BdrvChild *c)
{
    QLIST_REMOVE(c, next);
    if (parent->file == c) {
        parent->file = NULL;
    }
    if (parent->backing == c) {
        parent->backing = NULL;
    }
}

/* --- moving edges --- */

/* References are the caller's business. */
static void GRAPH_WRLOCK bdrv_child_set_bs(BdrvChild *c,
                                           BlockDriverState *new_bs)
{
    BlockDriverState *old_bs = c->bs;
    bool untold = old_bs && bdrv_child_has_flush_error(c);

    bdrv_graph_assert_writable();
    assert(!c->frozen && old_bs != new_bs);
    if (old_bs) {
        if (c->klass->detach) {
            c->klass->detach(c);
        }
        QLIST_REMOVE(c, next_parent);
        if (!new_bs && c->klass->parent_is_bds) {
            bdrv_unlink_child(c->opaque, c);
        }
    }
    c->bs = new_bs;
    if (new_bs) {
        QLIST_INSERT_HEAD(&new_bs->parents, c, next_parent);
        bdrv_child_init_flush_errors(c, untold);
        if (!old_bs && c->klass->parent_is_bds) {
            bdrv_link_child(c->opaque, c);
        }
        if (c->klass->attach) {
            c->klass->attach(c);
        }
    }
}

/* The parent is quiesced if, and only if, the node is drained. */
static void bdrv_child_update_drain(BdrvChild *c)
{
    if (c->bs && c->bs->quiesce_counter) {
        bdrv_parent_drained_begin_single(c);
    } else {
        bdrv_parent_drained_end_single(c);
    }
}

static BdrvChild *bdrv_child_new(const char *name,
                                 const BdrvChildClass *klass,
                                 BdrvChildRole role, void *opaque)
{
    BdrvChild *c = g_new0(BdrvChild, 1);

    c->name = g_strdup(name);
    c->klass = klass;
    c->role = role;
    c->opaque = opaque;
    c->shared_perm = BLK_PERM_ALL;
    return c;
}

static void bdrv_child_free(BdrvChild *c)
{
    assert(!c->bs && !c->quiesced_parent);
    g_free(c->name);
    g_free(c);
}

/* --- steps of a transaction --- */

static void GRAPH_UNCHECKED bdrv_attach_child_abort(void *opaque)
{
    BdrvChild *c = opaque;
    BlockDriverState *bs = c->bs;

    bdrv_child_set_bs(c, NULL);
    bdrv_child_update_drain(c);
    bdrv_child_free(c);
    bdrv_schedule_unref(bs);
}

static const TransactionActionDrv bdrv_attach_child_drv = {
    .abort = bdrv_attach_child_abort,
};

/* Is @wanted @bs or a node above it? */
static bool bdrv_is_above(BlockDriverState *bs, BlockDriverState *wanted)
{
    BdrvChild *c;

    if (bs == wanted) {
        return true;
    }
    QLIST_FOREACH(c, &bs->parents, next_parent) {
        if (c->klass->parent_is_bds && bdrv_is_above(c->opaque, wanted)) {
            return true;
        }
    }
    return false;
}

bool bdrv_check_cycle(BlockDriverState *parent, BlockDriverState *child,
                      const char *name, Error **errp)
{
    if (bdrv_is_above(parent, child)) {
        error_setg(errp, "Making '%s' a %s child of '%s' would create a "
                   "cycle", child->node_name, name, parent->node_name);
        return false;
    }
    return true;
}

BdrvChild *bdrv_attach_child_noperm(BlockDriverState *parent,
                                    BlockDriverState *child_bs,
                                    const char *name,
                                    const BdrvChildClass *klass,
                                    BdrvChildRole role, Transaction *tran,
                                    Error **errp)
{
    BdrvChild *c;

    assert(klass->parent_is_bds);
    if (!bdrv_check_cycle(parent, child_bs, name, errp)) {
        return NULL;
    }
    if (bdrv_is_inactive(child_bs) && !bdrv_is_inactive(parent)) {
        error_setg(errp, "Inactive '%s' can't be a %s child of active '%s'",
                   child_bs->node_name, name, parent->node_name);
        return NULL;
    }
    c = bdrv_child_new(name, klass, role, parent);
    bdrv_ref(child_bs);
    bdrv_child_set_bs(c, child_bs);
    bdrv_child_update_drain(c);
    tran_add(tran, &bdrv_attach_child_drv, c);
    return c;
}

typedef struct {
    BdrvChild *child;
    BlockDriverState *old_bs;   /* with the reference of the edge */
} BdrvMovedChild;

static void GRAPH_UNCHECKED bdrv_moved_child_commit(void *opaque)
{
    BdrvMovedChild *m = opaque;

    if (!m->child->bs) {
        bdrv_child_update_drain(m->child);
        bdrv_child_free(m->child);
    }
    bdrv_schedule_unref(m->old_bs);
}

static void GRAPH_UNCHECKED bdrv_moved_child_abort(void *opaque)
{
    BdrvMovedChild *m = opaque;
    BlockDriverState *new_bs = m->child->bs;

    bdrv_child_set_bs(m->child, m->old_bs);
    bdrv_child_update_drain(m->child);
    if (new_bs) {
        bdrv_schedule_unref(new_bs);
    }
}

static const TransactionActionDrv bdrv_moved_child_drv = {
    .commit = bdrv_moved_child_commit,
    .abort = bdrv_moved_child_abort,
    .clean = g_free,
};

static void GRAPH_WRLOCK bdrv_move_child(BdrvChild *child,
                                         BlockDriverState *new_bs,
                                         Transaction *tran)
{
    BdrvMovedChild *m = g_new(BdrvMovedChild, 1);

    m->child = child;
    m->old_bs = child->bs;
    if (new_bs) {
        bdrv_ref(new_bs);
    }
    bdrv_child_set_bs(child, new_bs);
    if (new_bs) {
        bdrv_child_update_drain(child);
    }
    tran_add(tran, &bdrv_moved_child_drv, m);
}

void bdrv_replace_child_tran(BdrvChild *child, BlockDriverState *new_bs,
                             Transaction *tran)
{
    assert(new_bs);
    bdrv_move_child(child, new_bs, tran);
}

void bdrv_remove_child_tran(BdrvChild *child, Transaction *tran)
{
    bdrv_move_child(child, NULL, tran);
}

/* --- single edges --- */

BdrvChild *bdrv_attach_child(BlockDriverState *parent,
                             BlockDriverState *child_bs, const char *name,
                             const BdrvChildClass *klass, BdrvChildRole role,
                             Error **errp)
{
    BlockDriverState *nodes[] = { parent, NULL };
    Transaction *tran;
    BdrvHomes old;
    BdrvChild *c;
    int ret;

    GLOBAL_STATE_CODE();
    ret = bdrv_join_nodes(&old, parent, child_bs, errp);
    if (ret < 0) {
        bdrv_unref(child_bs);
        return NULL;
    }
    ret = -EINVAL;
    bdrv_quiesce(parent);
    if (!qemu_in_coroutine()) {
        AIO_WAIT_WHILE(NULL, bdrv_drain_poll(parent));
    }
    bdrv_graph_wrlock();
    tran = tran_new();
    c = bdrv_attach_child_noperm(parent, child_bs, name, klass, role, tran,
                                 errp);
    if (c) {
        ret = bdrv_list_refresh_perms(nodes, tran, errp);
    }
    tran_finalize(tran, ret);
    bdrv_graph_wrunlock();
    bdrv_unquiesce(parent);
    if (ret < 0) {
        bdrv_join_undo(&old);
    }
    bdrv_unref(child_bs);
    return ret < 0 ? NULL : c;
}

/* @c is off its node; let its parent go on, and drop the reference. */
static void bdrv_child_finish(BdrvChild *c, BlockDriverState *old_bs)
{
    bdrv_child_update_drain(c);
    bdrv_child_free(c);
    bdrv_unref(old_bs);
}

static void bdrv_detach_child(BdrvChild *c)
{
    BlockDriverState *bs = c->bs;

    GLOBAL_STATE_CODE();
    bdrv_graph_wrlock();
    bdrv_child_set_bs(c, NULL);
    /* Less is wanted now: that cannot fail. */
    bdrv_refresh_perms(bs, NULL);
    bdrv_graph_wrunlock();
    bdrv_child_finish(c, bs);
}

void bdrv_unref_child(BlockDriverState *parent, BdrvChild *child)
{
    if (child) {
        assert(child->klass->parent_is_bds && child->opaque == parent);
        bdrv_detach_child(child);
    }
}

BdrvChild *bdrv_root_attach_child(BlockDriverState *child_bs,
                                  const char *name,
                                  const BdrvChildClass *klass,
                                  BdrvChildRole role, uint64_t perm,
                                  uint64_t shared, void *opaque,
                                  Error **errp)
{
    BdrvChild *c = bdrv_child_new(name, klass, role, opaque);
    BdrvHomes old;
    int ret;

    GLOBAL_STATE_CODE();
    assert(!klass->parent_is_bds);
    if (bdrv_join_aio_context(&old, c, child_bs, errp) < 0) {
        bdrv_child_finish(c, child_bs);
        return NULL;
    }
    if (child_bs->quiesce_counter) {
        bdrv_parent_drained_begin_single(c);
        if (!qemu_in_coroutine()) {
            AIO_WAIT_WHILE(NULL, bdrv_parent_drained_poll_single(c));
        }
    }
    bdrv_graph_wrlock();
    bdrv_child_set_bs(c, child_bs);
    ret = bdrv_child_try_set_perm(c, perm, shared, errp);
    if (ret < 0) {
        bdrv_child_set_bs(c, NULL);
    }
    bdrv_graph_wrunlock();
    if (ret < 0) {
        bdrv_join_undo(&old);
        bdrv_child_finish(c, child_bs);
        return NULL;
    }
    bdrv_child_update_drain(c);
    return c;
}

void bdrv_root_unref_child(BdrvChild *child)
{
    assert(!child->klass->parent_is_bds);
    bdrv_detach_child(child);
}
