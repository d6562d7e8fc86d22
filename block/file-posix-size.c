/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Protocol driver "file": create, truncate, length.
 */
#include "qemu/osdep.h"
#include "file-posix.h"
#include "qemu/interrupt.h"
#include "qemu/thread-pool.h"

#include <sys/ioctl.h>
#include <linux/fs.h>
#include <json-c/json.h>

#ifndef FS_NOCOW_FL
#define FS_NOCOW_FL 0x00800000
#endif

const QemuOptsList file_create_opts = {
    .name = "raw-create-opts",
    .desc = {
        { "size", QEMU_OPT_SIZE, "Virtual disk size" },
        { "nocow", QEMU_OPT_BOOL,
          "Turn off copy-on-write (valid only on btrfs)" },
        { "preallocation", QEMU_OPT_STRING,
          "Preallocation mode (allowed values: off, falloc, full)" },
        { "extent_size_hint", QEMU_OPT_SIZE,
          "Extent size hint for the image file, 0 to disable" },
        { NULL }
    },
};

const char *file_strip_prefix(const char *filename)
{
    const char *prefixes[] = { "file:", "host_device:" };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(prefixes); i++) {
        if (g_str_has_prefix(filename, prefixes[i])) {
            return filename + strlen(prefixes[i]);
        }
    }
    return filename;
}

/* --- in worker threads (or before there is anything to wait for) --- */

/*
 * What O_DIRECT on a file needs of memory and offsets is found out by reading,
 * and where no block is there any read may work: have the first one.  An error
 * is ignored: the block reads as zeroes with and without this write, so that
 * nothing can be lost, and without it a request whose alignment was guessed
 * wrong fails with -EINVAL.
 */
static void file_allocate_first_block(int fd, int64_t size)
{
    const size_t align = MAX(qemu_real_host_page_size(), 4096);
    size_t n = size < (int64_t)align ? BDRV_SECTOR_SIZE : align;
    QEMU_AUTO_VFREE char *buf = qemu_try_memalign(align, n);

    if (buf && size >= (int64_t)n) {
        ssize_t ignored;

        memset(buf, 0, n);
        ignored = RETRY_ON_EINTR(pwrite(fd, buf, n, 0));
        (void)ignored;
    }
}

/*
 * A description of the same file for any offset and memory: @fd may have
 * O_DIRECT, and the new area need not begin or end with a block.
 */
static int file_open_buffered(int fd)
{
    g_autofree char *name = g_strdup_printf("/proc/self/fd/%d", fd);

    return open(name, O_WRONLY | O_CLOEXEC);
}

/* Write zeroes over what is new. */
static int file_write_zeroes(int fd, int64_t current, int64_t offset,
                             Error **errp)
{
    const size_t size = 64 * KiB;
    QEMU_AUTO_VFREE char *buf = qemu_try_memalign(4096, size);
    int64_t left = offset - current;
    int ret;

    if (!buf) {
        error_setg(errp, "No memory for the zeros of a preallocation");
        return -ENOMEM;
    }
    memset(buf, 0, size);
    while (left > 0) {
        ssize_t n;

        if (qemu_interrupted()) {
            error_setg(errp, "Preallocation was interrupted");
            return -EINTR;
        }
        n = RETRY_ON_EINTR(pwrite(fd, buf, MIN(left, (int64_t)size),
                                  offset - left));
        if (n < 0) {
            ret = -errno;
            error_setg_errno(errp, -ret, "Could not write zeros for "
                             "preallocation");
            return ret;
        }
        left -= n;
    }
    if (RETRY_ON_EINTR(fsync(fd)) < 0) {
        ret = -errno;
        error_setg_errno(errp, -ret, "Could not flush file to disk");
        return ret;
    }
    return 0;
}

static int file_prealloc_full(int fd, int64_t current, int64_t offset,
                              Error **errp)
{
    int buffered = file_open_buffered(fd);
    int ret = file_write_zeroes(buffered < 0 ? fd : buffered, current, offset,
                                errp);

    if (buffered >= 0) {
        close(buffered);
    }
    return ret;
}

