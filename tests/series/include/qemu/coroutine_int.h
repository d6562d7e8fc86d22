/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Only what the series may use: one field, for assertions. */
#ifndef SERIES_QEMU_COROUTINE_INT_H
#define SERIES_QEMU_COROUTINE_INT_H

#include "qemu/coroutine.h"

struct Coroutine {
    AioContext *ctx;
};

#endif
