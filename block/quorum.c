/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The driver quorum: one disk, whose data several children have.
 *
 * A write goes to all children, and a read is what most of them say.  Either
 * succeeds if at least vote-threshold children agree; each child that fails,
 * or differs, is told by an event.  With read-pattern=fifo the first child
 * that can be read counts instead.
 *
 * Requests that overlap, of which one writes, run one after the other: else
 * the children could get them in different orders, and a read that comes
 * between would find children that differ although none is at fault.
 *
 * The list of children changes in the main thread while the node is drained,
 * so requests use it without a lock.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "qapi/qapi-events-block-core.h"
#include "qemu/lockable.h"

/* A request that runs, or waits for those before it in the list. */
typedef struct QuorumRange {
    int64_t offset;
    int64_t bytes;
    bool writes;                /* the children differ meanwhile */
    CoQueue waiters;
    QTAILQ_ENTRY(QuorumRange) next;
} QuorumRange;

typedef struct BDRVQuorumState {
    BdrvChild **children;
    int n_children;
    unsigned next_index;        /* of the name of the next child */
    int threshold;
    bool is_blkverify;
    bool rewrite_corrupted;
    QuorumReadPattern read_pattern;

    QemuMutex lock;             /* protects what follows */
    QTAILQ_HEAD(, QuorumRange) ranges;  /* in the order of arrival */
} BDRVQuorumState;

typedef struct QuorumRequest QuorumRequest;
typedef struct QuorumPart QuorumPart;

/* One child's part of a request. */
struct QuorumPart {
    QuorumRequest *req;
    BdrvChild *child;
    void *buf;                  /* what it has read; else NULL */
    int ret;
    QuorumPart *first;          /* that says the same; NULL: no vote */
    int votes;                  /* for what this part, the first, says */
};

struct QuorumRequest {
    BlockDriverState *bs;
    int64_t offset;
    int64_t bytes;
    void *buf;                  /* what is written; NULL: zeroes */
    BdrvRequestFlags flags;
    int coroutine_fn (*run)(QuorumPart *part);

    Coroutine *co;
    int running;                /* parts */
    bool waiting;               /* the coroutine, for parts to end */
    QuorumPart *parts;          /* one for each child */
};

/* --- one request at a time on a range --- */

static bool quorum_ranges_conflict(const QuorumRange *a, const QuorumRange *b)
{
    return (a->writes || b->writes) && a->offset < b->offset + b->bytes &&
           b->offset < a->offset + a->bytes;
}

/* An earlier range that @range has to wait for; NULL: none. */
static QuorumRange *quorum_find_conflict(BDRVQuorumState *s,
                                         const QuorumRange *range)
{
    QuorumRange *it;

    QTAILQ_FOREACH(it, &s->ranges, next) {
        if (it == range) {
            break;
        }
        if (quorum_ranges_conflict(it, range)) {
            return it;
        }
    }
    return NULL;
}

static void coroutine_fn quorum_range_begin(BDRVQuorumState *s,
                                            QuorumRange *range,
                                            int64_t offset, int64_t bytes,
                                            bool writes)
{
    QuorumRange *earlier;

    range->offset = offset;
    range->bytes = bytes;
    range->writes = writes;
    qemu_co_queue_init(&range->waiters);
    QEMU_LOCK_GUARD(&s->lock);
    QTAILQ_INSERT_TAIL(&s->ranges, range, next);
    while ((earlier = quorum_find_conflict(s, range)) != NULL) {
        qemu_co_queue_wait(&earlier->waiters, &s->lock);
    }
}

static void coroutine_fn quorum_range_end(BDRVQuorumState *s,
                                          QuorumRange *range)
{
    QEMU_LOCK_GUARD(&s->lock);
    QTAILQ_REMOVE(&s->ranges, range, next);
    qemu_co_queue_restart_all(&range->waiters);
}

/* --- events --- */

static int64_t quorum_first_sector(int64_t offset)
{
    return offset / BDRV_SECTOR_SIZE;
}

static int64_t quorum_n_sectors(int64_t offset, int64_t bytes)
{
    return DIV_ROUND_UP(offset + bytes, (int64_t)BDRV_SECTOR_SIZE) -
           quorum_first_sector(offset);
}

