/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The filter driver copy-before-write: see include/block/copy-before-write.h.
 *
 * A write, discard or write of zeroes waits until the clusters that it touches
 * have been copied, if they have not been before.  When the copying fails, the
 * write fails (break-guest-write), or the copy is given up for good and the
 * write goes on (break-snapshot).
 *
 * The driver snapshot-access reads the disk as it was.  done_bitmap says where:
 * a cluster whose bit is set is on the target, any other still in the source.
 * A write sets the bits, and then waits for the reads of the source that have
 * begun before (frozen_reads); reads that begin later find the bits.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "block/copy-before-write.h"
#include "qemu/cutils.h"
#include "qemu/lockable.h"

/* A read of a part of the source that must not change meanwhile. */
typedef struct FrozenRead {
    int64_t offset;
    int64_t bytes;
    QLIST_ENTRY(FrozenRead) list;
} FrozenRead;

typedef struct BDRVCopyBeforeWriteState {
    BlockCopyState *bcs;
    BdrvChild *target;
    OnCbwError on_cbw_error;
    uint64_t cbw_timeout_ns;    /* 0: no limit */
    bool discard_source;
    int snapshot_error;         /* atomic; the first one, -errno */

    QemuMutex lock;             /* protects what follows */
    BdrvDirtyBitmap *access_bitmap;     /* what a snapshot shows */
    BdrvDirtyBitmap *done_bitmap;       /* what it shows of the target */
    QLIST_HEAD(, FrozenRead) frozen_reads;
    CoQueue frozen_queue;       /* until one of them has ended */
} BDRVCopyBeforeWriteState;

static int coroutine_fn cbw_co_preadv_part(BlockDriverState *bs,
                                           int64_t offset, int64_t bytes,
                                           QEMUIOVector *qiov,
                                           size_t qiov_offset,
                                           BdrvRequestFlags flags)
{
    return bdrv_co_preadv_part(bs->file, offset, bytes, qiov, qiov_offset,
                               flags);
}

static void block_copy_cb(void *opaque)
{
    BlockDriverState *bs = opaque;

    bdrv_dec_in_flight(bs);
}

/* --- before a write --- */

static bool cbw_is_frozen_locked(BDRVCopyBeforeWriteState *s, int64_t start,
                                 int64_t end)
{
    FrozenRead *r;

    QLIST_FOREACH(r, &s->frozen_reads, list) {
        if (start < r->offset + r->bytes && r->offset < end) {
            return true;
        }
    }
    return false;
}

/* The range is on the target: reads of the snapshot go there from now on. */
static void coroutine_fn cbw_copy_done(BDRVCopyBeforeWriteState *s,
                                       int64_t start, int64_t end)
{
    QEMU_LOCK_GUARD(&s->lock);
    bdrv_set_dirty_bitmap(s->done_bitmap, start,
                          MIN(end, bdrv_dirty_bitmap_size(s->done_bitmap)) -
                          start);
    while (cbw_is_frozen_locked(s, start, end)) {
        qemu_co_queue_wait(&s->frozen_queue, &s->lock);
    }
}

/* The copy is of no use any more; -ECANCELED: to nobody.  Any thread. */
static void cbw_spoil(BDRVCopyBeforeWriteState *s, int error)
{
    /* In this order: a write that sees the error has no discard behind it. */
    block_copy_keep_source(s->bcs);
    qatomic_cmpxchg(&s->snapshot_error, 0, error);
}

/* Whether a write may go on without a copy; it waits for what would undo it. */
static bool coroutine_fn cbw_is_spoiled(BDRVCopyBeforeWriteState *s)
{
    if (!qatomic_read(&s->snapshot_error)) {
        return false;
    }
    block_copy_wait_discards(s->bcs);
    return true;
}

static int coroutine_fn cbw_do_copy_before_write(BlockDriverState *bs,
                                                 int64_t offset, int64_t bytes,
                                                 BdrvRequestFlags flags)
{
    BDRVCopyBeforeWriteState *s = bs->opaque;
    int64_t cluster_size = block_copy_cluster_size(s->bcs);
    int64_t start, end;
    int ret;

    if ((flags & BDRV_REQ_WRITE_UNCHANGED) || cbw_is_spoiled(s)) {
        return 0;
    }
    start = QEMU_ALIGN_DOWN(offset, cluster_size);
    end = QEMU_ALIGN_UP(offset + bytes, cluster_size);

    /* The copy may take longer than this; block_copy_cb() is its end. */
    bdrv_inc_in_flight(bs);
    ret = block_copy(s->bcs, start, end - start, true, s->cbw_timeout_ns,
                     block_copy_cb, bs);
    if (ret == 0) {
        cbw_copy_done(s, start, end);
    } else if (s->on_cbw_error == ON_CBW_ERROR_BREAK_SNAPSHOT) {
        cbw_spoil(s, ret);
    }
    /* Spoiled, by this or by another: nothing is there to be kept. */
    return cbw_is_spoiled(s) ? 0 : ret;
}

