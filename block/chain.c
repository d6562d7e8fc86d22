/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Filters and backing chains.
 *
 * A chain goes from a node to the node whose data it shows where it has none
 * itself: a filter shows those of its filtered child, an overlay those of its
 * backing file.  Main thread, or with the graph lock held for reading.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "qemu/cutils.h"

BdrvChild *bdrv_cow_child(BlockDriverState *bs)
{
    if (!bs || !bs->drv || bs->drv->is_filter || !bs->backing) {
        return NULL;
    }
    assert(bs->backing->role & BDRV_CHILD_COW);
    return bs->backing;
}

BdrvChild *bdrv_filter_child(BlockDriverState *bs)
{
    BdrvChild *c;

    if (!bs || !bs->drv || !bs->drv->is_filter) {
        return NULL;
    }
    assert(!(bs->file && bs->backing));
    c = bs->drv->filtered_child_is_backing ? bs->backing : bs->file;
    assert(!c || (c->role & BDRV_CHILD_FILTERED));
    return c;
}

BdrvChild *bdrv_filter_or_cow_child(BlockDriverState *bs)
{
    BdrvChild *c = bdrv_cow_child(bs);

    return c ? c : bdrv_filter_child(bs);
}

BdrvChild *bdrv_primary_child(BlockDriverState *bs)
{
    BdrvChild *c, *found = NULL;

    QLIST_FOREACH(c, &bs->children, next) {
        if (c->role & BDRV_CHILD_PRIMARY) {
            assert(!found);
            found = c;
        }
    }
    return found;
}

static BlockDriverState *bdrv_do_skip_filters(BlockDriverState *bs,
                                              bool stop_on_explicit)
{
    while (bs && (bs->implicit || !stop_on_explicit)) {
        BdrvChild *c = bdrv_filter_child(bs);

        if (!c) {
            break;
        }
        bs = c->bs;
    }
    return bs;
}

BlockDriverState *bdrv_skip_filters(BlockDriverState *bs)
{
    return bdrv_do_skip_filters(bs, false);
}

BlockDriverState *bdrv_skip_implicit_filters(BlockDriverState *bs)
{
    return bdrv_do_skip_filters(bs, true);
}

BlockDriverState *bdrv_backing_chain_next(BlockDriverState *bs)
{
    return bdrv_skip_filters(bdrv_cow_bs(bdrv_skip_filters(bs)));
}

BlockDriverState *bdrv_find_overlay(BlockDriverState *active,
                                    BlockDriverState *bs)
{
    bs = bdrv_skip_filters(bs);
    active = bdrv_skip_filters(active);
    while (active) {
        BlockDriverState *next = bdrv_backing_chain_next(active);

        if (next == bs) {
            return active;
        }
        active = next;
    }
    return NULL;
}

BlockDriverState *bdrv_find_base(BlockDriverState *bs)
{
    return bdrv_find_overlay(bs, NULL);
}

void bdrv_get_header_names(BlockDriverState *bs, const char **name,
                           const char **fmt)
{
    BlockDriverState *image = bdrv_skip_filters(bs);

    *name = image->filename;
    *fmt = image->drv->format_name;
}

bool bdrv_chain_contains(BlockDriverState *top, BlockDriverState *base)
{
    while (top && top != base) {
        top = bdrv_filter_or_cow_bs(top);
    }
    return top != NULL;
}

/* Are both names of one file that exists? */
static bool is_same_path(const char *a, const char *b)
{
    g_autofree char *real_a = NULL;
    g_autofree char *real_b = NULL;

    if (!strcmp(a, b)) {
        return true;
    }
    /* From malloc(), as are those of g_malloc(). */
    real_a = realpath(a, NULL);
    real_b = realpath(b, NULL);
    return real_a && real_b && !strcmp(real_a, real_b);
}

/* Does the overlay @bs, or the user, call @below @name? */
static bool bdrv_is_backing_name(BlockDriverState *bs,
                                 BlockDriverState *below, const char *name)
{
    g_autofree char *full = NULL;

    if ((bs->backing_file && !strcmp(name, bs->backing_file)) ||
        !strcmp(name, below->filename)) {
        return true;
    }
    if (!below->exact_filename[0]) {
        return false;
    }
    full = bdrv_get_full_backing_filename_from_filename(bs->exact_filename,
                                                        name, NULL);
    return is_same_path(name, below->exact_filename) ||
           (full && is_same_path(full, below->exact_filename));
}

BlockDriverState *bdrv_find_backing_image(BlockDriverState *bs,
                                          const char *backing_file)
{
    BlockDriverState *below;

    bs = bdrv_skip_filters(bs);
    while ((below = bdrv_backing_chain_next(bs)) != NULL) {
        if (bdrv_is_backing_name(bs, below, backing_file)) {
            return below;
        }
        bs = below;
    }
    return NULL;
}

bool bdrv_is_backing_hd(BlockDriverState *bs, Error **errp)
{
    BdrvChild *c;

    QLIST_FOREACH(c, &bs->parents, next_parent) {
        if (c->role & BDRV_CHILD_COW) {
            BlockDriverState *overlay = c->opaque;

            error_setg(errp, "Node '%s' is busy: node is used as backing hd "
                       "of '%s'", bs->node_name, overlay->node_name);
            return true;
        }
    }
    return false;
}

/* --- freezing --- */

bool bdrv_is_backing_chain_frozen(BlockDriverState *bs,
                                  BlockDriverState *base, Error **errp)
{
    BdrvChild *c;

    GLOBAL_STATE_CODE();
    for (; bs != base; bs = c->bs) {
        c = bdrv_filter_or_cow_child(bs);
        if (!c) {
            break;
        }
        if (c->frozen) {
            error_setg(errp, "Cannot change '%s' link from '%s' to '%s'",
                       c->name, bs->node_name, c->bs->node_name);
            return true;
        }
    }
    return false;
}

int bdrv_freeze_backing_chain(BlockDriverState *bs, BlockDriverState *base,
                              Error **errp)
{
    BlockDriverState *i;
    BdrvChild *c;

    if (bdrv_is_backing_chain_frozen(bs, base, errp)) {
        return -EPERM;
    }
    for (i = bs; i != base; i = c->bs) {
        c = bdrv_filter_or_cow_child(i);
        if (!c) {
            break;
        }
        if (c->bs->never_freeze) {
            error_setg(errp, "Cannot freeze '%s' link to '%s'", c->name,
                       c->bs->node_name);
            return -EPERM;
        }
    }
    for (i = bs; i != base; i = c->bs) {
        c = bdrv_filter_or_cow_child(i);
        if (!c) {
            break;
        }
        c->frozen = true;
    }
    return 0;
}

void bdrv_unfreeze_backing_chain(BlockDriverState *bs, BlockDriverState *base)
{
    BdrvChild *c;

    GLOBAL_STATE_CODE();
    for (; bs != base; bs = c->bs) {
        c = bdrv_filter_or_cow_child(bs);
        if (!c) {
            break;
        }
        assert(c->frozen);
        c->frozen = false;
    }
}
