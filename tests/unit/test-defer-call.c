/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of defer_call(): when recorded calls run, and which.
 */
#include "qemu/osdep.h"
#include "qemu/defer-call.h"
#include "qemu/thread.h"

#define MANY 100

static GString *ran;            /* the names of the calls, in their order */

static void note(void *opaque)
{
    g_string_append(ran, opaque);
}

static void assert_ran(const char *expected)
{
    g_assert_cmpstr(ran->str, ==, expected);
    g_string_truncate(ran, 0);
}

static void test_outside(void)
{
    defer_call(note, (void *)"a");
    assert_ran("a");
    defer_call(note, (void *)"a");
    assert_ran("a");
}

static void test_order_and_duplicates(void)
{
    char *a = g_strdup("a"), *b = g_strdup("b");

    defer_call_begin();
    defer_call(note, b);
    defer_call(note, a);
    defer_call(note, b);
    defer_call(note, a);
    assert_ran("");
    defer_call_end();
    assert_ran("ba");

    /* A second section begins with nothing recorded. */
    defer_call_begin();
    defer_call_end();
    assert_ran("");
    g_free(a);
    g_free(b);
}

static void note_other(void *opaque)
{
    g_string_append_printf(ran, "(%s)", (const char *)opaque);
}

/* The same argument with another function is another call. */
static void test_function_counts(void)
{
    char *a = g_strdup("a");

    defer_call_begin();
    defer_call(note, a);
    defer_call(note_other, a);
    defer_call_end();
    assert_ran("a(a)");
    g_free(a);
}

static void test_nested_sections(void)
{
    char *a = g_strdup("a"), *b = g_strdup("b");

    defer_call_begin();
    defer_call_begin();
    defer_call(note, a);
    defer_call_end();
    assert_ran("");
    defer_call(note, b);
    defer_call(note, a);
    defer_call_end();
    assert_ran("ab");
    g_free(a);
    g_free(b);
}

static void test_many(void)
{
    GString *expected = g_string_new(NULL);
    char *names[MANY];
    int round, i;

    for (i = 0; i < MANY; i++) {
        names[i] = g_strdup_printf("%d,", i);
        g_string_append(expected, names[i]);
    }
    for (round = 0; round < 2; round++) {
        defer_call_begin();
        for (i = 0; i < MANY; i++) {
            defer_call(note, names[i]);
            defer_call(note, names[i / 2]);
        }
        defer_call_end();
        assert_ran(expected->str);
    }
    for (i = 0; i < MANY; i++) {
        g_free(names[i]);
    }
    g_string_free(expected, true);
}

static void defer_from_call(void *opaque)
{
    g_string_append(ran, "<");
    defer_call(note, opaque);
    g_string_append(ran, ">");
}

/* A recorded call is outside of sections: what it defers runs at once. */
static void test_defer_within_call(void)
{
    char *a = g_strdup("a"), *b = g_strdup("b");

    defer_call_begin();
    defer_call(defer_from_call, a);
    defer_call(note, b);
    defer_call_end();
    assert_ran("<a>b");
    g_free(a);
    g_free(b);
}

static void section_from_call(void *opaque)
{
    char **names = opaque;

    g_string_append(ran, "<");
    defer_call_begin();
    defer_call(note, names[2]);
    g_string_append(ran, "-");
    defer_call_end();
    g_string_append(ran, ">");
}

/* A section in a recorded call: everything still runs, and runs once. */
static void test_section_within_call(void)
{
    char *names[] = { g_strdup("a"), g_strdup("b"), g_strdup("c") };
    const char *s;
    size_t i;

    defer_call_begin();
    defer_call(note, names[0]);
    defer_call(section_from_call, names);
    defer_call(note, names[1]);
    defer_call_end();

    g_assert_true(g_str_has_prefix(ran->str, "a<-"));
    for (s = "abc<->"; *s; s++) {
        const char *first = strchr(ran->str, *s);

        g_assert_nonnull(first);
        g_assert_null(strchr(first + 1, *s));
    }
    /* What the inner section deferred came by its end. */
    g_assert_true(strchr(ran->str, 'c') < strchr(ran->str, '>'));
    g_string_truncate(ran, 0);
    for (i = 0; i < ARRAY_SIZE(names); i++) {
        g_free(names[i]);
    }
}

static void *thread_fn(void *opaque)
{
    /* The other thread's section does not hold this call back. */
    defer_call(note, opaque);
    return NULL;
}

static void test_per_thread(void)
{
    QemuThread thread;

    defer_call_begin();
    defer_call(note, (void *)"main");
    qemu_thread_create(&thread, "defer-call", thread_fn, (void *)"other",
                       QEMU_THREAD_JOINABLE);
    qemu_thread_join(&thread);
    assert_ran("other");
    defer_call_end();
    assert_ran("main");
}

/* In the midst of a section; one that a call opens begins anew. */
static void test_flush(void)
{
    char *a = g_strdup("a"), *b = g_strdup("b");

    g_assert_false(defer_call_flush());
    defer_call_begin();
    defer_call_begin();
    g_assert_false(defer_call_flush());
    defer_call(note, a);
    defer_call(note, b);
    g_assert_true(defer_call_flush());
    assert_ran("ab");
    g_assert_false(defer_call_flush());
    /* The section goes on, and so does the one around it. */
    defer_call(note, b);
    defer_call_end();
    assert_ran("");
    defer_call(note, a);
    defer_call_end();
    assert_ran("ba");
    defer_call(note, a);
    assert_ran("a");
    g_free(a);
    g_free(b);
}

static void flush_from_call(void *opaque)
{
    g_string_append(ran, "<");
    defer_call_flush();
    g_string_append(ran, ">");
}

/* Who waits within a recorded call has those that follow run. */
static void test_flush_within_call(void)
{
    char *a = g_strdup("a");

    defer_call_begin();
    defer_call(flush_from_call, a);
    defer_call(note, a);
    defer_call_end();
    assert_ran("<a>");
    g_free(a);
}

static void count(void *opaque)
{
    (*(int *)opaque)++;
}

/* The same call again once it has run: nothing is lost in between. */
static void test_again_after_run(void)
{
    int calls = 0, i;

    for (i = 1; i <= 1000; i++) {
        defer_call_begin();
        defer_call(count, &calls);
        defer_call(count, &calls);
        defer_call_end();
        g_assert_cmpint(calls, ==, i);
    }
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    ran = g_string_new(NULL);
    g_test_add_func("/defer-call/outside", test_outside);
    g_test_add_func("/defer-call/order-and-duplicates",
                    test_order_and_duplicates);
    g_test_add_func("/defer-call/function-counts", test_function_counts);
    g_test_add_func("/defer-call/nested-sections", test_nested_sections);
    g_test_add_func("/defer-call/many", test_many);
    g_test_add_func("/defer-call/defer-within-call", test_defer_within_call);
    g_test_add_func("/defer-call/section-within-call",
                    test_section_within_call);
    g_test_add_func("/defer-call/per-thread", test_per_thread);
    g_test_add_func("/defer-call/flush", test_flush);
    g_test_add_func("/defer-call/flush-within-call", test_flush_within_call);
    g_test_add_func("/defer-call/again-after-run", test_again_after_run);
    ret = g_test_run();
    g_string_free(ran, true);
    return ret;
}