static int coroutine_fn cbw_co_pdiscard(BlockDriverState *bs, int64_t offset,
                                        int64_t bytes)
{
    int ret = cbw_do_copy_before_write(bs, offset, bytes, 0);

    return ret < 0 ? ret : bdrv_co_pdiscard(bs->file, offset, bytes);
}

static int coroutine_fn cbw_co_pwrite_zeroes(BlockDriverState *bs,
                                             int64_t offset, int64_t bytes,
                                             BdrvRequestFlags flags)
{
    int ret = cbw_do_copy_before_write(bs, offset, bytes, flags);

    return ret < 0 ? ret : bdrv_co_pwrite_zeroes(bs->file, offset, bytes,
                                                 flags);
}

static int coroutine_fn cbw_co_pwritev_part(BlockDriverState *bs,
                                            int64_t offset, int64_t bytes,
                                            QEMUIOVector *qiov,
                                            size_t qiov_offset,
                                            BdrvRequestFlags flags)
{
    int ret = cbw_do_copy_before_write(bs, offset, bytes, flags);

    return ret < 0 ? ret : bdrv_co_pwritev_part(bs->file, offset, bytes, qiov,
                                                qiov_offset, flags);
}

/* The target is the job's, or the user's, to flush.  Without file: dropped. */
static int coroutine_fn cbw_co_flush(BlockDriverState *bs)
{
    return bs->file ? bdrv_co_flush_child(bs->file) : 0;
}

/* --- the snapshot --- */

/*
 * Where to read the snapshot at @offset, the same for *@pnum bytes.  With the
 * source, @read keeps it from being changed until cbw_snapshot_read_end().
 * NULL: the snapshot does not have all of the range, or is broken.
 */
static BdrvChild *coroutine_fn cbw_snapshot_read_begin(BlockDriverState *bs,
                                                       int64_t offset,
                                                       int64_t bytes,
                                                       int64_t *pnum,
                                                       FrozenRead *read)
{
    BDRVCopyBeforeWriteState *s = bs->opaque;

    *read = (FrozenRead) { .bytes = 0 };
    QEMU_LOCK_GUARD(&s->lock);
    if (qatomic_read(&s->snapshot_error) ||
        bdrv_dirty_bitmap_next_zero(s->access_bitmap, offset, bytes) >= 0) {
        return NULL;
    }
    if (bdrv_dirty_bitmap_status(s->done_bitmap, offset, bytes, pnum)) {
        return s->target;
    }
    read->offset = offset;
    read->bytes = *pnum;
    QLIST_INSERT_HEAD(&s->frozen_reads, read, list);
    return bs->file;
}

static void coroutine_fn cbw_snapshot_read_end(BlockDriverState *bs,
                                               FrozenRead *read)
{
    BDRVCopyBeforeWriteState *s = bs->opaque;

    if (read->bytes) {
        QEMU_LOCK_GUARD(&s->lock);
        QLIST_REMOVE(read, list);
        qemu_co_queue_restart_all(&s->frozen_queue);
    }
}

static int coroutine_fn cbw_co_preadv_snapshot(BlockDriverState *bs,
                                               int64_t offset, int64_t bytes,
                                               QEMUIOVector *qiov,
                                               size_t qiov_offset)
{
    BDRVCopyBeforeWriteState *s = bs->opaque;

    while (bytes) {
        FrozenRead read;
        BdrvChild *child;
        int64_t n;
        int ret;

        child = cbw_snapshot_read_begin(bs, offset, bytes, &n, &read);
        if (!child) {
            return -EACCES;
        }
        ret = bdrv_co_preadv_part(child, offset, n, qiov, qiov_offset, 0);
        cbw_snapshot_read_end(bs, &read);
        if (ret == 0 && qatomic_read(&s->snapshot_error)) {
            /* A write may have gone by while it read. */
            ret = -EACCES;
        }
        if (ret < 0) {
            return ret;
        }
        offset += n;
        bytes -= n;
        qiov_offset += n;
    }
    return 0;
}

