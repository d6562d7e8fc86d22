/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block status: what is asked of the driver, and what is known already; and
 * the area that an overlay grows by.
 */
#include "qemu/osdep.h"
#include "block/blk-int.h"

#define KB 1024
#define BLOCKS 64

/* --- a driver of blocks of 1 KiB, which counts questions --- */

typedef struct {
    int64_t length;
    bool there[BLOCKS];
    bool zero[BLOCKS];
    unsigned asked;
    bool fail_zeroes;
    bool want_zero;             /* of the last question */
} MapState;

static int map_open(BlockDriverState *bs, QOpts *options, int flags,
                    Error **errp)
{
    MapState *s = bs->opaque;

    s->length = 32 * KB;
    bs->supported_zero_flags = BDRV_REQ_MAY_UNMAP;
    return 0;
}

static int64_t coroutine_fn map_co_getlength(BlockDriverState *bs)
{
    MapState *s = bs->opaque;

    return s->length;
}

static int coroutine_fn map_co_preadv_part(BlockDriverState *bs,
                                           int64_t offset, int64_t bytes,
                                           QEMUIOVector *qiov,
                                           size_t qiov_offset,
                                           BdrvRequestFlags flags)
{
    MapState *s = bs->opaque;
    int64_t i;

    for (i = 0; i < bytes; i += KB) {
        int64_t n = (offset + i) / KB;

        if (s->there[n] || !bs->backing) {
            qemu_iovec_memset(qiov, qiov_offset + i,
                              s->there[n] && !s->zero[n] ? bs->node_name[0]
                                                         : 0, KB);
        } else {
            int ret = bdrv_co_preadv_part(bs->backing, offset + i, KB, qiov,
                                          qiov_offset + i, 0);

            if (ret < 0) {
                return ret;
            }
        }
    }
    return 0;
}

static int map_set(MapState *s, int64_t offset, int64_t bytes, bool zero)
{
    int64_t i;

    for (i = offset / KB; i < (offset + bytes) / KB; i++) {
        s->there[i] = true;
        s->zero[i] = zero;
    }
    return 0;
}

static int coroutine_fn map_co_pwritev_part(BlockDriverState *bs,
                                            int64_t offset, int64_t bytes,
                                            QEMUIOVector *qiov,
                                            size_t qiov_offset,
                                            BdrvRequestFlags flags)
{
    return map_set(bs->opaque, offset, bytes, false);
}

static int coroutine_fn map_co_pwrite_zeroes(BlockDriverState *bs,
                                             int64_t offset, int64_t bytes,
                                             BdrvRequestFlags flags)
{
    MapState *s = bs->opaque;

    return s->fail_zeroes ? -EIO : map_set(s, offset, bytes, true);
}

static int coroutine_fn map_co_pdiscard(BlockDriverState *bs, int64_t offset,
                                        int64_t bytes)
{
    return map_set(bs->opaque, offset, bytes, true);
}

static int coroutine_fn map_co_truncate(BlockDriverState *bs, int64_t offset,
                                        bool exact, PreallocMode prealloc,
                                        BdrvRequestFlags flags, Error **errp)
{
    MapState *s = bs->opaque;

    s->length = offset;
    return 0;
}

/* The whole run, however much was asked for. */
static int coroutine_fn map_co_block_status(BlockDriverState *bs,
                                            bool want_zero, int64_t offset,
                                            int64_t bytes, int64_t *pnum,
                                            int64_t *map,
                                            BlockDriverState **file)
{
    MapState *s = bs->opaque;
    int64_t first = offset / KB, i = first;

    s->asked++;
    s->want_zero = want_zero;
    while (i < s->length / KB && s->there[i] == s->there[first] &&
           s->zero[i] == s->zero[first]) {
        i++;
    }
    *pnum = i * KB - offset;
    *map = offset;
    *file = bs;
    if (!s->there[first]) {
        return 0;
    }
    return (s->zero[first] ? BDRV_BLOCK_ZERO : BDRV_BLOCK_DATA) |
           BDRV_BLOCK_OFFSET_VALID;
}

