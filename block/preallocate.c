/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The filter driver preallocate: between a format and its file.  A write beyond
 * the end makes the file longer than it needs to be, in one step and with space
 * allocated, so that later writes change no metadata of the file system.  What
 * is above sees the end of the data; the rest is cut off when nobody writes any
 * more.
 *
 * While somebody writes the filter owns the length of the file: it has WRITE
 * and RESIZE, and shares neither.  data_end and file_end are valid from the
 * first write on until the rest is cut off.
 */
#include "qemu/osdep.h"
#include "block-io.h"
#include "qemu/cutils.h"
#include "qemu/lockable.h"

#define PREALLOC_ALIGN (1 * MiB)
#define PREALLOC_SIZE (128 * MiB)
#define PERM_GROW (BLK_PERM_WRITE | BLK_PERM_RESIZE)

typedef struct PreallocateOpts {
    uint64_t prealloc_size;
    uint64_t prealloc_align;
} PreallocateOpts;

typedef struct BDRVPreallocateState {
    PreallocateOpts opts;
    QEMUBH *drop_bh;            /* main thread */

    CoMutex lock;               /* protects what follows */
    int64_t data_end;           /* bytes; atomic for a look; -1: unknown */
    int64_t file_end;           /* bytes; >= data_end; zeroes in between */
} BDRVPreallocateState;

static bool preallocate_take_opts(PreallocateOpts *dest, QOpts *options,
                                  BlockDriverState *file, Error **errp)
{
    uint32_t align = MAX(file->bl.request_alignment, BDRV_SECTOR_SIZE);
    g_autoptr(BlockdevOptionsPreallocate) o =
        QOPTS_TAKE(BlockdevOptionsPreallocate, options, errp);

    if (!o) {
        return false;
    }
    dest->prealloc_align = o->has_prealloc_align ? o->prealloc_align
                                                 : PREALLOC_ALIGN;
    dest->prealloc_size = o->has_prealloc_size ? o->prealloc_size
                                               : PREALLOC_SIZE;
    if (!dest->prealloc_align ||
        !QEMU_IS_ALIGNED(dest->prealloc_align, BDRV_SECTOR_SIZE)) {
        error_setg(errp, "prealloc-align parameter of preallocate filter is "
                   "not aligned to %llu", BDRV_SECTOR_SIZE);
        return false;
    }
    if (!QEMU_IS_ALIGNED(dest->prealloc_align, align)) {
        error_setg(errp, "prealloc-align parameter of preallocate filter is "
                   "not aligned to underlying node request alignment (%" PRIu32
                   ")", align);
        return false;
    }
    return true;
}

/* --- the end of the file --- */

static bool preallocate_is_longer(const BDRVPreallocateState *s)
{
    return s->data_end >= 0 && s->file_end > s->data_end;
}

/* Cut off what is behind the data; no write is under way. */
static int coroutine_fn preallocate_drop_co(void *opaque)
{
    BlockDriverState *bs = opaque;
    BDRVPreallocateState *s = bs->opaque;
    int ret = 0;

    QEMU_LOCK_GUARD(&s->lock);
    if (preallocate_is_longer(s)) {
        ret = bdrv_co_truncate(bs->file, s->data_end, true, PREALLOC_MODE_OFF,
                               0, NULL);
    }
    /* After an error there are zeroes behind the data, which is no harm. */
    s->file_end = -1;
    qatomic_set(&s->data_end, -1);
    bdrv_co_refresh_size(bs);
    return ret;
}

static int preallocate_drop(BlockDriverState *bs, Error **errp)
{
    int ret = bdrv_run_co(bdrv_get_aio_context(bs), preallocate_drop_co, bs);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not cut off what was "
                         "preallocated behind the data of '%s'",
                         bs->file->bs->filename);
    }
    return ret;
}

/* The last user that writes has gone. */
static void preallocate_drop_bh(void *opaque)
{
    BlockDriverState *bs = opaque;
    Error *local_err = NULL;

    if (bs->closing) {
        /* It is being closed, which waits, and does the same. */
        return;
    }
    bdrv_ref(bs);
    bdrv_drained_begin(bs);
    if (!(bs->cumulative_perms & PERM_GROW)) {
        if (preallocate_drop(bs, &local_err) < 0) {
            error_report_err(local_err);
        }
        bdrv_child_refresh_perms(bs, bs->file, NULL);
    }
    bdrv_drained_end(bs);
    bdrv_unref(bs);
}

static int coroutine_fn preallocate_find_end_locked(BlockDriverState *bs)
{
    BDRVPreallocateState *s = bs->opaque;
    int64_t length;

    if (s->data_end >= 0) {
        return 0;
    }
    length = bdrv_co_getlength(bs->file->bs);
    if (length < 0) {
        return length;
    }
    s->file_end = length;
    qatomic_set(&s->data_end, length);
    return 0;
}

/*
 * The file is to have @end bytes of data: make it longer than that, and flush,
 * so that it stays so long if power is lost: bs->drv->grows_ahead.
 */
