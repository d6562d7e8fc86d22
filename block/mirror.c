/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The mirror job, and the commit of an image that is in use.
 *
 * A bitmap says what the target lacks.  The job copies it chunk by chunk; the
 * filter mirror_top marks what is written meanwhile, or, when the job is
 * active, writes it to both.  When nothing is left the job is READY.  To end,
 * it becomes active first, so that the target stays equal for as long as the
 * user lets it wait (job-finalize); the rest happens in the main thread, in
 * mirror_prepare(), while the source is drained.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "mirror-int.h"
#include "qemu/cutils.h"
#include "qemu/lockable.h"
#include "system/block-backend.h"

/* How long the job sleeps when there is nothing to do. */
#define MIRROR_SLICE_NS (100 * SCALE_MS)
/* How much is looked at at once: zeroes of that length are one operation. */
#define MIRROR_MAX_RUN (16 * MiB)
/* A new file may have its first block allocated: it is read. */
#define MIRROR_HEAD (64 * KiB)

/* --- ranges --- */

static MirrorOp *mirror_find_conflict_locked(MirrorBlockJob *s,
                                             int64_t offset, int64_t bytes)
{
    MirrorOp *op;

    QLIST_FOREACH(op, &s->ops, next) {
        if (offset < op->offset + op->bytes && op->offset < offset + bytes) {
            return op;
        }
    }
    return NULL;
}

void coroutine_fn mirror_op_begin(MirrorOp *op)
{
    MirrorBlockJob *s = op->s;
    MirrorOp *other;

    qemu_co_queue_init(&op->waiting);
    QEMU_LOCK_GUARD(&s->lock);
    while ((other = mirror_find_conflict_locked(s, op->offset, op->bytes))) {
        qemu_co_queue_wait(&other->waiting, &s->lock);
    }
    QLIST_INSERT_HEAD(&s->ops, op, next);
}

void coroutine_fn mirror_op_end(MirrorOp *op)
{
    QEMU_LOCK_GUARD(&op->s->lock);
    QLIST_REMOVE(op, next);
    qemu_co_queue_restart_all(&op->waiting);
}

/* Writers that wait for the rest go on. */
static void coroutine_fn mirror_op_shorten(MirrorOp *op, int64_t bytes)
{
    QEMU_LOCK_GUARD(&op->s->lock);
    op->bytes = bytes;
    qemu_co_queue_restart_all(&op->waiting);
}

void mirror_set_dirty(MirrorBlockJob *s, int64_t offset, int64_t bytes)
{
    if (offset < s->len) {
        bdrv_set_dirty_bitmap(s->dirty_bitmap, offset,
                              MIN(bytes, s->len - offset));
    }
}

void mirror_note_written(MirrorBlockJob *s, int64_t offset, int64_t bytes)
{
    if (s->written) {
        QEMU_LOCK_GUARD(&s->lock);
        hbitmap_set(s->written, offset, MIN(bytes, s->len - offset));
    }
}

void mirror_note_whole(MirrorBlockJob *s, int64_t offset, int64_t bytes)
{
    if (s->whole) {
        QEMU_LOCK_GUARD(&s->lock);
        hbitmap_set(s->whole, offset, bytes);
    }
}

bool mirror_is_still_zero(MirrorBlockJob *s, int64_t offset, int64_t bytes)
{
    if (!qatomic_read(&s->was_zero)) {
        return false;
    }
    QEMU_LOCK_GUARD(&s->lock);
    return hbitmap_next_dirty(s->written, offset, bytes) < 0;
}

void mirror_error(MirrorBlockJob *s, bool is_read, int error)
{
    BlockErrorAction action;

    if (qatomic_read(&s->ret) == -ECANCELED) {
        return;     /* The cancelling has failed what was in flight. */
    }
    action = block_job_error_action(&s->common, is_read ? s->on_source_error :
                                    s->on_target_error, is_read, -error);
    if (action == BLOCK_ERROR_ACTION_REPORT) {
        qatomic_cmpxchg(&s->ret, 0, error);
    } else if (action == BLOCK_ERROR_ACTION_IGNORE) {
        qatomic_set(&s->error_ignored, true);
    }
}

/* --- one copy --- */

