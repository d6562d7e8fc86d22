/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Jobs: the commands of people, and how jobs end, alone or in transactions.
 *
 * All jobs of a transaction wait for each other (WAITING) when they have ended
 * well; then all are PENDING, are prepared, and commit.  When one fails, all
 * abort.  Main thread.
 */
#include "qemu/osdep.h"
#include "qemu/aio-wait.h"
#include "job-int.h"

/* --- transactions --- */

JobTxn *job_txn_new(void)
{
    JobTxn *txn = g_new0(JobTxn, 1);

    QLIST_INIT(&txn->jobs);
    txn->refcnt = 1;
    return txn;
}

static void job_txn_unref_locked(JobTxn *txn)
{
    if (txn && --txn->refcnt == 0) {
        g_free(txn);
    }
}

void job_txn_unref(JobTxn *txn)
{
    JOB_LOCK_GUARD();
    job_txn_unref_locked(txn);
}

void job_txn_add_job_locked(JobTxn *txn, Job *job)
{
    assert(!job->txn);
    if (txn) {
        txn->refcnt++;
    } else {
        txn = job_txn_new();
    }
    job->txn = txn;
    QLIST_INSERT_HEAD(&txn->jobs, job, txn_list);
}

void job_txn_del_job_locked(Job *job)
{
    if (job->txn) {
        QLIST_REMOVE(job, txn_list);
        job_txn_unref_locked(job->txn);
        job->txn = NULL;
    }
}

/*
 * Call @fn for each job of the transaction of @job until one returns an error.
 * @fn may take jobs away: its own, or, while it waits, others.
 */
static int job_txn_apply_locked(Job *job, int fn(Job *))
{
    g_autoptr(GPtrArray) jobs = g_ptr_array_new();
    JobTxn *txn = job->txn;
    Job *other;
    int rc = 0;
    guint i;

    txn->refcnt++;
    QLIST_FOREACH(other, &txn->jobs, txn_list) {
        job_ref_locked(other);
        g_ptr_array_add(jobs, other);
    }
    for (i = 0; i < jobs->len; i++) {
        other = jobs->pdata[i];
        if (rc == 0 && other->txn == txn) {
            rc = fn(other);
        }
    }
    for (i = 0; i < jobs->len; i++) {
        job_unref_locked(jobs->pdata[i]);
    }
    job_txn_unref_locked(txn);
    return rc;
}

/* --- the end --- */

static void job_update_rc_locked(Job *job)
{
    if (!job->ret && job_is_cancelled_locked(job)) {
        job->ret = -ECANCELED;
    }
    if (job->ret) {
        if (!job->err) {
            error_setg(&job->err, "%s", strerror(-job->ret));
        }
        job_state_transition_locked(job, JOB_STATUS_ABORTING);
    }
}

static void job_conclude_locked(Job *job)
{
    job_state_transition_locked(job, JOB_STATUS_CONCLUDED);
    if (job->auto_dismiss || !job_started_locked(job)) {
        job_do_dismiss_locked(job);
    }
}

static void job_call(Job *job, void (*fn)(Job *job))
{
    if (fn) {
        job_unlock();
        fn(job);
        job_lock();
    }
}

static int job_finalize_single_locked(Job *job)
{
    job_ref_locked(job);
    job_update_rc_locked(job);
    job_call(job, job->ret ? job->driver->abort : job->driver->commit);
    job_call(job, job->driver->clean);
    if (job->cb) {
        int ret = job->ret;

        job_unlock();
        job->cb(job->opaque, ret);
        job_lock();
    }
    if (job_started_locked(job)) {
        notifier_list_notify(job_is_cancelled_locked(job) ?
                             &job->on_finalize_cancelled :
                             &job->on_finalize_completed, job);
    }
    job_txn_del_job_locked(job);
    job_conclude_locked(job);
    job_unref_locked(job);
    return 0;
}

void job_cancel_async_locked(Job *job, bool force)
{
    if (job->driver->cancel) {
        job_unlock();
        force = job->driver->cancel(job, force);
        job_lock();
    } else {
        /* One that knows nothing of a soft end ends at once. */
        force = true;
    }
    if (job->user_paused) {
        /* What it waits for is not going to come. */
        if (job->driver->user_resume) {
            job_unlock();
            job->driver->user_resume(job);
            job_lock();
        }
        job->user_paused = false;
        assert(job->pause_count > 0);
        job->pause_count--;
    }
    /* A soft end of one that has ended already changes nothing. */
    if (force || !job->deferred_to_main_loop) {
        job->cancelled = true;
        job->force_cancel |= force;
    }
}

