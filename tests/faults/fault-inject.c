/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LD_PRELOAD library that disturbs one system call of a program, and counts
 * how often the program makes each of them.
 *
 *   LAIO_FAULT=CALL:N:KIND[:ERRNO]
 *
 * The N-th CALL (from 1 on; "N+": that one and all later ones) is disturbed.
 * CALL is one of call_names[] in fault-setting.c, and stands for all variants
 * of it: pread is pread64() too, preadv is preadv64() and preadv2().  KIND is
 *
 *   fail    returns ERRNO (a name such as EIO) without having been made
 *   short   transfers about half; the two submit half of the requests, and of a
 *           single one none
 *   late    is made after 20 ms
 *   cut     io_submit and io_uring_submit: one request transfers about half
 *   event   these two: one request is taken, and completes with ERRNO
 *
 * What cannot be disturbed in this way (the half of a sector of a direct
 * request, the transfer of an fdsync) is made as it is.
 *
 *   LAIO_FAULT_OUT=FILE      at exit, a line "CALL COUNT" for each call
 *   LAIO_FAULT_MARK=1        "@fault CALL" to stderr where the fault happens;
 *                            stdout gets line buffers, to be in order with it
 *   LAIO_FAULT_NO_RING=1     io_setup makes a ring that no engine knows
 *
 * Counting begins when the library is loaded.  Calls that the C library, the
 * loader or a sanitizer's runtime make for themselves do not come by here.
 * Not counted: files of the system (see is_system_file()), reads and writes of
 * stdin, stdout and stderr, mappings that are no stack.
 */
#include "qemu/osdep.h"
#include "fault-inject.h"
#include <dlfcn.h>
#include <libaio.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/uio.h>

/* Direct I/O of half a request wants its end aligned. */
#define SECTOR 512

void *fault_next_function(const char *name)
{
    void *fn = dlsym(RTLD_NEXT, name);

    if (!fn) {
        fprintf(stderr, "fault-inject: no %s()\n", name);
        _exit(125);
    }
    return fn;
}

size_t fault_half_of(size_t len)
{
    size_t half = len / 2 / SECTOR * SECTOR;

    return half ? half : len;
}

/* The same for transfers; *@len may become less. */
static bool disturb_transfer(Call call, size_t *len)
{
    Kind kind = fault_count(call);

    if (kind == KIND_SHORT && fault_half_of(*len) < *len) {
        fault_mark_call(call);
        *len = fault_half_of(*len);
    }
    return fault_apply(call, kind);
}

size_t fault_iov_bytes(const struct iovec *iov, int niov)
{
    size_t sum = 0;
    int i;

    for (i = 0; i < niov; i++) {
        sum += iov[i].iov_len;
    }
    return sum;
}

int fault_iov_part(struct iovec *part, const struct iovec *iov, size_t bytes)
{
    int n = 0;

    while (bytes) {
        part[n] = iov[n];
        part[n].iov_len = MIN(bytes, part[n].iov_len);
        bytes -= part[n].iov_len;
        n++;
    }
    return n;
}

/* --- transfers --- */

typedef ssize_t PreadFn(int fd, void *buf, size_t len, off_t offset);
typedef ssize_t PwriteFn(int fd, const void *buf, size_t len, off_t offset);
typedef ssize_t VectorFn(int fd, const struct iovec *iov, int niov,
                         off_t offset);
typedef ssize_t Vector2Fn(int fd, const struct iovec *iov, int niov,
                          off_t offset, int flags);
typedef ssize_t ReadFn(int fd, void *buf, size_t len);
typedef ssize_t WriteFn(int fd, const void *buf, size_t len);

/*
 * Requests that were one for the kernel are tried one by one when that fails,
 * at once and by the same thread: the first one fails, too, as it would where
 * the disk has a bad place.
 */
static __thread struct {
    bool set;
    int fd;
    off_t offset;
} bad_place;

static bool is_bad_place(int fd, off_t offset)
{
    bool is = bad_place.set && fd == bad_place.fd &&
              offset == bad_place.offset;

    bad_place.set = false;
    return is;
}

/* Whether a call for one buffer fails, with errno. */
static bool disturb_single(Call call, int fd, size_t *len, off_t offset)
{
    if (is_bad_place(fd, offset)) {
        errno = fault_errno;
        return true;
    }
    return disturb_transfer(call, len);
}

