/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Helpers that the engines of an AioContext share.  Its home thread. */
#ifndef BLOCK_AIO_ENGINES_H
#define BLOCK_AIO_ENGINES_H

#include "block/raw-aio.h"
#include "qemu/notify.h"

/*
 * Each request asks for the engine while there is none.  After a refusal the
 * kernel is not asked again for a second: true as long as that lasts.
 */
bool aio_engine_is_refused(AioEngineRefusal *refusal);
/* The kernel has refused; refusal->error says why. */
void aio_engine_refused(AioEngineRefusal *refusal);
/* @fn frees the notifier, which is its argument, and the engine of @ctx. */
void aio_engine_free_with_context(AioContext *ctx,
                                  void (*fn)(Notifier *, void *));

#endif
