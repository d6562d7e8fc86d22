/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img bench: a simple sequential I/O benchmark.
 *
 * Up to "depth" requests are in flight, each with a slot: a buffer and its
 * vector, made once.  Every completion gives its slot back and fills the
 * queue again; what is queued in one go is one batch for the engine
 * (defer_call).  A flush is due whenever the number of remaining requests is
 * a multiple of the flush interval: with draining, nothing new is sent from
 * then until all requests and the flush have ended.
 */
#include "qemu/osdep.h"
#include "qemu-img.h"
#include "qemu/cutils.h"
#include "qemu/defer-call.h"
#include "qemu/error-report.h"
#include "qemu/interrupt.h"
#include "qemu/main-loop.h"

typedef struct BenchData BenchData;

typedef struct BenchSlot {
    BenchData *b;
    QEMUIOVector qiov;
    struct BenchSlot *next_free;
} BenchSlot;

struct BenchData {
    /* as asked for */
    bool write;
    bool drain_on_flush;
    bool quiet;
    int count;
    int depth;
    int flush_interval;
    int pattern;
    int bufsize;
    int step;
    int64_t offset;             /* of the next request */

    BlockBackend *blk;
    int64_t image_size;
    uint8_t *buf;
    BenchSlot *slots;
    BenchSlot *free_slots;

    int remaining;              /* requests not sent yet */
    int in_flight;
    int flushes;                /* in flight */
    bool flush_due;
    int ret;                    /* of the first that failed */
};

static void bench_fill(BenchData *b);

/* After an error nothing more is sent; what is under way ends. */
static void bench_fail(BenchData *b, int ret)
{
    if (b->ret == 0) {
        error_report("Failed request: %s", strerror(-ret));
        b->ret = ret;
    }
    b->remaining = 0;
    b->flush_due = false;
}

static void bench_request_cb(void *opaque, int ret)
{
    BenchSlot *slot = opaque;
    BenchData *b = slot->b;

    b->in_flight--;
    slot->next_free = b->free_slots;
    b->free_slots = slot;
    if (unlikely(ret < 0)) {
        bench_fail(b, ret);
    }
    bench_fill(b);
}

static void bench_flush_cb(void *opaque, int ret)
{
    BenchData *b = opaque;

    b->flushes--;
    if (ret < 0) {
        bench_fail(b, ret);
    }
    bench_fill(b);
}

static void bench_submit(BenchData *b)
{
    BenchSlot *slot = b->free_slots;
    int64_t offset = b->offset;

    /* Past the end of the image: from its beginning again. */
    b->offset += b->step;
    if (b->offset + b->bufsize > b->image_size) {
        b->offset = 0;
    }

    b->free_slots = slot->next_free;
    b->in_flight++;
    b->remaining--;
    if (b->flush_interval && b->remaining % b->flush_interval == 0) {
        b->flush_due = true;
    }
    if (b->write) {
        blk_aio_pwritev(b->blk, offset, &slot->qiov, 0, bench_request_cb,
                        slot);
    } else {
        blk_aio_preadv(b->blk, offset, &slot->qiov, 0, bench_request_cb,
                       slot);
    }
}

static void bench_flush(BenchData *b)
{
    b->flush_due = false;
    b->flushes++;
    blk_aio_flush(b->blk, bench_flush_cb, b);
}

/* Send what may be sent now. */
static void bench_fill(BenchData *b)
{
    if (unlikely(qemu_interrupted())) {
        b->remaining = 0;
        b->flush_due = false;
    }
    defer_call_begin();
    for (;;) {
        if (unlikely(b->flushes && b->drain_on_flush)) {
            break;
        } else if (unlikely(b->flush_due)) {
            if (b->drain_on_flush && b->in_flight) {
                break;
            }
            bench_flush(b);
        } else if (b->remaining && b->in_flight < b->depth) {
            bench_submit(b);
        } else {
            break;
        }
    }
    defer_call_end();
}

/* --- before and after --- */

static int bench_check_range(const BenchData *b)
{
    if (b->count > 0 && b->offset > b->image_size - b->bufsize) {
        error_report("A request of %d bytes at offset %" PRId64 " does not "
                     "fit into the image, which has %" PRId64 " bytes",
                     b->bufsize, b->offset, b->image_size);
        return -EINVAL;
    }
    return 0;
}

static int bench_init(BenchData *b)
{
    b->image_size = blk_getlength(b->blk);
    if (b->image_size < 0) {
        error_report("Could not get the size of the image: %s",
                     strerror(-b->image_size));
        return b->image_size;
    }
    b->step = b->step ? b->step : b->bufsize;
    b->remaining = b->count;
    return 0;
}

