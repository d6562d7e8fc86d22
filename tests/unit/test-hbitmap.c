/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hierarchical bitmaps: each function against a plain array of flags.
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/hbitmap.h"

/* A bitmap, and one flag for each of its items. */
typedef struct Pair {
    HBitmap *hb;
    uint8_t *flag;
    int64_t size;
    int64_t step;               /* items in a bit */
} Pair;

static void pair_init(Pair *p, int64_t size, int granularity)
{
    p->hb = hbitmap_alloc(size, granularity);
    p->flag = g_malloc0(size + 1);
    p->size = size;
    p->step = 1 << granularity;
}

static void pair_destroy(Pair *p)
{
    hbitmap_free(p->hb);
    g_free(p->flag);
}

static int64_t pair_next(Pair *p, int64_t start, int64_t end, bool value)
{
    for (; start < end; start++) {
        if (p->flag[start] == value) {
            return start;
        }
    }
    return -1;
}

static void pair_check(Pair *p)
{
    int64_t i, n, start, count, total = 0;

    for (i = 0; i < p->size; i++) {
        total += p->flag[i];
        g_assert_cmpint(hbitmap_get(p->hb, i), ==, p->flag[i]);
    }
    g_assert_cmpint(hbitmap_count(p->hb), ==, total);
    g_assert_cmpint(hbitmap_empty(p->hb), ==, !total);

    for (n = 0; n < 50; n++) {
        int64_t first = g_test_rand_int_range(0, p->size);
        int64_t end = g_test_rand_int_range(first, p->size + 1);
        int64_t want = pair_next(p, first, end, true), max;
        bool set;

        g_assert_cmpint(hbitmap_next_dirty(p->hb, first, end - first), ==,
                        want);
        g_assert_cmpint(hbitmap_next_zero(p->hb, first, end - first), ==,
                        pair_next(p, first, end, false));
        max = g_test_rand_int_range(1, p->size + 1);
        if (hbitmap_next_dirty_area(p->hb, first, end, max, &start, &count)) {
            int64_t stop = MIN(end, want + max);
            int64_t zero = pair_next(p, want, stop, false);

            g_assert_cmpint(start, ==, want);
            g_assert_cmpint(count, ==, (zero < 0 ? stop : zero) - want);
        } else {
            g_assert_cmpint(want, ==, -1);
        }
        set = hbitmap_status(p->hb, first, p->size - first, &count);
        g_assert_cmpint(set, ==, p->flag[first]);
        want = pair_next(p, first, p->size, !set);
        g_assert_cmpint(count, ==, (want < 0 ? p->size : want) - first);
    }
}

static void pair_set(Pair *p)
{
    int64_t start = g_test_rand_int_range(0, p->size);
    int64_t count = g_test_rand_int_range(0, p->size - start + 1);

    if (g_test_rand_bit()) {
        count = MIN(count, 3);
    }
    hbitmap_set(p->hb, start, count);
    if (count) {
        count += start & (p->step - 1);
        start = QEMU_ALIGN_DOWN(start, p->step);
        count = MIN(QEMU_ALIGN_UP(count, p->step), p->size - start);
        memset(p->flag + start, 1, count);
    }
}

static void pair_reset(Pair *p)
{
    int64_t start = QEMU_ALIGN_DOWN(g_test_rand_int_range(0, p->size),
                                    p->step);
    int64_t count = g_test_rand_int_range(0, p->size - start + 1);

    count = MIN(QEMU_ALIGN_UP(count, p->step), p->size - start);
    hbitmap_reset(p->hb, start, count);
    memset(p->flag + start, 0, count);
}

static void pair_truncate(Pair *p)
{
    int64_t size = g_test_rand_int_range(1, 40000);
    uint8_t *flag = g_malloc0(size + 1);
    int64_t bit;

    memcpy(flag, p->flag, MIN(size, p->size));
    /* A bit at the end that was set stands for the new items, too. */
    bit = QEMU_ALIGN_DOWN(MIN(size, p->size) - 1, p->step);
    if (flag[bit]) {
        memset(flag + bit, 1, MIN(p->step, size - bit));
    }
    g_assert_true(hbitmap_try_truncate(p->hb, size));
    g_free(p->flag);
    p->flag = flag;
    p->size = size;
}

