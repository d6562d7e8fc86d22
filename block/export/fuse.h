/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the FUSE export share.
 *
 * libfuse mounts and unmounts; requests are read from the kernel's device and
 * answered here, by its protocol (linux/fuse.h), without an allocation for
 * each of them.  With several iothreads each has a descriptor of its own for
 * the same connection.
 */
#ifndef BLOCK_EXPORT_FUSE_H
#define BLOCK_EXPORT_FUSE_H

#include <linux/fuse.h>
#include "block/export.h"
#include "export-queue.h"
#include "qemu/coroutine.h"
#include "qemu/main-loop.h"

/* The most bytes of a request, and the most requests of a queue. */
#define FUSE_EXPORT_MAX_IO (256 * KiB)
#define FUSE_EXPORT_MAX_REQUESTS 64

typedef struct FuseExport FuseExport;
typedef struct FuseReq FuseReq;

/* A thread's end of the connection.  It belongs to the home thread. */
typedef struct FuseQueue {
    FuseExport *exp;
    ExportQueue common;
    int fd;
    bool started;               /* by its home thread; stays so */
    bool running;
    bool full;                  /* all requests are in use: nothing is read */
    unsigned n_reqs;            /* that have been made */
    FuseReq *free_reqs;
} FuseQueue;

struct FuseExport {
    BlockExport common;
    struct fuse_session *session;
    char *mountpoint;
    bool writable;
    bool growable;
    /* Atomic: chmod and chown change them. */
    uint32_t mode, uid, gid;
    int64_t mtime;              /* atomic; seconds */
    CoMutex resize_lock;        /* of what makes the disk longer */
    QEMUBH *gone_bh;            /* somebody else has unmounted it */
    unsigned n_queues;
    FuseQueue *queues;
};

/*
 * As it is read: the header, and as much of the operation's arguments as those
 * of a write have, so that the data of a write are in @data.
 */
struct FuseReq {
    struct {
        struct fuse_in_header header;
        uint8_t args[sizeof(struct fuse_write_in)];
    } in;
    FuseQueue *q;
    FuseReq *next;              /* of those that are free */
    size_t len;                 /* that was read, bytes */
    uint8_t *data;              /* FUSE_EXPORT_MAX_IO bytes, a little more */
};

/* In a coroutine of its own, with a FuseReq. */
void coroutine_fn fuse_req_entry(void *opaque);
/* It is answered. */
void coroutine_fn fuse_req_done(FuseReq *req);

#endif
