/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests, seen by a driver of this test: what arrives, and what must not.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "block/blk-int.h"
#include "block/block-io.h"
#include "qapi/qapi-emit-events.h"
#include "qapi/qmp-event.h"
#include "qemu/main-loop.h"
#include "system/block-backend.h"

#define DISK_SIZE (64 * 1024)

/* --- a disk in memory --- */

static uint8_t disk[DISK_SIZE];
static void (*before_write)(void);
static int write_result;        /* 0 or -errno */
static unsigned discards, truncates;
static bool hold;               /* requests wait in the driver */
static CoQueue held;
static GString *arrived;        /* the first byte of each, while they wait */

static void coroutine_fn mem_wait(QEMUIOVector *qiov)
{
    if (hold) {
        g_string_append_c(arrived, *(char *)qiov->iov[0].iov_base);
        qemu_co_queue_wait(&held, NULL);
    }
}

static int mem_open(BlockDriverState *bs, QOpts *options, int flags,
                    Error **errp)
{
    return 0;
}

static int64_t coroutine_fn mem_co_getlength(BlockDriverState *bs)
{
    return DISK_SIZE;
}

static int coroutine_fn mem_co_preadv_part(BlockDriverState *bs,
                                           int64_t offset, int64_t bytes,
                                           QEMUIOVector *qiov,
                                           size_t qiov_offset,
                                           BdrvRequestFlags flags)
{
    g_assert_cmpint(bytes, >, 0);
    mem_wait(qiov);
    qemu_iovec_from_buf(qiov, qiov_offset, disk + offset, bytes);
    return 0;
}

static int coroutine_fn mem_co_pwritev_part(BlockDriverState *bs,
                                            int64_t offset, int64_t bytes,
                                            QEMUIOVector *qiov,
                                            size_t qiov_offset,
                                            BdrvRequestFlags flags)
{
    if (before_write) {
        before_write();
    }
    mem_wait(qiov);
    qemu_iovec_to_buf(qiov, qiov_offset, disk + offset, bytes);
    return write_result;
}

static int coroutine_fn mem_co_pdiscard(BlockDriverState *bs, int64_t offset,
                                        int64_t bytes)
{
    discards++;
    return 0;
}

static int coroutine_fn mem_co_truncate(BlockDriverState *bs, int64_t offset,
                                        bool exact, PreallocMode prealloc,
                                        BdrvRequestFlags flags, Error **errp)
{
    truncates++;
    return 0;
}

static BlockDriver bdrv_mem = {
    .format_name = "mem",
    .protocol_name = "mem",
    .bdrv_open = mem_open,
    .bdrv_co_getlength = mem_co_getlength,
    .bdrv_co_preadv_part = mem_co_preadv_part,
    .bdrv_co_pwritev_part = mem_co_pwritev_part,
    .bdrv_co_pdiscard = mem_co_pdiscard,
    .bdrv_co_truncate = mem_co_truncate,
};

static BlockBackend *open_mem(const char *options, uint64_t perm)
{
    BlockBackend *blk = blk_new(qemu_get_aio_context(), perm, BLK_PERM_ALL);
    BlockDriverState *bs;

    bs = bdrv_open(NULL, NULL, qopts_parse(options, NULL, &error_abort),
                   BDRV_O_RDWR | BDRV_O_UNMAP, &error_abort);
    g_assert_cmpint(blk_insert_bs(blk, bs, &error_abort), ==, 0);
    bdrv_unref(bs);
    return blk;
}

/* --- the protection of images whose format was guessed --- */

static uint8_t guest[4096];

/* The guest changes its memory after the check. */
static void change_memory(void)
{
    memcpy(guest, "KDMV", 4);
    guest[1024] = 2;
}

static void test_probed_raw(void)
{
    BlockBackend *blk = open_mem("file.driver=mem",
                                 BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE);

    memset(guest, 1, sizeof(guest));
    memcpy(guest, "KDMV", 4);
    g_assert_cmpint(blk_pwrite(blk, 0, sizeof(guest), guest, 0), ==, -EPERM);
    /* Nor of a format that only other programs know. */
    memcpy(guest, "QFI\xfb\0\0\0\3", 8);
    g_assert_cmpint(blk_pwrite(blk, 0, sizeof(guest), guest, 0), ==, -EPERM);
    memset(guest, 1, sizeof(guest));
    before_write = change_memory;
    g_assert_cmpint(blk_pwrite(blk, 0, sizeof(guest), guest, 0), ==, 0);
    before_write = NULL;
    /* The checked copy is written; behind it, the guest's own memory. */
    g_assert_cmpuint(disk[0], ==, 1);
    g_assert_cmpuint(disk[511], ==, 1);
    g_assert_cmpuint(disk[512], ==, 1);
    g_assert_cmpuint(disk[1024], ==, 2);
    g_assert_cmpint(blk_pwrite(blk, 512, 1024, guest, 0), ==, 0);
    g_assert_cmpint(memcmp(disk + 512, "KDMV", 4), ==, 0);
    blk_unref(blk);
}

