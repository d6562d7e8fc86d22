/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The filter above the source of a mirror job: it tells the job what is
 * written, or, when the job is active, writes it to the target as well.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "mirror-int.h"
#include "qemu/cutils.h"

/* Copied at once after a discard. */
#define MIRROR_COPY (1 * MiB)

typedef enum {
    MIRROR_WRITE, MIRROR_ZERO, MIRROR_DISCARD,
} MirrorMethod;

typedef struct {
    MirrorMethod method;
    int64_t offset;
    int64_t bytes;
    QEMUIOVector *qiov;
    size_t qiov_offset;
    BdrvRequestFlags flags;
} MirrorWrite;

static int coroutine_fn mirror_top_co_preadv_part(BlockDriverState *bs,
                                                  int64_t offset,
                                                  int64_t bytes,
                                                  QEMUIOVector *qiov,
                                                  size_t qiov_offset,
                                                  BdrvRequestFlags flags)
{
    return bdrv_co_preadv_part(bs->backing, offset, bytes, qiov, qiov_offset,
                               flags);
}

static int coroutine_fn mirror_write_source(BlockDriverState *bs,
                                            const MirrorWrite *w)
{
    switch (w->method) {
    case MIRROR_ZERO:
        return bdrv_co_pwrite_zeroes(bs->backing, w->offset, w->bytes,
                                     w->flags);
    case MIRROR_DISCARD:
        return bdrv_co_pdiscard(bs->backing, w->offset, w->bytes);
    default:
        return bdrv_co_pwritev_part(bs->backing, w->offset, w->bytes, w->qiov,
                                    w->qiov_offset, w->flags);
    }
}

/* Copy what the source has now, while nobody else writes to the chunks. */
static int coroutine_fn mirror_copy_range(MirrorBlockJob *s, int64_t offset,
                                          int64_t bytes,
                                          BdrvRequestFlags flags)
{
    BdrvChild *source = s->mirror_top_bs->backing;
    QEMU_AUTO_VFREE void *buf = NULL;
    int ret = 0;

    while (bytes && ret == 0) {
        int64_t n;
        int status = bdrv_co_block_status_above(source->bs, NULL, offset,
                                                bytes, &n, NULL, NULL);

        if (status >= 0 && n && (status & BDRV_BLOCK_ZERO)) {
            n = MIN(n, bytes);
            ret = bdrv_co_pwrite_zeroes(s->target, offset, n, flags |
                                        (s->unmap ? BDRV_REQ_MAY_UNMAP : 0));
        } else {
            n = MIN(status >= 0 && n ? MIN(n, bytes) : bytes, MIRROR_COPY);
            if (!buf) {
                buf = qemu_try_blockalign(source->bs, MIRROR_COPY);
            }
            ret = buf ? bdrv_co_pread(source, offset, n, buf, 0) : -ENOMEM;
            if (ret == 0) {
                mirror_note_written(s, offset, n);
                ret = bdrv_co_pwrite(s->target, offset, n, buf, flags);
            }
        }
        offset += n;
        bytes -= n;
    }
    return ret;
}

static int coroutine_fn mirror_write_target(MirrorBlockJob *s,
                                            const MirrorWrite *w)
{
    BdrvRequestFlags flags = w->flags & BDRV_REQ_FUA;

    switch (w->method) {
    case MIRROR_ZERO:
        if (mirror_is_still_zero(s, w->offset, w->bytes)) {
            return 0;
        }
        return bdrv_co_pwrite_zeroes(s->target, w->offset, w->bytes, flags |
                                    (s->unmap ? BDRV_REQ_MAY_UNMAP : 0));
    case MIRROR_DISCARD:
        /*
         * What it leaves is not known, and must be the same on both.  It marks
         * nothing as dirty, or a disk that is trimmed all the time would never
         * be clean.
         */
        return mirror_copy_range(s, w->offset, w->bytes, 0);
    default:
        mirror_note_written(s, w->offset, w->bytes);
        return bdrv_co_pwritev_part(s->target, w->offset, w->bytes, w->qiov,
                                    w->qiov_offset, flags);
    }
}

/* Is there a chunk that the target lacks, and of which it would get a part? */
static bool mirror_is_part(MirrorBlockJob *s, int64_t offset, int64_t bytes)
{
    int64_t end = offset + bytes;
    bool head = !QEMU_IS_ALIGNED(offset, s->granularity);
    bool tail = end < s->len && !QEMU_IS_ALIGNED(end, s->granularity);

    if (!s->whole || (!head && !tail)) {
        return false;
    }
    QEMU_LOCK_GUARD(&s->lock);
    return (head && !hbitmap_get(s->whole, offset)) ||
           (tail && !hbitmap_get(s->whole, end - 1));
}

/* The target has all of the range: what lies wholly in it is clean. */
static void mirror_reset_dirty(MirrorBlockJob *s, int64_t offset,
                               int64_t bytes)
{
    int64_t start = QEMU_ALIGN_UP(offset, s->granularity);
    int64_t end = offset + bytes >= s->len ? s->len :
                  QEMU_ALIGN_DOWN(offset + bytes, s->granularity);

    if (start < end) {
        bdrv_reset_dirty_bitmap(s->dirty_bitmap, start, end - start);
        mirror_note_whole(s, start, end - start);
    }
}

