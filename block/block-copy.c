/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block copy: its clusters, and how those of a call are copied.  See
 * include/block/block-copy.h; block-copy-call.c has the calls.
 *
 * A task takes a run of dirty clusters: it clears their bits and is on the
 * list of tasks until it has ended; when it fails, the bits are set again.  So
 * a cluster whose bit is clear and that no task has is on the target.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "block-copy-int.h"
#include "qemu/cutils.h"
#include "qemu/lockable.h"

#define BLOCK_COPY_CLUSTER_SIZE_DEFAULT (64 * KiB)
#define BLOCK_COPY_MAX_CHUNK (16 * MiB)
#define BLOCK_COPY_SLICE_NS (100 * SCALE_MS)

struct BlockCopyTask {
    BlockCopyState *s;
    BlockCopyCallState *call;
    int64_t offset;
    int64_t bytes;
    bool zeroes;
    CoQueue wait_queue;         /* who wants this range done */
    QLIST_ENTRY(BlockCopyTask) list;
};

/* --- life --- */

static int64_t block_copy_find_cluster_size(BlockDriverState *target,
                                            uint64_t min_cluster_size,
                                            Error **errp)
{
    int64_t size = MAX(min_cluster_size, BLOCK_COPY_CLUSTER_SIZE_DEFAULT);
    BlockDriverInfo bdi;
    int ret;

    if (min_cluster_size && !is_power_of_2(min_cluster_size)) {
        error_setg(errp, "min-cluster-size needs to be a power of 2");
        return -EINVAL;
    }
    if (min_cluster_size > INT_MAX) {
        error_setg(errp, "min-cluster-size too large: %" PRIu64 " > %d",
                   min_cluster_size, INT_MAX);
        return -EINVAL;
    }
    ret = bdrv_get_info(target, &bdi);
    if (ret == -ENOTSUP) {
        return size;
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Couldn't determine the cluster size of "
                         "the target image");
        return ret;
    }
    return MAX(size, bdi.cluster_size);
}

BlockCopyState *block_copy_state_new(BdrvChild *source, BdrvChild *target,
                                     BlockDriverState *copy_bitmap_bs,
                                     const BdrvDirtyBitmap *bitmap,
                                     bool discard_source,
                                     uint64_t min_cluster_size, Error **errp)
{
    BlockCopyState *s;
    BdrvDirtyBitmap *copy_bitmap;
    int64_t cluster_size, max;

    GLOBAL_STATE_CODE();
    cluster_size = block_copy_find_cluster_size(target->bs, min_cluster_size,
                                                errp);
    if (cluster_size < 0) {
        return NULL;
    }
    copy_bitmap = bdrv_create_dirty_bitmap(copy_bitmap_bs, cluster_size, NULL,
                                           errp);
    if (!copy_bitmap) {
        return NULL;
    }
    bdrv_disable_dirty_bitmap(copy_bitmap);
    if (bitmap && !bdrv_merge_dirty_bitmap(copy_bitmap, bitmap, NULL, errp)) {
        error_prepend(errp, "Failed to merge bitmap '%s' to internal "
                      "copy-bitmap: ", bdrv_dirty_bitmap_name(bitmap));
        bdrv_release_dirty_bitmap(copy_bitmap);
        return NULL;
    }
    if (!bitmap) {
        bdrv_set_dirty_bitmap(copy_bitmap, 0,
                              bdrv_dirty_bitmap_size(copy_bitmap));
    }

    max = MIN_NON_ZERO(source->bs->bl.max_transfer,
                       target->bs->bl.max_transfer);
    s = g_new0(BlockCopyState, 1);
    s->source = source;
    s->target = target;
    s->copy_bitmap = copy_bitmap;
    s->cluster_size = cluster_size;
    s->len = bdrv_dirty_bitmap_size(copy_bitmap);
    s->max_transfer = MAX(QEMU_ALIGN_DOWN(MIN_NON_ZERO(max, INT_MAX),
                                          cluster_size), cluster_size);
    s->discard_source = discard_source;
    qemu_mutex_init(&s->lock);
    qemu_co_queue_init(&s->memory_queue);
    qemu_co_queue_init(&s->discard_queue);
    QLIST_INIT(&s->tasks);
    QLIST_INIT(&s->waits);
    s->buffers.size = MAX(MIN(s->max_transfer, BLOCK_COPY_CHUNK),
                          s->cluster_size);
    ratelimit_init(&s->rate_limit);
    return s;
}

