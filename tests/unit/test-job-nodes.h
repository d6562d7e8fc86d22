/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For the tests of block jobs: a source and a target, real files, and
 * coroutines that write to the source.
 */
#ifndef TEST_JOB_NODES_H
#define TEST_JOB_NODES_H

#include "block/block.h"
#include "block/block_int.h"
#include "block/blockjob.h"
#include "qemu/aio-wait.h"
#include "qemu/cutils.h"
#include "qemu/main-loop.h"
#include "system/block-backend.h"

#define SIZE (16 * MiB + 512)
#define STEP (64 * KiB)

static char *dir;
static BlockBackend *blk;       /* of the source's user */
static BlockDriverState *source, *target;
static uint8_t *frozen;         /* the source when the job was created */
static int result;              /* of the job; 1: it is not over */
static const char *source_driver = "raw", *target_driver = "raw";
static const char *aio = "threads";
static GRand *grand;

static char *image_path(const char *name)
{
    return g_build_filename(dir, name, NULL);
}

static void create(const char *name, const char *driver, int64_t size)
{
    BlockDriver *drv = bdrv_find_format(driver);
    g_autofree char *path = image_path(name);
    QOpts *opts = qopts_new();

    qopts_set_uint(opts, "size", size);
    g_assert_cmpint(bdrv_create(drv, path, opts, &error_abort), ==, 0);
}

static BlockDriverState *open_node(const char *name, const char *driver)
{
    g_autofree char *path = image_path(name);
    QOpts *opts = qopts_new();

    qopts_set_str(opts, "driver", driver);
    qopts_set_str(opts, "node-name", name);
    qopts_set_str(opts, "discard", "unmap");
    qopts_set_str(opts, "file.driver", "file");
    qopts_set_str(opts, "file.filename", path);
    qopts_set_str(opts, "file.aio", aio);
    return bdrv_open(NULL, NULL, opts, BDRV_O_RDWR, &error_abort);
}

static void setup(void)
{
    int64_t i;

    create("source", source_driver, SIZE);
    create("target", target_driver, SIZE);
    source = open_node("source", source_driver);
    target = open_node("target", target_driver);
    blk = blk_new(qemu_get_aio_context(),
                  BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE, BLK_PERM_ALL);
    blk_insert_bs(blk, source, &error_abort);

    /* Data, zeroes that are written, and holes. */
    frozen = g_malloc0(SIZE);
    for (i = 0; i < SIZE; i += STEP) {
        int64_t n = MIN(STEP, SIZE - i);

        if (i / STEP % 4 < 2) {
            memset(frozen + i, 1 + i / STEP % 200, n);
        }
        if (i / STEP % 4 < 3) {
            g_assert_cmpint(blk_pwrite(blk, i, n, frozen + i, 0), ==, 0);
        }
    }
    result = 1;
}

static inline void teardown(void)
{
    blk_unref(blk);
    bdrv_unref(source);
    bdrv_unref(target);
    g_free(frozen);
    g_assert_null(bdrv_next_node(NULL));
    g_assert_null(job_next_locked(NULL));
}

static void read_all(BlockDriverState *bs, uint8_t *buf)
{
    BlockBackend *b = blk_new(qemu_get_aio_context(),
                              BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL);

    blk_insert_bs(b, bs, &error_abort);
    g_assert_cmpint(blk_pread(b, 0, SIZE, buf, 0), ==, 0);
    blk_unref(b);
}

/* What a raw image has, past the node. */
static inline void read_file_all(const char *name, uint8_t *buf)
{
    g_autofree char *path = image_path(name);
    g_autofree char *data = NULL;
    gsize len;

    g_assert_true(g_file_get_contents(path, &data, &len, NULL));
    g_assert_cmpuint(len, ==, SIZE);
    memcpy(buf, data, len);
}

static inline void assert_frozen(BlockDriverState *bs)
{
    g_autofree uint8_t *buf = g_malloc(SIZE);
    int64_t i;

    read_all(bs, buf);
    for (i = 0; i < SIZE; i++) {
        if (buf[i] != frozen[i]) {
            g_error("byte %" PRId64 " is %d, it was %d", i, buf[i],
                    frozen[i]);
        }
    }
}

static inline void job_over(void *opaque, int ret)
{
    result = ret;
}

