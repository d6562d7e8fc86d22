/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Objects that users make by --object and object-add.
 *
 * Each type is one table.  Main thread, outside coroutines.
 */
#ifndef QOM_OBJECTS_H
#define QOM_OBJECTS_H

#include "qapi/qapi-types-qom.h"

struct json_object;

typedef struct ObjectProperty {
    const char *name;           /* NULL ends the list */
    const char *type;           /* as qom-list tells it */
    /* A new reference; NULL: cannot be read. */
    struct json_object *(*get)(void *object);
    /* False with @errp set; NULL: cannot be set. */
    bool (*set)(void *object, struct json_object *value, Error **errp);
} ObjectProperty;

typedef struct UserObjectType {
    const char *parent;         /* the abstract type that this is one of */
    const ObjectProperty *properties;
    /* It uses nodes, so it goes before them at the program's end. */
    bool uses_nodes;
    /* The object, or NULL with @errp set. */
    void *(*create)(const ObjectOptions *options, Error **errp);
    void (*destroy)(void *object);
    /* Whether nothing uses it, or can be made not to.  NULL: always. */
    bool (*can_be_deleted)(void *object);
} UserObjectType;

/* Each type is registered by a constructor. */
void user_object_register(ObjectType kind, const UserObjectType *type);

#define USER_OBJECT_TYPE(kind, type)                                    \
    static void __attribute__((constructor)) register_##type(void)      \
    {                                                                   \
        user_object_register(kind, &type);                              \
    }

/* NULL: the program does not have it. */
const UserObjectType *user_object_type(ObjectType kind);

typedef struct UserObject {
    const UserObjectType *type;
    ObjectType kind;
    char *id;
    void *object;
} UserObject;

/* The objects in the order of their creation; NULL if there is no @i-th. */
UserObject *user_object_nth(unsigned i);
UserObject *user_object_find(const char *id);
/*
 * The object of this @id and type, as its create() has returned it; NULL with
 * @errp set.
 */
void *user_object_of_type(const char *id, ObjectType kind, Error **errp);

/*
 * If @arg, the argument of --object, is "help" or "TYPE,help", print that and
 * end the program.
 */
void user_object_option_help(const char *arg);
/*
 * The argument of --object, "TYPE,id=ID,..." or JSON.  False with @errp set;
 * "help" and "TYPE,help" end the program.  Main thread, after program_init().
 */
bool user_object_add_option(const char *arg, Error **errp);

/*
 * Take all "--object ARGUMENT" and "--object=ARGUMENT" out of a command line,
 * up to "--", and make the objects.  False with @errp set.
 */
bool user_objects_take_options(int *argc, char **argv, Error **errp);

/* Delete all objects, the last ones first; @uses_nodes: only such types. */
void user_objects_cleanup(bool uses_nodes);

/* The bytes of a secret object, to be freed; NULL with @errp set. */
uint8_t *secret_lookup(const char *id, size_t *len, Error **errp);

/*
 * Whether the authorization object lets somebody with this name in; NULL: a
 * name is not known.  False with @errp set if not, or if there is no object.
 */
bool authz_is_allowed_by_id(const char *id, const char *identity,
                            Error **errp);

/* Helpers for properties. */
struct json_object *property_string(const char *value);
bool property_to_int(struct json_object *value, const char *name,
                     int64_t *number, Error **errp);

#endif
