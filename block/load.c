/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A load for a node.  See include/block/load.h.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "block/load.h"
#include "qemu/aio-wait.h"
#include "qemu/cutils.h"
#include "qemu/lockable.h"
#include "system/block-backend.h"

#define LOAD_UNIT 4096
#define LOAD_MAX_SIZE (64 * GiB)
#define LOAD_MAX_DEPTH 1024
#define LOAD_FLUSH_EVERY 256
#define LOAD_LATENCY_BUCKETS 40

/* Instead of a generation: what the unit holds. */
#define LOAD_UNKNOWN 0
#define LOAD_ZEROES UINT32_MAX

typedef struct LoadWorker {
    BlockLoad *load;
    AioContext *ctx;            /* atomic; where it runs */
    uint64_t random;
    int64_t start;              /* the stripe, in units */
    int64_t end;
} LoadWorker;

struct BlockLoad {
    BlockBackend *blk;
    BlockLoadOptions opts;
    uint32_t *generation;       /* of each unit; its stripe's worker's */
    LoadWorker *workers;
    unsigned running;           /* atomic; workers */
    bool stop;                  /* atomic */

    QemuMutex lock;             /* protects what follows */
    bool paused;                /* atomic to look at it */
    CoQueue resumed;            /* until it is not paused */
    BlockLoadStats stats;
    uint64_t latency[LOAD_LATENCY_BUCKETS];     /* by log2 of microseconds */
    char *first_error;
    QLIST_ENTRY(BlockLoad) next;
};

static QLIST_HEAD(, BlockLoad) all_loads = QLIST_HEAD_INITIALIZER(all_loads);

/* The finalizer of splitmix64: each bit depends on all. */
static uint64_t load_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static uint64_t load_random(LoadWorker *w)
{
    w->random += 0x9e3779b97f4a7c15ull;
    return load_mix(w->random);
}

/* What a unit holds after its write number @generation. */
static void load_fill(BlockLoad *load, int64_t unit, uint32_t generation,
                      uint64_t *words)
{
    uint64_t base = load_mix(load->opts.seed ^ load_mix(unit) ^
                             ((uint64_t)generation << 40));
    size_t i;

    if (generation == LOAD_ZEROES) {
        memset(words, 0, LOAD_UNIT);
        return;
    }
    for (i = 0; i < LOAD_UNIT / sizeof(*words); i++) {
        words[i] = base + i * 0x9e3779b97f4a7c15ull;
    }
}

static void load_note(BlockLoad *load, uint64_t *counter, const char *fmt, ...)
    G_GNUC_PRINTF(3, 4);

static void load_note(BlockLoad *load, uint64_t *counter, const char *fmt, ...)
{
    va_list ap;

    QEMU_LOCK_GUARD(&load->lock);
    (*counter)++;
    if (!load->first_error) {
        va_start(ap, fmt);
        load->first_error = g_strdup_vprintf(fmt, ap);
        va_end(ap);
    }
}

/* --- requests --- */

typedef struct {
    int64_t unit;
    int64_t units;
    void *buf;
} LoadRequest;

static int coroutine_fn load_read(LoadWorker *w, const LoadRequest *r)
{
    BlockLoad *load = w->load;
    int64_t bytes = r->units * LOAD_UNIT;
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, r->buf, bytes);
    uint64_t want[LOAD_UNIT / sizeof(uint64_t)];
    int64_t i;
    int ret;

    ret = blk_co_preadv(load->blk, r->unit * LOAD_UNIT, bytes, &qiov, 0);
    for (i = 0; i < r->units && ret == 0; i++) {
        uint32_t generation = load->generation[r->unit + i];

        if (generation == LOAD_UNKNOWN) {
            continue;
        }
        load_fill(load, r->unit + i, generation, want);
        if (memcmp((char *)r->buf + i * LOAD_UNIT, want, LOAD_UNIT)) {
            load_note(load, &load->stats.mismatches, "the %d bytes at %" PRId64
                      " are not what was written last (write number %u)",
                      LOAD_UNIT, (r->unit + i) * LOAD_UNIT, generation);
        }
    }
    return ret;
}

