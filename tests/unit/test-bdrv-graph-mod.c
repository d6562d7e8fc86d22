/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changes of the graph: nodes put in, taken out and replaced, all or nothing;
 * and what is found by walking down a chain.
 */
#include "qemu/osdep.h"
#include "block/blk-int.h"

#define KB 1024
#define DISK_SIZE (64 * KB)

/* --- drivers of this test --- */

/* An overlay: 64 blocks of 1 KiB, which are there or not. */
typedef struct {
    int64_t length;
    bool there[64];
} LayerState;

static int layer_open(BlockDriverState *bs, QOpts *options, int flags,
                      Error **errp)
{
    LayerState *s = bs->opaque;

    s->length = DISK_SIZE;
    return 0;
}

static int64_t coroutine_fn layer_co_getlength(BlockDriverState *bs)
{
    LayerState *s = bs->opaque;

    return s->length;
}

static int coroutine_fn layer_co_preadv_part(BlockDriverState *bs,
                                             int64_t offset, int64_t bytes,
                                             QEMUIOVector *qiov,
                                             size_t qiov_offset,
                                             BdrvRequestFlags flags)
{
    qemu_iovec_memset(qiov, qiov_offset, bs->node_name[0], bytes);
    return 0;
}

static int coroutine_fn layer_co_pwritev_part(BlockDriverState *bs,
                                              int64_t offset, int64_t bytes,
                                              QEMUIOVector *qiov,
                                              size_t qiov_offset,
                                              BdrvRequestFlags flags)
{
    LayerState *s = bs->opaque;

    s->there[offset / KB] = true;
    return 0;
}

static int coroutine_fn layer_co_block_status(BlockDriverState *bs,
                                              bool want_zero, int64_t offset,
                                              int64_t bytes, int64_t *pnum,
                                              int64_t *map,
                                              BlockDriverState **file)
{
    LayerState *s = bs->opaque;
    int64_t first = offset / KB, i = first;

    while (i < (offset + bytes) / KB && s->there[i] == s->there[first]) {
        i++;
    }
    *pnum = i * KB - offset;
    return s->there[first] ? BDRV_BLOCK_DATA : 0;
}

static BlockDriver bdrv_layer = {
    .format_name = "layer",
    .protocol_name = "layer",
    .instance_size = sizeof(LayerState),
    .supports_backing = true,
    .bdrv_open = layer_open,
    .bdrv_co_getlength = layer_co_getlength,
    .bdrv_co_preadv_part = layer_co_preadv_part,
    .bdrv_co_pwritev_part = layer_co_pwritev_part,
    .bdrv_co_block_status = layer_co_block_status,
};

/* A filter as jobs have it: no file name, and its child is bs->backing. */
static int pass_open(BlockDriverState *bs, QOpts *options, int flags,
                     Error **errp)
{
    return 0;
}

static int coroutine_fn pass_co_preadv_part(BlockDriverState *bs,
                                            int64_t offset, int64_t bytes,
                                            QEMUIOVector *qiov,
                                            size_t qiov_offset,
                                            BdrvRequestFlags flags)
{
    return bdrv_co_preadv_part(bs->backing, offset, bytes, qiov, qiov_offset,
                               flags);
}

static BlockDriver bdrv_pass = {
    .format_name = "pass",
    .is_filter = true,
    .filtered_child_is_backing = true,
    .bdrv_open = pass_open,
    .bdrv_co_preadv_part = pass_co_preadv_part,
};

/* --- help --- */

static BlockDriverState *new_layer(const char *name)
{
    return bdrv_new_open_driver(&bdrv_layer, name, BDRV_O_RDWR,
                                &error_abort);
}

static BlockDriverState *new_pass(const char *name)
{
    return bdrv_new_open_driver(&bdrv_pass, name, BDRV_O_RDWR, &error_abort);
}

