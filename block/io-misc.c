/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The request path: flush, discard, truncate, block status, sizes.
 */
#include "qemu/osdep.h"
#include "block-io.h"

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
    bs->total_sectors = DIV_ROUND_UP(length, (int64_t)BDRV_SECTOR_SIZE);
    return 0;
}

int64_t coroutine_fn bdrv_co_getlength(BlockDriverState *bs)
{
    if (!bs->drv) {
        return -ENOMEDIUM;
    }
    return bs->total_sectors * BDRV_SECTOR_SIZE;
}

int64_t coroutine_fn bdrv_co_get_allocated_file_size(BlockDriverState *bs)
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
        size = bdrv_co_get_allocated_file_size(child->bs);
        if (size < 0) {
            return size;
        }
        sum += size;
    }
    return sum;
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

/* --- flush --- */

static int coroutine_fn bdrv_co_flush_children(BlockDriverState *bs)
{
    BdrvChild *child;

    QLIST_FOREACH(child, &bs->children, next) {
        int ret;

        if (!(child->perm & (BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED))) {
            continue;
        }
        ret = bdrv_co_flush(child->bs);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

static int coroutine_fn bdrv_co_flush_layer(BlockDriverState *bs, unsigned gen)
{
    int ret;

    bdrv_co_debug_event(bs, BLKDBG_FLUSH_TO_OS);
    if (bs->drv->bdrv_co_flush_to_os) {
        ret = bs->drv->bdrv_co_flush_to_os(bs);
        if (ret < 0) {
            return ret;
        }
    }
    /* cache=unsafe: the disk does not matter. */
    if (bs->open_flags & BDRV_O_NO_FLUSH) {
        return 0;
    }
    /*
     * Nothing written since a flush that another request has made: nothing to
     * do for this node; its children are asked all the same, since a driver
     * may have written to them on its own account.  The difference is right
     * when the counters wrap.
     */
    if ((int)(bs->flushed_gen - gen) >= 0) {
        return bdrv_co_flush_children(bs);
    }
    bdrv_co_debug_event(bs, BLKDBG_FLUSH_TO_DISK);
    if (bs->drv->bdrv_co_flush_to_disk) {
        ret = bs->drv->bdrv_co_flush_to_disk(bs);
        if (ret < 0) {
            return ret;
        }
    }
    ret = bdrv_co_flush_children(bs);
    if (ret < 0) {
        return ret;
    }
    bs->flushed_gen = gen;
    return 0;
}

int coroutine_fn bdrv_co_flush(BlockDriverState *bs)
{
    unsigned gen;
    int ret;

    if (!bs->drv) {
        return -ENOMEDIUM;
    }
    if (bdrv_is_read_only(bs)) {
        return 0;
    }

    bdrv_inc_in_flight(bs);
    qemu_spin_lock(&bs->reqs_lock);
    gen = qatomic_read(&bs->write_gen);
    /* One at a time: a later one may find that it has nothing to do. */
    while (bs->active_flush_req) {
        qemu_co_queue_wait(&bs->flush_queue, &bs->reqs_lock);
    }
    bs->active_flush_req = true;
    qemu_spin_unlock(&bs->reqs_lock);

    ret = bdrv_co_flush_layer(bs, gen);

    qemu_spin_lock(&bs->reqs_lock);
    bs->active_flush_req = false;
    qemu_spin_unlock(&bs->reqs_lock);
    qemu_co_queue_next(&bs->flush_queue);
    bdrv_dec_in_flight(bs);
    return ret;
}

/* --- discard --- */

static int coroutine_fn bdrv_co_do_pdiscard(BlockDriverState *bs,
                                            int64_t offset, int64_t bytes)
{
    int64_t align = MAX(bs->bl.pdiscard_alignment, bs->bl.request_alignment);
    int64_t max = MIN_NON_ZERO(bs->bl.max_pdiscard, (int64_t)INT_MAX);
    int64_t end = QEMU_ALIGN_DOWN(offset + bytes,
                                  (int64_t)bs->bl.request_alignment);

    max = MAX(QEMU_ALIGN_DOWN(max, align), align);
    /* Advisory: what is not whole blocks of the device stays. */
    offset = QEMU_ALIGN_UP(offset, (int64_t)bs->bl.request_alignment);
    while (offset < end) {
        int64_t head = offset % align;
        int64_t n = head ? MIN(end - offset, align - head) :
                    MIN(end - offset, max);
        int ret;

        if (!head && n > align) {
            n = QEMU_ALIGN_DOWN(n, align);
        }
        ret = bs->drv->bdrv_co_pdiscard(bs, offset, n);
        if (ret < 0 && ret != -ENOTSUP) {
            return ret;
        }
        offset += n;
    }
    return 0;
}

int coroutine_fn bdrv_co_pdiscard(BdrvChild *child, int64_t offset,
                                  int64_t bytes)
{
    BlockDriverState *bs = child->bs;
    BdrvTrackedRequest req;
    int ret;

    if (!bs->drv) {
        return -ENOMEDIUM;
    }
    ret = bdrv_check_request(offset, bytes);
    if (ret < 0) {
        return ret;
    }
    if (bdrv_is_read_only(bs)) {
        return -EPERM;
    }
    if (!(bs->open_flags & BDRV_O_UNMAP) || !bs->drv->bdrv_co_pdiscard) {
        return 0;
    }

    bdrv_inc_in_flight(bs);
    tracked_request_begin(&req, bs, offset, bytes, BDRV_TRACKED_DISCARD);
    bdrv_wait_serialising_requests(&req);
    ret = bdrv_co_do_pdiscard(bs, offset, bytes);
    bdrv_co_write_req_finish(bs, offset, bytes, BDRV_TRACKED_DISCARD, ret);
    tracked_request_end(&req);
    bdrv_dec_in_flight(bs);
    return ret;
}

/* --- truncate --- */

static int coroutine_fn bdrv_co_do_truncate(BdrvChild *child, int64_t offset,
                                            bool exact,
                                            PreallocMode prealloc,
                                            BdrvRequestFlags flags,
                                            Error **errp)
{
    BlockDriverState *bs = child->bs;
    BlockDriver *drv = bs->drv;
    int ret;

    if (drv->bdrv_co_truncate) {
        ret = drv->bdrv_co_truncate(bs, offset, exact, prealloc,
                                    flags & bs->supported_truncate_flags,
                                    errp);
    } else if (drv->is_filter && bs->file) {
        ret = bdrv_co_truncate(bs->file, offset, exact, prealloc, flags,
                               errp);
    } else {
        error_setg(errp, "Image format driver does not support resize");
        return -ENOTSUP;
    }
    if (ret < 0) {
        return ret;
    }
    bs->total_sectors = DIV_ROUND_UP(offset, (int64_t)BDRV_SECTOR_SIZE);
    ret = bdrv_co_refresh_total_sectors(bs);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not refresh total sector count");
    }
    return ret;
}

int coroutine_fn bdrv_co_truncate(BdrvChild *child, int64_t offset, bool exact,
                                  PreallocMode prealloc,
                                  BdrvRequestFlags flags, Error **errp)
{
    BlockDriverState *bs = child->bs;
    BdrvTrackedRequest req;
    int64_t old_size, new_bytes;
    int ret;

    if (!bs->drv) {
        error_setg(errp, "No medium inserted");
        return -ENOMEDIUM;
    }
    if (offset < 0) {
        error_setg(errp, "Image size cannot be negative");
        return -EINVAL;
    }
    if (bdrv_check_request(offset, 0) < 0) {
        error_setg(errp, "Required size too big, it must be %" PRId64
                   " bytes at most", BDRV_MAX_LENGTH);
        return -EINVAL;
    }
    if (bdrv_is_read_only(bs)) {
        error_setg(errp, "Image is read-only");
        return -EACCES;
    }

    old_size = bs->total_sectors * BDRV_SECTOR_SIZE;
    new_bytes = MAX(offset - old_size, 0);
    bdrv_inc_in_flight(bs);
    tracked_request_begin(&req, bs, offset - new_bytes, new_bytes,
                          BDRV_TRACKED_TRUNCATE);
    if (new_bytes) {
        /* Nobody writes to the new area while it is being prepared. */
        bdrv_make_request_serialising(&req, 1);
    }
    ret = bdrv_co_do_truncate(child, offset, exact, prealloc, flags, errp);
    bdrv_co_write_req_finish(bs, offset - new_bytes, new_bytes,
                             BDRV_TRACKED_TRUNCATE, ret);
    tracked_request_end(&req);
    bdrv_dec_in_flight(bs);
    return ret;
}

/* --- block status --- */

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
    length = bs->total_sectors * BDRV_SECTOR_SIZE;
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