void block_copy_state_free(BlockCopyState *s)
{
    if (!s) {
        return;
    }
    GLOBAL_STATE_CODE();
    assert(QLIST_EMPTY(&s->tasks) && QLIST_EMPTY(&s->waits));
    ratelimit_destroy(&s->rate_limit);
    bdrv_release_dirty_bitmap(s->copy_bitmap);
    bdrv_unref(s->base);
    buffer_pool_destroy(&s->buffers);
    qemu_mutex_destroy(&s->lock);
    g_free(s);
}

void block_copy_set_compress(BlockCopyState *s, bool compress)
{
    s->write_flags = compress ? BDRV_REQ_WRITE_COMPRESSED : 0;
    if (compress) {
        /* A compressed cluster is written at once, and alone. */
        s->max_transfer = s->cluster_size;
    }
}

void block_copy_set_use_copy_range(BlockCopyState *s, bool use)
{
    s->use_copy_range = use;
}

void block_copy_set_target_is_partial(BlockCopyState *s, bool partial)
{
    s->target_is_partial = partial;
}

void block_copy_set_progress_meter(BlockCopyState *s, ProgressMeter *pm)
{
    QEMU_LOCK_GUARD(&s->lock);
    s->progress = pm;
}

void block_copy_set_speed(BlockCopyState *s, uint64_t speed)
{
    ratelimit_set_speed(&s->rate_limit, speed, BLOCK_COPY_SLICE_NS);
}

void block_copy_set_skip_unallocated(BlockCopyState *s, bool skip)
{
    if (skip) {
        /* Now: the source may get an overlay while it is copied. */
        s->base = bdrv_backing_chain_next(s->source->bs);
        if (s->base) {
            bdrv_ref(s->base);
        }
    }
    qatomic_set(&s->skip_unallocated, skip);
}

int64_t block_copy_cluster_size(BlockCopyState *s)
{
    return s->cluster_size;
}

BdrvDirtyBitmap *block_copy_dirty_bitmap(BlockCopyState *s)
{
    return s->copy_bitmap;
}

/* --- tasks; under the lock --- */

static void block_copy_update_progress_locked(BlockCopyState *s)
{
    if (s->progress) {
        progress_set_remaining(s->progress,
                               bdrv_get_dirty_count(s->copy_bitmap) +
                               s->task_bytes);
    }
}

/* The bytes of [@offset, @offset + @bytes) that the source has. */
static int64_t block_copy_clip(BlockCopyState *s, int64_t offset,
                               int64_t bytes)
{
    return MIN(bytes, s->len - offset);
}

/* A task for the next dirty run of the call from @offset on; NULL: none. */
static BlockCopyTask *block_copy_task_new_locked(BlockCopyCallState *call,
                                                 int64_t offset, int64_t end)
{
    BlockCopyState *s = call->s;
    int64_t max = MIN_NON_ZERO(s->max_transfer, call->max_chunk);
    BlockCopyTask *task;
    int64_t bytes;

    max = MAX(QEMU_ALIGN_DOWN(max, s->cluster_size), s->cluster_size);
    if (!bdrv_dirty_bitmap_next_dirty_area(s->copy_bitmap, offset, end, max,
                                           &offset, &bytes)) {
        return NULL;
    }
    assert(QEMU_IS_ALIGNED(offset, s->cluster_size));
    task = g_new0(BlockCopyTask, 1);
    task->s = s;
    task->call = call;
    task->offset = offset;
    task->bytes = bytes;
    qemu_co_queue_init(&task->wait_queue);
    bdrv_reset_dirty_bitmap(s->copy_bitmap, offset, bytes);
    s->task_bytes += bytes;
    QLIST_INSERT_HEAD(&s->tasks, task, list);
    return task;
}

