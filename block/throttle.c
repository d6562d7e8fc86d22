/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The filter driver throttle: its requests are kept within the limits of an
 * object of the type throttle-group.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "block/throttle-groups.h"

typedef struct BDRVThrottleState {
    ThrottleGroupMember tgm;
} BDRVThrottleState;

static const char *const throttle_mutable_opts[] = { "throttle-group", NULL };

/* The name of a group that exists, to be freed; NULL with @errp set. */
static char *throttle_take_group(QOpts *options, Error **errp)
{
    g_autoptr(BlockdevOptionsThrottle) o = QOPTS_TAKE(BlockdevOptionsThrottle,
                                                      options, errp);

    if (!o) {
        return NULL;
    }
    if (!o->throttle_group) {
        error_setg(errp, "Please specify a throttle group");
        return NULL;
    }
    if (!throttle_group_exists(o->throttle_group)) {
        error_setg(errp, "Throttle group '%s' does not exist",
                   o->throttle_group);
        return NULL;
    }
    return g_steal_pointer(&o->throttle_group);
}

static int throttle_open(BlockDriverState *bs, QOpts *options, int flags,
                         Error **errp)
{
    BDRVThrottleState *s = bs->opaque;
    g_autofree char *group = NULL;
    BlockDriverState *file;
    int ret;

    ret = bdrv_open_file_child(NULL, options, "file", bs, errp);
    if (ret < 0) {
        return ret;
    }
    file = bs->file->bs;
    bs->supported_write_flags = BDRV_REQ_WRITE_UNCHANGED |
        file->supported_write_flags;
    bs->supported_zero_flags = BDRV_REQ_WRITE_UNCHANGED |
        file->supported_zero_flags;
    group = throttle_take_group(options, errp);
    if (!group) {
        return -EINVAL;
    }
    throttle_group_register_tgm(&s->tgm, group, bdrv_get_aio_context(bs));
    return 0;
}

static void throttle_close(BlockDriverState *bs)
{
    BDRVThrottleState *s = bs->opaque;

    throttle_group_unregister_tgm(&s->tgm);
}

/* --- requests --- */

static int coroutine_fn throttle_co_preadv_part(BlockDriverState *bs,
                                                int64_t offset, int64_t bytes,
                                                QEMUIOVector *qiov,
                                                size_t qiov_offset,
                                                BdrvRequestFlags flags)
{
    BDRVThrottleState *s = bs->opaque;

    throttle_group_co_io_limits_intercept(&s->tgm, bytes, THROTTLE_READ);
    return bdrv_co_preadv_part(bs->file, offset, bytes, qiov, qiov_offset,
                               flags);
}

static int coroutine_fn throttle_co_pwritev_part(BlockDriverState *bs,
                                                 int64_t offset, int64_t bytes,
                                                 QEMUIOVector *qiov,
                                                 size_t qiov_offset,
                                                 BdrvRequestFlags flags)
{
    BDRVThrottleState *s = bs->opaque;

    throttle_group_co_io_limits_intercept(&s->tgm, bytes, THROTTLE_WRITE);
    return bdrv_co_pwritev_part(bs->file, offset, bytes, qiov, qiov_offset,
                                flags);
}

static int coroutine_fn throttle_co_pwrite_zeroes(BlockDriverState *bs,
                                                  int64_t offset,
                                                  int64_t bytes,
                                                  BdrvRequestFlags flags)
{
    BDRVThrottleState *s = bs->opaque;

    throttle_group_co_io_limits_intercept(&s->tgm, bytes, THROTTLE_WRITE);
    return bdrv_co_pwrite_zeroes(bs->file, offset, bytes, flags);
}

static int coroutine_fn throttle_co_pdiscard(BlockDriverState *bs,
                                             int64_t offset, int64_t bytes)
{
    BDRVThrottleState *s = bs->opaque;

    throttle_group_co_io_limits_intercept(&s->tgm, bytes, THROTTLE_WRITE);
    return bdrv_co_pdiscard(bs->file, offset, bytes);
}

static int coroutine_fn throttle_co_flush(BlockDriverState *bs)
{
    return bdrv_co_flush_child(bs->file);
}

static int64_t coroutine_fn throttle_co_getlength(BlockDriverState *bs)
{
    return bdrv_co_getlength(bs->file->bs);
}

/* --- changes --- */

static void throttle_drain_begin(BlockDriverState *bs)
{
    BDRVThrottleState *s = bs->opaque;

    throttle_group_limits_disable(&s->tgm);
}

static void throttle_drain_end(BlockDriverState *bs)
{
    BDRVThrottleState *s = bs->opaque;

    throttle_group_limits_enable(&s->tgm);
}

static void throttle_detach_aio_context(BlockDriverState *bs)
{
    BDRVThrottleState *s = bs->opaque;

    throttle_group_detach_aio_context(&s->tgm);
}

static void throttle_attach_aio_context(BlockDriverState *bs,
                                        AioContext *new_context)
{
    BDRVThrottleState *s = bs->opaque;

    throttle_group_attach_aio_context(&s->tgm, new_context);
}

static int throttle_reopen_prepare(BDRVReopenState *state, Error **errp)
{
    state->opaque = throttle_take_group(state->options, errp);
    return state->opaque ? 0 : -EINVAL;
}

static void throttle_reopen_commit(BDRVReopenState *state)
{
    BDRVThrottleState *s = state->bs->opaque;
    unsigned disabled = s->tgm.io_limits_disabled;
    AioContext *ctx = s->tgm.aio_context;

    if (strcmp(state->opaque, throttle_group_get_name(&s->tgm))) {
        throttle_group_unregister_tgm(&s->tgm);
        throttle_group_register_tgm(&s->tgm, state->opaque, ctx);
        /* The node is drained, and drain_end() follows. */
        s->tgm.io_limits_disabled = disabled;
    }
    g_free(state->opaque);
    state->opaque = NULL;
}

static void throttle_reopen_abort(BDRVReopenState *state)
{
    g_free(state->opaque);
    state->opaque = NULL;
}

/* The name of the file alone would say nothing of the limits. */
static void throttle_refresh_filename(BlockDriverState *bs)
{
    g_free(bs->filename);
    bs->filename = g_strdup("");
}

static BlockDriver bdrv_throttle = {
    .format_name = "throttle",
    .instance_size = sizeof(BDRVThrottleState),
    .is_filter = true,
    .mutable_opts = throttle_mutable_opts,

    .bdrv_open = throttle_open,
    .bdrv_close = throttle_close,
    .bdrv_reopen_prepare = throttle_reopen_prepare,
    .bdrv_reopen_commit = throttle_reopen_commit,
    .bdrv_reopen_abort = throttle_reopen_abort,
    .bdrv_refresh_filename = throttle_refresh_filename,

    .bdrv_co_preadv_part = throttle_co_preadv_part,
    .bdrv_co_pwritev_part = throttle_co_pwritev_part,
    .bdrv_co_pwrite_zeroes = throttle_co_pwrite_zeroes,
    .bdrv_co_pdiscard = throttle_co_pdiscard,
    .bdrv_co_flush = throttle_co_flush,
    .bdrv_co_getlength = throttle_co_getlength,

    .bdrv_drain_begin = throttle_drain_begin,
    .bdrv_drain_end = throttle_drain_end,
    .bdrv_detach_aio_context = throttle_detach_aio_context,
    .bdrv_attach_aio_context = throttle_attach_aio_context,
};

static void throttle_init(void)
{
    bdrv_register(&bdrv_throttle);
}

block_init(throttle_init);
