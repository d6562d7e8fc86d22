/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files that are cut, or damaged in their tables: no grain shows the data of
 * another one, and nothing is written.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "vmdk-image.h"
#include "qapi/qapi-emit-events.h"
#include "qapi/qmp-event.h"
#include "qemu/main-loop.h"

#define NB_DATA 6
#define WHOLE (FIRST_GRAIN * 512 + NB_DATA * GRAIN)

static int events, fatal_events;

static void note_event(int event, struct json_object *json)
{
    struct json_object *data, *fatal;

    g_assert_cmpint(event, ==, QAPI_EVENT_BLOCK_IMAGE_CORRUPTED);
    json_object_object_get_ex(json, "data", &data);
    json_object_object_get_ex(data, "fatal", &fatal);
    events++;
    fatal_events += json_object_get_boolean(fatal);
}

static void expect_events(int count, int fatal)
{
    g_assert_cmpint(events, ==, count);
    g_assert_cmpint(fatal_events, ==, fatal);
    events = fatal_events = 0;
}

/* The first @len bytes of the image are read, or nothing is. */
static void check_cut(const char *path, GByteArray *image, uint32_t len)
{
    g_autofree char *expecting = g_strdup_printf(
        "expecting at least %d bytes", len < 512 ? 512
        : len < FIRST_GRAIN * 512 ? FIRST_GRAIN * 512 : WHOLE);
    BlockBackend *blk;
    int i;

    image->len = len;
    save(image, path);
    check_refused(path, RW_FLAGS, expecting);
    if (len < FIRST_GRAIN * 512) {
        check_refused(path, 0, expecting);
        return;
    }
    blk = open_vmdk(path, 0, &error_abort);
    for (i = 0; i < NB_DATA; i++) {
        bool whole = FIRST_GRAIN * 512 + (i + 1) * GRAIN <= (int)len;

        g_assert_cmpint(read_grain(blk, i, i + 1), ==, whole ? 0 : -EIO);
    }
    g_assert_cmpint(read_grain(blk, NB_DATA, 0), ==, 0);
    /* Once, however many there are. */
    expect_events(1, 0);
    g_assert_cmpint(count_corruptions(blk, 0), >, 0);
    blk_unref(blk);
}

static void test_cut(void)
{
    static const uint32_t lengths[] = {
        4, 511, 512, 1536, 11 * KiB, 13 * KiB, 30000, 65535, 65536, 65537,
        2 * GRAIN - 1, 2 * GRAIN, 3 * GRAIN + 512, WHOLE - 512, WHOLE - 1,
    };
    g_autoptr(GByteArray) image = sparse_image(NB_DATA, VMDK_NO_PARENT, "");
    g_autofree char *path = tmp_path("cut.vmdk");
    size_t i;

    for (i = 0; i < ARRAY_SIZE(lengths); i++) {
        check_cut(path, image, lengths[i]);
    }
    image->len = WHOLE;
}

/*
 * Entries of the table are changed: grains in @bad are not readable, all
 * others are, and a check finds it.
 */
static void check_damaged(GByteArray *image, const char *bad,
                          const char *reason)
{
    g_autofree char *path = tmp_path("damaged.vmdk");
    BlockBackend *blk;
    int i;

    save(image, path);
    check_refused(path, RW_FLAGS, reason);
    blk = open_vmdk(path, 0, &error_abort);
    for (i = 0; i < NB_DATA; i++) {
        g_assert_cmpint(read_grain(blk, i, i + 1), ==,
                        strchr(bad, '0' + i) ? -EIO : 0);
    }
    expect_events(1, 0);
    g_assert_cmpint(count_corruptions(blk, 0), >, 0);
    blk_unref(blk);

    blk = open_vmdk(path, RW_FLAGS | BDRV_O_CHECK, &error_abort);
    g_assert_cmpint(write_grain(blk, 0, 9), ==, -EIO);
    g_assert_cmpint(write_grain(blk, NB_DATA, 9), ==, -EIO);
    expect_events(1, 1);
    blk_unref(blk);
}

