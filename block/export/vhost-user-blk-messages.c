/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The messages of the vhost-user protocol, as far as a block device needs
 * them.  Main thread; those that concern a queue visit its thread.
 */
#include "qemu/osdep.h"
#include "vhost-user-blk.h"
#include "qapi/error.h"

enum {
    PROTOCOL_F_MQ = 0,
    PROTOCOL_F_REPLY_ACK = 3,
    PROTOCOL_F_BACKEND_REQ = 5,
    PROTOCOL_F_CONFIG = 9,
    PROTOCOL_F_INFLIGHT_SHMFD = 12,
    PROTOCOL_F_CONFIGURE_MEM_SLOTS = 15,
};

static const uint64_t all_protocol_features =
    1 << PROTOCOL_F_MQ | 1 << PROTOCOL_F_REPLY_ACK |
    1 << PROTOCOL_F_BACKEND_REQ | 1 << PROTOCOL_F_CONFIG |
    1 << PROTOCOL_F_INFLIGHT_SHMFD | 1 << PROTOCOL_F_CONFIGURE_MEM_SLOTS;

/* Of messages that carry the descriptor of a queue. */
enum {
    VRING_INDEX_MASK = 0xff,
    VRING_NO_FD = 0x100,
};

#define CONFIG_HEADER_SIZE 12

typedef bool coroutine_fn MessageFn(VuBlkExport *exp, VuMsg *msg,
                                    Error **errp);

static int take_fd(VuMsg *msg)
{
    int fd = msg->n_fds ? msg->fds[0] : -1;

    if (fd >= 0) {
        msg->fds[0] = -1;
    }
    return fd;
}

void vu_blk_close_fds(VuMsg *msg)
{
    unsigned i;

    for (i = 0; i < msg->n_fds; i++) {
        if (msg->fds[i] >= 0) {
            close(msg->fds[i]);
        }
    }
    msg->n_fds = 0;
}

static void replace_fd(int *slot, int fd)
{
    if (*slot >= 0) {
        close(*slot);
    }
    *slot = fd;
}

static void answer_u64(VuMsg *msg, uint64_t value)
{
    msg->u.u64 = value;
    msg->size = sizeof(value);
}

/* --- queues --- */

static VuBlkQueue *find_queue(VuBlkExport *exp, uint32_t index, Error **errp)
{
    if (index >= exp->n_queues) {
        error_setg(errp, "there is no queue %u, but %u of them", index,
                   exp->n_queues);
        return NULL;
    }
    return &exp->queues[index];
}

static bool is_enabled(const VuBlkQueue *q)
{
    return q->enabled ||
           !vu_blk_has_feature(q->exp, VHOST_USER_F_PROTOCOL_FEATURES);
}

/* Start the queue if it has all that it needs, else see that it is stopped. */
static bool coroutine_fn update_queue(VuBlkQueue *q, Error **errp)
{
    bool run = q->kick_fd >= 0 && q->num && q->have_addrs && is_enabled(q);

    if (run == q->running) {
        return true;
    }
    if (!run) {
        vu_blk_queue_stop(q);
        return true;
    }
    return vu_blk_queue_start(q, errp);
}

static void coroutine_fn stop_queues(VuBlkExport *exp)
{
    unsigned i;

    for (i = 0; i < exp->n_queues; i++) {
        vu_blk_queue_stop(&exp->queues[i]);
    }
}

static bool coroutine_fn update_queues(VuBlkExport *exp, Error **errp)
{
    unsigned i;

    for (i = 0; i < exp->n_queues; i++) {
        if (!update_queue(&exp->queues[i], errp)) {
            return false;
        }
    }
    return true;
}

static bool coroutine_fn set_vring_num(VuBlkExport *exp, VuMsg *msg,
                                       Error **errp)
{
    VuBlkQueue *q = find_queue(exp, msg->u.state.index, errp);

    if (!q) {
        return false;
    }
    if (!msg->u.state.num || msg->u.state.num > VIRTQUEUE_MAX_SIZE) {
        error_setg(errp, "queue %u cannot have %u entries, but up to %d",
                   q->index, msg->u.state.num, VIRTQUEUE_MAX_SIZE);
        return false;
    }
    vu_blk_queue_stop(q);
    q->num = msg->u.state.num;
    return update_queue(q, errp);
}