/* What is behind @bytes is left for another task. */
static void block_copy_task_shrink_locked(BlockCopyTask *task, int64_t bytes)
{
    BlockCopyState *s = task->s;

    if (bytes >= task->bytes) {
        return;
    }
    assert(bytes > 0 && QEMU_IS_ALIGNED(bytes, s->cluster_size));
    bdrv_set_dirty_bitmap(s->copy_bitmap, task->offset + bytes,
                          task->bytes - bytes);
    s->task_bytes -= task->bytes - bytes;
    task->bytes = bytes;
    /* Others may wait for what it had. */
    qemu_co_queue_restart_all(&task->wait_queue);
}

static void block_copy_task_end_locked(BlockCopyTask *task, int ret)
{
    BlockCopyState *s = task->s;

    if (ret < 0) {
        bdrv_set_dirty_bitmap(s->copy_bitmap, task->offset, task->bytes);
    }
    s->task_bytes -= task->bytes;
    QLIST_REMOVE(task, list);
    block_copy_update_progress_locked(s);
    qemu_co_queue_restart_all(&task->wait_queue);
    g_free(task);
}

/* One task that has a part of the range, or NULL. */
static BlockCopyTask *block_copy_find_task_locked(BlockCopyState *s,
                                                  int64_t offset,
                                                  int64_t bytes)
{
    BlockCopyTask *task;

    QLIST_FOREACH(task, &s->tasks, list) {
        if (offset < task->offset + task->bytes &&
            task->offset < offset + bytes) {
            return task;
        }
    }
    return NULL;
}

/*
 * Wait for one task that has a part of the range, if there is one.  Whether it
 * waited: then look again.
 */
static bool coroutine_fn block_copy_wait_one(BlockCopyState *s, int64_t offset,
                                             int64_t bytes)
{
    BlockCopyTask *task;

    QEMU_LOCK_GUARD(&s->lock);
    task = block_copy_find_task_locked(s, offset, bytes);
    if (task) {
        qemu_co_queue_wait(&task->wait_queue, &s->lock);
    }
    return task;
}

bool block_copy_is_done(BlockCopyState *s, int64_t offset, int64_t bytes)
{
    QEMU_LOCK_GUARD(&s->lock);
    return !qatomic_read(&s->abandoned) &&
           bdrv_dirty_bitmap_next_dirty(s->copy_bitmap, offset, bytes) < 0 &&
           !block_copy_find_task_locked(s, offset, bytes);
}

/* --- memory --- */

/* NULL without memory; block_copy_put_memory() always follows. */
static void *coroutine_fn block_copy_get_memory(BlockCopyState *s,
                                                int64_t bytes)
{
    QEMU_LOCK_GUARD(&s->lock);
    /* One request is let in whatever it wants. */
    while (s->in_flight_bytes &&
           s->in_flight_bytes + bytes > BLOCK_COPY_MAX_MEM) {
        qemu_co_queue_wait(&s->memory_queue, &s->lock);
    }
    s->in_flight_bytes += bytes;
    return buffer_pool_get(&s->buffers, s->source->bs, bytes);
}

static void coroutine_fn block_copy_put_memory(BlockCopyState *s, void *buf,
                                               int64_t bytes)
{
    QEMU_LOCK_GUARD(&s->lock);
    buffer_pool_put(&s->buffers, buf, bytes);
    s->in_flight_bytes -= bytes;
    qemu_co_queue_restart_all(&s->memory_queue);
}

/* --- the copying of one run --- */

/* A new image is zero: asking costs less than writing. */
static int coroutine_fn block_copy_zeroes(BlockCopyTask *task, int64_t bytes,
                                          BdrvRequestFlags flags)
{
    BlockCopyState *s = task->s;

    if (!s->target_is_partial &&
        bdrv_co_is_known_zero(s->target->bs, task->offset, bytes)) {
        return 0;
    }
    return bdrv_co_pwrite_zeroes(s->target, task->offset, bytes, flags |
                                 (s->write_flags & ~BDRV_REQ_WRITE_COMPRESSED));
}

