/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The graph of nodes: drivers, opening, references, and what nodes are called.
 *
 * Opening goes from the top down.  A format opened by file name first opens
 * the file below it (which may be any protocol), guesses the format if none
 * was given, and then lets its driver open, which attaches the file as its
 * child.  Options that nobody has taken in the end are an error.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "block/block-open.h"
#include "block/dirty-bitmap.h"
#include "qemu/cutils.h"
#include "qemu/id.h"
#include "qemu/main-loop.h"
#include "system/block-backend.h"

static QLIST_HEAD(, BlockDriver) bdrv_drivers =
    QLIST_HEAD_INITIALIZER(bdrv_drivers);
static QTAILQ_HEAD(, BlockDriverState) all_nodes =
    QTAILQ_HEAD_INITIALIZER(all_nodes);

/* --- drivers --- */

void bdrv_register(BlockDriver *drv)
{
    QLIST_INSERT_HEAD(&bdrv_drivers, drv, list);
}

void bdrv_init(void)
{
    /* Drivers register in constructors: see block_init(). */
    assert(!QLIST_EMPTY(&bdrv_drivers));
}

BlockDriver *bdrv_find_format(const char *format_name)
{
    BlockDriver *drv;

    QLIST_FOREACH(drv, &bdrv_drivers, list) {
        if (!strcmp(drv->format_name, format_name)) {
            return drv;
        }
    }
    return NULL;
}

static gint bdrv_name_cmp(gconstpointer a, gconstpointer b)
{
    return strcmp(a, b);
}

void bdrv_iterate_format(void (*it)(void *opaque, const char *name),
                         void *opaque, bool read_only)
{
    GList *names = NULL, *l;
    BlockDriver *drv;

    QLIST_FOREACH(drv, &bdrv_drivers, list) {
        /* Some are there more than once, for several kinds of file names. */
        if (!g_list_find_custom(names, drv->format_name, bdrv_name_cmp)) {
            names = g_list_insert_sorted(names, (gpointer)drv->format_name,
                                         bdrv_name_cmp);
        }
    }
    for (l = names; l; l = l->next) {
        it(opaque, l->data);
    }
    g_list_free(names);
}

bool bdrv_filename_has_protocol(const char *filename)
{
    return g_str_has_prefix(filename, "json:")
           || (path_has_protocol(filename)
               && bdrv_find_protocol(filename, true, NULL));
}

char *bdrv_get_full_backing_filename_from_filename(const char *backed,
                                                   const char *backing,
                                                   Error **errp)
{
    g_autofree char *full = NULL;

    if (path_is_absolute(backing) || bdrv_filename_has_protocol(backing)) {
        return g_strdup(backing);
    }
    if (!*backed || g_str_has_prefix(backed, "json:")) {
        error_setg(errp, "Cannot use relative backing file names for '%s'",
                   backed);
        return NULL;
    }
    full = path_combine(backed, backing);
    /* Only a local file can have an unknown protocol. */
    if (!path_has_protocol(backed) && path_has_protocol(full)) {
        return g_strconcat("./", full, NULL);
    }
    return g_steal_pointer(&full);
}

/* Of the protocols that know @filename as a device, the surest one. */
static BlockDriver *bdrv_find_device_protocol(const char *filename)
{
    BlockDriver *drv, *best = NULL;
    int best_score = 0;

    QLIST_FOREACH(drv, &bdrv_drivers, list) {
        int score = drv->bdrv_probe_device ?
                    drv->bdrv_probe_device(filename) : 0;

        if (score > best_score) {
            best_score = score;
            best = drv;
        }
    }
    return best;
}

BlockDriver *bdrv_find_protocol(const char *filename,
                                bool allow_protocol_prefix, Error **errp)
{
    g_autofree char *protocol = NULL;
    BlockDriver *drv;

    drv = bdrv_find_device_protocol(filename);
    if (drv) {
        return drv;
    }
    if (!path_has_protocol(filename) || !allow_protocol_prefix) {
        return bdrv_find_format("file");
    }
    protocol = g_strndup(filename, strchr(filename, ':') - filename);
    QLIST_FOREACH(drv, &bdrv_drivers, list) {
        if (drv->protocol_name && !strcmp(drv->protocol_name, protocol)) {
            return drv;
        }
    }
    error_setg(errp, "Unknown protocol '%s'", protocol);
    return NULL;
}

BlockDriver *bdrv_probe_all(const uint8_t *buf, int buf_size,
                            const char *filename)
{
    BlockDriver *drv, *best = NULL;
    int best_score = 0;

    QLIST_FOREACH(drv, &bdrv_drivers, list) {
        int score = drv->bdrv_probe ?
                    drv->bdrv_probe(buf, buf_size, filename) : 0;

        if (score > best_score) {
            best_score = score;
            best = drv;
        }
    }
    return best;
}

