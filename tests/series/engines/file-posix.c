/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A piece of the shape that opening a file has in QEMU: what --allow-cached
 * of scripts/apply-to-qemu changes.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"

#include <fcntl.h>

typedef struct {
    int open_flags;
    bool use_linux_aio;
} State;

int raw_open_shape(State *s, Error **errp);

int raw_open_shape(State *s, Error **errp)
{
    int ret = 0;

    /* Linux carries out only direct requests asynchronously. */
    if (s->use_linux_aio && !(s->open_flags & O_DIRECT)) {
        error_setg(errp, "aio=native was specified, but it requires "
                         "cache.direct=on, which was not specified.");
        ret = -EINVAL;
        goto fail;
    }
    if (s->open_flags & O_APPEND) {
        error_setg(errp, "append-only files are not for images");
        ret = -EINVAL;
        goto fail;
    }

fail:
    return ret;
}
