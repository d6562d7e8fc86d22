/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Coroutines wait for these: queues, reader-writer locks, and time.  Includes
 * the core of the coroutine interface.
 */
#ifndef QEMU_COROUTINE_H
#define QEMU_COROUTINE_H

#include "qemu/coroutine-core.h"
#include "qemu/lockable.h"
#include "qemu/queue.h"
#include "qemu/timer.h"

/*
 * Coroutines that wait for something to become true, in order of arrival.
 * Without a lock a queue belongs to one AioContext.  With a lock, everyone
 * who touches the queue holds that lock.
 */
struct CoQueue {
    QSIMPLEQ_HEAD(, Coroutine) entries;
};

/* Inline, as is qemu_co_queue_empty(): each request has a queue. */
static inline void qemu_co_queue_init(CoQueue *queue)
{
    QSIMPLEQ_INIT(&queue->entries);
}

/*
 * Wait until woken; @lock (a CoMutex, a QemuMutex, or NULL) is released while
 * waiting and held again on return.  What was waited for must be checked
 * anew: others may have run in between.
 */
#define qemu_co_queue_wait(queue, lock)                         \
    do {                                                        \
        QemuLockable co_queue_lock_ = QEMU_MAKE_LOCKABLE(lock); \
        qemu_co_queue_wait_impl(queue, &co_queue_lock_);        \
    } while (0)

void coroutine_fn qemu_co_queue_wait_impl(CoQueue *queue, QemuLockable *lock);

/*
 * Wake the coroutine that waits longest; false if there is none.  In a
 * coroutine: the woken one runs when this one yields.
 */
bool coroutine_fn qemu_co_queue_next(CoQueue *queue);

/* Wake all that are waiting now, in order.  In a coroutine. */
void coroutine_fn qemu_co_queue_restart_all(CoQueue *queue);

/*
 * As qemu_co_queue_next() and qemu_co_queue_restart_all(), from outside of
 * coroutines as well: there, the woken coroutine runs at once.  @lock is
 * released meanwhile.
 */
#define qemu_co_enter_next(queue, lock) ({                      \
        QemuLockable co_queue_lock_ = QEMU_MAKE_LOCKABLE(lock); \
        qemu_co_enter_next_impl(queue, &co_queue_lock_); })
#define qemu_co_enter_all(queue, lock)                          \
    do {                                                        \
        QemuLockable co_queue_lock_ = QEMU_MAKE_LOCKABLE(lock); \
        qemu_co_enter_all_impl(queue, &co_queue_lock_);         \
    } while (0)

bool qemu_co_enter_next_impl(CoQueue *queue, QemuLockable *lock);
void qemu_co_enter_all_impl(CoQueue *queue, QemuLockable *lock);

static inline bool qemu_co_queue_empty(CoQueue *queue)
{
    return QSIMPLEQ_EMPTY(&queue->entries);
}

typedef struct CoRwTicket CoRwTicket;

/*
 * Many readers or one writer, across threads.  Fair: requests are granted in
 * the order in which they were made, readers next to each other together.
 */
typedef struct CoRwlock {
    QemuSpin lock;              /* protects what follows */
    int owners;                 /* readers; -1 is a writer; 0 is free */
    QSIMPLEQ_HEAD(, CoRwTicket) tickets;
} CoRwlock;

/* Any thread, before anyone uses it.  There is nothing to destroy. */
void qemu_co_rwlock_init(CoRwlock *lock);

void coroutine_fn qemu_co_rwlock_rdlock(CoRwlock *lock);
void coroutine_fn qemu_co_rwlock_wrlock(CoRwlock *lock);

/*
 * From reader to writer.  If other readers hold the lock or someone waits,
 * the lock is given up and waited for like by everybody else: a writer may
 * have come in between, so look again at what was read.
 */
void coroutine_fn qemu_co_rwlock_upgrade(CoRwlock *lock);

/* From writer to reader, without letting a writer in between. */
void coroutine_fn qemu_co_rwlock_downgrade(CoRwlock *lock);

/* By a coroutine that holds it, for reading or writing.  Does not yield. */
void coroutine_fn qemu_co_rwlock_unlock(CoRwlock *lock);

/*
 * A sleep that can be cut short.  Belongs to one AioContext; zeroed before
 * use, and again whenever nobody sleeps.
 */
typedef struct QemuCoSleep {
    Coroutine *to_wake;
} QemuCoSleep;

/* Sleep until qemu_co_sleep_wake(); nothing else may enter the coroutine. */
void coroutine_fn qemu_co_sleep(QemuCoSleep *w);

/* Wake the sleeper of @w, if there is one.  In the sleeper's AioContext. */
void qemu_co_sleep_wake(QemuCoSleep *w);

/* Sleep for @ns nanoseconds of clock @type, or until qemu_co_sleep_wake(). */
void coroutine_fn qemu_co_sleep_ns_wakeable(QemuCoSleep *w,
                                            QEMUClockType type, int64_t ns);

/* Sleep for @ns nanoseconds of clock @type; if <= 0, until the next turn. */
void coroutine_fn qemu_co_sleep_ns(QEMUClockType type, int64_t ns);

#endif
