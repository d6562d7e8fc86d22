/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The commit job for images that are not in use themselves, but those above
 * them.  See include/block/stream.h; for the one in use see block/mirror.c.
 *
 * A filter above the top image drops the permissions that those above ask for,
 * so that the base can be written.  What the images above read as does not
 * change: only what an image above the base has is written to it.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "block/copy-window.h"
#include "block/stream.h"
#include "qemu/cutils.h"

#define COMMIT_CHUNK (512 * KiB)

typedef struct CommitBlockJob {
    BlockJob common;
    BlockDriverState *commit_top_bs;
    BlockDriverState *overlay;  /* the image above the top */
    BlockDriverState *top;
    BlockDriverState *base;
    BdrvChild *base_child;      /* the job's, for its writes */
    char *backing_file;
    BlockdevOnError on_error;
    CopyWindow window;          /* for others' turns; one copy at a time */
    bool base_read_only;        /* as it was */
    bool overlay_read_only;
    bool frozen;
} CommitBlockJob;

/* --- the coroutine --- */

static int coroutine_fn commit_copy(CommitBlockJob *s, int64_t offset,
                                    int64_t bytes, void *buf, bool *is_read)
{
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, bytes);
    int ret;

    *is_read = true;
    ret = bdrv_co_preadv(s->commit_top_bs->backing, offset, bytes, &qiov, 0);
    if (ret < 0) {
        return ret;
    }
    *is_read = false;
    if (qemu_iovec_is_zero(&qiov, 0, bytes)) {
        return bdrv_co_pwrite_zeroes(s->base_child, offset, bytes, 0);
    }
    return bdrv_co_pwritev(s->base_child, offset, bytes, &qiov, 0);
}

/* 0: the same again, after a while, or when it is resumed; -errno: it fails. */
static int coroutine_fn commit_handle_error(CommitBlockJob *s, bool is_read,
                                            int error)
{
    if (block_job_error_action(&s->common, s->on_error, is_read, -error) ==
        BLOCK_ERROR_ACTION_REPORT) {
        return error;
    }
    job_sleep_ns(&s->common.job, 100 * SCALE_MS);
    return 0;
}

/*
 * Whether the base lacks what those above read in the @bytes at @offset, 1 or
 * 0, the same for *@pnum bytes; -errno.  Past the end of the top they read
 * zeroes, whatever the base has.
 */
static int coroutine_fn commit_needs(CommitBlockJob *s, int64_t offset,
                                     int64_t bytes, int64_t *pnum)
{
    int ret = bdrv_co_is_allocated_above(s->top, s->base, false, offset, bytes,
                                         pnum);

    if (ret != 0 || *pnum > 0) {
        return MIN(ret, 1);
    }
    *pnum = bytes;
    ret = bdrv_co_is_zero_fast(s->base, offset, bytes);
    return ret < 0 ? ret : !ret;
}

static int coroutine_fn commit_loop(CommitBlockJob *s, int64_t len, void *buf)
{
    Job *job = &s->common.job;
    int64_t offset = 0, pnum = 0;

    while (offset < len && !job_is_cancelled(job)) {
        int64_t bytes = MIN(copy_window_bytes(&s->window, COMMIT_CHUNK),
                            len - offset);
        bool is_read = true;
        int ret = commit_needs(s, offset, bytes, &pnum);

        if (ret > 0) {
            CopyMark mark;

            copy_window_begin(&mark);
            ret = commit_copy(s, offset, pnum, buf, &is_read);
            copy_window_end(&s->window, &mark);
            copy_window_give_way(&s->window);
            block_job_ratelimit_processed_bytes(&s->common, pnum);
        }
        if (ret < 0) {
            ret = commit_handle_error(s, is_read, ret);
            if (ret < 0) {
                return ret;
            }
            continue;
        }
        offset += pnum;
        job_progress_update(job, pnum);
        block_job_ratelimit_sleep(&s->common);
    }
    return 0;
}

/* While it can still be paused for an error. */
static int coroutine_fn commit_flush(CommitBlockJob *s)
{
    int ret = -EINPROGRESS;

    while (ret < 0 && !job_is_cancelled(&s->common.job)) {
        ret = bdrv_co_flush_child(s->base_child);
        if (ret < 0 && commit_handle_error(s, false, ret) < 0) {
            return ret;
        }
    }
    return 0;
}

static int coroutine_fn commit_run(Job *job, Error **errp)
{
    CommitBlockJob *s = container_of(job, CommitBlockJob, common.job);
    int64_t len = bdrv_co_getlength(s->top);
    int64_t base_len = bdrv_co_getlength(s->base), overlay_len;
    QEMU_AUTO_VFREE void *buf = qemu_try_blockalign(s->top, COMMIT_CHUNK);
    int ret;

    if (len < 0 || base_len < 0) {
        return MIN(len, base_len);
    }
    if (!buf) {
        return -ENOMEM;
    }
    if (base_len < len) {
        ret = bdrv_co_truncate(s->base_child, len, false, PREALLOC_MODE_OFF, 0,
                               errp);
        if (ret < 0) {
            return ret;
        }
    }
    overlay_len = bdrv_co_getlength(s->overlay);
    len = MAX(len, MIN(base_len, overlay_len));
    job_progress_set_remaining(job, len);
    ret = commit_loop(s, len, buf);
    return ret < 0 ? ret : commit_flush(s);
}

