/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A histogram of durations.
 *
 * It counts in buckets whose width grows with the duration, 64 of them for
 * each power of two.  A percentile is therefore at most 1/64 (1.6 %) too large;
 * minimum, maximum and mean are exact.  Not safe for several threads.
 */
#ifndef QEMU_IMG_LATENCY_H
#define QEMU_IMG_LATENCY_H

#define LATENCY_SUB_BITS 6
#define LATENCY_SUB_BUCKETS (1 << LATENCY_SUB_BITS)
/* Durations are int64_t: 63 bits, the lowest 6 of which have one row. */
#define LATENCY_BUCKETS ((63 - LATENCY_SUB_BITS + 1) * LATENCY_SUB_BUCKETS)

typedef struct LatencyHistogram {
    uint64_t count;
    int64_t min;                /* ns, as @max and @sum; 0 without a count */
    int64_t max;
    double sum;
    uint64_t buckets[LATENCY_BUCKETS];
} LatencyHistogram;

/* Count a duration of @ns; a negative one, of a clock set back, counts as 0. */
void latency_add(LatencyHistogram *h, int64_t ns);

/*
 * The shortest duration in ns that @percent of all durations do not exceed
 * (nearest rank); 0 without any.  @percent is above 0 and at most 100.
 */
int64_t latency_percentile(const LatencyHistogram *h, double percent);

/* In ns; 0 without any duration. */
double latency_mean(const LatencyHistogram *h);

/* The shortest duration that is counted in bucket @index. */
int64_t latency_bucket_start(unsigned index);

/* @ns as "12.3 us", to be freed; @micro is the letter for millionths. */
char *latency_text(int64_t ns, const char *micro);

#endif
