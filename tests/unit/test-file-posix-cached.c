/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine "threads" where the page cache has what is read, or the file is in
 * memory: no thread is waited for, the event loop has its turn, and errors are
 * told.
 */
#include "qemu/osdep.h"
#include "block/block.h"
#include "qapi/error.h"
#include "qemu/coroutine.h"
#include "qemu/main-loop.h"
#include "system/block-backend.h"

#include <dlfcn.h>
#include <glib/gstdio.h>
#include <linux/magic.h>
#include <sys/uio.h>
#include <sys/vfs.h>

#define BYTES (4 * MiB)
#define BLOCK 4096

static char *path;
static uint8_t *content;
static int fail_with;           /* errno of the next preadv2(), or 0 */
static int nowait_calls;
static pthread_t home;
static int calls_elsewhere;     /* of pread() by worker threads; atomic */

/* In front of the C library's. */
ssize_t preadv64v2(int fd, const struct iovec *iov, int niov, off64_t offset,
                   int flags)
{
    static ssize_t (*next)(int, const struct iovec *, int, off64_t, int);

    if (!next) {
        next = (ssize_t (*)(int, const struct iovec *, int, off64_t, int))
               dlsym(RTLD_NEXT, "preadv64v2");
    }
    if (flags & RWF_NOWAIT) {
        nowait_calls++;
        if (fail_with) {
            errno = fail_with;
            fail_with = 0;
            return -1;
        }
    }
    return next(fd, iov, niov, offset, flags);
}

ssize_t pread64(int fd, void *buf, size_t bytes, off64_t offset)
{
    static ssize_t (*next)(int, void *, size_t, off64_t);

    if (!qatomic_read(&next)) {
        qatomic_set(&next, (ssize_t (*)(int, void *, size_t, off64_t))
                           dlsym(RTLD_NEXT, "pread64"));
    }
    if (!pthread_equal(pthread_self(), home)) {
        qatomic_inc(&calls_elsewhere);
    }
    return qatomic_read(&next)(fd, buf, bytes, offset);
}

static void make_file(void)
{
    int fd = g_file_open_tmp("test-file-posix-cached-XXXXXX", &path, NULL);
    size_t i;

    g_assert_cmpint(fd, >=, 0);
    content = g_malloc(BYTES);
    for (i = 0; i < BYTES; i++) {
        content[i] = g_test_rand_int();
    }
    g_assert_cmpint(write(fd, content, BYTES), ==, BYTES);
    g_assert_cmpint(fsync(fd), ==, 0);
    close(fd);
}

/* Whether the file system can tell what is cached. */
static bool can_be_tried(void)
{
    uint8_t byte;
    struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
    int fd = open(path, O_RDONLY);
    bool can = preadv2(fd, &iov, 1, 0, RWF_NOWAIT) == 1 || errno == EAGAIN;

    close(fd);
    if (!can) {
        g_test_skip("the file system does not know RWF_NOWAIT");
    }
    return can;
}

static BlockBackend *open_file(int flags)
{
    QOpts *opts = qopts_new();

    qopts_set_str(opts, "driver", "file");
    return blk_new_open(path, NULL, opts, flags, &error_abort);
}

typedef struct {
    BlockBackend *blk;
    int64_t offset;
    int64_t bytes;
    uint8_t *buf;
    int ret;
    bool done;
} Read;

static void coroutine_fn read_entry(void *opaque)
{
    Read *r = opaque;

    r->ret = blk_co_pread(r->blk, r->offset, r->bytes, r->buf, 0);
    r->done = true;
}

/* Whether it was done at once; *@ret is its result. */
static bool read_at_once(BlockBackend *blk, int64_t offset, int64_t bytes,
                         int *ret)
{
    g_autofree uint8_t *buf = g_malloc(bytes);
    Read r = { .blk = blk, .offset = offset, .bytes = bytes, .buf = buf };
    bool at_once;

    qemu_coroutine_enter(qemu_coroutine_create(read_entry, &r));
    at_once = r.done;
    while (!r.done) {
        aio_poll(qemu_get_aio_context(), true);
    }
    *ret = r.ret;
    if (r.ret == 0) {
        g_assert_cmpint(memcmp(buf, content + offset, bytes), ==, 0);
    }
    return at_once;
}

