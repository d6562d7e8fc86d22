/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The QMP commands that create block jobs.
 */
#include "qemu/osdep.h"
#include "block-qmp.h"
#include "block/backup.h"
#include "block/block_int.h"
#include "block/mirror.h"
#include "qapi/qapi-commands-block-jobs.h"

BlockDriverState *block_qmp_node(const char *name, Error **errp)
{
    BlockDriverState *bs = bdrv_find_node(name);

    if (!bs) {
        error_setg(errp, "Cannot find device='%s' nor node-name='%s'", name,
                   name);
    }
    return bs;
}

BlockDriverState *block_qmp_root_node(const char *name, Error **errp)
{
    BlockDriverState *bs = block_qmp_node(name, errp);
    BdrvChild *c;

    if (!bs) {
        return NULL;
    }
    QLIST_FOREACH(c, &bs->parents, next_parent) {
        if (c->klass->parent_is_bds) {
            error_setg(errp, "Need a root block node");
            return NULL;
        }
    }
    return bs;
}

int block_qmp_job_flags(bool has_auto_finalize, bool auto_finalize,
                        bool has_auto_dismiss, bool auto_dismiss)
{
    int flags = JOB_DEFAULT;

    if (has_auto_finalize && !auto_finalize) {
        flags |= JOB_MANUAL_FINALIZE;
    }
    if (has_auto_dismiss && !auto_dismiss) {
        flags |= JOB_MANUAL_DISMISS;
    }
    return flags;
}

/* --- backup --- */

static bool backup_check_bitmap_mode(const BackupCommon *b, Error **errp)
{
    if ((b->sync == MIRROR_SYNC_MODE_BITMAP ||
         b->sync == MIRROR_SYNC_MODE_INCREMENTAL) && !b->bitmap) {
        error_setg(errp, "must provide a valid bitmap name for '%s' sync mode",
                   MirrorSyncMode_str(b->sync));
        return false;
    }
    if (b->sync == MIRROR_SYNC_MODE_INCREMENTAL && b->has_bitmap_mode &&
        b->bitmap_mode != BITMAP_SYNC_MODE_ON_SUCCESS) {
        error_setg(errp, "Bitmap sync mode must be '%s' when using sync mode "
                   "'%s'", BitmapSyncMode_str(BITMAP_SYNC_MODE_ON_SUCCESS),
                   MirrorSyncMode_str(b->sync));
        return false;
    }
    if (!b->bitmap && b->has_bitmap_mode) {
        error_setg(errp, "Cannot specify bitmap sync mode without a bitmap");
        return false;
    }
    return true;
}

static bool backup_find_bitmap(BlockDriverState *bs, const BackupCommon *b,
                               BdrvDirtyBitmap **bitmap, Error **errp)
{
    *bitmap = NULL;
    if (!b->bitmap) {
        return true;
    }
    *bitmap = bdrv_find_dirty_bitmap(bs, b->bitmap);
    if (!*bitmap) {
        error_setg(errp, "Bitmap '%s' could not be found", b->bitmap);
        return false;
    }
    if (!b->has_bitmap_mode && b->sync != MIRROR_SYNC_MODE_INCREMENTAL) {
        error_setg(errp, "Bitmap sync mode must be given when providing a "
                   "bitmap");
        return false;
    }
    if (bdrv_dirty_bitmap_check(*bitmap, BDRV_BITMAP_ALLOW_RO, errp) < 0) {
        return false;
    }
    if (b->sync == MIRROR_SYNC_MODE_NONE) {
        error_setg(errp, "sync mode '%s' does not produce meaningful bitmap "
                   "outputs", MirrorSyncMode_str(b->sync));
        return false;
    }
    if (b->has_bitmap_mode && b->bitmap_mode == BITMAP_SYNC_MODE_NEVER &&
        b->sync != MIRROR_SYNC_MODE_BITMAP) {
        error_setg(errp, "Bitmap sync mode '%s' has no meaningful effect when "
                   "combined with sync mode '%s'",
                   BitmapSyncMode_str(b->bitmap_mode),
                   MirrorSyncMode_str(b->sync));
        return false;
    }
    return true;
}

static bool backup_take_perf(BackupJobOptions *o, const BackupPerf *perf,
                             Error **errp)
{
    if (!perf) {
        return true;
    }
    if (perf->has_max_workers) {
        if (perf->max_workers < 1 || perf->max_workers > INT_MAX) {
            error_setg(errp, "max-workers must be between 1 and %d", INT_MAX);
            return false;
        }
        o->max_workers = perf->max_workers;
    }
    o->use_copy_range = perf->has_use_copy_range && perf->use_copy_range;
    o->max_chunk = perf->has_max_chunk ? perf->max_chunk : 0;
    o->min_cluster_size = perf->has_min_cluster_size ?
                          perf->min_cluster_size : 0;
    return true;
}

