/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img check: is an image consistent, and make it so.
 *
 * Exit status: 0 consistent (perhaps after repair), 1 not checked to the end,
 * 2 corrupt, 3 only leaked clusters, 63 the format has no check.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "qemu-img.h"
#include "qemu/error-report.h"

#define EXIT_NO_CHECK 63

typedef struct {
    const char *fmt;
    const char *filename;
    OutputFormat output;
    BdrvCheckMode fix;
    int flags;
    bool writethrough;
    bool image_opts;
    bool quiet;
    bool force_share;
} CheckArgs;

static void add_count(struct json_object *obj, const char *name,
                      int64_t value, bool always)
{
    if (value || always) {
        json_object_object_add(obj, name, json_object_new_int64(value));
    }
}

static void print_json(const CheckArgs *a, BlockBackend *blk,
                       const BdrvCheckResult *r)
{
    struct json_object *obj = json_object_new_object();

    add_count(obj, "image-end-offset", r->image_end_offset, false);
    add_count(obj, "total-clusters", r->total_clusters, false);
    add_count(obj, "corruptions", r->corruptions, false);
    add_count(obj, "check-errors", r->check_errors, true);
    add_count(obj, "leaks", r->leaks, false);
    add_count(obj, "leaks-fixed", r->leaks_fixed, false);
    add_count(obj, "allocated-clusters", r->allocated_clusters, false);
    json_object_object_add(obj, "filename",
                           json_object_new_string(a->filename));
    json_object_object_add(obj, "format", json_object_new_string(
        bdrv_get_format_name(blk_bs(blk))));
    add_count(obj, "fragmented-clusters", r->fragmented_clusters, false);
    add_count(obj, "compressed-clusters", r->compressed_clusters, false);
    add_count(obj, "corruptions-fixed", r->corruptions_fixed, false);
    img_print_json(obj);
    json_object_put(obj);
}

static void print_clusters(const BdrvCheckResult *r)
{
    double allocated = MAX(r->allocated_clusters, 1);

    if (r->total_clusters && r->allocated_clusters) {
        printf("%" PRId64 "/%" PRId64 " = %0.2f%% allocated, "
               "%0.2f%% fragmented, %0.2f%% compressed clusters\n",
               r->allocated_clusters, r->total_clusters,
               r->allocated_clusters * 100.0 / r->total_clusters,
               r->fragmented_clusters * 100.0 / allocated,
               r->compressed_clusters * 100.0 / allocated);
    }
    if (r->image_end_offset) {
        printf("Image end offset: %" PRId64 "\n", r->image_end_offset);
    }
}

static void print_human(const BdrvCheckResult *r)
{
    if (!r->corruptions && !r->leaks && !r->check_errors) {
        printf("No errors were found on the image.\n");
    }
    if (r->corruptions) {
        printf("\n%d errors were found on the image.\n"
               "Data may be corrupted, or further writes to the image may "
               "corrupt it.\n", r->corruptions);
    }
    if (r->leaks) {
        printf("\n%d leaked clusters were found on the image.\n"
               "This means waste of disk space, but no harm to data.\n",
               r->leaks);
    }
    if (r->check_errors) {
        printf("\n%d internal errors have occurred during the check.\n",
               r->check_errors);
    }
    print_clusters(r);
}

/* 0, or the exit status of a check that could not be done. */
static int run_check(BlockBackend *blk, BdrvCheckResult *r,
                     BdrvCheckMode fix)
{
    int ret;

    *r = (BdrvCheckResult) { .leaks = 0 };
    ret = bdrv_check(blk_bs(blk), r, fix);
    if (ret == -ENOTSUP) {
        error_report("This image format does not support checks");
        return EXIT_NO_CHECK;
    }
    if (ret < 0) {
        error_report("Check failed: %s", strerror(-ret));
        return EXIT_FAILURE;
    }
    return 0;
}

