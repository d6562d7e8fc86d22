/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Nodes and BlockBackends whose home is an IOThread: moved while idle and
 * while busy, used by the main thread, and from several contexts at once.
 */
#include "qemu/osdep.h"
#include "block/blk-int.h"
#include "qemu/aio-wait.h"
#include "system/iothread.h"

#ifdef CONFIG_LINUX_AIO
#define TEST_NATIVE_AIO BDRV_O_NATIVE_AIO
#else
#define TEST_NATIVE_AIO 0
#endif

#define BLOCK 4096

static IOThread *iot[2];
static char *dir;

static char *image(const char *name)
{
    return g_build_filename(dir, name, NULL);
}

static BlockDriverState *open_node(const char *options)
{
    return bdrv_open(NULL, NULL, qopts_parse(options, NULL, &error_abort),
                     BDRV_O_RDWR, &error_abort);
}

static BlockBackend *new_blk(AioContext *ctx, BlockDriverState *bs)
{
    BlockBackend *blk = blk_new(ctx, BLK_PERM_ALL, BLK_PERM_ALL);

    g_assert_cmpint(blk_insert_bs(blk, bs, &error_abort), ==, 0);
    return blk;
}

static AioContext *home(int i)
{
    return i < 2 ? iothread_get_aio_context(iot[i]) : qemu_get_aio_context();
}

/* An image with @bytes, of @fmt, in @ctx. */
static BlockBackend *open_image(const char *fmt, int64_t bytes, int flags,
                                AioContext *ctx)
{
    g_autofree char *name = image(fmt);
    QOpts *opts = qopts_new();
    BlockBackend *blk;

    qopts_set_uint(opts, "size", bytes);
    g_assert_cmpint(bdrv_create(bdrv_find_format(fmt), name, opts,
                                &error_abort), ==, 0);
    opts = qopts_new();
    qopts_set_str(opts, "driver", fmt);
    blk = blk_new_open(name, NULL, opts, BDRV_O_RDWR | BDRV_O_RESIZE | flags,
                       &error_abort);
    g_assert_cmpint(blk_set_aio_context(blk, ctx, &error_abort), ==, 0);
    return blk;
}

/* --- a driver that says what it is told --- */

typedef struct {
    AioContext *ctx;
    int moves;
} HomeState;

static int home_open(BlockDriverState *bs, QOpts *options, int flags,
                     Error **errp)
{
    HomeState *s = bs->opaque;

    s->ctx = bs->aio_context;
    return 0;
}

static int64_t coroutine_fn home_co_getlength(BlockDriverState *bs)
{
    return 1 * MiB;
}

static void home_detach_aio_context(BlockDriverState *bs)
{
    HomeState *s = bs->opaque;

    g_assert(s->ctx == bs->aio_context);
    g_assert_cmpint(bs->quiesce_counter, >, 0);
    s->ctx = NULL;
}

static void home_attach_aio_context(BlockDriverState *bs,
                                    AioContext *new_context)
{
    HomeState *s = bs->opaque;

    g_assert(!s->ctx && bs->aio_context == new_context);
    s->ctx = new_context;
    s->moves++;
}

/* In the home of the node. */
static int coroutine_fn home_co_preadv_part(BlockDriverState *bs,
                                            int64_t offset, int64_t bytes,
                                            QEMUIOVector *qiov,
                                            size_t qiov_offset,
                                            BdrvRequestFlags flags)
{
    HomeState *s = bs->opaque;

    g_assert(in_aio_context_home_thread(s->ctx));
    qemu_iovec_memset(qiov, qiov_offset, 1, bytes);
    return 0;
}

static BlockDriver bdrv_home = {
    .format_name = "home",
    .protocol_name = "home",
    .instance_size = sizeof(HomeState),
    .supports_backing = true,
    .bdrv_open = home_open,
    .bdrv_co_getlength = home_co_getlength,
    .bdrv_co_preadv_part = home_co_preadv_part,
    .bdrv_detach_aio_context = home_detach_aio_context,
    .bdrv_attach_aio_context = home_attach_aio_context,
};

