/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interface of the AIO engines for the file driver.
 */
#ifndef QEMU_RAW_AIO_H
#define QEMU_RAW_AIO_H

#include "qemu/aio.h"
#include "block/block-common.h"
#include "qemu/iov.h"

/* Request types. */
#define QEMU_AIO_READ         0x0001
#define QEMU_AIO_WRITE        0x0002
#define QEMU_AIO_IOCTL        0x0004
#define QEMU_AIO_FLUSH        0x0008
#define QEMU_AIO_DISCARD      0x0010
#define QEMU_AIO_WRITE_ZEROES 0x0020
#define QEMU_AIO_COPY_RANGE   0x0040
#define QEMU_AIO_TRUNCATE     0x0080
#define QEMU_AIO_ZONE_REPORT  0x0100
#define QEMU_AIO_ZONE_MGMT    0x0200
#define QEMU_AIO_ZONE_APPEND  0x0400
#define QEMU_AIO_TYPE_MASK    0x07ff

/* Modifiers. */
#define QEMU_AIO_MISALIGNED   0x1000
#define QEMU_AIO_BLKDEV       0x2000
#define QEMU_AIO_NO_FALLBACK  0x4000

#ifdef CONFIG_LINUX_AIO
/*
 * An engine, not yet attached to a context; NULL with @errp set when the
 * kernel has no more (/proc/sys/fs/aio-max-nr).  Any thread.
 */
LinuxAioState *laio_init(Error **errp);
/* Free it.  Detached, nothing in flight, nothing pending. */
void laio_cleanup(LinuxAioState *s);

/*
 * Carry out one request in the current AioContext's engine, which
 * aio_setup_linux_aio() has made.  @offset in bytes; @qiov is NULL for a
 * flush, and stays the caller's.  @dev_max_batch bounds one io_submit (0: the
 * context's bound).  0, or -errno.
 */
int coroutine_fn laio_co_submit(int fd, uint64_t offset, QEMUIOVector *qiov,
                                int type, BdrvRequestFlags flags,
                                uint64_t dev_max_batch);

/*
 * Does the kernel flush asynchronously?  It is asked once per process, and not
 * with @fd; a file may still refuse (-EINVAL).  Any thread.
 */
bool laio_has_fdsync(int fd);
/* Was the build able to pass RWF_DSYNC?  Any thread. */
bool laio_has_fua(void);

/* Leave and enter a context.  Home thread of the context, nothing pending. */
void laio_detach_aio_context(LinuxAioState *s, AioContext *old_context);
void laio_attach_aio_context(LinuxAioState *s, AioContext *new_context);
#endif

#ifdef CONFIG_LINUX_IO_URING
/*
 * As above, for io_uring.  An engine is used by one thread only, the one that
 * has made it, and so goes with its context.
 */
LuringState *luring_init(Error **errp);
void luring_cleanup(LuringState *s);

/*
 * Carry out one request in the current AioContext's engine, which
 * aio_setup_linux_io_uring() has made.  @flags: BDRV_REQ_FUA.  0, or -errno.
 */
int coroutine_fn luring_co_submit(int fd, uint64_t offset, QEMUIOVector *qiov,
                                  int type, BdrvRequestFlags flags);

void luring_detach_aio_context(LuringState *s, AioContext *old_context);
void luring_attach_aio_context(LuringState *s, AioContext *new_context);
#endif

#endif
