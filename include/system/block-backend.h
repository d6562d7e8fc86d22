/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * BlockBackend: the user's end of the block layer.
 *
 * A BlockBackend holds the root node, the writethrough setting, accounting,
 * and the requests of one user.  Requests belong to the home thread of its
 * AioContext; the rest to the main thread.
 */
#ifndef QEMU_BLOCK_BACKEND_H
#define QEMU_BLOCK_BACKEND_H

#include "block/block.h"
#include "qapi/qapi-types-block-jobs.h"

/* What a device (an export, say) in front of a BlockBackend does. */
typedef struct BlockDevOps {
    /* The length has changed.  In the thread that changed it. */
    void (*resize_cb)(void *opaque);
    /*
     * As those of BdrvChildClass.  drained_poll: whether requests are still
     * being processed; those that blk counts are waited for in any case.
     */
    void (*drained_begin)(void *opaque);
    bool (*drained_poll)(void *opaque);
    void (*drained_end)(void *opaque);
} BlockDevOps;

enum BlockAcctType {
    BLOCK_ACCT_NONE,
    BLOCK_ACCT_READ,
    BLOCK_ACCT_WRITE,
    BLOCK_ACCT_FLUSH,
    BLOCK_ACCT_UNMAP,
    BLOCK_MAX_IOTYPE,
};

/* Counters, in bytes, operations and ns. */
typedef struct BlockAcctStats {
    QemuSpin lock;              /* of what follows */
    uint64_t nr_bytes[BLOCK_MAX_IOTYPE];
    uint64_t nr_ops[BLOCK_MAX_IOTYPE];
    uint64_t failed_ops[BLOCK_MAX_IOTYPE];
    uint64_t invalid_ops[BLOCK_MAX_IOTYPE];
    uint64_t total_time_ns[BLOCK_MAX_IOTYPE];
} BlockAcctStats;

typedef struct BlockAcctCookie {
    int64_t bytes;
    int64_t start_time_ns;
    enum BlockAcctType type;
} BlockAcctCookie;

/* Any thread, these and those below. */
BlockAcctStats *blk_get_stats(BlockBackend *blk);
void block_acct_start(BlockAcctStats *stats, BlockAcctCookie *cookie,
                      int64_t bytes, enum BlockAcctType type);
void block_acct_done(BlockAcctStats *stats, BlockAcctCookie *cookie);
void block_acct_failed(BlockAcctStats *stats, BlockAcctCookie *cookie);
void block_acct_invalid(BlockAcctStats *stats, enum BlockAcctType type);
/* What they are now. */
void block_acct_copy(BlockAcctStats *copy, BlockAcctStats *stats);

/*
 * blk_new(): without a node.  blk_new_open(): bdrv_open() and attach, with
 * permissions from the flags (RDWR: write; RESIZE: resize; NO_SHARE: no other
 * writer).  One reference each; blk_unref() detaches the node.
 */
BlockBackend *blk_new(AioContext *ctx, uint64_t perm, uint64_t shared_perm);
BlockBackend *blk_new_open(const char *filename, const char *reference,
                           QOpts *options, int flags, Error **errp);
int blk_insert_bs(BlockBackend *blk, BlockDriverState *bs, Error **errp);
void blk_remove_bs(BlockBackend *blk);
void blk_ref(BlockBackend *blk);
void blk_unref(BlockBackend *blk);

BlockDriverState *blk_bs(BlockBackend *blk);
/* Whether a BlockBackend, which is an export's or a job's, uses @bs. */
bool bdrv_has_blk(BlockDriverState *bs);
/* All backends, one after the other; NULL: the first / no more. */
BlockBackend *blk_all_next(BlockBackend *blk);
/* Any thread. */
AioContext *blk_get_aio_context(BlockBackend *blk);
/*
 * Move @blk and its node to @new_context, with all that hold the node and all
 * that it holds.  A backend follows its node when others move that only if it
 * was allowed to; new ones are not.
 */
int blk_set_aio_context(BlockBackend *blk, AioContext *new_context,
                        Error **errp);
void blk_set_allow_aio_context_change(BlockBackend *blk, bool allow);
/* See bdrv_add_aio_context_notifier(). */
void blk_add_aio_context_notifier(BlockBackend *blk,
                                  void (*attached)(AioContext *new_context,
                                                   void *opaque),
                                  void (*detach)(void *opaque), void *opaque);
