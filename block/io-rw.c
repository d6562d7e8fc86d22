/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The request path: aligned reads and writes, split at the driver's limits,
 * with the flags that it lacks emulated; and zeroes.
 */
#include "qemu/osdep.h"
#include "block-io.h"
#include "block/dirty-bitmap.h"
#include "qemu/cutils.h"

/* Zeroes are written in pieces of this size where no driver does better. */
#define BDRV_ZERO_BOUNCE_BYTES (1 * MiB)

static int64_t bdrv_max_transfer(BlockDriverState *bs)
{
    int64_t align = bs->bl.request_alignment;
    int64_t max = MIN_NON_ZERO((int64_t)bs->bl.max_transfer,
                               BDRV_REQUEST_MAX_BYTES);

    return MAX(ROUND_DOWN(max, align), align);
}

/* The number of bytes from @qiov_offset on that max_iov elements hold. */
static int64_t bdrv_limit_iov(BlockDriverState *bs, QEMUIOVector *qiov,
                              size_t qiov_offset, int64_t bytes)
{
    int max_iov = bs->bl.max_iov ? bs->bl.max_iov : IOV_MAX;

    if (likely(qiov->niov <= max_iov)) {
        return bytes;
    }
    while (bytes > (int64_t)bs->bl.request_alignment &&
           qemu_iovec_subvec_niov(qiov, qiov_offset, bytes) > max_iov) {
        bytes = QEMU_ALIGN_UP(bytes / 2, (int64_t)bs->bl.request_alignment);
    }
    return bytes;
}

/* Can the driver take the request, which is not empty, as it is? */
static inline bool bdrv_is_within_limits(BlockDriverState *bs,
                                         QEMUIOVector *qiov, int64_t bytes)
{
    return likely(qiov->niov == 1 && bytes <= BDRV_REQUEST_MAX_BYTES &&
                  (!bs->bl.max_transfer || bytes <= bs->bl.max_transfer));
}

static int coroutine_fn __attribute__((noinline))
bdrv_driver_preadv_split(BlockDriverState *bs, int64_t offset, int64_t bytes,
                         QEMUIOVector *qiov, size_t qiov_offset,
                         BdrvRequestFlags flags)
{
    int64_t max = bdrv_max_transfer(bs);

    while (bytes > 0) {
        int64_t n = bdrv_limit_iov(bs, qiov, qiov_offset, MIN(bytes, max));
        int ret = bs->drv->bdrv_co_preadv_part(bs, offset, n, qiov,
                                               qiov_offset, flags);

        if (ret < 0) {
            return ret;
        }
        offset += n;
        qiov_offset += n;
        bytes -= n;
    }
    return 0;
}

/*
 * Only the usual case of this, and of bdrv_do_driver_pwritev(), is inline:
 * saving the registers for the rest is most of what a call costs here.
 */
static inline int coroutine_fn
bdrv_driver_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes,
                   QEMUIOVector *qiov, size_t qiov_offset,
                   BdrvRequestFlags flags)
{
    flags &= bs->supported_read_flags;
    if (bdrv_is_within_limits(bs, qiov, bytes)) {
        return bs->drv->bdrv_co_preadv_part(bs, offset, bytes, qiov,
                                            qiov_offset, flags);
    }
    return bdrv_driver_preadv_split(bs, offset, bytes, qiov, qiov_offset,
                                    flags);
}

int coroutine_fn bdrv_aligned_preadv(BdrvChild *child,
                                     BdrvTrackedRequest *req, int64_t offset,
                                     int64_t bytes, QEMUIOVector *qiov,
                                     size_t qiov_offset,
                                     BdrvRequestFlags flags)
{
    BlockDriverState *bs = child->bs;
    int64_t align = bs->bl.request_alignment;
    int64_t length, within;
    int ret;

    /* One's own read-modify-write is not in one's own way. */
    if (req->type == BDRV_TRACKED_READ) {
        bdrv_wait_serialising_requests(req);
    }
    if (!bs->drv->bdrv_co_preadv_part) {
        return -ENOTSUP;
    }

    length = qatomic_read(&bs->total_sectors) * BDRV_SECTOR_SIZE;
    if (likely(offset + bytes <= length)) {
        return bdrv_driver_preadv(bs, offset, bytes, qiov, qiov_offset,
                                  flags);
    }

    /* Bytes past the end read as zeroes. */
    within = offset >= length ? 0 : QEMU_ALIGN_UP(length - offset, align);
    within = MIN(within, bytes);
    ret = within ? bdrv_driver_preadv(bs, offset, within, qiov, qiov_offset,
                                      flags) : 0;
    if (ret == 0 && within < bytes) {
        qemu_iovec_memset(qiov, qiov_offset + within, 0, bytes - within);
    }
    return ret;
}

