/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Error objects, and the messages that users see.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"

static void test_setg(void)
{
    Error *err = NULL;

    errno = EBADF;
    error_setg(&err, "disk '%s' has %d faults", "a", 3);
    g_assert_cmpint(errno, ==, EBADF);
    g_assert_cmpstr(error_get_pretty(err), ==, "disk 'a' has 3 faults");
    g_assert_cmpint(error_get_class(err), ==, ERROR_CLASS_GENERIC_ERROR);
    error_free_or_abort(&err);
    g_assert_null(err);

    error_setg_errno(&err, ENOENT, "no '%s'", "x");
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "no 'x': No such file or directory");
    error_free_or_abort(&err);
    error_setg_errno(&err, 0, "no '%s'", "x");
    g_assert_cmpstr(error_get_pretty(err), ==, "no 'x'");
    error_free_or_abort(&err);

    error_setg_file_open(&err, EACCES, "/x%s");
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "Could not open '/x%s': Permission denied");
    error_free_or_abort(&err);

    error_set(&err, ERROR_CLASS_DEVICE_NOT_FOUND, "%s", "gone");
    g_assert_cmpint(error_get_class(err), ==, ERROR_CLASS_DEVICE_NOT_FOUND);
    error_free_or_abort(&err);

    error_setg(NULL, "nobody listens");
    error_free(NULL);
}

static void test_prepend_copy(void)
{
    Error *err = NULL;
    g_autoptr(Error) copy = NULL;

    error_prepend(&err, "nothing there");
    g_assert_null(err);
    error_prepend(NULL, "nowhere");

    error_set(&err, ERROR_CLASS_DEVICE_NOT_ACTIVE, "inner %%");
    error_prepend(&err, "outer %d: ", 1);
    copy = error_copy(err);
    error_free_or_abort(&err);
    g_assert_cmpstr(error_get_pretty(copy), ==, "outer 1: inner %");
    g_assert_cmpint(error_get_class(copy), ==,
                    ERROR_CLASS_DEVICE_NOT_ACTIVE);
}

static void test_propagate(void)
{
    Error *first = NULL, *second = NULL, *dst = NULL;

    error_propagate(&dst, NULL);
    g_assert_null(dst);
    error_setg(&first, "first");
    error_setg(&second, "second");
    error_propagate(&dst, first);
    error_propagate(&dst, second);
    g_assert_cmpstr(error_get_pretty(dst), ==, "first");
    error_propagate(NULL, dst);
}

static bool inner(Error **errp)
{
    error_setg(errp, "inner");
    return false;
}

/* Reads *errp, prepends and hints: all of what needs the guard. */
static bool guarded(Error **errp)
{
    ERRP_GUARD();

    inner(errp);
    if (!*errp) {
        return true;
    }
    error_prepend(errp, "guarded: ");
    error_append_hint(errp, "Try %s.\n", "again");
    error_append_hint(errp, "Or not.\n");
    return false;
}

static void test_guard(void)
{
    Error *err = NULL;

    g_assert_false(guarded(&err));
    g_assert_cmpstr(error_get_pretty(err), ==, "guarded: inner");
    error_free_or_abort(&err);
    /* Without the guard this would read through NULL. */
    g_assert_false(guarded(NULL));
}

static void test_fatal(void)
{
    if (g_test_subprocess()) {
        error_set_progname("/usr/bin/qemu-io");
        guarded(&error_fatal);
        /* Not reached; an exit status other than 1 shows it. */
        exit(5);
    }
    g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_DEFAULT);
    g_test_trap_assert_failed();
    /* The prefix and the hint tell that it got to the end of guarded(). */
    g_test_trap_assert_stderr(
        "qemu-io: guarded: inner\nTry again.\nOr not.\n");
}

static void test_fatal_status(void)
{
    const char *self = "/proc/self/exe";
    g_autofree char *path = g_file_read_link(self, NULL);
    const char *argv[] = { path, "-p", "/error/fatal", "--GTestSubprocess",
                           NULL };
    int status = 0;

    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL,
                               G_SPAWN_STDOUT_TO_DEV_NULL |
                               G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, NULL,
                               NULL, &status, NULL));
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 1);
}

static void test_abort(void)
{
    if (g_test_subprocess()) {
        guarded(&error_abort);
        return;
    }
    g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_DEFAULT);
    g_test_trap_assert_failed();
    /* It aborts where the error happens, so without the prefix. */
    g_test_trap_assert_stderr("Unexpected error in inner() at "
                              "*test-error.c:*:\n*inner\n*");
}

static void test_free_or_abort(void)
{
    if (g_test_subprocess()) {
        Error *err = NULL;

        error_free_or_abort(&err);
        return;
    }
    g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_DEFAULT);
    g_test_trap_assert_failed();
}

static void test_set_twice(void)
{
    if (g_test_subprocess()) {
        Error *err = NULL;

        error_setg(&err, "one");
        error_setg(&err, "two");
        return;
    }
    g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_DEFAULT);
    g_test_trap_assert_failed();
}

static void warn_thrice(void)
{
    int i;

    for (i = 0; i < 3; i++) {
        warn_report_once("once, at %d", i);
    }
    for (i = 0; i < 3; i++) {
        error_report_once("here too");
    }
}

static void report_all(void)
{
    Error *err = NULL;
    bool printed = false;

    g_assert_null(error_get_progname());
    error_report("no name yet");
    error_set_progname("./build/qemu-img");
    g_assert_cmpstr(error_get_progname(), ==, "qemu-img");
    errno = EIO;
    error_report("%d%%", 5);
    g_assert_cmpint(errno, ==, EIO);
    warn_report("careful");
    info_report("so it is");
    error_printf("raw %s\n", "text");
    warn_thrice();
    g_assert_true(warn_report_once_cond(&printed, "first"));
    g_assert_false(warn_report_once_cond(&printed, "second"));
    guarded(&err);
    warn_report_err(error_copy(err));
    error_reportf_err(err, "at %s: ", "home");
}

static void test_report(void)
{
    if (g_test_subprocess()) {
        report_all();
        return;
    }
    g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_DEFAULT);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr(
        "no name yet\n"
        "qemu-img: 5%\n"
        "qemu-img: warning: careful\n"
        "qemu-img: info: so it is\n"
        "raw text\n"
        "qemu-img: warning: once, at 0\n"
        "qemu-img: here too\n"
        "qemu-img: warning: first\n"
        "qemu-img: warning: guarded: inner\nTry again.\nOr not.\n"
        "qemu-img: at home: guarded: inner\nTry again.\nOr not.\n");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/error/setg", test_setg);
    g_test_add_func("/error/prepend-copy", test_prepend_copy);
    g_test_add_func("/error/propagate", test_propagate);
    g_test_add_func("/error/guard", test_guard);
    g_test_add_func("/error/fatal", test_fatal);
    g_test_add_func("/error/fatal-status", test_fatal_status);
    g_test_add_func("/error/abort", test_abort);
    g_test_add_func("/error/free-or-abort", test_free_or_abort);
    g_test_add_func("/error/set-twice", test_set_twice);
    g_test_add_func("/error/report", test_report);
    return g_test_run();
}
