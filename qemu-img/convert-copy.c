/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img convert: the copy itself.
 *
 * Some coroutines take pieces of the sources one after the other.  A piece is
 * what block status says is of one kind, cut at clusters of the target.  What
 * needs no work at all (zeroes to a target of zeroes, what the target's
 * backing file has) is skipped while a piece is looked for.  Each piece has a
 * ticket: coroutines read in parallel, and write in the order of tickets
 * unless the user allows any order.
 *
 * In order there is one writer.  If it writes whenever another one has read its
 * piece, fewer that read are enough, and what they read is still in the
 * processor's cache when it is written.  If it is still reading, more may help.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "convert.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/interrupt.h"

/* Large, for few requests; smaller ones, which fit in a cache, were slower. */
#define CONVERT_BUF_BYTES (2 * MiB)
/* Coroutines that copy, at least: one writes, and the others are not late. */
#define CONVERT_MIN_COPYING 4
/* Zeroes cost little, but an end of the program is waited for. */
#define CONVERT_ZERO_BYTES (256 * MiB)
/* So that a rate limit is kept evenly. */
#define CONVERT_SLICE_NS (100 * SCALE_MS)

typedef enum PieceKind {
    PIECE_DATA,
    PIECE_ZERO,
    PIECE_BACKING,              /* the target's backing file has it */
} PieceKind;

typedef struct Piece {
    PieceKind kind;
    int64_t offset;             /* in the target */
    int64_t bytes;
    uint64_t ticket;
} Piece;

static void G_GNUC_PRINTF(3, 4) convert_fail(Convert *c, int ret,
                                             const char *fmt, ...)
{
    g_autofree char *what = NULL;
    va_list ap;

    if (c->ret < 0) {
        return;
    }
    va_start(ap, fmt);
    what = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    error_report("error while %s: %s", what, strerror(-ret));
    c->ret = ret;
}

static bool convert_ended(const Convert *c)
{
    return c->offset >= c->total || c->ret < 0 || qemu_interrupted();
}

static void convert_progress(Convert *c, int64_t bytes)
{
    c->done += bytes;
    img_progress(100.0 * c->done / c->total);
}

/* --- the next piece --- */

static PieceKind convert_kind(const Convert *c)
{
    if (c->run.status & BDRV_BLOCK_ZERO) {
        /* Asked to allocate everything: zeroes are read like data. */
        return c->min_sparse ? PIECE_ZERO : PIECE_DATA;
    }
    if (c->base && !(c->run.status & BDRV_BLOCK_DATA)) {
        return PIECE_BACKING;
    }
    return PIECE_DATA;
}

/* Where the source @i has the byte that is at @offset of the target. */
static int64_t convert_src_offset(const Convert *c, int i, int64_t offset)
{
    return offset - c->src_start[i] + (i ? 0 : c->skip);
}

/* Let c->run be what the source has at c->offset; in its own offsets. */
static int coroutine_fn convert_find_run(Convert *c)
{
    int64_t offset, limit;
    int ret;

    while (c->offset >= c->src_start[c->cur_src + 1]) {
        c->cur_src++;
        c->run.start = c->run.end = 0;
    }
    offset = convert_src_offset(c, c->cur_src, c->offset);
    limit = convert_src_offset(c, c->cur_src, c->src_start[c->cur_src + 1]);
    if (c->base && c->offset < c->target_backing_bytes) {
        limit = MIN(limit, c->target_backing_bytes);
    } else if (c->base) {
        /* The target's backing file ends before that of the source. */
        c->base = NULL;
        c->run.start = c->run.end = 0;
    }
    ret = img_run_at(&c->run, c->src[c->cur_src], c->base, offset, limit);
    if (ret < 0 && c->salvage) {
        if (!c->quiet) {
            warn_report("error while reading block status at offset %" PRId64
                        ": %s", c->offset, strerror(-ret));
        }
        c->run = (ImgRun) {
            .status = BDRV_BLOCK_DATA,
            .start = offset,
            .end = MIN(limit, offset + c->buf_bytes),
        };
        ret = 0;
    }
    return ret;
}

