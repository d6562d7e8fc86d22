/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A descriptor that one thread signals and another one polls: an eventfd.
 */
#ifndef QEMU_EVENT_NOTIFIER_H
#define QEMU_EVENT_NOTIFIER_H

struct EventNotifier {
    int fd;
    bool initialized;
};

typedef void EventNotifierHandler(EventNotifier *e);

/*
 * Open it (non-blocking, close-on-exec); signalled at once if
 * @active is not 0.  Returns 0 or -errno; after a failure
 * event_notifier_cleanup() is harmless.
 */
int event_notifier_init(EventNotifier *e, int active);

/* Close it; does nothing when not initialized. */
void event_notifier_cleanup(EventNotifier *e);

/* Use @fd (an eventfd), which event_notifier_cleanup() will close. */
void event_notifier_init_fd(EventNotifier *e, int fd);

/* The descriptor to poll for input. */
int event_notifier_get_fd(const EventNotifier *e);

/*
 * Signal.  Any thread, any number of times: signals merge.  Returns 0 or
 * -errno.
 */
int event_notifier_set(EventNotifier *e);

/* Take the signal back.  Returns 1 if there was one, else 0.  Any thread. */
int event_notifier_test_and_clear(EventNotifier *e);

#endif
