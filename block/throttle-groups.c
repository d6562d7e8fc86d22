/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Groups of nodes that share limits.  See include/block/throttle-groups.h.
 *
 * The rule that keeps requests from being forgotten: while a request waits
 * the timer of a member is armed, which is tg->timer_owner.  All functions that
 * take a waiter away, change the limits or move a member end with
 * throttle_group_schedule_locked(), which sees to it.
 */
#include "qemu/osdep.h"
#include "block/throttle-groups.h"
#include "qemu/aio-wait.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"

/* A request that waits; on the stack of its coroutine. */
struct ThrottleWaiter {
    Coroutine *co;
    int64_t bytes;
    QSIMPLEQ_ENTRY(ThrottleWaiter) next;
};
typedef QSIMPLEQ_HEAD(, ThrottleWaiter) ThrottleWaiterList;

struct ThrottleGroup {
    char *name;
    unsigned refcount;          /* main thread only */
    QTAILQ_ENTRY(ThrottleGroup) list;
    bool enabled;               /* atomic: there are limits */

    QemuMutex lock;             /* protects what follows */
    ThrottleState ts;
    QTAILQ_HEAD(, ThrottleGroupMember) members;
    unsigned n_waiting[THROTTLE_MAX];
    /* Whose turn it is, or who follows if it has no request; NULL: first. */
    ThrottleGroupMember *turn[THROTTLE_MAX];
    ThrottleDirection last_direction;
    ThrottleGroupMember *timer_owner;   /* NULL: no timer is armed */
};

/* Main thread only. */
static QTAILQ_HEAD(, ThrottleGroup) throttle_groups =
    QTAILQ_HEAD_INITIALIZER(throttle_groups);

/* --- who is next; under the lock --- */

/* The next member in turn that has a request waiting; NULL: none has. */
static ThrottleGroupMember *throttle_group_next_member(
    ThrottleGroup *tg, ThrottleDirection direction)
{
    ThrottleGroupMember *tgm = tg->turn[direction];

    if (!tg->n_waiting[direction]) {
        return NULL;
    }
    while (!tgm || QSIMPLEQ_EMPTY(&tgm->waiters[direction])) {
        tgm = tgm ? QTAILQ_NEXT(tgm, round_robin) :
              QTAILQ_FIRST(&tg->members);
    }
    return tgm;
}

/* Arm the timer for the request that may be made first, if one waits. */
static void throttle_group_schedule_locked(ThrottleGroup *tg)
{
    ThrottleGroupMember *owner = NULL;
    int64_t wait = INT64_MAX;
    int d;

    for (d = 0; d < THROTTLE_MAX; d++) {
        ThrottleGroupMember *tgm = throttle_group_next_member(tg, d);
        int64_t w = tgm ? throttle_compute_wait(&tg->ts, d) : INT64_MAX;

        if (w < wait) {
            wait = w;
            owner = tgm;
        }
    }
    if (tg->timer_owner && tg->timer_owner != owner) {
        timer_del(&tg->timer_owner->timer);
    }
    tg->timer_owner = owner;
    if (owner) {
        timer_mod_ns(&owner->timer, tg->ts.previous_leak + wait);
    }
}

/* The first waiter of @tgm may go. */
static void throttle_group_grant_locked(ThrottleGroupMember *tgm,
                                        ThrottleDirection direction,
                                        ThrottleWaiterList *granted)
{
    ThrottleGroup *tg = tgm->group;
    ThrottleWaiter *w = QSIMPLEQ_FIRST(&tgm->waiters[direction]);

    QSIMPLEQ_REMOVE_HEAD(&tgm->waiters[direction], next);
    tg->n_waiting[direction]--;
    throttle_account(&tg->ts, direction, w->bytes);
    QSIMPLEQ_INSERT_TAIL(granted, w, next);
}

/* One request, if the limits allow one; the other direction is first. */
static bool throttle_group_grant_next_locked(ThrottleGroup *tg,
                                             ThrottleWaiterList *granted)
{
    int i;

    for (i = 1; i <= THROTTLE_MAX; i++) {
        ThrottleDirection d = (tg->last_direction + i) % THROTTLE_MAX;
        ThrottleGroupMember *tgm = throttle_group_next_member(tg, d);

        if (tgm && throttle_compute_wait(&tg->ts, d) == 0) {
            throttle_group_grant_locked(tgm, d, granted);
            tg->turn[d] = QTAILQ_NEXT(tgm, round_robin);
            tg->last_direction = d;
            return true;
        }
    }
    return false;
}

