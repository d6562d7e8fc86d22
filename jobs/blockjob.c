/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block jobs.  See include/block/blockjob.h.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "block/blockjob.h"
#include "qapi/qapi-events-block-jobs.h"

/* Where requests end at once: let others run after this time. */
#define BLOCK_JOB_FAIR_NS (5 * SCALE_MS)

static bool is_block_job(Job *job)
{
    return job_type(job) == JOB_TYPE_BACKUP ||
           job_type(job) == JOB_TYPE_COMMIT ||
           job_type(job) == JOB_TYPE_MIRROR ||
           job_type(job) == JOB_TYPE_STREAM;
}

BlockJob *block_job_next_locked(BlockJob *bjob)
{
    Job *job = bjob ? &bjob->job : NULL;

    do {
        job = job_next_locked(job);
    } while (job && !is_block_job(job));
    return job ? container_of(job, BlockJob, job) : NULL;
}

BlockJob *block_job_get_locked(const char *id)
{
    Job *job = job_get_locked(id);

    return job && is_block_job(job) ? container_of(job, BlockJob, job) : NULL;
}

bool block_job_is_internal(BlockJob *job)
{
    return job_is_internal(&job->job);
}

const BlockJobDriver *block_job_driver(BlockJob *job)
{
    return container_of(job->job.driver, BlockJobDriver, job_driver);
}

/* --- the job as a parent of its nodes --- */

static char *child_job_get_parent_desc(BdrvChild *c)
{
    Job *job = c->opaque;

    return g_strdup_printf("%s job '%s'", job_type_str(job), job->id);
}

static void child_job_drained_begin(BdrvChild *c)
{
    job_pause(c->opaque);
}

static bool child_job_drained_poll(BdrvChild *c)
{
    BlockJob *bjob = c->opaque;
    const BlockJobDriver *drv = block_job_driver(bjob);

    WITH_JOB_LOCK_GUARD() {
        /*
         * One that has ended, or stands at a pause point, starts nothing.  One
         * that has not got there may start anything.
         */
        if (bjob->job.busy && !bjob->job.deferred_to_main_loop) {
            return true;
        }
    }
    return drv->drained_poll ? drv->drained_poll(bjob) : false;
}

static void child_job_drained_end(BdrvChild *c)
{
    job_resume(c->opaque);
}

typedef struct {
    BlockJob *job;
    AioContext *new_ctx;
} BlockJobChangeContext;

static void child_job_set_aio_ctx_commit(void *opaque)
{
    BlockJobChangeContext *data = opaque;
    const BlockJobDriver *drv = block_job_driver(data->job);

    job_set_aio_context(&data->job->job, data->new_ctx);
    if (drv->attached_aio_context) {
        drv->attached_aio_context(data->job, data->new_ctx);
    }
}

static const TransactionActionDrv change_child_job_context = {
    .commit = child_job_set_aio_ctx_commit,
    .clean = g_free,
};

static bool child_job_change_aio_ctx(BdrvChild *c, AioContext *ctx,
                                     GHashTable *visited, Transaction *tran,
                                     Error **errp)
{
    BlockJob *bjob = c->opaque;
    BlockJobChangeContext *data;
    GSList *l;

    if (!g_hash_table_add(visited, bjob)) {
        return true;
    }
    for (l = bjob->nodes; l; l = l->next) {
        BdrvChild *sibling = l->data;

        if (sibling != c && g_hash_table_add(visited, sibling) &&
            !bdrv_change_aio_context(sibling->bs, ctx, visited, tran, errp)) {
            return false;
        }
    }
    data = g_new(BlockJobChangeContext, 1);
    data->job = bjob;
    data->new_ctx = ctx;
    tran_add(tran, &change_child_job_context, data);
    return true;
}

static AioContext *child_job_get_parent_aio_context(BdrvChild *c)
{
    BlockJob *bjob = c->opaque;

    return bjob->job.aio_context;
}

static const BdrvChildClass child_job = {
    .get_parent_desc = child_job_get_parent_desc,
    .drained_begin = child_job_drained_begin,
    .drained_poll = child_job_drained_poll,
    .drained_end = child_job_drained_end,
    .change_aio_ctx = child_job_change_aio_ctx,
    .stay_at_node = true,
    .get_parent_aio_context = child_job_get_parent_aio_context,
};

void block_job_remove_all_bdrv(BlockJob *job)
{
    GLOBAL_STATE_CODE();
    /* One by one: the end of the last drain may come back to the list. */
    while (job->nodes) {
        GSList *l = job->nodes;
        BdrvChild *c = l->data;

        job->nodes = l->next;
        g_slist_free_1(l);
        bdrv_root_unref_child(c);
    }
}

