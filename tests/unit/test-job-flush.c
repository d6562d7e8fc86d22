/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The flush with which a backup and a commit end is a write to the policy for
 * errors: the job fails, waits for its user, or tries again later.  It never
 * passes for complete before one has succeeded.
 */
#include "qemu/osdep.h"
#include "block/backup.h"
#include "block/stream.h"
#include "qapi/qapi-emit-events.h"
#include "qapi/qmp-event.h"
#include "test-job-nodes.h"
#include "test-passthrough.h"

/* The job copies to the target, or from the middle of a chain to the base. */
typedef enum { BACKUP, COMMIT } Kind;

static int errors_told;
static int failing;             /* flushes; -1: all */

/* --- a filter whose flush fails --- */

static int coroutine_fn faulty_co_pwritev_part(BlockDriverState *bs,
                                               int64_t offset, int64_t bytes,
                                               QEMUIOVector *qiov,
                                               size_t qiov_offset,
                                               BdrvRequestFlags flags)
{
    return bdrv_co_pwritev_part(bs->file, offset, bytes, qiov, qiov_offset,
                                flags);
}

static int coroutine_fn faulty_co_flush(BlockDriverState *bs)
{
    if (failing) {
        failing -= failing > 0;
        return -EIO;
    }
    return bdrv_co_flush_child(bs->file);
}

static BlockDriver bdrv_faulty = {
    .format_name = "faulty",
    .is_filter = true,
    .bdrv_open = pass_open,
    .bdrv_child_perm = bdrv_default_perms,
    .bdrv_co_getlength = pass_co_getlength,
    .bdrv_co_preadv_part = pass_co_preadv_part,
    .bdrv_co_pwritev_part = faulty_co_pwritev_part,
    .bdrv_co_flush = faulty_co_flush,
};

/* --- the job --- */

static void note_event(int event, struct json_object *qdict)
{
    errors_told += event == QAPI_EVENT_BLOCK_JOB_ERROR;
}

/* The middle has one grain. */
static void chain_setup(void)
{
    g_autofree uint8_t *data = g_malloc(STEP);

    use_vmdk();
    close_source();
    create_overlay("middle", "source");
    use_source(open_node("middle", "vmdk"));
    memset(data, 0x77, STEP);
    g_assert_cmpint(blk_pwrite(blk, 2 * STEP, STEP, data, 0), ==, 0);
    memcpy(frozen + 2 * STEP, data, STEP);
    close_source();
    create_overlay("top", "middle");
    open_chain();
    errors_told = failing = 0;
    result = 1;
    qapi_event_set_func(note_event);
}

static void chain_teardown(void)
{
    qapi_event_set_func(NULL);
    failing = 0;
    teardown();
}

static BlockJob *new_job(Kind kind, BlockdevOnError policy)
{
    g_autofree char *path = image_path("source");
    BackupJobOptions b = {
        .job_id = "job", .sync = MIRROR_SYNC_MODE_TOP, .cb = job_over,
        .on_target_error = policy,
    };
    ChainJobOptions c = {
        .job_id = "job", .cb = job_over, .on_error = policy,
        .backing_file = path, .speed = 1,
    };

    return kind == BACKUP ?
           backup_job_create(source, target, &b, &error_abort) :
           commit_job_create(source, bdrv_find_node("middle"),
                             bdrv_find_node("base"), &c, &error_abort);
}

/*
 * Start a job of which the first @count flushes at its end fail.  With its
 * limit of speed a commit sleeps when it has copied the grain; nothing but the
 * flush is left then.  The backup has nothing to copy.
 */
static BlockJob *start_failing(Kind kind, BlockdevOnError policy, int count)
{
    BlockJob *job = new_job(kind, policy);
    BlockDriverState *to = kind == BACKUP ? target : bdrv_find_node("base");
    g_autofree char *opts = g_strdup_printf("driver=faulty,file=%s",
                                            to->file->bs->node_name);
    uint64_t current = 0, total;

    bdrv_unref(bdrv_insert_node(to->file->bs,
                                qopts_parse(opts, NULL, &error_abort),
                                BDRV_O_RDWR, &error_abort));
    if (kind == BACKUP) {
        failing = count;
        job_start(&job->job);
        return job;
    }
    job_start(&job->job);
    while (current < 3 * STEP) {
        aio_poll(qemu_get_aio_context(), true);
        progress_get_snapshot(&job->job.progress, &current, &total);
    }
    failing = count;
    WITH_JOB_LOCK_GUARD() {
        block_job_set_speed_locked(job, 0, &error_abort);
    }
    return job;
}

static void assert_done(Kind kind)
{
    g_assert_cmpint(result, ==, 0);
    g_assert_true(bdrv_backing_chain_next(source) ==
                  bdrv_find_node(kind == BACKUP ? "middle" : "base"));
    assert_frozen(source);
}

static void assert_chain_kept(void)
{
    g_assert_true(bdrv_backing_chain_next(source) == bdrv_find_node("middle"));
    assert_frozen(source);
}

static void test_report(int *unused, const void *arg)
{
    start_failing(GPOINTER_TO_INT(arg), BLOCKDEV_ON_ERROR_REPORT, 1);
    wait_all(NULL);
    g_assert_cmpint(result, ==, -EIO);
    g_assert_cmpint(errors_told, ==, 1);
    assert_chain_kept();
}

static void test_stop(int *unused, const void *arg)
{
    Kind kind = GPOINTER_TO_INT(arg);

    resume_to_end(start_failing(kind, BLOCKDEV_ON_ERROR_STOP, 1));
    g_assert_cmpint(errors_told, ==, 1);
    assert_done(kind);
}

static void test_ignore(int *unused, const void *arg)
{
    Kind kind = GPOINTER_TO_INT(arg);

    start_failing(kind, BLOCKDEV_ON_ERROR_IGNORE, 2);
    wait_all(NULL);
    g_assert_cmpint(errors_told, ==, 2);
    assert_done(kind);
}

/* Each try is told of, and there is time between two; a cancel ends it. */
static void test_ignore_always(int *unused, const void *arg)
{
    BlockJob *job = start_failing(GPOINTER_TO_INT(arg),
                                  BLOCKDEV_ON_ERROR_IGNORE, -1);
    int64_t begin = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

    while (errors_told < 4) {
        aio_poll(qemu_get_aio_context(), true);
        g_assert_cmpint(result, ==, 1);
    }
    g_assert_cmpint(qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - begin, >,
                    200 * SCALE_MS);
    g_assert_cmpint(job_cancel_sync(&job->job, true), ==, -ECANCELED);
    failing = 0;
    assert_chain_kept();
}

static void add_tests(void)
{
    static const struct {
        const char *name;
        void (*fn)(int *, const void *);
    } tests[] = {
        { "report", test_report }, { "stop", test_stop },
        { "ignore", test_ignore }, { "ignore-always", test_ignore_always },
    };
    static const char *const kinds[] = { "backup", "commit" };
    size_t i, kind;

    bdrv_register(&bdrv_faulty);
    for (kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
        for (i = 0; i < ARRAY_SIZE(tests); i++) {
            g_autofree char *name = g_strdup_printf(
                "/job-flush/%s/%s", kinds[kind], tests[i].name);

            g_test_add(name, int, GINT_TO_POINTER(kind), (void *)chain_setup,
                       (void *)tests[i].fn, (void *)chain_teardown);
        }
    }
}

int main(int argc, char **argv)
{
    return job_test_main(&argc, &argv, add_tests);
}
