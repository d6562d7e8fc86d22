/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Protocol driver "file": locks, zeroes, discard, creation, alignment, and
 * which requests the event loop may stay awake for.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "qemu/cutils.h"
#include "qemu/main-loop.h"
#include "qemu/defer-call.h"
#include "system/block-backend.h"

#include <linux/magic.h>
#include <sys/vfs.h>

static char *dir;

static char *image_path(const char *name)
{
    return g_build_filename(dir, name, NULL);
}

static void create(const char *path, const char *options)
{
    bdrv_create(bdrv_find_format("file"), path,
                qopts_parse(options, NULL, &error_abort), &error_abort);
}

static BlockBackend *open_with(const char *path, const char *options,
                               int flags, Error **errp)
{
    QOpts *opts = qopts_parse(options, NULL, &error_abort);

    return blk_new_open(path, NULL, opts, flags, errp);
}

/* Held by a node that lets nobody else write, as a format does. */
static BlockBackend *open_exclusive(const char *path, Error **errp)
{
    return open_with(path, "driver=raw", BDRV_O_RDWR | BDRV_O_NO_SHARE, errp);
}

static void check_refused(const char *path, int flags, const char *options,
                          const char *message)
{
    Error *err = NULL;

    g_assert(!open_with(path, options, flags, &err));
    g_assert_cmpstr(error_get_pretty(err), ==, message);
    error_free_or_abort(&err);
}

/* Locks are of file descriptions: two nodes are as two programs. */
static void test_locks(void)
{
    g_autofree char *path = image_path("locks");
    BlockBackend *a, *b;
    Error *err = NULL;

    create(path, "size=64k");
    a = open_exclusive(path, &error_abort);
    check_refused(path, BDRV_O_RDWR, "driver=raw",
                  "Failed to get \"write\" lock");
    check_refused(path, BDRV_O_RDWR | BDRV_O_NO_SHARE, "driver=raw",
                  "Failed to get \"write\" lock");
    /* A reader that shares everything is fine; so is locking=off. */
    b = open_with(path, "driver=raw", 0, &error_abort);
    blk_unref(b);
    b = open_with(path, "driver=raw,file.locking=off", BDRV_O_RDWR,
                  &error_abort);
    blk_unref(b);
    g_assert(!open_exclusive(path, &err));
    error_free_or_abort(&err);
    blk_unref(a);

    /* A writer first; somebody who allows none comes second. */
    a = open_with(path, "driver=raw", BDRV_O_RDWR, &error_abort);
    check_refused(path, BDRV_O_NO_SHARE, "driver=raw",
                  "Failed to get shared \"write\" lock");
    blk_unref(a);
    /* What was refused has left no lock behind. */
    a = open_exclusive(path, &error_abort);
    blk_unref(a);
    unlink(path);
}

/* Creating does not destroy an image that is in use. */
static void test_create_locked(void)
{
    g_autofree char *path = image_path("create-locked");
    uint8_t buf[512] = { 1, 2, 3 };
    BlockBackend *blk;
    Error *err = NULL;

    create(path, "size=64k");
    blk = open_exclusive(path, &error_abort);
    g_assert_cmpint(blk_pwrite(blk, 0, 512, buf, 0), ==, 0);
    g_assert_cmpint(bdrv_create(bdrv_find_format("file"), path,
                                qopts_parse("size=32k", NULL, &error_abort),
                                &err), <, 0);
    g_assert(strstr(error_get_pretty(err), "lock"));
    error_free_or_abort(&err);
    g_assert_cmpint(blk_pread(blk, 0, 512, buf, 0), ==, 0);
    g_assert_cmpuint(buf[1], ==, 2);
    blk_unref(blk);
    unlink(path);
}

static int64_t allocated(const char *path)
{
    struct stat st;

    g_assert_cmpint(stat(path, &st), ==, 0);
    return st.st_blocks * 512;
}

static void test_create(void)
{
    static const struct {
        const char *options;
        int64_t size, min_allocated;
    } cases[] = {
        /* The first block is there, for alignment to be found out. */
        { "size=1M", 1 * MiB, 512 },
        { "size=512", 512, 512 },
        { "size=1000", 1024, 0 },
        { "size=0", 0, 0 },
        { "size=256k,preallocation=falloc", 256 * KiB, 256 * KiB },
        { "size=256k,preallocation=full", 256 * KiB, 256 * KiB },
    };
    g_autofree char *path = image_path("create");
    Error *err = NULL;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        struct stat st;

        create(path, cases[i].options);
        g_assert_cmpint(stat(path, &st), ==, 0);
        g_assert_cmpint(st.st_size, ==, cases[i].size);
        g_assert_cmpint(allocated(path), >=, cases[i].min_allocated);
        unlink(path);
    }
    g_assert_cmpint(bdrv_create(bdrv_find_format("file"), path,
                                qopts_parse("size=1M,preallocation=metadata",
                                            NULL, &error_abort), &err), <, 0);
    error_free_or_abort(&err);
    unlink(path);
}

