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
#define AIO_PASS_CALLS 16
/* So many requests are not too few for a call, if the bound above allows it. */
#define AIO_PART 4
/* Requests that follow each other are given to a disk as one: larger parts. */
#define AIO_PASS_RUNS 4

/*
 * Whether @n requests, two or more, are a part of @all that are waiting or in
 * flight.  The first one has @qiov (NULL: a flush), and the last one begins
 * @distance bytes behind it.
 */
static inline bool aio_is_part(unsigned n, unsigned all,
                               const QEMUIOVector *qiov, uint64_t distance)
{
    if (qiov && distance == (n - 1) * (uint64_t)qiov->size) {
        return n * AIO_PASS_RUNS >= all;
    }
    return n * AIO_PASS_CALLS >= all && (n >= AIO_PART || n * 8 >= all);
}

#endif
