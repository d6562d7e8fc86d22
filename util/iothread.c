/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IOThread: a thread that runs an AioContext of its own.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/aio-wait.h"
#include "qemu/main-loop.h"
#include "system/iothread.h"

#include <sys/syscall.h>

static QTAILQ_HEAD(, IOThread) all_iothreads =
    QTAILQ_HEAD_INITIALIZER(all_iothreads);

static void *iothread_run(void *opaque)
{
    IOThread *iothread = opaque;

    qemu_set_current_aio_context(iothread->ctx);
    iothread->thread_id = syscall(SYS_gettid);
    qemu_event_set(&iothread->started);
    while (!iothread->stopping) {
        aio_poll(iothread->ctx, true);
    }
    /* What was scheduled before the end still runs. */
    while (aio_poll(iothread->ctx, false)) {
        /* until there is no progress */
    }
    return NULL;
}

static void iothread_stop_bh(void *opaque)
{
    IOThread *iothread = opaque;

    iothread->stopping = true;
}

static void iothread_free(IOThread *iothread)
{
    if (iothread->ctx) {
        aio_context_unref(iothread->ctx);
    }
    qemu_event_destroy(&iothread->started);
    g_free(iothread->id);
    g_free(iothread);
}

IOThread *iothread_create(const char *id, Error **errp)
{
    IOThread *iothread;
    g_autofree char *name = NULL;
    int ret;

    GLOBAL_STATE_CODE();
    if (!*id) {
        error_setg(errp, "An iothread needs an ID");
        return NULL;
    }
    if (iothread_by_id(id)) {
        error_setg(errp, "There is an iothread '%s' already", id);
        return NULL;
    }
    iothread = g_new0(IOThread, 1);
    iothread->id = g_strdup(id);
    qemu_event_init(&iothread->started, false);
    iothread->ctx = aio_context_new(errp);
    if (!iothread->ctx) {
        iothread_free(iothread);
        return NULL;
    }
    iothread->poll_max_ns = IOTHREAD_POLL_MAX_NS_DEFAULT;
    iothread->thread_pool_max = iothread->ctx->thread_pool_max;
    aio_context_set_poll_params(iothread->ctx, iothread->poll_max_ns, 0, 0,
                                &error_abort);

    name = g_strdup_printf("IO %s", id);
    ret = qemu_thread_try_create(&iothread->thread, name, iothread_run,
                                 iothread, QEMU_THREAD_JOINABLE);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not start the thread of iothread "
                         "'%s'", id);
        iothread_free(iothread);
        return NULL;
    }
    qemu_event_wait(&iothread->started);
    QTAILQ_INSERT_TAIL(&all_iothreads, iothread, link);
    return iothread;
}

void iothread_destroy(IOThread *iothread)
{
    GLOBAL_STATE_CODE();
    if (!iothread) {
        return;
    }
    QTAILQ_REMOVE(&all_iothreads, iothread, link);
    aio_bh_schedule_oneshot(iothread->ctx, iothread_stop_bh, iothread);
    qemu_thread_join(&iothread->thread);
    iothread_free(iothread);
}

IOThread *iothread_by_id(const char *id)
{
    IOThread *iothread;

    GLOBAL_STATE_CODE();
    QTAILQ_FOREACH(iothread, &all_iothreads, link) {
        if (!strcmp(iothread->id, id)) {
            return iothread;
        }
    }
    return NULL;
}

IOThread *iothread_next(IOThread *iothread)
{
    GLOBAL_STATE_CODE();
    return iothread ? QTAILQ_NEXT(iothread, link)
                    : QTAILQ_FIRST(&all_iothreads);
}

IOThread *iothread_by_aio_context(AioContext *ctx)
{
    IOThread *iothread;

    GLOBAL_STATE_CODE();
    QTAILQ_FOREACH(iothread, &all_iothreads, link) {
        if (iothread->ctx == ctx) {
            return iothread;
        }
    }
    return NULL;
}

AioContext *iothread_get_aio_context(IOThread *iothread)
{
    return iothread->ctx;
}

const char *iothread_get_id(const IOThread *iothread)
{
    return iothread->id;
}

/* --- parameters: the context reads them in its home thread --- */

static void iothread_apply_bh(void *opaque)
{
    IOThread *t = opaque;

    aio_context_set_poll_params(t->ctx, t->poll_max_ns, t->poll_grow,
                                t->poll_shrink, &error_abort);
    aio_context_set_poll_weight(t->ctx, t->poll_weight);
    aio_context_set_aio_params(t->ctx, t->aio_max_batch);
    aio_context_set_thread_pool_params(t->ctx, t->thread_pool_min,
                                       t->thread_pool_max, &error_abort);
}

static bool iothread_check_param(int64_t value, int64_t min, int64_t max,
                                 const char *name, Error **errp)
{
    if (value < min || value > max) {
        error_setg(errp, "%s value must be in range [%" PRId64 ", %" PRId64
                   "]", name, min, max);
        return false;
    }
    return true;
}

bool iothread_set_poll_params(IOThread *iothread, int64_t max_ns,
                              int64_t grow, int64_t shrink, Error **errp)
{
    GLOBAL_STATE_CODE();
    if (!iothread_check_param(max_ns, 0, INT64_MAX, "poll-max-ns", errp) ||
        !iothread_check_param(grow, 0, INT64_MAX, "poll-grow", errp) ||
        !iothread_check_param(shrink, 0, INT64_MAX, "poll-shrink", errp)) {
        return false;
    }
    iothread->poll_max_ns = max_ns;
    iothread->poll_grow = grow;
    iothread->poll_shrink = shrink;
    aio_wait_bh_oneshot(iothread->ctx, iothread_apply_bh, iothread);
    return true;
}

bool iothread_set_poll_weight(IOThread *iothread, int64_t weight, Error **errp)
{
    GLOBAL_STATE_CODE();
    if (!iothread_check_param(weight, 0, 63, "poll-weight", errp)) {
        return false;
    }
    iothread->poll_weight = weight;
    aio_wait_bh_oneshot(iothread->ctx, iothread_apply_bh, iothread);
    return true;
}

bool iothread_set_aio_max_batch(IOThread *iothread, int64_t max_batch,
                                Error **errp)
{
    GLOBAL_STATE_CODE();
    if (!iothread_check_param(max_batch, 0, INT64_MAX, "aio-max-batch",
                              errp)) {
        return false;
    }
    iothread->aio_max_batch = max_batch;
    aio_wait_bh_oneshot(iothread->ctx, iothread_apply_bh, iothread);
    return true;
}

bool iothread_set_thread_pool_params(IOThread *iothread, int64_t min,
                                     int64_t max, Error **errp)
{
    GLOBAL_STATE_CODE();
    if (!iothread_check_param(min, 0, INT_MAX, "thread-pool-min", errp) ||
        !iothread_check_param(max, 1, INT_MAX, "thread-pool-max", errp)) {
        return false;
    }
    if (min > max) {
        error_setg(errp, "bad thread-pool-min/thread-pool-max values");
        return false;
    }
    iothread->thread_pool_min = min;
    iothread->thread_pool_max = max;
    aio_wait_bh_oneshot(iothread->ctx, iothread_apply_bh, iothread);
    return true;
}