/* With O_DIRECT, and with ends that are no ends of blocks. */
static void test_preallocate_direct(void)
{
    g_autofree char *path = image_path("direct");
    BlockBackend *blk;
    int64_t size;

    create(path, "size=512");
    blk = open_with(path, "driver=raw,cache.direct=on",
                    BDRV_O_RDWR | BDRV_O_RESIZE, &error_abort);
    for (size = 100 * KiB + 512; size < 400 * KiB; size += 100 * KiB + 512) {
        g_assert_cmpint(blk_truncate(blk, size, true, PREALLOC_MODE_FULL, 0,
                                     &error_abort), ==, 0);
        g_assert_cmpint(blk_getlength(blk), ==, size);
        g_assert_cmpint(allocated(path), >=, size);
    }
    blk_unref(blk);
    unlink(path);
}

static void check_zero(BlockBackend *blk, int64_t offset, int64_t bytes)
{
    g_autofree uint8_t *buf = g_malloc(bytes);

    memset(buf, 1, bytes);
    g_assert_cmpint(blk_pread(blk, offset, bytes, buf, 0), ==, 0);
    g_assert(buffer_is_zero(buf, bytes));
}

/* Zeroes read as zeroes; unmapped ones take no space, the others do. */
static void do_test_zeroes(const char *options)
{
    g_autofree char *path = image_path("zeroes");
    g_autofree uint8_t *buf = g_malloc(1 * MiB);
    BlockBackend *blk;
    int64_t full;

    create(path, "size=1M");
    blk = open_with(path, options, BDRV_O_RDWR | BDRV_O_UNMAP, &error_abort);
    memset(buf, 7, 1 * MiB);
    g_assert_cmpint(blk_pwrite(blk, 0, 1 * MiB, buf, 0), ==, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    full = allocated(path);

    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 256 * KiB, 0), ==, 0);
    check_zero(blk, 0, 256 * KiB);
    g_assert_cmpint(allocated(path), ==, full);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 256 * KiB, 256 * KiB,
                                      BDRV_REQ_MAY_UNMAP), ==, 0);
    check_zero(blk, 256 * KiB, 256 * KiB);
    g_assert_cmpint(allocated(path), <=, full - 256 * KiB);
    g_assert_cmpint(blk_pdiscard(blk, 512 * KiB, 256 * KiB), ==, 0);
    g_assert_cmpint(allocated(path), <=, full - 512 * KiB);
    g_assert_cmpint(blk_pread(blk, 768 * KiB, 4096, buf, 0), ==, 0);
    g_assert_cmpuint(buf[0], ==, 7);
    blk_unref(blk);
    unlink(path);
}

static void test_zeroes(void)
{
    do_test_zeroes("driver=raw");
}

static void test_zeroes_direct(void)
{
    do_test_zeroes("driver=raw,cache.direct=on");
}

/* detect-zeroes=unmap: writes of zeroes free space. */
static void test_detect_zeroes(void)
{
    g_autofree char *path = image_path("detect");
    g_autofree uint8_t *buf = g_malloc(256 * KiB);
    BlockBackend *blk;
    int64_t full;

    create(path, "size=256k,preallocation=full");
    full = allocated(path);
    blk = open_with(path, "driver=raw,discard=unmap,detect-zeroes=unmap",
                    BDRV_O_RDWR, &error_abort);
    memset(buf, 0, 256 * KiB);
    g_assert_cmpint(blk_pwrite(blk, 0, 256 * KiB, buf, 0), ==, 0);
    g_assert_cmpint(allocated(path), <=, full - 256 * KiB);
    blk_unref(blk);
    unlink(path);
}

static void test_types(void)
{
    g_autofree char *message =
        g_strdup_printf("'file' driver requires '%s' to be a regular file",
                        dir);

    check_refused(dir, 0, "driver=raw", message);
}

/* proc is a file system without O_DIRECT. */
static void test_no_direct(void)
{
    int fd = open("/proc/version", O_RDONLY | O_DIRECT);

    if (fd >= 0 || access("/proc/version", R_OK) < 0) {
        g_test_skip("no file without O_DIRECT");
        close(fd);
        return;
    }
    check_refused("/proc/version", 0, "driver=raw,cache.direct=on",
                  "Could not open '/proc/version': filesystem does not "
                  "support O_DIRECT");
}

