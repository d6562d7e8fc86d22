/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-io: exercise the block layer from a command line or a terminal.
 *
 * The commands are in the other files of this folder; here are the program's
 * options, the open file, and where command lines come from.
 */
#include "qemu/osdep.h"
#include <getopt.h>
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/interrupt.h"
#include "qemu/option.h"
#include "qemu/trace.h"
#include "qemu/version.h"
#include "qom/objects.h"
#include "programs/programs.h"
#include "qemu-io.h"
#include "input.h"

static BlockBackend *io_blk;    /* the open file; NULL: none */
static bool close_failed;       /* data may be lost */
static bool command_failed;     /* since the file was opened */
static bool io_quit;
static bool image_opts;         /* --image-opts */

/* The values of -i. */
#ifdef CONFIG_LINUX_AIO
#define AIO_NATIVE ", native"
#else
#define AIO_NATIVE ""
#endif
#ifdef CONFIG_LINUX_IO_URING
#define AIO_IO_URING ", io_uring"
#else
#define AIO_IO_URING ""
#endif
#define AIO_MODES "threads" AIO_NATIVE AIO_IO_URING

/* How to open a file: from the program's options or those of "open". */
typedef struct OpenArgs {
    int flags;
    bool writethrough;
    bool readonly;
    bool force_share;
    bool snapshot;              /* writes go to a temporary overlay */
    QOpts *opts;                /* NULL: none */
} OpenArgs;

static void open_args_init(OpenArgs *a)
{
    *a = (OpenArgs) { .flags = BDRV_O_UNMAP, .writethrough = true };
}

static int unsupported(char letter, const char *what)
{
    error_report("-%c: this version has no %s", letter, what);
    return -EINVAL;
}

/* One option that main() and "open" share; -EINVAL with the user told. */
static int open_args_parse(OpenArgs *a, int c, const char *arg)
{
    switch (c) {
    case 's':
        a->snapshot = true;
        return 0;
    case 'C':
        return unsupported('C', "copy-on-read");
    case 'n':
        a->flags |= BDRV_O_NOCACHE;
        a->writethrough = false;
        return 0;
    case 'r':
        a->readonly = true;
        return 0;
    case 'U':
        a->force_share = true;
        return 0;
    case 'k':
        a->flags |= BDRV_O_NATIVE_AIO;
        return 0;
    case 't':
        if (bdrv_parse_cache_mode(arg, &a->flags, &a->writethrough) < 0) {
            error_report("Invalid cache option: %s", arg);
            return -EINVAL;
        }
        return 0;
    case 'd':
        if (bdrv_parse_discard_flags(arg, &a->flags) < 0) {
            error_report("Invalid discard option: %s", arg);
            return -EINVAL;
        }
        return 0;
    case 'i':
        if (bdrv_parse_aio(arg, &a->flags) < 0) {
            error_report("Invalid aio option: %s", arg);
            return -EINVAL;
        }
        return 0;
    }
    g_assert_not_reached();
}

/* -U, as an option of the node. */
static int set_force_share(QOpts **opts)
{
    Error *local_err = NULL;
    bool value;

    if (!*opts) {
        *opts = qopts_new();
    }
    if (!qopts_take_bool(*opts, "force-share", true, &value, &local_err)) {
        error_report_err(local_err);
        return -EINVAL;
    }
    if (!value) {
        error_report("-U conflicts with image options");
        return -EINVAL;
    }
    qopts_set_bool(*opts, "force-share", true);
    return 0;
}

/* The image for reading only, below an overlay.  Takes @opts. */
static BlockBackend *open_below_overlay(const char *name, QOpts *opts,
                                        int flags, Error **errp)
{
    BlockDriverState *bs = bdrv_open(name, NULL, opts, flags & ~BDRV_O_RDWR,
                                     errp);
    BlockBackend *blk;

    if (bs) {
        bs = program_open_overlay(bs, flags, NULL, errp);
    }
    if (!bs) {
        return NULL;
    }
    blk = blk_new_open(NULL, bdrv_get_node_name(bs), NULL, flags, errp);
    bdrv_unref(bs);
    return blk;
}

