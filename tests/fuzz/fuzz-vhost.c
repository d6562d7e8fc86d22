/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz target: what a vhost-user client sends, and what it has in its memory.
 *
 * The input is a program for a client, of the steps below.  Whatever it does,
 * the export goes on, and can be deleted afterwards.
 */
#include "qemu/osdep.h"
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "block/export.h"
#include "block/monitor/nodes.h"
#include "fuzz.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-block-core.h"
#include "qapi/qapi-commands-control.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"

/* A client that is not gone by then has hung. */
#define SECONDS_EACH 30
/* The memory, at guest address 0 and at the client's USER_BASE. */
#define MEMORY_SIZE (64 * KiB)
#define USER_BASE 0x10000
/* Of the rings that "set up" makes. */
#define RING_NUM 16
#define RING_DESC 0x1000
#define RING_AVAIL 0x2000
#define RING_USED 0x3000

enum {
    STEP_MESSAGE,               /* request, flags, descriptors, size, payload */
    STEP_WRITE,                 /* offset, length, bytes */
    STEP_SET_UP,                /* feature bits */
    STEP_KICK,
    STEP_RUN,
    STEP_TRUNCATE,              /* pages */
    STEP_MAX,
};

typedef struct {
    FuzzInput in;
    int fd;                     /* the client's end; -1: closed */
    int mem_fd;
    int kick, call;
    uint8_t *mem;
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
    char buf[4096];
    int i;

    for (i = 0; i < 4; i++) {
        main_loop_wait(true);
    }
    /* The answers; a descriptor that comes along is closed unread. */
    while (f->fd >= 0 && recv(f->fd, buf, sizeof(buf), MSG_DONTWAIT) > 0) {
        /* more */
    }
}

static void send_message(Fuzz *f, uint32_t request, uint32_t flags,
                         const void *payload, uint32_t len, uint32_t size,
                         const int *fds, unsigned n_fds)
{
    uint32_t header[3] = { request, flags, size };
    struct iovec iov[] = {
        { header, sizeof(header) }, { (void *)payload, len },
    };
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(4 * sizeof(int))];
    } control;
    struct msghdr mh = { .msg_iov = iov, .msg_iovlen = 2 };

    if (n_fds) {
        mh.msg_control = &control;
        mh.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));
    }
    if (sendmsg(f->fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        return;
    }
    run_some(f);
}

static void send_u64(Fuzz *f, uint32_t request, uint64_t value, int fd)
{
    send_message(f, request, 1, &value, sizeof(value), sizeof(value), &fd,
                 fd >= 0);
}

static void send_state(Fuzz *f, uint32_t request, uint32_t index,
                       uint32_t num)
{
    send_u64(f, request, index | (uint64_t)num << 32, -1);
}

static void step_message(Fuzz *f)
{
    uint32_t request = fuzz_take(&f->in, 1) % 48;
    uint32_t flags = fuzz_take(&f->in, 1);
    unsigned choice = fuzz_take(&f->in, 1);
    const int all[] = { f->mem_fd, f->kick, f->call, f->fd };
    int fds[2] = { all[choice >> 2 & 3], all[choice >> 4 & 3] };
    size_t len = fuzz_take(&f->in, 1);
    uint32_t size = choice & 0x80 ? fuzz_take(&f->in, 2) : len;
    const uint8_t *payload = fuzz_take_bytes(&f->in, &len);

    /* The version is right mostly: else this is the end. */
    send_message(f, request, flags & 0x80 ? flags : 1 | (flags & 8), payload,
                 len, choice & 0x80 ? size : len, fds,
                 MIN(choice & 3, ARRAY_SIZE(fds)));
}

static void step_write(Fuzz *f)
{
    size_t offset = fuzz_take(&f->in, 2), len = fuzz_take(&f->in, 1);
    const uint8_t *bytes = fuzz_take_bytes(&f->in, &len);
    struct stat st;

    /* The client has cut this off: it is not there for it, either. */
    if (fstat(f->mem_fd, &st) == 0 && (off_t)(offset + len) <= st.st_size) {
        memcpy(f->mem + offset, bytes, len);
    }
}