/* --- nodes --- */

BlockDriverState *bdrv_find_node(const char *node_name)
{
    BlockDriverState *bs;

    QTAILQ_FOREACH(bs, &all_nodes, node_list) {
        if (!strcmp(bs->node_name, node_name)) {
            return bs;
        }
    }
    return NULL;
}

BlockDriverState *bdrv_next_node(BlockDriverState *bs)
{
    return bs ? QTAILQ_NEXT(bs, node_list) : QTAILQ_FIRST(&all_nodes);
}

BlockDriverState *bdrv_next_node_ref(BlockDriverState *bs)
{
    BlockDriverState *next = bdrv_next_node(bs);

    if (next) {
        bdrv_ref(next);
    }
    bdrv_unref(bs);
    return next;
}

int bdrv_set_node_name(BlockDriverState *bs, const char *node_name,
                       Error **errp)
{
    static unsigned next_id;

    if (!node_name) {
        snprintf(bs->node_name, sizeof(bs->node_name), "#block%03u",
                 next_id++);
    } else if (!id_wellformed(node_name)) {
        error_setg(errp, "Invalid node-name: '%s'", node_name);
        return -EINVAL;
    } else if (strlen(node_name) >= sizeof(bs->node_name)) {
        error_setg(errp, "Node name too long: '%s' (%zu bytes at most)",
                   node_name, sizeof(bs->node_name) - 1);
        return -EINVAL;
    } else {
        pstrcpy(bs->node_name, sizeof(bs->node_name), node_name);
    }
    return bdrv_check_node_name(bs, errp);
}

int bdrv_check_node_name(BlockDriverState *bs, Error **errp)
{
    if (bdrv_find_node(bs->node_name)) {
        error_setg(errp, "Duplicate nodes with node-name='%s'",
                   bs->node_name);
        return -EINVAL;
    }
    if (blk_by_name(bs->node_name)) {
        error_setg(errp, "node-name=%s is conflicting with a device id",
                   bs->node_name);
        return -EINVAL;
    }
    return 0;
}

void bdrv_list_node(BlockDriverState *bs)
{
    QTAILQ_INSERT_TAIL(&all_nodes, bs, node_list);
}

BlockDriverState *bdrv_new(void)
{
    BlockDriverState *bs = g_new0(BlockDriverState, 1);

    bs->refcnt = 1;
    bs->aio_context = qemu_get_aio_context();
    bs->filename = g_strdup("");
    bs->exact_filename = g_strdup("");
    bs->cumulative_shared = BLK_PERM_ALL;
    bs->bl.request_alignment = 1;
    QLIST_INIT(&bs->children);
    QLIST_INIT(&bs->parents);
    QLIST_INIT(&bs->tracked_requests);
    QLIST_INIT(&bs->serialising_requests);
    qemu_spin_init(&bs->reqs_lock);
    qemu_mutex_init(&bs->dirty_bitmap_mutex);
    QLIST_INIT(&bs->dirty_bitmaps);
    qemu_co_queue_init(&bs->flush_queue);
    bdrv_drain_all_join(bs);
    return bs;
}

void bdrv_ref(BlockDriverState *bs)
{
    GLOBAL_STATE_CODE();
    bs->refcnt++;
}

static void bdrv_close(BlockDriverState *bs)
{
    BdrvChild *c;

    bdrv_drained_begin(bs);
    if (bs->drv && bdrv_is_writable(bs)) {
        /* A driver that loses data by closing says so: see file_close(). */
        bdrv_flush(bs);
    }
    bdrv_drain(bs);
    if (bs->drv && bs->drv->bdrv_close) {
        bs->drv->bdrv_close(bs);
    }
    bs->drv = NULL;
    while ((c = QLIST_FIRST(&bs->children))) {
        bdrv_unref_child(bs, c);
    }
    bdrv_drained_end(bs);
}

void bdrv_delete(BlockDriverState *bs)
{
    BlockDriverState *other;

    assert(QLIST_EMPTY(&bs->parents));
    QTAILQ_FOREACH(other, &all_nodes, node_list) {
        if (other->inherits_from == bs) {
            other->inherits_from = NULL;
        }
    }
    if (bs->drv) {
        bdrv_close(bs);
    }
    if (QTAILQ_IN_USE(bs, node_list)) {
        QTAILQ_REMOVE(&all_nodes, bs, node_list);
    }
    assert(bs->refcnt == 1);
    assert(QLIST_EMPTY(&bs->tracked_requests));
    assert(QLIST_EMPTY(&bs->aio_notifiers.head));
    qemu_spin_destroy(&bs->reqs_lock);
    bdrv_release_all_dirty_bitmaps(bs);
    qemu_mutex_destroy(&bs->dirty_bitmap_mutex);
    qopts_unref(bs->options);
    g_free(bs->opaque);
    g_free(bs->backing_file);
    g_free(bs->full_backing_file);
    g_free(bs->backing_format);
    g_free(bs->filename);
    g_free(bs->exact_filename);
    g_free(bs);
}

