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

typedef struct Stream {
    int grains;
    int tables;
    int directories;
    int footers;
    size_t behind;              /* bytes of the file */
} Stream;

/* One piece of metadata: its marker is at @pos. */
static void count_metadata(const GByteArray *image, size_t pos, Stream *s)
{
    size_t here = pos / 512 + 1;
    uint32_t sectors = get32(image, pos);

    /* What leads to what: the footer to a directory, and that to tables. */
    switch (get32(image, pos + 12)) {
    case 1:
        g_assert_cmpint(sectors, ==, 4);
        s->tables++;
        break;
    case 2:
        g_assert_cmpint(sectors, ==, 1);
        s->directories++;
        break;
    case 3:
        g_assert_cmpint(sectors, ==, 1);
        g_assert_cmpint(memcmp(image->data + here * 512, "KDMV", 4), ==, 0);
        g_assert_cmpint(get32(image, here * 512 + 56), <, here);
        s->footers++;
        break;
    default:
        g_assert_not_reached();
    }
}

/* As a reader does that cannot seek: what comes, up to the end marker. */
static Stream read_stream(const char *path)
{
    g_autoptr(GByteArray) image = load(path);
    size_t pos = get32(image, 64) * 512;
    Stream s = { 0 };

    for (;;) {
        uint32_t size = get32(image, pos + 8);

        g_assert_cmpint(pos + 512, <=, image->len);
        if (size) {
            g_assert_cmpint(s.footers, ==, 0);
            pos += ROUND_UP(12 + size, 512);
            s.grains++;
        } else if (get32(image, pos + 12)) {
            count_metadata(image, pos, &s);
            pos += 512 * (1 + get32(image, pos));
        } else {
            g_assert_cmpint(get32(image, pos), ==, 0);
            s.behind = image->len - pos - 512;
            return s;
        }
    }
}

/* Grains, then one of everything, as the directory is small. */
static void check_stream(const char *path, int grains)
{
    Stream s = read_stream(path);

    g_assert_cmpint(s.grains, ==, grains);
    g_assert_cmpint(s.tables, ==, !!grains);
    g_assert_cmpint(s.directories, ==, !!grains);
    g_assert_cmpint(s.footers, ==, !!grains);
    g_assert_cmpint(s.behind, ==, 0);
}

static void test_end_marker(void)
{
    g_autofree char *path = tmp_path("end.vmdk");
    g_autofree uint8_t *noise = g_malloc(GRAIN);
    BlockBackend *blk;
    int i;

    create(path);
    check_stream(path, 0);
    blk_unref(open_vmdk(path, RW_FLAGS, &error_abort));
    check_stream(path, 0);
    for (i = 0; i < 3; i++) {
        write_one(path, i * 2);
        check_stream(path, i + 1);
    }
    for (i = 0; i < GRAIN; i++) {
        noise[i] = g_test_rand_int();
    }
    blk = open_vmdk(path, RW_FLAGS, &error_abort);
    g_assert_cmpint(blk_pwrite(blk, GRAIN, GRAIN, noise, 0), ==, 0);
    g_assert_cmpint(blk_pwrite(blk, 3 * GRAIN, GRAIN, noise, 0), ==, 0);
    blk_unref(blk);
    check_stream(path, 5);
    blk = open_vmdk(path, 0, &error_abort);
    for (i = 0; i < 3; i++) {
        g_assert_cmpint(read_grain(blk, i * 2, i * 2 + 1), ==, 0);
    }
    g_assert_cmpint(count_corruptions(blk, 0), ==, 0);
    blk_unref(blk);
}

/* The header leads to the tables in front, as while an image is written. */
static void lead_to_front(GByteArray *image)
{
    g_assert_cmpint(get32(image, 56), ==, UINT32_MAX);
    g_assert_cmpint(get32(image, 48), ==, GD_SECTOR);
    patch(image, 48, RGD_SECTOR, 8);
    patch(image, 56, GD_SECTOR, 8);
}

