/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Scatter/gather lists: each function against a plain buffer, over random
 * shapes that include empty elements.
 */
#include "qemu/osdep.h"
#include "qemu/iov.h"

#define MAX_ELEMENTS 9

/* A list of random shape over its own storage, numbered 0, 1, 2, ... */
typedef struct Shape {
    QEMUIOVector qiov;
    uint8_t *storage;
    uint8_t *flat;
    size_t size;
} Shape;

static void shape_init(Shape *shape)
{
    int i, n = g_test_rand_int_range(1, MAX_ELEMENTS);
    size_t at = 0;

    shape->storage = g_malloc0(MAX_ELEMENTS * 64);
    qemu_iovec_init(&shape->qiov, g_test_rand_int_range(0, 3));
    for (i = 0; i < n; i++) {
        size_t len = g_test_rand_int_range(0, 20);

        /* A gap, to see who writes between the elements. */
        at += g_test_rand_int_range(1, 5);
        qemu_iovec_add(&shape->qiov, shape->storage + at, len);
        at += len;
    }
    shape->size = shape->qiov.size;
    shape->flat = g_malloc(shape->size + 1);
    for (at = 0; at < shape->size; at++) {
        shape->flat[at] = at + 1;
    }
    g_assert_cmpuint(qemu_iovec_from_buf(&shape->qiov, 0, shape->flat,
                                         shape->size), ==, shape->size);
}

static void shape_destroy(Shape *shape)
{
    qemu_iovec_destroy(&shape->qiov);
    g_free(shape->storage);
    g_free(shape->flat);
}

/* The list must now hold what @shape->flat has. */
static void shape_check(Shape *shape)
{
    g_autofree uint8_t *buf = g_malloc(shape->size + 1);

    g_assert_cmpuint(iov_size(shape->qiov.iov, shape->qiov.niov), ==,
                     shape->size);
    g_assert_cmpuint(qemu_iovec_to_buf(&shape->qiov, 0, buf,
                                       shape->size + 1), ==, shape->size);
    g_assert_cmpmem(buf, shape->size, shape->flat, shape->size);
}

/* Call @fn for each range of each of many shapes. */
static void each_range(void (*fn)(Shape *shape, size_t offset, size_t len))
{
    size_t offset, len;
    int i;

    for (i = 0; i < 30; i++) {
        Shape shape;

        shape_init(&shape);
        for (offset = 0; offset <= shape.size; offset++) {
            for (len = 0; len <= shape.size - offset; len++) {
                fn(&shape, offset, len);
            }
        }
        shape_destroy(&shape);
    }
}

static void check_copy(Shape *shape, size_t offset, size_t len)
{
    g_autofree uint8_t *buf = g_malloc0(len + 1);

    g_assert_cmpuint(qemu_iovec_to_buf(&shape->qiov, offset, buf, len), ==,
                     len);
    g_assert_cmpmem(buf, len, shape->flat + offset, len);
    g_assert_cmpuint(buf[len], ==, 0);

    memset(buf, len, len);
    memset(shape->flat + offset, len, len);
    g_assert_cmpuint(qemu_iovec_from_buf(&shape->qiov, offset, buf, len), ==,
                     len);
    shape_check(shape);
    memset(shape->flat + offset, 0xcc, len);
    g_assert_cmpuint(qemu_iovec_memset(&shape->qiov, offset, 0xcc, len), ==,
                     len);
    shape_check(shape);
}

static void test_copy(void)
{
    each_range(check_copy);
}

static void test_copy_past_end(void)
{
    uint8_t data[10] = { 0 }, buf[20];
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, data, sizeof(data));

    memset(buf, 7, sizeof(buf));
    g_assert_cmpuint(qemu_iovec_from_buf(&qiov, 4, buf, 20), ==, 6);
    g_assert_cmpuint(data[3], ==, 0);
    g_assert_cmpuint(data[4], ==, 7);
    g_assert_cmpuint(qemu_iovec_to_buf(&qiov, 10, buf, 20), ==, 0);
    g_assert_cmpuint(qemu_iovec_memset(&qiov, 9, 1, SIZE_MAX), ==, 1);
    g_assert_cmpuint(data[9], ==, 1);
}

