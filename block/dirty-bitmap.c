/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dirty bitmaps.  See include/block/dirty-bitmap.h.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "block/dirty-bitmap.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"

/* Under bs->dirty_bitmap_mutex, but for what does not change. */
struct BdrvDirtyBitmap {
    BlockDriverState *bs;       /* does not change */
    HBitmap *bitmap;
    char *name;                 /* NULL: anonymous */
    bool busy;                  /* a job uses it */
    bool disabled;              /* writes are not seen */
    bool inconsistent;          /* it lacks writes, and is of no use */
    int64_t size;               /* of bs */
    BdrvDirtyBitmap *successor;
    QLIST_ENTRY(BdrvDirtyBitmap) list;
};

void bdrv_dirty_bitmap_lock(BdrvDirtyBitmap *bitmap)
{
    qemu_mutex_lock(&bitmap->bs->dirty_bitmap_mutex);
}

void bdrv_dirty_bitmap_unlock(BdrvDirtyBitmap *bitmap)
{
    qemu_mutex_unlock(&bitmap->bs->dirty_bitmap_mutex);
}

static inline void bitmap_unlock_cleanup(BdrvDirtyBitmap **bitmap)
{
    bdrv_dirty_bitmap_unlock(*bitmap);
}

#define BITMAP_LOCK_GUARD(b) \
    BdrvDirtyBitmap *bitmap_guard_ \
        __attribute__((cleanup(bitmap_unlock_cleanup), unused)) = \
        (bdrv_dirty_bitmap_lock((BdrvDirtyBitmap *)(b)), \
         (BdrvDirtyBitmap *)(b))

/* --- life --- */

BdrvDirtyBitmap *bdrv_find_dirty_bitmap(BlockDriverState *bs, const char *name)
{
    BdrvDirtyBitmap *bm;

    QEMU_LOCK_GUARD(&bs->dirty_bitmap_mutex);
    QLIST_FOREACH(bm, &bs->dirty_bitmaps, list) {
        if (bm->name && !strcmp(name, bm->name)) {
            return bm;
        }
    }
    return NULL;
}

BdrvDirtyBitmap *bdrv_dirty_bitmap_next(BlockDriverState *bs,
                                        BdrvDirtyBitmap *bitmap)
{
    return bitmap ? QLIST_NEXT(bitmap, list) :
           QLIST_FIRST(&bs->dirty_bitmaps);
}

bool bdrv_has_named_bitmaps(BlockDriverState *bs)
{
    BdrvDirtyBitmap *bm;

    QEMU_LOCK_GUARD(&bs->dirty_bitmap_mutex);
    QLIST_FOREACH(bm, &bs->dirty_bitmaps, list) {
        if (bm->name) {
            return true;
        }
    }
    return false;
}

uint32_t bdrv_get_default_bitmap_granularity(BlockDriverState *bs)
{
    BlockDriverInfo bdi;

    if (bdrv_get_info(bs, &bdi) < 0 || bdi.cluster_size <= 0) {
        return 64 * KiB;
    }
    return MIN(MAX(4 * KiB, (uint32_t)bdi.cluster_size), 64 * KiB);
}

BdrvDirtyBitmap *bdrv_create_dirty_bitmap(BlockDriverState *bs,
                                          uint32_t granularity,
                                          const char *name, Error **errp)
{
    BdrvDirtyBitmap *bitmap;
    HBitmap *bits;
    int64_t size;

    GLOBAL_STATE_CODE();
    assert(is_power_of_2(granularity) &&
           granularity >= BDRV_BITMAP_MIN_GRANULARITY);
    if (name && strlen(name) > BDRV_BITMAP_MAX_NAME_SIZE) {
        error_setg(errp, "Bitmap name too long: %.32s... (%d bytes at most)",
                   name, BDRV_BITMAP_MAX_NAME_SIZE);
        return NULL;
    }
    if (name && bdrv_find_dirty_bitmap(bs, name)) {
        error_setg(errp, "Bitmap already exists: %s", name);
        return NULL;
    }
    size = bdrv_getlength(bs);
    if (size < 0) {
        error_setg_errno(errp, -size, "could not get length of device");
        return NULL;
    }
    bits = hbitmap_try_alloc(size, ctz64(granularity));
    if (!bits) {
        error_setg(errp, "no memory for a bitmap of %" PRId64 " bytes with "
                   "granularity %" PRIu32, size, granularity);
        return NULL;
    }
    bitmap = g_new0(BdrvDirtyBitmap, 1);
    bitmap->bs = bs;
    bitmap->bitmap = bits;
    bitmap->size = size;
    bitmap->name = g_strdup(name);
    QEMU_LOCK_GUARD(&bs->dirty_bitmap_mutex);
    QLIST_INSERT_HEAD(&bs->dirty_bitmaps, bitmap, list);
    /*
     * A full barrier, as is the counting of a write that has ended before it
     * reads this: a write that does not see the bitmap is seen by all that is
     * read from now on.
     */
    qatomic_inc(&bs->n_dirty_bitmaps);
    return bitmap;
}

