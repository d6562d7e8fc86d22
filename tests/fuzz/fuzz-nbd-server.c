/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz target: what an NBD client sends to the server, in the negotiation and
 * afterwards.
 *
 * The input is a program for a client, of the steps below.  Whatever it does,
 * the server goes on, and can be stopped afterwards.
 */
#include "qemu/osdep.h"
#include <endian.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "block/export.h"
#include "block/monitor/nodes.h"
#include "block/nbd.h"
#include "fuzz.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-block-core.h"
#include "qapi/qapi-commands-control.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"

/* A server that has not ended by then has hung. */
#define SECONDS_EACH 30
#define MAX_PAYLOAD (128 * KiB)

enum {
    STEP_BYTES,                 /* length, bytes: as they are */
    STEP_HELLO,                 /* choice: a right negotiation */
    STEP_OPTION,                /* option, length, bytes */
    STEP_REQUEST,               /* choice, type, flags, offset, length */
    STEP_RUN,                   /* let the server work, read its answers */
    STEP_RECONNECT,
    STEP_MAX,
};

typedef struct {
    FuzzInput in;
    struct sockaddr_un un;      /* of the server */
    socklen_t un_len;
    int fd;                     /* the client's end */
    bool extended;              /* the client has asked for such headers */
} Fuzz;

void qmp_quit(Error **errp)
{
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_init(argc, argv);
    /* A loop that does not wait sees what the client does. */
    qemu_get_aio_context()->nonblocking_look = AIO_LOOK_ALWAYS;
    error_set_progname("qemu-storage-daemon");
    return 0;
}

/* --- the client --- */

static void run_some(Fuzz *f)
{
    static char buf[256 * KiB];
    int i;

    for (i = 0; i < 4; i++) {
        main_loop_wait(true);
    }
    while (recv(f->fd, buf, sizeof(buf), MSG_DONTWAIT) > 0) {
        main_loop_wait(true);
    }
}

