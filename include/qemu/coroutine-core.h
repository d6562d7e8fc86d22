/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Coroutines: functions with a stack of their own that give up the CPU by
 * yielding, and go on where they were when they are entered again.
 *
 * Here is the core: creation, entering, yielding, and the mutex.  Queues,
 * other locks and sleeping are in qemu/coroutine.h.
 */
#ifndef QEMU_COROUTINE_CORE_H
#define QEMU_COROUTINE_CORE_H

#include "qemu/queue.h"
#include "qemu/thread.h"

typedef void coroutine_fn CoroutineEntry(void *opaque);

/*
 * A coroutine that will run entry(@opaque) when it is first entered.  It
 * belongs to whoever holds the pointer until then, and to itself afterwards:
 * it is freed when @entry returns.  Any thread.
 */
Coroutine *qemu_coroutine_create(CoroutineEntry *entry, void *opaque);

/*
 * Run @co in this thread's current AioContext until it yields or ends, then
 * the coroutines that it has woken, and so on.  Any thread, in or outside of
 * a coroutine.  Aborts if @co is running or scheduled to run elsewhere.
 */
void qemu_coroutine_enter(Coroutine *co);

/* As above if @co is not running; otherwise nothing. */
void qemu_coroutine_enter_if_inactive(Coroutine *co);

/*
 * As qemu_coroutine_enter(), with @ctx as the AioContext that @co belongs to
 * from now on; the current thread must be running @ctx.  Wake-ups never
 * recurse: however long the chain, it runs from this one frame.
 */
void qemu_aio_coroutine_enter(AioContext *ctx, Coroutine *co);

/* Go back to whoever entered this coroutine.  In a coroutine only. */
void coroutine_fn qemu_coroutine_yield(void);

/* The AioContext in which @co runs, or ran before it yielded. */
AioContext *qemu_coroutine_get_aio_context(Coroutine *co);

/*
 * The coroutine that is running; outside of coroutines an object that stands
 * for the thread, good for comparison only.
 */
Coroutine *qemu_coroutine_self(void);

/* True in a coroutine, false in a thread's own stack. */
bool qemu_in_coroutine(void);

/*
 * True while @co is running, or waiting for a coroutine that it has entered;
 * false before its first entry and while it has yielded.  The answer is
 * stable only in the thread that runs @co.
 */
bool qemu_coroutine_entered(Coroutine *co);

/*
 * How many free coroutines are kept for reuse is the sum of what users ask
 * for, within bounds.  Any thread; each increase is undone by its decrease.
 */
void qemu_coroutine_inc_pool_size(unsigned int additional_pool_size);
void qemu_coroutine_dec_pool_size(unsigned int additional_pool_size);

/*
 * Mutual exclusion of coroutines, of one thread or of several: the waiting
 * coroutine yields.  First come, first served: unlocking hands over to the
 * coroutine that has been waiting longest.
 */
struct CoMutex {
    unsigned state;             /* atomic; see util/qemu-coroutine-lock.c */
    QemuSpin lock;              /* protects @waiters */
    QSIMPLEQ_HEAD(, Coroutine) waiters;
    Coroutine *holder;          /* written by the owner */
};

/* Any thread, before anyone uses it.  There is nothing to destroy. */
void qemu_co_mutex_init(CoMutex *mutex);

/* May yield.  Locking what one holds already is a deadlock, and aborts. */
void coroutine_fn qemu_co_mutex_lock(CoMutex *mutex);

/* By the coroutine that holds it.  Does not yield. */
void coroutine_fn qemu_co_mutex_unlock(CoMutex *mutex);

/* Abort unless this coroutine holds @mutex. */
void coroutine_fn qemu_co_mutex_assert_locked(CoMutex *mutex);

#endif
