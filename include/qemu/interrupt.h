/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An orderly end for programs that SIGINT, SIGTERM or SIGHUP ask to end.
 *
 * The first of these signals only leaves a note.  The program sends no new
 * requests, waits for those in flight, flushes and closes its images, and
 * then ends by the same signal, so that its parent sees why.  A second SIGINT
 * ends the program at once.
 */
#ifndef QEMU_INTERRUPT_H
#define QEMU_INTERRUPT_H

/*
 * Handle the signals, except those that the parent has ignored (nohup).
 * In the main thread; also when they are handled already.
 */
void qemu_interrupt_init(void);

/*
 * The signal that asked the program to end; 0: none did.  Any thread.  The
 * main loop returns from its wait when a signal comes.
 */
int qemu_interrupted(void);

/* The signals end the program at once from now on, as without this file. */
void qemu_interrupt_disable(void);

/*
 * End the program by the signal that asked it to end; return if none did.
 * When all images are closed.
 */
void qemu_interrupt_raise(void);

#endif
