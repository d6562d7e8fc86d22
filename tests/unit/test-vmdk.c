/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VMDK on real files: each subformat against an array in memory, concurrent
 * allocation, backing files, descriptors and headers that lie, and failures
 * of the file below (with blkdebug).
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"
#include "qemu/main-loop.h"
#include "system/block-backend.h"
#include <glib/gstdio.h>

#define GRAIN 65536
/* More than one grain table (32 MiB), and no whole number of grains. */
#define DISK_SIZE (33 * MiB + 5 * 512)
#define RW_FLAGS (BDRV_O_RDWR | BDRV_O_RESIZE)

static char *tmp_dir;

static char *tmp_path(const char *name)
{
    return g_build_filename(tmp_dir, name, NULL);
}

static void create_image(const char *path, int64_t size, const char *options)
{
    QOpts *opts = qopts_parse(options, NULL, &error_abort);

    qopts_set_uint(opts, "size", size);
    g_assert_cmpint(bdrv_create(bdrv_find_format("vmdk"), path, opts,
                                &error_abort), ==, 0);
}

static BlockBackend *open_errp(const char *path, int flags, Error **errp)
{
    QOpts *opts = qopts_new();

    qopts_set_str(opts, "driver", "vmdk");
    return blk_new_open(path, NULL, opts, flags, errp);
}

static BlockBackend *open_image(const char *path, int flags)
{
    BlockBackend *blk = open_errp(path, flags, &error_abort);

    g_assert_nonnull(blk);
    return blk;
}

static void check_clean(BlockBackend *blk)
{
    BdrvCheckResult res;

    g_assert_cmpint(bdrv_check(blk_bs(blk), &res, 0), ==, 0);
    g_assert_cmpint(res.corruptions, ==, 0);
    g_assert_cmpint(res.check_errors, ==, 0);
}

static void compare_all(BlockBackend *blk, const uint8_t *ref, int64_t size)
{
    g_autofree uint8_t *buf = g_malloc(size);

    g_assert_cmpint(blk_getlength(blk), ==, size);
    memset(buf, 0xee, size);
    g_assert_cmpint(blk_pread(blk, 0, size, buf, 0), ==, 0);
    g_assert_cmpint(memcmp(buf, ref, size), ==, 0);
}

/* A range with borders that are often those of grains or tables. */
static void random_range(int64_t size, int64_t *offset, int64_t *bytes)
{
    static const int units[] = { 512, 4096, GRAIN };
    int unit = units[g_test_rand_int_range(0, ARRAY_SIZE(units))];

    if (g_test_rand_bit()) {
        *offset = 32 * MiB - (int64_t)unit * g_test_rand_int_range(1, 5);
    } else {
        *offset = (int64_t)unit * g_test_rand_int_range(0, size / unit);
    }
    *bytes = (int64_t)unit * g_test_rand_int_range(1, 10);
    *bytes = MIN(*bytes, size - *offset);
}

static void random_op(BlockBackend *blk, uint8_t *ref, int64_t size,
                      uint8_t *buf)
{
    int op = g_test_rand_int_range(0, 4);
    int64_t offset;
    int64_t bytes;

    random_range(size, &offset, &bytes);
    if (op < 2) {
        memset(buf, g_test_rand_int_range(1, 256), bytes);
        g_assert_cmpint(blk_pwrite(blk, offset, bytes, buf, 0), ==, 0);
        memcpy(ref + offset, buf, bytes);
    } else if (op == 2) {
        g_assert_cmpint(blk_pwrite_zeroes(blk, offset, bytes,
                                          g_test_rand_bit()
                                          ? BDRV_REQ_MAY_UNMAP : 0), ==, 0);
        memset(ref + offset, 0, bytes);
    } else {
        g_assert_cmpint(blk_pread(blk, offset, bytes, buf, 0), ==, 0);
        g_assert_cmpint(memcmp(buf, ref + offset, bytes), ==, 0);
    }
}