static BlockDriver bdrv_map = {
    .format_name = "map",
    .protocol_name = "map",
    .instance_size = sizeof(MapState),
    .supports_backing = true,
    .bdrv_open = map_open,
    .bdrv_co_getlength = map_co_getlength,
    .bdrv_co_preadv_part = map_co_preadv_part,
    .bdrv_co_pwritev_part = map_co_pwritev_part,
    .bdrv_co_pwrite_zeroes = map_co_pwrite_zeroes,
    .bdrv_co_pdiscard = map_co_pdiscard,
    .bdrv_co_truncate = map_co_truncate,
    .bdrv_co_block_status = map_co_block_status,
};

static BlockBackend *open_map(const char *name)
{
    BlockDriverState *bs = bdrv_new_open_driver(&bdrv_map, name, BDRV_O_RDWR |
                                                BDRV_O_UNMAP, &error_abort);
    BlockBackend *blk = blk_new(qemu_get_aio_context(), BLK_PERM_ALL,
                                BLK_PERM_ALL);

    g_assert_cmpint(blk_insert_bs(blk, bs, &error_abort), ==, 0);
    bdrv_unref(bs);
    return blk;
}

static void check_status(BlockBackend *blk, int64_t offset, int64_t bytes,
                         int want, int64_t want_pnum)
{
    BlockDriverState *file;
    int64_t pnum, map;
    int ret = bdrv_block_status(blk_bs(blk), offset, bytes, &pnum, &map,
                                &file);

    g_assert_cmphex(ret & ~BDRV_BLOCK_EOF, ==, want);
    g_assert_cmpint(pnum, ==, want_pnum);
    if (ret & BDRV_BLOCK_OFFSET_VALID) {
        g_assert_cmpint(map, ==, offset);
        g_assert(file == blk_bs(blk));
    }
}

/* A run of data is asked for once, and again when some of it may be gone. */
static void test_known(void)
{
    const int data = BDRV_BLOCK_DATA | BDRV_BLOCK_ALLOCATED |
                     BDRV_BLOCK_OFFSET_VALID;
    const int zero = BDRV_BLOCK_ZERO | BDRV_BLOCK_ALLOCATED |
                     BDRV_BLOCK_OFFSET_VALID;
    BlockBackend *blk = open_map("m");
    MapState *s = blk_bs(blk)->opaque;
    int i;

    map_set(s, 4 * KB, 8 * KB, false);
    for (i = 0; i < 8; i++) {
        check_status(blk, (4 + i) * KB, KB, data, KB);
    }
    check_status(blk, 5 * KB, 20 * KB, data, 7 * KB);
    g_assert_cmpuint(s->asked, ==, 1);

    g_assert_cmpint(blk_pwrite_zeroes(blk, 8 * KB, KB, 0), ==, 0);
    check_status(blk, 4 * KB, 8 * KB, data, 4 * KB);
    g_assert_cmpuint(s->asked, ==, 2);
    check_status(blk, 8 * KB, KB, zero, KB);
    check_status(blk, 9 * KB, 3 * KB, data, 3 * KB);
    g_assert_cmpuint(s->asked, ==, 4);

    /* Elsewhere does not matter. */
    g_assert_cmpint(blk_pwrite_zeroes(blk, 20 * KB, KB, 0), ==, 0);
    check_status(blk, 10 * KB, KB, data, KB);
    g_assert_cmpuint(s->asked, ==, 4);
    g_assert_cmpint(blk_pdiscard(blk, 10 * KB, KB), ==, 0);
    check_status(blk, 10 * KB, KB, zero, KB);
    g_assert_cmpuint(s->asked, ==, 5);

    check_status(blk, 11 * KB, KB, data, KB);
    g_assert_cmpint(blk_truncate(blk, 64 * KB, true, PREALLOC_MODE_OFF, 0,
                                 &error_abort), ==, 0);
    check_status(blk, 11 * KB, KB, data, KB);
    g_assert_cmpuint(s->asked, ==, 7);
    blk_unref(blk);
}