static int coroutine_fn mirror_copy_zeroes(MirrorOp *op, int64_t bytes,
                                           BdrvRequestFlags flags)
{
    MirrorBlockJob *s = op->s;

    /* A new image is zero: asking costs less than writing. */
    if (mirror_is_still_zero(s, op->offset, bytes) || (!s->target_is_partial &&
        bdrv_co_is_known_zero(s->target->bs, op->offset, bytes))) {
        return 0;
    }
    return bdrv_co_pwrite_zeroes(s->target, op->offset, bytes, flags |
                                 (s->unmap ? BDRV_REQ_MAY_UNMAP : 0));
}

/* Zeroes that the source has stored need not be stored again. */
static int coroutine_fn mirror_write(MirrorOp *op, void *buf, int64_t bytes)
{
    MirrorBlockJob *s = op->s;
    int ret = buffer_is_zero(buf, bytes) ?
              mirror_copy_zeroes(op, bytes, BDRV_REQ_NO_FALLBACK) : -ENOTSUP;

    if (ret != -ENOTSUP) {
        return ret;
    }
    mirror_note_written(s, op->offset, bytes);
    return bdrv_co_pwrite(s->target, op->offset, bytes, buf, 0);
}

static int coroutine_fn mirror_copy_data(MirrorOp *op, int64_t bytes,
                                         bool *is_read)
{
    MirrorBlockJob *s = op->s;
    BdrvChild *source = s->mirror_top_bs->backing;
    void *buf = buffer_pool_get(&s->buffers, source->bs, bytes);
    int ret = !buf ? -ENOMEM :
              bdrv_co_pread_within(source, op->offset, bytes, buf);

    *is_read = buf && ret < 0;
    if (ret == 0) {
        ret = qatomic_read(&s->ret) == -ECANCELED ? -ECANCELED :
              mirror_write(op, buf, bytes);
    }
    buffer_pool_put(&s->buffers, buf, bytes);
    return ret;
}

static void coroutine_fn mirror_copy_entry(void *opaque)
{
    MirrorOp *op = opaque;
    MirrorBlockJob *s = op->s;
    int64_t bytes = MIN(op->bytes, s->len - op->offset);
    bool is_read = false;
    CopyMark mark;
    int ret;

    if (op->zeroes) {
        ret = mirror_copy_zeroes(op, bytes, 0);
    } else {
        copy_window_begin(&mark);
        ret = mirror_copy_data(op, bytes, &is_read);
        copy_window_end(&s->window, &mark);
    }
    if (ret < 0) {
        mirror_set_dirty(s, op->offset, bytes);
        mirror_error(s, is_read, ret);
    } else {
        mirror_note_whole(s, op->offset, bytes);
        job_progress_update(&s->common.job, bytes);
    }
    mirror_op_end(op);
    copy_window_give_way(&s->window);
    s->copies_in_flight -= !op->zeroes;
    g_free(op);
    s->bytes_in_flight -= bytes;
    qatomic_dec(&s->in_flight);
    if (s->waiting_for_io) {
        s->waiting_for_io = false;
        aio_co_wake(s->common.job.co);
    }
}

static void coroutine_fn mirror_wait_for_one(MirrorBlockJob *s)
{
    s->waiting_for_io = true;
    qemu_coroutine_yield();
}

/* Until at most @limit operations are in flight. */
static void coroutine_fn mirror_wait_for_io(MirrorBlockJob *s, int limit)
{
    while (s->in_flight > limit) {
        mirror_wait_for_one(s);
    }
}

/* Until one more may be in flight; zeroes keep the thread busy for no time. */
static void coroutine_fn mirror_wait_for_room(MirrorBlockJob *s)
{
    while (s->in_flight >= s->max_in_flight || s->copies_in_flight >=
           copy_window_size(&s->window, s->max_in_flight)) {
        mirror_wait_for_one(s);
    }
}

/* --- the loop --- */

/*
 * How much of @bytes at @offset is data, or zeroes.  Data is asked for once in
 * several copies: what a guest has zeroed since then is copied, zeroes or not.
 */
static int64_t coroutine_fn mirror_source_status(MirrorBlockJob *s,
                                                 int64_t offset, int64_t bytes,
                                                 bool *zeroes)
{
    int64_t pnum;
    int ret;

    *zeroes = false;
    if (offset >= s->data_offset && offset < s->data_end) {
        return MIN(bytes, s->data_end - offset);
    }
    ret = bdrv_co_block_status_above(s->mirror_top_bs->backing->bs, NULL,
                                     offset, bytes, &pnum, NULL, NULL);
    if (ret >= 0 && pnum < bytes) {
        pnum = QEMU_ALIGN_DOWN(pnum, s->granularity);
    }
    if (ret < 0 || pnum == 0) {
        return MIN(s->granularity, bytes);
    }
    *zeroes = ret & BDRV_BLOCK_ZERO;
    if (!*zeroes) {
        s->data_offset = offset;
        s->data_end = offset + pnum;
    }
    return pnum;
}

