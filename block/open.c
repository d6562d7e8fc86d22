/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opening nodes: from a file name, a node name, or options to a tree of nodes.
 */
#include "qemu/osdep.h"
#include "block-io.h"
#include "block-open.h"
#include "qemu/cutils.h"

/* A backing chain longer than this comes back to itself. */
#define BDRV_MAX_BACKING_DEPTH 200

static BlockDriverState *bdrv_open_inherit(const char *filename,
                                           const char *reference,
                                           QOpts *options, int flags,
                                           BlockDriverState *parent,
                                           BdrvChildRole role, Error **errp);

/* --- options --- */

/* A boolean option that sets or clears @bit; @invert: "on" clears it. */
static bool bdrv_take_flag(QOpts *options, const char *key, int bit,
                           bool invert, int *flags, Error **errp)
{
    bool value = !!(*flags & bit) != invert;

    if (!qopts_take_bool(options, key, value, &value, errp)) {
        return false;
    }
    *flags = value != invert ? *flags | bit : *flags & ~bit;
    return true;
}

int bdrv_take_flag_options(QOpts *options, int *flags, bool *force_share,
                           Error **errp)
{
    g_autofree char *discard = NULL;

    if (!bdrv_take_flag(options, "cache.direct", BDRV_O_NOCACHE, false,
                        flags, errp) ||
        !bdrv_take_flag(options, "cache.no-flush", BDRV_O_NO_FLUSH, false,
                        flags, errp) ||
        !bdrv_take_flag(options, "read-only", BDRV_O_RDWR, true, flags,
                        errp) ||
        !bdrv_take_flag(options, "auto-read-only", BDRV_O_AUTO_RDONLY, false,
                        flags, errp) ||
        !qopts_take_bool(options, "force-share", *force_share, force_share,
                         errp) ||
        !qopts_take_str(options, "discard", NULL, &discard, errp)) {
        return -EINVAL;
    }
    if (discard && bdrv_parse_discard_flags(discard, flags) < 0) {
        error_setg(errp, "Invalid discard option '%s' (possible: ignore, "
                   "off, unmap, on)", discard);
        return -EINVAL;
    }
    if (*force_share && (*flags & BDRV_O_RDWR)) {
        error_setg(errp, BDRV_OPT_FORCE_SHARE_RDWR);
        return -EINVAL;
    }
    return 0;
}

static int bdrv_take_common_options(BlockDriverState *bs, QOpts *options,
                                    int *flags, Error **errp)
{
    int detect_zeroes, ret;
    bool active;

    if (!qopts_take_enum(options, "detect-zeroes",
                         BlockdevDetectZeroesOptions_lookup.array,
                         BLOCKDEV_DETECT_ZEROES_OPTIONS_OFF, &detect_zeroes,
                         errp)) {
        return -EINVAL;
    }
    ret = bdrv_take_flag_options(options, flags, &bs->force_share, errp);
    if (ret < 0) {
        return ret;
    }
    if (!qopts_take_bool(options, "active", !(*flags & BDRV_O_INACTIVE),
                         &active, errp)) {
        return -EINVAL;
    }
    *flags = active ? *flags & ~BDRV_O_INACTIVE : *flags | BDRV_O_INACTIVE;
    if (detect_zeroes == BLOCKDEV_DETECT_ZEROES_OPTIONS_UNMAP &&
        !(*flags & BDRV_O_UNMAP)) {
        error_setg(errp, "setting detect-zeroes to unmap is not allowed "
                   "without setting discard operation to unmap");
        return -EINVAL;
    }
    bs->detect_zeroes = detect_zeroes;
    return 0;
}

/* Flags of a child that has none of its own. */
static int bdrv_inherited_flags(BlockDriverState *parent, BdrvChildRole role)
{
    int flags = parent->open_flags;

    flags &= ~(BDRV_O_SNAPSHOT | BDRV_O_NO_BACKING | BDRV_O_COPY_ON_READ |
               BDRV_O_CHECK | BDRV_O_TEMPORARY | BDRV_O_NO_IO |
               BDRV_O_PROTOCOL);
    if (role & BDRV_CHILD_COW) {
        return flags & ~(BDRV_O_RDWR | BDRV_O_RESIZE);
    }
    if (parent->drv->is_format || role & BDRV_CHILD_PRIMARY) {
        flags |= BDRV_O_PROTOCOL;
        /* The format decides what is discarded: pass it all on. */
        flags |= BDRV_O_UNMAP;
    }
    return flags;
}

/* --- one node --- */

