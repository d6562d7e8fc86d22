/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs random schedules in a child process, says how to replay one that
 * fails, and makes it smaller: fewer features, coroutines and requests.
 *
 * The program that includes it defines run_schedule(), schedules_begin() and
 * schedules_end(), and calls schedules_main().
 */
#ifndef RANDOM_SCHEDULES_H
#define RANDOM_SCHEDULES_H

#include <sys/time.h>
#include <sys/wait.h>

#define SCHEDULES_SECONDS 20
/*
 * A schedule takes well below a ms, a storm some; this is a hang.  The time is
 * the processor's, for a loop without end; who sleeps has longer, since a
 * machine with other work, or a virtual one, may stand still for seconds.
 */
#define SCHEDULE_HANG_SECONDS 10
#define SCHEDULE_SLEEP_SECONDS 120
#define SHRINK_HANG_SECONDS 2
#define SHRINK_TRACE_LINES 120

typedef struct Plan {
    uint64_t first, count;      /* seeds */
    int64_t seconds;            /* 0: no limit */
    unsigned max_coroutines;    /* to start with */
    unsigned max_requests;      /* that they make after their first */
    uint32_t without;           /* bits: features that are left out */
    bool quiet;
    bool trace;
    const char *output;         /* stderr of the child; NULL: as it is */
} Plan;

/* Of the child; survive it. */
typedef struct Counts {
    uint64_t seed;              /* of the schedule that is being run */
    uint64_t schedules, requests, nested, turns, moves, drains, reattached;
    uint64_t storms;
} Counts;

static Counts *counts;

/* Must return as it found the process, but for @counts. */
void run_schedule(uint64_t seed, const Plan *plan);
void schedules_begin(void);
void schedules_end(void);

static int64_t schedules_now(void)
{
    return g_get_real_time() / G_USEC_PER_SEC;
}

static void schedules_set_limit(bool quiet)
{
    struct itimerval busy = {
        .it_value.tv_sec = quiet ? SHRINK_HANG_SECONDS : SCHEDULE_HANG_SECONDS,
    };

    setitimer(ITIMER_PROF, &busy, NULL);
    alarm(quiet ? SHRINK_HANG_SECONDS : SCHEDULE_SLEEP_SECONDS);
}

static void schedules_child(const Plan *plan)
{
    int64_t end = plan->seconds ? schedules_now() + plan->seconds : INT64_MAX;
    uint64_t i;

    if (plan->output && !freopen(plan->output, "w", stderr)) {
        _exit(1);
    }
    schedules_begin();
    for (i = 0; i < plan->count; i++) {
        if (i % 64 == 0 && schedules_now() >= end) {
            break;
        }
        counts->seed = plan->first + i;
        schedules_set_limit(plan->quiet);
        run_schedule(plan->first + i, plan);
        counts->schedules++;
    }
    alarm(0);
    setitimer(ITIMER_PROF, &(struct itimerval) { { 0 } }, NULL);
    schedules_end();
    exit(0);                    /* sanitizers and coverage report there */
}

