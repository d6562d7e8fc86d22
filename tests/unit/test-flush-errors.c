/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who is told of a flush that has failed: each user of a node once, whoever
 * has asked for that flush, wherever in the graph it was, and whatever becomes
 * of the graph meanwhile.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "qemu/main-loop.h"
#include "system/block-backend.h"
#include "test-passthrough.h"

/* --- a disk that tells of an error once --- */

typedef struct {
    int flush_error;            /* of the next flush */
    int write_error;            /* of the next write */
} Disk;

static int disk_open(BlockDriverState *bs, QOpts *options, int flags,
                     Error **errp)
{
    bs->supported_write_flags = BDRV_REQ_FUA;
    return 0;
}

static int64_t coroutine_fn disk_co_getlength(BlockDriverState *bs)
{
    return 1 * MiB;
}

static int take(int *error)
{
    int ret = *error;

    *error = 0;
    return ret;
}

static int coroutine_fn disk_co_preadv_part(BlockDriverState *bs,
                                            int64_t offset, int64_t bytes,
                                            QEMUIOVector *qiov,
                                            size_t qiov_offset,
                                            BdrvRequestFlags flags)
{
    qemu_iovec_memset(qiov, qiov_offset, 0, bytes);
    return 0;
}

static int coroutine_fn disk_co_pwritev_part(BlockDriverState *bs,
                                             int64_t offset, int64_t bytes,
                                             QEMUIOVector *qiov,
                                             size_t qiov_offset,
                                             BdrvRequestFlags flags)
{
    Disk *d = bs->opaque;

    return take(&d->write_error);
}

static int coroutine_fn disk_co_flush(BlockDriverState *bs)
{
    Disk *d = bs->opaque;

    return take(&d->flush_error);
}

static BlockDriver bdrv_disk = {
    .format_name = "disk",
    .protocol_name = "disk",
    .instance_size = sizeof(Disk),
    .bdrv_open = disk_open,
    .bdrv_co_getlength = disk_co_getlength,
    .bdrv_co_preadv_part = disk_co_preadv_part,
    .bdrv_co_pwritev_part = disk_co_pwritev_part,
    .bdrv_co_flush = disk_co_flush,
};

/* --- a format that flushes for itself, and has no FUA --- */

/* At 64 KiB and later the file grows, and is flushed before. */
static int coroutine_fn format_co_pwritev_part(BlockDriverState *bs,
                                               int64_t offset, int64_t bytes,
                                               QEMUIOVector *qiov,
                                               size_t qiov_offset,
                                               BdrvRequestFlags flags)
{
    int ret = offset < 64 * KiB ? 0 : bdrv_co_flush(bs->file->bs);

    return ret < 0 ? ret : bdrv_co_pwritev_part(bs->file, offset, bytes, qiov,
                                                qiov_offset, flags);
}

/* For the order of its metadata. */
static int coroutine_fn format_co_flush_to_os(BlockDriverState *bs)
{
    return bdrv_co_flush(bs->file->bs);
}

static BlockDriver bdrv_format = {
    .format_name = "format",
    .instance_size = 1,
    .is_format = true,
    .bdrv_open = pass_open,
    .bdrv_child_perm = bdrv_default_perms,
    .bdrv_co_getlength = pass_co_getlength,
    .bdrv_co_preadv_part = pass_co_preadv_part,
    .bdrv_co_pwritev_part = format_co_pwritev_part,
    .bdrv_co_flush_to_os = format_co_flush_to_os,
};

/* --- helpers --- */

static BlockDriverState *open_node(const char *options)
{
    return bdrv_open(NULL, NULL, qopts_parse(options, NULL, &error_abort),
                     BDRV_O_RDWR, &error_abort);
}

static BlockBackend *new_user(BlockDriverState *bs)
{
    BlockBackend *blk = blk_new(qemu_get_aio_context(),
                                BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE,
                                BLK_PERM_ALL);

    g_assert_cmpint(blk_insert_bs(blk, bs, &error_abort), ==, 0);
    return blk;
}

static void fail_flush(BlockDriverState *bs, int error)
{
    Disk *d = bs->opaque;

    d->flush_error = error;
}

/* A flush that no user has asked for fails. */
static void fail_unasked(BlockDriverState *bs, BlockDriverState *disk)
{
    fail_flush(disk, -EIO);
    g_assert_cmpint(bdrv_flush(bs), ==, -EIO);
}

