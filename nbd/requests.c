/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The transmission phase of the NBD server.
 *
 * One coroutine reads requests; each runs in a coroutine of its own and sends
 * its reply when it is done, in any order.  How many there are at once, and how
 * much memory they hold, is bounded.
 */
#include "qemu/osdep.h"
#include "nbd-internal.h"
#include "qemu/defer-call.h"

/* The smallest buffer, and the one of a prefetch. */
#define NBD_MIN_BUFFER (4 * KiB)
#define NBD_BUFFER_SIZE (256 * KiB)
/* The extents in one reply to a request for block status. */
#define NBD_MAX_EXTENTS 1024
/* Shorter reads are not worth the question where the zeroes are. */
#define NBD_MIN_SPARSE_READ (64 * KiB)

typedef struct NBDRequest {
    NBDClient *c;
    uint64_t cookie;            /* as it came */
    uint64_t from;
    uint64_t len;               /* what it is about */
    uint64_t payload;           /* bytes that come with it */
    uint16_t flags;
    uint16_t type;
    uint32_t *ids;              /* of a status: these contexts only */
    size_t n_ids;
    int error;                  /* -errno that was found while it was read */
    void *buf;                  /* of reads, writes and prefetches */
    struct NBDRequest *next;    /* of those that are not used */
} NBDRequest;

static uint32_t nbd_errno(int error)
{
    switch (-error) {
    case 0:
        return 0;
    case EPERM:
    case EROFS:
        return 1;
    case EIO:
        return 5;
    case ENOMEM:
        return 12;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return 28;
    case EOVERFLOW:
        return 75;
    case ENOTSUP:
        return 95;
    case ESHUTDOWN:
        return 108;
    default:
        return 22;
    }
}

/* --- memory --- */

static unsigned nbd_buffer_class(uint32_t len)
{
    return len <= NBD_MIN_BUFFER ? 0 :
           32 - __builtin_clz((len - 1) / NBD_MIN_BUFFER);
}

/*
 * Buffers are used again, the latest first, which is in the caches of the
 * processor: new memory costs a page fault for each of its pages.  A buffer
 * that is free has the address of the next one in its first bytes.
 */
static void *nbd_get_buffer(NBDClient *c, uint32_t len)
{
    unsigned i = nbd_buffer_class(len);
    void *buf = c->free_buffers[i];

    if (!buf) {
        /* Page-aligned, for any node: the export's may be replaced now. */
        return qemu_try_blockalign(NULL, (size_t)NBD_MIN_BUFFER << i);
    }
    c->free_buffers[i] = *(void **)buf;
    c->free_bytes -= (size_t)NBD_MIN_BUFFER << i;
    return buf;
}

static void nbd_put_buffer(NBDClient *c, void *buf, uint32_t len)
{
    unsigned i = nbd_buffer_class(len);
    size_t size = (size_t)NBD_MIN_BUFFER << i;

    if (!buf || c->free_bytes + size > NBD_MAX_FREE_BYTES) {
        qemu_vfree(buf);
        return;
    }
    *(void **)buf = c->free_buffers[i];
    c->free_buffers[i] = buf;
    c->free_bytes += size;
}

static NBDRequest *nbd_get_request(NBDClient *c)
{
    NBDRequest *r = c->free_requests;

    if (!r) {
        return g_new0(NBDRequest, 1);
    }
    c->free_requests = r->next;
    memset(r, 0, sizeof(*r));
    return r;
}

static void nbd_put_request(NBDClient *c, NBDRequest *r)
{
    r->next = c->free_requests;
    c->free_requests = r;
}

static void nbd_free_memory(NBDClient *c)
{
    NBDRequest *r;
    unsigned i;

    for (i = 0; i < NBD_BUFFER_CLASSES; i++) {
        while (c->free_buffers[i]) {
            void *buf = c->free_buffers[i];

            c->free_buffers[i] = *(void **)buf;
            qemu_vfree(buf);
        }
    }
    while ((r = c->free_requests)) {
        c->free_requests = r->next;
        g_free(r);
    }
    g_clear_pointer(&c->input, g_free);
}

/* --- replies; an error of the socket is seen by the reader --- */

