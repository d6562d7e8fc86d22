/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block status of files: what a worker thread has found ahead is right, saves
 * calls of lseek(), and is forgotten when it may no longer be true.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "system/block-backend.h"

#include <dlfcn.h>

#define AREAS 200
#define STEP (64 * KiB)
#define BLOCK (4 * KiB)
/* As long as an answer is taken from memory, and some more. */
#define VALID_US 25000

static unsigned calls;          /* atomic; of lseek() for data or holes */
static unsigned loop_calls;     /* of those, in the thread of the loop */
static QemuThread loop_thread;
static char *path;
static bool odd_holes;          /* the file system has blocks of 512 bytes */

/* Two of these have data in the first block of each step. */
static off_t odd_seek(off_t offset, int whence)
{
    off_t begin = QEMU_ALIGN_DOWN(offset, STEP) + 3 * 512;
    off_t end = begin + 2 * 512;

    if (whence == SEEK_HOLE) {
        return offset >= begin && offset < end ? end : offset;
    }
    begin += offset < end ? 0 : STEP;
    if (begin >= AREAS * STEP) {
        errno = ENXIO;
        return -1;
    }
    return MAX(offset, begin);
}

/* In front of libc's. */
off_t lseek(int fd, off_t offset, int whence)
{
    static off_t (*real)(int fd, off_t offset, int whence);

    if (!qatomic_read(&real)) {
        qatomic_set(&real, (off_t (*)(int, off_t, int))dlsym(RTLD_NEXT,
                                                             "lseek64"));
    }
    if (whence == SEEK_DATA || whence == SEEK_HOLE) {
        qatomic_inc(&calls);
        loop_calls += qemu_thread_is_self(&loop_thread);
    }
    return odd_holes ? odd_seek(offset, whence) : real(fd, offset, whence);
}

static void write_block(int64_t offset)
{
    char data[BLOCK];
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    memset(data, 1, BLOCK);
    g_assert_cmpint(pwrite(fd, data, BLOCK, offset), ==, BLOCK);
    close(fd);
}

/* A block of data at the beginning of each step. */
static void make_file(void)
{
    int i;

    g_assert_true(g_file_set_contents(path, "", 0, NULL));
    g_assert_cmpint(truncate(path, AREAS * STEP), ==, 0);
    for (i = 0; i < AREAS; i++) {
        write_block(i * STEP);
    }
}

static BlockBackend *open_file(int flags, bool force_share)
{
    QOpts *opts = qopts_new();
    BlockBackend *blk;

    qopts_set_str(opts, "driver", "file");
    if (force_share) {
        qopts_set_bool(opts, "force-share", true);
    }
    blk = blk_new_open(path, NULL, opts, flags, &error_abort);
    return blk;
}

static bool is_data(BlockBackend *blk, int64_t offset, int64_t *pnum)
{
    int64_t bytes = AREAS * STEP - offset;
    int ret = bdrv_block_status(blk_bs(blk), offset, bytes, pnum, NULL, NULL);

    g_assert_cmpint(ret, >=, 0);
    g_assert_cmpint(!!(ret & BDRV_BLOCK_DATA), !=, !!(ret & BDRV_BLOCK_ZERO));
    return ret & BDRV_BLOCK_DATA;
}

static void test_all(void)
{
    BlockBackend *blk;
    int64_t offset, pnum;

    make_file();
    blk = open_file(0, false);
    calls = loop_calls = 0;
    /* All of a file is allocated: nobody need be asked. */
    g_assert_cmpint(bdrv_is_allocated(blk_bs(blk), 0, AREAS * STEP, &pnum),
                    ==, 1);
    g_assert_cmpint(pnum, ==, AREAS * STEP);
    g_assert_cmpuint(qatomic_read(&calls), ==, 0);
    for (offset = 0; offset < AREAS * STEP; offset += pnum) {
        bool data = is_data(blk, offset, &pnum);

        g_assert_cmpint(data, ==, offset % STEP == 0);
        g_assert_cmpint(pnum, ==, data ? BLOCK : STEP - BLOCK);
    }
    /* No more than one area has been looked at twice for each that was not. */
    g_assert_cmpuint(qatomic_read(&calls), <=, 2 * 3 * AREAS);
    /* A slow file system must not hold up the loop. */
    g_assert_cmpuint(loop_calls, ==, 0);
    blk_unref(blk);
}

/* Ask for the first areas, until one is told without a call. */
static bool looks_ahead(BlockBackend *blk)
{
    int64_t offset, pnum;
    unsigned before;

    for (offset = 0; offset < 8 * STEP; offset += pnum) {
        before = qatomic_read(&calls);
        is_data(blk, offset, &pnum);
        if (qatomic_read(&calls) == before) {
            return true;
        }
    }
    return false;
}

/* A busy machine may take too long to find anything ahead. */
static BlockBackend *open_ahead(void)
{
    int i;

    for (i = 0; i < 1000; i++) {
        BlockBackend *blk = open_file(0, false);

        if (looks_ahead(blk)) {
            return blk;
        }
        blk_unref(blk);
    }
    g_assert_not_reached();
}

static void test_ahead(void)
{
    BlockBackend *blk;

    make_file();
    blk = open_ahead();
    blk_unref(blk);
}

