/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Permissions: what the users of a node do with it, and let others do.
 *
 * Each edge of the graph has a set that is used and a set that is shared.  A
 * change is tried from the node downwards: first everybody agrees, then
 * drivers that take locks on files (file-posix) take them.  When one refuses,
 * the edges get their old values back.  Main thread.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"

char *bdrv_perm_names(uint64_t perm)
{
    static const char *const names[] = {
        "consistent read", "write", "write unchanged", "resize",
    };
    GString *s = g_string_new(NULL);
    size_t i;

    for (i = 0; i < ARRAY_SIZE(names); i++) {
        if (perm & (1ull << i)) {
            g_string_append_printf(s, "%s%s", s->len ? ", " : "", names[i]);
        }
    }
    return g_string_free(s, FALSE);
}

static char *bdrv_parent_desc(const BdrvChild *c)
{
    if (c->parent_blk) {
        return g_strdup("an unnamed block device");
    }
    return g_strdup_printf("node '%s'", c->parent_bs->node_name);
}

void bdrv_default_perms(BlockDriverState *bs, BdrvChild *c,
                        BdrvChildRole role, uint64_t perm, uint64_t shared,
                        uint64_t *nperm, uint64_t *nshared)
{
    if (role & BDRV_CHILD_FILTERED) {
        *nperm = perm;
        *nshared = shared;
    } else if (role & BDRV_CHILD_COW) {
        /* Others may write to a backing file only if they may write here. */
        *nperm = perm & BLK_PERM_CONSISTENT_READ;
        *nshared = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED;
        if (shared & BLK_PERM_WRITE) {
            *nshared |= BLK_PERM_WRITE | BLK_PERM_RESIZE;
        }
    } else {
        *nperm = perm;
        *nshared = shared;
        if (role & BDRV_CHILD_METADATA) {
            /* The format writes metadata even if nobody writes data. */
            if (bdrv_is_writable(bs)) {
                *nperm |= BLK_PERM_WRITE | BLK_PERM_RESIZE;
            }
            if (!(bs->open_flags & BDRV_O_NO_IO)) {
                *nperm |= BLK_PERM_CONSISTENT_READ;
            }
            *nshared &= ~(BLK_PERM_WRITE | BLK_PERM_RESIZE);
        }
        if (role & BDRV_CHILD_DATA) {
            /* The format relies on the size, and may allocate. */
            *nshared &= ~BLK_PERM_RESIZE;
            if ((perm & BLK_PERM_WRITE) && bdrv_is_writable(bs)) {
                *nperm |= BLK_PERM_RESIZE;
            }
        }
    }
    if (bs->force_share) {
        *nshared = BLK_PERM_ALL;
    }
}

static int bdrv_check_parents(BlockDriverState *bs, Error **errp)
{
    BdrvChild *a, *b;

    QLIST_FOREACH(a, &bs->parents, next_parent) {
        QLIST_FOREACH(b, &bs->parents, next_parent) {
            uint64_t conflict = a->perm & ~b->shared_perm;

            if (a != b && conflict) {
                g_autofree char *user = bdrv_parent_desc(b);
                g_autofree char *names = bdrv_perm_names(conflict);

                error_setg(errp, "Conflicts with use by %s as '%s', which "
                           "does not allow '%s' on %s", user, b->name, names,
                           bs->node_name);
                return -EPERM;
            }
        }
    }
    return 0;
}

static void bdrv_child_perms(BlockDriverState *bs, BdrvChild *c, uint64_t perm,
                             uint64_t shared, uint64_t *nperm,
                             uint64_t *nshared)
{
    if (bs->drv && bs->drv->bdrv_child_perm) {
        bs->drv->bdrv_child_perm(bs, c, c->role, perm, shared, nperm,
                                 nshared);
    } else {
        bdrv_default_perms(bs, c, c->role, perm, shared, nperm, nshared);
    }
}

