/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Protocol driver "file": the engine "io_uring".
 *
 * Requests go to the engine of the AioContext that they come from, so that a
 * file can be used from several at once.
 *
 * Those of a file in a tmpfs do not: there the kernel cannot try without
 * waiting, so it gives each request to a thread of its own (io-wq), also those
 * that are a copy of 4 KiB.  The engine "threads" does the short ones at once,
 * and wakes threads for long reads with less work.  Long writes to one file
 * wait for each other in the kernel, which has one thread do them, while the
 * threads of a pool would all be busy waiting: these the kernel gets.
 */
#include "qemu/osdep.h"
#include "file-posix.h"

/*
 * A context's engine is made by the first request in it.  Where that fails
 * worker threads do the work, and a warning says so once per node.
 */
static QEMU_NOINLINE bool uring_make(BlockDriverState *bs, AioContext *ctx)
{
    Error *local_err = NULL;

    if (aio_setup_linux_io_uring(ctx, &local_err)) {
        return true;
    }
    file_tell_fallback(bs, "linux io_uring", local_err);
    return false;
}

static inline bool coroutine_fn uring_is_ready(BlockDriverState *bs,
                                               AioContext *ctx)
{
    return likely(ctx->linux_io_uring) || uring_make(bs, ctx);
}

static int coroutine_fn uring_flush(BlockDriverState *bs)
{
    BDRVFileState *s = bs->opaque;

    if (unlikely(!uring_is_ready(bs, qemu_get_current_aio_context()))) {
        return file_engine_threads.flush(bs);
    }
    return luring_co_submit(s->fd, 0, NULL, QEMU_AIO_FLUSH, 0);
}

/* Whether the engine "threads" is faster. */
static bool uring_is_slow(BDRVFileState *s, int64_t bytes, int type)
{
    return qatomic_read(&s->in_memory) &&
           (type == QEMU_AIO_READ || bytes <= FILE_COPY_MAX_BYTES ||
            qemu_get_current_aio_context()->one_request);
}

static int coroutine_fn uring_submit(BlockDriverState *bs, int64_t offset,
                                     int64_t bytes, QEMUIOVector *qiov,
                                     int type, BdrvRequestFlags flags)
{
    BDRVFileState *s = bs->opaque;
    AioContext *ctx = qemu_get_current_aio_context();
    bool flush = false;
    int ret;

    if (unlikely(uring_is_slow(s, bytes, type) || !uring_is_ready(bs, ctx))) {
        return file_engine_threads.submit(bs, offset, bytes, qiov, type,
                                          flags);
    }
    /*
     * With a page cache a failed RWF_DSYNC write does not say whether the
     * write has failed, or a write-back that others were promised, too.
     */
    if (unlikely(flags & BDRV_REQ_FUA) && !(s->open_flags & O_DIRECT)) {
        flags &= ~BDRV_REQ_FUA;
        flush = true;
    }
    aio_disk_request_begin(ctx);
    ret = luring_co_submit(s->fd, offset, qiov, type, flags);
    aio_disk_request_end(ctx);
    return unlikely(flush) && ret == 0 ? file_do_flush(bs) : ret;
}

const FileEngine file_engine_io_uring = {
    .name = "io_uring",
    .submit = uring_submit,
    .flush = uring_flush,
};
