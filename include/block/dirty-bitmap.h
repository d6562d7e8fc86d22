/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dirty bitmaps: which parts of a node have been written since some moment.
 *
 * A bitmap belongs to a node; every write, write of zeroes, discard and
 * truncation of the node sets bits in the bitmaps that are enabled.  Named
 * ones are the users' and are found by name; those without a name are the
 * jobs'.
 *
 * A successor takes the writes over while a job works on its bitmap: on
 * success it takes the bitmap's place (abdicate), on failure it is merged back
 * (reclaim).
 *
 * Creating, releasing and naming: main thread.  Functions that end in _locked
 * are called between bdrv_dirty_bitmap_lock() and _unlock(), from any thread;
 * the others take the lock themselves.  All ranges are in bytes.
 */
#ifndef BLOCK_DIRTY_BITMAP_H
#define BLOCK_DIRTY_BITMAP_H

#include "block/block-common.h"
#include "qapi/error.h"
#include "qemu/hbitmap.h"
#include "qemu/typedefs.h"

typedef struct BdrvDirtyBitmap BdrvDirtyBitmap;

typedef enum BitmapCheckFlags {
    BDRV_BITMAP_BUSY = 1,       /* a job uses it */
    BDRV_BITMAP_RO = 2,         /* its image cannot store changes */
    BDRV_BITMAP_INCONSISTENT = 4,
} BitmapCheckFlags;

#define BDRV_BITMAP_DEFAULT \
    (BDRV_BITMAP_BUSY | BDRV_BITMAP_RO | BDRV_BITMAP_INCONSISTENT)
#define BDRV_BITMAP_ALLOW_RO (BDRV_BITMAP_BUSY | BDRV_BITMAP_INCONSISTENT)

#define BDRV_BITMAP_MAX_NAME_SIZE 1023
#define BDRV_BITMAP_MIN_GRANULARITY 512

/*
 * A new, enabled, empty bitmap with bits for @granularity bytes, a power of 2
 * of at least 512.  @name NULL: anonymous.  NULL with @errp set on failure.
 */
BdrvDirtyBitmap *bdrv_create_dirty_bitmap(BlockDriverState *bs,
                                          uint32_t granularity,
                                          const char *name, Error **errp);
/* It must not be busy. */
void bdrv_release_dirty_bitmap(BdrvDirtyBitmap *bitmap);
/* When a node goes away: all that it has. */
void bdrv_release_all_dirty_bitmaps(BlockDriverState *bs);

BdrvDirtyBitmap *bdrv_find_dirty_bitmap(BlockDriverState *bs,
                                        const char *name);
/* The next named or anonymous bitmap of @bs; the first for NULL. */
BdrvDirtyBitmap *bdrv_dirty_bitmap_next(BlockDriverState *bs,
                                        BdrvDirtyBitmap *bitmap);
bool bdrv_has_named_bitmaps(BlockDriverState *bs);

/* 0, or -1 with @errp set if any of what @flags name holds. */
int bdrv_dirty_bitmap_check(const BdrvDirtyBitmap *bitmap, uint32_t flags,
                            Error **errp);

/* The cluster size of the image between 4 KiB and 64 KiB; 64 KiB if none. */
uint32_t bdrv_get_default_bitmap_granularity(BlockDriverState *bs);

/* --- successors --- */

/* 0, or -1 with @errp set.  The bitmap is busy from then on. */
int bdrv_dirty_bitmap_create_successor(BdrvDirtyBitmap *bitmap, Error **errp);
/* Give the name to the successor, which is returned; the parent is freed. */
BdrvDirtyBitmap *bdrv_dirty_bitmap_abdicate(BdrvDirtyBitmap *parent,
                                            Error **errp);
/* Merge the successor into the parent, which is returned. */
BdrvDirtyBitmap *bdrv_reclaim_dirty_bitmap(BdrvDirtyBitmap *parent,
                                           Error **errp);
BdrvDirtyBitmap *bdrv_reclaim_dirty_bitmap_locked(BdrvDirtyBitmap *parent,
                                                  Error **errp);
bool bdrv_dirty_bitmap_has_successor(BdrvDirtyBitmap *bitmap);

/* --- properties --- */

