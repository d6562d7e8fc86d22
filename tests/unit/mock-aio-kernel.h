/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A Linux AIO kernel that does as it is told.
 *
 * It defines io_setup(), io_submit(), io_getevents() and io_destroy(), which
 * replace those of the shared library libaio in the program that includes
 * this file (once), and owns the completion ring that the engine reads.  Its
 * disk is memory.  What it does with each request is set in "mock".  It also
 * defines clock_gettime(), so that its system calls take time.
 */
#ifndef MOCK_AIO_KERNEL_H
#define MOCK_AIO_KERNEL_H

#include "aio-iocb.h"
#include "qemu/queue.h"
#include "qemu/timer.h"
#include <libaio.h>
#include <sys/syscall.h>

#define MOCK_DISK_SIZE (1 << 20)
#define MOCK_RING_MAX 4096
/* io_submit() returns 0 although it was given requests. */
#define MOCK_TAKE_NONE 1

typedef struct MockRing {
    unsigned id, nr, head, tail, magic, compat, incompat, header_length;
    struct io_event events[MOCK_RING_MAX];
} MockRing;

typedef struct MockHeld {
    struct iocb *iocb;
    QSIMPLEQ_ENTRY(MockHeld) next;
} MockHeld;

typedef struct MockContext {
    QSIMPLEQ_HEAD(, MockHeld) held;     /* accepted, not completed */
    unsigned n_held;
    struct MockContext *before;         /* mock.last when it was made */
    MockRing ring;                      /* io_context_t points here */
} MockContext;

/* What the kernel does; all zeroes: completes nothing until told. */
typedef struct MockKernel {
    bool sync;                  /* complete within io_submit() */
    bool no_signal;             /* do not signal the eventfd */
    bool bad_magic;             /* a ring that user space must not read */
    unsigned ring_size;         /* events; 0: as io_setup() asks */
    unsigned accept_max;        /* requests per call; 0: no limit */
    size_t transfer_max;        /* bytes per request; 0: no limit */
    size_t direct_align;        /* offset alignment, else -EINVAL; 0: none */
    bool align_first;           /* also at the end of the file: Linux < 5.5 */
    bool frozen;                /* the clock moves in system calls only */
    int64_t request_ns;         /* that a request takes in io_submit() */
    uint64_t file_size;         /* end of file for reads */
    uint64_t disk_full_at;      /* writes stop there; 0: never */
    /*
     * Asked for each request: 0 to accept it, or -errno, which ends the call
     * (and is its result if it is the first of its batch).
     */
    int (*refuse)(struct iocb *iocb);
    /* Asked for each request: 0, or -errno as its result. */
    int (*fail)(struct iocb *iocb);
    /* Asked at each call: 0, or -errno as its result, or MOCK_TAKE_NONE. */
    int (*call_error)(void);

    /* What it saw. */
    unsigned calls;             /* of io_submit() */
    unsigned requests;          /* accepted */
    unsigned largest_batch;     /* offered in one call */
    unsigned signals;           /* of the eventfd */
    unsigned clock_reads;
    char *stack_low, *stack_high;       /* frames of calls outside coroutines */
    uint8_t disk[MOCK_DISK_SIZE];
    MockContext *last;          /* made last */
    int64_t ahead_ns;           /* of the real clock, or since frozen */
    int64_t frozen_ns;
} MockKernel;

static MockKernel mock;

#ifndef MOCK_REAL_CLOCK         /* for benchmarks */
/* Instead of the C library's. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
    int ret = syscall(SYS_clock_gettime, id, ts);

    if (ret == 0 && id == CLOCK_MONOTONIC) {
        int64_t ns = mock.frozen ? mock.frozen_ns :
                     ts->tv_sec * NANOSECONDS_PER_SECOND + ts->tv_nsec;

        ns += mock.ahead_ns;
        ts->tv_sec = ns / NANOSECONDS_PER_SECOND;
        ts->tv_nsec = ns % NANOSECONDS_PER_SECOND;
        /* The watchdog's thread reads it, too. */
        qatomic_inc(&mock.clock_reads);
    }
    return ret;
}
#endif

/* From now on time passes in system calls only, so that it can be measured. */
static void G_GNUC_UNUSED mock_freeze(void)
{
    mock.frozen_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - mock.ahead_ns;
    mock.frozen = true;
}

/* Forget settings and counts; the disk is filled with a pattern. */
static void mock_reset(void)
{
    MockContext *last = mock.last;
    int64_t ahead = mock.ahead_ns;
    size_t i;

    memset(&mock, 0, sizeof(mock));
    mock.last = last;
    /* The clock never goes back. */
    mock.ahead_ns = ahead + NANOSECONDS_PER_SECOND;
    mock.file_size = MOCK_DISK_SIZE;
    for (i = 0; i < MOCK_DISK_SIZE; i++) {
        mock.disk[i] = i * 7 + (i >> 9) * 13 + 1;
    }
}

static void mock_note_stack(void)
{
    char *here = __builtin_frame_address(0);

    if (qemu_in_coroutine()) {
        return;
    }
    if (!mock.stack_low || here < mock.stack_low) {
        mock.stack_low = here;
    }
    if (!mock.stack_high || here > mock.stack_high) {
        mock.stack_high = here;
    }
}

static size_t G_GNUC_UNUSED mock_stack_spread(void)
{
    return mock.stack_high - mock.stack_low;
}