static int coroutine_fn mirror_active_write(BlockDriverState *bs,
                                            MirrorBlockJob *s,
                                            const MirrorWrite *w)
{
    int64_t offset = w->offset, bytes = w->bytes;
    MirrorOp op = { .s = s };
    int ret, ret2;

    op.offset = QEMU_ALIGN_DOWN(offset, s->granularity);
    op.bytes = QEMU_ALIGN_UP(offset + bytes, s->granularity) - op.offset;
    mirror_op_begin(&op);
    ret = ret2 = mirror_write_source(bs, w);
    if (ret == 0 && mirror_is_part(s, offset, bytes)) {
        offset = op.offset;
        bytes = MIN(op.bytes, s->len - offset);
        ret2 = mirror_copy_range(s, offset, bytes, w->flags & BDRV_REQ_FUA);
    } else if (ret == 0) {
        ret2 = mirror_write_target(s, w);
    }
    if (ret2 == 0) {
        mirror_reset_dirty(s, offset, bytes);
    } else {
        /* It is copied later, or the job fails: not the user's write. */
        mirror_set_dirty(s, w->offset, w->bytes);
        if (ret == 0) {
            mirror_error(s, false, ret2);
        }
    }
    mirror_op_end(&op);
    return ret;
}

static int coroutine_fn mirror_top_do_write(BlockDriverState *bs,
                                            const MirrorWrite *w)
{
    MirrorTopState *top = bs->opaque;
    MirrorBlockJob *s = top->job;
    int ret;

    if (!s) {
        return mirror_write_source(bs, w);
    }
    if (qatomic_read(&s->active) && qatomic_read(&s->ret) == 0) {
        return mirror_active_write(bs, s, w);
    }
    ret = mirror_write_source(bs, w);
    /* Also one that failed: some of it may have been written. */
    mirror_set_dirty(s, w->offset, w->bytes);
    return ret;
}

static int coroutine_fn mirror_top_co_pwritev_part(BlockDriverState *bs,
                                                   int64_t offset,
                                                   int64_t bytes,
                                                   QEMUIOVector *qiov,
                                                   size_t qiov_offset,
                                                   BdrvRequestFlags flags)
{
    MirrorWrite w = {
        .method = MIRROR_WRITE, .offset = offset, .bytes = bytes,
        .qiov = qiov, .qiov_offset = qiov_offset, .flags = flags,
    };

    return mirror_top_do_write(bs, &w);
}

static int coroutine_fn mirror_top_co_pwrite_zeroes(BlockDriverState *bs,
                                                    int64_t offset,
                                                    int64_t bytes,
                                                    BdrvRequestFlags flags)
{
    MirrorWrite w = {
        .method = MIRROR_ZERO, .offset = offset, .bytes = bytes,
        .flags = flags,
    };

    return mirror_top_do_write(bs, &w);
}

static int coroutine_fn mirror_top_co_pdiscard(BlockDriverState *bs,
                                               int64_t offset, int64_t bytes)
{
    MirrorWrite w = {
        .method = MIRROR_DISCARD, .offset = offset, .bytes = bytes,
    };

    return mirror_top_do_write(bs, &w);
}

static int coroutine_fn mirror_top_co_flush(BlockDriverState *bs)
{
    return bs->backing ? bdrv_co_flush_child(bs->backing) : 0;
}

static int mirror_top_open(BlockDriverState *bs, QOpts *options, int flags,
                           Error **errp)
{
    /* Only the job makes one; it gets its child by bdrv_append(). */
    return 0;
}

static void mirror_top_child_perm(BlockDriverState *bs, BdrvChild *c,
                                  BdrvChildRole role, uint64_t perm,
                                  uint64_t shared, uint64_t *nperm,
                                  uint64_t *nshared)
{
    MirrorTopState *top = bs->opaque;

    if (!(role & BDRV_CHILD_FILTERED)) {
        /*
         * The target is no one else's while it is not whole, but that of a
         * commit is the backing file of what is in use: it may be read.
         */
        *nperm = BLK_PERM_WRITE;
        *nshared = top->is_commit ?
                   BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED :
                   BLK_PERM_WRITE_UNCHANGED;
        return;
    }
    bdrv_default_perms(bs, c, role, perm, shared, nperm, nshared);
    /* A write that passes by the filter is missing on the target. */
    *nperm |= BLK_PERM_CONSISTENT_READ;
    *nshared &= ~(BLK_PERM_WRITE | BLK_PERM_RESIZE);
    if (top->is_commit) {
        /* The images in between are not consistent meanwhile. */
        *nperm &= ~BLK_PERM_CONSISTENT_READ;
    }
}

/* The bitmaps of the job are as long as the disk was. */
static int64_t mirror_top_length_by_child(BlockDriverState *bs,
                                          int64_t child_bytes)
{
    return qatomic_read(&bs->total_sectors) * BDRV_SECTOR_SIZE;
}

BlockDriver bdrv_mirror_top = {
    .format_name = "mirror_top",
    .instance_size = sizeof(MirrorTopState),
    .is_filter = true,
    .filtered_child_is_backing = true,
    .bdrv_open = mirror_top_open,
    .bdrv_co_preadv_part = mirror_top_co_preadv_part,
    .bdrv_co_pwritev_part = mirror_top_co_pwritev_part,
    .bdrv_co_pwrite_zeroes = mirror_top_co_pwrite_zeroes,
    .bdrv_co_pdiscard = mirror_top_co_pdiscard,
    .bdrv_co_flush = mirror_top_co_flush,
    .bdrv_length_by_child = mirror_top_length_by_child,
    .bdrv_child_perm = mirror_top_child_perm,
};
