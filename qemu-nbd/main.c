/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-nbd: export one image over NBD.
 *
 * A front end to the exports that qemu-storage-daemon has, with the options
 * that scripts know.  This file has the options and the main loop.
 */
#include "qemu/osdep.h"
#include <getopt.h>
#include "block/block.h"
#include "block/nbd.h"
#include "programs/programs.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-control.h"
#include "qemu-nbd.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/interrupt.h"
#include "qemu/main-loop.h"
#include "qemu/option.h"
#include "qemu/sockets.h"
#include "qemu/trace.h"
#include "qemu/version.h"
#include "qom/objects.h"
#include "storage-daemon/daemon.h"

#define NBD_PROGRAM_PORT "10809"
#define SOCKET_OF_DEVICE "/var/lock/qemu-nbd-%s"
#define SD_LISTEN_FDS_START 3

enum {
    OPTION_AIO = 256,
    OPTION_CACHE,
    OPTION_DETECT_ZEROES,
    OPTION_DISCARD,
    OPTION_FORK,
    OPTION_HANDSHAKE_LIMIT,
    OPTION_IMAGE_OPTS,
    OPTION_OBJECT,
    OPTION_PIDFILE,
    OPTION_SELINUX_LABEL,
    OPTION_TLS_AUTHZ,
    OPTION_TLS_CREDS,
    OPTION_TLS_HOSTNAME,
};

static const char short_options[] = "hVvp:b:k:e:tx:D:o:AB:LT:c:df:rsl:n";

static const struct option long_options[] = {
    { "aio", required_argument, NULL, OPTION_AIO },
    { "allocation-depth", no_argument, NULL, 'A' },
    { "bind", required_argument, NULL, 'b' },
    { "bitmap", required_argument, NULL, 'B' },
    { "cache", required_argument, NULL, OPTION_CACHE },
    { "connect", required_argument, NULL, 'c' },
    { "description", required_argument, NULL, 'D' },
    { "detect-zeroes", required_argument, NULL, OPTION_DETECT_ZEROES },
    { "discard", required_argument, NULL, OPTION_DISCARD },
    { "disconnect", no_argument, NULL, 'd' },
    { "export-name", required_argument, NULL, 'x' },
    { "fork", no_argument, NULL, OPTION_FORK },
    { "format", required_argument, NULL, 'f' },
    { "handshake-limit", required_argument, NULL, OPTION_HANDSHAKE_LIMIT },
    { "help", no_argument, NULL, 'h' },
    { "image-opts", no_argument, NULL, OPTION_IMAGE_OPTS },
    { "list", no_argument, NULL, 'L' },
    { "load-snapshot", required_argument, NULL, 'l' },
    { "nocache", no_argument, NULL, 'n' },
    { "object", required_argument, NULL, OPTION_OBJECT },
    { "offset", required_argument, NULL, 'o' },
    { "persistent", no_argument, NULL, 't' },
    { "pid-file", required_argument, NULL, OPTION_PIDFILE },
    { "port", required_argument, NULL, 'p' },
    { "read-only", no_argument, NULL, 'r' },
    { "selinux-label", required_argument, NULL, OPTION_SELINUX_LABEL },
    { "shared", required_argument, NULL, 'e' },
    { "snapshot", no_argument, NULL, 's' },
    { "socket", required_argument, NULL, 'k' },
    { "tls-authz", required_argument, NULL, OPTION_TLS_AUTHZ },
    { "tls-creds", required_argument, NULL, OPTION_TLS_CREDS },
    { "tls-hostname", required_argument, NULL, OPTION_TLS_HOSTNAME },
    { "trace", required_argument, NULL, 'T' },
    { "verbose", no_argument, NULL, 'v' },
    { "version", no_argument, NULL, 'V' },
    { NULL, 0, NULL, 0 }
};

