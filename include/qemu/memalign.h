/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Aligned memory for direct I/O.
 */
#ifndef QEMU_MEMALIGN_H
#define QEMU_MEMALIGN_H

#include <stddef.h>

/*
 * @size bytes aligned to @alignment (0: the pointer size), to be freed with
 * qemu_vfree().  qemu_memalign() aborts when there is no memory,
 * qemu_try_memalign() returns NULL.  Any thread.
 */
void *qemu_memalign(size_t alignment, size_t size);
void *qemu_try_memalign(size_t alignment, size_t size);
void qemu_vfree(void *ptr);

static inline void qemu_cleanup_vfree(void *p)
{
    qemu_vfree(*(void **)p);
}

/* A pointer that qemu_vfree() releases at the end of its scope. */
#define QEMU_AUTO_VFREE __attribute__((cleanup(qemu_cleanup_vfree)))

#endif
