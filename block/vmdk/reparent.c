/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Another parent for an image: the lines "parentCID" and "parentFileNameHint"
 * of the descriptor.
 *
 * A kill or a crash in between must not leave an image that reads the data of
 * a wrong parent.  So the descriptor is written in three steps, with a flush
 * after each: a CID that no parent has; the new text, with that CID; the new
 * CID.  An image that was left between two steps cannot be read where its
 * parent is needed, until it gets a parent again.  After an error it is brought
 * back to what it was, if it can be written.
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"

/* vmdk_new_cid() may return it, with a chance of one in 2^32. */
#define CID_OF_NOBODY 0xfffffffeU

typedef struct Reparent {
    Coroutine *co;
    BlockDriverState *bs;
    const char *hint;           /* NULL or "": no parent */
    uint32_t cid;               /* of the new parent */
    int ret;
} Reparent;

/* --- the CID of the new parent --- */

/* 0 or -errno; -ENOENT: it cannot be opened. */
static int open_parent_cid(const char *path, uint32_t *cid)
{
    QOpts *options = qopts_new();
    BlockDriverState *parent;

    if (!g_str_has_prefix(path, "json:")) {
        qopts_set_str(options, "driver", "vmdk");
    }
    /* It may be in use: only its descriptor is read. */
    qopts_set_bool(options, "force-share", true);
    parent = bdrv_open(path, NULL, options, BDRV_O_NO_BACKING, NULL);
    if (!parent) {
        return -ENOENT;
    }
    if (parent->drv == &bdrv_vmdk) {
        *cid = ((BDRVVmdkState *)parent->opaque)->desc.cid;
    }
    bdrv_unref(parent);
    return 0;
}

/*
 * The parent that is open already, if that is what @path names.  It may be one
 * that is further down until now; an NBD server may have only one client.
 */
static BlockDriverState *open_parent(BlockDriverState *bs, const char *path)
{
    BlockDriverState *p;

    if (bs->backing && !g_strcmp0(bs->full_backing_file, path)) {
        return vmdk_parent(bs);
    }
    for (p = bdrv_backing_chain_next(bs); p; p = bdrv_backing_chain_next(p)) {
        if (p->drv == &bdrv_vmdk && !strcmp(p->filename, path)) {
            return p;
        }
    }
    return NULL;
}

static void find_parent_cid(Reparent *r)
{
    BDRVVmdkState *s = r->bs->opaque;
    g_autofree char *path = vmdk_resolve_hint(r->bs, r->hint, NULL);
    BlockDriverState *parent;

    if (!path) {
        r->ret = -EINVAL;
        return;
    }
    parent = open_parent(r->bs, path);
    if (parent) {
        r->cid = ((BDRVVmdkState *)parent->opaque)->desc.cid;
        return;
    }
    r->ret = open_parent_cid(path, &r->cid);
    if (r->ret < 0 && s->desc.parent_cid != VMDK_NO_PARENT) {
        /* A parent that was renamed, or will be, has the CID of the old. */
        r->cid = s->desc.parent_cid;
        r->ret = 0;
    }
}

static void find_parent_bh(void *opaque)
{
    Reparent *r = opaque;

    find_parent_cid(r);
    aio_co_wake(r->co);
}

/* --- the text --- */

/* The @len bytes at @text, filled up to @room behind that. */
static char *padded(const char *text, size_t len, size_t room, char fill)
{
    char *out = g_malloc(room + 1);

    memset(out, fill, room);
    memcpy(out, text, MIN(len, room));
    out[room] = 0;
    return out;
}

/* Write what is different, and flush. */
static int coroutine_fn write_change(BlockDriverState *bs, const char *old,
                                     const char *new, size_t room)
{
    BDRVVmdkState *s = bs->opaque;
    size_t first = 0;
    size_t end = room;
    int ret = 0;

    while (first < room && old[first] == new[first]) {
        first++;
    }
    while (end > first && old[end - 1] == new[end - 1]) {
        end--;
    }
    if (first < end) {
        ret = bdrv_co_pwrite(bs->file, s->desc_offset + first, end - first,
                             new + first, 0);
    }
    if (ret == 0 && !s->desc_embedded) {
        ret = vmdk_restore_length(bs, room);
    }
    return ret < 0 ? ret : bdrv_co_flush(bs->file->bs);
}

/*
 * Write step[1] to step[3]; after an error back again, until there is another
 * one.  Each step back is as safe as the one forth, since it is flushed, too.
 */
