/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copy offloading: what the host copies is what reads and writes would have
 * copied, it is noted as a write, and what it cannot do is told apart from
 * errors.
 */
#include "qemu/osdep.h"
#include "test-job-nodes.h"
#include "block/dirty-bitmap.h"

typedef struct {
    BlockBackend *in, *out;
    int64_t off_in, off_out, bytes;
    int ret;
} Copy;

static void coroutine_fn copy_entry(void *opaque)
{
    Copy *c = opaque;

    c->ret = blk_co_copy_range(c->in, c->off_in, c->out, c->off_out, c->bytes,
                               0, 0);
}

static int copy(BlockBackend *in, int64_t off_in, BlockBackend *out,
                int64_t off_out, int64_t bytes)
{
    Copy c = { in, out, off_in, off_out, bytes, 1 };

    qemu_coroutine_enter(qemu_coroutine_create(copy_entry, &c));
    while (c.ret == 1) {
        aio_poll(qemu_get_aio_context(), true);
    }
    return c.ret;
}

static BlockBackend *user(BlockDriverState *bs)
{
    BlockBackend *b = blk_new(qemu_get_aio_context(),
                              BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE,
                              BLK_PERM_ALL);

    blk_insert_bs(b, bs, &error_abort);
    return b;
}

static BlockBackend *user_json(const char *json)
{
    BlockDriverState *bs = bdrv_open(NULL, NULL,
                                     qopts_parse_json(json, &error_abort),
                                     BDRV_O_RDWR, &error_abort);
    BlockBackend *b = user(bs);

    bdrv_unref(bs);
    return b;
}

static void test_copy(void)
{
    g_autofree uint8_t *buf = g_malloc(SIZE);
    BdrvDirtyBitmap *bitmap = bdrv_create_dirty_bitmap(target, STEP, "b",
                                                       &error_abort);
    BlockBackend *out = user(target);
    int ret = copy(blk, STEP, out, 4 * STEP, 3 * STEP);

    if (ret == -ENOTSUP) {
        g_test_skip("the file system has no copy_file_range()");
        goto end;
    }
    g_assert_cmpint(ret, ==, 0);
    read_all(target, buf);
    g_assert_cmpint(memcmp(buf + 4 * STEP, frozen + STEP, 3 * STEP), ==, 0);
    g_assert_true(buffer_is_zero(buf, 4 * STEP));
    g_assert_true(buffer_is_zero(buf + 7 * STEP, SIZE - 7 * STEP));
    g_assert_cmpint(bdrv_get_dirty_count(bitmap), ==, 3 * STEP);
    /* All of it, with the odd end. */
    g_assert_cmpint(copy(blk, 0, out, 0, SIZE), ==, 0);
    assert_frozen(target);
    /* A flush finds something to do. */
    g_assert_cmpuint(target->write_gen, >, target->flushed_gen);
    g_assert_cmpint(blk_flush(out), ==, 0);
    /* Within one file. */
    g_assert_cmpint(copy(blk, 0, blk, 2 * STEP, 2 * STEP), ==, 0);
    read_all(source, buf);
    g_assert_cmpint(memcmp(buf + 2 * STEP, frozen, 2 * STEP), ==, 0);
end:
    blk_unref(out);
    bdrv_release_dirty_bitmap(bitmap);
}

/* While one of both is drained the request is none of the other's. */
static void test_drained(void)
{
    BlockBackend *out = user(target);
    Copy c = { blk, out, 0, 0, STEP, 1 };

    bdrv_drained_begin(target);
    qemu_coroutine_enter(qemu_coroutine_create(copy_entry, &c));
    bdrv_drained_begin(source);
    bdrv_drained_end(target);
    g_assert_cmpint(c.ret, ==, 1);
    bdrv_drained_end(source);
    while (c.ret == 1) {
        aio_poll(qemu_get_aio_context(), true);
    }
    g_assert_true(c.ret == 0 || c.ret == -ENOTSUP);
    blk_unref(out);
}

/* Windows of a raw image move the range on both sides. */
static void test_window(void)
{
    BlockBackend *in = user_json(
        "{'driver': 'raw', 'offset': 65536, 'size': 131072, "
        "'file': 'source'}");
    BlockBackend *out = user_json(
        "{'driver': 'raw', 'offset': 131072, 'size': 65536, "
        "'file': 'target'}");
    g_autofree uint8_t *buf = g_malloc(SIZE);
    int ret = copy(in, 0, out, 0, STEP);

    if (ret != -ENOTSUP) {
        g_assert_cmpint(ret, ==, 0);
        read_all(target, buf);
        g_assert_cmpint(memcmp(buf + 2 * STEP, frozen + STEP, STEP), ==, 0);
        g_assert_true(buffer_is_zero(buf, 2 * STEP));
    }
    g_assert_cmpint(copy(in, STEP, out, STEP, STEP), ==, -EIO);
    blk_unref(in);
    blk_unref(out);
}

/* What has to be read and written, for one reason or another. */
static void test_refused(void)
{
    static const char *const targets[] = {
        "{'driver': 'null-co'}",
        "{'driver': 'raw', 'file': {'driver': 'null-co'}}",
        "{'driver': 'blkdebug', 'image': 'target'}",
        "{'driver': 'raw', 'detect-zeroes': 'on', 'file': 'target'}",
        "{'driver': 'raw', 'file': {'driver': 'blkdebug', 'image': 'target'}}",
    };
    BlockBackend *out = user(target), *other;
    BlockBackend *reader = blk_new(qemu_get_aio_context(),
                                   BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL);
    size_t i;

    for (i = 0; i < ARRAY_SIZE(targets); i++) {
        other = user_json(targets[i]);
        g_assert_cmpint(copy(blk, 0, other, 0, 512), ==, -ENOTSUP);
        blk_unref(other);
    }
    other = user_json(targets[0]);
    g_assert_cmpint(copy(other, 0, out, 0, 512), ==, -ENOTSUP);
    blk_unref(other);
    g_assert_cmpint(copy(blk, 0, out, SIZE - 512, 1024), ==, -EIO);
    g_assert_cmpint(copy(blk, SIZE - 512, out, 0, 1024), ==, -EIO);
    blk_set_enable_write_cache(out, false);
    g_assert_cmpint(copy(blk, 0, out, 0, 512), ==, -ENOTSUP);
    blk_insert_bs(reader, target, &error_abort);
    g_assert_cmpint(copy(blk, 0, reader, 0, 512), ==, -EPERM);
    blk_unref(reader);
    blk_unref(out);
}

#define ADD(name, fn) \
    g_test_add("/copy-range/" name, int, NULL, (void *)setup, (void *)fn, \
               (void *)teardown)

static void add_tests(void)
{
    ADD("copy", test_copy);
    ADD("drained", test_drained);
    ADD("window", test_window);
    ADD("refused", test_refused);
}

int main(int argc, char **argv)
{
    return job_test_main(&argc, &argv, add_tests);
}
