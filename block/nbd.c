/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Protocol driver "nbd": a disk that an NBD server exports, over libnbd.
 *
 * When the connection is lost, a new one is made in the background for as long
 * as the node is there.  Requests wait for it for the first "reconnect-delay"
 * seconds; those that come later fail until it is there.  So may what the old
 * server has not flushed: docs/devel/write-errors.rst.
 */
#include "qemu/osdep.h"
#include "block-io.h"
#include "block-open.h"
#include "nbd-client.h"
#include "qemu/aio-wait.h"
#include "qemu/interrupt.h"

/* How long a server may be silent while its requests are cancelled. */
#define NBD_CANCEL_LOOKS 20
#define NBD_CANCEL_LOOK_NS (100 * SCALE_MS)

/* --- the connection is lost, and comes back --- */

static int64_t nbd_now_ns(void)
{
    return qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
}

static void nbd_wake_waiters(BDRVNBDState *s)
{
    uint64_t now = ++s->wakes;
    NBDWaiter *w;

    /* Not those that come to wait again meanwhile. */
    while ((w = QTAILQ_FIRST(&s->waiters)) && w->since < now) {
        QTAILQ_REMOVE(&s->waiters, w, next);
        w->woken = true;
        qemu_co_sleep_wake(&w->sleep);
    }
}

/* The size may be another one. */
static void coroutine_fn nbd_resized_entry(void *opaque)
{
    BlockDriverState *bs = opaque;

    bdrv_co_refresh_size(bs);
    bdrv_dec_in_flight(bs);
}

/*
 * The server has other block sizes than before.  Requests that are in flight
 * have been cut for the old ones, so the new server may refuse some of them.
 */
static void nbd_limits_bh(void *opaque)
{
    BlockDriverState *bs = opaque;

    bdrv_ref(bs);
    bdrv_drained_begin(bs);
    bdrv_graph_wrlock();
    bdrv_refresh_limits_above(bs);
    bdrv_graph_wrunlock();
    bdrv_drained_end(bs);
    bdrv_unref(bs);
}

static bool nbd_same_block_sizes(const NBDInfo *a, const NBDInfo *b)
{
    return a->min_block == b->min_block && a->opt_block == b->opt_block &&
           a->max_block == b->max_block;
}

/* The connector has ended, which it does not without a connection. */
static void nbd_reconnected(void *opaque)
{
    BlockDriverState *bs = opaque;
    BDRVNBDState *s = bs->opaque;
    NBDInfo old = s->info;
    struct nbd_handle *h = nbd_connector_take(s->connector, &s->info, NULL);

    nbd_connector_free(s->connector);
    s->connector = NULL;
    nbd_conn_adopt(s->conn, h);
    if (s->give_up_ns <= nbd_now_ns() && bdrv_has_unflushed(bs)) {
        bdrv_note_flush_error(bs, -EIO);
    }
    if (!nbd_same_block_sizes(&s->info, &old)) {
        qemu_bh_schedule(s->limits_bh);
    }
    if (s->info.size != old.size) {
        bdrv_inc_in_flight(bs);
        qemu_coroutine_enter(qemu_coroutine_create(nbd_resized_entry, bs));
    }
    nbd_wake_waiters(s);
}

void nbd_connection_lost(BlockDriverState *bs, bool wait)
{
    BDRVNBDState *s = bs->opaque;
    unsigned caps = s->info.caps & ~(NBD_CAP_STATUS | NBD_CAP_MULTI_CONN);

    if (bdrv_is_read_only(bs)) {
        caps &= ~NBD_CAP_WRITE;
    }
    s->give_up_ns = nbd_now_ns() + (wait ? s->reconnect_delay_ns : 0);
    s->connector = nbd_connector_new(s->params, caps, true, INT64_MAX,
                                     bdrv_get_aio_context(bs),
                                     nbd_reconnected, bs);
}

