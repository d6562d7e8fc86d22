/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The laws of the io_uring engine under random schedules.
 *
 * A seed makes a kernel (random-uring-kernel.h) and a workload: coroutines
 * that read, write and flush in regions of their own, and nested event loops
 * at the end of completion passes.  Checked at each step:
 *
 *   L1 the stack between the calls of io_uring_enter(2) is bounded
 *   L2 each result, and all data, is what the kernel's oracle says
 *   L3 pending requests have something in flight, the BH, or a timer
 *   L4 nested loops end
 *   L6 a refused call is repeated after a completion or a delay only
 *   L7 tails, end of file, disk full
 *   L8 an iteration of the event loop ends, and runs a timer that is due
 *   L9 a disk has something to do while its completions are delivered
 *   A fixed buffer is used as long as it is registered, and no longer
 *
 * See test-io-uring-laws --help.
 */
#include "qemu/osdep.h"
#include "qemu/aio-uring.h"
#include "block/aio-bufs.h"
#include "block/block.h"
#include "block/io_uring.h"
#include "block/raw-aio.h"
#include "qapi/error.h"
#include "qemu/coroutine.h"
#include "qemu/defer-call.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "random-uring-kernel.h"
#include "util/aio-posix.h"
#include "random-schedules.h"

/* Iterations without progress, with the clock running, that are a hang. */
#define IDLE_MAX 5000
/* Of the stack outside of coroutines, where no nested loop runs. */
#define STACK_MAX (16 * KiB)
/*
 * What one iteration may take: three callbacks, each with a call that starts
 * the clock, and one in which the time runs out.
 */
#define TURN_MAX_NS (3 * (LURING_BUDGET_NS + 2 * UK_OWNERS * 2000000LL))

typedef struct Owner {
    unsigned id;
    bool nested;                /* one request, for a nested loop */
    bool busy, finished;
    uint8_t buf[UK_REGION];
    uint8_t model[UK_REGION];
    void *registered;           /* in buf, or NULL */
} Owner;

static Owner owners[UK_OWNERS];
static AioContext *ctx, *main_ctx;
static LuringState *engine;
static QEMUTimer *beacon;
static bool beacon_armed, had_nesting, tracing;
static unsigned requests_left, unfinished, nesting, nested_bhs, idle;
static unsigned since;          /* completions of this iteration */
static EventNotifier descriptor;        /* always ready, in a storm */
static bool storm;
static unsigned overlooked;     /* completions since its handler ran */
static int64_t nested_ns;       /* of this iteration, in nested loops */

static void nested_loop(void *opaque);

static unsigned uk_owner_of(const void *p)
{
    size_t i = ((const char *)p - (const char *)owners) / sizeof(Owner);

    g_assert_cmpuint(i, <, UK_OWNERS);
    return i;
}

/* --- the coroutines --- */

/* The address stays, as malloc() may give it again, and the pages do not. */
static void owner_unregister(Owner *w)
{
    if (w->registered) {
        aio_unregister_buf(w->registered);
        w->registered = NULL;
        uk.lives[w->id]++;
    }
}

static void owner_register(Owner *w, size_t from)
{
    owner_unregister(w);
    w->registered = w->buf + from;
    aio_register_buf(w->registered, UK_REGION - from);
}

static void owner_fill(Owner *w, size_t n)
{
    uint32_t random = uk_random();
    size_t i;

    for (i = 0; i < n; i++) {
        w->buf[i] = (i + random) * 2654435761U >> 24;
    }
}

/* Compare what @type has done with what the oracle says. */
static void owner_check(Owner *w, int type, int ret)
{
    UKOracle *o = &uk.oracle[w->id];
    uint8_t *model = w->model + (o->offset - w->id * UK_REGION);
    size_t i;

    g_assert(o->decided);
    g_assert_cmpint(ret, ==, o->want);
    if (type == QEMU_AIO_READ && !ret) {
        g_assert(!memcmp(w->buf, model, o->done));
        for (i = o->done; i < o->size; i++) {
            g_assert_cmpuint(w->buf[i], ==, 0);
        }
    } else if (type == QEMU_AIO_WRITE) {
        /* What was written before a failure is there, and nothing else. */
        memcpy(model, w->buf, ret ? o->done : o->size);
        g_assert(!memcmp(w->model, uk.disk + w->id * UK_REGION, UK_REGION));
    }
}