static void test_random(void)
{
    int round, i;

    for (round = 0; round < 60; round++) {
        Pair p;

        pair_init(&p, g_test_rand_int_range(1, 40000),
                  g_test_rand_int_range(0, 8));
        pair_check(&p);
        for (i = 0; i < 8; i++) {
            switch (g_test_rand_int_range(0, 6)) {
            case 0:
                pair_reset(&p);
                break;
            case 1:
                pair_truncate(&p);
                break;
            default:
                pair_set(&p);
                break;
            }
            pair_check(&p);
        }
        hbitmap_reset_all(p.hb);
        memset(p.flag, 0, p.size);
        pair_check(&p);
        pair_destroy(&p);
    }
}

static void test_merge(void)
{
    int round, i;

    for (round = 0; round < 40; round++) {
        int64_t size = g_test_rand_int_range(1, 10000);
        int way = g_test_rand_int_range(0, 3);
        int ga = g_test_rand_int_range(0, 6);
        Pair a, b;
        HBitmap *result;

        pair_init(&a, size, ga);
        pair_init(&b, size, g_test_rand_int_range(0, 6));
        for (i = 0; i < 3; i++) {
            pair_set(&a);
            pair_set(&b);
        }
        result = way == 0 ? a.hb : way == 1 ? b.hb : hbitmap_alloc(size, ga);
        if (way == 2) {
            hbitmap_set(result, 0, size);
        }
        hbitmap_merge(a.hb, b.hb, result);
        for (i = 0; i < size; i++) {
            int64_t step = 1 << hbitmap_granularity(result);
            int64_t start = QEMU_ALIGN_DOWN(i, step);
            int64_t end = MIN(start + step, size);
            bool want = pair_next(&a, start, end, true) >= 0 ||
                        pair_next(&b, start, end, true) >= 0;

            g_assert_cmpint(hbitmap_get(result, i), ==, want);
        }
        if (way == 2) {
            hbitmap_free(result);
        }
        pair_destroy(&a);
        pair_destroy(&b);
    }
}

/* Large and sparse: this would take hours if each bit was looked at. */
static void test_large(void)
{
    int64_t size = 1ull << 46, start, count;
    HBitmap *hb = hbitmap_alloc(size, 16);
    int i;

    hbitmap_set(hb, size - 1, 1);
    hbitmap_set(hb, size / 2, 1);
    for (i = 0; i < 100000; i++) {
        g_assert_cmpint(hbitmap_next_dirty(hb, i, size - i), ==, size / 2);
        g_assert_true(hbitmap_next_dirty_area(hb, size / 2 + 65536, size,
                                              size, &start, &count));
        g_assert_cmpint(start, ==, size - 65536);
        g_assert_cmpint(count, ==, 65536);
    }
    hbitmap_reset(hb, size / 2, 65536);
    hbitmap_reset(hb, size - 65536, 65536);
    g_assert_true(hbitmap_empty(hb));
    g_assert_cmpint(hbitmap_next_dirty(hb, 0, size), ==, -1);
    hbitmap_free(hb);
}

static void test_sha256(void)
{
    HBitmap *hb = hbitmap_alloc(64 * KiB, 10);
    g_autofree char *empty = hbitmap_sha256(hb);
    g_autofree char *full = NULL;

    /* Of eight zero bytes, and of eight bytes 0xff. */
    g_assert_cmpstr(empty, ==, "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d"
                    "4de5b2328de0e83dfc");
    hbitmap_set(hb, 0, 64 * KiB);
    full = hbitmap_sha256(hb);
    g_assert_cmpstr(full, ==, "12a3ae445661ce5dee78d0650d33362dec29c4f82af05e7"
                    "e57fb595bbbacf0ca");
    hbitmap_free(hb);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/hbitmap/random", test_random);
    g_test_add_func("/hbitmap/merge", test_merge);
    g_test_add_func("/hbitmap/large", test_large);
    g_test_add_func("/hbitmap/sha256", test_sha256);
    return g_test_run();
}