static int file_do_resize(int fd, int64_t current, int64_t offset,
                          PreallocMode prealloc, Error **errp)
{
    int ret = 0;

    switch (prealloc) {
    case PREALLOC_MODE_OFF:
        if (RETRY_ON_EINTR(ftruncate(fd, offset)) < 0) {
            ret = -errno;
            error_setg_errno(errp, -ret, "Failed to resize file");
        } else if (current == 0 && offset > 0) {
            file_allocate_first_block(fd, offset);
        }
        return ret;
    case PREALLOC_MODE_FALLOC:
        if (offset == current) {
            return 0;
        }
        /* Says what went wrong by its value, not in errno. */
        do {
            ret = -posix_fallocate(fd, current, offset - current);
        } while (ret == -EINTR);
        if (ret < 0) {
            error_setg_errno(errp, -ret, "Could not preallocate data");
        }
        return ret;
    case PREALLOC_MODE_FULL:
        if (RETRY_ON_EINTR(ftruncate(fd, offset)) < 0) {
            ret = -errno;
            error_setg_errno(errp, -ret, "Could not resize file");
            return ret;
        }
        return file_prealloc_full(fd, current, offset, errp);
    default:
        error_setg(errp, "Unsupported preallocation mode: %s",
                   PreallocMode_str(prealloc));
        return -ENOTSUP;
    }
}

/* Resize; what failed half-way is undone. */
static int file_resize(int fd, int64_t offset, PreallocMode prealloc,
                       Error **errp)
{
    struct stat st;
    int ret;

    if (fstat(fd, &st) < 0) {
        ret = -errno;
        error_setg_errno(errp, -ret, "Could not stat file");
        return ret;
    }
    if (st.st_size > offset && prealloc != PREALLOC_MODE_OFF) {
        error_setg(errp, "Preallocation can't be used for shrinking files");
        return -EINVAL;
    }
    ret = file_do_resize(fd, st.st_size, offset, prealloc, errp);
    if (ret < 0 && st.st_size < offset &&
        RETRY_ON_EINTR(ftruncate(fd, st.st_size)) < 0) {
        error_report("Failed to restore old file length: %s",
                     strerror(errno));
    }
    return ret;
}

static int handle_aiocb_truncate(void *opaque)
{
    FilePosixAIOData *a = opaque;

    return file_resize(a->fd, a->offset, a->prealloc, a->errp);
}

/* --- truncate --- */

static int64_t file_getlength_fd(int fd)
{
    struct stat st;
    off_t end;

    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    if (S_ISREG(st.st_mode)) {
        return st.st_size;
    }
    if (S_ISBLK(st.st_mode)) {
        uint64_t size;

        return ioctl(fd, BLKGETSIZE64, &size) < 0 ? -errno : (int64_t)size;
    }
    end = lseek(fd, 0, SEEK_END);
    return end < 0 ? -errno : end;
}

int coroutine_fn file_co_truncate(BlockDriverState *bs, int64_t offset,
                                  bool exact, PreallocMode prealloc,
                                  BdrvRequestFlags flags, Error **errp)
{
    BDRVFileState *s = bs->opaque;
    FilePosixAIOData a = {
        .bs = bs,
        .fd = s->fd,
        .type = QEMU_AIO_TRUNCATE,
        .offset = offset,
        .prealloc = prealloc,
        .errp = errp,
    };
    int64_t length;
    int ret;

    if (!s->is_device) {
        ret = thread_pool_submit_co(handle_aiocb_truncate, &a);
        if (ret == 0 && offset == 0) {
            /* The data that was written is gone on purpose, not lost. */
            qatomic_set(&s->flush_failed, false);
        }
        return ret;
    }
    if (prealloc != PREALLOC_MODE_OFF) {
        error_setg(errp, "Preallocation mode '%s' unsupported for this "
                   "non-regular file", PreallocMode_str(prealloc));
        return -ENOTSUP;
    }
    length = file_getlength_fd(s->fd);
    if (offset != length && exact) {
        error_setg(errp, "Cannot resize device files");
        return -ENOTSUP;
    }
    if (offset > length) {
        error_setg(errp, "Cannot grow device files");
        return -EINVAL;
    }
    return 0;
}

int64_t coroutine_fn file_co_getlength(BlockDriverState *bs)
{
    BDRVFileState *s = bs->opaque;

    return file_getlength_fd(s->fd);
}

int64_t coroutine_fn file_co_get_allocated_file_size(BlockDriverState *bs)
{
    BDRVFileState *s = bs->opaque;
    struct stat st;

    return fstat(s->fd, &st) < 0 ? -errno : (int64_t)st.st_blocks * 512;
}

