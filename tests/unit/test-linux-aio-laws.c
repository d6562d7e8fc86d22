/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The laws of the Linux AIO engine under random schedules.
 *
 * A seed makes a kernel (random-aio-kernel.h) and a workload: coroutines that
 * read, write and flush in regions of their own, move between the event loops
 * of up to three threads, and run nested event loops at the end of completion
 * passes; drained sections, in which the engines are detached, attached
 * elsewhere, or made anew.  Only one thread runs at a time, the one that a
 * seed says, so that each schedule can be replayed.  Checked at each step:
 *
 *   L1 the depth of ioq_submit() is within its bound
 *   L2 each result, and all data, is what the kernel's oracle says; a request
 *      goes through its states; events are delivered once, in order
 *   L3 pending requests have something in flight, the BH, or a timer; a ring
 *      with events has the BH, a signal or a timer; a request in the kernel has
 *      the eventfd or a timer
 *   L4 nested loops end
 *   L5 a refused request fails with its error; once control is in the event
 *      loop, what waits has been offered to the kernel
 *   L6 a call is repeated after a completion or a delay only
 *   L7 tails, end of file, disk full
 *   L8 an iteration of the event loop ends, after a bounded number of
 *      completions and a bounded time, and runs a timer that is due
 *   L9 on a kernel that is truly asynchronous, calls are few
 *
 * See test-linux-aio-laws --help.
 */
#include "qemu/osdep.h"
#include "qemu/aio.h"
#include "block/aio-parts.h"
#include "block/block.h"
#include "block/linux-aio.h"
#include "block/raw-aio.h"
#include "qapi/error.h"
#include "qemu/coroutine.h"
#include "qemu/defer-call.h"
#include "qemu/main-loop.h"
#include "random-aio-kernel.h"
#include "random-schedules.h"
#include "trace/trace-block.h"

/* Iterations without progress, with the clock running, that are a hang. */
#define IDLE_MAX 5000

typedef struct Owner {
    unsigned id;
    bool nested;                /* one request, for a nested loop */
    bool finished;
    Coroutine *co;
    uint8_t buf[RK_REGION];
    uint8_t model[RK_REGION];
} Owner;

typedef struct Loop {
    QemuThread thread;
    QemuSemaphore go, back;     /* who has the turn */
    bool busy;                  /* its turn is on the stack */
    unsigned turns;             /* how many of them */
    bool fresh;                 /* nothing was submitted in its only turn */
    bool rest;                  /* of a batch, after a refused request */
    bool stop;
    AioContext *ctx;
    LinuxAioState *engine;
    RKContext *kernel;
    QEMUTimer *beacon;
    bool beacon_armed;
    unsigned since;             /* completions of this iteration */
    int64_t used_ns;            /* by io_submit() in this iteration */
    int64_t retry_ns;           /* the delay that comes next */
    unsigned calls;             /* that it may have made: L9 */
} Loop;

typedef struct Request {
    const void *req;
    LaioState state;
} Request;

static Loop loops[RK_CONTEXTS];
static unsigned n_loops;
static Owner owners[RK_OWNERS];
static bool busy[RK_OWNERS];
static Request requests[RK_OWNERS];
static Owner *parked[RK_OWNERS];
static unsigned n_parked;
static unsigned requests_left, unfinished, nesting, nested_bhs, idle;
static unsigned direct_calls;
static bool draining, asynchronous;

LaioHooks laio_hooks;

static Loop *loop_of_engine(const void *s)
{
    Loop *l = loops;

    while (l->engine != s) {
        l++;
        g_assert(l < loops + RK_CONTEXTS);
    }
    return l;
}

/* The loop of this thread; a coroutine may have moved since the last call. */
static Loop *current_loop(void)
{
    AioContext *ctx = qemu_get_current_aio_context();
    Loop *l = loops;

    while (l->ctx != ctx) {
        l++;
        g_assert(l < loops + RK_CONTEXTS);
    }
    return l;
}

/* --- what the engine tells --- */

