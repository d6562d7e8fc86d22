/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Coroutines wait for these: mutexes, queues, reader-writer locks.
 *
 * All of them hand over: who gives something up decides who has it next, does
 * the bookkeeping for him, takes him off the list and only then wakes him.
 * So a woken coroutine owns what it waited for and checks nothing, nobody
 * overtakes it, and a list never holds a coroutine that is already on its
 * way.
 *
 * A coroutine puts itself on a list under a spin lock, drops that and yields.
 * Another thread may find it before it has yielded.  That is harmless:
 * aio_co_wake() from another thread schedules it in its own AioContext,
 * whose thread is busy with that very coroutine until it yields.
 *
 * CoMutex.state is the only thing touched when there is no contention:
 * FREE -> LOCKED and back by one compare-and-swap each.  LOCKED -> CONTENDED
 * (someone is on @waiters, or about to be) and back happen only under the
 * spin lock, and an owner who finds CONTENDED takes the spin lock too.
 */
#include "qemu/osdep.h"
#include "qemu/coroutine.h"
#include "qemu/coroutine_int.h"
#include "qemu/aio.h"
#include "trace/trace-util.h"

typedef QSIMPLEQ_HEAD(, Coroutine) CoroutineQueue;

enum {
    MUTEX_FREE,
    MUTEX_LOCKED,
    MUTEX_CONTENDED,
};

void qemu_co_mutex_init(CoMutex *mutex)
{
    mutex->state = MUTEX_FREE;
    qemu_spin_init(&mutex->lock);
    QSIMPLEQ_INIT(&mutex->waiters);
    mutex->holder = NULL;
}

/* Returns true if the mutex could be had after all, false if we are queued. */
static bool co_mutex_enqueue(CoMutex *mutex, Coroutine *self)
{
    unsigned old;

    qemu_spin_lock(&mutex->lock);
    for (;;) {
        old = qatomic_cmpxchg(&mutex->state, MUTEX_FREE, MUTEX_LOCKED);
        if (old == MUTEX_FREE) {
            qemu_spin_unlock(&mutex->lock);
            return true;
        }
        if (old == MUTEX_CONTENDED ||
            qatomic_cmpxchg(&mutex->state, MUTEX_LOCKED,
                            MUTEX_CONTENDED) == MUTEX_LOCKED) {
            break;
        }
    }
    QSIMPLEQ_INSERT_TAIL(&mutex->waiters, self, co_queue_next);
    qemu_spin_unlock(&mutex->lock);
    return false;
}

void coroutine_fn qemu_co_mutex_lock(CoMutex *mutex)
{
    Coroutine *self = qemu_coroutine_self();

    /* Pairs with the compare-and-swap in qemu_co_mutex_unlock(). */
    if (likely(qatomic_cmpxchg(&mutex->state, MUTEX_FREE,
                               MUTEX_LOCKED) == MUTEX_FREE)) {
        trace_qemu_co_mutex_lock_uncontended(mutex, self);
    } else {
        trace_qemu_co_mutex_lock_entry(mutex, self);
        assert(qatomic_read(&mutex->holder) != self);
        if (!co_mutex_enqueue(mutex, self)) {
            qemu_coroutine_yield();
        }
        trace_qemu_co_mutex_lock_return(mutex, self);
    }
    qatomic_set(&mutex->holder, self);
    self->locks_held++;
}

/* Returns the new owner. */
static Coroutine *co_mutex_hand_over(CoMutex *mutex)
{
    Coroutine *next;

    qemu_spin_lock(&mutex->lock);
    next = QSIMPLEQ_FIRST(&mutex->waiters);
    QSIMPLEQ_REMOVE_HEAD(&mutex->waiters, co_queue_next);
    if (QSIMPLEQ_EMPTY(&mutex->waiters)) {
        qatomic_set(&mutex->state, MUTEX_LOCKED);
    }
    qemu_spin_unlock(&mutex->lock);
    return next;
}

void coroutine_fn qemu_co_mutex_unlock(CoMutex *mutex)
{
    Coroutine *self = qemu_coroutine_self();
    unsigned old;

    trace_qemu_co_mutex_unlock_entry(mutex, self);
    assert(mutex->holder == self);
    qatomic_set(&mutex->holder, NULL);
    self->locks_held--;

    old = qatomic_cmpxchg(&mutex->state, MUTEX_LOCKED, MUTEX_FREE);
    if (unlikely(old != MUTEX_LOCKED)) {
        aio_co_wake(co_mutex_hand_over(mutex));
    }
    trace_qemu_co_mutex_unlock_return(mutex, self);
}

void coroutine_fn qemu_co_mutex_assert_locked(CoMutex *mutex)
{
    assert(qatomic_read(&mutex->state) != MUTEX_FREE &&
           qatomic_read(&mutex->holder) == qemu_coroutine_self());
}

/* Wake all on @queue, which is the caller's own, in order. */
static void wake_all(CoroutineQueue *queue)
{
    while (!QSIMPLEQ_EMPTY(queue)) {
        Coroutine *co = QSIMPLEQ_FIRST(queue);

        QSIMPLEQ_REMOVE_HEAD(queue, co_queue_next);
        aio_co_wake(co);
    }
}

