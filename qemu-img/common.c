/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img: what its subcommands share.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "block/block_int.h"
#include "qapi/error.h"
#include "qemu-img.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/interrupt.h"

/* --- command line --- */

void img_error_exit(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_vreport(fmt, ap);
    va_end(ap);
    error_printf("Try '%s --help' for more information\n",
                 error_get_progname());
    exit(EXIT_FAILURE);
}

int img_getopt(int argc, char **argv, const char *optstring,
               const struct option *options)
{
    int c = getopt_long(argc, argv, optstring, options, NULL);

    switch (c) {
    case ':':
        img_error_exit("missing argument for option '%s'", argv[optind - 1]);
    case '?':
        img_error_exit("unrecognized option '%s'", argv[optind - 1]);
    case 'h':
        help();
    }
    return c;
}

OutputFormat img_parse_output(const char *arg)
{
    if (!strcmp(arg, "json")) {
        return OFORMAT_JSON;
    }
    if (strcmp(arg, "human")) {
        error_report("--output must be used with human or json as argument.");
        exit(EXIT_FAILURE);
    }
    return OFORMAT_HUMAN;
}

int64_t cvtnum_full(const char *what, const char *value, int64_t min,
                    int64_t max)
{
    uint64_t number;
    int ret = qemu_strtosz(value, NULL, &number);

    if (ret == -EINVAL) {
        error_report("Invalid %s specified. You may use k, M, G, T, P or E "
                     "suffixes for", what);
        error_report("kilobytes, megabytes, gigabytes, terabytes, petabytes "
                     "and exabytes.");
        return -EINVAL;
    }
    if (ret < 0 || number > (uint64_t)max || number < (uint64_t)min) {
        error_report("Invalid %s specified. Must be between %" PRId64
                     " and %" PRId64 ".", what, min, max);
        return -EINVAL;
    }
    return number;
}

int64_t cvtnum(const char *what, const char *value)
{
    return cvtnum_full(what, value, 0, INT64_MAX);
}

int img_parse_cache(const char *what, const char *arg, int *flags,
                    bool *writethrough)
{
    if (bdrv_parse_cache_mode(arg, flags, writethrough) < 0) {
        error_report("Invalid %s option: %s", what, arg);
        return -EINVAL;
    }
    return 0;
}

/* --- compression --- */

int img_check_compression(const BlockDriver *drv)
{
    if (!drv->supports_compressed_writes) {
        error_report("Compression not supported for this file format");
        return -ENOTSUP;
    }
    return 0;
}

bool img_use_compression(const BlockDriverInfo *bdi, const char *filename,
                         bool wanted)
{
    if (wanted && !bdi->needs_compressed_writes) {
        warn_report("Images like '%s' have no compression; it is written "
                    "uncompressed", filename);
    }
    return bdi->needs_compressed_writes;
}

/* --- images --- */

static QOpts *img_open_options(bool image_opts, const char *filename,
                               const char *fmt, Error **errp)
{
    QOpts *options;

    if (image_opts) {
        return qopts_parse(filename, NULL, errp);
    }
    options = qopts_new();
    if (fmt) {
        qopts_set_str(options, "driver", fmt);
    }
    return options;
}

BlockBackend *img_open(bool image_opts, const char *filename,
                       const char *fmt, int flags, bool writethrough,
                       bool force_share)
{
    Error *local_err = NULL;
    BlockBackend *blk = NULL;
    QOpts *options;

    if (image_opts && fmt) {
        error_report("--image-opts and --format are mutually exclusive");
        return NULL;
    }
    /* A program that only reads may end anywhere. */
    if (flags & BDRV_O_RDWR) {
        qemu_interrupt_init();
    }
    options = img_open_options(image_opts, filename, fmt, &local_err);
    if (options) {
        if (force_share) {
            qopts_set_str(options, "force-share", "on");
        }
        blk = blk_new_open(image_opts ? NULL : filename, NULL, options, flags,
                           &local_err);
    }
    if (!blk) {
        error_reportf_err(local_err, "Could not open '%s': ", filename);
        return NULL;
    }
    blk_set_enable_write_cache(blk, !writethrough);
    return blk;
}

int coroutine_fn img_run_at(ImgRun *run, BlockBackend *blk,
                            BlockDriverState *base, int64_t offset,
                            int64_t limit)
{
    int64_t n;
    int ret;

    if (offset >= run->start && offset < run->end) {
        return 0;
    }
    ret = blk_co_block_status_above(blk, base, offset, limit - offset, &n,
                                    NULL, NULL);
    if (ret < 0) {
        run->end = run->start;
        return ret;
    }
    if (n <= 0) {
        /* The image has become shorter. */
        run->end = run->start;
        return -EIO;
    }
    run->status = ret;
    run->start = offset;
    run->end = offset + n;
    return 0;
}

/* --- files --- */

bool img_is_same_file(const char *a, const char *b)
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

void img_add_files(BlockDriverState *bs, bool backing, GPtrArray *files)
{
    BdrvChild *child;

    if (bs->drv->protocol_name && *bs->exact_filename &&
        !path_has_protocol(bs->exact_filename)) {
        g_ptr_array_add(files, g_strdup(bs->exact_filename));
    }
    QLIST_FOREACH(child, &bs->children, next) {
        if (backing || !(child->role & BDRV_CHILD_COW)) {
            img_add_files(child->bs, backing, files);
        }
    }
}

bool img_has_file(BlockDriverState *bs, const char *name)
{
    g_autoptr(GPtrArray) files = g_ptr_array_new_with_free_func(g_free);
    guint i;

    img_add_files(bs, true, files);
    for (i = 0; i < files->len; i++) {
        if (img_is_same_file(name, g_ptr_array_index(files, i))) {
            return true;
        }
    }
    return false;
}

/* --- JSON as QEMU prints it: 4 spaces a level, ": " after a key --- */

static void print_value(struct json_object *value, int level);

/*
 * Names of files are bytes, but JSON is UTF-8: what is not becomes U+FFFD, as
 * in QEMU.
 */
static void print_string(const char *string)
{
    g_autofree char *valid = g_utf8_make_valid(string, -1);
    struct json_object *value = json_object_new_string(valid);

    printf("%s", json_object_to_json_string_ext(
        value, JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(value);
}

static void print_newline(int level)
{
    printf("\n%*s", level * 4, "");
}

static void print_object(struct json_object *object, int level)
{
    bool first = true;

    printf("{");
    json_object_object_foreach(object, key, value) {
        printf("%s", first ? "" : ",");
        print_newline(level + 1);
        printf("\"%s\": ", key);
        print_value(value, level + 1);
        first = false;
    }
    print_newline(level);
    printf("}");
}

static void print_array(struct json_object *array, int level)
{
    size_t i, len = json_object_array_length(array);

    printf("[");
    for (i = 0; i < len; i++) {
        printf("%s", i ? "," : "");
        print_newline(level + 1);
        print_value(json_object_array_get_idx(array, i), level + 1);
    }
    print_newline(level);
    printf("]");
}

static void print_value(struct json_object *value, int level)
{
    if (json_object_is_type(value, json_type_object)) {
        print_object(value, level);
    } else if (json_object_is_type(value, json_type_array)) {
        print_array(value, level);
    } else if (json_object_is_type(value, json_type_string)) {
        print_string(json_object_get_string(value));
    } else {
        printf("%s", json_object_to_json_string_ext(
            value, JSON_C_TO_STRING_NOSLASHESCAPE));
    }
}

void img_print_json(struct json_object *value)
{
    print_value(value, 0);
    printf("\n");
}