/* L8: while requests complete within the calls, descriptors have a turn. */
static void count_request(void)
{
    counts->requests++;
    if (storm) {
        g_assert_cmpuint(++overlooked, <=, 3 * LURING_BUDGET);
    }
}

static void coroutine_fn owner_request(Owner *w)
{
    static const int types[] = {
        QEMU_AIO_READ, QEMU_AIO_READ, QEMU_AIO_WRITE, QEMU_AIO_WRITE,
        QEMU_AIO_FLUSH,
    };
    int type = types[uk_below(ARRAY_SIZE(types))];
    size_t offset = uk_below(UK_REGION);
    size_t n = 1 + uk_below(UK_REGION - offset), split = uk_below(n + 1);
    struct iovec iov[2] = {
        { w->buf, split }, { w->buf + split, n - split },
    };
    QEMUIOVector qiov;
    int ret;

    if (uk_below(2)) {
        iov[0].iov_len = n;
        qemu_iovec_init_external(&qiov, iov, 1);
    } else {
        qemu_iovec_init_external(&qiov, iov, 2);
    }
    uk.oracle[w->id] = (UKOracle) {
        .offset = w->id * UK_REGION + offset, .size = n,
    };
    owner_fill(w, n);
    if (tracing) {
        fprintf(stderr, "owner %u: type %#x, %zu bytes at %zu\n", w->id, type,
                n, offset);
    }
    if (uk_fixed_chance()) {
        owner_register(w, split / 2);
    }
    ret = luring_co_submit(UK_FD + w->id, w->id * UK_REGION + offset,
                           type == QEMU_AIO_FLUSH ? NULL : &qiov, type, 0);
    owner_check(w, type, ret);
    count_request();
    /* L8: each callback has one budget; there are two. */
    g_assert_cmpuint(++since, <=, 2 * LURING_BUDGET);
}

/* One that takes its time: of no data, but with many bytes. */
static void coroutine_fn owner_large_request(Owner *w)
{
    static struct iovec iov[UK_LARGE_NIOV];
    QEMUIOVector qiov;
    size_t i;

    for (i = 0; i < UK_LARGE_NIOV; i++) {
        iov[i] = (struct iovec) { owners[0].buf, UK_REGION };
    }
    qemu_iovec_init_external(&qiov, iov, UK_LARGE_NIOV);
    uk.oracle[w->id] = (UKOracle) { .size = UK_LARGE_BYTES };
    g_assert_cmpint(luring_co_submit(UK_FD + w->id, 0, &qiov, QEMU_AIO_READ,
                                     0), ==, 0);
    count_request();
}

static void coroutine_fn owner_entry(void *opaque)
{
    Owner *w = opaque;

    do {
        if (uk.large) {
            owner_large_request(w);
        } else {
            owner_request(w);
        }
        if (!w->nested && nesting < 3 && uk_chance(UK_NEST)) {
            defer_call(nested_loop, w);
        }
    } while (!w->nested && requests_left && requests_left--);
    owner_unregister(w);
    w->finished = true;
    w->busy = false;
    unfinished--;
}

/* Start an owner that is free; NULL if there is none. */
static Owner *owner_start(bool nested)
{
    unsigned id;

    for (id = 0; id < UK_OWNERS && owners[id].busy; id++) {
    }
    if (id == UK_OWNERS) {
        return NULL;
    }
    owners[id].id = id;
    owners[id].busy = true;
    owners[id].nested = nested;
    owners[id].finished = false;
    unfinished++;
    qemu_coroutine_enter(qemu_coroutine_create(owner_entry, &owners[id]));
    return &owners[id];
}

/* --- turns of the event loop --- */

