/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The QMP commands that create the image that they need: drive-backup,
 * drive-mirror and blockdev-snapshot-sync.
 */
#include "qemu/osdep.h"
#include "block-qmp.h"
#include "block/backup.h"
#include "block/block_int.h"
#include "block/mirror.h"
#include "qapi/qapi-commands-block-core.h"
#include "qapi/qapi-commands-block-jobs.h"

/* What the image that is to be made, or opened, is. */
typedef struct DriveTarget {
    const char *filename;
    const char *format;         /* NULL: probe */
    const char *node_name;      /* NULL: invent one */
    NewImageMode mode;
    int64_t size;
    BlockDriverState *backing;  /* for its header; NULL: none */
    bool no_backing;            /* open it without */
} DriveTarget;

static bool drive_create(const DriveTarget *t, Error **errp)
{
    BlockDriver *drv = bdrv_find_format(t->format);
    QOpts *opts;

    if (!drv) {
        error_setg(errp, "Unknown file format '%s'", t->format);
        return false;
    }
    if (!drv->create_opts) {
        error_setg(errp, "Format driver '%s' does not support image creation",
                   t->format);
        return false;
    }
    if (t->backing && !drv->supports_backing) {
        error_setg(errp, "Backing file not supported for file format '%s'",
                   t->format);
        return false;
    }
    opts = qopts_new();
    qopts_set_uint(opts, "size", t->size);
    if (t->backing) {
        const char *name, *fmt;

        bdrv_get_header_names(t->backing, &name, &fmt);
        qopts_set_str(opts, "backing_file", name);
        qopts_set_str(opts, "backing_fmt", fmt);
    }
    return bdrv_create(drv, t->filename, opts, errp) >= 0;
}

/* Create, if that is the mode, and open.  A reference. */
static BlockDriverState *drive_open(const DriveTarget *t, Error **errp)
{
    int flags = BDRV_O_RDWR | BDRV_O_UNMAP |
                (t->no_backing ? BDRV_O_NO_BACKING : 0);
    QOpts *options;

    if (t->mode != NEW_IMAGE_MODE_EXISTING && !drive_create(t, errp)) {
        return NULL;
    }
    options = qopts_new();
    if (t->format) {
        qopts_set_str(options, "driver", t->format);
    }
    if (t->node_name) {
        qopts_set_str(options, "node-name", t->node_name);
    }
    return bdrv_open(t->filename, NULL, options, flags, errp);
}

static bool drive_init(DriveTarget *t, BlockDriverState *bs,
                       const char *filename, const char *format,
                       bool has_mode, NewImageMode mode, Error **errp)
{
    *t = (DriveTarget) {
        .filename = filename,
        .mode = has_mode ? mode : NEW_IMAGE_MODE_ABSOLUTE_PATHS,
        .format = format,
        .size = bdrv_getlength(bs),
    };
    if (!format && t->mode != NEW_IMAGE_MODE_EXISTING) {
        t->format = bdrv_skip_filters(bs)->drv->format_name;
    }
    if (t->size < 0) {
        error_setg_errno(errp, -t->size, "bdrv_getlength failed");
        return false;
    }
    return true;
}

/* --- backup --- */

static BlockDriverState *drive_backup_target(const DriveBackup *a,
                                             BlockDriverState *bs,
                                             Error **errp)
{
    DriveTarget t;
    BlockDriverState *target;
    bool above_source = a->sync == MIRROR_SYNC_MODE_NONE;

    if (!drive_init(&t, bs, a->target, a->format, a->has_mode, a->mode,
                    errp)) {
        return NULL;
    }
    if (t.mode != NEW_IMAGE_MODE_EXISTING) {
        if (above_source) {
            t.backing = bs;
        } else if (a->sync == MIRROR_SYNC_MODE_TOP) {
            t.backing = bdrv_backing_chain_next(bs);
        }
    }
    t.no_backing = above_source && t.backing;
    target = drive_open(&t, errp);
    if (target && t.no_backing &&
        bdrv_set_backing_hd(target, bs, errp) < 0) {
        bdrv_unref(target);
        return NULL;
    }
    return target;
}

void drive_backup_action(DriveBackup *a, JobTxn *txn, Transaction *tran,
                         Error **errp)
{
    BlockDriverState *bs = block_qmp_node(a->device, errp);
    BlockDriverState *target = bs ? drive_backup_target(a, bs, errp) : NULL;

    if (!target) {
        return;
    }
    /* What DriveBackup has from BackupCommon comes first in it. */
    backup_action((BackupCommon *)a, bs, target, txn, tran, errp);
    /* From now on the job holds it. */
    bdrv_unref(target);
}

void qmp_drive_backup(DriveBackup *a, Error **errp)
{
    Transaction *tran = tran_new();
    Error *err = NULL;

    drive_backup_action(a, NULL, tran, &err);
    tran_finalize(tran, err ? -1 : 0);
    error_propagate(errp, err);
}