static int coroutine_fn load_write(LoadWorker *w, const LoadRequest *r)
{
    BlockLoad *load = w->load;
    int64_t bytes = r->units * LOAD_UNIT, offset = r->unit * LOAD_UNIT, i;
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, r->buf, bytes);
    uint64_t kind = load_random(w) % 100;
    int ret;

    if (kind < 5) {
        ret = blk_co_pwrite_zeroes(load->blk, offset, bytes,
                                   kind & 1 ? BDRV_REQ_MAY_UNMAP : 0);
    } else if (kind < 8) {
        ret = blk_co_pdiscard(load->blk, offset, bytes);
    } else {
        for (i = 0; i < r->units; i++) {
            uint32_t *generation = &load->generation[r->unit + i];

            *generation = *generation >= LOAD_ZEROES - 1 ? 1 : *generation + 1;
            load_fill(load, r->unit + i, *generation,
                      (uint64_t *)((char *)r->buf + i * LOAD_UNIT));
        }
        ret = blk_co_pwritev(load->blk, offset, bytes, &qiov,
                             kind == 99 ? BDRV_REQ_FUA : 0);
    }
    for (i = 0; i < r->units; i++) {
        if (ret < 0 || (kind >= 5 && kind < 8)) {
            load->generation[r->unit + i] = LOAD_UNKNOWN;
        } else if (kind < 5) {
            load->generation[r->unit + i] = LOAD_ZEROES;
        }
    }
    return ret;
}

static void load_account(BlockLoad *load, bool is_read, int64_t ns)
{
    uint64_t us = ns / 1000;
    int bucket = us ? MIN(64 - clz64(us), LOAD_LATENCY_BUCKETS - 1) : 0;

    QEMU_LOCK_GUARD(&load->lock);
    load->latency[bucket]++;
    load->stats.max_us = MAX(load->stats.max_us, us);
    if (is_read) {
        load->stats.reads++;
    } else {
        load->stats.writes++;
    }
}

/* --- errors --- */

typedef struct {
    BlockLoad *load;
    Coroutine *co;
    bool is_read;
    int error;
    BlockErrorAction action;
} LoadError;

/* In the main thread, which devices report their errors from. */
static void load_error_bh(void *opaque)
{
    LoadError *e = opaque;
    BlockLoad *load = e->load;

    e->action = blk_get_error_action(load->blk, e->is_read, e->error);
    blk_error_action(load->blk, e->action, e->is_read, e->error);
    if (e->action == BLOCK_ERROR_ACTION_STOP) {
        block_load_set_running(load, false);
    }
    aio_co_wake(e->co);
}

/* A request has failed: what is to be done. */
static BlockErrorAction coroutine_fn load_handle_error(BlockLoad *load,
                                                       bool is_read, int error)
{
    LoadError e = {
        .load = load, .co = qemu_coroutine_self(), .is_read = is_read,
        .error = error,
    };

    aio_bh_schedule_oneshot(qemu_get_aio_context(), load_error_bh, &e);
    qemu_coroutine_yield();
    return e.action;
}

static void coroutine_fn load_wait_resumed(BlockLoad *load)
{
    QEMU_LOCK_GUARD(&load->lock);
    while (load->paused && !qatomic_read(&load->stop)) {
        qemu_co_queue_wait(&load->resumed, &load->lock);
    }
}

bool block_load_is_running(BlockLoad *load)
{
    return !qatomic_read(&load->paused);
}

void block_load_set_running(BlockLoad *load, bool running)
{
    GLOBAL_STATE_CODE();
    WITH_QEMU_LOCK_GUARD(&load->lock) {
        qatomic_set(&load->paused, !running);
        if (running) {
            qemu_co_enter_all(&load->resumed, &load->lock);
        }
    }
}

/* --- the workers --- */

