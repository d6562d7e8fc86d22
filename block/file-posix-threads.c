/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Protocol driver "file": the engine "threads", and requests that only worker
 * threads can do, whatever the engine.
 */
#include "qemu/osdep.h"
#include "file-posix.h"
#include "qemu/coroutine-tls.h"
#include "qemu/thread-pool.h"

#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <linux/fs.h>
#include <linux/falloc.h>
#include <linux/magic.h>
#include <limits.h>
#include <sys/uio.h>

/*
 * One system call; the bytes done, or -1.  For a single buffer it is one of
 * those for which the kernel has no vector to fetch, a tenth of its time for
 * a copy of 4 KiB.
 */
static ssize_t rw_once(const FilePosixAIOData *a, const struct iovec *iov,
                       int niov, int64_t offset)
{
    if (niov == 1) {
        return a->type & QEMU_AIO_WRITE ?
               pwrite(a->fd, iov->iov_base, iov->iov_len, offset) :
               pread(a->fd, iov->iov_base, iov->iov_len, offset);
    }
    return a->type & QEMU_AIO_WRITE ? pwritev(a->fd, iov, niov, offset) :
                                      preadv(a->fd, iov, niov, offset);
}

/*
 * Writes into the page cache are made in such pieces.  A file system may take
 * a folio as large as what is written, and those of 1 MiB and more are memory
 * that has to be made: by compaction, or in a guest by the hypervisor, which
 * takes back what is free in pieces of 2 MiB (free page reporting).  A copy of
 * 2 GiB to ext4 took 0.5 s in pieces of 512 KiB, and 0.5 to 5 s in larger ones.
 */
#define CACHED_WRITE_BYTES (512 * KiB)

/* One system call for all of @iov, or for its beginning. */
static ssize_t rw_piece(const FilePosixAIOData *a, const struct iovec *iov,
                        int niov, int64_t offset)
{
    const BDRVFileState *s = a->bs->opaque;
    struct iovec begin = { .iov_len = CACHED_WRITE_BYTES };
    size_t bytes = 0;
    int n;

    if ((a->type & QEMU_AIO_READ) || (s->open_flags & O_DIRECT)) {
        return rw_once(a, iov, niov, offset);
    }
    for (n = 0; n < niov; n++) {
        if (iov[n].iov_len > CACHED_WRITE_BYTES - bytes) {
            break;
        }
        bytes += iov[n].iov_len;
    }
    if (n < niov && bytes == 0) {
        begin.iov_base = iov[n].iov_base;
        return rw_once(a, &begin, 1, offset);
    }
    return rw_once(a, iov, n, offset);
}

/* Read or write it all with @iov as it is; 0 or -errno. */
static int handle_rw_vector(FilePosixAIOData *a, struct iovec *iov, int niov)
{
    int64_t done = 0;
    g_autofree struct iovec *copy = NULL;
    struct iovec *cur = iov;

    while (done < a->bytes) {
        ssize_t n = RETRY_ON_EINTR(rw_piece(a, cur, niov, a->offset + done));

        if (n < 0) {
            /*
             * A direct read that went up to an unaligned end of the file
             * cannot be continued there, and need not be.
             */
            if (errno == EINVAL && done && (a->type & QEMU_AIO_READ)) {
                n = 0;
            } else {
                return -errno;
            }
        }
        if (n == 0) {
            break;
        }
        done += n;
        if (likely(done == a->bytes)) {
            return 0;
        }
        if (!copy) {
            cur = copy = g_memdup2(iov, niov * sizeof(*iov));
        }
        while (n && (size_t)n >= cur->iov_len) {
            n -= cur->iov_len;
            cur++;
            niov--;
        }
        if (n) {
            cur->iov_base = (char *)cur->iov_base + n;
            cur->iov_len -= n;
        }
    }
    if (done < a->bytes) {
        if (a->type & QEMU_AIO_WRITE) {
            return -ENOSPC;
        }
        iov_memset(iov, a->niov, done, 0, a->bytes - done);
    }
    return 0;
}

