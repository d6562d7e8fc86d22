/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The block layer for its drivers: the table that a driver fills in, and the
 * node.
 */
#ifndef BLOCK_INT_H
#define BLOCK_INT_H

#include "block/block.h"
#include "block/graph-lock.h"
#include "qemu/aio-wait.h"
#include "qapi/error.h"
#include "qapi/qapi-types-block-create.h"
#include "qemu/main-loop.h"
#include "qemu/error-report.h"
#include "qemu/transactions.h"

typedef struct BDRVReopenState {
    BlockDriverState *bs;
    int flags;                  /* the new BDRV_O_* */
    /* All options that are to be; the driver takes what it accepts. */
    QOpts *options;
    void *opaque;               /* the driver's, from prepare to the end */
} BDRVReopenState;

/*
 * Every callback is optional unless it says "required".  Main thread outside
 * coroutines, unless its name has _co_: then in a coroutine of the node's
 * AioContext, with requests that lie within the node's limits: offset and
 * bytes are multiples of bl.request_alignment and bytes does not exceed
 * bl.max_transfer.  0 or -errno, unless told otherwise.
 */
struct BlockDriver {
    const char *format_name;    /* required */
    const char *protocol_name;  /* set: a protocol, usable as "NAME:..." */
    size_t instance_size;       /* of bs->opaque, zeroed before open */
    bool is_format;             /* has a file child with metadata */
    bool is_filter;             /* same data as its one child */
    bool filtered_child_is_backing; /* of a filter: bs->backing, not file */
    bool grows_ahead;           /* before a write behind the end the file gets
                                   longer than that, and is flushed */
    bool supports_backing;
    bool supports_compressed_writes;    /* in some of its images */
    /* The option that lists its children, "NAME.0", ...; NULL: none does. */
    const char *children_list;

    /* Options of create; NULL: cannot create. */
    const QemuOptsList *create_opts;
    /* Options that reopen can set back to their default; NULL-terminated. */
    const char *const *mutable_opts;

    /* 0..100: how much @buf, the first @buf_size bytes, looks like ours. */
    int (*bdrv_probe)(const uint8_t *buf, int buf_size, const char *filename);
    /* 0..100 for protocols: is @filename one (host_device: block devices)? */
    int (*bdrv_probe_device)(const char *filename);

    /* Fill @options from "NAME:rest", for protocols. */
    void (*bdrv_parse_filename)(const char *filename, QOpts *options,
                                Error **errp);
    /*
     * Required.  Takes its options out of @options; what is left is an error
     * of the caller's.  Formats open their file child here
     * (bdrv_open_file_child(NULL, options, "file", bs, errp)).  On error it
     * has undone everything; children are dropped by the caller.
     */
    int (*bdrv_open)(BlockDriverState *bs, QOpts *options, int flags,
                     Error **errp);
    void (*bdrv_close)(BlockDriverState *bs);

    /* Exactly one of commit and abort follows a successful prepare. */
    int (*bdrv_reopen_prepare)(BDRVReopenState *state, Error **errp);
    void (*bdrv_reopen_commit)(BDRVReopenState *state);
    void (*bdrv_reopen_abort)(BDRVReopenState *state);

    /* In a coroutine of the main thread: what blockdev-create asks for. */
    int coroutine_fn (*bdrv_co_create)(BlockdevCreateOptions *options,
                                       Error **errp);
    /* In a coroutine; @opts has the values of create_opts. */
    int coroutine_fn (*bdrv_co_create_opts)(BlockDriver *drv,
                                            const char *filename,
                                            QOpts *opts, Error **errp);