static BlockBackend *new_blk(BlockDriverState *bs, uint64_t perm,
                             uint64_t shared)
{
    BlockBackend *blk = blk_new(qemu_get_aio_context(), perm, shared);

    g_assert_cmpint(blk_insert_bs(blk, bs, &error_abort), ==, 0);
    return blk;
}

static void check_error(int ret, Error **err, const char *message)
{
    g_assert_cmpint(ret, <, 0);
    g_assert_cmpstr(error_get_pretty(*err), ==, message);
    error_free_or_abort(err);
}

static void check_all_gone(void)
{
    g_assert(!bdrv_next_node(NULL));
}

/* --- append, drop --- */

static void test_append_overlay(void)
{
    BlockDriverState *base = new_layer("base");
    BlockDriverState *top = new_layer("top");
    BlockBackend *blk = new_blk(base, BLK_PERM_CONSISTENT_READ |
                                BLK_PERM_WRITE, BLK_PERM_ALL);

    g_assert_cmpint(bdrv_append(top, base, &error_abort), ==, 0);
    g_assert(blk_bs(blk) == top);
    g_assert(bdrv_cow_bs(top) == base);
    g_assert(bdrv_filter_or_cow_bs(top) == base);
    g_assert(!bdrv_filter_bs(top) && !bdrv_primary_bs(top));
    g_assert_cmphex(base->cumulative_perms, ==, BLK_PERM_CONSISTENT_READ);
    g_assert_cmphex(top->cumulative_perms, ==,
                    BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE);
    g_assert_cmpint(base->refcnt, ==, 2);
    g_assert_cmpint(top->refcnt, ==, 2);
    g_assert_cmpint(base->quiesce_counter + top->quiesce_counter, ==, 0);

    bdrv_unref(base);
    bdrv_unref(top);
    blk_unref(blk);
    check_all_gone();
}

static void test_filter(void)
{
    BlockDriverState *base = new_layer("base");
    BlockDriverState *pass = new_pass("pass");
    BlockBackend *blk = new_blk(base, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL);
    char buf[KB];

    g_assert_cmpint(bdrv_append(pass, base, &error_abort), ==, 0);
    g_assert(blk_bs(blk) == pass);
    g_assert(pass->backing && !pass->file);
    g_assert(bdrv_filter_bs(pass) == base && !bdrv_cow_bs(pass));
    g_assert(bdrv_primary_bs(pass) == base);
    g_assert_cmpint(bdrv_getlength(pass), ==, DISK_SIZE);
    g_assert_cmpint(blk_pread(blk, 0, KB, buf, 0), ==, 0);
    g_assert_cmpint(buf[5], ==, 'b');

    g_assert_cmpint(bdrv_drop_filter(pass, &error_abort), ==, 0);
    g_assert(blk_bs(blk) == base);
    g_assert(!pass->backing);
    g_assert_cmpint(pass->refcnt, ==, 1);
    bdrv_unref(pass);
    bdrv_unref(base);
    blk_unref(blk);
    check_all_gone();
}

static void test_insert_node(void)
{
    BlockDriverState *base = new_layer("base");
    BlockBackend *blk = new_blk(base, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL);
    BlockDriverState *filter;
    Error *err = NULL;

    filter = bdrv_insert_node(base, qopts_parse("driver=blkdebug,"
                                                "node-name=dbg,image=base",
                                                NULL, &error_abort),
                              BDRV_O_RDWR, &error_abort);
    g_assert(blk_bs(blk) == filter && bdrv_filter_bs(filter) == base);
    g_assert(bdrv_find_node("dbg") == filter);
    g_assert(!bdrv_insert_node(base, qopts_parse("driver=blkdebug,"
                                                 "node-name=dbg,image=base",
                                                 NULL, &error_abort),
                               BDRV_O_RDWR, &err));
    error_free_or_abort(&err);
    g_assert(!bdrv_insert_node(base, qopts_parse("node-name=x,image=base",
                                                 NULL, &error_abort), 0,
                               &err));
    error_free_or_abort(&err);
    g_assert_cmpint(bdrv_drop_filter(filter, &error_abort), ==, 0);
    bdrv_unref(filter);
    g_assert(blk_bs(blk) == base);
    g_assert_cmpint(base->refcnt, ==, 2);
    bdrv_unref(base);
    blk_unref(blk);
    check_all_gone();
}

