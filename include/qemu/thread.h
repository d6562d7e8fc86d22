/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Threads, mutexes, conditions, semaphores and events.
 *
 * Misuse (unlocking what is not locked, destroying what is in use) and
 * failures of the C library end the program with one line on stderr.  Unless
 * noted, a function may be called from any thread; those that wait must not
 * be called from a coroutine or an event loop that others depend on.
 */
#ifndef QEMU_THREAD_H
#define QEMU_THREAD_H

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>

#include "qemu/notify.h"

typedef struct QemuMutex {
    pthread_mutex_t lock;
    bool initialized;
} QemuMutex;

/* May be locked again by its owner; unlocked as many times. */
typedef struct QemuRecMutex {
    QemuMutex m;
} QemuRecMutex;

typedef struct QemuCond {
    pthread_cond_t cond;
    bool initialized;
} QemuCond;

typedef struct QemuSemaphore {
    sem_t sem;
    bool initialized;
} QemuSemaphore;

/* A flag to wait for; stays set until it is reset. */
typedef struct QemuEvent {
    unsigned value;
    bool initialized;
} QemuEvent;

typedef struct QemuThread {
    pthread_t thread;
} QemuThread;

/* For sections of a few instructions that call nothing. */
typedef struct QemuSpin {
    int value;
} QemuSpin;

void qemu_mutex_init(QemuMutex *mutex);
void qemu_mutex_destroy(QemuMutex *mutex);
void qemu_mutex_lock(QemuMutex *mutex);
/* Returns 0 if the mutex was taken, -EBUSY if it was not. */
int qemu_mutex_trylock(QemuMutex *mutex);
void qemu_mutex_unlock(QemuMutex *mutex);

void qemu_rec_mutex_init(QemuRecMutex *mutex);
void qemu_rec_mutex_destroy(QemuRecMutex *mutex);
void qemu_rec_mutex_lock(QemuRecMutex *mutex);
int qemu_rec_mutex_trylock(QemuRecMutex *mutex);
void qemu_rec_mutex_unlock(QemuRecMutex *mutex);

/* The clock of a timed wait is monotonic. */
void qemu_cond_init(QemuCond *cond);
void qemu_cond_destroy(QemuCond *cond);
void qemu_cond_signal(QemuCond *cond);
void qemu_cond_broadcast(QemuCond *cond);
/* As pthread_cond_wait(): wake-ups without a reason are possible. */
void qemu_cond_wait(QemuCond *cond, QemuMutex *mutex);
/* Returns false when @ms milliseconds went by. */
bool qemu_cond_timedwait(QemuCond *cond, QemuMutex *mutex, int ms);

void qemu_sem_init(QemuSemaphore *sem, int init);
void qemu_sem_destroy(QemuSemaphore *sem);
void qemu_sem_post(QemuSemaphore *sem);
void qemu_sem_wait(QemuSemaphore *sem);
/* Returns 0, or -1 when @ms milliseconds went by. */
int qemu_sem_timedwait(QemuSemaphore *sem, int ms);

/*
 * qemu_event_set() pairs with qemu_event_wait(): what the setter wrote before
 * is visible after.  A waiter that resets the event must do so before it
 * looks at the condition, and is then the only one that resets it.
 */
void qemu_event_init(QemuEvent *ev, bool init);
void qemu_event_destroy(QemuEvent *ev);
void qemu_event_set(QemuEvent *ev);
void qemu_event_reset(QemuEvent *ev);
void qemu_event_wait(QemuEvent *ev);

#define QEMU_THREAD_JOINABLE 0
#define QEMU_THREAD_DETACHED 1

/*
 * Run start_routine(@arg) in a new thread, called @name (the kernel keeps 15
 * characters), which has all signals blocked but those that report a fault of
 * its own.  With QEMU_THREAD_JOINABLE, qemu_thread_join() must follow.
 */
void qemu_thread_create(QemuThread *thread, const char *name,
                        void *(*start_routine)(void *), void *arg, int mode);

/* As above, but returns -errno when there is no thread to be had, else 0. */
int qemu_thread_try_create(QemuThread *thread, const char *name,
                           void *(*start_routine)(void *), void *arg,
                           int mode);

/* Returns what the thread returned. */
void *qemu_thread_join(QemuThread *thread);
void qemu_thread_get_self(QemuThread *thread);
bool qemu_thread_is_self(QemuThread *thread);
void qemu_thread_exit(void *retval) QEMU_NORETURN;

/*
 * Call @notifier when the current thread ends; in the main thread, when the
 * process does.  It must stay valid until then, or be removed by the thread
 * that added it.
 */
void qemu_thread_atexit_add(Notifier *notifier);
void qemu_thread_atexit_remove(Notifier *notifier);

static inline void qemu_spin_init(QemuSpin *spin)
{
    __atomic_store_n(&spin->value, 0, __ATOMIC_RELAXED);
}

static inline void qemu_spin_destroy(QemuSpin *spin)
{
    (void)spin;
}

/* Waits for an owner that lost its CPU. */
void qemu_spin_lock_slow(QemuSpin *spin);

static inline void qemu_spin_lock(QemuSpin *spin)
{
    /* Pairs with the release in qemu_spin_unlock(). */
    if (unlikely(__atomic_exchange_n(&spin->value, 1, __ATOMIC_ACQUIRE))) {
        qemu_spin_lock_slow(spin);
    }
}

static inline void qemu_spin_unlock(QemuSpin *spin)
{
    __atomic_store_n(&spin->value, 0, __ATOMIC_RELEASE);
}

#endif