static int coroutine_fn preallocate_grow_locked(BlockDriverState *bs,
                                                int64_t end)
{
    BDRVPreallocateState *s = bs->opaque;
    uint64_t want = QEMU_ALIGN_UP((uint64_t)end + MIN(s->opts.prealloc_size,
                                                      BDRV_MAX_LENGTH),
                                  MIN(s->opts.prealloc_align,
                                      BDRV_MAX_LENGTH));

    /*
     * Where nothing can be allocated quickly, at least the length can be had;
     * where that is not possible either, the write does it.
     */
    if (want <= BDRV_MAX_LENGTH &&
        (bdrv_co_pwrite_zeroes(bs->file, s->file_end, want - s->file_end,
                               BDRV_REQ_NO_FALLBACK) == 0 ||
         bdrv_co_truncate(bs->file, want, false, PREALLOC_MODE_OFF, 0,
                          NULL) == 0)) {
        s->file_end = want;
        return bdrv_co_flush(bs->file->bs);
    }
    s->file_end = end;
    return 0;
}

/*
 * Before a write that ends at @end.  One that changes nothing needs no room,
 * and its user may have no permission by which the filter owns the length.
 */
static int coroutine_fn preallocate_for_write(BlockDriverState *bs,
                                              int64_t end,
                                              BdrvRequestFlags flags)
{
    BDRVPreallocateState *s = bs->opaque;
    int ret;

    if (likely(end <= qatomic_read(&s->data_end)) ||
        (flags & BDRV_REQ_WRITE_UNCHANGED)) {
        return 0;
    }
    QEMU_LOCK_GUARD(&s->lock);
    ret = preallocate_find_end_locked(bs);
    if (ret < 0) {
        return ret;
    }
    if (end > s->file_end) {
        ret = preallocate_grow_locked(bs, end);
        if (ret < 0) {
            return ret;
        }
    }
    qatomic_set(&s->data_end, MAX(s->data_end, end));
    return 0;
}

/* --- requests --- */

static int coroutine_fn preallocate_co_preadv_part(BlockDriverState *bs,
                                                   int64_t offset,
                                                   int64_t bytes,
                                                   QEMUIOVector *qiov,
                                                   size_t qiov_offset,
                                                   BdrvRequestFlags flags)
{
    return bdrv_co_preadv_part(bs->file, offset, bytes, qiov, qiov_offset,
                               flags);
}

static int coroutine_fn preallocate_co_pwritev_part(BlockDriverState *bs,
                                                    int64_t offset,
                                                    int64_t bytes,
                                                    QEMUIOVector *qiov,
                                                    size_t qiov_offset,
                                                    BdrvRequestFlags flags)
{
    int ret = preallocate_for_write(bs, offset + bytes, flags);

    return ret < 0 ? ret : bdrv_co_pwritev_part(bs->file, offset, bytes, qiov,
                                                qiov_offset, flags);
}

static int coroutine_fn preallocate_co_pwrite_zeroes(BlockDriverState *bs,
                                                     int64_t offset,
                                                     int64_t bytes,
                                                     BdrvRequestFlags flags)
{
    int ret = preallocate_for_write(bs, offset + bytes, flags);

    return ret < 0 ? ret : bdrv_co_pwrite_zeroes(bs->file, offset, bytes,
                                                 flags);
}

static int coroutine_fn preallocate_co_pdiscard(BlockDriverState *bs,
                                                int64_t offset, int64_t bytes)
{
    return bdrv_co_pdiscard(bs->file, offset, bytes);
}

static int coroutine_fn preallocate_co_flush(BlockDriverState *bs)
{
    return bdrv_co_flush_child(bs->file);
}

static int64_t coroutine_fn preallocate_co_getlength(BlockDriverState *bs)
{
    BDRVPreallocateState *s = bs->opaque;
    int64_t data_end = qatomic_read(&s->data_end);

    return data_end >= 0 ? data_end : bdrv_co_getlength(bs->file->bs);
}

static int64_t preallocate_length_by_child(BlockDriverState *bs,
                                           int64_t child_bytes)
{
    BDRVPreallocateState *s = bs->opaque;

    return qatomic_read(&s->data_end) >= 0 ?
           qatomic_read(&bs->total_sectors) * BDRV_SECTOR_SIZE : child_bytes;
}

static int coroutine_fn preallocate_co_truncate(BlockDriverState *bs,
                                                int64_t offset, bool exact,
                                                PreallocMode prealloc,
                                                BdrvRequestFlags flags,
                                                Error **errp)
{
    BDRVPreallocateState *s = bs->opaque;
    int ret;

    QEMU_LOCK_GUARD(&s->lock);
    ret = preallocate_find_end_locked(bs);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Failed to get file length");
        return ret;
    }
    if (prealloc != PREALLOC_MODE_OFF && preallocate_is_longer(s)) {
        /* The mode is for all that is new. */
        ret = bdrv_co_truncate(bs->file, s->data_end, true, PREALLOC_MODE_OFF,
                               0, errp);
        if (ret < 0) {
            return ret;
        }
        s->file_end = s->data_end;
    }
    if (offset <= s->data_end || offset > s->file_end) {
        ret = bdrv_co_truncate(bs->file, offset, exact, prealloc, flags, errp);
        if (ret < 0) {
            return ret;
        }
        s->file_end = offset;
    }
    qatomic_set(&s->data_end, offset);
    return 0;
}

