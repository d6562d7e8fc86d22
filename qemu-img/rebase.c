/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img rebase: another backing file for an image.
 *
 * Safe mode (the default) first writes to the image what the old backing file
 * has and the new one has not, so that the content stays the same.  The image
 * is complete over its old backing file until the very end, when its metadata
 * names the new one.  Unsafe mode (-u) changes the name alone.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "qapi/error.h"
#include "qemu-img.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/interrupt.h"

#define REBASE_BYTES (512 * KiB)

typedef struct {
    const char *fmt;
    const char *filename;
    const char *backing;        /* as it is to be named; NULL: none */
    const char *backing_fmt;
    int flags;
    int src_flags;
    bool writethrough;
    bool image_opts;
    bool force_share;
    bool progress;
    bool quiet;
    bool unsafe;
    bool compress;
} RebaseArgs;

typedef struct {
    BlockBackend *blk;
    BlockBackend *base[2];      /* old and new; NULL: zeroes */
    int64_t base_bytes[2];
    ImgRun run[2];
    int64_t total;
    int64_t unit;               /* what is written at least: a cluster */
    int64_t piece;              /* what is read at once: of units */
    uint8_t *buf[2];
} Rebase;

/* --- safe mode --- */

static int rebase_failed(int ret, const char *what, int64_t offset)
{
    error_report("error while %s at byte %" PRId64 ": %s", what, offset,
                 strerror(-ret));
    return ret;
}

/* Whether base @i reads as zeroes at @offset; *@bytes becomes how far. */
static int coroutine_fn rebase_base_is_zero(Rebase *r, int i, int64_t offset,
                                            int64_t *bytes)
{
    int ret;

    if (!r->base[i] || offset >= r->base_bytes[i]) {
        return 1;
    }
    ret = img_run_at(&r->run[i], r->base[i], NULL, offset, r->base_bytes[i]);
    if (ret < 0) {
        return ret;
    }
    *bytes = MIN(*bytes, r->run[i].end - offset);
    return !!(r->run[i].status & BDRV_BLOCK_ZERO);
}

/* What is behind the end of a base reads as zeroes. */
static int coroutine_fn rebase_read(Rebase *r, int i, int64_t offset,
                                    int64_t bytes)
{
    int64_t n = r->base[i] ? MIN(bytes, r->base_bytes[i] - offset) : 0;
    QEMUIOVector qiov;

    n = MAX(n, 0);
    memset(r->buf[i] + n, 0, bytes - n);
    if (!n) {
        return 0;
    }
    qemu_iovec_init_buf(&qiov, r->buf[i], n);
    return blk_co_preadv(r->base[i], offset, n, &qiov, 0);
}

/* No flags: the zeroes must also hide what the new backing file has. */
static int coroutine_fn rebase_write(Rebase *r, int64_t offset, int64_t bytes,
                                     uint8_t *buf)
{
    QEMUIOVector qiov;

    if (buffer_is_zero(buf, bytes)) {
        return blk_co_pwrite_zeroes(r->blk, offset, bytes, 0);
    }
    qemu_iovec_init_buf(&qiov, buf, bytes);
    return blk_co_pwritev(r->blk, offset, bytes, &qiov, 0);
}

/*
 * Write what the old backing file has and the new one has not, by clusters: the
 * image would allocate them anyway, and those of a stream are written once.
 */
static int coroutine_fn rebase_difference(Rebase *r, int64_t offset,
                                          int64_t bytes)
{
    int64_t start = 0;
    int64_t at;

    for (at = 0; at < bytes; at += r->unit) {
        int64_t n = MIN(bytes - at, r->unit);
        bool last = at + n >= bytes;
        bool same = !memcmp(r->buf[0] + at, r->buf[1] + at, n);
        int64_t end = same ? at : at + n;
        int ret;

        if (start < end && (same || last)) {
            ret = rebase_write(r, offset + start, end - start,
                               r->buf[0] + start);
            if (ret < 0) {
                return rebase_failed(ret, "writing", offset + start);
            }
        }
        if (same) {
            start = at + n;
        }
    }
    return 0;
}

/*
 * Whether both bases read as zeroes at @offset, for whole units of the @most
 * bytes.  *@bytes becomes how far that is so, or what is to be read.
 */
