/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Drain: wait until a node, and those above it, have no requests.
 *
 * A drained node has quiesced parents: each makes no new requests, and is
 * waited for.  A parent that is a node has quiesced parents in turn.  Main
 * thread; coroutines ask the main thread to do it.
 */
#include "qemu/osdep.h"
#include "block-io.h"
#include "qemu/aio-wait.h"
#include "system/block-backend.h"

/*
 * Has @bs requests, or could there still come some from above?  Those of its
 * children that come from @bs are counted in @bs, too; the children's other
 * parents are not quiesced, and not waited for.
 */
bool bdrv_drain_poll(BlockDriverState *bs)
{
    BdrvChild *c;
    bool busy;

    qemu_spin_lock(&bs->reqs_lock);
    busy = bs->in_flight > 0;
    qemu_spin_unlock(&bs->reqs_lock);
    if (busy) {
        return true;
    }
    QLIST_FOREACH(c, &bs->parents, next_parent) {
        if (bdrv_parent_drained_poll_single(c)) {
            return true;
        }
    }
    return false;
}

void bdrv_cancel_in_flight(BlockDriverState *bs)
{
    BdrvChild *c;

    GLOBAL_STATE_CODE();
    if (bs->drv && bs->drv->bdrv_cancel_in_flight) {
        bs->drv->bdrv_cancel_in_flight(bs);
        return;
    }
    QLIST_FOREACH(c, &bs->children, next) {
        if (!(c->role & BDRV_CHILD_COW)) {
            bdrv_cancel_in_flight(c->bs);
        }
    }
}

void bdrv_driver_drain_begin(BlockDriverState *bs)
{
    if (bs->quiesce_counter && !bs->driver_drained &&
        QTAILQ_IN_USE(bs, node_list)) {
        bs->driver_drained = true;
        if (bs->drv && bs->drv->bdrv_drain_begin) {
            bs->drv->bdrv_drain_begin(bs);
        }
    }
}

void bdrv_quiesce(BlockDriverState *bs)
{
    BdrvChild *c;

    GLOBAL_STATE_CODE();
    if (bs->quiesce_counter++ > 0) {
        return;
    }
    QLIST_FOREACH(c, &bs->parents, next_parent) {
        bdrv_parent_drained_begin_single(c);
    }
    bdrv_driver_drain_begin(bs);
}

static BdrvChild *bdrv_first_quiesced_parent(BlockDriverState *bs)
{
    BdrvChild *c;

    QLIST_FOREACH(c, &bs->parents, next_parent) {
        if (c->quiesced_parent) {
            return c;
        }
    }
    return NULL;
}

void bdrv_unquiesce(BlockDriverState *bs)
{
    BdrvChild *c;

    GLOBAL_STATE_CODE();
    assert(bs->quiesce_counter > 0);
    if (--bs->quiesce_counter > 0) {
        return;
    }
    if (bs->driver_drained) {
        bs->driver_drained = false;
        if (bs->drv && bs->drv->bdrv_drain_end) {
            bs->drv->bdrv_drain_end(bs);
        }
    }
    if (!bdrv_first_quiesced_parent(bs)) {
        return;
    }
    /*
     * Requests that have waited start, and may end, here: edges may go away,
     * with them the last reference, and the next section may begin.
     */
    bdrv_ref(bs);
    while (bs->quiesce_counter == 0 &&
           (c = bdrv_first_quiesced_parent(bs))) {
        bdrv_parent_drained_end_single(c);
    }
    bdrv_unref(bs);
}

void bdrv_parent_drained_begin_single(BdrvChild *c)
{
    if (c->quiesced_parent) {
        return;
    }
    c->quiesced_parent = true;
    if (c->klass->drained_begin) {
        c->klass->drained_begin(c);
    }
}

void bdrv_parent_drained_end_single(BdrvChild *c)
{
    if (!c->quiesced_parent) {
        return;
    }
    c->quiesced_parent = false;
    if (c->klass->drained_end) {
        c->klass->drained_end(c);
    }
}

