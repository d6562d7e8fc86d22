/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The QMP commands for jobs of all kinds: job-* and query-jobs.
 */
#include "qemu/osdep.h"
#include "qapi/qapi-commands-job.h"
#include "qemu/job.h"

static Job *find_job_locked(const char *id, Error **errp)
{
    Job *job = job_get_locked(id);

    if (!job) {
        error_setg(errp, "Job not found");
    }
    return job;
}

void qmp_job_cancel(const char *id, Error **errp)
{
    Job *job;

    JOB_LOCK_GUARD();
    job = find_job_locked(id, errp);
    if (job) {
        job_user_cancel_locked(job, true, errp);
    }
}

void qmp_job_pause(const char *id, Error **errp)
{
    Job *job;

    JOB_LOCK_GUARD();
    job = find_job_locked(id, errp);
    if (job) {
        job_user_pause_locked(job, errp);
    }
}

void qmp_job_resume(const char *id, Error **errp)
{
    Job *job;

    JOB_LOCK_GUARD();
    job = find_job_locked(id, errp);
    if (job) {
        job_user_resume_locked(job, errp);
    }
}

void qmp_job_complete(const char *id, Error **errp)
{
    Job *job;

    JOB_LOCK_GUARD();
    job = find_job_locked(id, errp);
    if (job) {
        job_complete_locked(job, errp);
    }
}

void qmp_job_finalize(const char *id, Error **errp)
{
    Job *job;

    JOB_LOCK_GUARD();
    job = find_job_locked(id, errp);
    if (job) {
        /* It may go away with its transaction. */
        job_ref_locked(job);
        job_finalize_locked(job, errp);
        job_unref_locked(job);
    }
}

void qmp_job_dismiss(const char *id, Error **errp)
{
    Job *job;

    JOB_LOCK_GUARD();
    job = find_job_locked(id, errp);
    if (job) {
        job_dismiss_locked(&job, errp);
    }
}

static JobInfo *job_query_single_locked(Job *job)
{
    JobInfo *info = g_new0(JobInfo, 1);
    uint64_t current, total;

    progress_get_snapshot(&job->progress, &current, &total);
    info->id = g_strdup(job->id);
    info->type = job_type(job);
    info->status = job->status;
    info->current_progress = current;
    info->total_progress = total;
    info->error = job->err ? g_strdup(error_get_pretty(job->err)) : NULL;
    return info;
}

JobInfoList *qmp_query_jobs(Error **errp)
{
    JobInfoList *list = NULL, **tail = &list;
    Job *job;

    JOB_LOCK_GUARD();
    for (job = job_next_locked(NULL); job; job = job_next_locked(job)) {
        if (!job_is_internal(job)) {
            QAPI_LIST_APPEND(tail, job_query_single_locked(job));
        }
    }
    return list;
}