NBDConn *coroutine_fn nbd_co_connection(BlockDriverState *bs)
{
    BDRVNBDState *s = bs->opaque;

    while (!s->conn->h) {
        int64_t left = s->give_up_ns - nbd_now_ns();
        NBDWaiter w = { .since = s->wakes };

        if (left <= 0) {
            return NULL;
        }
        QTAILQ_INSERT_TAIL(&s->waiters, &w, next);
        qemu_co_sleep_ns_wakeable(&w.sleep, QEMU_CLOCK_REALTIME, left);
        if (!w.woken) {
            QTAILQ_REMOVE(&s->waiters, &w, next);
        }
    }
    return s->conn;
}

/* Requests that wait fail; a server that does not answer any more is left. */
static void coroutine_fn nbd_cancel_entry(void *opaque)
{
    BlockDriverState *bs = opaque;
    BDRVNBDState *s = bs->opaque;
    NBDConn *c = s->conn;
    uint64_t answers = c->answers;
    int i;

    s->give_up_ns = 0;
    nbd_wake_waiters(s);
    for (i = 0; i < NBD_CANCEL_LOOKS && !QTAILQ_EMPTY(&c->calls) &&
         c->answers == answers; i++) {
        qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, NBD_CANCEL_LOOK_NS);
    }
    if (i == NBD_CANCEL_LOOKS) {
        nbd_conn_drop(c);
    }
    bdrv_dec_in_flight(bs);
}

/* Also where nothing is in flight: another thread may be about to begin. */
static void nbd_cancel_in_flight(BlockDriverState *bs)
{
    /* The node stays while this counts. */
    bdrv_inc_in_flight(bs);
    aio_co_schedule(bdrv_get_aio_context(bs),
                    qemu_coroutine_create(nbd_cancel_entry, bs));
}

/* --- opening --- */

static bool nbd_check_strings(const NBDParams *p, Error **errp)
{
    if (strlen(p->export) > NBD_CLIENT_MAX_STRING) {
        error_setg(errp, "export name too long to send to server");
        return false;
    }
    if (strlen(p->context) > NBD_CLIENT_MAX_STRING) {
        error_setg(errp, "x-dirty-bitmap query too long to send to server");
        return false;
    }
    return true;
}

static bool nbd_process_options(BlockDriverState *bs, QOpts *options,
                                int64_t *open_timeout_ns, Error **errp)
{
    BDRVNBDState *s = bs->opaque;
    NBDParams *p = s->params = g_new0(NBDParams, 1);
    g_autoptr(BlockdevOptionsNbd) o = QOPTS_TAKE(BlockdevOptionsNbd, options,
                                                 errp);

    p->refcount = 1;
    if (!o) {
        return false;
    }
    p->export = g_strdup(o->export ?: "");
    p->context = g_strdup(o->x_dirty_bitmap ?: LIBNBD_CONTEXT_BASE_ALLOCATION);
    p->writable = bs->open_flags & BDRV_O_RDWR;
    p->addr = nbd_take_server(options, errp);
    if (!p->addr || !nbd_check_strings(p, errp)) {
        return false;
    }
    s->reconnect_delay_ns = o->reconnect_delay * NANOSECONDS_PER_SECOND;
    *open_timeout_ns = o->open_timeout * NANOSECONDS_PER_SECOND;
#ifdef CONFIG_GNUTLS
    return nbd_check_uri_tls(options, o->tls_creds, errp) &&
           nbd_take_tls(p, o->tls_creds, o->tls_hostname, errp);
#else
    return nbd_check_uri_tls(options, NULL, errp);
#endif
}

static void nbd_nothing(void *opaque)
{
    /* The one that opens polls. */
}

static struct nbd_handle *nbd_connect_now(NBDParams *p,
                                          int64_t open_timeout_ns,
                                          NBDInfo *info, Error **errp)
{
    NBDConnector *c;
    struct nbd_handle *h = NULL;

    c = nbd_connector_new(p, 0, open_timeout_ns,
                          nbd_now_ns() + open_timeout_ns,
                          qemu_get_aio_context(), nbd_nothing, NULL);
    AIO_WAIT_WHILE(NULL, !nbd_connector_done(c) && !qemu_interrupted());
    if (nbd_connector_done(c)) {
        h = nbd_connector_take(c, info, errp);
    } else {
        error_setg(errp, "Interrupted while connecting to the NBD server");
    }
    nbd_connector_free(c);
    return h;
}

