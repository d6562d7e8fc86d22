/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux AIO engine: the completion ring that the kernel shares with user space.
 */
#ifndef BLOCK_LINUX_AIO_RING_H
#define BLOCK_LINUX_AIO_RING_H

#include <libaio.h>

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
