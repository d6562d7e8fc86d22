/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Batching: calls put off to the end of a section.
 *
 * Between defer_call_begin() and the matching defer_call_end(), defer_call()
 * records (fn, opaque) once; the outermost defer_call_end() runs what was
 * recorded, in the order in which it was first recorded.  Outside a section
 * defer_call() calls at once.  Sections nest.  The state belongs to the
 * thread; a coroutine must not yield inside a section that it began.
 */
#ifndef QEMU_DEFER_CALL_H
#define QEMU_DEFER_CALL_H

/* Open a section.  Any thread. */
void defer_call_begin(void);

/*
 * Close a section; the outermost one runs the recorded calls.  A call may
 * itself open sections or defer: what it defers runs before this returns,
 * either in the section's own end or after the calls recorded earlier.
 */
void defer_call_end(void);

/*
 * Run what was recorded now, within the section, which goes on: for who waits
 * there for what only such a call may do.  False: nothing was.  Outside of
 * coroutines.
 */
bool defer_call_flush(void);

/* Call fn(opaque) once at the end of the section, or now outside of one. */
void defer_call(void (*fn)(void *), void *opaque);

#endif
