/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * AIO engines: the parts of what a pass over the completions causes (L9).
 *
 * The coroutines that a pass wakes queue requests.  A disk that is given all of
 * them at the end of the pass may have nothing to do until then, so it is given
 * them in parts.
 */
#ifndef BLOCK_AIO_PARTS_H
#define BLOCK_AIO_PARTS_H

#include "qemu/iov.h"

/* Calls to the kernel in one pass, at most. */
#define AIO_PASS_CALLS 32
/* If they follow each other: of what comes together a disk is given one. */
#define AIO_PASS_RUN_CALLS 2
/* So few of them are not worth a call. */
#define AIO_RUN_PART 4

/*
 * Whether @n requests, two or more, are a part of @all that are waiting or in
 * flight.  The first one has @qiov (NULL: a flush), and the last one begins
 * @distance bytes behind it.
 */
static inline bool aio_is_part(unsigned n, unsigned all,
                               const QEMUIOVector *qiov, uint64_t distance)
{
    bool run = qiov && distance == (n - 1) * (uint64_t)qiov->size;

    return run ? n >= AIO_RUN_PART && n * AIO_PASS_RUN_CALLS >= all :
                 n * AIO_PASS_CALLS >= all;
}

#endif