static void test_cached(void)
{
    BlockBackend *blk = open_file(BDRV_O_RDWR);
    int i, ret, at_once = 0, in_a_row = 0;

    if (!can_be_tried()) {
        blk_unref(blk);
        return;
    }
    for (i = 0; i < 1000; i++) {
        int64_t offset = g_test_rand_int_range(0, BYTES / BLOCK) * BLOCK;

        if (i % 10 == 0) {
            /* Reads return the data that were written last. */
            memset(content + offset, i, BLOCK);
            g_assert_cmpint(blk_pwrite(blk, offset, BLOCK, content + offset,
                                       0), ==, 0);
        }
        if (read_at_once(blk, offset, BLOCK, &ret)) {
            at_once++;
            g_assert_cmpint(++in_a_row, <=, 32);
        } else {
            in_a_row = 0;
        }
        g_assert_cmpint(ret, ==, 0);
    }
    g_assert_cmpint(at_once, >, 900);
    g_assert_false(read_at_once(blk, 0, MiB, &ret));
    g_assert_cmpint(ret, ==, 0);
    blk_unref(blk);
}

static void test_errors(void)
{
    BlockBackend *blk = open_file(0);
    int ret;

    if (!can_be_tried()) {
        blk_unref(blk);
        return;
    }
    fail_with = EIO;
    g_assert_true(read_at_once(blk, 0, BLOCK, &ret));
    g_assert_cmpint(ret, ==, -EIO);
    /* A miss: a thread, and a pause of one read, then of two. */
    fail_with = EAGAIN;
    nowait_calls = 0;
    g_assert_false(read_at_once(blk, 0, BLOCK, &ret));
    g_assert_cmpint(ret, ==, 0);
    g_assert_false(read_at_once(blk, 0, BLOCK, &ret));
    g_assert_cmpint(nowait_calls, ==, 1);
    fail_with = EAGAIN;
    g_assert_false(read_at_once(blk, 0, BLOCK, &ret));
    g_assert_false(read_at_once(blk, 0, BLOCK, &ret));
    g_assert_false(read_at_once(blk, 0, BLOCK, &ret));
    g_assert_cmpint(nowait_calls, ==, 2);
    g_assert_true(read_at_once(blk, 0, BLOCK, &ret));
    /* A file system that cannot tell is not asked again. */
    fail_with = EOPNOTSUPP;
    g_assert_false(read_at_once(blk, 0, BLOCK, &ret));
    g_assert_cmpint(ret, ==, 0);
    nowait_calls = 0;
    g_assert_false(read_at_once(blk, 0, BLOCK, &ret));
    g_assert_cmpint(nowait_calls, ==, 0);
    blk_unref(blk);
}

/* Behind the end of the file are zeroes. */
static void test_end(void)
{
    BlockBackend *blk;
    int ret;

    g_assert_cmpint(truncate(path, BYTES - 512 - 100), ==, 0);
    memset(content + BYTES - 512 - 100, 0, 100);
    blk = open_file(0);
    read_at_once(blk, BYTES - 1024, 512, &ret);
    g_assert_cmpint(ret, ==, 0);
    blk_unref(blk);
}

typedef struct {
    BlockBackend *blk;
    int64_t offset;
    int64_t bytes;
    uint8_t *buf;
    BdrvRequestFlags flags;
    int ret;
    bool done;
} Write;

static void coroutine_fn write_entry(void *opaque)
{
    Write *w = opaque;

    w->ret = blk_co_pwrite(w->blk, w->offset, w->bytes, w->buf, w->flags);
    w->done = true;
}

/* As read_at_once(), of the same content at another place. */
static bool write_at_once(BlockBackend *blk, int64_t offset, int64_t bytes,
                          BdrvRequestFlags flags, int *ret)
{
    Write w = { .blk = blk, .offset = offset, .bytes = bytes,
                .buf = content + offset, .flags = flags };
    bool at_once;

    qemu_coroutine_enter(qemu_coroutine_create(write_entry, &w));
    at_once = w.done;
    while (!w.done) {
        aio_poll(qemu_get_aio_context(), true);
    }
    *ret = w.ret;
    return at_once;
}

/* Where a tmpfs is concerned io_uring is the engine "threads". */
#ifdef CONFIG_LINUX_IO_URING
#define IO_URING_FLAG BDRV_O_IO_URING
#else
#define IO_URING_FLAG 0
#endif

