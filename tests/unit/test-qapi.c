/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What scripts/qapi-gen.py makes of each construct of the schema language:
 * types from JSON and back, commands, events, introspection.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "qapi/error.h"
#include "qapi/qapi-commands-test-schema.h"
#include "qapi/qapi-emit-events.h"
#include "qapi/qapi-events-test-schema.h"
#include "qapi/qapi-init-commands.h"
#include "qapi/qapi-introspect.h"
#include "qapi/qapi-types-test-schema.h"
#include "qapi/qmp/dispatch.h"
#include "qemu/coroutine.h"
#include "qemu/option.h"

static struct json_object *parse(const char *text)
{
    enum json_tokener_error error;
    struct json_object *json = json_tokener_parse_verbose(text, &error);

    g_assert_cmpint(error, ==, json_tokener_success);
    return json;
}

static const char *plain(struct json_object *json)
{
    return json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN);
}

/* @text is read, written, copied, and comes out as it was, or as @want. */
static void assert_back(const QapiType *type, const char *text,
                        const char *want)
{
    struct json_object *json = parse(text), *out;
    void *slot, *copy;

    qapi_input(type, json, QAPI_INPUT_JSON, &slot, &error_abort);
    json_object_put(json);
    qapi_clone_value(type, &copy, &slot);
    qapi_free_value(type, &slot);
    g_assert_null(slot);
    out = qapi_output(type, &copy);
    g_assert_cmpstr(plain(out), ==, want ?: text);
    json_object_put(out);
    qapi_free_value(type, &copy);
}

static void assert_refused(const QapiType *type, QapiInputMode mode,
                           const char *text, const char *message)
{
    struct json_object *json = parse(text);
    Error *err = NULL;
    void *slot = (void *)1;

    g_assert_false(qapi_input(type, json, mode, &slot, &err));
    g_assert_null(slot);
    g_assert_cmpstr(error_get_pretty(err), ==, message);
    error_free(err);
    json_object_put(json);
}

static void test_values(void)
{
    assert_back(&qapi_type_All, "{\"s\":\"\",\"i\":-9223372036854775808}",
                NULL);
    assert_back(&qapi_type_All,
                "{\"s\":\"x\",\"i\":9223372036854775807,\"i8\":-128,"
                "\"u8\":255,\"u32\":4294967295,\"u64\":18446744073709551615,"
                "\"size\":0,\"n\":1.5,\"b\":false,\"any\":{\"a\":[1,null]},"
                "\"e\":\"dark-blue\",\"l\":[1,2,3],"
                "\"sl\":[\"a\",\"b\"],\"inner\":{\"a\":1},"
                "\"inners\":[{\"a\":1},{\"a\":2}],\"with-dash\":\"d\","
                "\"default\":true}", NULL);
    assert_back(&qapi_type_All, "{\"i\":1,\"s\":\"order\"}",
                "{\"s\":\"order\",\"i\":1}");
    assert_back(&qapi_type_All, "{\"s\":\"\",\"i\":1,\"u64\":-1}",
                "{\"s\":\"\",\"i\":1,\"u64\":18446744073709551615}");
    assert_back(&qapi_type_Derived, "{\"x\":1,\"y\":\"\",\"z\":[\"\"]}",
                NULL);
    assert_back(&qapi_type_Empty, "{}", NULL);
}