/* @ret: 0 if the child has done what was asked for, but differs. */
static void quorum_report_bad(const BdrvChild *child, QuorumOpType type,
                              int64_t offset, int64_t bytes, int ret)
{
    qapi_event_send_quorum_report_bad(type, ret < 0 ? strerror(-ret) : NULL,
                                      bdrv_get_node_name(child->bs),
                                      quorum_first_sector(offset),
                                      quorum_n_sectors(offset, bytes));
}

/* --- all children at once --- */

static void quorum_request_init(QuorumRequest *r, BlockDriverState *bs,
                                int64_t offset, int64_t bytes,
                                int coroutine_fn (*run)(QuorumPart *part))
{
    BDRVQuorumState *s = bs->opaque;
    int i;

    *r = (QuorumRequest) {
        .bs = bs, .offset = offset, .bytes = bytes, .run = run,
        .co = qemu_coroutine_self(),
        .parts = g_new0(QuorumPart, s->n_children),
    };
    for (i = 0; i < s->n_children; i++) {
        r->parts[i].req = r;
        r->parts[i].child = s->children[i];
    }
}

static void quorum_request_destroy(QuorumRequest *r)
{
    BDRVQuorumState *s = r->bs->opaque;
    int i;

    for (i = 0; i < s->n_children; i++) {
        qemu_vfree(r->parts[i].buf);
    }
    g_free(r->parts);
    qemu_vfree(r->buf);
}

static void coroutine_fn quorum_part_entry(void *opaque)
{
    QuorumPart *part = opaque;
    QuorumRequest *r = part->req;

    part->ret = r->run(part);
    if (--r->running == 0 && r->waiting) {
        aio_co_wake(r->co);
    }
}

/* Run all parts, and wait for them; the number of those that succeeded. */
static int coroutine_fn quorum_run(QuorumRequest *r)
{
    BDRVQuorumState *s = r->bs->opaque;
    int last = s->n_children - 1;
    int i, n_ok = 0;

    r->running = s->n_children;
    /* A second vote runs the parts again. */
    r->waiting = false;
    for (i = 0; i < last; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(quorum_part_entry,
                                                   &r->parts[i]));
    }
    /* The last one needs no coroutine of its own. */
    quorum_part_entry(&r->parts[last]);
    if (r->running) {
        r->waiting = true;
        qemu_coroutine_yield();
    }
    for (i = 0; i < s->n_children; i++) {
        n_ok += r->parts[i].ret == 0;
    }
    return n_ok;
}

static void quorum_report_errors(const QuorumRequest *r, QuorumOpType type)
{
    BDRVQuorumState *s = r->bs->opaque;
    int i;

    for (i = 0; i < s->n_children; i++) {
        if (r->parts[i].ret < 0) {
            quorum_report_bad(r->parts[i].child, type, r->offset, r->bytes,
                              r->parts[i].ret);
        }
    }
}

/* The request fails, since too few children agree. */
static void quorum_report_failure(const QuorumRequest *r)
{
    qapi_event_send_quorum_failure(bdrv_get_device_or_node_name(r->bs),
                                   quorum_first_sector(r->offset),
                                   quorum_n_sectors(r->offset, r->bytes));
}

/* --- votes --- */

static bool quorum_same_data(const QuorumPart *a, const QuorumPart *b)
{
    return a->ret == 0 && b->ret == 0 &&
           (a == b || !memcmp(a->buf, b->buf, a->req->bytes));
}

static bool quorum_same_error(const QuorumPart *a, const QuorumPart *b)
{
    return a->ret < 0 && a->ret == b->ret;
}

/*
 * Put the parts into groups that are the @same; a part that is not the same as
 * itself has no vote.  The first part of the largest group; of equal groups,
 * of the one that began last.
 */
static QuorumPart *quorum_vote(QuorumRequest *r,
                               bool (*same)(const QuorumPart *a,
                                            const QuorumPart *b))
{
    BDRVQuorumState *s = r->bs->opaque;
    QuorumPart *winner = NULL;
    int i, j;

    for (i = 0; i < s->n_children; i++) {
        QuorumPart *part = &r->parts[i];

        part->votes = 0;
        part->first = NULL;
        for (j = 0; j <= i && !part->first; j++) {
            if (same(&r->parts[j], part)) {
                part->first = &r->parts[j];
                part->first->votes++;
            }
        }
    }
    for (i = 0; i < s->n_children; i++) {
        QuorumPart *part = &r->parts[i];

        if (part->first == part && (!winner || part->votes >= winner->votes)) {
            winner = part;
        }
    }
    return winner;
}

