/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VMDK and the loss of power.  The file of the image is in memory, and all
 * that is done to it is noted: at any moment the disk has what was flushed,
 * and of what came later any sectors, in any order, with the file as long as
 * it was or as it has become.  Whatever of that is left: the image can be
 * written again, "check" finds nothing, each sector has what was flushed or
 * something that was written later, and a new write changes nothing else.
 *
 * Streams: the same for each moment at which a process can be killed.  After a
 * loss of power, grains that were not flushed may be damaged.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "qemu/main-loop.h"
#include "system/block-backend.h"
#include <glib/gstdio.h>

#define SECTOR 512
#define GRAIN 65536
#define DISK_SIZE (2 * MiB)
#define SECTORS (DISK_SIZE / SECTOR)
#define MAX_FILE (600 * MiB)
/* Of what lies behind that only the length is kept. */
#define KEPT_BYTES (8 * MiB)
#define RW_FLAGS (BDRV_O_RDWR | BDRV_O_RESIZE)
#define DEPTH 4
#define ROUNDS 3

static char *tmp_dir;

/* --- the disk of the host --- */

typedef struct HostFile {
    uint8_t *data;              /* KEPT_BYTES */
    int64_t bytes;
} HostFile;

typedef struct Change {
    bool flush;
    bool cut;                   /* the length becomes @end, and no data */
    int64_t offset;
    int64_t end;
    uint8_t *data;              /* of [offset, end) */
} Change;

static HostFile now;
static HostFile durable;        /* with the changes before the first */
static GPtrArray *changes;

static void change_free(void *opaque)
{
    Change *c = opaque;

    g_free(c->data);
    g_free(c);
}

static Change *note(int64_t offset, int64_t end)
{
    Change *c = g_new0(Change, 1);

    c->offset = offset;
    c->end = end;
    g_ptr_array_add(changes, c);
    return c;
}

static void set_length(HostFile *f, int64_t bytes)
{
    g_assert_cmpint(bytes, <=, MAX_FILE);
    if (bytes < f->bytes && bytes < KEPT_BYTES) {
        memset(f->data + bytes, 0, KEPT_BYTES - bytes);
    }
    f->bytes = bytes;
}

static int power_open(BlockDriverState *bs, QOpts *options, int flags,
                      Error **errp)
{
    return 0;
}

static int64_t coroutine_fn power_co_getlength(BlockDriverState *bs)
{
    return now.bytes;
}

/* Another one may come in between. */
static void coroutine_fn wait_a_turn(void)
{
    if (g_test_rand_bit()) {
        aio_co_schedule(qemu_get_current_aio_context(),
                        qemu_coroutine_self());
        qemu_coroutine_yield();
    }
}

static int coroutine_fn power_co_preadv_part(BlockDriverState *bs,
                                             int64_t offset, int64_t bytes,
                                             QEMUIOVector *qiov,
                                             size_t qiov_offset,
                                             BdrvRequestFlags flags)
{
    wait_a_turn();
    if (offset + bytes > KEPT_BYTES) {
        return -EFBIG;
    }
    qemu_iovec_from_buf(qiov, qiov_offset, now.data + offset, bytes);
    return 0;
}

static int coroutine_fn power_co_pwritev_part(BlockDriverState *bs,
                                              int64_t offset, int64_t bytes,
                                              QEMUIOVector *qiov,
                                              size_t qiov_offset,
                                              BdrvRequestFlags flags)
{
    Change *c;

    wait_a_turn();
    if (offset + bytes > KEPT_BYTES) {
        return -EFBIG;
    }
    c = note(offset, offset + bytes);
    c->data = g_malloc(bytes);
    qemu_iovec_to_buf(qiov, qiov_offset, c->data, bytes);
    memcpy(now.data + offset, c->data, bytes);
    now.bytes = MAX(now.bytes, offset + bytes);
    return 0;
}

static int coroutine_fn power_co_flush_to_disk(BlockDriverState *bs)
{
    /* The disk need not have what is written meanwhile: here it has not. */
    note(0, 0)->flush = true;
    wait_a_turn();
    return 0;
}

static int coroutine_fn power_co_truncate(BlockDriverState *bs,
                                          int64_t offset, bool exact,
                                          PreallocMode prealloc,
                                          BdrvRequestFlags flags,
                                          Error **errp)
{
    note(0, offset)->cut = true;
    set_length(&now, offset);
    return 0;
}

