/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The part of the preloaded library that measures how far apart the frames on a
 * thread's stack are that hand requests to an engine.  A bounded engine calls
 * from a narrow range of the stack; recursion shows as a wide one.
 *
 * io_submit() itself is in disturb.c.  Here are the calls of the other engines:
 * liburing's that enter the kernel, and for threads the calls of the workers
 * and the sem_post() that wakes one.
 */
#define _GNU_SOURCE
#include <semaphore.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "disturb.h"
#include "own-stack.h"

void note_frame(Spread *spread, uintptr_t frame, uint64_t *max)
{
    if (!is_on_own_stack(frame)) {
        return;
    }
    spread->high = frame > spread->high ? frame : spread->high;
    spread->low = spread->low && spread->low < frame ? spread->low : frame;
    raise_to(max, spread->high - spread->low);
}

/* Of this thread's calls. */
static __thread Spread uring_spread, file_spread;

static void note_call(uint64_t *calls, Spread *spread, uintptr_t frame,
                      uint64_t *max)
{
    add(calls, 1);
    note_frame(spread, frame, max);
}

/* A function of this library that notes its call and passes it on. */
#define WATCHED(kind, type, name, parameters, arguments)        \
    __attribute__((visibility("default")))                      \
    type name parameters                                        \
    {                                                           \
        static type (*fn) parameters;                           \
                                                                \
        note_call(&report->kind##_calls, &kind##_spread,        \
                  (uintptr_t)__builtin_frame_address(0),        \
                  &report->kind##_stack_bytes);                 \
        if (!fn) {                                              \
            fn = (type (*) parameters)next_function(#name);     \
        }                                                       \
        return fn arguments;                                    \
    }

/* --- io_uring --- */

/* liburing's header need not be there. */
struct io_uring;
int io_uring_submit(struct io_uring *ring);
int io_uring_get_events(struct io_uring *ring);
int io_uring_enter2(unsigned fd, unsigned submit, unsigned complete,
                    unsigned flags, void *arg, size_t size);

WATCHED(uring, int, io_uring_submit, (struct io_uring *ring), (ring))
WATCHED(uring, int, io_uring_get_events, (struct io_uring *ring), (ring))
WATCHED(uring, int, io_uring_enter2,
        (unsigned fd, unsigned submit, unsigned complete, unsigned flags,
         void *arg, size_t size),
        (fd, submit, complete, flags, arg, size))

/* --- threads --- */

WATCHED(file, ssize_t, pread64,
        (int fd, void *buf, size_t count, off64_t offset),
        (fd, buf, count, offset))
WATCHED(file, ssize_t, pwrite64,
        (int fd, const void *buf, size_t count, off64_t offset),
        (fd, buf, count, offset))
WATCHED(file, ssize_t, preadv64,
        (int fd, const struct iovec *iov, int n, off64_t offset),
        (fd, iov, n, offset))
WATCHED(file, ssize_t, pwritev64,
        (int fd, const struct iovec *iov, int n, off64_t offset),
        (fd, iov, n, offset))
WATCHED(file, ssize_t, preadv64v2,
        (int fd, const struct iovec *iov, int n, off64_t offset, int flags),
        (fd, iov, n, offset, flags))
WATCHED(file, ssize_t, pwritev64v2,
        (int fd, const struct iovec *iov, int n, off64_t offset, int flags),
        (fd, iov, n, offset, flags))
WATCHED(file, int, sem_post, (sem_t *sem), (sem))
