/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Trace events at run time: which are on, and where their lines go.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/option.h"
#include "qemu/trace.h"

/* NULL: stderr.  Set before threads start, never closed: they may log. */
static FILE *trace_file;

void trace_log(const TraceEvent *ev, const char *fmt, ...)
{
    g_autofree char *args = NULL;
    FILE *f = trace_file ? trace_file : stderr;
    struct timeval now;
    va_list ap;
    int saved_errno = errno;

    va_start(ap, fmt);
    args = g_strdup_vprintf(fmt, ap);
    va_end(ap);

    /* One call, so that the lines of several threads do not mix. */
    gettimeofday(&now, NULL);
    fprintf(f, "%d@%lld.%06ld:%s%s\n", (int)getpid(),
            (long long)now.tv_sec, (long)now.tv_usec, ev->name, args);
    fflush(f);
    errno = saved_errno;
}

int trace_enable_events(const char *pattern)
{
    bool enable = pattern[0] != '-';
    const TraceGroup *group;
    int matches = 0;
    size_t i;

    pattern += !enable;
    for (group = trace_groups; group->name; group++) {
        for (i = 0; i < *group->count; i++) {
            if (g_pattern_match_simple(pattern, group->events[i].name)) {
                qatomic_set(&group->events[i].enabled, enable);
                matches++;
            }
        }
    }
    return matches;
}

void trace_list_events(FILE *f)
{
    const TraceGroup *group;
    size_t i;

    for (group = trace_groups; group->name; group++) {
        for (i = 0; i < *group->count; i++) {
            fprintf(f, "%s\n", group->events[i].name);
        }
    }
}

static void enable_or_warn(const char *pattern)
{
    if (trace_enable_events(pattern)) {
        return;
    }
    pattern += pattern[0] == '-';
    if (strpbrk(pattern, "*?")) {
        warn_report("no trace event matches '%s'", pattern);
    } else {
        warn_report("trace event '%s' does not exist", pattern);
    }
}

/* Enable the patterns that a file lists, one a line. */
static bool enable_from_file(const char *filename, Error **errp)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) gerr = NULL;
    g_auto(GStrv) lines = NULL;
    char **line;

    if (!g_file_get_contents(filename, &text, NULL, &gerr)) {
        error_setg(errp, "Could not read trace events: %s", gerr->message);
        return false;
    }
    lines = g_strsplit(text, "\n", -1);
    for (line = lines; *line; line++) {
        char *comment = strchr(*line, '#');

        if (comment) {
            *comment = '\0';
        }
        g_strstrip(*line);
        if (**line) {
            enable_or_warn(*line);
        }
    }
    return true;
}

static bool set_log_file(const char *filename, Error **errp)
{
    FILE *f = fopen(filename, "we");

    if (!f) {
        error_setg_file_open(errp, errno, filename);
        return false;
    }
    if (trace_file) {
        fclose(trace_file);
    }
    trace_file = f;
    return true;
}

bool trace_opt_parse(const char *optstr, Error **errp)
{
    g_autoptr(QOpts) opts = NULL;
    g_autofree char *enable = NULL;
    g_autofree char *events = NULL;
    g_autofree char *file = NULL;

    if (qopts_is_help(optstr)) {
        trace_list_events(stdout);
        exit(0);
    }
    opts = qopts_parse(optstr, "enable", errp);
    if (!opts ||
        !qopts_take_str(opts, "enable", NULL, &enable, errp) ||
        !qopts_take_str(opts, "events", NULL, &events, errp) ||
        !qopts_take_str(opts, "file", NULL, &file, errp) ||
        !qopts_check_empty(opts, errp)) {
        return false;
    }
    if (file && !set_log_file(file, errp)) {
        return false;
    }
    if (events && !enable_from_file(events, errp)) {
        return false;
    }
    if (enable) {
        enable_or_warn(enable);
    }
    return true;
}
