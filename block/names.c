/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names of the block layer's enumerations, and the modes of -t, -i, -d.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"

int bdrv_parse_cache_mode(const char *mode, int *flags, bool *writethrough)
{
    static const struct {
        const char *name;
        int flags;
        bool writethrough;
    } modes[] = {
        { "off", BDRV_O_NOCACHE, false },
        { "none", BDRV_O_NOCACHE, false },
        { "directsync", BDRV_O_NOCACHE, true },
        { "writeback", 0, false },
        { "unsafe", BDRV_O_NO_FLUSH, false },
        { "writethrough", 0, true },
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(modes); i++) {
        if (!strcmp(mode, modes[i].name)) {
            *flags = (*flags & ~BDRV_O_CACHE_MASK) | modes[i].flags;
            *writethrough = modes[i].writethrough;
            return 0;
        }
    }
    return -1;
}

int bdrv_parse_aio(const char *mode, int *flags)
{
    int bits;

    if (!strcmp(mode, "threads")) {
        bits = 0;
    } else if (!strcmp(mode, "native")) {
        bits = BDRV_O_NATIVE_AIO;
    } else if (!strcmp(mode, "io_uring")) {
        bits = BDRV_O_IO_URING;
    } else {
        return -1;
    }
    *flags = (*flags & ~(BDRV_O_NATIVE_AIO | BDRV_O_IO_URING)) | bits;
    return 0;
}

int bdrv_parse_discard_flags(const char *mode, int *flags)
{
    if (!strcmp(mode, "off") || !strcmp(mode, "ignore")) {
        *flags &= ~BDRV_O_UNMAP;
    } else if (!strcmp(mode, "on") || !strcmp(mode, "unmap")) {
        *flags |= BDRV_O_UNMAP;
    } else {
        return -1;
    }
    return 0;
}
