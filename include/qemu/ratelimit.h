/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A limit on the rate of work, in units per second, averaged over slices of
 * time.  Any thread.
 */
#ifndef QEMU_RATELIMIT_H
#define QEMU_RATELIMIT_H

#include "qemu/thread.h"
#include "qemu/timer.h"

typedef struct RateLimit {
    QemuMutex lock;             /* protects what follows */
    int64_t slice_start_ns;
    int64_t slice_end_ns;
    uint64_t slice_quota;       /* units per slice; 0: no limit */
    uint64_t slice_ns;
    uint64_t dispatched;        /* since slice_start_ns */
} RateLimit;

static inline void ratelimit_init(RateLimit *limit)
{
    memset(limit, 0, sizeof(*limit));
    qemu_mutex_init(&limit->lock);
}

static inline void ratelimit_destroy(RateLimit *limit)
{
    qemu_mutex_destroy(&limit->lock);
}

/* @speed units per second, 0 for no limit, in slices of @slice_ns. */
static inline void ratelimit_set_speed(RateLimit *limit, uint64_t speed,
                                       uint64_t slice_ns)
{
    qemu_mutex_lock(&limit->lock);
    limit->slice_ns = slice_ns;
    limit->slice_quota = speed ?
        MAX((uint64_t)((double)speed * slice_ns / NANOSECONDS_PER_SECOND), 1) :
        0;
    qemu_mutex_unlock(&limit->lock);
}

/*
 * @n units have been done: how long to wait before the next ones, in ns (0:
 * not at all).  A delay that the caller does not keep is asked for again.
 */
static inline int64_t ratelimit_calculate_delay(RateLimit *limit, uint64_t n)
{
    int64_t now = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    int64_t delay = 0;
    double slices;

    qemu_mutex_lock(&limit->lock);
    if (limit->slice_quota) {
        if (limit->slice_end_ns < now) {
            /* Nothing is saved up while nobody works. */
            limit->slice_start_ns = now;
            limit->slice_end_ns = now + limit->slice_ns;
            limit->dispatched = 0;
        }
        limit->dispatched += n;
        if (limit->dispatched >= limit->slice_quota) {
            slices = (double)limit->dispatched / limit->slice_quota;
            limit->slice_end_ns = limit->slice_start_ns +
                                  (int64_t)(slices * limit->slice_ns);
            delay = MAX(limit->slice_end_ns - now, 0);
        }
    }
    qemu_mutex_unlock(&limit->lock);
    return delay;
}

#endif
