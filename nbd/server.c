/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The NBD server: its socket, its clients, and its exports.  Main thread.
 */
#include "qemu/osdep.h"
#include <sys/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include "nbd-internal.h"
#include "qapi/qapi-commands-block-export.h"
#include "qemu/aio-wait.h"
#include "qemu/main-loop.h"
#include "qemu/sockets.h"
#ifdef CONFIG_GNUTLS
#include "crypto/tls.h"
#endif

static QLIST_HEAD(, NBDExport) nbd_exports =
    QLIST_HEAD_INITIALIZER(nbd_exports);
static QLIST_HEAD(, NBDClient) nbd_clients =
    QLIST_HEAD_INITIALIZER(nbd_clients);

static struct {
    int fd;                     /* -1: not running */
    SocketAddress *addr;
    uint32_t max_connections;
    uint32_t handshake_max_seconds;
    uint32_t connections;
    uint64_t served;
    QEMUTimer *accept_timer;    /* armed: accept(2) has failed */
    TLSCreds *tls_creds;        /* NULL: no TLS */
    char *tls_authz;
} nbd_server = { .fd = -1 };

/* --- exports --- */

NBDExport *nbd_export_find(const char *name)
{
    NBDExport *exp;

    QLIST_FOREACH(exp, &nbd_exports, next) {
        if (!strcmp(exp->name, name)) {
            return exp;
        }
    }
    return NULL;
}

NBDExport *nbd_export_next(NBDExport *exp)
{
    return exp ? QLIST_NEXT(exp, next) : QLIST_FIRST(&nbd_exports);
}

static void nbd_export_free_bitmaps(NBDExport *exp)
{
    size_t i;

    for (i = 0; i < exp->n_bitmaps; i++) {
        bdrv_dirty_bitmap_set_busy(exp->bitmaps[i], false);
        bdrv_unref(exp->bitmap_nodes[i]);
    }
    g_free(exp->bitmaps);
    g_free(exp->bitmap_nodes);
}

/* In the image, or in one below it; *@owner is the node that has it. */
static BdrvDirtyBitmap *nbd_find_bitmap(BlockDriverState *bs,
                                        const BlockDirtyBitmapOrStr *which,
                                        BlockDriverState **owner, Error **errp)
{
    const char *name = which->type == QTYPE_QSTRING ? which->u.local :
                       which->u.external.name;
    BdrvDirtyBitmap *bitmap = NULL;

    if (which->type == QTYPE_QSTRING) {
        while (bs && !(bitmap = bdrv_find_dirty_bitmap(bs, name))) {
            bs = bdrv_filter_or_cow_bs(bs);
        }
    } else {
        bs = bdrv_find_node(which->u.external.node);
        if (!bs) {
            error_setg(errp, "Node '%s' not found", which->u.external.node);
            return NULL;
        }
        bitmap = bdrv_find_dirty_bitmap(bs, name);
    }
    if (!bitmap) {
        error_setg(errp, "Bitmap '%s' is not found", name);
        return NULL;
    }
    *owner = bs;
    return bdrv_dirty_bitmap_check(bitmap, BDRV_BITMAP_ALLOW_RO, errp) < 0 ?
           NULL : bitmap;
}

static bool nbd_export_take_bitmaps(NBDExport *exp, BlockDriverState *bs,
                                    const BlockDirtyBitmapOrStrList *list,
                                    Error **errp)
{
    const BlockDirtyBitmapOrStrList *l;
    size_t n = 0;

    for (l = list; l; l = l->next) {
        n++;
    }
    exp->bitmaps = g_new0(BdrvDirtyBitmap *, MAX(n, 1));
    exp->bitmap_nodes = g_new0(BlockDriverState *, MAX(n, 1));
    for (l = list; l; l = l->next) {
        BlockDriverState *owner;
        BdrvDirtyBitmap *b = nbd_find_bitmap(bs, l->value, &owner, errp);

        if (!b) {
            return false;
        }
        if (bdrv_dirty_bitmap_enabled(b) && (exp->flags & NBD_FLAG_READ_ONLY)
            && bdrv_is_writable(bs)) {
            /* It would change under a client that may take it for fixed. */
            error_setg(errp, "Enabled bitmap '%s' incompatible with readonly "
                       "export", bdrv_dirty_bitmap_name(b));
            return false;
        }
        /* It may be of no user of the export, and goes with its bitmaps. */
        bdrv_ref(owner);
        bdrv_dirty_bitmap_set_busy(b, true);
        exp->bitmap_nodes[exp->n_bitmaps] = owner;
        exp->bitmaps[exp->n_bitmaps++] = b;
    }
    return true;
}