static int bench_alloc(BenchData *b)
{
    int slots = MAX(MIN(b->depth, b->count), 1);
    size_t bytes = (size_t)slots * b->bufsize;
    int i;

    b->buf = blk_try_blockalign(b->blk, bytes);
    b->slots = g_try_new0(BenchSlot, slots);
    if (!b->buf || !b->slots) {
        error_report("Not enough memory for %d buffers of %d bytes",
                     slots, b->bufsize);
        return -ENOMEM;
    }
    memset(b->buf, b->pattern, bytes);
    for (i = slots - 1; i >= 0; i--) {
        BenchSlot *slot = &b->slots[i];

        slot->b = b;
        qemu_iovec_init_buf(&slot->qiov, b->buf + (size_t)i * b->bufsize,
                            b->bufsize);
        slot->next_free = b->free_slots;
        b->free_slots = slot;
    }
    return 0;
}

static void bench_announce(const BenchData *b)
{
    printf("Sending %d %s requests, %d bytes each, %d in parallel "
           "(starting at offset %" PRId64 ", step size %d)\n",
           b->count, b->write ? "write" : "read", b->bufsize, b->depth,
           b->offset, b->step);
    if (b->flush_interval) {
        printf("Sending flush every %d requests\n", b->flush_interval);
    }
}

/* Not part of the time, but data that was written must be on disk. */
static int bench_flush_rest(BenchData *b)
{
    int ret = b->write ? blk_flush(b->blk) : 0;

    if (ret < 0) {
        error_report("Failed to flush the image: %s", strerror(-ret));
    }
    return ret;
}

static int bench_run(BenchData *b)
{
    int64_t start, elapsed;
    int ret = bench_init(b);

    if (ret == 0) {
        if (!b->quiet) {
            bench_announce(b);
        }
        ret = bench_check_range(b);
    }
    if (ret == 0) {
        ret = bench_alloc(b);
    }
    if (ret == 0) {
        start = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
        bench_fill(b);
        while (b->in_flight || b->flushes) {
            main_loop_wait(false);
        }
        elapsed = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - start;
        ret = b->ret;
        if (ret == 0) {
            ret = bench_flush_rest(b);
        }
        if (ret == 0 && !b->quiet && !qemu_interrupted()) {
            printf("Run completed in %3.3f seconds.\n",
                   (double)elapsed / NANOSECONDS_PER_SECOND);
        }
    }
    g_free(b->slots);
    qemu_vfree(b->buf);
    return ret;
}

/* --- command line --- */

typedef struct {
    BenchData b;
    const char *fmt;
    bool image_opts;
    bool force_share;
    bool writethrough;
    int flags;
} BenchArgs;

static int parse_int(const char *arg, int min, int *value, const char *what)
{
    if (qemu_strtoi(arg, NULL, 0, value) < 0 || *value < min) {
        error_report("Invalid %s specified", what);
        return -EINVAL;
    }
    return 0;
}

static int parse_size(const char *arg, int *value, const char *what)
{
    int64_t size = cvtnum_full(what, arg, 0, INT_MAX);

    if (size < 0) {
        return -EINVAL;
    }
    *value = size;
    return 0;
}

static int parse_pattern(const char *arg, int *pattern)
{
    if (qemu_strtoi(arg, NULL, 0, pattern) < 0 || *pattern < 0 ||
        *pattern > 0xff) {
        error_report("Invalid pattern byte specified");
        return -EINVAL;
    }
    return 0;
}

static int parse_aio(const char *arg, int *flags)
{
    if (bdrv_parse_aio(arg, flags) < 0) {
        error_report("Invalid aio option: %s", arg);
        return -EINVAL;
    }
    return 0;
}

static int parse_cache(const char *arg, int *flags, bool *writethrough)
{
    if (bdrv_parse_cache_mode(arg, flags, writethrough) < 0) {
        error_report("Invalid cache mode");
        return -EINVAL;
    }
    return 0;
}

static int bench_option(BenchArgs *a, int c)
{
    BenchData *b = &a->b;

    switch (c) {
    case 'c':
        return parse_int(optarg, 0, &b->count, "request count");
    case 'd':
        return parse_int(optarg, 1, &b->depth, "queue depth");
    case 'f':
        a->fmt = optarg;
        return 0;
    case 'i':
        return parse_aio(optarg, &a->flags);
    case 'n':
        a->flags |= BDRV_O_NATIVE_AIO;
        return 0;
    case 'o':
        b->offset = cvtnum("offset", optarg);
        return b->offset < 0 ? -EINVAL : 0;
    case 'q':
        b->quiet = true;
        return 0;
    case 's':
        return parse_size(optarg, &b->bufsize, "buffer size");
    case 'S':
        return parse_size(optarg, &b->step, "step_size");
    case 't':
        return parse_cache(optarg, &a->flags, &a->writethrough);
    case 'w':
        b->write = true;
        a->flags |= BDRV_O_RDWR;
        return 0;
    case 'U':
        a->force_share = true;
        return 0;
    case OPTION_PATTERN:
        return parse_pattern(optarg, &b->pattern);
    case OPTION_FLUSH_INTERVAL:
        return parse_int(optarg, 0, &b->flush_interval, "flush interval");
    case OPTION_NO_DRAIN:
        b->drain_on_flush = false;
        return 0;
    case OPTION_IMAGE_OPTS:
        a->image_opts = true;
        return 0;
    }
    g_assert_not_reached();
}

