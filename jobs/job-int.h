/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared by the files of the job core.  All under the lock.
 */
#ifndef JOB_INT_H
#define JOB_INT_H

#include "qemu/job.h"

struct JobTxn {
    bool aborting;
    QLIST_HEAD(, Job) jobs;
    int refcnt;
};

void job_state_transition_locked(Job *job, JobStatus status);
/* Into a transaction of its own, or @txn. */
void job_txn_add_job_locked(JobTxn *txn, Job *job);
void job_txn_del_job_locked(Job *job);

/* Tell the job to end; its coroutine has to look. */
void job_cancel_async_locked(Job *job, bool force);
/* The job has ended, or will not begin.  Main thread. */
void job_completed_locked(Job *job);
/* All of the transaction fail, since @job does. */
void job_completed_txn_abort_locked(Job *job);
/* Prepare and finalize all of the transaction. */
void job_do_finalize_locked(Job *job);
/* Take it off the list of jobs. */
void job_do_dismiss_locked(Job *job);
bool job_cancel_requested_locked(Job *job);

#endif
