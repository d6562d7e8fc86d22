/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Throttling: the buckets by a clock of the test's own; groups, whose members
 * get equal shares, in real time and in several threads; and the filter.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "block/throttle-groups.h"
#include "qapi/error.h"
#include "qemu/aio-wait.h"
#include "qemu/cutils.h"
#include "qemu/main-loop.h"
#include "system/block-backend.h"
#include "test-thread-loop.h"

#define SEC NANOSECONDS_PER_SECOND
#define MS SCALE_MS

static ThrottleConfig config(BucketType type, int64_t avg)
{
    ThrottleConfig cfg;

    throttle_config_init(&cfg);
    cfg.buckets[type].avg = avg;
    return cfg;
}

/* --- buckets --- */

/* How many requests of @bytes pass from @start to @end, without a pause. */
static int run(ThrottleState *ts, ThrottleDirection d, int64_t bytes,
               int64_t start, int64_t end)
{
    int64_t now = start;
    int n = 0;

    while (now < end) {
        int64_t wait;

        throttle_leak(ts, now);
        wait = throttle_compute_wait(ts, d);
        if (wait == 0) {
            throttle_account(ts, d, bytes);
            n++;
        }
        now += wait;
    }
    return n;
}

static void assert_about(int a, int b)
{
    g_assert_cmpint(a, >=, b - 1);
    g_assert_cmpint(a, <=, b + 1);
}

static void test_rate(void)
{
    ThrottleConfig cfg = config(THROTTLE_OPS_TOTAL, 100);
    ThrottleState ts;

    /* A tenth of a second's worth comes at once, the rest at the rate. */
    throttle_config(&ts, &cfg, 0);
    assert_about(run(&ts, THROTTLE_READ, 512, 0, 1), 11);
    assert_about(run(&ts, THROTTLE_WRITE, 512, 1, 10 * SEC), 1000);

    /* What one takes the other lacks; who pauses has no more than before. */
    throttle_config(&ts, &cfg, 0);
    assert_about(run(&ts, THROTTLE_READ, 512, 0, SEC) +
                 run(&ts, THROTTLE_WRITE, 512, SEC, 2 * SEC), 210);
    assert_about(run(&ts, THROTTLE_READ, 512, 60 * SEC, 60 * SEC + 1), 11);

    /* Less than one in a second. */
    cfg = config(THROTTLE_OPS_WRITE, 1);
    throttle_config(&ts, &cfg, 0);
    assert_about(run(&ts, THROTTLE_WRITE, 512, 0, 20 * SEC), 20);
    g_assert_cmpint(throttle_compute_wait(&ts, THROTTLE_READ), ==, 0);
}

static void test_bytes(void)
{
    ThrottleConfig cfg = config(THROTTLE_BPS_READ, 10 * MiB);
    ThrottleState ts;

    throttle_config(&ts, &cfg, 0);
    assert_about(run(&ts, THROTTLE_READ, 64 * KiB, 0, 10 * SEC), 1616);
    /* One that is larger than the bucket passes, and is paid for later. */
    throttle_config(&ts, &cfg, 0);
    assert_about(run(&ts, THROTTLE_READ, 100 * MiB, 0, 100 * SEC), 10);
}

static void test_burst(void)
{
    ThrottleConfig cfg = config(THROTTLE_OPS_TOTAL, 100);
    LeakyBucket *bkt = &cfg.buckets[THROTTLE_OPS_TOTAL];
    ThrottleState ts;

    bkt->max = 2000;
    throttle_config(&ts, &cfg, 0);
    assert_about(run(&ts, THROTTLE_READ, 1, 0, 1), 2001);
    assert_about(run(&ts, THROTTLE_READ, 1, 1, SEC), 100);

    /* 2,000 a second for 60 s, and what leaks meanwhile. */
    bkt->burst_length = 60;
    throttle_config(&ts, &cfg, 0);
    assert_about(run(&ts, THROTTLE_READ, 1, 0, 1), 201);
    assert_about(run(&ts, THROTTLE_READ, 1, 1, 30 * SEC), 60000);
    g_assert_cmpint(run(&ts, THROTTLE_READ, 1, 30 * SEC, 600 * SEC), <=,
                    60000 + 100 * 600 + 1);
    assert_about(run(&ts, THROTTLE_READ, 1, 600 * SEC, 610 * SEC), 1000);
}

