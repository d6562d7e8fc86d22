/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copying a range from one node to another without the data passing through
 * this process, where the files are of one kind that can do it.
 *
 * A request goes down to the file of the source (_from), from there to the top
 * of the target, and down to its file (_to), which does the work.  Each node
 * on the way tracks it as a read or a write.  -ENOTSUP from any of them means
 * that nothing is wrong, but that the caller has to read and write.
 */
#include "qemu/osdep.h"
#include "block-io.h"

static bool bdrv_copy_range_is_possible(const BlockDriverState *bs,
                                        int64_t offset, int64_t bytes)
{
    int64_t len = qatomic_read(&bs->total_sectors) * BDRV_SECTOR_SIZE;

    return QEMU_IS_ALIGNED(offset | bytes,
                           (int64_t)bs->bl.request_alignment) &&
           offset <= len && bytes <= len - offset;
}

int coroutine_fn bdrv_co_copy_range_from(BdrvChild *src, int64_t src_offset,
                                         BdrvChild *dst, int64_t dst_offset,
                                         int64_t bytes,
                                         BdrvRequestFlags read_flags,
                                         BdrvRequestFlags write_flags)
{
    BlockDriverState *bs = src->bs;
    BdrvTrackedRequest req;
    int ret;

    if (!bs->drv) {
        return -ENOMEDIUM;
    }
    ret = bdrv_check_request(src_offset, bytes);
    if (ret < 0) {
        return ret;
    }
    if (!bs->drv->bdrv_co_copy_range_from || read_flags ||
        !bdrv_copy_range_is_possible(bs, src_offset, bytes)) {
        return -ENOTSUP;
    }
    tracked_request_begin(&req, bs, src_offset, bytes, BDRV_TRACKED_READ);
    bdrv_wait_serialising_requests(&req);
    ret = bs->drv->bdrv_co_copy_range_from(bs, src, src_offset, dst,
                                           dst_offset, bytes, read_flags,
                                           write_flags);
    tracked_request_end(&req);
    return ret;
}

int coroutine_fn bdrv_co_copy_range_to(BdrvChild *src, int64_t src_offset,
                                       BdrvChild *dst, int64_t dst_offset,
                                       int64_t bytes,
                                       BdrvRequestFlags read_flags,
                                       BdrvRequestFlags write_flags)
{
    BlockDriverState *bs = dst->bs;
    BdrvTrackedRequest req;
    int ret;

    if (!bs->drv) {
        return -ENOMEDIUM;
    }
    ret = bdrv_check_request(dst_offset, bytes);
    if (ret < 0) {
        return ret;
    }
    if (bdrv_check_child_perm(dst, BDRV_TRACKED_WRITE, write_flags) < 0 ||
        bdrv_is_read_only(bs)) {
        return -EPERM;
    }
    /* The target's rules for what is written cannot be kept unseen. */
    if (!bs->drv->bdrv_co_copy_range_to || write_flags ||
        bs->detect_zeroes != BLOCKDEV_DETECT_ZEROES_OPTIONS_OFF ||
        !bdrv_copy_range_is_possible(bs, dst_offset, bytes)) {
        return -ENOTSUP;
    }
    tracked_request_begin(&req, bs, dst_offset, bytes, BDRV_TRACKED_WRITE);
    bdrv_wait_serialising_requests(&req);
    bdrv_status_forget(bs, dst_offset, bytes);
    bdrv_note_write(bs, dst_offset + bytes);
    ret = bs->drv->bdrv_co_copy_range_to(bs, src, src_offset, dst, dst_offset,
                                         bytes, read_flags, write_flags);
    bdrv_co_write_req_finish(bs, dst_offset, bytes, BDRV_TRACKED_WRITE, ret);
    tracked_request_end(&req);
    return ret;
}

int coroutine_fn bdrv_co_copy_range(BdrvChild *src, int64_t src_offset,
                                    BdrvChild *dst, int64_t dst_offset,
                                    int64_t bytes, BdrvRequestFlags read_flags,
                                    BdrvRequestFlags write_flags)
{
    return bdrv_co_copy_range_from(src, src_offset, dst, dst_offset, bytes,
                                   read_flags, write_flags);
}
