/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LD_PRELOAD library that notes what a program does to files, for tests that
 * make from it what a loss of power may leave (tests/e2e/power_disk.py).
 *
 *   LAIO_POWER_LOG=FILE      records are appended to it
 *   LAIO_POWER_DIR=FOLDER    only files below it are noted
 *
 * A record is a PowerRecord, the name of the file, and the data if it is a
 * write.  It is in the log before the call is made, and POWER_END after it.
 * Native engines do not come by here: aio=threads is the one to use.
 */
#include "qemu/osdep.h"
#include <dlfcn.h>
#include <stdarg.h>
#include <sys/uio.h>

typedef enum PowerKind {
    POWER_END,                  /* of the record with that number */
    POWER_WRITE,
    POWER_FLUSH,
    POWER_TRUNCATE,             /* the length becomes @offset */
    POWER_ZERO,                 /* [offset, offset + length) */
    POWER_EXTEND,               /* the length is offset + length, or more */
    POWER_UNLINK,
    POWER_CREATE,
} PowerKind;

typedef struct PowerRecord {
    uint32_t kind;
    uint32_t number;
    uint64_t offset;
    uint64_t length;
    uint32_t name_bytes;
    uint32_t data_bytes;
} PowerRecord;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static const char *folder;
static uint32_t last_number;

static void *next_function(const char *name)
{
    void *fn = dlsym(RTLD_NEXT, name);

    if (!fn) {
        fprintf(stderr, "power-log: no %s()\n", name);
        _exit(125);
    }
    return fn;
}

#define NEXT(name, ret, ...) \
    static ret (*next)(__VA_ARGS__); \
    if (!next) { \
        next = (ret (*)(__VA_ARGS__))next_function(name); \
    }

static void __attribute__((constructor)) power_init(void)
{
    const char *path = getenv("LAIO_POWER_LOG");

    folder = getenv("LAIO_POWER_DIR");
    if (path && folder) {
        log_fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    }
}

/* Whether @fd is to be noted; @name has room for PATH_MAX. */
static bool name_of(int fd, char *name)
{
    char link[64];
    ssize_t len;

    if (log_fd < 0) {
        return false;
    }
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    len = readlink(link, name, PATH_MAX - 1);
    if (len < 0) {
        return false;
    }
    name[len] = 0;
    return !strncmp(name, folder, strlen(folder));
}

static void append(const PowerRecord *r, const char *name,
                   const struct iovec *iov, int niov)
{
    g_autofree struct iovec *all = g_new(struct iovec, niov + 2);
    ssize_t bytes = sizeof(*r) + r->name_bytes + r->data_bytes;
    int saved = errno;

    all[0] = (struct iovec) { (void *)r, sizeof(*r) };
    all[1] = (struct iovec) { (void *)name, r->name_bytes };
    if (niov) {
        memcpy(all + 2, iov, niov * sizeof(*iov));
    }
    /* The log may be where the files are: it is not noted. */
    if (writev(log_fd, all, niov + 2) != bytes) {
        fprintf(stderr, "power-log: cannot write the log\n");
        _exit(125);
    }
    errno = saved;
}

/* The number of the record; 0: it is none of ours. */
static uint32_t begin_name(PowerKind kind, const char *name, uint64_t offset,
                           uint64_t length, const struct iovec *iov, int niov)
{
    PowerRecord r = {
        .kind = kind,
        .offset = offset,
        .length = length,
        .name_bytes = strlen(name),
        .data_bytes = niov ? length : 0,
    };

    pthread_mutex_lock(&lock);
    r.number = ++last_number;
    append(&r, name, iov, niov);
    pthread_mutex_unlock(&lock);
    return r.number;
}

static uint32_t begin(PowerKind kind, int fd, uint64_t offset,
                      uint64_t length, const struct iovec *iov, int niov)
{
    char name[PATH_MAX];

    return name_of(fd, name)
           ? begin_name(kind, name, offset, length, iov, niov) : 0;
}

/* @ret: below 0, the call has failed. */
static void end(uint32_t number, int64_t ret)
{
    PowerRecord r = {
        .kind = POWER_END,
        .number = number,
        .offset = ret < 0,
    };

    if (number) {
        pthread_mutex_lock(&lock);
        append(&r, "", NULL, 0);
        pthread_mutex_unlock(&lock);
    }
}

