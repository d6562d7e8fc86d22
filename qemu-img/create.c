/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img create: make a new image.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu-img.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/interrupt.h"

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

/* --- -o help --- */

/* The options of both; those of the first count. */
static QemuOptsList *merge_lists(const QemuOptsList *first,
                                 const QemuOptsList *second)
{
    QemuOptsList *all;
    size_t n = 0, m = 0, used;

    while (first->desc[n].name) {
        n++;
    }
    while (second->desc[m].name) {
        m++;
    }
    all = g_malloc0(sizeof(*all) + (n + m + 1) * sizeof(all->desc[0]));
    memcpy(all->desc, first->desc, n * sizeof(all->desc[0]));
    used = n;
    for (m = 0; second->desc[m].name; m++) {
        if (!qemu_opt_find_desc(first, second->desc[m].name)) {
            all->desc[used++] = second->desc[m];
        }
    }
    return all;
}

/* A "raw" image is nothing but its file. */
static bool is_raw(BlockDriver *drv)
{
    return drv == bdrv_find_format("raw");
}

static int print_create_help(const CreateArgs *a)
{
    BlockDriver *drv = bdrv_find_format(a->fmt);
    g_autofree QemuOptsList *merged = NULL;
    const QemuOptsList *table;
    Error *local_err = NULL;
    BlockDriver *proto;

    table = drv ? bdrv_create_opts(drv) : NULL;
    if (!table) {
        error_report(drv ? "Format driver '%s' does not support image "
                     "creation" : "Unknown file format '%s'", a->fmt);
        return EXIT_FAILURE;
    }
    if (!a->filename) {
        printf("Supported %s options:\n", a->fmt);
        qemu_opts_print_help(table, false);
        printf("\nThe protocol level may support further options.\n"
               "Specify the target filename to include those options.\n");
        return EXIT_SUCCESS;
    }
    proto = bdrv_find_protocol(a->filename, true, &local_err);
    if (!proto) {
        error_report_err(local_err);
        return EXIT_FAILURE;
    }
    if (bdrv_create_opts(proto)) {
        table = merged = merge_lists(table, bdrv_create_opts(proto));
    }
    printf("Supported options:\n");
    qemu_opts_print_help(table, false);
    return EXIT_SUCCESS;
}

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

static bool set_backing_option(const QemuOptsList *table, QOpts *opts,
                               const CreateArgs *a, Error **errp)
{
    if (a->base_filename) {
        if (!qemu_opt_find_desc(table, "backing_file")) {
            error_setg(errp, "Backing file not supported for file format "
                       "'%s'", a->fmt);
            return false;
        }
        qopts_set_str(opts, "backing_file", a->base_filename);
    }
    if (a->base_fmt) {
        if (!qemu_opt_find_desc(table, "backing_fmt")) {
            error_setg(errp, "Backing file format not supported for file "
                       "format '%s'", a->fmt);
            return false;
        }
        qopts_set_str(opts, "backing_fmt", a->base_fmt);
    }
    return true;
}

/* Open the backing file: is it there, is its format told, how large is it? */
static bool look_at_backing(const char *path, const char *fmt,
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
        return false;
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
    bdrv_unref(bs);
    return *length >= 0;
}

static bool check_backing(const CreateArgs *a, QOpts *opts, Error **errp)
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
    if (!look_at_backing(path, qopts_get_str(opts, "backing_fmt"), &length,
                         errp)) {
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

/* Names and values that are wrong, before anything is said or done. */
static bool check_options(const QemuOptsList *table, const QOpts *opts,
                          Error **errp)
{
    g_autoptr(QOpts) copy = qopts_dup(opts);
    g_autoptr(QOpts) taken = qopts_take_table(table, copy, errp);

    return taken && qopts_check_empty(copy, errp);
}

static bool do_create(const CreateArgs *a, Error **errp)
{
    g_autofree QemuOptsList *merged = NULL;
    g_autoptr(QOpts) opts = NULL;
    BlockDriver *drv = bdrv_find_format(a->fmt);
    BlockDriver *proto;
    const QemuOptsList *table;

    if (!drv) {
        error_setg(errp, "Unknown file format '%s'", a->fmt);
        return false;
    }
    proto = bdrv_find_protocol(a->filename, true, errp);
    if (!proto) {
        return false;
    }
    table = bdrv_create_opts(drv);
    if (!table) {
        error_setg(errp, "Format driver '%s' does not support image "
                   "creation", a->fmt);
        return false;
    }
    if (!bdrv_create_opts(proto)) {
        error_setg(errp, "Protocol driver for '%s' does not support image "
                   "creation", a->filename);
        return false;
    }
    /* An image has the options of its files, too. */
    table = merged = merge_lists(table, bdrv_create_opts(proto));
    opts = a->options ? qopts_parse(a->options, NULL, errp) : qopts_new();
    if (!opts || !set_size(a, opts, errp)
        || !set_backing_option(table, opts, a, errp)
        || !check_options(table, opts, errp)
        || !check_backing(a, opts, errp)) {
        return false;
    }
    if (!qopts_has(opts, "size")) {
        error_setg(errp, "Image creation needs a size parameter");
        return false;
    }
    if (!a->quiet) {
        print_formatting(a, table, opts);
    }
    if (is_raw(drv)) {
        return bdrv_create_file(a->filename, g_steal_pointer(&opts),
                                errp) >= 0;
    }
    /* Unlike a raw file, a format that is half-written is no image. */
    qemu_interrupt_init();
    return bdrv_create(drv, a->filename, g_steal_pointer(&opts), errp) >= 0;
}

/* --- command line --- */

static void add_options(CreateArgs *a, const char *arg)
{
    char *joined;
    size_t len = strlen(arg);

    if (!len || arg[0] == ',' || (arg[len - 1] == ',' &&
                                  (len == 1 || arg[len - 2] != ','))) {
        error_report("Invalid option list: %s", arg);
        exit(EXIT_FAILURE);
    }
    joined = a->options ? g_strconcat(a->options, ",", arg, NULL)
                        : g_strdup(arg);
    g_free(a->options);
    a->options = joined;
}

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
        add_options(a, optarg);
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

static const struct option create_options[] = {
    { "help", no_argument, NULL, 'h' },
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
        status = print_create_help(&a);
    } else if (!do_create(&a, &local_err)) {
        error_reportf_err(local_err, "%s: ", a.filename);
        status = EXIT_FAILURE;
    }
    g_free(a.options);
    return status;
}
