/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared by the files of BlockBackend.
 */
#ifndef BLK_INT_H
#define BLK_INT_H

#include "block/block_int.h"
#include "qemu/main-loop.h"
#include "system/block-backend.h"

struct BlockBackend {
    BdrvChild *root;            /* NULL: no node */
    AioContext *ctx;            /* its home; atomic; changed while drained */
    bool allow_aio_context_change;
    AioContextNotifierList aio_notifiers;
    int refcnt;
    uint64_t perm;
    uint64_t shared_perm;
    bool disable_perm;          /* atomic; inactive node: none is asked for */
    bool force_allow_inactivate;
    bool enable_write_cache;
    char *name;                 /* NULL: none */
    const BlockDevOps *dev_ops; /* NULL: no device */
    void *dev_opaque;
    char *dev_path;             /* of the device, in QOM; NULL: none */
    BlockdevOnError on_read_error;
    BlockdevOnError on_write_error;
    bool iostatus_enabled;
    BlockDeviceIoStatus iostatus;
    BlockAcctStats stats;

    unsigned in_flight;         /* atomic */
    int quiesce_counter;        /* atomic; > 0: the root is drained */
    bool disable_request_queuing;   /* set before requests are made */
    QemuSpin queued_lock;
    CoQueue queued_requests;    /* until quiesce_counter is 0; under the lock */

    QTAILQ_ENTRY(BlockBackend) link;
};

static inline void blk_inc_in_flight(BlockBackend *blk)
{
    qatomic_inc(&blk->in_flight);
}

static inline void blk_dec_in_flight(BlockBackend *blk)
{
    /* Pairs with the reading in blk_root_drained_poll(). */
    if (qatomic_fetch_dec(&blk->in_flight) == 1) {
        aio_wait_kick();
    }
}

static inline bool blk_is_drained(BlockBackend *blk)
{
    return qatomic_load_acquire(&blk->quiesce_counter) > 0;
}

/*
 * Wait until the root is no longer drained; blk->in_flight goes down
 * meanwhile.  The home may be another one afterwards.
 */
void coroutine_fn blk_wait_drained_end(BlockBackend *blk);

/*
 * The requests, counted in blk->in_flight since before the backend was last
 * seen not to be drained.
 */
int coroutine_fn blk_co_do_preadv(BlockBackend *blk, int64_t offset,
                                  int64_t bytes, QEMUIOVector *qiov,
                                  BdrvRequestFlags flags);
int coroutine_fn blk_co_do_pwritev(BlockBackend *blk, int64_t offset,
                                   int64_t bytes, QEMUIOVector *qiov,
                                   BdrvRequestFlags flags);
int coroutine_fn blk_co_do_pdiscard(BlockBackend *blk, int64_t offset,
                                    int64_t bytes);
int coroutine_fn blk_co_do_flush(BlockBackend *blk);

#endif
