/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img bench: the result as JSON, and latencies for people.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "qemu-img.h"
#include "qemu/timer.h"
#include "bench.h"

static double per_second(const BenchResult *r, double amount)
{
    /* A clock that did not move in between has the least that it can tell. */
    return amount * NANOSECONDS_PER_SECOND / MAX(r->elapsed, 1);
}

static double mib_per_second(const BenchResult *r)
{
    return per_second(r, (double)r->count * r->bufsize / (1024 * 1024));
}

/* --- JSON --- */

static void add_int(struct json_object *obj, const char *name, int64_t value)
{
    json_object_object_add(obj, name, json_object_new_int64(value));
}

static void add_bool(struct json_object *obj, const char *name, bool value)
{
    json_object_object_add(obj, name, json_object_new_boolean(value));
}

/* Three digits behind the point, instead of 17. */
static void add_number(struct json_object *obj, const char *name,
                       double value)
{
    g_autofree char *text = g_strdup_printf("%.3f", value);

    json_object_object_add(obj, name, json_object_new_double_s(value, text));
}

static struct json_object *latency_object(const LatencyHistogram *h)
{
    static const double percents[] = BENCH_PERCENTILES;
    struct json_object *obj = json_object_new_object();
    size_t i;

    add_int(obj, "min", h->min);
    add_int(obj, "mean", latency_mean(h));
    for (i = 0; i < ARRAY_SIZE(percents); i++) {
        g_autofree char *name = g_strdup_printf("p%g", percents[i]);

        add_int(obj, name, latency_percentile(h, percents[i]));
    }
    add_int(obj, "max", h->max);
    return obj;
}

void bench_print_json(const BenchResult *r)
{
    struct json_object *obj = json_object_new_object();

    json_object_object_add(obj, "filename",
                           json_object_new_string(r->filename));
    json_object_object_add(obj, "format", json_object_new_string(r->format));
    json_object_object_add(obj, "operation", json_object_new_string(
        r->write ? "write" : "read"));
    add_int(obj, "requests", r->count);
    add_int(obj, "request-size", r->bufsize);
    add_int(obj, "depth", r->depth);
    add_int(obj, "offset", r->offset);
    add_int(obj, "step-size", r->step);
    add_bool(obj, "random", r->random);
    if (r->random) {
        add_int(obj, "seed", r->seed);
    }
    if (r->flush_interval) {
        add_int(obj, "flush-interval", r->flush_interval);
        add_bool(obj, "drain", r->drain);
    }
    add_int(obj, "duration-ns", r->elapsed);
    add_number(obj, "iops", per_second(r, r->count));
    add_number(obj, "mib-per-second", mib_per_second(r));
    if (r->count > 0) {
        json_object_object_add(obj, "latency-ns", latency_object(r->latency));
    }
    img_print_json(obj);
    json_object_put(obj);
}

/* --- people --- */

static void print_duration(const char *what, int64_t ns)
{
    g_autofree char *text = latency_text(ns, "u");

    printf("  %-8s%s\n", what, text);
}

void bench_print_latency(const BenchResult *r)
{
    static const double percents[] = BENCH_PERCENTILES;
    size_t i;

    printf("%.0f requests/s, %.2f MiB/s\n", per_second(r, r->count),
           mib_per_second(r));
    if (r->count == 0) {
        return;
    }
    printf("Latency:\n");
    print_duration("min", r->latency->min);
    print_duration("mean", latency_mean(r->latency));
    for (i = 0; i < ARRAY_SIZE(percents); i++) {
        g_autofree char *what = g_strdup_printf("%g %%", percents[i]);

        print_duration(what, latency_percentile(r->latency, percents[i]));
    }
    print_duration("max", r->latency->max);
}
