/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The QMP command transaction: actions that happen at one moment, all or none.
 *
 * All nodes are drained from before the first action until after the last, so
 * that a backup of several disks shows one moment of all of them.
 */
#include "qemu/osdep.h"
#include "block-qmp.h"
#include "block/block_int.h"
#include "block/blockjob.h"
#include "qapi/qapi-commands-block-core.h"
#include "qapi/qapi-commands-transaction.h"

/* --- blockdev-snapshot --- */

typedef struct {
    BlockDriverState *old_bs;
    BlockDriverState *new_bs;
} SnapshotStep;

static void snapshot_abort(void *opaque)
{
    SnapshotStep *step = opaque;

    bdrv_replace_node(step->new_bs, step->old_bs, &error_abort);
    bdrv_set_backing_hd(step->new_bs, NULL, &error_abort);
}

static void snapshot_clean(void *opaque)
{
    SnapshotStep *step = opaque;

    bdrv_unref(step->old_bs);
    bdrv_unref(step->new_bs);
    g_free(step);
}

static const TransactionActionDrv snapshot_drv = {
    .abort = snapshot_abort,
    .clean = snapshot_clean,
};

/*
 * An overlay notes a state of its backing file (the CID of a VMDK), which may
 * have been written to since the overlay was made.  That is no fault of one
 * that has no data yet.
 */
static void snapshot_accept_backing(BlockDriverState *overlay, Error **errp)
{
    int64_t len = bdrv_getlength(overlay), at = 0, n = 0;
    int ret = MIN(len, 0);

    while (ret == 0 && at < len) {
        ret = bdrv_is_allocated(overlay, at, len - at, &n);
        at += n;
    }
    if (ret == 0 && bdrv_is_writable(overlay)) {
        ret = bdrv_refresh_backing_file(overlay);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not update the backing file of "
                         "the overlay");
    }
}

void blockdev_snapshot_action(const BlockdevSnapshot *a, Transaction *tran,
                              Error **errp)
{
    BlockDriverState *old_bs = block_qmp_node(a->node, errp);
    BlockDriverState *new_bs = old_bs ? block_qmp_node(a->overlay, errp) :
                               NULL;
    SnapshotStep *step;

    if (!new_bs) {
        return;
    }
    if (block_job_blocks(old_bs, errp) || bdrv_is_backing_hd(old_bs, errp)) {
        return;
    }
    if (new_bs->cumulative_perms & BLK_PERM_CONSISTENT_READ) {
        error_setg(errp, "The overlay is already in use");
        return;
    }
    if (!new_bs->drv->supports_backing) {
        error_setg(errp, "The overlay does not support backing images");
        return;
    }
    if (new_bs->backing) {
        error_setg(errp, "The overlay already has a backing image");
        return;
    }
    if (bdrv_is_writable(old_bs) && bdrv_flush(old_bs) < 0) {
        error_setg(errp, "An IO error has occurred");
        return;
    }
    /* Its users, those that the node had, wait until it fits. */
    bdrv_drained_begin(new_bs);
    if (bdrv_append(new_bs, old_bs, errp) < 0) {
        bdrv_drained_end(new_bs);
        return;
    }
    step = g_new0(SnapshotStep, 1);
    step->old_bs = old_bs;
    step->new_bs = new_bs;
    bdrv_ref(old_bs);
    bdrv_ref(new_bs);
    tran_add(tran, &snapshot_drv, step);
    snapshot_accept_backing(new_bs, errp);
    bdrv_drained_end(new_bs);
}

void qmp_blockdev_snapshot(const char *node, const char *overlay, Error **errp)
{
    BlockdevSnapshot a = { .node = (char *)node, .overlay = (char *)overlay };
    Transaction *tran = tran_new();
    Error *err = NULL;

    blockdev_snapshot_action(&a, tran, &err);
    tran_finalize(tran, err ? -1 : 0);
    error_propagate(errp, err);
}

/* --- transaction --- */

static bool action_can_group(TransactionActionKind type)
{
    return type == TRANSACTION_ACTION_KIND_BLOCKDEV_BACKUP ||
           type == TRANSACTION_ACTION_KIND_DRIVE_BACKUP;
}

static void transaction_action(TransactionAction *a, JobTxn *txn,
                               Transaction *tran, Error **errp)
{
    switch (a->type) {
    case TRANSACTION_ACTION_KIND_ABORT:
        error_setg(errp, "Transaction aborted using Abort action");
        break;
    case TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_ADD:
        block_dirty_bitmap_add_action(a->u.block_dirty_bitmap_add.data, tran,
                                      errp);
        break;
    case TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_REMOVE:
        block_dirty_bitmap_remove_action(a->u.block_dirty_bitmap_remove.data,
                                         tran, errp);
        break;
    case TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_CLEAR:
        block_dirty_bitmap_clear_action(a->u.block_dirty_bitmap_clear.data,
                                        tran, errp);
        break;
    case TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_ENABLE:
        block_dirty_bitmap_enable_action(a->u.block_dirty_bitmap_enable.data,
                                         true, tran, errp);
        break;
    case TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_DISABLE:
        block_dirty_bitmap_enable_action(a->u.block_dirty_bitmap_disable.data,
                                         false, tran, errp);
        break;
    case TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_MERGE:
        block_dirty_bitmap_merge_action(a->u.block_dirty_bitmap_merge.data,
                                        tran, errp);
        break;
    case TRANSACTION_ACTION_KIND_BLOCKDEV_BACKUP:
        blockdev_backup_action(a->u.blockdev_backup.data, txn, tran, errp);
        break;
    case TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT:
        blockdev_snapshot_action(a->u.blockdev_snapshot.data, tran, errp);
        break;
    case TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT_SYNC:
        blockdev_snapshot_sync_action(a->u.blockdev_snapshot_sync.data, tran,
                                      errp);
        break;
    case TRANSACTION_ACTION_KIND_DRIVE_BACKUP:
        drive_backup_action(a->u.drive_backup.data, txn, tran, errp);
        break;
    default:
        error_setg(errp, "Action '%s' is not implemented",
                   TransactionActionKind_str(a->type));
        break;
    }
}

void qmp_transaction(TransactionActionList *actions,
                     TransactionProperties *properties, Error **errp)
{
    bool grouped = properties && properties->has_completion_mode &&
                   properties->completion_mode ==
                   ACTION_COMPLETION_MODE_GROUPED;
    TransactionActionList *l;
    Transaction *tran;
    JobTxn *txn = NULL;
    Error *err = NULL;

    GLOBAL_STATE_CODE();
    for (l = actions; l && grouped; l = l->next) {
        if (!action_can_group(l->value->type)) {
            error_setg(errp, "Action '%s' does not support Transaction "
                       "property completion-mode = %s",
                       TransactionActionKind_str(l->value->type),
                       ActionCompletionMode_str(properties->completion_mode));
            return;
        }
    }
    if (grouped) {
        txn = job_txn_new();
    }
    bdrv_drain_all_begin();
    tran = tran_new();
    for (l = actions; l && !err; l = l->next) {
        transaction_action(l->value, txn, tran, &err);
    }
    tran_finalize(tran, err ? -1 : 0);
    bdrv_drain_all_end();
    if (txn) {
        job_txn_unref(txn);
    }
    error_propagate(errp, err);
}
