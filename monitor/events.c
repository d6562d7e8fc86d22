/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Events on their way to the monitors, and the limits of their rate.
 *
 * An event of a kind with a limit is sent at once if none of that kind, for
 * the same object, was sent within the interval.  Otherwise the last one of
 * the interval is sent at its end; those between are dropped.
 *
 * Events come from any thread; from others than the main thread they are
 * queued for it.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "monitor-internal.h"
#include "qapi/qapi-emit-events.h"
#include "qemu/main-loop.h"
#include "qemu/queue.h"
#include "qemu/thread.h"
#include "qemu/timer.h"

/* Events of other threads that wait; more are dropped. */
#define EVENTS_MAX_WAITING 1024

typedef struct Waiting {
    int event;
    struct json_object *json;
    QSIMPLEQ_ENTRY(Waiting) next;
} Waiting;

/* The state of one kind of event for one object. */
typedef struct Limiter {
    char *key;
    QEMUTimer *timer;
    struct json_object *held;   /* to send when the interval ends, or NULL */
    int64_t interval_ns;
} Limiter;

static QemuMutex lock;          /* protects @waiting and @n_waiting */
static QSIMPLEQ_HEAD(, Waiting) waiting = QSIMPLEQ_HEAD_INITIALIZER(waiting);
static unsigned n_waiting;
static QEMUBH *bh;
static GHashTable *limiters;    /* key: Limiter */

/* Events that are limited to one in a second, and what their objects are. */
static const struct {
    int event;
    const char *members[4];     /* NULL-terminated */
} limited_events[] = {
    { QAPI_EVENT_BLOCK_IO_ERROR, { "qom-path", "device", "node-name" } },
    { QAPI_EVENT_QUORUM_FAILURE, { NULL } },
    { QAPI_EVENT_QUORUM_REPORT_BAD, { "node-name" } },
};

/* The event and its object; to be freed. */
static char *limiter_key(int event, const char *const *members,
                         struct json_object *data)
{
    GString *text = g_string_new(QAPIEvent_str(event));

    for (; *members; members++) {
        struct json_object *value = NULL;

        json_object_object_get_ex(data, *members, &value);
        g_string_append_printf(text, "/%s", value ?
                               json_object_get_string(value) : "");
    }
    return g_string_free(text, false);
}

/*
 * The interval of @event, 0: no limit; and what tells its objects apart.
 * BLOCK_IO_ERROR comes once for each request; that with the action "stop"
 * comes once for each stop, and must not be lost.
 */
static int64_t event_interval(int event, struct json_object *json,
                              char **key)
{
    struct json_object *data, *value;
    size_t i = 0;

    while (i < ARRAY_SIZE(limited_events) &&
           limited_events[i].event != event) {
        i++;
    }
    if (i == ARRAY_SIZE(limited_events) ||
        !json_object_object_get_ex(json, "data", &data)) {
        return 0;
    }
    if (json_object_object_get_ex(data, "action", &value) &&
        !strcmp(json_object_get_string(value), "stop")) {
        return 0;
    }
    *key = limiter_key(event, limited_events[i].members, data);
    return NANOSECONDS_PER_SECOND;
}

static void limiter_free(void *opaque)
{
    Limiter *limiter = opaque;

    timer_free(limiter->timer);
    json_object_put(limiter->held);
    g_free(limiter->key);
    g_free(limiter);
}

/* The interval has ended. */
static void limiter_timer(void *opaque)
{
    Limiter *limiter = opaque;
    struct json_object *held = g_steal_pointer(&limiter->held);

    if (!held) {
        g_hash_table_remove(limiters, limiter->key);
        return;
    }
    timer_mod(limiter->timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) +
              limiter->interval_ns);
    monitor_broadcast_event(held);
    json_object_put(held);
}

static void limit(int64_t interval, char *key, struct json_object *json)
{
    Limiter *limiter = g_hash_table_lookup(limiters, key);

    if (limiter) {
        g_free(key);
        json_object_put(limiter->held);
        limiter->held = json_object_get(json);
        return;
    }
    limiter = g_new0(Limiter, 1);
    limiter->key = key;
    limiter->interval_ns = interval;
    limiter->timer = aio_timer_new(qemu_get_aio_context(),
                                   QEMU_CLOCK_REALTIME, SCALE_NS,
                                   limiter_timer, limiter);
    timer_mod(limiter->timer,
              qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + interval);
    g_hash_table_insert(limiters, key, limiter);
    monitor_broadcast_event(json);
}

static void deliver(int event, struct json_object *json)
{
    char *key = NULL;
    int64_t interval = event_interval(event, json, &key);

    if (interval) {
        limit(interval, key, json);
    } else {
        monitor_broadcast_event(json);
    }
}

static void deliver_waiting(void *opaque)
{
    for (;;) {
        Waiting *first;

        qemu_mutex_lock(&lock);
        first = QSIMPLEQ_FIRST(&waiting);
        if (first) {
            QSIMPLEQ_REMOVE_HEAD(&waiting, next);
            n_waiting--;
        }
        qemu_mutex_unlock(&lock);
        if (!first) {
            return;
        }
        deliver(first->event, first->json);
        json_object_put(first->json);
        g_free(first);
    }
}

static void got_event(int event, struct json_object *json)
{
    Waiting *item;

    if (qemu_in_main_thread()) {
        deliver(event, json);
        return;
    }
    qemu_mutex_lock(&lock);
    if (n_waiting < EVENTS_MAX_WAITING) {
        item = g_new0(Waiting, 1);
        item->event = event;
        /* References of json-c are not counted atomically: one each. */
        json_object_deep_copy(json, &item->json, NULL);
        QSIMPLEQ_INSERT_TAIL(&waiting, item, next);
        n_waiting++;
        qemu_bh_schedule(bh);
    }
    qemu_mutex_unlock(&lock);
}

void monitor_events_init(void)
{
    qemu_mutex_init(&lock);
    bh = aio_bh_new(qemu_get_aio_context(), deliver_waiting, NULL);
    limiters = g_hash_table_new_full(g_str_hash, g_str_equal, NULL,
                                     limiter_free);
    qapi_event_set_func(got_event);
}

void monitor_events_cleanup(void)
{
    qapi_event_set_func(NULL);
    deliver_waiting(NULL);
    qemu_bh_delete(bh);
    g_hash_table_destroy(limiters);
    qemu_mutex_destroy(&lock);
}
