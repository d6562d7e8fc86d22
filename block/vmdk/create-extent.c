/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Creating the files of a VMDK image: see create.c for their layout.
 */
#include "qemu/osdep.h"
#include "block/vmdk/create.h"
#include "qemu/cutils.h"
#include "system/block-backend.h"

#define GRAIN_SECTORS 128
#define GTES 512
#define GT_SECTORS (GTES * sizeof(uint32_t) / BDRV_SECTOR_SIZE)
#define DESC_OFFSET 1
#define DESC_SECTORS 20
/* Directories are written in pieces of this many entries. */
#define GD_CHUNK 65536

/* All in sectors, but for the number of tables. */
typedef struct Layout {
    uint64_t tables;
    uint64_t gd_sectors;
    uint64_t rgd_offset;
    uint64_t gd_offset;
    uint64_t grain_offset;
} Layout;

static bool make_layout(Layout *l, uint64_t sectors, Error **errp)
{
    uint64_t copy;

    l->tables = DIV_ROUND_UP(sectors, (uint64_t)GRAIN_SECTORS * GTES);
    l->gd_sectors = DIV_ROUND_UP(l->tables * sizeof(uint32_t),
                                 BDRV_SECTOR_SIZE);
    copy = l->gd_sectors + l->tables * GT_SECTORS;
    l->rgd_offset = DESC_OFFSET + DESC_SECTORS;
    l->gd_offset = l->rgd_offset + copy;
    l->grain_offset = ROUND_UP(l->gd_offset + copy, (uint64_t)GRAIN_SECTORS);
    if (l->tables > VMDK_MAX_GD_ENTRIES) {
        error_setg(errp, "Image size is too big: %" PRIu64 " sectors",
                   sectors);
        return false;
    }
    return true;
}

/* The file that @path names; NULL if that is something else. */
static const char *local_file(const char *path)
{
    if (g_str_has_prefix(path, "file:")) {
        return path + strlen("file:");
    }
    return path_has_protocol(path) ? NULL : path;
}

/* A new file of zeroes, open for writing; NULL with @errp set. */
static BlockBackend *create_named(const VmdkCreate *c, const char *path,
                                  int64_t bytes, Error **errp)
{
    QOpts *opts = qopts_dup(c->file_opts);
    const char *local = local_file(path);
    BlockBackend *blk;
    int ret;

    qopts_set_int(opts, "size", bytes);
    if (local && access(local, F_OK) < 0 && errno == ENOENT) {
        g_ptr_array_add(c->made, g_strdup(local));
    }
    ret = bdrv_create_file(path, opts, errp);
    if (ret < 0) {
        return NULL;
    }
    blk = blk_new_open(path, NULL, NULL,
                       BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_PROTOCOL, errp);
    if (blk) {
        /* A transaction creates images while it has drained all nodes. */
        blk_set_disable_request_queuing(blk, true);
    }
    return blk;
}

/*
 * A node that takes a file, empty; one that cannot be empty, such as a device,
 * stays as long as it is.
 */
static BlockBackend *empty_node(BlockDriverState *bs, int64_t bytes,
                                Error **errp)
{
    uint64_t perm = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE
                    | BLK_PERM_RESIZE;
    BlockBackend *blk = blk_new(bdrv_get_aio_context(bs), perm, BLK_PERM_ALL);
    int ret = blk_insert_bs(blk, bs, errp);

    if (ret == 0) {
        ret = blk_truncate(blk, 0, false, PREALLOC_MODE_OFF, 0, errp);
    }
    if (ret == 0) {
        ret = blk_truncate(blk, bytes, false, PREALLOC_MODE_OFF, 0, errp);
    }
    if (ret < 0) {
        blk_unref(blk);
        return NULL;
    }
    return blk;
}

static BlockBackend *create_file(const VmdkCreate *c, unsigned index,
                                 const char *path, int64_t bytes,
                                 Error **errp)
{
    return c->nodes ? empty_node(g_ptr_array_index(c->nodes, index), bytes,
                                 errp)
                    : create_named(c, path, bytes, errp);
}

static int write_at(BlockBackend *blk, const char *path, int64_t offset,
                    int64_t bytes, const void *buf, Error **errp)
{
    int ret = blk_pwrite(blk, offset, bytes, buf, 0);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not write '%s'", path);
    }
    return ret;
}

/*
 * Close what was made, if @ret is 0: then it is on disk.  Else it is made
 * empty, so that nothing takes it for an image: it cannot be removed if it was
 * there before.  Returns what became of it.
 */
static int finish_file(BlockBackend *blk, const char *path, int ret,
                       Error **errp)
{
    if (ret == 0) {
        ret = blk_flush(blk);
        if (ret < 0) {
            error_setg_errno(errp, -ret, "Could not flush '%s'", path);
        }
    }
    if (ret < 0) {
        blk_truncate(blk, 0, false, PREALLOC_MODE_OFF, 0, NULL);
    }
    blk_unref(blk);
    return ret;
}

int vmdk_create_flat(const VmdkCreate *c, unsigned index, const char *path,
                     uint64_t sectors, Error **errp)
{
    /* At once, so that the protocol does what it does for raw images. */
    BlockBackend *blk = create_file(c, index, path,
                                    sectors << BDRV_SECTOR_BITS, errp);

    return blk ? finish_file(blk, path, 0, errp) : -EIO;
}

