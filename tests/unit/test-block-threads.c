/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests of one node from several threads.
 *
 * Each context is run by a thread that sleeps whenever it can, so a lost
 * wake-up is a test that never ends, and the timeout finds it.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"
#include "system/block-backend.h"

#define NUM_LOOPS 2
#define NUM_FLUSHERS 4
#define NUM_FLUSHES 2000
#define NUM_CALLBACKS 20000

/* --- threads that run a context --- */

typedef struct {
    AioContext *ctx;
    QemuThread thread;
    bool stop;                  /* home thread only */
} Loop;

static Loop loops[NUM_LOOPS];

static void *loop_thread(void *opaque)
{
    Loop *loop = opaque;

    qemu_set_current_aio_context(loop->ctx);
    while (!loop->stop) {
        aio_poll(loop->ctx, true);
    }
    return NULL;
}

static void loop_stop_bh(void *opaque)
{
    Loop *loop = opaque;

    loop->stop = true;
}

static void loops_start(void)
{
    int i;

    for (i = 0; i < NUM_LOOPS; i++) {
        loops[i].ctx = aio_context_new(&error_abort);
        loops[i].stop = false;
        qemu_thread_create(&loops[i].thread, "loop", loop_thread, &loops[i],
                           QEMU_THREAD_JOINABLE);
    }
}

static void loops_stop(void)
{
    int i;

    for (i = 0; i < NUM_LOOPS; i++) {
        aio_bh_schedule_oneshot(loops[i].ctx, loop_stop_bh, &loops[i]);
        qemu_thread_join(&loops[i].thread);
        aio_context_unref(loops[i].ctx);
    }
}

/* --- a driver whose flush lets others run --- */

static int yielding_open(BlockDriverState *bs, QOpts *options, int flags,
                         Error **errp)
{
    return 0;
}

static int64_t coroutine_fn yielding_co_getlength(BlockDriverState *bs)
{
    return 1 * MiB;
}

static int coroutine_fn yielding_co_flush_to_disk(BlockDriverState *bs)
{
    aio_co_schedule(qemu_get_current_aio_context(), qemu_coroutine_self());
    qemu_coroutine_yield();
    return 0;
}

static BlockDriver bdrv_yielding = {
    .format_name = "yielding",
    .protocol_name = "yielding",
    .bdrv_open = yielding_open,
    .bdrv_co_getlength = yielding_co_getlength,
    .bdrv_co_flush_to_disk = yielding_co_flush_to_disk,
};

static BlockDriverState *open_yielding(void)
{
    return bdrv_open(NULL, NULL, qopts_parse("driver=yielding", NULL,
                                             &error_abort),
                     BDRV_O_RDWR, &error_abort);
}

/* --- flushes wait for each other --- */

typedef struct {
    BlockDriverState *bs;
    unsigned *left;             /* atomic */
} Flusher;

static void coroutine_fn flusher_entry(void *opaque)
{
    Flusher *f = opaque;
    int i;

    for (i = 0; i < NUM_FLUSHES; i++) {
        qatomic_inc(&f->bs->write_gen);
        g_assert_cmpint(bdrv_co_flush(f->bs), ==, 0);
    }
    qatomic_dec(f->left);
    aio_notify(qemu_get_aio_context());
}

static void test_flush(void)
{
    unsigned left = NUM_LOOPS * NUM_FLUSHERS;
    Flusher f = { .bs = open_yielding(), .left = &left };
    int i;

    loops_start();
    for (i = 0; i < NUM_LOOPS * NUM_FLUSHERS; i++) {
        aio_co_schedule(loops[i % NUM_LOOPS].ctx,
                        qemu_coroutine_create(flusher_entry, &f));
    }
    while (qatomic_read(&left)) {
        aio_poll(qemu_get_aio_context(), true);
    }
    loops_stop();
    g_assert(!f.bs->active_flush_req);
    bdrv_unref(f.bs);
}

/* --- a drain waits for requests of other threads --- */

#define NUM_DRAINS 500

typedef struct {
    BlockBackend *blk;
    bool stop;                  /* atomic */
    unsigned left;              /* atomic */
} Writers;

static unsigned running;        /* atomic; requests within the driver */
static unsigned completed;      /* atomic */

