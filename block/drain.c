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
static bool bdrv_drain_poll(BlockDriverState *bs)
{
    BdrvChild *c;

    if (qatomic_read(&bs->in_flight)) {
        return true;
    }
    QLIST_FOREACH(c, &bs->parents, next_parent) {
        if (c->parent_blk ? blk_root_in_flight(c->parent_blk) > 0 :
            bdrv_drain_poll(c->parent_bs)) {
            return true;
        }
    }
    return false;
}

static void bdrv_quiesce(BlockDriverState *bs)
{
    BdrvChild *c;

    if (bs->quiesce_counter++ > 0) {
        return;
    }
    QLIST_FOREACH(c, &bs->parents, next_parent) {
        bdrv_parent_drained_begin_single(c);
    }
    if (bs->drv && bs->drv->bdrv_drain_begin) {
        bs->drv->bdrv_drain_begin(bs);
    }
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

static void bdrv_unquiesce(BlockDriverState *bs)
{
    BdrvChild *c;

    assert(bs->quiesce_counter > 0);
    if (--bs->quiesce_counter > 0) {
        return;
    }
    if (bs->drv && bs->drv->bdrv_drain_end) {
        bs->drv->bdrv_drain_end(bs);
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
    if (c->parent_blk) {
        blk_root_drained_begin(c->parent_blk);
    } else {
        bdrv_quiesce(c->parent_bs);
    }
}

void bdrv_parent_drained_end_single(BdrvChild *c)
{
    if (!c->quiesced_parent) {
        return;
    }
    c->quiesced_parent = false;
    if (c->parent_blk) {
        blk_root_drained_end(c->parent_blk);
    } else {
        bdrv_unquiesce(c->parent_bs);
    }
}

void bdrv_drained_begin(BlockDriverState *bs)
{
    GLOBAL_STATE_CODE();
    assert(!qemu_in_coroutine());
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
