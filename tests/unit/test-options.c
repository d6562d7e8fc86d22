/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The option dictionary: parsing, flattening, taking with a type, help.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/option.h"

#define assert_error(err, text) do {                            \
        g_assert_nonnull(err);                                  \
        g_assert_cmpstr(error_get_pretty(err), ==, text);       \
        error_free_or_abort(&(err));                            \
    } while (0)

static void assert_parse(const char *params, const char *implied,
                         const char *want)
{
    g_autoptr(QOpts) opts = qopts_parse(params, implied, &error_abort);
    g_autofree char *got = qopts_to_string(opts);

    g_assert_cmpstr(got, ==, want);
}

static void test_parse(void)
{
    g_autoptr(QOpts) opts = NULL;

    assert_parse("", NULL, "");
    assert_parse("a=b", NULL, "a=b");
    assert_parse("a=b,c=d=e,f", NULL, "a=b,c=d=e,f=on");
    assert_parse("a=1,,2,b=,c=,,", NULL, "a=1,,2,b=,c=,,");
    assert_parse("a=1,b=2,a=3", NULL, "a=3,b=2");
    assert_parse("a=1,", NULL, "a=1");
    assert_parse("x,,y,b", "file", "file=x,,y,b=on");
    assert_parse("file.driver=x,y", "file", "file.driver=x,y=on");

    opts = qopts_parse("a=x,,y,b", NULL, &error_abort);
    g_assert_cmpstr(qopts_get_str(opts, "a"), ==, "x,y");
    g_assert_null(qopts_get_str(opts, "c"));
    g_assert_cmpint(qopts_count(opts), ==, 2);
    g_assert_cmpstr(qopts_first_key(opts), ==, "a");
    qopts_del(opts, "a");
    qopts_del(opts, "a");
    g_assert_cmpstr(qopts_first_key(opts), ==, "b");
}

static void test_parse_bad(void)
{
    static const char *const bad[] = { "=1", ",a=1", "a=1,=2", "a,,b" };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        Error *err = NULL;

        g_assert_null(qopts_parse(bad[i], NULL, &err));
        assert_error(err, "Invalid parameter ''");
    }
}

static void test_help_word(void)
{
    g_assert_true(qopts_is_help("?"));
    g_assert_true(qopts_has_help("help"));
    g_assert_true(qopts_has_help("a=b,?"));
    g_assert_true(qopts_has_help("help,a"));
    g_assert_false(qopts_has_help(""));
    g_assert_false(qopts_has_help("help=on"));
    g_assert_false(qopts_has_help("a=b,,help"));
    g_assert_false(qopts_has_help("helper"));
}

static void test_json(void)
{
    g_autoptr(QOpts) opts = qopts_parse_json(
        " {'driver': \"raw\", \"file\": {\"driver\": \"file\","
        " \"x\": {\"y\": 1}}, \"list\": [{\"a\": true}, 2], \"e\": [],"
        " \"o\": {}, \"n\": null} ", &error_abort);
    g_autofree char *got = qopts_to_string(opts);

    g_assert_cmpstr(got, ==, "driver=raw,file.driver=file,file.x.y=1,"
                    "list.0.a=true,list.1=2,e=[ ],o={ },n=null");
    g_assert_true(qopts_is_null(opts, "n"));
    g_assert_false(qopts_is_null(opts, "e"));
    g_assert_false(qopts_is_null(opts, "nothing"));
    g_assert_true(qopts_has(opts, "n"));
}

