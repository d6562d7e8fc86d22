/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The QMP commands that look at objects by their path.
 *
 * The tree has two containers: "/objects", for what users made, and
 * "/chardevs".
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "chardev/char.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-char.h"
#include "qapi/qapi-commands-qom.h"
#include "qom/objects.h"

/* Types that have no objects of their own. */
static const char *const abstract_types[] = {
    "authz", "event-loop-base", "object", "secret_common", "tls-creds",
};

typedef enum PlaceKind {
    PLACE_NONE,
    PLACE_ROOT,
    PLACE_OBJECTS,
    PLACE_CHARDEVS,
    PLACE_OBJECT,
} PlaceKind;

static PlaceKind find_place(const char *path, UserObject **obj, Error **errp)
{
    static const char prefix[] = "/objects/";

    *obj = NULL;
    if (!strcmp(path, "/")) {
        return PLACE_ROOT;
    }
    if (!strcmp(path, "/objects") || !strcmp(path, prefix)) {
        return PLACE_OBJECTS;
    }
    if (!strcmp(path, "/chardevs")) {
        return PLACE_CHARDEVS;
    }
    *obj = user_object_find(g_str_has_prefix(path, prefix) ?
                            path + strlen(prefix) : path);
    if (*obj) {
        return PLACE_OBJECT;
    }
    error_set(errp, ERROR_CLASS_DEVICE_NOT_FOUND, "Device '%s' not found",
              path);
    return PLACE_NONE;
}

static void add_info(ObjectPropertyInfoList ***tail, const char *name,
                     const char *type)
{
    ObjectPropertyInfo *info = g_new0(ObjectPropertyInfo, 1);

    info->name = g_strdup(name);
    info->type = g_strdup(type);
    QAPI_LIST_APPEND(*tail, info);
}

static void add_child(ObjectPropertyInfoList ***tail, const char *name,
                      const char *type)
{
    g_autofree char *child = g_strdup_printf("child<%s>", type);

    add_info(tail, name, child);
}

static void add_chardevs(ObjectPropertyInfoList ***tail)
{
    ChardevInfoList *list = qmp_query_chardev(&error_abort);
    ChardevInfoList *item;

    for (item = list; item; item = item->next) {
        add_child(tail, item->value->label, "chardev");
    }
    qapi_free_ChardevInfoList(list);
}

static void add_properties(ObjectPropertyInfoList ***tail,
                           const UserObjectType *type)
{
    const ObjectProperty *p;

    for (p = type->properties; p->name; p++) {
        add_info(tail, p->name, p->type);
    }
}

ObjectPropertyInfoList *qmp_qom_list(const char *path, Error **errp)
{
    ObjectPropertyInfoList *list = NULL, **tail = &list;
    UserObject *obj;
    PlaceKind place = find_place(path, &obj, errp);
    unsigned i;

    if (place == PLACE_NONE) {
        return NULL;
    }
    add_info(&tail, "type", "string");
    switch (place) {
    case PLACE_ROOT:
        add_child(&tail, "objects", "container");
        add_child(&tail, "chardevs", "container");
        break;
    case PLACE_OBJECTS:
        for (i = 0; (obj = user_object_nth(i)); i++) {
            add_child(&tail, obj->id, ObjectType_str(obj->kind));
        }
        break;
    case PLACE_CHARDEVS:
        add_chardevs(&tail);
        break;
    default:
        add_properties(&tail, obj->type);
        break;
    }
    return list;
}

static const char *type_name(PlaceKind place, const UserObject *obj)
{
    return place == PLACE_OBJECT ? ObjectType_str(obj->kind) : "container";
}

static const ObjectProperty *find_property(PlaceKind place,
                                           const UserObject *obj,
                                           const char *name, Error **errp)
{
    const ObjectProperty *p = place == PLACE_OBJECT ? obj->type->properties :
                                                      NULL;

    for (; p && p->name; p++) {
        if (!strcmp(p->name, name)) {
            return p;
        }
    }
    error_setg(errp, "Property '%s.%s' not found", type_name(place, obj),
               name);
    return NULL;
}

struct json_object *qmp_qom_get(const char *path, const char *property,
                                Error **errp)
{
    UserObject *obj;
    PlaceKind place = find_place(path, &obj, errp);
    const ObjectProperty *p;

    if (place == PLACE_NONE) {
        return NULL;
    }
    if (!strcmp(property, "type")) {
        return json_object_new_string(type_name(place, obj));
    }
    p = find_property(place, obj, property, errp);
    if (p && !p->get) {
        error_setg(errp, "Property '%s.%s' is not readable",
                   type_name(place, obj), property);
        return NULL;
    }
    return p ? p->get(obj->object) : NULL;
}

