/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The load client's NBD: many requests by one system call, and replies that
 * are taken apart in the buffer into which they were received.
 *
 * From the protocol's description, doc/proto.md of the NBD project.
 */
#include "qemu/osdep.h"
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include "block/nbd.h"
#include "export-load.h"

#define INPUT_SIZE (256 * KiB)
#define MAX_IOV 1024

typedef struct {
    uint32_t magic;
    uint32_t error;
    uint64_t cookie;
} QEMU_PACKED SimpleReply;

typedef struct NBDConn {
    LoadConn common;
    NBDRequestHeader *headers;     /* one for each slot */
    /* To be sent: two elements for each write, one for a read. */
    struct iovec *out;
    unsigned n_out;
    uint8_t *input;
    size_t pos, end;            /* of what has been received */
    uint64_t skip;              /* bytes of the payload that are to come */
    LoadRequest *current;       /* to which they belong; NULL: to none */
    bool done;                  /* it has ended after that */
} NBDConn;

/* --- the negotiation, which waits --- */

static void send_all(int fd, const void *buf, size_t len)
{
    if (send(fd, buf, len, MSG_NOSIGNAL) != (ssize_t)len) {
        load_fail("the NBD server takes no more messages");
    }
}

static void recv_all(int fd, void *buf, size_t len)
{
    if (len && recv(fd, buf, len, MSG_WAITALL) != (ssize_t)len) {
        load_fail("the NBD server has ended the negotiation");
    }
}

static void send_option(int fd, uint32_t option, const void *data,
                        uint32_t len)
{
    NBDOptionHeader header = {
        htobe64(NBD_OPTS_MAGIC), htobe32(option), htobe32(len),
    };

    send_all(fd, &header, sizeof(header));
    send_all(fd, data, len);
}

/* The type of the next reply, and its data. */
static uint32_t recv_reply(int fd, uint8_t *data, uint32_t room, uint32_t *len)
{
    struct {
        uint64_t magic;
        uint32_t option;
        uint32_t type;
        uint32_t len;
    } QEMU_PACKED header;

    recv_all(fd, &header, sizeof(header));
    *len = be32toh(header.len);
    if (be64toh(header.magic) != NBD_REP_MAGIC || *len > room) {
        load_fail("the NBD server does not follow the protocol");
    }
    recv_all(fd, data, *len);
    return be32toh(header.type);
}

/* Returns the size of the export. */
static uint64_t go(int fd, const char *name)
{
    g_autofree uint8_t *option = g_malloc0(strlen(name) + 6);
    uint32_t be_len = htobe32(strlen(name));
    uint8_t data[4096];
    uint64_t bytes = 0;
    uint32_t len, type;

    memcpy(option, &be_len, 4);
    memcpy(option + 4, name, strlen(name));
    send_option(fd, NBD_OPT_GO, option, strlen(name) + 6);
    while ((type = recv_reply(fd, data, sizeof(data), &len)) !=
           NBD_REP_ACK) {
        if (type != NBD_REP_INFO) {
            load_fail("the NBD server refuses the export '%s': %.*s", name,
                      (int)len, (char *)data);
        }
        if (len == 12 && data[0] == 0 && data[1] == NBD_INFO_EXPORT) {
            memcpy(&bytes, data + 2, sizeof(bytes));
        }
    }
    return be64toh(bytes);
}

static uint64_t negotiate(int fd, const char *name, bool simple)
{
    uint32_t flags = htobe32(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    struct {
        uint64_t magic;
        uint64_t opts_magic;
        uint16_t flags;
    } QEMU_PACKED greeting;
    uint8_t data[4096];
    uint32_t len;

    recv_all(fd, &greeting, sizeof(greeting));
    if (be64toh(greeting.magic) != NBD_INIT_MAGIC ||
        be64toh(greeting.opts_magic) != NBD_OPTS_MAGIC ||
        !(be16toh(greeting.flags) & NBD_FLAG_FIXED_NEWSTYLE)) {
        load_fail("this is no NBD server of the fixed newstyle");
    }
    send_all(fd, &flags, sizeof(flags));
    if (!simple) {
        send_option(fd, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
        if (recv_reply(fd, data, sizeof(data), &len) != NBD_REP_ACK) {
            load_fail("the NBD server has no structured replies; try "
                      "--simple");
        }
    }
    return go(fd, name);
}

static int connect_tcp(const char *host, const char *port)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list;
    int one = 1;
    int fd;

    if (getaddrinfo(host, port, &hints, &list) != 0) {
        load_fail("there is no '%s' with port '%s'", host, port);
    }
    fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, list->ai_addr, list->ai_addrlen) < 0) {
        load_fail("cannot connect to %s:%s: %s", host, port, strerror(errno));
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    freeaddrinfo(list);
    return fd;
}

static LoadConn *nbd_open(Load *l, const char *target, unsigned index)
{
    g_auto(GStrv) parts = g_strsplit(target, ":", 3);
    NBDConn *c = g_new0(NBDConn, 1);
    unsigned i;

    if (g_strv_length(parts) < 2) {
        load_fail("'nbd:%s': it is to be nbd:unix:PATH or nbd:HOST:PORT",
                  target);
    }
    c->common.fd = strcmp(parts[0], "unix") ?
                   connect_tcp(parts[0], parts[1]) :
                   load_connect_unix(parts[1]);
    l->size = negotiate(c->common.fd, parts[2] ? parts[2] : "",
                        l->opts.simple);
    if (fcntl(c->common.fd, F_SETFL, O_NONBLOCK) < 0) {
        load_fail("the socket cannot be made non-blocking");
    }
    c->headers = g_new0(NBDRequestHeader, l->opts.depth);
    c->out = g_new0(struct iovec, 2 * l->opts.depth);
    c->input = g_malloc(INPUT_SIZE);
    for (i = 0; i < l->opts.depth; i++) {
        c->headers[i] = (NBDRequestHeader) {
            .magic = htobe32(NBD_REQUEST_MAGIC),
            .cookie = i,
            .len = htobe32(l->opts.block_size),
        };
    }
    return &c->common;
}