static int bdrv_check_leftover(BlockDriver *drv, QOpts *options, Error **errp)
{
    const char *key = qopts_first_key(options);

    if (!key) {
        return 0;
    }
    if (drv->protocol_name) {
        error_setg(errp, "Block protocol '%s' doesn't support the option "
                   "'%s'", drv->format_name, key);
    } else {
        error_setg(errp, "Block format '%s' does not support the option "
                   "'%s'", drv->format_name, key);
    }
    return -EINVAL;
}

static int coroutine_fn bdrv_refresh_total_sectors_entry(void *opaque)
{
    return bdrv_co_refresh_total_sectors(opaque);
}

/*
 * Let the driver of @bs open; undoes all of it on error.  The node is not
 * found by its name before: nobody may attach one that is half open.
 */
static int bdrv_open_driver(BlockDriverState *bs, BlockDriver *drv,
                            const char *node_name, QOpts *options,
                            Error **errp)
{
    Error *local_err = NULL;
    int ret;

    ret = bdrv_set_node_name(bs, node_name, errp);
    if (ret < 0) {
        return ret;
    }
    bs->drv = drv;
    bs->opaque = g_malloc0(MAX(drv->instance_size, 1));
    ret = drv->bdrv_open(bs, options, bs->open_flags, &local_err);
    if (ret < 0) {
        if (!local_err) {
            error_setg_errno(&local_err, -ret, "Could not open image");
        }
        error_propagate(errp, local_err);
        goto drop;
    }

    ret = bdrv_run_co(bs->aio_context, bdrv_refresh_total_sectors_entry, bs);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not refresh total sector count");
        goto close_driver;
    }
    bdrv_refresh_limits(bs, &local_err);
    if (local_err) {
        error_propagate(errp, local_err);
        ret = -EINVAL;
        goto close_driver;
    }
    ret = bdrv_check_leftover(drv, options, errp);
    if (ret == 0 && bdrv_is_inactive(bs) && !bdrv_can_be_inactive(bs, errp)) {
        ret = -ENOTSUP;
    }
    if (ret == 0) {
        /* A child may have been opened with this name meanwhile. */
        ret = bdrv_check_node_name(bs, errp);
    }
    if (ret < 0) {
        goto close_driver;
    }
    bdrv_list_node(bs);
    bdrv_driver_drain_begin(bs);
    bdrv_refresh_filename(bs);
    return 0;

close_driver:
    if (drv->bdrv_close) {
        drv->bdrv_close(bs);
    }
drop:
    while (!QLIST_EMPTY(&bs->children)) {
        bdrv_unref_child(bs, QLIST_FIRST(&bs->children));
    }
    bs->drv = NULL;
    return ret;
}

/* The driver by option, if there is one; *@drv stays NULL if not. */
static int bdrv_take_driver(QOpts *options, BlockDriver **drv, Error **errp)
{
    g_autofree char *name = NULL;

    if (!qopts_take_str(options, "driver", NULL, &name, errp)) {
        return -EINVAL;
    }
    if (name) {
        *drv = bdrv_find_format(name);
        if (!*drv) {
            error_setg(errp, "Unknown driver '%s'", name);
            return -EINVAL;
        }
    }
    return 0;
}

/* A file name for a protocol: into its options. */
static int bdrv_protocol_filename(BlockDriver **drv, const char *filename,
                                  bool allow_prefix, QOpts *options,
                                  Error **errp)
{
    Error *local_err = NULL;

    if (!filename) {
        return 0;
    }
    if (!*drv) {
        *drv = bdrv_find_protocol(filename, allow_prefix, errp);
        if (!*drv) {
            return -EINVAL;
        }
    }
    if ((*drv)->bdrv_parse_filename) {
        (*drv)->bdrv_parse_filename(filename, options, &local_err);
        if (local_err) {
            error_propagate(errp, local_err);
            return -EINVAL;
        }
    } else if (!qopts_has(options, "filename")) {
        qopts_set_str(options, "filename", filename);
    } else {
        error_setg(errp, "Can't use 'file' and 'filename' options at the "
                   "same time");
        return -EINVAL;
    }
    return 0;
}

/* The protocol that options without a driver mean. */
static int bdrv_protocol_by_options(BlockDriver **drv, QOpts *options,
                                    Error **errp)
{
    const char *name;

    if (*drv) {
        return 0;
    }
    name = qopts_get_str(options, "filename");
    if (!name) {
        error_setg(errp, "Must specify either driver or file");
        return -EINVAL;
    }
    *drv = bdrv_find_protocol(name, false, errp);
    return *drv ? 0 : -EINVAL;
}

/*
 * Open the file that a format needs and put its node name where the driver
 * will look for it.  *@file is a reference.
 */
