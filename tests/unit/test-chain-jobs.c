/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stream, and the commit of images that are not in use, with real VMDK files:
 * base <- middle <- top, whose user writes all the time.
 */
#include "qemu/osdep.h"
#include "block/backup.h"
#include "block/mirror.h"
#include "block/stream.h"
#include "test-job-nodes.h"

static Load load;

/* Something in each of the three, and writers at the top. */
static void chain_setup(void)
{
    use_vmdk();
    close_source();
    create_overlay("middle", "source");
    load = (Load) { .shadow = frozen };
    /* The middle is at the top for a while. */
    use_source(open_node("middle", "vmdk"));
    load_start(&load, 8, 20);
    while (load.left) {
        aio_poll(qemu_get_aio_context(), true);
    }
    close_source();
    create_overlay("top", "middle");
    open_chain();
    load_start(&load, 8, 20);
    while (load.left) {
        aio_poll(qemu_get_aio_context(), true);
    }
    result = 1;
}

static void assert_shadow(void)
{
    g_autofree uint8_t *buf = g_malloc(SIZE);

    g_assert_cmpint(blk_pread(blk, 0, SIZE, buf, 0), ==, 0);
    g_assert_cmpint(memcmp(buf, load.shadow, SIZE), ==, 0);
}

/* Closed, and opened by what the headers say: @depth images below the top. */
static void assert_reopened(int depth)
{
    BlockDriverState *bs;
    int n = 0;

    close_source();
    use_source(open_node("top", "vmdk"));
    bs = source;
    while ((bs = bdrv_backing_chain_next(bs))) {
        n++;
    }
    g_assert_cmpint(n, ==, depth);
    assert_shadow();
}

static void run_job(BlockJob *job)
{
    load_start(&load, 8, -1);
    job_start(&job->job);
    wait_all(NULL);
    g_assert_cmpint(result, ==, 0);
    load_stop(&load);
    assert_shadow();
}

static const ChainJobOptions options = { .job_id = "job", .cb = job_over };

static void test_stream_all(void)
{
    run_job(stream_job_create(source, NULL, &options, &error_abort));
    g_assert_null(source->backing);
    assert_reopened(0);
}

static void test_stream_base(void)
{
    BlockDriverState *base = bdrv_find_node("base");

    run_job(stream_job_create(source, base, &options, &error_abort));
    g_assert_true(bdrv_backing_chain_next(source) == base);
    g_assert_null(bdrv_find_node("middle"));
    assert_reopened(1);
}

typedef struct {
    BlockDriverState *bs;
    int64_t offset;
    int ret;
} IsAllocated;

static void coroutine_fn is_allocated_entry(void *opaque)
{
    IsAllocated *a = opaque;
    int64_t pnum;

    a->ret = bdrv_co_is_allocated(a->bs, a->offset, STEP, &pnum);
}

static int is_allocated(BlockDriverState *bs, int64_t offset)
{
    IsAllocated a = { bs, offset, -1 };

    qemu_coroutine_enter(qemu_coroutine_create(is_allocated_entry, &a));
    while (a.ret < 0) {
        aio_poll(qemu_get_aio_context(), true);
    }
    return a.ret;
}

/* While a stream runs, its filter copies what users read. */
static void check_filter(BlockDriverState *base, int copied)
{
    BlockDriverState *top = source;
    ChainJobOptions o = options;
    g_autofree uint8_t *buf = g_malloc(STEP);
    BlockJob *job;
    int64_t i;

    o.filter_node_name = "flt";
    job = stream_job_create(source, base, &o, &error_abort);
    g_assert_true(blk_bs(blk) == bdrv_find_node("flt"));
    g_assert_true(bdrv_skip_filters(blk_bs(blk)) == top);
    for (i = 0; i + STEP <= SIZE; i += STEP) {
        if (!is_allocated(top, i) && !is_allocated(bdrv_find_node("middle"),
                                                   i) &&
            is_allocated(bdrv_find_node("base"), i)) {
            break;
        }
    }
    g_assert_cmpint(i + STEP, <=, SIZE);
    g_assert_cmpint(blk_pread(blk, i, STEP, buf, 0), ==, 0);
    g_assert_cmpint(memcmp(buf, load.shadow + i, STEP), ==, 0);
    g_assert_cmpint(is_allocated(top, i), ==, copied);
    cancel_unstarted(job);
    g_assert_true(blk_bs(blk) == top);
    g_assert_null(bdrv_find_node("flt"));
    assert_shadow();
}

