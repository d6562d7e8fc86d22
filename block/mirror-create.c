/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The mirror job and the commit of an image that is in use: how they are made.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "mirror-int.h"
#include "qemu/cutils.h"
#include "system/block-backend.h"

#define MIRROR_MAX_IN_FLIGHT 16
#define MIRROR_DEFAULT_BUF_SIZE (16 * MiB)
#define MIRROR_MAX_IO_BYTES (1 * MiB)

/* --- checks --- */

bool mirror_shows_same(BlockDriverState *bs, BlockDriverState *below)
{
    while (bs && bs != below) {
        bs = bdrv_filter_bs(bs);
    }
    return bs;
}

static bool mirror_can_replace(BlockDriverState *bs, const char *name,
                               Error **errp)
{
    BlockDriverState *to_replace = bdrv_find_node(name);

    if (!to_replace) {
        error_setg(errp, "Failed to find node with node-name='%s'", name);
        return false;
    }
    if (mirror_shows_same(bs, to_replace)) {
        return true;
    }
    error_setg(errp, "Cannot replace '%s' by a node mirrored from '%s', "
               "because it cannot be guaranteed that doing so would not lead "
               "to an abrupt change of visible data", name,
               bdrv_get_node_name(bs));
    return false;
}

/* False with @errp set if there can be no such job; nothing is changed. */
static bool mirror_check(BlockDriverState *bs, BlockDriverState *target,
                         uint32_t granularity, bool is_commit,
                         const MirrorJobOptions *o, Error **errp)
{
    int64_t len, target_len;

    if (!is_power_of_2(granularity)) {
        error_setg(errp, "Granularity must be a power of 2");
    } else if (o->buf_size < 0) {
        error_setg(errp, "Invalid parameter 'buf-size'");
    } else if (bs == target) {
        error_setg(errp, "Can't mirror node into itself");
    } else if (o->replaces && !mirror_can_replace(bs, o->replaces, errp)) {
        return false;
    } else if (block_job_blocks(bs, errp) || block_job_blocks(target, errp) ||
               (!is_commit && bdrv_is_backing_hd(target, errp))) {
        return false;
    } else {
        len = bdrv_getlength(bs);
        target_len = bdrv_getlength(target);
        if (len < 0 || target_len < 0) {
            error_setg_errno(errp, len < 0 ? -len : -target_len,
                             "Could not get the length of the %s",
                             len < 0 ? "source" : "target");
        } else if (len != target_len && !(is_commit && len < target_len)) {
            error_setg(errp, "Source and target image have different sizes");
        } else {
            return true;
        }
    }
    return false;
}

/* --- creation --- */

/* Put the filter above @bs, with @target as its other child. */
static BlockDriverState *mirror_append_top(BlockDriverState *bs,
                                           BlockDriverState *target,
                                           const MirrorJobOptions *o,
                                           BdrvChild **target_child,
                                           bool is_commit, Error **errp)
{
    int flags = (bdrv_is_writable(bs) ? BDRV_O_RDWR : 0) | BDRV_O_UNMAP;
    BlockDriverState *top_bs;
    MirrorTopState *top;

    top_bs = bdrv_new_open_driver(&bdrv_mirror_top, o->filter_node_name, flags,
                                  errp);
    if (!top_bs) {
        return NULL;
    }
    top = top_bs->opaque;
    top->is_commit = is_commit;
    top_bs->implicit = !o->filter_node_name;
    top_bs->never_freeze = true;
    top_bs->supported_write_flags = BDRV_REQ_WRITE_UNCHANGED |
        (BDRV_REQ_FUA & bs->supported_write_flags);
    top_bs->supported_zero_flags = BDRV_REQ_WRITE_UNCHANGED |
        ((BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK) &
         bs->supported_zero_flags);
    if (bdrv_append(top_bs, bs, errp) < 0) {
        bdrv_unref(top_bs);
        return NULL;
    }
    bdrv_ref(target);
    *target_child = bdrv_attach_child(top_bs, target, "target", &child_of_bds,
                                      BDRV_CHILD_DATA |
                                      (is_commit ? BDRV_CHILD_COMMIT : 0),
                                      errp);
    if (!*target_child) {
        bdrv_drop_filter(top_bs, &error_abort);
        bdrv_unref(top_bs);
        return NULL;
    }
    return top_bs;
}

static void mirror_drop_top(BlockDriverState *top_bs, BdrvChild *target)
{
    bdrv_unref_child(top_bs, target);
    bdrv_drop_filter(top_bs, &error_abort);
    bdrv_unref(top_bs);
}

/* A commit writes to an image that has its backing file already. */
static bool mirror_is_partial(bool is_commit, const MirrorJobOptions *o)
{
    return !is_commit && o->sync != MIRROR_SYNC_MODE_FULL;
}