/* --- permissions --- */

static void set_perm(BlockBackend *blk, uint64_t perm)
{
    g_assert_cmpint(blk_set_perm(blk, perm, BLK_PERM_ALL, &error_abort), ==,
                    0);
}

static int do_truncate(BlockBackend *blk)
{
    Error *err = NULL;
    int ret = blk_truncate(blk, DISK_SIZE, true, PREALLOC_MODE_OFF, 0, &err);

    g_assert_cmpint(!err, ==, ret == 0);
    error_free(err);
    return ret;
}

/* Nothing reaches the driver that its user has not asked for. */
static void test_permissions(void)
{
    const int unchanged = BDRV_REQ_WRITE_UNCHANGED;
    BlockBackend *blk = open_mem("driver=mem", BLK_PERM_CONSISTENT_READ);

    discards = truncates = 0;
    g_assert_cmpint(blk_pwrite(blk, 0, 512, guest, 0), ==, -EPERM);
    g_assert_cmpint(blk_pwrite(blk, 0, 512, guest, unchanged), ==, -EPERM);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 512, 0), ==, -EPERM);
    g_assert_cmpint(blk_pdiscard(blk, 0, 512), ==, -EPERM);
    g_assert_cmpint(do_truncate(blk), ==, -EPERM);

    set_perm(blk, BLK_PERM_WRITE_UNCHANGED);
    g_assert_cmpint(blk_pwrite(blk, 0, 512, guest, unchanged), ==, 0);
    g_assert_cmpint(blk_pwrite(blk, 0, 512, guest, 0), ==, -EPERM);
    g_assert_cmpint(blk_pdiscard(blk, 0, 512), ==, -EPERM);
    g_assert_cmpint(do_truncate(blk), ==, -EPERM);
    g_assert_cmpuint(discards + truncates, ==, 0);

    set_perm(blk, BLK_PERM_WRITE);
    g_assert_cmpint(blk_pwrite(blk, 0, 512, guest, 0), ==, 0);
    g_assert_cmpint(blk_pwrite(blk, 0, 512, guest, unchanged), ==, 0);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 512, 0), ==, 0);
    g_assert_cmpint(blk_pdiscard(blk, 0, 512), ==, 0);
    g_assert_cmpint(do_truncate(blk), ==, -EPERM);
    set_perm(blk, BLK_PERM_RESIZE);
    g_assert_cmpint(do_truncate(blk), ==, 0);
    g_assert_cmpuint(discards, ==, 1);
    g_assert_cmpuint(truncates, ==, 1);
    blk_unref(blk);
}

static int coroutine_fn read_past_end_entry(void *opaque)
{
    BlockBackend *blk = opaque;

    memset(guest, 1, 512);
    return bdrv_co_pread(blk->root, DISK_SIZE + 512, 512, guest, 0);
}

/* What is past the end reads as zeroes, and is not asked of the driver. */
static void test_past_end(void)
{
    BlockBackend *blk = open_mem("driver=mem", BLK_PERM_CONSISTENT_READ);

    g_assert_cmpint(bdrv_run_co(blk_get_aio_context(blk), read_past_end_entry,
                                blk), ==, 0);
    g_assert_cmpuint(guest[0], ==, 0);
    g_assert_cmpuint(guest[511], ==, 0);
    blk_unref(blk);
}

/* A write to the last block must not make the disk longer. */
static void test_odd_size(void)
{
    const char *options = "driver=blkdebug,align=4096,image.driver=raw,"
                          "image.offset=63k,image.file.driver=mem";
    BlockBackend *blk = open_mem(options, BLK_PERM_CONSISTENT_READ);
    Error *err = NULL;

    g_assert_cmpint(blk_getlength(blk), ==, 1024);
    g_assert_cmpint(blk_pread(blk, 10, 20, guest, 0), ==, 0);
    g_assert_cmpint(blk_set_perm(blk, BLK_PERM_WRITE, BLK_PERM_ALL, &err), <,
                    0);
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "Cannot get 'write' permission without 'resize': Image "
                    "size is not a multiple of request alignment");
    error_free_or_abort(&err);
    /* A user that may resize may do that, too. */
    set_perm(blk, BLK_PERM_WRITE | BLK_PERM_RESIZE);
    blk_unref(blk);
}

/* --- serialising requests --- */

typedef struct {
    BlockBackend *blk;
    int64_t offset;
    BdrvRequestFlags flags;
    char buf[512];              /* begins with the name of the request */
} Request;

static unsigned running;

