/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Jobs: states, commands, transactions, pausing, and the ways to end, in the
 * main context and in another.
 */
#include "qemu/osdep.h"
#include "qemu/aio-wait.h"
#include "qemu/job.h"
#include "qemu/main-loop.h"
#include "test-thread-loop.h"

typedef struct TestJob {
    Job common;
    int ret;                    /* of run() */
    int prepare_ret;
    bool soft;                  /* a soft cancel lets it finish */
    bool should_complete;       /* under the lock, as finish is */
    bool finish;
    int iterations;
    AioContext *last_ctx;
} TestJob;

/* What was called: p(repare), c(ommit), a(bort), (c)l(ean), f(ree), e(nd). */
static GString *calls;

static int coroutine_fn test_run(Job *job, Error **errp)
{
    TestJob *s = container_of(job, TestJob, common);

    if (s->soft) {
        job_transition_to_ready(job);
    }
    while (!job_is_cancelled(job)) {
        bool end;

        job_lock();
        end = s->finish || s->should_complete ||
              (s->soft && job->cancelled);
        s->iterations++;
        s->last_ctx = qemu_get_current_aio_context();
        job_unlock();
        if (end) {
            break;
        }
        job_sleep_ns(job, SCALE_MS);
    }
    return s->ret;
}

static int test_prepare(Job *job)
{
    g_string_append_c(calls, 'p');
    return container_of(job, TestJob, common)->prepare_ret;
}

static void test_commit(Job *job)
{
    g_string_append_c(calls, 'c');
}

static void test_abort(Job *job)
{
    g_string_append_c(calls, 'a');
}

static void test_clean(Job *job)
{
    g_string_append_c(calls, 'l');
}

static void test_free(Job *job)
{
    g_string_append_c(calls, 'f');
}

static void test_complete(Job *job, Error **errp)
{
    JOB_LOCK_GUARD();
    container_of(job, TestJob, common)->should_complete = true;
}

static bool test_cancel(Job *job, bool force)
{
    return force || !container_of(job, TestJob, common)->soft;
}

static const JobDriver test_driver = {
    .instance_size = sizeof(TestJob),
    .job_type = JOB_TYPE_BACKUP,
    .run = test_run,
    .prepare = test_prepare,
    .commit = test_commit,
    .abort = test_abort,
    .clean = test_clean,
    .free = test_free,
    .complete = test_complete,
    .cancel = test_cancel,
};

static void test_cb(void *opaque, int ret)
{
    *(int *)opaque = ret;
    g_string_append_c(calls, 'e');
}

static TestJob *test_job_new(const char *id, JobTxn *txn, AioContext *ctx,
                             int flags, int *result)
{
    *result = 1;
    return job_create(id, &test_driver, txn, ctx, flags, test_cb, result,
                      &error_abort);
}

/* Runs the main loop until @s is in @status. */
static bool is_in_status(TestJob *s, JobStatus status)
{
    JOB_LOCK_GUARD();
    return s->common.status == status;
}

static void wait_status(TestJob *s, JobStatus status)
{
    AIO_WAIT_WHILE(NULL, !is_in_status(s, status));
}

static void let_finish(TestJob *s)
{
    JOB_LOCK_GUARD();
    s->finish = true;
}

static void run_until_over(int *result)
{
    while (*result == 1) {
        aio_poll(qemu_get_aio_context(), true);
    }
}

static void test_success(void)
{
    int result;
    TestJob *s = test_job_new("j", NULL, qemu_get_aio_context(), 0, &result);

    g_assert_cmpint(s->common.status, ==, JOB_STATUS_CREATED);
    job_start(&s->common);
    let_finish(s);
    run_until_over(&result);
    g_assert_cmpint(result, ==, 0);
    g_assert_cmpstr(calls->str, ==, "pclef");
    g_assert_null(job_next_locked(NULL));
}

static void test_failure(void)
{
    int result;
    TestJob *s = test_job_new("j", NULL, qemu_get_aio_context(), 0, &result);

    s->ret = -EIO;
    s->finish = true;
    job_start(&s->common);
    run_until_over(&result);
    g_assert_cmpint(result, ==, -EIO);
    g_assert_cmpstr(calls->str, ==, "alef");
}

