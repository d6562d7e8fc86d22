/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The "raw" format: the file as it is, or a window of it.
 */
#include "qemu/osdep.h"
#include "block-open.h"
#include "block/block_int.h"

typedef struct BDRVRawState {
    int64_t offset;
    int64_t size;               /* bytes; valid if has_size */
    bool has_size;
} BDRVRawState;

static const QemuOptsList raw_create_opts = {
    .name = "raw-create-opts",
    .desc = {
        { "size", QEMU_OPT_SIZE, "Virtual disk size" },
        { NULL }
    }
};

/* The lowest there is: any other driver that knows the content wins. */
static int raw_probe(const uint8_t *buf, int buf_size, const char *filename)
{
    return 1;
}

static const char *const raw_mutable_opts[] = { "offset", "size", NULL };

static bool raw_take_options(QOpts *options, bool *has_size, uint64_t *size,
                             uint64_t *offset, Error **errp)
{
    g_autoptr(BlockdevOptionsRaw) o = QOPTS_TAKE(BlockdevOptionsRaw, options,
                                                 errp);

    if (!o) {
        return false;
    }
    *has_size = o->has_size;
    *size = o->size;
    *offset = o->offset;
    return true;
}

/* Check the window against the file and make it that of @s. */
static int raw_apply(BlockDriverState *bs, BDRVRawState *s, uint64_t offset,
                     uint64_t size, bool has_size, Error **errp)
{
    int64_t real_size = bdrv_getlength(bs->file->bs);

    if (real_size < 0) {
        error_setg_errno(errp, -real_size, "Could not get image size");
        return real_size;
    }
    if (offset > (uint64_t)real_size) {
        error_setg(errp, "Offset (%" PRIu64 ") cannot be greater than size of"
                   " the containing file (%" PRId64 ")", offset, real_size);
        return -EINVAL;
    }
    if (has_size && size > real_size - offset) {
        error_setg(errp, "The sum of offset (%" PRIu64 ") and size (%" PRIu64
                   ") has to be smaller or equal to the  actual size of the"
                   " containing file (%" PRId64 ")", offset, size, real_size);
        return -EINVAL;
    }
    if (has_size && !QEMU_IS_ALIGNED(size, BDRV_SECTOR_SIZE)) {
        error_setg(errp, "Specified size is not multiple of %llu",
                   BDRV_SECTOR_SIZE);
        return -EINVAL;
    }
    s->offset = offset;
    s->has_size = has_size;
    s->size = has_size ? size : real_size - offset;
    return 0;
}

static void raw_set_flags(BlockDriverState *bs)
{
    BlockDriverState *file = bs->file->bs;

    bs->supported_read_flags = file->supported_read_flags;
    bs->supported_write_flags = BDRV_REQ_WRITE_UNCHANGED
                                | (BDRV_REQ_FUA
                                   & file->supported_write_flags);
    bs->supported_zero_flags = BDRV_REQ_WRITE_UNCHANGED
                               | ((BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP
                                   | BDRV_REQ_NO_FALLBACK)
                                  & file->supported_zero_flags);
    bs->supported_truncate_flags = BDRV_REQ_ZERO_WRITE
                                   & file->supported_truncate_flags;
}

static int raw_open(BlockDriverState *bs, QOpts *options, int flags,
                    Error **errp)
{
    BDRVRawState *s = bs->opaque;
    BdrvChildRole role;
    uint64_t size, offset;
    bool has_size;

    if (!raw_take_options(options, &has_size, &size, &offset, errp)) {
        return -EINVAL;
    }
    /* A window is not the same data as the file, so it is no filter. */
    role = (offset || has_size ? BDRV_CHILD_DATA : BDRV_CHILD_FILTERED)
           | BDRV_CHILD_PRIMARY;
    if (!bdrv_open_child(NULL, options, "file", bs, role, false, errp)) {
        return -EINVAL;
    }
    raw_set_flags(bs);
    return raw_apply(bs, s, offset, size, has_size, errp);
}

static int raw_reopen_prepare(BDRVReopenState *state, Error **errp)
{
    BDRVRawState *new_state = g_new0(BDRVRawState, 1);
    uint64_t size, offset;
    bool has_size;
    int ret = 0;

    if (!raw_take_options(state->options, &has_size, &size, &offset, errp)) {
        ret = -EINVAL;
    } else {
        ret = raw_apply(state->bs, new_state, offset, size, has_size, errp);
    }
    if (ret < 0) {
        g_free(new_state);
        return ret;
    }
    state->opaque = new_state;
    return 0;
}

static void raw_reopen_commit(BDRVReopenState *state)
{
    BDRVRawState *s = state->bs->opaque;
    BDRVRawState *new_state = state->opaque;

    *s = *new_state;
    g_free(new_state);
    state->opaque = NULL;
}

static void raw_reopen_abort(BDRVReopenState *state)
{
    g_free(state->opaque);
    state->opaque = NULL;
}

/*
 * Move *@offset into the file.  -ENOSPC or -EINVAL for what leaves a window
 * of fixed size.
 */
