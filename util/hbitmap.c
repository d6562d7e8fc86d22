/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hierarchical bitmaps.  See include/qemu/hbitmap.h.
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/hbitmap.h"

#define WORD_SHIFT 6
#define WORD_BITS (1u << WORD_SHIFT)
/* 64^11 bits are more than there are bytes. */
#define MAX_LEVELS 11

struct HBitmap {
    uint64_t size;              /* items */
    uint64_t bits;              /* in level 0 */
    uint64_t set;               /* set bits of level 0 */
    int granularity;
    int n_levels;
    uint64_t n_words[MAX_LEVELS];
    uint64_t *levels[MAX_LEVELS];   /* 0 is the lowest */
};

/* Work out the levels for hb->size. */
static void hbitmap_layout(HBitmap *hb)
{
    uint64_t n;
    int i = 0;

    hb->bits = hb->size ? ((hb->size - 1) >> hb->granularity) + 1 : 0;
    n = hb->bits;
    do {
        n = MAX((n + WORD_BITS - 1) >> WORD_SHIFT, 1);
        assert(i < MAX_LEVELS);
        hb->n_words[i++] = n;
    } while (n > 1);
    hb->n_levels = i;
}

HBitmap *hbitmap_try_alloc(uint64_t size, int granularity)
{
    HBitmap *hb = g_new0(HBitmap, 1);
    int i;

    assert(granularity >= 0 && granularity < 64 && size <= INT64_MAX);
    hb->size = size;
    hb->granularity = granularity;
    hbitmap_layout(hb);
    for (i = 0; i < hb->n_levels; i++) {
        hb->levels[i] = g_try_new0(uint64_t, hb->n_words[i]);
        if (!hb->levels[i]) {
            hbitmap_free(hb);
            return NULL;
        }
    }
    return hb;
}

HBitmap *hbitmap_alloc(uint64_t size, int granularity)
{
    HBitmap *hb = hbitmap_try_alloc(size, granularity);

    if (!hb) {
        g_error("no memory for a bitmap of %" PRIu64 " items", size);
    }
    return hb;
}

void hbitmap_free(HBitmap *hb)
{
    int i;

    if (!hb) {
        return;
    }
    for (i = 0; i < hb->n_levels; i++) {
        g_free(hb->levels[i]);
    }
    g_free(hb);
}

bool hbitmap_empty(const HBitmap *hb)
{
    return hb->set == 0;
}

int hbitmap_granularity(const HBitmap *hb)
{
    return hb->granularity;
}

uint64_t hbitmap_size(const HBitmap *hb)
{
    return hb->size;
}

static bool hb_test(const HBitmap *hb, uint64_t bit)
{
    return hb->levels[0][bit >> WORD_SHIFT] >> (bit & (WORD_BITS - 1)) & 1;
}

uint64_t hbitmap_count(const HBitmap *hb)
{
    uint64_t items = hb->set << hb->granularity;

    /* The last bit may stand for fewer items. */
    if (hb->bits && hb_test(hb, hb->bits - 1)) {
        items -= (hb->bits << hb->granularity) - hb->size;
    }
    return items;
}

bool hbitmap_get(const HBitmap *hb, uint64_t item)
{
    assert(item < hb->size);
    return hb_test(hb, item >> hb->granularity);
}

/* The bits @first..@last of one word. */
static uint64_t hb_mask(unsigned first, unsigned last)
{
    return (~0ull << first) & (~0ull >> (WORD_BITS - 1 - last));
}

/* A word of @level has become nonzero: tell the levels above. */
static void hb_summary_set(HBitmap *hb, int level, uint64_t word)
{
    for (level++; level < hb->n_levels; level++) {
        uint64_t *w = &hb->levels[level][word >> WORD_SHIFT];
        bool was = *w;

        *w |= 1ull << (word & (WORD_BITS - 1));
        if (was) {
            break;
        }
        word >>= WORD_SHIFT;
    }
}

