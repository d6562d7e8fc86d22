/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The backup job: copies a node, as it is when the job is created, to another.
 */
#ifndef BLOCK_BACKUP_H
#define BLOCK_BACKUP_H

#include "block/blockjob.h"
#include "block/dirty-bitmap.h"

/* What a backup is made of; the defaults of QMP are all zero but perf's. */
typedef struct BackupJobOptions {
    const char *job_id;
    int64_t speed;
    MirrorSyncMode sync;
    BdrvDirtyBitmap *bitmap;    /* NULL: none */
    BitmapSyncMode bitmap_mode;
    bool compress;
    bool use_copy_range;        /* let the host copy, where it can */
    bool discard_source;
    const char *filter_node_name;
    int64_t max_workers;        /* 0: 64 */
    int64_t max_chunk;          /* 0: no limit */
    uint64_t min_cluster_size;  /* 0: the default */
    BlockdevOnError on_source_error;
    BlockdevOnError on_target_error;
    OnCbwError on_cbw_error;
    int flags;                  /* JobCreateFlags */
    BlockCompletionFunc *cb;
    void *opaque;
    JobTxn *txn;
} BackupJobOptions;

/*
 * A job, not started, that copies @bs to @target; from now on @target keeps
 * what writes to @bs change.  Main thread; both nodes in one AioContext.
 */
BlockJob *backup_job_create(BlockDriverState *bs, BlockDriverState *target,
                            const BackupJobOptions *opts, Error **errp);

#endif
