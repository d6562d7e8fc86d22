/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * io_uring engine: the ring, and what it is given.
 *
 * For the thread that uses the ring.  See io_uring(7).
 */
#ifndef BLOCK_IO_URING_RING_H
#define BLOCK_IO_URING_RING_H

#include <liburing.h>
#include "block/block.h"
#include "block/raw-aio.h"
#include "qemu/aio-uring.h"
#include "qemu/iov.h"

/* Does the kernel have completions that it only shows to who calls it? */
static inline bool luring_ring_needs_enter(struct io_uring *ring)
{
    return qatomic_read(ring->sq.kflags) &
           (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN);
}

/* The first completion on @ring, which is not empty. */
static inline struct io_uring_cqe *luring_ring_first(struct io_uring *ring)
{
    return &ring->cq.cqes[*ring->cq.khead & ring->cq.ring_mask];
}

/* The position behind the last completion. */
static inline unsigned luring_ring_cq_end(struct io_uring *ring)
{
    return io_uring_smp_load_acquire(ring->cq.ktail);
}

/* The position of the next entry in the submission queue. */
static inline unsigned luring_ring_sq_end(struct io_uring *ring)
{
    return ring->sq.sqe_tail;
}

/* The position of the first entry there that the kernel has not taken. */
static inline unsigned luring_ring_sq_begin(struct io_uring *ring)
{
    return ring->sq.sqe_tail - io_uring_sq_ready(ring);
}

/*
 * Is @is_so(user_data, opaque) true for a request that completed since
 * luring_ring_cq_end() was @pos?  None of those has been taken off the ring.
 */
static inline bool luring_ring_any(struct io_uring *ring, unsigned pos,
                                   bool (*is_so)(void *user_data,
                                                 unsigned opaque),
                                   unsigned opaque)
{
    unsigned end = luring_ring_cq_end(ring);

    for (; pos != end; pos++) {
        struct io_uring_cqe *cqe = &ring->cq.cqes[pos & ring->cq.ring_mask];

        if (!aio_uring_is_own(cqe) &&
            is_so(io_uring_cqe_get_data(cqe), opaque)) {
            return true;
        }
    }
    return false;
}

/*
 * Make @sqe a request of @type for @qiov, which must stay as it is until the
 * kernel has completed it.  A vector of one buffer is given as that buffer,
 * since the kernel would have to fetch the vector; @has_read: it knows how.
 */
static inline void luring_prep_sqe(struct io_uring_sqe *sqe, int fd, int type,
                                   BdrvRequestFlags flags, QEMUIOVector *qiov,
                                   uint64_t offset, bool has_read)
{
    bool is_read = type == QEMU_AIO_READ;

    if (type == QEMU_AIO_FLUSH) {
        io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
        return;
    }
    assert(is_read || type == QEMU_AIO_WRITE || type == QEMU_AIO_ZONE_APPEND);
    if (has_read && qiov->niov == 1) {
        io_uring_prep_rw(is_read ? IORING_OP_READ : IORING_OP_WRITE, sqe, fd,
                         qiov->iov[0].iov_base,
                         MIN(qiov->iov[0].iov_len, INT_MAX & ~4095u), offset);
    } else {
        io_uring_prep_rw(is_read ? IORING_OP_READV : IORING_OP_WRITEV, sqe,
                         fd, qiov->iov, qiov->niov, offset);
    }
    if (flags & BDRV_REQ_FUA) {
        sqe->rw_flags = RWF_DSYNC;
    }
}

#endif