static const char help_text[] =
"Usage: qemu-nbd [OPTIONS] FILE\n"
"  or:  qemu-nbd -L [OPTIONS]\n"
"\n"
"Exports a disk image over NBD.\n"
"\n"
"  -h, --help                display this help and exit\n"
"  -V, --version             output version information and exit\n"
"\n"
"Connection:\n"
"  -p, --port=PORT           the port to listen on (default '10809')\n"
"  -b, --bind=ADDRESS        the address to listen on (default '0.0.0.0')\n"
"  -k, --socket=PATH         listen on a UNIX socket instead (with -c:\n"
"                            default '/var/lock/qemu-nbd-DEVICE')\n"
"  -e, --shared=NUM          serve NUM clients at once; 0: any number\n"
"                            (default '1')\n"
"  -t, --persistent          go on after the last client has gone\n"
"  -v, --verbose             say where the server listens\n"
"  -x, --export-name=NAME    the name of the export (default: empty)\n"
"  -D, --description=TEXT    a description of the export\n"
"      --handshake-limit=N   seconds that a client has to negotiate; 0: any\n"
"                            number (default '10')\n"
"\n"
"What is exported:\n"
"  -o, --offset=OFFSET       begin at this byte of the image\n"
"  -A, --allocation-depth    offer the context qemu:allocation-depth\n"
"  -B, --bitmap=NAME         offer the context qemu:dirty-bitmap:NAME\n"
"\n"
"General:\n"
"  -L, --list                list the exports of another server\n"
"      --object TYPE,id=ID,...\n"
"                            make an object\n"
"      --tls-creds=ID        use the TLS credentials of an --object\n"
"      --tls-authz=ID        let in whom this --object allows\n"
"      --tls-hostname=NAME   with -L: the host that the certificate is for\n"
"  -T, --trace [[enable=]<pattern>][,events=<file>][,file=<file>]\n"
"                            turn trace events on\n"
"      --fork                go to the background once the server listens\n"
"      --pid-file=PATH       write the process id to a file\n"
"\n"
"The kernel's NBD client:\n"
"  -c, --connect=DEV         make the image the disk DEV of this machine,\n"
"                            until -d DEV; in the background without -v\n"
"  -d, --disconnect          disconnect the device FILE\n"
"\n"
"The image:\n"
"  -f, --format=FORMAT       its format (raw, vmdk)\n"
"  -r, --read-only           export it read-only\n"
"  -n, --nocache             the same as --cache=none\n"
"      --cache=MODE          'none', 'writeback' (default), 'writethrough',\n"
"                            'directsync' or 'unsafe'\n"
"      --aio=MODE            'threads' (default), 'native' or 'io_uring'\n"
"      --discard=MODE        'ignore' (default) or 'unmap'\n"
"      --detect-zeroes=MODE  'off' (default), 'on' or 'unmap'\n"
"      --image-opts          FILE is a list of options\n"
"  -s, --snapshot            write to a temporary overlay in $TMPDIR, not to\n"
"                            the image\n"
"\n"
QEMU_HELP_BOTTOM;

/* What the options say; first what they say of this program. */
static struct {
    const char *bind;
    const char *port;
    const char *socket;
    const char *device;         /* of -c */
    const char *pidfile;
    const char *tls_hostname;   /* for --list */
    bool activated;             /* systemd has made the socket */
    bool aio_given;
    bool cache_given;
    bool discard_given;
    bool disconnect;
    bool fork;
    bool list;
    bool verbose;
    NbdArgs nbd;
} args = {
    .nbd = {
        .flags = BDRV_O_RDWR, .export_name = "", .shared = 1,
        .handshake_limit = 10,
    },
};

void qmp_quit(Error **errp)
{
    error_setg(errp, "qemu-nbd has no monitor");
}

static void G_GNUC_NORETURN die_with(Error *err)
{
    error_report_err(err);
    exit(EXIT_FAILURE);
}

static void G_GNUC_NORETURN die_usage(void)
{
    error_printf("Try `qemu-nbd --help' for more information.\n");
    exit(EXIT_FAILURE);
}

static void G_GNUC_NORETURN G_GNUC_PRINTF(1, 2) die_report(const char *fmt,
                                                           ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_vreport(fmt, ap);
    va_end(ap);
    exit(EXIT_FAILURE);
}

static void only_once(bool *given, const char *option)
{
    if (*given) {
        die_report("%s can only be specified once", option);
    }
    *given = true;
}

static void set_cache(const char *mode)
{
    only_once(&args.cache_given, "-n and --cache");
    if (bdrv_parse_cache_mode(mode, &args.nbd.flags,
                              &args.nbd.writethrough) < 0) {
        die_report("Invalid cache mode `%s'", mode);
    }
}

static uint32_t parse_count(const char *text, const char *what)
{
    unsigned long value;

    if (*text == '-' || qemu_strtoul(text, NULL, 0, &value) < 0 ||
        value > INT_MAX) {
        die_report("Invalid %s '%s'", what, text);
    }
    return value;
}