static void test_refused(void)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "[]", "Invalid parameter type for 'null', expected: object" },
        { "{}", "Parameter 's' is missing" },
        { "{\"s\":1,\"i\":1}",
          "Invalid parameter type for 's', expected: string" },
        { "{\"s\":\"a\\u0000b\",\"i\":1}",
          "Parameter 's' expects a string without NUL characters" },
        { "{\"s\":\"\",\"i\":1.0}",
          "Invalid parameter type for 'i', expected: integer" },
        { "{\"s\":\"\",\"i\":9223372036854775808}",
          "Invalid parameter type for 'i', expected: integer" },
        { "{\"s\":\"\",\"i\":1,\"i8\":128}", "Parameter 'i8' expects int8_t" },
        { "{\"s\":\"\",\"i\":1,\"u8\":256}",
          "Parameter 'u8' expects uint8_t" },
        { "{\"s\":\"\",\"i\":1,\"u32\":-1}",
          "Parameter 'u32' expects uint32_t" },
        { "{\"s\":\"\",\"i\":1,\"b\":1}",
          "Invalid parameter type for 'b', expected: boolean" },
        { "{\"s\":\"\",\"i\":1,\"n\":\"1\"}",
          "Invalid parameter type for 'n', expected: number" },
        { "{\"s\":\"\",\"i\":1,\"null\":1}",
          "Invalid parameter type for 'null', expected: null" },
        { "{\"s\":\"\",\"i\":1,\"e\":\"pink\"}",
          "Parameter 'e' does not accept value 'pink'" },
        { "{\"s\":\"\",\"i\":1,\"l\":{}}",
          "Invalid parameter type for 'l', expected: array" },
        { "{\"s\":\"\",\"i\":1,\"inners\":[{\"a\":1},{\"b\":2}]}",
          "Parameter 'inners[1].a' is missing" },
        { "{\"s\":\"\",\"i\":1,\"inner\":{\"a\":1,\"b\":2}}",
          "Parameter 'inner.b' is unexpected" },
        { "{\"s\":\"\",\"i\":1,\"with_dash\":\"\"}",
          "Parameter 'with_dash' is unexpected" },
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_refused(&qapi_type_All, QAPI_INPUT_JSON, cases[i].text,
                       cases[i].message);
    }
}

static void test_union(void)
{
    struct json_object *json;
    Shape *shape;

    assert_back(&qapi_type_Shape, "{\"kind\":\"red\",\"a\":1}", NULL);
    assert_back(&qapi_type_Shape, "{\"kind\":\"dark-blue\",\"name\":\"n\","
                "\"x\":1,\"z\":[\"s\"]}", NULL);
    assert_back(&qapi_type_Shape, "{\"kind\":\"green\"}", NULL);
    assert_back(&qapi_type_Shape, "{\"kind\":\"none\"}", NULL);
    assert_back(&qapi_type_Outer, "{\"which\":\"shape\",\"kind\":\"red\","
                "\"a\":1}", NULL);
    assert_refused(&qapi_type_Outer, QAPI_INPUT_JSON,
                   "{\"which\":\"nothing\",\"kind\":\"red\"}",
                   "Parameter 'kind' is unexpected");
    assert_refused(&qapi_type_Shape, QAPI_INPUT_JSON, "{\"a\":1}",
                   "Parameter 'kind' is missing");
    assert_refused(&qapi_type_Shape, QAPI_INPUT_JSON, "{\"kind\":\"x\"}",
                   "Parameter 'kind' does not accept value 'x'");
    assert_refused(&qapi_type_Shape, QAPI_INPUT_JSON,
                   "{\"kind\":\"green\",\"a\":1}",
                   "Parameter 'a' is unexpected");
    assert_refused(&qapi_type_Shape, QAPI_INPUT_JSON,
                   "{\"kind\":\"dark-blue\",\"x\":1,\"z\":[\"\",5]}",
                   "Invalid parameter type for 'z[1]', expected: string");

    json = parse("{\"kind\":\"dark-blue\",\"x\":7,\"z\":[\"s\"]}");
    shape = QAPI_FROM_JSON(Shape, json, &error_abort);
    g_assert_cmpint(shape->kind, ==, COLOR_DARK_BLUE);
    g_assert_null(shape->name);
    g_assert_cmpint(shape->u.dark_blue.x, ==, 7);
    g_assert_cmpstr(shape->u.dark_blue.z->value, ==, "s");
    qapi_free_Shape(shape);
    json_object_put(json);
}

