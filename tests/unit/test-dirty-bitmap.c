/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dirty bitmaps: what each kind of request marks, successors, merging, and
 * that no write of another thread is lost.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "block/dirty-bitmap.h"
#include "qemu/aio-wait.h"
#include "qemu/cutils.h"
#include "system/block-backend.h"
#include "test-thread-loop.h"

#define SIZE (16 * MiB)
#define STEP (64 * KiB)

static char *path;
static BlockBackend *blk;
static BlockDriverState *bs;

static void setup(void)
{
    QOpts *options = qopts_new();

    g_assert_cmpint(truncate(path, SIZE), ==, 0);
    qopts_set_str(options, "driver", "raw");
    qopts_set_str(options, "discard", "unmap");
    blk = blk_new_open(path, NULL, options, BDRV_O_RDWR | BDRV_O_RESIZE,
                       &error_abort);
    bs = blk_bs(blk);
}

static void teardown(void)
{
    blk_unref(blk);
}

static BdrvDirtyBitmap *new_bitmap(const char *name)
{
    return bdrv_create_dirty_bitmap(bs, STEP, name, &error_abort);
}

static void write_at(int64_t offset, int64_t bytes)
{
    g_autofree uint8_t *buf = g_malloc0(bytes);

    g_assert_cmpint(blk_pwrite(blk, offset, bytes, buf, 0), ==, 0);
}

static void test_requests(void)
{
    BdrvDirtyBitmap *b = new_bitmap("b");
    uint8_t buf[512];

    g_assert_cmpint(blk_pread(blk, 0, 512, buf, 0), ==, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    g_assert_cmpint(bdrv_get_dirty_count(b), ==, 0);
    write_at(0, 1);
    g_assert_cmpint(bdrv_get_dirty_count(b), ==, STEP);
    write_at(2 * STEP - 1, 2);
    g_assert_cmpint(bdrv_get_dirty_count(b), ==, 3 * STEP);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 10 * STEP, STEP, 0), ==, 0);
    g_assert_true(bdrv_dirty_bitmap_get(b, 10 * STEP));
    g_assert_cmpint(blk_pdiscard(blk, 12 * STEP, STEP), ==, 0);
    g_assert_true(bdrv_dirty_bitmap_get(b, 12 * STEP));
    g_assert_cmpint(bdrv_get_dirty_count(b), ==, 5 * STEP);
    bdrv_disable_dirty_bitmap(b);
    write_at(20 * STEP, 1);
    g_assert_cmpint(bdrv_get_dirty_count(b), ==, 5 * STEP);
    g_assert_false(bdrv_dirty_bitmap_recording(b));

    /* It grows and shrinks with the node. */
    bdrv_enable_dirty_bitmap(b);
    g_assert_cmpint(blk_truncate(blk, 2 * SIZE, true, PREALLOC_MODE_OFF, 0,
                                 &error_abort), ==, 0);
    g_assert_cmpint(bdrv_dirty_bitmap_size(b), ==, 2 * SIZE);
    write_at(2 * SIZE - 1, 1);
    g_assert_cmpint(bdrv_get_dirty_count(b), ==, 6 * STEP);
    g_assert_cmpint(blk_truncate(blk, SIZE, true, PREALLOC_MODE_OFF, 0,
                                 &error_abort), ==, 0);
    g_assert_cmpint(bdrv_get_dirty_count(b), ==, 5 * STEP);
    bdrv_release_dirty_bitmap(b);
    g_assert_null(bdrv_find_dirty_bitmap(bs, "b"));
}

static void test_names(void)
{
    Error *err = NULL;
    BdrvDirtyBitmap *b = new_bitmap("b"), *anon = new_bitmap(NULL);
    g_autofree char *name = g_strnfill(1024, 'x');

    g_assert_true(bdrv_find_dirty_bitmap(bs, "b") == b);
    g_assert_null(bdrv_create_dirty_bitmap(bs, STEP, "b", &err));
    g_assert_cmpstr(error_get_pretty(err), ==, "Bitmap already exists: b");
    error_free_or_abort(&err);
    g_assert_null(bdrv_create_dirty_bitmap(bs, STEP, name, &err));
    error_free_or_abort(&err);
    g_assert_true(bdrv_has_named_bitmaps(bs));
    bdrv_release_dirty_bitmap(b);
    g_assert_false(bdrv_has_named_bitmaps(bs));
    bdrv_release_dirty_bitmap(anon);
}

