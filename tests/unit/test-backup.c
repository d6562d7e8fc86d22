/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The backup job, with real files: while coroutines write to the source, the
 * target becomes what the source was when the job was created.
 */
#include "qemu/osdep.h"
#include "block/backup.h"
#include "test-job-nodes.h"

static BlockJob *new_backup(MirrorSyncMode sync, BdrvDirtyBitmap *bitmap)
{
    BackupJobOptions o = {
        .job_id = "backup", .sync = sync, .bitmap = bitmap,
        .bitmap_mode = BITMAP_SYNC_MODE_ON_SUCCESS, .cb = job_over,
        .max_workers = g_rand_int_range(grand, 1, 65),
        .max_chunk = g_rand_boolean(grand) ? STEP : 0,
        .use_copy_range = g_rand_boolean(grand),
    };

    return backup_job_create(source, target, &o, &error_abort);
}

/* --- tests --- */

static void test_full(void)
{
    BlockJob *job = new_backup(MIRROR_SYNC_MODE_FULL, NULL);
    uint64_t current, total;

    progress_get_snapshot(&job->job.progress, &current, &total);
    g_assert_cmpuint(total, ==, SIZE);
    job_start(&job->job);
    wait_all(NULL);
    g_assert_cmpint(result, ==, 0);
    assert_frozen(target);
}

/* Writers that run before it is created: it shows the moment of its drain. */
static void test_load(void)
{
    int round;

    for (round = 0; round < 12; round++) {
        BlockJob *job;
        Load load = { NULL };

        result = 1;
        load_start(&load, 16, 40);
        bdrv_drained_begin(source);
        /* Nobody writes now; the user's reads would wait. */
        read_file_all("source", frozen);
        job = new_backup(MIRROR_SYNC_MODE_FULL, NULL);
        bdrv_drained_end(source);
        job_start(&job->job);
        wait_all(&load);
        g_assert_cmpint(result, ==, 0);
        assert_frozen(target);
    }
}

/* sync=none: only what is overwritten; the job ends when it is cancelled. */
static void test_none(void)
{
    BlockJob *job = new_backup(MIRROR_SYNC_MODE_NONE, NULL);
    g_autofree uint8_t *buf = g_malloc0(SIZE), *now = g_malloc0(SIZE);
    Load load = { NULL };
    int64_t i;

    job_start(&job->job);
    load_start(&load, 8, 3);
    while (load.left) {
        aio_poll(qemu_get_aio_context(), true);
    }
    g_assert_cmpint(job_cancel_sync(&job->job, true), ==, -ECANCELED);
    read_all(target, buf);
    read_all(source, now);
    for (i = 0; i < SIZE; i++) {
        if (now[i] != frozen[i]) {
            g_assert_cmpint(buf[i], ==, frozen[i]);
        }
    }
}

