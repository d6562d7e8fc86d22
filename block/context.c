/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The home of nodes: the AioContext that their requests run in if nothing
 * else is said.
 *
 * A node has the home of its parents and children.  So it moves with all that
 * hold it and all that it holds, or not at all; a parent may refuse.  All
 * nodes are drained meanwhile: no request sees a home that changes.  Main
 * thread, outside coroutines, but for bdrv_get_aio_context() and
 * bdrv_co_enter(), by which a driver that is not made for several threads has
 * all its requests in its home.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "qemu/aio-wait.h"
#include "system/block-backend.h"

AioContext *bdrv_get_aio_context(BlockDriverState *bs)
{
    return bs ? qatomic_read(&bs->aio_context) : qemu_get_aio_context();
}

AioContext *coroutine_fn bdrv_co_enter(BlockDriverState *bs)
{
    AioContext *old_ctx = qemu_get_current_aio_context();

    /* The home does not change while this counts. */
    bdrv_inc_in_flight(bs);
    aio_co_reschedule_self(bdrv_get_aio_context(bs));
    return old_ctx;
}

void coroutine_fn bdrv_co_leave(BlockDriverState *bs, AioContext *old_ctx)
{
    aio_co_reschedule_self(old_ctx);
    bdrv_dec_in_flight(bs);
}

/* --- notifiers --- */

struct AioContextNotifier {
    void (*attached)(AioContext *new_context, void *opaque);
    void (*detach)(void *opaque);
    void *opaque;
    bool deleted;               /* while the list is walked */
    QLIST_ENTRY(AioContextNotifier) link;
};

void aio_context_notifiers_add(AioContextNotifierList *list,
                               void (*attached)(AioContext *new_context,
                                                void *opaque),
                               void (*detach)(void *opaque), void *opaque)
{
    AioContextNotifier *n = g_new0(AioContextNotifier, 1);

    n->attached = attached;
    n->detach = detach;
    n->opaque = opaque;
    QLIST_INSERT_HEAD(&list->head, n, link);
}

static void aio_context_notifiers_sweep(AioContextNotifierList *list)
{
    AioContextNotifier *n, *next;

    if (list->walking) {
        return;
    }
    QLIST_FOREACH_SAFE(n, &list->head, link, next) {
        if (n->deleted) {
            QLIST_REMOVE(n, link);
            g_free(n);
        }
    }
}

void aio_context_notifiers_remove(AioContextNotifierList *list,
                                  void (*attached)(AioContext *new_context,
                                                   void *opaque),
                                  void (*detach)(void *opaque), void *opaque)
{
    AioContextNotifier *n;

    QLIST_FOREACH(n, &list->head, link) {
        if (!n->deleted && n->attached == attached && n->detach == detach &&
            n->opaque == opaque) {
            n->deleted = true;
            aio_context_notifiers_sweep(list);
            return;
        }
    }
    g_assert_not_reached();
}

/* @ctx NULL: the old one is about to be left. */
void aio_context_notifiers_call(AioContextNotifierList *list, AioContext *ctx)
{
    AioContextNotifier *n;

    list->walking++;
    QLIST_FOREACH(n, &list->head, link) {
        if (n->deleted) {
            continue;
        }
        if (ctx) {
            n->attached(ctx, n->opaque);
        } else {
            n->detach(n->opaque);
        }
    }
    list->walking--;
    aio_context_notifiers_sweep(list);
}

void bdrv_add_aio_context_notifier(BlockDriverState *bs,
                                   void (*attached)(AioContext *new_context,
                                                    void *opaque),
                                   void (*detach)(void *opaque),
                                   void *opaque)
{
    GLOBAL_STATE_CODE();
    aio_context_notifiers_add(&bs->aio_notifiers, attached, detach, opaque);
}

void bdrv_remove_aio_context_notifier(BlockDriverState *bs,
                                      void (*attached)(AioContext *, void *),
                                      void (*detach)(void *), void *opaque)
{
    GLOBAL_STATE_CODE();
    aio_context_notifiers_remove(&bs->aio_notifiers, attached, detach,
                                 opaque);
}

/* --- moving --- */

typedef struct {
    BlockDriverState *bs;
    AioContext *ctx;
} BdrvMove;

static void bdrv_move_commit(void *opaque)
{
    BdrvMove *m = opaque;
    BlockDriverState *bs = m->bs;
    /* A driver that is opening has nothing yet that it could take along. */
    BlockDriver *drv = QTAILQ_IN_USE(bs, node_list) ? bs->drv : NULL;

    aio_context_notifiers_call(&bs->aio_notifiers, NULL);
    if (drv && drv->bdrv_detach_aio_context) {
        drv->bdrv_detach_aio_context(bs);
    }
    qatomic_set(&bs->aio_context, m->ctx);
    if (drv && drv->bdrv_attach_aio_context) {
        drv->bdrv_attach_aio_context(bs, m->ctx);
    }
    aio_context_notifiers_call(&bs->aio_notifiers, m->ctx);
}

static const TransactionActionDrv bdrv_move_drv = {
    .commit = bdrv_move_commit,
    .clean = g_free,
};

static bool bdrv_parent_change_aio_context(BdrvChild *c, AioContext *ctx,
                                           GHashTable *visited,
                                           Transaction *tran, Error **errp)
{
    if (!g_hash_table_add(visited, c)) {
        return true;
    }
    if (!c->klass->change_aio_ctx) {
        g_autofree char *user = bdrv_child_user_desc(c);

        error_setg(errp, "Changing iothreads is not supported by %s", user);
        return false;
    }
    return c->klass->change_aio_ctx(c, ctx, visited, tran, errp);
}