static int coroutine_fn rebase_is_zero(Rebase *r, int64_t offset, int64_t most,
                                       int64_t *bytes)
{
    int64_t same = most;
    bool zero[2];
    int i, ret;

    for (i = 0; i < 2; i++) {
        ret = rebase_base_is_zero(r, i, offset, &same);
        if (ret < 0) {
            return ret;
        }
        zero[i] = ret;
    }
    if (zero[0] && zero[1] && (same == most || same >= r->unit)) {
        *bytes = same == most ? most : QEMU_ALIGN_DOWN(same, r->unit);
        return 1;
    }
    *bytes = MIN(MIN(QEMU_ALIGN_UP(same, r->unit), most), r->piece);
    return 0;
}

/* What the image does not have itself, for at most *@bytes. */
static int coroutine_fn rebase_piece(Rebase *r, int64_t offset,
                                     int64_t *bytes)
{
    int i, ret;

    ret = bdrv_co_is_allocated(bdrv_skip_filters(blk_bs(r->blk)), offset,
                               *bytes, bytes);
    if (ret == 0) {
        ret = rebase_is_zero(r, offset, *bytes, bytes);
    }
    if (ret != 0) {
        return ret < 0 ? rebase_failed(ret, "reading image metadata", offset)
                       : 0;
    }
    for (i = 0; i < 2; i++) {
        ret = rebase_read(r, i, offset, *bytes);
        if (ret < 0) {
            return rebase_failed(ret, i ? "reading from new backing file"
                                 : "reading from old backing file", offset);
        }
    }
    return memcmp(r->buf[0], r->buf[1], *bytes)
           ? rebase_difference(r, offset, *bytes) : 0;
}

static int coroutine_fn rebase_walk(void *opaque)
{
    Rebase *r = opaque;
    int64_t offset = 0;
    int ret = 0;

    while (ret == 0 && offset < r->total && !qemu_interrupted()) {
        int64_t bytes = r->total - offset;

        ret = rebase_piece(r, offset, &bytes);
        offset += bytes;
        img_progress(MIN(99.0, 100.0 * offset / r->total));
    }
    if (ret == 0 && !qemu_interrupted()) {
        ret = blk_co_flush(r->blk);
        if (ret < 0) {
            error_report("Failed to flush the image: %s", strerror(-ret));
        }
    }
    return ret;
}

static int rebase_copy(Rebase *r)
{
    BlockDriverState *bs = blk_bs(r->blk);
    BlockDriverInfo bdi;
    int i, ret;

    r->total = blk_getlength(r->blk);
    r->unit = bdrv_get_info(bs, &bdi) == 0 && bdi.cluster_size ?
              bdi.cluster_size : BDRV_SECTOR_SIZE;
    r->piece = QEMU_ALIGN_UP((int64_t)REBASE_BYTES, r->unit);
    for (i = 0; i < 2; i++) {
        r->base_bytes[i] = r->base[i] ? blk_getlength(r->base[i]) : 0;
        r->buf[i] = blk_blockalign(r->blk, r->piece);
    }
    if (r->total < 0 || r->base_bytes[0] < 0 || r->base_bytes[1] < 0) {
        error_report("Could not get the sizes of the image and its backing "
                     "files");
        ret = -EIO;
    } else {
        ret = bdrv_run_co(bdrv_get_aio_context(bs), rebase_walk, r);
    }
    qemu_vfree(r->buf[0]);
    qemu_vfree(r->buf[1]);
    return ret;
}

/* The old backing file is a node of the image's chain. */
static int rebase_use_old(Rebase *r, BlockDriverState *bs)
{
    BlockDriverState *old = bdrv_backing_chain_next(bs);
    Error *local_err = NULL;

    if (!old) {
        return 0;
    }
    r->base[0] = blk_new(qemu_get_aio_context(), BLK_PERM_CONSISTENT_READ,
                         BLK_PERM_ALL);
    if (blk_insert_bs(r->base[0], old, &local_err) < 0) {
        error_reportf_err(local_err, "Could not reuse old backing file: ");
        return -EINVAL;
    }
    return 0;
}