static void coroutine_fn load_request(LoadWorker *w, void *buf)
{
    BlockLoad *load = w->load;
    BlockErrorAction action = BLOCK_ERROR_ACTION_REPORT;
    bool is_read = load_random(w) % 100 < load->opts.read_percent;
    int64_t max = MAX(load->opts.block_size / LOAD_UNIT, 1);
    LoadRequest r = { .buf = buf };
    int64_t start_ns;
    int ret;

    r.unit = w->start + load_random(w) % (w->end - w->start);
    r.units = 1 + load_random(w) % MIN(max, w->end - r.unit);
    start_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    do {
        if (action == BLOCK_ERROR_ACTION_STOP) {
            load_wait_resumed(load);
        }
        ret = is_read ? load_read(w, &r) : load_write(w, &r);
        if (ret < 0) {
            action = load_handle_error(load, is_read, -ret);
        }
    } while (ret < 0 && action == BLOCK_ERROR_ACTION_STOP &&
             !qatomic_read(&load->stop));
    load_account(load, is_read,
                 qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - start_ns);
    if (ret < 0 && action == BLOCK_ERROR_ACTION_REPORT) {
        load_note(load, &load->stats.errors, "%s of %" PRId64 " bytes at %"
                  PRId64 " failed: %s", is_read ? "read" : "write",
                  r.units * LOAD_UNIT, r.unit * LOAD_UNIT, strerror(-ret));
    }
}

static void coroutine_fn load_flush(BlockLoad *load)
{
    int ret = blk_co_flush(load->blk);

    if (ret < 0) {
        load_note(load, &load->stats.errors, "flush failed: %s",
                  strerror(-ret));
        return;
    }
    QEMU_LOCK_GUARD(&load->lock);
    load->stats.flushes++;
}

/* Go to where the node is at home, and say so: block_load_uses_context(). */
static void coroutine_fn load_go_home(LoadWorker *w)
{
    AioContext *ctx;

    while ((ctx = blk_get_aio_context(w->load->blk)) != w->ctx) {
        if (ctx != qemu_get_current_aio_context()) {
            aio_co_reschedule_self(ctx);
        }
        /* Before it is found that the home is this one. */
        qatomic_set_mb(&w->ctx, ctx);
    }
}

static void coroutine_fn load_worker(void *opaque)
{
    LoadWorker *w = opaque;
    BlockLoad *load = w->load;
    /* Page-aligned, for any node: the load's may be replaced now. */
    void *buf = qemu_blockalign(NULL, MAX(load->opts.block_size, LOAD_UNIT));
    unsigned n = 0;

    while (!qatomic_read(&load->stop)) {
        load_go_home(w);
        if (unlikely(qatomic_read(&load->paused))) {
            load_wait_resumed(load);
            continue;
        }
        load_request(w, buf);
        if (++n % LOAD_FLUSH_EVERY == 0) {
            load_flush(load);
        }
        /* Also where nothing waits: others want to run. */
        if (load->opts.interval_us || n % 16 == 0) {
            qemu_co_sleep_ns(QEMU_CLOCK_REALTIME,
                             load->opts.interval_us * SCALE_US);
        }
    }
    qemu_vfree(buf);
    qatomic_dec(&load->running);
    aio_wait_kick();
}

/* --- life --- */

static bool load_check_options(BlockLoadOptions *o, int64_t length,
                               Error **errp)
{
    o->iodepth = o->iodepth ? o->iodepth : 16;
    o->block_size = o->block_size ? o->block_size : 64 * KiB;
    if (o->iodepth > LOAD_MAX_DEPTH) {
        error_setg(errp, "iodepth: %u is not in 1 to %d", o->iodepth,
                   LOAD_MAX_DEPTH);
        return false;
    }
    if (o->block_size % LOAD_UNIT || o->block_size > 16 * MiB) {
        error_setg(errp, "block-size: %" PRIu64 " is not a multiple of %d of "
                   "at most 16 MiB", o->block_size, LOAD_UNIT);
        return false;
    }
    if (o->read_percent > 100) {
        error_setg(errp, "read-percent: %u is more than 100",
                   o->read_percent);
        return false;
    }
    if (!o->size) {
        o->size = MIN((uint64_t)length, LOAD_MAX_SIZE);
    }
    if (o->size > MIN((uint64_t)length, LOAD_MAX_SIZE)) {
        error_setg(errp, "size: %" PRIu64 " is more than the node has (%"
                   PRId64 "), or than 64 GiB", o->size, length);
        return false;
    }
    if (o->size / LOAD_UNIT < o->iodepth) {
        error_setg(errp, "the node has fewer than iodepth (%u) blocks of %d "
                   "bytes", o->iodepth, LOAD_UNIT);
        return false;
    }
    return true;
}

