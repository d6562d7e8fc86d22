/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block status: where data comes from, layer by layer.
 */
#include "qemu/osdep.h"
#include "block-io.h"

/*
 * The last range of data that the driver of a node without children has told.
 * Data that becomes zeroes without being told so is still data for those who
 * read it, so only what this process turns to zeroes has to be forgotten, and
 * no order with requests in flight is needed.
 */

/* How much from @offset on is known to be data; 0: not known. */
static int64_t bdrv_status_known(BlockDriverState *bs, int64_t offset)
{
    int64_t n = 0;

    qemu_spin_lock(&bs->status_lock);
    if (offset >= bs->status_start && offset < bs->status_end) {
        n = bs->status_end - offset;
    }
    qemu_spin_unlock(&bs->status_lock);
    return n;
}

void bdrv_status_remember(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    qemu_spin_lock(&bs->status_lock);
    bs->status_start = offset;
    bs->status_end = offset + bytes;
    qemu_spin_unlock(&bs->status_lock);
}

void bdrv_status_forget(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    qemu_spin_lock(&bs->status_lock);
    if (offset < bs->status_end && bs->status_start < offset + bytes) {
        bs->status_end = 0;
    }
    qemu_spin_unlock(&bs->status_lock);
}

/* The driver's answer for an aligned range, or the same from memory. */
static int coroutine_fn GRAPH_RDLOCK
bdrv_co_ask_driver(BlockDriverState *bs, bool want_zero, int64_t start,
                   int64_t bytes, int64_t *pnum, int64_t *map,
                   BlockDriverState **file)
{
    const int data = BDRV_BLOCK_DATA | BDRV_BLOCK_OFFSET_VALID;
    bool leaf = want_zero && QLIST_EMPTY(&bs->children);
    int ret;

    *pnum = leaf ? bdrv_status_known(bs, start) : 0;
    if (*pnum) {
        *map = start;
        *file = bs;
        return data;
    }
    ret = bs->drv->bdrv_co_block_status(bs, want_zero, start, bytes, pnum,
                                        map, file);
    if (leaf && ret == data && *file == bs && *map == start) {
        bdrv_status_remember(bs, start, *pnum);
    }
    return ret;
}

