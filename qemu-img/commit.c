/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img commit: write what an overlay has into an image below it.
 *
 * The block job of the same name does it.  The base gets a new CID with that,
 * so the overlay over it is told its parent's new one in the end, also after
 * an error: what the overlay shows is the same at any time.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "block/mirror.h"
#include "qapi/error.h"
#include "qemu-img.h"
#include "qemu/error-report.h"
#include "qemu/interrupt.h"

typedef struct {
    const char *fmt;
    const char *filename;
    const char *base;
    int64_t rate;
    int flags;
    bool writethrough;
    bool image_opts;
    bool progress;
    bool quiet;
} CommitArgs;

typedef struct {
    BlockDriverState *bs;
    BlockDriverState *base;
    BlockJob *job;
    bool done;
    int ret;
} Commit;

static void commit_cb(void *opaque, int ret)
{
    Commit *c = opaque;

    c->done = true;
    c->ret = ret;
}

static void commit_progress(Job *job)
{
    uint64_t current, total;

    progress_get_snapshot(&job->progress, &current, &total);
    img_progress(total ? 100.0 * current / total : 0);
}

/* Until the base has everything, a failure, or a signal; then finish. */
static int commit_wait(Commit *c, Error **errp)
{
    Job *job = &c->job->job;
    int ret;

    WITH_JOB_LOCK_GUARD() {
        job_ref_locked(job);
    }
    job_start(job);
    while (!c->done && !job_is_ready(job) && !qemu_interrupted()) {
        aio_poll(qemu_get_aio_context(), true);
        commit_progress(job);
    }
    if (c->done) {
        ret = c->ret;
    } else if (job_is_ready(job)) {
        JOB_LOCK_GUARD();

        ret = job_complete_sync_locked(job, errp);
    } else {
        ret = job_cancel_sync(job, true);
    }
    if (ret == 0) {
        img_progress(100);
    } else if (errp && !*errp && !qemu_interrupted()) {
        error_setg_errno(errp, -ret, "Could not commit the image");
    }
    WITH_JOB_LOCK_GUARD() {
        job_unref_locked(job);
    }
    return ret;
}

/* The overlay right over the base goes on being one. */
static int commit_keep_overlay(const Commit *c, Error **errp)
{
    int ret;

    if (!c->bs->backing_file || bdrv_cow_bs(c->bs) != c->base) {
        return 0;
    }
    ret = bdrv_change_backing_file(c->bs, c->bs->backing_file,
                                   c->bs->backing_format, true);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "The image has to be told that its "
                         "backing file has changed, with 'qemu-img rebase "
                         "-u -b %s': could not do so", c->bs->backing_file);
    }
    return ret;
}

static int commit_run(const CommitArgs *a, Commit *c, Error **errp)
{
    MirrorJobOptions opts = {
        .job_id = "commit",
        .speed = a->rate,
        .on_source_error = BLOCKDEV_ON_ERROR_REPORT,
        .on_target_error = BLOCKDEV_ON_ERROR_REPORT,
        .unmap = true,
        .cb = commit_cb,
        .opaque = c,
    };
    int ret, keep;

    c->job = commit_active_job_create(c->bs, c->base, &opts, errp);
    if (!c->job) {
        return -EINVAL;
    }
    ret = commit_wait(c, errp);
    keep = commit_keep_overlay(c, ret < 0 ? NULL : errp);
    return ret < 0 ? ret : keep;
}

/* The image to write to; NULL with @errp set. */
static BlockDriverState *commit_find_base(const CommitArgs *a,
                                          BlockDriverState *bs, Error **errp)
{
    BlockDriverState *base;

    if (a->base) {
        base = bdrv_find_backing_image(bs, a->base);
        if (!base) {
            error_setg(errp, "Did not find '%s' in the backing chain of '%s'",
                       a->base, a->filename);
        }
        return base;
    }
    base = bdrv_backing_chain_next(bs);
    if (!base) {
        error_setg(errp, "Image does not have a backing file");
    }
    return base;
}

static int commit_image(const CommitArgs *a, BlockBackend *blk)
{
    Commit c = { .bs = bdrv_skip_filters(blk_bs(blk)) };
    Error *local_err = NULL;
    int ret = -EINVAL;

    /* Afterwards the users of the image are those of the base. */
    bdrv_ref(c.bs);
    img_progress_begin(a->progress && !a->quiet, 1.0);
    c.base = commit_find_base(a, c.bs, &local_err);
    if (c.base) {
        ret = commit_run(a, &c, &local_err);
    }
    img_progress_end();
    if (local_err) {
        error_report_err(local_err);
    } else if (ret == 0 && !a->quiet) {
        printf("Image committed.\n");
    }
    bdrv_unref(c.bs);
    return ret;
}

const char img_commit_help[] =
    "Commit changes of an image to its backing file.  Usage:\n"
    "\n"
    "  qemu-img commit [-f FMT | --image-opts] [-t CACHE_MODE] [-b BASE_IMG]\n"
    "        [-d] [-r RATE] [-q] [-p] FILE\n"
    "\n"
    IMG_HELP_FORMAT
    "  -t, --cache CACHE_MODE\n"
    "     image cache mode (default: writeback)\n"
    "  -d, --drop\n"
    "     accepted; FILE keeps what it has in any case\n"
    "  -b, --base BASE_IMG\n"
    "     an image further down the chain instead of the backing file of\n"
    "     FILE; images in between become invalid\n"
    "  -r, --rate-limit RATE\n"
    "     write at most RATE bytes per second\n"
    IMG_HELP_QUIET
    IMG_HELP_PROGRESS
    IMG_HELP_HELP
    IMG_HELP_FILE;

static const struct option commit_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "format", required_argument, NULL, 'f' },
    { "image-opts", no_argument, NULL, OPTION_IMAGE_OPTS },
    { "cache", required_argument, NULL, 't' },
    { "base", required_argument, NULL, 'b' },
    { "drop", no_argument, NULL, 'd' },
    { "rate-limit", required_argument, NULL, 'r' },
    { "progress", no_argument, NULL, 'p' },
    { "quiet", no_argument, NULL, 'q' },
    { NULL }
};

static int commit_option(CommitArgs *a, int opt)
{
    switch (opt) {
    case 'f':
        a->fmt = optarg;
        break;
    case 't':
        return img_parse_cache("cache", optarg, &a->flags, &a->writethrough);
    case 'b':
        a->base = optarg;
        break;
    case 'r':
        a->rate = cvtnum("rate limit", optarg);
        return a->rate < 0 ? -EINVAL : 0;
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

int img_commit(int argc, char **argv)
{
    CommitArgs a = { .flags = BDRV_O_RDWR | BDRV_O_UNMAP };
    BlockBackend *blk;
    int opt, ret;

    while ((opt = img_getopt(argc, argv, ":f:ht:b:dpqr:",
                             commit_options)) != -1) {
        if (commit_option(&a, opt) < 0) {
            return EXIT_FAILURE;
        }
    }
    if (optind != argc - 1) {
        img_error_exit("Expecting one image file name");
    }
    a.filename = argv[optind];
    blk = img_open(a.image_opts, a.filename, a.fmt, a.flags, a.writethrough,
                   false);
    if (!blk) {
        return EXIT_FAILURE;
    }
    ret = commit_image(&a, blk);
    blk_unref(blk);
    return ret < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
