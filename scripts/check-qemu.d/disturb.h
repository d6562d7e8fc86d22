/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the preloaded library share: see disturb.c.
 */
#ifndef CHECK_QEMU_DISTURB_H
#define CHECK_QEMU_DISTURB_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* Read by run.py: keep the order of the fields. */
typedef struct {
    uint64_t loaded;        /* 1 */
    uint64_t calls;         /* of io_submit() */
    uint64_t requests;      /* reads and writes */
    uint64_t max_batch;
    uint64_t stack_bytes;   /* between the frames that call io_submit() */
    uint64_t disturbed;     /* requests that something was done to */
    uint64_t asynchronous;  /* requests not completed within the call */
    uint64_t failed;        /* calls of this library that failed */
    uint64_t late_batch;    /* requests per call, after the first 8 calls */
    uint64_t retry_us;      /* until a call was tried again, the last time */
    uint64_t dsync;         /* writes with RWF_DSYNC */
    uint64_t unflushed;     /* writes without, that no flush came after */
    uint64_t threads;       /* that call io_submit(), but the main one */
    uint64_t clock_reads;   /* by those who have called io_submit() */
    uint64_t looks;         /* at descriptors */
    uint64_t turn;          /* the most requests between two looks */
    uint64_t tail_offset;   /* of the last read that was not aligned */
    uint64_t tail_bytes;
    uint64_t uring_calls;   /* of io_uring_enter2() and its kin of liburing */
    uint64_t uring_stack_bytes;
    uint64_t file_calls;    /* pread() and its kin, and sem_post() */
    uint64_t file_stack_bytes;
} Report;

/* What CHECK_QEMU_DISTURB says. */
enum {
    WATCH, REFUSE, AGAIN, AGAIN_BUSY, AGAIN_LONG, SILENT, SLOW_SILENT, CUT,
    LATE, KICK, SLOW, EINTR_ALL, NONE, TAIL, FUA, TOGETHER, SYNC_ERROR,
    REFUSE_SLOW, EINTR_ONCE, TOOK_NONE, UNALIGNED, FROZEN, DEAF,
};

/* Where on its stack a thread has called functions of a kind. */
typedef struct {
    uintptr_t low, high;    /* frames; 0: no call yet */
} Spread;

extern Report *report;
extern int mode;

void add(uint64_t *counter, uint64_t n);
void raise_to(uint64_t *max, uint64_t value);
/* The function that the program would call without the library. */
void *next_function(const char *name);

/*
 * A call from @frame, for the range @spread of this thread; *@max becomes at
 * least its bytes.  Calls from a coroutine's own stack do not count.
 */
void note_frame(Spread *spread, uintptr_t frame, uint64_t *max);
/* A call of io_submit() by this thread; completions signal @eventfd. */
void watch_submit(uint64_t requests, int eventfd, uintptr_t submit_frame);
/* The clock as it is, and not counted. */
int real_clock(clockid_t id, struct timespec *t);

#endif
