/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file that is no VMDK image, but belongs to one: what to open instead.
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"
#include "qemu/cutils.h"

/* "-flat", "-s001", ... at the end of @stem; its length, or 0. */
static size_t part_suffix(const char *stem)
{
    static const char *const suffixes[] = {
        "-flat", "-delta", "-ctk", "-sesparse", "-rdm", "-rdmp",
    };
    size_t len = strlen(stem);
    const char *p = stem + len;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(suffixes); i++) {
        if (g_str_has_suffix(stem, suffixes[i])) {
            return strlen(suffixes[i]);
        }
    }
    while (p > stem && g_ascii_isdigit(p[-1])) {
        p--;
    }
    if (*p && p - stem > 2 && (p[-1] == 's' || p[-1] == 'f')
        && p[-2] == '-') {
        return strlen(p) + 2;
    }
    return 0;
}

char *vmdk_find_descriptor(BlockDriverState *bs)
{
    const char *name = bs->file->bs->exact_filename;
    const char *ext = strrchr(name, '.');
    g_autofree char *stem = NULL;
    g_autofree char *path = NULL;
    size_t suffix;

    if (path_has_protocol(name) || !ext || strchr(ext, '/')) {
        return NULL;
    }
    stem = g_strndup(name, ext - name);
    suffix = part_suffix(stem);
    if (!suffix) {
        return NULL;
    }
    stem[strlen(stem) - suffix] = 0;
    path = g_strconcat(stem, ext, NULL);
    return access(path, F_OK) == 0 ? g_steal_pointer(&path) : NULL;
}

void vmdk_no_descriptor(BlockDriverState *bs, Error **errp)
{
    g_autofree char *descriptor = vmdk_find_descriptor(bs);

    error_setg(errp, "'%s' is an extent without a VMDK descriptor: open"
               " %s%s%s", bs->file->bs->filename,
               descriptor ? "'" : "the file that has the descriptor",
               descriptor ? descriptor : "", descriptor ? "'" : "");
}

/* The kind of content of @buf, in words; NULL if it is not known. */
static const char *content_hint(const char *buf, size_t size)
{
    uint64_t magic = 0;

    memcpy(&magic, buf, MIN(size, sizeof(magic)));
    if (GUINT64_FROM_LE(magic) == VMDK_SESPARSE_MAGIC) {
        return "it is an extent of the type SESPARSE: open the descriptor"
               " that names it";
    }
    if (size >= 263 && !memcmp(buf + 257, "ustar", 5)) {
        return "it is an archive, as OVA files are: unpack the disk";
    }
    if (g_strstr_len(buf, size, "<Envelope")
        || g_strstr_len(buf, size, ":Envelope")) {
        return "it is an OVF file: open the disk that it names";
    }
    if (g_strstr_len(buf, size, "config.version")) {
        return "it is the configuration of a virtual machine: open the disk"
               " that it names";
    }
    return NULL;
}

void vmdk_not_vmdk(BlockDriverState *bs, const char *buf, size_t size,
                   Error **errp)
{
    const char *name = bs->file->bs->filename;
    g_autofree char *descriptor = vmdk_find_descriptor(bs);
    const char *hint = content_hint(buf, size);

    if (descriptor) {
        error_setg(errp, "Image not in VMDK format: '%s': it is a part of"
                   " '%s', open that (or, for its data alone, use the format"
                   " raw)", name, descriptor);
    } else {
        error_setg(errp, "Image not in VMDK format: '%s'%s%s", name,
                   hint ? ": " : "", hint ? hint : "");
    }
}
