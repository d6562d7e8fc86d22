/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Protocol drivers "file" and "host_device": what their files share.
 *
 *   file-posix.c        open, close, reopen, limits, the driver tables
 *   file-posix-io.c     reads, writes and flushes, to the engine
 *   file-posix-threads.c, file-posix-native.c, file-posix-uring.c       engines
 *   file-posix-behind.c long writes go to the disk early
 *   file-posix-size.c   create, truncate, length, block status
 *   file-posix-lock.c   locks that other programs see
 */
#ifndef FILE_POSIX_H
#define FILE_POSIX_H

#include "block/block_int.h"
#include "block/raw-aio.h"
#include "qemu/thread.h"

/*
 * How reads, writes and flushes get to the kernel.  In coroutines of any
 * AioContext, several at once, unless told otherwise; 0 or -errno.
 */
typedef struct FileEngine {
    const char *name;           /* as in the option "aio" */
    /* Optional.  Main thread; the file is open. */
    int (*open)(BlockDriverState *bs, int bdrv_flags, Error **errp);
    /*
     * @type is QEMU_AIO_READ or _WRITE, with QEMU_AIO_MISALIGNED for threads
     * only.  @flags: BDRV_REQ_FUA.  A short read at the end of the file has
     * been filled with zeroes.  Batches requests by defer_call().
     */
    int coroutine_fn (*submit)(BlockDriverState *bs, int64_t offset,
                               int64_t bytes, QEMUIOVector *qiov, int type,
                               BdrvRequestFlags flags);
    /* fdatasync() of what has been written. */
    int coroutine_fn (*flush)(BlockDriverState *bs);
} FileEngine;

extern const FileEngine file_engine_threads;
extern const FileEngine file_engine_native;     /* with CONFIG_LINUX_AIO */
extern const FileEngine file_engine_io_uring;   /* CONFIG_LINUX_IO_URING */
/* NULL if this build has no such engine. */
const FileEngine *file_find_engine(const char *name);
/*
 * There is no @engine ("linux aio") in this context, because of @err, which is
 * consumed: say so once per node.
 */
void file_tell_fallback(BlockDriverState *bs, const char *engine, Error *err);

typedef struct FileAreas FileAreas;

typedef struct BDRVFileState {
    int fd;
    int open_flags;             /* of open(2) */
    bool is_device;             /* block or character */
    const FileEngine *engine;
    bool linux_aio_fdsync;      /* not known to fail; atomic */
    bool fallback_told;         /* a warning was given; atomic */
    bool needs_alignment;       /* O_DIRECT */
    bool page_cache_inconsistent;   /* after a failed flush; atomic */
    bool flush_failed;          /* one of them; atomic */
    bool has_discard;           /* cleared by the first refusal; atomic */
    uint64_t aio_max_batch;
    /* Reads of what is in the page cache, see threads_submit(); all atomic. */
    bool has_nowait;            /* with a page cache, and not refused */
    unsigned cached_miss;       /* how long to pause after the next miss */
    unsigned cached_pause;      /* reads that are still not to be tried */
    bool in_memory;             /* the file is: reads and writes are copies */

    bool use_lock;
    uint64_t locked_perm;       /* of our locks on fd */
    uint64_t locked_shared_perm;
    int new_perm_fd;            /* while a reopen changes fd; -1 otherwise */
    uint32_t new_align;         /* request_alignment of new_perm_fd */

    QemuSpin areas_lock;
    FileAreas *areas;           /* see file-posix-status.c */

    /* Written, not given to the disk yet: see file-posix-behind.c. */
    QemuSpin behind_lock;
    int64_t behind_start, behind_end;
    bool behind_busy;
} BDRVFileState;

/* Work for a worker thread. */
typedef struct FilePosixAIOData {
    BlockDriverState *bs;
    int fd;
    int type;                   /* QEMU_AIO_* */
    int64_t offset;
    int64_t bytes;
    struct iovec *iov;
    int niov;
    bool fua;                   /* flush when written */
    bool flush_failed;          /* that is why it failed */
    int dst_fd;                 /* of a copy from @fd */
    int64_t dst_offset;
    PreallocMode prealloc;
    Error **errp;
} FilePosixAIOData;

/* The aligned buffer for a request that O_DIRECT does not take as it is. */
#define FILE_BOUNCE_BYTES (1 * MiB)