int vmdk_create_text(const VmdkCreate *c, const char *path, const char *text,
                     Error **errp)
{
    BlockBackend *blk = create_file(c, 0, path, 0, errp);
    int ret;

    if (!blk) {
        return -EIO;
    }
    ret = blk_truncate(blk, strlen(text), false, PREALLOC_MODE_OFF, 0, errp);
    if (ret == 0) {
        ret = write_at(blk, path, 0, strlen(text), text, errp);
    }
    return finish_file(blk, path, ret, errp);
}

static void put32(uint8_t *p, uint32_t value)
{
    value = GUINT32_TO_LE(value);
    memcpy(p, &value, sizeof(value));
}

static void put64(uint8_t *p, uint64_t value)
{
    value = GUINT64_TO_LE(value);
    memcpy(p, &value, sizeof(value));
}

/* "Hosted Sparse Extent Header" of the VMDK 5.0 specification. */
static int write_header(const VmdkCreate *c, BlockBackend *blk,
                        const char *path, uint64_t sectors, const Layout *l,
                        Error **errp)
{
    uint8_t raw[512] = { 0 };
    uint32_t flags = VMDK_FLAG_NEWLINE_TEST | VMDK_FLAG_RGD;

    if (c->compressed) {
        flags |= VMDK_FLAG_COMPRESSED | VMDK_FLAG_MARKERS;
    }
    if (c->zeroed_grain) {
        flags |= VMDK_FLAG_ZERO_GRAIN;
    }
    put32(raw, VMDK_KDMV_MAGIC);
    put32(raw + 4, c->compressed ? 3 : c->zeroed_grain ? 2 : 1);
    put32(raw + 8, flags);
    put64(raw + 12, sectors);
    put64(raw + 20, GRAIN_SECTORS);
    put64(raw + 28, DESC_OFFSET);
    put64(raw + 36, DESC_SECTORS);
    put32(raw + 44, GTES);
    put64(raw + 48, l->rgd_offset);
    put64(raw + 56, l->gd_offset);
    put64(raw + 64, l->grain_offset);
    memcpy(raw + 73, "\n \r\n", 4);
    raw[77] = c->compressed ? VMDK_COMPRESSION_DEFLATE : 0;
    return write_at(blk, path, 0, sizeof(raw), raw, errp);
}

/* A directory whose tables follow it; the file has zeroes for them. */
static int write_directory(BlockBackend *blk, const char *path,
                           uint64_t offset, const Layout *l, Error **errp)
{
    g_autofree uint32_t *gd = g_new0(uint32_t, GD_CHUNK);
    uint64_t table = offset + l->gd_sectors;
    uint64_t done = 0;
    int ret = 0;

    while (ret == 0 && done < l->tables) {
        uint64_t count = MIN(l->tables - done, GD_CHUNK);
        uint64_t bytes = ROUND_UP(count * sizeof(*gd), BDRV_SECTOR_SIZE);
        uint64_t i;

        memset(gd, 0, GD_CHUNK * sizeof(*gd));
        for (i = 0; i < count; i++) {
            gd[i] = GUINT32_TO_LE(table + (done + i) * GT_SECTORS);
        }
        ret = write_at(blk, path, (offset << BDRV_SECTOR_BITS)
                                  + done * sizeof(*gd), bytes, gd, errp);
        done += count;
    }
    return ret;
}

static int write_extent(const VmdkCreate *c, BlockBackend *blk,
                        const char *path, uint64_t sectors, const char *text,
                        Error **errp)
{
    Layout l;
    int64_t bytes, old;
    int ret;

    if (!make_layout(&l, sectors, errp)) {
        return -EFBIG;
    }
    if (text && strlen(text) > DESC_SECTORS << BDRV_SECTOR_BITS) {
        error_setg(errp, "The VMDK descriptor of '%s' is too long", path);
        return -EINVAL;
    }
    /* The end marker of a stream without grains is a sector of zeroes. */
    bytes = (l.grain_offset + c->compressed) << BDRV_SECTOR_BITS;
    old = blk_getlength(blk);
    ret = blk_truncate(blk, bytes, false, PREALLOC_MODE_OFF, 0, errp);
    if (ret == 0 && old > 0) {
        /* A device still has what it had. */
        ret = blk_pwrite_zeroes(blk, 0, bytes, 0);
        if (ret < 0) {
            error_setg_errno(errp, -ret, "Could not write '%s'", path);
        }
    }
    if (ret == 0) {
        ret = write_header(c, blk, path, sectors, &l, errp);
    }
    if (ret == 0) {
        ret = write_directory(blk, path, l.rgd_offset, &l, errp);
    }
    if (ret == 0) {
        ret = write_directory(blk, path, l.gd_offset, &l, errp);
    }
    if (ret == 0 && text) {
        ret = write_at(blk, path, DESC_OFFSET << BDRV_SECTOR_BITS,
                       strlen(text), text, errp);
    }
    return ret;
}

int vmdk_create_sparse(const VmdkCreate *c, unsigned index, const char *path,
                       uint64_t sectors, const char *text, Error **errp)
{
    BlockBackend *blk = create_file(c, index, path, 0, errp);
    int ret;

    if (!blk) {
        return -EIO;
    }
    ret = write_extent(c, blk, path, sectors, text, errp);
    return finish_file(blk, path, ret, errp);
}