    int coroutine_fn (*bdrv_co_preadv_part)(BlockDriverState *bs,
                                            int64_t offset, int64_t bytes,
                                            QEMUIOVector *qiov,
                                            size_t qiov_offset,
                                            BdrvRequestFlags flags);
    /* @flags only from bs->supported_write_flags. */
    int coroutine_fn (*bdrv_co_pwritev_part)(BlockDriverState *bs,
                                             int64_t offset, int64_t bytes,
                                             QEMUIOVector *qiov,
                                             size_t qiov_offset,
                                             BdrvRequestFlags flags);
    /* -ENOTSUP: the caller writes zeroes.  bl.pwrite_zeroes_alignment. */
    int coroutine_fn (*bdrv_co_pwrite_zeroes)(BlockDriverState *bs,
                                              int64_t offset, int64_t bytes,
                                              BdrvRequestFlags flags);
    /* Advisory: -ENOTSUP is not passed on.  bl.pdiscard_alignment. */
    int coroutine_fn (*bdrv_co_pdiscard)(BlockDriverState *bs,
                                         int64_t offset, int64_t bytes);
    /*
     * Copy offloading.  _from: pass the request on to the child that has the
     * data of @src (this node's edge), or, for the last node, to @dst by
     * bdrv_co_copy_range_to().  _to: the same for @dst, and the last node does
     * the work, if it knows the node of @src.  -ENOTSUP: it cannot.
     */
    int coroutine_fn (*bdrv_co_copy_range_from)(BlockDriverState *bs,
                                                BdrvChild *src,
                                                int64_t src_offset,
                                                BdrvChild *dst,
                                                int64_t dst_offset,
                                                int64_t bytes,
                                                BdrvRequestFlags read_flags,
                                                BdrvRequestFlags write_flags);
    int coroutine_fn (*bdrv_co_copy_range_to)(BlockDriverState *bs,
                                              BdrvChild *src,
                                              int64_t src_offset,
                                              BdrvChild *dst,
                                              int64_t dst_offset,
                                              int64_t bytes,
                                              BdrvRequestFlags read_flags,
                                              BdrvRequestFlags write_flags);
    /* Instead of the two below, and of the children: all that is written. */
    int coroutine_fn (*bdrv_co_flush)(BlockDriverState *bs);
    /* Caches of the driver to the OS, then of the OS to the disk. */
    int coroutine_fn (*bdrv_co_flush_to_os)(BlockDriverState *bs);
    int coroutine_fn (*bdrv_co_flush_to_disk)(BlockDriverState *bs);
    int coroutine_fn (*bdrv_co_truncate)(BlockDriverState *bs, int64_t offset,
                                         bool exact, PreallocMode prealloc,
                                         BdrvRequestFlags flags,
                                         Error **errp);
    /* Required for protocols; default: bs->total_sectors. */
    int64_t coroutine_fn (*bdrv_co_getlength)(BlockDriverState *bs);
    /*
     * The length of @bs, in bytes, now that its primary child has @child_bytes.
     * Default: a filter is as long as its child, another node stays as it is.
     * In the coroutine that changes the child, of any thread; may not yield.
     */
    int64_t (*bdrv_length_by_child)(BlockDriverState *bs, int64_t child_bytes);
    int64_t coroutine_fn (*bdrv_co_get_allocated_file_size)(
        BlockDriverState *bs);
    int coroutine_fn (*bdrv_co_get_info)(BlockDriverState *bs,
                                         BlockDriverInfo *bdi);
    /*
     * Aligned to bl.request_alignment.  With BDRV_BLOCK_OFFSET_VALID sets
     * *@map and *@file; 0 < *@pnum on success, which may be more than was
     * asked for.  @want_zero false: only allocation is asked for.
     */
    int coroutine_fn (*bdrv_co_block_status)(BlockDriverState *bs,
                                             bool want_zero, int64_t offset,
                                             int64_t bytes, int64_t *pnum,
                                             int64_t *map,
                                             BlockDriverState **file);
    /*
     * For snapshot-access: the disk as it was at some moment, which the driver
     * keeps.  Ranges as above; -EACCES for what is not kept.  Discard: nobody
     * wants this part of it any more.  0 < *@pnum on success.
     */
    int coroutine_fn (*bdrv_co_preadv_snapshot)(BlockDriverState *bs,
                                                int64_t offset, int64_t bytes,
                                                QEMUIOVector *qiov,
                                                size_t qiov_offset);
    int coroutine_fn (*bdrv_co_snapshot_block_status)(BlockDriverState *bs,
                                                      int64_t offset,
                                                      int64_t bytes,
                                                      int64_t *pnum);
    int coroutine_fn (*bdrv_co_pdiscard_snapshot)(BlockDriverState *bs,
                                                  int64_t offset,
                                                  int64_t bytes);

