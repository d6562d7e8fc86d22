/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What backup and mirror do with zeroes of the source.  A new target that is to
 * be whole is asked once whether it is zero, and needs no zeroes.  An overlay
 * needs each of them, also where it reads as zeroes already: what it has not
 * allocated shows the backing file, whenever that is written or opened.
 */
#include "qemu/osdep.h"
#include "../../block/mirror-int.h"
#include "block/backup.h"
#include "test-job-nodes.h"

#include <dlfcn.h>

/* How often the file with this inode is asked where it has data. */
static ino_t asked_inode;
static unsigned asked;          /* atomic */

/* In front of the C library's. */
off64_t lseek64(int fd, off64_t offset, int whence)
{
    off64_t (*next)(int, off64_t, int) =
        (off64_t (*)(int, off64_t, int))dlsym(RTLD_NEXT, "lseek64");
    struct stat st;

    if ((whence == SEEK_DATA || whence == SEEK_HOLE) && fstat(fd, &st) == 0 &&
        st.st_ino == asked_inode) {
        qatomic_inc(&asked);
    }
    return next(fd, offset, whence);
}

static void count_questions(const char *name)
{
    g_autofree char *path = image_path(name);
    struct stat st;

    g_assert_cmpint(stat(path, &st), ==, 0);
    asked_inode = st.st_ino;
    asked = 0;
}

/* --- a target that is to be whole --- */

static unsigned granularity = STEP;

static BlockJob *new_mirror(MirrorSyncMode sync, MirrorCopyMode copy_mode,
                            bool target_is_zero)
{
    MirrorJobOptions o = {
        .job_id = "job", .sync = sync, .copy_mode = copy_mode,
        .cb = job_over, .granularity = granularity, .buf_size = granularity,
        .target_is_zero = target_is_zero,
    };

    return mirror_job_create(source, target, &o, &error_abort);
}

static BlockJob *start_mirror(MirrorSyncMode sync, MirrorCopyMode copy_mode,
                              bool target_is_zero)
{
    BlockJob *job = new_mirror(sync, copy_mode, target_is_zero);

    job_start(&job->job);
    return job;
}

/* Until it is READY, and the target lacks nothing. */
static void wait_synced(BlockJob *job)
{
    MirrorBlockJob *s = container_of(job, MirrorBlockJob, common);

    while (!qatomic_read(&s->synced) || qatomic_read(&s->in_flight) ||
           bdrv_get_dirty_count(s->dirty_bitmap)) {
        aio_poll(qemu_get_aio_context(), true);
    }
}

static void end_mirror(BlockJob *job)
{
    wait_synced(job);
    g_assert_cmpint(job_cancel_sync(&job->job, false), ==, 0);
}

static void write_data(BlockDriverState *bs, int64_t offset)
{
    BlockBackend *b = blk_new(qemu_get_aio_context(), BLK_PERM_WRITE,
                              BLK_PERM_ALL);
    g_autofree uint8_t *data = g_malloc(STEP);

    memset(data, 0x55, STEP);
    blk_insert_bs(b, bs, &error_abort);
    g_assert_cmpint(blk_pwrite(b, offset, STEP, data, 0), ==, 0);
    blk_unref(b);
}

static void test_asked_once(void)
{
    count_questions("target");
    end_mirror(start_mirror(MIRROR_SYNC_MODE_FULL,
                            MIRROR_COPY_MODE_BACKGROUND, false));
    assert_frozen(target);
    g_assert_cmpint(qatomic_read(&asked), <=, 2);
}

/* The only data of the target are where the source has zeroes. */
static void check_not_new(int64_t offset)
{
    g_assert_cmpint(blk_pwrite_zeroes(blk, offset, STEP, 0), ==, 0);
    memset(frozen + offset, 0, STEP);
    write_data(target, offset);
    end_mirror(start_mirror(MIRROR_SYNC_MODE_FULL,
                            MIRROR_COPY_MODE_BACKGROUND, false));
    assert_frozen(target);
}

static void test_not_new(void)
{
    check_not_new(QEMU_ALIGN_DOWN(SIZE, 4 * STEP) - STEP);
}

static void test_not_new_head(void)
{
    check_not_new(0);
}

/* Data where a new target had zeroes, and zeroes again. */
static void check_overwritten(MirrorCopyMode copy_mode)
{
    const int64_t hole = 3 * STEP;
    BlockJob *job = start_mirror(MIRROR_SYNC_MODE_FULL, copy_mode, false);

    wait_synced(job);
    write_data(blk_bs(blk), hole);
    wait_synced(job);
    g_assert_cmpint(blk_pwrite_zeroes(blk, hole, STEP, 0), ==, 0);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, STEP, 0), ==, 0);
    end_mirror(job);
    memset(frozen, 0, STEP);
    assert_frozen(source);
    assert_frozen(target);
}

static void test_overwritten(void)
{
    check_overwritten(MIRROR_COPY_MODE_BACKGROUND);
}

