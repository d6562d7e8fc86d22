/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img map: where the data of an image is, layer by layer.
 *
 * The walk is one coroutine; what it finds is merged into entries, each of
 * which is printed when the next one differs from it.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "qemu-img.h"
#include "qemu/error-report.h"

typedef struct MapEntry {
    int64_t start;
    int64_t length;             /* 0: none */
    int64_t offset;
    int depth;
    bool data;
    bool zero;
    bool present;
    bool compressed;
    bool has_offset;
    char *filename;             /* of @offset; NULL: none */
} MapEntry;

typedef struct {
    const char *fmt;
    OutputFormat output;
    bool image_opts;
    bool force_share;
    int64_t start;
    int64_t max_length;         /* -1: up to the end */

    BlockDriverState *bs;
    MapEntry last;              /* not printed yet */
    bool any;                   /* printed */
} MapArgs;

static int map_print_human(const MapEntry *e)
{
    if (e->data && !e->has_offset) {
        error_report("File contains external, encrypted or compressed "
                     "clusters.");
        return -ENOTSUP;
    }
    if (e->data && !e->zero) {
        printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n", e->start,
               e->length, e->offset, e->filename ?: "");
    }
    return 0;
}

static const char *bool_name(bool value)
{
    return value ? "true" : "false";
}

static void map_print_json(MapArgs *a, const MapEntry *e)
{
    printf("%s{ \"start\": %" PRId64 ", \"length\": %" PRId64 ", "
           "\"depth\": %d, \"present\": %s, \"zero\": %s, \"data\": %s, "
           "\"compressed\": %s", a->any ? ",\n" : "", e->start, e->length,
           e->depth, bool_name(e->present), bool_name(e->zero),
           bool_name(e->data), bool_name(e->compressed));
    if (e->has_offset) {
        printf(", \"offset\": %" PRId64, e->offset);
    }
    printf("}");
    a->any = true;
}

static int map_print_last(MapArgs *a)
{
    int ret = 0;

    if (a->last.length && a->output == OFORMAT_JSON) {
        map_print_json(a, &a->last);
    } else if (a->last.length) {
        ret = map_print_human(&a->last);
    }
    g_free(a->last.filename);
    a->last = (MapEntry) { .length = 0 };
    return ret;
}

static bool map_can_merge(const MapEntry *a, const MapEntry *b)
{
    return a->length && a->zero == b->zero && a->data == b->data &&
           a->present == b->present && a->depth == b->depth &&
           a->compressed == b->compressed &&
           a->has_offset == b->has_offset &&
           !g_strcmp0(a->filename, b->filename) &&
           (!a->has_offset || a->offset + a->length == b->offset);
}

/* Take over @e, whose name is consumed. */
static int map_add(MapArgs *a, MapEntry *e)
{
    int ret;

    if (map_can_merge(&a->last, e)) {
        a->last.length += e->length;
        g_free(e->filename);
        return 0;
    }
    ret = map_print_last(a);
    a->last = *e;
    return ret;
}

/* The entry at @offset, of at most @bytes.  0 or -errno. */
static int coroutine_fn map_look(BlockDriverState *bs, int64_t offset,
                                 int64_t bytes, MapEntry *e)
{
    BlockDriverState *file = NULL;
    int depth = 0;
    int64_t map = 0;
    int ret;

    for (;;) {
        bs = bdrv_skip_filters(bs);
        ret = bdrv_co_block_status(bs, offset, bytes, &bytes, &map, &file);
        if (ret < 0 || (ret & (BDRV_BLOCK_ZERO | BDRV_BLOCK_DATA))) {
            break;
        }
        bs = bdrv_cow_bs(bs);
        if (!bs) {
            ret = 0;
            break;
        }
        depth++;
    }
    if (ret < 0 || bytes <= 0) {
        return ret < 0 ? ret : -EIO;
    }
    *e = (MapEntry) {
        .start = offset,
        .length = bytes,
        .offset = map,
        .depth = depth,
        .data = ret & BDRV_BLOCK_DATA,
        .zero = ret & BDRV_BLOCK_ZERO,
        .present = ret & BDRV_BLOCK_ALLOCATED,
        .compressed = ret & BDRV_BLOCK_COMPRESSED,
        .has_offset = ret & BDRV_BLOCK_OFFSET_VALID,
        .filename = file && (ret & BDRV_BLOCK_OFFSET_VALID)
                    ? g_strdup(file->filename) : NULL,
    };
    return 0;
}

