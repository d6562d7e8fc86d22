/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Only what the series may use: messages. */
#ifndef SERIES_QEMU_ERROR_REPORT_H
#define SERIES_QEMU_ERROR_REPORT_H

void error_report(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
bool warn_report_once(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

#endif
