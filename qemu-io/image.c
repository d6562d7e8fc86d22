/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-io: commands about the image: flush, truncate, length, info, alloc, map.
 */
#include "qemu/osdep.h"
#include <getopt.h>
#include <json-c/json.h>
#include "block/block_int.h"
#include "programs/programs.h"
#include "qemu-io.h"

static int flush_cmd(BlockBackend *blk, const QemuIOCommand *cmd,
                     int argc, char **argv)
{
    int ret = blk_flush(blk);

    if (ret < 0) {
        error_report("flush failed: %s", strerror(-ret));
    }
    return ret;
}

static int parse_prealloc(const char *name, PreallocMode *mode)
{
    int i;

    for (i = 0; i < PREALLOC_MODE__MAX; i++) {
        if (!strcmp(name, PreallocMode_lookup.array[i])) {
            *mode = i;
            return 0;
        }
    }
    error_report("Invalid preallocation mode '%s'", name);
    return -EINVAL;
}

static int truncate_cmd(BlockBackend *blk, const QemuIOCommand *cmd,
                        int argc, char **argv)
{
    Error *local_err = NULL;
    PreallocMode prealloc = PREALLOC_MODE_OFF;
    int64_t offset;
    int c, ret;

    while ((c = getopt(argc, argv, "m:")) != -1) {
        if (c != 'm') {
            return qemuio_usage(cmd);
        }
        if (parse_prealloc(optarg, &prealloc) < 0) {
            return -EINVAL;
        }
    }
    if (optind >= argc) {
        return qemuio_usage(cmd);
    }
    offset = qemuio_parse_size(argv[optind]);
    if (offset < 0) {
        return offset;
    }
    ret = blk_truncate(blk, offset, false, prealloc, 0, &local_err);
    if (ret < 0) {
        error_report_err(local_err);
    }
    return ret;
}

static int length_cmd(BlockBackend *blk, const QemuIOCommand *cmd,
                      int argc, char **argv)
{
    int64_t size = blk_getlength(blk);
    g_autofree char *str = NULL;

    if (size < 0) {
        printf("getlength: %s\n", strerror(-size));
        return size;
    }
    str = qemuio_size_str(size);
    printf("%s\n", str);
    return 0;
}

/* --- info --- */

static int info_cmd(BlockBackend *blk, const QemuIOCommand *cmd,
                    int argc, char **argv)
{
    BlockDriverState *bs = blk_bs(blk);
    BlockDriverInfo bdi;
    Error *local_err = NULL;
    struct json_object *specific;
    g_autofree char *cluster = NULL;
    g_autofree char *vmstate = NULL;
    int ret;

    if (bs->drv && bs->drv->format_name) {
        printf("format name: %s\n", bs->drv->format_name);
    }
    if (bs->drv && bs->drv->protocol_name) {
        printf("format name: %s\n", bs->drv->protocol_name);
    }
    ret = bdrv_get_info(bs, &bdi);
    if (ret == -ENOTSUP) {      /* nothing to tell beyond the zeroes */
        bdi = (BlockDriverInfo) { 0 };
        ret = 0;
    }
    if (ret < 0) {
        error_report("no further information: %s", strerror(-ret));
        return ret;
    }
    cluster = qemuio_size_str(bdi.cluster_size);
    vmstate = qemuio_size_str(bdi.vm_state_offset);
    printf("cluster size: %s\n", cluster);
    printf("vm state offset: %s\n", vmstate);

    specific = bdrv_get_specific_info(bs, &local_err);
    if (local_err) {
        error_report_err(local_err);
        return -EIO;
    }
    if (specific) {
        program_print_specific_info(specific, 0);
        json_object_put(specific);
    }
    return 0;
}

/* --- alloc, map --- */

static int alloc_cmd(BlockBackend *blk, const QemuIOCommand *cmd,
                     int argc, char **argv)
{
    BlockDriverState *bs = blk_bs(blk);
    int64_t start, offset, count = BDRV_SECTOR_SIZE;
    int64_t left, num, sum = 0;
    g_autofree char *where = NULL;
    int ret;

    start = offset = qemuio_parse_size(argv[1]);
    if (offset < 0) {
        return offset;
    }
    if (argc == 3) {
        count = qemuio_parse_size(argv[2]);
        if (count < 0) {
            return count;
        }
    }
    for (left = count; left > 0; left -= num, offset += num) {
        ret = bdrv_is_allocated(bs, offset, left, &num);
        if (ret < 0) {
            error_report("is_allocated failed: %s", strerror(-ret));
            return ret;
        }
        if (num == 0) {         /* the end of the image */
            break;
        }
        sum += ret ? num : 0;
    }
    where = qemuio_size_str(start);
    printf("%" PRId64 "/%" PRId64 " bytes allocated at offset %s\n",
           sum, count - left, where);
    return 0;
}

/* The longest run from @offset on of one status, in *@pnum; that status. */
static int map_run(BlockDriverState *bs, int64_t offset, int64_t bytes,
                   int64_t *pnum)
{
    int64_t num;
    int first = -1;

    *pnum = 0;
    while (bytes > 0) {
        int ret = bdrv_is_allocated(bs, offset + *pnum, bytes, &num);

        if (ret < 0 && first < 0) {
            return ret;
        }
        if (ret < 0 || num == 0 || (first >= 0 && ret != first)) {
            break;
        }
        first = ret;
        *pnum += num;
        bytes -= num;
    }
    return MAX(first, 0);
}

static int map_cmd(BlockBackend *blk, const QemuIOCommand *cmd,
                   int argc, char **argv)
{
    int64_t length = blk_getlength(blk);
    int64_t offset, num;

    if (length < 0) {
        error_report("Failed to query image length: %s", strerror(-length));
        return length;
    }
    for (offset = 0; offset < length; offset += num) {
        g_autofree char *size_str = NULL;
        g_autofree char *offset_str = NULL;
        int ret = map_run(blk_bs(blk), offset, length - offset, &num);

        if (ret < 0) {
            error_report("Failed to get allocation status: %s",
                         strerror(-ret));
            return ret;
        }
        if (num == 0) {
            error_report("Unexpected end of image");
            return -EIO;
        }
        size_str = qemuio_size_str(num);
        offset_str = qemuio_size_str(offset);
        printf("%s (0x%" PRIx64 ") bytes %s at offset %s (0x%" PRIx64 ")\n",
               size_str, num, ret ? "    allocated" : "not allocated",
               offset_str, offset);
    }
    return 0;
}

const QemuIOCommand qemuio_image_cmds[] = {
    {
        .name = "flush",
        .alias = "f",
        .run = flush_cmd,
        .oneline = "flush all in-core file state to disk",
    },
    {
        .name = "truncate",
        .alias = "t",
        .run = truncate_cmd,
        .argmin = 1,
        .argmax = 3,
        .perm = BLK_PERM_WRITE | BLK_PERM_RESIZE,
        .args = "[-m prealloc_mode] off",
        .oneline = "truncates the current file at the given offset",
    },
    {
        .name = "length",
        .alias = "l",
        .run = length_cmd,
        .oneline = "gets the length of the current file",
    },
    {
        .name = "info",
        .alias = "i",
        .run = info_cmd,
        .oneline = "prints information about the current file",
    },
    {
        .name = "alloc",
        .alias = "a",
        .run = alloc_cmd,
        .argmin = 1,
        .argmax = 2,
        .args = "offset [count]",
        .oneline = "checks if offset is allocated in the file",
    },
    {
        .name = "map",
        .run = map_cmd,
        .args = "",
        .oneline = "prints the allocated areas of a file",
    },
    { }
};
