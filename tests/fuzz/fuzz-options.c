/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz target: what the options of nodes and of new images can be.  The first
 * line of an input is what is done with the others:
 *
 *   file [rw]        open a file name: a prefix, json:{}, ...; next line: the
 *                    format, if any
 *   opts [rw]        open the node that "a=b,c.d=e" describes; next line, if
 *                    any: reopen it with these
 *   create           format, file name, options, size, backing file and its
 *                    format, a line each
 *   size             each line is a size
 *
 * Whatever fails has one clear line.  An image that was created can be
 * opened, has its size, and keeps what is written.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "fuzz.h"
#include <json-c/json.h>

#include "../../qemu-img/create.c"

#define MAX_LINE 1000

/* Sizes above this are not compared: rounding up may overflow. */
#define LARGE (INT64_MAX / 2)
#define EXIT_NO_CHECK 63        /* of qemu-img check: the format has none */

/* Of qemu-img/main.c, for --help, which is not asked for. */
void help(void)
{
    abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_init(argc, argv);
    error_set_progname("qemu-img");
    return 0;
}

static void put_files(void)
{
    static const char rules[] = "[inject-error]\nevent = \"read_aio\"\n"
                                "errno = \"5\"\nonce = \"on\"\n";
    g_autofree char *raw = g_malloc(64 * KiB);

    memset(raw, 'R', 64 * KiB);
    fuzz_put("raw.img", raw, 64 * KiB);
    fuzz_put("rules", rules, strlen(rules));
    fuzz_put_image("x.vmdk", "vmdk", "size=1M,zeroed_grain=on");
}

/* --- nodes --- */

static void use(BlockBackend *blk, bool writable)
{
    char buf[1024];
    struct json_object *info;
    Error *err = NULL;
    int64_t length = blk_getlength(blk);

    memset(buf, 'W', sizeof(buf));
    blk_pread(blk, 0, MIN(sizeof(buf), MAX(length, 0)), buf, 0);
    if (writable) {
        blk_pwrite(blk, 1, sizeof(buf), buf, 0);
        blk_flush(blk);
    }
    info = bdrv_get_specific_info(blk_bs(blk), &err);
    if (err) {
        fuzz_check_error(err, "");
    } else if (info) {
        json_object_put(info);
    }
}

static void reopen(BlockBackend *blk, const char *options)
{
    Error *err = NULL;
    QOpts *opts = qopts_parse(options, NULL, &err);

    if (!opts ||
        bdrv_reopen(blk_bs(blk), blk_get_flags(blk), opts, &err) < 0) {
        fuzz_check_error(err, options);
    }
}

static void open_and_use(const char *name, QOpts *opts, bool writable,
                         const char *input, const char *again)
{
    Error *err = NULL;
    BlockBackend *blk;

    blk = blk_new_open(name, NULL, opts, writable ? BDRV_O_RDWR : 0, &err);
    if (!blk) {
        fuzz_check_error(err, input);
        return;
    }
    use(blk, writable);
    if (again && *again) {
        reopen(blk, again);
        use(blk, writable);
    }
    blk_unref(blk);
}

static void do_file(char **lines, bool writable)
{
    g_autofree char *input = g_strjoinv("\n", lines);
    QOpts *opts = qopts_new();

    if (lines[1] && *lines[1]) {
        qopts_set_str(opts, "driver", lines[1]);
    }
    open_and_use(lines[0], opts, writable, input, NULL);
}

static void do_opts(char **lines, bool writable)
{
    Error *err = NULL;
    QOpts *opts = qopts_parse(lines[0], NULL, &err);

    if (!opts) {
        fuzz_check_error(err, lines[0]);
        return;
    }
    open_and_use(NULL, opts, writable, lines[0], lines[1]);
}

/* --- new images --- */