static void test_prepare_fails(void)
{
    int result;
    TestJob *s = test_job_new("j", NULL, qemu_get_aio_context(), 0, &result);

    s->prepare_ret = -ENOSPC;
    s->finish = true;
    job_start(&s->common);
    run_until_over(&result);
    g_assert_cmpint(result, ==, -ENOSPC);
    g_assert_cmpstr(calls->str, ==, "palef");
}

static void test_ids(void)
{
    int result;
    Error *err = NULL;
    TestJob *s = test_job_new("a.b-c_1", NULL, qemu_get_aio_context(), 0,
                              &result);
    const char *bad[] = { "", "1a", "a b", "#block", "ä" };
    size_t i;

    g_assert_null(job_create("a.b-c_1", &test_driver, NULL,
                             qemu_get_aio_context(), 0, NULL, NULL, &err));
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "Job ID 'a.b-c_1' already in use");
    error_free_or_abort(&err);
    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        g_assert_null(job_create(bad[i], &test_driver, NULL,
                                 qemu_get_aio_context(), 0, NULL, NULL,
                                 &err));
        error_free_or_abort(&err);
    }
    g_assert_null(job_create(NULL, &test_driver, NULL, qemu_get_aio_context(),
                             0, NULL, NULL, &err));
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "An explicit job ID is required");
    error_free_or_abort(&err);
    job_early_fail(&s->common);
    g_assert_cmpstr(calls->str, ==, "f");
}

/* Each command in each state that can be held: allowed or refused. */
static void test_verbs(void)
{
    Error *err = NULL;
    int result;
    Job *job = &test_job_new("j", NULL, qemu_get_aio_context(),
                             JOB_MANUAL_FINALIZE | JOB_MANUAL_DISMISS,
                             &result)->common;
    TestJob *s = container_of(job, TestJob, common);
    JOB_LOCK_GUARD();

    job_finalize_locked(job, &err);
    g_assert_cmpstr(error_get_pretty(err), ==, "Job 'j' in state 'created' "
                    "cannot accept command verb 'finalize'");
    error_free_or_abort(&err);
    job_dismiss_locked(&job, &err);
    error_free_or_abort(&err);

    job_unlock();
    job_start(job);
    job_lock();
    g_assert_cmpint(job->status, ==, JOB_STATUS_RUNNING);
    job_complete_locked(job, &err);
    error_free_or_abort(&err);
    job_user_resume_locked(job, &err);
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "Can't resume a job that was not paused");
    error_free_or_abort(&err);
    job_user_pause_locked(job, &error_abort);
    job_user_pause_locked(job, &err);
    g_assert_cmpstr(error_get_pretty(err), ==, "Job is already paused");
    error_free_or_abort(&err);
    g_assert_cmpint(job->status, ==, JOB_STATUS_PAUSED);
    job_user_resume_locked(job, &error_abort);
    g_assert_cmpint(job->status, ==, JOB_STATUS_RUNNING);

    s->finish = true;
    job_unlock();
    wait_status(s, JOB_STATUS_PENDING);
    job_lock();
    job_user_pause_locked(job, &err);
    error_free_or_abort(&err);
    g_assert_cmpstr(calls->str, ==, "");
    job_finalize_locked(job, &error_abort);
    g_assert_cmpstr(calls->str, ==, "pcle");
    g_assert_cmpint(job->status, ==, JOB_STATUS_CONCLUDED);
    job_user_cancel_locked(job, true, &err);
    error_free_or_abort(&err);
    job_dismiss_locked(&job, &error_abort);
    g_assert_null(job);
    g_assert_cmpstr(calls->str, ==, "pclef");
}

/* It does nothing while it is paused, however often it is entered. */
static void test_pause(void)
{
    int result, i, seen;
    TestJob *s = test_job_new("j", NULL, qemu_get_aio_context(), 0, &result);

    job_start(&s->common);
    job_pause(&s->common);
    wait_status(s, JOB_STATUS_PAUSED);
    job_pause(&s->common);
    seen = s->iterations;
    for (i = 0; i < 10; i++) {
        job_enter(&s->common);
        aio_poll(qemu_get_aio_context(), false);
    }
    job_resume(&s->common);
    g_assert_cmpint(s->iterations, ==, seen);
    g_assert_true(s->common.paused);
    job_resume(&s->common);
    g_assert_false(s->common.paused);
    g_assert_cmpint(s->iterations, ==, seen + 1);
    g_assert_cmpint(job_cancel_sync(&s->common, true), ==, -ECANCELED);
    g_assert_cmpstr(calls->str, ==, "alef");
}

