/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Queues of a vhost-user-blk export: taking requests, giving them back, and
 * telling the guest.
 *
 * A pass takes what is available, each into a coroutine, within one section of
 * defer_call(): the requests go to the kernel together.  Completing a request
 * takes no new ones, so nothing here recurses, also if all requests complete
 * at once; and the guest is told once, at the end of the section.
 *
 * Requests come from the free list of their queue, which grows up to the size
 * of the ring.
 */
#include "qemu/osdep.h"
#include "vhost-user-blk.h"
#include "qapi/error.h"
#include "qemu/defer-call.h"
#include "qemu/error-report.h"
#include "qemu/iov.h"

static void signal_fd(int fd)
{
    static const uint64_t one = 1;

    /* EAGAIN: it is signalled already.  Others are the client's problem. */
    if (fd >= 0 && RETRY_ON_EINTR(write(fd, &one, sizeof(one))) < 0) {
        return;
    }
}

/* Of the deferred calls. */
static void queue_notify(void *opaque)
{
    VuBlkQueue *q = opaque;

    /* A queue that has stopped meanwhile has told the guest by itself. */
    if (q->vq.desc && virtqueue_should_notify(&q->vq)) {
        signal_fd(q->call_fd);
    }
}

/* Told once per client: a guest must not be able to fill a log. */
static void queue_check_broken(VuBlkQueue *q)
{
    if (q->vq.broken && !q->reported) {
        q->reported = true;
        error_report("export '%s': queue %u: %s; the queue is stopped",
                     q->exp->common.id, q->index, q->vq.broken);
        signal_fd(q->err_fd);
    }
    if (guest_memory_lost(&q->exp->client.mem)) {
        virtqueue_break(&q->vq, "memory is lost");
        qemu_bh_schedule(q->exp->lost_bh);
    }
}

/* --- requests --- */

static VuBlkReq *queue_get_req(VuBlkQueue *q)
{
    VuBlkReq *req = q->free_reqs;

    if (req) {
        q->free_reqs = req->next;
        return req;
    }
    req = g_new(VuBlkReq, 1);
    req->q = q;
    return req;
}

static void queue_put_req(VuBlkQueue *q, VuBlkReq *req)
{
    req->next = q->free_reqs;
    q->free_reqs = req;
}

/* It takes no request until there are fewer bytes in flight. */
static bool queue_is_full(VuBlkQueue *q)
{
    return q->in_flight_bytes >= VU_BLK_MAX_IN_FLIGHT_BYTES;
}

static void queue_end_req(VuBlkQueue *q, VuBlkReq *req)
{
    bool was_full = queue_is_full(q);

    q->in_flight_bytes -= req->bytes;
    queue_put_req(q, req);
    if (unlikely(was_full) && !queue_is_full(q)) {
        qemu_bh_schedule(q->bh);
    }
    export_queue_end_request(&q->common);
}

void coroutine_fn vu_blk_req_done(VuBlkReq *req, uint32_t len)
{
    VuBlkQueue *q = req->q;

    virtqueue_push(&q->vq, &req->elem, len);
    defer_call(queue_notify, q);
    queue_end_req(q, req);
}

void coroutine_fn vu_blk_req_bad(VuBlkReq *req, const char *what)
{
    VuBlkQueue *q = req->q;

    virtqueue_break(&q->vq, what);
    virtqueue_drop(&q->vq);
    queue_end_req(q, req);
}

/* A queue that is full is looked at again when a request has ended. */
static bool queue_has_work(VuBlkQueue *q)
{
    return !queue_is_full(q) && virtqueue_has_work(&q->vq);
}

/* Up to @budget requests; what is left of that. */
static unsigned queue_take(VuBlkQueue *q, unsigned budget)
{
    while (budget && !queue_is_full(q)) {
        VuBlkReq *req = queue_get_req(q);

        if (!virtqueue_pop(&q->vq, &req->elem)) {
            queue_put_req(q, req);
            break;
        }
        req->bytes = iov_size(req->elem.iov,
                              req->elem.out_num + req->elem.in_num);
        q->in_flight_bytes += req->bytes;
        export_queue_begin_request(&q->common);
        budget--;
        qemu_coroutine_enter(qemu_coroutine_create(vu_blk_req_entry, req));
    }
    return budget;
}

static void queue_process(VuBlkQueue *q)
{
    unsigned budget = q->vq.num;

    if (!q->running) {
        return;
    }
    export_queue_begin_pass(&q->common);
    /*
     * Buffers may come before the driver sees that we want to know.  With
     * event indices it tells of the buffer behind the last one that was taken
     * when we asked, and of no other: so we ask again after each taking.
     */
    do {
        virtqueue_set_notification(&q->vq, false);
        budget = queue_take(q, budget);
        if (!q->polling) {
            virtqueue_set_notification(&q->vq, true);
        }
    } while (budget && queue_has_work(q));
    export_queue_end_pass(&q->common);
    /* Others have their turn before the rest. */
    if (!budget || queue_has_work(q)) {
        qemu_bh_schedule(q->bh);
    }
    queue_check_broken(q);
}

