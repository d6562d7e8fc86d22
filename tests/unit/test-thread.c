/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Threads and what they synchronize with.
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/thread.h"

#define THREADS 4
#define ROUNDS 20000

static QemuMutex mutex;
static QemuSpin spin;
static unsigned counter;

static void run_threads(void *(*fn)(void *), void *arg)
{
    QemuThread threads[THREADS];
    int i;

    for (i = 0; i < THREADS; i++) {
        qemu_thread_create(&threads[i], "test", fn, arg,
                           QEMU_THREAD_JOINABLE);
    }
    for (i = 0; i < THREADS; i++) {
        g_assert_true(qemu_thread_join(&threads[i]) == arg);
    }
}

static void *count_mutex(void *opaque)
{
    int i;

    for (i = 0; i < ROUNDS; i++) {
        QEMU_LOCK_GUARD(&mutex);
        counter++;
    }
    return opaque;
}

static void *count_spin(void *opaque)
{
    int i;

    for (i = 0; i < ROUNDS; i++) {
        qemu_spin_lock(&spin);
        counter++;
        qemu_spin_unlock(&spin);
    }
    return opaque;
}

static void test_mutex(void)
{
    qemu_mutex_init(&mutex);
    counter = 0;
    run_threads(count_mutex, &counter);
    g_assert_cmpuint(counter, ==, THREADS * ROUNDS);

    g_assert_cmpint(qemu_mutex_trylock(&mutex), ==, 0);
    g_assert_cmpint(qemu_mutex_trylock(&mutex), ==, -EBUSY);
    qemu_mutex_unlock(&mutex);
    qemu_mutex_destroy(&mutex);
}

static void test_spin(void)
{
    qemu_spin_init(&spin);
    counter = 0;
    run_threads(count_spin, &counter);
    g_assert_cmpuint(counter, ==, THREADS * ROUNDS);
}

static void test_rec_mutex(void)
{
    QemuRecMutex rec;

    qemu_rec_mutex_init(&rec);
    qemu_rec_mutex_lock(&rec);
    g_assert_cmpint(qemu_rec_mutex_trylock(&rec), ==, 0);
    qemu_rec_mutex_unlock(&rec);
    qemu_rec_mutex_unlock(&rec);
    qemu_rec_mutex_destroy(&rec);
}

static int guarded_return(QemuMutex *m)
{
    WITH_QEMU_LOCK_GUARD(m) {
        g_assert_cmpint(qemu_mutex_trylock(m), ==, -EBUSY);
        return 1;
    }
    return 0;
}

static void test_guard(void)
{
    int turns = 0;

    qemu_mutex_init(&mutex);
    g_assert_cmpint(guarded_return(&mutex), ==, 1);
    g_assert_cmpint(qemu_mutex_trylock(&mutex), ==, 0);
    qemu_mutex_unlock(&mutex);

    WITH_QEMU_LOCK_GUARD(&mutex) {
        turns++;
        break;
    }
    WITH_QEMU_LOCK_GUARD(&mutex) {
        turns++;
    }
    g_assert_cmpint(turns, ==, 2);
    g_assert_cmpint(qemu_mutex_trylock(&mutex), ==, 0);
    qemu_mutex_unlock(&mutex);
    qemu_mutex_destroy(&mutex);
}

typedef struct {
    QemuMutex lock;
    QemuCond cond;
    int turn;
} PingPong;

static void *pong(void *opaque)
{
    PingPong *p = opaque;
    int i;

    QEMU_LOCK_GUARD(&p->lock);
    for (i = 1; i < 1000; i += 2) {
        while (p->turn != i) {
            qemu_cond_wait(&p->cond, &p->lock);
        }
        p->turn++;
        qemu_cond_signal(&p->cond);
    }
    return p;
}

static void test_cond(void)
{
    PingPong p = { .turn = 0 };
    QemuThread thread;
    int i;

    qemu_mutex_init(&p.lock);
    qemu_cond_init(&p.cond);
    qemu_thread_create(&thread, "pong", pong, &p, QEMU_THREAD_JOINABLE);
    qemu_mutex_lock(&p.lock);
    g_assert_false(qemu_cond_timedwait(&p.cond, &p.lock, 1) && p.turn);
    for (i = 0; i < 1000; i += 2) {
        while (p.turn != i) {
            qemu_cond_wait(&p.cond, &p.lock);
        }
        p.turn++;
        qemu_cond_signal(&p.cond);
    }
    qemu_mutex_unlock(&p.lock);
    g_assert_true(qemu_thread_join(&thread) == &p);
    g_assert_cmpint(p.turn, ==, 1000);
    qemu_cond_destroy(&p.cond);
    qemu_mutex_destroy(&p.lock);
}