/* Too few children have succeeded: the error that most of the others had. */
static int quorum_vote_error(QuorumRequest *r)
{
    return quorum_vote(r, quorum_same_error)->ret;
}

/* --- reading --- */

static int coroutine_fn quorum_part_read(QuorumPart *part)
{
    QuorumRequest *r = part->req;

    return bdrv_co_pread(part->child, r->offset, r->bytes, part->buf, 0);
}

static int quorum_alloc_buffers(QuorumRequest *r)
{
    BDRVQuorumState *s = r->bs->opaque;
    int i;

    for (i = 0; i < s->n_children; i++) {
        r->parts[i].buf = qemu_try_blockalign(r->parts[i].child->bs,
                                              r->bytes);
        if (!r->parts[i].buf) {
            return -ENOMEM;
        }
    }
    return 0;
}

/* Tell of the children that have other data than @winner; write its data. */
static void coroutine_fn quorum_correct(QuorumRequest *r,
                                        const QuorumPart *winner)
{
    BDRVQuorumState *s = r->bs->opaque;
    int i;

    for (i = 0; i < s->n_children; i++) {
        QuorumPart *part = &r->parts[i];

        if (part->ret < 0 || part->first == winner) {
            continue;
        }
        quorum_report_bad(part->child, QUORUM_OP_TYPE_READ, r->offset,
                          r->bytes, 0);
        if (s->rewrite_corrupted) {
            /* An error leaves the child as it is, for the next read. */
            bdrv_co_pwrite(part->child, r->offset, r->bytes, winner->buf, 0);
        }
    }
}

static void quorum_print_mismatch(const QuorumRequest *r)
{
    const uint8_t *a = r->parts[0].buf;
    const uint8_t *b = r->parts[1].buf;
    int64_t i = 0;

    while (a[i] == b[i]) {
        i++;
    }
    error_printf("quorum: offset=%" PRId64 " bytes=%" PRId64 " contents "
                 "mismatch at offset %" PRId64 "\n", r->offset, r->bytes,
                 r->offset + i);
}

/*
 * Read from all children and let them vote.  Where some are to be rewritten
 * and others might write meanwhile (@alone is false), set *@again, and tell
 * nothing yet.
 */
static int coroutine_fn quorum_read_vote(QuorumRequest *r, QEMUIOVector *qiov,
                                         size_t qiov_offset, bool alone,
                                         bool *again)
{
    BDRVQuorumState *s = r->bs->opaque;
    int n_ok = quorum_run(r);
    QuorumPart *winner;

    if (n_ok < s->threshold) {
        quorum_report_errors(r, QUORUM_OP_TYPE_READ);
        quorum_report_failure(r);
        return quorum_vote_error(r);
    }
    winner = quorum_vote(r, quorum_same_data);
    if (winner->votes < n_ok && s->rewrite_corrupted && !alone) {
        *again = true;
        return 0;
    }
    quorum_report_errors(r, QUORUM_OP_TYPE_READ);
    if (winner->votes < s->threshold) {
        if (s->is_blkverify) {
            quorum_print_mismatch(r);
        }
        quorum_report_failure(r);
        return -EIO;
    }
    if (winner->votes < n_ok) {
        quorum_correct(r, winner);
    }
    qemu_iovec_from_buf(qiov, qiov_offset, winner->buf, r->bytes);
    return 0;
}

static int coroutine_fn quorum_read_all(BlockDriverState *bs, int64_t offset,
                                        int64_t bytes, QEMUIOVector *qiov,
                                        size_t qiov_offset)
{
    BDRVQuorumState *s = bs->opaque;
    QuorumRequest r;
    QuorumRange range;
    bool again = false;
    int ret;

    quorum_request_init(&r, bs, offset, bytes, quorum_part_read);
    ret = quorum_alloc_buffers(&r);
    if (ret == 0) {
        quorum_range_begin(s, &range, offset, bytes, false);
        ret = quorum_read_vote(&r, qiov, qiov_offset, false, &again);
        quorum_range_end(s, &range);
    }
    if (again) {
        quorum_range_begin(s, &range, offset, bytes, true);
        ret = quorum_read_vote(&r, qiov, qiov_offset, true, &again);
        quorum_range_end(s, &range);
    }
    quorum_request_destroy(&r);
    return ret;
}

