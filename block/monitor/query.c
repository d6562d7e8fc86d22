/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The QMP commands that ask about nodes and devices.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "block/block_int.h"
#include "block/blockjob.h"
#include "block/dirty-bitmap.h"
#include "nodes.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-block-info.h"
#include "system/block-backend.h"

/* --- images --- */

static void set_limit(bool *has, uint32_t *member, int64_t limit)
{
    *has = limit != 0;
    *member = MIN(limit, UINT32_MAX);
}

static BlockLimitsInfo *query_limits(BlockDriverState *bs)
{
    const BlockLimits *bl = &bs->bl;
    BlockLimitsInfo *info = g_new0(BlockLimitsInfo, 1);

    info->request_alignment = bl->request_alignment;
    info->has_max_discard = bl->max_pdiscard != 0;
    info->max_discard = bl->max_pdiscard;
    set_limit(&info->has_discard_alignment, &info->discard_alignment,
              bl->pdiscard_alignment);
    info->has_max_write_zeroes = bl->max_pwrite_zeroes != 0;
    info->max_write_zeroes = bl->max_pwrite_zeroes;
    set_limit(&info->has_write_zeroes_alignment,
              &info->write_zeroes_alignment, bl->pwrite_zeroes_alignment);
    set_limit(&info->has_opt_transfer, &info->opt_transfer,
              bl->opt_transfer);
    set_limit(&info->has_max_transfer, &info->max_transfer,
              bl->max_transfer);
    set_limit(&info->has_max_hw_transfer, &info->max_hw_transfer,
              MIN(bl->max_hw_transfer, INT64_MAX));
    info->max_iov = bl->max_iov;
    info->min_mem_alignment = bl->min_mem_alignment;
    info->opt_mem_alignment = bl->opt_mem_alignment;
    return info;
}

/* What the driver says as JSON, in the schema's form. */
static bool query_specific(BlockDriverState *bs, ImageInfoSpecific **specific,
                           Error **errp)
{
    ERRP_GUARD();
    struct json_object *json = bdrv_get_specific_info(bs, errp);

    if (*errp) {
        return false;
    }
    if (json) {
        *specific = QAPI_FROM_JSON(ImageInfoSpecific, json, errp);
        json_object_put(json);
        return *specific != NULL;
    }
    return true;
}

static ImageInfo *query_one_image(BlockDriverState *bs, Error **errp)
{
    g_autoptr(ImageInfo) info = NULL;
    BlockDriverInfo bdi = { .cluster_size = 0 };
    int64_t length = bdrv_getlength(bs);
    int64_t allocated = bdrv_get_allocated_file_size(bs);

    if (length < 0) {
        error_setg_errno(errp, -length, "Can't get image size '%s'",
                         bs->filename);
        return NULL;
    }
    info = g_new0(ImageInfo, 1);
    info->filename = g_strdup(bs->filename);
    info->format = g_strdup(bdrv_get_format_name(bs));
    info->virtual_size = length;
    info->has_actual_size = allocated >= 0;
    info->actual_size = allocated;
    /* A driver without information: no clusters, not dirty. */
    bdrv_get_info(bs, &bdi);
    info->has_cluster_size = bdi.cluster_size != 0;
    info->cluster_size = bdi.cluster_size;
    info->has_dirty_flag = true;
    info->dirty_flag = bdi.is_dirty;
    if (bs->backing_file) {
        info->backing_filename = g_strdup(bs->backing_file);
        info->full_backing_filename = g_strdup(bs->full_backing_file);
        info->backing_filename_format = g_strdup(bs->backing_format);
    }
    info->limits = query_limits(bs);
    if (!query_specific(bs, &info->format_specific, errp)) {
        return NULL;
    }
    return g_steal_pointer(&info);
}

/*
 * Of @bs and, unless @flat, of what it has below.  Each image is held while it
 * is asked: that polls, and a job that ends may take it out of the chain.
 */
static ImageInfo *query_image(BlockDriverState *bs, bool flat, Error **errp)
{
    g_autoptr(ImageInfo) head = NULL;
    ImageInfo **tail = &head;

    bdrv_ref(bs);
    while (bs) {
        BlockDriverState *next = NULL;

        *tail = query_one_image(bs, errp);
        if (!*tail) {
            bdrv_unref(bs);
            return NULL;
        }
        tail = &(*tail)->backing_image;
        if (!flat) {
            next = bdrv_backing_chain_next(bs);
        }
        if (next) {
            bdrv_ref(next);
        }
        bdrv_unref(bs);
        bs = next;
    }
    return g_steal_pointer(&head);
}