static int rebase_open_new(const RebaseArgs *a, Rebase *r,
                           BlockDriverState *bs, const char *path)
{
    QOpts *options = qopts_new();
    Error *local_err = NULL;

    if (a->backing_fmt) {
        qopts_set_str(options, "driver", a->backing_fmt);
    }
    if (a->force_share) {
        qopts_set_str(options, "force-share", "on");
    }
    r->base[1] = blk_new_open(path, NULL, options, a->src_flags, &local_err);
    if (!r->base[1]) {
        error_reportf_err(local_err, "Could not open new backing file '%s': ",
                          a->backing);
        return -EINVAL;
    }
    /* With -U there is no lock that has refused this. */
    if (img_has_file(blk_bs(r->base[1]), bs->file->bs->exact_filename)) {
        error_report("'%s' is below '%s': the backing files would form a "
                     "loop", a->filename, a->backing);
        return -ELOOP;
    }
    return 0;
}

static int rebase_safe(const RebaseArgs *a, BlockBackend *blk,
                       const char *path)
{
    BlockDriverState *bs = bdrv_skip_filters(blk_bs(blk));
    Rebase r = { .blk = blk };
    Error *local_err = NULL;
    int ret;

    /* Its data are copied, so it has to be the one that belongs there. */
    if (!bdrv_check_backing(bs, bdrv_backing_chain_next(bs), &local_err)) {
        error_report_err(local_err);
        return -EINVAL;
    }
    ret = rebase_use_old(&r, bs);
    if (ret == 0 && path) {
        ret = rebase_open_new(a, &r, bs, path);
    }
    if (ret == 0) {
        ret = rebase_copy(&r);
    }
    blk_unref(r.base[0]);
    blk_unref(r.base[1]);
    return ret;
}

/* --- the name --- */

static int rebase_change(const RebaseArgs *a, BlockDriverState *bs)
{
    int ret = bdrv_change_backing_file(bs, a->backing,
                                       a->backing ? a->backing_fmt : NULL,
                                       true);

    if (ret == -ENOSPC) {
        error_report("Could not change the backing file to '%s': No space "
                     "left in the file header", a->backing);
    } else if (ret == -EINVAL && a->backing && !a->backing_fmt) {
        error_report("Could not change the backing file to '%s': backing "
                     "format must be specified", a->backing);
    } else if (ret < 0) {
        error_report("Could not change the backing file to '%s': %s",
                     a->backing ?: "", strerror(-ret));
    }
    return ret;
}

/* The new backing file as a path; false after that was reported. */
static bool rebase_path(const RebaseArgs *a, BlockDriverState *bs,
                        char **path)
{
    Error *local_err = NULL;

    *path = NULL;
    if (!a->backing) {
        return true;
    }
    *path = bdrv_get_full_backing_filename_from_filename(
        bs->file ? bs->file->bs->exact_filename : bs->exact_filename,
        a->backing, &local_err);
    if (!*path) {
        error_reportf_err(local_err, "Could not resolve backing filename: ");
        return false;
    }
    if (bs->file && img_is_same_file(bs->file->bs->exact_filename, *path)) {
        error_report("'%s' cannot be its own backing file", a->filename);
        return false;
    }
    return true;
}

/*
 * -c.  An image that has compressed clusters only takes no others, so that the
 * flag of a request would add nothing.
 */
static int rebase_check_compression(const RebaseArgs *a, BlockDriverState *bs)
{
    BlockDriverInfo bdi = { .cluster_size = 0 };
    int ret = img_check_compression(bs->drv);

    if (ret == 0) {
        bdrv_get_info(bs, &bdi);
        img_use_compression(&bdi, a->filename, true);
    }
    return ret;
}

static int rebase_image(const RebaseArgs *a, BlockBackend *blk)
{
    BlockDriverState *bs = bdrv_skip_filters(blk_bs(blk));
    g_autofree char *path = NULL;
    int ret = a->compress ? rebase_check_compression(a, bs) : 0;

    if (ret < 0) {
        return ret;
    }
    if (!rebase_path(a, bs, &path)) {
        return -EINVAL;
    }
    if (!bs->drv->bdrv_co_change_backing_file) {
        /* Before all the work. */
        return rebase_change(a, bs);
    }
    if (!a->unsafe) {
        ret = rebase_safe(a, blk, path);
    }
    if (ret == 0 && !qemu_interrupted()) {
        ret = rebase_change(a, bs);
    }
    if (ret == 0 && !qemu_interrupted()) {
        img_progress(100);
    }
    return ret;
}

/* --- command line --- */

