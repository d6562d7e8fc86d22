/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz target: what an NBD server sends to the driver "nbd", in the
 * negotiation and afterwards.
 *
 * The input is a program that makes the bytes of a server, of the steps below;
 * after them the server ends the connection.  The driver makes a number of
 * requests, at once and one by one.  Each must end, and what fails to open has
 * one clear line.
 */
#include "qemu/osdep.h"
#include <endian.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "block/block_int.h"
#include "block/monitor/nodes.h"
#include "block/nbd.h"
#include "fuzz.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-control.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"

/* A client that has not ended by then has hung. */
#define SECONDS_EACH 30
#define DISK_SIZE (1 * MiB)
/* A server sends at most so much. */
#define MAX_BYTES (1 * MiB)
#define N_READS 8
#define READ_SIZE 512

enum {
    STEP_BYTES,                 /* length, bytes: as they are */
    STEP_HELLO,                 /* choice: a right negotiation */
    STEP_REPLY,                 /* option, type, length, bytes */
    STEP_CHUNK,                 /* type, flags, cookie, length, bytes */
    STEP_DATA,                  /* cookie, offset, sectors: of a read */
    STEP_SIMPLE,                /* cookie, error, sectors */
    STEP_MAX,
};

typedef struct {
    FuzzInput in;
    int listen_fd;
    GByteArray *out;            /* what the server sends */
    unsigned in_flight;         /* reads */
} Fuzz;

void qmp_quit(Error **errp)
{
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_init(argc, argv);
    error_set_progname("qemu-io");
    return 0;
}

static void put(Fuzz *f, const void *data, size_t len)
{
    if (f->out->len + len <= MAX_BYTES) {
        g_byte_array_append(f->out, data, len);
    }
}

static void put_be(Fuzz *f, uint64_t value, unsigned bytes)
{
    value = htobe64(value);
    put(f, (uint8_t *)&value + 8 - bytes, bytes);
}

static void put_input(Fuzz *f, size_t len)
{
    len = MIN(len, f->in.left);
    put(f, f->in.data, len);
    f->in.data += len;
    f->in.left -= len;
}

static void put_zeroes(Fuzz *f, size_t len)
{
    static const uint8_t zeroes[255 * 512];

    put(f, zeroes, MIN(len, sizeof(zeroes)));
}

static void put_reply(Fuzz *f, uint32_t option, uint32_t type, uint32_t len)
{
    put_be(f, NBD_REP_MAGIC, 8);
    put_be(f, option, 4);
    put_be(f, type, 4);
    put_be(f, len, 4);
}

static void step_hello(Fuzz *f)
{
    uint8_t choice = fuzz_take(&f->in, 1);
    uint16_t flags = NBD_FLAG_HAS_FLAGS | fuzz_take(&f->in, 2);

    put_be(f, NBD_INIT_MAGIC, 8);
    put_be(f, NBD_OPTS_MAGIC, 8);
    put_be(f, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES, 2);
    if (choice & 1) {
        /* Of newer versions of the library. */
        put_reply(f, NBD_OPT_EXTENDED_HEADERS, NBD_REP_ERR_UNSUP, 0);
    }
    put_reply(f, NBD_OPT_STRUCTURED_REPLY,
              choice & 2 ? NBD_REP_ERR_UNSUP : NBD_REP_ACK, 0);
    if (!(choice & 2)) {
        if (!(choice & 4)) {
            put_reply(f, NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, 19);
            put_be(f, 1, 4);
            put(f, "base:allocation", 15);
        }
        put_reply(f, NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK, 0);
    }
    if (choice & 8) {
        put_reply(f, NBD_OPT_GO, NBD_REP_INFO, 14);
        put_be(f, NBD_INFO_BLOCK_SIZE, 2);
        put_be(f, fuzz_take(&f->in, 2), 4);
        put_be(f, fuzz_take(&f->in, 2), 4);
        put_be(f, fuzz_take(&f->in, 3), 4);
    }
    put_reply(f, NBD_OPT_GO, NBD_REP_INFO, 12);
    put_be(f, NBD_INFO_EXPORT, 2);
    put_be(f, choice & 16 ? fuzz_take(&f->in, 8) : DISK_SIZE, 8);
    put_be(f, flags, 2);
    put_reply(f, NBD_OPT_GO, NBD_REP_ACK, 0);
}

static void put_chunk(Fuzz *f, uint16_t type, uint16_t flags, uint8_t cookie,
                      uint32_t len)
{
    put_be(f, NBD_STRUCTURED_MAGIC, 4);
    put_be(f, flags, 2);
    put_be(f, type, 2);
    put_be(f, cookie, 8);
    put_be(f, len, 4);
}

static void step(Fuzz *f)
{
    uint8_t step = fuzz_take(&f->in, 1) % STEP_MAX;
    uint8_t a, b, c, len;

    if (step == STEP_HELLO) {
        step_hello(f);
        return;
    }
    len = fuzz_take(&f->in, 1);
    if (step == STEP_BYTES) {
        put_input(f, len);
        return;
    }
    a = fuzz_take(&f->in, 1);
    b = fuzz_take(&f->in, 1);
    c = fuzz_take(&f->in, 1);
    switch (step) {
    case STEP_REPLY:
        put_reply(f, a, b & 0x80 ? NBD_REP_ERROR(b & 0xf) : b,
                  c & 0x80 ? c << 16 : len);
        put_input(f, len);
        break;
    case STEP_CHUNK:
        put_chunk(f, a & 0x80 ? 0x8000 | (a & 3) : a & 7, b & 3, c,
                  b & 0x80 ? (b & 0x7f) << 18 : len);
        put_input(f, len);
        break;
    case STEP_DATA:
        put_chunk(f, NBD_REPLY_TYPE_OFFSET_DATA, b & 1, a, 8 + len * 512);
        put_be(f, c * READ_SIZE, 8);
        put_zeroes(f, len * 512);
        break;
    case STEP_SIMPLE:
        put_be(f, NBD_SIMPLE_REPLY_MAGIC, 4);
        put_be(f, b, 4);
        put_be(f, a, 8);
        put_zeroes(f, len * 512);
        break;
    }
}