static int coroutine_fn quorum_read_fifo(BlockDriverState *bs, int64_t offset,
                                         int64_t bytes, QEMUIOVector *qiov,
                                         size_t qiov_offset)
{
    BDRVQuorumState *s = bs->opaque;
    int i, ret = 0;

    for (i = 0; i < s->n_children; i++) {
        ret = bdrv_co_preadv_part(s->children[i], offset, bytes, qiov,
                                  qiov_offset, 0);
        if (ret == 0) {
            break;
        }
        quorum_report_bad(s->children[i], QUORUM_OP_TYPE_READ, offset, bytes,
                          ret);
    }
    return ret;
}

static int coroutine_fn quorum_co_preadv_part(BlockDriverState *bs,
                                              int64_t offset, int64_t bytes,
                                              QEMUIOVector *qiov,
                                              size_t qiov_offset,
                                              BdrvRequestFlags flags)
{
    BDRVQuorumState *s = bs->opaque;

    return s->read_pattern == QUORUM_READ_PATTERN_FIFO ?
           quorum_read_fifo(bs, offset, bytes, qiov, qiov_offset) :
           quorum_read_all(bs, offset, bytes, qiov, qiov_offset);
}

/* --- writing --- */

static int coroutine_fn quorum_part_write(QuorumPart *part)
{
    QuorumRequest *r = part->req;

    return r->buf ? bdrv_co_pwrite(part->child, r->offset, r->bytes, r->buf,
                                   r->flags) :
           bdrv_co_pwrite_zeroes(part->child, r->offset, r->bytes, r->flags);
}

static int coroutine_fn quorum_write_all(QuorumRequest *r)
{
    BDRVQuorumState *s = r->bs->opaque;
    QuorumRange range;
    int ret = 0;

    quorum_range_begin(s, &range, r->offset, r->bytes, true);
    if (quorum_run(r) < s->threshold) {
        ret = quorum_vote_error(r);
    }
    quorum_range_end(s, &range);
    quorum_report_errors(r, QUORUM_OP_TYPE_WRITE);
    if (ret < 0) {
        quorum_report_failure(r);
    }
    return ret;
}

/*
 * The memory is the guest's, which may change it at any time, and all children
 * are to get the same: a copy is written.
 */
static int coroutine_fn quorum_co_pwritev_part(BlockDriverState *bs,
                                               int64_t offset, int64_t bytes,
                                               QEMUIOVector *qiov,
                                               size_t qiov_offset,
                                               BdrvRequestFlags flags)
{
    QuorumRequest r;
    int ret = -ENOMEM;

    quorum_request_init(&r, bs, offset, bytes, quorum_part_write);
    r.flags = flags;
    r.buf = qemu_try_blockalign(bs, bytes);
    if (r.buf) {
        qemu_iovec_to_buf(qiov, qiov_offset, r.buf, bytes);
        ret = quorum_write_all(&r);
    }
    quorum_request_destroy(&r);
    return ret;
}

static int coroutine_fn quorum_co_pwrite_zeroes(BlockDriverState *bs,
                                                int64_t offset, int64_t bytes,
                                                BdrvRequestFlags flags)
{
    QuorumRequest r;
    int ret;

    quorum_request_init(&r, bs, offset, bytes, quorum_part_write);
    r.flags = flags;
    ret = quorum_write_all(&r);
    quorum_request_destroy(&r);
    return ret;
}

static int coroutine_fn quorum_part_flush(QuorumPart *part)
{
    return bdrv_co_flush_child(part->child);
}

static int coroutine_fn quorum_co_flush(BlockDriverState *bs)
{
    BDRVQuorumState *s = bs->opaque;
    QuorumRequest r;
    int ret = 0;

    quorum_request_init(&r, bs, 0, 0, quorum_part_flush);
    if (quorum_run(&r) < s->threshold) {
        ret = quorum_vote_error(&r);
    }
    quorum_report_errors(&r, QUORUM_OP_TYPE_FLUSH);
    quorum_request_destroy(&r);
    return ret;
}