static BlockDriverState *new_home(const char *name)
{
    return bdrv_new_open_driver(&bdrv_home, name, BDRV_O_RDWR, &error_abort);
}

static AioContext *home_of(BlockDriverState *bs)
{
    HomeState *s = bs->opaque;

    g_assert(s->ctx == bdrv_get_aio_context(bs));
    return s->ctx;
}

/* --- who moves with whom --- */

static int attached, detached;

static void note_attached(AioContext *new_context, void *opaque)
{
    g_assert(new_context == *(AioContext **)opaque);
    attached++;
}

static void note_detach(void *opaque)
{
    detached++;
}

/* blk -> raw -> base <- blk2: all have one home. */
static void test_move(void)
{
    BlockDriverState *base = new_home("base");
    BlockDriverState *raw = open_node("driver=raw,file=base");
    BlockBackend *blk = new_blk(home(2), raw), *blk2 = new_blk(home(2), base);
    AioContext *expected = home(0);
    Error *err = NULL;

    bdrv_add_aio_context_notifier(raw, note_attached, note_detach, &expected);
    blk_add_aio_context_notifier(blk, note_attached, note_detach, &expected);
    /* Their users have not agreed. */
    g_assert_cmpint(bdrv_try_change_aio_context(base, home(0), NULL, &err), <,
                    0);
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "Cannot change iothread of active block backend");
    error_free_or_abort(&err);
    blk_set_allow_aio_context_change(blk, true);
    g_assert_cmpint(bdrv_try_change_aio_context(base, home(0), NULL, &err), <,
                    0);
    error_free_or_abort(&err);
    /* One has agreed before the other refuses, whichever is asked first. */
    blk_set_allow_aio_context_change(blk, false);
    blk_set_allow_aio_context_change(blk2, true);
    g_assert_cmpint(bdrv_try_change_aio_context(base, home(0), NULL, &err), <,
                    0);
    error_free_or_abort(&err);
    g_assert(home_of(base) == home(2));
    g_assert(bdrv_get_aio_context(raw) == home(2));
    g_assert(blk_get_aio_context(blk) == home(2));
    g_assert(blk_get_aio_context(blk2) == home(2));
    g_assert_cmpint(attached + detached, ==, 0);
    g_assert_cmpint(base->quiesce_counter + raw->quiesce_counter, ==, 0);

    blk_set_allow_aio_context_change(blk, true);
    g_assert_cmpint(bdrv_try_change_aio_context(base, home(0), NULL,
                                                &error_abort), ==, 0);
    g_assert(home_of(base) == home(0));
    g_assert(bdrv_get_aio_context(raw) == home(0));
    g_assert(blk_get_aio_context(blk) == home(0));
    g_assert(blk_get_aio_context(blk2) == home(0));
    g_assert_cmpint(attached, ==, 2);
    g_assert_cmpint(detached, ==, 2);
    g_assert(bdrv_aio_context_in_use(home(0)));
    g_assert(!bdrv_aio_context_in_use(home(1)));

    blk_remove_aio_context_notifier(blk, note_attached, note_detach,
                                    &expected);
    bdrv_remove_aio_context_notifier(raw, note_attached, note_detach,
                                     &expected);
    /* A backend that is moved itself need not be allowed to. */
    blk_set_allow_aio_context_change(blk, false);
    g_assert_cmpint(blk_set_aio_context(blk, home(1), &error_abort), ==, 0);
    g_assert(home_of(base) == home(1));
    g_assert(blk_get_aio_context(blk2) == home(1));
    g_assert_cmpint(attached, ==, 2);
    blk_unref(blk);
    blk_unref(blk2);
    bdrv_unref(raw);
    bdrv_unref(base);
}

