/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compiler attributes and type-safe helpers.
 */
#ifndef QEMU_COMPILER_H
#define QEMU_COMPILER_H

#include <stddef.h>

#ifndef likely
#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#endif

#define QEMU_NORETURN __attribute__((__noreturn__))
#define QEMU_PACKED   __attribute__((packed))
#define QEMU_ALIGNED(n) __attribute__((aligned(n)))
#define QEMU_WARN_UNUSED_RESULT __attribute__((warn_unused_result))
#define QEMU_USED     __attribute__((used))
#define QEMU_NOINLINE __attribute__((noinline))
#define QEMU_ALWAYS_INLINE inline __attribute__((always_inline))

/*
 * A large automatic variable that its function fills before use; keeps
 * -ftrivial-auto-var-init from touching it.
 */
#if defined(__has_attribute)
# if __has_attribute(uninitialized)
#  define QEMU_UNINITIALIZED __attribute__((uninitialized))
# endif
#endif
#ifndef QEMU_UNINITIALIZED
#define QEMU_UNINITIALIZED
#endif

#if defined(__SANITIZE_ADDRESS__)
# define QEMU_SANITIZE_ADDRESS 1
#elif defined(__has_feature)
# if __has_feature(address_sanitizer)
#  define QEMU_SANITIZE_ADDRESS 1
# endif
#endif
#if defined(__SANITIZE_THREAD__)
# define QEMU_SANITIZE_THREAD 1
#elif defined(__has_feature)
# if __has_feature(thread_sanitizer)
#  define QEMU_SANITIZE_THREAD 1
# endif
#endif

#undef container_of
#define container_of(ptr, type, member) ({                          \
        const typeof(((type *)0)->member) *member_ptr_ = (ptr);     \
        (type *)((char *)member_ptr_ - offsetof(type, member)); })

#define typeof_field(type, field) typeof(((type *)0)->field)

#define QEMU_BUILD_BUG_MSG(x, msg) _Static_assert(!(x), msg)
#define QEMU_BUILD_BUG_ON(x) \
    QEMU_BUILD_BUG_MSG(x, "not expecting: " #x)

#endif
