/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of AioContexts and threads: BHs, coroutines and notifications
 * from elsewhere.
 *
 * Each context is run by a thread that sleeps whenever it can, so a lost
 * wake-up is a test that never ends, and the timeout finds it.
 */
#include "qemu/osdep.h"
#include "qemu/aio.h"
#include "qapi/error.h"
#include "qemu/coroutine.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"

#define NUM_CONTEXTS 4
#define NUM_PRODUCERS 4
#define NUM_COROUTINES 16

/* --- a thread that runs a context --- */

typedef struct {
    AioContext *ctx;
    QemuThread thread;
    bool stop;                  /* home thread only */
} Loop;

static Loop loops[NUM_CONTEXTS];

static void *loop_thread(void *opaque)
{
    Loop *loop = opaque;

    qemu_set_current_aio_context(loop->ctx);
    while (!loop->stop) {
        aio_poll(loop->ctx, true);
    }
    return NULL;
}

static void loop_stop_bh(void *opaque)
{
    Loop *loop = opaque;

    loop->stop = true;
}

static void loops_start(int n)
{
    int i;

    for (i = 0; i < n; i++) {
        loops[i].ctx = aio_context_new(&error_abort);
        loops[i].stop = false;
        qemu_thread_create(&loops[i].thread, "loop", loop_thread, &loops[i],
                           QEMU_THREAD_JOINABLE);
    }
}

static void loops_stop(int n)
{
    int i;

    for (i = 0; i < n; i++) {
        aio_bh_schedule_oneshot(loops[i].ctx, loop_stop_bh, &loops[i]);
        qemu_thread_join(&loops[i].thread);
        aio_context_unref(loops[i].ctx);
    }
}

/* --- threads that produce work --- */

typedef struct {
    QemuThread thread;
    QEMUBH *bh;
    QemuSemaphore sem;
    int rounds;
    int runs;                   /* home thread; producers after the semaphore */
    int *total;                 /* home thread only */
} Producer;

static void producers_run(Producer *p, void *(*fn)(void *), int rounds,
                          int *total)
{
    int i;

    for (i = 0; i < NUM_PRODUCERS; i++) {
        p[i] = (Producer) { .rounds = rounds, .total = total };
        qemu_sem_init(&p[i].sem, 0);
    }
    for (i = 0; i < NUM_PRODUCERS; i++) {
        qemu_thread_create(&p[i].thread, "producer", fn, &p[i],
                           QEMU_THREAD_JOINABLE);
    }
    for (i = 0; i < NUM_PRODUCERS; i++) {
        qemu_thread_join(&p[i].thread);
        qemu_sem_destroy(&p[i].sem);
    }
}

static void producer_bh(void *opaque)
{
    Producer *p = opaque;

    p->runs++;
    (*p->total)++;
    qemu_sem_post(&p->sem);
}

/* Schedule, wait for the run, schedule again: each one must wake the loop. */
static void *ping_thread(void *opaque)
{
    Producer *p = opaque;
    int i;

    p->bh = aio_bh_new(loops[0].ctx, producer_bh, p);
    for (i = 1; i <= p->rounds; i++) {
        qemu_bh_schedule(p->bh);
        qemu_sem_wait(&p->sem);
        g_assert_cmpint(p->runs, ==, i);
    }
    qemu_bh_delete(p->bh);
    return NULL;
}

static void test_bh_ping(void)
{
    Producer producers[NUM_PRODUCERS];
    int total = 0;

    loops_start(1);
    producers_run(producers, ping_thread, 5000, &total);
    loops_stop(1);
    g_assert_cmpint(total, ==, 5000 * NUM_PRODUCERS);
}

/* One-shot BHs: none is lost, and those of one thread keep their order. */
typedef struct {
    Producer *p;
    int number;
} OneShot;

static void oneshot_bh(void *opaque)
{
    g_autofree OneShot *shot = opaque;
    Producer *p = shot->p;

    g_assert_cmpint(shot->number, ==, p->runs);
    p->runs++;
    (*p->total)++;
    if (p->runs == p->rounds) {
        qemu_sem_post(&p->sem);
    }
}