WRAPPER ssize_t fault_pread(int fd, void *buf, size_t len, off_t offset)
{
    if (disturb_single(CALL_PREAD, fd, &len, offset)) {
        return -1;
    }
    return NEXT("pread64", PreadFn)(fd, buf, len, offset);
}
EXPORT("pread", fault_pread);
EXPORT("pread64", fault_pread);

WRAPPER ssize_t fault_pwrite(int fd, const void *buf, size_t len, off_t offset)
{
    if (disturb_single(CALL_PWRITE, fd, &len, offset)) {
        return -1;
    }
    return NEXT("pwrite64", PwriteFn)(fd, buf, len, offset);
}
EXPORT("pwrite", fault_pwrite);
EXPORT("pwrite64", fault_pwrite);

static ssize_t vector_call(Call call, Vector2Fn *fn, int fd,
                           const struct iovec *iov, int niov, off_t offset,
                           int flags)
{
    size_t all = fault_iov_bytes(iov, niov), len = all;
    struct iovec part[IOV_MAX];

    if (disturb_transfer(call, &len)) {
        bad_place.set = niov > 1 && errno != EINTR;
        bad_place.fd = fd;
        bad_place.offset = offset;
        return -1;
    }
    if (len < all) {
        niov = fault_iov_part(part, iov, len);
        iov = part;
    }
    return fn(fd, iov, niov, offset, flags);
}

WRAPPER ssize_t fault_preadv2(int fd, const struct iovec *iov, int niov,
                              off_t offset, int flags)
{
    return vector_call(CALL_PREADV, NEXT("preadv64v2", Vector2Fn), fd, iov,
                       niov, offset, flags);
}
EXPORT("preadv2", fault_preadv2);
EXPORT("preadv64v2", fault_preadv2);

WRAPPER ssize_t fault_pwritev2(int fd, const struct iovec *iov, int niov,
                               off_t offset, int flags)
{
    return vector_call(CALL_PWRITEV, NEXT("pwritev64v2", Vector2Fn), fd, iov,
                       niov, offset, flags);
}
EXPORT("pwritev2", fault_pwritev2);
EXPORT("pwritev64v2", fault_pwritev2);

WRAPPER ssize_t fault_preadv(int fd, const struct iovec *iov, int niov,
                             off_t offset)
{
    return fault_preadv2(fd, iov, niov, offset, 0);
}
EXPORT("preadv", fault_preadv);
EXPORT("preadv64", fault_preadv);

WRAPPER ssize_t fault_pwritev(int fd, const struct iovec *iov, int niov,
                              off_t offset)
{
    return fault_pwritev2(fd, iov, niov, offset, 0);
}
EXPORT("pwritev", fault_pwritev);
EXPORT("pwritev64", fault_pwritev);

WRAPPER ssize_t fault_read(int fd, void *buf, size_t len)
{
    if (fd > STDERR_FILENO && fault_disturb(CALL_READ)) {
        return -1;
    }
    return NEXT("read", ReadFn)(fd, buf, len);
}
EXPORT("read", fault_read);

WRAPPER ssize_t fault_write(int fd, const void *buf, size_t len)
{
    if (fd > STDERR_FILENO && fault_disturb(CALL_WRITE)) {
        return -1;
    }
    return NEXT("write", WriteFn)(fd, buf, len);
}
EXPORT("write", fault_write);

/* --- files --- */

typedef int OpenFn(const char *name, int flags, mode_t mode);
typedef int SyncFn(int fd);
typedef int FallocateFn(int fd, int mode, off_t offset, off_t len);
typedef int PosixFallocateFn(int fd, off_t offset, off_t len);
typedef int FtruncateFn(int fd, off_t size);
typedef void *MmapFn(void *addr, size_t len, int prot, int flags, int fd,
                     off_t offset);

/* Of no interest: what libraries look at on their own. */
static bool is_system_file(const char *name)
{
    static const char *const folders[] = {
        "/proc/", "/sys/", "/etc/", "/usr/", "/dev/urandom", "/dev/random",
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(folders); i++) {
        if (!strncmp(name, folders[i], strlen(folders[i]))) {
            return true;
        }
    }
    return false;
}

WRAPPER int fault_open(const char *name, int flags, ...)
{
    mode_t mode = 0;
    va_list ap;

    if (flags & (O_CREAT | __O_TMPFILE)) {
        va_start(ap, flags);
        mode = va_arg(ap, mode_t);
        va_end(ap);
    }
    if (!is_system_file(name) && fault_disturb(CALL_OPEN)) {
        return -1;
    }
    return NEXT("open64", OpenFn)(name, flags, mode);
}
EXPORT("open", fault_open);
EXPORT("open64", fault_open);