static void test_alternate(void)
{
    assert_back(&qapi_type_Alts, "{\"alt\":\"s\"}", NULL);
    assert_back(&qapi_type_Alts, "{\"alt\":5}", NULL);
    assert_back(&qapi_type_Alts, "{\"alt\":true}", NULL);
    assert_back(&qapi_type_Alts, "{\"alt\":null}", NULL);
    assert_back(&qapi_type_Alts, "{\"alt\":[1,2]}", NULL);
    assert_back(&qapi_type_Alts,
                "{\"alt\":{\"kind\":\"red\",\"a\":1},"
                "\"alts\":[\"x\",[],{\"kind\":\"green\"}],\"ae\":\"red\"}",
                NULL);
    assert_refused(&qapi_type_Alts, QAPI_INPUT_JSON, "{\"ae\":5}",
                   "Invalid parameter type for 'ae', expected: AltEnum");
    assert_refused(&qapi_type_Alts, QAPI_INPUT_JSON,
                   "{\"alts\":[1,{\"kind\":\"red\"}]}",
                   "Parameter 'alts[1].a' is missing");
}

/* "ael.0=red" */
static void test_keyval_alternate(void)
{
    struct json_object *json = parse("{\"ael\":{\"0\":\"red\"}}");
    Alts *alts;

    qapi_input(&qapi_type_Alts, json, QAPI_INPUT_KEYVAL, &alts, &error_abort);
    g_assert_cmpint(alts->ael->type, ==, QTYPE_QLIST);
    g_assert_cmpint(alts->ael->u.l->value, ==, COLOR_RED);
    qapi_free_Alts(alts);
    json_object_put(json);

    assert_refused(&qapi_type_Alts, QAPI_INPUT_KEYVAL,
                   "{\"ael\":{\"x\":\"1\"}}",
                   "Invalid parameter type for 'ael', expected: array");
    assert_refused(&qapi_type_Alts, QAPI_INPUT_JSON,
                   "{\"ael\":{\"0\":\"red\"}}",
                   "Invalid parameter type for 'ael', expected: AltEnums");
}

static void test_keyval(void)
{
    struct json_object *json = parse(
        "{\"s\":\"5\",\"i\":\"-0x10\",\"size\":\"2k\",\"b\":\"on\","
        "\"n\":\"1e3\",\"e\":\"green\",\"l\":{\"0\":\"1\",\"1\":\"2\"}}");
    All *all;

    qapi_input(&qapi_type_All, json, QAPI_INPUT_KEYVAL, &all, &error_abort);
    g_assert_cmpstr(all->s, ==, "5");
    g_assert_cmpint(all->i, ==, -16);
    g_assert_true(all->has_size);
    g_assert_cmpint(all->size, ==, 2048);
    g_assert_true(all->has_b && all->b);
    g_assert_true(all->n == 1000);
    g_assert_cmpint(all->l->next->value, ==, 2);
    g_assert_false(all->has_u8);
    qapi_free_All(all);
    json_object_put(json);

    assert_refused(&qapi_type_All, QAPI_INPUT_KEYVAL,
                   "{\"s\":\"\",\"i\":\"1x\"}",
                   "Parameter 'i' expects integer");
    assert_refused(&qapi_type_All, QAPI_INPUT_KEYVAL,
                   "{\"s\":\"\",\"i\":\"1\",\"size\":\"x\"}",
                   "Parameter 'size' expects size");
    assert_refused(&qapi_type_All, QAPI_INPUT_KEYVAL,
                   "{\"s\":\"\",\"i\":\"1\",\"b\":\"maybe\"}",
                   "Parameter 'b' expects 'on' or 'off'");
    assert_refused(&qapi_type_All, QAPI_INPUT_KEYVAL,
                   "{\"s\":{\"x\":\"1\"},\"i\":\"1\"}",
                   "Parameters 's.*' are unexpected");
    assert_refused(&qapi_type_All, QAPI_INPUT_KEYVAL,
                   "{\"s\":\"\",\"i\":\"1\",\"l\":{\"0\":\"1\",\"2\":\"2\"}}",
                   "Invalid parameter type for 'l', expected: array");
    assert_refused(&qapi_type_All, QAPI_INPUT_KEYVAL,
                   "{\"s\":\"\",\"i\":\"1\",\"inners\":{\"0\":{}}}",
                   "Parameter 'inners.0.a' is missing");
}

