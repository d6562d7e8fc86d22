/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * AioContext: an event loop.
 *
 * It has file descriptor handlers, event notifiers, bottom halves (BHs) and
 * timers, and is run by its home thread: by aio_poll() in a loop of its own
 * (an IOThread, a program), or as a GSource of a GLib main loop.  Callbacks run
 * in the home thread, outside coroutines.  Functions marked "any thread" may
 * be called from elsewhere; everything else belongs to the home thread.
 */
#ifndef QEMU_AIO_H
#define QEMU_AIO_H

#include "qemu/aio-awake.h"
#include "qemu/event_notifier.h"
#include "qemu/notify.h"
#include "qemu/queue.h"
#include "qemu/thread.h"
#include "qemu/timer.h"

typedef void BlockCompletionFunc(void *opaque, int ret);
typedef void QEMUBHFunc(void *opaque);
typedef void IOHandler(void *opaque);
typedef bool AioPollFn(void *opaque);

typedef struct AIOCBInfo {
    /* Ask for an early end; the completion callback still comes.  Optional. */
    void (*cancel_async)(BlockAIOCB *acb);
    size_t aiocb_size;
} AIOCBInfo;

struct BlockAIOCB {
    const AIOCBInfo *aiocb_info;
    BlockCompletionFunc *cb;
    void *opaque;
};

/*
 * Allocate a request (from a per-thread pool) whose first member is
 * BlockAIOCB.  Completion calls cb and gives it back with qemu_aio_unref().
 */
void *qemu_aio_get(const AIOCBInfo *aiocb_info, BlockCompletionFunc *cb,
                   void *opaque);
void qemu_aio_unref(void *p);

typedef struct AioHandler AioHandler;
typedef struct FDMonOps FDMonOps;
typedef QLIST_HEAD(, AioHandler) AioHandlerList;
typedef QSLIST_HEAD(, QEMUBH) BHList;

typedef struct BHListSlice {
    QEMUBH *first;              /* FIFO of BHs that this slice still runs */
    struct BHListSlice *next;
} BHListSlice;

typedef QSLIST_HEAD(, Coroutine) CoScheduledList;

/* Why a context has no engine; all zero bytes: none was refused. */
typedef struct AioEngineRefusal {
    Error *error;
    int64_t retry_ns;           /* not asked for again before */
} AioEngineRefusal;

struct AioContext {
    GSource source;

    /*
     * fd handlers.  Changes are under list_lock; the home thread walks the list
     * without, and frees what was deleted once it walks it no more.
     */
    QemuRecMutex list_lock;
    AioHandlerList aio_handlers;
    unsigned walking;           /* aio_poll() frames; home thread only */
    bool deleted_handlers;      /* atomic: something to free */
    AioHandlerList spare_handlers;  /* to be used again; under list_lock */
    unsigned n_spare_handlers;      /* the same */
    unsigned n_fds;             /* atomic */
    unsigned handlers_gen;      /* grows with every change; see fdmon-ppoll */
    unsigned n_poll_handlers;   /* atomic: those with an io_poll callback */
    unsigned n_plain_fds;       /* atomic: those of n_fds without one */
    const FDMonOps *fdmon_ops;
    void *fdmon_opaque;
    int epollfd;                /* -1 when epoll is not in use */
    bool epoll_failed;          /* atomic: no epoll any more */
    bool use_g_source;          /* under list_lock: handlers have a g_tag */
    /* what the first iteration goes over to; by AIO_FD_MONITOR, for tests */
    enum {
        AIO_FDMON_AUTO, AIO_FDMON_PPOLL, AIO_FDMON_EPOLL, AIO_FDMON_IO_URING,
    } fdmon_wanted;
    bool fdmon_chosen;

    /*
     * notify_me counts home-thread sleepers (2 each; 1 is set by the GSource's
     * prepare); aio_notify() signals the notifier only when it is not 0.
     */
    uint32_t notify_me;
    bool notified;
    EventNotifier notifier;

    BHList bh_list;             /* lock-free; any thread pushes */
    BHListSlice *bh_slices;     /* being run, innermost first */

    CoScheduledList scheduled_coroutines;   /* lock-free; any thread pushes */
    QEMUBH *co_schedule_bh;

    QEMUTimerListGroup tlg;