static bool coroutine_fn set_vring_addr(VuBlkExport *exp, VuMsg *msg,
                                        Error **errp)
{
    VuBlkQueue *q = find_queue(exp, msg->u.addr.index, errp);

    if (!q) {
        return false;
    }
    if (msg->u.addr.flags) {
        error_setg(errp, "logging of changed memory is not supported");
        return false;
    }
    vu_blk_queue_stop(q);
    q->addrs = (VirtQueueAddresses) {
        .desc = msg->u.addr.desc,
        .avail = msg->u.addr.avail,
        .used = msg->u.addr.used,
    };
    q->have_addrs = true;
    return update_queue(q, errp);
}

static bool coroutine_fn set_vring_base(VuBlkExport *exp, VuMsg *msg,
                                        Error **errp)
{
    VuBlkQueue *q = find_queue(exp, msg->u.state.index, errp);

    if (!q) {
        return false;
    }
    vu_blk_queue_stop(q);
    q->base = msg->u.state.num;
    return update_queue(q, errp);
}

/* This stops the queue, until it gets a kick descriptor again. */
static bool coroutine_fn get_vring_base(VuBlkExport *exp, VuMsg *msg,
                                        Error **errp)
{
    VuBlkQueue *q = find_queue(exp, msg->u.state.index, errp);

    if (!q) {
        return false;
    }
    vu_blk_queue_stop(q);
    replace_fd(&q->kick_fd, -1);
    msg->u.state.num = q->base;
    msg->size = sizeof(msg->u.state);
    return true;
}

/* Its queue; *@fd is an eventfd, as far as can be seen, or -1. */
static VuBlkQueue *vring_fd(VuBlkExport *exp, VuMsg *msg, int *fd,
                            Error **errp)
{
    VuBlkQueue *q = find_queue(exp, msg->u.u64 & VRING_INDEX_MASK, errp);
    struct stat st;
    int flags;

    if (!q) {
        return NULL;
    }
    *fd = -1;
    if (msg->u.u64 & VRING_NO_FD) {
        return q;
    }
    if (!msg->n_fds) {
        error_setg(errp, "queue %u: there is no descriptor", q->index);
        return NULL;
    }
    /* Writing to a pipe or a file could take its time. */
    if (fstat(msg->fds[0], &st) < 0 || st.st_mode & S_IFMT) {
        error_setg(errp, "queue %u: the descriptor is no eventfd", q->index);
        return NULL;
    }
    flags = fcntl(msg->fds[0], F_GETFL);
    if (flags < 0 || fcntl(msg->fds[0], F_SETFL, flags | O_NONBLOCK) < 0) {
        error_setg_errno(errp, errno, "queue %u: the descriptor cannot be "
                         "made non-blocking", q->index);
        return NULL;
    }
    *fd = take_fd(msg);
    return q;
}

static bool coroutine_fn set_vring_kick(VuBlkExport *exp, VuMsg *msg,
                                        Error **errp)
{
    int fd;
    VuBlkQueue *q = vring_fd(exp, msg, &fd, errp);

    if (!q) {
        return false;
    }
    if (fd < 0) {
        error_setg(errp, "queue %u: polling instead of kicks is not "
                   "supported", q->index);
        return false;
    }
    vu_blk_queue_stop(q);
    replace_fd(&q->kick_fd, fd);
    return update_queue(q, errp);
}

static bool coroutine_fn set_vring_call(VuBlkExport *exp, VuMsg *msg,
                                        Error **errp)
{
    int fd;
    VuBlkQueue *q = vring_fd(exp, msg, &fd, errp);

    if (!q) {
        return false;
    }
    vu_blk_queue_set_call(q, fd);
    return true;
}

static bool coroutine_fn set_vring_err(VuBlkExport *exp, VuMsg *msg,
                                       Error **errp)
{
    int fd;
    VuBlkQueue *q = vring_fd(exp, msg, &fd, errp);

    if (!q) {
        return false;
    }
    vu_blk_queue_stop(q);
    replace_fd(&q->err_fd, fd);
    return update_queue(q, errp);
}

static bool coroutine_fn set_vring_enable(VuBlkExport *exp, VuMsg *msg,
                                          Error **errp)
{
    VuBlkQueue *q = find_queue(exp, msg->u.state.index, errp);

    if (!q) {
        return false;
    }
    q->enabled = msg->u.state.num;
    return update_queue(q, errp);
}

/* --- features --- */

static bool coroutine_fn get_features(VuBlkExport *exp, VuMsg *msg,
                                      Error **errp)
{
    answer_u64(msg, exp->features);
    return true;
}

/*
 * A driver that cannot flush expects every write to be on the disk.  The next
 * one, as that of a system after its firmware, finds what there was before.
 */
