/* SPDX-License-Identifier: GPL-2.0-or-later */
/* C structures of the schema: to JSON, copied, freed. */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "qapi/util.h"

static bool member_present(const QapiMember *member, const char *obj)
{
    if (member->has_offset != QAPI_NO_FLAG) {
        return *(const bool *)(obj + member->has_offset);
    }
    return !member->optional || *(void *const *)(obj + member->offset);
}

/* The branch that the tag of @obj chooses; NULL if that has no members. */
static const QapiType *object_branch(const QapiType *type, const char *obj)
{
    return type->branches ?
           type->branches[*(const int *)(obj + type->tag_offset)] : NULL;
}

/* The branch of an alternate; NULL if it was never filled. */
static const QapiAlternative *chosen(const QapiType *type, const char *obj)
{
    QType qtype = *(const QType *)obj;
    size_t i;

    for (i = 0; i < type->n_alternatives; i++) {
        if (type->alternatives[i].qtype == qtype) {
            return &type->alternatives[i];
        }
    }
    return NULL;
}

static void output_members(const QapiType *type, const char *obj,
                           struct json_object *json)
{
    const QapiType *branch;
    size_t i;

    for (i = 0; i < type->n_members; i++) {
        const QapiMember *member = &type->members[i];

        if (member_present(member, obj)) {
            json_object_object_add(json, member->name,
                                   qapi_output(member->type,
                                               obj + member->offset));
        }
    }
    branch = object_branch(type, obj);
    if (branch) {
        output_members(branch, obj + type->u_offset, json);
    }
}

static struct json_object *output_object(const QapiType *type,
                                         const char *obj)
{
    struct json_object *json = json_object_new_object();

    output_members(type, obj, json);
    return json;
}

static struct json_object *output_alternate(const QapiType *type,
                                            const char *obj)
{
    const QapiAlternative *alternative = chosen(type, obj);

    assert(alternative);
    if (alternative->type->kind == QAPI_KIND_OBJECT) {
        return output_object(alternative->type, obj + alternative->offset);
    }
    return qapi_output(alternative->type, obj + alternative->offset);
}

static struct json_object *output_list(const QapiType *type, void *const *p)
{
    struct json_object *json = json_object_new_array();

    for (; *p; p = *p) {
        json_object_array_add(json,
                              qapi_output(type->element, (char *)*p +
                                          type->value_offset));
    }
    return json;
}

static struct json_object *output_int(const QapiType *type, const void *slot)
{
    bool is_signed = type->kind == QAPI_KIND_INT;

    switch (type->size) {
    case 1:
        return json_object_new_int64(is_signed ? *(const int8_t *)slot :
                                     *(const uint8_t *)slot);
    case 2:
        return json_object_new_int64(is_signed ? *(const int16_t *)slot :
                                     *(const uint16_t *)slot);
    case 4:
        return json_object_new_int64(is_signed ? *(const int32_t *)slot :
                                     (int64_t)*(const uint32_t *)slot);
    default:
        return is_signed ? json_object_new_int64(*(const int64_t *)slot) :
                           json_object_new_uint64(*(const uint64_t *)slot);
    }
}

struct json_object *qapi_output(const QapiType *type, const void *slot)
{
    void *const *pointer = slot;

    switch (type->kind) {
    case QAPI_KIND_STR:
        /* A required string that nobody set reads as an empty one. */
        return json_object_new_string(*pointer ? *pointer : "");
    case QAPI_KIND_BOOL:
        return json_object_new_boolean(*(const bool *)slot);
    case QAPI_KIND_INT:
    case QAPI_KIND_UINT:
    case QAPI_KIND_SIZE:
        return output_int(type, slot);
    case QAPI_KIND_NUMBER:
        return json_object_new_double(*(const double *)slot);
    case QAPI_KIND_ANY:
        return json_object_get(*pointer);
    case QAPI_KIND_NULL:
        return NULL;
    case QAPI_KIND_ENUM:
        return json_object_new_string(qapi_enum_lookup(type->lookup,
                                                       *(const int *)slot));
    case QAPI_KIND_OBJECT:
        assert(*pointer);
        return output_object(type, *pointer);
    case QAPI_KIND_ALTERNATE:
        assert(*pointer);
        return output_alternate(type, *pointer);
    case QAPI_KIND_LIST:
        return output_list(type, pointer);
    }
    g_assert_not_reached();
}