static BlockDriver bdrv_power = {
    .format_name = "power",
    .protocol_name = "power",
    .bdrv_open = power_open,
    .bdrv_co_getlength = power_co_getlength,
    .bdrv_co_preadv_part = power_co_preadv_part,
    .bdrv_co_pwritev_part = power_co_pwritev_part,
    .bdrv_co_flush_to_disk = power_co_flush_to_disk,
    .bdrv_co_truncate = power_co_truncate,
};

/* --- what is left --- */

static void apply(HostFile *f, const Change *c, bool all)
{
    int64_t offset = c->offset;

    if (c->flush) {
        return;
    }
    if (c->cut || c->end > f->bytes) {
        if (!all && g_test_rand_bit()) {
            if (c->cut) {
                return;
            }
        } else {
            set_length(f, c->end);
        }
    }
    while (!c->cut && offset < MIN(c->end, f->bytes)) {
        int64_t end = MIN(QEMU_ALIGN_DOWN(offset + SECTOR, SECTOR),
                          MIN(c->end, f->bytes));

        if (all || g_test_rand_bit()) {
            memcpy(f->data + offset, c->data + (offset - c->offset),
                   end - offset);
        }
        offset = end;
    }
}

/* All up to the last flush among the first @count changes is on the disk. */
static void lose_power(HostFile *left, guint count)
{
    guint flushed = 0;
    guint i;

    for (i = 0; i < count; i++) {
        if (((Change *)changes->pdata[i])->flush) {
            flushed = i;
        }
    }
    memcpy(left->data, durable.data, KEPT_BYTES);
    left->bytes = durable.bytes;
    for (i = 0; i < count; i++) {
        apply(left, changes->pdata[i], i < flushed);
    }
}

/* A flush of the guest: it may not be without what it has now. */
static void make_durable(void)
{
    guint last = 0;
    guint i;

    for (i = 0; i < changes->len; i++) {
        if (((Change *)changes->pdata[i])->flush) {
            last = i;
        }
    }
    for (i = 0; i < last; i++) {
        apply(&durable, changes->pdata[i], true);
    }
    g_ptr_array_remove_range(changes, 0, last);
}

/* --- the guest --- */

/* By sector: what was flushed, and what was written later, a bit each. */
static uint32_t may_be[SECTORS][8];
static uint8_t is[SECTORS];

static void allow(int64_t sector, uint8_t value)
{
    may_be[sector][value / 32] |= 1u << value % 32;
}

static void guest_flushed(void)
{
    int64_t i;

    memset(may_be, 0, sizeof(may_be));
    for (i = 0; i < SECTORS; i++) {
        allow(i, is[i]);
    }
}

typedef struct GuestWrite {
    QEMUIOVector qiov;
    uint8_t *buf;
    int *pending;
} GuestWrite;

static void guest_write_done(void *opaque, int ret)
{
    GuestWrite *w = opaque;

    g_assert_cmpint(ret, ==, 0);
    (*w->pending)--;
    g_free(w->buf);
    g_free(w);
}

/* Requests that are in flight together do not overlap. */
static void guest_write(BlockBackend *blk, int slot, int *pending)
{
    int64_t room = SECTORS / DEPTH;
    int64_t count = g_test_rand_int_range(1, g_test_rand_bit() ? 9 : 300);
    int64_t first = slot * room + g_test_rand_int_range(0, room - count);
    uint8_t value = g_test_rand_int_range(0, 256);
    GuestWrite *w = g_new0(GuestWrite, 1);
    int64_t i;

    if (g_test_rand_int_range(0, 4) == 0) {
        first = QEMU_ALIGN_DOWN(first, GRAIN / SECTOR);
        count = GRAIN / SECTOR;
    }
    for (i = first; i < first + count; i++) {
        is[i] = value;
        allow(i, value);
    }
    (*pending)++;
    w->pending = pending;
    w->buf = g_malloc(count * SECTOR);
    memset(w->buf, value, count * SECTOR);
    qemu_iovec_init_buf(&w->qiov, w->buf, count * SECTOR);
    if (value == 0) {
        blk_aio_pwrite_zeroes(blk, first * SECTOR, count * SECTOR, 0,
                              guest_write_done, w);
    } else {
        blk_aio_pwritev(blk, first * SECTOR, &w->qiov, 0, guest_write_done,
                        w);
    }
}

