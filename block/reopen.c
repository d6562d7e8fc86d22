/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reopening: other flags, options or children for open nodes.
 *
 * Several nodes can be reopened at once; a node takes those along that were
 * opened as its children.  First every driver prepares (opens a second
 * descriptor, say), children before parents.  Then, under the graph lock,
 * children are exchanged and permissions are asked for as all flags are to
 * be.  Then all commit, or all abort.  Main thread, outside coroutines.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "block-io.h"
#include "block-open.h"

typedef struct {
    BDRVReopenState state;
    QOpts *node_options;        /* bs->options as they will be */
    int old_flags;
    bool old_force_share;
    bool force_share;
    bool keep_old_opts;
    bool top;                   /* asked for by name, not as a child */
    BlockdevDetectZeroesOptions detect_zeroes;
    bool prepared;
    /* [0] is "file", [1] is "backing" */
    bool change_child[2];
    BlockDriverState *new_child[2];     /* NULL: none; else with a reference */
    BdrvHomes homes[2];         /* if there is a new child */
} ReopenNode;

typedef struct {
    BlockDriverState *bs;       /* with a reference */
    QOpts *options;
    int flags;
    bool keep_old_opts;
} ReopenRequest;

struct BlockReopenQueue {
    GPtrArray *requests;        /* of ReopenRequest */
    GPtrArray *nodes;           /* of ReopenNode, children before parents */
};

#define REOPEN_INHERITED (BDRV_O_CACHE_MASK | BDRV_O_RDWR | BDRV_O_RESIZE)
/* What options set or clear; all of it has defaults. */
#define REOPEN_BY_OPTIONS (BDRV_O_CACHE_MASK | BDRV_O_RDWR | \
                           BDRV_O_AUTO_RDONLY | BDRV_O_UNMAP)

/* Options of every node.  They are in its flags, and in bs->options. */
static const char *const generic_options[] = {
    "driver", "node-name", "cache.direct", "cache.no-flush", "read-only",
    "auto-read-only", "force-share", "discard", "detect-zeroes", "active",
    NULL
};

static bool is_in_list(const char *const *list, const char *name)
{
    for (; list && *list; list++) {
        if (!strcmp(*list, name)) {
            return true;
        }
    }
    return false;
}

/* --- the queue --- */

static void reopen_request_free(gpointer data)
{
    ReopenRequest *r = data;

    bdrv_unref(r->bs);
    qopts_unref(r->options);
    g_free(r);
}

static void reopen_node_free(gpointer data)
{
    ReopenNode *n = data;
    int i;

    for (i = 0; i < 2; i++) {
        bdrv_unref(n->new_child[i]);
    }
    qopts_unref(n->state.options);
    qopts_unref(n->node_options);
    bdrv_unref(n->state.bs);
    g_free(n);
}

static BlockReopenQueue *reopen_add_request(BlockReopenQueue *queue,
                                            BlockDriverState *bs,
                                            QOpts *options, int flags,
                                            bool keep_old_opts)
{
    ReopenRequest *r = g_new0(ReopenRequest, 1);

    GLOBAL_STATE_CODE();
    if (!queue) {
        queue = g_new0(BlockReopenQueue, 1);
        queue->requests = g_ptr_array_new_with_free_func(reopen_request_free);
        queue->nodes = g_ptr_array_new_with_free_func(reopen_node_free);
    }
    bdrv_ref(bs);
    r->bs = bs;
    r->options = options ? options : qopts_new();
    r->flags = flags;
    r->keep_old_opts = keep_old_opts;
    g_ptr_array_add(queue->requests, r);
    return queue;
}

BlockReopenQueue *bdrv_reopen_queue(BlockReopenQueue *queue,
                                    BlockDriverState *bs, QOpts *options,
                                    bool keep_old_opts)
{
    int flags = bs->open_flags;

    if (!keep_old_opts) {
        flags = (flags & ~REOPEN_BY_OPTIONS) | BDRV_O_RDWR;
    }
    return reopen_add_request(queue, bs, options, flags, keep_old_opts);
}

void bdrv_reopen_queue_free(BlockReopenQueue *queue)
{
    if (queue) {
        g_ptr_array_free(queue->nodes, true);
        g_ptr_array_free(queue->requests, true);
        g_free(queue);
    }
}

