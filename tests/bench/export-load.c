/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A load on an export, and what it costs: requests per second, percentiles of
 * latency, and the processor time of the server for each request.
 *
 * In a closed loop (the default) each connection has as many requests in
 * flight as its depth.  With a rate, requests are due at fixed times, and the
 * latency counts from then: a server that stalls delays all that were due
 * meanwhile, and they are all counted.
 */
#include "qemu/osdep.h"
#include <getopt.h>
#include <math.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "qemu/cutils.h"
#include "export-load.h"

static const LoadDriver *const drivers[] = {
    &load_nbd,
    &load_vhost,
    &load_file,
};

static volatile sig_atomic_t want_end;
static volatile sig_atomic_t want_report;

void load_fail(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fputs("export-load: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

int load_connect_unix(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof(addr.sun_path)) {
        load_fail("'%s' is too long for the name of a socket", path);
    }
    pstrcpy(addr.sun_path, sizeof(addr.sun_path), path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        load_fail("cannot connect to '%s': %s", path, strerror(errno));
    }
    return fd;
}

int64_t load_clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

/* --- requests --- */

uint64_t load_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void start_one(LoadConn *c, int64_t begun)
{
    Load *l = c->load;
    uint64_t blocks = l->opts.range / l->opts.block_size;
    LoadRequest *req = &c->requests[c->free[--c->n_free]];

    req->write = load_random(&l->random) % 100 >= l->opts.read_percent;
    req->begun = begun;
    req->failed = false;
    if (l->opts.sequential) {
        req->offset = c->position++ % blocks * l->opts.block_size;
    } else {
        req->offset = load_random(&l->random) % blocks * l->opts.block_size;
    }
    l->driver->start(c, req);
}

void load_done(LoadRequest *req)
{
    LoadConn *c = req->conn;
    Load *l = c->load;

    l->errors += req->failed;
    l->last_done = l->now;
    latency_add(&l->latency, l->now - req->begun);
    c->free[c->n_free++] = req->slot;
}

static void start_all(Load *l)
{
    unsigned i;

    for (i = 0; i < l->opts.connections; i++) {
        while (l->conns[i]->n_free) {
            start_one(l->conns[i], l->now);
        }
    }
}

/* Those that are due, on the connection with most room. */
static void start_due(Load *l)
{
    while (l->next_due <= l->now) {
        LoadConn *best = l->conns[0];
        unsigned i;

        for (i = 1; i < l->opts.connections; i++) {
            if (l->conns[i]->n_free > best->n_free) {
                best = l->conns[i];
            }
        }
        if (!best->n_free) {
            return;
        }
        start_one(best, l->next_due);
        l->next_due += 1e9 / l->opts.rate;
    }
}

/* --- the report --- */

typedef struct Snapshot {
    int64_t time;               /* ns */
    double user, system;        /* seconds of the server */
} Snapshot;

static Snapshot snapshot(const Load *l)
{
    g_autofree char *name = g_strdup_printf("/proc/%d/stat",
                                            l->opts.server_pid);
    g_autofree char *text = NULL;
    Snapshot s = { .time = load_clock_ns() };
    unsigned long user, system;
    char *rest;

    if (!l->opts.server_pid) {
        return s;
    }
    if (!g_file_get_contents(name, &text, NULL, NULL) ||
        !(rest = strrchr(text, ')')) ||
        sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
               &user, &system) != 2) {
        load_fail("there is no process %d", l->opts.server_pid);
    }
    s.user = (double)user / sysconf(_SC_CLK_TCK);
    s.system = (double)system / sysconf(_SC_CLK_TCK);
    return s;
}

static double us(const Load *l, double percent)
{
    return latency_percentile(&l->latency, percent) / 1e3;
}

static void forget(Load *l, Snapshot *from)
{
    if (l->driver->collect) {
        l->driver->collect(l);
    }
    memset(&l->latency, 0, sizeof(l->latency));
    *from = snapshot(l);
}