/* --- permissions --- */

static void preallocate_child_perm(BlockDriverState *bs, BdrvChild *c,
                                   BdrvChildRole role, uint64_t perm,
                                   uint64_t shared, uint64_t *nperm,
                                   uint64_t *nshared)
{
    BDRVPreallocateState *s = bs->opaque;

    bdrv_default_perms(bs, c, role, perm, shared, nperm, nshared);
    if ((perm & PERM_GROW) || preallocate_is_longer(s)) {
        *nperm |= PERM_GROW;
        *nshared &= ~PERM_GROW;
    }
}

/* Graph lock held: nothing can be written here. */
static void preallocate_set_perm(BlockDriverState *bs, uint64_t perm,
                                 uint64_t shared)
{
    BDRVPreallocateState *s = bs->opaque;

    if (!(perm & PERM_GROW) && s->data_end >= 0) {
        qemu_bh_schedule(s->drop_bh);
    }
}

static int preallocate_inactivate(BlockDriverState *bs, Error **errp)
{
    return preallocate_drop(bs, errp);
}

/* --- life --- */

static int preallocate_open(BlockDriverState *bs, QOpts *options, int flags,
                            Error **errp)
{
    BDRVPreallocateState *s = bs->opaque;
    BlockDriverState *file;
    int ret;

    s->data_end = s->file_end = -1;
    qemu_co_mutex_init(&s->lock);
    ret = bdrv_open_file_child(NULL, options, "file", bs, errp);
    if (ret < 0) {
        return ret;
    }
    file = bs->file->bs;
    if (!preallocate_take_opts(&s->opts, options, file, errp)) {
        return -EINVAL;
    }
    bs->supported_write_flags = BDRV_REQ_WRITE_UNCHANGED |
        file->supported_write_flags;
    bs->supported_zero_flags = BDRV_REQ_WRITE_UNCHANGED |
        file->supported_zero_flags;
    bs->supported_truncate_flags = file->supported_truncate_flags;
    s->drop_bh = qemu_bh_new(preallocate_drop_bh, bs);
    return 0;
}

static void preallocate_close(BlockDriverState *bs)
{
    BDRVPreallocateState *s = bs->opaque;
    Error *local_err = NULL;

    qemu_bh_delete(s->drop_bh);
    if (preallocate_drop(bs, &local_err) < 0) {
        error_report_err(local_err);
    }
}

static int preallocate_reopen_prepare(BDRVReopenState *state, Error **errp)
{
    BlockDriverState *bs = state->bs;
    PreallocateOpts *opts = g_new0(PreallocateOpts, 1);

    /* It may be left with another file, or with one that it may not write. */
    if (!preallocate_take_opts(opts, state->options, bs->file->bs, errp) ||
        preallocate_drop(bs, errp) < 0) {
        g_free(opts);
        return -EINVAL;
    }
    state->opaque = opts;
    return 0;
}

static void preallocate_reopen_commit(BDRVReopenState *state)
{
    BDRVPreallocateState *s = state->bs->opaque;

    s->opts = *(PreallocateOpts *)state->opaque;
    g_free(state->opaque);
    state->opaque = NULL;
}

static void preallocate_reopen_abort(BDRVReopenState *state)
{
    g_free(state->opaque);
    state->opaque = NULL;
}

/* The name of the file alone would leave out the filter. */
static void preallocate_refresh_filename(BlockDriverState *bs)
{
    g_free(bs->filename);
    bs->filename = g_strdup("");
}

static BlockDriver bdrv_preallocate_filter = {
    .format_name = "preallocate",
    .instance_size = sizeof(BDRVPreallocateState),
    .is_filter = true,
    .grows_ahead = true,

    .bdrv_open = preallocate_open,
    .bdrv_close = preallocate_close,
    .bdrv_reopen_prepare = preallocate_reopen_prepare,
    .bdrv_reopen_commit = preallocate_reopen_commit,
    .bdrv_reopen_abort = preallocate_reopen_abort,
    .bdrv_refresh_filename = preallocate_refresh_filename,
    .bdrv_inactivate = preallocate_inactivate,

    .bdrv_co_preadv_part = preallocate_co_preadv_part,
    .bdrv_co_pwritev_part = preallocate_co_pwritev_part,
    .bdrv_co_pwrite_zeroes = preallocate_co_pwrite_zeroes,
    .bdrv_co_pdiscard = preallocate_co_pdiscard,
    .bdrv_co_flush = preallocate_co_flush,
    .bdrv_co_truncate = preallocate_co_truncate,
    .bdrv_co_getlength = preallocate_co_getlength,
    .bdrv_length_by_child = preallocate_length_by_child,

    .bdrv_child_perm = preallocate_child_perm,
    .bdrv_set_perm = preallocate_set_perm,
};

static void bdrv_preallocate_init(void)
{
    bdrv_register(&bdrv_preallocate_filter);
}

block_init(bdrv_preallocate_init);
