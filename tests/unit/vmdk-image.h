/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Small VMDK files byte by byte, for tests that damage them.  Header only.
 *
 * A sparse image has 20480 sectors in 160 grains of 64 KiB, one table in two
 * copies, and a descriptor of its own.
 */
#ifndef TESTS_VMDK_IMAGE_H
#define TESTS_VMDK_IMAGE_H

#include "block/vmdk/vmdk.h"
#include "system/block-backend.h"
#include <glib/gstdio.h>

#define GRAIN 65536
#define CAPACITY 20480
#define NB_GRAINS (CAPACITY / 128)
#define RGD_SECTOR 21
#define GD_SECTOR 26
#define FIRST_GRAIN 128
#define RW_FLAGS (BDRV_O_RDWR | BDRV_O_RESIZE)

static char *tmp_dir;

static inline char *tmp_path(const char *name)
{
    return g_build_filename(tmp_dir, name, NULL);
}

static inline void patch(GByteArray *image, size_t offset, uint64_t value,
                         int bytes)
{
    value = GUINT64_TO_LE(value);
    g_assert_cmpint(offset + bytes, <=, image->len);
    memcpy(image->data + offset, &value, bytes);
}

static inline void save(const GByteArray *image, const char *path)
{
    g_assert_true(g_file_set_contents(path, (const char *)image->data,
                                      image->len, NULL));
}

/* Zeroes up to @sector. */
static inline void pad_to(GByteArray *image, size_t sector)
{
    size_t old = image->len;

    g_assert_cmpint(old, <=, sector * 512);
    g_byte_array_set_size(image, sector * 512);
    memset(image->data + old, 0, image->len - old);
}

static inline void put_header(GByteArray *image, int version, uint32_t flags,
                              uint64_t rgd, uint64_t gd, uint64_t overhead)
{
    memcpy(image->data, "KDMV", 4);
    patch(image, 4, version, 4);
    patch(image, 8, flags, 4);
    patch(image, 12, CAPACITY, 8);
    patch(image, 20, 128, 8);
    patch(image, 28, 1, 8);
    patch(image, 36, 20, 8);
    patch(image, 44, 512, 4);
    patch(image, 48, rgd, 8);
    patch(image, 56, gd, 8);
    patch(image, 64, overhead, 8);
    memcpy(image->data + 73, "\n \r\n", 4);
    image->data[77] = (flags & VMDK_FLAG_COMPRESSED) != 0;
}

/* @more: lines of its own, each with its end. */
static inline void put_descriptor(GByteArray *image, const char *type,
                                  uint32_t parent_cid, const char *more)
{
    g_autofree char *text = g_strdup_printf(
        "# Disk DescriptorFile\nversion=1\nCID=1234abcd\nparentCID=%x\n"
        "createType=\"%s\"\n%sRW %d SPARSE \"x.vmdk\"\n", parent_cid, type,
        more, CAPACITY);

    memcpy(image->data + 512, text, strlen(text));
}

/* Set the entry of @grain in both copies of the table. */
static inline void set_grain(GByteArray *image, int grain, uint32_t sector)
{
    patch(image, (RGD_SECTOR + 1) * 512 + grain * 4, sector, 4);
    patch(image, (GD_SECTOR + 1) * 512 + grain * 4, sector, 4);
}

/* An image whose first @count grains have data: @grain + 1 in each byte. */
static inline GByteArray *sparse_image(int count, uint32_t parent_cid,
                                       const char *more)
{
    GByteArray *image = g_byte_array_new();
    int i;

    pad_to(image, FIRST_GRAIN + count * 128);
    put_header(image, 1, 3, RGD_SECTOR, GD_SECTOR, FIRST_GRAIN);
    put_descriptor(image, "monolithicSparse", parent_cid, more);
    patch(image, RGD_SECTOR * 512, RGD_SECTOR + 1, 4);
    patch(image, GD_SECTOR * 512, GD_SECTOR + 1, 4);
    for (i = 0; i < count; i++) {
        uint32_t sector = FIRST_GRAIN + i * 128;

        set_grain(image, i, sector);
        memset(image->data + sector * 512, i + 1, GRAIN);
    }
    return image;
}

static inline BlockBackend *open_vmdk(const char *path, int flags,
                                      Error **errp)
{
    QOpts *opts = qopts_new();

    qopts_set_str(opts, "driver", "vmdk");
    return blk_new_open(path, NULL, opts, flags, errp);
}

/* Opening with @flags fails with @part in the message, which is one line. */
static inline void check_refused(const char *path, int flags,
                                 const char *part)
{
    Error *err = NULL;
    BlockBackend *blk = open_vmdk(path, flags, &err);

    g_assert_null(blk);
    if (!strstr(error_get_pretty(err), part)
        || strchr(error_get_pretty(err), '\n')) {
        g_test_message("'%s' expected in: %s", part, error_get_pretty(err));
        g_test_fail();
    }
    error_free(err);
}

/* The result of reading @grain, which has @pattern if that is 0. */
static inline int read_grain(BlockBackend *blk, int grain, int pattern)
{
    g_autofree uint8_t *buf = g_malloc(GRAIN);
    int ret;

    memset(buf, 0xee, GRAIN);
    ret = blk_pread(blk, (int64_t)grain * GRAIN, GRAIN, buf, 0);
    if (ret == 0) {
        g_assert_cmpint(buf[0], ==, pattern);
        g_assert_cmpint(memcmp(buf, buf + 1, GRAIN - 1), ==, 0);
    }
    return ret;
}

static inline int write_grain(BlockBackend *blk, int grain, int pattern)
{
    g_autofree uint8_t *buf = g_malloc(GRAIN);

    memset(buf, pattern, GRAIN);
    return blk_pwrite(blk, (int64_t)grain * GRAIN, GRAIN, buf, 0);
}

static inline void set_writable(BlockBackend *blk, bool writable)
{
    uint64_t perm = BLK_PERM_CONSISTENT_READ;

    if (writable) {
        bdrv_reopen_set_read_only(blk_bs(blk), false, &error_abort);
        perm |= BLK_PERM_WRITE | BLK_PERM_RESIZE;
    }
    blk_set_perm(blk, perm, BLK_PERM_ALL, &error_abort);
    if (!writable) {
        bdrv_reopen_set_read_only(blk_bs(blk), true, &error_abort);
    }
}

static inline int count_corruptions(BlockBackend *blk, BdrvCheckMode fix)
{
    BdrvCheckResult res;

    g_assert_cmpint(bdrv_check(blk_bs(blk), &res, fix), ==, 0);
    return res.corruptions;
}

static inline void make_tmp_dir(void)
{
    tmp_dir = g_dir_make_tmp("test-vmdk-XXXXXX", NULL);
    g_assert_nonnull(tmp_dir);
}

static inline void remove_tmp_dir(void)
{
    GDir *dir = g_dir_open(tmp_dir, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = tmp_path(name);

        g_unlink(path);
    }
    g_dir_close(dir);
    g_rmdir(tmp_dir);
    g_free(tmp_dir);
}

#endif
