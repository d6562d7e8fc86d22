/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img resize: another length for an image.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/util.h"
#include "qemu-img.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"

typedef struct {
    const char *fmt;
    const char *filename;
    uint64_t number;
    int relative;               /* 1: so much more, -1: less, 0: so much */
    PreallocMode prealloc;
    bool image_opts;
    bool quiet;
    bool shrink;
} ResizeArgs;

/* The new length in bytes, or -EINVAL after that was reported. */
static int64_t resize_target(const ResizeArgs *a, int64_t current)
{
    int64_t total;

    if (a->number > BDRV_MAX_LENGTH) {
        error_report("Required size too big, it must be %" PRId64
                     " bytes at most", BDRV_MAX_LENGTH);
        return -EINVAL;
    }
    total = a->relative ? current + a->relative * (int64_t)a->number
                        : (int64_t)a->number;
    if (total <= 0) {
        error_report("New image size must be positive");
        return -EINVAL;
    }
    if (total <= current && a->prealloc != PREALLOC_MODE_OFF) {
        error_report("Preallocation can only be used for growing images");
        return -EINVAL;
    }
    if (total < current && !a->shrink) {
        error_report("Use the --shrink option to perform a shrink "
                     "operation.");
        warn_report("Shrinking an image will delete all data beyond the "
                    "shrunken image's end. Before performing such an "
                    "operation, make sure there is no important data "
                    "there.");
        return -EINVAL;
    }
    return total;
}

static int resize_image(const ResizeArgs *a, BlockBackend *blk)
{
    Error *local_err = NULL;
    int64_t current = blk_getlength(blk);
    int64_t total;
    int ret;

    if (current < 0) {
        error_report("Failed to inquire current image length: %s",
                     strerror(-current));
        return current;
    }
    total = resize_target(a, current);
    if (total < 0) {
        return total;
    }
    ret = blk_truncate(blk, total, true, a->prealloc, 0, &local_err);
    if (ret < 0) {
        error_report_err(local_err);
        return ret;
    }
    ret = blk_flush(blk);
    if (ret < 0) {
        error_report("Failed to flush the image: %s", strerror(-ret));
        return ret;
    }
    if (!a->quiet) {
        printf("Image resized.\n");
    }
    return 0;
}

const char img_resize_help[] =
    "Resize an image.  Usage:\n"
    "\n"
    "  qemu-img resize [-f FMT | --image-opts] [--preallocation PREALLOC]\n"
    "        [--shrink] [-q] FILE [+-]SIZE[bkKMGTPE]\n"
    "\n"
    IMG_HELP_FORMAT
    "  --shrink\n"
    "     allow an operation that makes the image smaller: what is behind\n"
    "     the new end is lost\n"
    "  --preallocation PREALLOC\n"
    "     how the new area is allocated: off (default), falloc, full\n"
    IMG_HELP_QUIET
    IMG_HELP_HELP
    IMG_HELP_FILE
    "  [+-]SIZE[bkKMGTPE]\n"
    "     the new size, or how much to add or take away\n";

static const struct option resize_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "format", required_argument, NULL, 'f' },
    { "image-opts", no_argument, NULL, OPTION_IMAGE_OPTS },
    { "preallocation", required_argument, NULL, OPTION_PREALLOCATION },
    { "shrink", no_argument, NULL, OPTION_SHRINK },
    { "quiet", no_argument, NULL, 'q' },
    { NULL }
};

static int resize_parse_size(ResizeArgs *a, const char *size)
{
    if (*size == '+' || *size == '-') {
        a->relative = *size == '+' ? 1 : -1;
        size++;
    }
    if (qemu_strtosz(size, NULL, &a->number) < 0) {
        error_report("Parameter 'size' expects a non-negative number below "
                     "2^64");
        error_printf("Optional suffix k, M, G, T, P or E means kilo-, "
                     "mega-, giga-, tera-, peta-\nand exabytes, "
                     "respectively.\n");
        return -EINVAL;
    }
    return 0;
}

static int resize_parse_prealloc(ResizeArgs *a, const char *mode)
{
    int value = qapi_enum_parse(&PreallocMode_lookup, mode, -1, NULL);

    if (value < 0) {
        error_report("Invalid preallocation mode '%s'", mode);
        return -EINVAL;
    }
    a->prealloc = value;
    return 0;
}

static int resize_option(ResizeArgs *a, int opt)
{
    switch (opt) {
    case 'f':
        a->fmt = optarg;
        break;
    case 'q':
        a->quiet = true;
        break;
    case OPTION_IMAGE_OPTS:
        a->image_opts = true;
        break;
    case OPTION_PREALLOCATION:
        return resize_parse_prealloc(a, optarg);
    case OPTION_SHRINK:
        a->shrink = true;
        break;
    }
    return 0;
}

int img_resize(int argc, char **argv)
{
    ResizeArgs a = { .prealloc = PREALLOC_MODE_OFF };
    const char *size = argc > 2 ? argv[argc - 1] : NULL;
    BlockBackend *blk;
    int opt, ret;

    /* The size comes last, and "-1G" is none of the options. */
    while ((opt = img_getopt(size ? argc - 1 : argc, argv, ":f:hq",
                             resize_options)) != -1) {
        if (resize_option(&a, opt) < 0) {
            return EXIT_FAILURE;
        }
    }
    if (!size) {
        img_error_exit("Not enough arguments");
    }
    if (optind != argc - 2) {
        img_error_exit("Expecting image file name and size");
    }
    if (resize_parse_size(&a, size) < 0) {
        return EXIT_FAILURE;
    }
    blk = img_open(a.image_opts, argv[optind], a.fmt,
                   BDRV_O_RDWR | BDRV_O_RESIZE, false, false);
    if (!blk) {
        return EXIT_FAILURE;
    }
    ret = resize_image(&a, blk);
    blk_unref(blk);
    return ret < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