bool bdrv_parent_drained_poll_single(BdrvChild *c)
{
    return c->klass->drained_poll && c->klass->drained_poll(c);
}

/* --- in a coroutine: the main thread does it --- */

typedef struct {
    Coroutine *co;
    BlockDriverState *bs;       /* NULL: all nodes */
    bool begin;
} BdrvCoDrain;

static void bdrv_co_drain_bh(void *opaque)
{
    BdrvCoDrain *d = opaque;

    if (d->bs) {
        /* A drain must not wait for the request for it. */
        bdrv_dec_in_flight(d->bs);
    }
    if (d->bs && d->begin) {
        bdrv_drained_begin(d->bs);
    } else if (d->bs) {
        bdrv_drained_end(d->bs);
    } else if (d->begin) {
        bdrv_drain_all_begin();
    } else {
        bdrv_drain_all_end();
    }
    aio_co_wake(d->co);
}

static void coroutine_fn bdrv_co_drain(BlockDriverState *bs, bool begin)
{
    BdrvCoDrain d = {
        .co = qemu_coroutine_self(), .bs = bs, .begin = begin,
    };

    if (bs) {
        bdrv_inc_in_flight(bs);
    }
    aio_bh_schedule_oneshot(qemu_get_aio_context(), bdrv_co_drain_bh, &d);
    qemu_coroutine_yield();
}

/* --- one node --- */

void bdrv_drained_begin(BlockDriverState *bs)
{
    if (qemu_in_coroutine()) {
        bdrv_co_drain(bs, true);
        return;
    }
    GLOBAL_STATE_CODE();
    bdrv_graph_assert_not_writable();
    bdrv_quiesce(bs);
    /* Backends above may run in other threads: their end must wake us. */
    AIO_WAIT_WHILE(NULL, bdrv_drain_poll(bs));
}

void bdrv_drained_end(BlockDriverState *bs)
{
    if (qemu_in_coroutine()) {
        bdrv_co_drain(bs, false);
        return;
    }
    bdrv_unquiesce(bs);
}

void bdrv_drain(BlockDriverState *bs)
{
    bdrv_drained_begin(bs);
    bdrv_drained_end(bs);
}

/* --- all nodes --- */

static unsigned drain_all_count;    /* sections; main thread only */

/* A new node takes part in the sections that have begun. */
void bdrv_drain_all_join(BlockDriverState *bs)
{
    while (bs->drain_all_count < drain_all_count) {
        bs->drain_all_count++;
        bdrv_quiesce(bs);
    }
}

static bool bdrv_drain_all_poll(void)
{
    BlockDriverState *bs;

    for (bs = bdrv_next_node(NULL); bs; bs = bdrv_next_node(bs)) {
        if (bdrv_drain_poll(bs)) {
            return true;
        }
    }
    return false;
}

void bdrv_drain_all_begin(void)
{
    BlockDriverState *bs;

    if (qemu_in_coroutine()) {
        bdrv_co_drain(NULL, true);
        return;
    }
    GLOBAL_STATE_CODE();
    bdrv_graph_assert_not_writable();
    drain_all_count++;
    /* Nothing that this calls lets a node go. */
    for (bs = bdrv_next_node(NULL); bs; bs = bdrv_next_node(bs)) {
        bdrv_drain_all_join(bs);
    }
    AIO_WAIT_WHILE(NULL, bdrv_drain_all_poll());
}

void bdrv_drain_all_end(void)
{
    BlockDriverState *bs = NULL;

    if (qemu_in_coroutine()) {
        bdrv_co_drain(NULL, false);
        return;
    }
    GLOBAL_STATE_CODE();
    assert(drain_all_count > 0);
    drain_all_count--;
    while ((bs = bdrv_next_node_ref(bs))) {
        while (bs->drain_all_count > drain_all_count) {
            bs->drain_all_count--;
            bdrv_unquiesce(bs);
        }
    }
}

void bdrv_drain_all(void)
{
    /* Backends without a root have no node to be drained with. */
    blk_drain_all();
    bdrv_drain_all_begin();
    bdrv_drain_all_end();
}
