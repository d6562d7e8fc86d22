/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared by aio-posix.c and the fd monitors.
 *
 * A handler is changed under ctx->list_lock, and freed by the home thread,
 * while no aio_poll() frame holds one (ctx->walking == 0).
 */
#ifndef AIO_POSIX_H
#define AIO_POSIX_H

#include <poll.h>
#include "qemu/aio.h"

/*
 * A connection that waits now for one thing, now for another, has a new handler
 * each time: as many as this are kept, to be used again.
 */
#define AIO_MAX_SPARE_HANDLERS 16

typedef struct FDMonPoll FDMonPoll;

struct AioHandler {
    int fd;
    short events;               /* POLLIN, POLLOUT: what is wanted */
    short revents;              /* what was found; home thread only */
    bool poll_ready;            /* io_poll said yes; home thread only */
    bool deleted;               /* atomic; set under list_lock */
    IOHandler *io_read;
    IOHandler *io_write;
    AioPollFn *io_poll;
    IOHandler *io_poll_ready;
    IOHandler *io_poll_begin;
    IOHandler *io_poll_end;
    void *opaque;
    FDMonPoll *fdmon_poll;      /* of fdmon-io_uring, under list_lock */
    gpointer g_tag;             /* of the GSource, under list_lock; or NULL */
    QLIST_ENTRY(AioHandler) node;
    QLIST_ENTRY(AioHandler) ready;
};

/* A way of waiting for descriptors.  Home thread, unless told otherwise. */
struct FDMonOps {
    const char *name;
    /*
     * Wanted events of @fd went from @old to @new (0: none).  Any thread,
     * under list_lock.
     */
    void (*update)(AioContext *ctx, AioHandler *node, int fd, short old,
                   short new);
    /*
     * Wait up to @timeout ns (-1: for ever) and put handlers with something
     * to do on @ready, revents filled in.
     */
    void (*wait)(AioContext *ctx, AioHandlerList *ready, int64_t timeout);
    /*
     * Must wait() be called even by an iteration that does not wait, since
     * there is something to submit or to deliver?  Optional: no.
     */
    bool (*need_wait)(AioContext *ctx);
    /* Free what the monitor keeps. */
    void (*destroy)(AioContext *ctx);
};

extern const FDMonOps fdmon_ppoll_ops;
extern const FDMonOps fdmon_epoll_ops;
extern const FDMonOps fdmon_io_uring_ops;

/* Descriptors from which epoll is the cheaper one. */
#define EPOLL_ENABLE_THRESHOLD 64

/* Put @node on @ready with @revents; once per wait. */
void aio_add_ready_handler(AioHandlerList *ready, AioHandler *node,
                           short revents);

/* Ask the io_poll callbacks once; true if one has something to do. */
bool aio_ask_poll_handlers(AioContext *ctx, AioHandlerList *ready);

/*
 * The io_poll_begin or io_poll_end callbacks, unless the last ones were the
 * same.  After "begin" the loop may not sleep: what comes signals nothing.
 */
void aio_poll_set_started(AioContext *ctx, bool started);

/*
 * Go over from ppoll() to epoll; home thread.  Without an effect if the monitor
 * is another one, or if epoll has ever refused a descriptor of this context.
 */
void fdmon_epoll_upgrade(AioContext *ctx);
/*
 * Go over to io_uring, for good; home thread.  0, or -errno (-ENOTSUP: before
 * Linux 6.1; -ENOSYS: built without it), and the monitor stays.
 */
#ifdef CONFIG_LINUX_IO_URING
int fdmon_io_uring_upgrade(AioContext *ctx);
#else
static inline int fdmon_io_uring_upgrade(AioContext *ctx)
{
    return -ENOSYS;
}
#endif

/* ppoll() with a timeout in ns, -1 for none. */
int qemu_poll_ns(struct pollfd *fds, unsigned nfds, int64_t timeout);

/* From now on the GSource of @ctx waits for descriptors, too.  Any thread. */
void aio_handlers_use_g_source(AioContext *ctx);

void aio_context_setup(AioContext *ctx);
void aio_context_destroy(AioContext *ctx);

#endif