static BlockDriverState *insert_debug(BlockDriverState *bs, const char *name)
{
    g_autofree char *options = g_strdup_printf(
        "driver=blkdebug,node-name=%s,image=%s", name, bs->node_name);

    return bdrv_insert_node(bs, qopts_parse(options, NULL, &error_abort),
                            BDRV_O_RDWR, &error_abort);
}

typedef struct {
    BlockDriverState *busy;     /* has a request until then */
    BlockDriverState *drop;
} DropMeanwhile;

static void drop_meanwhile(void *opaque)
{
    DropMeanwhile *d = opaque;

    bdrv_dec_in_flight(d->busy);
    g_assert_cmpint(bdrv_drop_filter(d->drop, &error_abort), ==, 0);
    bdrv_unref(d->drop);
}

/*
 * While a filter is drained to be taken out, the end of a job takes out the
 * one below, or the one above.
 */
static void test_drop_two(void)
{
    int upper_first;

    for (upper_first = 0; upper_first < 2; upper_first++) {
        BlockDriverState *base = new_layer("base");
        BlockBackend *blk = new_blk(base, BLK_PERM_CONSISTENT_READ,
                                    BLK_PERM_ALL);
        BlockDriverState *upper = insert_debug(base, "upper");
        BlockDriverState *lower = insert_debug(base, "lower");
        BlockDriverState *first, *second;
        DropMeanwhile d;

        g_assert(blk_bs(blk) == upper && bdrv_filter_bs(upper) == lower);
        first = upper_first ? upper : lower;
        second = upper_first ? lower : upper;
        d = (DropMeanwhile) { .busy = first, .drop = second };
        bdrv_inc_in_flight(first);
        aio_bh_schedule_oneshot(qemu_get_aio_context(), drop_meanwhile, &d);
        g_assert_cmpint(bdrv_drop_filter(first, &error_abort), ==, 0);
        bdrv_unref(first);
        g_assert(blk_bs(blk) == base);
        g_assert_cmpint(base->quiesce_counter, ==, 0);
        g_assert_cmpint(base->refcnt, ==, 2);
        bdrv_unref(base);
        blk_unref(blk);
        check_all_gone();
    }
}

/* --- refusals leave everything as it was --- */

/* A user of the new top must not be one that the old node's users refuse. */
static void test_append_refused(void)
{
    BlockDriverState *base = new_layer("base");
    BlockDriverState *top = new_layer("top");
    BlockBackend *blk = new_blk(base, BLK_PERM_CONSISTENT_READ |
                                BLK_PERM_WRITE, BLK_PERM_CONSISTENT_READ);
    BlockBackend *blk2 = new_blk(top, BLK_PERM_WRITE, BLK_PERM_ALL);
    Error *err = NULL;

    check_error(bdrv_append(top, base, &err), &err,
                "Permission conflict on node 'top': permissions 'write' are "
                "both required by an unnamed block device (uses node 'top' "
                "as 'root' child) and unshared by an unnamed block device "
                "(uses node 'top' as 'root' child).");
    g_assert(blk_bs(blk) == base && blk_bs(blk2) == top);
    g_assert(!top->backing);
    g_assert_cmpint(base->refcnt, ==, 2);
    g_assert_cmpint(top->refcnt, ==, 2);
    g_assert_cmpint(base->quiesce_counter + top->quiesce_counter, ==, 0);
    g_assert_cmphex(base->cumulative_perms, ==,
                    BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE);
    g_assert_cmpint(blk->quiesce_counter, ==, 0);

    blk_unref(blk2);
    g_assert_cmpint(bdrv_append(top, base, &error_abort), ==, 0);
    bdrv_unref(base);
    bdrv_unref(top);
    blk_unref(blk);
    check_all_gone();
}