    int coroutine_fn (*bdrv_co_check)(BlockDriverState *bs,
                                      BdrvCheckResult *result,
                                      BdrvCheckMode fix);

    /*
     * Whether the backing file, if there is one, still has the content that
     * the image is an overlay of, as far as the image notes that; false with
     * @errp set if not.  The node is drained.
     */
    bool (*bdrv_check_backing)(BlockDriverState *bs, Error **errp);
    /*
     * Note in the image, which is open for writing, another backing file
     * (NULL or "": none) and its format (NULL: not told).  A crash at any time
     * must not leave an image that reads wrong data.  -EINVAL if the image
     * cannot have such a one, -ENOSPC without room for the name.
     */
    int coroutine_fn (*bdrv_co_change_backing_file)(BlockDriverState *bs,
                                                    const char *backing_file,
                                                    const char *backing_fmt);

    /*
     * Another child, or one less, while the node is drained.  @errp is set if
     * the driver refuses; add takes a reference to @child_bs of its own.
     */
    void (*bdrv_add_child)(BlockDriverState *bs, BlockDriverState *child_bs,
                           Error **errp);
    void (*bdrv_del_child)(BlockDriverState *bs, BdrvChild *child,
                           Error **errp);

    /* {"type":..., "data":{...}}; a new reference. */
    struct json_object *(*bdrv_get_specific_info)(BlockDriverState *bs,
                                                  Error **errp);
    /* Fill bs->bl (zeroed and merged from the children before). */
    void (*bdrv_refresh_limits)(BlockDriverState *bs, Error **errp);
    /* Set bs->filename. */
    void (*bdrv_refresh_filename)(BlockDriverState *bs);
    int (*bdrv_has_zero_init)(BlockDriverState *bs);

    /*
     * What to ask of @child for @perm/@shared of the parents; default: by
     * is_filter and role.
     */
    void (*bdrv_child_perm)(BlockDriverState *bs, BdrvChild *child,
                            BdrvChildRole role, uint64_t parent_perm,
                            uint64_t parent_shared, uint64_t *nperm,
                            uint64_t *nshared);
    /* New cumulative permissions: check, then set or abort. */
    int (*bdrv_check_perm)(BlockDriverState *bs, uint64_t perm,
                           uint64_t shared, Error **errp);
    void (*bdrv_set_perm)(BlockDriverState *bs, uint64_t perm,
                          uint64_t shared);
    void (*bdrv_abort_perm_update)(BlockDriverState *bs);

    /*
     * Requests that wait for another program (to answer, to come back) fail
     * soon, as nobody wants their results.  Main thread; may not wait.
     */
    void (*bdrv_cancel_in_flight)(BlockDriverState *bs);

    /*
     * Once per drained section, of a node that is open: stop, and start again,
     * requests that the driver makes on its own account.
     */
    void (*bdrv_drain_begin)(BlockDriverState *bs);
    void (*bdrv_drain_end)(BlockDriverState *bs);

    /*
     * The node, which is drained, leaves its AioContext (timers and the like
     * of the driver must go), and comes to another.  Not called before
     * bdrv_open() of the driver has returned.
     */
    void (*bdrv_detach_aio_context)(BlockDriverState *bs);
    void (*bdrv_attach_aio_context)(BlockDriverState *bs,
                                    AioContext *new_context);

    /*
     * The node, which nobody writes to and which is drained, becomes inactive:
     * leave the children as others are to find them.  0 or -errno with @errp
     * set.
     */
    int (*bdrv_inactivate)(BlockDriverState *bs, Error **errp);

    /* blkdebug */
    void coroutine_fn (*bdrv_co_debug_event)(BlockDriverState *bs,
                                             BlkdebugEvent event);
    int (*bdrv_debug_breakpoint)(BlockDriverState *bs, const char *event,
                                 const char *tag);
    int (*bdrv_debug_remove_breakpoint)(BlockDriverState *bs,
                                        const char *tag);
    int (*bdrv_debug_resume)(BlockDriverState *bs, const char *tag);
    bool (*bdrv_debug_is_suspended)(BlockDriverState *bs, const char *tag);

