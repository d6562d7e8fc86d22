/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Time of buffer_is_zero(), for each implementation that this CPU has.
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"

#define MIN_SECONDS 0.2

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* Nanoseconds per call on a buffer of zeroes. */
static double measure(const char *buf, size_t len)
{
    double start = now(), elapsed;
    uint64_t calls = 0;

    do {
        int i;

        for (i = 0; i < 1000; i++) {
            if (!buffer_is_zero(buf, len)) {
                abort();
            }
        }
        calls += 1000;
        elapsed = now() - start;
    } while (elapsed < MIN_SECONDS);
    return elapsed / calls * 1e9;
}

int main(void)
{
    static const size_t sizes[] = { 64, 512, 4 * KiB, 64 * KiB, 1 * MiB };
    QEMU_AUTO_VFREE char *buf = qemu_memalign(4096, 2 * MiB);
    size_t i;

    memset(buf, 0, 2 * MiB);
    do {
        for (i = 0; i < ARRAY_SIZE(sizes); i++) {
            double ns = measure(buf, sizes[i]);

            printf("%-5s %8zu bytes: %10.1f ns/op %7.1f GB/s\n",
                   buffer_is_zero_accel_name(), sizes[i], ns,
                   sizes[i] / ns);
        }
    } while (test_buffer_is_zero_next_accel());
    return 0;
}