static void test_overwritten_active(void)
{
    check_overwritten(MIRROR_COPY_MODE_WRITE_BLOCKING);
}

/*
 * A discard after which the source still has its data copies them, before the
 * job does.
 */
static void test_discarded_active(void)
{
    BlockJob *job = new_mirror(MIRROR_SYNC_MODE_FULL,
                               MIRROR_COPY_MODE_WRITE_BLOCKING, true);
    g_autofree uint8_t *buf = g_malloc(SIZE);

    g_assert_cmpint(blk_pdiscard(blk, 0, STEP), ==, 0);
    read_all(source, buf);
    g_assert_cmpint(memcmp(buf, frozen, STEP), ==, 0);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, STEP, 0), ==, 0);
    job_start(&job->job);
    end_mirror(job);
    read_all(target, buf);
    g_assert_true(buffer_is_zero(buf, STEP));
}

/* --- a target that is an overlay --- */

/*
 * source, with data, below middle, which has zeroes over some of them, and
 * below top, the target, which is open without it.
 */
static void open_overlays(void)
{
    g_autofree char *middle = image_path("middle");
    g_autofree char *top = image_path("top");
    QOpts *opts = qopts_new();

    close_source();
    create_overlay("middle", "source");
    create_overlay("top", "source");
    bdrv_unref(target);
    qopts_set_str(opts, "driver", "vmdk");
    qopts_set_str(opts, "node-name", "middle");
    qopts_set_str(opts, "file.driver", "file");
    qopts_set_str(opts, "file.filename", middle);
    use_source(bdrv_open(NULL, NULL, opts, BDRV_O_RDWR, &error_abort));
    opts = qopts_new();
    qopts_set_str(opts, "driver", "vmdk");
    qopts_set_str(opts, "file.driver", "file");
    qopts_set_str(opts, "file.filename", top);
    target = bdrv_open(NULL, NULL, opts, BDRV_O_RDWR | BDRV_O_UNMAP |
                       BDRV_O_NO_BACKING, &error_abort);
}

static void write_zeroes_above(void)
{
    g_autofree uint8_t *zeroes = g_malloc0(STEP);

    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, STEP, 0), ==, 0);
    g_assert_cmpint(blk_pwrite(blk, 4 * STEP, STEP, zeroes, 0), ==, 0);
    memset(frozen, 0, STEP);
    memset(frozen + 4 * STEP, 0, STEP);
}

/* The target, opened with its backing file, shows the disk. */
static void check_overlay(void)
{
    g_autofree char *top = image_path("top");
    QOpts *opts = qopts_new();

    bdrv_unref(target);
    qopts_set_str(opts, "driver", "vmdk");
    qopts_set_str(opts, "file.driver", "file");
    qopts_set_str(opts, "file.filename", top);
    qopts_set_str(opts, "backing", bdrv_get_node_name(
                      bdrv_backing_chain_next(source)));
    target = bdrv_open(NULL, NULL, opts, 0, &error_abort);
    assert_frozen(target);
}

static void check_backup_overlay(MirrorSyncMode sync)
{
    BackupJobOptions o = { .job_id = "job", .sync = sync, .cb = job_over };
    BlockJob *job;

    open_overlays();
    if (sync == MIRROR_SYNC_MODE_INCREMENTAL) {
        o.bitmap = bdrv_create_dirty_bitmap(source, STEP, "b", &error_abort);
    }
    write_zeroes_above();
    job = backup_job_create(source, target, &o, &error_abort);
    job_start(&job->job);
    wait_all(NULL);
    g_assert_cmpint(result, ==, 0);
    if (o.bitmap) {
        bdrv_release_dirty_bitmap(bdrv_find_dirty_bitmap(source, "b"));
    }
    check_overlay();
}

static void test_backup_top(void)
{
    check_backup_overlay(MIRROR_SYNC_MODE_TOP);
}

static void test_backup_incremental(void)
{
    check_backup_overlay(MIRROR_SYNC_MODE_INCREMENTAL);
}

static void test_backup_full(void)
{
    check_backup_overlay(MIRROR_SYNC_MODE_FULL);
}

static void check_mirror_overlay(MirrorCopyMode copy_mode)
{
    BlockJob *job;

    open_overlays();
    if (copy_mode == MIRROR_COPY_MODE_BACKGROUND) {
        write_zeroes_above();
    }
    job = start_mirror(MIRROR_SYNC_MODE_TOP, copy_mode, false);
    if (copy_mode != MIRROR_COPY_MODE_BACKGROUND) {
        wait_synced(job);
        write_zeroes_above();
    }
    end_mirror(job);
    check_overlay();
}

static void test_mirror_top(void)
{
    check_mirror_overlay(MIRROR_COPY_MODE_BACKGROUND);
}

static void test_mirror_top_active(void)
{
    check_mirror_overlay(MIRROR_COPY_MODE_WRITE_BLOCKING);
}

