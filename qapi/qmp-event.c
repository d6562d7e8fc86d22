/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Events: their common members, and where they go. */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "qapi/qmp-event.h"
#include "qapi/qapi-emit-events.h"

static QapiEventFunc *event_func;

void qapi_event_set_func(QapiEventFunc *func)
{
    event_func = func;
}

static struct json_object *timestamp(void)
{
    struct json_object *json = json_object_new_object();
    int64_t now = g_get_real_time();

    json_object_object_add(json, "seconds",
                           json_object_new_int64(now / 1000000));
    json_object_object_add(json, "microseconds",
                           json_object_new_int64(now % 1000000));
    return json;
}

void qapi_event_emit(int event, struct json_object *data)
{
    struct json_object *qdict;

    if (!event_func) {
        json_object_put(data);
        return;
    }
    qdict = json_object_new_object();
    json_object_object_add(qdict, "timestamp", timestamp());
    json_object_object_add(qdict, "event",
                           json_object_new_string(QAPIEvent_str(event)));
    if (data) {
        json_object_object_add(qdict, "data", data);
    }
    event_func(event, qdict);
    json_object_put(qdict);
}