void job_completed_txn_abort_locked(Job *job)
{
    JobTxn *txn = job->txn;
    Job *other;

    if (txn->aborting) {
        /* Another job of it is here already, and sees to this one. */
        return;
    }
    txn->aborting = true;
    txn->refcnt++;
    QLIST_FOREACH(other, &txn->jobs, txn_list) {
        if (other != job) {
            /* A job that has no more to do is cancelled, too. */
            job_ref_locked(other);
            job_cancel_async_locked(other, true);
            job_unref_locked(other);
        }
    }
    while ((other = QLIST_FIRST(&txn->jobs))) {
        job_ref_locked(other);
        if (job_started_locked(other) && !job_is_completed_locked(other) &&
            other != job) {
            job_finish_sync_locked(other, NULL, NULL);
        }
        job_finalize_single_locked(other);
        job_unref_locked(other);
    }
    job_txn_unref_locked(txn);
}

static int job_prepare_locked(Job *job)
{
    if (job->ret == 0 && job->driver->prepare) {
        int ret;

        job_unlock();
        ret = job->driver->prepare(job);
        job_lock();
        job->ret = ret;
        job_update_rc_locked(job);
    }
    return job->ret;
}

void job_do_finalize_locked(Job *job)
{
    if (job_txn_apply_locked(job, job_prepare_locked) < 0) {
        job_completed_txn_abort_locked(job);
    } else {
        job_txn_apply_locked(job, job_finalize_single_locked);
    }
}

static int job_transition_to_pending_locked(Job *job)
{
    job_state_transition_locked(job, JOB_STATUS_PENDING);
    if (!job->auto_finalize && !job_is_internal(job)) {
        notifier_list_notify(&job->on_pending, job);
    }
    return 0;
}

static int job_needs_finalize_locked(Job *job)
{
    return !job->auto_finalize;
}

static void job_completed_txn_success_locked(Job *job)
{
    Job *other;

    job_state_transition_locked(job, JOB_STATUS_WAITING);
    QLIST_FOREACH(other, &job->txn->jobs, txn_list) {
        if (!job_is_completed_locked(other)) {
            return;
        }
        assert(other->ret == 0);
    }
    job_txn_apply_locked(job, job_transition_to_pending_locked);
    if (job_txn_apply_locked(job, job_needs_finalize_locked) == 0) {
        job_do_finalize_locked(job);
    }
}

void job_completed_locked(Job *job)
{
    assert(job->txn && !job_is_completed_locked(job));
    job_update_rc_locked(job);
    if (job->ret) {
        job_completed_txn_abort_locked(job);
    } else {
        job_completed_txn_success_locked(job);
    }
}

/* --- pause and resume --- */

void job_pause_locked(Job *job)
{
    job->pause_count++;
    if (!job->paused) {
        job_enter_cond_locked(job, NULL);
    }
}

void job_pause(Job *job)
{
    JOB_LOCK_GUARD();
    job_pause_locked(job);
}

bool job_timer_pending_locked(Job *job)
{
    return timer_pending(&job->sleep_timer);
}

static bool job_timer_not_pending_locked(Job *job)
{
    return !job_timer_pending_locked(job);
}

void job_resume_locked(Job *job)
{
    assert(job->pause_count > 0);
    if (--job->pause_count == 0) {
        /* One that sleeps for a while goes on sleeping. */
        job_enter_cond_locked(job, job_timer_not_pending_locked);
    }
}

void job_resume(Job *job)
{
    JOB_LOCK_GUARD();
    job_resume_locked(job);
}

void job_user_pause_locked(Job *job, Error **errp)
{
    if (!job_apply_verb_locked(job, JOB_VERB_PAUSE, errp)) {
        return;
    }
    if (job->user_paused) {
        error_setg(errp, "Job is already paused");
        return;
    }
    job->user_paused = true;
    job_pause_locked(job);
}