    /* adaptive polling, all in ns; poll_ns is home thread only */
    int64_t poll_ns;
    int64_t poll_max_ns;
    int64_t poll_grow;
    int64_t poll_shrink;
    int64_t poll_weight;
    int64_t poll_average_ns;    /* of the waits; home thread only */
    bool poll_started;
    /* when an iteration that does not wait looks at descriptors */
    enum {
        AIO_LOOK_BY_TIME, AIO_LOOK_NEVER, AIO_LOOK_ALWAYS,
    } nonblocking_look;
    int64_t nonblocking_since;  /* first such iteration after a look, in ns */
    bool look_next;             /* aio_look_next() */
    int64_t awake_until;        /* aio_stay_awake(); ns, 0: not */
    unsigned dispatching;       /* aio_poll() frames that run callbacks */

    int64_t aio_max_batch;      /* requests per io_submit; 0: the default */

    LinuxAioState *linux_aio;
    AioEngineRefusal linux_aio_refusal;
    LuringState *linux_io_uring;
    AioEngineRefusal linux_io_uring_refusal;
    NotifierList finalize_notifiers;    /* called with the context */
    ThreadPoolAio *thread_pool;
    int64_t thread_pool_min;
    int64_t thread_pool_max;
    bool one_request;           /* home thread only */
    unsigned disk_requests;     /* aio_disk_request_begin(); home thread only */
    AioAwake awake_disk;
};

/*
 * A context with one reference; NULL with @errp set on failure.  Its home
 * thread is the one that polls it first.
 */
AioContext *aio_context_new(Error **errp);
/* Any thread; the last unref frees it, in a thread that does not poll it. */
void aio_context_ref(AioContext *ctx);
void aio_context_unref(AioContext *ctx);

/* The context whose home thread this is (main thread: the main one). */
AioContext *qemu_get_current_aio_context(void);
void qemu_set_current_aio_context(AioContext *ctx);
AioContext *qemu_get_aio_context(void);     /* the main one */

static inline bool in_aio_context_home_thread(AioContext *ctx)
{
    return ctx == qemu_get_current_aio_context();
}

/* Attach to a GLib main loop: a new reference to the GSource. */
GSource *aio_get_g_source(AioContext *ctx);

/* BHs.  Callbacks run once per schedule, in the order of scheduling. */
QEMUBH *aio_bh_new_full(AioContext *ctx, QEMUBHFunc *cb, void *opaque,
                        const char *name);
#define aio_bh_new(ctx, cb, opaque) \
    aio_bh_new_full((ctx), (cb), (opaque), (stringify_bh(cb)))
#define stringify_bh(x) #x
void aio_bh_schedule_oneshot_full(AioContext *ctx, QEMUBHFunc *cb,
                                  void *opaque, const char *name);
#define aio_bh_schedule_oneshot(ctx, cb, opaque) \
    aio_bh_schedule_oneshot_full((ctx), (cb), (opaque), (stringify_bh(cb)))
/* Run at the next iteration; any thread.  Scheduling twice runs it once. */
void qemu_bh_schedule(QEMUBH *bh);
/* As above, but only once the loop would otherwise wait. */
void qemu_bh_schedule_idle(QEMUBH *bh);
/* Undo a schedule; home thread, or the run may be under way. */
void qemu_bh_cancel(QEMUBH *bh);
/* Cancel and free (later, in the home thread); any thread. */
void qemu_bh_delete(QEMUBH *bh);
/* Call the callback now. */
void aio_bh_call(QEMUBH *bh);
/* Run scheduled BHs; number of BHs that made progress. */
int aio_bh_poll(AioContext *ctx);

/* Make aio_poll() in the home thread return from its wait.  Any thread. */
void aio_notify(AioContext *ctx);
void aio_notify_accept(AioContext *ctx);

/* ns until the next timer or BH (0: now), -1 for never. */
int64_t aio_compute_timeout(AioContext *ctx);

/*
 * Register callbacks for @fd, all NULL to remove it.  @io_poll says, cheaply,
 * whether @io_poll_ready has something to do; it is asked while busy polling
 * and by non-blocking aio_poll().  Any thread for @fd not being dispatched.
 */
void aio_set_fd_handler(AioContext *ctx, int fd, IOHandler *io_read,
                        IOHandler *io_write, AioPollFn *io_poll,
                        IOHandler *io_poll_ready, void *opaque);
void aio_set_event_notifier(AioContext *ctx, EventNotifier *notifier,
                            EventNotifierHandler *io_read, AioPollFn *io_poll,
                            EventNotifierHandler *io_poll_ready);
/*
 * For a handler that has io_poll: called when busy polling begins and ends,
 * so that it can switch its notifications off and on.  Optional.
 */
void aio_set_fd_poll(AioContext *ctx, int fd, IOHandler *io_poll_begin,
                     IOHandler *io_poll_end);
