/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The graph lock: see include/block/graph-lock.h.
 *
 * One word has the number of readers and what the writer does.  A writer gets
 * the lock when the main thread finds no reader.  So that this happens, a
 * reader that finds a writer waiting sleeps for a moment before it locks,
 * once: it may be one that other readers, and so the writer, wait for.
 */
#include "qemu/osdep.h"
#include "block/graph-lock.h"
#include "block/block.h"
#include "qemu/aio-wait.h"

#define GRAPH_WAITING 1u        /* a writer waits */
#define GRAPH_WRITER  2u        /* a writer has the lock */
#define GRAPH_READER  4u        /* the unit in which readers are counted */

#define GRAPH_STEP_BACK_NS (500 * SCALE_US)

BdrvGraphLock graph_lock;

static unsigned graph_state;    /* atomic */
static bool has_writer;         /* main thread only */
static GPtrArray *pending_unrefs;

/* Readers of other threads that found a writer. */
static QemuSpin waiters_lock;
static CoQueue waiters = {
    .entries = QSIMPLEQ_HEAD_INITIALIZER(waiters.entries),
};

/* Main thread. */
static bool graph_try_write(void)
{
    unsigned old = qatomic_read(&graph_state);

    for (;;) {
        bool free = old < GRAPH_READER;
        unsigned new = free ? GRAPH_WRITER : old | GRAPH_WAITING;
        /* Pairs with those of the readers. */
        unsigned seen = qatomic_cmpxchg(&graph_state, old, new);

        if (seen == old) {
            return free;
        }
        old = seen;
    }
}

void GRAPH_UNCHECKED bdrv_graph_wrlock(void)
{
    GLOBAL_STATE_CODE();
    assert(!has_writer);
    if (qemu_in_coroutine()) {
        while (!graph_try_write()) {
            qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, GRAPH_STEP_BACK_NS / 8);
        }
    } else {
        AIO_WAIT_WHILE(NULL, !graph_try_write());
    }
    has_writer = true;
}

static void graph_wake_readers(void)
{
    qemu_spin_lock(&waiters_lock);
    qemu_co_enter_all(&waiters, &waiters_lock);
    qemu_spin_unlock(&waiters_lock);
}

void GRAPH_UNCHECKED bdrv_graph_wrunlock(void)
{
    GPtrArray *unrefs = g_steal_pointer(&pending_unrefs);
    guint i;

    GLOBAL_STATE_CODE();
    assert(has_writer);
    has_writer = false;
    /* Pairs with the cmpxchg of the readers. */
    qatomic_fetch_and(&graph_state, ~(GRAPH_WRITER | GRAPH_WAITING));
    graph_wake_readers();

    for (i = 0; unrefs && i < unrefs->len; i++) {
        bdrv_unref(unrefs->pdata[i]);
    }
    if (unrefs) {
        g_ptr_array_free(unrefs, true);
    }
}

/* Another thread is changing the graph; that takes no long time. */
static void coroutine_fn graph_wait_for_writer(void)
{
    qemu_spin_lock(&waiters_lock);
    /* The writer clears its bit before it looks for waiters. */
    if (qatomic_read(&graph_state) & GRAPH_WRITER) {
        qemu_co_queue_wait(&waiters, &waiters_lock);
    }
    qemu_spin_unlock(&waiters_lock);
}

void coroutine_fn GRAPH_UNCHECKED bdrv_graph_co_rdlock(void)
{
    unsigned old = qatomic_read(&graph_state);

    if (unlikely(old & GRAPH_WAITING)) {
        qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, GRAPH_STEP_BACK_NS);
        old = qatomic_read(&graph_state);
    }
    for (;;) {
        unsigned seen;

        if (unlikely(old & GRAPH_WRITER)) {
            graph_wait_for_writer();
            old = qatomic_read(&graph_state);
            continue;
        }
        /* Pairs with those of the writer. */
        seen = qatomic_cmpxchg(&graph_state, old, old + GRAPH_READER);
        if (seen == old) {
            return;
        }
        old = seen;
    }
}

void coroutine_fn GRAPH_UNCHECKED bdrv_graph_co_rdunlock(void)
{
    unsigned old = qatomic_fetch_sub(&graph_state, GRAPH_READER);

    assert(old >= GRAPH_READER);
    if (old == (GRAPH_READER | GRAPH_WAITING)) {
        aio_wait_kick();
    }
}

void bdrv_schedule_unref(BlockDriverState *bs)
{
    bdrv_graph_assert_writable();
    if (!pending_unrefs) {
        pending_unrefs = g_ptr_array_new();
    }
    g_ptr_array_add(pending_unrefs, bs);
}

void bdrv_graph_assert_writable(void)
{
    GLOBAL_STATE_CODE();
    assert(has_writer);
}

void bdrv_graph_assert_not_writable(void)
{
    assert(!qemu_in_main_thread() || !has_writer);
}
