/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Many grain tables: more than the cache holds, read one by one and in order,
 * written to in between, and checked.  And more than there may be of an image
 * of several extents.
 */
#include "qemu/osdep.h"
#include "vmdk-image.h"
#include "qemu/main-loop.h"

#define NB_TABLES 8192
#define TABLE_BYTES (512 * (int64_t)GRAIN)
#define MAX_GRAINS 400
#define CHECKED_TABLE 3000

/* The first grain of each table; 0: not written. */
static uint8_t model[NB_TABLES];
static int nb_grains;

static char *create(void)
{
    char *path = tmp_path("tables.vmdk");
    QOpts *opts = qopts_new();

    qopts_set_uint(opts, "size", NB_TABLES * TABLE_BYTES);
    g_assert_cmpint(bdrv_create(bdrv_find_format("vmdk"), path, opts,
                                &error_abort), ==, 0);
    memset(model, 0, sizeof(model));
    nb_grains = 0;
    return path;
}

static void write_table(BlockBackend *blk, int table)
{
    int pattern = g_test_rand_int_range(1, 256);

    if (!model[table] && nb_grains++ >= MAX_GRAINS) {
        return;
    }
    g_assert_cmpint(write_grain(blk, table * 512, pattern), ==, 0);
    model[table] = pattern;
}

/* The status of each table from @first on is what the model says. */
static void walk(BlockBackend *blk, int first, int count)
{
    int64_t offset = first * TABLE_BYTES;
    int64_t end = offset + count * TABLE_BYTES;

    while (offset < end) {
        int64_t pnum, table;
        int ret = bdrv_block_status(blk_bs(blk), offset, end - offset, &pnum,
                                    NULL, NULL);

        g_assert_cmpint(ret, >=, 0);
        g_assert_cmpint(pnum, >, 0);
        table = DIV_ROUND_UP(offset, TABLE_BYTES);
        for (; table * TABLE_BYTES < offset + pnum; table++) {
            g_assert_cmpint(!!(ret & BDRV_BLOCK_DATA), ==, !!model[table]);
        }
        offset += pnum;
    }
}

static void test_order(void)
{
    g_autofree char *path = create();
    BlockBackend *blk = open_vmdk(path, RW_FLAGS, &error_abort);
    int i;

    walk(blk, 0, NB_TABLES);
    for (i = 0; i < 400; i++) {
        int table = g_test_rand_int_range(0, NB_TABLES);
        int count = g_test_rand_int_range(1, 300);

        switch (g_test_rand_int_range(0, 4)) {
        case 0:
            /* Those that were read ahead, evicted or not. */
            walk(blk, table, MIN(NB_TABLES - table, count));
            write_table(blk, MIN(table + count * 4 / 3, NB_TABLES - 1));
            break;
        case 1:
            g_assert_cmpint(read_grain(blk, table * 512, model[table]), ==, 0);
            break;
        default:
            write_table(blk, table);
            break;
        }
        if (i % 100 == 99) {
            walk(blk, 0, NB_TABLES);
        }
    }
    walk(blk, 0, NB_TABLES);
    blk_unref(blk);
    blk = open_vmdk(path, 0, &error_abort);
    walk(blk, 0, NB_TABLES);
    for (i = 0; i < NB_TABLES; i++) {
        if (model[i]) {
            g_assert_cmpint(read_grain(blk, i * 512, model[i]), ==, 0);
        }
    }
    g_assert_cmpint(count_corruptions(blk, 0), ==, 0);
    blk_unref(blk);
}

/* A check, which reads many tables at once, finds the one that is wrong. */
static void test_check(void)
{
    g_autofree char *path = create();
    BlockBackend *blk = open_vmdk(path, RW_FLAGS, &error_abort);
    uint32_t table_sector, behind = GUINT32_TO_LE(0x7fffffff);
    BDRVVmdkState *s = blk_bs(blk)->opaque;
    int fd;

    write_table(blk, CHECKED_TABLE);
    table_sector = s->extents[0].gd[CHECKED_TABLE];
    g_assert_cmpint(count_corruptions(blk, 0), ==, 0);
    blk_unref(blk);
    fd = open(path, O_RDWR);
    g_assert_cmpint(pwrite(fd, &behind, 4, table_sector * 512LL + 40), ==, 4);
    close(fd);
    blk = open_vmdk(path, 0, &error_abort);
    g_assert_cmpint(count_corruptions(blk, 0), ==, 1);
    blk_unref(blk);
}

/* --- holes --- */

static void put_entry(const char *path, uint32_t table_sector, uint32_t entry)
{
    uint32_t le = GUINT32_TO_LE(entry);
    int fd = open(path, O_WRONLY);

    g_assert_cmpint(pwrite(fd, &le, sizeof(le), table_sector * 512ull), ==,
                    sizeof(le));
    close(fd);
}

/*
 * Most tables are a hole of the file, which is not read when the image is
 * opened; the one that is wrong lies between such holes, and is.
 */
static void test_between_holes(void)
{
    static const int tables[] = { 1, 511, 512, 3000, NB_TABLES - 1 };
    g_autofree char *path = NULL;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(tables); i++) {
        BlockBackend *blk;
        VmdkExtent *e;
        uint32_t wrong, grain;

        g_free(path);
        path = create();
        blk = open_vmdk(path, BDRV_O_RDWR, &error_abort);
        e = ((BDRVVmdkState *)blk_bs(blk)->opaque)->extents;
        write_table(blk, 0);
        wrong = e->gd[tables[i]];
        grain = e->next_sector - e->grain_sectors;
        blk_unref(blk);
        put_entry(path, wrong, grain);
        check_refused(path, BDRV_O_RDWR, "is used twice");
    }
}