/* Zeroes that the source has stored need not be stored again. */
static int coroutine_fn block_copy_write(BlockCopyTask *task, void *buf,
                                         int64_t bytes)
{
    BlockCopyState *s = task->s;
    int ret = buffer_is_zero(buf, bytes) ?
              block_copy_zeroes(task, bytes, BDRV_REQ_NO_FALLBACK) : -ENOTSUP;

    return ret != -ENOTSUP ? ret :
           bdrv_co_pwrite(s->target, task->offset, bytes, buf, s->write_flags);
}

static int coroutine_fn block_copy_data(BlockCopyTask *task, int64_t bytes,
                                        bool *error_is_read)
{
    BlockCopyState *s = task->s;
    void *buf = block_copy_get_memory(s, bytes);
    int ret = !buf ? -ENOMEM :
              bdrv_co_pread_within(s->source, task->offset, bytes, buf);

    *error_is_read = buf && ret < 0;
    if (qatomic_read(&s->abandoned)) {
        ret = -ECANCELED;
    } else if (ret == 0) {
        ret = block_copy_write(task, buf, bytes);
    }
    block_copy_put_memory(s, buf, bytes);
    return ret;
}

/* By the host; -ENOTSUP, and smaller pieces from then on, if it refuses. */
static int coroutine_fn block_copy_offload(BlockCopyTask *task, int64_t bytes)
{
    BlockCopyState *s = task->s;
    int ret;

    if (!qatomic_read(&s->use_copy_range) || s->write_flags) {
        return -ENOTSUP;
    }
    ret = bdrv_co_copy_range(s->source, task->offset, s->target, task->offset,
                             bytes, 0, 0);
    if (ret == -ENOTSUP) {
        qatomic_set(&s->use_copy_range, false);
        if (task->call->any_chunk) {
            task->call->max_chunk = BLOCK_COPY_CHUNK;
        }
    }
    return ret;
}

static int coroutine_fn block_copy_do(BlockCopyTask *task, bool *error_is_read)
{
    BlockCopyState *s = task->s;
    int64_t bytes = block_copy_clip(s, task->offset, task->bytes);

    *error_is_read = false;
    if (qatomic_read(&s->abandoned)) {
        return -ECANCELED;
    }
    if (task->zeroes) {
        return block_copy_zeroes(task, bytes, 0);
    }
    /* The latter also after another error: it tells whose it is. */
    return block_copy_offload(task, bytes) == 0 ? 0 :
           block_copy_data(task, bytes, error_is_read);
}

/* Advisory: what stays costs space only. */
static void coroutine_fn block_copy_discard(BlockCopyState *s, int64_t offset,
                                            int64_t bytes)
{
    WITH_QEMU_LOCK_GUARD(&s->lock) {
        if (s->keeps_source) {
            return;
        }
        s->discards++;
    }
    bdrv_co_pdiscard(s->source, offset, bytes);
    WITH_QEMU_LOCK_GUARD(&s->lock) {
        if (!--s->discards) {
            qemu_co_queue_restart_all(&s->discard_queue);
        }
    }
}

void block_copy_keep_source(BlockCopyState *s)
{
    QEMU_LOCK_GUARD(&s->lock);
    s->keeps_source = true;
}

void coroutine_fn block_copy_wait_discards(BlockCopyState *s)
{
    QEMU_LOCK_GUARD(&s->lock);
    while (s->discards) {
        qemu_co_queue_wait(&s->discard_queue, &s->lock);
    }
}

static void coroutine_fn block_copy_task_entry(void *opaque)
{
    BlockCopyTask *task = opaque;
    BlockCopyCallState *call = task->call;
    BlockCopyState *s = task->s;
    int64_t bytes = block_copy_clip(s, task->offset, task->bytes);
    int64_t offset = task->offset;
    bool error_is_read = false;
    CopyMark mark;
    int ret;

    if (call->background) {
        copy_window_begin(&mark);
    }
    ret = block_copy_do(task, &error_is_read);
    if (call->background) {
        copy_window_end(&call->window, &mark);
    }
    if (ret < 0 && call->ret == 0) {
        call->ret = ret;
        call->error_is_read = error_is_read;
    }
    if (ret == 0 && s->discard_source) {
        block_copy_discard(s, offset, bytes);
    }
    WITH_QEMU_LOCK_GUARD(&s->lock) {
        if (ret == 0 && s->progress) {
            progress_work_done(s->progress, bytes);
        }
        block_copy_task_end_locked(task, ret);
    }
    if (call->background) {
        copy_window_give_way(&call->window);
    }
    call->running--;
    if (call->waiting) {
        call->waiting = false;
        aio_co_wake(call->co);
    }
}