static void set_detect_zeroes(const char *mode)
{
    Error *err = NULL;

    if (qapi_enum_parse(&BlockdevDetectZeroesOptions_lookup, mode, -1,
                        &err) < 0) {
        error_prepend(&err, "Failed to parse detect_zeroes mode: ");
        die_with(err);
    }
    args.nbd.detect_zeroes = mode;
}

static void add_bitmap(const char *name)
{
    strList **tail = &args.nbd.bitmaps;
    char *copy = g_strdup(name);

    while (*tail) {
        tail = &(*tail)->next;
    }
    QAPI_LIST_APPEND(tail, copy);
}

/* A name, or snapshot.name=NAME or snapshot.id=ID. */
static void set_snapshot(const char *text)
{
    if (g_str_has_prefix(text, "snapshot.")) {
        Error *err = NULL;
        QOpts *options = qopts_parse(text, NULL, &err);

        if (options) {
            qopts_del(options, "snapshot.id");
            qopts_del(options, "snapshot.name");
            qopts_check_empty(options, &err);
            qopts_unref(options);
        }
        if (err) {
            error_report_err(err);
            die_report("Failed in parsing snapshot param `%s'", text);
        }
    }
    args.nbd.snapshot = true;
}

/* Options of the image, and of what of it is exported. */
static bool image_option(int c, const char *arg)
{
    NbdArgs *nbd = &args.nbd;

    switch (c) {
    case 'f':
        nbd->format = arg;
        return true;
    case 'r':
        nbd->flags &= ~BDRV_O_RDWR;
        return true;
    case 'n':
        set_cache("none");
        return true;
    case OPTION_CACHE:
        set_cache(arg);
        return true;
    case OPTION_AIO:
        only_once(&args.aio_given, "--aio");
        if (bdrv_parse_aio(arg, &nbd->flags) < 0) {
            die_report("Invalid aio mode '%s'", arg);
        }
        return true;
    case OPTION_DISCARD:
        only_once(&args.discard_given, "--discard");
        if (bdrv_parse_discard_flags(arg, &nbd->flags) < 0) {
            die_report("Invalid discard mode `%s'", arg);
        }
        return true;
    case OPTION_DETECT_ZEROES:
        set_detect_zeroes(arg);
        return true;
    case OPTION_IMAGE_OPTS:
        nbd->image_opts = true;
        return true;
    case 's':
        nbd->overlay = true;
        return true;
    case 'l':
        set_snapshot(arg);
        return true;
    case 'o':
        if (qemu_strtou64(arg, NULL, 0, &nbd->offset) < 0 ||
            nbd->offset > INT64_MAX) {
            die_report("Invalid offset '%s'", arg);
        }
        nbd->has_offset = true;
        return true;
    case 'A':
        nbd->allocation_depth = true;
        return true;
    case 'B':
        add_bitmap(arg);
        return true;
    default:
        return false;
    }
}

/* Options of the server and its export. */
static bool server_option(int c, const char *arg)
{
    NbdArgs *nbd = &args.nbd;

    switch (c) {
    case 'p':
        args.port = arg;
        return true;
    case 'b':
        args.bind = arg;
        return true;
    case 'k':
        if (*arg != '/') {
            die_report("socket path must be absolute");
        }
        args.socket = arg;
        return true;
    case 'e':
        nbd->shared = parse_count(arg, "shared device number");
        return true;
    case OPTION_HANDSHAKE_LIMIT:
        nbd->handshake_limit = parse_count(arg, "handshake limit");
        return true;
    case 't':
        nbd->persistent = true;
        return true;
    case 'x':
        nbd->export_name = arg;
        return true;
    case 'D':
        nbd->description = arg;
        return true;
    case OPTION_TLS_AUTHZ:
        nbd->tls_authz = arg;
        return true;
    case OPTION_TLS_CREDS:
        nbd->tls_creds = arg;
        return true;
    case OPTION_TLS_HOSTNAME:
        args.tls_hostname = arg;
        return true;
    default:
        return false;
    }
}

/* What other versions of the program have. */
static void refused_option(int c)
{
    if (c == OPTION_SELINUX_LABEL) {
        die_report("--selinux-label is not supported");
    }
}