/* Takes a->opts.  @name may be NULL. */
static int open_file(const char *name, OpenArgs *a)
{
    Error *local_err = NULL;
    QOpts *opts = g_steal_pointer(&a->opts);
    int flags = a->flags | (a->readonly ? 0 : BDRV_O_RDWR);

    if (io_blk) {
        error_report("file open already, try 'help close'");
        qopts_unref(opts);
        return -EBUSY;
    }
    if (a->force_share && set_force_share(&opts) < 0) {
        qopts_unref(opts);
        return -EINVAL;
    }
    command_failed = false;
    /* Where nothing can be written an overlay would remain empty. */
    if (a->snapshot && !a->readonly) {
        io_blk = open_below_overlay(name, opts, flags, &local_err);
    } else {
        io_blk = blk_new_open(name, NULL, opts, flags, &local_err);
    }
    if (!io_blk) {
        error_reportf_err(local_err, "can't open%s%s: ",
                          name ? " device " : "", name ? name : "");
        return -EINVAL;
    }
    blk_set_enable_write_cache(io_blk, !a->writethrough);
    return 0;
}

/* A file name, or with --image-opts its options. */
static int open_path(const char *path, OpenArgs *a)
{
    Error *local_err = NULL;

    if (!image_opts) {
        return open_file(path, a);
    }
    qopts_unref(a->opts);
    a->opts = qopts_parse(path, NULL, &local_err);
    if (!a->opts) {
        error_report_err(local_err);
        return -EINVAL;
    }
    return open_file(NULL, a);
}

/*
 * Data that was written is on disk, or a message and the exit status say that
 * it may not be.  Any error of a flush means that: a full disk says ENOSPC.
 * The error of a command has said it already.
 */
static void close_file(void)
{
    int ret;

    if (io_blk) {
        qemuio_forget_breakpoints(io_blk);
        blk_drain(io_blk);
        ret = blk_flush(io_blk);
        if (ret < 0 && !command_failed) {
            error_report("flush failed: %s", strerror(-ret));
        }
        close_failed |= ret < 0;
        blk_unref(io_blk);
        io_blk = NULL;
    }
}

/* --- commands --- */

static int open_add_options(OpenArgs *a, const char *arg)
{
    Error *local_err = NULL;
    QOpts *more;

    if (image_opts) {
        printf("--image-opts and 'open -o' are mutually exclusive\n");
        return -EINVAL;
    }
    more = qopts_parse(arg, NULL, &local_err);
    if (!more) {
        error_report_err(local_err);
        return -EINVAL;
    }
    if (a->opts) {
        qopts_join(a->opts, more, true);
        qopts_unref(more);
    } else {
        a->opts = more;
    }
    return 0;
}

static int open_cmd(BlockBackend *blk, const QemuIOCommand *cmd,
                    int argc, char **argv)
{
    OpenArgs a;
    int c;
    int ret = 0;

    open_args_init(&a);
    while (ret == 0 && (c = getopt(argc, argv, "snCro:ki:t:d:U")) != -1) {
        if (c == '?') {
            ret = qemuio_usage(cmd);
        } else if (c == 'o') {
            ret = open_add_options(&a, optarg);
        } else {
            ret = open_args_parse(&a, c, optarg);
        }
    }
    if (ret == 0) {
        if (optind == argc - 1) {
            return open_path(argv[optind], &a);
        }
        if (optind == argc && a.opts) {
            return open_file(NULL, &a);
        }
        ret = qemuio_usage(cmd);
    }
    qopts_unref(a.opts);
    return ret;
}

static int close_cmd(BlockBackend *blk, const QemuIOCommand *cmd,
                     int argc, char **argv)
{
    close_file();
    return 0;
}

static int quit_cmd(BlockBackend *blk, const QemuIOCommand *cmd,
                    int argc, char **argv)
{
    io_quit = true;
    return 0;
}

