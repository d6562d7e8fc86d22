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
    if (mark->sleeps == thread_sleeps()) {
        w->size = MAX(w->size / 2, COPY_WINDOW_MIN);
    } else {
        w->size = MIN(w->size * 2, COPY_WINDOW_MAX);
    }
}
