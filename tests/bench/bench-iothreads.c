/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How disks in IOThreads of their own scale: reads of 4 KiB from 1 to N disks,
 * each in a thread of its own, 64 in flight for each.
 *
 * usage: bench-iothreads [-i ENGINE] [-d DEPTH] [-s SECONDS] [-t THREADS] [-a]
 *                        FILE...
 *
 * With -t the disks share so many threads.  Prints, for the first file, the
 * first two, and so on (-a: only for all of them): requests per second,
 * how many times as many as with one, and microseconds of processor time of a
 * request, user and system, which tells how busy the machine was otherwise.
 */
#include "qemu/osdep.h"
#include <sys/resource.h>
#include "qapi/error.h"
#include "qemu/aio-wait.h"
#include "qemu/cutils.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "system/block-backend.h"
#include "system/iothread.h"

#define BYTES 4096
#define MAX_DISKS 64

typedef struct {
    IOThread *iothread;
    BlockBackend *blk;
    int64_t length;
    int64_t next;               /* offset; its thread only */
    uint64_t requests;          /* its thread only, until it is done */
    unsigned running;           /* atomic: coroutines */
} Disk;

static Disk disks[MAX_DISKS];
static unsigned depth = 64;
static unsigned max_threads = MAX_DISKS;
static bool stop;               /* atomic */

static void coroutine_fn reader(void *opaque)
{
    Disk *d = opaque;
    void *buf = qemu_memalign(BYTES, BYTES);
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, BYTES);

    while (!qatomic_read(&stop)) {
        int64_t offset = d->next;

        d->next = offset + 2 * BYTES <= d->length ? offset + BYTES : 0;
        if (blk_co_preadv(d->blk, offset, BYTES, &qiov, 0) < 0) {
            fprintf(stderr, "bench-iothreads: a read has failed\n");
            exit(1);
        }
        d->requests++;
    }
    qemu_vfree(buf);
    qatomic_dec(&d->running);
    aio_wait_kick();
}

/* In the disk's thread: all readers in one batch. */
static void start_readers(void *opaque)
{
    Disk *d = opaque;
    unsigned i;

    for (i = 0; i < depth; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(reader, d));
    }
}

static double processor_seconds(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec +
           (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* Requests per second of the first @n disks. */
static double measure(unsigned n, double seconds, double one)
{
    double cpu = processor_seconds(), elapsed;
    int64_t start = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    uint64_t requests = 0;
    unsigned i;

    qatomic_set(&stop, false);
    for (i = 0; i < n; i++) {
        disks[i].requests = 0;
        qatomic_set(&disks[i].running, depth);
        aio_bh_schedule_oneshot(iothread_get_aio_context(disks[i].iothread),
                                start_readers, &disks[i]);
    }
    g_usleep(seconds * 1e6);
    qatomic_set(&stop, true);
    for (i = 0; i < n; i++) {
        AIO_WAIT_WHILE(NULL, qatomic_load_acquire(&disks[i].running));
        requests += disks[i].requests;
    }
    elapsed = (qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - start) / 1e9;
    cpu = processor_seconds() - cpu;
    printf("%5u %12.0f %8.2f %12.2f\n", n, requests / elapsed,
           one ? requests / elapsed / one : 1.0, cpu / requests * 1e6);
    return requests / elapsed;
}

static void open_disk(Disk *d, const char *path, const char *engine,
                      unsigned id)
{
    g_autofree char *name = g_strdup_printf("io%u", id);
    int flags = BDRV_O_NOCACHE | BDRV_O_PROTOCOL;
    Error *err = NULL;

    d->iothread = id < max_threads ? iothread_create(name, &err) :
                  disks[id % max_threads].iothread;
    if (d->iothread && bdrv_parse_aio(engine, &flags) < 0) {
        error_setg(&err, "-i: '%s' is none of threads, native and io_uring",
                   engine);
    }
    d->blk = err ? NULL : blk_new_open(path, NULL, NULL, flags, &err);
    if (d->blk) {
        blk_set_aio_context(d->blk, iothread_get_aio_context(d->iothread),
                            &err);
        d->length = blk_getlength(d->blk);
        if (!err && d->length < BYTES) {
            error_setg(&err, "'%s' is shorter than a request", path);
        }
    }
    if (err) {
        fprintf(stderr, "bench-iothreads: %s\n", error_get_pretty(err));
        exit(1);
    }
}

int main(int argc, char **argv)
{
    const char *engine = "native";
    double seconds = 1, one = 0, got;
    bool all = false;
    int c, n, i;

    while ((c = getopt(argc, argv, "i:d:s:t:a")) != -1) {
        switch (c) {
        case 'i':
            engine = optarg;
            break;
        case 'd':
            depth = atoi(optarg);
            break;
        case 's':
            seconds = atof(optarg);
            break;
        case 't':
            max_threads = MIN(atoi(optarg), MAX_DISKS);
            break;
        case 'a':
            all = true;
            break;
        default:
            return 1;
        }
    }
    n = argc - optind;
    if (n < 1 || n > MAX_DISKS || depth < 1 || seconds <= 0 ||
        max_threads < 1) {
        fprintf(stderr, "usage: bench-iothreads [-i ENGINE] [-d DEPTH] "
                "[-s SECONDS] [-t THREADS] [-a] FILE...    (up to %d)\n",
                MAX_DISKS);
        return 1;
    }
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    for (i = 0; i < n; i++) {
        open_disk(&disks[i], argv[optind + i], engine, i);
    }
    printf("disks   requests/s    times    us/request\n");
    for (i = all ? n : 1; i <= n; i++) {
        got = measure(i, seconds, one);
        one = one ? one : got;
    }
    for (i = 0; i < n; i++) {
        blk_set_aio_context(disks[i].blk, qemu_get_aio_context(),
                            &error_abort);
        blk_unref(disks[i].blk);
    }
    for (i = 0; i < MIN(n, (int)max_threads); i++) {
        iothread_destroy(disks[i].iothread);
    }
    return 0;
}