static void check_slice(Shape *shape, size_t offset, size_t len)
{
    g_autofree uint8_t *buf = g_malloc(len + 1);
    QEMUIOVector slice;
    struct iovec *iov;
    size_t head, tail;
    int niov;

    iov = qemu_iovec_slice(&shape->qiov, offset, len, &head, &tail, &niov);
    g_assert_cmpint(qemu_iovec_subvec_niov(&shape->qiov, offset, len), ==,
                    niov);
    g_assert_cmpuint(iov_size(iov, niov), ==, head + len + tail);
    g_assert_cmpuint(iov_to_buf(iov, niov, head, buf, len), ==, len);
    g_assert_cmpmem(buf, len, shape->flat + offset, len);
    g_assert(qemu_iovec_single_buf(&shape->qiov, offset, len) ==
             (niov == 1 ? (char *)iov->iov_base + head : NULL));
    if (len) {
        g_assert_cmpuint(head, <, iov[0].iov_len);
        g_assert_cmpuint(tail, <, iov[niov - 1].iov_len);
    } else {
        g_assert_cmpint(niov, ==, 0);
    }

    qemu_iovec_init_slice(&slice, &shape->qiov, offset, len);
    g_assert_cmpuint(slice.size, ==, len);
    g_assert_cmpuint(qemu_iovec_to_buf(&slice, 0, buf, len), ==, len);
    g_assert_cmpmem(buf, len, shape->flat + offset, len);
    qemu_iovec_destroy(&slice);
    g_assert_null(slice.iov);
}

static void test_slice(void)
{
    each_range(check_slice);
}

static void check_discard(Shape *shape, size_t offset, size_t len)
{
    g_autofree struct iovec *copy =
        g_memdup2(shape->qiov.iov, shape->qiov.niov * sizeof(struct iovec));
    g_autofree uint8_t *buf = g_malloc(len + 1);
    size_t back = shape->size - offset - len;
    unsigned int cnt = shape->qiov.niov;
    struct iovec *iov = copy;

    g_assert_cmpuint(iov_discard_front(&iov, &cnt, offset), ==, offset);
    g_assert_cmpuint(iov_discard_back(iov, &cnt, back), ==, back);
    g_assert_cmpuint(iov_size(iov, cnt), ==, len);
    g_assert_cmpuint(iov_to_buf(iov, cnt, 0, buf, len), ==, len);
    g_assert_cmpmem(buf, len, shape->flat + offset, len);
    g_assert_cmpuint(iov_discard_front(&iov, &cnt, SIZE_MAX), ==, len);
    g_assert_cmpuint(cnt, ==, 0);
    g_assert_cmpuint(iov_discard_back(iov, &cnt, 1), ==, 0);
}

static void test_discard(void)
{
    each_range(check_discard);
}

static void test_discard_back_qiov(void)
{
    Shape shape;
    size_t half;

    shape_init(&shape);
    half = shape.size / 2;
    qemu_iovec_discard_back(&shape.qiov, shape.size - half);
    shape.size = half;
    g_assert_cmpuint(shape.qiov.size, ==, half);
    shape_check(&shape);
    qemu_iovec_discard_back(&shape.qiov, half);
    g_assert_cmpuint(shape.qiov.size, ==, 0);
    shape_destroy(&shape);
}

static void check_iov_copy(Shape *shape, size_t offset, size_t len)
{
    g_autofree uint8_t *buf = g_malloc(len + 1);
    struct iovec dst[MAX_ELEMENTS];
    unsigned int n;

    n = iov_copy(dst, MAX_ELEMENTS, shape->qiov.iov, shape->qiov.niov,
                 offset, len);
    g_assert_cmpuint(iov_size(dst, n), ==, len);
    iov_to_buf(dst, n, 0, buf, len);
    g_assert_cmpmem(buf, len, shape->flat + offset, len);
    /* No room: what fits, not more. */
    g_assert_cmpuint(iov_copy(dst, 1, shape->qiov.iov, shape->qiov.niov,
                              offset, len), ==, MIN(n, 1));
}