    QLIST_ENTRY(BlockDriver) list;
};

/* Bytes; 0 means "no limit" unless told otherwise. */
typedef struct BlockLimits {
    uint32_t request_alignment; /* power of 2, >= 1 */
    int64_t max_pdiscard;
    uint32_t pdiscard_alignment;    /* 0: request_alignment */
    int64_t max_pwrite_zeroes;
    uint32_t pwrite_zeroes_alignment;
    uint32_t opt_transfer;
    uint32_t max_transfer;
    uint64_t max_hw_transfer;
    int max_iov;
    size_t min_mem_alignment;
    size_t opt_mem_alignment;
} BlockLimits;

/*
 * What a kind of parent (a node, a BlockBackend, a job) does when something
 * happens to its child.  Main thread, unless told otherwise; NULL: nothing.
 */
typedef struct BdrvChildClass {
    /* bdrv_replace_node() leaves such an edge at the node that it names. */
    bool stay_at_node;
    /* BdrvChild.opaque is a BlockDriverState. */
    bool parent_is_bds;

    /* Required: "node 'x'", "block device 'y'", for messages; to be freed. */
    char *(*get_parent_desc)(BdrvChild *child);
    /* The name of the BlockBackend or job; "" if it has none. */
    const char *(*get_name)(BdrvChild *child);

    /*
     * drained_begin: make no new requests to the child; may not poll.
     * drained_poll: whether the parent has requests that may still reach the
     * child; becomes false without new events from above, and the thread that
     * makes it false calls aio_wait_kick().  drained_end: undo
     * drained_begin; may start requests.
     */
    void (*drained_begin)(BdrvChild *child);
    bool (*drained_poll)(BdrvChild *child);
    void (*drained_end)(BdrvChild *child);

    /* The edge has got / is about to lose child->bs.  Graph lock held. */
    void (*attach)(BdrvChild *child);
    void (*detach)(BdrvChild *child);

    /*
     * The length of the child has changed.  In the coroutine that changed it,
     * of any thread, with the graph lock held for reading; may not yield.
     */
    void (*resize)(BdrvChild *child);

    /*
     * The child becomes inactive: stop writing, or return -errno; NULL: cannot.
     * activate undoes it; 0 or -errno with @errp set.
     */
    int (*inactivate)(BdrvChild *child);
    int (*activate)(BdrvChild *child, Error **errp);

    /*
     * The child is to move to @ctx, with its parents that follow.  Return
     * false with @errp set to refuse; otherwise add what is to be done to
     * @tran, and what was seen to @visited.  NULL: the parent refuses.
     */
    bool (*change_aio_ctx)(BdrvChild *child, AioContext *ctx,
                           GHashTable *visited, Transaction *tran,
                           Error **errp);
    /* Required: where the parent runs.  Any thread. */
    AioContext *(*get_parent_aio_context)(BdrvChild *child);
} BdrvChildClass;

/* Nodes as parents. */
extern const BdrvChildClass child_of_bds;

struct BdrvChild {
    BlockDriverState *bs;       /* NULL only while the graph changes */
    char *name;                 /* "file", "extents.0" */
    const BdrvChildClass *klass;
    BdrvChildRole role;
    void *opaque;               /* the parent; see klass */
    uint64_t perm;              /* atomic in requests */
    uint64_t shared_perm;
    bool frozen;                /* bs cannot change: see bdrv_freeze_*() */
    bool quiesced_parent;       /* the parent is quiesced since bs is */
    unsigned flush_errors_told; /* the parent knows so many of bs; atomic */
    QLIST_ENTRY(BdrvChild) next;        /* the parent node's children */
    QLIST_ENTRY(BdrvChild) next_parent; /* bs->parents */
};

typedef enum BdrvTrackedRequestType {
    BDRV_TRACKED_READ,
    BDRV_TRACKED_WRITE,
    BDRV_TRACKED_DISCARD,
    BDRV_TRACKED_TRUNCATE,
} BdrvTrackedRequestType;

