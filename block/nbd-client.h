/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared by the files of the NBD client, the protocol driver "nbd".
 *
 * nbd.c is the driver's table, opening and closing; nbd-options.c the options
 * and file names; nbd-connect.c makes connections, in threads of its own;
 * nbd-conn.c is a connection in the event loop; nbd-io.c the requests.
 */
#ifndef BLOCK_NBD_CLIENT_H
#define BLOCK_NBD_CLIENT_H

#include "block/block_int.h"
#include "nbd-late.h"
#include "qapi/qapi-types-sockets.h"
#include "qemu/coroutine.h"

#define NBD_DEFAULT_PORT "10809"
/* Whether libnbd can be told which host a certificate has to be for. */
#ifdef LIBNBD_HAVE_NBD_SET_TLS_HOSTNAME
#define NBD_HAVE_TLS_HOSTNAME 1
#else
#define NBD_HAVE_TLS_HOSTNAME 0
#endif
/* The longest name of an export, and the most that a request may carry. */
#define NBD_CLIENT_MAX_STRING 4096
#define NBD_CLIENT_MAX_BUFFER (32 * MiB)

/* --- nbd-options.c --- */

/* What a connection is made of; any thread may read it. */
typedef struct NBDParams {
    int refcount;               /* atomic */
    SocketAddress *addr;
    char *export;
    char *context;              /* of block status */
    bool writable;              /* the export has to be, at first */
    bool tls;
    bool tls_verify;
    char *tls_dir;              /* of certificates; NULL: those of the system */
    char *tls_psk_file;
    char *tls_username;
    char *tls_hostname;         /* what the certificate has to be for */
} NBDParams;

NBDParams *nbd_params_ref(NBDParams *p);
/* NULL is fine. */
void nbd_params_unref(NBDParams *p);

void nbd_parse_filename(const char *filename, QOpts *options, Error **errp);
/* The server out of @options; NULL with @errp set. */
SocketAddress *nbd_take_server(QOpts *options, Error **errp);
/* Set by a file name that asks for TLS; in no schema. */
#define NBD_URI_TLS "uri-tls"
/* Takes that; false with @errp set: there are no credentials for it. */
bool nbd_check_uri_tls(QOpts *options, const char *creds_id, Error **errp);
/*
 * The TLS options (NULL: not given), when the address is known.  False with
 * @errp set.
 */
bool nbd_take_tls(NBDParams *p, const char *creds_id, const char *hostname,
                  Error **errp);
/* "nbd://..." for @p, to be freed; NULL: there is none that says it all. */
char *nbd_params_uri(const NBDParams *p);

/* --- nbd-connect.c --- */

enum {
    NBD_CAP_WRITE = 1, NBD_CAP_FLUSH = 2, NBD_CAP_FUA = 4, NBD_CAP_TRIM = 8,
    NBD_CAP_ZERO = 16, NBD_CAP_FAST_ZERO = 32, NBD_CAP_MULTI_CONN = 64,
    NBD_CAP_STATUS = 128,
};

/* What the server has told of the export. */
typedef struct NBDInfo {
    int64_t size;
    uint32_t min_block;
    uint32_t opt_block;         /* 0: not told */
    uint32_t max_block;
    unsigned caps;              /* NBD_CAP_* */
} NBDInfo;

/*
 * Connect @h to the server of @p, with TLS if @p says so: then libnbd is
 * driven until that has ended.  Waits in connect(2).  False with @errp set.
 */
bool nbd_connection_begin(struct nbd_handle *h, const NBDParams *p,
                          Error **errp);

typedef struct NBDConnector NBDConnector;

/*
 * Connect in a thread until it succeeds: once, or again and again until
 * @give_up_ns (QEMU_CLOCK_REALTIME; INT64_MAX: never).  The server must have
 * all of @caps.  @cb is called in @ctx when that has ended; without @ctx, when
 * there is one again.
 */
NBDConnector *nbd_connector_new(NBDParams *p, unsigned caps, bool again,
                                int64_t give_up_ns, AioContext *ctx,
                                QEMUBHFunc *cb, void *opaque);
/* Of no use any more: @cb will not be called.  In its context; NULL is fine. */
void nbd_connector_free(NBDConnector *c);
/* @ctx NULL: none for now.  In the old one, or where no one is in the new. */
void nbd_connector_set_context(NBDConnector *c, AioContext *ctx);
/* Any thread. */
bool nbd_connector_done(NBDConnector *c);
/* A connection that is ready, or NULL with @errp set.  When it is done. */
struct nbd_handle *nbd_connector_take(NBDConnector *c, NBDInfo *info,
                                      Error **errp);

