/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * copy-before-write: a filter that copies what is there to a target before it
 * lets a write through, so that the target keeps the source as it was.
 */
#ifndef BLOCK_COPY_BEFORE_WRITE_H
#define BLOCK_COPY_BEFORE_WRITE_H

#include "block/block-copy.h"
#include "qapi/qapi-types-block-jobs.h"

/*
 * Put the filter above @source, for all its users, with @target for the
 * copies.  *@bcs belongs to the filter.  Main thread, both.
 */
BlockDriverState *bdrv_cbw_append(BlockDriverState *source,
                                  BlockDriverState *target,
                                  const char *filter_node_name,
                                  bool discard_source,
                                  uint64_t min_cluster_size,
                                  OnCbwError on_cbw_error,
                                  BlockCopyState **bcs, Error **errp);
/* Take it out and drop the reference. */
void bdrv_cbw_drop(BlockDriverState *bs);
/*
 * For a job that leaves things out of the copy: nothing can be read by
 * snapshot-access.
 */
void bdrv_cbw_deny_access(BlockDriverState *bs);
/* All that has been copied is on the disk; 0 or -errno. */
int coroutine_fn bdrv_cbw_co_flush_target(BlockDriverState *bs);
/*
 * The job is cancelled, or has failed: writes go through without a copy from
 * now on, also what waits for one, and the snapshot cannot be read.  Any
 * thread.
 */
void bdrv_cbw_abandon(BlockDriverState *bs);
/* The error that has spoiled the copy; bdrv_cbw_abandon() makes -ECANCELED. */
int bdrv_cbw_snapshot_error(BlockDriverState *bs);

#endif
