/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the vhost-user-blk export share.
 *
 * The export, its socket and the messages of its client belong to the main
 * thread; each queue belongs to the thread of its context.  The coroutine that
 * reads the messages goes to a queue's thread when it starts or stops it, and
 * comes back.  The memory changes only while no queue is running.
 */
#ifndef BLOCK_EXPORT_VHOST_USER_BLK_H
#define BLOCK_EXPORT_VHOST_USER_BLK_H

#include "block/export.h"
#include "export-queue.h"
#include "guest-memory.h"
#include "virtqueue.h"
#include "qemu/coroutine.h"
#include "qemu/event_notifier.h"
#include "qemu/main-loop.h"

/* The protocol can name so many queues where it sends a descriptor. */
#define VU_BLK_MAX_QUEUES 256
#define VU_BLK_CONFIG_SIZE 256

/* Feature bits. */
enum {
    VIRTIO_BLK_F_SEG_MAX = 2,
    VIRTIO_BLK_F_RO = 5,
    VIRTIO_BLK_F_BLK_SIZE = 6,
    VIRTIO_BLK_F_FLUSH = 9,
    VIRTIO_BLK_F_TOPOLOGY = 10,
    VIRTIO_BLK_F_CONFIG_WCE = 11,
    VIRTIO_BLK_F_MQ = 12,
    VIRTIO_BLK_F_DISCARD = 13,
    VIRTIO_BLK_F_WRITE_ZEROES = 14,
    VHOST_USER_F_PROTOCOL_FEATURES = 30,
};

/* Limits that the configuration tells. */
enum {
    VU_BLK_SEG_MAX = VIRTQUEUE_MAX_CHAIN - 2,
    VU_BLK_MAX_RANGES = 32,             /* of a discard or zero write */
    VU_BLK_MAX_RANGE_SECTORS = 1 << 22, /* 2 GiB */
};

/*
 * The memory that drivers below take for a request may be of its length, which
 * the guest chooses.  So a queue takes no more requests when those in flight
 * have so many bytes, and one that is longer than a piece goes down in pieces.
 */
#define VU_BLK_MAX_IN_FLIGHT_BYTES (64 * MiB)
#define VU_BLK_MAX_PIECE (32 * MiB)

/* Where the cache mode is in the configuration. */
#define VU_BLK_CONFIG_WCE_OFFSET 32

typedef struct VuBlkExport VuBlkExport;
typedef struct VuBlkReq VuBlkReq;

typedef struct VuBlkQueue {
    VuBlkExport *exp;
    unsigned index;
    ExportQueue common;         /* home thread, but for its context */

    /* What the client has said.  Main thread, while it does not run. */
    uint32_t num;
    uint32_t base;
    VirtQueueAddresses addrs;
    bool have_addrs;
    bool enabled;
    int kick_fd;                /* -1: none, as the next two */
    int err_fd;

    /* Home thread. */
    int call_fd;
    bool running;
    bool polling;               /* the loop looks by itself */
    bool reported;              /* that it is broken, to this client */
    VirtQueue vq;
    QEMUBH *bh;                 /* look for requests */
    VuBlkReq *free_reqs;
    uint64_t in_flight_bytes;
} VuBlkQueue;

typedef struct VuBlkClient {
    int fd;                     /* -1: there is none */
    bool closing;
    bool late;                  /* the time for a message was over */
    QEMUTimer *timer;           /* pending: a message, or an answer, is due */
    unsigned errors;            /* messages that were refused */
    Coroutine *waiting;         /* for the socket */
    uint64_t features;
    uint64_t protocol_features;
    int backend_fd;             /* for messages of ours; -1: none */
    GuestMemory mem;
    GuestMapping *inflight;     /* NULL: not tracked */
    uint8_t *inflight_base;
    uint64_t inflight_bytes;    /* that are mapped */
    uint16_t inflight_queues;
    uint16_t inflight_num;      /* entries of each queue */
} VuBlkClient;

struct VuBlkExport {
    BlockExport common;
    SocketAddress *addr;
    int listen_fd;
    uint64_t features;          /* that are offered */
    uint32_t blk_size;          /* logical blocks, bytes */
    bool writable;
    bool cannot_flush;          /* the driver; so there is no write cache */
    bool write_cache;           /* what there was before that */
    unsigned n_queues;
    VuBlkQueue *queues;
    QEMUBH *resize_bh;
    QEMUBH *lost_bh;            /* let the client go, from any thread */
    QEMUTimer *accept_timer;
    VuBlkClient client;
};

static inline bool vu_blk_has_feature(const VuBlkExport *exp, unsigned bit)
{
    return exp->client.features >> bit & 1;
}