static void test_op_size(void)
{
    ThrottleConfig cfg = config(THROTTLE_OPS_TOTAL, 100);
    ThrottleState ts;

    cfg.op_size = 4096;
    throttle_config(&ts, &cfg, 0);
    assert_about(run(&ts, THROTTLE_READ, 512, 0, 10 * SEC), 1010);
    throttle_config(&ts, &cfg, 0);
    assert_about(run(&ts, THROTTLE_READ, 6144, 0, 10 * SEC), 674);
}

static void assert_invalid(const ThrottleConfig *cfg, const char *message)
{
    Error *err = NULL;

    g_assert_false(throttle_is_valid(cfg, &err));
    g_assert_cmpstr(error_get_pretty(err), ==, message);
    error_free(err);
}

static void test_valid(void)
{
    ThrottleConfig cfg = config(THROTTLE_OPS_TOTAL, 100);
    LeakyBucket *total = &cfg.buckets[THROTTLE_OPS_TOTAL];

    g_assert_true(throttle_enabled(&cfg));
    g_assert_true(throttle_is_valid(&cfg, &error_abort));
    total[2].avg = 5;
    assert_invalid(&cfg, "bps/iops/max total values and read/write values "
                   "cannot be used at the same time");
    total[2].avg = 0;
    total->burst_length = 5;
    assert_invalid(&cfg, "burst length set without burst rate");
    total->burst_length = 0;
    assert_invalid(&cfg, "the burst length cannot be 0");
    total->burst_length = 1000001;
    total->max = 1000000000;
    assert_invalid(&cfg, "burst length too high for this burst rate");
    total->burst_length--;
    g_assert_true(throttle_is_valid(&cfg, &error_abort));
    total->max = 99;
    assert_invalid(&cfg, "bps_max/iops_max cannot be lower than bps/iops");
    total->avg = -1;
    assert_invalid(&cfg, "bps/iops/max values must be within "
                   "[0, 1000000000000000]");
    total->avg = 0;
    assert_invalid(&cfg, "bps_max/iops_max require corresponding bps/iops "
                   "values");
    throttle_config_init(&cfg);
    g_assert_false(throttle_enabled(&cfg));
    cfg.op_size = 512;
    assert_invalid(&cfg, "iops size requires an iops value to be set");
}

/* --- groups --- */

/*
 * Two that take turns.  One that makes one request at a time misses its turn
 * when the timer is late and several may be made at once; without turns it
 * would have one in the number of the other's users.
 */
static void assert_turns(int many, int one)
{
    g_assert_cmpint(one, >, many / 4);
    g_assert_cmpint(one, <, many * 5 / 4);
}

typedef struct {
    ThrottleGroupMember *tgm;
    ThrottleDirection direction;
    int *done;                  /* atomic; requests that have passed */
    bool *stop;                 /* atomic */
    int *running;               /* atomic */
} User;

static void coroutine_fn user_entry(void *opaque)
{
    User *u = opaque;

    while (!qatomic_read(u->stop)) {
        throttle_group_co_io_limits_intercept(u->tgm, 512, u->direction);
        qatomic_inc(u->done);
    }
    qatomic_dec(u->running);
    aio_wait_kick();
}

#define MAX_USERS 80
static User users[MAX_USERS];
static int n_users, running;
static bool stop;

/* @n coroutines in @ctx, each of which makes one request after the other. */
static void start_users(int n, ThrottleGroupMember *tgm, AioContext *ctx,
                        ThrottleDirection direction, int *done)
{
    while (n--) {
        User *u = &users[n_users++];

        g_assert_cmpint(n_users, <=, MAX_USERS);
        *u = (User) { tgm, direction, done, &stop, &running };
        qatomic_inc(&running);
        aio_co_enter(ctx, qemu_coroutine_create(user_entry, u));
    }
}

/* Returns the longest time between two polls. */
static int64_t run_ms(int64_t ms)
{
    int64_t last = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    int64_t end = last + ms * MS;
    int64_t longest = 0;

    while (last < end) {
        int64_t now;

        aio_poll(qemu_get_aio_context(), false);
        g_usleep(200);
        now = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
        longest = MAX(longest, now - last);
        last = now;
    }
    return longest;
}

/*
 * For 300 ms, with the @n counts from 0 on; again if this thread was without a
 * processor for a time.  False: it was each time, and the counts tell nothing.
 */
