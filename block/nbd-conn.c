/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A connection of the NBD client in the event loop.
 *
 * libnbd has one state machine for each connection.  It is driven when the
 * socket is ready, and when a request is made, and calls back when one has been
 * answered.  It must not be called from there, so answers are only noted
 * (conn->done), and their coroutines woken when libnbd has returned.
 *
 * A coroutine that is woken may make the next request, and a callback of the
 * block layer may run a nested event loop and close the node.  So the list of
 * answers belongs to the connection, its bottom half is scheduled while there
 * are any, and whoever walks the list holds a reference.
 */
#include "qemu/osdep.h"
#include "nbd-client.h"

/* Answers in one turn; then others of the event loop have theirs. */
#define NBD_MAX_ANSWERS 64

static void nbd_conn_ref(NBDConn *c)
{
    c->refcount++;
}

static void nbd_conn_unref(NBDConn *c)
{
    if (--c->refcount == 0) {
        assert(QTAILQ_EMPTY(&c->calls) && QTAILQ_EMPTY(&c->done));
        g_free(c);
    }
}

/* --- waiting for the socket --- */

static void nbd_conn_readable(void *opaque);
static void nbd_conn_writable(void *opaque);

static void nbd_conn_watch(NBDConn *c, unsigned direction)
{
    if (c->direction != direction) {
        c->direction = direction;
        aio_set_fd_handler(c->ctx, c->fd,
                           direction & LIBNBD_AIO_DIRECTION_READ ?
                           nbd_conn_readable : NULL,
                           direction & LIBNBD_AIO_DIRECTION_WRITE ?
                           nbd_conn_writable : NULL, NULL, NULL, c);
    }
}

/* After each call of libnbd. */
static void nbd_conn_update(NBDConn *c)
{
    if (!c->h) {
        return;
    }
    if (nbd_aio_is_dead(c->h) || nbd_aio_is_closed(c->h)) {
        nbd_conn_watch(c, 0);
        qemu_bh_schedule(c->bh);
        return;
    }
    nbd_conn_watch(c, nbd_aio_get_direction(c->h));
    if (!QTAILQ_EMPTY(&c->done)) {
        qemu_bh_schedule(c->bh);
    }
}

/* --- answers --- */

static bool nbd_conn_is_lost(NBDConn *c)
{
    return c->h && (nbd_aio_is_dead(c->h) || nbd_aio_is_closed(c->h));
}

static void nbd_conn_drop_handle(NBDConn *c)
{
    NBDCall *call;

    nbd_conn_watch(c, 0);
    /* libnbd does not touch buffers after this. */
    nbd_close(c->h);
    c->h = NULL;
    c->fd = -1;
    while ((call = QTAILQ_FIRST(&c->calls))) {
        call->lost = true;
        QTAILQ_REMOVE(&c->calls, call, next);
        QTAILQ_INSERT_TAIL(&c->done, call, next);
    }
}

static void nbd_conn_check_lost(NBDConn *c)
{
    if (nbd_conn_is_lost(c)) {
        nbd_conn_drop_handle(c);
        nbd_connection_lost(c->bs, true);
    }
}

/*
 * Wake those that have been answered.  The caller has a reference.  Who is
 * woken may find the connection lost, and is on the list again at once: the
 * connection is dropped first, or the two would go round for ever.
 */
static void nbd_conn_process(NBDConn *c)
{
    NBDCall *call;

    nbd_conn_check_lost(c);
    while ((call = QTAILQ_FIRST(&c->done))) {
        QTAILQ_REMOVE(&c->done, call, next);
        if (!QTAILQ_EMPTY(&c->done)) {
            /* For a nested event loop. */
            qemu_bh_schedule(c->bh);
        }
        aio_co_wake(call->co);
        nbd_conn_check_lost(c);
    }
}

void nbd_conn_drop(NBDConn *c)
{
    nbd_conn_ref(c);
    if (c->h) {
        nbd_conn_drop_handle(c);
        nbd_connection_lost(c->bs, false);
    }
    nbd_conn_process(c);
    nbd_conn_unref(c);
}

static void nbd_conn_bh(void *opaque)
{
    NBDConn *c = opaque;

    nbd_conn_ref(c);
    nbd_conn_process(c);
    nbd_conn_unref(c);
}

static void nbd_conn_writable(void *opaque)
{
    NBDConn *c = opaque;

    nbd_conn_ref(c);
    nbd_aio_notify_write(c->h);
    nbd_conn_update(c);
    nbd_conn_process(c);
    nbd_conn_unref(c);
}

/*
 * Each call of libnbd takes one answer at the most.  nbd_poll() looks whether
 * there is another one: libnbd must not be told to read where there is nothing,
 * for then it would send no request until the next answer has come.
 */
