/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The size of a node, and what its driver tells of the image.
 */
#include "qemu/osdep.h"
#include "block-io.h"
#include "block/dirty-bitmap.h"

int coroutine_fn bdrv_co_refresh_total_sectors(BlockDriverState *bs)
{
    int64_t length;

    if (!bs->drv->bdrv_co_getlength) {
        return 0;
    }
    length = bs->drv->bdrv_co_getlength(bs);
    if (length < 0) {
        return length;
    }
    if (length > BDRV_MAX_LENGTH) {
        return -EFBIG;
    }
    qatomic_set(&bs->total_sectors,
                DIV_ROUND_UP(length, (int64_t)BDRV_SECTOR_SIZE));
    return 0;
}

int coroutine_fn bdrv_co_refresh_size(BlockDriverState *bs)
{
    int64_t old = qatomic_read(&bs->total_sectors);
    int ret = bdrv_co_refresh_total_sectors(bs);

    if (ret == 0 && qatomic_read(&bs->total_sectors) != old) {
        bdrv_dirty_bitmap_truncate(bs);
        bdrv_co_parent_cb_resize(bs);
    }
    return ret;
}

void bdrv_do_parent_cb_resize(BlockDriverState *bs)
{
    BdrvChild *c;

    QLIST_FOREACH(c, &bs->parents, next_parent) {
        if (c->klass->resize) {
            c->klass->resize(c);
        }
    }
}

void coroutine_fn bdrv_co_parent_cb_resize(BlockDriverState *bs)
{
    bdrv_graph_co_rdlock();
    bdrv_do_parent_cb_resize(bs);
    bdrv_graph_co_rdunlock();
}

int64_t coroutine_fn bdrv_co_getlength(BlockDriverState *bs)
{
    if (!bs->drv) {
        return -ENOMEDIUM;
    }
    return qatomic_read(&bs->total_sectors) * BDRV_SECTOR_SIZE;
}

/* The walk over the children yields. */
static int64_t coroutine_fn GRAPH_RDLOCK
bdrv_co_do_allocated_file_size(BlockDriverState *bs)
{
    BdrvChild *child;
    int64_t sum = 0;

    if (!bs->drv) {
        return -ENOMEDIUM;
    }
    if (bs->drv->bdrv_co_get_allocated_file_size) {
        return bs->drv->bdrv_co_get_allocated_file_size(bs);
    }
    if (bs->drv->protocol_name) {
        return -ENOTSUP;
    }
    QLIST_FOREACH(child, &bs->children, next) {
        int64_t size;

        if (!(child->role & (BDRV_CHILD_DATA | BDRV_CHILD_METADATA |
                             BDRV_CHILD_FILTERED))) {
            continue;
        }
        size = bdrv_co_do_allocated_file_size(child->bs);
        if (size < 0) {
            return size;
        }
        sum += size;
    }
    return sum;
}

int64_t coroutine_fn bdrv_co_get_allocated_file_size(BlockDriverState *bs)
{
    int64_t size;

    bdrv_graph_co_rdlock();
    size = bdrv_co_do_allocated_file_size(bs);
    bdrv_graph_co_rdunlock();
    return size;
}

int coroutine_fn bdrv_co_get_info(BlockDriverState *bs, BlockDriverInfo *bdi)
{
    memset(bdi, 0, sizeof(*bdi));
    if (!bs->drv) {
        return -ENOMEDIUM;
    }
    if (bs->drv->bdrv_co_get_info) {
        return bs->drv->bdrv_co_get_info(bs, bdi);
    }
    if (bs->drv->is_filter && bs->file) {
        return bdrv_co_get_info(bs->file->bs, bdi);
    }
    return -ENOTSUP;
}

int coroutine_fn bdrv_co_check(BlockDriverState *bs, BdrvCheckResult *res,
                               BdrvCheckMode fix)
{
    memset(res, 0, sizeof(*res));
    if (!bs->drv) {
        return -ENOMEDIUM;
    }
    if (!bs->drv->bdrv_co_check) {
        return -ENOTSUP;
    }
    return bs->drv->bdrv_co_check(bs, res, fix);
}