static bool run_undisturbed(int *counts, int n)
{
    int tries;

    for (tries = 0; tries < 30; tries++) {
        memset(counts, 0, n * sizeof(*counts));
        if (run_ms(300) < 5 * MS) {
            return true;
        }
    }
    g_test_message("this machine is too busy to see who gets what");
    return false;
}

/* Until *@count is @least; returns how many ms that, and @ms at least, took. */
static int64_t run_until(int *count, int least, int64_t ms)
{
    int64_t start = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

    run_ms(ms);
    while (qatomic_read(count) < least) {
        run_ms(10);
    }
    return (qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - start) / MS;
}

static void stop_users(ThrottleGroup *tg)
{
    ThrottleConfig none;

    qatomic_set(&stop, true);
    throttle_config_init(&none);
    throttle_group_set_config(tg, &none);
    AIO_WAIT_WHILE(NULL, qatomic_read(&running) > 0);
    stop = false;
    n_users = 0;
}

/* 64 requests of one member at once, and one of another: equal shares. */
static void test_fair(void)
{
    ThrottleConfig cfg = config(THROTTLE_OPS_TOTAL, 2000);
    ThrottleGroup *tg = throttle_group_new("g", &cfg);
    AioContext *ctx = qemu_get_aio_context();
    ThrottleGroupMember a, b;
    int n[3] = { 0 };

    throttle_group_register_tgm(&a, "g", ctx);
    throttle_group_register_tgm(&b, "g", ctx);
    g_assert_true(throttle_group_in_use(tg));
    start_users(64, &a, ctx, THROTTLE_WRITE, &n[0]);
    start_users(1, &b, ctx, THROTTLE_WRITE, &n[1]);
    run_ms(300);
    if (run_undisturbed(n, 2)) {
        g_assert_cmpint(n[1], >, 100);
        g_assert_cmpint(n[0] + n[1], <, 1500);
        assert_turns(n[0], n[1]);
    }

    /* A read among the writes, at a limit for all. */
    start_users(1, &b, ctx, THROTTLE_READ, &n[2]);
    run_ms(20);
    if (run_undisturbed(n, 3)) {
        assert_turns(n[0] + n[1], n[2]);
    }
    stop_users(tg);
    throttle_group_unregister_tgm(&a);
    throttle_group_unregister_tgm(&b);
    g_assert_false(throttle_group_in_use(tg));
    throttle_group_unref(tg);
}

/* Reads wait long for their own limit, and writes for theirs do not. */
static void test_separate(void)
{
    ThrottleConfig cfg = config(THROTTLE_OPS_READ, 1);
    ThrottleGroupMember a;
    ThrottleGroup *tg;
    int rd = 0, wr = 0;
    int64_t ms;

    cfg.buckets[THROTTLE_OPS_WRITE].avg = 1000;
    tg = throttle_group_new("g", &cfg);
    throttle_group_register_tgm(&a, "g", qemu_get_aio_context());
    start_users(4, &a, qemu_get_aio_context(), THROTTLE_READ, &rd);
    start_users(4, &a, qemu_get_aio_context(), THROTTLE_WRITE, &wr);
    ms = run_until(&wr, 200, 300);
    g_assert_cmpint(rd, >=, 1);
    g_assert_cmpint(rd, <=, 1 + ms / 1000);
    g_assert_cmpint(wr, <, 8 * ms / 3);
    stop_users(tg);
    throttle_group_unregister_tgm(&a);
    throttle_group_unref(tg);
}

/* While some drain, move and change limits, others get what is theirs. */
static void test_threads(void)
{
    ThrottleConfig cfg = config(THROTTLE_BPS_TOTAL, 512 * 4000);
    ThrottleGroup *tg = throttle_group_new("g", &cfg);
    TestLoop *loop[2] = { test_loop_new(), test_loop_new() };
    ThrottleGroupMember tgm[3];
    int n[3] = { 0 }, before, i;
    int64_t ms;

    for (i = 0; i < 2; i++) {
        throttle_group_register_tgm(&tgm[i], "g", loop[i]->ctx);
        start_users(8, &tgm[i], loop[i]->ctx, i, &n[i]);
    }
    /* It has no requests, and its timer is never needed. */
    throttle_group_register_tgm(&tgm[2], "g", qemu_get_aio_context());
    ms = run_until(&n[0], 100, 400);
    ms += run_until(&n[1], 100, 0);
    g_assert_cmpint(qatomic_read(&n[0]) + qatomic_read(&n[1]), <, 10 * ms);
    for (i = 0; i < 40; i++) {
        throttle_group_detach_aio_context(&tgm[2]);
        throttle_group_attach_aio_context(&tgm[2], loop[i & 1]->ctx);
        cfg.buckets[THROTTLE_BPS_TOTAL].avg = 512 * (i & 1 ? 4000 : 1);
        throttle_group_set_config(tg, &cfg);
        run_ms(2);
    }
    /* A limit that is raised counts for those that wait already. */
    before = qatomic_read(&n[0]);
    run_until(&n[0], before + 100, 300);
    stop_users(tg);
    for (i = 0; i < 3; i++) {
        throttle_group_unregister_tgm(&tgm[i]);
    }
    test_loop_free(loop[0]);
    test_loop_free(loop[1]);
    throttle_group_unref(tg);
}

