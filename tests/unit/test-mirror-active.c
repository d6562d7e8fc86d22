/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A mirror that writes to both, with a target that fails: the user's request
 * succeeds whatever the policy for errors is, and a target that the job says it
 * has finished is equal to the source.
 */
#include "qemu/osdep.h"
#include "../../block/mirror-int.h"
#include "qapi/qapi-emit-events.h"
#include "qapi/qmp-event.h"
#include "test-job-nodes.h"
#include "test-passthrough.h"

/* --- a filter above the target, which fails as it is told --- */

typedef enum { OP_WRITE = 1, OP_ZEROES = 2, OP_DISCARD = 4 } Op;

static unsigned failing;        /* Op */
static int fails;               /* how many have failed */
static bool slow;               /* requests take a while */
static int errors_told;         /* events */

static int coroutine_fn faulty_check(Op op)
{
    /* Looked at now: a request that is slow may fail after all have passed. */
    bool fail = failing & op;

    if (slow) {
        qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, 5 * SCALE_MS);
    }
    fails += fail;
    return fail ? -EIO : 0;
}

static int coroutine_fn faulty_co_pwritev_part(BlockDriverState *bs,
                                               int64_t offset, int64_t bytes,
                                               QEMUIOVector *qiov,
                                               size_t qiov_offset,
                                               BdrvRequestFlags flags)
{
    int ret = faulty_check(OP_WRITE);

    if (ret < 0) {
        /* What it has written of it is anyone's guess. */
        bdrv_co_pwritev_part(bs->file, offset, bytes / 2 / 512 * 512 ?: 512,
                             qiov, qiov_offset, flags);
        return ret;
    }
    return bdrv_co_pwritev_part(bs->file, offset, bytes, qiov, qiov_offset,
                                flags);
}

static int coroutine_fn faulty_co_pwrite_zeroes(BlockDriverState *bs,
                                                int64_t offset, int64_t bytes,
                                                BdrvRequestFlags flags)
{
    int ret = faulty_check(OP_ZEROES);

    return ret < 0 ? ret : bdrv_co_pwrite_zeroes(bs->file, offset, bytes,
                                                 flags);
}

static int coroutine_fn faulty_co_pdiscard(BlockDriverState *bs,
                                           int64_t offset, int64_t bytes)
{
    int ret = faulty_check(OP_DISCARD);

    return ret < 0 ? ret : bdrv_co_pdiscard(bs->file, offset, bytes);
}

static int faulty_open(BlockDriverState *bs, QOpts *options, int flags,
                       Error **errp)
{
    int ret = pass_open(bs, options, flags, errp);

    if (ret == 0) {
        bs->supported_zero_flags = BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK;
    }
    return ret;
}

static BlockDriver bdrv_faulty = {
    .format_name = "faulty",
    .is_filter = true,
    .bdrv_open = faulty_open,
    .bdrv_child_perm = bdrv_default_perms,
    .bdrv_co_getlength = pass_co_getlength,
    .bdrv_co_preadv_part = pass_co_preadv_part,
    .bdrv_co_pwritev_part = faulty_co_pwritev_part,
    .bdrv_co_pwrite_zeroes = faulty_co_pwrite_zeroes,
    .bdrv_co_pdiscard = faulty_co_pdiscard,
};

static void set_up(void)
{
    BlockDriverState *faulty;

    failing = 0;
    fails = 0;
    slow = false;
    setup();
    faulty = bdrv_open(NULL, NULL, qopts_parse("driver=faulty,file=target",
                                               NULL, &error_abort),
                       BDRV_O_RDWR | BDRV_O_UNMAP, &error_abort);
    bdrv_unref(target);
    target = faulty;
}

/* --- the job --- */

static MirrorBlockJob *start(BlockdevOnError on_error, MirrorCopyMode mode,
                             int flags)
{
    MirrorJobOptions o = {
        .job_id = "mirror", .sync = MIRROR_SYNC_MODE_FULL, .unmap = true,
        .copy_mode = mode, .flags = flags, .cb = job_over,
        .granularity = STEP, .on_target_error = on_error,
    };
    BlockJob *job = mirror_job_create(source, target, &o, &error_abort);

    job_start(&job->job);
    return container_of(job, MirrorBlockJob, common);
}

