/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The folder of a fuzz target, and what the code under test says.
 *
 * Limits: a file has at most FUZZ_MAX_FILE bytes, an allocation 32 MiB (by
 * ASan, or else the address space is bounded), so that an input that asks for
 * more meets the error path.
 */
#include "qemu/osdep.h"
#include "fuzz.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include <dirent.h>
#include <sys/mman.h>
#include <sys/resource.h>

#if defined(__SANITIZE_ADDRESS__)
#define FUZZ_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FUZZ_ASAN 1
#endif
#endif

static char *folder;
static char *artifacts;
static int own_stderr;                  /* what was there at the start */
static int said_fd = -1;                /* -1: FUZZ_SHOW */
static GHashTable *images;              /* name -> GByteArray */
/* In place of argv; LeakSanitizer has to see it, though nobody reads it. */
static char **volatile all_options;

#ifdef FUZZ_ASAN
const char *__asan_default_options(void);
void __sanitizer_set_report_fd(void *fd);

const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1:max_allocation_size_mb=32:"
           "detect_stack_use_after_return=0:handle_abort=1";
}
#endif

/* --- the folder --- */

static void empty_folder(void)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        if (entry->d_name[0] != '.' || (entry->d_name[1] &&
                                        entry->d_name[1] != '.')) {
            unlinkat(dirfd(dir), entry->d_name, 0);
        }
    }
    if (dir) {
        closedir(dir);
    }
}

static void remove_folder(void)
{
    fuzz_confine(NULL, NULL);
    empty_folder();
    rmdir(folder);
}

/* In memory, if there is a file system for that. */
static void make_folder(void)
{
    const char *base = g_getenv("TMPDIR");

    if (!base) {
        base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    }
    folder = g_build_filename(base, "fuzz-XXXXXX", NULL);
    if (!g_mkdtemp(folder)) {
        fprintf(stderr, "fuzz: cannot make a folder in '%s': %s\n", base,
                strerror(errno));
        exit(1);
    }
    atexit(remove_folder);
}

void fuzz_put(const char *name, const void *data, size_t size)
{
    int fd = qemu_create(name, O_WRONLY | O_TRUNC, 0600, &error_abort);

    if (qemu_write_full(fd, data, size) != size) {
        abort();
    }
    close(fd);
}

/* All of a file of the folder, which is small. */
static GByteArray *get_file(const char *name)
{
    GByteArray *bytes = g_byte_array_new();
    int fd = qemu_open(name, O_RDONLY, &error_abort);
    off_t size = lseek(fd, 0, SEEK_END);

    g_byte_array_set_size(bytes, size);
    lseek(fd, 0, SEEK_SET);
    if (qemu_read_full(fd, bytes->data, size) != size) {
        abort();
    }
    close(fd);
    return bytes;
}

static GByteArray *make_image(const char *name, const char *fmt,
                              const char *options)
{
    QOpts *opts = qopts_new();
    BlockBackend *blk;
    char data[512];

    memset(data, 'A', sizeof(data));
    bdrv_create(bdrv_find_format(fmt), name,
                qopts_parse(options, NULL, &error_abort), &error_abort);
    qopts_set_str(opts, "driver", fmt);
    blk = blk_new_open(name, NULL, opts, BDRV_O_RDWR, &error_abort);
    blk_pwrite(blk, 0, sizeof(data), data, 0);
    blk_unref(blk);
    return get_file(name);
}

void fuzz_put_image(const char *name, const char *fmt, const char *options)
{
    GByteArray *bytes = g_hash_table_lookup(images, name);

    if (!bytes) {
        bytes = make_image(name, fmt, options);
        g_hash_table_insert(images, g_strdup(name), bytes);
    }
    fuzz_put(name, bytes->data, bytes->len);
}

/* --- what was said --- */

static void print_loudly(const char *text)
{
    if (write(own_stderr, text, strlen(text)) < 0) {
        abort();
    }
}

size_t fuzz_said(void)
{
    fflush(stdout);
    return said_fd < 0 ? 0 : lseek(said_fd, 0, SEEK_CUR);
}

void fuzz_expect_words(size_t before, const char *what)
{
    if (said_fd >= 0 && fuzz_said() == before) {
        g_printerr("fuzz: failed without a word: %s\n", what);
        abort();
    }
}

/* What was said since @before has nothing for a terminal to obey. */
static void check_characters(size_t before)
{
    char buf[4096];
    ssize_t i, n = 0;

    if (said_fd >= 0) {
        n = pread(said_fd, buf, sizeof(buf), before);
    }
    for (i = 0; i < n; i++) {
        if (g_ascii_iscntrl(buf[i]) && buf[i] != '\n' && buf[i] != '\t') {
            g_printerr("fuzz: control character %d in a message\n", buf[i]);
            abort();
        }
    }
}

