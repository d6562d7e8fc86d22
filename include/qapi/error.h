/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Error objects: how a function tells its caller, in words, what went wrong.
 *
 * A function that can fail takes "Error **errp" last, and also says by its
 * return value that it failed.  The caller passes
 *   NULL           it does not want the words;
 *   &err           (err == NULL before) it handles the error, and frees it or
 *                  hands it on;
 *   errp           its own argument: the error goes to its caller;
 *   &error_abort   failure is a bug: print where and abort;
 *   &error_fatal   failure ends the program: report and exit(1).
 *
 *     if (!do_it(arg, errp)) {
 *         return false;
 *     }
 *
 * A function that reads *errp, or prepends or appends to it, starts with
 * ERRP_GUARD().  Messages are one sentence without newline or full stop and
 * name the object and the value.  Any thread; one object belongs to one
 * thread at a time.
 */
#ifndef QAPI_ERROR_H
#define QAPI_ERROR_H

/* A QMP client sees this as "class"; nearly always GENERIC_ERROR. */
typedef enum ErrorClass {
    ERROR_CLASS_GENERIC_ERROR,
    ERROR_CLASS_COMMAND_NOT_FOUND,
    ERROR_CLASS_DEVICE_NOT_ACTIVE,
    ERROR_CLASS_DEVICE_NOT_FOUND,
} ErrorClass;

/* The two special destinations; see above. */
extern Error *error_abort;
extern Error *error_fatal;

/*
 * Set *@errp to a new error with a printf-style message.  Nothing happens
 * for a NULL @errp; *@errp must be NULL.
 */
#define error_setg(errp, fmt, ...)                              \
    error_setg_internal((errp), __FILE__, __LINE__, __func__,   \
                        (fmt), ## __VA_ARGS__)
/* Appends ": " and strerror(@os_error) unless @os_error is 0. */
#define error_setg_errno(errp, os_error, fmt, ...)              \
    error_setg_errno_internal((errp), __FILE__, __LINE__,       \
                              __func__, (os_error), (fmt),      \
                              ## __VA_ARGS__)
/* "Could not open '@filename': " and strerror(@os_errno). */
#define error_setg_file_open(errp, os_errno, filename)          \
    error_setg_file_open_internal((errp), __FILE__, __LINE__,   \
                                  __func__, (os_errno), (filename))
/* With a class for QMP. */
#define error_set(errp, err_class, fmt, ...)                    \
    error_set_internal((errp), __FILE__, __LINE__, __func__,    \
                       (err_class), (fmt), ## __VA_ARGS__)

void error_setg_internal(Error **errp, const char *src, int line,
                         const char *func, const char *fmt, ...)
    G_GNUC_PRINTF(5, 6);
void error_setg_errno_internal(Error **errp, const char *src, int line,
                               const char *func, int os_error,
                               const char *fmt, ...)
    G_GNUC_PRINTF(6, 7);
void error_setg_file_open_internal(Error **errp, const char *src, int line,
                                   const char *func, int os_errno,
                                   const char *filename);
void error_set_internal(Error **errp, const char *src, int line,
                        const char *func, ErrorClass err_class,
                        const char *fmt, ...)
    G_GNUC_PRINTF(6, 7);

/* Put text before the message of *@errp, if there is one. */
void error_prepend(Error *const *errp, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);
void error_vprepend(Error *const *errp, const char *fmt, va_list ap)
    G_GNUC_PRINTF(2, 0);

/*
 * Add help for people, whole lines with their newline, printed after the
 * message.  A function that passes its own @errp needs ERRP_GUARD().
 */
void error_append_hint(Error *const *errp, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);

/*
 * Hand @local_err (may be NULL) to *@dst_errp; it is freed if that has an
 * error already or is NULL.
 */
void error_propagate(Error **dst_errp, Error *local_err);

/* The message (no hint), valid until @err is freed. */
const char *error_get_pretty(const Error *err);
ErrorClass error_get_class(const Error *err);

/* A new object with the same message, class and hint. */
Error *error_copy(const Error *err);

/* NULL is fine. */
void error_free(Error *err);

/* Free *@errp, which must be set, and clear it; aborts if it is not. */
void error_free_or_abort(Error **errp);

/* Report on stderr, hint included, and free. */
void error_report_err(Error *err);
void warn_report_err(Error *err);
/* The same with text before the message. */
void error_reportf_err(Error *err, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);
void warn_reportf_err(Error *err, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Error, error_free)

/* Implementation of ERRP_GUARD(). */
typedef struct ErrorPropagator {
    Error *local_err;
    Error **errp;
} ErrorPropagator;

static inline void error_propagator_cleanup(ErrorPropagator *prop)
{
    if (prop->local_err) {
        error_propagate(prop->errp, prop->local_err);
    }
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ErrorPropagator, error_propagator_cleanup)

/*
 * At the start of a function whose argument is named errp: makes *errp safe
 * to read, prepend and append to whatever the caller passed.  Propagates
 * when the scope ends.  Not needed for error_abort, which must still abort
 * where the error happens.
 */
#define ERRP_GUARD()                                            \
    g_auto(ErrorPropagator) errp_guard_prop_ = { .errp = errp };\
    do {                                                        \
        if (!errp || errp == &error_fatal) {                    \
            errp = &errp_guard_prop_.local_err;                 \
        }                                                       \
    } while (0)

#endif
