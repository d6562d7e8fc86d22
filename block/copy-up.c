/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copying a part of an image up from what is below it, so that it does not
 * need that any more.  What the image reads as does not change.
 */
#include "qemu/osdep.h"
#include "block-io.h"

/*
 * The range is the request's own: no one writes to it meanwhile.  The user may
 * have the permission for writes that change nothing, and no other; a filter
 * passes the flag on, and needs no more of its child either.
 */
static int coroutine_fn bdrv_co_do_copy_up(BdrvChild *child,
                                           BdrvTrackedRequest *req,
                                           int64_t offset, int64_t bytes,
                                           void *buf)
{
    const BdrvRequestFlags flags = BDRV_REQ_WRITE_UNCHANGED;
    BlockDriverState *bs = child->bs;

    while (bytes) {
        QEMUIOVector qiov;
        int64_t pnum;
        int ret;

        ret = bdrv_co_is_allocated(bs, offset, bytes, &pnum);
        if (ret < 0) {
            return ret;
        }
        if (pnum == 0) {
            break;              /* the end of the image */
        }
        pnum = MIN(pnum, bytes);
        if (ret == 0) {
            qemu_iovec_init_buf(&qiov, buf, pnum);
            ret = bdrv_aligned_preadv(child, req, offset, pnum, &qiov, 0, 0);
            if (ret == 0 && qemu_iovec_is_zero(&qiov, 0, pnum)) {
                bdrv_status_forget(bs, offset, pnum);
                ret = bdrv_co_do_pwrite_zeroes(bs, offset, pnum, flags);
            } else if (ret == 0) {
                ret = bdrv_driver_pwritev(bs, offset, pnum, &qiov, 0,
                                          flags);
            }
            if (ret < 0) {
                return ret;
            }
        }
        offset += pnum;
        bytes -= pnum;
    }
    return 0;
}

int coroutine_fn bdrv_co_copy_up(BdrvChild *child, int64_t offset,
                                 int64_t bytes, void *buf)
{
    BlockDriverState *bs = child->bs;
    int64_t align = bs->bl.request_alignment;
    BdrvTrackedRequest req;
    int ret;

    assert(child->perm & (BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED));
    if (!bs->drv) {
        return -ENOMEDIUM;
    }
    if (bdrv_is_read_only(bs)) {
        return -EPERM;
    }
    /* Only the last part of an image may end within a block. */
    bytes = QEMU_ALIGN_UP(bytes, align);
    tracked_request_begin(&req, bs, offset, bytes, BDRV_TRACKED_WRITE);
    bdrv_make_request_serialising(&req, MAX(align,
                                            bdrv_get_cluster_size(bs)));
    ret = bdrv_co_do_copy_up(child, &req, offset, bytes, buf);
    qatomic_inc(&bs->write_gen);
    tracked_request_end(&req);
    return ret;
}
