/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options: one dictionary for -o, --image-opts, json:{}, --blockdev and QMP.
 *
 * A QOpts is a flat JSON object with dotted keys ("file.driver"), in the
 * order in which they were given.  Values are strings when they come from a
 * command line, strings, booleans, integers or null when they come from
 * JSON; the qopts_take_* functions accept both.  Each layer takes what it
 * knows; what is left at the end is unknown, and an error.
 *
 * A QOpts belongs to one thread at a time.  A function that takes out an
 * option removes it also when its value is wrong.
 */
#ifndef QEMU_OPTION_H
#define QEMU_OPTION_H

typedef enum QemuOptType {
    QEMU_OPT_STRING,
    QEMU_OPT_BOOL,      /* on/off, yes/no, true/false, y/n */
    QEMU_OPT_NUMBER,    /* uint64_t, decimal or 0x */
    QEMU_OPT_SIZE,      /* uint64_t bytes, with suffix */
} QemuOptType;

typedef struct QemuOptDesc {
    const char *name;
    QemuOptType type;
    const char *help;           /* may be NULL */
    const char *def_value_str;  /* may be NULL: no default */
} QemuOptDesc;

/* The options of one driver or command; @desc ends with a NULL name. */
typedef struct QemuOptsList {
    const char *name;               /* for the help's caption; may be NULL */
    const char *implied_opt_name;   /* may be NULL */
    QemuOptDesc desc[];
} QemuOptsList;

/* An empty dictionary, to be freed with qopts_unref(). */
QOpts *qopts_new(void);
/* NULL is fine. */
void qopts_unref(QOpts *opts);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(QOpts, qopts_unref)

/* An independent copy. */
QOpts *qopts_dup(const QOpts *opts);

/*
 * Parse "key=value,key2=value2"; ",," in a value is a comma.  A key alone is
 * "on", unless it comes first and @implied_key is given: then it is the
 * value of that key.  The last of equal keys counts; a comma at the end is
 * accepted.  NULL and @errp set for an empty key.
 */
QOpts *qopts_parse(const char *params, const char *implied_key,
                   Error **errp);

/*
 * Make nested JSON flat: objects and arrays become "a.b" and "a.0"; empty
 * ones and null stay as values.  NULL and @errp set if @nested is not an
 * object, one key comes out twice, or a string has a NUL in it.  @nested
 * stays the caller's.
 */
QOpts *qopts_flatten(struct json_object *nested, Error **errp);

/* Parse the text of one JSON object (what follows "json:") and flatten it. */
QOpts *qopts_parse_json(const char *text, Error **errp);

/*
 * The reverse, for messages and file names: "a=1,b=2" with commas doubled.
 * To be freed.
 */
char *qopts_to_string(const QOpts *opts);

/* Whether @s is "help" or "?". */
bool qopts_is_help(const char *s);
/* Whether an element of the "a=b,c" list @params is "help" or "?". */
bool qopts_has_help(const char *params);

/* Reading without removal. */
bool qopts_has(const QOpts *opts, const char *key);
/* Whether @key is "@name", or "@name." and more. */
bool qopts_key_is_of(const char *key, const char *name);
/* Whether @name, or a "@name.KEY", is there: options of a child. */
bool qopts_has_child(const QOpts *opts, const char *name);
/* Whether @key is there and null. */
bool qopts_is_null(const QOpts *opts, const char *key);
/* The first key that is left, NULL if none; valid while it is there. */
const char *qopts_first_key(const QOpts *opts);
int qopts_count(const QOpts *opts);
/* NULL unless the value is a string; valid while it is there. */
const char *qopts_get_str(const QOpts *opts, const char *key);
/*
 * For values that qopts_take_table() has checked: @def if there is none.  An
 * unchecked value of another type is an assertion failure.
 */
bool qopts_get_bool(const QOpts *opts, const char *key, bool def);
uint64_t qopts_get_number(const QOpts *opts, const char *key, uint64_t def);
uint64_t qopts_get_size(const QOpts *opts, const char *key, uint64_t def);

/* Set or replace; @value NULL sets null. */
void qopts_set_str(QOpts *opts, const char *key, const char *value);
void qopts_set_bool(QOpts *opts, const char *key, bool value);
void qopts_set_int(QOpts *opts, const char *key, int64_t value);
void qopts_set_uint(QOpts *opts, const char *key, uint64_t value);
/* Remove; nothing happens if it is not there. */
void qopts_del(QOpts *opts, const char *key);

/*
 * Take an option out: *@value is what it says, or @def if it is not there.
 * Return true, or false with @errp set and *@value = @def (a copy of it for
 * strings) if it cannot be understood.
 */
bool qopts_take_str(QOpts *opts, const char *key, const char *def,
                    char **value, Error **errp);
bool qopts_take_bool(QOpts *opts, const char *key, bool def,
                     bool *value, Error **errp);
bool qopts_take_number(QOpts *opts, const char *key, uint64_t def,
                       uint64_t *value, Error **errp);
bool qopts_take_size(QOpts *opts, const char *key, uint64_t def,
                     uint64_t *value, Error **errp);
/* An index of the NULL-terminated @table; @def need not be one of them. */
bool qopts_take_enum(QOpts *opts, const char *key,
                     const char *const table[], int def,
                     int *value, Error **errp);

/*
 * Take all options of @table out of @opts into a new dictionary, with values
 * of their type (string, bool, integer) and the table's defaults filled in;
 * read it with qopts_get_*().  NULL and @errp set if a value is wrong.
 */
QOpts *qopts_take_table(const QemuOptsList *table, QOpts *opts,
                        Error **errp);

/* True if nothing is left; else "Invalid parameter 'KEY'" in @errp. */
bool qopts_check_empty(const QOpts *opts, Error **errp);

/*
 * Move all "@prefix..." options (with its dot: "file.") into a new
 * dictionary, without the prefix.  Never NULL.
 */
QOpts *qopts_extract_sub(QOpts *opts, const char *prefix);

/*
 * Copy all of @src into @dst; for keys that both have, @src counts if
 * @overwrite.
 */
void qopts_join(QOpts *dst, const QOpts *src, bool overwrite);

/* The entry of @table for @name, NULL if it has none. */
const QemuOptDesc *qemu_opt_find_desc(const QemuOptsList *table,
                                      const char *name);

/* List the options on stdout, sorted, as "qemu-img create -o help" does. */
void qemu_opts_print_help(const QemuOptsList *table, bool print_caption);

#endif
