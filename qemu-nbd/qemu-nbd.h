/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by the files of qemu-nbd.  Main thread. */
#ifndef QEMU_NBD_H
#define QEMU_NBD_H

#include "block/block.h"
#include "qapi/qapi-types-block-core.h"
#include "qapi/qapi-types-sockets.h"

typedef struct NbdArgs {
    const char *filename;
    const char *format;         /* NULL: guess */
    bool image_opts;
    int flags;                  /* BDRV_O_* */
    bool writethrough;
    const char *detect_zeroes;
    bool overlay;               /* temporary: the image is not written to */
    bool snapshot;              /* one in the image is to be loaded */
    bool has_offset;
    uint64_t offset;

    const char *export_name;
    const char *description;
    strList *bitmaps;
    bool allocation_depth;

    SocketAddress *addr;
    uint32_t shared;            /* 0: no limit */
    uint32_t handshake_limit;   /* in seconds; 0: no limit */
    bool persistent;
    const char *tls_creds;
    const char *tls_authz;
} NbdArgs;

/* Open the image, export it and listen.  False with @errp set. */
bool nbd_serve_start(const NbdArgs *args, Error **errp);
/* Undo all of it; also after a failure. */
void nbd_serve_stop(void);

/* --- qemu-nbd/device.c: the kernel's NBD client --- */

typedef enum NbdDeviceState {
    NBD_DEVICE_CONNECTING,
    NBD_DEVICE_CONNECTED,
    NBD_DEVICE_GONE,            /* or not connected: see nbd_device_end() */
} NbdDeviceState;

/* Whether @path is a device that is free; else false with @errp set. */
bool nbd_device_check(const char *path, Error **errp);
/*
 * Connect the device @path to the server of this process, which listens at
 * @addr.  The caller runs the event loop until nbd_device_state() is another.
 * The strings and @addr must stay.  False with @errp set on failure.
 */
bool nbd_device_start(const char *path, const SocketAddress *addr,
                      const char *export_name, Error **errp);
NbdDeviceState nbd_device_state(void);
/*
 * Disconnect the device if it is connected, and wait in the event loop until it
 * is gone; without one do nothing.  False with @errp set: it could not be
 * connected, or has not ended well.
 */
bool nbd_device_end(Error **errp);
/*
 * Write back what the page cache has for the device @path, and disconnect it,
 * whichever process serves it.  One that is not connected is no error.
 * Waits.  False with @errp set on failure.
 */
bool nbd_device_disconnect(const char *path, Error **errp);

/*
 * Print what the server at @addr exports; @tls_creds and @tls_hostname may be
 * NULL.  False with @errp set.
 */
bool nbd_list_exports(const SocketAddress *addr, const char *tls_creds,
                      const char *tls_hostname, Error **errp);

#endif
