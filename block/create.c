/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Creating images.  Main thread, outside coroutines.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"

typedef struct {
    BlockDriver *drv;
    const char *filename;
    QOpts *opts;
    Error **errp;
} BdrvCreate;

static int coroutine_fn bdrv_create_entry(void *opaque)
{
    BdrvCreate *c = opaque;

    return c->drv->bdrv_co_create_opts(c->drv, c->filename, c->opts, c->errp);
}

const QemuOptsList *bdrv_create_opts(BlockDriver *drv)
{
    return drv->create_opts;
}

/*
 * The options of the driver, and for a format those of the file as well; what
 * is left of @given is an error.
 */
static QOpts *bdrv_take_create_options(BlockDriver *drv, const char *filename,
                                       QOpts *given, Error **errp)
{
    g_autoptr(QOpts) taken = qopts_take_table(drv->create_opts, given, errp);

    if (!taken) {
        return NULL;
    }
    if (!drv->protocol_name) {
        g_autoptr(QOpts) of_file = NULL;
        BlockDriver *proto = bdrv_find_protocol(filename, true, errp);

        if (!proto) {
            return NULL;
        }
        if (proto->create_opts) {
            of_file = qopts_take_table(proto->create_opts, given, errp);
            if (!of_file) {
                return NULL;
            }
            qopts_join(taken, of_file, false);
        }
    }
    return qopts_check_empty(given, errp) ? g_steal_pointer(&taken) : NULL;
}

int bdrv_create(BlockDriver *drv, const char *filename, QOpts *opts,
                Error **errp)
{
    g_autoptr(QOpts) given = opts ? opts : qopts_new();
    g_autoptr(QOpts) taken = NULL;
    Error *local_err = NULL;
    BdrvCreate c = {
        .drv = drv, .filename = filename, .errp = &local_err,
    };
    int ret;

    GLOBAL_STATE_CODE();
    if (!drv->bdrv_co_create_opts || !drv->create_opts) {
        error_setg(errp, "Driver '%s' does not support image creation",
                   drv->format_name);
        return -ENOTSUP;
    }
    taken = bdrv_take_create_options(drv, filename, given, errp);
    if (!taken) {
        return -EINVAL;
    }
    c.opts = taken;
    ret = bdrv_run_co(qemu_get_aio_context(), bdrv_create_entry, &c);
    if (ret < 0 && !local_err) {
        error_setg_errno(&local_err, -ret, "Could not create image");
    }
    if (ret < 0) {
        error_propagate(errp, local_err);
    }
    return ret;
}

int bdrv_create_file(const char *filename, QOpts *opts, Error **errp)
{
    g_autoptr(QOpts) given = opts ? opts : qopts_new();
    g_autoptr(QOpts) taken = NULL;
    BlockDriver *drv = bdrv_find_protocol(filename, true, errp);
    int ret;

    if (!drv) {
        return -ENOENT;
    }
    if (!drv->bdrv_co_create_opts) {
        error_setg(errp, "Driver '%s' does not support image creation",
                   drv->format_name);
        return -ENOTSUP;
    }
    /* A format that creates its file; what only formats know is ignored. */
    taken = qopts_take_table(drv->create_opts, given, errp);
    if (!taken) {
        return -EINVAL;
    }
    if (!qemu_in_coroutine()) {
        return bdrv_create(drv, filename, g_steal_pointer(&taken), errp);
    }
    ret = drv->bdrv_co_create_opts(drv, filename, taken, errp);
    return ret;
}
