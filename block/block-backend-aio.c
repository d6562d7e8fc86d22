/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * BlockBackend: requests with callbacks.
 *
 * A request with a callback is a coroutine.  When the coroutine ends after
 * the call that started it has returned, it calls back itself; when it ends
 * before, a bottom half does, since a callback never comes before the call
 * returns.
 */
#include "qemu/osdep.h"
#include "block/blk-int.h"

typedef enum {
    BLK_AIO_READ,
    BLK_AIO_WRITE,
    BLK_AIO_DISCARD,
    BLK_AIO_FLUSH,
} BlkAioType;

typedef struct BlkAioEmAIOCB {
    BlockAIOCB common;
    BlockBackend *blk;
    BlkAioType type;
    BdrvRequestFlags flags;
    int64_t offset;
    int64_t bytes;
    QEMUIOVector *qiov;
    int ret;
    bool at_home;               /* started in the thread of the coroutine */
    unsigned ends;              /* BLK_AIO_* below; atomic unless at_home */
} BlkAioEmAIOCB;

/*
 * The call that starts a request and its coroutine, which may run in another
 * thread, each add their bit when they end.  The second of them lets the
 * callback be called; the first must not use the request any more.
 */
#define BLK_AIO_DONE     1u     /* the coroutine has ended; ret is valid */
#define BLK_AIO_RETURNED 2u     /* so has the call that started it */

/*
 * Add @end; whether the other one has ended.  A coroutine can leave the thread
 * that has started it only after it has yielded to a call there, which returns:
 * only one that was started for another thread may end at the same time.
 */
static bool blk_aio_end(BlkAioEmAIOCB *acb, unsigned end)
{
    if (likely(acb->at_home)) {
        acb->ends |= end;
        return acb->ends != end;
    }
    return qatomic_fetch_or(&acb->ends, end);
}

static const AIOCBInfo blk_aio_em_aiocb_info = {
    .aiocb_size = sizeof(BlkAioEmAIOCB),
};

static void blk_aio_complete(BlkAioEmAIOCB *acb)
{
    BlockBackend *blk = acb->blk;

    acb->common.cb(acb->common.opaque, acb->ret);
    qemu_aio_unref(acb);
    blk_dec_in_flight(blk);
}

static void blk_aio_complete_bh(void *opaque)
{
    blk_aio_complete(opaque);
}

/*
 * A request that has waited for the end of a drain follows its backend, which
 * cannot move while the request counts as in flight.
 */
static void coroutine_fn blk_aio_wait_drained(BlockBackend *blk)
{
    while (blk_is_drained(blk) && !blk->disable_request_queuing) {
        blk_wait_drained_end(blk);
        aio_co_reschedule_self(blk_get_aio_context(blk));
    }
}

static int coroutine_fn blk_aio_do(BlkAioEmAIOCB *acb)
{
    if (unlikely(blk_is_drained(acb->blk))) {
        blk_aio_wait_drained(acb->blk);
    }
    switch (acb->type) {
    case BLK_AIO_READ:
        return blk_co_do_preadv(acb->blk, acb->offset, acb->bytes, acb->qiov,
                                acb->flags);
    case BLK_AIO_WRITE:
        return blk_co_do_pwritev(acb->blk, acb->offset, acb->bytes, acb->qiov,
                                 acb->flags);
    case BLK_AIO_DISCARD:
        return blk_co_do_pdiscard(acb->blk, acb->offset, acb->bytes);
    case BLK_AIO_FLUSH:
        return blk_co_do_flush(acb->blk);
    }
    g_assert_not_reached();
}

static void coroutine_fn blk_aio_entry(void *opaque)
{
    BlkAioEmAIOCB *acb = opaque;

    acb->ret = blk_aio_do(acb);
    if (blk_aio_end(acb, BLK_AIO_DONE)) {
        blk_aio_complete(acb);
    }
}

/* Inline: eight arguments would go through memory twice. */
static QEMU_ALWAYS_INLINE BlockAIOCB *
blk_aio_start(BlockBackend *blk, BlkAioType type, int64_t offset,
              int64_t bytes, QEMUIOVector *qiov, BdrvRequestFlags flags,
              BlockCompletionFunc *cb, void *opaque)
{
    AioContext *ctx;
    BlkAioEmAIOCB *acb;

    blk_inc_in_flight(blk);
    ctx = blk_get_aio_context(blk);
    acb = qemu_aio_get(&blk_aio_em_aiocb_info, cb, opaque);
    acb->blk = blk;
    acb->type = type;
    acb->flags = flags;
    acb->offset = offset;
    acb->bytes = bytes;
    acb->qiov = qiov;
    acb->ret = -EINPROGRESS;
    acb->at_home = ctx == qemu_get_current_aio_context();
    acb->ends = 0;

    aio_co_enter(ctx, qemu_coroutine_create(blk_aio_entry, acb));

    if (blk_aio_end(acb, BLK_AIO_RETURNED)) {
        aio_bh_schedule_oneshot(blk_get_aio_context(blk),
                                blk_aio_complete_bh, acb);
    }
    return &acb->common;
}

BlockAIOCB *blk_aio_preadv(BlockBackend *blk, int64_t offset,
                           QEMUIOVector *qiov, BdrvRequestFlags flags,
                           BlockCompletionFunc *cb, void *opaque)
{
    return blk_aio_start(blk, BLK_AIO_READ, offset, qiov->size, qiov, flags,
                         cb, opaque);
}

BlockAIOCB *blk_aio_pwritev(BlockBackend *blk, int64_t offset,
                            QEMUIOVector *qiov, BdrvRequestFlags flags,
                            BlockCompletionFunc *cb, void *opaque)
{
    return blk_aio_start(blk, BLK_AIO_WRITE, offset, qiov->size, qiov, flags,
                         cb, opaque);
}

BlockAIOCB *blk_aio_pwrite_zeroes(BlockBackend *blk, int64_t offset,
                                  int64_t bytes, BdrvRequestFlags flags,
                                  BlockCompletionFunc *cb, void *opaque)
{
    return blk_aio_start(blk, BLK_AIO_WRITE, offset, bytes, NULL,
                         flags | BDRV_REQ_ZERO_WRITE, cb, opaque);
}

BlockAIOCB *blk_aio_pdiscard(BlockBackend *blk, int64_t offset,
                             int64_t bytes, BlockCompletionFunc *cb,
                             void *opaque)
{
    return blk_aio_start(blk, BLK_AIO_DISCARD, offset, bytes, NULL, 0, cb,
                         opaque);
}

BlockAIOCB *blk_aio_flush(BlockBackend *blk, BlockCompletionFunc *cb,
                          void *opaque)
{
    return blk_aio_start(blk, BLK_AIO_FLUSH, 0, 0, NULL, 0, cb, opaque);
}

int64_t blk_getlength(BlockBackend *blk)
{
    return blk_is_available(blk) ? bdrv_getlength(blk_bs(blk)) : -ENOMEDIUM;
}