void aio_set_event_notifier_poll(AioContext *ctx, EventNotifier *notifier,
                                 EventNotifierHandler *io_poll_begin,
                                 EventNotifierHandler *io_poll_end);

/*
 * One iteration: wait (if @blocking) until something happens, run what is
 * ready.  True if a callback made progress.  Home thread, outside coroutines;
 * callbacks may call it again.
 */
bool aio_poll(AioContext *ctx, bool blocking);

/*
 * Let the next iteration look at all descriptors, whether it waits or not: for
 * who would otherwise keep the loop busy with a BH.  Home thread.
 */
static inline void aio_look_next(AioContext *ctx)
{
    ctx->look_next = true;
}

/*
 * An iteration that would wait looks at all descriptors, again and again,
 * until @until (ns of QEMU_CLOCK_REALTIME), before it sleeps: for who knows
 * that something is likely to come so soon.  Home thread.
 */
static inline void aio_stay_awake(AioContext *ctx, int64_t until)
{
    ctx->awake_until = MAX(ctx->awake_until, until);
}

/*
 * A request is given to the kernel, which does it by itself, or is complete:
 * while there are few of them the loop may stay awake.  Home thread.
 */
static inline void aio_disk_request_begin(AioContext *ctx)
{
    ctx->disk_requests++;
}

static inline void aio_disk_request_end(AioContext *ctx)
{
    ctx->disk_requests--;
    aio_awake_busy(&ctx->awake_disk);
}

/* Are there requests that the loop may stay awake for? */
static inline bool aio_disk_requests_few(const AioContext *ctx)
{
    return ctx->disk_requests && ctx->disk_requests <= AIO_AWAKE_DISK_REQUESTS;
}

/* Pieces of an iteration, for the GSource. */
bool aio_prepare(AioContext *ctx);
bool aio_pending(AioContext *ctx);
void aio_dispatch(AioContext *ctx);

/* Adaptive polling: @max_ns 0 switches it off; grow/shrink 0: defaults. */
void aio_context_set_poll_params(AioContext *ctx, int64_t max_ns, int64_t grow,
                                 int64_t shrink, Error **errp);
/*
 * It follows an average of the waits, to which each adds one in 2 to the power
 * of @weight, 0 to 63.
 */
void aio_context_set_poll_weight(AioContext *ctx, int64_t weight);
void aio_context_set_aio_params(AioContext *ctx, int64_t max_batch);
void aio_context_set_thread_pool_params(AioContext *ctx, int64_t min,
                                        int64_t max, Error **errp);
/*
 * @one: the only user of @ctx has one request at a time, and waits for it.
 * Then the home thread makes the system calls of reads and writes of files
 * itself: a worker thread would only have to be woken.  In the home thread.
 */
void aio_context_set_one_request(AioContext *ctx, bool one);

/* Timers of this context. */
QEMUTimer *aio_timer_new(AioContext *ctx, QEMUClockType type, int scale,
                         QEMUTimerCB *cb, void *opaque);
void aio_timer_init(AioContext *ctx, QEMUTimer *ts, QEMUClockType type,
                    int scale, QEMUTimerCB *cb, void *opaque);

/*
 * Engines, made on first use in the context's home thread, by block/.  The
 * setup function returns NULL with @errp set on failure; for a second it does
 * not ask the kernel again.
 */
LinuxAioState *aio_setup_linux_aio(AioContext *ctx, Error **errp);
LinuxAioState *aio_get_linux_aio(AioContext *ctx);
LuringState *aio_setup_linux_io_uring(AioContext *ctx, Error **errp);
LuringState *aio_get_linux_io_uring(AioContext *ctx);
ThreadPoolAio *aio_get_thread_pool(AioContext *ctx);

/*
 * Coroutines and contexts.  aio_co_schedule() makes @co run in @ctx at the
 * next iteration (any thread; @co must have yielded or be about to).
 * aio_co_wake() continues @co in its own context: at once in the home thread
 * outside coroutines, after the current one yields inside, else scheduled.
 * aio_co_enter() enters @co in @ctx by the same rules.
 */
void aio_co_schedule(AioContext *ctx, Coroutine *co);
void aio_co_wake(Coroutine *co);
void aio_co_enter(AioContext *ctx, Coroutine *co);
/* Move the running coroutine to @ctx. */
void coroutine_fn aio_co_reschedule_self(AioContext *ctx);
/* Let the event loop have its turn: go on in its next iteration. */
void coroutine_fn aio_co_give_way(void);

/* Progress counter for waiters in other threads: see qemu/aio-wait.h. */
#endif
