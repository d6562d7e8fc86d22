/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory from which requests are made again and again.
 *
 * Who has such memory may say so.  An engine that gains by it keeps the pages
 * of a buffer in the kernel, so that not each request has to look for them
 * (io_uring's fixed buffers).  It is a hint: nothing depends on it, and an
 * engine that is not able to do it carries out requests as it does others.
 *
 * The list is the process's.  Each engine keeps up with it by its generation.
 */
#ifndef BLOCK_AIO_BUFS_H
#define BLOCK_AIO_BUFS_H

#include "qemu/atomic.h"

/* So many are kept; those above it are not. */
#define AIO_BUFS_MAX 64

typedef struct AioBuf {
    uintptr_t start;
    size_t size;                /* bytes */
    uint64_t id;                /* never 0, and never used again */
} AioBuf;

/*
 * From now on requests may be made from @size bytes at @host, whose pages must
 * not be replaced by others (as madvise(2) does) until aio_unregister_buf().
 * Any thread.
 */
void aio_register_buf(void *host, size_t size);

/*
 * The memory is about to be given back.  No request that uses it is in flight.
 * An engine lets go of the pages with its next request.  Any thread.
 */
void aio_unregister_buf(void *host);

/*
 * Changes with each of these calls; 0 before the first.  Who makes a request
 * from a buffer has seen that it was registered.
 */
extern unsigned aio_bufs_generation;

/*
 * Fill @bufs, which has room for AIO_BUFS_MAX, with what is registered; how
 * many they are.  *@generation is that of the list.  Any thread.
 */
unsigned aio_bufs_get(AioBuf *bufs, unsigned *generation);

#endif