/* A question for what is allocated has no driver look for zeroes. */
static void test_want_zero(void)
{
    BlockBackend *blk = open_map("m");
    BlockDriverState *bs = blk_bs(blk);
    MapState *s = bs->opaque;
    int64_t pnum;

    map_set(s, 4 * KB, 8 * KB, true);
    check_status(blk, 4 * KB, 8 * KB, BDRV_BLOCK_ZERO | BDRV_BLOCK_ALLOCATED |
                 BDRV_BLOCK_OFFSET_VALID, 8 * KB);
    g_assert_true(s->want_zero);
    g_assert_cmpint(bdrv_is_allocated(bs, 4 * KB, KB, &pnum), ==, 1);
    g_assert_false(s->want_zero);
    check_status(blk, 4 * KB, KB, BDRV_BLOCK_ZERO | BDRV_BLOCK_ALLOCATED |
                 BDRV_BLOCK_OFFSET_VALID, KB);
    g_assert_true(s->want_zero);
    g_assert_cmpint(bdrv_is_allocated_above(bs, NULL, false, 4 * KB, KB,
                                            &pnum), ==, 1);
    g_assert_false(s->want_zero);
    g_assert_cmpuint(s->asked, ==, 4);
    blk_unref(blk);
}

/* The file driver finds holes, in a worker thread. */
/* 64 KiB of data at 512 KiB become a hole in several ways. */
static void check_new_holes(BlockBackend *blk, int fd, int data, int zero)
{
    g_autofree char *buf = g_malloc0(64 * KB);
    int way;

    for (way = 0; way < 4; way++) {
        int expected = zero;

        g_assert_cmpint(blk_pwrite(blk, 512 * KB, 64 * KB, buf, 0), ==, 0);
        check_status(blk, 512 * KB, 512 * KB, data, 64 * KB);
        if (way == 0) {
            g_assert_cmpint(blk_pdiscard(blk, 512 * KB, 64 * KB), ==, 0);
        } else if (way == 1) {
            g_assert_cmpint(blk_pwrite_zeroes(blk, 512 * KB, 64 * KB,
                                              BDRV_REQ_MAY_UNMAP), ==, 0);
        } else if (way == 2) {
            g_assert_cmpint(blk_truncate(blk, 512 * KB, true,
                                         PREALLOC_MODE_OFF, 0, NULL), ==, 0);
            g_assert_cmpint(blk_truncate(blk, 1 * MiB, true,
                                         PREALLOC_MODE_OFF, 0, NULL), ==, 0);
        } else if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                             512 * KB, 64 * KB) == 0) {
            /* By another program: it is not asked again, and does no harm. */
            expected = data;
        }
        if (lseek(fd, 512 * KB, SEEK_DATA) >= 0) {
            g_test_message("no hole was made in way %d", way);
            continue;
        }
        check_status(blk, 512 * KB, 512 * KB, expected,
                     expected == data ? 64 * KB : 512 * KB);
    }
}

