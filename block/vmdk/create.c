/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Creating VMDK images: the descriptor, flat extents, and empty sparse
 * extents with all their grain tables, in the layout that qemu-img makes:
 *
 *   sector 0    header
 *   sector 1    descriptor, 20 sectors (empty in extents of their own)
 *   sector 21   redundant grain directory, its tables
 *               grain directory, its tables
 *               grains, from a multiple of the grain size on
 */
#include "qemu/osdep.h"
#include "block/vmdk/create.h"
#include "qemu/cutils.h"
#include "qemu/main-loop.h"

static const struct {
    const char *name;
    bool flat;
    bool split;
    bool compressed;
} subformats[] = {
    { "monolithicSparse", false, false, false },
    { "monolithicFlat", true, false, false },
    { "twoGbMaxExtentSparse", false, true, false },
    { "twoGbMaxExtentFlat", true, true, false },
    { "streamOptimized", false, false, true },
};

const QemuOptsList vmdk_create_opts = {
    .name = "vmdk-create-opts",
    .desc = {
        { "size", QEMU_OPT_SIZE, "Virtual disk size" },
        { "adapter_type", QEMU_OPT_STRING, "Virtual adapter type, can be one"
          " of ide (default), lsilogic, buslogic or legacyESX" },
        { "backing_file", QEMU_OPT_STRING, "File name of a base image" },
        { "backing_fmt", QEMU_OPT_STRING, "Must be 'vmdk' if present" },
        { "compat6", QEMU_OPT_BOOL, "VMDK version 6 image", "off" },
        { "hwversion", QEMU_OPT_STRING, "VMDK hardware version",
          "undefined" },
        { "toolsversion", QEMU_OPT_STRING, "VMware guest tools version" },
        { "subformat", QEMU_OPT_STRING, "VMDK flat extent format, can be one"
          " of {monolithicSparse (default) | monolithicFlat |"
          " twoGbMaxExtentSparse | twoGbMaxExtentFlat | streamOptimized} " },
        { "zeroed_grain", QEMU_OPT_BOOL, "Enable efficient zero writes using"
          " the zeroed-grain GTE feature" },
        { NULL }
    }
};

bool vmdk_create_take_subformat(VmdkCreate *c, const char *name,
                                Error **errp)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(subformats); i++) {
        if (!strcmp(name, subformats[i].name)) {
            c->subformat = subformats[i].name;
            c->flat = subformats[i].flat;
            c->split = subformats[i].split;
            c->compressed = subformats[i].compressed;
            return true;
        }
    }
    error_setg(errp, "invalid parameter value: %s", name);
    return false;
}

bool vmdk_create_take_adapter(VmdkCreate *c, const char *name, Error **errp)
{
    static const char *const names[] = {
        "ide", "buslogic", "lsilogic", "legacyESX",
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(names); i++) {
        if (!strcmp(name, names[i])) {
            c->adapter = names[i];
            return true;
        }
    }
    error_setg(errp, "invalid parameter value: %s", name);
    return false;
}

static bool take_hwversion(VmdkCreate *c, const QOpts *opts, Error **errp)
{
    bool compat6 = qopts_get_bool(opts, "compat6", false);
    const char *version = qopts_get_str(opts, "hwversion");
    bool given = version && strcmp(version, "undefined");

    if (compat6 && given) {
        error_setg(errp, "compat6 cannot be enabled with hwversion set");
        return false;
    }
    c->hwversion = given ? version : compat6 ? "6" : VMDK_CREATE_HWVERSION;
    return true;
}

static bool is_one_line(const char *value, const char *key, Error **errp)
{
    if (value && strchr(value, '"')) {
        error_setg(errp, "%s '%s' has a quote in it: a VMDK descriptor cannot"
                   " have that, since quotes mark where a value ends", key,
                   value);
        return false;
    }
    /* The last is where text ends, for some programs. */
    if (value && value[strcspn(value, "\r\n\x1a")]) {
        error_setg(errp, "invalid parameter value: %s=%s", key, value);
        return false;
    }
    return true;
}

/* Another format than the parent's would be forgotten, and not be true. */
static bool check_backing_fmt(const QOpts *opts, Error **errp)
{
    const char *fmt = qopts_get_str(opts, "backing_fmt");

    if (fmt && strcmp(fmt, "vmdk")) {
        error_setg(errp, "backing_file must be a vmdk image, not one of "
                   "format '%s'", fmt);
        return false;
    }
    return true;
}

bool vmdk_create_check(const VmdkCreate *c, Error **errp)
{
    if (c->sectors > BDRV_MAX_LENGTH >> BDRV_SECTOR_BITS) {
        error_setg(errp, "Image size is too big: %" PRIu64 " sectors",
                   c->sectors);
        return false;
    }
    if (!is_one_line(c->hwversion, "hwversion", errp)
        || !is_one_line(c->toolsversion, "toolsversion", errp)
        || !is_one_line(c->backing, "backing_file", errp)) {
        return false;
    }
    if (c->flat && c->backing) {
        error_setg(errp, "Flat image can't have backing file");
        return false;
    }
    if (c->flat && c->zeroed_grain) {
        error_setg(errp, "Flat image can't enable zeroed grain");
        return false;
    }
    return true;
}

