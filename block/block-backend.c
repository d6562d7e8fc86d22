/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * BlockBackend: life, permissions, and requests in coroutines.
 *
 * blk->in_flight counts the requests that have come in and not ended; while
 * the root is drained (quiesce_counter) new ones wait in queued_requests.
 */
#include "qemu/osdep.h"
#include "qemu/aio-wait.h"
#include "block/blk-int.h"

static QTAILQ_HEAD(, BlockBackend) all_backends =
    QTAILQ_HEAD_INITIALIZER(all_backends);

BlockBackend *blk_new(AioContext *ctx, uint64_t perm, uint64_t shared_perm)
{
    BlockBackend *blk = g_new0(BlockBackend, 1);

    GLOBAL_STATE_CODE();
    blk->refcnt = 1;
    blk->ctx = ctx;
    blk->perm = perm;
    blk->shared_perm = shared_perm;
    blk->enable_write_cache = true;
    qemu_spin_init(&blk->queued_lock);
    qemu_co_queue_init(&blk->queued_requests);
    QTAILQ_INSERT_TAIL(&all_backends, blk, link);
    return blk;
}

BlockBackend *blk_new_open(const char *filename, const char *reference,
                           QOpts *options, int flags, Error **errp)
{
    uint64_t perm = 0, shared = BLK_PERM_ALL;
    BlockDriverState *bs;
    BlockBackend *blk;

    if (!(flags & BDRV_O_NO_IO)) {
        perm |= BLK_PERM_CONSISTENT_READ;
        perm |= flags & BDRV_O_RDWR ? BLK_PERM_WRITE : 0;
    }
    perm |= flags & BDRV_O_RESIZE ? BLK_PERM_RESIZE : 0;
    if (flags & BDRV_O_NO_SHARE) {
        shared = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED;
    }

    bs = bdrv_open(filename, reference, options, flags, errp);
    if (!bs) {
        return NULL;
    }
    blk = blk_new(bdrv_get_aio_context(bs), perm, shared);
    if (blk_insert_bs(blk, bs, errp) < 0) {
        blk_unref(blk);
        blk = NULL;
    }
    bdrv_unref(bs);
    return blk;
}

/* --- the home --- */

static void blk_do_set_aio_context(BlockBackend *blk, AioContext *ctx)
{
    aio_context_notifiers_call(&blk->aio_notifiers, NULL);
    qatomic_set(&blk->ctx, ctx);
    aio_context_notifiers_call(&blk->aio_notifiers, ctx);
}

int blk_set_aio_context(BlockBackend *blk, AioContext *new_context,
                        Error **errp)
{
    int ret = 0;

    GLOBAL_STATE_CODE();
    if (blk->ctx == new_context) {
        return 0;
    }
    bdrv_drain_all_begin();
    AIO_WAIT_WHILE(NULL, qatomic_load_acquire(&blk->in_flight));
    if (blk->root) {
        ret = bdrv_try_change_aio_context(blk->root->bs, new_context,
                                          blk->root, errp);
    }
    if (ret == 0) {
        blk_do_set_aio_context(blk, new_context);
    }
    bdrv_drain_all_end();
    return ret;
}

void blk_set_allow_aio_context_change(BlockBackend *blk, bool allow)
{
    GLOBAL_STATE_CODE();
    blk->allow_aio_context_change = allow;
}

void blk_add_aio_context_notifier(BlockBackend *blk,
                                  void (*attached)(AioContext *new_context,
                                                   void *opaque),
                                  void (*detach)(void *opaque), void *opaque)
{
    GLOBAL_STATE_CODE();
    aio_context_notifiers_add(&blk->aio_notifiers, attached, detach, opaque);
}

void blk_remove_aio_context_notifier(BlockBackend *blk,
                                     void (*attached)(AioContext *, void *),
                                     void (*detach)(void *), void *opaque)
{
    GLOBAL_STATE_CODE();
    aio_context_notifiers_remove(&blk->aio_notifiers, attached, detach,
                                 opaque);
}

/* --- the root --- */

static void blk_root_drained_begin(BdrvChild *child)
{
    BlockBackend *blk = child->opaque;

    /* Pairs with the reading in blk_is_drained(). */
    if (qatomic_fetch_inc(&blk->quiesce_counter) == 0 && blk->dev_ops &&
        blk->dev_ops->drained_begin) {
        blk->dev_ops->drained_begin(blk->dev_opaque);
    }
}