/* True if all went well. */
static bool schedules_run(const Plan *plan)
{
    pid_t pid;
    int status;

    fflush(NULL);
    pid = fork();
    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        schedules_child(plan);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    if (WIFSIGNALED(status) && !plan->quiet) {
        printf("# ended by a signal: %s%s\n", strsignal(WTERMSIG(status)),
               WTERMSIG(status) == SIGALRM ? " (it slept)" :
               WTERMSIG(status) == SIGPROF ? " (a loop without end)" : "");
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* The least number of few with which @plan still fails; @what is in it. */
static void schedules_shrink_number(Plan *plan, unsigned *what)
{
    static const unsigned few[] = {
        0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 30, 50, 100, 1000,
    };
    unsigned i, all = *what;

    for (i = 0; i < ARRAY_SIZE(few) && few[i] < all; i++) {
        *what = few[i];
        if (!schedules_run(plan)) {
            return;
        }
    }
    *what = all;
}

/* Leave out what can be left out so that @plan, of one seed, still fails. */
static void schedules_shrink(Plan *plan, unsigned n_features)
{
    unsigned i;

    for (i = 0; i < n_features; i++) {
        plan->without ^= 1u << i;
        if (schedules_run(plan)) {
            plan->without ^= 1u << i;
        }
    }
    schedules_shrink_number(plan, &plan->max_coroutines);
    schedules_shrink_number(plan, &plan->max_requests);
}

static void schedules_print_without(const Plan *plan,
                                    const char *const *features,
                                    unsigned n_features)
{
    const char *before = " --without ";
    unsigned i;

    for (i = 0; i < n_features; i++) {
        if (plan->without & (1u << i)) {
            printf("%s%s", before, features[i]);
            before = ",";
        }
    }
}

/* What happened, step by step, each line as a TAP comment. */
static void schedules_print_trace(Plan *plan)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    unsigned i, n;

    plan->trace = true;
    schedules_run(plan);
    if (!g_file_get_contents(plan->output, &text, NULL, NULL)) {
        return;
    }
    lines = g_strsplit(text, "\n", -1);
    n = g_strv_length(lines);
    i = n > SHRINK_TRACE_LINES ? n - SHRINK_TRACE_LINES : 0;
    if (i) {
        printf("#   (%u lines before)\n", i);
    }
    for (; i < n && lines[i][0]; i++) {
        printf("#   %s\n", lines[i]);
    }
}

static void schedules_explain(const char *program, Plan plan,
                              const char *const *features,
                              unsigned n_features)
{
    char output[] = "/tmp/random-schedule-XXXXXX";
    int fd = mkstemp(output);

    if (fd < 0) {
        perror(output);
        return;
    }
    close(fd);
    plan.first = counts->seed;
    plan.count = 1;
    plan.seconds = 0;
    plan.quiet = true;
    plan.output = output;
    printf("# replay: %s --seed %" PRIu64 "\n", program, plan.first);
    if (schedules_run(&plan)) {
        printf("# it passes alone: it needs the %" PRIu64 " schedules "
               "before\n", counts->schedules);
    } else {
        schedules_shrink(&plan, n_features);
        printf("# smaller: %s --seed %" PRIu64 " --coroutines %u "
               "--requests %u", program, plan.first, plan.max_coroutines,
               plan.max_requests);
        schedules_print_without(&plan, features, n_features);
        printf("\n");
        schedules_print_trace(&plan);
    }
    unlink(output);
}

/* --- the command line --- */

static void schedules_usage(const char *program, const char *const *features,
                            unsigned n_features)
{
    unsigned i;

    printf("Usage: %s [--seeds N | --seconds N] [--seed N]\n"
           "       [--coroutines N] [--requests N] [--without FEATURE,...]\n"
           "       [--no-shrink] [--trace]\n\n"
           "  --seeds N     run N schedules; so does LAIO_SEEDS=N\n"
           "  --seconds N   as many as fit [%d]\n"
           "  --seed N      begin with this one; alone: only this one;\n"
           "                LAIO_FIRST_SEED=N: the same, but never alone\n"
           "  --coroutines N, --requests N\n"
           "                at most so many to start with, and so many made\n"
           "                by all of them after their first\n"
           "  --without ... leave features out:\n               ",
           program, SCHEDULES_SECONDS);
    for (i = 0; i < n_features; i++) {
        printf(" %s", features[i]);
    }
    printf("\n  --no-shrink   do not look for a smaller one that fails\n"
           "  --trace       say each step\n");
}

static G_NORETURN void schedules_bad(const char *program, const char *what,
                                     const char *arg)
{
    fprintf(stderr, "%s: %s '%s' (see --help)\n", program, what, arg);
    exit(1);
}

static uint64_t schedules_number(const char *program, const char *arg,
                                 const char *value)
{
    char *end = NULL;
    uint64_t n = value ? g_ascii_strtoull(value, &end, 0) : 0;

    if (!value || end == value || *end) {
        schedules_bad(program, "a number must follow", arg);
    }
    return n;
}

static uint32_t schedules_features(const char *program, const char *value,
                                   const char *const *features,
                                   unsigned n_features)
{
    g_auto(GStrv) names = g_strsplit(value ? value : "", ",", -1);
    uint32_t bits = 0;
    unsigned i, j;

    for (i = 0; names[i]; i++) {
        for (j = 0; j < n_features && strcmp(names[i], features[j]); j++) {
        }
        if (j == n_features) {
            schedules_bad(program, "no such feature:", names[i]);
        }
        bits |= 1u << j;
    }
    return bits;
}

/* True if a failing schedule is to be made smaller. */
static bool schedules_parse(Plan *plan, const char *const *features,
                            unsigned n_features, int argc, char **argv)
{
    const char *env = g_getenv("LAIO_SEEDS");
    const char *first = g_getenv("LAIO_FIRST_SEED");
    bool shrink = true, seed = false, limited = false;
    int i;

    if (env) {
        plan->count = schedules_number(argv[0], "LAIO_SEEDS", env);
        limited = true;
    }
    if (first) {
        plan->first = schedules_number(argv[0], "LAIO_FIRST_SEED", first);
    }
    for (i = 1; i < argc; i++) {
        const char *arg = argv[i], *value = argv[i + 1];

        if (!strcmp(arg, "--help")) {
            schedules_usage(argv[0], features, n_features);
            exit(0);
        } else if (!strcmp(arg, "--no-shrink")) {
            shrink = false;
            continue;
        } else if (!strcmp(arg, "--trace")) {
            plan->trace = true;
            continue;
        } else if (!strcmp(arg, "--tap") || !strcmp(arg, "-k")) {
            continue;
        } else if (!strcmp(arg, "--seeds")) {
            plan->count = schedules_number(argv[0], arg, value);
            limited = true;
        } else if (!strcmp(arg, "--seconds")) {
            plan->seconds = schedules_number(argv[0], arg, value);
        } else if (!strcmp(arg, "--seed")) {
            plan->first = schedules_number(argv[0], arg, value);
            seed = true;
        } else if (!strcmp(arg, "--coroutines")) {
            plan->max_coroutines = schedules_number(argv[0], arg, value);
        } else if (!strcmp(arg, "--requests")) {
            plan->max_requests = schedules_number(argv[0], arg, value);
        } else if (!strcmp(arg, "--without")) {
            plan->without = schedules_features(argv[0], value, features,
                                               n_features);
        } else {
            schedules_bad(argv[0], "unknown option", arg);
        }
        i++;
    }
    if (seed && !limited && !plan->seconds) {
        plan->count = 1;
    } else if (!limited && !plan->seconds) {
        plan->seconds = SCHEDULES_SECONDS;
    }
    return shrink;
}

/* @name is that of the one test in the output. */
static int schedules_main(const char *name, const char *const *features,
                          unsigned n_features, int argc, char **argv)
{
    Plan plan = {
        .first = 1, .count = UINT64_MAX, .max_coroutines = 8,
        .max_requests = UINT_MAX,
    };
    bool shrink = schedules_parse(&plan, features, n_features, argc, argv);
    bool ok;

    counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    g_assert(counts != MAP_FAILED);
    printf("1..1\n");
    ok = schedules_run(&plan);
    printf("# %" PRIu64 " schedules (%" PRIu64 " storms), %" PRIu64
           " requests, %" PRIu64 " turns, %" PRIu64 " nested loops, %" PRIu64
           " moves, %" PRIu64 " drains, %" PRIu64 " reattached\n",
           counts->schedules, counts->storms, counts->requests, counts->turns,
           counts->nested, counts->moves, counts->drains, counts->reattached);
    if (!ok && shrink) {
        schedules_explain(argv[0], plan, features, n_features);
    } else if (!ok) {
        printf("# replay: %s --seed %" PRIu64 "\n", argv[0], counts->seed);
    }
    printf("%sok 1 /%s\n", ok ? "" : "not ", name);
    return ok ? 0 : 1;
}

#endif