static int coroutine_fn cbw_co_snapshot_block_status(BlockDriverState *bs,
                                                     int64_t offset,
                                                     int64_t bytes,
                                                     int64_t *pnum)
{
    FrozenRead read;
    BdrvChild *child;
    int64_t n;
    int ret;

    child = cbw_snapshot_read_begin(bs, offset, bytes, &n, &read);
    if (!child) {
        return -EACCES;
    }
    /* All layers: the snapshot has what is in backing files, too. */
    ret = bdrv_co_block_status_above(child->bs, NULL, offset, n, pnum, NULL,
                                     NULL);
    cbw_snapshot_read_end(bs, &read);
    if (ret >= 0 && *pnum == 0) {
        /* A target that is shorter than the source. */
        *pnum = n;
        ret = BDRV_BLOCK_DATA;
    }
    return ret;
}

static int coroutine_fn cbw_co_pdiscard_snapshot(BlockDriverState *bs,
                                                 int64_t offset,
                                                 int64_t bytes)
{
    BDRVCopyBeforeWriteState *s = bs->opaque;
    int64_t cluster_size = block_copy_cluster_size(s->bcs);
    int64_t size = bdrv_dirty_bitmap_size(s->access_bitmap);
    int64_t end = offset + bytes;

    /* The rest of a cluster may still be wanted. */
    offset = QEMU_ALIGN_UP(offset, cluster_size);
    end = end >= size ? size : QEMU_ALIGN_DOWN(end, cluster_size);
    if (offset >= end) {
        return 0;
    }
    WITH_QEMU_LOCK_GUARD(&s->lock) {
        bdrv_reset_dirty_bitmap(s->access_bitmap, offset, end - offset);
    }
    /* Nobody will ask for it: writes need not copy it any more. */
    block_copy_reset(s->bcs, offset, QEMU_ALIGN_UP(end, cluster_size) -
                     offset);
    return bdrv_co_pdiscard(s->target, offset, end - offset);
}

/* --- life --- */

/* The bitmaps, and the target, are as long as the disk was. */
static int64_t cbw_length_by_child(BlockDriverState *bs, int64_t child_bytes)
{
    return qatomic_read(&bs->total_sectors) * BDRV_SECTOR_SIZE;
}

static int coroutine_fn cbw_co_truncate(BlockDriverState *bs, int64_t offset,
                                        bool exact, PreallocMode prealloc,
                                        BdrvRequestFlags flags, Error **errp)
{
    error_setg(errp, "Image format driver does not support resize");
    return -ENOTSUP;
}

static void cbw_child_perm(BlockDriverState *bs, BdrvChild *c,
                           BdrvChildRole role, uint64_t perm, uint64_t shared,
                           uint64_t *nperm, uint64_t *nshared)
{
    BDRVCopyBeforeWriteState *s = bs->opaque;

    if (!(role & BDRV_CHILD_FILTERED)) {
        /*
         * The target.  Others may write to it: it may have the source as its
         * backing file.  Its size must stay.
         */
        *nperm = BLK_PERM_WRITE;
        *nshared = BLK_PERM_ALL & ~BLK_PERM_RESIZE;
        return;
    }
    if (QLIST_EMPTY(&bs->parents)) {
        /* It is not in use yet: the users of the source go on. */
        *nperm = s->discard_source ? BLK_PERM_WRITE : 0;
        *nshared = BLK_PERM_ALL;
        return;
    }
    bdrv_default_perms(bs, c, role, perm, shared, nperm, nshared);
    *nperm |= BLK_PERM_CONSISTENT_READ;
    if (s->discard_source) {
        *nperm |= BLK_PERM_WRITE;
    }
    /* A write that passes by the filter is not copied before. */
    *nshared &= ~(BLK_PERM_WRITE | BLK_PERM_RESIZE);
}