void blk_remove_aio_context_notifier(BlockBackend *blk,
                                     void (*attached)(AioContext *, void *),
                                     void (*detach)(void *), void *opaque);
/* "" if it has none. */
const char *blk_name(const BlockBackend *blk);
/*
 * The names by which users know backends: no two are equal, nor is one equal
 * to that of a node.  Add returns false with @errp set if @name cannot be.
 */
bool monitor_add_blk(BlockBackend *blk, const char *name, Error **errp);
void monitor_remove_blk(BlockBackend *blk);
BlockBackend *blk_by_name(const char *name);
/* All backends with names; NULL: the first / no more. */
BlockBackend *blk_next(BlockBackend *blk);
/* The node of backend @device, else node @node_name; either may be NULL. */
BlockDriverState *bdrv_lookup_bs(const char *device, const char *node_name,
                                 Error **errp);
/* @ops NULL: no device any more. */
void blk_set_dev_ops(BlockBackend *blk, const BlockDevOps *ops, void *opaque);
/*
 * Requests that come while the root is drained do not wait: whoever makes
 * them knows what it does.
 */
void blk_set_disable_request_queuing(BlockBackend *blk, bool disable);

/* The path by which users know the device, for events; copied. */
void blk_set_attached_dev_path(BlockBackend *blk, const char *path);

/* What a failed request leads to; @error is an errno. */
void blk_set_on_error(BlockBackend *blk, BlockdevOnError on_read_error,
                      BlockdevOnError on_write_error);
BlockdevOnError blk_get_on_error(BlockBackend *blk, bool is_read);
BlockErrorAction blk_get_error_action(BlockBackend *blk, bool is_read,
                                      int error);
/* Tell those who watch, by BLOCK_IO_ERROR and the status. */
void blk_error_action(BlockBackend *blk, BlockErrorAction action,
                      bool is_read, int error);
void blk_iostatus_enable(BlockBackend *blk);
bool blk_iostatus_is_enabled(const BlockBackend *blk);
BlockDeviceIoStatus blk_iostatus(const BlockBackend *blk);
void blk_iostatus_reset(BlockBackend *blk);

bool blk_is_available(BlockBackend *blk);
bool blk_is_writable(BlockBackend *blk);
bool blk_enable_write_cache(BlockBackend *blk);
/* False: every write is followed by a flush (or carries FUA). */
void blk_set_enable_write_cache(BlockBackend *blk, bool wce);
int blk_set_perm(BlockBackend *blk, uint64_t perm, uint64_t shared_perm,
                 Error **errp);
/* Its node may become inactive though @blk writes: it will not meanwhile. */
void blk_set_force_allow_inactivate(BlockBackend *blk);
/*
 * Is its node inactive?  Any thread.  That may change at once; a write to an
 * inactive node is refused (-EPERM).
 */
bool blk_is_inactive(BlockBackend *blk);
void blk_get_perm(BlockBackend *blk, uint64_t *perm, uint64_t *shared_perm);
int blk_get_flags(BlockBackend *blk);
uint32_t blk_get_request_alignment(BlockBackend *blk);
uint32_t blk_get_max_transfer(BlockBackend *blk);
void *blk_blockalign(BlockBackend *blk, size_t size);
void *blk_try_blockalign(BlockBackend *blk, size_t size);

/*
 * Asynchronous requests.  @cb runs once in the home thread, outside
 * coroutines or inside one that is ending, never before the call returns.
 * The request is freed after @cb.
 */
BlockAIOCB *blk_aio_preadv(BlockBackend *blk, int64_t offset,
                           QEMUIOVector *qiov, BdrvRequestFlags flags,
                           BlockCompletionFunc *cb, void *opaque);
BlockAIOCB *blk_aio_pwritev(BlockBackend *blk, int64_t offset,
                            QEMUIOVector *qiov, BdrvRequestFlags flags,
                            BlockCompletionFunc *cb, void *opaque);
BlockAIOCB *blk_aio_pwrite_zeroes(BlockBackend *blk, int64_t offset,
                                  int64_t bytes, BdrvRequestFlags flags,
                                  BlockCompletionFunc *cb, void *opaque);
