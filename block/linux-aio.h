/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux AIO engine: what its tests, and its observers, need to know.
 *
 * Everybody else uses block/raw-aio.h.
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

/* L8: completions that an engine delivers per event loop dispatch. */
#define LAIO_BUDGET 1024

/* L6: first and longest delay before -EAGAIN is tried again, in ns. */
#define LAIO_RETRY_MIN_NS 100000LL
#define LAIO_RETRY_MAX_NS 10000000LL

/* -EINTR is tried again at once, this many times in a row. */
#define LAIO_EINTR_MAX 16

/*
 * The life of a request.  Only laio_set_state() moves it.
 *
 *   PENDING ---> IN_FLIGHT ---> DONE
 *      |  ^          |
 *      |  +--- TAIL -+          a short transfer: the rest goes again
 *      +-----> REJECTED -----> DONE
 */
typedef enum LaioState {
    LAIO_PENDING,               /* on io_q.pending */
    LAIO_IN_FLIGHT,             /* accepted by the kernel */
    LAIO_REJECTED,              /* on s->rejected: refused, not yet told */
    LAIO_DONE,                  /* its coroutine has been, or is, woken */
} LaioState;

/*
 * Called by the engine in the home thread; must not call it.  For tests and
 * tracing.  Each is optional.
 */
typedef struct LaioObserver {
    /* io_submit(2) was called with @nr requests and returned @ret. */
    void (*submit)(LinuxAioState *s, int nr, int ret, unsigned depth);
    /* Request @req of QEMU_AIO_* @type is now in @state; @ret if DONE. */
    void (*request)(LinuxAioState *s, const void *req, int type,
                    LaioState state, ssize_t ret);
    /* A pass has delivered @events completions. */
    void (*reap)(LinuxAioState *s, unsigned events);
    /* -EAGAIN with nothing in flight: next attempt in @delay_ns. */
    void (*retry)(LinuxAioState *s, int64_t delay_ns);
} LaioObserver;

/* Set before any engine is used; NULL for none. */
extern const LaioObserver *laio_observer;

/* What L3 promises on return to the event loop; for tests. */
typedef struct LaioInfo {
    unsigned pending;
    unsigned in_flight;
    bool rejected;
    bool blocked;               /* pending waits for a completion or timer */
    bool bh_scheduled;
    bool retry_armed;
    bool ring_empty;
} LaioInfo;
void laio_get_info(LinuxAioState *s, LaioInfo *info);

#endif