static void coroutine_fn request_entry(void *opaque)
{
    Request *r = opaque;
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, r->buf, sizeof(r->buf));

    if (r->flags) {
        blk_co_pwritev(r->blk, r->offset, sizeof(r->buf), &qiov, r->flags);
    } else {
        blk_co_preadv(r->blk, r->offset, sizeof(r->buf), &qiov, 0);
    }
    running--;
    g_free(r);
}

/* Begin a read, or a serialising write. */
static void start_request(BlockBackend *blk, char name, int64_t offset,
                          bool serialising)
{
    Request *r = g_new0(Request, 1);

    r->blk = blk;
    r->offset = offset;
    r->flags = serialising ? BDRV_REQ_SERIALISING : 0;
    r->buf[0] = name;
    running++;
    qemu_coroutine_enter(qemu_coroutine_create(request_entry, r));
}

/* @names have come to the driver; let them, or all requests, end. */
static void check_arrived(const char *names, bool all)
{
    g_assert_cmpstr(arrived->str, ==, names);
    g_string_truncate(arrived, 0);
    hold = !all;
    qemu_co_enter_all(&held, NULL);
    while (all && running) {
        aio_poll(qemu_get_aio_context(), true);
        qemu_co_enter_all(&held, NULL);
    }
}

static void test_serialising(void)
{
    BlockBackend *blk = open_mem("driver=mem", BLK_PERM_CONSISTENT_READ |
                                 BLK_PERM_WRITE);

    arrived = g_string_new("");
    qemu_co_queue_init(&held);
    hold = true;
    /* Behind a serialising request, beside it, and one more of them. */
    start_request(blk, 'S', 0, true);
    start_request(blk, 'r', 0, false);
    start_request(blk, 'o', 8192, false);
    start_request(blk, 'T', 0, true);
    check_arrived("So", false);
    g_assert_cmpuint(running, ==, 2);
    check_arrived("r", false);
    check_arrived("T", true);

    /* A serialising request waits for one that is under way. */
    hold = true;
    start_request(blk, 'r', 4096, false);
    start_request(blk, 'q', 4096, false);
    start_request(blk, 'S', 4096, true);
    check_arrived("rq", false);
    check_arrived("S", true);

    /* When none is left, nobody waits. */
    hold = true;
    start_request(blk, 'r', 4096, false);
    start_request(blk, 'q', 4096, false);
    check_arrived("rq", true);
    g_string_free(arrived, true);
    blk_unref(blk);
}

typedef struct {
    BlockBackend *blk;
    unsigned writes;
    bool stop;
} Writer;

/* One serialising write after the other. */
static void coroutine_fn writer_entry(void *opaque)
{
    Writer *w = opaque;
    char buf[512] = "w";

    while (!w->stop) {
        QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, sizeof(buf));

        blk_co_pwritev(w->blk, 0, sizeof(buf), &qiov, BDRV_REQ_SERIALISING);
        w->writes++;
    }
    running--;
}

/* Writes without a pause keep neither readers nor other writers away. */
static void test_first_come(void)
{
    BlockBackend *blk = open_mem("driver=mem", BLK_PERM_CONSISTENT_READ |
                                 BLK_PERM_WRITE);
    Writer w = { .blk = blk };
    int i;

    arrived = g_string_new("");
    qemu_co_queue_init(&held);
    hold = true;
    running = 1;
    qemu_coroutine_enter(qemu_coroutine_create(writer_entry, &w));
    check_arrived("w", false);
    for (i = 0; i < 5; i++) {
        check_arrived("w", false);
    }
    start_request(blk, 'r', 0, false);
    start_request(blk, 'q', 0, false);
    start_request(blk, 'T', 0, true);
    start_request(blk, 'p', 0, false);
    /* Each as it came; the writer again at the end. */
    check_arrived("w", false);
    check_arrived("rq", false);
    check_arrived("T", false);
    check_arrived("p", false);
    check_arrived("w", false);
    w.stop = true;
    check_arrived("w", true);
    g_assert_cmpuint(running, ==, 0);
    g_string_free(arrived, true);
    blk_unref(blk);
}

/* A request by itself: what the request path does with it, step by step. */
typedef struct {
    BdrvTrackedRequest req;
    uint64_t align;             /* 0: it is serialising already, and writes */
    bool has_range;
} Tracked;

static void begin_tracked(Tracked *t, BlockDriverState *bs, int64_t offset)
{
    tracked_request_begin(&t->req, bs, offset, 512, BDRV_TRACKED_WRITE);
}

static void coroutine_fn take_range_entry(void *opaque)
{
    Tracked *t = opaque;

    if (t->align) {
        bdrv_make_request_serialising(&t->req, t->align);
    } else {
        bdrv_wait_serialising_requests(&t->req);
    }
    t->has_range = true;
}

