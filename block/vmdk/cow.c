/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The content of new grains: what is written, and around it what was read
 * there before, from the backing file or zeroes.
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"

int coroutine_fn vmdk_read_backing(BlockDriverState *bs, int64_t offset,
                                   int64_t bytes, QEMUIOVector *qiov,
                                   size_t qiov_offset)
{
    int64_t length = 0;
    int64_t there;
    int ret;

    if (bs->backing) {
        ret = vmdk_check_parent(bs);
        if (ret < 0) {
            return ret;
        }
        length = bdrv_co_getlength(bs->backing->bs);
        if (length < 0) {
            return length;
        }
    }
    there = offset < length ? MIN(bytes, length - offset) : 0;
    if (there < bytes) {
        qemu_iovec_memset(qiov, qiov_offset + there, 0, bytes - there);
    }
    if (!there) {
        return 0;
    }
    BLKDBG_EVENT(bs->file, BLKDBG_READ_BACKING_AIO);
    return bdrv_co_preadv_part(bs->backing, offset, there, qiov, qiov_offset,
                               0);
}

/* A buffer with the old content of [@offset, @offset + @bytes) of @e. */
static int coroutine_fn read_old(BlockDriverState *bs, VmdkExtent *e,
                                 bool was_zero, int64_t offset,
                                 int64_t bytes, void **buf)
{
    QEMUIOVector qiov;
    int64_t disk_offset = e->start + offset;
    int64_t in_disk = MIN(bytes, MAX(e->bytes - offset, 0));

    *buf = qemu_try_blockalign(e->file->bs, bytes);
    if (!*buf) {
        return -ENOMEM;
    }
    memset((uint8_t *)*buf + in_disk, 0, bytes - in_disk);
    if (!in_disk) {
        return 0;
    }
    if (!bs->backing || was_zero) {
        memset(*buf, 0, in_disk);
        return 0;
    }
    BLKDBG_EVENT(e->file, BLKDBG_COW_READ);
    qemu_iovec_init_buf(&qiov, *buf, in_disk);
    return vmdk_read_backing(bs, disk_offset, in_disk, &qiov, 0);
}

/* The pieces one by one, if they have too many elements for one request. */
static int coroutine_fn write_pieces(VmdkExtent *e, int64_t file_offset,
                                     void *head, int64_t head_bytes,
                                     QEMUIOVector *qiov, size_t qiov_offset,
                                     int64_t bytes, void *tail,
                                     int64_t tail_bytes,
                                     BdrvRequestFlags flags)
{
    int ret = 0;

    if (head_bytes) {
        ret = bdrv_co_pwrite(e->file, file_offset, head_bytes, head, 0);
    }
    if (ret == 0 && qiov) {
        ret = bdrv_co_pwritev_part(e->file, file_offset + head_bytes, bytes,
                                   qiov, qiov_offset, 0);
    } else if (ret == 0) {
        ret = bdrv_co_pwrite_zeroes(e->file, file_offset + head_bytes, bytes,
                                    flags);
    }
    if (ret == 0 && tail_bytes) {
        ret = bdrv_co_pwrite(e->file, file_offset + head_bytes + bytes,
                             tail_bytes, tail, 0);
    }
    return ret;
}

static int coroutine_fn write_around(VmdkExtent *e, int64_t file_offset,
                                     void *head, int64_t head_bytes,
                                     QEMUIOVector *qiov, size_t qiov_offset,
                                     int64_t bytes, void *tail,
                                     int64_t tail_bytes,
                                     BdrvRequestFlags flags)
{
    QEMUIOVector all;
    int ret;

    BLKDBG_EVENT(e->file, BLKDBG_CLUSTER_ALLOC);
    if (head_bytes || tail_bytes) {
        BLKDBG_EVENT(e->file, BLKDBG_COW_WRITE);
    }
    BLKDBG_EVENT(e->file, BLKDBG_WRITE_AIO);
    if (!head_bytes && !tail_bytes && qiov) {
        return bdrv_co_pwritev_part(e->file, file_offset, bytes, qiov,
                                    qiov_offset, 0);
    }
    if (qiov && qemu_iovec_init_extended(&all, head, head_bytes, qiov,
                                         qiov_offset, bytes, tail,
                                         tail_bytes) == 0) {
        ret = bdrv_co_pwritev(e->file, file_offset, all.size, &all, 0);
        qemu_iovec_destroy(&all);
        return ret;
    }
    return write_pieces(e, file_offset, head, head_bytes, qiov, qiov_offset,
                        bytes, tail, tail_bytes, flags);
}

int coroutine_fn vmdk_write_new(BlockDriverState *bs, VmdkExtent *e,
                                VmdkAlloc *a, int64_t offset, int64_t bytes,
                                QEMUIOVector *qiov, size_t qiov_offset,
                                BdrvRequestFlags flags)
{
    int64_t start = a->first * e->grain_bytes;
    int64_t end = start + a->count * e->grain_bytes;
    int64_t head_bytes = offset - start;
    int64_t tail_bytes = end - (offset + bytes);
    void *head = NULL;
    void *tail = NULL;
    int ret = 0;

    if (head_bytes) {
        ret = read_old(bs, e, a->was_zero, start, head_bytes, &head);
    }
    if (ret == 0 && tail_bytes) {
        ret = read_old(bs, e, a->was_zero, offset + bytes, tail_bytes,
                       &tail);
    }
    if (ret == 0) {
        ret = write_around(e, (int64_t)a->sector << BDRV_SECTOR_BITS, head,
                           head_bytes, qiov, qiov_offset, bytes, tail,
                           tail_bytes, flags);
    }
    qemu_vfree(head);
    qemu_vfree(tail);
    return ret;
}