static inline int raw_adjust_offset(BlockDriverState *bs, int64_t *offset,
                                    int64_t bytes, bool is_write)
{
    BDRVRawState *s = bs->opaque;

    if (s->has_size && (*offset > s->size || bytes > s->size - *offset)) {
        return is_write ? -ENOSPC : -EINVAL;
    }
    if (*offset > INT64_MAX - s->offset) {
        return -EINVAL;
    }
    *offset += s->offset;
    return 0;
}

static int coroutine_fn raw_co_preadv_part(BlockDriverState *bs,
                                           int64_t offset, int64_t bytes,
                                           QEMUIOVector *qiov,
                                           size_t qiov_offset,
                                           BdrvRequestFlags flags)
{
    int ret = raw_adjust_offset(bs, &offset, bytes, false);

    if (ret < 0) {
        return ret;
    }
    BLKDBG_EVENT(bs->file, BLKDBG_READ_AIO);
    return bdrv_co_preadv_part(bs->file, offset, bytes, qiov, qiov_offset,
                               flags);
}

/*
 * A guest must not turn an image whose format was guessed into one of
 * another format: the next open would believe it.  The memory is the guest's,
 * which may change it at any time: the first sector that is checked is a copy,
 * and the copy is what is written.
 */
static int coroutine_fn __attribute__((noinline))
raw_write_first_sector(BlockDriverState *bs, int64_t offset, int64_t bytes,
                       QEMUIOVector *qiov, size_t qiov_offset,
                       BdrvRequestFlags flags)
{
    const size_t size = BDRV_SECTOR_SIZE;
    QEMU_AUTO_VFREE uint8_t *buf = NULL;
    QEMUIOVector local;
    int ret;

    if (bytes < (int64_t)size) {
        return -EINVAL;
    }
    buf = qemu_try_blockalign(bs->file->bs, size);
    if (!buf) {
        return -ENOMEM;
    }
    qemu_iovec_to_buf(qiov, qiov_offset, buf, size);
    if (bdrv_probe_all(buf, size, NULL) != bs->drv ||
        bdrv_probe_foreign(buf, size, NULL)) {
        return -EPERM;
    }
    qemu_iovec_init(&local, qiov->niov + 1);
    qemu_iovec_add(&local, buf, size);
    qemu_iovec_concat(&local, qiov, qiov_offset + size, bytes - size);
    ret = bdrv_co_pwritev_part(bs->file, offset, bytes, &local, 0, flags);
    qemu_iovec_destroy(&local);
    return ret;
}

static int coroutine_fn raw_co_pwritev_part(BlockDriverState *bs,
                                            int64_t offset, int64_t bytes,
                                            QEMUIOVector *qiov,
                                            size_t qiov_offset,
                                            BdrvRequestFlags flags)
{
    bool first = bs->probed && offset < (int64_t)BDRV_SECTOR_SIZE && bytes;
    int ret = raw_adjust_offset(bs, &offset, bytes, true);

    if (ret < 0) {
        return ret;
    }
    BLKDBG_EVENT(bs->file, BLKDBG_WRITE_AIO);
    if (first) {
        return raw_write_first_sector(bs, offset, bytes, qiov, qiov_offset,
                                      flags);
    }
    return bdrv_co_pwritev_part(bs->file, offset, bytes, qiov, qiov_offset,
                                flags);
}

static int coroutine_fn raw_co_pwrite_zeroes(BlockDriverState *bs,
                                             int64_t offset, int64_t bytes,
                                             BdrvRequestFlags flags)
{
    int ret = raw_adjust_offset(bs, &offset, bytes, true);

    return ret < 0 ? ret : bdrv_co_pwrite_zeroes(bs->file, offset, bytes,
                                                 flags);
}

static int coroutine_fn raw_co_pdiscard(BlockDriverState *bs, int64_t offset,
                                        int64_t bytes)
{
    int ret = raw_adjust_offset(bs, &offset, bytes, true);

    return ret < 0 ? ret : bdrv_co_pdiscard(bs->file, offset, bytes);
}

static int coroutine_fn raw_co_copy_range_from(BlockDriverState *bs,
                                               BdrvChild *src,
                                               int64_t src_offset,
                                               BdrvChild *dst,
                                               int64_t dst_offset,
                                               int64_t bytes,
                                               BdrvRequestFlags read_flags,
                                               BdrvRequestFlags write_flags)
{
    int ret = raw_adjust_offset(bs, &src_offset, bytes, false);

    return ret < 0 ? ret :
           bdrv_co_copy_range_from(bs->file, src_offset, dst, dst_offset,
                                   bytes, read_flags, write_flags);
}

static int coroutine_fn raw_co_copy_range_to(BlockDriverState *bs,
                                             BdrvChild *src,
                                             int64_t src_offset,
                                             BdrvChild *dst,
                                             int64_t dst_offset,
                                             int64_t bytes,
                                             BdrvRequestFlags read_flags,
                                             BdrvRequestFlags write_flags)
{
    bool first = bs->probed && dst_offset < (int64_t)BDRV_SECTOR_SIZE;
    int ret = raw_adjust_offset(bs, &dst_offset, bytes, true);

    if (ret == 0 && first) {
        /* Somebody has to look at the first sector. */
        ret = -ENOTSUP;
    }
    return ret < 0 ? ret :
           bdrv_co_copy_range_to(src, src_offset, bs->file, dst_offset, bytes,
                                 read_flags, write_flags);
}