/* --- the filter --- */

static BlockBackend *open_throttle(const char *group, Error **errp)
{
    QOpts *opts = qopts_new();
    BlockDriverState *bs;
    BlockBackend *blk;

    qopts_set_str(opts, "driver", "throttle");
    qopts_set_str(opts, "node-name", "t");
    qopts_set_str(opts, "throttle-group", group);
    qopts_set_str(opts, "discard", "unmap");
    qopts_set_str(opts, "file.driver", "null-co");
    bs = bdrv_open(NULL, NULL, opts, BDRV_O_RDWR, errp);
    if (!bs) {
        return NULL;
    }
    blk = blk_new(qemu_get_aio_context(), BLK_PERM_WRITE, BLK_PERM_ALL);
    blk_set_allow_aio_context_change(blk, true);
    blk_insert_bs(blk, bs, &error_abort);
    bdrv_unref(bs);
    return blk;
}

static int written;

static void write_done(void *opaque, int ret)
{
    g_assert_cmpint(ret, ==, 0);
    qatomic_inc(&written);
}

/* Each kind of write counts, and waits for those before it. */
static void test_kinds(void)
{
    ThrottleConfig cfg = config(THROTTLE_OPS_WRITE, 1);
    uint8_t buf[512] = { 0 };
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, sizeof(buf));
    int kind;

    for (kind = 0; kind < 3; kind++) {
        ThrottleGroup *tg = throttle_group_new("g", &cfg);
        BlockBackend *blk = open_throttle("g", &error_abort);
        int i;

        written = 0;
        for (i = 0; i < 2; i++) {
            if (kind == 0) {
                blk_aio_pwritev(blk, i * 512, &qiov, 0, write_done, NULL);
            } else if (kind == 1) {
                blk_aio_pwrite_zeroes(blk, i * 512, 512, 0, write_done, NULL);
            } else {
                blk_aio_pdiscard(blk, i * 512, 512, write_done, NULL);
            }
        }
        run_ms(20);
        g_assert_cmpint(written, ==, 1);
        blk_drain(blk);
        g_assert_cmpint(written, ==, 2);
        blk_unref(blk);
        throttle_group_unref(tg);
    }
}

/* A drain does not wait for the limits; nor does a move to a thread. */
static void test_drain(void)
{
    ThrottleConfig cfg = config(THROTTLE_OPS_WRITE, 1);
    ThrottleGroup *tg = throttle_group_new("g", &cfg);
    BlockBackend *blk = open_throttle("g", &error_abort);
    BlockDriverState *bs = blk_bs(blk);
    TestLoop *loop = test_loop_new();
    int64_t start = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    uint8_t buf[512] = { 0 };
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, sizeof(buf));
    int i;

    written = 0;
    for (i = 0; i < 20; i++) {
        blk_aio_pwritev(blk, i * 512, &qiov, 0, write_done, NULL);
    }
    run_ms(20);
    g_assert_cmpint(written, ==, 1);
    bdrv_drained_begin(bs);
    g_assert_cmpint(written, ==, 20);
    bdrv_drained_end(bs);

    bdrv_try_change_aio_context(bs, loop->ctx, NULL, &error_abort);
    cfg = config(THROTTLE_OPS_WRITE, 1);
    throttle_group_set_config(tg, &cfg);
    for (i = 0; i < 20; i++) {
        blk_aio_pwritev(blk, i * 512, &qiov, 0, write_done, NULL);
    }
    /* The thread may have to wait for a processor. */
    for (i = 0; i < 1000 && qatomic_read(&written) < 21; i++) {
        run_ms(10);
    }
    run_ms(20);
    g_assert_cmpint(qatomic_read(&written), ==, 21);
    bdrv_try_change_aio_context(bs, qemu_get_aio_context(), NULL,
                                &error_abort);
    g_assert_cmpint(qatomic_read(&written), ==, 40);
    /* They were counted: the next one waits. */
    blk_aio_pwritev(blk, 0, &qiov, 0, write_done, NULL);
    run_ms(20);
    g_assert_cmpint(written, ==, 40);
    g_assert_cmpint(qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - start, <,
                    10 * SEC);
    blk_drain(blk);
    blk_unref(blk);
    test_loop_free(loop);
    throttle_group_unref(tg);
}

