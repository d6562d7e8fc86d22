/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fleecing: copy-before-write above a disk in use, and snapshot-access above
 * that, which shows the disk as it was.
 */
#include "qemu/osdep.h"
#include "test-job-nodes.h"
#include "block/dirty-bitmap.h"
#include "test-thread-loop.h"

static BlockDriverState *cbw, *snapshot;
static BlockBackend *reader;

static BlockDriverState *open_opts(const char *json)
{
    QOpts *opts = qopts_parse_json(json, &error_abort);

    return bdrv_open(NULL, NULL, opts, BDRV_O_RDWR, &error_abort);
}

/* The filter above the source, and its user above the filter. */
static void start_fleecing(const char *options)
{
    g_autofree char *json = g_strdup_printf(
        "{'driver': 'copy-before-write', 'node-name': 'c', "
        "'file': 'source', 'target': 'target'%s}", options);

    read_all(source, frozen);
    cbw = open_opts(json);
    blk_remove_bs(blk);
    blk_insert_bs(blk, cbw, &error_abort);
    snapshot = open_opts("{'driver': 'snapshot-access', 'node-name': 's', "
                         "'file': 'c', 'discard': 'unmap'}");
    reader = blk_new(qemu_get_aio_context(), BLK_PERM_CONSISTENT_READ |
                     BLK_PERM_WRITE | BLK_PERM_RESIZE, BLK_PERM_ALL);
    blk_set_allow_aio_context_change(reader, true);
    blk_insert_bs(reader, snapshot, &error_abort);
}

static void stop_fleecing(void)
{
    blk_unref(reader);
    bdrv_unref(snapshot);
    blk_remove_bs(blk);
    bdrv_unref(cbw);
}

typedef struct {
    int left;
    int reads;
} Reader;

/* Read at random, and compare; a part at a time, so that both go on. */
static void coroutine_fn reader_entry(void *opaque)
{
    Reader *r = opaque;
    int i;

    for (i = 0; i < r->reads; i++) {
        int64_t offset = g_rand_int_range(grand, 0, SIZE / 512) * 512;
        int64_t most = 512 << g_rand_int_range(grand, 0, 11);
        int64_t bytes = MIN(most, SIZE - offset);
        QEMU_AUTO_VFREE uint8_t *buf = qemu_blockalign(snapshot, bytes);
        QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, bytes);
        int64_t pnum;
        int ret;

        g_assert_cmpint(blk_co_preadv(reader, offset, bytes, &qiov, 0), ==,
                        0);
        g_assert_cmpint(memcmp(buf, frozen + offset, bytes), ==, 0);
        ret = bdrv_co_block_status(snapshot, offset, bytes, &pnum, NULL,
                                   NULL);
        g_assert_cmpint(ret, >=, 0);
        g_assert_cmpint(pnum, >, 0);
        if (ret & BDRV_BLOCK_ZERO) {
            g_assert_true(buffer_is_zero(frozen + offset, pnum));
        }
    }
    r->left--;
}

/* Reads and writes at once: the reads see nothing of the writes. */
static void check_load(int rounds)
{
    Load load = { NULL };
    Reader r = { .left = 4, .reads = rounds };
    int i;

    load_start(&load, 8, rounds * 2);
    for (i = 0; i < 4; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(reader_entry, &r));
    }
    while (load.left || r.left) {
        aio_poll(qemu_get_aio_context(), true);
    }
    assert_frozen(snapshot);
}

/* With discards, which only reach a node that is opened for them. */
static void test_load(void)
{
    start_fleecing(", 'discard': 'unmap'");
    check_load(150);
    stop_fleecing();
}

/* A copy-on-write target, as one has who wants to keep the copies small. */
static void test_vmdk(void)
{
    start_fleecing(", 'on-cbw-error': 'break-guest-write', "
                   "'cbw-timeout': 60, 'min-cluster-size': 131072");
    check_load(60);
    stop_fleecing();
}

static int read_at(int64_t offset, int64_t bytes)
{
    g_autofree uint8_t *buf = g_malloc(bytes);

    return blk_pread(reader, offset, bytes, buf, 0);
}

/* What a discard gives up cannot be read, and is not copied any more. */
static void test_discard(void)
{
    g_autofree uint8_t *buf = g_malloc0(SIZE);

    start_fleecing("");
    g_assert_cmpint(read_at(0, 4 * STEP), ==, 0);
    g_assert_cmpint(blk_pdiscard(reader, STEP - 512, STEP + 1024), ==, 0);
    g_assert_cmpint(read_at(0, STEP), ==, 0);
    g_assert_cmpint(read_at(STEP, 512), ==, -EACCES);
    g_assert_cmpint(read_at(0, 4 * STEP), ==, -EACCES);
    g_assert_cmpint(read_at(2 * STEP, STEP), ==, 0);
    g_assert_cmpint(blk_pwrite(blk, 0, 2 * STEP, buf, 0), ==, 0);
    read_all(target, buf);
    g_assert_cmpint(memcmp(buf, frozen, STEP), ==, 0);
    g_assert_true(buffer_is_zero(buf + STEP, STEP));
    /* The last cluster, which is not whole. */
    g_assert_cmpint(blk_pdiscard(reader, SIZE - 512, 512), ==, 0);
    g_assert_cmpint(read_at(SIZE - 512, 512), ==, -EACCES);
    g_assert_cmpint(blk_pwrite(reader, 0, 512, buf, 0), ==, -ENOTSUP);
    stop_fleecing();
}