static void run_random(const char *path, uint8_t *ref, int count)
{
    g_autofree uint8_t *buf = g_malloc(10 * GRAIN);
    BlockBackend *blk = open_image(path, RW_FLAGS);
    int i;

    for (i = 0; i < count; i++) {
        random_op(blk, ref, DISK_SIZE, buf);
    }
    compare_all(blk, ref, DISK_SIZE);
    blk_unref(blk);

    blk = open_image(path, 0);
    compare_all(blk, ref, DISK_SIZE);
    check_clean(blk);
    blk_unref(blk);
}

static void test_random(gconstpointer data)
{
    g_autofree char *path = tmp_path("random.vmdk");
    g_autofree uint8_t *ref = g_malloc0(DISK_SIZE);

    create_image(path, DISK_SIZE, data);
    run_random(path, ref, 400);
}

static void patch(uint8_t *image, size_t offset, uint64_t value, int bytes)
{
    value = GUINT64_TO_LE(value);
    memcpy(image + offset, &value, bytes);
}

/* An empty ESX extent: a header, and a grain directory without tables. */
static void create_cowd(const char *name, int64_t size, int grain_sectors)
{
    g_autofree char *path = tmp_path(name);
    uint8_t image[8 * 512] = { 0 };

    memcpy(image, "COWD", 4);
    patch(image, 4, 1, 4);
    patch(image, 8, 3, 4);
    patch(image, 12, size / 512, 4);
    patch(image, 16, grain_sectors, 4);
    patch(image, 20, 4, 4);
    patch(image, 24, 512, 4);
    patch(image, 28, 8, 4);
    g_assert_true(g_file_set_contents(path, (char *)image, sizeof(image),
                                      NULL));
}

static void test_vmfs_sparse(void)
{
    g_autofree char *path = tmp_path("vmfs.vmdk");
    g_autofree uint8_t *ref = g_malloc0(DISK_SIZE);
    g_autofree char *text = g_strdup_printf(
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
        "createType=\"vmfsSparse\"\n"
        "RW %" PRId64 " VMFSSPARSE \"vmfs-delta\"\n",
        (int64_t)DISK_SIZE / 512);

    create_cowd("vmfs-delta", DISK_SIZE, 1);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    run_random(path, ref, 200);
}

/* The overlay reads as its backing file, until written; also beyond it. */
static void test_backing(gconstpointer data)
{
    g_autofree char *base = tmp_path("base.vmdk");
    g_autofree char *top = tmp_path("top.vmdk");
    g_autofree uint8_t *ref = g_malloc0(DISK_SIZE);
    g_autofree char *options = g_strdup_printf(
        "backing_file=base.vmdk,backing_fmt=vmdk,zeroed_grain=%s",
        (const char *)data);
    const int64_t base_size = 20 * MiB + 512;
    BlockBackend *blk;

    create_image(base, base_size, "");
    blk = open_image(base, RW_FLAGS);
    memset(ref, 0xb5, base_size);
    g_assert_cmpint(blk_pwrite(blk, 0, base_size, ref, 0), ==, 0);
    blk_unref(blk);

    create_image(top, DISK_SIZE, options);
    run_random(top, ref, 300);

    blk = open_image(base, 0);
    memset(ref, 0xb5, base_size);
    compare_all(blk, ref, base_size);
    blk_unref(blk);
}

static void test_changed_parent(void)
{
    g_autofree char *base = tmp_path("base.vmdk");
    g_autofree char *top = tmp_path("top.vmdk");
    uint8_t buf[512] = { 0 };
    BlockBackend *blk;

    create_image(base, MiB, "");
    create_image(top, MiB, "backing_file=base.vmdk,backing_fmt=vmdk");
    blk = open_image(base, RW_FLAGS);
    g_assert_cmpint(blk_pwrite(blk, 0, 512, buf, 0), ==, 0);
    blk_unref(blk);

    blk = open_image(top, 0);
    g_assert_cmpint(blk_pread(blk, 0, 512, buf, 0), ==, -EINVAL);
    blk_unref(blk);
}