/* Until one more task may run. */
static void coroutine_fn block_copy_wait_worker(BlockCopyCallState *call)
{
    while (call->running >= (call->background ?
                             copy_window_size(&call->window,
                                              call->max_workers) :
                             call->max_workers)) {
        call->waiting = true;
        qemu_coroutine_yield();
    }
}

/* Until no task runs. */
static void coroutine_fn block_copy_wait_all(BlockCopyCallState *call)
{
    while (call->running) {
        call->waiting = true;
        qemu_coroutine_yield();
    }
}

/* --- the clusters of a call --- */

int64_t block_copy_max_chunk(BlockCopyState *s, int64_t wanted)
{
    if (wanted) {
        return MIN(wanted, BLOCK_COPY_MAX_CHUNK);
    }
    return qatomic_read(&s->use_copy_range) ? BLOCK_COPY_MAX_CHUNK :
           BLOCK_COPY_CHUNK;
}

/* Whether nothing more is to be done: after an error, or for nobody. */
static bool block_copy_call_ends(BlockCopyCallState *call)
{
    if (call->ret == 0 && qatomic_read(&call->s->abandoned)) {
        call->ret = -ECANCELED;
    }
    return call->ret < 0 || qatomic_read(&call->cancelled);
}

/*
 * BDRV_BLOCK_* of the source at @offset, the same for *@pnum bytes: whole
 * clusters, or up to the end of the source.  A status that cannot be had, and
 * one that changes within a cluster, is data.
 */
static int coroutine_fn block_copy_status(BlockCopyState *s, int64_t offset,
                                          int64_t bytes, bool skip_unallocated,
                                          int64_t *pnum)
{
    BlockDriverState *base = skip_unallocated ? s->base : NULL;
    int64_t num;
    int ret;

    bytes = block_copy_clip(s, offset, bytes);
    ret = bdrv_co_block_status_above(s->source->bs, base, offset, bytes, &num,
                                     NULL, NULL);
    if (ret >= 0 && num < bytes) {
        num = QEMU_ALIGN_DOWN(num, s->cluster_size);
    }
    if (ret < 0 || num == 0) {
        num = MIN(s->cluster_size, bytes);
        ret = BDRV_BLOCK_ALLOCATED | BDRV_BLOCK_DATA;
    }
    *pnum = num;
    return ret;
}

/*
 * Look at what the task is to copy, which may make it shorter; *@end is where
 * it ends.  False: there is nothing to copy, and the task has gone.
 */
static bool coroutine_fn block_copy_task_prepare(BlockCopyTask *task,
                                                 int64_t *end)
{
    BlockCopyState *s = task->s;
    bool skip = qatomic_read(&s->skip_unallocated);
    int64_t pnum;
    int status;

    status = block_copy_status(s, task->offset, task->bytes, skip, &pnum);
    QEMU_LOCK_GUARD(&s->lock);
    block_copy_task_shrink_locked(task, pnum);
    *end = task->offset + task->bytes;
    if (skip && !(status & BDRV_BLOCK_ALLOCATED)) {
        block_copy_task_end_locked(task, 0);
        return false;
    }
    task->zeroes = status & BDRV_BLOCK_ZERO;
    return true;
}

/*
 * Sleep for a while, if the limit of speed wants it and there is something to
 * copy in the @bytes from @offset on.  Whether it slept.
 */
