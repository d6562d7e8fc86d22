/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clocks and timers.
 *
 * A timer belongs to the QEMUTimerList of one clock in one AioContext, whose
 * event loop runs its callback.  timer_mod() and timer_del() may be called
 * from any thread; the callback runs in the home thread of the AioContext,
 * outside coroutines.
 */
#ifndef QEMU_TIMER_H
#define QEMU_TIMER_H

#define SCALE_MS 1000000
#define SCALE_US 1000
#define SCALE_NS 1
#define NANOSECONDS_PER_SECOND 1000000000LL

typedef enum {
    QEMU_CLOCK_REALTIME = 0,    /* CLOCK_MONOTONIC */
    QEMU_CLOCK_VIRTUAL = 1,     /* the same here: there is no guest to stop */
    QEMU_CLOCK_HOST = 2,        /* wall clock */
    QEMU_CLOCK_MAX
} QEMUClockType;

typedef void QEMUTimerCB(void *opaque);
typedef struct QEMUTimerList QEMUTimerList;

struct QEMUTimer {
    int64_t expire_time;        /* ns; -1 while it is not armed */
    QEMUTimerList *timer_list;
    QEMUTimerCB *cb;
    void *opaque;
    QEMUTimer *next;
    int scale;                  /* ns per unit that timer_mod() is given */
};

typedef struct QEMUTimerListGroup {
    QEMUTimerList *tl[QEMU_CLOCK_MAX];
} QEMUTimerListGroup;

/* Now, in ns; any thread. */
int64_t qemu_clock_get_ns(QEMUClockType type);

static inline int64_t qemu_clock_get_ms(QEMUClockType type)
{
    return qemu_clock_get_ns(type) / SCALE_MS;
}

/* Called with the list whose first deadline came nearer; any thread. */
typedef void QEMUTimerListNotifyCB(void *opaque, QEMUClockType type);

void timerlistgroup_init(QEMUTimerListGroup *tlg, QEMUTimerListNotifyCB *cb,
                         void *opaque);
/* No timer may be armed any more. */
void timerlistgroup_deinit(QEMUTimerListGroup *tlg);
/* Run what has expired; true if a callback ran.  Home thread. */
bool timerlistgroup_run_timers(QEMUTimerListGroup *tlg);
/* Time until the first deadline in ns, 0 if it has passed, -1 for none. */
int64_t timerlistgroup_deadline_ns(QEMUTimerListGroup *tlg);

/* Prepare a timer in memory that the caller owns; it is not armed. */
void timer_init_tlg(QEMUTimer *ts, QEMUTimerListGroup *tlg, QEMUClockType type,
                    int scale, QEMUTimerCB *cb, void *opaque);
/* Arm, or move, to an absolute time on its clock (in units of its scale). */
void timer_mod(QEMUTimer *ts, int64_t expire_time);
void timer_mod_ns(QEMUTimer *ts, int64_t expire_time_ns);
/* Disarm.  In the home thread the callback does not run afterwards. */
void timer_del(QEMUTimer *ts);
bool timer_pending(QEMUTimer *ts);

/* Disarm and free what aio_timer_new() returned; NULL is fine. */
static inline void timer_free(QEMUTimer *ts)
{
    if (ts) {
        timer_del(ts);
        g_free(ts);
    }
}

static inline int64_t qemu_soonest_timeout(int64_t a, int64_t b)
{
    /* As unsigned, -1 (no timeout) is the latest of all. */
    return (uint64_t)a < (uint64_t)b ? a : b;
}

#endif