/* What a user would do next with @a. */
static void use_created(const CreateArgs *a)
{
    char *info[] = { (char *)"info", (char *)"-f", (char *)a->fmt,
                     (char *)"--", (char *)a->filename, NULL };
    char *check[] = { (char *)"check", (char *)"-f", (char *)a->fmt,
                      (char *)"--", (char *)a->filename, NULL };
    size_t before = fuzz_said();
    int status;

    optind = 0;
    if (img_info(5, info) != EXIT_SUCCESS) {
        fuzz_expect_words(before, "info");
        g_printerr("fuzz: created, and no image: %s\n", a->filename);
        abort();
    }
    optind = 0;
    status = img_check(5, check);
    if (status != EXIT_SUCCESS && status != EXIT_NO_CHECK) {
        g_printerr("fuzz: created, and not sound: %s\n", a->filename);
        abort();
    }
}

static void write_created(const CreateArgs *a)
{
    QOpts *opts = qopts_new();
    BlockBackend *blk;
    Error *err = NULL;
    char out[512], in[512];
    int64_t length;

    qopts_set_str(opts, "driver", a->fmt);
    blk = blk_new_open(a->filename, NULL, opts, BDRV_O_RDWR, &err);
    if (!blk) {
        fuzz_check_error(err, "\n");
        return;
    }
    length = blk_getlength(blk);
    if (a->img_size < LARGE &&
        length != ROUND_UP((int64_t)a->img_size, BDRV_SECTOR_SIZE) &&
        length != (int64_t)a->img_size) {
        g_printerr("fuzz: %" PRId64 " bytes instead of %" PRIu64 "\n",
                   length, a->img_size);
        abort();
    }
    memset(out, 'C', sizeof(out));
    if (length >= sizeof(out) &&
        blk_pwrite(blk, 0, sizeof(out), out, 0) == 0 &&
        (blk_pread(blk, 0, sizeof(in), in, 0) < 0 ||
         memcmp(in, out, sizeof(in)))) {
        g_printerr("fuzz: what was written is not there\n");
        abort();
    }
    blk_unref(blk);
}

static const char *nonempty(const char *line)
{
    return line && *line ? line : NULL;
}

static void do_create_line(char **lines)
{
    g_autofree char *input = g_strjoinv("\n", lines);
    CreateArgs a = { .fmt = lines[0], .img_size = UINT64_MAX };
    Error *err = NULL;
    guint count = g_strv_length(lines);
    int64_t size;

    if (count < 3) {
        return;
    }
    a.filename = lines[1];
    a.options = (char *)nonempty(lines[2]);
    if (count > 3 && *lines[3]) {
        size_t before = fuzz_said();

        size = cvtnum("image size", lines[3]);
        if (size < 0) {
            fuzz_expect_words(before, lines[3]);
            return;
        }
        a.img_size = size;
    }
    if (count > 5) {
        a.base_filename = nonempty(lines[4]);
        a.base_fmt = nonempty(lines[5]);
    }
    if (a.options && qopts_has_help(a.options)) {
        img_print_create_help(a.fmt, a.filename);
    } else if (!do_create(&a, &err)) {
        fuzz_check_error(err, input);
    } else {
        use_created(&a);
        write_created(&a);
        use_created(&a);
    }
}

static void do_sizes(char **lines)
{
    int i;

    for (i = 0; lines[i] && i < 20; i++) {
        size_t before = fuzz_said();

        if (cvtnum("size", lines[i]) < 0) {
            fuzz_expect_words(before, lines[i]);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = fuzz_string(data, size);
    g_auto(GStrv) lines = g_strsplit(text, "\n", 8);
    bool writable;
    int i;

    for (i = 0; lines[i]; i++) {
        if (strlen(lines[i]) > MAX_LINE) {
            return 0;
        }
    }
    if (i < 2) {
        return 0;
    }
    writable = g_str_has_suffix(lines[0], " rw");
    fuzz_begin();
    put_files();
    if (g_str_has_prefix(lines[0], "file")) {
        do_file(lines + 1, writable);
    } else if (g_str_has_prefix(lines[0], "opts")) {
        do_opts(lines + 1, writable);
    } else if (g_str_has_prefix(lines[0], "create")) {
        do_create_line(lines + 1);
    } else if (g_str_has_prefix(lines[0], "size")) {
        do_sizes(lines + 1);
    }
    fuzz_end();
    return 0;
}
