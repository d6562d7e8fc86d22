/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Permissions: what the users of a node do with it, and let others do.
 *
 * Each edge of the graph has a set that is used and a set that is shared.  A
 * change is an update of nodes and all nodes below them.  First each node is
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
    if (bs->force_share || bdrv_is_inactive(bs)) {
        *nshared = BLK_PERM_ALL;
    }
}

/* @a wants of its node what @b, which has the same, does not share. */
static void bdrv_set_conflict_error(BdrvChild *a, BdrvChild *b,
                                    uint64_t conflict, Error **errp)
{
    g_autofree char *a_user = bdrv_child_user_desc(a);
    g_autofree char *b_user = bdrv_child_user_desc(b);
    g_autofree char *names = bdrv_perm_names(conflict);
    const char *node = a->bs->node_name;

    error_setg(errp, "Permission conflict on node '%s': permissions '%s' are "
               "both required by %s (uses node '%s' as '%s' child) and "
               "unshared by %s (uses node '%s' as '%s' child).", node, names,
               a_user, node, a->name, b_user, node, b->name);
}

static int bdrv_check_parents(BlockDriverState *bs, Error **errp)
{
    BdrvChild *a, *b;

    QLIST_FOREACH(a, &bs->parents, next_parent) {
        QLIST_FOREACH(b, &bs->parents, next_parent) {
            uint64_t conflict = b->perm & ~a->shared_perm;

            if (a->frozen && (b->role & BDRV_CHILD_COMMIT)) {
                /* Those above @a read the same as before. */
                continue;
            }
            if (a != b && conflict) {
                bdrv_set_conflict_error(b, a, conflict, errp);
                return -EPERM;
            }
        }
    }
    return 0;
}

void bdrv_child_perms(BlockDriverState *bs, BdrvChild *c, uint64_t perm,
                      uint64_t shared, uint64_t *nperm, uint64_t *nshared)
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

typedef struct {
    GArray *nodes;              /* of PermNode, children before parents */
    GArray *edges;              /* of PermEdge, in the order of the changes */
} PermUpdate;

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

/* Requests of other threads look at c->perm meanwhile. */
static void bdrv_child_set_perm(BdrvChild *c, uint64_t perm, uint64_t shared)
{
    qatomic_set(&c->perm, perm);
    c->shared_perm = shared;
}

/* Ask of the children what follows from what is asked of @n. */
static void perm_set_children(const PermNode *n, GArray *edges)
{
    BdrvChild *c;

    QLIST_FOREACH(c, &n->bs->children, next) {
        PermEdge old = {
            .child = c, .perm = c->perm, .shared = c->shared_perm,
        };
        uint64_t perm, shared;

        bdrv_child_perms(n->bs, c, n->perm, n->shared, &perm, &shared);
        if (perm != c->perm || shared != c->shared_perm) {
            g_array_append_val(edges, old);
            bdrv_child_set_perm(c, perm, shared);
        }
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
        error_setg(errp, bdrv_is_inactive(bs) ? "Block node is inactive" :
                   "Block node is read-only");
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

/* The nodes of @u from @first on have agreed. */
static void perm_abort_from(PermUpdate *u, guint first)
{
    guint i;

    for (i = u->edges->len; i > 0; i--) {
        PermEdge *old = &g_array_index(u->edges, PermEdge, i - 1);

        bdrv_child_set_perm(old->child, old->perm, old->shared);
    }
    for (i = first; i < u->nodes->len; i++) {
        BlockDriverState *bs = g_array_index(u->nodes, PermNode, i).bs;

        if (bs->drv && bs->drv->bdrv_abort_perm_update) {
            bs->drv->bdrv_abort_perm_update(bs);
        }
    }
}

static void perm_commit(void *opaque)
{
    PermUpdate *u = opaque;
    guint i;

    for (i = 0; i < u->nodes->len; i++) {
        PermNode *n = &g_array_index(u->nodes, PermNode, i);

        if (n->bs->drv && n->bs->drv->bdrv_set_perm) {
            n->bs->drv->bdrv_set_perm(n->bs, n->perm, n->shared);
        }
        n->bs->cumulative_perms = n->perm;
        n->bs->cumulative_shared = n->shared;
    }
}

static void perm_abort(void *opaque)
{
    perm_abort_from(opaque, 0);
}

static void perm_clean(void *opaque)
{
    PermUpdate *u = opaque;

    g_array_free(u->nodes, true);
    g_array_free(u->edges, true);
    g_free(u);
}

static const TransactionActionDrv perm_update_drv = {
    .abort = perm_abort,
    .commit = perm_commit,
    .clean = perm_clean,
};

int bdrv_list_refresh_perms(BlockDriverState *const *nodes, Transaction *tran,
                            Error **errp)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    PermUpdate *u = g_new(PermUpdate, 1);
    int ret = 0;
    guint i;

    u->nodes = g_array_new(false, true, sizeof(PermNode));
    u->edges = g_array_new(false, true, sizeof(PermEdge));
    for (; *nodes; nodes++) {
        perm_collect(*nodes, seen, u->nodes);
    }
    for (i = u->nodes->len; ret == 0 && i > 0; i--) {
        ret = perm_check_node(&g_array_index(u->nodes, PermNode, i - 1),
                              u->edges, errp);
    }
    if (ret < 0) {
        /* The node at i has refused and holds nothing. */
        perm_abort_from(u, i + 1);
        perm_clean(u);
        return ret;
    }
    tran_add(tran, &perm_update_drv, u);
    return 0;
}

int bdrv_refresh_perms(BlockDriverState *bs, Error **errp)
{
    BlockDriverState *nodes[] = { bs, NULL };
    Transaction *tran = tran_new();
    int ret = bdrv_list_refresh_perms(nodes, tran, errp);

    tran_finalize(tran, ret);
    return ret;
}

int bdrv_child_try_set_perm(BdrvChild *child, uint64_t perm, uint64_t shared,
                            Error **errp)
{
    uint64_t old_perm = child->perm;
    uint64_t old_shared = child->shared_perm;
    int ret;

    bdrv_child_set_perm(child, perm, shared);
    ret = bdrv_refresh_perms(child->bs, errp);
    if (ret < 0) {
        bdrv_child_set_perm(child, old_perm, old_shared);
    }
    return ret;
}

int bdrv_child_refresh_perms(BlockDriverState *bs, BdrvChild *c, Error **errp)
{
    uint64_t perm, shared;

    bdrv_child_perms(bs, c, bs->cumulative_perms, bs->cumulative_shared,
                     &perm, &shared);
    return bdrv_child_try_set_perm(c, perm, shared, errp);
}
