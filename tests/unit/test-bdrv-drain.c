/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Drain: what is quiesced and waited for, while nodes come, go and move.
 */
#include "qemu/osdep.h"
#include "block/blk-int.h"

/* --- a driver whose requests take until they are let go --- */

typedef struct {
    CoQueue waiting;
    int drained;                /* drain_begin minus drain_end */
    unsigned running;
} SlowState;

static int slow_open(BlockDriverState *bs, QOpts *options, int flags,
                     Error **errp)
{
    SlowState *s = bs->opaque;

    qemu_co_queue_init(&s->waiting);
    return 0;
}

static int64_t coroutine_fn slow_co_getlength(BlockDriverState *bs)
{
    return 1 * MiB;
}

static int coroutine_fn slow_co_preadv_part(BlockDriverState *bs,
                                            int64_t offset, int64_t bytes,
                                            QEMUIOVector *qiov,
                                            size_t qiov_offset,
                                            BdrvRequestFlags flags)
{
    SlowState *s = bs->opaque;

    s->running++;
    qemu_co_queue_wait(&s->waiting, NULL);
    s->running--;
    return 0;
}

static void slow_drain_begin(BlockDriverState *bs)
{
    SlowState *s = bs->opaque;

    s->drained++;
}

static void slow_drain_end(BlockDriverState *bs)
{
    SlowState *s = bs->opaque;

    s->drained--;
}

static BlockDriver bdrv_slow = {
    .format_name = "slow",
    .protocol_name = "slow",
    .instance_size = sizeof(SlowState),
    .supports_backing = true,
    .bdrv_open = slow_open,
    .bdrv_co_getlength = slow_co_getlength,
    .bdrv_co_preadv_part = slow_co_preadv_part,
    .bdrv_drain_begin = slow_drain_begin,
    .bdrv_drain_end = slow_drain_end,
};

/* Let the requests of @opaque, a node, go. */
static void slow_release(void *opaque)
{
    BlockDriverState *bs = opaque;
    SlowState *s = bs->opaque;

    while (qemu_co_enter_next(&s->waiting, (void *)NULL)) {
        /* the next */
    }
}

static BlockDriverState *new_slow(const char *name)
{
    return bdrv_new_open_driver(&bdrv_slow, name, BDRV_O_RDWR, &error_abort);
}

static int drained(BlockDriverState *bs)
{
    SlowState *s = bs->opaque;

    return s->drained;
}

static BlockBackend *new_blk(BlockDriverState *bs)
{
    BlockBackend *blk = blk_new(qemu_get_aio_context(),
                                BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL);

    g_assert_cmpint(blk_insert_bs(blk, bs, &error_abort), ==, 0);
    return blk;
}

typedef struct {
    QEMUIOVector qiov;
    char buf[512];
    int ret;
} Read;

static void read_done(void *opaque, int ret)
{
    Read *r = opaque;

    r->ret = ret;
}

static void start_read(Read *r, BlockBackend *blk)
{
    qemu_iovec_init_buf(&r->qiov, r->buf, sizeof(r->buf));
    r->ret = -EINPROGRESS;
    blk_aio_preadv(blk, 0, &r->qiov, 0, read_done, r);
}

static void poll_idle(void)
{
    while (aio_poll(qemu_get_aio_context(), false)) {
        /* until nothing comes of it */
    }
}

static void release_later(BlockDriverState *bs)
{
    aio_bh_schedule_oneshot(qemu_get_aio_context(), slow_release, bs);
}

/* --- sections --- */