/* --- the end; main thread --- */

static void commit_unfreeze(CommitBlockJob *s)
{
    if (s->frozen) {
        bdrv_unfreeze_backing_chain(s->commit_top_bs, s->base);
        s->frozen = false;
    }
}

static int commit_change_chain(CommitBlockJob *s, Error **errp)
{
    const char *name, *fmt;
    int ret;

    bdrv_get_header_names(s->base, &name, &fmt);
    name = s->backing_file ? s->backing_file : name;
    ret = bdrv_flush_child(s->base_child);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not flush '%s'",
                         s->base->filename);
        return ret;
    }
    if (s->overlay_read_only) {
        ret = bdrv_reopen_set_read_only(s->overlay, false, errp);
        if (ret < 0) {
            return ret;
        }
    }
    /* Users of the overlay need not let others write to the base. */
    bdrv_child_try_set_perm(s->base_child, 0, BLK_PERM_ALL, NULL);
    ret = bdrv_change_backing_file(s->overlay, name, fmt, false);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not change the backing file of "
                         "'%s'", s->overlay->filename);
    } else {
        ret = bdrv_set_backing_hd(s->overlay, s->base, errp);
    }
    if (s->overlay_read_only) {
        bdrv_reopen_set_read_only(s->overlay, true, NULL);
    }
    return ret;
}

static int commit_prepare(Job *job)
{
    CommitBlockJob *s = container_of(job, CommitBlockJob, common.job);
    Error *local_err = NULL;
    int ret;

    commit_unfreeze(s);
    bdrv_drained_begin(s->overlay);
    ret = commit_change_chain(s, &local_err);
    bdrv_drained_end(s->overlay);
    if (ret < 0) {
        JOB_LOCK_GUARD();
        error_propagate(&job->err, local_err);
    }
    return ret;
}

static void commit_clean(Job *job)
{
    CommitBlockJob *s = container_of(job, CommitBlockJob, common.job);
    BlockDriverState *above = bdrv_find_overlay(s->top, s->base);

    commit_unfreeze(s);
    block_job_remove_all_bdrv(&s->common);
    if (job->ret < 0 && above && bdrv_refresh_backing_file(above) < 0) {
        warn_report("'%s' may be refused until it is told its backing file "
                    "again (qemu-img rebase -u)", above->filename);
    }
    /* After a success nobody is above it any more. */
    bdrv_drop_filter(s->commit_top_bs, &error_abort);
    bdrv_unref(s->commit_top_bs);
    if (s->base_read_only) {
        bdrv_reopen_set_read_only(s->base, true, NULL);
    }
    bdrv_unref(s->overlay);
    bdrv_unref(s->top);
    bdrv_unref(s->base);
}

static void commit_free(Job *job)
{
    CommitBlockJob *s = container_of(job, CommitBlockJob, common.job);

    g_free(s->backing_file);
    block_job_free(job);
}

static const BlockJobDriver commit_job_driver = {
    .job_driver = {
        .instance_size = sizeof(CommitBlockJob),
        .job_type = JOB_TYPE_COMMIT,
        .free = commit_free,
        .user_resume = block_job_user_resume,
        .run = commit_run,
        .prepare = commit_prepare,
        .clean = commit_clean,
    },
};

/* --- the filter --- */

static int coroutine_fn commit_top_co_preadv_part(BlockDriverState *bs,
                                                  int64_t offset,
                                                  int64_t bytes,
                                                  QEMUIOVector *qiov,
                                                  size_t qiov_offset,
                                                  BdrvRequestFlags flags)
{
    return bdrv_co_preadv_part(bs->backing, offset, bytes, qiov, qiov_offset,
                               flags);
}

static int commit_top_open(BlockDriverState *bs, QOpts *options, int flags,
                           Error **errp)
{
    /* Only the job makes one; it gets its child by bdrv_append(). */
    return 0;
}

static void commit_top_child_perm(BlockDriverState *bs, BdrvChild *c,
                                  BdrvChildRole role, uint64_t perm,
                                  uint64_t shared, uint64_t *nperm,
                                  uint64_t *nshared)
{
    *nperm = 0;
    *nshared = BLK_PERM_ALL;
}

static BlockDriver bdrv_commit_top = {
    .format_name = "commit_top",
    .is_filter = true,
    .filtered_child_is_backing = true,
    .bdrv_open = commit_top_open,
    .bdrv_co_preadv_part = commit_top_co_preadv_part,
    .bdrv_child_perm = commit_top_child_perm,
};

/* --- creation --- */

