/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-io: command lines from a terminal or a pipe.
 *
 * Requests make progress while the user thinks: the main loop runs until
 * there is something to read.
 */
#include "qemu/osdep.h"
#include <poll.h>
#include "qemu/interrupt.h"
#include "qemu/main-loop.h"
#include "input.h"

static char *prompt;
static GString *pending;        /* read, and not yet returned as a line */
static bool at_eof;
#ifdef CONFIG_LIBEDIT
static QemuIOEditor *editor;    /* NULL: lines are not edited */
#endif

void qemuio_input_init(const char *progname)
{
    prompt = g_strdup_printf("%s> ", progname);
    pending = g_string_new(NULL);
    at_eof = false;
#ifdef CONFIG_LIBEDIT
    if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)) {
        editor = qemuio_editor_new(progname, prompt);
    }
#endif
}

void qemuio_input_cleanup(void)
{
#ifdef CONFIG_LIBEDIT
    qemuio_editor_free(editor);
    editor = NULL;
#endif
    g_free(prompt);
    prompt = NULL;
    g_string_free(pending, true);
    pending = NULL;
}

static void readable_cb(void *opaque)
{
    *(bool *)opaque = true;
}

bool qemuio_wait_for_input(void (*woken)(void *), void *opaque)
{
    struct pollfd pfd = { .fd = STDIN_FILENO, .events = POLLIN };
    bool readable = false;

    main_loop_wait(true);
    if (woken) {
        woken(opaque);
    }
    /* Plain files are always ready, and epoll does not take them. */
    if (!qemu_interrupted() && poll(&pfd, 1, 0) > 0) {
        return true;
    }
    qemu_set_fd_handler(STDIN_FILENO, readable_cb, NULL, &readable);
    while (!readable && !qemu_interrupted()) {
        main_loop_wait(false);
        if (woken) {
            woken(opaque);
        }
    }
    qemu_set_fd_handler(STDIN_FILENO, NULL, NULL, NULL);
    return !qemu_interrupted();
}

/* The first line of @pending; what is there at the end of input counts. */
static char *take_line(void)
{
    char *end = memchr(pending->str, '\n', pending->len);
    char *line;

    if (end) {
        line = g_strndup(pending->str, end - pending->str);
        g_string_erase(pending, 0, end - pending->str + 1);
        return line;
    }
    if (at_eof && pending->len > 0) {
        line = g_strndup(pending->str, pending->len);
        g_string_truncate(pending, 0);
        return line;
    }
    return NULL;
}

static char *line_from_pipe(void)
{
    char buf[4096];
    char *line;
    ssize_t n;

    printf("%s", prompt);
    fflush(stdout);
    while (!(line = take_line()) && !at_eof) {
        if (!qemuio_wait_for_input(NULL, NULL)) {
            return NULL;
        }
        n = RETRY_ON_EINTR(read(STDIN_FILENO, buf, sizeof(buf)));
        if (n > 0) {
            g_string_append_len(pending, buf, n);
        } else {
            at_eof = true;
        }
    }
    return line;
}

char *qemuio_input_line(void)
{
#ifdef CONFIG_LIBEDIT
    if (editor) {
        return qemuio_edit_line(editor);
    }
#endif
    return line_from_pipe();
}
