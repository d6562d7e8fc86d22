/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img convert: the command line, the images, and what becomes of a
 * target that was not finished.
 */
#include "qemu/osdep.h"
#include "convert.h"
#include "block/block_int.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/interrupt.h"

typedef struct {
    Convert c;
    const char *fmt;
    const char *target_fmt;
    const char *target;
    const char *backing;
    const char *backing_fmt;
    const char *snapshot;
    char *options;              /* all -o; NULL if none */
    int src_flags;
    int target_flags;
    bool target_writethrough;
    bool image_opts;
    bool target_image_opts;
    bool target_is_zero;
    bool skip_create;
    bool copy_range;
    bool bitmaps;
    bool skip_broken_bitmaps;
    bool sparse_given;
    bool progress;
    bool force_share;
    bool created;               /* the target, by this command */
} ConvertArgs;

/* --- files --- */

static bool is_same_file(const char *a, const char *b)
{
    struct stat sa, sb;

    if (stat(a, &sa) < 0 || stat(b, &sb) < 0) {
        return false;
    }
    if (S_ISBLK(sa.st_mode) && S_ISBLK(sb.st_mode)) {
        return sa.st_rdev == sb.st_rdev;
    }
    return sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

/* Add the names of all files of @bs; of backing files, too, if @backing. */
static void add_files(BlockDriverState *bs, bool backing, GPtrArray *files)
{
    BdrvChild *child;

    if (bs->drv->protocol_name && *bs->exact_filename &&
        !path_has_protocol(bs->exact_filename)) {
        g_ptr_array_add(files, g_strdup(bs->exact_filename));
    }
    QLIST_FOREACH(child, &bs->children, next) {
        if (backing || !(child->role & BDRV_CHILD_COW)) {
            add_files(child->bs, backing, files);
        }
    }
}

/* Whether @name is a file of a source; that was reported. */
static bool is_source(const ConvertArgs *a, const char *name)
{
    g_autoptr(GPtrArray) files = g_ptr_array_new_with_free_func(g_free);
    guint n;
    int i;

    for (i = 0; i < a->c.nb_src; i++) {
        add_files(blk_bs(a->c.src[i]), true, files);
    }
    for (n = 0; n < files->len; n++) {
        if (is_same_file(name, g_ptr_array_index(files, n))) {
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
        if (length > BDRV_MAX_LENGTH - c->src_start[i]) {
            error_report("The images are too large together");
            return -EFBIG;
        }
        c->src_start[i + 1] = c->src_start[i] + length;
    }
    c->total = c->src_start[c->nb_src];
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
    if (a->c.compressed && !drv->supports_compressed_writes) {
        error_report("Compression not supported for this file format");
        return -ENOTSUP;
    }
    if (a->c.nb_src > 1 && a->c.target_has_backing) {
        error_report("Having a backing file for the target makes no sense "
                     "when concatenating multiple input images");
        return -EINVAL;
    }
    return is_source(a, a->target) ? -EINVAL : 0;
}

/* Create, or leave nothing where there was nothing. */
static int create_or_remove(const ConvertArgs *a, BlockDriver *drv,
                            QOpts *opts, Error **errp)
{
    g_autoptr(GPtrArray) files = g_ptr_array_new();
    struct stat st;
    bool was_there = lstat(a->target, &st) == 0;
    int ret = img_create_image(drv, a->target, opts, errp);

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
    add_files(blk_bs(a->c.target), false, files);
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
    if (bdi.needs_compressed_writes) {
        c->compressed = true;
    } else if (c->compressed) {
        warn_report("Images like '%s' have no compression; it is written "
                    "uncompressed", a->target);
        c->compressed = false;
    }
    if (c->compressed && c->target_has_backing) {
        /* A compressed cluster is written once, with all of its data. */
        c->target_is_zero = false;
    }
    find_zero_init(a);
    return 0;
}

/* --- the command --- */

static int flush_target(const ConvertArgs *a)
{
    int ret = blk_flush(a->c.target);

    if (ret < 0) {
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

static int convert_images(ConvertArgs *a, char **names)
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
        add_files(blk_bs(c->target), false, files);
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

/* --- command line --- */

const char img_convert_help[] =
    "Copy one or more images to another one, perhaps of another format.  "
    "Usage:\n"
    "\n"
    "  qemu-img convert [-f SRC_FMT | --image-opts] [-T SRC_CACHE] [-U]\n"
    "        [-O TGT_FMT | --target-image-opts] [-t TGT_CACHE] [-n]\n"
    "        [-o TGT_OPTS] [-B BACKING_FILE [-F BACKING_FMT]]\n"
    "        [-c] [-C] [-m NUM_COROUTINES] [-W] [-r RATE] [-S SPARSE_SIZE]\n"
    "        [--target-is-zero] [--salvage] [-p] [-q]\n"
    "        SRC_FILE [SRC_FILE2 ...] TGT_FILE\n"
    "\n"
    "  -f, --source-format SRC_FMT\n"
    "     specify format of the source images (default: probing is used)\n"
    "  --image-opts, --source-image-opts\n"
    "     treat each SRC_FILE as an option string (key=value,..), not a file\n"
    "     name (incompatible with -f|--source-format)\n"
    "  -T, --source-cache SRC_CACHE\n"
    "     cache mode of the source images (default: writeback)\n"
    "  -O, --target-format TGT_FMT\n"
    "     specify TGT_FILE image format (default: raw)\n"
    "  --target-image-opts\n"
    "     treat TGT_FILE as an option string (key=value,..), not a file name\n"
    "     (incompatible with -O, needs -n)\n"
    "  -t, --target-cache TGT_CACHE\n"
    "     cache mode of the target image (default: unsafe)\n"
    "  -o, --target-options TGT_OPTS\n"
    "     options of the new image; '-o help' lists those of the format\n"
    "  -B, --backing BACKING_FILE\n"
    "     create TGT_FILE as an overlay over BACKING_FILE, which has to have\n"
    "     what the backing file of the source has\n"
    "  -F, --backing-format BACKING_FMT\n"
    "     specify format of BACKING_FILE\n"
    "  -n, --no-create\n"
    "     write to an image that exists\n"
    "  --target-is-zero\n"
    "     TGT_FILE reads as zeroes already (needs -n)\n"
    "  -c, --compress\n"
    "     write compressed clusters, if the image has them\n"
    "  -C, --copy-range-offloading\n"
    "     let the kernel copy where it can; data is not searched for zeroes\n"
    "  -m, --parallel NUM_COROUTINES\n"
    "     how many pieces are copied at a time, 1 to 16 (default: 8)\n"
    "  -W, --oob-writes\n"
    "     write in any order, which is faster to devices\n"
    "  -r, --rate-limit RATE\n"
    "     copy at most RATE bytes per second\n"
    "  -S, --sparse-size SPARSE_SIZE\n"
    "     how many zeroes make a hole (default: 4k); 0: none, the target is\n"
    "     fully allocated\n"
    "  --salvage\n"
    "     go on where the source cannot be read; zeroes take its place\n"
    "  -U, --force-share\n"
    "     open source images in shared mode for concurrent access\n"
    "  -p, --progress\n"
    "     display progress information\n"
    "  -q, --quiet\n"
    "     quiet mode (produce only error messages if any)\n"
    "  -h, --help\n"
    "     print this help and exit\n";

enum {
    OPTION_TARGET_IMAGE_OPTS = 1000,
    OPTION_TARGET_IS_ZERO,
    OPTION_SALVAGE,
    OPTION_BITMAPS,
    OPTION_SKIP_BROKEN_BITMAPS,
};

static const struct option convert_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "source-format", required_argument, NULL, 'f' },
    { "source-image-opts", no_argument, NULL, OPTION_IMAGE_OPTS },
    { "image-opts", no_argument, NULL, OPTION_IMAGE_OPTS },
    { "source-cache", required_argument, NULL, 'T' },
    { "target-format", required_argument, NULL, 'O' },
    { "target-image-opts", no_argument, NULL, OPTION_TARGET_IMAGE_OPTS },
    { "target-cache", required_argument, NULL, 't' },
    { "target-options", required_argument, NULL, 'o' },
    { "backing", required_argument, NULL, 'B' },
    { "backing-format", required_argument, NULL, 'F' },
    { "no-create", no_argument, NULL, 'n' },
    { "target-is-zero", no_argument, NULL, OPTION_TARGET_IS_ZERO },
    { "compress", no_argument, NULL, 'c' },
    { "copy-range-offloading", no_argument, NULL, 'C' },
    { "parallel", required_argument, NULL, 'm' },
    { "oob-writes", no_argument, NULL, 'W' },
    { "rate-limit", required_argument, NULL, 'r' },
    { "sparse-size", required_argument, NULL, 'S' },
    { "snapshot", required_argument, NULL, 'l' },
    { "salvage", no_argument, NULL, OPTION_SALVAGE },
    { "bitmaps", no_argument, NULL, OPTION_BITMAPS },
    { "skip-broken-bitmaps", no_argument, NULL,
      OPTION_SKIP_BROKEN_BITMAPS },
    { "force-share", no_argument, NULL, 'U' },
    { "progress", no_argument, NULL, 'p' },
    { "quiet", no_argument, NULL, 'q' },
    { NULL }
};

static int parse_sparse(ConvertArgs *a, const char *arg)
{
    int64_t size = cvtnum("buffer size for sparse output", arg);

    if (size < 0) {
        return -EINVAL;
    }
    if (size % BDRV_SECTOR_SIZE || size > CONVERT_MAX_SPARSE) {
        error_report("Invalid buffer size for sparse output specified. Valid "
                     "sizes are multiples of %llu up to %llu. Select 0 to "
                     "disable sparse detection (fully allocates output).",
                     (unsigned long long)BDRV_SECTOR_SIZE,
                     (unsigned long long)CONVERT_MAX_SPARSE);
        return -EINVAL;
    }
    a->c.min_sparse = size;
    a->sparse_given = true;
    return 0;
}

static int parse_coroutines(ConvertArgs *a, const char *arg)
{
    if (qemu_strtoi(arg, NULL, 0, &a->c.coroutines) < 0 ||
        a->c.coroutines < 1 || a->c.coroutines > CONVERT_MAX_COROUTINES) {
        error_report("Invalid number of coroutines. Allowed number of "
                     "coroutines is between 1 and %d",
                     CONVERT_MAX_COROUTINES);
        return -EINVAL;
    }
    return 0;
}

static int parse_rate(ConvertArgs *a, const char *arg)
{
    int64_t rate = cvtnum("rate limit", arg);

    if (rate < 0) {
        return -EINVAL;
    }
    a->c.rate = rate;
    return 0;
}

/* Options with a value. */
static int convert_value(ConvertArgs *a, int opt, const char *arg)
{
    bool writethrough;

    switch (opt) {
    case 'f':
        a->fmt = arg;
        return 0;
    case 'O':
        a->target_fmt = arg;
        return 0;
    case 'B':
        a->backing = arg;
        return 0;
    case 'F':
        a->backing_fmt = arg;
        return 0;
    case 'o':
        img_add_options(&a->options, arg);
        return 0;
    case 'l':
        a->snapshot = arg;
        return 0;
    case 'S':
        return parse_sparse(a, arg);
    case 'm':
        return parse_coroutines(a, arg);
    case 'r':
        return parse_rate(a, arg);
    case 't':
        return img_parse_cache("cache", arg, &a->target_flags,
                               &a->target_writethrough);
    case 'T':
        return img_parse_cache("source cache", arg, &a->src_flags,
                               &writethrough);
    }
    g_assert_not_reached();
}

static void convert_flag(ConvertArgs *a, int opt)
{
    switch (opt) {
    case 'c':
        a->c.compressed = true;
        break;
    case 'C':
        a->copy_range = true;
        break;
    case 'n':
        a->skip_create = true;
        break;
    case 'p':
        a->progress = true;
        break;
    case 'q':
        a->c.quiet = true;
        break;
    case 'U':
        a->force_share = true;
        break;
    case 'W':
        a->c.in_order = false;
        break;
    case OPTION_IMAGE_OPTS:
        a->image_opts = true;
        break;
    case OPTION_TARGET_IMAGE_OPTS:
        a->target_image_opts = true;
        break;
    case OPTION_TARGET_IS_ZERO:
        a->target_is_zero = true;
        break;
    case OPTION_SALVAGE:
        a->c.salvage = true;
        break;
    case OPTION_BITMAPS:
        a->bitmaps = true;
        break;
    case OPTION_SKIP_BROKEN_BITMAPS:
        a->skip_broken_bitmaps = true;
        break;
    }
}

/* The first thing that does not go together; NULL if all does. */
static const char *convert_conflict(const ConvertArgs *a)
{
    if (a->skip_broken_bitmaps && !a->bitmaps) {
        return "Use of --skip-broken-bitmaps requires --bitmaps";
    }
    if (a->target_image_opts && a->target_fmt) {
        return "--image-opts and --format are mutually exclusive";
    }
    if (a->target_image_opts && !a->skip_create) {
        return "--target-image-opts requires use of -n flag";
    }
    if (a->skip_create && a->options) {
        return "-o has no effect when skipping image creation";
    }
    if (a->target_is_zero && !a->skip_create) {
        return "--target-is-zero requires use of -n flag";
    }
    if (a->target_is_zero && a->backing) {
        return "--target-is-zero cannot be used with a backing file";
    }
    if (a->copy_range && a->c.compressed) {
        return "Cannot enable copy offloading when -c is used";
    }
    if (a->copy_range && a->sparse_given) {
        return "Cannot enable copy offloading when -S is used";
    }
    if (a->copy_range && a->c.salvage) {
        return "Cannot use copy offloading in salvaging mode";
    }
    return NULL;
}

static int convert_main(ConvertArgs *a, int argc, char **argv)
{
    const char *conflict = convert_conflict(a);
    int names = argc - optind;

    if (a->options && qopts_has_help(a->options)) {
        return img_print_create_help(a->target_fmt ?: "raw",
                                     names ? argv[argc - 1] : NULL);
    }
    if (conflict) {
        error_report("%s", conflict);
        return EXIT_FAILURE;
    }
    if (names < 2) {
        error_report("Must specify image file name");
        return EXIT_FAILURE;
    }
    if (names > 2 && a->backing) {
        error_report("Having a backing file for the target makes no sense "
                     "when concatenating multiple input images");
        return EXIT_FAILURE;
    }
    a->target = argv[argc - 1];
    a->c.nb_src = names - 1;
    a->c.target_has_backing = a->skip_create && a->backing;
    if (!a->target_fmt) {
        a->target_fmt = "raw";
    }
    return convert_images(a, argv + optind);
}

int img_convert(int argc, char **argv)
{
    ConvertArgs a = {
        .c = { .coroutines = 8, .in_order = true, .min_sparse = 4 * KiB },
        .target_flags = BDRV_O_NO_FLUSH,
    };
    int status = EXIT_SUCCESS;
    int opt;

    while ((opt = img_getopt(argc, argv, ":hf:O:B:F:cCo:l:S:pt:T:qnm:Wr:U",
                             convert_options)) != -1) {
        if (!optarg) {
            convert_flag(&a, opt);
        } else if (convert_value(&a, opt, optarg) < 0) {
            status = EXIT_FAILURE;
            break;
        }
    }
    if (status == EXIT_SUCCESS) {
        status = convert_main(&a, argc, argv);
    }
    g_free(a.options);
    return status;
}
