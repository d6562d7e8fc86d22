/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Jobs: life, states, and the coroutine that does the work.
 *
 * The coroutine is entered by one at a time: job->busy is set, under the lock,
 * by who enters it, and cleared by itself before it yields in a pause point.
 */
#include "qemu/osdep.h"
#include "qapi/qapi-events-job.h"
#include "qemu/aio-wait.h"
#include "qemu/id.h"
#include "job-int.h"
#include "trace/trace-root.h"

static QLIST_HEAD(, Job) all_jobs = QLIST_HEAD_INITIALIZER(all_jobs);
static QemuMutex job_mutex;

#define S(name) (1u << JOB_STATUS_##name)

/* From each state: the states that can follow. */
static const unsigned job_next_states[JOB_STATUS__MAX] = {
    [JOB_STATUS_UNDEFINED] = S(CREATED),
    [JOB_STATUS_CREATED] = S(RUNNING) | S(ABORTING) | S(NULL),
    [JOB_STATUS_RUNNING] = S(PAUSED) | S(READY) | S(WAITING) | S(ABORTING),
    [JOB_STATUS_PAUSED] = S(RUNNING),
    [JOB_STATUS_READY] = S(STANDBY) | S(WAITING) | S(ABORTING),
    [JOB_STATUS_STANDBY] = S(READY),
    [JOB_STATUS_WAITING] = S(PENDING) | S(ABORTING),
    [JOB_STATUS_PENDING] = S(ABORTING) | S(CONCLUDED),
    [JOB_STATUS_ABORTING] = S(ABORTING) | S(CONCLUDED),
    [JOB_STATUS_CONCLUDED] = S(NULL),
};

#define JOB_ACTIVE (S(CREATED) | S(RUNNING) | S(PAUSED) | S(READY) | S(STANDBY))

/* For each command: the states that it is for. */
static const unsigned job_verb_states[JOB_VERB__MAX] = {
    [JOB_VERB_CANCEL] = JOB_ACTIVE | S(WAITING) | S(PENDING),
    [JOB_VERB_PAUSE] = JOB_ACTIVE,
    [JOB_VERB_RESUME] = JOB_ACTIVE,
    [JOB_VERB_SET_SPEED] = JOB_ACTIVE,
    [JOB_VERB_COMPLETE] = S(READY) | S(STANDBY),
    [JOB_VERB_DISMISS] = S(CONCLUDED),
    [JOB_VERB_FINALIZE] = S(PENDING),
    [JOB_VERB_CHANGE] = JOB_ACTIVE,
};

static void __attribute__((constructor)) job_init(void)
{
    qemu_mutex_init(&job_mutex);
}

void job_lock(void)
{
    qemu_mutex_lock(&job_mutex);
}

void job_unlock(void)
{
    qemu_mutex_unlock(&job_mutex);
}

/* --- states --- */

void job_state_transition_locked(Job *job, JobStatus status)
{
    bool allowed = job_next_states[job->status] >> status & 1;

    trace_job_state_transition(job, job->ret,
                               allowed ? "allowed" : "disallowed",
                               JobStatus_str(job->status),
                               JobStatus_str(status));
    assert(allowed);
    if (job->status == status) {
        return;
    }
    job->status = status;
    if (!job_is_internal(job)) {
        qapi_event_send_job_status_change(job->id, status);
    }
}

bool job_apply_verb_locked(Job *job, JobVerb verb, Error **errp)
{
    if (job_verb_states[verb] >> job->status & 1) {
        return true;
    }
    error_setg(errp, "Job '%s' in state '%s' cannot accept command verb '%s'",
               job->id, JobStatus_str(job->status), JobVerb_str(verb));
    return false;
}

bool job_is_internal(const Job *job)
{
    return job->id == NULL;
}

JobType job_type(const Job *job)
{
    return job->driver->job_type;
}

const char *job_type_str(const Job *job)
{
    return JobType_str(job_type(job));
}

bool job_started_locked(Job *job)
{
    return job->co;
}

bool job_is_completed_locked(Job *job)
{
    return (S(WAITING) | S(PENDING) | S(ABORTING) | S(CONCLUDED) | S(NULL)) >>
           job->status & 1;
}

bool job_is_ready_locked(Job *job)
{
    return (S(READY) | S(STANDBY)) >> job->status & 1;
}

bool job_is_ready(Job *job)
{
    JOB_LOCK_GUARD();
    return job_is_ready_locked(job);
}

bool job_is_cancelled_locked(Job *job)
{
    return job->force_cancel;
}

bool job_is_cancelled(Job *job)
{
    JOB_LOCK_GUARD();
    return job_is_cancelled_locked(job);
}

bool job_cancel_requested_locked(Job *job)
{
    return job->cancelled;
}

