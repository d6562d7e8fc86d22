/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Only what the series may use: timers. */
#ifndef SERIES_QEMU_TIMER_H
#define SERIES_QEMU_TIMER_H

#define NANOSECONDS_PER_SECOND 1000000000LL
#define SCALE_MS 1000000
#define SCALE_NS 1

typedef enum {
    QEMU_CLOCK_REALTIME,
} QEMUClockType;

int64_t qemu_clock_get_ns(QEMUClockType type);
void timer_mod(QEMUTimer *ts, int64_t expire_time);
void timer_del(QEMUTimer *ts);
void timer_free(QEMUTimer *ts);

#endif
