/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Redundant copies of grain tables, written behind.
 *
 * A copy is written when its table has been flushed, with the next flush or
 * when the image is closed.  So no loss of power leaves a copy that has grains
 * which the table lacks, as if the table were damaged, and a table that
 * changes often costs one write for each change, not two.  A copy that is
 * behind does no harm: only repairs read it.
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"

typedef enum CopyState {
    COPY_CURRENT,
    COPY_CHANGED,               /* the table may not be on the disk yet */
    COPY_FLUSHING,              /* a flush has begun since it was written */
    COPY_DUE,                   /* the table is on the disk */
} CopyState;

bool vmdk_copies_init(VmdkExtent *e)
{
    if (!e->rgd) {
        return true;
    }
    e->copy_states = g_try_malloc0(e->gd_entries);
    e->copies_behind = g_array_new(false, false, sizeof(uint32_t));
    return e->copy_states;
}

void vmdk_copies_free(VmdkExtent *e)
{
    g_free(e->copy_states);
    if (e->copies_behind) {
        g_array_unref(e->copies_behind);
    }
}

void vmdk_copies_changed(VmdkExtent *e, uint32_t index)
{
    if (!e->rgd || !e->rgd[index] || e->rgd[index] == e->gd[index]) {
        return;
    }
    if (e->copy_states[index] == COPY_CURRENT) {
        g_array_append_val(e->copies_behind, index);
    }
    e->copy_states[index] = COPY_CHANGED;
}

static void change_states(VmdkExtent *e, CopyState from, CopyState to)
{
    guint i;

    for (i = 0; i < e->copies_behind->len; i++) {
        uint32_t index = g_array_index(e->copies_behind, uint32_t, i);

        if (e->copy_states[index] == from) {
            e->copy_states[index] = to;
        }
    }
}

static int coroutine_fn write_copy(VmdkExtent *e, uint32_t index)
{
    VmdkTable *t;
    int ret = vmdk_table_get_locked(e, index, &t);

    return ret < 0 ? ret : vmdk_table_write(e, e->rgd[index], t->entries, 0,
                                            e->gt_entries);
}

/* Those that are due.  With e->lock held. */
static int coroutine_fn write_due(VmdkExtent *e)
{
    guint kept = 0;
    guint i;
    int ret = 0;

    for (i = 0; i < e->copies_behind->len; i++) {
        uint32_t index = g_array_index(e->copies_behind, uint32_t, i);

        if (ret == 0 && e->copy_states[index] == COPY_DUE) {
            ret = write_copy(e, index);
            if (ret == 0) {
                e->copy_states[index] = COPY_CURRENT;
                continue;
            }
        }
        g_array_index(e->copies_behind, uint32_t, kept++) = index;
    }
    g_array_set_size(e->copies_behind, kept);
    return ret;
}

int coroutine_fn vmdk_copies_flush(VmdkExtent *e)
{
    int ret;

    if (!vmdk_copies_pending(e)) {
        return 0;
    }
    qemu_co_mutex_lock(&e->lock);
    ret = write_due(e);
    change_states(e, COPY_CHANGED, COPY_FLUSHING);
    qemu_co_mutex_unlock(&e->lock);
    if (ret == 0) {
        ret = bdrv_co_flush(e->file->bs);
    }
    change_states(e, COPY_FLUSHING, ret == 0 ? COPY_DUE : COPY_CHANGED);
    return ret;
}

static bool all_are_due(const VmdkExtent *e)
{
    guint i;

    for (i = 0; i < e->copies_behind->len; i++) {
        uint32_t index = g_array_index(e->copies_behind, uint32_t, i);

        if (e->copy_states[index] != COPY_DUE) {
            return false;
        }
    }
    return true;
}

int coroutine_fn vmdk_copies_finish(VmdkExtent *e)
{
    int ret = 0;

    if (!all_are_due(e)) {
        ret = vmdk_copies_flush(e);
    }
    if (ret == 0) {
        qemu_co_mutex_lock(&e->lock);
        ret = write_due(e);
        qemu_co_mutex_unlock(&e->lock);
    }
    return ret;
}
