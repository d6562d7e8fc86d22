/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A Linux AIO kernel that does what a seed says.
 *
 * Each call and each request meets a random fate: taken or not, completed
 * within io_submit() or later and in any order, short, failed, signalled at
 * once or late.  Every fate is also told to an oracle, so that the caller
 * knows what result the engine owes.  The disk is memory; the descriptor of a
 * request is the number of its owner.
 */
#ifndef RANDOM_AIO_KERNEL_H
#define RANDOM_AIO_KERNEL_H

#include <libaio.h>

#define RK_OWNERS 16
#define RK_REGION 4096          /* bytes of the disk that an owner has */
#define RK_RING_MAX 128
#define RK_HELD_MAX 128

typedef struct RKRing {
    unsigned id, nr, head, tail, magic, compat, incompat, header_length;
    struct io_event events[RK_RING_MAX];
} RKRing;

/* What an owner's request must come to. */
typedef struct RKOracle {
    bool active;
    bool decided;               /* want is final */
    int want;
    size_t done;                /* bytes that were transferred */
} RKOracle;

/* How likely things are, in 256ths. */
typedef struct RKOdds {
    uint8_t hold;               /* complete later */
    uint8_t late_signal;        /* of completions that come later */
    uint8_t no_signal;          /* of completions within io_submit() */
    uint8_t partial;            /* take only some of a batch */
    uint8_t again;
    uint8_t refuse;
    uint8_t fail;               /* an event with an error */
    uint8_t cut;                /* a short transfer */
    uint8_t nothing;            /* a transfer of 0 */
} RKOdds;

static struct {
    uint64_t prng;
    RKOdds odds;
    RKRing ring;
    struct iocb *held[RK_HELD_MAX];
    unsigned n_held;
    int late_fd[RK_HELD_MAX];
    unsigned n_late;
    unsigned again_left;        /* -EAGAIN in a row, at most */
    RKOracle oracle[RK_OWNERS];
    uint8_t disk[RK_OWNERS * RK_REGION];
    unsigned calls, accepted, events;
} rk;

static uint32_t rk_random(void)
{
    rk.prng ^= rk.prng >> 12;
    rk.prng ^= rk.prng << 25;
    rk.prng ^= rk.prng >> 27;
    return (rk.prng * UINT64_C(2685821657736338717)) >> 32;
}

static unsigned rk_below(unsigned n)
{
    return (uint64_t)rk_random() * n >> 32;
}

static bool rk_chance(uint8_t odds)
{
    return rk_below(256) < odds;
}

/* A new kernel for @seed; nothing may be in flight. */
static void rk_reset(uint64_t seed)
{
    static const unsigned sizes[] = { 2, 3, 4, 9, 33, RK_RING_MAX };
    RKOdds *o = &rk.odds;
    size_t i;

    memset(&rk, 0, sizeof(rk));
    rk.prng = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    for (i = 0; i < 8; i++) {
        rk_random();
    }
    rk.ring.nr = sizes[rk_below(ARRAY_SIZE(sizes))];
    rk.ring.magic = rk_below(16) ? 0xa10a10a1 : 1;
    rk.ring.compat = 1;
    rk.ring.header_length = 32;
    o->hold = rk_below(3) * 120;
    o->late_signal = rk_below(2) * 128;
    o->no_signal = rk_below(3) * 127;
    o->partial = rk_below(2) * 100;
    o->again = rk_below(4) ? 0 : 60;
    o->refuse = rk_below(3) ? 0 : 50;
    o->fail = rk_below(3) ? 0 : 30;
    o->cut = rk_below(2) * 80;
    o->nothing = rk_below(4) ? 0 : 20;
    for (i = 0; i < sizeof(rk.disk); i++) {
        rk.disk[i] = rk_random();
    }
}

static void rk_decide(RKOracle *o, int want)
{
    g_assert(o->active && !o->decided);
    o->decided = true;
    o->want = want;
}

/* Move @n bytes between the disk and the vector of @iocb. */
static void rk_copy(struct iocb *iocb, size_t n)
{
    uint64_t pos = iocb->u.v.offset;
    int i;

    for (i = 0; i < iocb->u.v.nr && n; i++) {
        const struct iovec *iov = &iocb->u.v.vec[i];
        size_t len = MIN(iov->iov_len, n);

        g_assert_cmpuint(pos + len, <=, sizeof(rk.disk));
        if (iocb->aio_lio_opcode == IO_CMD_PWRITEV) {
            memcpy(rk.disk + pos, iov->iov_base, len);
        } else {
            memcpy(iov->iov_base, rk.disk + pos, len);
        }
        pos += len;
        n -= len;
    }
}

static size_t rk_size(struct iocb *iocb)
{
    size_t size = 0;
    int i;

    for (i = 0; i < iocb->u.v.nr; i++) {
        size += iocb->u.v.vec[i].iov_len;
    }
    return size;
}