/*
 * Whether @target gets its backing file later: until then what it gets of a
 * cluster has zeroes beside it.
 */
static bool mirror_target_lacks_backing(BlockDriverState *target,
                                        bool is_commit,
                                        const MirrorJobOptions *o)
{
    return mirror_is_partial(is_commit, o) &&
           !bdrv_skip_filters(target)->backing;
}

/* Bytes of a chunk: as the user says, but clusters are copied as a whole. */
static uint32_t mirror_granularity(BlockDriverState *target, bool is_commit,
                                   const MirrorJobOptions *o)
{
    uint32_t granularity = o->granularity ? o->granularity :
                           bdrv_get_default_bitmap_granularity(target);
    BlockDriverInfo bdi;

    if (mirror_target_lacks_backing(target, is_commit, o) &&
        bdrv_get_info(target, &bdi) == 0) {
        granularity = MAX(granularity, bdi.cluster_size);
    }
    return granularity;
}

/* False with @errp set: without memory. */
static bool mirror_create_bitmaps(MirrorBlockJob *s, const MirrorJobOptions *o,
                                  Error **errp)
{
    bool full = o->sync == MIRROR_SYNC_MODE_FULL;
    bool parts = mirror_target_lacks_backing(s->target->bs, s->is_commit, o);
    int bits = ctz64(s->granularity);

    if (full) {
        s->was_zero = o->target_is_zero;
        s->written = hbitmap_try_alloc(s->len, bits);
    }
    if (parts) {
        s->whole = hbitmap_try_alloc(s->len, bits);
    }
    if ((full && !s->written) || (parts && !s->whole)) {
        error_setg(errp, "no memory for the bitmaps of the job");
        return false;
    }
    return true;
}

static void mirror_set_options(MirrorBlockJob *s, uint32_t granularity,
                               const MirrorJobOptions *o)
{
    int64_t buf_size = o->buf_size ? o->buf_size : MIRROR_DEFAULT_BUF_SIZE;

    s->replaces = g_strdup(o->replaces);
    s->sync_mode = o->sync;
    s->on_source_error = o->on_source_error;
    s->on_target_error = o->on_target_error;
    s->source_backing = o->source_backing;
    s->target_is_partial = mirror_is_partial(s->is_commit, o);
    s->unmap = o->unmap && !s->target_is_partial;
    s->granularity = granularity;
    s->max_io = MAX(QEMU_ALIGN_DOWN(MIN(buf_size, MIRROR_MAX_IO_BYTES),
                                    (int64_t)granularity),
                    (int64_t)granularity);
    s->buffers.size = s->max_io;
    copy_window_init(&s->window);
    s->max_in_flight = MIN(MAX(buf_size / s->max_io, 1), MIRROR_MAX_IN_FLIGHT);
    s->active = o->copy_mode == MIRROR_COPY_MODE_WRITE_BLOCKING;
}

/*
 * Hold the nodes.  A commit changes what nodes between read as: their users
 * must not rely on that.
 */
static int mirror_add_nodes(MirrorBlockJob *s, BlockDriverState *bs,
                            BlockDriverState *target, Error **errp)
{
    int ret = block_job_add_bdrv(&s->common, "source", bs, 0, BLK_PERM_ALL,
                                 errp);

    if (ret == 0) {
        ret = block_job_add_bdrv(&s->common, "target", target, 0, BLK_PERM_ALL,
                                 errp);
    }
    if (ret == 0 && s->is_commit) {
        ret = block_job_add_chain(&s->common, bdrv_filter_or_cow_bs(bs),
                                  target, BLK_PERM_WRITE |
                                  BLK_PERM_WRITE_UNCHANGED, errp);
    }
    return ret;
}