/* As a driver does it, with queue 0 or 1. */
static void step_set_up(Fuzz *f)
{
    uint8_t choice = fuzz_take(&f->in, 1);
    uint32_t queue = choice >> 7;
    uint64_t features = 1 << 9 | 1 << 13 | 1 << 14 | 1ULL << 32 |
        (uint64_t)(choice & 1) << 34 | (uint64_t)(choice >> 1 & 1) << 28 |
        (uint64_t)(choice >> 2 & 1) << 29 | (uint64_t)(choice >> 3 & 1) << 30;
    uint64_t table[5] = { 1, 0, MEMORY_SIZE, USER_BASE, 0 };
    uint64_t addr[5] = {
        queue, USER_BASE + RING_DESC, USER_BASE + RING_USED,
        USER_BASE + RING_AVAIL, 0,
    };
    struct {
        uint64_t size, offset;
        uint16_t queues, num;
        uint32_t padding;
    } inflight = { 32 * KiB, 16 * KiB, 2, RING_NUM, 0 };

    send_u64(f, 16, 1 << 12 | 1 << 9 | 1 << 3, -1);
    send_u64(f, 2, features, -1);
    send_message(f, 5, 1, table, sizeof(table), sizeof(table), &f->mem_fd, 1);
    if (choice & 0x10) {
        /* The region is in the memory that the input writes to. */
        send_message(f, 32, 1, &inflight, sizeof(inflight), sizeof(inflight),
                     &f->mem_fd, 1);
    }
    send_state(f, 8, queue, RING_NUM);
    send_state(f, 10, queue, choice & 1 ? 0x80008000 : 0);
    send_message(f, 9, 1, addr, sizeof(addr), sizeof(addr), NULL, 0);
    send_u64(f, 13, queue, f->call);
    send_u64(f, 12, queue, f->kick);
    send_state(f, 18, queue, 1);
}

static void step(Fuzz *f)
{
    switch (fuzz_take(&f->in, 1) % STEP_MAX) {
    case STEP_MESSAGE:
        step_message(f);
        break;
    case STEP_WRITE:
        step_write(f);
        break;
    case STEP_SET_UP:
        step_set_up(f);
        break;
    case STEP_KICK:
        eventfd_write(f->kick, 1);
        run_some(f);
        break;
    case STEP_RUN:
        run_some(f);
        break;
    case STEP_TRUNCATE:
        if (ftruncate(f->mem_fd, fuzz_take(&f->in, 1) % 17 * 4096) < 0) {
            abort();
        }
        break;
    }
}

/* --- the export --- */

/* A socket that listens, in the abstract space; its address is in @un. */
static int listen_somewhere(struct sockaddr_un *un, socklen_t *len)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    *un = (struct sockaddr_un) { .sun_family = AF_UNIX };
    *len = sizeof(*un);
    /* The kernel finds a name. */
    if (fd < 0 || bind(fd, (struct sockaddr *)un, sizeof(sa_family_t)) < 0 ||
        listen(fd, 1) < 0 || getsockname(fd, (struct sockaddr *)un, len) < 0) {
        abort();
    }
    return fd;
}

static void make_export(int fd)
{
    g_autofree char *number = g_strdup_printf("%d", fd);
    SocketAddress addr = {
        .type = SOCKET_ADDRESS_TYPE_FD,
        .u.fd.str = number,
    };
    BlockExportOptions options = {
        .type = BLOCK_EXPORT_TYPE_VHOST_USER_BLK,
        .id = (char *)"export",
        .node_name = (char *)"node",
        .has_writable = true,
        .writable = true,
        .u.vhost_user_blk = {
            .addr = &addr,
            .has_num_queues = true,
            .num_queues = 2,
        },
    };
    QOpts *opts = qopts_parse("driver=raw,node-name=node,file.driver=null-co,"
                              "file.size=1048576,file.read-zeroes=on", NULL,
                              &error_abort);
    BlockDriverState *bs;

    bs = bdrv_open(NULL, NULL, opts, BDRV_O_RDWR, &error_abort);
    blk_exp_add(&options, &error_abort);
    /* The export holds it. */
    bdrv_unref(bs);
}

static void connect_client(Fuzz *f)
{
    struct sockaddr_un un;
    socklen_t len;

    make_export(listen_somewhere(&un, &len));
    f->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    f->mem_fd = memfd_create("guest", MFD_CLOEXEC);
    f->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    f->call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (f->fd < 0 || connect(f->fd, (struct sockaddr *)&un, len) < 0 ||
        f->mem_fd < 0 || ftruncate(f->mem_fd, MEMORY_SIZE) < 0) {
        abort();
    }
    f->mem = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
                  f->mem_fd, 0);
    if (f->mem == MAP_FAILED) {
        abort();
    }
    run_some(f);
}

static void disconnect_client(Fuzz *f)
{
    close(f->fd);
    close(f->mem_fd);
    close(f->kick);
    close(f->call);
    munmap(f->mem, MEMORY_SIZE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Fuzz f = { .in = { data, size } };
    int64_t start = g_get_monotonic_time();

    if (size > 4096) {
        return 0;
    }
    fuzz_begin();
    connect_client(&f);
    while (f.in.left) {
        step(&f);
    }
    disconnect_client(&f);
    blk_exp_close_all();
    if (blk_exp_find("export") || bdrv_next_node(NULL)) {
        g_printerr("fuzz: the export or its node is left\n");
        abort();
    }
    if (g_get_monotonic_time() - start > SECONDS_EACH * G_USEC_PER_SEC) {
        g_printerr("fuzz: this took too long\n");
        abort();
    }
    fuzz_end();
    return 0;
}
