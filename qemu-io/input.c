/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-io: command lines from a terminal or a pipe.
 *
 * Requests go on while the user thinks: the main loop runs until there is
 * something to read.  With libedit a terminal has line editing, history and
 * completion of command names.
 */
#include "qemu/osdep.h"
#include <poll.h>
#ifdef CONFIG_LIBEDIT
#include <editline/readline.h>
#endif
#include "qemu/interrupt.h"
#include "qemu/main-loop.h"
#include "qemu-io.h"
#include "input.h"

static char *prompt;
static GString *pending;        /* read, and not yet returned as a line */
static bool at_eof;

#ifdef CONFIG_LIBEDIT
static bool use_libedit;

/* readline's generator: the matches one by one, @state 0 for the first. */
static char *complete_command(const char *text, int state)
{
    static unsigned next;
    const char *name;

    if (state == 0) {
        next = 0;
    }
    while ((name = qemuio_command_name(next))) {
        next++;
        if (g_str_has_prefix(name, text)) {
            return strdup(name);
        }
    }
    return NULL;
}

/* Only the first word is a command; no file names. */
static char **complete_line(const char *text, int start, int end)
{
    rl_attempted_completion_over = 1;
    if (start > 0 && strcmp(text, "") != 0 &&
        !g_str_has_prefix(rl_line_buffer, "help ")) {
        return NULL;
    }
    return start == 0 || g_str_has_prefix(rl_line_buffer, "help ") ?
           rl_completion_matches(text, complete_command) : NULL;
}
#endif

void qemuio_input_init(const char *progname)
{
    prompt = g_strdup_printf("%s> ", progname);
    pending = g_string_new(NULL);
    at_eof = false;
#ifdef CONFIG_LIBEDIT
    use_libedit = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    if (use_libedit) {
        rl_readline_name = progname;
        rl_attempted_completion_function = complete_line;
        rl_initialize();
        using_history();
    }
#endif
}

void qemuio_input_cleanup(void)
{
    g_free(prompt);
    prompt = NULL;
    g_string_free(pending, true);
    pending = NULL;
}

static void readable_cb(void *opaque)
{
    *(bool *)opaque = true;
}

/*
 * Run the main loop until reading stdin would not block; false if a signal
 * has asked the program to end.
 */
static bool wait_for_input(void)
{
    struct pollfd pfd = { .fd = STDIN_FILENO, .events = POLLIN };
    bool readable = false;

    main_loop_wait(true);
    /* Plain files are always ready, and epoll does not take them. */
    if (!qemu_interrupted() && poll(&pfd, 1, 0) > 0) {
        return true;
    }
    qemu_set_fd_handler(STDIN_FILENO, readable_cb, NULL, &readable);
    while (!readable && !qemu_interrupted()) {
        main_loop_wait(false);
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
        if (!wait_for_input()) {
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

#ifdef CONFIG_LIBEDIT
static char *line_from_terminal(void)
{
    char *text, *line;

    printf("%s", prompt);
    fflush(stdout);
    if (!wait_for_input()) {
        return NULL;
    }
    printf("\r");
    text = readline(prompt);
    if (!text) {
        return NULL;
    }
    if (*text) {
        add_history(text);
    }
    line = g_strdup(text);
    free(text);
    return line;
}
#endif

char *qemuio_input_line(void)
{
#ifdef CONFIG_LIBEDIT
    if (use_libedit) {
        return line_from_terminal();
    }
#endif
    return line_from_pipe();
}