/* @flags: of the open. */
static void check_in_memory(int flags)
{
    BlockBackend *blk = open_file(BDRV_O_RDWR | flags);
    int i, ret, at_once = 0, in_a_row = 0;

    calls_elsewhere = 0;
    for (i = 0; i < 1000; i++) {
        int64_t offset = g_test_rand_int_range(0, BYTES / BLOCK) * BLOCK;
        bool now;

        if (i % 2) {
            now = read_at_once(blk, offset, BLOCK, &ret);
        } else {
            memset(content + offset, i, BLOCK);
            now = write_at_once(blk, offset, BLOCK, 0, &ret);
        }
        g_assert_cmpint(ret, ==, 0);
        in_a_row = now ? in_a_row + 1 : 0;
        at_once += now;
        g_assert_cmpint(in_a_row, <=, 32);
    }
    g_assert_cmpint(at_once, >, 900);
    g_assert_cmpint(at_once, <, 1000);
    g_assert_cmpint(calls_elsewhere, ==, 0);
    /* Long ones, and those that flush, are for threads. */
    g_assert_false(read_at_once(blk, 0, MiB, &ret));
    g_assert_cmpint(ret, ==, 0);
    g_assert_cmpint(calls_elsewhere, ==, 1);
    g_assert_false(write_at_once(blk, 0, MiB, 0, &ret));
    g_assert_cmpint(ret, ==, 0);
    g_assert_false(write_at_once(blk, 0, BLOCK, BDRV_REQ_FUA, &ret));
    g_assert_cmpint(ret, ==, 0);
    blk_unref(blk);
}

static bool is_tmpfs(const char *name)
{
    struct statfs st;

    return statfs(name, &st) == 0 && st.f_type == TMPFS_MAGIC;
}

static void test_in_memory(void)
{
    g_autofree char *saved = path;
    int fd;

    path = g_strdup("/dev/shm/test-file-posix-cached-XXXXXX");
    fd = is_tmpfs("/dev/shm") ? g_mkstemp(path) : -1;
    if (fd < 0) {
        g_test_skip("/dev/shm is no tmpfs, or cannot be written to");
    } else {
        g_assert_cmpint(write(fd, content, BYTES), ==, BYTES);
        close(fd);
        check_in_memory(0);
        check_in_memory(IO_URING_FLAG);
        /* Linux 6.6 */
        fd = open(path, O_RDONLY | O_DIRECT);
        if (fd >= 0) {
            close(fd);
            check_in_memory(BDRV_O_NOCACHE);
            check_in_memory(BDRV_O_NOCACHE | IO_URING_FLAG);
        }
        g_unlink(path);
    }
    g_free(path);
    path = g_steal_pointer(&saved);
}

/* Long reads, too, where nobody else waits; but now and then one is not. */
static void test_one_request(void)
{
    AioContext *ctx = qemu_get_aio_context();
    BlockBackend *blk = open_file(0);
    int i, ret, at_once = 0, in_a_row = 0;

    g_assert_false(read_at_once(blk, 0, MiB, &ret));
    g_assert_cmpint(ret, ==, 0);
    aio_context_set_one_request(ctx, true);
    for (i = 0; i < 100; i++) {
        bool now = read_at_once(blk, MiB, MiB, &ret);

        g_assert_cmpint(ret, ==, 0);
        at_once += now;
        in_a_row = now ? in_a_row + 1 : 0;
        g_assert_cmpint(in_a_row, <=, 32);
    }
    g_assert_cmpint(at_once, >, 90);
    aio_context_set_one_request(ctx, false);
    g_assert_false(read_at_once(blk, 0, MiB, &ret));
    g_assert_cmpint(ret, ==, 0);
    blk_unref(blk);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    home = pthread_self();
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    make_file();
    /* In this order: the last ones leave other content in the file. */
    g_test_add_func("/file-posix-cached/cached", test_cached);
    g_test_add_func("/file-posix-cached/one-request", test_one_request);
    g_test_add_func("/file-posix-cached/errors", test_errors);
    g_test_add_func("/file-posix-cached/end", test_end);
    g_test_add_func("/file-posix-cached/in-memory", test_in_memory);
    ret = g_test_run();
    g_unlink(path);
    g_free(path);
    g_free(content);
    return ret;
}
