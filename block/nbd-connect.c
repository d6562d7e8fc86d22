/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The NBD client makes its connections in threads.
 *
 * Looking up a name, connecting, TLS and the negotiation take as long as the
 * network and the server want.  A thread does all of it, and if the options
 * say so again and again; then it hands over a connection that is ready.  The
 * event loop never waits.
 *
 * The thread and its owner each have a reference.  An owner that does not want
 * the connection any more leaves the thread alone: it sees that soon, or when
 * the kernel returns from connect(2), and ends.
 */
#include "qemu/osdep.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include "nbd-client.h"
#include "qemu/aio-wait.h"
#include "qemu/sockets.h"
#include "qemu/thread.h"

/* The pause between two attempts, which doubles up to the second of these. */
#define NBD_RETRY_MIN_MS 100
#define NBD_RETRY_MAX_MS 1000
/* A server that does not end the negotiation within this is left. */
#define NBD_HANDSHAKE_MAX_MS INT64_C(60000)
/* How often a thread that waits looks whether its owner has gone. */
#define NBD_LOOK_MS 100

struct NBDConnector {
    NBDParams *params;          /* constant, as the next two */
    unsigned caps;
    bool again;
    int64_t give_up_ns;

    QemuMutex lock;             /* protects what follows */
    int refcount;
    AioContext *ctx;            /* NULL: none at the moment */
    QEMUBHFunc *cb;
    void *opaque;
    QemuCond gone;              /* signalled with abandoned */
    bool abandoned;
    bool done;
    struct nbd_handle *h;       /* the result, until it is taken, */
    NBDInfo info;
    Error *err;                 /* or why there is none */
};

static void nbd_connector_unref(NBDConnector *c)
{
    bool last;

    qemu_mutex_lock(&c->lock);
    last = --c->refcount == 0;
    qemu_mutex_unlock(&c->lock);
    if (!last) {
        return;
    }
    if (c->h) {
        nbd_close(c->h);
    }
    error_free(c->err);
    nbd_params_unref(c->params);
    qemu_cond_destroy(&c->gone);
    qemu_mutex_destroy(&c->lock);
    g_free(c);
}

/* --- what the server has told --- */

static bool nbd_has(struct nbd_handle *h, int (*ask)(struct nbd_handle *))
{
    return ask(h) > 0;
}

static uint32_t nbd_block_size(struct nbd_handle *h, int which)
{
    int64_t size = nbd_get_block_size(h, which);

    return size > 0 && size <= UINT32_MAX ? size : 0;
}

static void nbd_query(struct nbd_handle *h, const NBDParams *p, NBDInfo *info)
{
    const struct {
        int (*ask)(struct nbd_handle *);
        unsigned cap;
    } flags[] = {
        { nbd_can_flush, NBD_CAP_FLUSH }, { nbd_can_fua, NBD_CAP_FUA },
        { nbd_can_trim, NBD_CAP_TRIM }, { nbd_can_zero, NBD_CAP_ZERO },
        { nbd_can_fast_zero, NBD_CAP_FAST_ZERO },
        { nbd_can_multi_conn, NBD_CAP_MULTI_CONN },
    };
    size_t i;

    info->size = nbd_get_size(h);
    info->min_block = nbd_block_size(h, LIBNBD_SIZE_MINIMUM);
    info->opt_block = nbd_block_size(h, LIBNBD_SIZE_PREFERRED);
    info->max_block = nbd_block_size(h, LIBNBD_SIZE_MAXIMUM);
    info->caps = nbd_is_read_only(h) == 0 ? NBD_CAP_WRITE : 0;
    if (nbd_can_meta_context(h, p->context) > 0) {
        info->caps |= NBD_CAP_STATUS;
    }
    for (i = 0; i < ARRAY_SIZE(flags); i++) {
        info->caps |= nbd_has(h, flags[i].ask) ? flags[i].cap : 0;
    }
}

static bool nbd_check(const NBDConnector *c, const NBDInfo *info,
                      Error **errp)
{
    const NBDParams *p = c->params;

    if (info->size < 0 || info->size > BDRV_MAX_LENGTH) {
        error_setg(errp, "NBD export '%s' has a size that is too large",
                   p->export);
    } else if (info->min_block & (info->min_block - 1) ||
               info->max_block < info->min_block) {
        error_setg(errp, "NBD export '%s' has block sizes that make no sense: "
                   "%" PRIu32 " to %" PRIu32, p->export, info->min_block,
                   info->max_block);
    } else if (info->min_block && info->size % info->min_block) {
        /* The rest could not be read. */
        error_setg(errp, "export size %" PRId64 " is not multiple of minimum "
                   "block size %" PRIu32, info->size, info->min_block);
    } else if (p->writable && !(info->caps & NBD_CAP_WRITE)) {
        error_setg(errp, "NBD export '%s' is read-only", p->export);
    } else if (strcmp(p->context, LIBNBD_CONTEXT_BASE_ALLOCATION) &&
               !(info->caps & NBD_CAP_STATUS)) {
        error_setg(errp, "requested x-dirty-bitmap %s not found", p->context);
    } else if (c->caps & ~info->caps) {
        error_setg(errp, "NBD export '%s' can do less than before the "
                   "connection was lost", p->export);
    } else {
        return true;
    }
    return false;
}

