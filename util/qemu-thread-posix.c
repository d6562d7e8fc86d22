/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Threads, mutexes, conditions, semaphores and events on POSIX threads.
 */
#include "qemu/osdep.h"
#include "qemu/thread.h"

#include <linux/futex.h>
#include <sys/syscall.h>

/* Without sem_clockwait(), or where a sanitizer does not know of it. */
#if defined(__GLIBC__) && defined(__GLIBC_PREREQ) && \
    !defined(QEMU_SANITIZE_THREAD)
# if __GLIBC_PREREQ(2, 30)
#  define HAVE_SEM_CLOCKWAIT 1
# endif
#endif

static void QEMU_NORETURN posix_error_exit(int err, const char *msg)
{
    fprintf(stderr, "qemu: %s: %s\n", msg, strerror(err));
    abort();
}

static void check(int err, const char *msg)
{
    if (unlikely(err)) {
        posix_error_exit(err, msg);
    }
}

static void deadline_ms(clockid_t clock, int ms, struct timespec *ts)
{
    if (clock_gettime(clock, ts) < 0) {
        posix_error_exit(errno, __func__);
    }
    ts->tv_sec += ms / 1000;
    ts->tv_nsec += (ms % 1000) * 1000000L;
    if (ts->tv_nsec >= 1000000000L) {
        ts->tv_sec++;
        ts->tv_nsec -= 1000000000L;
    }
}

static void mutex_init_type(QemuMutex *mutex, int type)
{
    pthread_mutexattr_t attr;

    check(pthread_mutexattr_init(&attr), __func__);
    check(pthread_mutexattr_settype(&attr, type), __func__);
    check(pthread_mutex_init(&mutex->lock, &attr), __func__);
    pthread_mutexattr_destroy(&attr);
    mutex->initialized = true;
}

void qemu_mutex_init(QemuMutex *mutex)
{
    mutex_init_type(mutex, PTHREAD_MUTEX_NORMAL);
}

void qemu_mutex_destroy(QemuMutex *mutex)
{
    assert(mutex->initialized);
    mutex->initialized = false;
    check(pthread_mutex_destroy(&mutex->lock), __func__);
}

void qemu_mutex_lock(QemuMutex *mutex)
{
    assert(mutex->initialized);
    check(pthread_mutex_lock(&mutex->lock), __func__);
}

int qemu_mutex_trylock(QemuMutex *mutex)
{
    int err;

    assert(mutex->initialized);
    err = pthread_mutex_trylock(&mutex->lock);
    if (err == EBUSY) {
        return -EBUSY;
    }
    check(err, __func__);
    return 0;
}

void qemu_mutex_unlock(QemuMutex *mutex)
{
    assert(mutex->initialized);
    check(pthread_mutex_unlock(&mutex->lock), __func__);
}

void qemu_rec_mutex_init(QemuRecMutex *mutex)
{
    mutex_init_type(&mutex->m, PTHREAD_MUTEX_RECURSIVE);
}

void qemu_rec_mutex_destroy(QemuRecMutex *mutex)
{
    qemu_mutex_destroy(&mutex->m);
}

void qemu_rec_mutex_lock(QemuRecMutex *mutex)
{
    qemu_mutex_lock(&mutex->m);
}

int qemu_rec_mutex_trylock(QemuRecMutex *mutex)
{
    return qemu_mutex_trylock(&mutex->m);
}

void qemu_rec_mutex_unlock(QemuRecMutex *mutex)
{
    qemu_mutex_unlock(&mutex->m);
}

void qemu_cond_init(QemuCond *cond)
{
    pthread_condattr_t attr;

    check(pthread_condattr_init(&attr), __func__);
    check(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC), __func__);
    check(pthread_cond_init(&cond->cond, &attr), __func__);
    pthread_condattr_destroy(&attr);
    cond->initialized = true;
}

void qemu_cond_destroy(QemuCond *cond)
{
    assert(cond->initialized);
    cond->initialized = false;
    check(pthread_cond_destroy(&cond->cond), __func__);
}

void qemu_cond_signal(QemuCond *cond)
{
    assert(cond->initialized);
    check(pthread_cond_signal(&cond->cond), __func__);
}

void qemu_cond_broadcast(QemuCond *cond)
{
    assert(cond->initialized);
    check(pthread_cond_broadcast(&cond->cond), __func__);
}

