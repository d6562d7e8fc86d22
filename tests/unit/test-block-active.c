/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Active and inactive nodes: a disk that two processes hand over.
 */
#include "qemu/osdep.h"
#include "block/blk-int.h"

static BlockDriverState *open_node(const char *options)
{
    return bdrv_open(NULL, NULL, qopts_parse(options, NULL, &error_abort),
                     BDRV_O_RDWR, &error_abort);
}

static void check_error(int ret, Error **err, const char *message)
{
    g_assert_cmpint(ret, <, 0);
    g_assert_cmpstr(error_get_pretty(*err), ==, message);
    error_free_or_abort(err);
}

static BlockBackend *new_blk(BlockDriverState *bs, uint64_t perm)
{
    BlockBackend *blk = blk_new(qemu_get_aio_context(), perm, BLK_PERM_ALL);

    g_assert_cmpint(blk_insert_bs(blk, bs, &error_abort), ==, 0);
    return blk;
}

/* Children follow, as far as nobody else has them active. */
static void test_children(void)
{
    BlockDriverState *file = open_node("driver=null-co,node-name=file");
    BlockDriverState *a = open_node("driver=raw,node-name=a,file=file");
    BlockDriverState *b = open_node("driver=raw,node-name=b,file=file");
    Error *err = NULL;

    check_error(bdrv_inactivate(file, &err), &err,
                "Node has active parent node");
    g_assert_cmpint(bdrv_inactivate(a, &error_abort), ==, 0);
    g_assert(bdrv_is_inactive(a) && !bdrv_is_inactive(file));
    g_assert_cmpint(bdrv_inactivate(b, &error_abort), ==, 0);
    g_assert(bdrv_is_inactive(b) && bdrv_is_inactive(file));
    g_assert_cmpint(bdrv_inactivate(b, &error_abort), ==, 0);

    g_assert_cmpint(bdrv_activate(a, &error_abort), ==, 0);
    g_assert(!bdrv_is_inactive(a) && !bdrv_is_inactive(file));
    g_assert(bdrv_is_inactive(b));
    g_assert_cmpint(bdrv_activate_all(&error_abort), ==, 0);
    g_assert(!bdrv_is_inactive(b));
    g_assert_cmpint(bdrv_inactivate_all(&error_abort), ==, 0);
    g_assert(bdrv_is_inactive(a) && bdrv_is_inactive(b) &&
             bdrv_is_inactive(file));
    g_assert_cmpint(bdrv_activate_all(&error_abort), ==, 0);
    bdrv_unref(a);
    bdrv_unref(b);
    bdrv_unref(file);
}

/* The last request of a node, and then its last user, end. */
static void node_goes(void *opaque)
{
    bdrv_dec_in_flight(opaque);
    bdrv_unref(opaque);
}

static void check_going(int (*func)(Error **errp), bool inactive)
{
    BlockDriverState *a = open_node("driver=null-co,node-name=a");
    BlockDriverState *b = open_node("driver=null-co,node-name=b");

    if (!inactive) {
        g_assert_cmpint(bdrv_inactivate_all(&error_abort), ==, 0);
    }
    bdrv_inc_in_flight(a);
    aio_bh_schedule_oneshot(qemu_get_aio_context(), node_goes, a);
    g_assert_cmpint(func(&error_abort), ==, 0);
    g_assert_null(bdrv_find_node("a"));
    g_assert_cmpint(bdrv_is_inactive(b), ==, inactive);
    bdrv_unref(b);
}

/* What runs while a node is drained may let it go. */
static void test_going(void)
{
    check_going(bdrv_activate_all, false);
    check_going(bdrv_inactivate_all, true);
}

/* Users that write keep a node active, unless they say that they can wait. */
static void test_users(void)
{
    const uint64_t write = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE;
    BlockDriverState *bs = open_node("driver=null-co,node-name=n");
    BlockBackend *writer = new_blk(bs, write);
    BlockBackend *reader = new_blk(bs, BLK_PERM_CONSISTENT_READ);
    BlockBackend *late;
    char buf[512] = { 0 };
    Error *err = NULL;

    check_error(bdrv_inactivate(bs, &err), &err,
                "Node 'n' is in use by an unnamed block device");
    g_assert(!bdrv_is_inactive(bs) && !blk_is_inactive(writer));
    g_assert_cmphex(bs->cumulative_perms, ==, write);
    g_assert_cmpint(blk_pwrite(writer, 0, 512, buf, 0), ==, 0);

    blk_set_force_allow_inactivate(writer);
    g_assert_cmpint(bdrv_inactivate(bs, &error_abort), ==, 0);
    g_assert(!bdrv_is_writable(bs) && blk_is_inactive(writer));
    g_assert_cmphex(bs->cumulative_perms, ==, 0);
    g_assert_cmpint(blk_pwrite(writer, 0, 512, buf, 0), ==, -EPERM);
    late = blk_new(qemu_get_aio_context(), write, BLK_PERM_ALL);
    check_error(blk_insert_bs(late, bs, &err), &err,
                "Block node is inactive");
    /* What is asked for meanwhile is for later. */
    g_assert_cmpint(blk_set_perm(reader, write, BLK_PERM_ALL, &error_abort),
                    ==, 0);
    g_assert_cmphex(bs->cumulative_perms, ==, 0);

    g_assert_cmpint(bdrv_activate(bs, &error_abort), ==, 0);
    g_assert_cmphex(bs->cumulative_perms, ==, write);
    g_assert_cmpint(blk_pwrite(writer, 0, 512, buf, 0), ==, 0);
    g_assert_cmpint(blk_pwrite(reader, 0, 512, buf, 0), ==, 0);
    blk_unref(late);
    blk_unref(writer);
    blk_unref(reader);
    bdrv_unref(bs);
}