/* --- nodes --- */

static BlockdevChildList *query_children(BlockDriverState *bs)
{
    BlockdevChildList *list = NULL;
    BdrvChild *c;

    QLIST_FOREACH(c, &bs->children, next) {
        BlockdevChild *child = g_new0(BlockdevChild, 1);

        child->child = g_strdup(c->name);
        child->node_name = g_strdup(c->bs->node_name);
        QAPI_LIST_PREPEND(list, child);
    }
    return list;
}

static BlockDirtyInfoList *query_bitmaps(BlockDriverState *bs)
{
    BlockDirtyInfoList *list = NULL, **tail = &list;
    BdrvDirtyBitmap *bitmap = NULL;

    while ((bitmap = bdrv_dirty_bitmap_next(bs, bitmap))) {
        BlockDirtyInfo *info = g_new0(BlockDirtyInfo, 1);

        info->name = g_strdup(bdrv_dirty_bitmap_name(bitmap));
        info->count = bdrv_get_dirty_count(bitmap);
        info->granularity = bdrv_dirty_bitmap_granularity(bitmap);
        info->recording = bdrv_dirty_bitmap_recording(bitmap);
        info->busy = bdrv_dirty_bitmap_busy(bitmap);
        info->has_inconsistent = info->inconsistent =
            bdrv_dirty_bitmap_inconsistent(bitmap);
        QAPI_LIST_APPEND(tail, info);
    }
    return list;
}

static int backing_depth(BlockDriverState *bs)
{
    int depth = 0;

    while ((bs = bdrv_backing_chain_next(bs))) {
        depth++;
    }
    return depth;
}

static BlockDeviceInfo *query_node(BlockBackend *blk, BlockDriverState *bs,
                                   bool flat, Error **errp)
{
    ImageInfo *image = query_image(bs, flat, errp);
    BlockDeviceInfo *info;

    if (!image) {
        return NULL;
    }
    info = g_new0(BlockDeviceInfo, 1);
    info->image = image;
    info->file = g_strdup(bs->filename);
    info->node_name = g_strdup(bs->node_name);
    info->ro = bdrv_is_read_only(bs);
    info->drv = g_strdup(bdrv_get_format_name(bs));
    info->backing_file = bs->backing ? g_strdup(bs->backing->bs->filename) :
                                       NULL;
    /* QEMU counts on the way down, which "flat" does not go. */
    info->backing_file_depth = flat ? 0 : backing_depth(bs);
    info->children = query_children(bs);
    info->active = !bdrv_is_inactive(bs);
    info->write_threshold = qatomic_read(&bs->write_threshold);
    info->detect_zeroes = bs->detect_zeroes;
    info->cache = g_new0(BlockdevCacheInfo, 1);
    info->cache->writeback = !blk || blk_enable_write_cache(blk);
    info->cache->direct = bs->open_flags & BDRV_O_NOCACHE;
    info->cache->no_flush = bs->open_flags & BDRV_O_NO_FLUSH;
    info->dirty_bitmaps = query_bitmaps(bs);
    return info;
}

BlockDeviceInfoList *qmp_query_named_block_nodes(bool has_flat, bool flat,
                                                 Error **errp)
{
    BlockDeviceInfoList *list = NULL;
    BlockDriverState *bs = NULL;

    while ((bs = bdrv_next_node_ref(bs))) {
        BlockDeviceInfo *info = query_node(NULL, bs, has_flat && flat, errp);

        if (!info) {
            bdrv_unref(bs);
            qapi_free_BlockDeviceInfoList(list);
            return NULL;
        }
        QAPI_LIST_PREPEND(list, info);
    }
    return list;
}

/* A device is a backend with a name; others belong to jobs and commands. */
static BlockBackend *next_device(BlockBackend *blk)
{
    do {
        blk = blk_all_next(blk);
    } while (blk && !*blk_name(blk));
    return blk;
}

