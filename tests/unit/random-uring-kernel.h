/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A kernel with io_uring whose behaviour a seed decides.  Its functions take
 * the place of liburing's; those that liburing.h has inline work on its rings.
 *
 * It may refuse calls (EINTR, EAGAIN, EBUSY), take a part of what it is given,
 * complete a request within the call, later, or only when it is called again
 * (as with task work), transfer a part of it, or fail it; time may pass in each
 * of them.  The ring is the engine's own, or the fd monitor's, which the engine
 * shares: then it also polls descriptors, and waits.  It may refuse fixed
 * buffers, and knows which memory was given back since it got one.
 */
#ifndef RANDOM_URING_KERNEL_H
#define RANDOM_URING_KERNEL_H

#include "prng.h"

#include <liburing.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#define UK_OWNERS 12
#define UK_REGION 512           /* bytes of the disk for each of them */
#define UK_FD 1000              /* of the first owner's file */
#define UK_MAX_LATE (LURING_MAX_EVENTS + LURING_SQ_ENTRIES)
/* The ring of the fd monitor. */
#define UK_SHARED_SQ 256
#define UK_SHARED_CQ 4096
#define UK_MAX_POLLS 16
/* A large request: so many times the region of its owner, and no data. */
#define UK_LARGE_NIOV 4096
#define UK_LARGE_BYTES (UK_LARGE_NIOV * UK_REGION)

enum {
    UK_SYNC, UK_LATER, UK_TASKRUN, UK_SHORT, UK_FAIL, UK_AGAIN, UK_INTR,
    UK_REFUSE, UK_PARTIAL, UK_SLOW, UK_NEST, UK_STRICT, UK_SHARED, UK_FIXED,
    UK_FEATURES,
};

static const char *const uk_features[] = {
    "sync", "later", "taskrun", "short", "fail", "again", "intr", "refuse",
    "partial", "slow", "nest", "strict", "shared", "fixed",
};

/* What the request of an owner must end with. */
typedef struct UKOracle {
    bool decided;
    int want;                   /* 0 or -errno */
    uint64_t offset;            /* of the whole request */
    size_t size, done;
    unsigned eintr;             /* in a row at the end of its life */
} UKOracle;

/* A fixed buffer, and what it is of: an owner's memory as it was then. */
typedef struct UKFixed {
    uintptr_t start;            /* 0: none */
    size_t size;
    unsigned life;
} UKFixed;

static struct {
    uint64_t prng;
    uint64_t fixed_prng;        /* of its own: the others stay as they were */
    uint32_t without;
    bool trace;
    unsigned odds[UK_FEATURES];
    int64_t clock_ns;
    bool live;                  /* a ring is set up */
    bool shared;                /* and is the fd monitor's */
    unsigned sq_entries, cq_entries;
    bool large;                 /* all requests are */
    bool had_sync;              /* a call has completed requests itself */
    unsigned khead, sq_ktail, kflags, cq_khead, cq_ktail;
    unsigned array[UK_SHARED_SQ];
    struct io_uring_sqe sqes[UK_SHARED_SQ];
    struct io_uring_cqe cqes[UK_SHARED_CQ];
    struct io_uring_sqe polls[UK_MAX_POLLS];
    unsigned nb_polls;
    int64_t waited_ns;          /* within calls, as the process wanted */
    int ring_fd;
    bool readable;              /* what ring_fd is */
    struct io_uring *ring;
    struct io_uring_sqe late[UK_MAX_LATE];
    bool taskrun[UK_MAX_LATE];  /* is complete, but nobody was told */
    unsigned nb_late;
    unsigned meanwhile;         /* so many of them complete during a call */
    unsigned calls, largest;    /* of requests, what one call was given */
    unsigned refused_in_a_row;
    int64_t refused_ns;         /* when the last call was refused, idle */
    int64_t again_ns;           /* when a request was; 0: others done since */
    uintptr_t stack_low, stack_high;    /* of calls outside of coroutines */
    bool has_table;
    bool refuse_table, refuse_fixed;    /* always */
    UKFixed fixed[AIO_BUFS_MAX];
    unsigned nb_fixed;          /* requests from them */
    unsigned lives[UK_OWNERS];  /* the memory was given back so many times */
    uint8_t disk[UK_OWNERS * UK_REGION];
    UKOracle oracle[UK_OWNERS];
} uk;

