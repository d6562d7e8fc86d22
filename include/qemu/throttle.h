/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits for bytes and requests per second, by leaky buckets: the arithmetic.
 *
 * Each limit is a bucket.  A request pours its bytes, or its one, into it,
 * and it leaks at the rate of the limit.  A request must wait while a bucket
 * is above its brim; how much it pours in itself does not matter.  So the
 * long-term rate is that of the leak, whatever the size of requests, and the
 * room below the brim is what may come at once:
 *
 *   without max            a tenth of a second at the rate
 *   max, burst_length 1    max
 *   max, burst_length n    n seconds at the rate max; a second bucket, which
 *                          leaks at the rate max, keeps them from coming
 *                          faster
 *
 * None of these functions locks: that is the caller's business.
 */
#ifndef QEMU_THROTTLE_H
#define QEMU_THROTTLE_H

#define THROTTLE_VALUE_MAX 1000000000000000LL

typedef enum {
    THROTTLE_BPS_TOTAL,
    THROTTLE_BPS_READ,
    THROTTLE_BPS_WRITE,
    THROTTLE_OPS_TOTAL,
    THROTTLE_OPS_READ,
    THROTTLE_OPS_WRITE,
    BUCKETS_COUNT,
} BucketType;

typedef enum {
    THROTTLE_READ = 0,
    THROTTLE_WRITE = 1,
    THROTTLE_MAX
} ThrottleDirection;

typedef struct LeakyBucket {
    int64_t avg;                /* units per second; 0: no limit */
    int64_t max;                /* the same in a burst; 0: no bursts */
    int64_t burst_length;       /* seconds; 1 by default */
    double level;               /* units */
    double burst_level;         /* units, in the second bucket */
} LeakyBucket;

typedef struct ThrottleConfig {
    LeakyBucket buckets[BUCKETS_COUNT];
    int64_t op_size;    /* bytes that count as one request; 0: any number */
} ThrottleConfig;

typedef struct ThrottleState {
    ThrottleConfig cfg;
    int64_t previous_leak;      /* ns */
} ThrottleState;

/* No limits. */
void throttle_config_init(ThrottleConfig *cfg);
/* Whether there is a limit at all. */
bool throttle_enabled(const ThrottleConfig *cfg);
/* False with @errp set if the values do not go together. */
bool throttle_is_valid(const ThrottleConfig *cfg, Error **errp);

/* Begin anew with valid limits and empty buckets at @now, in ns. */
void throttle_config(ThrottleState *ts, const ThrottleConfig *cfg,
                     int64_t now);
/* Let the buckets leak until @now. */
void throttle_leak(ThrottleState *ts, int64_t now);
/*
 * How long a request must wait, in ns from the last leak on; 0: it may be
 * made.  Nothing that comes meanwhile is reckoned with.
 */
int64_t throttle_compute_wait(const ThrottleState *ts,
                              ThrottleDirection direction);
/* A request of @bytes is made. */
void throttle_account(ThrottleState *ts, ThrottleDirection direction,
                      uint64_t bytes);

#endif