/* --- the server, a thread: the driver is waited for when it opens --- */

static void *serve(void *opaque)
{
    Fuzz *f = opaque;
    int fd = accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    size_t sent = 0;
    char buf[4096];

    /* No second connection. */
    shutdown(f->listen_fd, SHUT_RDWR);
    if (fd < 0) {
        return NULL;
    }
    while (sent < f->out->len) {
        ssize_t n = send(fd, f->out->data + sent, f->out->len - sent,
                         MSG_NOSIGNAL);

        if (n <= 0) {
            break;
        }
        sent += n;
    }
    shutdown(fd, SHUT_WR);
    while (recv(fd, buf, sizeof(buf), 0) > 0) {
        /* more */
    }
    close(fd);
    return NULL;
}

/* The name, in the abstract space, is the kernel's: five digits. */
static void start_server(Fuzz *f, char *name, size_t size)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    socklen_t len = sizeof(un);

    f->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (f->listen_fd < 0 ||
        bind(f->listen_fd, (struct sockaddr *)&un, sizeof(sa_family_t)) < 0 ||
        listen(f->listen_fd, 1) < 0 ||
        getsockname(f->listen_fd, (struct sockaddr *)&un, &len) < 0) {
        abort();
    }
    len -= offsetof(struct sockaddr_un, sun_path) + 1;
    assert(len < size);
    memcpy(name, un.sun_path + 1, len);
    name[len] = 0;
}

/* --- the client --- */

typedef struct {
    Fuzz *f;
    BlockBackend *blk;
    int64_t offset;
} Read;

static void coroutine_fn read_entry(void *opaque)
{
    Read *r = opaque;
    char buf[READ_SIZE];

    blk_co_pread(r->blk, r->offset, sizeof(buf), buf, 0);
    r->f->in_flight--;
    aio_wait_kick();
}

static void use_disk(Fuzz *f, BlockBackend *blk)
{
    Read reads[N_READS];
    g_autofree char *buf = g_malloc0(4096);
    int64_t pnum;
    int i;

    f->in_flight = N_READS;
    for (i = 0; i < N_READS; i++) {
        reads[i] = (Read) { f, blk, i * READ_SIZE };
        qemu_coroutine_enter(qemu_coroutine_create(read_entry, &reads[i]));
    }
    AIO_WAIT_WHILE(NULL, f->in_flight);
    bdrv_block_status_above(blk_bs(blk), NULL, 0, 65536, &pnum, NULL, NULL);
    blk_pwrite(blk, 0, 4096, buf, BDRV_REQ_FUA);
    blk_pwrite_zeroes(blk, 0, 65536, BDRV_REQ_MAY_UNMAP);
    blk_pdiscard(blk, 0, 65536);
    blk_pread(blk, 4096, 4096, buf, 0);
    blk_flush(blk);
}

static void open_and_use(Fuzz *f, const char *name)
{
    g_autofree char *text = g_strdup_printf(
        "driver=nbd,server.type=unix,server.path=%s,server.abstract=on,"
        "server.tight=on,export=x", name);
    Error *err = NULL;
    BlockBackend *blk = blk_new_open(NULL, NULL,
                                     qopts_parse(text, NULL, &error_abort),
                                     BDRV_O_RDWR, &err);

    if (!blk) {
        /* The server's words may be in it. */
        fuzz_check_error(err, "\\n(null)");
        return;
    }
    use_disk(f, blk);
    blk_unref(blk);
}

/* --- threads --- */

static unsigned count_threads(void)
{
    struct stat st;

    /* A link for each, and two. */
    if (stat("/proc/self/task", &st) < 0) {
        abort();
    }
    return st.st_nlink - 2;
}

/* A connector that its owner has left ends, and soon. */
static void wait_for_threads(unsigned before)
{
    int ms;

    for (ms = 0; count_threads() > before; ms++) {
        if (ms == 5000) {
            g_printerr("fuzz: a thread is left\n");
            abort();
        }
        g_usleep(1000);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Fuzz f = { .in = { data, size } };
    unsigned threads = count_threads();
    int64_t start = g_get_monotonic_time();
    GThread *thread;
    char name[64];

    if (size > 4096) {
        return 0;
    }
    fuzz_begin();
    f.out = g_byte_array_new();
    while (f.in.left) {
        step(&f);
    }
    start_server(&f, name, sizeof(name));
    thread = g_thread_new("server", serve, &f);
    open_and_use(&f, name);
    /* If nobody has come. */
    shutdown(f.listen_fd, SHUT_RDWR);
    g_thread_join(thread);
    close(f.listen_fd);
    g_byte_array_free(f.out, true);
    wait_for_threads(threads);
    if (bdrv_next_node(NULL)) {
        g_printerr("fuzz: the node is left\n");
        abort();
    }
    if (g_get_monotonic_time() - start > SECONDS_EACH * G_USEC_PER_SEC) {
        g_printerr("fuzz: this took too long\n");
        abort();
    }
    fuzz_end();
    return 0;
}