static void test_filter(void)
{
    check_filter(bdrv_find_node("base"), 0);
    check_filter(NULL, 1);
    assert_reopened(2);
}

static void test_commit(void)
{
    BlockDriverState *base = bdrv_find_node("base");

    run_job(commit_job_create(source, bdrv_find_node("middle"), base,
                              &options, &error_abort));
    g_assert_true(bdrv_backing_chain_next(source) == base);
    g_assert_true(bdrv_is_read_only(base));
    g_assert_null(bdrv_find_node("middle"));
    assert_reopened(1);
}

/* Cancelled: the chain is as it was, and nothing is frozen. */
static void test_cancel(void)
{
    int round;

    for (round = 0; round < 6; round++) {
        BlockDriverState *base = bdrv_find_node("base");
        BlockDriverState *middle = bdrv_find_node("middle");
        ChainJobOptions o = options;
        BlockJob *job;

        o.speed = 1 * MiB;
        result = 1;
        job = round & 1 ?
              stream_job_create(source, base, &o, &error_abort) :
              commit_job_create(source, middle, base, &o, &error_abort);
        if (round > 1) {
            load_start(&load, 4, -1);
            job_start(&job->job);
            while (load.next < 4 || g_test_rand_int_range(0, 20)) {
                aio_poll(qemu_get_aio_context(), true);
            }
            load_stop(&load);
            g_assert_cmpint(job_cancel_sync(&job->job, true), ==, -ECANCELED);
        } else {
            cancel_unstarted(job);
        }
        g_assert_cmpint(result, ==, -ECANCELED);
        g_assert_true(bdrv_backing_chain_next(source) == middle);
        g_assert_true(bdrv_backing_chain_next(middle) == base);
        g_assert_false(bdrv_is_backing_chain_frozen(source, NULL, NULL));
        g_assert_true(bdrv_is_read_only(base));
        assert_shadow();
    }
    assert_reopened(2);
}

static void test_refused(void)
{
    BlockDriverState *base = bdrv_find_node("base");
    Error *err = NULL;
    ChainJobOptions o = options;
    BlockJob *job;

    g_assert_null(commit_job_create(source, target, base, &options, &err));
    error_free_or_abort(&err);
    o.job_id = "1";
    g_assert_null(stream_job_create(source, NULL, &o, &err));
    error_free_or_abort(&err);
    g_assert_null(commit_job_create(source, bdrv_find_node("middle"), base,
                                    &o, &err));
    error_free_or_abort(&err);
    g_assert_true(bdrv_is_read_only(base));

    /* One at a time. */
    o.job_id = "other";
    job = stream_job_create(source, base, &options, &error_abort);
    g_assert_null(stream_job_create(source, base, &o, &err));
    error_free_or_abort(&err);
    cancel_unstarted(job);
    assert_reopened(2);
}

static void assert_refused(BlockJob *job, Error **err, const char *message)
{
    g_assert_null(job);
    g_assert_cmpstr(error_get_pretty(*err), ==, message);
    error_free_or_abort(err);
}

/* Two jobs of which one would take out a link that the other relies on. */
static void test_overlap(void)
{
    BlockDriverState *base = bdrv_find_node("base");
    BlockDriverState *middle = bdrv_find_node("middle");
    MirrorJobOptions m = { .job_id = "active", .cb = job_over };
    ChainJobOptions o = options;
    Error *err = NULL;
    BlockJob *job;

    o.job_id = "other";
    job = stream_job_create(middle, NULL, &o, &error_abort);
    assert_refused(commit_active_job_create(source, base, &m, &err), &err,
                   "Cannot change 'backing' link from 'middle' to 'base'");
    cancel_unstarted(job);

    job = commit_active_job_create(source, base, &m, &error_abort);
    assert_refused(stream_job_create(middle, NULL, &o, &err), &err,
                   "Node 'middle' is busy: block device is in use by block "
                   "job: commit");
    cancel_unstarted(job);

    g_assert_false(bdrv_is_backing_chain_frozen(source, NULL, NULL));
    g_assert_true(bdrv_is_read_only(base));
    assert_reopened(2);
}

/* --- errors --- */

/* The images are those that they were, in the headers, too. */
static void assert_unchanged(BlockDriverState *fault)
{
    g_assert_cmpint(result, ==, -EIO);
    g_assert_true(bdrv_backing_chain_next(source) == bdrv_find_node("middle"));
    g_assert_nonnull(bdrv_find_node("base"));
    g_assert_false(bdrv_is_backing_chain_frozen(source, NULL, NULL));
    bdrv_drop_filter(fault, &error_abort);
    bdrv_unref(fault);
    assert_reopened(2);
}

