/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img compare: do two images have the same content.
 *
 * Several coroutines take pieces of the images one after the other, skip what
 * is known to be zeroes in both, and read and compare the rest.  Each
 * difference and each error is a "finding" at an offset; the lowest one
 * decides, and pieces behind it are not taken any more.  So the result does
 * not depend on which coroutine was faster.
 *
 * Exit status: 0 identical, 1 different, 2 an image could not be opened,
 * 3 block status could not be had, 4 an image could not be read.
 */
#include "qemu/osdep.h"
#include "qemu-img.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"

#define COMPARE_COROUTINES 8
/* Two buffers of this size per coroutine: they should stay in the caches. */
#define COMPARE_BYTES (512 * KiB)

enum {
    COMPARE_SAME = 0,
    COMPARE_DIFFERENT = 1,
    COMPARE_OPEN_FAILED = 2,
    COMPARE_STATUS_FAILED = 3,
    COMPARE_READ_FAILED = 4,
};

typedef enum FindingKind {
    FINDING_NONE,
    FINDING_CONTENT,
    FINDING_STATUS,             /* strict mode */
    FINDING_STATUS_ERROR,
    FINDING_READ_ERROR,
} FindingKind;

typedef struct Finding {
    FindingKind kind;
    int64_t offset;
    int image;                  /* of an error: 0 or 1 */
    int ret;                    /* of an error: -errno */
} Finding;

typedef struct Compare {
    /* as asked for */
    const char *fmt[2];
    const char *filename[2];
    int flags;
    bool image_opts;
    bool force_share;
    bool progress;
    bool quiet;
    bool strict;

    BlockBackend *blk[2];
    int64_t size[2];
    int64_t total;              /* of the larger image */

    CoMutex lock;               /* of the next piece: runs and offset */
    ImgRun run[2];
    int64_t offset;
    int64_t limit;
    int64_t done;
    int coroutines;             /* that have not ended yet */
    Finding finding;            /* the lowest so far */
} Compare;

/* A piece to compare: both images, or one with zeroes. */
typedef struct Piece {
    int64_t offset;
    int64_t bytes;
    bool read[2];
} Piece;

static void compare_found(Compare *c, FindingKind kind, int64_t offset,
                          int image, int ret)
{
    if (c->finding.kind == FINDING_NONE || offset < c->finding.offset) {
        c->finding = (Finding) {
            .kind = kind, .offset = offset, .image = image, .ret = ret,
        };
    }
}

static bool compare_ended(const Compare *c)
{
    return c->offset >= c->limit ||
           (c->finding.kind != FINDING_NONE &&
            c->finding.offset <= c->offset);
}

static void compare_progress(Compare *c, int64_t bytes)
{
    c->done += bytes;
    img_progress(100.0 * c->done / c->total);
}

static bool reads_zeroes(const Compare *c, int image)
{
    return c->offset >= c->size[image] ||
           (c->run[image].status & BDRV_BLOCK_ZERO);
}

/* Know both images at c->offset; false after an error was noted. */
static bool coroutine_fn compare_find_runs(Compare *c)
{
    int i;

    for (i = 0; i < 2; i++) {
        int ret = 0;

        if (c->offset < c->size[i]) {
            ret = img_run_at(&c->run[i], c->blk[i], NULL, c->offset,
                             c->size[i]);
        }
        if (ret < 0) {
            compare_found(c, FINDING_STATUS_ERROR, c->offset, i, ret);
            return false;
        }
    }
    return true;
}

/* How much from c->offset on is the same in each of the images. */
static int64_t compare_run_bytes(const Compare *c)
{
    int64_t end = c->limit;
    int i;

    for (i = 0; i < 2; i++) {
        if (c->offset < c->size[i]) {
            end = MIN(end, c->run[i].end);
        }
    }
    return end - c->offset;
}

static bool compare_status_differs(const Compare *c)
{
    const int mask = BDRV_BLOCK_DATA | BDRV_BLOCK_ZERO | BDRV_BLOCK_ALLOCATED;

    return c->strict && ((c->run[0].status ^ c->run[1].status) & mask);
}

/* The next piece that has to be read; false if there is none. */
static bool coroutine_fn compare_next_locked(Compare *c, Piece *piece)
{
    while (!compare_ended(c)) {
        if (!compare_find_runs(c)) {
            return false;
        }
        piece->offset = c->offset;
        piece->bytes = compare_run_bytes(c);
        piece->read[0] = !reads_zeroes(c, 0);
        piece->read[1] = !reads_zeroes(c, 1);
        if (compare_status_differs(c)) {
            compare_found(c, FINDING_STATUS, c->offset, 0, 0);
            return false;
        }
        if (piece->read[0] || piece->read[1]) {
            piece->bytes = MIN(piece->bytes, (int64_t)COMPARE_BYTES);
            c->offset += piece->bytes;
            return true;
        }
        c->offset += piece->bytes;
        compare_progress(c, piece->bytes);
    }
    return false;
}