static void update_cache_mode(VuBlkExport *exp)
{
    BlockBackend *blk = exp->common.blk;
    bool cannot_flush = !vu_blk_has_feature(exp, VIRTIO_BLK_F_FLUSH);

    if (cannot_flush == exp->cannot_flush) {
        return;
    }
    exp->cannot_flush = cannot_flush;
    if (cannot_flush) {
        exp->write_cache = blk_enable_write_cache(blk);
    }
    blk_set_enable_write_cache(blk, !cannot_flush && exp->write_cache);
}

static bool coroutine_fn set_features(VuBlkExport *exp, VuMsg *msg,
                                      Error **errp)
{
    bool same = msg->u.u64 == exp->client.features;

    if (msg->u.u64 & ~exp->features) {
        error_setg(errp, "the features 0x%" PRIx64 " are not offered",
                   msg->u.u64 & ~exp->features);
        return false;
    }
    if (!same) {
        stop_queues(exp);
        exp->client.features = msg->u.u64;
    }
    update_cache_mode(exp);
    return same || update_queues(exp, errp);
}

static bool coroutine_fn get_protocol_features(VuBlkExport *exp, VuMsg *msg,
                                               Error **errp)
{
    answer_u64(msg, all_protocol_features);
    return true;
}

static bool coroutine_fn set_protocol_features(VuBlkExport *exp, VuMsg *msg,
                                               Error **errp)
{
    if (msg->u.u64 & ~all_protocol_features) {
        error_setg(errp, "the protocol features 0x%" PRIx64 " are not "
                   "offered", msg->u.u64 & ~all_protocol_features);
        return false;
    }
    exp->client.protocol_features = msg->u.u64;
    return true;
}

static bool coroutine_fn set_owner(VuBlkExport *exp, VuMsg *msg, Error **errp)
{
    return true;
}

static bool coroutine_fn get_queue_num(VuBlkExport *exp, VuMsg *msg,
                                       Error **errp)
{
    answer_u64(msg, exp->n_queues);
    return true;
}

/* --- memory --- */

static bool coroutine_fn set_mem_table(VuBlkExport *exp, VuMsg *msg,
                                       Error **errp)
{
    unsigned i, n = msg->u.mem_table.n;

    if (n > VU_MAX_FDS || n != msg->n_fds ||
        msg->size < 8 + n * sizeof(GuestRegionInfo)) {
        error_setg(errp, "a table of %u regions of memory, with %u "
                   "descriptors", n, msg->n_fds);
        return false;
    }
    stop_queues(exp);
    guest_memory_clear(&exp->client.mem);
    for (i = 0; i < n; i++) {
        if (!guest_memory_add(&exp->client.mem, &msg->u.mem_table.regions[i],
                              msg->fds[i], errp)) {
            return false;
        }
    }
    return update_queues(exp, errp);
}

static bool coroutine_fn get_max_mem_slots(VuBlkExport *exp, VuMsg *msg,
                                           Error **errp)
{
    answer_u64(msg, GUEST_MEMORY_MAX_REGIONS);
    return true;
}

/* If it fails the queues go on with what they have. */
static bool coroutine_fn add_mem_reg(VuBlkExport *exp, VuMsg *msg,
                                     Error **errp)
{
    bool ok;

    if (msg->n_fds != 1) {
        error_setg(errp, "a region of memory with %u descriptors, not one",
                   msg->n_fds);
        return false;
    }
    stop_queues(exp);
    ok = guest_memory_add(&exp->client.mem, &msg->u.mem_region.region,
                          msg->fds[0], errp);
    return update_queues(exp, ok ? errp : NULL) && ok;
}

static bool coroutine_fn rem_mem_reg(VuBlkExport *exp, VuMsg *msg,
                                     Error **errp)
{
    bool ok;

    stop_queues(exp);
    ok = guest_memory_remove(&exp->client.mem, &msg->u.mem_region.region,
                             errp);
    return update_queues(exp, ok ? errp : NULL) && ok;
}

/* --- configuration --- */

static bool coroutine_fn set_backend_req_fd(VuBlkExport *exp, VuMsg *msg,
                                            Error **errp)
{
    struct stat st;

    if (!msg->n_fds || fstat(msg->fds[0], &st) < 0 || !S_ISSOCK(st.st_mode)) {
        error_setg(errp, "there is no descriptor of a socket");
        return false;
    }
    replace_fd(&exp->client.backend_fd, take_fd(msg));
    return true;
}

