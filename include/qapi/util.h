/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the C files made from the QAPI schema share: enumerations, lists,
 * and descriptors of types, from which values are read, written, copied and
 * freed.  docs/devel/qapi.rst describes the generated C.
 *
 * A "slot" is the memory of one member: for strings, objects, alternates,
 * lists and JSON it holds a pointer, for the others the value.  Any thread
 * may call these functions; one value belongs to one thread at a time.
 */
#ifndef QAPI_UTIL_H
#define QAPI_UTIL_H

struct json_object;

/* The C side of JSON's null; always a null pointer. */
typedef struct QNull QNull;

/* The type of the JSON that an alternate was read from. */
typedef enum QType {
    QTYPE_NONE,
    QTYPE_QNULL,
    QTYPE_QNUM,
    QTYPE_QSTRING,
    QTYPE_QDICT,
    QTYPE_QLIST,
    QTYPE_QBOOL,
    QTYPE__MAX,
} QType;

/* The names of an enumeration; array[size] is NULL. */
typedef struct QEnumLookup {
    const char *const *array;
    int size;
} QEnumLookup;

/* The name of @val, which must be a value of the enumeration. */
const char *qapi_enum_lookup(const QEnumLookup *lookup, int val);
/*
 * The value named @buf; @def if @buf is NULL or no name.  In the latter case
 * @errp is set to "invalid parameter value: ...".
 */
int qapi_enum_parse(const QEnumLookup *lookup, const char *buf, int def,
                    Error **errp);
/*
 * "on", "yes", "true", "y" and their opposites.  False and @errp set for
 * another @value of the parameter @name.
 */
bool qapi_bool_parse(const char *name, const char *value, bool *obj,
                     Error **errp);

/* Put @element before a list, or behind the last one: *@tail is NULL. */
#define QAPI_LIST_PREPEND(list, element) do {               \
        typeof(list) qapi_new_ = g_new0(typeof(*(list)), 1);\
        qapi_new_->value = (element);                       \
        qapi_new_->next = (list);                           \
        (list) = qapi_new_;                                 \
    } while (0)
#define QAPI_LIST_APPEND(tail, element) do {                \
        *(tail) = g_new0(typeof(**(tail)), 1);              \
        (*(tail))->value = (element);                       \
        (tail) = &(*(tail))->next;                          \
    } while (0)

typedef enum QapiKind {
    QAPI_KIND_STR,
    QAPI_KIND_BOOL,
    QAPI_KIND_INT,          /* signed, of .size bytes */
    QAPI_KIND_UINT,
    QAPI_KIND_SIZE,         /* uint64_t; text may have a suffix */
    QAPI_KIND_NUMBER,
    QAPI_KIND_ANY,
    QAPI_KIND_NULL,
    QAPI_KIND_ENUM,
    QAPI_KIND_OBJECT,
    QAPI_KIND_ALTERNATE,
    QAPI_KIND_LIST,
} QapiKind;

typedef struct QapiType QapiType;

#define QAPI_NO_FLAG SIZE_MAX

/* A member of an object, inherited ones included. */
typedef struct QapiMember {
    const char *name;
    const QapiType *type;
    size_t offset;
    size_t has_offset;      /* of its has_ flag, or QAPI_NO_FLAG */
    bool optional;
} QapiMember;

/* A branch of an alternate; objects are held by value. */
typedef struct QapiAlternative {
    QType qtype;
    const QapiType *type;
    size_t offset;
} QapiAlternative;

struct QapiType {
    QapiKind kind;
    const char *name;
    size_t size;                    /* in bytes, of the value itself */
    const QEnumLookup *lookup;      /* enumerations */
    const QapiMember *members;      /* objects */
    size_t n_members;
    const char *tag;                /* unions: the name of the tag, NULL: */
    size_t tag_offset;              /* no union */
    size_t u_offset;
    const QapiType *const *branches;    /* by tag; NULL: no members */
    const QapiAlternative *alternatives;
    size_t n_alternatives;
    const QapiType *element;        /* lists: {next; value} */
    size_t value_offset;
};

/*
 * How values are written: as JSON, or all as strings because they come from
 * a command line ("key=value").
 */
typedef enum QapiInputMode {
    QAPI_INPUT_JSON,
    QAPI_INPUT_KEYVAL,
} QapiInputMode;

/* Put @value, which fits, into @slot, of the integer @type. */
void qapi_store_int(const QapiType *type, void *slot, uint64_t value);

/*
 * Fill @slot from @json, which stays the caller's; NULL is an empty object.
 * True, or false with @errp set (QMP's message, with the path of the member)
 * and nothing allocated.
 */
bool qapi_input(const QapiType *type, struct json_object *json,
                QapiInputMode mode, void *slot, Error **errp);
/* The value in @slot as JSON, a new reference; NULL is JSON's null. */
struct json_object *qapi_output(const QapiType *type, const void *slot);
/* Free what @slot refers to, and set its pointer to NULL. */
void qapi_free_value(const QapiType *type, void *slot);
/* An independent copy. */
void qapi_clone_value(const QapiType *type, void *dst, const void *src);

/*
 * An argument of a command line, "key=value,..." or "{ JSON }", as a value of
 * @type; @implied, the key of a value without one, may be NULL.  False with
 * @errp set; so for "help", which no such option has.
 */
bool qapi_parse_option(const QapiType *type, const char *text,
                       const char *implied, void *slot, Error **errp);

/*
 * Take what @opts have for the members of @type, an object, out of them, into a
 * new one.  Strings are understood as on a command line (signed integers may
 * have a suffix, since sizes are of that type), JSON's numbers and booleans as
 * they are.  Members that are objects, lists or alternates (nodes) stay in
 * @opts, as does what is no member; that a mandatory member is missing is for
 * the caller to find.  NULL with @errp set if a value is wrong.
 */
void *qopts_take_object(QOpts *opts, const QapiType *type, Error **errp);
#define QOPTS_TAKE(type, opts, errp) \
    ((type *)qopts_take_object((opts), &qapi_type_##type, (errp)))

/* The same for types that are pointers, by their name. */
void *qapi_input_object(const QapiType *type, struct json_object *json,
                        Error **errp);
struct json_object *qapi_output_object(const QapiType *type,
                                       const void *obj);
void *qapi_clone_object(const QapiType *type, const void *obj);

/* A new TYPE from @json; NULL with @errp set if it is none. */
#define QAPI_FROM_JSON(type, json, errp) \
    ((type *)qapi_input_object(&qapi_type_##type, (json), (errp)))
/* @obj, a TYPE, as JSON. */
#define QAPI_TO_JSON(type, obj) \
    qapi_output_object(&qapi_type_##type, (const type *)(obj))
/* A copy of @obj, a TYPE. */
#define QAPI_CLONE(type, obj) \
    ((type *)qapi_clone_object(&qapi_type_##type, (const type *)(obj)))
/* Copy all members of @src, a TYPE, into @dst, whose content is lost. */
#define QAPI_CLONE_MEMBERS(type, dst, src) \
    qapi_clone_members(&qapi_type_##type, (type *)(dst), \
                       (const type *)(src))
void qapi_clone_members(const QapiType *type, void *dst, const void *src);

#endif
