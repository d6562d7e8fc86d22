/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hierarchical bitmap: a large bitmap, few bits of which are set.
 *
 * One bit of the lowest level stands for 2^granularity items (bytes, for the
 * dirty bitmaps); one bit of each level above it says whether any bit of a
 * word below is set.  So the next set bit is found in a number of steps that
 * depends on the number of levels, and not on the distance.
 *
 * Ranges are in items, and may be of any alignment; items beyond the size
 * must not be named.  Nothing here locks: callers do.  Any thread.
 */
#ifndef QEMU_HBITMAP_H
#define QEMU_HBITMAP_H

typedef struct HBitmap HBitmap;

/* All clear.  2^@granularity items per bit, 0..63.  hbitmap_free() frees. */
HBitmap *hbitmap_alloc(uint64_t size, int granularity);
/* The same, but NULL without memory. */
HBitmap *hbitmap_try_alloc(uint64_t size, int granularity);
/* NULL is fine. */
void hbitmap_free(HBitmap *hb);

/* The new items are clear.  False without memory: @hb is as it was. */
bool hbitmap_try_truncate(HBitmap *hb, uint64_t size);

bool hbitmap_empty(const HBitmap *hb);
int hbitmap_granularity(const HBitmap *hb);
uint64_t hbitmap_size(const HBitmap *hb);
/* Items in the set bits, as many as the size allows. */
uint64_t hbitmap_count(const HBitmap *hb);

/* Sets the bits that the range touches. */
void hbitmap_set(HBitmap *hb, uint64_t start, uint64_t count);
/*
 * Clears the bits of the range, which must begin and end at boundaries of
 * bits, or end with the bitmap.
 */
void hbitmap_reset(HBitmap *hb, uint64_t start, uint64_t count);
void hbitmap_reset_all(HBitmap *hb);
bool hbitmap_get(const HBitmap *hb, uint64_t item);

/*
 * The first set (clear) item at or after @start, among the next @count; -1 if
 * there is none.
 */
int64_t hbitmap_next_dirty(const HBitmap *hb, int64_t start, int64_t count);
int64_t hbitmap_next_zero(const HBitmap *hb, int64_t start, int64_t count);
/*
 * The first area of set items in [@start, @end), of at most @max_count items.
 * False if there is none.
 */
bool hbitmap_next_dirty_area(const HBitmap *hb, int64_t start, int64_t end,
                             int64_t max_count, int64_t *dirty_start,
                             int64_t *dirty_count);
/* Is @start set?  *@pnum: how many of the next @count items are the same. */
bool hbitmap_status(const HBitmap *hb, int64_t start, int64_t count,
                    int64_t *pnum);

/*
 * *@result becomes the union of @a and @b, all of one size; the granularities
 * may differ.  @result may be @a or @b.
 */
void hbitmap_merge(const HBitmap *a, const HBitmap *b, HBitmap *result);

/* SHA-256 of the lowest level's words, in hexadecimal; to be freed. */
char *hbitmap_sha256(const HBitmap *hb);

#endif