static bool check_config(const VuMsg *msg, Error **errp)
{
    uint32_t offset = msg->u.config.offset, size = msg->u.config.size;

    if (msg->size < CONFIG_HEADER_SIZE || size > VU_BLK_CONFIG_SIZE ||
        offset > VU_BLK_CONFIG_SIZE - size) {
        error_setg(errp, "%u bytes at %u are not in the configuration", size,
                   offset);
        return false;
    }
    return true;
}

static bool coroutine_fn get_config(VuBlkExport *exp, VuMsg *msg, Error **errp)
{
    Error *err = NULL;

    if (!check_config(msg, &err)) {
        /* The protocol's answer in that case. */
        error_free(err);
        msg->size = 0;
        return true;
    }
    vu_blk_get_config(exp, msg->u.config.data, msg->u.config.offset,
                      msg->u.config.size);
    msg->size = CONFIG_HEADER_SIZE + msg->u.config.size;
    return true;
}

static bool coroutine_fn set_config(VuBlkExport *exp, VuMsg *msg, Error **errp)
{
    if (!check_config(msg, errp)) {
        return false;
    }
    if (msg->size < CONFIG_HEADER_SIZE + msg->u.config.size) {
        error_setg(errp, "%u bytes of configuration are not there",
                   msg->u.config.size);
        return false;
    }
    return vu_blk_set_config(exp, msg->u.config.data, msg->u.config.offset,
                             msg->u.config.size, errp);
}

/* --- requests in flight --- */

static size_t inflight_stride(VuBlkExport *exp, unsigned num)
{
    return virtqueue_inflight_size(
        vu_blk_has_feature(exp, VIRTIO_F_RING_PACKED), num);
}

static bool check_inflight(VuBlkExport *exp, const VuMsg *msg, Error **errp)
{
    unsigned queues = msg->u.inflight.num_queues;
    unsigned num = msg->u.inflight.queue_size;

    if (!queues || queues > exp->n_queues || !num ||
        num > VIRTQUEUE_MAX_SIZE) {
        error_setg(errp, "%u queues with %u entries are not possible", queues,
                   num);
        return false;
    }
    return true;
}

static bool coroutine_fn get_inflight_fd(VuBlkExport *exp, VuMsg *msg,
                                         Error **errp)
{
    uint64_t size;
    int fd;

    if (!check_inflight(exp, msg, errp)) {
        return false;
    }
    size = msg->u.inflight.num_queues *
           inflight_stride(exp, msg->u.inflight.queue_size);
    fd = memfd_create("vhost-user-blk-inflight", MFD_CLOEXEC |
                      MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, size) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0) {
        error_setg_errno(errp, errno, "cannot make the region for requests "
                         "in flight");
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    msg->u.inflight.mmap_size = size;
    msg->u.inflight.mmap_offset = 0;
    /* The answer is as long as the question. */
    msg->fds[0] = fd;
    msg->n_fds = 1;
    return true;
}

static bool coroutine_fn set_inflight_fd(VuBlkExport *exp, VuMsg *msg,
                                         Error **errp)
{
    VuBlkClient *c = &exp->client;
    uint64_t need;

    if (!check_inflight(exp, msg, errp)) {
        return false;
    }
    need = msg->u.inflight.num_queues *
           inflight_stride(exp, msg->u.inflight.queue_size);
    if (!msg->n_fds || msg->u.inflight.mmap_size < need ||
        !QEMU_IS_ALIGNED(msg->u.inflight.mmap_offset, 8)) {
        error_setg(errp, "a region of %" PRIu64 " bytes at %" PRIu64 " with "
                   "%u descriptors does not do for %u queues",
                   msg->u.inflight.mmap_size, msg->u.inflight.mmap_offset,
                   msg->n_fds, msg->u.inflight.num_queues);
        return false;
    }
    stop_queues(exp);
    guest_mapping_free(g_steal_pointer(&c->inflight));
    c->inflight = guest_mapping_new(msg->fds[0], msg->u.inflight.mmap_offset,
                                    need, &c->inflight_base, errp);
    c->inflight_bytes = need;
    c->inflight_queues = msg->u.inflight.num_queues;
    c->inflight_num = msg->u.inflight.queue_size;
    return c->inflight && update_queues(exp, errp);
}

/* --- the table --- */

enum { MSG_REPLY = 1 };