static void print_report(Load *l, const Snapshot *from)
{
    Snapshot to = snapshot(l);
    double seconds = (to.time - from->time) / 1e9;
    double n = l->latency.count;
    double user = n ? (to.user - from->user) / n * 1e6 : 0;
    double system = n ? (to.system - from->system) / n * 1e6 : 0;

    if (l->opts.json) {
        printf("{\"requests\": %.0f, \"errors\": %" PRIu64 ", \"seconds\": "
               "%.3f, \"per-second\": %.1f, \"mib-per-second\": %.1f, "
               "\"server-user-us\": %.3f, \"server-system-us\": %.3f, "
               "\"latency-us\": {\"min\": %.1f, \"mean\": %.1f, \"p50\": %.1f, "
               "\"p95\": %.1f, \"p99\": %.1f, \"p99.9\": %.1f, \"max\": "
               "%.1f}}\n", n, l->errors, seconds, n / seconds,
               n * l->opts.block_size / seconds / MiB, user, system,
               l->latency.min / 1e3, latency_mean(&l->latency) / 1e3,
               us(l, 50), us(l, 95), us(l, 99), us(l, 99.9),
               l->latency.max / 1e3);
    } else {
        printf("%.0f requests/s, %.1f MiB/s; latency in us: 50 %% %.1f, 95 %% "
               "%.1f, 99 %% %.1f, 99.9 %% %.1f, max %.1f", n / seconds,
               n * l->opts.block_size / seconds / MiB, us(l, 50), us(l, 95),
               us(l, 99), us(l, 99.9), l->latency.max / 1e3);
        if (l->opts.server_pid) {
            printf("; server %.2f us user, %.2f us system for each", user,
                   system);
        }
        printf("; %" PRIu64 " errors\n", l->errors);
    }
    fflush(stdout);
}

static void report(Load *l, Snapshot *from)
{
    if (l->driver->collect) {
        l->driver->collect(l);
    }
    print_report(l, from);
    forget(l, from);
}

/* --- the loop --- */

static bool all_free(const Load *l)
{
    unsigned i;

    for (i = 0; i < l->opts.connections; i++) {
        if (l->conns[i]->n_free < l->opts.depth) {
            return false;
        }
    }
    return true;
}

static void wait_for_more(Load *l, struct pollfd *fds)
{
    struct timespec ts = { .tv_nsec = 100000000 };
    unsigned i;

    for (i = 0; i < l->opts.connections; i++) {
        fds[i].fd = l->conns[i]->fd;
        fds[i].events = POLLIN | (l->conns[i]->want_write ? POLLOUT : 0);
    }
    if (l->opts.rate && l->next_due - l->now < ts.tv_nsec) {
        /* If it is overdue, all slots are in use: there is no time to wait. */
        ts.tv_nsec = l->next_due > l->now ? l->next_due - l->now :
                                            ts.tv_nsec;
    }
    if (ppoll(fds, l->opts.connections, &ts, NULL) < 0) {
        if (errno != EINTR) {
            load_fail("poll: %s", strerror(errno));
        }
        memset(fds, 0, sizeof(*fds) * l->opts.connections);
    }
    l->now = load_clock_ns();
    if (l->now - l->last_done > l->opts.stall * 1000000000ll && !all_free(l)) {
        load_fail("no request has ended for %u seconds", l->opts.stall);
    }
    for (i = 0; i < l->opts.connections; i++) {
        if (fds[i].revents) {
            l->driver->receive(l->conns[i]);
        }
    }
}

static void flush_all(Load *l)
{
    unsigned i;

    for (i = 0; i < l->opts.connections; i++) {
        l->driver->flush(l->conns[i]);
    }
}

/* A server is not left with requests in flight. */
static void close_all(Load *l, struct pollfd *fds)
{
    unsigned i;

    while (!all_free(l)) {
        flush_all(l);
        wait_for_more(l, fds);
    }
    for (i = 0; i < l->opts.connections && l->driver->close; i++) {
        l->driver->close(l->conns[i]);
    }
}

static void run(Load *l)
{
    g_autofree struct pollfd *fds = g_new0(struct pollfd,
                                           l->opts.connections);
    int64_t start = load_clock_ns(), begin = start + l->opts.warmup * 1e9;
    int64_t end = l->opts.seconds ? begin + l->opts.seconds * 1e9 : INT64_MAX;
    Snapshot from = snapshot(l);
    bool warm = begin == start;

    l->now = l->next_due = l->last_done = start;
    while (!want_end && l->now < end) {
        if (!warm && l->now >= begin) {
            warm = true;
            forget(l, &from);
        }
        if (want_report) {
            want_report = 0;
            report(l, &from);
        }
        if (l->driver->begin) {
            g_usleep(10000);
            l->now = load_clock_ns();
            continue;
        }
        if (l->opts.rate) {
            start_due(l);
        } else {
            start_all(l);
        }
        flush_all(l);
        wait_for_more(l, fds);
    }
    report(l, &from);
    if (l->driver->end) {
        l->driver->end(l);
    } else {
        close_all(l, fds);
    }
}

