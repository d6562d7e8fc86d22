/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Many grain tables: more than the cache holds, read one by one and in order,
 * written to in between, and checked.
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

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    make_tmp_dir();
    g_test_add_func("/vmdk-tables/order", test_order);
    g_test_add_func("/vmdk-tables/check", test_check);
    ret = g_test_run();
    remove_tmp_dir();
    return ret;
}
