/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared by the parts of the request path: io.c, io-rw.c, flush.c,
 * discard.c, truncate.c, block-status.c, tracked.c.  All in coroutines of the
 * node's AioContext.
 */
#ifndef BLOCK_IO_H
#define BLOCK_IO_H

#include "block/block_int.h"

/* List @req with its node, which has it in flight; not serialising. */
static inline void tracked_request_begin(BdrvTrackedRequest *req,
                                         BlockDriverState *bs, int64_t offset,
                                         int64_t bytes,
                                         BdrvTrackedRequestType type)
{
    req->bs = bs;
    req->offset = offset;
    req->bytes = bytes;
    req->type = type;
    req->serialising = false;
    req->overlap_offset = offset;
    req->overlap_bytes = bytes;
    req->waiting_for = NULL;
    qemu_co_queue_init(&req->wait_queue);

    qemu_spin_lock(&bs->reqs_lock);
    bs->in_flight++;
    req->ticket = bs->next_ticket++;
    QLIST_INSERT_HEAD(&bs->tracked_requests, req, list);
    qemu_spin_unlock(&bs->reqs_lock);
}

/* Under reqs_lock: those that wait for @req are going to look again. */
void bdrv_tracked_request_ended_locked(BdrvTrackedRequest *req);

/* Take it off and wake those that wait for it. */
static inline void coroutine_fn
tracked_request_end(BdrvTrackedRequest *req)
{
    BlockDriverState *bs = req->bs;
    bool has_waiters, last;

    qemu_spin_lock(&bs->reqs_lock);
    if (unlikely(req->serialising)) {
        QLIST_REMOVE(req, serialising_list);
        qatomic_dec(&bs->serialising_in_flight);
    }
    QLIST_REMOVE(req, list);
    has_waiters = !qemu_co_queue_empty(&req->wait_queue);
    if (unlikely(has_waiters)) {
        bdrv_tracked_request_ended_locked(req);
    }
    last = --bs->in_flight == 0;
    /* The node may be gone afterwards: bdrv_drain_poll() takes the lock. */
    qemu_spin_unlock(&bs->reqs_lock);

    /* Off the list: nobody can start to wait for it any more. */
    if (unlikely(has_waiters)) {
        qemu_co_queue_restart_all(&req->wait_queue);
    }
    if (last) {
        aio_wait_kick();
    }
}

/*
 * Let no other request overlap [req rounded to @align] from now on, and wait
 * for those that do already.
 */
void coroutine_fn bdrv_make_request_serialising(BdrvTrackedRequest *req,
                                                uint64_t align);
/*
 * Wait for serialising requests that overlap @req.  One that is serialising has
 * its range already: others would take it for one that waits, and go on within
 * its read-modify-write cycle.
 */
void coroutine_fn bdrv_wait_serialising_slow(BdrvTrackedRequest *req);
static inline void coroutine_fn
bdrv_wait_serialising_requests(BdrvTrackedRequest *req)
{
    if (unlikely(qatomic_read(&req->bs->serialising_in_flight) &&
                 !req->serialising)) {
        bdrv_wait_serialising_slow(req);
    }
}

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
void bdrv_note_highest_write(BlockDriverState *bs, uint64_t end);
static inline void bdrv_note_write(BlockDriverState *bs, uint64_t end)
{
    uint64_t old = qatomic_read(&bs->wr_highest_offset);

    if ((old < end &&
         qatomic_cmpxchg(&bs->wr_highest_offset, old, end) != old) ||
        unlikely(qatomic_read(&bs->write_threshold))) {
        bdrv_note_highest_write(bs, end);
    }
}
/* Account for a change of the content, and of the length. */
void coroutine_fn bdrv_co_write_req_finish(BlockDriverState *bs,
                                           int64_t offset, int64_t bytes,
                                           BdrvTrackedRequestType type,
                                           int ret);
/* This range of a node without children is data: see block-status.c. */
void bdrv_status_remember(BlockDriverState *bs, int64_t offset, int64_t bytes);
/* Data in this range may become zeroes: see block-status.c. */
void bdrv_status_forget(BlockDriverState *bs, int64_t offset, int64_t bytes);
/* Ask the driver, and note in bs->total_sectors, how long @bs is.  -errno. */
int coroutine_fn bdrv_co_refresh_total_sectors(BlockDriverState *bs);
/* The same of a node in use: its bitmaps and its parents follow. */
int coroutine_fn bdrv_co_refresh_size(BlockDriverState *bs);
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
        if (likely(qatomic_read(&child->perm) & BLK_PERM_WRITE)) {
            return 0;
        }
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
