/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-storage-daemon: block devices of images, driven over QMP.
 *
 * Options are carried out in the order in which they are given.  Then the
 * main loop runs until "quit" or a signal; the end closes in the reverse
 * order: jobs, nodes, monitors, character devices.
 */
#include "qemu/osdep.h"
#include <getopt.h>
#include <sys/prctl.h>
#include "block/block.h"
#include "block/export.h"
#include "block/monitor/nodes.h"
#include "block/nbd.h"
#include "chardev/char.h"
#include "daemon.h"
#include "monitor/monitor.h"
#include "programs/programs.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-block-core.h"
#include "qapi/qapi-commands-control.h"
#include "qapi/qapi-commands-qom.h"
#include "qapi/qapi-types-control.h"
#include "qemu/error-report.h"
#include "qemu/interrupt.h"
#include "qemu/job.h"
#include "qemu/main-loop.h"
#include "qemu/option.h"
#include "qemu/trace.h"
#include "qemu/version.h"
#include "qom/objects.h"

enum {
    OPTION_BLOCKDEV = 256,
    OPTION_CHARDEV,
    OPTION_DAEMONIZE,
    OPTION_EXPORT,
    OPTION_MONITOR,
    OPTION_NAME,
    OPTION_NBD_SERVER,
    OPTION_OBJECT,
    OPTION_PIDFILE,
};

static const struct option long_options[] = {
    { "blockdev", required_argument, NULL, OPTION_BLOCKDEV },
    { "chardev", required_argument, NULL, OPTION_CHARDEV },
    { "daemonize", no_argument, NULL, OPTION_DAEMONIZE },
    { "export", required_argument, NULL, OPTION_EXPORT },
    { "help", no_argument, NULL, 'h' },
    { "monitor", required_argument, NULL, OPTION_MONITOR },
    { "name", required_argument, NULL, OPTION_NAME },
    { "nbd-server", required_argument, NULL, OPTION_NBD_SERVER },
    { "object", required_argument, NULL, OPTION_OBJECT },
    { "pidfile", required_argument, NULL, OPTION_PIDFILE },
    { "trace", required_argument, NULL, 'T' },
    { "version", no_argument, NULL, 'V' },
    { NULL, 0, NULL, 0 }
};

static const char help_text[] =
"Usage: qemu-storage-daemon [options]\n"
"\n"
"Opens images as block devices, and works on them as QMP commands say.\n"
"\n"
"  -h, --help             display this help and exit\n"
"  -T, --trace [[enable=]<pattern>][,events=<file>][,file=<file>]\n"
"                         turn trace events on\n"
"  -V, --version          output version information and exit\n"
"\n"
"  --blockdev [driver=]<driver>[,node-name=<N>][,discard=ignore|unmap]\n"
"             [,cache.direct=on|off][,cache.no-flush=on|off]\n"
"             [,read-only=on|off][,auto-read-only=on|off]\n"
"             [,force-share=on|off][,detect-zeroes=on|off|unmap]\n"
"             [,driver specific parameters...]\n"
"                         open a node; also as JSON\n"
"\n"
"  --chardev <kind>,id=<id>[,...]\n"
"                         make a character device; \"help\" lists the kinds\n"
"\n"
"  --daemonize            go to the background once startup is complete\n"
"\n"
"  --export [type=]nbd,id=<id>,node-name=<node-name>[,name=<export-name>]\n"
"           [,writable=on|off][,writethrough=on|off][,description=<text>]\n"
"           [,bitmaps.0=<name>,...][,allocation-depth=on|off]\n"
"           [,iothread=<id>|,iothread.0=<id>,...]\n"
"                         export a node over NBD\n"
"  --export [type=]vhost-user-blk,id=<id>,node-name=<node-name>\n"
"           ,addr.type=unix,addr.path=<path>|,addr.type=fd,addr.str=<fd>\n"
"           [,writable=on|off][,writethrough=on|off]\n"
"           [,logical-block-size=<bytes>][,num-queues=<n>]\n"
"           [,iothread=<id>|,iothread.0=<id>,...]\n"
"                         export a node as a disk of a virtual machine\n"
#ifdef CONFIG_FUSE
"  --export [type=]fuse,id=<id>,node-name=<node-name>,mountpoint=<file>\n"
"           [,growable=on|off][,writable=on|off][,allow-other=on|off|auto]\n"
"           [,iothread=<id>|,iothread.0=<id>,...]\n"
"                         export a node as a file\n"
#endif
"\n"
"  --monitor [chardev=]<id>[,mode=control][,pretty[=on|off]]\n"
"                         talk QMP through a character device\n"
"\n"
"  --name <name>          the name of the process\n"
"\n"
"  --nbd-server addr.type=unix,addr.path=<path>[,max-connections=<n>]\n"
"               [,handshake-max-seconds=<n>]\n"
"  --nbd-server addr.type=inet,addr.host=<host>,addr.port=<port>[,...]\n"
"                         listen for NBD clients\n"
"\n"
"  --object <type>,id=<id>[,...]\n"
"                         make an object; \"help\" lists the types\n"
"\n"
"  --pidfile <path>       write the process id to a file after startup\n"
"\n"
"Options are carried out in the order given.\n"
"\n"
QEMU_HELP_BOTTOM;

static bool quit_requested;
static bool wants_daemon;
static const char *pidfile_option;

void qmp_quit(Error **errp)
{
    quit_requested = true;
}

static bool add_monitor(const char *arg, Error **errp)
{
    MonitorOptions *opts;
    bool ok;

    if (!qapi_parse_option(&qapi_type_MonitorOptions, arg, "chardev", &opts,
                           errp)) {
        return false;
    }
    ok = monitor_new(opts, errp);
    qapi_free_MonitorOptions(opts);
    return ok;
}

