/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The request path: any alignment, any engine and cache mode, against a copy
 * of the disk in memory; writes that share a block; drain, reopen, flags.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "qemu/main-loop.h"
#include "system/block-backend.h"

/* The engine that most tests use. */
#ifdef CONFIG_LINUX_AIO
#define AIO "native"
#else
#define AIO "threads"
#endif

#define DISK_SIZE (256 * 1024)

static char *dir;

static char *make_image(const char *name, size_t size)
{
    char *path = g_build_filename(dir, name, NULL);
    g_autofree char *zeroes = g_malloc0(size);

    g_assert(g_file_set_contents(path, zeroes, size, NULL));
    return path;
}

static BlockBackend *open_image(const char *path, const char *aio,
                                const char *cache, bool rdwr)
{
    int flags = rdwr ? BDRV_O_RDWR | BDRV_O_UNMAP : 0;
    QOpts *opts = qopts_new();
    bool writethrough;
    BlockBackend *blk;

    g_assert_cmpint(bdrv_parse_aio(aio, &flags), ==, 0);
    g_assert_cmpint(bdrv_parse_cache_mode(cache, &flags, &writethrough), ==,
                    0);
    qopts_set_str(opts, "driver", "raw");
    blk = blk_new_open(path, NULL, opts, flags, &error_abort);
    blk_set_enable_write_cache(blk, !writethrough);
    return blk;
}

/* --- one request after the other, against a model --- */

static void random_range(GRand *r, int64_t *offset, int64_t *bytes)
{
    int64_t max = g_rand_boolean(r) ? 5000 : 40000;

    *offset = g_rand_int_range(r, 0, DISK_SIZE);
    *bytes = g_rand_int_range(r, 1, max);
    *bytes = MIN(*bytes, DISK_SIZE - *offset);
    if (g_rand_int_range(r, 0, 4) == 0) {
        *offset = QEMU_ALIGN_DOWN(*offset, 4096);
        *bytes = MIN(QEMU_ALIGN_UP(*bytes, 4096), DISK_SIZE - *offset);
    }
}

/* A vector of a few pieces at odd addresses. */
static void random_qiov(GRand *r, QEMUIOVector *qiov, uint8_t *buf,
                        int64_t bytes)
{
    int64_t done = 0;

    qemu_iovec_init(qiov, 4);
    while (done < bytes) {
        int64_t n = qiov->niov == 3 ? bytes - done :
                    g_rand_int_range(r, 1, bytes - done + 1);

        qemu_iovec_add(qiov, buf + done, n);
        done += n;
    }
}

static void random_request(BlockBackend *blk, GRand *r, uint8_t *model)
{
    int64_t offset, bytes;
    g_autofree uint8_t *buf = NULL;
    QEMUIOVector qiov;
    int64_t i;

    random_range(r, &offset, &bytes);
    buf = g_malloc(bytes);
    random_qiov(r, &qiov, buf, bytes);
    switch (g_rand_int_range(r, 0, 8)) {
    case 0 ... 2:
        for (i = 0; i < bytes; i++) {
            buf[i] = g_rand_int(r);
        }
        g_assert_cmpint(blk_pwritev(blk, offset, bytes, &qiov,
                                    g_rand_boolean(r) ? BDRV_REQ_FUA : 0),
                        ==, 0);
        memcpy(model + offset, buf, bytes);
        break;
    case 3:
        g_assert_cmpint(blk_pwrite_zeroes(blk, offset, bytes,
                                          g_rand_boolean(r) ?
                                          BDRV_REQ_MAY_UNMAP : 0), ==, 0);
        memset(model + offset, 0, bytes);
        break;
    case 4:
        g_assert_cmpint(blk_flush(blk), ==, 0);
        break;
    default:
        g_assert_cmpint(blk_preadv(blk, offset, bytes, &qiov, 0), ==, 0);
        g_assert(!memcmp(buf, model + offset, bytes));
    }
    qemu_iovec_destroy(&qiov);
}

static void do_test_random(const char *aio, const char *cache)
{
    g_autofree char *path = make_image("random", DISK_SIZE);
    g_autofree uint8_t *model = g_malloc0(DISK_SIZE);
    g_autofree char *content = NULL;
    GRand *r = g_rand_new_with_seed(g_test_rand_int());
    BlockBackend *blk = open_image(path, aio, cache, true);
    size_t len;
    int i;

    for (i = 0; i < 400; i++) {
        random_request(blk, r, model);
    }
    blk_unref(blk);
    g_rand_free(r);
    g_assert(g_file_get_contents(path, &content, &len, NULL));
    g_assert_cmpuint(len, ==, DISK_SIZE);
    g_assert(!memcmp(content, model, DISK_SIZE));
    unlink(path);
}