static void test_iov_copy(void)
{
    each_range(check_iov_copy);
}

static void check_extended(Shape *shape, size_t offset, size_t len)
{
    uint8_t head[3] = { 'h', 'e', 'a' }, tail[2] = { 't', 'a' };
    g_autofree uint8_t *want = g_malloc(len + 5);
    g_autofree uint8_t *got = g_malloc(len + 5);
    QEMUIOVector qiov;

    memcpy(want, head, 3);
    memcpy(want + 3, shape->flat + offset, len);
    memcpy(want + 3 + len, tail, 2);
    g_assert_cmpint(qemu_iovec_init_extended(&qiov, head, 3, &shape->qiov,
                                             offset, len, tail, 2), ==, 0);
    g_assert_cmpuint(qiov.size, ==, len + 5);
    g_assert_cmpuint(qemu_iovec_to_buf(&qiov, 0, got, len + 5), ==, len + 5);
    g_assert_cmpmem(got, len + 5, want, len + 5);
    qemu_iovec_destroy(&qiov);
}

static void test_extended(void)
{
    uint8_t byte;
    QEMUIOVector qiov;

    each_range(check_extended);

    g_assert_cmpint(qemu_iovec_init_extended(&qiov, &byte, 1, NULL, 0, 0,
                                             NULL, 0), ==, 0);
    g_assert_cmpint(qiov.niov, ==, 1);
    qemu_iovec_destroy(&qiov);

    g_assert_cmpint(qemu_iovec_init_extended(&qiov, &byte, SIZE_MAX, NULL,
                                             0, 0, &byte, 1), ==, -EINVAL);
    g_assert_cmpint(qiov.niov, ==, 0);
    qemu_iovec_destroy(&qiov);
}

static void test_concat(void)
{
    Shape a, b;
    QEMUIOVector both;
    g_autofree uint8_t *buf = NULL;

    shape_init(&a);
    shape_init(&b);
    qemu_iovec_init(&both, 0);
    qemu_iovec_concat(&both, &a.qiov, 0, SIZE_MAX);
    qemu_iovec_concat(&both, &b.qiov, 0, b.size);
    g_assert_cmpuint(both.size, ==, a.size + b.size);
    buf = g_malloc(both.size + 1);
    qemu_iovec_to_buf(&both, 0, buf, both.size);
    g_assert_cmpmem(buf, a.size, a.flat, a.size);
    g_assert_cmpmem(buf + a.size, b.size, b.flat, b.size);

    qemu_iovec_reset(&both);
    g_assert_cmpuint(both.size, ==, 0);
    g_assert_cmpuint(qemu_iovec_concat_iov(&both, b.qiov.iov, b.qiov.niov,
                                           b.size, 5), ==, 0);
    g_assert_cmpint(both.niov, ==, 0);
    qemu_iovec_destroy(&both);
    shape_destroy(&a);
    shape_destroy(&b);
}

static void check_is_zero(Shape *shape, size_t offset, size_t len)
{
    qemu_iovec_memset(&shape->qiov, 0, 0xff, shape->size);
    qemu_iovec_memset(&shape->qiov, offset, 0, len);
    g_assert_true(qemu_iovec_is_zero(&shape->qiov, offset, len));
    if (offset) {
        g_assert_false(qemu_iovec_is_zero(&shape->qiov, offset - 1, len + 1));
    }
    if (offset + len < shape->size) {
        g_assert_false(qemu_iovec_is_zero(&shape->qiov, offset, len + 1));
    }
}

static void test_is_zero(void)
{
    each_range(check_is_zero);
}