/* Carry out @iocb on the disk: its result. */
static long mock_transfer(struct iocb *iocb)
{
    bool write = iocb_is_write(iocb);
    struct iovec single;
    int i, niov;
    const struct iovec *iov = iocb_vector(iocb, &single, &niov);
    uint64_t pos = iocb->u.v.offset;
    uint64_t end = write ? MOCK_DISK_SIZE : mock.file_size;
    size_t left = mock.transfer_max ? mock.transfer_max : SIZE_MAX;
    long done = mock.fail ? mock.fail(iocb) : 0;

    if (done || iocb->aio_lio_opcode == IO_CMD_FDSYNC) {
        return done;
    }
    /* Linux looks at the end of the file before it looks at the alignment. */
    if (mock.direct_align && pos % mock.direct_align &&
        (write || pos < end || mock.align_first)) {
        return -EINVAL;
    }
    if (write && mock.disk_full_at) {
        end = mock.disk_full_at;
    }
    for (i = 0; i < niov; i++) {
        size_t n = MIN(iov[i].iov_len, left);

        n = pos >= end ? 0 : MIN(n, end - pos);
        if (write) {
            memcpy(mock.disk + pos, iov[i].iov_base, n);
        } else {
            memcpy(iov[i].iov_base, mock.disk + pos, n);
        }
        pos += n;
        left -= n;
        done += n;
    }
    return done;
}

/* Put an event on the ring. */
static void mock_post(MockContext *c, struct iocb *iocb, long res)
{
    MockRing *ring = &c->ring;
    unsigned tail = ring->tail;
    unsigned next = tail + 1 == ring->nr ? 0 : tail + 1;

    assert(next != qatomic_load_acquire(&ring->head));
    ring->events[tail] = (struct io_event) {
        .data = iocb->data,
        .obj = iocb,
        .res = res,
    };
    /* Pairs with the engine's acquire of the tail. */
    qatomic_store_release(&ring->tail, next);
    if (!mock.no_signal && iocb_signals(iocb)) {
        uint64_t one = 1;
        ssize_t n = write(iocb->u.c.resfd, &one, sizeof(one));

        assert(n == sizeof(one));
        mock.signals++;
    }
}

/* Complete up to @n accepted requests, oldest first; how many there were. */
static unsigned G_GNUC_UNUSED mock_complete(MockContext *c, unsigned n)
{
    unsigned done = 0;

    while (done < n && !QSIMPLEQ_EMPTY(&c->held)) {
        MockHeld *h = QSIMPLEQ_FIRST(&c->held);

        QSIMPLEQ_REMOVE_HEAD(&c->held, next);
        c->n_held--;
        mock_post(c, h->iocb, mock_transfer(h->iocb));
        g_free(h);
        done++;
    }
    return done;
}

/* Free entries of the ring, those promised to accepted requests taken off. */
static unsigned mock_room(MockContext *c)
{
    MockRing *ring = &c->ring;
    unsigned used = (ring->tail + ring->nr -
                     qatomic_load_acquire(&ring->head)) % ring->nr;

    return ring->nr - 1 - used - c->n_held;
}

int io_setup(int maxevents, io_context_t *ctxp)
{
    MockContext *c = g_new0(MockContext, 1);

    QSIMPLEQ_INIT(&c->held);
    c->ring.nr = mock.ring_size ? mock.ring_size : (unsigned)maxevents + 1;
    assert(c->ring.nr <= MOCK_RING_MAX);
    c->ring.magic = mock.bad_magic ? 0x12345678 : 0xa10a10a1;
    c->ring.compat = 1;
    c->ring.header_length = 32;
    *ctxp = (io_context_t)&c->ring;
    c->before = mock.last;
    mock.last = c;
    return 0;
}

int io_destroy(io_context_t ctx)
{
    MockContext *c = container_of((MockRing *)ctx, MockContext, ring);

    assert(QSIMPLEQ_EMPTY(&c->held));
    if (mock.last == c) {
        mock.last = c->before;
    }
    g_free(c);
    return 0;
}

int io_submit(io_context_t ctx, long nr, struct iocb *iocbs[])
{
    MockContext *c = container_of((MockRing *)ctx, MockContext, ring);
    long i;
    int ret;

    mock.calls++;
    mock.largest_batch = MAX(mock.largest_batch, (unsigned)nr);
    mock_note_stack();
    ret = mock.call_error ? mock.call_error() : 0;
    if (ret) {
        return ret == MOCK_TAKE_NONE ? 0 : ret;
    }
    for (i = 0; i < nr; i++) {
        if (mock.accept_max && (unsigned)i == mock.accept_max) {
            break;
        }
        ret = mock_room(c) ? 0 : -EAGAIN;
        if (!ret && mock.refuse) {
            ret = mock.refuse(iocbs[i]);
        }
        if (ret) {
            return i ? i : ret;
        }
        mock.requests++;
        if (mock.sync) {
            mock.ahead_ns += mock.request_ns;
            mock_post(c, iocbs[i], mock_transfer(iocbs[i]));
        } else {
            MockHeld *h = g_new(MockHeld, 1);

            h->iocb = iocbs[i];
            QSIMPLEQ_INSERT_TAIL(&c->held, h, next);
            c->n_held++;
        }
    }
    return i;
}

int io_getevents(io_context_t ctx, long min_nr, long nr,
                 struct io_event *events, struct timespec *timeout)
{
    MockContext *c = container_of((MockRing *)ctx, MockContext, ring);
    MockRing *ring = &c->ring;
    long n = 0;

    while (n < nr && ring->head != ring->tail) {
        events[n++] = ring->events[ring->head];
        ring->head = ring->head + 1 == ring->nr ? 0 : ring->head + 1;
    }
    assert(n >= min_nr || timeout);
    return n;
}

#endif