/* Of a raw image; in bytes. */
static inline int64_t allocated(const char *name)
{
    g_autofree char *path = image_path(name);
    struct stat st;

    g_assert_cmpint(stat(path, &st), ==, 0);
    return st.st_blocks * 512;
}

/*
 * Zeroes that the source has stored need no space in a new target, and are
 * zeroes in one that had something else there.  @copy: source to target.
 */
static inline void check_stored_zeroes(void (*copy)(void))
{
    g_autofree uint8_t *zeroes = g_malloc0(4 * MiB);
    g_autofree uint8_t *other = g_malloc(4 * MiB);
    BlockBackend *b = blk_new(qemu_get_aio_context(), BLK_PERM_WRITE,
                              BLK_PERM_ALL);

    g_assert_cmpint(blk_pwrite(blk, 4 * MiB, 4 * MiB, zeroes, 0), ==, 0);
    memset(frozen + 4 * MiB, 0, 4 * MiB);
    copy();
    assert_frozen(target);
    g_assert_cmpint(allocated("target"), <=, allocated("source") - 3 * MiB);

    memset(other, 0x55, 4 * MiB);
    blk_insert_bs(b, target, &error_abort);
    g_assert_cmpint(blk_pwrite(b, 4 * MiB, 4 * MiB, other, 0), ==, 0);
    blk_unref(b);
    copy();
    assert_frozen(target);
}

/* --- chains --- */

static inline void create_overlay_of(const char *name, int64_t size,
                                     const char *backing,
                                     const char *backing_fmt)
{
    g_autofree char *path = image_path(name);
    g_autofree char *backing_path = image_path(backing);
    QOpts *opts = qopts_new();

    qopts_set_str(opts, "backing_file", backing_path);
    qopts_set_str(opts, "backing_fmt", backing_fmt);
    qopts_set_uint(opts, "size", size);
    g_assert_cmpint(bdrv_create(bdrv_find_format("vmdk"), path, opts,
                                &error_abort), ==, 0);
}

static inline void create_overlay(const char *name, const char *backing)
{
    create_overlay_of(name, SIZE, backing, "vmdk");
}

/* So that others can open its file. */
static inline void close_source(void)
{
    blk_unref(blk);
    bdrv_unref(source);
}

static inline void use_source(BlockDriverState *bs)
{
    source = bs;
    blk = blk_new(qemu_get_aio_context(),
                  BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE, BLK_PERM_ALL);
    blk_insert_bs(blk, source, &error_abort);
}

/* top, and what is below it, as the source. */
static inline void open_chain(void)
{
    g_autofree char *path = image_path("top");
    QOpts *opts = qopts_new();

    qopts_set_str(opts, "driver", "vmdk");
    qopts_set_str(opts, "node-name", "top");
    qopts_set_str(opts, "file.driver", "file");
    qopts_set_str(opts, "file.filename", path);
    qopts_set_str(opts, "backing.node-name", "middle");
    qopts_set_str(opts, "backing.backing.node-name", "base");
    use_source(bdrv_open(NULL, NULL, opts, BDRV_O_RDWR, &error_abort));
}

/* --- errors --- */

/* Each @what of the file of @bs fails, or the first of them: a reference. */
static inline BlockDriverState *insert_fault(BlockDriverState *bs,
                                             const char *what, bool once)
{
    BlockDriverState *file = bs->file->bs;
    g_autofree char *opts = g_strdup_printf(
        "driver=blkdebug,image=%s,inject-error.0.event=none,"
        "inject-error.0.iotype=%s,inject-error.0.once=%s",
        file->node_name, what, once ? "on" : "off");

    return bdrv_insert_node(file, qopts_parse(opts, NULL, &error_abort),
                            bdrv_is_read_only(file) ? 0 : BDRV_O_RDWR,
                            &error_abort);
}

static inline void run_until(BlockJob *job, JobStatus status)
{
    JOB_LOCK_GUARD();

    while (job->job.status != status) {
        job_unlock();
        aio_poll(qemu_get_aio_context(), true);
        g_assert_cmpint(result, ==, 1);
        job_lock();
    }
}

static inline void start_until(BlockJob *job, JobStatus status)
{
    job_start(&job->job);
    run_until(job, status);
}

