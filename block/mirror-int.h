/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared by the job and the filter of mirror.
 */
#ifndef MIRROR_INT_H
#define MIRROR_INT_H

#include "block/blockjob.h"
#include "block/buffer-pool.h"
#include "block/copy-window.h"
#include "block/dirty-bitmap.h"
#include "block/mirror.h"

typedef struct MirrorBlockJob MirrorBlockJob;

/* A range that is being copied, or written to both; on the stack or heap. */
typedef struct MirrorOp {
    MirrorBlockJob *s;
    int64_t offset;             /* whole chunks */
    int64_t bytes;
    bool zeroes;
    CoQueue waiting;            /* under s->lock */
    QLIST_ENTRY(MirrorOp) next;
} MirrorOp;

/* The instance of the filter. */
typedef struct MirrorTopState {
    MirrorBlockJob *job;        /* NULL: pass all through */
    bool is_commit;             /* the target is below the source */
} MirrorTopState;

struct MirrorBlockJob {
    BlockJob common;
    BlockDriverState *mirror_top_bs;
    BdrvChild *target;          /* of mirror_top_bs */
    BlockDriverState *base;     /* with TOP: what is above it is copied */
    char *replaces;             /* the node that the target replaces */
    BlockDriverState *to_replace;
    MirrorSyncMode sync_mode;
    BlockdevOnError on_source_error;
    BlockdevOnError on_target_error;
    bool source_backing;        /* give the target its backing node */
    bool unmap;
    bool target_is_partial;     /* it may get a backing file later */
    bool is_commit;
    bool frozen;                /* the links from the source to the target */
    bool restore_read_only;     /* the target, if it is not switched to */
    int64_t len;
    int64_t granularity;
    int64_t max_io;             /* bytes in one request */
    int max_in_flight;
    BdrvDirtyBitmap *dirty_bitmap;      /* what the target lacks */

    bool active;                /* atomic: writes go to both */
    bool should_complete;       /* atomic: the user asked for the switch */
    int ret;                    /* atomic: the error that ends the job */
    bool error_ignored;         /* atomic: one of this pass */
    bool was_zero;              /* atomic: the target, where not written */

    QemuMutex lock;             /* protects what follows */
    QLIST_HEAD(, MirrorOp) ops;
    /* With sync=full: where data have been written to the target, by chunks. */
    HBitmap *written;
    /*
     * With a target that gets its backing file later: the chunks that it has
     * as a whole.  The rest of a cluster of which it gets only a part would be
     * zeroes.  NULL: the parts of a chunk may be written one by one.
     */
    HBitmap *whole;

    /* The coroutine's, and its copies', which run in its context. */
    int in_flight;              /* atomic for readers elsewhere */
    int copies_in_flight;       /* of them; the others are zeroes */
    int64_t bytes_in_flight;
    int64_t iter_offset;
    int64_t pass_dirty;         /* what the target lacked when it began */
    int64_t data_offset, data_end;      /* the source has had data there */
    CopyWindow window;
    BufferPool buffers;
    bool waiting_for_io;
    bool synced;                /* READY was told */
};

extern BlockDriver bdrv_mirror_top;
extern const BlockJobDriver mirror_job_driver;
extern const BlockJobDriver commit_active_job_driver;

/*
 * Take the job off its nodes, after a success as its options say.  0 or -errno.
 * Main thread.
 */
int mirror_exit(MirrorBlockJob *s, bool success);

/* Whether @below is @bs, or shows the same since only filters are between. */
bool mirror_shows_same(BlockDriverState *bs, BlockDriverState *below);

/* Wait until nothing else works on the op's range, and list it. */
void coroutine_fn mirror_op_begin(MirrorOp *op);
void coroutine_fn mirror_op_end(MirrorOp *op);
/* [@offset, @offset + @bytes) is missing on the target. */
void mirror_set_dirty(MirrorBlockJob *s, int64_t offset, int64_t bytes);
/* Before data, perhaps not zeroes, are written to the target. */
void mirror_note_written(MirrorBlockJob *s, int64_t offset, int64_t bytes);
/* The target has the chunks that lie in the range, up to the end. */
void mirror_note_whole(MirrorBlockJob *s, int64_t offset, int64_t bytes);
/* Whether the range of the target is still as zero as it was. */
bool mirror_is_still_zero(MirrorBlockJob *s, int64_t offset, int64_t bytes);
/* A request has failed with -errno @error: by the policy, perhaps the end. */
void mirror_error(MirrorBlockJob *s, bool is_read, int error);

#endif