static int bdrv_open_file_below(BlockDriverState *bs, BlockDriver **drv,
                                const char *filename, QOpts *options,
                                BlockDriverState **file, Error **errp)
{
    g_autoptr(QOpts) sub = NULL;
    BlockDriver fake = { .is_filter = false };
    int flags;

    if (!filename && (*drv || qopts_get_str(options, "file"))) {
        /* The driver opens its children by itself, from the options. */
        if (*drv) {
            return 0;
        }
    }
    bs->drv = *drv ? *drv : &fake;
    flags = bdrv_inherited_flags(bs, BDRV_CHILD_IMAGE) | BDRV_O_PROTOCOL;
    bs->drv = NULL;

    sub = qopts_extract_sub(options, "file.");
    if (!filename && !qopts_count(sub)) {
        const char *ref = qopts_get_str(options, "file");

        *file = ref ? bdrv_open_inherit(NULL, ref, NULL, 0, NULL, 0, errp) :
                NULL;
        if (!ref) {
            error_setg(errp, "A block device must be specified for \"file\"");
        }
        if (!*file) {
            return -EINVAL;
        }
    } else {
        if (bs->force_share && !qopts_has(sub, "force-share")) {
            qopts_set_bool(sub, "force-share", true);
        }
        *file = bdrv_open_inherit(filename, NULL, qopts_dup(sub), flags, NULL,
                                  BDRV_CHILD_IMAGE, errp);
        if (!*file) {
            return -EINVAL;
        }
        (*file)->inherits_from = bs;
    }
    if (!*drv) {
        *drv = bdrv_guess_format(bs, *file, filename, errp);
        if (!*drv) {
            return -EINVAL;
        }
    }
    qopts_set_str(options, "file", bdrv_get_node_name(*file));
    return 0;
}

static int bdrv_open_node(BlockDriverState *bs, const char *filename,
                          QOpts *options, int flags, Error **errp)
{
    g_autofree char *node_name = NULL;
    BlockDriverState *file = NULL;
    BlockDriver *drv = NULL;
    int ret;

    bs->options = qopts_dup(options);
    if (!qopts_take_str(options, "node-name", NULL, &node_name, errp)) {
        return -EINVAL;
    }
    ret = bdrv_take_common_options(bs, options, &flags, errp);
    if (ret == 0) {
        ret = bdrv_take_driver(options, &drv, errp);
    }
    if (ret < 0) {
        return ret;
    }
    bs->open_flags = flags;

    if (flags & BDRV_O_PROTOCOL || (drv && drv->protocol_name)) {
        bool allow_prefix = !drv;

        ret = bdrv_protocol_filename(&drv, filename, allow_prefix, options,
                                     errp);
        if (ret == 0) {
            ret = bdrv_protocol_by_options(&drv, options, errp);
        }
    } else {
        ret = bdrv_open_file_below(bs, &drv, filename, options, &file, errp);
    }
    if (ret == 0) {
        qopts_set_str(bs->options, "driver", drv->format_name);
        ret = bdrv_open_driver(bs, drv, node_name, options, errp);
    }
    if (ret == 0) {
        bdrv_warn_probed_raw(bs, filename);
    }
    bdrv_unref(file);
    return ret;
}

static BlockDriverState *bdrv_open_inherit(const char *filename,
                                           const char *reference,
                                           QOpts *options, int flags,
                                           BlockDriverState *parent,
                                           BdrvChildRole role, Error **errp)
{
    g_autoptr(QOpts) opts = options ? options : qopts_new();
    BlockDriverState *bs;

    if (reference) {
        bs = bdrv_find_node(reference);
        if (!bs) {
            error_setg(errp, "Cannot find device='%s' nor node-name='%s'",
                       reference, reference);
            return NULL;
        }
        if (qopts_count(opts)) {
            error_setg(errp, "Cannot reference an existing block device with "
                       "additional options or a new filename");
            return NULL;
        }
        bdrv_ref(bs);
        return bs;
    }
    if (filename && g_str_has_prefix(filename, "json:")) {
        g_autoptr(QOpts) json = qopts_parse_json(filename + 5, errp);

        if (!json) {
            return NULL;
        }
        qopts_join(opts, json, false);
        filename = NULL;
    }
    if (parent) {
        flags |= bdrv_inherited_flags(parent, role);
        if (parent->force_share && !qopts_has(opts, "force-share")) {
            qopts_set_bool(opts, "force-share", true);
        }
    }

    bs = bdrv_new();
    bs->backing_depth = parent ? parent->backing_depth : 0;
    bs->backing_depth += role & BDRV_CHILD_COW ? 1 : 0;
    bs->opened_below = parent;
    if (bdrv_open_node(bs, filename, opts, flags, errp) < 0) {
        bdrv_unref(bs);
        return NULL;
    }
    bs->opened_below = NULL;
    return bs;
}