/* Data that a killed writer left behind the last grain is no grain. */
static void test_left_over(void)
{
    g_autofree char *path = tmp_path("left.vmdk");
    g_autoptr(GByteArray) image = NULL;
    Stream s;

    create(path);
    write_one(path, 0);
    image = load(path);
    lead_to_front(image);
    pad_to(image, image->len / 512 + 3);
    memset(image->data + image->len - 4 * 512, 0x55, 4 * 512);
    save(image, path);
    write_one(path, 1);
    s = read_stream(path);
    g_assert_cmpint(s.grains, ==, 2);
    /* Who began without a footer goes on without one. */
    g_assert_cmpint(s.footers, ==, 0);
}

/* Its tables are in front only; the sector of the end marker is the last. */
static GByteArray *make_stream(const char *path)
{
    GByteArray *image;
    uint32_t last;
    int i;

    create(path);
    for (i = 0; i < NB_DATA; i++) {
        write_one(path, i);
    }
    image = load(path);
    lead_to_front(image);
    last = get32(image, GT_OFFSET + 4 * (NB_DATA - 1)) * 512;
    image->len = ROUND_UP(last + 12 + get32(image, last + 8), 512);
    memcpy(image->data + (RGD_SECTOR + 1) * 512, image->data + GT_OFFSET,
           2048);
    pad_to(image, image->len / 512 + 1);
    save(image, path);
    return image;
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

/* The result of reading some bytes of @grain, which has @grain + 1. */
static int read_part(BlockBackend *blk, int grain, int offset)
{
    uint8_t buf[700] = { 0 };
    int ret = blk_pread(blk, (int64_t)grain * GRAIN + offset, sizeof(buf), buf,
                        0);

    if (ret == 0) {
        g_assert_cmpint(buf[0], ==, grain + 1);
        g_assert_cmpint(memcmp(buf, buf + 1, sizeof(buf) - 1), ==, 0);
    }
    return ret;
}

/* What was unpacked for a small read serves others, for some time. */
static void test_small_reads(void)
{
    g_autofree char *path = tmp_path("small.vmdk");
    g_autoptr(GByteArray) image = NULL;
    BlockBackend *blk;
    int fd, i;

    create(path);
    blk = open_vmdk(path, RW_FLAGS, &error_abort);
    for (i = 0; i < NB_GRAINS; i++) {
        g_assert_cmpint(write_grain(blk, i, i + 1), ==, 0);
    }
    blk_unref(blk);
    image = load(path);

    blk = open_vmdk(path, 0, &error_abort);
    g_assert_cmpint(read_part(blk, 0, 3000), ==, 0);
    g_assert_cmpint(read_grain(blk, 1, 2), ==, 0);
    /* Damage shows which grains are read from the file. */
    fd = open(path, O_WRONLY);
    for (i = 0; i < 2; i++) {
        uint32_t sector = get32(image, GT_OFFSET + i * 4);

        g_assert_cmpint(pwrite(fd, "damaged", 7, sector * 512 + 30), ==, 7);
    }
    close(fd);
    g_assert_cmpint(read_part(blk, 0, 0), ==, 0);
    g_assert_cmpint(read_part(blk, 0, GRAIN - 700), ==, 0);
    g_assert_cmpint(read_part(blk, 1, 0), ==, -EIO);
    for (i = 2; i < NB_GRAINS; i++) {
        g_assert_cmpint(read_part(blk, i, i * 7), ==, 0);
        g_assert_cmpint(read_part(blk, i, 0), ==, 0);
    }
    g_assert_cmpint(read_part(blk, 0, 0), ==, -EIO);
    blk_unref(blk);
}

static void put_marker(uint8_t *sector, int sectors, int type)
{
    sector[0] = sectors;
    sector[12] = type;
}

/*
 * As another writer does it: directory, table (which it leaves out if there is
 * no grain), and a copy of the header, at the end only.
 */
static GByteArray *add_footer(GByteArray *image, bool with_table)
{
    uint8_t sectors[10][512] = { { 0 } };
    uint32_t table;

    /* The end marker comes last again. */
    image->len -= 512;
    table = image->len / 512 + 1;
    put_marker(sectors[0], 4, 1);
    memcpy(sectors[1], image->data + GT_OFFSET, 2048);
    put_marker(sectors[5], 1, 2);
    if (with_table) {
        memcpy(sectors[6], &(uint32_t) { GUINT32_TO_LE(table) }, 4);
    }
    put_marker(sectors[7], 1, 3);
    patch(image, 56, table + 5, 8);
    patch(image, 48, 0, 8);
    patch(image, 8, 0x30001, 4);
    memcpy(sectors[8], image->data, 512);
    patch(image, 56, UINT64_MAX, 8);
    g_byte_array_append(image, sectors[0], sizeof(sectors));
    return image;
}

static void test_footer(void)
{
    g_autofree char *path = tmp_path("footer.vmdk");
    g_autoptr(GByteArray) image = add_footer(make_stream(path), true);
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

/* The first @count grains are there, and "check" finds @corruptions. */
static void check_grains_and(const char *path, int count, int corruptions)
{
    BlockBackend *blk = open_vmdk(path, 0, &error_abort);
    int i;

    for (i = 0; i < NB_GRAINS; i++) {
        g_assert_cmpint(read_grain(blk, i, i < count ? i + 1 : 0), ==, 0);
    }
    g_assert_cmpint(count_corruptions(blk, 0), ==, corruptions);
    blk_unref(blk);
}

static void check_grains(const char *path, int count)
{
    check_grains_and(path, count, 0);
}

/* The tables of another writer are at the end only: grains go behind them. */
static void test_write_foreign(void)
{
    g_autofree char *path = tmp_path("foreign.vmdk");
    g_autoptr(GByteArray) image = add_footer(make_stream(path), true);
    Stream s;

    save(image, path);
    write_one(path, NB_DATA);
    check_grains(path, NB_DATA + 1);
    write_one(path, NB_DATA + 1);
    check_grains(path, NB_DATA + 2);
    g_clear_pointer(&image, g_byte_array_unref);
    image = load(path);
    g_assert_cmpint(get32(image, 56), ==, UINT32_MAX);
    g_assert_cmpint(get32(image, 48), ==, 0);
    g_assert_cmpint(get32(image, 8) & VMDK_FLAG_RGD, ==, 0);

    /* And where it had no table: one is put into the stream. */
    g_byte_array_unref(image);
    create(path);
    image = add_footer(load(path), false);
    save(image, path);
    check_grains(path, 0);
    write_one(path, 0);
    write_one(path, 1);
    check_grains(path, 2);
    s = read_stream(path);
    g_assert_cmpint(s.grains, ==, 2);
    g_assert_cmpint(s.footers, ==, 1);
    g_assert_cmpint(s.behind, ==, 0);
}

/* What there is of the image that is open, if its writer is killed now. */
static void save_killed(const char *path, const char *killed)
{
    g_autoptr(GByteArray) image = load(path);

    save(image, killed);
}

/* Tables in front that another writer has left as they were are not used. */
static void test_front_is_old(void)
{
    g_autofree char *path = tmp_path("old-front.vmdk");
    g_autofree char *killed = tmp_path("killed.vmdk");
    g_autoptr(GByteArray) image = NULL;
    BlockBackend *blk;
    int i;

    create(path);
    for (i = 0; i < NB_DATA; i++) {
        write_one(path, i);
    }
    write_one(path, NB_GRAINS - 1);
    image = load(path);
    patch(image, GT_OFFSET + 4 * (NB_GRAINS - 1), 0, 4);
    save(image, path);
    blk = open_vmdk(path, RW_FLAGS, &error_abort);
    g_assert_cmpint(write_grain(blk, NB_DATA, NB_DATA + 1), ==, 0);
    save_killed(path, killed);
    blk_unref(blk);
    blk = open_vmdk(killed, 0, &error_abort);
    g_assert_cmpint(read_grain(blk, NB_GRAINS - 1, NB_GRAINS), ==, 0);
    blk_unref(blk);
}

/* A stream of @count grains without its end gets one by "check -r all". */
static void repair_end(const char *path, int count)
{
    BlockBackend *blk;

    check_grains_and(path, count, 1);
    blk = open_vmdk(path, RW_FLAGS, &error_abort);
    g_assert_cmpint(count_corruptions(blk, BDRV_FIX_LEAKS), ==, 1);
    g_assert_cmpint(count_corruptions(blk, BDRV_FIX_ERRORS), ==, 0);
    g_assert_cmpint(count_corruptions(blk, 0), ==, 0);
    blk_unref(blk);
    check_stream(path, count);
    check_grains(path, count);
}

/* A file that lost its end, or has something behind it, has its grains. */
static void test_end_lost(void)
{
    g_autofree char *path = tmp_path("lost.vmdk");
    g_autoptr(GByteArray) image = NULL;
    BlockBackend *blk;
    uint32_t last;

    create(path);
    write_one(path, 0);
    write_one(path, 1);
    image = load(path);
    last = get32(image, GT_OFFSET + 4) * 512;
    image->len = ROUND_UP(last + 12 + get32(image, last + 8), 512);
    save(image, path);
    repair_end(path, 2);
    save(image, path);
    write_one(path, 2);
    check_stream(path, 3);
    check_grains(path, 3);

    pad_to(image, image->len / 512 + 3);
    memset(image->data + image->len - 512, 0x55, 512);
    save(image, path);
    repair_end(path, 2);
    save(image, path);
    write_one(path, 2);
    check_stream(path, 3);
    check_grains(path, 3);

    /* A grain is cut: the others can be read. */
    image->len = last + 12;
    save(image, path);
    check_refused(path, RW_FLAGS, "expecting at least");
    blk = open_vmdk(path, 0, &error_abort);
    g_assert_cmpint(read_grain(blk, 0, 1), ==, 0);
    g_assert_cmpint(read_grain(blk, 1, 2), ==, -EIO);
    /* The grain, and the end. */
    g_assert_cmpint(count_corruptions(blk, 0), ==, 2);
    blk_unref(blk);
}

/* An image that stays open has its end while it is read-only. */
static void test_reopen(void)
{
    g_autofree char *path = tmp_path("reopen.vmdk");
    g_autofree char *killed = tmp_path("killed.vmdk");
    BlockBackend *blk;
    int i;

    create(path);
    blk = open_vmdk(path, RW_FLAGS, &error_abort);
    for (i = 0; i < NB_DATA; i++) {
        g_assert_cmpint(write_grain(blk, i, i + 1), ==, 0);
        save_killed(path, killed);
        check_grains(killed, i + 1);
        set_writable(blk, false);
        check_stream(path, i + 1);
        check_grains(path, i + 1);
        set_writable(blk, true);
    }
    blk_unref(blk);
    check_stream(path, NB_DATA);
}

static BlockBackend *open_with_error(const char *path)
{
    QOpts *opts = qopts_new();

    qopts_set_str(opts, "driver", "vmdk");
    qopts_set_str(opts, "file.driver", "blkdebug");
    qopts_set_str(opts, "file.image.driver", "file");
    qopts_set_str(opts, "file.image.filename", path);
    qopts_set_str(opts, "file.inject-error.0.event", "write_compressed");
    qopts_set_str(opts, "file.inject-error.0.once", "on");
    return blk_new_open(NULL, NULL, opts, RW_FLAGS, &error_abort);
}

/* The next grain goes to the place of one that could not be written. */
static void test_write_fails(void)
{
    g_autofree char *path = tmp_path("fails.vmdk");
    BlockBackend *blk;

    if (!bdrv_find_format("blkdebug")) {
        g_test_skip("no blkdebug driver in this build");
        return;
    }
    create(path);
    write_one(path, 0);
    blk = open_with_error(path);
    g_assert_cmpint(write_grain(blk, 1, 2), ==, -EIO);
    g_assert_cmpint(write_grain(blk, 2, 3), ==, 0);
    g_assert_cmpint(write_grain(blk, 1, 2), ==, 0);
    blk_unref(blk);
    check_stream(path, 3);
    blk = open_vmdk(path, 0, &error_abort);
    g_assert_cmpint(read_grain(blk, 1, 2), ==, 0);
    g_assert_cmpint(read_grain(blk, 2, 3), ==, 0);
    blk_unref(blk);
}

/* A write that is refused, or fails, leaves the stream with its end. */
static void test_nothing_written(void)
{
    g_autofree char *path = tmp_path("nothing.vmdk");
    BlockBackend *blk;

    create(path);
    write_one(path, 0);
    blk = open_vmdk(path, RW_FLAGS, &error_abort);
    g_assert_cmpint(write_grain(blk, 0, 2), ==, -EIO);
    blk_unref(blk);
    check_stream(path, 1);
    if (bdrv_find_format("blkdebug")) {
        blk = open_with_error(path);
        g_assert_cmpint(write_grain(blk, 1, 2), ==, -EIO);
        blk_unref(blk);
        check_stream(path, 1);
    }
    check_grains(path, 1);
}

typedef struct Write {
    QEMUIOVector qiov;
    int ret;
} Write;

static void write_done(void *opaque, int ret)
{
    Write *w = opaque;

    w->ret = ret;
}

/* With one behind it that could be written, the stream has no end. */
static void test_write_leaves_hole(void)
{
    g_autofree char *path = tmp_path("hole.vmdk");
    g_autofree uint8_t *data = g_malloc(GRAIN);
    g_autoptr(GByteArray) image = NULL;
    BdrvCheckResult result;
    BlockBackend *blk;
    Write w[3];
    int i;

    if (!bdrv_find_format("blkdebug")) {
        g_test_skip("no blkdebug driver in this build");
        return;
    }
    create(path);
    memset(data, 7, GRAIN);
    blk = open_with_error(path);
    for (i = 0; i < 3; i++) {
        w[i].ret = -EINPROGRESS;
        qemu_iovec_init_buf(&w[i].qiov, data, GRAIN);
        blk_aio_pwritev(blk, i * GRAIN, &w[i].qiov, 0, write_done, &w[i]);
    }
    for (i = 0; i < 3; i++) {
        while (w[i].ret == -EINPROGRESS) {
            aio_poll(qemu_get_aio_context(), true);
        }
    }
    g_assert_cmpint(w[0].ret + w[1].ret + w[2].ret, ==, -EIO);
    g_assert_cmpint(write_grain(blk, 5, 6), ==, 0);
    blk_unref(blk);
    blk = open_vmdk(path, 0, &error_abort);
    g_assert_cmpint(bdrv_check(blk_bs(blk), &result, 0), ==, 0);
    g_assert_cmpint(result.corruptions, ==, 0);
    g_assert_cmpint(read_grain(blk, 5, 6), ==, 0);
    blk_unref(blk);
    image = load(path);
    g_assert_cmpint(get32(image, 56), !=, UINT32_MAX);
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
    g_test_add_func("/vmdk-stream/small-reads", test_small_reads);
    g_test_add_func("/vmdk-stream/footer", test_footer);
    g_test_add_func("/vmdk-stream/write-foreign", test_write_foreign);
    g_test_add_func("/vmdk-stream/front-is-old", test_front_is_old);
    g_test_add_func("/vmdk-stream/end-lost", test_end_lost);
    g_test_add_func("/vmdk-stream/reopen", test_reopen);
    g_test_add_func("/vmdk-stream/write-fails", test_write_fails);
    g_test_add_func("/vmdk-stream/nothing-written", test_nothing_written);
    g_test_add_func("/vmdk-stream/hole", test_write_leaves_hole);
    ret = g_test_run();
    remove_tmp_dir();
    return ret;
}