WRAPPER int fault_fdatasync(int fd)
{
    return fault_disturb(CALL_FDATASYNC) ? -1 : NEXT("fdatasync", SyncFn)(fd);
}
EXPORT("fdatasync", fault_fdatasync);

WRAPPER int fault_fsync(int fd)
{
    return fault_disturb(CALL_FSYNC) ? -1 : NEXT("fsync", SyncFn)(fd);
}
EXPORT("fsync", fault_fsync);

WRAPPER int fault_fallocate(int fd, int mode, off_t offset, off_t len)
{
    if (fault_disturb(CALL_FALLOCATE)) {
        return -1;
    }
    return NEXT("fallocate64", FallocateFn)(fd, mode, offset, len);
}
EXPORT("fallocate", fault_fallocate);
EXPORT("fallocate64", fault_fallocate);

/* Returns the error; errno is as it was. */
WRAPPER int fault_posix_fallocate(int fd, off_t offset, off_t len)
{
    int saved_errno = errno;

    if (fault_disturb(CALL_POSIX_FALLOCATE)) {
        errno = saved_errno;
        return fault_errno;
    }
    return NEXT("posix_fallocate64", PosixFallocateFn)(fd, offset, len);
}
EXPORT("posix_fallocate", fault_posix_fallocate);
EXPORT("posix_fallocate64", fault_posix_fallocate);

WRAPPER int fault_ftruncate(int fd, off_t size)
{
    if (fault_disturb(CALL_FTRUNCATE)) {
        return -1;
    }
    return NEXT("ftruncate64", FtruncateFn)(fd, size);
}
EXPORT("ftruncate", fault_ftruncate);
EXPORT("ftruncate64", fault_ftruncate);

WRAPPER void *fault_mmap(void *addr, size_t len, int prot, int flags, int fd,
                         off_t offset)
{
    if ((flags & MAP_STACK) && fault_disturb(CALL_MMAP)) {
        return MAP_FAILED;
    }
    return NEXT("mmap64", MmapFn)(addr, len, prot, flags, fd, offset);
}
EXPORT("mmap", fault_mmap);
EXPORT("mmap64", fault_mmap);

/* --- Linux AIO: libaio returns the error, and leaves errno alone --- */

typedef int EventfdFn(unsigned value, int flags);
typedef int SetupFn(int nr, io_context_t *ctx);
typedef int SubmitFn(io_context_t ctx, long nr, struct iocb **iocbs);

WRAPPER int fault_eventfd(unsigned value, int flags)
{
    return fault_disturb(CALL_EVENTFD) ? -1
                                 : NEXT("eventfd", EventfdFn)(value, flags);
}
EXPORT("eventfd", fault_eventfd);

/* The ring that io_setup() maps into the process. */
typedef struct Ring {
    unsigned id;
    unsigned nr;
    unsigned head;
    unsigned tail;
    unsigned magic;
    unsigned features[2];
    unsigned header_length;
    struct io_event events[];
} Ring;

/* The kernel ignores the magic number, which is for user space. */
static void spoil_ring(io_context_t ctx)
{
    Ring *ring = (Ring *)ctx;

    ring->magic = 0;
}

WRAPPER int fault_io_setup(int nr, io_context_t *ctx)
{
    int ret;

    if (fault_disturb(CALL_IO_SETUP)) {
        return -fault_errno;
    }
    ret = NEXT("io_setup", SetupFn)(nr, ctx);
    if (ret == 0 && fault_no_ring) {
        spoil_ring(*ctx);
    }
    return ret;
}
EXPORT("io_setup", fault_io_setup);

static bool has_vector(const struct iocb *cb)
{
    return cb->aio_lio_opcode == IO_CMD_PREADV ||
           cb->aio_lio_opcode == IO_CMD_PWRITEV;
}

/* 0 if it transfers nothing. */
static size_t request_bytes(const struct iocb *cb)
{
    if (has_vector(cb)) {
        return fault_iov_bytes(cb->u.c.buf, cb->u.c.nbytes);
    }
    return cb->aio_lio_opcode == IO_CMD_FDSYNC ? 0 : cb->u.c.nbytes;
}

