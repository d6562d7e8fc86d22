/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Coroutines that wait for time to pass.
 */
#include "qemu/osdep.h"
#include "qemu/coroutine.h"
#include "qemu/coroutine_int.h"
#include "qemu/timer.h"
#include "qemu/aio.h"

/* The value of "scheduled" while a coroutine sleeps. */
static const char co_sleep_name[] = "qemu_co_sleep";

void qemu_co_sleep_wake(QemuCoSleep *w)
{
    Coroutine *co = w->to_wake;
    const char *scheduled;

    w->to_wake = NULL;
    if (co) {
        /* From now on it may be entered. */
        scheduled = qatomic_cmpxchg(&co->scheduled, co_sleep_name, NULL);
        assert(scheduled == co_sleep_name);
        aio_co_wake(co);
    }
}

static void co_sleep_cb(void *opaque)
{
    qemu_co_sleep_wake(opaque);
}

void coroutine_fn qemu_co_sleep(QemuCoSleep *w)
{
    Coroutine *co = qemu_coroutine_self();
    const char *scheduled;

    scheduled = qatomic_cmpxchg(&co->scheduled, NULL, co_sleep_name);
    if (scheduled) {
        fprintf(stderr, "qemu: cannot sleep in a coroutine that is already "
                "scheduled to run: %s\n", scheduled);
        abort();
    }
    assert(!w->to_wake);
    w->to_wake = co;
    qemu_coroutine_yield();

    /* The waker clears this, so nobody else has entered it. */
    assert(!w->to_wake);
}

void coroutine_fn qemu_co_sleep_ns_wakeable(QemuCoSleep *w,
                                            QEMUClockType type, int64_t ns)
{
    AioContext *ctx = qemu_get_current_aio_context();
    int64_t now = qemu_clock_get_ns(type);
    QEMUTimer ts;

    aio_timer_init(ctx, &ts, type, SCALE_NS, co_sleep_cb, w);
    timer_mod(&ts, now + MIN(MAX(ns, 0), INT64_MAX - now));
    qemu_co_sleep(w);
    timer_del(&ts);
}

void coroutine_fn qemu_co_sleep_ns(QEMUClockType type, int64_t ns)
{
    QemuCoSleep w = { NULL };

    qemu_co_sleep_ns_wakeable(&w, type, ns);
}