static void send_bytes(Fuzz *f, const void *data, size_t len)
{
    /* The socket may have no room: the server then sees half a message. */
    if (send(f->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        return;
    }
}

static void connect_client(Fuzz *f)
{
    f->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    f->extended = false;
    if (f->fd < 0 ||
        connect(f->fd, (struct sockaddr *)&f->un, f->un_len) < 0) {
        abort();
    }
    run_some(f);
}

static void send_option(Fuzz *f, uint32_t option, const void *data,
                        uint32_t len)
{
    NBDOptionHeader header = {
        htobe64(NBD_OPTS_MAGIC), htobe32(option), htobe32(len),
    };

    send_bytes(f, &header, sizeof(header));
    send_bytes(f, data, len);
}

/* As a client does it that wants to use the export. */
static void step_hello(Fuzz *f)
{
    static const char contexts[] =
        "\0\0\0\4node\0\0\0\2\0\0\0\17base:allocation"
        "\0\0\0\25qemu:allocation-depth";
    uint8_t choice = fuzz_take(&f->in, 1);
    uint32_t flags = htobe32(NBD_FLAG_FIXED_NEWSTYLE |
                             (choice & 1 ? NBD_FLAG_NO_ZEROES : 0));

    send_bytes(f, &flags, sizeof(flags));
    if (choice & 2) {
        send_option(f, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
    }
    if (choice & 4) {
        send_option(f, NBD_OPT_EXTENDED_HEADERS, NULL, 0);
        f->extended = true;
    }
    if (choice & 8) {
        send_option(f, NBD_OPT_SET_META_CONTEXT, contexts,
                    sizeof(contexts) - 1);
    }
    if (choice & 16) {
        send_option(f, NBD_OPT_EXPORT_NAME, "node", 4);
    } else if (choice & 32) {
        send_option(f, NBD_OPT_INFO, "\0\0\0\4node\0\0", 10);
    }
    send_option(f, NBD_OPT_GO, "\0\0\0\4node\0\1\0\3", 12);
    run_some(f);
}

static void step_option(Fuzz *f)
{
    uint32_t option = fuzz_take(&f->in, 1) % 16;
    size_t len = fuzz_take(&f->in, 1);
    const uint8_t *bytes = fuzz_take_bytes(&f->in, &len);

    send_option(f, option, bytes, len);
}

static void step_request(Fuzz *f)
{
    static const uint8_t payload[MAX_PAYLOAD];
    uint8_t choice = fuzz_take(&f->in, 1);
    uint16_t type = fuzz_take(&f->in, 1) % 10, flags = fuzz_take(&f->in, 1);
    uint64_t from = fuzz_take(&f->in, 2) << (choice & 15);
    uint64_t len = fuzz_take(&f->in, 2) << (choice >> 4 & 3);
    struct {
        uint32_t magic;
        uint16_t flags;
        uint16_t type;
        uint64_t cookie;
        uint64_t from;
        union {
            uint32_t len;
            uint64_t len64;
        };
    } QEMU_PACKED header = {
        htobe32(f->extended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC),
        htobe16(flags), htobe16(type), fuzz_take(&f->in, 1), htobe64(from),
        { .len64 = htobe64(len) },
    };

    if (f->extended) {
        send_bytes(f, &header, sizeof(header));
    } else {
        header.len = htobe32(len);
        send_bytes(f, &header, sizeof(header) - 4);
    }
    /* Perhaps the input has the payload, as that of a block status. */
    if (type == NBD_CMD_WRITE && !(choice & 0x80)) {
        send_bytes(f, payload, MIN(len, MAX_PAYLOAD));
    }
    if (choice & 0x40) {
        run_some(f);
    }
}

static void step(Fuzz *f)
{
    const uint8_t *bytes;
    size_t len;

    switch (fuzz_take(&f->in, 1) % STEP_MAX) {
    case STEP_BYTES:
        len = fuzz_take(&f->in, 1);
        bytes = fuzz_take_bytes(&f->in, &len);
        send_bytes(f, bytes, len);
        break;
    case STEP_HELLO:
        step_hello(f);
        break;
    case STEP_OPTION:
        step_option(f);
        break;
    case STEP_REQUEST:
        step_request(f);
        break;
    case STEP_RUN:
        run_some(f);
        break;
    case STEP_RECONNECT:
        close(f->fd);
        connect_client(f);
        break;
    }
}

/* --- the server --- */

/* A socket that listens, in the abstract space. */
static void start_server(Fuzz *f)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_autofree char *number = g_strdup_printf("%d", fd);
    SocketAddress addr = {
        .type = SOCKET_ADDRESS_TYPE_FD,
        .u.fd.str = number,
    };

    f->un = (struct sockaddr_un) { .sun_family = AF_UNIX };
    f->un_len = sizeof(f->un);
    /* The kernel finds a name. */
    if (fd < 0 ||
        bind(fd, (struct sockaddr *)&f->un, sizeof(sa_family_t)) < 0 ||
        listen(fd, 8) < 0 ||
        getsockname(fd, (struct sockaddr *)&f->un, &f->un_len) < 0) {
        abort();
    }
    nbd_server_start(&addr, 0, 0, NULL, NULL, &error_abort);
}

static void make_export(void)
{
    BlockExportOptions options = {
        .type = BLOCK_EXPORT_TYPE_NBD,
        .id = (char *)"export",
        .node_name = (char *)"node",
        .has_writable = true,
        .writable = true,
        .u.nbd = {
            .description = (char *)"a disk",
            .has_allocation_depth = true,
            .allocation_depth = true,
        },
    };
    QOpts *opts = qopts_parse("driver=raw,node-name=node,file.driver=null-co,"
                              "file.size=1048576,file.read-zeroes=on", NULL,
                              &error_abort);
    BlockDriverState *bs = bdrv_open(NULL, NULL, opts, BDRV_O_RDWR,
                                     &error_abort);

    blk_exp_add(&options, &error_abort);
    /* The export holds it. */
    bdrv_unref(bs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Fuzz f = { .in = { data, size } };
    int64_t start = g_get_monotonic_time();

    if (size > 4096) {
        return 0;
    }
    fuzz_begin();
    start_server(&f);
    make_export();
    connect_client(&f);
    while (f.in.left) {
        step(&f);
    }
    run_some(&f);
    close(f.fd);
    nbd_server_stop();
    blk_exp_close_all();
    if (nbd_server_connections() || blk_exp_find("export") ||
        bdrv_next_node(NULL)) {
        g_printerr("fuzz: a client, the export or its node is left\n");
        abort();
    }
    if (g_get_monotonic_time() - start > SECONDS_EACH * G_USEC_PER_SEC) {
        g_printerr("fuzz: this took too long\n");
        abort();
    }
    fuzz_end();
    return 0;
}