static void test_stream_stops(void)
{
    BlockDriverState *fault = insert_fault(bdrv_find_node("base"), "read",
                                           true);
    ChainJobOptions o = options;

    o.on_error = BLOCKDEV_ON_ERROR_STOP;
    start_and_resume(stream_job_create(source, NULL, &o, &error_abort));
    g_assert_null(source->backing);
    bdrv_unref(fault);
    assert_reopened(0);
}

/* It goes on past what it cannot read, but must not give up its source. */
static void test_stream_ignores(void)
{
    BlockDriverState *fault = insert_fault(bdrv_find_node("base"), "read",
                                           true);
    ChainJobOptions o = options;

    o.on_error = BLOCKDEV_ON_ERROR_IGNORE;
    job_start(&stream_job_create(source, NULL, &o, &error_abort)->job);
    wait_all(NULL);
    assert_unchanged(fault);
}

/* The creation of a commit writes to the base: the fault comes after it. */
static void test_commit_stops(void)
{
    BlockDriverState *base = bdrv_find_node("base"), *fault;
    g_autofree char *path = image_path("source");
    ChainJobOptions o = options;
    BlockJob *job;

    o.on_error = BLOCKDEV_ON_ERROR_STOP;
    o.backing_file = path;
    job = commit_job_create(source, bdrv_find_node("middle"), base, &o,
                            &error_abort);
    fault = insert_fault(base, "write", true);
    start_and_resume(job);
    g_assert_true(bdrv_backing_chain_next(source) == base);
    bdrv_unref(fault);
    assert_reopened(1);
}

/*
 * This write of the job to the base repeats what is there: now there is
 * something to flush.
 */
static void write_same(BlockJob *job)
{
    BdrvChild *base = job->nodes->data;
    uint8_t data[512];

    g_assert_cmpint(bdrv_pread(base, 0, sizeof(data), data, 0), ==, 0);
    g_assert_cmpint(bdrv_pwrite(base, 0, sizeof(data), data, 0), ==, 0);
}

/*
 * All is copied to @to.  Then a flush fails: that of the @data, before the
 * chain is changed, or one of those between the changes of the header.
 */
static void check_last_flush(BlockJob *job, BlockDriverState *to, bool data)
{
    BlockDriverState *fault;

    start_until(job, JOB_STATUS_PENDING);
    fault = insert_fault(to, "flush", false);
    if (data) {
        write_same(job);
    }
    WITH_JOB_LOCK_GUARD() {
        job_finalize_locked(&job->job, &error_abort);
    }
    wait_all(NULL);
    assert_unchanged(fault);
}

static void test_stream_flush(void)
{
    ChainJobOptions o = options;

    o.flags = JOB_MANUAL_FINALIZE;
    check_last_flush(stream_job_create(source, NULL, &o, &error_abort),
                     source, false);
}

static void test_commit_flush(void)
{
    BlockDriverState *base = bdrv_find_node("base");
    g_autofree char *path = image_path("source");
    ChainJobOptions o = options;

    o.backing_file = path;
    o.flags = JOB_MANUAL_FINALIZE;
    check_last_flush(commit_job_create(source, bdrv_find_node("middle"), base,
                                       &o, &error_abort), base, true);
}

/*
 * An image whose backing file is the one that it names has its own name,
 * whatever the options were: so it can be the backing file of another.
 */
static void test_names(void)
{
    BlockDriverState *middle = bdrv_find_node("middle");
    BlockDriverState *base = bdrv_find_node("base");
    g_autofree char *path = image_path("middle");

    bdrv_ref(base);
    bdrv_set_backing_hd(middle, NULL, &error_abort);
    g_assert_true(g_str_has_prefix(middle->filename, "json:"));
    bdrv_set_backing_hd(middle, target, &error_abort);
    g_assert_true(g_str_has_prefix(middle->filename, "json:"));
    g_assert_nonnull(strstr(middle->filename, target->filename));
    bdrv_set_backing_hd(middle, base, &error_abort);
    g_assert_cmpstr(middle->filename, ==, path);
    bdrv_unref(base);
}