static void test_enum(void)
{
    Error *err = NULL;

    g_assert_cmpstr(Color_str(COLOR_NONE), ==, "none");
    g_assert_cmpint(COLOR__MAX, ==, 4);
    g_assert_null(Color_lookup.array[COLOR__MAX]);
    g_assert_cmpint(qapi_enum_parse(&Color_lookup, "green", -1,
                                    &error_abort), ==, COLOR_GREEN);
    g_assert_cmpint(qapi_enum_parse(&Color_lookup, NULL, 7, &error_abort),
                    ==, 7);
    g_assert_cmpint(qapi_enum_parse(&Color_lookup, "x", -1, &err), ==, -1);
    error_free_or_abort(&err);
    /* Conditions: "never" is not there. */
    g_assert_cmpint(CND__MAX, ==, 2);
    assert_back(&qapi_type_Conds, "{\"a\":\"both\",\"old\":\"\"}", NULL);
    assert_refused(&qapi_type_Conds, QAPI_INPUT_JSON, "{\"a\":\"never\"}",
                   "Parameter 'a' does not accept value 'never'");
    assert_refused(&qapi_type_Conds, QAPI_INPUT_JSON,
                   "{\"a\":\"both\",\"never\":\"\"}",
                   "Parameter 'never' is unexpected");
}

static void test_list(void)
{
    intList *list = NULL, **tail = &list;
    struct json_object *json;

    QAPI_LIST_APPEND(tail, 2);
    QAPI_LIST_APPEND(tail, 3);
    QAPI_LIST_PREPEND(list, 1);
    json = QAPI_TO_JSON(intList, list);
    g_assert_cmpstr(plain(json), ==, "[1,2,3]");
    json_object_put(json);
    qapi_free_intList(list);
    qapi_free_intList(NULL);
}

/* --- commands --- */

static QmpCommandList cmds;
static bool boxed_called;

Inner *qmp_plain(int64_t a, const char *b, bool has_c, bool c, Error **errp)
{
    Inner *inner;

    if (a < 0) {
        error_set(errp, ERROR_CLASS_DEVICE_NOT_FOUND, "no %" PRId64, a);
        return NULL;
    }
    inner = g_new0(Inner, 1);
    inner->a = a + (b ? strlen(b) : 0) + (has_c && c ? 100 : 0);
    return inner;
}

void qmp_boxed_one(Shape *arg, Error **errp)
{
    boxed_called = arg->kind == COLOR_RED && arg->u.red.a == 5;
}

AllList *qmp_lists(AllList *list, Error **errp)
{
    return QAPI_CLONE(AllList, list);
}

void qmp_nothing(Error **errp)
{
}

void qmp_with_conds(Conds *arg, Error **errp)
{
    g_assert_cmpint(arg->a, ==, CND_BOTH);
}

void coroutine_fn qmp_silent(Error **errp)
{
}

Alts *qmp_alts(Alt *alt, AltList *alts, AltEnum *ae,
               AltEnums *ael, Error **errp)
{
    return g_new0(Alts, 1);
}

static void assert_answer(const char *request, const char *want)
{
    struct json_object *json = parse(request), *answer;
    const QmpCommand *cmd;
    Error *err = NULL;
    bool oob;

    cmd = qmp_dispatch_check(&cmds, json, true, &oob, &err);
    answer = cmd ? qmp_dispatch_run(cmd, json) : qmp_error_response(err);
    g_assert_cmpstr(answer ? plain(answer) : NULL, ==, want);
    json_object_put(answer);
    json_object_put(json);
}

#define GENERIC(text) \
    "{\"error\":{\"class\":\"GenericError\",\"desc\":\"" text "\"}}"