/* The driver is told once, with the first section; requests are waited for. */
static void test_section(void)
{
    BlockDriverState *bs = new_slow("a");
    BlockBackend *blk = new_blk(bs);
    Read r;

    start_read(&r, blk);
    release_later(bs);
    bdrv_drained_begin(bs);
    g_assert_cmpint(r.ret, ==, 0);
    g_assert_cmpint(drained(bs), ==, 1);
    bdrv_drained_begin(bs);
    g_assert_cmpint(drained(bs), ==, 1);

    start_read(&r, blk);
    poll_idle();
    bdrv_drained_end(bs);
    poll_idle();
    g_assert_cmpuint(((SlowState *)bs->opaque)->running, ==, 0);
    bdrv_drained_end(bs);
    g_assert_cmpuint(((SlowState *)bs->opaque)->running, ==, 1);
    g_assert_cmpint(drained(bs), ==, 0);
    slow_release(bs);
    poll_idle();
    g_assert_cmpint(r.ret, ==, 0);
    blk_unref(blk);
    bdrv_unref(bs);
}

/* The driver of a node that is opened on a drained child is told, too. */
static void test_open_drained(void)
{
    BlockDriverState *base = new_slow("base"), *top;

    bdrv_drained_begin(base);
    top = new_slow("top");
    g_assert_cmpint(drained(top), ==, 0);
    g_assert_cmpint(bdrv_set_backing_hd(top, base, &error_abort), ==, 0);
    g_assert_cmpint(drained(top), ==, 1);
    bdrv_drained_end(base);
    g_assert_cmpint(drained(top), ==, 0);

    bdrv_drained_begin(base);
    g_assert_cmpint(drained(top), ==, 1);
    g_assert_cmpint(bdrv_set_backing_hd(top, NULL, &error_abort), ==, 0);
    g_assert_cmpint(drained(top), ==, 0);
    bdrv_drained_end(base);
    bdrv_unref(top);
    bdrv_unref(base);
}

/* --- nodes that are replaced while they are drained --- */

static void test_replace_drained(void)
{
    BlockDriverState *old = new_slow("old"), *new = new_slow("new");
    BlockBackend *blk = new_blk(old);
    Read r;

    bdrv_drained_begin(old);
    start_read(&r, blk);
    poll_idle();
    g_assert_cmpuint(((SlowState *)old->opaque)->running, ==, 0);
    /* The user moves away from the drained node: it goes on. */
    g_assert_cmpint(bdrv_replace_node(old, new, &error_abort), ==, 0);
    g_assert_cmpint(blk->quiesce_counter, ==, 0);
    poll_idle();
    g_assert_cmpuint(((SlowState *)new->opaque)->running, ==, 1);
    bdrv_drained_end(old);
    slow_release(new);
    g_assert_cmpint(r.ret, ==, 0);

    /* And to one: it waits. */
    bdrv_drained_begin(old);
    start_read(&r, blk);
    release_later(new);
    g_assert_cmpint(bdrv_replace_node(new, old, &error_abort), ==, 0);
    g_assert_cmpint(r.ret, ==, 0);
    g_assert_cmpint(blk->quiesce_counter, ==, 1);
    start_read(&r, blk);
    poll_idle();
    g_assert_cmpuint(((SlowState *)old->opaque)->running, ==, 0);
    bdrv_drained_end(old);
    slow_release(old);
    g_assert_cmpint(r.ret, ==, 0);
    blk_unref(blk);
    bdrv_unref(old);
    bdrv_unref(new);
}

/* A change that is refused leaves no section behind. */
static void test_append_in_section(void)
{
    BlockDriverState *base = new_slow("base"), *top = new_slow("top");
    BlockBackend *blk = new_blk(base);

    bdrv_drained_begin(base);
    g_assert_cmpint(bdrv_append(top, base, &error_abort), ==, 0);
    g_assert(blk_bs(blk) == top);
    /* By base, through the edge from top. */
    g_assert_cmpint(top->quiesce_counter, ==, 1);
    g_assert_cmpint(blk->quiesce_counter, ==, 1);
    bdrv_drained_end(base);
    g_assert_cmpint(top->quiesce_counter, ==, 0);
    g_assert_cmpint(blk->quiesce_counter, ==, 0);
    blk_unref(blk);
    bdrv_unref(top);
    bdrv_unref(base);
}

