/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Character devices: streams of bytes to and from the outside.
 *
 * A Chardev is one end of a stream (a socket, a terminal, ...), made by
 * --chardev or chardev-add.  One CharFrontend, a monitor, may use it.
 * Nothing here waits, unless a function says so.  Main thread, outside
 * coroutines; the callbacks run from the main AioContext.
 */
#ifndef CHARDEV_CHAR_H
#define CHARDEV_CHAR_H

#include "qapi/qapi-types-char.h"

typedef struct Chardev Chardev;
typedef struct CharFrontend CharFrontend;

typedef enum QEMUChrEvent {
    CHR_EVENT_OPENED,       /* somebody is at the other end */
    CHR_EVENT_CLOSED,       /* and now nobody is */
} QEMUChrEvent;

typedef struct CharFrontendOps {
    /* How many bytes can be taken now; 0 stops reading. */
    size_t (*can_read)(void *opaque);
    /* At most that many bytes. */
    void (*read)(void *opaque, const uint8_t *buf, size_t size);
    void (*event)(void *opaque, QEMUChrEvent event);
    /* Writing is possible again, after qemu_chr_fe_want_write(). */
    void (*writable)(void *opaque);
} CharFrontendOps;

struct CharFrontend {
    Chardev *chr;
    const CharFrontendOps *ops;
    void *opaque;
};

/* Make a chardev named @id.  NULL with @errp set on failure. */
Chardev *qemu_chardev_new(const char *id, ChardevBackend *backend,
                          Error **errp);
/*
 * From "--chardev" text: "socket,id=...,path=...".  "help" lists the kinds
 * on stdout and ends the program.  False with @errp set on failure.
 */
bool qemu_chr_new_from_opts(const char *params, Error **errp);
/* A daemon has no terminal: from now on no chardev can be standard I/O. */
void qemu_chr_forbid_stdio(void);
Chardev *qemu_chr_find(const char *id);
const char *qemu_chr_label(const Chardev *chr);
/* Delete all; no frontend may be left. */
void qemu_chr_cleanup(void);

/* Use @chr; false with @errp set if somebody uses it. */
bool qemu_chr_fe_init(CharFrontend *fe, Chardev *chr, Error **errp);
/*
 * Begin to listen.  If somebody is at the other end already, the event comes
 * at once.
 */
void qemu_chr_fe_set_handlers(CharFrontend *fe, const CharFrontendOps *ops,
                              void *opaque);
/* End the use; callbacks do not come any more. */
void qemu_chr_fe_deinit(CharFrontend *fe);
/* can_read() may say something else than before. */
void qemu_chr_fe_accept_input(CharFrontend *fe);
/*
 * Write what can be written now: bytes, or -EAGAIN, or another -errno; then
 * CHR_EVENT_CLOSED follows or has come.
 */
ssize_t qemu_chr_fe_write(CharFrontend *fe, const void *buf, size_t len);
/* Call writable() once, as soon as writing is possible. */
void qemu_chr_fe_want_write(CharFrontend *fe);

#endif
