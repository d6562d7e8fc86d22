/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How long others wait while the native engine works on files that complete
 * requests within io_submit(2): the real kernel, real files.
 *
 *   bench-fairness [DIR...]     [/dev/shm and /var/tmp]
 *
 * In each directory: reads of 1 MiB from a file, and writes of 4 KiB that make
 * a file longer, by 1, 4 and 64 coroutines, for a second each.  Printed are, in
 * ms, the distribution of the time that one aio_poll() takes, of the time that
 * a descriptor is ready before its handler runs (another thread writes to a
 * pipe), and of the time that a timer of 1 ms is late.
 */
#include "qemu/osdep.h"
#include "block/raw-aio.h"
#include "qapi/error.h"
#include "qemu/coroutine.h"
#include "qemu/defer-call.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "qemu/thread.h"

#define FILE_MIB 64
#define MIB (1024 * 1024)
#define SAMPLES 1000000

typedef struct {
    int64_t *ns;
    unsigned n;
} Samples;

typedef struct {
    int fd;
    int type;
    size_t bytes;
    uint64_t next;              /* offset of the next request */
    unsigned running;
    unsigned long requests;
    bool stop;
} Job;

static AioContext *ctx;
static Samples polls, descriptor, timer_late;
static int pipe_fds[2];
static bool writer_stop;
static QEMUTimer *timer;
static int64_t timer_due;

static int64_t now_ns(void)
{
    return qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
}

static void sample(Samples *s, int64_t ns)
{
    if (s->n < SAMPLES) {
        s->ns[s->n++] = ns;
    }
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

static void print_samples(const char *what, Samples *s)
{
    if (!s->n) {
        printf("    %-12s none\n", what);
        return;
    }
    qsort(s->ns, s->n, sizeof(s->ns[0]), compare);
    printf("    %-12s %7u  p50 %8.3f  p99 %8.3f  p99.9 %8.3f  max %8.3f\n",
           what, s->n, s->ns[s->n / 2] / 1e6,
           s->ns[(uint64_t)s->n * 99 / 100] / 1e6,
           s->ns[(uint64_t)s->n * 999 / 1000] / 1e6,
           s->ns[s->n - 1] / 1e6);
    s->n = 0;
}

static void *writer_run(void *opaque)
{
    while (!qatomic_read(&writer_stop)) {
        int64_t ns = now_ns();

        if (write(pipe_fds[1], &ns, sizeof(ns)) < 0) {
            /* The pipe is full: the reader is late, and will be told. */
        }
        g_usleep(1000);
    }
    return NULL;
}

static void pipe_readable(void *opaque)
{
    int64_t ns;

    while (read(pipe_fds[0], &ns, sizeof(ns)) == sizeof(ns)) {
        sample(&descriptor, now_ns() - ns);
    }
}

static void timer_cb(void *opaque)
{
    int64_t now = now_ns();

    sample(&timer_late, now - timer_due);
    timer_due = now + SCALE_MS;
    timer_mod(timer, timer_due);
}

static void coroutine_fn job_entry(void *opaque)
{
    Job *job = opaque;
    uint8_t *buf = qemu_memalign(4096, job->bytes);
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, job->bytes);

    memset(buf, 0x5a, job->bytes);
    while (!job->stop) {
        uint64_t offset = job->next;

        job->next += job->bytes;
        if (job->type == QEMU_AIO_READ) {
            job->next %= FILE_MIB * (uint64_t)MIB;
        }
        if (laio_co_submit(job->fd, offset, &qiov, job->type, 0, 0) < 0) {
            job->stop = true;
        }
        job->requests++;
    }
    qemu_vfree(buf);
    job->running--;
}

