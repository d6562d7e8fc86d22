/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img bench: a simple I/O benchmark.
 *
 * Up to "depth" requests are in flight, each with a slot: a buffer and its
 * vector, made once.  Every completion gives its slot back and fills the
 * queue again; what is queued in one go is one batch for the engine
 * (defer_call).  A flush is due whenever the number of remaining requests is
 * a multiple of the flush interval: with draining, nothing new is sent from
 * then until all requests and the flush have ended.
 *
 * Only if somebody wants to know latencies, the clock is read twice for each
 * request, in a callback of its own.
 */
#include "qemu/osdep.h"
#include "qemu-img.h"
#include "block/aio-bufs.h"
#include "qemu/cutils.h"
#include "qemu/defer-call.h"
#include "qemu/error-report.h"
#include "qemu/interrupt.h"
#include "qemu/main-loop.h"
#include "bench.h"

typedef struct BenchData BenchData;

typedef struct BenchSlot {
    BenchData *b;
    QEMUIOVector qiov;
    struct BenchSlot *next_free;
    int64_t start;              /* ns; only if latencies are measured */
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
    int64_t offset;             /* of the next request; random: of the area */
    bool random;
    unsigned seed;

    BlockBackend *blk;
    int64_t image_size;
    uint8_t *buf;
    BenchSlot *slots;
    BenchSlot *free_slots;
    BlockCompletionFunc *request_cb;
    GRand *rand;                /* NULL: offsets are not random */
    uint64_t positions;         /* that a random offset is one of */
    LatencyHistogram *latency;  /* NULL: nobody wants to know */
    bool prepare;               /* either of the two is there */

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

static void bench_timed_cb(void *opaque, int ret)
{
    BenchSlot *slot = opaque;

    latency_add(slot->b->latency,
                qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - slot->start);
    bench_request_cb(opaque, ret);
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

/* All positions are equally likely, but for less than one in 2^64. */
static uint64_t bench_random_position(const BenchData *b)
{
    uint64_t high = g_rand_int(b->rand);
    uint64_t number = high << 32 | g_rand_int(b->rand);

    return (unsigned __int128)number * b->positions >> 64;
}

/* Past the end of the image: from its beginning again. */
static inline void bench_advance(BenchData *b)
{
    b->offset += b->step;
    if (b->offset + b->bufsize > b->image_size) {
        b->offset = 0;
    }
}

/*
 * What only --random, --output=json and --plot need; the offset of the
 * request.  Apart from the rest, which is measured without it.
 */
static QEMU_NOINLINE int64_t bench_prepare(BenchData *b, BenchSlot *slot)
{
    int64_t offset = b->offset;

    if (b->rand) {
        offset += bench_random_position(b) * b->step;
    } else {
        bench_advance(b);
    }
    if (b->latency) {
        slot->start = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    }
    return offset;
}

static void bench_submit(BenchData *b)
{
    BenchSlot *slot = b->free_slots;
    int64_t offset = b->offset;

    if (unlikely(b->prepare)) {
        offset = bench_prepare(b, slot);
    } else {
        bench_advance(b);
    }

    b->free_slots = slot->next_free;
    b->in_flight++;
    b->remaining--;
    if (b->flush_interval && b->remaining % b->flush_interval == 0) {
        b->flush_due = true;
    }
    if (b->write) {
        blk_aio_pwritev(b->blk, offset, &slot->qiov, 0, b->request_cb, slot);
    } else {
        blk_aio_preadv(b->blk, offset, &slot->qiov, 0, b->request_cb, slot);
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
    b->request_cb = b->latency ? bench_timed_cb : bench_request_cb;
    return 0;
}

/* After bench_check_range(): there is room for at least one request. */
static void bench_init_random(BenchData *b)
{
    if (b->random && b->count > 0) {
        b->rand = g_rand_new_with_seed(b->seed);
        b->positions = 1;
        if (b->step) {
            b->positions += (b->image_size - b->bufsize - b->offset) / b->step;
        }
    }
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
    aio_register_buf(b->buf, bytes);
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
    if (b->random) {
        printf("Offsets are random, with seed %u\n", b->seed);
    }
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

/* Send all, and wait for the last; *@elapsed is in ns. */
static int bench_measure(BenchData *b, int64_t *elapsed)
{
    int64_t start = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

    bench_fill(b);
    while (b->in_flight || b->flushes) {
        main_loop_wait(false);
    }
    *elapsed = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - start;
    return b->ret < 0 ? b->ret : bench_flush_rest(b);
}

/* @announce: say what is going to be done. */
static int bench_run(BenchData *b, bool announce, int64_t *elapsed)
{
    int ret = bench_init(b);

    if (ret == 0) {
        if (announce) {
            bench_announce(b);
        }
        ret = bench_check_range(b);
    }
    if (ret == 0) {
        ret = bench_alloc(b);
    }
    if (ret == 0) {
        bench_init_random(b);
        b->prepare = b->rand || b->latency;
        ret = bench_measure(b, elapsed);
    }
    g_clear_pointer(&b->rand, g_rand_free);
    g_free(b->slots);
    aio_unregister_buf(b->buf);
    qemu_vfree(b->buf);
    return ret;
}

/* --- command line --- */

typedef struct {
    BenchData b;
    const char *filename;
    const char *fmt;
    const char *plot;           /* file for the drawing, or NULL */
    OutputFormat output;
    bool has_seed;
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

static int parse_seed(const char *arg, BenchArgs *a)
{
    unsigned int seed;

    /* strtoul(3) takes "-1" for the largest number. */
    if (strchr(arg, '-') || qemu_strtoui(arg, NULL, 0, &seed) < 0) {
        error_report("Invalid seed specified. Must be between 0 and %u.",
                     UINT_MAX);
        return -EINVAL;
    }
    a->b.seed = seed;
    a->has_seed = true;
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
    case OPTION_OUTPUT:
        a->output = img_parse_output(optarg);
        return 0;
    case OPTION_PLOT:
        a->plot = optarg;
        return 0;
    case OPTION_RANDOM:
        b->random = true;
        return 0;
    case OPTION_SEED:
        return parse_seed(optarg, a);
    }
    g_assert_not_reached();
}

const char img_bench_help[] =
    "Run a simple I/O benchmark on an image.  Usage:\n"
    "\n"
    "  qemu-img bench [-f FMT | --image-opts] [-t CACHE] [-c COUNT]\n"
    "        [-d DEPTH] [-s BUFFER_SIZE] [-S STEP_SIZE] [-o OFFSET] [-w]\n"
    "        [--pattern PATTERN] [--flush-interval INTERVAL] [--no-drain]\n"
    "        [-i AIO] [-n] [--random] [--seed SEED] [--output human|json]\n"
    "        [--plot SVG_FILE] [-q] [-U] FILE\n"
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
    "  --random\n"
    "     requests at random offsets: OFFSET plus multiples of STEP_SIZE\n"
    "  --seed SEED\n"
    "     another order of the random offsets (default: 0)\n"
    IMG_HELP_OUTPUT
    "     (json has requests per second, MiB per second, and latencies)\n"
    "  --plot SVG_FILE\n"
    "     draw the histogram of the latencies into SVG_FILE\n"
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
    { "output", required_argument, NULL, OPTION_OUTPUT },
    { "plot", required_argument, NULL, OPTION_PLOT },
    { "random", no_argument, NULL, OPTION_RANDOM },
    { "seed", required_argument, NULL, OPTION_SEED },
    { NULL }
};

static int bench_check(const BenchArgs *a)
{
    const BenchData *b = &a->b;

    if (!b->write && b->flush_interval) {
        error_report("--flush-interval is only available in write tests");
        return -EINVAL;
    }
    if (b->flush_interval && b->flush_interval < b->depth) {
        error_report("Flush interval can't be smaller than depth");
        return -EINVAL;
    }
    if (a->has_seed && !b->random) {
        error_report("--seed can only be used together with --random");
        return -EINVAL;
    }
    return 0;
}

static int bench_tell(const BenchArgs *a, int64_t offset, int64_t elapsed,
                      BenchPlot *plot)
{
    const BenchData *b = &a->b;
    BenchResult r = {
        .filename = a->filename,
        .format = bdrv_get_format_name(blk_bs(b->blk)),
        .write = b->write,
        .random = b->random,
        .seed = b->seed,
        .count = b->count,
        .depth = b->depth,
        .bufsize = b->bufsize,
        .step = b->step,
        .offset = offset,
        .flush_interval = b->flush_interval,
        .drain = b->drain_on_flush,
        .elapsed = elapsed,
        .latency = b->latency,
    };

    if (a->output == OFORMAT_JSON) {
        bench_print_json(&r);
    } else if (!b->quiet) {
        printf("Run completed in %3.3f seconds.\n",
               (double)elapsed / NANOSECONDS_PER_SECOND);
        if (b->latency) {
            bench_print_latency(&r);
        }
    }
    return plot->filename ? bench_plot_write(plot, &r) : 0;
}

static int bench_image(BenchArgs *a, BenchPlot *plot)
{
    BenchData *b = &a->b;
    int64_t offset = b->offset;
    int64_t elapsed = 0;
    int ret;

    b->blk = img_open(a->image_opts, a->filename, a->fmt, a->flags,
                      a->writethrough, a->force_share);
    if (!b->blk) {
        return -EINVAL;
    }
    ret = bench_run(b, !b->quiet && a->output == OFORMAT_HUMAN, &elapsed);
    if (ret == 0 && !qemu_interrupted()) {
        ret = bench_tell(a, offset, elapsed, plot);
    }
    blk_unref(b->blk);
    return ret;
}

static int bench(BenchArgs *a)
{
    BenchPlot plot = { .filename = NULL };
    int ret = 0;

    if (a->plot) {
        ret = bench_plot_open(&plot, a->plot);
    }
    if (ret == 0) {
        if (a->plot || a->output == OFORMAT_JSON) {
            a->b.latency = g_new0(LatencyHistogram, 1);
        }
        ret = bench_image(a, &plot);
        bench_plot_abandon(&plot);
        g_free(a->b.latency);
    }
    return ret;
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
    int c;

    while ((c = img_getopt(argc, argv, ":hc:d:f:ni:o:qs:S:t:wU",
                           bench_options)) != -1) {
        if (bench_option(&a, c) < 0) {
            return EXIT_FAILURE;
        }
    }
    if (optind != argc - 1) {
        img_error_exit("Expecting one image file name");
    }
    a.filename = argv[optind];
    if (bench_check(&a) < 0 || bench(&a) < 0) {
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
