/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list of objects that users have made. */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "qapi/error.h"
#include "qapi/qapi-commands-qom.h"
#include "qom/objects.h"

static GPtrArray *objects;

static const UserObjectType *types[OBJECT_TYPE__MAX];

void user_object_register(ObjectType kind, const UserObjectType *type)
{
    assert(!types[kind]);
    types[kind] = type;
}

const UserObjectType *user_object_type(ObjectType kind)
{
    return types[kind];
}

UserObject *user_object_nth(unsigned i)
{
    return objects && i < objects->len ? g_ptr_array_index(objects, i) : NULL;
}

UserObject *user_object_find(const char *id)
{
    UserObject *obj;
    unsigned i;

    for (i = 0; (obj = user_object_nth(i)); i++) {
        if (!strcmp(obj->id, id)) {
            return obj;
        }
    }
    return NULL;
}

void *user_object_of_type(const char *id, ObjectType kind, Error **errp)
{
    UserObject *obj = user_object_find(id);

    if (!obj) {
        error_setg(errp, "No %s with id '%s'", ObjectType_str(kind), id);
        return NULL;
    }
    if (obj->kind != kind) {
        error_setg(errp, "Object with id '%s' is not a %s", id,
                   ObjectType_str(kind));
        return NULL;
    }
    return obj->object;
}

static bool id_wellformed(const char *id)
{
    if (!g_ascii_isalpha(*id)) {
        return false;
    }
    while (*++id) {
        if (!g_ascii_isalnum(*id) && !strchr("-._", *id)) {
            return false;
        }
    }
    return true;
}

void qmp_object_add(ObjectOptions *options, Error **errp)
{
    const UserObjectType *type = types[options->qom_type];
    UserObject *obj;
    void *object;

    if (!type) {
        error_setg(errp, "This program has no objects of the type '%s'",
                   ObjectType_str(options->qom_type));
        return;
    }
    if (!id_wellformed(options->id)) {
        error_setg(errp, "Parameter 'id' expects an identifier");
        return;
    }
    if (user_object_find(options->id)) {
        error_setg(errp, "attempt to add duplicate property '%s' to object "
                   "(type 'container')", options->id);
        return;
    }
    object = type->create(options, errp);
    if (!object) {
        return;
    }
    obj = g_new0(UserObject, 1);
    obj->type = type;
    obj->kind = options->qom_type;
    obj->id = g_strdup(options->id);
    obj->object = object;
    if (!objects) {
        objects = g_ptr_array_new();
    }
    g_ptr_array_add(objects, obj);
}

static void delete_object(UserObject *obj)
{
    g_ptr_array_remove(objects, obj);
    obj->type->destroy(obj->object);
    g_free(obj->id);
    g_free(obj);
}

void qmp_object_del(const char *id, Error **errp)
{
    UserObject *obj = user_object_find(id);

    if (!obj) {
        error_setg(errp, "object '%s' not found", id);
        return;
    }
    if (obj->type->can_be_deleted && !obj->type->can_be_deleted(obj->object)) {
        error_setg(errp, "object '%s' is in use, can not be deleted", id);
        return;
    }
    delete_object(obj);
}

void user_objects_cleanup(bool uses_nodes)
{
    unsigned i = objects ? objects->len : 0;

    while (i-- > 0) {
        UserObject *obj = user_object_nth(i);

        if (!uses_nodes || obj->type->uses_nodes) {
            delete_object(obj);
        }
    }
    if (!uses_nodes) {
        g_clear_pointer(&objects, g_ptr_array_unref);
    }
}

struct json_object *property_string(const char *value)
{
    return json_object_new_string(value ? value : "");
}

bool property_to_int(struct json_object *value, const char *name,
                     int64_t *number, Error **errp)
{
    if (!json_object_is_type(value, json_type_int)) {
        error_setg(errp, "Invalid parameter type for '%s', expected: integer",
                   name);
        return false;
    }
    *number = json_object_get_int64(value);
    return true;
}
