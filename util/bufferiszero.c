/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is a buffer all zero?
 *
 * Most buffers that are not zero show it in their first bytes, so a few
 * samples come first.  Then the implementation that this CPU is best at: each
 * reads 64 to 256 bytes between two branches, and covers the unaligned ends
 * with loads that overlap the middle.
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

/* Buffers shorter than this do not reach an implementation. */
#define ACCEL_MIN 256

typedef uint64_t UnalignedU64 __attribute__((aligned(1), may_alias));

static inline uint64_t load64(const char *p)
{
    return *(const UnalignedU64 *)p;
}

/* All of these: @len >= ACCEL_MIN, any alignment. */
typedef bool BufferIsZeroFunc(const char *buf, size_t len);

static bool buffer_is_zero_int(const char *buf, size_t len)
{
    const char *last = buf + len - 64;
    const char *p;

    for (p = buf; p < last; p += 64) {
        if ((load64(p) | load64(p + 8) | load64(p + 16) | load64(p + 24)) |
            (load64(p + 32) | load64(p + 40) |
             load64(p + 48) | load64(p + 56))) {
            return false;
        }
    }
    return !((load64(last) | load64(last + 8) |
              load64(last + 16) | load64(last + 24)) |
             (load64(last + 32) | load64(last + 40) |
              load64(last + 48) | load64(last + 56)));
}

#ifdef __x86_64__
static inline __m128i or8_sse2(const char *p)
{
    const __m128i *v = (const __m128i *)p;
    __m128i a = _mm_loadu_si128(v) | _mm_loadu_si128(v + 1);
    __m128i b = _mm_loadu_si128(v + 2) | _mm_loadu_si128(v + 3);
    __m128i c = _mm_loadu_si128(v + 4) | _mm_loadu_si128(v + 5);
    __m128i d = _mm_loadu_si128(v + 6) | _mm_loadu_si128(v + 7);

    return (a | b) | (c | d);
}

static inline bool is_zero_sse2(__m128i v)
{
    return _mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_setzero_si128())) ==
           0xffff;
}

static bool buffer_is_zero_sse2(const char *buf, size_t len)
{
    const char *last = buf + len - 128;
    const char *p;

    for (p = buf; p < last; p += 128) {
        if (!is_zero_sse2(or8_sse2(p))) {
            return false;
        }
    }
    return is_zero_sse2(or8_sse2(last));
}

/* In the loop below, so that it becomes code for the same target. */
#define OR8_AVX2(p) ({                                                  \
        const __m256i *or8_v_ = (const __m256i *)(p);                   \
        ((_mm256_loadu_si256(or8_v_) | _mm256_loadu_si256(or8_v_ + 1)) | \
         (_mm256_loadu_si256(or8_v_ + 2) |                              \
          _mm256_loadu_si256(or8_v_ + 3))) |                            \
        ((_mm256_loadu_si256(or8_v_ + 4) |                              \
          _mm256_loadu_si256(or8_v_ + 5)) |                             \
         (_mm256_loadu_si256(or8_v_ + 6) |                              \
          _mm256_loadu_si256(or8_v_ + 7))); })

static bool __attribute__((target("avx2")))
buffer_is_zero_avx2(const char *buf, size_t len)
{
    const char *last = buf + len - 256;
    const char *p;
    __m256i v;

    /* Aligned loads in the loop: none crosses a cache line. */
    v = OR8_AVX2(buf);
    if (!_mm256_testz_si256(v, v)) {
        return false;
    }
    p = (const char *)ROUND_DOWN((uintptr_t)buf + 256, 32);
    for (; p < last; p += 256) {
        v = OR8_AVX2(p);
        if (!_mm256_testz_si256(v, v)) {
            return false;
        }
    }
    v = OR8_AVX2(last);
    return _mm256_testz_si256(v, v);
}
#endif

typedef struct Accel {
    const char *name;
    BufferIsZeroFunc *fn;
} Accel;

/* The fastest first. */
static const Accel accels[] = {
#ifdef __x86_64__
    { "avx2", buffer_is_zero_avx2 },
    { "sse2", buffer_is_zero_sse2 },
#endif
    { "int", buffer_is_zero_int },
};

/* Set before main(), changed by tests only. */
static const Accel *accel;

static const Accel *best_accel(void)
{
#ifdef __x86_64__
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2")) {
        return &accels[1];
    }
#endif
    return &accels[0];
}

static void __attribute__((constructor)) init_accel(void)
{
    accel = best_accel();
}

bool test_buffer_is_zero_next_accel(void)
{
    if (accel == &accels[ARRAY_SIZE(accels) - 1]) {
        accel = best_accel();
        return false;
    }
    accel++;
    return true;
}

const char *buffer_is_zero_accel_name(void)
{
    return accel->name;
}

static bool small_is_zero(const char *buf, size_t len)
{
    uint64_t all = 0;
    size_t i;

    if (len >= 8) {
        for (i = 0; i < len - 8; i += 8) {
            all |= load64(buf + i);
        }
        return !(all | load64(buf + len - 8));
    }
    for (i = 0; i < len; i++) {
        all |= buf[i];
    }
    return !all;
}

bool buffer_is_zero(const void *buf, size_t len)
{
    const char *p = buf;

    if (len < ACCEL_MIN) {
        return small_is_zero(p, len);
    }
    if (load64(p) | load64(p + len / 2) | load64(p + len - 8)) {
        return false;
    }
    return accel->fn(p, len);
}