static void run_job(const char *what, Job *job, unsigned coroutines)
{
    int64_t start, last;
    unsigned i;

    job->running = coroutines;
    job->stop = false;
    job->requests = 0;
    defer_call_begin();
    for (i = 0; i < coroutines; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(job_entry, job));
    }
    defer_call_end();
    /* From here on: nobody has looked while the buffers were made. */
    pipe_readable(NULL);
    descriptor.n = 0;
    start = last = now_ns();
    timer_due = start + SCALE_MS;
    timer_mod(timer, timer_due);
    while (job->running) {
        int64_t now;

        aio_poll(ctx, true);
        now = now_ns();
        sample(&polls, now - last);
        last = now;
        if (now - start > NANOSECONDS_PER_SECOND) {
            job->stop = true;
        }
    }
    printf("  %s, %u coroutines: %.0f requests/s\n", what, coroutines,
           job->requests / ((last - start) / 1e9));
    print_samples("aio_poll", &polls);
    print_samples("descriptor", &descriptor);
    print_samples("timer", &timer_late);
}

static int open_unnamed(const char *dir, int flags)
{
    g_autofree char *path = g_build_filename(dir, "bench-fairness-XXXXXX",
                                             NULL);
    int fd = mkstemp(path), direct;

    if (fd < 0) {
        perror(path);
        exit(1);
    }
    direct = open(path, O_RDWR | O_CLOEXEC | flags);
    if (direct < 0) {
        direct = open(path, O_RDWR | O_CLOEXEC);
    }
    unlink(path);
    close(fd);
    return direct;
}

static void bench_dir(const char *dir)
{
    static const unsigned coroutines[] = { 1, 4, 64 };
    g_autofree uint8_t *mib = g_malloc0(MIB);
    unsigned i, j;

    printf("%s\n", dir);
    for (i = 0; i < ARRAY_SIZE(coroutines); i++) {
        Job job = { .fd = open_unnamed(dir, 0), .type = QEMU_AIO_READ,
                    .bytes = MIB };

        for (j = 0; j < FILE_MIB; j++) {
            if (pwrite(job.fd, mib, MIB, (off_t)j * MIB) != MIB) {
                perror(dir);
                exit(1);
            }
        }
        run_job("reads of 1 MiB", &job, coroutines[i]);
        close(job.fd);
    }
    for (i = 0; i < ARRAY_SIZE(coroutines); i++) {
        Job job = { .fd = open_unnamed(dir, O_DIRECT), .type = QEMU_AIO_WRITE,
                    .bytes = 4096 };

        run_job("extending writes of 4 KiB", &job, coroutines[i]);
        close(job.fd);
    }
}

int main(int argc, char **argv)
{
    static const char *const defaults[] = { "/dev/shm", "/var/tmp" };
    Samples *all[] = { &polls, &descriptor, &timer_late };
    QemuThread writer;
    size_t i;

    qemu_init_main_loop(&error_fatal);
    ctx = qemu_get_aio_context();
    aio_setup_linux_aio(ctx, &error_fatal);
    for (i = 0; i < ARRAY_SIZE(all); i++) {
        all[i]->ns = g_new(int64_t, SAMPLES);
    }
    if (pipe2(pipe_fds, O_NONBLOCK | O_CLOEXEC) < 0) {
        perror("pipe2");
        return 1;
    }
    aio_set_fd_handler(ctx, pipe_fds[0], pipe_readable, NULL, NULL, NULL,
                       NULL);
    timer = aio_timer_new(ctx, QEMU_CLOCK_REALTIME, SCALE_NS, timer_cb, NULL);
    qemu_thread_create(&writer, "writer", writer_run, NULL,
                       QEMU_THREAD_JOINABLE);

    printf("time in ms\n");
    for (i = 0; argc == 1 && i < ARRAY_SIZE(defaults); i++) {
        bench_dir(defaults[i]);
    }
    for (i = 1; i < (size_t)argc; i++) {
        bench_dir(argv[i]);
    }

    qatomic_set(&writer_stop, true);
    qemu_thread_join(&writer);
    timer_free(timer);
    aio_set_fd_handler(ctx, pipe_fds[0], NULL, NULL, NULL, NULL, NULL);
    for (i = 0; i < ARRAY_SIZE(all); i++) {
        g_free(all[i]->ns);
    }
    return 0;
}
