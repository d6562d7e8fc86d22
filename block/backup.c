/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The backup job.
 *
 * The filter copy-before-write is put above the source; its BlockCopyState
 * copies what is about to be overwritten.  The job copies the rest in the
 * background, with the same state, so that no cluster is copied twice.
 */
#include "qemu/osdep.h"
#include "block/backup.h"
#include "block/block_int.h"
#include "block/copy-before-write.h"
#include "qemu/cutils.h"

/* How long to wait before what has failed is tried again, with "ignore". */
#define BACKUP_RETRY_NS (100 * SCALE_MS)

typedef struct BackupBlockJob {
    BlockJob common;
    BlockDriverState *cbw;
    BlockDriverState *target_bs;
    BlockCopyState *bcs;
    BdrvDirtyBitmap *sync_bitmap;   /* NULL: none */
    MirrorSyncMode sync_mode;
    BitmapSyncMode bitmap_mode;
    BlockdevOnError on_source_error;
    BlockdevOnError on_target_error;
    int64_t len;
    int max_workers;
    int64_t max_chunk;

    /* The coroutine's. */
    BlockCopyCallState *bg_bcs_call;    /* NULL: none runs */
    bool wait;                  /* for its end, and for nothing else */
} BackupBlockJob;

/* --- the end --- */

static void backup_cleanup_sync_bitmap(BackupBlockJob *s, int ret)
{
    bool sync = ret == 0 && s->bitmap_mode == BITMAP_SYNC_MODE_ON_SUCCESS;
    BdrvDirtyBitmap *left = block_copy_dirty_bitmap(s->bcs);
    BdrvDirtyBitmap *bm;

    if (s->bitmap_mode == BITMAP_SYNC_MODE_ALWAYS) {
        JOB_LOCK_GUARD();
        /* A failed transaction starts no job: nothing was copied. */
        sync = job_started_locked(&s->common.job);
    }
    if (!s->sync_bitmap) {
        return;
    }
    if (sync) {
        /* It has what was written since the backup began. */
        bm = bdrv_dirty_bitmap_abdicate(s->sync_bitmap, &error_abort);
    } else {
        bm = bdrv_reclaim_dirty_bitmap(s->sync_bitmap, &error_abort);
    }
    s->sync_bitmap = NULL;
    /* And what was not copied: the next backup goes on from here. */
    if (ret < 0 && sync && !bdrv_merge_dirty_bitmap(bm, left, NULL, NULL)) {
        /* Its server's disk has another size now: all of it, to be sure. */
        bdrv_set_dirty_bitmap(bm, 0, bdrv_dirty_bitmap_size(bm));
    }
}

static void backup_commit(Job *job)
{
    backup_cleanup_sync_bitmap(container_of(job, BackupBlockJob, common.job),
                               0);
}

static void backup_abort(Job *job)
{
    backup_cleanup_sync_bitmap(container_of(job, BackupBlockJob, common.job),
                               -1);
}

static void backup_clean(Job *job)
{
    BackupBlockJob *s = container_of(job, BackupBlockJob, common.job);

    block_copy_set_progress_meter(s->bcs, NULL);
    block_job_remove_all_bdrv(&s->common);
    bdrv_cbw_drop(s->cbw);
    s->target_bs = NULL;
}

/* --- the coroutine --- */

/* A call in the background has ended. */
static void coroutine_fn backup_block_copy_callback(void *opaque)
{
    BackupBlockJob *s = opaque;

    if (s->wait) {
        aio_co_wake(s->common.job.co);
    } else {
        job_enter(&s->common.job);
    }
}

/* Stop the call in the background, and wait until nothing of it runs. */
static void coroutine_fn backup_stop_call(BackupBlockJob *s)
{
    if (s->bg_bcs_call && !block_copy_call_finished(s->bg_bcs_call)) {
        block_copy_call_cancel(s->bg_bcs_call);
        while (!block_copy_call_finished(s->bg_bcs_call)) {
            s->wait = true;
            qemu_coroutine_yield();
            s->wait = false;
        }
    }
}

static void coroutine_fn backup_pause(Job *job)
{
    backup_stop_call(container_of(job, BackupBlockJob, common.job));
}