/* Cancelled in each state, by force and softly. */
static void test_cancel_states(void)
{
    int result, state, force;

    for (state = 0; state < 5; state++) {
        for (force = 0; force < 2; force++) {
            TestJob *s = test_job_new("j", NULL, qemu_get_aio_context(),
                                      JOB_MANUAL_FINALIZE, &result);
            int want = -ECANCELED;

            g_string_truncate(calls, 0);
            s->soft = state == 2 || state == 3;
            if (state > 0) {
                job_start(&s->common);
            }
            if (state == 1 || state == 3) {
                JOB_LOCK_GUARD();
                job_user_pause_locked(&s->common, &error_abort);
            }
            if (state == 4) {
                let_finish(s);
                wait_status(s, JOB_STATUS_PENDING);
            }
            if (s->soft && !force) {
                /* It finishes, and waits for the user. */
                g_assert_cmpint(job_cancel_sync(&s->common, false), ==, 0);
                g_assert_cmpint(s->common.status, ==, JOB_STATUS_PENDING);
                job_lock();
                job_finalize_locked(&s->common, &error_abort);
                job_unlock();
                want = 0;
            } else if (state == 0) {
                job_lock();
                job_cancel_locked(&s->common, force);
                job_unlock();
            } else {
                g_assert_cmpint(job_cancel_sync(&s->common, force), ==,
                                -ECANCELED);
            }
            g_assert_cmpint(result, ==, want);
            g_assert_cmpstr(calls->str, ==, want ? "alef" : "pclef");
            g_assert_null(job_next_locked(NULL));
        }
    }
}

static void test_complete_ready(void)
{
    int result;
    TestJob *s = test_job_new("j", NULL, qemu_get_aio_context(), 0, &result);

    s->soft = true;
    job_start(&s->common);
    wait_status(s, JOB_STATUS_READY);
    job_lock();
    job_user_pause_locked(&s->common, &error_abort);
    g_assert_cmpint(s->common.status, ==, JOB_STATUS_STANDBY);
    /* It does that when it is resumed. */
    job_complete_locked(&s->common, &error_abort);
    g_assert_cmpint(s->common.status, ==, JOB_STATUS_STANDBY);
    job_user_resume_locked(&s->common, &error_abort);
    g_assert_cmpint(job_finish_sync_locked(&s->common, NULL, &error_abort), ==,
                    0);
    job_unlock();
    g_assert_cmpint(result, ==, 0);
}

/* Two jobs: the first waits for the second; both commit. */
static void test_txn_success(void)
{
    JobTxn *txn = job_txn_new();
    int r1, r2;
    TestJob *a = test_job_new("a", txn, qemu_get_aio_context(), 0, &r1);
    TestJob *b = test_job_new("b", txn, qemu_get_aio_context(), 0, &r2);

    job_txn_unref(txn);
    job_start(&a->common);
    job_start(&b->common);
    let_finish(a);
    wait_status(a, JOB_STATUS_WAITING);
    g_assert_cmpstr(calls->str, ==, "");
    let_finish(b);
    run_until_over(&r1);
    run_until_over(&r2);
    g_assert_cmpint(r1, ==, 0);
    g_assert_cmpint(r2, ==, 0);
    g_assert_cmpstr(calls->str, ==, "ppclecleff");
}

/* One fails, at different times: all fail, and no other is left. */
static void test_txn_failure(void)
{
    int when;

    for (when = 0; when < 4; when++) {
        JobTxn *txn = job_txn_new();
        int r1, r2;
        TestJob *a = test_job_new("a", txn, qemu_get_aio_context(), 0, &r1);
        TestJob *b = test_job_new("b", txn, qemu_get_aio_context(), 0, &r2);

        job_txn_unref(txn);
        if (when == 3) {
            a->prepare_ret = -EIO;
        } else {
            a->ret = -EIO;
        }
        job_start(&a->common);
        if (when != 0) {
            job_start(&b->common);
        }
        if (when >= 2) {
            let_finish(b);
            wait_status(b, JOB_STATUS_WAITING);
        }
        let_finish(a);
        run_until_over(&r1);
        run_until_over(&r2);
        g_assert_cmpint(r1, ==, -EIO);
        g_assert_cmpint(r2, ==, -ECANCELED);
        g_assert_null(job_next_locked(NULL));
        g_assert_cmpstr(strchr(calls->str, 'c') ? "committed" : "", ==, "");
        g_string_truncate(calls, 0);
    }
}