static void bitmap_release_locked(BdrvDirtyBitmap *bitmap)
{
    assert(!bitmap->busy && !bitmap->successor);
    QLIST_REMOVE(bitmap, list);
    qatomic_dec(&bitmap->bs->n_dirty_bitmaps);
    hbitmap_free(bitmap->bitmap);
    g_free(bitmap->name);
    g_free(bitmap);
}

void bdrv_release_dirty_bitmap(BdrvDirtyBitmap *bitmap)
{
    BlockDriverState *bs = bitmap->bs;

    GLOBAL_STATE_CODE();
    QEMU_LOCK_GUARD(&bs->dirty_bitmap_mutex);
    bitmap_release_locked(bitmap);
}

void bdrv_release_all_dirty_bitmaps(BlockDriverState *bs)
{
    BdrvDirtyBitmap *bitmap;

    QEMU_LOCK_GUARD(&bs->dirty_bitmap_mutex);
    while ((bitmap = QLIST_FIRST(&bs->dirty_bitmaps))) {
        bitmap_release_locked(bitmap);
    }
}

/* --- properties --- */

const char *bdrv_dirty_bitmap_name(const BdrvDirtyBitmap *bitmap)
{
    return bitmap->name;
}

uint32_t bdrv_dirty_bitmap_granularity(const BdrvDirtyBitmap *bitmap)
{
    return 1u << hbitmap_granularity(bitmap->bitmap);
}

int64_t bdrv_dirty_bitmap_size(const BdrvDirtyBitmap *bitmap)
{
    return bitmap->size;
}

bool bdrv_dirty_bitmap_has_successor(BdrvDirtyBitmap *bitmap)
{
    return bitmap->successor;
}

bool bdrv_dirty_bitmap_busy(const BdrvDirtyBitmap *bitmap)
{
    return bitmap->busy;
}

bool bdrv_dirty_bitmap_inconsistent(const BdrvDirtyBitmap *bitmap)
{
    BITMAP_LOCK_GUARD(bitmap);
    return bitmap->inconsistent;
}

void bdrv_dirty_bitmap_set_busy(BdrvDirtyBitmap *bitmap, bool busy)
{
    BITMAP_LOCK_GUARD(bitmap);
    bitmap->busy = busy;
}

bool bdrv_dirty_bitmap_enabled(BdrvDirtyBitmap *bitmap)
{
    return !bitmap->disabled;
}

bool bdrv_dirty_bitmap_recording(BdrvDirtyBitmap *bitmap)
{
    BITMAP_LOCK_GUARD(bitmap);
    return !bitmap->disabled ||
           (bitmap->successor && !bitmap->successor->disabled);
}

void bdrv_enable_dirty_bitmap_locked(BdrvDirtyBitmap *bitmap)
{
    bitmap->disabled = false;
}

void bdrv_disable_dirty_bitmap_locked(BdrvDirtyBitmap *bitmap)
{
    bitmap->disabled = true;
}

void bdrv_enable_dirty_bitmap(BdrvDirtyBitmap *bitmap)
{
    BITMAP_LOCK_GUARD(bitmap);
    bdrv_enable_dirty_bitmap_locked(bitmap);
}

