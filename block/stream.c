/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stream job.  See include/block/stream.h.
 *
 * The filter copy-on-read is above the image, so that reads of its users are
 * part of the work.
 *
 * The chain is frozen while the job runs.  In the end, with the image drained:
 * what was copied is flushed, the header of the image is changed, and then the
 * graph; a crash in between leaves an image that reads the same.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "block/copy-window.h"
#include "block/stream.h"
#include "qemu/cutils.h"

#define STREAM_CHUNK (512 * KiB)

typedef struct StreamBlockJob {
    BlockJob common;
    BlockDriverState *bs;
    BlockDriverState *cor;      /* the filter above it */
    BdrvChild *child;           /* the job's, for its writes */
    BlockDriverState *base;     /* NULL: none */
    char *backing_file;
    BlockdevOnError on_error;
    CopyWindow window;          /* for others' turns; one copy at a time */
    bool restore_read_only;
    bool frozen;
} StreamBlockJob;

/* The image below; NULL: the job has nothing to copy up. */
static BlockDriverState *stream_below(StreamBlockJob *s)
{
    BlockDriverState *below = bdrv_backing_chain_next(s->bs);

    return below == bdrv_skip_filters(s->base) ? NULL : below;
}

/* 1: the @bytes at @offset are in an image between; *@pnum as always. */
static int coroutine_fn stream_needs(StreamBlockJob *s, int64_t offset,
                                     int64_t bytes, int64_t *pnum)
{
    int ret = bdrv_co_is_allocated(s->bs, offset, bytes, pnum);
    int64_t n = *pnum;

    if (ret != 0) {
        return ret < 0 ? ret : 0;
    }
    ret = bdrv_co_is_allocated_above(stream_below(s), s->base, false, offset,
                                     n, pnum);
    if (ret == 0 && *pnum == 0) {
        /* Past the end of the image below: zeroes, whatever the base has. */
        *pnum = n;
        ret = s->base && offset < bdrv_co_getlength(s->base);
    }
    return ret;
}

static int coroutine_fn stream_loop(StreamBlockJob *s, int64_t len, void *buf)
{
    int64_t offset = 0, pnum;
    int error = 0;

    while (offset < len && !job_is_cancelled(&s->common.job)) {
        int64_t bytes = MIN(copy_window_bytes(&s->window, STREAM_CHUNK),
                            len - offset);
        int ret = stream_needs(s, offset, bytes, &pnum);

        pnum = MIN(pnum, bytes);
        if (ret > 0) {
            CopyMark mark;

            copy_window_begin(&mark);
            ret = bdrv_co_copy_up(s->child, offset, pnum, buf);
            copy_window_end(&s->window, &mark);
            copy_window_give_way(&s->window);
            block_job_ratelimit_processed_bytes(&s->common, pnum);
        }
        if (ret < 0) {
            switch (block_job_error_action(&s->common, s->on_error, true,
                                           -ret)) {
            case BLOCK_ERROR_ACTION_REPORT:
                return ret;
            case BLOCK_ERROR_ACTION_STOP:
                job_pause_point(&s->common.job);
                continue;
            default:
                /* Go on; the job fails in the end. */
                error = error ? error : ret;
                pnum = pnum > 0 ? pnum : bytes;
                break;
            }
        }
        offset += pnum > 0 ? pnum : bytes;
        job_progress_update(&s->common.job, pnum > 0 ? pnum : bytes);
        block_job_ratelimit_sleep(&s->common);
    }
    return error;
}

static int coroutine_fn stream_run(Job *job, Error **errp)
{
    StreamBlockJob *s = container_of(job, StreamBlockJob, common.job);
    int64_t len = bdrv_co_getlength(s->bs);
    QEMU_AUTO_VFREE void *buf = qemu_try_blockalign(s->bs, STREAM_CHUNK);

    if (len < 0) {
        return len;
    }
    if (!buf) {
        return -ENOMEM;
    }
    if (!stream_below(s)) {
        return 0;
    }
    job_progress_set_remaining(job, len);
    return stream_loop(s, len, buf);
}

/* --- the end; main thread --- */

static int stream_change_chain(StreamBlockJob *s, Error **errp)
{
    const char *name = NULL, *fmt = NULL;
    int ret;

    if (!stream_below(s)) {
        return 0;
    }
    if (s->base) {
        bdrv_get_header_names(s->base, &name, &fmt);
        name = s->backing_file ? s->backing_file : name;
    }
    ret = bdrv_flush_child(s->child);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not flush '%s'", s->bs->filename);
        return ret;
    }
    ret = bdrv_change_backing_file(s->bs, name, fmt, false);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not change the backing file of "
                         "'%s'", s->bs->filename);
        return ret;
    }
    return bdrv_set_backing_hd(s->bs, s->base, errp);
}

static void stream_unfreeze(StreamBlockJob *s)
{
    if (s->frozen) {
        bdrv_unfreeze_backing_chain(s->bs, s->base);
        s->frozen = false;
    }
}

static int stream_prepare(Job *job)
{
    StreamBlockJob *s = container_of(job, StreamBlockJob, common.job);
    Error *local_err = NULL;
    int ret;

    stream_unfreeze(s);
    bdrv_drained_begin(s->bs);
    ret = stream_change_chain(s, &local_err);
    bdrv_drained_end(s->bs);
    if (ret < 0) {
        JOB_LOCK_GUARD();
        error_propagate(&job->err, local_err);
    }
    return ret;
}