/*
 * Until the caller puts back what it has saved, @cb is for half of its bytes;
 * or else it has a buffer that is not there.  @part is for the vector.
 */
static void spoil_request(struct iocb *cb, Kind kind, struct iovec *part)
{
    size_t bytes = request_bytes(cb);
    void *nowhere = (void *)4096;       /* aligned, and never mapped */

    if (!has_vector(cb)) {
        if (kind == KIND_CUT) {
            cb->u.c.nbytes = fault_half_of(bytes);
        } else {
            cb->u.c.buf = nowhere;
        }
        return;
    }
    part[0].iov_base = nowhere;
    part[0].iov_len = bytes;
    cb->u.c.nbytes = kind != KIND_CUT ? 1 :
        fault_iov_part(part, cb->u.c.buf, fault_half_of(bytes));
    cb->u.c.buf = part;
}

/* The first request of a batch that can be cut; or just the first one. */
static struct iocb *find_request(struct iocb **iocbs, long nr, Kind kind)
{
    long i;

    for (i = 0; i < nr; i++) {
        struct iocb *cb = iocbs[i];
        size_t len = request_bytes(cb);

        if (kind == KIND_EVENT) {
            return cb;
        }
        if (fault_half_of(len) < len) {
            return cb;
        }
    }
    return NULL;
}

/*
 * Wait for the event of @cb, and change its result.  Only this thread takes
 * events off the ring.
 */
static void spoil_event(io_context_t ctx, struct iocb *cb)
{
    Ring *ring = (Ring *)ctx;
    unsigned i = ring->head;

    for (;;) {
        while (i == qatomic_load_acquire(&ring->tail)) {
            usleep(50);
        }
        if (ring->events[i].obj == cb) {
            ring->events[i].res = -fault_errno;
            return;
        }
        i = i + 1 == ring->nr ? 0 : i + 1;
    }
}

static int submit_event(SubmitFn *fn, io_context_t ctx, long nr,
                        struct iocb **iocbs, struct iocb *cb)
{
    int ret = fn(ctx, nr, iocbs);
    int i;

    for (i = 0; i < ret; i++) {
        if (iocbs[i] == cb) {
            fault_mark_call(CALL_IO_SUBMIT);
            spoil_event(ctx, cb);
        }
    }
    return ret;
}

/*
 * With one request changed.  The kernel has read the vector when the call
 * returns, so the request gets its own back, and may be submitted again.  One
 * that is to fail has a buffer that is not there, so that nothing of it is
 * transferred; an fdsync, which has none, is made.
 */
static int submit_spoilt(SubmitFn *fn, io_context_t ctx, long nr,
                         struct iocb **iocbs, Kind kind)
{
    struct iocb *cb = find_request(iocbs, nr, kind);
    struct iovec part[IOV_MAX];
    struct iocb saved;
    int ret;

    if (!cb) {
        return fn(ctx, nr, iocbs);
    }
    if (cb->aio_lio_opcode == IO_CMD_FDSYNC) {
        return submit_event(fn, ctx, nr, iocbs, cb);
    }
    saved = *cb;
    spoil_request(cb, kind, part);
    if (kind == KIND_CUT) {
        fault_mark_call(CALL_IO_SUBMIT);
        ret = fn(ctx, nr, iocbs);
    } else {
        ret = submit_event(fn, ctx, nr, iocbs, cb);
    }
    cb->u.c.buf = saved.u.c.buf;
    cb->u.c.nbytes = saved.u.c.nbytes;
    return ret;
}

WRAPPER int fault_io_submit(io_context_t ctx, long nr, struct iocb **iocbs)
{
    SubmitFn *fn = NEXT("io_submit", SubmitFn);
    Kind kind = fault_count(CALL_IO_SUBMIT);

    switch (kind) {
    case KIND_FAIL:
        fault_mark_call(CALL_IO_SUBMIT);
        return -fault_errno;
    case KIND_SHORT:
        fault_mark_call(CALL_IO_SUBMIT);
        return nr / 2 ? fn(ctx, nr / 2, iocbs) : 0;
    case KIND_LATE:
        fault_mark_call(CALL_IO_SUBMIT);
        usleep(FAULT_LATE_US);
        return fn(ctx, nr, iocbs);
    case KIND_CUT:
    case KIND_EVENT:
        return submit_spoilt(fn, ctx, nr, iocbs, kind);
    default:
        return fn(ctx, nr, iocbs);
    }
}
EXPORT("io_submit", fault_io_submit);