static void test_entries(void)
{
    static const struct {
        uint32_t sector;
        const char *bad;
        const char *reason;
    } cases[] = {
        { FIRST_GRAIN, "03", "used twice" },
        { FIRST_GRAIN + 1, "013", "used twice" },
        { FIRST_GRAIN + 2 * 128 - 1, "123", "used twice" },
        { FIRST_GRAIN + 5 * 128 - 127, "345", "used twice" },
        { 1, "3", "where the metadata is" },
        { RGD_SECTOR, "3", "where the metadata is" },
        { GD_SECTOR + 4, "3", "where the metadata is" },
        { FIRST_GRAIN + NB_DATA * 128, "3", "File truncated" },
        { FIRST_GRAIN + NB_DATA * 128 - 1, "3", "File truncated" },
        { UINT32_MAX, "3", "File truncated" },
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autoptr(GByteArray) image = sparse_image(NB_DATA, VMDK_NO_PARENT,
                                                   "");

        set_grain(image, 3, cases[i].sector);
        check_damaged(image, cases[i].bad, cases[i].reason);
    }
}

/* Two grains that both are in an odd place, as those of other writers. */
static void test_odd_places(void)
{
    g_autoptr(GByteArray) image = sparse_image(NB_DATA, VMDK_NO_PARENT, "");
    g_autofree char *path = tmp_path("odd.vmdk");
    uint32_t end = FIRST_GRAIN + NB_DATA * 128;
    BlockBackend *blk;

    pad_to(image, end + 300);
    memset(image->data + (end + 7) * 512, 3, GRAIN);
    memset(image->data + (end + 7 + 128) * 512, 4, GRAIN);
    set_grain(image, 2, end + 7);
    set_grain(image, 3, end + 7 + 128);
    save(image, path);
    blk = open_vmdk(path, RW_FLAGS, &error_abort);
    g_assert_cmpint(write_grain(blk, NB_DATA, NB_DATA + 1), ==, 0);
    g_assert_cmpint(read_grain(blk, 3, 4), ==, 0);
    g_assert_cmpint(count_corruptions(blk, 0), ==, 0);
    blk_unref(blk);

    blk = open_vmdk(path, RW_FLAGS, &error_abort);
    g_assert_cmpint(read_grain(blk, NB_DATA, NB_DATA + 1), ==, 0);
    blk_unref(blk);

    set_grain(image, 3, end + 7 + 127);
    check_damaged(image, "23", "used twice");
}

/* A directory that leads to one table twice, or to another directory. */
static void test_directory(void)
{
    g_autoptr(GByteArray) image = sparse_image(NB_DATA, VMDK_NO_PARENT, "");
    g_autofree char *path = tmp_path("gd.vmdk");

    patch(image, RGD_SECTOR * 512, GD_SECTOR, 4);
    save(image, path);
    check_refused(path, RW_FLAGS, "metadata overlap");
    patch(image, RGD_SECTOR * 512, RGD_SECTOR + 1, 4);
    patch(image, GD_SECTOR * 512, 1 << 20, 4);
    save(image, path);
    check_refused(path, RW_FLAGS, "File truncated");
}

/* Tables that follow each other, all behind the end of the file. */
static void test_tables_behind_end(void)
{
    g_autofree char *path = tmp_path("tables.vmdk");
    QOpts *opts = qopts_new();
    uint32_t entries[32];
    uint64_t gd;
    BlockBackend *blk;
    int fd, i;

    qopts_set_uint(opts, "size", 32 * 512 * GRAIN);
    g_assert_cmpint(bdrv_create(bdrv_find_format("vmdk"), path, opts,
                                &error_abort), ==, 0);
    fd = open(path, O_RDWR);
    g_assert_cmpint(pread(fd, &gd, 8, 56), ==, 8);
    gd = GUINT64_FROM_LE(gd) * 512;
    g_assert_cmpint(pread(fd, entries, sizeof(entries), gd), ==,
                    sizeof(entries));
    for (i = 4; i < 32; i++) {
        entries[i] = GUINT32_TO_LE((1 << 20) + 4 * i);
    }
    g_assert_cmpint(pwrite(fd, entries, sizeof(entries), gd), ==,
                    sizeof(entries));
    close(fd);

    blk = open_vmdk(path, 0, &error_abort);
    for (i = 0; i < 32; i++) {
        g_assert_cmpint(read_grain(blk, i * 512, 0), ==, i < 4 ? 0 : -EIO);
    }
    expect_events(1, 0);
    blk_unref(blk);
}

