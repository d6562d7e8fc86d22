/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared by the parts of the request path: io.c, io-rw.c, flush.c,
 * discard.c, truncate.c, block-status.c, tracked.c.  All in coroutines of the
 * node's AioContext.
 */
#ifndef BLOCK_IO_H
#define BLOCK_IO_H

#include "block/block_int.h"

/* List @req with its node; not serialising. */
void tracked_request_begin(BdrvTrackedRequest *req, BlockDriverState *bs,
                           int64_t offset, int64_t bytes,
                           BdrvTrackedRequestType type);
/* Take it off and wake those that wait for it. */
void tracked_request_end(BdrvTrackedRequest *req);
/*
 * Let no other request overlap [req rounded to @align] from now on, and wait
 * for those that do already.
 */
void coroutine_fn bdrv_make_request_serialising(BdrvTrackedRequest *req,
                                                uint64_t align);
/* Wait for serialising requests that overlap @req. */
void coroutine_fn bdrv_wait_serialising_requests(BdrvTrackedRequest *req);

/*
 * Aligned requests, tracked by the caller.  @req of a write that extends the
 * node updates its length.
 */
int coroutine_fn bdrv_aligned_preadv(BdrvChild *child,
                                     BdrvTrackedRequest *req, int64_t offset,
                                     int64_t bytes, QEMUIOVector *qiov,
                                     size_t qiov_offset,
                                     BdrvRequestFlags flags);
int coroutine_fn bdrv_aligned_pwritev(BdrvChild *child,
                                      BdrvTrackedRequest *req, int64_t offset,
                                      int64_t bytes, QEMUIOVector *qiov,
                                      size_t qiov_offset,
                                      BdrvRequestFlags flags);

/* Zeroes by the driver, or written: see io-rw.c. */
int coroutine_fn bdrv_co_do_pwrite_zeroes(BlockDriverState *bs,
                                          int64_t offset, int64_t bytes,
                                          BdrvRequestFlags flags);
/* To the driver, split at its limits; flags that it lacks are emulated. */
int coroutine_fn bdrv_driver_pwritev(BlockDriverState *bs, int64_t offset,
                                     int64_t bytes, QEMUIOVector *qiov,
                                     size_t qiov_offset,
                                     BdrvRequestFlags flags);

/* Before a write up to @end: it is counted whether it succeeds or not. */
void bdrv_note_write(BlockDriverState *bs, uint64_t end);
/* Account for a change of the content, and of the length. */
void coroutine_fn bdrv_co_write_req_finish(BlockDriverState *bs,
                                           int64_t offset, int64_t bytes,
                                           BdrvTrackedRequestType type,
                                           int ret);
/* Data in this range may become zeroes: see block-status.c. */
void bdrv_status_forget(BlockDriverState *bs, int64_t offset, int64_t bytes);
int coroutine_fn bdrv_co_refresh_total_sectors(BlockDriverState *bs);
int bdrv_check_request(int64_t offset, int64_t bytes);
/* -EPERM unless the user of @child has asked for what @type does. */
static inline int bdrv_check_child_perm(const BdrvChild *child,
                                        BdrvTrackedRequestType type,
                                        BdrvRequestFlags flags)
{
    uint64_t enough = 0;

    switch (type) {
    case BDRV_TRACKED_READ:
        return 0;
    case BDRV_TRACKED_WRITE:
        enough = BLK_PERM_WRITE;
        if (flags & BDRV_REQ_WRITE_UNCHANGED) {
            enough |= BLK_PERM_WRITE_UNCHANGED;
        }
        break;
    case BDRV_TRACKED_DISCARD:
        enough = BLK_PERM_WRITE;
        break;
    case BDRV_TRACKED_TRUNCATE:
        enough = BLK_PERM_RESIZE;
        break;
    }
    return qatomic_read(&child->perm) & enough ? 0 : -EPERM;
}

#endif
