/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img: create, convert, inspect and check disk images.
 *
 * This file has the standard options and the table of subcommands; each
 * subcommand is a file of its own.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu-img.h"
#include "qemu/error-report.h"
#include "qemu/trace.h"
#include "qemu/version.h"
#include "programs/programs.h"
#include "qom/objects.h"

typedef struct img_cmd_t {
    const char *name;
    int (*handler)(int argc, char **argv);  /* NULL: not in this version */
    const char *usage;
    const char *help;                       /* NULL: that of all commands */
} img_cmd_t;

/* The command that runs; NULL before it is known. */
static const img_cmd_t *running_cmd;

static const img_cmd_t img_cmds[] = {
    { "amend", img_amend,
      "[--image-opts] [-p] [-q] [-f fmt] [-t cache] [--force] -o options "
      "filename", img_amend_help },
    { "bench", img_bench,
      "[-c count] [-d depth] [-f fmt] [--flush-interval=flush_interval] "
      "[-i aio] [-n] [--no-drain] [-o offset] [--pattern=pattern] [-q] "
      "[-s buffer_size] [-S step_size] [-t cache] [-w] [-U] [--random] "
      "[--seed=seed] [--output=ofmt] [--plot=svg_file] [--image-opts] "
      "filename", img_bench_help },
    { "bitmap", img_bitmap,
      "(--merge SOURCE | --add | --remove | --clear | --enable | "
      "--disable)... [-b source_file [-F source_fmt]] [-g granularity] "
      "[--image-opts | -f fmt] filename bitmap", img_bitmap_help },
    { "check", img_check,
      "[--image-opts] [-q] [-f fmt] [--output=ofmt] [-r [leaks | all]] "
      "[-T src_cache] [-U] filename", img_check_help },
    { "commit", img_commit,
      "[--image-opts] [-q] [-f fmt] [-t cache] [-b base] [-r rate_limit] "
      "[-d] [-p] filename", img_commit_help },
    { "compare", img_compare,
      "[--image-opts] [-f fmt] [-F fmt] [-T src_cache] [-p] [-q] [-s] [-U] "
      "filename1 filename2", img_compare_help },
    { "convert", img_convert,
      "[--image-opts] [--target-image-opts] [-U] [-C] [-c] [-p] [-q] [-n] "
      "[-f fmt] [-t cache] [-T src_cache] [-O output_fmt] "
      "[-B backing_file [-F backing_fmt]] [-o options] [-S sparse_size] "
      "[-r rate_limit] [-m num_coroutines] [-W] [--salvage] "
      "[--target-is-zero] filename [filename2 [...]] output_filename",
      img_convert_help },
    { "create", img_create,
      "[-q] [-f fmt] [-b backing_file [-F backing_fmt]] [-u] [-o options] "
      "filename [size]", img_create_help },
    { "dd", img_dd,
      "[--image-opts] [-U] [-f fmt] [-O output_fmt] [bs=block_size] "
      "[count=blocks] [skip=blocks] if=input of=output", img_dd_help },
    { "info", img_info,
      "[--image-opts] [-f fmt] [-t cache] [--output=ofmt] "
      "[--backing-chain] [--limits] [-U] filename", img_info_help },
    { "map", img_map,
      "[--image-opts] [-f fmt] [--start-offset=offset] "
      "[--max-length=len] [--output=ofmt] [-U] filename", img_map_help },
    { "measure", img_measure,
      "[--output=ofmt] [-O output_fmt] [-o options] [--size N | "
      "[--image-opts] [-f fmt] [-U] filename]", img_measure_help },
    { "rebase", img_rebase,
      "[--image-opts] [-U] [-q] [-f fmt] [-t cache] [-T src_cache] [-p] "
      "[-u] -b backing_file [-F backing_fmt] filename", img_rebase_help },
    { "resize", img_resize,
      "[--image-opts] [-f fmt] [--preallocation=prealloc] [-q] [--shrink] "
      "filename [+ | -]size", img_resize_help },
    { "snapshot", img_snapshot,
      "[--image-opts] [-U] [-q] [-l | -a snapshot | -c snapshot | "
      "-d snapshot] filename", img_snapshot_help },
};

static const char version_text[] =
    "qemu-img version " QEMU_FULL_VERSION "\n"
    QEMU_COPYRIGHT "\n";