const char img_bench_help[] =
    "Run a simple sequential I/O benchmark on an image.  Usage:\n"
    "\n"
    "  qemu-img bench [-f FMT | --image-opts] [-t CACHE] [-c COUNT]\n"
    "        [-d DEPTH] [-s BUFFER_SIZE] [-S STEP_SIZE] [-o OFFSET] [-w]\n"
    "        [--pattern PATTERN] [--flush-interval INTERVAL] [--no-drain]\n"
    "        [-i AIO] [-n] [-q] [-U] FILE\n"
    "\n"
    IMG_HELP_FORMAT
    "  -t, --cache CACHE\n"
    "     cache mode of the image (default: writeback)\n"
    "  -c, --count COUNT\n"
    "     number of I/O requests (default: 75000)\n"
    "  -d, --depth DEPTH\n"
    "     number of requests in flight (default: 64)\n"
    "  -s, --buffer-size BUFFER_SIZE[bkKMGTPE]\n"
    "     size of a request, with optional multiplier suffix (default: 4096)\n"
    "  -S, --step-size STEP_SIZE[bkKMGTPE]\n"
    "     distance of a request from the one before (default: BUFFER_SIZE)\n"
    "  -o, --offset OFFSET[bkKMGTPE]\n"
    "     where the first request is (default: 0)\n"
    "  -w, --write\n"
    "     write instead of reading: the content of the image is lost\n"
    "  --pattern PATTERN\n"
    "     the byte that is written (default: 0)\n"
    "  --flush-interval INTERVAL\n"
    "     flush after so many requests\n"
    "  --no-drain\n"
    "     do not wait for the requests in flight before a flush\n"
    "  -i, --aio AIO\n"
    "     engine: threads, native or io_uring (default: threads)\n"
    "  -n, --native\n"
    "     short for -i native\n"
    IMG_HELP_FORCE_SHARE
    IMG_HELP_QUIET
    IMG_HELP_HELP
    IMG_HELP_FILE;

static const struct option bench_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "format", required_argument, NULL, 'f' },
    { "cache", required_argument, NULL, 't' },
    { "count", required_argument, NULL, 'c' },
    { "depth", required_argument, NULL, 'd' },
    { "buffer-size", required_argument, NULL, 's' },
    { "step-size", required_argument, NULL, 'S' },
    { "offset", required_argument, NULL, 'o' },
    { "write", no_argument, NULL, 'w' },
    { "aio", required_argument, NULL, 'i' },
    { "native", no_argument, NULL, 'n' },
    { "quiet", no_argument, NULL, 'q' },
    { "flush-interval", required_argument, NULL, OPTION_FLUSH_INTERVAL },
    { "pattern", required_argument, NULL, OPTION_PATTERN },
    { "no-drain", no_argument, NULL, OPTION_NO_DRAIN },
    { "image-opts", no_argument, NULL, OPTION_IMAGE_OPTS },
    { "force-share", no_argument, NULL, 'U' },
    { NULL }
};

static int bench_check(const BenchData *b)
{
    if (!b->write && b->flush_interval) {
        error_report("--flush-interval is only available in write tests");
        return -EINVAL;
    }
    if (b->flush_interval && b->flush_interval < b->depth) {
        error_report("Flush interval can't be smaller than depth");
        return -EINVAL;
    }
    return 0;
}

int img_bench(int argc, char **argv)
{
    BenchArgs a = {
        .b = {
            .drain_on_flush = true,
            .count = 75000,
            .depth = 64,
            .bufsize = 4096,
        },
    };
    int ret, c;

    while ((c = img_getopt(argc, argv, ":hc:d:f:ni:o:qs:S:t:wU",
                           bench_options)) != -1) {
        if (bench_option(&a, c) < 0) {
            return EXIT_FAILURE;
        }
    }
    if (optind != argc - 1) {
        img_error_exit("Expecting one image file name");
    }
    if (bench_check(&a.b) < 0) {
        return EXIT_FAILURE;
    }
    a.b.blk = img_open(a.image_opts, argv[optind], a.fmt, a.flags,
                       a.writethrough, a.force_share);
    if (!a.b.blk) {
        return EXIT_FAILURE;
    }
    ret = bench_run(&a.b);
    blk_unref(a.b.blk);
    return ret < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
