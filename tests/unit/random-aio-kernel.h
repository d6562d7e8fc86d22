/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A Linux AIO kernel that does what a seed says.
 *
 * Each call and each request meets a random fate: taken or not, completed
 * within io_submit() or later and in any order, short, failed, signalled at
 * once or late.  Every fate is also told to an oracle, so that the caller
 * knows what result the engine owes.  The disk is memory, the clock moves only
 * when it is moved, and in system calls, and the descriptor of a request tells
 * its owner.
 *
 * The kernel checks what only it can see: that a call which was refused with
 * -EAGAIN is not repeated for nothing (L6), that a tail begins where it must
 * (L7), that events are delivered once and in the order of the ring (L2).
 */
#ifndef RANDOM_AIO_KERNEL_H
#define RANDOM_AIO_KERNEL_H

#include "aio-iocb.h"
#include "prng.h"

#include <libaio.h>
#include <poll.h>
#include <sys/syscall.h>

#include "block/linux-aio.h"
#include "qemu/timer.h"

#define RK_OWNERS 16
#define RK_REGION 8192          /* bytes of the disk that an owner has */
#define RK_RING_MAX 128
#define RK_HELD_MAX 128
#define RK_CONTEXTS 3
#define RK_SECTOR 512           /* what direct I/O must be a multiple of */
#define RK_FD 1000000           /* of owner 0: not open, so nothing is found */

typedef struct RKRing {
    unsigned id, nr, head, tail, magic, compat, incompat, header_length;
    struct io_event events[RK_RING_MAX];
} RKRing;

/* What an owner's request must come to. */
typedef struct RKOracle {
    bool active;
    bool decided;               /* want is final */
    bool append;                /* must not be continued */
    int want;
    int rw_flags;               /* that each submission must have */
    uint64_t offset;            /* of the request on the disk */
    size_t size;
    size_t done;                /* bytes that were transferred */
    unsigned interrupted;       /* results of -EINTR so far */
    unsigned eintr_left;        /* that will follow */
} RKOracle;

/* What a schedule consists of; each can be left out (see rk.without). */
enum {
    RK_THREADS, RK_NEST, RK_MOVE, RK_YIELD, RK_DRAIN, RK_REATTACH, RK_STORM,
    RK_STRICT, RK_SMALL, RK_DIRECT, RK_HOLD, RK_EARLY, RK_LATE, RK_SILENT,
    RK_PARTIAL, RK_AGAIN, RK_REFUSE, RK_FAIL, RK_CUT, RK_NOTHING,
    RK_EINTR, RK_SLOW, RK_FEATURES,
};

static const char *const rk_features[RK_FEATURES] = {
    "threads", "nest", "move", "yield", "drain", "reattach", "storm",
    "strict-loop", "small-ring", "direct", "hold", "early-signal",
    "late-signal", "no-signal", "partial", "again", "refuse", "fail", "cut",
    "nothing", "interrupt", "slow",
};

/* One io_setup(). */
typedef struct RKContext {
    RKRing ring;                /* first: an io_context_t points to it */
    bool live;
    int signal_fd;              /* -1 until a request has told it */
    unsigned late;              /* signals that are still to come */
    struct iocb *held[RK_HELD_MAX];
    unsigned n_held;
    struct iocb *posted[RK_RING_MAX];   /* in the ring, oldest first */
    unsigned n_posted;
    unsigned accepted, delivered;

    unsigned again_left;        /* -EAGAIN in a row, at most */
    bool waiting;               /* it has said -EAGAIN */
    bool waiting_in_flight;     /* with requests in flight */
    unsigned waiting_delivered;
    int64_t waiting_since;
} RKContext;

