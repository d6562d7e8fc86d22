/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How many copies a job has in flight: few where the thread does the copying,
 * many where it waits for the disk.  And others get turns meanwhile.
 */
#include "qemu/osdep.h"
#include "block/backup.h"
#include "block/block_int.h"
#include "block/blockjob.h"
#include "block/copy-window.h"
#include "block/mirror.h"
#include "block/stream.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"

#define DISK_SIZE (256 * MiB)
/* How long a read takes that completes within the call. */
#define READ_NS (50 * SCALE_US)

static bool sleeps;             /* the disk; else it keeps the thread busy */
static bool at_once;            /* a read completes within the call */
static int in_flight, most;     /* most: since the first reads */
static int64_t largest;         /* read; since then, too */
static int status_calls;
static int reads;
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
    reads++;
    bytes_read += bytes;
    if (bytes_read > DISK_SIZE / 2) {
        most = MAX(most, in_flight);
        largest = MAX(largest, bytes);
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

static int coroutine_fn disk_co_block_status(BlockDriverState *bs,
                                             bool want_zero, int64_t offset,
                                             int64_t bytes, int64_t *pnum,
                                             int64_t *map,
                                             BlockDriverState **file)
{
    status_calls++;
    *pnum = bytes;
    return BDRV_BLOCK_DATA;
}

/* Nobody opens it again. */
static int coroutine_fn disk_co_change_backing_file(BlockDriverState *bs,
                                                    const char *file,
                                                    const char *format)
{
    return 0;
}

static BlockDriver bdrv_disk = {
    .format_name = "disk",
    .protocol_name = "disk",
    .supports_backing = true,
    .bdrv_co_change_backing_file = disk_co_change_backing_file,
    .bdrv_open = disk_open,
    .bdrv_co_getlength = disk_co_getlength,
    .bdrv_co_preadv_part = disk_co_preadv_part,
    .bdrv_co_block_status = disk_co_block_status,
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

static BlockJob *new_mirror(BlockDriverState *source,
                            BlockDriverState *target)
{
    MirrorJobOptions options = {
        .job_id = "job", .sync = MIRROR_SYNC_MODE_FULL, .cb = job_over,
    };

    return mirror_job_create(source, target, &options, &error_abort);
}

static BlockJob *new_backup(BlockDriverState *source,
                            BlockDriverState *target, int64_t max_workers)
{
    BackupJobOptions options = {
        .job_id = "job", .sync = MIRROR_SYNC_MODE_FULL, .cb = job_over,
        .max_workers = max_workers,
    };

    return backup_job_create(source, target, &options, &error_abort);
}

static bool is_ready(BlockJob *job)
{
    JOB_LOCK_GUARD();
    return result == 1 && job_is_ready_locked(&job->job);
}

/*
 * How many reads of the job were in flight: of a backup with @max_workers, or
 * of a mirror.
 */
static int run_job(bool mirror, int64_t max_workers)
{
    BlockDriverState *source = open_node("driver=disk,node-name=source,"
                                         "read-only=on");
    BlockDriverState *target = open_node("driver=null-co,node-name=target,"
                                         "size=256M");
    BlockJob *job = mirror ? new_mirror(source, target) :
                    new_backup(source, target, max_workers);

    most = status_calls = 0;
    largest = bytes_read = 0;
    result = 1;
    job_start(&job->job);
    while (result == 1) {
        aio_poll(qemu_get_aio_context(), true);
        if (is_ready(job)) {
            job_cancel_sync(&job->job, false);
        }
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
    g_assert_cmpint(run_job(false, 0), <=, 2);
    g_assert_cmpint(run_job(true, 0), <=, 2);
    /* Others wait for one copy at most; it is data everywhere. */
    g_assert_cmpint(largest, ==, COPY_WINDOW_BYTES);
    g_assert_cmpint(status_calls, <=, 2 * DISK_SIZE / (16 * MiB));
}

static void test_sleeps(void)
{
    sleeps = true;
    g_assert_cmpint(run_job(false, 0), >=, 12);
    g_assert_cmpint(run_job(true, 0), >=, 12);
    g_assert_cmpint(largest, ==, 1 * MiB);
}

/* Of four processors, in one second, half of them or a little less busy. */
static void test_workers(void)
{
    CopyWindow w;
    int i;

    copy_window_init(&w);
    for (i = 0; i < 20; i++) {
        copy_window_judge(&w, true, 2 * NANOSECONDS_PER_SECOND - 1,
                          NANOSECONDS_PER_SECOND, 4);
        g_assert_false(w.busy);
    }
    g_assert_cmpint(w.size, ==, COPY_WINDOW_MAX);
    for (i = 0; i < 20; i++) {
        copy_window_judge(&w, true, 2 * NANOSECONDS_PER_SECOND,
                          NANOSECONDS_PER_SECOND, 4);
        g_assert_false(w.busy);
    }
    g_assert_cmpint(w.size, ==, 4);
    for (i = 0; i < 20; i++) {
        copy_window_judge(&w, false, NANOSECONDS_PER_SECOND,
                          NANOSECONDS_PER_SECOND, 4);
        g_assert_true(w.busy);
    }
    g_assert_cmpint(w.size, ==, 1);
}

/* What the user allows is the most. */
static void test_max(void)
{
    sleeps = true;
    g_assert_cmpint(run_job(false, 3), ==, 3);
    sleeps = false;
    g_assert_cmpint(run_job(false, 1), ==, 1);
}

static int turns;

/* It stays readable. */
static void count_turn(EventNotifier *e)
{
    turns++;
}

/* Of the middle one of three images into the base. */
static void run_commit(void)
{
    BlockDriverState *base = open_node("driver=null-co,node-name=base,"
                                       "size=256M");
    BlockDriverState *middle = open_node("driver=disk,node-name=middle");
    BlockDriverState *top = open_node("driver=disk,node-name=top");
    ChainJobOptions options = { .job_id = "job", .cb = job_over };
    BlockJob *job;

    bdrv_set_backing_hd(middle, base, &error_abort);
    bdrv_set_backing_hd(top, middle, &error_abort);
    job = commit_job_create(top, middle, base, &options, &error_abort);
    result = 1;
    job_start(&job->job);
    while (result == 1) {
        aio_poll(qemu_get_aio_context(), true);
    }
    g_assert_cmpint(result, ==, 0);
    bdrv_unref(top);
    bdrv_unref(middle);
    bdrv_unref(base);
}

static void run_backup(void)
{
    run_job(false, 0);
}

static void run_mirror(void)
{
    run_job(true, 0);
}

/*
 * A descriptor that is ready all the time is served while the thread copies:
 * when copies have lasted 100 us it gives way.
 */
static void do_turns(void (*run)(void))
{
    AioContext *ctx = qemu_get_aio_context();
    EventNotifier e;

    g_assert_cmpint(event_notifier_init(&e, true), ==, 0);
    aio_set_event_notifier(ctx, &e, count_turn, NULL, NULL);
    turns = 0;
    reads = 0;
    sleeps = false;
    at_once = true;
    run();
    at_once = false;
    g_test_message("%d turns, %d reads", turns, reads);
    g_assert_cmpint(turns, >=, reads / 8);
    aio_set_event_notifier(ctx, &e, NULL, NULL, NULL);
    event_notifier_cleanup(&e);
}

static void test_turns(void)
{
    do_turns(run_backup);
}

static void test_turns_mirror(void)
{
    do_turns(run_mirror);
}

static void test_turns_commit(void)
{
    do_turns(run_commit);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    bdrv_register(&bdrv_disk);
    g_test_add_func("/copy-window/busy", test_busy);
    g_test_add_func("/copy-window/sleeps", test_sleeps);
    g_test_add_func("/copy-window/workers", test_workers);
    g_test_add_func("/copy-window/max", test_max);
    g_test_add_func("/copy-window/turns", test_turns);
    g_test_add_func("/copy-window/turns-mirror", test_turns_mirror);
    g_test_add_func("/copy-window/turns-commit", test_turns_commit);
    return g_test_run();
}
