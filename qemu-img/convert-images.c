/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img convert and dd: the images, and what becomes of a target that was
 * not finished.
 */
#include "qemu/osdep.h"
#include "convert.h"
#include "block/block_int.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/interrupt.h"

/* --- files --- */

/* Whether @name is a file of a source; that was reported. */
static bool is_source(const ConvertArgs *a, const char *name)
{
    int i;

    for (i = 0; i < a->c.nb_src; i++) {
        if (img_has_file(blk_bs(a->c.src[i]), name)) {
            error_report("The target '%s' is a file of the source: it would "
                         "be overwritten while it is read", name);
            return true;
        }
    }
    return false;
}

/*
 * A target that was not finished is no image; it is removed if this command
 * has made it.  What is no regular file stays.
 */
static void remove_files(const GPtrArray *files)
{
    guint i;

    for (i = 0; i < files->len; i++) {
        const char *name = g_ptr_array_index(files, i);
        struct stat st;

        if (lstat(name, &st) == 0 && S_ISREG(st.st_mode) &&
            unlink(name) < 0) {
            error_report("Could not remove '%s', which is incomplete: %s",
                         name, strerror(errno));
        }
    }
}

/* --- sources --- */

static int open_sources(ConvertArgs *a, char **names)
{
    Convert *c = &a->c;
    int i;

    c->src = g_new0(BlockBackend *, c->nb_src);
    c->src_start = g_new0(int64_t, c->nb_src + 1);
    for (i = 0; i < c->nb_src; i++) {
        int64_t length;

        c->src[i] = img_open(a->image_opts, names[i], a->fmt, a->src_flags,
                             false, a->force_share);
        if (!c->src[i]) {
            return -EINVAL;
        }
        length = blk_getlength(c->src[i]);
        if (length < 0) {
            error_report("Could not get size of %s: %s", names[i],
                         strerror(-length));
            return length;
        }
        if (a->skip > length) {
            error_report("%s: cannot skip to specified offset", names[i]);
        }
        length = MAX(length - a->skip, 0);
        if (a->max_bytes >= 0) {
            length = MIN(length, a->max_bytes);
        }
        if (length > BDRV_MAX_LENGTH - c->src_start[i]) {
            error_report("The images are too large together");
            return -EFBIG;
        }
        c->src_start[i + 1] = c->src_start[i] + length;
    }
    c->total = c->src_start[c->nb_src];
    c->skip = a->skip;
    return 0;
}

/* No format here has snapshots or bitmaps within the image. */
static int check_sources(const ConvertArgs *a)
{
    if (a->snapshot) {
        error_report("Failed to load snapshot: Block format '%s' used by "
                     "device '' does not support temporarily loading "
                     "internal snapshots",
                     bdrv_get_format_name(blk_bs(a->c.src[0])));
        return -ENOTSUP;
    }
    if (a->bitmaps) {
        error_report("Source lacks bitmap support");
        return -ENOTSUP;
    }
    return 0;
}

/* --- the target --- */

/* The options to create with; NULL with @errp set. */
static QOpts *create_options(ConvertArgs *a, BlockDriver *drv, Error **errp)
{
    g_autofree QemuOptsList *table = NULL;
    g_autoptr(QOpts) opts = NULL;
    const char *backing;

    table = img_create_table(drv, a->target, errp);
    if (!table) {
        return NULL;
    }
    opts = a->options ? qopts_parse(a->options, NULL, errp) : qopts_new();
    if (!opts) {
        return NULL;
    }
    qopts_set_uint(opts, "size", a->c.total);
    if (!img_set_backing_option(table, opts, a->target_fmt, a->backing,
                                a->backing_fmt, errp) ||
        !img_check_create_options(table, opts, errp)) {
        return NULL;
    }
    backing = qopts_get_str(opts, "backing_file");
    if (backing && *backing && !qopts_get_str(opts, "backing_fmt")) {
        error_setg(errp, "Use of backing file requires explicit backing "
                   "format");
        return NULL;
    }
    a->c.target_has_backing = backing && *backing;
    return g_steal_pointer(&opts);
}