/*
 * Through an aligned buffer, piece by piece: the length of a request may be the
 * choice of a guest, and each worker thread has such a buffer.
 */
static int handle_rw_bounce(FilePosixAIOData *a)
{
    int64_t size = MIN(a->bytes, FILE_BOUNCE_BYTES);
    QEMU_AUTO_VFREE char *buf = qemu_try_blockalign(a->bs, size);
    int64_t done = 0;

    if (!buf) {
        return -ENOMEM;
    }
    while (done < a->bytes) {
        FilePosixAIOData part = *a;
        struct iovec iov = { buf, MIN(size, a->bytes - done) };
        int ret;

        part.offset += done;
        part.bytes = iov.iov_len;
        part.niov = 1;
        if (a->type & QEMU_AIO_WRITE) {
            iov_to_buf(a->iov, a->niov, done, buf, part.bytes);
        }
        ret = handle_rw_vector(&part, &iov, 1);
        if (ret < 0) {
            return ret;
        }
        if (a->type & QEMU_AIO_READ) {
            iov_from_buf(a->iov, a->niov, done, buf, part.bytes);
        }
        done += part.bytes;
    }
    return 0;
}

static int handle_aiocb_flush(void *opaque)
{
    FilePosixAIOData *a = opaque;

    return RETRY_ON_EINTR(fdatasync(a->fd)) < 0 ? -errno : 0;
}

static int handle_aiocb_rw(void *opaque)
{
    FilePosixAIOData *a = opaque;
    int ret;

    if (a->type & QEMU_AIO_MISALIGNED) {
        ret = handle_rw_bounce(a);
    } else {
        ret = handle_rw_vector(a, a->iov, a->niov);
    }
    if (ret == 0 && a->fua) {
        ret = handle_aiocb_flush(a);
        a->flush_failed = ret < 0;
    }
    return ret;
}

static int do_fallocate(int fd, int mode, int64_t offset, int64_t len)
{
    int ret = RETRY_ON_EINTR(fallocate(fd, mode, offset, len)) < 0 ?
              -errno : 0;

    /* All of these mean that this way there is nothing to be had. */
    if (ret == -ENODEV || ret == -ENOSYS || ret == -EOPNOTSUPP ||
        ret == -ENOTTY || ret == -EINVAL) {
        return -ENOTSUP;
    }
    return ret;
}

static int handle_aiocb_discard(void *opaque)
{
    FilePosixAIOData *a = opaque;

    if (a->type & QEMU_AIO_BLKDEV) {
        uint64_t range[2] = { a->offset, a->bytes };

        if (RETRY_ON_EINTR(ioctl(a->fd, BLKDISCARD, range)) < 0) {
            return errno == EOPNOTSUPP || errno == ENOTTY ? -ENOTSUP : -errno;
        }
        return 0;
    }
    return do_fallocate(a->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                        a->offset, a->bytes);
}

static int handle_zeroes_device(FilePosixAIOData *a)
{
    uint64_t range[2] = { a->offset, a->bytes };

    /*
     * A hole in a device is zeroes by the device itself, or -EOPNOTSUPP: the
     * kernel (since 4.9) does not write them instead.
     */
    if (a->type & QEMU_AIO_DISCARD) {
        int ret = do_fallocate(a->fd,
                               FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                               a->offset, a->bytes);

        if (ret != -ENOTSUP) {
            return ret;
        }
    }
    /* Both that keep the space, BLKZEROOUT and ZERO_RANGE, may write. */
    if (a->type & QEMU_AIO_NO_FALLBACK) {
        return -ENOTSUP;
    }
    if (RETRY_ON_EINTR(ioctl(a->fd, BLKZEROOUT, range)) < 0) {
        /* -EINVAL: these are no whole blocks. */
        return errno == EOPNOTSUPP || errno == ENOTTY || errno == EINVAL ?
               -ENOTSUP : -errno;
    }
    return 0;
}