static bool is_in_status(MirrorBlockJob *s, JobStatus status)
{
    JOB_LOCK_GUARD();
    return s->common.job.status == status;
}

static void wait_status(MirrorBlockJob *s, JobStatus status)
{
    while (!is_in_status(s, status)) {
        aio_poll(qemu_get_aio_context(), true);
    }
}

static bool is_stopped(MirrorBlockJob *s)
{
    JOB_LOCK_GUARD();
    return s->common.job.user_paused;
}

/* Whether the target lacks nothing. */
static bool is_clean(MirrorBlockJob *s)
{
    return !bdrv_get_dirty_count(s->dirty_bitmap) &&
           !qatomic_read(&s->in_flight);
}

static void wait_clean(MirrorBlockJob *s)
{
    while (!is_clean(s)) {
        aio_poll(qemu_get_aio_context(), true);
    }
}

static void assert_equal(void)
{
    g_autofree uint8_t *a = g_malloc(SIZE), *b = g_malloc(SIZE);

    read_all(source, a);
    read_all(target, b);
    g_assert_cmpint(memcmp(a, b, SIZE), ==, 0);
}

static void soft_cancel(MirrorBlockJob *s)
{
    g_assert_cmpint(job_cancel_sync(&s->common.job, false), ==, 0);
    g_assert_true(blk_bs(blk) == source);
    assert_equal();
}

static void resume(MirrorBlockJob *s)
{
    WITH_JOB_LOCK_GUARD() {
        g_assert_cmpint(s->common.iostatus, ==,
                        BLOCK_DEVICE_IO_STATUS_FAILED);
        job_user_resume_locked(&s->common.job, &error_abort);
    }
}

static void complete(MirrorBlockJob *s)
{
    JOB_LOCK_GUARD();
    job_complete_locked(&s->common.job, &error_abort);
}

static void finalize(MirrorBlockJob *s)
{
    WITH_JOB_LOCK_GUARD() {
        job_finalize_locked(&s->common.job, &error_abort);
    }
    wait_all(NULL);
}

/* --- the user's requests --- */

/* One request of the kind, over parts of chunks, and whole ones. */
static int coroutine_fn co_request(Op op, int64_t offset)
{
    int64_t bytes = 3 * STEP;
    QEMU_AUTO_VFREE uint8_t *buf = qemu_blockalign(source, bytes);

    memset(buf, 0xa5, bytes);
    switch (op) {
    case OP_WRITE:
        return blk_co_pwrite(blk, offset, bytes, buf, 0);
    case OP_ZEROES:
        return blk_co_pwrite_zeroes(blk, offset, bytes, 0);
    default:
        return blk_co_pdiscard(blk, offset, bytes);
    }
}

typedef struct {
    Op op;
    int64_t offset;
    bool done;
} Request;

static void coroutine_fn request_entry(void *opaque)
{
    Request *r = opaque;

    g_assert_cmpint(co_request(r->op, r->offset), ==, 0);
    r->done = true;
}

static void request_start(Request *r, Op op)
{
    *r = (Request) { .op = op, .offset = 4 * STEP + 512 };
    qemu_coroutine_enter(qemu_coroutine_create(request_entry, r));
}

static void request(Op op)
{
    Request r;

    request_start(&r, op);
    while (!r.done) {
        aio_poll(qemu_get_aio_context(), true);
    }
}

/* All fail that the target gets of a request of this kind. */
static void request_fails(Op op)
{
    int before = fails;

    failing = op == OP_DISCARD ? OP_WRITE | OP_ZEROES : op;
    request(op);
    g_assert_cmpint(fails, >, before);
}

static const Op ops[] = { OP_WRITE, OP_ZEROES, OP_DISCARD };

/* --- errors --- */

/* An active job that is ready, and one request whose copy has failed. */
static MirrorBlockJob *start_failing(BlockdevOnError on_error, const void *op)
{
    MirrorBlockJob *s = start(on_error, MIRROR_COPY_MODE_WRITE_BLOCKING, 0);

    wait_status(s, JOB_STATUS_READY);
    request_fails(GPOINTER_TO_INT(op));
    return s;
}

static void test_report(int *unused, const void *op)
{
    start_failing(BLOCKDEV_ON_ERROR_REPORT, op);
    request(OP_WRITE);
    wait_all(NULL);
    g_assert_cmpint(result, ==, -EIO);
    g_assert_true(blk_bs(blk) == source);
    request(OP_WRITE);
}

