/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LD_PRELOAD library of scripts/check-qemu: watches io_submit() of libaio, and
 * makes it do what a kernel may do.  It is built on the user's machine, so it
 * needs nothing but the C library and the kernel's headers.
 *
 *   CHECK_QEMU_REPORT=FILE   a file of sizeof(Report) bytes: what was seen.  It
 *                            is mapped, so that it survives a crash.
 *   CHECK_QEMU_DISTURB=WHAT
 *
 *   watch       nothing is changed
 *   refuse      the first request is late, requests meanwhile get EAGAIN, and
 *               the next batch, of all that were queued, is refused with EIO
 *   again       the first call, with nothing in flight, fails with EAGAIN
 *   again-busy  the first request is late; meanwhile one call fails with EAGAIN
 *   again-long  all calls fail with EAGAIN for LATE_US; one succeeds; the next
 *               fails once more
 *   silent      completions do not signal the eventfd
 *   slow-silent:US  the same, and a request takes US microseconds in the call
 *   cut:BYTES   a request transfers BYTES at most
 *   late:BYTES  the same for the first request; the second one is late
 *   kick:BYTES  the first request of at least BYTES is late: all that follows
 *               begins in the event loop, not in the coroutine of a command
 *   slow:US     a request takes US microseconds within the call
 *   eintr       requests complete with EINTR, all of them
 *   none        the first request completes with 0 bytes
 *   tail:BYTES  the first request transfers BYTES at most; the second one
 *               completes with EINVAL
 *   fua:BYTES   like cut; the prompt of qemu-io is shown at once
 *   together:N  requests complete when there are N of them, or no more come
 *   sync-error  the first fdatasync(), fsync() or IOCB_CMD_FDSYNC fails, as if
 *               a write-back error had been pending; later ones do not
 *   refuse-slow:US  a call with several requests is refused with EIO; a request
 *               that comes alone takes US microseconds within the call
 *   eintr-once  the first request completes with EINTR
 *   took-none   all calls take no request and return 0 for LATE_US
 *   unaligned   a read that does not begin at a sector completes with EINVAL,
 *               as on ext4 before Linux 5.5
 *   frozen      for a thread that submits requests the clock stands still
 *   deaf:US     like slow-silent; nor does the engine's own signal arrive
 *
 * Only reads and writes are changed, but for sync-error.  Where a file system
 * has no O_DIRECT, files are opened without.  What else is watched, and the
 * clock, are in watch.c; the stack, and the calls of other engines, are in
 * spread.c.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "disturb.h"

/* How long a late request takes; qemu-io queues all others meanwhile. */
#define LATE_US 300000
/* An iovec has no more elements than that. */
#define MAX_IOV 1024

typedef int SubmitFn(void *ctx, long nr, struct iocb **iocbs);
typedef int OpenFn(const char *name, int flags, mode_t mode);
typedef int SyncFn(int fd);

/* The ring that is mapped at the address of the context. */
typedef struct {
    uint32_t id, nr, head, tail, magic, compat, incompat, header_length;
    struct io_event events[];
} Ring;

#define RING_MAGIC 0xa10a10a1

static const char *const names[] = {
    "watch", "refuse", "again", "again-busy", "again-long", "silent",
    "slow-silent", "cut", "late", "kick", "slow", "eintr", "none", "tail",
    "fua", "together", "sync-error", "refuse-slow", "eintr-once", "took-none",
    "unaligned", "frozen", "deaf",
};

static Report dummy;
Report *report = &dummy;
int mode;
static unsigned long parameter;

/* How far a mode has come: which request it is, or which step. */
static uint64_t step;

