/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading compressed grains.
 *
 * Unpacking takes most of the time, so worker threads do that.  Grains that a
 * request has as a whole, and that follow each other in the file, are read in
 * one piece, and unpacked at the same time, each into its place.
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"
#include "block/vmdk/stream.h"

/* --- worker threads --- */

typedef struct TaskGroup {
    Coroutine *waiter;          /* NULL: does not wait yet */
    int pending;
} TaskGroup;

typedef struct Task {
    TaskGroup *group;
    ThreadPoolFunc *fn;
    void *item;
} Task;

static void coroutine_fn task_co(void *opaque)
{
    Task task = *(Task *)opaque;

    thread_pool_submit_co(task.fn, task.item);
    if (--task.group->pending == 0 && task.group->waiter) {
        aio_co_wake(task.group->waiter);
    }
}

void coroutine_fn vmdk_run_all(ThreadPoolFunc *fn, void *items, size_t size,
                               int count)
{
    TaskGroup group = { .pending = count };
    int i;

    for (i = 0; i < count; i++) {
        /* The coroutine copies it before it yields. */
        Task task = {
            .group = &group, .fn = fn, .item = (char *)items + i * size,
        };

        qemu_coroutine_enter(qemu_coroutine_create(task_co, &task));
    }
    while (group.pending) {
        group.waiter = qemu_coroutine_self();
        qemu_coroutine_yield();
    }
}

/* --- one grain --- */

/* Whether the marker is that of @grain: counted in the extent, or the disk. */
static bool marker_fits(const VmdkExtent *e, int64_t grain,
                        const GrainMarker *marker)
{
    uint64_t sector = grain * e->grain_sectors;
    uint64_t lba = GUINT64_FROM_LE(marker->lba);

    return lba == sector || lba == sector + (e->start >> BDRV_SECTOR_BITS);
}

/*
 * Unpack @raw, the @raw_bytes at the place of @grain, into @data.  -EILSEQ
 * if that is another grain, -EIO if it is damaged.
 */
static int unpack_grain(const VmdkExtent *e, int64_t grain,
                        const uint8_t *raw, size_t raw_bytes, uint8_t *data)
{
    int64_t needed = MIN(e->grain_bytes, e->bytes - grain * e->grain_bytes);
    size_t skip = marker_bytes(e);
    size_t size = raw_bytes;
    size_t data_bytes = e->grain_bytes;
    int ret;

    if (skip) {
        const GrainMarker *marker = (const GrainMarker *)raw;

        if (raw_bytes < skip) {
            return -EIO;
        }
        size = GUINT32_FROM_LE(marker->size);
        if (!size || size > raw_bytes - skip) {
            return -EIO;
        }
        if (!marker_fits(e, grain, marker)) {
            return -EILSEQ;
        }
    }
    ret = vmdk_inflate(data, &data_bytes, raw + skip, size);
    return ret == 0 && (int64_t)data_bytes < needed ? -EIO : ret;
}

typedef struct Unpack {
    const VmdkExtent *e;
    int64_t grain;
    const uint8_t *raw;
    size_t raw_bytes;
    uint8_t *data;
} Unpack;

static int unpack_worker(void *opaque)
{
    Unpack *u = opaque;

    return unpack_grain(u->e, u->grain, u->raw, u->raw_bytes, u->data);
}

int coroutine_fn vmdk_stream_load(VmdkExtent *e, int64_t grain,
                                  int64_t file_offset, uint8_t *data,
                                  bool *readable)
{
    int64_t raw_bytes = MIN((int64_t)max_compressed(e),
                            e->file_bytes - file_offset);
    g_autofree uint8_t *raw = g_try_malloc(raw_bytes);
    int ret;

    *readable = false;
    if (!raw) {
        return -ENOMEM;
    }
    BLKDBG_EVENT(e->file, BLKDBG_READ_COMPRESSED);
    ret = bdrv_co_pread(e->file, file_offset, raw_bytes, raw, 0);
    if (ret == 0) {
        Unpack u = {
            .e = e, .grain = grain, .raw = raw, .raw_bytes = raw_bytes,
            .data = data,
        };

        *readable = true;
        ret = thread_pool_submit_co(unpack_worker, &u);
    }
    return ret;
}

/* A part of a grain is read again soon, most likely: the rest of it is kept. */
static int coroutine_fn read_one(BDRVVmdkState *s, VmdkExtent *e,
                                 int64_t offset, int64_t file_offset,
                                 int64_t bytes, QEMUIOVector *qiov,
                                 size_t qiov_offset)
{
    const uint8_t *kept = vmdk_grain_cache_find(s->grains, e, file_offset);
    g_autofree uint8_t *data = NULL;
    bool readable;
    int ret;

    if (kept) {
        qemu_iovec_from_buf(qiov, qiov_offset, kept + offset % e->grain_bytes,
                            bytes);
        return 0;
    }
    data = g_try_malloc(e->grain_bytes);
    if (!data) {
        return -ENOMEM;
    }
    ret = vmdk_stream_load(e, offset / e->grain_bytes, file_offset, data,
                           &readable);
    if (ret < 0) {
        return ret == -EILSEQ ? -EIO : ret;
    }
    qemu_iovec_from_buf(qiov, qiov_offset, data + offset % e->grain_bytes,
                        bytes);
    if (bytes < e->grain_bytes) {
        vmdk_grain_cache_add(&s->grains, e, file_offset,
                             g_steal_pointer(&data));
    }
    return 0;
}