static void descriptor_cb(EventNotifier *e)
{
    overlooked = 0;
}

static void beacon_cb(void *opaque)
{
    beacon_armed = false;
}

/* L3, when control is in the event loop; whether there is work. */
static bool check_own_wakeup(void)
{
    LuringInfo info;
    bool left;

    luring_get_info(engine, &info);
    left = uk.shared && ctx->fdmon_ops->need_wait(ctx);
    g_assert(nesting || info.depth == 0);
    if (info.pending) {
        g_assert(info.in_flight || info.bh_scheduled || info.retry_armed ||
                 left || (nesting && info.offered));
        g_assert(nesting || info.blocked || info.bh_scheduled || left);
    }
    g_assert_cmpuint(info.in_flight, <=, uk.nb_late + uk_completed());
    if (!uk.shared) {
        /* (Its submission queue has no entries of others.) */
        g_assert_cmpuint(info.in_flight, ==, uk.nb_late + uk_completed());
    }
    return info.bh_scheduled || !info.ring_empty || info.offered;
}

static void time_passes(void)
{
    static const int64_t steps[] = { 10000, 200000, 3000000, 20000000 };

    g_assert_cmpuint(++idle, <, IDLE_MAX);
    uk_tick();
    uk.clock_ns += steps[uk_below(ARRAY_SIZE(steps))];
}

/*
 * L3: completions that the kernel holds back until it is called are fetched by
 * a turn that asks the engine.
 */
static bool asks_for_tasks(void)
{
    return (uk.kflags & IORING_SQ_TASKRUN) &&
           ctx->nonblocking_look != AIO_LOOK_NEVER;
}

/*
 * Would a turn that waits end?  With a ring of the engine's own only if its
 * descriptor is ready: the kernel here completes nothing meanwhile.
 */
static bool wait_ends(bool work)
{
    LuringInfo info;

    luring_get_info(engine, &info);
    return work || (uk.shared && (info.in_flight || info.left));
}

static void turn(void)
{
    int64_t start = uk.clock_ns, waited_before = uk.waited_ns, took;
    bool work = check_own_wakeup(), progress;
    int64_t nested_before = nested_ns;
    uint64_t nested_loops = counts->nested;
    unsigned before = since;
    bool asks = asks_for_tasks();

    counts->turns++;
    if (uk_below(4) == 0) {
        beacon_armed = true;
        timer_mod(beacon, uk.clock_ns);
    }
    uk_sync_fd();
    since = 0;
    nested_ns = 0;
    /* Waiting is safe just if the engine is right that it will be woken. */
    uk.waited_ns = 0;
    progress = aio_poll(ctx, wait_ends(work) && uk_below(2));
    took = uk.clock_ns - start - uk.waited_ns;
    uk.waited_ns = waited_before;
    since = before;
    /* What a nested loop has left is for the next turn. */
    g_assert(!asks || counts->nested != nested_loops ||
             !(uk.kflags & IORING_SQ_TASKRUN));
    g_assert(!beacon_armed);
    g_assert_cmpint(took - nested_ns, <=, TURN_MAX_NS);
    nested_ns = nested_before;
    check_own_wakeup();
    if (!progress) {
        time_passes();
    } else {
        idle = 0;
        if (uk_below(3) == 0) {
            uk_tick();
        }
    }
}

static void nested_loop_bh(void *opaque)
{
    nested_bhs--;
    nested_loop(NULL);
}

/* L4: at the end of a completion pass, or in a bottom half. */
static void nested_loop(void *opaque)
{
    int64_t start = uk.clock_ns;
    bool armed = beacon_armed;
    Owner *w;

    if (qemu_in_coroutine()) {
        nested_bhs++;
        aio_bh_schedule_oneshot(ctx, nested_loop_bh, NULL);
        return;
    }
    w = owner_start(true);
    if (!w) {
        return;
    }
    had_nesting = true;
    nesting++;
    counts->nested++;
    while (!w->finished) {
        turn();
    }
    nesting--;
    nested_ns += uk.clock_ns - start;
    beacon_armed &= armed;
}