static void *poster(void *opaque)
{
    int i;

    for (i = 0; i < 1000; i++) {
        qemu_sem_post(opaque);
    }
    return NULL;
}

static void test_sem(void)
{
    QemuSemaphore sem;
    QemuThread thread;
    int i;

    qemu_sem_init(&sem, 1);
    qemu_sem_wait(&sem);
    g_assert_cmpint(qemu_sem_timedwait(&sem, 1), ==, -1);
    qemu_thread_create(&thread, "poster", poster, &sem, QEMU_THREAD_JOINABLE);
    for (i = 0; i < 999; i++) {
        qemu_sem_wait(&sem);
    }
    g_assert_cmpint(qemu_sem_timedwait(&sem, 60000), ==, 0);
    qemu_thread_join(&thread);
    g_assert_cmpint(qemu_sem_timedwait(&sem, 0), ==, -1);
    qemu_sem_destroy(&sem);
}

typedef struct {
    QemuEvent request, reply;
    int value;
} EventPair;

static void *event_server(void *opaque)
{
    EventPair *p = opaque;
    int i;

    for (i = 0; i < 10000; i++) {
        qemu_event_wait(&p->request);
        qemu_event_reset(&p->request);
        p->value++;
        qemu_event_set(&p->reply);
    }
    return p;
}

static void test_event(void)
{
    EventPair p = { .value = 0 };
    QemuThread thread;
    int i;

    qemu_event_init(&p.request, true);
    qemu_event_wait(&p.request);
    qemu_event_reset(&p.request);
    qemu_event_init(&p.reply, false);
    qemu_thread_create(&thread, "server", event_server, &p,
                       QEMU_THREAD_JOINABLE);
    for (i = 0; i < 10000; i++) {
        g_assert_cmpint(p.value, ==, i);
        qemu_event_set(&p.request);
        qemu_event_wait(&p.reply);
        qemu_event_reset(&p.reply);
    }
    qemu_thread_join(&thread);
    g_assert_cmpint(p.value, ==, 10000);
    qemu_event_destroy(&p.request);
    qemu_event_destroy(&p.reply);
}

typedef struct {
    Notifier n, removed;
    QemuThread self;
    sigset_t mask;
    char name[16];
    int calls;
} ExitNotifier;

static void exit_notify(Notifier *n, void *data)
{
    ExitNotifier *e = container_of(n, ExitNotifier, n);

    g_assert_true(qemu_thread_is_self(&e->self));
    e->calls++;
}

static void removed_notify(Notifier *n, void *data)
{
    g_assert_not_reached();
}

static void *exit_thread(void *opaque)
{
    ExitNotifier *e = opaque;

    qemu_thread_get_self(&e->self);
    pthread_getname_np(pthread_self(), e->name, sizeof(e->name));
    pthread_sigmask(SIG_BLOCK, NULL, &e->mask);
    e->n.notify = exit_notify;
    e->removed.notify = removed_notify;
    qemu_thread_atexit_add(&e->n);
    qemu_thread_atexit_add(&e->removed);
    qemu_thread_atexit_remove(&e->removed);
    qemu_thread_exit(e);
}

static void test_atexit(void)
{
    ExitNotifier e = { .calls = 0 };
    QemuThread thread;

    qemu_thread_create(&thread, "a name that is too long", exit_thread, &e,
                       QEMU_THREAD_JOINABLE);
    g_assert_true(qemu_thread_join(&thread) == &e);
    g_assert_cmpint(e.calls, ==, 1);
    g_assert_cmpstr(e.name, ==, "a name that is ");
    g_assert_true(sigismember(&e.mask, SIGTERM));
    g_assert_false(sigismember(&e.mask, SIGSEGV));
    g_assert_false(qemu_thread_is_self(&e.self));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/thread/mutex", test_mutex);
    g_test_add_func("/thread/spin", test_spin);
    g_test_add_func("/thread/rec-mutex", test_rec_mutex);
    g_test_add_func("/thread/guard", test_guard);
    g_test_add_func("/thread/cond", test_cond);
    g_test_add_func("/thread/sem", test_sem);
    g_test_add_func("/thread/event", test_event);
    g_test_add_func("/thread/atexit", test_atexit);
    return g_test_run();
}
