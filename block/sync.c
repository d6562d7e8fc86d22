/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Coroutine functions for those who are not in a coroutine: see as well the
 * functions that scripts/block-coroutine-wrapper.py writes.
 */
#include "qemu/osdep.h"
#include "qemu/aio-wait.h"
#include "block/block_int.h"

typedef struct {
    int coroutine_fn (*fn)(void *arg);
    void *arg;
    int ret;
    bool done;
} BdrvRunCo;

static void coroutine_fn bdrv_run_co_entry(void *opaque)
{
    BdrvRunCo *data = opaque;

    data->ret = data->fn(data->arg);
    /* Pairs with the acquire in bdrv_run_co(). */
    qatomic_store_release(&data->done, true);
    aio_wait_kick();
}

int bdrv_run_co(AioContext *ctx, int coroutine_fn (*fn)(void *arg), void *arg)
{
    BdrvRunCo data = { .fn = fn, .arg = arg };

    if (qemu_in_coroutine()) {
        return fn(arg);
    }
    aio_co_enter(ctx, qemu_coroutine_create(bdrv_run_co_entry, &data));
    AIO_WAIT_WHILE(ctx, !qatomic_load_acquire(&data.done));
    return data.ret;
}

int64_t bdrv_getlength(BlockDriverState *bs)
{
    /* Does not yield. */
    return bdrv_co_getlength(bs);
}

int bdrv_get_cluster_size(BlockDriverState *bs)
{
    BlockDriverInfo bdi;

    /* get_info of the drivers does not yield. */
    if (bdrv_co_get_info(bs, &bdi) < 0 || bdi.cluster_size == 0) {
        return bs->bl.request_alignment;
    }
    return bdi.cluster_size;
}