/* --- mirror --- */

void qmp_drive_mirror(DriveMirror *a, Error **errp)
{
    BlockDriverState *bs = block_qmp_root_node(a->device, errp);
    MirrorJobOptions o = {
        .job_id = a->job_id,
        .replaces = a->replaces,
        .speed = a->has_speed ? a->speed : 0,
        .granularity = a->has_granularity ? a->granularity : 0,
        .buf_size = a->has_buf_size ? a->buf_size : 0,
        .sync = a->sync,
        .copy_mode = a->has_copy_mode ? a->copy_mode :
                     MIRROR_COPY_MODE_BACKGROUND,
        .unmap = !a->has_unmap || a->unmap,
        .on_source_error = a->has_on_source_error ? a->on_source_error :
                           BLOCKDEV_ON_ERROR_REPORT,
        .on_target_error = a->has_on_target_error ? a->on_target_error :
                           BLOCKDEV_ON_ERROR_REPORT,
        .flags = block_qmp_job_flags(a->has_auto_finalize, a->auto_finalize,
                                     a->has_auto_dismiss, a->auto_dismiss),
    };
    BlockDriverState *target;
    BlockJob *job = NULL;
    DriveTarget t;

    if (!bs || !drive_init(&t, bs, a->target, a->format, a->has_mode, a->mode,
                           errp)) {
        return;
    }
    if (a->replaces && !a->node_name) {
        error_setg(errp, "a node-name must be provided when replacing a named "
                   "node of the graph");
        return;
    }
    if (!mirror_check_granularity(o.granularity, errp)) {
        return;
    }
    t.node_name = a->node_name;
    if (t.mode != NEW_IMAGE_MODE_EXISTING &&
        a->sync != MIRROR_SYNC_MODE_FULL) {
        /* The backing file has the rest; the target gets it at the end. */
        t.backing = a->sync == MIRROR_SYNC_MODE_NONE ? bs :
                    bdrv_backing_chain_next(bs);
        t.no_backing = t.backing;
        o.source_backing = t.backing;
    }
    target = drive_open(&t, errp);
    if (!target) {
        return;
    }
    if (bdrv_try_change_aio_context(target, bdrv_get_aio_context(bs), NULL,
                                    errp) == 0) {
        job = mirror_job_create(bs, target, &o, errp);
    }
    bdrv_unref(target);
    if (job) {
        job_start(&job->job);
    }
}

/* --- snapshots --- */

void blockdev_snapshot_sync_action(const BlockdevSnapshotSync *a,
                                   Transaction *tran, Error **errp)
{
    const char *name = a->node_name ? a->node_name : a->device;
    BlockDriverState *bs, *overlay;
    BlockdevSnapshot s;
    DriveTarget t;

    if (!name) {
        error_setg(errp, "Cannot find device='' nor node-name=''");
        return;
    }
    bs = bdrv_find_node(name);
    if (!bs) {
        error_setg(errp, "Cannot find device='%s' nor node-name='%s'",
                   a->device ? a->device : "",
                   a->node_name ? a->node_name : "");
        return;
    }
    if (block_job_blocks(bs, errp) || bdrv_is_backing_hd(bs, errp)) {
        return;
    }
    if (!drive_init(&t, bs, a->snapshot_file,
                           a->format ? a->format : "qcow2", a->has_mode,
                           a->mode, errp)) {
        return;
    }
    if (a->node_name && !a->snapshot_node_name) {
        error_setg(errp, "New overlay node-name missing");
        return;
    }
    if (a->snapshot_node_name && bdrv_find_node(a->snapshot_node_name)) {
        error_setg(errp, "New overlay node-name already in use");
        return;
    }
    t.node_name = a->snapshot_node_name;
    t.backing = bs;
    t.no_backing = true;
    overlay = drive_open(&t, errp);
    if (!overlay) {
        return;
    }
    s = (BlockdevSnapshot) {
        .node = (char *)name,
        .overlay = (char *)bdrv_get_node_name(overlay),
    };
    blockdev_snapshot_action(&s, tran, errp);
    /* Its users hold it: those that the old node had. */
    bdrv_unref(overlay);
}

void qmp_blockdev_snapshot_sync(const char *device, const char *node_name,
                                const char *snapshot_file,
                                const char *snapshot_node_name,
                                const char *format, bool has_mode,
                                NewImageMode mode, Error **errp)
{
    BlockdevSnapshotSync a = {
        .device = (char *)device, .node_name = (char *)node_name,
        .snapshot_file = (char *)snapshot_file,
        .snapshot_node_name = (char *)snapshot_node_name,
        .format = (char *)format, .has_mode = has_mode, .mode = mode,
    };
    Transaction *tran = tran_new();
    Error *err = NULL;

    blockdev_snapshot_sync_action(&a, tran, &err);
    tran_finalize(tran, err ? -1 : 0);
    error_propagate(errp, err);
}
