/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img snapshot, amend and bitmap: no format here has snapshots within
 * the image, options that can be changed, or bitmaps.  The image is opened,
 * and the answer is that of QEMU for such formats.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "qemu-img.h"
#include "qemu/error-report.h"

enum {
    OPTION_ADD = 2000,
    OPTION_REMOVE,
    OPTION_CLEAR,
    OPTION_ENABLE,
    OPTION_DISABLE,
    OPTION_MERGE,
    OPTION_FORCE,
};

typedef struct {
    const char *fmt;
    const char *name;           /* of the snapshot */
    const char *action;         /* of bitmap: the first one */
    char *options;              /* of amend; NULL if none */
    int opt;                    /* of snapshot: the action's letter; 0: none */
    int flags;
    bool writethrough;
    bool image_opts;
    bool force_share;
} SnapshotArgs;

/* --- snapshot --- */

const char img_snapshot_help[] =
    "List or manipulate snapshots in an image.  Usage:\n"
    "\n"
    "  qemu-img snapshot [-f FMT | --image-opts] [-U] [-q]\n"
    "        [-l | -a SNAPSHOT | -c SNAPSHOT | -d SNAPSHOT] FILE\n"
    "\n"
    "No format of this version has snapshots: -l lists none, and the others\n"
    "fail.\n"
    "\n"
    IMG_HELP_FORMAT
    "  -l, --list\n"
    "     list all snapshots in FILE (the default)\n"
    "  -a, --apply SNAPSHOT\n"
    "     make FILE what it was when SNAPSHOT was created\n"
    "  -c, --create SNAPSHOT\n"
    "     create SNAPSHOT\n"
    "  -d, --delete SNAPSHOT\n"
    "     delete SNAPSHOT\n"
    IMG_HELP_FORCE_SHARE
    IMG_HELP_QUIET
    IMG_HELP_HELP
    IMG_HELP_FILE;

static const struct option snapshot_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "format", required_argument, NULL, 'f' },
    { "image-opts", no_argument, NULL, OPTION_IMAGE_OPTS },
    { "list", no_argument, NULL, 'l' },
    { "apply", required_argument, NULL, 'a' },
    { "create", required_argument, NULL, 'c' },
    { "delete", required_argument, NULL, 'd' },
    { "force-share", no_argument, NULL, 'U' },
    { "quiet", no_argument, NULL, 'q' },
    { NULL }
};

static void snapshot_option(SnapshotArgs *a, int opt)
{
    switch (opt) {
    case 'f':
        a->fmt = optarg;
        break;
    case 'U':
        a->force_share = true;
        break;
    case OPTION_IMAGE_OPTS:
        a->image_opts = true;
        break;
    case 'l':
    case 'a':
    case 'c':
    case 'd':
        if (a->opt) {
            img_error_exit("Cannot mix '-l', '-a', '-c', '-d'");
        }
        a->opt = opt;
        a->name = optarg;
        break;
    }
}

static int snapshot_action(const SnapshotArgs *a)
{
    switch (a->opt) {
    case 'c':
        error_report("Could not create snapshot '%s': %d (%s)", a->name,
                     -ENOTSUP, strerror(ENOTSUP));
        return EXIT_FAILURE;
    case 'a':
        error_report("Could not apply snapshot '%s': Block driver does not "
                     "support snapshots", a->name);
        return EXIT_FAILURE;
    case 'd':
        error_report("Could not delete snapshot '%s': snapshot not found",
                     a->name);
        return EXIT_FAILURE;
    default:
        return EXIT_SUCCESS;
    }
}

