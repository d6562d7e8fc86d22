/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guessing the format of an image from its first bytes.
 *
 * Formats that this version has no driver for are known by sight, so that
 * such an image is not taken for raw, and destroyed by the first write.
 */
#include "qemu/osdep.h"
#include "block-io.h"
#include "block-open.h"

#define BLOCK_PROBE_BUF_SIZE 512

/* Text that an image has at an offset. */
typedef struct {
    size_t offset;
    size_t len;
    const char *text;
} Magic;

#define MAGIC(offset, text) { offset, sizeof(text) - 1, text }

/* A format is known by up to three of them. */
static const struct {
    const char *name;
    Magic magic[3];
} foreign_formats[] = {
    { "qcow", { MAGIC(0, "QFI\xfb\0\0\0\1") } },
    /* Version 2 and all that may come. */
    { "qcow2", { MAGIC(0, "QFI\xfb") } },
    { "qed", { MAGIC(0, "QED\0") } },
    { "vdi", { MAGIC(0x40, "\x7f\x10\xda\xbe") } },
    { "vpc", { MAGIC(0, "conectix") } },
    { "vhdx", { MAGIC(0, "vhdxfile") } },
    { "luks", { MAGIC(0, "LUKS\xba\xbe\0\1") } },
    { "parallels", { MAGIC(0, "WithoutFreeSpace"), MAGIC(16, "\2\0\0\0") } },
    { "parallels", { MAGIC(0, "WithouFreSpacExt"), MAGIC(16, "\2\0\0\0") } },
    { "bochs", { MAGIC(0, "Bochs Virtual HD Image\0"),
                 MAGIC(32, "Redolog\0"), MAGIC(48, "Growing\0") } },
    { "cloop", { MAGIC(0, "#!/bin/sh\n#V2.0 Format\n") } },
};

static bool magic_matches(const Magic *m, const uint8_t *buf, size_t size)
{
    return m->offset + m->len <= size &&
           !memcmp(buf + m->offset, m->text, m->len);
}

const char *bdrv_probe_foreign(const uint8_t *buf, int buf_size,
                               const char *filename)
{
    size_t i, k;

    for (i = 0; i < ARRAY_SIZE(foreign_formats); i++) {
        const Magic *m = foreign_formats[i].magic;

        for (k = 0; k < ARRAY_SIZE(foreign_formats[i].magic); k++) {
            /* Those that are not used have no text, and match. */
            if (m[k].text && !magic_matches(&m[k], buf, buf_size)) {
                break;
            }
        }
        if (k == ARRAY_SIZE(foreign_formats[i].magic)) {
            return foreign_formats[i].name;
        }
    }
    /* The signature of this one is at the end; its name has to do. */
    return filename && g_str_has_suffix(filename, ".dmg") ? "dmg" : NULL;
}

/* Reads past the end give zeroes. */
static int probe_read(BlockDriverState *file, uint8_t *buf, Error **errp)
{
    BdrvChild child = {
        .bs = file,
        .perm = BLK_PERM_CONSISTENT_READ,
        .shared_perm = BLK_PERM_ALL,
    };
    int n = MIN(bdrv_getlength(file), (int64_t)BLOCK_PROBE_BUF_SIZE);
    int ret;

    if (n <= 0) {
        return 0;
    }
    ret = bdrv_pread(&child, 0, n, buf, 0);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not read image for "
                         "determining its format");
        return ret;
    }
    return n;
}

BlockDriver *bdrv_guess_format(BlockDriverState *bs, BlockDriverState *file,
                               const char *filename, Error **errp)
{
    uint8_t buf[BLOCK_PROBE_BUF_SIZE];
    int n = probe_read(file, buf, errp);
    const char *foreign;
    BlockDriver *drv;

    if (n < 0) {
        return NULL;
    }
    drv = bdrv_probe_all(buf, n, filename);
    if (!drv) {
        error_setg(errp, "Could not determine image format: No compatible "
                   "driver found");
        return NULL;
    }
    foreign = bdrv_probe_foreign(buf, n, filename);
    if (foreign && !strcmp(drv->format_name, "raw")) {
        error_setg(errp, "The image looks like %s, which this version cannot "
                   "open; -f raw opens it as raw data", foreign);
        return NULL;
    }
    bs->probed = true;
    return drv;
}

void bdrv_warn_probed_raw(BlockDriverState *bs, const char *filename)
{
    if (!bs->probed || strcmp(bs->drv->format_name, "raw") ||
        bdrv_is_read_only(bs)) {
        return;
    }
    error_printf("WARNING: Image format was not specified for '%s' and "
                 "probing guessed raw.\n"
                 "         Automatically detecting the format is dangerous "
                 "for raw images, write operations on block 0 will be "
                 "restricted.\n"
                 "         Specify the 'raw' format explicitly to remove the "
                 "restrictions.\n",
                 filename ? filename : bs->file->bs->filename);
}
