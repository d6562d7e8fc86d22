/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * BlockBackend: names, the device in front of it, what errors lead to.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "block/blk-int.h"
#include "qapi/qmp-event.h"

static BlockDriverState *open_node(const char *options)
{
    return bdrv_open(NULL, NULL, qopts_parse(options, NULL, &error_abort),
                     BDRV_O_RDWR | BDRV_O_UNMAP, &error_abort);
}

static BlockBackend *new_blk(BlockDriverState *bs)
{
    BlockBackend *blk = blk_new(qemu_get_aio_context(), BLK_PERM_ALL,
                                BLK_PERM_ALL);

    if (bs) {
        g_assert_cmpint(blk_insert_bs(blk, bs, &error_abort), ==, 0);
    }
    return blk;
}

static void check_name(BlockBackend *blk, const char *name,
                       const char *message)
{
    Error *err = NULL;

    g_assert(!monitor_add_blk(blk, name, &err));
    g_assert_cmpstr(error_get_pretty(err), ==, message);
    error_free_or_abort(&err);
}

static void test_names(void)
{
    BlockDriverState *bs = open_node("driver=null-co,node-name=n");
    BlockBackend *blk = new_blk(bs), *other = new_blk(NULL);
    Error *err = NULL;

    g_assert_cmpstr(blk_name(blk), ==, "");
    g_assert(!blk_next(NULL) && blk_all_next(NULL) == blk);
    g_assert_cmpstr(bdrv_get_device_name(bs), ==, "");
    g_assert_cmpstr(bdrv_get_device_or_node_name(bs), ==, "n");
    check_name(blk, "1x", "Invalid device name");
    check_name(blk, "n", "Device name 'n' conflicts with an existing node "
               "name");
    g_assert(monitor_add_blk(blk, "disk0", &error_abort));
    check_name(other, "disk0", "Device with id 'disk0' already exists");
    g_assert(monitor_add_blk(other, "empty", &error_abort));
    g_assert(blk_by_name("disk0") == blk && !blk_by_name("x"));
    g_assert(blk_next(NULL) == blk && blk_next(blk) == other);
    g_assert_cmpstr(bdrv_get_device_or_node_name(bs), ==, "disk0");

    g_assert(!bdrv_open(NULL, NULL,
                        qopts_parse("driver=null-co,node-name=disk0", NULL,
                                    &error_abort), 0, &err));
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "node-name=disk0 is conflicting with a device id");
    error_free_or_abort(&err);

    g_assert(bdrv_lookup_bs("disk0", "disk0", &error_abort) == bs);
    g_assert(bdrv_lookup_bs("n", "n", &error_abort) == bs);
    g_assert(!bdrv_lookup_bs("empty", NULL, &err));
    g_assert_cmpstr(error_get_pretty(err), ==, "Device 'empty' has no medium");
    error_free_or_abort(&err);
    g_assert(!bdrv_lookup_bs("x", "y", &err));
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "Cannot find device='x' nor node-name='y'");
    error_free_or_abort(&err);

    monitor_remove_blk(blk);
    g_assert(!blk_by_name("disk0"));
    blk_unref(other);
    g_assert(!blk_by_name("empty"));
    blk_unref(blk);
    bdrv_unref(bs);
}

/* --- the device --- */

typedef struct {
    int begun, ended, resized;
    int busy;
} Device;

static void device_drained_begin(void *opaque)
{
    ((Device *)opaque)->begun++;
}

static void wake_up(void *opaque)
{
    /* The drain polls again. */
}

static bool device_drained_poll(void *opaque)
{
    Device *d = opaque;

    if (d->busy > 0) {
        d->busy--;
        aio_bh_schedule_oneshot(qemu_get_aio_context(), wake_up, NULL);
        return true;
    }
    return false;
}

static void device_drained_end(void *opaque)
{
    ((Device *)opaque)->ended++;
}

static void device_resize(void *opaque)
{
    ((Device *)opaque)->resized++;
}

static const BlockDevOps device_ops = {
    .resize_cb = device_resize,
    .drained_begin = device_drained_begin,
    .drained_poll = device_drained_poll,
    .drained_end = device_drained_end,
};

