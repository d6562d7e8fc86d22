/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block status: where data comes from, layer by layer.
 */
#include "qemu/osdep.h"
#include "block-io.h"

/* Ask the driver about an aligned range; 0 < *@pnum <= @bytes. */
static int coroutine_fn bdrv_co_driver_status(BlockDriverState *bs,
                                              bool want_zero, int64_t offset,
                                              int64_t bytes, int64_t *pnum,
                                              int64_t *map,
                                              BlockDriverState **file)
{
    BlockDriver *drv = bs->drv;
    int64_t align = bs->bl.request_alignment;
    int64_t start = QEMU_ALIGN_DOWN(offset, align);
    int64_t end = QEMU_ALIGN_UP(offset + bytes, align);
    int ret;

    if (!drv->bdrv_co_block_status) {
        *pnum = bytes;
        ret = BDRV_BLOCK_DATA | BDRV_BLOCK_ALLOCATED;
        if (drv->protocol_name) {
            ret |= BDRV_BLOCK_OFFSET_VALID;
            *map = offset;
            *file = bs;
        }
        return ret;
    }

    ret = drv->bdrv_co_block_status(bs, want_zero, start, end - start, pnum,
                                    map, file);
    if (ret < 0) {
        *pnum = 0;
        return ret;
    }
    /* Cut what the alignment has added. */
    *pnum -= offset - start;
    *pnum = MIN(*pnum, bytes);
    if (ret & BDRV_BLOCK_OFFSET_VALID) {
        *map += offset - start;
    }
    return ret;
}

/* Let the file below say where there are holes in what is data here. */
static int coroutine_fn bdrv_co_status_recurse(BlockDriverState *bs,
                                               BlockDriverState *file,
                                               int ret, int64_t map,
                                               int64_t *pnum)
{
    BlockDriverState *file_file = NULL;
    int64_t file_pnum, file_map;
    int ret2;

    ret2 = bdrv_co_block_status(file, map, *pnum, &file_pnum, &file_map,
                                &file_file);
    if (ret2 < 0) {
        /* It is only a refinement. */
        return ret;
    }
    if ((ret2 & BDRV_BLOCK_EOF) && (!file_pnum || ret2 & BDRV_BLOCK_ZERO)) {
        return ret | BDRV_BLOCK_ZERO;
    }
    *pnum = file_pnum;
    return ret | (ret2 & BDRV_BLOCK_ZERO);
}

static int coroutine_fn bdrv_co_do_block_status(BlockDriverState *bs,
                                                int64_t offset, int64_t bytes,
                                                int64_t *pnum, int64_t *map,
                                                BlockDriverState **file)
{
    int ret = bdrv_co_driver_status(bs, true, offset, bytes, pnum, map, file);

    if (ret < 0) {
        return ret;
    }
    if (ret & BDRV_BLOCK_RAW) {
        /* A filter: the file below has the answer. */
        return bdrv_co_block_status(*file, *map, *pnum, pnum, map, file);
    }
    if (ret & (BDRV_BLOCK_DATA | BDRV_BLOCK_ZERO)) {
        ret |= BDRV_BLOCK_ALLOCATED;
    } else if (!bs->backing) {
        ret |= BDRV_BLOCK_ZERO;
    }
    if ((ret & BDRV_BLOCK_RECURSE) && (ret & BDRV_BLOCK_DATA) &&
        !(ret & BDRV_BLOCK_ZERO) && (ret & BDRV_BLOCK_OFFSET_VALID) &&
        *file && *file != bs) {
        ret = bdrv_co_status_recurse(bs, *file, ret, *map, pnum);
    }
    return ret & ~(BDRV_BLOCK_RAW | BDRV_BLOCK_RECURSE);
}

int coroutine_fn bdrv_co_block_status(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, int64_t *pnum,
                                      int64_t *map, BlockDriverState **file)
{
    int64_t length, local_map = 0;
    BlockDriverState *local_file = NULL;
    int ret;

    *pnum = 0;
    if (!bs->drv) {
        return -ENOMEDIUM;
    }
    length = qatomic_read(&bs->total_sectors) * BDRV_SECTOR_SIZE;
    if (offset >= length) {
        ret = BDRV_BLOCK_EOF;
        goto out;
    }
    bytes = MIN(bytes, length - offset);
    if (bytes == 0) {
        ret = 0;
        goto out;
    }

    bdrv_inc_in_flight(bs);
    ret = bdrv_co_do_block_status(bs, offset, bytes, pnum, &local_map,
                                  &local_file);
    bdrv_dec_in_flight(bs);
    if (ret >= 0 && offset + *pnum == length) {
        ret |= BDRV_BLOCK_EOF;
    }

out:
    if (map) {
        *map = local_map;
    }
    if (file) {
        *file = local_file;
    }
    return ret;
}

int coroutine_fn bdrv_co_is_allocated(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, int64_t *pnum)
{
    int64_t map;
    BlockDriverState *file;
    int ret;

    ret = bdrv_co_block_status(bs, offset, bytes, pnum, &map, &file);
    return ret < 0 ? ret : !!(ret & BDRV_BLOCK_ALLOCATED);
}
