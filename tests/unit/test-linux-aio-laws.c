/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The laws of the Linux AIO engine under random schedules.
 *
 * A seed makes a kernel (random-aio-kernel.h) and a workload: coroutines that
 * read, write and flush in regions of their own, and run nested event loops
 * at the end of completion passes.  Checked at each step:
 *
 *   L1 the depth of ioq_submit() is within its bound, at 0 in between
 *   L2 each result, and all data, is what the kernel's oracle says
 *   L3 pending requests have something in flight, the BH, or the timer; a
 *      ring with events has the BH or a signal
 *   L4 nested loops end
 *   L5 a refused request fails with its error (its batch mates: by L2)
 *   L6 no more than a few calls per -EAGAIN
 *   L7 tails, end of file, disk full (by L2)
 *
 * Usage: test-linux-aio-laws [--seeds N | --seconds N] [--seed N
 * [--requests N]].  A failure prints the command that replays it, with the
 * smallest number of requests that still fails.
 */
#include "qemu/osdep.h"
#include "block/aio.h"
#include "block/block.h"
#include "block/linux-aio.h"
#include "block/raw-aio.h"
#include "qapi/error.h"
#include "qemu/coroutine.h"
#include "qemu/defer-call.h"
#include "qemu/main-loop.h"
#include "random-aio-kernel.h"

#include <sys/wait.h>

/* A schedule takes well below a ms; this is a hang. */
#define HANG_SECONDS 10

typedef struct {
    unsigned id;
    bool nested;                /* one request, for a nested loop */
    bool finished;
    uint8_t buf[RK_REGION];
    uint8_t model[RK_REGION];
} Owner;

typedef struct {
    uint64_t seed;              /* of the schedule that is being run */
    uint64_t schedules, requests, nested, polls;
} Shared;

static Shared *shared;          /* survives the child */
static AioContext *ctx;
static LinuxAioState *engine;
static Owner owners[RK_OWNERS];
static bool busy[RK_OWNERS];
static unsigned requests_left, unfinished, nesting;

/* --- observers --- */

static void note_submit(LinuxAioState *s, int nr, int ret, unsigned depth)
{
    g_assert_cmpuint(depth, <=, IOQ_SUBMIT_MAX_DEPTH);
}

static const LaioObserver observer = { .submit = note_submit };

/* L3, when control is in the event loop; true if the engine will go on. */
static bool check_own_wakeup(void)
{
    LaioInfo info;

    laio_get_info(engine, &info);
    if (info.pending) {
        g_assert(info.in_flight || info.bh_scheduled || info.retry_armed);
    }
    if (info.rejected) {
        g_assert(info.bh_scheduled);
    }
    return info.bh_scheduled || info.retry_armed || !info.ring_empty;
}

/* --- workload --- */

static void owner_fill(Owner *w, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        w->buf[i] = rk_random();
    }
}

/* Compare what @type at @offset has done with what the oracle says. */
static void owner_check(Owner *w, int type, size_t offset, size_t n, int ret)
{
    RKOracle *o = &rk.oracle[w->id];
    size_t i;

    g_assert(o->decided);
    g_assert_cmpint(ret, ==, o->want);
    o->active = false;
    if (type == QEMU_AIO_READ && !ret) {
        g_assert(!memcmp(w->buf, w->model + offset, o->done));
        for (i = o->done; i < n; i++) {
            g_assert_cmpuint(w->buf[i], ==, 0);
        }
    } else if (type == QEMU_AIO_WRITE) {
        /* What was written before a failure is there, and nothing else. */
        memcpy(w->model + offset, w->buf, ret ? o->done : n);
        g_assert(!memcmp(w->model, rk.disk + w->id * RK_REGION, RK_REGION));
    }
}