/* The fate of an accepted request, told to the oracle: its result. */
static long rk_transfer(struct iocb *iocb)
{
    RKOracle *o = &rk.oracle[iocb->aio_fildes];
    bool write = iocb->aio_lio_opcode == IO_CMD_PWRITEV;
    size_t size, n;

    if (rk_chance(rk.odds.fail)) {
        rk_decide(o, -EIO);
        return -EIO;
    }
    if (iocb->aio_lio_opcode == IO_CMD_FDSYNC) {
        rk_decide(o, 0);
        return 0;
    }
    size = n = rk_size(iocb);
    if (rk_chance(rk.odds.nothing)) {
        n = 0;
    } else if (n > 1 && rk_chance(rk.odds.cut)) {
        n = 1 + rk_below(n - 1);
    }
    rk_copy(iocb, n);
    o->done += n;
    if (n == size || (n == 0 && !write)) {
        rk_decide(o, 0);
    } else if (n == 0) {
        rk_decide(o, -ENOSPC);
    }
    return n;
}

static void rk_signal(int fd)
{
    uint64_t one = 1;

    g_assert_cmpint(write(fd, &one, sizeof(one)), ==, sizeof(one));
}

/* @now: within io_submit(), where the signal may stay out. */
static void rk_post(struct iocb *iocb, bool now)
{
    unsigned next = rk.ring.tail + 1 == rk.ring.nr ? 0 : rk.ring.tail + 1;
    int fd = iocb->u.c.resfd;
    long res = rk_transfer(iocb);

    g_assert_cmpuint(next, !=, rk.ring.head);
    rk.ring.events[rk.ring.tail] = (struct io_event) {
        .obj = iocb, .res = res,
    };
    rk.events++;
    qatomic_store_release(&rk.ring.tail, next);
    if (now && rk_chance(rk.odds.no_signal)) {
        return;
    }
    if (rk_chance(rk.odds.late_signal) && rk.n_late < RK_HELD_MAX) {
        rk.late_fd[rk.n_late++] = fd;
    } else {
        rk_signal(fd);
    }
}

/* Time goes by: signals arrive, and some held requests complete. */
static void rk_tick(void)
{
    unsigned n;

    while (rk.n_late) {
        rk_signal(rk.late_fd[--rk.n_late]);
    }
    for (n = rk.n_held ? 1 + rk_below(rk.n_held) : 0; n; n--) {
        unsigned i = rk_below(rk.n_held);
        struct iocb *iocb = rk.held[i];

        rk.held[i] = rk.held[--rk.n_held];
        rk_post(iocb, false);
    }
}

static unsigned rk_room(void)
{
    unsigned used = (rk.ring.tail + rk.ring.nr - rk.ring.head) % rk.ring.nr;

    return rk.ring.nr - 1 - used - rk.n_held;
}

int io_setup(int maxevents, io_context_t *ctxp)
{
    *ctxp = (io_context_t)&rk.ring;
    return 0;
}

int io_destroy(io_context_t ctx)
{
    g_assert_cmpuint(rk.n_held, ==, 0);
    return 0;
}

static int rk_call_error(void)
{
    static const int errors[] = { -EAGAIN, -EINTR, 0 };

    if (!rk_chance(rk.odds.again)) {
        rk.again_left = 3;
        return 1;
    }
    if (rk.again_left == 0) {
        return 1;
    }
    rk.again_left--;
    return errors[rk_below(ARRAY_SIZE(errors))];
}

int io_submit(io_context_t ctx, long nr, struct iocb *iocbs[])
{
    int error = rk_call_error();
    long i;

    rk.calls++;
    g_assert_cmpint(nr, >, 0);
    if (error <= 0) {
        return error;
    }
    for (i = 0; i < nr; i++) {
        RKOracle *o = &rk.oracle[iocbs[i]->aio_fildes];

        if (!rk_room()) {
            return i ? i : -EAGAIN;
        }
        if (i && rk_chance(rk.odds.partial)) {
            return i;
        }
        if (rk_chance(rk.odds.refuse)) {
            if (i) {
                return i;
            }
            rk_decide(o, -EBADF);
            return -EBADF;
        }
        rk.accepted++;
        if (rk_chance(rk.odds.hold) && rk.n_held < RK_HELD_MAX) {
            rk.held[rk.n_held++] = iocbs[i];
        } else {
            rk_post(iocbs[i], true);
        }
    }
    return nr;
}

int io_getevents(io_context_t ctx, long min_nr, long nr,
                 struct io_event *events, struct timespec *timeout)
{
    long n = 0;

    while (n < nr && rk.ring.head != rk.ring.tail) {
        events[n++] = rk.ring.events[rk.ring.head];
        rk.ring.head = rk.ring.head + 1 == rk.ring.nr ? 0 : rk.ring.head + 1;
    }
    return n;
}

#endif
