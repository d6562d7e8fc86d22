/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Discard requests.
 */
#include "qemu/osdep.h"
#include "block-io.h"

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
    ret = bdrv_check_child_perm(child, BDRV_TRACKED_DISCARD, 0);
    if (ret < 0 || bdrv_is_read_only(bs)) {
        return -EPERM;
    }
    if (!(bs->open_flags & BDRV_O_UNMAP) || !bs->drv->bdrv_co_pdiscard) {
        return 0;
    }

    tracked_request_begin(&req, bs, offset, bytes, BDRV_TRACKED_DISCARD);
    bdrv_wait_serialising_requests(&req);
    bdrv_status_forget(bs, offset, bytes);
    ret = bdrv_co_do_pdiscard(bs, offset, bytes);
    bdrv_co_write_req_finish(bs, offset, bytes, BDRV_TRACKED_DISCARD, ret);
    tracked_request_end(&req);
    return ret;
}