/* --- the disk --- */

static int64_t coroutine_fn quorum_co_getlength(BlockDriverState *bs)
{
    BDRVQuorumState *s = bs->opaque;
    int64_t length = bdrv_co_getlength(s->children[0]->bs);
    int i;

    for (i = 1; length >= 0 && i < s->n_children; i++) {
        int64_t other = bdrv_co_getlength(s->children[i]->bs);

        if (other != length) {
            return other < 0 ? other : -EIO;
        }
    }
    return length;
}

/*
 * Zeroes are what all children know to be zeroes.  A child that does not know,
 * or cannot tell, has data.
 */
static int coroutine_fn quorum_co_block_status(BlockDriverState *bs,
                                               bool want_zero, int64_t offset,
                                               int64_t bytes, int64_t *pnum,
                                               int64_t *map,
                                               BlockDriverState **file)
{
    BDRVQuorumState *s = bs->opaque;
    int64_t zeroes = bytes, data = 0;
    int i;

    for (i = 0; i < s->n_children; i++) {
        int64_t n;
        int ret = bdrv_co_block_status_above(s->children[i]->bs, NULL, offset,
                                             bytes, &n, NULL, NULL);

        if (ret < 0 || n == 0) {
            data = bytes;
        } else if (ret & BDRV_BLOCK_ZERO) {
            zeroes = MIN(zeroes, n);
        } else {
            data = MAX(data, n);
        }
    }
    *pnum = data ? data : zeroes;
    return data ? BDRV_BLOCK_DATA : BDRV_BLOCK_ZERO;
}

/* The flags are what all children can do. */
static void quorum_refresh_limits(BlockDriverState *bs, Error **errp)
{
    BDRVQuorumState *s = bs->opaque;
    unsigned write = BDRV_REQ_FUA;
    unsigned zero = BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK;
    int i;

    for (i = 0; i < s->n_children; i++) {
        write &= s->children[i]->bs->supported_write_flags;
        zero &= s->children[i]->bs->supported_zero_flags;
    }
    bs->supported_write_flags = BDRV_REQ_WRITE_UNCHANGED | write;
    bs->supported_zero_flags = BDRV_REQ_WRITE_UNCHANGED | zero;
}

/* A child that others write to would differ. */
static void quorum_child_perm(BlockDriverState *bs, BdrvChild *c,
                              BdrvChildRole role, uint64_t perm,
                              uint64_t shared, uint64_t *nperm,
                              uint64_t *nshared)
{
    BDRVQuorumState *s = bs->opaque;

    *nperm = perm;
    if (s->rewrite_corrupted) {
        *nperm |= BLK_PERM_WRITE;
    }
    *nshared = (shared & BLK_PERM_CONSISTENT_READ) | BLK_PERM_WRITE_UNCHANGED;
}

/* --- children --- */

static void quorum_note_child(BDRVQuorumState *s, BdrvChild *child)
{
    s->children = g_renew(BdrvChild *, s->children, s->n_children + 1);
    s->children[s->n_children++] = child;
    s->next_index++;
}

static void quorum_add_child(BlockDriverState *bs, BlockDriverState *child_bs,
                             Error **errp)
{
    BDRVQuorumState *s = bs->opaque;
    g_autofree char *name = g_strdup_printf("children.%u", s->next_index);
    BdrvChild *child;

    if (s->is_blkverify) {
        error_setg(errp, "Cannot add a child to a quorum in blkverify mode");
        return;
    }
    bdrv_ref(child_bs);
    child = bdrv_attach_child(bs, child_bs, name, &child_of_bds,
                              BDRV_CHILD_DATA, errp);
    if (child) {
        quorum_note_child(s, child);
    }
}

static void quorum_del_child(BlockDriverState *bs, BdrvChild *child,
                             Error **errp)
{
    BDRVQuorumState *s = bs->opaque;
    g_autofree char *last = g_strdup_printf("children.%u", s->next_index - 1);
    int i = 0;

    if (s->n_children <= s->threshold) {
        error_setg(errp, "The number of children cannot be lower than the "
                   "vote threshold %d", s->threshold);
        return;
    }
    while (s->children[i] != child) {
        i++;
    }
    s->n_children--;
    memmove(&s->children[i], &s->children[i + 1],
            (s->n_children - i) * sizeof(s->children[0]));
    if (!strcmp(child->name, last)) {
        s->next_index--;
    }
    bdrv_unref_child(bs, child);
}

