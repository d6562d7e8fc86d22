/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-io: line editing, history and completion of commands, with libedit.
 *
 * libedit asks for one character at a time, and the main loop runs until
 * there is one.  Its own signal handlers are not used: they send the signal
 * to the whole process group.
 */
#include "qemu/osdep.h"
#include <histedit.h>
#include <locale.h>
#include <wchar.h>
#include "qemu/main-loop.h"
#include "qemu-io.h"
#include "input.h"

#define HISTORY_LINES 500

struct QemuIOEditor {
    EditLine *el;
    History *history;
    const char *prompt;
    mbstate_t mbstate;          /* of a character that is not complete */
};

/* Written by signal handlers; what libedit has to hear of. */
static volatile sig_atomic_t resized;
static volatile sig_atomic_t continued;

static void winch_handler(int sig)
{
    resized = true;
    qemu_notify_event();
}

static void cont_handler(int sig)
{
    continued = true;
    qemu_notify_event();
}

static char *editor_prompt(EditLine *el)
{
    QemuIOEditor *editor;

    el_get(el, EL_CLIENTDATA, (void **)&editor);
    return (char *)editor->prompt;
}

/* The size of the window, and the mode of the terminal, may have changed. */
static void editor_look_at_terminal(void *opaque)
{
    EditLine *el = opaque;

    if (resized) {
        resized = false;
        el_resize(el);
    }
    if (continued) {
        continued = false;
        /* libedit does nothing if it believes the mode to be set. */
        el_set(el, EL_PREP_TERM, 0);
        el_set(el, EL_PREP_TERM, 1);
        el_set(el, EL_REFRESH);
    }
}

/* EL_GETCFN: 1 for a character, 0 at the end of input, -1 for an error. */
static int editor_getc(EditLine *el, wchar_t *wc)
{
    QemuIOEditor *editor;
    char byte;
    ssize_t n;
    size_t ret;

    el_get(el, EL_CLIENTDATA, (void **)&editor);
    for (;;) {
        if (!qemuio_wait_for_input(editor_look_at_terminal, el)) {
            return -1;
        }
        n = RETRY_ON_EINTR(read(STDIN_FILENO, &byte, 1));
        if (n <= 0) {
            return n;
        }
        ret = mbrtowc(wc, &byte, 1, &editor->mbstate);
        if (ret == (size_t)-2) {        /* there is more of it to come */
            continue;
        }
        if (ret == (size_t)-1) {        /* not of this encoding */
            memset(&editor->mbstate, 0, sizeof(editor->mbstate));
            *wc = L'?';
        }
        return 1;
    }
}

/* --- completion --- */

/* The names that begin with @text. */
static GPtrArray *matching_commands(const char *text)
{
    GPtrArray *matches = g_ptr_array_new();
    const char *name;
    unsigned i;

    for (i = 0; (name = qemuio_command_name(i)); i++) {
        if (g_str_has_prefix(name, text)) {
            g_ptr_array_add(matches, (void *)name);
        }
    }
    return matches;
}

/* How long the common beginning of all @matches is. */
static size_t common_length(const GPtrArray *matches)
{
    const char *first = g_ptr_array_index(matches, 0);
    size_t len = strlen(first);
    guint i;

    for (i = 1; i < matches->len; i++) {
        const char *name = g_ptr_array_index(matches, i);
        size_t n = 0;

        while (n < len && name[n] == first[n]) {
            n++;
        }
        len = n;
    }
    return len;
}

static void list_matches(EditLine *el, const GPtrArray *matches)
{
    guint i;

    printf("\n");
    for (i = 0; i < matches->len; i++) {
        printf("%s%s", i ? "  " : "",
               (const char *)g_ptr_array_index(matches, i));
    }
    printf("\n");
    fflush(stdout);
    el_set(el, EL_REFRESH);
}