static void *oneshot_thread(void *opaque)
{
    Producer *p = opaque;
    int i;

    for (i = 0; i < p->rounds; i++) {
        OneShot *shot = g_new(OneShot, 1);

        *shot = (OneShot) { .p = p, .number = i };
        aio_bh_schedule_oneshot(loops[0].ctx, oneshot_bh, shot);
    }
    qemu_sem_wait(&p->sem);
    return NULL;
}

static void test_bh_oneshot(void)
{
    Producer producers[NUM_PRODUCERS];
    int total = 0;

    loops_start(1);
    producers_run(producers, oneshot_thread, 20000, &total);
    loops_stop(1);
    g_assert_cmpint(total, ==, 20000 * NUM_PRODUCERS);
}

/* Deleted while scheduled: it runs once or never, and is freed. */
static void *delete_thread(void *opaque)
{
    Producer *p = opaque;
    int i;

    for (i = 0; i < p->rounds; i++) {
        QEMUBH *bh = aio_bh_new(loops[0].ctx, producer_bh, p);

        qemu_bh_schedule(bh);
        qemu_bh_schedule(bh);
        qemu_bh_delete(bh);
    }
    return NULL;
}

static void test_bh_delete(void)
{
    Producer producers[NUM_PRODUCERS];
    int total = 0;
    int i;

    loops_start(1);
    /* The semaphores are gone when late BHs run: see that none is late. */
    for (i = 0; i < NUM_PRODUCERS; i++) {
        producers[i] = (Producer) { .rounds = 2000, .total = &total };
        qemu_sem_init(&producers[i].sem, 0);
        qemu_thread_create(&producers[i].thread, "producer", delete_thread,
                           &producers[i], QEMU_THREAD_JOINABLE);
    }
    for (i = 0; i < NUM_PRODUCERS; i++) {
        qemu_thread_join(&producers[i].thread);
    }
    loops_stop(1);
    g_assert_cmpint(total, <=, 2 * 2000 * NUM_PRODUCERS);
    for (i = 0; i < NUM_PRODUCERS; i++) {
        qemu_sem_destroy(&producers[i].sem);
    }
}

/* Signals that say nothing, all the time, hide none that say something. */
static void *storm_thread(void *opaque)
{
    bool *stop = opaque;

    while (!qatomic_read(stop)) {
        aio_notify(loops[0].ctx);
    }
    return NULL;
}

static void test_notify_storm(void)
{
    Producer producers[NUM_PRODUCERS];
    QemuThread storm;
    bool stop = false;
    int total = 0;

    loops_start(1);
    qemu_thread_create(&storm, "storm", storm_thread, &stop,
                       QEMU_THREAD_JOINABLE);
    producers_run(producers, ping_thread, 2000, &total);
    qatomic_set(&stop, true);
    qemu_thread_join(&storm);
    loops_stop(1);
    g_assert_cmpint(total, ==, 2000 * NUM_PRODUCERS);
}

/* --- coroutines that move --- */

typedef struct {
    int number;
    int rounds;
    int moves;
    int *running;               /* atomic */
    QemuEvent *all_done;
    CoMutex *mutex;
    int *counter;               /* under the mutex */
} Traveller;

static void traveller_done(Traveller *t)
{
    if (qatomic_fetch_dec(t->running) == 1) {
        qemu_event_set(t->all_done);
    }
}

static void coroutine_fn travel_entry(void *opaque)
{
    Traveller *t = opaque;
    int i;

    for (i = 0; i < t->rounds; i++) {
        AioContext *target = loops[(t->number + i) % NUM_CONTEXTS].ctx;

        aio_co_reschedule_self(target);
        g_assert_true(qemu_get_current_aio_context() == target);
        t->moves++;
    }
    traveller_done(t);
}

static void coroutine_fn mutex_entry(void *opaque)
{
    Traveller *t = opaque;
    int i, seen;

    for (i = 0; i < t->rounds; i++) {
        qemu_co_mutex_lock(t->mutex);
        seen = *t->counter;
        if (i % 4 == 0) {
            /* Others run meanwhile; the counter stays ours. */
            aio_co_reschedule_self(loops[i / 4 % NUM_CONTEXTS].ctx);
        }
        g_assert_cmpint(*t->counter, ==, seen);
        *t->counter = seen + 1;
        t->moves++;
        qemu_co_mutex_unlock(t->mutex);
    }
    traveller_done(t);
}