struct json_object *file_get_specific_info(BlockDriverState *bs, Error **errp)
{
    struct json_object *info = json_object_new_object();
    struct json_object *data = json_object_new_object();
#ifdef FS_IOC_FSGETXATTR
    BDRVFileState *s = bs->opaque;
    struct fsxattr xattr;

    if (ioctl(s->fd, FS_IOC_FSGETXATTR, &xattr) == 0 &&
        (xattr.fsx_xflags & FS_XFLAG_EXTSIZE)) {
        json_object_object_add(data, "extent-size-hint",
                               json_object_new_int64(xattr.fsx_extsize));
    }
#endif
    json_object_object_add(info, "type", json_object_new_string("file"));
    json_object_object_add(info, "data", data);
    return info;
}

/* --- create --- */

static void file_set_attributes(int fd, const BlockdevCreateOptionsFile *o)
{
    int attr;

    if (o->nocow && ioctl(fd, FS_IOC_GETFLAGS, &attr) == 0) {
        /* A wish: file systems without copy-on-write have no such flag. */
        attr |= FS_NOCOW_FL;
        ioctl(fd, FS_IOC_SETFLAGS, &attr);
    }
#ifdef FS_IOC_FSSETXATTR
    {
        uint64_t hint = o->has_extent_size_hint ? o->extent_size_hint
                                                : 1 * MiB;
        struct fsxattr xattr;

        if (hint && ioctl(fd, FS_IOC_FSGETXATTR, &xattr) == 0) {
            xattr.fsx_xflags |= FS_XFLAG_EXTSIZE;
            xattr.fsx_extsize = hint;
            ioctl(fd, FS_IOC_FSSETXATTR, &xattr);
        }
    }
#endif
}

/*
 * Nodes that share everything, or do not lock, have no locks that tell of them,
 * so ask those of this process whether they have the file open.
 */
static int file_check_open_here(int fd, const char *filename, Error **errp)
{
    BlockDriverState *bs;

    GLOBAL_STATE_CODE();
    for (bs = bdrv_next_node(NULL); bs; bs = bdrv_next_node(bs)) {
        BDRVFileState *s = bs->opaque;

        if (bs->drv && bs->drv->bdrv_co_create == file_co_create &&
            file_is_same_file(fd, s->fd)) {
            error_setg(errp, "'%s' is open here: it would be overwritten while "
                       "it is read", filename);
            return -EBUSY;
        }
    }
    return 0;
}

static int file_create_fd(int fd, const BlockdevCreateOptionsFile *o,
                          Error **errp)
{
    uint64_t size = QEMU_ALIGN_UP(o->size, BDRV_SECTOR_SIZE);
    uint64_t perm = BLK_PERM_WRITE | BLK_PERM_RESIZE;
    int ret;

    /* It may exist, and be in use: ask before the content goes away. */
    ret = file_lock_new_file(fd, perm, BLK_PERM_ALL & ~BLK_PERM_RESIZE,
                             o->filename, errp);
    if (ret == 0) {
        ret = file_check_open_here(fd, o->filename, errp);
    }
    if (ret < 0) {
        return ret;
    }
    if (RETRY_ON_EINTR(ftruncate(fd, 0)) < 0) {
        ret = -errno;
        error_setg_errno(errp, -ret, "Could not clear '%s'", o->filename);
        return ret;
    }
    file_set_attributes(fd, o);
    return file_resize(fd, size, o->preallocation, errp);
}

/*
 * Open @filename to be a new image; *@created: it was not there before.  The
 * descriptor, or -errno.
 */
static int file_open_new(const char *filename, bool *created, Error **errp)
{
    Error *local_err = NULL;
    int fd = qemu_create(filename, O_RDWR | O_BINARY | O_EXCL, 0644,
                         &local_err);

    int ret = fd < 0 ? -errno : fd;

    *created = fd >= 0;
    if (ret == -EEXIST) {
        error_free(local_err);
        fd = qemu_create(filename, O_RDWR | O_BINARY, 0644, errp);
        return fd < 0 ? -errno : fd;
    }
    error_propagate(errp, local_err);
    return ret;
}

