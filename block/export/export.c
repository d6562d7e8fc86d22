/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exports of all types: their life, and the QMP commands.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "block/export.h"
#include "block/nbd.h"
#include "qapi/qapi-commands-block-export.h"
#include "qapi/qapi-events-block-export.h"
#include "qemu/aio-wait.h"
#include "qemu/id.h"
#include "system/iothread.h"

static const BlockExportDriver *const export_drivers[] = {
    &blk_exp_nbd,
    &blk_exp_vhost_user_blk,
#ifdef CONFIG_FUSE
    &blk_exp_fuse,
#endif
};

static QLIST_HEAD(, BlockExport) all_exports =
    QLIST_HEAD_INITIALIZER(all_exports);

BlockExport *blk_exp_find(const char *id)
{
    BlockExport *exp;

    QLIST_FOREACH(exp, &all_exports, next) {
        if (!strcmp(exp->id, id)) {
            return exp;
        }
    }
    return NULL;
}

static const BlockExportDriver *export_driver(BlockExportType type)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(export_drivers); i++) {
        if (export_drivers[i]->type == type) {
            return export_drivers[i];
        }
    }
    g_assert_not_reached();
}

static AioContext *export_iothread(const char *id, Error **errp)
{
    IOThread *iothread = iothread_by_id(id);

    if (!iothread) {
        error_setg(errp, "iothread \"%s\" not found", id);
        return NULL;
    }
    return iothread_get_aio_context(iothread);
}

static bool export_multi_contexts(BlockExport *exp, const strList *ids,
                                  Error **errp)
{
    const strList *l;

    if (!ids) {
        error_setg(errp, "The list of iothreads is empty");
        return false;
    }
    for (l = ids; l; l = l->next) {
        AioContext *ctx = export_iothread(l->value, errp);

        if (!ctx) {
            return false;
        }
        exp->ctxs = g_renew(AioContext *, exp->ctxs, exp->n_ctxs + 1);
        exp->ctxs[exp->n_ctxs++] = ctx;
    }
    return true;
}

/* The node comes along to a single iothread, if it can. */
static bool export_single_context(BlockExport *exp, BlockDriverState *bs,
                                  const BlockExportOptions *opts, Error **errp)
{
    bool fixed = opts->has_fixed_iothread && opts->fixed_iothread;
    Error *local_err = NULL;

    exp->ctxs = g_new(AioContext *, 1);
    exp->n_ctxs = 1;
    if (!opts->iothread) {
        exp->ctxs[0] = exp->drv->has_iothread ? bdrv_get_aio_context(bs) :
                                                qemu_get_aio_context();
        return true;
    }
    exp->ctxs[0] = export_iothread(opts->iothread->u.single, errp);
    if (!exp->ctxs[0]) {
        return false;
    }
    if (bdrv_try_change_aio_context(bs, exp->ctxs[0], NULL, &local_err) < 0) {
        if (fixed) {
            error_propagate(errp, local_err);
            return false;
        }
        error_free(local_err);
    }
    return true;
}

/* Find exp->ctxs. */
static bool export_contexts(BlockExport *exp, BlockDriverState *bs,
                            const BlockExportOptions *opts, Error **errp)
{
    bool multi = opts->iothread && opts->iothread->type == QTYPE_QLIST;

    if (opts->iothread && !exp->drv->has_iothread) {
        error_setg(errp, "The export type '%s' does not support iothreads",
                   BlockExportType_str(opts->type));
        return false;
    }
    if (multi && !exp->drv->has_multi_iothread) {
        error_setg(errp, "The export type '%s' does not support "
                   "multi-threading", BlockExportType_str(opts->type));
        return false;
    }
    if (multi && opts->has_fixed_iothread && opts->fixed_iothread) {
        error_setg(errp, "fixed-iothread needs a single iothread");
        return false;
    }
    if (multi ? !export_multi_contexts(exp, opts->iothread->u.multi, errp) :
                !export_single_context(exp, bs, opts, errp)) {
        return false;
    }
    exp->ctx = exp->ctxs[0];
    return true;
}