/* A backup of an image of the chain: its filter may go at any time. */
static void test_backup_within(void)
{
    BackupJobOptions o = {
        .job_id = "backup", .sync = MIRROR_SYNC_MODE_FULL, .cb = job_over,
    };
    BlockDriverState *middle = bdrv_find_node("middle");
    MirrorJobOptions m = { .job_id = "active", .cb = job_over };
    BlockJob *job = backup_job_create(middle, target, &o, &error_abort);
    Error *err = NULL;

    g_assert_null(stream_job_create(source, NULL, &options, &err));
    error_free_or_abort(&err);
    g_assert_null(commit_active_job_create(source, bdrv_find_node("base"), &m,
                                           &err));
    error_free_or_abort(&err);
    job_start(&job->job);
    wait_all(NULL);
    g_assert_cmpint(result, ==, 0);
    g_assert_true(bdrv_backing_chain_next(source) == middle);
    assert_reopened(2);
}

/* The filter of a backup lets nobody write to what is below it. */
static void test_commit_below_backup(void)
{
    BackupJobOptions o = { .job_id = "backup", .sync = MIRROR_SYNC_MODE_FULL };
    BlockJob *backup = backup_job_create(source, target, &o, &error_abort);

    run_job(commit_job_create(source, bdrv_find_node("middle"),
                              bdrv_find_node("base"), &options,
                              &error_abort));
    cancel_unstarted(backup);
    assert_reopened(1);
}

/* --- filters within a chain --- */

/* It is explicit: its file name is no name of an image. */
static BlockDriverState *insert_filter(const char *above)
{
    g_autofree char *opts = g_strdup_printf(
        "driver=copy-on-read,node-name=f,file=%s", above);

    return bdrv_insert_node(bdrv_find_node(above), qopts_parse(
        opts, NULL, &error_abort), 0, &error_abort);
}

/* The header has the name of the image below the filter. */
static void test_stream_to_filter(void)
{
    BlockDriverState *f = insert_filter("base");

    run_job(stream_job_create(source, f, &options, &error_abort));
    g_assert_true(source->backing->bs == f);
    bdrv_unref(f);
    assert_reopened(1);
}

/* Nothing is between the image and its base but the filter. */
static void test_stream_nothing(void)
{
    BlockDriverState *f = insert_filter("middle");
    int64_t i;

    job_start(&stream_job_create(source, f, &options, &error_abort)->job);
    wait_all(NULL);
    g_assert_cmpint(result, ==, 0);
    for (i = 0; is_allocated(source, i); i += STEP) {
        g_assert_cmpint(i, <, SIZE - STEP);
    }
    bdrv_unref(f);
    assert_reopened(2);
}

/* sync=top leaves out what is below the filter. */
static void test_backup_above_filter(void)
{
    BackupJobOptions o = {
        .job_id = "backup", .sync = MIRROR_SYNC_MODE_TOP, .cb = job_over,
    };
    BlockDriverState *f = insert_filter("middle");
    int64_t i;
    int left_out = 0;

    job_start(&backup_job_create(source, target, &o, &error_abort)->job);
    wait_all(NULL);
    g_assert_cmpint(result, ==, 0);
    for (i = 0; i + STEP <= SIZE; i += STEP) {
        if (!is_allocated(source, i)) {
            g_assert_cmpint(is_allocated(target, i), ==, 0);
            left_out++;
        }
    }
    g_assert_cmpint(left_out, >, 0);
    bdrv_unref(f);
    assert_reopened(2);
}

/* --- who may write meanwhile --- */

static bool can_write(BlockDriverState *bs)
{
    BlockBackend *b = blk_new(qemu_get_aio_context(), BLK_PERM_WRITE,
                              BLK_PERM_ALL);
    bool ok = blk_insert_bs(b, bs, NULL) == 0;

    blk_unref(b);
    return ok;
}

/* The job would lose what passes by its filter. */
static void test_active_writers(void)
{
    BlockDriverState *base = bdrv_find_node("base");
    MirrorJobOptions m = { .job_id = "active", .cb = job_over };
    BlockJob *job = commit_active_job_create(source, base, &m, &error_abort);

    g_assert_true(can_write(blk_bs(blk)));
    g_assert_false(can_write(source));
    g_assert_false(can_write(base));
    cancel_unstarted(job);
    g_assert_true(can_write(source));
    assert_reopened(2);
}

static void test_commit_writers(void)
{
    BlockDriverState *base = bdrv_find_node("base");
    BlockJob *job = commit_job_create(source, bdrv_find_node("middle"), base,
                                      &options, &error_abort);

    g_assert_true(can_write(source));
    g_assert_false(can_write(base));
    cancel_unstarted(job);
    assert_reopened(2);
}

/* --- a base that cannot be written --- */

