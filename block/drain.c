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

/* Is there anything that could still reach, or come from, @bs? */
static bool bdrv_drain_poll(BlockDriverState *bs)
{
    BdrvChild *c;

    QLIST_FOREACH(c, &bs->parents, next_parent) {
        if (c->parent_blk && blk_root_in_flight(c->parent_blk)) {
            return true;
        }
        if (c->parent_bs && qatomic_read(&c->parent_bs->in_flight)) {
            return true;
        }
    }
    if (qatomic_read(&bs->in_flight)) {
        return true;
    }
    QLIST_FOREACH(c, &bs->children, next) {
        if (qatomic_read(&c->bs->in_flight)) {
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
        if (c->parent_blk) {
            blk_root_drained_begin(c->parent_blk);
        } else {
            bdrv_quiesce(c->parent_bs);
        }
    }
    if (bs->drv && bs->drv->bdrv_drain_begin) {
        bs->drv->bdrv_drain_begin(bs);
    }
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
    QLIST_FOREACH(c, &bs->parents, next_parent) {
        if (c->parent_blk) {
            blk_root_drained_end(c->parent_blk);
        } else {
            bdrv_unquiesce(c->parent_bs);
        }
    }
}

void bdrv_drained_begin(BlockDriverState *bs)
{
    GLOBAL_STATE_CODE();
    assert(!qemu_in_coroutine());
    bdrv_quiesce(bs);
    AIO_WAIT_WHILE(bdrv_get_aio_context(bs), bdrv_drain_poll(bs));
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
    BlockDriverState *bs = NULL;

    blk_drain_all();
    while ((bs = bdrv_next_node(bs))) {
        bdrv_ref(bs);
        bdrv_drain(bs);
        bdrv_unref(bs);
    }
}
