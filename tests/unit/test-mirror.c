/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The mirror job and the commit of an image in use, with real files: while
 * coroutines write, the target becomes and stays equal; after the switch they
 * go on writing to it.
 */
#include "qemu/osdep.h"
#include "../../block/mirror-int.h"
#include "test-job-nodes.h"

static BlockJob *new_mirror(MirrorSyncMode sync, MirrorCopyMode copy_mode,
                            int flags)
{
    MirrorJobOptions o = {
        .job_id = "mirror", .sync = sync, .copy_mode = copy_mode,
        .flags = flags, .cb = job_over, .granularity = STEP,
    };

    return mirror_job_create(source, target, &o, &error_abort);
}

static bool is_in_status(BlockJob *job, JobStatus status)
{
    JOB_LOCK_GUARD();
    return job->job.status == status;
}

static void wait_status(BlockJob *job, JobStatus status)
{
    while (!is_in_status(job, status)) {
        aio_poll(qemu_get_aio_context(), true);
    }
}

/* Until the target lacks nothing. */
static void wait_clean(BlockJob *job)
{
    MirrorBlockJob *s = container_of(job, MirrorBlockJob, common);

    while (bdrv_get_dirty_count(s->dirty_bitmap) ||
           qatomic_read(&s->in_flight)) {
        aio_poll(qemu_get_aio_context(), true);
    }
}

static void write_all(BlockDriverState *bs, const void *buf)
{
    BlockBackend *b = blk_new(qemu_get_aio_context(), BLK_PERM_WRITE,
                              BLK_PERM_ALL);

    blk_insert_bs(b, bs, &error_abort);
    g_assert_cmpint(blk_pwrite(b, 0, SIZE, buf, 0), ==, 0);
    blk_unref(b);
}

static void complete(BlockJob *job)
{
    JOB_LOCK_GUARD();
    job_complete_locked(&job->job, &error_abort);
}

/* The user of the source sees what was written, whatever is below. */
static void assert_shadow(Load *load)
{
    g_autofree uint8_t *buf = g_malloc(SIZE);
    int64_t i;

    g_assert_cmpint(blk_pread(blk, 0, SIZE, buf, 0), ==, 0);
    for (i = 0; i < SIZE; i++) {
        if (buf[i] != load->shadow[i]) {
            g_error("byte %" PRId64 " is %d, not %d", i, buf[i],
                    load->shadow[i]);
        }
    }
}

/* To the end with the switch, with writers all the time. */
static void do_pivot(MirrorCopyMode copy_mode, int flags)
{
    Load load = { .shadow = frozen };
    BlockJob *job = new_mirror(MIRROR_SYNC_MODE_FULL, copy_mode, flags);

    load_start(&load, 8, -1);
    job_start(&job->job);
    wait_status(job, JOB_STATUS_READY);
    complete(job);
    if (flags & JOB_MANUAL_FINALIZE) {
        int i;

        wait_status(job, JOB_STATUS_PENDING);
        for (i = 0; i < 50; i++) {
            aio_poll(qemu_get_aio_context(), true);
        }
        g_assert_true(blk_bs(blk) != target);
        job_lock();
        job_finalize_locked(&job->job, &error_abort);
        job_unlock();
    }
    wait_all(NULL);
    g_assert_cmpint(result, ==, 0);
    g_assert_true(blk_bs(blk) == target);
    load_stop(&load);
    assert_shadow(&load);
}

static void test_background(void)
{
    do_pivot(MIRROR_COPY_MODE_BACKGROUND, 0);
}

static void test_active(void)
{
    do_pivot(MIRROR_COPY_MODE_WRITE_BLOCKING, 0);
}

static void test_finalize(void)
{
    do_pivot(MIRROR_COPY_MODE_BACKGROUND, JOB_MANUAL_FINALIZE);
}

/* A soft cancel when it is READY: the target is whole, nobody moves. */
static void test_soft_cancel(void)
{
    Load load = { .shadow = frozen };
    BlockJob *job = new_mirror(MIRROR_SYNC_MODE_FULL,
                               MIRROR_COPY_MODE_BACKGROUND, 0);

    load_start(&load, 8, -1);
    job_start(&job->job);
    wait_status(job, JOB_STATUS_READY);
    load_stop(&load);
    g_assert_cmpint(job_cancel_sync(&job->job, false), ==, 0);
    g_assert_cmpint(result, ==, 0);
    g_assert_true(blk_bs(blk) == source);
    assert_frozen(source);
    assert_frozen(target);
}