void qmp_qom_set(const char *path, const char *property,
                 struct json_object *value, Error **errp)
{
    UserObject *obj;
    PlaceKind place = find_place(path, &obj, errp);
    const ObjectProperty *p = NULL;

    if (place == PLACE_NONE) {
        return;
    }
    if (strcmp(property, "type")) {
        p = find_property(place, obj, property, errp);
        if (!p) {
            return;
        }
    }
    if (!p || !p->set) {
        error_setg(errp, "Property '%s.%s' is not writable",
                   type_name(place, obj), property);
        return;
    }
    p->set(obj->object, value, errp);
}

static void add_value(ObjectPropertyValueList ***tail, const char *name,
                      const char *type, struct json_object *json)
{
    ObjectPropertyValue *value = g_new0(ObjectPropertyValue, 1);

    value->name = g_strdup(name);
    value->type = g_strdup(type);
    value->value = json;
    QAPI_LIST_APPEND(*tail, value);
}

static ObjectPropertiesValues *list_values(const char *path, Error **errp)
{
    ObjectPropertyInfoList *infos = qmp_qom_list(path, errp);
    ObjectPropertyInfoList *item;
    ObjectPropertiesValues *values;
    ObjectPropertyValueList **tail;

    if (!infos) {
        return NULL;
    }
    values = g_new0(ObjectPropertiesValues, 1);
    tail = &values->properties;
    for (item = infos; item; item = item->next) {
        const char *type = item->value->type;

        add_value(&tail, item->value->name, type,
                  g_str_has_prefix(type, "child<") ? NULL :
                  qmp_qom_get(path, item->value->name, NULL));
    }
    qapi_free_ObjectPropertyInfoList(infos);
    return values;
}

ObjectPropertiesValuesList *qmp_qom_list_get(strList *paths, Error **errp)
{
    ObjectPropertiesValuesList *list = NULL, **tail = &list;

    for (; paths; paths = paths->next) {
        ObjectPropertiesValues *values = list_values(paths->value, errp);

        if (!values) {
            qapi_free_ObjectPropertiesValuesList(list);
            return NULL;
        }
        QAPI_LIST_APPEND(tail, values);
    }
    return list;
}

static bool implements(ObjectType kind, const char *name)
{
    return !strcmp(name, "object") || !strcmp(name, "user-creatable") ||
           !strcmp(name, ObjectType_str(kind)) ||
           !strcmp(name, user_object_type(kind)->parent);
}

ObjectTypeInfoList *qmp_qom_list_types(const char *name, bool has_abstract,
                                       bool abstract, Error **errp)
{
    ObjectTypeInfoList *list = NULL, **tail = &list;
    size_t i;

    for (i = 0; i < OBJECT_TYPE__MAX; i++) {
        if (user_object_type(i) && (!name || implements(i, name))) {
            ObjectTypeInfo *info = g_new0(ObjectTypeInfo, 1);

            info->name = g_strdup(ObjectType_str(i));
            info->parent = g_strdup(user_object_type(i)->parent);
            QAPI_LIST_APPEND(tail, info);
        }
    }
    if (!has_abstract || !abstract) {
        return list;
    }
    for (i = 0; i < ARRAY_SIZE(abstract_types); i++) {
        if (!name || !strcmp(name, abstract_types[i]) ||
            !strcmp(name, "object")) {
            ObjectTypeInfo *info = g_new0(ObjectTypeInfo, 1);

            info->name = g_strdup(abstract_types[i]);
            info->has_abstract = info->abstract = true;
            QAPI_LIST_APPEND(tail, info);
        }
    }
    return list;
}

ObjectPropertyInfoList *qmp_qom_list_properties(const char *name,
                                                Error **errp)
{
    ObjectPropertyInfoList *list = NULL, **tail = &list;
    int kind = qapi_enum_parse(&ObjectType_lookup, name, -1, NULL);

    if (kind < 0) {
        error_set(errp, ERROR_CLASS_DEVICE_NOT_FOUND, "Class '%s' not found",
                  name);
        return NULL;
    }
    add_info(&tail, "type", "string");
    add_properties(&tail, user_object_type(kind));
    return list;
}
