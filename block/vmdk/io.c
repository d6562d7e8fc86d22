/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests: cut at the borders of extents, then into runs of grains that need
 * the same treatment.  Grains that lie next to each other in a file go there
 * in one request.
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"

/* Grains that one answer about the status of an image is about, at most. */
#define MAX_COMPRESSED_RUN 1024

/* A request to one extent; @done counts, the rest is fixed. */
typedef struct VmdkReq {
    BlockDriverState *bs;
    VmdkExtent *e;
    int64_t offset;             /* in the extent */
    int64_t bytes;
    QEMUIOVector *qiov;         /* NULL: zeroes */
    size_t qiov_offset;
    BdrvRequestFlags flags;
} VmdkReq;

static VmdkExtent *find_extent(BDRVVmdkState *s, int64_t offset)
{
    int low = 0;
    int high = s->nb_extents - 1;

    while (low < high) {
        int mid = (low + high + 1) / 2;

        if (s->extents[mid].start <= offset) {
            low = mid;
        } else {
            high = mid - 1;
        }
    }
    return &s->extents[low];
}

static int coroutine_fn do_for_extents(BlockDriverState *bs, int64_t offset,
                                       int64_t bytes, QEMUIOVector *qiov,
                                       size_t qiov_offset,
                                       BdrvRequestFlags flags,
                                       int coroutine_fn (*fn)(VmdkReq *req))
{
    BDRVVmdkState *s = bs->opaque;

    while (bytes) {
        VmdkExtent *e = find_extent(s, offset);
        VmdkReq req = {
            .bs = bs,
            .e = e,
            .offset = offset - e->start,
            .bytes = MIN(bytes, e->start + e->bytes - offset),
            .qiov = qiov,
            .qiov_offset = qiov_offset,
            .flags = flags,
        };
        int64_t done = req.bytes;
        int ret = fn(&req);

        if (ret < 0) {
            return ret;
        }
        offset += done;
        qiov_offset += done;
        bytes -= done;
    }
    return 0;
}

/*
 * Call @fn for the part of each extent.  The request is within the disk.
 * Tables are looked up without a lock, so all requests run in the node's home.
 */
static int coroutine_fn for_extents(BlockDriverState *bs, int64_t offset,
                                    int64_t bytes, QEMUIOVector *qiov,
                                    size_t qiov_offset,
                                    BdrvRequestFlags flags,
                                    int coroutine_fn (*fn)(VmdkReq *req))
{
    AioContext *old_ctx;
    int ret;

    if (likely(in_aio_context_home_thread(bdrv_get_aio_context(bs)))) {
        return do_for_extents(bs, offset, bytes, qiov, qiov_offset, flags,
                              fn);
    }
    old_ctx = bdrv_co_enter(bs);
    ret = do_for_extents(bs, offset, bytes, qiov, qiov_offset, flags, fn);
    bdrv_co_leave(bs, old_ctx);
    return ret;
}

/* Returns how many bytes were read, or -errno. */
static int64_t coroutine_fn read_run(VmdkReq *req, const VmdkRun *run)
{
    VmdkExtent *e = req->e;
    int ret;

    if (run->kind == VMDK_GRAIN_ZERO) {
        qemu_iovec_memset(req->qiov, req->qiov_offset, 0, run->bytes);
        return run->bytes;
    }
    if (run->kind == VMDK_GRAIN_DATA && e->compressed) {
        return vmdk_stream_read(req->bs->opaque, e, req->offset, run,
                                req->bytes, req->qiov, req->qiov_offset);
    }
    if (run->kind == VMDK_GRAIN_UNALLOCATED) {
        ret = vmdk_read_backing(req->bs, e->start + req->offset, run->bytes,
                                req->qiov, req->qiov_offset);
    } else {
        BLKDBG_EVENT(e->file, BLKDBG_READ_AIO);
        ret = bdrv_co_preadv_part(e->file, run->file_offset, run->bytes,
                                  req->qiov, req->qiov_offset, 0);
    }
    return ret < 0 ? ret : run->bytes;
}

