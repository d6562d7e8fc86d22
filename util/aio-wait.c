/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Waiting, outside coroutines, for a condition that an event loop makes true.
 */
#include "qemu/osdep.h"
#include "qemu/aio-wait.h"

AioWait global_aio_wait;

static void aio_wait_nothing(void *opaque)
{
    /* Its only purpose is to make the waiter's aio_poll() return. */
}

void aio_wait_kick(void)
{
    /* The condition is written first; pairs with AIO_WAIT_WHILE(). */
    smp_mb();
    if (qatomic_read(&global_aio_wait.num_waiters)) {
        aio_bh_schedule_oneshot(qemu_get_aio_context(), aio_wait_nothing,
                                NULL);
    }
}

typedef struct {
    QEMUBHFunc *cb;
    void *opaque;
    bool done;
} AioWaitBHData;

static void aio_wait_bh(void *opaque)
{
    AioWaitBHData *data = opaque;

    data->cb(data->opaque);
    /* Pairs with the acquire in aio_wait_bh_oneshot(). */
    qatomic_store_release(&data->done, true);
    aio_wait_kick();
}

void aio_wait_bh_oneshot(AioContext *ctx, QEMUBHFunc *cb, void *opaque)
{
    AioWaitBHData data = { .cb = cb, .opaque = opaque };

    GLOBAL_STATE_CODE();
    aio_bh_schedule_oneshot(ctx, aio_wait_bh, &data);
    AIO_WAIT_WHILE(NULL, !qatomic_load_acquire(&data.done));
}