static void blk_root_drained_end(BdrvChild *child)
{
    BlockBackend *blk = child->opaque;
    int old = qatomic_fetch_dec(&blk->quiesce_counter);

    assert(old > 0);
    if (old == 1) {
        if (blk->dev_ops && blk->dev_ops->drained_end) {
            blk->dev_ops->drained_end(blk->dev_opaque);
        }
        qemu_spin_lock(&blk->queued_lock);
        qemu_co_enter_all(&blk->queued_requests, &blk->queued_lock);
        qemu_spin_unlock(&blk->queued_lock);
    }
}

static bool blk_root_drained_poll(BdrvChild *child)
{
    BlockBackend *blk = child->opaque;

    if (blk->dev_ops && blk->dev_ops->drained_poll &&
        blk->dev_ops->drained_poll(blk->dev_opaque)) {
        return true;
    }
    /* Pairs with blk_dec_in_flight() in another thread. */
    return qatomic_load_acquire(&blk->in_flight);
}

/* The permissions that it has asked for come back with the node. */
static int blk_root_inactivate(BdrvChild *child)
{
    BlockBackend *blk = child->opaque;

    if ((blk->perm & (BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED)) &&
        !blk->force_allow_inactivate) {
        return -EPERM;
    }
    if (bdrv_child_try_set_perm(child, 0, BLK_PERM_ALL, NULL) < 0) {
        return -EPERM;
    }
    qatomic_set(&blk->disable_perm, true);
    return 0;
}

static int blk_root_activate(BdrvChild *child, Error **errp)
{
    BlockBackend *blk = child->opaque;
    int ret;

    if (!blk->disable_perm) {
        return 0;
    }
    ret = bdrv_child_try_set_perm(child, blk->perm, blk->shared_perm, errp);
    if (ret == 0) {
        qatomic_set(&blk->disable_perm, false);
    }
    return ret;
}

bool blk_is_inactive(BlockBackend *blk)
{
    return qatomic_read(&blk->disable_perm);
}

void blk_set_force_allow_inactivate(BlockBackend *blk)
{
    GLOBAL_STATE_CODE();
    blk->force_allow_inactivate = true;
}

static void blk_root_resize(BdrvChild *child)
{
    BlockBackend *blk = child->opaque;

    if (blk->dev_ops && blk->dev_ops->resize_cb) {
        blk->dev_ops->resize_cb(blk->dev_opaque);
    }
}

static char *blk_root_get_parent_desc(BdrvChild *child)
{
    BlockBackend *blk = child->opaque;

    if (blk->name) {
        return g_strdup_printf("block device '%s'", blk->name);
    }
    return g_strdup("an unnamed block device");
}

static const char *blk_root_get_name(BdrvChild *child)
{
    return blk_name(child->opaque);
}

typedef struct {
    BlockBackend *blk;
    AioContext *ctx;
} BlkMove;

static void blk_move_commit(void *opaque)
{
    BlkMove *m = opaque;

    blk_do_set_aio_context(m->blk, m->ctx);
}

static const TransactionActionDrv blk_move_drv = {
    .commit = blk_move_commit,
    .clean = g_free,
};

static bool blk_root_change_aio_ctx(BdrvChild *child, AioContext *ctx,
                                    GHashTable *visited, Transaction *tran,
                                    Error **errp)
{
    BlockBackend *blk = child->opaque;
    BlkMove *m;

    if (!blk->allow_aio_context_change) {
        error_setg(errp, "Cannot change iothread of active block backend");
        return false;
    }
    m = g_new(BlkMove, 1);
    m->blk = blk;
    m->ctx = ctx;
    tran_add(tran, &blk_move_drv, m);
    return true;
}

static AioContext *blk_root_get_parent_aio_context(BdrvChild *child)
{
    return blk_get_aio_context(child->opaque);
}

static const BdrvChildClass child_root = {
    .get_parent_desc = blk_root_get_parent_desc,
    .get_name = blk_root_get_name,
    .drained_begin = blk_root_drained_begin,
    .drained_poll = blk_root_drained_poll,
    .drained_end = blk_root_drained_end,
    .inactivate = blk_root_inactivate,
    .activate = blk_root_activate,
    .resize = blk_root_resize,
    .change_aio_ctx = blk_root_change_aio_ctx,
    .get_parent_aio_context = blk_root_get_parent_aio_context,
};

int blk_insert_bs(BlockBackend *blk, BlockDriverState *bs, Error **errp)
{
    bool inactive = blk->force_allow_inactivate && bdrv_is_inactive(bs);

    assert(!blk->root);
    bdrv_ref(bs);
    blk->root = bdrv_root_attach_child(bs, "root", &child_root,
                                       BDRV_CHILD_FILTERED |
                                       BDRV_CHILD_PRIMARY,
                                       inactive ? 0 : blk->perm,
                                       inactive ? BLK_PERM_ALL
                                                : blk->shared_perm, blk, errp);
    /* They come with the node's activation. */
    blk->disable_perm = blk->root && inactive;
    return blk->root ? 0 : -EPERM;
}

