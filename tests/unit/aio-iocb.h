/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kernels that are part of a test read here what an iocb asks for. */
#ifndef TESTS_UNIT_AIO_IOCB_H
#define TESTS_UNIT_AIO_IOCB_H

#include <libaio.h>

static inline bool iocb_is_write(const struct iocb *iocb)
{
    return iocb->aio_lio_opcode == IO_CMD_PWRITE ||
           iocb->aio_lio_opcode == IO_CMD_PWRITEV;
}

/* Does its completion signal the eventfd? */
static inline bool iocb_signals(const struct iocb *iocb)
{
    return iocb->u.c.flags & 1;
}

/* Its @n buffers, of which it names a vector, or a single one: then @single. */
static inline const struct iovec *iocb_vector(const struct iocb *iocb,
                                              struct iovec *single, int *n)
{
    if (iocb->aio_lio_opcode == IO_CMD_PREADV ||
        iocb->aio_lio_opcode == IO_CMD_PWRITEV) {
        *n = iocb->u.v.nr;
        return iocb->u.v.vec;
    }
    single->iov_base = iocb->u.c.buf;
    single->iov_len = iocb->u.c.nbytes;
    *n = 1;
    return single;
}

#endif