/* type has QEMU_AIO_DISCARD: unmapping is fine. */
static int handle_aiocb_write_zeroes(void *opaque)
{
    FilePosixAIOData *a = opaque;
    struct stat st;
    int ret;

    if (a->type & QEMU_AIO_BLKDEV) {
        return handle_zeroes_device(a);
    }
    if (fstat(a->fd, &st) < 0) {
        return -errno;
    }
    /* Beyond the end a punched hole would not extend the file. */
    if ((a->type & QEMU_AIO_DISCARD) && a->offset + a->bytes <= st.st_size) {
        ret = do_fallocate(a->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                           a->offset, a->bytes);
        if (ret != -ENOTSUP) {
            return ret;
        }
    }
    ret = do_fallocate(a->fd, FALLOC_FL_ZERO_RANGE, a->offset, a->bytes);
    if (ret != -ENOTSUP) {
        return ret;
    }
    if (a->offset >= st.st_size) {
        /* New space is zeroes anyway. */
        return do_fallocate(a->fd, 0, a->offset, a->bytes);
    }
    if (a->offset + a->bytes <= st.st_size) {
        /* Without ZERO_RANGE (tmpfs): make a hole, and fill it again. */
        ret = do_fallocate(a->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                           a->offset, a->bytes);
        if (ret == 0) {
            ret = do_fallocate(a->fd, 0, a->offset, a->bytes);
        }
        return ret;
    }
    return -ENOTSUP;
}

/* By these errors the kernel, or the file system, says that it cannot. */
static bool copy_is_refused(int error)
{
    switch (error) {
    case ENOSYS:
    case EXDEV:
    case EINVAL:
    case EOPNOTSUPP:
    case ETXTBSY:
    case EBADF:
    case EPERM:
        return true;
    default:
        return false;
    }
}

static int handle_aiocb_copy_range(void *opaque)
{
    FilePosixAIOData *a = opaque;
    off_t in = a->offset, out = a->dst_offset;
    int64_t left = a->bytes;

    while (left) {
        ssize_t n = RETRY_ON_EINTR(copy_file_range(a->fd, &in, a->dst_fd,
                                                   &out, left, 0));

        if (n < 0) {
            return copy_is_refused(errno) ? -ENOTSUP : -errno;
        }
        if (n == 0) {
            /* The file is shorter than it was; reads know what to do. */
            return -ENOTSUP;
        }
        left -= n;
    }
    return 0;
}

/* --- what is in memory --- */

/*
 * A read of what the page cache has is a copy, and so is any read or write of
 * a file in a tmpfs: those of FILE_COPY_MAX_BYTES are done sooner than a worker
 * thread is woken.
 *
 * A coroutine all of whose requests are copies would never let others run in
 * its thread: after so many the event loop has its turn.
 */
#define CACHED_IN_A_ROW 32
/* After misses so many reads do not try, at most. */
#define CACHED_MAX_PAUSE 64

QEMU_DEFINE_STATIC_CO_TLS(unsigned, cached_in_a_row)

void file_threads_look(BDRVFileState *s)
{
    struct statfs st;

    qatomic_set(&s->has_nowait, !(s->open_flags & O_DIRECT));
    /* A tmpfs does not know RWF_NOWAIT.  The nodes of devices are in one. */
    qatomic_set(&s->in_memory, !s->is_device && fstatfs(s->fd, &st) == 0 &&
                st.f_type == TMPFS_MAGIC);
}

static void coroutine_fn note_copy(void)
{
    unsigned *n = get_ptr_cached_in_a_row();

    if (++*n < CACHED_IN_A_ROW) {
        return;
    }
    *n = 0;
    aio_co_give_way();
}

/* Whether it is worth trying: not direct, few misses before. */
static bool may_be_cached(BDRVFileState *s)
{
    unsigned pause = qatomic_read(&s->cached_pause);

    if (!qatomic_read(&s->has_nowait)) {
        return false;
    }
    if (pause) {
        qatomic_set(&s->cached_pause, pause - 1);
        return false;
    }
    return true;
}