static bool nbd_export_check(const char *name, const char *description,
                             Error **errp)
{
    if (!nbd_server_is_running()) {
        error_setg(errp, "NBD server not running");
    } else if (strlen(name) > NBD_MAX_STRING_SIZE) {
        error_setg(errp, "export name '%.32s...' too long", name);
    } else if (description && strlen(description) > NBD_MAX_STRING_SIZE) {
        error_setg(errp, "description '%.32s...' too long", description);
    } else if (nbd_export_find(name)) {
        error_setg(errp, "NBD server already has export named '%s'", name);
    } else {
        return true;
    }
    return false;
}

static bool nbd_export_create(BlockExport *common,
                              const BlockExportOptions *opts, Error **errp)
{
    static uint64_t last_serial;
    NBDExport *exp = container_of(common, NBDExport, common);
    const BlockExportOptionsNbd *o = &opts->u.nbd;
    const char *name = o->name ? o->name : opts->node_name;
    bool writable = opts->has_writable && opts->writable;
    int64_t size = blk_getlength(common->blk);

    if (!nbd_export_check(name, o->description, errp)) {
        return false;
    }
    if (size < 0) {
        error_setg_errno(errp, -size, "Failed to determine the NBD export's "
                         "length");
        return false;
    }
    exp->size = QEMU_ALIGN_DOWN(size, BDRV_SECTOR_SIZE);
    exp->flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA |
                 NBD_FLAG_SEND_CACHE |
                 (writable ? NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES |
                  NBD_FLAG_SEND_FAST_ZERO : NBD_FLAG_READ_ONLY);
    if (nbd_server.max_connections != 1) {
        /* A client would wait for ever for its second connection. */
        exp->flags |= NBD_FLAG_CAN_MULTI_CONN;
    }
    exp->allocation_depth = o->has_allocation_depth && o->allocation_depth;
    if (!nbd_export_take_bitmaps(exp, blk_bs(common->blk), o->bitmaps, errp)) {
        nbd_export_free_bitmaps(exp);
        return false;
    }
    exp->serial = ++last_serial;
    exp->name = g_strdup(name);
    exp->description = g_strdup(o->description);
    QLIST_INSERT_HEAD(&nbd_exports, exp, next);
    return true;
}

static void nbd_export_delete(BlockExport *common)
{
    NBDExport *exp = container_of(common, NBDExport, common);

    nbd_export_free_bitmaps(exp);
    g_free(exp->name);
    g_free(exp->description);
}

static void nbd_export_request_shutdown(BlockExport *common)
{
    NBDExport *exp = container_of(common, NBDExport, common);
    NBDClient *c;

    QLIST_REMOVE(exp, next);
    QLIST_FOREACH(c, &nbd_clients, next) {
        if (c->exp == exp) {
            nbd_client_shutdown(c);
        }
    }
}

const BlockExportDriver blk_exp_nbd = {
    .type = BLOCK_EXPORT_TYPE_NBD,
    .instance_size = sizeof(NBDExport),
    .has_iothread = true,
    .has_multi_iothread = true,
    .has_inactive = true,
    .keeps_size = true,
    .create = nbd_export_create,
    .delete = nbd_export_delete,
    .request_shutdown = nbd_export_request_shutdown,
};

/* --- clients --- */

static void nbd_server_watch(void);

static void nbd_handshake_timeout(void *opaque)
{
    nbd_client_shutdown(opaque);
}

static void nbd_end_handshake(NBDClient *c)
{
    timer_free(c->handshake_timer);
    c->handshake_timer = NULL;
}

static void nbd_client_free(NBDClient *c)
{
    QLIST_REMOVE(c, next);
    if (c->exp) {
        blk_exp_unref(&c->exp->common);
        nbd_server.served++;
    }
    nbd_client_watch(c);
    nbd_client_free_tls(c);
    close(c->fd);
    g_free(c->bitmaps);
    nbd_client_unref(c);
    nbd_server.connections--;
    if (nbd_server.accept_timer) {
        timer_del(nbd_server.accept_timer);
    }
    nbd_server_watch();
    aio_wait_kick();
}

