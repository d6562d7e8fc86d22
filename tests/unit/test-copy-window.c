/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How many copies a job has in flight: few where the thread does the copying,
 * many where it waits for the disk.  And others get turns meanwhile.
 */
#include "qemu/osdep.h"
#include "block/backup.h"
#include "block/block_int.h"
#include "block/blockjob.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"

#define DISK_SIZE (256 * MiB)
/* How long a read takes that completes within the call. */
#define READ_NS (50 * SCALE_US)

static bool sleeps;             /* the disk; else it keeps the thread busy */
static bool at_once;            /* a read completes within the call */
static int in_flight, most;     /* most: since the first reads */
static int64_t bytes_read;
static int result;

static int disk_open(BlockDriverState *bs, QOpts *options, int flags,
                     Error **errp)
{
    return 0;
}

static int64_t coroutine_fn disk_co_getlength(BlockDriverState *bs)
{
    return DISK_SIZE;
}

static int coroutine_fn disk_co_preadv_part(BlockDriverState *bs,
                                            int64_t offset, int64_t bytes,
                                            QEMUIOVector *qiov,
                                            size_t qiov_offset,
                                            BdrvRequestFlags flags)
{
    int i;

    in_flight++;
    bytes_read += bytes;
    if (bytes_read > DISK_SIZE / 2) {
        most = MAX(most, in_flight);
    }
    if (sleeps) {
        qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, SCALE_MS);
    } else if (at_once) {
        int64_t end = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + READ_NS;

        while (qemu_clock_get_ns(QEMU_CLOCK_REALTIME) < end) {
            /* As long as a copy in the kernel. */
        }
    } else {
        for (i = 0; i < 3; i++) {
            aio_co_schedule(qemu_get_current_aio_context(),
                            qemu_coroutine_self());
            qemu_coroutine_yield();
        }
    }
    in_flight--;
    return 0;
}

static BlockDriver bdrv_disk = {
    .format_name = "disk",
    .protocol_name = "disk",
    .bdrv_open = disk_open,
    .bdrv_co_getlength = disk_co_getlength,
    .bdrv_co_preadv_part = disk_co_preadv_part,
};

static BlockDriverState *open_node(const char *options)
{
    return bdrv_open(NULL, NULL, qopts_parse(options, NULL, &error_abort),
                     BDRV_O_RDWR, &error_abort);
}

static void job_over(void *opaque, int ret)
{
    result = ret;
}

static BlockJob *new_job(BlockDriverState *source, BlockDriverState *target,
                         int64_t max_workers)
{
    BackupJobOptions options = {
        .job_id = "job", .sync = MIRROR_SYNC_MODE_FULL, .cb = job_over,
        .max_workers = max_workers,
    };

    return backup_job_create(source, target, &options, &error_abort);
}

/* How many reads of the job were in flight. */
static int run_job(int64_t max_workers)
{
    BlockDriverState *source = open_node("driver=disk,node-name=source,"
                                         "read-only=on");
    BlockDriverState *target = open_node("driver=null-co,node-name=target,"
                                         "size=256M");
    BlockJob *job = new_job(source, target, max_workers);

    most = 0;
    bytes_read = 0;
    result = 1;
    job_start(&job->job);
    while (result == 1) {
        aio_poll(qemu_get_aio_context(), true);
    }
    g_assert_cmpint(result, ==, 0);
    g_assert_cmpint(in_flight, ==, 0);
    g_assert_cmpint(bytes_read, ==, DISK_SIZE);
    bdrv_unref(source);
    bdrv_unref(target);
    return most;
}

static void test_busy(void)
{
    sleeps = false;
    g_assert_cmpint(run_job(0), <=, 4);
}

static void test_sleeps(void)
{
    sleeps = true;
    g_assert_cmpint(run_job(0), >=, 12);
}

/* What the user allows is the most. */
static void test_max(void)
{
    sleeps = true;
    g_assert_cmpint(run_job(3), ==, 3);
    sleeps = false;
    g_assert_cmpint(run_job(1), ==, 1);
}

static int turns;

/* It stays readable. */
static void count_turn(EventNotifier *e)
{
    turns++;
}

/*
 * A descriptor that is ready all the time is served while the thread copies:
 * the job takes 50 ms at least, and gives way after 100 us and a copy.
 */
static void test_turns(void)
{
    AioContext *ctx = qemu_get_aio_context();
    EventNotifier e;

    g_assert_cmpint(event_notifier_init(&e, true), ==, 0);
    aio_set_event_notifier(ctx, &e, count_turn, NULL, NULL);
    turns = 0;
    sleeps = false;
    at_once = true;
    run_job(0);
    at_once = false;
    g_test_message("%d turns", turns);
    g_assert_cmpint(turns, >=, 50);
    aio_set_event_notifier(ctx, &e, NULL, NULL, NULL);
    event_notifier_cleanup(&e);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    bdrv_register(&bdrv_disk);
    g_test_add_func("/copy-window/busy", test_busy);
    g_test_add_func("/copy-window/sleeps", test_sleeps);
    g_test_add_func("/copy-window/max", test_max);
    g_test_add_func("/copy-window/turns", test_turns);
    return g_test_run();
}