static void test_cycles(void)
{
    BlockDriverState *a = new_layer("a");
    BlockDriverState *b = new_layer("b");
    BlockDriverState *c = new_layer("c");
    Error *err = NULL;

    g_assert_cmpint(bdrv_set_backing_hd(a, b, &error_abort), ==, 0);
    g_assert_cmpint(bdrv_set_backing_hd(b, c, &error_abort), ==, 0);
    check_error(bdrv_set_backing_hd(c, a, &err), &err,
                "Making 'a' a backing child of 'c' would create a cycle");
    check_error(bdrv_replace_child_bs(b->backing, a, &err), &err,
                "Making 'a' a backing child of 'b' would create a cycle");
    g_assert(!c->backing && bdrv_cow_bs(b) == c);
    /* b's users are to be those of a, which is one of them: it stays. */
    g_assert_cmpint(bdrv_replace_node(b, a, &error_abort), ==, 0);
    g_assert(bdrv_cow_bs(a) == b);
    bdrv_unref(a);
    bdrv_unref(b);
    bdrv_unref(c);
    check_all_gone();
}

static void test_frozen(void)
{
    BlockDriverState *a = new_layer("a");
    BlockDriverState *b = new_layer("b");
    BlockDriverState *c = new_layer("c");
    Error *err = NULL;

    g_assert_cmpint(bdrv_set_backing_hd(a, b, &error_abort), ==, 0);
    g_assert_cmpint(bdrv_freeze_backing_chain(a, NULL, &error_abort), ==, 0);
    check_error(bdrv_set_backing_hd(a, NULL, &err), &err,
                "Cannot change frozen 'backing' link from 'a' to 'b'");
    check_error(bdrv_replace_node(b, c, &err), &err,
                "Cannot change 'backing' link to 'b'");
    check_error(bdrv_replace_child_bs(a->backing, c, &err), &err,
                "Cannot change 'backing' link to 'b'");
    check_error(bdrv_freeze_backing_chain(a, b, &err), &err,
                "Cannot change 'backing' link from 'a' to 'b'");
    bdrv_unfreeze_backing_chain(a, NULL);
    g_assert_cmpint(bdrv_replace_child_bs(a->backing, c, &error_abort), ==,
                    0);
    g_assert(bdrv_cow_bs(a) == c);
    g_assert_cmpint(b->refcnt, ==, 1);
    bdrv_unref(a);
    bdrv_unref(b);
    bdrv_unref(c);
    check_all_gone();
}

/* The last reference goes with the edge: the node is closed then. */
static void test_last_reference(void)
{
    BlockDriverState *a = new_layer("a");
    BlockDriverState *b = new_layer("b");
    BlockDriverState *c = new_layer("c");

    g_assert_cmpint(bdrv_set_backing_hd(a, b, &error_abort), ==, 0);
    bdrv_unref(b);
    g_assert_cmpint(bdrv_set_backing_hd(a, c, &error_abort), ==, 0);
    g_assert(!bdrv_find_node("b"));
    bdrv_unref(c);
    g_assert_cmpint(bdrv_set_backing_hd(a, NULL, &error_abort), ==, 0);
    g_assert(!bdrv_find_node("c"));
    bdrv_unref(a);
    check_all_gone();
}

/* --- transactions --- */

static GString *calls;

static void log_abort(void *opaque)
{
    g_string_append_printf(calls, "a%s", (char *)opaque);
}

static void log_commit(void *opaque)
{
    g_string_append_printf(calls, "c%s", (char *)opaque);
}

static void log_clean(void *opaque)
{
    g_string_append_printf(calls, "x%s", (char *)opaque);
}