/* The options "bitmap.node" and "bitmap.name"; NULL if they are not there. */
static int cbw_take_bitmap(QOpts *options, BdrvDirtyBitmap **bitmap,
                           Error **errp)
{
    g_autofree char *node = NULL, *name = NULL;
    BlockDriverState *bs;

    *bitmap = NULL;
    if (!qopts_take_str(options, "bitmap.node", NULL, &node, errp) ||
        !qopts_take_str(options, "bitmap.name", NULL, &name, errp)) {
        return -EINVAL;
    }
    if (!node && !name) {
        return 0;
    }
    if (!node || !name) {
        error_setg(errp, "Parameter 'bitmap.%s' is missing",
                   node ? "name" : "node");
        return -EINVAL;
    }
    bs = bdrv_find_node(node);
    if (!bs) {
        error_setg(errp, "Node '%s' not found", node);
        return -EINVAL;
    }
    *bitmap = bdrv_find_dirty_bitmap(bs, name);
    if (!*bitmap) {
        error_setg(errp, "Dirty bitmap '%s' not found", name);
        return -EINVAL;
    }
    return bdrv_dirty_bitmap_check(*bitmap, BDRV_BITMAP_ALLOW_RO, errp) < 0 ?
           -EINVAL : 0;
}

static int cbw_take_options(BDRVCopyBeforeWriteState *s, QOpts *options,
                            uint64_t *min_cluster_size, Error **errp)
{
    g_autoptr(BlockdevOptionsCbw) o = QOPTS_TAKE(BlockdevOptionsCbw, options,
                                                 errp);

    /* The one that is not in the schema is of the backup job alone. */
    if (!o || !qopts_take_bool(options, "discard-source", false,
                               &s->discard_source, errp)) {
        return -EINVAL;
    }
    *min_cluster_size = o->min_cluster_size;
    /* The first is the default. */
    s->on_cbw_error = o->on_cbw_error;
    s->cbw_timeout_ns = o->cbw_timeout * NANOSECONDS_PER_SECOND;
    return 0;
}

/* False with @errp set and nothing left behind. */
static bool cbw_init_bitmaps(BlockDriverState *bs, Error **errp)
{
    BDRVCopyBeforeWriteState *s = bs->opaque;
    int64_t cluster_size = block_copy_cluster_size(s->bcs);

    s->access_bitmap = bdrv_create_dirty_bitmap(bs, cluster_size, NULL, errp);
    if (!s->access_bitmap) {
        return false;
    }
    s->done_bitmap = bdrv_create_dirty_bitmap(bs, cluster_size, NULL, errp);
    if (!s->done_bitmap) {
        bdrv_release_dirty_bitmap(s->access_bitmap);
        return false;
    }
    bdrv_disable_dirty_bitmap(s->access_bitmap);
    bdrv_disable_dirty_bitmap(s->done_bitmap);
    /* Users can read exactly the parts that are to be copied at first. */
    bdrv_dirty_bitmap_merge_internal(s->access_bitmap,
                                     block_copy_dirty_bitmap(s->bcs), NULL,
                                     true);
    qemu_mutex_init(&s->lock);
    QLIST_INIT(&s->frozen_reads);
    qemu_co_queue_init(&s->frozen_queue);
    return true;
}

static void cbw_set_supported_flags(BlockDriverState *bs)
{
    BlockDriverState *file = bs->file->bs;

    bs->total_sectors = file->total_sectors;
    bs->supported_write_flags = BDRV_REQ_WRITE_UNCHANGED |
        (BDRV_REQ_FUA & file->supported_write_flags);
    bs->supported_zero_flags = BDRV_REQ_WRITE_UNCHANGED |
        ((BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK) &
         file->supported_zero_flags);
}

static int cbw_open(BlockDriverState *bs, QOpts *options, int flags,
                    Error **errp)
{
    BDRVCopyBeforeWriteState *s = bs->opaque;
    BdrvDirtyBitmap *bitmap = NULL;
    uint64_t min_cluster_size = 0;
    int ret;

    ret = cbw_take_options(s, options, &min_cluster_size, errp);
    if (ret == 0) {
        ret = bdrv_open_file_child(NULL, options, "file", bs, errp);
    }
    if (ret < 0) {
        return ret;
    }
    s->target = bdrv_open_child(NULL, options, "target", bs,
                                BDRV_CHILD_DATA, false, errp);
    if (!s->target) {
        return -EINVAL;
    }
    ret = cbw_take_bitmap(options, &bitmap, errp);
    if (ret < 0) {
        return ret;
    }
    cbw_set_supported_flags(bs);
    s->bcs = block_copy_state_new(bs->file, s->target, bs, bitmap,
                                  s->discard_source, min_cluster_size, errp);
    if (!s->bcs) {
        error_prepend(errp, "Cannot create block-copy-state: ");
        return -EINVAL;
    }
    if (!cbw_init_bitmaps(bs, errp)) {
        block_copy_state_free(s->bcs);
        return -EINVAL;
    }
    return 0;
}

