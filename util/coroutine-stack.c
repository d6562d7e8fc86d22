/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stacks of coroutines: mapped, with a guard page at the end that a stack
 * grows towards, so that an overflow faults instead of damaging a neighbour.
 */
#include "qemu/osdep.h"
#include "qemu/coroutine_int.h"

#ifndef MAP_STACK
#define MAP_STACK 0
#endif

void *qemu_alloc_stack(size_t *sz)
{
    size_t page = qemu_real_host_page_size();
    size_t size = ROUND_UP(*sz, page) + page;
    void *stack;

    /* NORESERVE: thousands of stacks, of which a few pages each are used. */
    stack = mmap(NULL, size, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE,
                 -1, 0);
    if (stack == MAP_FAILED || mprotect(stack, page, PROT_NONE) < 0) {
        fprintf(stderr, "qemu: cannot allocate a coroutine stack of %zu bytes:"
                " %s (too many at once? see vm.max_map_count)\n",
                size, strerror(errno));
        abort();
    }
    *sz = size;
    return stack;
}

void qemu_free_stack(void *stack, size_t sz)
{
    munmap(stack, sz);
}