static int check_image(const CheckArgs *a, BlockBackend *blk)
{
    BdrvCheckResult r, again;
    int status = run_check(blk, &r, a->fix);

    if (status) {
        return status;
    }
    if (r.leaks_fixed || r.corruptions_fixed) {
        if (!a->quiet && a->output == OFORMAT_HUMAN) {
            printf("The following inconsistencies were found and repaired:\n"
                   "\n    %d leaked clusters\n    %d corruptions\n\n"
                   "Double checking the fixed image now...\n",
                   r.leaks_fixed, r.corruptions_fixed);
        }
        status = run_check(blk, &again, 0);
        if (status) {
            return status;
        }
        again.leaks_fixed = r.leaks_fixed;
        again.corruptions_fixed = r.corruptions_fixed;
        r = again;
    }
    if (!a->quiet && a->output == OFORMAT_JSON) {
        print_json(a, blk, &r);
    } else if (!a->quiet) {
        print_human(&r);
    }
    return r.check_errors ? 1 : r.corruptions ? 2 : r.leaks ? 3 : 0;
}

static void check_option_repair(CheckArgs *a, const char *arg)
{
    if (!strcmp(arg, "leaks")) {
        a->fix = BDRV_FIX_LEAKS;
    } else if (!strcmp(arg, "all")) {
        a->fix = BDRV_FIX_LEAKS | BDRV_FIX_ERRORS;
    } else {
        img_error_exit("Unknown option value for -r (expecting 'leaks' or "
                   "'all'): %s", arg);
    }
    a->flags |= BDRV_O_RDWR;
}

static void check_option(CheckArgs *a, int c)
{
    switch (c) {
    case 'f':
        a->fmt = optarg;
        break;
    case 'q':
        a->quiet = true;
        break;
    case 'r':
        check_option_repair(a, optarg);
        break;
    case 'T':
        if (bdrv_parse_cache_mode(optarg, &a->flags, &a->writethrough) < 0) {
            error_report("Invalid source cache option: %s", optarg);
            exit(EXIT_FAILURE);
        }
        break;
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
}

const char img_check_help[] =
    "Check an image for errors, and repair it.  Usage:\n"
    "\n"
    "  qemu-img check [-f FMT | --image-opts] [-T CACHE_MODE] [-r leaks|all]\n"
    "        [-U] [--output human|json] [-q] FILE\n"
    "\n"
    IMG_HELP_FORMAT
    "  -T, --cache CACHE_MODE\n"
    "     image caching mode (default: writeback)\n"
    IMG_HELP_FORCE_SHARE
    IMG_HELP_OUTPUT
    "  -r, --repair leaks|all\n"
    "     repair leaks only, or everything that can be repaired\n"
    IMG_HELP_QUIET
    IMG_HELP_HELP
    IMG_HELP_FILE
    "\n"
    "Exit status: 0 no errors, 1 the check was not completed, 2 corrupted,\n"
    "3 leaks only, 63 the format has no check.\n";

static const struct option check_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "format", required_argument, NULL, 'f' },
    { "cache", required_argument, NULL, 'T' },
    { "quiet", no_argument, NULL, 'q' },
    { "repair", required_argument, NULL, 'r' },
    { "output", required_argument, NULL, OPTION_OUTPUT },
    { "image-opts", no_argument, NULL, OPTION_IMAGE_OPTS },
    { "force-share", no_argument, NULL, 'U' },
    { NULL }
};

int img_check(int argc, char **argv)
{
    CheckArgs a = { .flags = BDRV_O_CHECK };
    BlockBackend *blk;
    int status, c;

    while ((c = img_getopt(argc, argv, ":hf:r:T:qU", check_options)) != -1) {
        check_option(&a, c);
    }
    if (optind != argc - 1) {
        img_error_exit("Expecting one image file name");
    }
    a.filename = argv[optind];
    blk = img_open(a.image_opts, a.filename, a.fmt, a.flags, a.writethrough,
                   a.force_share);
    if (!blk) {
        return EXIT_FAILURE;
    }
    status = check_image(&a, blk);
    blk_unref(blk);
    return status;
}
