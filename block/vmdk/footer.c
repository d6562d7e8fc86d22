/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The end of a stream: grain tables, grain directory and a footer, each behind
 * a marker, then the end marker.  Programs that read a stream in one go, or
 * know only the streams of VMware's tools, expect it like that.
 *
 * An image has this end only while nobody writes to it.  A writer uses tables
 * that are within the file at a place that does not change, those that the
 * image was created with, in front of the grains:
 *
 *  - Before the first write the header gets the place of these tables instead
 *    of "at the end", and is flushed.  Only then grains overwrite the old end.
 *  - After the last write the new end is written behind the grains, and is
 *    flushed.  Only then the header says "at the end" again.
 *
 * The header is one sector.  So at any moment it leads to a directory and
 * tables that are whole, and a kill or a loss of power costs the end, but no
 * grain: the image stays one that has its tables in front, as QEMU writes it.
 *
 * Header and footer call the tables in front the redundant copy.  They are used
 * if the end of the file is lost, as in a transfer that was cut.  An image of
 * another writer has no such copy: its tables at the end are used while it is
 * written, stay where they are, and new ones are written behind the new grains.
 */
#include "qemu/osdep.h"
#include "block/vmdk/format.h"
#include "block/vmdk/stream.h"
#include "qemu/cutils.h"

/* The end is written in pieces. */
#define PIECE_BYTES MiB

static int coroutine_fn read_header(VmdkExtent *e, KdmvHeader *h)
{
    return bdrv_co_pread(e->file, 0, sizeof(*h), h, 0);
}

/* Write it, and have it on the disk. */
static int coroutine_fn write_header(VmdkExtent *e, const KdmvHeader *h)
{
    int ret = bdrv_co_pwrite(e->file, 0, sizeof(*h), h, 0);

    return ret < 0 ? ret : bdrv_co_flush(e->file->bs);
}

/* Sectors; @rgd: 0 if there is no redundant copy. */
static void set_directories(KdmvHeader *h, uint64_t gd, uint64_t rgd)
{
    uint32_t flags = GUINT32_FROM_LE(h->flags) & ~VMDK_FLAG_RGD;

    h->flags = GUINT32_TO_LE(flags | (rgd ? VMDK_FLAG_RGD : 0));
    h->gd_offset = GUINT64_TO_LE(gd);
    h->rgd_offset = GUINT64_TO_LE(rgd);
}

/* --- before the first write --- */

/* Some writers know these late: then only the footer has them. */
static void complete_header(const VmdkExtent *e, KdmvHeader *h)
{
    if (!h->capacity) {
        h->capacity = GUINT64_TO_LE((uint64_t)e->bytes >> BDRV_SECTOR_BITS);
    }
    if (!h->granularity) {
        h->granularity = GUINT64_TO_LE((uint64_t)e->grain_sectors);
    }
    if (!h->num_gtes_per_gt) {
        h->num_gtes_per_gt = GUINT32_TO_LE(e->gt_entries);
    }
    if (!h->compress_algorithm) {
        h->compress_algorithm = GUINT16_TO_LE(VMDK_COMPRESSION_DEFLATE);
    }
}

/* Whether table @index in front has what the one at the end has; or -errno. */
static int coroutine_fn is_in_step(VmdkExtent *e, uint32_t index,
                                   uint32_t *copy)
{
    size_t bytes = vmdk_table_bytes(e);
    VmdkTable *t;
    int ret;

    if (!e->rgd[index]) {
        return !e->gd[index];
    }
    ret = vmdk_table_read(e, e->rgd[index], copy);
    if (ret < 0) {
        return ret;
    }
    if (!e->gd[index]) {
        return buffer_is_zero(copy, bytes);
    }
    ret = vmdk_table_get_locked(e, index, &t);
    return ret < 0 ? ret : !memcmp(copy, t->entries, bytes);
}

/* Whether all tables of the image are in front of its grains, too; -errno. */
static int coroutine_fn front_is_in_step(VmdkExtent *e)
{
    g_autofree uint32_t *copy = g_try_malloc(vmdk_table_bytes(e));
    int ret = 1;
    uint32_t i;

    if (!e->rgd) {
        return 0;
    }
    for (i = 0; copy && ret > 0 && i < e->gd_entries; i++) {
        ret = is_in_step(e, i, copy);
    }
    return copy ? ret : -ENOMEM;
}