/* How much of the op is one operation; sets op->zeroes. */
static int64_t coroutine_fn mirror_classify(MirrorOp *op)
{
    MirrorBlockJob *s = op->s;
    int64_t pnum = mirror_source_status(s, op->offset,
                                        MIN(op->bytes, s->len - op->offset),
                                        &op->zeroes);

    return op->zeroes ? pnum :
           MIN(pnum, MAX(copy_window_bytes(&s->window, s->max_io),
                         s->granularity));
}

/*
 * The next pass over the disk begins.  Writers that leave more than half of
 * what was dirty before write too fast for a job that gives way to them.
 */
static void mirror_begin_pass(MirrorBlockJob *s)
{
    int64_t dirty = bdrv_get_dirty_count(s->dirty_bitmap);

    if (dirty > s->pass_dirty / 2) {
        copy_window_hurry(&s->window);
    }
    s->pass_dirty = dirty;
    s->data_end = 0;
}

/*
 * The next dirty run from s->iter_offset on, round the end, of @max bytes at
 * most; false: none.
 */
static bool mirror_next_run(MirrorBlockJob *s, int64_t max, int64_t *offset,
                            int64_t *bytes)
{
    int64_t starts[] = { s->iter_offset, 0 };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(starts); i++) {
        if (bdrv_dirty_bitmap_next_dirty_area(s->dirty_bitmap, starts[i],
                                              s->len, max, offset, bytes)) {
            return true;
        }
        if (i == 0) {
            mirror_begin_pass(s);
        }
    }
    return false;
}

/*
 * Start the copy of the next dirty run, if there is one.  It is clean from
 * the moment before it is read: who writes to it later makes it dirty again.
 */
static void coroutine_fn mirror_iteration(MirrorBlockJob *s)
{
    int64_t offset, bytes, pnum;
    /* Writers to both wait for the run: there, no more than one copy. */
    int64_t max = qatomic_read(&s->active) ? s->max_io :
                  MAX(s->max_io, MIRROR_MAX_RUN);
    MirrorOp *op;

    if (!mirror_next_run(s, max, &offset, &bytes)) {
        return;
    }
    op = g_new0(MirrorOp, 1);
    op->s = s;
    op->offset = offset;
    op->bytes = QEMU_ALIGN_UP(bytes, s->granularity);
    /* What it waits for may have copied it: that costs a copy, no more. */
    mirror_op_begin(op);
    qatomic_inc(&s->in_flight);
    bdrv_reset_dirty_bitmap(s->dirty_bitmap, offset, bytes);
    pnum = mirror_classify(op);
    if (pnum < bytes) {
        mirror_set_dirty(s, offset + pnum, bytes - pnum);
        mirror_op_shorten(op, QEMU_ALIGN_UP(pnum, s->granularity));
    }
    s->iter_offset = offset + pnum;
    block_job_ratelimit_processed_bytes(&s->common, op->zeroes ? 0 : pnum);
    s->bytes_in_flight += pnum;
    s->copies_in_flight += !op->zeroes;
    qemu_coroutine_enter(qemu_coroutine_create(mirror_copy_entry, op));
}

static bool mirror_is_clean(MirrorBlockJob *s)
{
    return s->in_flight == 0 && bdrv_get_dirty_count(s->dirty_bitmap) == 0;
}

static void coroutine_fn mirror_pause(Job *job)
{
    mirror_wait_for_io(container_of(job, MirrorBlockJob, common.job), 0);
}

static bool mirror_drained_poll(BlockJob *job)
{
    MirrorBlockJob *s = container_of(job, MirrorBlockJob, common);

    return qatomic_read(&s->in_flight) > 0;
}

static bool coroutine_fn mirror_reads_zero(MirrorBlockJob *s, int64_t bytes)
{
    QEMU_AUTO_VFREE void *buf = qemu_try_blockalign(s->target->bs, bytes);

    return buf && bdrv_co_pread(s->target, 0, bytes, buf, 0) == 0 &&
           buffer_is_zero(buf, bytes);
}

/*
 * Ask once about a new target, which is zero everywhere, and not each time that
 * the source has zeroes.  What is written to both meanwhile is in s->written.
 */
