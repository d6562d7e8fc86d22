/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The load client's vhost-user-blk: a driver of virtio-blk with split rings.
 *
 * Each connection is a queue; all of them belong to one session.  A request
 * takes one descriptor of the ring, an indirect table.  From the "Vhost-user
 * Protocol" of QEMU's documentation and virtio 1.2.
 */
#include "qemu/osdep.h"
#include <linux/vhost.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include "qemu/atomic.h"
#include "export-load.h"

#define GUEST_BASE 0x100000ull
#define TABLE_SIZE 3

enum {
    GET_FEATURES = 1, SET_FEATURES = 2, SET_OWNER = 3, SET_MEM_TABLE = 5,
    SET_VRING_NUM = 8, SET_VRING_ADDR = 9, SET_VRING_BASE = 10,
    SET_VRING_KICK = 12, SET_VRING_CALL = 13, GET_PROTOCOL_FEATURES = 15,
    SET_PROTOCOL_FEATURES = 16, SET_VRING_ENABLE = 18, GET_CONFIG = 24,
};

#define F_PROTOCOL_FEATURES 30
#define PROTOCOL_MQ     (1 << 0)
#define PROTOCOL_CONFIG (1 << 9)
#define VERSION_1       0x1
#define REPLY           0x4

/* In shared memory: one for each slot, but for its data. */
typedef struct Slot {
    struct vring_desc table[TABLE_SIZE];
    struct virtio_blk_outhdr header;
    uint8_t status;
} Slot;

typedef struct VhostConn {
    LoadConn common;
    unsigned num;               /* entries of the ring */
    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
    Slot *slots;
    uint64_t data;              /* the guest's address of all blocks */
    uint16_t avail_idx;
    uint16_t kicked;            /* avail_idx when we looked the last time */
    uint16_t used_idx;
    int kick;
} VhostConn;

/* All queues share this. */
static struct {
    int fd;
    uint8_t *memory;
    uint64_t size, used;        /* bytes */
    bool event_idx;
} session = { .fd = -1 };

typedef struct QEMU_PACKED Message {
    uint32_t request, flags, size;
    union {
        uint64_t u64;
        struct vhost_vring_state state;
        struct vhost_vring_addr addr;
        struct {
            uint32_t n, padding;
            uint64_t guest, size, user, offset;
        } QEMU_PACKED memory;
        struct {
            uint32_t offset, size, flags;
            uint8_t bytes[60];
        } QEMU_PACKED config;
    };
} Message;

#define HEADER_SIZE offsetof(Message, u64)

/* --- messages --- */

static void tell(Message *m, uint32_t request, uint32_t size, int fd)
{
    struct iovec iov = { m, HEADER_SIZE + size };
    char control[CMSG_SPACE(sizeof(int))] = { 0 };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    m->request = request;
    m->flags = VERSION_1;
    m->size = size;
    if (fd >= 0) {
        struct cmsghdr *c;

        msg.msg_control = control;
        msg.msg_controllen = sizeof(control);
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    }
    if (sendmsg(session.fd, &msg, MSG_NOSIGNAL) != (ssize_t)iov.iov_len) {
        load_fail("the vhost-user server has gone");
    }
}

static void ask(Message *m, uint32_t request, uint32_t size)
{
    tell(m, request, size, -1);
    if (recv(session.fd, m, HEADER_SIZE, MSG_WAITALL) !=
        (ssize_t)HEADER_SIZE || m->request != request ||
        !(m->flags & REPLY) || m->size > sizeof(*m) - HEADER_SIZE ||
        recv(session.fd, (char *)m + HEADER_SIZE, m->size, MSG_WAITALL) !=
        (ssize_t)m->size) {
        load_fail("the vhost-user server does not answer message %u", request);
    }
}

static uint64_t ask_u64(uint32_t request)
{
    Message m = { 0 };

    ask(&m, request, 0);
    return m.u64;
}

static void tell_u64(uint32_t request, uint64_t value, int fd)
{
    Message m = { .u64 = value };

    tell(&m, request, sizeof(m.u64), fd);
}

static void tell_state(uint32_t request, unsigned index, unsigned num)
{
    Message m = { .state = { index, num } };

    tell(&m, request, sizeof(m.state), -1);
}

/* --- the session --- */