static int write_at(BlockBackend *blk, int64_t offset, BdrvRequestFlags flags)
{
    uint8_t buf[512] = { 0 };

    return blk_pwrite(blk, offset, sizeof(buf), buf, flags);
}

/* One flush fails, and the one after it does not. */
static void check_told(BlockBackend *blk, int error)
{
    g_assert_cmpint(blk_flush(blk), ==, error);
    g_assert_cmpint(blk_flush(blk), ==, 0);
}

/* --- tests --- */

/* The disk, a format above it, and two users. */
typedef struct {
    BlockDriverState *disk, *format;
    BlockBackend *a, *b;
} Stack;

static void stack_open(Stack *s)
{
    s->disk = open_node("driver=disk,node-name=disk");
    s->format = open_node("driver=format,node-name=format,file=disk");
    s->a = new_user(s->format);
    s->b = new_user(s->format);
}

static void stack_close(Stack *s)
{
    blk_unref(s->a);
    blk_unref(s->b);
    bdrv_unref(s->format);
    bdrv_unref(s->disk);
    g_assert_null(bdrv_next_node(NULL));
}

static void test_write(void)
{
    Stack s;

    stack_open(&s);
    fail_flush(s.disk, -ENOSPC);
    g_assert_cmpint(write_at(s.a, 128 * KiB, 0), ==, -ENOSPC);
    g_assert_cmpint(write_at(s.a, 128 * KiB, 0), ==, 0);
    check_told(s.a, -ENOSPC);
    check_told(s.b, -ENOSPC);
    /* A flush of the driver's own in between takes nothing of it away. */
    fail_flush(s.disk, -EIO);
    g_assert_cmpint(write_at(s.a, 128 * KiB, 0), ==, -EIO);
    g_assert_cmpint(write_at(s.b, 128 * KiB, 0), ==, 0);
    check_told(s.a, -EIO);
    check_told(s.b, -EIO);
    stack_close(&s);
}

static void test_own(void)
{
    Stack s;

    stack_open(&s);
    fail_flush(s.disk, -EIO);
    check_told(s.a, -EIO);
    check_told(s.b, -EIO);
    /* Each flush fails: no more is due when that is over. */
    fail_flush(s.disk, -EIO);
    g_assert_cmpint(blk_flush(s.a), ==, -EIO);
    fail_flush(s.disk, -EIO);
    check_told(s.a, -EIO);
    check_told(s.b, -EIO);
    stack_close(&s);
}

static void test_monitor(void)
{
    Stack s;

    stack_open(&s);
    fail_unasked(s.format, s.disk);
    check_told(s.a, -EIO);
    fail_unasked(s.disk, s.disk);
    check_told(s.a, -EIO);
    /* Of two that failed meanwhile, once. */
    check_told(s.b, -EIO);
    stack_close(&s);
}

static void test_fua_emulated(void)
{
    Stack s;

    stack_open(&s);
    fail_flush(s.disk, -ENOSPC);
    g_assert_cmpint(write_at(s.a, 0, BDRV_REQ_FUA), ==, -ENOSPC);
    check_told(s.a, -ENOSPC);
    check_told(s.b, -ENOSPC);
    stack_close(&s);
}

/* EIO may be about data of others; ENOSPC is about this write only. */
static void test_fua(void)
{
    BlockDriverState *disk = open_node("driver=disk,node-name=disk");
    BlockDriverState *raw = open_node("driver=raw,file=disk");
    BlockBackend *a = new_user(raw), *b = new_user(raw);
    Disk *d = disk->opaque;

    d->write_error = -EIO;
    g_assert_cmpint(write_at(a, 0, BDRV_REQ_FUA), ==, -EIO);
    check_told(a, -EIO);
    check_told(b, -EIO);
    d->write_error = -ENOSPC;
    g_assert_cmpint(write_at(a, 0, BDRV_REQ_FUA), ==, -ENOSPC);
    g_assert_cmpint(blk_flush(a), ==, 0);
    d->write_error = -EIO;
    g_assert_cmpint(write_at(a, 0, 0), ==, -EIO);
    g_assert_cmpint(blk_flush(a), ==, 0);
    blk_unref(a);
    blk_unref(b);
    bdrv_unref(raw);
    bdrv_unref(disk);
}