static ReopenRequest *reopen_find_request(BlockReopenQueue *queue,
                                          BlockDriverState *bs)
{
    guint i;

    for (i = 0; i < queue->requests->len; i++) {
        ReopenRequest *r = queue->requests->pdata[i];

        if (r->bs == bs) {
            return r;
        }
    }
    return NULL;
}

static bool reopen_is_queued(BlockReopenQueue *queue, BlockDriverState *bs)
{
    guint i;

    for (i = 0; i < queue->nodes->len; i++) {
        if (((ReopenNode *)queue->nodes->pdata[i])->state.bs == bs) {
            return true;
        }
    }
    return false;
}

/* --- options --- */

/* Whether @key is "@child" or "@child.more". */
static bool is_key_of(const char *child, const char *key)
{
    size_t len = strlen(child);

    return !strncmp(key, child, len) && (!key[len] || key[len] == '.');
}

/* Whether it is of a child of @bs, or of a backing file that it had once. */
static bool is_child_key(BlockDriverState *bs, const char *key)
{
    BdrvChild *c;

    QLIST_FOREACH(c, &bs->children, next) {
        if (is_key_of(c->name, key)) {
            return true;
        }
    }
    return is_key_of("backing", key);
}

/*
 * The old options count where there is no new one.  Not so those of flags,
 * which are in the node, and those of children, which may be others by now.
 */
static void reopen_keep_options(ReopenNode *n)
{
    BlockDriverState *bs = n->state.bs;

    json_object_object_foreach(bs->options, key, value) {
        if (!qopts_has(n->state.options, key) &&
            !is_in_list(generic_options, key) &&
            !is_child_key(bs, key)) {
            json_object_object_add(n->state.options, key,
                                   json_object_get(value));
        }
    }
}

static int reopen_take_options(ReopenNode *n, Error **errp)
{
    BlockDriverState *bs = n->state.bs;
    int dz = n->keep_old_opts ? bs->detect_zeroes :
             BLOCKDEV_DETECT_ZEROES_OPTIONS_OFF;

    if (bdrv_take_flag_options(n->state.options, &n->state.flags,
                               &n->force_share, errp) < 0 ||
        !qopts_take_enum(n->state.options, "detect-zeroes",
                         BlockdevDetectZeroesOptions_lookup.array,
                         dz, &dz, errp)) {
        return -EINVAL;
    }
    if (dz == BLOCKDEV_DETECT_ZEROES_OPTIONS_UNMAP &&
        !(n->state.flags & BDRV_O_UNMAP)) {
        error_setg(errp, "setting detect-zeroes to unmap is not allowed "
                   "without setting discard operation to unmap");
        return -EINVAL;
    }
    n->detect_zeroes = dz;
    return 0;
}

static ReopenNode *reopen_node_new(BlockDriverState *bs, int flags,
                                   QOpts *options, bool keep_old_opts)
{
    ReopenNode *n = g_new0(ReopenNode, 1);

    /* It may lose its last parent before the new options are in force. */
    bdrv_ref(bs);
    n->state.bs = bs;
    n->state.flags = flags;
    n->state.options = options;
    n->keep_old_opts = keep_old_opts;
    if (keep_old_opts) {
        n->node_options = qopts_dup(bs->options);
        qopts_join(n->node_options, options, true);
        reopen_keep_options(n);
    } else {
        n->node_options = qopts_dup(options);
        qopts_set_str(n->node_options, "driver", bs->drv->format_name);
    }
    n->old_flags = bs->open_flags;
    n->old_force_share = bs->force_share;
    n->force_share = keep_old_opts && bs->force_share;
    return n;
}

static int reopen_check_driver(BlockDriverState *bs, Error **errp)
{
    if (bs->drv->bdrv_reopen_prepare) {
        return 0;
    }
    error_setg(errp, "Block format '%s' used by node '%s' does not support "
               "reopening files", bs->drv->format_name, bs->node_name);
    return -ENOTSUP;
}

/* What is not given goes back to its default, if the driver can do that. */
static int reopen_check_reset(const ReopenNode *n, Error **errp)
{
    BlockDriverState *bs = n->state.bs;

    json_object_object_foreach(bs->options, key, value) {
        (void)value;
        if (!qopts_has(n->node_options, key) &&
            !is_in_list(generic_options, key) &&
            !is_in_list(bs->drv->mutable_opts, key) &&
            !is_child_key(bs, key)) {
            error_setg(errp, "Option '%s' cannot be reset to its default "
                       "value", key);
            return -EINVAL;
        }
    }
    return 0;
}

