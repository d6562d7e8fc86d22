/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The first include of every C file: the build configuration, the C library,
 * GLib, and the handful of helpers that everything uses.
 */
#ifndef QEMU_OSDEP_H
#define QEMU_OSDEP_H

#include "config-host.h"
#include "qemu/compiler.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <glib.h>

#include "qemu/typedefs.h"
#include "qemu/atomic.h"
#include "qemu/memalign.h"

#define coroutine_fn
#define coroutine_mixed_fn
#define no_coroutine_fn
#define co_wrapper

#ifndef MIN
#define MIN(a, b) (((a) < (b)) ? (a) : (b))
#endif
#ifndef MAX
#define MAX(a, b) (((a) > (b)) ? (a) : (b))
#endif

/* The smaller of two limits of which 0 means "none". */
#define MIN_NON_ZERO(a, b) ({                                   \
        typeof(1 ? (a) : (b)) mnz_a_ = (a), mnz_b_ = (b);       \
        mnz_a_ == 0 ? mnz_b_ :                                  \
        (mnz_b_ == 0 || mnz_b_ > mnz_a_) ? mnz_a_ : mnz_b_; })

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(x) (sizeof(x) / sizeof((x)[0]))
#endif

#ifndef DIV_ROUND_UP
#define DIV_ROUND_UP(n, d) (((n) + (d) - 1) / (d))
#endif

/* For any alignment; QEMU_IS_ALIGNED and friends accept non powers of 2. */
#define QEMU_ALIGN_DOWN(n, m) ((n) / (m) * (m))
#define QEMU_ALIGN_UP(n, m)   QEMU_ALIGN_DOWN((n) + (m) - 1, (m))
#define QEMU_IS_ALIGNED(n, m) (((n) % (m)) == 0)
#define QEMU_ALIGN_PTR_DOWN(p, n) \
    ((typeof(p))QEMU_ALIGN_DOWN((uintptr_t)(p), (n)))
#define QEMU_PTR_IS_ALIGNED(p, n) QEMU_IS_ALIGNED((uintptr_t)(p), (n))

/* For powers of 2 only. */
#define ROUND_DOWN(n, d) ((n) & -(0 ? (n) : (d)))
#define ROUND_UP(n, d)   ROUND_DOWN((n) + (d) - 1, (d))

static inline bool is_power_of_2(uint64_t value)
{
    return value && !(value & (value - 1));
}

/* Number of trailing zero bits; 64 for 0. */
static inline int ctpop64(uint64_t value)
{
    return __builtin_popcountll(value);
}

static inline int ctz64(uint64_t value)
{
    return value ? __builtin_ctzll(value) : 64;
}

/* Number of leading zero bits; 64 for 0. */
static inline int clz64(uint64_t value)
{
    return value ? __builtin_clzll(value) : 64;
}

/* Smallest power of 2 that is >= @value; 0 if there is none. */
static inline uint64_t pow2ceil(uint64_t value)
{
    if (value <= 1) {
        return 1;
    }
    return clz64(value - 1) ? 1ULL << (64 - clz64(value - 1)) : 0;
}

#define RETRY_ON_EINTR(expr) ({                                 \
        typeof(expr) retry_ret_;                                \
        do {                                                    \
            retry_ret_ = (expr);                                \
        } while (retry_ret_ == -1 && errno == EINTR);           \
        retry_ret_; })

#ifndef O_BINARY
#define O_BINARY 0
#endif

#define KiB (INT64_C(1) << 10)
#define MiB (INT64_C(1) << 20)
#define GiB (INT64_C(1) << 30)
#define TiB (INT64_C(1) << 40)

/* Page size of the host; any thread. */
static inline uintptr_t qemu_real_host_page_size(void)
{
    return getpagesize();
}

/*
 * Open @name as open(2) does, with O_CLOEXEC added.  Returns a descriptor, or
 * -1 with errno set.  Any thread.
 */
int qemu_open_old(const char *name, int flags, ...);
/* As above, and describe a failure in @errp ("Could not open '...'"). */
int qemu_open(const char *name, int flags, Error **errp);
int qemu_create(const char *name, int flags, mode_t mode, Error **errp);
int qemu_close(int fd);

/*
 * Read or write @count bytes, going on after short transfers and EINTR.
 * Return what was transferred; less than @count on EOF or error (errno).
 */
ssize_t qemu_write_full(int fd, const void *buf, size_t count);
ssize_t qemu_read_full(int fd, void *buf, size_t count);

/* How many this process may use; the kernel is asked once.  Any thread. */
int qemu_processors(void);

#endif
