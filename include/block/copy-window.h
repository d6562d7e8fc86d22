/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How many copies a job in the background has in flight.
 *
 * Several copies at once keep a disk busy while the thread waits.  Where the
 * thread itself does the copying, as with Linux AIO on a tmpfs or in a page
 * cache, more of them are only a longer queue, in which the requests of others
 * wait.  The window tells these cases apart: the thread has not slept from the
 * beginning of a copy to its end if it had work all that time, and then fewer
 * copies are enough.  The same holds where worker threads do the copying and
 * keep the processors busy.  Else more may help.
 *
 * All of it belongs to the coroutines of one job, in one AioContext at a time.
 */
#ifndef BLOCK_COPY_WINDOW_H
#define BLOCK_COPY_WINDOW_H

#include "qemu/aio.h"
#include "qemu/coroutine.h"
#include "qemu/timer.h"

/* So many at first: one is read while the other one is written. */
#define COPY_WINDOW_START 2
#define COPY_WINDOW_MAX 1024

/* One copy, at most, where the thread does it while others wait. */
#define COPY_WINDOW_BYTES (256 * KiB)

/* How long the thread copies before others get a turn; at first, at most. */
#define COPY_WINDOW_TURN_NS (100 * SCALE_US)
#define COPY_WINDOW_TURN_MAX_NS (100 * SCALE_MS)

typedef struct CopyWindow {
    int size;
    int min;                    /* so many may be in flight in any case */
    bool busy;                  /* the thread did the last copy itself */
    int64_t turn_ns;            /* when others had their last turn */
    int64_t turn_after_ns;      /* and how long after it they have the next */
} CopyWindow;

/* The beginning of one copy. */
typedef struct CopyMark {
    AioContext *ctx;
    long sleeps;                /* of the thread, until then */
    int64_t cpu_ns;             /* of the process */
    int64_t time_ns;
} CopyMark;

/* A job begins with the fewest. */
static inline void copy_window_init(CopyWindow *w)
{
    *w = (CopyWindow) {
        .size = COPY_WINDOW_START,
        .min = 1,
        .turn_after_ns = COPY_WINDOW_TURN_NS,
    };
}

/* Copies that may be in flight, of @max that the user allows. */
static inline int copy_window_size(const CopyWindow *w, int max)
{
    return MIN(MAX(w->size, w->min), max);
}

/*
 * Others make work for the job faster than it copies: more copies are in
 * flight, and others have fewer turns.
 */
static inline void copy_window_hurry(CopyWindow *w)
{
    w->min = MIN(w->min * 4, COPY_WINDOW_MAX);
    w->turn_after_ns = MIN(w->turn_after_ns * 8, COPY_WINDOW_TURN_MAX_NS);
}

/* It has caught up with them. */
static inline void copy_window_relax(CopyWindow *w)
{
    w->min = 1;
    w->turn_after_ns = COPY_WINDOW_TURN_NS;
}

/* Bytes of the next copy, of @max that the job would take. */
static inline int64_t copy_window_bytes(const CopyWindow *w, int64_t max)
{
    return w->busy && w->turn_after_ns == COPY_WINDOW_TURN_NS ?
           MIN(max, COPY_WINDOW_BYTES) : max;
}

/*
 * A copy has ended, in which the thread has slept, or not; in @time_ns the
 * process used @cpu_ns of @cpus processors.
 */
void copy_window_judge(CopyWindow *w, bool slept, int64_t cpu_ns,
                       int64_t time_ns, int cpus);

/* One copy begins, and ends. */
void copy_window_begin(CopyMark *mark);
void copy_window_end(CopyWindow *w, const CopyMark *mark);

/*
 * After a copy, with nothing held that others wait for: where the thread itself
 * does the copying, let the event loop look at descriptors.  Else a request
 * that comes waits until the engine's dispatch has used up its time.
 */
void coroutine_fn copy_window_give_way(CopyWindow *w);

#endif
