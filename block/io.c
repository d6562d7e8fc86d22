/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The request path: reads and writes of any alignment become aligned ones.
 *
 * A request that is not aligned to bl.request_alignment is padded: a read
 * into a bounce buffer at each end, a write by reading what is there around
 * it (read-modify-write), for which it has the range to itself.
 */
#include "qemu/osdep.h"
#include "block-io.h"

/* A request's range and vector with the padding added. */
typedef struct {
    uint8_t *buf;               /* head, then tail; NULL: no padding */
    size_t buf_len;
    uint8_t *tail_buf;
    size_t head;                /* bytes of padding before */
    size_t tail;                /* and after */
    bool merge_reads;           /* head and tail are in one block */
    QEMUIOVector local_qiov;
    uint8_t *bounce;            /* all of it, if the vector is too long */
    bool write;
} BdrvRequestPadding;

int bdrv_check_request(int64_t offset, int64_t bytes)
{
    if (offset < 0 || bytes < 0 || bytes > BDRV_MAX_LENGTH ||
        offset > BDRV_MAX_LENGTH - bytes) {
        return -EIO;
    }
    return 0;
}

int bdrv_check_request32(int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                         size_t qiov_offset)
{
    int ret = bdrv_check_request(offset, bytes);

    if (ret < 0) {
        return ret;
    }
    if (bytes > BDRV_REQUEST_MAX_BYTES) {
        return -EIO;
    }
    if (qiov && (qiov_offset > qiov->size ||
                 (size_t)bytes > qiov->size - qiov_offset)) {
        return -EIO;
    }
    return 0;
}

static bool bdrv_is_unaligned(BlockDriverState *bs, int64_t offset,
                              int64_t bytes)
{
    return (offset | bytes) & (bs->bl.request_alignment - 1);
}

/* Work out the padding; false if there is none. */
static bool bdrv_init_padding(BlockDriverState *bs, int64_t offset,
                              int64_t bytes, bool write,
                              BdrvRequestPadding *pad)
{
    size_t align = bs->bl.request_alignment;
    int64_t sum;

    memset(pad, 0, sizeof(*pad));
    if (!bdrv_is_unaligned(bs, offset, bytes)) {
        return false;
    }
    pad->write = write;
    pad->head = offset & (align - 1);
    pad->tail = (offset + bytes) & (align - 1);
    if (pad->tail) {
        pad->tail = align - pad->tail;
    }
    sum = pad->head + bytes + pad->tail;
    pad->merge_reads = sum == (int64_t)align;
    pad->buf_len = sum > (int64_t)align && pad->head && pad->tail ?
                   2 * align : align;
    pad->buf = qemu_blockalign(bs, pad->buf_len);
    pad->tail_buf = pad->buf + pad->buf_len - align;
    return true;
}

static void bdrv_padding_finalize(BdrvRequestPadding *pad)
{
    if (pad->buf) {
        if (pad->local_qiov.iov) {
            qemu_iovec_destroy(&pad->local_qiov);
        }
        qemu_vfree(pad->bounce);
        qemu_vfree(pad->buf);
        pad->buf = NULL;
    }
}

/* One buffer instead of a vector that has too many elements. */
static int bdrv_padding_collapse(BlockDriverState *bs, BdrvRequestPadding *pad)
{
    size_t size = pad->local_qiov.size;

    pad->bounce = qemu_try_blockalign(bs, size);
    if (!pad->bounce) {
        return -ENOMEM;
    }
    if (pad->write) {
        qemu_iovec_to_buf(&pad->local_qiov, 0, pad->bounce, size);
    }
    qemu_iovec_reset(&pad->local_qiov);
    qemu_iovec_add(&pad->local_qiov, pad->bounce, size);
    return 0;
}

/* Build local_qiov: padding, the caller's part, padding. */
static int bdrv_padding_qiov(BlockDriverState *bs, BdrvRequestPadding *pad,
                             QEMUIOVector *qiov, size_t qiov_offset,
                             int64_t bytes)
{
    size_t align = bs->bl.request_alignment;

    qemu_iovec_init(&pad->local_qiov, qiov->niov + 2);
    if (pad->head) {
        qemu_iovec_add(&pad->local_qiov, pad->buf, pad->head);
    }
    qemu_iovec_concat(&pad->local_qiov, qiov, qiov_offset, bytes);
    if (pad->tail) {
        qemu_iovec_add(&pad->local_qiov, pad->tail_buf + align - pad->tail,
                       pad->tail);
    }
    return pad->local_qiov.niov > IOV_MAX ? bdrv_padding_collapse(bs, pad) : 0;
}

