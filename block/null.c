/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "null-co" and "null-aio": disks that forget what is written to them.  The
 * first completes requests at once, the second from the event loop.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "qemu/cutils.h"

#define NULL_DEFAULT_SIZE (1 * GiB)

typedef struct BDRVNullState {
    int64_t length;
    int64_t latency_ns;
    bool read_zeroes;
    bool from_loop;             /* null-aio: complete in the event loop */
} BDRVNullState;

static void null_parse(const char *filename, const char *only,
                       QOpts *options, Error **errp)
{
    if (strcmp(filename, only)) {
        error_setg(errp, "The only allowed filename for this driver is '%s'",
                   only);
    }
}

static void null_co_parse_filename(const char *filename, QOpts *options,
                                   Error **errp)
{
    null_parse(filename, "null-co://", options, errp);
}

static void null_aio_parse_filename(const char *filename, QOpts *options,
                                    Error **errp)
{
    null_parse(filename, "null-aio://", options, errp);
}

static int null_open(BlockDriverState *bs, QOpts *options, int flags,
                     Error **errp)
{
    BDRVNullState *s = bs->opaque;
    g_autoptr(BlockdevOptionsNull) o = QOPTS_TAKE(BlockdevOptionsNull, options,
                                                  errp);

    if (!o) {
        return -EINVAL;
    }
    if (o->latency_ns > INT64_MAX) {
        error_setg(errp, "latency-ns is invalid");
        return -EINVAL;
    }
    if (o->size > BDRV_MAX_LENGTH) {
        error_setg(errp, "size is invalid: %" PRId64 ", at most %" PRId64,
                   o->size, BDRV_MAX_LENGTH);
        return -EINVAL;
    }
    s->length = o->has_size ? o->size : NULL_DEFAULT_SIZE;
    s->latency_ns = o->latency_ns;
    s->from_loop = !strcmp(bs->drv->format_name, "null-aio");
    s->read_zeroes = o->read_zeroes;
    bs->supported_write_flags = BDRV_REQ_FUA;
    bs->supported_zero_flags = BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP
                               | BDRV_REQ_NO_FALLBACK;
    return 0;
}

static int null_reopen_prepare(BDRVReopenState *state, Error **errp)
{
    return 0;
}

static int64_t coroutine_fn null_co_getlength(BlockDriverState *bs)
{
    BDRVNullState *s = bs->opaque;

    return s->length;
}

/* The end of every request. */
static int coroutine_fn null_co_common(BlockDriverState *bs)
{
    BDRVNullState *s = bs->opaque;

    if (s->latency_ns) {
        qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, s->latency_ns);
    } else if (s->from_loop) {
        aio_co_give_way();
    }
    return 0;
}

static int coroutine_fn null_co_preadv_part(BlockDriverState *bs,
                                            int64_t offset, int64_t bytes,
                                            QEMUIOVector *qiov,
                                            size_t qiov_offset,
                                            BdrvRequestFlags flags)
{
    BDRVNullState *s = bs->opaque;

    if (s->read_zeroes) {
        qemu_iovec_memset(qiov, qiov_offset, 0, bytes);
    }
    return null_co_common(bs);
}

static int coroutine_fn null_co_pwritev_part(BlockDriverState *bs,
                                             int64_t offset, int64_t bytes,
                                             QEMUIOVector *qiov,
                                             size_t qiov_offset,
                                             BdrvRequestFlags flags)
{
    return null_co_common(bs);
}

static int coroutine_fn null_co_pwrite_zeroes(BlockDriverState *bs,
                                              int64_t offset, int64_t bytes,
                                              BdrvRequestFlags flags)
{
    return null_co_common(bs);
}

static int coroutine_fn null_co_pdiscard(BlockDriverState *bs, int64_t offset,
                                         int64_t bytes)
{
    return null_co_common(bs);
}

static int coroutine_fn null_co_flush(BlockDriverState *bs)
{
    return null_co_common(bs);
}

static int coroutine_fn null_co_truncate(BlockDriverState *bs, int64_t offset,
                                         bool exact, PreallocMode prealloc,
                                         BdrvRequestFlags flags,
                                         Error **errp)
{
    BDRVNullState *s = bs->opaque;

    if (prealloc != PREALLOC_MODE_OFF) {
        error_setg(errp, "Unsupported preallocation mode '%s'",
                   PreallocMode_str(prealloc));
        return -ENOTSUP;
    }
    s->length = offset;
    return 0;
}

static int coroutine_fn null_co_block_status(BlockDriverState *bs,
                                             bool want_zero, int64_t offset,
                                             int64_t bytes, int64_t *pnum,
                                             int64_t *map,
                                             BlockDriverState **file)
{
    BDRVNullState *s = bs->opaque;

    *pnum = bytes;
    *map = offset;
    *file = bs;
    return BDRV_BLOCK_OFFSET_VALID | (s->read_zeroes ? BDRV_BLOCK_ZERO : 0);
}

static int64_t coroutine_fn null_co_get_allocated_file_size(
    BlockDriverState *bs)
{
    return 0;
}

static int coroutine_fn null_co_get_info(BlockDriverState *bs,
                                         BlockDriverInfo *bdi)
{
    return 0;
}

static int null_has_zero_init(BlockDriverState *bs)
{
    BDRVNullState *s = bs->opaque;

    return s->read_zeroes;
}

/* A name has no place for options by which other data are read. */
static void null_refresh_filename(BlockDriverState *bs)
{
    if (qopts_has(bs->options, "size") ||
        qopts_has(bs->options, "read-zeroes")) {
        return;
    }
    g_free(bs->filename);
    bs->filename = g_strdup_printf("%s://", bs->drv->format_name);
    g_free(bs->exact_filename);
    bs->exact_filename = g_strdup(bs->filename);
}

#define NULL_CALLBACKS                                                  \
    .instance_size = sizeof(BDRVNullState),                             \
    .bdrv_open = null_open,                                             \
    .bdrv_reopen_prepare = null_reopen_prepare,                         \
    .bdrv_co_preadv_part = null_co_preadv_part,                         \
    .bdrv_co_pwritev_part = null_co_pwritev_part,                       \
    .bdrv_co_pwrite_zeroes = null_co_pwrite_zeroes,                     \
    .bdrv_co_pdiscard = null_co_pdiscard,                               \
    .bdrv_co_flush_to_disk = null_co_flush,                             \
    .bdrv_co_truncate = null_co_truncate,                               \
    .bdrv_co_getlength = null_co_getlength,                             \
    .bdrv_co_get_allocated_file_size = null_co_get_allocated_file_size, \
    .bdrv_co_get_info = null_co_get_info,                               \
    .bdrv_co_block_status = null_co_block_status,                       \
    .bdrv_refresh_filename = null_refresh_filename,                     \
    .bdrv_has_zero_init = null_has_zero_init

static BlockDriver bdrv_null_co = {
    .format_name = "null-co",
    .protocol_name = "null-co",
    .bdrv_parse_filename = null_co_parse_filename,
    NULL_CALLBACKS,
};

static BlockDriver bdrv_null_aio = {
    .format_name = "null-aio",
    .protocol_name = "null-aio",
    .bdrv_parse_filename = null_aio_parse_filename,
    NULL_CALLBACKS,
};

static void bdrv_null_init(void)
{
    bdrv_register(&bdrv_null_co);
    bdrv_register(&bdrv_null_aio);
}

block_init(bdrv_null_init);