static void throttle_group_grant_all_locked(ThrottleGroup *tg,
                                            ThrottleWaiterList *granted)
{
    throttle_leak(&tg->ts, qemu_clock_get_ns(QEMU_CLOCK_REALTIME));
    while (throttle_group_grant_next_locked(tg, granted)) {
        /* until the limits, or the queues, are exhausted */
    }
    throttle_group_schedule_locked(tg);
}

/* Without the lock: a coroutine of this thread runs at once. */
static void throttle_group_wake(ThrottleWaiterList *granted)
{
    ThrottleWaiter *w;

    while ((w = QSIMPLEQ_FIRST(granted))) {
        QSIMPLEQ_REMOVE_HEAD(granted, next);
        aio_co_wake(w->co);
    }
}

static void throttle_group_timer_cb(void *opaque)
{
    ThrottleGroupMember *tgm = opaque;
    ThrottleGroup *tg = tgm->group;
    ThrottleWaiterList granted = QSIMPLEQ_HEAD_INITIALIZER(granted);

    WITH_QEMU_LOCK_GUARD(&tg->lock) {
        throttle_group_grant_all_locked(tg, &granted);
    }
    throttle_group_wake(&granted);
}

/* --- requests --- */

/* Whether a new request may be made now. */
static bool throttle_group_may_pass_locked(ThrottleGroupMember *tgm,
                                           ThrottleDirection direction)
{
    ThrottleGroup *tg = tgm->group;

    throttle_leak(&tg->ts, qemu_clock_get_ns(QEMU_CLOCK_REALTIME));
    return tgm->io_limits_disabled ||
           (!tg->n_waiting[direction] &&
            throttle_compute_wait(&tg->ts, direction) == 0);
}

void coroutine_fn throttle_group_co_io_limits_intercept(
    ThrottleGroupMember *tgm, int64_t bytes, ThrottleDirection direction)
{
    ThrottleGroup *tg = tgm->group;
    ThrottleWaiter w = { .bytes = bytes };

    assert(bytes >= 0);
    if (!qatomic_read(&tg->enabled)) {
        return;
    }
    WITH_QEMU_LOCK_GUARD(&tg->lock) {
        if (throttle_group_may_pass_locked(tgm, direction)) {
            throttle_account(&tg->ts, direction, bytes);
            return;
        }
        w.co = qemu_coroutine_self();
        QSIMPLEQ_INSERT_TAIL(&tgm->waiters[direction], &w, next);
        if (tg->n_waiting[direction]++ == 0) {
            throttle_group_schedule_locked(tg);
        }
    }
    qemu_coroutine_yield();
}

void throttle_group_limits_disable(ThrottleGroupMember *tgm)
{
    ThrottleGroup *tg = tgm->group;
    ThrottleWaiterList granted = QSIMPLEQ_HEAD_INITIALIZER(granted);
    int d;

    GLOBAL_STATE_CODE();
    WITH_QEMU_LOCK_GUARD(&tg->lock) {
        tgm->io_limits_disabled++;
        for (d = 0; d < THROTTLE_MAX; d++) {
            while (!QSIMPLEQ_EMPTY(&tgm->waiters[d])) {
                throttle_group_grant_locked(tgm, d, &granted);
            }
        }
        throttle_group_schedule_locked(tg);
    }
    throttle_group_wake(&granted);
}

void throttle_group_limits_enable(ThrottleGroupMember *tgm)
{
    GLOBAL_STATE_CODE();
    QEMU_LOCK_GUARD(&tgm->group->lock);
    assert(tgm->io_limits_disabled > 0);
    tgm->io_limits_disabled--;
}

/* --- members --- */

static ThrottleGroup *throttle_group_by_name(const char *name)
{
    ThrottleGroup *tg;

    QTAILQ_FOREACH(tg, &throttle_groups, list) {
        if (!strcmp(tg->name, name)) {
            return tg;
        }
    }
    return NULL;
}

void throttle_group_attach_aio_context(ThrottleGroupMember *tgm,
                                       AioContext *new_context)
{
    GLOBAL_STATE_CODE();
    assert(!tgm->aio_context);
    aio_timer_init(new_context, &tgm->timer, QEMU_CLOCK_REALTIME, SCALE_NS,
                   throttle_group_timer_cb, tgm);
    tgm->aio_context = new_context;
}

/* In the home thread: afterwards the callback does not run. */
static void throttle_group_timer_del(void *opaque)
{
    ThrottleGroupMember *tgm = opaque;

    timer_del(&tgm->timer);
}