/*
 * The child @c stays if @ref names it.  Another "file" or "backing" child is
 * remembered; 1 if it is one.
 */
static int reopen_take_reference(ReopenNode *n, const char *name,
                                 BdrvChild *c, const char *ref, Error **errp)
{
    bool is_backing = !strcmp(name, "backing");
    BlockDriverState *bs = n->state.bs;
    BlockDriverState *new_bs = NULL;

    if (ref && c && !strcmp(ref, c->bs->node_name)) {
        return 1;
    }
    if (!ref && !c && is_backing) {
        return 1;
    }
    if (!is_backing && (strcmp(name, "file") || !ref || !c)) {
        return 0;
    }
    if (c && c->bs->implicit) {
        error_setg(errp, "Cannot replace implicit %s child of %s", name,
                   bs->node_name);
        return -EPERM;
    }
    if (bs->drv->is_filter && !c) {
        error_setg(errp, "'%s' is a %s filter node that does not support a "
                   "%s child", bs->node_name, bs->drv->format_name, name);
        return -EINVAL;
    }
    if (ref) {
        new_bs = bdrv_find_node(ref);
        if (!new_bs) {
            error_setg(errp, "Cannot find device='' nor node-name='%s'", ref);
            return -EINVAL;
        }
        if (bdrv_join_nodes(&n->homes[is_backing], bs, new_bs, errp) < 0) {
            return -EPERM;
        }
        bdrv_ref(new_bs);
    }
    n->change_child[is_backing] = true;
    n->new_child[is_backing] = new_bs;
    return 1;
}

static BdrvChild *bdrv_find_child(BlockDriverState *bs, const char *name)
{
    BdrvChild *c;

    QLIST_FOREACH(c, &bs->children, next) {
        if (!strcmp(c->name, name)) {
            return c;
        }
    }
    return NULL;
}

/* Take references to children out of the options. */
static int reopen_take_children(ReopenNode *n, Error **errp)
{
    BlockDriverState *bs = n->state.bs;
    g_autoptr(GPtrArray) keys = g_ptr_array_new_with_free_func(g_free);
    guint i;

    json_object_object_foreach(n->state.options, key, value) {
        (void)value;
        if (bdrv_find_child(bs, key) || !strcmp(key, "backing")) {
            g_ptr_array_add(keys, g_strdup(key));
        }
    }
    for (i = 0; i < keys->len; i++) {
        const char *name = keys->pdata[i];
        const char *ref = qopts_get_str(n->state.options, name);
        int ret;

        if (!ref && !qopts_is_null(n->state.options, name)) {
            continue;
        }
        /* No backing file: null, or "" on a command line. */
        if (ref && !*ref) {
            ref = NULL;
        }
        ret = reopen_take_reference(n, name, bdrv_find_child(bs, name), ref,
                                    errp);
        if (ret < 0) {
            return ret;
        }
        if (ret > 0) {
            qopts_del(n->state.options, name);
        }
    }
    return 0;
}

/* Options that may be given again if they say what is already so. */
static int reopen_check_same(BlockDriverState *bs, QOpts *options,
                             Error **errp)
{
    const char *key;

    while ((key = qopts_first_key(options))) {
        g_autofree char *name = g_strdup(key);
        const char *same = NULL;
        json_object *new, *old;

        json_object_object_get_ex(options, name, &new);
        if (!strcmp(name, "driver")) {
            same = bs->drv->format_name;
        } else if (!strcmp(name, "node-name")) {
            same = bs->node_name;
        } else if (json_object_object_get_ex(bs->options, name, &old)) {
            same = json_object_get_string(old);
        }
        if (g_strcmp0(json_object_get_string(new), same)) {
            error_setg(errp, "Cannot change the option '%s'", name);
            return -EINVAL;
        }
        qopts_del(options, name);
    }
    return 0;
}

/* --- from requests to nodes --- */

static int reopen_child_flags(const ReopenNode *n, const BdrvChild *c)
{
    if (c->role & BDRV_CHILD_COW) {
        return c->bs->open_flags;
    }
    return (c->bs->open_flags & ~REOPEN_INHERITED) |
           (n->state.flags & REOPEN_INHERITED);
}

static int reopen_queue_node(BlockReopenQueue *queue, BlockDriverState *bs,
                             int flags, QOpts *options, bool keep_old_opts,
                             bool top, Error **errp);