/*
 * FUA for a driver that lacks it.  The request itself is not counted before it
 * has finished, and a node that counts no write does not flush.
 */
static int coroutine_fn bdrv_co_flush_written(BlockDriverState *bs)
{
    qatomic_inc(&bs->write_gen);
    return bdrv_co_flush(bs);
}

static int coroutine_fn __attribute__((noinline))
bdrv_driver_pwritev_split(BlockDriverState *bs, int64_t offset, int64_t bytes,
                          QEMUIOVector *qiov, size_t qiov_offset,
                          BdrvRequestFlags flags)
{
    bool emulate_fua = (flags & BDRV_REQ_FUA) &&
                       !(bs->supported_write_flags & BDRV_REQ_FUA);
    int64_t max = bdrv_max_transfer(bs);
    int ret = 0;

    if ((flags & BDRV_REQ_WRITE_COMPRESSED) &&
        !(bs->supported_write_flags & BDRV_REQ_WRITE_COMPRESSED)) {
        return -ENOTSUP;
    }
    flags &= bs->supported_write_flags;
    while (bytes > 0 && ret == 0) {
        int64_t n = bdrv_limit_iov(bs, qiov, qiov_offset, MIN(bytes, max));

        /* Only the last piece needs to be on the disk for all to be. */
        ret = bs->drv->bdrv_co_pwritev_part(bs, offset, n, qiov, qiov_offset,
                                            flags);
        offset += n;
        qiov_offset += n;
        bytes -= n;
    }
    if (ret == 0 && emulate_fua) {
        ret = bdrv_co_flush_written(bs);
    }
    return ret < 0 ? ret : 0;
}

static inline int coroutine_fn
bdrv_do_driver_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes,
                       QEMUIOVector *qiov, size_t qiov_offset,
                       BdrvRequestFlags flags)
{
    if (!bs->drv->bdrv_co_pwritev_part) {
        return -ENOTSUP;
    }
    if (bdrv_is_within_limits(bs, qiov, bytes) &&
        !(flags & ~bs->supported_write_flags)) {
        return bs->drv->bdrv_co_pwritev_part(bs, offset, bytes, qiov,
                                             qiov_offset, flags);
    }
    return bdrv_driver_pwritev_split(bs, offset, bytes, qiov, qiov_offset,
                                     flags);
}

int coroutine_fn bdrv_driver_pwritev(BlockDriverState *bs, int64_t offset,
                                     int64_t bytes, QEMUIOVector *qiov,
                                     size_t qiov_offset,
                                     BdrvRequestFlags flags)
{
    return bdrv_do_driver_pwritev(bs, offset, bytes, qiov, qiov_offset,
                                  flags);
}

/* Write @bytes of zeroes from a buffer. */
static int coroutine_fn bdrv_co_write_zero_bytes(BlockDriverState *bs,
                                                 int64_t offset,
                                                 int64_t bytes,
                                                 BdrvRequestFlags flags)
{
    int64_t chunk = MIN(bytes, MIN(BDRV_ZERO_BOUNCE_BYTES,
                                   bdrv_max_transfer(bs)));
    QEMU_AUTO_VFREE void *buf = qemu_try_blockalign(bs, chunk);
    int ret = 0;

    if (!buf) {
        return -ENOMEM;
    }
    memset(buf, 0, chunk);
    while (bytes > 0 && ret == 0) {
        int64_t n = MIN(bytes, chunk);
        QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, n);

        ret = bdrv_driver_pwritev(bs, offset, n, &qiov, 0, flags);
        offset += n;
        bytes -= n;
    }
    return ret;
}