/* --- other kinds of parents --- */

typedef struct {
    BdrvChild *child;
    int begun, ended;
    int busy;                   /* how often the poll says so */
    bool expect_no_child;
} Job;

static void job_drained_begin(BdrvChild *c)
{
    Job *job = c->opaque;

    g_assert(!job->expect_no_child || !c->bs);
    job->begun++;
}

static void nothing_bh(void *opaque)
{
    /* The drain polls again. */
}

static bool job_drained_poll(BdrvChild *c)
{
    Job *job = c->opaque;

    if (job->busy > 0) {
        job->busy--;
        aio_bh_schedule_oneshot(qemu_get_aio_context(), nothing_bh, NULL);
        return true;
    }
    return false;
}

static void job_drained_end(BdrvChild *c)
{
    ((Job *)c->opaque)->ended++;
}

static char *job_get_parent_desc(BdrvChild *c)
{
    return g_strdup("job 'j'");
}

static AioContext *job_get_parent_aio_context(BdrvChild *c)
{
    return qemu_get_aio_context();
}

static const BdrvChildClass child_test_job = {
    .stay_at_node = true,
    .get_parent_desc = job_get_parent_desc,
    .drained_begin = job_drained_begin,
    .drained_poll = job_drained_poll,
    .drained_end = job_drained_end,
    .get_parent_aio_context = job_get_parent_aio_context,
};

static void test_job(void)
{
    BlockDriverState *base = new_slow("base"), *top = new_slow("top");
    BlockDriverState *other = new_slow("other");
    Job job = { .busy = 2 }, late = { .busy = 2 };
    Error *err = NULL;

    bdrv_ref(top);
    job.child = bdrv_root_attach_child(top, "main node", &child_test_job, 0,
                                       BLK_PERM_CONSISTENT_READ,
                                       BLK_PERM_CONSISTENT_READ, &job,
                                       &error_abort);
    g_assert_cmpint(bdrv_set_backing_hd(top, base, &error_abort), ==, 0);
    job.begun = job.ended = 0;
    job.busy = 3;
    /* From far below. */
    bdrv_drained_begin(base);
    g_assert_cmpint(job.begun, ==, 1);
    g_assert_cmpint(job.busy, ==, 0);
    bdrv_drained_end(base);
    g_assert_cmpint(job.ended, ==, 1);

    /* It stays where it is, and is named by those that it refuses. */
    g_assert_cmpint(bdrv_replace_node(top, other, &error_abort), ==, 0);
    g_assert(job.child->bs == top);
    {
        BlockBackend *blk = blk_new(qemu_get_aio_context(), BLK_PERM_WRITE,
                                    BLK_PERM_ALL);

        g_assert_cmpint(blk_insert_bs(blk, top, &err), <, 0);
        g_assert_cmpstr(error_get_pretty(err), ==, "Permission conflict "
                        "on node 'top': permissions 'write' are both required "
                        "by an unnamed block device (uses node 'top' as "
                        "'root' child) and unshared by job 'j' (uses node "
                        "'top' as 'main node' child).");
        error_free_or_abort(&err);
        blk_unref(blk);
    }
    /* One that comes to a drained node is quiet before it holds it. */
    bdrv_drained_begin(top);
    bdrv_ref(top);
    late.expect_no_child = true;
    late.child = bdrv_root_attach_child(top, "late", &child_test_job, 0, 0,
                                        BLK_PERM_ALL, &late, &error_abort);
    g_assert_cmpint(late.begun, ==, 1);
    g_assert_cmpint(late.busy, ==, 0);
    late.expect_no_child = false;
    bdrv_drained_end(top);
    g_assert_cmpint(late.ended, ==, 1);
    bdrv_root_unref_child(late.child);

    /* A drained section that the edge's end lets go. */
    bdrv_drained_begin(top);
    job.ended = 0;
    bdrv_root_unref_child(job.child);
    g_assert_cmpint(job.ended, ==, 1);
    bdrv_drained_end(top);
    bdrv_unref(top);
    bdrv_unref(base);
    bdrv_unref(other);
}