/* On the stack of its coroutine; under bs->reqs_lock while it is listed. */
typedef struct BdrvTrackedRequest {
    BlockDriverState *bs;
    int64_t offset;
    int64_t bytes;
    BdrvTrackedRequestType type;
    bool serialising;
    int64_t overlap_offset;
    int64_t overlap_bytes;
    QLIST_ENTRY(BdrvTrackedRequest) list;
    QLIST_ENTRY(BdrvTrackedRequest) serialising_list;
    CoQueue wait_queue;
    struct BdrvTrackedRequest *waiting_for;
    uint64_t ticket;            /* the order in which they came */
} BdrvTrackedRequest;

typedef struct AioContextNotifier AioContextNotifier;
typedef struct AioContextNotifierList {
    QLIST_HEAD(, AioContextNotifier) head;
    int walking;
} AioContextNotifierList;

struct BlockDriverState {
    BlockDriver *drv;           /* NULL after a failed open */
    void *opaque;               /* the driver's instance */
    AioContext *aio_context;    /* its home; atomic; changed while drained */
    AioContextNotifierList aio_notifiers;

    int open_flags;
    int refcnt;
    bool closing;               /* the last reference has been dropped */
    char node_name[32];
    char *filename;             /* as shown to users; never NULL */
    char *exact_filename;       /* path or "proto:..." alone; may be "" */
    QOpts *options;             /* as opened, the driver's own included */
    char *backing_file;         /* as the image names it; NULL: none */
    char *full_backing_file;    /* the same as a path to open */
    char *backing_format;       /* NULL: not told */

    BdrvChild *file;
    BdrvChild *backing;
    QLIST_HEAD(, BdrvChild) children;
    QLIST_HEAD(, BdrvChild) parents;
    QTAILQ_ENTRY(BlockDriverState) node_list;

    BlockLimits bl;
    unsigned supported_read_flags;
    unsigned supported_write_flags;     /* BDRV_REQ_FUA, ... */
    unsigned supported_zero_flags;
    unsigned supported_truncate_flags;
    BlockdevDetectZeroesOptions detect_zeroes;
    bool probed;                /* the format was guessed */
    bool implicit;              /* a filter that the user did not ask for */
    bool never_freeze;          /* the link to it must be free to change */
    bool force_share;
    BlockDriverState *inherits_from;    /* the parent that it was opened by */
    unsigned backing_depth;     /* how many images it was opened below */
    BlockDriverState *opened_below;     /* while it is opened: its parent */

    int64_t total_sectors;      /* atomic in requests, which change it */

    /* A range of the last answer to a status request: block-status.c. */
    QemuSpin status_lock;
    int64_t status_start;
    int64_t status_end;         /* 0: none */

    /* requests: in_flight and the lists are under reqs_lock */
    unsigned in_flight;
    unsigned serialising_in_flight;     /* atomic */
    unsigned write_gen;         /* grows with every write; atomic */
    uint64_t wr_highest_offset; /* bytes; atomic */
    uint64_t write_threshold;   /* bytes; atomic; 0: none */
    unsigned flushed_gen;       /* the write_gen of the last flush */
    unsigned flush_errors;      /* flushes that have failed; atomic */
    int flush_error;            /* the last of them: -errno; atomic */
    bool flush_error_untold;    /* no parent has been told; atomic */
    bool active_flush_req;
    CoQueue flush_queue;
    QemuSpin reqs_lock;
    QLIST_HEAD(, BdrvTrackedRequest) tracked_requests;
    QLIST_HEAD(, BdrvTrackedRequest) serialising_requests;  /* some of them */
    uint64_t next_ticket;       /* of the next request */
    int quiesce_counter;        /* main thread only */
    unsigned drain_all_count;   /* drain_all sections in quiesce_counter */
    bool driver_drained;        /* the driver's drain_begin was called */

    QemuMutex dirty_bitmap_mutex;       /* the list, and all bits */
    QLIST_HEAD(, BdrvDirtyBitmap) dirty_bitmaps;
    unsigned n_dirty_bitmaps;   /* atomic; changes under the mutex */

    uint64_t cumulative_perms;
    uint64_t cumulative_shared;
};

