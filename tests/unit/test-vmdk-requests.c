/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a VMDK makes of the requests of a guest: a protocol driver that has its
 * file in memory counts those that come to it, and can keep writes waiting
 * until so many are there at once.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "qemu/main-loop.h"
#include "system/block-backend.h"
#include <glib/gstdio.h>

#define GRAIN 65536
#define DISK_SIZE (64 * MiB)
#define FILE_BYTES (16 * MiB)
#define RW_FLAGS (BDRV_O_RDWR | BDRV_O_RESIZE)
#define PARALLEL 8

static char *tmp_dir;
static uint8_t *content;
static int64_t content_bytes;

/* Of a grain or more; the others are of metadata. */
static int data_writes;
static int64_t data_bytes;

static int wanted;              /* writes of data that wait for each other */
static int waiting;
static CoQueue all_there;

static int counting_open(BlockDriverState *bs, QOpts *options, int flags,
                         Error **errp)
{
    return 0;
}

static int64_t coroutine_fn counting_co_getlength(BlockDriverState *bs)
{
    return content_bytes;
}

static int coroutine_fn counting_co_preadv_part(BlockDriverState *bs,
                                                int64_t offset, int64_t bytes,
                                                QEMUIOVector *qiov,
                                                size_t qiov_offset,
                                                BdrvRequestFlags flags)
{
    if (offset + bytes > FILE_BYTES) {
        return -EFBIG;
    }
    qemu_iovec_from_buf(qiov, qiov_offset, content + offset, bytes);
    return 0;
}

static void coroutine_fn wait_for_others(void)
{
    if (++waiting < wanted) {
        qemu_co_queue_wait(&all_there, NULL);
    } else {
        qemu_co_queue_restart_all(&all_there);
    }
}

static int coroutine_fn counting_co_pwritev_part(BlockDriverState *bs,
                                                 int64_t offset, int64_t bytes,
                                                 QEMUIOVector *qiov,
                                                 size_t qiov_offset,
                                                 BdrvRequestFlags flags)
{
    if (offset + bytes > FILE_BYTES) {
        return -EFBIG;
    }
    if (bytes >= GRAIN) {
        data_writes++;
        data_bytes += bytes;
        wait_for_others();
    }
    qemu_iovec_to_buf(qiov, qiov_offset, content + offset, bytes);
    content_bytes = MAX(content_bytes, offset + bytes);
    return 0;
}

static int coroutine_fn counting_co_truncate(BlockDriverState *bs,
                                             int64_t offset, bool exact,
                                             PreallocMode prealloc,
                                             BdrvRequestFlags flags,
                                             Error **errp)
{
    content_bytes = offset;
    return 0;
}

static BlockDriver bdrv_counting = {
    .format_name = "counting",
    .protocol_name = "counting",
    .bdrv_open = counting_open,
    .bdrv_co_getlength = counting_co_getlength,
    .bdrv_co_preadv_part = counting_co_preadv_part,
    .bdrv_co_pwritev_part = counting_co_pwritev_part,
    .bdrv_co_truncate = counting_co_truncate,
};

/* A new image, in memory. */
static BlockBackend *open_new(void)
{
    g_autofree char *path = g_build_filename(tmp_dir, "x.vmdk", NULL);
    g_autofree char *data = NULL;
    QOpts *opts = qopts_new();
    gsize bytes;

    qopts_set_uint(opts, "size", DISK_SIZE);
    g_assert_cmpint(bdrv_create(bdrv_find_format("vmdk"), path, opts,
                                &error_abort), ==, 0);
    g_assert_true(g_file_get_contents(path, &data, &bytes, NULL));
    g_unlink(path);
    memset(content, 0, FILE_BYTES);
    memcpy(content, data, bytes);
    content_bytes = bytes;
    data_writes = data_bytes = waiting = wanted = 0;
    return blk_new_open(NULL, NULL,
                        qopts_parse("driver=vmdk,file.driver=counting", NULL,
                                    &error_abort), RW_FLAGS, &error_abort);
}

/* Fresh grains in a row: one write of all data, and nothing twice. */
static void test_sequential(void)
{
    g_autofree uint8_t *data = g_malloc(MiB);
    BlockBackend *blk = open_new();
    int i;

    memset(data, 'x', MiB);
    for (i = 1; i <= 8; i++) {
        g_assert_cmpint(blk_pwrite(blk, (i - 1) * MiB, MiB, data, 0), ==, 0);
        g_assert_cmpint(data_writes, ==, i);
        g_assert_cmpint(data_bytes, ==, i * MiB);
    }
    /* A part of a grain: the rest of it goes with it, in the same write. */
    g_assert_cmpint(blk_pwrite(blk, 20 * MiB + 5000, 700, data, 0), ==, 0);
    g_assert_cmpint(data_writes, ==, 9);
    g_assert_cmpint(data_bytes, ==, 8 * MiB + GRAIN);
    blk_unref(blk);
}

static void write_done(void *opaque, int ret)
{
    int *pending = opaque;

    g_assert_cmpint(ret, ==, 0);
    (*pending)--;
}

/*
 * Writes that allocate grains, in one table and in two: the file has all of
 * them at once.  If one waited for another, none would ever complete.
 */
static void test_parallel(void)
{
    g_autofree uint8_t *data = g_malloc(GRAIN);
    BlockBackend *blk = open_new();
    QEMUIOVector qiov;
    int pending = PARALLEL;
    int i;

    memset(data, 'y', GRAIN);
    qemu_iovec_init_buf(&qiov, data, GRAIN);
    wanted = PARALLEL;
    for (i = 0; i < PARALLEL; i++) {
        blk_aio_pwritev(blk, i * 5 * MiB, &qiov, 0, write_done, &pending);
    }
    while (pending) {
        aio_poll(qemu_get_aio_context(), true);
    }
    g_assert_cmpint(waiting, ==, PARALLEL);
    blk_unref(blk);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    bdrv_register(&bdrv_counting);
    tmp_dir = g_dir_make_tmp("test-vmdk-requests-XXXXXX", NULL);
    g_assert_nonnull(tmp_dir);
    content = g_malloc0(FILE_BYTES);
    qemu_co_queue_init(&all_there);

    g_test_add_func("/vmdk-requests/sequential", test_sequential);
    g_test_add_func("/vmdk-requests/parallel", test_parallel);
    ret = g_test_run();

    g_rmdir(tmp_dir);
    g_free(tmp_dir);
    g_free(content);
    qemu_cleanup_main_loop();
    return ret;
}
