/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-nbd: the image, its export, and the server. */
#include "qemu/osdep.h"
#include "block/block.h"
#include "block/block_int.h"
#include "block/export.h"
#include "block/nbd.h"
#include "programs/programs.h"
#include "qapi/error.h"
#include "qapi/util.h"
#include "qemu-nbd.h"
#include "qemu/option.h"

static BlockDriverState *image;

static BlockDriverState *open_image(const NbdArgs *args, Error **errp)
{
    int flags = args->flags;
    QOpts *options;

    if (args->overlay || args->snapshot) {
        flags &= ~BDRV_O_RDWR;
    }
    if (args->image_opts) {
        options = qopts_parse(args->filename, "file", errp);
        if (!options) {
            return NULL;
        }
    } else {
        options = qopts_new();
        if (args->format) {
            qopts_set_str(options, "driver", args->format);
        }
    }
    if (args->detect_zeroes && !args->overlay) {
        qopts_set_str(options, "detect-zeroes", args->detect_zeroes);
    }
    return bdrv_open(args->image_opts ? NULL : args->filename, NULL, options,
                     flags, errp);
}

static bool load_snapshot(BlockDriverState *bs, Error **errp)
{
    error_setg(errp, "Failed to load snapshot: Block format '%s' used by "
               "device '' does not support temporarily loading internal "
               "snapshots", bs->drv->format_name);
    return false;
}

/* A node above @bs that begins at the offset; drops the reference to @bs. */
static BlockDriverState *open_part(BlockDriverState *bs, const NbdArgs *args,
                                   Error **errp)
{
    QOpts *options = qopts_new();
    BlockDriverState *part;

    qopts_set_str(options, "driver", "raw");
    qopts_set_str(options, "file", bdrv_get_node_name(bs));
    qopts_set_uint(options, "offset", args->offset);
    part = bdrv_open(NULL, NULL, options, args->flags, errp);
    bdrv_unref(bs);
    return part;
}

static BlockDirtyBitmapOrStrList *export_bitmaps(const strList *names)
{
    BlockDirtyBitmapOrStrList *list = NULL, **tail = &list;

    for (; names; names = names->next) {
        BlockDirtyBitmapOrStr *one = g_new0(BlockDirtyBitmapOrStr, 1);

        one->type = QTYPE_QSTRING;
        one->u.local = g_strdup(names->value);
        QAPI_LIST_APPEND(tail, one);
    }
    return list;
}

static bool add_export(const NbdArgs *args, Error **errp)
{
    BlockExportOptions *opts = g_new0(BlockExportOptions, 1);
    BlockExport *exp;

    opts->type = BLOCK_EXPORT_TYPE_NBD;
    opts->id = g_strdup("qemu-nbd-export");
    opts->node_name = g_strdup(bdrv_get_node_name(image));
    opts->has_writable = true;
    opts->writable = !bdrv_is_read_only(image);
    opts->has_writethrough = true;
    opts->writethrough = args->writethrough;
    opts->u.nbd.name = g_strdup(args->export_name);
    opts->u.nbd.description = g_strdup(args->description);
    opts->u.nbd.bitmaps = export_bitmaps(args->bitmaps);
    opts->u.nbd.has_allocation_depth = true;
    opts->u.nbd.allocation_depth = args->allocation_depth;
    exp = blk_exp_add(opts, errp);
    qapi_free_BlockExportOptions(opts);
    return exp;
}

bool nbd_serve_start(const NbdArgs *args, Error **errp)
{
    Error *local_err = NULL;

    image = open_image(args, &local_err);
    if (!image) {
        error_prepend(&local_err, "Failed to blk_new_open '%s': ",
                      args->filename);
        error_propagate(errp, local_err);
        return false;
    }
    /* Where nothing can be written an overlay would remain empty. */
    if (args->overlay && (args->flags & BDRV_O_RDWR)) {
        image = program_open_overlay(image, args->flags, args->detect_zeroes,
                                     errp);
        if (!image) {
            return false;
        }
    }
    if (args->snapshot && !load_snapshot(image, errp)) {
        return false;
    }
    if (args->has_offset) {
        image = open_part(image, args, errp);
        if (!image) {
            return false;
        }
    }
    return nbd_server_start(args->addr, args->shared, args->handshake_limit,
                            args->tls_creds, args->tls_authz, errp) &&
           add_export(args, errp);
}

void nbd_serve_stop(void)
{
    nbd_server_stop();
    blk_exp_close_all();
    bdrv_drain_all();
    bdrv_unref(image);
    image = NULL;
}