/* VmRSS or VmHWM of this process, in bytes. */
static int64_t memory(const char *what)
{
    g_autofree char *text = NULL;
    const char *line;

    g_assert(g_file_get_contents("/proc/self/status", &text, NULL, NULL));
    line = strstr(text, what);
    g_assert(line);
    return strtoll(line + strlen(what) + 1, NULL, 10) * KiB;
}

static void forget_peak(void)
{
    int fd = open("/proc/self/clear_refs", O_WRONLY);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, "5", 1), ==, 1);
    close(fd);
}

/*
 * A buffer that O_DIRECT does not take, as a guest may have: the data are
 * right, and the memory for that does not grow with the request.
 */
static void test_misaligned(void)
{
    const int64_t size = 24 * MiB + 512;
    g_autofree char *path = image_path("misaligned");
    QEMU_AUTO_VFREE uint32_t *both = qemu_memalign(4096, 2 * size);
    char *from = (char *)both + 4, *to = from + size;
    BlockBackend *blk;
    int64_t before, i;

    for (i = 0; i < 2 * size / 4; i++) {
        both[i] = i;
    }
    create(path, "size=32M");
    blk = open_with(path, "driver=raw,cache.direct=on", BDRV_O_RDWR,
                    &error_abort);
    forget_peak();
    before = memory("VmRSS");
    g_assert_cmpint(blk_pwrite(blk, 4096, size - 8, from, 0), ==, 0);
    g_assert_cmpint(blk_pread(blk, 4096, size - 8, to, 0), ==, 0);
    g_assert_cmpint(memory("VmHWM") - before, <, 8 * MiB);
    g_assert(!memcmp(from, to, size - 8));
    blk_unref(blk);
    unlink(path);
}

typedef struct {
    BlockBackend *blk;
    void *buf;
    BdrvRequestFlags flags;
    bool done;
} Lone;

static void coroutine_fn lone_entry(void *opaque)
{
    Lone *l = opaque;

    g_assert_cmpint(blk_co_pwrite(l->blk, 0, 4096, l->buf, l->flags), ==, 0);
    l->done = true;
}

/* Those that the kernel does by itself are counted until they are complete. */
static void check_counted(const char *engine, BdrvRequestFlags flags,
                          bool counted)
{
    AioContext *ctx = qemu_get_aio_context();
    g_autofree char *path = image_path("counted");
    g_autofree char *options = g_strdup_printf("driver=file,aio=%s", engine);
    QEMU_AUTO_VFREE void *buf = qemu_memalign(4096, 4096);
    Lone lone = { .buf = buf, .flags = flags };

    memset(buf, 1, 4096);
    create(path, "size=1M");
    lone.blk = open_with(path, options, BDRV_O_RDWR, &error_abort);
    defer_call_begin();
    qemu_coroutine_enter(qemu_coroutine_create(lone_entry, &lone));
    if (!lone.done) {
        g_assert_cmpint(ctx->disk_requests, ==, counted);
    }
    defer_call_end();
    while (!lone.done) {
        aio_poll(ctx, true);
    }
    g_assert_cmpint(ctx->disk_requests, ==, 0);
    blk_unref(lone.blk);
    unlink(path);
}

static void test_counted(void)
{
    struct statfs st G_GNUC_UNUSED;

    check_counted("threads", 0, false);
#ifdef CONFIG_LINUX_AIO
    check_counted("native", 0, true);
    check_counted("native", BDRV_REQ_FUA, true);
#endif
#ifdef CONFIG_LINUX_IO_URING
    /* In a tmpfs it is the engine "threads". */
    if (statfs(dir, &st) == 0 && st.f_type != TMPFS_MAGIC) {
        check_counted("io_uring", 0, true);
        check_counted("io_uring", BDRV_REQ_FUA, true);
    }
#endif
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    dir = g_dir_make_tmp("test-file-posix-XXXXXX", NULL);
    g_assert(dir);

    g_test_add_func("/file-posix/locks", test_locks);
    g_test_add_func("/file-posix/create", test_create);
    g_test_add_func("/file-posix/create-locked", test_create_locked);
    g_test_add_func("/file-posix/preallocate-direct",
                    test_preallocate_direct);
    g_test_add_func("/file-posix/zeroes", test_zeroes);
    g_test_add_func("/file-posix/zeroes-direct", test_zeroes_direct);
    g_test_add_func("/file-posix/detect-zeroes", test_detect_zeroes);
    g_test_add_func("/file-posix/misaligned", test_misaligned);
    g_test_add_func("/file-posix/counted", test_counted);
    g_test_add_func("/file-posix/types", test_types);
    g_test_add_func("/file-posix/no-direct", test_no_direct);
    ret = g_test_run();

    rmdir(dir);
    g_free(dir);
    qemu_cleanup_main_loop();
    return ret;
}
