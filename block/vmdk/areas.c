/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the metadata of a sparse extent is in its file.
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"

static void add_area(GArray *areas, uint64_t start, uint64_t sectors)
{
    VmdkArea area = { .start = start, .end = start + sectors };

    if (area.end > area.start) {
        g_array_append_val(areas, area);
    }
}

/* @each: an area for each table, also where they follow each other. */
static void add_directory(const VmdkExtent *e, GArray *areas, bool each,
                          int64_t offset, const uint32_t *gd,
                          const uint32_t *other)
{
    uint64_t bytes = (uint64_t)e->gd_entries * sizeof(*gd);
    uint32_t table_sectors = vmdk_table_sectors(e);
    uint64_t start = 0;
    uint64_t end = 0;
    uint32_t i;

    if (!gd) {
        return;
    }
    add_area(areas, offset >> BDRV_SECTOR_BITS,
             DIV_ROUND_UP(bytes, BDRV_SECTOR_SIZE));
    for (i = 0; i < e->gd_entries; i++) {
        if (!gd[i] || (other && gd[i] == other[i])) {
            continue;
        }
        if (each || gd[i] != end) {
            add_area(areas, start, end - start);
            start = gd[i];
        }
        end = (uint64_t)gd[i] + table_sectors;
    }
    add_area(areas, start, end - start);
}

static int compare_areas(const void *a, const void *b)
{
    const VmdkArea *area = a;
    const VmdkArea *other = b;

    return area->start < other->start ? -1 : area->start > other->start;
}

/* Usually they are added in their order, and a sort takes its time. */
static void sort_areas(GArray *areas)
{
    guint i;

    for (i = 1; i < areas->len; i++) {
        if (compare_areas(&g_array_index(areas, VmdkArea, i - 1),
                          &g_array_index(areas, VmdkArea, i)) > 0) {
            g_array_sort(areas, compare_areas);
            return;
        }
    }
}

GArray *vmdk_areas_new(const VmdkExtent *e, bool each)
{
    GArray *areas = g_array_new(false, false, sizeof(VmdkArea));

    add_area(areas, 0, 1);
    add_area(areas, e->desc_sector, e->desc_sectors);
    if (e->type == VMDK_SESPARSE) {
        /* All of it comes before the grains. */
        add_area(areas, 1, e->overhead - 1);
    } else if (e->rgd && e->rgd_offset < e->gd_offset) {
        /* Some writers have one copy, and both directories point to it. */
        add_directory(e, areas, each, e->rgd_offset, e->rgd, NULL);
        add_directory(e, areas, each, e->gd_offset, e->gd, e->rgd);
    } else {
        add_directory(e, areas, each, e->gd_offset, e->gd, NULL);
        add_directory(e, areas, each, e->rgd_offset, e->rgd, e->gd);
    }
    sort_areas(areas);
    return areas;
}

void vmdk_areas_init(VmdkExtent *e)
{
    g_autoptr(GArray) all = vmdk_areas_new(e, false);
    guint i;

    /* The first one is the header, which is always there. */
    e->areas = g_array_new(false, false, sizeof(VmdkArea));
    g_array_append_val(e->areas, g_array_index(all, VmdkArea, 0));
    for (i = 1; i < all->len; i++) {
        VmdkArea *area = &g_array_index(all, VmdkArea, i);
        VmdkArea *last = &g_array_index(e->areas, VmdkArea,
                                        e->areas->len - 1);

        e->areas_overlap |= area->start < last->end;
        if (area->start <= last->end) {
            last->end = MAX(last->end, area->end);
        } else {
            g_array_append_val(e->areas, *area);
        }
    }
}

void vmdk_areas_add_table(VmdkExtent *e, uint64_t sector)
{
    uint64_t end = sector + vmdk_table_sectors(e);
    VmdkArea *last = &g_array_index(e->areas, VmdkArea, e->areas->len - 1);

    /* It is at the end of the file, so behind all others. */
    if (last->end == sector) {
        last->end = end;
    } else {
        add_area(e->areas, sector, end - sector);
    }
}

uint64_t vmdk_areas_free_until(const VmdkExtent *e, uint64_t sector)
{
    guint low = 0;
    guint high = e->areas->len;

    /* The first area that ends behind @sector. */
    while (low < high) {
        guint mid = low + (high - low) / 2;

        if (g_array_index(e->areas, VmdkArea, mid).end <= sector) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    if (low == e->areas->len) {
        return UINT64_MAX;
    }
    return MAX(g_array_index(e->areas, VmdkArea, low).start, sector);
}