static int coroutine_fn counting_co_flush_to_disk(BlockDriverState *bs)
{
    qatomic_inc(&running);
    aio_co_schedule(qemu_get_current_aio_context(), qemu_coroutine_self());
    qemu_coroutine_yield();
    qatomic_inc(&completed);
    qatomic_dec(&running);
    return 0;
}

static BlockDriver bdrv_counting = {
    .format_name = "counting",
    .protocol_name = "counting",
    .bdrv_open = yielding_open,
    .bdrv_co_getlength = yielding_co_getlength,
    .bdrv_co_flush_to_disk = counting_co_flush_to_disk,
};

static void coroutine_fn writer_entry(void *opaque)
{
    Writers *w = opaque;

    while (!qatomic_read(&w->stop)) {
        qatomic_inc(&blk_bs(w->blk)->write_gen);
        g_assert_cmpint(blk_co_flush(w->blk), ==, 0);
    }
    qatomic_dec(&w->left);
    aio_notify(qemu_get_aio_context());
}

static void test_drain(void)
{
    BlockDriverState *bs = bdrv_open(NULL, NULL,
                                     qopts_parse("driver=counting", NULL,
                                                 &error_abort),
                                     BDRV_O_RDWR, &error_abort);
    Writers w = { .left = NUM_FLUSHERS };
    unsigned before;
    int i;

    loops_start();
    w.blk = blk_new(loops[0].ctx, BLK_PERM_ALL, BLK_PERM_ALL);
    g_assert_cmpint(blk_insert_bs(w.blk, bs, &error_abort), ==, 0);
    for (i = 0; i < NUM_FLUSHERS; i++) {
        aio_co_schedule(loops[0].ctx, qemu_coroutine_create(writer_entry, &w));
    }
    for (i = 0; i < NUM_DRAINS; i++) {
        bdrv_drained_begin(bs);
        g_assert_cmpuint(qatomic_read(&running), ==, 0);
        before = qatomic_read(&completed);
        g_usleep(i % 50 ? 0 : 1000);
        g_assert_cmpuint(qatomic_read(&completed), ==, before);
        bdrv_drained_end(bs);
        while (qatomic_read(&completed) == before) {
            g_usleep(10);
        }
    }
    qatomic_set(&w.stop, true);
    while (qatomic_read(&w.left)) {
        aio_poll(qemu_get_aio_context(), true);
    }
    blk_unref(w.blk);
    bdrv_unref(bs);
    loops_stop();
}

/* --- each request is called back once --- */

static unsigned callbacks;      /* atomic */

static void count_callback(void *opaque, int ret)
{
    unsigned *calls = opaque;

    /* Its own count, and that of all. */
    g_assert_cmpuint(qatomic_fetch_inc(calls), ==, 0);
    g_assert_cmpint(ret, ==, 0);
    qatomic_inc(&callbacks);
    aio_notify(qemu_get_aio_context());
}

/* Started here, run there. */
static void test_callback(void)
{
    g_autofree unsigned *calls = g_new0(unsigned, NUM_CALLBACKS);
    BlockDriverState *bs = bdrv_open(NULL, NULL,
                                     qopts_parse("driver=null-co", NULL,
                                                 &error_abort),
                                     BDRV_O_RDWR, &error_abort);
    BlockBackend *blk;
    int i;

    loops_start();
    blk = blk_new(loops[0].ctx, BLK_PERM_ALL, BLK_PERM_ALL);
    g_assert_cmpint(blk_insert_bs(blk, bs, &error_abort), ==, 0);
    bdrv_unref(bs);
    callbacks = 0;
    for (i = 0; i < NUM_CALLBACKS; i++) {
        blk_aio_flush(blk, count_callback, &calls[i]);
    }
    while (qatomic_read(&callbacks) < NUM_CALLBACKS) {
        aio_poll(qemu_get_aio_context(), true);
    }
    blk_unref(blk);
    loops_stop();
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    bdrv_register(&bdrv_yielding);
    bdrv_register(&bdrv_counting);

    g_test_add_func("/block-threads/flush", test_flush);
    g_test_add_func("/block-threads/drain", test_drain);
    g_test_add_func("/block-threads/callback", test_callback);
    ret = g_test_run();

    qemu_cleanup_main_loop();
    return ret;
}
