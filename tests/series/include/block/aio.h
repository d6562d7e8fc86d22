/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Only what the series may use: event loop. A context has one field. */
#ifndef SERIES_BLOCK_AIO_H
#define SERIES_BLOCK_AIO_H

#include "qemu/event_notifier.h"
#include "qemu/timer.h"

struct AioContext {
    int64_t aio_max_batch;
};

AioContext *qemu_get_current_aio_context(void);
LinuxAioState *aio_get_linux_aio(AioContext *ctx);
LinuxAioState *aio_setup_linux_aio(AioContext *ctx, Error **errp);
void aio_set_event_notifier(AioContext *ctx, EventNotifier *notifier,
                            void (*io_read)(EventNotifier *e),
                            bool (*io_poll)(void *opaque),
                            void (*io_poll_ready)(EventNotifier *e));
QEMUBH *aio_bh_new(AioContext *ctx, void (*cb)(void *), void *opaque);
void aio_bh_schedule_oneshot(AioContext *ctx, void (*cb)(void *),
                             void *opaque);
void qemu_bh_schedule(QEMUBH *bh);
void qemu_bh_cancel(QEMUBH *bh);
void qemu_bh_delete(QEMUBH *bh);
bool aio_poll(AioContext *ctx, bool blocking);
void aio_notify(AioContext *ctx);
QEMUTimer *aio_timer_new(AioContext *ctx, QEMUClockType type, int scale,
                         void (*cb)(void *), void *opaque);
void aio_co_wake(Coroutine *co);
void aio_co_schedule(AioContext *ctx, Coroutine *co);

#endif
