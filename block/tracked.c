/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tracked requests: which ranges of a node are being read and written, so
 * that read-modify-write cycles and other serialising requests have theirs
 * to themselves.
 *
 * The lists are under bs->reqs_lock.  Serialising requests are on one of their
 * own, too: any other request looks for conflicts only there, since they are
 * few and it may be one of thousands.
 *
 * First come, first served.  A request waits for one other at a time.  It waits
 * for each one that is being carried out; for one that itself waits, if that
 * came before, so that a coroutine with one serialising request after the other
 * does not keep others away for ever.  The one exception is a request that
 * waits, perhaps through others, for this one: it will look again, and find
 * this one, when it wakes up.  So there are no circles, and no deadlock.
 */
#include "qemu/osdep.h"
#include "block-io.h"

/* A request "waits for" this one when the other has ended, until it runs. */
static BdrvTrackedRequest woken;

void bdrv_tracked_request_ended_locked(BdrvTrackedRequest *ended)
{
    BdrvTrackedRequest *req;

    QLIST_FOREACH(req, &ended->bs->tracked_requests, list) {
        if (req->waiting_for == ended) {
            req->waiting_for = &woken;
        }
    }
}

static bool tracked_request_waits_for(const BdrvTrackedRequest *req,
                                      const BdrvTrackedRequest *other)
{
    while (req && req != other) {
        req = req->waiting_for;
    }
    return req;
}

/* Must @self wait for @req?  One of them is serialising. */
static bool tracked_request_conflicts(const BdrvTrackedRequest *req,
                                      const BdrvTrackedRequest *self)
{
    if (self->overlap_offset >= req->overlap_offset + req->overlap_bytes ||
        req->overlap_offset >= self->overlap_offset + self->overlap_bytes) {
        return false;
    }
    return !req->waiting_for || (req->ticket < self->ticket &&
                                 !tracked_request_waits_for(req, self));
}

static BdrvTrackedRequest *
bdrv_find_conflict_locked(const BdrvTrackedRequest *self)
{
    BlockDriverState *bs = self->bs;
    BdrvTrackedRequest *req;

    if (!self->serialising) {
        QLIST_FOREACH(req, &bs->serialising_requests, serialising_list) {
            if (tracked_request_conflicts(req, self)) {
                return req;
            }
        }
        return NULL;
    }
    QLIST_FOREACH(req, &bs->tracked_requests, list) {
        if (req != self && tracked_request_conflicts(req, self)) {
            return req;
        }
    }
    return NULL;
}

static void coroutine_fn
bdrv_wait_serialising_requests_locked(BdrvTrackedRequest *self)
{
    BdrvTrackedRequest *req;

    while ((req = bdrv_find_conflict_locked(self))) {
        self->waiting_for = req;
        qemu_co_queue_wait(&req->wait_queue, &self->bs->reqs_lock);
        self->waiting_for = NULL;
    }
}

void coroutine_fn bdrv_wait_serialising_slow(BdrvTrackedRequest *req)
{
    BlockDriverState *bs = req->bs;

    qemu_spin_lock(&bs->reqs_lock);
    bdrv_wait_serialising_requests_locked(req);
    qemu_spin_unlock(&bs->reqs_lock);
}

void coroutine_fn bdrv_make_request_serialising(BdrvTrackedRequest *req,
                                                uint64_t align)
{
    BlockDriverState *bs = req->bs;
    int64_t start = QEMU_ALIGN_DOWN(req->offset, (int64_t)align);
    int64_t end = QEMU_ALIGN_UP(req->offset + req->bytes, (int64_t)align);

    qemu_spin_lock(&bs->reqs_lock);
    if (!req->serialising) {
        qatomic_inc(&bs->serialising_in_flight);
        QLIST_INSERT_HEAD(&bs->serialising_requests, req, serialising_list);
        req->serialising = true;
    }
    end = MAX(end, req->overlap_offset + req->overlap_bytes);
    req->overlap_offset = MIN(start, req->overlap_offset);
    req->overlap_bytes = end - req->overlap_offset;
    bdrv_wait_serialising_requests_locked(req);
    qemu_spin_unlock(&bs->reqs_lock);
}
