/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Streams of compressed grains: the end marker, and grains that are damaged,
 * missing, or in the place of another one.
 */
#include "qemu/osdep.h"
#include "vmdk-image.h"
#include "qemu/main-loop.h"

#define NB_DATA 4
#define GT_OFFSET ((GD_SECTOR + 1) * 512)

static void create(const char *path)
{
    QOpts *opts = qopts_parse("subformat=streamOptimized", NULL,
                              &error_abort);

    qopts_set_uint(opts, "size", CAPACITY * 512);
    g_assert_cmpint(bdrv_create(bdrv_find_format("vmdk"), path, opts,
                                &error_abort), ==, 0);
}

static void write_one(const char *path, int grain)
{
    BlockBackend *blk = open_vmdk(path, RW_FLAGS, &error_abort);

    g_assert_cmpint(write_grain(blk, grain, grain + 1), ==, 0);
    blk_unref(blk);
}

static GByteArray *load(const char *path)
{
    char *data;
    gsize length;

    g_assert_true(g_file_get_contents(path, &data, &length, NULL));
    return g_byte_array_new_take((guint8 *)data, length);
}

static uint32_t get32(const GByteArray *image, size_t offset)
{
    uint32_t value;

    g_assert_cmpint(offset + 4, <=, image->len);
    memcpy(&value, image->data + offset, 4);
    return GUINT32_FROM_LE(value);
}

/* As a reader does that cannot seek: the number of grains up to the end. */
static int count_to_end_marker(const char *path)
{
    g_autoptr(GByteArray) image = load(path);
    size_t pos = FIRST_GRAIN * 512;
    int count = 0;

    for (;;) {
        uint32_t size = get32(image, pos + 8);

        g_assert_cmpint(pos + 512, <=, image->len);
        if (!size) {
            g_assert_cmpint(get32(image, pos), ==, 0);
            g_assert_cmpint(get32(image, pos + 12), ==, 0);
            return count;
        }
        pos += ROUND_UP(12 + size, 512);
        count++;
    }
}

static void test_end_marker(void)
{
    g_autofree char *path = tmp_path("end.vmdk");
    g_autofree uint8_t *noise = g_malloc(GRAIN);
    BlockBackend *blk;
    int i;

    create(path);
    g_assert_cmpint(count_to_end_marker(path), ==, 0);
    blk_unref(open_vmdk(path, RW_FLAGS, &error_abort));
    g_assert_cmpint(count_to_end_marker(path), ==, 0);
    for (i = 0; i < 3; i++) {
        write_one(path, i * 2);
        g_assert_cmpint(count_to_end_marker(path), ==, i + 1);
    }
    for (i = 0; i < GRAIN; i++) {
        noise[i] = g_test_rand_int();
    }
    blk = open_vmdk(path, RW_FLAGS, &error_abort);
    g_assert_cmpint(blk_pwrite(blk, GRAIN, GRAIN, noise, 0), ==, 0);
    g_assert_cmpint(blk_pwrite(blk, 3 * GRAIN, GRAIN, noise, 0), ==, 0);
    blk_unref(blk);
    g_assert_cmpint(count_to_end_marker(path), ==, 5);
    blk = open_vmdk(path, 0, &error_abort);
    for (i = 0; i < 3; i++) {
        g_assert_cmpint(read_grain(blk, i * 2, i * 2 + 1), ==, 0);
    }
    g_assert_cmpint(count_corruptions(blk, 0), ==, 0);
    blk_unref(blk);
}

/* Data that a killed writer left behind the last grain is no grain. */
static void test_left_over(void)
{
    g_autofree char *path = tmp_path("left.vmdk");
    g_autoptr(GByteArray) image = NULL;

    create(path);
    write_one(path, 0);
    image = load(path);
    pad_to(image, image->len / 512 + 3);
    memset(image->data + image->len - 4 * 512, 0x55, 4 * 512);
    save(image, path);
    write_one(path, 1);
    g_assert_cmpint(count_to_end_marker(path), ==, 2);
}

static GByteArray *make_stream(const char *path)
{
    int i;

    create(path);
    for (i = 0; i < NB_DATA; i++) {
        write_one(path, i);
    }
    return load(path);
}