/* --- one attempt --- */

static int64_t now_ns(void)
{
    return qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
}

static bool is_cancelled(NBDConnector *c)
{
    bool abandoned;

    qemu_mutex_lock(&c->lock);
    abandoned = c->abandoned;
    qemu_mutex_unlock(&c->lock);
    return abandoned;
}

/* Whose connection is lost is told by libnbd in many words. */
static void nbd_set_error(Error **errp, const NBDParams *p)
{
    int error = nbd_get_errno();
    const char *text = nbd_get_error();

    if (error == ENOENT) {
        error_setg(errp, "Requested export not available");
        error_append_hint(errp, "The server has no export '%s'\n", p->export);
    } else {
        error_setg(errp, "Failed to negotiate with the NBD server: %s",
                   text ? text : strerror(error));
    }
}

static bool nbd_set_tls_params(struct nbd_handle *h, const NBDParams *p)
{
    if (!p->tls) {
        return nbd_set_tls(h, LIBNBD_TLS_DISABLE) == 0;
    }
    return nbd_set_tls(h, LIBNBD_TLS_REQUIRE) == 0 &&
           nbd_set_tls_verify_peer(h, p->tls_verify) == 0 &&
           (!p->tls_dir || nbd_set_tls_certificates(h, p->tls_dir) == 0) &&
           (!p->tls_psk_file ||
            nbd_set_tls_psk_file(h, p->tls_psk_file) == 0) &&
#ifdef LIBNBD_HAVE_NBD_SET_TLS_HOSTNAME
           (!p->tls_hostname ||
            nbd_set_tls_hostname(h, p->tls_hostname) == 0) &&
#endif
           (!p->tls_username ||
            nbd_set_tls_username(h, p->tls_username) == 0);
}

static bool nbd_set_params(struct nbd_handle *h, const NBDParams *p)
{
    /* Reads fill their buffers, or fail: there is nothing to hide before. */
    return nbd_set_pread_initialize(h, false) == 0 &&
           nbd_set_export_name(h, p->export) == 0 &&
           nbd_add_meta_context(h, p->context) == 0;
}

/* Older versions of libnbd know the host only if they connect to it. */
static bool nbd_needs_hostname(const NBDParams *p)
{
    return p->tls && p->tls_verify && !p->tls_psk_file &&
           !NBD_HAVE_TLS_HOSTNAME;
}

