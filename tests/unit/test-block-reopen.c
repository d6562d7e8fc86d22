/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reopening several nodes at once, with other options and other children.
 */
#include "qemu/osdep.h"
#include "block/blk-int.h"

static BlockDriverState *open_node(const char *options)
{
    return bdrv_open(NULL, NULL, qopts_parse(options, NULL, &error_abort),
                     BDRV_O_RDWR, &error_abort);
}

static BlockReopenQueue *queue_node(BlockReopenQueue *queue,
                                    BlockDriverState *bs, const char *options)
{
    return bdrv_reopen_queue(queue, bs,
                             qopts_parse(options, NULL, &error_abort), false);
}

static void check_refused(BlockReopenQueue *queue, const char *message)
{
    Error *err = NULL;

    g_assert_cmpint(bdrv_reopen_multiple(queue, &err), <, 0);
    g_assert_cmpstr(error_get_pretty(err), ==, message);
    error_free_or_abort(&err);
}

/* What is not said becomes the default. */
static void test_defaults(void)
{
    BlockDriverState *bs = open_node(
        "driver=raw,node-name=r,offset=1M,cache.direct=on,detect-zeroes=on,"
        "file.driver=null-co,file.node-name=f");

    check_refused(queue_node(NULL, bs, "driver=null-co,file=f"),
                  "Cannot change the option 'driver'");
    check_refused(queue_node(NULL, bs, "driver=raw,file=f,node-name=x"),
                  "Cannot change the option 'node-name'");
    g_assert_cmpint(bdrv_getlength(bs), ==, GiB - MiB);
    g_assert_cmpint(bdrv_reopen_multiple(
        queue_node(NULL, bs, "driver=raw,node-name=r,file=f,size=64k"),
        &error_abort), ==, 0);
    g_assert_cmpint(bdrv_getlength(bs), ==, 64 * KiB);
    g_assert(!(bs->open_flags & BDRV_O_NOCACHE));
    g_assert_cmpint(bs->detect_zeroes, ==, BLOCKDEV_DETECT_ZEROES_OPTIONS_OFF);
    bdrv_unref(bs);

    bs = open_node("driver=null-co,node-name=n,size=1M");
    check_refused(queue_node(NULL, bs, "driver=null-co"),
                  "Option 'size' cannot be reset to its default value");
    check_refused(queue_node(NULL, bs, "driver=null-co,size=2M"),
                  "Cannot change the option 'size'");
    g_assert_cmpint(bdrv_reopen_multiple(
        queue_node(NULL, bs, "driver=null-co,size=1M,read-only=on"),
        &error_abort), ==, 0);
    g_assert(bdrv_is_read_only(bs));
    bdrv_unref(bs);
}

/* Several nodes: all or none. */
static void test_several(void)
{
    BlockDriverState *a = open_node("driver=raw,node-name=a,"
                                    "file.driver=null-co,"
                                    "file.node-name=fa");
    BlockDriverState *b = open_node("driver=raw,file.driver=null-co,"
                                    "file.node-name=fb");
    BlockReopenQueue *queue;

    queue = queue_node(NULL, a, "driver=raw,file=fa,size=4k");
    queue = queue_node(queue, b, "driver=raw,file=fb,offset=2G");
    check_refused(queue, "Offset (2147483648) cannot be greater than size of "
                  "the containing file (1073741824)");
    g_assert_cmpint(bdrv_getlength(a), ==, GiB);
    g_assert_cmpint(a->quiesce_counter + b->quiesce_counter, ==, 0);

    queue = queue_node(NULL, a, "driver=raw,file=fa");
    check_refused(queue_node(queue, a, "driver=raw,file=fa"),
                  "Node 'a' is to be reopened twice");

    queue = queue_node(NULL, a, "driver=raw,file=fa,size=4k");
    queue = queue_node(queue, b, "driver=raw,file=fb,offset=1G");
    g_assert_cmpint(bdrv_reopen_multiple(queue, &error_abort), ==, 0);
    g_assert_cmpint(bdrv_getlength(a), ==, 4096);
    g_assert_cmpint(bdrv_getlength(b), ==, 0);
    bdrv_unref(a);
    bdrv_unref(b);
}