/* After a read: what a collapsed vector has to give to the caller's. */
static void bdrv_padding_read_done(BdrvRequestPadding *pad, QEMUIOVector *qiov,
                                   size_t qiov_offset, int64_t bytes)
{
    if (pad->bounce) {
        qemu_iovec_from_buf(qiov, qiov_offset, pad->bounce + pad->head,
                            bytes);
    }
}

/* The reads of a read-modify-write. */
static int coroutine_fn bdrv_padding_rmw_read(BdrvChild *child,
                                              BdrvTrackedRequest *req,
                                              BdrvRequestPadding *pad,
                                              bool zero_middle)
{
    BlockDriverState *bs = child->bs;
    size_t align = bs->bl.request_alignment;
    QEMUIOVector qiov;
    int ret;

    if (pad->head || pad->merge_reads) {
        int64_t offset = QEMU_ALIGN_DOWN(req->offset, (int64_t)align);

        qemu_iovec_init_buf(&qiov, pad->buf, align);
        if (pad->head) {
            bdrv_co_debug_event(bs, BLKDBG_PWRITEV_RMW_HEAD);
        }
        if (pad->merge_reads && pad->tail) {
            bdrv_co_debug_event(bs, BLKDBG_PWRITEV_RMW_TAIL);
        }
        ret = bdrv_aligned_preadv(child, req, offset, align, &qiov, 0, 0);
        if (ret < 0) {
            return ret;
        }
        if (pad->head) {
            bdrv_co_debug_event(bs, BLKDBG_PWRITEV_RMW_AFTER_HEAD);
        }
        if (pad->merge_reads && pad->tail) {
            bdrv_co_debug_event(bs, BLKDBG_PWRITEV_RMW_AFTER_TAIL);
        }
    }
    if (pad->tail && !pad->merge_reads) {
        int64_t offset = QEMU_ALIGN_DOWN(req->offset + req->bytes,
                                         (int64_t)align);

        qemu_iovec_init_buf(&qiov, pad->tail_buf, align);
        bdrv_co_debug_event(bs, BLKDBG_PWRITEV_RMW_TAIL);
        ret = bdrv_aligned_preadv(child, req, offset, align, &qiov, 0, 0);
        if (ret < 0) {
            return ret;
        }
        bdrv_co_debug_event(bs, BLKDBG_PWRITEV_RMW_AFTER_TAIL);
    }
    if (zero_middle) {
        memset(pad->buf + pad->head, 0, pad->buf_len - pad->head - pad->tail);
    }
    return 0;
}

/* Apart from bdrv_co_preadv_part(), whose stack frame it would swell. */
static int coroutine_fn __attribute__((noinline))
bdrv_co_preadv_unaligned(BdrvChild *child, int64_t offset, int64_t bytes,
                         QEMUIOVector *qiov, size_t qiov_offset,
                         BdrvRequestFlags flags)
{
    BlockDriverState *bs = child->bs;
    BdrvTrackedRequest req;
    BdrvRequestPadding pad;
    int ret;

    bdrv_init_padding(bs, offset, bytes, false, &pad);
    ret = bdrv_padding_qiov(bs, &pad, qiov, qiov_offset, bytes);
    if (ret == 0) {
        int64_t start = offset - pad.head;
        int64_t all = pad.head + bytes + pad.tail;

        tracked_request_begin(&req, bs, start, all, BDRV_TRACKED_READ);
        ret = bdrv_aligned_preadv(child, &req, start, all, &pad.local_qiov, 0,
                                  flags);
        tracked_request_end(&req);
        bdrv_padding_read_done(&pad, qiov, qiov_offset, bytes);
    }
    bdrv_padding_finalize(&pad);
    return ret;
}

int coroutine_fn bdrv_co_preadv_part(BdrvChild *child, int64_t offset,
                                     int64_t bytes, QEMUIOVector *qiov,
                                     size_t qiov_offset,
                                     BdrvRequestFlags flags)
{
    BlockDriverState *bs = child->bs;
    BdrvTrackedRequest req;
    int ret;

    if (!bs->drv) {
        return -ENOMEDIUM;
    }
    ret = bdrv_check_request32(offset, bytes, qiov, qiov_offset);
    if (ret < 0 || bytes == 0) {
        return ret;
    }

    if (likely(!bdrv_is_unaligned(bs, offset, bytes))) {
        tracked_request_begin(&req, bs, offset, bytes, BDRV_TRACKED_READ);
        ret = bdrv_aligned_preadv(child, &req, offset, bytes, qiov,
                                  qiov_offset, flags);
        tracked_request_end(&req);
    } else {
        bdrv_inc_in_flight(bs);
        ret = bdrv_co_preadv_unaligned(child, offset, bytes, qiov,
                                       qiov_offset, flags);
        bdrv_dec_in_flight(bs);
    }
    return ret;
}

