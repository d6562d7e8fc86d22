/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The requests of a FUSE export: a file system that has one file only, as its
 * root.
 */
#include "qemu/osdep.h"
#include <linux/falloc.h>
#include "block/graph-lock.h"
#include "fuse.h"
#include "qapi/error.h"

#ifndef FOPEN_PARALLEL_DIRECT_WRITES
#define FOPEN_PARALLEL_DIRECT_WRITES (1 << 6)
#endif

/* This export knows this version; the kernel uses the lower of both. */
#define MINOR_VERSION 31
/* A kernel that is older answers in another form. */
#define MIN_MINOR_VERSION 23
#define BLOCK_UNIT 512

static uint32_t page_size(void)
{
    return qemu_real_host_page_size();
}

/* --- answers --- */

/* @error: 0 or -errno.  An answer that cannot be sent is to nobody. */
static void reply(FuseReq *req, int error, const void *data, size_t len)
{
    struct fuse_out_header header = {
        .len = sizeof(header) + len,
        .error = error,
        .unique = req->in.header.unique,
    };
    struct iovec iov[] = {
        { &header, sizeof(header) }, { (void *)data, len },
    };

    if (RETRY_ON_EINTR(writev(req->q->fd, iov, len ? 2 : 1)) < 0) {
        return;
    }
}

static void reply_result(FuseReq *req, int ret)
{
    reply(req, MIN(ret, 0), NULL, 0);
}

/*
 * @size bytes of arguments into @args; false if they did not come.  What does
 * not fit behind the header is where the data of a write are.
 */
static bool get_args(FuseReq *req, void *args, size_t size)
{
    size_t first = MIN(size, sizeof(req->in.args));

    if (req->len < sizeof(req->in.header) + size) {
        return false;
    }
    memcpy(args, req->in.args, first);
    memcpy((char *)args + first, req->data, size - first);
    return true;
}

/* --- the connection --- */

static void do_init(FuseReq *req)
{
    struct fuse_init_out out = {
        .major = FUSE_KERNEL_VERSION,
        .minor = MINOR_VERSION,
    };
    /* Older kernels send the first half only. */
    struct {
        uint32_t major, minor, max_readahead, flags;
    } in;

    if (!get_args(req, &in, sizeof(in)) || in.major < FUSE_KERNEL_VERSION ||
        (in.major == FUSE_KERNEL_VERSION && in.minor < MIN_MINOR_VERSION)) {
        reply(req, -EPROTO, NULL, 0);
        return;
    }
    if (in.major == FUSE_KERNEL_VERSION) {
        out.max_readahead = in.max_readahead;
        out.flags = in.flags & (FUSE_ASYNC_READ | FUSE_BIG_WRITES |
                                FUSE_ASYNC_DIO | FUSE_MAX_PAGES);
        out.max_background = FUSE_EXPORT_MAX_REQUESTS;
        out.congestion_threshold = FUSE_EXPORT_MAX_REQUESTS * 3 / 4;
        out.max_write = FUSE_EXPORT_MAX_IO;
        out.time_gran = 1;
        out.max_pages = FUSE_EXPORT_MAX_IO / page_size();
    }
    reply(req, 0, &out, sizeof(out));
}

/* --- attributes --- */

/*
 * Bytes, or -errno.  No request is counted here, so without the lock the node
 * could be replaced meanwhile.
 */
static int64_t coroutine_fn get_length(FuseExport *exp)
{
    int64_t length;

    bdrv_graph_co_rdlock();
    length = blk_getlength(exp->common.blk);
    bdrv_graph_co_rdunlock();
    return length;
}

/* @align: as blk_get_request_alignment().  For the lock: see get_length(). */
static int64_t coroutine_fn get_allocated(FuseExport *exp, uint32_t *align)
{
    int64_t bytes;

    bdrv_graph_co_rdlock();
    bytes = bdrv_co_get_allocated_file_size(blk_bs(exp->common.blk));
    *align = blk_get_request_alignment(exp->common.blk);
    bdrv_graph_co_rdunlock();
    return bytes;
}

