/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connections that are made in a thread: looking up a name and connecting may
 * take minutes, for which the main loop must not stand still.
 *
 * The thread has one reference, and the owner the other, which goes over to
 * the bottom half that tells the owner.
 */
#include "qemu/osdep.h"
#include "chardev.h"
#include "qemu/main-loop.h"
#include "qemu/sockets.h"
#include "qemu/thread.h"

struct CharConnect {
    int refcount;               /* atomic */
    SocketAddress *addr;
    CharConnectFunc *func;
    void *opaque;
    int fd;                     /* the thread's, then the bottom half's */

    QemuMutex lock;             /* of the next two */
    bool cancelled;             /* written by the main thread */
    bool scheduled;             /* the bottom half; written by the thread */
};

static void connect_unref(CharConnect *c)
{
    if (qatomic_fetch_dec(&c->refcount) > 1) {
        return;
    }
    if (c->fd >= 0) {
        close(c->fd);
    }
    qemu_mutex_destroy(&c->lock);
    qapi_free_SocketAddress(c->addr);
    g_free(c);
}

static void connect_bh(void *opaque)
{
    CharConnect *c = opaque;
    int fd = c->fd;

    if (!c->cancelled) {
        c->fd = -1;
        c->func(c->opaque, fd);
    }
    connect_unref(c);
}

static void *connect_thread(void *opaque)
{
    CharConnect *c = opaque;

    c->fd = socket_connect(c->addr, NULL);
    qemu_mutex_lock(&c->lock);
    /* Until it is cancelled there is a main loop. */
    if (!c->cancelled) {
        c->scheduled = true;
        aio_bh_schedule_oneshot(qemu_get_aio_context(), connect_bh, c);
    }
    qemu_mutex_unlock(&c->lock);
    connect_unref(c);
    return NULL;
}

CharConnect *char_connect_new(const SocketAddress *addr, CharConnectFunc *func,
                              void *opaque)
{
    CharConnect *c = g_new0(CharConnect, 1);
    QemuThread thread;

    c->refcount = 2;
    c->addr = QAPI_CLONE(SocketAddress, addr);
    c->func = func;
    c->opaque = opaque;
    c->fd = -1;
    qemu_mutex_init(&c->lock);
    if (qemu_thread_try_create(&thread, "char-connect", connect_thread, c,
                               QEMU_THREAD_DETACHED) < 0) {
        connect_unref(c);
        connect_unref(c);
        return NULL;
    }
    return c;
}

void char_connect_cancel(CharConnect *c)
{
    bool scheduled;

    qemu_mutex_lock(&c->lock);
    c->cancelled = true;
    scheduled = c->scheduled;
    qemu_mutex_unlock(&c->lock);
    if (!scheduled) {
        connect_unref(c);
    }
}