/* Called by each driver's constructor, see block_init(). */
void bdrv_register(BlockDriver *drv);

#define block_init(function) \
    static void __attribute__((constructor)) do_init_##function(void) \
    { \
        function(); \
    }

/*
 * Keep the node busy for drain while an operation of its own goes on; a tracked
 * request does so itself.  Any thread.
 */
static inline void bdrv_inc_in_flight(BlockDriverState *bs)
{
    qemu_spin_lock(&bs->reqs_lock);
    bs->in_flight++;
    qemu_spin_unlock(&bs->reqs_lock);
}

static inline void bdrv_dec_in_flight(BlockDriverState *bs)
{
    bool last;

    qemu_spin_lock(&bs->reqs_lock);
    last = --bs->in_flight == 0;
    qemu_spin_unlock(&bs->reqs_lock);
    if (last) {
        aio_wait_kick();
    }
}

/*
 * While a node is drained its parents are quiesced.  For an edge that comes or
 * goes meanwhile: quiesce its parent, or let it go on.  Idempotent.
 */
void bdrv_parent_drained_begin_single(BdrvChild *c);
void bdrv_parent_drained_end_single(BdrvChild *c);
/* Whether the parent of @c still has requests. */
bool bdrv_parent_drained_poll_single(BdrvChild *c);
/* Whether @bs, or one of its parents, still has requests. */
bool bdrv_drain_poll(BlockDriverState *bs);
/* bdrv_drained_begin() and _end() without waiting. */
void bdrv_quiesce(BlockDriverState *bs);
void bdrv_unquiesce(BlockDriverState *bs);
/* For a new node, before it is used: see bdrv_drain_all_begin(). */
void bdrv_drain_all_join(BlockDriverState *bs);
/* @bs has been listed: its driver is told if it is drained already. */
void bdrv_driver_drain_begin(BlockDriverState *bs);

/* A write up to @end: send the event once if it goes beyond the threshold. */
void bdrv_write_threshold_exceeded(BlockDriverState *bs, uint64_t end);

/* The two halves of bdrv_co_copy_range(), for drivers. */
int coroutine_fn bdrv_co_copy_range_from(BdrvChild *src, int64_t src_offset,
                                         BdrvChild *dst, int64_t dst_offset,
                                         int64_t bytes,
                                         BdrvRequestFlags read_flags,
                                         BdrvRequestFlags write_flags);
int coroutine_fn bdrv_co_copy_range_to(BdrvChild *src, int64_t src_offset,
                                       BdrvChild *dst, int64_t dst_offset,
                                       int64_t bytes,
                                       BdrvRequestFlags read_flags,
                                       BdrvRequestFlags write_flags);

/*
 * @base is going to be written in a way that @above, whose backing file it is,
 * does not see.  Afterwards @above knows it again even if the process is
 * killed meanwhile.  0 or -errno.  Main thread, outside coroutines.
 */
int bdrv_announce_base_change(BdrvChild *base, BlockDriverState *above);

/*
 * Copy what [@offset, @offset + @bytes) lacks, for it is in images below, into
 * the image of @child: it reads as before, and does not need those any more.
 * The user has BLK_PERM_WRITE_UNCHANGED.  @buf has @bytes bytes for it.
 */
int coroutine_fn bdrv_co_copy_up(BdrvChild *child, int64_t offset,
                                 int64_t bytes, void *buf);

/* Pass a blkdebug event to bs; cheap where there is no blkdebug. */
static inline void coroutine_fn bdrv_co_debug_event(BlockDriverState *bs,
                                                    BlkdebugEvent event)
{
    if (unlikely(bs->drv && bs->drv->bdrv_co_debug_event)) {
        bs->drv->bdrv_co_debug_event(bs, event);
    }
}
#define BLKDBG_CO_EVENT(child, evt) do {                                \
        if (child) {                                                    \
            bdrv_co_debug_event((child)->bs, (evt));                    \
        }                                                               \
    } while (0)
#define BLKDBG_EVENT BLKDBG_CO_EVENT

/* --- errors of flushes: block/flush.c --- */