static int coroutine_fn send_simple(NBDRequest *r, int error, const void *data,
                                    uint32_t len)
{
    struct {
        uint32_t magic;
        uint32_t error;
        uint64_t cookie;
    } QEMU_PACKED header = {
        htobe32(NBD_SIMPLE_REPLY_MAGIC), htobe32(nbd_errno(error)), r->cookie,
    };
    struct iovec iov[] = {
        { &header, sizeof(header) }, { (void *)data, len },
    };

    return nbd_client_send(r->c, iov, len ? 2 : 1);
}

/* A chunk with a header of its own type, and data. */
static int coroutine_fn send_chunk(NBDRequest *r, bool done, uint16_t type,
                                   const void *head, uint32_t head_len,
                                   const void *data, uint32_t len)
{
    union {
        NBDChunkHeader chunk;
        NBDExtendedHeader extended;
    } header = {
        .chunk = {
            .flags = htobe16(done ? NBD_REPLY_FLAG_DONE : 0),
            .type = htobe16(type),
            .cookie = r->cookie,
        },
    };
    struct iovec iov[] = {
        { &header, sizeof(header.chunk) }, { (void *)head, head_len },
        { (void *)data, len },
    };

    /* Both begin with the same members. */
    if (r->c->extended) {
        header.extended.magic = htobe32(NBD_EXTENDED_REPLY_MAGIC);
        header.extended.from = htobe64(r->from);
        header.extended.len = htobe64(head_len + len);
        iov[0].iov_len = sizeof(header.extended);
    } else {
        header.chunk.magic = htobe32(NBD_STRUCTURED_MAGIC);
        header.chunk.len = htobe32(head_len + len);
    }
    return nbd_client_send(r->c, iov, ARRAY_SIZE(iov));
}

static int coroutine_fn send_error(NBDRequest *r, int error)
{
    struct {
        uint32_t error;
        uint16_t len;
    } QEMU_PACKED head = { htobe32(nbd_errno(error)), 0 };
    const char *text = strerror(-error);

    if (!r->c->structured_reply) {
        return send_simple(r, error, NULL, 0);
    }
    head.len = htobe16(strlen(text));
    return send_chunk(r, true, NBD_REPLY_TYPE_ERROR, &head, sizeof(head), text,
                      strlen(text));
}

static int coroutine_fn send_done(NBDRequest *r, int ret)
{
    if (ret < 0) {
        return send_error(r, ret);
    }
    if (!r->c->structured_reply) {
        return send_simple(r, 0, NULL, 0);
    }
    return send_chunk(r, true, NBD_REPLY_TYPE_NONE, NULL, 0, NULL, 0);
}

/* --- reads --- */

static int coroutine_fn read_into(NBDRequest *r, uint64_t offset,
                                  uint32_t len)
{
    QEMUIOVector qiov;

    qemu_iovec_init_buf(&qiov, (char *)r->buf + (offset - r->from), len);
    return blk_co_preadv(r->c->exp->common.blk, offset, len, &qiov, 0);
}

static int coroutine_fn send_read_data(NBDRequest *r, uint64_t offset,
                                       uint32_t len, bool done)
{
    uint64_t be_offset = htobe64(offset);

    return send_chunk(r, done, NBD_REPLY_TYPE_OFFSET_DATA, &be_offset,
                      sizeof(be_offset),
                      (char *)r->buf + (offset - r->from), len);
}

/* In chunks: holes cost nothing. */
static int coroutine_fn do_sparse_read(NBDRequest *r)
{
    uint64_t offset = r->from, end = r->from + r->len;
    int ret = 0;

    while (offset < end && ret == 0) {
        int64_t pnum;
        bool last;

        ret = blk_co_block_status_above(r->c->exp->common.blk, NULL, offset,
                                        end - offset, &pnum, NULL, NULL);
        if (ret < 0 || pnum == 0) {
            /* What is not known is read. */
            ret = 0;
            pnum = end - offset;
        }
        last = offset + pnum == end;
        if (ret & BDRV_BLOCK_ZERO) {
            struct {
                uint64_t offset;
                uint32_t len;
            } QEMU_PACKED hole = { htobe64(offset), htobe32(pnum) };

            ret = send_chunk(r, last, NBD_REPLY_TYPE_OFFSET_HOLE, &hole,
                             sizeof(hole), NULL, 0);
        } else {
            ret = read_into(r, offset, pnum);
            if (ret < 0) {
                return send_error(r, ret);
            }
            ret = send_read_data(r, offset, pnum, last);
        }
        offset += pnum;
    }
    return ret;
}

