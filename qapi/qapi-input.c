/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From JSON to the C structures of the schema.
 *
 * One function for each kind of type; the descriptors say which members
 * there are.  Each call knows its place in the document, so that a message
 * can name the member by its whole path ("file.filename", "actions[0].data").
 * The depth of the recursion is that of the document, which the reader of
 * the JSON text bounds.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "qemu/cutils.h"
#include "qapi/error.h"
#include "qapi/util.h"

/* Where in the document; name is NULL for an element of a list. */
typedef struct Place {
    const struct Place *parent;
    const char *name;
    unsigned index;
} Place;

typedef struct Input {
    QapiInputMode mode;
    Error **errp;
} Input;

static bool input_slot(Input *in, const QapiType *type,
                       struct json_object *json, void *slot,
                       const Place *place);

static void place_append(const Input *in, const Place *place, GString *path)
{
    if (place->parent) {
        place_append(in, place->parent, path);
    }
    if (place->name) {
        g_string_append_printf(path, "%s%s", path->len ? "." : "",
                               place->name);
    } else if (place->parent) {
        g_string_append_printf(path, in->mode == QAPI_INPUT_KEYVAL ?
                               ".%u" : "[%u]", place->index);
    }
}

/* The path of the member, to be freed. */
static char *place_name(const Input *in, const Place *place)
{
    GString *path = g_string_new(NULL);

    place_append(in, place, path);
    if (!path->len) {
        g_string_append(path, "null");
    }
    return g_string_free(path, false);
}

static bool wrong_type(const Input *in, const Place *place,
                       const char *expected)
{
    g_autofree char *name = place_name(in, place);

    error_setg(in->errp, "Invalid parameter type for '%s', expected: %s",
               name, expected);
    return false;
}

static bool wrong_value(const Input *in, const Place *place,
                        const char *expected)
{
    g_autofree char *name = place_name(in, place);

    error_setg(in->errp, "Parameter '%s' expects %s", name, expected);
    return false;
}

/* The text of a value of a command line; NULL if it is none. */
static const char *keyval_text(const Input *in, const Place *place,
                               struct json_object *json)
{
    g_autofree char *name = NULL;

    if (json_object_is_type(json, json_type_string)) {
        return json_object_get_string(json);
    }
    name = place_name(in, place);
    error_setg(in->errp, "Parameters '%s.*' are unexpected", name);
    return NULL;
}

void qapi_store_int(const QapiType *type, void *slot, uint64_t value)
{
    switch (type->size) {
    case 1:
        *(uint8_t *)slot = value;
        break;
    case 2:
        *(uint16_t *)slot = value;
        break;
    case 4:
        *(uint32_t *)slot = value;
        break;
    default:
        *(uint64_t *)slot = value;
    }
}

/* Whether the 64-bit number, of the signedness of @type, fits into it. */
static bool int_fits(const QapiType *type, uint64_t value)
{
    unsigned bits = type->size * 8;
    int64_t number = value;

    if (bits == 64) {
        return true;
    }
    if (type->kind == QAPI_KIND_INT) {
        return number >= -(INT64_C(1) << (bits - 1)) &&
               number < (INT64_C(1) << (bits - 1));
    }
    return value < (UINT64_C(1) << bits);
}

static const char *int_name(const QapiType *type)
{
    static const char *const names[][2] = {
        { "int8_t", "uint8_t" }, { "int16_t", "uint16_t" },
        { "int32_t", "uint32_t" }, { "int64_t", "uint64_t" },
    };
    int row = type->size == 1 ? 0 : type->size == 2 ? 1 :
              type->size == 4 ? 2 : 3;

    return names[row][type->kind != QAPI_KIND_INT];
}

/* A number of a command line. */
static bool text_to_int(Input *in, const QapiType *type, const char *text,
                        uint64_t *value, const Place *place)
{
    int64_t number;
    int ret;

    if (type->kind == QAPI_KIND_SIZE) {
        ret = qemu_strtosz(text, NULL, value);
        return ret == 0 || wrong_value(in, place, "size");
    }
    if (type->kind == QAPI_KIND_INT) {
        ret = qemu_strtoi64(text, NULL, 0, &number);
        *value = number;
    } else {
        ret = qemu_strtou64(text, NULL, 0, value);
    }
    return ret == 0 || wrong_value(in, place, "integer");
}