static struct {
    uint64_t prng;
    uint8_t odds[RK_FEATURES];  /* how likely things are, in 256ths */
    uint32_t without;           /* features that are left out */
    bool trace;
    bool direct;
    unsigned ring_size;
    int64_t clock_ns;
    int64_t request_ns;         /* that a request takes within io_submit() */
    int64_t *used_ns;           /* where that is added up */
    RKContext contexts[RK_CONTEXTS];
    RKOracle oracle[RK_OWNERS];
    uint8_t disk[RK_OWNERS * RK_REGION];
    unsigned calls;
} rk;

#define rk_trace(...)                                                   \
    do {                                                                \
        if (rk.trace) {                                                 \
            fprintf(stderr, __VA_ARGS__);                               \
        }                                                               \
    } while (0)

static uint32_t rk_random(void)
{
    return prng_next(&rk.prng);
}

static unsigned rk_below(unsigned n)
{
    return prng_below(&rk.prng, n);
}

static bool rk_chance(int feature)
{
    return rk_below(256) < rk.odds[feature];
}

static void rk_odds(int feature, unsigned odds)
{
    rk.odds[feature] = rk.without & (1u << feature) ? 0 : odds;
}

/* The odds of a schedule in which the kernel is truly asynchronous (L9). */
static void rk_asynchronous(void)
{
    int i;

    for (i = RK_DIRECT; i < RK_FEATURES; i++) {
        rk.odds[i] = 0;
    }
    rk.odds[RK_HOLD] = 255;     /* this is what it is: not to be left out */
    rk.ring_size = RK_RING_MAX;
}

/* The odds of one in which all completes at once, without an end (L8). */
static void rk_storm(void)
{
    static const int calm[] = {
        RK_NEST, RK_MOVE, RK_YIELD, RK_DRAIN, RK_HOLD, RK_AGAIN,
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(calm); i++) {
        rk.odds[calm[i]] = 0;
    }
}

/* A new kernel for @seed; nothing may be in flight. */
static void rk_reset(uint64_t seed)
{
    static const unsigned sizes[] = { 2, 3, 4, 9, 33, RK_RING_MAX };
    static const int64_t costs_ns[] = { 1000, 50000, 400000, 3000000 };
    size_t i;

    memset(&rk.contexts, 0, sizeof(rk.contexts));
    memset(&rk.oracle, 0, sizeof(rk.oracle));
    rk.calls = 0;
    rk.clock_ns = NANOSECONDS_PER_SECOND;
    rk.prng = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    for (i = 0; i < 8; i++) {
        rk_random();
    }
    for (i = 0; i < sizeof(rk.disk); i++) {
        rk.disk[i] = (uint32_t)(i + seed) * 2654435761U >> 24;
    }
    rk_odds(RK_THREADS, rk_below(3) ? 0 : 255);
    rk_odds(RK_NEST, rk_below(4) ? 20 : 0);
    rk_odds(RK_MOVE, rk_below(2) * 40);
    rk_odds(RK_YIELD, 25);
    rk_odds(RK_DRAIN, rk_below(4) ? 0 : 12);
    rk_odds(RK_REATTACH, 128);
    rk_odds(RK_STORM, rk_below(200) ? 0 : 255);
    rk_odds(RK_STRICT, rk_below(2) ? 0 : 255);
    rk_odds(RK_SMALL, 220);
    rk_odds(RK_DIRECT, rk_below(4) ? 0 : 255);
    rk_odds(RK_HOLD, rk_below(3) * 120);
    rk_odds(RK_EARLY, rk_below(2) * 60);
    rk_odds(RK_LATE, rk_below(2) * 128);
    rk_odds(RK_SILENT, rk_below(3) * 127);
    rk_odds(RK_PARTIAL, rk_below(2) * 100);
    rk_odds(RK_AGAIN, rk_below(4) ? 0 : 60);
    rk_odds(RK_REFUSE, rk_below(3) ? 0 : 50);
    rk_odds(RK_FAIL, rk_below(3) ? 0 : 30);
    rk_odds(RK_CUT, rk_below(2) * 80);
    rk_odds(RK_NOTHING, rk_below(4) ? 0 : 20);
    rk_odds(RK_EINTR, rk_below(4) ? 0 : 20);
    rk_odds(RK_SLOW, rk_below(4) ? 0 : 255);
    rk.ring_size = rk_chance(RK_SMALL) ? sizes[rk_below(ARRAY_SIZE(sizes))]
                                       : RK_RING_MAX;
    rk.direct = rk_chance(RK_DIRECT);
    rk.request_ns = rk_chance(RK_SLOW) ?
                    costs_ns[rk_below(ARRAY_SIZE(costs_ns))] : 0;
}