static void on_signal(int sig)
{
    if (sig == SIGUSR1) {
        want_report = 1;
    } else {
        want_end = 1;
    }
}

static void catch_signals(void)
{
    struct sigaction sa = { .sa_handler = on_signal };

    sigaction(SIGUSR1, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* --- options --- */

static void open_conn(Load *l, const char *target, unsigned index)
{
    LoadConn *c = l->driver->open(l, target, index);
    unsigned i;

    c->load = l;
    c->index = index;
    c->requests = g_new0(LoadRequest, l->opts.depth);
    c->free = g_new(unsigned, l->opts.depth);
    for (i = 0; i < l->opts.depth; i++) {
        c->requests[i].conn = c;
        c->requests[i].slot = i;
        c->free[i] = l->opts.depth - 1 - i;
    }
    c->n_free = l->opts.depth;
    l->conns[index] = c;
}

void load_set_size(Load *l, uint64_t size)
{
    l->size = size;
    if (!l->opts.range) {
        l->opts.range = size;
    }
    if (l->opts.range > size || l->opts.range < l->opts.block_size) {
        load_fail("the disk has %" PRIu64 " bytes: the range is to be between "
                  "a block and that", size);
    }
}

static void open_target(Load *l, const char *target)
{
    const char *rest = NULL;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(drivers) && !l->driver; i++) {
        if (strstart(target, drivers[i]->prefix, &rest)) {
            l->driver = drivers[i];
        }
    }
    if (!l->driver) {
        load_fail("'%s' begins with none of the names of --help", target);
    }
    if (l->driver->begin) {
        l->driver->begin(l, rest);
        return;
    }
    l->conns = g_new0(LoadConn *, l->opts.connections);
    for (i = 0; i < l->opts.connections; i++) {
        open_conn(l, rest, i);
    }
    load_set_size(l, l->size);
    for (i = 0; i < l->opts.connections; i++) {
        l->conns[i]->position = l->opts.range / l->opts.block_size * i /
                                l->opts.connections;
    }
}

static unsigned number(const char *name, const char *text, unsigned min,
                       unsigned max)
{
    unsigned value;

    if (qemu_strtoui(text, NULL, 10, &value) < 0 || value < min ||
        value > max) {
        load_fail("--%s=%s: it is to be a number from %u to %u", name, text,
                  min, max);
    }
    return value;
}

static uint64_t size(const char *name, const char *text)
{
    uint64_t value;

    if (qemu_strtosz(text, NULL, &value) < 0 || value % 512 || !value) {
        load_fail("--%s=%s: it is to be a size, a multiple of 512", name,
                  text);
    }
    return value;
}

static double real(const char *name, const char *text)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end || !isfinite(value) || value < 0) {
        load_fail("--%s=%s: it is to be a number that is not negative", name,
                  text);
    }
    return value;
}

static const char usage[] =
    "usage: export-load [options] TARGET\n"
    "\n"
    "TARGET is one of\n"
    "  nbd:unix:PATH[:EXPORT]       an NBD server on a UNIX socket\n"
    "  nbd:HOST:PORT[:EXPORT]       an NBD server on TCP\n"
    "  vhost-user:PATH              a vhost-user-blk server\n"
    "  file:PATH                    a file, as of a FUSE export, by threads\n"
    "\n"
    "  --depth=N         requests in flight of each connection (1)\n"
    "  --connections=N   or queues (1)\n"
    "  --block-size=SIZE of a request (4k)\n"
    "  --read-percent=N  of the requests; the others write (100)\n"
    "  --sequential      not at random places; each connection has its own\n"
    "  --range=SIZE      use only so much at the start of the disk\n"
    "  --rate=N          requests per second of all connections, at fixed\n"
    "                    times, from which latency counts; else a closed loop\n"
    "  --seconds=S       to measure (2); 0: until SIGTERM or SIGINT\n"
    "  --warmup=S        before that (0.2)\n"
    "  --stall=S         a server that answers nothing for so long has gone,\n"
    "                    or hangs (10)\n"
    "  --server-pid=PID  tell the processor time of this process, too\n"
    "  --simple          NBD: no structured replies\n"
    "  --seed=N          of the random numbers (1)\n"
    "  --json            print an object for each report\n"
    "\n"
    "SIGUSR1: report, and begin to count anew.  Exit status: 1 if a request\n"
    "has failed.  What is written destroys what is on the disk.\n";

