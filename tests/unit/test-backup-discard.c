/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A backup that is given up, by a cancel or by break-snapshot: writes to the
 * source do not wait for a copy any more, and what they write stays, however
 * late the copy of it, or the discard of what was there, comes to its end.
 */
#include "qemu/osdep.h"
#include "block/backup.h"
#include "system/iothread.h"
#include "test-job-nodes.h"

#include <dlfcn.h>
#include <linux/falloc.h>

/* The first such call of a worker thread is held until it is let go. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum { HOLD_NONE, HOLD_WRITE, HOLD_DISCARD } wanted;
    bool held;
    off64_t offset;
    off64_t fails;              /* where a write fails, once; 0: nowhere */
} hold = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .changed = PTHREAD_COND_INITIALIZER,
};
static pthread_t homes[2];      /* threads of event loops: not held */

static void hold_here(int kind, off64_t offset)
{
    pthread_mutex_lock(&hold.lock);
    if (hold.wanted == kind && !pthread_equal(pthread_self(), homes[0]) &&
        !pthread_equal(pthread_self(), homes[1])) {
        hold.wanted = HOLD_NONE;
        hold.offset = offset;
        hold.held = true;
        while (hold.held) {
            pthread_cond_wait(&hold.changed, &hold.lock);
        }
    }
    pthread_mutex_unlock(&hold.lock);
}

/* Whether a write at @offset is the one that is to fail. */
static bool fails_here(off64_t offset)
{
    bool fails;

    pthread_mutex_lock(&hold.lock);
    fails = hold.fails && hold.fails == offset;
    if (fails) {
        hold.fails = 0;
    }
    pthread_mutex_unlock(&hold.lock);
    return fails;
}

/* In front of the C library's. */
ssize_t pwrite64(int fd, const void *buf, size_t bytes, off64_t offset)
{
    ssize_t (*next)(int, const void *, size_t, off64_t) =
        (ssize_t (*)(int, const void *, size_t, off64_t))
        dlsym(RTLD_NEXT, "pwrite64");

    hold_here(HOLD_WRITE, offset);
    if (fails_here(offset)) {
        errno = EIO;
        return -1;
    }
    return next(fd, buf, bytes, offset);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t bytes)
{
    int (*next)(int, int, off64_t, off64_t) =
        (int (*)(int, int, off64_t, off64_t))dlsym(RTLD_NEXT, "fallocate64");

    if (mode & FALLOC_FL_PUNCH_HOLE) {
        hold_here(HOLD_DISCARD, offset);
    }
    return next(fd, mode, offset, bytes);
}

static bool is_held(void)
{
    bool held;

    pthread_mutex_lock(&hold.lock);
    held = hold.held;
    pthread_mutex_unlock(&hold.lock);
    return held;
}

static void let_go(void)
{
    pthread_mutex_lock(&hold.lock);
    hold.held = false;
    hold.wanted = HOLD_NONE;
    pthread_cond_signal(&hold.changed);
    pthread_mutex_unlock(&hold.lock);
}

typedef struct {
    uint8_t *data;
    int64_t offset;
    int64_t bytes;              /* 0: STEP */
    bool done;                  /* atomic */
} NewData;

static void coroutine_fn write_entry(void *opaque)
{
    NewData *new = opaque;

    g_assert_cmpint(blk_co_pwrite(blk, new->offset, new->bytes ?: STEP,
                                  new->data, 0), ==, 0);
    qatomic_set(&new->done, true);
    aio_notify(qemu_get_aio_context());
}

static void start_write(NewData *new, int64_t offset)
{
    new->offset = offset;
    new->done = false;
    aio_co_enter(blk_get_aio_context(blk),
                 qemu_coroutine_create(write_entry, new));
}

/* Let all go on that can, for @ms milliseconds at most. */
static void run_ms(int ms, bool *until)
{
    int64_t end = g_get_monotonic_time() + ms * 1000;

    while (!qatomic_read(until) && g_get_monotonic_time() < end) {
        aio_poll(qemu_get_aio_context(), false);
    }
}

static BlockJob *start_backup(MirrorSyncMode sync, OnCbwError on_cbw_error)
{
    BackupJobOptions o = {
        .job_id = "backup", .sync = sync, .cb = job_over,
        .discard_source = true, .max_workers = 1, .max_chunk = STEP,
        .on_cbw_error = on_cbw_error,
    };
    BlockJob *job = backup_job_create(source, target, &o, &error_abort);

    job_start(&job->job);
    return job;
}

static void cancel(BlockJob *job)
{
    WITH_JOB_LOCK_GUARD() {
        job_cancel_locked(&job->job, true);
    }
}

