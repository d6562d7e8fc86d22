/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img measure: how large a file would be needed for a new image.
 *
 * Only raw images can tell: they are as large as the disk.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "block/block_int.h"
#include "qapi/error.h"
#include "qemu-img.h"
#include "qemu/error-report.h"

typedef struct {
    const char *fmt;
    const char *filename;
    const char *target_fmt;
    const char *snapshot;
    char *options;              /* all -o; NULL if none */
    OutputFormat output;
    bool image_opts;
    bool force_share;
    int64_t size;               /* -1: not given */
} MeasureArgs;

/* Names and values of -o; they make no difference to a raw image. */
static int measure_check_options(const MeasureArgs *a, BlockDriver *drv)
{
    g_autoptr(QOpts) opts = NULL;
    Error *local_err = NULL;

    if (!a->options) {
        return 0;
    }
    opts = qopts_parse(a->options, NULL, &local_err);
    if (!opts || !drv->create_opts ||
        !img_check_create_options(drv->create_opts, opts, &local_err)) {
        if (local_err) {
            error_report_err(local_err);
        }
        error_report("Invalid options for file format '%s'", a->target_fmt);
        return -EINVAL;
    }
    return 0;
}

/* The length of the image, or -errno after that was reported. */
static int64_t measure_source(const MeasureArgs *a)
{
    BlockBackend *blk = img_open(a->image_opts, a->filename, a->fmt, 0, false,
                                 a->force_share);
    int64_t length;

    if (!blk) {
        return -EINVAL;
    }
    length = blk_getlength(blk);
    if (a->snapshot) {
        error_report("Failed to load snapshot: Block format '%s' used by "
                     "device '' does not support temporarily loading "
                     "internal snapshots",
                     bdrv_get_format_name(blk_bs(blk)));
        length = -ENOTSUP;
    } else if (length < 0) {
        error_report("Could not get size of '%s': %s", a->filename,
                     strerror(-length));
    }
    blk_unref(blk);
    return length;
}

static void measure_print(const MeasureArgs *a, int64_t bytes)
{
    struct json_object *obj;

    if (a->output == OFORMAT_HUMAN) {
        printf("required size: %" PRId64 "\n"
               "fully allocated size: %" PRId64 "\n", bytes, bytes);
        return;
    }
    obj = json_object_new_object();
    json_object_object_add(obj, "required", json_object_new_int64(bytes));
    json_object_object_add(obj, "fully-allocated",
                           json_object_new_int64(bytes));
    img_print_json(obj);
    json_object_put(obj);
}

static int measure(const MeasureArgs *a)
{
    BlockDriver *drv = bdrv_find_format(a->target_fmt);
    int64_t bytes;

    if (!drv) {
        error_report("Unknown file format '%s'", a->target_fmt);
        return -EINVAL;
    }
    if (measure_check_options(a, drv) < 0) {
        return -EINVAL;
    }
    bytes = a->filename ? measure_source(a) : a->size;
    if (bytes < 0) {
        return bytes;
    }
    if (drv != bdrv_find_format("raw")) {
        error_report("Block driver '%s' does not support size measurement",
                     a->target_fmt);
        return -ENOTSUP;
    }
    if (bytes > BDRV_MAX_LENGTH) {
        error_report("Image size too large: it must be %" PRId64
                     " bytes at most", BDRV_MAX_LENGTH);
        return -EFBIG;
    }
    measure_print(a, QEMU_ALIGN_UP(bytes, (int64_t)BDRV_SECTOR_SIZE));
    return 0;
}

const char img_measure_help[] =
    "Calculate the file size required for a new image.  Usage:\n"
    "\n"
    "  qemu-img measure [-f FMT | --image-opts] [-O OUTPUT_FMT] [-o OPTS]\n"
    "        [--output human|json] [-U] (FILE | --size SIZE)\n"
    "\n"
    "  -f, --format FMT\n"
    "     specify format of FILE (default: probing is used)\n"
    "  --image-opts\n"
    "     treat FILE as an option string (key=value,..), not a file name\n"
    "     (incompatible with -f|--format)\n"
    "  -O, --target-format OUTPUT_FMT\n"
    "     format of the new image (default: raw, the only one that can be\n"
    "     measured)\n"
    "  -o, --target-options OPTS\n"
    "     options of the new image\n"
    "  -s, --size SIZE\n"
    "     the size of the disk instead of FILE\n"
    IMG_HELP_OUTPUT
    "  -U, --force-share\n"
    "     open FILE in shared mode for concurrent access\n"
    "  -l, --snapshot SNAPSHOT\n"
    "     refused: no format of this version has them\n"
    IMG_HELP_HELP
    IMG_HELP_FILE;

static const struct option measure_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "format", required_argument, NULL, 'f' },
    { "target-format", required_argument, NULL, 'O' },
    { "target-options", required_argument, NULL, 'o' },
    { "image-opts", no_argument, NULL, OPTION_IMAGE_OPTS },
    { "output", required_argument, NULL, OPTION_OUTPUT },
    { "size", required_argument, NULL, 's' },
    { "snapshot", required_argument, NULL, 'l' },
    { "force-share", no_argument, NULL, 'U' },
    { NULL }
};

static int measure_option(MeasureArgs *a, int opt)
{
    switch (opt) {
    case 'f':
        a->fmt = optarg;
        break;
    case 'O':
        a->target_fmt = optarg;
        break;
    case 'o':
        img_add_options(&a->options, optarg);
        break;
    case 'l':
        a->snapshot = optarg;
        break;
    case 's':
        a->size = cvtnum("image size", optarg);
        return a->size < 0 ? -EINVAL : 0;
    case 'U':
        a->force_share = true;
        break;
    case OPTION_OUTPUT:
        a->output = img_parse_output(optarg);
        break;
    case OPTION_IMAGE_OPTS:
        a->image_opts = true;
        break;
    }
    return 0;
}

static const char *measure_conflict(const MeasureArgs *a)
{
    if (!a->filename && (a->image_opts || a->fmt || a->snapshot)) {
        return "--image-opts, -f, and -l require a filename argument.";
    }
    if (!a->filename && a->size < 0) {
        return "Either --size N or one filename must be specified.";
    }
    if (a->filename && a->size >= 0) {
        return "--size N cannot be used together with a filename.";
    }
    return NULL;
}

static int measure_main(MeasureArgs *a, int argc, char **argv)
{
    const char *conflict;

    if (argc - optind > 1) {
        error_report("At most one filename argument is allowed.");
        return EXIT_FAILURE;
    }
    a->filename = argv[optind];
    conflict = measure_conflict(a);
    if (conflict) {
        error_report("%s", conflict);
        return EXIT_FAILURE;
    }
    return measure(a) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int img_measure(int argc, char **argv)
{
    MeasureArgs a = { .target_fmt = "raw", .size = -1 };
    int status = EXIT_SUCCESS;
    int opt;

    while ((opt = img_getopt(argc, argv, ":hf:l:o:O:s:U",
                             measure_options)) != -1) {
        if (measure_option(&a, opt) < 0) {
            status = EXIT_FAILURE;
            break;
        }
    }
    if (status == EXIT_SUCCESS) {
        status = measure_main(&a, argc, argv);
    }
    g_free(a.options);
    return status;
}
