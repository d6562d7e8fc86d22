/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The filter preallocate below a VMDK, whose file grows, and below a raw image,
 * whose length is set.
 */
#include "qemu/osdep.h"
#include "test-job-nodes.h"

static int64_t file_size(void)
{
    g_autofree char *path = image_path("source");
    struct stat st;

    g_assert_cmpint(stat(path, &st), ==, 0);
    return st.st_size;
}

/* The source as @driver above the filter, which has these options, and blk. */
static void open_filter(const char *driver, const char *options)
{
    g_autofree char *path = image_path("source");
    g_autofree char *json = g_strdup_printf(
        "{'driver': '%s', 'node-name': 'source', 'file': {"
        "'driver': 'preallocate', 'node-name': 'p', %s 'file': {"
        "'driver': 'file', 'node-name': 'f', 'filename': '%s'}}}", driver,
        options, path);

    source = bdrv_open(NULL, NULL, qopts_parse_json(json, &error_abort),
                       BDRV_O_RDWR, &error_abort);
    blk = blk_new(qemu_get_aio_context(), BLK_PERM_CONSISTENT_READ |
                  BLK_PERM_WRITE | BLK_PERM_RESIZE, BLK_PERM_ALL);
    blk_insert_bs(blk, source, &error_abort);
}

static void close_filter(void)
{
    blk_unref(blk);
    bdrv_unref(source);
    g_assert_null(bdrv_next_node(NULL));
}

static void check_same(const uint8_t *shadow)
{
    g_autofree uint8_t *buf = g_malloc(SIZE);

    read_all(source, buf);
    g_assert_cmpint(memcmp(buf, shadow, SIZE), ==, 0);
}

/* Many grow the file at once; the data are right with and without filter. */
static void check_grow(const char *options, int64_t more)
{
    g_autofree uint8_t *shadow = g_malloc0(SIZE);
    Load load = { shadow };
    int64_t data_end;

    create("source", "vmdk", SIZE);
    open_filter("vmdk", options);
    load_start(&load, 8, 60);
    wait_all(&load);
    check_same(shadow);
    data_end = bdrv_getlength(source->file->bs);
    if (more) {
        g_assert_cmpint(file_size(), >=, data_end);
        g_assert_cmpint(file_size(), <=, data_end + more);
        g_assert_cmpint(file_size() % (256 * KiB), ==, 0);
    }
    g_assert_cmpint(bdrv_flush(source), ==, 0);
    close_filter();
    g_assert_cmpint(file_size(), ==, data_end);

    source = open_node("source", "vmdk");
    check_same(shadow);
    bdrv_unref(source);
}

static void test_grow(void)
{
    result = 0;
    check_grow("'prealloc-align': 262144, 'prealloc-size': 4194304,",
               5 * MiB);
    check_grow("", 130 * MiB);
    check_grow("'prealloc-align': 262144, 'prealloc-size': 0,", MiB);
}

/* What another can see: only while somebody writes the length is kept. */
static void test_drop(void)
{
    BlockDriverState *p;
    g_autofree uint8_t *buf = g_malloc0(MiB);
    Error *err = NULL;
    int64_t end;

    create("source", "vmdk", SIZE);
    open_filter("vmdk", "");
    p = bdrv_find_node("p");
    bdrv_ref(p);
    g_assert_cmpint(blk_pwrite(blk, 0, MiB, buf, 0), ==, 0);
    memset(buf, 1, MiB);
    g_assert_cmpint(blk_pwrite(blk, 0, MiB, buf, 0), ==, 0);
    g_assert_cmpint(file_size(), >, 128 * MiB);
    end = bdrv_getlength(p);
    blk_unref(blk);
    blk = blk_new(qemu_get_aio_context(), BLK_PERM_RESIZE, BLK_PERM_ALL);
    g_assert_cmpint(blk_insert_bs(blk, bdrv_find_node("f"), &err), <, 0);
    error_free_or_abort(&err);
    bdrv_unref(source);
    while (file_size() > end) {
        aio_poll(qemu_get_aio_context(), true);
    }
    g_assert_cmpint(file_size(), ==, end);
    g_assert_cmpint(blk_insert_bs(blk, bdrv_find_node("f"), &error_abort), ==,
                    0);
    blk_unref(blk);
    bdrv_unref(p);
}

/* Below a raw image: the end of the data is what is seen. */
static void test_truncate(void)
{
    g_autofree uint8_t *buf = g_malloc(MiB);
    BlockDriverState *p;
    QOpts *opts;

    create("source", "raw", MiB);
    open_filter("raw", "'prealloc-align': 65536, 'prealloc-size': 1048576,");
    p = bdrv_find_node("p");
    memset(buf, 7, MiB);
    g_assert_cmpint(blk_pwrite(blk, 0, MiB, buf, 0), ==, 0);
    g_assert_cmpint(file_size(), ==, MiB);
    g_assert_cmpint(blk_truncate(blk, 2 * MiB, true, PREALLOC_MODE_OFF, 0,
                                 &error_abort), ==, 0);
    g_assert_cmpint(file_size(), ==, 2 * MiB);
    g_assert_cmpint(blk_truncate(blk, MiB + 512, true, PREALLOC_MODE_OFF, 0,
                                 &error_abort), ==, 0);
    g_assert_cmpint(file_size(), ==, MiB + 512);
    g_assert_cmpint(bdrv_getlength(source), ==, MiB + 512);
    g_assert_cmpint(blk_truncate(blk, 2 * MiB, true, PREALLOC_MODE_FULL, 0,
                                 &error_abort), ==, 0);
    g_assert_cmpint(blk_pread(blk, MiB, MiB, buf, 0), ==, 0);
    g_assert_true(buffer_is_zero(buf, MiB));

    /* Other options, which a next write obeys; and none when read-only. */
    opts = qopts_new();
    qopts_set_str(opts, "driver", "preallocate");
    qopts_set_uint(opts, "prealloc-align", 65535);
    g_assert_cmpint(bdrv_reopen(p, BDRV_O_RDWR, opts, NULL), <, 0);
    opts = qopts_new();
    qopts_set_str(opts, "driver", "preallocate");
    qopts_set_uint(opts, "prealloc-align", 131072);
    g_assert_cmpint(bdrv_reopen(p, BDRV_O_RDWR, opts, &error_abort), ==, 0);
    close_filter();
    g_assert_cmpint(file_size(), ==, 2 * MiB);
}