/* A call has failed.  0: go on with the rest; -errno: the job fails. */
static int coroutine_fn backup_handle_error(BackupBlockJob *s, int error,
                                            bool is_read)
{
    BlockdevOnError policy = is_read ? s->on_source_error :
                             s->on_target_error;

    switch (block_job_error_action(&s->common, policy, is_read, -error)) {
    case BLOCK_ERROR_ACTION_REPORT:
        return error;
    case BLOCK_ERROR_ACTION_IGNORE:
        job_sleep_ns(&s->common.job, BACKUP_RETRY_NS);
        return 0;
    default:
        job_pause_point(&s->common.job);
        return 0;
    }
}

/*
 * Whether the job is cancelled, or about to be: job_is_cancelled() follows what
 * backup_cancel() does.  Then errors are no news.
 */
static bool coroutine_fn backup_is_ending(BackupBlockJob *s)
{
    Job *job = &s->common.job;

    while (block_copy_is_abandoned(s->bcs) && !job_is_cancelled(job)) {
        job_yield(job);
    }
    return job_is_cancelled(job);
}

/* Copy all that is dirty, until nothing is, or the job is to end. */
static int coroutine_fn backup_loop(BackupBlockJob *s)
{
    Job *job = &s->common.job;
    bool done = false;
    int ret = 0;

    while (ret == 0 && !done && !job_is_cancelled(job)) {
        BlockCopyCallState *call;

        s->bg_bcs_call = call =
            block_copy_async(s->bcs, 0,
                             QEMU_ALIGN_UP(s->len,
                                           block_copy_cluster_size(s->bcs)),
                             s->max_workers, s->max_chunk,
                             backup_block_copy_callback, s);
        while (!block_copy_call_finished(call) && !job_is_cancelled(job)) {
            job_yield(job);
        }
        backup_stop_call(s);
        s->bg_bcs_call = NULL;
        if (block_copy_call_failed(call) && !backup_is_ending(s)) {
            bool is_read;

            ret = block_copy_call_status(call, &is_read);
            ret = backup_handle_error(s, ret, is_read);
        } else {
            done = block_copy_call_succeeded(call);
        }
        block_copy_call_free(call);
    }
    return ret;
}

/* sync=top: what is not allocated in the top image is not copied. */
static int coroutine_fn backup_drop_unallocated(BackupBlockJob *s)
{
    int64_t offset, count;
    int ret = 0;

    for (offset = 0; offset < s->len && ret >= 0; offset += count) {
        job_pause_point(&s->common.job);
        if (job_is_cancelled(&s->common.job)) {
            return -ECANCELED;
        }
        ret = block_copy_reset_unallocated(s->bcs, offset, &count);
    }
    block_copy_set_skip_unallocated(s->bcs, false);
    return MIN(ret, 0);
}

/*
 * A target that passes for complete is on the disk.  An error of it is one of
 * the target: when the user lets the job go on, he knows.
 */
static int coroutine_fn backup_flush(BackupBlockJob *s)
{
    int ret = -EINPROGRESS;

    while (ret < 0 && !backup_is_ending(s)) {
        ret = bdrv_cbw_co_flush_target(s->cbw);
        if (ret < 0 && !backup_is_ending(s) &&
            backup_handle_error(s, ret, false) < 0) {
            return ret;
        }
    }
    return 0;
}

static int coroutine_fn backup_run(Job *job, Error **errp)
{
    BackupBlockJob *s = container_of(job, BackupBlockJob, common.job);
    int ret = 0;

    if (s->sync_mode == MIRROR_SYNC_MODE_TOP) {
        ret = backup_drop_unallocated(s);
    }
    if (ret == 0 && s->sync_mode == MIRROR_SYNC_MODE_NONE) {
        /* The filter does all of it, until the user has enough. */
        while (!job_is_cancelled(job)) {
            job_yield(job);
        }
    } else if (ret == 0) {
        ret = backup_loop(s);
    }
    if (ret == 0) {
        ret = backup_flush(s);
    }
    if (ret == 0) {
        ret = bdrv_cbw_snapshot_error(s->cbw);
    }
    if (ret < 0) {
        /*
         * Nobody needs the copies any more.  Wait for those that run here, and
         * not in the drain that takes the filter out, which stops the users of
         * the source; and before the sync bitmap gets what was not copied.
         */
        bdrv_cbw_abandon(s->cbw);
        block_copy_wait_abandoned(s->bcs);
    }
    return ret;
}