const char img_rebase_help[] =
    "Change the backing file of an image.  Usage:\n"
    "\n"
    "  qemu-img rebase [-f FMT | --image-opts] [-t CACHE_MODE]\n"
    "        [-b BACKING_FILE [-F BACKING_FMT]] [-T SRC_CACHE] [-u] [-U]\n"
    "        [-c] [-q] [-p] FILE\n"
    "\n"
    IMG_HELP_FORMAT
    "  -t, --cache CACHE_MODE\n"
    "     cache mode of FILE (default: writeback)\n"
    "  -b, --backing BACKING_FILE|\"\"\n"
    "     the new backing file; \"\": none\n"
    "  -F, --backing-format BACKING_FMT\n"
    "     specify format of BACKING_FILE\n"
    "  -T, --source-cache SRC_CACHE\n"
    "     cache mode of the new backing file (default: writeback)\n"
    "  -u, --backing-unsafe\n"
    "     change the name alone, whatever the backing files contain\n"
    "  -U, --force-share\n"
    "     open the new backing file in shared mode for concurrent access\n"
    "  -c, --compress\n"
    "     write compressed clusters, if the image has them\n"
    IMG_HELP_QUIET
    IMG_HELP_PROGRESS
    IMG_HELP_HELP
    IMG_HELP_FILE;

static const struct option rebase_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "format", required_argument, NULL, 'f' },
    { "image-opts", no_argument, NULL, OPTION_IMAGE_OPTS },
    { "cache", required_argument, NULL, 't' },
    { "backing", required_argument, NULL, 'b' },
    { "backing-format", required_argument, NULL, 'F' },
    { "source-cache", required_argument, NULL, 'T' },
    { "backing-unsafe", no_argument, NULL, 'u' },
    { "force-share", no_argument, NULL, 'U' },
    { "compress", no_argument, NULL, 'c' },
    { "progress", no_argument, NULL, 'p' },
    { "quiet", no_argument, NULL, 'q' },
    { NULL }
};

static int rebase_option(RebaseArgs *a, int opt)
{
    bool writethrough;

    switch (opt) {
    case 'f':
        a->fmt = optarg;
        break;
    case 'F':
        a->backing_fmt = optarg;
        break;
    case 't':
        return img_parse_cache("cache", optarg, &a->flags, &a->writethrough);
    case 'T':
        return img_parse_cache("source cache", optarg, &a->src_flags,
                               &writethrough);
    case 'b':
        a->backing = optarg;
        break;
    case 'c':
        a->compress = true;
        break;
    case 'u':
        a->unsafe = true;
        break;
    case 'U':
        a->force_share = true;
        break;
    case 'p':
        a->progress = true;
        break;
    case 'q':
        a->quiet = true;
        break;
    case OPTION_IMAGE_OPTS:
        a->image_opts = true;
        break;
    }
    return 0;
}

static int rebase_main(RebaseArgs *a)
{
    BlockBackend *blk;
    int ret = -EINVAL;

    if (a->backing && !*a->backing) {
        a->backing = NULL;
    }
    img_progress_begin(a->progress && !a->quiet, 1.0);
    blk = img_open(a->image_opts, a->filename, a->fmt,
                   a->flags | BDRV_O_RDWR |
                   (a->unsafe ? BDRV_O_NO_BACKING : 0), a->writethrough,
                   false);
    if (blk) {
        ret = rebase_image(a, blk);
        blk_unref(blk);
    }
    img_progress_end();
    return ret < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int img_rebase(int argc, char **argv)
{
    RebaseArgs a = { .flags = 0 };
    int opt;

    while ((opt = img_getopt(argc, argv, ":hf:F:b:cupt:T:qU",
                             rebase_options)) != -1) {
        if (rebase_option(&a, opt) < 0) {
            return EXIT_FAILURE;
        }
    }
    if (optind != argc - 1) {
        img_error_exit("Expecting one image file name");
    }
    if (!a.unsafe && !a.backing) {
        img_error_exit("Must specify backing file (-b) or use unsafe mode "
                       "(-u)");
    }
    a.filename = argv[optind];
    if (a.backing_fmt && !bdrv_find_format(a.backing_fmt)) {
        error_report("Invalid format name: '%s'", a.backing_fmt);
        return EXIT_FAILURE;
    }
    return rebase_main(&a);
}
