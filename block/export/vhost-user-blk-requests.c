/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The requests of virtio-blk: virtio 1.2, section 5.2.6. */
#include "qemu/osdep.h"
#include "vhost-user-blk.h"
#include "qemu/iov.h"

enum {
    VIRTIO_BLK_T_IN = 0,
    VIRTIO_BLK_T_OUT = 1,
    VIRTIO_BLK_T_FLUSH = 4,
    VIRTIO_BLK_T_GET_ID = 8,
    VIRTIO_BLK_T_DISCARD = 11,
    VIRTIO_BLK_T_WRITE_ZEROES = 13,
};

enum {
    VIRTIO_BLK_S_OK = 0,
    VIRTIO_BLK_S_IOERR = 1,
    VIRTIO_BLK_S_UNSUPP = 2,
};

#define VIRTIO_BLK_ID_BYTES 20
#define VIRTIO_BLK_RANGE_UNMAP 1

typedef struct {
    uint32_t type;
    uint32_t ioprio;
    uint64_t sector;
} ReqHeader;

typedef struct {
    uint64_t sector;
    uint32_t num_sectors;
    uint32_t flags;
} ReqRange;

/* What is left of the buffers without header and status. */
typedef struct {
    struct iovec *out, *in;
    unsigned n_out, n_in;
    uint8_t *status;
} ReqBuffers;

static uint8_t to_status(int ret)
{
    return ret == 0 ? VIRTIO_BLK_S_OK :
           ret == -ENOTSUP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
}

/* Take header and status off; NULL, or what is wrong. */
static const char *split_buffers(VirtQueueElement *elem, ReqBuffers *b,
                                 ReqHeader *header)
{
    struct iovec *last;

    b->out = elem->iov;
    b->n_out = elem->out_num;
    b->in = elem->iov + elem->out_num;
    b->n_in = elem->in_num;
    if (!b->n_out ||
        iov_to_buf(b->out, b->n_out, 0, header, sizeof(*header)) !=
        sizeof(*header)) {
        return "a request has no complete header";
    }
    iov_discard_front(&b->out, &b->n_out, sizeof(*header));
    if (!b->n_in) {
        return "a request has no room for its status";
    }
    last = &b->in[b->n_in - 1];
    b->status = (uint8_t *)last->iov_base + last->iov_len - 1;
    iov_discard_back(b->in, &b->n_in, 1);
    return NULL;
}

/* Whole blocks, and not more than the block layer takes. */
static bool check_rw(const VuBlkExport *exp, uint64_t sector, size_t bytes)
{
    return sector <= INT64_MAX >> BDRV_SECTOR_BITS &&
           bytes <= BDRV_REQUEST_MAX_BYTES &&
           QEMU_IS_ALIGNED(sector << BDRV_SECTOR_BITS, exp->blk_size) &&
           QEMU_IS_ALIGNED(bytes, exp->blk_size);
}

static int coroutine_fn do_piece(VuBlkExport *exp, int64_t offset,
                                 QEMUIOVector *qiov, bool write)
{
    BlockBackend *blk = exp->common.blk;

    return write ? blk_co_pwritev(blk, offset, qiov->size, qiov, 0) :
                   blk_co_preadv(blk, offset, qiov->size, qiov, 0);
}

static int coroutine_fn QEMU_NOINLINE do_pieces(VuBlkExport *exp,
                                                int64_t offset,
                                                QEMUIOVector *qiov, bool write)
{
    size_t done = 0;
    int ret = 0;

    while (ret == 0 && done < qiov->size) {
        size_t n = MIN(qiov->size - done, (size_t)VU_BLK_MAX_PIECE);
        QEMUIOVector piece;

        qemu_iovec_init(&piece, qiov->niov);
        qemu_iovec_concat(&piece, qiov, done, n);
        ret = do_piece(exp, offset + done, &piece, write);
        qemu_iovec_destroy(&piece);
        done += n;
    }
    return ret;
}

static uint8_t coroutine_fn do_rw(VuBlkExport *exp, struct iovec *iov,
                                  unsigned niov, uint64_t sector, bool write,
                                  uint32_t *len)
{
    int64_t offset = sector << BDRV_SECTOR_BITS;
    QEMUIOVector qiov;
    int ret;

    qemu_iovec_init_external(&qiov, iov, niov);
    if ((write && !exp->writable) || !check_rw(exp, sector, qiov.size)) {
        return VIRTIO_BLK_S_IOERR;
    }
    ret = likely(qiov.size <= VU_BLK_MAX_PIECE) ?
          do_piece(exp, offset, &qiov, write) :
          do_pieces(exp, offset, &qiov, write);
    if (ret == 0 && !write) {
        *len = qiov.size;
    }
    return to_status(ret);
}