void blk_remove_bs(BlockBackend *blk)
{
    BdrvChild *root = blk->root;

    if (!root) {
        return;
    }
    blk_drain(blk);
    blk->root = NULL;
    blk->disable_perm = false;
    bdrv_root_unref_child(root);
}

BlockBackend *blk_all_next(BlockBackend *blk)
{
    return blk ? QTAILQ_NEXT(blk, link) : QTAILQ_FIRST(&all_backends);
}

void blk_ref(BlockBackend *blk)
{
    assert(blk->refcnt > 0);
    blk->refcnt++;
}

void blk_unref(BlockBackend *blk)
{
    if (!blk) {
        return;
    }
    GLOBAL_STATE_CODE();
    assert(blk->refcnt > 0);
    if (blk->refcnt > 1) {
        blk->refcnt--;
        return;
    }
    /* Requests that drain completes may still look at it. */
    blk_remove_bs(blk);
    assert(blk->refcnt == 1 && !blk->in_flight && !blk->dev_ops);
    assert(QLIST_EMPTY(&blk->aio_notifiers.head));
    blk->refcnt = 0;
    QTAILQ_REMOVE(&all_backends, blk, link);
    qemu_spin_destroy(&blk->queued_lock);
    g_free(blk->name);
    g_free(blk->dev_path);
    g_free(blk);
}

bool bdrv_has_blk(BlockDriverState *bs)
{
    BdrvChild *c;

    QLIST_FOREACH(c, &bs->parents, next_parent) {
        if (c->klass == &child_root) {
            return true;
        }
    }
    return false;
}

BlockDriverState *blk_bs(BlockBackend *blk)
{
    return blk->root ? blk->root->bs : NULL;
}

AioContext *blk_get_aio_context(BlockBackend *blk)
{
    return qatomic_read(&blk->ctx);
}

bool blk_is_available(BlockBackend *blk)
{
    return blk->root && bdrv_is_inserted(blk->root->bs);
}

bool blk_is_writable(BlockBackend *blk)
{
    return blk->perm & BLK_PERM_WRITE;
}

bool blk_enable_write_cache(BlockBackend *blk)
{
    return blk->enable_write_cache;
}

void blk_set_enable_write_cache(BlockBackend *blk, bool wce)
{
    blk->enable_write_cache = wce;
}

int blk_set_perm(BlockBackend *blk, uint64_t perm, uint64_t shared_perm,
                 Error **errp)
{
    if (blk->root && !blk->disable_perm) {
        int ret = bdrv_child_try_set_perm(blk->root, perm, shared_perm, errp);

        if (ret < 0) {
            return ret;
        }
    }
    blk->perm = perm;
    blk->shared_perm = shared_perm;
    return 0;
}

void blk_get_perm(BlockBackend *blk, uint64_t *perm, uint64_t *shared_perm)
{
    *perm = blk->perm;
    *shared_perm = blk->shared_perm;
}

int blk_get_flags(BlockBackend *blk)
{
    return blk->root ? bdrv_get_flags(blk->root->bs) : 0;
}

uint32_t blk_get_request_alignment(BlockBackend *blk)
{
    return blk->root ? blk->root->bs->bl.request_alignment : BDRV_SECTOR_SIZE;
}

uint32_t blk_get_max_transfer(BlockBackend *blk)
{
    uint32_t max = blk->root ? blk->root->bs->bl.max_transfer : 0;

    return ROUND_DOWN((int64_t)MIN_NON_ZERO(max, INT_MAX),
                      (int64_t)blk_get_request_alignment(blk));
}

void *blk_blockalign(BlockBackend *blk, size_t size)
{
    return qemu_blockalign(blk_bs(blk), size);
}

void *blk_try_blockalign(BlockBackend *blk, size_t size)
{
    return qemu_try_blockalign(blk_bs(blk), size);
}

BlockAcctStats *blk_get_stats(BlockBackend *blk)
{
    return &blk->stats;
}

/* --- drain --- */

void blk_drain(BlockBackend *blk)
{
    BlockDriverState *bs = blk_bs(blk);

    GLOBAL_STATE_CODE();
    if (bs) {
        bdrv_ref(bs);
        bdrv_drained_begin(bs);
    }
    /* Requests may run in any thread: their end must wake us. */
    AIO_WAIT_WHILE(NULL, qatomic_load_acquire(&blk->in_flight));
    if (bs) {
        bdrv_drained_end(bs);
        bdrv_unref(bs);
    }
}