static void test_device(void)
{
    BlockDriverState *file = open_node("driver=null-co,node-name=file");
    BlockDriverState *raw = open_node("driver=raw,file=file");
    BlockBackend *blk = new_blk(raw), *of_file = new_blk(file);
    Device d = { .busy = 3 }, late = { 0 };

    blk_set_dev_ops(blk, &device_ops, &d);
    bdrv_drained_begin(file);
    g_assert_cmpint(d.begun, ==, 1);
    g_assert_cmpint(d.busy, ==, 0);
    bdrv_drained_begin(raw);
    blk_set_dev_ops(of_file, &device_ops, &late);
    g_assert_cmpint(late.begun, ==, 1);
    bdrv_drained_end(file);
    g_assert_cmpint(late.ended, ==, 1);
    g_assert_cmpint(d.ended, ==, 0);
    bdrv_drained_end(raw);
    g_assert_cmpint(d.begun, ==, 1);
    g_assert_cmpint(d.ended, ==, 1);

    /* A node that is resized below takes its filters and users along. */
    g_assert_cmpint(blk_truncate(of_file, 2 * GiB, true, PREALLOC_MODE_OFF, 0,
                                 &error_abort), ==, 0);
    g_assert_cmpint(late.resized, ==, 1);
    g_assert_cmpint(d.resized, ==, 1);
    g_assert_cmpint(blk_getlength(blk), ==, 2 * GiB);
    g_assert_cmpint(blk_truncate(blk, 1 * GiB, true, PREALLOC_MODE_OFF, 0,
                                 &error_abort), ==, 0);
    g_assert_cmpint(blk_getlength(of_file), ==, 1 * GiB);
    g_assert_cmpint(late.resized, ==, 2);
    g_assert_cmpint(d.resized, >=, 2);

    blk_set_dev_ops(blk, NULL, NULL);
    blk_set_dev_ops(of_file, NULL, NULL);
    blk_unref(blk);
    blk_unref(of_file);
    bdrv_unref(raw);
    bdrv_unref(file);
}

static void set_ret(void *opaque, int ret)
{
    *(int *)opaque = ret;
}

/* A user that has been trusted is not held back. */
static void test_no_queuing(void)
{
    BlockDriverState *bs = open_node("driver=null-co");
    BlockBackend *blk = new_blk(bs);
    int ret = -EINPROGRESS, waiting = -EINPROGRESS;

    bdrv_drained_begin(bs);
    blk_aio_flush(blk, set_ret, &waiting);
    blk_set_disable_request_queuing(blk, true);
    blk_aio_flush(blk, set_ret, &ret);
    while (aio_poll(qemu_get_aio_context(), false)) {
        /* until nothing comes of it */
    }
    g_assert_cmpint(ret, ==, 0);
    g_assert_cmpint(waiting, ==, -EINPROGRESS);
    bdrv_drained_end(bs);
    g_assert_cmpint(waiting, ==, 0);
    blk_unref(blk);
    bdrv_unref(bs);
}

/* --- errors --- */

static GString *events;

static void note_event(int event, struct json_object *qdict)
{
    json_object *data;

    g_assert(json_object_object_get_ex(qdict, "data", &data));
    g_string_append(events, json_object_to_json_string_ext(
        data, JSON_C_TO_STRING_PLAIN));
}

