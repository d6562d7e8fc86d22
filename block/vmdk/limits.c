/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How much memory the tables of an image may take, whatever it says.
 *
 * A directory lies in its file, but a file can be a hole that costs nothing,
 * and a descriptor can name thousands of them.  So there is a limit for all
 * extents together, far above what any real disk has.
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"

bool vmdk_limit_directories(BDRVVmdkState *s, uint64_t entries,
                            const char *name, Error **errp)
{
    s->gd_entries += entries;
    if (s->gd_entries > VMDK_MAX_GD_ENTRIES) {
        error_setg(errp, "The grain directories of '%s' and the extents before"
                   " it are too large: more than %" PRId64 " entries together",
                   name, (int64_t)VMDK_MAX_GD_ENTRIES);
        return false;
    }
    return true;
}

static uint64_t cache_bytes(const VmdkExtent *e)
{
    return e->max_cached * vmdk_table_bytes(e);
}

uint64_t vmdk_extent_cache(const BDRVVmdkState *s)
{
    return s->has_cache_bytes ? s->cache_bytes : VMDK_CACHE_BYTES;
}

void vmdk_limit_caches(BDRVVmdkState *s)
{
    uint64_t limit = s->has_cache_bytes ? s->cache_bytes
                     : VMDK_ALL_CACHES_BYTES;
    uint64_t total = 0;
    int i;

    for (i = 0; i < s->nb_extents; i++) {
        total += cache_bytes(&s->extents[i]);
    }
    for (i = 0; i < s->nb_extents && total > limit; i++) {
        VmdkExtent *e = &s->extents[i];
        /* @limit is less than @total, which is less than 2^39. */
        uint64_t part = e->max_cached * limit / total;

        if (e->max_cached) {
            e->max_cached = MAX(part, 1);
        }
    }
}
