/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Trace events: patterns, the -T argument, and the lines that come out.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/trace.h"
#include "trace/trace-block.h"
#include "trace/trace-util.h"

static void test_off_by_default(void)
{
    const TraceGroup *group;
    size_t i, total = 0;

    for (group = trace_groups; group->name; group++) {
        for (i = 0; i < *group->count; i++) {
            g_assert_nonnull(group->events[i].name);
            g_assert_false(trace_event_get_state(&group->events[i]));
            total++;
        }
    }
    g_assert_cmpuint(total, >, 5);
}

static void test_patterns(void)
{
    int all = trace_enable_events("*");

    g_assert_cmpint(all, >, 5);
    g_assert_true(trace_event_get_state(TRACE_LAIO_SUBMIT));
    g_assert_true(trace_event_get_state(TRACE_AIO_CO_SCHEDULE));

    g_assert_cmpint(trace_enable_events("-laio_submit"), ==, 1);
    g_assert_false(trace_event_get_state(TRACE_LAIO_SUBMIT));
    g_assert_true(trace_event_get_state(TRACE_LAIO_REAP));
    g_assert_cmpint(trace_enable_events("-laio_*"), >=, 5);
    g_assert_false(trace_event_get_state(TRACE_LAIO_REAP));
    g_assert_true(trace_event_get_state(TRACE_AIO_CO_SCHEDULE));

    g_assert_cmpint(trace_enable_events("-*"), ==, all);
    g_assert_cmpint(trace_enable_events("laio_r?ap"), ==, 1);
    g_assert_true(trace_event_get_state(TRACE_LAIO_REAP));
    g_assert_cmpint(trace_enable_events("no_such_event"), ==, 0);
    g_assert_cmpint(trace_enable_events(""), ==, 0);
    trace_enable_events("-*");
}

static void test_line(void)
{
    if (g_test_subprocess()) {
        g_assert_true(trace_opt_parse("laio_*", &error_abort));
        trace_aio_co_schedule(NULL, NULL);
        errno = EAGAIN;
        trace_laio_submit((void *)0x10, 3, -11, 1);
        g_assert_cmpint(errno, ==, EAGAIN);
        trace_enable_events("-laio_submit");
        trace_laio_submit(NULL, 4, 0, 0);
        trace_laio_request((void *)0x20, NULL, 1, "100%", -5);
        return;
    }
    g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_DEFAULT);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr(
        "*@*.*:laio_submit s 0x10 nr 3 ret -11 depth 1\n"
        "*@*.*:laio_request s 0x20 req (nil) type 0x1 state 100% ret -5\n");
    g_test_trap_assert_stderr_unmatched("*aio_co_schedule*");
    g_test_trap_assert_stderr_unmatched("*nr 4*");
}

/* A new file with @text; its name is to be freed, the file unlinked. */
static char *make_file(const char *text)
{
    char *name = NULL;
    int fd = g_file_open_tmp("test-trace-XXXXXX", &name, NULL);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(qemu_write_full(fd, text, strlen(text)), ==,
                    strlen(text));
    close(fd);
    return name;
}

static void test_log_file(void)
{
    g_autofree char *name = make_file("old text\n");
    g_autofree char *opt = g_strdup_printf("enable=laio_init,file=%s", name);
    g_autofree char *text = NULL;
    g_autofree char *start = g_strdup_printf("%d@", (int)getpid());

    /* A log that cannot be written is no matter of the caller. */
    g_assert_true(trace_opt_parse("laio_init,file=/dev/full", &error_abort));
    errno = EAGAIN;
    trace_laio_init((void *)0x20);
    g_assert_cmpint(errno, ==, EAGAIN);

    g_assert_true(trace_opt_parse(opt, &error_abort));
    trace_laio_init((void *)0x30);
    trace_enable_events("-*");
    g_assert_true(g_file_get_contents(name, &text, NULL, NULL));
    g_assert_true(g_str_has_prefix(text, start));
    g_assert_true(g_str_has_suffix(text, ":laio_init s 0x30\n"));
    unlink(name);
}

static void test_events_file(void)
{
    g_autofree char *name = make_file("# a comment\n\n  laio_*  # all\n"
                                      "-laio_reap\naio_co_schedule");
    g_autofree char *opt = g_strdup_printf("events=%s", name);

    g_assert_true(trace_opt_parse(opt, &error_abort));
    g_assert_true(trace_event_get_state(TRACE_LAIO_INIT));
    g_assert_false(trace_event_get_state(TRACE_LAIO_REAP));
    g_assert_true(trace_event_get_state(TRACE_AIO_CO_SCHEDULE));
    trace_enable_events("-*");
    unlink(name);
}

static void test_bad_options(void)
{
    static const struct {
        const char *opt, *error;
    } cases[] = {
        { "laio_*,foo=1", "Invalid parameter 'foo'" },
        { "laio_*,reap", "Invalid parameter 'reap'" },
        { "file=/nonexistent/dir/log", "Could not open "
          "'/nonexistent/dir/log': No such file or directory" },
    };
    Error *err = NULL;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        g_assert_false(trace_opt_parse(cases[i].opt, &err));
        g_assert_cmpstr(error_get_pretty(err), ==, cases[i].error);
        error_free_or_abort(&err);
        g_assert_false(trace_event_get_state(TRACE_LAIO_INIT));
    }
    g_assert_false(trace_opt_parse("events=/nonexistent/list", &err));
    error_free_or_abort(&err);
}

static void test_unknown_event_warns(void)
{
    if (g_test_subprocess()) {
        error_set_progname("qemu-io");
        g_assert_true(trace_opt_parse("bogus", &error_abort));
        g_assert_true(trace_opt_parse("bogus*", &error_abort));
        g_assert_true(trace_opt_parse("-bogus?", &error_abort));
        g_assert_true(trace_opt_parse("laio_*", &error_abort));
        return;
    }
    g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_DEFAULT);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr(
        "qemu-io: warning: trace event 'bogus' does not exist\n"
        "qemu-io: warning: no trace event matches 'bogus*'\n"
        "qemu-io: warning: no trace event matches 'bogus?'\n");
}

static void test_help(void)
{
    if (g_test_subprocess()) {
        trace_opt_parse("help", &error_abort);
        abort();
    }
    g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_DEFAULT);
    g_test_trap_assert_passed();
    g_test_trap_assert_stdout("*\nlaio_submit\n*\naio_co_schedule\n*");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/trace/off-by-default", test_off_by_default);
    g_test_add_func("/trace/patterns", test_patterns);
    g_test_add_func("/trace/line", test_line);
    g_test_add_func("/trace/log-file", test_log_file);
    g_test_add_func("/trace/events-file", test_events_file);
    g_test_add_func("/trace/bad-options", test_bad_options);
    g_test_add_func("/trace/unknown-event-warns", test_unknown_event_warns);
    g_test_add_func("/trace/help", test_help);
    return g_test_run();
}
