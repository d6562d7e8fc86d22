/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Information about a VMDK image.
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"
#include <json-c/json.h>

/* The grain size that all extents have; 0: flat, or not the same. */
static int64_t common_grain_bytes(const BDRVVmdkState *s)
{
    int64_t bytes = s->nb_extents ? s->extents[0].grain_bytes : 0;
    int i;

    for (i = 1; i < s->nb_extents; i++) {
        if (s->extents[i].grain_bytes != bytes) {
            return 0;
        }
    }
    return bytes;
}

int coroutine_fn vmdk_co_get_info(BlockDriverState *bs, BlockDriverInfo *bdi)
{
    BDRVVmdkState *s = bs->opaque;
    int i;

    bdi->cluster_size = common_grain_bytes(s);
    bdi->needs_compressed_writes = s->nb_extents > 0;
    for (i = 0; i < s->nb_extents; i++) {
        bdi->is_dirty |= s->extents[i].unclean;
        bdi->needs_compressed_writes &= s->extents[i].compressed;
    }
    return 0;
}

static struct json_object *extent_info(BlockDriverState *bs,
                                       const VmdkExtent *e)
{
    struct json_object *info = json_object_new_object();

    if (e->compressed) {
        json_object_object_add(info, "compressed",
                               json_object_new_boolean(true));
    }
    json_object_object_add(info, "virtual-size",
                           json_object_new_int64(e->bytes));
    json_object_object_add(info, "filename", json_object_new_string(
        e->file ? e->file->bs->filename : ""));
    if (vmdk_extent_is_sparse(e) && e->grain_bytes) {
        json_object_object_add(info, "cluster-size",
                               json_object_new_int64(e->grain_bytes));
    }
    json_object_object_add(info, "format", json_object_new_string(
        e->embedded ? "" : vmdk_type_names[e->type]));
    return info;
}

struct json_object *vmdk_get_specific_info(BlockDriverState *bs,
                                           Error **errp)
{
    BDRVVmdkState *s = bs->opaque;
    struct json_object *info = json_object_new_object();
    struct json_object *data = json_object_new_object();
    struct json_object *extents = json_object_new_array();
    int i;

    for (i = 0; i < s->nb_extents; i++) {
        json_object_array_add(extents, extent_info(bs, &s->extents[i]));
    }
    json_object_object_add(data, "cid", json_object_new_int64(s->desc.cid));
    json_object_object_add(data, "parent-cid",
                           json_object_new_int64(s->desc.parent_cid));
    json_object_object_add(data, "create-type",
                           json_object_new_string(s->desc.create_type));
    json_object_object_add(data, "extents", extents);
    json_object_object_add(info, "type", json_object_new_string("vmdk"));
    json_object_object_add(info, "data", data);
    return info;
}

int64_t coroutine_fn vmdk_co_get_allocated_file_size(BlockDriverState *bs)
{
    BDRVVmdkState *s = bs->opaque;
    int64_t sum = bdrv_co_get_allocated_file_size(bs->file->bs);
    int i;

    for (i = 0; sum >= 0 && i < s->nb_extents; i++) {
        BdrvChild *file = s->extents[i].file;
        int64_t size;

        if (!file || file == bs->file) {
            continue;
        }
        size = bdrv_co_get_allocated_file_size(file->bs);
        sum = size < 0 ? size : sum + size;
    }
    return sum;
}

int vmdk_has_zero_init(BlockDriverState *bs)
{
    BDRVVmdkState *s = bs->opaque;
    int i;

    for (i = 0; i < s->nb_extents; i++) {
        VmdkExtent *e = &s->extents[i];

        if (vmdk_type_is_flat(e->type) && e->file
            && !bdrv_has_zero_init(e->file->bs)) {
            return 0;
        }
    }
    return 1;
}
