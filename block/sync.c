/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Request functions for those who are not in a coroutine: each runs its
 * coroutine function and polls until it has returned.  In a coroutine it is
 * called directly.
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

typedef struct {
    BlockDriverState *bs;
    BlockDriverState *base;
    bool include_base;
    BdrvChild *child;
    int64_t offset;
    int64_t bytes;
    void *buf;
    BdrvRequestFlags flags;
    bool exact;
    PreallocMode prealloc;
    Error **errp;
    int64_t *pnum;
    int64_t *map;
    BlockDriverState **file;
    BlockDriverInfo *bdi;
    BdrvCheckResult *check;
    int64_t ret64;
} BdrvSyncArgs;

static int coroutine_fn bdrv_pread_entry(void *opaque)
{
    BdrvSyncArgs *a = opaque;

    return bdrv_co_pread(a->child, a->offset, a->bytes, a->buf, a->flags);
}

int bdrv_pread(BdrvChild *child, int64_t offset, int64_t bytes, void *buf,
               BdrvRequestFlags flags)
{
    BdrvSyncArgs a = {
        .child = child, .offset = offset, .bytes = bytes, .buf = buf,
        .flags = flags,
    };

    return bdrv_run_co(bdrv_get_aio_context(child->bs), bdrv_pread_entry, &a);
}

static int coroutine_fn bdrv_pwrite_entry(void *opaque)
{
    BdrvSyncArgs *a = opaque;

    return bdrv_co_pwrite(a->child, a->offset, a->bytes, a->buf, a->flags);
}

int bdrv_pwrite(BdrvChild *child, int64_t offset, int64_t bytes,
                const void *buf, BdrvRequestFlags flags)
{
    BdrvSyncArgs a = {
        .child = child, .offset = offset, .bytes = bytes, .buf = (void *)buf,
        .flags = flags,
    };

    return bdrv_run_co(bdrv_get_aio_context(child->bs), bdrv_pwrite_entry,
                       &a);
}

int bdrv_pwrite_sync(BdrvChild *child, int64_t offset, int64_t bytes,
                     const void *buf, BdrvRequestFlags flags)
{
    int ret = bdrv_pwrite(child, offset, bytes, buf, flags);

    return ret < 0 ? ret : bdrv_flush(child->bs);
}

static int coroutine_fn bdrv_pwrite_zeroes_entry(void *opaque)
{
    BdrvSyncArgs *a = opaque;

    return bdrv_co_pwrite_zeroes(a->child, a->offset, a->bytes, a->flags);
}

int bdrv_pwrite_zeroes(BdrvChild *child, int64_t offset, int64_t bytes,
                       BdrvRequestFlags flags)
{
    BdrvSyncArgs a = {
        .child = child, .offset = offset, .bytes = bytes, .flags = flags,
    };

    return bdrv_run_co(bdrv_get_aio_context(child->bs),
                       bdrv_pwrite_zeroes_entry, &a);
}

static int coroutine_fn bdrv_flush_entry(void *opaque)
{
    return bdrv_co_flush(opaque);
}

int bdrv_flush(BlockDriverState *bs)
{
    return bdrv_run_co(bdrv_get_aio_context(bs), bdrv_flush_entry, bs);
}

static int coroutine_fn bdrv_truncate_entry(void *opaque)
{
    BdrvSyncArgs *a = opaque;

    return bdrv_co_truncate(a->child, a->offset, a->exact, a->prealloc,
                            a->flags, a->errp);
}

int bdrv_truncate(BdrvChild *child, int64_t offset, bool exact,
                  PreallocMode prealloc, BdrvRequestFlags flags,
                  Error **errp)
{
    BdrvSyncArgs a = {
        .child = child, .offset = offset, .exact = exact,
        .prealloc = prealloc, .flags = flags, .errp = errp,
    };

    return bdrv_run_co(bdrv_get_aio_context(child->bs), bdrv_truncate_entry,
                       &a);
}

int64_t bdrv_getlength(BlockDriverState *bs)
{
    /* Does not yield. */
    return bdrv_co_getlength(bs);
}

