/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Thread-local variables that are safe in coroutines.
 *
 * A coroutine may go on in another thread after it has yielded, but a
 * compiler may keep the address of a thread-local variable for the length of
 * a function, and so use the variable of the thread that it left.  The
 * accessors defined here are never inlined and never merged: each call finds
 * the variable of the thread that makes it.
 *
 *     QEMU_DEFINE_STATIC_CO_TLS(int, depth)     get_depth(), set_depth(v),
 *                                               get_ptr_depth()
 *
 * A pointer from get_ptr_...() must not be kept across a yield.
 */
#ifndef QEMU_COROUTINE_TLS_H
#define QEMU_COROUTINE_TLS_H

/*
 * The empty volatile asm keeps the compiler from finding out that a call has
 * no side effect and from making two of them one.
 */
#define QEMU_CO_TLS_ACCESSORS_(storage, type, var)                      \
    storage __attribute__((noinline, unused)) type get_##var(void)      \
    {                                                                   \
        __asm__ volatile("");                                           \
        return co_tls_##var;                                            \
    }                                                                   \
    storage __attribute__((noinline, unused)) void set_##var(type v)    \
    {                                                                   \
        __asm__ volatile("");                                           \
        co_tls_##var = v;                                               \
    }                                                                   \
    storage __attribute__((noinline, unused)) type *get_ptr_##var(void) \
    {                                                                   \
        type *ptr_ = &co_tls_##var;                                     \
        __asm__ volatile("" : "+r"(ptr_));                              \
        return ptr_;                                                    \
    }

/* For a header: a variable that another file defines. */
#define QEMU_DECLARE_CO_TLS(type, var)          \
    type get_##var(void);                       \
    void set_##var(type v);                     \
    type *get_ptr_##var(void);

#define QEMU_DEFINE_CO_TLS(type, var)           \
    static __thread type co_tls_##var;          \
    QEMU_CO_TLS_ACCESSORS_(, type, var)

#define QEMU_DEFINE_STATIC_CO_TLS(type, var)    \
    static __thread type co_tls_##var;          \
    QEMU_CO_TLS_ACCESSORS_(static, type, var)

#endif