BlockLoad *block_load_new(BlockDriverState *bs, const BlockLoadOptions *opts,
                          Error **errp)
{
    BlockLoadOptions o = *opts;
    BlockBackend *blk;
    BlockLoad *load;
    int64_t units;
    unsigned i;

    GLOBAL_STATE_CODE();
    if (!load_check_options(&o, bdrv_getlength(bs), errp)) {
        return NULL;
    }
    blk = blk_new(bdrv_get_aio_context(bs), BLK_PERM_CONSISTENT_READ |
                  (o.read_percent < 100 ? BLK_PERM_WRITE : 0), BLK_PERM_ALL);
    blk_set_allow_aio_context_change(blk, true);
    if (blk_insert_bs(blk, bs, errp) < 0) {
        blk_unref(blk);
        return NULL;
    }
    units = o.size / LOAD_UNIT;
    load = g_new0(BlockLoad, 1);
    load->blk = blk;
    load->opts = o;
    load->generation = g_new0(uint32_t, units);
    load->workers = g_new0(LoadWorker, o.iodepth);
    load->running = o.iodepth;
    qemu_mutex_init(&load->lock);
    qemu_co_queue_init(&load->resumed);
    blk_set_on_error(blk, o.on_read_error, o.on_write_error);
    blk_set_attached_dev_path(blk, o.qom_path);
    load->opts.qom_path = NULL;         /* the caller's */
    for (i = 0; i < o.iodepth; i++) {
        LoadWorker *w = &load->workers[i];

        w->load = load;
        w->ctx = bdrv_get_aio_context(bs);
        w->random = load_mix(o.seed) + i;
        w->start = units * i / o.iodepth;
        w->end = units * (i + 1) / o.iodepth;
        aio_co_enter(w->ctx, qemu_coroutine_create(load_worker, w));
    }
    QLIST_INSERT_HEAD(&all_loads, load, next);
    return load;
}

bool block_load_uses_context(AioContext *ctx)
{
    BlockLoad *load;
    unsigned i;

    GLOBAL_STATE_CODE();
    QLIST_FOREACH(load, &all_loads, next) {
        for (i = 0; i < load->opts.iodepth; i++) {
            if (qatomic_read(&load->workers[i].ctx) == ctx) {
                return true;
            }
        }
    }
    return false;
}

void block_load_free(BlockLoad *load)
{
    if (!load) {
        return;
    }
    GLOBAL_STATE_CODE();
    qatomic_set(&load->stop, true);
    block_load_set_running(load, true);
    /* Pairs with the end of a worker. */
    AIO_WAIT_WHILE(NULL, qatomic_load_acquire(&load->running));
    QLIST_REMOVE(load, next);
    blk_unref(load->blk);
    qemu_mutex_destroy(&load->lock);
    g_free(load->generation);
    g_free(load->workers);
    g_free(load->first_error);
    g_free(load);
}

/* The upper end of the bucket that @percent of all requests do not exceed. */
static uint64_t load_percentile(BlockLoad *load, unsigned percent)
{
    uint64_t total = 0, seen = 0;
    int i;

    for (i = 0; i < LOAD_LATENCY_BUCKETS; i++) {
        total += load->latency[i];
    }
    for (i = 0; i < LOAD_LATENCY_BUCKETS - 1; i++) {
        seen += load->latency[i];
        if (seen * 100 >= total * percent) {
            break;
        }
    }
    return total ? (1ull << i) - 1 : 0;
}

void block_load_get_stats(BlockLoad *load, BlockLoadStats *stats)
{
    QEMU_LOCK_GUARD(&load->lock);
    *stats = load->stats;
    stats->p50_us = load_percentile(load, 50);
    stats->p99_us = load_percentile(load, 99);
}

const char *block_load_first_error(BlockLoad *load)
{
    QEMU_LOCK_GUARD(&load->lock);
    return load->first_error;
}