bool job_cancel_requested(Job *job)
{
    JOB_LOCK_GUARD();
    return job_cancel_requested_locked(job);
}

static bool job_should_pause_locked(Job *job)
{
    return job->pause_count > 0;
}

/* --- life --- */

Job *job_next_locked(Job *job)
{
    return job ? QLIST_NEXT(job, job_list) : QLIST_FIRST(&all_jobs);
}

Job *job_get_locked(const char *id)
{
    Job *job;

    QLIST_FOREACH(job, &all_jobs, job_list) {
        if (job->id && !strcmp(job->id, id)) {
            return job;
        }
    }
    return NULL;
}

static void job_sleep_timer_cb(void *opaque)
{
    job_enter(opaque);
}

static bool job_check_id_locked(const char *job_id, int flags, Error **errp)
{
    if (!job_id) {
        if (!(flags & JOB_INTERNAL)) {
            error_setg(errp, "An explicit job ID is required");
            return false;
        }
        return true;
    }
    if (flags & JOB_INTERNAL) {
        error_setg(errp, "Cannot specify job ID for internal job");
        return false;
    }
    if (!id_wellformed(job_id)) {
        error_setg(errp, "Invalid job ID '%s'", job_id);
        return false;
    }
    if (job_get_locked(job_id)) {
        error_setg(errp, "Job ID '%s' already in use", job_id);
        return false;
    }
    return true;
}

void *job_create(const char *job_id, const JobDriver *driver, JobTxn *txn,
                 AioContext *ctx, int flags, BlockCompletionFunc *cb,
                 void *opaque, Error **errp)
{
    Job *job;

    GLOBAL_STATE_CODE();
    JOB_LOCK_GUARD();
    if (!job_check_id_locked(job_id, flags, errp)) {
        return NULL;
    }
    job = g_malloc0(driver->instance_size);
    job->driver = driver;
    job->id = g_strdup(job_id);
    job->refcnt = 1;
    job->aio_context = ctx;
    job->pause_count = 1;       /* until job_start() */
    job->auto_finalize = !(flags & JOB_MANUAL_FINALIZE);
    job->auto_dismiss = !(flags & JOB_MANUAL_DISMISS);
    job->cb = cb;
    job->opaque = opaque;
    progress_init(&job->progress);
    notifier_list_init(&job->on_finalize_cancelled);
    notifier_list_init(&job->on_finalize_completed);
    notifier_list_init(&job->on_pending);
    notifier_list_init(&job->on_ready);
    aio_timer_init(qemu_get_aio_context(), &job->sleep_timer,
                   QEMU_CLOCK_REALTIME, SCALE_NS, job_sleep_timer_cb, job);
    job_state_transition_locked(job, JOB_STATUS_CREATED);
    QLIST_INSERT_HEAD(&all_jobs, job, job_list);
    job_txn_add_job_locked(txn, job);
    return job;
}

void job_early_fail(Job *job)
{
    GLOBAL_STATE_CODE();
    JOB_LOCK_GUARD();
    assert(job->status == JOB_STATUS_CREATED);
    job_do_dismiss_locked(job);
}

void job_ref_locked(Job *job)
{
    job->refcnt++;
}

void job_unref_locked(Job *job)
{
    if (--job->refcnt > 0) {
        return;
    }
    assert(job->status == JOB_STATUS_NULL);
    assert(!timer_pending(&job->sleep_timer) && !job->txn);
    QLIST_REMOVE(job, job_list);
    if (job->driver->free) {
        job_unlock();
        job->driver->free(job);
        job_lock();
    }
    progress_destroy(&job->progress);
    error_free(job->err);
    g_free(job->id);
    g_free(job);
}

void job_do_dismiss_locked(Job *job)
{
    job->busy = false;
    job->paused = false;
    job->deferred_to_main_loop = true;
    job_txn_del_job_locked(job);
    job_state_transition_locked(job, JOB_STATUS_NULL);
    job_unref_locked(job);
}

/* --- progress --- */

void job_progress_update(Job *job, uint64_t done)
{
    progress_work_done(&job->progress, done);
}

void job_progress_set_remaining(Job *job, uint64_t remaining)
{
    progress_set_remaining(&job->progress, remaining);
}

void job_progress_increase_remaining(Job *job, uint64_t delta)
{
    progress_increase_remaining(&job->progress, delta);
}

/* --- the coroutine --- */

/* Main thread: run() has returned. */
static void job_exit(void *opaque)
{
    Job *job = opaque;

    JOB_LOCK_GUARD();
    job_ref_locked(job);
    /* From here on it is as any job that waits: nothing runs. */
    job->busy = false;
    job_completed_locked(job);
    job_unref_locked(job);
    aio_wait_kick();
}

