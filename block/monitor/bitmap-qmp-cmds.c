/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The QMP commands for dirty bitmaps, alone and as actions of transactions.
 */
#include "qemu/osdep.h"
#include "block-qmp.h"
#include "block/block_int.h"
#include "block/dirty-bitmap.h"
#include "qapi/qapi-commands-block-bitmap.h"

BdrvDirtyBitmap *block_dirty_bitmap_lookup(const char *node, const char *name,
                                           BlockDriverState **pbs,
                                           Error **errp)
{
    BlockDriverState *bs = bdrv_find_node(node);
    BdrvDirtyBitmap *bitmap;

    if (!bs) {
        error_setg(errp, "Node '%s' not found", node);
        return NULL;
    }
    bitmap = bdrv_find_dirty_bitmap(bs, name);
    if (!bitmap) {
        error_setg(errp, "Dirty bitmap '%s' not found", name);
        return NULL;
    }
    if (pbs) {
        *pbs = bs;
    }
    return bitmap;
}

/* --- steps of a Transaction --- */

typedef struct {
    BdrvDirtyBitmap *bitmap;
    HBitmap *backup;            /* what it was */
    bool was_enabled;
} BitmapStep;

static void bitmap_add_abort(void *opaque)
{
    BitmapStep *step = opaque;

    bdrv_release_dirty_bitmap(step->bitmap);
}

static const TransactionActionDrv bitmap_add_drv = {
    .abort = bitmap_add_abort,
    .clean = g_free,
};

void block_dirty_bitmap_add_action(const BlockDirtyBitmapAdd *a,
                                   Transaction *tran, Error **errp)
{
    BlockDriverState *bs = block_qmp_node(a->node, errp);
    uint32_t granularity = a->granularity;
    BitmapStep *step;

    if (!bs) {
        return;
    }
    if (!*a->name) {
        error_setg(errp, "Bitmap name cannot be empty");
        return;
    }
    if (!a->has_granularity) {
        granularity = bdrv_get_default_bitmap_granularity(bs);
    } else if (granularity < BDRV_BITMAP_MIN_GRANULARITY ||
               !is_power_of_2(granularity)) {
        error_setg(errp, "Granularity must be power of 2 and at least 512");
        return;
    }
    if (a->has_persistent && a->persistent) {
        /* No format of this tree stores bitmaps. */
        error_setg(errp, "Can't store persistent bitmaps to %s: Operation not "
                   "supported", a->node);
        return;
    }
    step = g_new0(BitmapStep, 1);
    step->bitmap = bdrv_create_dirty_bitmap(bs, granularity, a->name, errp);
    if (!step->bitmap) {
        g_free(step);
        return;
    }
    if (a->has_disabled && a->disabled) {
        bdrv_disable_dirty_bitmap(step->bitmap);
    }
    tran_add(tran, &bitmap_add_drv, step);
}

static void bitmap_restore_abort(void *opaque)
{
    BitmapStep *step = opaque;

    bdrv_restore_dirty_bitmap(step->bitmap, g_steal_pointer(&step->backup));
}

static void bitmap_step_clean(void *opaque)
{
    BitmapStep *step = opaque;

    hbitmap_free(step->backup);
    g_free(step);
}

static const TransactionActionDrv bitmap_restore_drv = {
    .abort = bitmap_restore_abort,
    .clean = bitmap_step_clean,
};

static BdrvDirtyBitmap *bitmap_usable(const char *node, const char *name,
                                      Error **errp)
{
    BdrvDirtyBitmap *bitmap = block_dirty_bitmap_lookup(node, name, NULL,
                                                        errp);

    if (bitmap && bdrv_dirty_bitmap_check(bitmap, BDRV_BITMAP_DEFAULT,
                                          errp) < 0) {
        return NULL;
    }
    return bitmap;
}

void block_dirty_bitmap_clear_action(const BlockDirtyBitmap *a,
                                     Transaction *tran, Error **errp)
{
    BdrvDirtyBitmap *bitmap = bitmap_usable(a->node, a->name, errp);
    BitmapStep *step;

    if (bitmap) {
        step = g_new0(BitmapStep, 1);
        step->bitmap = bitmap;
        bdrv_clear_dirty_bitmap(bitmap, &step->backup);
        tran_add(tran, &bitmap_restore_drv, step);
    }
}

