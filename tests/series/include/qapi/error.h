/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Only what the series may use: errors. */
#ifndef SERIES_QAPI_ERROR_H
#define SERIES_QAPI_ERROR_H

extern Error *error_abort;
extern Error *error_fatal;

void error_setg(Error **errp, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
void error_setg_errno(Error **errp, int os_error, const char *fmt, ...)
    G_GNUC_PRINTF(3, 4);
void error_free(Error *err);

#endif