static void *get_memory(uint64_t bytes)
{
    void *p = session.memory + session.used;

    session.used += QEMU_ALIGN_UP(bytes, 4096);
    assert(session.used <= session.size);
    return p;
}

static uint64_t guest_addr(const void *p)
{
    return GUEST_BASE + ((const uint8_t *)p - session.memory);
}

static unsigned ring_size(const Load *l)
{
    /* A request takes one entry; a ring of one is of no use. */
    return MAX(2, pow2ceil(l->opts.depth));
}

static void share_memory(const Load *l)
{
    uint64_t blocks = (uint64_t)l->opts.depth * l->opts.block_size;
    uint64_t rings = 64 * ring_size(l) + 32 * KiB;
    uint64_t slots = sizeof(Slot) * l->opts.depth + 4096;
    int fd = memfd_create("guest", MFD_CLOEXEC);
    Message m = { 0 };

    session.size = QEMU_ALIGN_UP((blocks + rings + slots) *
                                 l->opts.connections, 2 * MiB);
    if (fd < 0 || ftruncate(fd, session.size) < 0) {
        load_fail("no memory to share: %s", strerror(errno));
    }
    session.memory = mmap(NULL, session.size, PROT_READ | PROT_WRITE,
                          MAP_SHARED, fd, 0);
    if (session.memory == MAP_FAILED) {
        load_fail("no memory to share: %s", strerror(errno));
    }
    memset(session.memory, 0x5a, session.size);
    m.memory.n = 1;
    m.memory.guest = GUEST_BASE;
    m.memory.size = session.size;
    m.memory.user = (uintptr_t)session.memory;
    tell(&m, SET_MEM_TABLE, sizeof(m.memory), fd);
    close(fd);
}

static void start_session(Load *l, const char *path)
{
    const uint64_t need = 1ull << VIRTIO_F_VERSION_1 |
                          1ull << F_PROTOCOL_FEATURES |
                          1ull << VIRTIO_RING_F_INDIRECT_DESC;
    /* Without FLUSH the device would have to write through its cache. */
    const uint64_t want = need | 1ull << VIRTIO_RING_F_EVENT_IDX |
                          1ull << VIRTIO_BLK_F_MQ |
                          1ull << VIRTIO_BLK_F_FLUSH;
    uint64_t features, protocol, sectors;
    Message m = { .config = { .size = sizeof(m.config.bytes) } };

    session.fd = load_connect_unix(path);
    tell(&m, SET_OWNER, 0, -1);
    features = ask_u64(GET_FEATURES);
    if ((features & need) != need) {
        load_fail("the vhost-user server lacks a feature: it has 0x%" PRIx64,
                  features);
    }
    protocol = ask_u64(GET_PROTOCOL_FEATURES);
    tell_u64(SET_PROTOCOL_FEATURES, protocol & (PROTOCOL_MQ |
                                                PROTOCOL_CONFIG), -1);
    tell_u64(SET_FEATURES, features & want, -1);
    session.event_idx = features >> VIRTIO_RING_F_EVENT_IDX & 1;
    m = (Message) { .config = { .size = sizeof(m.config.bytes) } };
    ask(&m, GET_CONFIG, sizeof(m.config));
    memcpy(&sectors, m.config.bytes, sizeof(sectors));
    l->size = le64toh(sectors) * 512;
    share_memory(l);
}

/* --- queues --- */

static void start_queue(VhostConn *c, unsigned index)
{
    Message m = {
        .addr = {
            .index = index,
            .desc_user_addr = (uintptr_t)c->desc,
            .used_user_addr = (uintptr_t)c->used,
            .avail_user_addr = (uintptr_t)c->avail,
        },
    };

    c->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    c->common.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (c->kick < 0 || c->common.fd < 0) {
        load_fail("no eventfd: %s", strerror(errno));
    }
    tell_state(SET_VRING_NUM, index, c->num);
    tell_state(SET_VRING_BASE, index, 0);
    tell(&m, SET_VRING_ADDR, sizeof(m.addr), -1);
    tell_u64(SET_VRING_CALL, index, c->common.fd);
    tell_u64(SET_VRING_KICK, index, c->kick);
    tell_state(SET_VRING_ENABLE, index, 1);
}