/* Nodes that nobody uses leave a context: all, or none. */
static void test_vacate(void)
{
    BlockDriverState *a = new_home("a"), *b = new_home("b");
    BlockDriverState *top = open_node("driver=raw,node-name=top,file=b");
    BlockBackend *blk = new_blk(home(0), a);

    /* It could, but is not asked to. */
    blk_set_allow_aio_context_change(blk, true);
    g_assert_cmpint(bdrv_try_change_aio_context(b, home(0), NULL,
                                                &error_abort), ==, 0);
    g_assert(bdrv_vacate_aio_context(home(1)));
    g_assert(!bdrv_vacate_aio_context(home(0)));
    g_assert(home_of(a) == home(0) && home_of(b) == home(0));
    blk_unref(blk);
    g_assert(bdrv_vacate_aio_context(home(0)));
    g_assert(home_of(a) == home(2) && home_of(b) == home(2));
    g_assert(bdrv_get_aio_context(top) == home(2));

    /* One without a node counts, too. */
    blk = blk_new(home(0), 0, BLK_PERM_ALL);
    g_assert(!bdrv_vacate_aio_context(home(0)));
    blk_unref(blk);
    bdrv_unref(top);
    bdrv_unref(b);
    bdrv_unref(a);
}

/* A new edge brings its ends together. */
static void test_attach(void)
{
    BlockDriverState *a = new_home("a"), *b = new_home("b");
    BlockDriverState *c = new_home("c"), *d = new_home("d");
    BlockBackend *blk = new_blk(home(0), a), *blk_b, *blk_d;
    Error *err = NULL;

    g_assert(home_of(a) == home(0));
    /* The child comes to its parent. */
    g_assert_cmpint(bdrv_set_backing_hd(a, b, &error_abort), ==, 0);
    g_assert(home_of(b) == home(0));
    /* One that cannot: the parent comes. */
    blk_d = new_blk(home(1), d);
    g_assert_cmpint(bdrv_set_backing_hd(c, d, &error_abort), ==, 0);
    g_assert(home_of(c) == home(1));
    /* Nor that. */
    g_assert_cmpint(bdrv_set_backing_hd(b, c, &err), <, 0);
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "Cannot change iothread of active block backend");
    error_free_or_abort(&err);
    blk_b = blk_new(home(1), 0, BLK_PERM_ALL);
    g_assert_cmpint(blk_insert_bs(blk_b, b, &err), <, 0);
    error_free_or_abort(&err);
    /* A backend that may follows. */
    blk_set_allow_aio_context_change(blk_b, true);
    g_assert_cmpint(blk_insert_bs(blk_b, b, &error_abort), ==, 0);
    g_assert(blk_get_aio_context(blk_b) == home(0));

    blk_unref(blk_b);
    blk_unref(blk_d);
    g_assert_cmpint(bdrv_set_backing_hd(c, NULL, &error_abort), ==, 0);
    g_assert_cmpint(bdrv_append(c, a, &error_abort), ==, 0);
    g_assert(home_of(c) == home(0) && blk_bs(blk) == c);
    blk_unref(blk);
    bdrv_unref(a);
    bdrv_unref(b);
    bdrv_unref(c);
    bdrv_unref(d);
}

/* --- functions for the main thread --- */

static void do_test_sync(const char *fmt, int flags)
{
    BlockBackend *blk = open_image(fmt, 16 * MiB, flags, home(0));
    BlockDriverState *bs = blk_bs(blk);
    g_autofree uint8_t *buf = g_malloc(64 * KiB);
    BlockDriverInfo bdi;
    int64_t pnum;

    g_assert(bdrv_get_aio_context(bs->file->bs) == home(0));
    memset(buf, 7, 64 * KiB);
    g_assert_cmpint(blk_pwrite(blk, 10, 64 * KiB, buf, 0), ==, 0);
    memset(buf, 0, 64 * KiB);
    g_assert_cmpint(blk_pread(blk, 100, 60 * KiB, buf, 0), ==, 0);
    g_assert_cmpuint(buf[0], ==, 7);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    g_assert_cmpint(blk_pdiscard(blk, 1 * MiB, 1 * MiB), ==, 0);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 64 * KiB, 0), ==, 0);
    g_assert_cmpint(bdrv_is_allocated(bs, 8 * MiB, 64 * KiB, &pnum), >=, 0);
    bdrv_get_info(bs, &bdi);
    g_assert_cmpint(bdrv_get_allocated_file_size(bs), >=, 0);
    g_assert_cmpint(bdrv_reopen_set_read_only(bs, false, &error_abort), ==,
                    0);
    if (!strcmp(fmt, "raw")) {
        g_assert_cmpint(blk_truncate(blk, 32 * MiB, true, PREALLOC_MODE_OFF,
                                     0, &error_abort), ==, 0);
        g_assert_cmpint(blk_getlength(blk), ==, 32 * MiB);
    }
    blk_drain(blk);
    bdrv_drain_all();
    /* It is closed where it is. */
    blk_unref(blk);
}