static void process_option(int c, const char *arg)
{
    Error *err = NULL;

    switch (c) {
    case 'h':
        printf("%s", help_text);
        exit(EXIT_SUCCESS);
    case 'V':
        printf("qemu-nbd " QEMU_FULL_VERSION "\n" QEMU_COPYRIGHT "\n");
        exit(EXIT_SUCCESS);
    case 'v':
        args.verbose = true;
        break;
    case 'L':
        args.list = true;
        break;
    case 'c':
        args.device = arg;
        break;
    case 'd':
        args.disconnect = true;
        break;
    case 'T':
        if (!trace_opt_parse(arg, &err)) {
            die_with(err);
        }
        break;
    case OPTION_FORK:
        args.fork = true;
        break;
    case OPTION_PIDFILE:
        args.pidfile = arg;
        break;
    case OPTION_OBJECT:
        /* They are made when the main loop exists. */
        user_object_option_help(arg);
        break;
    case '?':
        error_report("Try `qemu-nbd --help' for more information.");
        exit(EXIT_FAILURE);
    default:
        if (!image_option(c, arg) && !server_option(c, arg)) {
            refused_option(c);
        }
    }
}

static void check_tls_options(void)
{
    if (!args.nbd.tls_creds && args.tls_hostname) {
        die_report("--tls-hostname is not permitted without --tls-creds");
    }
    if (!args.nbd.tls_creds && args.nbd.tls_authz) {
        die_report("--tls-authz is not permitted without --tls-creds");
    }
    if (args.nbd.tls_creds && args.device) {
        die_report("TLS is not supported with a host device");
    }
    if (args.tls_hostname && !args.list) {
        die_report("TLS hostname is only supported with export list");
    }
}

/* Options of an image that --list would ignore. */
static bool has_image_options(void)
{
    const NbdArgs *nbd = &args.nbd;

    return nbd->format || args.cache_given || args.aio_given ||
           args.discard_given || nbd->has_offset || nbd->allocation_depth ||
           nbd->bitmaps || nbd->description || *nbd->export_name;
}

static void parse_options(int argc, char **argv)
{
    int c;

    while ((c = getopt_long(argc, argv, short_options, long_options,
                            NULL)) != -1) {
        process_option(c, optarg);
    }
    if (args.list && args.fork) {
        die_report("List mode is incompatible with forking");
    }
    if (args.list && (args.device || args.disconnect || has_image_options())) {
        die_report("List mode is incompatible with per-device settings");
    }
    check_tls_options();
    if (args.list && argc != optind) {
        die_report("List mode is incompatible with a file name");
    }
    if (!args.list && argc != optind + 1) {
        error_report("Invalid number of arguments");
        die_usage();
    }
    args.nbd.filename = argv[optind];
    if (args.nbd.image_opts && args.nbd.format) {
        die_report("--image-opts and -f are mutually exclusive");
    }
    if (g_strcmp0(args.nbd.detect_zeroes, "unmap") == 0 &&
        !(args.nbd.flags & BDRV_O_UNMAP)) {
        die_report("setting detect-zeroes to unmap is not allowed without "
                   "setting discard operation to unmap");
    }
}

static bool make_objects(int argc, char **argv, Error **errp)
{
    int c;

    optind = 0;
    while ((c = getopt_long(argc, argv, short_options, long_options,
                            NULL)) != -1) {
        if (c == OPTION_OBJECT && !user_object_add_option(optarg, errp)) {
            return false;
        }
    }
    return true;
}

/* --- where the server is --- */

/* systemd has made the socket: descriptor 3. */
static bool socket_activated(void)
{
    const char *pid = getenv("LISTEN_PID");
    const char *fds = getenv("LISTEN_FDS");
    bool ours = pid && fds && atol(pid) == getpid();

    if (!ours) {
        return false;
    }
    if (strcmp(fds, "1")) {
        die_report("qemu-nbd does not support socket activation with "
                   "LISTEN_FDS=%s, only with one socket", fds);
    }
    if (args.device) {
        die_report("-c cannot be used with socket activation");
    }
    if (args.port || args.bind || args.socket) {
        die_report("-p, -b and -k cannot be used with socket activation");
    }
    return true;
}

