/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The filter driver copy-on-read: what is read through it, and is in images
 * below that of its child, is copied into that image first.  A stream job has
 * one above its image, so that what users read need not be copied again.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "qemu/cutils.h"

/* Copied at once. */
#define COR_CHUNK (512 * KiB)

typedef struct BDRVCopyOnReadState {
    BlockDriverState *bottom;   /* the last image that counts; NULL: all do */
} BDRVCopyOnReadState;

static int cor_take_bottom(BlockDriverState *bs, QOpts *options, Error **errp)
{
    BDRVCopyOnReadState *s = bs->opaque;
    g_autoptr(BlockdevOptionsCor) o = QOPTS_TAKE(BlockdevOptionsCor, options,
                                                 errp);

    if (!o) {
        return -EINVAL;
    }
    if (!o->bottom) {
        return 0;
    }
    s->bottom = bdrv_find_node(o->bottom);
    if (!s->bottom) {
        error_setg(errp, "Bottom node '%s' not found", o->bottom);
        return -EINVAL;
    }
    if (!bdrv_chain_contains(bs->file->bs, s->bottom)) {
        error_setg(errp, "Bottom node '%s' is not in the backing chain of '%s'",
                   o->bottom, bdrv_get_node_name(bs->file->bs));
        return -EINVAL;
    }
    bdrv_ref(s->bottom);
    return 0;
}

static int cor_open(BlockDriverState *bs, QOpts *options, int flags,
                    Error **errp)
{
    BlockDriverState *file;
    int ret = bdrv_open_file_child(NULL, options, "file", bs, errp);

    if (ret == 0) {
        ret = cor_take_bottom(bs, options, errp);
    }
    if (ret < 0) {
        return ret;
    }
    file = bs->file->bs;
    bs->total_sectors = file->total_sectors;
    bs->supported_write_flags = BDRV_REQ_WRITE_UNCHANGED |
        file->supported_write_flags;
    bs->supported_zero_flags = BDRV_REQ_WRITE_UNCHANGED |
        file->supported_zero_flags;
    return 0;
}

static void cor_close(BlockDriverState *bs)
{
    BDRVCopyOnReadState *s = bs->opaque;

    bdrv_unref(s->bottom);
}

static void cor_child_perm(BlockDriverState *bs, BdrvChild *c,
                           BdrvChildRole role, uint64_t perm, uint64_t shared,
                           uint64_t *nperm, uint64_t *nshared)
{
    bdrv_default_perms(bs, c, role, perm, shared, nperm, nshared);
    if (bdrv_is_writable(bs)) {
        *nperm |= BLK_PERM_WRITE_UNCHANGED;
    }
}

/* 1: the @bytes at @offset are in an image below; *@pnum as always. */
static int coroutine_fn cor_is_below(BlockDriverState *bs, int64_t offset,
                                     int64_t bytes, int64_t *pnum)
{
    BDRVCopyOnReadState *s = bs->opaque;
    BlockDriverState *image = bdrv_skip_filters(bs->file->bs), *next;
    int ret = bdrv_co_is_allocated(image, offset, bytes, pnum);

    if (ret != 0 || *pnum == 0) {
        return MIN(ret, 0);
    }
    next = image == s->bottom ? NULL : bdrv_backing_chain_next(image);
    return !next ? 0 :
           MIN(bdrv_co_is_allocated_above(next, s->bottom, s->bottom != NULL,
                                          offset, *pnum, pnum), 1);
}

static int coroutine_fn cor_copy(BlockDriverState *bs, int64_t offset,
                                 int64_t bytes)
{
    QEMU_AUTO_VFREE void *buf = NULL;

    while (bytes) {
        int64_t n;
        int ret = cor_is_below(bs, offset, MIN(bytes, COR_CHUNK), &n);

        if (ret > 0) {
            if (!buf) {
                buf = qemu_try_blockalign(bs->file->bs, COR_CHUNK);
            }
            ret = buf ? bdrv_co_copy_up(bs->file, offset, n, buf) : -ENOMEM;
        }
        if (ret < 0) {
            return ret;
        }
        if (n == 0) {
            break;              /* behind the end of the image */
        }
        offset += n;
        bytes -= n;
    }
    return 0;
}

static int coroutine_fn cor_co_preadv_part(BlockDriverState *bs,
                                           int64_t offset, int64_t bytes,
                                           QEMUIOVector *qiov,
                                           size_t qiov_offset,
                                           BdrvRequestFlags flags)
{
    if (bdrv_is_writable(bs)) {
        int ret = cor_copy(bs, offset, bytes);

        if (ret < 0) {
            return ret;
        }
    }
    return bdrv_co_preadv_part(bs->file, offset, bytes, qiov, qiov_offset,
                               flags);
}

static int coroutine_fn cor_co_pwritev_part(BlockDriverState *bs,
                                            int64_t offset, int64_t bytes,
                                            QEMUIOVector *qiov,
                                            size_t qiov_offset,
                                            BdrvRequestFlags flags)
{
    return bdrv_co_pwritev_part(bs->file, offset, bytes, qiov, qiov_offset,
                                flags);
}

static int coroutine_fn cor_co_pwrite_zeroes(BlockDriverState *bs,
                                             int64_t offset, int64_t bytes,
                                             BdrvRequestFlags flags)
{
    return bdrv_co_pwrite_zeroes(bs->file, offset, bytes, flags);
}

static int coroutine_fn cor_co_pdiscard(BlockDriverState *bs, int64_t offset,
                                        int64_t bytes)
{
    return bdrv_co_pdiscard(bs->file, offset, bytes);
}

static int coroutine_fn cor_co_flush(BlockDriverState *bs)
{
    return bs->file ? bdrv_co_flush_child(bs->file) : 0;
}

static int64_t coroutine_fn cor_co_getlength(BlockDriverState *bs)
{
    return bdrv_co_getlength(bs->file->bs);
}

/* The name of the image alone would leave out a filter that a user made. */
static void cor_refresh_filename(BlockDriverState *bs)
{
    g_free(bs->filename);
    bs->filename = g_strdup(bs->implicit ? bs->file->bs->filename : "");
}

static BlockDriver bdrv_copy_on_read = {
    .format_name = "copy-on-read",
    .instance_size = sizeof(BDRVCopyOnReadState),
    .is_filter = true,

    .bdrv_open = cor_open,
    .bdrv_close = cor_close,
    .bdrv_child_perm = cor_child_perm,
    .bdrv_refresh_filename = cor_refresh_filename,
    .bdrv_co_preadv_part = cor_co_preadv_part,
    .bdrv_co_pwritev_part = cor_co_pwritev_part,
    .bdrv_co_pwrite_zeroes = cor_co_pwrite_zeroes,
    .bdrv_co_pdiscard = cor_co_pdiscard,
    .bdrv_co_flush = cor_co_flush,
    .bdrv_co_getlength = cor_co_getlength,
};

static void cor_init(void)
{
    bdrv_register(&bdrv_copy_on_read);
}

block_init(cor_init);