static void test_new_user(void)
{
    Stack s;
    BlockBackend *late;

    stack_open(&s);
    /* Somebody has been told: who comes later is not. */
    fail_unasked(s.format, s.disk);
    g_assert_cmpint(blk_flush(s.a), ==, -EIO);
    late = new_user(s.format);
    g_assert_cmpint(blk_flush(late), ==, 0);
    check_told(s.b, -EIO);
    /* Nobody has, and those who should have been are gone. */
    fail_unasked(s.format, s.disk);
    blk_unref(s.a);
    blk_unref(s.b);
    blk_unref(late);
    s.a = new_user(s.format);
    s.b = new_user(s.format);
    check_told(s.a, -EIO);
    check_told(s.b, -EIO);
    stack_close(&s);
}

/* The error goes with the user, over a filter that comes and one that goes. */
static void test_filter(void)
{
    BlockDriverState *disk = open_node("driver=disk,node-name=disk");
    BlockBackend *a = new_user(disk), *b = new_user(disk);
    BlockDriverState *filter;

    fail_unasked(disk, disk);
    check_told(b, -EIO);
    filter = bdrv_insert_node(disk, qopts_parse(
        "driver=copy-on-read,node-name=filter,file=disk", NULL, &error_abort),
        BDRV_O_RDWR, &error_abort);
    check_told(a, -EIO);
    blk_unref(b);
    b = new_user(disk);
    /* Told to another one, but not yet to those above the filter. */
    fail_unasked(disk, disk);
    check_told(b, -EIO);
    bdrv_drop_filter(filter, &error_abort);
    check_told(a, -EIO);
    g_assert_cmpint(blk_flush(b), ==, 0);
    bdrv_unref(filter);
    blk_unref(a);
    blk_unref(b);
    bdrv_unref(disk);
}

static void test_overlay(void)
{
    Stack s;
    BlockDriverState *overlay, *other;

    stack_open(&s);
    other = open_node("driver=disk,node-name=other");
    overlay = open_node("driver=format,file=other");
    fail_unasked(s.format, s.disk);
    check_told(s.b, -EIO);
    g_assert_cmpint(bdrv_replace_node(s.format, overlay, &error_abort), ==, 0);
    check_told(s.a, -EIO);
    g_assert_cmpint(blk_flush(s.b), ==, 0);
    bdrv_unref(overlay);
    bdrv_unref(other);
    stack_close(&s);
}

/* A child that is outvoted is nothing to those above. */
static void test_quorum(void)
{
    BlockDriverState *disks[3], *quorum;
    BlockBackend *blk;
    int i;

    for (i = 0; i < 3; i++) {
        g_autofree char *options =
            g_strdup_printf("driver=disk,node-name=d%d", i);

        disks[i] = open_node(options);
    }
    quorum = open_node("driver=quorum,vote-threshold=2,children.0=d0,"
                       "children.1=d1,children.2=d2");
    blk = new_user(quorum);
    fail_unasked(disks[0], disks[0]);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    fail_unasked(disks[0], disks[0]);
    fail_unasked(disks[1], disks[1]);
    check_told(blk, -EIO);
    blk_unref(blk);
    bdrv_unref(quorum);
    for (i = 0; i < 3; i++) {
        bdrv_unref(disks[i]);
    }
}

/* The target of a copy is not the business of those who use the source. */
static void test_target(void)
{
    BlockDriverState *disk = open_node("driver=disk,node-name=disk");
    BlockDriverState *target = open_node("driver=disk,node-name=target");
    BlockDriverState *cbw = open_node("driver=copy-before-write,"
                                      "file=disk,target=target");
    BlockBackend *blk = new_user(cbw);

    fail_unasked(target, target);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    fail_unasked(disk, disk);
    check_told(blk, -EIO);
    blk_unref(blk);
    bdrv_unref(cbw);
    bdrv_unref(target);
    bdrv_unref(disk);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    bdrv_register(&bdrv_disk);
    bdrv_register(&bdrv_format);

    g_test_add_func("/flush-errors/write", test_write);
    g_test_add_func("/flush-errors/own", test_own);
    g_test_add_func("/flush-errors/monitor", test_monitor);
    g_test_add_func("/flush-errors/fua-emulated", test_fua_emulated);
    g_test_add_func("/flush-errors/fua", test_fua);
    g_test_add_func("/flush-errors/new-user", test_new_user);
    g_test_add_func("/flush-errors/filter", test_filter);
    g_test_add_func("/flush-errors/overlay", test_overlay);
    g_test_add_func("/flush-errors/quorum", test_quorum);
    g_test_add_func("/flush-errors/target", test_target);
    ret = g_test_run();

    qemu_cleanup_main_loop();
    return ret;
}