/* A word of @level has become zero. */
static void hb_summary_clear(HBitmap *hb, int level, uint64_t word)
{
    for (level++; level < hb->n_levels; level++) {
        uint64_t *w = &hb->levels[level][word >> WORD_SHIFT];

        *w &= ~(1ull << (word & (WORD_BITS - 1)));
        if (*w) {
            break;
        }
        word >>= WORD_SHIFT;
    }
}

/* Make the bits @first..@last of level 0 @value. */
static void hb_change(HBitmap *hb, uint64_t first, uint64_t last, bool value)
{
    uint64_t word;

    for (word = first >> WORD_SHIFT; word <= last >> WORD_SHIFT; word++) {
        unsigned from = word == first >> WORD_SHIFT ?
                        first & (WORD_BITS - 1) : 0;
        unsigned to = word == last >> WORD_SHIFT ?
                      last & (WORD_BITS - 1) : WORD_BITS - 1;
        uint64_t old = hb->levels[0][word];
        uint64_t new = value ? old | hb_mask(from, to) :
                       old & ~hb_mask(from, to);

        if (new == old) {
            continue;
        }
        hb->levels[0][word] = new;
        hb->set += ctpop64(new) - ctpop64(old);
        if (!old) {
            hb_summary_set(hb, 0, word);
        } else if (!new) {
            hb_summary_clear(hb, 0, word);
        }
    }
}

void hbitmap_set(HBitmap *hb, uint64_t start, uint64_t count)
{
    if (!count) {
        return;
    }
    assert(start < hb->size && count <= hb->size - start);
    hb_change(hb, start >> hb->granularity,
              (start + count - 1) >> hb->granularity, true);
}

void hbitmap_reset(HBitmap *hb, uint64_t start, uint64_t count)
{
    uint64_t mask = (1ull << hb->granularity) - 1;

    if (!count) {
        return;
    }
    assert(start < hb->size && count <= hb->size - start);
    assert(!(start & mask));
    assert(!(count & mask) || start + count == hb->size);
    hb_change(hb, start >> hb->granularity,
              (start + count - 1) >> hb->granularity, false);
}

void hbitmap_reset_all(HBitmap *hb)
{
    int i;

    for (i = 0; i < hb->n_levels; i++) {
        memset(hb->levels[i], 0, hb->n_words[i] * sizeof(uint64_t));
    }
    hb->set = 0;
}

/* The first set bit of @level at or after @bit; UINT64_MAX for none. */
static uint64_t hb_find_set(const HBitmap *hb, int level, uint64_t bit)
{
    uint64_t word = bit >> WORD_SHIFT;
    uint64_t w;

    if (word >= hb->n_words[level]) {
        return UINT64_MAX;
    }
    w = hb->levels[level][word] & (~0ull << (bit & (WORD_BITS - 1)));
    if (!w) {
        if (level + 1 == hb->n_levels) {
            return UINT64_MAX;
        }
        word = hb_find_set(hb, level + 1, word + 1);
        if (word == UINT64_MAX) {
            return UINT64_MAX;
        }
        w = hb->levels[level][word];
    }
    return (word << WORD_SHIFT) + ctz64(w);
}

/* [@start, @start + @count) cut to the bitmap; false if nothing is left. */
static bool hb_clip(const HBitmap *hb, int64_t start, int64_t *count)
{
    assert(start >= 0 && *count >= 0);
    if ((uint64_t)start >= hb->size || !*count) {
        return false;
    }
    *count = MIN((uint64_t)*count, hb->size - start);
    return true;
}

int64_t hbitmap_next_dirty(const HBitmap *hb, int64_t start, int64_t count)
{
    uint64_t bit, item;

    if (!hb_clip(hb, start, &count)) {
        return -1;
    }
    bit = hb_find_set(hb, 0, start >> hb->granularity);
    if (bit == UINT64_MAX) {
        return -1;
    }
    item = MAX(bit << hb->granularity, (uint64_t)start);
    return item < (uint64_t)start + count ? (int64_t)item : -1;
}

