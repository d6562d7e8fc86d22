/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Only what the series may use: eventfds. Opaque but for the size. */
#ifndef SERIES_QEMU_EVENT_NOTIFIER_H
#define SERIES_QEMU_EVENT_NOTIFIER_H

struct EventNotifier {
    int opaque_[4];
};

int event_notifier_init(EventNotifier *e, int active);
void event_notifier_cleanup(EventNotifier *e);
int event_notifier_get_fd(const EventNotifier *e);
int event_notifier_set(EventNotifier *e);
int event_notifier_test_and_clear(EventNotifier *e);

#endif