static void coroutine_fn mirror_look_at_target(MirrorBlockJob *s)
{
    int64_t head = MIN(s->len, MIRROR_HEAD);

    if (s->sync_mode == MIRROR_SYNC_MODE_FULL && head &&
        bdrv_co_is_known_zero(s->target->bs, head, s->len - head) &&
        mirror_reads_zero(s, head)) {
        qatomic_set(&s->was_zero, true);
    }
}

/* sync=full and top: what the target lacks at the beginning. */
static int coroutine_fn mirror_dirty_init(MirrorBlockJob *s)
{
    BlockDriverState *bs = s->mirror_top_bs->backing->bs;
    BlockDriverState *base = s->base;
    int64_t offset, pnum;
    int ret;

    if (s->sync_mode == MIRROR_SYNC_MODE_NONE) {
        return 0;
    }
    if (!base) {
        bdrv_set_dirty_bitmap(s->dirty_bitmap, 0, s->len);
        return 0;
    }
    for (offset = 0; offset < s->len; offset += pnum) {
        job_pause_point(&s->common.job);
        if (job_is_cancelled(&s->common.job)) {
            return 0;
        }
        ret = bdrv_co_is_allocated_above(bs, base, false, offset,
                                         s->len - offset, &pnum);
        if (ret < 0) {
            return ret;
        }
        if (ret) {
            bdrv_set_dirty_bitmap(s->dirty_bitmap, offset, pnum);
        }
    }
    return 0;
}

/* The target has all: tell the user once that it does. */
static int coroutine_fn mirror_become_ready(MirrorBlockJob *s)
{
    int ret;

    if (s->synced) {
        return 0;
    }
    ret = bdrv_co_flush_child(s->target);
    if (ret < 0) {
        mirror_error(s, false, ret);
        return qatomic_read(&s->ret);
    }
    qatomic_set(&s->synced, true);
    job_transition_to_ready(&s->common.job);
    return 0;
}

/*
 * What has failed is tried again in the next pass: not at once, or a processor
 * is busy with that, and a monitor with its events.
 */
static void coroutine_fn mirror_rest_after_errors(MirrorBlockJob *s)
{
    if (qatomic_read(&s->error_ignored) &&
        bdrv_dirty_bitmap_next_dirty(s->dirty_bitmap, s->iter_offset,
                                     s->len - s->iter_offset) < 0) {
        qatomic_set(&s->error_ignored, false);
        job_sleep_ns(&s->common.job, MIRROR_SLICE_NS);
    }
}

/* To end, and not at once. */
static bool mirror_should_end(MirrorBlockJob *s)
{
    return s->synced && (qatomic_read(&s->should_complete) ||
                         job_cancel_requested(&s->common.job));
}

static int coroutine_fn mirror_loop(MirrorBlockJob *s)
{
    Job *job = &s->common.job;
    int ret = 0;

    while (ret == 0 && !job_is_cancelled(job)) {
        job_progress_set_remaining(job, bdrv_get_dirty_count(s->dirty_bitmap) +
                                   s->bytes_in_flight);
        job_pause_point(job);
        if (mirror_should_end(s)) {
            /* From now on it does not fall behind again. */
            qatomic_set(&s->active, true);
        }
        if (mirror_is_clean(s)) {
            copy_window_relax(&s->window);
            ret = mirror_become_ready(s);
            if (ret == 0 && mirror_should_end(s) &&
                qatomic_read(&s->active)) {
                return 0;
            }
            if (ret == 0) {
                /* Also where the error of a flush is ignored. */
                job_sleep_ns(job, MIRROR_SLICE_NS);
            }
        } else if (bdrv_get_dirty_count(s->dirty_bitmap)) {
            mirror_wait_for_room(s);
            mirror_rest_after_errors(s);
            mirror_iteration(s);
            block_job_ratelimit_sleep(&s->common);
        } else {
            mirror_wait_for_io(s, s->in_flight - 1);
        }
        ret = ret ? ret : qatomic_read(&s->ret);
    }
    return ret;
}

static int coroutine_fn mirror_run(Job *job, Error **errp)
{
    MirrorBlockJob *s = container_of(job, MirrorBlockJob, common.job);
    int ret;

    mirror_look_at_target(s);
    ret = mirror_dirty_init(s);
    s->pass_dirty = bdrv_get_dirty_count(s->dirty_bitmap);
    if (ret == 0) {
        ret = mirror_loop(s);
    }
    mirror_wait_for_io(s, 0);
    if (ret == 0) {
        job_progress_set_remaining(job, 0);
    }
    return ret;
}