/* --- in another context --- */

static void test_thread(void)
{
    int i;

    for (i = 0; i < 30; i++) {
        TestLoop *loop = test_loop_new();
        int result;
        TestJob *s = test_job_new("j", NULL, loop->ctx, 0, &result);

        job_start(&s->common);
        if (i & 1) {
            job_pause(&s->common);
            wait_status(s, JOB_STATUS_PAUSED);
        }
        if (i & 2) {
            let_finish(s);
        }
        if (i & 1) {
            if (i & 4) {
                job_set_aio_context(&s->common, qemu_get_aio_context());
            }
            job_resume(&s->common);
        }
        if (i & 2) {
            run_until_over(&result);
            g_assert_cmpint(result, ==, 0);
        } else {
            g_assert_cmpint(job_cancel_sync(&s->common, true), ==, -ECANCELED);
        }
        g_assert_null(job_next_locked(NULL));
        test_loop_free(loop);
    }
}

/* After a move it runs in the new context. */
static void test_move(void)
{
    TestLoop *loop = test_loop_new();
    AioContext *last;
    int result, seen;
    TestJob *s = test_job_new("j", NULL, qemu_get_aio_context(), 0, &result);

    job_start(&s->common);
    job_pause(&s->common);
    wait_status(s, JOB_STATUS_PAUSED);
    job_set_aio_context(&s->common, loop->ctx);
    seen = s->iterations;
    job_resume(&s->common);
    do {
        g_usleep(1000);
        job_lock();
        last = s->last_ctx;
        job_unlock();
        aio_poll(qemu_get_aio_context(), false);
    } while (last != loop->ctx);
    g_assert_cmpint(s->iterations, >, seen);
    g_assert_cmpint(job_cancel_sync(&s->common, true), ==, -ECANCELED);
    test_loop_free(loop);
}

/* One that has run to its end, of which the main thread does not know yet. */
static void test_move_ended(void)
{
    TestLoop *loop = test_loop_new();
    int result;
    TestJob *s = test_job_new("j", NULL, qemu_get_aio_context(), 0, &result);

    let_finish(s);
    job_start(&s->common);
    g_assert(s->common.deferred_to_main_loop);
    g_assert_cmpint(s->common.status, ==, JOB_STATUS_RUNNING);
    job_set_aio_context(&s->common, loop->ctx);
    run_until_over(&result);
    g_assert_cmpint(result, ==, 0);
    g_assert_null(job_next_locked(NULL));
    g_string_truncate(calls, 0);
    test_loop_free(loop);
}

static void test_cancel_all(void)
{
    TestLoop *loop = test_loop_new();
    int result[8], i;

    for (i = 0; i < 8; i++) {
        g_autofree char *id = g_strdup_printf("j%d", i);
        TestJob *s = test_job_new(id, NULL,
                                  i & 1 ? loop->ctx : qemu_get_aio_context(),
                                  i & 2 ? JOB_MANUAL_DISMISS : 0, &result[i]);

        s->soft = i & 4;
        job_start(&s->common);
    }
    job_cancel_sync_all();
    for (i = 0; i < 8; i++) {
        g_assert_cmpint(result[i], ==, -ECANCELED);
    }
    g_assert_null(job_next_locked(NULL));
    test_loop_free(loop);
}

static void test_setup(void)
{
    g_string_truncate(calls, 0);
}

#define ADD(name, fn) \
    g_test_add("/job/" name, int, NULL, (void *)test_setup, (void *)fn, NULL)

int main(int argc, char **argv)
{
    qemu_init_main_loop(&error_abort);
    calls = g_string_new(NULL);
    g_test_init(&argc, &argv, NULL);
    ADD("success", test_success);
    ADD("failure", test_failure);
    ADD("prepare-fails", test_prepare_fails);
    ADD("ids", test_ids);
    ADD("verbs", test_verbs);
    ADD("pause", test_pause);
    ADD("cancel-states", test_cancel_states);
    ADD("complete-ready", test_complete_ready);
    ADD("txn/success", test_txn_success);
    ADD("txn/failure", test_txn_failure);
    ADD("thread", test_thread);
    ADD("move", test_move);
    ADD("move-ended", test_move_ended);
    ADD("cancel-all", test_cancel_all);
    return g_test_run();
}
