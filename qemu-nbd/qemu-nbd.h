/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by the files of qemu-nbd.  Main thread. */
#ifndef QEMU_NBD_H
#define QEMU_NBD_H

#include "qapi/qapi-types-block-core.h"
#include "qapi/qapi-types-sockets.h"

typedef struct NbdArgs {
    const char *filename;
    const char *format;         /* NULL: guess */
    bool image_opts;
    int flags;                  /* BDRV_O_* */
    bool writethrough;
    const char *detect_zeroes;
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

/*
 * Print what the server at @addr exports; @tls_creds and @tls_hostname may be
 * NULL.  False with @errp set.
 */
bool nbd_list_exports(const SocketAddress *addr, const char *tls_creds,
                      const char *tls_hostname, Error **errp);

#endif
