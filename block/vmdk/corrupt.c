/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Metadata that cannot be right: BLOCK_IMAGE_CORRUPTED, once for the reads of
 * each extent and once for the writes, which are refused.
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"
#include "qapi/qapi-events-block-core.h"

void vmdk_signal_corruption(BlockDriverState *bs, VmdkExtent *e,
                            const char *message, int64_t offset, int64_t size,
                            bool fatal)
{
    g_autofree char *msg = g_strdup_printf("'%s' is damaged: %s",
                                           e->file->bs->filename, message);

    qemu_co_mutex_assert_locked(&e->lock);
    if (!e->damage) {
        e->damage = g_strdup(message);
    }
    if (fatal ? !e->fatal_told : !e->fatal_told && !e->corruption_told) {
        e->corruption_told = true;
        e->fatal_told = fatal;
        qapi_event_send_block_image_corrupted(
            bdrv_get_device_name(bs), bdrv_get_node_name(bs), msg,
            offset >= 0, offset, offset >= 0, size, fatal);
    }
}

/* Why the grain cannot be mapped; NULL: its metadata are sound. */
static char *find_corruption(VmdkExtent *e, uint64_t grain, int64_t *offset,
                             int64_t *size)
{
    uint32_t index = grain / e->gt_entries;
    VmdkTable *t = e->tables[index];
    uint64_t gte;

    if (!t) {
        *offset = (int64_t)e->gd[index] << BDRV_SECTOR_BITS;
        *size = vmdk_table_sectors(e) * BDRV_SECTOR_SIZE;
        return !e->gd[index] || vmdk_table_in_file(e, e->gd[index]) ? NULL :
               g_strdup_printf("the grain table at sector %u is not in the "
                               "file", e->gd[index]);
    }
    gte = vmdk_table_entry(e, t, grain % e->gt_entries);
    if (vmdk_entry_kind(e, gte) != VMDK_GRAIN_DATA) {
        /* The table could not be read, but another request has read it now. */
        return NULL;
    }
    *offset = (int64_t)gte << BDRV_SECTOR_BITS;
    *size = e->grain_bytes;
    if (vmdk_grain_end(e, grain, gte) > (uint64_t)e->file_bytes) {
        return g_strdup_printf("the grain at sector %" PRIu64
                               " is not in the file", gte);
    }
    if (!vmdk_grain_is_free(e, grain, gte)) {
        return g_strdup_printf("the grain at sector %" PRIu64
                               " is where the metadata is", gte);
    }
    return vmdk_grain_is_shared(e, gte) ?
           g_strdup_printf("the grain at sector %" PRIu64 " is used twice",
                           gte) : NULL;
}

int coroutine_fn vmdk_map_checked(BlockDriverState *bs, VmdkExtent *e,
                                  int64_t offset, int64_t bytes, VmdkRun *run)
{
    int ret = vmdk_map(e, offset, bytes, run);

    /* Where another program writes the file, this one does not know it all. */
    if (unlikely(ret == -EIO) && !e->file->bs->force_share) {
        g_autofree char *message = NULL;
        int64_t at, size;

        qemu_co_mutex_lock(&e->lock);
        message = find_corruption(e, offset / e->grain_bytes, &at, &size);
        if (message) {
            vmdk_signal_corruption(bs, e, message, at, size, false);
        }
        qemu_co_mutex_unlock(&e->lock);
    }
    return ret;
}