BlockDriverState *bdrv_open(const char *filename, const char *reference,
                            QOpts *options, int flags, Error **errp)
{
    GLOBAL_STATE_CODE();
    return bdrv_open_inherit(filename, reference, options, flags, NULL, 0,
                             errp);
}

/* --- nodes without a file name --- */

BlockDriverState *bdrv_new_open_driver_opts(BlockDriver *drv,
                                            const char *node_name,
                                            QOpts *options, int flags,
                                            Error **errp)
{
    g_autoptr(QOpts) opts = options ? options : qopts_new();
    BlockDriverState *bs = bdrv_new();

    GLOBAL_STATE_CODE();
    bs->open_flags = flags;
    bs->options = qopts_dup(opts);
    qopts_set_str(bs->options, "driver", drv->format_name);
    if (bdrv_open_driver(bs, drv, node_name, opts, errp) < 0) {
        bdrv_unref(bs);
        return NULL;
    }
    return bs;
}

BlockDriverState *bdrv_new_open_driver(BlockDriver *drv,
                                       const char *node_name, int flags,
                                       Error **errp)
{
    return bdrv_new_open_driver_opts(drv, node_name, NULL, flags, errp);
}

/* --- children --- */

/*
 * Whether @filename is the file of @bs, or of an image that @bs is opened for.
 * One that is being written to is locked, which would be told instead.
 */
static bool bdrv_is_opening_file(const BlockDriverState *bs,
                                 const char *filename)
{
    struct stat st, other;

    if (!filename || stat(filename, &st) < 0) {
        return false;
    }
    for (; bs; bs = bs->opened_below) {
        const char *name = bs->file ? bs->file->bs->exact_filename : "";

        if (*name && stat(name, &other) == 0 && st.st_dev == other.st_dev &&
            st.st_ino == other.st_ino) {
            return true;
        }
    }
    return false;
}

/* An image can name itself as its backing file, directly or not. */
static bool bdrv_check_backing_depth(BlockDriverState *parent,
                                     BdrvChildRole role,
                                     const char *filename, Error **errp)
{
    if (role & BDRV_CHILD_COW && bdrv_is_opening_file(parent, filename)) {
        error_setg(errp, "'%s' is its own backing file, directly or through "
                   "others: the backing files form a loop", filename);
        return false;
    }
    /* Names of other kinds, as of an NBD server. */
    if (role & BDRV_CHILD_COW &&
        parent->backing_depth >= BDRV_MAX_BACKING_DEPTH) {
        error_setg(errp, "'%s' is below more than %d other images: the "
                   "backing files form a loop", filename ? filename : "",
                   BDRV_MAX_BACKING_DEPTH);
        return false;
    }
    return true;
}

BdrvChild *bdrv_open_child(const char *filename, QOpts *options,
                           const char *bdref_key, BlockDriverState *parent,
                           BdrvChildRole role, bool allow_none, Error **errp)
{
    g_autofree char *prefix = g_strdup_printf("%s.", bdref_key);
    g_autofree char *reference = NULL;
    BlockDriverState *bs;
    QOpts *sub;

    if (!qopts_take_str(options, bdref_key, NULL, &reference, errp)) {
        return NULL;
    }
    sub = qopts_extract_sub(options, prefix);
    if (!filename && !reference && !qopts_count(sub)) {
        qopts_unref(sub);
        if (!allow_none) {
            error_setg(errp, "A block device must be specified for \"%s\"",
                       bdref_key);
        }
        return NULL;
    }
    if (!bdrv_check_backing_depth(parent, role, filename, errp)) {
        qopts_unref(sub);
        return NULL;
    }
    bs = bdrv_open_inherit(reference ? NULL : filename, reference, sub, 0,
                           parent, role, errp);
    if (!bs) {
        return NULL;
    }
    if (!reference) {
        bs->inherits_from = parent;
    }
    return bdrv_attach_child(parent, bs, bdref_key, &child_of_bds, role, errp);
}

int bdrv_open_file_child(const char *filename, QOpts *options,
                         const char *bdref_key, BlockDriverState *parent,
                         Error **errp)
{
    BdrvChildRole role = parent->drv->is_filter ?
                         BDRV_CHILD_FILTERED | BDRV_CHILD_PRIMARY :
                         BDRV_CHILD_IMAGE;

    return bdrv_open_child(filename, options, bdref_key, parent, role, false,
                           errp) ? 0 : -EINVAL;
}
