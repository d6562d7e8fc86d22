/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The graph of nodes: names, edges, drain.
 */
#include "qemu/osdep.h"
#include "block/blk-int.h"

static BlockDriverState *open_node(const char *options, Error **errp)
{
    return bdrv_open(NULL, NULL, qopts_parse(options, NULL, &error_abort),
                     BDRV_O_RDWR | BDRV_O_UNMAP, errp);
}

/* --- names --- */

static void check_refused(const char *options, const char *message)
{
    Error *err = NULL;

    g_assert(!open_node(options, &err));
    g_assert_cmpstr(error_get_pretty(err), ==, message);
    error_free_or_abort(&err);
    /* A refused open has left no node behind. */
    g_assert(!bdrv_next_node(NULL));
}

static void test_names(void)
{
    BlockDriverState *bs;

    /* A node cannot be its own child: it is not there before it is open. */
    check_refused("driver=raw,node-name=a,file=a",
                  "Cannot find device='a' nor node-name='a'");
    check_refused("driver=raw,node-name=a,file.driver=raw,file.file=a",
                  "Cannot find device='a' nor node-name='a'");
    check_refused("driver=blkdebug,node-name=a,image=a",
                  "Cannot find device='a' nor node-name='a'");
    /* Nor can its child take its name first. */
    check_refused("driver=raw,node-name=a,file.driver=null-co,"
                  "file.node-name=a",
                  "Duplicate nodes with node-name='a'");
    check_refused("driver=blkdebug,node-name=a,image.driver=null-co,"
                  "image.node-name=a",
                  "Duplicate nodes with node-name='a'");
    check_refused("driver=null-co,node-name=1a", "Invalid node-name: '1a'");

    bs = open_node("driver=null-co,node-name=a", &error_abort);
    g_assert(bdrv_find_node("a") == bs);
    bdrv_unref(bs);
    g_assert(!bdrv_find_node("a"));
}

static void check_filename(const char *options, const char *filename)
{
    BlockDriverState *bs = open_node(options, &error_abort);

    g_assert_cmpstr(bs->filename, ==, filename);
    bdrv_unref(bs);
}

/* The name of a node opens the same data again. */
static void test_filename(void)
{
    BlockDriverState *bs;

    check_filename("driver=null-co", "null-co://");
    check_filename("driver=null-co,latency-ns=1,discard=unmap", "null-co://");
    check_filename("driver=null-co,size=1M",
                   "json:{ \"driver\": \"null-co\", \"size\": \"1M\" }");
    check_filename("driver=blkdebug,image.driver=null-co",
                   "blkdebug::null-co://");
    check_filename("driver=blkdebug,image.driver=null-co,"
                   "inject-error.0.event=read_aio",
                   "json:{ \"driver\": \"blkdebug\", "
                   "\"inject-error.0.event\": \"read_aio\", "
                   "\"image\": { \"driver\": \"null-co\" } }");

    bs = open_node("driver=raw,file.driver=null-co", &error_abort);
    g_assert_cmpstr(bs->filename, ==, "null-co://");
    g_assert_cmpint(bdrv_reopen(bs, BDRV_O_RDWR,
                                qopts_parse("offset=1M", NULL, &error_abort),
                                &error_abort), ==, 0);
    g_assert_cmpstr(bs->filename, ==,
                    "json:{ \"driver\": \"raw\", \"offset\": \"1M\", "
                    "\"file\": { \"driver\": \"null-co\" } }");
    bdrv_unref(bs);
}

/* --- edges --- */