static void cbw_close(BlockDriverState *bs)
{
    BDRVCopyBeforeWriteState *s = bs->opaque;

    assert(QLIST_EMPTY(&s->frozen_reads));
    qemu_mutex_destroy(&s->lock);
    bdrv_release_dirty_bitmap(s->access_bitmap);
    bdrv_release_dirty_bitmap(s->done_bitmap);
    block_copy_state_free(s->bcs);
    s->bcs = NULL;
}

static BlockDriver bdrv_cbw_filter = {
    .format_name = "copy-before-write",
    .instance_size = sizeof(BDRVCopyBeforeWriteState),
    .is_filter = true,

    .bdrv_open = cbw_open,
    .bdrv_close = cbw_close,
    .bdrv_co_preadv_part = cbw_co_preadv_part,
    .bdrv_co_pwritev_part = cbw_co_pwritev_part,
    .bdrv_co_pwrite_zeroes = cbw_co_pwrite_zeroes,
    .bdrv_co_pdiscard = cbw_co_pdiscard,
    .bdrv_co_flush = cbw_co_flush,
    .bdrv_length_by_child = cbw_length_by_child,
    .bdrv_co_truncate = cbw_co_truncate,
    .bdrv_child_perm = cbw_child_perm,

    .bdrv_co_preadv_snapshot = cbw_co_preadv_snapshot,
    .bdrv_co_snapshot_block_status = cbw_co_snapshot_block_status,
    .bdrv_co_pdiscard_snapshot = cbw_co_pdiscard_snapshot,
};

BlockDriverState *bdrv_cbw_append(BlockDriverState *source,
                                  BlockDriverState *target,
                                  const char *filter_node_name,
                                  bool discard_source,
                                  uint64_t min_cluster_size,
                                  OnCbwError on_cbw_error,
                                  BlockCopyState **bcs, Error **errp)
{
    QOpts *options = qopts_new();
    BDRVCopyBeforeWriteState *s;
    BlockDriverState *top;
    /* Users may discard meanwhile: the source does it, too. */
    int flags = BDRV_O_RDWR | (source->open_flags & BDRV_O_UNMAP);

    GLOBAL_STATE_CODE();
    if (bdrv_getlength(source) != bdrv_getlength(target)) {
        error_setg(errp, "Source and target image have different sizes");
        qopts_unref(options);
        return NULL;
    }
    qopts_set_str(options, "driver", "copy-before-write");
    if (filter_node_name) {
        qopts_set_str(options, "node-name", filter_node_name);
    }
    qopts_set_str(options, "file", bdrv_get_node_name(source));
    qopts_set_str(options, "target", bdrv_get_node_name(target));
    qopts_set_str(options, "on-cbw-error", OnCbwError_str(on_cbw_error));
    qopts_set_bool(options, "discard-source", discard_source);
    if (min_cluster_size) {
        g_autofree char *size = g_strdup_printf("%" PRIu64, min_cluster_size);

        qopts_set_str(options, "min-cluster-size", size);
    }
    top = bdrv_insert_node(source, options, flags, errp);
    if (!top) {
        return NULL;
    }
    /* It goes when the job ends, whatever other jobs want of the chain. */
    top->never_freeze = true;
    s = top->opaque;
    *bcs = s->bcs;
    return top;
}

void bdrv_cbw_drop(BlockDriverState *bs)
{
    GLOBAL_STATE_CODE();
    bdrv_drop_filter(bs, &error_abort);
    bdrv_unref(bs);
}

void bdrv_cbw_deny_access(BlockDriverState *bs)
{
    BDRVCopyBeforeWriteState *s = bs->opaque;

    QEMU_LOCK_GUARD(&s->lock);
    bdrv_clear_dirty_bitmap(s->access_bitmap, NULL);
}

int coroutine_fn bdrv_cbw_co_flush_target(BlockDriverState *bs)
{
    BDRVCopyBeforeWriteState *s = bs->opaque;

    return bdrv_co_flush_child(s->target);
}

void bdrv_cbw_abandon(BlockDriverState *bs)
{
    BDRVCopyBeforeWriteState *s = bs->opaque;

    cbw_spoil(s, -ECANCELED);
    block_copy_abandon(s->bcs);
}

int bdrv_cbw_snapshot_error(BlockDriverState *bs)
{
    BDRVCopyBeforeWriteState *s = bs->opaque;

    return qatomic_read(&s->snapshot_error);
}

static void cbw_init(void)
{
    bdrv_register(&bdrv_cbw_filter);
}

block_init(cbw_init);