/* --- schedules --- */

static void start_owners(const Plan *plan)
{
    unsigned i, n = MIN(1 + uk_below(8), plan->max_coroutines);
    bool section = uk_below(2);

    nesting++;                  /* not in the event loop yet */
    if (section) {
        defer_call_begin();
    }
    for (i = 0; i < n; i++) {
        owner_start(false);
    }
    if (section) {
        defer_call_end();
    }
    nesting--;
}

/* An engine on the ring of its fd monitor, or on its own. */
static void make_engine(void)
{
    ctx = main_ctx;
    if (uk.shared) {
        ctx = aio_context_new(&error_abort);
        ctx->fdmon_wanted = AIO_FDMON_AUTO;
        qemu_set_current_aio_context(ctx);
    }
    /* With a clock that stands still busy polling would not end. */
    aio_context_set_poll_params(ctx, 0, 0, 0, &error_abort);
    ctx->nonblocking_since = 0;
    beacon = aio_timer_new(ctx, QEMU_CLOCK_REALTIME, SCALE_NS, beacon_cb,
                           NULL);
    engine = uk.shared ? luring_init_shared(aio_uring_share(ctx)) :
             luring_init(&error_abort);
    luring_attach_aio_context(engine, ctx);
    ctx->linux_io_uring = engine;
}

static void free_engine(void)
{
    luring_detach_aio_context(engine, ctx);
    luring_cleanup(engine);
    ctx->linux_io_uring = NULL;
    timer_free(beacon);
    if (ctx != main_ctx) {
        aio_context_unref(ctx);
        qemu_set_current_aio_context(main_ctx);
    }
}

/*
 * L9: what the coroutines of one pass queue goes to a disk in parts, so that it
 * has the first while the last is prepared.  It makes no difference that it
 * completes some of those before while it is given others: @meanwhile.
 */
static void check_parts(bool meanwhile)
{
    unsigned i;

    uk_asynchronous();
    make_engine();
    ctx->aio_max_batch = 0;
    requests_left = meanwhile ? 4 * UK_OWNERS : UK_OWNERS;
    nesting++;
    defer_call_begin();
    for (i = 0; i < UK_OWNERS; i++) {
        owner_start(false);
    }
    defer_call_end();
    nesting--;
    g_assert_cmpuint(uk.calls, ==, 1);
    uk_complete_some(meanwhile ? UK_OWNERS / 2 : UK_OWNERS);
    uk_sync_fd();
    uk.meanwhile = meanwhile ? 2 : 0;
    uk.calls = uk.largest = 0;
    while (uk_completed()) {
        aio_poll(ctx, false);
    }
    g_assert_cmpuint(uk.largest, ==, 2);
    if (!meanwhile) {
        g_assert_cmpuint(uk.nb_late, ==, UK_OWNERS);
        g_assert_cmpuint(uk.calls, ==, UK_OWNERS / 2);
    }
    uk.meanwhile = 0;
    while (unfinished) {
        turn();
    }
    free_engine();
}

static void coroutine_fn whole_read(void *opaque)
{
    Owner *w = opaque;
    QEMUIOVector qiov;

    qemu_iovec_init_buf(&qiov, w->buf, UK_REGION);
    uk.oracle[w->id] = (UKOracle) { .size = UK_REGION };
    g_assert_cmpint(luring_co_submit(UK_FD + w->id, 0, &qiov, QEMU_AIO_READ,
                                     0), ==, 0);
    w->finished = true;
}

/* How many reads of @w's memory, one, were from a fixed buffer. */
static unsigned fixed_reads(Owner *w)
{
    unsigned before = uk.nb_fixed;

    w->finished = false;
    qemu_coroutine_enter(qemu_coroutine_create(whole_read, w));
    uk_complete_some(1);
    uk_sync_fd();
    while (!w->finished) {
        aio_poll(ctx, false);
    }
    return uk.nb_fixed - before;
}