static void test_cycle(void)
{
    BlockDriverState *top, *file;
    Error *err = NULL;

    top = open_node("driver=raw,node-name=top,file.driver=raw,"
                    "file.node-name=mid,file.file.driver=null-co,"
                    "file.file.node-name=file", &error_abort);
    file = bdrv_find_node("file");
    bdrv_ref(top);
    g_assert(!bdrv_attach_child(file, top, "loop", &child_of_bds,
                               BDRV_CHILD_DATA, &err));
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "Making 'top' a loop child of 'file' would create a "
                    "cycle");
    error_free_or_abort(&err);
    bdrv_ref(file);
    g_assert(!bdrv_attach_child(file, file, "self", &child_of_bds,
                               BDRV_CHILD_DATA, &err));
    error_free_or_abort(&err);
    bdrv_unref(top);
    g_assert(!bdrv_next_node(NULL));
}

/* --- reopen --- */

static void reopen(BlockDriverState *bs, const char *options)
{
    g_assert_cmpint(bdrv_reopen(bs, bs->open_flags,
                                qopts_parse(options, NULL, &error_abort),
                                &error_abort), ==, 0);
}

/* Flags by options are for the nodes below, unless theirs say otherwise. */
static void test_reopen_flags(void)
{
    BlockDriverState *top = open_node("driver=raw,file.driver=null-co",
                                      &error_abort);
    BlockDriverState *file = top->file->bs;

    reopen(top, "read-only=on");
    g_assert(bdrv_is_read_only(top) && bdrv_is_read_only(file));
    reopen(top, "read-only=off,cache.direct=on");
    g_assert(bdrv_is_writable(top) && bdrv_is_writable(file));
    g_assert(file->open_flags & BDRV_O_NOCACHE);
    reopen(top, "cache.direct=on,file.cache.direct=off");
    g_assert(top->open_flags & BDRV_O_NOCACHE);
    g_assert(!(file->open_flags & BDRV_O_NOCACHE));
    bdrv_unref(top);
}

/* --- drain --- */

/* A request of @opaque, which is a node, ends. */
static void end_request(void *opaque)
{
    bdrv_dec_in_flight(opaque);
}

/* A request that is in flight far above is waited for. */
static void test_drain_above(void)
{
    BlockDriverState *top = open_node(
        "driver=raw,file.driver=raw,file.file.driver=raw,"
        "file.file.file.driver=null-co,file.file.file.node-name=file",
        &error_abort);
    BlockDriverState *file = bdrv_find_node("file");
    QEMUTimer *timer = aio_timer_new(qemu_get_aio_context(),
                                     QEMU_CLOCK_REALTIME, SCALE_MS,
                                     end_request, top);

    bdrv_inc_in_flight(top);
    timer_mod(timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + 20);
    bdrv_drained_begin(file);
    g_assert_cmpuint(top->in_flight, ==, 0);
    g_assert_cmpint(top->quiesce_counter, ==, 1);
    bdrv_drained_end(file);
    g_assert_cmpint(top->quiesce_counter, ==, 0);
    timer_free(timer);
    bdrv_unref(top);
}

/* A child that others keep busy is not waited for. */
static void test_drain_below(void)
{
    BlockDriverState *top = open_node(
        "driver=raw,file.driver=null-co,file.node-name=file", &error_abort);
    BlockDriverState *file = bdrv_find_node("file");

    bdrv_inc_in_flight(file);
    bdrv_drained_begin(top);
    g_assert_cmpint(file->quiesce_counter, ==, 0);
    bdrv_drained_end(top);
    bdrv_dec_in_flight(file);
    bdrv_unref(top);
}

static void set_ret(void *opaque, int ret)
{
    *(int *)opaque = ret;
}

static BlockBackend *new_blk(BlockDriverState *bs)
{
    BlockBackend *blk = blk_new(qemu_get_aio_context(), BLK_PERM_ALL,
                                BLK_PERM_ALL);

    g_assert_cmpint(blk_insert_bs(blk, bs, &error_abort), ==, 0);
    return blk;
}