/* --- all nodes --- */

static void test_drain_all(void)
{
    BlockDriverState *a = new_slow("a"), *b = new_slow("b"), *c;
    BlockBackend *blk_a = new_blk(a), *blk_b = new_blk(b), *blk_c;
    Read ra, rb, rc;

    start_read(&ra, blk_a);
    start_read(&rb, blk_b);
    release_later(a);
    release_later(b);
    bdrv_drain_all_begin();
    g_assert_cmpint(ra.ret, ==, 0);
    g_assert_cmpint(rb.ret, ==, 0);
    bdrv_drain_all_begin();

    /* A new node is in both sections; it may also go before they end. */
    c = new_slow("c");
    g_assert_cmpint(c->quiesce_counter, ==, 2);
    g_assert_cmpint(drained(c), ==, 1);
    blk_c = new_blk(c);
    start_read(&rc, blk_c);
    bdrv_unref(b);
    blk_unref(blk_b);
    poll_idle();
    bdrv_drain_all_end();
    poll_idle();
    g_assert_cmpuint(((SlowState *)c->opaque)->running, ==, 0);
    bdrv_drain_all_end();
    g_assert_cmpuint(((SlowState *)c->opaque)->running, ==, 1);
    g_assert_cmpint(a->quiesce_counter + c->quiesce_counter, ==, 0);
    slow_release(c);
    g_assert_cmpint(rc.ret, ==, 0);
    blk_unref(blk_a);
    blk_unref(blk_c);
    bdrv_unref(a);
    bdrv_unref(c);
    g_assert(!bdrv_next_node(NULL));
}

/* --- from coroutines --- */

typedef struct {
    BlockDriverState *bs;
    bool all;
    bool done;
} CoDrain;

static void coroutine_fn co_drain_entry(void *opaque)
{
    CoDrain *d = opaque;
    SlowState *s = d->bs->opaque;

    if (d->all) {
        bdrv_drain_all_begin();
    } else {
        bdrv_drained_begin(d->bs);
    }
    g_assert(qemu_in_coroutine());
    g_assert_cmpuint(s->running, ==, 0);
    g_assert_cmpint(d->bs->quiesce_counter, ==, 1);
    g_assert_cmpuint(d->bs->in_flight, ==, 0);
    if (d->all) {
        bdrv_drain_all_end();
    } else {
        bdrv_drained_end(d->bs);
    }
    d->done = true;
}

static void test_coroutine(void)
{
    BlockDriverState *bs = new_slow("a");
    BlockBackend *blk = new_blk(bs);
    int i;

    for (i = 0; i < 2; i++) {
        CoDrain d = { .bs = bs, .all = i };
        Read r;

        start_read(&r, blk);
        qemu_coroutine_enter(qemu_coroutine_create(co_drain_entry, &d));
        release_later(bs);
        while (!d.done) {
            aio_poll(qemu_get_aio_context(), true);
        }
        g_assert_cmpint(r.ret, ==, 0);
        g_assert_cmpint(bs->quiesce_counter, ==, 0);
    }
    blk_unref(blk);
    bdrv_unref(bs);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    bdrv_register(&bdrv_slow);

    g_test_add_func("/bdrv-drain/section", test_section);
    g_test_add_func("/bdrv-drain/open-drained", test_open_drained);
    g_test_add_func("/bdrv-drain/replace-drained", test_replace_drained);
    g_test_add_func("/bdrv-drain/append-in-section", test_append_in_section);
    g_test_add_func("/bdrv-drain/job", test_job);
    g_test_add_func("/bdrv-drain/all", test_drain_all);
    g_test_add_func("/bdrv-drain/coroutine", test_coroutine);
    ret = g_test_run();

    qemu_cleanup_main_loop();
    return ret;
}