/* The piece at c->offset; whole clusters, but for the end. */
static void convert_cut_piece(const Convert *c, Piece *p)
{
    int64_t end = c->offset + c->run.end -
                  convert_src_offset(c, c->cur_src, c->offset);
    int64_t left = c->total - c->offset;

    p->offset = c->offset;
    p->kind = convert_kind(c);
    p->bytes = end - c->offset;
    if (p->bytes < left && end % c->cluster) {
        p->bytes -= end % c->cluster;
        if (p->bytes <= 0) {
            /* Of several kinds: reading makes one of them. */
            p->kind = PIECE_DATA;
            p->bytes = MIN(c->cluster - c->offset % c->cluster, left);
        }
    }
    if (p->kind == PIECE_DATA) {
        p->bytes = MIN(p->bytes, c->buf_bytes);
    }
}

/* The next piece that needs work; false if there is none. */
static bool coroutine_fn convert_next_locked(Convert *c, Piece *p)
{
    while (!convert_ended(c)) {
        int ret = convert_find_run(c);

        if (ret < 0) {
            convert_fail(c, ret, "reading block status at offset %" PRId64,
                         c->offset);
            return false;
        }
        convert_cut_piece(c, p);
        if (p->kind == PIECE_BACKING ||
            (p->kind == PIECE_ZERO && c->target_is_zero)) {
            c->offset += p->bytes;
            convert_progress(c, p->bytes);
            continue;
        }
        p->bytes = MIN(p->bytes, (int64_t)CONVERT_ZERO_BYTES);
        p->ticket = c->next_ticket++;
        c->offset += p->bytes;
        return true;
    }
    return false;
}

/* --- reading --- */

static int coroutine_fn convert_read_blk(BlockBackend *blk, int64_t offset,
                                         int64_t bytes, uint8_t *buf)
{
    QEMUIOVector qiov;

    qemu_iovec_init_buf(&qiov, buf, bytes);
    return blk_co_preadv(blk, offset, bytes, &qiov, 0);
}

/* Sector by sector: zeroes for those that cannot be read. */
static void coroutine_fn convert_salvage(Convert *c, int i, int64_t offset,
                                         int64_t bytes, uint8_t *buf)
{
    while (bytes && c->ret == 0 && !qemu_interrupted()) {
        int64_t n = MIN(bytes, (int64_t)BDRV_SECTOR_SIZE);
        int ret = convert_read_blk(c->src[i],
                                   convert_src_offset(c, i, offset), n, buf);

        if (ret < 0) {
            if (!c->quiet) {
                warn_report("error while reading offset %" PRId64 ": %s",
                            offset, strerror(-ret));
            }
            memset(buf, 0, n);
        }
        offset += n;
        buf += n;
        bytes -= n;
    }
}

/* A piece may begin in one source and end in another. */
static int coroutine_fn convert_read(Convert *c, const Piece *p, uint8_t *buf)
{
    int64_t offset = p->offset;
    int64_t left = p->bytes;
    int i = 0;

    while (left) {
        int64_t n;
        int ret;

        while (offset >= c->src_start[i + 1]) {
            i++;
        }
        n = MIN(left, c->src_start[i + 1] - offset);
        ret = convert_read_blk(c->src[i], convert_src_offset(c, i, offset), n,
                               buf);
        if (ret < 0 && c->salvage) {
            convert_salvage(c, i, offset, n, buf);
        } else if (ret < 0) {
            convert_fail(c, ret, "reading at byte %" PRId64, offset);
            return ret;
        }
        offset += n;
        buf += n;
        left -= n;
    }
    return 0;
}

/* --- writing --- */

/*
 * Whether the target has zeroes at @offset; *@bytes becomes how far, or how
 * many to write.  In whole clusters: some formats write each of them once.
 */
static bool coroutine_fn convert_has_zeroes(Convert *c, int64_t offset,
                                            int64_t *bytes)
{
    int64_t n;
    int ret = blk_co_block_status_above(c->target, NULL, offset, *bytes, &n,
                                        NULL, NULL);
    bool zero = ret >= 0 && (ret & BDRV_BLOCK_ZERO);

    if (ret < 0 || n <= 0) {
        return false;
    }
    if (zero && n < *bytes) {
        n = QEMU_ALIGN_DOWN(n, c->cluster);
        zero = n;
    }
    if (!zero) {
        n = QEMU_ALIGN_UP(MAX(n, 1), c->cluster);
    }
    *bytes = MIN(*bytes, n);
    return zero;
}