static void bitmap_enable_abort(void *opaque)
{
    BitmapStep *step = opaque;

    if (step->was_enabled) {
        bdrv_enable_dirty_bitmap(step->bitmap);
    } else {
        bdrv_disable_dirty_bitmap(step->bitmap);
    }
}

static const TransactionActionDrv bitmap_enable_drv = {
    .abort = bitmap_enable_abort,
    .clean = g_free,
};

void block_dirty_bitmap_enable_action(const BlockDirtyBitmap *a, bool enable,
                                      Transaction *tran, Error **errp)
{
    BdrvDirtyBitmap *bitmap = block_dirty_bitmap_lookup(a->node, a->name, NULL,
                                                        errp);
    BitmapStep *step;

    if (!bitmap || bdrv_dirty_bitmap_check(bitmap, BDRV_BITMAP_ALLOW_RO,
                                           errp) < 0) {
        return;
    }
    step = g_new0(BitmapStep, 1);
    step->bitmap = bitmap;
    step->was_enabled = bdrv_dirty_bitmap_enabled(bitmap);
    if (enable) {
        bdrv_enable_dirty_bitmap(bitmap);
    } else {
        bdrv_disable_dirty_bitmap(bitmap);
    }
    tran_add(tran, &bitmap_enable_drv, step);
}

/* All that are to be merged into @dst, or NULL with @errp set. */
static GPtrArray *bitmap_merge_sources(const BlockDirtyBitmapMerge *a,
                                       const BdrvDirtyBitmap *dst,
                                       Error **errp)
{
    g_autoptr(GPtrArray) sources = g_ptr_array_new();
    BlockDirtyBitmapOrStrList *l;
    guint i;

    for (l = a->bitmaps; l; l = l->next) {
        BlockDirtyBitmapOrStr *b = l->value;
        bool local = b->type == QTYPE_QSTRING;
        BdrvDirtyBitmap *src =
            block_dirty_bitmap_lookup(local ? a->node : b->u.external.node,
                                      local ? b->u.local : b->u.external.name,
                                      NULL, errp);

        if (!src || bdrv_dirty_bitmap_check(src, BDRV_BITMAP_ALLOW_RO,
                                            errp) < 0) {
            return NULL;
        }
        g_ptr_array_add(sources, src);
    }
    if (!bdrv_dirty_bitmap_can_merge(dst, dst, errp)) {
        return NULL;
    }
    for (i = 0; i < sources->len; i++) {
        if (!bdrv_dirty_bitmap_can_merge(dst, sources->pdata[i], errp)) {
            return NULL;
        }
    }
    return g_steal_pointer(&sources);
}

void block_dirty_bitmap_merge_action(const BlockDirtyBitmapMerge *a,
                                     Transaction *tran, Error **errp)
{
    BdrvDirtyBitmap *dst = block_dirty_bitmap_lookup(a->node, a->target, NULL,
                                                     errp);
    g_autoptr(GPtrArray) sources = NULL;
    BitmapStep *step;
    guint i;

    /*
     * Nothing can fail when the first is merged: to undo that is to forget what
     * is written meanwhile.
     */
    sources = dst ? bitmap_merge_sources(a, dst, errp) : NULL;
    if (!sources) {
        return;
    }
    step = g_new0(BitmapStep, 1);
    step->bitmap = dst;
    /* A merge with itself changes nothing, and saves it. */
    bdrv_dirty_bitmap_merge_internal(dst, dst, &step->backup, true);
    for (i = 0; i < sources->len; i++) {
        bdrv_dirty_bitmap_merge_internal(dst, sources->pdata[i], NULL, true);
    }
    tran_add(tran, &bitmap_restore_drv, step);
}

static void bitmap_remove_abort(void *opaque)
{
    BitmapStep *step = opaque;

    bdrv_dirty_bitmap_set_busy(step->bitmap, false);
}

static void bitmap_remove_commit(void *opaque)
{
    BitmapStep *step = opaque;

    bdrv_dirty_bitmap_set_busy(step->bitmap, false);
    bdrv_release_dirty_bitmap(step->bitmap);
}

static const TransactionActionDrv bitmap_remove_drv = {
    .abort = bitmap_remove_abort,
    .commit = bitmap_remove_commit,
    .clean = g_free,
};