static void test_file(void)
{
    g_autofree char *name = g_strdup("/tmp/test-block-status-XXXXXX");
    const int data = BDRV_BLOCK_DATA | BDRV_BLOCK_ALLOCATED |
                     BDRV_BLOCK_OFFSET_VALID;
    const int zero = BDRV_BLOCK_ZERO | BDRV_BLOCK_ALLOCATED |
                     BDRV_BLOCK_OFFSET_VALID;
    g_autofree char *buf = g_malloc0(64 * KB);
    int fd = g_mkstemp(name);
    BlockBackend *blk;

    g_assert_cmpint(fd, >=, 0);
    memset(buf, 1, 64 * KB);
    g_assert_cmpint(ftruncate(fd, 1 * MiB), ==, 0);
    g_assert_cmpint(pwrite(fd, buf, 64 * KB, 512 * KB), ==, 64 * KB);
    if (lseek(fd, 0, SEEK_DATA) != 512 * KB) {
        g_test_skip("the file system of /tmp does not tell holes");
    } else {
        blk = blk_new_open(name, NULL, NULL, BDRV_O_RDWR | BDRV_O_RESIZE |
                           BDRV_O_PROTOCOL | BDRV_O_UNMAP, &error_abort);
        check_status(blk, 0, 1 * MiB, zero, 512 * KB);
        check_status(blk, 512 * KB, 4 * KB, data, 4 * KB);
        check_status(blk, 520 * KB, 1 * MiB - 520 * KB, data, 56 * KB);
        check_status(blk, 576 * KB, 1 * MiB - 576 * KB, zero, 448 * KB);
        g_assert_cmpint(blk_pwrite(blk, 0, 64 * KB, buf, 0), ==, 0);
        check_status(blk, 0, 1 * MiB, data, 64 * KB);
        check_new_holes(blk, fd, data, zero);
        blk_unref(blk);
    }
    unlink(name);
    close(fd);
}

/* --- growing an overlay --- */

static uint8_t read_byte(BlockBackend *blk, int64_t offset)
{
    uint8_t buf[KB];

    g_assert_cmpint(blk_pread(blk, QEMU_ALIGN_DOWN(offset, KB), KB, buf, 0),
                    ==, 0);
    return buf[offset % KB];
}

/* Old data of a backing file that is longer do not come to light. */
static void test_grow(void)
{
    BlockBackend *base = open_map("base"), *top = open_map("top");
    BlockDriverState *bs = blk_bs(top);
    MapState *s = bs->opaque;
    Error *err = NULL;

    g_assert_cmpint(blk_truncate(base, 64 * KB, true, PREALLOC_MODE_OFF, 0,
                                 &error_abort), ==, 0);
    map_set(blk_bs(base)->opaque, 0, 64 * KB, false);
    g_assert_cmpint(blk_set_perm(base, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL,
                                 &error_abort), ==, 0);
    g_assert_cmpint(bdrv_set_backing_hd(bs, blk_bs(base), &error_abort), ==,
                    0);
    g_assert_cmpint(read_byte(top, 31 * KB), ==, 'b');

    /* If that cannot be, it does not grow. */
    s->fail_zeroes = true;
    g_assert_cmpint(blk_truncate(top, 48 * KB, true, PREALLOC_MODE_OFF, 0,
                                 &err), ==, -EIO);
    g_assert_cmpstr(error_get_pretty(err), ==, "Could not hide the old data "
                    "of the backing file: Input/output error");
    error_free_or_abort(&err);
    g_assert_cmpint(blk_getlength(top), ==, 32 * KB);
    g_assert_cmpint(s->length, ==, 32 * KB);

    s->fail_zeroes = false;
    g_assert_cmpint(blk_truncate(top, 48 * KB, true, PREALLOC_MODE_OFF, 0,
                                 &error_abort), ==, 0);
    g_assert_cmpint(blk_getlength(top), ==, 48 * KB);
    g_assert_cmpint(read_byte(top, 31 * KB), ==, 'b');
    g_assert_cmpint(read_byte(top, 32 * KB), ==, 0);
    g_assert_cmpint(read_byte(top, 48 * KB - 1), ==, 0);
    g_assert(!s->there[31] && s->there[32] && s->there[47]);
    blk_unref(top);
    blk_unref(base);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    bdrv_register(&bdrv_map);

    g_test_add_func("/block-status/known", test_known);
    g_test_add_func("/block-status/want-zero", test_want_zero);
    g_test_add_func("/block-status/file", test_file);
    g_test_add_func("/block-status/grow", test_grow);
    ret = g_test_run();

    qemu_cleanup_main_loop();
    return ret;
}
