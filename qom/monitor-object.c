/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The object "monitor-qmp". */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "monitor/monitor.h"
#include "qapi/error.h"
#include "qom/objects.h"

typedef struct MonitorObject {
    Monitor *mon;
    char *chardev;
    bool pretty;
} MonitorObject;

static void *create(const ObjectOptions *options, Error **errp)
{
    const MonitorQmpProperties *p = &options->u.monitor_qmp;
    Chardev *chr = qemu_chr_find(p->chardev);
    bool pretty = p->has_pretty && p->pretty;
    MonitorObject *obj;
    Monitor *mon;

    if (!chr) {
        error_setg(errp, "chardev \"%s\" not found", p->chardev);
        return NULL;
    }
    mon = monitor_new_qmp(chr, pretty, errp);
    if (!mon) {
        return NULL;
    }
    obj = g_new0(MonitorObject, 1);
    obj->mon = mon;
    obj->chardev = g_strdup(p->chardev);
    obj->pretty = pretty;
    return obj;
}

static void destroy(void *object)
{
    MonitorObject *obj = object;

    monitor_delete(obj->mon);
    g_free(obj->chardev);
    g_free(obj);
}

/* It cannot delete itself: its answer would have nowhere to go. */
static bool can_be_deleted(void *object)
{
    return ((MonitorObject *)object)->mon != monitor_cur();
}

static struct json_object *get_chardev(void *object)
{
    return property_string(((MonitorObject *)object)->chardev);
}

static struct json_object *get_pretty(void *object)
{
    return json_object_new_boolean(((MonitorObject *)object)->pretty);
}

static const ObjectProperty properties[] = {
    { "chardev", "string", get_chardev },
    { "pretty", "bool", get_pretty },
    { NULL }
};

static const UserObjectType monitor_qmp_object_type = {
    .parent = "object",
    .properties = properties,
    .create = create,
    .destroy = destroy,
    .can_be_deleted = can_be_deleted,
};

USER_OBJECT_TYPE(OBJECT_TYPE_MONITOR_QMP, monitor_qmp_object_type)