/* Writes while a job has it: after success only they are left, else all. */
static void test_successor(void)
{
    BdrvDirtyBitmap *b;
    Error *err = NULL;
    int success;

    for (success = 0; success < 2; success++) {
        b = new_bitmap("b");
        write_at(0, 1);
        g_assert_cmpint(bdrv_dirty_bitmap_create_successor(b, &error_abort),
                        ==, 0);
        g_assert_true(bdrv_dirty_bitmap_busy(b));
        g_assert_true(bdrv_dirty_bitmap_recording(b));
        g_assert_cmpint(bdrv_dirty_bitmap_create_successor(b, &err), ==, -1);
        g_assert_cmpstr(error_get_pretty(err), ==, "Bitmap 'b' is currently "
                        "in use by another operation and cannot be used");
        error_free_or_abort(&err);
        write_at(STEP, 1);
        g_assert_cmpint(bdrv_get_dirty_count(b), ==, STEP);
        if (success) {
            b = bdrv_dirty_bitmap_abdicate(b, &error_abort);
        } else {
            b = bdrv_reclaim_dirty_bitmap(b, &error_abort);
        }
        g_assert_true(bdrv_find_dirty_bitmap(bs, "b") == b);
        g_assert_cmpint(bdrv_dirty_bitmap_get(b, 0), ==, !success);
        g_assert_true(bdrv_dirty_bitmap_get(b, STEP));
        g_assert_false(bdrv_dirty_bitmap_busy(b));
        write_at(5 * STEP, 1);
        g_assert_true(bdrv_dirty_bitmap_get(b, 5 * STEP));
        bdrv_release_dirty_bitmap(b);
    }
}

static void test_merge(void)
{
    BdrvDirtyBitmap *a = new_bitmap("a"), *b;
    HBitmap *backup = NULL;

    write_at(0, 1);
    bdrv_disable_dirty_bitmap(a);
    b = new_bitmap("b");
    write_at(STEP, 1);
    g_assert_true(bdrv_merge_dirty_bitmap(a, b, &backup, &error_abort));
    g_assert_cmpint(bdrv_get_dirty_count(a), ==, 2 * STEP);
    bdrv_restore_dirty_bitmap(a, backup);
    g_assert_cmpint(bdrv_get_dirty_count(a), ==, STEP);
    g_assert_true(bdrv_merge_dirty_bitmap(a, a, NULL, &error_abort));
    g_assert_true(bdrv_merge_dirty_bitmap(a, a, &backup, &error_abort));
    g_assert_cmpint(bdrv_get_dirty_count(a), ==, STEP);
    hbitmap_free(backup);
    bdrv_clear_dirty_bitmap(a, &backup);
    g_assert_cmpint(bdrv_get_dirty_count(a), ==, 0);
    bdrv_restore_dirty_bitmap(a, backup);
    g_assert_cmpint(bdrv_get_dirty_count(a), ==, STEP);
    bdrv_release_dirty_bitmap(a);
    bdrv_release_dirty_bitmap(b);
}

/* The node is longer already, its bitmaps are not: two threads make it grow. */
static void test_longer(void)
{
    BdrvDirtyBitmap *b = new_bitmap("b");
    int64_t sectors = bs->total_sectors;
    int64_t count;

    qatomic_set(&bs->total_sectors, 2 * sectors);
    bdrv_set_dirty(bs, 2 * SIZE - STEP, STEP);
    g_assert_true(bdrv_dirty_bitmap_get(b, 2 * SIZE - STEP));
    /* The other thread comes to this only now. */
    bdrv_dirty_bitmap_truncate(bs);
    g_assert_cmpint(bdrv_get_dirty_count(b), ==, STEP);

    /* A part that has gone has nothing in it. */
    qatomic_set(&bs->total_sectors, sectors);
    bdrv_dirty_bitmap_truncate(bs);
    g_assert_false(bdrv_dirty_bitmap_status(b, 2 * SIZE - STEP, STEP, &count));
    g_assert_cmpint(count, ==, STEP);
    bdrv_release_dirty_bitmap(b);
}

/* --- another thread writes while bitmaps come and go --- */

typedef struct {
    bool stop;                  /* atomic */
    bool done;                  /* atomic */
    unsigned writes;
} Writer;

static void coroutine_fn writer_entry(void *opaque)
{
    Writer *w = opaque;

    while (!qatomic_read(&w->stop)) {
        bdrv_set_dirty(bs, w->writes % 256 * STEP, 1);
        w->writes++;
    }
    qatomic_store_release(&w->done, true);
    aio_wait_kick();
}

static void test_thread(void)
{
    TestLoop *loop = test_loop_new();
    Writer w = { .stop = false };
    BdrvDirtyBitmap *all = new_bitmap("all");
    int i;

    aio_co_enter(loop->ctx, qemu_coroutine_create(writer_entry, &w));
    for (i = 0; i < 2000; i++) {
        BdrvDirtyBitmap *b = new_bitmap("b");

        bdrv_dirty_bitmap_create_successor(b, &error_abort);
        b = i & 1 ? bdrv_dirty_bitmap_abdicate(b, &error_abort) :
            bdrv_reclaim_dirty_bitmap(b, &error_abort);
        bdrv_merge_dirty_bitmap(b, all, NULL, &error_abort);
        bdrv_release_dirty_bitmap(b);
    }
    qatomic_set(&w.stop, true);
    AIO_WAIT_WHILE(NULL, !qatomic_load_acquire(&w.done));
    for (i = 0; i < 256; i++) {
        g_assert_cmpint(bdrv_dirty_bitmap_get(all, i * STEP), ==,
                        i < (int)w.writes);
    }
    bdrv_release_dirty_bitmap(all);
    test_loop_free(loop);
}