static BlockDriverState *commit_append_top(BlockDriverState *top,
                                           const ChainJobOptions *o,
                                           Error **errp)
{
    BlockDriverState *bs;

    bs = bdrv_new_open_driver(&bdrv_commit_top, o->filter_node_name, 0, errp);
    if (!bs) {
        return NULL;
    }
    bs->implicit = !o->filter_node_name;
    bs->never_freeze = true;
    if (bdrv_append(bs, top, errp) < 0) {
        bdrv_unref(bs);
        return NULL;
    }
    return bs;
}

/* Hold the nodes that go, and the base, which gets their data. */
static int commit_add_nodes(CommitBlockJob *s, BlockDriverState *top,
                            BlockDriverState *base, Error **errp)
{
    uint64_t perm = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE;
    int ret;

    /* A base with users that rely on its size may stay as long as it is. */
    if (bdrv_getlength(base) < bdrv_getlength(top) ||
        bdrv_check_resize_perm(base, perm, base->bl.request_alignment,
                               NULL) < 0) {
        perm |= BLK_PERM_RESIZE;
    }
    /* Users must not rely on what these read as: it changes with the base. */
    ret = block_job_add_chain(&s->common, top, base, BLK_PERM_WRITE |
                              BLK_PERM_WRITE_UNCHANGED, errp);
    if (ret < 0) {
        return ret;
    }
    ret = block_job_add_bdrv(&s->common, "base", base, perm,
                             BLK_PERM_CONSISTENT_READ |
                             BLK_PERM_WRITE_UNCHANGED, errp);
    if (ret == 0) {
        s->base_child = s->common.nodes->data;
    }
    return ret;
}

static CommitBlockJob *commit_create_on_filter(BlockDriverState *filter,
                                               BlockDriverState *top,
                                               BlockDriverState *base,
                                               const ChainJobOptions *o,
                                               Error **errp)
{
    CommitBlockJob *s;
    int ret;

    s = block_job_create(o->job_id, &commit_job_driver, NULL, filter, 0,
                         BLK_PERM_ALL, o->speed, o->flags, o->cb, o->opaque,
                         errp);
    if (!s) {
        return NULL;
    }
    if (commit_add_nodes(s, top, base, errp) < 0) {
        job_early_fail(&s->common.job);
        return NULL;
    }
    copy_window_init(&s->window);
    ret = bdrv_announce_base_change(s->base_child,
                                    bdrv_find_overlay(top, base));
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not prepare '%s' for the commit",
                         base->filename);
        job_early_fail(&s->common.job);
        return NULL;
    }
    if (bdrv_freeze_backing_chain(filter, top, errp) < 0) {
        job_early_fail(&s->common.job);
        return NULL;
    }
    s->frozen = true;
    return s;
}

/* The chain is frozen, and the nodes are held. */
static CommitBlockJob *commit_create_frozen(BlockDriverState *overlay,
                                            BlockDriverState *top,
                                            BlockDriverState *base,
                                            const ChainJobOptions *o,
                                            Error **errp)
{
    bool base_read_only = bdrv_is_read_only(base);
    BlockDriverState *filter;
    CommitBlockJob *s = NULL;

    /* The job makes the base what images above it are over: is it that? */
    if (!bdrv_check_backing(overlay, base, errp)) {
        return NULL;
    }
    filter = commit_append_top(top, o, errp);
    if (!filter) {
        return NULL;
    }
    if (!base_read_only ||
        bdrv_reopen_set_read_only(base, false, errp) == 0) {
        s = commit_create_on_filter(filter, top, base, o, errp);
        if (!s && base_read_only) {
            bdrv_reopen_set_read_only(base, true, NULL);     /* or not */
        }
    }
    if (!s) {
        bdrv_drop_filter(filter, &error_abort);
        bdrv_unref(filter);
        return NULL;
    }
    s->commit_top_bs = filter;
    s->base_read_only = base_read_only;
    return s;
}

BlockJob *commit_job_create(BlockDriverState *active, BlockDriverState *top,
                            BlockDriverState *base, const ChainJobOptions *o,
                            Error **errp)
{
    BlockDriverState *overlay = bdrv_find_overlay(active, top);
    CommitBlockJob *s;

    GLOBAL_STATE_CODE();
    if (!overlay) {
        error_setg(errp, "Could not find overlay image for %s:",
                   top->filename);
        return NULL;
    }
    if (block_job_blocks(top, errp) || block_job_blocks(base, errp)) {
        return NULL;
    }
    /* First of all: what follows polls, and another job may end meanwhile. */
    if (bdrv_freeze_backing_chain(top, base, errp) < 0) {
        return NULL;
    }
    bdrv_ref(overlay);
    bdrv_ref(top);
    bdrv_ref(base);
    s = commit_create_frozen(overlay, top, base, o, errp);
    if (!s) {
        bdrv_unfreeze_backing_chain(top, base);
        bdrv_unref(overlay);
        bdrv_unref(top);
        bdrv_unref(base);
        return NULL;
    }
    s->overlay = overlay;
    s->top = top;
    s->base = base;
    s->backing_file = g_strdup(o->backing_file);
    s->on_error = o->on_error;
    s->overlay_read_only = bdrv_is_read_only(overlay);
    return &s->common;
}