static void advance(VmdkReq *req, int64_t bytes)
{
    req->offset += bytes;
    req->qiov_offset += bytes;
    req->bytes -= bytes;
}

static int coroutine_fn read_extent(VmdkReq *req)
{
    VmdkExtent *e = req->e;
    int ret = 0;

    if (e->access == VMDK_NOACCESS) {
        return -EACCES;
    }
    if (e->type == VMDK_ZERO) {
        qemu_iovec_memset(req->qiov, req->qiov_offset, 0, req->bytes);
        return 0;
    }
    if (vmdk_type_is_flat(e->type)) {
        BLKDBG_EVENT(e->file, BLKDBG_READ_AIO);
        return bdrv_co_preadv_part(e->file, e->flat_offset + req->offset,
                                   req->bytes, req->qiov, req->qiov_offset,
                                   0);
    }
    while (ret == 0 && req->bytes) {
        VmdkRun run;

        ret = vmdk_map_checked(req->bs, e, req->offset, req->bytes, &run);
        if (ret == 0) {
            int64_t done = read_run(req, &run);

            if (done < 0) {
                ret = done;
            } else {
                advance(req, done);
            }
        }
    }
    return ret;
}

int coroutine_fn vmdk_co_preadv_part(BlockDriverState *bs, int64_t offset,
                                     int64_t bytes, QEMUIOVector *qiov,
                                     size_t qiov_offset,
                                     BdrvRequestFlags flags)
{
    return for_extents(bs, offset, bytes, qiov, qiov_offset, flags,
                       read_extent);
}

/* Whether no data is needed: zeroes over whole grains. */
static bool can_be_zero_grains(const VmdkReq *req, int64_t bytes)
{
    const VmdkExtent *e = req->e;
    int64_t end = req->offset + bytes;

    return !req->qiov && e->has_zero_grain
           && req->offset % e->grain_bytes == 0
           && (end % e->grain_bytes == 0 || end == e->bytes);
}

/* Fill the announced grains of @a with the first @bytes of @req. */
static int coroutine_fn fill_grains(VmdkReq *req, VmdkAlloc *a,
                                    int64_t bytes)
{
    int ret;

    if (!can_be_zero_grains(req, bytes)) {
        if (req->flags & BDRV_REQ_NO_FALLBACK) {
            return -ENOTSUP;
        }
        ret = vmdk_alloc_reserve(req->e, a, req->e->grain_sectors);
        if (ret == 0) {
            ret = vmdk_grow(req->e, vmdk_alloc_end_byte(a));
        }
        if (ret == 0) {
            ret = vmdk_write_new(req->bs, req->e, a, req->offset, bytes,
                                 req->qiov, req->qiov_offset, req->flags);
        }
        if (ret == 0 && req->bs->backing && !a->was_zero) {
            /* Once for all that were written meanwhile. */
            ret = bdrv_co_flush(req->e->file->bs);
        }
        if (ret < 0) {
            return ret;
        }
    }
    return vmdk_alloc_commit(req->e, a);
}

/* Write to grains without data; what was written is in *@bytes. */
static int coroutine_fn write_unallocated(VmdkReq *req, VmdkGrainKind kind,
                                          int64_t *bytes)
{
    VmdkExtent *e = req->e;
    int64_t in_grain = req->offset % e->grain_bytes;
    int64_t count = DIV_ROUND_UP(in_grain + *bytes, e->grain_bytes);
    VmdkAlloc a;
    int ret;

    if (!vmdk_alloc_begin(e, &a, kind, req->offset / e->grain_bytes,
                          &count)) {
        *bytes = 0;
        return 0;
    }
    *bytes = MIN(*bytes, count * e->grain_bytes - in_grain);
    ret = fill_grains(req, &a, *bytes);
    vmdk_alloc_end(&a);
    return ret;
}

