/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * NBD, the network block device protocol: doc/proto.md of the NBD project.
 * Numbers on the wire are big-endian.
 */
#ifndef BLOCK_NBD_H
#define BLOCK_NBD_H

#include "block/export.h"

#define NBD_INIT_MAGIC          0x4e42444d41474943ull   /* NBDMAGIC */
#define NBD_OPTS_MAGIC          0x49484156454f5054ull   /* IHAVEOPT */
#define NBD_REP_MAGIC           0x0003e889045565a9ull
#define NBD_REQUEST_MAGIC       0x25609513u
#define NBD_SIMPLE_REPLY_MAGIC  0x67446698u
#define NBD_STRUCTURED_MAGIC    0x668e33efu
#define NBD_EXTENDED_REQUEST_MAGIC  0x21e41c71u
#define NBD_EXTENDED_REPLY_MAGIC    0x6e8a278cu

/* Handshake flags, of both sides. */
#define NBD_FLAG_FIXED_NEWSTYLE 1
#define NBD_FLAG_NO_ZEROES      2

enum {
    NBD_OPT_EXPORT_NAME = 1, NBD_OPT_ABORT = 2, NBD_OPT_LIST = 3,
    NBD_OPT_STARTTLS = 5, NBD_OPT_INFO = 6, NBD_OPT_GO = 7,
    NBD_OPT_STRUCTURED_REPLY = 8, NBD_OPT_LIST_META_CONTEXT = 9,
    NBD_OPT_SET_META_CONTEXT = 10, NBD_OPT_EXTENDED_HEADERS = 11,
};

#define NBD_REP_ERROR(n)        ((1u << 31) + (n))
#define NBD_REP_ACK             1
#define NBD_REP_SERVER          2
#define NBD_REP_INFO            3
#define NBD_REP_META_CONTEXT    4
#define NBD_REP_ERR_POLICY      NBD_REP_ERROR(2)
#define NBD_REP_ERR_TLS_REQD    NBD_REP_ERROR(5)
#define NBD_REP_ERR_UNSUP       NBD_REP_ERROR(1)
#define NBD_REP_ERR_INVALID     NBD_REP_ERROR(3)
#define NBD_REP_ERR_UNKNOWN     NBD_REP_ERROR(6)
#define NBD_REP_ERR_TOO_BIG     NBD_REP_ERROR(9)
#define NBD_REP_ERR_EXT_HEADER_REQD NBD_REP_ERROR(10)

#define NBD_INFO_EXPORT         0
#define NBD_INFO_NAME           1
#define NBD_INFO_DESCRIPTION    2
#define NBD_INFO_BLOCK_SIZE     3

/* Transmission flags. */
#define NBD_FLAG_HAS_FLAGS          0x001
#define NBD_FLAG_READ_ONLY          0x002
#define NBD_FLAG_SEND_FLUSH         0x004
#define NBD_FLAG_SEND_FUA           0x008
#define NBD_FLAG_SEND_TRIM          0x020
#define NBD_FLAG_SEND_WRITE_ZEROES  0x040
#define NBD_FLAG_SEND_DF            0x080
#define NBD_FLAG_CAN_MULTI_CONN     0x100
#define NBD_FLAG_SEND_CACHE         0x400
#define NBD_FLAG_SEND_FAST_ZERO     0x800
#define NBD_FLAG_BLOCK_STAT_PAYLOAD 0x1000

enum {
    NBD_CMD_READ, NBD_CMD_WRITE, NBD_CMD_DISC, NBD_CMD_FLUSH, NBD_CMD_TRIM,
    NBD_CMD_CACHE, NBD_CMD_WRITE_ZEROES, NBD_CMD_BLOCK_STATUS,
};

#define NBD_CMD_FLAG_FUA        1
#define NBD_CMD_FLAG_NO_HOLE    2
#define NBD_CMD_FLAG_DF         4
#define NBD_CMD_FLAG_REQ_ONE    8
#define NBD_CMD_FLAG_FAST_ZERO  16
#define NBD_CMD_FLAG_PAYLOAD_LEN 32

/* Chunks of structured replies. */
#define NBD_REPLY_FLAG_DONE         1
#define NBD_REPLY_TYPE_NONE         0
#define NBD_REPLY_TYPE_OFFSET_DATA  1
#define NBD_REPLY_TYPE_OFFSET_HOLE  2
#define NBD_REPLY_TYPE_BLOCK_STATUS 5
#define NBD_REPLY_TYPE_BLOCK_STATUS_EXT 6
#define NBD_REPLY_TYPE_ERROR        0x8001

/* base:allocation, and qemu:dirty-bitmap:NAME */
#define NBD_STATE_HOLE          1
#define NBD_STATE_ZERO          2
#define NBD_STATE_DIRTY         1

/* The most that a request may carry, and that one export name may have. */
#define NBD_MAX_BUFFER_SIZE     (32 * MiB)
#define NBD_MAX_STRING_SIZE     4096

extern const BlockExportDriver blk_exp_nbd;

/*
 * Listen; the server is one for the process.  @max_connections 0: no limit;
 * @handshake_max_seconds 0: no limit.  @tls_creds and @tls_authz, ids of
 * objects, may be NULL.  False with @errp set on failure.
 */
bool nbd_server_start(const SocketAddress *addr, uint32_t max_connections,
                      uint32_t handshake_max_seconds, const char *tls_creds,
                      const char *tls_authz, Error **errp);
/* The last of these arguments from options, which may be built without. */
#ifdef CONFIG_GNUTLS
#define NBD_TLS_OPTIONS(opts) (opts)->tls_creds, (opts)->tls_authz
#else
#define NBD_TLS_OPTIONS(opts) NULL, NULL
#endif
bool nbd_server_is_running(void);
/* How many are connected now. */
uint32_t nbd_server_connections(void);
/* How many had negotiated an export, and have gone. */
uint64_t nbd_server_served(void);
/* Let all clients go, remove all exports, and close the socket. */
void nbd_server_stop(void);

/* Messages, as they are on the wire: big endian. */

typedef struct {
    uint64_t magic;
    uint32_t option;
    uint32_t len;
} QEMU_PACKED NBDOptionHeader;

typedef struct {
    uint32_t magic;
    uint16_t flags;
    uint16_t type;
    uint64_t cookie;
    uint64_t from;
    uint32_t len;
} QEMU_PACKED NBDRequestHeader;

typedef struct {
    uint32_t magic;
    uint16_t flags;
    uint16_t type;
    uint64_t cookie;
    uint64_t from;
    uint64_t len;
} QEMU_PACKED NBDExtendedHeader;

typedef struct {
    uint32_t magic;
    uint16_t flags;
    uint16_t type;
    uint64_t cookie;
    uint32_t len;
} QEMU_PACKED NBDChunkHeader;

#endif