static void test_json_bad(void)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        { "[]", "Invalid JSON object given" },
        { "null", "Invalid JSON object given" },
        { "5 ", "Invalid JSON object given" },
        { "{\"a\": 1",
          "Could not parse the JSON options: premature end of input" },
        { "", "Could not parse the JSON options: premature end of input" },
        { "{\"a\": {\"b\": true // }}",
          "Could not parse the JSON options: premature end of input" },
        { "{\"a\": {\"b\": 1}} // ",
          "Could not parse the JSON options: premature end of input" },
        { "{} x",
          "Could not parse the JSON options: extra text after the object" },
        { "{\"a\": 1, \"a\": 1}",
          "Could not parse the JSON options: JSON parse error, duplicate key" },
        { "{\"b:\": {\"a\": \":\\\"\", \"a\": null}}",
          "Could not parse the JSON options: JSON parse error, duplicate key" },
        { "{\"a.b\": 1, \"a\": {\"b\": 2}}",
          "Parameter 'a.b' is given twice" },
        { "{\"a\": \"b\\u0000c\"}",
          "Parameter 'a' must not contain a NUL character" },
    };
    g_autofree char *deep = g_strnfill(100000, '[');
    Error *err = NULL;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        g_test_message("%s", cases[i].text);
        g_assert_null(qopts_parse_json(cases[i].text, &err));
        assert_error(err, cases[i].error);
    }
    g_assert_null(qopts_parse_json("{\"a\": }", &err));
    error_free_or_abort(&err);
    g_assert_null(qopts_parse_json("{\"a\": \"\xff\"}", &err));
    error_free_or_abort(&err);
    g_assert_null(qopts_parse_json(deep, &err));
    error_free_or_abort(&err);
}

static void test_take_str(void)
{
    g_autoptr(QOpts) opts = qopts_parse_json("{\"a\": \"x\", \"b\": 5,"
                                             "\"n\": null}", &error_abort);
    Error *err = NULL;
    char *value;

    g_assert_true(qopts_take_str(opts, "a", "def", &value, &error_abort));
    g_assert_cmpstr(value, ==, "x");
    g_free(value);
    g_assert_true(qopts_take_str(opts, "a", "def", &value, &error_abort));
    g_assert_cmpstr(value, ==, "def");
    g_free(value);
    g_assert_true(qopts_take_str(opts, "a", NULL, &value, &error_abort));
    g_assert_null(value);
    g_assert_false(qopts_take_str(opts, "b", NULL, &value, &err));
    assert_error(err, "Invalid parameter type for 'b', expected: string");
    g_assert_null(value);
    g_assert_false(qopts_take_str(opts, "n", NULL, &value, &err));
    error_free_or_abort(&err);
    g_assert_true(qopts_check_empty(opts, &error_abort));
}

static void test_take_bool(void)
{
    static const char *const words[] = { "off", "on", "no", "yes", "false",
                                         "true", "n", "y" };
    g_autoptr(QOpts) opts = qopts_parse_json("{\"t\": true, \"i\": 1}",
                                             &error_abort);
    Error *err = NULL;
    bool value;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(words); i++) {
        qopts_set_str(opts, "w", words[i]);
        g_assert_true(qopts_take_bool(opts, "w", false, &value,
                                      &error_abort));
        g_assert_cmpint(value, ==, i % 2);
    }
    g_assert_true(qopts_take_bool(opts, "w", true, &value, &error_abort));
    g_assert_true(value);
    g_assert_true(qopts_take_bool(opts, "t", false, &value, &error_abort));
    g_assert_true(value);
    g_assert_false(qopts_take_bool(opts, "i", true, &value, &err));
    g_assert_true(value);
    assert_error(err, "Parameter 'i' expects 'on' or 'off'");
    qopts_set_str(opts, "w", "maybe");
    g_assert_false(qopts_take_bool(opts, "w", false, &value, &err));
    assert_error(err, "Parameter 'w' expects 'on' or 'off'");
}