static void test_sync(void)
{
    do_test_sync("raw", 0);
    do_test_sync("raw", TEST_NATIVE_AIO);
    do_test_sync("vmdk", 0);
    do_test_sync("vmdk", TEST_NATIVE_AIO);
}

/* --- moved while busy --- */

#define DEPTH 8
#define MOVES 200

typedef struct {
    BlockBackend *blk;
    QEMUIOVector qiov;
    uint8_t *buf;
    int64_t offset;
    uint8_t pattern;
    bool writing;
    unsigned *done;             /* atomic; requests of all slots */
    bool *stop;                 /* atomic */
    unsigned *running;          /* atomic; slots */
} Slot;

static void slot_next(Slot *s);

static void slot_cb(void *opaque, int ret)
{
    Slot *s = opaque;

    g_assert_cmpint(ret, ==, 0);
    /* Where the backend is at home now. */
    g_assert(in_aio_context_home_thread(blk_get_aio_context(s->blk)));
    if (!s->writing) {
        int i;

        for (i = 0; i < BLOCK; i++) {
            g_assert_cmpuint(s->buf[i], ==, s->pattern);
        }
    }
    qatomic_inc(s->done);
    if (!s->writing && qatomic_read(s->stop)) {
        qatomic_dec(s->running);
        aio_wait_kick();
        return;
    }
    slot_next(s);
}

static void slot_next(Slot *s)
{
    s->writing = !s->writing;
    if (s->writing) {
        memset(s->buf, ++s->pattern, BLOCK);
        blk_aio_pwritev(s->blk, s->offset, &s->qiov, 0, slot_cb, s);
    } else {
        memset(s->buf, 0, BLOCK);
        blk_aio_preadv(s->blk, s->offset, &s->qiov, 0, slot_cb, s);
    }
}

static void do_test_busy(const char *fmt, int flags)
{
    BlockBackend *blk = open_image(fmt, 16 * MiB, flags, home(2));
    unsigned done = 0, running = DEPTH;
    bool stop = false;
    Slot slots[DEPTH];
    int i;

    for (i = 0; i < DEPTH; i++) {
        Slot *s = &slots[i];

        *s = (Slot) { .blk = blk, .done = &done, .stop = &stop,
                      .running = &running, .offset = (int64_t)i * 96 * KiB };
        s->buf = blk_blockalign(blk, BLOCK);
        qemu_iovec_init_buf(&s->qiov, s->buf, BLOCK);
        slot_next(s);
    }
    for (i = 0; i < MOVES; i++) {
        unsigned before = qatomic_read(&done);

        g_assert_cmpint(blk_set_aio_context(blk, home(i % 3), &error_abort),
                        ==, 0);
        g_assert(bdrv_get_aio_context(blk_bs(blk)->file->bs) == home(i % 3));
        while (qatomic_read(&done) < before + 2) {
            aio_poll(qemu_get_aio_context(), false);
        }
    }
    qatomic_set(&stop, true);
    AIO_WAIT_WHILE(NULL, qatomic_load_acquire(&running));
    blk_unref(blk);
    for (i = 0; i < DEPTH; i++) {
        qemu_vfree(slots[i].buf);
    }
}