static int coroutine_fn get_attr(FuseExport *exp, struct fuse_attr_out *out)
{
    int64_t length = get_length(exp);
    int64_t allocated;
    uint32_t align;

    if (length < 0) {
        return length;
    }
    allocated = get_allocated(exp, &align);
    if (allocated < 0) {
        allocated = length;
    }
    /* No attribute is cached: the size may change here at any time. */
    *out = (struct fuse_attr_out) {
        .attr = {
            .ino = 1,
            .size = length,
            .blocks = DIV_ROUND_UP(allocated, BLOCK_UNIT),
            .mode = S_IFREG | qatomic_read(&exp->mode),
            .nlink = 1,
            .uid = qatomic_read(&exp->uid),
            .gid = qatomic_read(&exp->gid),
            .blksize = MAX(align, page_size()),
            .atime = qatomic_read(&exp->mtime),
            .mtime = qatomic_read(&exp->mtime),
            .ctime = qatomic_read(&exp->mtime),
        },
    };
    return 0;
}

static void coroutine_fn do_getattr(FuseReq *req)
{
    struct fuse_attr_out out;
    int ret = get_attr(req->q->exp, &out);

    if (ret < 0) {
        reply_result(req, ret);
    } else {
        reply(req, 0, &out, sizeof(out));
    }
}

typedef struct {
    FuseExport *exp;
    Coroutine *co;
    bool take;
    int ret;
} ResizePerm;

static void set_resize_perm_bh(void *opaque)
{
    ResizePerm *p = opaque;
    BlockBackend *blk = p->exp->common.blk;
    uint64_t perm, shared;

    blk_get_perm(blk, &perm, &shared);
    perm = p->take ? perm | BLK_PERM_RESIZE : perm & ~BLK_PERM_RESIZE;
    p->ret = blk_set_perm(blk, perm, shared, NULL);
    aio_co_wake(p->co);
}

/* The permission to resize, of an export that does not have it at all times. */
static int coroutine_fn set_resize_perm(FuseExport *exp, bool take)
{
    ResizePerm p = {
        .exp = exp, .co = qemu_coroutine_self(), .take = take,
    };

    aio_bh_schedule_oneshot(qemu_get_aio_context(), set_resize_perm_bh, &p);
    qemu_coroutine_yield();
    return p.ret;
}

/* The caller has resize_lock. */
static int coroutine_fn resize_locked(FuseExport *exp, int64_t size,
                                      PreallocMode prealloc)
{
    int ret = exp->growable ? 0 : set_resize_perm(exp, true);

    qatomic_set(&exp->mtime, time(NULL));
    if (ret < 0) {
        return ret;
    }
    /*
     * Not in the bottom half: that may run while the main thread waits for the
     * beginning of a drained section, of which this has to wait for the end.
     */
    ret = blk_co_truncate(exp->common.blk, size, true, prealloc, 0, NULL);
    if (!exp->growable) {
        /*
         * It stays where the disk is no whole number of blocks now, so that the
         * last block cannot be written without it.
         */
        set_resize_perm(exp, false);
    }
    return ret;
}

static int coroutine_fn resize(FuseExport *exp, int64_t size)
{
    int ret;

    if (!exp->writable) {
        return -EACCES;
    }
    qemu_co_mutex_lock(&exp->resize_lock);
    ret = resize_locked(exp, size, PREALLOC_MODE_OFF);
    qemu_co_mutex_unlock(&exp->resize_lock);
    return ret;
}

/* See that the disk has @end bytes at least. */
static int coroutine_fn grow(FuseExport *exp, int64_t end,
                             PreallocMode prealloc)
{
    int64_t length;
    int ret = 0;

    qemu_co_mutex_lock(&exp->resize_lock);
    length = get_length(exp);
    if (length < 0) {
        ret = length;
    } else if (length < end) {
        ret = resize_locked(exp, end, prealloc);
    }
    qemu_co_mutex_unlock(&exp->resize_lock);
    return ret;
}

static int coroutine_fn set_attr(FuseReq *req)
{
    const uint32_t times = FATTR_ATIME | FATTR_MTIME | FATTR_CTIME |
                           FATTR_ATIME_NOW | FATTR_MTIME_NOW;
    FuseExport *exp = req->q->exp;
    struct fuse_setattr_in in;

    if (!get_args(req, &in, sizeof(in))) {
        return -EINVAL;
    }
    /* A time of somebody's choice cannot be kept. */
    if (in.valid & ~(FATTR_MODE | FATTR_UID | FATTR_GID | FATTR_SIZE |
                     FATTR_FH | FATTR_LOCKOWNER | FATTR_KILL_SUIDGID |
                     times) ||
        (in.valid & FATTR_MTIME &&
         !(in.valid & (FATTR_MTIME_NOW | FATTR_SIZE)))) {
        return -EOPNOTSUPP;
    }
    if (in.valid & FATTR_MODE && in.mode & 0222 && !exp->writable) {
        return -EROFS;
    }
    if (in.valid & FATTR_SIZE) {
        int ret = in.size > INT64_MAX ? -EFBIG : resize(exp, in.size);

        if (ret < 0) {
            return ret;
        }
    }
    if (in.valid & FATTR_MODE) {
        qatomic_set(&exp->mode, in.mode & 0777);
    }
    if (in.valid & FATTR_UID) {
        qatomic_set(&exp->uid, in.uid);
    }
    if (in.valid & FATTR_GID) {
        qatomic_set(&exp->gid, in.gid);
    }
    return 0;
}