/* --- many grains --- */

typedef struct GrainToRead {
    Unpack unpack;
    int64_t file_offset;
    uint8_t *own;               /* where it is unpacked, if not in place */
    int ret;
} GrainToRead;

static int grain_worker(void *opaque)
{
    GrainToRead *g = opaque;

    g->ret = g->unpack.data ? unpack_worker(&g->unpack) : -ENOMEM;
    return 0;
}

/*
 * Up to @max grains from @offset on, the first of which is at @file_offset, as
 * far as each is behind the one before it and not far away.  Returns how many.
 */
static int coroutine_fn find_grains(VmdkExtent *e, int64_t offset,
                                    int64_t file_offset, int max,
                                    GrainToRead *grains)
{
    int count = 0;

    while (count < max) {
        GrainToRead *g = &grains[count];

        *g = (GrainToRead) {
            .unpack = {
                .e = e, .grain = offset / e->grain_bytes + count,
            },
            .file_offset = file_offset,
        };
        if (++count < max) {
            int64_t next = offset + count * e->grain_bytes;
            VmdkRun run;

            /* An error is told by whoever comes to that grain. */
            if (vmdk_map(e, next, e->grain_bytes, &run) < 0
                || run.kind != VMDK_GRAIN_DATA
                || run.file_offset <= file_offset
                || run.file_offset - file_offset
                   > (int64_t)max_compressed(e)) {
                break;
            }
            file_offset = run.file_offset;
        }
    }
    return count;
}

/* Unpack all of them out of @raw, into the memory of the request. */
static int coroutine_fn unpack_all(GrainToRead *grains, int count,
                                   const uint8_t *raw, int64_t raw_bytes,
                                   QEMUIOVector *qiov, size_t qiov_offset)
{
    int64_t grain_bytes = grains[0].unpack.e->grain_bytes;
    int ret = 0;
    int i;

    for (i = 0; i < count; i++) {
        GrainToRead *g = &grains[i];
        int64_t start = g->file_offset - grains[0].file_offset;
        int64_t most = max_compressed(g->unpack.e);

        g->unpack.raw = raw + start;
        g->unpack.raw_bytes = MIN(most, raw_bytes - start);
        g->unpack.data = qemu_iovec_single_buf(qiov, qiov_offset +
                                               i * grain_bytes, grain_bytes);
        if (!g->unpack.data) {
            g->unpack.data = g->own = g_try_malloc(grain_bytes);
        }
    }
    vmdk_run_all(grain_worker, grains, sizeof(*grains), count);
    for (i = 0; i < count; i++) {
        GrainToRead *g = &grains[i];

        if (g->own && g->ret == 0) {
            qemu_iovec_from_buf(qiov, qiov_offset + i * grain_bytes, g->own,
                                grain_bytes);
        }
        g_free(g->own);
        if (ret == 0 && g->ret < 0) {
            ret = g->ret == -EILSEQ ? -EIO : g->ret;
        }
    }
    return ret;
}

/* How many grains were read, 0 if that is better done one by one; -errno. */
static int64_t coroutine_fn read_many(VmdkExtent *e, int64_t offset,
                                      int64_t file_offset, int64_t bytes,
                                      QEMUIOVector *qiov, size_t qiov_offset)
{
    int max = MIN(bytes / e->grain_bytes, vmdk_stream_max_grains(e));
    g_autofree GrainToRead *grains = NULL;
    g_autofree uint8_t *raw = NULL;
    int64_t raw_bytes;
    int count;
    int ret;

    if (max < 2 || offset % e->grain_bytes) {
        return 0;
    }
    grains = g_try_new(GrainToRead, max);
    count = grains ? find_grains(e, offset, file_offset, max, grains) : 0;
    if (count < 2) {
        return 0;
    }
    raw_bytes = MIN(grains[count - 1].file_offset + (int64_t)max_compressed(e),
                    e->file_bytes) - file_offset;
    raw = g_try_malloc(raw_bytes);
    if (!raw) {
        return 0;
    }
    BLKDBG_EVENT(e->file, BLKDBG_READ_COMPRESSED);
    ret = bdrv_co_pread(e->file, file_offset, raw_bytes, raw, 0);
    if (ret == 0) {
        ret = unpack_all(grains, count, raw, raw_bytes, qiov, qiov_offset);
    }
    return ret < 0 ? ret : count;
}

int64_t coroutine_fn vmdk_stream_read(BDRVVmdkState *s, VmdkExtent *e,
                                      int64_t offset, const VmdkRun *run,
                                      int64_t bytes, QEMUIOVector *qiov,
                                      size_t qiov_offset)
{
    int64_t count = read_many(e, offset, run->file_offset, bytes, qiov,
                              qiov_offset);
    int ret;

    if (count) {
        return count < 0 ? count : count * e->grain_bytes;
    }
    ret = read_one(s, e, offset, run->file_offset, run->bytes, qiov,
                   qiov_offset);
    return ret < 0 ? ret : run->bytes;
}
