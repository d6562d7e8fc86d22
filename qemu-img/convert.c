/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img convert: the command line.
 */
#include "qemu/osdep.h"
#include "convert.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"

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
    "     let the kernel copy data as it is, without a search for zeroes,\n"
    "     where it can (not with -S, -c or --salvage)\n"
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
    "  -l, --snapshot SNAPSHOT, --bitmaps, --skip-broken-bitmaps\n"
    "     refused: no format of this version has them\n"
    IMG_HELP_PROGRESS
    IMG_HELP_QUIET
    IMG_HELP_HELP
    "  SRC_FILE, SRC_FILE2\n"
    "     names of the images to copy, one after the other, or option\n"
    "     strings with --image-opts\n"
    "  TGT_FILE\n"
    "     name of the image to create, or to write to with -n; an option\n"
    "     string with --target-image-opts\n";

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
        a->c.as_is = a->c.offload = true;
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
    if (a->c.as_is && a->c.compressed) {
        return "Cannot enable copy offloading when -c is used";
    }
    if (a->c.as_is && a->sparse_given) {
        return "Cannot enable copy offloading when -S is used";
    }
    if (a->c.as_is && a->c.salvage) {
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
        /* Also keeps the files of the target from being those of a source. */
        .src_flags = BDRV_O_NO_SHARE,
        .target_flags = BDRV_O_NO_FLUSH,
        .max_bytes = -1,
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
