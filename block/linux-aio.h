/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux AIO engine: its bounds, and what its tests may ask.  Its users include
 * block/raw-aio.h.
 */
#ifndef BLOCK_LINUX_AIO_H
#define BLOCK_LINUX_AIO_H

/* Requests that the kernel holds for one engine at a time. */
#define LAIO_MAX_EVENTS 1024

/* Requests per io_submit(2) unless aio-max-batch says otherwise. */
#define LAIO_DEFAULT_MAX_BATCH 32

/*
 * L1: how many ioq_submit() calls of one thread may be active at a time.  The
 * last one submits but does not reap.
 */
#define IOQ_SUBMIT_MAX_DEPTH 2

/*
 * L8: what a dispatch of an engine may use before other handlers, timers and
 * descriptors have their turn: completions; and, once io_submit(2) completes
 * requests itself, time in ns.  It ends with the io_submit(2) in which the
 * time runs out.
 */
#define LAIO_BUDGET 1024
#define LAIO_BUDGET_NS 1000000LL

/*
 * L8: after that long, in ns, an engine that has used up its budget goes on
 * even if the event loop has not looked at descriptors.
 */
#define LAIO_YIELD_NS 100000LL

/* L6: first and longest delay before -EAGAIN is tried again, in ns. */
#define LAIO_RETRY_MIN_NS 100000LL
#define LAIO_RETRY_MAX_NS 10000000LL
/* A warning is given after that many in a row, about a second. */
#define LAIO_RETRIES_TO_WARN 100

/*
 * L3: after that many io_submit(2) in a row that have completed all that they
 * were given, requests need not signal (block/linux-aio-quiet.h).  Each time
 * the kernel then keeps one all the same it is four times as many, at most
 * LAIO_QUIET_MAX.
 */
#define LAIO_QUIET_CALLS 64
#define LAIO_QUIET_MAX 65536

/* L3: first and longest delay before the engine looks for such a one, in ns. */
#define LAIO_LOOK_MIN_NS 50000LL
#define LAIO_LOOK_MAX_NS 10000000LL

/* A request whose result is -EINTR is submitted again that many times. */
#define LAIO_EINTR_MAX 16

/*
 * The life of a request.  Only laio_set_state() moves it.
 *
 *   PENDING ---> IN_FLIGHT ---> DONE
 *    ^ |  ^          |
 *    | |  +----------+          a short transfer, or -EINTR: goes again
 *    | +-----> REJECTED -----> DONE
 *    +------------+
 */
typedef enum LaioState {
    LAIO_PENDING,               /* on io_q.pending */
    LAIO_IN_FLIGHT,             /* accepted by the kernel */
    LAIO_REJECTED,              /* on s->rejected: refused, not yet told */
    LAIO_DONE,                  /* its coroutine has been, or is, woken */
} LaioState;

/* The state on return to the event loop (L3); for tests. */
typedef struct LaioInfo {
    unsigned pending;
    unsigned in_flight;
    bool rejected;
    bool blocked;               /* pending waits for a completion or timer */
    bool bh_scheduled;
    bool yielded;               /* eventfd signalled, and a timer armed */
    bool retry_armed;
    int64_t retry_delay_ns;     /* the next one; 0 after a success */
    unsigned quiet;             /* in the kernel, and will not signal */
    bool look_armed;            /* a timer that looks for them */
    bool ring_empty;
} LaioInfo;
void laio_get_info(LinuxAioState *s, LaioInfo *info);

#endif
