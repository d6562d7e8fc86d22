/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Protocol driver "file": calls that fail while a file gets a new size.  The
 * user is told which one, and the size is what it was.
 */
#include "qemu/osdep.h"
#include "block/block.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "qemu/option.h"
#include "system/block-backend.h"
#include "test-thread-loop.h"

#include <dlfcn.h>

#define SIZE (64 * KiB)
#define LARGE (512 * KiB)
typedef enum {
    CALL_NONE, CALL_FTRUNCATE, CALL_FALLOCATE, CALL_WRITE, CALL_FSYNC,
} Call;

/* From its call number @from on @call fails with @err, @times times. */
static struct {
    Call call;
    unsigned from, times, seen;
    int err;
    bool full_disk;             /* posix_fallocate() has no room, besides */
} fault;

static char *path;

/* 0, or what @call has to fail with this time. */
static int fault_now(Call call)
{
    unsigned n = call == fault.call ? fault.seen++ : 0;

    return call == fault.call && n >= fault.from &&
           n < fault.from + fault.times ? fault.err : 0;
}

#define NEXT(name, type) ((type)dlsym(RTLD_NEXT, name))

int ftruncate64(int fd, off64_t size)
{
    errno = fault_now(CALL_FTRUNCATE);
    return errno ? -1 :
           NEXT("ftruncate64", int (*)(int, off64_t))(fd, size);
}

int posix_fallocate64(int fd, off64_t offset, off64_t bytes)
{
    int err = fault.full_disk ? ENOSPC : fault_now(CALL_FALLOCATE);

    if (err == ENOSPC) {
        /* As a file system does that finds out half-way. */
        g_assert_cmpint(ftruncate64(fd, offset + bytes / 2), ==, 0);
    }
    return err ? err :
           NEXT("posix_fallocate64", int (*)(int, off64_t, off64_t))
               (fd, offset, bytes);
}

ssize_t pwrite64(int fd, const void *buf, size_t bytes, off64_t offset)
{
    errno = fault_now(CALL_WRITE);
    return errno ? -1 :
           NEXT("pwrite64", ssize_t (*)(int, const void *, size_t, off64_t))
               (fd, buf, bytes, offset);
}

int fsync(int fd)
{
    errno = fault_now(CALL_FSYNC);
    return errno ? -1 : NEXT("fsync", int (*)(int))(fd);
}

static int64_t file_size(void)
{
    struct stat st;

    return stat(path, &st) < 0 ? -errno : (int64_t)st.st_size;
}

static BlockBackend *open_new(void)
{
    QOpts *opts = qopts_parse("driver=file", NULL, &error_abort);

    unlink(path);
    bdrv_create(bdrv_find_format("file"), path,
                qopts_parse("size=64k", NULL, &error_abort), &error_abort);
    return blk_new_open(path, NULL, opts, BDRV_O_RDWR | BDRV_O_RESIZE,
                        &error_abort);
}

typedef struct {
    PreallocMode mode;
    Call call;
    unsigned from, times;
    int err;
    const char *text;           /* of the error; NULL: it works */
    int64_t size;               /* to resize to; 0: LARGE */
} Case;

static void check_case(const Case *c)
{
    BlockBackend *blk = open_new();
    int64_t size = c->size ? c->size : LARGE;
    Error *err = NULL;
    int ret;

    fault.call = c->call;
    fault.from = c->from;
    fault.times = c->times;
    fault.err = c->err;
    fault.seen = 0;
    ret = blk_truncate(blk, size, true, c->mode, 0, &err);
    fault.call = CALL_NONE;
    /* The call was made as often as it had to fail. */
    g_assert_cmpuint(fault.seen, >=, c->from + c->times);
    if (c->text) {
        g_assert_cmpint(ret, ==, -c->err);
        g_assert_cmpstr(error_get_pretty(err), ==, c->text);
        error_free_or_abort(&err);
        size = SIZE;
    } else {
        g_assert_cmpint(ret, ==, 0);
    }
    g_assert_cmpint(file_size(), ==, size);
    g_assert_cmpint(blk_getlength(blk), ==, size);
    blk_unref(blk);
}

/* A signal during a call changes nothing. */
static void test_interrupted(void)
{
    static const Case cases[] = {
        { PREALLOC_MODE_OFF, CALL_FTRUNCATE, 0, 2, EINTR },
        { PREALLOC_MODE_FALLOC, CALL_FALLOCATE, 0, 2, EINTR },
        { PREALLOC_MODE_FULL, CALL_FTRUNCATE, 0, 2, EINTR },
        { PREALLOC_MODE_FULL, CALL_WRITE, 3, 2, EINTR },
        { PREALLOC_MODE_FULL, CALL_FSYNC, 0, 2, EINTR },
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        check_case(&cases[i]);
    }
}