static void test_busy(void)
{
    do_test_busy("raw", 0);
    do_test_busy("raw", TEST_NATIVE_AIO);
    do_test_busy("vmdk", TEST_NATIVE_AIO);
}

/* --- one node from several contexts at once --- */

typedef struct {
    BlockDriverState *bs;
    unsigned running;           /* atomic */
} Visitors;

/* A driver that wants its requests at home has them there. */
static void coroutine_fn visitor_entry(void *opaque)
{
    Visitors *v = opaque;
    AioContext *ctx = qemu_get_current_aio_context(), *old;
    int i;

    for (i = 0; i < 100; i++) {
        old = bdrv_co_enter(v->bs);
        g_assert(qemu_get_current_aio_context() == home_of(v->bs));
        bdrv_co_leave(v->bs, old);
        g_assert(qemu_get_current_aio_context() == ctx);
    }
    qatomic_dec(&v->running);
    aio_wait_kick();
}

static void test_visitors(void)
{
    Visitors v = { .bs = new_home("a"), .running = 3 };
    int i;

    bdrv_try_change_aio_context(v.bs, home(0), NULL, &error_abort);
    for (i = 0; i < 3; i++) {
        aio_co_schedule(home(i), qemu_coroutine_create(visitor_entry, &v));
    }
    AIO_WAIT_WHILE(NULL, qatomic_load_acquire(&v.running));
    bdrv_try_change_aio_context(v.bs, home(2), NULL, &error_abort);
    bdrv_unref(v.bs);
}

#define WORKERS 12
#define ROUNDS 300

typedef struct {
    BlockBackend *blk;
    int id;
    unsigned *running;          /* atomic */
} Worker;

static void coroutine_fn worker_entry(void *opaque)
{
    Worker *w = opaque;
    AioContext *ctx = qemu_get_current_aio_context();
    g_autofree uint8_t *buf = g_malloc(2 * BLOCK);
    /* Neighbours share blocks of the format. */
    int64_t offset = (int64_t)w->id * BLOCK;
    int i;

    for (i = 0; i < ROUNDS; i++) {
        int64_t at = offset + (int64_t)i * WORKERS * BLOCK, pnum;
        QEMUIOVector out = QEMU_IOVEC_INIT_BUF(out, buf, BLOCK);
        QEMUIOVector in = QEMU_IOVEC_INIT_BUF(in, buf + BLOCK, BLOCK);

        memset(buf, w->id + i, BLOCK);
        g_assert_cmpint(blk_co_pwritev(w->blk, at, BLOCK, &out, 0), ==, 0);
        g_assert_cmpint(blk_co_preadv(w->blk, at, BLOCK, &in, 0), ==, 0);
        g_assert(!memcmp(buf, buf + BLOCK, BLOCK));
        g_assert(!blk_is_inactive(w->blk));
        if (i % 8 == 0) {
            g_assert_cmpint(blk_co_flush(w->blk), ==, 0);
            g_assert_cmpint(blk_co_is_allocated_above(w->blk, NULL, false, at,
                                                      BLOCK, &pnum), >, 0);
        }
        g_assert(qemu_get_current_aio_context() == ctx);
    }
    qatomic_dec(w->running);
    aio_wait_kick();
}

static void do_test_multi_queue(const char *fmt, int flags, bool disturb)
{
    BlockBackend *blk = open_image(fmt, 16 * MiB, flags, home(0));
    unsigned running = WORKERS;
    Worker w[WORKERS];
    int i;

    for (i = 0; i < WORKERS; i++) {
        w[i] = (Worker) { .blk = blk, .id = i, .running = &running };
        aio_co_schedule(home(i % 3), qemu_coroutine_create(worker_entry,
                                                           &w[i]));
    }
    /* Drained, and its graph changed, meanwhile. */
    while (disturb && qatomic_load_acquire(&running)) {
        BlockDriverState *filter;
        QOpts *opts;

        bdrv_drain(blk_bs(blk));
        opts = qopts_new();
        qopts_set_str(opts, "driver", "blkdebug");
        qopts_set_str(opts, "image", blk_bs(blk)->node_name);
        filter = bdrv_insert_node(blk_bs(blk), opts, BDRV_O_RDWR,
                                  &error_abort);
        aio_poll(qemu_get_aio_context(), false);
        g_assert_cmpint(bdrv_drop_filter(filter, &error_abort), ==, 0);
        bdrv_unref(filter);
        aio_poll(qemu_get_aio_context(), false);
    }
    AIO_WAIT_WHILE(NULL, qatomic_load_acquire(&running));
    blk_unref(blk);
}