static void test_open(void)
{
    BlockDriverState *file = open_node("driver=null-co,node-name=file,"
                                       "active=off");
    BlockDriverState *top;
    Error *err = NULL;

    g_assert(bdrv_is_inactive(file));
    g_assert(!bdrv_open(NULL, NULL,
                        qopts_parse("driver=raw,node-name=top,file=file",
                                    NULL, &error_abort), BDRV_O_RDWR, &err));
    check_error(-1, &err, "Inactive 'file' can't be a file child of active "
                "'top'");
    top = open_node("driver=raw,node-name=top,file=file,active=off");
    g_assert_cmpint(bdrv_activate(top, &error_abort), ==, 0);
    g_assert(!bdrv_is_inactive(file));
    bdrv_unref(top);
    bdrv_unref(file);
}

/* What VMDK knows of the image would not be true any more. */
static void test_metadata(void)
{
    g_autofree char *name = g_strdup("/tmp/test-block-active-XXXXXX");
    BlockDriverState *bs;
    QOpts *opts = qopts_new();
    Error *err = NULL;

    close(g_mkstemp(name));
    qopts_set_uint(opts, "size", 1 * MiB);
    g_assert_cmpint(bdrv_create(bdrv_find_format("vmdk"), name, opts,
                                &error_abort), ==, 0);
    opts = qopts_parse("driver=vmdk,node-name=v", NULL, &error_abort);
    bs = bdrv_open(name, NULL, opts, BDRV_O_RDWR, &error_abort);
    check_error(bdrv_inactivate(bs, &err), &err,
                "Node 'v' cannot be inactive: driver 'vmdk' keeps metadata "
                "in memory");
    g_assert(!bdrv_is_inactive(bs) && !bdrv_is_inactive(bs->file->bs));
    bdrv_unref(bs);
    opts = qopts_parse("driver=vmdk,node-name=v,active=off", NULL,
                       &error_abort);
    g_assert(!bdrv_open(name, NULL, opts, BDRV_O_RDWR, &err));
    error_free_or_abort(&err);
    unlink(name);
}

/* Two openings of one file, as two processes have them. */
static void test_handover(void)
{
    g_autofree char *name = g_strdup("/tmp/test-block-active-XXXXXX");
    const int flags = BDRV_O_RDWR | BDRV_O_PROTOCOL | BDRV_O_NO_SHARE;
    int fd = g_mkstemp(name);
    BlockBackend *a, *b;
    QOpts *opts;
    char buf[512];
    Error *err = NULL;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, 1 * MiB), ==, 0);
    a = blk_new_open(name, NULL, NULL, flags, &error_abort);
    opts = qopts_new();
    qopts_set_bool(opts, "active", false);
    b = blk_new(qemu_get_aio_context(), 0, BLK_PERM_ALL);
    {
        BlockDriverState *bs = bdrv_open(name, NULL, opts, flags,
                                         &error_abort);

        g_assert_cmpint(blk_insert_bs(b, bs, &error_abort), ==, 0);
        bdrv_unref(bs);
    }
    blk_set_force_allow_inactivate(a);
    memset(buf, 1, sizeof(buf));
    g_assert_cmpint(blk_pwrite(a, 0, 512, buf, 0), ==, 0);
    g_assert_cmpint(blk_set_perm(b, 0, BLK_PERM_ALL & ~BLK_PERM_WRITE, &err),
                    <, 0);
    error_free(err);

    /* From one to the other, and back; the file has grown meanwhile. */
    g_assert_cmpint(bdrv_inactivate(blk_bs(a), &error_abort), ==, 0);
    g_assert_cmpint(bdrv_activate(blk_bs(b), &error_abort), ==, 0);
    g_assert_cmpint(blk_set_perm(b, BLK_PERM_ALL, BLK_PERM_CONSISTENT_READ,
                                 &error_abort), ==, 0);
    g_assert_cmpint(blk_truncate(b, 2 * MiB, true, PREALLOC_MODE_OFF, 0,
                                 &error_abort), ==, 0);
    err = NULL;
    g_assert_cmpint(bdrv_activate(blk_bs(a), &err), <, 0);
    error_free_or_abort(&err);
    g_assert(bdrv_is_inactive(blk_bs(a)));
    blk_set_force_allow_inactivate(b);
    g_assert_cmpint(bdrv_inactivate(blk_bs(b), &error_abort), ==, 0);
    g_assert_cmpint(bdrv_activate(blk_bs(a), &error_abort), ==, 0);
    g_assert_cmpint(blk_getlength(a), ==, 2 * MiB);
    g_assert_cmpint(blk_pread(a, 0, 512, buf, 0), ==, 0);
    g_assert_cmpint(buf[0], ==, 1);
    blk_unref(a);
    blk_unref(b);
    unlink(name);
    close(fd);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();

    g_test_add_func("/block-active/children", test_children);
    g_test_add_func("/block-active/going", test_going);
    g_test_add_func("/block-active/users", test_users);
    g_test_add_func("/block-active/open", test_open);
    g_test_add_func("/block-active/metadata", test_metadata);
    g_test_add_func("/block-active/handover", test_handover);
    ret = g_test_run();

    qemu_cleanup_main_loop();
    return ret;
}