bool block_job_has_bdrv(BlockJob *job, BlockDriverState *bs)
{
    GSList *l;

    for (l = job->nodes; l; l = l->next) {
        BdrvChild *c = l->data;

        if (c->bs == bs) {
            return true;
        }
    }
    return false;
}

bool block_job_blocks(BlockDriverState *bs, Error **errp)
{
    BlockJob *job = NULL;

    GLOBAL_STATE_CODE();
    JOB_LOCK_GUARD();
    while ((job = block_job_next_locked(job))) {
        if (block_job_has_bdrv(job, bs)) {
            error_setg(errp, "Node '%s' is busy: block device is in use by "
                       "block job: %s", bdrv_get_device_or_node_name(bs),
                       job_type_str(&job->job));
            return true;
        }
    }
    return false;
}

int block_job_add_bdrv(BlockJob *job, const char *name, BlockDriverState *bs,
                       uint64_t perm, uint64_t shared_perm, Error **errp)
{
    BdrvChild *c;

    GLOBAL_STATE_CODE();
    bdrv_ref(bs);
    c = bdrv_root_attach_child(bs, name, &child_job, 0, perm, shared_perm,
                               job, errp);
    if (!c) {
        return -EPERM;
    }
    job->nodes = g_slist_prepend(job->nodes, c);
    return 0;
}

int block_job_add_chain(BlockJob *job, BlockDriverState *top,
                        BlockDriverState *base, uint64_t shared_perm,
                        Error **errp)
{
    int ret = 0;

    GLOBAL_STATE_CODE();
    while (ret == 0 && top && top != base) {
        ret = block_job_add_bdrv(job, "intermediate node", top, 0, shared_perm,
                                 errp);
        top = bdrv_filter_or_cow_bs(top);
    }
    return ret;
}

/* --- speed --- */

bool block_job_set_speed_locked(BlockJob *job, int64_t speed, Error **errp)
{
    const BlockJobDriver *drv = block_job_driver(job);
    int64_t old_speed = job->speed;

    GLOBAL_STATE_CODE();
    if (!job_apply_verb_locked(&job->job, JOB_VERB_SET_SPEED, errp)) {
        return false;
    }
    if (speed < 0) {
        error_setg(errp, "Parameter 'speed' expects a non-negative value");
        return false;
    }
    ratelimit_set_speed(&job->limit, speed, BLOCK_JOB_SLICE_TIME);
    job->speed = speed;
    if (drv->set_speed) {
        job_unlock();
        drv->set_speed(job, speed);
        job_lock();
    }
    if (speed && speed <= old_speed) {
        return true;
    }
    /* One that sleeps for the old limit looks again. */
    job_enter_cond_locked(&job->job, job_timer_pending_locked);
    return true;
}

void block_job_ratelimit_processed_bytes(BlockJob *job, uint64_t n)
{
    ratelimit_calculate_delay(&job->limit, n);
}

void coroutine_fn block_job_ratelimit_sleep(BlockJob *job)
{
    int64_t ns, now;

    do {
        ns = ratelimit_calculate_delay(&job->limit, 0);
        now = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
        if (ns == 0 && now - job->last_sleep_ns < BLOCK_JOB_FAIR_NS) {
            job_pause_point(&job->job);
            return;
        }
        job->last_sleep_ns = now;
        job_sleep_ns(&job->job, ns);
    } while (ns > 0 && !job_is_cancelled(&job->job));
}

/* --- errors --- */

static void block_job_iostatus_set_err_locked(BlockJob *job, int error)
{
    if (job->iostatus == BLOCK_DEVICE_IO_STATUS_OK) {
        job->iostatus = error == ENOSPC ? BLOCK_DEVICE_IO_STATUS_NOSPACE :
                        BLOCK_DEVICE_IO_STATUS_FAILED;
    }
}

void block_job_iostatus_reset_locked(BlockJob *job)
{
    job->iostatus = BLOCK_DEVICE_IO_STATUS_OK;
}

void block_job_user_resume(Job *job)
{
    BlockJob *bjob = container_of(job, BlockJob, job);

    JOB_LOCK_GUARD();
    block_job_iostatus_reset_locked(bjob);
}

static BlockErrorAction block_job_policy(BlockdevOnError on_err, int error)
{
    switch (on_err) {
    case BLOCKDEV_ON_ERROR_IGNORE:
        return BLOCK_ERROR_ACTION_IGNORE;
    case BLOCKDEV_ON_ERROR_STOP:
        return BLOCK_ERROR_ACTION_STOP;
    case BLOCKDEV_ON_ERROR_ENOSPC:
    case BLOCKDEV_ON_ERROR_AUTO:
        return error == ENOSPC ? BLOCK_ERROR_ACTION_STOP :
               BLOCK_ERROR_ACTION_REPORT;
    default:
        return BLOCK_ERROR_ACTION_REPORT;
    }
}

