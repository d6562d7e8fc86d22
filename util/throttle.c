/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits for bytes and requests per second.  See include/qemu/throttle.h.
 */
#include "qemu/osdep.h"
#include <math.h>
#include "qapi/error.h"
#include "qemu/throttle.h"
#include "qemu/timer.h"

/* The longest wait in ns: a century, and a number that a double has. */
#define THROTTLE_WAIT_MAX 4000000000000000000LL

/* The buckets that a request pours into. */
static const BucketType buckets_of[THROTTLE_MAX][4] = {
    [THROTTLE_READ] = {
        THROTTLE_BPS_TOTAL, THROTTLE_BPS_READ,
        THROTTLE_OPS_TOTAL, THROTTLE_OPS_READ,
    },
    [THROTTLE_WRITE] = {
        THROTTLE_BPS_TOTAL, THROTTLE_BPS_WRITE,
        THROTTLE_OPS_TOTAL, THROTTLE_OPS_WRITE,
    },
};

void throttle_config_init(ThrottleConfig *cfg)
{
    int i;

    *cfg = (ThrottleConfig) { .op_size = 0 };
    for (i = 0; i < BUCKETS_COUNT; i++) {
        cfg->buckets[i].burst_length = 1;
    }
}

bool throttle_enabled(const ThrottleConfig *cfg)
{
    int i;

    for (i = 0; i < BUCKETS_COUNT; i++) {
        if (cfg->buckets[i].avg > 0) {
            return true;
        }
    }
    return false;
}

/* --- what goes together --- */

/* Whether a total and one of its halves are limited. */
static bool throttle_conflicting(const LeakyBucket *total)
{
    const LeakyBucket *rd = total + 1, *wr = total + 2;

    return (total->avg && (rd->avg || wr->avg)) ||
           (total->max && (rd->max || wr->max));
}

static bool throttle_bucket_is_valid(const LeakyBucket *bkt, Error **errp)
{
    if (bkt->avg < 0 || bkt->max < 0 || bkt->avg > THROTTLE_VALUE_MAX ||
        bkt->max > THROTTLE_VALUE_MAX) {
        error_setg(errp, "bps/iops/max values must be within [0, %lld]",
                   THROTTLE_VALUE_MAX);
    } else if (bkt->burst_length == 0) {
        error_setg(errp, "the burst length cannot be 0");
    } else if (bkt->burst_length > 1 && !bkt->max) {
        error_setg(errp, "burst length set without burst rate");
    } else if (bkt->max && bkt->burst_length > THROTTLE_VALUE_MAX / bkt->max) {
        error_setg(errp, "burst length too high for this burst rate");
    } else if (bkt->max && !bkt->avg) {
        error_setg(errp, "bps_max/iops_max require corresponding bps/iops "
                   "values");
    } else if (bkt->max && bkt->max < bkt->avg) {
        error_setg(errp, "bps_max/iops_max cannot be lower than bps/iops");
    } else {
        return true;
    }
    return false;
}

bool throttle_is_valid(const ThrottleConfig *cfg, Error **errp)
{
    const LeakyBucket *b = cfg->buckets;
    int i;

    if (throttle_conflicting(&b[THROTTLE_BPS_TOTAL]) ||
        throttle_conflicting(&b[THROTTLE_OPS_TOTAL])) {
        error_setg(errp, "bps/iops/max total values and read/write values "
                   "cannot be used at the same time");
        return false;
    }
    if (cfg->op_size && !b[THROTTLE_OPS_TOTAL].avg &&
        !b[THROTTLE_OPS_READ].avg && !b[THROTTLE_OPS_WRITE].avg) {
        error_setg(errp, "iops size requires an iops value to be set");
        return false;
    }
    for (i = 0; i < BUCKETS_COUNT; i++) {
        if (!throttle_bucket_is_valid(&b[i], errp)) {
            return false;
        }
    }
    return true;
}

/* --- water --- */

void throttle_config(ThrottleState *ts, const ThrottleConfig *cfg,
                     int64_t now)
{
    int i;

    ts->cfg = *cfg;
    ts->previous_leak = now;
    for (i = 0; i < BUCKETS_COUNT; i++) {
        ts->cfg.buckets[i].level = 0;
        ts->cfg.buckets[i].burst_level = 0;
    }
}

void throttle_leak(ThrottleState *ts, int64_t now)
{
    double seconds;
    int i;

    if (now <= ts->previous_leak) {
        return;
    }
    seconds = (double)(now - ts->previous_leak) / NANOSECONDS_PER_SECOND;
    ts->previous_leak = now;
    for (i = 0; i < BUCKETS_COUNT; i++) {
        LeakyBucket *bkt = &ts->cfg.buckets[i];

        bkt->level = MAX(bkt->level - bkt->avg * seconds, 0);
        bkt->burst_level = MAX(bkt->burst_level - bkt->max * seconds, 0);
    }
}

/* Seconds until @level is down to @brim. */
static double throttle_time_above(double level, double brim, int64_t rate)
{
    return level > brim ? (level - brim) / rate : 0;
}

static double throttle_bucket_wait(const LeakyBucket *bkt)
{
    double wait;

    if (!bkt->avg) {
        return 0;
    }
    if (!bkt->max) {
        return throttle_time_above(bkt->level, bkt->avg / 10.0, bkt->avg);
    }
    wait = throttle_time_above(bkt->level, (double)bkt->max *
                               bkt->burst_length, bkt->avg);
    if (bkt->burst_length > 1) {
        wait = MAX(wait, throttle_time_above(bkt->burst_level,
                                             bkt->max / 10.0, bkt->max));
    }
    return wait;
}

int64_t throttle_compute_wait(const ThrottleState *ts,
                              ThrottleDirection direction)
{
    double wait = 0;
    int i;

    for (i = 0; i < 4; i++) {
        const LeakyBucket *bkt =
            &ts->cfg.buckets[buckets_of[direction][i]];

        wait = MAX(wait, throttle_bucket_wait(bkt));
    }
    /* Below a nanosecond it is the rounding of the last wait. */
    wait *= NANOSECONDS_PER_SECOND;
    return wait < 1 ? 0 : ceil(MIN(wait, THROTTLE_WAIT_MAX));
}

void throttle_account(ThrottleState *ts, ThrottleDirection direction,
                      uint64_t bytes)
{
    double ops = 1;
    int i;

    if (ts->cfg.op_size && bytes > ts->cfg.op_size) {
        ops = (double)bytes / ts->cfg.op_size;
    }
    for (i = 0; i < 4; i++) {
        BucketType type = buckets_of[direction][i];
        LeakyBucket *bkt = &ts->cfg.buckets[type];
        double units = type < THROTTLE_OPS_TOTAL ? bytes : ops;

        if (bkt->avg) {
            bkt->level += units;
            bkt->burst_level += bkt->burst_length > 1 ? units : 0;
        }
    }
}