void qemu_cond_wait(QemuCond *cond, QemuMutex *mutex)
{
    assert(cond->initialized);
    check(pthread_cond_wait(&cond->cond, &mutex->lock), __func__);
}

bool qemu_cond_timedwait(QemuCond *cond, QemuMutex *mutex, int ms)
{
    struct timespec ts;
    int err;

    assert(cond->initialized);
    deadline_ms(CLOCK_MONOTONIC, ms, &ts);
    err = pthread_cond_timedwait(&cond->cond, &mutex->lock, &ts);
    if (err == ETIMEDOUT) {
        return false;
    }
    check(err, __func__);
    return true;
}

void qemu_sem_init(QemuSemaphore *sem, int init)
{
    if (sem_init(&sem->sem, 0, init) < 0) {
        posix_error_exit(errno, __func__);
    }
    sem->initialized = true;
}

void qemu_sem_destroy(QemuSemaphore *sem)
{
    assert(sem->initialized);
    sem->initialized = false;
    sem_destroy(&sem->sem);
}

void qemu_sem_post(QemuSemaphore *sem)
{
    assert(sem->initialized);
    if (sem_post(&sem->sem) < 0) {
        posix_error_exit(errno, __func__);
    }
}

void qemu_sem_wait(QemuSemaphore *sem)
{
    assert(sem->initialized);
    if (RETRY_ON_EINTR(sem_wait(&sem->sem)) < 0) {
        posix_error_exit(errno, __func__);
    }
}

int qemu_sem_timedwait(QemuSemaphore *sem, int ms)
{
    struct timespec ts;
    int ret;

    assert(sem->initialized);
#ifdef HAVE_SEM_CLOCKWAIT
    deadline_ms(CLOCK_MONOTONIC, ms, &ts);
    ret = RETRY_ON_EINTR(sem_clockwait(&sem->sem, CLOCK_MONOTONIC, &ts));
#else
    deadline_ms(CLOCK_REALTIME, ms, &ts);
    ret = RETRY_ON_EINTR(sem_timedwait(&sem->sem, &ts));
#endif
    if (ret < 0 && errno != ETIMEDOUT) {
        posix_error_exit(errno, __func__);
    }
    return ret;
}

/*
 * QemuEvent: a futex word.  CLEAR -> WAITED by a waiter about to sleep, so
 * that a setter makes a system call only if somebody may be asleep.
 */
enum {
    EVENT_SET,
    EVENT_CLEAR,
    EVENT_WAITED,
};

static void futex_wake_all(unsigned *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Sleep while *@word is @value.  May return early. */
static void futex_wait(unsigned *word, unsigned value)
{
    if (syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value,
                NULL, NULL, 0) < 0 &&
        errno != EAGAIN && errno != EINTR) {
        posix_error_exit(errno, __func__);
    }
}

void qemu_event_init(QemuEvent *ev, bool init)
{
    qatomic_set(&ev->value, init ? EVENT_SET : EVENT_CLEAR);
    ev->initialized = true;
}

void qemu_event_destroy(QemuEvent *ev)
{
    assert(ev->initialized);
    ev->initialized = false;
}

void qemu_event_set(QemuEvent *ev)
{
    assert(ev->initialized);

    /* Pairs with qemu_event_reset() and the loads in qemu_event_wait(). */
    if (qatomic_xchg(&ev->value, EVENT_SET) == EVENT_WAITED) {
        futex_wake_all(&ev->value);
    }
}

void qemu_event_reset(QemuEvent *ev)
{
    assert(ev->initialized);

    /*
     * If this takes a set back, it pairs with the exchange that made it, and
     * the caller sees the setter's condition.  A set that this misses comes
     * later in the order of the word, and ends the next wait.
     */
    qatomic_cmpxchg(&ev->value, EVENT_SET, EVENT_CLEAR);
}

void qemu_event_wait(QemuEvent *ev)
{
    assert(ev->initialized);

    /* Pairs with the exchange in qemu_event_set(). */
    while (qatomic_load_acquire(&ev->value) != EVENT_SET) {
        unsigned old = qatomic_cmpxchg(&ev->value, EVENT_CLEAR, EVENT_WAITED);

        if (old == EVENT_SET) {
            return;
        }
        futex_wait(&ev->value, EVENT_WAITED);

        /* A set followed by a reset is a set for those who were asleep. */
        if (qatomic_load_acquire(&ev->value) == EVENT_CLEAR) {
            return;
        }
    }
}

