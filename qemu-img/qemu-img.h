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
int img_bench(int argc, char **argv);
int img_check(int argc, char **argv);
int img_create(int argc, char **argv);
int img_info(int argc, char **argv);

/* Values of long options without a letter. */
enum {
    OPTION_OUTPUT = 256,
    OPTION_BACKING_CHAIN,
    OPTION_IMAGE_OPTS,
    OPTION_PATTERN,
    OPTION_FLUSH_INTERVAL,
    OPTION_NO_DRAIN,
};

typedef enum OutputFormat {
    OFORMAT_HUMAN,
    OFORMAT_JSON,
} OutputFormat;

/* Print the help on stdout and exit(0). */
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

/* Print @value as QEMU's JSON output looks, and a newline. */
void img_print_json(struct json_object *value);

#endif