static void test_stream(void)
{
    g_autofree char *path = tmp_path("stream.vmdk");
    g_autofree uint8_t *ref = g_malloc0(DISK_SIZE);
    BlockBackend *blk;
    int64_t offset;

    create_image(path, DISK_SIZE, "subformat=streamOptimized");
    blk = open_image(path, RW_FLAGS);
    for (offset = 0; offset < DISK_SIZE; offset += 3 * GRAIN) {
        int64_t bytes = MIN(2 * GRAIN, DISK_SIZE - offset);
        int64_t i;

        for (i = 0; i < bytes; i++) {
            ref[offset + i] = g_test_rand_int() % 5;
        }
        g_assert_cmpint(blk_pwrite(blk, offset, bytes, ref + offset, 0),
                        ==, 0);
        if (offset % (9 * GRAIN) == 0) {
            /* The end marker has to make room again. */
            blk_unref(blk);
            blk = open_image(path, RW_FLAGS);
        }
    }
    compare_all(blk, ref, DISK_SIZE);
    g_assert_cmpint(blk_pwrite(blk, 0, GRAIN, ref, 0), ==, -EIO);
    blk_unref(blk);

    blk = open_image(path, 0);
    compare_all(blk, ref, DISK_SIZE);
    check_clean(blk);
    blk_unref(blk);
}

/* --- concurrency --- */

typedef struct AioWrite {
    QEMUIOVector qiov;
    uint8_t *buf;
    int ret;
} AioWrite;

static int aio_in_flight;

static void aio_write_cb(void *opaque, int ret)
{
    AioWrite *w = opaque;

    w->ret = ret;
    aio_in_flight--;
}

static void wait_for_all(void)
{
    while (aio_in_flight) {
        aio_poll(qemu_get_aio_context(), true);
    }
}

static void start_write(BlockBackend *blk, AioWrite *w, int64_t offset,
                        int64_t bytes, int pattern)
{
    w->ret = -EINPROGRESS;
    w->buf = g_malloc(bytes);
    memset(w->buf, pattern, bytes);
    qemu_iovec_init_buf(&w->qiov, w->buf, bytes);
    aio_in_flight++;
    blk_aio_pwritev(blk, offset, &w->qiov, 0, aio_write_cb, w);
}

static int64_t file_size(const char *path)
{
    GStatBuf st;

    g_assert_cmpint(g_stat(path, &st), ==, 0);
    return st.st_size;
}

/*
 * All sectors of a few grains, each by a request of its own, in random
 * order and at once: each grain must be allocated exactly once.
 */
static void test_concurrent(void)
{
    enum { GRAINS = 6, PER_GRAIN = 16, COUNT = GRAINS * PER_GRAIN };
    const int64_t bytes = GRAIN / PER_GRAIN;
    const int64_t start = 32 * MiB - 3 * GRAIN;
    g_autofree char *path = tmp_path("concurrent.vmdk");
    g_autofree uint8_t *ref = g_malloc0(DISK_SIZE);
    g_autofree AioWrite *writes = g_new0(AioWrite, COUNT);
    BlockBackend *blk;
    int64_t size;
    int i;

    create_image(path, DISK_SIZE, "");
    size = file_size(path);
    blk = open_image(path, RW_FLAGS);
    for (i = 0; i < COUNT; i++) {
        int n = (i * 37 + 11) % COUNT;
        int64_t offset = start + n * bytes;

        memset(ref + offset, n + 1, bytes);
        start_write(blk, &writes[i], offset, bytes, n + 1);
    }
    wait_for_all();
    for (i = 0; i < COUNT; i++) {
        g_assert_cmpint(writes[i].ret, ==, 0);
        g_free(writes[i].buf);
    }
    compare_all(blk, ref, DISK_SIZE);
    check_clean(blk);
    blk_unref(blk);
    g_assert_cmpint(file_size(path), ==, size + GRAINS * GRAIN);

    blk = open_image(path, 0);
    compare_all(blk, ref, DISK_SIZE);
    blk_unref(blk);
}