int64_t hbitmap_next_zero(const HBitmap *hb, int64_t start, int64_t count)
{
    uint64_t bit, word, last, w, item;

    if (!hb_clip(hb, start, &count)) {
        return -1;
    }
    bit = start >> hb->granularity;
    last = (start + count - 1) >> hb->granularity;
    word = bit >> WORD_SHIFT;
    w = ~hb->levels[0][word] & (~0ull << (bit & (WORD_BITS - 1)));
    while (!w) {
        if (++word > last >> WORD_SHIFT) {
            return -1;
        }
        w = ~hb->levels[0][word];
    }
    bit = (word << WORD_SHIFT) + ctz64(w);
    item = MAX(bit << hb->granularity, (uint64_t)start);
    return item < (uint64_t)start + count ? (int64_t)item : -1;
}

bool hbitmap_next_dirty_area(const HBitmap *hb, int64_t start, int64_t end,
                             int64_t max_count, int64_t *dirty_start,
                             int64_t *dirty_count)
{
    int64_t zero;

    assert(start >= 0 && max_count > 0);
    end = MIN((uint64_t)MAX(end, 0), hb->size);
    if (start >= end) {
        return false;
    }
    start = hbitmap_next_dirty(hb, start, end - start);
    if (start < 0) {
        return false;
    }
    end = MIN(end - start, max_count) + start;
    zero = hbitmap_next_zero(hb, start, end - start);
    *dirty_start = start;
    *dirty_count = (zero < 0 ? end : zero) - start;
    return true;
}

bool hbitmap_status(const HBitmap *hb, int64_t start, int64_t count,
                    int64_t *pnum)
{
    bool set = hbitmap_get(hb, start);
    int64_t next = set ? hbitmap_next_zero(hb, start, count) :
                   hbitmap_next_dirty(hb, start, count);

    *pnum = next < 0 ? MIN((uint64_t)count, hb->size - start) : next - start;
    return set;
}

bool hbitmap_try_truncate(HBitmap *hb, uint64_t size)
{
    HBitmap *new = size == hb->size ? NULL :
                   hbitmap_try_alloc(size, hb->granularity);
    HBitmap old = *hb;
    uint64_t words, i;

    if (!new) {
        return size == hb->size;
    }
    words = MIN(hb->n_words[0], new->n_words[0]);
    /* Items that go do not come back when it grows again. */
    memcpy(new->levels[0], hb->levels[0], words * sizeof(uint64_t));
    if (!new->bits) {
        new->levels[0][0] = 0;
    } else if (new->bits & (WORD_BITS - 1)) {
        new->levels[0][new->n_words[0] - 1] &=
            hb_mask(0, (new->bits - 1) & (WORD_BITS - 1));
    }
    for (i = 0; i < words; i++) {
        if (new->levels[0][i]) {
            new->set += ctpop64(new->levels[0][i]);
            hb_summary_set(new, 0, i);
        }
    }
    *hb = *new;
    *new = old;
    hbitmap_free(new);
    return true;
}

void hbitmap_merge(const HBitmap *a, const HBitmap *b, HBitmap *result)
{
    const HBitmap *from[] = { a, b };
    size_t i;

    assert(a->size == b->size && a->size == result->size);
    if (result != a && result != b) {
        hbitmap_reset_all(result);
    }
    for (i = 0; i < ARRAY_SIZE(from); i++) {
        int64_t start = 0, count;

        while (from[i] != result &&
               hbitmap_next_dirty_area(from[i], start, from[i]->size,
                                       INT64_MAX, &start, &count)) {
            hbitmap_set(result, start, count);
            start += count;
        }
    }
}

char *hbitmap_sha256(const HBitmap *hb)
{
    /* The checksum of the words as they are, as on the usual machines. */
    return g_compute_checksum_for_data(G_CHECKSUM_SHA256,
                                       (const guchar *)hb->levels[0],
                                       hb->n_words[0] * sizeof(uint64_t));
}