static void backup_set_speed(BlockJob *job, int64_t speed)
{
    BackupBlockJob *s = container_of(job, BackupBlockJob, common);

    /* block_job_create() sets it before there is something to limit. */
    if (s->bcs) {
        block_copy_set_speed(s->bcs, speed);
    }
}

static bool backup_cancel(Job *job, bool force)
{
    BackupBlockJob *s = container_of(job, BackupBlockJob, common.job);

    if (s->target_bs) {
        bdrv_cbw_abandon(s->cbw);
        bdrv_cancel_in_flight(s->target_bs);
    }
    /* It has no soft end: what is not copied is missing. */
    return true;
}

static const BlockJobDriver backup_job_driver = {
    .job_driver = {
        .instance_size = sizeof(BackupBlockJob),
        .job_type = JOB_TYPE_BACKUP,
        .free = block_job_free,
        .user_resume = block_job_user_resume,
        .run = backup_run,
        .pause = backup_pause,
        .commit = backup_commit,
        .abort = backup_abort,
        .clean = backup_clean,
        .cancel = backup_cancel,
    },
    .set_speed = backup_set_speed,
};

/* --- creation --- */

static bool backup_check(BlockDriverState *bs, BlockDriverState *target,
                         const BackupJobOptions *o, Error **errp)
{
    if (bs == target) {
        error_setg(errp, "Source and target cannot be the same");
    } else if (!bdrv_is_inserted(bs)) {
        error_setg(errp, "Device is not inserted: %s",
                   bdrv_get_device_or_node_name(bs));
    } else if (!bdrv_is_inserted(target)) {
        error_setg(errp, "Device is not inserted: %s",
                   bdrv_get_device_or_node_name(target));
    } else if (block_job_blocks(bs, errp) || block_job_blocks(target, errp)) {
        return false;
    } else if (o->compress && !(target->supported_write_flags &
                                BDRV_REQ_WRITE_COMPRESSED)) {
        error_setg(errp, "Compression is not supported for this drive %s",
                   bdrv_get_device_or_node_name(target));
    } else if (o->max_workers < 0 || o->max_workers > INT_MAX) {
        error_setg(errp, "max-workers must be between 1 and %d", INT_MAX);
    } else if (o->max_chunk < 0) {
        error_setg(errp, "max-chunk must be zero (which means no limit) or "
                   "positive");
    } else {
        return true;
    }
    return false;
}

/* Which clusters are to be copied; nothing has been written since. */
static void backup_init_bcs_bitmap(BackupBlockJob *s)
{
    BdrvDirtyBitmap *copy_bitmap = block_copy_dirty_bitmap(s->bcs);

    if (s->sync_mode == MIRROR_SYNC_MODE_BITMAP ||
        s->sync_mode == MIRROR_SYNC_MODE_TOP) {
        /* Neither side keeps the old data of the parts that are left out. */
        bdrv_cbw_deny_access(s->cbw);
    }
    if (s->sync_mode == MIRROR_SYNC_MODE_BITMAP) {
        bdrv_clear_dirty_bitmap(copy_bitmap, NULL);
        bdrv_dirty_bitmap_merge_internal(copy_bitmap, s->sync_bitmap, NULL,
                                         true);
    }
    block_copy_set_skip_unallocated(s->bcs,
                                    s->sync_mode == MIRROR_SYNC_MODE_TOP);
    job_progress_set_remaining(&s->common.job,
                               s->sync_mode == MIRROR_SYNC_MODE_NONE ? 0 :
                               bdrv_get_dirty_count(copy_bitmap));
    if (s->sync_mode != MIRROR_SYNC_MODE_NONE) {
        block_copy_set_progress_meter(s->bcs, &s->common.job.progress);
    }
}

