/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Long writes into the page cache are made in pieces, and given to the disk
 * early; those that gain nothing by it are not.  A drained section waits for
 * what was begun.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "qapi/error.h"
#include "qemu/coroutine.h"
#include "qemu/main-loop.h"
#include "system/block-backend.h"

#include <dlfcn.h>
#include <glib/gstdio.h>
#include <linux/magic.h>
#include <sys/uio.h>
#include <sys/vfs.h>

#define SIZE (96 * MiB)
#define PIECE (256 * KiB)
#define PIECES (SIZE / PIECE)

static char *path;
static uint8_t *data;
static bool in_memory;

/* sync_file_range() notes its calls, which come one after the other. */
static int calls;               /* atomic */
static bool begun[PIECES];
static int64_t most;            /* bytes of one call */
static int hold_us;             /* each call takes so long */
static bool in_call;            /* atomic */

/* In front of the C library's. */
int sync_file_range(int fd, off64_t offset, off64_t bytes, unsigned flags)
{
    int64_t i;

    g_assert_false(qatomic_xchg(&in_call, true));
    g_assert_cmpuint(flags, ==, SYNC_FILE_RANGE_WRITE);
    g_assert_cmpint(offset, >=, 0);
    g_assert_cmpint(offset + bytes, <=, SIZE);
    for (i = offset / PIECE; i < (offset + bytes) / PIECE; i++) {
        begun[i] = true;
    }
    most = MAX(most, bytes);
    g_usleep(hold_us);
    qatomic_inc(&calls);
    qatomic_set(&in_call, false);
    errno = EIO;
    return -1;                  /* nobody may care */
}

static size_t longest;          /* bytes of one write */

/* In front of the C library's. */
ssize_t pwrite64(int fd, const void *buf, size_t bytes, off64_t offset)
{
    ssize_t (*next)(int, const void *, size_t, off64_t) =
        (ssize_t (*)(int, const void *, size_t, off64_t))
        dlsym(RTLD_NEXT, "pwrite64");

    longest = MAX(longest, bytes);
    return next(fd, buf, bytes, offset);
}

/* In front of the C library's. */
ssize_t pwritev64(int fd, const struct iovec *iov, int niov, off64_t offset)
{
    ssize_t (*next)(int, const struct iovec *, int, off64_t) =
        (ssize_t (*)(int, const struct iovec *, int, off64_t))
        dlsym(RTLD_NEXT, "pwritev64");

    longest = MAX(longest, iov_size(iov, niov));
    return next(fd, iov, niov, offset);
}

static BlockBackend *open_file(const char *name, int flags)
{
    QOpts *opts = qopts_new();

    qatomic_set(&calls, 0);
    memset(begun, 0, sizeof(begun));
    most = 0;
    qopts_set_str(opts, "driver", "file");
    return blk_new_open(name, NULL, opts, BDRV_O_RDWR | flags, &error_abort);
}

static void drain(BlockBackend *blk)
{
    bdrv_drained_begin(blk_bs(blk));
    g_assert_false(qatomic_read(&in_call));
    bdrv_drained_end(blk_bs(blk));
}

static void write_at(BlockBackend *blk, int64_t offset, int64_t bytes)
{
    g_assert_cmpint(blk_pwrite(blk, offset, bytes, data, 0), ==, 0);
}

static bool has_no_page_cache(void)
{
    if (in_memory) {
        g_test_skip("the folder for temporary files is in memory");
    }
    return in_memory;
}

static void assert_all_but_the_end(void)
{
    int64_t i;

    g_assert_cmpint(most, <=, 80 * MiB);
    /* The last step, and what came while one was being given. */
    for (i = 0; i < PIECES - 32; i++) {
        g_assert_true(begun[i]);
    }
}

static void test_in_order(void)
{
    BlockBackend *blk;
    int64_t i;

    if (has_no_page_cache()) {
        return;
    }
    blk = open_file(path, 0);
    for (i = 0; i < PIECES; i++) {
        write_at(blk, i * PIECE, PIECE);
        drain(blk);
    }
    g_assert_cmpint(qatomic_read(&calls), ==, SIZE / (8 * MiB));
    assert_all_but_the_end();
    blk_unref(blk);
}

/* --- as a job writes: several at once, which end in any order --- */

typedef struct {
    BlockBackend *blk;
    int64_t next;
    int left;
} Writers;

static void coroutine_fn writer_entry(void *opaque)
{
    Writers *w = opaque;
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, data, PIECE);

    while (w->next < PIECES) {
        int64_t offset = w->next++ * PIECE;

        g_assert_cmpint(blk_co_pwritev(w->blk, offset, PIECE, &qiov, 0),
                        ==, 0);
    }
    w->left--;
}

static void test_several_at_once(void)
{
    Writers w = { .left = 16 };
    int i;

    if (has_no_page_cache()) {
        return;
    }
    w.blk = open_file(path, 0);
    hold_us = 100000;           /* all the others are over before */
    for (i = 0; i < 16; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(writer_entry, &w));
    }
    while (w.left) {
        aio_poll(qemu_get_aio_context(), true);
    }
    /* Meanwhile others are not begun: these bring the rest. */
    for (i = 0; i < 2; i++) {
        drain(w.blk);
        write_at(w.blk, SIZE - PIECE, PIECE);
    }
    drain(w.blk);
    hold_us = 0;
    assert_all_but_the_end();
    blk_unref(w.blk);
}

