/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * io_uring engine: fixed buffers.
 *
 * Each ring has a table of its own, which only its thread may change.  So it
 * does that with the first request after the process's list has changed, and
 * before it looks at the list: pages of memory that was given back are never
 * used, whatever has its address now.
 */
#include "qemu/osdep.h"
#include "io_uring-fixed.h"

/* The kernel (5.19) makes a table without buffers, if it makes one at all. */
static bool luring_make_table(LuringFixed *f, struct io_uring *ring)
{
    if (!f->has_table && !f->refused) {
        f->has_table = io_uring_register_buffers_sparse(ring,
                                                        AIO_BUFS_MAX) == 0;
        f->refused = !f->has_table;
    }
    return f->has_table;
}

/* Have the kernel keep @size bytes at @start as number @i; 0: none. */
static bool luring_set_fixed(struct io_uring *ring, unsigned i,
                             uintptr_t start, size_t size)
{
    struct iovec iov = { .iov_base = (void *)start, .iov_len = size };
    __u64 tag = 0;

    return io_uring_register_buffers_update_tag(ring, i, &iov, &tag, 1) == 1;
}

static bool luring_is_among(uint64_t id, const AioBuf *bufs, unsigned n)
{
    unsigned i;

    for (i = 0; i < n; i++) {
        if (bufs[i].id == id) {
            return true;
        }
    }
    return false;
}

/* Let go of what is not among the @n @bufs any more. */
static void luring_drop_fixed(LuringFixed *f, struct io_uring *ring,
                              const AioBuf *bufs, unsigned n)
{
    unsigned i;

    for (i = 0; i < f->nb_slots; i++) {
        if (f->bufs[i].id && !luring_is_among(f->bufs[i].id, bufs, n)) {
            if (f->state[i] == LURING_PINNED) {
                luring_set_fixed(ring, i, 0, 0);
            }
            f->bufs[i].id = 0;
        }
    }
    while (f->nb_slots && !f->bufs[f->nb_slots - 1].id) {
        f->nb_slots--;
    }
}

/* There is a place for each: the list is as long as the table. */
static void luring_add_fixed(LuringFixed *f, const AioBuf *buf)
{
    unsigned i = 0;

    while (i < f->nb_slots && f->bufs[i].id) {
        i++;
    }
    f->nb_slots = MAX(f->nb_slots, i + 1);
    f->bufs[i] = *buf;
    f->state[i] = LURING_NOT_ASKED;
}

static void luring_update_fixed(LuringFixed *f, struct io_uring *ring)
{
    AioBuf bufs[AIO_BUFS_MAX];
    unsigned n = aio_bufs_get(bufs, &f->generation), i;

    luring_drop_fixed(f, ring, bufs, n);
    for (i = 0; i < n; i++) {
        if (!luring_is_among(bufs[i].id, f->bufs, f->nb_slots)) {
            luring_add_fixed(f, &bufs[i]);
        }
    }
}

/* Has the kernel the pages of number @i, or does it take them now? */
static bool luring_pin(LuringFixed *f, struct io_uring *ring, unsigned i)
{
    const AioBuf *buf = &f->bufs[i];

    if (f->state[i] == LURING_NOT_ASKED) {
        /* Where RLIMIT_MEMLOCK forbids it, it is not tried again. */
        f->state[i] = luring_make_table(f, ring) &&
                      luring_set_fixed(ring, i, buf->start, buf->size) ?
                      LURING_PINNED : LURING_REFUSED;
    }
    return f->state[i] == LURING_PINNED;
}

/* Are @len bytes at @addr in @buf? */
static bool luring_is_within(const AioBuf *buf, uintptr_t addr, size_t len)
{
    return addr >= buf->start && len <= buf->size &&
           addr - buf->start <= buf->size - len;
}

void luring_find_fixed(LuringFixed *f, struct io_uring *ring,
                       struct io_uring_sqe *sqe)
{
    unsigned i;

    if (qatomic_read(&aio_bufs_generation) != f->generation) {
        luring_update_fixed(f, ring);
    }
    if (sqe->opcode != IORING_OP_READ && sqe->opcode != IORING_OP_WRITE) {
        return;
    }
    for (i = 0; i < f->nb_slots; i++) {
        if (f->bufs[i].id &&
            luring_is_within(&f->bufs[i], sqe->addr, sqe->len) &&
            luring_pin(f, ring, i)) {
            sqe->opcode = sqe->opcode == IORING_OP_READ ?
                          IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED;
            sqe->buf_index = i;
            return;
        }
    }
}