static bool take_range(Tracked *t, uint64_t align)
{
    t->align = align;
    t->has_range = false;
    qemu_coroutine_enter(qemu_coroutine_create(take_range_entry, t));
    return t->has_range;
}

static void coroutine_fn end_tracked_entry(void *opaque)
{
    Tracked *t = opaque;

    tracked_request_end(&t->req);
}

static void end_tracked(Tracked *t)
{
    qemu_coroutine_enter(qemu_coroutine_create(end_tracked_entry, t));
}

/*
 * One that came first takes a wider range while another is within its
 * read-modify-write cycle, and has a third one to wait for.
 */
static void test_wider_range(void)
{
    BlockBackend *blk = open_mem("driver=mem", BLK_PERM_CONSISTENT_READ |
                                 BLK_PERM_WRITE);
    BlockDriverState *bs = blk_bs(blk);
    Tracked wide = { .align = 0 }, cycle = { .align = 0 };
    Tracked third = { .align = 0 };

    begin_tracked(&wide, bs, 61440);
    begin_tracked(&cycle, bs, 0);
    g_assert_true(take_range(&cycle, 4096));
    begin_tracked(&third, bs, 32768);
    g_assert_false(take_range(&wide, 65536));
    /* It has read, and writes. */
    g_assert_true(take_range(&cycle, 0));
    end_tracked(&third);
    g_assert_false(wide.has_range);
    end_tracked(&cycle);
    g_assert_true(wide.has_range);
    end_tracked(&wide);
    blk_unref(blk);
}

/* --- the threshold of writes --- */

static unsigned exceeded;       /* events */
static int64_t exceeded_by;
static unsigned exceeded_before;        /* of them, when the driver writes */

static void note_exceeded(int event, struct json_object *qdict)
{
    struct json_object *data, *amount;

    if (event == QAPI_EVENT_BLOCK_WRITE_THRESHOLD &&
        json_object_object_get_ex(qdict, "data", &data) &&
        json_object_object_get_ex(data, "amount-exceeded", &amount)) {
        exceeded++;
        exceeded_by = json_object_get_int64(amount);
    }
}

static void note_exceeded_before(void)
{
    exceeded_before = exceeded;
}

/* A write up to @end with a threshold: @by how much it exceeds it; 0: not. */
static void check_threshold(BlockBackend *blk, BdrvRequestFlags flags,
                            int64_t threshold, int64_t end, int64_t by)
{
    BlockDriverState *bs = blk_bs(blk);

    qatomic_set(&bs->write_threshold, threshold);
    exceeded = exceeded_before = 0;
    exceeded_by = 0;
    if (flags & BDRV_REQ_ZERO_WRITE) {
        g_assert_cmpint(blk_pwrite_zeroes(blk, end - 512, 512, 0), ==, 0);
    } else {
        g_assert_cmpint(blk_pwrite(blk, end - 512, 512, guest, flags), ==,
                        write_result);
    }
    g_assert_cmpint(exceeded_by, ==, by);
    g_assert_cmpuint(exceeded, ==, by > 0);
    /* Whoever makes room can do that before the write needs it. */
    g_assert_cmpuint(exceeded_before, ==, exceeded);
    g_assert_cmpuint(bs->write_threshold, ==, by ? 0 : threshold);
}

static void test_threshold(void)
{
    BlockBackend *blk = open_mem("driver=mem", BLK_PERM_WRITE);

    qapi_event_set_func(note_exceeded);
    before_write = note_exceeded_before;
    check_threshold(blk, 0, 8192, 8192, 0);
    check_threshold(blk, 0, 8192, 8704, 512);
    /* It is the highest write already. */
    check_threshold(blk, 0, 4096, 8192, 4096);
    check_threshold(blk, 0, 0, 16384, 0);
    check_threshold(blk, BDRV_REQ_ZERO_WRITE, 4096, 8192, 4096);
    check_threshold(blk, BDRV_REQ_FUA, 4096, 8192, 4096);
    write_result = -EIO;
    check_threshold(blk, 0, 4096, 8192, 4096);
    check_threshold(blk, 0, 65536 - 1, 65536, 1);
    write_result = 0;
    before_write = NULL;
    qapi_event_set_func(NULL);
    blk_unref(blk);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    bdrv_register(&bdrv_mem);

    g_test_add_func("/block-requests/probed-raw", test_probed_raw);
    g_test_add_func("/block-requests/permissions", test_permissions);
    g_test_add_func("/block-requests/past-end", test_past_end);
    g_test_add_func("/block-requests/odd-size", test_odd_size);
    g_test_add_func("/block-requests/serialising", test_serialising);
    g_test_add_func("/block-requests/first-come", test_first_come);
    g_test_add_func("/block-requests/wider-range", test_wider_range);
    g_test_add_func("/block-requests/threshold", test_threshold);
    ret = g_test_run();

    qemu_cleanup_main_loop();
    return ret;
}
