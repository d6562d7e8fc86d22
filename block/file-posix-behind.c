/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Protocol driver "file": long writes into the page cache are given to the
 * disk while others are still being copied into it.
 *
 * The kernel begins by itself once a tenth of the memory is dirty, or after
 * 30 s.  A block job writes a whole disk and then flushes: the disk had nothing
 * to do at first, and what has accumulated is waited for at the end, by
 * everybody whose writes the kernel holds meanwhile.
 *
 * Nothing depends on it: errors are left to the next flush, which gets them
 * whoever began to write (sync_file_range(2) without the flags that wait does
 * not take note of them).  A file that nobody flushes (BDRV_O_NO_FLUSH,
 * "cache=unsafe") is left to the kernel.
 */
#include "qemu/osdep.h"
#include "file-posix.h"
#include "qemu/thread-pool.h"

/* One file's writes in order of their offsets are shorter: databases, logs. */
#define BEHIND_MIN_REQUEST (64 * KiB)
/* So much at once is worth a thread. */
#define BEHIND_STEP (8 * MiB)
/* So much at most, since a drained section waits for it. */
#define BEHIND_MAX (64 * MiB)
/* Several requests at once, and holes, keep writes this far from order. */
#define BEHIND_SLACK (16 * MiB)

typedef struct FileBehindRequest {
    BlockDriverState *bs;
    int fd;
    int64_t offset;
    int64_t bytes;
} FileBehindRequest;

/*
 * Under behind_lock: take a piece of what is to be written; false if none.
 * What is written again, or late, does not count; a late one is in the next
 * piece, which begins that much earlier.
 */
static bool behind_take(BDRVFileState *s, int64_t offset, int64_t bytes,
                        FileBehindRequest *req)
{
    if (offset < s->behind_start - BEHIND_SLACK ||
        offset > s->behind_end + BEHIND_SLACK) {
        s->behind_start = s->behind_end = offset;
    }
    s->behind_end = MAX(s->behind_end, offset + bytes);
    if (s->behind_busy || s->behind_end - s->behind_start < BEHIND_STEP) {
        return false;
    }
    req->offset = MAX(s->behind_start - BEHIND_SLACK, 0);
    s->behind_start = MIN(s->behind_end, s->behind_start + BEHIND_MAX);
    req->bytes = s->behind_start - req->offset;
    s->behind_busy = true;
    return true;
}

/* In a worker thread. */
static int behind_write(void *opaque)
{
    FileBehindRequest *req = opaque;

    sync_file_range(req->fd, req->offset, req->bytes, SYNC_FILE_RANGE_WRITE);
    return 0;
}

static void behind_done(void *opaque, int ret)
{
    g_autofree FileBehindRequest *req = opaque;
    BDRVFileState *s = req->bs->opaque;

    qemu_spin_lock(&s->behind_lock);
    s->behind_busy = false;
    qemu_spin_unlock(&s->behind_lock);
    bdrv_dec_in_flight(req->bs);
}

void coroutine_fn file_behind_note(BlockDriverState *bs, int64_t offset,
                                   int64_t bytes)
{
    BDRVFileState *s = bs->opaque;
    FileBehindRequest req = { .bs = bs, .fd = s->fd };
    bool begin;

    if (bytes < BEHIND_MIN_REQUEST || (s->open_flags & O_DIRECT) ||
        (bs->open_flags & BDRV_O_NO_FLUSH) || qatomic_read(&s->in_memory)) {
        return;
    }
    qemu_spin_lock(&s->behind_lock);
    begin = behind_take(s, offset, bytes, &req);
    qemu_spin_unlock(&s->behind_lock);
    if (begin) {
        FileBehindRequest *copy = g_memdup2(&req, sizeof(req));

        bdrv_inc_in_flight(bs);
        thread_pool_submit_aio(behind_write, copy, behind_done, copy);
    }
}
