/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages to the user on stderr.
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"

/* Set once by main() before there are threads. */
static const char *progname;

void error_set_progname(const char *argv0)
{
    const char *slash = strrchr(argv0, '/');

    progname = slash ? slash + 1 : argv0;
}

const char *error_get_progname(void)
{
    return progname;
}

/*
 * Messages quote file names and what is in files of others: their control
 * characters are not for the user's terminal.
 */
static void hide_control_characters(char *s)
{
    for (; *s; s++) {
        if (g_ascii_iscntrl(*s) && *s != '\n' && *s != '\t') {
            *s = '?';
        }
    }
}

int error_vprintf(const char *fmt, va_list ap)
{
    g_autofree char *text = g_strdup_vprintf(fmt, ap);

    hide_control_characters(text);
    return fprintf(stderr, "%s", text);
}

int error_printf(const char *fmt, ...)
{
    va_list ap;
    int ret;

    va_start(ap, fmt);
    ret = error_vprintf(fmt, ap);
    va_end(ap);
    return ret;
}

/* @kind: "", "warning: " or "info: ". */
static void G_GNUC_PRINTF(2, 0)
vreport(const char *kind, const char *fmt, va_list ap)
{
    g_autofree char *message = g_strdup_vprintf(fmt, ap);
    int saved_errno = errno;

    error_printf("%s%s%s%s\n", progname ?: "", progname ? ": " : "",
                 kind, message);
    errno = saved_errno;
}

void error_vreport(const char *fmt, va_list ap)
{
    vreport("", fmt, ap);
}

void warn_vreport(const char *fmt, va_list ap)
{
    vreport("warning: ", fmt, ap);
}

void info_vreport(const char *fmt, va_list ap)
{
    vreport("info: ", fmt, ap);
}

void error_report(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_vreport(fmt, ap);
    va_end(ap);
}

void warn_report(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    warn_vreport(fmt, ap);
    va_end(ap);
}

void info_report(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    info_vreport(fmt, ap);
    va_end(ap);
}

bool error_report_once_cond(bool *printed, const char *fmt, ...)
{
    va_list ap;

    if (qatomic_xchg(printed, true)) {
        return false;
    }
    va_start(ap, fmt);
    error_vreport(fmt, ap);
    va_end(ap);
    return true;
}

bool warn_report_once_cond(bool *printed, const char *fmt, ...)
{
    va_list ap;

    if (qatomic_xchg(printed, true)) {
        return false;
    }
    va_start(ap, fmt);
    warn_vreport(fmt, ap);
    va_end(ap);
    return true;
}
