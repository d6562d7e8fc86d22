/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An NBD server that goes and comes back: which flush says that data may be
 * lost, and what jobs do with a disk that has another size then.
 */
#include "qemu/osdep.h"
#include "block/backup.h"
#include "block/mirror.h"
#include "test-job-nodes.h"
#include <sys/socket.h>
#include <sys/un.h>

#define DISK (4 * MiB)

/* --- a server, for one client at a time --- */

static struct {
    pthread_t thread;
    int listener;
    int client;                 /* atomic; -1: none */
    uint64_t size;
    uint32_t min_block;         /* 0: no block sizes are told */
    uint32_t max_block;
} server = { .client = -1 };

/* Big-endian numbers of @n bytes. */
static void put_be(uint8_t *p, unsigned n, uint64_t value)
{
    while (n--) {
        p[n] = value;
        value >>= 8;
    }
}

static uint64_t get_be(const uint8_t *p, unsigned n)
{
    uint64_t value = 0;

    while (n--) {
        value = value << 8 | *p++;
    }
    return value;
}

static bool recv_all(int fd, void *buf, size_t len)
{
    return recv(fd, buf, len, MSG_WAITALL) == (ssize_t)len;
}

static bool send_all(int fd, const void *buf, size_t len)
{
    return send(fd, buf, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static bool skip(int fd, size_t len)
{
    g_autofree char *buf = g_malloc(len + 1);

    return len == 0 || recv_all(fd, buf, len);
}

static bool send_option_reply(int fd, uint32_t option, uint32_t type,
                              const void *data, uint32_t len)
{
    uint8_t head[20];

    put_be(head, 8, 0x3e889045565a9ull);
    put_be(head + 8, 4, option);
    put_be(head + 12, 4, type);
    put_be(head + 16, 4, len);
    return send_all(fd, head, sizeof(head)) &&
           (!len || send_all(fd, data, len));
}

/* NBD_INFO_BLOCK_SIZE, 3, if there are any. */
static bool send_block_sizes(int fd, uint32_t code)
{
    uint8_t info[14] = { 0, 3 };

    put_be(info + 2, 4, server.min_block);
    put_be(info + 6, 4, server.min_block);
    put_be(info + 10, 4, server.max_block);
    return !server.min_block ||
           send_option_reply(fd, code, 3, info, sizeof(info));
}

/* Of all options it knows NBD_OPT_GO, 7. */
static bool negotiate(int fd)
{
    uint8_t head[18] = "NBDMAGICIHAVEOPT\0\3", option[16], info[12] = { 0 };

    if (!send_all(fd, head, sizeof(head)) || !skip(fd, 4)) {
        return false;
    }
    while (recv_all(fd, option, sizeof(option)) &&
           skip(fd, get_be(option + 12, 4))) {
        uint32_t code = get_be(option + 8, 4);

        if (code == 7) {
            put_be(info + 2, 8, server.size);
            /* NBD_FLAG_HAS_FLAGS and NBD_FLAG_SEND_FLUSH. */
            info[11] = 5;
            return send_option_reply(fd, code, 3, info, sizeof(info)) &&
                   send_block_sizes(fd, code) &&
                   send_option_reply(fd, code, 1, NULL, 0);
        }
        if (!send_option_reply(fd, code, 0x80000001, NULL, 0)) {
            break;
        }
    }
    return false;
}

/* Whether the block sizes allow it. */
static bool is_allowed(uint64_t offset, uint32_t len)
{
    return !server.min_block || ((offset | len) % server.min_block == 0 &&
                                 len <= server.max_block);
}

/* All data are zeroes, and no request fails that the block sizes allow. */
static void serve(int fd)
{
    enum { READ, WRITE, DISCONNECT };
    uint8_t request[28], answer[16];

    while (recv_all(fd, request, sizeof(request))) {
        unsigned type = get_be(request + 6, 2);
        uint32_t len = get_be(request + 24, 4);
        bool ok = is_allowed(get_be(request + 16, 8), len);
        g_autofree char *zeroes = g_malloc0(type == READ ? len : 0);

        if (type == DISCONNECT || (type == WRITE && !skip(fd, len))) {
            return;
        }
        put_be(answer, 4, 0x67446698);
        put_be(answer + 4, 4, ok ? 0 : EINVAL);
        memcpy(answer + 8, request + 8, 8);
        if (!send_all(fd, answer, sizeof(answer)) ||
            (type == READ && ok && !send_all(fd, zeroes, len))) {
            return;
        }
    }
}

static void *server_run(void *opaque)
{
    int fd;

    while ((fd = accept(server.listener, NULL, NULL)) >= 0) {
        qatomic_set(&server.client, fd);
        if (negotiate(fd)) {
            serve(fd);
        }
        qatomic_set(&server.client, -1);
        close(fd);
    }
    return NULL;
}

static void server_start(uint64_t size)
{
    g_autofree char *path = image_path("small");
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    unlink(path);
    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    server.size = size;
    server.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(server.listener, (struct sockaddr *)&addr,
                         sizeof(addr)), ==, 0);
    g_assert_cmpint(listen(server.listener, 8), ==, 0);
    g_assert_cmpint(pthread_create(&server.thread, NULL, server_run, NULL),
                    ==, 0);
}

static void server_stop(void)
{
    int client = qatomic_read(&server.client);

    shutdown(server.listener, SHUT_RDWR);
    if (client >= 0) {
        shutdown(client, SHUT_RDWR);
    }
    pthread_join(server.thread, NULL);
    close(server.listener);
}

/* --- its client --- */

static BlockDriverState *open_disk(int reconnect_delay)
{
    g_autofree char *path = image_path("small");
    g_autofree char *opts = g_strdup_printf(
        "driver=nbd,node-name=disk,server.type=unix,server.path=%s,"
        "reconnect-delay=%d", path, reconnect_delay);
    BlockDriverState *bs;

    server_start(DISK);
    bs = bdrv_open(NULL, NULL, qopts_parse(opts, NULL, &error_abort),
                   BDRV_O_RDWR, &error_abort);
    use_source(bs);
    result = 1;
    return bs;
}

static void close_disk(void)
{
    close_source();
    server_stop();
}

static int read_at(int64_t offset)
{
    char buf[512];

    return blk_pread(blk, offset, sizeof(buf), buf, 0);
}

static int write_at(int64_t offset)
{
    char buf[512] = { 1 };

    return blk_pwrite(blk, offset, sizeof(buf), buf, 0);
}

static bool timer_is_over;

static void timer_over(void *opaque)
{
    timer_is_over = true;
}

static void let_run(void)
{
    QEMUTimer timer;

    timer_is_over = false;
    aio_timer_init(qemu_get_aio_context(), &timer, QEMU_CLOCK_REALTIME,
                   SCALE_MS, timer_over, NULL);
    timer_mod(&timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + 10);
    while (!timer_is_over) {
        aio_poll(qemu_get_aio_context(), true);
    }
}

/* Until the connection is seen to be lost, and until there is one again. */
static void wait_for_read(int ret)
{
    while (read_at(0) != ret) {
        let_run();
    }
}

static void server_restarts(uint64_t size)
{
    server_stop();
    server_start(size);
    wait_for_read(0);
    while (bdrv_getlength(source) != (int64_t)size) {
        let_run();
    }
}

/* --- the flush --- */

static void test_late(void)
{
    open_disk(0);
    g_assert_cmpint(write_at(0), ==, 0);
    server_stop();
    wait_for_read(-EIO);
    server_start(DISK);
    wait_for_read(0);
    g_assert_cmpint(blk_flush(blk), ==, -EIO);
    /* Told once. */
    g_assert_cmpint(blk_flush(blk), ==, 0);
    close_disk();
}

static void test_late_flushed(void)
{
    open_disk(0);
    g_assert_cmpint(write_at(0), ==, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    server_stop();
    wait_for_read(-EIO);
    server_start(DISK);
    wait_for_read(0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    close_disk();
}

static void test_in_time(void)
{
    open_disk(60);
    g_assert_cmpint(write_at(0), ==, 0);
    server_restarts(DISK);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    close_disk();
}

/* --- other block sizes, and a size for which there is no memory --- */

static void test_block_sizes(void)
{
    BlockDriverState *bs = open_disk(60);
    g_autofree char *buf = g_malloc0(MiB);

    g_assert_cmpint(write_at(512), ==, 0);
    server_stop();
    server.min_block = 4096;
    server.max_block = 64 * KiB;
    server_start(DISK);
    /* The first ones may still be cut for the old server. */
    wait_for_read(0);
    g_assert_cmpint(bs->bl.request_alignment, ==, 4096);
    g_assert_cmpint(bs->bl.max_transfer, ==, 64 * KiB);
    g_assert_cmpint(write_at(512), ==, 0);
    g_assert_cmpint(blk_pread(blk, 512, MiB, buf, 0), ==, 0);
    server_stop();
    server.min_block = 0;
    server_start(DISK);
    wait_for_read(0);
    while (bs->bl.request_alignment != 1) {
        let_run();
    }
    close_disk();
}

static void test_huge(void)
{
#ifdef QEMU_SANITIZE_ADDRESS
    g_test_skip("the sanitizer ends a program that asks for so much");
#else
    BlockDriverState *bs = open_disk(60);
    BdrvDirtyBitmap *b = bdrv_create_dirty_bitmap(bs, 512, "b", &error_abort);

    server_restarts(INT64_C(1) << 62);
    g_assert_cmpint(write_at(512), ==, 0);
    g_assert_true(bdrv_dirty_bitmap_inconsistent(b));
    bdrv_release_dirty_bitmap(b);
    close_disk();
#endif
}

/* --- jobs whose source has another size --- */

static BlockDriverState *open_null(void)
{
    return bdrv_open(NULL, NULL, qopts_parse(
        "driver=null-co,node-name=null,size=4M,read-zeroes=off", NULL,
        &error_abort), BDRV_O_RDWR, &error_abort);
}

static int resizes;             /* that the user is told */

static void note_resize(void *opaque)
{
    resizes++;
}

static const BlockDevOps user_ops = { .resize_cb = note_resize };

/* What is gone cannot be copied: an error of the source. */
static void check_backup(uint64_t size, int ret)
{
    BlockDriverState *bs = open_disk(60), *null = open_null();
    BackupJobOptions o = {
        .job_id = "job", .sync = MIRROR_SYNC_MODE_FULL, .cb = job_over,
        .bitmap = bdrv_create_dirty_bitmap(bs, STEP, "b", &error_abort),
        .bitmap_mode = BITMAP_SYNC_MODE_ALWAYS,
    };
    BlockJob *job = backup_job_create(bs, null, &o, &error_abort);

    resizes = 0;
    blk_set_dev_ops(blk, &user_ops, NULL);
    server_restarts(size);
    g_assert_cmpint(blk_getlength(blk), ==, DISK);
    g_assert_cmpint(resizes, ==, 0);
    job_start(&job->job);
    wait_all(NULL);
    /* The user sees the new length when the filter has gone. */
    g_assert_cmpint(resizes, ==, 1);
    g_assert_cmpint(blk_getlength(blk), ==, size);
    blk_set_dev_ops(blk, NULL, NULL);
    g_assert_cmpint(result, ==, ret);
    g_assert_true(blk_bs(blk) == bs);
    o.bitmap = bdrv_find_dirty_bitmap(bs, "b");
    g_assert_cmpint(bdrv_get_dirty_count(o.bitmap), ==, ret ? size : 0);
    bdrv_release_dirty_bitmap(o.bitmap);
    bdrv_unref(null);
    close_disk();
}

static void test_backup_shorter(void)
{
    check_backup(DISK / 2, -EIO);
}

static void test_backup_longer(void)
{
    check_backup(DISK * 2, 0);
}

static void check_mirror(MirrorCopyMode mode, uint64_t size, int ret)
{
    BlockDriverState *bs = open_disk(60), *null = open_null();
    MirrorJobOptions o = {
        .job_id = "job", .sync = MIRROR_SYNC_MODE_NONE, .cb = job_over,
        .copy_mode = mode, .granularity = STEP,
    };
    BlockJob *job = mirror_job_create(bs, null, &o, &error_abort);

    start_until(job, JOB_STATUS_READY);
    server_restarts(size);
    g_assert_cmpint(write_at(DISK / 4), ==, 0);
    g_assert_cmpint(write_at(DISK - 512), ==, ret ? -EPERM : 0);
    if (ret == 0) {
        g_assert_cmpint(job_cancel_sync(&job->job, false), ==, 0);
    }
    /* It cannot copy what that write may have written. */
    wait_all(NULL);
    g_assert_cmpint(result, ==, ret);
    g_assert_true(blk_bs(blk) == bs);
    bdrv_unref(null);
    close_disk();
}

static void test_mirror_shorter(void)
{
    check_mirror(MIRROR_COPY_MODE_BACKGROUND, DISK / 2, -EIO);
}

static void test_mirror_shorter_active(void)
{
    check_mirror(MIRROR_COPY_MODE_WRITE_BLOCKING, DISK / 2, -EIO);
}

static void test_mirror_longer(void)
{
    check_mirror(MIRROR_COPY_MODE_BACKGROUND, DISK * 2, 0);
}

static void add_tests(void)
{
    g_test_add_func("/nbd-reconnect/late", test_late);
    g_test_add_func("/nbd-reconnect/late-flushed", test_late_flushed);
    g_test_add_func("/nbd-reconnect/in-time", test_in_time);
    g_test_add_func("/nbd-reconnect/block-sizes", test_block_sizes);
    g_test_add_func("/nbd-reconnect/huge", test_huge);
    g_test_add_func("/nbd-reconnect/backup/shorter", test_backup_shorter);
    g_test_add_func("/nbd-reconnect/backup/longer", test_backup_longer);
    g_test_add_func("/nbd-reconnect/mirror/shorter", test_mirror_shorter);
    g_test_add_func("/nbd-reconnect/mirror/shorter-active",
                    test_mirror_shorter_active);
    g_test_add_func("/nbd-reconnect/mirror/longer", test_mirror_longer);
}

int main(int argc, char **argv)
{
    return job_test_main(&argc, &argv, add_tests);
}