static void guest_step(BlockBackend *blk)
{
    int pending = 0;
    int i;

    for (i = 0; i < DEPTH; i++) {
        guest_write(blk, i, &pending);
    }
    while (pending) {
        aio_poll(qemu_get_aio_context(), true);
    }
}

/* --- the image --- */

static void create_image(const char *path, const char *options)
{
    QOpts *opts = qopts_parse(options, NULL, &error_abort);

    qopts_set_uint(opts, "size", DISK_SIZE);
    g_assert_cmpint(bdrv_create(bdrv_find_format("vmdk"), path, opts,
                                &error_abort), ==, 0);
}

static BlockBackend *open_image(const char *path, int flags)
{
    QOpts *opts = qopts_new();

    qopts_set_str(opts, "driver", "vmdk");
    return blk_new_open(path, NULL, opts, flags, &error_abort);
}

static BlockBackend *open_in_memory(const char *base)
{
    g_autofree char *options = NULL;

    options = base ? g_strdup_printf("driver=vmdk,file.driver=power,"
                                     "backing.driver=vmdk,backing.file.driver"
                                     "=file,backing.file.filename=%s", base)
              : g_strdup("driver=vmdk,file.driver=power");
    return blk_new_open(NULL, NULL, qopts_parse(options, NULL, &error_abort),
                        RW_FLAGS, &error_abort);
}

static void check_sector(const uint8_t *data, int64_t sector, bool exact,
                         const uint8_t *before)
{
    int i;

    for (i = 1; i < SECTOR; i++) {
        g_assert_cmpint(data[i], ==, data[0]);
    }
    if (exact) {
        g_assert_cmpint(data[0], ==, before[0]);
    } else if (!(may_be[sector][data[0] / 32] & 1u << data[0] % 32)) {
        g_test_message("sector %" PRId64 " has %d", sector, data[0]);
        g_test_fail();
    }
}

/* Grains that nobody has shown yet must not be those of others. */
static void check_new_writes(BlockBackend *blk, uint8_t *before)
{
    g_autofree uint8_t *data = g_malloc(DISK_SIZE);
    int64_t i;

    for (i = 0; i < DISK_SIZE; i += 3 * GRAIN) {
        memset(before + i, 0xfe, SECTOR);
        g_assert_cmpint(blk_pwrite(blk, i, SECTOR, before + i, 0), ==, 0);
    }
    g_assert_cmpint(blk_pread(blk, 0, DISK_SIZE, data, 0), ==, 0);
    for (i = 0; i < SECTORS; i++) {
        check_sector(data + i * SECTOR, i, true, before + i * SECTOR);
    }
}

static void save_left(const HostFile *left, const char *path)
{
    g_assert_true(g_file_set_contents(path, (char *)left->data,
                                      MIN(left->bytes, KEPT_BYTES), NULL));
    g_assert_cmpint(truncate(path, left->bytes), ==, 0);
}

static void check_left(const HostFile *left, const char *path)
{
    g_autofree uint8_t *data = g_malloc(DISK_SIZE);
    BdrvCheckResult result;
    BlockBackend *blk;
    int64_t i;

    save_left(left, path);
    blk = open_image(path, RW_FLAGS);
    g_assert_cmpint(bdrv_check(blk_bs(blk), &result, 0), ==, 0);
    g_assert_cmpint(result.corruptions, ==, 0);
    g_assert_cmpint(blk_pread(blk, 0, DISK_SIZE, data, 0), ==, 0);
    for (i = 0; i < SECTORS; i++) {
        check_sector(data + i * SECTOR, i, false, NULL);
    }
    check_new_writes(blk, data);
    blk_unref(blk);
}

static void load_image(const char *path)
{
    g_autofree char *data = NULL;
    gsize bytes;

    g_assert_true(g_file_get_contents(path, &data, &bytes, NULL));
    memset(now.data, 0, KEPT_BYTES);
    memcpy(now.data, data, bytes);
    now.bytes = bytes;
    memcpy(durable.data, now.data, KEPT_BYTES);
    durable.bytes = bytes;
    g_ptr_array_set_size(changes, 0);
}

static const uint8_t *first_table(int header_field)
{
    uint32_t gd, gt;

    memcpy(&gd, now.data + header_field, sizeof(gd));
    memcpy(&gt, now.data + GUINT32_FROM_LE(gd) * SECTOR, sizeof(gt));
    return now.data + GUINT32_FROM_LE(gt) * SECTOR;
}

