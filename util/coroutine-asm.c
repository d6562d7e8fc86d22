/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Coroutine backend: a context switch written by hand, for x86-64 and
 * AArch64.
 *
 * A suspended coroutine is three registers in its structure: stack pointer,
 * frame pointer and the address at which it goes on.  Everything else that a
 * function call preserves is declared as changed by the asm statement, so that
 * the compiler saves, in the frame of qemu_coroutine_switch(), what it must.
 * Nothing is pushed by hand, so the unwind information that the compiler
 * makes for the function is right before, during and after the switch,
 * and a debugger sees through it.
 *
 * Every coroutine is suspended inside the one asm statement of
 * qemu_coroutine_switch(), or has not begun, and then goes on in
 * coroutine_start(), which ends the chain of frames.
 *
 * The signal mask and the floating-point control registers belong to the
 * thread: no coroutine changes them across a yield.  The continuation is a
 * landing pad of branch protection (IBT, BTI).  A shadow stack, though, would
 * have to be switched too; a thread that has one is refused at its first
 * coroutine.
 */
#include "qemu/osdep.h"
#include "qemu/coroutine_int.h"
#include "qemu/coroutine-tls.h"
#include "coroutine-sanitizer.h"

typedef struct {
    /* The asm knows the offsets of these three. */
    void *sp;
    void *fp;
    void *pc;

    Coroutine base;
    void *stack;
    size_t stack_size;
    CoroutineSan san;
} CoroutineAsm;

QEMU_BUILD_BUG_ON(offsetof(CoroutineAsm, sp) != 0);
QEMU_BUILD_BUG_ON(offsetof(CoroutineAsm, fp) != 8);
QEMU_BUILD_BUG_ON(offsetof(CoroutineAsm, pc) != 16);

/* Stands for the thread's own stack. */
QEMU_DEFINE_STATIC_CO_TLS(CoroutineAsm, leader)
QEMU_DEFINE_STATIC_CO_TLS(Coroutine *, current)

/*
 * Stacks begin at different cache lines of their page.  Otherwise the hot
 * ends of all stacks compete for the same few sets of the cache.
 */
#define STACK_COLOURS 32
#define STACK_COLOUR_BYTES 64

/* Where a new coroutine begins; finds @co in a register of its choice. */
void coroutine_start(void);
void coroutine_main(CoroutineAsm *co);

#if defined(__x86_64__)

/*
 * Entered by a jump, with the stack pointer aligned to 16 and the coroutine
 * in %rsi.  The undefined return address ends a backtrace.
 */
__asm__(
    ".pushsection .text\n"
    ".globl coroutine_start\n"
    ".hidden coroutine_start\n"
    ".type coroutine_start, @function\n"
    "coroutine_start:\n"
    "    .cfi_startproc\n"
    "    .cfi_undefined rip\n"
    "    .cfi_undefined rbp\n"
    "    endbr64\n"
    "    xorl %ebp, %ebp\n"
    "    movq %rsi, %rdi\n"
    "    call coroutine_main\n"
    "    ud2\n"
    "    .cfi_endproc\n"
    ".size coroutine_start, . - coroutine_start\n"
    ".popsection\n");