/* Overlapping writes: each sector has the data of one that covers it. */
static void test_overlapping(void)
{
    enum { COUNT = 64 };
    g_autofree char *path = tmp_path("overlap.vmdk");
    g_autofree AioWrite *writes = g_new0(AioWrite, COUNT);
    g_autofree uint8_t *buf = g_malloc(DISK_SIZE);
    int64_t offset[COUNT];
    int64_t bytes[COUNT];
    BlockBackend *blk;
    int64_t sector;
    int i;

    create_image(path, DISK_SIZE, "");
    blk = open_image(path, RW_FLAGS);
    for (i = 0; i < COUNT; i++) {
        offset[i] = 512 * g_test_rand_int_range(0, 1024);
        bytes[i] = 512 * g_test_rand_int_range(1, 512);
        start_write(blk, &writes[i], offset[i], bytes[i], i + 1);
    }
    wait_for_all();
    for (i = 0; i < COUNT; i++) {
        g_assert_cmpint(writes[i].ret, ==, 0);
        g_free(writes[i].buf);
    }
    g_assert_cmpint(blk_pread(blk, 0, DISK_SIZE, buf, 0), ==, 0);
    for (sector = 0; sector < 2048; sector++) {
        uint8_t *p = buf + sector * 512;
        bool covered = false;

        for (i = 0; i < COUNT; i++) {
            covered |= offset[i] <= sector * 512
                       && sector * 512 < offset[i] + bytes[i];
        }
        i = *p - 1;
        g_assert_true(covered == (*p != 0));
        if (covered) {
            g_assert_cmpint(offset[i], <=, sector * 512);
            g_assert_cmpint(sector * 512, <, offset[i] + bytes[i]);
        }
        g_assert_cmpint(memcmp(p, p + 1, 511), ==, 0);
    }
    check_clean(blk);
    blk_unref(blk);
}

/* --- failures below --- */

static BlockBackend *open_with_errors(const char *path, const char *event,
                                      int error)
{
    QOpts *opts = qopts_new();

    qopts_set_str(opts, "driver", "vmdk");
    qopts_set_str(opts, "file.driver", "blkdebug");
    qopts_set_str(opts, "file.image.driver", "file");
    qopts_set_str(opts, "file.image.filename", path);
    qopts_set_str(opts, "file.inject-error.0.event", event);
    qopts_set_int(opts, "file.inject-error.0.errno", error);
    qopts_set_bool(opts, "file.inject-error.0.once", true);
    return blk_new_open(NULL, NULL, opts, RW_FLAGS, &error_abort);
}

/* One failure at @event: reported, harmless, and the next try works. */
static void inject_one(const char *event, int error)
{
    g_autofree char *path = tmp_path("inject.vmdk");
    g_autofree uint8_t *ref = g_malloc0(MiB);
    g_autofree uint8_t *buf = g_malloc(3 * GRAIN);
    BlockBackend *blk;
    int ret;

    create_image(path, MiB, "");
    blk = open_with_errors(path, event, error);
    memset(buf, 0x3c, 3 * GRAIN);
    ret = blk_pwrite(blk, 512, 2 * GRAIN, buf, 0);
    g_assert_cmpint(ret, ==, -error);
    ret = blk_pwrite(blk, 512, 2 * GRAIN, buf, 0);
    g_assert_cmpint(ret, ==, 0);
    memcpy(ref + 512, buf, 2 * GRAIN);
    compare_all(blk, ref, MiB);
    check_clean(blk);
    blk_unref(blk);

    blk = open_image(path, 0);
    compare_all(blk, ref, MiB);
    check_clean(blk);
    blk_unref(blk);
}