static bool take_options(VmdkCreate *c, const QOpts *opts, Error **errp)
{
    const char *subformat = qopts_get_str(opts, "subformat");
    const char *adapter = qopts_get_str(opts, "adapter_type");
    const char *tools = qopts_get_str(opts, "toolsversion");
    uint64_t size = qopts_get_size(opts, "size", 0);

    c->sectors = size / BDRV_SECTOR_SIZE + !!(size % BDRV_SECTOR_SIZE);
    c->backing = qopts_get_str(opts, "backing_file");
    c->zeroed_grain = qopts_get_bool(opts, "zeroed_grain", false);
    c->toolsversion = tools ? tools : VMDK_CREATE_TOOLSVERSION;
    return vmdk_create_take_adapter(c, adapter ? adapter : "ide", errp)
           && vmdk_create_take_subformat(c, subformat ? subformat
                                         : "monolithicSparse", errp)
           && take_hwversion(c, opts, errp)
           && vmdk_create_check(c, errp)
           && check_backing_fmt(opts, errp);
}

/*
 * The parent stays open, whoever else has it, until the new files are made:
 * none of them may be a file of the parent.
 */
static int open_parent(VmdkCreate *c, const char *filename, Error **errp)
{
    g_autofree char *path = bdrv_get_full_backing_filename_from_filename(
        filename, c->backing, errp);
    QOpts *options;

    if (!path) {
        return -EINVAL;
    }
    options = qopts_new();
    qopts_set_str(options, "force-share", "on");
    c->parent = bdrv_open(path, NULL, options, BDRV_O_NO_BACKING, errp);
    if (!c->parent) {
        return -EINVAL;
    }
    if (c->parent->drv != &bdrv_vmdk) {
        error_setg(errp, "backing_file must be a vmdk image");
        return -EINVAL;
    }
    c->parent_cid = ((BDRVVmdkState *)c->parent->opaque)->desc.cid;
    return 0;
}

/* Cut "dir/name.ext" into "dir/", "name" and ".ext". */
static void split_name(VmdkCreate *c, const char *filename)
{
    const char *base = strrchr(filename, '/');
    const char *ext;

    if (!base && path_has_protocol(filename)) {
        base = strchr(filename, ':');
    }
    base = base ? base + 1 : filename;
    ext = strrchr(base, '.');
    ext = ext ? ext : base + strlen(base);
    c->dir = g_strndup(filename, base - filename);
    c->stem = g_strndup(base, ext - base);
    c->ext = ext;
}

/* The sectors in extent @index. */
static uint64_t extent_sectors(const VmdkCreate *c, uint64_t index)
{
    uint64_t start = index * VMDK_SPLIT_SECTORS;

    return c->split ? MIN(c->sectors - start, VMDK_SPLIT_SECTORS)
                    : c->sectors;
}

uint64_t vmdk_create_extents(const VmdkCreate *c)
{
    if (!c->flat && !c->split) {
        return 0;
    }
    return c->split || !c->sectors
           ? DIV_ROUND_UP(c->sectors, VMDK_SPLIT_SECTORS) : 1;
}

/*
 * The file of a given extent, as the descriptor names it: seen from where the
 * descriptor is, if that is the same directory or one above it.
 */
static char *node_name_in(const VmdkCreate *c, uint64_t index)
{
    BlockDriverState *bs = g_ptr_array_index(c->nodes, index + 1);
    const char *name = bs->exact_filename;

    return g_strdup(*c->dir && g_str_has_prefix(name, c->dir)
                    ? name + strlen(c->dir) : name);
}

static char *extent_name(const VmdkCreate *c, uint64_t index)
{
    if (c->nodes) {
        return node_name_in(c, index);
    }
    if (!c->split) {
        return g_strdup_printf("%s-flat%s", c->stem, c->ext);
    }
    return g_strdup_printf("%s-%c%03" PRIu64 "%s", c->stem,
                           c->flat ? 'f' : 's', index + 1, c->ext);
}

