/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The thread pool: results, cancellation, limits, order of nested event
 * loops, load from several contexts.
 */
#include "qemu/osdep.h"
#include "qemu/aio.h"
#include "qemu/thread-pool.h"
#include "qapi/error.h"
#include "qemu/coroutine.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"

static AioContext *ctx;

typedef struct {
    BlockAIOCB *acb;
    int runs;
    int ret;
    int completed;
} Request;

static int completed;

static int work(void *opaque)
{
    Request *r = opaque;

    r->runs++;
    return r->runs + 41;
}

static void done_cb(void *opaque, int ret)
{
    Request *r = opaque;

    r->ret = ret;
    r->completed++;
    completed++;
}

static void poll_for(int n)
{
    while (completed < n) {
        aio_poll(ctx, true);
    }
}

static void test_submit_aio(void)
{
    Request r = { .runs = 0 };

    completed = 0;
    r.acb = thread_pool_submit_aio(work, &r, done_cb, &r);
    g_assert_cmpint(r.completed, ==, 0);
    poll_for(1);
    g_assert_cmpint(r.ret, ==, 42);
    g_assert_cmpint(r.runs, ==, 1);
    g_assert_cmpint(r.completed, ==, 1);
}

static void coroutine_fn submit_co(void *opaque)
{
    Request *r = opaque;
    int i;

    for (i = 0; i < 100; i++) {
        g_assert_cmpint(thread_pool_submit_co(work, r), ==, 42 + i);
        g_assert_true(qemu_get_current_aio_context() == ctx);
    }
    done_cb(r, 0);
}

static void test_submit_co(void)
{
    Request r = { .runs = 0 };

    completed = 0;
    qemu_coroutine_enter(qemu_coroutine_create(submit_co, &r));
    g_assert_cmpint(completed, ==, 0);
    poll_for(1);
    g_assert_cmpint(r.runs, ==, 100);
}

#define MANY 1000

static void test_many(void)
{
    Request r[MANY] = { { NULL } };
    int i;

    completed = 0;
    for (i = 0; i < MANY; i++) {
        r[i].acb = thread_pool_submit_aio(work, &r[i], done_cb, &r[i]);
    }
    poll_for(MANY);
    for (i = 0; i < MANY; i++) {
        g_assert_cmpint(r[i].runs, ==, 1);
        g_assert_cmpint(r[i].ret, ==, 42);
        g_assert_cmpint(r[i].completed, ==, 1);
    }
}

/* A gate that holds workers. */
static QemuMutex gate_lock;
static QemuCond gate_cond;
static int gate_waiting, gate_most, gate_running;
static bool gate_open;

static int gate_work(void *opaque)
{
    QEMU_LOCK_GUARD(&gate_lock);
    gate_waiting++;
    gate_running++;
    gate_most = MAX(gate_most, gate_running);
    qemu_cond_broadcast(&gate_cond);
    while (!gate_open) {
        qemu_cond_wait(&gate_cond, &gate_lock);
    }
    gate_running--;
    return work(opaque);
}

static void gate_close(void)
{
    QEMU_LOCK_GUARD(&gate_lock);
    gate_open = false;
    gate_waiting = gate_most = gate_running = 0;
}

static void gate_wait_for(int n)
{
    QEMU_LOCK_GUARD(&gate_lock);
    while (gate_waiting < n) {
        qemu_cond_wait(&gate_cond, &gate_lock);
    }
}

static void gate_release(void)
{
    QEMU_LOCK_GUARD(&gate_lock);
    gate_open = true;
    qemu_cond_broadcast(&gate_cond);
}

/* As many blocking requests as the maximum run at the same time. */
static void test_parallel(void)
{
    Request r[100] = { { NULL } };
    int i;

    completed = 0;
    gate_close();
    for (i = 0; i < 100; i++) {
        r[i].acb = thread_pool_submit_aio(gate_work, &r[i], done_cb, &r[i]);
    }
    gate_wait_for(THREAD_POOL_MAX_THREADS_DEFAULT);
    g_assert_false(aio_poll(ctx, false) && completed);
    gate_release();
    poll_for(100);
    g_assert_cmpint(gate_most, ==, THREAD_POOL_MAX_THREADS_DEFAULT);
}