static size_t iov_bytes(const struct iovec *iov, int niov)
{
    size_t sum = 0;
    int i;

    for (i = 0; i < niov; i++) {
        sum += iov[i].iov_len;
    }
    return sum;
}

#define SYNC_FUNCTION(name) \
    int name(int fd) \
    { \
        NEXT(#name, int, int) \
        uint32_t n = begin(POWER_FLUSH, fd, 0, 0, NULL, 0); \
        int ret = next(fd); \
        end(n, ret); \
        return ret; \
    }

static PowerKind fallocate_kind(int mode)
{
    return mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) ? POWER_ZERO
           : POWER_EXTEND;
}

/* Zeroes behind the end of a file make it longer, which ZERO does not say. */
int fallocate(int fd, int mode, off_t offset, off_t length)
{
    NEXT("fallocate", int, int, int, off_t, off_t)
    bool keeps_size = mode & FALLOC_FL_KEEP_SIZE;
    uint32_t first = keeps_size ? 0 : begin(POWER_EXTEND, fd, offset, length,
                                            NULL, 0);
    uint32_t second = fallocate_kind(mode) != POWER_ZERO ? 0
                      : begin(POWER_ZERO, fd, offset, length, NULL, 0);
    int ret = next(fd, mode, offset, length);

    end(first, ret);
    end(second, ret);
    return ret;
}

/* It fails with the number itself. */
int posix_fallocate(int fd, off_t offset, off_t length)
{
    NEXT("posix_fallocate", int, int, off_t, off_t)
    uint32_t n = begin(POWER_EXTEND, fd, offset, length, NULL, 0);
    int ret = next(fd, offset, length);

    end(n, -ret);
    return ret;
}

/* These are the names for an off_t of 64 bits, too. */
ssize_t pwrite(int fd, const void *buf, size_t count, off_t offset)
{
    NEXT("pwrite", ssize_t, int, const void *, size_t, off_t)
    struct iovec iov = { (void *)buf, count };
    uint32_t n = begin(POWER_WRITE, fd, offset, count, &iov, 1);
    ssize_t ret = next(fd, buf, count, offset);

    end(n, ret);
    return ret;
}

ssize_t pwritev(int fd, const struct iovec *iov, int niov, off_t offset)
{
    NEXT("pwritev", ssize_t, int, const struct iovec *, int, off_t)
    uint32_t n = begin(POWER_WRITE, fd, offset, iov_bytes(iov, niov), iov,
                       niov);
    ssize_t ret = next(fd, iov, niov, offset);

    end(n, ret);
    return ret;
}

int ftruncate(int fd, off_t length)
{
    NEXT("ftruncate", int, int, off_t)
    uint32_t n = begin(POWER_TRUNCATE, fd, length, 0, NULL, 0);
    int ret = next(fd, length);

    end(n, ret);
    return ret;
}

SYNC_FUNCTION(fsync)
SYNC_FUNCTION(fdatasync)

/* As where the file system cannot: the caller writes then. */
ssize_t copy_file_range(int in, off64_t *in_offset, int out,
                        off64_t *out_offset, size_t length,
                        unsigned int flags)
{
    errno = ENOSYS;
    return -1;
}

int unlink(const char *name)
{
    NEXT("unlink", int, const char *)
    g_autofree char *full = realpath(name, NULL);
    uint32_t n = log_fd >= 0 && full && g_str_has_prefix(full, folder)
                 ? begin_name(POWER_UNLINK, full, 0, 0, NULL, 0) : 0;
    int ret = next(name);

    end(n, ret);
    return ret;
}

int open(const char *path, int flags, ...)
{
    NEXT("open", int, const char *, int, ...)
    bool is_new = flags & O_CREAT && access(path, F_OK) < 0;
    mode_t mode = 0;
    int fd;

    if (flags & O_CREAT) {
        va_list ap;

        va_start(ap, flags);
        mode = va_arg(ap, mode_t);
        va_end(ap);
    }
    fd = next(path, flags, mode);
    if (fd >= 0 && (is_new || flags & O_TRUNC)) {
        end(begin(is_new ? POWER_CREATE : POWER_TRUNCATE, fd, 0, 0, NULL, 0),
            0);
    }
    return fd;
}