static void test_take_number(void)
{
    g_autoptr(QOpts) opts = qopts_parse_json(
        "{\"big\": 18446744073709551615, \"neg\": -1, \"real\": 1.5,"
        " \"str\": \"0x10\", \"text\": \"5k\", \"minus\": \"-1\","
        " \"huge\": \"18446744073709551616\", \"n\": null}", &error_abort);
    static const char *const bad[] = { "neg", "real", "text", "minus", "n" };
    Error *err = NULL;
    uint64_t value;
    size_t i;

    g_assert_true(qopts_take_number(opts, "big", 7, &value, &error_abort));
    g_assert_cmpuint(value, ==, UINT64_MAX);
    g_assert_true(qopts_take_number(opts, "str", 7, &value, &error_abort));
    g_assert_cmpuint(value, ==, 16);
    g_assert_true(qopts_take_number(opts, "none", 7, &value, &error_abort));
    g_assert_cmpuint(value, ==, 7);
    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        g_autofree char *text =
            g_strdup_printf("Parameter '%s' expects a number", bad[i]);

        g_assert_false(qopts_take_number(opts, bad[i], 7, &value, &err));
        g_assert_cmpuint(value, ==, 7);
        assert_error(err, text);
    }
    g_assert_false(qopts_take_number(opts, "huge", 7, &value, &err));
    assert_error(err, "Value '18446744073709551616' is too large for "
                 "parameter 'huge'");
    g_assert_true(qopts_check_empty(opts, &error_abort));
}

static void test_take_size(void)
{
    g_autoptr(QOpts) opts = qopts_parse("a=1.5M,b=abc,c=16E,d=", NULL,
                                        &error_abort);
    Error *err = NULL;
    uint64_t value;

    qopts_set_int(opts, "i", 4096);
    qopts_set_int(opts, "neg", -4096);
    g_assert_true(qopts_take_size(opts, "a", 7, &value, &error_abort));
    g_assert_cmpuint(value, ==, 1536 * 1024);
    g_assert_true(qopts_take_size(opts, "i", 7, &value, &error_abort));
    g_assert_cmpuint(value, ==, 4096);
    g_assert_false(qopts_take_size(opts, "b", 7, &value, &err));
    g_assert_cmpuint(value, ==, 7);
    assert_error(err, "Parameter 'b' expects a non-negative number below "
                 "2^64");
    g_assert_false(qopts_take_size(opts, "c", 7, &value, &err));
    assert_error(err, "Value '16E' is out of range for parameter 'c'");
    g_assert_false(qopts_take_size(opts, "d", 7, &value, &err));
    error_free_or_abort(&err);
    g_assert_false(qopts_take_size(opts, "neg", 7, &value, NULL));
    g_assert_true(qopts_check_empty(opts, &error_abort));
}

static void test_take_enum(void)
{
    static const char *const table[] = { "threads", "native", NULL };
    g_autoptr(QOpts) opts = qopts_parse("aio=native,bad=nativ", NULL,
                                        &error_abort);
    Error *err = NULL;
    int value;

    qopts_set_bool(opts, "bool", true);
    g_assert_true(qopts_take_enum(opts, "aio", table, 0, &value,
                                  &error_abort));
    g_assert_cmpint(value, ==, 1);
    g_assert_true(qopts_take_enum(opts, "aio", table, -1, &value,
                                  &error_abort));
    g_assert_cmpint(value, ==, -1);
    g_assert_false(qopts_take_enum(opts, "bad", table, 0, &value, &err));
    assert_error(err, "Parameter 'bad' does not accept value 'nativ' "
                 "(possible: threads, native)");
    g_assert_false(qopts_take_enum(opts, "bool", table, 0, &value, &err));
    error_free_or_abort(&err);
}

static const QemuOptsList table = {
    .name = "test",
    .desc = {
        { "size", QEMU_OPT_SIZE, "Virtual disk size", NULL },
        { "preallocation", QEMU_OPT_STRING, "Preallocation mode", "off" },
        { "nocow", QEMU_OPT_BOOL, "No copy-on-write", NULL },
        { "bits", QEMU_OPT_NUMBER, "Width", "16" },
        { "bare", QEMU_OPT_STRING, NULL, NULL },
        { NULL }
    },
};