static void set_limits(int min, int max)
{
    aio_context_set_thread_pool_params(ctx, min, max, &error_abort);
    thread_pool_update_params(aio_get_thread_pool(ctx), ctx);
}

static void test_limits(void)
{
    Request r[20] = { { NULL } };
    int i;

    completed = 0;
    set_limits(0, 3);
    gate_close();
    for (i = 0; i < 20; i++) {
        r[i].acb = thread_pool_submit_aio(gate_work, &r[i], done_cb, &r[i]);
    }
    gate_wait_for(3);
    gate_release();
    poll_for(20);
    g_assert_cmpint(gate_most, <=, 3);
    set_limits(0, 64);
}

/* Requests that one thread does together. */
#define N_MERGE 40

typedef struct {
    int number;                 /* follows the one with one less */
    int ret;
} Piece;

static unsigned merge_groups[N_MERGE], n_merge_groups;      /* the worker's */

static int piece_run(void *opaque)
{
    Piece *p = opaque;

    merge_groups[n_merge_groups++] = 1;
    return p->number + 1;
}

static bool piece_follows(const void *arg, const void *next_arg)
{
    return ((const Piece *)arg)->number + 1 ==
           ((const Piece *)next_arg)->number;
}

static void piece_run_merged(void *const *args, int *rets, unsigned n)
{
    unsigned i;

    merge_groups[n_merge_groups++] = n;
    for (i = 0; i < n; i++) {
        rets[i] = ((Piece *)args[i])->number + 1;
    }
}

static void coroutine_fn piece_co(void *opaque)
{
    static const ThreadPoolMerge merge = {
        .follows = piece_follows,
        .run = piece_run_merged,
    };
    Piece *p = opaque;

    p->ret = thread_pool_submit_co_merge(piece_run, p, &merge);
    completed++;
}

/*
 * What follows joins, up to the limit; what does not stays alone.  The only
 * thread is busy meanwhile.
 */
static void test_merge(void)
{
    static const unsigned expected[] = { 16, 4, 16, 3, 1 };
    Piece pieces[N_MERGE];
    Request gate = { NULL };
    unsigned i;

    completed = 0;
    n_merge_groups = 0;
    set_limits(0, 1);
    gate_close();
    thread_pool_submit_aio(gate_work, &gate, done_cb, &gate);
    gate_wait_for(1);
    for (i = 0; i < N_MERGE; i++) {
        pieces[i].number = i < 20 ? i : i < 39 ? 100 + i : 0;
        qemu_coroutine_enter(qemu_coroutine_create(piece_co, &pieces[i]));
    }
    gate_release();
    poll_for(N_MERGE + 1);
    for (i = 0; i < N_MERGE; i++) {
        g_assert_cmpint(pieces[i].ret, ==, pieces[i].number + 1);
    }
    g_assert_cmpuint(n_merge_groups, ==, ARRAY_SIZE(expected));
    for (i = 0; i < n_merge_groups; i++) {
        g_assert_cmpuint(merge_groups[i], ==, expected[i]);
    }
    set_limits(0, 64);
}

/* With one worker held, the others have not begun and can be taken back. */
static void test_cancel(void)
{
    Request r[10] = { { NULL } };
    int i;

    completed = 0;
    set_limits(0, 1);
    gate_close();
    for (i = 0; i < 10; i++) {
        r[i].acb = thread_pool_submit_aio(gate_work, &r[i], done_cb, &r[i]);
    }
    gate_wait_for(1);
    for (i = 0; i < 5; i++) {
        r[i].acb->aiocb_info->cancel_async(r[i].acb);
    }
    g_assert_cmpint(completed, ==, 0);
    poll_for(4);
    g_assert_cmpint(completed, ==, 4);
    gate_release();
    poll_for(10);
    g_assert_cmpint(r[0].ret, ==, 42);
    for (i = 1; i < 10; i++) {
        g_assert_cmpint(r[i].completed, ==, 1);
        g_assert_cmpint(r[i].runs, ==, i < 5 ? 0 : 1);
        g_assert_cmpint(r[i].ret, ==, i < 5 ? -ECANCELED : 42);
    }
    set_limits(0, 64);
}

