/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Event notifiers on an eventfd, or on a pipe if the kernel has none.
 *
 * An eventfd holds all signals in one counter, which one read takes back; a
 * pipe holds a byte per signal, so that it is read until it is empty, and a
 * signal that finds it full is there already.
 */
#include "qemu/osdep.h"
#include "qemu/event_notifier.h"

#ifdef __linux__
#include <sys/eventfd.h>
#endif

static int event_notifier_open_eventfd(void)
{
#ifdef __linux__
    return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
#else
    errno = ENOSYS;
    return -1;
#endif
}

static int event_notifier_open_pipe(int fds[2])
{
    int i;

    if (pipe(fds) < 0) {
        return -errno;
    }
    for (i = 0; i < 2; i++) {
        if (fcntl(fds[i], F_SETFD, FD_CLOEXEC) < 0 ||
            fcntl(fds[i], F_SETFL, O_NONBLOCK) < 0) {
            int ret = -errno;

            close(fds[0]);
            close(fds[1]);
            return ret;
        }
    }
    return 0;
}

void event_notifier_init_fd(EventNotifier *e, int fd)
{
    e->rfd = fd;
    e->wfd = fd;
    e->initialized = true;
}

int event_notifier_init(EventNotifier *e, int active)
{
    int fd = event_notifier_open_eventfd();
    int ret;

    e->initialized = false;
    if (fd >= 0) {
        event_notifier_init_fd(e, fd);
    } else if (errno == ENOSYS) {
        int fds[2];

        ret = event_notifier_open_pipe(fds);
        if (ret < 0) {
            return ret;
        }
        e->rfd = fds[0];
        e->wfd = fds[1];
        e->initialized = true;
    } else {
        return -errno;
    }

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
    if (!e->initialized) {
        return;
    }
    if (e->wfd != e->rfd) {
        close(e->wfd);
    }
    close(e->rfd);
    e->rfd = -1;
    e->wfd = -1;
    e->initialized = false;
}

int event_notifier_get_fd(const EventNotifier *e)
{
    return e->rfd;
}

int event_notifier_get_wfd(const EventNotifier *e)
{
    return e->wfd;
}

int event_notifier_set(EventNotifier *e)
{
    static const uint64_t one = 1;
    size_t len = e->wfd == e->rfd ? sizeof(one) : 1;
    ssize_t ret;

    if (!e->initialized) {
        return -EBADF;
    }

    /* One byte into a pipe: any will do, as they are only counted. */
    ret = RETRY_ON_EINTR(write(e->wfd, &one, len));

    /* EAGAIN: as many signals as fit are there, one more says nothing new. */
    if (ret < 0 && errno != EAGAIN) {
        return -errno;
    }
    return 0;
}

int event_notifier_test_and_clear(EventNotifier *e)
{
    char buffer[512];
    bool value = false;
    ssize_t len;

    if (!e->initialized) {
        return 0;
    }
    if (e->wfd == e->rfd) {
        return RETRY_ON_EINTR(read(e->rfd, buffer, sizeof(uint64_t))) > 0;
    }
    do {
        len = RETRY_ON_EINTR(read(e->rfd, buffer, sizeof(buffer)));
        value |= len > 0;
    } while (len == sizeof(buffer));
    return value;
}