static void test_table(void)
{
    g_autoptr(QOpts) opts = qopts_parse("size=1k,nocow,zz=1", NULL,
                                        &error_abort);
    g_autoptr(QOpts) taken = qopts_take_table(&table, opts, &error_abort);
    Error *err = NULL;

    g_assert_cmpuint(qopts_get_size(taken, "size", 0), ==, 1024);
    g_assert_true(qopts_get_bool(taken, "nocow", false));
    g_assert_cmpuint(qopts_get_number(taken, "bits", 0), ==, 16);
    g_assert_cmpstr(qopts_get_str(taken, "preallocation"), ==, "off");
    g_assert_false(qopts_has(taken, "bare"));
    g_assert_true(qopts_get_bool(taken, "other", true));

    g_assert_false(qopts_check_empty(opts, &err));
    assert_error(err, "Invalid parameter 'zz'");
    qopts_set_str(opts, "nocow", "maybe");
    g_assert_null(qopts_take_table(&table, opts, &err));
    assert_error(err, "Parameter 'nocow' expects 'on' or 'off'");

    g_assert_true(qemu_opt_find_desc(&table, "bits") == &table.desc[3]);
    g_assert_null(qemu_opt_find_desc(&table, "bit"));
}

static void test_print_help(void)
{
    if (g_test_subprocess()) {
        static const QemuOptsList none = {
            .name = "none", .desc = { { NULL } },
        };

        qemu_opts_print_help(&table, true);
        qemu_opts_print_help(&none, true);
        qemu_opts_print_help(&none, false);
        return;
    }
    g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_DEFAULT);
    g_test_trap_assert_passed();
    g_test_trap_assert_stdout(
        "*Supported test options:\n"
        "  bare=<str>\n"
        "  bits=<num>             - Width\n"
        "  nocow=<bool (on/off)>  - No copy-on-write\n"
        "  preallocation=<str>    - Preallocation mode\n"
        "  size=<size>            - Virtual disk size\n"
        "There are no options for none.\n*");
}

static void test_sub(void)
{
    g_autoptr(QOpts) opts = qopts_parse(
        "driver=raw,file.driver=file,file.x.y=1,filex=2,file.=3,file=4",
        NULL, &error_abort);
    g_autoptr(QOpts) sub = qopts_extract_sub(opts, "file.");
    g_autoptr(QOpts) none = qopts_extract_sub(opts, "other.");
    g_autofree char *rest = qopts_to_string(opts);
    g_autofree char *got = qopts_to_string(sub);

    g_assert_cmpstr(got, ==, "driver=file,x.y=1");
    g_assert_cmpstr(rest, ==, "driver=raw,filex=2,file.=3,file=4");
    g_assert_cmpint(qopts_count(none), ==, 0);
}

static void test_dup_join(void)
{
    g_autoptr(QOpts) a = qopts_parse("x=1,y=2", NULL, &error_abort);
    g_autoptr(QOpts) b = qopts_parse_json("{\"y\": null, \"z\": [3]}",
                                          &error_abort);
    g_autoptr(QOpts) keep = qopts_dup(a);
    g_autoptr(QOpts) over = qopts_dup(a);
    g_autofree char *text = NULL;
    g_autofree char *over_text = NULL;

    qopts_join(keep, b, false);
    qopts_join(over, b, true);
    qopts_set_str(a, "x", "changed");
    qopts_set_uint(a, "u", UINT64_MAX);
    text = qopts_to_string(keep);
    over_text = qopts_to_string(over);
    g_assert_cmpstr(text, ==, "x=1,y=2,z.0=3");
    g_assert_cmpstr(over_text, ==, "x=1,y=null,z.0=3");
    g_assert_cmpuint(qopts_get_number(a, "u", 0), ==, UINT64_MAX);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/options/parse", test_parse);
    g_test_add_func("/options/parse-bad", test_parse_bad);
    g_test_add_func("/options/help-word", test_help_word);
    g_test_add_func("/options/json", test_json);
    g_test_add_func("/options/json-bad", test_json_bad);
    g_test_add_func("/options/take-str", test_take_str);
    g_test_add_func("/options/take-bool", test_take_bool);
    g_test_add_func("/options/take-number", test_take_number);
    g_test_add_func("/options/take-size", test_take_size);
    g_test_add_func("/options/take-enum", test_take_enum);
    g_test_add_func("/options/table", test_table);
    g_test_add_func("/options/print-help", test_print_help);
    g_test_add_func("/options/sub", test_sub);
    g_test_add_func("/options/dup-join", test_dup_join);
    return g_test_run();
}