/* Grains in @bad fail, others have their data; @count errors in a check. */
static void check_damaged(const char *path, const char *bad, int count)
{
    BlockBackend *blk = open_vmdk(path, 0, &error_abort);
    int i;

    for (i = 0; i < NB_DATA; i++) {
        g_assert_cmpint(read_grain(blk, i, i + 1), ==,
                        strchr(bad, '0' + i) ? -EIO : 0);
    }
    g_assert_cmpint(count_corruptions(blk, 0), ==, count);
    blk_unref(blk);
}

static void test_flipped(void)
{
    g_autofree char *path = tmp_path("flip.vmdk");
    g_autoptr(GByteArray) image = make_stream(path);

    image->data[get32(image, GT_OFFSET + 4) * 512 + 30] ^= 0x55;
    save(image, path);
    check_damaged(path, "1", 1);
}

/* The place has a marker: it tells whose the data are. */
static void test_twice(void)
{
    g_autofree char *path = tmp_path("twice.vmdk");
    g_autoptr(GByteArray) image = make_stream(path);

    set_grain(image, 1, get32(image, GT_OFFSET + 8));
    save(image, path);
    check_refused(path, RW_FLAGS, "used twice");
    check_damaged(path, "1", 1);
}

static void test_exchanged(void)
{
    g_autofree char *path = tmp_path("exchanged.vmdk");
    g_autoptr(GByteArray) image = make_stream(path);
    uint32_t one = get32(image, GT_OFFSET + 4);

    set_grain(image, 1, get32(image, GT_OFFSET + 8));
    set_grain(image, 2, one);
    save(image, path);
    check_damaged(path, "12", 2);
}

static void test_cut(void)
{
    g_autofree char *path = tmp_path("cut.vmdk");
    g_autoptr(GByteArray) image = make_stream(path);
    uint32_t last = get32(image, GT_OFFSET + 12) * 512;
    uint32_t size = get32(image, last + 8);
    g_autofree char *expecting = g_strdup_printf(
        "expecting at least %u bytes", last + 12 + size);

    image->len = last + 12 + size - 1;
    save(image, path);
    check_refused(path, RW_FLAGS, expecting);
    check_damaged(path, "3", 1);
    image->len = last + 12;
    save(image, path);
    check_refused(path, RW_FLAGS, expecting);
    image->len = last;
    save(image, path);
    check_refused(path, RW_FLAGS, "expecting at least");
    check_damaged(path, "3", 1);
}

/* --- many grains in one request --- */

/* Text that differs from grain to grain, and some that does not compress. */
static uint8_t *make_content(void)
{
    size_t i, bytes = NB_GRAINS * GRAIN;
    uint8_t *content = g_malloc(bytes);

    for (i = 0; i < bytes; i++) {
        content[i] = i / GRAIN % 5 == 3 ? g_test_rand_int()
                                        : 'a' + i * i / 1000 % 26;
    }
    return content;
}

/* In the file 62 is first, and 0 to 59 are last; 50 to 52 stay empty. */
static void write_content(const char *path, uint8_t *content)
{
    static const int parts[][2] = {
        { 62, 63 }, { 60, 62 }, { 63, NB_GRAINS }, { 0, 50 }, { 53, 60 },
    };
    BlockBackend *blk = open_vmdk(path, RW_FLAGS, &error_abort);
    size_t i;

    for (i = 0; i < ARRAY_SIZE(parts); i++) {
        size_t from = parts[i][0] * GRAIN, to = parts[i][1] * GRAIN;

        g_assert_cmpint(blk_pwrite(blk, from, to - from, content + from, 0),
                        ==, 0);
    }
    memset(content + 50 * GRAIN, 0, 3 * GRAIN);
    blk_unref(blk);
}

/* The result of reading into two pieces of memory; the data are compared. */
static int read_split(BlockBackend *blk, const uint8_t *content,
                      size_t offset, size_t bytes, size_t first)
{
    g_autofree uint8_t *buf = g_malloc(bytes + 1);
    struct iovec iov[] = {
        { .iov_base = buf, .iov_len = first },
        { .iov_base = buf + first + 1, .iov_len = bytes - first },
    };
    QEMUIOVector qiov;
    int ret;

    memset(buf, 0xee, bytes + 1);
    qemu_iovec_init_external(&qiov, iov, 2);
    ret = blk_preadv(blk, offset, bytes, &qiov, 0);
    g_assert_cmpint(buf[first], ==, 0xee);
    if (ret == 0) {
        g_assert_cmpint(memcmp(buf, content + offset, first), ==, 0);
        g_assert_cmpint(memcmp(buf + first + 1, content + offset + first,
                               bytes - first), ==, 0);
    }
    return ret;
}