void bdrv_disable_dirty_bitmap(BdrvDirtyBitmap *bitmap)
{
    BITMAP_LOCK_GUARD(bitmap);
    bdrv_disable_dirty_bitmap_locked(bitmap);
}

int bdrv_dirty_bitmap_check(const BdrvDirtyBitmap *bitmap, uint32_t flags,
                            Error **errp)
{
    /* No image format of this tree stores bitmaps: none is read-only. */
    if ((flags & BDRV_BITMAP_BUSY) && bitmap->busy) {
        error_setg(errp, "Bitmap '%s' is currently in use by another "
                   "operation and cannot be used", bitmap->name);
        return -1;
    }
    if ((flags & BDRV_BITMAP_INCONSISTENT) &&
        bdrv_dirty_bitmap_inconsistent(bitmap)) {
        error_setg(errp, "Bitmap '%s' is inconsistent and cannot be used",
                   bitmap->name);
        error_append_hint(errp, "Try block-dirty-bitmap-remove to delete "
                          "this bitmap\n");
        return -1;
    }
    return 0;
}

int64_t bdrv_get_dirty_count(BdrvDirtyBitmap *bitmap)
{
    BITMAP_LOCK_GUARD(bitmap);
    return hbitmap_count(bitmap->bitmap);
}

char *bdrv_dirty_bitmap_sha256(const BdrvDirtyBitmap *bitmap)
{
    BITMAP_LOCK_GUARD(bitmap);
    return hbitmap_sha256(bitmap->bitmap);
}

/* --- successors --- */

int bdrv_dirty_bitmap_create_successor(BdrvDirtyBitmap *bitmap, Error **errp)
{
    BdrvDirtyBitmap *child;

    if (bdrv_dirty_bitmap_check(bitmap, BDRV_BITMAP_BUSY, errp) < 0) {
        return -1;
    }
    if (bitmap->successor) {
        error_setg(errp, "Cannot create a successor for a bitmap that already "
                   "has one");
        return -1;
    }
    child = bdrv_create_dirty_bitmap(bitmap->bs,
                                     bdrv_dirty_bitmap_granularity(bitmap),
                                     NULL, errp);
    if (!child) {
        return -1;
    }
    BITMAP_LOCK_GUARD(bitmap);
    child->disabled = bitmap->disabled;
    bitmap->disabled = true;
    bitmap->successor = child;
    bitmap->busy = true;
    return 0;
}

BdrvDirtyBitmap *bdrv_dirty_bitmap_abdicate(BdrvDirtyBitmap *parent,
                                            Error **errp)
{
    BdrvDirtyBitmap *successor = parent->successor;

    if (!successor) {
        error_setg(errp, "Cannot relinquish control if there's no successor "
                   "present");
        return NULL;
    }
    QEMU_LOCK_GUARD(&successor->bs->dirty_bitmap_mutex);
    successor->name = g_steal_pointer(&parent->name);
    parent->successor = NULL;
    parent->busy = false;
    bitmap_release_locked(parent);
    return successor;
}

BdrvDirtyBitmap *bdrv_reclaim_dirty_bitmap_locked(BdrvDirtyBitmap *parent,
                                                  Error **errp)
{
    BdrvDirtyBitmap *successor = parent->successor;

    if (!successor) {
        error_setg(errp, "Cannot reclaim a successor when none is present");
        return NULL;
    }
    if (successor->inconsistent || successor->size != parent->size) {
        parent->inconsistent = true;
    } else {
        hbitmap_merge(parent->bitmap, successor->bitmap, parent->bitmap);
    }
    parent->disabled = successor->disabled;
    parent->busy = false;
    parent->successor = NULL;
    bitmap_release_locked(successor);
    return parent;
}

BdrvDirtyBitmap *bdrv_reclaim_dirty_bitmap(BdrvDirtyBitmap *parent,
                                           Error **errp)
{
    BITMAP_LOCK_GUARD(parent);
    return bdrv_reclaim_dirty_bitmap_locked(parent, errp);
}

/* --- bits --- */