/* --- the clock --- */

/* Instead of the C library's: only a replay with the same times is one. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
    if (id != CLOCK_MONOTONIC || !rk.clock_ns) {
        return syscall(SYS_clock_gettime, id, ts);
    }
    ts->tv_sec = rk.clock_ns / NANOSECONDS_PER_SECOND;
    ts->tv_nsec = rk.clock_ns % NANOSECONDS_PER_SECOND;
    return 0;
}

/* --- the fate of a request --- */

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
    struct iovec single;
    int i, niov;
    const struct iovec *iov = iocb_vector(iocb, &single, &niov);

    for (i = 0; i < niov && n; i++) {
        size_t len = MIN(iov[i].iov_len, n);

        g_assert_cmpuint(pos + len, <=, sizeof(rk.disk));
        if (iocb_is_write(iocb)) {
            memcpy(rk.disk + pos, iov[i].iov_base, len);
        } else {
            memcpy(iov[i].iov_base, rk.disk + pos, len);
        }
        pos += len;
        n -= len;
    }
}

static size_t rk_size(struct iocb *iocb)
{
    struct iovec single;
    int niov;
    const struct iovec *iov = iocb_vector(iocb, &single, &niov);

    return iov_size(iov, niov);
}

/* L7: a submission is what is left of the request. */
static void rk_check_place(struct iocb *iocb)
{
    RKOracle *o = &rk.oracle[iocb->aio_fildes - RK_FD];
    uint64_t pos = iocb->u.v.offset;

    g_assert_cmpuint(pos, ==, o->offset + o->done);
    g_assert_cmpuint(pos + rk_size(iocb), ==, o->offset + o->size);
    g_assert_cmpint(iocb->aio_rw_flags, ==, o->rw_flags);
}

/* Direct I/O that does not begin at a sector: the rest of an odd cut. */
static bool rk_misaligned(struct iocb *iocb)
{
    return rk.direct && iocb->aio_lio_opcode != IO_CMD_FDSYNC &&
           iocb->u.v.offset % RK_SECTOR;
}

static size_t rk_how_much(size_t size)
{
    size_t n = size;

    if (rk_chance(RK_NOTHING)) {
        return 0;
    }
    if (n > 1 && rk_chance(RK_CUT)) {
        n = 1 + rk_below(n - 1);
        if (rk.direct && rk_below(8)) {
            n = MAX(QEMU_ALIGN_DOWN(n, RK_SECTOR), RK_SECTOR);
        }
    }
    return n;
}

/* L2: -EINTR is no result unless it comes again and again. */
static bool rk_interrupted(RKOracle *o)
{
    if (!o->eintr_left && rk_chance(RK_EINTR)) {
        o->eintr_left = 1 + rk_below(rk_below(4) ? 2 : 2 * LAIO_EINTR_MAX);
    }
    if (!o->eintr_left) {
        return false;
    }
    o->eintr_left--;
    if (o->interrupted++ == LAIO_EINTR_MAX) {
        rk_decide(o, -EINTR);
    }
    return true;
}

