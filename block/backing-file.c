/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The name of the backing file, as an image has it in its metadata.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"

typedef struct ChangeBackingFile {
    BlockDriverState *bs;
    const char *backing_file;
    const char *backing_fmt;
} ChangeBackingFile;

static int coroutine_fn bdrv_change_backing_file_entry(void *opaque)
{
    ChangeBackingFile *c = opaque;

    /* Without the graph lock: the driver may open and close nodes. */
    return c->bs->drv->bdrv_co_change_backing_file(c->bs, c->backing_file,
                                                   c->backing_fmt);
}

/* The names may be those that @bs has. */
static void bdrv_set_backing_names(BlockDriverState *bs,
                                   const char *backing_file,
                                   const char *backing_fmt)
{
    const char *image = bs->file ? bs->file->bs->exact_filename
                                 : bs->exact_filename;
    char *name = NULL;
    char *full = NULL;
    char *fmt = NULL;

    if (backing_file && *backing_file) {
        name = g_strdup(backing_file);
        fmt = g_strdup(backing_fmt);
        full = bdrv_get_full_backing_filename_from_filename(image, name,
                                                            NULL);
        full = full ?: g_strdup(name);
    }
    g_free(bs->backing_file);
    g_free(bs->full_backing_file);
    g_free(bs->backing_format);
    bs->backing_file = name;
    bs->full_backing_file = full;
    bs->backing_format = fmt;
}

int bdrv_change_backing_file(BlockDriverState *bs, const char *backing_file,
                             const char *backing_fmt, bool require)
{
    ChangeBackingFile c = {
        .bs = bs, .backing_file = backing_file, .backing_fmt = backing_fmt,
    };
    int ret;

    GLOBAL_STATE_CODE();
    if (!bs->drv) {
        return -ENOMEDIUM;
    }
    if ((backing_fmt && !backing_file) ||
        (require && backing_file && *backing_file && !backing_fmt)) {
        return -EINVAL;
    }
    if (!bs->drv->bdrv_co_change_backing_file) {
        return -ENOTSUP;
    }
    if (!bdrv_is_writable(bs)) {
        return -EACCES;
    }
    ret = bdrv_run_co(bdrv_get_aio_context(bs),
                      bdrv_change_backing_file_entry, &c);
    if (ret == 0) {
        bdrv_set_backing_names(bs, backing_file, backing_fmt);
        bdrv_refresh_filename(bs);
    }
    return ret;
}

bool bdrv_check_backing(BlockDriverState *bs, BlockDriverState *base,
                        Error **errp)
{
    bool fits = true;

    GLOBAL_STATE_CODE();
    base = bdrv_skip_filters(base);
    bs = bdrv_skip_filters(bs);
    while (fits && bs && bs != base) {
        if (bs->drv && bs->drv->bdrv_check_backing) {
            bdrv_drained_begin(bs);
            fits = bs->drv->bdrv_check_backing(bs, errp);
            bdrv_drained_end(bs);
        }
        bs = bdrv_backing_chain_next(bs);
    }
    return fits;
}

int bdrv_refresh_backing_file(BlockDriverState *bs)
{
    g_autofree char *name = g_strdup(bs->backing_file);
    g_autofree char *fmt = g_strdup(bs->backing_format);
    bool read_only = bdrv_is_read_only(bs);
    int ret;

    GLOBAL_STATE_CODE();
    if (!name || !bs->drv->bdrv_co_change_backing_file) {
        return 0;
    }
    if (read_only && bdrv_reopen_set_read_only(bs, false, NULL) < 0) {
        return -EACCES;
    }
    ret = bdrv_change_backing_file(bs, name, fmt, false);
    if (read_only) {
        bdrv_reopen_set_read_only(bs, true, NULL);
    }
    return ret;
}

int bdrv_announce_base_change(BdrvChild *base, BlockDriverState *above)
{
    uint8_t sector[BDRV_SECTOR_SIZE];
    int ret;

    GLOBAL_STATE_CODE();
    if (!above->backing_file || !above->drv->bdrv_co_change_backing_file ||
        bdrv_getlength(base->bs) < (int64_t)sizeof(sector)) {
        return 0;
    }
    /* Nobody reads through @above while it does not fit. */
    bdrv_drained_begin(above);
    /* The format notes that it changes with the first write. */
    ret = bdrv_pread(base, 0, sizeof(sector), sector, 0);
    if (ret == 0) {
        ret = bdrv_pwrite(base, 0, sizeof(sector), sector, 0);
    }
    if (ret == 0) {
        ret = bdrv_flush_child(base);
    }
    if (ret == 0) {
        ret = bdrv_refresh_backing_file(above);
    }
    bdrv_drained_end(above);
    return ret;
}