/*
 * Whether zeroes need not be written to grains without data.  Those that are
 * not allocated read as the data of a backing file as soon as there is one,
 * so they stay so only if the caller allows it and the image names none.
 */
static bool can_leave_out(const VmdkReq *req, VmdkGrainKind kind)
{
    if (req->qiov || kind == VMDK_GRAIN_ZERO) {
        return !req->qiov;
    }
    return !bdrv_is_overlay(req->bs) && !req->e->has_zero_grain &&
           (req->flags & BDRV_REQ_MAY_UNMAP);
}

static int coroutine_fn write_run(VmdkReq *req, VmdkRun *run)
{
    VmdkExtent *e = req->e;

    if (run->kind != VMDK_GRAIN_DATA) {
        if (can_leave_out(req, run->kind)) {
            return 0;
        }
        return write_unallocated(req, run->kind, &run->bytes);
    }
    BLKDBG_EVENT(e->file, BLKDBG_WRITE_AIO);
    if (!req->qiov) {
        return bdrv_co_pwrite_zeroes(e->file, run->file_offset, run->bytes,
                                     req->flags);
    }
    return bdrv_co_pwritev_part(e->file, run->file_offset, run->bytes,
                                req->qiov, req->qiov_offset, 0);
}

static int coroutine_fn write_sparse(VmdkReq *req)
{
    int ret = 0;

    while (ret == 0 && req->bytes) {
        VmdkRun run;

        ret = vmdk_map_checked(req->bs, req->e, req->offset, req->bytes,
                               &run);
        if (ret == 0) {
            ret = write_run(req, &run);
            advance(req, run.bytes);
        }
    }
    return ret;
}

static int coroutine_fn write_compressed(VmdkReq *req)
{
    VmdkExtent *e = req->e;
    VmdkPackedGrain *packed = NULL;
    int64_t packed_end = req->offset;
    int count = 0;
    int ret = 0;

    if (!req->qiov) {
        return -ENOTSUP;
    }
    while (ret == 0 && req->bytes) {
        int64_t in_grain = req->offset % e->grain_bytes;
        int64_t bytes = MIN(req->bytes, e->grain_bytes - in_grain);

        if (req->offset >= packed_end) {
            vmdk_stream_free_packed(packed, count);
            packed = vmdk_stream_pack(e, req->offset, req->bytes, req->qiov,
                                      req->qiov_offset, &count);
            packed_end = !count ? INT64_MAX : e->grain_bytes *
                (DIV_ROUND_UP(req->offset, e->grain_bytes) + count);
        }
        ret = vmdk_stream_write(req->bs, e, req->offset, bytes, req->qiov,
                                req->qiov_offset, packed, count);
        advance(req, bytes);
    }
    vmdk_stream_free_packed(packed, count);
    return ret;
}

static int coroutine_fn write_flat(VmdkReq *req)
{
    VmdkExtent *e = req->e;

    BLKDBG_EVENT(e->file, BLKDBG_WRITE_AIO);
    if (!req->qiov) {
        return bdrv_co_pwrite_zeroes(e->file, e->flat_offset + req->offset,
                                     req->bytes, req->flags);
    }
    return bdrv_co_pwritev_part(e->file, e->flat_offset + req->offset,
                                req->bytes, req->qiov, req->qiov_offset, 0);
}

static int coroutine_fn write_extent(VmdkReq *req)
{
    VmdkExtent *e = req->e;
    int ret;

    /* Only streams are known to have nothing behind the footer. */
    if (e->access != VMDK_RW || e->type == VMDK_ZERO
        || (e->has_footer && !e->compressed)) {
        return -EACCES;
    }
    if ((req->flags & BDRV_REQ_WRITE_COMPRESSED) && !e->compressed) {
        return -ENOTSUP;
    }
    ret = vmdk_extent_is_sparse(e) ? vmdk_scan_for_write(req->bs, e) : 0;
    if (ret == 0 && e->compressed) {
        ret = vmdk_footer_begin(e);
    }
    if (ret == 0) {
        ret = vmdk_update_cid(req->bs);
    }
    if (ret < 0) {
        return ret;
    }
    if (e->compressed) {
        return write_compressed(req);
    }
    return vmdk_extent_is_sparse(e) ? write_sparse(req) : write_flat(req);
}