static bool input_int(Input *in, const QapiType *type,
                      struct json_object *json, void *slot,
                      const Place *place)
{
    const char *text;
    uint64_t value;

    if (in->mode == QAPI_INPUT_KEYVAL) {
        text = keyval_text(in, place, json);
        if (!text || !text_to_int(in, type, text, &value, place)) {
            return false;
        }
    } else {
        if (!json_object_is_type(json, json_type_int)) {
            return wrong_type(in, place, "integer");
        }
        value = json_object_get_int64(json);
        if (value == INT64_MAX) {
            value = json_object_get_uint64(json);
            if (value > INT64_MAX && type->kind == QAPI_KIND_INT) {
                return wrong_type(in, place, "integer");
            }
        }
    }
    if (!int_fits(type, value)) {
        return wrong_value(in, place, int_name(type));
    }
    qapi_store_int(type, slot, value);
    return true;
}

static bool input_bool(Input *in, struct json_object *json, bool *slot,
                       const Place *place)
{
    g_autofree char *name = NULL;
    const char *text;

    if (in->mode == QAPI_INPUT_KEYVAL) {
        text = keyval_text(in, place, json);
        if (!text) {
            return false;
        }
        name = place_name(in, place);
        return qapi_bool_parse(name, text, slot, in->errp);
    }
    if (!json_object_is_type(json, json_type_boolean)) {
        return wrong_type(in, place, "boolean");
    }
    *slot = json_object_get_boolean(json);
    return true;
}

static bool input_number(Input *in, struct json_object *json, double *slot,
                         const Place *place)
{
    const char *text;
    char *end;

    if (in->mode == QAPI_INPUT_KEYVAL) {
        text = keyval_text(in, place, json);
        if (!text) {
            return false;
        }
        *slot = g_ascii_strtod(text, &end);
        return (end != text && !*end && *slot - *slot == 0) ||
               wrong_type(in, place, "number");
    }
    if (!json_object_is_type(json, json_type_double) &&
        !json_object_is_type(json, json_type_int)) {
        return wrong_type(in, place, "number");
    }
    *slot = json_object_get_double(json);
    return true;
}

/* A string without a NUL byte in it: C could not tell where it ends. */
static const char *plain_string(Input *in, struct json_object *json,
                                const Place *place)
{
    const char *text;

    if (!json_object_is_type(json, json_type_string)) {
        wrong_type(in, place, "string");
        return NULL;
    }
    text = json_object_get_string(json);
    if (strlen(text) != json_object_get_string_len(json)) {
        wrong_value(in, place, "a string without NUL characters");
        return NULL;
    }
    return text;
}

static bool input_str(Input *in, struct json_object *json, char **slot,
                      const Place *place)
{
    const char *text = in->mode == QAPI_INPUT_KEYVAL ?
                       keyval_text(in, place, json) :
                       plain_string(in, json, place);

    if (!text) {
        return false;
    }
    *slot = g_strdup(text);
    return true;
}

static bool input_enum(Input *in, const QapiType *type,
                       struct json_object *json, int *slot,
                       const Place *place)
{
    g_autofree char *name = NULL;
    const char *text = in->mode == QAPI_INPUT_KEYVAL ?
                       keyval_text(in, place, json) :
                       plain_string(in, json, place);
    int value;

    if (!text) {
        return false;
    }
    value = qapi_enum_parse(type->lookup, text, -1, NULL);
    if (value < 0) {
        name = place_name(in, place);
        error_setg(in->errp, "Parameter '%s' does not accept value '%s'",
                   name, text);
        return false;
    }
    /* Only now: by the tag of a union its members are freed. */
    *slot = value;
    return true;
}

static bool input_member(Input *in, const QapiMember *member,
                         struct json_object *json, char *obj,
                         const Place *parent)
{
    Place place = { .parent = parent, .name = member->name };
    g_autofree char *name = NULL;
    struct json_object *value = NULL;

    if (!json_object_object_get_ex(json, member->name, &value)) {
        if (member->optional) {
            return true;
        }
        name = place_name(in, &place);
        error_setg(in->errp, "Parameter '%s' is missing", name);
        return false;
    }
    if (!input_slot(in, member->type, value, obj + member->offset,
                    &place)) {
        return false;
    }
    if (member->has_offset != QAPI_NO_FLAG) {
        *(bool *)(obj + member->has_offset) = true;
    }
    return true;
}