void add(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

void raise_to(uint64_t *max, uint64_t value)
{
    uint64_t old = __atomic_load_n(max, __ATOMIC_RELAXED);

    while (old < value &&
           !__atomic_compare_exchange_n(max, &old, value, false,
                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

static void sleep_us(unsigned long us)
{
    struct timespec t = { us / 1000000, us % 1000000 * 1000 };

    while (nanosleep(&t, &t) < 0 && errno == EINTR) {
    }
}

static uint64_t now_us(void)
{
    struct timespec t;

    real_clock(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000ULL + t.tv_nsec / 1000;
}

void *next_function(const char *name)
{
    void *fn = dlsym(RTLD_NEXT, name);

    if (!fn) {
        _exit(125);
    }
    return fn;
}

static void read_setting(void)
{
    const char *s = getenv("CHECK_QEMU_DISTURB");
    size_t i;

    for (i = 0; s && i < sizeof(names) / sizeof(names[0]); i++) {
        size_t len = strlen(names[i]);

        if (!strncmp(s, names[i], len) && (!s[len] || s[len] == ':')) {
            mode = i;
            parameter = s[len] ? strtoul(s + len + 1, NULL, 10) : 0;
            return;
        }
    }
}

static void __attribute__((constructor)) start(void)
{
    const char *name = getenv("CHECK_QEMU_REPORT");
    int fd = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
    void *p;

    read_setting();
    /* In order with stderr; and a prompt at once, where it is waited for. */
    setvbuf(stdout, NULL, mode == SLOW || mode == FUA ? _IONBF : _IOLBF, 0);
    if (fd < 0) {
        return;
    }
    p = mmap(NULL, sizeof(Report), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p != MAP_FAILED) {
        report = p;
        report->loaded = 1;
    }
    close(fd);
}

/* --- what is seen --- */

static bool is_read(const struct iocb *cb)
{
    return cb->aio_lio_opcode == IOCB_CMD_PREADV ||
           cb->aio_lio_opcode == IOCB_CMD_PREAD;
}

static bool is_write(const struct iocb *cb)
{
    return cb->aio_lio_opcode == IOCB_CMD_PWRITEV ||
           cb->aio_lio_opcode == IOCB_CMD_PWRITE;
}

static bool is_transfer(const struct iocb *cb)
{
    return is_read(cb) || is_write(cb);
}

/* Its buffer is a vector, not a single one. */
static bool has_vector(const struct iocb *cb)
{
    return cb->aio_lio_opcode == IOCB_CMD_PREADV ||
           cb->aio_lio_opcode == IOCB_CMD_PWRITEV;
}

static long count_transfers(long nr, struct iocb **iocbs)
{
    long i, n = 0;

    for (i = 0; i < nr; i++) {
        n += is_transfer(iocbs[i]);
    }
    return n;
}

static int call_next(void *ctx, long nr, struct iocb **iocbs)
{
    static SubmitFn *fn;
    long transfers = count_transfers(nr, iocbs);
    uint32_t before = __atomic_load_n(&((Ring *)ctx)->tail, __ATOMIC_ACQUIRE);
    uint32_t after;
    int ret;

    if (!fn) {
        fn = (SubmitFn *)next_function("io_submit");
    }
    ret = fn(ctx, nr, iocbs);
    after = __atomic_load_n(&((Ring *)ctx)->tail, __ATOMIC_ACQUIRE);
    if (after < before) {
        after += ((Ring *)ctx)->nr;
    }
    if (ret == nr && transfers == nr && after - before < (uint32_t)ret) {
        add(&report->asynchronous, ret - (after - before));
    }
    return ret;
}

/* --- late requests --- */

typedef struct {
    void *ctx;
    struct iocb *cb;
} Held;

static void *late_thread(void *opaque)
{
    Held *held = opaque;

    sleep_us(LATE_US);
    if (call_next(held->ctx, 1, &held->cb) != 1) {
        add(&report->failed, 1);
    }
    free(held);
    return NULL;
}

/* The request is taken, and given to the kernel later. */
static int submit_late(void *ctx, struct iocb *cb)
{
    Held *held = malloc(sizeof(*held));
    sigset_t all, old;
    pthread_t thread;
    int ret;

    if (!held) {
        add(&report->failed, 1);
        return -EAGAIN;
    }
    held->ctx = ctx;
    held->cb = cb;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    ret = pthread_create(&thread, NULL, late_thread, held);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (ret) {
        free(held);
        add(&report->failed, 1);
        return -EAGAIN;
    }
    pthread_detach(thread);
    add(&report->disturbed, 1);
    return 1;
}

/* --- the disturbances --- */

/* The first @bytes of the vector of @cb, in @part; how many elements. */
static unsigned cut_vector(struct iovec *part, const struct iocb *cb,
                           size_t bytes)
{
    const struct iovec *iov = (const struct iovec *)(uintptr_t)cb->aio_buf;
    unsigned n;

    for (n = 0; bytes && n < cb->aio_nbytes && n < MAX_IOV; n++) {
        part[n] = iov[n];
        if (part[n].iov_len > bytes) {
            part[n].iov_len = bytes;
        }
        bytes -= part[n].iov_len;
    }
    return n;
}

static size_t transfer_bytes(const struct iocb *cb)
{
    const struct iovec *iov = (const struct iovec *)(uintptr_t)cb->aio_buf;
    size_t sum = 0;
    unsigned i;

    if (!has_vector(cb)) {
        return cb->aio_nbytes;
    }
    for (i = 0; i < cb->aio_nbytes; i++) {
        sum += iov[i].iov_len;
    }
    return sum;
}

/*
 * The kernel has read the vector when the call returns, so the request gets its
 * own back before anybody can see that it is done.
 */
static int submit_cut(void *ctx, struct iocb *cb, size_t bytes)
{
    struct iovec part[MAX_IOV];
    struct iocb saved = *cb;
    int ret;

    if (transfer_bytes(cb) <= bytes) {
        return call_next(ctx, 1, &cb);
    }
    if (has_vector(cb)) {
        cb->aio_nbytes = cut_vector(part, cb, bytes);
        cb->aio_buf = (uintptr_t)part;
    } else {
        cb->aio_nbytes = bytes;
    }
    add(&report->disturbed, 1);
    ret = call_next(ctx, 1, &cb);
    cb->aio_nbytes = saved.aio_nbytes;
    cb->aio_buf = saved.aio_buf;
    return ret;
}

/*
 * @cb completes with @res.  The kernel gets a read that it completes with
 * EFAULT within the call; its result is changed in the ring.
 */
static int submit_result(void *ctx, struct iocb *cb, int64_t res)
{
    struct iovec bad = { (void *)4096, 4096 };
    struct iocb saved = *cb;
    Ring *ring = ctx;
    uint32_t tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
    int ret;

    cb->aio_lio_opcode = IOCB_CMD_PREADV;
    cb->aio_buf = (uintptr_t)&bad;
    cb->aio_nbytes = 1;
    cb->aio_offset = 0;
    cb->aio_rw_flags = 0;
    ret = call_next(ctx, 1, &cb);
    *cb = saved;
    if (ret != 1 || ring->magic != RING_MAGIC ||
        ring->events[tail].obj != (uintptr_t)cb) {
        add(&report->failed, 1);
        return ret;
    }
    ring->events[tail].res = res;
    add(&report->disturbed, 1);
    return 1;
}

static int submit_refuse(void *ctx, long nr, struct iocb **iocbs)
{
    switch (step) {
    case 0:
        step = 1;
        return submit_late(ctx, iocbs[0]);
    case 1:
        if (nr < 2) {
            return -EAGAIN;
        }
        step = 2;
        add(&report->disturbed, 1);
        return -EIO;
    default:
        return call_next(ctx, nr, iocbs);
    }
}

/* The signals of @iocbs are taken away for the call, and given back then. */
static int submit_silent(void *ctx, long nr, struct iocb **iocbs)
{
    uint32_t *flags = malloc(nr * sizeof(*flags));
    long i;
    int ret;

    for (i = 0; i < nr; i++) {
        flags[i] = iocbs[i]->aio_flags;
        if (is_transfer(iocbs[i])) {
            iocbs[i]->aio_flags &= ~IOCB_FLAG_RESFD;
        }
    }
    ret = call_next(ctx, nr, iocbs);
    for (i = 0; i < nr; i++) {
        iocbs[i]->aio_flags = flags[i];
    }
    free(flags);
    if (ret > 0) {
        sleep_us(ret * parameter);
        add(&report->disturbed, ret);
    }
    return ret;
}

static int submit_again_busy(void *ctx, long nr, struct iocb **iocbs)
{
    switch (step++) {
    case 0:
        return submit_late(ctx, iocbs[0]);
    case 1:
        add(&report->disturbed, 1);
        return -EAGAIN;
    default:
        return call_next(ctx, nr, iocbs);
    }
}

static int submit_again_long(void *ctx, long nr, struct iocb **iocbs)
{
    static uint64_t first, last;
    uint64_t now = now_us();

    if (step == 0) {
        first = first ? first : now;
        if (now - first < LATE_US) {
            add(&report->disturbed, 1);
            return -EAGAIN;
        }
    } else if (step == 1) {
        last = now;
        step = 2;
        return -EAGAIN;
    } else if (step == 2) {
        report->retry_us = now - last;
        step = 3;
    }
    step = step ? step : 1;
    return call_next(ctx, nr, iocbs);
}

static int submit_took_none(void *ctx, long nr, struct iocb **iocbs)
{
    static uint64_t first;
    uint64_t now = now_us();

    first = first ? first : now;
    if (now - first < LATE_US) {
        add(&report->disturbed, 1);
        return 0;
    }
    return call_next(ctx, nr, iocbs);
}

static int submit_unaligned(void *ctx, struct iocb **iocbs)
{
    struct iocb *cb = iocbs[0];

    if (!is_read(cb) || cb->aio_offset % 512 == 0) {
        return call_next(ctx, 1, iocbs);
    }
    report->tail_offset = cb->aio_offset;
    report->tail_bytes = transfer_bytes(cb);
    return submit_result(ctx, cb, -EINVAL);
}

/* --- requests that complete together --- */

#define MAX_TOGETHER 256
/* That long after the last one no more are expected. */
#define QUIET_US 20000

static pthread_mutex_t together_lock = PTHREAD_MUTEX_INITIALIZER;
static struct iocb *together[MAX_TOGETHER];
static unsigned n_together;
static uint64_t together_us;            /* when the last one came */

static void *together_thread(void *ctx)
{
    while (true) {
        bool enough;

        sleep_us(1000);
        pthread_mutex_lock(&together_lock);
        enough = n_together >= parameter ||
                 (n_together && now_us() - together_us > QUIET_US);
        if (enough) {
            if (call_next(ctx, n_together, together) != (int)n_together) {
                add(&report->failed, 1);
            }
            add(&report->disturbed, n_together);
            n_together = 0;
        }
        pthread_mutex_unlock(&together_lock);
    }
    return NULL;
}

static int submit_together(void *ctx, long nr, struct iocb **iocbs)
{
    int taken = 0;

    if (!step) {
        sigset_t all, old;
        pthread_t thread;

        step = 1;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        if (pthread_create(&thread, NULL, together_thread, ctx)) {
            add(&report->failed, 1);
        }
        pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    pthread_mutex_lock(&together_lock);
    while (taken < nr && n_together < MAX_TOGETHER) {
        together[n_together++] = iocbs[taken++];
    }
    together_us = now_us();
    pthread_mutex_unlock(&together_lock);
    return taken ? taken : -EAGAIN;
}

/* Only the file of the images: QEMU may ask with a file of its own. */
static bool is_image(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink &&
           st.st_size >= 1 << 20;
}

static bool takes_sync_error(int fd)
{
    return mode == SYNC_ERROR && is_image(fd) &&
           __atomic_exchange_n(&step, 1, __ATOMIC_RELAXED) == 0;
}

static int submit_transfers(void *ctx, long nr, struct iocb **iocbs)
{
    int ret;

    switch (mode) {
    case REFUSE:
        return submit_refuse(ctx, nr, iocbs);
    case AGAIN:
        if (!step++) {
            add(&report->disturbed, 1);
            return -EAGAIN;
        }
        break;
    case AGAIN_BUSY:
        return submit_again_busy(ctx, nr, iocbs);
    case AGAIN_LONG:
        return submit_again_long(ctx, nr, iocbs);
    case SILENT:
    case SLOW_SILENT:
    case DEAF:
        return submit_silent(ctx, nr, iocbs);
    case TOOK_NONE:
        return submit_took_none(ctx, nr, iocbs);
    case UNALIGNED:
        return submit_unaligned(ctx, iocbs);
    case EINTR_ONCE:
        if (!step++) {
            return submit_result(ctx, iocbs[0], -EINTR);
        }
        break;
    case EINTR_ALL:
        return submit_result(ctx, iocbs[0], -EINTR);
    case NONE:
        if (!step++) {
            return submit_result(ctx, iocbs[0], 0);
        }
        break;
    case TAIL:
        step++;
        if (step <= 2) {
            return step == 2 ? submit_result(ctx, iocbs[0], -EINVAL)
                             : submit_cut(ctx, iocbs[0], parameter);
        }
        break;
    case TOGETHER:
        return submit_together(ctx, nr, iocbs);
    case CUT:
    case FUA:
        return submit_cut(ctx, iocbs[0], parameter);
    case LATE:
        step++;
        if (step <= 2) {
            return step == 2 ? submit_late(ctx, iocbs[0])
                             : submit_cut(ctx, iocbs[0], parameter);
        }
        break;
    case KICK:
        if (!step && transfer_bytes(iocbs[0]) >= parameter) {
            step = 1;
            return submit_late(ctx, iocbs[0]);
        }
        break;
    case REFUSE_SLOW:
        if (nr > 1) {
            return -EIO;
        }
        /* fall through */
    case SLOW:
        ret = call_next(ctx, nr, iocbs);
        if (ret > 0) {
            sleep_us(ret * parameter);
            add(&report->disturbed, ret);
        }
        return ret;
    default:
        break;
    }
    return call_next(ctx, nr, iocbs);
}

/* What is on stable storage before its request is done, and what is not. */
static void note_flushes(long nr, struct iocb **iocbs)
{
    long i;

    for (i = 0; i < nr; i++) {
        if (iocbs[i]->aio_lio_opcode == IOCB_CMD_FDSYNC) {
            report->unflushed = 0;
        } else if (!is_write(iocbs[i])) {
            continue;
        } else if (iocbs[i]->aio_rw_flags & RWF_DSYNC) {
            add(&report->dsync, 1);
        } else {
            add(&report->unflushed, 1);
        }
    }
}

__attribute__((visibility("default")))
int io_submit(void *ctx, long nr, struct iocb **iocbs)
{
    static __thread Spread spread;
    long transfers = nr > 0 ? count_transfers(nr, iocbs) : 0;

    note_frame(&spread, (uintptr_t)__builtin_frame_address(0),
               &report->stack_bytes);
    add(&report->calls, 1);
    add(&report->requests, transfers);
    raise_to(&report->max_batch, nr);
    if (report->calls > 8) {
        raise_to(&report->late_batch, nr);
    }
    note_flushes(nr, iocbs);
    watch_submit(transfers, nr > 0 ? (int)iocbs[0]->aio_resfd : -1,
                 (uintptr_t)__builtin_frame_address(0));
    if (nr == 1 && iocbs[0]->aio_lio_opcode == IOCB_CMD_FDSYNC &&
        takes_sync_error(iocbs[0]->aio_fildes)) {
        return submit_result(ctx, iocbs[0], -EIO);
    }
    if (!transfers || transfers != nr) {
        return call_next(ctx, nr, iocbs);
    }
    return submit_transfers(ctx, nr, iocbs);
}

/* --- flushes by a worker thread --- */

static int sync_file(const char *name, int fd)
{
    if (takes_sync_error(fd)) {
        add(&report->disturbed, 1);
        errno = EIO;
        return -1;
    }
    report->unflushed = 0;
    return ((SyncFn *)next_function(name))(fd);
}

__attribute__((visibility("default")))
int fdatasync(int fd)
{
    return sync_file("fdatasync", fd);
}

__attribute__((visibility("default")))
int fsync(int fd)
{
    return sync_file("fsync", fd);
}

/* --- files on a tmpfs that has no O_DIRECT: before Linux 6.6 --- */

static int open_file(const char *symbol, const char *name, int flags,
                     mode_t mode_bits)
{
    OpenFn *fn = (OpenFn *)next_function(symbol);
    int fd = fn(name, flags, mode_bits);

    if (fd < 0 && errno == EINVAL && (flags & O_DIRECT)) {
        fd = fn(name, flags & ~O_DIRECT, mode_bits);
    }
    return fd;
}

#define OPEN_FUNCTION(symbol)                               \
    __attribute__((visibility("default")))                  \
    int symbol(const char *name, int flags, ...)            \
    {                                                       \
        mode_t mode_bits = 0;                               \
        va_list ap;                                         \
                                                            \
        if (flags & (O_CREAT | __O_TMPFILE)) {              \
            va_start(ap, flags);                            \
            mode_bits = va_arg(ap, mode_t);                 \
            va_end(ap);                                     \
        }                                                   \
        return open_file(#symbol, name, flags, mode_bits);  \
    }

OPEN_FUNCTION(open)
OPEN_FUNCTION(open64)