int coroutine_fn vmdk_co_pwritev_part(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, QEMUIOVector *qiov,
                                      size_t qiov_offset,
                                      BdrvRequestFlags flags)
{
    return for_extents(bs, offset, bytes, qiov, qiov_offset, flags,
                       write_extent);
}

int coroutine_fn vmdk_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset,
                                       int64_t bytes, BdrvRequestFlags flags)
{
    return for_extents(bs, offset, bytes, NULL, 0, flags, write_extent);
}

static int run_status(const VmdkExtent *e, const VmdkRun *run, int64_t *map,
                      BlockDriverState **file)
{
    switch (run->kind) {
    case VMDK_GRAIN_UNALLOCATED:
        return 0;
    case VMDK_GRAIN_ZERO:
        return BDRV_BLOCK_ZERO | BDRV_BLOCK_ALLOCATED;
    default:
        break;
    }
    if (e->compressed) {
        return BDRV_BLOCK_DATA | BDRV_BLOCK_ALLOCATED | BDRV_BLOCK_COMPRESSED;
    }
    *map = run->file_offset;
    *file = e->file->bs;
    return BDRV_BLOCK_DATA | BDRV_BLOCK_ALLOCATED | BDRV_BLOCK_OFFSET_VALID;
}

/* Compressed grains have no place to be next to: @run goes on all the same. */
static void coroutine_fn extend_compressed(VmdkExtent *e, int64_t offset,
                                           int64_t bytes, VmdkRun *run)
{
    int i;

    for (i = 0; i < MAX_COMPRESSED_RUN && run->bytes < bytes; i++) {
        VmdkRun next;

        /* An error is for whoever asks about that grain. */
        if (vmdk_map(e, offset + run->bytes, bytes - run->bytes, &next) < 0
            || next.kind != VMDK_GRAIN_DATA) {
            break;
        }
        run->bytes += next.bytes;
    }
}

int coroutine_fn vmdk_co_block_status(BlockDriverState *bs, bool want_zero,
                                      int64_t offset, int64_t bytes,
                                      int64_t *pnum, int64_t *map,
                                      BlockDriverState **file)
{
    VmdkExtent *e = find_extent(bs->opaque, offset);
    int64_t in_extent = offset - e->start;
    AioContext *old_ctx;
    VmdkRun run;
    int ret;

    bytes = MIN(bytes, e->bytes - in_extent);
    *pnum = bytes;
    if (e->type == VMDK_ZERO) {
        return BDRV_BLOCK_ZERO | BDRV_BLOCK_ALLOCATED;
    }
    if (e->access == VMDK_NOACCESS) {
        return BDRV_BLOCK_DATA | BDRV_BLOCK_ALLOCATED;
    }
    if (vmdk_type_is_flat(e->type)) {
        *map = e->flat_offset + in_extent;
        *file = e->file->bs;
        return BDRV_BLOCK_DATA | BDRV_BLOCK_ALLOCATED
               | BDRV_BLOCK_OFFSET_VALID | BDRV_BLOCK_RECURSE;
    }
    old_ctx = bdrv_co_enter(bs);
    ret = vmdk_map_checked(bs, e, in_extent, bytes, &run);
    if (ret == 0 && want_zero && run.kind == VMDK_GRAIN_UNALLOCATED
        && bs->backing) {
        /* Zeroes of a wrong parent are as wrong as its data. */
        ret = vmdk_check_parent(bs);
    }
    if (ret == 0 && e->compressed && run.kind == VMDK_GRAIN_DATA) {
        extend_compressed(e, in_extent, bytes, &run);
    }
    bdrv_co_leave(bs, old_ctx);
    if (ret < 0) {
        return ret;
    }
    *pnum = run.bytes;
    return run_status(e, &run, map, file);
}
