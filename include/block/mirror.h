/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The mirror job: keeps a target equal to a source that is in use, and lets
 * the source's users go over to the target in the end.
 */
#ifndef BLOCK_MIRROR_H
#define BLOCK_MIRROR_H

#include "block/blockjob.h"

typedef struct MirrorJobOptions {
    const char *job_id;
    const char *replaces;       /* node name; NULL: the source itself */
    int64_t speed;
    uint32_t granularity;       /* 0: the default */
    int64_t buf_size;           /* 0: the default */
    MirrorSyncMode sync;        /* FULL, TOP or NONE */
    MirrorCopyMode copy_mode;
    bool source_backing;        /* give the target its backing node */
    bool unmap;
    bool target_is_zero;        /* the user says so: zeroes need no writes */
    const char *filter_node_name;
    BlockdevOnError on_source_error;
    BlockdevOnError on_target_error;
    int flags;                  /* JobCreateFlags */
    BlockCompletionFunc *cb;
    void *opaque;
    JobTxn *txn;
} MirrorJobOptions;

/*
 * A job, not started, that mirrors @bs to @target, of the same size.  Main
 * thread; both nodes in one AioContext.
 */
BlockJob *mirror_job_create(BlockDriverState *bs, BlockDriverState *target,
                            const MirrorJobOptions *opts, Error **errp);

/*
 * The same for a commit of @bs, which is in use, into @base below it; then
 * opts->sync, replaces and source_backing have no meaning.
 */
BlockJob *commit_active_job_create(BlockDriverState *bs,
                                   BlockDriverState *base,
                                   const MirrorJobOptions *opts,
                                   Error **errp);

/* Of a mirror job: what is written goes to both, and both are equal. */
bool mirror_is_actively_synced(Job *job);
/* block-job-change: another copy mode; only to write-blocking. */
void mirror_change_locked(Job *job, MirrorCopyMode copy_mode, Error **errp);

#endif
