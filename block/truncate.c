/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Resize requests.
 */
#include "qemu/osdep.h"
#include "block-io.h"

/*
 * A driver that cannot make the new area zeroes itself has left it to the
 * backing file: write the zeroes, or give the area back.
 */
static int coroutine_fn bdrv_co_zero_new_area(BdrvChild *child,
                                              int64_t old_size, Error **errp)
{
    BlockDriverState *bs = child->bs;
    int64_t align = bs->bl.request_alignment;
    int64_t size = qatomic_read(&bs->total_sectors) * BDRV_SECTOR_SIZE;
    int64_t start = QEMU_ALIGN_UP(old_size, align);
    int ret = 0;

    if (start < size) {
        ret = bdrv_co_do_pwrite_zeroes(bs, start, size - start, 0);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not hide the old data of the "
                         "backing file");
        if (bs->drv->bdrv_co_truncate(bs, old_size, true, PREALLOC_MODE_OFF,
                                      0, NULL) == 0) {
            qatomic_set(&bs->total_sectors, old_size / BDRV_SECTOR_SIZE);
        }
    }
    return ret;
}

static int coroutine_fn bdrv_co_do_truncate(BdrvChild *child, int64_t offset,
                                            bool exact,
                                            PreallocMode prealloc,
                                            BdrvRequestFlags flags,
                                            Error **errp)
{
    BlockDriverState *bs = child->bs;
    BlockDriver *drv = bs->drv;
    int64_t old_size = qatomic_read(&bs->total_sectors) * BDRV_SECTOR_SIZE;
    bool must_zero = flags & BDRV_REQ_ZERO_WRITE &&
                     !(bs->supported_truncate_flags & BDRV_REQ_ZERO_WRITE);
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
    qatomic_set(&bs->total_sectors,
                DIV_ROUND_UP(offset, (int64_t)BDRV_SECTOR_SIZE));
    bdrv_status_forget(bs, 0, BDRV_MAX_LENGTH);
    ret = bdrv_co_refresh_total_sectors(bs);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not refresh total sector count");
        return ret;
    }
    if (must_zero && drv->bdrv_co_truncate) {
        ret = bdrv_co_zero_new_area(child, old_size, errp);
    }
    return ret;
}

/* Whether the backing file has data where @bs ends. */
static bool bdrv_backing_is_longer(BlockDriverState *bs, int64_t size)
{
    BlockDriverState *cow = bdrv_cow_bs(bs);

    return cow && qatomic_read(&cow->total_sectors) *
                  (int64_t)BDRV_SECTOR_SIZE > size;
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
    ret = bdrv_check_child_perm(child, BDRV_TRACKED_TRUNCATE, 0);
    if (ret < 0) {
        error_setg(errp, "The user of node '%s' has no permission to resize "
                   "it", bs->node_name);
        return ret;
    }

    old_size = qatomic_read(&bs->total_sectors) * BDRV_SECTOR_SIZE;
    new_bytes = MAX(offset - old_size, 0);
    tracked_request_begin(&req, bs, offset - new_bytes, new_bytes,
                          BDRV_TRACKED_TRUNCATE);
    if (new_bytes) {
        /* Nobody writes to the new area while it is being prepared. */
        bdrv_make_request_serialising(&req, 1);
    }
    /* Data of the backing file must not come to light. */
    if (new_bytes && bdrv_backing_is_longer(bs, old_size)) {
        flags |= BDRV_REQ_ZERO_WRITE;
    }
    ret = bdrv_co_do_truncate(child, offset, exact, prealloc, flags, errp);
    bdrv_co_write_req_finish(bs, offset - new_bytes, new_bytes,
                             BDRV_TRACKED_TRUNCATE, ret);
    tracked_request_end(&req);
    return ret;
}
