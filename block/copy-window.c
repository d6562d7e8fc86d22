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

static int64_t process_cpu_ns(void)
{
    struct timespec ts;

    return clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts) < 0 ? 0 :
           ts.tv_sec * NANOSECONDS_PER_SECOND + ts.tv_nsec;
}

void copy_window_begin(CopyMark *mark)
{
    mark->ctx = qemu_get_current_aio_context();
    mark->sleeps = thread_sleeps();
    mark->cpu_ns = process_cpu_ns();
    mark->time_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
}

void copy_window_judge(CopyWindow *w, bool slept, int64_t cpu_ns,
                       int64_t time_ns, int cpus)
{
    w->busy = !slept;
    if (!slept) {
        w->size = MAX(w->size / 2, 1);
    } else if (cpu_ns >= time_ns * cpus / 2) {
        /* Workers copy, and one of them keeps each processor busy. */
        w->size = MAX(w->size / 2, MAX(cpus, 1));
    } else {
        w->size = MIN(w->size * 2, COPY_WINDOW_MAX);
    }
}

void copy_window_end(CopyWindow *w, const CopyMark *mark)
{
    if (mark->ctx != qemu_get_current_aio_context()) {
        /* The job has moved: these are two threads. */
        return;
    }
    copy_window_judge(w, mark->sleeps != thread_sleeps(),
                      process_cpu_ns() - mark->cpu_ns,
                      qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - mark->time_ns,
                      qemu_processors());
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
    aio_co_give_way();
    w->turn_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
}