static void nbd_conn_readable(void *opaque)
{
    NBDConn *c = opaque;
    uint64_t first = c->answers, before;

    nbd_conn_ref(c);
    nbd_aio_notify_read(c->h);
    do {
        /* An error is seen by nbd_conn_update(). */
        before = c->answers;
    } while (!QTAILQ_EMPTY(&c->calls) && c->answers - first < NBD_MAX_ANSWERS &&
             nbd_poll(c->h, 0) > 0 && c->answers != before);
    nbd_conn_update(c);
    nbd_conn_process(c);
    nbd_conn_unref(c);
}

/* --- requests; callbacks run within functions of libnbd --- */

static int nbd_call_answered(void *opaque, int *error)
{
    NBDCall *call = opaque;
    NBDConn *c = call->conn;

    /* libnbd fails what was in flight at the end of a connection by this. */
    call->lost = *error == ENOTCONN;
    call->ret = -*error;
    call->answered = true;
    c->answers++;
    QTAILQ_REMOVE(&c->calls, call, next);
    QTAILQ_INSERT_TAIL(&c->done, call, next);
    return 1;                   /* libnbd forgets it */
}

static int nbd_call_extent(void *opaque, const char *context, uint64_t offset,
                           uint32_t *entries, size_t n, int *error)
{
    NBDCall *call = opaque;

    if (!strcmp(context, call->context) && n >= 2 && !call->extent_len) {
        call->extent_len = entries[0];
        call->extent_flags = entries[1];
    }
    return 0;
}

static int64_t nbd_call_issue(struct nbd_handle *h, NBDCall *call)
{
    nbd_completion_callback cb = {
        .callback = nbd_call_answered, .user_data = call,
    };
    nbd_extent_callback extent = {
        .callback = nbd_call_extent, .user_data = call,
    };

    switch (call->type) {
    case NBD_CALL_READ:
        return nbd_aio_pread(h, call->buf, call->bytes, call->offset, cb,
                             call->flags);
    case NBD_CALL_WRITE:
        return nbd_aio_pwrite(h, call->buf, call->bytes, call->offset, cb,
                              call->flags);
    case NBD_CALL_ZERO:
        return nbd_aio_zero(h, call->bytes, call->offset, cb, call->flags);
    case NBD_CALL_TRIM:
        return nbd_aio_trim(h, call->bytes, call->offset, cb, call->flags);
    case NBD_CALL_FLUSH:
        return nbd_aio_flush(h, cb, call->flags);
    case NBD_CALL_STATUS:
        return nbd_aio_block_status(h, call->bytes, call->offset, extent, cb,
                                    call->flags);
    }
    g_assert_not_reached();
}

void coroutine_fn nbd_conn_call(NBDConn *c, NBDCall *call)
{
    call->conn = c;
    call->co = qemu_coroutine_self();
    call->lost = false;
    call->answered = false;
    call->ret = 0;
    call->extent_len = 0;
    QTAILQ_INSERT_TAIL(&c->calls, call, next);
    /* Without a server the answer may be there before this has failed. */
    if (nbd_call_issue(c->h, call) < 0 && !call->answered) {
        int error = nbd_get_errno();

        QTAILQ_REMOVE(&c->calls, call, next);
        call->ret = error ? -error : -EIO;
        if (!nbd_conn_is_lost(c)) {
            return;
        }
        /* The bottom half sees to the connection first. */
        call->lost = true;
        QTAILQ_INSERT_TAIL(&c->done, call, next);
    }
    nbd_conn_update(c);
    qemu_coroutine_yield();
}

/* --- its life --- */

NBDConn *nbd_conn_new(BlockDriverState *bs)
{
    NBDConn *c = g_new0(NBDConn, 1);

    c->bs = bs;
    c->refcount = 1;
    c->fd = -1;
    QTAILQ_INIT(&c->calls);
    QTAILQ_INIT(&c->done);
    nbd_conn_attach(c, bdrv_get_aio_context(bs));
    return c;
}

void nbd_conn_adopt(NBDConn *c, struct nbd_handle *h)
{
    assert(!c->h && QTAILQ_EMPTY(&c->calls));
    c->h = h;
    c->fd = nbd_aio_get_fd(h);
    nbd_conn_update(c);
}

void nbd_conn_detach(NBDConn *c)
{
    assert(QTAILQ_EMPTY(&c->calls));
    nbd_conn_watch(c, 0);
    qemu_bh_delete(c->bh);
    c->bh = NULL;
    c->ctx = NULL;
}

void nbd_conn_attach(NBDConn *c, AioContext *ctx)
{
    c->ctx = ctx;
    c->bh = aio_bh_new(ctx, nbd_conn_bh, c);
    nbd_conn_update(c);
}

void nbd_conn_close(NBDConn *c)
{
    if (c->h) {
        /* The server is told if the socket takes it at once. */
        nbd_aio_disconnect(c->h, 0);
        nbd_close(c->h);
        c->h = NULL;
    }
    c->bs = NULL;
    nbd_conn_unref(c);
}