static void test_commands(void)
{
    qmp_command_list_init(&cmds);
    qmp_init_marshal(&cmds);
    assert_answer("{\"execute\":\"plain\",\"arguments\":{\"a\":1,"
                  "\"b\":\"xy\",\"c\":true}}", "{\"return\":{\"a\":103}}");
    assert_answer("{\"execute\":\"plain\",\"arguments\":{\"a\":-1}}",
                  "{\"error\":{\"class\":\"DeviceNotFound\","
                  "\"desc\":\"no -1\"}}");
    assert_answer("{\"execute\":\"plain\"}",
                  GENERIC("Parameter 'a' is missing"));
    assert_answer("{\"execute\":\"boxed-one\",\"arguments\":"
                  "{\"kind\":\"red\",\"a\":5}}", "{\"return\":{}}");
    g_assert_true(boxed_called);
    assert_answer("{\"execute\":\"lists\",\"arguments\":{\"list\":"
                  "[{\"s\":\"\",\"i\":1}]}}",
                  "{\"return\":[{\"s\":\"\",\"i\":1}]}");
    assert_answer("{\"execute\":\"lists\",\"arguments\":{\"list\":[]}}",
                  "{\"return\":[]}");
    assert_answer("{\"execute\":\"nothing\",\"id\":5}", "{\"return\":{}}");
    assert_answer("{\"execute\":\"nothing\",\"arguments\":{\"x\":1}}",
                  GENERIC("Parameter 'x' is unexpected"));
    assert_answer("{\"exec-oob\":\"with-conds\",\"arguments\":"
                  "{\"a\":\"both\"}}", "{\"return\":{}}");
    assert_answer("{\"exec-oob\":\"nothing\"}",
                  GENERIC("The command nothing does not support OOB"));
    assert_answer("{\"execute\":\"silent\"}", NULL);
    assert_answer("{\"execute\":\"never\"}",
                  "{\"error\":{\"class\":\"CommandNotFound\","
                  "\"desc\":\"The command never has not been found\"}}");
    g_assert_null(qmp_find_command(&cmds, "not-there"));
    g_assert_true(qmp_command_is_coroutine(qmp_find_command(&cmds,
                                                            "silent")));
    qmp_command_list_destroy(&cmds);
}

/* --- events --- */

static GString *events;

static void got_event(int event, struct json_object *json)
{
    struct json_object *data = NULL, *time;

    g_assert_true(json_object_object_get_ex(json, "timestamp", &time));
    json_object_object_get_ex(json, "data", &data);
    g_string_append_printf(events, "%s:%s;", QAPIEvent_str(event),
                           data ? plain(data) : "");
}

static void test_events(void)
{
    strList z = { .value = (char *)"zz" };
    Derived derived = { .x = 1, .z = &z };

    /* Nobody listens. */
    qapi_event_send_some_data("x", false, 0, NULL);
    events = g_string_new(NULL);
    qapi_event_set_func(got_event);
    qapi_event_send_no_data();
    qapi_event_send_some_data("x", false, 0, NULL);
    qapi_event_send_some_data("x", true, 5, "y");
    qapi_event_send_boxed(&derived);
    qapi_event_set_func(NULL);
    qapi_event_send_no_data();
    g_assert_cmpstr(events->str, ==, "NO_DATA:;SOME_DATA:{\"a\":\"x\"};"
                    "SOME_DATA:{\"a\":\"x\",\"n\":5,\"s\":\"y\"};"
                    "BOXED:{\"x\":1,\"z\":[\"zz\"]};");
    g_string_free(events, true);
}

/* --- introspection --- */

static struct json_object *find_entry(struct json_object *schema,
                                      const char *name)
{
    size_t i;

    for (i = 0; i < json_object_array_length(schema); i++) {
        struct json_object *entry = json_object_array_get_idx(schema, i);

        if (!strcmp(json_object_get_string(
                        json_object_object_get(entry, "name")), name)) {
            return entry;
        }
    }
    return NULL;
}

static struct json_object *entry_of(struct json_object *schema,
                                    struct json_object *entry,
                                    const char *member)
{
    return find_entry(schema, json_object_get_string(
        json_object_object_get(entry, member)));
}

