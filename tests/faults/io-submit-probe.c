/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LD_PRELOAD library that watches io_submit() of libaio: how often it is
 * called, with how many requests, and how far apart the stack frames are that
 * call it.  A bounded engine calls it from a narrow range of the stack; the
 * recursion of an unbounded one shows as a range of megabytes.
 *
 * At exit, one line goes to the file that LAIO_PROBE_OUT names:
 *
 *   calls=N requests=N max_batch=N stack_bytes=N coroutine_calls=N
 *
 * stack_bytes: the largest range on a thread's own stack.  Calls from
 * coroutine stacks, which are no part of that, are counted by themselves.
 */
#include "qemu/osdep.h"
#include <dlfcn.h>
#include <libaio.h>

#include "../../scripts/check-qemu.d/own-stack.h"

typedef int SubmitFn(io_context_t ctx, long nr, struct iocb **iocbs);

static unsigned long calls, requests, max_batch, stack_bytes;
static unsigned long coroutine_calls;

static __thread uintptr_t frame_low, frame_high;    /* seen in io_submit */

static void update_max(unsigned long *max, unsigned long value)
{
    unsigned long old = qatomic_read(max);

    while (old < value) {
        unsigned long seen = qatomic_cmpxchg(max, old, value);

        if (seen == old) {
            break;
        }
        old = seen;
    }
}

static void note_frame(uintptr_t frame)
{
    if (!is_on_own_stack(frame)) {
        qatomic_inc(&coroutine_calls);
        return;
    }
    frame_high = MAX(frame_high, frame);
    frame_low = frame_low ? MIN(frame_low, frame) : frame;
    update_max(&stack_bytes, frame_high - frame_low);
}

int io_submit(io_context_t ctx, long nr, struct iocb **iocbs)
{
    static SubmitFn *next;
    SubmitFn *fn = qatomic_read(&next);

    if (!fn) {
        fn = (SubmitFn *)dlsym(RTLD_NEXT, "io_submit");
        if (!fn) {
            return -ENOSYS;
        }
        qatomic_set(&next, fn);
    }
    note_frame((uintptr_t)__builtin_frame_address(0));
    qatomic_inc(&calls);
    qatomic_fetch_add(&requests, nr);
    update_max(&max_batch, nr);
    return fn(ctx, nr, iocbs);
}

static void __attribute__((destructor)) probe_report(void)
{
    const char *name = getenv("LAIO_PROBE_OUT");
    FILE *f = name ? fopen(name, "w") : NULL;

    if (f) {
        fprintf(f, "calls=%lu requests=%lu max_batch=%lu stack_bytes=%lu "
                "coroutine_calls=%lu\n", calls, requests, max_batch,
                stack_bytes, coroutine_calls);
        fclose(f);
    }
}
