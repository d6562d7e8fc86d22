/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The driver's side of a virtqueue, for the tests of the device's side. */
#ifndef TESTS_VIRTQUEUE_DRIVER_H
#define TESTS_VIRTQUEUE_DRIVER_H

#include <sys/mman.h>
#include "../../block/export/virtqueue.h"
#include "qapi/error.h"

#define NUM 8
/* Two regions that are neighbours for the guest, but not here. */
#define GUEST 0x10000
#define FIRST_SIZE 0x8000
#define SECOND (GUEST + FIRST_SIZE)
#define SECOND_SIZE 0x4000
#define END (SECOND + SECOND_SIZE)
#define USER 0x7000000
#define USER_SECOND 0x9000000
/* Parts of the first region. */
#define DESC 0
#define AVAIL 0x4000
#define USED 0x5000
#define TABLE 0x6000
#define DATA 0x7000

#define F_INDIRECT (1ULL << VIRTIO_RING_F_INDIRECT_DESC)
#define F_EVENT (1ULL << VIRTIO_RING_F_EVENT_IDX)
#define F_PACKED (1ULL << VIRTIO_F_RING_PACKED)

#define NEXT VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT
#define BUFFER (GUEST + DATA)

typedef struct {
    GuestMemory mem;
    uint8_t *bytes;             /* both regions, as the driver sees them */
    VirtQueue vq;
    VirtQueueElement elem;
    uint16_t avail_idx;
    void *region;
} Driver;

static inline void driver_start(Driver *d, unsigned num, uint64_t features,
                         uint32_t base)
{
    VirtQueueAddresses addrs = { USER + DESC, USER + AVAIL, USER + USED };

    virtqueue_init(&d->vq, &d->mem, num, &addrs, features, base, d->region,
                   d->region ? 64 * KiB : 0, &error_abort);
    d->avail_idx = base;
}

static inline Driver *driver_new(void)
{
    GuestRegionInfo first = { GUEST, FIRST_SIZE, USER, 0 };
    /* A page lies between them in the file. */
    GuestRegionInfo second = {
        SECOND, SECOND_SIZE, USER_SECOND, FIRST_SIZE + 0x1000,
    };
    Driver *d = g_new0(Driver, 1);
    int fd = memfd_create("guest", MFD_CLOEXEC);

    g_assert(fd >= 0 && ftruncate(fd, 64 * KiB) == 0);
    d->bytes = mmap(NULL, 64 * KiB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    g_assert(d->bytes != MAP_FAILED);
    guest_memory_add(&d->mem, &first, fd, &error_abort);
    guest_memory_add(&d->mem, &second, fd, &error_abort);
    close(fd);
    return d;
}

static inline void driver_stop(Driver *d)
{
    while (d->vq.in_use) {
        /* The test has no use for them any more. */
        virtqueue_break(&d->vq, "the test ends");
        virtqueue_drop(&d->vq);
    }
    virtqueue_stop(&d->vq);
}

static inline void driver_free(Driver *d)
{
    driver_stop(d);
    guest_memory_clear(&d->mem);
    munmap(d->bytes, 64 * KiB);
    g_free(d->region);
    g_free(d);
}

static inline uint16_t get16(Driver *d, unsigned offset)
{
    return le16toh(*(uint16_t *)(d->bytes + offset));
}

static inline void put16(Driver *d, unsigned offset, uint16_t value)
{
    *(uint16_t *)(d->bytes + offset) = htole16(value);
}

#endif