int img_snapshot(int argc, char **argv)
{
    SnapshotArgs a = { .opt = 0 };
    BlockBackend *blk;
    int opt, status;

    while ((opt = img_getopt(argc, argv, ":la:c:d:hqUf:",
                             snapshot_options)) != -1) {
        snapshot_option(&a, opt);
    }
    if (optind != argc - 1) {
        img_error_exit("Expecting one image file name");
    }
    /* Nothing will be written, whatever is asked for. */
    blk = img_open(a.image_opts, argv[optind], a.fmt, 0, false,
                   a.force_share);
    if (!blk) {
        return EXIT_FAILURE;
    }
    status = snapshot_action(&a);
    blk_unref(blk);
    return status;
}

/* --- amend --- */

const char img_amend_help[] =
    "Update format-specific options of an image.  Usage:\n"
    "\n"
    "  qemu-img amend [-f FMT | --image-opts] [-t CACHE] [--force] [-p] [-q]\n"
    "        -o OPTS FILE\n"
    "\n"
    "No format of this version has options that can be changed.\n"
    "\n"
    IMG_HELP_FORMAT
    "  -t, --cache CACHE\n"
    "     cache mode of the image (default: writeback)\n"
    "  -o, --options OPTS\n"
    "     the new values; '-o help' lists what a format can change\n"
    "  --force\n"
    "     allow changes that make the image insecure\n"
    IMG_HELP_PROGRESS
    IMG_HELP_QUIET
    IMG_HELP_HELP
    IMG_HELP_FILE;

static const struct option amend_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "format", required_argument, NULL, 'f' },
    { "cache", required_argument, NULL, 't' },
    { "options", required_argument, NULL, 'o' },
    { "image-opts", no_argument, NULL, OPTION_IMAGE_OPTS },
    { "force", no_argument, NULL, OPTION_FORCE },
    { "progress", no_argument, NULL, 'p' },
    { "quiet", no_argument, NULL, 'q' },
    { NULL }
};

static int amend_option(SnapshotArgs *a, int opt)
{
    switch (opt) {
    case 'f':
        a->fmt = optarg;
        break;
    case 'o':
        img_add_options(&a->options, optarg);
        break;
    case 't':
        return img_parse_cache("cache", optarg, &a->flags, &a->writethrough);
    case OPTION_IMAGE_OPTS:
        a->image_opts = true;
        break;
    }
    return 0;
}

static int amend_refuse(const char *fmt)
{
    error_report("Format driver '%s' does not support option amendment", fmt);
    return EXIT_FAILURE;
}

static int amend_image(const SnapshotArgs *a, int argc, char **argv)
{
    BlockBackend *blk;
    int status;

    if (!a->options) {
        img_error_exit("Must specify options (-o)");
    }
    if (a->fmt && qopts_has_help(a->options)) {
        if (!bdrv_find_format(a->fmt)) {
            error_report("Unknown file format '%s'", a->fmt);
            return EXIT_FAILURE;
        }
        return amend_refuse(a->fmt);
    }
    if (optind != argc - 1) {
        error_report("Expecting one image file name");
        return EXIT_FAILURE;
    }
    blk = img_open(a->image_opts, argv[optind], a->fmt, a->flags, false,
                   false);
    if (!blk) {
        return EXIT_FAILURE;
    }
    status = amend_refuse(bdrv_get_format_name(blk_bs(blk)));
    blk_unref(blk);
    return status;
}

int img_amend(int argc, char **argv)
{
    SnapshotArgs a = { .flags = 0 };
    int status = EXIT_SUCCESS;
    int opt;

    while ((opt = img_getopt(argc, argv, ":ho:f:t:pq",
                             amend_options)) != -1) {
        if (amend_option(&a, opt) < 0) {
            status = EXIT_FAILURE;
            break;
        }
    }
    if (status == EXIT_SUCCESS) {
        status = amend_image(&a, argc, argv);
    }
    g_free(a.options);
    return status;
}

/* --- bitmap --- */