/* One block of a zero write that covers only a part of it. */
static int coroutine_fn bdrv_zero_pad_block(BdrvChild *child,
                                            BdrvTrackedRequest *req,
                                            int64_t offset, uint8_t *buf,
                                            BdrvRequestFlags flags)
{
    size_t align = child->bs->bl.request_alignment;
    QEMUIOVector qiov;

    qemu_iovec_init_buf(&qiov, buf, align);
    return bdrv_aligned_pwritev(child, req, offset, align, &qiov, 0,
                                flags & ~(BDRV_REQ_ZERO_WRITE |
                                          BDRV_REQ_MAY_UNMAP));
}

/* Zeroes of any alignment: the ends are written, the middle is zeroed. */
static int coroutine_fn __attribute__((noinline))
bdrv_co_do_zero_pwritev(BdrvChild *child, int64_t offset, int64_t bytes,
                        BdrvRequestFlags flags, BdrvTrackedRequest *req)
{
    BlockDriverState *bs = child->bs;
    int64_t align = bs->bl.request_alignment;
    BdrvRequestPadding pad;
    int ret = 0;

    if (!bdrv_init_padding(bs, offset, bytes, true, &pad)) {
        return bdrv_aligned_pwritev(child, req, offset, bytes, NULL, 0, flags);
    }
    bdrv_make_request_serialising(req, align);
    ret = bdrv_padding_rmw_read(child, req, &pad, true);
    if (ret == 0 && (pad.head || pad.merge_reads)) {
        int64_t start = offset - pad.head;

        ret = bdrv_zero_pad_block(child, req, start, pad.buf, flags);
        bytes -= start + align - offset;
        offset = start + align;
    }
    if (ret == 0 && bytes >= align) {
        int64_t middle = QEMU_ALIGN_DOWN(bytes, align);

        ret = bdrv_aligned_pwritev(child, req, offset, middle, NULL, 0, flags);
        offset += middle;
        bytes -= middle;
    }
    if (ret == 0 && bytes > 0) {
        ret = bdrv_zero_pad_block(child, req, offset, pad.tail_buf, flags);
    }
    bdrv_padding_finalize(&pad);
    return ret;
}

/* An unaligned write: read what is around it, and write it all. */
static int coroutine_fn __attribute__((noinline))
bdrv_co_do_rmw(BdrvChild *child, BdrvTrackedRequest *req, int64_t offset,
               int64_t bytes, QEMUIOVector *qiov, size_t qiov_offset,
               BdrvRequestFlags flags)
{
    BlockDriverState *bs = child->bs;
    BdrvRequestPadding pad;
    int ret;

    bdrv_init_padding(bs, offset, bytes, true, &pad);
    bdrv_make_request_serialising(req, bs->bl.request_alignment);
    ret = bdrv_padding_rmw_read(child, req, &pad, false);
    if (ret == 0) {
        ret = bdrv_padding_qiov(bs, &pad, qiov, qiov_offset, bytes);
    }
    if (ret == 0) {
        ret = bdrv_aligned_pwritev(child, req, offset - pad.head,
                                   bytes + pad.head + pad.tail,
                                   &pad.local_qiov, 0, flags);
    }
    bdrv_padding_finalize(&pad);
    return ret;
}

static int bdrv_check_write(BdrvChild *child, int64_t offset, int64_t bytes,
                            QEMUIOVector *qiov, size_t qiov_offset,
                            BdrvRequestFlags flags)
{
    int ret;

    if (!child->bs->drv) {
        return -ENOMEDIUM;
    }
    /* A zero write is cut to pieces later: it may be as long as the disk. */
    ret = flags & BDRV_REQ_ZERO_WRITE ?
          bdrv_check_request(offset, bytes) :
          bdrv_check_request32(offset, bytes, qiov, qiov_offset);
    if (ret == 0 && !(child->bs->open_flags & BDRV_O_RDWR)) {
        ret = -EPERM;
    }
    return ret;
}