static void test_introspection(void)
{
    struct json_object *schema = parse(qmp_schema_json);
    struct json_object *entry, *arg;

    g_assert_null(find_entry(schema, "not-there"));
    g_assert_null(find_entry(schema, "never"));
    entry = find_entry(schema, "with-conds");
    g_assert_true(json_object_get_boolean(
        json_object_object_get(entry, "allow-oob")));
    arg = entry_of(schema, entry, "arg-type");
    g_assert_cmpint(json_object_array_length(
        json_object_object_get(arg, "members")), ==, 2);
    entry = find_entry(schema, "boxed-one");
    arg = entry_of(schema, entry, "arg-type");
    g_assert_cmpstr(json_object_get_string(
        json_object_object_get(arg, "tag")), ==, "kind");
    g_assert_cmpint(json_object_array_length(
        json_object_object_get(arg, "variants")), ==, 4);
    entry = find_entry(schema, "SOME_DATA");
    g_assert_cmpstr(json_object_get_string(
        json_object_object_get(entry, "meta-type")), ==, "event");
    json_object_put(schema);
}

static void assert_options_refused(const char *params, const char *message)
{
    g_autoptr(QOpts) opts = qopts_parse(params, NULL, &error_abort);
    Error *err = NULL;

    g_assert_null(QOPTS_TAKE(All, opts, &err));
    g_assert_cmpstr(error_get_pretty(err), ==, message);
    error_free(err);
}

/* What a driver takes of the options of its node. */
static void test_options(void)
{
    g_autoptr(QOpts) opts = qopts_parse(
        "s=text,i=4k,u32=7,u64=18446744073709551615,size=1G,b=on,"
        "e=dark-blue,with-dash=x,inner.a=3,l.0=1,other=y", NULL,
        &error_abort);
    g_autoptr(QOpts) json = qopts_parse_json(
        "{ 's': 'a', 'i': 5, 'u8': 255, 'b': false, 'size': 9 }",
        &error_abort);
    g_autoptr(All) o = QOPTS_TAKE(All, opts, &error_abort);
    g_autoptr(All) j = QOPTS_TAKE(All, json, &error_abort);

    g_assert_cmpstr(o->s, ==, "text");
    g_assert_cmpint(o->i, ==, 4096);
    g_assert_true(o->has_u32 && o->u32 == 7);
    g_assert_true(o->has_u64 && o->u64 == UINT64_MAX);
    g_assert_true(o->has_size && o->size == 1 << 30);
    g_assert_true(o->has_b && o->b);
    g_assert_true(o->has_e && o->e == COLOR_DARK_BLUE);
    g_assert_cmpstr(o->with_dash, ==, "x");
    g_assert_false(o->has_u8 || o->has_i8 || o->has_n || o->has_default);
    /* What is no member of a simple type stays. */
    g_assert_cmpint(qopts_count(opts), ==, 3);
    g_assert_true(qopts_has(opts, "inner.a") && qopts_has(opts, "l.0")
                  && qopts_has(opts, "other"));

    g_assert_true(j->i == 5 && j->u8 == 255 && j->has_b && !j->b
                  && j->size == 9);
    g_assert_cmpint(qopts_count(json), ==, 0);

    assert_options_refused("u8=256",
                           "Parameter 'u8' expects a number up to 255");
    assert_options_refused("i8=128",
                           "Parameter 'i8' expects a number up to 127");
    assert_options_refused("u32=4294967296", "Parameter 'u32' expects a "
                           "number up to 4294967295");
    assert_options_refused("s=x,b=perhaps",
                           "Parameter 'b' expects 'on' or 'off'");
    assert_options_refused("e=pink", "Parameter 'e' does not accept value "
                           "'pink' (possible: red, dark-blue, green, none)");
    assert_options_refused("u64=1k", "Parameter 'u64' expects a number");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qapi/values", test_values);
    g_test_add_func("/qapi/refused", test_refused);
    g_test_add_func("/qapi/union", test_union);
    g_test_add_func("/qapi/alternate", test_alternate);
    g_test_add_func("/qapi/keyval/alternate", test_keyval_alternate);
    g_test_add_func("/qapi/keyval", test_keyval);
    g_test_add_func("/qapi/enum", test_enum);
    g_test_add_func("/qapi/list", test_list);
    g_test_add_func("/qapi/commands", test_commands);
    g_test_add_func("/qapi/events", test_events);
    g_test_add_func("/qapi/introspection", test_introspection);
    g_test_add_func("/qapi/options", test_options);
    return g_test_run();
}
