/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The QMP commands for block jobs: block-job-* and query-block-jobs.
 */
#include "qemu/osdep.h"
#include "block/blockjob.h"
#include "block/mirror.h"
#include "qapi/qapi-commands-block-jobs.h"

static BlockJob *find_block_job_locked(const char *id, Error **errp)
{
    BlockJob *job = block_job_get_locked(id);

    if (!job) {
        error_set(errp, ERROR_CLASS_DEVICE_NOT_ACTIVE,
                  "Block job '%s' not found", id);
    }
    return job;
}

void qmp_block_job_set_speed(const char *device, int64_t speed, Error **errp)
{
    BlockJob *job;

    JOB_LOCK_GUARD();
    job = find_block_job_locked(device, errp);
    if (job) {
        block_job_set_speed_locked(job, speed, errp);
    }
}

void qmp_block_job_cancel(const char *device, bool has_force, bool force,
                          Error **errp)
{
    BlockJob *job;

    JOB_LOCK_GUARD();
    job = find_block_job_locked(device, errp);
    if (!job) {
        return;
    }
    if (job_user_paused_locked(&job->job) && !(has_force && force)) {
        error_setg(errp, "The block job for device '%s' is currently paused",
                   device);
        return;
    }
    job_user_cancel_locked(&job->job, has_force && force, errp);
}

void qmp_block_job_pause(const char *device, Error **errp)
{
    BlockJob *job;

    JOB_LOCK_GUARD();
    job = find_block_job_locked(device, errp);
    if (job) {
        job_user_pause_locked(&job->job, errp);
    }
}

void qmp_block_job_resume(const char *device, Error **errp)
{
    BlockJob *job;

    JOB_LOCK_GUARD();
    job = find_block_job_locked(device, errp);
    if (job) {
        job_user_resume_locked(&job->job, errp);
    }
}

void qmp_block_job_complete(const char *device, Error **errp)
{
    BlockJob *job;

    JOB_LOCK_GUARD();
    job = find_block_job_locked(device, errp);
    if (job) {
        job_complete_locked(&job->job, errp);
    }
}

void qmp_block_job_finalize(const char *id, Error **errp)
{
    BlockJob *job;

    JOB_LOCK_GUARD();
    job = find_block_job_locked(id, errp);
    if (job) {
        /* It may go away with its transaction. */
        job_ref_locked(&job->job);
        job_finalize_locked(&job->job, errp);
        job_unref_locked(&job->job);
    }
}

void qmp_block_job_dismiss(const char *id, Error **errp)
{
    BlockJob *bjob;
    Job *job;

    JOB_LOCK_GUARD();
    bjob = find_block_job_locked(id, errp);
    if (bjob) {
        job = &bjob->job;
        job_dismiss_locked(&job, errp);
    }
}

void qmp_block_job_change(BlockJobChangeOptions *arg, Error **errp)
{
    BlockJob *bjob;
    Job *job;

    JOB_LOCK_GUARD();
    bjob = find_block_job_locked(arg->id, errp);
    if (!bjob) {
        return;
    }
    job = &bjob->job;
    if (job_type(job) != arg->type) {
        error_setg(errp, "Job '%s' is '%s' job, not '%s'", arg->id,
                   job_type_str(job), JobType_str(arg->type));
        return;
    }
    if (!job_apply_verb_locked(job, JOB_VERB_CHANGE, errp)) {
        return;
    }
    if (job_type(job) != JOB_TYPE_MIRROR) {
        error_setg(errp, "Job type does not support change");
        return;
    }
    mirror_change_locked(job, arg->u.mirror.copy_mode, errp);
}

static BlockJobInfo *block_job_query_locked(BlockJob *bjob)
{
    BlockJobInfo *info = g_new0(BlockJobInfo, 1);
    Job *job = &bjob->job;
    uint64_t current, total;

    progress_get_snapshot(&job->progress, &current, &total);
    info->type = job_type(job);
    info->device = g_strdup(job->id);
    info->busy = job->busy;
    info->paused = job->pause_count > 0;
    info->offset = current;
    info->len = total;
    info->speed = bjob->speed;
    info->io_status = bjob->iostatus;
    info->ready = job_is_ready_locked(job);
    info->status = job->status;
    info->auto_finalize = job->auto_finalize;
    info->auto_dismiss = job->auto_dismiss;
    if (job->ret) {
        info->error = g_strdup(job->err ? error_get_pretty(job->err) :
                               strerror(-job->ret));
    }
    if (job_type(job) == JOB_TYPE_MIRROR) {
        info->u.mirror.actively_synced = mirror_is_actively_synced(job);
    }
    return info;
}

BlockJobInfoList *qmp_query_block_jobs(Error **errp)
{
    BlockJobInfoList *list = NULL, **tail = &list;
    BlockJob *job = NULL;

    JOB_LOCK_GUARD();
    while ((job = block_job_next_locked(job))) {
        if (!block_job_is_internal(job)) {
            QAPI_LIST_APPEND(tail, block_job_query_locked(job));
        }
    }
    return list;
}