/*
 * A flush of @bs, or what is like one, has failed with @ret < 0: the next
 * bdrv_co_flush_child() of each parent fails, too.  Any thread.
 */
void bdrv_note_flush_error(BlockDriverState *bs, int ret);
/* Whether @bs has been written to since its last flush. */
static inline bool bdrv_has_unflushed(const BlockDriverState *bs)
{
    return qatomic_read(&bs->write_gen) != qatomic_read(&bs->flushed_gen);
}

/* Whether the next bdrv_co_flush_child() of @c fails for such an error. */
bool bdrv_child_has_flush_error(const BdrvChild *c);
/*
 * @c leads to another node now, whose errors until now are not its parent's;
 * @untold: there is one of the old node.  The graph is being changed.
 */
void bdrv_child_init_flush_errors(BdrvChild *c, bool untold);

/* --- edges: block/child.c --- */

/*
 * Attach @child_bs (consuming the reference) to @parent; checks permissions.
 * NULL with @errp set on failure, the reference is dropped then too.
 */
BdrvChild *bdrv_attach_child(BlockDriverState *parent,
                             BlockDriverState *child_bs, const char *name,
                             const BdrvChildClass *klass, BdrvChildRole role,
                             Error **errp);
/*
 * The same for a parent @opaque that is no node.  @child_bs moves to the
 * parent's AioContext, or the parent to that of @child_bs.
 */
BdrvChild *bdrv_root_attach_child(BlockDriverState *child_bs,
                                  const char *name,
                                  const BdrvChildClass *klass,
                                  BdrvChildRole role, uint64_t perm,
                                  uint64_t shared, void *opaque,
                                  Error **errp);
/* Drop the edge and its reference to the node. */
void bdrv_root_unref_child(BdrvChild *child);
/* What the parent of @child is called in messages; to be freed. */
char *bdrv_child_user_desc(BdrvChild *child);

/*
 * Steps of a change of the graph, without a check of permissions: that
 * follows, once, by bdrv_list_refresh_perms() with the same @tran.  All nodes
 * whose edges move are drained.
 */
BdrvChild * GRAPH_WRLOCK
bdrv_attach_child_noperm(BlockDriverState *parent, BlockDriverState *child_bs,
                         const char *name, const BdrvChildClass *klass,
                         BdrvChildRole role, Transaction *tran, Error **errp);
void GRAPH_WRLOCK bdrv_replace_child_tran(BdrvChild *child,
                                          BlockDriverState *new_bs,
                                          Transaction *tran);
void GRAPH_WRLOCK bdrv_remove_child_tran(BdrvChild *child, Transaction *tran);
/* Another "backing" or "file" child, or none (@child NULL). */
int GRAPH_WRLOCK bdrv_set_file_or_backing_noperm(BlockDriverState *parent,
                                                 BlockDriverState *child,
                                                 bool is_backing,
                                                 Transaction *tran,
                                                 Error **errp);
/* False with @errp set if @child is @parent or above it. */
bool bdrv_check_cycle(BlockDriverState *parent, BlockDriverState *child,
                      const char *name, Error **errp);

/* Tell the parents of @bs that its length has changed. */
void GRAPH_RDLOCK bdrv_do_parent_cb_resize(BlockDriverState *bs);
void coroutine_fn bdrv_co_parent_cb_resize(BlockDriverState *bs);

/* --- homes: block/context.c --- */

/*
 * What BdrvChildClass.change_aio_ctx does of a node: add to @tran what moves
 * @bs to @ctx, with its parents and children but for the edges of @visited.
 */
bool bdrv_change_aio_context(BlockDriverState *bs, AioContext *ctx,
                             GHashTable *visited, Transaction *tran,
                             Error **errp);
/* Where the ends of an edge that is to be were at home. */
typedef struct BdrvHomes {
    BdrvChild edge;             /* its class and parent */
    BlockDriverState *bs;
    AioContext *parent_ctx;
    AioContext *bs_ctx;
} BdrvHomes;

/*
 * Before @c leads to @bs: @bs moves to the home of the parent, or the parent
 * to that of @bs.  bdrv_join_undo() when @c does not come about after all.
 */