/* Until a call is held.  False: none comes, and the test is skipped. */
static bool wait_until_held(void)
{
    int64_t end = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    while (result == 1 && !is_held() && g_get_monotonic_time() < end) {
        aio_poll(qemu_get_aio_context(), false);
    }
    if (is_held()) {
        return true;
    }
    g_test_skip("no worker thread does it: the files are in memory");
    return false;
}

static bool wait_until_held_in(BlockJob *job)
{
    bool held = wait_until_held();

    if (!held) {
        cancel(job);
        let_go();
        wait_all(NULL);
    }
    return held;
}

/* Let what is held go on, to the end of the job; then the source has @new. */
static void check_end(NewData *new, int ret)
{
    QEMU_AUTO_VFREE uint8_t *found = qemu_blockalign(source, STEP);

    let_go();
    while (!qatomic_read(&new->done) || result == 1) {
        aio_poll(qemu_get_aio_context(), true);
    }
    g_assert_cmpint(result, ==, ret);
    g_assert_cmpint(blk_pread(blk, new->offset, STEP, found, 0), ==, 0);
    g_assert_cmpint(memcmp(found, new->data, STEP), ==, 0);
}

static uint8_t *new_data(void)
{
    uint8_t *data = qemu_blockalign(source, STEP);

    memset(data, 0xee, STEP);
    return data;
}

static void test_cancelled(int *unused, const void *kind)
{
    QEMU_AUTO_VFREE uint8_t *data = new_data();
    NewData new = { .data = data };
    BlockJob *job;

    hold.wanted = GPOINTER_TO_INT(kind);
    job = start_backup(MIRROR_SYNC_MODE_FULL, ON_CBW_ERROR_BREAK_GUEST_WRITE);
    if (!wait_until_held_in(job)) {
        return;
    }
    cancel(job);
    start_write(&new, hold.offset);
    run_ms(100, &new.done);
    check_end(&new, -ECANCELED);
}

/*
 * A write waits for a copy, its own or the job's, when the job is cancelled.
 * It ends while the target still keeps the copy; the job ends later.
 */
static void test_waiting(int *unused, const void *sync_mode)
{
    MirrorSyncMode sync = GPOINTER_TO_INT(sync_mode);
    QEMU_AUTO_VFREE uint8_t *data = new_data();
    NewData new = { .data = data };
    BlockJob *job;

    hold.wanted = HOLD_WRITE;
    job = start_backup(sync, ON_CBW_ERROR_BREAK_GUEST_WRITE);
    if (sync == MIRROR_SYNC_MODE_NONE) {
        start_write(&new, STEP);
    }
    if (!wait_until_held_in(job)) {
        return;
    }
    if (sync != MIRROR_SYNC_MODE_NONE) {
        start_write(&new, hold.offset);
    }
    run_ms(100, &new.done);
    g_assert_false(qatomic_read(&new.done));
    cancel(job);
    run_ms(10000, &new.done);
    g_assert_true(qatomic_read(&new.done));
    g_assert_true(is_held());
    g_assert_cmpint(result, ==, 1);
    check_end(&new, -ECANCELED);
}

static void note_home(void *opaque)
{
    homes[1] = pthread_self();
}

/* The write and the copy are in another thread than the cancel. */
static void test_waiting_in_iothread(int *unused, const void *sync_mode)
{
    IOThread *iothread = iothread_create("io", &error_abort);
    AioContext *ctx = iothread_get_aio_context(iothread);

    aio_wait_bh_oneshot(ctx, note_home, NULL);
    blk_set_allow_aio_context_change(blk, true);
    bdrv_try_change_aio_context(source, ctx, NULL, &error_abort);
    bdrv_try_change_aio_context(target, ctx, NULL, &error_abort);
    test_waiting(unused, sync_mode);
    bdrv_try_change_aio_context(source, qemu_get_aio_context(), NULL,
                                &error_abort);
    bdrv_try_change_aio_context(target, qemu_get_aio_context(), NULL,
                                &error_abort);
    iothread_destroy(iothread);
    homes[1] = homes[0];
}

/*
 * The copy before a write elsewhere fails, and with it the snapshot.  The job
 * goes on, but discards nothing from then on; a write waits for the discard
 * that runs.
 */
static void test_broken(int *unused, const void *kind)
{
    QEMU_AUTO_VFREE uint8_t *data = new_data();
    NewData new = { .data = data };
    BlockJob *job;

    hold.wanted = GPOINTER_TO_INT(kind);
    job = start_backup(MIRROR_SYNC_MODE_FULL, ON_CBW_ERROR_BREAK_SNAPSHOT);
    if (!wait_until_held_in(job)) {
        return;
    }
    hold.fails = SIZE / 2 / STEP * STEP;
    start_write(&new, hold.fails);
    run_ms(100, &new.done);
    g_assert_cmpint(hold.fails, ==, 0);
    start_write(&new, hold.offset);
    run_ms(100, &new.done);
    check_end(&new, -EIO);
}