/* Zeroes, where the target does not have them already. */
static int coroutine_fn convert_zero(Convert *c, int64_t offset,
                                     int64_t bytes)
{
    while (bytes && c->ret == 0) {
        int64_t n = bytes;
        int ret;

        if (!convert_has_zeroes(c, offset, &n)) {
            ret = blk_co_pwrite_zeroes(c->target, offset, n,
                                       BDRV_REQ_MAY_UNMAP);
            if (ret < 0) {
                convert_fail(c, ret, "writing at byte %" PRId64, offset);
                return ret;
            }
        }
        offset += n;
        bytes -= n;
    }
    return 0;
}

static int coroutine_fn convert_write(Convert *c, int64_t offset,
                                      int64_t bytes, uint8_t *buf)
{
    QEMUIOVector qiov;
    int ret;

    qemu_iovec_init_buf(&qiov, buf, bytes);
    ret = blk_co_pwritev(c->target, offset, bytes, &qiov,
                         c->compressed ? BDRV_REQ_WRITE_COMPRESSED : 0);
    if (ret < 0) {
        convert_fail(c, ret, "writing at byte %" PRId64, offset);
    }
    return ret;
}

/* How much at @buf is all data, or all zeroes (*@zero). */
static int64_t convert_same_kind(const Convert *c, int64_t offset,
                                 const uint8_t *buf, int64_t bytes,
                                 bool *zero)
{
    int64_t n = MIN(bytes, c->unit - offset % c->unit);

    *zero = buffer_is_zero(buf, n);
    while (n < bytes) {
        int64_t step = MIN(bytes - n, c->unit);

        if (buffer_is_zero(buf + n, step) != *zero) {
            break;
        }
        n += step;
    }
    return n;
}

static int coroutine_fn convert_write_data(Convert *c, const Piece *p,
                                           uint8_t *buf)
{
    int64_t offset = p->offset;
    int64_t left = p->bytes;
    int ret = 0;

    while (left && ret == 0) {
        int64_t n = left;
        bool zero = false;

        if (c->unit) {
            n = convert_same_kind(c, offset, buf, left, &zero);
        }
        if (!zero) {
            ret = convert_write(c, offset, n, buf);
        } else if (!c->target_is_zero) {
            ret = convert_zero(c, offset, n);
        }
        offset += n;
        buf += n;
        left -= n;
    }
    return ret;
}

static void coroutine_fn convert_wait_for_turn(Convert *c, const Piece *p)
{
    while (c->in_order && c->write_ticket != p->ticket) {
        qemu_co_queue_wait(&c->turn, NULL);
    }
    c->writing = true;
}

static void coroutine_fn convert_end_turn(Convert *c)
{
    c->writing = false;
    c->write_ticket++;
    if (c->in_order) {
        qemu_co_queue_restart_all(&c->turn);
    }
}

/* A piece has been read: are fewer coroutines enough? */
static void convert_judge(Convert *c)
{
    c->max_copying = c->in_order && c->writing ?
                     MAX(c->max_copying - 1, CONVERT_MIN_COPYING) :
                     MIN(c->max_copying + 1, c->coroutines);
}

static void coroutine_fn convert_keep_rate(Convert *c, int64_t bytes)
{
    int64_t delay = c->rate ? ratelimit_calculate_delay(&c->limit, bytes) : 0;
    int64_t slept = 0;

    /* In short naps: a signal, or an error, ends the program soon. */
    while (slept < delay && c->ret == 0 && !qemu_interrupted()) {
        int64_t nap = MIN(delay - slept, CONVERT_SLICE_NS);

        qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, nap);
        slept += nap;
    }
}

/* Whether the host has copied the piece; -C asks for that where it can be. */
static bool coroutine_fn convert_offload(Convert *c, const Piece *p)
{
    int64_t end = p->offset + p->bytes;
    int ret, i = 0;

    while (p->offset >= c->src_start[i + 1]) {
        i++;
    }
    if (end > c->src_start[i + 1]) {
        return false;
    }
    ret = blk_co_copy_range(c->src[i], convert_src_offset(c, i, p->offset),
                            c->target, p->offset, p->bytes, 0, 0);
    if (ret == -ENOTSUP) {
        c->offload = false;
    }
    /* Another error is found again, and told of, by reading and writing. */
    return ret == 0;
}