static void note_submit(void *s, unsigned nr, int ret, unsigned depth)
{
    Loop *l = loop_of_engine(s);

    g_assert_cmpuint(depth, <=, IOQ_SUBMIT_MAX_DEPTH);
    g_assert_cmpuint(depth, >=, 1);
    g_assert(current_loop() == l);
    g_assert_cmpuint(nr, <=, l->ctx->aio_max_batch > 0 ?
                     (unsigned)l->ctx->aio_max_batch : LAIO_DEFAULT_MAX_BATCH);
    if (l->fresh) {
        /* L1: the count is this thread's, and was given back. */
        g_assert_cmpuint(depth, ==, 1);
        l->fresh = false;
    }
    if (ret != 0 && ret != -EAGAIN) {
        l->retry_ns = LAIO_RETRY_MIN_NS;
        l->rest = ret < 0 && nr > 1;
    } else {
        l->rest = false;
    }
}

/* L6: a back-off, which begins anew after the kernel has answered. */
static void note_retry(void *s, int64_t delay_ns)
{
    Loop *l = loop_of_engine(s);

    g_assert_cmpint(delay_ns, ==, l->retry_ns);
    l->retry_ns = MIN(2 * delay_ns, LAIO_RETRY_MAX_NS);
}

static void note_reap(void *s, unsigned events)
{
    loop_of_engine(s)->calls += MIN(events, AIO_PASS_CALLS);
}

static Request *request_find(const void *req)
{
    unsigned i;

    for (i = 0; i < RK_OWNERS; i++) {
        if (requests[i].req == req) {
            return &requests[i];
        }
    }
    return NULL;
}

static LaioState state_named(const char *name)
{
    switch (name[0]) {
    case 'p':
        return LAIO_PENDING;
    case 'i':
        return LAIO_IN_FLIGHT;
    case 'r':
        return LAIO_REJECTED;
    default:
        return LAIO_DONE;
    }
}

static void note_request(void *s, const void *req, int type,
                         const char *state_name, ssize_t ret)
{
    Loop *l = loop_of_engine(s);
    Request *r = request_find(req);
    LaioState state = state_named(state_name);

    rk_trace("loop %d: request %p %s\n", (int)(l - loops), req, state_name);
    if (!r) {
        g_assert_cmpint(state, ==, LAIO_PENDING);
        r = request_find(NULL);
        g_assert(r);
        *r = (Request) { .req = req, .state = state };
        return;
    }
    switch (r->state) {
    case LAIO_PENDING:
        g_assert(state == LAIO_IN_FLIGHT || state == LAIO_REJECTED);
        break;
    case LAIO_IN_FLIGHT:
        g_assert(state == LAIO_PENDING || state == LAIO_DONE);
        rk_delivered(l->kernel, req);
        break;
    case LAIO_REJECTED:
        g_assert(state == LAIO_PENDING || state == LAIO_DONE);
        break;
    default:
        g_assert_not_reached();
    }
    r->state = state;
    if (state == LAIO_DONE) {
        r->req = NULL;
        l->since++;
        /* L8: each callback has one budget; there are three. */
        g_assert_cmpuint(l->since, <=, 3 * LAIO_BUDGET);
    }
}

/* L3 and L5, when control is in the event loop. */
static bool check_own_wakeup(Loop *l)
{
    LaioInfo info;

    laio_get_info(l->engine, &info);
    g_assert(!l->rest || info.yielded);         /* L5 */
    if (info.pending) {
        g_assert(info.in_flight || info.bh_scheduled || info.retry_armed ||
                 info.yielded);
        g_assert(nesting || info.blocked || info.yielded);
    }
    g_assert(!info.rejected || info.bh_scheduled || info.yielded);
    if (!info.ring_empty && !info.bh_scheduled) {
        g_assert(info.look_armed || rk_signalled(l->kernel));
    }
    g_assert(!info.quiet || info.look_armed);
    g_assert(info.in_flight == l->kernel->accepted - l->kernel->delivered);
    return info.bh_scheduled || !info.ring_empty || info.yielded;
}