static void test_inject(void)
{
    if (!bdrv_find_format("blkdebug")) {
        g_test_skip("no blkdebug driver in this build");
        return;
    }
    inject_one("l2_load", EIO);
    inject_one("cluster_alloc", EIO);
    inject_one("cluster_alloc", ENOSPC);
    inject_one("l2_update", EIO);
    inject_one("l2_update", ENOSPC);
}

/* --- what others wrote --- */

static void write_file(const char *name, const char *text)
{
    g_autofree char *path = tmp_path(name);

    g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

#define DESC(lines) "# Disk DescriptorFile\nversion=1\nCID=12345678\n" \
    "parentCID=ffffffff\ncreateType=\"monolithicFlat\"\n" lines "\n"

static const struct {
    const char *text;
    const char *error;
} bad_descriptors[] = {
    { "version=1\n", "createType" },
    { "version=1\ncreateType=\"vmfs\"\nparentCID=0\n", "no CID" },
    { "version=1\ncreateType=\"vmfs\"\nCID=0\n", "no parentCID" },
    { DESC("CID=1"), "twice" },
    { DESC("createType=\"vmfs\""), "twice" },
    { DESC("8 FLAT \"flat\" 0"), "Invalid line" },
    { DESC("RX 8 FLAT \"a=b\" 0"), "Invalid line" },
    { DESC("RW"), "Invalid extent line: RW" },
    { DESC("RW 8"), "Unsupported extent type" },
    { DESC("RW 8 FLAT"), "Invalid extent line: RW 8 FLAT" },
    { DESC("RW 8 FLAT \"flat\""), "Invalid extent line" },
    { DESC("RW 8 FLAT \"flat\" -1"), "Invalid extent line" },
    { DESC("RW 8 FLAT \"flat 0"), "Invalid extent line" },
    { DESC("RW 8 FLAT \"\" 0"), "Invalid extent line" },
    { DESC("RW -8 FLAT \"flat\" 0"), "Invalid extent line" },
    { DESC("RW 99999999999999999999 FLAT \"flat\" 0"), "Invalid extent" },
    { DESC("RW 8 SPARSE \"flat\" 0"), "Invalid extent line" },
    { DESC("RW 8 SESPARSE \"flat\""), "Bad const header" },
    { DESC("RW 9 FLAT \"flat\" 0"), "too small" },
    { DESC("RW 8 FLAT \"flat\" 1"), "too small" },
    { DESC("RW 8 SPARSE \"flat\""), "not in VMDK format" },
    { DESC("RW 8 FLAT \"missing\" 0"), "No such file" },
    { DESC("RW 8 FLAT \"json:{}\" 0"), "No such file" },
    { DESC("RW 8 FLAT \"null-co:\" 0"), "No such file" },
    { DESC("RW 18014398507384832 ZERO\nRW 18014398507384832 ZERO"),
      "too large" },
};

/* One line that has @part in it. */
static void check_message(Error *err, const char *part)
{
    const char *message = error_get_pretty(err);

    if (!strstr(message, part) || strchr(message, '\n')) {
        g_test_message("'%s' expected in: %s", part, message);
        g_test_fail();
    }
}

static void test_bad_descriptors(void)
{
    g_autofree char *path = tmp_path("bad.vmdk");
    g_autofree char *flat = g_strnfill(4096, 'f');
    size_t i;

    write_file("flat", flat);
    for (i = 0; i < ARRAY_SIZE(bad_descriptors); i++) {
        Error *err = NULL;

        write_file("bad.vmdk", bad_descriptors[i].text);
        g_assert_null(open_errp(path, 0, &err));
        check_message(err, bad_descriptors[i].error);
        error_free(err);
    }
}

/* All kinds of extents without a sparse header in one descriptor. */
static void test_mixed_extents(void)
{
    g_autofree char *path = tmp_path("mixed.vmdk");
    g_autofree char *flat = g_strnfill(4096, 'f');
    uint8_t buf[4096] = { 0 };
    BlockBackend *blk;

    write_file("flat", flat);
    write_file("flat2", flat);
    write_file("mixed.vmdk", DESC("RW 4 ZERO\r\n  RW 4 FLAT \"flat\" 4\n"
                                  "RDONLY 4 FLAT \"flat2\" 0\n"
                                  "NOACCESS 4 FLAT \"flat\" 0\n"));
    blk = open_image(path, RW_FLAGS);
    g_assert_cmpint(blk_getlength(blk), ==, 16 * 512);
    g_assert_cmpint(blk_pread(blk, 1024, 2048, buf, 0), ==, 0);
    g_assert_cmpint(buf[0], ==, 0);
    g_assert_cmpint(buf[1023], ==, 0);
    g_assert_cmpint(buf[1024], ==, 'f');
    g_assert_cmpint(blk_pwrite(blk, 2048, 512, buf, 0), ==, 0);
    g_assert_cmpint(blk_pwrite(blk, 4096, 512, buf, 0), ==, -EACCES);
    g_assert_cmpint(blk_pwrite(blk, 0, 512, buf, 0), ==, -EACCES);
    g_assert_cmpint(blk_pread(blk, 6144, 512, buf, 0), ==, -EACCES);
    blk_unref(blk);
}

static void test_bad_headers(void)
{
    static const struct {
        int offset;
        int bytes;
        uint64_t value;
        const char *error;
    } cases[] = {
        { 4, 4, 4, "Unsupported VMDK version 4" },
        { 4, 4, 0, "Unsupported VMDK version 0" },
        { 12, 8, INT64_MAX, "L1 size too big" },
        { 12, 8, UINT64_MAX, "L1 size too big" },
        { 12, 8, UINT64_C(1) << 41, "L1 size too big" },
        { 12, 8, UINT64_C(1) << 36, "is not in the file" },
        { 20, 8, 0, "L1 entry size is invalid" },
        { 20, 8, 3, "L1 entry size is invalid" },
        { 20, 8, 1 << 24, "L1 entry size is invalid" },
        { 44, 4, 0, "L1 entry size is invalid" },
        { 44, 4, 513, "L2 table size too big" },
        { 48, 8, 1 << 20, "Redundant grain directory" },
        { 56, 8, 0, "Grain directory" },
        { 56, 8, 1 << 20, "Grain directory" },
        { 56, 8, UINT64_MAX - 1, "Grain directory" },
        { 56, 8, UINT64_MAX, "Invalid footer" },
        { 28, 8, 0, "without a VMDK descriptor" },
        { 28, 8, UINT64_MAX, "is not in the file" },
        { 36, 8, UINT64_MAX, "is not in the file" },
        { 8, 4, 0x10003, "Unsupported compression algorithm 0" },
    };
    g_autofree char *path = tmp_path("header.vmdk");
    g_autofree char *good = NULL;
    gsize length;
    size_t i;

    create_image(path, MiB, "");
    g_assert_true(g_file_get_contents(path, &good, &length, NULL));
    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree uint8_t *bad = g_malloc(length);
        Error *err = NULL;

        memcpy(bad, good, length);
        patch(bad, cases[i].offset, cases[i].value, cases[i].bytes);
        g_assert_true(g_file_set_contents(path, (char *)bad, length, NULL));
        g_assert_null(open_errp(path, 0, &err));
        check_message(err, cases[i].error);
        error_free(err);
    }
}