static void check_copies(void)
{
    const uint8_t *copy = first_table(48);
    const uint8_t *table = first_table(56);

    g_assert_true(copy != table);
    g_assert_cmpint(memcmp(copy, table, 512 * sizeof(uint32_t)), ==, 0);
}

static void run(const char *base)
{
    g_autofree char *path = g_build_filename(tmp_dir, "disk.vmdk", NULL);
    g_autofree char *options = base ? g_strdup_printf("backing_file=%s,"
                                                      "backing_fmt=vmdk", base)
                               : g_strdup("");
    HostFile left = { .data = g_malloc(KEPT_BYTES) };
    BlockBackend *blk;
    bool flushed;
    int step, i;

    memset(is, base ? 0x77 : 0, sizeof(is));
    guest_flushed();
    create_image(path, options);
    load_image(path);
    blk = open_in_memory(base);
    for (step = 0; step < 6; step++) {
        guest_step(blk);
        flushed = g_test_rand_bit();
        if (flushed) {
            g_assert_cmpint(blk_flush(blk), ==, 0);
        }
        /* At some moment up to now, also in the middle of the flush. */
        for (i = 0; i < 5; i++) {
            lose_power(&left, g_test_rand_int_range(0, changes->len + 1));
            check_left(&left, path);
        }
        if (flushed) {
            make_durable();
            guest_flushed();
        }
    }
    blk_unref(blk);
    /* Closed: it was flushed, and is as long as it has to be. */
    g_assert_cmpint(now.bytes, <, KEPT_BYTES);
    check_copies();
    make_durable();
    guest_flushed();
    lose_power(&left, changes->len);
    check_left(&left, path);
    g_free(left.data);
}

static void test_alone(void)
{
    int i;

    for (i = 0; i < ROUNDS; i++) {
        run(NULL);
    }
}

static void test_overlay(void)
{
    g_autofree char *base = g_build_filename(tmp_dir, "base.vmdk", NULL);
    g_autofree uint8_t *data = g_malloc(DISK_SIZE);
    BlockBackend *blk;
    int i;

    create_image(base, "");
    blk = open_image(base, RW_FLAGS);
    memset(data, 0x77, DISK_SIZE);
    g_assert_cmpint(blk_pwrite(blk, 0, DISK_SIZE, data, 0), ==, 0);
    blk_unref(blk);
    for (i = 0; i < ROUNDS; i++) {
        run(base);
    }
}

/* --- streams --- */

#define GRAINS (DISK_SIZE / GRAIN)
/* The other one is for write_again(). */
#define GUEST_GRAINS (GRAINS - 1)
#define GUEST_SECTORS (GUEST_GRAINS * (GRAIN / SECTOR))

static int write_stream_grain(BlockBackend *blk, int grain, uint8_t value)
{
    g_autofree uint8_t *data = g_malloc(GRAIN);

    memset(data, value, GRAIN);
    return blk_pwrite(blk, (int64_t)grain * GRAIN, GRAIN, data, 0);
}

/* A grain that has nothing yet; what the host does for that is noted. */
static void stream_step(BlockBackend *blk)
{
    uint8_t value = g_test_rand_int_range(1, 256);
    int grain;
    int64_t i;

    do {
        grain = g_test_rand_int_range(0, GUEST_GRAINS);
    } while (is[grain * (GRAIN / SECTOR)]);
    for (i = 0; i < GRAIN / SECTOR; i++) {
        is[grain * (GRAIN / SECTOR) + i] = value;
        allow(grain * (GRAIN / SECTOR) + i, value);
    }
    g_assert_cmpint(write_stream_grain(blk, grain, value), ==, 0);
}

/* Whether nothing but one value may be in @sector. */
static bool is_certain(int64_t sector)
{
    int count = 0;
    int i;

    for (i = 0; i < 8; i++) {
        count += ctpop64(may_be[sector][i]);
    }
    return count == 1;
}

static void check_stream_sectors(BlockBackend *blk, bool killed)
{
    g_autofree uint8_t *data = g_malloc(GRAIN);
    int64_t i, sector;

    for (sector = 0; sector < GUEST_SECTORS; sector += GRAIN / SECTOR) {
        int ret = blk_pread(blk, sector * SECTOR, GRAIN, data, 0);

        if (ret < 0) {
            g_assert_false(killed);
            g_assert_false(is_certain(sector));
            continue;
        }
        for (i = 0; i < GRAIN / SECTOR; i++) {
            check_sector(data + i * SECTOR, sector + i, false, NULL);
        }
    }
}

