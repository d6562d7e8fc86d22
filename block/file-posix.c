/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Protocol drivers "file" (regular files) and "host_device" (block and
 * character devices): open, close, reopen, limits.
 */
#include "qemu/osdep.h"
#include "file-posix.h"
#include "qemu/cutils.h"

#include <sys/ioctl.h>
#include <linux/fs.h>

static const char *const file_mutable_opts[] = { "aio-max-batch", NULL };

static void file_parse_filename(const char *filename, QOpts *options,
                                Error **errp)
{
    qopts_set_str(options, "filename", file_strip_prefix(filename));
}

static void file_refresh_filename(BlockDriverState *bs)
{
    const char *name = qopts_get_str(bs->options, "filename");

    if (name) {
        g_free(bs->filename);
        g_free(bs->exact_filename);
        /* A name that opens the same file again. */
        bs->filename = g_strconcat(path_has_protocol(name) ? "./" : "", name,
                                   NULL);
        bs->exact_filename = g_strdup(bs->filename);
    }
}

static int file_flags_for(int bdrv_flags)
{
    return O_BINARY | O_CLOEXEC |
           (bdrv_flags & BDRV_O_RDWR ? O_RDWR : O_RDONLY) |
           (bdrv_flags & BDRV_O_NOCACHE ? O_DIRECT : 0);
}

/* --- engines --- */

/*
 * The engine that the options, or the flags of -i, ask for.  Its name may be
 * one that the schema of this build has not.
 */
static const FileEngine *file_take_engine(QOpts *options, int flags,
                                          Error **errp)
{
    g_autofree char *name = NULL;
    const FileEngine *engine;

    if (!qopts_take_str(options, "aio", flags & BDRV_O_NATIVE_AIO ? "native" :
                        flags & BDRV_O_IO_URING ? "io_uring" : "threads",
                        &name, errp)) {
        return NULL;
    }
    engine = file_find_engine(name);
    if (engine) {
        return engine;
    }
    if (!strcmp(name, "native") || !strcmp(name, "io_uring")) {
        error_setg(errp, "aio=%s was specified, but is not supported in this "
                   "build.", name);
    } else {
        error_setg(errp, "Parameter 'aio' does not accept value '%s' "
                   "(possible: threads, native, io_uring)", name);
    }
    return NULL;
}

/* --- open --- */

static int file_check_type(BlockDriverState *bs, BDRVFileState *s,
                           const char *filename, Error **errp)
{
    struct stat st;
    int ret;

    if (fstat(s->fd, &st) < 0) {
        ret = -errno;
        error_setg_errno(errp, -ret, "Could not stat file");
        return ret;
    }
    s->is_device = S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode);
    if (!strcmp(bs->drv->format_name, "file") && !S_ISREG(st.st_mode)) {
        error_setg(errp, "'%s' driver requires '%s' to be a regular file",
                   bs->drv->format_name, filename);
        return -EINVAL;
    }
    if (strcmp(bs->drv->format_name, "file") && !s->is_device) {
        error_setg(errp, "'%s' driver requires '%s' to be either a character "
                   "or block device", bs->drv->format_name, filename);
        return -EINVAL;
    }
    return 0;
}

/* Not every file system has O_DIRECT: say when that is what is missing. */
static int file_open_file(const char *filename, int open_flags, Error **errp)
{
    Error *local_err = NULL;
    int fd = qemu_open(filename, open_flags, &local_err);
    int saved_errno = errno;

    if (fd >= 0) {
        return fd;
    }
    if (saved_errno == EINVAL && (open_flags & O_DIRECT)) {
        fd = qemu_open(filename, open_flags & ~O_DIRECT, NULL);
    }
    if (fd >= 0) {
        close(fd);
        error_free(local_err);
        error_setg(errp, "Could not open '%s': filesystem does not support "
                   "O_DIRECT", filename);
        error_append_hint(errp, "Try cache.direct=off (-t writeback)\n");
    } else {
        error_propagate(errp, local_err);
    }
    errno = saved_errno;
    return -1;
}