void qemu_spin_lock_slow(QemuSpin *spin)
{
    unsigned turns = 0;

    do {
        /* Read until it looks free, to leave the cache line to the owner. */
        while (__atomic_load_n(&spin->value, __ATOMIC_RELAXED)) {
            if (++turns % 256 == 0) {
                sched_yield();
            }
        }
    } while (__atomic_exchange_n(&spin->value, 1, __ATOMIC_ACQUIRE));
}

/*
 * Notifiers of the end of a thread.  The key's destructor runs them, in any
 * thread however it was made; the main thread has no destructors, but exit().
 */
static __thread NotifierList thread_exit_list;
static pthread_key_t thread_exit_key;

static void thread_exit_run(void *list)
{
    /* One at a time, as a notifier may add another or remove itself. */
    while (!notifier_list_empty(list)) {
        Notifier *n = QLIST_FIRST(&((NotifierList *)list)->notifiers);

        notifier_remove(n);
        n->notify(n, NULL);
    }
}

static void process_exit_run(void)
{
    thread_exit_run(&thread_exit_list);
}

static void __attribute__((constructor)) thread_exit_init(void)
{
    check(pthread_key_create(&thread_exit_key, thread_exit_run), __func__);
    atexit(process_exit_run);
}

void qemu_thread_atexit_add(Notifier *notifier)
{
    /* Anew each time: the destructor forgets the value before it runs. */
    check(pthread_setspecific(thread_exit_key, &thread_exit_list), __func__);
    notifier_list_add(&thread_exit_list, notifier);
}

void qemu_thread_atexit_remove(Notifier *notifier)
{
    notifier_remove(notifier);
}

typedef struct {
    void *(*start_routine)(void *);
    void *arg;
    char name[16];
} QemuThreadArgs;

static void *qemu_thread_start(void *opaque)
{
    QemuThreadArgs args = *(QemuThreadArgs *)opaque;

    g_free(opaque);
    if (args.name[0]) {
        pthread_setname_np(pthread_self(), args.name);
    }
    return args.start_routine(args.arg);
}

/* All signals but those that a thread brings upon itself. */
static void thread_signal_mask(sigset_t *set)
{
    sigfillset(set);
    sigdelset(set, SIGSEGV);
    sigdelset(set, SIGBUS);
    sigdelset(set, SIGFPE);
    sigdelset(set, SIGILL);
    sigdelset(set, SIGTRAP);
    sigdelset(set, SIGABRT);
}

int qemu_thread_try_create(QemuThread *thread, const char *name,
                           void *(*start_routine)(void *), void *arg,
                           int mode)
{
    QemuThreadArgs *args = g_new0(QemuThreadArgs, 1);
    sigset_t set, oldset;
    pthread_attr_t attr;
    int err;

    args->start_routine = start_routine;
    args->arg = arg;
    g_strlcpy(args->name, name ? name : "", sizeof(args->name));

    check(pthread_attr_init(&attr), __func__);
    if (mode == QEMU_THREAD_DETACHED) {
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    }

    /* The new thread inherits the mask, so it never runs without it. */
    thread_signal_mask(&set);
    pthread_sigmask(SIG_SETMASK, &set, &oldset);
    err = pthread_create(&thread->thread, &attr, qemu_thread_start, args);
    pthread_sigmask(SIG_SETMASK, &oldset, NULL);

    pthread_attr_destroy(&attr);
    if (err) {
        g_free(args);
    }
    return -err;
}

void qemu_thread_create(QemuThread *thread, const char *name,
                        void *(*start_routine)(void *), void *arg, int mode)
{
    check(-qemu_thread_try_create(thread, name, start_routine, arg, mode),
          __func__);
}

void *qemu_thread_join(QemuThread *thread)
{
    void *ret;

    check(pthread_join(thread->thread, &ret), __func__);
    return ret;
}

void qemu_thread_get_self(QemuThread *thread)
{
    thread->thread = pthread_self();
}

bool qemu_thread_is_self(QemuThread *thread)
{
    return pthread_equal(pthread_self(), thread->thread);
}

void qemu_thread_exit(void *retval)
{
    pthread_exit(retval);
}