/* --- requests --- */

static void nbd_start(LoadConn *conn, LoadRequest *req)
{
    NBDConn *c = container_of(conn, NBDConn, common);
    NBDRequestHeader *h = &c->headers[req->slot];

    h->type = htobe16(req->write ? NBD_CMD_WRITE : NBD_CMD_READ);
    h->from = htobe64(req->offset);
    c->out[c->n_out++] = (struct iovec) { h, sizeof(*h) };
    if (req->write) {
        c->out[c->n_out++] = (struct iovec) {
            conn->load->data, conn->load->opts.block_size,
        };
    }
}

/* Forget the first @n bytes of what is to be sent. */
static void sent(NBDConn *c, size_t n)
{
    unsigned i = 0;

    while (i < c->n_out && n >= c->out[i].iov_len) {
        n -= c->out[i++].iov_len;
    }
    c->n_out -= i;
    memmove(c->out, c->out + i, c->n_out * sizeof(*c->out));
    if (n) {
        c->out[0].iov_base = (char *)c->out[0].iov_base + n;
        c->out[0].iov_len -= n;
    }
}

static void nbd_flush(LoadConn *conn)
{
    NBDConn *c = container_of(conn, NBDConn, common);

    conn->want_write = false;
    while (c->n_out) {
        struct msghdr msg = {
            .msg_iov = c->out, .msg_iovlen = MIN(c->n_out, MAX_IOV),
        };
        ssize_t n = sendmsg(conn->fd, &msg, MSG_NOSIGNAL);

        if (n >= 0) {
            sent(c, n);
        } else if (errno == EAGAIN) {
            conn->want_write = true;
            return;
        } else if (errno != EINTR) {
            load_fail("the NBD server has gone: %s", strerror(errno));
        }
    }
}

/* A reply's header is at @pos; false: there is less than that. */
static bool take_header(NBDConn *c)
{
    size_t left = c->end - c->pos;
    NBDChunkHeader chunk;
    SimpleReply simple;
    uint64_t cookie;
    bool failed;

    if (left < sizeof(simple)) {
        return false;
    }
    memcpy(&simple, c->input + c->pos, sizeof(simple));
    if (be32toh(simple.magic) == NBD_SIMPLE_REPLY_MAGIC) {
        c->pos += sizeof(simple);
        cookie = simple.cookie;
        failed = simple.error;
        c->done = true;
        c->skip = 0;
    } else if (be32toh(simple.magic) != NBD_STRUCTURED_MAGIC) {
        load_fail("the NBD server has sent no reply, but 0x%x",
                  be32toh(simple.magic));
    } else if (left < sizeof(chunk)) {
        return false;
    } else {
        memcpy(&chunk, c->input + c->pos, sizeof(chunk));
        c->pos += sizeof(chunk);
        cookie = chunk.cookie;
        failed = be16toh(chunk.type) & 0x8000;
        c->done = be16toh(chunk.flags) & NBD_REPLY_FLAG_DONE;
        c->skip = be32toh(chunk.len);
    }
    if (cookie >= c->common.load->opts.depth) {
        load_fail("the NBD server answers a request that was not made");
    }
    c->current = &c->common.requests[cookie];
    c->current->failed |= failed;
    if (be32toh(simple.magic) == NBD_SIMPLE_REPLY_MAGIC && !failed &&
        !c->current->write) {
        c->skip = c->common.load->opts.block_size;
    }
    return true;
}

static void take_replies(NBDConn *c)
{
    while (c->current || take_header(c)) {
        uint64_t n = MIN(c->skip, c->end - c->pos);

        c->pos += n;
        c->skip -= n;
        if (c->skip) {
            return;
        }
        if (c->done) {
            load_done(c->current);
        }
        c->current = NULL;
    }
}

static void nbd_receive(LoadConn *conn)
{
    NBDConn *c = container_of(conn, NBDConn, common);
    size_t room;
    ssize_t n;

    do {
        /* Part of a header may be left. */
        memmove(c->input, c->input + c->pos, c->end - c->pos);
        c->end -= c->pos;
        c->pos = 0;
        room = INPUT_SIZE - c->end;
        n = recv(conn->fd, c->input + c->end, room, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            load_fail("the NBD server has gone");
        }
        if (n > 0) {
            c->end += n;
            take_replies(c);
        }
    } while (n == (ssize_t)room);
}

static void nbd_close(LoadConn *conn)
{
    NBDRequestHeader h = {
        .magic = htobe32(NBD_REQUEST_MAGIC), .type = htobe16(NBD_CMD_DISC),
    };

    send_all(conn->fd, &h, sizeof(h));
    close(conn->fd);
}

const LoadDriver load_nbd = {
    .prefix = "nbd:",
    .open = nbd_open,
    .start = nbd_start,
    .flush = nbd_flush,
    .receive = nbd_receive,
    .close = nbd_close,
};
