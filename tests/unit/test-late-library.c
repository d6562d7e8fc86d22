/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Libraries that are loaded when they are first needed. */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/late-library.h"

#define LIBRARY "libm.so.6"

static void test_missing(void)
{
    static const char *const names[] = { "cos" };
    void *symbols[ARRAY_SIZE(names)] = { NULL };
    LateLibrary lib = {
        .soname = "libnothing.so.0", .names = names,
        .nb_names = ARRAY_SIZE(names), .symbols = symbols,
    };
    Error *err = NULL;

    g_assert_false(late_library_load(&lib, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "libnothing.so.0"));
    error_free_or_abort(&err);
    g_assert_false(lib.loaded);
    g_assert_false(late_library_load(&lib, &err));
    error_free_or_abort(&err);
}

static void test_lacks_symbol(void)
{
    static const char *const names[] = { "cos", "has_no_such_function" };
    void *symbols[ARRAY_SIZE(names)] = { NULL };
    LateLibrary lib = {
        .soname = LIBRARY, .names = names,
        .nb_names = ARRAY_SIZE(names), .symbols = symbols,
    };
    Error *err = NULL;

    g_assert_false(late_library_load(&lib, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "has_no_such_function"));
    error_free_or_abort(&err);
    g_assert_false(lib.loaded);
}

static void test_loaded(void)
{
    static const char *const names[] = { "cos", "signgam" };
    struct {
        double (*cos)(double);
        int *signgam;
    } symbols;
    LateLibrary lib = {
        .soname = LIBRARY, .names = names,
        .nb_names = ARRAY_SIZE(names), .symbols = (void **)&symbols,
    };

    g_assert_true(late_library_load(&lib, &error_abort));
    g_assert_true(symbols.cos(0) == 1);
    g_assert_nonnull(symbols.signgam);
    symbols.cos = NULL;
    g_assert_true(late_library_load(&lib, &error_abort));
    /* It was loaded already: nothing is looked up again. */
    g_assert_null(symbols.cos);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/late-library/missing", test_missing);
    g_test_add_func("/late-library/lacks-symbol", test_lacks_symbol);
    g_test_add_func("/late-library/loaded", test_loaded);
    return g_test_run();
}