/* The fate of an accepted request, told to the oracle: its result. */
static long rk_transfer(struct iocb *iocb)
{
    static const int errors[] = { -EIO, -ENOSPC, -EAGAIN, -ECANCELED };
    RKOracle *o = &rk.oracle[iocb->aio_fildes - RK_FD];
    bool write = iocb_is_write(iocb);
    size_t n;

    if (rk_interrupted(o)) {
        return -EINTR;
    }
    if (rk_chance(RK_FAIL)) {
        rk_decide(o, errors[rk_below(ARRAY_SIZE(errors))]);
        return o->want;
    }
    if (iocb->aio_lio_opcode == IO_CMD_FDSYNC) {
        rk_decide(o, 0);
        return 0;
    }
    if (rk_misaligned(iocb)) {
        rk_decide(o, -EINVAL);
        return -EINVAL;
    }
    n = rk_how_much(rk_size(iocb));
    rk_copy(iocb, n);
    o->done += n;
    if (o->done == o->size) {
        rk_decide(o, 0);
    } else if (n == 0) {
        rk_decide(o, write ? -ENOSPC : 0);
    } else if (o->append) {
        rk_decide(o, -EIO);
    }
    return n;
}

/* --- the ring --- */

static void rk_signal(RKContext *c)
{
    uint64_t one = 1;

    g_assert_cmpint(write(c->signal_fd, &one, sizeof(one)), ==, sizeof(one));
}

/* Has a signal been sent, or will it be, that nobody has taken? */
static bool rk_signalled(RKContext *c)
{
    struct pollfd pfd = { .fd = c->signal_fd, .events = POLLIN };

    return c->late || (c->signal_fd >= 0 && poll(&pfd, 1, 0) == 1);
}

/* @now: within io_submit(), where the signal may stay out. */
static void rk_post(RKContext *c, struct iocb *iocb, bool now)
{
    unsigned next = c->ring.tail + 1 == c->ring.nr ? 0 : c->ring.tail + 1;
    long res = rk_transfer(iocb);

    g_assert_cmpuint(next, !=, c->ring.head);
    c->ring.events[c->ring.tail] = (struct io_event) {
        .obj = iocb, .res = res,
    };
    c->posted[c->n_posted++] = iocb;
    qatomic_store_release(&c->ring.tail, next);
    rk_trace("kernel: owner %d completes: %ld%s\n", iocb->aio_fildes, res,
             now ? ", at once" : "");
    if (!iocb_signals(iocb) || (now && rk_chance(RK_SILENT))) {
        return;
    }
    if (rk_chance(RK_LATE)) {
        c->late++;
    } else {
        rk_signal(c);
    }
}

/* Call when the engine delivers the event of @req, the iocb it submitted. */
static void rk_delivered(RKContext *c, const void *req)
{
    g_assert_cmpuint(c->n_posted, >, 0);
    /* L2, and in the order of the ring. */
    g_assert(c->posted[0] == req);
    c->n_posted--;
    memmove(c->posted, c->posted + 1, c->n_posted * sizeof(c->posted[0]));
    c->delivered++;
}

static void rk_context_tick(RKContext *c)
{
    unsigned n;

    for (; c->late; c->late--) {
        rk_signal(c);
    }
    for (n = c->n_held ? 1 + rk_below(c->n_held) : 0; n; n--) {
        unsigned i = rk_below(c->n_held);
        struct iocb *iocb = c->held[i];

        c->held[i] = c->held[--c->n_held];
        rk_post(c, iocb, false);
    }
}

/* Time goes by: signals arrive, and some held requests complete. */
static void rk_tick(void)
{
    int i;

    for (i = 0; i < RK_CONTEXTS; i++) {
        rk_context_tick(&rk.contexts[i]);
    }
}

static unsigned rk_room(RKContext *c)
{
    return c->ring.nr - 1 - c->n_posted - c->n_held;
}

/* --- the system calls --- */

int io_setup(int maxevents, io_context_t *ctxp)
{
    RKContext *c = rk.contexts;

    while (c->live) {
        c++;
        g_assert(c < rk.contexts + RK_CONTEXTS);
    }
    memset(c, 0, sizeof(*c));
    c->live = true;
    c->signal_fd = -1;
    c->ring.nr = rk.ring_size;
    c->ring.magic = 0xa10a10a1;
    c->ring.compat = 1;
    c->ring.header_length = 32;
    *ctxp = (io_context_t)&c->ring;
    return 0;
}