/* Parts of clusters that the target lacks, and again when it has them. */
static void write_parts(void)
{
    uint8_t data[512];
    int i;

    memset(data, 0x77, sizeof(data));
    for (i = 0; i < 2; i++) {
        g_assert_cmpint(blk_pwrite(blk, STEP + 1024 * (i + 1), 512, data, 0),
                        ==, 0);
        memcpy(frozen + STEP + 1024 * (i + 1), data, 512);
        g_assert_cmpint(blk_pwrite_zeroes(blk, 4 * STEP + 2048 * i, 512, 0),
                        ==, 0);
        memset(frozen + 4 * STEP + 2048 * i, 0, 512);
    }
    g_assert_cmpint(blk_pwrite(blk, 8 * STEP, 512, data, 0), ==, 0);
    memcpy(frozen + 8 * STEP, data, 512);
    /* The end of one, the whole of the next, and the beginning of a third. */
    g_assert_cmpint(blk_pwrite_zeroes(blk, 6 * STEP - 512, STEP + 1024, 0),
                    ==, 0);
    memset(frozen + 6 * STEP - 512, 0, STEP + 1024);
    g_assert_cmpint(blk_pwrite(blk, SIZE - 512, 512, data, 0), ==, 0);
    memcpy(frozen + SIZE - 512, data, 512);
}

static void check_mirror_parts(MirrorCopyMode copy_mode)
{
    BlockJob *job;

    open_overlays();
    granularity = 512;
    job = start_mirror(MIRROR_SYNC_MODE_TOP, copy_mode, false);
    granularity = STEP;
    wait_synced(job);
    write_parts();
    wait_synced(job);
    write_parts();
    end_mirror(job);
    assert_frozen(source);
    check_overlay();
}

static void test_mirror_parts(void)
{
    check_mirror_parts(MIRROR_COPY_MODE_BACKGROUND);
}

static void test_mirror_parts_active(void)
{
    check_mirror_parts(MIRROR_COPY_MODE_WRITE_BLOCKING);
}

/* Zeroes that may be unmapped, where the backing file is named only. */
static void test_unmapped(void)
{
    BlockBackend *b = blk_new(qemu_get_aio_context(), BLK_PERM_WRITE,
                              BLK_PERM_ALL);

    open_overlays();
    blk_insert_bs(b, target, &error_abort);
    g_assert_cmpint(blk_pwrite_zeroes(b, 0, STEP, BDRV_REQ_MAY_UNMAP), ==, 0);
    blk_unref(b);
    memset(frozen, 0, STEP);
    check_overlay();
}

/*
 * A snapshot in an overlay of the source: the zeroes of the source that a
 * write is about to replace are the snapshot's, so they must be in it.
 */
static void test_fleecing(void)
{
    BackupJobOptions o = {
        .job_id = "job", .sync = MIRROR_SYNC_MODE_NONE, .cb = job_over,
    };
    g_autofree char *top = image_path("top");
    QOpts *opts = qopts_new();
    BlockJob *job;

    create_overlay("top", "source");
    bdrv_unref(target);
    qopts_set_str(opts, "driver", "vmdk");
    qopts_set_str(opts, "file.driver", "file");
    qopts_set_str(opts, "file.filename", top);
    qopts_set_str(opts, "backing", "source");
    target = bdrv_open(NULL, NULL, opts, BDRV_O_RDWR, &error_abort);
    job = backup_job_create(source, target, &o, &error_abort);
    job_start(&job->job);
    write_data(blk_bs(blk), 2 * STEP);
    write_data(blk_bs(blk), 3 * STEP);
    assert_frozen(target);
    g_assert_cmpint(job_cancel_sync(&job->job, true), ==, -ECANCELED);
    /* Before the source, which it has open. */
    bdrv_unref(target);
    target = open_node("target", target_driver);
}

#define ADD(name, set_up, fn) \
    g_test_add("/job-zeroes/" name, int, NULL, (void *)set_up, (void *)fn, \
               (void *)teardown)

static void add_tests(void)
{
    ADD("asked-once", setup, test_asked_once);
    ADD("not-new", setup, test_not_new);
    ADD("not-new-head", setup, test_not_new_head);
    ADD("overwritten", setup, test_overwritten);
    ADD("overwritten-active", setup, test_overwritten_active);
    ADD("discarded-active", use_vmdk, test_discarded_active);
    ADD("overlay/backup-top", use_vmdk, test_backup_top);
    ADD("overlay/backup-incremental", use_vmdk, test_backup_incremental);
    ADD("overlay/backup-full", use_vmdk, test_backup_full);
    ADD("overlay/mirror-top", use_vmdk, test_mirror_top);
    ADD("overlay/mirror-top-active", use_vmdk, test_mirror_top_active);
    ADD("overlay/mirror-parts", use_vmdk, test_mirror_parts);
    ADD("overlay/mirror-parts-active", use_vmdk, test_mirror_parts_active);
    ADD("overlay/unmapped", use_vmdk, test_unmapped);
    ADD("overlay/fleecing", use_vmdk, test_fleecing);
}

int main(int argc, char **argv)
{
    return job_test_main(&argc, &argv, add_tests);
}
