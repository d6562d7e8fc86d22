/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * io_uring engine: its bounds, and what its tests may ask.  Its users include
 * block/raw-aio.h.
 */
#ifndef BLOCK_IO_URING_H
#define BLOCK_IO_URING_H

/* Requests that the kernel holds for one engine at a time. */
#define LURING_MAX_EVENTS 1024
/* Entries of the submission queue: requests of one io_uring_enter(2). */
#define LURING_SQ_ENTRIES 128
/* Requests that wait for the end of a section, unless aio-max-batch says. */
#define LURING_DEFAULT_MAX_BATCH 32

/* So many batches in a row are left to the event loop, less one. */
#define LURING_LEFT_MAX 64

/*
 * L1: how many luring_submit() calls of one thread may be active at a time.
 * The last one submits but does not reap.
 */
#define LURING_SUBMIT_MAX_DEPTH 2

/*
 * L8: what a dispatch may use before other handlers, timers and descriptors
 * have their turn: completions; and, once the kernel completes requests within
 * the call, time in ns, and bytes of one call.
 */
#define LURING_BUDGET 1024
#define LURING_BUDGET_NS 1000000LL
#define LURING_SYNC_BYTES (4 * MiB)

/* L6: first and longest delay before -EAGAIN is tried again, in ns. */
#define LURING_RETRY_MIN_NS 100000LL
#define LURING_RETRY_MAX_NS 10000000LL
/* A warning is given after that many in a row, about a second. */
#define LURING_RETRIES_TO_WARN 100
/* A request whose result is -EINTR is submitted again that many times. */
#define LURING_EINTR_MAX 16

/* The state on return to the event loop (L3); for tests. */
typedef struct LuringInfo {
    unsigned pending;           /* with those in the submission queue */
    unsigned in_flight;
    bool blocked;               /* pending waits for a completion or timer */
    bool bh_scheduled;
    bool retry_armed;
    bool ring_empty;
    bool offered;               /* the next aio_poll() asks the engine */
    bool left;                  /* the SQ is left to the next aio_poll() */
    unsigned depth;             /* active luring_submit() of this thread */
} LuringInfo;
void luring_get_info(LuringState *s, LuringInfo *info);

/*
 * An engine on the ring of its context's fd monitor, which lives longer than
 * the engine: see qemu/aio-uring.h.
 */
struct io_uring;
LuringState *luring_init_shared(struct io_uring *ring);

/* A ring with as much of what helps as the kernel has; 0 or -errno. */
int luring_init_ring(struct io_uring *ring);
/* io_uring_setup(2) has failed with errno @error: set @errp.  Any thread. */
void luring_explain_setup(int error, Error **errp);

#endif
