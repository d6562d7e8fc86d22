/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Coroutine backend for machines without a hand-written context switch.
 *
 * makecontext() and swapcontext() put a new coroutine on its stack, once.
 * They save the signal mask, which costs two system calls, so every later
 * switch is a siglongjmp() to where the other one called sigsetjmp(), without
 * the mask.
 */
#include "qemu/osdep.h"
#ifdef _FORTIFY_SOURCE
/* Its longjmp() refuses to go to another stack; see <setjmp.h>. */
#undef _FORTIFY_SOURCE
#undef __USE_FORTIFY_LEVEL
#define __USE_FORTIFY_LEVEL 0
#endif
#include <setjmp.h>
#include <ucontext.h>
#include "qemu/coroutine_int.h"
#include "qemu/coroutine-tls.h"
#include "coroutine-sanitizer.h"

typedef struct {
    Coroutine base;
    void *stack;
    size_t stack_size;
    sigjmp_buf env;
    CoroutineAction action;     /* handed over by who switches to it */
    CoroutineSan san;
} CoroutineUContext;

/* Stands for the thread's own stack. */
QEMU_DEFINE_STATIC_CO_TLS(CoroutineUContext, leader)
QEMU_DEFINE_STATIC_CO_TLS(Coroutine *, current)

static CoroutineUContext *to_ucontext(Coroutine *co)
{
    return container_of(co, CoroutineUContext, base);
}

/* makecontext() passes ints: a pointer comes in two of them. */
union cc_arg {
    void *p;
    int i[2];
};

typedef struct {
    CoroutineUContext *co;
    CoroutineSan *creator;
    ucontext_t back;
} CoroutineBoot;

/* The body of every coroutine: go back to the creator, then entries. */
static COROUTINE_NO_ASAN void coroutine_main(int i0, int i1)
{
    union cc_arg arg = { .i = { i0, i1 } };
    CoroutineBoot *boot = arg.p;
    CoroutineUContext *co = boot->co;

    coroutine_san_finish(&co->san);
    if (!sigsetjmp(co->env, 0)) {
        coroutine_san_start(&co->san, boot->creator, COROUTINE_YIELD);
        setcontext(&boot->back);
        abort();
    }
    coroutine_san_finish(&co->san);

    for (;;) {
        co->base.entry(co->base.entry_arg);
        qemu_coroutine_switch(&co->base, co->base.caller,
                              COROUTINE_TERMINATE);
    }
}

static COROUTINE_NO_ASAN __attribute__((noinline))
void coroutine_boot(CoroutineUContext *co, CoroutineUContext *creator)
{
    CoroutineBoot boot = { .co = co, .creator = &creator->san };
    union cc_arg arg = { .p = &boot };
    ucontext_t uc;

    if (getcontext(&uc) < 0) {
        abort();
    }
    uc.uc_link = NULL;
    uc.uc_stack.ss_sp = co->stack;
    uc.uc_stack.ss_size = co->stack_size;
    uc.uc_stack.ss_flags = 0;
    makecontext(&uc, (void (*)(void))coroutine_main, 2, arg.i[0], arg.i[1]);

    coroutine_san_start(&creator->san, &co->san, COROUTINE_ENTER);
    swapcontext(&boot.back, &uc);
    coroutine_san_finish(&creator->san);
}

Coroutine *qemu_coroutine_new(void)
{
    CoroutineUContext *co = g_new0(CoroutineUContext, 1);

    co->stack_size = COROUTINE_STACK_SIZE;
    co->stack = qemu_alloc_stack(&co->stack_size);
    coroutine_san_new(&co->san, co->stack, co->stack_size);
    coroutine_boot(co, to_ucontext(qemu_coroutine_self()));
    return &co->base;
}

void qemu_coroutine_delete(Coroutine *co_)
{
    CoroutineUContext *co = to_ucontext(co_);

    coroutine_san_delete(&co->san, co->stack, co->stack_size);
    qemu_free_stack(co->stack, co->stack_size);
    g_free(co);
}

COROUTINE_NO_ASAN __attribute__((noinline))
CoroutineAction qemu_coroutine_switch(Coroutine *from_, Coroutine *to_,
                                      CoroutineAction action)
{
    CoroutineUContext *from = to_ucontext(from_);
    CoroutineUContext *to = to_ucontext(to_);

    to->action = action;
    set_current(to_);
    if (!sigsetjmp(from->env, 0)) {
        coroutine_san_start(&from->san, &to->san, action);
        siglongjmp(to->env, 1);
    }
    coroutine_san_finish(&from->san);
    return from->action;
}

Coroutine *qemu_coroutine_self(void)
{
    Coroutine *self = get_current();

    if (unlikely(!self)) {
        CoroutineUContext *leader = get_ptr_leader();

        coroutine_san_leader(&leader->san);
        QSIMPLEQ_INIT(&leader->base.co_queue_wakeup);
        self = &leader->base;
        set_current(self);
    }
    return self;
}

bool qemu_in_coroutine(void)
{
    Coroutine *self = get_current();

    return self && self->caller;
}