/* @bs is drained; the filter is above it. */
static BackupBlockJob *backup_create_on_filter(BlockDriverState *cbw,
                                               BlockCopyState *bcs,
                                               BlockDriverState *bs,
                                               BlockDriverState *target,
                                               const BackupJobOptions *o,
                                               Error **errp)
{
    int64_t cluster_size = block_copy_cluster_size(bcs);
    BackupBlockJob *s;

    if (o->max_chunk && o->max_chunk < cluster_size) {
        error_setg(errp, "Required max-chunk (%" PRIi64 ") is less than "
                   "backup cluster size (%" PRIi64 ")", o->max_chunk,
                   cluster_size);
        return NULL;
    }
    s = block_job_create(o->job_id, &backup_job_driver, o->txn, cbw, 0,
                         BLK_PERM_ALL, o->speed, o->flags, o->cb, o->opaque,
                         errp);
    if (!s) {
        return NULL;
    }
    s->cbw = cbw;
    s->bcs = bcs;
    s->target_bs = target;
    s->sync_bitmap = o->bitmap;
    s->sync_mode = o->sync == MIRROR_SYNC_MODE_INCREMENTAL ?
                   MIRROR_SYNC_MODE_BITMAP : o->sync;
    s->bitmap_mode = o->sync == MIRROR_SYNC_MODE_INCREMENTAL ?
                     BITMAP_SYNC_MODE_ON_SUCCESS : o->bitmap_mode;
    s->on_source_error = o->on_source_error;
    s->on_target_error = o->on_target_error;
    s->len = bdrv_dirty_bitmap_size(block_copy_dirty_bitmap(bcs));
    s->max_workers = o->max_workers ? o->max_workers : BLOCK_COPY_MAX_WORKERS;
    s->max_chunk = o->max_chunk;
    if (block_job_add_bdrv(&s->common, "target", target, 0, BLK_PERM_ALL,
                           errp) < 0) {
        job_early_fail(&s->common.job);
        return NULL;
    }
    block_copy_set_compress(bcs, o->compress);
    block_copy_set_use_copy_range(bcs, o->use_copy_range);
    block_copy_set_target_is_partial(bcs, o->sync != MIRROR_SYNC_MODE_FULL);
    block_copy_set_speed(bcs, o->speed);
    backup_init_bcs_bitmap(s);
    return s;
}

static BackupBlockJob *backup_create_drained(BlockDriverState *bs,
                                             BlockDriverState *target,
                                             const BackupJobOptions *o,
                                             Error **errp)
{
    BlockCopyState *bcs = NULL;
    BlockDriverState *cbw;
    BackupBlockJob *s = NULL;

    if (o->bitmap &&
        bdrv_dirty_bitmap_create_successor(o->bitmap, errp) < 0) {
        return NULL;
    }
    cbw = bdrv_cbw_append(bs, target, o->filter_node_name, o->discard_source,
                          o->min_cluster_size, o->on_cbw_error, &bcs, errp);
    if (cbw) {
        s = backup_create_on_filter(cbw, bcs, bs, target, o, errp);
    }
    if (cbw && !s) {
        bdrv_cbw_drop(cbw);
    }
    if (!s && o->bitmap) {
        bdrv_reclaim_dirty_bitmap(o->bitmap, &error_abort);
    }
    return s;
}

BlockJob *backup_job_create(BlockDriverState *bs, BlockDriverState *target,
                            const BackupJobOptions *o, Error **errp)
{
    BackupBlockJob *s;

    GLOBAL_STATE_CODE();
    assert(o->sync != MIRROR_SYNC_MODE_BITMAP || o->bitmap);
    assert(o->sync != MIRROR_SYNC_MODE_INCREMENTAL || o->bitmap);
    if (!backup_check(bs, target, o, errp)) {
        return NULL;
    }
    if (o->bitmap &&
        bdrv_dirty_bitmap_check(o->bitmap, BDRV_BITMAP_DEFAULT, errp) < 0) {
        return NULL;
    }
    /* The moment that the backup shows is within this section. */
    bdrv_drained_begin(bs);
    s = backup_create_drained(bs, target, o, errp);
    bdrv_drained_end(bs);
    return s ? &s->common : NULL;
}