/* How much of a zero write to give to the driver at once. */
static int64_t bdrv_zero_chunk(BlockDriverState *bs, int64_t offset,
                               int64_t bytes, int64_t zalign)
{
    int64_t max = MIN_NON_ZERO(bs->bl.max_pwrite_zeroes, (int64_t)INT_MAX);
    int64_t head = offset & (zalign - 1);

    max = MAX(QEMU_ALIGN_DOWN(max, zalign), zalign);
    if (head) {
        /* Up to the next boundary; the driver may not take it. */
        return MIN(bytes, zalign - head);
    }
    if (bytes > zalign) {
        return MIN(QEMU_ALIGN_DOWN(bytes, zalign), max);
    }
    return bytes;
}

int coroutine_fn bdrv_co_do_pwrite_zeroes(BlockDriverState *bs,
                                          int64_t offset, int64_t bytes,
                                          BdrvRequestFlags flags)
{
    BlockDriver *drv = bs->drv;
    int64_t zalign = MAX(bs->bl.pwrite_zeroes_alignment,
                         bs->bl.request_alignment);
    bool need_flush = (flags & BDRV_REQ_FUA) &&
                      !(bs->supported_zero_flags & BDRV_REQ_FUA);
    int ret = 0;

    if ((flags & BDRV_REQ_NO_FALLBACK) &&
        !(bs->supported_zero_flags & BDRV_REQ_NO_FALLBACK)) {
        return -ENOTSUP;
    }
    bdrv_status_forget(bs, offset, bytes);
    while (bytes > 0 && ret == 0) {
        int64_t n = bdrv_zero_chunk(bs, offset, bytes, zalign);

        ret = -ENOTSUP;
        if (drv->bdrv_co_pwrite_zeroes) {
            ret = drv->bdrv_co_pwrite_zeroes(bs, offset, n, flags &
                                             bs->supported_zero_flags);
        }
        if (ret == -ENOTSUP && !(flags & BDRV_REQ_NO_FALLBACK)) {
            /* These are writes without FUA, also of a driver that has it. */
            need_flush |= flags & BDRV_REQ_FUA;
            ret = bdrv_co_write_zero_bytes(bs, offset, n,
                                           flags & ~(BDRV_REQ_ZERO_WRITE |
                                                     BDRV_REQ_FUA));
        }
        offset += n;
        bytes -= n;
    }
    if (ret == 0 && need_flush) {
        ret = bdrv_co_flush_written(bs);
    }
    return ret;
}

/* Another thread may have made it longer meanwhile.  Whether it grew. */
static bool bdrv_grow_to(BlockDriverState *bs, int64_t sectors)
{
    int64_t old = qatomic_read(&bs->total_sectors);

    while (old < sectors) {
        int64_t seen = qatomic_cmpxchg(&bs->total_sectors, old, sectors);

        if (seen == old) {
            return true;
        }
        old = seen;
    }
    return false;
}

void bdrv_note_highest_write(BlockDriverState *bs, uint64_t end)
{
    uint64_t old = qatomic_read(&bs->wr_highest_offset);
    uint64_t threshold = qatomic_read(&bs->write_threshold);

    while (old < end) {
        uint64_t seen = qatomic_cmpxchg(&bs->wr_highest_offset, old, end);

        if (seen == old) {
            break;
        }
        old = seen;
    }
    if (unlikely(threshold && end > threshold)) {
        bdrv_write_threshold_exceeded(bs, end);
    }
}

/* A write within the length of a node that nobody has a bitmap of. */
static inline bool bdrv_write_is_plain(BlockDriverState *bs, int64_t end,
                                       int ret)
{
    return likely(ret == 0 &&
                  end <= qatomic_read(&bs->total_sectors) << BDRV_SECTOR_BITS
                  && !qatomic_read(&bs->n_dirty_bitmaps));
}

/* What else comes of a change of the content, once it is counted. */
static void coroutine_fn
bdrv_co_write_finish_special(BlockDriverState *bs, int64_t offset,
                             int64_t bytes, BdrvTrackedRequestType type,
                             int ret)
{
    int64_t end_sector = DIV_ROUND_UP(offset + bytes,
                                      (int64_t)BDRV_SECTOR_SIZE);

    if (ret == 0 && type == BDRV_TRACKED_WRITE &&
        bdrv_grow_to(bs, end_sector)) {
        bdrv_dirty_bitmap_truncate(bs);
        bdrv_co_parent_cb_resize(bs);
    }
    if (ret == 0 && type == BDRV_TRACKED_TRUNCATE) {
        bdrv_dirty_bitmap_truncate(bs);
        bdrv_co_parent_cb_resize(bs);
    }
    /* A write that failed may have written some of it. */
    if (type != BDRV_TRACKED_TRUNCATE) {
        bdrv_set_dirty(bs, offset, bytes);
    }
}

