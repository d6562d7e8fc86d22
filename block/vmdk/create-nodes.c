/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Creating VMDK images in nodes that are there already, or that are opened for
 * it: blockdev-create.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "block/vmdk/create.h"
#include "qemu/main-loop.h"
#include "qemu/option.h"

static void unref_node(gpointer bs)
{
    bdrv_unref(bs);
}

/* A reference to the node that @ref means; NULL with @errp set. */
static BlockDriverState *open_ref(BlockdevRef *ref, Error **errp)
{
    struct json_object *json;
    QOpts *opts;

    if (ref->type == QTYPE_QSTRING) {
        return bdrv_open(NULL, ref->u.reference, NULL, 0, errp);
    }
    json = QAPI_TO_JSON(BlockdevOptions, &ref->u.definition);
    opts = qopts_flatten(json, errp);
    json_object_put(json);
    return opts ? bdrv_open(NULL, NULL, opts, BDRV_O_RDWR | BDRV_O_RESIZE,
                            errp) : NULL;
}

static bool open_refs(VmdkCreate *c, const BlockdevCreateOptionsVmdk *o,
                      Error **errp)
{
    BlockDriverState *bs = open_ref(o->file, errp);
    BlockdevRefList *extent;

    if (bs) {
        g_ptr_array_add(c->nodes, bs);
    }
    for (extent = o->extents; bs && extent; extent = extent->next) {
        bs = open_ref(extent->value, errp);
        if (bs) {
            g_ptr_array_add(c->nodes, bs);
        }
    }
    return bs;
}

/* One node cannot be two files, and a descriptor has names only. */
static bool check_nodes(const VmdkCreate *c, Error **errp)
{
    uint64_t wanted = vmdk_create_extents(c);
    guint given = c->nodes->len - 1;
    guint i;

    if (given < wanted) {
        error_setg(errp, "Extent [%u] not specified", given);
        return false;
    }
    if (given > wanted) {
        error_setg(errp, "List of extents contains unused extents");
        return false;
    }
    for (i = 1; i <= given; i++) {
        BlockDriverState *bs = g_ptr_array_index(c->nodes, i);
        guint first;

        g_ptr_array_find(c->nodes, bs, &first);
        if (first < i) {
            error_setg(errp, "Node '%s' is given for two files of the image",
                       bdrv_get_node_name(bs));
            return false;
        }
        if (!*bs->exact_filename
            || bs->exact_filename[strcspn(bs->exact_filename,
                                          "\"\r\n\x1a")]) {
            error_setg(errp, "Extent [%u] is node '%s', whose file has no "
                       "name that a VMDK descriptor can hold", i - 1,
                       bdrv_get_node_name(bs));
            return false;
        }
    }
    return true;
}

static int create_in_nodes(const BlockdevCreateOptionsVmdk *o, Error **errp)
{
    g_autoptr(GPtrArray) nodes = g_ptr_array_new_with_free_func(unref_node);
    VmdkCreate c = {
        .sectors = o->size >> BDRV_SECTOR_BITS,
        .backing = o->backing_file,
        .hwversion = o->hwversion ?: VMDK_CREATE_HWVERSION,
        .toolsversion = o->toolsversion ?: VMDK_CREATE_TOOLSVERSION,
        .zeroed_grain = o->zeroed_grain,
        .nodes = nodes,
    };
    BlockDriverState *bs;

    if (o->size % BDRV_SECTOR_SIZE) {
        error_setg(errp, "Image size must be a multiple of 512 bytes");
        return -EINVAL;
    }
    /* The first of each is the default. */
    if (!vmdk_create_take_subformat(
            &c, BlockdevVmdkSubformat_str(o->subformat), errp)
        || !vmdk_create_take_adapter(
            &c, BlockdevVmdkAdapterType_str(o->adapter_type), errp)
        || !vmdk_create_check(&c, errp)
        || !open_refs(&c, o, errp)
        || !check_nodes(&c, errp)) {
        return -EINVAL;
    }
    bs = g_ptr_array_index(nodes, 0);
    return vmdk_create_image(&c, *bs->exact_filename ? bs->exact_filename
                             : bdrv_get_node_name(bs), errp);
}

typedef struct CreateCall {
    Coroutine *co;
    const BlockdevCreateOptionsVmdk *options;
    Error **errp;
    int ret;
} CreateCall;

static void create_bh(void *opaque)
{
    CreateCall *call = opaque;

    call->ret = create_in_nodes(call->options, call->errp);
    aio_co_wake(call->co);
}

/* Nodes are opened and closed outside of coroutines. */
int coroutine_fn vmdk_co_create(BlockdevCreateOptions *options, Error **errp)
{
    CreateCall call = {
        .co = qemu_coroutine_self(),
        .options = &options->u.vmdk,
        .errp = errp,
    };

    aio_bh_schedule_oneshot(qemu_get_aio_context(), create_bh, &call);
    qemu_coroutine_yield();
    return call.ret;
}