void throttle_group_detach_aio_context(ThrottleGroupMember *tgm)
{
    ThrottleGroup *tg = tgm->group;

    GLOBAL_STATE_CODE();
    WITH_QEMU_LOCK_GUARD(&tg->lock) {
        assert(QSIMPLEQ_EMPTY(&tgm->waiters[THROTTLE_READ]));
        assert(QSIMPLEQ_EMPTY(&tgm->waiters[THROTTLE_WRITE]));
        if (tg->timer_owner == tgm) {
            /* It is another's by now, or nobody's: this one has no waiters. */
            throttle_group_schedule_locked(tg);
        }
    }
    if (in_aio_context_home_thread(tgm->aio_context)) {
        throttle_group_timer_del(tgm);
    } else {
        aio_wait_bh_oneshot(tgm->aio_context, throttle_group_timer_del, tgm);
    }
    tgm->aio_context = NULL;
}

void throttle_group_register_tgm(ThrottleGroupMember *tgm,
                                 const char *groupname, AioContext *ctx)
{
    ThrottleGroup *tg = throttle_group_by_name(groupname);
    int d;

    GLOBAL_STATE_CODE();
    tg->refcount++;
    tgm->group = tg;
    tgm->aio_context = NULL;
    tgm->io_limits_disabled = 0;
    for (d = 0; d < THROTTLE_MAX; d++) {
        QSIMPLEQ_INIT(&tgm->waiters[d]);
    }
    throttle_group_attach_aio_context(tgm, ctx);
    QEMU_LOCK_GUARD(&tg->lock);
    QTAILQ_INSERT_TAIL(&tg->members, tgm, round_robin);
}

void throttle_group_unregister_tgm(ThrottleGroupMember *tgm)
{
    ThrottleGroup *tg = tgm->group;
    int d;

    GLOBAL_STATE_CODE();
    throttle_group_detach_aio_context(tgm);
    WITH_QEMU_LOCK_GUARD(&tg->lock) {
        for (d = 0; d < THROTTLE_MAX; d++) {
            if (tg->turn[d] == tgm) {
                tg->turn[d] = QTAILQ_NEXT(tgm, round_robin);
            }
        }
        QTAILQ_REMOVE(&tg->members, tgm, round_robin);
    }
    tgm->group = NULL;
    throttle_group_unref(tg);
}

/* --- groups --- */

ThrottleGroup *throttle_group_new(const char *name, const ThrottleConfig *cfg)
{
    ThrottleGroup *tg = g_new0(ThrottleGroup, 1);

    GLOBAL_STATE_CODE();
    assert(!throttle_group_exists(name));
    tg->name = g_strdup(name);
    tg->refcount = 1;
    qemu_mutex_init(&tg->lock);
    QTAILQ_INIT(&tg->members);
    throttle_group_set_config(tg, cfg);
    QTAILQ_INSERT_TAIL(&throttle_groups, tg, list);
    return tg;
}

void throttle_group_unref(ThrottleGroup *tg)
{
    GLOBAL_STATE_CODE();
    if (--tg->refcount > 0) {
        return;
    }
    assert(QTAILQ_EMPTY(&tg->members));
    QTAILQ_REMOVE(&throttle_groups, tg, list);
    qemu_mutex_destroy(&tg->lock);
    g_free(tg->name);
    g_free(tg);
}

bool throttle_group_in_use(const ThrottleGroup *tg)
{
    return tg->refcount > 1;
}

bool throttle_group_exists(const char *name)
{
    return throttle_group_by_name(name);
}

const char *throttle_group_get_name(const ThrottleGroupMember *tgm)
{
    return tgm->group->name;
}

void throttle_group_set_config(ThrottleGroup *tg, const ThrottleConfig *cfg)
{
    ThrottleWaiterList granted = QSIMPLEQ_HEAD_INITIALIZER(granted);

    GLOBAL_STATE_CODE();
    qatomic_set(&tg->enabled, throttle_enabled(cfg));
    WITH_QEMU_LOCK_GUARD(&tg->lock) {
        throttle_config(&tg->ts, cfg,
                        qemu_clock_get_ns(QEMU_CLOCK_REALTIME));
        throttle_group_grant_all_locked(tg, &granted);
    }
    throttle_group_wake(&granted);
}

void throttle_group_get_config(ThrottleGroup *tg, ThrottleConfig *cfg)
{
    QEMU_LOCK_GUARD(&tg->lock);
    *cfg = tg->ts.cfg;
}