bool blk_exp_uses_context(AioContext *ctx)
{
    BlockExport *exp;
    size_t i;

    GLOBAL_STATE_CODE();
    QLIST_FOREACH(exp, &all_exports, next) {
        for (i = 0; i < exp->n_ctxs; i++) {
            if (exp->ctxs[i] == ctx) {
                return true;
            }
        }
    }
    return false;
}

static BlockBackend *export_backend(BlockDriverState *bs,
                                    const BlockExportOptions *opts,
                                    Error **errp)
{
    uint64_t perm = BLK_PERM_CONSISTENT_READ;
    uint64_t shared;
    BlockBackend *blk;

    if (!(opts->has_allow_inactive && opts->allow_inactive)) {
        if (bdrv_activate(bs, errp) < 0) {
            return NULL;
        }
    } else if (!export_driver(opts->type)->has_inactive) {
        error_setg(errp, "Export type '%s' does not support inactive exports",
                   BlockExportType_str(opts->type));
        return NULL;
    }
    if (opts->has_writable && opts->writable) {
        if (bdrv_is_read_only(bs)) {
            error_setg(errp, "Cannot export read-only node as writable");
            return NULL;
        }
        perm |= BLK_PERM_WRITE;
    }
    /* Also another program: "qemu-img create" would empty the file. */
    shared = export_driver(opts->type)->keeps_size ?
             BLK_PERM_ALL & ~BLK_PERM_RESIZE : BLK_PERM_ALL;
    blk = blk_new(bdrv_get_aio_context(bs), perm, shared);
    /* Requests may come from any context, so the node may move. */
    blk_set_allow_aio_context_change(blk, !(opts->has_fixed_iothread &&
                                            opts->fixed_iothread));
    if (opts->has_allow_inactive && opts->allow_inactive) {
        blk_set_force_allow_inactivate(blk);
    }
    if (blk_insert_bs(blk, bs, errp) < 0) {
        blk_unref(blk);
        return NULL;
    }
    blk_set_enable_write_cache(blk, !(opts->has_writethrough &&
                                      opts->writethrough));
    return blk;
}

void blk_exp_share_resize(bool share)
{
    BlockExport *exp;

    GLOBAL_STATE_CODE();
    QLIST_FOREACH(exp, &all_exports, next) {
        uint64_t perm, shared;

        if (exp->drv->keeps_size) {
            blk_get_perm(exp->blk, &perm, &shared);
            /* Another user that takes it meanwhile keeps it. */
            blk_set_perm(exp->blk, perm, share ? shared | BLK_PERM_RESIZE :
                         shared & ~BLK_PERM_RESIZE, NULL);
        }
    }
}

static void export_free(BlockExport *exp)
{
    blk_unref(exp->blk);
    g_free(exp->ctxs);
    g_free(exp->id);
    g_free(exp);
}

BlockExport *blk_exp_add(const BlockExportOptions *opts, Error **errp)
{
    const BlockExportDriver *drv = export_driver(opts->type);
    AioContext *old_ctx;
    BlockDriverState *bs;
    BlockExport *exp;

    GLOBAL_STATE_CODE();
    if (!id_wellformed(opts->id)) {
        error_setg(errp, "Invalid block export id");
        return NULL;
    }
    if (blk_exp_find(opts->id)) {
        error_setg(errp, "Block export id '%s' is already in use", opts->id);
        return NULL;
    }
    bs = bdrv_find_node(opts->node_name);
    if (!bs) {
        error_setg(errp, "Cannot find device='' nor node-name='%s'",
                   opts->node_name);
        return NULL;
    }
    /* It may move to the iothread of the export: back if that fails. */
    bdrv_ref(bs);
    old_ctx = bdrv_get_aio_context(bs);
    exp = g_malloc0(drv->instance_size);
    exp->drv = drv;
    exp->refcount = 1;
    exp->user_owned = true;
    exp->id = g_strdup(opts->id);
    if (export_contexts(exp, bs, opts, errp)) {
        exp->blk = export_backend(bs, opts, errp);
    }
    if (exp->blk && drv->create(exp, opts, errp)) {
        QLIST_INSERT_HEAD(&all_exports, exp, next);
    } else {
        export_free(exp);
        exp = NULL;
        bdrv_try_change_aio_context(bs, old_ctx, NULL, NULL);
    }
    bdrv_unref(bs);
    return exp;
}