static int coroutine_fn do_read(NBDRequest *r)
{
    int ret;

    if (r->c->structured_reply && !(r->flags & NBD_CMD_FLAG_DF) &&
        r->len >= NBD_MIN_SPARSE_READ) {
        return do_sparse_read(r);
    }
    ret = r->len ? read_into(r, r->from, r->len) : 0;
    if (ret < 0) {
        return send_error(r, ret);
    }
    if (!r->c->structured_reply) {
        return send_simple(r, 0, r->buf, r->len);
    }
    return r->len ? send_read_data(r, r->from, r->len, true) :
           send_done(r, 0);
}

/* --- block status --- */

/* An extent on the wire, without and with extended headers. */
typedef struct {
    uint32_t len;
    uint32_t flags;
} QEMU_PACKED NBDExtent32;

typedef struct {
    uint64_t len;
    uint64_t flags;
} QEMU_PACKED NBDExtent64;

typedef struct {
    size_t n;
    struct {
        uint64_t len;
        uint32_t flags;
    } extent[NBD_MAX_EXTENTS];
    union {
        NBDExtent32 wire32[NBD_MAX_EXTENTS];
        NBDExtent64 wire64[NBD_MAX_EXTENTS];
    };
} NBDExtents;

/* False: there is no room for one more. */
static bool extents_add(NBDExtents *e, uint64_t len, uint32_t flags)
{
    if (e->n && e->extent[e->n - 1].flags == flags) {
        e->extent[e->n - 1].len += len;
        return true;
    }
    if (e->n == NBD_MAX_EXTENTS) {
        return false;
    }
    e->extent[e->n].len = len;
    e->extent[e->n++].flags = flags;
    return true;
}

static int coroutine_fn send_extents(NBDRequest *r, NBDExtents *e, uint32_t id,
                                     bool last)
{
    struct {
        uint32_t id;
        uint32_t count;         /* with extended headers */
    } QEMU_PACKED head = { htobe32(id), htobe32(e->n) };
    size_t i;

    for (i = 0; i < e->n; i++) {
        if (r->c->extended) {
            e->wire64[i].len = htobe64(e->extent[i].len);
            e->wire64[i].flags = htobe64(e->extent[i].flags);
        } else {
            e->wire32[i].len = htobe32(e->extent[i].len);
            e->wire32[i].flags = htobe32(e->extent[i].flags);
        }
    }
    if (r->c->extended) {
        return send_chunk(r, last, NBD_REPLY_TYPE_BLOCK_STATUS_EXT, &head,
                          sizeof(head), e->wire64, e->n * sizeof(NBDExtent64));
    }
    return send_chunk(r, last, NBD_REPLY_TYPE_BLOCK_STATUS, &head.id,
                      sizeof(head.id), e->wire32, e->n * sizeof(NBDExtent32));
}

/* What context @id says of the bytes at @offset; the same for *@pnum. */
static int coroutine_fn context_status(NBDRequest *r, uint32_t id,
                                       uint64_t offset, int64_t bytes,
                                       int64_t *pnum, uint32_t *flags)
{
    NBDExport *exp = r->c->exp;
    BlockBackend *blk = exp->common.blk;
    int ret;

    if (id == NBD_META_BASE_ALLOCATION) {
        ret = blk_co_block_status_above(blk, NULL, offset, bytes, pnum, NULL,
                                        NULL);
        *flags = (ret & BDRV_BLOCK_DATA ? 0 : NBD_STATE_HOLE) |
                 (ret & BDRV_BLOCK_ZERO ? NBD_STATE_ZERO : 0);
    } else if (id == NBD_META_ALLOCATION_DEPTH) {
        ret = blk_co_is_allocated_above(blk, NULL, false, offset, bytes, pnum);
        *flags = ret;
    } else {
        BdrvDirtyBitmap *b = exp->bitmaps[id - NBD_META_DIRTY_BITMAPS];

        ret = 0;
        *flags = bdrv_dirty_bitmap_status(b, offset, bytes, pnum) ?
                 NBD_STATE_DIRTY : 0;
    }
    return ret;
}

