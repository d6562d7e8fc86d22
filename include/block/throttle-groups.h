/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Groups of nodes that share one set of limits.
 *
 * A member's request passes at once if the limits allow it and nobody waits.
 * Otherwise it waits in a queue of the member, one for reads and one for
 * writes, and the queues take turns: member by member, and read and write
 * where one limit counts for both.  So neither a member with many requests nor
 * one direction keeps others from getting their share.
 *
 * One lock for each group protects its buckets and all its queues; it is held
 * for a few instructions.  One timer at a time is armed for the group, in the
 * AioContext of a member that waits; nothing polls.
 */
#ifndef THROTTLE_GROUPS_H
#define THROTTLE_GROUPS_H

#include "qemu/aio.h"
#include "qemu/coroutine.h"
#include "qemu/queue.h"
#include "qemu/throttle.h"
#include "qemu/timer.h"

typedef struct ThrottleGroup ThrottleGroup;
typedef struct ThrottleWaiter ThrottleWaiter;

/* A user of a group's limits; the memory is the user's. */
typedef struct ThrottleGroupMember {
    AioContext *aio_context;    /* where its timer runs; NULL: moving */
    ThrottleGroup *group;
    QEMUTimer timer;

    /* Under the group's lock. */
    QSIMPLEQ_HEAD(, ThrottleWaiter) waiters[THROTTLE_MAX];
    unsigned io_limits_disabled;        /* > 0: requests pass */
    QTAILQ_ENTRY(ThrottleGroupMember) round_robin;
} ThrottleGroupMember;

/*
 * A group with limits that are valid, and the caller's reference.  No other may
 * have its name.  Main thread, as all functions but the one of requests.
 */
ThrottleGroup *throttle_group_new(const char *name,
                                  const ThrottleConfig *cfg);
void throttle_group_unref(ThrottleGroup *tg);
/* Whether there are references besides the caller's. */
bool throttle_group_in_use(const ThrottleGroup *tg);
bool throttle_group_exists(const char *name);
const char *throttle_group_get_name(const ThrottleGroupMember *tgm);

/* Other limits, which are valid: the buckets are empty, waiters look again. */
void throttle_group_set_config(ThrottleGroup *tg, const ThrottleConfig *cfg);
void throttle_group_get_config(ThrottleGroup *tg, ThrottleConfig *cfg);

/* Join the group of this name, which exists; holds a reference to it. */
void throttle_group_register_tgm(ThrottleGroupMember *tgm,
                                 const char *groupname, AioContext *ctx);
/* No request of @tgm may be under way. */
void throttle_group_unregister_tgm(ThrottleGroupMember *tgm);

/* The member moves to another AioContext, without requests meanwhile. */
void throttle_group_detach_aio_context(ThrottleGroupMember *tgm);
void throttle_group_attach_aio_context(ThrottleGroupMember *tgm,
                                       AioContext *new_context);

/*
 * From the first _disable() to the last _enable() requests of @tgm pass, those
 * that wait and new ones.  They are counted all the same.
 */
void throttle_group_limits_disable(ThrottleGroupMember *tgm);
void throttle_group_limits_enable(ThrottleGroupMember *tgm);

/* Wait until a request of @bytes may be made, and count it.  Any context. */
void coroutine_fn throttle_group_co_io_limits_intercept(
    ThrottleGroupMember *tgm, int64_t bytes, ThrottleDirection direction);

#endif
