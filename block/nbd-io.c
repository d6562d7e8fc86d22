/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests of the NBD client.  They come from any thread and are brought to
 * the node's home, where the connection is.
 */
#include "qemu/osdep.h"
#include "nbd-client.h"

/* Until there is an answer, by as many connections as it takes. */
static int coroutine_fn nbd_co_request(BlockDriverState *bs, NBDCall *call)
{
    AioContext *old_ctx = bdrv_co_enter(bs);
    NBDConn *c;
    int ret;

    do {
        c = nbd_co_connection(bs);
        if (!c) {
            ret = -EIO;
            break;
        }
        nbd_conn_call(c, call);
        ret = call->ret;
    } while (call->lost);
    bdrv_co_leave(bs, old_ctx);
    return ret;
}

static uint32_t nbd_fua(BdrvRequestFlags flags)
{
    return flags & BDRV_REQ_FUA ? LIBNBD_CMD_FLAG_FUA : 0;
}

/*
 * The block layer counts in sectors: what the last one has beyond the end of
 * the export reads as zeroes.
 */
static int64_t nbd_clip(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    BDRVNBDState *s = bs->opaque;
    int64_t size = qatomic_read(&s->info.size);

    return offset + bytes > size && size - offset < bytes &&
           offset + bytes <= QEMU_ALIGN_UP(size, BDRV_SECTOR_SIZE) ?
           MAX(size - offset, 0) : bytes;
}

int coroutine_fn nbd_co_preadv_part(BlockDriverState *bs, int64_t offset,
                                    int64_t bytes, QEMUIOVector *qiov,
                                    size_t qiov_offset,
                                    BdrvRequestFlags flags)
{
    int64_t len = nbd_clip(bs, offset, bytes);
    QEMU_AUTO_VFREE void *bounce = NULL;
    NBDCall call = {
        .type = NBD_CALL_READ, .offset = offset, .bytes = len,
    };
    int ret;

    if (len < bytes) {
        qemu_iovec_memset(qiov, qiov_offset + len, 0, bytes - len);
    }
    if (!len) {
        return 0;
    }
    call.buf = qemu_iovec_single_buf(qiov, qiov_offset, len);
    if (!call.buf) {
        call.buf = bounce = qemu_try_blockalign(bs, len);
        if (!bounce) {
            return -ENOMEM;
        }
    }
    ret = nbd_co_request(bs, &call);
    if (ret == 0 && bounce) {
        qemu_iovec_from_buf(qiov, qiov_offset, bounce, len);
    }
    return ret;
}

int coroutine_fn nbd_co_pwritev_part(BlockDriverState *bs, int64_t offset,
                                     int64_t bytes, QEMUIOVector *qiov,
                                     size_t qiov_offset,
                                     BdrvRequestFlags flags)
{
    QEMU_AUTO_VFREE void *bounce = NULL;
    NBDCall call = {
        .type = NBD_CALL_WRITE, .offset = offset, .bytes = bytes,
        .flags = nbd_fua(flags),
        .buf = qemu_iovec_single_buf(qiov, qiov_offset, bytes),
    };

    if (!bytes) {
        return 0;
    }
    if (!call.buf) {
        call.buf = bounce = qemu_try_blockalign(bs, bytes);
        if (!bounce) {
            return -ENOMEM;
        }
        qemu_iovec_to_buf(qiov, qiov_offset, bounce, bytes);
    }
    return nbd_co_request(bs, &call);
}

int coroutine_fn nbd_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, BdrvRequestFlags flags)
{
    BDRVNBDState *s = bs->opaque;
    NBDCall call = {
        .type = NBD_CALL_ZERO, .offset = offset, .bytes = bytes,
        .flags = nbd_fua(flags),
    };

    if (!(s->info.caps & NBD_CAP_ZERO)) {
        return -ENOTSUP;
    }
    if (!(flags & BDRV_REQ_MAY_UNMAP)) {
        call.flags |= LIBNBD_CMD_FLAG_NO_HOLE;
    }
    if (flags & BDRV_REQ_NO_FALLBACK) {
        if (!(s->info.caps & NBD_CAP_FAST_ZERO)) {
            return -ENOTSUP;
        }
        call.flags |= LIBNBD_CMD_FLAG_FAST_ZERO;
    }
    return bytes ? nbd_co_request(bs, &call) : 0;
}

int coroutine_fn nbd_co_pdiscard(BlockDriverState *bs, int64_t offset,
                                 int64_t bytes)
{
    BDRVNBDState *s = bs->opaque;
    NBDCall call = {
        .type = NBD_CALL_TRIM, .offset = offset,
        .bytes = nbd_clip(bs, offset, bytes),
    };

    if (!(s->info.caps & NBD_CAP_TRIM)) {
        return -ENOTSUP;
    }
    return call.bytes ? nbd_co_request(bs, &call) : 0;
}

int coroutine_fn nbd_co_flush(BlockDriverState *bs)
{
    BDRVNBDState *s = bs->opaque;
    NBDCall call = { .type = NBD_CALL_FLUSH };

    /* A server without the command keeps nothing back. */
    return s->info.caps & NBD_CAP_FLUSH ? nbd_co_request(bs, &call) : 0;
}

int coroutine_fn nbd_co_block_status(BlockDriverState *bs, bool want_zero,
                                     int64_t offset, int64_t bytes,
                                     int64_t *pnum, int64_t *map,
                                     BlockDriverState **file)
{
    BDRVNBDState *s = bs->opaque;
    int64_t size = qatomic_read(&s->info.size);
    NBDCall call = {
        .type = NBD_CALL_STATUS, .offset = offset,
        .flags = LIBNBD_CMD_FLAG_REQ_ONE, .context = s->params->context,
    };
    int ret;

    *pnum = bytes;
    if (offset >= size) {
        return BDRV_BLOCK_ZERO;
    }
    *map = offset;
    *file = bs;
    if (!(s->info.caps & NBD_CAP_STATUS)) {
        return BDRV_BLOCK_DATA | BDRV_BLOCK_OFFSET_VALID;
    }
    call.bytes = MIN(MIN(bytes, size - offset),
                     QEMU_ALIGN_DOWN(INT_MAX, bs->bl.request_alignment));
    ret = nbd_co_request(bs, &call);
    if (ret < 0) {
        return ret;
    }
    if (!call.extent_len) {
        return -EIO;
    }
    *pnum = MIN(call.extent_len, call.bytes);
    /* Extents in the midst of a block are against the protocol. */
    if (offset + *pnum != size) {
        *pnum = QEMU_ALIGN_DOWN(*pnum, bs->bl.request_alignment);
    }
    if (!*pnum) {
        return -EIO;
    }
    return (call.extent_flags & LIBNBD_STATE_HOLE ? 0 : BDRV_BLOCK_DATA) |
           (call.extent_flags & LIBNBD_STATE_ZERO ? BDRV_BLOCK_ZERO : 0) |
           BDRV_BLOCK_OFFSET_VALID;
}
