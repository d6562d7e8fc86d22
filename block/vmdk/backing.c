/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The files that a descriptor names, and the parent of the image.
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"
#include "qemu/cutils.h"

/* --- names --- */

/* The file with the descriptor; "" if it is not known as a file name. */
static const char *descriptor_file(BlockDriverState *bs)
{
    BlockDriverState *file = bs->file->bs;

    /* The name of a filter is not that of a file. */
    while (file->drv->is_filter && file->file) {
        file = file->file->bs;
    }
    return file->exact_filename;
}

/* @path, a local file or from now on one, relative to @base. */
static char *combine(const char *base, const char *path)
{
    g_autofree char *full = path_combine(base, path);

    /* A name in a descriptor names a file, never a protocol. */
    if (!path_has_protocol(base) && path_has_protocol(full)) {
        return g_strconcat("./", full, NULL);
    }
    return g_steal_pointer(&full);
}

/*
 * The same name in UTF-8, if the descriptor has another encoding and such a
 * file is there; NULL if not.
 */
static char *convert_name(const BDRVVmdkState *s, const char *base,
                          const char *path)
{
    g_autofree char *converted = NULL;
    g_autofree char *full = NULL;

    if (!s->desc.encoding) {
        return NULL;
    }
    converted = g_convert(path, -1, "UTF-8", s->desc.encoding, NULL, NULL,
                          NULL);
    if (!converted) {
        return NULL;
    }
    full = combine(base, converted);
    return access(full, F_OK) == 0 ? g_steal_pointer(&full) : NULL;
}

char *vmdk_resolve_path(BlockDriverState *bs, const char *path, Error **errp)
{
    const char *base = descriptor_file(bs);
    g_autofree char *full = NULL;
    char *converted = NULL;

    if (!path_is_absolute(path) && !*base) {
        error_setg(errp, "Cannot use relative paths with VMDK descriptor file"
                   " '%s'", bs->file->bs->filename);
        return NULL;
    }
    full = combine(base, path);
    if (access(full, F_OK) < 0 && errno == ENOENT) {
        converted = convert_name(bs->opaque, base, path);
    }
    return converted ? converted : g_steal_pointer(&full);
}

/* Whether the user said himself what child @name is. */
bool vmdk_child_is_given(const QOpts *options, const char *name)
{
    static const char *const keys[] = {
        "", ".filename", ".file", ".file.filename", ".file.driver",
        ".image", ".image.filename", ".image.driver", ".file.image.filename",
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(keys); i++) {
        g_autofree char *key = g_strconcat(name, keys[i], NULL);

        if (qopts_has(options, key)) {
            return true;
        }
    }
    return false;
}

/* --- the parent --- */

/* A hint can also have a protocol, or be a "json:" name. */
char *vmdk_resolve_hint(BlockDriverState *bs, const char *hint,
                        Error **errp)
{
    if (bdrv_filename_has_protocol(hint)) {
        return g_strdup(hint);
    }
    return vmdk_resolve_path(bs, hint, errp);
}

/* "backing": null or "" says that there is to be none. */
static bool backing_is_off(QOpts *options)
{
    const char *value = qopts_get_str(options, "backing");

    if (qopts_is_null(options, "backing") || (value && !*value)) {
        qopts_del(options, "backing");
        return true;
    }
    return false;
}

BlockDriverState *vmdk_parent(BlockDriverState *bs)
{
    BlockDriverState *parent = bs->backing->bs;

    while (parent->drv && parent->drv->is_filter && parent->file) {
        parent = parent->file->bs;
    }
    return parent->drv == &bdrv_vmdk ? parent : NULL;
}

/* The parent that the descriptor names, at @path: nothing but a VMDK. */
static int open_named_parent(BlockDriverState *bs, const char *path,
                             QOpts *options, Error **errp)
{
    if (!g_str_has_prefix(path, "json:")
        && !qopts_has(options, "backing.driver")) {
        qopts_set_str(options, "backing.driver", "vmdk");
    }
    if (!bdrv_open_child(path, options, "backing", bs, BDRV_CHILD_COW, false,
                         errp)) {
        return -EINVAL;
    }
    if (!vmdk_parent(bs)) {
        error_setg(errp, "'%s' must be a vmdk image, as that over it",
                   bs->backing->bs->filename);
        return -EINVAL;
    }
    return 0;
}

int vmdk_open_backing(BlockDriverState *bs, QOpts *options, int flags,
                      Error **errp)
{
    BDRVVmdkState *s = bs->opaque;
    g_autofree char *path = NULL;
    bool given = vmdk_child_is_given(options, "backing");
    int ret;

    if (s->desc.parent_hint) {
        path = vmdk_resolve_hint(bs, s->desc.parent_hint, errp);
        if (!path) {
            return -EINVAL;
        }
        bs->backing_file = g_strdup(s->desc.parent_hint);
        bs->full_backing_file = g_strdup(path);
        /* The only format that the descriptor provides for. */
        bs->backing_format = g_strdup("vmdk");
    }
    if (backing_is_off(options) || (flags & BDRV_O_NO_BACKING)
        || (!given && !path && s->desc.parent_cid == VMDK_NO_PARENT)) {
        return 0;
    }
    if (given) {
        ret = bdrv_open_child(NULL, options, "backing", bs, BDRV_CHILD_COW,
                              false, errp) ? 0 : -EINVAL;
    } else if (path) {
        ret = open_named_parent(bs, path, options, errp);
    } else {
        /* The parent's data would read as zeroes. */
        error_setg(errp, "'%s' has a parent, parentCID=%08x, but does not"
                   " name it: name it with backing.file.filename=NAME",
                   bs->file->bs->filename, s->desc.parent_cid);
        return -EINVAL;
    }
    if (ret < 0) {
        /* Once is enough, however long the chain. */
        if (!bs->backing_depth) {
            error_prepend(errp, "Could not open backing file: ");
        }
        return -EINVAL;
    }
    return 0;
}
