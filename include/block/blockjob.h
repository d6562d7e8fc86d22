/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block jobs: jobs that use nodes.
 *
 * A block job holds its nodes as children.  While any of them is drained the
 * job is paused; when they move to another AioContext, so does the job.  A
 * job's own requests go through BlockBackends that do not wait while a node is
 * drained, since the drain waits for the job.
 */
#ifndef BLOCKJOB_H
#define BLOCKJOB_H

#include "block/block.h"
#include "qapi/qapi-types-block-jobs.h"
#include "qemu/job.h"
#include "qemu/ratelimit.h"

#define BLOCK_JOB_SLICE_TIME 100000000ULL   /* ns */

typedef struct BlockJob {
    Job job;
    BlockDeviceIoStatus iostatus;   /* under the jobs' lock */
    int64_t speed;              /* bytes per second, 0: no limit */
    RateLimit limit;
    int64_t last_sleep_ns;      /* the coroutine's: when it last slept */

    Notifier finalize_cancelled_notifier;
    Notifier finalize_completed_notifier;
    Notifier pending_notifier;
    Notifier ready_notifier;

    GSList *nodes;              /* BdrvChild *, main thread */
} BlockJob;

typedef struct BlockJobDriver {
    JobDriver job_driver;
    /* Other nodes than those that were added are moved, too.  Optional. */
    void (*attached_aio_context)(BlockJob *job, AioContext *new_context);
    /* The speed has changed; main thread.  Optional. */
    void (*set_speed)(BlockJob *job, int64_t speed);
    /* Does it do anything that drain must wait for?  Optional. */
    bool (*drained_poll)(BlockJob *job);
} BlockJobDriver;

/* For JobDriver.free of every block job. */
void block_job_free(Job *job);

/* All of the following: main thread, unless told otherwise. */

/*
 * A job on @bs, which it uses with @perm and lets others use with @shared.
 * @job_id NULL: the name of the device that @bs is in, which this tree's nodes
 * do not have: an error, unless @flags has JOB_INTERNAL.  See job_create().
 */
void *block_job_create(const char *job_id, const BlockJobDriver *driver,
                       JobTxn *txn, BlockDriverState *bs, uint64_t perm,
                       uint64_t shared_perm, int64_t speed, int flags,
                       BlockCompletionFunc *cb, void *opaque, Error **errp);

/* Hold one more node, under @name.  0 or -errno. */
int block_job_add_bdrv(BlockJob *job, const char *name, BlockDriverState *bs,
                       uint64_t perm, uint64_t shared_perm, Error **errp);
/*
 * Hold @top and what is below it in its chain, down to @base, which is not held
 * (NULL: the whole chain), for what others may do there: @shared_perm.  0 or
 * -errno, when some of it may be held.
 */
int block_job_add_chain(BlockJob *job, BlockDriverState *top,
                        BlockDriverState *base, uint64_t shared_perm,
                        Error **errp);
void block_job_remove_all_bdrv(BlockJob *job);
bool block_job_has_bdrv(BlockJob *job, BlockDriverState *bs);

/*
 * Whether a job holds @bs, which then is not for another job, nor to be
 * deleted: @errp says so.  (Two backups of one source hold their filters.)
 */
bool block_job_blocks(BlockDriverState *bs, Error **errp);

BlockJob *block_job_next_locked(BlockJob *job);
BlockJob *block_job_get_locked(const char *id);
bool block_job_is_internal(BlockJob *job);
const BlockJobDriver *block_job_driver(BlockJob *job);

/* False with @errp set: the command is not for the job's state. */
bool block_job_set_speed_locked(BlockJob *job, int64_t speed, Error **errp);
void block_job_iostatus_reset_locked(BlockJob *job);
void block_job_user_resume(Job *job);

/*
 * In the job's coroutine.  A read or write of the job has failed with @error,
 * a positive errno: what to do by the policy @on_err, with the events and the
 * pause that go with it.
 */
BlockErrorAction block_job_error_action(BlockJob *job, BlockdevOnError on_err,
                                        bool is_read, int error);

/*
 * In the job's coroutine, between two pieces of work: sleep as the speed wants
 * after what was processed, and now and then for others; a pause point.
 */
void coroutine_fn block_job_ratelimit_sleep(BlockJob *job);
void block_job_ratelimit_processed_bytes(BlockJob *job, uint64_t n);

#endif