/* Whose memory @p is. */
static unsigned uk_owner_of(const void *p);

/* In front of the C library's: only this clock runs. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
    if (id != CLOCK_MONOTONIC || !uk.clock_ns) {
        return syscall(SYS_clock_gettime, id, ts);
    }
    ts->tv_sec = uk.clock_ns / NANOSECONDS_PER_SECOND;
    ts->tv_nsec = uk.clock_ns % NANOSECONDS_PER_SECOND;
    return 0;
}

static uint32_t uk_random(void)
{
    return prng_next(&uk.prng);
}

static unsigned uk_below(unsigned n)
{
    return prng_below(&uk.prng, n);
}

static bool uk_chance(int feature)
{
    return uk_below(256) < uk.odds[feature];
}

static void uk_reset(uint64_t seed)
{
    size_t i;

    uk.prng = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
    for (i = 0; i < 8; i++) {
        uk_random();
    }
    for (i = 0; i < UK_FIXED; i++) {
        unsigned odds = uk_below(3) ? 0 : 1 + uk_below(60);

        uk.odds[i] = uk.without & (1u << i) ? 0 : odds;
    }
    uk.odds[UK_SYNC] = uk.without & 1 ? 0 : (unsigned[]) {
        0, 255, 128 }[uk_below(3)];
    if (uk.odds[UK_INTR] && uk_below(8) == 0) {
        uk.odds[UK_INTR] = 250;
    }
    uk.shared = uk.odds[UK_SHARED];
    uk.fixed_prng = ~uk.prng | 1;
    uk.odds[UK_FIXED] = uk.without & (1u << UK_FIXED) ||
                        prng_below(&uk.fixed_prng, 2) ? 0 : 128;
    uk.refuse_table = prng_below(&uk.fixed_prng, 4) == 0;
    uk.refuse_fixed = false;
    uk.large = uk.had_sync = false;
    uk.clock_ns = NANOSECONDS_PER_SECOND;
    uk.waited_ns = 0;
    uk.calls = uk.meanwhile = uk.refused_in_a_row = 0;
    uk.refused_ns = uk.again_ns = 0;
    uk.stack_low = UINTPTR_MAX;
    uk.stack_high = 0;
    for (i = 0; i < sizeof(uk.disk); i++) {
        uk.disk[i] = (uint32_t)(i + seed) * 2654435761U >> 24;
    }
}

/* A disk that does as it is told, later. */
static void uk_asynchronous(void)
{
    memset(uk.odds, 0, sizeof(uk.odds));
    uk.shared = false;
}

/* Requests that complete within the call, all but the first ones. */
static void uk_storm(void)
{
    memset(uk.odds, 0, sizeof(uk.odds));
    uk.odds[UK_SLOW] = uk_below(2) ? 256 : 0;
    uk.large = uk_below(2);
}

static void uk_storm_begins(void)
{
    uk.odds[UK_SYNC] = 256;
}

/* The descriptor is what a ring's is: readable while there are completions. */
static void uk_sync_fd(void)
{
    uint64_t value = 1;
    bool want = uk.cq_ktail != uk.cq_khead;

    if (want && !uk.readable) {
        g_assert_cmpint(write(uk.ring_fd, &value, 8), ==, 8);
    } else if (!want && uk.readable) {
        g_assert_cmpint(read(uk.ring_fd, &value, 8), ==, 8);
    }
    uk.readable = want;
}

/* --- polls of the fd monitor --- */

static void uk_post(uint64_t user_data, int res)
{
    struct io_uring_cqe *cqe = &uk.cqes[uk.cq_ktail % uk.cq_entries];

    g_assert_cmpuint(uk.cq_ktail - uk.cq_khead, <, uk.cq_entries);
    cqe->user_data = user_data;
    cqe->res = res;
    uk.cq_ktail++;
}