void bdrv_unref(BlockDriverState *bs)
{
    if (!bs) {
        return;
    }
    GLOBAL_STATE_CODE();
    assert(bs->refcnt > 0);
    if (bs->refcnt > 1) {
        bs->refcnt--;
        return;
    }
    /*
     * Closing polls, and what runs meanwhile may take references to all nodes,
     * and drop them.
     */
    assert(!bs->closing);
    bs->closing = true;
    bdrv_delete(bs);
}

const char *bdrv_get_node_name(const BlockDriverState *bs)
{
    return bs->node_name;
}

const char *bdrv_get_format_name(BlockDriverState *bs)
{
    return bs->drv ? bs->drv->format_name : NULL;
}

const char *bdrv_get_device_name(const BlockDriverState *bs)
{
    BdrvChild *c;

    QLIST_FOREACH(c, &bs->parents, next_parent) {
        const char *name = c->klass->get_name ? c->klass->get_name(c) : "";

        if (*name) {
            return name;
        }
    }
    return "";
}

const char *bdrv_get_device_or_node_name(const BlockDriverState *bs)
{
    const char *name = bdrv_get_device_name(bs);

    return *name ? name : bs->node_name;
}

int bdrv_get_flags(BlockDriverState *bs)
{
    return bs->open_flags;
}

bool bdrv_is_read_only(BlockDriverState *bs)
{
    return !(bs->open_flags & BDRV_O_RDWR);
}

bool bdrv_is_writable(BlockDriverState *bs)
{
    return !bdrv_is_read_only(bs) && !bdrv_is_inactive(bs);
}

bool bdrv_is_inserted(BlockDriverState *bs)
{
    return bs->drv != NULL;
}

int bdrv_apply_auto_read_only(BlockDriverState *bs, const char *errmsg,
                              Error **errp)
{
    if (!(bs->open_flags & BDRV_O_RDWR)) {
        return 0;
    }
    if (bs->open_flags & BDRV_O_AUTO_RDONLY) {
        bs->open_flags &= ~BDRV_O_RDWR;
        return 0;
    }
    error_setg(errp, "%s", errmsg ? errmsg : "Image is read-only");
    return -EACCES;
}

void bdrv_refresh_filename(BlockDriverState *bs)
{
    BlockDriverState *filtered;

    if (!bs->drv) {
        return;
    }
    filtered = bdrv_filter_bs(bs);
    if (bs->drv->bdrv_refresh_filename) {
        bs->drv->bdrv_refresh_filename(bs);
    } else if (filtered) {
        /* A filter shows what its child shows. */
        g_free(bs->filename);
        bs->filename = g_strdup(filtered->filename);
    } else if (bs->file) {
        bdrv_refresh_format_filename(bs);
    } else if (bs->drv->children_list) {
        g_free(bs->filename);
        bs->filename = g_strdup("");
    }
    if (!bs->filename[0] && bs->options) {
        bdrv_set_json_filename(bs);
    }
}

static void bdrv_merge_limits(BlockLimits *dst, const BlockLimits *src)
{
    dst->opt_transfer = MAX(dst->opt_transfer, src->opt_transfer);
    dst->max_transfer = MIN_NON_ZERO(dst->max_transfer, src->max_transfer);
    dst->max_hw_transfer = MIN_NON_ZERO(dst->max_hw_transfer,
                                        src->max_hw_transfer);
    dst->opt_mem_alignment = MAX(dst->opt_mem_alignment,
                                 src->opt_mem_alignment);
    dst->min_mem_alignment = MAX(dst->min_mem_alignment,
                                 src->min_mem_alignment);
    dst->max_iov = MIN_NON_ZERO(dst->max_iov, src->max_iov);
}