/* Each callback waits for all the requests that came after its own. */
static void nested_cb(void *opaque, int ret)
{
    Request *r = opaque;

    done_cb(r, ret);
    while (completed < 50) {
        aio_poll(ctx, true);
    }
}

static void test_nested(void)
{
    Request r[50] = { { NULL } };
    int i;

    completed = 0;
    for (i = 0; i < 50; i++) {
        r[i].acb = thread_pool_submit_aio(work, &r[i], nested_cb, &r[i]);
    }
    poll_for(50);
    for (i = 0; i < 50; i++) {
        g_assert_cmpint(r[i].completed, ==, 1);
    }
}

/* A callback that submits and waits for it, while others are in the batch. */
static void nested_submit_cb(void *opaque, int ret)
{
    Request inner = { .runs = 0 };

    done_cb(opaque, ret);
    inner.acb = thread_pool_submit_aio(work, &inner, done_cb, &inner);
    while (!inner.completed) {
        aio_poll(ctx, true);
    }
    g_assert_cmpint(inner.ret, ==, 42);
}

static void test_nested_submit(void)
{
    Request r[50] = { { NULL } };
    int i;

    completed = 0;
    for (i = 0; i < 50; i++) {
        r[i].acb = thread_pool_submit_aio(work, &r[i], nested_submit_cb,
                                          &r[i]);
    }
    poll_for(100);
    g_assert_cmpint(completed, ==, 100);
}

/* Pools of several threads at once, made and freed again. */
typedef struct {
    AioContext *ctx;
    int ended;
} Side;

static void coroutine_fn side_co(void *opaque)
{
    Side *s = opaque;
    Request r = { .runs = 0 };
    int i;

    for (i = 0; i < 200; i++) {
        g_assert_cmpint(thread_pool_submit_co(work, &r), ==, 42 + i);
        g_assert_true(qemu_get_current_aio_context() == s->ctx);
    }
    s->ended++;
}

static void *side_thread(void *opaque)
{
    Side s = { .ended = 0 };
    int i;

    s.ctx = aio_context_new(&error_abort);
    qemu_set_current_aio_context(s.ctx);
    for (i = 0; i < 8; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(side_co, &s));
    }
    while (s.ended < 8) {
        aio_poll(s.ctx, true);
    }
    aio_context_unref(s.ctx);
    return NULL;
}

static void test_contexts(void)
{
    QemuThread threads[3];
    int i, round;

    for (round = 0; round < 5; round++) {
        for (i = 0; i < 3; i++) {
            qemu_thread_create(&threads[i], "side", side_thread, NULL,
                               QEMU_THREAD_JOINABLE);
        }
        for (i = 0; i < 3; i++) {
            g_assert_null(qemu_thread_join(&threads[i]));
        }
    }
}

/* Freeing the pool ends its threads, and the next one starts afresh. */
static void test_free(void)
{
    Request r = { .runs = 0 };

    completed = 0;
    set_limits(2, 4);
    r.acb = thread_pool_submit_aio(work, &r, done_cb, &r);
    poll_for(1);
    thread_pool_free_aio(ctx->thread_pool);
    ctx->thread_pool = NULL;
    r.acb = thread_pool_submit_aio(work, &r, done_cb, &r);
    poll_for(2);
    g_assert_cmpint(r.ret, ==, 43);
    thread_pool_free_aio(NULL);
}

int main(int argc, char **argv)
{
    qemu_init_main_loop(&error_abort);
    ctx = qemu_get_aio_context();
    qemu_mutex_init(&gate_lock);
    qemu_cond_init(&gate_cond);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/thread-pool/submit-aio", test_submit_aio);
    g_test_add_func("/thread-pool/submit-co", test_submit_co);
    g_test_add_func("/thread-pool/many", test_many);
    g_test_add_func("/thread-pool/parallel", test_parallel);
    g_test_add_func("/thread-pool/limits", test_limits);
    g_test_add_func("/thread-pool/merge", test_merge);
    g_test_add_func("/thread-pool/cancel", test_cancel);
    g_test_add_func("/thread-pool/nested", test_nested);
    g_test_add_func("/thread-pool/nested-submit", test_nested_submit);
    g_test_add_func("/thread-pool/contexts", test_contexts);
    g_test_add_func("/thread-pool/free", test_free);
    return g_test_run();
}