enum {
    OPT_DEPTH = 256, OPT_CONNECTIONS, OPT_BLOCK_SIZE, OPT_READ_PERCENT,
    OPT_RANGE, OPT_RATE, OPT_SECONDS, OPT_WARMUP, OPT_STALL, OPT_SERVER_PID,
    OPT_SEED, OPT_SEQUENTIAL, OPT_SIMPLE, OPT_JSON, OPT_HELP,
};

static const struct option long_options[] = {
    { "depth", required_argument, NULL, OPT_DEPTH },
    { "connections", required_argument, NULL, OPT_CONNECTIONS },
    { "block-size", required_argument, NULL, OPT_BLOCK_SIZE },
    { "read-percent", required_argument, NULL, OPT_READ_PERCENT },
    { "range", required_argument, NULL, OPT_RANGE },
    { "rate", required_argument, NULL, OPT_RATE },
    { "seconds", required_argument, NULL, OPT_SECONDS },
    { "warmup", required_argument, NULL, OPT_WARMUP },
    { "stall", required_argument, NULL, OPT_STALL },
    { "server-pid", required_argument, NULL, OPT_SERVER_PID },
    { "seed", required_argument, NULL, OPT_SEED },
    { "sequential", no_argument, NULL, OPT_SEQUENTIAL },
    { "simple", no_argument, NULL, OPT_SIMPLE },
    { "json", no_argument, NULL, OPT_JSON },
    { "help", no_argument, NULL, OPT_HELP },
    { 0 }
};

static void take_option(LoadOptions *o, int opt, const char *name)
{
    switch (opt) {
    case OPT_DEPTH:
        o->depth = number(name, optarg, 1, 1024);
        break;
    case OPT_CONNECTIONS:
        o->connections = number(name, optarg, 1, 64);
        break;
    case OPT_BLOCK_SIZE:
        o->block_size = MIN(size(name, optarg), 32 * MiB);
        break;
    case OPT_READ_PERCENT:
        o->read_percent = number(name, optarg, 0, 100);
        break;
    case OPT_RANGE:
        o->range = size(name, optarg);
        break;
    case OPT_RATE:
        o->rate = real(name, optarg);
        break;
    case OPT_SECONDS:
        o->seconds = real(name, optarg);
        break;
    case OPT_STALL:
        o->stall = number(name, optarg, 1, 3600);
        break;
    case OPT_WARMUP:
        o->warmup = real(name, optarg);
        break;
    case OPT_SERVER_PID:
        o->server_pid = number(name, optarg, 1, INT_MAX);
        break;
    case OPT_SEED:
        o->seed = number(name, optarg, 1, INT_MAX);
        break;
    case OPT_SEQUENTIAL:
        o->sequential = true;
        break;
    case OPT_SIMPLE:
        o->simple = true;
        break;
    case OPT_JSON:
        o->json = true;
        break;
    case OPT_HELP:
        fputs(usage, stdout);
        exit(0);
    default:
        fputs("Try 'export-load --help'.\n", stderr);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    Load l = {
        .opts = {
            .depth = 1, .connections = 1, .block_size = 4096,
            .read_percent = 100, .seconds = 2, .warmup = 0.2, .stall = 10,
            .seed = 1,
        },
    };
    int opt, index;

    while ((opt = getopt_long(argc, argv, "", long_options, &index)) != -1) {
        take_option(&l.opts, opt, opt >= OPT_DEPTH ?
                    long_options[opt - OPT_DEPTH].name : NULL);
    }
    if (optind + 1 != argc) {
        load_fail("exactly one target is to be given");
    }
    l.random = l.opts.seed * 0x9e3779b97f4a7c15ull;
    l.data = g_malloc(l.opts.block_size);
    memset(l.data, 0x5a, l.opts.block_size);
    catch_signals();
    open_target(&l, argv[optind]);
    run(&l);
    return l.errors ? 1 : 0;
}
