/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux AIO engine: what is asked of the kernel apart from requests: a context,
 * what it can do, where a file ends.
 */
#include "qemu/osdep.h"
#include "block/block.h"
#include "block/raw-aio.h"
#include "block/linux-aio.h"
#include "block/linux-aio-ring.h"
#include "qapi/error.h"

#include <sys/mman.h>
#include <sys/stat.h>

/* A number of the kernel's; 0 if it cannot be read. */
static unsigned long laio_read_number(const char *path)
{
    FILE *file = fopen(path, "r");
    unsigned long number = 0;

    if (file) {
        if (fscanf(file, "%lu", &number) != 1) {
            number = 0;
        }
        fclose(file);
    }
    return number;
}

/* io_setup(2) has failed with errno @error: set @errp. */
static void laio_explain_setup(int error, Error **errp)
{
    if (error == EAGAIN) {
        error_setg_errno(errp, error, "failed to create linux AIO context for "
                         "%d events: fs.aio-nr is %lu, fs.aio-max-nr %lu, "
                         "to be raised with sysctl", LAIO_MAX_EVENTS,
                         laio_read_number("/proc/sys/fs/aio-nr"),
                         laio_read_number("/proc/sys/fs/aio-max-nr"));
    } else {
        error_setg_errno(errp, error, "failed to create linux AIO context");
    }
}

io_context_t laio_setup_context(Error **errp)
{
    io_context_t ctx = NULL;
    int ret = io_setup(LAIO_MAX_EVENTS, &ctx);
    struct aio_ring *ring;

    if (ret < 0) {
        laio_explain_setup(-ret, errp);
        return NULL;
    }
    ring = laio_ring(ctx);
    if (ring->magic != AIO_RING_MAGIC ||
        ring->compat_features != AIO_RING_COMPAT_FEATURES ||
        ring->incompat_features != AIO_RING_INCOMPAT_FEATURES ||
        ring->header_length != sizeof(*ring)) {
        error_setg_errno(errp, ENOTSUP, "linux AIO ring of an unknown layout");
        io_destroy(ctx);
        return NULL;
    }
    return ctx;
}

bool laio_is_at_eof(int fd, uint64_t offset)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
           (uint64_t)st.st_size <= offset;
}

/* Does the kernel have IOCB_CMD_FDSYNC (4.18)?  Asked with an unnamed file. */
static gpointer laio_probe_fdsync(gpointer unused)
{
    struct iocb cb;
    struct iocb *cbs[] = { &cb };
    struct io_event event;
    io_context_t ctx = NULL;
    int fd = memfd_create("laio-fdsync", MFD_CLOEXEC);
    bool ok = false;

    if (fd >= 0 && io_setup(1, &ctx) == 0) {
        io_prep_fdsync(&cb, fd);    /* clears the rest */
        ok = io_submit(ctx, 1, cbs) == 1 &&
             io_getevents(ctx, 1, 1, &event, NULL) == 1 &&
             (ssize_t)event.res == 0;
        io_destroy(ctx);
    }
    if (fd >= 0) {
        close(fd);
    }
    return GINT_TO_POINTER(ok);
}

/*
 * Not asked with @fd: a first fsync of an image's descriptor takes the
 * write-back error that its first flush must fail with (L10), and waits for
 * everybody's dirty pages.
 */
bool laio_has_fdsync(int fd)
{
    static GOnce once = G_ONCE_INIT;

    return GPOINTER_TO_INT(g_once(&once, laio_probe_fdsync, NULL));
}

bool laio_has_fua(void)
{
#ifdef HAVE_IO_PREP_PWRITEV2
    return true;
#else
    return false;
#endif
}
