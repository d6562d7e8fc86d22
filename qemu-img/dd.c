/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img dd: copy a part of an image, with the operands of dd(1).
 */
#include "qemu/osdep.h"
#include "convert.h"
#include "qemu/error-report.h"

typedef struct {
    const char *input;
    const char *output;
    int64_t bs;
    int64_t count;              /* blocks; -1: up to the end */
    int64_t skip;               /* blocks */
} DdOperands;

const char img_dd_help[] =
    "Copy a part of an image to a new one.  Usage:\n"
    "\n"
    "  qemu-img dd [-f FMT | --image-opts] [-O OUTPUT_FMT] [-U]\n"
    "        [bs=BLOCK_SIZE] [count=BLOCKS] [skip=BLOCKS] if=INPUT of=OUTPUT\n"
    "\n"
    "  -f, --format FMT\n"
    "     specify format of INPUT (default: probing is used)\n"
    "  --image-opts\n"
    "     treat INPUT as an option string (key=value,..), not a file name\n"
    "     (incompatible with -f|--format)\n"
    "  -O, --output-format OUTPUT_FMT\n"
    "     format of OUTPUT (default: raw)\n"
    "  -U, --force-share\n"
    "     open INPUT in shared mode for concurrent access\n"
    IMG_HELP_HELP
    "  bs=BLOCK_SIZE\n"
    "     the unit of count and skip (default: 512)\n"
    "  count=BLOCKS\n"
    "     how much to copy (default: up to the end)\n"
    "  skip=BLOCKS\n"
    "     where to begin in INPUT\n"
    "  if=INPUT, of=OUTPUT\n"
    "     the images; OUTPUT is created\n";

static const struct option dd_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "format", required_argument, NULL, 'f' },
    { "output-format", required_argument, NULL, 'O' },
    { "image-opts", no_argument, NULL, OPTION_IMAGE_OPTS },
    { "force-share", no_argument, NULL, 'U' },
    { NULL }
};

static int dd_number(const char *name, const char *value, int64_t min,
                     int64_t max, int64_t *number)
{
    *number = cvtnum_full(name, value, min, max);
    return *number < 0 ? -EINVAL : 0;
}

/* One "name=value"; -EINVAL after that was reported. */
static int dd_operand(DdOperands *o, const char *arg)
{
    const char *value = strchr(arg, '=');
    g_autofree char *name = value ? g_strndup(arg, value - arg)
                                  : g_strdup(arg);

    value = value ? value + 1 : "";
    if (!strcmp(name, "if")) {
        o->input = value;
        return 0;
    }
    if (!strcmp(name, "of")) {
        o->output = value;
        return 0;
    }
    if (!strcmp(name, "bs")) {
        return dd_number(name, value, 1, INT_MAX, &o->bs);
    }
    if (!strcmp(name, "count")) {
        return dd_number(name, value, 0, INT64_MAX, &o->count);
    }
    if (!strcmp(name, "skip")) {
        return dd_number(name, value, 0, INT64_MAX, &o->skip);
    }
    error_report("unrecognized operand %s", name);
    return -EINVAL;
}

/* Blocks as bytes; more than any image has is as good as the most. */
static int64_t dd_bytes(int64_t blocks, int64_t bs)
{
    return blocks > INT64_MAX / bs ? INT64_MAX : blocks * bs;
}

static void dd_option(ConvertArgs *a, int opt)
{
    switch (opt) {
    case 'f':
        a->fmt = optarg;
        break;
    case 'O':
        a->target_fmt = optarg;
        break;
    case 'U':
        a->force_share = true;
        break;
    case OPTION_IMAGE_OPTS:
        a->image_opts = true;
        break;
    }
}

int img_dd(int argc, char **argv)
{
    ConvertArgs a = {
        .c = {
            .coroutines = 8, .in_order = true, .min_sparse = 4 * KiB,
            .nb_src = 1,
        },
        .target_fmt = "raw",
    };
    DdOperands o = { .bs = BDRV_SECTOR_SIZE, .count = -1 };
    char *names[1];
    int opt;

    while ((opt = img_getopt(argc, argv, ":hf:O:U", dd_options)) != -1) {
        dd_option(&a, opt);
    }
    for (; optind < argc; optind++) {
        if (dd_operand(&o, argv[optind]) < 0) {
            return EXIT_FAILURE;
        }
    }
    if (!o.input || !o.output) {
        error_report("Must specify both input and output files");
        return EXIT_FAILURE;
    }
    names[0] = (char *)o.input;
    a.target = o.output;
    a.skip = dd_bytes(o.skip, o.bs);
    a.max_bytes = o.count < 0 ? -1 : dd_bytes(o.count, o.bs);
    return convert_images(&a, names);
}
