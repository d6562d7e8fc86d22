/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A backup that discards what it has copied, and is cancelled: what is written
 * to the source afterwards stays, however late the copy of it, or the discard
 * of what was there, comes to its end.
 */
#include "qemu/osdep.h"
#include "block/backup.h"
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
} hold = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .changed = PTHREAD_COND_INITIALIZER,
};
static pthread_t home;

static void hold_here(int kind, off64_t offset)
{
    pthread_mutex_lock(&hold.lock);
    if (hold.wanted == kind && !pthread_equal(pthread_self(), home)) {
        hold.wanted = HOLD_NONE;
        hold.offset = offset;
        hold.held = true;
        while (hold.held) {
            pthread_cond_wait(&hold.changed, &hold.lock);
        }
    }
    pthread_mutex_unlock(&hold.lock);
}

/* In front of the C library's. */
ssize_t pwrite64(int fd, const void *buf, size_t bytes, off64_t offset)
{
    ssize_t (*next)(int, const void *, size_t, off64_t) =
        (ssize_t (*)(int, const void *, size_t, off64_t))
        dlsym(RTLD_NEXT, "pwrite64");

    hold_here(HOLD_WRITE, offset);
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
    bool done;
} NewData;

static void coroutine_fn write_entry(void *opaque)
{
    NewData *new = opaque;

    g_assert_cmpint(blk_co_pwrite(blk, hold.offset, STEP, new->data, 0),
                    ==, 0);
    new->done = true;
}

/* Let all go on that can, for a time. */
static void run_for_a_while(bool *until)
{
    int64_t end = g_get_monotonic_time() + 100 * 1000;

    while (!*until && g_get_monotonic_time() < end) {
        aio_poll(qemu_get_aio_context(), false);
    }
}

static BlockJob *start_backup(void)
{
    BackupJobOptions o = {
        .job_id = "backup", .sync = MIRROR_SYNC_MODE_FULL, .cb = job_over,
        .discard_source = true, .max_workers = 1, .max_chunk = STEP,
    };
    BlockJob *job = backup_job_create(source, target, &o, &error_abort);

    job_start(&job->job);
    return job;
}

static void check_new_data(int kind)
{
    QEMU_AUTO_VFREE uint8_t *data = qemu_blockalign(source, STEP);
    QEMU_AUTO_VFREE uint8_t *found = qemu_blockalign(source, STEP);
    NewData new = { .data = data };
    BlockJob *job;

    memset(data, 0xee, STEP);
    hold.wanted = kind;
    job = start_backup();
    while (result == 1 && !is_held()) {
        aio_poll(qemu_get_aio_context(), false);
    }
    if (!is_held()) {
        let_go();
        g_test_skip("no worker thread does it: the files are in memory");
        return;
    }
    WITH_JOB_LOCK_GUARD() {
        job_cancel_locked(&job->job, true);
    }
    qemu_coroutine_enter(qemu_coroutine_create(write_entry, &new));
    run_for_a_while(&new.done);
    let_go();
    while (!new.done || result == 1) {
        aio_poll(qemu_get_aio_context(), true);
    }
    g_assert_cmpint(result, ==, -ECANCELED);
    g_assert_cmpint(blk_pread(blk, hold.offset, STEP, found, 0), ==, 0);
    g_assert_cmpint(memcmp(found, data, STEP), ==, 0);
}

static void test_while_it_copies(void)
{
    check_new_data(HOLD_WRITE);
}

static void test_while_it_discards(void)
{
    check_new_data(HOLD_DISCARD);
}

/* To the end: the target has all, the source what was written meanwhile. */
static void test_whole(void)
{
    g_autofree uint8_t *now = g_malloc(SIZE), *shadow = g_malloc0(SIZE);
    Load load = { .shadow = shadow };
    int64_t i;

    start_backup();
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

static void add_tests(void)
{
    home = pthread_self();
    ADD("whole", test_whole);
    ADD("while-it-copies", test_while_it_copies);
    ADD("while-it-discards", test_while_it_discards);
}

int main(int argc, char **argv)
{
    return job_test_main(&argc, &argv, add_tests);
}