static int coroutine_fn bdrv_get_allocated_file_size_entry(void *opaque)
{
    BdrvSyncArgs *a = opaque;

    a->ret64 = bdrv_co_get_allocated_file_size(a->bs);
    return 0;
}

int64_t bdrv_get_allocated_file_size(BlockDriverState *bs)
{
    BdrvSyncArgs a = { .bs = bs };

    bdrv_run_co(bdrv_get_aio_context(bs), bdrv_get_allocated_file_size_entry,
                &a);
    return a.ret64;
}

static int coroutine_fn bdrv_get_info_entry(void *opaque)
{
    BdrvSyncArgs *a = opaque;

    return bdrv_co_get_info(a->bs, a->bdi);
}

int bdrv_get_info(BlockDriverState *bs, BlockDriverInfo *bdi)
{
    BdrvSyncArgs a = { .bs = bs, .bdi = bdi };

    return bdrv_run_co(bdrv_get_aio_context(bs), bdrv_get_info_entry, &a);
}

static int coroutine_fn bdrv_check_entry(void *opaque)
{
    BdrvSyncArgs *a = opaque;

    return bdrv_co_check(a->bs, a->check, a->bytes);
}

int bdrv_check(BlockDriverState *bs, BdrvCheckResult *res, BdrvCheckMode fix)
{
    BdrvSyncArgs a = { .bs = bs, .check = res, .bytes = fix };

    return bdrv_run_co(bdrv_get_aio_context(bs), bdrv_check_entry, &a);
}

static int coroutine_fn bdrv_block_status_entry(void *opaque)
{
    BdrvSyncArgs *a = opaque;

    return bdrv_co_block_status(a->bs, a->offset, a->bytes, a->pnum, a->map,
                                a->file);
}

int bdrv_block_status(BlockDriverState *bs, int64_t offset, int64_t bytes,
                      int64_t *pnum, int64_t *map, BlockDriverState **file)
{
    BdrvSyncArgs a = {
        .bs = bs, .offset = offset, .bytes = bytes, .pnum = pnum, .map = map,
        .file = file,
    };

    return bdrv_run_co(bdrv_get_aio_context(bs), bdrv_block_status_entry, &a);
}

static int coroutine_fn bdrv_block_status_above_entry(void *opaque)
{
    BdrvSyncArgs *a = opaque;

    return bdrv_co_block_status_above(a->bs, a->base, a->offset, a->bytes,
                                      a->pnum, a->map, a->file);
}

int bdrv_block_status_above(BlockDriverState *bs, BlockDriverState *base,
                            int64_t offset, int64_t bytes, int64_t *pnum,
                            int64_t *map, BlockDriverState **file)
{
    BdrvSyncArgs a = {
        .bs = bs, .base = base, .offset = offset, .bytes = bytes,
        .pnum = pnum, .map = map, .file = file,
    };

    return bdrv_run_co(bdrv_get_aio_context(bs),
                       bdrv_block_status_above_entry, &a);
}

static int coroutine_fn bdrv_is_allocated_above_entry(void *opaque)
{
    BdrvSyncArgs *a = opaque;

    return bdrv_co_is_allocated_above(a->bs, a->base, a->include_base,
                                      a->offset, a->bytes, a->pnum);
}

int bdrv_is_allocated_above(BlockDriverState *top, BlockDriverState *base,
                            bool include_base, int64_t offset, int64_t bytes,
                            int64_t *pnum)
{
    BdrvSyncArgs a = {
        .bs = top, .base = base, .include_base = include_base,
        .offset = offset, .bytes = bytes, .pnum = pnum,
    };

    return bdrv_run_co(bdrv_get_aio_context(top),
                       bdrv_is_allocated_above_entry, &a);
}

int bdrv_is_allocated(BlockDriverState *bs, int64_t offset, int64_t bytes,
                      int64_t *pnum)
{
    int ret = bdrv_is_allocated_above(bs, bs, true, offset, bytes, pnum);

    return ret < 0 ? ret : !!ret;
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