void block_dirty_bitmap_remove_action(const BlockDirtyBitmap *a,
                                      Transaction *tran, Error **errp)
{
    BdrvDirtyBitmap *bitmap = block_dirty_bitmap_lookup(a->node, a->name, NULL,
                                                        errp);
    BitmapStep *step;

    if (!bitmap ||
        bdrv_dirty_bitmap_check(bitmap, BDRV_BITMAP_BUSY | BDRV_BITMAP_RO,
                                errp) < 0) {
        return;
    }
    /* Until it is certain that it goes, no other action may use it. */
    bdrv_dirty_bitmap_set_busy(bitmap, true);
    step = g_new0(BitmapStep, 1);
    step->bitmap = bitmap;
    tran_add(tran, &bitmap_remove_drv, step);
}

/* --- the commands --- */

/* The end of a command that is a Transaction of one step. */
static void bitmap_finish(Transaction *tran, Error *err, Error **errp)
{
    tran_finalize(tran, err ? -1 : 0);
    error_propagate(errp, err);
}

void qmp_block_dirty_bitmap_add(const char *node, const char *name,
                                bool has_granularity, uint32_t granularity,
                                bool has_persistent, bool persistent,
                                bool has_disabled, bool disabled,
                                Error **errp)
{
    BlockDirtyBitmapAdd a = {
        .node = (char *)node, .name = (char *)name,
        .has_granularity = has_granularity, .granularity = granularity,
        .has_persistent = has_persistent, .persistent = persistent,
        .has_disabled = has_disabled, .disabled = disabled,
    };
    Transaction *tran = tran_new();
    Error *err = NULL;

    block_dirty_bitmap_add_action(&a, tran, &err);
    bitmap_finish(tran, err, errp);
}

void qmp_block_dirty_bitmap_remove(const char *node, const char *name,
                                   Error **errp)
{
    BlockDirtyBitmap a = { .node = (char *)node, .name = (char *)name };
    Transaction *tran = tran_new();
    Error *err = NULL;

    block_dirty_bitmap_remove_action(&a, tran, &err);
    bitmap_finish(tran, err, errp);
}

void qmp_block_dirty_bitmap_clear(const char *node, const char *name,
                                  Error **errp)
{
    BlockDirtyBitmap a = { .node = (char *)node, .name = (char *)name };
    Transaction *tran = tran_new();
    Error *err = NULL;

    block_dirty_bitmap_clear_action(&a, tran, &err);
    bitmap_finish(tran, err, errp);
}

static void bitmap_enable(const char *node, const char *name, bool enable,
                          Error **errp)
{
    BlockDirtyBitmap a = { .node = (char *)node, .name = (char *)name };
    Transaction *tran = tran_new();
    Error *err = NULL;

    block_dirty_bitmap_enable_action(&a, enable, tran, &err);
    bitmap_finish(tran, err, errp);
}

void qmp_block_dirty_bitmap_enable(const char *node, const char *name,
                                   Error **errp)
{
    bitmap_enable(node, name, true, errp);
}

void qmp_block_dirty_bitmap_disable(const char *node, const char *name,
                                    Error **errp)
{
    bitmap_enable(node, name, false, errp);
}

void qmp_block_dirty_bitmap_merge(const char *node, const char *target,
                                  BlockDirtyBitmapOrStrList *bitmaps,
                                  Error **errp)
{
    BlockDirtyBitmapMerge a = {
        .node = (char *)node, .target = (char *)target, .bitmaps = bitmaps,
    };
    Transaction *tran = tran_new();
    Error *err = NULL;

    block_dirty_bitmap_merge_action(&a, tran, &err);
    bitmap_finish(tran, err, errp);
}

BlockDirtyBitmapSha256 *
qmp_x_debug_block_dirty_bitmap_sha256(const char *node, const char *name,
                                      Error **errp)
{
    BdrvDirtyBitmap *bitmap = block_dirty_bitmap_lookup(node, name, NULL,
                                                        errp);
    BlockDirtyBitmapSha256 *ret;

    if (!bitmap) {
        return NULL;
    }
    ret = g_new0(BlockDirtyBitmapSha256, 1);
    ret->sha256 = bdrv_dirty_bitmap_sha256(bitmap);
    return ret;
}