/* Discards, too, all the time: it ends, and both are equal. */
static void test_discard(void)
{
    Load load = { .shadow = NULL };
    g_autofree uint8_t *a = g_malloc(SIZE), *b = g_malloc(SIZE);
    BlockJob *job = new_mirror(MIRROR_SYNC_MODE_FULL,
                               MIRROR_COPY_MODE_WRITE_BLOCKING, 0);
    MirrorBlockJob *s = container_of(job, MirrorBlockJob, common);
    int i;

    job_start(&job->job);
    wait_status(job, JOB_STATUS_READY);
    load_start(&load, 8, -1);
    for (i = 0; i < 200; i++) {
        aio_poll(qemu_get_aio_context(), true);
        g_assert_cmpint(bdrv_get_dirty_count(s->dirty_bitmap), ==, 0);
    }
    load_stop(&load);
    g_assert_cmpint(job_cancel_sync(&job->job, false), ==, 0);
    read_all(source, a);
    read_all(target, b);
    g_assert_cmpint(memcmp(a, b, SIZE), ==, 0);
}

/*
 * The user says that the target reads as zeroes: none are written, but where
 * data were before.  (Here it is a lie, which shows where nothing is written.)
 */
static void check_target_is_zero(MirrorCopyMode copy_mode)
{
    MirrorJobOptions o = {
        .job_id = "mirror", .sync = MIRROR_SYNC_MODE_FULL, .unmap = true,
        .copy_mode = copy_mode, .cb = job_over, .granularity = STEP,
        .target_is_zero = true,
    };
    g_autofree uint8_t *buf = g_malloc(SIZE), *want = g_malloc(SIZE);
    BlockJob *job;
    int64_t i;

    memset(buf, 0x55, SIZE);
    write_all(target, buf);
    read_all(source, want);
    job = mirror_job_create(source, target, &o, &error_abort);
    job_start(&job->job);
    wait_status(job, JOB_STATUS_READY);
    /* Data where there were none, zeroes over them, and over other data. */
    g_assert_cmpint(blk_pwrite(blk, 3 * STEP, STEP, buf, 0), ==, 0);
    wait_clean(job);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 3 * STEP, STEP, 0), ==, 0);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 4 * STEP, STEP, 0), ==, 0);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 7 * STEP, STEP, 0), ==, 0);
    wait_clean(job);
    g_assert_cmpint(job_cancel_sync(&job->job, false), ==, 0);
    read_all(target, buf);
    for (i = 0; i + STEP <= SIZE; i += STEP) {
        if (i == 3 * STEP || i == 4 * STEP) {
            g_assert_true(buffer_is_zero(buf + i, STEP));
        } else if (i / STEP % 4 == 3) {
            /* A hole of the source. */
            g_assert_cmpint(buf[i], ==, 0x55);
        } else {
            g_assert_cmpint(memcmp(buf + i, want + i, STEP), ==, 0);
        }
    }
}

static void copy_until_ready(void)
{
    BlockJob *job = new_mirror(MIRROR_SYNC_MODE_FULL,
                               MIRROR_COPY_MODE_BACKGROUND, 0);

    job_start(&job->job);
    wait_status(job, JOB_STATUS_READY);
    g_assert_cmpint(job_cancel_sync(&job->job, false), ==, 0);
}

static void test_stored_zeroes(void)
{
    check_stored_zeroes(copy_until_ready);
}

static void test_target_is_zero(void)
{
    check_target_is_zero(MIRROR_COPY_MODE_BACKGROUND);
}

static void test_target_is_zero_active(void)
{
    check_target_is_zero(MIRROR_COPY_MODE_WRITE_BLOCKING);
}