static int file_open_fd(BlockDriverState *bs, BDRVFileState *s,
                        const char *filename, Error **errp)
{
    Error *local_err = NULL;

    s->fd = file_open_file(filename, s->open_flags, &local_err);
    if (s->fd < 0 && (errno == EACCES || errno == EROFS || errno == EPERM) &&
        (s->open_flags & O_RDWR) && (bs->open_flags & BDRV_O_AUTO_RDONLY)) {
        error_free(local_err);
        local_err = NULL;
        bs->open_flags &= ~BDRV_O_RDWR;
        s->open_flags = file_flags_for(bs->open_flags);
        s->fd = file_open_file(filename, s->open_flags, &local_err);
    }
    if (s->fd < 0) {
        error_propagate(errp, local_err);
        return -errno;
    }
    return 0;
}

static int file_set_locking(BDRVFileState *s, OnOffAuto locking, Error **errp)
{
    bool supported = file_locks_supported(s->fd);

    if (locking == ON_OFF_AUTO_ON && !supported) {
        error_setg(errp, "locking=on: this system has no open file "
                   "description locks");
        return -EINVAL;
    }
    s->use_lock = locking != ON_OFF_AUTO_OFF && supported;
    s->locked_shared_perm = BLK_PERM_ALL;
    return 0;
}

static int file_open_common(BlockDriverState *bs,
                            const BlockdevOptionsFile *o, Error **errp)
{
    BDRVFileState *s = bs->opaque;
    int ret;

    s->fd = -1;
    s->new_perm_fd = -1;
    qemu_spin_init(&s->areas_lock);
    qemu_spin_init(&s->behind_lock);
    if (!o->filename) {
        error_setg(errp, "The 'file' block driver requires a file name");
        return -EINVAL;
    }
    qopts_set_str(bs->options, "filename", o->filename);
    file_refresh_filename(bs);
    s->aio_max_batch = o->aio_max_batch;
    s->open_flags = file_flags_for(bs->open_flags);
    ret = file_open_fd(bs, s, o->filename, errp);
    if (ret < 0) {
        return ret;
    }
    ret = file_set_locking(s, o->locking, errp);
    if (ret == 0) {
        ret = file_check_type(bs, s, o->filename, errp);
    }
    if (ret == 0 && s->engine->open) {
        ret = s->engine->open(bs, bs->open_flags, errp);
    }
    if (ret < 0) {
        close(s->fd);
        return ret;
    }
    s->needs_alignment = s->open_flags & O_DIRECT;
    s->has_discard = true;
    file_threads_look(s);
    bs->supported_write_flags |= BDRV_REQ_FUA;
    bs->supported_zero_flags = BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK;
    if (!s->is_device) {
        /* What a file grows by is a hole, or allocated, and zeroes. */
        bs->supported_truncate_flags = BDRV_REQ_ZERO_WRITE;
    }
    return 0;
}

static int file_open(BlockDriverState *bs, QOpts *options, int flags,
                     Error **errp)
{
    BDRVFileState *s = bs->opaque;
    g_autoptr(BlockdevOptionsFile) o = NULL;

    s->engine = file_take_engine(options, flags, errp);
    if (!s->engine) {
        return -EINVAL;
    }
    o = QOPTS_TAKE(BlockdevOptionsFile, options, errp);
    return o ? file_open_common(bs, o, errp) : -EINVAL;
}

static void file_close(BlockDriverState *bs)
{
    BDRVFileState *s = bs->opaque;

    if (s->flush_failed) {
        error_report("'%s' is closed, but data that was written to it may be "
                     "lost: a flush has failed", bs->filename);
    }
    if (s->fd >= 0) {
        close(s->fd);
        s->fd = -1;
    }
    file_forget_areas(s);
}

/* --- limits --- */