void coroutine_fn bdrv_co_write_req_finish(BlockDriverState *bs,
                                           int64_t offset, int64_t bytes,
                                           BdrvTrackedRequestType type,
                                           int ret)
{
    qatomic_inc(&bs->write_gen);
    bdrv_co_write_finish_special(bs, offset, bytes, type, ret);
}

/*
 * Whether a write that has failed may have failed for what others have written:
 * a driver with FUA flushes after it, or with it, and does not say which of
 * both has failed.  (A full disk is about this write.)
 */
static bool bdrv_fua_may_be_flush(const BlockDriverState *bs,
                                  BdrvRequestFlags flags, int ret)
{
    unsigned supported = flags & BDRV_REQ_ZERO_WRITE ?
                         bs->supported_zero_flags : bs->supported_write_flags;

    return ret == -EIO && (flags & supported & BDRV_REQ_FUA);
}

/* detect-zeroes: is this write one of zeroes? */
static BdrvRequestFlags bdrv_detect_zeroes(BlockDriverState *bs,
                                           QEMUIOVector *qiov,
                                           size_t qiov_offset, int64_t bytes,
                                           BdrvRequestFlags flags)
{
    if (bs->detect_zeroes != BLOCKDEV_DETECT_ZEROES_OPTIONS_OFF &&
        !(flags & (BDRV_REQ_ZERO_WRITE | BDRV_REQ_WRITE_COMPRESSED)) &&
        bs->drv->bdrv_co_pwrite_zeroes &&
        qemu_iovec_is_zero(qiov, qiov_offset, bytes)) {
        flags |= BDRV_REQ_ZERO_WRITE;
        if (bs->detect_zeroes == BLOCKDEV_DETECT_ZEROES_OPTIONS_UNMAP) {
            flags |= BDRV_REQ_MAY_UNMAP;
        }
    }
    return flags;
}

int coroutine_fn bdrv_aligned_pwritev(BdrvChild *child,
                                      BdrvTrackedRequest *req, int64_t offset,
                                      int64_t bytes, QEMUIOVector *qiov,
                                      size_t qiov_offset,
                                      BdrvRequestFlags flags)
{
    BlockDriverState *bs = child->bs;
    int ret;

    bdrv_wait_serialising_requests(req);
    if (unlikely(bdrv_check_child_perm(child, BDRV_TRACKED_WRITE, flags) < 0 ||
                 (offset + bytes >
                  qatomic_read(&bs->total_sectors) << BDRV_SECTOR_BITS &&
                  bdrv_check_child_perm(child, BDRV_TRACKED_TRUNCATE,
                                        0) < 0))) {
        return -EPERM;
    }

    bdrv_note_write(bs, offset + bytes);
    flags = bdrv_detect_zeroes(bs, qiov, qiov_offset, bytes, flags);
    if (flags & BDRV_REQ_ZERO_WRITE) {
        bdrv_co_debug_event(bs, BLKDBG_PWRITEV_ZERO);
        ret = bdrv_co_do_pwrite_zeroes(bs, offset, bytes, flags);
    } else {
        bdrv_co_debug_event(bs, BLKDBG_PWRITEV);
        ret = bdrv_do_driver_pwritev(bs, offset, bytes, qiov, qiov_offset,
                                     flags);
    }
    bdrv_co_debug_event(bs, BLKDBG_PWRITEV_DONE);
    /* Pairs with the count of bitmaps: see bdrv_create_dirty_bitmap(). */
    qatomic_inc(&bs->write_gen);
    if (!bdrv_write_is_plain(bs, offset + bytes, ret)) {
        if (bdrv_fua_may_be_flush(bs, flags, ret)) {
            bdrv_note_flush_error(bs, ret);
        }
        bdrv_co_write_finish_special(bs, offset, bytes, BDRV_TRACKED_WRITE,
                                     ret);
    }
    return ret;
}
