/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory from which requests are made again and again: see the header. */
#include "qemu/osdep.h"
#include "block/aio-bufs.h"
#include "qemu/lockable.h"
#include "qemu/thread.h"

unsigned aio_bufs_generation;

/* Protects all of it; the generation is read without it. */
static QemuMutex aio_bufs_lock;
static AioBuf aio_bufs[AIO_BUFS_MAX];
static unsigned nb_aio_bufs;
static uint64_t last_id;

static void __attribute__((constructor)) aio_bufs_init(void)
{
    qemu_mutex_init(&aio_bufs_lock);
}

/* Under the lock.  0 means that there has been none yet. */
static void aio_bufs_changed(void)
{
    unsigned next = aio_bufs_generation + 1;

    qatomic_set(&aio_bufs_generation, next ? next : 1);
}

void aio_register_buf(void *host, size_t size)
{
    QEMU_LOCK_GUARD(&aio_bufs_lock);

    if (nb_aio_bufs < AIO_BUFS_MAX) {
        aio_bufs[nb_aio_bufs++] = (AioBuf) {
            .start = (uintptr_t)host, .size = size, .id = ++last_id,
        };
        aio_bufs_changed();
    }
}

void aio_unregister_buf(void *host)
{
    unsigned i;

    QEMU_LOCK_GUARD(&aio_bufs_lock);
    for (i = 0; i < nb_aio_bufs; i++) {
        if (aio_bufs[i].start == (uintptr_t)host) {
            aio_bufs[i] = aio_bufs[--nb_aio_bufs];
            aio_bufs_changed();
            return;
        }
    }
}

unsigned aio_bufs_get(AioBuf *bufs, unsigned *generation)
{
    QEMU_LOCK_GUARD(&aio_bufs_lock);

    memcpy(bufs, aio_bufs, nb_aio_bufs * sizeof(*bufs));
    *generation = aio_bufs_generation;
    return nb_aio_bufs;
}
