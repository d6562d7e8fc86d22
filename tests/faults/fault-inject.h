/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fault-inject: between the wrappers of the calls (fault-inject.c) and what is
 * wanted of them (fault-setting.c).
 */
#ifndef FAULT_INJECT_H
#define FAULT_INJECT_H

#define FAULT_LATE_US 20000

typedef enum {
    CALL_IO_SUBMIT, CALL_IO_SETUP, CALL_EVENTFD, CALL_PREAD, CALL_PREADV,
    CALL_PWRITE, CALL_PWRITEV, CALL_READ, CALL_WRITE, CALL_FDATASYNC,
    CALL_FSYNC, CALL_FALLOCATE, CALL_POSIX_FALLOCATE, CALL_FTRUNCATE,
    CALL_OPEN, CALL_MMAP, CALL_IO_URING_SETUP, CALL_IO_URING_SUBMIT,
    CALL_IO_URING_ENTER, CALL__MAX,
} Call;

typedef enum {
    KIND_NONE, KIND_FAIL, KIND_SHORT, KIND_LATE, KIND_CUT, KIND_EVENT,
} Kind;

/* Take over both names: which one a program uses depends on its headers. */
#define EXPORT(name, function)                          \
    __asm__(".globl " name "\n\t.set " name ", " #function)

#define WRAPPER static __attribute__((used, noinline))

/* Past this library's own functions, and the runtime of a sanitizer. */
void *fault_next_function(const char *name);

#define NEXT(name, type) ({                                             \
    static void *next_;                                                 \
    void *fn_ = qatomic_read(&next_);                                   \
    if (!fn_) {                                                         \
        fn_ = fault_next_function(name);                                \
        qatomic_set(&next_, fn_);                                       \
    }                                                                   \
    (type *)fn_; })

struct iovec;

/* About half of @len, aligned; @len where that would be nothing. */
size_t fault_half_of(size_t len);
size_t fault_iov_bytes(const struct iovec *iov, int niov);
/* The first @bytes of @iov, in @part; how many elements that are. */
int fault_iov_part(struct iovec *part, const struct iovec *iov, size_t bytes);

/* From the environment; constant once the program runs. */
extern int fault_errno;         /* of KIND_FAIL and KIND_EVENT */
extern bool fault_no_ring;      /* the engine is not to know its ring */

/* One more @call: is it the one to disturb, and how? */
Kind fault_count(Call call);
/* Tell the one who reads stderr that it happens now. */
void fault_mark_call(Call call);
/* Delay @call, or, if true, fail it with errno set: as @kind says. */
bool fault_apply(Call call, Kind kind);
/* All of that for a call that transfers nothing. */
bool fault_disturb(Call call);

#endif