static bool input_members(Input *in, const QapiType *type,
                          struct json_object *json, char *obj,
                          const Place *place, const QapiType **branch)
{
    size_t i;

    for (i = 0; i < type->n_members; i++) {
        if (!input_member(in, &type->members[i], json, obj, place)) {
            return false;
        }
    }
    *branch = type->branches ?
              type->branches[*(int *)(obj + type->tag_offset)] : NULL;
    return true;
}

static bool has_member(const QapiType *type, const char *name)
{
    size_t i;

    for (i = 0; i < type->n_members; i++) {
        if (!strcmp(type->members[i].name, name)) {
            return true;
        }
    }
    return false;
}

/*
 * The members of a union's branch may belong to branches of their own, so
 * this descends; @types are those that know a name already.
 */
static bool input_object_in(Input *in, const QapiType *type,
                            struct json_object *json, char *obj,
                            const Place *place, GPtrArray *types)
{
    const QapiType *branch;

    g_ptr_array_add(types, (void *)type);
    if (!input_members(in, type, json, obj, place, &branch)) {
        return false;
    }
    return !branch || input_object_in(in, branch, json,
                                      obj + type->u_offset, place, types);
}

static bool check_unexpected(Input *in, struct json_object *json,
                             const Place *parent, GPtrArray *types)
{
    struct json_object_iterator it = json_object_iter_begin(json);
    struct json_object_iterator end = json_object_iter_end(json);

    for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
        Place place = {
            .parent = parent, .name = json_object_iter_peek_name(&it),
        };
        g_autofree char *name = NULL;
        bool known = false;
        guint i;

        for (i = 0; i < types->len && !known; i++) {
            known = has_member(g_ptr_array_index(types, i), place.name);
        }
        if (!known) {
            name = place_name(in, &place);
            error_setg(in->errp, "Parameter '%s' is unexpected", name);
            return false;
        }
    }
    return true;
}

/* Into zeroed memory; what is there after an error is to be freed. */
static bool input_object(Input *in, const QapiType *type,
                         struct json_object *json, void *obj,
                         const Place *place)
{
    g_autoptr(GPtrArray) types = NULL;

    if (!json_object_is_type(json, json_type_object)) {
        return wrong_type(in, place, "object");
    }
    types = g_ptr_array_new();
    return input_object_in(in, type, json, obj, place, types) &&
           check_unexpected(in, json, place, types);
}

static QType json_qtype(struct json_object *json)
{
    switch (json_object_get_type(json)) {
    case json_type_null:
        return QTYPE_QNULL;
    case json_type_boolean:
        return QTYPE_QBOOL;
    case json_type_double:
    case json_type_int:
        return QTYPE_QNUM;
    case json_type_object:
        return QTYPE_QDICT;
    case json_type_array:
        return QTYPE_QLIST;
    case json_type_string:
        return QTYPE_QSTRING;
    }
    return QTYPE_NONE;
}

/* The branch for @json; text of a command line may mean any scalar. */
static const QapiAlternative *find_alternative(const Input *in,
                                               const QapiType *type,
                                               QType qtype)
{
    size_t i;

    for (i = 0; i < type->n_alternatives; i++) {
        if (type->alternatives[i].qtype == qtype) {
            return &type->alternatives[i];
        }
    }
    if (in->mode == QAPI_INPUT_KEYVAL && qtype == QTYPE_QSTRING) {
        for (i = 0; i < type->n_alternatives; i++) {
            if (type->alternatives[i].qtype == QTYPE_QBOOL ||
                type->alternatives[i].qtype == QTYPE_QNUM) {
                return &type->alternatives[i];
            }
        }
    }
    return NULL;
}

static bool input_alternate(Input *in, const QapiType *type,
                            struct json_object *json, void *obj,
                            const Place *place)
{
    const QapiAlternative *alternative =
        find_alternative(in, type, json_qtype(json));
    void *value;

    /* In a command line's form a list is an object with numbers as keys. */
    if (!alternative && in->mode == QAPI_INPUT_KEYVAL &&
        json_qtype(json) == QTYPE_QDICT) {
        alternative = find_alternative(in, type, QTYPE_QLIST);
    }
    if (!alternative) {
        return wrong_type(in, place, type->name);
    }
    *(QType *)obj = alternative->qtype;
    value = (char *)obj + alternative->offset;
    if (alternative->type->kind == QAPI_KIND_OBJECT) {
        return input_object(in, alternative->type, json, value, place);
    }
    return input_slot(in, alternative->type, json, value, place);
}

