/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages to the user on stderr: "PROGRAM: [warning: |info: ]MESSAGE".
 * One message is one write, so lines of several threads do not mix.  Any
 * thread.
 */
#ifndef QEMU_ERROR_REPORT_H
#define QEMU_ERROR_REPORT_H

/*
 * The name before each message: the last component of @argv0.  Called once
 * by main() before anything else; the string must live on.  Before that
 * call, messages have no name and error_get_progname() returns NULL.
 */
void error_set_progname(const char *argv0);
const char *error_get_progname(void);

/* Plain text to stderr; no name, no newline added.  Returns the length. */
int error_vprintf(const char *fmt, va_list ap) G_GNUC_PRINTF(1, 0);
int error_printf(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* One line each; the message has no newline at its end. */
void error_vreport(const char *fmt, va_list ap) G_GNUC_PRINTF(1, 0);
void warn_vreport(const char *fmt, va_list ap) G_GNUC_PRINTF(1, 0);
void info_vreport(const char *fmt, va_list ap) G_GNUC_PRINTF(1, 0);
void error_report(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void warn_report(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void info_report(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/*
 * Report only if *@printed is false, and set it.  Return whether the message
 * was printed.  Of racing threads exactly one prints.
 */
bool error_report_once_cond(bool *printed, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);
bool warn_report_once_cond(bool *printed, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);

/* Report once per place in the source. */
#define error_report_once(...) ({                               \
        static bool report_once_printed_;                       \
        error_report_once_cond(&report_once_printed_,           \
                               __VA_ARGS__); })
#define warn_report_once(...) ({                                \
        static bool report_once_printed_;                       \
        warn_report_once_cond(&report_once_printed_,            \
                              __VA_ARGS__); })

#endif
