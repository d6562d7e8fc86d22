/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random changes of the metadata of valid VMDK images, each looked at by
 * qemu-img info, check, map and convert, in this process: no crash, no hang, a
 * failure that says something, and memory within MEMORY_LIMIT_KIB.
 *
 * usage: mutate-vmdk [--seed=N] [--count=N] [--seconds=N] [SUBFORMAT]
 *
 * Needs no libFuzzer.  Each change has a number, which a failure names:
 * --seed=NUMBER --count=1 SUBFORMAT makes it again, FUZZ_SHOW=1 shows what is
 * said.  --seconds is for each subformat.
 */
#include "qemu/osdep.h"
#include <getopt.h>
#include <sys/resource.h>
#include "block/block_int.h"
#include "fuzz.h"
#include "mutate-seeds.h"
#include "qemu/error-report.h"
#include "../../qemu-img/qemu-img.h"

/* Something that takes longer hangs, also with sanitizers. */
#define SECONDS_EACH 30

/*
 * Far below what docs/tools/qemu-img.rst has for the largest images: these
 * are small, but may say that they are large.
 */
#define MEMORY_LIMIT_KIB (512 * 1024)

typedef struct Run {
    uint32_t first;             /* number of the first change */
    uint64_t count;
    int seconds;                /* for each subformat; 0: no limit */
    const char *only;           /* subformat, or NULL */
    int own_stdout;
    int64_t base_kib;           /* what the process has without an image */
    int64_t peak_kib;           /* above that */
    uint32_t peak_number;
} Run;

/* What runs, for the message of a crash, and where that goes. */
static char running[200];
static int own_stderr;

/* Of qemu-img/main.c, for --help, which is not asked for. */
void help(void)
{
    abort();
}

/* Async-signal-safe. */
static void say_what_runs(void)
{
    ssize_t ignored G_GNUC_UNUSED;

    ignored = write(own_stderr, running, strlen(running));
}

static void died(int sig)
{
    say_what_runs();
    signal(sig, SIG_DFL);
    raise(sig);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__clang__)
void __sanitizer_set_death_callback(void (*callback)(void))
    __attribute__((weak));
#else
static void (*__sanitizer_set_death_callback)(void (*callback)(void));
#endif

static void watch_signals(void)
{
    if (__sanitizer_set_death_callback) {
        __sanitizer_set_death_callback(say_what_runs);
    } else {
        signal(SIGSEGV, died);
        signal(SIGBUS, died);
        signal(SIGFPE, died);
        signal(SIGILL, died);
    }
    signal(SIGABRT, died);
    signal(SIGALRM, died);
}

/* --- memory --- */

static int64_t peak_kib(void)
{
    g_autofree char *text = NULL;
    const char *line = NULL;

    if (g_file_get_contents("/proc/self/status", &text, NULL, NULL)) {
        line = strstr(text, "VmHWM:");
    }
    return line ? strtoll(line + 6, NULL, 10) : 0;
}

/* From now on the peak is a new one; false if this kernel cannot do that. */
static bool reset_peak(void)
{
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, "5", 1) == 1;

    if (fd >= 0) {
        close(fd);
    }
    return done;
}

static void check_memory(Run *run, uint32_t number)
{
    int64_t used = peak_kib() - run->base_kib;

    if (__sanitizer_set_death_callback || run->base_kib == 0) {
        return;
    }
    if (used > run->peak_kib) {
        run->peak_kib = used;
        run->peak_number = number;
    }
    if (used > MEMORY_LIMIT_KIB) {
        g_printerr("mutate: %" PRId64 " KiB of memory\n", used);
        abort();
    }
}

/* --- one change --- */

static int command(int (*handler)(int argc, char **argv), const char *line)
{
    g_auto(GStrv) words = g_strsplit(line, " ", -1);
    /* getopt_long() changes the order of the words. */
    g_autofree char **argv = g_memdup2(words, sizeof(char *) *
                                       (g_strv_length(words) + 1));
    size_t said = fuzz_said();
    int status;

    optind = 0;
    status = handler(g_strv_length(words), argv);
    if (status) {
        fuzz_expect_words(said, line);
    }
    return status;
}

