/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How many copies a job has in flight.  See include/block/copy-window.h.
 */
#include "qemu/osdep.h"
#include <sys/resource.h>
#include "block/copy-window.h"

/* How often this thread has waited for anything. */
static long thread_sleeps(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_THREAD, &usage) < 0 ? 0 : usage.ru_nvcsw;
}

void copy_window_begin(CopyMark *mark)
{
    mark->ctx = qemu_get_current_aio_context();
    mark->sleeps = thread_sleeps();
}

void copy_window_end(CopyWindow *w, const CopyMark *mark)
{
    if (mark->ctx != qemu_get_current_aio_context()) {
        /* The job has moved: these are two threads. */
        return;
    }
    w->busy = mark->sleeps == thread_sleeps();
    if (w->busy) {
        w->size = MAX(w->size / 2, COPY_WINDOW_MIN);
    } else {
        w->size = MIN(w->size * 2, COPY_WINDOW_MAX);
    }
}

/*
 * All copies that end while a turn is due wait for it: one that went on would
 * keep the dispatch busy that the others have left.
 */
void coroutine_fn copy_window_give_way(CopyWindow *w)
{
    AioContext *ctx = qemu_get_current_aio_context();
    int64_t now = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

    if (!w->busy || now - w->turn_ns < w->turn_after_ns) {
        return;
    }
    aio_look_next(ctx);
    aio_co_schedule(ctx, qemu_coroutine_self());
    qemu_coroutine_yield();
    w->turn_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
}
