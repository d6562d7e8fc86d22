/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Protocol driver "file": the engine "native", Linux AIO.
 *
 * Requests go to the engine of the AioContext that they come from, so that a
 * file can be used from several at once.
 */
#include "qemu/osdep.h"
#include "file-posix.h"

static int native_open(BlockDriverState *bs, int bdrv_flags, Error **errp)
{
    BDRVFileState *s = bs->opaque;

    s->linux_aio_fdsync = true;
    if (!(bdrv_flags & BDRV_O_NOCACHE)) {
        warn_report("'%s': aio=native without cache.direct=on: requests "
                    "complete synchronously", bs->filename);
    }
    return 0;
}

/*
 * A context's native engine is made by the first request in it.  Where that
 * fails worker threads do the work, and a warning says so once per node.
 */
static QEMU_NOINLINE bool native_make(BlockDriverState *bs, AioContext *ctx)
{
    Error *local_err = NULL;

    if (aio_setup_linux_aio(ctx, &local_err)) {
        return true;
    }
    file_tell_fallback(bs, "linux aio", local_err);
    return false;
}

static inline bool coroutine_fn native_is_ready(BlockDriverState *bs,
                                                AioContext *ctx)
{
    return likely(ctx->linux_aio) || native_make(bs, ctx);
}

static int coroutine_fn native_flush(BlockDriverState *bs)
{
    BDRVFileState *s = bs->opaque;

    if (qatomic_read(&s->linux_aio_fdsync) &&
        native_is_ready(bs, qemu_get_current_aio_context())) {
        int ret = laio_co_submit(s->fd, 0, NULL, QEMU_AIO_FLUSH, 0, 0);

        if (ret != -EINVAL) {
            return ret;
        }
        /*
         * The kernel (before 4.18) or the file cannot flush asynchronously.
         * A refused flush has taken no error from the file.
         */
        qatomic_set(&s->linux_aio_fdsync, false);
    }
    return file_engine_threads.flush(bs);
}

/*
 * With a page cache a failed RWF_DSYNC write does not say whether the write
 * has failed, or a write-back that others were promised, too.
 */
static int coroutine_fn native_submit_fua(BlockDriverState *bs,
                                          int64_t offset, QEMUIOVector *qiov,
                                          int type, BdrvRequestFlags flags)
{
    BDRVFileState *s = bs->opaque;
    bool flush = !(s->open_flags & O_DIRECT) || !laio_has_fua();
    int ret;

    if (flush) {
        flags &= ~BDRV_REQ_FUA;
    }
    ret = laio_co_submit(s->fd, offset, qiov, type, flags, s->aio_max_batch);
    return ret == 0 && flush ? file_do_flush(bs) : ret;
}

static int coroutine_fn native_submit(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, QEMUIOVector *qiov,
                                      int type, BdrvRequestFlags flags)
{
    BDRVFileState *s = bs->opaque;
    AioContext *ctx = qemu_get_current_aio_context();
    int ret;

    if (unlikely(!native_is_ready(bs, ctx))) {
        return file_engine_threads.submit(bs, offset, bytes, qiov, type,
                                          flags);
    }
    aio_disk_request_begin(ctx);
    if (unlikely(flags & BDRV_REQ_FUA)) {
        ret = native_submit_fua(bs, offset, qiov, type, flags);
    } else {
        ret = laio_co_submit(s->fd, offset, qiov, type, flags,
                             s->aio_max_batch);
    }
    aio_disk_request_end(ctx);
    return ret;
}

const FileEngine file_engine_native = {
    .name = "native",
    .open = native_open,
    .submit = native_submit,
    .flush = native_flush,
};