void blk_exp_ref(BlockExport *exp)
{
    assert(exp->refcount > 0);
    exp->refcount++;
}

/* Not from where the last client ends: that may be in the midst of things. */
static void blk_exp_delete_bh(void *opaque)
{
    BlockExport *exp = opaque;

    assert(exp->refcount == 0);
    QLIST_REMOVE(exp, next);
    exp->drv->delete(exp);
    blk_unref(g_steal_pointer(&exp->blk));
    qapi_event_send_block_export_deleted(exp->id);
    export_free(exp);
    aio_wait_kick();
}

void blk_exp_unref(BlockExport *exp)
{
    assert(exp->refcount > 0);
    if (--exp->refcount == 0) {
        aio_bh_schedule_oneshot(qemu_get_aio_context(), blk_exp_delete_bh,
                                exp);
    }
}

void blk_exp_request_shutdown(BlockExport *exp)
{
    GLOBAL_STATE_CODE();
    if (exp->user_owned) {
        exp->user_owned = false;
        exp->drv->request_shutdown(exp);
        blk_exp_unref(exp);
    }
}

static bool blk_exp_has_type(BlockExportType type)
{
    BlockExport *exp;

    QLIST_FOREACH(exp, &all_exports, next) {
        if (type == BLOCK_EXPORT_TYPE__MAX || exp->drv->type == type) {
            return true;
        }
    }
    return false;
}

void blk_exp_close_all_type(BlockExportType type)
{
    BlockExport *exp, *next;

    GLOBAL_STATE_CODE();
    QLIST_FOREACH_SAFE(exp, &all_exports, next, next) {
        if (type == BLOCK_EXPORT_TYPE__MAX || exp->drv->type == type) {
            blk_exp_request_shutdown(exp);
        }
    }
    AIO_WAIT_WHILE(NULL, blk_exp_has_type(type));
}

void blk_exp_close_all(void)
{
    blk_exp_close_all_type(BLOCK_EXPORT_TYPE__MAX);
}

/* --- QMP --- */

void qmp_block_export_add(BlockExportOptions *arg, Error **errp)
{
    blk_exp_add(arg, errp);
}

void qmp_block_export_del(const char *id, bool has_mode,
                          BlockExportRemoveMode mode, Error **errp)
{
    BlockExport *exp = blk_exp_find(id);

    if (!exp) {
        error_setg(errp, "Export '%s' is not found", id);
        return;
    }
    if (!exp->user_owned) {
        error_setg(errp, "Export '%s' is already shutting down", id);
        return;
    }
    if (!(has_mode && mode == BLOCK_EXPORT_REMOVE_MODE_HARD) &&
        exp->refcount > 1) {
        error_setg(errp, "export '%s' still in use", exp->id);
        error_append_hint(errp, "Use mode='hard' to force client "
                          "disconnect\n");
        return;
    }
    blk_exp_request_shutdown(exp);
}

BlockExportInfoList *qmp_query_block_exports(Error **errp)
{
    BlockExportInfoList *list = NULL, **tail = &list;
    BlockExport *exp;

    QLIST_FOREACH(exp, &all_exports, next) {
        BlockExportInfo *info = g_new0(BlockExportInfo, 1);

        info->id = g_strdup(exp->id);
        info->type = exp->drv->type;
        info->node_name = g_strdup(bdrv_get_node_name(blk_bs(exp->blk)));
        info->shutting_down = !exp->user_owned;
        QAPI_LIST_APPEND(tail, info);
    }
    return list;
}