void bdrv_set_dirty_bitmap_locked(BdrvDirtyBitmap *bitmap, int64_t offset,
                                  int64_t bytes)
{
    hbitmap_set(bitmap->bitmap, offset, bytes);
}

void bdrv_reset_dirty_bitmap_locked(BdrvDirtyBitmap *bitmap, int64_t offset,
                                    int64_t bytes)
{
    hbitmap_reset(bitmap->bitmap, offset, bytes);
}

void bdrv_set_dirty_bitmap(BdrvDirtyBitmap *bitmap, int64_t offset,
                           int64_t bytes)
{
    BITMAP_LOCK_GUARD(bitmap);
    bdrv_set_dirty_bitmap_locked(bitmap, offset, bytes);
}

void bdrv_reset_dirty_bitmap(BdrvDirtyBitmap *bitmap, int64_t offset,
                             int64_t bytes)
{
    BITMAP_LOCK_GUARD(bitmap);
    bdrv_reset_dirty_bitmap_locked(bitmap, offset, bytes);
}

bool bdrv_dirty_bitmap_get_locked(BdrvDirtyBitmap *bitmap, int64_t offset)
{
    return hbitmap_get(bitmap->bitmap, offset);
}

bool bdrv_dirty_bitmap_get(BdrvDirtyBitmap *bitmap, int64_t offset)
{
    BITMAP_LOCK_GUARD(bitmap);
    return bdrv_dirty_bitmap_get_locked(bitmap, offset);
}

int64_t bdrv_dirty_bitmap_next_dirty(BdrvDirtyBitmap *bitmap, int64_t offset,
                                     int64_t bytes)
{
    BITMAP_LOCK_GUARD(bitmap);
    return hbitmap_next_dirty(bitmap->bitmap, offset, bytes);
}

int64_t bdrv_dirty_bitmap_next_zero(BdrvDirtyBitmap *bitmap, int64_t offset,
                                    int64_t bytes)
{
    BITMAP_LOCK_GUARD(bitmap);
    return hbitmap_next_zero(bitmap->bitmap, offset, bytes);
}

bool bdrv_dirty_bitmap_next_dirty_area(BdrvDirtyBitmap *bitmap, int64_t start,
                                       int64_t end, int64_t max_count,
                                       int64_t *dirty_start,
                                       int64_t *dirty_count)
{
    BITMAP_LOCK_GUARD(bitmap);
    return hbitmap_next_dirty_area(bitmap->bitmap, start, end, max_count,
                                   dirty_start, dirty_count);
}

bool bdrv_dirty_bitmap_status(BdrvDirtyBitmap *bitmap, int64_t offset,
                              int64_t bytes, int64_t *count)
{
    BITMAP_LOCK_GUARD(bitmap);
    /* The node may have become shorter, or too long for the bitmap. */
    if (offset >= bitmap->size) {
        *count = bytes;
        return bitmap->inconsistent;
    }
    return hbitmap_status(bitmap->bitmap, offset, bytes, count);
}

static HBitmap *bitmap_take_bits_locked(BdrvDirtyBitmap *bitmap)
{
    HBitmap *old = bitmap->bitmap;

    bitmap->bitmap = hbitmap_alloc(bitmap->size, hbitmap_granularity(old));
    return old;
}

void bdrv_clear_dirty_bitmap(BdrvDirtyBitmap *bitmap, HBitmap **out)
{
    BITMAP_LOCK_GUARD(bitmap);
    if (out) {
        *out = bitmap_take_bits_locked(bitmap);
    } else {
        hbitmap_reset_all(bitmap->bitmap);
    }
}

void bdrv_restore_dirty_bitmap(BdrvDirtyBitmap *bitmap, HBitmap *backup)
{
    BITMAP_LOCK_GUARD(bitmap);
    /* The node may have another length since then. */
    if (!hbitmap_try_truncate(backup, bitmap->size)) {
        bitmap->inconsistent = true;
        hbitmap_free(backup);
        return;
    }
    hbitmap_free(bitmap->bitmap);
    bitmap->bitmap = backup;
}

