/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For LD_PRELOAD: threads that pack, or unpack, wait for each other.
 *
 * The first calls of libdeflate_zlib_compress() and of
 * libdeflate_zlib_decompress_ex() go on when MEET_THREADS of them are there at
 * once, in as many threads.  If they are not, after a patience that is long
 * even for a busy machine, the program ends with a line about that.
 */
#include "qemu/osdep.h"
#include <dlfcn.h>
#include <libdeflate.h>

#define PATIENCE_S 20

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t all_there = PTHREAD_COND_INITIALIZER;
static int there;

static void meet(void)
{
    const char *number = getenv("MEET_THREADS");
    int wanted = number ? atoi(number) : 0;
    struct timespec until;
    int ret = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&lock);
    there++;
    while (there < wanted && ret == 0) {
        ret = pthread_cond_timedwait(&all_there, &lock, &until);
    }
    if (there < wanted) {
        fprintf(stderr, "only %d of %d threads met\n", there, wanted);
        _exit(99);
    }
    pthread_cond_broadcast(&all_there);
    pthread_mutex_unlock(&lock);
}

size_t libdeflate_zlib_compress(struct libdeflate_compressor *c,
                                const void *in, size_t in_bytes,
                                void *out, size_t out_bytes)
{
    static size_t (*next)(struct libdeflate_compressor *, const void *, size_t,
                          void *, size_t);

    meet();
    if (!next) {
        next = dlsym(RTLD_NEXT, "libdeflate_zlib_compress");
    }
    return next(c, in, in_bytes, out, out_bytes);
}

enum libdeflate_result
libdeflate_zlib_decompress_ex(struct libdeflate_decompressor *d,
                              const void *in, size_t in_bytes,
                              void *out, size_t out_bytes,
                              size_t *in_used, size_t *out_used)
{
    static enum libdeflate_result (*next)(struct libdeflate_decompressor *,
                                          const void *, size_t, void *, size_t,
                                          size_t *, size_t *);

    meet();
    if (!next) {
        next = dlsym(RTLD_NEXT, "libdeflate_zlib_decompress_ex");
    }
    return next(d, in, in_bytes, out, out_bytes, in_used, out_used);
}