/* It sends the end of the answer if this is the @last one, or sets *@over. */
static int coroutine_fn send_context(NBDRequest *r, uint32_t id, bool last,
                                     bool *over)
{
    g_autofree NBDExtents *e = g_new(NBDExtents, 1);
    uint64_t offset = r->from, end = r->from + r->len;

    e->n = 0;
    while (offset < end) {
        uint32_t flags;
        int64_t pnum;
        int ret = context_status(r, id, offset, end - offset, &pnum, &flags);

        if (ret < 0) {
            *over = true;
            return send_error(r, ret);
        }
        if (pnum <= 0 || (e->n && (r->flags & NBD_CMD_FLAG_REQ_ONE) &&
                          e->extent[0].flags != flags) ||
            !extents_add(e, pnum, flags)) {
            break;
        }
        offset += pnum;
    }
    if (!e->n) {
        /* The disk is shorter by now. */
        *over = true;
        return send_error(r, -EIO);
    }
    return send_extents(r, e, id, last);
}

/* Whether the request is about this context. */
static bool wants_context(const NBDRequest *r, uint32_t id)
{
    size_t i;

    for (i = 0; i < r->n_ids; i++) {
        if (r->ids[i] == id) {
            return true;
        }
    }
    return !r->ids;
}

static int coroutine_fn do_block_status(NBDRequest *r)
{
    NBDClient *c = r->c;
    g_autoptr(GArray) ids = g_array_new(false, false, sizeof(uint32_t));
    bool over = false;
    uint32_t id;
    guint i;
    int ret = 0;

    for (id = 0; id < NBD_META_DIRTY_BITMAPS + c->exp->n_bitmaps; id++) {
        bool chosen = id == NBD_META_BASE_ALLOCATION ? c->base_allocation :
                      id == NBD_META_ALLOCATION_DEPTH ? c->allocation_depth :
                      c->bitmaps[id - NBD_META_DIRTY_BITMAPS];

        if (chosen && wants_context(r, id)) {
            g_array_append_val(ids, id);
        }
    }
    if (r->ids && ids->len != r->n_ids) {
        /* One that was not chosen, or one twice. */
        return send_error(r, -EINVAL);
    }
    if (!ids->len || !r->len) {
        return send_error(r, -EINVAL);
    }
    for (i = 0; i < ids->len && ret == 0 && !over; i++) {
        ret = send_context(r, g_array_index(ids, uint32_t, i),
                           i + 1 == ids->len, &over);
    }
    return ret;
}

/* --- the others --- */

static int coroutine_fn do_cache(NBDRequest *r)
{
    uint64_t offset = r->from, end = r->from + r->len;
    int ret = 0;

    while (offset < end && ret == 0) {
        uint32_t n = MIN(end - offset, (uint64_t)NBD_BUFFER_SIZE);
        QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, r->buf, n);

        ret = blk_co_preadv(r->c->exp->common.blk, offset, n, &qiov, 0);
        offset += n;
    }
    return ret;
}

static int coroutine_fn do_write(NBDRequest *r)
{
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, r->buf, r->len);

    return blk_co_pwritev(r->c->exp->common.blk, r->from, r->len, &qiov,
                          r->flags & NBD_CMD_FLAG_FUA ? BDRV_REQ_FUA : 0);
}

static int coroutine_fn do_write_zeroes(NBDRequest *r)
{
    BdrvRequestFlags flags = 0;

    if (r->flags & NBD_CMD_FLAG_FUA) {
        flags |= BDRV_REQ_FUA;
    }
    if (!(r->flags & NBD_CMD_FLAG_NO_HOLE)) {
        flags |= BDRV_REQ_MAY_UNMAP;
    }
    if (r->flags & NBD_CMD_FLAG_FAST_ZERO) {
        flags |= BDRV_REQ_NO_FALLBACK;
    }
    return blk_co_pwrite_zeroes(r->c->exp->common.blk, r->from, r->len, flags);
}

static int coroutine_fn do_trim(NBDRequest *r)
{
    BlockBackend *blk = r->c->exp->common.blk;
    int ret = blk_co_pdiscard(blk, r->from, r->len);

    if (ret == 0 && (r->flags & NBD_CMD_FLAG_FUA)) {
        ret = blk_co_flush(blk);
    }
    return ret;
}

