/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img bench --plot: the histogram of latencies, as a drawing in SVG.
 *
 * Both axes are logarithmic: latencies spread over several powers of ten, and
 * the few slow requests matter as much as the many fast ones.  The colours
 * follow what the viewer prefers, light or dark.
 */
#include "qemu/osdep.h"
#include <math.h>
#include <sys/stat.h>
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/timer.h"
#include "bench.h"

/* The drawing, and the field with the bars, in pixels. */
#define WIDTH 820
#define HEIGHT 420
#define LEFT 70
#define RIGHT 790
#define TOP 112
#define BOTTOM 370

#define MAX_BARS 120

static const char style[] =
    "<style>\n"
    "text { font: 12px sans-serif; fill: #222; }\n"
    ".title { font-size: 14px; font-weight: bold; }\n"
    ".page { fill: #fff; }\n"
    ".bar { fill: #4878a8; }\n"
    ".axis { stroke: #ccc; stroke-width: 1; }\n"
    ".mark { stroke: #b04030; stroke-width: 1; stroke-dasharray: 4 3; }\n"
    ".at { fill: #b04030; }\n"
    "@media (prefers-color-scheme: dark) {\n"
    "  text { fill: #ddd; }\n"
    "  .page { fill: #1c1c1c; }\n"
    "  .bar { fill: #78a8d8; }\n"
    "  .axis { stroke: #444; }\n"
    "  .mark { stroke: #f09080; }\n"
    "  .at { fill: #f09080; }\n"
    "}\n"
    "</style>\n";

typedef struct Plot {
    GString *svg;
    const LatencyHistogram *h;
    double low, high;           /* ns, the ends of the axis */
    double top;                 /* requests, likewise */
    unsigned first, last;       /* buckets that are not empty */
    unsigned group;             /* buckets of a bar */
} Plot;

static double x_of(const Plot *p, double ns)
{
    return LEFT + (RIGHT - LEFT) * log(MAX(ns, p->low) / p->low) /
           log(p->high / p->low);
}

/* The axis begins at half a request, so that a single one has a height. */
static double y_of(const Plot *p, double count)
{
    return BOTTOM - (BOTTOM - TOP) * log(count / 0.5) / log(p->top / 0.5);
}

/* The mark of 1, 2, 5, 10, 20, ... with number @n. */
static double round_mark(int n)
{
    static const int digit[] = { 1, 2, 5 };

    return digit[n % 3] * pow(10, n / 3);
}

/* "20 µs" for mark @n, to be freed; 9 marks lead to the next unit. */
static char *mark_label(int n)
{
    static const char *const units[] = { "ns", "µs", "ms", "s" };
    int unit = MIN(n / 9, (int)ARRAY_SIZE(units) - 1);

    return g_strdup_printf("%g %s", round_mark(n - 9 * unit), units[unit]);
}

static uint64_t bar_count(const Plot *p, unsigned start)
{
    uint64_t count = 0;
    unsigned i;

    for (i = start; i < MIN(start + p->group, LATENCY_BUCKETS); i++) {
        count += p->h->buckets[i];
    }
    return count;
}

static double bucket_end(const Plot *p, unsigned start)
{
    unsigned next = start + p->group;

    return next < LATENCY_BUCKETS ? latency_bucket_start(next) :
           (double)INT64_MAX;
}

static void find_bars(Plot *p)
{
    unsigned i;

    p->first = LATENCY_BUCKETS;
    for (i = 0; i < LATENCY_BUCKETS; i++) {
        if (p->h->buckets[i]) {
            p->first = MIN(p->first, i);
            p->last = i;
        }
    }
    p->group = 1;
    while ((p->last - p->first) / p->group >= MAX_BARS) {
        p->group *= 2;
    }
    p->first -= p->first % p->group;
}

static void find_axes(Plot *p)
{
    unsigned i;
    int n = 0;

    while (round_mark(n + 1) <= latency_bucket_start(p->first)) {
        n++;
    }
    p->low = round_mark(n);
    /* At least one step further: an axis has a length. */
    do {
        n++;
    } while (round_mark(n) < bucket_end(p, p->last - p->last % p->group));
    p->high = round_mark(n);
    p->top = 10;
    for (i = p->first; i <= p->last; i += p->group) {
        while (bar_count(p, i) > p->top) {
            p->top *= 10;
        }
    }
}

static void draw_axes(Plot *p)
{
    bool all = p->high / p->low <= 1000;
    double count;
    int n;

    for (n = 0; round_mark(n) <= p->high; n++) {
        double x = x_of(p, round_mark(n));
        g_autofree char *label = mark_label(n);

        if (round_mark(n) < p->low) {
            continue;
        }
        g_string_append_printf(p->svg, "<line class=\"axis\" x1=\"%.1f\" "
                               "x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>\n",
                               x, x, TOP, BOTTOM);
        if (all || n % 3 == 0) {
            g_string_append_printf(p->svg, "<text x=\"%.1f\" y=\"%d\" "
                                   "text-anchor=\"middle\">%s</text>\n",
                                   x, BOTTOM + 16, label);
        }
    }
    for (count = 1; count <= p->top; count *= 10) {
        double y = y_of(p, count);

        g_string_append_printf(p->svg, "<line class=\"axis\" x1=\"%d\" "
                               "x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>\n"
                               "<text x=\"%d\" y=\"%.1f\" "
                               "text-anchor=\"end\">%.0f</text>\n",
                               LEFT, RIGHT, y, y, LEFT - 6, y + 4, count);
    }
    g_string_append_printf(p->svg, "<text x=\"%d\" y=\"%d\" "
                           "text-anchor=\"middle\">latency</text>\n"
                           "<text x=\"%d\" y=\"%d\">requests</text>\n",
                           (LEFT + RIGHT) / 2, BOTTOM + 38, 8, TOP - 8);
}