static void test_many(void)
{
    g_autofree char *path = tmp_path("many.vmdk");
    g_autofree uint8_t *content = make_content();
    g_autoptr(GByteArray) image = NULL;
    BlockBackend *blk;
    int i;

    create(path);
    write_content(path, content);
    blk = open_vmdk(path, 0, &error_abort);
    g_assert_cmpint(read_split(blk, content, 0, NB_GRAINS * GRAIN, GRAIN), ==,
                    0);
    for (i = 0; i < 200; i++) {
        size_t unit = i % 2 ? GRAIN : 512;
        size_t count = NB_GRAINS * GRAIN / unit;
        size_t from = g_test_rand_int_range(0, count);
        size_t bytes = unit * g_test_rand_int_range(1, count - from + 1);
        size_t first = g_test_rand_int_range(0, bytes + 1);

        g_assert_cmpint(read_split(blk, content, from * unit, bytes, first),
                        ==, 0);
    }
    blk_unref(blk);
    image = load(path);
    image->data[get32(image, GT_OFFSET + 20 * 4) * 512 + 30] ^= 0x55;
    save(image, path);
    blk = open_vmdk(path, 0, &error_abort);
    g_assert_cmpint(read_split(blk, content, 0, 50 * GRAIN, 5), ==, -EIO);
    g_assert_cmpint(read_split(blk, content, 0, 20 * GRAIN, 5), ==, 0);
    g_assert_cmpint(read_split(blk, content, 21 * GRAIN, 50 * GRAIN, 5), ==,
                    0);
    blk_unref(blk);
}

/* Move the directory, table, and a copy of the header to the end. */
static GByteArray *add_footer(GByteArray *image)
{
    uint32_t table = image->len / 512;
    uint8_t sectors[8][512] = { { 0 } };

    memcpy(sectors[0], image->data + GT_OFFSET, 2048);
    patch(image, 56, table + 4, 8);
    patch(image, 48, 0, 8);
    patch(image, 8, 0x30001, 4);
    memcpy(sectors[4], &(uint32_t) { GUINT32_TO_LE(table) }, 4);
    sectors[5][0] = 1;
    sectors[5][12] = 3;
    memcpy(sectors[6], image->data, 512);
    patch(image, 56, UINT64_MAX, 8);
    g_byte_array_append(image, sectors[0], sizeof(sectors));
    return image;
}

static void test_footer(void)
{
    g_autofree char *path = tmp_path("footer.vmdk");
    g_autoptr(GByteArray) image = add_footer(make_stream(path));
    uint32_t whole = image->len;

    save(image, path);
    check_damaged(path, "", 0);
    /* Archives and transfers add zeroes; some writers no end marker. */
    pad_to(image, image->len / 512 + 20);
    save(image, path);
    check_damaged(path, "", 0);
    image->len = whole - 512;
    save(image, path);
    check_damaged(path, "", 0);

    image->len = whole - 1024;
    save(image, path);
    check_refused(path, 0, "the end of the file is missing, or damaged");
    image->len = whole;
    patch(image, whole - 1024 + 12, 1024, 8);
    save(image, path);
    check_refused(path, 0, "of another disk than the header");
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    make_tmp_dir();
    g_test_add_func("/vmdk-stream/end-marker", test_end_marker);
    g_test_add_func("/vmdk-stream/left-over", test_left_over);
    g_test_add_func("/vmdk-stream/flipped", test_flipped);
    g_test_add_func("/vmdk-stream/twice", test_twice);
    g_test_add_func("/vmdk-stream/exchanged", test_exchanged);
    g_test_add_func("/vmdk-stream/cut", test_cut);
    g_test_add_func("/vmdk-stream/many", test_many);
    g_test_add_func("/vmdk-stream/footer", test_footer);
    ret = g_test_run();
    remove_tmp_dir();
    return ret;
}