BlockInfoList *qmp_query_block(bool has_flat, bool flat, Error **errp)
{
    BlockInfoList *list = NULL, **tail = &list;
    BlockBackend *blk = NULL;

    while ((blk = next_device(blk))) {
        BlockInfo *info = g_new0(BlockInfo, 1);

        QAPI_LIST_APPEND(tail, info);
        info->device = g_strdup(blk_name(blk));
        info->type = g_strdup("unknown");
        if (blk_bs(blk)) {
            info->inserted = query_node(blk, blk_bs(blk), has_flat && flat,
                                        errp);
            if (!info->inserted) {
                qapi_free_BlockInfoList(list);
                return NULL;
            }
        }
    }
    return list;
}

/* --- counts --- */

static void device_stats(BlockDeviceStats *ds, const BlockAcctStats *stats)
{
    ds->rd_bytes = stats->nr_bytes[BLOCK_ACCT_READ];
    ds->wr_bytes = stats->nr_bytes[BLOCK_ACCT_WRITE];
    ds->unmap_bytes = stats->nr_bytes[BLOCK_ACCT_UNMAP];
    ds->rd_operations = stats->nr_ops[BLOCK_ACCT_READ];
    ds->wr_operations = stats->nr_ops[BLOCK_ACCT_WRITE];
    ds->flush_operations = stats->nr_ops[BLOCK_ACCT_FLUSH];
    ds->unmap_operations = stats->nr_ops[BLOCK_ACCT_UNMAP];
    ds->rd_total_time_ns = stats->total_time_ns[BLOCK_ACCT_READ];
    ds->wr_total_time_ns = stats->total_time_ns[BLOCK_ACCT_WRITE];
    ds->flush_total_time_ns = stats->total_time_ns[BLOCK_ACCT_FLUSH];
    ds->unmap_total_time_ns = stats->total_time_ns[BLOCK_ACCT_UNMAP];
    ds->failed_rd_operations = stats->failed_ops[BLOCK_ACCT_READ];
    ds->failed_wr_operations = stats->failed_ops[BLOCK_ACCT_WRITE];
    ds->failed_flush_operations = stats->failed_ops[BLOCK_ACCT_FLUSH];
    ds->failed_unmap_operations = stats->failed_ops[BLOCK_ACCT_UNMAP];
    ds->invalid_rd_operations = stats->invalid_ops[BLOCK_ACCT_READ];
    ds->invalid_wr_operations = stats->invalid_ops[BLOCK_ACCT_WRITE];
    ds->invalid_flush_operations = stats->invalid_ops[BLOCK_ACCT_FLUSH];
    ds->invalid_unmap_operations = stats->invalid_ops[BLOCK_ACCT_UNMAP];
    ds->account_failed = ds->account_invalid = true;
}

/* Of a device (@backing), also those of its backing nodes. */
static BlockStats *node_stats(BlockDriverState *bs, bool backing)
{
    BlockStats *s = g_new0(BlockStats, 1);

    s->node_name = g_strdup(bs->node_name);
    s->stats = g_new0(BlockDeviceStats, 1);
    s->stats->wr_highest_offset = qatomic_read(&bs->wr_highest_offset);
    if (bs->file) {
        s->parent = node_stats(bs->file->bs, backing);
    }
    if (backing && bs->backing) {
        s->backing = node_stats(bs->backing->bs, true);
    }
    return s;
}

BlockStatsList *qmp_query_blockstats(bool has_query_nodes, bool query_nodes,
                                     Error **errp)
{
    BlockStatsList *list = NULL, **tail = &list;
    BlockDriverState *bs = NULL;
    BlockBackend *blk = NULL;

    if (has_query_nodes && query_nodes) {
        while ((bs = bdrv_next_node(bs))) {
            QAPI_LIST_APPEND(tail, node_stats(bs, false));
        }
        return list;
    }
    while ((blk = next_device(blk))) {
        BlockAcctStats stats;
        BlockStats *s;

        if (blk_bs(blk)) {
            s = node_stats(blk_bs(blk), true);
        } else {
            s = g_new0(BlockStats, 1);
            s->stats = g_new0(BlockDeviceStats, 1);
        }
        s->device = g_strdup(blk_name(blk));
        block_acct_copy(&stats, blk_get_stats(blk));
        device_stats(s->stats, &stats);
        QAPI_LIST_APPEND(tail, s);
    }
    return list;
}