static void coroutine_fn nbd_client_entry(void *opaque)
{
    NBDClient *c = opaque;
    int ret = nbd_negotiate(c);

    nbd_end_handshake(c);
    if (ret == 0) {
        BlockExport *exp = &c->exp->common;

        /* Those of an export take turns. */
        nbd_client_move(c, exp->ctxs[c->exp->next_ctx++ % exp->n_ctxs]);
        nbd_serve(c);
        nbd_client_move(c, qemu_get_aio_context());
    }
    nbd_client_free(c);
}

static void nbd_client_new(int fd)
{
    NBDClient *c = g_new0(NBDClient, 1);
    int one = 1;

    /* A UNIX socket has no such option. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    c->refcount = 1;
    c->fd = fd;
    c->ctx = qemu_get_aio_context();
    QSIMPLEQ_INIT(&c->replies);
#ifdef CONFIG_GNUTLS
    if (nbd_server.tls_creds) {
        c->tls_creds = tls_creds_ref(nbd_server.tls_creds);
        c->tls_authz = g_strdup(nbd_server.tls_authz);
    }
#endif
    qemu_co_mutex_init(&c->send_lock);
    qemu_co_queue_init(&c->free_slot);
    QLIST_INSERT_HEAD(&nbd_clients, c, next);
    nbd_server.connections++;
    if (nbd_server.handshake_max_seconds) {
        c->handshake_timer = aio_timer_new(qemu_get_aio_context(),
                                           QEMU_CLOCK_REALTIME, SCALE_NS,
                                           nbd_handshake_timeout, c);
        timer_mod(c->handshake_timer,
                  qemu_clock_get_ns(QEMU_CLOCK_REALTIME) +
                  nbd_server.handshake_max_seconds * NANOSECONDS_PER_SECOND);
    }
    qemu_coroutine_enter(qemu_coroutine_create(nbd_client_entry, c));
}

/*
 * The connection stays in the backlog, and its socket stays readable: without a
 * pause the event loop would turn without end.  A client that goes ends the
 * pause.
 */
static void nbd_accept_failed(void)
{
    timer_mod(nbd_server.accept_timer,
              qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + SOCKET_ACCEPT_RETRY_MS);
    nbd_server_watch();
}

static void nbd_accept_again(void *opaque)
{
    nbd_server_watch();
}

static void nbd_accept(void *opaque)
{
    int fd = socket_accept(nbd_server.fd);

    if (fd >= 0) {
        nbd_client_new(fd);
        nbd_server_watch();
    } else if (fd != -EAGAIN) {
        nbd_accept_failed();
    }
}

/* At the limit, those who come wait to be accepted. */
static void nbd_server_watch(void)
{
    bool more = !nbd_server.max_connections ||
                nbd_server.connections < nbd_server.max_connections;

    if (nbd_server.fd >= 0) {
        more &= !timer_pending(nbd_server.accept_timer);
        aio_set_fd_handler(qemu_get_aio_context(), nbd_server.fd,
                           more ? nbd_accept : NULL, NULL, NULL, NULL, NULL);
    }
}

/* --- the server --- */

bool nbd_server_is_running(void)
{
    return nbd_server.fd >= 0;
}

uint32_t nbd_server_connections(void)
{
    return nbd_server.connections;
}

uint64_t nbd_server_served(void)
{
    return nbd_server.served;
}

static bool nbd_server_set_tls(const char *tls_creds, const char *tls_authz,
                               Error **errp)
{
    if (tls_authz && !tls_creds) {
        error_setg(errp, "tls-authz needs tls-creds");
        return false;
    }
#ifdef CONFIG_GNUTLS
    if (tls_creds) {
        nbd_server.tls_creds = tls_creds_get(tls_creds, true, errp);
        nbd_server.tls_authz = g_strdup(tls_authz);
        return nbd_server.tls_creds;
    }
#endif
    return true;
}

static void nbd_server_clear_tls(void)
{
#ifdef CONFIG_GNUTLS
    tls_creds_unref(nbd_server.tls_creds);
    nbd_server.tls_creds = NULL;
    g_clear_pointer(&nbd_server.tls_authz, g_free);
#endif
}

bool nbd_server_start(const SocketAddress *addr, uint32_t max_connections,
                      uint32_t handshake_max_seconds, const char *tls_creds,
                      const char *tls_authz, Error **errp)
{
    int fd;

    GLOBAL_STATE_CODE();
    if (nbd_server_is_running()) {
        error_setg(errp, "NBD server already running");
        return false;
    }
    if (!nbd_server_set_tls(tls_creds, tls_authz, errp)) {
        nbd_server_clear_tls();
        return false;
    }
    fd = socket_listen(addr, max_connections ? MIN(max_connections, 128) : 128,
                       errp);
    if (fd < 0) {
        nbd_server_clear_tls();
        return false;
    }
    nbd_server.fd = fd;
    nbd_server.accept_timer = aio_timer_new(qemu_get_aio_context(),
                                            QEMU_CLOCK_REALTIME, SCALE_MS,
                                            nbd_accept_again, NULL);
    nbd_server.addr = QAPI_CLONE(SocketAddress, addr);
    nbd_server.max_connections = max_connections;
    nbd_server.handshake_max_seconds = handshake_max_seconds;
    nbd_server_watch();
    return true;
}

void nbd_server_stop(void)
{
    NBDClient *c;

    GLOBAL_STATE_CODE();
    if (!nbd_server_is_running()) {
        return;
    }
    aio_set_fd_handler(qemu_get_aio_context(), nbd_server.fd, NULL, NULL, NULL,
                       NULL, NULL);
    close(nbd_server.fd);
    nbd_server.fd = -1;
    g_clear_pointer(&nbd_server.accept_timer, timer_free);
    socket_unlink(nbd_server.addr);
    qapi_free_SocketAddress(nbd_server.addr);
    nbd_server.addr = NULL;
    nbd_server_clear_tls();
    QLIST_FOREACH(c, &nbd_clients, next) {
        nbd_client_shutdown(c);
    }
    AIO_WAIT_WHILE(NULL, nbd_server.connections);
    blk_exp_close_all_type(BLOCK_EXPORT_TYPE_NBD);
}

void qmp_nbd_server_start(NbdServerOptionsLegacy *arg, Error **errp)
{
    SocketAddress *addr = socket_address_flatten(arg->addr);

    nbd_server_start(addr, arg->has_max_connections ? arg->max_connections :
                     100, arg->has_handshake_max_seconds ?
                     arg->handshake_max_seconds : 10, NBD_TLS_OPTIONS(arg),
                     errp);
    qapi_free_SocketAddress(addr);
}

void qmp_nbd_server_stop(Error **errp)
{
    if (!nbd_server_is_running()) {
        error_setg(errp, "NBD server not running");
        return;
    }
    nbd_server_stop();
}

/* The options that are passed on point into @arg: nothing is copied. */
void qmp_nbd_server_add(NbdServerAddOptions *arg, Error **errp)
{
    const char *name = arg->name ? arg->name : arg->device;
    BlockDriverState *bs = bdrv_lookup_bs(arg->device, arg->device, errp);
    BlockDirtyBitmapOrStr bitmap = {
        .type = QTYPE_QSTRING, .u.local = arg->bitmap,
    };
    BlockDirtyBitmapOrStrList bitmaps = { .value = &bitmap };
    BlockExportOptions options = {
        .type = BLOCK_EXPORT_TYPE_NBD,
        .id = (char *)name,
        .has_writable = true,
        .u.nbd = {
            .name = (char *)name,
            .description = arg->description,
            .bitmaps = arg->bitmap ? &bitmaps : NULL,
        },
    };

    if (!bs) {
        return;
    }
    options.node_name = (char *)bdrv_get_node_name(bs);
    /* Unlike block-export-add, this command never refuses a read-only node. */
    options.writable = arg->has_writable && arg->writable &&
                       !bdrv_is_read_only(bs);
    blk_exp_add(&options, errp);
}

void qmp_nbd_server_remove(const char *name, bool has_mode,
                           BlockExportRemoveMode mode, Error **errp)
{
    BlockExport *exp = blk_exp_find(name);

    if (exp && exp->drv->type != BLOCK_EXPORT_TYPE_NBD) {
        error_setg(errp, "Block export '%s' is not an NBD export", name);
        return;
    }
    qmp_block_export_del(name, has_mode, mode, errp);
}