void coroutine_fn qemu_co_queue_wait_impl(CoQueue *queue, QemuLockable *lock)
{
    Coroutine *self = qemu_coroutine_self();

    QSIMPLEQ_INSERT_TAIL(&queue->entries, self, co_queue_next);
    qemu_lockable_unlock(lock);
    qemu_coroutine_yield();
    qemu_lockable_lock(lock);
}

bool qemu_co_enter_next_impl(CoQueue *queue, QemuLockable *lock)
{
    Coroutine *next = QSIMPLEQ_FIRST(&queue->entries);

    if (!next) {
        return false;
    }
    QSIMPLEQ_REMOVE_HEAD(&queue->entries, co_queue_next);
    qemu_lockable_unlock(lock);
    aio_co_wake(next);
    qemu_lockable_lock(lock);
    return true;
}

void qemu_co_enter_all_impl(CoQueue *queue, QemuLockable *lock)
{
    CoroutineQueue all = QSIMPLEQ_HEAD_INITIALIZER(all);

    /* Those who come back to wait again are not woken a second time. */
    QSIMPLEQ_CONCAT(&all, &queue->entries);
    if (QSIMPLEQ_EMPTY(&all)) {
        return;
    }
    qemu_lockable_unlock(lock);
    wake_all(&all);
    qemu_lockable_lock(lock);
}

bool coroutine_fn qemu_co_queue_next(CoQueue *queue)
{
    QemuLockable none = { NULL, NULL, NULL };

    return qemu_co_enter_next_impl(queue, &none);
}

void coroutine_fn qemu_co_queue_restart_all(CoQueue *queue)
{
    QemuLockable none = { NULL, NULL, NULL };

    qemu_co_enter_all_impl(queue, &none);
}

/* On the stack of the coroutine that waits. */
struct CoRwTicket {
    Coroutine *co;
    bool read;
    QSIMPLEQ_ENTRY(CoRwTicket) next;
};

void qemu_co_rwlock_init(CoRwlock *lock)
{
    qemu_spin_init(&lock->lock);
    lock->owners = 0;
    QSIMPLEQ_INIT(&lock->tickets);
}

/* Under the spin lock: give the lock to all who can have it now. */
static void co_rwlock_grant(CoRwlock *lock, CoroutineQueue *granted)
{
    CoRwTicket *t;

    while ((t = QSIMPLEQ_FIRST(&lock->tickets)) != NULL) {
        if (t->read ? lock->owners < 0 : lock->owners != 0) {
            break;
        }
        lock->owners = t->read ? lock->owners + 1 : -1;
        QSIMPLEQ_REMOVE_HEAD(&lock->tickets, next);
        QSIMPLEQ_INSERT_TAIL(granted, t->co, co_queue_next);
    }
}

/*
 * Under the spin lock, which is released: take the lock if it is free for
 * @read or writing and nobody waits, else line up.
 */
static void coroutine_fn co_rwlock_acquire(CoRwlock *lock, bool read)
{
    CoroutineQueue granted = QSIMPLEQ_HEAD_INITIALIZER(granted);
    Coroutine *self = qemu_coroutine_self();
    CoRwTicket ticket = { .co = self, .read = read };

    if (QSIMPLEQ_EMPTY(&lock->tickets) &&
        (read ? lock->owners >= 0 : lock->owners == 0)) {
        lock->owners = read ? lock->owners + 1 : -1;
        qemu_spin_unlock(&lock->lock);
    } else {
        QSIMPLEQ_INSERT_TAIL(&lock->tickets, &ticket, next);

        /* Not to us: either somebody was waiting, or it is taken. */
        co_rwlock_grant(lock, &granted);
        qemu_spin_unlock(&lock->lock);
        wake_all(&granted);
        qemu_coroutine_yield();
    }
    self->locks_held++;
}

void coroutine_fn qemu_co_rwlock_rdlock(CoRwlock *lock)
{
    qemu_spin_lock(&lock->lock);
    co_rwlock_acquire(lock, true);
}

void coroutine_fn qemu_co_rwlock_wrlock(CoRwlock *lock)
{
    qemu_spin_lock(&lock->lock);
    co_rwlock_acquire(lock, false);
}

void coroutine_fn qemu_co_rwlock_upgrade(CoRwlock *lock)
{
    qemu_spin_lock(&lock->lock);
    assert(lock->owners > 0);
    lock->owners--;
    qemu_coroutine_self()->locks_held--;
    co_rwlock_acquire(lock, false);
}

void coroutine_fn qemu_co_rwlock_downgrade(CoRwlock *lock)
{
    CoroutineQueue granted = QSIMPLEQ_HEAD_INITIALIZER(granted);

    qemu_spin_lock(&lock->lock);
    assert(lock->owners == -1);
    lock->owners = 1;
    co_rwlock_grant(lock, &granted);
    qemu_spin_unlock(&lock->lock);
    wake_all(&granted);
}

void coroutine_fn qemu_co_rwlock_unlock(CoRwlock *lock)
{
    CoroutineQueue granted = QSIMPLEQ_HEAD_INITIALIZER(granted);

    assert(qemu_in_coroutine());
    qemu_spin_lock(&lock->lock);
    assert(lock->owners != 0);
    lock->owners = lock->owners < 0 ? 0 : lock->owners - 1;
    co_rwlock_grant(lock, &granted);
    qemu_spin_unlock(&lock->lock);

    qemu_coroutine_self()->locks_held--;
    wake_all(&granted);
}