static const char help_head[] =
    "usage: qemu-img [standard options] command [command options]\n"
    "QEMU disk image utility\n"
    "\n"
    "    '-h', '--help'       display this help and exit\n"
    "    '-V', '--version'    output version information and exit\n"
    "    '-T', '--trace'      [[enable=]<pattern>][,events=<file>]"
    "[,file=<file>]\n"
    "                         specify tracing options\n"
    "\n"
    "Command syntax:\n";

static const char help_parameters[] =
    "\n"
    "Command parameters:\n"
    "  'filename' is a disk image; with --image-opts its options\n"
    "    (driver=vmdk,file.filename=x.vmdk)\n"
    "  'fmt' is the disk image format; without it the content tells\n"
    "  'cache' is the cache mode: 'none', 'writeback' (default),\n"
    "    'writethrough', 'directsync' or 'unsafe'; 'src_cache' likewise, for\n"
    "    images that are read\n"
    "  'aio' is the engine: 'threads' (default), 'native' or 'io_uring'; -n\n"
    "    stands for 'native'\n"
    "  'size' is in bytes; suffixes k, M, G, T, P and E multiply by powers\n"
    "    of 1024\n"
    "  'options' are name=value[,name=value...]; -o help lists those of a\n"
    "    format\n"
    "  'ofmt' is 'human' (default) or 'json'\n"
    "  '-b', '-F' name a backing file and its format; with '-u' it need not\n"
    "    be there yet\n"
    "  '-r leaks' repairs leaked clusters, '-r all' everything that it can\n"
    "  '-q' prints nothing but errors\n"
    "  '--object' TYPE,id=ID,... of each command makes an object, as a secret\n"
    "    or credentials for TLS\n"
    "  '-U' opens an image that others may be writing to (force-share)\n"
    "  '-w' of bench writes instead of reading; '--flush-interval' flushes\n"
    "    after so many requests, having waited for them unless\n"
    "    '--no-drain'; '-d' is how many requests are in flight\n"
    "\n"
    "Supported formats:";

static void help_format(void *opaque, const char *name)
{
    printf(" %s", name);
}

void help(void)
{
    size_t i;

    if (running_cmd && running_cmd->help) {
        printf("%s", running_cmd->help);
        exit(EXIT_SUCCESS);
    }
    printf("%s%s", version_text, help_head);
    for (i = 0; i < ARRAY_SIZE(img_cmds); i++) {
        if (img_cmds[i].handler) {
            printf("  %s %s\n", img_cmds[i].name, img_cmds[i].usage);
        }
    }
    printf("%s", help_parameters);
    bdrv_iterate_format(help_format, NULL, false);
    printf("\n\n" QEMU_HELP_BOTTOM);
    exit(EXIT_SUCCESS);
}

/* The standard options; leaves optind at the command. */
static void parse_standard_options(int argc, char **argv)
{
    static const struct option options[] = {
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { "trace", required_argument, NULL, 'T' },
        { NULL }
    };
    Error *local_err = NULL;
    int c;

    while ((c = img_getopt(argc, argv, "+:hVT:", options)) != -1) {
        if (c == 'V') {
            printf("%s", version_text);
            exit(EXIT_SUCCESS);
        }
        if (c == 'T' && !trace_opt_parse(optarg, &local_err)) {
            error_report_err(local_err);
            exit(EXIT_FAILURE);
        }
    }
}

static const img_cmd_t *find_command(const char *name)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(img_cmds); i++) {
        if (!strcmp(name, img_cmds[i].name)) {
            return &img_cmds[i];
        }
    }
    return NULL;
}

static int run_command(int argc, char **argv)
{
    const img_cmd_t *cmd = find_command(argv[0]);
    Error *err = NULL;
    int status;

    if (!cmd) {
        img_error_exit("Command not found: %s", argv[0]);
    }
    if (!cmd->handler) {
        error_report("%s: this version does not have this command",
                     argv[0]);
        return EXIT_FAILURE;
    }
    /* GNU getopt: begin anew, with another option string. */
    optind = 0;
    running_cmd = cmd;
    /* All commands have the option --object. */
    if (!user_objects_take_options(&argc, argv, &err)) {
        error_report_err(err);
        return EXIT_FAILURE;
    }
    status = cmd->handler(argc, argv);
    user_objects_cleanup(false);
    return status;
}

int main(int argc, char **argv)
{
    program_set_name(argv[0]);
    if (!program_init()) {
        return EXIT_FAILURE;
    }
    parse_standard_options(argc, argv);
    if (optind >= argc) {
        img_error_exit("Not enough arguments");
    }
    return program_end(run_command(argc - optind, argv + optind));
}
