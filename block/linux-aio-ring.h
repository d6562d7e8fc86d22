/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux AIO engine: what the kernel reads and writes, the fields of an iocb and
 * the completion ring that it shares with user space.
 */
#ifndef BLOCK_LINUX_AIO_RING_H
#define BLOCK_LINUX_AIO_RING_H

#include <libaio.h>
#include "block/linux-aio.h"
#include "qemu/iov.h"

/* The kernel's struct, at the address that io_setup(2) returns as a context. */
struct aio_ring {
    unsigned id;
    unsigned nr;                /* events of the array */
    unsigned head;              /* next to read; written by user space */
    unsigned tail;              /* next to write; written by the kernel */
    unsigned magic;
    unsigned compat_features;
    unsigned incompat_features;
    unsigned header_length;     /* of this struct */
    struct io_event io_events[];
};

#define AIO_RING_MAGIC 0xa10a10a1
#define AIO_RING_COMPAT_FEATURES 1
#define AIO_RING_INCOMPAT_FEATURES 0

static inline struct aio_ring *laio_ring(io_context_t ctx)
{
    return (struct aio_ring *)ctx;
}

/* Events on the ring.  The thread that reads them. */
static inline unsigned laio_count_events(io_context_t ctx)
{
    struct aio_ring *ring = laio_ring(ctx);
    /* Pairs with the kernel's barrier before it moves the tail. */
    unsigned tail = qatomic_load_acquire(&ring->tail);

    return (tail < ring->head ? tail + ring->nr : tail) - ring->head;
}

/*
 * Is @is_so(iocb) true for an event that has come since the tail of the ring
 * was @tail?  The thread that reads them; none of them has been read.
 */
static inline bool laio_ring_any(io_context_t ctx, unsigned tail,
                                 bool (*is_so)(struct iocb *cb))
{
    struct aio_ring *ring = laio_ring(ctx);
    /* Pairs with the kernel's barrier before it moves the tail. */
    unsigned end = qatomic_load_acquire(&ring->tail);

    while (tail != end) {
        if (is_so(ring->io_events[tail].obj)) {
            return true;
        }
        tail = tail + 1 == ring->nr ? 0 : tail + 1;
    }
    return false;
}

/*
 * Make @cb a request of @type for @qiov, which must stay as it is until the
 * kernel has completed it.  A vector of one buffer is given as that buffer,
 * since the kernel would have to fetch the vector.  No eventfd.  Any thread.
 */
static inline void laio_prep_iocb(struct iocb *cb, int fd, int type,
                                  BdrvRequestFlags flags, QEMUIOVector *qiov,
                                  uint64_t offset)
{
    if (type == QEMU_AIO_READ) {
        io_prep_preadv(cb, fd, qiov->iov, qiov->niov, offset);
    } else if (type == QEMU_AIO_FLUSH) {
        io_prep_fdsync(cb, fd);
        return;
    } else {
        assert(type == QEMU_AIO_WRITE || type == QEMU_AIO_ZONE_APPEND);
#ifdef HAVE_IO_PREP_PWRITEV2
        io_prep_pwritev2(cb, fd, qiov->iov, qiov->niov, offset,
                         (flags & BDRV_REQ_FUA) ? RWF_DSYNC : 0);
#else
        assert(!(flags & BDRV_REQ_FUA));
        io_prep_pwritev(cb, fd, qiov->iov, qiov->niov, offset);
#endif
    }
    if (qiov->niov == 1) {
        cb->aio_lio_opcode = type == QEMU_AIO_READ ? IO_CMD_PREAD
                                                   : IO_CMD_PWRITE;
        cb->u.c.buf = qiov->iov[0].iov_base;
        cb->u.c.nbytes = qiov->iov[0].iov_len;
    }
}

/*
 * Requests of one io_submit(2), by what the AioContext and the device ask for;
 * 0: nothing.  Any thread.
 */
static inline unsigned laio_max_batch(int64_t aio_max_batch,
                                      uint64_t dev_max_batch)
{
    uint64_t max_batch = aio_max_batch > 0 ? aio_max_batch :
                         LAIO_DEFAULT_MAX_BATCH;

    return MIN(MIN_NON_ZERO(dev_max_batch, max_batch), LAIO_MAX_EVENTS);
}

/*
 * A new context for LAIO_MAX_EVENTS requests, whose ring has the layout above.
 * The caller owns it: io_destroy(2).  NULL, with @errp set, if the kernel gives
 * none.  Any thread.
 */
io_context_t laio_setup_context(Error **errp);

/*
 * Does the regular file @fd end at @offset or before?  Any thread.
 *
 * The tail of a direct read begins at the end of the file, which is not
 * aligned.  Linux says so by reading 0 bytes; before 5.5 ext4 looks at the
 * alignment first, and fails with -EINVAL.
 */
bool laio_is_at_eof(int fd, uint64_t offset);

#endif