void bdrv_enable_dirty_bitmap(BdrvDirtyBitmap *bitmap);
void bdrv_disable_dirty_bitmap(BdrvDirtyBitmap *bitmap);
void bdrv_enable_dirty_bitmap_locked(BdrvDirtyBitmap *bitmap);
void bdrv_disable_dirty_bitmap_locked(BdrvDirtyBitmap *bitmap);
bool bdrv_dirty_bitmap_enabled(BdrvDirtyBitmap *bitmap);
/* The writes of now are seen, be it by a successor. */
bool bdrv_dirty_bitmap_recording(BdrvDirtyBitmap *bitmap);
void bdrv_dirty_bitmap_set_busy(BdrvDirtyBitmap *bitmap, bool busy);
bool bdrv_dirty_bitmap_busy(const BdrvDirtyBitmap *bitmap);
/* It had no memory when its node grew: it lacks writes since then. */
bool bdrv_dirty_bitmap_inconsistent(const BdrvDirtyBitmap *bitmap);
/* NULL: anonymous. */
const char *bdrv_dirty_bitmap_name(const BdrvDirtyBitmap *bitmap);
uint32_t bdrv_dirty_bitmap_granularity(const BdrvDirtyBitmap *bitmap);
int64_t bdrv_dirty_bitmap_size(const BdrvDirtyBitmap *bitmap);
/* Dirty bytes. */
int64_t bdrv_get_dirty_count(BdrvDirtyBitmap *bitmap);
/* SHA-256 of the bits; to be freed. */
char *bdrv_dirty_bitmap_sha256(const BdrvDirtyBitmap *bitmap);

/* --- bits --- */

void bdrv_dirty_bitmap_lock(BdrvDirtyBitmap *bitmap);
void bdrv_dirty_bitmap_unlock(BdrvDirtyBitmap *bitmap);

void bdrv_set_dirty_bitmap(BdrvDirtyBitmap *bitmap, int64_t offset,
                           int64_t bytes);
void bdrv_reset_dirty_bitmap(BdrvDirtyBitmap *bitmap, int64_t offset,
                             int64_t bytes);
void bdrv_set_dirty_bitmap_locked(BdrvDirtyBitmap *bitmap, int64_t offset,
                                  int64_t bytes);
void bdrv_reset_dirty_bitmap_locked(BdrvDirtyBitmap *bitmap, int64_t offset,
                                    int64_t bytes);
bool bdrv_dirty_bitmap_get(BdrvDirtyBitmap *bitmap, int64_t offset);
bool bdrv_dirty_bitmap_get_locked(BdrvDirtyBitmap *bitmap, int64_t offset);
/* As hbitmap_next_dirty() and its kin. */
int64_t bdrv_dirty_bitmap_next_dirty(BdrvDirtyBitmap *bitmap, int64_t offset,
                                     int64_t bytes);
int64_t bdrv_dirty_bitmap_next_zero(BdrvDirtyBitmap *bitmap, int64_t offset,
                                    int64_t bytes);
bool bdrv_dirty_bitmap_next_dirty_area(BdrvDirtyBitmap *bitmap, int64_t start,
                                       int64_t end, int64_t max_count,
                                       int64_t *dirty_start,
                                       int64_t *dirty_count);
bool bdrv_dirty_bitmap_status(BdrvDirtyBitmap *bitmap, int64_t offset,
                              int64_t bytes, int64_t *count);
/*
 * Clear all; with @out, *@out is what was there, for
 * bdrv_restore_dirty_bitmap() or hbitmap_free().
 */
void bdrv_clear_dirty_bitmap(BdrvDirtyBitmap *bitmap, HBitmap **out);
void bdrv_restore_dirty_bitmap(BdrvDirtyBitmap *bitmap, HBitmap *backup);
/* Whether the two can be merged, now; false with @errp set. */
bool bdrv_dirty_bitmap_can_merge(const BdrvDirtyBitmap *dest,
                                 const BdrvDirtyBitmap *src, Error **errp);
/*
 * @dest becomes the union of both, which may belong to two nodes of one size.
 * With @backup, *@backup is what @dest was.
 */
bool bdrv_merge_dirty_bitmap(BdrvDirtyBitmap *dest, const BdrvDirtyBitmap *src,
                             HBitmap **backup, Error **errp);
/* The same for a job: busy ones may be merged; no checks. */
void bdrv_dirty_bitmap_merge_internal(BdrvDirtyBitmap *dest,
                                      const BdrvDirtyBitmap *src,
                                      HBitmap **backup, bool lock);

/* --- for the request path --- */

/* A part of @bs has changed. */
void bdrv_set_dirty(BlockDriverState *bs, int64_t offset, int64_t bytes);
/* bs->total_sectors has changed.  Any thread. */
void bdrv_dirty_bitmap_truncate(BlockDriverState *bs);

#endif