/* Ask the driver about an aligned range; 0 < *@pnum <= @bytes. */
static int coroutine_fn GRAPH_RDLOCK
bdrv_co_driver_status(BlockDriverState *bs, bool want_zero, int64_t offset,
                      int64_t bytes, int64_t *pnum, int64_t *map,
                      BlockDriverState **file)
{
    BlockDriver *drv = bs->drv;
    int64_t align = bs->bl.request_alignment;
    int64_t start = QEMU_ALIGN_DOWN(offset, align);
    int64_t end = QEMU_ALIGN_UP(offset + bytes, align);
    int ret;

    if (!drv->bdrv_co_block_status) {
        BlockDriverState *filtered = bdrv_filter_bs(bs);

        *pnum = bytes;
        if (filtered) {
            *map = offset;
            *file = filtered;
            return BDRV_BLOCK_RAW | BDRV_BLOCK_OFFSET_VALID;
        }
        ret = BDRV_BLOCK_DATA | BDRV_BLOCK_ALLOCATED;
        if (drv->protocol_name) {
            ret |= BDRV_BLOCK_OFFSET_VALID;
            *map = offset;
            *file = bs;
        }
        return ret;
    }

    ret = bdrv_co_ask_driver(bs, want_zero, start, end - start, pnum, map,
                             file);
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

static int coroutine_fn GRAPH_RDLOCK
bdrv_co_do_block_status(BlockDriverState *bs, bool want_zero, int64_t offset,
                        int64_t bytes, int64_t *pnum, int64_t *map,
                        BlockDriverState **file);

/* Let the file below say where there are holes in what is data here. */
static int coroutine_fn GRAPH_RDLOCK
bdrv_co_status_recurse(BlockDriverState *file, int ret, int64_t map,
                       int64_t *pnum)
{
    BlockDriverState *file_file = NULL;
    int64_t file_pnum, file_map;
    int ret2;

    ret2 = bdrv_co_do_block_status(file, true, map, *pnum, &file_pnum,
                                   &file_map, &file_file);
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

/* @bs has nothing here: does it read as zeroes whatever is below? */
static bool bdrv_reads_zero_below(BlockDriverState *bs, int64_t offset)
{
    BlockDriverState *cow = bdrv_cow_bs(bs);

    if (!cow) {
        return true;
    }
    return offset >= qatomic_read(&cow->total_sectors) *
                     (int64_t)BDRV_SECTOR_SIZE;
}

static int coroutine_fn GRAPH_RDLOCK
bdrv_co_status_within(BlockDriverState *bs, bool want_zero, int64_t offset,
                      int64_t bytes, int64_t *pnum, int64_t *map,
                      BlockDriverState **file)
{
    int ret = bdrv_co_driver_status(bs, want_zero, offset, bytes, pnum, map,
                                    file);

    if (ret < 0) {
        return ret;
    }
    if (ret & BDRV_BLOCK_RAW) {
        /* A filter: the file below has the answer. */
        return bdrv_co_do_block_status(*file, want_zero, *map, *pnum, pnum,
                                       map, file);
    }
    if (ret & (BDRV_BLOCK_DATA | BDRV_BLOCK_ZERO)) {
        ret |= BDRV_BLOCK_ALLOCATED;
    } else if (bs->drv->supports_backing &&
               bdrv_reads_zero_below(bs, offset)) {
        ret |= BDRV_BLOCK_ZERO;
    }
    if (want_zero && (ret & BDRV_BLOCK_RECURSE) && (ret & BDRV_BLOCK_DATA) &&
        !(ret & BDRV_BLOCK_ZERO) && (ret & BDRV_BLOCK_OFFSET_VALID) &&
        *file && *file != bs) {
        ret = bdrv_co_status_recurse(*file, ret, *map, pnum);
    }
    return ret & ~(BDRV_BLOCK_RAW | BDRV_BLOCK_RECURSE);
}

/* Of one layer.  *@map and *@file are set in any case. */
static int coroutine_fn
bdrv_co_do_block_status(BlockDriverState *bs, bool want_zero, int64_t offset,
                        int64_t bytes, int64_t *pnum, int64_t *map,
                        BlockDriverState **file)
{
    int64_t length;
    int ret;

    *pnum = 0;
    *map = 0;
    *file = NULL;
    if (!bs->drv) {
        return -ENOMEDIUM;
    }
    length = qatomic_read(&bs->total_sectors) * BDRV_SECTOR_SIZE;
    if (offset >= length) {
        return BDRV_BLOCK_EOF;
    }
    bytes = MIN(bytes, length - offset);
    if (bytes == 0) {
        return 0;
    }

    bdrv_inc_in_flight(bs);
    ret = bdrv_co_status_within(bs, want_zero, offset, bytes, pnum, map,
                                file);
    bdrv_dec_in_flight(bs);
    if (ret >= 0 && offset + *pnum == length) {
        ret |= BDRV_BLOCK_EOF;
    }
    return ret;
}

/*
 * From @bs down to @base, which counts if @include_base, the first layer that
 * has something at @offset.  *@depth is the number of layers looked at.
 */
static int coroutine_fn GRAPH_RDLOCK
bdrv_co_do_status_above(BlockDriverState *bs, BlockDriverState *base,
                        bool include_base, bool want_zero, int64_t offset,
                        int64_t bytes, int64_t *pnum, int64_t *map,
                        BlockDriverState **file, int *depth)
{
    BlockDriverState *p;
    int64_t eof = -1;
    int ret;

    *depth = 0;
    if (!include_base && bs == base) {
        *pnum = bytes;
        *map = 0;
        *file = NULL;
        return 0;
    }
    ret = bdrv_co_do_block_status(bs, want_zero, offset, bytes, pnum, map,
                                  file);
    ++*depth;
    if (ret < 0 || *pnum == 0 || (ret & BDRV_BLOCK_ALLOCATED) || bs == base) {
        return ret;
    }
    if (ret & BDRV_BLOCK_EOF) {
        eof = offset + *pnum;
    }

    p = bs;
    while ((p = bdrv_filter_or_cow_bs(p)) && (include_base || p != base)) {
        if (p != base && p->drv && p->drv->is_filter) {
            /* It has nothing itself: what is below may be the base. */
            continue;
        }
        bytes = *pnum;
        ret = bdrv_co_do_block_status(p, want_zero, offset, bytes, pnum, map,
                                      file);
        ++*depth;
        if (ret < 0) {
            return ret;
        }
        if (*pnum == 0) {
            /* This layer ends before, and hides what is below: zeroes. */
            *pnum = bytes;
            *file = p;
            *map = 0;
            ret = BDRV_BLOCK_ZERO | BDRV_BLOCK_ALLOCATED;
            break;
        }
        /* The end of this layer is not the end of @bs. */
        ret &= ~BDRV_BLOCK_EOF;
        if ((ret & BDRV_BLOCK_ALLOCATED) || p == base) {
            break;
        }
    }
    if (offset + *pnum == eof) {
        ret |= BDRV_BLOCK_EOF;
    }
    return ret;
}

static int coroutine_fn
bdrv_co_common_status_above(BlockDriverState *bs, BlockDriverState *base,
                            bool include_base, bool want_zero, int64_t offset,
                            int64_t bytes, int64_t *pnum, int64_t *map,
                            BlockDriverState **file, int *depth)
{
    BlockDriverState *local_file;
    int64_t local_map;
    int local_depth, ret;

    bdrv_graph_co_rdlock();
    ret = bdrv_co_do_status_above(bs, base, include_base, want_zero, offset,
                                  bytes, pnum, map ? map : &local_map,
                                  file ? file : &local_file,
                                  depth ? depth : &local_depth);
    bdrv_graph_co_rdunlock();
    return ret;
}

int coroutine_fn bdrv_co_block_status_above(BlockDriverState *bs,
                                            BlockDriverState *base,
                                            int64_t offset, int64_t bytes,
                                            int64_t *pnum, int64_t *map,
                                            BlockDriverState **file)
{
    return bdrv_co_common_status_above(bs, base, false, true, offset, bytes,
                                       pnum, map, file, NULL);
}

int coroutine_fn bdrv_co_block_status(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, int64_t *pnum,
                                      int64_t *map, BlockDriverState **file)
{
    /* A chain of one node. */
    return bdrv_co_common_status_above(bs, bs, true, true, offset, bytes,
                                       pnum, map, file, NULL);
}

int coroutine_fn bdrv_co_is_allocated(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, int64_t *pnum)
{
    int ret = bdrv_co_common_status_above(bs, bs, true, false, offset, bytes,
                                          pnum, NULL, NULL, NULL);

    return ret < 0 ? ret : !!(ret & BDRV_BLOCK_ALLOCATED);
}

int coroutine_fn bdrv_co_is_allocated_above(BlockDriverState *top,
                                            BlockDriverState *base,
                                            bool include_base,
                                            int64_t offset, int64_t bytes,
                                            int64_t *pnum)
{
    int depth;
    int ret = bdrv_co_common_status_above(top, base, include_base, false,
                                          offset, bytes, pnum, NULL, NULL,
                                          &depth);

    if (ret < 0) {
        return ret;
    }
    return ret & BDRV_BLOCK_ALLOCATED ? depth : 0;
}

int coroutine_fn bdrv_co_is_zero_fast(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes)
{
    int64_t pnum;
    int ret;

    if (!bytes) {
        return 1;
    }
    ret = bdrv_co_common_status_above(bs, NULL, false, true, offset, bytes,
                                      &pnum, NULL, NULL, NULL);
    if (ret < 0) {
        return ret;
    }
    return pnum == bytes && (ret & BDRV_BLOCK_ZERO);
}

bool coroutine_fn bdrv_co_is_known_zero(BlockDriverState *bs, int64_t offset,
                                        int64_t bytes)
{
    int64_t pnum;
    int ret;

    if (bdrv_is_overlay(bdrv_skip_filters(bs))) {
        return false;
    }
    ret = bdrv_co_block_status(bs, offset, bytes, &pnum, NULL, NULL);
    return ret >= 0 && (ret & BDRV_BLOCK_ZERO) && pnum >= bytes;
}

int coroutine_fn bdrv_co_is_all_zeroes(BlockDriverState *bs)
{
    int64_t length = bdrv_co_getlength(bs);
    int64_t offset = 0;

    if (length < 0) {
        return length;
    }
    /* Pieces that are known to be zeroes can be long; data ends it. */
    while (offset < length) {
        int64_t pnum;
        int ret = bdrv_co_common_status_above(bs, NULL, false, true, offset,
                                              length - offset, &pnum, NULL,
                                              NULL, NULL);

        if (ret < 0) {
            return ret;
        }
        if (!pnum || !(ret & BDRV_BLOCK_ZERO)) {
            return 0;
        }
        offset += pnum;
    }
    return 1;
}
