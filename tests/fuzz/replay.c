/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * In place of libFuzzer: run each file that is given, and those of each
 * folder, once.  Says which one is running, so that the last line names the
 * one that ended it.
 */
#include "qemu/osdep.h"
#include "fuzz.h"

/* An input that takes longer hangs, also with sanitizers. */
#define SECONDS_EACH 60

static int own_stdout;

static int run_file(const char *path)
{
    g_autofree char *data = NULL;
    g_autoptr(GError) err = NULL;
    gsize size;

    if (!g_file_get_contents(path, &data, &size, &err)) {
        dprintf(own_stdout, "%s\n", err->message);
        return -1;
    }
    dprintf(own_stdout, "%s\n", path);
    alarm(SECONDS_EACH);
    LLVMFuzzerTestOneInput((const uint8_t *)data, size);
    alarm(0);
    return 1;
}

/* The files of @path, or itself: how many were run, -1 after an error. */
static int run_path(const char *path)
{
    GDir *dir = g_dir_open(path, 0, NULL);
    const char *name;
    int count = 0;

    if (!dir) {
        return run_file(path);
    }
    while ((name = g_dir_read_name(dir)) && count >= 0) {
        g_autofree char *file = g_build_filename(path, name, NULL);

        count = run_file(file) < 0 ? -1 : count + 1;
    }
    g_dir_close(dir);
    return count;
}

int main(int argc, char **argv)
{
    int count = argc;
    char **args = argv;
    int total = 0;
    int i, n;

    own_stdout = dup(STDOUT_FILENO);
    LLVMFuzzerInitialize(&count, &args);
    for (i = 1; i < argc; i++) {
        n = run_path(argv[i]);
        if (n < 0) {
            return 1;
        }
        total += n;
    }
    dprintf(own_stdout, "%d inputs\n", total);
    if (!total) {
        dprintf(own_stdout, "Usage: %s FILE-OR-FOLDER...\n", argv[0]);
    }
    return total ? 0 : 1;
}