BlockAIOCB *blk_aio_pdiscard(BlockBackend *blk, int64_t offset,
                             int64_t bytes, BlockCompletionFunc *cb,
                             void *opaque);
BlockAIOCB *blk_aio_flush(BlockBackend *blk, BlockCompletionFunc *cb,
                          void *opaque);

int coroutine_fn blk_co_preadv(BlockBackend *blk, int64_t offset,
                               int64_t bytes, QEMUIOVector *qiov,
                               BdrvRequestFlags flags);
int coroutine_fn blk_co_pwritev(BlockBackend *blk, int64_t offset,
                                int64_t bytes, QEMUIOVector *qiov,
                                BdrvRequestFlags flags);
int coroutine_fn blk_co_pwrite_zeroes(BlockBackend *blk, int64_t offset,
                                      int64_t bytes, BdrvRequestFlags flags);
/* See bdrv_co_copy_range(); -ENOTSUP: read and write. */
int coroutine_fn blk_co_copy_range(BlockBackend *blk_in, int64_t off_in,
                                   BlockBackend *blk_out, int64_t off_out,
                                   int64_t bytes, BdrvRequestFlags read_flags,
                                   BdrvRequestFlags write_flags);
int coroutine_fn blk_co_pdiscard(BlockBackend *blk, int64_t offset,
                                 int64_t bytes);
int coroutine_fn blk_co_pread(BlockBackend *blk, int64_t offset, int64_t bytes,
                              void *buf, BdrvRequestFlags flags);
int coroutine_fn blk_co_pwrite(BlockBackend *blk, int64_t offset,
                               int64_t bytes, const void *buf,
                               BdrvRequestFlags flags);
int coroutine_fn blk_co_pwrite_compressed(BlockBackend *blk, int64_t offset,
                                          int64_t bytes, const void *buf);
int coroutine_fn blk_co_flush(BlockBackend *blk);
int coroutine_fn blk_co_truncate(BlockBackend *blk, int64_t offset, bool exact,
                                 PreallocMode prealloc,
                                 BdrvRequestFlags flags, Error **errp);
/* See bdrv_co_block_status_above() and bdrv_co_is_allocated_above(). */
int coroutine_fn blk_co_block_status_above(BlockBackend *blk,
                                           BlockDriverState *base,
                                           int64_t offset, int64_t bytes,
                                           int64_t *pnum, int64_t *map,
                                           BlockDriverState **file);
int coroutine_fn blk_co_is_allocated_above(BlockBackend *blk,
                                           BlockDriverState *base,
                                           bool include_base, int64_t offset,
                                           int64_t bytes, int64_t *pnum);

/* Outside coroutines or inside; 0 or -errno. */
int co_wrapper blk_pread(BlockBackend *blk, int64_t offset, int64_t bytes,
                         void *buf, BdrvRequestFlags flags);
int co_wrapper blk_pwrite(BlockBackend *blk, int64_t offset, int64_t bytes,
                          const void *buf, BdrvRequestFlags flags);
int co_wrapper blk_preadv(BlockBackend *blk, int64_t offset, int64_t bytes,
                          QEMUIOVector *qiov, BdrvRequestFlags flags);
int co_wrapper blk_pwritev(BlockBackend *blk, int64_t offset, int64_t bytes,
                           QEMUIOVector *qiov, BdrvRequestFlags flags);
int co_wrapper blk_pwrite_zeroes(BlockBackend *blk, int64_t offset,
                                 int64_t bytes, BdrvRequestFlags flags);
int co_wrapper blk_pwrite_compressed(BlockBackend *blk, int64_t offset,
                                     int64_t bytes, const void *buf);
int co_wrapper blk_pdiscard(BlockBackend *blk, int64_t offset, int64_t bytes);
int co_wrapper blk_flush(BlockBackend *blk);
int co_wrapper blk_truncate(BlockBackend *blk, int64_t offset, bool exact,
                            PreallocMode prealloc, BdrvRequestFlags flags,
                            Error **errp);
int64_t blk_getlength(BlockBackend *blk);

/* Wait for the requests of this backend / of all backends. */
void blk_drain(BlockBackend *blk);
void blk_drain_all(void);

#endif
