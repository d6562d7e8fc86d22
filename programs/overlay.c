/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -s of qemu-nbd and qemu-io: a temporary overlay, which takes what is written.
 *
 * It is a VMDK in $TMPDIR that has no name any more when it is open: so it goes
 * with the process, however that ends.  The image itself is open for reading
 * only.
 */
#include "qemu/osdep.h"
#include "block/block.h"
#include "block/block_int.h"
#include "programs/programs.h"
#include "qapi/error.h"
#include "qemu/option.h"

/* An empty file with a name of its own; NULL with @errp set. */
static char *make_file(Error **errp)
{
    const char *folder = getenv("TMPDIR");
    g_autofree char *name = g_strdup_printf(
        "%s/qemu-overlay.XXXXXX", folder && *folder ? folder : "/var/tmp");
    int fd = g_mkstemp_full(name, O_RDWR | O_CLOEXEC, 0600);

    if (fd < 0) {
        error_setg_errno(errp, errno, "Could not create temporary overlay "
                         "'%s'", name);
        return NULL;
    }
    close(fd);
    return g_steal_pointer(&name);
}

static bool make_image(BlockDriverState *base, const char *name, Error **errp)
{
    int64_t size = bdrv_getlength(base);
    QOpts *options;

    if (size < 0) {
        error_setg_errno(errp, -size, "Could not get image size");
        return false;
    }
    options = qopts_new();
    qopts_set_uint(options, "size", ROUND_UP(size, BDRV_SECTOR_SIZE));
    /* Zeroes in the place of data of the image take no room. */
    qopts_set_str(options, "zeroed_grain", "on");
    return bdrv_create(bdrv_find_format("vmdk"), name, options, errp) >= 0;
}

/*
 * A VMDK wants a VMDK below it to be the one whose content identifier it has.
 * The overlay is of whatever is below it, so there is a raw node between them.
 */
static BlockDriverState *open_between(BlockDriverState *base, Error **errp)
{
    QOpts *options = qopts_new();

    qopts_set_str(options, "driver", "raw");
    qopts_set_str(options, "file", bdrv_get_node_name(base));
    return bdrv_open(NULL, NULL, options, 0, errp);
}

static BlockDriverState *open_above(BlockDriverState *base, const char *name,
                                    int flags, const char *detect_zeroes,
                                    Error **errp)
{
    QOpts *options = qopts_new();
    /* Nobody reads it after a crash: nothing has to be flushed. */
    int own_flags = BDRV_O_RDWR | BDRV_O_NO_FLUSH | (flags & BDRV_O_UNMAP);

    qopts_set_str(options, "driver", "vmdk");
    qopts_set_str(options, "file.driver", "file");
    qopts_set_str(options, "file.filename", name);
    qopts_set_str(options, "backing", bdrv_get_node_name(base));
    if (detect_zeroes) {
        qopts_set_str(options, "detect-zeroes", detect_zeroes);
    }
    return bdrv_open(NULL, NULL, options, own_flags, errp);
}

BlockDriverState *program_open_overlay(BlockDriverState *base, int flags,
                                       const char *detect_zeroes,
                                       Error **errp)
{
    g_autofree char *name = make_file(errp);
    BlockDriverState *between = NULL, *bs = NULL;

    if (name && make_image(base, name, errp)) {
        between = open_between(base, errp);
    }
    if (between) {
        bs = open_above(between, name, flags, detect_zeroes, errp);
        bdrv_unref(between);
    }
    if (name && unlink(name) < 0 && bs) {
        error_setg_errno(errp, errno, "Could not remove the name of the "
                         "temporary overlay '%s'", name);
        bdrv_unref(bs);
        bs = NULL;
    }
    bdrv_unref(base);
    return bs;
}