/* The word before the cursor if it names a command, else NULL. */
static char *command_before_cursor(EditLine *el)
{
    const LineInfo *info = el_line(el);
    g_autofree char *line = g_strndup(info->buffer,
                                      info->cursor - info->buffer);
    const char *word = line + strspn(line, " ");

    if (g_str_has_prefix(word, "help ") || g_str_has_prefix(word, "? ")) {
        word = strchr(word, ' ');
        word += strspn(word, " ");
    }
    return strchr(word, ' ') ? NULL : g_strdup(word);
}

static unsigned char complete_command(EditLine *el, int key)
{
    g_autofree char *word = command_before_cursor(el);
    g_autoptr(GPtrArray) matches = NULL;
    size_t len;

    if (!word) {
        return CC_ERROR;
    }
    matches = matching_commands(word);
    if (!matches->len) {
        return CC_ERROR;
    }
    len = common_length(matches);
    if (matches->len == 1 || len > strlen(word)) {
        g_autofree char *rest = g_strndup(
            (const char *)g_ptr_array_index(matches, 0) + strlen(word),
            len - strlen(word));
        g_autofree char *insert = g_strconcat(
            rest, matches->len == 1 ? " " : "", NULL);

        return el_insertstr(el, insert) < 0 ? CC_ERROR : CC_REFRESH;
    }
    list_matches(el, matches);
    return CC_REDISPLAY;
}

/* --- the editor --- */

static void set_handler(int sig, void (*handler)(int))
{
    struct sigaction action = { .sa_handler = handler };

    sigemptyset(&action.sa_mask);
    sigaction(sig, &action, NULL);
}

QemuIOEditor *qemuio_editor_new(const char *progname, const char *prompt)
{
    QemuIOEditor *editor = g_new0(QemuIOEditor, 1);
    HistEvent event;

    /* File names that are typed may have letters beyond ASCII. */
    setlocale(LC_CTYPE, "");
    editor->prompt = prompt;
    editor->el = el_init(progname, stdin, stdout, stderr);
    if (!editor->el) {
        g_free(editor);
        return NULL;
    }
    el_set(editor->el, EL_CLIENTDATA, editor);
    el_set(editor->el, EL_SIGNAL, 0);
    el_set(editor->el, EL_PROMPT, editor_prompt);
    el_set(editor->el, EL_GETCFN, editor_getc);
    el_set(editor->el, EL_EDITOR, "emacs");
    el_set(editor->el, EL_ADDFN, "complete-command",
           "Complete the name of a command", complete_command);
    el_set(editor->el, EL_BIND, "^I", "complete-command", NULL);
    editor->history = history_init();
    if (editor->history) {
        history(editor->history, &event, H_SETSIZE, HISTORY_LINES);
        history(editor->history, &event, H_SETUNIQUE, 1);
        el_set(editor->el, EL_HIST, history, editor->history);
    }
    el_source(editor->el, NULL);        /* ~/.editrc */
    set_handler(SIGWINCH, winch_handler);
    set_handler(SIGCONT, cont_handler);
    return editor;
}

void qemuio_editor_free(QemuIOEditor *editor)
{
    if (editor) {
        set_handler(SIGWINCH, SIG_DFL);
        set_handler(SIGCONT, SIG_DFL);
        if (editor->history) {
            history_end(editor->history);
        }
        el_end(editor->el);
        g_free(editor);
    }
}

char *qemuio_edit_line(QemuIOEditor *editor)
{
    HistEvent event;
    char *line;
    const char *text;
    int len;

    fflush(stdout);
    /* While a command ran the flags were not looked at. */
    resized = false;
    continued = false;
    el_resize(editor->el);
    text = el_gets(editor->el, &len);
    if (!text || len <= 0) {
        printf("\n");           /* the prompt was the last on its line */
        return NULL;
    }
    line = g_strndup(text, strcspn(text, "\r\n"));
    if (*line && editor->history) {
        history(editor->history, &event, H_ENTER, line);
    }
    return line;
}
