/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Atomic operations and memory barriers, on the compiler's C11 builtins.
 *
 * qatomic_read/set are relaxed; the read-modify-write operations without a
 * suffix are sequentially consistent.  Each use says what it pairs with.
 */
#ifndef QEMU_ATOMIC_H
#define QEMU_ATOMIC_H

#define barrier() __asm__ volatile("" ::: "memory")

#define smp_mb()  __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define smp_wmb() __atomic_thread_fence(__ATOMIC_RELEASE)
#define smp_rmb() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define smp_mb__after_rmw()  smp_mb()
#define smp_mb__before_rmw() smp_mb()

#define qatomic_read(ptr)     __atomic_load_n(ptr, __ATOMIC_RELAXED)
#define qatomic_set(ptr, v)   __atomic_store_n(ptr, v, __ATOMIC_RELAXED)
#define qatomic_load_acquire(ptr) __atomic_load_n(ptr, __ATOMIC_ACQUIRE)
#define qatomic_store_release(ptr, v) \
    __atomic_store_n(ptr, v, __ATOMIC_RELEASE)
#define qatomic_set_mb(ptr, v) \
    ((void)__atomic_exchange_n(ptr, v, __ATOMIC_SEQ_CST))

#define qatomic_xchg(ptr, v)  __atomic_exchange_n(ptr, v, __ATOMIC_SEQ_CST)

/* Returns the value found; equal to @old when the exchange took place. */
#define qatomic_cmpxchg(ptr, old, new) ({                               \
        typeof(*(ptr)) cmpxchg_old_ = (old);                            \
        (void)__atomic_compare_exchange_n((ptr), &cmpxchg_old_, (new),  \
                                          false, __ATOMIC_SEQ_CST,      \
                                          __ATOMIC_SEQ_CST);            \
        cmpxchg_old_; })

#define qatomic_fetch_add(ptr, n) __atomic_fetch_add(ptr, n, __ATOMIC_SEQ_CST)
#define qatomic_fetch_sub(ptr, n) __atomic_fetch_sub(ptr, n, __ATOMIC_SEQ_CST)
#define qatomic_fetch_and(ptr, n) __atomic_fetch_and(ptr, n, __ATOMIC_SEQ_CST)
#define qatomic_fetch_or(ptr, n)  __atomic_fetch_or(ptr, n, __ATOMIC_SEQ_CST)
#define qatomic_fetch_inc(ptr) qatomic_fetch_add(ptr, 1)
#define qatomic_fetch_dec(ptr) qatomic_fetch_sub(ptr, 1)

#define qatomic_inc(ptr)    ((void)qatomic_fetch_add(ptr, 1))
#define qatomic_dec(ptr)    ((void)qatomic_fetch_sub(ptr, 1))
#define qatomic_add(ptr, n) ((void)qatomic_fetch_add(ptr, n))
#define qatomic_sub(ptr, n) ((void)qatomic_fetch_sub(ptr, n))
#define qatomic_and(ptr, n) ((void)qatomic_fetch_and(ptr, n))
#define qatomic_or(ptr, n)  ((void)qatomic_fetch_or(ptr, n))

#endif
