/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Grain tables and their redundant copies.
 *
 * A commit writes the table, then its copy.  A kill in between leaves a copy
 * that is behind: it lacks grains, and only repairs ever read it.  That is no
 * damage.  A table that lacks grains which the copy has is: they were lost,
 * or the writer was one that writes the copy first.  Nothing tells which, so
 * neither is changed: the copy may be all that knows where the data are.
 *
 * A repair changes copies only, never what is on the disk, and not where
 * anything else may be: a directory that lies would have the repair overwrite
 * what is still good.
 */
#include "qemu/osdep.h"
#include "block/vmdk/check.h"
#include "qemu/interrupt.h"

typedef enum VmdkCopy {
    VMDK_COPY_SAME,
    VMDK_COPY_BEHIND,           /* the copy lacks grains */
    VMDK_COPY_AHEAD,            /* the table lacks grains */
    VMDK_COPY_DIFFERS,
} VmdkCopy;

static bool is_zero_grain(const VmdkCheck *c, uint32_t gte)
{
    return gte == VMDK_GTE_ZERO && c->e->has_zero_grain;
}

/* Whether @gte can be the place of @grain, as far as the file tells. */
static bool coroutine_fn is_valid(VmdkCheck *c, uint64_t grain, uint32_t gte)
{
    VmdkExtent *e = c->e;
    bool readable;

    if (is_zero_grain(c, gte)) {
        return true;
    }
    return gte && vmdk_grain_end(e, grain, gte) <= (uint64_t)e->file_bytes
           && vmdk_grain_is_free(e, grain, gte)
           && !vmdk_grain_is_shared(e, gte)
           && (!e->compressed
               || vmdk_stream_load(e, grain, (int64_t)gte << BDRV_SECTOR_BITS,
                                   c->data, &readable) == 0);
}

/* Whether no primary table has a grain there. */
static bool is_unused(const VmdkCheck *c, uint32_t gte)
{
    uint64_t last = c->e->compressed ? gte
                    : gte + (uint64_t)c->e->grain_sectors - 1;

    return !vmdk_test_bit(c->used, vmdk_check_place(c, gte))
           && !vmdk_test_bit(c->used, vmdk_check_place(c, last));
}

/* Compare what the copy says about one grain. */
static VmdkCopy coroutine_fn compare_entry(VmdkCheck *c, uint64_t grain,
                                           uint32_t gte, uint32_t copy)
{
    bool copy_empty = !copy || is_zero_grain(c, copy);

    if (gte == copy) {
        return VMDK_COPY_SAME;
    }
    if (gte && is_valid(c, grain, gte)) {
        return copy_empty ? VMDK_COPY_BEHIND : VMDK_COPY_DIFFERS;
    }
    if (copy && is_valid(c, grain, copy)
        && (copy_empty || is_unused(c, copy))) {
        return VMDK_COPY_AHEAD;
    }
    /* The entry of the table is wrong, which was said. */
    return copy ? VMDK_COPY_DIFFERS : VMDK_COPY_SAME;
}

/* The worst of all entries of table @index, both copies of which were read. */
static VmdkCopy coroutine_fn compare_tables(VmdkCheck *c, uint32_t index)
{
    VmdkExtent *e = c->e;
    VmdkCopy worst = VMDK_COPY_SAME;
    uint32_t i;

    for (i = 0; i < e->gt_entries; i++) {
        uint64_t grain = (uint64_t)index * e->gt_entries + i;

        if (grain * e->grain_bytes >= (uint64_t)e->bytes) {
            break;
        }
        if (c->table[i] != c->redundant[i]) {
            worst = MAX(worst,
                        compare_entry(c, grain, GUINT32_FROM_LE(c->table[i]),
                                      GUINT32_FROM_LE(c->redundant[i])));
        }
    }
    return worst;
}