/* A node that is handed over to another process leaves what that expects. */
static void test_inactive(void)
{
    g_autofree uint8_t *buf = g_malloc(64 * KiB);
    BlockDriverState *p;
    BdrvChild *child;
    int64_t end;

    create("source", "vmdk", SIZE);
    open_filter("vmdk", "");
    p = bdrv_find_node("p");
    bdrv_ref(p);
    memset(buf, 1, 64 * KiB);
    g_assert_cmpint(blk_pwrite(blk, 0, 64 * KiB, buf, 0), ==, 0);
    end = bdrv_getlength(p);
    blk_unref(blk);
    bdrv_unref(source);
    /* Not yet: that is done by the event loop. */
    g_assert_cmpint(file_size(), >, end);
    g_assert_cmpint(bdrv_inactivate(p, &error_abort), ==, 0);
    g_assert_cmpint(file_size(), ==, end);
    g_assert_cmpint(bdrv_activate(p, &error_abort), ==, 0);
    child = p->file;
    g_assert_cmpuint(child->perm & BLK_PERM_WRITE, ==, 0);
    bdrv_unref(p);
}

/* A file system that cannot allocate: the file gets longer all the same. */
static void test_unsupported(void)
{
    g_autofree uint8_t *shadow = g_malloc0(SIZE);
    g_autofree char *path = image_path("source");
    g_autofree char *json = g_strdup_printf(
        "{'driver': 'vmdk', 'node-name': 'source', 'file': {"
        "'driver': 'preallocate', 'file': {'driver': 'blkdebug', "
        "'inject-error': [{'event': 'none', 'iotype': 'write-zeroes', "
        "'errno': 95}], 'image': {"
        "'driver': 'file', 'filename': '%s'}}}}", path);
    Load load = { shadow };

    result = 0;
    create("source", "vmdk", SIZE);
    source = bdrv_open(NULL, NULL, qopts_parse_json(json, &error_abort),
                       BDRV_O_RDWR, &error_abort);
    blk = blk_new(qemu_get_aio_context(), BLK_PERM_CONSISTENT_READ |
                  BLK_PERM_WRITE, BLK_PERM_ALL);
    blk_insert_bs(blk, source, &error_abort);
    load_start(&load, 8, 40);
    wait_all(&load);
    check_same(shadow);
    g_assert_cmpint(file_size(), >, SIZE + 2 * MiB);
    close_filter();
    g_assert_cmpint(file_size(), <, SIZE + 2 * MiB);
    source = open_node("source", "vmdk");
    check_same(shadow);
    bdrv_unref(source);
}

/* The filter owns no length for a user that may only write what is there. */
static void test_unchanged(void)
{
    g_autofree uint8_t *buf = g_malloc0(64 * KiB);
    BlockDriverState *p;
    BlockBackend *other;

    create("source", "raw", MiB);
    open_filter("raw", "");
    p = bdrv_find_node("p");
    blk_unref(blk);
    blk = blk_new(qemu_get_aio_context(), BLK_PERM_CONSISTENT_READ |
                  BLK_PERM_WRITE_UNCHANGED, BLK_PERM_ALL);
    blk_insert_bs(blk, p, &error_abort);
    g_assert_cmpint(blk_pwrite(blk, 0, 64 * KiB, buf,
                               BDRV_REQ_WRITE_UNCHANGED), ==, 0);

    other = blk_new(qemu_get_aio_context(), BLK_PERM_RESIZE, BLK_PERM_ALL);
    blk_insert_bs(other, bdrv_find_node("f"), &error_abort);
    g_assert_cmpint(blk_truncate(other, 2 * MiB, true, PREALLOC_MODE_OFF, 0,
                                 &error_abort), ==, 0);
    blk_unref(other);
    g_assert_cmpint(bdrv_getlength(p), ==, 2 * MiB);
    close_filter();
    g_assert_cmpint(file_size(), ==, 2 * MiB);
}

static void add_tests(void)
{
    g_test_add_func("/preallocate/grow", test_grow);
    g_test_add_func("/preallocate/drop", test_drop);
    g_test_add_func("/preallocate/truncate", test_truncate);
    g_test_add_func("/preallocate/inactive", test_inactive);
    g_test_add_func("/preallocate/unsupported", test_unsupported);
    g_test_add_func("/preallocate/unchanged", test_unchanged);
}

int main(int argc, char **argv)
{
    return job_test_main(&argc, &argv, add_tests);
}