void bdrv_refresh_limits(BlockDriverState *bs, Error **errp)
{
    BdrvChild *c;
    bool have_limits = false;

    memset(&bs->bl, 0, sizeof(bs->bl));
    bs->bl.request_alignment = 1;
    if (!bs->drv) {
        return;
    }
    if (!bs->drv->protocol_name) {
        bs->bl.request_alignment = bs->drv->is_filter ? 1 : BDRV_SECTOR_SIZE;
    }
    QLIST_FOREACH(c, &bs->children, next) {
        if (c->role & (BDRV_CHILD_DATA | BDRV_CHILD_FILTERED |
                       BDRV_CHILD_COW)) {
            bdrv_merge_limits(&bs->bl, &c->bs->bl);
            have_limits = true;
        }
    }
    if (!have_limits) {
        bs->bl.min_mem_alignment = 512;
        bs->bl.opt_mem_alignment = qemu_real_host_page_size();
        bs->bl.max_iov = IOV_MAX;
    }
    if (bs->drv->bdrv_refresh_limits) {
        bs->drv->bdrv_refresh_limits(bs, errp);
    }
    assert(is_power_of_2(bs->bl.request_alignment));
}

struct json_object *bdrv_get_specific_info(BlockDriverState *bs, Error **errp)
{
    if (!bs->drv || !bs->drv->bdrv_get_specific_info) {
        return NULL;
    }
    return bs->drv->bdrv_get_specific_info(bs, errp);
}

int bdrv_has_zero_init(BlockDriverState *bs)
{
    if (!bs->drv || bs->backing) {
        return 0;
    }
    if (bs->drv->bdrv_has_zero_init) {
        return bs->drv->bdrv_has_zero_init(bs);
    }
    return bs->drv->is_filter && bs->file ?
           bdrv_has_zero_init(bs->file->bs) : 0;
}

/* --- memory for direct I/O --- */

size_t bdrv_opt_mem_align(BlockDriverState *bs)
{
    return bs && bs->drv && bs->bl.opt_mem_alignment ?
           bs->bl.opt_mem_alignment :
           MAX(4096, qemu_real_host_page_size());
}

size_t bdrv_min_mem_align(BlockDriverState *bs)
{
    return bs && bs->drv && bs->bl.min_mem_alignment ?
           bs->bl.min_mem_alignment :
           MAX(4096, qemu_real_host_page_size());
}

void *qemu_blockalign(BlockDriverState *bs, size_t size)
{
    return qemu_memalign(bdrv_opt_mem_align(bs), size);
}

void *qemu_blockalign0(BlockDriverState *bs, size_t size)
{
    return memset(qemu_blockalign(bs, size), 0, size);
}

void *qemu_try_blockalign(BlockDriverState *bs, size_t size)
{
    return qemu_try_memalign(bdrv_opt_mem_align(bs), MAX(size, 1));
}

bool bdrv_qiov_is_aligned(BlockDriverState *bs, QEMUIOVector *qiov,
                          size_t qiov_offset, size_t bytes)
{
    size_t align = bdrv_min_mem_align(bs);
    size_t len = bs->bl.request_alignment;
    int i;

    if (likely(qiov->niov == 1)) {
        uintptr_t base = (uintptr_t)qiov->iov[0].iov_base + qiov_offset;

        return !(base & (align - 1)) && !(bytes & (len - 1));
    }
    for (i = 0; i < qiov->niov && bytes; i++) {
        size_t elem = qiov->iov[i].iov_len, n;
        uintptr_t base = (uintptr_t)qiov->iov[i].iov_base;

        if (qiov_offset >= elem) {
            qiov_offset -= elem;
            continue;
        }
        n = MIN(elem - qiov_offset, bytes);
        if (((base + qiov_offset) & (align - 1)) || (n & (len - 1))) {
            return false;
        }
        bytes -= n;
        qiov_offset = 0;
    }
    return true;
}

/* --- blkdebug --- */

static BlockDriverState *bdrv_find_debug_node(BlockDriverState *bs)
{
    while (bs && bs->drv && !bs->drv->bdrv_debug_breakpoint) {
        bs = bs->file ? bs->file->bs : NULL;
    }
    return bs && bs->drv ? bs : NULL;
}

int bdrv_debug_breakpoint(BlockDriverState *bs, const char *event,
                          const char *tag)
{
    bs = bdrv_find_debug_node(bs);
    return bs ? bs->drv->bdrv_debug_breakpoint(bs, event, tag) : -ENOTSUP;
}

int bdrv_debug_remove_breakpoint(BlockDriverState *bs, const char *tag)
{
    bs = bdrv_find_debug_node(bs);
    return bs ? bs->drv->bdrv_debug_remove_breakpoint(bs, tag) : -ENOTSUP;
}

int bdrv_debug_resume(BlockDriverState *bs, const char *tag)
{
    bs = bdrv_find_debug_node(bs);
    return bs ? bs->drv->bdrv_debug_resume(bs, tag) : -ENOTSUP;
}

bool bdrv_debug_is_suspended(BlockDriverState *bs, const char *tag)
{
    bs = bdrv_find_debug_node(bs);
    return bs && bs->drv->bdrv_debug_is_suspended(bs, tag);
}