/* 0 if the page cache has all of it; -EAGAIN for a thread; or -errno. */
static int read_cached(BDRVFileState *s, const FilePosixAIOData *a)
{
    unsigned miss;
    ssize_t n;

    if (!may_be_cached(s)) {
        return -EAGAIN;
    }
    n = preadv2(a->fd, a->iov, a->niov, a->offset, RWF_NOWAIT);
    if (n == a->bytes) {
        qatomic_set(&s->cached_miss, 0);
        return 0;
    }
    if (n < 0 && (errno == EOPNOTSUPP || errno == EINVAL || errno == ENOSYS)) {
        qatomic_set(&s->has_nowait, false);
    } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
        return -errno;
    }
    miss = MIN(MAX(2 * qatomic_read(&s->cached_miss), 1), CACHED_MAX_PAUSE);
    qatomic_set(&s->cached_miss, miss);
    qatomic_set(&s->cached_pause, miss);
    return -EAGAIN;
}

/*
 * Without a thread, where nothing has to be waited for or nobody else waits;
 * else -EAGAIN.
 */
static int coroutine_fn rw_at_once(BDRVFileState *s, FilePosixAIOData *a)
{
    bool one = qemu_get_current_aio_context()->one_request;
    bool here = one || qatomic_read(&s->in_memory);
    int ret;

    if ((!here && a->type != QEMU_AIO_READ) || a->fua ||
        (a->bytes > FILE_COPY_MAX_BYTES && !one) || a->niov > IOV_MAX) {
        return -EAGAIN;
    }
    ret = here ? handle_aiocb_rw(a) : read_cached(s, a);
    if (ret != -EAGAIN) {
        note_copy();
    }
    return ret;
}

/* --- requests that are one for the kernel --- */

/* Larger ones are better done by several threads. */
#define MERGE_MAX_BYTES (64 * KiB)

static bool rw_follows(const void *arg, const void *next_arg)
{
    const FilePosixAIOData *a = arg, *b = next_arg;

    return a->bs == b->bs && a->fd == b->fd && a->type == b->type &&
           a->offset + a->bytes == b->offset;
}

/*
 * Where it is not all done at once, each one is carried out by itself, so that
 * each has the result that it would have had.
 */
static void rw_run_merged(void *const *args, int *rets, unsigned n)
{
    const FilePosixAIOData *first = args[0];
    struct iovec iov[THREAD_POOL_MERGE_MAX];
    ssize_t total = 0, done;
    unsigned i;

    for (i = 0; i < n; i++) {
        const FilePosixAIOData *a = args[i];

        iov[i] = *a->iov;
        total += a->bytes;
    }
    done = RETRY_ON_EINTR(rw_once(first, iov, n, first->offset));
    for (i = 0; i < n; i++) {
        rets[i] = done == total ? 0 : handle_aiocb_rw(args[i]);
    }
}

static const ThreadPoolMerge rw_merge = {
    .follows = rw_follows,
    .run = rw_run_merged,
};

static bool may_merge(const FilePosixAIOData *a)
{
    return (a->type == QEMU_AIO_READ || a->type == QEMU_AIO_WRITE) &&
           !a->fua && a->niov == 1 && a->bytes <= MERGE_MAX_BYTES;
}

/* --- in coroutines --- */

static int coroutine_fn threads_submit(BlockDriverState *bs, int64_t offset,
                                       int64_t bytes, QEMUIOVector *qiov,
                                       int type, BdrvRequestFlags flags)
{
    BDRVFileState *s = bs->opaque;
    FilePosixAIOData a = {
        .bs = bs,
        .fd = s->fd,
        .type = type,
        .offset = offset,
        .bytes = bytes,
        .iov = qiov->iov,
        .niov = qiov->niov,
        .fua = flags & BDRV_REQ_FUA,
    };
    int ret = rw_at_once(s, &a);

    if (ret != -EAGAIN) {
        return ret;
    }
    ret = thread_pool_submit_co_merge(handle_aiocb_rw, &a,
                                      may_merge(&a) ? &rw_merge : NULL);
    if (a.flush_failed) {
        file_note_flush_failure(bs, ret);
    }
    return ret;
}