static void coroutine_fn owner_request(Owner *w)
{
    static const int types[] = {
        QEMU_AIO_READ, QEMU_AIO_READ, QEMU_AIO_WRITE, QEMU_AIO_WRITE,
        QEMU_AIO_FLUSH,
    };
    int type = types[rk_below(ARRAY_SIZE(types))];
    size_t offset = rk_below(RK_REGION - 1);
    size_t n = 1 + rk_below(MIN(RK_REGION - offset, 300));
    size_t split = rk_below(n + 1);
    struct iovec iov[2] = {
        { w->buf, split }, { w->buf + split, n - split },
    };
    QEMUIOVector qiov;
    int ret;

    rk.oracle[w->id] = (RKOracle) { .active = true };
    qemu_iovec_init_external(&qiov, iov, 2);
    owner_fill(w, n);
    ret = laio_co_submit(w->id, w->id * RK_REGION + offset,
                         type == QEMU_AIO_FLUSH ? NULL : &qiov, type, 0,
                         rk_below(8));
    owner_check(w, type, offset, n, ret);
    shared->requests++;
}

static void nested_loop(void *opaque);

static void coroutine_fn owner_entry(void *opaque)
{
    Owner *w = opaque;

    do {
        owner_request(w);
        if (!w->nested && nesting < 3 && rk_below(12) == 0) {
            defer_call(nested_loop, w);
        }
        if (!w->nested && rk_below(10) == 0) {
            aio_co_schedule(ctx, qemu_coroutine_self());
            qemu_coroutine_yield();
        }
    } while (!w->nested && requests_left && requests_left--);
    w->finished = true;
    busy[w->id] = false;
    unfinished--;
}

/* Start an owner that is free; NULL if there is none. */
static Owner *owner_start(bool nested)
{
    unsigned id;

    for (id = 0; id < RK_OWNERS && busy[id]; id++) {
    }
    if (id == RK_OWNERS) {
        return NULL;
    }
    busy[id] = true;
    owners[id].id = id;
    owners[id].nested = nested;
    owners[id].finished = false;
    unfinished++;
    qemu_coroutine_enter(qemu_coroutine_create(owner_entry, &owners[id]));
    return &owners[id];
}

/* One turn of the loop; blocking only if the engine says that it goes on. */
static void turn(void)
{
    bool goes_on = check_own_wakeup();

    shared->polls++;
    if (goes_on && !rk.n_late && rk_below(2)) {
        LaioInfo info;

        laio_get_info(engine, &info);
        aio_poll(ctx, info.bh_scheduled || info.retry_armed);
    } else if (!aio_poll(ctx, false)) {
        LaioInfo info;

        laio_get_info(engine, &info);
        /* L3: if the kernel has nothing either, this would be for ever. */
        if (!rk.n_held && !rk.n_late && unfinished) {
            g_assert(info.bh_scheduled || info.retry_armed ||
                     !info.ring_empty);
        }
        rk_tick();
        if (info.retry_armed) {
            aio_poll(ctx, true);
        }
    } else if (rk_below(3) == 0) {
        rk_tick();
    }
}

/* L4: at the end of a completion pass, or in a bottom half. */
static void nested_loop(void *opaque)
{
    Owner *w;

    if (qemu_in_coroutine()) {
        /* There was no section. */
        aio_bh_schedule_oneshot(ctx, nested_loop, NULL);
        return;
    }
    w = owner_start(true);
    if (!w) {
        return;
    }
    nesting++;
    shared->nested++;
    while (!w->finished) {
        turn();
    }
    nesting--;
}

/* --- schedules --- */

static void run_schedule(uint64_t seed, unsigned max_requests)
{
    unsigned i, n;

    shared->seed = seed;
    alarm(HANG_SECONDS);
    rk_reset(seed);
    engine = laio_init(&error_abort);
    laio_attach_aio_context(engine, ctx);
    ctx->linux_aio = engine;
    for (i = 0; i < RK_OWNERS; i++) {
        memcpy(owners[i].model, rk.disk + i * RK_REGION, RK_REGION);
    }

    n = 1 + rk_below(8);
    requests_left = MIN(5 + rk_below(60), max_requests);
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
    while (unfinished) {
        turn();
    }
    /* Every call was for a reason: a request, or a bounded retry. */
    g_assert_cmpuint(rk.calls, <=, (rk.accepted + 200) * 20);
    while (rk.n_late) {
        rk_tick();
    }
    while (aio_poll(ctx, false)) {
    }
    laio_detach_aio_context(engine, ctx);
    laio_cleanup(engine);
    ctx->linux_aio = NULL;
    shared->schedules++;
}