/* Only what is dirty in a bitmap can be read, and is copied. */
static void test_bitmap(void)
{
    BdrvDirtyBitmap *bitmap = bdrv_create_dirty_bitmap(source, STEP, "b",
                                                       &error_abort);
    g_autofree uint8_t *buf = g_malloc0(SIZE);

    bdrv_set_dirty_bitmap(bitmap, STEP, STEP);
    start_fleecing(", 'bitmap': {'node': 'source', 'name': 'b'}");
    bdrv_release_dirty_bitmap(bitmap);
    g_assert_cmpint(read_at(0, 512), ==, -EACCES);
    g_assert_cmpint(blk_pwrite(blk, 0, 3 * STEP, buf, 0), ==, 0);
    g_assert_cmpint(read_at(STEP, STEP), ==, 0);
    g_assert_cmpint(read_at(2 * STEP, 512), ==, -EACCES);
    read_all(target, buf);
    g_assert_true(buffer_is_zero(buf, STEP));
    g_assert_cmpint(memcmp(buf + STEP, frozen + STEP, STEP), ==, 0);
    stop_fleecing();
}

/* The copying fails: the write fails, or the snapshot is no more. */
static void test_error(void)
{
    g_autofree uint8_t *buf = g_malloc0(SIZE);
    int broken;

    for (broken = 0; broken < 2; broken++) {
        bdrv_unref(target);
        target = open_opts("{'driver': 'blkdebug', 'node-name': 'target', "
                           "'image': {'driver': 'null-co', "
                           "'read-zeroes': true}, 'inject-error': "
                           "[{'event': 'none', 'iotype': 'write', "
                           "'errno': 28}]}");
        start_fleecing(broken ? ", 'on-cbw-error': 'break-snapshot'" : "");
        g_assert_cmpint(blk_pwrite(blk, 0, 512, buf, 0), ==,
                        broken ? 0 : -ENOSPC);
        g_assert_cmpint(read_at(0, 512), ==, broken ? -EACCES : 0);
        g_assert_cmpint(read_at(5 * STEP, 512), ==, broken ? -EACCES : 0);
        stop_fleecing();
        blk_insert_bs(blk, source, &error_abort);
        bdrv_unref(target);
        target = open_node("target", target_driver);
    }
}

/* At home in a thread, with another user of the snapshot in the main one. */
static void test_thread(void)
{
    TestLoop *loop = test_loop_new();
    g_autofree uint8_t *buf = g_malloc(SIZE);
    int64_t i;

    blk_set_allow_aio_context_change(blk, true);
    start_fleecing("");
    bdrv_try_change_aio_context(cbw, loop->ctx, NULL, &error_abort);
    memset(buf, 0xee, SIZE);
    for (i = 0; i + STEP <= SIZE; i += STEP) {
        g_assert_cmpint(blk_pwrite(blk, i, STEP, buf, 0), ==, 0);
        g_assert_cmpint(blk_pread(reader, 0, SIZE, buf, 0), ==, 0);
        g_assert_cmpint(memcmp(buf, frozen, SIZE), ==, 0);
    }
    bdrv_try_change_aio_context(cbw, qemu_get_aio_context(), NULL,
                                &error_abort);
    stop_fleecing();
    test_loop_free(loop);
}

/* A snapshot of what keeps none; a disk that keeps its size. */
static void test_refused(void)
{
    BlockDriverState *other;
    Error *err = NULL;

    start_fleecing("");
    g_assert_cmpint(blk_truncate(reader, SIZE / 2, true, PREALLOC_MODE_OFF, 0,
                                 &err), ==, -ENOTSUP);
    error_free_or_abort(&err);
    other = open_opts("{'driver': 'snapshot-access', 'file': 'source'}");
    blk_remove_bs(reader);
    blk_insert_bs(reader, other, &error_abort);
    g_assert_cmpint(read_at(0, 512), ==, -ENOTSUP);
    bdrv_unref(other);
    stop_fleecing();
}

#define ADD(name, fn) \
    g_test_add("/fleecing/" name, int, NULL, (void *)setup, (void *)fn, \
               (void *)teardown)

static void add_tests(void)
{
    ADD("load", test_load);
    ADD("discard", test_discard);
    ADD("bitmap", test_bitmap);
    ADD("error", test_error);
    ADD("thread", test_thread);
    ADD("refused", test_refused);
    g_test_add("/fleecing/vmdk", int, NULL, (void *)use_native_vmdk,
               (void *)test_vmdk, (void *)teardown);
}

int main(int argc, char **argv)
{
    return job_test_main(&argc, &argv, add_tests);
}
