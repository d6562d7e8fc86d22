/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "qemu-img check -r all": grains behind the end of the file, and the end of a
 * stream that is lost.
 *
 * A writer that lost power before the file had its new length leaves them, and
 * so does a copy of the file that was ended too early.  The data are not
 * there; the entry that points to them is a danger, since the next grain goes
 * to that place.  It is cleared: then the guest sees what it had there before,
 * zeroes or what the backing file has.  But where the redundant copy leads to
 * another place, which is in the file, the entry is only wrong: both stay.  A
 * grain that is in the file in part keeps that part: the file becomes longer.
 *
 * A finished stream is cut by a transfer, or gets grains behind its end from a
 * writer that does not know that end.  All grains of the tables in front stay;
 * the end is written behind them.
 */
#include "qemu/osdep.h"
#include "block/vmdk/check.h"
#include "qemu/interrupt.h"

static bool is_behind(const VmdkExtent *e, uint32_t gte)
{
    return gte >= e->file_bytes >> BDRV_SECTOR_BITS;
}

static void fixed(VmdkCheck *c)
{
    c->result->corruptions--;
    c->result->corruptions_fixed++;
}

/* Of the grain in @n of table @index. */
static int64_t disk_sector(const VmdkCheck *c, uint32_t index, uint32_t n)
{
    uint64_t grain = (uint64_t)index * c->e->gt_entries + n;

    return (c->e->start >> BDRV_SECTOR_BITS) + grain * c->e->grain_sectors;
}

/* The last grains of the file: it has to reach up to @end. */
static void coroutine_fn complete_file(VmdkCheck *c, uint64_t end, int count)
{
    VmdkExtent *e = c->e;
    int ret = bdrv_co_truncate(e->file, end, false, PREALLOC_MODE_OFF, 0,
                               NULL);

    if (ret == 0) {
        ret = bdrv_co_flush(e->file->bs);
    }
    if (ret < 0) {
        fprintf(stderr, "ERROR: could not make '%s' longer: %s\n",
                e->file->bs->filename, strerror(-ret));
        c->result->check_errors++;
        return;
    }
    fprintf(stderr, "Repairing: '%s' is %" PRIu64 " bytes long now\n",
            e->file->bs->filename, end);
    while (count--) {
        fixed(c);
    }
    e->file_bytes = end;
    e->next_sector = MAX(e->next_sector, end >> BDRV_SECTOR_BITS);
}

/* Whether the copy, in c->redundant, may know where the grain is. */
static bool copy_has(const VmdkCheck *c, uint32_t index, uint32_t n)
{
    uint32_t copy = GUINT32_FROM_LE(c->redundant[n]);

    return vmdk_check_is_grain(c, index, n, copy) && !is_behind(c->e, copy);
}

/* Without a copy that can be read it has nothing. */
static void coroutine_fn read_copy(VmdkCheck *c, uint32_t index)
{
    VmdkExtent *e = c->e;
    uint32_t sector = e->rgd ? e->rgd[index] : 0;

    if (!sector || !vmdk_table_in_file(e, sector)
        || vmdk_table_read(e, sector, c->redundant) < 0) {
        memset(c->redundant, 0, e->gt_entries * sizeof(uint32_t));
    }
}

/* Clear what is behind the end in c->table; how many entries that are. */
static int clear_entries(VmdkCheck *c, uint32_t index)
{
    int cleared = 0;
    uint32_t i;

    for (i = 0; i < c->e->gt_entries; i++) {
        uint32_t gte = GUINT32_FROM_LE(c->table[i]);

        if (vmdk_check_is_grain(c, index, i, gte) && is_behind(c->e, gte)
            && !copy_has(c, index, i)) {
            fprintf(stderr, "Repairing: cluster offset for sector %" PRId64
                    " is cleared\n", disk_sector(c, index, i));
            c->table[i] = 0;
            cleared++;
        }
    }
    return cleared;
}

static void coroutine_fn repair_table(VmdkCheck *c, uint32_t index)
{
    VmdkExtent *e = c->e;
    int cleared;
    int ret;

    if (!vmdk_check_may_write(c, e->gd[index])
        || !vmdk_check_read_table(c, index)) {
        return;
    }
    read_copy(c, index);
    cleared = clear_entries(c, index);
    if (!cleared) {
        return;
    }
    ret = bdrv_co_pwrite(e->file, (int64_t)e->gd[index] << BDRV_SECTOR_BITS,
                         e->gt_entries * sizeof(uint32_t), c->table, 0);
    /* The window, which was read ahead, has the old table. */
    c->tables.end = 0;
    if (ret < 0) {
        fprintf(stderr, "ERROR: could not repair grain table %u: %s\n", index,
                strerror(-ret));
        c->result->check_errors++;
        return;
    }
    while (cleared--) {
        fixed(c);
    }
    /* The redundant copy has the same entries. */
    c->copies[index] = e->rgd && e->rgd[index] ? 1 : c->copies[index];
}

/* Where the grains of table @index that are cut by the end should end. */
static void find_cut(VmdkCheck *c, uint32_t index, uint64_t *end, int *count)
{
    VmdkExtent *e = c->e;
    uint32_t i;

    for (i = 0; i < e->gt_entries; i++) {
        uint32_t gte = GUINT32_FROM_LE(c->table[i]);
        uint64_t grain = (uint64_t)index * e->gt_entries + i;

        if (vmdk_check_is_grain(c, index, i, gte) && !is_behind(e, gte)
            && vmdk_grain_is_free(e, grain, gte)
            && vmdk_grain_end(e, grain, gte) > (uint64_t)e->file_bytes) {
            *end = MAX(*end, vmdk_grain_end(e, grain, gte));
            (*count)++;
        }
    }
}

void coroutine_fn vmdk_check_repair_eof(VmdkCheck *c)
{
    VmdkExtent *e = c->e;
    uint64_t end = 0;
    int count = 0;
    uint32_t i;

    if (!(c->fix & BDRV_FIX_ERRORS) || e->compressed) {
        return;
    }
    /* First what is behind the end: it would be inside of a longer file. */
    for (i = 0; i < e->gd_entries && !qemu_interrupted(); i++) {
        if (c->behind_eof[i]) {
            repair_table(c, i);
        }
    }
    for (i = 0; i < e->gd_entries && !qemu_interrupted(); i++) {
        if (c->behind_eof[i] && vmdk_check_read_table(c, i)) {
            find_cut(c, i, &end, &count);
        }
    }
    if (count && !qemu_interrupted()) {
        complete_file(c, end, count);
    }
    /* Look again. */
    e->scanned = false;
}

void coroutine_fn vmdk_check_footer(VmdkCheck *c)
{
    VmdkExtent *e = c->e;
    /* The place of a grain that is damaged may be where the end would go. */
    bool whole = !c->result->corruptions && !c->result->check_errors;
    int ret;

    if (!e->lost_footer) {
        return;
    }
    fprintf(stderr, "ERROR: the end of the stream is missing, or damaged\n");
    c->result->corruptions++;
    if (!(c->fix & BDRV_FIX_ERRORS) || !whole || vmdk_scan(e) < 0
        || e->damage) {
        return;
    }
    ret = vmdk_footer_restore_locked(e);
    if (ret < 0) {
        fprintf(stderr, "ERROR: could not write the end of the stream: %s\n",
                strerror(-ret));
        c->result->check_errors++;
        return;
    }
    fprintf(stderr, "Repairing: the end of the stream is written\n");
    fixed(c);
}