static void draw_bars(Plot *p)
{
    unsigned i;

    for (i = p->first; i <= p->last; i += p->group) {
        uint64_t count = bar_count(p, i);
        double left = x_of(p, latency_bucket_start(i));
        double right = x_of(p, bucket_end(p, i));

        if (count) {
            g_string_append_printf(p->svg, "<rect class=\"bar\" x=\"%.1f\" "
                                   "y=\"%.1f\" width=\"%.1f\" "
                                   "height=\"%.1f\"/>\n",
                                   left, y_of(p, count),
                                   MAX(right - left - 0.5, 0.5),
                                   BOTTOM - y_of(p, count));
        }
    }
}

/*
 * Each percentile is a line, with its label in a row of its own, mostly on the
 * left of the line.  The higher a percentile, the higher its row: a line does
 * not cross labels of lines that are further to the right.
 */
static void draw_percentiles(Plot *p)
{
    static const double percents[] = BENCH_PERCENTILES;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(percents); i++) {
        int64_t ns = latency_percentile(p->h, percents[i]);
        g_autofree char *label = latency_text(ns, "µ");
        double x = x_of(p, ns);
        bool left = x > LEFT + 110;
        int y = 99 - 15 * (int)i;

        g_string_append_printf(p->svg, "<line class=\"mark\" x1=\"%.1f\" "
                               "x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>\n"
                               "<text class=\"at\" x=\"%.1f\" y=\"%d\" "
                               "text-anchor=\"%s\">%g %%: %s</text>\n",
                               x, x, y - 10, BOTTOM, left ? x - 4 : x + 4, y,
                               left ? "end" : "start", percents[i], label);
    }
}

/* The last part of the name as text of XML, which has no control characters. */
static char *image_name(const char *filename)
{
    g_autofree char *base = g_path_get_basename(filename);
    g_autofree char *valid = g_utf8_make_valid(base, -1);
    char *c;

    for (c = valid; *c; c++) {
        if (g_ascii_iscntrl(*c)) {
            *c = '?';
        }
    }
    return g_markup_escape_text(valid, -1);
}

GString *bench_plot_svg(const BenchResult *r)
{
    g_autofree char *name = image_name(r->filename);
    Plot p = { .svg = g_string_new(NULL), .h = r->latency };

    g_string_append_printf(p.svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" "
        "height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\">\n"
        "<title>Latency of %s requests</title>\n%s"
        "<rect class=\"page\" width=\"100%%\" height=\"100%%\"/>\n"
        "<text class=\"title\" x=\"8\" y=\"20\">Latency of %d %s%s requests, "
        "%d bytes each, %d in parallel: %s</text>\n",
        WIDTH, HEIGHT, WIDTH, HEIGHT, r->write ? "write" : "read", style,
        r->count, r->random ? "random " : "", r->write ? "write" : "read",
        r->bufsize, r->depth, name);
    if (r->latency->count) {
        find_bars(&p);
        find_axes(&p);
        draw_axes(&p);
        draw_bars(&p);
        draw_percentiles(&p);
    }
    g_string_append(p.svg, "</svg>\n");
    return p.svg;
}

/* --- the file --- */

static int plot_check_content(const char *filename)
{
    char start[4] = { 0 };
    struct stat st;
    ssize_t got;
    int fd;

    if (stat(filename, &st) < 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    if (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode)) {
        return 0;
    }
    fd = open(filename, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    got = read(fd, start, sizeof(start));
    if (got < 0) {
        got = -errno;
    }
    close(fd);
    if (got < 0) {
        return got;
    }
    return got == 0 || !memcmp(start, "<svg", 4) ? 0 : -EEXIST;
}

static int plot_open_file(BenchPlot *p, const char *filename)
{
    int ret = plot_check_content(filename);

    if (ret < 0) {
        return ret;
    }
    p->fd = open(filename, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    p->created = p->fd >= 0;
    if (p->fd < 0 && errno == EEXIST) {
        p->fd = open(filename, O_WRONLY | O_CLOEXEC);
    }
    return p->fd < 0 ? -errno : 0;
}

int bench_plot_open(BenchPlot *p, const char *filename)
{
    int ret = plot_open_file(p, filename);

    if (ret == -EEXIST) {
        error_report("--plot: '%s' is a file that is not a drawing in SVG, "
                     "and is not overwritten", filename);
    } else if (ret < 0) {
        error_report("--plot: cannot open '%s' for writing: %s", filename,
                     strerror(-ret));
    }
    p->filename = ret < 0 ? NULL : filename;
    return ret;
}

void bench_plot_abandon(BenchPlot *p)
{
    if (!p->filename) {
        return;
    }
    close(p->fd);
    if (p->created) {
        unlink(p->filename);
    }
    p->filename = NULL;
}

static int plot_write_all(int fd, const GString *text)
{
    struct stat st;

    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && ftruncate(fd, 0) < 0) {
        return -errno;
    }
    return qemu_write_full(fd, text->str, text->len) == text->len ? 0 : -errno;
}

int bench_plot_write(BenchPlot *p, const BenchResult *r)
{
    GString *svg = bench_plot_svg(r);
    int ret = plot_write_all(p->fd, svg);

    g_string_free(svg, true);
    if (ret < 0) {
        error_report("--plot: cannot write to '%s': %s", p->filename,
                     strerror(-ret));
        bench_plot_abandon(p);
        return ret;
    }
    /* Also here the kernel may tell that it could not write. */
    if (close(p->fd) < 0) {
        ret = -errno;
        error_report("--plot: cannot write to '%s': %s", p->filename,
                     strerror(-ret));
    }
    p->filename = NULL;
    return ret;
}
