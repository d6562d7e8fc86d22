/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fault-inject: io_uring, at the calls of liburing: io_uring_submit() is the
 * engine's, io_uring_enter2() that of the fd monitor, which submits what the
 * engine has left.  They return the error, and leave errno alone.
 *
 * The rings are in the program's memory: entries that the kernel has not taken
 * yet are changed on its submission ring, results on its completion ring, from
 * which only the thread that submits takes them.
 */
#include "qemu/osdep.h"
#include "fault-inject.h"
#include <liburing.h>
#include <sys/uio.h>

typedef int SetupFn(unsigned entries, struct io_uring *ring,
                    struct io_uring_params *params);
typedef int SubmitFn(struct io_uring *ring);
typedef int EnterFn(unsigned fd, unsigned to_submit, unsigned min_complete,
                    unsigned flags, void *arg, size_t size);

WRAPPER int fault_io_uring_setup(unsigned entries, struct io_uring *ring,
                                 struct io_uring_params *params)
{
    if (fault_disturb(CALL_IO_URING_SETUP)) {
        return -fault_errno;
    }
    return NEXT("io_uring_queue_init_params", SetupFn)(entries, ring, params);
}
EXPORT("io_uring_queue_init_params", fault_io_uring_setup);

static struct io_uring_sqe *pending_sqe(struct io_uring *ring, unsigned i)
{
    unsigned entries = *ring->sq.kring_entries;

    return &ring->sq.sqes[(ring->sq.sqe_head + i) & (entries - 1)];
}

static bool is_vector(const struct io_uring_sqe *sqe)
{
    return sqe->opcode == IORING_OP_READV || sqe->opcode == IORING_OP_WRITEV;
}

static bool is_transfer(const struct io_uring_sqe *sqe)
{
    return is_vector(sqe) || sqe->opcode == IORING_OP_READ ||
           sqe->opcode == IORING_OP_WRITE;
}

static size_t sqe_bytes(const struct io_uring_sqe *sqe)
{
    return is_vector(sqe) ?
           fault_iov_bytes((const struct iovec *)(uintptr_t)sqe->addr,
                           sqe->len) : sqe->len;
}

/* The first request that can be cut; or just the first one. */
static struct io_uring_sqe *find_sqe(struct io_uring *ring, unsigned count,
                                     Kind kind)
{
    unsigned i;

    for (i = 0; i < count; i++) {
        struct io_uring_sqe *sqe = pending_sqe(ring, i);

        if (kind == KIND_EVENT ||
            (is_transfer(sqe) &&
             fault_half_of(sqe_bytes(sqe)) < sqe_bytes(sqe))) {
            return sqe;
        }
    }
    return NULL;
}

/* Wait for the result of @data, and change it. */
static void spoil_result(struct io_uring *ring, uint64_t data)
{
    unsigned mask = *ring->cq.kring_entries - 1;
    unsigned i = *ring->cq.khead;

    for (;;) {
        while (i == qatomic_load_acquire(ring->cq.ktail)) {
            /* The kernel may wait for a call of this thread. */
            io_uring_get_events(ring);
            usleep(50);
        }
        if (ring->cq.cqes[i & mask].user_data == data) {
            ring->cq.cqes[i & mask].res = -fault_errno;
            return;
        }
        i++;
    }
}

/*
 * With one request changed.  The kernel has read the entry and its vector when
 * the call returns.  A transfer that is to fail has a buffer that is not there,
 * so that nothing of it is transferred; an fsync is made.
 */
static int submit_spoilt(SubmitFn *fn, struct io_uring *ring, unsigned count,
                         Kind kind)
{
    struct io_uring_sqe *sqe = find_sqe(ring, count, kind);
    struct iovec part[IOV_MAX];
    uint64_t data;
    int ret;

    if (!sqe) {
        return fn(ring);
    }
    data = sqe->user_data;
    fault_mark_call(CALL_IO_URING_SUBMIT);
    if (kind == KIND_CUT && is_vector(sqe)) {
        sqe->len = fault_iov_part(part,
                                  (const struct iovec *)(uintptr_t)sqe->addr,
                                  fault_half_of(sqe_bytes(sqe)));
        sqe->addr = (uintptr_t)part;
    } else if (kind == KIND_CUT) {
        sqe->len = fault_half_of(sqe->len);
    } else if (is_transfer(sqe)) {
        part[0].iov_base = (void *)4096;    /* aligned, and never mapped */
        part[0].iov_len = sqe_bytes(sqe);
        sqe->addr = is_vector(sqe) ? (uintptr_t)part : 4096;
        sqe->len = is_vector(sqe) ? 1 : sqe->len;
    }
    ret = fn(ring);
    if (kind == KIND_EVENT && ret > 0) {
        spoil_result(ring, data);
    }
    return ret;
}

/* Half of the entries; of a single one none. */
static int submit_half(SubmitFn *fn, struct io_uring *ring, unsigned count)
{
    unsigned tail = ring->sq.sqe_tail;
    int ret;

    if (count < 2) {
        return 0;
    }
    ring->sq.sqe_tail = ring->sq.sqe_head + count / 2;
    ret = fn(ring);
    ring->sq.sqe_tail = tail;
    return ret;
}

WRAPPER int fault_io_uring_submit(struct io_uring *ring)
{
    SubmitFn *fn = NEXT("io_uring_submit", SubmitFn);
    unsigned count = ring->sq.sqe_tail - ring->sq.sqe_head;
    Kind kind = fault_count(CALL_IO_URING_SUBMIT);

    switch (kind) {
    case KIND_FAIL:
        fault_mark_call(CALL_IO_URING_SUBMIT);
        return -fault_errno;
    case KIND_SHORT:
        fault_mark_call(CALL_IO_URING_SUBMIT);
        return submit_half(fn, ring, count);
    case KIND_LATE:
        fault_mark_call(CALL_IO_URING_SUBMIT);
        usleep(FAULT_LATE_US);
        return fn(ring);
    case KIND_CUT:
    case KIND_EVENT:
        return submit_spoilt(fn, ring, count, kind);
    default:
        return fn(ring);
    }
}
EXPORT("io_uring_submit", fault_io_uring_submit);

/* A call that has taken a part of the entries does not wait. */
WRAPPER int fault_io_uring_enter(unsigned fd, unsigned to_submit,
                                 unsigned min_complete, unsigned flags,
                                 void *arg, size_t size)
{
    EnterFn *fn = NEXT("io_uring_enter2", EnterFn);

    switch (fault_count(CALL_IO_URING_ENTER)) {
    case KIND_FAIL:
        fault_mark_call(CALL_IO_URING_ENTER);
        return -fault_errno;
    case KIND_SHORT:
        if (to_submit) {
            fault_mark_call(CALL_IO_URING_ENTER);
            to_submit /= 2;
            min_complete = 0;
        }
        break;
    case KIND_LATE:
        fault_mark_call(CALL_IO_URING_ENTER);
        usleep(FAULT_LATE_US);
        break;
    default:
        break;
    }
    return fn(fd, to_submit, min_complete, flags, arg, size);
}
EXPORT("io_uring_enter2", fault_io_uring_enter);
