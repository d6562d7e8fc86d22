/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The load: it finds what another has changed, and an error; it moves to
 * another AioContext; and it ends.
 */
#include "qemu/osdep.h"
#include "block/load.h"
#include "test-job-nodes.h"
#include "test-thread-loop.h"

static BlockLoad *new_load(unsigned read_percent)
{
    BlockLoadOptions o = {
        .seed = g_test_rand_int(), .iodepth = 8, .read_percent = read_percent,
    };

    return block_load_new(source, &o, &error_abort);
}

static uint64_t load_run(BlockLoad *load, uint64_t requests)
{
    BlockLoadStats s;

    do {
        g_usleep(100);
        aio_poll(qemu_get_aio_context(), false);
        block_load_get_stats(load, &s);
    } while (s.reads + s.writes < requests);
    return s.mismatches;
}

static void test_sound(void)
{
    BlockLoad *load = new_load(50);
    BlockLoadStats s;

    g_assert_cmpuint(load_run(load, 5000), ==, 0);
    block_load_get_stats(load, &s);
    g_assert_cmpuint(s.errors, ==, 0);
    g_assert_cmpuint(s.reads, >, 0);
    g_assert_cmpuint(s.writes, >, 0);
    g_assert_cmpuint(s.flushes, >, 0);
    g_assert_cmpuint(s.p99_us, >=, s.p50_us);
    g_assert_null(block_load_first_error(load));
    block_load_free(load);
}

/* Somebody else writes to the node: the load sees it. */
static void test_mismatch(void)
{
    BlockLoad *load = new_load(50);
    g_autofree uint8_t *buf = g_malloc(MiB);
    int64_t i;

    load_run(load, 5000);
    memset(buf, 0x11, MiB);
    for (i = 0; i < SIZE / MiB; i++) {
        g_assert_cmpint(blk_pwrite(blk, i * MiB, MiB, buf, 0), ==, 0);
    }
    g_assert_cmpuint(load_run(load, 20000), >, 0);
    g_assert_nonnull(block_load_first_error(load));
    block_load_free(load);
}

static void test_context(void)
{
    TestLoop *loop = test_loop_new();
    BlockLoad *load;
    int i;

    blk_set_allow_aio_context_change(blk, true);
    load = new_load(50);
    for (i = 1; i < 10; i++) {
        g_assert_cmpint(bdrv_try_change_aio_context(source, i & 1 ? loop->ctx :
                                                    qemu_get_aio_context(),
                                                    NULL, &error_abort),
                        ==, 0);
        g_assert_cmpuint(load_run(load, i * 1000), ==, 0);
    }
    g_assert_true(bdrv_get_aio_context(source) == loop->ctx);
    block_load_free(load);
    bdrv_try_change_aio_context(source, qemu_get_aio_context(), NULL,
                                &error_abort);
    test_loop_free(loop);
}

static void test_refused(void)
{
    BlockLoadOptions bad[] = {
        { .iodepth = 5000 }, { .block_size = 100 }, { .read_percent = 101 },
        { .size = 2 * SIZE }, { .size = 4096, .iodepth = 2 },
    };
    Error *err = NULL;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        g_assert_null(block_load_new(source, &bad[i], &err));
        error_free_or_abort(&err);
    }
}

#define ADD(name, fn) \
    g_test_add("/load/" name, int, NULL, (void *)setup, (void *)fn, \
               (void *)teardown)

static void add_tests(void)
{
    ADD("sound", test_sound);
    ADD("mismatch", test_mismatch);
    ADD("context", test_context);
    ADD("refused", test_refused);
}

int main(int argc, char **argv)
{
    return job_test_main(&argc, &argv, add_tests);
}
