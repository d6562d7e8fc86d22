/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-io: command lines from a terminal or a pipe.  Main thread.
 */
#ifndef QEMU_IO_INPUT_H
#define QEMU_IO_INPUT_H

/* @progname, which lives on, is in the prompt. */
void qemuio_input_init(const char *progname);
void qemuio_input_cleanup(void);
/*
 * Prompt, run the main loop until there is input, and return the next line
 * without its newline, to be freed; NULL at the end of input.
 */
char *qemuio_input_line(void);

#endif