static void test_compare(void)
{
    Shape shape;
    QEMUIOVector clone;
    g_autofree uint8_t *buf = NULL;
    uint8_t byte = 0xee;
    size_t i;

    shape_init(&shape);
    buf = g_malloc(shape.size + 1);
    qemu_iovec_init(&clone, shape.qiov.niov);
    qemu_iovec_clone(&clone, &shape.qiov, buf);
    g_assert_cmpuint(clone.size, ==, shape.size);
    qemu_iovec_from_buf(&clone, 0, shape.flat, shape.size);
    g_assert_cmpint(qemu_iovec_compare(&clone, &shape.qiov), ==, -1);
    for (i = shape.size; i-- > 0;) {
        qemu_iovec_from_buf(&clone, i, &byte, 1);
        g_assert_cmpint(qemu_iovec_compare(&clone, &shape.qiov), ==, i);
    }
    qemu_iovec_destroy(&clone);
    shape_destroy(&shape);
}

static void test_clone_overlap(void)
{
    uint8_t data[16], buf[32];
    struct iovec iov[] = {
        { data + 4, 8 }, { data, 6 }, { data + 6, 2 }, { data + 14, 2 },
    };
    QEMUIOVector src, clone;
    uint8_t *base;

    qemu_iovec_init_external(&src, iov, ARRAY_SIZE(iov));
    g_assert_cmpuint(src.size, ==, 18);
    qemu_iovec_init(&clone, 0);
    qemu_iovec_clone(&clone, &src, buf);
    g_assert_cmpint(clone.niov, ==, 4);
    g_assert_cmpuint(clone.size, ==, 18);
    base = buf;
    g_assert_true(clone.iov[1].iov_base == base);
    g_assert_true(clone.iov[0].iov_base == base + 4);
    g_assert_true(clone.iov[2].iov_base == base + 6);
    /* Bytes 12 and 13 are in no element, so the clone has no room there. */
    g_assert_true(clone.iov[3].iov_base == base + 12);
    qemu_iovec_destroy(&clone);
    qemu_iovec_destroy(&src);
    g_assert_cmpuint(iov[0].iov_len, ==, 8);
}

static void test_overflow_aborts(void)
{
    if (g_test_subprocess()) {
        uint8_t byte;
        QEMUIOVector qiov;

        qemu_iovec_init(&qiov, 2);
        qemu_iovec_add(&qiov, &byte, SIZE_MAX);
        qemu_iovec_add(&qiov, &byte, 1);
        return;
    }
    g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_DEFAULT);
    g_test_trap_assert_failed();
}

static void test_hexdump(void)
{
    struct iovec iov[] = { { (char *)"abcdefghij", 10 },
                           { (char *)"0123456789\n", 11 } };
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);

    iov_hexdump(iov, 2, f, "pre", 18);
    fclose(f);
    g_assert_cmpstr(text, ==,
        "pre: 0000: 61 62 63 64  65 66 67 68  69 6a 30 31  32 33 34 35"
        "   abcdefghij012345\n"
        "pre: 0010: 36 37                                             "
        "   67\n");
    free(text);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/iov/copy", test_copy);
    g_test_add_func("/iov/copy-past-end", test_copy_past_end);
    g_test_add_func("/iov/slice", test_slice);
    g_test_add_func("/iov/discard", test_discard);
    g_test_add_func("/iov/discard-back-qiov", test_discard_back_qiov);
    g_test_add_func("/iov/iov-copy", test_iov_copy);
    g_test_add_func("/iov/extended", test_extended);
    g_test_add_func("/iov/concat", test_concat);
    g_test_add_func("/iov/is-zero", test_is_zero);
    g_test_add_func("/iov/compare", test_compare);
    g_test_add_func("/iov/clone-overlap", test_clone_overlap);
    g_test_add_func("/iov/overflow-aborts", test_overflow_aborts);
    g_test_add_func("/iov/hexdump", test_hexdump);
    return g_test_run();
}
