/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Cost per request of the native engine itself, on the mock kernel: what is
 * left when the system calls cost nothing.  Prints ns; asserts none.
 */
#include "qemu/osdep.h"
#include "qemu/aio.h"
#include "block/raw-aio.h"
#include "qapi/error.h"
#include "qemu/coroutine.h"
#include "qemu/defer-call.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"
#define MOCK_REAL_CLOCK
#include "../unit/mock-aio-kernel.h"

#define REQUESTS 2000000
#define BYTES 16

static unsigned left, running;

static void coroutine_fn worker(void *opaque)
{
    uint8_t buf[BYTES];
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, BYTES);

    while (left) {
        left--;
        laio_co_submit(3, 0, &qiov, QEMU_AIO_READ, 0, 0);
    }
    running--;
}

static void bench(AioContext *ctx, unsigned depth, bool no_signal)
{
    int64_t start;
    unsigned i;

    mock_reset();
    mock.sync = true;
    mock.no_signal = no_signal;
    left = REQUESTS;
    running = depth;
    start = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    defer_call_begin();
    for (i = 0; i < depth; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(worker, NULL));
    }
    defer_call_end();
    while (running) {
        aio_poll(ctx, true);
    }
    printf("depth %3u, eventfd %-12s %7.1f ns/request  %.4f "
           "io_submit/request\n", depth,
           no_signal ? "not signalled" : "signalled",
           (double)(qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - start) /
           REQUESTS, (double)mock.calls / mock.requests);
}

int main(void)
{
    const unsigned depths[] = { 1, 4, 16, 64 };
    AioContext *ctx;
    size_t i;

    qemu_init_main_loop(&error_fatal);
    ctx = qemu_get_aio_context();
    aio_setup_linux_aio(ctx, &error_fatal);
    for (i = 0; i < ARRAY_SIZE(depths); i++) {
        bench(ctx, depths[i], true);
        bench(ctx, depths[i], false);
    }
    return 0;
}