/* The alignment of offsets and memory for O_DIRECT on @fd, from the kernel. */
static bool file_statx_dio(int fd, size_t *offset_align, size_t *mem_align)
{
#ifdef STATX_DIOALIGN
    struct statx stx;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
        (stx.stx_mask & STATX_DIOALIGN) && stx.stx_dio_offset_align) {
        *offset_align = stx.stx_dio_offset_align;
        *mem_align = stx.stx_dio_mem_align;
        return true;
    }
#endif
    return false;
}

/* The smallest read that works; 0 if none does. */
static size_t file_probe_align(int fd, char *buf, size_t max, bool memory)
{
    size_t align;

    for (align = memory ? 1 : 512; align <= max; align <<= 1) {
        size_t skip = memory && align != max ? align : 0;
        size_t len = memory ? max : align;

        if (pread(fd, buf + skip, len, 0) >= 0 || errno != EINVAL) {
            return memory ? MAX(align, 512) : align;
        }
    }
    return 0;
}

static int file_probe_dio(int fd, size_t *offset_align, size_t *mem_align,
                          Error **errp)
{
    const size_t max = MAX(qemu_real_host_page_size(), 4096);
    QEMU_AUTO_VFREE char *buf = qemu_memalign(max, 2 * max);

    if (file_statx_dio(fd, offset_align, mem_align)) {
        return 0;
    }
    *offset_align = file_probe_align(fd, buf, max, false);
    *mem_align = file_probe_align(fd, buf, max, true);
    if (!*offset_align || !*mem_align) {
        error_setg(errp, "Could not find working O_DIRECT alignment");
        error_append_hint(errp, "Try cache.direct=off\n");
        return -EINVAL;
    }
    return 0;
}

/* --- reopen --- */

typedef struct {
    int fd;                     /* -1: the old one stays */
    int open_flags;
    uint64_t aio_max_batch;
} BDRVFileReopenState;

static int file_reopen_prepare(BDRVReopenState *state, Error **errp)
{
    BlockDriverState *bs = state->bs;
    BDRVFileState *s = bs->opaque;
    BDRVFileReopenState *rs = g_new0(BDRVFileReopenState, 1);
    size_t offset_align = 1, mem_align = 1;

    state->opaque = rs;
    rs->fd = -1;
    rs->open_flags = file_flags_for(state->flags);
    if (!qopts_take_number(state->options, "aio-max-batch", 0,
                           &rs->aio_max_batch, errp)) {
        goto fail;
    }
    if (rs->open_flags != s->open_flags) {
        rs->fd = file_open_file(bs->exact_filename, rs->open_flags, errp);
        if (rs->fd < 0) {
            goto fail;
        }
        if (rs->open_flags & O_DIRECT &&
            file_probe_dio(rs->fd, &offset_align, &mem_align, errp) < 0) {
            close(rs->fd);
            goto fail;
        }
    }
    s->new_align = offset_align;
    /* The permissions that come next are for the new description. */
    s->new_perm_fd = rs->fd;
    return 0;

fail:
    g_free(rs);
    state->opaque = NULL;
    return -EINVAL;
}

static void file_reopen_commit(BDRVReopenState *state)
{
    BDRVFileState *s = state->bs->opaque;
    BDRVFileReopenState *rs = state->opaque;

    if (rs->fd >= 0) {
        close(s->fd);
        s->fd = rs->fd;
        s->open_flags = rs->open_flags;
        s->needs_alignment = s->open_flags & O_DIRECT;
        file_threads_look(s);
    }
    s->aio_max_batch = rs->aio_max_batch;
    s->new_perm_fd = -1;
    file_forget_areas(s);
    g_free(rs);
    state->opaque = NULL;
}

static void file_reopen_abort(BDRVReopenState *state)
{
    BDRVFileState *s = state->bs->opaque;
    BDRVFileReopenState *rs = state->opaque;

    s->new_perm_fd = -1;
    if (rs->fd >= 0) {
        close(rs->fd);
    }
    g_free(rs);
    state->opaque = NULL;
}

