/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For LD_PRELOAD: counts calls of malloc() and its kin.
 *
 * COUNT_FILE names a file of at least 8 bytes, in which the number is.
 */
#include "qemu/osdep.h"
#include <sys/mman.h>
#include "qemu/atomic.h"

/* The functions of the GNU C library behind those that are counted. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static uint64_t nowhere;
static uint64_t *count = &nowhere;

static void __attribute__((constructor)) count_init(void)
{
    const char *path = getenv("COUNT_FILE");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *p;

    if (fd < 0) {
        return;
    }
    p = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (p != MAP_FAILED) {
        count = p;
    }
}

void *malloc(size_t size)
{
    qatomic_inc(count);
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    qatomic_inc(count);
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
    qatomic_inc(count);
    return __libc_realloc(p, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    qatomic_inc(count);
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **p, size_t alignment, size_t size)
{
    qatomic_inc(count);
    *p = __libc_memalign(alignment, size);
    return *p ? 0 : ENOMEM;
}