static int check_create(const ConvertArgs *a, BlockDriver *drv)
{
    if (a->c.compressed && img_check_compression(drv) < 0) {
        return -ENOTSUP;
    }
    if (a->c.nb_src > 1 && a->c.target_has_backing) {
        error_report("Having a backing file for the target makes no sense "
                     "when concatenating multiple input images");
        return -EINVAL;
    }
    return is_source(a, a->target) ? -EINVAL : 0;
}

/* The backing file that @opts name; NULL with @errp set. */
static BlockDriverState *open_backing(const ConvertArgs *a, const QOpts *opts,
                                      Error **errp)
{
    g_autofree char *path = bdrv_get_full_backing_filename_from_filename(
        a->target, qopts_get_str(opts, "backing_file"), errp);
    QOpts *options;

    if (!path) {
        return NULL;
    }
    options = qopts_new();
    qopts_set_str(options, "driver", qopts_get_str(opts, "backing_fmt"));
    qopts_set_str(options, "force-share", a->force_share ? "on" : "off");
    return bdrv_open(path, NULL, options, 0, errp);
}

/*
 * Create, or leave nothing where there was nothing.  The backing files are open
 * meanwhile, so that none of them becomes a file of the new image.
 */
static int create_or_remove(const ConvertArgs *a, BlockDriver *drv,
                            QOpts *opts, Error **errp)
{
    g_autoptr(GPtrArray) files = g_ptr_array_new();
    struct stat st;
    bool was_there = lstat(a->target, &st) == 0;
    BlockDriverState *backing = NULL;
    int ret;

    if (a->c.target_has_backing) {
        backing = open_backing(a, opts, errp);
        if (!backing) {
            qopts_unref(opts);
            return -EINVAL;
        }
    }
    ret = img_create_image(drv, a->target, opts, errp);
    bdrv_unref(backing);
    if (ret < 0 && !was_there) {
        g_ptr_array_add(files, (void *)a->target);
        remove_files(files);
    }
    return ret;
}

static int create_target(ConvertArgs *a)
{
    BlockDriver *drv = bdrv_find_format(a->target_fmt);
    g_autoptr(QOpts) opts = NULL;
    Error *local_err = NULL;
    int ret;

    if (!drv) {
        error_report("Unknown file format '%s'", a->target_fmt);
        return -EINVAL;
    }
    opts = create_options(a, drv, &local_err);
    if (!opts) {
        error_report_err(local_err);
        return -EINVAL;
    }
    ret = check_create(a, drv);
    if (ret < 0) {
        return ret;
    }
    ret = create_or_remove(a, drv, g_steal_pointer(&opts), &local_err);
    if (ret < 0) {
        error_reportf_err(local_err, "%s: error while converting %s: ",
                          a->target, a->target_fmt);
    }
    a->created = ret >= 0;
    return ret;
}

static int open_target(ConvertArgs *a)
{
    Convert *c = &a->c;
    int flags = a->target_flags | BDRV_O_RDWR |
                (c->min_sparse ? BDRV_O_UNMAP : 0);

    c->target = img_open(a->target_image_opts, a->target,
                         a->target_image_opts ? NULL : a->target_fmt, flags,
                         a->target_writethrough, false);
    return c->target ? 0 : -EINVAL;
}

/* A target that was there: does it fit, and is it another one? */
static int check_old_target(const ConvertArgs *a)
{
    g_autoptr(GPtrArray) files = g_ptr_array_new_with_free_func(g_free);
    int64_t length = blk_getlength(a->c.target);
    guint i;

    if (length < 0) {
        error_report("Could not get size of %s: %s", a->target,
                     strerror(-length));
        return length;
    }
    if (length < a->c.total) {
        error_report("output file is smaller than input file");
        return -EINVAL;
    }
    img_add_files(blk_bs(a->c.target), false, files);
    for (i = 0; i < files->len; i++) {
        if (is_source(a, g_ptr_array_index(files, i))) {
            return -EINVAL;
        }
    }
    return 0;
}