/* Another file: a filter is put in, and taken out again. */
static void test_file(void)
{
    BlockDriverState *file = open_node("driver=null-co,node-name=file");
    BlockDriverState *top = open_node("driver=raw,node-name=top,file=file");
    BlockDriverState *filter = open_node("driver=blkdebug,node-name=filter,"
                                         "image=file");

    check_refused(queue_node(NULL, top, "driver=raw,file=none"),
                  "Cannot find device='' nor node-name='none'");
    g_assert_cmpint(bdrv_reopen_multiple(
        queue_node(NULL, top, "driver=raw,file=filter"), &error_abort), ==,
        0);
    g_assert(top->file->bs == filter);
    g_assert_cmpint(filter->refcnt, ==, 2);
    check_refused(queue_node(NULL, filter, "driver=blkdebug,image=top"),
                  "Cannot change the option 'image'");
    g_assert_cmpint(bdrv_freeze_backing_chain(filter, file, &error_abort), ==,
                    0);
    bdrv_unfreeze_backing_chain(filter, file);
    top->file->frozen = true;
    check_refused(queue_node(NULL, top, "driver=raw,file=file"),
                  "Cannot change frozen 'file' link from 'top' to 'filter'");
    top->file->frozen = false;
    g_assert_cmpint(bdrv_reopen_multiple(
        queue_node(NULL, top, "driver=raw,file=file"), &error_abort), ==, 0);
    g_assert(top->file->bs == file);
    g_assert_cmpint(filter->refcnt, ==, 1);
    bdrv_unref(filter);
    bdrv_unref(top);
    bdrv_unref(file);
}

/* Permissions count: the new child must let its parent do what it does. */
static void test_permissions(void)
{
    BlockDriverState *file = open_node("driver=null-co,node-name=file");
    BlockDriverState *other = open_node("driver=null-co,node-name=other");
    BlockDriverState *top = open_node("driver=raw,node-name=top,file=file");
    BlockBackend *blk = blk_new(qemu_get_aio_context(), BLK_PERM_WRITE,
                                BLK_PERM_ALL);
    BlockBackend *owner = blk_new(qemu_get_aio_context(),
                                  BLK_PERM_CONSISTENT_READ,
                                  BLK_PERM_CONSISTENT_READ);

    g_assert_cmpint(blk_insert_bs(blk, top, &error_abort), ==, 0);
    g_assert_cmpint(blk_insert_bs(owner, other, &error_abort), ==, 0);
    check_refused(queue_node(NULL, top, "driver=raw,file=other"),
                  "Permission conflict on node 'other': permissions 'write' "
                  "are both required by node 'top' (uses node 'other' as "
                  "'file' child) and unshared by an unnamed block device "
                  "(uses node 'other' as 'root' child).");
    g_assert(top->file->bs == file);
    check_refused(queue_node(NULL, top, "driver=raw,file=file,read-only=on"),
                  "Read-only block node 'top' cannot support read-write "
                  "users");
    g_assert(bdrv_is_writable(top));
    blk_unref(owner);
    g_assert_cmpint(bdrv_reopen_multiple(
        queue_node(NULL, top, "driver=raw,file=other"), &error_abort), ==, 0);
    g_assert_cmphex(file->cumulative_perms, ==, 0);
    g_assert_cmphex(other->cumulative_perms & BLK_PERM_WRITE, ==,
                    BLK_PERM_WRITE);
    blk_unref(blk);
    bdrv_unref(top);
    bdrv_unref(other);
    bdrv_unref(file);
}

/* A node that was opened by its parent follows it; another does not. */
static void test_inherits(void)
{
    BlockDriverState *file = open_node("driver=null-co,node-name=file");
    BlockDriverState *a = open_node("driver=raw,file=file");
    BlockDriverState *b = open_node("driver=raw,file.driver=null-co");
    BlockDriverState *of_b = b->file->bs;

    g_assert(of_b->inherits_from == b && !file->inherits_from);
    g_assert_cmpint(bdrv_reopen_set_read_only(a, true, &error_abort), ==, 0);
    g_assert_cmpint(bdrv_reopen_set_read_only(b, true, &error_abort), ==, 0);
    g_assert(bdrv_is_read_only(a) && bdrv_is_writable(file));
    g_assert(bdrv_is_read_only(b) && bdrv_is_read_only(of_b));
    bdrv_ref(of_b);
    bdrv_unref(b);
    g_assert(!of_b->inherits_from);
    bdrv_unref(of_b);
    bdrv_unref(a);
    bdrv_unref(file);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();

    g_test_add_func("/block-reopen/defaults", test_defaults);
    g_test_add_func("/block-reopen/several", test_several);
    g_test_add_func("/block-reopen/file", test_file);
    g_test_add_func("/block-reopen/permissions", test_permissions);
    g_test_add_func("/block-reopen/inherits", test_inherits);
    ret = g_test_run();

    qemu_cleanup_main_loop();
    return ret;
}
