/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The histogram of latencies of qemu-img bench, and its drawing: percentiles
 * next to those of a sorted list, and durations at the ends of the range.
 */
#include "qemu/osdep.h"
#include "prng.h"
#include "qemu-img/bench.h"

static LatencyHistogram *new_histogram(void)
{
    return g_new0(LatencyHistogram, 1);
}

/* Buckets follow one another without gaps, and the last has INT64_MAX. */
static void test_buckets(void)
{
    unsigned i;

    g_assert_cmpint(latency_bucket_start(0), ==, 0);
    for (i = 0; i < LATENCY_BUCKETS; i++) {
        g_autofree LatencyHistogram *h = new_histogram();

        latency_add(h, latency_bucket_start(i));
        latency_add(h, i + 1 < LATENCY_BUCKETS ?
                       latency_bucket_start(i + 1) - 1 : INT64_MAX);
        g_assert_cmpuint(h->buckets[i], ==, 2);
    }
}

static void test_empty(void)
{
    g_autofree LatencyHistogram *h = new_histogram();

    g_assert_cmpint(latency_percentile(h, 50), ==, 0);
    g_assert_cmpfloat(latency_mean(h), ==, 0);
}

static void test_one(void)
{
    static const int64_t values[] = { 0, 1, 63, 64, 65, 12345, INT64_MAX };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(values); i++) {
        g_autofree LatencyHistogram *h = new_histogram();

        latency_add(h, values[i]);
        g_assert_cmpint(h->min, ==, values[i]);
        g_assert_cmpint(h->max, ==, values[i]);
        g_assert_cmpint(latency_percentile(h, 0.001), ==, values[i]);
        g_assert_cmpint(latency_percentile(h, 100), ==, values[i]);
    }
}

static void test_clock_set_back(void)
{
    g_autofree LatencyHistogram *h = new_histogram();

    latency_add(h, -5);
    g_assert_cmpint(h->min, ==, 0);
    g_assert_cmpuint(h->buckets[0], ==, 1);
}

static int compare_values(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

/* Of an even number, the median is the lower one of the two in the middle. */
static void test_nearest_rank(void)
{
    g_autofree LatencyHistogram *h = new_histogram();

    latency_add(h, 10);
    latency_add(h, 1000000);
    g_assert_cmpint(latency_percentile(h, 50), ==, 10);
    g_assert_cmpint(latency_percentile(h, 50.1), ==, 1000000);
}

/* Never too small, and at most 1/64 too large. */
static void test_percentiles(void)
{
    static const double percents[] = { 0.1, 1, 50, 90, 95, 99, 99.9, 100 };
    enum { COUNT = 10000 };
    g_autofree LatencyHistogram *h = new_histogram();
    g_autofree int64_t *values = g_new(int64_t, COUNT);
    uint64_t prng = 5;
    double sum = 0;
    size_t i;

    for (i = 0; i < COUNT; i++) {
        values[i] = prng_next(&prng) >> prng_below(&prng, 30);
        sum += values[i];
        latency_add(h, values[i]);
    }
    qsort(values, COUNT, sizeof(values[0]), compare_values);
    g_assert_cmpint(h->min, ==, values[0]);
    g_assert_cmpint(h->max, ==, values[COUNT - 1]);
    g_assert_cmpfloat(latency_mean(h), ==, sum / COUNT);
    for (i = 0; i < ARRAY_SIZE(percents); i++) {
        int64_t exact = values[(int)(COUNT * percents[i] / 100 + 0.5) - 1];
        int64_t got = latency_percentile(h, percents[i]);

        g_assert_cmpint(got, >=, exact);
        g_assert_cmpint(got, <=, exact + exact / 64);
    }
}

static void check_plot(const LatencyHistogram *h)
{
    BenchResult r = {
        .filename = "/a<b\1.raw", .format = "raw", .count = h->count,
        .depth = 1, .bufsize = 512, .latency = h,
    };
    GString *svg = bench_plot_svg(&r);

    g_assert_true(g_str_has_prefix(svg->str, "<svg "));
    g_assert_true(g_str_has_suffix(svg->str, "</svg>\n"));
    g_assert_nonnull(strstr(svg->str, "a&lt;b?.raw"));
    g_assert_null(strstr(svg->str, "nan"));
    g_assert_null(strstr(svg->str, "inf"));
    g_assert_null(strstr(svg->str, "width=\"-"));
    g_assert_null(strstr(svg->str, "height=\"-"));
    g_assert_cmpuint(svg->len, <, 64 * 1024);
    g_string_free(svg, true);
}

/* The axes are sane whatever the durations are. */
static void test_plot(void)
{
    static const int64_t values[] = { 0, 1, 1000, 1001, 999999, INT64_MAX };
    g_autofree LatencyHistogram *all = new_histogram();
    g_autofree LatencyHistogram *empty = new_histogram();
    size_t i;

    check_plot(empty);
    for (i = 0; i < ARRAY_SIZE(values); i++) {
        g_autofree LatencyHistogram *h = new_histogram();

        latency_add(h, values[i]);
        check_plot(h);
        latency_add(all, values[i]);
        check_plot(all);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/latency/buckets", test_buckets);
    g_test_add_func("/latency/empty", test_empty);
    g_test_add_func("/latency/one", test_one);
    g_test_add_func("/latency/clock-set-back", test_clock_set_back);
    g_test_add_func("/latency/nearest-rank", test_nearest_rank);
    g_test_add_func("/latency/percentiles", test_percentiles);
    g_test_add_func("/latency/plot", test_plot);
    return g_test_run();
}
