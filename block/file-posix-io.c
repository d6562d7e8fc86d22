/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Protocol driver "file": reads, writes and flushes, which go to the node's
 * engine; what is not aligned as O_DIRECT wants it, to a worker thread.
 */
#include "qemu/osdep.h"
#include "file-posix.h"

/* Those that this build has. */
static const FileEngine *const file_engines[] = {
    &file_engine_threads,
#ifdef CONFIG_LINUX_AIO
    &file_engine_native,
#endif
#ifdef CONFIG_LINUX_IO_URING
    &file_engine_io_uring,
#endif
};

const FileEngine *file_find_engine(const char *name)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(file_engines); i++) {
        if (!strcmp(file_engines[i]->name, name)) {
            return file_engines[i];
        }
    }
    return NULL;
}

void file_tell_fallback(BlockDriverState *bs, const char *engine, Error *err)
{
    BDRVFileState *s = bs->opaque;

    if (!qatomic_xchg(&s->fallback_told, true)) {
        warn_reportf_err(err, "'%s': unable to use %s, falling back to thread "
                         "pool: ", bs->filename, engine);
    } else {
        error_free(err);
    }
}

/*
 * The kernel reports a failed write-back once and may drop the pages: that a
 * later flush succeeds does not mean that the data is there.  Any thread.
 */
void file_note_flush_failure(BlockDriverState *bs, int ret)
{
    BDRVFileState *s = bs->opaque;

    /* It may have been one for a single write. */
    bdrv_note_flush_error(bs, ret);
    qatomic_set(&s->flush_failed, true);
    if (!(s->open_flags & O_DIRECT) && ret != -EAGAIN) {
        qatomic_set(&s->page_cache_inconsistent, true);
    }
}

int coroutine_fn file_do_flush(BlockDriverState *bs)
{
    BDRVFileState *s = bs->opaque;
    int ret = s->engine->flush(bs);

    if (ret < 0) {
        file_note_flush_failure(bs, ret);
    }
    return ret;
}

/* As O_DIRECT wants it; inline for a single buffer. */
static inline bool file_is_aligned(BlockDriverState *bs, QEMUIOVector *qiov,
                                   int64_t bytes)
{
    if (likely(qiov->niov == 1)) {
        return !((uintptr_t)qiov->iov[0].iov_base &
                 (bs->bl.min_mem_alignment - 1)) &&
               !(bytes & (bs->bl.request_alignment - 1));
    }
    return bdrv_qiov_is_aligned(bs, qiov, 0, bytes);
}

/* @qiov has just the request. */
static inline int coroutine_fn
file_co_prw_exact(BlockDriverState *bs, int64_t offset, int64_t bytes,
                  QEMUIOVector *qiov, int type, BdrvRequestFlags flags)
{
    BDRVFileState *s = bs->opaque;

    if (s->needs_alignment && !file_is_aligned(bs, qiov, bytes)) {
        return file_engine_threads.submit(bs, offset, bytes, qiov, type |
                                          QEMU_AIO_MISALIGNED, flags);
    }
    return s->engine->submit(bs, offset, bytes, qiov, type, flags);
}

static int coroutine_fn __attribute__((noinline))
file_co_prw_part(BlockDriverState *bs, int64_t offset, int64_t bytes,
                 QEMUIOVector *qiov, size_t qiov_offset, int type,
                 BdrvRequestFlags flags)
{
    QEMUIOVector local;
    int ret;

    qemu_iovec_init(&local, qemu_iovec_subvec_niov(qiov, qiov_offset, bytes));
    qemu_iovec_concat(&local, qiov, qiov_offset, bytes);
    ret = file_co_prw_exact(bs, offset, bytes, &local, type, flags);
    qemu_iovec_destroy(&local);
    return ret;
}

static inline int coroutine_fn
file_co_prw(BlockDriverState *bs, int64_t offset, int64_t bytes,
            QEMUIOVector *qiov, size_t qiov_offset, int type,
            BdrvRequestFlags flags)
{
    if (likely(!qiov_offset && qiov->size == (size_t)bytes)) {
        return file_co_prw_exact(bs, offset, bytes, qiov, type, flags);
    }
    return file_co_prw_part(bs, offset, bytes, qiov, qiov_offset, type, flags);
}

int coroutine_fn file_co_preadv_part(BlockDriverState *bs, int64_t offset,
                                     int64_t bytes, QEMUIOVector *qiov,
                                     size_t qiov_offset,
                                     BdrvRequestFlags flags)
{
    return file_co_prw(bs, offset, bytes, qiov, qiov_offset, QEMU_AIO_READ,
                       flags);
}

int coroutine_fn file_co_pwritev_part(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, QEMUIOVector *qiov,
                                      size_t qiov_offset,
                                      BdrvRequestFlags flags)
{
    int ret = file_co_prw(bs, offset, bytes, qiov, qiov_offset,
                          QEMU_AIO_WRITE, flags);

    if (ret == 0 && !(flags & BDRV_REQ_FUA)) {
        file_behind_note(bs, offset, bytes);
    }
    return ret;
}

int coroutine_fn file_co_flush_to_disk(BlockDriverState *bs)
{
    BDRVFileState *s = bs->opaque;

    return qatomic_read(&s->page_cache_inconsistent) ? -EIO :
           file_do_flush(bs);
}