int io_destroy(io_context_t ctx)
{
    RKContext *c = (RKContext *)ctx;

    g_assert(c->live && !c->n_held && !c->n_posted);
    c->live = false;
    return 0;
}

/* L6: after -EAGAIN, a completion or some time must have come in between. */
static void rk_check_again(RKContext *c)
{
    if (c->waiting && c->delivered == c->waiting_delivered) {
        g_assert(!c->waiting_in_flight);
        g_assert_cmpint(rk.clock_ns - c->waiting_since, >=,
                        LAIO_RETRY_MIN_NS);
    }
    c->waiting = false;
}

/* What becomes of a call as a whole; 1: it is carried out. */
static int rk_call_error(RKContext *c)
{
    static const int errors[] = { -EAGAIN, 0 };

    if (!rk_chance(RK_AGAIN)) {
        c->again_left = 3;
        return 1;
    }
    if (c->again_left == 0) {
        return 1;
    }
    c->again_left--;
    return errors[rk_below(ARRAY_SIZE(errors))];
}

/* Why a request is refused for good. */
static int rk_refuse(struct iocb *iocb)
{
    static const int errors[] = { -EIO, -EBADF, -ENOMEM, -EINVAL };
    RKOracle *o = &rk.oracle[iocb->aio_fildes - RK_FD];

    rk_decide(o, errors[rk_below(ARRAY_SIZE(errors))]);
    return o->want;
}

static int rk_submit(RKContext *c, long nr, struct iocb *iocbs[])
{
    int error = rk_call_error(c);
    long i;

    if (error <= 0) {
        return error;
    }
    for (i = 0; i < nr; i++) {
        struct iocb *iocb = iocbs[i];
        bool bad = rk_misaligned(iocb) && rk_below(2);

        if (!rk_room(c)) {
            return i ? i : -EAGAIN;
        }
        if (i && rk_chance(RK_PARTIAL)) {
            return i;
        }
        if (bad || rk_chance(RK_REFUSE)) {
            if (i) {
                return i;
            }
            if (bad) {
                rk_decide(&rk.oracle[iocb->aio_fildes - RK_FD], -EINVAL);
            }
            return bad ? -EINVAL : rk_refuse(iocb);
        }
        if (iocb->aio_lio_opcode != IO_CMD_FDSYNC) {
            rk_check_place(iocb);
        }
        c->signal_fd = iocb->u.c.resfd;
        c->accepted++;
        if (c->n_held < RK_HELD_MAX && rk_chance(RK_HOLD)) {
            c->held[c->n_held++] = iocb;
            if (rk_chance(RK_EARLY)) {
                rk_signal(c);           /* for nothing */
            }
        } else {
            rk.clock_ns += rk.request_ns;
            *rk.used_ns += rk.request_ns;
            rk_post(c, iocb, true);
        }
    }
    return nr;
}

int io_submit(io_context_t ctx, long nr, struct iocb *iocbs[])
{
    RKContext *c = (RKContext *)ctx;
    int ret;

    g_assert(c->live);
    g_assert_cmpint(nr, >, 0);
    rk_check_again(c);
    rk.calls++;
    ret = rk_submit(c, nr, iocbs);
    rk_trace("kernel: io_submit of %ld: %d\n", nr, ret);
    if (ret == 0 || ret == -EAGAIN) {
        c->waiting = true;
        c->waiting_in_flight = c->accepted != c->delivered;
        c->waiting_delivered = c->delivered;
        c->waiting_since = rk.clock_ns;
    }
    return ret;
}

/* L9: the ring is read in user space. */
int io_getevents(io_context_t ctx, long min_nr, long nr,
                 struct io_event *events, struct timespec *timeout)
{
    g_assert_not_reached();
}

#endif
