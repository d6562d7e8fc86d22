/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host: aligned memory, opening files, whole transfers.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/atomic.h"

void *qemu_try_memalign(size_t alignment, size_t size)
{
    void *ptr;
    int ret;

    alignment = MAX(alignment, sizeof(void *));
    assert(is_power_of_2(alignment));
    /* posix_memalign() may return NULL for nothing, which is no failure. */
    ret = posix_memalign(&ptr, alignment, MAX(size, 1));
    if (ret) {
        errno = ret;
        return NULL;
    }
    return ptr;
}

void *qemu_memalign(size_t alignment, size_t size)
{
    void *ptr = qemu_try_memalign(alignment, size);

    if (!ptr) {
        fprintf(stderr, "failed to allocate %zu bytes aligned to %zu: %s\n",
                size, alignment, g_strerror(errno));
        abort();
    }
    return ptr;
}

void qemu_vfree(void *ptr)
{
    free(ptr);
}

static int open_cloexec(const char *name, int flags, mode_t mode)
{
    return RETRY_ON_EINTR(open(name, flags | O_CLOEXEC, mode));
}

int qemu_open_old(const char *name, int flags, ...)
{
    mode_t mode = 0;
    va_list ap;

    if (flags & O_CREAT) {
        va_start(ap, flags);
        mode = va_arg(ap, int);
        va_end(ap);
    }
    return open_cloexec(name, flags, mode);
}

static int open_or_explain(const char *name, int flags, mode_t mode,
                           Error **errp)
{
    int fd = open_cloexec(name, flags, mode);
    int saved_errno = errno;

    if (fd < 0) {
        error_setg_errno(errp, saved_errno, "Could not %s '%s'",
                         flags & O_CREAT ? "create" : "open", name);
        errno = saved_errno;
    }
    return fd;
}

int qemu_open(const char *name, int flags, Error **errp)
{
    assert(!(flags & O_CREAT));
    return open_or_explain(name, flags, 0, errp);
}

int qemu_create(const char *name, int flags, mode_t mode, Error **errp)
{
    assert(!(flags & O_CREAT));
    return open_or_explain(name, flags | O_CREAT, mode, errp);
}

int qemu_close(int fd)
{
    return close(fd);
}

ssize_t qemu_write_full(int fd, const void *buf, size_t count)
{
    size_t done = 0;

    while (done < count) {
        ssize_t ret = RETRY_ON_EINTR(write(fd, (const char *)buf + done,
                                           count - done));

        if (ret <= 0) {
            break;
        }
        done += ret;
    }
    return done;
}

ssize_t qemu_read_full(int fd, void *buf, size_t count)
{
    size_t done = 0;

    while (done < count) {
        ssize_t ret = RETRY_ON_EINTR(read(fd, (char *)buf + done,
                                          count - done));

        if (ret <= 0) {
            break;
        }
        done += ret;
    }
    return done;
}

int qemu_processors(void)
{
    static int processors;      /* atomic; 0: not known yet */
    int n = qatomic_read(&processors);

    if (!n) {
        n = g_get_num_processors();
        qatomic_set(&processors, n);
    }
    return n;
}