bool job_user_paused_locked(Job *job)
{
    return job->user_paused;
}

void job_user_resume_locked(Job *job, Error **errp)
{
    if (!job->user_paused || job->pause_count <= 0) {
        error_setg(errp, "Can't resume a job that was not paused");
        return;
    }
    if (!job_apply_verb_locked(job, JOB_VERB_RESUME, errp)) {
        return;
    }
    if (job->driver->user_resume) {
        job_unlock();
        job->driver->user_resume(job);
        job_lock();
    }
    job->user_paused = false;
    job_resume_locked(job);
}

/* --- commands --- */

void job_complete_locked(Job *job, Error **errp)
{
    assert(job->id);
    if (!job_apply_verb_locked(job, JOB_VERB_COMPLETE, errp)) {
        return;
    }
    if (job_cancel_requested_locked(job) || !job->driver->complete) {
        error_setg(errp, "The active block job '%s' cannot be completed",
                   job->id);
        return;
    }
    job_unlock();
    job->driver->complete(job, errp);
    job_lock();
}

void job_finalize_locked(Job *job, Error **errp)
{
    assert(job && job->id);
    if (job_apply_verb_locked(job, JOB_VERB_FINALIZE, errp)) {
        job_do_finalize_locked(job);
    }
}

void job_dismiss_locked(Job **jobptr, Error **errp)
{
    Job *job = *jobptr;

    assert(job->id);
    if (job_apply_verb_locked(job, JOB_VERB_DISMISS, errp)) {
        job_do_dismiss_locked(job);
        *jobptr = NULL;
    }
}

void job_cancel_locked(Job *job, bool force)
{
    if (job->status == JOB_STATUS_CONCLUDED) {
        job_do_dismiss_locked(job);
        return;
    }
    job_cancel_async_locked(job, force);
    if (!job_started_locked(job)) {
        job_completed_locked(job);
    } else if (job->deferred_to_main_loop) {
        /*
         * It has ended.  When it still waits for others, or for job-finalize,
         * it fails now; when its end is under way, job_exit() looks.
         */
        if (job_is_cancelled_locked(job) && job_is_completed_locked(job)) {
            job_completed_txn_abort_locked(job);
        }
    } else {
        job_enter_cond_locked(job, NULL);
    }
}

void job_user_cancel_locked(Job *job, bool force, Error **errp)
{
    if (job_apply_verb_locked(job, JOB_VERB_CANCEL, errp)) {
        job_cancel_locked(job, force);
    }
}

static bool job_poll_completed(Job *job)
{
    JOB_LOCK_GUARD();
    job_enter_cond_locked(job, NULL);
    return job_is_completed_locked(job);
}

int job_finish_sync_locked(Job *job, void (*finish)(Job *, Error **errp),
                           Error **errp)
{
    Error *local_err = NULL;
    int ret;

    GLOBAL_STATE_CODE();
    job_ref_locked(job);
    if (finish) {
        finish(job, &local_err);
    }
    if (local_err) {
        error_propagate(errp, local_err);
        job_unref_locked(job);
        return -EBUSY;
    }
    job_unlock();
    AIO_WAIT_WHILE(NULL, !job_poll_completed(job));
    job_lock();
    ret = job_is_cancelled_locked(job) && job->ret == 0 ?
          -ECANCELED : job->ret;
    job_unref_locked(job);
    return ret;
}

static void job_cancel_err_locked(Job *job, Error **errp)
{
    job_cancel_locked(job, false);
}

static void job_force_cancel_err_locked(Job *job, Error **errp)
{
    job_cancel_locked(job, true);
}

int job_cancel_sync_locked(Job *job, bool force)
{
    return job_finish_sync_locked(job, force ? job_force_cancel_err_locked :
                                  job_cancel_err_locked, NULL);
}

int job_cancel_sync(Job *job, bool force)
{
    JOB_LOCK_GUARD();
    return job_cancel_sync_locked(job, force);
}

int job_complete_sync_locked(Job *job, Error **errp)
{
    return job_finish_sync_locked(job, job_complete_locked, errp);
}

void job_cancel_sync_all(void)
{
    Job *job;

    JOB_LOCK_GUARD();
    while ((job = job_next_locked(NULL))) {
        job_cancel_sync_locked(job, true);
    }
}
