/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The "vmdk" block driver: its table, and probing.
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"

static int vmdk_probe(const uint8_t *buf, int buf_size, const char *filename)
{
    uint64_t magic;

    if (buf_size < (int)sizeof(magic)) {
        return 0;
    }
    memcpy(&magic, buf, sizeof(magic));
    magic = GUINT64_FROM_LE(magic);
    /* The last one is a part of a disk, which opening it says. */
    if ((uint32_t)magic == VMDK_KDMV_MAGIC
        || (uint32_t)magic == VMDK_COWD_MAGIC
        || magic == VMDK_SESPARSE_MAGIC) {
        return 100;
    }
    return vmdk_desc_probe((const char *)buf, buf_size);
}

static int coroutine_fn finish_copies_entry(void *opaque)
{
    return vmdk_copies_finish(opaque);
}

static int coroutine_fn finish_stream_entry(void *opaque)
{
    return vmdk_footer_finish(opaque);
}

static int finish_extent(BlockDriverState *bs, VmdkExtent *e)
{
    AioContext *ctx = bdrv_get_aio_context(bs);
    bool copies = vmdk_copies_pending(e);
    int ret = 0;

    if (copies) {
        ret = bdrv_run_co(ctx, finish_copies_entry, e);
    }
    if (ret == 0 && e->needs_end) {
        ret = bdrv_run_co(ctx, finish_stream_entry, e);
    }
    vmdk_trim(e);
    /* Whether the file stays too long does not matter. */
    return ret == 0 && copies ? bdrv_flush(e->file->bs) : ret;
}

int vmdk_finish(BlockDriverState *bs)
{
    BDRVVmdkState *s = bs->opaque;
    int ret = 0;
    int i;

    for (i = 0; i < s->nb_extents; i++) {
        int err = finish_extent(bs, &s->extents[i]);

        ret = ret < 0 ? ret : err;
    }
    return ret;
}

static int vmdk_reopen_prepare(BDRVReopenState *state, Error **errp)
{
    int ret = vmdk_finish(state->bs);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not finish writing '%s'",
                         state->bs->filename);
        return ret;
    }
    return vmdk_check_writable(state->bs, state->flags & ~BDRV_O_AUTO_RDONLY,
                               errp);
}

/*
 * While it is read-only others may make overlays of the image as it is now: the
 * next write gives it another CID again.
 */
static void vmdk_reopen_commit(BDRVReopenState *state)
{
    BDRVVmdkState *s = state->bs->opaque;

    if (!(state->flags & BDRV_O_RDWR)) {
        s->cid_updated = false;
    }
}

/* As all requests, in the node's home. */
static int coroutine_fn vmdk_co_flush_to_os(BlockDriverState *bs)
{
    BDRVVmdkState *s = bs->opaque;
    AioContext *old_ctx = bdrv_co_enter(bs);
    int ret = 0;
    int i;

    for (i = 0; ret == 0 && i < s->nb_extents; i++) {
        ret = vmdk_copies_flush(&s->extents[i]);
    }
    bdrv_co_leave(bs, old_ctx);
    return ret;
}

static void vmdk_refresh_limits(BlockDriverState *bs, Error **errp)
{
    bs->bl.request_alignment = 1;
}

BlockDriver bdrv_vmdk = {
    .format_name = "vmdk",
    .instance_size = sizeof(BDRVVmdkState),
    .is_format = true,
    .supports_backing = true,
    .supports_compressed_writes = true,
    .create_opts = &vmdk_create_opts,
    .bdrv_probe = vmdk_probe,
    .bdrv_open = vmdk_open,
    .bdrv_close = vmdk_close,
    .bdrv_reopen_prepare = vmdk_reopen_prepare,
    .bdrv_reopen_commit = vmdk_reopen_commit,
    .bdrv_co_create = vmdk_co_create,
    .bdrv_co_create_opts = vmdk_co_create_opts,
    .bdrv_co_preadv_part = vmdk_co_preadv_part,
    .bdrv_co_pwritev_part = vmdk_co_pwritev_part,
    .bdrv_co_pwrite_zeroes = vmdk_co_pwrite_zeroes,
    .bdrv_co_get_allocated_file_size = vmdk_co_get_allocated_file_size,
    .bdrv_co_get_info = vmdk_co_get_info,
    .bdrv_co_flush_to_os = vmdk_co_flush_to_os,
    .bdrv_co_block_status = vmdk_co_block_status,
    .bdrv_co_check = vmdk_co_check,
    .bdrv_check_backing = vmdk_check_backing,
    .bdrv_co_change_backing_file = vmdk_co_change_backing_file,
    .bdrv_get_specific_info = vmdk_get_specific_info,
    .bdrv_refresh_limits = vmdk_refresh_limits,
    .bdrv_has_zero_init = vmdk_has_zero_init,
};

static void bdrv_vmdk_init(void)
{
    bdrv_register(&bdrv_vmdk);
}

block_init(bdrv_vmdk_init);