static bool add_blockdev(const char *arg, Error **errp)
{
    BlockdevOptions *opts;
    Error *local_err = NULL;

    if (!qapi_parse_option(&qapi_type_BlockdevOptions, arg, "driver", &opts,
                           errp)) {
        return false;
    }
    qmp_blockdev_add(opts, &local_err);
    qapi_free_BlockdevOptions(opts);
    error_propagate(errp, local_err);
    return !local_err;
}

static bool set_name(const char *arg, Error **errp)
{
    if (prctl(PR_SET_NAME, arg, 0, 0, 0) < 0) {
        error_setg_errno(errp, errno, "Could not set the name");
        return false;
    }
    return true;
}

static bool add_export(const char *arg, Error **errp)
{
    BlockExportOptions *opts;
    bool ok;

    if (!qapi_parse_option(&qapi_type_BlockExportOptions, arg, "type", &opts,
                           errp)) {
        return false;
    }
    ok = blk_exp_add(opts, errp);
    qapi_free_BlockExportOptions(opts);
    return ok;
}

static bool start_nbd_server(const char *arg, Error **errp)
{
    NbdServerOptions *opts;
    bool ok;

    if (!qapi_parse_option(&qapi_type_NbdServerOptions, arg, NULL, &opts,
                           errp)) {
        return false;
    }
    ok = nbd_server_start(opts->addr, opts->has_max_connections ?
                          opts->max_connections : 100,
                          opts->has_handshake_max_seconds ?
                          opts->handshake_max_seconds : 10,
                          NBD_TLS_OPTIONS(opts), errp);
    qapi_free_NbdServerOptions(opts);
    return ok;
}

/* One option of the second pass. */
static bool carry_out(int c, const char *arg, Error **errp)
{
    switch (c) {
    case OPTION_BLOCKDEV:
        return add_blockdev(arg, errp);
    case OPTION_CHARDEV:
        return qemu_chr_new_from_opts(arg, errp);
    case OPTION_EXPORT:
        return add_export(arg, errp);
    case OPTION_MONITOR:
        return add_monitor(arg, errp);
    case OPTION_NAME:
        return set_name(arg, errp);
    case OPTION_NBD_SERVER:
        return start_nbd_server(arg, errp);
    case OPTION_OBJECT:
        return user_object_add_option(arg, errp);
    case 'T':
        return trace_opt_parse(arg, errp);
    default:
        return true;    /* of the first pass */
    }
}

static void G_GNUC_NORETURN bad_usage(void)
{
    error_printf("Try '%s --help' for more information.\n",
                 error_get_progname());
    exit(EXIT_FAILURE);
}

/* What must be known before anything is done. */
static void first_pass(int argc, char *argv[])
{
    int c;

    while ((c = getopt_long(argc, argv, "-hT:V", long_options,
                            NULL)) != -1) {
        switch (c) {
        case '?':
            bad_usage();
        case 1:
            error_report("%s: Unexpected argument", optarg);
            bad_usage();
        case 'h':
            printf("%s", help_text);
            exit(EXIT_SUCCESS);
        case 'V':
            printf("qemu-storage-daemon version " QEMU_FULL_VERSION "\n"
                   QEMU_COPYRIGHT "\n");
            exit(EXIT_SUCCESS);
        case OPTION_DAEMONIZE:
            wants_daemon = true;
            break;
        case OPTION_PIDFILE:
            pidfile_option = optarg;
            break;
        }
    }
}

static const char *option_name(int c)
{
    size_t i;

    for (i = 0; long_options[i].name; i++) {
        if (long_options[i].val == c) {
            return long_options[i].name;
        }
    }
    return "";
}

static bool second_pass(int argc, char *argv[])
{
    Error *err = NULL;
    int c;

    optind = 0;
    while ((c = getopt_long(argc, argv, "-hT:V", long_options,
                            NULL)) != -1) {
        if (!carry_out(c, optarg, &err)) {
            error_reportf_err(err, "--%s %s: ", option_name(c), optarg);
            return false;
        }
    }
    return true;
}

static bool start(int argc, char *argv[])
{
    Error *err = NULL;

    monitor_init_globals();
    if (!second_pass(argc, argv)) {
        return false;
    }
    if (pidfile_option && !pidfile_create(pidfile_option, &err)) {
        error_reportf_err(err, "cannot create PID file: ");
        return false;
    }
    daemon_ready();
    return true;
}

static void stop(void)
{
    daemon_stopping();
    nbd_server_stop();
    blk_exp_close_all();
    job_cancel_sync_all();
    user_objects_cleanup(true);
    bdrv_drain_all();
    blockdev_close_all();
    user_objects_cleanup(false);
    monitor_cleanup();
    qemu_chr_cleanup();
    pidfile_remove();
}

int main(int argc, char *argv[])
{
    Error *err = NULL;
    bool ok;

    program_set_name(argv[0]);
    first_pass(argc, argv);
    if (wants_daemon) {
        if (!daemonize(&err)) {
            error_report_err(err);
            return EXIT_FAILURE;
        }
        qemu_chr_forbid_stdio();
    }
    if (!program_init()) {
        return EXIT_FAILURE;
    }
    qemu_interrupt_init();
    ok = start(argc, argv);
    if (ok) {
        /* Commands may have come while images were opened. */
        bool more = true;

        while (!quit_requested && !qemu_interrupted()) {
            main_loop_wait(more);
            more = monitor_dispatch();
        }
    }
    stop();
    qemu_cleanup_main_loop();
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