static bool coroutine_fn block_copy_limit(BlockCopyCallState *call,
                                          int64_t offset, int64_t bytes)
{
    int64_t ns = 0;

    if (!call->ignore_ratelimit &&
        bdrv_dirty_bitmap_next_dirty(call->s->copy_bitmap, offset,
                                     bytes) >= 0) {
        ns = ratelimit_calculate_delay(&call->s->rate_limit, 0);
    }
    if (ns == 0) {
        return false;
    }
    /* Not longer than a slice: the limit may be another one then. */
    qemu_co_sleep_ns_wakeable(&call->sleep, QEMU_CLOCK_REALTIME,
                              MIN(ns, BLOCK_COPY_SLICE_NS));
    return true;
}

/*
 * Copy what is dirty in the range of the call.  1 if anything was, 0 if
 * nothing was, -errno.
 */
static int coroutine_fn block_copy_dirty_clusters(BlockCopyCallState *call)
{
    BlockCopyState *s = call->s;
    int64_t offset = call->offset, end = call->offset + call->bytes;
    bool found = false;

    while (!block_copy_call_ends(call)) {
        BlockCopyTask *task;

        if (block_copy_limit(call, offset, end - offset)) {
            continue;
        }
        WITH_QEMU_LOCK_GUARD(&s->lock) {
            task = block_copy_task_new_locked(call, offset, end);
        }
        if (!task) {
            break;
        }
        found = true;
        offset = task->offset;
        if (!block_copy_task_prepare(task, &offset)) {
            continue;
        }
        if (!call->ignore_ratelimit) {
            ratelimit_calculate_delay(&s->rate_limit, task->bytes);
        }
        call->running++;
        if (offset >= end) {
            /* The last one needs no coroutine of its own. */
            block_copy_task_entry(task);
        } else {
            qemu_coroutine_enter(qemu_coroutine_create(block_copy_task_entry,
                                                       task));
        }
        block_copy_wait_worker(call);
    }
    block_copy_wait_all(call);
    return call->ret < 0 ? call->ret : found;
}

void coroutine_fn block_copy_call_run(void *opaque)
{
    BlockCopyCallState *call = opaque;
    int ret;

    do {
        ret = block_copy_dirty_clusters(call);
        /*
         * What others copy is not done before they are, and they may fail:
         * then it is dirty again.
         */
        if (ret == 0 && !block_copy_call_ends(call)) {
            ret = block_copy_wait_one(call->s, call->offset, call->bytes);
        }
    } while (ret > 0 && !block_copy_call_ends(call));

    qatomic_store_release(&call->finished, true);
    if (call->cb) {
        call->cb(call->cb_opaque);
    }
}

bool block_copy_is_abandoned(BlockCopyState *s)
{
    return qatomic_read(&s->abandoned);
}

void coroutine_fn block_copy_wait_abandoned(BlockCopyState *s)
{
    assert(block_copy_is_abandoned(s));
    while (block_copy_wait_one(s, 0, QEMU_ALIGN_UP(s->len, s->cluster_size))) {
        /* Another task may still run; none begins. */
    }
}

/* --- what need not be copied --- */

void block_copy_reset(BlockCopyState *s, int64_t offset, int64_t bytes)
{
    QEMU_LOCK_GUARD(&s->lock);
    bdrv_reset_dirty_bitmap(s->copy_bitmap, offset,
                            block_copy_clip(s, offset, bytes));
    block_copy_update_progress_locked(s);
}

int64_t coroutine_fn block_copy_reset_unallocated(BlockCopyState *s,
                                                  int64_t offset,
                                                  int64_t *count)
{
    int64_t bytes = s->len - offset, pnum = 0;
    int ret;

    ret = bdrv_co_is_allocated_above(s->source->bs, s->base, false, offset,
                                     bytes, &pnum);
    if (ret < 0) {
        return ret;
    }
    if (ret == 0 && pnum < bytes) {
        /* A cluster that is allocated in part is copied whole. */
        pnum = QEMU_ALIGN_DOWN(pnum, s->cluster_size);
    }
    if (ret == 0 && pnum) {
        block_copy_reset(s, offset, pnum);
    }
    *count = pnum ? QEMU_ALIGN_UP(pnum, s->cluster_size) : s->cluster_size;
    return ret;
}
