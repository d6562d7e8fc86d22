/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Grains that were unpacked last, for small reads: without it, each read of a
 * sector would unpack the whole grain again.
 *
 * All extents of an image share one cache.  A grain that has data keeps its
 * place and is not written again, so nothing here becomes stale while the image
 * is open.  Coroutines of the node's home thread; no function waits.
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"

/* Of an image, at most; larger grains are not kept. */
#define CACHE_BYTES (4 * MiB)
#define CACHE_GRAINS 64

typedef struct CachedGrain {
    const VmdkExtent *e;        /* NULL: free */
    int64_t file_offset;
    uint8_t *data;              /* own; e->grain_bytes */
    uint64_t last_use;
} CachedGrain;

struct VmdkGrainCache {
    CachedGrain grains[CACHE_GRAINS];
    int count;
    int64_t bytes;
    uint64_t uses;
};

static CachedGrain *find(VmdkGrainCache *c, const VmdkExtent *e,
                         int64_t file_offset)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(c->grains); i++) {
        if (c->grains[i].e == e && c->grains[i].file_offset == file_offset) {
            return &c->grains[i];
        }
    }
    return NULL;
}

/* The grain that was used longest ago; NULL: there is none. */
static CachedGrain *oldest(VmdkGrainCache *c)
{
    CachedGrain *found = NULL;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(c->grains); i++) {
        CachedGrain *g = &c->grains[i];

        if (g->e && (!found || g->last_use < found->last_use)) {
            found = g;
        }
    }
    return found;
}

static void drop(VmdkGrainCache *c, CachedGrain *g)
{
    c->bytes -= g->e->grain_bytes;
    c->count--;
    g_free(g->data);
    *g = (CachedGrain) { 0 };
}

const uint8_t *vmdk_grain_cache_find(VmdkGrainCache *c, const VmdkExtent *e,
                                     int64_t file_offset)
{
    CachedGrain *g = c ? find(c, e, file_offset) : NULL;

    if (!g) {
        return NULL;
    }
    g->last_use = ++c->uses;
    return g->data;
}

void vmdk_grain_cache_add(VmdkGrainCache **cache, const VmdkExtent *e,
                          int64_t file_offset, uint8_t *data)
{
    VmdkGrainCache *c = *cache;
    CachedGrain *g;

    if (!c && e->grain_bytes <= CACHE_BYTES) {
        c = *cache = g_try_new0(VmdkGrainCache, 1);
    }
    /* Another request may have been faster. */
    if (!c || e->grain_bytes > CACHE_BYTES || find(c, e, file_offset)) {
        g_free(data);
        return;
    }
    while (c->bytes + e->grain_bytes > CACHE_BYTES
           || c->count == CACHE_GRAINS) {
        drop(c, oldest(c));
    }
    g = find(c, NULL, 0);
    *g = (CachedGrain) {
        .e = e,
        .file_offset = file_offset,
        .data = data,
        .last_use = ++c->uses,
    };
    c->bytes += e->grain_bytes;
    c->count++;
}

void vmdk_grain_cache_free(VmdkGrainCache *c)
{
    while (c && c->count) {
        drop(c, oldest(c));
    }
    g_free(c);
}
