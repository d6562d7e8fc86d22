/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block copy: keep a target equal to what a source was, cluster by cluster.
 *
 * A bitmap says which clusters are still to be copied.  Any number of calls
 * copy ranges of it at the same time: a backup in the background, and the
 * filter that copies before a guest's write.  A cluster is copied by one of
 * them; a call returns when all clusters of its range are on the target,
 * whoever has copied them.
 *
 * Creating and freeing: main thread.  Requests: coroutines of the source's
 * AioContext.  All ranges are in bytes.
 */
#ifndef BLOCK_COPY_H
#define BLOCK_COPY_H

#include "block/block.h"
#include "block/dirty-bitmap.h"
#include "qemu/progress_meter.h"

/* At most this many bytes are in flight for one BlockCopyState. */
#define BLOCK_COPY_MAX_MEM (128 * MiB)
#define BLOCK_COPY_MAX_WORKERS 64

typedef struct BlockCopyState BlockCopyState;
typedef struct BlockCopyCallState BlockCopyCallState;
typedef void (*BlockCopyAsyncCallbackFunc)(void *opaque);

/*
 * Copy from @source to @target what is set in @bitmap (NULL: all); the copy of
 * it that is worked on belongs to @copy_bitmap_bs, which is drained, or has no
 * users yet.  Clusters are at least @min_cluster_size, a power of 2 or 0.
 */
BlockCopyState *block_copy_state_new(BdrvChild *source, BdrvChild *target,
                                     BlockDriverState *copy_bitmap_bs,
                                     const BdrvDirtyBitmap *bitmap,
                                     bool discard_source,
                                     uint64_t min_cluster_size, Error **errp);
/* No call may be under way.  NULL is fine. */
void block_copy_state_free(BlockCopyState *s);

/* Before the first call: compressed writes to the target. */
void block_copy_set_compress(BlockCopyState *s, bool compress);
/*
 * Before the first call: let the host copy where it can, in pieces of up to
 * 16 MiB if the caller sets no limit.  The first refusal is the last.
 */
void block_copy_set_use_copy_range(BlockCopyState *s, bool use);
/*
 * Before the first call: the target gets a part of the source, and may get a
 * backing file for the rest later.  All zeroes are written then, also where
 * the target reads as zeroes now.
 */
void block_copy_set_target_is_partial(BlockCopyState *s, bool partial);
/* @pm must live as long as @s, or until NULL is set. */
void block_copy_set_progress_meter(BlockCopyState *s, ProgressMeter *pm);
/* Bytes per second for the calls in the background; 0: no limit. */
void block_copy_set_speed(BlockCopyState *s, uint64_t speed);
/*
 * Leave out what is not allocated in the image that is on top of the source
 * when this begins: before the first call, and in the main thread.
 */
void block_copy_set_skip_unallocated(BlockCopyState *s, bool skip);

int64_t block_copy_cluster_size(BlockCopyState *s);
/* What is still to be copied; the bitmap belongs to @s. */
BdrvDirtyBitmap *block_copy_dirty_bitmap(BlockCopyState *s);

/*
 * Drop from the bitmap what is not allocated in that image, from @offset
 * on; *@count: how far it came.  >= 0 or -errno.
 */
int64_t coroutine_fn block_copy_reset_unallocated(BlockCopyState *s,
                                                  int64_t offset,
                                                  int64_t *count);
/* Drop a range from the bitmap: it is not to be copied any more. */
void block_copy_reset(BlockCopyState *s, int64_t offset, int64_t bytes);

/*
 * Copy a range, which is aligned to clusters, and return when it is done;
 * -errno after the first error.  Return earlier with -ETIMEDOUT when it takes
 * longer than @timeout_ns (0: no limit), and with -ECANCELED at once when the
 * copy is abandoned.  What is under way then goes on.  @cb(@cb_opaque) is
 * called when nothing of the call runs any more, before the return or after
 * it; @s must live until then.
 */
int coroutine_fn block_copy(BlockCopyState *s, int64_t offset, int64_t bytes,
                            bool ignore_ratelimit, uint64_t timeout_ns,
                            BlockCopyAsyncCallbackFunc cb, void *cb_opaque);

/*
 * The same in the background, with up to @max_workers requests of up to
 * @max_chunk bytes (0: no limit) at once.  @cb is called when it has ended.
 * block_copy_call_free() frees.
 */
BlockCopyCallState *block_copy_async(BlockCopyState *s, int64_t offset,
                                     int64_t bytes, int max_workers,
                                     int64_t max_chunk,
                                     BlockCopyAsyncCallbackFunc cb,
                                     void *cb_opaque);
void block_copy_call_free(BlockCopyCallState *call);
bool block_copy_call_finished(BlockCopyCallState *call);
/* Has finished, without an error and without being cancelled. */
bool block_copy_call_succeeded(BlockCopyCallState *call);
bool block_copy_call_failed(BlockCopyCallState *call);
/* Finished ones only.  *@error_is_read: the source's fault. */
int block_copy_call_status(BlockCopyCallState *call, bool *error_is_read);
/* Start no more requests; the end is told as always. */
void block_copy_call_cancel(BlockCopyCallState *call);
/*
 * Nobody needs the copy any more: all calls end with -ECANCELED, those to come
 * at once, those that run as soon as they are about to write to the target.
 * block_copy() does not wait for that.  Any thread; before
 * bdrv_cancel_in_flight() of the target.
 */
void block_copy_abandon(BlockCopyState *s);
bool block_copy_is_abandoned(BlockCopyState *s);
/* Then: wait until no request to the source or the target runs. */
void coroutine_fn block_copy_wait_abandoned(BlockCopyState *s);
/*
 * Writes to the source are not copied before any more: what they write must not
 * be discarded by a copy of what was there.  From now on no discard begins.
 * Any thread.
 */
void block_copy_keep_source(BlockCopyState *s);
/* Then: wait for those that run.  Before the write. */
void coroutine_fn block_copy_wait_discards(BlockCopyState *s);

#endif