/* L8: a dispatch, what runs outside of it, and a timer, each end in time. */
static void check_time(Loop *l)
{
    g_assert_cmpint(l->used_ns, <=, 3 * (LAIO_BUDGET_NS +
                    LAIO_DEFAULT_MAX_BATCH * rk.request_ns));
}

/* --- the coroutines --- */

static void owner_fill(Owner *w, size_t n)
{
    uint32_t random = rk_random();
    size_t i;

    for (i = 0; i < n; i++) {
        w->buf[i] = (i + random) * 2654435761U >> 24;
    }
}

/* Compare what @type has done with what the oracle says. */
static void owner_check(Owner *w, int type, int ret)
{
    RKOracle *o = &rk.oracle[w->id];
    uint8_t *model = w->model + (o->offset - w->id * RK_REGION);
    size_t i;

    g_assert(o->decided);
    g_assert_cmpint(ret, ==, o->want);
    o->active = false;
    if (type == QEMU_AIO_READ && !ret) {
        g_assert(!memcmp(w->buf, model, o->done));
        for (i = o->done; i < o->size; i++) {
            g_assert_cmpuint(w->buf[i], ==, 0);
        }
    } else if (type == QEMU_AIO_WRITE || type == QEMU_AIO_ZONE_APPEND) {
        /* What was written before a failure is there, and nothing else. */
        memcpy(model, w->buf, ret ? o->done : o->size);
        g_assert(!memcmp(w->model, rk.disk + w->id * RK_REGION, RK_REGION));
    }
}

static void coroutine_fn owner_request(Owner *w)
{
    static const int types[] = {
        QEMU_AIO_READ, QEMU_AIO_READ, QEMU_AIO_READ, QEMU_AIO_WRITE,
        QEMU_AIO_WRITE, QEMU_AIO_ZONE_APPEND, QEMU_AIO_FLUSH,
    };
    int type = types[rk_below(ARRAY_SIZE(types))];
    size_t unit = rk.direct ? RK_SECTOR : 1;
    size_t offset = rk_below(RK_REGION / unit) * unit;
    size_t max = MIN(RK_REGION - offset, rk.direct ? RK_REGION : 300) / unit;
    size_t n = (1 + rk_below(max)) * unit, split = rk_below(n + 1);
    bool fua = type == QEMU_AIO_WRITE && laio_has_fua() && !rk_below(4);
    struct iovec iov[2] = {
        { w->buf, split }, { w->buf + split, n - split },
    };
    QEMUIOVector qiov;
    int ret;

    rk.oracle[w->id] = (RKOracle) {
        .active = true,
        .offset = w->id * RK_REGION + offset,
        .size = n,
        .append = type == QEMU_AIO_ZONE_APPEND,
        .rw_flags = fua ? RWF_DSYNC : 0,
    };
    qemu_iovec_init_external(&qiov, iov, 2);
    owner_fill(w, n);
    rk_trace("owner %u: type %#x, %zu bytes at %zu\n", w->id, type, n,
             offset);
    ret = laio_co_submit(RK_FD + w->id, w->id * RK_REGION + offset,
                         type == QEMU_AIO_FLUSH ? NULL : &qiov, type,
                         fua ? BDRV_REQ_FUA : 0,
                         asynchronous ? 0 : rk_below(8));
    owner_check(w, type, ret);
    counts->requests++;
}

/* A drained section lets requests end, and none begin. */
static void coroutine_fn owner_pause(Owner *w)
{
    if (draining) {
        /* Another section may begin before this one's owners run again. */
        while (draining) {
            rk_trace("owner %u: parked\n", w->id);
            parked[n_parked++] = w;
            qemu_coroutine_yield();
        }
    } else if (rk_chance(RK_MOVE)) {
        unsigned to = rk_below(n_loops);

        rk_trace("owner %u: to loop %u\n", w->id, to);
        counts->moves++;
        aio_co_reschedule_self(loops[to].ctx);
    } else if (rk_chance(RK_YIELD)) {
        aio_co_schedule(qemu_get_current_aio_context(), w->co);
        qemu_coroutine_yield();
    }
}