bool nbd_connection_begin(struct nbd_handle *h, const NBDParams *p,
                          Error **errp)
{
    int one = 1;
    int fd;

    if (!nbd_set_tls_params(h, p)) {
        nbd_set_error(errp, p);
        return false;
    }
    if (nbd_needs_hostname(p)) {
        const InetSocketAddress *inet = &p->addr->u.inet;

        if (nbd_aio_connect_tcp(h, inet->host, inet->port) < 0) {
            error_setg(errp, "Failed to connect to '%s:%s': %s", inet->host,
                       inet->port, nbd_get_error());
            return false;
        }
        return true;
    }
    fd = socket_connect(p->addr, errp);
    if (fd < 0) {
        return false;
    }
    /* A UNIX socket has no such option. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (nbd_aio_connect_socket(h, fd) < 0) {
        nbd_set_error(errp, p);
        return false;
    }
    return true;
}

/* One step of the negotiation; false with @errp set: it is over. */
static bool nbd_step(NBDConnector *c, struct nbd_handle *h, int64_t deadline,
                     Error **errp)
{
    unsigned dir = nbd_aio_get_direction(h);
    int64_t left_ms = (deadline - now_ns()) / SCALE_MS;
    struct pollfd fd = {
        .fd = nbd_aio_get_fd(h),
        .events = (dir & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
                  (dir & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0),
    };
    int ret = 0;

    if (left_ms <= 0) {
        error_setg(errp, "The NBD server does not answer");
        return false;
    }
    if (is_cancelled(c)) {
        error_setg(errp, "The connection to the NBD server was given up");
        return false;
    }
    if (poll(&fd, 1, MIN(left_ms, NBD_LOOK_MS)) < 0 && errno != EINTR) {
        error_setg_errno(errp, errno, "Cannot wait for the NBD server");
        return false;
    }
    if (fd.revents & (POLLIN | POLLHUP | POLLERR) &&
        dir & LIBNBD_AIO_DIRECTION_READ) {
        ret = nbd_aio_notify_read(h);
    } else if (fd.revents) {
        ret = nbd_aio_notify_write(h);
    }
    if (ret < 0) {
        nbd_set_error(errp, c->params);
    }
    return ret == 0;
}

static struct nbd_handle *nbd_attempt(NBDConnector *c, NBDInfo *info,
                                      Error **errp)
{
    int64_t deadline = MIN(c->again ? c->give_up_ns : INT64_MAX,
                           now_ns() + NBD_HANDSHAKE_MAX_MS * SCALE_MS);
    struct nbd_handle *h = nbd_create();

    if (!h || !nbd_set_params(h, c->params)) {
        error_setg(errp, "Cannot set up an NBD connection: %s",
                   nbd_get_error());
        goto fail;
    }
    if (!nbd_connection_begin(h, c->params, errp)) {
        goto fail;
    }
    while (nbd_aio_is_connecting(h)) {
        if (!nbd_step(c, h, deadline, errp)) {
            goto fail;
        }
    }
    if (!nbd_aio_is_ready(h)) {
        error_setg(errp, "The NBD server has ended the connection");
        goto fail;
    }
    nbd_query(h, c->params, info);
    if (nbd_check(c, info, errp)) {
        return h;
    }
fail:
    if (h) {
        nbd_close(h);
    }
    return NULL;
}

/* --- the thread --- */

static void nbd_connector_bh(void *opaque)
{
    NBDConnector *c = opaque;
    bool is_here;

    qemu_mutex_lock(&c->lock);
    is_here = !c->abandoned && c->ctx == qemu_get_current_aio_context();
    qemu_mutex_unlock(&c->lock);
    /*
     * An owner that is in this context cannot go meanwhile.  One that has moved
     * since then is told where it is.
     */
    if (is_here) {
        c->cb(c->opaque);
    }
    nbd_connector_unref(c);
}

/* The lock is held. */
static void nbd_connector_tell_locked(NBDConnector *c)
{
    if (c->done && c->ctx && !c->abandoned) {
        c->refcount++;
        aio_bh_schedule_oneshot(c->ctx, nbd_connector_bh, c);
    }
}

/* An owner that goes ends it. */
static void nbd_pause(NBDConnector *c, int64_t ms)
{
    int64_t end = now_ns() + ms * SCALE_MS;

    qemu_mutex_lock(&c->lock);
    while (!c->abandoned && now_ns() < end) {
        qemu_cond_timedwait(&c->gone, &c->lock,
                            (end - now_ns()) / SCALE_MS + 1);
    }
    qemu_mutex_unlock(&c->lock);
}

static void *nbd_connector_thread(void *opaque)
{
    NBDConnector *c = opaque;
    struct nbd_handle *h;
    Error *err = NULL;
    NBDInfo info = { 0 };
    int64_t pause_ms = NBD_RETRY_MIN_MS;

    for (;;) {
        h = nbd_attempt(c, &info, &err);
        if (h || !c->again || is_cancelled(c) ||
            now_ns() + pause_ms * SCALE_MS >= c->give_up_ns) {
            break;
        }
        error_free(err);
        err = NULL;
        nbd_pause(c, pause_ms);
        pause_ms = MIN(pause_ms * 2, NBD_RETRY_MAX_MS);
    }
    qemu_mutex_lock(&c->lock);
    c->h = h;
    c->info = info;
    c->err = err;
    c->done = true;
    nbd_connector_tell_locked(c);
    qemu_mutex_unlock(&c->lock);
    nbd_connector_unref(c);
    aio_wait_kick();
    return NULL;
}

/* --- the owner --- */

NBDConnector *nbd_connector_new(NBDParams *p, unsigned caps, bool again,
                                int64_t give_up_ns, AioContext *ctx,
                                QEMUBHFunc *cb, void *opaque)
{
    NBDConnector *c = g_new0(NBDConnector, 1);
    QemuThread thread;

    c->params = nbd_params_ref(p);
    c->caps = caps;
    c->again = again;
    c->give_up_ns = give_up_ns;
    c->ctx = ctx;
    c->cb = cb;
    c->opaque = opaque;
    c->refcount = 2;
    qemu_mutex_init(&c->lock);
    qemu_cond_init(&c->gone);
    qemu_thread_create(&thread, "nbd-connect", nbd_connector_thread, c,
                       QEMU_THREAD_DETACHED);
    return c;
}

void nbd_connector_free(NBDConnector *c)
{
    if (c) {
        qemu_mutex_lock(&c->lock);
        c->abandoned = true;
        qemu_cond_signal(&c->gone);
        qemu_mutex_unlock(&c->lock);
        nbd_connector_unref(c);
    }
}

void nbd_connector_set_context(NBDConnector *c, AioContext *ctx)
{
    qemu_mutex_lock(&c->lock);
    c->ctx = ctx;
    nbd_connector_tell_locked(c);
    qemu_mutex_unlock(&c->lock);
}

bool nbd_connector_done(NBDConnector *c)
{
    bool done;

    qemu_mutex_lock(&c->lock);
    done = c->done;
    qemu_mutex_unlock(&c->lock);
    return done;
}

struct nbd_handle *nbd_connector_take(NBDConnector *c, NBDInfo *info,
                                      Error **errp)
{
    struct nbd_handle *h;

    qemu_mutex_lock(&c->lock);
    assert(c->done);
    h = g_steal_pointer(&c->h);
    *info = c->info;
    error_propagate(errp, g_steal_pointer(&c->err));
    qemu_mutex_unlock(&c->lock);
    return h;
}