/* Run schedules in a child; true if all went well. */
static bool run_in_child(uint64_t first, uint64_t count, int64_t seconds,
                         unsigned max_requests, bool quiet)
{
    pid_t pid = fork();
    int status;

    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        int64_t end = seconds ? qemu_clock_get_ns(QEMU_CLOCK_REALTIME) +
                      seconds * NANOSECONDS_PER_SECOND : INT64_MAX;
        uint64_t i;

        if (quiet) {
            freopen("/dev/null", "w", stderr);
            freopen("/dev/null", "w", stdout);
        }
        qemu_init_main_loop(&error_abort);
        ctx = qemu_get_aio_context();
        laio_observer = &observer;
        for (i = 0; i < count; i++) {
            if (i % 64 == 0 &&
                qemu_clock_get_ns(QEMU_CLOCK_REALTIME) > end) {
                break;
            }
            run_schedule(first + i, max_requests);
        }
        _exit(0);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* The smallest number of requests with which @seed still fails. */
static unsigned shrink(uint64_t seed)
{
    unsigned n;

    for (n = 0; n < 65; n++) {
        if (!run_in_child(seed, 1, 0, n, true)) {
            return n;
        }
    }
    return 65;
}

static uint64_t number_arg(const char *arg, const char *value)
{
    char *end = NULL;
    uint64_t n = value ? g_ascii_strtoull(value, &end, 0) : 0;

    if (!value || end == value || *end) {
        fprintf(stderr, "test-linux-aio-laws: %s needs a number\n", arg);
        exit(1);
    }
    return n;
}

int main(int argc, char **argv)
{
    const char *env = g_getenv("LAIO_SEEDS");
    uint64_t first = 1, count = UINT64_MAX;
    int64_t seconds = 20;
    unsigned max_requests = UINT_MAX;
    int i;
    bool ok;

    if (env) {
        count = number_arg("LAIO_SEEDS", env);
        seconds = 0;
    }
    for (i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--tap") || !strcmp(argv[i], "-k")) {
            continue;
        }
        if (!strcmp(argv[i], "--seeds")) {
            count = number_arg(argv[i], argv[i + 1]);
            seconds = 0;
        } else if (!strcmp(argv[i], "--seconds")) {
            seconds = number_arg(argv[i], argv[i + 1]);
        } else if (!strcmp(argv[i], "--seed")) {
            first = number_arg(argv[i], argv[i + 1]);
            count = count == UINT64_MAX ? 1 : count;
        } else if (!strcmp(argv[i], "--requests")) {
            max_requests = number_arg(argv[i], argv[i + 1]);
        } else {
            fprintf(stderr, "test-linux-aio-laws: unknown option '%s' "
                    "(--seeds, --seconds, --seed, --requests)\n", argv[i]);
            return 1;
        }
        i++;
    }

    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    g_assert(shared != MAP_FAILED);
    printf("1..1\n");
    fflush(stdout);
    ok = run_in_child(first, count, seconds, max_requests, false);
    printf("# %" PRIu64 " schedules, %" PRIu64 " requests, %" PRIu64
           " nested loops, %" PRIu64 " turns\n", shared->schedules,
           shared->requests, shared->nested, shared->polls);
    fflush(stdout);
    if (!ok) {
        uint64_t seed = shared->seed;

        printf("# replay: %s --seed %" PRIu64 " --requests %u\n", argv[0],
               seed, shrink(seed));
    }
    printf("%sok 1 /linux-aio/laws\n", ok ? "" : "not ");
    return ok ? 0 : 1;
}