static SocketAddress *server_address(void)
{
    SocketAddress *addr = g_new0(SocketAddress, 1);

    if (args.activated) {
        addr->type = SOCKET_ADDRESS_TYPE_FD;
        addr->u.fd.str = g_strdup_printf("%d", SD_LISTEN_FDS_START);
    } else if (args.socket) {
        addr->type = SOCKET_ADDRESS_TYPE_UNIX;
        addr->u.q_unix.path = g_strdup(args.socket);
    } else if (args.device && !args.bind && !args.port) {
        g_autofree char *name = g_path_get_basename(args.device);

        addr->type = SOCKET_ADDRESS_TYPE_UNIX;
        addr->u.q_unix.path = g_strdup_printf(SOCKET_OF_DEVICE, name);
    } else {
        addr->type = SOCKET_ADDRESS_TYPE_INET;
        addr->u.inet.host = g_strdup(args.bind ? args.bind : "0.0.0.0");
        addr->u.inet.port = g_strdup(args.port ? args.port :
                                     NBD_PROGRAM_PORT);
    }
    return addr;
}

/* --- what the program does --- */

static int list(int argc, char **argv)
{
    SocketAddress *addr = server_address();
    Error *err = NULL;
    bool ok;

    if (!program_init()) {
        return EXIT_FAILURE;
    }
    ok = make_objects(argc, argv, &err);
#ifdef CONFIG_LIBNBD
    ok = ok && nbd_list_exports(addr, args.nbd.tls_creds, args.tls_hostname,
                                &err);
#else
    if (ok) {
        error_setg(&err, "--list needs libnbd, which this program was built "
                   "without");
    }
    ok = false;
#endif
    qapi_free_SocketAddress(addr);
    user_objects_cleanup(false);
    qemu_cleanup_main_loop();
    if (!ok) {
        error_report_err(err);
    }
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int disconnect(const char *device)
{
    Error *err = NULL;

    if (!nbd_device_disconnect(device, &err)) {
        error_report_err(err);
        return EXIT_FAILURE;
    }
    printf("%s disconnected\n", device);
    return EXIT_SUCCESS;
}

static bool connect_device(Error **errp)
{
    if (!nbd_device_start(args.device, args.nbd.addr, args.nbd.export_name,
                          errp)) {
        return false;
    }
    while (nbd_device_state() == NBD_DEVICE_CONNECTING) {
        main_loop_wait(false);
    }
    return nbd_device_state() != NBD_DEVICE_GONE || nbd_device_end(errp);
}

static void say_where(void)
{
    g_autofree char *text = socket_address_text(args.nbd.addr, -1);

    if (args.device) {
        printf("NBD device %s is now connected to %s\n", args.device,
               args.nbd.filename);
    } else {
        printf("NBD server listening on %s\n", text);
    }
    fflush(stdout);
}

static bool start(Error **errp)
{
    args.nbd.addr = server_address();
    if (!nbd_serve_start(&args.nbd, errp) ||
        (args.device && !connect_device(errp))) {
        return false;
    }
    if (args.pidfile && !pidfile_create(args.pidfile, errp)) {
        return false;
    }
    if (args.verbose) {
        say_where();
    }
    daemon_ready();
    return true;
}

/*
 * Without -t the end comes when the last client has gone; with a device, when
 * that is disconnected.
 */
static bool is_over(void)
{
    if (qemu_interrupted()) {
        return true;
    }
    return args.device ? nbd_device_state() == NBD_DEVICE_GONE :
           !args.nbd.persistent && nbd_server_served() &&
           !nbd_server_connections();
}

static bool end_device(void)
{
    Error *err = NULL;

    if (!nbd_device_end(&err)) {
        error_report_err(err);
        return false;
    }
    return true;
}

static int serve(int argc, char **argv)
{
    Error *err = NULL;
    bool ok;

    if (args.device && !nbd_device_check(args.device, &err)) {
        die_with(err);
    }
    if ((args.fork || (args.device && !args.verbose)) && !daemonize(&err)) {
        die_with(err);
    }
    if (!program_init()) {
        return EXIT_FAILURE;
    }
    qemu_interrupt_init();
    ok = make_objects(argc, argv, &err) && start(&err);
    if (!ok) {
        error_report_err(err);
    }
    while (ok && !is_over()) {
        main_loop_wait(false);
    }
    daemon_stopping();
    ok &= end_device();
    nbd_serve_stop();
    user_objects_cleanup(false);
    pidfile_remove();
    qapi_free_SocketAddress(args.nbd.addr);
    qapi_free_strList(args.nbd.bitmaps);
    qemu_cleanup_main_loop();
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    program_set_name(argv[0]);
    parse_options(argc, argv);
    /* Before a fork: LISTEN_PID names the process that was started. */
    args.activated = socket_activated();
    if (args.list) {
        return list(argc, argv);
    }
    if (args.disconnect) {
        return disconnect(args.nbd.filename);
    }
    return serve(argc, argv);
}
