/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz target: qemu-io.  The first line of an input is the program's command
 * line, the others are its commands.  Whatever they are, nothing crashes or
 * hangs, and what fails says so.
 *
 * Left out are commands that end the program or wait for something that an
 * input cannot bring about: see is_left_out().
 */
#include "qemu/osdep.h"
#include "fuzz.h"

int qemu_io_main(int argc, char **argv);
/* All of the program but its main(): what it keeps between lines is static. */
#define main qemu_io_main
#include "../../qemu-io/main.c"
#undef main

#define MAX_LINES 24
#define MAX_LINE 400

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_init(argc, argv);
    error_set_progname("qemu-io");
    add_commands();
    return 0;
}

static void put_files(void)
{
    g_autofree char *raw = g_malloc(64 * KiB);

    memset(raw, 'R', 64 * KiB);
    fuzz_put("raw.img", raw, 64 * KiB);
    fuzz_put("pattern", "0123456789", 10);
    fuzz_put("empty", "", 0);
    fuzz_put_image("x.vmdk", "vmdk", "size=1M,zeroed_grain=on");
    fuzz_put_image("s.vmdk", "vmdk", "size=1M,subformat=streamOptimized");
}

/*
 * abort and sigraise are meant to end the program; after "break" the next
 * request would wait for a "resume" that may never come; "sleep" may take 9
 * ms.
 */
static bool is_left_out(const char *line)
{
    static const char *const names[] = { "abort", "sigraise", "break" };
    size_t len, i;

    line += strspn(line, " ");
    len = strcspn(line, " ");
    for (i = 0; i < ARRAY_SIZE(names); i++) {
        if (len == strlen(names[i]) && !strncmp(line, names[i], len)) {
            return true;
        }
    }
    return len == 5 && !strncmp(line, "sleep", len) &&
           strlen(line + len) > strlen(" 9");
}

/* -T is for all that follows, the next inputs too, and "-T help" exits. */
static bool is_trace_option(const char *word)
{
    return word[0] == '-' && (g_str_has_prefix(word, "--t") ||
                              (word[1] != '-' && strchr(word, 'T')));
}

/* The words of @line as arguments. */
static GPtrArray *make_argv(const char *line)
{
    GPtrArray *argv = g_ptr_array_new_with_free_func(g_free);
    g_auto(GStrv) words = g_strsplit(line, " ", -1);
    int i;

    g_ptr_array_add(argv, g_strdup("qemu-io"));
    for (i = 0; words[i]; i++) {
        if (*words[i] && !is_trace_option(words[i])) {
            g_ptr_array_add(argv, g_strdup(words[i]));
        }
    }
    return argv;
}

static void run_line(const char *line)
{
    size_t before = fuzz_said();

    if (strlen(line) > MAX_LINE || is_left_out(line)) {
        return;
    }
    if (qemuio_command(io_blk, line) < 0) {
        fuzz_expect_words(before, line);
    }
}

/* False if it ends here. */
static bool run_arguments(ProgramArgs *p, GPtrArray *argv)
{
    size_t before = fuzz_said();
    int argc = argv->len;
    int status;

    g_ptr_array_add(argv, NULL);
    optind = 0;
    status = parse_options(p, argc, (char **)argv->pdata);
    if (status < 0 && optind < argc) {
        if (p->format) {
            p->open.opts = qopts_new();
            qopts_set_str(p->open.opts, "driver", p->format);
        }
        if (open_path(argv->pdata[optind], &p->open) < 0) {
            status = 1;
        }
    }
    if (status > 0) {
        fuzz_expect_words(before, "the program's options");
    }
    return status < 0;
}

static void run_lines_of(char **lines)
{
    ProgramArgs p = { .lines = g_ptr_array_new() };
    GPtrArray *argv = make_argv(lines[0]);
    guint i;

    open_args_init(&p.open);
    if (run_arguments(&p, argv)) {
        for (i = 0; i < p.lines->len && !io_quit; i++) {
            g_autofree char *line = g_strdup(p.lines->pdata[i]);

            run_line(line);
        }
        for (i = 1; lines[i] && i < MAX_LINES && !io_quit; i++) {
            run_line(lines[i]);
        }
    }
    close_file();
    g_ptr_array_free(p.lines, true);
    g_ptr_array_free(argv, true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = fuzz_string(data, size);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    if (!lines[0] || strlen(lines[0]) > MAX_LINE) {
        return 0;
    }
    fuzz_begin();
    put_files();
    run_lines_of(lines);
    io_quit = false;
    image_opts = false;
    qemuio_misalign = false;
    fuzz_end();
    return 0;
}