void blk_drain_all(void)
{
    BlockBackend *blk = QTAILQ_FIRST(&all_backends), *next;

    /* A backend with a reference stays listed, and so does its link. */
    if (blk) {
        blk_ref(blk);
    }
    for (; blk; blk = next) {
        blk_drain(blk);
        next = QTAILQ_NEXT(blk, link);
        if (next) {
            blk_ref(next);
        }
        blk_unref(blk);
    }
}

/*
 * A request waits here while its backend is drained; it counts as ended.  It
 * has been counted before: either it sees that the backend is drained, or the
 * drain sees and awaits it.
 */
void coroutine_fn blk_wait_drained_end(BlockBackend *blk)
{
    /* The end of the drain finds the request in the queue or gone on. */
    qemu_spin_lock(&blk->queued_lock);
    while (blk_is_drained(blk) && !blk->disable_request_queuing) {
        blk_dec_in_flight(blk);
        qemu_co_queue_wait(&blk->queued_requests, &blk->queued_lock);
        blk_inc_in_flight(blk);
    }
    qemu_spin_unlock(&blk->queued_lock);
}

static inline void coroutine_fn blk_begin_request(BlockBackend *blk)
{
    blk_inc_in_flight(blk);
    if (unlikely(blk_is_drained(blk))) {
        blk_wait_drained_end(blk);
    }
}

/* --- requests in coroutines; the caller has begun them --- */

/* As blk_is_available() and bdrv_getlength() say, without the two calls. */
static inline int blk_check_byte_request(BlockBackend *blk, int64_t offset,
                                         int64_t bytes)
{
    BlockDriverState *bs;
    int64_t len;

    if (bytes < 0 || offset < 0) {
        return -EIO;
    }
    bs = blk_bs(blk);
    if (!bs || !bs->drv) {
        return -ENOMEDIUM;
    }
    len = qatomic_read(&bs->total_sectors) * BDRV_SECTOR_SIZE;
    return offset > len || len - offset < bytes ? -EIO : 0;
}

int coroutine_fn blk_co_do_preadv(BlockBackend *blk, int64_t offset,
                                  int64_t bytes, QEMUIOVector *qiov,
                                  BdrvRequestFlags flags)
{
    int ret = blk_check_byte_request(blk, offset, bytes);

    if (ret < 0) {
        return ret;
    }
    return bdrv_co_preadv_part(blk->root, offset, bytes, qiov, 0, flags);
}

int coroutine_fn blk_co_do_pwritev(BlockBackend *blk, int64_t offset,
                                   int64_t bytes, QEMUIOVector *qiov,
                                   BdrvRequestFlags flags)
{
    int ret = blk_check_byte_request(blk, offset, bytes);

    if (ret < 0) {
        return ret;
    }
    if (!blk->enable_write_cache) {
        flags |= BDRV_REQ_FUA;
    }
    if (flags & BDRV_REQ_ZERO_WRITE) {
        return bdrv_co_pwrite_zeroes(blk->root, offset, bytes, flags);
    }
    return bdrv_co_pwritev_part(blk->root, offset, bytes, qiov, 0, flags);
}

int coroutine_fn blk_co_do_pdiscard(BlockBackend *blk, int64_t offset,
                                    int64_t bytes)
{
    int ret = blk_check_byte_request(blk, offset, bytes);

    return ret < 0 ? ret : bdrv_co_pdiscard(blk->root, offset, bytes);
}

int coroutine_fn blk_co_do_flush(BlockBackend *blk)
{
    return blk_is_available(blk) ? bdrv_co_flush_child(blk->root) : -ENOMEDIUM;
}

int coroutine_fn blk_co_preadv(BlockBackend *blk, int64_t offset,
                               int64_t bytes, QEMUIOVector *qiov,
                               BdrvRequestFlags flags)
{
    int ret;

    blk_begin_request(blk);
    ret = blk_co_do_preadv(blk, offset, bytes, qiov, flags);
    blk_dec_in_flight(blk);
    return ret;
}

int coroutine_fn blk_co_pwritev(BlockBackend *blk, int64_t offset,
                                int64_t bytes, QEMUIOVector *qiov,
                                BdrvRequestFlags flags)
{
    int ret;

    blk_begin_request(blk);
    ret = blk_co_do_pwritev(blk, offset, bytes, qiov, flags);
    blk_dec_in_flight(blk);
    return ret;
}

int coroutine_fn blk_co_pread(BlockBackend *blk, int64_t offset, int64_t bytes,
                              void *buf, BdrvRequestFlags flags)
{
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, bytes);

    return blk_co_preadv(blk, offset, bytes, &qiov, flags);
}