int bdrv_join_aio_context(BdrvHomes *old, BdrvChild *c, BlockDriverState *bs,
                          Error **errp);
/* The same for an edge between two nodes. */
int bdrv_join_nodes(BdrvHomes *old, BlockDriverState *parent,
                    BlockDriverState *child, Error **errp);
void bdrv_join_undo(BdrvHomes *old);
void aio_context_notifiers_add(AioContextNotifierList *list,
                               void (*attached)(AioContext *new_context,
                                                void *opaque),
                               void (*detach)(void *opaque), void *opaque);
void aio_context_notifiers_remove(AioContextNotifierList *list,
                                  void (*attached)(AioContext *new_context,
                                                   void *opaque),
                                  void (*detach)(void *opaque), void *opaque);
/* attached(@ctx), or detach() if @ctx is NULL. */
void aio_context_notifiers_call(AioContextNotifierList *list,
                                AioContext *ctx);

/* --- permissions: block/permissions.c --- */

int bdrv_child_try_set_perm(BdrvChild *child, uint64_t perm, uint64_t shared,
                            Error **errp);
/* Ask anew what @bs wants of @c, which has changed without its parents. */
int bdrv_child_refresh_perms(BlockDriverState *bs, BdrvChild *c,
                             Error **errp);
/* What the parent of @c is to ask of it if asked for @perm and @shared. */
void bdrv_child_perms(BlockDriverState *bs, BdrvChild *c, uint64_t perm,
                      uint64_t shared, uint64_t *nperm, uint64_t *nshared);
/* Propagate permissions down from @bs after its flags changed. */
int bdrv_refresh_perms(BlockDriverState *bs, Error **errp);
/*
 * The same for several nodes of @nodes (a NULL-terminated list) at once, as a
 * part of @tran; once in a transaction.
 */
int bdrv_list_refresh_perms(BlockDriverState *const *nodes, Transaction *tran,
                            Error **errp);
/* May @bs be written with @perm if its alignment is @align? */
int bdrv_check_resize_perm(BlockDriverState *bs, uint64_t perm,
                           uint32_t align, Error **errp);
/* "write, resize" for a mask; to be freed. */
char *bdrv_perm_names(uint64_t perm);

/* --- filters and backing chains: block/chain.c --- */

/*
 * The child whose data a node shows where it has none itself:
 * of a filter (filter), of an overlay (cow), or of either; NULL if there is
 * none.  Primary: the child that a node has its own data in.
 */
BdrvChild *bdrv_cow_child(BlockDriverState *bs);
BdrvChild *bdrv_filter_child(BlockDriverState *bs);
BdrvChild *bdrv_filter_or_cow_child(BlockDriverState *bs);
BdrvChild *bdrv_primary_child(BlockDriverState *bs);

static inline BlockDriverState *child_bs(BdrvChild *child)
{
    return child ? child->bs : NULL;
}

/*
 * Whether parts that @bs, not a filter, has not allocated belong to another
 * image: a backing file that is open, or one that is only named.
 */
static inline bool bdrv_is_overlay(const BlockDriverState *bs)
{
    return bs->backing || bs->backing_file;
}

static inline BlockDriverState *bdrv_cow_bs(BlockDriverState *bs)
{
    return child_bs(bdrv_cow_child(bs));
}

static inline BlockDriverState *bdrv_filter_bs(BlockDriverState *bs)
{
    return child_bs(bdrv_filter_child(bs));
}

static inline BlockDriverState *bdrv_filter_or_cow_bs(BlockDriverState *bs)
{
    return child_bs(bdrv_filter_or_cow_child(bs));
}

static inline BlockDriverState *bdrv_primary_bs(BlockDriverState *bs)
{
    return child_bs(bdrv_primary_child(bs));
}

/*
 * Default child permissions of a format: see block/permissions.c.
 */
void bdrv_default_perms(BlockDriverState *bs, BdrvChild *c,
                        BdrvChildRole role, uint64_t perm, uint64_t shared,
                        uint64_t *nperm, uint64_t *nshared);

/* For force-share=on of a writable node. */
#define BDRV_OPT_FORCE_SHARE_RDWR \
    "force-share=on can only be used with read-only images"

#endif