/* Only what the bitmap has; on success it begins anew, else it has all. */
static void test_bitmap(void)
{
    int cancel;

    for (cancel = 0; cancel < 2; cancel++) {
        BdrvDirtyBitmap *bitmap = bdrv_create_dirty_bitmap(source, STEP, "b",
                                                           &error_abort);
        g_autofree uint8_t *data = g_malloc(STEP), *buf = g_malloc(SIZE);
        BlockJob *job;

        result = 1;
        memset(data, 0x77, STEP);
        blk_pwrite(blk, 5 * STEP, STEP, data, 0);
        blk_pwrite(blk, 9 * STEP, 512, data, 0);
        read_all(source, frozen);
        blk_pwrite_zeroes(blk, 0, 512, 0);
        bdrv_reset_dirty_bitmap(bitmap, 0, STEP);
        job = new_backup(MIRROR_SYNC_MODE_INCREMENTAL, bitmap);
        blk_pwrite_zeroes(blk, 7 * STEP, 512, 0);
        blk_pwrite_zeroes(blk, 5 * STEP, STEP, 0);
        if (cancel) {
            job_lock();
            job_cancel_locked(&job->job, true);
            job_unlock();
        } else {
            job_start(&job->job);
        }
        wait_all(NULL);
        g_assert_cmpint(result, ==, cancel ? -ECANCELED : 0);
        bitmap = bdrv_find_dirty_bitmap(source, "b");
        g_assert_cmpint(bdrv_get_dirty_count(bitmap), ==,
                        (cancel ? 3 : 2) * STEP);
        g_assert_true(bdrv_dirty_bitmap_get(bitmap, 7 * STEP));
        g_assert_cmpint(bdrv_dirty_bitmap_get(bitmap, 9 * STEP), ==, cancel);
        if (!cancel) {
            read_all(target, buf);
            g_assert_cmpint(buf[0], ==, 0);
            g_assert_cmpint(memcmp(buf + 5 * STEP, frozen + 5 * STEP, STEP),
                            ==, 0);
            g_assert_cmpint(memcmp(buf + 9 * STEP, frozen + 9 * STEP, STEP),
                            ==, 0);
            g_assert_cmpint(buf[7 * STEP], ==, 0);
        }
        bdrv_release_dirty_bitmap(bitmap);
    }
}

/* Paused, resumed, its speed changed, and cancelled at random moments. */
static void test_disturbed(void)
{
    int round;

    for (round = 0; round < 20; round++) {
        BlockJob *job;
        Load load = { NULL };

        result = 1;
        read_all(source, frozen);
        job = new_backup(MIRROR_SYNC_MODE_FULL, NULL);
        load_start(&load, 4, 20);
        job_start(&job->job);
        while (result == 1) {
            JOB_LOCK_GUARD();
            switch (g_rand_int_range(grand, 0, 30)) {
            case 0:
                if (!job->job.user_paused) {
                    job_user_pause_locked(&job->job, NULL);
                }
                break;
            case 1:
                block_job_set_speed_locked(job, g_rand_int_range(grand, 1, 8) *
                                           8 * MiB, NULL);
                break;
            case 2:
                if (round & 1) {
                    job_cancel_locked(&job->job, true);
                }
                break;
            case 3:
                job_unlock();
                bdrv_drained_begin(g_rand_boolean(grand) ? source : target);
                job_lock();
                break;
            default:
                if (job->job.user_paused) {
                    job_user_resume_locked(&job->job, NULL);
                }
                break;
            }
            job_unlock();
            if (source->quiesce_counter) {
                bdrv_drained_end(source);
            }
            if (target->quiesce_counter) {
                bdrv_drained_end(target);
            }
            aio_poll(qemu_get_aio_context(), false);
            job_lock();
        }
        wait_all(&load);
        if (result == 0) {
            assert_frozen(target);
        } else {
            g_assert_cmpint(result, ==, -ECANCELED);
        }
    }
}

static void test_refused(void)
{
    BackupJobOptions o = { .job_id = "j", .sync = MIRROR_SYNC_MODE_FULL };
    BlockDriverState *small;
    Error *err = NULL;

    g_assert_null(backup_job_create(source, source, &o, &err));
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "Source and target cannot be the same");
    error_free_or_abort(&err);

    create("small", "raw", SIZE / 2);
    small = open_node("small", "raw");
    g_assert_null(backup_job_create(source, small, &o, &err));
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "Source and target image have different sizes");
    error_free_or_abort(&err);
    bdrv_unref(small);

    o.compress = true;
    g_assert_null(backup_job_create(source, target, &o, &err));
    error_free_or_abort(&err);
    o.compress = false;
    o.max_chunk = 512;
    g_assert_null(backup_job_create(source, target, &o, &err));
    error_free_or_abort(&err);
    o.max_chunk = 0;
    o.job_id = "1";
    g_assert_null(backup_job_create(source, target, &o, &err));
    error_free_or_abort(&err);
    g_assert_true(blk_bs(blk) == source);
}