void fuzz_check_error(Error *err, const char *input)
{
    size_t before = fuzz_said();
    const char *text;

    if (!err) {
        g_printerr("fuzz: failed without an error: %s\n", input);
        abort();
    }
    text = error_get_pretty(err);
    if (!*text || (strchr(text, '\n') && !strpbrk(input, "\n\\")) ||
        (strstr(text, "(null)") && !strstr(input, "(null)")) ||
        strlen(text) > 2 * PATH_MAX + 4 * strlen(input)) {
        g_printerr("fuzz: not one clear line: '%s'\nfuzz: for: %s\n", text,
                   input);
        abort();
    }
    error_report_err(err);
    check_characters(before);
}

/* From the first input on: libFuzzer has found its own stderr by then. */
static void keep_output(void)
{
    said_fd = memfd_create("fuzz-said", MFD_CLOEXEC);
    if (said_fd < 0 || dup2(said_fd, STDOUT_FILENO) < 0 ||
        dup2(said_fd, STDERR_FILENO) < 0) {
        abort();
    }
}

void fuzz_begin(void)
{
    if (!g_getenv("FUZZ_SHOW")) {
        if (said_fd < 0) {
            keep_output();
        }
        if (ftruncate(said_fd, 0) < 0) {
            abort();
        }
        lseek(said_fd, 0, SEEK_SET);
    }
    empty_folder();
    fuzz_confine(folder, artifacts);
}

void fuzz_end(void)
{
    bdrv_drain_all();
    fflush(stdout);
    fuzz_confine(NULL, NULL);
}

uint64_t fuzz_take(FuzzInput *in, unsigned bytes)
{
    uint64_t value = 0;
    unsigned i;

    for (i = 0; i < bytes && in->left; i++, in->left--) {
        value |= (uint64_t)*in->data++ << (8 * i);
    }
    return value;
}

const uint8_t *fuzz_take_bytes(FuzzInput *in, size_t *len)
{
    const uint8_t *bytes = in->data;

    *len = MIN(*len, in->left);
    in->data += *len;
    in->left -= *len;
    return bytes;
}

char *fuzz_string(const uint8_t *data, size_t size)
{
    return g_strndup((const char *)data, size);
}

/* --- start --- */

/* Bounds that turn what an input asks for into an error. */
static void set_limits(void)
{
    struct rlimit limit;

    signal(SIGXFSZ, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = MIN(limit.rlim_max, FUZZ_MAX_FILE);
    setrlimit(RLIMIT_FSIZE, &limit);
    limit = (struct rlimit) { 0, 0 };
    setrlimit(RLIMIT_CORE, &limit);
#ifndef FUZZ_ASAN
    limit = (struct rlimit) { GiB, GiB };
    setrlimit(RLIMIT_AS, &limit);
#endif
}

static bool has_option(int argc, char **argv, const char *option)
{
    int i;

    for (i = 1; i < argc; i++) {
        if (g_str_has_prefix(argv[i], option)) {
            return true;
        }
    }
    return false;
}

/* Where libFuzzer leaves findings: absolute, which confine.c needs. */
static void set_artifacts(int argc, char **argv)
{
    static const char option[] = "-artifact_prefix=";
    const char *prefix = "";
    g_autofree char *dir = g_get_current_dir();
    int i;

    for (i = 1; i < argc; i++) {
        if (g_str_has_prefix(argv[i], option)) {
            prefix = argv[i] + strlen(option);
        }
    }
    artifacts = *prefix == '/' ? g_strdup(prefix)
                : g_strdup_printf("%s/%s", dir, prefix);
}

/* The options that this harness relies on, unless given. */
static void complete_options(int *argc, char ***argv)
{
    static const char *const options[] = {
        "-timeout=", "20", "-rss_limit_mb=", "3000", "-handle_xfsz=", "0",
    };
    GPtrArray *all = g_ptr_array_new();
    size_t i;

    for (i = 0; i < *argc; i++) {
        g_ptr_array_add(all, (*argv)[i]);
    }
    for (i = 0; i < ARRAY_SIZE(options); i += 2) {
        if (!has_option(*argc, *argv, options[i])) {
            g_ptr_array_add(all, g_strconcat(options[i], options[i + 1],
                                             NULL));
        }
    }
    if (!g_getenv("FUZZ_SHOW")) {
        g_ptr_array_add(all, g_strdup("-close_fd_mask=3"));
    }
    g_ptr_array_add(all, g_strconcat("-artifact_prefix=", artifacts, NULL));
    *argc = all->len;
    g_ptr_array_add(all, NULL);
    all_options = (char **)g_ptr_array_free(all, false);
    *argv = all_options;
}

void fuzz_init(int *argc, char ***argv)
{
    if (!fuzz_can_confine()) {
        fprintf(stderr, "SKIP: no openat2(2): the targets cannot be kept in "
                "their folder\n");
        exit(77);
    }
    own_stderr = dup(STDERR_FILENO);
#ifdef FUZZ_ASAN
    __sanitizer_set_report_fd((void *)(intptr_t)own_stderr);
#endif
    g_set_printerr_handler(print_loudly);
    set_artifacts(*argc, *argv);
    complete_options(argc, argv);
    set_limits();
    make_folder();
    images = g_hash_table_new(g_str_hash, g_str_equal);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
}