bool bdrv_change_aio_context(BlockDriverState *bs, AioContext *ctx,
                             GHashTable *visited, Transaction *tran,
                             Error **errp)
{
    BdrvMove *m;
    BdrvChild *c;

    if (bs->aio_context == ctx || !g_hash_table_add(visited, bs)) {
        return true;
    }
    QLIST_FOREACH(c, &bs->parents, next_parent) {
        if (!bdrv_parent_change_aio_context(c, ctx, visited, tran, errp)) {
            return false;
        }
    }
    QLIST_FOREACH(c, &bs->children, next) {
        if (g_hash_table_add(visited, c) &&
            !bdrv_change_aio_context(c->bs, ctx, visited, tran, errp)) {
            return false;
        }
    }
    m = g_new(BdrvMove, 1);
    m->bs = bs;
    m->ctx = ctx;
    tran_add(tran, &bdrv_move_drv, m);
    return true;
}

int bdrv_try_change_aio_context(BlockDriverState *bs, AioContext *ctx,
                                BdrvChild *ignore_child, Error **errp)
{
    g_autoptr(GHashTable) visited = NULL;
    Transaction *tran;
    int ret;

    GLOBAL_STATE_CODE();
    if (bs->aio_context == ctx) {
        return 0;
    }
    if (qemu_in_coroutine()) {
        error_setg(errp, "Node '%s' cannot move to another iothread now",
                   bs->node_name);
        return -EBUSY;
    }
    visited = g_hash_table_new(NULL, NULL);
    if (ignore_child) {
        g_hash_table_add(visited, ignore_child);
    }
    bdrv_drain_all_begin();
    tran = tran_new();
    ret = bdrv_change_aio_context(bs, ctx, visited, tran, errp) ? 0 : -EPERM;
    tran_finalize(tran, ret);
    bdrv_drain_all_end();
    return ret;
}

/* Let the parent of @c, whose child is to be @bs, move to the home of @bs. */
static int bdrv_move_parent(BdrvChild *c, AioContext *ctx, Error **errp)
{
    g_autoptr(GHashTable) visited = g_hash_table_new(NULL, NULL);
    Transaction *tran;
    int ret;

    if (qemu_in_coroutine()) {
        return -EBUSY;
    }
    bdrv_drain_all_begin();
    tran = tran_new();
    ret = bdrv_parent_change_aio_context(c, ctx, visited, tran, errp) ?
          0 : -EPERM;
    tran_finalize(tran, ret);
    bdrv_drain_all_end();
    return ret;
}

int bdrv_join_aio_context(BdrvHomes *old, BdrvChild *c, BlockDriverState *bs,
                          Error **errp)
{
    Error *local_err = NULL;

    old->edge = *c;
    old->bs = bs;
    old->parent_ctx = c->klass->get_parent_aio_context(c);
    old->bs_ctx = bdrv_get_aio_context(bs);
    if (old->bs_ctx == old->parent_ctx) {
        return 0;
    }
    if (bdrv_try_change_aio_context(bs, old->parent_ctx, NULL,
                                    &local_err) == 0) {
        return 0;
    }
    if (bdrv_move_parent(c, old->bs_ctx, NULL) == 0) {
        error_free(local_err);
        return 0;
    }
    error_propagate(errp, local_err);
    return -EPERM;
}

int bdrv_join_nodes(BdrvHomes *old, BlockDriverState *parent,
                    BlockDriverState *child, Error **errp)
{
    BdrvChild c = { .klass = &child_of_bds, .opaque = parent };

    return bdrv_join_aio_context(old, &c, child, errp);
}

void bdrv_join_undo(BdrvHomes *old)
{
    BdrvChild *c = &old->edge;

    if (bdrv_get_aio_context(old->bs) != old->bs_ctx) {
        bdrv_try_change_aio_context(old->bs, old->bs_ctx, NULL, NULL);
    } else if (c->klass->get_parent_aio_context(c) != old->parent_ctx) {
        bdrv_move_parent(c, old->parent_ctx, NULL);
    }
}

bool bdrv_aio_context_in_use(AioContext *ctx)
{
    BlockDriverState *bs;
    BlockBackend *blk;

    GLOBAL_STATE_CODE();
    for (bs = bdrv_next_node(NULL); bs; bs = bdrv_next_node(bs)) {
        if (bs->aio_context == ctx) {
            return true;
        }
    }
    for (blk = blk_all_next(NULL); blk; blk = blk_all_next(blk)) {
        if (blk_get_aio_context(blk) == ctx) {
            return true;
        }
    }
    return false;
}

/* A user is a parent that is no node. */
static bool bdrv_has_user(BlockDriverState *bs)
{
    BdrvChild *c;

    QLIST_FOREACH(c, &bs->parents, next_parent) {
        if (!c->klass->parent_is_bds) {
            return true;
        }
    }
    return false;
}

/* The first node that is at home in @ctx; with a user, if @used. */
static BlockDriverState *bdrv_first_at_home(AioContext *ctx, bool used)
{
    BlockDriverState *bs = bdrv_next_node(NULL);

    while (bs && (bs->aio_context != ctx || (used && !bdrv_has_user(bs)))) {
        bs = bdrv_next_node(bs);
    }
    return bs;
}

bool bdrv_vacate_aio_context(AioContext *ctx)
{
    BlockDriverState *bs;
    int ret = 0;

    GLOBAL_STATE_CODE();
    if (bdrv_first_at_home(ctx, true)) {
        return false;
    }
    while (ret == 0 && (bs = bdrv_first_at_home(ctx, false))) {
        bdrv_ref(bs);
        ret = bdrv_try_change_aio_context(bs, qemu_get_aio_context(), NULL,
                                          NULL);
        bdrv_unref(bs);
    }
    return !bdrv_aio_context_in_use(ctx);
}