/* "auto-read-only": what can only be read is opened for that. */
static struct nbd_handle *nbd_connect_any(BlockDriverState *bs,
                                          int64_t open_timeout_ns,
                                          Error **errp)
{
    BDRVNBDState *s = bs->opaque;
    struct nbd_handle *h;

    if (bs->open_flags & BDRV_O_AUTO_RDONLY) {
        s->params->writable = false;
    }
    h = nbd_connect_now(s->params, open_timeout_ns, &s->info, errp);
    if (h && !(s->info.caps & NBD_CAP_WRITE)) {
        bs->open_flags &= ~BDRV_O_RDWR;
    }
    return h;
}

static int nbd_open(BlockDriverState *bs, QOpts *options, int flags,
                    Error **errp)
{
    BDRVNBDState *s = bs->opaque;
    int64_t open_timeout_ns = 0;
    struct nbd_handle *h;

    QTAILQ_INIT(&s->waiters);
    if (!nbd_late_load(errp) ||
        !nbd_process_options(bs, options, &open_timeout_ns, errp)) {
        goto fail;
    }
    h = nbd_connect_any(bs, open_timeout_ns, errp);
    if (!h) {
        goto fail;
    }
    s->conn = nbd_conn_new(bs);
    nbd_conn_adopt(s->conn, h);
    s->limits_bh = aio_bh_new(qemu_get_aio_context(), nbd_limits_bh, bs);
    bs->supported_write_flags = s->info.caps & NBD_CAP_FUA ? BDRV_REQ_FUA : 0;
    bs->supported_zero_flags = BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK |
                               bs->supported_write_flags;
    return 0;

fail:
    nbd_params_unref(s->params);
    return -EINVAL;
}

static void nbd_detach_bh(void *opaque)
{
    BDRVNBDState *s = opaque;

    nbd_conn_detach(s->conn);
    if (s->connector) {
        nbd_connector_set_context(s->connector, NULL);
    }
}

/* The socket may be ready, and so its callback running, while it is idle. */
static void nbd_detach_aio_context(BlockDriverState *bs)
{
    AioContext *ctx = bdrv_get_aio_context(bs);

    if (in_aio_context_home_thread(ctx)) {
        nbd_detach_bh(bs->opaque);
    } else {
        aio_wait_bh_oneshot(ctx, nbd_detach_bh, bs->opaque);
    }
}

static void nbd_attach_aio_context(BlockDriverState *bs, AioContext *ctx)
{
    BDRVNBDState *s = bs->opaque;

    nbd_conn_attach(s->conn, ctx);
    if (s->connector) {
        nbd_connector_set_context(s->connector, ctx);
    }
}

static void nbd_close_node(BlockDriverState *bs)
{
    BDRVNBDState *s = bs->opaque;

    nbd_detach_aio_context(bs);
    nbd_connector_free(s->connector);
    qemu_bh_delete(s->limits_bh);
    nbd_conn_close(s->conn);
    nbd_params_unref(s->params);
}

static int nbd_reopen_prepare(BDRVReopenState *state, Error **errp)
{
    BDRVNBDState *s = state->bs->opaque;

    if ((state->flags & BDRV_O_RDWR) && !(s->info.caps & NBD_CAP_WRITE)) {
        error_setg(errp, "Can't reopen read-only NBD mount as read/write");
        return -EACCES;
    }
    return 0;
}

/* --- what the node is --- */

static int64_t coroutine_fn nbd_co_getlength(BlockDriverState *bs)
{
    BDRVNBDState *s = bs->opaque;

    return qatomic_read(&s->info.size);
}