static int coroutine_fn raw_co_block_status(BlockDriverState *bs,
                                            bool want_zero, int64_t offset,
                                            int64_t bytes, int64_t *pnum,
                                            int64_t *map,
                                            BlockDriverState **file)
{
    BDRVRawState *s = bs->opaque;

    *pnum = bytes;
    *file = bs->file->bs;
    *map = offset + s->offset;
    return BDRV_BLOCK_OFFSET_VALID | BDRV_BLOCK_RAW;
}

static int64_t raw_length_by_child(BlockDriverState *bs, int64_t child_bytes)
{
    BDRVRawState *s = bs->opaque;
    int64_t length = MAX(child_bytes - s->offset, 0);

    return s->has_size ? MIN(length, s->size) : length;
}

static int64_t coroutine_fn raw_co_getlength(BlockDriverState *bs)
{
    int64_t length = bdrv_co_getlength(bs->file->bs);

    return length < 0 ? length : raw_length_by_child(bs, length);
}

static int64_t coroutine_fn raw_co_get_allocated_file_size(
    BlockDriverState *bs)
{
    return bdrv_co_get_allocated_file_size(bs->file->bs);
}

static int coroutine_fn raw_co_get_info(BlockDriverState *bs,
                                        BlockDriverInfo *bdi)
{
    return bdrv_co_get_info(bs->file->bs, bdi);
}

static int coroutine_fn raw_co_truncate(BlockDriverState *bs, int64_t offset,
                                        bool exact, PreallocMode prealloc,
                                        BdrvRequestFlags flags, Error **errp)
{
    BDRVRawState *s = bs->opaque;

    if (s->has_size) {
        error_setg(errp, "Cannot resize fixed-size raw disks");
        return -ENOTSUP;
    }
    if (INT64_MAX - offset < s->offset) {
        error_setg(errp, "Disk size too large for the chosen offset");
        return -EINVAL;
    }
    return bdrv_co_truncate(bs->file, offset + s->offset, exact, prealloc,
                            flags, errp);
}

/*
 * As the default, but a raw image has no metadata and allocates nothing: it
 * writes to the file, and changes its size, only for its own user.
 */
static void raw_child_perm(BlockDriverState *bs, BdrvChild *c,
                           BdrvChildRole role, uint64_t perm, uint64_t shared,
                           uint64_t *nperm, uint64_t *nshared)
{
    const uint64_t asked = BLK_PERM_WRITE | BLK_PERM_RESIZE;

    bdrv_default_perms(bs, c, role, perm, shared, nperm, nshared);
    *nperm = (*nperm & ~asked) | (perm & asked);
}

static void raw_refresh_limits(BlockDriverState *bs, Error **errp)
{
    /* The check of the first sector needs all of it. */
    bs->bl.request_alignment = bs->probed ? BDRV_SECTOR_SIZE : 1;
}

static int raw_has_zero_init(BlockDriverState *bs)
{
    return bdrv_has_zero_init(bs->file->bs);
}

static int coroutine_fn raw_co_create_opts(BlockDriver *drv,
                                           const char *filename, QOpts *opts,
                                           Error **errp)
{
    return bdrv_create_file(filename, qopts_dup(opts), errp);
}

static BlockDriver bdrv_raw = {
    .format_name = "raw",
    .instance_size = sizeof(BDRVRawState),
    .is_format = true,
    .create_opts = &raw_create_opts,
    .mutable_opts = raw_mutable_opts,
    .bdrv_probe = raw_probe,
    .bdrv_open = raw_open,
    .bdrv_reopen_prepare = raw_reopen_prepare,
    .bdrv_reopen_commit = raw_reopen_commit,
    .bdrv_reopen_abort = raw_reopen_abort,
    .bdrv_co_create_opts = raw_co_create_opts,
    .bdrv_co_preadv_part = raw_co_preadv_part,
    .bdrv_co_pwritev_part = raw_co_pwritev_part,
    .bdrv_co_pwrite_zeroes = raw_co_pwrite_zeroes,
    .bdrv_co_pdiscard = raw_co_pdiscard,
    .bdrv_co_copy_range_from = raw_co_copy_range_from,
    .bdrv_co_copy_range_to = raw_co_copy_range_to,
    .bdrv_co_truncate = raw_co_truncate,
    .bdrv_co_getlength = raw_co_getlength,
    .bdrv_length_by_child = raw_length_by_child,
    .bdrv_co_get_allocated_file_size = raw_co_get_allocated_file_size,
    .bdrv_co_get_info = raw_co_get_info,
    .bdrv_co_block_status = raw_co_block_status,
    .bdrv_refresh_limits = raw_refresh_limits,
    .bdrv_child_perm = raw_child_perm,
    .bdrv_has_zero_init = raw_has_zero_init,
};

static void bdrv_raw_init(void)
{
    bdrv_register(&bdrv_raw);
}

block_init(bdrv_raw_init);