static BlockJob *mirror_create(const BlockJobDriver *driver,
                               BlockDriverState *bs, BlockDriverState *target,
                               BlockDriverState *base, bool is_commit,
                               const MirrorJobOptions *o, Error **errp)
{
    uint32_t granularity = mirror_granularity(target, is_commit, o);
    BdrvDirtyBitmap *bitmap;
    BlockDriverState *top_bs;
    BdrvChild *target_child;
    MirrorBlockJob *s;

    GLOBAL_STATE_CODE();
    if (!mirror_check(bs, target, granularity, is_commit, o, errp)) {
        return NULL;
    }
    top_bs = mirror_append_top(bs, target, o, &target_child, is_commit, errp);
    if (!top_bs) {
        return NULL;
    }
    bitmap = bdrv_create_dirty_bitmap(top_bs, granularity, NULL, errp);
    if (!bitmap) {
        mirror_drop_top(top_bs, target_child);
        return NULL;
    }
    /* The filter sets its bits: what it writes to both is not missing. */
    bdrv_disable_dirty_bitmap(bitmap);
    s = block_job_create(o->job_id, driver, o->txn, top_bs, 0, BLK_PERM_ALL,
                         o->speed, o->flags, o->cb, o->opaque, errp);
    if (!s) {
        bdrv_release_dirty_bitmap(bitmap);
        mirror_drop_top(top_bs, target_child);
        return NULL;
    }
    qemu_mutex_init(&s->lock);
    QLIST_INIT(&s->ops);
    s->mirror_top_bs = top_bs;
    s->target = target_child;
    s->dirty_bitmap = bitmap;
    s->base = base;
    s->is_commit = is_commit;
    s->len = bdrv_getlength(bs);
    mirror_set_options(s, granularity, o);
    if (!mirror_create_bitmaps(s, o, errp) ||
        mirror_add_nodes(s, bs, target, errp) < 0) {
        mirror_exit(s, false);
        job_early_fail(&s->common.job);
        return NULL;
    }
    if (is_commit) {
        int ret = bdrv_announce_base_change(s->target,
                                            bdrv_find_overlay(bs, target));

        if (ret < 0) {
            error_setg_errno(errp, -ret, "Could not prepare '%s' for the "
                             "commit", target->filename);
            mirror_exit(s, false);
            job_early_fail(&s->common.job);
            return NULL;
        }
    }
    bdrv_drained_begin(top_bs);
    ((MirrorTopState *)top_bs->opaque)->job = s;
    bdrv_drained_end(top_bs);
    return &s->common;
}

BlockJob *mirror_job_create(BlockDriverState *bs, BlockDriverState *target,
                            const MirrorJobOptions *o, Error **errp)
{
    BlockDriverState *base = NULL;

    if (o->sync != MIRROR_SYNC_MODE_FULL && o->sync != MIRROR_SYNC_MODE_TOP &&
        o->sync != MIRROR_SYNC_MODE_NONE) {
        error_setg(errp, "Sync mode '%s' not supported",
                   MirrorSyncMode_str(o->sync));
        return NULL;
    }
    if (o->sync == MIRROR_SYNC_MODE_TOP) {
        base = bdrv_backing_chain_next(bs);
    }
    return mirror_create(&mirror_job_driver, bs, target, base, false, o, errp);
}

/* A base that is shorter than what is committed grows; a longer one stays. */
static int commit_grow_base(BlockDriverState *bs, BlockDriverState *base,
                            Error **errp)
{
    int64_t len = bdrv_getlength(bs), base_len = bdrv_getlength(base);
    BlockBackend *blk;
    int ret;

    if (len < 0 || base_len < 0 || base_len >= len) {
        return 0;               /* mirror_check() looks at errors */
    }
    blk = blk_new(bdrv_get_aio_context(base), BLK_PERM_WRITE | BLK_PERM_RESIZE,
                  BLK_PERM_ALL);
    ret = blk_insert_bs(blk, base, errp);
    if (ret == 0) {
        ret = blk_truncate(blk, len, false, PREALLOC_MODE_OFF, 0, errp);
    }
    blk_unref(blk);
    return ret;
}

/* The chain is frozen. */
static BlockJob *commit_active_create_frozen(BlockDriverState *bs,
                                             BlockDriverState *base,
                                             const MirrorJobOptions *o,
                                             Error **errp)
{
    bool read_only = bdrv_is_read_only(base);
    MirrorBlockJob *s;
    BlockJob *job;

    /* The job makes the base what the image above it is over: is it that? */
    if (!bdrv_check_backing(bs, base, errp)) {
        return NULL;
    }
    if (read_only && bdrv_reopen_set_read_only(base, false, errp) < 0) {
        return NULL;
    }
    job = commit_grow_base(bs, base, errp) < 0 ? NULL :
          mirror_create(&commit_active_job_driver, bs, base, base, true, o,
                        errp);
    if (!job) {
        if (read_only) {
            bdrv_reopen_set_read_only(base, true, NULL);    /* or not */
        }
        return NULL;
    }
    s = container_of(job, MirrorBlockJob, common);
    s->restore_read_only = read_only;
    s->frozen = true;
    return job;
}

BlockJob *commit_active_job_create(BlockDriverState *bs,
                                   BlockDriverState *base,
                                   const MirrorJobOptions *o, Error **errp)
{
    MirrorJobOptions opts = *o;
    BlockJob *job;

    GLOBAL_STATE_CODE();
    opts.sync = MIRROR_SYNC_MODE_TOP;
    opts.replaces = NULL;
    opts.source_backing = false;
    /* First of all: what follows polls, and another job may end meanwhile. */
    if (bdrv_freeze_backing_chain(bs, base, errp) < 0) {
        return NULL;
    }
    bdrv_ref(bs);
    bdrv_ref(base);
    job = commit_active_create_frozen(bs, base, &opts, errp);
    if (!job) {
        bdrv_unfreeze_backing_chain(bs, base);
    }
    bdrv_unref(base);
    bdrv_unref(bs);
    return job;
}