static void nested_loop(void *opaque);

static void coroutine_fn owner_entry(void *opaque)
{
    Owner *w = opaque;

    do {
        owner_request(w);
        if (!w->nested) {
            if (nesting < 3 && rk_chance(RK_NEST)) {
                defer_call(nested_loop, w);
            }
            owner_pause(w);
        }
    } while (!w->nested && requests_left && requests_left--);
    w->finished = true;
    busy[w->id] = false;
    unfinished--;
}

/* Start an owner that is free; NULL if there is none. */
static Owner *owner_start(bool nested)
{
    Owner *w;
    unsigned id;

    for (id = 0; id < RK_OWNERS && busy[id]; id++) {
    }
    if (id == RK_OWNERS) {
        return NULL;
    }
    w = &owners[id];
    busy[id] = true;
    w->id = id;
    w->nested = nested;
    w->finished = false;
    w->co = qemu_coroutine_create(owner_entry, w);
    unfinished++;
    qemu_coroutine_enter(w->co);
    return w;
}

/* --- turns of the event loops --- */

static void beacon_cb(void *opaque)
{
    Loop *l = opaque;

    l->beacon_armed = false;
}

/* Nothing to do: let the kernel go on, and the clock. */
static void time_passes(void)
{
    static const int64_t steps[] = { 10000, 200000, 3000000, 20000000 };

    g_assert_cmpuint(++idle, <, IDLE_MAX);
    rk_tick();
    rk.clock_ns += steps[rk_below(ARRAY_SIZE(steps))];
}

/* One iteration in the thread that this is. */
static void turn_here(Loop *l)
{
    unsigned since = l->since;
    int64_t used_ns = l->used_ns, *used = rk.used_ns;
    bool work = check_own_wakeup(l), beacon = rk_below(4) == 0, progress;

    counts->turns++;
    l->fresh = ++l->turns == 1;
    l->since = 0;
    l->used_ns = 0;
    rk.used_ns = &l->used_ns;
    if (beacon) {
        l->beacon_armed = true;
        timer_mod(l->beacon, rk.clock_ns);
    }
    /* Waiting is safe just if the engine is right that it will be woken. */
    progress = aio_poll(l->ctx, work && rk_below(2));
    l->calls++;
    l->turns--;
    /* L8: what is due is not kept waiting. */
    g_assert(!beacon || !l->beacon_armed);
    check_time(l);
    l->since = since;
    l->used_ns = used_ns;
    rk.used_ns = used;
    check_own_wakeup(l);
    if (!progress) {
        time_passes();
    } else {
        idle = 0;
        if (rk_below(3) == 0) {
            rk_tick();
        }
    }
}

static void *loop_run(void *opaque)
{
    Loop *l = opaque;

    qemu_set_current_aio_context(l->ctx);
    for (;;) {
        qemu_sem_wait(&l->go);
        if (l->stop) {
            return NULL;
        }
        turn_here(l);
        qemu_sem_post(&l->back);
    }
}

/* A turn of any loop whose thread can have one now. */
static void turn(void)
{
    Loop *l = &loops[rk_below(n_loops)];

    if (l->busy) {
        turn_here(current_loop());
    } else {
        rk_trace("loop %d: turn\n", (int)(l - loops));
        l->busy = true;
        qemu_sem_post(&l->go);
        qemu_sem_wait(&l->back);
        l->busy = false;
    }
}

/* Is this the only thread in the middle of something? */
static bool alone(void)
{
    unsigned i;

    for (i = 1; i < n_loops; i++) {
        if (loops[i].busy) {
            return false;
        }
    }
    return true;
}

/* --- drained sections --- */

