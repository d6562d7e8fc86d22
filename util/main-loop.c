/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The main loop: the AioContext of the main thread.
 */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"

static AioContext *qemu_aio_context;
static pthread_t main_thread;
static bool main_thread_known;

int qemu_init_main_loop(Error **errp)
{
    if (qemu_aio_context) {
        return 0;
    }
    qemu_aio_context = aio_context_new(errp);
    if (!qemu_aio_context) {
        return -EMFILE;
    }
    main_thread = pthread_self();
    main_thread_known = true;
    qemu_set_current_aio_context(qemu_aio_context);
    return 0;
}

void qemu_cleanup_main_loop(void)
{
    if (qemu_aio_context) {
        aio_context_unref(qemu_aio_context);
        qemu_aio_context = NULL;
        qemu_set_current_aio_context(NULL);
    }
}

AioContext *qemu_get_aio_context(void)
{
    return qemu_aio_context;
}

bool qemu_in_main_thread(void)
{
    return main_thread_known && pthread_equal(main_thread, pthread_self());
}

void main_loop_wait(int nonblocking)
{
    aio_poll(qemu_aio_context, !nonblocking);
}

void qemu_notify_event(void)
{
    if (qemu_aio_context) {
        event_notifier_set(&qemu_aio_context->notifier);
    }
}

void qemu_set_fd_handler(int fd, IOHandler *fd_read, IOHandler *fd_write,
                         void *opaque)
{
    aio_set_fd_handler(qemu_aio_context, fd, fd_read, fd_write, NULL, NULL,
                       opaque);
}

QEMUBH *qemu_bh_new(QEMUBHFunc *cb, void *opaque)
{
    return aio_bh_new(qemu_aio_context, cb, opaque);
}
