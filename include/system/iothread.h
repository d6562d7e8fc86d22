/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IOThread: a thread that runs an AioContext of its own.
 *
 * Nodes and BlockBackends that live in its context have their requests
 * processed there.  All functions belong to the main thread, outside
 * coroutines, unless they say otherwise.
 */
#ifndef SYSTEM_IOTHREAD_H
#define SYSTEM_IOTHREAD_H

#include "qemu/aio.h"
#include "qemu/thread.h"

/* The default of poll_max_ns: 32 us, as in QEMU. */
#define IOTHREAD_POLL_MAX_NS_DEFAULT 32768

typedef struct IOThread {
    char *id;
    AioContext *ctx;
    int thread_id;              /* as the kernel counts; valid once created */

    /*
     * What the context was told last; to be changed by the functions below
     * only.  ns; 0 for @poll_max_ns: no busy polling; 0 elsewhere: default.
     */
    int64_t poll_max_ns;
    int64_t poll_grow;
    int64_t poll_shrink;
    int64_t poll_weight;
    int64_t aio_max_batch;
    int64_t thread_pool_min;
    int64_t thread_pool_max;

    void *owner;                /* free for the object around it */

    QemuThread thread;
    QemuEvent started;
    bool stopping;              /* home thread only */
    QTAILQ_ENTRY(IOThread) link;
} IOThread;

/*
 * Start a thread with a context.  @id: not empty, and no other IOThread has
 * it.  NULL with @errp set on failure.
 */
IOThread *iothread_create(const char *id, Error **errp);

/*
 * Stop the thread, which first runs what is scheduled in it, and free all.
 * No node and no BlockBackend may be left in its context.
 */
void iothread_destroy(IOThread *iothread);

/* NULL if there is none with this @id. */
IOThread *iothread_by_id(const char *id);
/* The IOThreads in the order of their creation; NULL: the first / no more. */
IOThread *iothread_next(IOThread *iothread);
/* The IOThread that runs @ctx; NULL if none does. */
IOThread *iothread_by_aio_context(AioContext *ctx);

/* Any thread, as long as the IOThread exists. */
AioContext *iothread_get_aio_context(IOThread *iothread);
const char *iothread_get_id(const IOThread *iothread);

/*
 * Busy polling, in ns: see aio_context_set_poll_params().  False with @errp
 * set, and nothing changed, if a value is out of range.
 */
bool iothread_set_poll_params(IOThread *iothread, int64_t max_ns,
                              int64_t grow, int64_t shrink, Error **errp);
/* See aio_context_set_poll_weight(). */
bool iothread_set_poll_weight(IOThread *iothread, int64_t weight,
                              Error **errp);
/* Requests per system call at the most; 0: the engine's default. */
bool iothread_set_aio_max_batch(IOThread *iothread, int64_t max_batch,
                                Error **errp);
/* Worker threads: @min are kept, there are never more than @max. */
bool iothread_set_thread_pool_params(IOThread *iothread, int64_t min,
                                     int64_t max, Error **errp);

#endif