BlockErrorAction block_job_error_action(BlockJob *job, BlockdevOnError on_err,
                                        bool is_read, int error)
{
    BlockErrorAction action = block_job_policy(on_err, error);

    JOB_LOCK_GUARD();
    if (!block_job_is_internal(job)) {
        qapi_event_send_block_job_error(job->job.id,
                                        is_read ? IO_OPERATION_TYPE_READ :
                                        IO_OPERATION_TYPE_WRITE, action);
    }
    if (action == BLOCK_ERROR_ACTION_STOP) {
        if (!job->job.user_paused) {
            /*
             * As if the user had: it is the user who resumes it.  In this
             * order: the second may let other threads have the lock, and two
             * errors pause it once.
             */
            job->job.user_paused = true;
            job_pause_locked(&job->job);
        }
        block_job_iostatus_set_err_locked(job, error);
    }
    return action;
}

/* --- events; with the lock --- */

static void block_job_event_cancelled(Notifier *n, void *opaque)
{
    BlockJob *job = opaque;
    uint64_t current, total;

    if (block_job_is_internal(job)) {
        return;
    }
    progress_get_snapshot(&job->job.progress, &current, &total);
    qapi_event_send_block_job_cancelled(job_type(&job->job), job->job.id,
                                        total, current, job->speed);
}

static void block_job_event_completed(Notifier *n, void *opaque)
{
    BlockJob *job = opaque;
    uint64_t current, total;

    if (block_job_is_internal(job)) {
        return;
    }
    progress_get_snapshot(&job->job.progress, &current, &total);
    qapi_event_send_block_job_completed(job_type(&job->job), job->job.id,
                                        total, current, job->speed,
                                        job->job.ret < 0 ?
                                        error_get_pretty(job->job.err) :
                                        NULL);
}

static void block_job_event_pending(Notifier *n, void *opaque)
{
    BlockJob *job = opaque;

    qapi_event_send_block_job_pending(job_type(&job->job), job->job.id);
}

static void block_job_event_ready(Notifier *n, void *opaque)
{
    BlockJob *job = opaque;
    uint64_t current, total;

    progress_get_snapshot(&job->job.progress, &current, &total);
    qapi_event_send_block_job_ready(job_type(&job->job), job->job.id, total,
                                    current, job->speed);
}

static void block_job_add_notifiers(BlockJob *job)
{
    job->finalize_cancelled_notifier.notify = block_job_event_cancelled;
    job->finalize_completed_notifier.notify = block_job_event_completed;
    job->pending_notifier.notify = block_job_event_pending;
    job->ready_notifier.notify = block_job_event_ready;
    notifier_list_add(&job->job.on_finalize_cancelled,
                      &job->finalize_cancelled_notifier);
    notifier_list_add(&job->job.on_finalize_completed,
                      &job->finalize_completed_notifier);
    notifier_list_add(&job->job.on_pending, &job->pending_notifier);
    notifier_list_add(&job->job.on_ready, &job->ready_notifier);
}

/* --- life --- */

void *block_job_create(const char *job_id, const BlockJobDriver *driver,
                       JobTxn *txn, BlockDriverState *bs, uint64_t perm,
                       uint64_t shared_perm, int64_t speed, int flags,
                       BlockCompletionFunc *cb, void *opaque, Error **errp)
{
    BlockJob *job;
    bool ok;

    GLOBAL_STATE_CODE();
    if (!job_id && !(flags & JOB_INTERNAL)) {
        /* The name of the device that the node is in: it is in none. */
        job_id = "";
    }
    job = job_create(job_id, &driver->job_driver, txn,
                     bdrv_get_aio_context(bs), flags, cb, opaque, errp);
    if (!job) {
        return NULL;
    }
    ratelimit_init(&job->limit);
    block_job_add_notifiers(job);
    if (block_job_add_bdrv(job, "main node", bs, perm, shared_perm,
                           errp) < 0) {
        goto fail;
    }
    WITH_JOB_LOCK_GUARD() {
        ok = speed == 0 || block_job_set_speed_locked(job, speed, errp);
    }
    if (!ok) {
        goto fail;
    }
    return job;

fail:
    job_early_fail(&job->job);
    return NULL;
}

void block_job_free(Job *job)
{
    BlockJob *bjob = container_of(job, BlockJob, job);

    block_job_remove_all_bdrv(bjob);
    ratelimit_destroy(&bjob->limit);
}