static void coroutine_fn do_setattr(FuseReq *req)
{
    int ret = set_attr(req);

    if (ret < 0) {
        reply_result(req, ret);
    } else {
        do_getattr(req);
    }
}

static void do_open(FuseReq *req)
{
    struct fuse_open_out out = {
        /* Users must see the changes of others, so there is no cache. */
        .open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES,
    };
    struct fuse_open_in in;

    if (!get_args(req, &in, sizeof(in))) {
        reply_result(req, -EINVAL);
    } else if ((in.flags & O_ACCMODE) != O_RDONLY &&
               !req->q->exp->writable) {
        reply_result(req, -EACCES);
    } else {
        reply(req, 0, &out, sizeof(out));
    }
}

static void do_statfs(FuseReq *req)
{
    struct fuse_statfs_out out = {
        .st = { .bsize = page_size(), .frsize = page_size(), .namelen = 255 },
    };

    reply(req, 0, &out, sizeof(out));
}

/* --- data --- */

static void coroutine_fn do_read(FuseReq *req)
{
    BlockBackend *blk = req->q->exp->common.blk;
    int64_t length = get_length(req->q->exp);
    struct fuse_read_in in;
    uint64_t bytes;
    int ret;

    if (!get_args(req, &in, sizeof(in)) || in.size > FUSE_EXPORT_MAX_IO) {
        reply_result(req, -EINVAL);
        return;
    }
    if (length < 0 || in.offset >= (uint64_t)length) {
        reply_result(req, MIN(length, 0));
        return;
    }
    bytes = MIN(in.size, length - in.offset);
    ret = blk_co_pread(blk, in.offset, bytes, req->data, 0);
    if (ret < 0) {
        reply_result(req, ret);
    } else {
        reply(req, 0, req->data, bytes);
    }
}

/* How much of @size bytes at @offset can be written; -errno. */
static int64_t coroutine_fn writable_part(FuseExport *exp, uint64_t offset,
                                          uint64_t size)
{
    int64_t length = get_length(exp);
    int ret;

    if (!exp->writable) {
        return -EACCES;
    }
    if (length < 0) {
        return length;
    }
    if (offset > INT64_MAX || size > INT64_MAX - offset) {
        return -EFBIG;
    }
    if (offset + size <= (uint64_t)length) {
        return size;
    }
    if (exp->growable) {
        ret = grow(exp, offset + size, PREALLOC_MODE_OFF);
        return ret < 0 ? ret : (int64_t)size;
    }
    return offset < (uint64_t)length ? length - (int64_t)offset : -ENOSPC;
}

static void coroutine_fn do_write(FuseReq *req)
{
    FuseExport *exp = req->q->exp;
    struct fuse_write_out out = { 0 };
    struct fuse_write_in in;
    int64_t size;
    int ret;

    if (!get_args(req, &in, sizeof(in)) || in.size > FUSE_EXPORT_MAX_IO ||
        req->len != sizeof(req->in) + in.size) {
        reply_result(req, -EINVAL);
        return;
    }
    size = writable_part(exp, in.offset, in.size);
    if (size < 0) {
        reply_result(req, size);
        return;
    }
    ret = blk_co_pwrite(exp->common.blk, in.offset, size, req->data, 0);
    if (ret < 0) {
        reply_result(req, ret);
        return;
    }
    qatomic_set(&exp->mtime, time(NULL));
    out.size = size;
    reply(req, 0, &out, sizeof(out));
}

/* In pieces that the block layer takes. */
static int coroutine_fn write_zeroes(FuseExport *exp, int64_t offset,
                                     int64_t bytes, bool punch)
{
    BdrvRequestFlags flags = punch ? BDRV_REQ_MAY_UNMAP : 0;

    while (bytes) {
        int64_t part = MIN(bytes, BDRV_REQUEST_MAX_BYTES / MiB * MiB);
        int ret = blk_co_pwrite_zeroes(exp->common.blk, offset, part, flags);

        if (ret < 0) {
            return ret;
        }
        offset += part;
        bytes -= part;
    }
    qatomic_set(&exp->mtime, time(NULL));
    return 0;
}