static void coroutine_fn job_co_entry(void *opaque)
{
    Job *job = opaque;
    int ret;

    assert(job->aio_context == qemu_get_current_aio_context());
    job_pause_point(job);
    ret = job->driver->run(job, &job->err);
    WITH_QEMU_LOCK_GUARD(&job_mutex) {
        job->ret = ret;
        job->deferred_to_main_loop = true;
    }
    aio_bh_schedule_oneshot(qemu_get_aio_context(), job_exit, job);
}

void job_start(Job *job)
{
    Coroutine *co = qemu_coroutine_create(job_co_entry, job);

    GLOBAL_STATE_CODE();
    WITH_QEMU_LOCK_GUARD(&job_mutex) {
        assert(!job_started_locked(job) && job->status == JOB_STATUS_CREATED);
        job->co = co;
        job->pause_count--;
        job->busy = true;
        job->paused = false;
        job_state_transition_locked(job, JOB_STATUS_RUNNING);
    }
    aio_co_enter(job->aio_context, co);
}

void job_enter_cond_locked(Job *job, bool (*fn)(Job *job))
{
    Coroutine *co = job->co;

    if (!job_started_locked(job) || job->deferred_to_main_loop || job->busy ||
        (fn && !fn(job))) {
        return;
    }
    timer_del(&job->sleep_timer);
    job->busy = true;
    /* It may run at once, and use all of the job. */
    job_ref_locked(job);
    job_unlock();
    aio_co_wake(co);
    job_lock();
    job_unref_locked(job);
}

void job_enter(Job *job)
{
    JOB_LOCK_GUARD();
    job_enter_cond_locked(job, NULL);
}

/* Yield until job_enter(), or until @expire in ns; -1: no time. */
static void coroutine_fn job_do_yield_locked(Job *job, int64_t expire)
{
    AioContext *ctx;

    if (expire != -1) {
        timer_mod(&job->sleep_timer, expire);
    }
    job->busy = false;
    /* Who drains, or waits for the end, looks at busy. */
    aio_wait_kick();
    job_unlock();
    qemu_coroutine_yield();
    job_lock();

    /* It may have moved while it was paused. */
    while ((ctx = job->aio_context) != qemu_get_current_aio_context()) {
        job_unlock();
        aio_co_reschedule_self(ctx);
        job_lock();
    }
    assert(job->busy);
}

static void coroutine_fn job_pause_point_locked(Job *job)
{
    if (!job_should_pause_locked(job) || job_is_cancelled_locked(job)) {
        return;
    }
    if (job->driver->pause) {
        job_unlock();
        job->driver->pause(job);
        job_lock();
    }
    if (job_should_pause_locked(job) && !job_is_cancelled_locked(job)) {
        JobStatus status = job->status;

        job_state_transition_locked(job, status == JOB_STATUS_READY ?
                                         JOB_STATUS_STANDBY :
                                         JOB_STATUS_PAUSED);
        job->paused = true;
        while (job_should_pause_locked(job) && !job_is_cancelled_locked(job)) {
            job_do_yield_locked(job, -1);
        }
        job->paused = false;
        job_state_transition_locked(job, status);
    }
    if (job->driver->resume) {
        job_unlock();
        job->driver->resume(job);
        job_lock();
    }
}

void coroutine_fn job_pause_point(Job *job)
{
    JOB_LOCK_GUARD();
    job_pause_point_locked(job);
}

void coroutine_fn job_yield(Job *job)
{
    JOB_LOCK_GUARD();
    /* One who cancels it wakes it before it sleeps. */
    if (job_is_cancelled_locked(job)) {
        return;
    }
    if (!job_should_pause_locked(job)) {
        job_do_yield_locked(job, -1);
    }
    job_pause_point_locked(job);
}

void coroutine_fn job_sleep_ns(Job *job, int64_t ns)
{
    JOB_LOCK_GUARD();
    if (job_is_cancelled_locked(job)) {
        return;
    }
    if (!job_should_pause_locked(job)) {
        int64_t now = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

        job_do_yield_locked(job, now + MIN(ns, INT64_MAX - now));
    }
    job_pause_point_locked(job);
}

void job_transition_to_ready(Job *job)
{
    JOB_LOCK_GUARD();
    job_state_transition_locked(job, JOB_STATUS_READY);
    if (!job_is_internal(job)) {
        notifier_list_notify(&job->on_ready, job);
    }
}

void job_set_aio_context(Job *job, AioContext *ctx)
{
    GLOBAL_STATE_CODE();
    JOB_LOCK_GUARD();
    /* Deferred: its coroutine has ended, and the rest is the main thread's. */
    assert(job->paused || !job_started_locked(job) ||
           job->deferred_to_main_loop || job_is_completed_locked(job));
    job->aio_context = ctx;
    /* It pauses in its new home: the thread of the old one may end. */
    job_enter_cond_locked(job, NULL);
}
