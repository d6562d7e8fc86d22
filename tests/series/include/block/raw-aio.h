/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Only what the series may use: what the engine provides. */
#ifndef SERIES_BLOCK_RAW_AIO_H
#define SERIES_BLOCK_RAW_AIO_H

#include "block/aio.h"
#include "block/block.h"

#define QEMU_AIO_READ 0x0001
#define QEMU_AIO_WRITE 0x0002
#define QEMU_AIO_FLUSH 0x0008
#define QEMU_AIO_ZONE_APPEND 0x0400

#ifdef CONFIG_LINUX_AIO
LinuxAioState *laio_init(Error **errp);
void laio_cleanup(LinuxAioState *s);
#ifdef SERIES_QEMU_8_2
int coroutine_fn laio_co_submit(int fd, uint64_t offset, QEMUIOVector *qiov,
                                int type, uint64_t dev_max_batch);
#else
int coroutine_fn laio_co_submit(int fd, uint64_t offset, QEMUIOVector *qiov,
                                int type, BdrvRequestFlags flags,
                                uint64_t dev_max_batch);
bool laio_has_fua(void);
#endif
bool laio_has_fdsync(int fd);
void laio_detach_aio_context(LinuxAioState *s, AioContext *old_context);
void laio_attach_aio_context(LinuxAioState *s, AioContext *new_context);
#endif

#endif