/* --- limits of all extents together --- */

/* A descriptor that names @count extents of @sectors each; its path. */
static char *put_extents(int count, int64_t sectors)
{
    g_autoptr(GString) text = g_string_new(
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
        "createType=\"twoGbMaxExtentSparse\"\n");
    char *path = tmp_path("extents.vmdk");
    int i;

    for (i = 0; i < count; i++) {
        g_string_append_printf(text, "RW %" PRId64 " SPARSE \"e%d.vmdk\"\n",
                               sectors, i);
    }
    g_assert_true(g_file_set_contents(path, text->str, text->len, NULL));
    return path;
}

/* An extent whose directory of @entries is a hole: grains of one sector. */
static void put_huge_directory(const char *name, int64_t entries)
{
    g_autofree char *path = tmp_path(name);
    GByteArray *image = g_byte_array_new();

    pad_to(image, 128);
    put_header(image, 1, 1, 0, 128, 128);
    patch(image, 12, entries * 512, 8);
    patch(image, 20, 1, 8);
    save(image, path);
    g_assert_cmpint(truncate(path, 65536 + entries * 4), ==, 0);
    g_byte_array_unref(image);
}

/* Each has less than the limit, but both together have more. */
static void test_directories_limit(void)
{
    int64_t entries = VMDK_MAX_GD_ENTRIES / 2 + 1;
    g_autofree char *one = put_extents(1, entries * 512);
    g_autofree char *two = NULL;
    BlockBackend *blk;

    put_huge_directory("e0.vmdk", entries);
    put_huge_directory("e1.vmdk", entries);
    blk = open_vmdk(one, 0, &error_abort);
    blk_unref(blk);
    two = put_extents(2, entries * 512);
    check_refused(two, 0, "are too large: more than 16777216 entries");
}

/* 40 extents, each of which would have a cache of 8 MiB. */
static void test_caches_limit(void)
{
    int64_t tables = VMDK_CACHE_BYTES / (512 * 4);
    g_autofree char *path = put_extents(40, tables * TABLE_BYTES / 512);
    uint64_t total = 0;
    BDRVVmdkState *s;
    BlockBackend *blk;
    int i;

    for (i = 0; i < 40; i++) {
        g_autofree char *name = g_strdup_printf("e%d.vmdk", i);
        g_autofree char *extent = tmp_path(name);
        QOpts *opts = qopts_new();

        qopts_set_uint(opts, "size", tables * TABLE_BYTES);
        bdrv_create(bdrv_find_format("vmdk"), extent, opts, &error_abort);
    }
    blk = open_vmdk(path, BDRV_O_RDWR, &error_abort);
    s = blk_bs(blk)->opaque;
    for (i = 0; i < s->nb_extents; i++) {
        g_assert_cmpint(s->extents[i].max_cached, >, 1000);
        total += s->extents[i].max_cached * 2048;
    }
    g_assert_cmpint(total, <=, VMDK_ALL_CACHES_BYTES);
    /* With the smaller one, too, what was written is there. */
    g_assert_cmpint(write_grain(blk, 512 * (tables - 1), 7), ==, 0);
    for (i = 0; i < tables; i++) {
        g_assert_cmpint(read_grain(blk, 512 * i, i == tables - 1 ? 7 : 0), ==,
                        0);
    }
    blk_unref(blk);
}

/* As many tables as the user wants, of all extents together, but one each. */
static void test_cache_size(void)
{
    static const struct {
        const char *size;
        uint32_t tables[2];
    } cases[] = {
        { "0", { 1, 1 } },
        { "2k", { 1, 1 } },
        { "64k", { 16, 16 } },
        { "1G", { 5000, 5000 } },
    };
    g_autofree char *path = put_extents(2, 5000 * (TABLE_BYTES / 512));
    size_t i;

    for (i = 0; i < 2; i++) {
        g_autofree char *name = g_strdup_printf("e%zu.vmdk", i);
        g_autofree char *extent = tmp_path(name);
        QOpts *opts = qopts_new();

        qopts_set_uint(opts, "size", 5000 * TABLE_BYTES);
        bdrv_create(bdrv_find_format("vmdk"), extent, opts, &error_abort);
    }
    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        QOpts *opts = qopts_new();
        BDRVVmdkState *s;
        BlockBackend *blk;

        qopts_set_str(opts, "driver", "vmdk");
        qopts_set_str(opts, "table-cache-size", cases[i].size);
        blk = blk_new_open(path, NULL, opts, 0, &error_abort);
        s = blk_bs(blk)->opaque;
        g_assert_cmpint(s->nb_extents, ==, 2);
        g_assert_cmpint(s->extents[0].max_cached, ==, cases[i].tables[0]);
        g_assert_cmpint(s->extents[1].max_cached, ==, cases[i].tables[1]);
        g_assert_cmpint(read_grain(blk, 512 * 4999, 0), ==, 0);
        g_assert_cmpint(read_grain(blk, 512 * 9999, 0), ==, 0);
        blk_unref(blk);
    }
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    make_tmp_dir();
    g_test_add_func("/vmdk-tables/order", test_order);
    g_test_add_func("/vmdk-tables/check", test_check);
    g_test_add_func("/vmdk-tables/between-holes", test_between_holes);
    g_test_add_func("/vmdk-tables/directories-limit", test_directories_limit);
    g_test_add_func("/vmdk-tables/caches-limit", test_caches_limit);
    g_test_add_func("/vmdk-tables/cache-size", test_cache_size);
    ret = g_test_run();
    remove_tmp_dir();
    return ret;
}