static const QemuIOCommand program_cmds[] = {
    {
        .name = "open",
        .alias = "o",
        .run = open_cmd,
        .argmin = 1,
        .argmax = -1,
        .no_file = true,
        .args = "[-rsnkU] [-i aio] [-t cache] [-d discard] [-o options] "
                "[path]",
        .oneline = "open the file specified by path",
        .help =
"Opens a file for the commands that follow.\n"
"\n"
"Example:\n"
"  open -n -o driver=raw /tmp/data   raw, past the page cache\n"
"\n"
"  -r   read only\n"
"  -s   write to a temporary overlay, not to the file\n"
"  -n   past the page cache, short for -t none\n"
"  -U   share the file with whoever writes to it\n"
"  -k   short for -i native\n"
"  -i   how to do I/O: " AIO_MODES "\n"
"  -t   cache mode\n"
"  -d   discard mode\n"
"  -o   options of the block driver\n",
    },
    {
        .name = "close",
        .alias = "c",
        .run = close_cmd,
        .oneline = "close the current open file",
    },
    {
        .name = "quit",
        .alias = "q",
        .run = quit_cmd,
        .argmax = -1,
        .no_file = true,
        .oneline = "exit the program",
    },
    { }
};

/* --- where commands come from --- */

static int run_one(const char *line)
{
    if (qemuio_command(io_blk, line) < 0) {
        command_failed = true;
        return -EINVAL;
    }
    return 0;
}

static int run_lines(char **lines)
{
    int result = 0;
    int i;

    for (i = 0; lines[i] && !io_quit && !qemu_interrupted(); i++) {
        if (run_one(lines[i]) < 0) {
            result = -EINVAL;
        }
    }
    return result;
}

static int run_input(void)
{
    int result = 0;

    qemuio_input_init(error_get_progname());
    while (!io_quit && !qemu_interrupted()) {
        g_autofree char *line = qemuio_input_line();

        if (!line) {
            break;
        }
        if (run_one(line) < 0) {
            result = -EINVAL;
        }
    }
    qemuio_input_cleanup();
    return result;
}

/* --- the program --- */

enum {
    OPT_OBJECT = 256,
    OPT_IMAGE_OPTS,
};

static const char short_options[] = "hVc:d:f:rsnCmki:t:T:U";
static const struct option long_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, 'V' },
    { "cmd", required_argument, NULL, 'c' },
    { "format", required_argument, NULL, 'f' },
    { "read-only", no_argument, NULL, 'r' },
    { "snapshot", no_argument, NULL, 's' },
    { "nocache", no_argument, NULL, 'n' },
    { "copy-on-read", no_argument, NULL, 'C' },
    { "misalign", no_argument, NULL, 'm' },
    { "native-aio", no_argument, NULL, 'k' },
    { "aio", required_argument, NULL, 'i' },
    { "discard", required_argument, NULL, 'd' },
    { "cache", required_argument, NULL, 't' },
    { "trace", required_argument, NULL, 'T' },
    { "force-share", no_argument, NULL, 'U' },
    { "object", required_argument, NULL, OPT_OBJECT },
    { "image-opts", no_argument, NULL, OPT_IMAGE_OPTS },
    { NULL, 0, NULL, 0 },
};

static void usage(FILE *f)
{
    fprintf(f,
"Usage: %s [OPTIONS]... [-c STRING]... [file]\n"
"QEMU Disk exerciser\n"
"\n"
"  --image-opts         treat file as option string\n"
"  -c, --cmd STRING     execute command with its arguments\n"
"                       from the given string\n"
"  -f, --format FMT     specifies the block driver to use\n"
"  -r, --read-only      open read-only\n"
"  -s, --snapshot       use snapshot file\n"
"  -n, --nocache        disable host cache, short for -t none\n"
"  -m, --misalign       misalign allocations for O_DIRECT\n"
"  -k, --native-aio     use kernel AIO implementation\n"
"                       (Linux only, prefer use of -i)\n"
"  -i, --aio=MODE       use AIO mode (" AIO_MODES ")\n"
"  -t, --cache=MODE     use the given cache mode for the image\n"
"  -d, --discard=MODE   use the given discard mode for the image\n"
"  -T, --trace [[enable=]<pattern>][,events=<file>][,file=<file>]\n"
"                       specify tracing options\n"
"  -U, --force-share    force shared permissions\n"
"  -h, --help           display this help and exit\n"
"  -V, --version        output version information and exit\n"
"\n"
"See '%s -c help' for information on available commands.\n"
"\n"
QEMU_HELP_BOTTOM,
            error_get_progname(), error_get_progname());
}