static int check_all_zeroes_entry(void *opaque)
{
    return bdrv_co_is_all_zeroes(opaque);
}

/* What the target reads as before anything is written. */
static void find_zero_init(ConvertArgs *a)
{
    BlockDriverState *bs = blk_bs(a->c.target);
    Convert *c = &a->c;

    if (c->target_has_backing) {
        BlockDriverState *cow = bdrv_cow_bs(bdrv_skip_filters(bs));

        c->target_backing_bytes = cow ? MAX(bdrv_getlength(cow), 0) : 0;
        c->target_has_backing = cow;
    }
    if (c->target_has_backing) {
        c->target_is_zero = false;
    } else if (a->created) {
        c->target_is_zero = bdrv_has_zero_init(bs);
    } else {
        c->target_is_zero = a->target_is_zero ||
            bdrv_run_co(bdrv_get_aio_context(bs), check_all_zeroes_entry,
                        bs) == 1;
    }
    if (!c->min_sparse) {
        /* Zeroes are to be allocated, so all of them are written. */
        c->target_is_zero = false;
    }
}

static int find_limits(ConvertArgs *a)
{
    BlockDriverState *bs = blk_bs(a->c.target);
    BlockDriverInfo bdi = { .cluster_size = 0 };
    Convert *c = &a->c;

    /* A format without information has no clusters. */
    bdrv_get_info(bs, &bdi);
    c->cluster = MAX(bdi.cluster_size, 1);
    c->compressed = img_use_compression(&bdi, a->target, c->compressed);
    find_zero_init(a);
    return 0;
}

/* --- the command --- */

/* A stream of compressed clusters gets its end when nobody writes any more. */
static int end_stream(const ConvertArgs *a, Error **errp)
{
    int ret = blk_set_perm(a->c.target, BLK_PERM_CONSISTENT_READ,
                           BLK_PERM_ALL, errp);

    return ret < 0 ? ret
           : bdrv_reopen_set_read_only(blk_bs(a->c.target), true, errp);
}

static int flush_target(const ConvertArgs *a)
{
    Error *local_err = NULL;
    int ret = blk_flush(a->c.target);

    if (ret == 0 && a->c.compressed) {
        ret = end_stream(a, &local_err);
    }
    if (local_err) {
        error_reportf_err(local_err, "error while finishing '%s': ",
                          a->target);
    } else if (ret < 0) {
        error_report("error while flushing '%s': %s", a->target,
                     strerror(-ret));
    }
    return ret;
}

static int convert_to_target(ConvertArgs *a)
{
    int ret = a->skip_create ? 0 : create_target(a);

    if (ret >= 0) {
        ret = open_target(a);
    }
    if (ret >= 0 && a->skip_create) {
        ret = check_old_target(a);
    }
    if (ret >= 0) {
        ret = find_limits(a);
    }
    if (ret >= 0) {
        ret = convert_copy(&a->c);
    }
    if (ret >= 0) {
        ret = flush_target(a);
    }
    if (ret >= 0 && !qemu_interrupted()) {
        img_progress(100);
    }
    return ret;
}

int convert_images(ConvertArgs *a, char **names)
{
    g_autoptr(GPtrArray) files = g_ptr_array_new_with_free_func(g_free);
    Convert *c = &a->c;
    int i, ret;

    img_progress_begin(a->progress && !c->quiet, 1.0);
    ret = open_sources(a, names);
    if (ret >= 0) {
        ret = check_sources(a);
    }
    if (ret >= 0) {
        ret = convert_to_target(a);
    }
    img_progress_end();
    if (c->target && a->created && (ret < 0 || qemu_interrupted())) {
        img_add_files(blk_bs(c->target), false, files);
    }
    blk_unref(c->target);
    for (i = 0; c->src && i < c->nb_src; i++) {
        blk_unref(c->src[i]);
    }
    g_free(c->src);
    g_free(c->src_start);
    remove_files(files);
    return ret < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
