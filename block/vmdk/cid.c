/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Content identifiers: the descriptor of an image has a CID that changes when
 * the content does, and that of its parent as it was when the image was made.
 * The new one is on the disk before anything else is written: overlays of an
 * image that was written to by mistake are refused, also after a crash.
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"

uint32_t vmdk_new_cid(void)
{
    uint32_t cid;

    do {
        cid = g_random_int();
    } while (cid == VMDK_NO_PARENT || !cid);
    return cid;
}

/*
 * Another CID than @old.  It has no more digits if that has six or seven, as
 * programs write it that leave out zeroes in front: all text behind it would
 * move, and a loss of power may keep some sectors of that and lose others.
 */
static uint32_t next_cid(uint32_t old)
{
    uint32_t mask = !(old >> 20) || old >> 28 ? UINT32_MAX
                    : old >> 24 ? 0x0fffffff : 0x00ffffff;
    uint32_t cid;

    do {
        cid = vmdk_new_cid() & mask;
    } while (cid == old || (mask != UINT32_MAX && !(cid >> 20)));
    return cid;
}

bool vmdk_check_backing(BlockDriverState *bs, Error **errp)
{
    BDRVVmdkState *s = bs->opaque;
    BlockDriverState *parent;
    BDRVVmdkState *ps;

    if (s->parent_checked || !bs->backing) {
        return true;
    }
    parent = vmdk_parent(bs);
    ps = parent ? parent->opaque : NULL;
    if (ps && ps->desc.cid != s->desc.parent_cid) {
        error_setg(errp, "The backing file '%s' of '%s' has changed: CID %08x"
                   " instead of %08x", parent->file->bs->filename,
                   bs->file->bs->filename, ps->desc.cid, s->desc.parent_cid);
        return false;
    }
    s->parent_checked = true;
    return true;
}

int coroutine_fn vmdk_check_parent(BlockDriverState *bs)
{
    Error *local_err = NULL;

    if (vmdk_check_backing(bs, &local_err)) {
        return 0;
    }
    error_report_err(local_err);
    return -EINVAL;
}

/* With O_DIRECT a write ends with a block, and so would the text. */
int coroutine_fn vmdk_restore_length(BlockDriverState *bs, int64_t length)
{
    int64_t now = vmdk_exact_length(bs->file);

    if (now <= length) {
        return MIN(now, 0);
    }
    return bdrv_co_truncate(bs->file, length, true, PREALLOC_MODE_OFF, 0,
                            NULL);
}

/* Read the descriptor as it is now: others may have changed other lines. */
static int coroutine_fn write_cid(BlockDriverState *bs, uint32_t cid)
{
    BDRVVmdkState *s = bs->opaque;
    g_autofree char *text = g_try_malloc0(s->desc_bytes + 1);
    g_autofree char *changed = NULL;
    int64_t file_length = vmdk_exact_length(bs->file);
    size_t length;
    int ret;

    if (!text) {
        return -ENOMEM;
    }
    if (file_length < 0) {
        return file_length;
    }
    ret = bdrv_co_pread(bs->file, s->desc_offset, s->desc_bytes, text, 0);
    if (ret < 0) {
        return ret;
    }
    changed = vmdk_desc_replace_cid(text, cid);
    if (!changed) {
        return -EINVAL;
    }
    length = strlen(changed);
    if (s->desc_embedded && length > (uint64_t)s->desc_bytes) {
        return -ENOSPC;
    }
    /* The end as well, or what is behind it would become part of the text. */
    if (length < (uint64_t)MIN(s->desc_bytes, file_length)) {
        length++;
    }
    ret = bdrv_co_pwrite(bs->file, s->desc_offset, length, changed, 0);
    if (ret == 0 && !s->desc_embedded) {
        ret = vmdk_restore_length(bs, MAX(file_length, (int64_t)length));
    }
    return ret;
}

int coroutine_fn vmdk_update_cid(BlockDriverState *bs)
{
    BDRVVmdkState *s = bs->opaque;
    int ret = 0;

    if (likely(s->cid_updated)) {
        return 0;
    }
    qemu_co_mutex_lock(&s->lock);
    if (!s->cid_updated && s->has_desc) {
        uint32_t cid = next_cid(s->desc.cid);

        ret = write_cid(bs, cid);
        if (ret == 0) {
            s->desc.cid = cid;
            /* Else a loss of power may leave new data under the old CID. */
            ret = bdrv_co_flush(bs->file->bs);
        }
    }
    s->cid_updated = ret == 0;
    qemu_co_mutex_unlock(&s->lock);
    return ret;
}