/* How many "children.N" there are in @options, from 0 on. */
static int quorum_count_children(const QOpts *options)
{
    int n = 0;

    for (;;) {
        g_autofree char *name = g_strdup_printf("children.%d", n);

        if (!qopts_has_child(options, name)) {
            return n;
        }
        n++;
    }
}

static int quorum_take_options(BDRVQuorumState *s, QOpts *options,
                               int n_children, Error **errp)
{
    g_autoptr(BlockdevOptionsQuorum) o = QOPTS_TAKE(BlockdevOptionsQuorum,
                                                    options, errp);

    if (!o) {
        return -EINVAL;
    }
    if (o->vote_threshold < 1 || o->vote_threshold > INT_MAX) {
        error_setg(errp, "Parameter 'vote-threshold' expects a value >= 1");
        return -EINVAL;
    }
    if (n_children < o->vote_threshold) {
        error_setg(errp, "threshold may not exceed children count");
        return -EINVAL;
    }
    s->threshold = o->vote_threshold;
    s->read_pattern = o->has_read_pattern ? o->read_pattern :
                      QUORUM_READ_PATTERN_QUORUM;
    if (s->read_pattern == QUORUM_READ_PATTERN_FIFO) {
        return 0;
    }
    s->is_blkverify = o->blkverify;
    if (s->is_blkverify && (n_children != 2 || s->threshold != 2)) {
        error_setg(errp, "blkverify=on can only be set if there are exactly "
                   "two files and vote-threshold is 2");
        return -EINVAL;
    }
    s->rewrite_corrupted = o->rewrite_corrupted;
    if (s->rewrite_corrupted && s->is_blkverify) {
        error_setg(errp, "rewrite-corrupted=on cannot be used with "
                   "blkverify=on");
        return -EINVAL;
    }
    return 0;
}

static int quorum_open(BlockDriverState *bs, QOpts *options, int flags,
                       Error **errp)
{
    BDRVQuorumState *s = bs->opaque;
    int n = quorum_count_children(options);
    int i, ret;

    if (n == 0) {
        /* An empty list is an option of its own. */
        qopts_del(options, "children");
        error_setg(errp, "Number of provided children must be 1 or more");
        return -EINVAL;
    }
    ret = quorum_take_options(s, options, n, errp);
    for (i = 0; ret == 0 && i < n; i++) {
        g_autofree char *name = g_strdup_printf("children.%d", i);
        BdrvChild *child = bdrv_open_child(NULL, options, name, bs,
                                           BDRV_CHILD_DATA, false, errp);

        if (child) {
            quorum_note_child(s, child);
        } else {
            ret = -EINVAL;
        }
    }
    if (ret < 0) {
        g_free(s->children);
        return ret;
    }
    qemu_mutex_init(&s->lock);
    QTAILQ_INIT(&s->ranges);
    return 0;
}

static void quorum_close(BlockDriverState *bs)
{
    BDRVQuorumState *s = bs->opaque;

    g_free(s->children);
    qemu_mutex_destroy(&s->lock);
}

static BlockDriver bdrv_quorum = {
    .format_name = "quorum",
    .instance_size = sizeof(BDRVQuorumState),
    .children_list = "children",

    .bdrv_open = quorum_open,
    .bdrv_close = quorum_close,
    .bdrv_add_child = quorum_add_child,
    .bdrv_del_child = quorum_del_child,
    .bdrv_child_perm = quorum_child_perm,
    .bdrv_refresh_limits = quorum_refresh_limits,

    .bdrv_co_preadv_part = quorum_co_preadv_part,
    .bdrv_co_pwritev_part = quorum_co_pwritev_part,
    .bdrv_co_pwrite_zeroes = quorum_co_pwrite_zeroes,
    .bdrv_co_flush = quorum_co_flush,
    .bdrv_co_getlength = quorum_co_getlength,
    .bdrv_co_block_status = quorum_co_block_status,
};

static void quorum_init(void)
{
    bdrv_register(&bdrv_quorum);
}

block_init(quorum_init);
