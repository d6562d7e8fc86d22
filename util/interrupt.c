/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An orderly end for programs that a signal asks to end.
 */
#include "qemu/osdep.h"
#include "qemu/interrupt.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"

static const int end_signals[] = { SIGINT, SIGTERM, SIGHUP };

/*
 * timeout(1) sends a signal to its child and to the group of its child.  A
 * SIGINT that soon after the first one is the same request to end.
 */
#define INTERRUPT_REPEAT_NS (100 * SCALE_MS)

/* Written by the handler, which runs in the main thread. */
static int interrupt_signal;
static int64_t interrupt_ns;

/* CLOCK_MONOTONIC, also in a signal handler. */
static int64_t interrupt_clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NANOSECONDS_PER_SECOND + now.tv_nsec;
}

static void interrupt_handler(int sig)
{
    int saved_errno = errno;

    if (!qatomic_read(&interrupt_signal)) {
        interrupt_ns = interrupt_clock_ns();
        qatomic_set(&interrupt_signal, sig);
    } else if (sig == SIGINT &&
               interrupt_clock_ns() - interrupt_ns > INTERRUPT_REPEAT_NS) {
        /* The signal is blocked here; it comes when this returns. */
        signal(sig, SIG_DFL);
        raise(sig);
    }
    qemu_notify_event();
    errno = saved_errno;
}

void qemu_interrupt_init(void)
{
    struct sigaction action = { .sa_handler = interrupt_handler };
    struct sigaction old;
    size_t i;

    sigfillset(&action.sa_mask);
    action.sa_flags = SA_RESTART;
    for (i = 0; i < ARRAY_SIZE(end_signals); i++) {
        sigaction(end_signals[i], NULL, &old);
        if (old.sa_handler != SIG_IGN) {
            sigaction(end_signals[i], &action, NULL);
        }
    }
}

int qemu_interrupted(void)
{
    return qatomic_read(&interrupt_signal);
}

void qemu_interrupt_disable(void)
{
    struct sigaction old;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(end_signals); i++) {
        sigaction(end_signals[i], NULL, &old);
        if (old.sa_handler == interrupt_handler) {
            signal(end_signals[i], SIG_DFL);
        }
    }
}

void qemu_interrupt_raise(void)
{
    int sig = qemu_interrupted();

    if (sig) {
        signal(sig, SIG_DFL);
        raise(sig);
    }
}
