/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Waiting, outside coroutines, for a condition that an event loop makes true.
 */
#ifndef QEMU_AIO_WAIT_H
#define QEMU_AIO_WAIT_H

#include "qemu/aio.h"
#include "qemu/defer-call.h"
#include "qemu/main-loop.h"

typedef struct AioWait {
    unsigned num_waiters;       /* atomic; see aio_wait_kick() */
} AioWait;

extern AioWait global_aio_wait;

/* A part of AIO_WAIT_WHILE(), before the condition is looked at again. */
static inline void aio_wait_step(AioContext *ctx)
{
    if (!defer_call_flush()) {
        aio_poll(ctx, true);
    }
}

/*
 * Poll until @cond is false.  @ctx is the context whose progress changes it:
 * when that is the caller's own it is polled; otherwise the main context is,
 * and aio_wait_kick() from the other thread wakes it.  Within a section of
 * defer_call() what was recorded does not wait for the end of the section.
 */
#define AIO_WAIT_WHILE(ctx, cond) ({                                    \
        bool waited_ = false;                                           \
        AioContext *wait_ctx_ = (ctx);                                  \
        if (wait_ctx_ && in_aio_context_home_thread(wait_ctx_)) {       \
            while ((cond)) {                                            \
                aio_wait_step(wait_ctx_);                               \
                waited_ = true;                                         \
            }                                                           \
        } else {                                                        \
            /* aio_wait_kick() wakes the main thread only. */           \
            GLOBAL_STATE_CODE();                                        \
            /* Pairs with the barrier in aio_wait_kick(). */            \
            qatomic_inc(&global_aio_wait.num_waiters);                  \
            smp_mb__after_rmw();                                        \
            while ((cond)) {                                            \
                aio_wait_step(qemu_get_aio_context());                  \
                waited_ = true;                                         \
            }                                                           \
            qatomic_dec(&global_aio_wait.num_waiters);                  \
            /* The waiter sees what was written before the condition. */ \
            smp_rmb();                                                  \
        }                                                               \
        waited_; })

/* Tell waiters to look at their conditions again.  Any thread. */
void aio_wait_kick(void);

/* Run cb(opaque) in @ctx's home thread and wait for it.  Main thread. */
void aio_wait_bh_oneshot(AioContext *ctx, QEMUBHFunc *cb, void *opaque);

#endif
