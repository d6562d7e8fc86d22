/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img info: what an image is, and its backing chain.
 *
 * Each image becomes one JSON object (QMP's BlockGraphInfo), with those of the
 * nodes that it is made of inside; the human form is printed from that.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "block/block_int.h"
#include "qemu-img.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "programs/programs.h"

typedef struct {
    const char *fmt;
    OutputFormat output;
    bool image_opts;
    bool backing_chain;
    bool force_share;
    bool limits;
    int flags;
    bool writethrough;
} InfoArgs;

static void add_str(struct json_object *obj, const char *name,
                    const char *value)
{
    json_object_object_add(obj, name, json_object_new_string(value));
}

static void add_int(struct json_object *obj, const char *name, int64_t value)
{
    json_object_object_add(obj, name, json_object_new_int64(value));
}

/* QMP's BlockLimitsInfo: what is not limited is left out. */
static struct json_object *info_limits(const BlockLimits *bl)
{
    const struct {
        const char *name;
        int64_t value;
        bool always;
    } limits[] = {
        { "request-alignment", bl->request_alignment, true },
        { "max-discard", bl->max_pdiscard },
        { "discard-alignment", bl->pdiscard_alignment },
        { "max-write-zeroes", bl->max_pwrite_zeroes },
        { "write-zeroes-alignment", bl->pwrite_zeroes_alignment },
        { "opt-transfer", bl->opt_transfer },
        { "max-transfer", bl->max_transfer },
        { "max-hw-transfer", MIN(bl->max_hw_transfer, INT64_MAX) },
        { "max-iov", bl->max_iov, true },
        { "min-mem-alignment", bl->min_mem_alignment, true },
        { "opt-mem-alignment", bl->opt_mem_alignment, true },
    };
    struct json_object *obj = json_object_new_object();
    size_t i;

    for (i = 0; i < ARRAY_SIZE(limits); i++) {
        if (limits[i].value || limits[i].always) {
            add_int(obj, limits[i].name, limits[i].value);
        }
    }
    return obj;
}

static struct json_object *info_collect(BlockDriverState *bs, bool limits);

/* QMP's BlockChildInfo of each child; NULL after an error was reported. */
static struct json_object *info_children(BlockDriverState *bs)
{
    struct json_object *list = json_object_new_array();
    BdrvChild *child;

    QLIST_FOREACH(child, &bs->children, next) {
        struct json_object *info = info_collect(child->bs, false);
        struct json_object *obj;

        if (!info) {
            json_object_put(list);
            return NULL;
        }
        obj = json_object_new_object();
        add_str(obj, "name", child->name);
        json_object_object_add(obj, "info", info);
        json_object_array_add(list, obj);
    }
    return list;
}

/* The BlockGraphInfo of @bs; NULL after an error was reported. */
static struct json_object *info_collect(BlockDriverState *bs, bool limits)
{
    BlockDriverInfo bdi = { .cluster_size = 0 };
    int64_t length = bdrv_getlength(bs);
    int64_t allocated = bdrv_get_allocated_file_size(bs);
    struct json_object *obj, *children, *specific;

    /* A driver without information: no clusters, not dirty. */
    bdrv_get_info(bs, &bdi);
    if (length < 0) {
        error_report("Can't get image size '%s': %s", bs->filename,
                     strerror(-length));
        return NULL;
    }
    children = info_children(bs);
    if (!children) {
        return NULL;
    }
    obj = json_object_new_object();
    json_object_object_add(obj, "children", children);
    if (bs->backing_format) {
        add_str(obj, "backing-filename-format", bs->backing_format);
    }
    add_int(obj, "virtual-size", length);
    add_str(obj, "filename", bs->filename);
    if (bdi.cluster_size) {
        add_int(obj, "cluster-size", bdi.cluster_size);
    }
    add_str(obj, "format", bdrv_get_format_name(bs));
    if (allocated >= 0) {
        add_int(obj, "actual-size", allocated);
    }
    specific = bdrv_get_specific_info(bs, NULL);
    if (specific) {
        json_object_object_add(obj, "format-specific", specific);
    }
    if (bs->backing_file) {
        add_str(obj, "full-backing-filename", bs->full_backing_file);
        add_str(obj, "backing-filename", bs->backing_file);
    }
    json_object_object_add(obj, "dirty-flag",
                           json_object_new_boolean(bdi.is_dirty));
    if (limits) {
        json_object_object_add(obj, "limits", info_limits(&bs->bl));
    }
    return obj;
}

/* --- human form --- */

static const char *get_str(struct json_object *obj, const char *name)
{
    return json_object_get_string(json_object_object_get(obj, name));
}

static int64_t get_int(struct json_object *obj, const char *name)
{
    return json_object_get_int64(json_object_object_get(obj, name));
}

static void print_backing(struct json_object *info, int level)
{
    struct json_object *member;

    if (json_object_object_get_ex(info, "backing-filename", &member)) {
        const char *name = json_object_get_string(member);
        const char *full = get_str(info, "full-backing-filename");

        printf("%*sbacking file: %s", level * 4, "", name);
        if (strcmp(name, full)) {
            printf(" (actual path: %s)", full);
        }
        printf("\n%*sbacking file format: %s\n", level * 4, "",
               get_str(info, "backing-filename-format"));
    }
}

/* @leaf: a node without children, which is called a protocol. */
static void print_node(struct json_object *info, int level, bool leaf)
{
    int indent = level * 4;
    struct json_object *member;
    int64_t length = get_int(info, "virtual-size");
    g_autofree char *size = size_to_str(length);
    g_autofree char *allocated = NULL;

    if (json_object_object_get_ex(info, "actual-size", &member)) {
        allocated = size_to_str(json_object_get_int64(member));
    }
    printf("%*s%s: %s\n%*s%s: %s\n%*s%s: %s (%" PRId64 " bytes)\n"
           "%*sdisk size: %s\n",
           indent, "", leaf ? "filename" : "image", get_str(info, "filename"),
           indent, "", leaf ? "protocol type" : "file format",
           get_str(info, "format"),
           indent, "", leaf ? "file length" : "virtual size", size, length,
           indent, "", allocated ?: "unavailable");
    if (json_object_object_get_ex(info, "cluster-size", &member)) {
        printf("%*scluster_size: %" PRId64 "\n", indent, "",
               json_object_get_int64(member));
    }
    if (json_object_get_boolean(json_object_object_get(info,
                                                       "dirty-flag"))) {
        printf("%*scleanly shut down: no\n", indent, "");
    }
    print_backing(info, level);
    if (json_object_object_get_ex(info, "format-specific", &member)) {
        program_print_specific_info(member, level);
    }
}

/* "Child node '/file/file':", each in its turn. */
static void print_children(struct json_object *info, int level,
                           const char *path)
{
    struct json_object *list = json_object_object_get(info, "children");
    size_t i, len = json_object_array_length(list);

    for (i = 0; i < len; i++) {
        struct json_object *child = json_object_array_get_idx(list, i);
        struct json_object *node = json_object_object_get(child, "info");
        g_autofree char *name = g_strdup_printf("%s/%s", path,
                                                get_str(child, "name"));
        bool leaf = json_object_array_length(
            json_object_object_get(node, "children")) == 0;

        printf("%*sChild node '%s':\n", level * 4, "", name);
        print_node(node, level + 1, leaf);
        print_children(node, level + 1, name);
    }
}

static void print_human(struct json_object *info)
{
    struct json_object *member;

    print_node(info, 0, false);
    if (json_object_object_get_ex(info, "limits", &member)) {
        printf("Block limits:\n");
        json_object_object_foreach(member, name, value) {
            printf("    %s: %" PRId64 "\n", name,
                   json_object_get_int64(value));
        }
    }
    print_children(info, 0, "");
}

/* --- the command --- */

/*
 * Add the ImageInfo of one image, opened alone: what is below it need not be
 * there.  False after an error was reported.  *@next is the file below, or
 * NULL, and *@next_fmt its format, if the image tells.
 */
static bool info_add(struct json_object *list, const InfoArgs *a,
                     const char *filename, const char *fmt, char **next,
                     char **next_fmt)
{
    bool first = json_object_array_length(list) == 0;
    struct json_object *info;
    BlockBackend *blk;

    blk = img_open(first && a->image_opts, filename, fmt,
                   BDRV_O_NO_IO | BDRV_O_NO_BACKING | a->flags,
                   a->writethrough, a->force_share);
    if (!blk) {
        return false;
    }
    info = info_collect(blk_bs(blk), a->limits);
    *next = g_strdup(blk_bs(blk)->full_backing_file);
    *next_fmt = g_strdup(blk_bs(blk)->backing_format);
    blk_unref(blk);
    if (!info) {
        return false;
    }
    json_object_array_add(list, info);
    return true;
}

/* An array of the ImageInfo of @filename and, for a chain, of what is below. */
static struct json_object *info_collect_all(const InfoArgs *a,
                                            const char *filename)
{
    struct json_object *list = json_object_new_array();
    g_autoptr(GHashTable) seen =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    char *name = g_strdup(filename);
    g_autofree char *fmt = g_strdup(a->fmt);

    while (name) {
        char *next = NULL;
        char *next_fmt = NULL;

        if (!g_hash_table_add(seen, name)) {
            error_report("Backing file '%s' creates an infinite loop.", name);
            goto fail;
        }
        if (!info_add(list, a, name, fmt, &next, &next_fmt)) {
            g_free(next);
            g_free(next_fmt);
            goto fail;
        }
        name = next;
        g_free(fmt);
        /* With "json:" the name tells the format. */
        fmt = next && !g_str_has_prefix(next, "json:") ? next_fmt : NULL;
        if (!fmt) {
            g_free(next_fmt);
        }
        if (!a->backing_chain) {
            g_free(next);
            break;
        }
    }
    return list;

fail:
    json_object_put(list);
    return NULL;
}

static void info_print(const InfoArgs *a, struct json_object *list)
{
    size_t i, len = json_object_array_length(list);

    if (a->output == OFORMAT_JSON) {
        img_print_json(a->backing_chain ? list
                       : json_object_array_get_idx(list, 0));
        return;
    }
    for (i = 0; i < len; i++) {
        printf("%s", i ? "\n" : "");
        print_human(json_object_array_get_idx(list, i));
    }
}

static void info_option(InfoArgs *a, int c)
{
    switch (c) {
    case 'f':
        a->fmt = optarg;
        break;
    case 'U':
        a->force_share = true;
        break;
    case 't':
        if (img_parse_cache("cache", optarg, &a->flags, &a->writethrough) < 0) {
            exit(EXIT_FAILURE);
        }
        break;
    case OPTION_LIMITS:
        a->limits = true;
        break;
    case OPTION_OUTPUT:
        a->output = img_parse_output(optarg);
        break;
    case OPTION_BACKING_CHAIN:
        a->backing_chain = true;
        break;
    case OPTION_IMAGE_OPTS:
        a->image_opts = true;
        break;
    }
}

const char img_info_help[] =
    "Display information about an image.  Usage:\n"
    "\n"
    "  qemu-img info [-f FMT | --image-opts] [-t CACHE_MODE] [-U] [--limits]\n"
    "        [--backing-chain] [--output human|json] FILE\n"
    "\n"
    IMG_HELP_FORMAT
    "  --backing-chain\n"
    "     display information about the backing chain, too\n"
    "  -t, --cache CACHE_MODE\n"
    "     cache mode of the image, which the limits may depend on\n"
    "     (default: writeback)\n"
    IMG_HELP_FORCE_SHARE
    "  --limits\n"
    "     show the block limits: what requests must be like\n"
    IMG_HELP_OUTPUT
    IMG_HELP_HELP
    IMG_HELP_FILE;

static const struct option info_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "format", required_argument, NULL, 'f' },
    { "cache", required_argument, NULL, 't' },
    { "limits", no_argument, NULL, OPTION_LIMITS },
    { "output", required_argument, NULL, OPTION_OUTPUT },
    { "backing-chain", no_argument, NULL, OPTION_BACKING_CHAIN },
    { "image-opts", no_argument, NULL, OPTION_IMAGE_OPTS },
    { "force-share", no_argument, NULL, 'U' },
    { NULL }
};

int img_info(int argc, char **argv)
{
    InfoArgs a = { .fmt = NULL };
    struct json_object *list;
    int c;

    while ((c = img_getopt(argc, argv, ":hf:t:U", info_options)) != -1) {
        info_option(&a, c);
    }
    if (optind != argc - 1) {
        img_error_exit("Expecting one image file name");
    }
    list = info_collect_all(&a, argv[optind]);
    if (list) {
        info_print(&a, list);
        json_object_put(list);
    }
    return list ? EXIT_SUCCESS : EXIT_FAILURE;
}