/* -errno the client is told; the payload of a write has been read. */
static int nbd_check_request(NBDRequest *r)
{
    NBDExport *exp = r->c->exp;
    uint64_t size = qatomic_read(&exp->size);
    uint16_t allowed = NBD_CMD_FLAG_FUA;
    bool writes = r->type == NBD_CMD_WRITE || r->type == NBD_CMD_TRIM ||
                  r->type == NBD_CMD_WRITE_ZEROES;

    if (r->type > NBD_CMD_BLOCK_STATUS) {
        return -EINVAL;
    }
    if (writes && (exp->flags & NBD_FLAG_READ_ONLY)) {
        return -EROFS;
    }
    if (r->from > size || r->len > size - r->from) {
        return r->type == NBD_CMD_WRITE || r->type == NBD_CMD_WRITE_ZEROES ?
               -ENOSPC : -EINVAL;
    }
    if (r->type == NBD_CMD_READ && r->c->structured_reply) {
        allowed |= NBD_CMD_FLAG_DF;
    } else if (r->type == NBD_CMD_WRITE_ZEROES) {
        allowed |= NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO;
    } else if (r->type == NBD_CMD_BLOCK_STATUS) {
        allowed |= NBD_CMD_FLAG_REQ_ONE;
    }
    if (r->c->extended && (r->type == NBD_CMD_WRITE ||
                           r->type == NBD_CMD_BLOCK_STATUS)) {
        allowed |= NBD_CMD_FLAG_PAYLOAD_LEN;
    }
    return r->flags & ~allowed ? -EINVAL : 0;
}

static int coroutine_fn nbd_do_request(NBDRequest *r)
{
    if (r->error < 0) {
        return send_error(r, r->error);
    }
    if (r->type != NBD_CMD_READ && blk_is_inactive(r->c->exp->common.blk)) {
        return send_error(r, -EPERM);
    }
    switch (r->type) {
    case NBD_CMD_READ:
        return do_read(r);
    case NBD_CMD_BLOCK_STATUS:
        return do_block_status(r);
    case NBD_CMD_WRITE:
        return send_done(r, do_write(r));
    case NBD_CMD_WRITE_ZEROES:
        return send_done(r, do_write_zeroes(r));
    case NBD_CMD_TRIM:
        return send_done(r, do_trim(r));
    case NBD_CMD_CACHE:
        return send_done(r, do_cache(r));
    default:
        return send_done(r, blk_co_flush(r->c->exp->common.blk));
    }
}

/* The bytes of memory that a request holds. */
static uint64_t nbd_request_memory(const NBDRequest *r)
{
    return r->type == NBD_CMD_READ || r->type == NBD_CMD_WRITE ? r->len :
           r->type == NBD_CMD_CACHE ? NBD_BUFFER_SIZE : 0;
}

static void coroutine_fn nbd_request_entry(void *opaque)
{
    NBDRequest *r = opaque;
    NBDClient *c = r->c;
    uint64_t memory = nbd_request_memory(r);

    if (nbd_do_request(r) < 0) {
        nbd_client_shutdown(c);
    }
    nbd_put_buffer(c, r->buf, memory);
    g_free(r->ids);
    c->in_flight_bytes -= memory;
    nbd_put_request(c, r);
    if (--c->in_flight == 0) {
        aio_awake_idle(&c->awake, c->ctx);
    }
    qemu_co_queue_restart_all(&c->free_slot);
}

/* --- reading requests --- */

/* A payload for which there is no use, or no memory. */
static int coroutine_fn nbd_drop_payload(NBDClient *c, uint64_t len)
{
    uint8_t scratch[4096];
    int ret = 0;

    while (len && ret == 0) {
        size_t n = MIN(len, sizeof(scratch));

        ret = nbd_client_read(c, scratch, n);
        len -= n;
    }
    return ret;
}

/* The payload of a request for status: a length, and some contexts. */
static int coroutine_fn nbd_read_status_payload(NBDRequest *r)
{
    NBDExport *exp = r->c->exp;
    size_t max = NBD_META_DIRTY_BITMAPS + exp->n_bitmaps;
    size_t n, i;
    uint64_t len;
    int ret;

    if (r->payload < sizeof(len) + sizeof(uint32_t) ||
        (r->payload - sizeof(len)) % sizeof(uint32_t) ||
        (r->payload - sizeof(len)) / sizeof(uint32_t) > max) {
        r->error = -EINVAL;
        return nbd_drop_payload(r->c, r->payload);
    }
    n = (r->payload - sizeof(len)) / sizeof(uint32_t);
    r->ids = g_new(uint32_t, n);
    r->n_ids = n;
    ret = nbd_client_read(r->c, &len, sizeof(len));
    if (ret == 0) {
        ret = nbd_client_read(r->c, r->ids, n * sizeof(uint32_t));
    }
    for (i = 0; i < n; i++) {
        r->ids[i] = be32toh(r->ids[i]);
    }
    r->len = be64toh(len);
    r->error = nbd_check_request(r);
    return ret;
}