/* The engine uses what is registered, unless the kernel may @refuse it. */
static void check_fixed(bool refuse)
{
    Owner *w = &owners[0], *other = &owners[1];
    unsigned want, i;

    w->id = 0;
    other->id = 1;
    uk_asynchronous();
    uk.refuse_table = refuse;
    make_engine();
    ctx->nonblocking_look = AIO_LOOK_ALWAYS;
    want = uk.ring->features & IORING_FEAT_RW_CUR_POS && !refuse;

    g_assert_cmpuint(fixed_reads(w), ==, 0);
    for (i = 0; i < 3; i++) {
        owner_register(w, 0);
        g_assert_cmpuint(fixed_reads(w), ==, want);
        g_assert_cmpuint(fixed_reads(w), ==, want);
        g_assert_cmpuint(fixed_reads(other), ==, 0);
    }
    owner_register(other, 0);
    g_assert_cmpuint(fixed_reads(other), ==, want);
    owner_unregister(w);
    g_assert_cmpuint(fixed_reads(other), ==, want);
    g_assert_cmpuint(fixed_reads(w), ==, 0);
    g_assert_cmpuint(uk.fixed[0].start, ==, 0);
    /* Not all of the request. */
    owner_register(w, 1);
    g_assert_cmpuint(fixed_reads(w), ==, 0);
    /* More than the process may lock. */
    uk.refuse_fixed = true;
    owner_register(w, 0);
    g_assert_cmpuint(fixed_reads(w), ==, 0);
    g_assert_cmpuint(fixed_reads(other), ==, want);
    owner_unregister(w);
    owner_unregister(other);
    free_engine();
}

void run_schedule(uint64_t seed, const Plan *plan)
{
    unsigned i;

    uk.without = plan->without;
    tracing = plan->trace;
    uk_reset(seed);
    idle = since = overlooked = 0;
    for (i = 0; i < UK_OWNERS; i++) {
        memcpy(owners[i].model, uk.disk + i * UK_REGION, UK_REGION);
    }
    if (seed % 256 >= 254) {
        check_parts(seed % 256 == 254);
        return;
    }
    if (seed % 256 >= 252) {
        check_fixed(seed % 256 == 252);
        return;
    }
    requests_left = MIN(5 + uk_below(60), plan->max_requests);
    storm = uk_below(200) == 0;
    if (storm) {
        requests_left = MIN(5 * LURING_BUDGET, plan->max_requests);
        uk_storm();
        counts->storms++;
    }
    had_nesting = false;
    make_engine();
    if (storm) {
        aio_set_event_notifier(ctx, &descriptor, descriptor_cb, NULL, NULL);
        event_notifier_set(&descriptor);
    }
    ctx->nonblocking_look = uk.odds[UK_STRICT] ? AIO_LOOK_NEVER : uk_below(2);
    ctx->aio_max_batch = uk_below(4) * 5;
    start_owners(plan);
    since = 0;
    if (storm) {
        uk_storm_begins();
    }
    while (unfinished || nested_bhs) {
        turn();
    }
    for (i = 0; i < UK_OWNERS; i++) {
        g_assert(!memcmp(owners[i].model, uk.disk + i * UK_REGION,
                         UK_REGION));
    }
    if (!had_nesting && uk.stack_high) {
        g_assert_cmpuint(uk.stack_high - uk.stack_low, <=, STACK_MAX);
    }
    if (storm) {
        aio_set_event_notifier(ctx, &descriptor, NULL, NULL, NULL);
        event_notifier_test_and_clear(&descriptor);
    }
    free_engine();
}

void schedules_begin(void)
{
    qemu_init_main_loop(&error_abort);
    main_ctx = qemu_get_aio_context();
    main_ctx->fdmon_wanted = AIO_FDMON_PPOLL;
    g_assert_cmpint(event_notifier_init(&descriptor, false), ==, 0);
}

void schedules_end(void)
{
    event_notifier_cleanup(&descriptor);
    qemu_cleanup_main_loop();
}

int main(int argc, char **argv)
{
    return schedules_main("io-uring/laws", uk_features, UK_FEATURES, argc,
                          argv);
}