void bdrv_dirty_bitmap_merge_internal(BdrvDirtyBitmap *dest,
                                      const BdrvDirtyBitmap *src,
                                      HBitmap **backup, bool lock)
{
    /* In one order, whoever merges what. */
    QemuMutex *first = &MIN(dest->bs, src->bs)->dirty_bitmap_mutex;
    QemuMutex *second = &MAX(dest->bs, src->bs)->dirty_bitmap_mutex;

    if (lock) {
        qemu_mutex_lock(first);
        if (second != first) {
            qemu_mutex_lock(second);
        }
    }
    if (backup) {
        *backup = bitmap_take_bits_locked(dest);
        hbitmap_merge(*backup, src == dest ? *backup : src->bitmap,
                      dest->bitmap);
    } else {
        hbitmap_merge(dest->bitmap, src->bitmap, dest->bitmap);
    }
    if (lock) {
        if (second != first) {
            qemu_mutex_unlock(second);
        }
        qemu_mutex_unlock(first);
    }
}

bool bdrv_dirty_bitmap_can_merge(const BdrvDirtyBitmap *dest,
                                 const BdrvDirtyBitmap *src, Error **errp)
{
    if (bdrv_dirty_bitmap_check(dest, BDRV_BITMAP_DEFAULT, errp) < 0 ||
        bdrv_dirty_bitmap_check(src, BDRV_BITMAP_ALLOW_RO, errp) < 0) {
        return false;
    }
    if (dest->size != src->size) {
        error_setg(errp, "Bitmaps are of different sizes (destination size is "
                   "%" PRId64 ", source size is %" PRId64 ") and can't be "
                   "merged", dest->size, src->size);
        return false;
    }
    return true;
}

bool bdrv_merge_dirty_bitmap(BdrvDirtyBitmap *dest, const BdrvDirtyBitmap *src,
                             HBitmap **backup, Error **errp)
{
    if (!bdrv_dirty_bitmap_can_merge(dest, src, errp)) {
        return false;
    }
    bdrv_dirty_bitmap_merge_internal(dest, src, backup, true);
    return true;
}

/* --- for the request path --- */

/* A bitmap that cannot follow its node lacks what is written from now on. */
static void bitmap_resize_locked(BdrvDirtyBitmap *bitmap, int64_t bytes)
{
    if (hbitmap_try_truncate(bitmap->bitmap, bytes)) {
        bitmap->size = bytes;
        return;
    }
    bitmap->inconsistent = true;
    if (bitmap->name) {
        warn_report("no memory for bitmap '%s' of node '%s', which has %"
                    PRId64 " bytes now: the bitmap can only be removed",
                    bitmap->name, bitmap->bs->node_name, bytes);
    }
}

/* Under the mutex: of several changes of the size at once the last counts. */
static void bdrv_dirty_bitmap_truncate_locked(BlockDriverState *bs)
{
    int64_t bytes = qatomic_read(&bs->total_sectors) * BDRV_SECTOR_SIZE;
    BdrvDirtyBitmap *bm;

    QLIST_FOREACH(bm, &bs->dirty_bitmaps, list) {
        if (bm->size != bytes && !bm->inconsistent) {
            bitmap_resize_locked(bm, bytes);
        }
    }
}

void bdrv_dirty_bitmap_truncate(BlockDriverState *bs)
{
    if (likely(!qatomic_read(&bs->n_dirty_bitmaps))) {
        return;
    }
    QEMU_LOCK_GUARD(&bs->dirty_bitmap_mutex);
    bdrv_dirty_bitmap_truncate_locked(bs);
}

void bdrv_set_dirty(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    BdrvDirtyBitmap *bm;

    /* A bitmap that comes meanwhile is for the writes that start later. */
    if (likely(!qatomic_read(&bs->n_dirty_bitmaps))) {
        return;
    }
    QEMU_LOCK_GUARD(&bs->dirty_bitmap_mutex);
    /* Another thread may have made the node longer, and not the bitmaps yet. */
    bdrv_dirty_bitmap_truncate_locked(bs);
    QLIST_FOREACH(bm, &bs->dirty_bitmaps, list) {
        if (!bm->disabled && offset < bm->size) {
            hbitmap_set(bm->bitmap, offset, MIN(bytes, bm->size - offset));
        }
    }
}