static void stream_clean(Job *job)
{
    StreamBlockJob *s = container_of(job, StreamBlockJob, common.job);

    stream_unfreeze(s);
    block_job_remove_all_bdrv(&s->common);
    bdrv_drop_filter(s->cor, &error_abort);
    bdrv_unref(s->cor);
    if (s->restore_read_only) {
        /* It stays writable where that cannot be: harmless. */
        bdrv_reopen_set_read_only(s->bs, true, NULL);
    }
    bdrv_unref(s->base);
    bdrv_unref(s->bs);
}

static void stream_free(Job *job)
{
    StreamBlockJob *s = container_of(job, StreamBlockJob, common.job);

    g_free(s->backing_file);
    block_job_free(job);
}

static const BlockJobDriver stream_job_driver = {
    .job_driver = {
        .instance_size = sizeof(StreamBlockJob),
        .job_type = JOB_TYPE_STREAM,
        .free = stream_free,
        .user_resume = block_job_user_resume,
        .run = stream_run,
        .prepare = stream_prepare,
        .clean = stream_clean,
    },
};

/* Users that read copy what the job then need not copy. */
static BlockDriverState *stream_insert_filter(BlockDriverState *bs,
                                              BlockDriverState *base,
                                              const ChainJobOptions *o,
                                              Error **errp)
{
    BlockDriverState *bottom = base ? bdrv_find_overlay(bs, base) : NULL;
    QOpts *options = qopts_new();
    BlockDriverState *cor;

    qopts_set_str(options, "driver", "copy-on-read");
    if (o->filter_node_name) {
        qopts_set_str(options, "node-name", o->filter_node_name);
    }
    qopts_set_str(options, "file", bdrv_get_node_name(bs));
    if (bottom) {
        qopts_set_str(options, "bottom", bdrv_get_node_name(bottom));
    }
    cor = bdrv_insert_node(bs, options, BDRV_O_RDWR | BDRV_O_UNMAP, errp);
    if (cor) {
        cor->implicit = !o->filter_node_name;
        cor->never_freeze = true;
        bdrv_refresh_filename(cor);
    }
    return cor;
}

/* Nobody may write to what is between @bs and @base, which will go. */
static int stream_add_nodes(StreamBlockJob *s, BlockDriverState *bs,
                            BlockDriverState *base, Error **errp)
{
    int ret = block_job_add_bdrv(&s->common, "active node", bs,
                                 BLK_PERM_CONSISTENT_READ |
                                 BLK_PERM_WRITE_UNCHANGED,
                                 BLK_PERM_ALL & ~BLK_PERM_RESIZE, errp);

    if (ret < 0) {
        return ret;
    }
    s->child = s->common.nodes->data;
    return block_job_add_chain(&s->common, bdrv_filter_or_cow_bs(bs), base,
                               BLK_PERM_CONSISTENT_READ |
                               BLK_PERM_WRITE_UNCHANGED, errp);
}

/* The chain is frozen, and the image writable. */
static StreamBlockJob *stream_create_frozen(BlockDriverState *bs,
                                            BlockDriverState *base,
                                            const ChainJobOptions *o,
                                            Error **errp)
{
    BlockDriverState *cor;
    StreamBlockJob *s;

    /* The image becomes an overlay of the base: is that what it belongs to? */
    if (base && !bdrv_check_backing(bs, base, errp)) {
        return NULL;
    }
    cor = stream_insert_filter(bs, base, o, errp);
    if (!cor) {
        return NULL;
    }
    s = block_job_create(o->job_id, &stream_job_driver, NULL, cor, 0,
                         BLK_PERM_ALL, o->speed, o->flags, o->cb, o->opaque,
                         errp);
    if (s && stream_add_nodes(s, bs, base, errp) < 0) {
        job_early_fail(&s->common.job);
        s = NULL;
    }
    if (!s) {
        bdrv_drop_filter(cor, &error_abort);
        bdrv_unref(cor);
        return NULL;
    }
    copy_window_init(&s->window);
    s->cor = cor;
    return s;
}

BlockJob *stream_job_create(BlockDriverState *bs, BlockDriverState *base,
                            const ChainJobOptions *o, Error **errp)
{
    bool read_only = bdrv_is_read_only(bs);
    StreamBlockJob *s = NULL;

    GLOBAL_STATE_CODE();
    if (block_job_blocks(bs, errp)) {
        return NULL;
    }
    /* First of all: what follows polls, and another job may end meanwhile. */
    if (bdrv_freeze_backing_chain(bs, base, errp) < 0) {
        return NULL;
    }
    bdrv_ref(bs);
    if (base) {
        bdrv_ref(base);
    }
    if (!read_only || bdrv_reopen_set_read_only(bs, false, errp) == 0) {
        s = stream_create_frozen(bs, base, o, errp);
        if (!s && read_only) {
            bdrv_reopen_set_read_only(bs, true, NULL);      /* or not */
        }
    }
    if (!s) {
        bdrv_unfreeze_backing_chain(bs, base);
        bdrv_unref(base);
        bdrv_unref(bs);
        return NULL;
    }
    s->frozen = true;
    s->bs = bs;
    s->base = base;
    s->backing_file = g_strdup(o->backing_file);
    s->on_error = o->on_error;
    s->restore_read_only = read_only;
    return &s->common;
}
