/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img create: make a new image.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu-img.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"

typedef struct {
    const char *filename;
    const char *fmt;
    const char *base_filename;
    const char *base_fmt;
    char *options;              /* all -o, joined; NULL if none */
    uint64_t img_size;          /* UINT64_MAX: not given as argument */
    bool unsafe;                /* -u: do not look at the backing file */
    bool quiet;
} CreateArgs;

/* --- "Formatting ..." --- */

static void print_escaped(const char *s)
{
    for (; *s; s++) {
        if (*s == ',') {
            putchar(',');
        }
        putchar(*s);
    }
}

static void print_option(const QemuOptDesc *desc, QOpts *opts)
{
    g_autoptr(QOpts) copy = qopts_dup(opts);
    uint64_t size = 0;
    bool on = false;

    if (!qopts_has(opts, desc->name)) {
        if (desc->def_value_str) {
            printf(" %s=%s", desc->name, desc->def_value_str);
        }
        return;
    }
    printf(" %s=", desc->name);
    switch (desc->type) {
    case QEMU_OPT_SIZE:
        qopts_take_size(copy, desc->name, 0, &size, NULL);
        printf("%" PRIu64, size);
        break;
    case QEMU_OPT_NUMBER:
        qopts_take_number(copy, desc->name, 0, &size, NULL);
        printf("%" PRIu64, size);
        break;
    case QEMU_OPT_BOOL:
        qopts_take_bool(copy, desc->name, false, &on, NULL);
        printf("%s", on ? "on" : "off");
        break;
    case QEMU_OPT_STRING:
        print_escaped(qopts_get_str(opts, desc->name) ?: "");
        break;
    }
}

static void print_formatting(const CreateArgs *a, const QemuOptsList *table,
                             QOpts *opts)
{
    const QemuOptDesc *desc;

    printf("Formatting '%s', fmt=%s", a->filename, a->fmt);
    for (desc = table->desc; desc->name; desc++) {
        print_option(desc, opts);
    }
    printf("\n");
    fflush(stdout);
}

/* --- backing files --- */

/*
 * Open the backing file: is it there, is its format told, how large is it?
 * It is NULL if not.
 */
static BlockDriverState *look_at_backing(const char *path, const char *fmt,
                                         int64_t *length, Error **errp)
{
    QOpts *options = qopts_new();
    BlockDriverState *bs;

    if (fmt) {
        qopts_set_str(options, "driver", fmt);
    }
    bs = bdrv_open(path, NULL, options, 0, errp);
    if (!bs) {
        error_append_hint(errp, "Could not open backing image.\n");
        return NULL;
    }
    *length = bdrv_getlength(bs);
    if (*length < 0) {
        error_setg_errno(errp, -*length, "Could not get size of '%s'", path);
    } else if (!fmt) {
        error_setg(errp, "Backing file specified without backing format");
        error_append_hint(errp, "Detected format of %s.\n",
                          bdrv_get_format_name(bs));
        *length = -EINVAL;
    }
    if (*length < 0) {
        bdrv_unref(bs);
        bs = NULL;
    }
    return bs;
}

/*
 * *@bs: the backing file, if it was looked at.  While it is open, its lock and
 * those of the files below it keep them from becoming the new image.
 */
static bool check_backing(const CreateArgs *a, QOpts *opts,
                          BlockDriverState **bs, Error **errp)
{
    ERRP_GUARD();
    const char *backing = qopts_get_str(opts, "backing_file");
    g_autofree char *path = NULL;
    int64_t length;

    if (!backing || !*backing) {
        qopts_del(opts, "backing_file");
        return true;
    }
    path = bdrv_get_full_backing_filename_from_filename(a->filename, backing,
                                                        errp);
    if (!path) {
        return false;
    }
    if (!strcmp(path, a->filename)) {
        error_setg(errp, "Error: Trying to create an image with the same "
                   "filename as the backing file");
        return false;
    }
    if (a->unsafe) {
        return true;
    }
    *bs = look_at_backing(path, qopts_get_str(opts, "backing_fmt"), &length,
                          errp);
    if (!*bs) {
        return false;
    }
    if (!qopts_has(opts, "size")) {
        qopts_set_uint(opts, "size", length);
    }
    return true;
}

/* --- creation --- */

static bool set_size(const CreateArgs *a, QOpts *opts, Error **errp)
{
    if (a->img_size == UINT64_MAX) {
        return true;
    }
    if (qopts_has(opts, "size")) {
        error_setg(errp, "The image size must be specified only once");
        return false;
    }
    qopts_set_uint(opts, "size", a->img_size);
    return true;
}