static void test_ignore(int *unused, const void *op)
{
    MirrorBlockJob *s = start_failing(BLOCKDEV_ON_ERROR_IGNORE, op);

    g_assert_cmpint(bdrv_get_dirty_count(s->dirty_bitmap), >, 0);
    failing = 0;
    wait_clean(s);
    g_assert_true(mirror_is_actively_synced(&s->common.job));
    soft_cancel(s);
}

/* Paused, the job lets its user write; what fails meanwhile is copied later. */
static void test_stop(int *unused, const void *op)
{
    MirrorBlockJob *s = start_failing(BLOCKDEV_ON_ERROR_STOP, op);

    request_fails(OP_WRITE);
    wait_status(s, JOB_STATUS_STANDBY);
    failing = 0;
    resume(s);
    wait_clean(s);
    soft_cancel(s);
}

/* The job is over but for the user's word. */
static void check_pending(BlockdevOnError on_error, Op op, bool recovers,
                          int ret)
{
    MirrorBlockJob *s = start(on_error, MIRROR_COPY_MODE_BACKGROUND,
                              JOB_MANUAL_FINALIZE);

    wait_status(s, JOB_STATUS_READY);
    complete(s);
    wait_status(s, JOB_STATUS_PENDING);
    request_fails(op);
    if (recovers) {
        failing = 0;
    }
    finalize(s);
    g_assert_cmpint(result, ==, ret);
    g_assert_true(blk_bs(blk) == (ret ? source : target));
    failing = 0;
    if (ret == 0) {
        assert_equal();
    }
}

static void test_pending_report(int *unused, const void *op)
{
    check_pending(BLOCKDEV_ON_ERROR_REPORT, GPOINTER_TO_INT(op), true, -EIO);
}

static void test_pending_ignore(int *unused, const void *op)
{
    check_pending(BLOCKDEV_ON_ERROR_IGNORE, GPOINTER_TO_INT(op), true, 0);
}

static void test_pending_stop(int *unused, const void *op)
{
    check_pending(BLOCKDEV_ON_ERROR_STOP, GPOINTER_TO_INT(op), true, 0);
}

static void test_pending_lost(int *unused, const void *op)
{
    check_pending(BLOCKDEV_ON_ERROR_IGNORE, OP_WRITE, false, -EIO);
}

/* The target still has the request when all must be quiet. */
static void test_drain(int *unused, const void *op)
{
    MirrorBlockJob *s = start(BLOCKDEV_ON_ERROR_IGNORE,
                              MIRROR_COPY_MODE_WRITE_BLOCKING, 0);
    Request r;

    wait_status(s, JOB_STATUS_READY);
    slow = true;
    failing = OP_WRITE | OP_ZEROES;
    request_start(&r, GPOINTER_TO_INT(op));
    g_assert_false(r.done);
    bdrv_drained_begin(source);
    g_assert_true(r.done);
    g_assert_cmpint(bdrv_get_dirty_count(s->dirty_bitmap), >, 0);
    bdrv_drained_end(source);
    failing = 0;
    slow = false;
    wait_clean(s);
    soft_cancel(s);
}

static void note_error(int event, struct json_object *qdict)
{
    errors_told += event == QAPI_EVENT_BLOCK_JOB_ERROR;
}

/* Nobody wants to know of errors of what has been given up. */
static void test_cancel(int *unused, const void *op)
{
    MirrorBlockJob *s = start(BLOCKDEV_ON_ERROR_STOP,
                              MIRROR_COPY_MODE_WRITE_BLOCKING, 0);
    Request r;

    wait_status(s, JOB_STATUS_READY);
    slow = true;
    failing = OP_WRITE | OP_ZEROES;
    request_start(&r, GPOINTER_TO_INT(op));
    errors_told = 0;
    qapi_event_set_func(note_error);
    g_assert_cmpint(job_cancel_sync(&s->common.job, true), ==, -ECANCELED);
    while (!r.done) {
        aio_poll(qemu_get_aio_context(), true);
    }
    qapi_event_set_func(NULL);
    g_assert_cmpint(errors_told, ==, 0);
    g_assert_true(blk_bs(blk) == source);
    request(GPOINTER_TO_INT(op));
}

