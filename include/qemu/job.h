/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Jobs: long work in the background that people can watch, pause and cancel.
 *
 * The states, and which command is allowed in which, are QEMU's documented
 * ones: docs/devel/jobs.rst draws them.  A job's coroutine runs in the job's
 * AioContext; everything that decides about its end (prepare, commit, abort,
 * clean) runs in the main thread.
 *
 * Locking: one mutex for all jobs, job_lock().  Functions that end in _locked
 * are called with it held, all others without it.  Callbacks of a JobDriver
 * and notifiers that drivers add are called without it, but for notifiers,
 * which are called with it.  "Main thread" means: outside coroutines, too.
 */
#ifndef QEMU_JOB_H
#define QEMU_JOB_H

#include "qapi/error.h"
#include "qapi/qapi-types-job.h"
#include "qemu/aio.h"
#include "qemu/coroutine.h"
#include "qemu/progress_meter.h"

typedef struct Job Job;
typedef struct JobDriver JobDriver;
typedef struct JobTxn JobTxn;

struct Job {
    /* Set when it is created, and not changed. */
    char *id;                   /* NULL: internal, shown to nobody */
    const JobDriver *driver;
    bool auto_finalize;
    bool auto_dismiss;
    BlockCompletionFunc *cb;    /* called when it is over; may be NULL */
    void *opaque;

    ProgressMeter progress;

    /* The main thread changes it while the job is paused. */
    AioContext *aio_context;

    /* What follows is under the lock. */
    int refcnt;
    JobStatus status;
    Coroutine *co;
    int pause_count;            /* > 0: it stops at its next pause point */
    bool user_paused;           /* one of pause_count is the user's */
    bool paused;                /* it has stopped at a pause point */
    bool busy;                  /* its coroutine runs, or is going to */
    bool deferred_to_main_loop; /* run() has returned */
    bool cancelled;             /* it is to end, somehow */
    bool force_cancel;          /* and at once, in an incomplete state */
    int ret;
    Error *err;
    QEMUTimer sleep_timer;
    JobTxn *txn;

    NotifierList on_finalize_cancelled;
    NotifierList on_finalize_completed;
    NotifierList on_pending;
    NotifierList on_ready;

    QLIST_ENTRY(Job) job_list;
    QLIST_ENTRY(Job) txn_list;
};

/* Every callback but run is optional. */
struct JobDriver {
    size_t instance_size;       /* of a structure whose first member is Job */
    JobType job_type;

    /*
     * The work, in a coroutine of the job's AioContext.  It passes pause
     * points (job_pause_point(), job_sleep_ns(), job_yield()) and ends early
     * when job_is_cancelled().  0 or -errno, then with *@errp if it likes.
     */
    int coroutine_fn (*run)(Job *job, Error **errp);

    /* At a pause point, before and after it stops; in the coroutine. */
    void coroutine_fn (*pause)(Job *job);
    void coroutine_fn (*resume)(Job *job);

    /* The user resumes it; main thread. */
    void (*user_resume)(Job *job);

    /* The user asks it to finish; it is READY.  Main thread. */
    void (*complete)(Job *job, Error **errp);

    /*
     * Main thread.  When all jobs of the transaction have ended well: all are
     * prepared, 0 or -errno, which makes all fail.  Then commit or abort, then
     * clean, exactly once each.
     */
    int (*prepare)(Job *job);
    void (*commit)(Job *job);
    void (*abort)(Job *job);
    void (*clean)(Job *job);

    /*
     * Main thread.  The job is to end.  Returns whether it will be treated as
     * cancelled by force; NULL: always.  It may be called more than once.
     */
    bool (*cancel)(Job *job, bool force);

    /* Main thread, the last reference goes. */
    void (*free)(Job *job);
};

typedef enum JobCreateFlags {
    JOB_DEFAULT = 0x00,
    JOB_INTERNAL = 0x01,            /* no name, no events */
    JOB_MANUAL_FINALIZE = 0x02,     /* waits for job-finalize */
    JOB_MANUAL_DISMISS = 0x04,      /* stays until job-dismiss */
} JobCreateFlags;

void job_lock(void);
void job_unlock(void);

static inline void job_unlock_cleanup(int *unused)
{
    job_unlock();
}

#define JOB_LOCK_GUARD() \
    int job_lock_guard_ __attribute__((cleanup(job_unlock_cleanup), unused)) \
        = (job_lock(), 0)

