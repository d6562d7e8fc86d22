/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reopening: other flags or options for an open node and its children.
 *
 * First every driver prepares (opens a second descriptor, say), from the
 * bottom up; then all commit, or all abort.  Main thread.
 */
#include "qemu/osdep.h"
#include "block-io.h"
#include "block-open.h"

typedef struct {
    BDRVReopenState state;
    QOpts *node_options;        /* bs->options as they will be */
    int old_flags;
    bool old_force_share;
    bool force_share;
    BlockdevDetectZeroesOptions detect_zeroes;
    bool prepared;
} ReopenNode;

#define REOPEN_INHERITED (BDRV_O_CACHE_MASK | BDRV_O_RDWR | BDRV_O_RESIZE)

static void reopen_node_free(gpointer data)
{
    ReopenNode *n = data;

    qopts_unref(n->state.options);
    qopts_unref(n->node_options);
    g_free(n);
}

/* Options that may be given again if they say what is already so. */
static int reopen_check_same(BlockDriverState *bs, QOpts *options,
                             Error **errp)
{
    const char *key;

    while ((key = qopts_first_key(options))) {
        g_autofree char *name = g_strdup(key);
        const char *new = qopts_get_str(options, name);
        const char *old = qopts_get_str(bs->options, name);

        if (!new || !old || strcmp(new, old)) {
            error_setg(errp, "Cannot change the option '%s'", name);
            return -EINVAL;
        }
        qopts_del(options, name);
    }
    return 0;
}

static int reopen_take_options(ReopenNode *n, Error **errp)
{
    BlockDriverState *bs = n->state.bs;
    int dz;

    if (bdrv_take_flag_options(n->state.options, &n->state.flags,
                               &n->force_share, errp) < 0 ||
        !qopts_take_enum(n->state.options, "detect-zeroes",
                         detect_zeroes_names, bs->detect_zeroes, &dz, errp)) {
        return -EINVAL;
    }
    n->detect_zeroes = dz;
    return 0;
}

static ReopenNode *reopen_node_new(BlockDriverState *bs, int flags,
                                   QOpts *options)
{
    ReopenNode *n = g_new0(ReopenNode, 1);

    n->state.bs = bs;
    n->state.flags = flags;
    n->state.options = options;
    n->node_options = qopts_dup(bs->options);
    n->old_flags = bs->open_flags;
    n->force_share = n->old_force_share = bs->force_share;
    return n;
}

static int reopen_child_flags(const ReopenNode *n, const BdrvChild *c)
{
    if (c->role & BDRV_CHILD_COW) {
        return c->bs->open_flags;
    }
    return (c->bs->open_flags & ~REOPEN_INHERITED) |
           (n->state.flags & REOPEN_INHERITED);
}

static int reopen_queue(GPtrArray *queue, BlockDriverState *bs, int flags,
                        QOpts *options, Error **errp);