/* One that runs: to the error at which it stops, and from there to the end. */
static inline void resume_to_end(BlockJob *job)
{
    run_until(job, JOB_STATUS_PAUSED);
    WITH_JOB_LOCK_GUARD() {
        g_assert_cmpint(job->iostatus, ==, BLOCK_DEVICE_IO_STATUS_FAILED);
        job_user_resume_locked(&job->job, &error_abort);
    }
    while (result == 1) {
        aio_poll(qemu_get_aio_context(), true);
    }
    g_assert_cmpint(result, ==, 0);
}

static inline void start_and_resume(BlockJob *job)
{
    job_start(&job->job);
    resume_to_end(job);
}

/* A job that has not been started. */
static inline void cancel_unstarted(BlockJob *job)
{
    JOB_LOCK_GUARD();
    job_cancel_locked(&job->job, true);
}

/* --- who writes meanwhile --- */

/*
 * Each writer has a stripe of its own, so that what must be on the disk is
 * known: shadow, once it has been filled.
 */
typedef struct {
    uint8_t *shadow;            /* NULL: nobody asks */
    int left;                   /* writers that run */
    int writers;
    int requests;               /* for each; -1: until stop */
    bool stop;
    int next;
} Load;

static void coroutine_fn load_one(Load *load, int64_t start, int64_t end)
{
    int64_t offset = g_rand_int_range(grand, start / 512, end / 512) * 512;
    int64_t most = 512 << g_rand_int_range(grand, 0, 9);
    int64_t bytes = MIN(most, end - offset);
    QEMU_AUTO_VFREE uint8_t *buf = qemu_blockalign(source, bytes);
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, bytes);
    int kind = g_rand_int_range(grand, 0, load->shadow ? 5 : 6);
    int ret;

    memset(buf, kind ? g_rand_int_range(grand, 1, 256) : 0, bytes);
    if (kind == 0) {
        ret = blk_co_pwrite_zeroes(blk, offset, bytes, 0);
    } else if (kind == 5) {
        ret = blk_co_pdiscard(blk, offset, bytes);
    } else {
        ret = blk_co_pwritev(blk, offset, bytes, &qiov, 0);
    }
    g_assert_cmpint(ret, ==, 0);
    if (load->shadow) {
        memcpy(load->shadow + offset, buf, bytes);
    }
}

static void coroutine_fn load_entry(void *opaque)
{
    Load *load = opaque;
    int64_t stripe = QEMU_ALIGN_DOWN(SIZE / load->writers, 512);
    int number = load->next++;
    int i;

    for (i = 0; i != load->requests && !load->stop; i++) {
        load_one(load, number * stripe, (number + 1) * stripe);
        if (i % 8 == 7) {
            qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, 100 * SCALE_US);
        }
    }
    load->left--;
}

static inline void load_start(Load *load, int writers, int requests)
{
    int i;

    *load = (Load) { .shadow = load->shadow };
    load->left = load->writers = writers;
    load->requests = requests;
    for (i = 0; i < writers; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(load_entry, load));
    }
}

static inline void load_stop(Load *load)
{
    load->stop = true;
    while (load->left) {
        aio_poll(qemu_get_aio_context(), true);
    }
}

/* Until the job is over and the writers have ended. */
static inline void wait_all(Load *load)
{
    while (result == 1 || (load && load->left)) {
        aio_poll(qemu_get_aio_context(), true);
    }
}

static void unlink_all(void)
{
    const char *names[] = { "source", "target", "small", "middle", "top" };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(names); i++) {
        g_autofree char *path = image_path(names[i]);

        unlink(path);
    }
    rmdir(dir);
}

static inline void use_native_vmdk(void)
{
    source_driver = "vmdk";
    target_driver = "vmdk";
#ifdef CONFIG_LINUX_AIO
    aio = "native";
#else
    aio = "threads";
#endif
    setup();
}

static inline void use_vmdk(void)
{
    source_driver = "vmdk";
    target_driver = "vmdk";
    aio = "threads";
    setup();
}

static int job_test_main(int *argc, char ***argv, void (*add)(void))
{
    int ret;

    dir = g_dir_make_tmp("test-jobs-XXXXXX", NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    g_test_init(argc, argv, NULL);
    grand = g_rand_new_with_seed(g_test_rand_int());
    add();
    ret = g_test_run();
    g_rand_free(grand);
    unlink_all();
    g_free(dir);
    return ret;
}

#endif
