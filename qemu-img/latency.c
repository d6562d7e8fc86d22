/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A histogram of durations.
 *
 * Durations below 64 ns have a bucket each: the first row of 64 buckets.  Row
 * n > 0 has the durations from 64 << (n - 1) to twice that, in 64 buckets of
 * 1 << (n - 1) ns.
 */
#include "qemu/osdep.h"
#include <math.h>
#include "latency.h"

static unsigned bucket_of(uint64_t ns)
{
    unsigned shift;

    if (ns < LATENCY_SUB_BUCKETS) {
        return ns;
    }
    shift = 63 - __builtin_clzll(ns) - LATENCY_SUB_BITS;
    /* The highest bit of what is left is the 64 that the row begins with. */
    return (shift << LATENCY_SUB_BITS) + (ns >> shift);
}

int64_t latency_bucket_start(unsigned index)
{
    unsigned row = index >> LATENCY_SUB_BITS;
    uint64_t column = index & (LATENCY_SUB_BUCKETS - 1);

    if (row == 0) {
        return column;
    }
    return (LATENCY_SUB_BUCKETS + column) << (row - 1);
}

void latency_add(LatencyHistogram *h, int64_t ns)
{
    ns = MAX(ns, 0);
    h->min = h->count ? MIN(h->min, ns) : ns;
    h->max = MAX(h->max, ns);
    h->sum += ns;
    h->count++;
    h->buckets[bucket_of(ns)]++;
}

double latency_mean(const LatencyHistogram *h)
{
    return h->count ? h->sum / h->count : 0;
}

int64_t latency_percentile(const LatencyHistogram *h, double percent)
{
    uint64_t rank = ceil(h->count * percent / 100);
    uint64_t seen = 0;
    unsigned i;

    rank = MIN(MAX(rank, 1), h->count);
    for (i = 0; i + 1 < LATENCY_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen >= rank) {
            /* The longest duration of the bucket, but none that never was. */
            return MAX(MIN(latency_bucket_start(i + 1) - 1, h->max), h->min);
        }
    }
    return h->max;
}

char *latency_text(int64_t ns, const char *micro)
{
    static const char units[] = { 'n', 'u', 'm' };
    double value = ns;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(units); i++) {
        if (value < 999.5) {
            /* Three digits that count; a nanosecond has no parts. */
            int digits = i == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;

            return units[i] == 'u' ?
                   g_strdup_printf("%.*f %ss", digits, value, micro) :
                   g_strdup_printf("%.*f %cs", digits, value, units[i]);
        }
        value /= 1000;
    }
    return g_strdup_printf("%.3g s", value);
}