/* Completions of requests that are on the ring. */
static unsigned uk_completed(void)
{
    unsigned i, n = 0;

    for (i = uk.cq_khead; i != uk.cq_ktail; i++) {
        n += !(uk.cqes[i % uk.cq_entries].user_data & 1);
    }
    return n;
}

/* The descriptors that are ready; @post: tell them, as a call does. */
static bool uk_run_polls(bool post)
{
    bool found = false;
    unsigned i = 0;

    while (i < uk.nb_polls) {
        struct pollfd pfd = {
            .fd = uk.polls[i].fd, .events = uk.polls[i].poll32_events,
        };

        if (poll(&pfd, 1, 0) > 0) {
            found = true;
            if (post) {
                uk_post(uk.polls[i].user_data, pfd.revents);
                uk.polls[i] = uk.polls[--uk.nb_polls];
                continue;
            }
        }
        i++;
    }
    return found;
}

static void uk_cancel_poll(const struct io_uring_sqe *sqe)
{
    int res = -ENOENT;
    unsigned i;

    for (i = 0; i < uk.nb_polls; i++) {
        if (uk.polls[i].user_data == sqe->addr) {
            uk_post(sqe->addr, -ECANCELED);
            uk.polls[i] = uk.polls[--uk.nb_polls];
            res = 0;
            break;
        }
    }
    uk_post(sqe->user_data, res);
}

/* True if @sqe is the monitor's. */
static bool uk_take_monitors(const struct io_uring_sqe *sqe)
{
    if (sqe->opcode == IORING_OP_POLL_ADD) {
        g_assert(uk.shared && uk.nb_polls < UK_MAX_POLLS);
        uk.polls[uk.nb_polls++] = *sqe;
    } else if (sqe->opcode == IORING_OP_POLL_REMOVE) {
        g_assert(uk.shared);
        uk_cancel_poll(sqe);
    } else {
        return false;
    }
    return true;
}

/* --- fixed buffers --- */

static bool uk_fixed_chance(void)
{
    return prng_below(&uk.fixed_prng, 256) < uk.odds[UK_FIXED];
}

int io_uring_register_buffers_sparse(struct io_uring *ring, unsigned nr)
{
    g_assert(uk.live && ring == uk.ring && !uk.has_table);
    g_assert_cmpuint(nr, ==, AIO_BUFS_MAX);
    if (uk.refuse_table) {
        return -EINVAL;         /* an older kernel */
    }
    uk.has_table = true;
    return 0;
}

int io_uring_register_buffers_update_tag(struct io_uring *ring, unsigned off,
                                         const struct iovec *iov,
                                         const __u64 *tags, unsigned nr)
{
    UKFixed *f = &uk.fixed[off];
    unsigned id;

    g_assert(uk.live && ring == uk.ring && uk.has_table && nr == 1);
    g_assert_cmpuint(off, <, AIO_BUFS_MAX);
    g_assert_cmpuint(tags[0], ==, 0);
    *f = (UKFixed) { 0 };
    if (!iov->iov_base) {
        return 1;
    }
    if (uk.refuse_fixed || (uk.odds[UK_FIXED] &&
                            prng_below(&uk.fixed_prng, 8) == 0)) {
        return -ENOMEM;
    }
    id = uk_owner_of(iov->iov_base);
    *f = (UKFixed) {
        .start = (uintptr_t)iov->iov_base, .size = iov->iov_len,
        .life = uk.lives[id],
    };
    return 1;
}

/* The kernel would use the pages of then, whatever has the address now. */
static void uk_check_fixed(const struct io_uring_sqe *sqe)
{
    UKFixed *f = &uk.fixed[sqe->buf_index];

    g_assert_cmpuint(sqe->buf_index, <, AIO_BUFS_MAX);
    g_assert(f->start && sqe->addr >= f->start &&
             sqe->addr + sqe->len <= f->start + f->size);
    g_assert_cmpuint(f->life, ==, uk.lives[uk_owner_of((void *)f->start)]);
    uk.nb_fixed++;
}

/* --- one request --- */

static bool uk_is_read(const struct io_uring_sqe *sqe)
{
    return sqe->opcode == IORING_OP_READV || sqe->opcode == IORING_OP_READ ||
           sqe->opcode == IORING_OP_READ_FIXED;
}

