/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The load client on a file, as one that a FUSE export provides.
 *
 * Each request in flight is a thread that calls pread(2) or pwrite(2), as most
 * programs do that use such a file.
 */
#include "qemu/osdep.h"
#include <sys/stat.h>
#include "qemu/atomic.h"
#include "export-load.h"

typedef struct FileThread {
    Load *load;
    GThread *thread;
    int fd;
    uint64_t random;
    uint64_t position;          /* of the next sequential block */
    uint8_t *buf;
    GMutex lock;                /* of what follows */
    LatencyHistogram latency;
    uint64_t errors;
} FileThread;

static FileThread *threads;
static unsigned n_threads;
static bool ending;             /* atomic */

static void one_request(FileThread *t)
{
    const LoadOptions *o = &t->load->opts;
    uint64_t blocks = o->range / o->block_size;
    bool write = load_random(&t->random) % 100 >= o->read_percent;
    uint64_t block = o->sequential ? t->position++ : load_random(&t->random);
    off_t offset = block % blocks * o->block_size;
    int64_t begun = load_clock_ns();
    ssize_t n = write ? pwrite(t->fd, t->buf, o->block_size, offset) :
                        pread(t->fd, t->buf, o->block_size, offset);
    int64_t ended = load_clock_ns();

    g_mutex_lock(&t->lock);
    latency_add(&t->latency, ended - begun);
    t->errors += n != (ssize_t)o->block_size;
    g_mutex_unlock(&t->lock);
}

static void *file_thread(void *opaque)
{
    while (!qatomic_read(&ending)) {
        one_request(opaque);
    }
    return NULL;
}

static void add_histogram(LatencyHistogram *to, const LatencyHistogram *h)
{
    unsigned i;

    if (!h->count) {
        return;
    }
    to->min = to->count ? MIN(to->min, h->min) : h->min;
    to->max = MAX(to->max, h->max);
    to->count += h->count;
    to->sum += h->sum;
    for (i = 0; i < LATENCY_BUCKETS; i++) {
        to->buckets[i] += h->buckets[i];
    }
}

/* Move the figures of all threads to @l. */
static void file_collect(Load *l)
{
    unsigned i;

    for (i = 0; i < n_threads; i++) {
        FileThread *t = &threads[i];

        g_mutex_lock(&t->lock);
        add_histogram(&l->latency, &t->latency);
        l->errors += t->errors;
        memset(&t->latency, 0, sizeof(t->latency));
        t->errors = 0;
        g_mutex_unlock(&t->lock);
    }
}

static void file_begin(Load *l, const char *target)
{
    unsigned i;
    int fd;

    if (l->opts.rate) {
        load_fail("a file has no --rate: its requests are a closed loop");
    }
    fd = open(target, (l->opts.read_percent == 100 ? O_RDONLY : O_RDWR) |
              O_DIRECT | O_CLOEXEC);
    if (fd < 0) {
        load_fail("cannot open '%s': %s", target, strerror(errno));
    }
    load_set_size(l, lseek(fd, 0, SEEK_END));
    n_threads = l->opts.depth * l->opts.connections;
    threads = g_new0(FileThread, n_threads);
    for (i = 0; i < n_threads; i++) {
        FileThread *t = &threads[i];

        t->load = l;
        t->fd = fd;
        t->random = (l->opts.seed + i) * 0x9e3779b97f4a7c15ull;
        t->position = l->opts.range / l->opts.block_size * i / n_threads;
        t->buf = qemu_memalign(4096, l->opts.block_size);
        memset(t->buf, 0x5a, l->opts.block_size);
        g_mutex_init(&t->lock);
    }
    for (i = 0; i < n_threads; i++) {
        threads[i].thread = g_thread_new("load", file_thread, &threads[i]);
    }
}

static void file_end(Load *l)
{
    unsigned i;

    qatomic_set(&ending, true);
    for (i = 0; i < n_threads; i++) {
        g_thread_join(threads[i].thread);
        qemu_vfree(threads[i].buf);
    }
    file_collect(l);
    g_free(threads);
}

const LoadDriver load_file = {
    .prefix = "file:",
    .begin = file_begin,
    .collect = file_collect,
    .end = file_end,
};
