/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared by the files of the NBD server.  The server and the negotiation run in
 * the main context; then a client belongs to a context of its export.
 */
#ifndef NBD_INTERNAL_H
#define NBD_INTERNAL_H

#include <endian.h>
#include "block/block_int.h"
#include "block/dirty-bitmap.h"
#include "block/nbd.h"
#include "qemu/aio.h"
#include "qemu/coroutine.h"
#include "qemu/cutils.h"

/* Requests of one client at once, and the bytes that they may hold. */
#define NBD_MAX_REQUESTS 128
#define NBD_MAX_IN_FLIGHT_BYTES (64 * MiB)

/* Buffers have 4 KiB, 8 KiB, ... 32 MiB; so much of them is kept when free. */
#define NBD_BUFFER_CLASSES 14
#define NBD_MAX_FREE_BYTES (8 * MiB)

typedef struct NBDExport {
    BlockExport common;
    char *name;
    char *description;          /* NULL: none */
    uint64_t size;              /* the last that a client was told; atomic */
    uint16_t flags;             /* NBD_FLAG_* */
    bool allocation_depth;
    uint64_t serial;            /* another export of its name has another one */
    BdrvDirtyBitmap **bitmaps;  /* busy while they are here */
    BlockDriverState **bitmap_nodes;    /* that have them; references */
    size_t n_bitmaps;
    unsigned next_ctx;          /* of the next client */
    QLIST_ENTRY(NBDExport) next;
} NBDExport;

/* The contexts of block status that a client has chosen, by their numbers. */
enum {
    NBD_META_BASE_ALLOCATION = 0,
    NBD_META_ALLOCATION_DEPTH = 1,
    NBD_META_DIRTY_BITMAPS = 2, /* and those that follow: one for each */
};

typedef struct NBDReply NBDReply;

typedef struct NBDClient {
    int refcount;               /* atomic; of the memory */
    int fd;
    AioContext *ctx;            /* where it runs; the main one at first */
    unsigned watched;           /* what the event loop waits for: 1|2 */
    Coroutine *reader;          /* waits until fd is readable */
    Coroutine *writer;
    NBDExport *exp;             /* from the end of the negotiation; a ref */
    QEMUTimer *handshake_timer; /* NULL: no limit, or over */
    struct TLSCreds *tls_creds; /* a ref; set: the client must use TLS */
    char *tls_authz;
    struct TLSSession *tls;     /* NULL: no TLS, or not yet */
    uint8_t *tls_buf;           /* of NBD_TLS_BUFFER_SIZE bytes */
    bool no_zeroes;
    bool structured_reply;
    bool extended;              /* headers, and structured replies */
    bool closing;               /* the socket has been shut down; atomic */

    uint8_t *input;             /* what was read ahead; NULL: not yet */
    size_t input_pos;
    size_t input_len;
    bool drained;               /* there was no more to be read */

    QSIMPLEQ_HEAD(, NBDReply) replies;  /* to be sent */
    bool send_deferred;         /* a deferred call has a reference */
    bool sending;
    bool send_blocked;          /* until the socket is writable */
    int send_error;             /* -errno: nothing can be sent any more */

    uint64_t meta_export;       /* with these contexts: its serial, or 0 */
    bool base_allocation;
    bool allocation_depth;
    bool *bitmaps;              /* of the export, by their order */

    CoMutex send_lock;
    int in_flight;              /* requests */
    AioAwake awake;             /* waiting for the next one */
    AioAwake awake_input;       /* for the rest of one */
    AioAwake awake_output;      /* for room for a reply */
    int64_t in_flight_bytes;
    CoQueue free_slot;
    void *free_buffers[NBD_BUFFER_CLASSES]; /* lists: nbd_get_buffer() */
    size_t free_bytes;          /* in those */
    struct NBDRequest *free_requests;
    QLIST_ENTRY(NBDClient) next;
} NBDClient;

/* --- nbd/output.c --- */

/* Send a reply, whole.  0 or -errno. */
int coroutine_fn nbd_client_send(NBDClient *c, const struct iovec *iov,
                                 int niov);
/* The socket is writable again. */
void nbd_client_send_more(NBDClient *c);

/* --- nbd/client-io.c: 0 or -errno; -EPIPE when the client has gone --- */

int coroutine_fn nbd_client_read(NBDClient *c, void *buf, size_t len);
int coroutine_fn nbd_client_writev(NBDClient *c, const struct iovec *iov,
                                   int niov);
int coroutine_fn nbd_client_write(NBDClient *c, const void *buf, size_t len);
/* Requests begin: they are read in larger pieces. */
void nbd_client_start_input(NBDClient *c);
/* Have the event loop wait for what the client waits for. */
void nbd_client_watch(NBDClient *c);
/* The client, which does not wait, and this coroutine go on in @ctx. */
void coroutine_fn nbd_client_move(NBDClient *c, AioContext *ctx);
void nbd_client_ref(NBDClient *c);
void nbd_client_unref(NBDClient *c);
/* From now on with TLS.  -errno: the client is to go. */
int coroutine_fn nbd_client_start_tls(NBDClient *c);
/* What the connection has, but for the socket. */
void nbd_client_free_tls(NBDClient *c);
/* Nothing can be read or written any more; who waits, ends. */
void nbd_client_shutdown(NBDClient *c);

/* --- nbd/negotiate.c --- */

/* 0: c->exp is set, with a reference.  -errno: the client is to go. */
int coroutine_fn nbd_negotiate(NBDClient *c);

/* --- nbd/requests.c --- */

/* Until the client goes and all of its requests have ended. */
void coroutine_fn nbd_serve(NBDClient *c);

/* --- nbd/server.c --- */

NBDExport *nbd_export_find(const char *name);
NBDExport *nbd_export_next(NBDExport *exp);

#endif
