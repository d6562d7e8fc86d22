/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the sanitizers must be told when the stack changes; nothing at all in
 * a build without them.  For coroutine backends.
 *
 * A switch is three steps: coroutine_san_start() in the coroutine that is
 * left, the switch, coroutine_san_finish() in the one that is entered.  The
 * function that does them must not be instrumented by AddressSanitizer, as
 * its frame is still there when a terminated coroutine is used again, while
 * the fake stack is not.
 */
#ifndef COROUTINE_SANITIZER_H
#define COROUTINE_SANITIZER_H

#include "qemu/coroutine_int.h"

#ifdef QEMU_SANITIZE_ADDRESS
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/asan_interface.h>
#endif
#ifdef QEMU_SANITIZE_THREAD
#include <sanitizer/tsan_interface.h>
#endif

#define COROUTINE_NO_ASAN __attribute__((no_sanitize("address")))

typedef struct CoroutineSan {
#ifdef QEMU_SANITIZE_ADDRESS
    const void *stack_bottom;
    size_t stack_size;
    void *fake_stack;
#endif
#ifdef QEMU_SANITIZE_THREAD
    void *fiber;
#endif
    char unused;
} CoroutineSan;

/* A coroutine with a stack of its own from @stack to @stack + @size. */
static inline void coroutine_san_new(CoroutineSan *san, const void *stack,
                                     size_t size)
{
#ifdef QEMU_SANITIZE_ADDRESS
    san->stack_bottom = stack;
    san->stack_size = size;
#endif
#ifdef QEMU_SANITIZE_THREAD
    san->fiber = __tsan_create_fiber(0);
#endif
}

static inline void coroutine_san_delete(CoroutineSan *san, void *stack,
                                        size_t size)
{
#ifdef QEMU_SANITIZE_ADDRESS
    /* The next user of these addresses must not inherit the red zones. */
    __asan_unpoison_memory_region(stack, size);
#endif
#ifdef QEMU_SANITIZE_THREAD
    __tsan_destroy_fiber(san->fiber);
#endif
}

/* The thread's own stack. */
static inline void coroutine_san_leader(CoroutineSan *san)
{
#ifdef QEMU_SANITIZE_ADDRESS
    pthread_attr_t attr;
    void *stack;

    if (pthread_getattr_np(pthread_self(), &attr) != 0) {
        abort();
    }
    pthread_attr_getstack(&attr, &stack, &san->stack_size);
    san->stack_bottom = stack;
    pthread_attr_destroy(&attr);
#endif
#ifdef QEMU_SANITIZE_THREAD
    san->fiber = __tsan_get_current_fiber();
#endif
}

static inline COROUTINE_NO_ASAN __attribute__((always_inline))
void coroutine_san_start(CoroutineSan *from, CoroutineSan *to,
                         CoroutineAction action)
{
#ifdef QEMU_SANITIZE_ADDRESS
    /* NULL frees the fake stack: nothing on it will be used any more. */
    __sanitizer_start_switch_fiber(action == COROUTINE_TERMINATE ?
                                   NULL : &from->fake_stack,
                                   to->stack_bottom, to->stack_size);
#endif
#ifdef QEMU_SANITIZE_THREAD
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
}

static inline COROUTINE_NO_ASAN __attribute__((always_inline))
void coroutine_san_finish(CoroutineSan *self)
{
#ifdef QEMU_SANITIZE_ADDRESS
    void *fake_stack = self->fake_stack;

    self->fake_stack = NULL;
    __sanitizer_finish_switch_fiber(fake_stack, NULL, NULL);
#endif
}

#endif