static void copy_all(void)
{
    BackupJobOptions o = {
        .job_id = "backup", .sync = MIRROR_SYNC_MODE_FULL, .cb = job_over,
        .max_workers = 8,
    };

    result = 1;
    job_start(&backup_job_create(source, target, &o, &error_abort)->job);
    wait_all(NULL);
    g_assert_cmpint(result, ==, 0);
}

static void test_stored_zeroes(void)
{
    check_stored_zeroes(copy_all);
}

/*
 * sync=top is about the image that was on top when the job was created, also if
 * it has got an overlay since then.
 */
static void test_top_overlay(void)
{
    g_autofree uint8_t *data = g_malloc(STEP), *buf = g_malloc(SIZE);
    g_autofree char *path = image_path("middle");
    BlockDriverState *overlay;
    BlockJob *job;
    QOpts *opts;

    close_source();
    create_overlay("top", "source");
    use_source(open_node("top", "vmdk"));
    memset(data, 0x77, STEP);
    g_assert_cmpint(blk_pwrite(blk, 2 * STEP, STEP, data, 0), ==, 0);
    create_overlay("middle", "top");
    opts = qopts_new();
    qopts_set_str(opts, "driver", "vmdk");
    qopts_set_str(opts, "file.filename", path);
    overlay = bdrv_open(NULL, NULL, opts, BDRV_O_RDWR | BDRV_O_NO_BACKING,
                        &error_abort);

    job = new_backup(MIRROR_SYNC_MODE_TOP, NULL);
    g_assert_cmpint(bdrv_append(overlay, source, &error_abort), ==, 0);
    job_start(&job->job);
    wait_all(NULL);
    g_assert_cmpint(result, ==, 0);
    g_assert_true(blk_bs(blk) == overlay);
    read_all(target, buf);
    g_assert_cmpint(memcmp(buf + 2 * STEP, data, STEP), ==, 0);
    g_assert_true(buffer_is_zero(buf, 2 * STEP));
    bdrv_unref(overlay);
}

/* What is discarded while a backup runs is copied, and takes no room then. */
static void test_discard(void)
{
    BlockJob *job = new_backup(MIRROR_SYNC_MODE_NONE, NULL);
    int64_t before = allocated("source");
    g_autofree uint8_t *buf = g_malloc(SIZE);

    job_start(&job->job);
    g_assert_cmpint(blk_pdiscard(blk, 0, 2 * STEP), ==, 0);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 4 * STEP, 2 * STEP,
                                      BDRV_REQ_MAY_UNMAP), ==, 0);
    g_assert_cmpint(allocated("source"), <=, before - 4 * STEP);
    read_all(target, buf);
    g_assert_cmpint(memcmp(buf, frozen, 2 * STEP), ==, 0);
    g_assert_cmpint(memcmp(buf + 4 * STEP, frozen + 4 * STEP, 2 * STEP), ==,
                    0);
    g_assert_cmpint(job_cancel_sync(&job->job, true), ==, -ECANCELED);
}

#define ADD(name, fn) \
    g_test_add("/backup/" name, int, NULL, (void *)setup, (void *)fn, \
               (void *)teardown)

static void add_tests(void)
{
    ADD("full", test_full);
    ADD("load", test_load);
    ADD("none", test_none);
    ADD("bitmap", test_bitmap);
    ADD("disturbed", test_disturbed);
    ADD("refused", test_refused);
    ADD("stored-zeroes", test_stored_zeroes);
    ADD("discard", test_discard);
    g_test_add("/backup/top-overlay", int, NULL, (void *)use_vmdk,
               (void *)test_top_overlay, (void *)teardown);
    g_test_add("/backup/vmdk-native/disturbed", int, NULL,
               (void *)use_native_vmdk, (void *)test_disturbed,
               (void *)teardown);
}

int main(int argc, char **argv)
{
    return job_test_main(&argc, &argv, add_tests);
}