/* --- the end; main thread --- */

static int coroutine_fn mirror_final_entry(void *opaque)
{
    MirrorBlockJob *s = opaque;
    int64_t offset, bytes;

    /* A discard, or a write that failed, after run() had ended. */
    while (qatomic_read(&s->ret) == 0 &&
           mirror_next_run(s, s->max_io, &offset, &bytes)) {
        MirrorOp op = { .s = s, .offset = offset, .bytes = bytes };
        bool is_read;
        int ret;

        bdrv_reset_dirty_bitmap(s->dirty_bitmap, offset, bytes);
        ret = mirror_copy_data(&op, bytes, &is_read);
        if (ret < 0) {
            mirror_set_dirty(s, offset, bytes);
            return ret;
        }
    }
    return qatomic_read(&s->ret) ? s->ret : bdrv_co_flush_child(s->target);
}

/* The target gets the node of the backing file that its header has already. */
static int mirror_give_backing(MirrorBlockJob *s, BlockDriverState *src,
                               BlockDriverState *target, Error **errp)
{
    bool none = s->sync_mode == MIRROR_SYNC_MODE_NONE;
    BlockDriverState *backing = none ? src : bdrv_backing_chain_next(src);
    int ret;

    if (!backing) {
        return 0;
    }
    ret = bdrv_set_backing_hd(target, backing, errp);
    if (ret == 0 && none) {
        /* It was written to since the target was made. */
        ret = bdrv_refresh_backing_file(target);
        if (ret < 0) {
            error_setg_errno(errp, -ret, "Could not write the backing file "
                             "of '%s'", target->filename);
        }
    }
    return ret;
}

/* Let the users of what is replaced go over to the target. */
static int mirror_pivot(MirrorBlockJob *s, BlockDriverState *src,
                        BlockDriverState *target, Error **errp)
{
    BlockDriverState *to_replace = s->to_replace ? s->to_replace : src;
    int ret;

    if (!mirror_shows_same(src, to_replace)) {
        error_setg(errp, "Can no longer replace '%s' by '%s', because it can "
                   "no longer be guaranteed that doing so would not lead to "
                   "an abrupt change of visible data",
                   bdrv_get_node_name(to_replace),
                   bdrv_get_node_name(target));
        return -EPERM;
    }
    if (s->source_backing) {
        ret = mirror_give_backing(s, src, target, errp);
        if (ret < 0) {
            return ret;
        }
    }
    if (bdrv_is_read_only(target) != bdrv_is_read_only(to_replace)) {
        ret = bdrv_reopen_set_read_only(target,
                                        bdrv_is_read_only(to_replace), errp);
        if (ret < 0) {
            return ret;
        }
    }
    return bdrv_replace_node(to_replace, target, errp);
}

/* Takes the job off its nodes; the source is drained. */
static int mirror_leave(MirrorBlockJob *s, bool pivot)
{
    BlockDriverState *top_bs = s->mirror_top_bs;
    MirrorTopState *top = top_bs->opaque;
    BlockDriverState *src = top_bs->backing->bs;
    BlockDriverState *target = s->target->bs;
    Error *local_err = NULL;
    int ret = 0;

    bdrv_ref(src);
    bdrv_ref(target);
    bdrv_release_dirty_bitmap(s->dirty_bitmap);
    s->dirty_bitmap = NULL;
    top->job = NULL;
    /* The job's own permissions go first, so that the users can move. */
    block_job_remove_all_bdrv(&s->common);
    bdrv_unref_child(top_bs, s->target);
    s->target = NULL;
    if (s->frozen) {
        /* Not before: only frozen links let the job write below them. */
        bdrv_unfreeze_backing_chain(src, target);
        s->frozen = false;
    }
    if (pivot) {
        ret = mirror_pivot(s, src, target, &local_err);
        if (ret < 0) {
            JOB_LOCK_GUARD();
            error_propagate(&s->common.job.err, local_err);
        }
    }
    bdrv_drop_filter(top_bs, &error_abort);
    s->mirror_top_bs = NULL;
    if (s->is_commit && (!pivot || ret < 0)) {
        BlockDriverState *above = bdrv_find_overlay(src, target);

        if (above && bdrv_refresh_backing_file(above) < 0) {
            warn_report("'%s' may be refused until it is told its backing "
                        "file again (qemu-img rebase -u)", above->filename);
        }
    }
    if (s->restore_read_only && (!pivot || ret < 0)) {
        bdrv_reopen_set_read_only(target, true, NULL);      /* or not */
    }
    bdrv_unref(target);
    bdrv_unref(src);
    return ret;
}