static void engine_attach(Loop *l, LinuxAioState *s, RKContext *kernel)
{
    l->engine = s;
    l->kernel = kernel;
    l->retry_ns = LAIO_RETRY_MIN_NS;
    laio_attach_aio_context(s, l->ctx);
    l->ctx->linux_aio = s;
}

static void engine_new(Loop *l)
{
    RKContext *kernel = rk.contexts;
    LinuxAioState *s;

    while (kernel->live) {
        kernel++;
    }
    s = laio_init(&error_abort);
    engine_attach(l, s, kernel);
}

static void engine_free(Loop *l)
{
    while (l->kernel->late) {
        rk_tick();
    }
    laio_cleanup(l->engine);
}

/* Detach all engines, and attach them, or others, to the loops. */
static void reattach(void)
{
    LinuxAioState *engines[RK_CONTEXTS];
    RKContext *kernels[RK_CONTEXTS];
    unsigned i, shift = rk_below(n_loops);

    rk_trace("reattach, shifted by %u\n", shift);
    counts->reattached++;
    for (i = 0; i < n_loops; i++) {
        laio_detach_aio_context(loops[i].engine, loops[i].ctx);
        engines[i] = loops[i].engine;
        kernels[i] = loops[i].kernel;
    }
    for (i = 0; i < n_loops; i++) {
        unsigned from = (i + shift) % n_loops;

        engine_attach(&loops[i], engines[from], kernels[from]);
    }
    if (rk_below(2)) {
        Loop *l = &loops[rk_below(n_loops)];

        laio_detach_aio_context(l->engine, l->ctx);
        engine_free(l);
        engine_new(l);
    }
}

/* As the block layer does: wait for what there is, in a nested loop or not. */
static void drain(void)
{
    unsigned i;

    rk_trace("drain\n");
    counts->drains++;
    draining = true;
    while (unfinished > n_parked) {
        turn();
    }
    for (i = 0; i < n_loops; i++) {
        LaioInfo info;

        laio_get_info(loops[i].engine, &info);
        g_assert(!info.pending && !info.in_flight && !info.rejected);
        g_assert(info.ring_empty && !info.retry_armed);
    }
    /* Not below a callback of an engine that it takes away. */
    if (!nesting && rk_chance(RK_REATTACH)) {
        reattach();
    }
    draining = false;
    while (n_parked) {
        aio_co_schedule(loops[rk_below(n_loops)].ctx,
                        parked[--n_parked]->co);
    }
}

static void nested_loop_bh(void *opaque);

/* L4: at the end of a completion pass, or in a bottom half. */
static void nested_loop(void *opaque)
{
    Owner *w;

    if (qemu_in_coroutine()) {
        /* There was no section. */
        nested_bhs++;
        aio_bh_schedule_oneshot(qemu_get_current_aio_context(),
                                nested_loop_bh, NULL);
        return;
    }
    w = owner_start(true);
    if (!w) {
        return;
    }
    nesting++;
    counts->nested++;
    while (!w->finished) {
        turn();
    }
    if (!draining && alone() && rk_chance(RK_DRAIN)) {
        drain();
    }
    nesting--;
}

static void nested_loop_bh(void *opaque)
{
    nested_bhs--;
    nested_loop(NULL);
}

/* --- schedules --- */

/*
 * L9: AIO_PASS_CALLS in a pass that reaps, one in an iteration of the event
 * loop, and one for a request that is made outside of both.
 */
static void check_calls(void)
{
    unsigned i, most = direct_calls;

    for (i = 0; i < n_loops; i++) {
        most += loops[i].calls;
    }
    g_assert_cmpuint(rk.calls, <=, most);
}

static void start_owners(const Plan *plan)
{
    unsigned i, n = 1 + rk_below(8);

    n = MIN(n, plan->max_coroutines);
    direct_calls = n;
    loops[0].turns++;           /* as if from one: nested loops are that */
    if (rk_below(2)) {
        defer_call_begin();
        for (i = 0; i < n; i++) {
            owner_start(false);
        }
        defer_call_end();
    } else {
        for (i = 0; i < n; i++) {
            owner_start(false);
        }
    }
    loops[0].turns--;
}