typedef struct ProgramArgs {
    OpenArgs open;
    const char *format;
    GPtrArray *lines;           /* of -c */
} ProgramArgs;

/* Returns -1 to go on, else what to exit with. */
static int parse_option(ProgramArgs *p, int c)
{
    Error *local_err = NULL;

    switch (c) {
    case 'h':
        usage(stdout);
        return 0;
    case 'V':
        printf("%s version " QEMU_FULL_VERSION "\n" QEMU_COPYRIGHT "\n",
               error_get_progname());
        return 0;
    case 'c':
        g_ptr_array_add(p->lines, optarg);
        return -1;
    case 'f':
        p->format = optarg;
        return -1;
    case 'm':
        qemuio_misalign = true;
        return -1;
    case 'T':
        if (!trace_opt_parse(optarg, &local_err)) {
            error_report_err(local_err);
            return 1;
        }
        return -1;
    case OPT_OBJECT:
        if (!user_object_add_option(optarg, &local_err)) {
            error_report_err(local_err);
            return 1;
        }
        return -1;
    case OPT_IMAGE_OPTS:
        image_opts = true;
        return -1;
    case '?':
        usage(stdout);
        return 1;
    default:
        return open_args_parse(&p->open, c, optarg) < 0 ? 1 : -1;
    }
}

static int parse_options(ProgramArgs *p, int argc, char **argv)
{
    int c, status;

    while ((c = getopt_long(argc, argv, short_options, long_options,
                            NULL)) != -1) {
        status = parse_option(p, c);
        if (status >= 0) {
            return status;
        }
    }
    if (argc - optind > 1) {
        usage(stdout);
        return 1;
    }
    if (p->format && image_opts) {
        error_report("--image-opts and -f are mutually exclusive");
        return 1;
    }
    return -1;
}

static int open_and_run(ProgramArgs *p, const char *path)
{
    int ret;

    if (path) {
        if (p->format) {
            p->open.opts = qopts_new();
            qopts_set_str(p->open.opts, "driver", p->format);
        }
        if (open_path(path, &p->open) < 0) {
            return 1;
        }
    }
    if (p->lines->len > 0) {
        g_ptr_array_add(p->lines, NULL);
        ret = run_lines((char **)p->lines->pdata);
    } else {
        ret = run_input();
    }
    /* Requests under way end, and are reported, before the program ends. */
    close_file();
    return ret < 0 || close_failed ? 1 : 0;
}

static void add_commands(void)
{
    qemuio_add_commands(program_cmds);
    qemuio_add_commands(qemuio_help_cmds);
    qemuio_add_commands(qemuio_rw_cmds);
    qemuio_add_commands(qemuio_aio_cmds);
    qemuio_add_commands(qemuio_image_cmds);
    qemuio_add_commands(qemuio_misc_cmds);
}

static int run_program(ProgramArgs *p, int argc, char **argv)
{
    const char *path;
    int status;

    /* Objects of the options may need the main loop. */
    if (!program_init()) {
        return 1;
    }
    status = parse_options(p, argc, argv);
    if (status >= 0) {
        return status;
    }
    path = optind < argc ? argv[optind] : NULL;
    add_commands();

    qemu_interrupt_init();
    status = open_and_run(p, path);
    qemuio_free_commands();
    user_objects_cleanup(false);
    return program_end(status);
}

int main(int argc, char **argv)
{
    ProgramArgs p = { .lines = g_ptr_array_new() };
    int status;

    program_set_name(argv[0]);
    open_args_init(&p.open);
    status = run_program(&p, argc, argv);
    g_ptr_array_free(p.lines, true);
    return status;
}