static void test_random(gconstpointer data)
{
    g_auto(GStrv) mode = g_strsplit(data, "/", 2);

    do_test_random(mode[0], mode[1]);
}

/* --- many at once, each to bytes of its own in blocks shared by all --- */

#define N_WRITERS 48
#define PIECE 100

typedef struct {
    uint8_t buf[PIECE];
    QEMUIOVector qiov;
    int *left;
} PieceWriter;

static void piece_done(void *opaque, int ret)
{
    PieceWriter *w = opaque;

    g_assert_cmpint(ret, ==, 0);
    --*w->left;
}

static void test_shared_blocks(void)
{
    g_autofree char *path = make_image("shared", DISK_SIZE);
    BlockBackend *blk = open_image(path, AIO, "none", true);
    PieceWriter w[N_WRITERS];
    uint8_t buf[N_WRITERS * PIECE];
    int i, j, round, left;

    for (round = 0; round < 10; round++) {
        left = N_WRITERS;
        for (i = 0; i < N_WRITERS; i++) {
            int slot = (i * 29) % N_WRITERS;

            w[i].left = &left;
            memset(w[i].buf, slot + round, PIECE);
            qemu_iovec_init_buf(&w[i].qiov, w[i].buf, PIECE);
            blk_aio_pwritev(blk, 777 + slot * PIECE, &w[i].qiov, 0,
                            piece_done, &w[i]);
        }
        g_assert_cmpint(left, ==, N_WRITERS);
        while (left) {
            aio_poll(qemu_get_aio_context(), true);
        }
        g_assert_cmpint(blk_pread(blk, 777, sizeof(buf), buf, 0), ==, 0);
        for (i = 0; i < N_WRITERS; i++) {
            for (j = 0; j < PIECE; j++) {
                g_assert_cmpuint(buf[i * PIECE + j], ==, i + round);
            }
        }
    }
    blk_unref(blk);
    unlink(path);
}

/* As many elements as there may be, and padding comes on top. */
static void test_long_vector(void)
{
    g_autofree char *path = make_image("vector", DISK_SIZE);
    BlockBackend *blk = open_image(path, AIO, "none", true);
    size_t n = IOV_MAX * 13, i;
    g_autofree uint8_t *out = g_malloc(n), *in = g_malloc0(n);
    QEMUIOVector qiov;

    for (i = 0; i < n; i++) {
        out[i] = i * 11 + (i >> 8);
    }
    qemu_iovec_init(&qiov, IOV_MAX);
    for (i = 0; i < IOV_MAX; i++) {
        qemu_iovec_add(&qiov, out + i * 13, 13);
    }
    g_assert_cmpint(blk_pwritev(blk, 4097, n, &qiov, 0), ==, 0);
    qemu_iovec_reset(&qiov);
    for (i = 0; i < IOV_MAX; i++) {
        qemu_iovec_add(&qiov, in + i * 13, 13);
    }
    g_assert_cmpint(blk_preadv(blk, 4097, n, &qiov, 0), ==, 0);
    g_assert(!memcmp(in, out, n));
    g_assert_cmpint(blk_pread(blk, 4096, 1, in, 0), ==, 0);
    g_assert_cmpuint(in[0], ==, 0);
    qemu_iovec_destroy(&qiov);
    blk_unref(blk);
    unlink(path);
}

/* --- limits and refusals --- */

static void test_bounds(void)
{
    g_autofree char *path = make_image("bounds", DISK_SIZE);
    BlockBackend *blk = open_image(path, "threads", "writeback", true);
    uint8_t buf[512] = { 1 };

    g_assert_cmpint(blk_pread(blk, DISK_SIZE - 512, 512, buf, 0), ==, 0);
    g_assert_cmpint(blk_pread(blk, DISK_SIZE, 512, buf, 0), ==, -EIO);
    g_assert_cmpint(blk_pread(blk, -512, 512, buf, 0), ==, -EIO);
    g_assert_cmpint(blk_pwrite(blk, DISK_SIZE - 511, 512, buf, 0), ==, -EIO);
    g_assert_cmpint(blk_pwrite(blk, INT64_MAX - 100, 512, buf, 0), ==, -EIO);
    g_assert_cmpint(blk_pread(blk, 17, 0, buf, 0), ==, 0);
    blk_unref(blk);

    blk = open_image(path, "threads", "writeback", false);
    g_assert_cmpint(blk_pread(blk, 0, 512, buf, 0), ==, 0);
    g_assert_cmpint(blk_pwrite(blk, 0, 512, buf, 0), ==, -EPERM);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    blk_unref(blk);
    unlink(path);
}