/* The frame is left as it is and found again as it was: nothing is pushed. */
#define SWITCH(from, to, action)                                        \
    __asm__ volatile(                                                   \
        "leaq 1f(%%rip), %%rcx\n\t"                                     \
        "movq %%rsp, 0(%%rdi)\n\t"                                      \
        "movq %%rbp, 8(%%rdi)\n\t"                                      \
        "movq %%rcx, 16(%%rdi)\n\t"                                     \
        "movq 0(%%rsi), %%rsp\n\t"                                      \
        "movq 8(%%rsi), %%rbp\n\t"                                      \
        "jmpq *16(%%rsi)\n"                                             \
        "1:\n\t"                                                        \
        "endbr64\n"                                                     \
        : "+D"(from), "+S"(to), "+a"(action)                            \
        :                                                               \
        : "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13",  \
          "r14", "r15", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", \
          "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",    \
          "xmm13", "xmm14", "xmm15", "cc", "memory")

/* rdsspq; leaves the register alone where there is no shadow stack. */
static bool have_shadow_stack(void)
{
    uint64_t ssp = 0;

    __asm__ volatile(".byte 0xf3, 0x48, 0x0f, 0x1e, 0xc8" : "+a"(ssp));
    return ssp != 0;
}

#elif defined(__aarch64__)

/* hint 38 is "bti jc", hint 40 "chkfeat x16", which older CPUs ignore. */
__asm__(
    ".pushsection .text\n"
    ".globl coroutine_start\n"
    ".hidden coroutine_start\n"
    ".type coroutine_start, %function\n"
    "coroutine_start:\n"
    "    .cfi_startproc\n"
    "    .cfi_undefined x30\n"
    "    .cfi_undefined x29\n"
    "    hint #38\n"
    "    mov x29, xzr\n"
    "    mov x30, xzr\n"
    "    mov x0, x1\n"
    "    bl coroutine_main\n"
    "    brk #1\n"
    "    .cfi_endproc\n"
    ".size coroutine_start, . - coroutine_start\n"
    ".popsection\n");

#define SWITCH(from, to, action)                                        \
    do {                                                                \
        register CoroutineAsm *x0_ __asm__("x0") = (from);              \
        register CoroutineAsm *x1_ __asm__("x1") = (to);                \
        register uint64_t x2_ __asm__("x2") = (action);                 \
        __asm__ volatile(                                               \
            "adr x9, 1f\n\t"                                            \
            "mov x10, sp\n\t"                                           \
            "stp x10, x29, [x0]\n\t"                                    \
            "str x9, [x0, #16]\n\t"                                     \
            "ldp x10, x29, [x1]\n\t"                                    \
            "ldr x16, [x1, #16]\n\t"                                    \
            "mov sp, x10\n\t"                                           \
            "br x16\n"                                                  \
            "1:\n\t"                                                    \
            "hint #38\n"                                                \
            : "+r"(x0_), "+r"(x1_), "+r"(x2_)                           \
            :                                                           \
            : "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11",   \
              "x12", "x13", "x14", "x15", "x16", "x17", "x19", "x20",   \
              "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28",   \
              "x30", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7",    \
              "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15",     \
              "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23",   \
              "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31",   \
              "cc", "memory");                                          \
        (from) = x0_;                                                   \
        (to) = x1_;                                                     \
        (action) = x2_;                                                 \
    } while (0)

/* Guarded control stack: chkfeat clears bit 0 of x16 if it is enabled. */
static bool have_shadow_stack(void)
{
    register uint64_t x16_ __asm__("x16") = 1;

    __asm__ volatile("hint #40" : "+r"(x16_));
    return x16_ == 0;
}

#else
#error "no context switch for this machine: use coroutine_backend=ucontext"
#endif

static CoroutineAsm *to_asm(Coroutine *co)
{
    return container_of(co, CoroutineAsm, base);
}

/* The body of every coroutine, one entry after the other. */
COROUTINE_NO_ASAN QEMU_USED void coroutine_main(CoroutineAsm *co)
{
    coroutine_san_finish(&co->san);
    for (;;) {
        co->base.entry(co->base.entry_arg);
        qemu_coroutine_switch(&co->base, co->base.caller,
                              COROUTINE_TERMINATE);
    }
}

Coroutine *qemu_coroutine_new(void)
{
    static unsigned colour;
    CoroutineAsm *co;
    uintptr_t top;

    if (unlikely(have_shadow_stack())) {
        fprintf(stderr, "qemu: this build cannot run coroutines with a shadow"
                " stack: disable it, or configure"
                " -Dcoroutine_backend=ucontext\n");
        abort();
    }

    co = g_new0(CoroutineAsm, 1);
    co->stack_size = COROUTINE_STACK_SIZE;
    co->stack = qemu_alloc_stack(&co->stack_size);
    coroutine_san_new(&co->san, co->stack, co->stack_size);

    top = (uintptr_t)co->stack + co->stack_size - 64;
    top -= qatomic_fetch_inc(&colour) % STACK_COLOURS * STACK_COLOUR_BYTES;
    co->sp = (void *)top;
    co->pc = coroutine_start;
    return &co->base;
}

void qemu_coroutine_delete(Coroutine *co_)
{
    CoroutineAsm *co = to_asm(co_);

    coroutine_san_delete(&co->san, co->stack, co->stack_size);
    qemu_free_stack(co->stack, co->stack_size);
    g_free(co);
}

/* Neither inlined nor copied: there must be one continuation. */
COROUTINE_NO_ASAN __attribute__((noinline))
CoroutineAction qemu_coroutine_switch(Coroutine *from_, Coroutine *to_,
                                      CoroutineAction action)
{
    CoroutineAsm *from = to_asm(from_);
    CoroutineAsm *to = to_asm(to_);
    uint64_t arg = action;

    /* The code behind the switch no longer touches this thread's variables. */
    co_tls_current = to_;
    coroutine_san_start(&from->san, &to->san, action);
    SWITCH(from, to, arg);

    /*
     * The registers now hold the arguments of the other side's call: "to" is
     * the coroutine that goes on here.
     */
    coroutine_san_finish(&to->san);
    return arg;
}

/* The thread's first look at its coroutine. */
static QEMU_NOINLINE Coroutine *coroutine_make_leader(void)
{
    CoroutineAsm *leader = get_ptr_leader();

    coroutine_san_leader(&leader->san);
    QSIMPLEQ_INIT(&leader->base.co_queue_wakeup);
    set_current(&leader->base);
    return &leader->base;
}

/* An accessor of the variable itself: see coroutine-tls.h. */
QEMU_NOINLINE Coroutine *qemu_coroutine_self(void)
{
    Coroutine *self;

    __asm__ volatile("");
    self = co_tls_current;
    return likely(self) ? self : coroutine_make_leader();
}

bool qemu_in_coroutine(void)
{
    Coroutine *self = get_current();

    return self && self->caller;
}