static int coroutine_fn write_texts(BlockDriverState *bs, char *const *step,
                                    size_t room)
{
    int i, ret = 0;

    for (i = 0; ret == 0 && i < 3; i++) {
        ret = write_change(bs, step[i], step[i + 1], room);
    }
    if (ret < 0) {
        while (i > 0 && write_change(bs, step[i], step[i - 1], room) == 0) {
            i--;
        }
        if (i == 3) {
            /* It has its new parent then, which is right, too. */
            write_change(bs, step[2], step[3], room);
        }
    }
    return ret;
}

/*
 * The three texts, one after the other.  @text is what is there now; behind
 * its NUL may be the end of a longer one.
 */
static int coroutine_fn write_steps(BlockDriverState *bs, const char *text,
                                    const char *marked, const char *moved,
                                    const char *final)
{
    BDRVVmdkState *s = bs->opaque;
    int64_t there = vmdk_exact_length(bs->file);
    size_t room = s->desc_bytes;
    char *step[4];
    char fill;
    int i, ret;

    if (there < 0) {
        return there;
    }
    if (s->desc_embedded && strlen(moved) > room) {
        return -ENOSPC;
    }
    there = MIN(there, s->desc_bytes);
    fill = s->desc_embedded || strlen(text) < (uint64_t)there ? 0 : '\n';
    room = MAX(room, MAX(strlen(moved), strlen(marked)));
    step[0] = padded(text, there, room, fill);
    step[1] = padded(marked, strlen(marked), room, fill);
    step[2] = padded(moved, strlen(moved), room, fill);
    step[3] = padded(final, strlen(final), room, fill);
    ret = write_texts(bs, step, room);
    for (i = 0; i < 4; i++) {
        g_free(step[i]);
    }
    if (!s->desc_embedded) {
        s->desc_bytes = room;
    }
    return ret;
}

static int coroutine_fn change_text(BlockDriverState *bs, const Reparent *r)
{
    BDRVVmdkState *s = bs->opaque;
    g_autofree char *text = g_try_malloc0(s->desc_bytes + 1);
    g_autofree char *marked = NULL;
    g_autofree char *moved = NULL;
    g_autofree char *final = NULL;
    int ret;

    if (!text) {
        return -ENOMEM;
    }
    ret = bdrv_co_pread(bs->file, s->desc_offset, s->desc_bytes, text, 0);
    if (ret < 0) {
        return ret;
    }
    marked = vmdk_desc_replace_parent_cid(text, CID_OF_NOBODY);
    moved = vmdk_desc_replace_hint(marked, r->hint);
    final = vmdk_desc_replace_parent_cid(moved, r->cid);
    return write_steps(bs, text, marked, moved, final);
}

/* --- the callback --- */

static int check_change(BlockDriverState *bs, const char *backing_file,
                        const char *backing_fmt)
{
    BDRVVmdkState *s = bs->opaque;
    int i;

    if (!s->has_desc) {
        return -ENOTSUP;
    }
    if (!backing_file || !*backing_file) {
        return 0;
    }
    if ((backing_fmt && strcmp(backing_fmt, "vmdk")) ||
        backing_file[strcspn(backing_file, "\"\r\n\x1a")]) {
        return -EINVAL;
    }
    for (i = 0; i < s->nb_extents; i++) {
        if (!vmdk_extent_is_sparse(&s->extents[i])) {
            return -ENOTSUP;
        }
    }
    return 0;
}

int coroutine_fn vmdk_co_change_backing_file(BlockDriverState *bs,
                                             const char *backing_file,
                                             const char *backing_fmt)
{
    BDRVVmdkState *s = bs->opaque;
    Reparent r = {
        .co = qemu_coroutine_self(),
        .bs = bs,
        .hint = backing_file && *backing_file ? backing_file : NULL,
        .cid = VMDK_NO_PARENT,
    };
    int ret = check_change(bs, backing_file, backing_fmt);

    if (ret < 0) {
        return ret;
    }
    if (r.hint) {
        /* Images are opened in the main thread, outside coroutines. */
        aio_bh_schedule_oneshot(qemu_get_aio_context(), find_parent_bh, &r);
        qemu_coroutine_yield();
        if (r.ret < 0) {
            return r.ret;
        }
    }
    qemu_co_mutex_lock(&s->lock);
    ret = change_text(bs, &r);
    if (ret == 0) {
        g_free(s->desc.parent_hint);
        s->desc.parent_hint = g_strdup(r.hint);
        s->desc.parent_cid = r.cid;
        s->parent_checked = false;
    }
    qemu_co_mutex_unlock(&s->lock);
    return ret;
}