int mirror_exit(MirrorBlockJob *s, bool success)
{
    BlockDriverState *top_bs = s->mirror_top_bs;
    bool pivot;
    int ret = 0;

    if (!top_bs) {
        return 0;
    }
    bdrv_drained_begin(top_bs);
    if (success) {
        ret = bdrv_run_co(bdrv_get_aio_context(top_bs), mirror_final_entry, s);
    }
    pivot = success && ret == 0 && qatomic_read(&s->should_complete);
    if (mirror_leave(s, pivot) < 0) {
        ret = -EPERM;
    }
    bdrv_drained_end(top_bs);
    bdrv_unref(top_bs);
    return ret;
}

static int mirror_prepare(Job *job)
{
    return mirror_exit(container_of(job, MirrorBlockJob, common.job), true);
}

static void mirror_abort(Job *job)
{
    mirror_exit(container_of(job, MirrorBlockJob, common.job), false);
}

static void mirror_free(Job *job)
{
    MirrorBlockJob *s = container_of(job, MirrorBlockJob, common.job);

    g_free(s->replaces);
    bdrv_unref(s->to_replace);
    buffer_pool_destroy(&s->buffers);
    hbitmap_free(s->written);
    hbitmap_free(s->whole);
    if (s->granularity) {
        /* It was not the creation that failed. */
        qemu_mutex_destroy(&s->lock);
    }
    block_job_free(job);
}

/* --- commands --- */

static void mirror_complete(Job *job, Error **errp)
{
    MirrorBlockJob *s = container_of(job, MirrorBlockJob, common.job);

    if (s->replaces && !s->to_replace) {
        BlockDriverState *bs = bdrv_find_node(s->replaces);

        if (!bs) {
            error_setg(errp, "Failed to find node with node-name='%s'",
                       s->replaces);
            return;
        }
        bdrv_ref(bs);
        s->to_replace = bs;
    }
    qatomic_set(&s->should_complete, true);
    job_enter(job);
}

static bool mirror_cancel(Job *job, bool force)
{
    MirrorBlockJob *s = container_of(job, MirrorBlockJob, common.job);

    /* One that is READY ends with a target that is whole. */
    force = force || !job_is_ready(job);
    if (force && s->target) {
        /* First: what has been read, or is written by users, stays here. */
        qatomic_cmpxchg(&s->ret, 0, -ECANCELED);
        bdrv_cancel_in_flight(s->target->bs);
    }
    return force;
}

void mirror_change_locked(Job *job, MirrorCopyMode copy_mode, Error **errp)
{
    MirrorBlockJob *s = container_of(job, MirrorBlockJob, common.job);

    if (copy_mode != MIRROR_COPY_MODE_WRITE_BLOCKING) {
        if (qatomic_read(&s->active)) {
            error_setg(errp, "Change to copy mode 'background' is not "
                       "implemented");
        }
        return;
    }
    qatomic_set(&s->active, true);
}

bool mirror_is_actively_synced(Job *job)
{
    MirrorBlockJob *s = container_of(job, MirrorBlockJob, common.job);

    /* run() sets synced once, and this is only for people to see. */
    return qatomic_read(&s->active) && qatomic_read(&s->synced);
}

/* They differ in what they are called. */
#define MIRROR_DRIVER(type)                                             \
    {                                                                   \
        .job_driver = {                                                 \
            .instance_size = sizeof(MirrorBlockJob),                    \
            .job_type = type,                                           \
            .free = mirror_free,                                        \
            .user_resume = block_job_user_resume,                       \
            .run = mirror_run,                                          \
            .prepare = mirror_prepare,                                  \
            .abort = mirror_abort,                                      \
            .pause = mirror_pause,                                      \
            .complete = mirror_complete,                                \
            .cancel = mirror_cancel,                                    \
        },                                                              \
        .drained_poll = mirror_drained_poll,                            \
    }

const BlockJobDriver mirror_job_driver = MIRROR_DRIVER(JOB_TYPE_MIRROR);
const BlockJobDriver commit_active_job_driver = MIRROR_DRIVER(JOB_TYPE_COMMIT);