/* Reopening, closing and moving drain: the descriptor must not go before. */
static void test_drained(void)
{
    BlockBackend *blk;
    int64_t i;

    if (has_no_page_cache()) {
        return;
    }
    blk = open_file(path, 0);
    hold_us = 50000;
    for (i = 0; i < 8 * MiB / PIECE; i++) {
        write_at(blk, i * PIECE, PIECE);
    }
    drain(blk);
    g_assert_cmpint(qatomic_read(&calls), ==, 1);
    hold_us = 0;
    blk_unref(blk);
}

/* --- piece by piece --- */

/* Parts that end before, at and behind the end of a piece, and empty ones. */
static const size_t parts[] = {
    0, 512 * KiB, 0, 512 * KiB + 512, 300 * KiB, 212 * KiB - 512, 0,
    2 * MiB, 512, 512 * KiB, 0, 0, 100 * KiB, 411 * KiB,
};

static void check_pieces(int flags, size_t limit)
{
    BlockBackend *blk = open_file(path, flags);
    QEMUIOVector qiov;
    g_autofree uint8_t *back = NULL;
    uint8_t *buf;
    size_t i, bytes = 0;
    int fd;

    for (i = 0; i < ARRAY_SIZE(parts); i++) {
        bytes += parts[i];
    }
    buf = qemu_memalign(4096, bytes);
    back = g_malloc(bytes);
    for (i = 0; i < bytes; i++) {
        buf[i] = g_test_rand_int();
    }
    qemu_iovec_init(&qiov, ARRAY_SIZE(parts));
    for (i = 0, bytes = 0; i < ARRAY_SIZE(parts); i++) {
        qemu_iovec_add(&qiov, buf + bytes, parts[i]);
        bytes += parts[i];
    }
    longest = 0;
    g_assert_cmpint(blk_pwritev(blk, MiB, bytes, &qiov, 0), ==, 0);
    g_assert_cmpuint(longest, <=, limit);
    g_assert_cmpuint(longest, >, limit / 2);
    blk_unref(blk);
    fd = open(path, O_RDONLY);
    g_assert_cmpint(pread(fd, back, bytes, MiB), ==, bytes);
    g_assert_true(memcmp(buf, back, bytes) == 0);
    close(fd);
    qemu_iovec_destroy(&qiov);
    qemu_vfree(buf);
}

static void test_pieces(void)
{
    check_pieces(0, 512 * KiB);
}

/* --- not for these --- */

static void check_no_calls(BlockBackend *blk, int64_t step, int64_t bytes)
{
    int64_t i;

    for (i = 0; i < 16 * MiB / bytes; i++) {
        write_at(blk, i * step % SIZE, bytes);
    }
    drain(blk);
    g_assert_cmpint(qatomic_read(&calls), ==, 0);
    blk_unref(blk);
}

static void test_small(void)
{
    check_no_calls(open_file(path, 0), 4096, 4096);
}

static void test_scattered(void)
{
    check_no_calls(open_file(path, 0), 37 * MiB, PIECE);
}

static void test_no_flush(void)
{
    check_no_calls(open_file(path, BDRV_O_NO_FLUSH), PIECE, PIECE);
}

static void test_direct(void)
{
    int fd = open(path, O_RDWR | O_DIRECT);

    if (fd < 0) {
        g_test_skip("the file system does not know O_DIRECT");
        return;
    }
    close(fd);
    check_no_calls(open_file(path, BDRV_O_NOCACHE), PIECE, PIECE);
}

static void test_tmpfs(void)
{
    g_autofree char *name = g_strdup("/dev/shm/test-behind-XXXXXX");
    struct statfs st;
    int fd = g_mkstemp(name);

    if (fd < 0 || fstatfs(fd, &st) < 0 || st.f_type != TMPFS_MAGIC) {
        g_test_skip("there is no tmpfs in /dev/shm");
    } else {
        g_assert_cmpint(ftruncate(fd, SIZE), ==, 0);
        check_no_calls(open_file(name, 0), PIECE, PIECE);
    }
    if (fd >= 0) {
        close(fd);
        unlink(name);
    }
}

/* The same place again and again: the kernel writes it once, much later. */
static void test_again(void)
{
    BlockBackend *blk = open_file(path, 0);
    int64_t i;

    for (i = 0; i < 64 * MiB / PIECE; i++) {
        write_at(blk, i * PIECE % (8 * MiB), PIECE);
        drain(blk);
    }
    g_assert_cmpint(qatomic_read(&calls), <=, 1);
    blk_unref(blk);
}

int main(int argc, char **argv)
{
    struct statfs st;
    int fd, ret;

    qemu_init_main_loop(&error_abort);
    bdrv_init();
    g_test_init(&argc, &argv, NULL);
    fd = g_file_open_tmp("test-file-posix-behind-XXXXXX", &path, NULL);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, SIZE), ==, 0);
    g_assert_cmpint(fstatfs(fd, &st), ==, 0);
    in_memory = st.f_type == TMPFS_MAGIC;
    close(fd);
    data = qemu_memalign(4096, PIECE);
    memset(data, 0x5a, PIECE);
    g_test_add_func("/file/behind/in-order", test_in_order);
    g_test_add_func("/file/behind/several-at-once", test_several_at_once);
    g_test_add_func("/file/behind/drained", test_drained);
    g_test_add_func("/file/behind/pieces", test_pieces);
    g_test_add_func("/file/behind/not/small", test_small);
    g_test_add_func("/file/behind/not/scattered", test_scattered);
    g_test_add_func("/file/behind/not/no-flush", test_no_flush);
    g_test_add_func("/file/behind/not/direct", test_direct);
    g_test_add_func("/file/behind/not/tmpfs", test_tmpfs);
    g_test_add_func("/file/behind/not/again", test_again);
    ret = g_test_run();
    qemu_vfree(data);
    unlink(path);
    g_free(path);
    return ret;
}
