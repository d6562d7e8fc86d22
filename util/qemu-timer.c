/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clocks and timers.
 *
 * A list per clock and AioContext, sorted by deadline, under a mutex: there
 * are few timers and they are mostly armed near the end.  The home thread
 * takes expired timers off one by one and calls them without the mutex.
 */
#include "qemu/osdep.h"
#include "qemu/thread.h"
#include "qemu/timer.h"

struct QEMUTimerList {
    QemuMutex lock;
    QEMUTimer *first;           /* atomic read; changes under lock */
    QEMUClockType type;
    QEMUTimerListNotifyCB *notify;
    void *notify_opaque;
};

int64_t qemu_clock_get_ns(QEMUClockType type)
{
    struct timespec ts;

    clock_gettime(type == QEMU_CLOCK_HOST ? CLOCK_REALTIME : CLOCK_MONOTONIC,
                  &ts);
    return ts.tv_sec * NANOSECONDS_PER_SECOND + ts.tv_nsec;
}

void timerlistgroup_init(QEMUTimerListGroup *tlg, QEMUTimerListNotifyCB *cb,
                         void *opaque)
{
    int i;

    for (i = 0; i < QEMU_CLOCK_MAX; i++) {
        QEMUTimerList *tl = g_new0(QEMUTimerList, 1);

        qemu_mutex_init(&tl->lock);
        tl->type = i;
        tl->notify = cb;
        tl->notify_opaque = opaque;
        tlg->tl[i] = tl;
    }
}

void timerlistgroup_deinit(QEMUTimerListGroup *tlg)
{
    int i;

    for (i = 0; i < QEMU_CLOCK_MAX; i++) {
        assert(!tlg->tl[i]->first);
        qemu_mutex_destroy(&tlg->tl[i]->lock);
        g_free(tlg->tl[i]);
        tlg->tl[i] = NULL;
    }
}

static void timer_unlink_locked(QEMUTimerList *tl, QEMUTimer *ts)
{
    QEMUTimer **link;

    for (link = &tl->first; *link; link = &(*link)->next) {
        if (*link == ts) {
            qatomic_set(link, ts->next);
            break;
        }
    }
    ts->expire_time = -1;
    ts->next = NULL;
}

/* Run one expired timer; false if there is none. */
static bool timerlist_run_one(QEMUTimerList *tl, int64_t now)
{
    QEMUTimerCB *cb;
    QEMUTimer *ts;
    void *opaque;

    qemu_mutex_lock(&tl->lock);
    ts = tl->first;
    if (!ts || ts->expire_time > now) {
        qemu_mutex_unlock(&tl->lock);
        return false;
    }
    timer_unlink_locked(tl, ts);
    cb = ts->cb;
    opaque = ts->opaque;
    qemu_mutex_unlock(&tl->lock);

    /* @ts may be freed by its callback. */
    cb(opaque);
    return true;
}

bool timerlistgroup_run_timers(QEMUTimerListGroup *tlg)
{
    bool progress = false;
    int i;

    for (i = 0; i < QEMU_CLOCK_MAX; i++) {
        QEMUTimerList *tl = tlg->tl[i];
        int64_t now;

        if (!qatomic_read(&tl->first)) {
            continue;
        }
        /* One reading per pass: a timer that re-arms itself cannot starve. */
        now = qemu_clock_get_ns(tl->type);
        while (timerlist_run_one(tl, now)) {
            progress = true;
        }
    }
    return progress;
}

int64_t timerlistgroup_deadline_ns(QEMUTimerListGroup *tlg)
{
    int64_t deadline = -1;
    int i;

    for (i = 0; i < QEMU_CLOCK_MAX; i++) {
        QEMUTimerList *tl = tlg->tl[i];
        int64_t delta;

        if (!qatomic_read(&tl->first)) {
            continue;
        }
        qemu_mutex_lock(&tl->lock);
        if (tl->first) {
            delta = tl->first->expire_time - qemu_clock_get_ns(tl->type);
            deadline = qemu_soonest_timeout(deadline, MAX(delta, 0));
        }
        qemu_mutex_unlock(&tl->lock);
    }
    return deadline;
}

void timer_init_tlg(QEMUTimer *ts, QEMUTimerListGroup *tlg, QEMUClockType type,
                    int scale, QEMUTimerCB *cb, void *opaque)
{
    *ts = (QEMUTimer) {
        .expire_time = -1,
        .timer_list = tlg->tl[type],
        .cb = cb,
        .opaque = opaque,
        .scale = scale,
    };
}

void timer_mod_ns(QEMUTimer *ts, int64_t expire_time_ns)
{
    QEMUTimerList *tl = ts->timer_list;
    QEMUTimer **link;
    bool nearer;

    qemu_mutex_lock(&tl->lock);
    if (ts->expire_time != -1) {
        timer_unlink_locked(tl, ts);
    }
    ts->expire_time = MAX(expire_time_ns, 0);
    for (link = &tl->first; *link; link = &(*link)->next) {
        if ((*link)->expire_time > ts->expire_time) {
            break;
        }
    }
    ts->next = *link;
    qatomic_set(link, ts);
    nearer = link == &tl->first;
    qemu_mutex_unlock(&tl->lock);

    if (nearer) {
        tl->notify(tl->notify_opaque, tl->type);
    }
}

void timer_mod(QEMUTimer *ts, int64_t expire_time)
{
    int64_t ns;

    if (__builtin_mul_overflow(expire_time, ts->scale, &ns)) {
        ns = expire_time < 0 ? 0 : INT64_MAX;
    }
    timer_mod_ns(ts, ns);
}

void timer_del(QEMUTimer *ts)
{
    QEMUTimerList *tl = ts->timer_list;

    if (!tl) {
        return;
    }
    qemu_mutex_lock(&tl->lock);
    if (ts->expire_time != -1) {
        timer_unlink_locked(tl, ts);
    }
    qemu_mutex_unlock(&tl->lock);
}

bool timer_pending(QEMUTimer *ts)
{
    return qatomic_read(&ts->expire_time) != -1;
}