static void travel(CoroutineEntry *entry, int rounds, int *counter)
{
    Traveller t[NUM_COROUTINES];
    int running = NUM_COROUTINES;
    QemuEvent all_done;
    CoMutex mutex;
    int i;

    qemu_co_mutex_init(&mutex);
    qemu_event_init(&all_done, false);
    loops_start(NUM_CONTEXTS);
    for (i = 0; i < NUM_COROUTINES; i++) {
        t[i] = (Traveller) {
            .number = i, .rounds = rounds, .running = &running,
            .all_done = &all_done, .mutex = &mutex, .counter = counter,
        };
        aio_co_schedule(loops[i % NUM_CONTEXTS].ctx,
                        qemu_coroutine_create(entry, &t[i]));
    }
    qemu_event_wait(&all_done);
    loops_stop(NUM_CONTEXTS);
    for (i = 0; i < NUM_COROUTINES; i++) {
        g_assert_cmpint(t[i].moves, ==, rounds);
    }
    qemu_event_destroy(&all_done);
}

static void test_co_reschedule(void)
{
    travel(travel_entry, 2000, NULL);
}

static void test_co_mutex(void)
{
    int counter = 0;

    travel(mutex_entry, 2000, &counter);
    g_assert_cmpint(counter, ==, 2000 * NUM_COROUTINES);
}

/* --- two coroutines in two threads that wake each other --- */

typedef struct {
    Coroutine *co[2];
    int turn;                   /* atomic: whose */
    int rounds;
    int runs[2];
    QemuSemaphore done;
} PingPong;

static void coroutine_fn ping_pong(PingPong *pp, int me)
{
    int i;

    for (i = 0; i < pp->rounds; i++) {
        /* Started for the first round, woken once for each other. */
        if (i) {
            qemu_coroutine_yield();
        }
        g_assert_cmpint(qatomic_load_acquire(&pp->turn), ==, me);
        g_assert_true(qemu_get_current_aio_context() == loops[me].ctx);
        pp->runs[me]++;
        qatomic_store_release(&pp->turn, !me);
        if (me == 0 || i + 1 < pp->rounds) {
            aio_co_schedule(loops[!me].ctx, pp->co[!me]);
        }
    }
    qemu_sem_post(&pp->done);
}

static void coroutine_fn ping_entry(void *opaque)
{
    ping_pong(opaque, 0);
}

static void coroutine_fn pong_entry(void *opaque)
{
    ping_pong(opaque, 1);
}

static void test_co_ping_pong(void)
{
    PingPong pp = { .rounds = 20000 };

    qemu_sem_init(&pp.done, 0);
    loops_start(2);
    pp.co[0] = qemu_coroutine_create(ping_entry, &pp);
    pp.co[1] = qemu_coroutine_create(pong_entry, &pp);
    /* The second is started by the first one's first wake-up. */
    aio_co_schedule(loops[0].ctx, pp.co[0]);
    qemu_sem_wait(&pp.done);
    qemu_sem_wait(&pp.done);
    loops_stop(2);
    g_assert_cmpint(pp.runs[0], ==, pp.rounds);
    g_assert_cmpint(pp.runs[1], ==, pp.rounds);
    qemu_sem_destroy(&pp.done);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    g_test_add_func("/aio-multithread/bh/ping", test_bh_ping);
    g_test_add_func("/aio-multithread/bh/oneshot", test_bh_oneshot);
    g_test_add_func("/aio-multithread/bh/delete", test_bh_delete);
    g_test_add_func("/aio-multithread/notify-storm", test_notify_storm);
    g_test_add_func("/aio-multithread/co/reschedule", test_co_reschedule);
    g_test_add_func("/aio-multithread/co/mutex", test_co_mutex);
    g_test_add_func("/aio-multithread/co/ping-pong", test_co_ping_pong);
    ret = g_test_run();
    qemu_cleanup_main_loop();
    return ret;
}
