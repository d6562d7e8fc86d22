/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Only what the series may use: notifiers. */
#ifndef SERIES_QEMU_NOTIFY_H
#define SERIES_QEMU_NOTIFY_H

struct Notifier {
    void (*notify)(Notifier *notifier, void *data);
    void *opaque_[2];
};

#endif