/*
 * To the end, while some requests fail.  An error of the last copy, which is
 * made when the users are quiet, ends the job, and they stay at the source.
 */
static void test_complete(int *unused, const void *op)
{
    Load load = { .shadow = frozen };
    MirrorBlockJob *s = start(BLOCKDEV_ON_ERROR_IGNORE,
                              MIRROR_COPY_MODE_WRITE_BLOCKING, 0);
    g_autofree uint8_t *buf = g_malloc(SIZE);

    wait_status(s, JOB_STATUS_READY);
    load_start(&load, 8, -1);
    failing = GPOINTER_TO_INT(op);
    complete(s);
    while (fails < 20 && result == 1) {
        aio_poll(qemu_get_aio_context(), true);
    }
    failing = 0;
    wait_all(NULL);
    load_stop(&load);
    if (result != 0) {
        g_assert_cmpint(result, ==, -EIO);
    }
    g_assert_true(blk_bs(blk) == (result ? source : target));
    read_all(blk_bs(blk), buf);
    g_assert_cmpint(memcmp(buf, load.shadow, SIZE), ==, 0);
}

/* Writers all the time: the job copies, then they write to both; some fail. */
static void test_change(int *unused, const void *policy)
{
    Load load = { .shadow = NULL };
    MirrorBlockJob *s = start(GPOINTER_TO_INT(policy),
                              MIRROR_COPY_MODE_BACKGROUND, 0);
    int i;

    load_start(&load, 8, -1);
    for (i = 0; i < 50; i++) {
        aio_poll(qemu_get_aio_context(), true);
    }
    failing = OP_WRITE | OP_ZEROES | OP_DISCARD;
    WITH_JOB_LOCK_GUARD() {
        mirror_change_locked(&s->common.job, MIRROR_COPY_MODE_WRITE_BLOCKING,
                             &error_abort);
    }
    while (fails < 20) {
        aio_poll(qemu_get_aio_context(), true);
    }
    failing = 0;
    while (!is_in_status(s, JOB_STATUS_READY) || !is_clean(s)) {
        if (is_stopped(s)) {
            /* A write that still ran then may stop it once more. */
            resume(s);
        }
        aio_poll(qemu_get_aio_context(), true);
    }
    g_assert_true(mirror_is_actively_synced(&s->common.job));
    for (i = 0; i < 50; i++) {
        aio_poll(qemu_get_aio_context(), true);
        g_assert_cmpint(bdrv_get_dirty_count(s->dirty_bitmap), ==, 0);
    }
    load_stop(&load);
    soft_cancel(s);
}

#define ADD(name, arg, fn) \
    g_test_add(name, int, GINT_TO_POINTER(arg), (void *)set_up, (void *)fn, \
               (void *)teardown)

static void add_tests(void)
{
    static const struct {
        const char *name;
        void (*fn)(int *, const void *);
    } tests[] = {
        { "report", test_report }, { "ignore", test_ignore },
        { "stop", test_stop }, { "drain", test_drain },
        { "cancel", test_cancel }, { "pending/report", test_pending_report },
        { "pending/ignore", test_pending_ignore },
        { "pending/stop", test_pending_stop },
    };
    static const char *const names[] = { "write", "zeroes", "discard" };
    size_t i, j;

    bdrv_register(&bdrv_faulty);
    for (i = 0; i < ARRAY_SIZE(tests); i++) {
        for (j = 0; j < ARRAY_SIZE(ops); j++) {
            g_autofree char *name = g_strdup_printf(
                "/mirror-active/%s/%s", tests[i].name, names[j]);

            ADD(name, ops[j], tests[i].fn);
        }
    }
    ADD("/mirror-active/pending/lost", 0, test_pending_lost);
    ADD("/mirror-active/complete/writes", OP_WRITE, test_complete);
    ADD("/mirror-active/complete/all", OP_WRITE | OP_ZEROES | OP_DISCARD,
        test_complete);
    ADD("/mirror-active/change/ignore", BLOCKDEV_ON_ERROR_IGNORE, test_change);
    ADD("/mirror-active/change/stop", BLOCKDEV_ON_ERROR_STOP, test_change);
}

int main(int argc, char **argv)
{
    return job_test_main(&argc, &argv, add_tests);
}