static UKOracle *uk_oracle(const struct io_uring_sqe *sqe)
{
    g_assert_cmpint(sqe->fd, >=, UK_FD);
    g_assert_cmpint(sqe->fd, <, UK_FD + UK_OWNERS);
    return &uk.oracle[sqe->fd - UK_FD];
}

/* Read or write up to @max bytes as @sqe says; how many there were. */
static size_t uk_copy(const struct io_uring_sqe *sqe, size_t max)
{
    struct iovec one = {
        .iov_base = (void *)(uintptr_t)sqe->addr, .iov_len = sqe->len,
    };
    bool vector = sqe->opcode == IORING_OP_READV ||
                  sqe->opcode == IORING_OP_WRITEV;
    struct iovec *iov = vector ? (void *)(uintptr_t)sqe->addr : &one;
    unsigned niov = vector ? sqe->len : 1;
    size_t bytes = MIN(max, iov_size(iov, niov));

    if (sqe->opcode == IORING_OP_READ_FIXED ||
        sqe->opcode == IORING_OP_WRITE_FIXED) {
        uk_check_fixed(sqe);
    }
    g_assert_cmpuint(sqe->off + iov_size(iov, niov), <=, sizeof(uk.disk));
    if (uk_is_read(sqe)) {
        iov_from_buf(iov, niov, 0, uk.disk + sqe->off, bytes);
    } else {
        iov_to_buf(iov, niov, 0, uk.disk + sqe->off, bytes);
    }
    return bytes;
}

static void uk_decide(UKOracle *o, int want)
{
    g_assert(!o->decided);
    o->decided = true;
    o->want = want;
}

/* The result of @sqe; the oracle learns what its request must end with. */
static int uk_execute(const struct io_uring_sqe *sqe)
{
    UKOracle *o = uk_oracle(sqe);
    size_t left = o->size - o->done, n;

    if (uk.large) {
        g_assert_cmpuint(left, ==, UK_LARGE_BYTES);
        return UK_LARGE_BYTES;
    }
    if (uk_chance(UK_INTR)) {
        if (++o->eintr > LURING_EINTR_MAX) {
            uk_decide(o, -EINTR);
        }
        return -EINTR;
    }
    if (uk_chance(UK_AGAIN)) {
        return -EAGAIN;
    }
    if (uk_chance(UK_FAIL)) {
        uk_decide(o, -EIO);
        return -EIO;
    }
    if (sqe->opcode == IORING_OP_FSYNC) {
        uk_decide(o, 0);
        return 0;
    }
    g_assert_cmpuint(sqe->off, ==, o->offset + o->done);
    n = uk_chance(UK_SHORT) ? uk_below(left) : left;
    n = uk_copy(sqe, n);
    o->done += n;
    if (n == 0) {
        /* The end of the file, or a full disk. */
        uk_decide(o, uk_is_read(sqe) ? 0 : -ENOSPC);
    } else if (o->done == o->size) {
        uk_decide(o, 0);
    }
    return n;
}

static void uk_complete(const struct io_uring_sqe *sqe)
{
    int res = uk_execute(sqe);

    uk.again_ns = res == -EAGAIN ? uk.clock_ns : 0;
    if (uk_chance(UK_SLOW)) {
        uk.clock_ns += 2000000;
    }
    uk_post(sqe->user_data, res);
    uk.refused_in_a_row = 0;
}

static void uk_complete_late(unsigned i)
{
    struct io_uring_sqe sqe = uk.late[i];

    uk.nb_late--;
    uk.late[i] = uk.late[uk.nb_late];
    uk.taskrun[i] = uk.taskrun[uk.nb_late];
    uk_complete(&sqe);
}

static void uk_complete_some(unsigned n)
{
    while (n-- && uk.nb_late) {
        uk_complete_late(0);
    }
}

/* The kernel completes what it held back until the process calls. */
static void uk_run_tasks(void)
{
    unsigned i = 0;

    uk.kflags &= ~IORING_SQ_TASKRUN;
    while (i < uk.nb_late) {
        if (uk.taskrun[i]) {
            uk_complete_late(i);
        } else {
            i++;
        }
    }
    uk_run_polls(true);
}