/* Sectors of the tables of an image of 1 MiB: see create.c. */
#define RGT_OFFSET (22 * 512)
#define GT_OFFSET (27 * 512)

static void test_check(void)
{
    g_autofree char *path = tmp_path("check.vmdk");
    g_autofree char *image = NULL;
    BdrvCheckResult res;
    BlockBackend *blk;
    uint8_t buf[512] = { 1 };
    gsize length;

    create_image(path, MiB, "");
    g_assert_true(g_file_get_contents(path, &image, &length, NULL));
    patch((uint8_t *)image, GT_OFFSET, 1 << 20, 4);
    patch((uint8_t *)image, GT_OFFSET + 4, 1, 4);
    patch((uint8_t *)image, RGT_OFFSET + 8, 1 << 20, 4);
    g_assert_true(g_file_set_contents(path, image, length, NULL));
    blk = open_image(path, RW_FLAGS | BDRV_O_CHECK);
    g_assert_cmpint(blk_pread(blk, 0, 512, buf, 0), ==, -EIO);
    g_assert_cmpint(blk_pread(blk, GRAIN, 512, buf, 0), ==, -EIO);
    g_assert_cmpint(blk_pwrite(blk, GRAIN, 512, buf, 0), ==, -EIO);
    g_assert_cmpint(bdrv_check(blk_bs(blk), &res, 0), ==, 0);
    g_assert_cmpint(res.corruptions, ==, 3);
    g_assert_cmpint(bdrv_check(blk_bs(blk), &res, BDRV_FIX_ERRORS), ==, 0);
    g_assert_cmpint(res.corruptions_fixed, ==, 2);
    g_assert_cmpint(bdrv_check(blk_bs(blk), &res, 0), ==, 0);
    g_assert_cmpint(res.corruptions, ==, 1);
    blk_unref(blk);
}