static int coroutine_fn file_create(const BlockdevCreateOptionsFile *o,
                                    Error **errp)
{
    bool created;
    int fd, ret;

    if (o->preallocation == PREALLOC_MODE_METADATA) {
        error_setg(errp, "Unsupported preallocation mode: %s",
                   PreallocMode_str(o->preallocation));
        return -ENOTSUP;
    }
    if (o->size > BDRV_MAX_LENGTH) {
        error_setg(errp, "Image size too large: it must be %" PRId64
                   " bytes at most", BDRV_MAX_LENGTH);
        return -EFBIG;
    }
    fd = file_open_new(o->filename, &created, errp);
    if (fd < 0) {
        return fd;
    }
    ret = file_create_fd(fd, o, errp);
    if (close(fd) < 0 && ret == 0) {
        ret = -errno;
        error_setg_errno(errp, -ret, "Could not close the new file");
    }
    if (ret < 0 && created) {
        unlink(o->filename);
    }
    return ret;
}

int coroutine_fn file_co_create(BlockdevCreateOptions *options, Error **errp)
{
    return file_create(&options->u.file, errp);
}

int coroutine_fn file_co_create_opts(BlockDriver *drv, const char *filename,
                                     QOpts *opts, Error **errp)
{
    BlockdevCreateOptionsFile o = {
        .filename = (char *)file_strip_prefix(filename),
        .size = qopts_get_size(opts, "size", 0),
        .nocow = qopts_get_bool(opts, "nocow", false),
        .has_extent_size_hint = true,
        .extent_size_hint = qopts_get_size(opts, "extent_size_hint", 1 * MiB),
    };
    int prealloc;

    if (!qopts_take_enum(opts, "preallocation", PreallocMode_lookup.array,
                         PREALLOC_MODE_OFF, &prealloc, errp)) {
        return -EINVAL;
    }
    o.preallocation = prealloc;
    return file_create(&o, errp);
}

/* --- devices --- */

const QemuOptsList hdev_create_opts = {
    .name = "host-device-create-opts",
    .desc = {
        { "size", QEMU_OPT_SIZE, "Virtual disk size" },
        { "preallocation", QEMU_OPT_STRING,
          "Preallocation mode (allowed values: off)" },
        { NULL }
    },
};

/* A device has its size; the first sector may name another format. */
static int hdev_prepare(int fd, const char *filename, uint64_t size,
                        Error **errp)
{
    static const uint8_t zeroes[BDRV_SECTOR_SIZE];
    int64_t length;
    ssize_t n;
    int ret;

    ret = file_lock_new_file(fd, BLK_PERM_WRITE | BLK_PERM_RESIZE,
                             BLK_PERM_ALL & ~BLK_PERM_RESIZE, filename, errp);
    if (ret < 0) {
        return ret;
    }
    length = file_getlength_fd(fd);
    if (length < 0) {
        error_setg_errno(errp, -length, "Could not get the size of '%s'",
                         filename);
        return length;
    }
    if (size > (uint64_t)length) {
        error_setg(errp, "Cannot grow device files: this one has %" PRId64
                   " bytes", length);
        return -EINVAL;
    }
    length = MIN(length, (int64_t)sizeof(zeroes));
    if (length == 0) {
        return 0;               /* /dev/null, which fsync() refuses, too */
    }
    n = RETRY_ON_EINTR(pwrite(fd, zeroes, length, 0));
    if (n != length || RETRY_ON_EINTR(fsync(fd)) < 0) {
        ret = n >= 0 && n != length ? -EIO : -errno;
        error_setg_errno(errp, -ret, "Could not clear the first sector of "
                         "'%s'", filename);
        return ret;
    }
    return 0;
}

int coroutine_fn hdev_co_create_opts(BlockDriver *drv, const char *filename,
                                     QOpts *opts, Error **errp)
{
    uint64_t size = qopts_get_size(opts, "size", 0);
    int prealloc, fd, ret;

    filename = file_strip_prefix(filename);
    if (!qopts_take_enum(opts, "preallocation", PreallocMode_lookup.array,
                         PREALLOC_MODE_OFF, &prealloc, errp)) {
        return -EINVAL;
    }
    if (prealloc != PREALLOC_MODE_OFF) {
        error_setg(errp, "Unsupported preallocation mode '%s'",
                   PreallocMode_str(prealloc));
        return -ENOTSUP;
    }
    fd = qemu_open(filename, O_RDWR | O_BINARY, errp);
    if (fd < 0) {
        return -errno;
    }
    ret = hdev_prepare(fd, filename, size, errp);
    close(fd);
    return ret;
}
