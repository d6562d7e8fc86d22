/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-io: finding and running commands.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu-io.h"

static GPtrArray *commands;     /* of const QemuIOCommand, sorted by name */

static int compare_commands(const void *a, const void *b)
{
    const QemuIOCommand *const *ca = a;
    const QemuIOCommand *const *cb = b;

    return strcmp((*ca)->name, (*cb)->name);
}

void qemuio_add_commands(const QemuIOCommand *table)
{
    const QemuIOCommand *cmd;

    if (!commands) {
        commands = g_ptr_array_new();
    }
    for (cmd = table; cmd->name; cmd++) {
        g_ptr_array_add(commands, (void *)cmd);
    }
    g_ptr_array_sort(commands, compare_commands);
}

void qemuio_free_commands(void)
{
    if (commands) {
        g_ptr_array_free(commands, true);
        commands = NULL;
    }
}

const char *qemuio_command_name(unsigned n)
{
    const QemuIOCommand *cmd;

    if (!commands || n >= commands->len) {
        return NULL;
    }
    cmd = g_ptr_array_index(commands, n);
    return cmd->name;
}

static const QemuIOCommand *find_command(const char *name)
{
    guint i;

    for (i = 0; commands && i < commands->len; i++) {
        const QemuIOCommand *cmd = g_ptr_array_index(commands, i);

        if (!strcmp(name, cmd->name) ||
            (cmd->alias && !strcmp(name, cmd->alias))) {
            return cmd;
        }
    }
    return NULL;
}

static void print_oneline(const QemuIOCommand *cmd)
{
    printf("%s ", cmd->name);
    if (cmd->args) {
        printf("%s ", cmd->args);
    }
    printf("-- %s\n", cmd->oneline);
}

int qemuio_usage(const QemuIOCommand *cmd)
{
    print_oneline(cmd);
    return -EINVAL;
}

static bool check_arg_count(const QemuIOCommand *cmd, int argc)
{
    int n = argc - 1;

    if (n >= cmd->argmin && (cmd->argmax < 0 || n <= cmd->argmax)) {
        return true;
    }
    if (cmd->argmax < 0) {
        fprintf(stderr, "bad argument count %d to %s, "
                "expected at least %d arguments\n",
                n, cmd->name, cmd->argmin);
    } else if (cmd->argmin == cmd->argmax) {
        fprintf(stderr, "bad argument count %d to %s, "
                "expected %d arguments\n",
                n, cmd->name, cmd->argmin);
    } else {
        fprintf(stderr, "bad argument count %d to %s, "
                "expected between %d and %d arguments\n",
                n, cmd->name, cmd->argmin, cmd->argmax);
    }
    return false;
}

/*
 * A file may be opened for reading only, and a command may still want to
 * write once it has been reopened: so permissions are asked for when needed.
 */
static int acquire_perm(BlockBackend *blk, uint64_t perm)
{
    Error *local_err = NULL;
    uint64_t have, shared;
    int ret;

    if (!perm || !blk || !blk_is_available(blk)) {
        return 0;
    }
    blk_get_perm(blk, &have, &shared);
    if ((have & perm) == perm) {
        return 0;
    }
    ret = blk_set_perm(blk, have | perm, shared, &local_err);
    if (ret < 0) {
        error_report_err(local_err);
    }
    return ret;
}

static int run_command(BlockBackend *blk, int argc, char **argv)
{
    const QemuIOCommand *cmd = find_command(argv[0]);
    int ret;

    if (!cmd) {
        fprintf(stderr, "command \"%s\" not found\n", argv[0]);
        return -EINVAL;
    }
    if (!cmd->no_file && !blk) {
        fprintf(stderr, "no file open, try 'help open'\n");
        return -EINVAL;
    }
    if (!check_arg_count(cmd, argc)) {
        return -EINVAL;
    }
    ret = acquire_perm(blk, cmd->perm);
    if (ret < 0) {
        return ret;
    }
    optind = 0;                 /* the GNU way of starting anew */
    return cmd->run(blk, cmd, argc, argv);
}

/* The words of @line, without the empty ones; to be freed. */
static char **split_line(const char *line, int *argc)
{
    g_auto(GStrv) all = g_strsplit(line, " ", -1);
    char **argv = g_new0(char *, g_strv_length(all) + 1);
    int i, n = 0;

    for (i = 0; all[i]; i++) {
        if (all[i][0]) {
            argv[n++] = g_strdup(all[i]);
        }
    }
    *argc = n;
    return argv;
}

/* getopt(3) changes the order of what it is given. */
static void free_words(char **argv, int argc)
{
    int i;

    for (i = 0; i < argc; i++) {
        g_free(argv[i]);
    }
    g_free(argv);
}

int qemuio_command(BlockBackend *blk, const char *line)
{
    char **argv;
    int argc;
    int ret = 0;

    argv = split_line(line, &argc);
    if (argc > 0) {
        ret = run_command(blk, argc, argv);
    }
    free_words(argv, argc);
    return ret;
}

static int help_cmd(BlockBackend *blk, const QemuIOCommand *cmd,
                    int argc, char **argv)
{
    const QemuIOCommand *ct;
    guint i;

    if (argc == 1) {
        for (i = 0; i < commands->len; i++) {
            print_oneline(g_ptr_array_index(commands, i));
        }
        printf("\nUse 'help commandname' for extended help.\n");
        return 0;
    }
    ct = find_command(argv[1]);
    if (!ct) {
        printf("command %s not found\n", argv[1]);
        return -EINVAL;
    }
    print_oneline(ct);
    if (ct->help) {
        printf("\n%s\n", ct->help);
    }
    return 0;
}

const QemuIOCommand qemuio_help_cmds[] = {
    {
        .name = "help",
        .alias = "?",
        .run = help_cmd,
        .argmax = 1,
        .no_file = true,
        .args = "[command]",
        .oneline = "help for one or all commands",
    },
    { }
};
