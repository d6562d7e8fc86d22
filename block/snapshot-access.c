/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The driver snapshot-access: reads what its child, a copy-before-write filter,
 * keeps of the disk as it was.  A discard says that a part is not wanted any
 * more.  Nothing can be written.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"

static int snapshot_access_open(BlockDriverState *bs, QOpts *options,
                                int flags, Error **errp)
{
    if (!bdrv_open_child(NULL, options, "file", bs,
                         BDRV_CHILD_DATA | BDRV_CHILD_PRIMARY, false, errp)) {
        return -EINVAL;
    }
    bs->total_sectors = bs->file->bs->total_sectors;
    return 0;
}

static int coroutine_fn snapshot_access_co_preadv_part(
    BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
    size_t qiov_offset, BdrvRequestFlags flags)
{
    BlockDriverState *file = bs->file->bs;
    int ret = -ENOTSUP;

    if (file->drv && file->drv->bdrv_co_preadv_snapshot) {
        bdrv_inc_in_flight(file);
        ret = file->drv->bdrv_co_preadv_snapshot(file, offset, bytes, qiov,
                                                 qiov_offset);
        bdrv_dec_in_flight(file);
    }
    return ret;
}

static int coroutine_fn snapshot_access_co_block_status(
    BlockDriverState *bs, bool want_zero, int64_t offset, int64_t bytes,
    int64_t *pnum, int64_t *map, BlockDriverState **file)
{
    BlockDriverState *file_bs = bs->file->bs;
    int ret = -ENOTSUP;

    if (file_bs->drv && file_bs->drv->bdrv_co_snapshot_block_status) {
        bdrv_inc_in_flight(file_bs);
        ret = file_bs->drv->bdrv_co_snapshot_block_status(file_bs, offset,
                                                          bytes, pnum);
        bdrv_dec_in_flight(file_bs);
    }
    if (ret < 0) {
        return ret;
    }
    /* Where it is changes as the disk is written. */
    ret &= BDRV_BLOCK_DATA | BDRV_BLOCK_ZERO;
    return ret ? ret : BDRV_BLOCK_DATA;
}

static int coroutine_fn snapshot_access_co_pdiscard(BlockDriverState *bs,
                                                    int64_t offset,
                                                    int64_t bytes)
{
    BlockDriverState *file = bs->file->bs;
    int ret = -ENOTSUP;

    if (file->drv && file->drv->bdrv_co_pdiscard_snapshot) {
        bdrv_inc_in_flight(file);
        ret = file->drv->bdrv_co_pdiscard_snapshot(file, offset, bytes);
        bdrv_dec_in_flight(file);
    }
    return ret;
}

static int coroutine_fn snapshot_access_co_pwritev_part(
    BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
    size_t qiov_offset, BdrvRequestFlags flags)
{
    return -ENOTSUP;
}

static int coroutine_fn snapshot_access_co_pwrite_zeroes(
    BlockDriverState *bs, int64_t offset, int64_t bytes,
    BdrvRequestFlags flags)
{
    return -EACCES;
}

/* There is nothing of its own to flush. */
static int coroutine_fn snapshot_access_co_flush(BlockDriverState *bs)
{
    return 0;
}

static void snapshot_access_refresh_filename(BlockDriverState *bs)
{
    g_free(bs->filename);
    bs->filename = g_strdup(bs->file->bs->filename);
}

/* The child is asked by functions of its own, not as a disk. */
static void snapshot_access_child_perm(BlockDriverState *bs, BdrvChild *c,
                                       BdrvChildRole role, uint64_t perm,
                                       uint64_t shared, uint64_t *nperm,
                                       uint64_t *nshared)
{
    *nperm = 0;
    *nshared = BLK_PERM_ALL;
}

static BlockDriver bdrv_snapshot_access = {
    .format_name = "snapshot-access",
    .bdrv_open = snapshot_access_open,
    .bdrv_co_preadv_part = snapshot_access_co_preadv_part,
    .bdrv_co_pwritev_part = snapshot_access_co_pwritev_part,
    .bdrv_co_pwrite_zeroes = snapshot_access_co_pwrite_zeroes,
    .bdrv_co_pdiscard = snapshot_access_co_pdiscard,
    .bdrv_co_flush = snapshot_access_co_flush,
    .bdrv_co_block_status = snapshot_access_co_block_status,
    .bdrv_refresh_filename = snapshot_access_refresh_filename,
    .bdrv_child_perm = snapshot_access_child_perm,
};

static void snapshot_access_init(void)
{
    bdrv_register(&bdrv_snapshot_access);
}

block_init(snapshot_access_init);