const char img_bitmap_help[] =
    "Manipulate bitmaps stored in an image.  Usage:\n"
    "\n"
    "  qemu-img bitmap [-f FMT | --image-opts]\n"
    "        ( --add [-g SIZE] | --remove | --clear | --enable | --disable |\n"
    "          --merge SOURCE [-b SRC_FILE [-F SRC_FMT]] )...\n"
    "        FILE BITMAP\n"
    "\n"
    "No format of this version stores bitmaps.\n"
    "\n"
    IMG_HELP_FORMAT
    "  --add\n"
    "     create BITMAP, and enable it\n"
    "  -g, --granularity SIZE\n"
    "     how many bytes a bit of the new bitmap stands for\n"
    "  --remove\n"
    "     remove BITMAP\n"
    "  --clear\n"
    "     clear all bits of BITMAP\n"
    "  --enable\n"
    "     have writes set bits in BITMAP from now on\n"
    "  --disable\n"
    "     have writes leave BITMAP as it is\n"
    "  --merge SOURCE\n"
    "     set the bits in BITMAP that are set in the bitmap SOURCE, too\n"
    "  -b, --source-file SRC_FILE\n"
    "     the image that has SOURCE (default: FILE)\n"
    "  -F, --source-format SRC_FMT\n"
    "     format of SRC_FILE (default: probing is used)\n"
    IMG_HELP_HELP
    IMG_HELP_FILE
    "  BITMAP\n"
    "     name of the bitmap\n";

static const struct option bitmap_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "format", required_argument, NULL, 'f' },
    { "image-opts", no_argument, NULL, OPTION_IMAGE_OPTS },
    { "add", no_argument, NULL, OPTION_ADD },
    { "granularity", required_argument, NULL, 'g' },
    { "remove", no_argument, NULL, OPTION_REMOVE },
    { "clear", no_argument, NULL, OPTION_CLEAR },
    { "enable", no_argument, NULL, OPTION_ENABLE },
    { "disable", no_argument, NULL, OPTION_DISABLE },
    { "merge", required_argument, NULL, OPTION_MERGE },
    { "source-file", required_argument, NULL, 'b' },
    { "source-format", required_argument, NULL, 'F' },
    { NULL }
};

static void bitmap_option(SnapshotArgs *a, int opt)
{
    static const char *const actions[] = {
        "add", "remove", "clear", "enable", "disable", "merge",
    };

    if (opt >= OPTION_ADD && opt <= OPTION_MERGE) {
        a->action = a->action ?: actions[opt - OPTION_ADD];
    } else if (opt == 'f') {
        a->fmt = optarg;
    } else if (opt == OPTION_IMAGE_OPTS) {
        a->image_opts = true;
    }
}

static int bitmap_refuse(const SnapshotArgs *a, BlockBackend *blk,
                         const char *bitmap)
{
    if (!strcmp(a->action, "add")) {
        error_report("Operation add on bitmap %s failed: Can't store "
                     "persistent bitmaps to %s: Operation not supported",
                     bitmap, bdrv_get_device_or_node_name(blk_bs(blk)));
    } else {
        error_report("Operation %s on bitmap %s failed: Dirty bitmap '%s' "
                     "not found", a->action, bitmap, bitmap);
    }
    return EXIT_FAILURE;
}

int img_bitmap(int argc, char **argv)
{
    SnapshotArgs a = { .action = NULL };
    BlockBackend *blk;
    int opt, status;

    while ((opt = img_getopt(argc, argv, ":b:f:F:g:h",
                             bitmap_options)) != -1) {
        bitmap_option(&a, opt);
    }
    if (optind != argc - 2) {
        error_report("Expecting filename and bitmap name");
        return EXIT_FAILURE;
    }
    if (!a.action) {
        error_report("Need at least one of --add, --remove, --clear, "
                     "--enable, --disable, or --merge");
        return EXIT_FAILURE;
    }
    blk = img_open(a.image_opts, argv[optind], a.fmt, 0, false, false);
    if (!blk) {
        return EXIT_FAILURE;
    }
    status = bitmap_refuse(&a, blk, argv[optind + 1]);
    blk_unref(blk);
    return status;
}
