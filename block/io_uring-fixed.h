/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * io_uring engine: fixed buffers, of which the kernel keeps the pages
 * (io_uring_register_buffers(3)).  For the thread that uses the ring.
 */
#ifndef BLOCK_IO_URING_FIXED_H
#define BLOCK_IO_URING_FIXED_H

#include <liburing.h>
#include "block/aio-bufs.h"

/* Of a buffer: its pages are kept from the first request on that is from it. */
typedef enum { LURING_NOT_ASKED, LURING_PINNED, LURING_REFUSED } LuringPinned;

/* Of a ring; zeroes to begin with. */
typedef struct LuringFixed {
    unsigned generation;        /* of the list that bufs is of */
    unsigned nb_slots;          /* the last one of bufs that has an id, and 1 */
    bool has_table;             /* the kernel has a place for each of them */
    bool refused;               /* it will not have one */
    LuringPinned state[AIO_BUFS_MAX];
    AioBuf bufs[AIO_BUFS_MAX];  /* by the kernel's index; id 0: none */
} LuringFixed;

/* Where it helps: see luring_use_fixed(). */
void luring_find_fixed(LuringFixed *f, struct io_uring *ring,
                       struct io_uring_sqe *sqe);

/* Is any buffer registered, or has the list changed? */
static inline bool luring_has_fixed(const LuringFixed *f)
{
    return f->nb_slots || qatomic_read(&aio_bufs_generation) != f->generation;
}

/*
 * @sqe is a request, complete and not submitted.  If its memory is in a buffer
 * that is registered, it becomes one from the pages that the kernel has.
 */
static inline void luring_use_fixed(LuringFixed *f, struct io_uring *ring,
                                    struct io_uring_sqe *sqe)
{
    if (unlikely(luring_has_fixed(f))) {
        luring_find_fixed(f, ring, sqe);
    }
}

#endif
