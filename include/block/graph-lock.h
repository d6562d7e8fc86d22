/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The graph lock: who may follow the edges of the graph, and when.
 *
 * The graph changes in the main thread only, so that code there, outside
 * coroutines, follows edges without the lock.  A request follows the edges of
 * its node without the lock as well: it counts in bs->in_flight, and an edge
 * moves only while the parent is drained.  All others, which walk from node
 * to node and yield in between, hold the lock for reading.
 *
 * A writer does not poll while it holds the lock.  Readers have preference:
 * they wait only while a writer holds the lock, not while it waits for it, so
 * a reader may take it again within, and may wait for other readers.
 */
#ifndef GRAPH_LOCK_H
#define GRAPH_LOCK_H

#include "qemu/coroutine.h"

/* clang checks these with -Wthread-safety. */
#if defined(__clang__)
# define TSA(x) __attribute__((x))
#else
# define TSA(x)
#endif

/* There is one; its value says nothing. */
typedef struct TSA(capability("mutex")) BdrvGraphLock {
    int dummy;
} BdrvGraphLock;
extern BdrvGraphLock graph_lock;

/* The caller holds the lock, for reading or writing / for writing. */
#define GRAPH_RDLOCK TSA(requires_shared_capability(graph_lock))
#define GRAPH_WRLOCK TSA(requires_capability(graph_lock))
/* A function that is right for reasons that clang cannot see. */
#define GRAPH_UNCHECKED TSA(no_thread_safety_analysis)

/*
 * Main thread.  Waits for the readers, and polls meanwhile (in a coroutine:
 * yields); does not nest.
 */
void TSA(acquire_capability(graph_lock)) bdrv_graph_wrlock(void);
/* Drops the references of bdrv_schedule_unref() as well. */
void TSA(release_capability(graph_lock)) bdrv_graph_wrunlock(void);

/* Coroutines of any thread; nests.  May yield. */
void coroutine_fn TSA(acquire_shared_capability(graph_lock))
bdrv_graph_co_rdlock(void);
void coroutine_fn TSA(release_shared_capability(graph_lock))
bdrv_graph_co_rdunlock(void);

/* Main thread outside coroutines: nothing to do, but clang is told. */
static inline void TSA(acquire_shared_capability(graph_lock)) GRAPH_UNCHECKED
bdrv_graph_rdlock_main_loop(void)
{
    assert(!qemu_in_coroutine());
}

static inline void TSA(release_shared_capability(graph_lock)) GRAPH_UNCHECKED
bdrv_graph_rdunlock_main_loop(void)
{
}

/* Drop a reference when the lock has been released.  Main thread. */
void GRAPH_WRLOCK bdrv_schedule_unref(BlockDriverState *bs);

/* Abort unless the main thread holds the lock for writing / does not. */
void bdrv_graph_assert_writable(void);
void bdrv_graph_assert_not_writable(void);

#endif