static void test_transaction(void)
{
    static const TransactionActionDrv all = {
        .abort = log_abort, .commit = log_commit, .clean = log_clean,
    };
    static const TransactionActionDrv none;
    int ret;

    for (ret = -1; ret <= 0; ret++) {
        Transaction *tran = tran_new();

        calls = g_string_new(NULL);
        tran_add(tran, &all, (void *)"1");
        tran_add(tran, &none, NULL);
        tran_add(tran, &all, (void *)"2");
        tran_finalize(tran, ret);
        g_assert_cmpstr(calls->str, ==, ret < 0 ? "a2a1x2x1" : "c1c2x2x1");
        g_string_free(calls, true);
    }
}

/* --- chains --- */

/* blk -> f0 -> top -> f1 -> mid -> base; f1 is implicit. */
static void test_chain(void)
{
    BlockDriverState *base = new_layer("base");
    BlockDriverState *mid = new_layer("mid");
    BlockDriverState *top = new_layer("top");
    BlockDriverState *f0 = new_pass("f0");
    BlockDriverState *f1 = new_pass("f1");

    g_assert_cmpint(bdrv_append(mid, base, &error_abort), ==, 0);
    g_assert_cmpint(bdrv_append(f1, mid, &error_abort), ==, 0);
    g_assert_cmpint(bdrv_append(top, f1, &error_abort), ==, 0);
    g_assert_cmpint(bdrv_append(f0, top, &error_abort), ==, 0);
    f1->implicit = true;

    g_assert(bdrv_skip_filters(f0) == top && bdrv_skip_filters(top) == top);
    g_assert(bdrv_skip_implicit_filters(f0) == f0);
    g_assert(bdrv_skip_implicit_filters(f1) == mid);
    g_assert(bdrv_backing_chain_next(f0) == mid);
    g_assert(bdrv_backing_chain_next(mid) == base);
    g_assert(!bdrv_backing_chain_next(base));
    g_assert(bdrv_find_base(f0) == base);
    g_assert(bdrv_find_overlay(f0, mid) == top);
    g_assert(bdrv_find_overlay(f0, f1) == top);
    g_assert(!bdrv_find_overlay(mid, top));
    g_assert(bdrv_chain_contains(f0, base) && bdrv_chain_contains(top, f1));
    g_assert(!bdrv_chain_contains(mid, top));
    g_assert(!bdrv_skip_filters(NULL));

    bdrv_unref(base);
    bdrv_unref(mid);
    bdrv_unref(f1);
    bdrv_unref(top);
    bdrv_unref(f0);
    check_all_gone();
}

static void check_status(BlockDriverState *bs, BlockDriverState *base,
                         int64_t offset, int64_t bytes, int want,
                         int64_t want_pnum)
{
    int64_t pnum, map;
    BlockDriverState *file;
    int ret = bdrv_block_status_above(bs, base, offset, bytes, &pnum, &map,
                                      &file);

    g_assert_cmphex(ret, ==, want);
    g_assert_cmpint(pnum, ==, want_pnum);
}

static void check_allocated(BlockDriverState *bs, BlockDriverState *base,
                            bool include_base, int64_t offset, int depth,
                            int64_t want_pnum)
{
    int64_t pnum;
    int ret = bdrv_is_allocated_above(bs, base, include_base, offset,
                                      DISK_SIZE - offset, &pnum);

    g_assert_cmpint(ret, ==, depth);
    g_assert_cmpint(pnum, ==, want_pnum);
}

