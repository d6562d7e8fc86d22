/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Only what the series may use: threads. */
#ifndef SERIES_QEMU_THREAD_H
#define SERIES_QEMU_THREAD_H

#include "qemu/notify.h"

#define QEMU_THREAD_JOINABLE 0
#define QEMU_THREAD_DETACHED 1

typedef struct QemuThread {
    int opaque_[8];
} QemuThread;

void qemu_thread_create(QemuThread *thread, const char *name,
                        void *(*start_routine)(void *), void *arg, int mode);
void *qemu_thread_join(QemuThread *thread);
void qemu_thread_atexit_add(Notifier *notifier);

#endif