/* sync=none: what is written from now on. */
static void test_none(void)
{
    BlockJob *job = new_mirror(MIRROR_SYNC_MODE_NONE,
                               MIRROR_COPY_MODE_BACKGROUND, 0);
    g_autofree uint8_t *buf = g_malloc(SIZE);
    uint8_t data[512];
    int64_t i;

    job_start(&job->job);
    memset(data, 0x42, sizeof(data));
    g_assert_cmpint(blk_pwrite(blk, 5 * STEP, 512, data, 0), ==, 0);
    wait_status(job, JOB_STATUS_READY);
    g_assert_cmpint(job_cancel_sync(&job->job, false), ==, 0);
    read_all(target, buf);
    for (i = 0; i < SIZE; i++) {
        bool copied = i / STEP == 5;
        uint8_t want = i / 512 == 5 * STEP / 512 ? 0x42 :
                       copied ? frozen[i] : 0;

        g_assert_cmpint(buf[i], ==, want);
    }
}

/* Paused, resumed, drained and cancelled at random moments. */
static void test_disturbed(void)
{
    int round;

    for (round = 0; round < 20; round++) {
        Load load = { .shadow = frozen };
        BlockDriverState *old = blk_bs(blk);
        BlockDriverState *new = old == source ? target : source;
        MirrorJobOptions o = {
            .job_id = "mirror", .sync = MIRROR_SYNC_MODE_FULL,
            .copy_mode = g_rand_int_range(grand, 0, 2), .cb = job_over,
            .granularity = STEP,
        };
        BlockJob *job = mirror_job_create(old, new, &o, &error_abort);

        result = 1;
        load_start(&load, 4, -1);
        job_start(&job->job);
        while (result == 1) {
            BlockDriverState *drained = NULL;

            job_lock();
            switch (g_rand_int_range(grand, 0, 60)) {
            case 0:
                if (!job->job.user_paused) {
                    job_user_pause_locked(&job->job, NULL);
                }
                break;
            case 1:
                drained = g_rand_boolean(grand) ? source : target;
                break;
            case 2:
                if (round & 1) {
                    job_cancel_locked(&job->job, g_rand_boolean(grand));
                }
                break;
            case 3:
                job_complete_locked(&job->job, NULL);
                break;
            default:
                if (job->job.user_paused) {
                    job_user_resume_locked(&job->job, NULL);
                }
                break;
            }
            job_unlock();
            if (drained) {
                bdrv_drained_begin(drained);
                bdrv_drained_end(drained);
            }
            if (result == 1) {
                aio_poll(qemu_get_aio_context(), false);
            }
        }
        load_stop(&load);
        assert_shadow(&load);
    }
}

/* --- commit of an image in use --- */

/* base <- middle <- top, written all the time; all of it goes into base. */
static void test_commit(void)
{
    Load load = { .shadow = NULL };
    MirrorJobOptions o = { .job_id = "commit", .cb = job_over };
    BlockDriverState *base;
    BlockJob *job;

    close_source();
    create_overlay("middle", "source");
    create_overlay("top", "middle");
    open_chain();
    base = bdrv_find_node("base");
    g_assert_nonnull(base);
    load.shadow = frozen;
    load_start(&load, 8, 30);
    while (load.left) {
        aio_poll(qemu_get_aio_context(), true);
    }
    load_start(&load, 8, -1);

    job = commit_active_job_create(source, base, &o, &error_abort);
    job_start(&job->job);
    wait_status(job, JOB_STATUS_READY);
    complete(job);
    wait_all(NULL);
    g_assert_cmpint(result, ==, 0);
    g_assert_true(blk_bs(blk) == base);
    load_stop(&load);
    assert_shadow(&load);
}

static void test_refused(void)
{
    MirrorJobOptions o = { .job_id = "j", .sync = MIRROR_SYNC_MODE_FULL };
    BlockDriverState *small;
    Error *err = NULL;

    g_assert_null(mirror_job_create(source, source, &o, &err));
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "Can't mirror node into itself");
    error_free_or_abort(&err);
    create("small", "raw", SIZE / 2);
    small = open_node("small", "raw");
    g_assert_null(mirror_job_create(source, small, &o, &err));
    error_free_or_abort(&err);
    bdrv_unref(small);
    o.job_id = "1";
    g_assert_null(mirror_job_create(source, target, &o, &err));
    error_free_or_abort(&err);
    o.job_id = "j";
    o.speed = -1;
    g_assert_null(mirror_job_create(source, target, &o, &err));
    error_free_or_abort(&err);
    g_assert_true(blk_bs(blk) == source);
}