static void test_errors(void)
{
    static const struct {
        BlockdevOnError policy;
        BlockErrorAction eio, enospc;
    } cases[] = {
        { BLOCKDEV_ON_ERROR_REPORT, BLOCK_ERROR_ACTION_REPORT,
          BLOCK_ERROR_ACTION_REPORT },
        { BLOCKDEV_ON_ERROR_IGNORE, BLOCK_ERROR_ACTION_IGNORE,
          BLOCK_ERROR_ACTION_IGNORE },
        { BLOCKDEV_ON_ERROR_ENOSPC, BLOCK_ERROR_ACTION_REPORT,
          BLOCK_ERROR_ACTION_STOP },
        { BLOCKDEV_ON_ERROR_STOP, BLOCK_ERROR_ACTION_STOP,
          BLOCK_ERROR_ACTION_STOP },
        { BLOCKDEV_ON_ERROR_AUTO, BLOCK_ERROR_ACTION_REPORT,
          BLOCK_ERROR_ACTION_STOP },
    };
    BlockBackend *blk = new_blk(NULL);
    size_t i;

    g_assert_cmpint(blk_get_error_action(blk, true, EIO), ==,
                    BLOCK_ERROR_ACTION_REPORT);
    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        blk_set_on_error(blk, cases[i].policy, BLOCKDEV_ON_ERROR_IGNORE);
        g_assert_cmpint(blk_get_on_error(blk, true), ==, cases[i].policy);
        g_assert_cmpint(blk_get_on_error(blk, false), ==,
                        BLOCKDEV_ON_ERROR_IGNORE);
        g_assert_cmpint(blk_get_error_action(blk, true, EIO), ==,
                        cases[i].eio);
        g_assert_cmpint(blk_get_error_action(blk, true, ENOSPC), ==,
                        cases[i].enospc);
        g_assert_cmpint(blk_get_error_action(blk, false, EIO), ==,
                        BLOCK_ERROR_ACTION_IGNORE);
    }
    events = g_string_new(NULL);
    qapi_event_set_func(note_event);
    g_assert(monitor_add_blk(blk, "d", &error_abort));
    blk_iostatus_enable(blk);
    g_assert_cmpint(blk_iostatus(blk), ==, BLOCK_DEVICE_IO_STATUS_OK);
    blk_error_action(blk, BLOCK_ERROR_ACTION_REPORT, true, EIO);
    g_assert_cmpint(blk_iostatus(blk), ==, BLOCK_DEVICE_IO_STATUS_OK);
    blk_error_action(blk, BLOCK_ERROR_ACTION_STOP, false, ENOSPC);
    g_assert_cmpint(blk_iostatus(blk), ==, BLOCK_DEVICE_IO_STATUS_NOSPACE);
    g_assert_cmpstr(events->str, ==,
                    "{\"qom-path\":\"\",\"device\":\"d\",\"operation\":"
                    "\"read\",\"action\":\"report\",\"reason\":"
                    "\"Input\\/output error\"}"
                    "{\"qom-path\":\"\",\"device\":\"d\",\"operation\":"
                    "\"write\",\"action\":\"stop\",\"nospace\":true,"
                    "\"reason\":\"No space left on device\"}");
    qapi_event_set_func(NULL);
    g_string_free(events, true);
    /* The first one counts. */
    blk_error_action(blk, BLOCK_ERROR_ACTION_STOP, false, EIO);
    g_assert_cmpint(blk_iostatus(blk), ==, BLOCK_DEVICE_IO_STATUS_NOSPACE);
    blk_iostatus_reset(blk);
    g_assert_cmpint(blk_iostatus(blk), ==, BLOCK_DEVICE_IO_STATUS_OK);
    blk_unref(blk);
}

/* --- counting --- */

#define COUNTS 100000

static void *count_thread(void *opaque)
{
    BlockAcctStats *stats = opaque;
    int i;

    for (i = 0; i < COUNTS; i++) {
        BlockAcctCookie cookie;

        block_acct_start(stats, &cookie, 3, BLOCK_ACCT_WRITE);
        block_acct_done(stats, &cookie);
        block_acct_invalid(stats, BLOCK_ACCT_READ);
    }
    return NULL;
}

/* By several threads at once. */
static void test_counts(void)
{
    BlockBackend *blk = new_blk(NULL);
    BlockAcctStats stats;
    QemuThread threads[2];
    int i;

    for (i = 0; i < 2; i++) {
        qemu_thread_create(&threads[i], "count", count_thread,
                           blk_get_stats(blk), QEMU_THREAD_JOINABLE);
    }
    for (i = 0; i < 2; i++) {
        qemu_thread_join(&threads[i]);
    }
    block_acct_copy(&stats, blk_get_stats(blk));
    g_assert_cmpuint(stats.nr_ops[BLOCK_ACCT_WRITE], ==, 2 * COUNTS);
    g_assert_cmpuint(stats.nr_bytes[BLOCK_ACCT_WRITE], ==, 6 * COUNTS);
    g_assert_cmpuint(stats.invalid_ops[BLOCK_ACCT_READ], ==, 2 * COUNTS);
    g_assert_cmpuint(stats.failed_ops[BLOCK_ACCT_WRITE], ==, 0);
    blk_unref(blk);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();

    g_test_add_func("/block-backend/names", test_names);
    g_test_add_func("/block-backend/device", test_device);
    g_test_add_func("/block-backend/no-queuing", test_no_queuing);
    g_test_add_func("/block-backend/errors", test_errors);
    g_test_add_func("/block-backend/counts", test_counts);
    ret = g_test_run();

    qemu_cleanup_main_loop();
    return ret;
}