/* The first sector that differs; -1: none.  @b NULL: zeroes. */
static int64_t first_difference(const uint8_t *a, const uint8_t *b,
                                int64_t bytes)
{
    const int64_t step = BDRV_SECTOR_SIZE;
    int64_t i;

    if (b ? !memcmp(a, b, bytes) : buffer_is_zero(a, bytes)) {
        return -1;
    }
    for (i = 0; i + step < bytes; i += step) {
        if (b ? memcmp(a + i, b + i, step) : !buffer_is_zero(a + i, step)) {
            break;
        }
    }
    return i;
}

static void coroutine_fn compare_piece(Compare *c, const Piece *p,
                                       uint8_t *buf[2])
{
    int64_t diff;
    int i;

    for (i = 0; i < 2; i++) {
        QEMUIOVector qiov;
        int ret;

        if (!p->read[i]) {
            continue;
        }
        qemu_iovec_init_buf(&qiov, buf[i], p->bytes);
        ret = blk_co_preadv(c->blk[i], p->offset, p->bytes, &qiov, 0);
        if (ret < 0) {
            compare_found(c, FINDING_READ_ERROR, p->offset, i, ret);
            return;
        }
    }
    diff = first_difference(p->read[0] ? buf[0] : buf[1],
                            p->read[0] && p->read[1] ? buf[1] : NULL,
                            p->bytes);
    if (diff >= 0) {
        compare_found(c, FINDING_CONTENT, p->offset + diff, 0, 0);
    }
    compare_progress(c, p->bytes);
}

static void coroutine_fn compare_co(void *opaque)
{
    Compare *c = opaque;
    uint8_t *buf[2] = {
        blk_blockalign(c->blk[0], COMPARE_BYTES),
        blk_blockalign(c->blk[1], COMPARE_BYTES),
    };
    Piece piece;
    bool more;

    for (;;) {
        qemu_co_mutex_lock(&c->lock);
        more = compare_next_locked(c, &piece);
        qemu_co_mutex_unlock(&c->lock);
        if (!more) {
            break;
        }
        compare_piece(c, &piece, buf);
    }
    qemu_vfree(buf[0]);
    qemu_vfree(buf[1]);
    c->coroutines--;
}

/* Compare from c->offset on up to @limit. */
static void compare_run(Compare *c, int64_t limit)
{
    int i;

    c->limit = limit;
    c->coroutines = COMPARE_COROUTINES;
    for (i = 0; i < COMPARE_COROUTINES; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(compare_co, c));
    }
    while (c->coroutines) {
        main_loop_wait(false);
    }
}

static void G_GNUC_PRINTF(2, 3) compare_say(const Compare *c,
                                            const char *fmt, ...)
{
    va_list ap;

    if (!c->quiet) {
        va_start(ap, fmt);
        vprintf(fmt, ap);
        va_end(ap);
    }
}

/* Tell what was found; the exit status. */
static int compare_report(const Compare *c)
{
    const Finding *f = &c->finding;

    switch (f->kind) {
    case FINDING_NONE:
        compare_say(c, "Images are identical.\n");
        return COMPARE_SAME;
    case FINDING_CONTENT:
        compare_say(c, "Content mismatch at offset %" PRId64 "!\n",
                    f->offset);
        return COMPARE_DIFFERENT;
    case FINDING_STATUS:
        compare_say(c, "Strict mode: Offset %" PRId64 " block status "
                    "mismatch!\n", f->offset);
        return COMPARE_DIFFERENT;
    case FINDING_STATUS_ERROR:
        error_report("Sector allocation test failed for %s at offset %" PRId64
                     ": %s", c->filename[f->image], f->offset,
                     strerror(-f->ret));
        return COMPARE_STATUS_FAILED;
    case FINDING_READ_ERROR:
        error_report("Error while reading offset %" PRId64 " of %s: %s",
                     f->offset, c->filename[f->image], strerror(-f->ret));
        return COMPARE_READ_FAILED;
    }
    g_assert_not_reached();
}

