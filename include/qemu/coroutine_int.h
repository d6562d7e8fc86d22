/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside of coroutines: the structure, and the interface of a backend, which
 * knows how to make a stack and how to change from one to another.
 */
#ifndef QEMU_COROUTINE_INT_H
#define QEMU_COROUTINE_INT_H

#include "qemu/coroutine-core.h"
#include "qemu/queue.h"

/* One page of it is a guard page. */
#define COROUTINE_STACK_SIZE (1 << 20)

typedef enum {
    COROUTINE_YIELD = 1,
    COROUTINE_TERMINATE = 2,
    COROUTINE_ENTER = 3,
} CoroutineAction;

/*
 * Life of a coroutine: created (caller NULL) -> running (caller set) <->
 * yielded (caller NULL) -> terminated, free in a pool.  Only the thread that
 * runs it writes it, but for @scheduled and @co_scheduled_next, which belong
 * to whoever schedules it.
 */
struct Coroutine {
    CoroutineEntry *entry;
    void *entry_arg;
    Coroutine *caller;

    /* Where it runs; written on entry, so valid while it has yielded. */
    AioContext *ctx;

    /*
     * The function that has arranged for the coroutine to run, or NULL.
     * Atomic: set with a compare-and-swap by aio_co_schedule(), and cleared
     * before the coroutine is entered.
     */
    const char *scheduled;

    int locks_held;

    /* Coroutines that this one has woken; they run when it yields or ends. */
    QSIMPLEQ_HEAD(, Coroutine) co_queue_wakeup;

    /* On the list of what it waits for, or on a co_queue_wakeup. */
    QSIMPLEQ_ENTRY(Coroutine) co_queue_next;
    QSLIST_ENTRY(Coroutine) co_scheduled_next;
    QSLIST_ENTRY(Coroutine) pool_next;
};

/*
 * The backend, one per build.  qemu_coroutine_new() returns a coroutine with
 * a stack and nothing else set; it can run any number of entries, one after
 * the other.
 */
Coroutine *qemu_coroutine_new(void);
void qemu_coroutine_delete(Coroutine *co);

/*
 * Leave @from, which is running, for @to; @action is what @to's own call
 * returns.  Returns when somebody switches back to @from, perhaps in another
 * thread.
 */
CoroutineAction qemu_coroutine_switch(Coroutine *from, Coroutine *to,
                                      CoroutineAction action);

/*
 * A stack of *@sz bytes, rounded up to pages and with the guard page added
 * below; *@sz is set to the size of it all.  Memory is committed as it is
 * touched.  Aborts if there is no address space left.  Any thread.
 */
void *qemu_alloc_stack(size_t *sz);
void qemu_free_stack(void *stack, size_t sz);

#endif
