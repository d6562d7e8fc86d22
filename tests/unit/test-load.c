/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The load: it finds what another has changed, and an error; it moves to
 * another AioContext; and it ends.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "block/load.h"
#include "qapi/qapi-emit-events.h"
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

/* --- error policies --- */

static GString *events;

static void note_event(int event, struct json_object *json)
{
    struct json_object *data;

    json_object_object_get_ex(json, "data", &data);
    g_string_append_printf(events, "%s %s\n", QAPIEvent_str(event),
                           json_object_to_json_string_ext(
                               data, JSON_C_TO_STRING_NOSLASHESCAPE));
}

/* A load on a disk that is full for the first write. */
static BlockLoad *new_failing_load(BlockdevOnError policy)
{
    BlockLoadOptions o = {
        .iodepth = 1, .on_write_error = policy, .qom_path = "/objects/l",
    };
    QOpts *opts = qopts_new();

    qopts_set_str(opts, "driver", "blkdebug");
    qopts_set_str(opts, "node-name", "faulty");
    qopts_set_str(opts, "image", "source");
    qopts_set_str(opts, "inject-error.0.event", "none");
    qopts_set_str(opts, "inject-error.0.iotype", "write");
    qopts_set_str(opts, "inject-error.0.errno", "28");
    qopts_set_str(opts, "inject-error.0.once", "on");
    blk_remove_bs(blk);
    blk_insert_bs(blk, bdrv_open(NULL, NULL, opts, BDRV_O_RDWR, &error_abort),
                  &error_abort);
    bdrv_unref(blk_bs(blk));
    events = g_string_new(NULL);
    qapi_event_set_func(note_event);
    return block_load_new(blk_bs(blk), &o, &error_abort);
}

static void end_failing_load(BlockLoad *load, const char *action,
                             unsigned errors)
{
    g_autofree char *want = g_strdup_printf(
        "BLOCK_IO_ERROR {\"qom-path\":\"/objects/l\",\"device\":\"\","
        "\"node-name\":\"faulty\",\"operation\":\"write\","
        "\"action\":\"%s\"%s,\"reason\":"
        "\"No space left on device\"}\n", action,
        strcmp(action, "stop") ? "" : ",\"nospace\":true");
    BlockLoadStats s;

    load_run(load, 100);
    block_load_get_stats(load, &s);
    g_assert_cmpuint(s.errors, ==, errors);
    g_assert_cmpuint(s.mismatches, ==, 0);
    block_load_free(load);
    qapi_event_set_func(NULL);
    g_assert_cmpstr(events->str, ==, want);
    g_string_free(events, true);
}

static void test_report(void)
{
    end_failing_load(new_failing_load(BLOCKDEV_ON_ERROR_REPORT), "report", 1);
}

static void test_ignore(void)
{
    end_failing_load(new_failing_load(BLOCKDEV_ON_ERROR_IGNORE), "ignore", 0);
}

/* It stands still until it is told to go on, and then has lost nothing. */
static void test_stop(void)
{
    BlockLoad *load = new_failing_load(BLOCKDEV_ON_ERROR_ENOSPC);
    BlockLoadStats s;
    int i;

    while (block_load_is_running(load)) {
        aio_poll(qemu_get_aio_context(), true);
    }
    for (i = 0; i < 20; i++) {
        g_usleep(1000);
        aio_poll(qemu_get_aio_context(), false);
    }
    block_load_get_stats(load, &s);
    g_assert_cmpuint(s.writes, ==, 0);
    g_assert_false(block_load_is_running(load));
    block_load_set_running(load, true);
    end_failing_load(load, "stop", 0);

    /* One that stands can be deleted. */
    load = new_failing_load(BLOCKDEV_ON_ERROR_STOP);
    while (block_load_is_running(load)) {
        aio_poll(qemu_get_aio_context(), true);
    }
    block_load_free(load);
    qapi_event_set_func(NULL);
    g_string_free(events, true);
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
    ADD("report", test_report);
    ADD("ignore", test_ignore);
    ADD("stop", test_stop);
    ADD("refused", test_refused);
}

int main(int argc, char **argv)
{
    return job_test_main(&argc, &argv, add_tests);
}
