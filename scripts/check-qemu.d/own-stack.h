/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For libraries between a program and another library, which compare the stack
 * frames that call them: a thread's own stack, and not that of a coroutine.
 * Needs _GNU_SOURCE.
 */
#ifndef OWN_STACK_H
#define OWN_STACK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Whether @frame is on the stack with which this thread began. */
static inline bool is_on_own_stack(uintptr_t frame)
{
    static __thread uintptr_t low, high;

    if (!high) {
        pthread_attr_t attr;
        void *addr;
        size_t size;

        high = 1;               /* not again, if it fails */
        if (pthread_getattr_np(pthread_self(), &attr) == 0) {
            if (pthread_attr_getstack(&attr, &addr, &size) == 0) {
                low = (uintptr_t)addr;
                high = low + size;
            }
            pthread_attr_destroy(&attr);
        }
    }
    return frame >= low && frame < high;
}

#endif
