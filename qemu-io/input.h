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
 * without its newline, to be freed; NULL at the end of input, or when a
 * signal has asked the program to end.
 */
char *qemuio_input_line(void);

/*
 * Run the main loop until standard input can be read without blocking; call
 * woken(@opaque), which may be NULL, after each iteration.  False if a signal
 * has asked the program to end.
 */
bool qemuio_wait_for_input(void (*woken)(void *), void *opaque);

/*
 * Line editing, history and completion of commands, with libedit.  The
 * terminal is as it was except within qemuio_edit_line().
 */
typedef struct QemuIOEditor QemuIOEditor;

/* NULL if the terminal cannot be used for it. */
QemuIOEditor *qemuio_editor_new(const char *progname, const char *prompt);
void qemuio_editor_free(QemuIOEditor *editor);
/* As qemuio_input_line(). */
char *qemuio_edit_line(QemuIOEditor *editor);

#endif