static int coroutine_fn map_walk(void *opaque)
{
    MapArgs *a = opaque;
    int64_t offset = a->start;
    int64_t end = bdrv_co_getlength(a->bs);
    int ret = 0;

    if (end < 0) {
        error_report("Failed to get size of the image: %s", strerror(-end));
        return end;
    }
    if (a->max_length >= 0 && offset < end) {
        end = offset + MIN(a->max_length, end - offset);
    }
    while (ret == 0 && offset < end) {
        MapEntry e;

        ret = map_look(a->bs, offset, end - offset, &e);
        if (ret < 0) {
            error_report("Failed to read image metadata: %s",
                         strerror(-ret));
            break;
        }
        offset += e.length;
        ret = map_add(a, &e);
    }
    return ret;
}

static int map_image(MapArgs *a, BlockBackend *blk)
{
    int ret;

    if (a->output == OFORMAT_JSON) {
        printf("[");
    } else {
        printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to",
               "File");
    }
    a->bs = blk_bs(blk);
    ret = bdrv_run_co(bdrv_get_aio_context(a->bs), map_walk, a);
    if (ret == 0) {
        ret = map_print_last(a);
    }
    g_free(a->last.filename);
    if (ret == 0 && a->output == OFORMAT_JSON) {
        printf("]\n");
    }
    return ret;
}

const char img_map_help[] =
    "Dump the metadata of an image: where its data is.  Usage:\n"
    "\n"
    "  qemu-img map [-f FMT | --image-opts] [-s OFFSET] [-l LENGTH]\n"
    "        [--output human|json] [-U] FILE\n"
    "\n"
    IMG_HELP_FORMAT
    "  -s, --start-offset OFFSET\n"
    "     where to begin (default: 0)\n"
    "  -l, --max-length LENGTH\n"
    "     how much of the image to look at (default: all)\n"
    IMG_HELP_OUTPUT
    IMG_HELP_FORCE_SHARE
    IMG_HELP_HELP
    IMG_HELP_FILE;

static const struct option map_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "format", required_argument, NULL, 'f' },
    { "output", required_argument, NULL, OPTION_OUTPUT },
    { "image-opts", no_argument, NULL, OPTION_IMAGE_OPTS },
    { "start-offset", required_argument, NULL, 's' },
    { "max-length", required_argument, NULL, 'l' },
    { "force-share", no_argument, NULL, 'U' },
    { NULL }
};

static int map_option(MapArgs *a, int opt)
{
    switch (opt) {
    case 'f':
        a->fmt = optarg;
        break;
    case 's':
        a->start = cvtnum("start offset", optarg);
        return a->start < 0 ? -EINVAL : 0;
    case 'l':
        a->max_length = cvtnum("max length", optarg);
        return a->max_length < 0 ? -EINVAL : 0;
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

int img_map(int argc, char **argv)
{
    MapArgs a = { .max_length = -1 };
    BlockBackend *blk;
    int opt, ret;

    while ((opt = img_getopt(argc, argv, ":f:s:l:hU", map_options)) != -1) {
        if (map_option(&a, opt) < 0) {
            return EXIT_FAILURE;
        }
    }
    if (optind != argc - 1) {
        img_error_exit("Expecting one image file name");
    }
    blk = img_open(a.image_opts, argv[optind], a.fmt, 0, false,
                   a.force_share);
    if (!blk) {
        return EXIT_FAILURE;
    }
    ret = map_image(&a, blk);
    blk_unref(blk);
    return ret < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
