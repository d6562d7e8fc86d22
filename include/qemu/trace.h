/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Trace events: run-time control.
 *
 * Events are declared in a file "trace-events" per folder, one a line:
 *
 *     laio_submit(void *s, int nr) "s %p nr %d"
 *
 * scripts/tracetool.py turns it into trace/trace-GROUP.h, whose
 * trace_laio_submit(s, nr) costs one load and one branch while the event is
 * off.  When on, it writes "PID@SECONDS.MICROSECONDS:laio_submit s ... nr 3"
 * as one line to stderr, or to the log file.
 */
#ifndef QEMU_TRACE_H
#define QEMU_TRACE_H

typedef struct TraceEvent {
    const char *name;
    /* Any thread reads, relaxed: a change is seen soon, not at once. */
    bool enabled;
} TraceEvent;

/* The events of one "trace-events" file; generated. */
typedef struct TraceGroup {
    const char *name;
    TraceEvent *events;
    const size_t *count;
} TraceGroup;

/* Generated from all groups; ends with a NULL name. */
extern const TraceGroup trace_groups[];

/*
 * Whether an event is on: TRACE_LAIO_SUBMIT for laio_submit.  For arguments
 * that are costly to compute; trace_laio_submit() itself checks.
 */
#define trace_event_get_state(ev) qatomic_read(&(ev)->enabled)

/* A generated function calls this when its event is on.  Any thread. */
void trace_log(const TraceEvent *ev, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3) __attribute__((cold));

/*
 * Turn the events on that match @pattern ('*' any text, '?' any character),
 * or off if it begins with '-'.  Returns how many matched.  Any thread.
 */
int trace_enable_events(const char *pattern);

/* Print the names of all events, one a line. */
void trace_list_events(FILE *f);

/*
 * Carry out the argument of -T/--trace:
 * "[[enable=]PATTERN][,events=FILE][,file=FILE]".  FILE of "events" has a
 * pattern a line, '#' begins a comment; "file" is where events are logged
 * instead of stderr.  For "help" or "?" list the events on stdout and
 * exit(0).  A pattern that no event matches gets a warning.
 * Returns false and sets @errp if the argument is wrong or a file cannot be
 * opened.  Before threads are started.
 */
bool trace_opt_parse(const char *optstr, Error **errp);

#endif