static LoadConn *vhost_open(Load *l, const char *target, unsigned index)
{
    VhostConn *c = g_new0(VhostConn, 1);
    unsigned i;

    if (session.fd < 0) {
        start_session(l, target);
    }
    c->num = ring_size(l);
    c->desc = get_memory(c->num * sizeof(*c->desc));
    c->avail = get_memory(2 * (c->num + 3));
    c->used = get_memory(2 * (4 * c->num + 3));
    memset(c->avail, 0, 2 * (c->num + 3));
    memset(c->used, 0, 2 * (4 * c->num + 3));
    c->slots = get_memory(sizeof(Slot) * l->opts.depth);
    c->data = guest_addr(get_memory((uint64_t)l->opts.depth *
                                    l->opts.block_size));
    for (i = 0; i < l->opts.depth; i++) {
        Slot *s = &c->slots[i];

        c->desc[i] = (struct vring_desc) {
            .addr = guest_addr(s->table), .len = sizeof(s->table),
            .flags = VRING_DESC_F_INDIRECT,
        };
        s->table[0] = (struct vring_desc) {
            guest_addr(&s->header), sizeof(s->header), VRING_DESC_F_NEXT, 1,
        };
        s->table[1] = (struct vring_desc) {
            c->data + (uint64_t)i * l->opts.block_size, l->opts.block_size,
            VRING_DESC_F_NEXT, 2,
        };
        s->table[2] = (struct vring_desc) {
            guest_addr(&s->status), 1, VRING_DESC_F_WRITE, 0,
        };
    }
    start_queue(c, index);
    return &c->common;
}

static void vhost_start(LoadConn *conn, LoadRequest *req)
{
    VhostConn *c = container_of(conn, VhostConn, common);
    Slot *s = &c->slots[req->slot];

    s->header.type = req->write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;
    s->header.ioprio = 0;
    s->header.sector = req->offset / 512;
    s->status = 0xff;
    s->table[1].flags = VRING_DESC_F_NEXT |
                        (req->write ? 0 : VRING_DESC_F_WRITE);
    c->avail->ring[c->avail_idx++ % c->num] = req->slot;
}

static bool server_wants_kick(VhostConn *c)
{
    uint16_t event;

    if (!session.event_idx) {
        return !(qatomic_read(&c->used->flags) & VRING_USED_F_NO_NOTIFY);
    }
    event = qatomic_read((uint16_t *)&c->used->ring[c->num]);
    return vring_need_event(event, c->avail_idx, c->kicked);
}

static void vhost_flush(LoadConn *conn)
{
    VhostConn *c = container_of(conn, VhostConn, common);
    uint64_t one = 1;

    if (c->avail_idx == c->kicked) {
        return;
    }
    /* The entries come before the index, and that before the server's wish. */
    qatomic_store_release(&c->avail->idx, c->avail_idx);
    smp_mb();
    if (server_wants_kick(c) &&
        write(c->kick, &one, sizeof(one)) != sizeof(one)) {
        load_fail("the queue cannot be kicked: %s", strerror(errno));
    }
    c->kicked = c->avail_idx;
}

static void take_used(VhostConn *c)
{
    uint16_t idx = qatomic_load_acquire(&c->used->idx);

    while (c->used_idx != idx) {
        uint32_t id = c->used->ring[c->used_idx++ % c->num].id;
        LoadRequest *req;

        if (id >= c->common.load->opts.depth) {
            load_fail("the vhost-user server has used a wrong descriptor");
        }
        req = &c->common.requests[id];
        req->failed = c->slots[id].status != VIRTIO_BLK_S_OK;
        load_done(req);
    }
}

static void vhost_receive(LoadConn *conn)
{
    VhostConn *c = container_of(conn, VhostConn, common);
    uint64_t count;

    if (read(conn->fd, &count, sizeof(count)) < 0 && errno != EAGAIN) {
        load_fail("the queue cannot be called: %s", strerror(errno));
    }
    do {
        take_used(c);
        if (!session.event_idx) {
            return;
        }
        qatomic_set(&c->avail->ring[c->num], c->used_idx);
        /* Our wish before the index: some may have been used meanwhile. */
        smp_mb();
    } while (c->used_idx != qatomic_read(&c->used->idx));
}

const LoadDriver load_vhost = {
    .prefix = "vhost-user:",
    .open = vhost_open,
    .start = vhost_start,
    .flush = vhost_flush,
    .receive = vhost_receive,
};
