/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What qemu-img bench has measured, and the forms that it is told in.
 */
#ifndef QEMU_IMG_BENCH_H
#define QEMU_IMG_BENCH_H

#include "latency.h"

typedef struct BenchResult {
    const char *filename;
    const char *format;
    bool write;
    bool random;
    unsigned seed;              /* of random offsets */
    int count;                  /* requests, each of them ended well */
    int depth;
    int bufsize;                /* bytes of a request */
    int step;                   /* bytes */
    int64_t offset;             /* bytes */
    int flush_interval;         /* requests; 0: none */
    bool drain;                 /* before a flush */
    int64_t elapsed;            /* ns */
    const LatencyHistogram *latency;
} BenchResult;

/* The percentiles that are told. */
#define BENCH_PERCENTILES { 50, 95, 99, 99.9 }

void bench_print_json(const BenchResult *r);
/* Lines for people: what the clock of each request says. */
void bench_print_latency(const BenchResult *r);

/* A drawing that is going to be written. */
typedef struct BenchPlot {
    const char *filename;       /* NULL: none is wanted */
    int fd;
    bool created;               /* the file was not there before */
} BenchPlot;

/*
 * Open @filename for the drawing, before anything is measured.  A file that is
 * there must be empty or a drawing in SVG, so that the name of a disk given by
 * mistake does no harm.  -errno after the reason was reported.
 */
int bench_plot_open(BenchPlot *p, const char *filename);
/* Write and close; -errno after the reason was reported. */
int bench_plot_write(BenchPlot *p, const BenchResult *r);
/* Close without a drawing, and remove the file if bench_plot_open() made it. */
void bench_plot_abandon(BenchPlot *p);

/* The drawing, an XML document, to be freed. */
GString *bench_plot_svg(const BenchResult *r);

#endif