/* Whatever happens, the next ticket gets its turn. */
static void coroutine_fn convert_piece(Convert *c, const Piece *p,
                                       uint8_t *buf)
{
    bool offload = p->kind == PIECE_DATA && c->offload;

    if (p->kind == PIECE_DATA && !offload && c->ret == 0) {
        convert_read(c, p, buf);
        convert_judge(c);
    }
    convert_wait_for_turn(c, p);
    if (offload && c->ret == 0 && !convert_offload(c, p)) {
        convert_read(c, p, buf);
        offload = false;
    }
    if (c->ret == 0 && p->kind == PIECE_DATA) {
        if (!offload) {
            convert_write_data(c, p, buf);
        }
    } else if (c->ret == 0) {
        convert_zero(c, p->offset, p->bytes);
    }
    if (c->ret == 0) {
        convert_progress(c, p->bytes);
        convert_keep_rate(c, p->kind == PIECE_DATA ? p->bytes : 0);
    }
    convert_end_turn(c);
}

static void coroutine_fn convert_co(void *opaque)
{
    Convert *c = opaque;
    uint8_t *buf = blk_blockalign(c->target, c->buf_bytes);
    Piece piece;
    bool more;

    do {
        while (c->copying >= c->max_copying) {
            qemu_co_queue_wait(&c->room, NULL);
        }
        if (++c->copying < c->max_copying) {
            qemu_co_queue_next(&c->room);
        }
        qemu_co_mutex_lock(&c->lock);
        more = convert_next_locked(c, &piece);
        qemu_co_mutex_unlock(&c->lock);
        if (more) {
            convert_piece(c, &piece, buf);
        }
        c->copying--;
    } while (more);
    qemu_co_queue_next(&c->room);
    qemu_vfree(buf);
    c->running--;
}

/* --- all of it --- */

static void convert_prepare(Convert *c)
{
    BlockDriverState *src = bdrv_skip_filters(blk_bs(c->src[0]));

    qemu_co_mutex_init(&c->lock);
    qemu_co_queue_init(&c->turn);
    qemu_co_queue_init(&c->room);
    c->max_copying = MIN(c->coroutines, CONVERT_MIN_COPYING);
    c->base = c->target_has_backing ? bdrv_cow_bs(src) : NULL;
    /*
     * A cluster is allocated as a whole, so it is written as a whole, too;
     * but not over what the backing file has.
     */
    if (c->target_has_backing && !c->compressed) {
        c->cluster = 1;
    }
    c->unit = c->min_sparse && !c->as_is ?
              ROUND_UP(c->min_sparse, c->cluster) : 0;
    c->buf_bytes = ROUND_UP(MAX((int64_t)CONVERT_BUF_BYTES, c->unit),
                            c->cluster);
    ratelimit_init(&c->limit);
    ratelimit_set_speed(&c->limit, c->rate, CONVERT_SLICE_NS);
}

/* A raw image in a file, with no filter between. */
static bool convert_is_raw_file(BlockBackend *blk)
{
    BlockDriverState *bs = blk_bs(blk);

    return !strcmp(bdrv_get_format_name(bs), "raw") && bs->file &&
           !strcmp(bdrv_get_format_name(bs->file->bs), "file");
}

/*
 * Whether there is one request at a time: other formats make several of one,
 * or pack them in threads.
 */
static bool convert_has_one_request(const Convert *c)
{
    bool one = c->coroutines == 1 && convert_is_raw_file(c->target);
    int i;

    for (i = 0; i < c->nb_src; i++) {
        one = one && convert_is_raw_file(c->src[i]);
    }
    return one;
}

int convert_copy(Convert *c)
{
    AioContext *ctx = qemu_get_aio_context();
    int i;

    convert_prepare(c);
    aio_context_set_one_request(ctx, convert_has_one_request(c));
    c->running = c->coroutines;
    for (i = 0; i < c->coroutines; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(convert_co, c));
    }
    while (c->running) {
        main_loop_wait(false);
    }
    aio_context_set_one_request(ctx, false);
    ratelimit_destroy(&c->limit);
    return c->ret;
}
