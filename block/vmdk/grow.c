/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The length of a file that grows, and the loss of power.
 *
 * A grain is appended, and then a table that is already in the file says so.
 * If power is lost, the disk may have the new table, but not the new length:
 * the entry points behind the end of the file, where the next grain would go.
 * So the file is made longer in large steps, and each step is flushed before
 * any grain is put there.  What is not used is cut off when the image is
 * closed; if that does not happen, it is a hole.
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"
#include "trace/trace-block.h"

/* Each step is a flush; a kill leaves a hole as long as one. */
#define MIN_STEP (256 * MiB)
#define MAX_STEP (4 * GiB)

static int64_t step_end(const VmdkExtent *e, int64_t end)
{
    int64_t step = MIN(MAX(MIN_STEP, end / 4), MAX_STEP);

    return MIN(end + ROUND_DOWN(step, e->grain_bytes),
               (int64_t)UINT32_MAX << BDRV_SECTOR_BITS);
}

static int coroutine_fn set_length(VmdkExtent *e, int64_t bytes)
{
    int ret = bdrv_co_truncate(e->file, bytes, false, PREALLOC_MODE_OFF, 0,
                               NULL);

    trace_vmdk_grow(e, bytes, ret);
    e->grown |= ret == 0;
    return ret;
}

int coroutine_fn vmdk_grow(VmdkExtent *e, int64_t end)
{
    int64_t target = step_end(e, end);
    int ret = 0;

    if (likely(end <= e->safe_bytes) || e->file->bs->drv->grows_ahead) {
        return 0;
    }
    qemu_co_mutex_lock(&e->grow_lock);
    if (end > e->safe_bytes) {
        /* A step can be too long for the file system, or for the user. */
        if (set_length(e, target) < 0 && set_length(e, end) < 0) {
            /* The write will tell, if it has to grow the file. */
            target = end;
        }
        ret = bdrv_co_flush(e->file->bs);
        if (ret == 0) {
            e->safe_bytes = MAX(e->safe_bytes, target);
        }
    }
    qemu_co_mutex_unlock(&e->grow_lock);
    return ret;
}

void vmdk_trim(VmdkExtent *e)
{
    int64_t used;

    if (!e->grown) {
        return;
    }
    used = (int64_t)e->next_sector << BDRV_SECTOR_BITS;
    /* It may be too long: nothing depends on it. */
    if (bdrv_truncate(e->file, used, true, PREALLOC_MODE_OFF, 0, NULL) == 0) {
        e->grown = false;
        e->safe_bytes = MIN(e->safe_bytes, used);
    }
}