static BlockDriverState *open_image(const char *name, const char *file_name,
                                    const char *file, const char *backing,
                                    int flags)
{
    g_autofree char *path = image_path(file_name);
    g_autofree char *more = g_strconcat(file, path, NULL);
    g_autofree char *opts = g_strdup_printf(
        "driver=vmdk,node-name=%s,%s%s%s", name, more,
        backing ? ",backing=" : "", backing ? backing : "");

    return bdrv_open(NULL, NULL, qopts_parse(opts, NULL, &error_abort), flags,
                     &error_abort);
}

/* The base cannot even be made read-only again: the job fails, and no more. */
static void test_broken_base(void)
{
    MirrorJobOptions m = { .job_id = "active", .cb = job_over };
    BlockDriverState *base, *middle;
    Error *err = NULL;

    close_source();
    base = open_image("base", "source", "file.driver=blkdebug,"
                      "file.inject-error.0.event=none,"
                      "file.inject-error.0.iotype=write,"
                      "file.inject-error.1.event=none,"
                      "file.inject-error.1.iotype=flush,"
                      "file.image.driver=file,file.image.filename=", NULL, 0);
    middle = open_image("middle", "middle", "file.filename=", "base", 0);
    use_source(open_image("top", "top", "file.filename=", "middle",
                          BDRV_O_RDWR));
    g_assert_null(commit_job_create(source, middle, base, &options, &err));
    error_free_or_abort(&err);
    g_assert_null(commit_active_job_create(source, base, &m, &err));
    error_free_or_abort(&err);
    g_assert_false(bdrv_is_backing_chain_frozen(source, NULL, NULL));
    assert_shadow();
    bdrv_unref(middle);
    bdrv_unref(base);
}

/* --- an image that is shorter than the one below it --- */

/* Past the end of the middle the top reads zeroes; there the base has data. */
static void short_setup(void)
{
    const int64_t size = 8 * MiB;

    use_vmdk();
    close_source();
    create_overlay_of("middle", size, "source", "vmdk");
    create_overlay("top", "middle");
    open_chain();
    memset(frozen + size, 0, SIZE - size);
    load = (Load) { .shadow = frozen };
    assert_shadow();
}

static void run_short(BlockJob *job)
{
    job_start(&job->job);
    wait_all(NULL);
    g_assert_cmpint(result, ==, 0);
    assert_shadow();
}

static void test_short_stream(void)
{
    run_short(stream_job_create(source, bdrv_find_node("base"), &options,
                                &error_abort));
    assert_reopened(1);
}

static void test_short_stream_all(void)
{
    run_short(stream_job_create(source, NULL, &options, &error_abort));
    assert_reopened(0);
}

static void test_short_commit(void)
{
    run_short(commit_job_create(source, bdrv_find_node("middle"),
                                bdrv_find_node("base"), &options,
                                &error_abort));
    assert_reopened(1);
}

#define ADD_WITH(name, set_up, fn) \
    g_test_add("/chain-jobs/" name, int, NULL, (void *)set_up, (void *)fn, \
               (void *)teardown)

#define ADD(name, fn) ADD_WITH(name, chain_setup, fn)

static void add_tests(void)
{
    ADD("stream/all", test_stream_all);
    ADD("stream/base", test_stream_base);
    ADD("filter", test_filter);
    ADD("names", test_names);
    ADD("commit/all", test_commit);
    ADD("cancel", test_cancel);
    ADD("refused", test_refused);
    ADD("overlap", test_overlap);
    ADD("stream/stops", test_stream_stops);
    ADD("stream/ignores", test_stream_ignores);
    ADD("stream/flush", test_stream_flush);
    ADD("commit/stops", test_commit_stops);
    ADD("commit/flush", test_commit_flush);
    ADD("backup-within", test_backup_within);
    ADD("backup-above", test_commit_below_backup);
    ADD("filter-within/stream", test_stream_to_filter);
    ADD("filter-within/stream-nothing", test_stream_nothing);
    ADD("filter-within/backup", test_backup_above_filter);
    ADD("active/writers", test_active_writers);
    ADD("commit/writers", test_commit_writers);
    ADD("broken-base", test_broken_base);
    ADD_WITH("short/stream", short_setup, test_short_stream);
    ADD_WITH("short/stream-all", short_setup, test_short_stream_all);
    ADD_WITH("short/commit", short_setup, test_short_commit);
}

int main(int argc, char **argv)
{
    return job_test_main(&argc, &argv, add_tests);
}
