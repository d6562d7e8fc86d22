/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What coroutines cost, in ns per operation, next to swapcontext(3).
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/coroutine.h"
#include "qemu/coroutine_int.h"
#include "qemu/main-loop.h"

#include <ucontext.h>

#define ROUNDS 10000000
#define SLOW_ROUNDS 200000

static int64_t now(void)
{
    return qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
}

static void report(const char *what, int64_t begin, int64_t ops)
{
    printf("%-34s %8.2f ns/op\n", what, (double)(now() - begin) / ops);
}

static void coroutine_fn yield_forever(void *opaque)
{
    bool *stop = opaque;

    while (!*stop) {
        qemu_coroutine_yield();
    }
}

static void bench_yield(void)
{
    bool stop = false;
    Coroutine *co = qemu_coroutine_create(yield_forever, &stop);
    int64_t begin = now();
    int i;

    for (i = 0; i < ROUNDS; i++) {
        qemu_coroutine_enter(co);
    }
    report("switch (half of enter + yield)", begin, 2LL * ROUNDS);
    stop = true;
    qemu_coroutine_enter(co);
}

static void coroutine_fn switch_forever(void *opaque)
{
    Coroutine *self = qemu_coroutine_self();
    Coroutine *to = self->caller;
    bool *stop = opaque;

    while (!*stop) {
        qemu_coroutine_switch(self, to, COROUTINE_YIELD);
    }
}

/* The backend alone, without what entering and yielding check. */
static void bench_switch(void)
{
    bool stop = false;
    Coroutine *self = qemu_coroutine_self();
    Coroutine *co = qemu_coroutine_create(switch_forever, &stop);
    int64_t begin = now();
    int i;

    co->caller = self;
    for (i = 0; i < ROUNDS; i++) {
        qemu_coroutine_switch(self, co, COROUTINE_ENTER);
    }
    report("switch (backend only)", begin, 2LL * ROUNDS);
    stop = true;
    co->caller = NULL;
    qemu_coroutine_enter(co);
}

static void coroutine_fn nothing(void *opaque)
{
}

static void bench_lifecycle(void)
{
    int64_t begin = now();
    int i;

    for (i = 0; i < ROUNDS; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(nothing, NULL));
    }
    report("create + enter + terminate", begin, ROUNDS);
}

static void coroutine_fn lock_unlock(void *opaque)
{
    CoMutex *mutex = opaque;
    int64_t begin = now();
    int i;

    for (i = 0; i < ROUNDS; i++) {
        qemu_co_mutex_lock(mutex);
        qemu_co_mutex_unlock(mutex);
    }
    report("CoMutex lock + unlock, free", begin, ROUNDS);
}

static void coroutine_fn rdlock_unlock(void *opaque)
{
    CoRwlock *lock = opaque;
    int64_t begin = now();
    int i;

    for (i = 0; i < ROUNDS; i++) {
        qemu_co_rwlock_rdlock(lock);
        qemu_co_rwlock_unlock(lock);
    }
    report("CoRwlock rdlock + unlock, free", begin, ROUNDS);
}

static ucontext_t uc_main, uc_other;

static void uc_loop(void)
{
    for (;;) {
        swapcontext(&uc_other, &uc_main);
    }
}

static void bench_ucontext(void)
{
    size_t size = COROUTINE_STACK_SIZE;
    void *stack = qemu_alloc_stack(&size);
    int64_t begin;
    int i;

    getcontext(&uc_other);
    uc_other.uc_stack.ss_sp = stack;
    uc_other.uc_stack.ss_size = size;
    uc_other.uc_link = NULL;
    makecontext(&uc_other, uc_loop, 0);
    begin = now();
    for (i = 0; i < SLOW_ROUNDS; i++) {
        swapcontext(&uc_main, &uc_other);
    }
    report("swapcontext(3)", begin, 2LL * SLOW_ROUNDS);
    qemu_free_stack(stack, size);
}

int main(void)
{
    CoMutex mutex;
    CoRwlock rwlock;

    qemu_init_main_loop(&error_fatal);
    qemu_co_mutex_init(&mutex);
    qemu_co_rwlock_init(&rwlock);
    bench_switch();
    bench_yield();
    bench_lifecycle();
    qemu_coroutine_enter(qemu_coroutine_create(lock_unlock, &mutex));
    qemu_coroutine_enter(qemu_coroutine_create(rdlock_unlock, &rwlock));
    bench_ucontext();
    qemu_cleanup_main_loop();
    return 0;
}