void coroutine_fn vmdk_check_copies(VmdkCheck *c, uint32_t index)
{
    VmdkExtent *e = c->e;
    uint32_t sector = e->rgd ? e->rgd[index] : 0;
    int ret;

    /* Some writers have one copy, or copies of some tables only. */
    if (!sector || sector == e->gd[index]) {
        return;
    }
    if (!vmdk_table_in_file(e, sector)) {
        c->copies[index] = VMDK_COPY_DIFFERS;
        return;
    }
    ret = vmdk_check_window_read(e, &c->copies_read, sector, c->redundant);
    if (ret < 0) {
        vmdk_check_unreadable(e, c->result,
                              "the redundant copy of grain table", index,
                              sector, ret);
    } else if (memcmp(c->redundant, c->table,
                      e->gt_entries * sizeof(uint32_t))) {
        /* Until all tables were seen, which grains are used is not known. */
        c->copies[index] = VMDK_COPY_DIFFERS;
    }
}

/* --- repair --- */

static bool may_repair(const VmdkCheck *c, uint32_t index, VmdkCopy state)
{
    const VmdkExtent *e = c->e;

    if (!(c->fix & BDRV_FIX_ERRORS)
        && !(state == VMDK_COPY_BEHIND && (c->fix & BDRV_FIX_LEAKS))) {
        return false;
    }
    return state != VMDK_COPY_AHEAD && vmdk_table_in_file(e, e->rgd[index])
           && vmdk_check_may_write(c, e->rgd[index]);
}

/* Write the table, which is in c->table, over its copy. */
static bool coroutine_fn write_copy(VmdkCheck *c, uint32_t index)
{
    const VmdkExtent *e = c->e;
    int ret = bdrv_co_pwrite(e->file,
                             (int64_t)e->rgd[index] << BDRV_SECTOR_BITS,
                             e->gt_entries * sizeof(uint32_t), c->table, 0);

    if (ret < 0) {
        fprintf(stderr, "ERROR: could not repair grain table %u: %s\n", index,
                strerror(-ret));
        c->result->check_errors++;
    }
    return ret == 0;
}

static void coroutine_fn repair_table(VmdkCheck *c, uint32_t index,
                                      VmdkCopy state)
{
    bool repair = may_repair(c, index, state);

    fprintf(stderr, "%s: grain table %u %s\n",
            repair ? "Repairing" : "ERROR", index,
            state == VMDK_COPY_AHEAD
            ? "lacks clusters that its redundant copy has"
            : "differs from its redundant copy");
    c->result->corruptions++;
    if (repair && write_copy(c, index)) {
        c->result->corruptions--;
        c->result->corruptions_fixed++;
    }
}

static VmdkCopy coroutine_fn read_both(VmdkCheck *c, uint32_t index)
{
    uint32_t sector = c->e->rgd[index];

    if (!vmdk_check_read_table(c, index)) {
        return VMDK_COPY_SAME;
    }
    if (!vmdk_table_in_file(c->e, sector)) {
        return VMDK_COPY_DIFFERS;
    }
    if (vmdk_table_read(c->e, sector, c->redundant) < 0) {
        c->result->check_errors++;
        return VMDK_COPY_SAME;
    }
    return compare_tables(c, index);
}

int coroutine_fn vmdk_check_repair_copies(VmdkCheck *c)
{
    uint32_t behind = 0;
    uint32_t repaired = 0;
    uint32_t i;

    /* Between two tables the image is as sound as it was, or better. */
    for (i = 0; i < c->e->gd_entries && !qemu_interrupted(); i++) {
        VmdkCopy state = c->copies[i] ? read_both(c, i) : VMDK_COPY_SAME;

        if (state == VMDK_COPY_BEHIND) {
            behind++;
            if (may_repair(c, i, state)) {
                repaired += write_copy(c, i);
            }
        } else if (state != VMDK_COPY_SAME) {
            repair_table(c, i, state);
        }
    }
    if (behind > repaired) {
        fprintf(stderr, "The redundant copies of %u grain tables are behind"
                " the tables, which does no harm: 'qemu-img check -r all'"
                " brings them up to date\n", behind - repaired);
    }
    if (repaired) {
        fprintf(stderr, "Repaired: the redundant copies of %u grain tables"
                " were behind the tables\n", repaired);
    }
    return qemu_interrupted() ? -EINTR : 0;
}
