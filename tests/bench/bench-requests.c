/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What tracking requests costs, by how many there are: beside no serialising
 * request, beside one elsewhere, and behind one for the same range.  Prints ns;
 * asserts none.
 */
#include "qemu/osdep.h"
#include "block/block.h"
#include "qapi/error.h"
#include "qemu/coroutine.h"
#include "qemu/main-loop.h"
#include "system/block-backend.h"

#define REQUESTS 100000
#define BLOCK 4096

static BlockBackend *blk;
static unsigned left, running;
static int64_t serial_offset;

static void coroutine_fn reader(void *opaque)
{
    static uint8_t buf[BLOCK];
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, BLOCK);

    while (left) {
        left--;
        blk_co_preadv(blk, 0, BLOCK, &qiov, 0);
    }
    running--;
}

/*
 * Serialising writes, as long as there are readers, with a turn of the event
 * loop between them: one that follows at once keeps the same range for ever.
 */
static void coroutine_fn serialiser(void *opaque)
{
    static uint8_t buf[BLOCK];
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, BLOCK);

    while (left) {
        blk_co_pwritev(blk, serial_offset, BLOCK, &qiov,
                       BDRV_REQ_SERIALISING);
        aio_co_schedule(qemu_get_aio_context(), qemu_coroutine_self());
        qemu_coroutine_yield();
    }
    running--;
}

static double bench(unsigned depth, bool serialise, int64_t offset)
{
    int64_t start = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    unsigned i;

    serial_offset = offset;
    left = REQUESTS;
    running = depth + serialise;
    if (serialise) {
        qemu_coroutine_enter(qemu_coroutine_create(serialiser, NULL));
    }
    for (i = 0; i < depth; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(reader, NULL));
    }
    while (running) {
        aio_poll(qemu_get_aio_context(), true);
    }
    return (double)(qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - start) /
           REQUESTS;
}

int main(void)
{
    const unsigned depths[] = { 1, 64, 1024, 4096 };
    size_t i;

    qemu_init_main_loop(&error_fatal);
    bdrv_init();
    blk = blk_new_open("null-aio://", NULL, NULL, BDRV_O_RDWR | BDRV_O_PROTOCOL,
                       &error_fatal);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("ns per read: beside no serialising request, beside one, "
           "behind one\n");
    for (i = 0; i < ARRAY_SIZE(depths); i++) {
        double alone = bench(depths[i], false, 0);
        double beside = bench(depths[i], true, BLOCK);
        double behind = bench(depths[i], true, 0);

        printf("%4u in flight: %8.1f %8.1f %8.1f\n", depths[i], alone, beside,
               behind);
    }
    blk_unref(blk);
    return 0;
}
