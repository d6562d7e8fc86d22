/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Flush requests: merged, so that one at a time runs per node; and who has been
 * told of those that have failed.
 *
 * What is below may tell of an error only once, to whoever happened to flush.
 * So a node counts its failed flushes, as the kernel does for a file, and each
 * edge knows how many of them its parent has been told: a parent whose own
 * flush succeeds is told all the same of one that failed for somebody else
 * meanwhile, once.  docs/devel/write-errors.rst has the rules.
 */
#include "qemu/osdep.h"
#include "block-io.h"

/* --- errors, and who has been told --- */

void bdrv_note_flush_error(BlockDriverState *bs, int ret)
{
    qatomic_set(&bs->flush_error, ret);
    qatomic_set(&bs->flush_error_untold, true);
    qatomic_inc(&bs->flush_errors);
}

bool bdrv_child_has_flush_error(const BdrvChild *c)
{
    return c->flush_errors_told != qatomic_read(&c->bs->flush_errors);
}

void bdrv_child_init_flush_errors(BdrvChild *c, bool untold)
{
    /* An error that nobody has been told is for those who come. */
    untold |= qatomic_read(&c->bs->flush_error_untold);
    c->flush_errors_told = qatomic_read(&c->bs->flush_errors) - untold;
}

/* Whether there is one that the parent has not been told; now it is. */
static bool bdrv_child_take_flush_error(BdrvChild *c)
{
    unsigned now = qatomic_read(&c->bs->flush_errors);

    if (likely(qatomic_read(&c->flush_errors_told) == now)) {
        return false;
    }
    qatomic_set(&c->flush_errors_told, now);
    qatomic_set(&c->bs->flush_error_untold, false);
    return true;
}

/* A flush of @bs has failed: its parents are told of what is below by it. */
static void bdrv_flush_has_failed(BlockDriverState *bs, int ret)
{
    BdrvChild *c;

    /* A driver with a flush of its own has asked those that count. */
    if (!bs->drv->bdrv_co_flush) {
        QLIST_FOREACH(c, &bs->children, next) {
            bdrv_child_take_flush_error(c);
        }
    }
    bdrv_note_flush_error(bs, ret);
}

/* --- requests --- */

int coroutine_fn bdrv_co_flush_child(BdrvChild *child)
{
    BlockDriverState *bs = child->bs;
    int ret = bdrv_co_flush(bs);

    if (bdrv_child_take_flush_error(child) && ret == 0) {
        /* None of this node: it came with the edge. */
        ret = qatomic_read(&bs->flush_error) ?: -EIO;
    }
    return ret;
}

static int coroutine_fn bdrv_co_flush_children(BlockDriverState *bs)
{
    BdrvChild *child;

    QLIST_FOREACH(child, &bs->children, next) {
        /*
         * Also a child that nobody may write to any longer: the permission may
         * have been dropped after the last write.  One that was not written to
         * has nothing to do.
         */
        int ret = bdrv_co_flush_child(child);

        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* @gen: what has to be on the disk.  One at a time. */
static int coroutine_fn bdrv_co_flush_layer(BlockDriverState *bs, unsigned gen)
{
    unsigned now = qatomic_read(&bs->write_gen);
    int ret;

    if (bs->drv->bdrv_co_flush) {
        return bs->drv->bdrv_co_flush(bs);
    }
    bdrv_co_debug_event(bs, BLKDBG_FLUSH_TO_OS);
    if (bs->drv->bdrv_co_flush_to_os) {
        ret = bs->drv->bdrv_co_flush_to_os(bs);
        if (ret < 0) {
            return ret;
        }
    }
    /* cache=unsafe: the disk does not matter. */
    if (bs->open_flags & BDRV_O_NO_FLUSH) {
        return 0;
    }
    /*
     * Nothing written since a flush that another request has made: nothing to
     * do for this node; its children are asked all the same, since a driver
     * may have written to them on its own account.  The difference is right
     * when the counters wrap.
     */
    if ((int)(bs->flushed_gen - gen) >= 0) {
        return bdrv_co_flush_children(bs);
    }
    bdrv_co_debug_event(bs, BLKDBG_FLUSH_TO_DISK);
    if (bs->drv->bdrv_co_flush_to_disk) {
        ret = bs->drv->bdrv_co_flush_to_disk(bs);
        if (ret < 0) {
            return ret;
        }
    }
    ret = bdrv_co_flush_children(bs);
    if (ret < 0) {
        return ret;
    }
    /* All that was written before it began. */
    bs->flushed_gen = now;
    return 0;
}

int coroutine_fn bdrv_co_flush(BlockDriverState *bs)
{
    unsigned gen;
    int ret;

    if (!bs->drv) {
        return -ENOMEDIUM;
    }
    if (bdrv_is_read_only(bs)) {
        return 0;
    }

    bdrv_inc_in_flight(bs);
    qemu_spin_lock(&bs->reqs_lock);
    gen = qatomic_read(&bs->write_gen);
    /* One at a time: a later one may find that it has nothing to do. */
    while (bs->active_flush_req) {
        qemu_co_queue_wait(&bs->flush_queue, &bs->reqs_lock);
    }
    bs->active_flush_req = true;
    qemu_spin_unlock(&bs->reqs_lock);

    ret = bdrv_co_flush_layer(bs, gen);

    if (unlikely(ret < 0)) {
        /* Before the next one can succeed. */
        bdrv_flush_has_failed(bs, ret);
    }

    qemu_spin_lock(&bs->reqs_lock);
    bs->active_flush_req = false;
    /* Others may be about to wait; the one that is woken starts later. */
    qemu_co_queue_next(&bs->flush_queue);
    qemu_spin_unlock(&bs->reqs_lock);
    bdrv_dec_in_flight(bs);
    return ret;
}
