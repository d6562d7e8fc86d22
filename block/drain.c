/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Drain: wait until a node, and those above and below it, have no requests.
 */
#include "qemu/osdep.h"
#include "block-io.h"
#include "qemu/aio-wait.h"
#include "system/block-backend.h"

void bdrv_inc_in_flight(BlockDriverState *bs)
{
    qatomic_inc(&bs->in_flight);
}

void bdrv_dec_in_flight(BlockDriverState *bs)
{
    /* Pairs with the reading in bdrv_drain_poll(). */
    if (qatomic_fetch_dec(&bs->in_flight) == 1) {
        aio_wait_kick();
    }
}

/*
 * Has @bs requests, or could there still come some from above?  Those of its
 * children that come from @bs are counted in @bs, too; the children's other
 * parents are not quiesced, and not waited for.
 */
bool bdrv_drain_poll(BlockDriverState *bs)
{
    BdrvChild *c;

    if (qatomic_read(&bs->in_flight)) {
        return true;
    }
    QLIST_FOREACH(c, &bs->parents, next_parent) {
        if (bdrv_parent_drained_poll_single(c)) {
            return true;
        }
    }
    return false;
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

void bdrv_drained_begin(BlockDriverState *bs)
{
    GLOBAL_STATE_CODE();
    assert(!qemu_in_coroutine());
    bdrv_graph_assert_not_writable();
    bdrv_quiesce(bs);
    /* Backends above may run in other threads: their end must wake us. */
    AIO_WAIT_WHILE(NULL, bdrv_drain_poll(bs));
}

void bdrv_drained_end(BlockDriverState *bs)
{
    GLOBAL_STATE_CODE();
    bdrv_unquiesce(bs);
}

void bdrv_drain(BlockDriverState *bs)
{
    bdrv_drained_begin(bs);
    bdrv_drained_end(bs);
}

void bdrv_drain_all(void)
{
    BlockDriverState *bs, *next;

    blk_drain_all();
    /* A node with a reference stays listed, and so does its link. */
    bs = bdrv_next_node(NULL);
    if (bs) {
        bdrv_ref(bs);
    }
    for (; bs; bs = next) {
        bdrv_drain(bs);
        next = bdrv_next_node(bs);
        if (next) {
            bdrv_ref(next);
        }
        bdrv_unref(bs);
    }
}