int coroutine_fn blk_co_pwrite(BlockBackend *blk, int64_t offset,
                               int64_t bytes, const void *buf,
                               BdrvRequestFlags flags)
{
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, (void *)buf, bytes);

    return blk_co_pwritev(blk, offset, bytes, &qiov, flags);
}

int coroutine_fn blk_co_pwrite_compressed(BlockBackend *blk, int64_t offset,
                                          int64_t bytes, const void *buf)
{
    return blk_co_pwrite(blk, offset, bytes, buf, BDRV_REQ_WRITE_COMPRESSED);
}

int coroutine_fn blk_co_pwrite_zeroes(BlockBackend *blk, int64_t offset,
                                      int64_t bytes, BdrvRequestFlags flags)
{
    return blk_co_pwritev(blk, offset, bytes, NULL,
                          flags | BDRV_REQ_ZERO_WRITE);
}

/*
 * A request of two backends.  While it waits for the end of the drained section
 * of one it does not count for the other, whose drained section would wait for
 * it.
 */
static void coroutine_fn blk_begin_request_of_two(BlockBackend *a,
                                                  BlockBackend *b)
{
    for (;;) {
        blk_begin_request(a);
        blk_inc_in_flight(b);
        if (likely(!blk_is_drained(b) || b->disable_request_queuing)) {
            return;
        }
        blk_dec_in_flight(a);
        blk_wait_drained_end(b);
        blk_dec_in_flight(b);
    }
}

int coroutine_fn blk_co_copy_range(BlockBackend *blk_in, int64_t off_in,
                                   BlockBackend *blk_out, int64_t off_out,
                                   int64_t bytes, BdrvRequestFlags read_flags,
                                   BdrvRequestFlags write_flags)
{
    int ret;

    blk_begin_request_of_two(blk_in, blk_out);
    ret = blk_check_byte_request(blk_in, off_in, bytes);
    if (ret == 0) {
        ret = blk_check_byte_request(blk_out, off_out, bytes);
    }
    if (ret == 0) {
        ret = blk_enable_write_cache(blk_out) ?
              bdrv_co_copy_range(blk_in->root, off_in, blk_out->root, off_out,
                                 bytes, read_flags, write_flags) : -ENOTSUP;
    }
    blk_dec_in_flight(blk_out);
    blk_dec_in_flight(blk_in);
    return ret;
}

int coroutine_fn blk_co_pdiscard(BlockBackend *blk, int64_t offset,
                                 int64_t bytes)
{
    int ret;

    blk_begin_request(blk);
    ret = blk_co_do_pdiscard(blk, offset, bytes);
    blk_dec_in_flight(blk);
    return ret;
}

int coroutine_fn blk_co_flush(BlockBackend *blk)
{
    int ret;

    blk_begin_request(blk);
    ret = blk_co_do_flush(blk);
    blk_dec_in_flight(blk);
    return ret;
}

int coroutine_fn blk_co_truncate(BlockBackend *blk, int64_t offset, bool exact,
                                 PreallocMode prealloc,
                                 BdrvRequestFlags flags, Error **errp)
{
    int ret = -ENOMEDIUM;

    blk_begin_request(blk);
    if (blk_is_available(blk)) {
        ret = bdrv_co_truncate(blk->root, offset, exact, prealloc, flags,
                               errp);
    } else {
        error_setg(errp, "No medium inserted");
    }
    blk_dec_in_flight(blk);
    return ret;
}

int coroutine_fn blk_co_block_status_above(BlockBackend *blk,
                                           BlockDriverState *base,
                                           int64_t offset, int64_t bytes,
                                           int64_t *pnum, int64_t *map,
                                           BlockDriverState **file)
{
    int ret = -ENOMEDIUM;

    blk_begin_request(blk);
    if (blk_is_available(blk)) {
        ret = bdrv_co_block_status_above(blk_bs(blk), base, offset, bytes,
                                         pnum, map, file);
    }
    blk_dec_in_flight(blk);
    return ret;
}

int coroutine_fn blk_co_is_allocated_above(BlockBackend *blk,
                                           BlockDriverState *base,
                                           bool include_base, int64_t offset,
                                           int64_t bytes, int64_t *pnum)
{
    int ret = -ENOMEDIUM;

    blk_begin_request(blk);
    if (blk_is_available(blk)) {
        ret = bdrv_co_is_allocated_above(blk_bs(blk), base, include_base,
                                         offset, bytes, pnum);
    }
    blk_dec_in_flight(blk);
    return ret;
}