/* --- errors of the target --- */

/* The target, behind a filter that fails each @what, or the first of them. */
static BlockDriverState *open_faulty(const char *what, bool once)
{
    g_autofree char *opts = g_strdup_printf(
        "driver=blkdebug,node-name=faulty,image=target,"
        "inject-error.0.event=none,inject-error.0.iotype=%s,"
        "inject-error.0.once=%s", what, once ? "on" : "off");

    return bdrv_open(NULL, NULL, qopts_parse(opts, NULL, &error_abort),
                     BDRV_O_RDWR, &error_abort);
}

static BlockJob *start_faulty(BlockDriverState *faulty, MirrorSyncMode sync,
                              BlockdevOnError on_error, int flags)
{
    MirrorJobOptions o = {
        .job_id = "mirror", .sync = sync, .flags = flags, .cb = job_over,
        .granularity = STEP, .on_target_error = on_error,
    };
    BlockJob *job = mirror_job_create(source, faulty, &o, &error_abort);

    job_start(&job->job);
    return job;
}

/* Not to let others run, which is a sleep, too. */
static bool sleeps_for_long(Job *job)
{
    return job->sleep_timer.expire_time >
           qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + 20 * SCALE_MS;
}

/* It is not READY, and waits before it tries again what fails. */
static void check_ignored(BlockDriverState *faulty)
{
    BlockJob *job = start_faulty(faulty, MIRROR_SYNC_MODE_FULL,
                                 BLOCKDEV_ON_ERROR_IGNORE, 0);
    int polls = 0;

    while (!sleeps_for_long(&job->job)) {
        aio_poll(qemu_get_aio_context(), true);
        g_assert_cmpint(++polls, <, 5000);
    }
    g_assert_true(is_in_status(job, JOB_STATUS_RUNNING));
    g_assert_cmpint(job_cancel_sync(&job->job, true), ==, -ECANCELED);
    g_assert_true(blk_bs(blk) == source);
    bdrv_unref(faulty);
}

static void test_flush_ignored(void)
{
    check_ignored(open_faulty("flush", false));
}

static void test_write_ignored(void)
{
    check_ignored(open_faulty("write", false));
}

static void test_flush_once(void)
{
    BlockDriverState *faulty = open_faulty("flush", true);
    BlockJob *job = start_faulty(faulty, MIRROR_SYNC_MODE_FULL,
                                 BLOCKDEV_ON_ERROR_IGNORE, 0);

    wait_status(job, JOB_STATUS_READY);
    g_assert_cmpint(job_cancel_sync(&job->job, false), ==, 0);
    assert_frozen(target);
    bdrv_unref(faulty);
}

static void test_flush_stops(void)
{
    BlockDriverState *faulty = open_faulty("flush", true);
    BlockJob *job = start_faulty(faulty, MIRROR_SYNC_MODE_FULL,
                                 BLOCKDEV_ON_ERROR_STOP, 0);

    wait_status(job, JOB_STATUS_PAUSED);
    WITH_JOB_LOCK_GUARD() {
        g_assert_cmpint(job->iostatus, ==, BLOCK_DEVICE_IO_STATUS_FAILED);
        job_user_resume_locked(&job->job, &error_abort);
    }
    wait_status(job, JOB_STATUS_READY);
    g_assert_cmpint(job_cancel_sync(&job->job, false), ==, 0);
    assert_frozen(target);
    bdrv_unref(faulty);
}

static void finalize(BlockJob *job)
{
    wait_status(job, JOB_STATUS_PENDING);
    WITH_JOB_LOCK_GUARD() {
        job_finalize_locked(&job->job, &error_abort);
    }
    wait_all(NULL);
}

/*
 * A write when the job has ended, but not its user's waiting; then @what of the
 * target fails.  Nobody goes over to a target that may lack it.
 */
