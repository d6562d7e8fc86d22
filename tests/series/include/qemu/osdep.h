/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Only what the series may use: base types and small helpers. */
#ifndef SERIES_QEMU_OSDEP_H
#define SERIES_QEMU_OSDEP_H

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <glib.h>

#include "qemu/atomic.h"

typedef struct AioContext AioContext;
typedef struct Coroutine Coroutine;
typedef struct Error Error;
typedef struct EventNotifier EventNotifier;
typedef struct LinuxAioState LinuxAioState;
typedef struct Notifier Notifier;
typedef struct QEMUBH QEMUBH;
typedef struct QEMUIOVector QEMUIOVector;
typedef struct QEMUTimer QEMUTimer;

#define coroutine_fn

#undef container_of
#define container_of(ptr, type, member) \
    ((type *)((char *)(ptr) - offsetof(type, member)))
#define ARRAY_SIZE(x) (sizeof(x) / sizeof((x)[0]))
#define MIN_NON_ZERO(a, b) ((a) == 0 ? (b) : (b) == 0 ? (a) : MIN(a, b))
#define QEMU_BUILD_BUG_ON(x) _Static_assert(!(x), #x)
#ifndef SERIES_QEMU_8_2
#define QEMU_UNINITIALIZED
#endif

#endif