/* Those at the end are not used any more: grains go where they are. */
static int coroutine_fn use_front(VmdkExtent *e)
{
    vmdk_copies_free(e);
    g_free(e->gd);
    e->gd = g_steal_pointer(&e->rgd);
    e->gd_offset = e->rgd_offset;
    e->rgd_offset = 0;
    e->copy_states = NULL;
    e->copies_behind = NULL;
    g_array_unref(e->areas);
    vmdk_areas_init(e);
    return vmdk_stream_find_end(e, NULL);
}

/* The header of an image with an end leads to its tables, as they are. */
static int coroutine_fn drop_footer(VmdkExtent *e)
{
    KdmvHeader h;
    int ret = e->from_footer ? front_is_in_step(e) : 0;

    if (ret > 0) {
        ret = use_front(e);
    }
    if (ret == 0) {
        e->from_footer = false;
        ret = read_header(e, &h);
    }
    if (ret < 0) {
        return ret;
    }
    complete_header(e, &h);
    set_directories(&h, e->gd_offset >> BDRV_SECTOR_BITS,
                    e->rgd ? e->rgd_offset >> BDRV_SECTOR_BITS : 0);
    ret = write_header(e, &h);
    if (ret == 0) {
        e->has_footer = false;
        e->lost_footer = false;
        /* Also if no grain follows: the header leads to no end any more. */
        e->needs_end = e->has_markers;
    }
    return ret;
}

/* With e->lock held. */
static int coroutine_fn begin_stream(VmdkExtent *e)
{
    int ret;

    if (e->stream_begun) {
        return 0;
    }
    /* An image with grains, but without a footer, stays like that. */
    e->ends_in_footer = e->has_footer
                        || (e->has_markers && e->magic == VMDK_KDMV_MAGIC
                            && !e->last_grain);
    ret = e->has_footer ? drop_footer(e) : 0;
    e->stream_begun = ret == 0;
    return ret;
}

int coroutine_fn vmdk_footer_begin(VmdkExtent *e)
{
    int ret;

    if (likely(e->stream_begun)) {
        return 0;
    }
    qemu_co_mutex_lock(&e->lock);
    ret = begin_stream(e);
    qemu_co_mutex_unlock(&e->lock);
    return ret;
}

/* --- after the last write --- */

/* The end of the file, as it is put together. */
typedef struct Tail {
    VmdkExtent *e;
    uint8_t *buf;               /* PIECE_BYTES */
    size_t used;
    uint64_t sector;            /* where @buf goes */
} Tail;

static uint64_t tail_sector(const Tail *t)
{
    return t->sector + (t->used >> BDRV_SECTOR_BITS);
}

static int coroutine_fn write_piece(Tail *t)
{
    int ret = bdrv_co_pwrite(t->e->file,
                             (int64_t)t->sector << BDRV_SECTOR_BITS, t->used,
                             t->buf, 0);

    t->sector = tail_sector(t);
    t->used = 0;
    return ret;
}

/* Append @bytes of @data; NULL: of zeroes. */
static int coroutine_fn put_bytes(Tail *t, const void *data, size_t bytes)
{
    const uint8_t *from = data;
    int ret = 0;

    while (ret == 0 && bytes) {
        size_t n = MIN(bytes, PIECE_BYTES - t->used);

        if (from) {
            memcpy(t->buf + t->used, from, n);
            from += n;
        } else {
            memset(t->buf + t->used, 0, n);
        }
        t->used += n;
        bytes -= n;
        ret = t->used == PIECE_BYTES ? write_piece(t) : 0;
    }
    return ret;
}

/* Append a marker, and the metadata it is for, up to the end of a sector. */
static int coroutine_fn put_metadata(Tail *t, VmdkMarkerType type,
                                     const void *data, size_t bytes)
{
    size_t whole = ROUND_UP(bytes, (size_t)BDRV_SECTOR_SIZE);
    VmdkMarker marker = vmdk_marker(type, whole >> BDRV_SECTOR_BITS);
    int ret = put_bytes(t, &marker, sizeof(marker));

    if (ret == 0) {
        ret = put_bytes(t, data, bytes);
    }
    return ret < 0 ? ret : put_bytes(t, NULL, whole - bytes);
}