/*
 * The job fails while the target has the copy before a write to make, which
 * fails, too.  The write goes on; the bitmap has all of what was not copied.
 */
static void test_failed_with_bitmap(void)
{
    QEMU_AUTO_VFREE uint8_t *data = new_data();
    NewData new = { .data = data, .bytes = 4096 };
    BdrvDirtyBitmap *bitmap = bdrv_create_dirty_bitmap(source, 4096, "b",
                                                       &error_abort);
    BackupJobOptions o = {
        .job_id = "backup", .sync = MIRROR_SYNC_MODE_BITMAP, .cb = job_over,
        .bitmap = bitmap, .bitmap_mode = BITMAP_SYNC_MODE_ALWAYS,
        .max_workers = 1, .max_chunk = STEP,
    };
    BlockJob *job;

    bdrv_set_dirty_bitmap(bitmap, 4 * STEP, STEP);
    bdrv_set_dirty_bitmap(bitmap, 8 * STEP, STEP);
    job = backup_job_create(source, target, &o, &error_abort);
    hold.wanted = HOLD_WRITE;
    start_write(&new, 8 * STEP);
    if (wait_until_held()) {
        hold.fails = 4 * STEP;
        job_start(&job->job);
        run_ms(10000, &new.done);
        g_assert_true(new.done);
        g_assert_cmpint(result, ==, 1);
        hold.fails = 8 * STEP;
        let_go();
        wait_all(NULL);
        g_assert_cmpint(result, ==, -EIO);
        bitmap = bdrv_find_dirty_bitmap(source, "b");
        g_assert_cmpint(bdrv_get_dirty_count(bitmap), ==, 2 * STEP);
        g_assert_true(bdrv_dirty_bitmap_get(bitmap, 4 * STEP));
        g_assert_true(bdrv_dirty_bitmap_get(bitmap, 9 * STEP - 4096));
    } else {
        let_go();
        job_start(&job->job);
        wait_all(NULL);
    }
    bdrv_release_dirty_bitmap(bdrv_find_dirty_bitmap(source, "b"));
}

/* To the end: the target has all, the source what was written meanwhile. */
static void test_whole(void)
{
    g_autofree uint8_t *now = g_malloc(SIZE), *shadow = g_malloc0(SIZE);
    Load load = { .shadow = shadow };
    int64_t i;

    start_backup(MIRROR_SYNC_MODE_FULL, ON_CBW_ERROR_BREAK_GUEST_WRITE);
    load_start(&load, 16, 40);
    wait_all(&load);
    g_assert_cmpint(result, ==, 0);
    assert_frozen(target);
    read_all(source, now);
    for (i = 0; i < SIZE; i++) {
        if (shadow[i]) {
            g_assert_cmpint(now[i], ==, shadow[i]);
        }
    }
}

#define ADD(name, fn) \
    g_test_add("/backup-discard/" name, int, NULL, (void *)setup, \
               (void *)fn, (void *)teardown)

/* What differs: what is held, or how much the job copies. */
#define ADD_WITH(name, arg, fn) \
    g_test_add("/backup-discard/" name, int, GINT_TO_POINTER(arg), \
               (void *)setup, (void *)fn, (void *)teardown)

static void add_tests(void)
{
    homes[0] = homes[1] = pthread_self();
    ADD("whole", test_whole);
    ADD("failed-with-bitmap", test_failed_with_bitmap);
    ADD_WITH("while-it-copies", HOLD_WRITE, test_cancelled);
    ADD_WITH("while-it-discards", HOLD_DISCARD, test_cancelled);
    ADD_WITH("waiting-for-job", MIRROR_SYNC_MODE_FULL, test_waiting);
    ADD_WITH("waiting-for-own", MIRROR_SYNC_MODE_NONE, test_waiting);
    ADD_WITH("waiting-for-job-in-iothread", MIRROR_SYNC_MODE_FULL,
             test_waiting_in_iothread);
    ADD_WITH("waiting-for-own-in-iothread", MIRROR_SYNC_MODE_NONE,
             test_waiting_in_iothread);
    ADD_WITH("broken-while-it-copies", HOLD_WRITE, test_broken);
    ADD_WITH("broken-while-it-discards", HOLD_DISCARD, test_broken);
}

int main(int argc, char **argv)
{
    return job_test_main(&argc, &argv, add_tests);
}