/* Give the children what follows from @perm and @shared of @bs. */
static int bdrv_refresh_children(BlockDriverState *bs, uint64_t perm,
                                 uint64_t shared, Error **errp)
{
    BdrvChild *c;
    int ret;

    QLIST_FOREACH(c, &bs->children, next) {
        uint64_t nperm, nshared;

        bdrv_child_perms(bs, c, perm, shared, &nperm, &nshared);
        ret = bdrv_child_try_set_perm(c, nperm, nshared, errp);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

int bdrv_refresh_perms(BlockDriverState *bs, Error **errp)
{
    uint64_t perm = 0, shared = BLK_PERM_ALL;
    BdrvChild *c;
    int ret;

    QLIST_FOREACH(c, &bs->parents, next_parent) {
        perm |= c->perm;
        shared &= c->shared_perm;
    }
    ret = bdrv_check_parents(bs, errp);
    if (ret < 0) {
        return ret;
    }
    if ((perm & (BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED)) &&
        !bdrv_is_writable(bs)) {
        error_setg(errp, "Block node is read-only");
        return -EPERM;
    }
    if (bs->drv && bs->drv->bdrv_check_perm) {
        ret = bs->drv->bdrv_check_perm(bs, perm, shared, errp);
        if (ret < 0) {
            return ret;
        }
    }
    ret = bdrv_refresh_children(bs, perm, shared, errp);
    if (ret < 0) {
        bdrv_refresh_children(bs, bs->cumulative_perms,
                              bs->cumulative_shared, NULL);
        if (bs->drv && bs->drv->bdrv_abort_perm_update) {
            bs->drv->bdrv_abort_perm_update(bs);
        }
        return ret;
    }
    if (bs->drv && bs->drv->bdrv_set_perm) {
        bs->drv->bdrv_set_perm(bs, perm, shared);
    }
    bs->cumulative_perms = perm;
    bs->cumulative_shared = shared;
    return 0;
}

int bdrv_child_try_set_perm(BdrvChild *child, uint64_t perm, uint64_t shared,
                            Error **errp)
{
    uint64_t old_perm = child->perm;
    uint64_t old_shared = child->shared_perm;
    int ret;

    child->perm = perm;
    child->shared_perm = shared;
    ret = bdrv_refresh_perms(child->bs, errp);
    if (ret < 0) {
        child->perm = old_perm;
        child->shared_perm = old_shared;
    }
    return ret;
}

/* --- edges --- */

static BdrvChild *bdrv_child_new(BlockDriverState *bs, const char *name,
                                 BdrvChildRole role)
{
    BdrvChild *c = g_new0(BdrvChild, 1);

    c->bs = bs;
    c->name = g_strdup(name);
    c->role = role;
    c->shared_perm = BLK_PERM_ALL;
    QLIST_INSERT_HEAD(&bs->parents, c, next_parent);
    return c;
}

static void bdrv_child_free(BdrvChild *c)
{
    BlockDriverState *bs = c->bs;

    QLIST_REMOVE(c, next_parent);
    /* Less is wanted now: that cannot fail. */
    bdrv_refresh_perms(bs, NULL);
    g_free(c->name);
    g_free(c);
    bdrv_unref(bs);
}

BdrvChild *bdrv_attach_child(BlockDriverState *parent,
                             BlockDriverState *child_bs, const char *name,
                             BdrvChildRole role, Error **errp)
{
    BdrvChild *c = bdrv_child_new(child_bs, name, role);
    BdrvChild *after = NULL, *it;
    uint64_t perm, shared;

    c->parent_bs = parent;
    bdrv_child_perms(parent, c, parent->cumulative_perms,
                     parent->cumulative_shared, &perm, &shared);
    if (bdrv_child_try_set_perm(c, perm, shared, errp) < 0) {
        bdrv_child_free(c);
        return NULL;
    }
    /* In the order in which they came: "extents.0", "extents.1", ... */
    QLIST_FOREACH(it, &parent->children, next) {
        after = it;
    }
    if (after) {
        QLIST_INSERT_AFTER(after, c, next);
    } else {
        QLIST_INSERT_HEAD(&parent->children, c, next);
    }
    if (role & BDRV_CHILD_COW) {
        parent->backing = c;
    } else if (role & (BDRV_CHILD_PRIMARY | BDRV_CHILD_FILTERED)) {
        parent->file = c;
    }
    return c;
}

void bdrv_unref_child(BlockDriverState *parent, BdrvChild *child)
{
    if (!child) {
        return;
    }
    if (parent->file == child) {
        parent->file = NULL;
    }
    if (parent->backing == child) {
        parent->backing = NULL;
    }
    QLIST_REMOVE(child, next);
    bdrv_child_free(child);
}

BdrvChild *bdrv_root_attach_child(BlockDriverState *child_bs,
                                  const char *name, BlockBackend *blk,
                                  uint64_t perm, uint64_t shared,
                                  Error **errp)
{
    BdrvChild *c = bdrv_child_new(child_bs, name, 0);

    c->parent_blk = blk;
    if (bdrv_child_try_set_perm(c, perm, shared, errp) < 0) {
        bdrv_child_free(c);
        return NULL;
    }
    return c;
}

void bdrv_root_unref_child(BdrvChild *child)
{
    bdrv_child_free(child);
}