/* A copy within memory that is longer is better done by several threads. */
#define FILE_COPY_MAX_BYTES (64 * KiB)

/* file-posix-threads.c: note what the engine may do without a thread. */
void file_threads_look(BDRVFileState *s);

/* file-posix-io.c */
/* Flush by the engine, and note a failure. */
int coroutine_fn file_do_flush(BlockDriverState *bs);
/* Any thread. */
void file_note_flush_failure(BlockDriverState *bs, int ret);
int coroutine_fn file_co_preadv_part(BlockDriverState *bs, int64_t offset,
                                     int64_t bytes, QEMUIOVector *qiov,
                                     size_t qiov_offset,
                                     BdrvRequestFlags flags);
int coroutine_fn file_co_pwritev_part(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, QEMUIOVector *qiov,
                                      size_t qiov_offset,
                                      BdrvRequestFlags flags);
int coroutine_fn file_co_flush_to_disk(BlockDriverState *bs);

/* file-posix-threads.c */
int coroutine_fn file_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset,
                                       int64_t bytes, BdrvRequestFlags flags);
int coroutine_fn file_co_pdiscard(BlockDriverState *bs, int64_t offset,
                                  int64_t bytes);
int coroutine_fn file_co_copy_range_from(BlockDriverState *bs, BdrvChild *src,
                                         int64_t src_offset, BdrvChild *dst,
                                         int64_t dst_offset, int64_t bytes,
                                         BdrvRequestFlags read_flags,
                                         BdrvRequestFlags write_flags);
int coroutine_fn file_co_copy_range_to(BlockDriverState *bs, BdrvChild *src,
                                       int64_t src_offset, BdrvChild *dst,
                                       int64_t dst_offset, int64_t bytes,
                                       BdrvRequestFlags read_flags,
                                       BdrvRequestFlags write_flags);

/*
 * file-posix-behind.c: so much has been written, maybe into the page cache.
 * Does not wait; drained sections of @bs wait for what it begins.
 */
void coroutine_fn file_behind_note(BlockDriverState *bs, int64_t offset,
                                   int64_t bytes);

/* file-posix-size.c */
extern const QemuOptsList file_create_opts;
int coroutine_fn file_co_create(BlockdevCreateOptions *options, Error **errp);
int coroutine_fn file_co_create_opts(BlockDriver *drv, const char *filename,
                                     QOpts *opts, Error **errp);
extern const QemuOptsList hdev_create_opts;
int coroutine_fn hdev_co_create_opts(BlockDriver *drv, const char *filename,
                                     QOpts *opts, Error **errp);
int coroutine_fn file_co_truncate(BlockDriverState *bs, int64_t offset,
                                  bool exact, PreallocMode prealloc,
                                  BdrvRequestFlags flags, Error **errp);
int64_t coroutine_fn file_co_getlength(BlockDriverState *bs);
int64_t coroutine_fn file_co_get_allocated_file_size(BlockDriverState *bs);
struct json_object *file_get_specific_info(BlockDriverState *bs, Error **errp);

/* Strip "file:" and the like. */
const char *file_strip_prefix(const char *filename);

/* file-posix-status.c */
int coroutine_fn file_co_block_status(BlockDriverState *bs, bool want_zero,
                                      int64_t offset, int64_t bytes,
                                      int64_t *pnum, int64_t *map,
                                      BlockDriverState **file);
/* Somebody may write from now on.  No request is running. */
void file_forget_areas(BDRVFileState *s);

/* file-posix-lock.c */
/* Whether both are descriptors of one file; false if that cannot be told. */
bool file_is_same_file(int fd1, int fd2);
/* Whether there are locks for the file that @fd is. */
bool file_locks_supported(int fd);
int file_check_perm(BlockDriverState *bs, uint64_t perm, uint64_t shared,
                    Error **errp);
void file_set_perm(BlockDriverState *bs, uint64_t perm, uint64_t shared);
void file_abort_perm_update(BlockDriverState *bs);
/*
 * Would @perm and @shared on @fd get along with the locks of others?  Takes
 * and leaves locks on @fd as long as it is open.
 */
int file_lock_new_file(int fd, uint64_t perm, uint64_t shared,
                       const char *filename, Error **errp);

#endif