/* --- nbd-conn.c --- */

typedef enum NBDCallType {
    NBD_CALL_READ, NBD_CALL_WRITE, NBD_CALL_ZERO, NBD_CALL_TRIM,
    NBD_CALL_FLUSH, NBD_CALL_STATUS,
} NBDCallType;

/* A request, on the stack of its coroutine. */
typedef struct NBDCall {
    NBDCallType type;
    uint32_t flags;             /* LIBNBD_CMD_FLAG_* */
    int64_t offset;
    int64_t bytes;
    void *buf;                  /* of reads and writes */
    const char *context;        /* of block status */
    uint32_t extent_len;        /* its answer; 0: none has come */
    uint32_t extent_flags;

    struct NBDConn *conn;
    Coroutine *co;
    int ret;                    /* 0 or -errno, by the server */
    bool lost;                  /* the connection has ended before */
    bool answered;              /* it is on the list of answers */
    QTAILQ_ENTRY(NBDCall) next; /* conn->calls, then conn->done */
} NBDCall;

/* A connection in the event loop of the node; freed by its last reference. */
typedef struct NBDConn {
    BlockDriverState *bs;       /* NULL: the node has been closed */
    int refcount;
    struct nbd_handle *h;       /* NULL: not connected */
    AioContext *ctx;            /* NULL while the node moves */
    int fd;
    unsigned direction;         /* what the event loop waits for */
    QEMUBH *bh;
    uint64_t answers;
    QTAILQ_HEAD(, NBDCall) calls;
    QTAILQ_HEAD(, NBDCall) done;
} NBDConn;

NBDConn *nbd_conn_new(BlockDriverState *bs);
/* The node is closed. */
void nbd_conn_close(NBDConn *c);
/* @h becomes the connection's.  In its context. */
void nbd_conn_adopt(NBDConn *c, struct nbd_handle *h);
void nbd_conn_detach(NBDConn *c);
void nbd_conn_attach(NBDConn *c, AioContext *ctx);
/* The connection is given up: what is in flight is lost.  In its context. */
void nbd_conn_drop(NBDConn *c);
/*
 * In the node's home.  call->lost: perhaps the server has carried it out,
 * perhaps not.  Otherwise call->ret says how it has ended.
 */
void coroutine_fn nbd_conn_call(NBDConn *c, NBDCall *call);

/* --- nbd.c --- */

/* A request that waits for the connection, on the stack of its coroutine. */
typedef struct NBDWaiter {
    QemuCoSleep sleep;
    uint64_t since;             /* BDRVNBDState.wakes when it began */
    bool woken;                 /* and not in the list any more */
    QTAILQ_ENTRY(NBDWaiter) next;
} NBDWaiter;

/* All of it belongs to the node's home. */
typedef struct BDRVNBDState {
    NBDParams *params;
    NBDInfo info;
    int64_t reconnect_delay_ns;
    int64_t give_up_ns;         /* until when requests wait; REALTIME */
    NBDConn *conn;
    NBDConnector *connector;    /* NULL unless the connection is lost */
    QEMUBH *limits_bh;          /* of the main thread */
    QTAILQ_HEAD(, NBDWaiter) waiters;
    uint64_t wakes;
} BDRVNBDState;

/*
 * conn->h has been closed: try again.  @wait: requests may wait for that, as
 * the options say.
 */
void nbd_connection_lost(BlockDriverState *bs, bool wait);
/*
 * A connection that is ready; waits for it if the options say so.  NULL: there
 * is none.  In the node's home.
 */
NBDConn *coroutine_fn nbd_co_connection(BlockDriverState *bs);

/* --- nbd-io.c --- */

int coroutine_fn nbd_co_preadv_part(BlockDriverState *bs, int64_t offset,
                                    int64_t bytes, QEMUIOVector *qiov,
                                    size_t qiov_offset,
                                    BdrvRequestFlags flags);
int coroutine_fn nbd_co_pwritev_part(BlockDriverState *bs, int64_t offset,
                                     int64_t bytes, QEMUIOVector *qiov,
                                     size_t qiov_offset,
                                     BdrvRequestFlags flags);
int coroutine_fn nbd_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, BdrvRequestFlags flags);
int coroutine_fn nbd_co_pdiscard(BlockDriverState *bs, int64_t offset,
                                 int64_t bytes);
int coroutine_fn nbd_co_flush(BlockDriverState *bs);
int coroutine_fn nbd_co_block_status(BlockDriverState *bs, bool want_zero,
                                     int64_t offset, int64_t bytes,
                                     int64_t *pnum, int64_t *map,
                                     BlockDriverState **file);

#endif
