/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Event notifiers: an eventfd holds all signals in one counter, which one read
 * takes back.
 */
#include "qemu/osdep.h"
#include "qemu/event_notifier.h"

#include <sys/eventfd.h>

void event_notifier_init_fd(EventNotifier *e, int fd)
{
    e->fd = fd;
    e->initialized = true;
}

int event_notifier_init(EventNotifier *e, int active)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), ret;

    e->initialized = false;
    if (fd < 0) {
        return -errno;
    }
    event_notifier_init_fd(e, fd);
    if (active) {
        ret = event_notifier_set(e);
        if (ret < 0) {
            event_notifier_cleanup(e);
            return ret;
        }
    }
    return 0;
}

void event_notifier_cleanup(EventNotifier *e)
{
    if (e->initialized) {
        close(e->fd);
        e->fd = -1;
        e->initialized = false;
    }
}

int event_notifier_get_fd(const EventNotifier *e)
{
    return e->fd;
}

int event_notifier_set(EventNotifier *e)
{
    static const uint64_t one = 1;

    if (!e->initialized) {
        return -EBADF;
    }
    /* EAGAIN: the counter is full, so that one signal more says nothing new. */
    if (RETRY_ON_EINTR(write(e->fd, &one, sizeof(one))) < 0 &&
        errno != EAGAIN) {
        return -errno;
    }
    return 0;
}

int event_notifier_test_and_clear(EventNotifier *e)
{
    uint64_t count;

    if (!e->initialized) {
        return 0;
    }
    return RETRY_ON_EINTR(read(e->fd, &count, sizeof(count))) > 0;
}