/* With force-share the file may be growing: that is not said to be damage. */
static void test_force_share(void)
{
    g_autoptr(GByteArray) image = sparse_image(2, VMDK_NO_PARENT, "");
    g_autofree char *path = tmp_path("shared.vmdk");
    QOpts *opts = qopts_new();
    BlockBackend *blk;

    image->len -= GRAIN;
    save(image, path);
    qopts_set_str(opts, "driver", "vmdk");
    qopts_set_bool(opts, "force-share", true);
    blk = blk_new_open(path, NULL, opts, 0, &error_abort);
    g_assert_cmpint(read_grain(blk, 0, 1), ==, 0);
    events = 0;
    g_assert_cmpint(read_grain(blk, 1, 2), ==, -EIO);
    expect_events(0, 0);
    g_assert_null(((BDRVVmdkState *)blk_bs(blk)->opaque)->extents[0].damage);
    blk_unref(blk);
}

/* Too many tables to read them at open: the first write does. */
static void test_first_write(void)
{
    g_autofree char *path = tmp_path("huge.vmdk");
    QOpts *opts = qopts_new();
    uint32_t entry = GUINT32_TO_LE(1U << 30);
    uint64_t gd;
    BlockBackend *blk;
    int fd;

    qopts_set_uint(opts, "size", 2 * TiB);
    g_assert_cmpint(bdrv_create(bdrv_find_format("vmdk"), path, opts,
                                &error_abort), ==, 0);
    fd = open(path, O_RDWR);
    g_assert_cmpint(pread(fd, &gd, 8, 56), ==, 8);
    g_assert_cmpint(pwrite(fd, &entry, 4, GUINT64_FROM_LE(gd) * 512
                                          + 65536 * 4 + 64), ==, 4);
    close(fd);

    blk = open_vmdk(path, RW_FLAGS, &error_abort);
    g_assert_cmpint(read_grain(blk, 16, 0), ==, -EIO);
    g_assert_cmpint(write_grain(blk, 0, 1), ==, -EIO);
    g_assert_cmpint(read_grain(blk, 0, 0), ==, 0);
    expect_events(2, 1);
    blk_unref(blk);
}

static void test_text_transfer(void)
{
    static const char *const changed[] = {
        "\n \n", "\r\n \r", "\r \r\r", "\n \n\n",
    };
    g_autoptr(GByteArray) image = sparse_image(1, VMDK_NO_PARENT, "");
    g_autofree char *path = tmp_path("text.vmdk");
    size_t i;

    for (i = 0; i < ARRAY_SIZE(changed); i++) {
        strncpy((char *)image->data + 73, changed[i], 4);
        save(image, path);
        check_refused(path, 0, "transfer it again, as binary");
    }
    patch(image, 73, 0, 4);
    save(image, path);
    blk_unref(open_vmdk(path, RW_FLAGS, &error_abort));
}

static void test_change_tracking(void)
{
    g_autoptr(GByteArray) image = sparse_image(1, VMDK_NO_PARENT, "");
    g_autoptr(GByteArray) other = sparse_image(
        1, VMDK_NO_PARENT, "changeTrackPath=\"x-ctk.vmdk\"\n");
    g_autofree char *path = tmp_path("ctk.vmdk");
    BlockDriverState *bs;

    patch(image, 4, 3, 4);
    save(image, path);
    check_refused(path, RW_FLAGS, "VMDK version 3 must be read only");
    save(other, path);
    check_refused(path, RW_FLAGS, "changed block tracking must be read only");
    bs = bdrv_open(path, NULL, NULL, RW_FLAGS | BDRV_O_AUTO_RDONLY,
                   &error_abort);
    g_assert_true(bdrv_is_read_only(bs));
    bdrv_unref(bs);
}

#define GT_OFFSET ((GD_SECTOR + 1) * 512)
#define RGT_OFFSET ((RGD_SECTOR + 1) * 512)