/* Damage in any place: opened or refused, but never a crash or a hang. */
static void test_damage(void)
{
    g_autofree char *path = tmp_path("damage.vmdk");
    g_autofree char *good = NULL;
    g_autofree uint8_t *buf = g_malloc(MiB);
    gsize length;
    int i;

    create_image(path, MiB, "subformat=streamOptimized");
    {
        BlockBackend *blk = open_image(path, RW_FLAGS);

        g_assert_cmpint(blk_pwrite(blk, 0, 3 * GRAIN, buf, 0), ==, 0);
        blk_unref(blk);
    }
    g_assert_true(g_file_get_contents(path, &good, &length, NULL));
    for (i = 0; i < 500; i++) {
        g_autofree uint8_t *bad = g_malloc(length);
        Error *err = NULL;
        BlockBackend *blk;
        int n;

        memcpy(bad, good, length);
        for (n = g_test_rand_int_range(1, 4); n; n--) {
            int limit = g_test_rand_bit() ? 80 : length;

            bad[g_test_rand_int_range(0, limit)] = g_test_rand_int();
        }
        g_assert_true(g_file_set_contents(path, (char *)bad, length, NULL));
        blk = open_errp(path, 0, &err);
        g_assert_true((blk == NULL) == (err != NULL));
        if (blk) {
            int64_t size = blk_getlength(blk);

            g_assert_cmpint(size, >=, 0);
            g_assert_cmpint(blk_pread(blk, 0, MIN(size, MiB), buf, 0), <=, 0);
            blk_unref(blk);
        }
        error_free(err);
    }
}

static void test_replace_cid(void)
{
    g_autofree char *a = vmdk_desc_replace_cid("version=1\nCID=1\nx=y\n",
                                               0xabcdef01);
    g_autofree char *b = vmdk_desc_replace_cid(
        "parentCID=2\nCID=000012345678\r\n", 7);

    g_assert_cmpstr(a, ==, "version=1\nCID=abcdef01\nx=y\n");
    g_assert_cmpstr(b, ==, "parentCID=2\nCID=00000007    \r\n");
    g_assert_null(vmdk_desc_replace_cid("parentCID=2\n", 7));
}

/* The first write, and only that, changes the CID. */
/*
 * A text that is written over another one must not end earlier by the chance
 * of a CID that begins with zeroes.
 */