/* --- handlers --- */

static void queue_bh(void *opaque)
{
    queue_process(opaque);
}

static void queue_kick(void *opaque)
{
    VuBlkQueue *q = opaque;
    uint64_t count;

    if (RETRY_ON_EINTR(read(q->kick_fd, &count, sizeof(count))) < 0 &&
        errno != EAGAIN) {
        virtqueue_break(&q->vq, "its kick descriptor cannot be read");
        aio_set_fd_handler(q->common.ctx, q->kick_fd, NULL, NULL, NULL, NULL,
                           NULL);
    }
    queue_process(q);
}

static bool queue_poll(void *opaque)
{
    VuBlkQueue *q = opaque;

    return queue_has_work(q);
}

static void queue_poll_begin(void *opaque)
{
    VuBlkQueue *q = opaque;

    q->polling = true;
    virtqueue_set_notification(&q->vq, false);
}

static void queue_poll_end(void *opaque)
{
    VuBlkQueue *q = opaque;

    q->polling = false;
    virtqueue_set_notification(&q->vq, true);
    if (queue_has_work(q)) {
        qemu_bh_schedule(q->bh);
    }
}

/* --- starting and stopping --- */

static bool queue_start_here(VuBlkQueue *q, Error **errp)
{
    VuBlkClient *c = &q->exp->client;
    size_t stride = 0;
    void *region = NULL;

    if (c->inflight && q->index < c->inflight_queues) {
        stride = virtqueue_inflight_size(
            vu_blk_has_feature(q->exp, VIRTIO_F_RING_PACKED), c->inflight_num);
        /* It was mapped for rings of the kind that was negotiated then. */
        if (stride * (q->index + 1) > c->inflight_bytes) {
            error_setg(errp, "the region for requests in flight is too small "
                       "for queue %u", q->index);
            return false;
        }
        region = c->inflight_base + q->index * stride;
    }
    if (!virtqueue_init(&q->vq, &c->mem, q->num, &q->addrs, c->features,
                        q->base, region, stride, errp)) {
        return false;
    }
    q->running = true;
    q->polling = false;
    aio_set_fd_handler(q->common.ctx, q->kick_fd, queue_kick, NULL, queue_poll,
                       queue_bh, q);
    aio_set_fd_poll(q->common.ctx, q->kick_fd, queue_poll_begin,
                    queue_poll_end);
    /* A server that has died may have completed requests and not said so. */
    if (region) {
        signal_fd(q->call_fd);
    }
    qemu_bh_schedule(q->bh);
    return true;
}

bool coroutine_fn vu_blk_queue_start(VuBlkQueue *q, Error **errp)
{
    bool ok;

    assert(!q->running && !q->common.in_flight);
    aio_co_reschedule_self(q->common.ctx);
    ok = queue_start_here(q, errp);
    aio_co_reschedule_self(qemu_get_aio_context());
    return ok;
}

void coroutine_fn vu_blk_queue_stop(VuBlkQueue *q)
{
    aio_co_reschedule_self(q->common.ctx);
    if (q->running) {
        q->running = false;
        aio_set_fd_handler(q->common.ctx, q->kick_fd, NULL, NULL, NULL, NULL,
                           NULL);
        qemu_bh_cancel(q->bh);
        export_queue_wait_idle(&q->common);
        queue_notify(q);
        q->base = virtqueue_stop(&q->vq);
    }
    aio_co_reschedule_self(qemu_get_aio_context());
}

void coroutine_fn vu_blk_queue_set_call(VuBlkQueue *q, int fd)
{
    int old;

    aio_co_reschedule_self(q->common.ctx);
    old = q->call_fd;
    q->call_fd = fd;
    /* The driver may not have heard of what was completed before. */
    if (q->running) {
        signal_fd(fd);
    }
    aio_co_reschedule_self(qemu_get_aio_context());
    if (old >= 0) {
        close(old);
    }
}

void vu_blk_queue_init(VuBlkQueue *q, VuBlkExport *exp, unsigned index,
                       AioContext *ctx)
{
    *q = (VuBlkQueue) {
        .exp = exp,
        .index = index,
        .common.ctx = ctx,
        .kick_fd = -1,
        .call_fd = -1,
        .err_fd = -1,
    };
    q->bh = aio_bh_new(ctx, queue_bh, q);
}

void vu_blk_queue_destroy(VuBlkQueue *q)
{
    VuBlkReq *req;

    assert(!q->running && !q->common.in_flight);
    qemu_bh_delete(q->bh);
    while ((req = q->free_reqs)) {
        q->free_reqs = req->next;
        g_free(req);
    }
}
