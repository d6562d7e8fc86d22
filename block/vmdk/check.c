/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "qemu-img check" for VMDK: every grain lies in the file, behind the
 * metadata, and is used once; both copies of the grain tables are the same.
 *
 * A kill between the two writes of a commit leaves a redundant table behind
 * its primary one; -r all copies the primary one over it.
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"

typedef struct VmdkCheck {
    BlockDriverState *bs;
    VmdkExtent *e;
    BdrvCheckResult *result;
    BdrvCheckMode fix;
    uint64_t file_sectors;
    uint32_t *table;
    uint32_t *redundant;
    unsigned long *seen;        /* a bit for each grain-sized part of the
                                   file; NULL: compressed */
    uint64_t seen_bits;
} VmdkCheck;

#define BITS_PER_WORD (8 * sizeof(unsigned long))

static void corrupt(VmdkCheck *c)
{
    c->result->corruptions++;
}

/* True if this part of the file was seen before. */
static bool test_and_mark(VmdkCheck *c, uint32_t gte)
{
    uint64_t bit = gte / c->e->grain_sectors;
    unsigned long mask = 1UL << (bit % BITS_PER_WORD);
    bool old;

    if (!c->seen || bit >= c->seen_bits) {
        return false;
    }
    old = c->seen[bit / BITS_PER_WORD] & mask;
    c->seen[bit / BITS_PER_WORD] |= mask;
    return old;
}

static void check_grain(VmdkCheck *c, uint64_t grain, uint32_t gte)
{
    int64_t sector = (c->e->start >> BDRV_SECTOR_BITS)
                     + grain * c->e->grain_sectors;

    if (!gte || (gte == VMDK_GTE_ZERO && c->e->has_zero_grain)) {
        return;
    }
    if (gte >= c->file_sectors) {
        fprintf(stderr, "ERROR: cluster offset for sector %" PRId64
                " points after EOF\n", sector);
        corrupt(c);
    } else if (gte < c->e->min_grain) {
        fprintf(stderr, "ERROR: cluster offset for sector %" PRId64
                " points into the metadata\n", sector);
        corrupt(c);
    } else if (test_and_mark(c, gte)) {
        fprintf(stderr, "ERROR: cluster of sector %" PRId64
                " is used twice\n", sector);
        corrupt(c);
    }
}

/* A table that cannot be read need not be damaged, if it is in the file. */
static void unreadable(VmdkCheck *c, const char *what, uint32_t index,
                       uint32_t sector, int error)
{
    fprintf(stderr, "ERROR: could not read %s %u: %s\n", what, index,
            strerror(-error));
    if (vmdk_table_in_file(c->e, sector)) {
        c->result->check_errors++;
    } else {
        corrupt(c);
    }
}

static void coroutine_fn check_redundant(VmdkCheck *c, uint32_t index)
{
    VmdkExtent *e = c->e;
    size_t bytes = e->gt_entries * sizeof(uint32_t);
    int ret;

    if (!e->rgd || e->rgd[index] == e->gd[index]) {
        return;
    }
    ret = -ENOENT;
    if (e->rgd[index] && vmdk_table_in_file(e, e->rgd[index])) {
        ret = vmdk_table_read(e, e->rgd[index], c->redundant);
        if (ret < 0) {
            unreadable(c, "the redundant copy of grain table", index,
                       e->rgd[index], ret);
            return;
        }
    }
    if (ret == 0 && !memcmp(c->redundant, c->table, bytes)) {
        return;
    }
    fprintf(stderr, "%s: grain table %u differs from its redundant copy\n",
            c->fix & BDRV_FIX_ERRORS && ret == 0 ? "Repairing" : "ERROR",
            index);
    corrupt(c);
    if (!(c->fix & BDRV_FIX_ERRORS) || ret < 0) {
        return;
    }
    ret = bdrv_co_pwrite(e->file,
                         (int64_t)e->rgd[index] << BDRV_SECTOR_BITS, bytes,
                         c->table, 0);
    if (ret < 0) {
        c->result->check_errors++;
    } else {
        c->result->corruptions--;
        c->result->corruptions_fixed++;
    }
}

static void coroutine_fn check_table(VmdkCheck *c, uint32_t index)
{
    VmdkExtent *e = c->e;
    uint64_t first = (uint64_t)index * e->gt_entries;
    uint32_t i;
    int ret;

    if (!e->gd[index]) {
        return;
    }
    ret = vmdk_table_read(e, e->gd[index], c->table);
    if (ret < 0) {
        unreadable(c, "grain table", index, e->gd[index], ret);
        return;
    }
    for (i = 0; i < e->gt_entries; i++) {
        if ((first + i) * e->grain_bytes >= (uint64_t)e->bytes) {
            break;
        }
        check_grain(c, first + i, GUINT32_FROM_LE(c->table[i]));
    }
    check_redundant(c, index);
}

static int coroutine_fn check_extent(VmdkCheck *c)
{
    VmdkExtent *e = c->e;
    size_t bytes = e->gt_entries * sizeof(uint32_t);
    int64_t length = bdrv_co_getlength(e->file->bs);
    int ret = -ENOMEM;
    uint32_t i;

    if (length < 0) {
        return length;
    }
    c->file_sectors = DIV_ROUND_UP(length, BDRV_SECTOR_SIZE);
    c->seen_bits = DIV_ROUND_UP(c->file_sectors, e->grain_sectors);
    c->seen = NULL;
    c->table = g_try_malloc(bytes);
    c->redundant = g_try_malloc(bytes);
    if (!e->compressed) {
        c->seen = g_try_malloc0(DIV_ROUND_UP(c->seen_bits, 8)
                                + sizeof(unsigned long));
    }
    if (c->table && c->redundant && (c->seen || e->compressed)) {
        for (i = 0; i < e->gd_entries; i++) {
            check_table(c, i);
        }
        ret = 0;
    }
    g_free(c->table);
    g_free(c->redundant);
    g_free(c->seen);
    return ret;
}

int coroutine_fn vmdk_co_check(BlockDriverState *bs, BdrvCheckResult *result,
                               BdrvCheckMode fix)
{
    BDRVVmdkState *s = bs->opaque;
    int ret = 0;
    int i;

    for (i = 0; ret == 0 && i < s->nb_extents; i++) {
        VmdkCheck c = {
            .bs = bs,
            .e = &s->extents[i],
            .result = result,
            .fix = fix,
        };

        if (c.e->file && vmdk_extent_is_sparse(c.e)) {
            qemu_co_mutex_lock(&c.e->lock);
            ret = check_extent(&c);
            qemu_co_mutex_unlock(&c.e->lock);
        }
    }
    return ret;
}