static int compare_images(Compare *c)
{
    int i;

    for (i = 0; i < 2; i++) {
        c->size[i] = blk_getlength(c->blk[i]);
        if (c->size[i] < 0) {
            error_report("Can't get size of %s: %s", c->filename[i],
                         strerror(-c->size[i]));
            return COMPARE_READ_FAILED;
        }
    }
    c->total = MAX(c->size[0], c->size[1]);
    if (c->strict && c->size[0] != c->size[1]) {
        compare_say(c, "Strict mode: Image size mismatch!\n");
        return COMPARE_DIFFERENT;
    }
    compare_run(c, MIN(c->size[0], c->size[1]));
    if (c->finding.kind == FINDING_NONE && c->size[0] != c->size[1]) {
        compare_say(c, "Warning: Image size mismatch!\n");
        compare_run(c, c->total);
    }
    return compare_report(c);
}

static int compare_open(Compare *c)
{
    int status = COMPARE_OPEN_FAILED;

    img_progress_begin(c->progress && !c->quiet, 2.0);
    c->blk[0] = img_open(c->image_opts, c->filename[0], c->fmt[0], c->flags,
                         false, c->force_share);
    if (c->blk[0]) {
        c->blk[1] = img_open(c->image_opts, c->filename[1], c->fmt[1],
                             c->flags, false, c->force_share);
    }
    if (c->blk[0] && c->blk[1]) {
        qemu_co_mutex_init(&c->lock);
        status = compare_images(c);
    }
    blk_unref(c->blk[0]);
    blk_unref(c->blk[1]);
    img_progress_end();
    return status;
}

const char img_compare_help[] =
    "Check if two images have the same contents.  Usage:\n"
    "\n"
    "  qemu-img compare [-f FMT | --image-opts] [-F FMT] [-s] [-q] [-p]\n"
    "        [-T CACHE_MODE] [-U] FILE1 FILE2\n"
    "\n"
    "  -f, --a-format FMT\n"
    "     specify FILE1 image format explicitly (default: probing is used)\n"
    "  -F, --b-format FMT\n"
    "     specify FILE2 image format explicitly (default: probing is used)\n"
    "  --image-opts\n"
    "     treat FILE1 and FILE2 as option strings (key=value,..), not file\n"
    "     names (incompatible with -f and -F)\n"
    "  -s, --strict\n"
    "     strict mode, also check if sizes and allocation are equal\n"
    "  -T, --source-cache CACHE_MODE\n"
    "     images caching mode (default: writeback)\n"
    IMG_HELP_PROGRESS
    IMG_HELP_QUIET
    "  -U, --force-share\n"
    "     open images in shared mode for concurrent access\n"
    IMG_HELP_HELP
    "  FILE1, FILE2\n"
    "     names of the image files, or option strings (key=value,..)\n"
    "     with --image-opts, to compare\n"
    "\n"
    "Exit status: 0 identical, 1 different, 2 an image could not be opened,\n"
    "3 block status could not be had, 4 an image could not be read.\n";

static const struct option compare_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "a-format", required_argument, NULL, 'f' },
    { "b-format", required_argument, NULL, 'F' },
    { "strict", no_argument, NULL, 's' },
    { "source-cache", required_argument, NULL, 'T' },
    { "progress", no_argument, NULL, 'p' },
    { "quiet", no_argument, NULL, 'q' },
    { "image-opts", no_argument, NULL, OPTION_IMAGE_OPTS },
    { "force-share", no_argument, NULL, 'U' },
    { NULL }
};

static int compare_option(Compare *c, int opt)
{
    bool writethrough;

    switch (opt) {
    case 'f':
        c->fmt[0] = optarg;
        break;
    case 'F':
        c->fmt[1] = optarg;
        break;
    case 'p':
        c->progress = true;
        break;
    case 'q':
        c->quiet = true;
        break;
    case 's':
        c->strict = true;
        break;
    case 'T':
        return img_parse_cache("source cache", optarg, &c->flags,
                               &writethrough);
    case 'U':
        c->force_share = true;
        break;
    case OPTION_IMAGE_OPTS:
        c->image_opts = true;
        break;
    }
    return 0;
}

int img_compare(int argc, char **argv)
{
    Compare c = { .flags = 0 };
    int opt;

    while ((opt = img_getopt(argc, argv, ":hf:F:T:pqsU",
                             compare_options)) != -1) {
        if (compare_option(&c, opt) < 0) {
            return COMPARE_OPEN_FAILED;
        }
    }
    if (optind != argc - 2) {
        img_error_exit("Expecting two image file names");
    }
    c.filename[0] = argv[optind];
    c.filename[1] = argv[optind + 1];
    return compare_open(&c);
}
