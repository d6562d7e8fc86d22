/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Permissions: what the users of a node do with it, and let others do.
 *
 * Each edge of the graph has a set that is used and a set that is shared.  A
 * change is an update of a node and all nodes below it.  First each node is
 * asked, parents before children; drivers that lock files (file-posix) take
 * the new locks then, and keep the old ones.  When all nodes have agreed, all
 * commit, which gives up the old locks and cannot fail.  When one refuses, the
 * edges get their old values back and the new locks are given up: at no time
 * does a node lack a lock that it had before.  Main thread.
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

/* --- updates --- */

/* A node of an update, and what its parents are going to ask of it. */
typedef struct {
    BlockDriverState *bs;
    uint64_t perm;
    uint64_t shared;
} PermNode;

/* An edge that an update has changed, as it was before. */
typedef struct {
    BdrvChild *child;
    uint64_t perm;
    uint64_t shared;
} PermEdge;

/* Append @bs and all nodes below it to @nodes, children before parents. */
static void perm_collect(BlockDriverState *bs, GHashTable *seen,
                         GArray *nodes)
{
    PermNode node = { .bs = bs };
    BdrvChild *c;

    if (!g_hash_table_add(seen, bs)) {
        return;
    }
    QLIST_FOREACH(c, &bs->children, next) {
        perm_collect(c->bs, seen, nodes);
    }
    g_array_append_val(nodes, node);
}

/* Ask of the children what follows from what is asked of @n. */
static void perm_set_children(const PermNode *n, GArray *edges)
{
    BdrvChild *c;

    QLIST_FOREACH(c, &n->bs->children, next) {
        PermEdge old = {
            .child = c, .perm = c->perm, .shared = c->shared_perm,
        };

        g_array_append_val(edges, old);
        bdrv_child_perms(n->bs, c, n->perm, n->shared, &c->perm,
                         &c->shared_perm);
    }
}

/*
 * A write to a part of a block is one to the whole block.  At the end of an
 * image that ends within a block that would make it grow.
 */
int bdrv_check_resize_perm(BlockDriverState *bs, uint64_t perm,
                           uint32_t align, Error **errp)
{
    if ((perm & (BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED)) &&
        !(perm & BLK_PERM_RESIZE) &&
        !QEMU_IS_ALIGNED(bs->total_sectors * BDRV_SECTOR_SIZE, align)) {
        error_setg(errp, "Cannot get 'write' permission without 'resize': "
                   "Image size is not a multiple of request alignment");
        return -EPERM;
    }
    return 0;
}

/* All parents of @n have been visited.  The driver may take locks. */
static int perm_check_node(PermNode *n, GArray *edges, Error **errp)
{
    BlockDriverState *bs = n->bs;
    BdrvChild *c;
    int ret;

    n->perm = 0;
    n->shared = BLK_PERM_ALL;
    QLIST_FOREACH(c, &bs->parents, next_parent) {
        n->perm |= c->perm;
        n->shared &= c->shared_perm;
    }
    ret = bdrv_check_parents(bs, errp);
    if (ret < 0) {
        return ret;
    }
    if ((n->perm & (BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED)) &&
        !bdrv_is_writable(bs)) {
        error_setg(errp, "Block node is read-only");
        return -EPERM;
    }
    ret = bdrv_check_resize_perm(bs, n->perm, bs->bl.request_alignment, errp);
    if (ret < 0) {
        return ret;
    }
    if (bs->drv && bs->drv->bdrv_check_perm) {
        ret = bs->drv->bdrv_check_perm(bs, n->perm, n->shared, errp);
        if (ret < 0) {
            return ret;
        }
    }
    perm_set_children(n, edges);
    return 0;
}

static void perm_commit(GArray *nodes)
{
    guint i;

    for (i = 0; i < nodes->len; i++) {
        PermNode *n = &g_array_index(nodes, PermNode, i);

        if (n->bs->drv && n->bs->drv->bdrv_set_perm) {
            n->bs->drv->bdrv_set_perm(n->bs, n->perm, n->shared);
        }
        n->bs->cumulative_perms = n->perm;
        n->bs->cumulative_shared = n->shared;
    }
}

/* The nodes from @first on have agreed. */
static void perm_abort(GArray *nodes, guint first, GArray *edges)
{
    guint i;

    for (i = edges->len; i > 0; i--) {
        PermEdge *old = &g_array_index(edges, PermEdge, i - 1);

        old->child->perm = old->perm;
        old->child->shared_perm = old->shared;
    }
    for (i = first; i < nodes->len; i++) {
        BlockDriverState *bs = g_array_index(nodes, PermNode, i).bs;

        if (bs->drv && bs->drv->bdrv_abort_perm_update) {
            bs->drv->bdrv_abort_perm_update(bs);
        }
    }
}

int bdrv_refresh_perms(BlockDriverState *bs, Error **errp)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    g_autoptr(GArray) nodes = g_array_new(false, true, sizeof(PermNode));
    g_autoptr(GArray) edges = g_array_new(false, true, sizeof(PermEdge));
    int ret = 0;
    guint i;

    perm_collect(bs, seen, nodes);
    for (i = nodes->len; ret == 0 && i > 0; i--) {
        ret = perm_check_node(&g_array_index(nodes, PermNode, i - 1), edges,
                              errp);
    }
    if (ret < 0) {
        /* The node at i has refused and holds nothing. */
        perm_abort(nodes, i + 1, edges);
        return ret;
    }
    perm_commit(nodes);
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
    bdrv_parent_drained_end_single(c);
    /* Less is wanted now: that cannot fail. */
    bdrv_refresh_perms(bs, NULL);
    g_free(c->name);
    g_free(c);
    bdrv_unref(bs);
}

/* Is @wanted @bs or a node above it? */
static bool bdrv_is_above(BlockDriverState *bs, BlockDriverState *wanted)
{
    BdrvChild *c;

    if (bs == wanted) {
        return true;
    }
    QLIST_FOREACH(c, &bs->parents, next_parent) {
        if (c->parent_bs && bdrv_is_above(c->parent_bs, wanted)) {
            return true;
        }
    }
    return false;
}

BdrvChild *bdrv_attach_child(BlockDriverState *parent,
                             BlockDriverState *child_bs, const char *name,
                             BdrvChildRole role, Error **errp)
{
    BdrvChild *c, *after = NULL, *it;
    uint64_t perm, shared;

    if (bdrv_is_above(parent, child_bs)) {
        error_setg(errp, "Making '%s' a %s child of '%s' would create a "
                   "cycle", child_bs->node_name, name, parent->node_name);
        bdrv_unref(child_bs);
        return NULL;
    }
    c = bdrv_child_new(child_bs, name, role);
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
    if (child_bs->quiesce_counter) {
        bdrv_parent_drained_begin_single(c);
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
    if (child_bs->quiesce_counter) {
        bdrv_parent_drained_begin_single(c);
    }
    return c;
}

void bdrv_root_unref_child(BdrvChild *child)
{
    bdrv_child_free(child);
}