static BlockJob *do_backup(const BackupCommon *b, BlockDriverState *bs,
                           BlockDriverState *target, JobTxn *txn, Error **errp)
{
    BackupJobOptions o = {
        .job_id = b->job_id,
        .speed = b->has_speed ? b->speed : 0,
        .sync = b->sync,
        .bitmap_mode = b->bitmap_mode,
        .compress = b->has_compress && b->compress,
        .discard_source = b->has_discard_source && b->discard_source,
        .filter_node_name = b->filter_node_name,
        .on_source_error = b->has_on_source_error ? b->on_source_error :
                           BLOCKDEV_ON_ERROR_REPORT,
        .on_target_error = b->has_on_target_error ? b->on_target_error :
                           BLOCKDEV_ON_ERROR_REPORT,
        .on_cbw_error = b->has_on_cbw_error ? b->on_cbw_error :
                        ON_CBW_ERROR_BREAK_GUEST_WRITE,
        .flags = block_qmp_job_flags(b->has_auto_finalize, b->auto_finalize,
                                     b->has_auto_dismiss, b->auto_dismiss),
        .txn = txn,
    };

    if (!backup_check_bitmap_mode(b, errp) ||
        !backup_find_bitmap(bs, b, &o.bitmap, errp) ||
        !backup_take_perf(&o, b->x_perf, errp)) {
        return NULL;
    }
    return backup_job_create(bs, target, &o, errp);
}

static void backup_action_commit(void *opaque)
{
    Job *job = opaque;

    job_start(job);
}

static void backup_action_abort(void *opaque)
{
    Job *job = opaque;

    JOB_LOCK_GUARD();
    /* Another of its group that was undone before has taken it along. */
    if (job->status != JOB_STATUS_NULL) {
        job_cancel_sync_locked(job, true);
    }
}

static void backup_action_clean(void *opaque)
{
    JOB_LOCK_GUARD();
    job_unref_locked(opaque);
}

static const TransactionActionDrv backup_action_drv = {
    .commit = backup_action_commit,
    .abort = backup_action_abort,
    .clean = backup_action_clean,
};

void backup_action(const BackupCommon *b, BlockDriverState *bs,
                   BlockDriverState *target, JobTxn *txn, Transaction *tran,
                   Error **errp)
{
    BlockJob *job;

    if (bdrv_try_change_aio_context(target, bdrv_get_aio_context(bs), NULL,
                                    errp) < 0) {
        return;
    }
    job = do_backup(b, bs, target, txn, errp);
    if (job) {
        WITH_JOB_LOCK_GUARD() {
            job_ref_locked(&job->job);
        }
        tran_add(tran, &backup_action_drv, &job->job);
    }
}

void blockdev_backup_action(BlockdevBackup *a, JobTxn *txn, Transaction *tran,
                            Error **errp)
{
    BlockDriverState *bs = block_qmp_node(a->device, errp);
    BlockDriverState *target = bs ? block_qmp_node(a->target, errp) : NULL;

    if (target) {
        /* What BlockdevBackup has from BackupCommon comes first in it. */
        backup_action((BackupCommon *)a, bs, target, txn, tran, errp);
    }
}

void qmp_blockdev_backup(BlockdevBackup *a, Error **errp)
{
    Transaction *tran = tran_new();
    Error *err = NULL;

    blockdev_backup_action(a, NULL, tran, &err);
    tran_finalize(tran, err ? -1 : 0);
    error_propagate(errp, err);
}

/* --- mirror --- */

bool mirror_check_granularity(uint32_t granularity, Error **errp)
{
    if (granularity && (granularity < 512 || granularity > 64 * MiB)) {
        error_setg(errp, "Parameter 'granularity' expects a value in range "
                   "[512B, 64MB]");
        return false;
    }
    if (granularity & (granularity - 1)) {
        error_setg(errp, "Parameter 'granularity' expects a power of 2");
        return false;
    }
    return true;
}

void qmp_blockdev_mirror(const char *job_id, const char *device,
        const char *target, const char *replaces, MirrorSyncMode sync,
        bool has_speed, int64_t speed, bool has_granularity,
        uint32_t granularity, bool has_buf_size, int64_t buf_size,
        bool has_on_source_error, BlockdevOnError on_source_error,
        bool has_on_target_error, BlockdevOnError on_target_error,
        const char *filter_node_name, bool has_copy_mode,
        MirrorCopyMode copy_mode, bool has_auto_finalize, bool auto_finalize,
        bool has_auto_dismiss, bool auto_dismiss, bool has_target_is_zero,
        bool target_is_zero, Error **errp)
{
    MirrorJobOptions o = {
        .job_id = job_id,
        .replaces = replaces,
        .speed = has_speed ? speed : 0,
        .granularity = has_granularity ? granularity : 0,
        .buf_size = has_buf_size ? buf_size : 0,
        .sync = sync,
        .copy_mode = has_copy_mode ? copy_mode : MIRROR_COPY_MODE_BACKGROUND,
        .unmap = true,
        .target_is_zero = has_target_is_zero && target_is_zero,
        .filter_node_name = filter_node_name,
        .on_source_error = has_on_source_error ? on_source_error :
                           BLOCKDEV_ON_ERROR_REPORT,
        .on_target_error = has_on_target_error ? on_target_error :
                           BLOCKDEV_ON_ERROR_REPORT,
        .flags = block_qmp_job_flags(has_auto_finalize, auto_finalize,
                                     has_auto_dismiss, auto_dismiss),
    };
    BlockDriverState *bs = block_qmp_root_node(device, errp);
    BlockDriverState *target_bs = bs ? block_qmp_node(target, errp) : NULL;
    BlockJob *job;

    if (!target_bs ||
        bdrv_try_change_aio_context(target_bs, bdrv_get_aio_context(bs), NULL,
                                    errp) < 0) {
        return;
    }
    if (!mirror_check_granularity(o.granularity, errp)) {
        return;
    }
    job = mirror_job_create(bs, target_bs, &o, errp);
    if (job) {
        job_start(&job->job);
    }
}