/* --- vhost-user-blk.c --- */

/* What the guest sees as the configuration; @len bytes from @offset on. */
void vu_blk_get_config(VuBlkExport *exp, uint8_t *buf, uint32_t offset,
                       uint32_t len);
/* False with @errp set if the guest cannot write that. */
bool vu_blk_set_config(VuBlkExport *exp, const uint8_t *buf, uint32_t offset,
                       uint32_t len, Error **errp);

/* --- vhost-user-blk-server.c --- */

/* Listen, and stop listening.  Main thread. */
bool vu_blk_server_start(VuBlkExport *exp, Error **errp);
void vu_blk_server_stop(VuBlkExport *exp);
/* Serve the client at @fd, a connected socket that becomes ours. */
void vu_blk_client_start(VuBlkExport *exp, int fd);
/* Let the client go; it drops its reference when it has gone. */
void vu_blk_client_shutdown(VuBlkExport *exp);
/* Tell the client that the configuration has changed, if it wants to know. */
void vu_blk_client_config_changed(VuBlkExport *exp);

/* --- vhost-user-blk-messages.c --- */

#define VU_MAX_FDS 8

/* A message, all numbers in the order of this machine. */
typedef struct VuMsg {
    uint32_t request;
    uint32_t flags;
    uint32_t size;              /* of the payload, bytes */
    union {
        uint64_t u64;
        struct {
            uint32_t index, num;
        } state;
        struct {
            uint32_t index, flags;
            uint64_t desc, used, avail, log;
        } addr;
        struct {
            uint32_t n, padding;
            GuestRegionInfo regions[VU_MAX_FDS];
        } mem_table;
        struct {
            uint64_t padding;
            GuestRegionInfo region;
        } mem_region;
        struct {
            uint32_t offset, size, flags;
            uint8_t data[VU_BLK_CONFIG_SIZE];
        } config;
        struct {
            uint64_t mmap_size, mmap_offset;
            uint16_t num_queues, queue_size;
        } inflight;
    } u;
    int fds[VU_MAX_FDS];        /* -1: none, or taken */
    unsigned n_fds;
} VuMsg;

#define VU_MSG_HEADER_SIZE 12
#define VU_MSG_MAX_SIZE sizeof(((VuMsg *)0)->u)

enum {
    VU_MSG_VERSION = 1,
    VU_MSG_VERSION_MASK = 3,
    VU_MSG_REPLY = 4,
    VU_MSG_NEED_REPLY = 8,
};

/*
 * Do what @msg says.  False with @errp set: it cannot be.  True: *@reply says
 * whether @msg is an answer now, which is to be sent.
 */
bool coroutine_fn vu_blk_handle_message(VuBlkExport *exp, VuMsg *msg,
                                        bool *reply, Error **errp);
/* Close the descriptors of @msg that nobody has taken. */
void vu_blk_close_fds(VuMsg *msg);
/* "VHOST_USER_..." without that, or a number. */
char *vu_blk_message_name(uint32_t request);
/* Whether an answer is wanted that has no other content. */
bool vu_blk_wants_ack(const VuBlkExport *exp, const VuMsg *msg);
/* The client has gone: nothing that it has said stays. */
void coroutine_fn vu_blk_forget_client(VuBlkExport *exp);

/* --- vhost-user-blk-queue.c --- */

void vu_blk_queue_init(VuBlkQueue *q, VuBlkExport *exp, unsigned index,
                       AioContext *ctx);
void vu_blk_queue_destroy(VuBlkQueue *q);
/*
 * Main thread, back there afterwards.  Stopping waits for the requests in
 * flight; q->base is right then.
 */
bool coroutine_fn vu_blk_queue_start(VuBlkQueue *q, Error **errp);
void coroutine_fn vu_blk_queue_stop(VuBlkQueue *q);
/* @fd becomes the queue's. */
void coroutine_fn vu_blk_queue_set_call(VuBlkQueue *q, int fd);

/* --- vhost-user-blk-requests.c --- */

struct VuBlkReq {
    VirtQueueElement elem;
    uint64_t bytes;             /* in all of its buffers */
    VuBlkQueue *q;
    VuBlkReq *next;             /* of those that are free */
};

/* In a coroutine of its own, with a VuBlkReq. */
void coroutine_fn vu_blk_req_entry(void *opaque);
/* The request is done with @len bytes written; by the above. */
void coroutine_fn vu_blk_req_done(VuBlkReq *req, uint32_t len);
/* It makes no sense, and cannot be answered: the queue is broken. */
void coroutine_fn vu_blk_req_bad(VuBlkReq *req, const char *what);

#endif
