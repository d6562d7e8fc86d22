/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The main loop: the AioContext of the main thread.
 */
#ifndef QEMU_MAIN_LOOP_H
#define QEMU_MAIN_LOOP_H

#include "qemu/aio.h"

/*
 * Make the calling thread the main thread and create its AioContext.  Once
 * per process, before anything else of the event loop.  0, or -errno with
 * @errp set.
 */
int qemu_init_main_loop(Error **errp);

/* Free what qemu_init_main_loop() made; for programs that check for leaks. */
void qemu_cleanup_main_loop(void);

/* Run one iteration of the main loop: aio_poll(main context, !nonblocking). */
void main_loop_wait(int nonblocking);

/* True in the main thread. */
bool qemu_in_main_thread(void);

#define GLOBAL_STATE_CODE() assert(qemu_in_main_thread())
#define IO_CODE()           do { } while (0)
#define IO_OR_GS_CODE()     do { } while (0)

/* Wake the main loop; any thread, and signal handlers. */
void qemu_notify_event(void);

/* fd handlers and BHs of the main AioContext. */
void qemu_set_fd_handler(int fd, IOHandler *fd_read, IOHandler *fd_write,
                         void *opaque);
QEMUBH *qemu_bh_new(QEMUBHFunc *cb, void *opaque);

#endif