/*
 * Time passes: some of what is in flight completes.  The process has waited,
 * perhaps, in a system call, which runs the tasks.
 */
static void uk_tick(void)
{
    unsigned n = uk_below(uk.nb_late + 1);

    if (uk_below(2)) {
        uk_run_tasks();
    }
    while (n-- && uk.nb_late) {
        unsigned i = uk_below(uk.nb_late);

        if (uk_chance(UK_TASKRUN)) {
            uk.taskrun[i] = true;
            uk.kflags |= IORING_SQ_TASKRUN;
        } else if (!uk.taskrun[i]) {
            uk_complete_late(i);
        }
    }
    if (uk_run_polls(false)) {
        uk.kflags |= IORING_SQ_TASKRUN;
    }
    uk_sync_fd();
}

/* --- in front of liburing's --- */

int io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
                               struct io_uring_params *p)
{
    g_assert(!uk.live);
    uk.sq_entries = uk.shared ? UK_SHARED_SQ : LURING_SQ_ENTRIES;
    uk.cq_entries = uk.shared ? UK_SHARED_CQ : LURING_MAX_EVENTS;
    g_assert_cmpuint(entries, ==, uk.sq_entries);
    g_assert(!!(p->flags & IORING_SETUP_DEFER_TASKRUN) == uk.shared);
    if (!uk.shared && p->flags & IORING_SETUP_SINGLE_ISSUER && uk_below(2)) {
        return -EINVAL;         /* an older kernel */
    }
    g_assert_cmpuint(p->cq_entries, ==, uk.cq_entries);
    memset(ring, 0, sizeof(*ring));
    uk.khead = uk.sq_ktail = uk.kflags = uk.cq_khead = uk.cq_ktail = 0;
    uk.nb_late = uk.nb_polls = uk.nb_fixed = 0;
    uk.has_table = false;
    memset(uk.fixed, 0, sizeof(uk.fixed));
    uk.ring_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    uk.readable = false;
    uk.live = true;
    uk.ring = ring;
    ring->sq.khead = &uk.khead;
    ring->sq.ktail = &uk.sq_ktail;
    ring->sq.kflags = &uk.kflags;
    ring->sq.sqes = uk.sqes;
    ring->sq.array = uk.array;
    ring->sq.ring_entries = uk.sq_entries;
    ring->sq.ring_mask = uk.sq_entries - 1;
    ring->cq.khead = &uk.cq_khead;
    ring->cq.ktail = &uk.cq_ktail;
    ring->cq.cqes = uk.cqes;
    ring->cq.ring_entries = uk.cq_entries;
    ring->cq.ring_mask = uk.cq_entries - 1;
    ring->ring_fd = uk.ring_fd;
    ring->features = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP |
                     (uk_below(2) ? IORING_FEAT_RW_CUR_POS : 0);
    return 0;
}

void io_uring_queue_exit(struct io_uring *ring)
{
    g_assert(uk.live && ring == uk.ring && !uk.nb_late);
    uk.nb_polls = 0;
    close(uk.ring_fd);
    uk.live = false;
}

static void uk_note_stack(void)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);

    if (!qemu_in_coroutine()) {
        uk.stack_low = MIN(uk.stack_low, here);
        uk.stack_high = MAX(uk.stack_high, here);
    }
}

/* How many of the next @count entries are not the monitor's. */
static unsigned uk_requests(unsigned count)
{
    unsigned i, n = 0;

    for (i = uk.khead; i != uk.khead + count; i++) {
        n += !(uk.sqes[i % uk.sq_entries].user_data & 1);
    }
    return n;
}

/* A call is refused; with nothing in flight not at once again (L6). */
static int uk_refuse(unsigned requests)
{
    static const int errors[] = { -EAGAIN, -EBUSY, -EINTR };
    int error = errors[uk_below(ARRAY_SIZE(errors))];

    if (error != -EINTR) {
        if (!uk.nb_late && !uk_completed() && requests) {
            g_assert(uk.clock_ns - uk.refused_ns >= LURING_RETRY_MIN_NS);
            uk.refused_ns = uk.clock_ns;
        }
        uk.refused_in_a_row++;
    }
    return error;
}