/* The area at @offset was a hole, and is written now. */
static void expect_data(BlockBackend *blk, int64_t offset)
{
    int64_t pnum;

    g_assert_true(is_data(blk, offset, &pnum));
}

static void test_soon_forgotten(void)
{
    BlockBackend *blk;

    make_file();
    blk = open_ahead();
    write_block(8 * STEP - BLOCK);
    g_usleep(VALID_US);
    expect_data(blk, 8 * STEP - BLOCK);
    blk_unref(blk);
}

/* A reader that shares the file with a writer sees what is there. */
static void test_shared(void)
{
    BlockBackend *blk;

    make_file();
    blk = open_file(0, true);
    looks_ahead(blk);
    write_block(8 * STEP - BLOCK);
    expect_data(blk, 8 * STEP - BLOCK);
    blk_unref(blk);
}

static void test_written(void)
{
    static char data[BLOCK];
    BlockBackend *blk;

    make_file();
    blk = open_file(BDRV_O_RDWR, false);
    looks_ahead(blk);
    g_assert_cmpint(blk_pwrite(blk, 8 * STEP - BLOCK, BLOCK, data, 0), ==, 0);
    expect_data(blk, 8 * STEP - BLOCK);
    blk_unref(blk);
}

/* One question to a worker tells of a hole and of the data after it. */
static void test_after_hole(void)
{
    BlockBackend *blk;
    int64_t offset, pnum;
    unsigned before;

    make_file();
    blk = open_file(BDRV_O_RDWR, false);
    for (offset = BLOCK; offset < 8 * STEP; offset += STEP) {
        g_assert_false(is_data(blk, offset, &pnum));
        g_assert_cmpint(pnum, ==, STEP - BLOCK);
        before = qatomic_read(&calls);
        g_assert_true(is_data(blk, offset + pnum, &pnum));
        g_assert_cmpint(pnum, ==, BLOCK);
        g_assert_cmpuint(qatomic_read(&calls), ==, before);
    }
    blk_unref(blk);
}

/* The node forgets that there was data where this process writes zeroes. */
static void test_after_hole_zeroed(void)
{
    BlockBackend *blk;
    int64_t pnum;

    make_file();
    blk = open_file(BDRV_O_RDWR | BDRV_O_UNMAP, false);
    g_assert_false(is_data(blk, BLOCK, &pnum));
    if (blk_pwrite_zeroes(blk, STEP, BLOCK, BDRV_REQ_MAY_UNMAP |
                          BDRV_REQ_NO_FALLBACK) == 0) {
        g_assert_false(is_data(blk, STEP, &pnum));
    }
    blk_unref(blk);
}

static void test_reopen(void)
{
    static char data[BLOCK];
    BlockBackend *blk;
    BlockDriverState *bs;

    make_file();
    blk = open_ahead();
    bs = blk_bs(blk);
    g_assert_cmpint(bdrv_reopen_set_read_only(bs, false, &error_abort), ==,
                    0);
    blk_set_perm(blk, BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE, BLK_PERM_ALL,
                 &error_abort);
    g_assert_cmpint(blk_pwrite(blk, 8 * STEP - BLOCK, BLOCK, data, 0), ==, 0);
    blk_set_perm(blk, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL, &error_abort);
    g_assert_cmpint(bdrv_reopen_set_read_only(bs, true, &error_abort), ==, 0);
    expect_data(blk, 8 * STEP - BLOCK);
    blk_unref(blk);
}

/* Holes that are no whole blocks of direct I/O: such a block is data. */
static void test_odd_holes(void)
{
    BlockBackend *blk;
    int64_t offset, pnum;

    make_file();
    odd_holes = true;
    blk = open_file(BDRV_O_RDWR, false);
    blk_bs(blk)->bl.request_alignment = BLOCK;
    for (offset = 0; offset < 8 * STEP; offset += 512) {
        bool data = is_data(blk, offset, &pnum);
        int64_t in_step = offset % STEP;

        g_assert_cmpint(data, ==, in_step < BLOCK);
        g_assert_cmpint(pnum, ==, (data ? BLOCK : STEP) - in_step);
    }
    blk_unref(blk);
    odd_holes = false;
}

int main(int argc, char **argv)
{
    int fd, ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    qemu_thread_get_self(&loop_thread);
    bdrv_init();
    fd = g_file_open_tmp("test-file-posix-status.XXXXXX", &path, NULL);
    g_assert_cmpint(fd, >=, 0);
    if (ftruncate(fd, MiB) < 0 || lseek(fd, 0, SEEK_DATA) != -1) {
        g_printerr("no holes in files here\n");
        ret = 77;
    } else {
        g_test_add_func("/file-posix/status/all", test_all);
        g_test_add_func("/file-posix/status/ahead", test_ahead);
        g_test_add_func("/file-posix/status/soon-forgotten",
                        test_soon_forgotten);
        g_test_add_func("/file-posix/status/shared", test_shared);
        g_test_add_func("/file-posix/status/written", test_written);
        g_test_add_func("/file-posix/status/after-hole", test_after_hole);
        g_test_add_func("/file-posix/status/after-hole-zeroed",
                        test_after_hole_zeroed);
        g_test_add_func("/file-posix/status/reopen", test_reopen);
        g_test_add_func("/file-posix/status/odd-holes", test_odd_holes);
        ret = g_test_run();
    }
    close(fd);
    unlink(path);
    g_free(path);
    return ret;
}
