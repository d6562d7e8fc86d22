/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between char.c and the kinds of character devices.
 */
#ifndef CHARDEV_CHARDEV_H
#define CHARDEV_CHARDEV_H

#include "chardev/char.h"
#include "qemu/queue.h"

/*
 * One kind.  All callbacks run in the main thread; all but @open and @close
 * may be NULL.
 */
typedef struct ChardevDriver {
    ChardevBackendKind kind;
    /*
     * Set @chr->opaque and @chr->filename.  False with @errp set; then
     * @close is not called.
     */
    bool (*open)(Chardev *chr, ChardevBackend *backend, Error **errp);
    void (*close)(Chardev *chr);
    /* As qemu_chr_fe_write(); NULL: all is thrown away. */
    ssize_t (*write)(Chardev *chr, const void *buf, size_t len);
    /* Read, or do not, as qemu_chr_be_can_write() says. */
    void (*update_read)(Chardev *chr);
    /* Call qemu_chr_be_writable() when writing is possible. */
    void (*want_write)(Chardev *chr);
} ChardevDriver;

struct Chardev {
    const ChardevDriver *driver;
    char *label;
    char *filename;
    void *opaque;
    CharFrontend *fe;           /* NULL: nobody uses it */
    bool be_open;               /* somebody is at the other end */
    int logfd;                  /* -1: no log */
    QTAILQ_ENTRY(Chardev) link;
};

extern const ChardevDriver chardev_file;
extern const ChardevDriver chardev_null;
extern const ChardevDriver chardev_pty;
extern const ChardevDriver chardev_ringbuf;
extern const ChardevDriver chardev_socket;
extern const ChardevDriver chardev_stdio;

/* How many bytes the frontend takes; 0 without one. */
size_t qemu_chr_be_can_write(Chardev *chr);
void qemu_chr_be_write(Chardev *chr, const uint8_t *buf, size_t len);
void qemu_chr_be_event(Chardev *chr, QEMUChrEvent event);
void qemu_chr_be_writable(Chardev *chr);

/*
 * A pair of descriptors, non-blocking but for regular files, as the end of a
 * stream.  @hup is called in place of a read that found the end, and may
 * call char_fds_stop().
 */
typedef struct CharFds {
    Chardev *chr;
    int in_fd, out_fd;          /* may be equal, or -1 */
    bool in_regular;            /* a regular file, always readable */
    bool out_regular;
    bool reading, watching;
    QEMUBH *read_bh;
    void (*hup)(Chardev *chr);
} CharFds;

void char_fds_init(CharFds *fds, Chardev *chr, int in_fd, int out_fd,
                   void (*hup)(Chardev *chr));
/* Let go of the descriptors, which stay open; twice is fine. */
void char_fds_stop(CharFds *fds);
ssize_t char_fds_write(CharFds *fds, const void *buf, size_t len);
void char_fds_update_read(CharFds *fds);
void char_fds_want_write(CharFds *fds);

/*
 * Connect to @addr, of which this takes a copy, in a thread.  @func is called
 * in the main loop, with the connection, which becomes its own, or -1 if that
 * has failed; the CharConnect is gone then.  NULL: there can be no thread.
 */
typedef struct CharConnect CharConnect;
typedef void CharConnectFunc(void *opaque, int fd);
CharConnect *char_connect_new(const SocketAddress *addr, CharConnectFunc *func,
                              void *opaque);
/* Instead of that call: @func is not called any more. */
void char_connect_cancel(CharConnect *c);

/* The options of --chardev as those of chardev-add; NULL with @errp set. */
ChardevBackend *chardev_parse_opts(ChardevBackendKind kind, QOpts *opts,
                                   Error **errp);

#endif