static void finish_schedule(void)
{
    unsigned i;

    while (unfinished || nested_bhs) {
        turn();
        if (rk_chance(RK_DRAIN)) {
            drain();
        }
    }
    for (i = 0; i < RK_OWNERS; i++) {
        g_assert(!requests[i].req);
        g_assert(!memcmp(owners[i].model, rk.disk + i * RK_REGION,
                         RK_REGION));
    }
    if (asynchronous) {
        check_calls();
    }
}

void run_schedule(uint64_t seed, const Plan *plan)
{
    unsigned i;

    rk.without = plan->without;
    rk.trace = plan->trace;
    rk_reset(seed);
    asynchronous = rk_below(16) == 0;
    if (asynchronous) {
        rk_asynchronous();
    }
    n_loops = rk_chance(RK_THREADS) ? 2 + rk_below(RK_CONTEXTS - 1) : 1;
    requests_left = 5 + rk_below(60);
    if (!asynchronous && rk_chance(RK_STORM)) {
        rk_storm();
        requests_left = 5 * LAIO_BUDGET;
        counts->storms++;
    }
    requests_left = MIN(requests_left, plan->max_requests);
    idle = 0;
    rk.used_ns = &loops[0].used_ns;
    for (i = 0; i < n_loops; i++) {
        loops[i].since = loops[i].calls = 0;
        loops[i].used_ns = 0;
        loops[i].ctx->nonblocking_since = 0;
        loops[i].ctx->nonblocking_look = rk_chance(RK_STRICT) ?
                                         AIO_LOOK_NEVER : rk_below(2);
        loops[i].ctx->aio_max_batch = asynchronous ? 0 : rk_below(4) * 5;
        engine_new(&loops[i]);
    }
    for (i = 0; i < RK_OWNERS; i++) {
        memcpy(owners[i].model, rk.disk + i * RK_REGION, RK_REGION);
    }

    start_owners(plan);
    finish_schedule();

    for (i = 0; i < n_loops; i++) {
        Loop *l = &loops[i];

        laio_detach_aio_context(l->engine, l->ctx);
        engine_free(l);
        l->engine = NULL;
        l->ctx->linux_aio = NULL;
    }
}

static void loop_start(Loop *l, AioContext *ctx)
{
    l->ctx = ctx;
    /* With a clock that stands still busy polling would not end. */
    aio_context_set_poll_params(ctx, 0, 0, 0, &error_abort);
    l->beacon = aio_timer_new(ctx, QEMU_CLOCK_REALTIME, SCALE_NS, beacon_cb,
                              l);
    if (l == loops) {
        l->busy = true;
        return;
    }
    qemu_sem_init(&l->go, 0);
    qemu_sem_init(&l->back, 0);
    qemu_thread_create(&l->thread, "loop", loop_run, l,
                       QEMU_THREAD_JOINABLE);
}

void schedules_begin(void)
{
    unsigned i;

    qemu_init_main_loop(&error_abort);
    laio_hooks = (LaioHooks) {
        .submit = note_submit,
        .request = note_request,
        .reap = note_reap,
        .retry = note_retry,
    };
    for (i = 0; i < RK_CONTEXTS; i++) {
        loop_start(&loops[i], i ? aio_context_new(&error_abort)
                                : qemu_get_aio_context());
    }
}

void schedules_end(void)
{
    unsigned i;

    for (i = 0; i < RK_CONTEXTS; i++) {
        Loop *l = &loops[i];

        timer_free(l->beacon);
        if (i) {
            l->stop = true;
            qemu_sem_post(&l->go);
            qemu_thread_join(&l->thread);
            qemu_sem_destroy(&l->go);
            qemu_sem_destroy(&l->back);
            aio_context_unref(l->ctx);
        }
    }
    qemu_cleanup_main_loop();
}

int main(int argc, char **argv)
{
    return schedules_main("linux-aio/laws", rk_features, RK_FEATURES, argc,
                          argv);
}