/* A file that ends within a block reads as zeroes up to its end. */
static void test_odd_size(void)
{
    const char *caches[] = { "writeback", "none" };
    const char *aios[] = { "threads", AIO };
    size_t c, a;

    for (c = 0; c < 2; c++) {
        for (a = 0; a < 2; a++) {
            g_autofree char *path = make_image("odd", 1000);
            BlockBackend *blk = open_image(path, aios[a], caches[c], true);
            uint8_t buf[1024];
            size_t i;

            g_assert_cmpint(blk_getlength(blk), ==, 1024);
            memset(buf, 1, sizeof(buf));
            g_assert_cmpint(blk_pread(blk, 0, 1024, buf, 0), ==, 0);
            for (i = 0; i < sizeof(buf); i++) {
                g_assert_cmpuint(buf[i], ==, 0);
            }
            memset(buf, 1, sizeof(buf));
            g_assert_cmpint(blk_pread(blk, 990, 34, buf, 0), ==, 0);
            g_assert_cmpuint(buf[33], ==, 0);
            blk_unref(blk);
            unlink(path);
        }
    }
}

static void test_truncate(void)
{
    g_autofree char *path = make_image("truncate", 4096);
    BlockBackend *blk = open_image(path, "threads", "writeback", true);
    Error *err = NULL;
    uint8_t buf[512];

    blk_set_perm(blk, BLK_PERM_ALL, BLK_PERM_ALL, &error_abort);
    g_assert_cmpint(blk_truncate(blk, 8192, true, PREALLOC_MODE_OFF, 0,
                                 &error_abort), ==, 0);
    g_assert_cmpint(blk_getlength(blk), ==, 8192);
    g_assert_cmpint(blk_pread(blk, 7680, 512, buf, 0), ==, 0);
    g_assert_cmpint(blk_truncate(blk, 65536, true, PREALLOC_MODE_FULL, 0,
                                 &error_abort), ==, 0);
    g_assert_cmpint(blk_truncate(blk, 512, true, PREALLOC_MODE_OFF, 0,
                                 &error_abort), ==, 0);
    g_assert_cmpint(blk_pread(blk, 512, 512, buf, 0), ==, -EIO);
    g_assert_cmpint(blk_truncate(blk, -1, true, PREALLOC_MODE_OFF, 0, &err),
                    ==, -EINVAL);
    error_free_or_abort(&err);
    blk_unref(blk);
    unlink(path);
}

static void test_block_status(void)
{
    g_autofree char *path = make_image("status", 0);
    BlockBackend *blk;
    uint8_t buf[4096];
    int64_t pnum, map;
    BlockDriverState *file;
    int ret;

    g_assert_cmpint(truncate(path, 4 * MiB), ==, 0);
    blk = open_image(path, "threads", "writeback", true);
    memset(buf, 5, sizeof(buf));
    g_assert_cmpint(blk_pwrite(blk, 1 * MiB, 4096, buf, 0), ==, 0);
    ret = bdrv_block_status(blk_bs(blk), 0, 4 * MiB, &pnum, &map, &file);
    g_assert_cmpint(ret & (BDRV_BLOCK_DATA | BDRV_BLOCK_ZERO), ==,
                    BDRV_BLOCK_ZERO);
    g_assert_cmpint(pnum, ==, 1 * MiB);
    ret = bdrv_block_status(blk_bs(blk), 1 * MiB, 3 * MiB, &pnum, &map,
                            &file);
    g_assert(ret & BDRV_BLOCK_DATA);
    g_assert_cmpint(map, ==, 1 * MiB);
    ret = bdrv_block_status(blk_bs(blk), 4 * MiB, 512, &pnum, &map, &file);
    g_assert_cmpint(ret, ==, BDRV_BLOCK_EOF);
    g_assert_cmpint(pnum, ==, 0);
    blk_unref(blk);
    unlink(path);
}

/* --- graph --- */

static void test_reopen(void)
{
    g_autofree char *path = make_image("reopen", DISK_SIZE);
    BlockBackend *blk = open_image(path, "threads", "writeback", true);
    BlockDriverState *bs = blk_bs(blk);
    uint8_t buf[512] = { 9 };

    g_assert_cmpint(blk_pwrite(blk, 0, 512, buf, 0), ==, 0);
    blk_set_perm(blk, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL, &error_abort);
    g_assert_cmpint(bdrv_reopen(bs, bdrv_get_flags(bs) & ~BDRV_O_RDWR, NULL,
                                &error_abort), ==, 0);
    g_assert_cmpint(blk_pwrite(blk, 0, 512, buf, 0), ==, -EPERM);
    g_assert_cmpint(bdrv_reopen(bs, bdrv_get_flags(bs) | BDRV_O_RDWR |
                                BDRV_O_NOCACHE, NULL, &error_abort), ==, 0);
    blk_set_perm(blk, BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE,
                 BLK_PERM_ALL, &error_abort);
    g_assert_cmpint(blk_pwrite(blk, 3, 12, buf, 0), ==, 0);
    blk_unref(blk);
    unlink(path);
}

