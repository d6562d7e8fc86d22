/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared by the subcommands of qemu-img.  All of it belongs to the main
 * thread, outside coroutines.
 */
#ifndef QEMU_IMG_H
#define QEMU_IMG_H

#include <getopt.h>
#include "qemu/option.h"
#include "system/block-backend.h"

/* Subcommands: argv[0] is their name; the result is the exit status. */
int img_amend(int argc, char **argv);
int img_bench(int argc, char **argv);
int img_bitmap(int argc, char **argv);
int img_check(int argc, char **argv);
int img_commit(int argc, char **argv);
int img_compare(int argc, char **argv);
int img_convert(int argc, char **argv);
int img_create(int argc, char **argv);
int img_dd(int argc, char **argv);
int img_info(int argc, char **argv);
int img_map(int argc, char **argv);
int img_measure(int argc, char **argv);
int img_rebase(int argc, char **argv);
int img_resize(int argc, char **argv);
int img_snapshot(int argc, char **argv);

/* Text of options that several commands have, for their help. */
#define IMG_HELP_FORMAT \
    "  -f, --format FMT\n" \
    "     specify FILE image format explicitly (default: probing is used)\n" \
    "  --image-opts\n" \
    "     treat FILE as an option string (key=value,..), not a file name\n" \
    "     (incompatible with -f|--format)\n"
#define IMG_HELP_FORCE_SHARE \
    "  -U, --force-share\n" \
    "     open image in shared mode for concurrent access\n"
#define IMG_HELP_OUTPUT \
    "  --output human|json\n" \
    "     specify output format (default: human)\n"
#define IMG_HELP_QUIET \
    "  -q, --quiet\n" \
    "     quiet mode (produce only error messages if any)\n"
#define IMG_HELP_PROGRESS \
    "  -p, --progress\n" \
    "     display progress information\n"
#define IMG_HELP_HELP \
    "  --object OBJDEF\n" \
    "     define an object, as a secret or TLS credentials\n" \
    "  -h, --help\n" \
    "     print this help and exit\n"
#define IMG_HELP_FILE \
    "  FILE\n" \
    "     name of the image file, or option string (key=value,..)\n" \
    "     with --image-opts\n"

/* The text of "qemu-img COMMAND --help", where a file has one of its own. */
extern const char img_amend_help[];
extern const char img_bench_help[];
extern const char img_bitmap_help[];
extern const char img_check_help[];
extern const char img_commit_help[];
extern const char img_compare_help[];
extern const char img_convert_help[];
extern const char img_create_help[];
extern const char img_dd_help[];
extern const char img_info_help[];
extern const char img_map_help[];
extern const char img_measure_help[];
extern const char img_rebase_help[];
extern const char img_resize_help[];
extern const char img_snapshot_help[];

/* Values of long options without a letter. */
enum {
    OPTION_OUTPUT = 256,
    OPTION_BACKING_CHAIN,
    OPTION_IMAGE_OPTS,
    OPTION_PATTERN,
    OPTION_FLUSH_INTERVAL,
    OPTION_NO_DRAIN,
    OPTION_PREALLOCATION,
    OPTION_SHRINK,
    OPTION_LIMITS,
    OPTION_PLOT,
    OPTION_RANDOM,
    OPTION_SEED,
};

typedef enum OutputFormat {
    OFORMAT_HUMAN,
    OFORMAT_JSON,
} OutputFormat;

/* Print the help of the command that runs, or of all, and exit(0). */
void G_NORETURN help(void);
/* One line and the hint at --help on stderr, then exit(1). */
void G_NORETURN img_error_exit(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/*
 * getopt_long(3) with QEMU's messages: -1 at the end; for an option that is
 * not there or lacks its argument it reports and exits.  @optstring begins
 * with ':'.  -h and --help are taken care of.
 */
int img_getopt(int argc, char **argv, const char *optstring,
               const struct option *options);

/* The argument of --output; reports and exits if it is wrong. */
OutputFormat img_parse_output(const char *arg);

/*
 * A size in [@min, @max] for @what ("image size"); reports and returns
 * -EINVAL if it is none.
 */
int64_t cvtnum_full(const char *what, const char *value, int64_t min,
                    int64_t max);
int64_t cvtnum(const char *what, const char *value);

/*
 * Open an image.  @filename is an option string if @image_opts; @fmt may be
 * NULL: guess.  NULL after an error was reported.
 */
BlockBackend *img_open(bool image_opts, const char *filename,
                       const char *fmt, int flags, bool writethrough,
                       bool force_share);

/*
 * The flags of cache mode @arg.  @what is "cache" or "source cache", for the
 * message; -EINVAL after that was reported.
 */
int img_parse_cache(const char *what, const char *arg, int *flags,
                    bool *writethrough);

/* For -c: report, and return -ENOTSUP, if @drv never compresses. */
int img_check_compression(const BlockDriver *drv);
/*
 * Whether what is written to the image @filename is compressed.  One that
 * cannot do that gets a warning if it is @wanted.
 */
bool img_use_compression(const BlockDriverInfo *bdi, const char *filename,
                         bool wanted);

/*
 * Making images: create-opts.c.  The options of create are those of the
 * format @drv and of the protocol of @filename; to be freed.  NULL with @errp
 * set if one of them cannot create images.
 */
QemuOptsList *img_create_table(BlockDriver *drv, const char *filename,
                               Error **errp);
/* Add the argument of an -o to *@options; reports and exits if it is none. */
void img_add_options(char **options, const char *arg);
/* "-o help": the options of @fmt, and of @filename unless NULL. */
int img_print_create_help(const char *fmt, const char *filename);
/* -b and -F, both may be NULL, as options; false with @errp set. */
bool img_set_backing_option(const QemuOptsList *table, QOpts *opts,
                            const char *fmt, const char *backing,
                            const char *backing_fmt, Error **errp);
/* Names and values that are wrong, before anything is said or done. */
bool img_check_create_options(const QemuOptsList *table, const QOpts *opts,
                              Error **errp);
/* Create; @opts is consumed. */
int img_create_image(BlockDriver *drv, const char *filename, QOpts *opts,
                     Error **errp);

/* Whether both names are those of one file or one device. */
bool img_is_same_file(const char *a, const char *b);
/*
 * Add the names of all files of @bs to @files, as copies; also those of images
 * below it, if @backing.
 */
void img_add_files(BlockDriverState *bs, bool backing, GPtrArray *files);
/* Whether @name is a file of @bs, or of an image below it. */
bool img_has_file(BlockDriverState *bs, const char *name);

/*
 * Progress, as "    (12.34/100%)" and a carriage return on stdout if
 * @enabled; else a line of it on stderr whenever SIGUSR1 comes.  Percents are
 * printed when they have grown by @min_step; 0 and 100 always.  The last one
 * ends the line.
 */
void img_progress_begin(bool enabled, float min_step);
void img_progress(float percent);
void img_progress_end(void);

/* What a range of an image has, and where the answer ends; see below. */
typedef struct ImgRun {
    int status;                 /* BDRV_BLOCK_* */
    int64_t start;
    int64_t end;                /* equal to @start: not known */
} ImgRun;

/*
 * Let @run be what @blk has at @offset, above @base (NULL: in all layers) and
 * before @limit: ask only if that is not known from the call before.  In a
 * coroutine.  0 or -errno.
 */
int coroutine_fn img_run_at(ImgRun *run, BlockBackend *blk,
                            BlockDriverState *base, int64_t offset,
                            int64_t limit);

/* Print @value as QEMU's JSON output looks, and a newline. */
void img_print_json(struct json_object *value);

#endif
