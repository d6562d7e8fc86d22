/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Staying awake for one who waits for the answers to its requests, and makes
 * the next ones at once; and for disks that have few requests.
 *
 * To go to sleep and to be woken takes longer than a short request.  So when
 * the last request in flight has been answered, the event loop may look at its
 * descriptors for a while before it sleeps: as long as twice the time that the
 * client took the last time, at most AIO_AWAKE_MAX_NS.  Nothing is left out
 * meanwhile: all descriptors, timers and bottom halves have their turn as ever.
 * Each time in vain doubles how often it is asleep before it is tried again, as
 * where client and server share a processor.
 *
 * In an iothread poll-max-ns=0 turns it off.  With one processor it is off for
 * clients, which need it, but not for disks, which do not.
 *
 * How many requests a client has at a time does not matter: a server that
 * answers them faster than they come is idle after each few of them.  Of disks
 * the loop waits for up to AIO_AWAKE_DISK_REQUESTS in this way (disk_requests
 * in AioContext): with more of them there is enough in flight while the loop is
 * woken, so that a program would pay as much and gain nothing.
 *
 * All of it belongs to the home thread of the context.
 */
#ifndef QEMU_AIO_AWAKE_H
#define QEMU_AIO_AWAKE_H

#include "qemu/typedefs.h"

#define AIO_AWAKE_MAX_NS (50 * SCALE_US)
/* One who took longer than this asleep is not worth the trial. */
#define AIO_AWAKE_GAP_NS (4 * AIO_AWAKE_MAX_NS)
/* The first time there is nothing to go by. */
#define AIO_AWAKE_LEAST_NS (4 * SCALE_US)
/* The most idle moments from one trial to the next. */
#define AIO_AWAKE_MAX_PAUSE 1024

/* Of that many requests in the kernel the loop waits for the first one. */
#define AIO_AWAKE_DISK_REQUESTS 8

/* Of a client, a queue, or disks; zeroes to begin with. */
typedef struct AioAwake {
    int64_t idle_since;         /* ns; 0: not idle */
    int64_t gap_ns;             /* how long it was idle the last time */
    int64_t stay_ns;            /* how long the loop stays awake; 0: not */
    bool busy;                  /* there was a request since it was idle */
    unsigned pause;             /* as often it is not tried */
    unsigned misses;            /* the next pause: twice that */
} AioAwake;

/* Nothing is in flight any more.  Reads the clock. */
void aio_awake_idle(AioAwake *a, AioContext *ctx);
/* The same where it is a disk that is waited for. */
void aio_awake_wait(AioAwake *a, AioContext *ctx);
/* Would aio_awake_wait() have the loop stay awake? */
bool aio_awake_would_stay(const AioAwake *a, AioContext *ctx);
void aio_awake_end_idle(AioAwake *a);

/* A request has come, perhaps the first one after aio_awake_idle(). */
static inline void aio_awake_busy(AioAwake *a)
{
    a->busy = true;
    if (a->idle_since) {
        aio_awake_end_idle(a);
    }
}

#endif