static void test_errors(void)
{
    g_autofree char *path = make_image("errors", DISK_SIZE);
    g_autofree char *missing = g_build_filename(dir, "missing", NULL);
    static const struct {
        const char *options;
        const char *want;
    } cases[] = {
        { "driver=nosuch", "Unknown driver 'nosuch'" },
        { "driver=raw,foo=1",
          "Block format 'raw' does not support the option 'foo'" },
        { "driver=raw,file.foo=1",
          "Block protocol 'file' doesn't support the option 'foo'" },
        { "driver=raw,read-only=maybe",
          "Parameter 'read-only' expects 'on' or 'off'" },
        { "driver=raw,node-name=1a", "Invalid node-name: '1a'" },
        { "driver=raw,force-share=on", "force-share=on can only be used with "
          "read-only images" },
    };
    Error *err = NULL;
    size_t i;

    g_assert(!blk_new_open(missing, NULL, NULL, 0, &err));
    g_assert(strstr(error_get_pretty(err), "No such file or directory"));
    error_free_or_abort(&err);
    g_assert(!blk_new_open(NULL, "nonode", NULL, 0, &err));
    error_free_or_abort(&err);
    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        QOpts *opts = qopts_parse(cases[i].options, NULL, &error_abort);

        g_assert(!blk_new_open(path, NULL, opts, BDRV_O_RDWR, &err));
        g_assert_cmpstr(error_get_pretty(err), ==, cases[i].want);
        error_free_or_abort(&err);
    }
    /* Nothing of it has stayed. */
    g_assert(!bdrv_next_node(NULL));
    unlink(path);
}

static void count_cb(void *opaque, int ret)
{
    g_assert_cmpint(ret, ==, 0);
    ++*(int *)opaque;
}

/* Drain waits for what there is, and holds back what comes. */
static void test_drain(void)
{
    g_autofree char *path = make_image("drain", DISK_SIZE);
    BlockBackend *blk = open_image(path, AIO, "none", true);
    QEMU_AUTO_VFREE void *buf = qemu_blockalign0(blk_bs(blk), 4096);
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, 4096);
    int done = 0, i;

    for (i = 0; i < 10; i++) {
        blk_aio_preadv(blk, i * 4096, &qiov, 0, count_cb, &done);
    }
    bdrv_drained_begin(blk_bs(blk));
    g_assert_cmpint(done, ==, 10);
    blk_aio_preadv(blk, 0, &qiov, 0, count_cb, &done);
    while (aio_poll(qemu_get_aio_context(), false)) {
    }
    g_assert_cmpint(done, ==, 10);
    bdrv_drained_end(blk_bs(blk));
    blk_drain(blk);
    g_assert_cmpint(done, ==, 11);
    blk_unref(blk);
    unlink(path);
}

int main(int argc, char **argv)
{
    static const char *const modes[] = {
        "threads/writeback", "threads/none", "threads/writethrough",
        "threads/directsync", "threads/unsafe",
#ifdef CONFIG_LINUX_AIO
        "native/writeback", "native/none", "native/writethrough",
        "native/directsync", "native/unsafe",
#endif
    };
    size_t i;
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    dir = g_dir_make_tmp("test-block-io-XXXXXX", NULL);
    g_assert(dir);

    for (i = 0; i < ARRAY_SIZE(modes); i++) {
        g_autofree char *name = g_strdup_printf("/block-io/random/%s",
                                                modes[i]);

        g_test_add_data_func(name, modes[i], test_random);
    }
    g_test_add_func("/block-io/shared-blocks", test_shared_blocks);
    g_test_add_func("/block-io/long-vector", test_long_vector);
    g_test_add_func("/block-io/bounds", test_bounds);
    g_test_add_func("/block-io/odd-size", test_odd_size);
    g_test_add_func("/block-io/truncate", test_truncate);
    g_test_add_func("/block-io/block-status", test_block_status);
    g_test_add_func("/block-io/reopen", test_reopen);
    g_test_add_func("/block-io/errors", test_errors);
    g_test_add_func("/block-io/drain", test_drain);
    ret = g_test_run();

    rmdir(dir);
    g_free(dir);
    qemu_cleanup_main_loop();
    return ret;
}