/* Only space behind the end of the disk can be reserved. */
static bool can_fallocate(const struct fuse_fallocate_in *in, int64_t length)
{
    switch (in->mode & ~FALLOC_FL_KEEP_SIZE) {
    case 0:
        return !in->mode && (int64_t)in->offset >= length;
    case FALLOC_FL_PUNCH_HOLE:
    case FALLOC_FL_ZERO_RANGE:
        return true;
    default:
        return false;
    }
}

static int coroutine_fn do_fallocate(FuseReq *req)
{
    FuseExport *exp = req->q->exp;
    int64_t length = get_length(exp);
    struct fuse_fallocate_in in;
    uint64_t end;
    int ret = 0;

    if (!get_args(req, &in, sizeof(in))) {
        return -EINVAL;
    }
    if (!exp->writable || length < 0) {
        return length < 0 ? length : -EACCES;
    }
    if (in.offset > INT64_MAX || in.length > INT64_MAX - in.offset) {
        return -EFBIG;
    }
    if (!can_fallocate(&in, length)) {
        return -EOPNOTSUPP;
    }
    end = in.offset + in.length;
    if (end > (uint64_t)length && !(in.mode & FALLOC_FL_KEEP_SIZE)) {
        if (!exp->growable) {
            return -ENOSPC;
        }
        ret = grow(exp, end, in.mode ? PREALLOC_MODE_OFF :
                                       PREALLOC_MODE_FALLOC);
    }
    if (ret < 0 || !in.mode) {
        return ret;
    }
    end = MIN(end, (uint64_t)MAX(length, get_length(exp)));
    return in.offset >= end ? 0 :
           write_zeroes(exp, in.offset, end - in.offset,
                        in.mode & FALLOC_FL_PUNCH_HOLE);
}

/* Ranges that are known to be zero are holes. */
static int64_t coroutine_fn seek(FuseExport *exp, int64_t offset, bool hole)
{
    BlockBackend *blk = exp->common.blk;
    int64_t length = get_length(exp);

    if (length < 0) {
        return length;
    }
    if (offset < 0 || offset >= length) {
        return -ENXIO;
    }
    while (offset < length) {
        int64_t n;
        int ret = blk_co_block_status_above(blk, NULL, offset, length - offset,
                                            &n, NULL, NULL);

        if (ret < 0) {
            return ret;
        }
        if (hole == !!(ret & BDRV_BLOCK_ZERO) || !n) {
            return offset;
        }
        offset += n;
    }
    /* The end of the file is a hole, but no data. */
    return hole ? length : -ENXIO;
}

static void coroutine_fn do_lseek(FuseReq *req)
{
    struct fuse_lseek_out out = { 0 };
    struct fuse_lseek_in in;
    int64_t ret;

    if (!get_args(req, &in, sizeof(in)) ||
        (in.whence != SEEK_HOLE && in.whence != SEEK_DATA)) {
        reply_result(req, -EINVAL);
        return;
    }
    ret = seek(req->q->exp, in.offset, in.whence == SEEK_HOLE);
    if (ret < 0) {
        reply_result(req, ret);
    } else {
        out.offset = ret;
        reply(req, 0, &out, sizeof(out));
    }
}

static void coroutine_fn do_request(FuseReq *req)
{
    switch (req->in.header.opcode) {
    case FUSE_READ:
        do_read(req);
        break;
    case FUSE_WRITE:
        do_write(req);
        break;
    case FUSE_FLUSH:
    case FUSE_FSYNC:
        reply_result(req, blk_co_flush(req->q->exp->common.blk));
        break;
    case FUSE_INIT:
        do_init(req);
        break;
    case FUSE_GETATTR:
        do_getattr(req);
        break;
    case FUSE_SETATTR:
        do_setattr(req);
        break;
    case FUSE_OPEN:
        do_open(req);
        break;
    case FUSE_RELEASE:
    case FUSE_DESTROY:
        reply_result(req, 0);
        break;
    case FUSE_FALLOCATE:
        reply_result(req, do_fallocate(req));
        break;
    case FUSE_LSEEK:
        do_lseek(req);
        break;
    case FUSE_STATFS:
        do_statfs(req);
        break;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        /* These have no answer. */
        break;
    default:
        reply_result(req, -ENOSYS);
        break;
    }
}

void coroutine_fn fuse_req_entry(void *opaque)
{
    do_request(opaque);
    fuse_req_done(opaque);
}