static uint8_t check_range(const VuBlkExport *exp, const ReqRange *r,
                           uint32_t allowed_flags)
{
    if (r->flags & ~allowed_flags) {
        return VIRTIO_BLK_S_UNSUPP;
    }
    if (r->num_sectors > VU_BLK_MAX_RANGE_SECTORS ||
        r->sector > (INT64_MAX >> BDRV_SECTOR_BITS) - r->num_sectors ||
        !QEMU_IS_ALIGNED(r->sector << BDRV_SECTOR_BITS, exp->blk_size) ||
        !QEMU_IS_ALIGNED((uint64_t)r->num_sectors << BDRV_SECTOR_BITS,
                         exp->blk_size)) {
        return VIRTIO_BLK_S_IOERR;
    }
    return VIRTIO_BLK_S_OK;
}

static uint8_t coroutine_fn do_range(VuBlkExport *exp, const ReqRange *r,
                                     bool zeroes)
{
    int64_t offset = r->sector << BDRV_SECTOR_BITS;
    int64_t bytes = (int64_t)r->num_sectors << BDRV_SECTOR_BITS;
    uint8_t status = check_range(exp, r, zeroes ? VIRTIO_BLK_RANGE_UNMAP : 0);

    if (status != VIRTIO_BLK_S_OK) {
        return status;
    }
    if (zeroes) {
        return to_status(blk_co_pwrite_zeroes(
            exp->common.blk, offset, bytes,
            r->flags & VIRTIO_BLK_RANGE_UNMAP ? BDRV_REQ_MAY_UNMAP : 0));
    }
    return to_status(blk_co_pdiscard(exp->common.blk, offset, bytes));
}

/* Discards and zero writes, whose data are ranges. */
static uint8_t coroutine_fn do_ranges(VuBlkExport *exp, const ReqBuffers *b,
                                      bool zeroes)
{
    size_t size = iov_size(b->out, b->n_out);
    ReqRange ranges[VU_BLK_MAX_RANGES];
    unsigned i, n = size / sizeof(ranges[0]);

    if (!exp->writable) {
        return VIRTIO_BLK_S_IOERR;
    }
    if (!n || size > sizeof(ranges) || size % sizeof(ranges[0])) {
        return VIRTIO_BLK_S_UNSUPP;
    }
    iov_to_buf(b->out, b->n_out, 0, ranges, size);
    for (i = 0; i < n; i++) {
        ReqRange r = {
            .sector = le64toh(ranges[i].sector),
            .num_sectors = le32toh(ranges[i].num_sectors),
            .flags = le32toh(ranges[i].flags),
        };
        uint8_t status = do_range(exp, &r, zeroes);

        if (status != VIRTIO_BLK_S_OK) {
            return status;
        }
    }
    return VIRTIO_BLK_S_OK;
}

/* The id of the export, without a NUL if it fills the field. */
static uint8_t do_get_id(VuBlkExport *exp, const ReqBuffers *b, uint32_t *len)
{
    char id[VIRTIO_BLK_ID_BYTES] = { 0 };

    memcpy(id, exp->common.id, MIN(strlen(exp->common.id), sizeof(id)));
    *len = iov_from_buf(b->in, b->n_in, 0, id, sizeof(id));
    return VIRTIO_BLK_S_OK;
}

static uint8_t coroutine_fn do_request(VuBlkExport *exp, const ReqBuffers *b,
                                       uint32_t type, uint64_t sector,
                                       uint32_t *len)
{
    switch (type) {
    case VIRTIO_BLK_T_IN:
        return do_rw(exp, b->in, b->n_in, sector, false, len);
    case VIRTIO_BLK_T_OUT:
        return do_rw(exp, b->out, b->n_out, sector, true, len);
    case VIRTIO_BLK_T_FLUSH:
        return to_status(blk_co_flush(exp->common.blk));
    case VIRTIO_BLK_T_GET_ID:
        return do_get_id(exp, b, len);
    case VIRTIO_BLK_T_DISCARD:
        return do_ranges(exp, b, false);
    case VIRTIO_BLK_T_WRITE_ZEROES:
        return do_ranges(exp, b, true);
    default:
        return VIRTIO_BLK_S_UNSUPP;
    }
}

void coroutine_fn vu_blk_req_entry(void *opaque)
{
    VuBlkReq *req = opaque;
    ReqHeader header;
    ReqBuffers b;
    uint32_t len = 0;
    const char *bad = split_buffers(&req->elem, &b, &header);

    if (bad) {
        vu_blk_req_bad(req, bad);
        return;
    }
    *b.status = do_request(req->q->exp, &b, le32toh(header.type),
                           le64toh(header.sector), &len);
    vu_blk_req_done(req, len + 1);
}
