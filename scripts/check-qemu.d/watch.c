/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The part of the preloaded library that watches what else a thread does that
 * submits requests: whether it reads the clock, and how often it looks at
 * descriptors.  It can stop the clock, and lose the engine's own signal.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include "disturb.h"

typedef int ClockFn(clockid_t id, struct timespec *t);
typedef ssize_t WriteFn(int fd, const void *buf, size_t count);
typedef int PollFn(struct pollfd *fds, nfds_t n, int timeout);
typedef int PpollFn(struct pollfd *fds, nfds_t n, const struct timespec *t,
                    const sigset_t *set);
typedef int EpollFn(int epfd, struct epoll_event *events, int n, int timeout);

/* The first calls are those of the start: not counted. */
#define START_CALLS 8

static __thread uint64_t calls;         /* of io_submit() by this thread */
static __thread uintptr_t frame;        /* of its last call */
static __thread uint64_t turn;          /* requests since the last look */
static int engine_eventfd = -1;

void watch_submit(uint64_t requests, int eventfd, uintptr_t submit_frame)
{
    if (!calls++ && syscall(SYS_gettid) != getpid()) {
        add(&report->threads, 1);
    }
    frame = submit_frame;
    turn += requests;
    raise_to(&report->turn, turn);
    if (mode == DEAF) {
        __atomic_store_n(&engine_eventfd, eventfd, __ATOMIC_RELAXED);
    }
}

/* --- the clock --- */

int real_clock(clockid_t id, struct timespec *t)
{
    static ClockFn *fn;

    if (!fn) {
        fn = (ClockFn *)next_function("clock_gettime");
    }
    return fn(id, t);
}

/*
 * The function that has called io_submit(), or one that it calls, is at most
 * that deep in the stack.  The event loop, which may read the clock as well, is
 * further up, or on another stack.
 */
static bool is_by_the_engine(uintptr_t here)
{
    return here <= frame && frame - here < 1024;
}

__attribute__((visibility("default")))
int clock_gettime(clockid_t id, struct timespec *t)
{
    static __thread struct timespec frozen;

    if (calls > START_CALLS && is_by_the_engine(
            (uintptr_t)__builtin_frame_address(0))) {
        add(&report->clock_reads, 1);
    }
    if (mode != FROZEN || !calls || id != CLOCK_MONOTONIC) {
        return real_clock(id, t);
    }
    if (!frozen.tv_sec) {
        real_clock(id, &frozen);
    }
    *t = frozen;
    return 0;
}

/* --- descriptors --- */

static void note_look(void)
{
    add(&report->looks, 1);
    turn = 0;
}

__attribute__((visibility("default")))
int poll(struct pollfd *fds, nfds_t n, int timeout)
{
    static PollFn *fn;

    note_look();
    if (!fn) {
        fn = (PollFn *)next_function("poll");
    }
    return fn(fds, n, timeout);
}

__attribute__((visibility("default")))
int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *t,
          const sigset_t *set)
{
    static PpollFn *fn;

    note_look();
    if (!fn) {
        fn = (PpollFn *)next_function("ppoll");
    }
    return fn(fds, n, t, set);
}

__attribute__((visibility("default")))
int epoll_wait(int epfd, struct epoll_event *events, int n, int timeout)
{
    static EpollFn *fn;

    note_look();
    if (!fn) {
        fn = (EpollFn *)next_function("epoll_wait");
    }
    return fn(epfd, events, n, timeout);
}

/* --- the engine's own signal --- */

__attribute__((visibility("default")))
ssize_t write(int fd, const void *buf, size_t count)
{
    static WriteFn *fn;

    if (mode == DEAF && count == sizeof(uint64_t) &&
        fd == __atomic_load_n(&engine_eventfd, __ATOMIC_RELAXED)) {
        return count;
    }
    if (!fn) {
        fn = (WriteFn *)next_function("write");
    }
    return fn(fd, buf, count);
}
