/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux AIO engine: requests that the kernel completes without a signal.
 *
 * To signal an eventfd takes the kernel a tenth of the time of a short request,
 * and what is complete when io_submit(2) returns needs no signal, since the
 * engine looks at the ring.  So where the calls before have completed all that
 * they were given, a call asks for the signal of its last request only.
 *
 * Where the kernel then keeps a request all the same, a timer looks for it, and
 * four times as many calls must go well before it is tried again (L3).
 *
 * All of it belongs to the home thread of the engine.
 */
#ifndef BLOCK_LINUX_AIO_QUIET_H
#define BLOCK_LINUX_AIO_QUIET_H

#include "block/linux-aio.h"
#include "block/linux-aio-ring.h"
#include "qemu/timer.h"

typedef struct LaioQuiet {
    io_context_t ctx;
    unsigned requests;          /* quiet ones, accepted and not yet reaped */
    unsigned run;               /* calls in a row that have completed all */
    unsigned after;             /* the run that it takes */
    QEMUTimer *timer;
    bool armed;
    int64_t delay_ns;           /* of the next look */
} LaioQuiet;

/* Of iocb.u.c.flags: the completion signals the eventfd. */
#define LAIO_IOCB_RESFD 1u

/*
 * The flag is the kernel's, or that of a library in between which changes it;
 * what the engine has asked for is in the field that is its own.
 */
static inline bool laio_is_quiet(const struct iocb *cb)
{
    return cb->data;
}

static inline void laio_set_quiet(struct iocb *cb, bool quiet)
{
    cb->data = quiet ? cb : NULL;
    cb->u.c.flags = quiet ? 0 : LAIO_IOCB_RESFD;
}

/* @look, called with @opaque when it is time, calls laio_quiet_look(). */
static inline void laio_quiet_attach(LaioQuiet *q, io_context_t ctx,
                                     AioContext *aio_context,
                                     void (*look)(void *), void *opaque)
{
    *q = (LaioQuiet) {
        .ctx = ctx,
        .after = LAIO_QUIET_CALLS,
        .timer = aio_timer_new(aio_context, QEMU_CLOCK_REALTIME, SCALE_NS,
                               look, opaque),
    };
}

/* No request is in flight. */
static inline void laio_quiet_detach(LaioQuiet *q)
{
    assert(!q->requests);
    timer_free(q->timer);
    q->timer = NULL;
    q->armed = false;
}

/* May the requests of the next call be quiet, but for the last? */
static inline bool laio_quiet_wanted(const LaioQuiet *q)
{
    return q->run >= q->after;
}

/* Requests that the kernel has, and of whose end it will not tell. */
static inline unsigned laio_quiet_in_kernel(const LaioQuiet *q)
{
    struct aio_ring *ring = laio_ring(q->ctx);
    unsigned i, n, on_ring = 0;

    if (!q->requests) {
        return 0;
    }
    n = laio_count_events(q->ctx);
    for (i = 0; i < n; i++) {
        unsigned at = ring->head + i;

        at = at < ring->nr ? at : at - ring->nr;
        on_ring += laio_is_quiet(ring->io_events[at].obj);
    }
    return q->requests - on_ring;
}

static inline void laio_quiet_arm(LaioQuiet *q)
{
    q->armed = true;
    timer_mod(q->timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + q->delay_ns);
    q->delay_ns = MIN(q->delay_ns * 2, LAIO_LOOK_MAX_NS);
}

/*
 * The timer's time has come: the caller looks at the ring.  Called before any
 * callback, whose nested event loop may wait for a request that is not there.
 */
static inline void laio_quiet_look(LaioQuiet *q)
{
    q->armed = false;
    if (laio_quiet_in_kernel(q)) {
        laio_quiet_arm(q);
    }
}

/*
 * An io_submit(2) has taken requests; @in_flight are accepted and not yet
 * reaped.  The clock is read only if the kernel has kept a quiet one.
 */
static inline void laio_quiet_note_call(LaioQuiet *q, unsigned in_flight)
{
    if (in_flight == laio_count_events(q->ctx)) {
        q->run = MIN(q->run + 1, LAIO_QUIET_MAX);
        return;
    }
    q->run = 0;
    if (!q->armed && laio_quiet_in_kernel(q)) {
        q->after = MIN(q->after * 4, LAIO_QUIET_MAX);
        q->delay_ns = LAIO_LOOK_MIN_NS;
        laio_quiet_arm(q);
    }
}

#endif