/* A disk that is so large is refused its bitmap, and no more. */
static void test_no_memory(void)
{
#ifdef QEMU_SANITIZE_ADDRESS
    g_test_skip("the sanitizer ends a program that asks for so much");
#else
    BlockDriverState *huge = bdrv_open(NULL, NULL, qopts_parse(
        "driver=null-co,size=4611686018427387904", NULL, &error_abort), 0,
        &error_abort);
    Error *err = NULL;

    g_assert_null(bdrv_create_dirty_bitmap(huge, 512, "b", &err));
    error_free_or_abort(&err);
    g_assert_null(bdrv_find_dirty_bitmap(huge, "b"));
    bdrv_unref(huge);
#endif
}

/*
 * A node that becomes so long has a bitmap that says that it is of no use; what
 * it has is still there.
 */
static void test_no_memory_to_grow(void)
{
#ifdef QEMU_SANITIZE_ADDRESS
    g_test_skip("the sanitizer ends a program that asks for so much");
#else
    BdrvDirtyBitmap *b = bdrv_create_dirty_bitmap(bs, 512, "b", &error_abort);
    int64_t sectors = bs->total_sectors, count;
    Error *err = NULL;
    HBitmap *backup;

    bdrv_clear_dirty_bitmap(b, &backup);
    bdrv_set_dirty(bs, 512, 512);
    bdrv_dirty_bitmap_create_successor(b, &error_abort);
    qatomic_set(&bs->total_sectors, INT64_C(1) << 53);
    bdrv_set_dirty(bs, SIZE - 1, 2);
    bdrv_dirty_bitmap_truncate(bs);
    g_assert_true(bdrv_dirty_bitmap_inconsistent(b));
    bdrv_reclaim_dirty_bitmap(b, &error_abort);
    g_assert_cmpint(bdrv_dirty_bitmap_check(b, BDRV_BITMAP_DEFAULT, &err), ==,
                    -1);
    g_assert_nonnull(strstr(error_get_pretty(err), "inconsistent"));
    error_free(err);
    g_assert_true(bdrv_dirty_bitmap_get(b, 512));
    g_assert_false(bdrv_dirty_bitmap_status(b, 0, 512, &count));
    /* A client that copies what is dirty copies what is not known. */
    g_assert_true(bdrv_dirty_bitmap_status(b, 2 * SIZE, STEP, &count));
    g_assert_cmpint(count, ==, STEP);
    bdrv_restore_dirty_bitmap(b, backup);
    bdrv_release_dirty_bitmap(b);
    qatomic_set(&bs->total_sectors, sectors);
#endif
}

/* A transaction that fails after the node has grown. */
static void test_restore_longer(void)
{
    BdrvDirtyBitmap *b = new_bitmap("b");
    HBitmap *backup;

    write_at(STEP, 1);
    bdrv_clear_dirty_bitmap(b, &backup);
    g_assert_cmpint(blk_truncate(blk, 2 * SIZE, true, PREALLOC_MODE_OFF, 0,
                                 &error_abort), ==, 0);
    bdrv_restore_dirty_bitmap(b, backup);
    g_assert_true(bdrv_dirty_bitmap_get(b, STEP));
    write_at(2 * SIZE - 1, 1);
    g_assert_cmpint(bdrv_get_dirty_count(b), ==, 2 * STEP);
    bdrv_release_dirty_bitmap(b);
}

#define ADD(name, fn) \
    g_test_add("/dirty-bitmap/" name, int, NULL, (void *)setup, (void *)fn, \
               (void *)teardown)

int main(int argc, char **argv)
{
    int fd = g_file_open_tmp("test-dirty-bitmap-XXXXXX", &path, NULL);
    int ret;

    close(fd);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    g_test_init(&argc, &argv, NULL);
    ADD("requests", test_requests);
    ADD("names", test_names);
    ADD("successor", test_successor);
    ADD("merge", test_merge);
    ADD("longer", test_longer);
    ADD("thread", test_thread);
    ADD("no-memory", test_no_memory);
    ADD("no-memory-to-grow", test_no_memory_to_grow);
    ADD("restore-longer", test_restore_longer);
    ret = g_test_run();
    unlink(path);
    g_free(path);
    return ret;
}