static int coroutine_fn nbd_read_payload(NBDRequest *r)
{
    uint64_t memory = nbd_request_memory(r);

    if (r->payload && r->type == NBD_CMD_BLOCK_STATUS) {
        return nbd_read_status_payload(r);
    }
    if (memory && r->error == 0) {
        r->buf = nbd_get_buffer(r->c, memory);
        if (!r->buf) {
            r->error = -ENOMEM;
        }
    }
    return r->error ? nbd_drop_payload(r->c, r->payload) :
           nbd_client_read(r->c, r->buf, r->payload);
}

/* -EINVAL: nothing that follows can be understood. */
static int coroutine_fn nbd_read_header(NBDClient *c, NBDRequest *r)
{
    NBDExtendedHeader header;
    size_t size = c->extended ? sizeof(header) : sizeof(NBDRequestHeader);
    int ret = nbd_client_read(c, &header, size);

    if (ret < 0) {
        return ret;
    }
    if (be32toh(header.magic) != (c->extended ? NBD_EXTENDED_REQUEST_MAGIC :
                                  NBD_REQUEST_MAGIC)) {
        return -EINVAL;
    }
    r->c = c;
    r->flags = be16toh(header.flags);
    r->type = be16toh(header.type);
    r->cookie = header.cookie;
    r->from = be64toh(header.from);
    r->len = c->extended ? be64toh(header.len) :
             be32toh(((NBDRequestHeader *)&header)->len);
    if (r->type == NBD_CMD_WRITE ||
        (c->extended && (r->flags & NBD_CMD_FLAG_PAYLOAD_LEN))) {
        r->payload = r->len;
    }
    return 0;
}

/* 0; -errno: the client goes, or has gone. */
static int coroutine_fn nbd_read_request(NBDClient *c, NBDRequest *r)
{
    int ret = nbd_read_header(c, r);

    aio_awake_busy(&c->awake);
    if (ret < 0) {
        return ret;
    }
    if (r->type == NBD_CMD_DISC) {
        return -EPIPE;
    }
    if (r->payload > NBD_MAX_BUFFER_SIZE ||
        (r->type == NBD_CMD_READ && r->len > NBD_MAX_BUFFER_SIZE)) {
        /* So much is not read only to be thrown away. */
        return -EINVAL;
    }
    r->error = r->payload && r->type == NBD_CMD_BLOCK_STATUS ? 0 :
               nbd_check_request(r);
    return 0;
}

static void coroutine_fn nbd_wait_for_slot(NBDClient *c, const NBDRequest *r)
{
    uint64_t memory = nbd_request_memory(r);

    while (c->in_flight >= NBD_MAX_REQUESTS ||
           (c->in_flight_bytes &&
            c->in_flight_bytes + memory > NBD_MAX_IN_FLIGHT_BYTES)) {
        qemu_co_queue_wait(&c->free_slot, NULL);
    }
}

void coroutine_fn nbd_serve(NBDClient *c)
{
    int ret = 0;

    nbd_client_start_input(c);
    while (ret == 0 && !qatomic_read(&c->closing)) {
        NBDRequest *r = nbd_get_request(c);

        ret = nbd_read_request(c, r);
        if (ret == 0) {
            nbd_wait_for_slot(c, r);
            ret = nbd_read_payload(r);
        }
        if (ret < 0) {
            nbd_put_buffer(c, r->buf, nbd_request_memory(r));
            g_free(r->ids);
            nbd_put_request(c, r);
            break;
        }
        c->in_flight++;
        c->in_flight_bytes += nbd_request_memory(r);
        qemu_coroutine_enter(qemu_coroutine_create(nbd_request_entry, r));
    }
    nbd_client_shutdown(c);
    while (c->in_flight) {
        qemu_co_queue_wait(&c->free_slot, NULL);
    }
    nbd_free_memory(c);
}