/* Check, repair with @fix, check: so many corruptions each time. */
static BlockBackend *check_thrice(GByteArray *image, BdrvCheckMode fix,
                                  int before, int fixed, int after)
{
    g_autofree char *path = tmp_path("copies.vmdk");
    BdrvCheckResult res;
    BlockBackend *blk;

    save(image, path);
    blk = open_vmdk(path, RW_FLAGS | BDRV_O_CHECK, &error_abort);
    g_assert_cmpint(count_corruptions(blk, 0), ==, before);
    g_assert_cmpint(bdrv_check(blk_bs(blk), &res, fix), ==, 0);
    g_assert_cmpint(res.corruptions_fixed, ==, fixed);
    g_assert_cmpint(count_corruptions(blk, 0), ==, after);
    return blk;
}

static void check_same_tables(void)
{
    g_autofree char *path = tmp_path("copies.vmdk");
    g_autofree char *data = NULL;

    g_assert_true(g_file_get_contents(path, &data, NULL, NULL));
    g_assert_cmpint(memcmp(data + GT_OFFSET, data + RGT_OFFSET, 2048), ==,
                    0);
}

/* A copy that lacks grains is no damage. */
static void test_copy_behind(void)
{
    g_autoptr(GByteArray) image = sparse_image(NB_DATA, VMDK_NO_PARENT, "");

    patch(image, RGT_OFFSET + 4, 0, 4);
    patch(image, RGT_OFFSET + 12, 0, 4);
    blk_unref(check_thrice(image, BDRV_FIX_LEAKS, 0, 0, 0));
    check_same_tables();
    blk_unref(check_thrice(image, BDRV_FIX_ERRORS, 0, 0, 0));
    check_same_tables();
}

/* Where a table lacks grains, the copy may be all that knows of them. */
static void test_copy_ahead(void)
{
    g_autoptr(GByteArray) image = sparse_image(NB_DATA, VMDK_NO_PARENT, "");
    g_autofree char *path = tmp_path("copies.vmdk");
    g_autofree char *data = NULL;

    patch(image, GT_OFFSET + 4, 0, 4);
    patch(image, GT_OFFSET + 12, 1 << 20, 4);
    blk_unref(check_thrice(image, BDRV_FIX_ERRORS | BDRV_FIX_LEAKS, 2, 0, 2));
    g_assert_true(g_file_get_contents(path, &data, NULL, NULL));
    g_assert_cmpint(memcmp(data, image->data, image->len), ==, 0);

    /* A place that others have is none. */
    patch(image, RGT_OFFSET + 4, FIRST_GRAIN, 4);
    patch(image, GT_OFFSET + 12, FIRST_GRAIN + 3 * 128, 4);
    blk_unref(check_thrice(image, BDRV_FIX_ERRORS, 1, 1, 0));
    check_same_tables();
}

/* If both have a grain, the table counts. */
static void test_copy_differs(void)
{
    g_autoptr(GByteArray) image = sparse_image(NB_DATA, VMDK_NO_PARENT, "");
    BlockBackend *blk;

    patch(image, RGT_OFFSET, FIRST_GRAIN + 128, 4);
    blk = check_thrice(image, BDRV_FIX_ERRORS, 1, 1, 0);
    g_assert_cmpint(read_grain(blk, 0, 1), ==, 0);
    blk_unref(blk);
    check_same_tables();
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    make_tmp_dir();
    qapi_event_set_func(note_event);
    g_test_add_func("/vmdk-damaged/cut", test_cut);
    g_test_add_func("/vmdk-damaged/entries", test_entries);
    g_test_add_func("/vmdk-damaged/odd-places", test_odd_places);
    g_test_add_func("/vmdk-damaged/directory", test_directory);
    g_test_add_func("/vmdk-damaged/tables-behind-end",
                    test_tables_behind_end);
    g_test_add_func("/vmdk-damaged/copy-behind", test_copy_behind);
    g_test_add_func("/vmdk-damaged/copy-ahead", test_copy_ahead);
    g_test_add_func("/vmdk-damaged/copy-differs", test_copy_differs);
    g_test_add_func("/vmdk-damaged/force-share", test_force_share);
    g_test_add_func("/vmdk-damaged/first-write", test_first_write);
    g_test_add_func("/vmdk-damaged/text-transfer", test_text_transfer);
    g_test_add_func("/vmdk-damaged/change-tracking", test_change_tracking);
    ret = g_test_run();
    remove_tmp_dir();
    return ret;
}
