/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img: the options that an image is created with, for all commands that
 * create one.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "qemu-img.h"
#include "qemu/error-report.h"
#include "qemu/interrupt.h"

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

QemuOptsList *img_create_table(BlockDriver *drv, const char *filename,
                               Error **errp)
{
    BlockDriver *proto = bdrv_find_protocol(filename, true, errp);

    if (!proto) {
        return NULL;
    }
    if (!bdrv_create_opts(drv)) {
        error_setg(errp, "Format driver '%s' does not support image "
                   "creation", drv->format_name);
        return NULL;
    }
    if (!bdrv_create_opts(proto)) {
        error_setg(errp, "Protocol driver for '%s' does not support image "
                   "creation", filename);
        return NULL;
    }
    /* An image has the options of its files, too. */
    return merge_lists(bdrv_create_opts(drv), bdrv_create_opts(proto));
}

void img_add_options(char **options, const char *arg)
{
    char *joined;
    size_t len = strlen(arg);

    if (!len || arg[0] == ',' || (arg[len - 1] == ',' &&
                                  (len == 1 || arg[len - 2] != ','))) {
        error_report("Invalid option list: %s", arg);
        exit(EXIT_FAILURE);
    }
    joined = *options ? g_strconcat(*options, ",", arg, NULL)
                      : g_strdup(arg);
    g_free(*options);
    *options = joined;
}

int img_print_create_help(const char *fmt, const char *filename)
{
    BlockDriver *drv = bdrv_find_format(fmt);
    g_autofree QemuOptsList *merged = NULL;
    const QemuOptsList *table;
    Error *local_err = NULL;
    BlockDriver *proto;

    table = drv ? bdrv_create_opts(drv) : NULL;
    if (!table) {
        error_report(drv ? "Format driver '%s' does not support image "
                     "creation" : "Unknown file format '%s'", fmt);
        return EXIT_FAILURE;
    }
    if (!filename) {
        printf("Supported %s options:\n", fmt);
        qemu_opts_print_help(table, false);
        printf("\nThe protocol level may support further options.\n"
               "Specify the target filename to include those options.\n");
        return EXIT_SUCCESS;
    }
    proto = bdrv_find_protocol(filename, true, &local_err);
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

bool img_set_backing_option(const QemuOptsList *table, QOpts *opts,
                            const char *fmt, const char *backing,
                            const char *backing_fmt, Error **errp)
{
    if (backing) {
        if (!qemu_opt_find_desc(table, "backing_file")) {
            error_setg(errp, "Backing file not supported for file format "
                       "'%s'", fmt);
            return false;
        }
        qopts_set_str(opts, "backing_file", backing);
    }
    if (backing_fmt) {
        if (!qemu_opt_find_desc(table, "backing_fmt")) {
            error_setg(errp, "Backing file format not supported for file "
                       "format '%s'", fmt);
            return false;
        }
        qopts_set_str(opts, "backing_fmt", backing_fmt);
    }
    return true;
}

bool img_check_create_options(const QemuOptsList *table, const QOpts *opts,
                              Error **errp)
{
    g_autoptr(QOpts) copy = qopts_dup(opts);
    g_autoptr(QOpts) taken = qopts_take_table(table, copy, errp);

    return taken && qopts_check_empty(copy, errp);
}

int img_create_image(BlockDriver *drv, const char *filename, QOpts *opts,
                     Error **errp)
{
    /* A signal removes a half-written image, as an error does. */
    qemu_interrupt_init();
    /* A "raw" image is nothing but its file. */
    if (drv == bdrv_find_format("raw")) {
        return bdrv_create_file(filename, opts, errp);
    }
    return bdrv_create(drv, filename, opts, errp);
}