/* @subs has the options of each child, in their order. */
static int reopen_queue_children(GPtrArray *queue, const ReopenNode *n,
                                 GPtrArray *subs, Error **errp)
{
    BdrvChild *c;
    guint i = 0;

    QLIST_FOREACH(c, &n->state.bs->children, next) {
        int ret = reopen_queue(queue, c->bs, reopen_child_flags(n, c),
                               qopts_dup(subs->pdata[i++]), errp);

        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/*
 * Queue @bs with @flags and @options, its children before it.  What options
 * say of the flags is for the children, too.
 */
static int reopen_queue(GPtrArray *queue, BlockDriverState *bs, int flags,
                        QOpts *options, Error **errp)
{
    g_autoptr(GPtrArray) subs =
        g_ptr_array_new_with_free_func((GDestroyNotify)qopts_unref);
    ReopenNode *n = reopen_node_new(bs, flags, options);
    BdrvChild *c;

    QLIST_FOREACH(c, &bs->children, next) {
        g_autofree char *prefix = g_strdup_printf("%s.", c->name);

        g_ptr_array_add(subs, qopts_extract_sub(options, prefix));
    }
    qopts_join(n->node_options, options, true);
    if (reopen_take_options(n, errp) < 0 ||
        reopen_queue_children(queue, n, subs, errp) < 0) {
        reopen_node_free(n);
        return -EINVAL;
    }
    g_ptr_array_add(queue, n);
    return 0;
}

static int reopen_prepare(ReopenNode *n, Error **errp)
{
    BlockDriverState *bs = n->state.bs;
    int ret;

    if (!bs->drv->bdrv_reopen_prepare) {
        error_setg(errp, "Block format '%s' used by node '%s' does not "
                   "support reopening files", bs->drv->format_name,
                   bs->node_name);
        return -ENOTSUP;
    }
    ret = bs->drv->bdrv_reopen_prepare(&n->state, errp);
    if (ret < 0) {
        return ret;
    }
    n->prepared = true;
    return reopen_check_same(bs, n->state.options, errp);
}

static int coroutine_fn reopen_refresh_entry(void *opaque)
{
    return bdrv_co_refresh_total_sectors(opaque);
}

static void reopen_commit(ReopenNode *n)
{
    BlockDriverState *bs = n->state.bs;

    if (bs->drv->bdrv_reopen_commit) {
        bs->drv->bdrv_reopen_commit(&n->state);
    }
    bs->open_flags = n->state.flags;
    bs->force_share = n->force_share;
    bs->detect_zeroes = n->detect_zeroes;
    qopts_unref(bs->options);
    bs->options = g_steal_pointer(&n->node_options);
    bdrv_refresh_filename(bs);
    bdrv_refresh_limits(bs, NULL);
    /* Options may have changed the size.  An error leaves the old one. */
    bdrv_run_co(bs->aio_context, reopen_refresh_entry, bs);
}

static void reopen_abort(ReopenNode *n)
{
    BlockDriverState *bs = n->state.bs;

    bs->open_flags = n->old_flags;
    bs->force_share = n->old_force_share;
    if (n->prepared && bs->drv->bdrv_reopen_abort) {
        bs->drv->bdrv_reopen_abort(&n->state);
    }
}

int bdrv_reopen(BlockDriverState *bs, int flags, QOpts *options,
                Error **errp)
{
    g_autoptr(GPtrArray) queue =
        g_ptr_array_new_with_free_func(reopen_node_free);
    guint i;
    int ret;

    GLOBAL_STATE_CODE();
    if (!options) {
        options = qopts_new();
    }
    bdrv_drained_begin(bs);
    if (bdrv_is_writable(bs)) {
        ret = bdrv_flush(bs);
        if (ret < 0) {
            error_setg_errno(errp, -ret, "Error flushing drive");
            qopts_unref(options);
            goto out;
        }
    }
    ret = reopen_queue(queue, bs, flags, options, errp);
    for (i = 0; ret == 0 && i < queue->len; i++) {
        ret = reopen_prepare(queue->pdata[i], errp);
    }
    /* Permissions are for the flags that are to be. */
    for (i = 0; ret == 0 && i < queue->len; i++) {
        ReopenNode *n = queue->pdata[i];

        n->state.bs->open_flags = n->state.flags;
        n->state.bs->force_share = n->force_share;
    }
    if (ret == 0 && bdrv_is_read_only(bs) &&
        (bs->cumulative_perms & BLK_PERM_WRITE)) {
        error_setg(errp, "Read-only block node '%s' cannot support "
                   "read-write users", bs->node_name);
        ret = -EPERM;
    }
    if (ret == 0) {
        ret = bdrv_refresh_perms(bs, errp);
    }
    for (i = 0; i < queue->len; i++) {
        if (ret == 0) {
            reopen_commit(queue->pdata[i]);
        } else {
            reopen_abort(queue->pdata[i]);
        }
    }
out:
    bdrv_drained_end(bs);
    return ret;
}