/*
 * L8: once requests have been completed within a call, one call gets what takes
 * a bounded time.
 */
static void uk_check_bytes(unsigned count)
{
    if (uk.large && uk.had_sync && count) {
        g_assert_cmpuint((count - 1) * (uint64_t)UK_LARGE_BYTES, <,
                         LURING_SYNC_BYTES);
    }
}

/* The kernel is given @count entries. */
static int uk_submit(unsigned count)
{
    unsigned i;

    g_assert_cmpuint(count, >, 0);
    g_assert_cmpuint(count, <=, uk.sq_entries);
    uk_note_stack();
    uk_check_bytes(uk_requests(count));
    uk.calls++;
    uk.largest = MAX(uk.largest, uk_requests(count));
    if (uk.again_ns && !uk.nb_late && !uk_completed() &&
        uk_requests(count)) {
        g_assert(uk.clock_ns - uk.again_ns >= LURING_RETRY_MIN_NS);     /* L6 */
    }
    uk_run_tasks();
    uk_complete_some(uk.meanwhile);     /* another processor is told */
    if (uk_chance(UK_REFUSE)) {
        return uk_refuse(uk_requests(count));
    }
    if (uk_chance(UK_PARTIAL)) {
        count = 1 + uk_below(count);
    }
    for (i = 0; i < count; i++) {
        struct io_uring_sqe *sqe = &uk.sqes[uk.khead++ % uk.sq_entries];

        if (uk_take_monitors(sqe)) {
            continue;
        }
        if (uk_chance(UK_SYNC)) {
            uk.had_sync = true;
            uk_complete(sqe);
        } else {
            g_assert_cmpuint(uk.nb_late, <, LURING_MAX_EVENTS);
            uk.taskrun[uk.nb_late] = false;
            uk.late[uk.nb_late++] = *sqe;
        }
    }
    uk_sync_fd();
    return count;
}

int io_uring_submit(struct io_uring *ring)
{
    g_assert(uk.live && ring == uk.ring);
    return uk_submit(ring->sq.sqe_tail - uk.khead);
}

/*
 * Wait for a completion until @end (0: for ever).  Where none will ever come
 * the process hangs.
 */
static int uk_wait(int64_t end)
{
    while (uk.cq_khead == uk.cq_ktail) {
        int64_t step = uk.nb_late ? 1 + uk_below(300000) : end - uk.clock_ns;

        g_assert(uk.nb_late || end);
        if (end && uk.clock_ns + step >= end) {
            uk.waited_ns += end - uk.clock_ns;
            uk.clock_ns = end;
            return -ETIME;
        }
        uk.waited_ns += step;
        uk.clock_ns += step;
        uk_tick();
        uk_run_tasks();
    }
    return 0;
}

/* Submits and waits, for the fd monitor. */
int io_uring_enter2(unsigned fd, unsigned to_submit, unsigned min_complete,
                    unsigned flags, sigset_t *sig, size_t sz)
{
    struct io_uring_getevents_arg *arg = (void *)sig;
    struct __kernel_timespec *ts = (void *)(uintptr_t)arg->ts;
    int ret = 0, wait_ret = 0;
    int64_t end = 0;

    g_assert(uk.live && uk.shared && (int)fd == uk.ring_fd);
    g_assert(flags & IORING_ENTER_GETEVENTS && flags & IORING_ENTER_EXT_ARG);
    if (to_submit) {
        g_assert_cmpuint(to_submit, ==, uk.sq_ktail - uk.khead);
        ret = uk_submit(to_submit);
        if (ret != (int)to_submit) {
            return ret;
        }
    }
    uk_run_tasks();
    if (min_complete) {
        if (ts) {
            end = uk.clock_ns + ts->tv_sec * NANOSECONDS_PER_SECOND +
                  ts->tv_nsec;
        }
        wait_ret = uk_wait(end);
    }
    uk_sync_fd();
    return ret ? ret : wait_ret;
}

int io_uring_get_events(struct io_uring *ring)
{
    g_assert(uk.live && ring == uk.ring);
    uk_run_tasks();
    uk_sync_fd();
    return 0;
}

#endif