/* A device makes zeroes and discards in whole blocks, also without O_DIRECT. */
static size_t file_zeroes_align(const BDRVFileState *s, size_t offset_align)
{
    int block;

    return s->is_device && ioctl(s->fd, BLKSSZGET, &block) == 0 ?
           MAX((size_t)block, offset_align) : offset_align;
}

static void file_refresh_limits(BlockDriverState *bs, Error **errp)
{
    BDRVFileState *s = bs->opaque;
    size_t offset_align = 1, mem_align = 1;

    if (s->needs_alignment &&
        file_probe_dio(s->fd, &offset_align, &mem_align, errp) < 0) {
        return;
    }
    bs->bl.request_alignment = offset_align;
    bs->bl.min_mem_alignment = mem_align;
    bs->bl.opt_mem_alignment = MAX(mem_align, qemu_real_host_page_size());
    bs->bl.max_iov = IOV_MAX;
    bs->bl.pwrite_zeroes_alignment = file_zeroes_align(s, offset_align);
    bs->bl.pdiscard_alignment = bs->bl.pwrite_zeroes_alignment;
}

static int file_has_zero_init(BlockDriverState *bs)
{
    BDRVFileState *s = bs->opaque;

    return !s->is_device;
}

/* Devices are not for "file". */
static int hdev_probe_device(const char *filename)
{
    struct stat st;

    if (stat(file_strip_prefix(filename), &st) == 0 &&
        (S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode))) {
        return 100;
    }
    return g_str_has_prefix(filename, "host_device:") ? 50 : 0;
}

static BlockDriver bdrv_file = {
    .format_name = "file",
    .protocol_name = "file",
    .instance_size = sizeof(BDRVFileState),
    .create_opts = &file_create_opts,
    .mutable_opts = file_mutable_opts,
    .bdrv_parse_filename = file_parse_filename,
    .bdrv_refresh_filename = file_refresh_filename,
    .bdrv_open = file_open,
    .bdrv_close = file_close,
    .bdrv_reopen_prepare = file_reopen_prepare,
    .bdrv_reopen_commit = file_reopen_commit,
    .bdrv_reopen_abort = file_reopen_abort,
    .bdrv_co_create = file_co_create,
    .bdrv_co_create_opts = file_co_create_opts,
    .bdrv_co_preadv_part = file_co_preadv_part,
    .bdrv_co_pwritev_part = file_co_pwritev_part,
    .bdrv_co_pwrite_zeroes = file_co_pwrite_zeroes,
    .bdrv_co_pdiscard = file_co_pdiscard,
    .bdrv_co_copy_range_from = file_co_copy_range_from,
    .bdrv_co_copy_range_to = file_co_copy_range_to,
    .bdrv_co_flush_to_disk = file_co_flush_to_disk,
    .bdrv_co_truncate = file_co_truncate,
    .bdrv_co_getlength = file_co_getlength,
    .bdrv_co_get_allocated_file_size = file_co_get_allocated_file_size,
    .bdrv_get_specific_info = file_get_specific_info,
    .bdrv_co_block_status = file_co_block_status,
    .bdrv_refresh_limits = file_refresh_limits,
    .bdrv_has_zero_init = file_has_zero_init,
    .bdrv_check_perm = file_check_perm,
    .bdrv_set_perm = file_set_perm,
    .bdrv_abort_perm_update = file_abort_perm_update,
};

static BlockDriver bdrv_host_device;

static void bdrv_file_init(void)
{
    bdrv_host_device = bdrv_file;
    bdrv_host_device.format_name = "host_device";
    bdrv_host_device.protocol_name = "host_device";
    bdrv_host_device.create_opts = &hdev_create_opts;
    bdrv_host_device.bdrv_co_create = NULL;
    bdrv_host_device.bdrv_co_create_opts = hdev_co_create_opts;
    bdrv_host_device.bdrv_probe_device = hdev_probe_device;
    bdrv_host_device.bdrv_get_specific_info = NULL;
    bdrv_register(&bdrv_file);
    bdrv_register(&bdrv_host_device);
}

block_init(bdrv_file_init);