static void test_cid_digits(void)
{
    g_autofree char *path = tmp_path("digits.vmdk");
    g_autofree char *text = NULL;
    uint32_t seed = 0;

    do {
        g_random_set_seed(++seed);
    } while (g_random_int() >> 24);
    g_random_set_seed(seed);
    create_image(path, MiB, "subformat=twoGbMaxExtentSparse");
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_nonnull(strstr(text, "\nCID=00"));
    g_assert_nonnull(strstr(text, "\nparentCID=ffffffff\n"));
    g_assert_cmpuint(strcspn(strstr(text, "\nCID=") + 1, "\n"), ==,
                     strlen("CID=") + 8);
}

static void test_cid(void)
{
    g_autofree char *path = tmp_path("cid.vmdk");
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;
    uint8_t buf[512] = { 0 };
    BlockBackend *blk;
    gsize length;

    create_image(path, MiB, "");
    g_assert_true(g_file_get_contents(path, &before, &length, NULL));
    blk = open_image(path, RW_FLAGS);
    g_assert_cmpint(blk_pread(blk, 0, 512, buf, 0), ==, 0);
    blk_unref(blk);
    g_assert_true(g_file_get_contents(path, &after, &length, NULL));
    g_assert_cmpint(memcmp(before, after, length), ==, 0);
    g_free(g_steal_pointer(&after));

    blk = open_image(path, RW_FLAGS);
    g_assert_cmpint(blk_pwrite(blk, 0, 512, buf, 0), ==, 0);
    blk_unref(blk);
    g_assert_true(g_file_get_contents(path, &after, &length, NULL));
    g_assert_cmpint(memcmp(before, after, 512), ==, 0);
    g_assert_cmpstr(before + 512, !=, after + 512);
}

static void remove_tmp_dir(void)
{
    GDir *dir = g_dir_open(tmp_dir, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = tmp_path(name);

        g_unlink(path);
    }
    g_dir_close(dir);
    g_rmdir(tmp_dir);
    g_free(tmp_dir);
}

static void add_random_tests(void)
{
    g_test_add_data_func("/vmdk/random/monolithicSparse", "", test_random);
    g_test_add_data_func("/vmdk/random/zeroedGrain", "zeroed_grain=on",
                         test_random);
    g_test_add_data_func("/vmdk/random/monolithicFlat",
                         "subformat=monolithicFlat", test_random);
    g_test_add_data_func("/vmdk/random/twoGbMaxExtentSparse",
                         "subformat=twoGbMaxExtentSparse", test_random);
    g_test_add_data_func("/vmdk/random/twoGbMaxExtentFlat",
                         "subformat=twoGbMaxExtentFlat", test_random);
    g_test_add_func("/vmdk/random/vmfsSparse", test_vmfs_sparse);
    g_test_add_data_func("/vmdk/random/backing", "off", test_backing);
    g_test_add_data_func("/vmdk/random/backingZeroedGrain", "on",
                         test_backing);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    tmp_dir = g_dir_make_tmp("test-vmdk-XXXXXX", NULL);
    g_assert_nonnull(tmp_dir);
    add_random_tests();
    g_test_add_func("/vmdk/stream", test_stream);
    g_test_add_func("/vmdk/changed-parent", test_changed_parent);
    g_test_add_func("/vmdk/concurrent/one-grain", test_concurrent);
    g_test_add_func("/vmdk/concurrent/overlapping", test_overlapping);
    g_test_add_func("/vmdk/inject-error", test_inject);
    g_test_add_func("/vmdk/bad-descriptors", test_bad_descriptors);
    g_test_add_func("/vmdk/mixed-extents", test_mixed_extents);
    g_test_add_func("/vmdk/bad-headers", test_bad_headers);
    g_test_add_func("/vmdk/check", test_check);
    g_test_add_func("/vmdk/damage", test_damage);
    g_test_add_func("/vmdk/replace-cid", test_replace_cid);
    g_test_add_func("/vmdk/cid", test_cid);
    g_test_add_func("/vmdk/cid-digits", test_cid_digits);
    ret = g_test_run();
    remove_tmp_dir();
    return ret;
}