#define WITH_JOB_LOCK_GUARD() \
    for (int once_ __attribute__((cleanup(job_unlock_cleanup))) = \
             (job_lock(), 1); once_; once_ = 0)

/* --- transactions: jobs that succeed or fail together; main thread --- */

/* One reference. */
JobTxn *job_txn_new(void);
/* NULL is fine. */
void job_txn_unref(JobTxn *txn);

/* --- life; main thread --- */

/*
 * A new job in state CREATED, with one reference that belongs to the list of
 * jobs.  @job_id NULL is for JOB_INTERNAL alone.  Without @txn it is in a
 * transaction of its own.  NULL with @errp set on failure.
 */
void *job_create(const char *job_id, const JobDriver *driver, JobTxn *txn,
                 AioContext *ctx, int flags, BlockCompletionFunc *cb,
                 void *opaque, Error **errp);
/* Before job_start(): undo the creation. */
void job_early_fail(Job *job);
void job_start(Job *job);

void job_ref_locked(Job *job);
/* May release the lock for a moment, to free. */
void job_unref_locked(Job *job);

/* The job after @job, the first for NULL; NULL at the end. */
Job *job_next_locked(Job *job);
Job *job_get_locked(const char *id);

/* --- for the coroutine of the job --- */

bool job_is_cancelled(Job *job);
/* To end, be it by finishing or at once. */
bool job_cancel_requested(Job *job);
/* Stop here if the job is to pause. */
void coroutine_fn job_pause_point(Job *job);
/* Until somebody calls job_enter(); a pause point.  Spurious wake-ups. */
void coroutine_fn job_yield(Job *job);
/* As job_yield(), but for no more than @ns of QEMU_CLOCK_REALTIME. */
void coroutine_fn job_sleep_ns(Job *job, int64_t ns);
/* RUNNING becomes READY: the user may complete it. */
void job_transition_to_ready(Job *job);

/*
 * Enter the coroutine if it waits, and if @fn (NULL: always) agrees.  Any
 * thread; it may run before this returns, without the lock.
 */
void job_enter_cond_locked(Job *job, bool (*fn)(Job *job));
/* It sleeps for a time.  For job_enter_cond_locked(). */
bool job_timer_pending_locked(Job *job);

/* Any thread: continue a coroutine that sleeps or yields. */
void job_enter(Job *job);

/* Progress, in units of the job's own; any thread. */
void job_progress_update(Job *job, uint64_t done);
void job_progress_set_remaining(Job *job, uint64_t remaining);
void job_progress_increase_remaining(Job *job, uint64_t delta);

/* --- states --- */

bool job_is_internal(const Job *job);
bool job_started_locked(Job *job);
/* run() has returned, or it will not be called. */
bool job_is_completed_locked(Job *job);
bool job_is_ready_locked(Job *job);
bool job_is_ready(Job *job);
bool job_is_cancelled_locked(Job *job);
JobType job_type(const Job *job);
const char *job_type_str(const Job *job);
/* False with @errp set if command @verb is not for the job's state. */
bool job_apply_verb_locked(Job *job, JobVerb verb, Error **errp);

/* --- commands; main thread --- */

/* Counted: as many resumes as pauses let it go on. */
void job_pause_locked(Job *job);
void job_pause(Job *job);
void job_resume_locked(Job *job);
void job_resume(Job *job);

void job_user_pause_locked(Job *job, Error **errp);
void job_user_resume_locked(Job *job, Error **errp);
bool job_user_paused_locked(Job *job);
void job_complete_locked(Job *job, Error **errp);
void job_finalize_locked(Job *job, Error **errp);
/* Takes the job away; *@jobptr is NULL afterwards. */
void job_dismiss_locked(Job **jobptr, Error **errp);
void job_cancel_locked(Job *job, bool force);
void job_user_cancel_locked(Job *job, bool force, Error **errp);

/* Cancel and wait for the end; the job's result.  Releases the lock. */
int job_cancel_sync_locked(Job *job, bool force);
int job_cancel_sync(Job *job, bool force);
int job_complete_sync_locked(Job *job, Error **errp);
/* Cancel all by force, and wait. */
void job_cancel_sync_all(void);
/*
 * Run @finish(), if given, and wait until the job is over.  Its result;
 * -ECANCELED for one that was cancelled.
 */
int job_finish_sync_locked(Job *job, void (*finish)(Job *, Error **errp),
                           Error **errp);

/* Change the AioContext while it is paused, or has not started. */
void job_set_aio_context(Job *job, AioContext *ctx);

#endif