static int coroutine_fn nbd_co_truncate(BlockDriverState *bs, int64_t offset,
                                        bool exact, PreallocMode prealloc,
                                        BdrvRequestFlags flags, Error **errp)
{
    BDRVNBDState *s = bs->opaque;

    if (offset > s->info.size) {
        error_setg(errp, "Cannot grow NBD nodes");
        return -EINVAL;
    }
    if (exact && offset != s->info.size) {
        error_setg(errp, "Cannot resize NBD nodes");
        return -ENOTSUP;
    }
    return 0;
}

static int coroutine_fn nbd_co_get_info(BlockDriverState *bs,
                                        BlockDriverInfo *bdi)
{
    return 0;
}

static void nbd_refresh_limits(BlockDriverState *bs, Error **errp)
{
    BDRVNBDState *s = bs->opaque;
    uint32_t min = s->info.min_block ?: 1;
    uint32_t max = MIN_NON_ZERO(NBD_CLIENT_MAX_BUFFER, s->info.max_block);

    bs->bl.request_alignment = min;
    bs->bl.max_pdiscard = QEMU_ALIGN_DOWN(INT_MAX, min);
    bs->bl.max_pwrite_zeroes = QEMU_ALIGN_DOWN(INT_MAX, min);
    bs->bl.max_transfer = QEMU_ALIGN_DOWN(max, min);
    if (s->info.opt_block > min && is_power_of_2(s->info.opt_block)) {
        bs->bl.opt_transfer = s->info.opt_block;
    }
}

static void nbd_refresh_filename(BlockDriverState *bs)
{
    BDRVNBDState *s = bs->opaque;
    char *uri = nbd_params_uri(s->params);

    g_free(bs->filename);
    g_free(bs->exact_filename);
    bs->filename = g_strdup(uri ? uri : "");
    bs->exact_filename = uri ? uri : g_strdup("");
}

static BlockDriver bdrv_nbd = {
    .format_name = "nbd",
    .protocol_name = "nbd",
    .instance_size = sizeof(BDRVNBDState),
    .bdrv_parse_filename = nbd_parse_filename,
    .bdrv_open = nbd_open,
    .bdrv_close = nbd_close_node,
    .bdrv_reopen_prepare = nbd_reopen_prepare,
    .bdrv_co_preadv_part = nbd_co_preadv_part,
    .bdrv_co_pwritev_part = nbd_co_pwritev_part,
    .bdrv_co_pwrite_zeroes = nbd_co_pwrite_zeroes,
    .bdrv_co_pdiscard = nbd_co_pdiscard,
    .bdrv_co_flush_to_disk = nbd_co_flush,
    .bdrv_co_block_status = nbd_co_block_status,
    .bdrv_co_truncate = nbd_co_truncate,
    .bdrv_co_getlength = nbd_co_getlength,
    .bdrv_co_get_info = nbd_co_get_info,
    .bdrv_refresh_limits = nbd_refresh_limits,
    .bdrv_refresh_filename = nbd_refresh_filename,
    .bdrv_cancel_in_flight = nbd_cancel_in_flight,
    .bdrv_detach_aio_context = nbd_detach_aio_context,
    .bdrv_attach_aio_context = nbd_attach_aio_context,
};

/* The same driver, for each of the other file names. */
static BlockDriver bdrv_nbd_names[4];

static void bdrv_nbd_init(void)
{
    static const char *const names[] = {
        "nbd+unix", "nbd+tcp", "nbds", "nbds+unix",
    };
    size_t i;

    QEMU_BUILD_BUG_ON(ARRAY_SIZE(names) != ARRAY_SIZE(bdrv_nbd_names));
    for (i = 0; i < ARRAY_SIZE(names); i++) {
        bdrv_nbd_names[i] = bdrv_nbd;
        bdrv_nbd_names[i].protocol_name = names[i];
        bdrv_register(&bdrv_nbd_names[i]);
    }
    /* The first that is found by the format's name is registered last. */
    bdrv_register(&bdrv_nbd);
}

block_init(bdrv_nbd_init);