/* A request of @blk waits until the section ends. */
static void check_waits(BlockBackend *blk, BlockDriverState *drained)
{
    int ret = -EINPROGRESS;

    blk_aio_flush(blk, set_ret, &ret);
    while (aio_poll(qemu_get_aio_context(), false)) {
        /* nothing comes of it */
    }
    g_assert_cmpint(ret, ==, -EINPROGRESS);
    bdrv_drained_end(drained);
    while (ret == -EINPROGRESS) {
        aio_poll(qemu_get_aio_context(), true);
    }
    g_assert_cmpint(ret, ==, 0);
}

/* Users that come while a node is drained are quiesced, too. */
static void test_drain_attach(void)
{
    BlockDriverState *file = open_node("driver=null-co,node-name=file",
                                       &error_abort);
    BlockDriverState *top;
    BlockBackend *blk;

    bdrv_drained_begin(file);
    blk = new_blk(file);
    check_waits(blk, file);
    blk_unref(blk);

    bdrv_drained_begin(file);
    top = open_node("driver=raw,file=file", &error_abort);
    g_assert_cmpint(top->quiesce_counter, ==, 1);
    blk = new_blk(top);
    check_waits(blk, file);
    g_assert_cmpint(top->quiesce_counter, ==, 0);
    blk_unref(blk);
    bdrv_unref(top);
    bdrv_unref(file);
}

/* Users that go meanwhile are not left quiesced. */
static void test_drain_detach(void)
{
    BlockDriverState *file = open_node("driver=null-co", &error_abort);
    BlockDriverState *other = open_node("driver=null-co", &error_abort);
    BlockBackend *blk = new_blk(file);

    bdrv_drained_begin(file);
    blk_remove_bs(blk);
    bdrv_drained_end(file);
    g_assert_cmpint(blk_insert_bs(blk, other, &error_abort), ==, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    blk_unref(blk);
    bdrv_unref(other);
    bdrv_unref(file);
}

typedef struct {
    BlockDriverState *bs;
    BlockBackend *blk;
    QEMUTimer *timer;
} User;

/* The last request of a user ends, and with it the user. */
static void drop_user(void *opaque)
{
    User *u = opaque;

    if (u->bs) {
        bdrv_dec_in_flight(u->bs);
        bdrv_unref(u->bs);
    } else {
        blk_dec_in_flight(u->blk);
        blk_unref(u->blk);
    }
}

static void do_test_drain_all(bool backends)
{
    int64_t now = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
    User u[3] = { { NULL } };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(u); i++) {
        if (backends) {
            u[i].blk = blk_new(qemu_get_aio_context(), 0, BLK_PERM_ALL);
            blk_inc_in_flight(u[i].blk);
        } else {
            u[i].bs = open_node("driver=null-co", &error_abort);
            bdrv_inc_in_flight(u[i].bs);
        }
        u[i].timer = aio_timer_new(qemu_get_aio_context(),
                                   QEMU_CLOCK_REALTIME, SCALE_MS, drop_user,
                                   &u[i]);
        timer_mod(u[i].timer, now + 5 * i);
    }
    bdrv_drain_all();
    g_assert(!bdrv_next_node(NULL));
    for (i = 0; i < ARRAY_SIZE(u); i++) {
        timer_free(u[i].timer);
    }
}

/* Nodes and backends that go away while they are being drained. */
static void test_drain_all(void)
{
    do_test_drain_all(true);
    do_test_drain_all(false);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();

    g_test_add_func("/block-graph/names", test_names);
    g_test_add_func("/block-graph/filename", test_filename);
    g_test_add_func("/block-graph/cycle", test_cycle);
    g_test_add_func("/block-graph/reopen-flags", test_reopen_flags);
    g_test_add_func("/block-graph/drain-above", test_drain_above);
    g_test_add_func("/block-graph/drain-below", test_drain_below);
    g_test_add_func("/block-graph/drain-attach", test_drain_attach);
    g_test_add_func("/block-graph/drain-detach", test_drain_detach);
    g_test_add_func("/block-graph/drain-all", test_drain_all);
    ret = g_test_run();

    qemu_cleanup_main_loop();
    return ret;
}