static void test_status_above(void)
{
    const int data = BDRV_BLOCK_DATA | BDRV_BLOCK_ALLOCATED;
    const int zero = BDRV_BLOCK_ZERO | BDRV_BLOCK_ALLOCATED;
    BlockDriverState *base = new_layer("base");
    BlockDriverState *mid = new_layer("mid");
    BlockDriverState *top = new_layer("top");
    LayerState *s_base = base->opaque, *s_mid = mid->opaque;

    /* base is shorter; mid hides nothing but what it has. */
    s_base->length = 32 * KB;
    base->total_sectors = 64;
    s_base->there[0] = s_base->there[1] = true;
    s_mid->there[1] = s_mid->there[40] = true;
    g_assert_cmpint(bdrv_append(mid, base, &error_abort), ==, 0);
    g_assert_cmpint(bdrv_append(top, mid, &error_abort), ==, 0);

    check_status(top, NULL, 0, DISK_SIZE, data, KB);
    check_status(top, NULL, KB, DISK_SIZE - KB, data, KB);
    /* In none: zeroes, but nobody has them. */
    check_status(top, NULL, 2 * KB, 20 * KB, BDRV_BLOCK_ZERO, 20 * KB);
    /* Beyond the end of base. */
    check_status(top, NULL, 33 * KB, 31 * KB, zero, 7 * KB);
    check_status(top, NULL, 41 * KB, 23 * KB, zero | BDRV_BLOCK_EOF, 23 * KB);
    check_status(top, mid, 0, DISK_SIZE, BDRV_BLOCK_EOF, DISK_SIZE);
    check_status(top, top, 0, KB, 0, KB);

    check_allocated(top, NULL, false, 0, 3, KB);
    check_allocated(top, NULL, false, KB, 2, KB);
    check_allocated(top, base, false, 0, 0, KB);
    check_allocated(top, base, true, 0, 3, KB);
    check_allocated(top, mid, false, KB, 0, 63 * KB);
    check_allocated(top, mid, true, KB, 2, KB);

    bdrv_unref(base);
    bdrv_unref(mid);
    bdrv_unref(top);
    check_all_gone();
}

static int coroutine_fn zero_fast_entry(void *opaque)
{
    BlockDriverState *bs = opaque;

    g_assert_cmpint(bdrv_co_is_zero_fast(bs, 0, 0), ==, 1);
    g_assert_cmpint(bdrv_co_is_zero_fast(bs, 0, 4 * KB), ==, 0);
    g_assert_cmpint(bdrv_co_is_zero_fast(bs, 4 * KB, 4 * KB), ==, 1);
    return bdrv_co_is_all_zeroes(bs);
}

static int coroutine_fn all_zeroes_entry(void *opaque)
{
    return bdrv_co_is_all_zeroes(opaque);
}

static void test_zero_fast(void)
{
    BlockDriverState *bs = new_layer("a");
    LayerState *s = bs->opaque;

    s->there[3] = true;
    g_assert_cmpint(bdrv_run_co(bs->aio_context, zero_fast_entry, bs), ==, 0);
    bdrv_unref(bs);
    bs = bdrv_open(NULL, NULL, qopts_parse("driver=null-co,read-zeroes=on",
                                           NULL, &error_abort), 0,
                   &error_abort);
    g_assert_cmpint(bdrv_run_co(bs->aio_context, all_zeroes_entry, bs), ==,
                    1);
    bdrv_unref(bs);
    check_all_gone();
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    bdrv_register(&bdrv_layer);
    bdrv_register(&bdrv_pass);

    g_test_add_func("/graph-mod/append", test_append_overlay);
    g_test_add_func("/graph-mod/filter", test_filter);
    g_test_add_func("/graph-mod/insert-node", test_insert_node);
    g_test_add_func("/graph-mod/drop-two", test_drop_two);
    g_test_add_func("/graph-mod/append-refused", test_append_refused);
    g_test_add_func("/graph-mod/cycles", test_cycles);
    g_test_add_func("/graph-mod/frozen", test_frozen);
    g_test_add_func("/graph-mod/last-reference", test_last_reference);
    g_test_add_func("/graph-mod/transaction", test_transaction);
    g_test_add_func("/graph-mod/chain", test_chain);
    g_test_add_func("/graph-mod/status-above", test_status_above);
    g_test_add_func("/graph-mod/zero-fast", test_zero_fast);
    ret = g_test_run();

    qemu_cleanup_main_loop();
    return ret;
}