/* The driver tells of what fails, and the file has its old size. */
static void test_fails(void)
{
    static const Case cases[] = {
        { PREALLOC_MODE_OFF, CALL_FTRUNCATE, 0, 1, EFBIG,
          "Failed to resize file: File too large" },
        { PREALLOC_MODE_OFF, CALL_FTRUNCATE, 0, 1, EPERM,
          "Failed to resize file: Operation not permitted", 512 },
        { PREALLOC_MODE_FALLOC, CALL_FALLOCATE, 0, 1, ENOSPC,
          "Could not preallocate data: No space left on device" },
        { PREALLOC_MODE_FALLOC, CALL_FALLOCATE, 0, 1, EOPNOTSUPP,
          "Could not preallocate data: Operation not supported" },
        { PREALLOC_MODE_FULL, CALL_FTRUNCATE, 0, 1, EFBIG,
          "Could not resize file: File too large" },
        { PREALLOC_MODE_FULL, CALL_WRITE, 3, 1, ENOSPC,
          "Could not write zeros for preallocation: No space left on "
          "device" },
        { PREALLOC_MODE_FULL, CALL_FSYNC, 0, 1, EIO,
          "Could not flush file to disk: Input/output error" },
        { PREALLOC_MODE_METADATA, CALL_NONE, 0, 0, ENOTSUP,
          "Unsupported preallocation mode: metadata" },
        { PREALLOC_MODE_FULL, CALL_NONE, 0, 0, EINVAL,
          "Preallocation can't be used for shrinking files", 512 },
        { PREALLOC_MODE_FALLOC, CALL_NONE, 0, 0, EINVAL,
          "Preallocation can't be used for shrinking files", 512 },
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        check_case(&cases[i]);
    }
}

/* A size that stays the same has nothing to preallocate. */
static void test_same(void)
{
    static const Case cases[] = {
        { .mode = PREALLOC_MODE_FALLOC, .size = SIZE },
        { .mode = PREALLOC_MODE_FULL, .size = SIZE },
        { .mode = PREALLOC_MODE_OFF, .size = SIZE },
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        check_case(&cases[i]);
    }
}

/* The old size cannot be had again: that is told, too. */
static void test_not_restored(void)
{
    BlockBackend *blk;
    Error *err = NULL;

    if (!in_own_process()) {
        g_test_trap_assert_stderr("*Failed to restore old file length: "
                                  "Input/output error\n*");
        return;
    }
    blk = open_new();
    fault.call = CALL_FTRUNCATE;
    fault.from = fault.times = 1;       /* the first is posix_fallocate()'s */
    fault.err = EIO;
    fault.full_disk = true;
    g_assert_cmpint(blk_truncate(blk, LARGE, true, PREALLOC_MODE_FALLOC, 0,
                                 &err), ==, -ENOSPC);
    error_free_or_abort(&err);
    fault.call = CALL_NONE;
    blk_unref(blk);
}

/* A file that a create has made goes away if it fails; another one stays. */
static void test_create(void)
{
    static const struct {
        Call call;
        int err;
        const char *text;
    } cases[] = {
        { CALL_FALLOCATE, ENOSPC,
          "Could not preallocate data: No space left on device" },
        { CALL_FTRUNCATE, EIO, "Could not clear '%s': Input/output error" },
    };
    bool exists;
    size_t i;

    for (i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
        g_autofree char *text = g_strdup_printf(cases[i / 2].text, path);
        Error *err = NULL;

        exists = i % 2;
        unlink(path);
        if (exists) {
            g_assert(g_file_set_contents(path, "old", 3, NULL));
        }
        fault.call = cases[i / 2].call;
        fault.err = cases[i / 2].err;
        fault.from = fault.seen = 0;
        fault.times = 1;
        g_assert_cmpint(bdrv_create(bdrv_find_format("file"), path,
                                    qopts_parse("size=64k,"
                                                "preallocation=falloc", NULL,
                                                &error_abort), &err), ==,
                        -fault.err);
        fault.call = CALL_NONE;
        g_assert_cmpstr(error_get_pretty(err), ==, text);
        error_free_or_abort(&err);
        g_assert(g_file_test(path, G_FILE_TEST_EXISTS) == exists);
        if (exists) {
            /* Before it was cleared nothing has happened to it. */
            g_assert_cmpint(file_size(), ==, i / 2 ? 3 : 0);
        }
    }
}

int main(int argc, char **argv)
{
    g_autofree char *dir = g_dir_make_tmp("test-file-posix-size-XXXXXX", NULL);
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    path = g_build_filename(dir, "image", NULL);
    g_test_add_func("/file-posix/size/interrupted", test_interrupted);
    g_test_add_func("/file-posix/size/fails", test_fails);
    g_test_add_func("/file-posix/size/same", test_same);
    g_test_add_func("/file-posix/size/not-restored", test_not_restored);
    g_test_add_func("/file-posix/size/create", test_create);
    ret = g_test_run();
    unlink(path);
    rmdir(dir);
    g_free(path);
    qemu_cleanup_main_loop();
    return ret;
}