/* Element @index of a list; in a command line's form that is a key. */
static bool list_element(const Input *in, struct json_object *json,
                         unsigned index, struct json_object **element)
{
    char key[16];

    if (json_object_is_type(json, json_type_array)) {
        *element = json_object_array_get_idx(json, index);
        return index < json_object_array_length(json);
    }
    snprintf(key, sizeof(key), "%u", index);
    return json_object_object_get_ex(json, key, element);
}

static bool input_list(Input *in, const QapiType *type,
                       struct json_object *json, void **slot,
                       const Place *parent)
{
    struct json_object *element;
    void **tail = slot;
    unsigned i;

    if (!json_object_is_type(json, json_type_array) &&
        !(in->mode == QAPI_INPUT_KEYVAL &&
          json_object_is_type(json, json_type_object))) {
        return wrong_type(in, parent, "array");
    }
    for (i = 0; list_element(in, json, i, &element); i++) {
        Place place = { .parent = parent, .index = i };

        *tail = g_malloc0(type->size);
        if (!input_slot(in, type->element, element,
                        (char *)*tail + type->value_offset, &place)) {
            return false;
        }
        tail = *tail;   /* "next" comes first */
    }
    if (json_object_is_type(json, json_type_object) &&
        (unsigned)json_object_object_length(json) != i) {
        return wrong_type(in, parent, "array");
    }
    return true;
}

static bool input_slot(Input *in, const QapiType *type,
                       struct json_object *json, void *slot,
                       const Place *place)
{
    switch (type->kind) {
    case QAPI_KIND_STR:
        return input_str(in, json, slot, place);
    case QAPI_KIND_BOOL:
        return input_bool(in, json, slot, place);
    case QAPI_KIND_INT:
    case QAPI_KIND_UINT:
    case QAPI_KIND_SIZE:
        return input_int(in, type, json, slot, place);
    case QAPI_KIND_NUMBER:
        return input_number(in, json, slot, place);
    case QAPI_KIND_ANY:
        *(struct json_object **)slot = json_object_get(json);
        return true;
    case QAPI_KIND_NULL:
        *(QNull **)slot = NULL;
        return json_object_is_type(json, json_type_null) ||
               wrong_type(in, place, "null");
    case QAPI_KIND_ENUM:
        return input_enum(in, type, json, slot, place);
    case QAPI_KIND_OBJECT:
        *(void **)slot = g_malloc0(type->size);
        return input_object(in, type, json, *(void **)slot, place);
    case QAPI_KIND_ALTERNATE:
        *(void **)slot = g_malloc0(type->size);
        return input_alternate(in, type, json, *(void **)slot, place);
    case QAPI_KIND_LIST:
        *(void **)slot = NULL;
        return input_list(in, type, json, slot, place);
    }
    g_assert_not_reached();
}

static bool is_pointer(const QapiType *type)
{
    switch (type->kind) {
    case QAPI_KIND_STR:
    case QAPI_KIND_ANY:
    case QAPI_KIND_OBJECT:
    case QAPI_KIND_ALTERNATE:
    case QAPI_KIND_LIST:
        return true;
    default:
        return false;
    }
}

bool qapi_input(const QapiType *type, struct json_object *json,
                QapiInputMode mode, void *slot, Error **errp)
{
    Input in = { .mode = mode, .errp = errp };
    Place root = { .name = NULL };
    struct json_object *empty = NULL;
    bool ok;

    if (is_pointer(type)) {
        *(void **)slot = NULL;
    }
    if (!json && type->kind == QAPI_KIND_OBJECT) {
        json = empty = json_object_new_object();
    }
    ok = input_slot(&in, type, json, slot, &root);
    if (!ok && is_pointer(type)) {
        qapi_free_value(type, slot);
    }
    json_object_put(empty);
    return ok;
}

void *qapi_input_object(const QapiType *type, struct json_object *json,
                        Error **errp)
{
    void *obj = NULL;

    qapi_input(type, json, QAPI_INPUT_JSON, &obj, errp);
    return obj;
}