/* @subs has the options of each child, in their order. */
static int reopen_queue_children(BlockReopenQueue *queue, const ReopenNode *n,
                                 GPtrArray *subs, Error **errp)
{
    BlockDriverState *bs = n->state.bs;
    BdrvChild *c;
    guint i = 0;

    QLIST_FOREACH(c, &bs->children, next) {
        QOpts *sub = subs->pdata[i++];
        int ret;

        /* Others' nodes have flags and options of their own. */
        if (c->bs->inherits_from != bs || reopen_find_request(queue, c->bs)) {
            if (qopts_count(sub) && !n->keep_old_opts) {
                error_setg(errp, "Cannot change the option '%s.%s'", c->name,
                           qopts_first_key(sub));
                return -EINVAL;
            }
            continue;
        }
        if (reopen_is_queued(queue, c->bs)) {
            continue;
        }
        ret = reopen_queue_node(queue, c->bs, reopen_child_flags(n, c),
                                qopts_dup(sub), true, false, errp);
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
static int reopen_queue_node(BlockReopenQueue *queue, BlockDriverState *bs,
                             int flags, QOpts *options, bool keep_old_opts,
                             bool top, Error **errp)
{
    g_autoptr(GPtrArray) subs =
        g_ptr_array_new_with_free_func((GDestroyNotify)qopts_unref);
    ReopenNode *n = reopen_node_new(bs, flags, options, keep_old_opts);
    BdrvChild *c;

    n->top = top;
    QLIST_FOREACH(c, &bs->children, next) {
        g_autofree char *prefix = g_strdup_printf("%s.", c->name);

        g_ptr_array_add(subs, qopts_extract_sub(options, prefix));
    }
    if (reopen_check_driver(bs, errp) < 0 ||
        (!keep_old_opts && reopen_check_reset(n, errp) < 0) ||
        reopen_take_options(n, errp) < 0 ||
        reopen_queue_children(queue, n, subs, errp) < 0) {
        reopen_node_free(n);
        return -EINVAL;
    }
    if (!keep_old_opts && bs->drv->supports_backing &&
        (bs->backing || bs->backing_file) &&
        !qopts_has(options, "backing")) {
        error_setg(errp, "backing is missing for '%s'", bs->node_name);
        reopen_node_free(n);
        return -EINVAL;
    }
    g_ptr_array_add(queue->nodes, n);
    return 0;
}

static int reopen_queue_all(BlockReopenQueue *queue, Error **errp)
{
    int ret = 0;
    guint i;

    for (i = 0; ret == 0 && i < queue->requests->len; i++) {
        ReopenRequest *r = queue->requests->pdata[i];

        if (reopen_is_queued(queue, r->bs)) {
            error_setg(errp, "Node '%s' is to be reopened twice",
                       r->bs->node_name);
            return -EINVAL;
        }
        ret = reopen_queue_node(queue, r->bs, r->flags,
                                g_steal_pointer(&r->options),
                                r->keep_old_opts, true, errp);
    }
    return ret;
}

/* --- prepare, commit, abort --- */

static int reopen_prepare(ReopenNode *n, Error **errp)
{
    BlockDriverState *bs = n->state.bs;
    int ret = reopen_take_children(n, errp);

    if (ret < 0) {
        return ret;
    }
    ret = bs->drv->bdrv_reopen_prepare(&n->state, errp);
    if (ret < 0) {
        return ret;
    }
    n->prepared = true;
    return reopen_check_same(bs, n->state.options, errp);
}

/* Exchange children and ask for permissions, for the flags that are to be. */
static int GRAPH_WRLOCK reopen_change_graph(BlockReopenQueue *queue,
                                            Transaction *tran, Error **errp)
{
    g_autoptr(GPtrArray) concerned = g_ptr_array_new();
    int ret = 0;
    guint i;
    int k;

    for (i = 0; i < queue->nodes->len; i++) {
        ReopenNode *n = queue->nodes->pdata[i];

        n->state.bs->open_flags = n->state.flags;
        n->state.bs->force_share = n->force_share;
        g_ptr_array_add(concerned, n->state.bs);
    }
    for (i = 0; i < queue->nodes->len; i++) {
        ReopenNode *n = queue->nodes->pdata[i];
        BlockDriverState *bs = n->state.bs;

        for (k = 0; k < 2; k++) {
            BdrvChild *old = k ? bs->backing : bs->file;

            if (!n->change_child[k]) {
                continue;
            }
            if (old) {
                g_ptr_array_add(concerned, old->bs);
            }
            /* One that another new edge has moved away again. */
            if (n->new_child[k] && n->new_child[k]->aio_context !=
                                   bs->aio_context) {
                error_setg(errp, "Nodes '%s' and '%s' cannot be in the same "
                           "iothread", bs->node_name,
                           n->new_child[k]->node_name);
                return -EPERM;
            }
            ret = bdrv_set_file_or_backing_noperm(bs, n->new_child[k], k,
                                                  tran, errp);
            if (ret < 0) {
                return ret;
            }
        }
        if (n->top && bdrv_is_read_only(bs) &&
            (bs->cumulative_perms & BLK_PERM_WRITE)) {
            error_setg(errp, "Read-only block node '%s' cannot support "
                       "read-write users", bs->node_name);
            return -EPERM;
        }
    }
    g_ptr_array_add(concerned, NULL);
    return bdrv_list_refresh_perms((BlockDriverState **)concerned->pdata,
                                   tran, errp);
}

static int coroutine_fn reopen_refresh_entry(void *opaque)
{
    return bdrv_co_refresh_size(opaque);
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
    bdrv_graph_wrlock();
    bdrv_refresh_limits_above(bs);
    bdrv_graph_wrunlock();
    /* Options may have changed the size.  An error leaves the old one. */
    bdrv_run_co(bs->aio_context, reopen_refresh_entry, bs);
}

static void reopen_abort(ReopenNode *n)
{
    BlockDriverState *bs = n->state.bs;
    int k;

    for (k = 1; k >= 0; k--) {
        if (n->new_child[k]) {
            bdrv_join_undo(&n->homes[k]);
        }
    }
    bs->open_flags = n->old_flags;
    bs->force_share = n->old_force_share;
    if (n->prepared && bs->drv->bdrv_reopen_abort) {
        bs->drv->bdrv_reopen_abort(&n->state);
    }
}

static int reopen_flush(BlockReopenQueue *queue, Error **errp)
{
    guint i;

    for (i = 0; i < queue->requests->len; i++) {
        BlockDriverState *bs = ((ReopenRequest *)queue->requests->pdata[i])
                               ->bs;
        int ret = bdrv_is_writable(bs) ? bdrv_flush(bs) : 0;

        if (ret < 0) {
            error_setg_errno(errp, -ret, "Error flushing drive");
            return ret;
        }
    }
    return 0;
}

/* All nodes are drained: those above them, and new children, as well. */
static int reopen_drained(BlockReopenQueue *queue, Error **errp)
{
    Transaction *tran = tran_new();
    int ret = reopen_flush(queue, errp);
    guint i;

    if (ret == 0) {
        ret = reopen_queue_all(queue, errp);
    }
    for (i = 0; ret == 0 && i < queue->nodes->len; i++) {
        ret = reopen_prepare(queue->nodes->pdata[i], errp);
    }
    bdrv_graph_wrlock();
    if (ret == 0) {
        ret = reopen_change_graph(queue, tran, errp);
    }
    tran_finalize(tran, ret);
    bdrv_graph_wrunlock();
    for (i = 0; ret == 0 && i < queue->nodes->len; i++) {
        reopen_commit(queue->nodes->pdata[i]);
    }
    /* The last first: a home may have changed several times. */
    for (i = queue->nodes->len; ret < 0 && i > 0; i--) {
        reopen_abort(queue->nodes->pdata[i - 1]);
    }
    return ret;
}

int bdrv_reopen_multiple(BlockReopenQueue *queue, Error **errp)
{
    int ret;

    GLOBAL_STATE_CODE();
    assert(!qemu_in_coroutine());
    /* Children that come and go may be any nodes: drain all. */
    bdrv_drain_all_begin();
    ret = reopen_drained(queue, errp);
    bdrv_reopen_queue_free(queue);
    bdrv_drain_all_end();
    return ret;
}

int bdrv_reopen(BlockDriverState *bs, int flags, QOpts *options,
                Error **errp)
{
    return bdrv_reopen_multiple(reopen_add_request(NULL, bs, options, flags,
                                                   true), errp);
}

int bdrv_reopen_set_read_only(BlockDriverState *bs, bool read_only,
                              Error **errp)
{
    int flags = read_only ? bs->open_flags & ~BDRV_O_RDWR :
                bs->open_flags | BDRV_O_RDWR;

    return bdrv_reopen(bs, flags, NULL, errp);
}