/* Zeroes, and what is not aligned or must have its range to itself. */
static int coroutine_fn __attribute__((noinline))
bdrv_co_pwritev_special(BdrvChild *child, int64_t offset, int64_t bytes,
                        QEMUIOVector *qiov, size_t qiov_offset,
                        BdrvRequestFlags flags)
{
    BlockDriverState *bs = child->bs;
    BdrvTrackedRequest req;
    int ret;

    tracked_request_begin(&req, bs, offset, bytes, BDRV_TRACKED_WRITE);
    if (flags & BDRV_REQ_SERIALISING) {
        bdrv_make_request_serialising(&req, MAX(bs->bl.request_alignment,
                                                bdrv_get_cluster_size(bs)));
    }
    if (flags & BDRV_REQ_ZERO_WRITE) {
        ret = bdrv_co_do_zero_pwritev(child, offset, bytes, flags, &req);
    } else if (!bdrv_is_unaligned(bs, offset, bytes)) {
        ret = bdrv_aligned_pwritev(child, &req, offset, bytes, qiov,
                                   qiov_offset, flags);
    } else {
        ret = bdrv_co_do_rmw(child, &req, offset, bytes, qiov, qiov_offset,
                             flags);
    }
    tracked_request_end(&req);
    return ret;
}

int coroutine_fn bdrv_co_pwritev_part(BdrvChild *child, int64_t offset,
                                      int64_t bytes, QEMUIOVector *qiov,
                                      size_t qiov_offset,
                                      BdrvRequestFlags flags)
{
    BlockDriverState *bs = child->bs;
    BdrvTrackedRequest req;
    int ret;

    ret = bdrv_check_write(child, offset, bytes, qiov, qiov_offset, flags);
    if (ret < 0 || bytes == 0) {
        return ret;
    }

    if (likely(!(flags & (BDRV_REQ_SERIALISING | BDRV_REQ_ZERO_WRITE)) &&
               !bdrv_is_unaligned(bs, offset, bytes))) {
        tracked_request_begin(&req, bs, offset, bytes, BDRV_TRACKED_WRITE);
        ret = bdrv_aligned_pwritev(child, &req, offset, bytes, qiov,
                                   qiov_offset, flags);
        tracked_request_end(&req);
    } else {
        ret = bdrv_co_pwritev_special(child, offset, bytes, qiov, qiov_offset,
                                      flags);
    }
    return ret;
}

/* --- shapes of the same --- */

int coroutine_fn bdrv_co_preadv(BdrvChild *child, int64_t offset,
                                int64_t bytes, QEMUIOVector *qiov,
                                BdrvRequestFlags flags)
{
    return bdrv_co_preadv_part(child, offset, bytes, qiov, 0, flags);
}

int coroutine_fn bdrv_co_pwritev(BdrvChild *child, int64_t offset,
                                 int64_t bytes, QEMUIOVector *qiov,
                                 BdrvRequestFlags flags)
{
    return bdrv_co_pwritev_part(child, offset, bytes, qiov, 0, flags);
}

int coroutine_fn bdrv_co_pread(BdrvChild *child, int64_t offset,
                               int64_t bytes, void *buf,
                               BdrvRequestFlags flags)
{
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, bytes);

    return bdrv_co_preadv_part(child, offset, bytes, &qiov, 0, flags);
}

int coroutine_fn bdrv_co_pread_within(BdrvChild *child, int64_t offset,
                                      int64_t bytes, void *buf)
{
    int64_t length = bdrv_co_getlength(child->bs);

    if (length < 0) {
        return length;
    }
    return offset > length - bytes ? -EIO :
           bdrv_co_pread(child, offset, bytes, buf, 0);
}

int coroutine_fn bdrv_co_pwrite(BdrvChild *child, int64_t offset,
                                int64_t bytes, const void *buf,
                                BdrvRequestFlags flags)
{
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, (void *)buf, bytes);

    return bdrv_co_pwritev_part(child, offset, bytes, &qiov, 0, flags);
}

int coroutine_fn bdrv_co_pwrite_sync(BdrvChild *child, int64_t offset,
                                     int64_t bytes, const void *buf,
                                     BdrvRequestFlags flags)
{
    int ret = bdrv_co_pwrite(child, offset, bytes, buf, flags);

    return ret < 0 ? ret : bdrv_co_flush(child->bs);
}

int coroutine_fn bdrv_co_pwrite_zeroes(BdrvChild *child, int64_t offset,
                                       int64_t bytes, BdrvRequestFlags flags)
{
    if (!(child->bs->open_flags & BDRV_O_UNMAP)) {
        flags &= ~BDRV_REQ_MAY_UNMAP;
    }
    return bdrv_co_pwritev_part(child, offset, bytes, NULL, 0,
                                flags | BDRV_REQ_ZERO_WRITE);
}