/* Another group, by reopening; the old one is free then. */
static void test_reopen(void)
{
    ThrottleConfig cfg = config(THROTTLE_OPS_WRITE, 1);
    ThrottleGroup *a = throttle_group_new("a", &cfg);
    ThrottleGroup *b = throttle_group_new("b", &cfg);
    BlockBackend *blk = open_throttle("a", &error_abort);
    QOpts *opts = qopts_new();
    Error *err = NULL;

    qopts_set_str(opts, "driver", "throttle");
    qopts_set_str(opts, "throttle-group", "b");
    g_assert_cmpint(bdrv_reopen(blk_bs(blk), BDRV_O_RDWR, opts, &error_abort),
                    ==, 0);
    g_assert_false(throttle_group_in_use(a));
    g_assert_true(throttle_group_in_use(b));
    opts = qopts_new();
    qopts_set_str(opts, "driver", "throttle");
    qopts_set_str(opts, "throttle-group", "c");
    g_assert_cmpint(bdrv_reopen(blk_bs(blk), BDRV_O_RDWR, opts, &err), <, 0);
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "Throttle group 'c' does not exist");
    error_free_or_abort(&err);
    g_assert_true(g_str_has_prefix(blk_bs(blk)->filename, "json:"));
    blk_unref(blk);
    g_assert_false(throttle_group_in_use(b));

    g_assert_null(open_throttle("c", &err));
    error_free_or_abort(&err);
    throttle_group_unref(a);
    throttle_group_unref(b);
    g_assert_null(bdrv_next_node(NULL));
}

/* Above a node of another thread that has to stay there. */
static void test_open_in_iothread(void)
{
    ThrottleConfig cfg = config(THROTTLE_OPS_WRITE, 1);
    ThrottleGroup *tg = throttle_group_new("g", &cfg);
    TestLoop *loop = test_loop_new();
    BlockBackend *user = blk_new(loop->ctx, 0, BLK_PERM_ALL);
    QOpts *opts = qopts_new();
    BlockDriverState *bs;

    qopts_set_str(opts, "driver", "null-co");
    qopts_set_str(opts, "node-name", "n");
    bs = bdrv_open(NULL, NULL, opts, BDRV_O_RDWR, &error_abort);
    blk_insert_bs(user, bs, &error_abort);
    bdrv_unref(bs);

    opts = qopts_new();
    qopts_set_str(opts, "driver", "throttle");
    qopts_set_str(opts, "throttle-group", "g");
    qopts_set_str(opts, "file", "n");
    bs = bdrv_open(NULL, NULL, opts, BDRV_O_RDWR, &error_abort);
    g_assert_true(bdrv_get_aio_context(bs) == loop->ctx);
    bdrv_unref(bs);
    blk_unref(user);
    test_loop_free(loop);
    throttle_group_unref(tg);
}

int main(int argc, char **argv)
{
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/throttle/rate", test_rate);
    g_test_add_func("/throttle/bytes", test_bytes);
    g_test_add_func("/throttle/burst", test_burst);
    g_test_add_func("/throttle/op-size", test_op_size);
    g_test_add_func("/throttle/valid", test_valid);
    g_test_add_func("/throttle/fair", test_fair);
    g_test_add_func("/throttle/separate", test_separate);
    g_test_add_func("/throttle/threads", test_threads);
    g_test_add_func("/throttle/kinds", test_kinds);
    g_test_add_func("/throttle/drain", test_drain);
    g_test_add_func("/throttle/reopen", test_reopen);
    g_test_add_func("/throttle/open-in-iothread", test_open_in_iothread);
    return g_test_run();
}