static void test_multi_queue(void)
{
    int i;

    do_test_multi_queue("raw", TEST_NATIVE_AIO, true);
    do_test_multi_queue("vmdk", 0, true);
    do_test_multi_queue("vmdk", TEST_NATIVE_AIO, true);
    /* Two threads that fill one grain have to meet to be seen. */
    for (i = 0; i < 10; i++) {
        do_test_multi_queue("vmdk", i % 2 ? TEST_NATIVE_AIO : 0, false);
    }
}

/* --- the graph lock, by readers of other threads --- */

typedef struct {
    BlockDriverState *top;
    bool stop;                  /* atomic */
    unsigned running;           /* atomic */
} Readers;

static void coroutine_fn reader_entry(void *opaque)
{
    Readers *r = opaque;

    while (!qatomic_read(&r->stop)) {
        int64_t pnum;
        int ret = bdrv_co_is_allocated_above(r->top, NULL, false, 0, BLOCK,
                                             &pnum);

        g_assert_cmpint(ret, >=, 0);
        aio_co_schedule(qemu_get_current_aio_context(),
                        qemu_coroutine_self());
        qemu_coroutine_yield();
    }
    qatomic_dec(&r->running);
    aio_wait_kick();
}

static void test_graph_lock(void)
{
    BlockDriverState *a = new_home("a"), *b = new_home("b");
    Readers r = { .top = a, .running = 8 };
    int i;

    for (i = 0; i < 8; i++) {
        aio_co_schedule(home(i % 2), qemu_coroutine_create(reader_entry, &r));
    }
    for (i = 0; i < 300; i++) {
        BlockDriverState *c = new_home("c");

        /* The last reference to c goes with the edge, under the readers. */
        g_assert_cmpint(bdrv_set_backing_hd(a, c, &error_abort), ==, 0);
        bdrv_unref(c);
        g_assert_cmpint(bdrv_set_backing_hd(a, b, &error_abort), ==, 0);
        g_assert(!bdrv_find_node("c"));
    }
    qatomic_set(&r.stop, true);
    AIO_WAIT_WHILE(NULL, qatomic_load_acquire(&r.running));
    bdrv_unref(a);
    bdrv_unref(b);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    bdrv_register(&bdrv_home);
    dir = g_dir_make_tmp("test-block-iothread-XXXXXX", NULL);
    g_assert(dir);
    iot[0] = iothread_create("io0", &error_abort);
    iot[1] = iothread_create("io1", &error_abort);

    g_test_add_func("/block-iothread/move", test_move);
    g_test_add_func("/block-iothread/vacate", test_vacate);
    g_test_add_func("/block-iothread/attach", test_attach);
    g_test_add_func("/block-iothread/sync", test_sync);
    g_test_add_func("/block-iothread/busy", test_busy);
    g_test_add_func("/block-iothread/visitors", test_visitors);
    g_test_add_func("/block-iothread/multi-queue", test_multi_queue);
    g_test_add_func("/block-iothread/graph-lock", test_graph_lock);
    ret = g_test_run();

    iothread_destroy(iot[0]);
    iothread_destroy(iot[1]);
    qemu_cleanup_main_loop();
    {
        g_autofree char *raw = image("raw");
        g_autofree char *vmdk = image("vmdk");

        unlink(raw);
        unlink(vmdk);
        rmdir(dir);
        g_free(dir);
    }
    return ret;
}