static int create_extents(VmdkCreate *c, Error **errp)
{
    uint64_t count = vmdk_create_extents(c);
    int ret = 0;
    uint64_t i;

    if (count > VMDK_MAX_NEW_EXTENTS) {
        error_setg(errp, "Image size is too big: more than %d extents",
                   VMDK_MAX_NEW_EXTENTS);
        return -EFBIG;
    }
    for (i = 0; ret == 0 && i < count; i++) {
        g_autofree char *name = extent_name(c, i);
        g_autofree char *path = c->nodes ? g_strdup(name)
                                : g_strconcat(c->dir, name, NULL);
        uint64_t sectors = extent_sectors(c, i);

        ret = c->flat ? vmdk_create_flat(c, i + 1, path, sectors, errp)
                      : vmdk_create_sparse(c, i + 1, path, sectors, NULL,
                                           errp);
        g_string_append_printf(c->lines, "RW %" PRIu64 " %s \"%s\"%s\n",
                               sectors, c->flat ? "FLAT" : "SPARSE", name,
                               c->flat ? " 0" : "");
    }
    return ret;
}

static char *descriptor_text(const VmdkCreate *c)
{
    bool ide = !strcmp(c->adapter, "ide");
    uint64_t heads = ide ? 16 : 255;
    GString *text = g_string_new("# Disk DescriptorFile\nversion=1\n");

    g_string_append_printf(text, "CID=%08x\nparentCID=%08x\n"
                           "createType=\"%s\"\n", vmdk_new_cid(),
                           c->parent_cid, c->subformat);
    if (c->backing) {
        g_string_append_printf(text, "parentFileNameHint=\"%s\"",
                               c->backing);
    }
    g_string_append_printf(text, "\n# Extent description\n%s\n"
                           "# The Disk Data Base\n#DDB\n\n", c->lines->str);
    g_string_append_printf(text, "ddb.virtualHWVersion = \"%s\"\n"
                           "ddb.geometry.cylinders = \"%" PRIu64 "\"\n"
                           "ddb.geometry.heads = \"%" PRIu64 "\"\n"
                           "ddb.geometry.sectors = \"63\"\n", c->hwversion,
                           c->sectors / (63 * heads), heads);
    g_string_append_printf(text, "ddb.adapterType = \"%s\"\n"
                           "ddb.toolsVersion = \"%s\"\n", c->adapter,
                           c->toolsversion);
    return g_string_free(text, false);
}

static int create_files(VmdkCreate *c, const char *filename, Error **errp)
{
    g_autofree char *text = NULL;
    int ret;

    if (c->flat || c->split) {
        ret = create_extents(c, errp);
        if (ret < 0) {
            return ret;
        }
        text = descriptor_text(c);
        return vmdk_create_text(c, filename, text, errp);
    }
    g_string_append_printf(c->lines, "RW %" PRIu64 " SPARSE \"%s%s\"\n",
                           c->sectors, c->stem, c->ext);
    text = descriptor_text(c);
    return vmdk_create_sparse(c, 0, filename, c->sectors, text, errp);
}

/* An image that is not whole is of no use, and would take room. */
static void remove_files(const VmdkCreate *c)
{
    guint i;

    for (i = 0; i < c->made->len; i++) {
        unlink(g_ptr_array_index(c->made, i));
    }
}

int vmdk_create_image(VmdkCreate *c, const char *filename, Error **errp)
{
    int ret;

    c->parent = NULL;
    c->parent_cid = VMDK_NO_PARENT;
    if (c->backing) {
        ret = open_parent(c, filename, errp);
        if (ret < 0) {
            bdrv_unref(c->parent);
            return ret;
        }
    }
    split_name(c, filename);
    if (!is_one_line(strrchr(filename, '/') ?: filename, "filename", errp)) {
        ret = -EINVAL;
    } else {
        c->lines = g_string_new("");
        c->made = g_ptr_array_new_with_free_func(g_free);
        ret = create_files(c, filename, errp);
        if (ret < 0) {
            remove_files(c);
        }
        g_ptr_array_unref(c->made);
        g_string_free(c->lines, true);
    }
    g_free(c->dir);
    g_free(c->stem);
    bdrv_unref(c->parent);
    return ret;
}

static int create_from_options(const char *filename, const QOpts *opts,
                               Error **errp)
{
    g_autoptr(QOpts) file_opts = qopts_dup(opts);
    VmdkCreate c = { .file_opts = file_opts };

    return take_options(&c, opts, errp)
           ? vmdk_create_image(&c, filename, errp) : -EINVAL;
}

typedef struct CreateCall {
    Coroutine *co;
    const char *filename;
    const QOpts *opts;
    Error **errp;
    int ret;
} CreateCall;

static void create_bh(void *opaque)
{
    CreateCall *call = opaque;

    call->ret = create_from_options(call->filename, call->opts, call->errp);
    aio_co_wake(call->co);
}

/* Opening and closing what is made has to happen outside coroutines. */
int coroutine_fn vmdk_co_create_opts(BlockDriver *drv, const char *filename,
                                     QOpts *opts, Error **errp)
{
    CreateCall call = {
        .co = qemu_coroutine_self(),
        .filename = filename,
        .opts = opts,
        .errp = errp,
    };

    aio_bh_schedule_oneshot(qemu_get_aio_context(), create_bh, &call);
    qemu_coroutine_yield();
    return call.ret;
}