static void look_at_image(uint32_t number)
{
    command(img_info, number % 2 ? "info -f vmdk x.vmdk"
                                 : "info --output=json -f vmdk x.vmdk");
    command(img_check, number % 2 ? "check --output=json -f vmdk x.vmdk"
                                  : "check -f vmdk x.vmdk");
    command(img_map, number % 4 ? "map --output=json -f vmdk x.vmdk"
                                : "map -f vmdk x.vmdk");
    command(img_convert, number % 3 ?
            "convert -n -f vmdk --target-image-opts x.vmdk "
            "driver=null-co,size=9223372035781033984" :
            "convert -f vmdk -O raw x.vmdk out.raw");
    if (number % 8 == 0) {
        command(img_check, "check -q -r all -f vmdk x.vmdk");
    }
}

static void one_change(Run *run, const Seed *seed, uint32_t number)
{
    g_snprintf(running, sizeof(running), "mutate: in --seed=%u --count=1 %s\n",
               number, seed->name);
    fuzz_begin();
    seed_put_changed(seed, number);
    alarm(SECONDS_EACH);
    look_at_image(number);
    alarm(0);
    fuzz_end();
    check_memory(run, number);
}

/* False if the unchanged image is not what it should be. */
static bool is_valid(const Seed *seed)
{
    int status;

    fuzz_begin();
    seed_put(seed);
    status = command(img_check, "check -f vmdk x.vmdk") |
             command(img_convert,
                     "convert -n -f vmdk --target-image-opts x.vmdk "
                     "driver=null-co,size=9223372035781033984");
    fuzz_end();
    return status == 0;
}

static uint64_t run_seed(Run *run, const Seed *seed)
{
    int64_t end = g_get_monotonic_time() + run->seconds * G_USEC_PER_SEC;
    uint64_t i;

    if (!is_valid(seed)) {
        g_printerr("mutate: %s is not valid at the start\n", seed->name);
        abort();
    }
    run->base_kib = reset_peak() ? peak_kib() : 0;
    run->peak_kib = 0;
    run->peak_number = run->first;
    for (i = 0; i < run->count; i++) {
        if (run->seconds && g_get_monotonic_time() >= end) {
            break;
        }
        one_change(run, seed, run->first + i);
    }
    dprintf(run->own_stdout, "%s: %" PRIu64 " changes from number %u, "
            "%" PRId64 " KiB of memory at most (number %u)\n", seed->name, i,
            run->first, run->peak_kib, run->peak_number);
    return i;
}

static uint64_t parse_number(const char *text, uint64_t max)
{
    char *end;
    uint64_t value = g_ascii_strtoull(text, &end, 10);

    if (end == text || *end || value > max) {
        fprintf(stderr, "mutate-vmdk: not a number up to %" PRIu64 ": '%s'\n",
                max, text);
        exit(EXIT_FAILURE);
    }
    return value;
}

static void parse_options(Run *run, int argc, char **argv)
{
    static const struct option options[] = {
        { "seed", required_argument, NULL, 's' },
        { "count", required_argument, NULL, 'c' },
        { "seconds", required_argument, NULL, 't' },
        { NULL }
    };
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 's':
            run->first = parse_number(optarg, UINT32_MAX);
            break;
        case 'c':
            run->count = parse_number(optarg, UINT32_MAX);
            break;
        case 't':
            run->seconds = parse_number(optarg, 86400);
            break;
        default:
            fprintf(stderr, "Usage: %s [--seed=N] [--count=N] [--seconds=N] "
                    "[SUBFORMAT]\n", argv[0]);
            exit(EXIT_FAILURE);
        }
    }
    run->only = argv[optind];
}

int main(int argc, char **argv)
{
    /* Other changes each day, unless told. */
    Run run = {
        .first = g_get_real_time() / G_USEC_PER_SEC / 86400 * 100000,
        .count = 1000,
    };
    char *no_args[] = { argv[0], NULL };
    char **args = no_args;
    int no_argc = 1;
    uint64_t total = 0;
    size_t i;

    parse_options(&run, argc, argv);
    run.own_stdout = dup(STDOUT_FILENO);
    own_stderr = dup(STDERR_FILENO);
    fuzz_init(&no_argc, &args);
    error_set_progname("qemu-img");
    watch_signals();
    for (i = 0; i < seed_count(); i++) {
        Seed *seed = seed_new(i);

        if (!run.only || !strcmp(run.only, seed->name)) {
            total += run_seed(&run, seed);
        }
        seed_free(seed);
    }
    dprintf(run.own_stdout, "%" PRIu64 " changes\n", total);
    return total ? 0 : EXIT_FAILURE;
}