/* --- the graph --- */

typedef struct GraphQuery {
    XDbgBlockGraph *graph;
    GHashTable *ids;            /* object: its number */
} GraphQuery;

static uint64_t graph_id(GraphQuery *q, const void *object,
                         XDbgBlockGraphNodeType type, const char *name)
{
    uint64_t id = GPOINTER_TO_SIZE(g_hash_table_lookup(q->ids, object));
    XDbgBlockGraphNode *node;

    if (id) {
        return id;
    }
    id = g_hash_table_size(q->ids) + 1;
    g_hash_table_insert(q->ids, (void *)object, GSIZE_TO_POINTER(id));
    node = g_new0(XDbgBlockGraphNode, 1);
    node->id = id;
    node->type = type;
    node->name = g_strdup(name);
    QAPI_LIST_PREPEND(q->graph->nodes, node);
    return id;
}

static BlockPermissionList *permissions(uint64_t perm)
{
    static const struct {
        uint64_t perm;
        BlockPermission name;
    } names[] = {
        { BLK_PERM_CONSISTENT_READ, BLOCK_PERMISSION_CONSISTENT_READ },
        { BLK_PERM_WRITE, BLOCK_PERMISSION_WRITE },
        { BLK_PERM_WRITE_UNCHANGED, BLOCK_PERMISSION_WRITE_UNCHANGED },
        { BLK_PERM_RESIZE, BLOCK_PERMISSION_RESIZE },
    };
    BlockPermissionList *list = NULL;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(names); i++) {
        if (perm & names[i].perm) {
            QAPI_LIST_PREPEND(list, names[i].name);
        }
    }
    return list;
}

/* Backends are known from their list; other parents that are no node: jobs. */
static bool is_backend(const void *object)
{
    BlockBackend *blk = NULL;

    while ((blk = blk_all_next(blk))) {
        if (blk == object) {
            return true;
        }
    }
    return false;
}

static uint64_t parent_id(GraphQuery *q, BdrvChild *c)
{
    if (c->klass->parent_is_bds) {
        BlockDriverState *parent = c->opaque;

        return graph_id(q, parent, X_DBG_BLOCK_GRAPH_NODE_TYPE_BLOCK_DRIVER,
                        parent->node_name);
    }
    return graph_id(q, c->opaque, is_backend(c->opaque) ?
                    X_DBG_BLOCK_GRAPH_NODE_TYPE_BLOCK_BACKEND :
                    X_DBG_BLOCK_GRAPH_NODE_TYPE_BLOCK_JOB,
                    c->klass->get_name ? c->klass->get_name(c) : "");
}

static void graph_add_edge(GraphQuery *q, BdrvChild *c, uint64_t child)
{
    XDbgBlockGraphEdge *edge = g_new0(XDbgBlockGraphEdge, 1);

    edge->parent = parent_id(q, c);
    edge->child = child;
    edge->name = g_strdup(c->name);
    edge->perm = permissions(c->perm);
    edge->shared_perm = permissions(c->shared_perm);
    QAPI_LIST_PREPEND(q->graph->edges, edge);
}

XDbgBlockGraph *qmp_x_debug_query_block_graph(Error **errp)
{
    GraphQuery q = {
        .graph = g_new0(XDbgBlockGraph, 1),
        .ids = g_hash_table_new(NULL, NULL),
    };
    BlockDriverState *bs = NULL;
    BlockJob *job = NULL;
    BdrvChild *c;

    WITH_JOB_LOCK_GUARD() {
        /* A job that has ended may have no nodes any more. */
        while ((job = block_job_next_locked(job))) {
            graph_id(&q, job, X_DBG_BLOCK_GRAPH_NODE_TYPE_BLOCK_JOB,
                     job->job.id ?: "");
        }
    }
    while ((bs = bdrv_next_node(bs))) {
        uint64_t id = graph_id(&q, bs,
                               X_DBG_BLOCK_GRAPH_NODE_TYPE_BLOCK_DRIVER,
                               bs->node_name);

        QLIST_FOREACH(c, &bs->parents, next_parent) {
            graph_add_edge(&q, c, id);
        }
    }
    g_hash_table_destroy(q.ids);
    return q.graph;
}