static void do_final(const char *what)
{
    BlockDriverState *faulty = open_faulty(what, false);
    BlockJob *job = start_faulty(faulty, MIRROR_SYNC_MODE_NONE,
                                 BLOCKDEV_ON_ERROR_IGNORE,
                                 JOB_MANUAL_FINALIZE);
    uint8_t data[512] = { 0x42 };

    wait_status(job, JOB_STATUS_READY);
    complete(job);
    wait_status(job, JOB_STATUS_PENDING);
    g_assert_cmpint(blk_pwrite(blk, 0, sizeof(data), data, 0), ==, 0);
    finalize(job);
    g_assert_cmpint(result, ==, -EIO);
    g_assert_true(blk_bs(blk) == source);
    bdrv_unref(faulty);
}

static void test_final_write(void)
{
    do_final("write");
}

static void test_final_flush(void)
{
    do_final("flush");
}

/* Somebody at the target does not share what the source's user needs. */
static void test_pivot_refused(void)
{
    BlockBackend *other = blk_new(qemu_get_aio_context(), 0,
                                  BLK_PERM_ALL & ~BLK_PERM_CONSISTENT_READ);
    BlockJob *job = new_mirror(MIRROR_SYNC_MODE_FULL,
                               MIRROR_COPY_MODE_BACKGROUND,
                               JOB_MANUAL_FINALIZE);

    job_start(&job->job);
    wait_status(job, JOB_STATUS_READY);
    complete(job);
    wait_status(job, JOB_STATUS_PENDING);
    blk_insert_bs(other, target, &error_abort);
    finalize(job);
    g_assert_cmpint(result, ==, -EPERM);
    g_assert_true(blk_bs(blk) == source);
    blk_unref(other);
    assert_frozen(source);
    assert_frozen(target);
}

/* What was to be replaced shows something else when the time has come. */
static void test_replaces_other(void)
{
    MirrorJobOptions o = {
        .job_id = "mirror", .sync = MIRROR_SYNC_MODE_FULL, .cb = job_over,
        .replaces = "source",
    };
    BlockDriverState *filter, *other;
    BlockJob *job;

    blk_unref(blk);
    filter = bdrv_open(NULL, NULL, qopts_parse(
        "driver=copy-on-read,node-name=filter,file=source", NULL,
        &error_abort), BDRV_O_RDWR, &error_abort);
    blk = blk_new(qemu_get_aio_context(),
                  BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE, BLK_PERM_ALL);
    blk_insert_bs(blk, filter, &error_abort);
    create("middle", "raw", SIZE);
    other = open_node("middle", "raw");

    job = mirror_job_create(filter, target, &o, &error_abort);
    job_start(&job->job);
    wait_status(job, JOB_STATUS_READY);
    g_assert_cmpint(bdrv_replace_child_bs(filter->file, other, &error_abort),
                    ==, 0);
    complete(job);
    wait_all(NULL);
    g_assert_cmpint(result, ==, -EPERM);
    g_assert_true(blk_bs(blk) == filter && filter->file->bs == other);
    bdrv_unref(filter);
    bdrv_unref(other);
}

#define ADD(name, fn) \
    g_test_add("/mirror/" name, int, NULL, (void *)setup, (void *)fn, \
               (void *)teardown)

static void add_tests(void)
{
    ADD("background", test_background);
    ADD("active", test_active);
    ADD("finalize", test_finalize);
    ADD("soft-cancel", test_soft_cancel);
    ADD("discard", test_discard);
    ADD("none", test_none);
    ADD("stored-zeroes", test_stored_zeroes);
    ADD("target-is-zero", test_target_is_zero);
    ADD("target-is-zero-active", test_target_is_zero_active);
    ADD("disturbed", test_disturbed);
    ADD("refused", test_refused);
    ADD("flush/ignored", test_flush_ignored);
    ADD("write/ignored", test_write_ignored);
    ADD("flush/once", test_flush_once);
    ADD("flush/stops", test_flush_stops);
    ADD("final/write", test_final_write);
    ADD("final/flush", test_final_flush);
    ADD("pivot-refused", test_pivot_refused);
    ADD("replaces-other", test_replaces_other);
    g_test_add("/mirror/commit", int, NULL, (void *)use_vmdk,
               (void *)test_commit, (void *)teardown);
    g_test_add("/mirror/vmdk-native/disturbed", int, NULL,
               (void *)use_native_vmdk, (void *)test_disturbed,
               (void *)teardown);
}

int main(int argc, char **argv)
{
    return job_test_main(&argc, &argv, add_tests);
}