/* What a kill leaves can be written again, and ends as it should then. */
static void write_again(const char *path)
{
    static const uint8_t at_end[8] = { 255, 255, 255, 255, 255, 255, 255,
                                       255 };
    BlockBackend *blk = open_image(path, RW_FLAGS);
    BdrvCheckResult result;
    g_autofree char *data = NULL;
    bool had_end;
    gsize size;

    g_assert_true(g_file_get_contents(path, &data, &size, NULL));
    had_end = !memcmp(data + 56, at_end, sizeof(at_end));
    g_assert_cmpint(write_stream_grain(blk, GRAINS - 1, 0xfe), ==, 0);
    check_stream_sectors(blk, true);
    blk_unref(blk);
    g_clear_pointer(&data, g_free);
    g_assert_true(g_file_get_contents(path, &data, &size, NULL));
    g_assert_true(!had_end || !memcmp(data + 56, at_end, sizeof(at_end)));
    blk = open_image(path, 0);
    check_stream_sectors(blk, true);
    g_assert_cmpint(bdrv_check(blk_bs(blk), &result, 0), ==, 0);
    g_assert_cmpint(result.corruptions, ==, 0);
    blk_unref(blk);
}

static void check_stream_left(HostFile *left, const char *path, bool killed)
{
    BdrvCheckResult result;
    BlockBackend *blk;

    save_left(left, path);
    blk = open_image(path, 0);
    check_stream_sectors(blk, killed);
    if (killed) {
        g_assert_cmpint(bdrv_check(blk_bs(blk), &result, 0), ==, 0);
        g_assert_cmpint(result.corruptions, ==, 0);
    }
    blk_unref(blk);
    if (killed) {
        write_again(path);
    }
}

/* The host does the first @count changes, and no more. */
static void kill_after(HostFile *left, guint count)
{
    guint i;

    memcpy(left->data, durable.data, KEPT_BYTES);
    left->bytes = durable.bytes;
    for (i = 0; i < count; i++) {
        apply(left, changes->pdata[i], true);
    }
}

/* Open it, write some grains, and close it. */
static void stream_session(HostFile *left, const char *path)
{
    BlockBackend *blk = open_in_memory(NULL);
    guint i;

    for (i = g_test_rand_int_range(1, 4); i > 0; i--) {
        stream_step(blk);
    }
    if (g_test_rand_bit()) {
        g_assert_cmpint(blk_flush(blk), ==, 0);
        make_durable();
        guest_flushed();
    }
    blk_unref(blk);
    for (i = 0; i <= changes->len; i++) {
        kill_after(left, i);
        check_stream_left(left, path, true);
        lose_power(left, i);
        check_stream_left(left, path, false);
    }
    make_durable();
    guest_flushed();
}

static void test_stream(void)
{
    g_autofree char *path = g_build_filename(tmp_dir, "disk.vmdk", NULL);
    HostFile left = { .data = g_malloc(KEPT_BYTES) };
    int round, i;

    for (round = 0; round < ROUNDS; round++) {
        memset(is, 0, sizeof(is));
        guest_flushed();
        create_image(path, "subformat=streamOptimized");
        load_image(path);
        for (i = 0; i < 6; i++) {
            stream_session(&left, path);
        }
    }
    g_free(left.data);
}

static void unlink_in_tmp(const char *name)
{
    g_autofree char *path = g_build_filename(tmp_dir, name, NULL);

    g_unlink(path);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    bdrv_register(&bdrv_power);
    tmp_dir = g_dir_make_tmp("test-vmdk-power-XXXXXX", NULL);
    g_assert_nonnull(tmp_dir);
    now.data = g_malloc0(KEPT_BYTES);
    durable.data = g_malloc0(KEPT_BYTES);
    changes = g_ptr_array_new_with_free_func(change_free);

    g_test_add_func("/vmdk-power/alone", test_alone);
    g_test_add_func("/vmdk-power/overlay", test_overlay);
    g_test_add_func("/vmdk-power/stream", test_stream);
    ret = g_test_run();

    unlink_in_tmp("disk.vmdk");
    unlink_in_tmp("base.vmdk");
    g_rmdir(tmp_dir);
    g_free(tmp_dir);
    g_ptr_array_unref(changes);
    g_free(now.data);
    g_free(durable.data);
    qemu_cleanup_main_loop();
    return ret;
}