/* All tables that have an entry; their places go into @gd. */
static int coroutine_fn put_tables(Tail *tail, uint32_t *gd)
{
    VmdkExtent *e = tail->e;
    int ret = 0;
    uint32_t i;

    for (i = 0; ret == 0 && i < e->gd_entries; i++) {
        uint64_t sector = tail_sector(tail) + 1;
        VmdkTable *t;

        if (!e->gd[i]) {
            continue;
        }
        ret = vmdk_table_get_locked(e, i, &t);
        if (ret == 0 && !buffer_is_zero(t->entries, vmdk_table_bytes(e))) {
            gd[i] = GUINT32_TO_LE((uint32_t)sector);
            ret = sector > UINT32_MAX ? -ENOTSUP
                  : put_metadata(tail, VMDK_MARKER_TABLE, t->entries,
                                 vmdk_table_bytes(e));
        }
    }
    return ret;
}

/* Nothing is behind @sector then; -ENOTSUP: the file cannot be so short. */
static int coroutine_fn end_file(VmdkExtent *e, uint64_t sector)
{
    int64_t end = sector << BDRV_SECTOR_BITS;
    int64_t length = vmdk_exact_length(e->file);

    if (length > end) {
        /* A device stays as long as it is. */
        bdrv_co_truncate(e->file, end, true, PREALLOC_MODE_OFF, 0, NULL);
        length = vmdk_exact_length(e->file);
    }
    return length < 0 ? length : length == end ? 0 : -ENOTSUP;
}

/* All that is behind the grains; and @h becomes the header to it. */
static int coroutine_fn write_tail(Tail *t, uint32_t *gd, KdmvHeader *h)
{
    VmdkExtent *e = t->e;
    VmdkMarker end = vmdk_marker(VMDK_MARKER_END, 0);
    uint64_t front = e->gd_offset >> BDRV_SECTOR_BITS;
    KdmvHeader footer = *h;
    int ret = put_tables(t, gd);

    /* Tables that the writer of the image has put at its end are no copy. */
    front = front < e->overhead ? front : 0;
    set_directories(h, VMDK_GD_AT_END, front);
    set_directories(&footer, tail_sector(t) + 1, front);
    if (ret == 0) {
        ret = put_metadata(t, VMDK_MARKER_DIRECTORY, gd,
                           e->gd_entries * sizeof(*gd));
    }
    if (ret == 0) {
        ret = put_metadata(t, VMDK_MARKER_FOOTER, &footer, sizeof(footer));
    }
    if (ret == 0) {
        ret = put_bytes(t, &end, sizeof(end));
    }
    if (ret == 0 && t->used) {
        ret = write_piece(t);
    }
    return ret < 0 ? ret : end_file(e, t->sector);
}

/* With e->lock held.  -ENOTSUP: the file cannot have such an end. */
static int coroutine_fn write_end(VmdkExtent *e)
{
    g_autofree uint8_t *buf = g_try_malloc(PIECE_BYTES);
    g_autofree uint32_t *gd = g_try_new0(uint32_t, e->gd_entries);
    Tail tail = { .e = e, .buf = buf, .sector = e->next_sector };
    KdmvHeader h;
    int ret = buf && gd ? read_header(e, &h) : -ENOMEM;

    if (ret == 0) {
        ret = write_tail(&tail, gd, &h);
    }
    if (ret == 0) {
        ret = bdrv_co_flush(e->file->bs);
    }
    if (ret == 0) {
        ret = write_header(e, &h);
        /* The header may be there even if that has failed. */
        e->has_footer = true;
        e->stream_begun = false;
    }
    return ret;
}

/* Without a footer, the end is its marker. */
static int coroutine_fn write_end_marker(VmdkExtent *e)
{
    VmdkMarker end = vmdk_marker(VMDK_MARKER_END, 0);
    int ret = bdrv_co_pwrite(e->file, (int64_t)e->next_sector
                                      << BDRV_SECTOR_BITS,
                             sizeof(end), &end, 0);

    return ret < 0 ? ret : bdrv_co_flush(e->file->bs);
}

/* With e->lock held. */
static int coroutine_fn finish_stream(VmdkExtent *e)
{
    int ret = -ENOTSUP;

    if (e->ends_in_footer) {
        ret = write_end(e);
    }
    if (ret == -ENOTSUP) {
        ret = write_end_marker(e);
    }
    if (ret == 0) {
        e->needs_end = false;
    }
    return ret;
}

int coroutine_fn vmdk_footer_finish(VmdkExtent *e)
{
    int ret;

    qemu_co_mutex_lock(&e->lock);
    ret = finish_stream(e);
    qemu_co_mutex_unlock(&e->lock);
    return ret;
}

int coroutine_fn vmdk_footer_restore_locked(VmdkExtent *e)
{
    int ret = begin_stream(e);

    return ret < 0 ? ret : finish_stream(e);
}
