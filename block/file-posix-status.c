/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Protocol driver "file": block status.
 *
 * lseek() may wait for the file system, so a worker thread does that.  Who goes
 * through a file that is only read gets more than was asked for: the worker
 * looks on for a short time, and what it has found answers the next questions
 * without a thread.  It is soon forgotten, since another program may write.  In
 * a file that is written, too, only data after a hole is looked at as well: the
 * block layer remembers data anyway (bdrv_status_remember()).
 */
#include "qemu/osdep.h"
#include "block-io.h"
#include "file-posix.h"
#include "qemu/thread-pool.h"
#include "qemu/timer.h"

/* How many data areas and holes, and for how long, a worker looks at. */
#define AHEAD_MAX 64
#define AHEAD_NS (200 * SCALE_US)
/* An answer from memory is that old at most. */
#define AHEAD_VALID_NS (20 * SCALE_MS)

/* Data, or a hole, from @start to @end. */
typedef struct FileArea {
    int64_t start;
    int64_t end;
    bool data;
} FileArea;

struct FileAreas {
    int64_t found_ns;
    int64_t end;                /* of the area that was asked for last */
    unsigned count;
    FileArea areas[AHEAD_MAX];  /* next to each other */
};

/* A question to a worker: @max areas from @offset on. */
typedef struct FileStatus {
    int fd;
    int64_t offset;
    unsigned max;
    FileArea next;              /* data after a hole; else end is 0 */
    FileAreas found;
} FileStatus;

/* The area that begins at @start.  -ENXIO: a hole up to the end of the file. */
static int find_area(int fd, off_t start, FileArea *area)
{
    off_t end = lseek(fd, start, SEEK_DATA);
    bool data = end == start;

    if (data) {
        end = lseek(fd, start, SEEK_HOLE);
    }
    if (end < 0) {
        return -errno;
    }
    if (end <= start) {
        /* The file has changed in between. */
        return -EIO;
    }
    *area = (FileArea) { .start = start, .end = end, .data = data };
    return 0;
}

static int handle_block_status(void *opaque)
{
    FileStatus *fs = opaque;
    FileAreas *found = &fs->found;
    int64_t until = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + AHEAD_NS;
    int64_t offset = fs->offset;
    int ret;

    do {
        ret = find_area(fs->fd, offset, &found->areas[found->count]);
        if (ret < 0) {
            return found->count ? 0 : ret;
        }
        offset = found->areas[found->count++].end;
    } while (found->count < fs->max &&
             qemu_clock_get_ns(QEMU_CLOCK_REALTIME) < until);
    if (fs->max == 1 && !found->areas[0].data &&
        (find_area(fs->fd, offset, &fs->next) < 0 || !fs->next.data)) {
        fs->next.end = 0;
    }
    return 0;
}

/* Whether the area at @offset is known from before; else how far to look. */
static bool find_known(BDRVFileState *s, int64_t offset, FileArea *area,
                       unsigned *max)
{
    int64_t now = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    FileAreas *known;
    bool found = false;
    unsigned i;

    *max = 1;
    qemu_spin_lock(&s->areas_lock);
    known = s->areas;
    if (known) {
        *max = offset >= known->end ? AHEAD_MAX : 1;
        if (now - known->found_ns > AHEAD_VALID_NS) {
            known->count = 0;
        }
        for (i = 0; i < known->count && !found; i++) {
            found = offset >= known->areas[i].start &&
                    offset < known->areas[i].end;
            *area = known->areas[i];
        }
        known->end = found ? area->end : known->end;
    }
    qemu_spin_unlock(&s->areas_lock);
    return found;
}

/* Takes over @found; NULL: nothing is known. */
static void replace_areas(BDRVFileState *s, FileAreas *found)
{
    FileAreas *old;

    qemu_spin_lock(&s->areas_lock);
    old = s->areas;
    s->areas = found;
    qemu_spin_unlock(&s->areas_lock);
    g_free(old);
}

static void remember(BDRVFileState *s, FileAreas *areas)
{
    FileAreas *found = g_try_new(FileAreas, 1);

    areas->found_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    areas->end = areas->areas[0].end;
    if (found) {
        *found = *areas;
        replace_areas(s, found);
    }
}

void file_forget_areas(BDRVFileState *s)
{
    replace_areas(s, NULL);
}

/* The area at @offset.  0 or -errno. */
static int coroutine_fn get_area(BlockDriverState *bs, int64_t offset,
                                 FileArea *area)
{
    BDRVFileState *s = bs->opaque;
    /* Where others may write there is something new at any time. */
    bool only_read = bdrv_is_read_only(bs) && !bs->force_share;
    FileStatus fs;
    int ret;

    /* The room for areas ahead is not cleared for one that is asked for. */
    fs.fd = s->fd;
    fs.offset = offset;
    fs.max = 1;
    fs.next.end = 0;
    fs.found.count = 0;
    if (only_read && find_known(s, offset, area, &fs.max)) {
        return 0;
    }
    ret = qemu_get_current_aio_context()->one_request ?
          handle_block_status(&fs) :
          thread_pool_submit_co(handle_block_status, &fs);
    if (ret == 0) {
        *area = fs.found.areas[0];
        if (only_read) {
            remember(s, &fs.found);
        }
        if (fs.next.end) {
            int64_t align = bs->bl.request_alignment;
            int64_t start = QEMU_ALIGN_DOWN(fs.next.start, align);

            bdrv_status_remember(bs, start,
                                 QEMU_ALIGN_UP(fs.next.end, align) - start);
        }
    }
    return ret;
}

int coroutine_fn file_co_block_status(BlockDriverState *bs, bool want_zero,
                                      int64_t offset, int64_t bytes,
                                      int64_t *pnum, int64_t *map,
                                      BlockDriverState **file)
{
    BDRVFileState *s = bs->opaque;
    int64_t align = bs->bl.request_alignment;
    FileArea area;
    int ret;

    *map = offset;
    *file = bs;
    *pnum = bytes;
    if (!want_zero || s->is_device) {
        return BDRV_BLOCK_DATA | BDRV_BLOCK_OFFSET_VALID;
    }
    ret = get_area(bs, offset, &area);
    if (ret == -ENXIO) {
        return BDRV_BLOCK_ZERO | BDRV_BLOCK_OFFSET_VALID;
    }
    if (ret < 0) {
        /* Not told is "data". */
        return BDRV_BLOCK_DATA | BDRV_BLOCK_OFFSET_VALID;
    }
    *pnum = area.end - offset;
    if (!area.data && *pnum >= align) {
        *pnum = QEMU_ALIGN_DOWN(*pnum, align);
        return BDRV_BLOCK_ZERO | BDRV_BLOCK_OFFSET_VALID;
    }
    /* A block with a hole, or the end of the file, in it counts as data. */
    *pnum = QEMU_ALIGN_UP(*pnum, align);
    return BDRV_BLOCK_DATA | BDRV_BLOCK_OFFSET_VALID;
}