static bool do_create(const CreateArgs *a, Error **errp)
{
    g_autofree QemuOptsList *table = NULL;
    g_autoptr(QOpts) opts = NULL;
    BlockDriver *drv = bdrv_find_format(a->fmt);
    BlockDriverState *backing = NULL;
    int ret;

    if (!drv) {
        error_setg(errp, "Unknown file format '%s'", a->fmt);
        return false;
    }
    table = img_create_table(drv, a->filename, errp);
    if (!table) {
        return false;
    }
    opts = a->options ? qopts_parse(a->options, NULL, errp) : qopts_new();
    if (!opts || !set_size(a, opts, errp)
        || !img_set_backing_option(table, opts, a->fmt, a->base_filename,
                                   a->base_fmt, errp)
        || !img_check_create_options(table, opts, errp)
        || !check_backing(a, opts, &backing, errp)) {
        return false;
    }
    if (!qopts_has(opts, "size")) {
        error_setg(errp, "Image creation needs a size parameter");
        bdrv_unref(backing);
        return false;
    }
    if (!a->quiet) {
        print_formatting(a, table, opts);
    }
    ret = img_create_image(drv, a->filename, g_steal_pointer(&opts), errp);
    bdrv_unref(backing);
    return ret >= 0;
}

/* --- command line --- */

static void create_option(CreateArgs *a, int c)
{
    switch (c) {
    case 'b':
        a->base_filename = optarg;
        break;
    case 'F':
        a->base_fmt = optarg;
        break;
    case 'f':
        a->fmt = optarg;
        break;
    case 'o':
        img_add_options(&a->options, optarg);
        break;
    case 'q':
        a->quiet = true;
        break;
    case 'u':
        a->unsafe = true;
        break;
    }
}

static int create_arguments(CreateArgs *a, int argc, char **argv)
{
    int64_t size;

    if (optind < argc) {
        a->filename = argv[optind++];
    }
    if (a->options && qopts_has_help(a->options)) {
        return 0;
    }
    if (!a->filename) {
        img_error_exit("Expecting image file name");
    }
    if (optind < argc) {
        size = cvtnum("image size", argv[optind++]);
        if (size < 0) {
            return -EINVAL;
        }
        a->img_size = size;
    }
    if (optind != argc) {
        img_error_exit("Unexpected argument: %s", argv[optind]);
    }
    return 0;
}

const char img_create_help[] =
    "Create a new disk image.  Usage:\n"
    "\n"
    "  qemu-img create [-f FMT] [-o FMT_OPTS]\n"
    "        [-b BACKING_FILE [-F BACKING_FMT]] [-u] [-q] FILE [SIZE]\n"
    "\n"
    "  -f, --format FMT\n"
    "     specify the format of the new image (default: raw)\n"
    "  -o, --options FMT_OPTS\n"
    "     options of the new image; '-o help' lists those of the format\n"
    "  -b, --backing BACKING_FILE\n"
    "     the image is only what differs from BACKING_FILE\n"
    "  -F, --backing-format BACKING_FMT\n"
    "     specify BACKING_FILE image format explicitly\n"
    "  -u, --backing-unsafe\n"
    "     do not look at BACKING_FILE, which need not be there; needs SIZE\n"
    IMG_HELP_QUIET
    IMG_HELP_HELP
    "  FILE\n"
    "     name of the image file to create; if it exists its content is lost\n"
    "  SIZE[bkKMGTPE]\n"
    "     size of the disk, with optional multiplier suffix (powers of 1024,\n"
    "     default is bytes); with a backing file it may be left out\n";

static const struct option create_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "format", required_argument, NULL, 'f' },
    { "options", required_argument, NULL, 'o' },
    { "backing", required_argument, NULL, 'b' },
    { "backing-format", required_argument, NULL, 'F' },
    { "backing-unsafe", no_argument, NULL, 'u' },
    { "quiet", no_argument, NULL, 'q' },
    { NULL }
};

int img_create(int argc, char **argv)
{
    CreateArgs a = { .fmt = "raw", .img_size = UINT64_MAX };
    Error *local_err = NULL;
    int status = EXIT_SUCCESS;
    int c;

    while ((c = img_getopt(argc, argv, ":F:b:f:ho:qu",
                           create_options)) != -1) {
        create_option(&a, c);
    }
    if (create_arguments(&a, argc, argv) < 0) {
        status = EXIT_FAILURE;
    } else if (a.options && qopts_has_help(a.options)) {
        status = img_print_create_help(a.fmt, a.filename);
    } else if (!do_create(&a, &local_err)) {
        error_reportf_err(local_err, "%s: ", a.filename);
        status = EXIT_FAILURE;
    }
    g_free(a.options);
    return status;
}