static int coroutine_fn threads_flush(BlockDriverState *bs)
{
    BDRVFileState *s = bs->opaque;
    FilePosixAIOData a = { .bs = bs, .fd = s->fd, .type = QEMU_AIO_FLUSH };

    return thread_pool_submit_co(handle_aiocb_flush, &a);
}

const FileEngine file_engine_threads = {
    .name = "threads",
    .submit = threads_submit,
    .flush = threads_flush,
};

int coroutine_fn file_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset,
                                       int64_t bytes, BdrvRequestFlags flags)
{
    BDRVFileState *s = bs->opaque;
    FilePosixAIOData a = {
        .bs = bs,
        .fd = s->fd,
        .type = QEMU_AIO_WRITE_ZEROES,
        .offset = offset,
        .bytes = bytes,
    };

    a.type |= s->is_device ? QEMU_AIO_BLKDEV : 0;
    a.type |= flags & BDRV_REQ_MAY_UNMAP ? QEMU_AIO_DISCARD : 0;
    a.type |= flags & BDRV_REQ_NO_FALLBACK ? QEMU_AIO_NO_FALLBACK : 0;
    return thread_pool_submit_co(handle_aiocb_write_zeroes, &a);
}

int coroutine_fn file_co_pdiscard(BlockDriverState *bs, int64_t offset,
                                  int64_t bytes)
{
    BDRVFileState *s = bs->opaque;
    FilePosixAIOData a = {
        .bs = bs,
        .fd = s->fd,
        .type = QEMU_AIO_DISCARD | (s->is_device ? QEMU_AIO_BLKDEV : 0),
        .offset = offset,
        .bytes = bytes,
    };
    int ret;

    /* Of a device, whole blocks only; what is left is not discarded. */
    if (!qatomic_read(&s->has_discard) ||
        !QEMU_IS_ALIGNED(offset | bytes,
                         (int64_t)bs->bl.pdiscard_alignment)) {
        return -ENOTSUP;
    }
    ret = thread_pool_submit_co(handle_aiocb_discard, &a);
    if (ret == -ENOTSUP) {
        qatomic_set(&s->has_discard, false);
    }
    return ret;
}

int coroutine_fn file_co_copy_range_from(BlockDriverState *bs, BdrvChild *src,
                                         int64_t src_offset, BdrvChild *dst,
                                         int64_t dst_offset, int64_t bytes,
                                         BdrvRequestFlags read_flags,
                                         BdrvRequestFlags write_flags)
{
    return bdrv_co_copy_range_to(src, src_offset, dst, dst_offset, bytes,
                                 read_flags, write_flags);
}

int coroutine_fn file_co_copy_range_to(BlockDriverState *bs, BdrvChild *src,
                                       int64_t src_offset, BdrvChild *dst,
                                       int64_t dst_offset, int64_t bytes,
                                       BdrvRequestFlags read_flags,
                                       BdrvRequestFlags write_flags)
{
    BDRVFileState *s = bs->opaque, *src_s = src->bs->opaque;
    FilePosixAIOData a = {
        .bs = bs,
        .type = QEMU_AIO_COPY_RANGE,
        .offset = src_offset,
        .bytes = bytes,
        .dst_fd = s->fd,
        .dst_offset = dst_offset,
    };
    int ret;

    if (src->bs->drv->bdrv_co_copy_range_to != file_co_copy_range_to ||
        s->is_device || src_s->is_device) {
        return -ENOTSUP;
    }
    a.fd = src_s->fd;
    ret = thread_pool_submit_co(handle_aiocb_copy_range, &a);
    if (ret == 0) {
        file_behind_note(bs, dst_offset, bytes);
    }
    return ret;
}