struct json_object *qapi_output_object(const QapiType *type, const void *obj)
{
    return qapi_output(type, &obj);
}

static void free_members(const QapiType *type, char *obj)
{
    const QapiType *branch = object_branch(type, obj);
    size_t i;

    if (branch) {
        free_members(branch, obj + type->u_offset);
    }
    for (i = 0; i < type->n_members; i++) {
        qapi_free_value(type->members[i].type,
                        obj + type->members[i].offset);
    }
}

static void free_alternate(const QapiType *type, char *obj)
{
    const QapiAlternative *alternative = chosen(type, obj);

    if (!alternative) {
        return;
    }
    if (alternative->type->kind == QAPI_KIND_OBJECT) {
        free_members(alternative->type, obj + alternative->offset);
    } else {
        qapi_free_value(alternative->type, obj + alternative->offset);
    }
}

static void free_list(const QapiType *type, void **list)
{
    void **item = *list;

    while (item) {
        void **next = *item;

        qapi_free_value(type->element, (char *)item + type->value_offset);
        g_free(item);
        item = next;
    }
}

void qapi_free_value(const QapiType *type, void *slot)
{
    void **pointer = slot;

    switch (type->kind) {
    case QAPI_KIND_STR:
        g_free(*pointer);
        break;
    case QAPI_KIND_ANY:
        json_object_put(*pointer);
        break;
    case QAPI_KIND_OBJECT:
        if (*pointer) {
            free_members(type, *pointer);
        }
        g_free(*pointer);
        break;
    case QAPI_KIND_ALTERNATE:
        if (*pointer) {
            free_alternate(type, *pointer);
        }
        g_free(*pointer);
        break;
    case QAPI_KIND_LIST:
        free_list(type, pointer);
        break;
    default:
        return;
    }
    *pointer = NULL;
}

static void clone_in_place(const QapiType *type, char *dst, const char *src);

static void *clone_pointed(const QapiType *type, const void *src)
{
    void *dst;

    if (!src) {
        return NULL;
    }
    dst = g_memdup2(src, type->size);
    clone_in_place(type, dst, src);
    return dst;
}

static void *clone_list(const QapiType *type, void *const *src)
{
    void *head = NULL;
    void **tail = &head;

    for (; src; src = *src) {
        *tail = g_malloc0(type->size);
        qapi_clone_value(type->element, (char *)*tail + type->value_offset,
                         (const char *)src + type->value_offset);
        tail = *tail;
    }
    return head;
}

/* Replace what the members, copied already, point to by copies. */
static void clone_in_place(const QapiType *type, char *dst, const char *src)
{
    const QapiAlternative *alternative;
    const QapiType *branch;
    size_t i;

    if (type->kind == QAPI_KIND_ALTERNATE) {
        alternative = chosen(type, src);
        if (alternative && alternative->type->kind == QAPI_KIND_OBJECT) {
            clone_in_place(alternative->type, dst + alternative->offset,
                           src + alternative->offset);
        } else if (alternative) {
            qapi_clone_value(alternative->type, dst + alternative->offset,
                             src + alternative->offset);
        }
        return;
    }
    for (i = 0; i < type->n_members; i++) {
        qapi_clone_value(type->members[i].type,
                         dst + type->members[i].offset,
                         src + type->members[i].offset);
    }
    branch = object_branch(type, src);
    if (branch) {
        clone_in_place(branch, dst + type->u_offset, src + type->u_offset);
    }
}

void qapi_clone_value(const QapiType *type, void *dst, const void *src)
{
    void *const *pointer = src;

    switch (type->kind) {
    case QAPI_KIND_STR:
        *(char **)dst = g_strdup(*pointer);
        break;
    case QAPI_KIND_ANY:
        *(struct json_object **)dst = json_object_get(*pointer);
        break;
    case QAPI_KIND_OBJECT:
    case QAPI_KIND_ALTERNATE:
        *(void **)dst = clone_pointed(type, *pointer);
        break;
    case QAPI_KIND_LIST:
        *(void **)dst = clone_list(type, *pointer);
        break;
    default:
        memmove(dst, src, type->size);
    }
}

void *qapi_clone_object(const QapiType *type, const void *obj)
{
    void *dst;

    qapi_clone_value(type, &dst, &obj);
    return dst;
}

void qapi_clone_members(const QapiType *type, void *dst, const void *src)
{
    memcpy(dst, src, type->size);
    clone_in_place(type, dst, src);
}