static const struct {
    const char *name;
    MessageFn *fn;              /* NULL: not supported */
    uint32_t min_size;
    uint32_t flags;
} messages[] = {
#define U64 sizeof(uint64_t)
#define STATE sizeof(((VuMsg *)0)->u.state)
    [1] = { "GET_FEATURES", get_features, 0, MSG_REPLY },
    [2] = { "SET_FEATURES", set_features, U64 },
    [3] = { "SET_OWNER", set_owner },
    [4] = { "RESET_OWNER" },
    [5] = { "SET_MEM_TABLE", set_mem_table, 8 },
    [6] = { "SET_LOG_BASE" },
    [7] = { "SET_LOG_FD" },
    [8] = { "SET_VRING_NUM", set_vring_num, STATE },
    [9] = { "SET_VRING_ADDR", set_vring_addr,
            sizeof(((VuMsg *)0)->u.addr) },
    [10] = { "SET_VRING_BASE", set_vring_base, STATE },
    [11] = { "GET_VRING_BASE", get_vring_base, STATE, MSG_REPLY },
    [12] = { "SET_VRING_KICK", set_vring_kick, U64 },
    [13] = { "SET_VRING_CALL", set_vring_call, U64 },
    [14] = { "SET_VRING_ERR", set_vring_err, U64 },
    [15] = { "GET_PROTOCOL_FEATURES", get_protocol_features, 0, MSG_REPLY },
    [16] = { "SET_PROTOCOL_FEATURES", set_protocol_features, U64 },
    [17] = { "GET_QUEUE_NUM", get_queue_num, 0, MSG_REPLY },
    [18] = { "SET_VRING_ENABLE", set_vring_enable, STATE },
    [21] = { "SET_BACKEND_REQ_FD", set_backend_req_fd },
    [24] = { "GET_CONFIG", get_config, 0, MSG_REPLY },
    [25] = { "SET_CONFIG", set_config, CONFIG_HEADER_SIZE },
    [31] = { "GET_INFLIGHT_FD", get_inflight_fd, 20, MSG_REPLY },
    [32] = { "SET_INFLIGHT_FD", set_inflight_fd, 20 },
    [36] = { "GET_MAX_MEM_SLOTS", get_max_mem_slots, 0, MSG_REPLY },
    [37] = { "ADD_MEM_REG", add_mem_reg,
             sizeof(((VuMsg *)0)->u.mem_region) },
    [38] = { "REM_MEM_REG", rem_mem_reg,
             sizeof(((VuMsg *)0)->u.mem_region) },
};

char *vu_blk_message_name(uint32_t request)
{
    if (request < ARRAY_SIZE(messages) && messages[request].name) {
        return g_strdup(messages[request].name);
    }
    return g_strdup_printf("message %u", request);
}

bool vu_blk_wants_ack(const VuBlkExport *exp, const VuMsg *msg)
{
    return msg->flags & VU_MSG_NEED_REPLY &&
           exp->client.protocol_features >> PROTOCOL_F_REPLY_ACK & 1 &&
           !(msg->request < ARRAY_SIZE(messages) &&
             messages[msg->request].flags & MSG_REPLY);
}

bool coroutine_fn vu_blk_handle_message(VuBlkExport *exp, VuMsg *msg,
                                        bool *reply, Error **errp)
{
    uint32_t request = msg->request;

    *reply = false;
    if (request >= ARRAY_SIZE(messages) || !messages[request].fn) {
        error_setg(errp, "this message is not supported");
        return false;
    }
    if (msg->size < messages[request].min_size) {
        error_setg(errp, "the message has %u bytes, not at least %u",
                   msg->size, messages[request].min_size);
        return false;
    }
    if (messages[request].flags & MSG_REPLY) {
        /* None of them needs any, and the answer has its own. */
        vu_blk_close_fds(msg);
    }
    if (!messages[request].fn(exp, msg, errp)) {
        return false;
    }
    *reply = messages[request].flags & MSG_REPLY;
    return true;
}

void coroutine_fn vu_blk_forget_client(VuBlkExport *exp)
{
    VuBlkClient *c = &exp->client;
    unsigned i;

    for (i = 0; i < exp->n_queues; i++) {
        VuBlkQueue *q = &exp->queues[i];

        vu_blk_queue_stop(q);
        vu_blk_queue_set_call(q, -1);
        replace_fd(&q->kick_fd, -1);
        replace_fd(&q->err_fd, -1);
        q->num = 0;
        q->base = 0;
        q->have_addrs = false;
        q->enabled = false;
        q->reported = false;
    }
    guest_memory_clear(&c->mem);
    guest_mapping_free(g_steal_pointer(&c->inflight));
    replace_fd(&c->backend_fd, -1);
}
