/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-io: its commands, and what their files share.
 *
 * Everything here belongs to the main thread, outside coroutines, but the
 * completion callbacks of aio_* commands.
 */
#ifndef QEMU_IO_H
#define QEMU_IO_H

#include "system/block-backend.h"

typedef struct QemuIOCommand QemuIOCommand;

/*
 * A command.  @run gets a NULL-terminated @argv whose first element is the
 * command's name, and returns 0 or -errno after telling the user why.  @blk
 * is NULL only if no_file is set and no file is open.
 */
struct QemuIOCommand {
    const char *name;
    const char *alias;          /* NULL: none */
    int (*run)(BlockBackend *blk, const QemuIOCommand *cmd,
               int argc, char **argv);
    int argmin;                 /* arguments without the name */
    int argmax;                 /* -1: any number */
    bool no_file;               /* works without an open file */
    uint64_t perm;              /* BLK_PERM_* the command needs */
    const char *args;           /* may be NULL */
    const char *oneline;
    const char *help;           /* lines for "help NAME"; may be NULL */
};

/* The commands of each file; each ends with a NULL name. */
extern const QemuIOCommand qemuio_help_cmds[];      /* cmds.c */
extern const QemuIOCommand qemuio_rw_cmds[];        /* rw.c */
extern const QemuIOCommand qemuio_aio_cmds[];       /* aio.c */
extern const QemuIOCommand qemuio_image_cmds[];     /* image.c */
extern const QemuIOCommand qemuio_misc_cmds[];      /* misc.c */

/* Add a table of commands; the tables live on. */
void qemuio_add_commands(const QemuIOCommand *table);
/* Forget all commands. */
void qemuio_free_commands(void);
/*
 * The name of the @n-th command in alphabetical order; NULL past the last.
 */
const char *qemuio_command_name(unsigned n);
/* Run one line.  0 or -errno. */
int qemuio_command(BlockBackend *blk, const char *line);
/* Print how to use @cmd, on one line; returns -EINVAL. */
int qemuio_usage(const QemuIOCommand *cmd);

/* Buffers are misaligned on purpose: set by -m. */
extern bool qemuio_misalign;

/* Options that the reading and writing commands share. */
typedef struct IOArgs {
    bool report_csv;            /* -C */
    bool quiet;                 /* -q */
    bool dump;                  /* -v */
    bool vmstate;               /* -b */
    bool compressed;            /* -c */
    bool fua;                   /* -f */
    bool invalid;               /* -i */
    bool no_fallback;           /* -n */
    bool registered;            /* -r */
    bool unmap;                 /* -u */
    bool zeroes;                /* -z */
    int pattern;                /* -P; -1: not given */
    const char *s_arg;          /* -s; NULL: not given */
    const char *l_arg;          /* -l; NULL: not given */
} IOArgs;

/*
 * Parse the options named in @optstring, a string for getopt(3); optind is
 * then the first argument that is left.  0, or -EINVAL with the user told.
 */
int qemuio_parse_args(const QemuIOCommand *cmd, int argc, char **argv,
                      const char *optstring, IOArgs *a);
/* The flags for a write, or -EINVAL if the options contradict each other. */
int qemuio_write_flags(const IOArgs *a, BdrvRequestFlags *flags);

/* A size in bytes; -EINVAL or -ERANGE after telling the user. */
int64_t qemuio_parse_size(const char *arg);
/* 0..255; -EINVAL after telling the user. */
int qemuio_parse_pattern(const char *arg);

/* "4 KiB", "1.500 MiB", "12 bytes": to be freed. */
char *qemuio_size_str(double value);

/*
 * A buffer of @len bytes for a request at @offset, aligned for @blk unless
 * misalignment was asked for.  It is filled with @pattern, but not if the
 * request leaves the image: it will fail, and memory that is not touched
 * costs nothing.  NULL, with the user told, if there is no memory.
 */
void *qemuio_alloc(BlockBackend *blk, int64_t offset, size_t len,
                   int pattern);
/* The same, filled with the content of @path, again and again. */
void *qemuio_alloc_from_file(BlockBackend *blk, int64_t offset, size_t len,
                             const char *path);
/* -r: the @len bytes at @buf are a registered buffer until qemuio_free(). */
void qemuio_register(const IOArgs *a, void *buf, size_t len);
/* NULL is fine. */
void qemuio_free(void *p);

/*
 * One buffer for a list of lengths @argv, each an element of @qiov (to be
 * destroyed).  NULL with the user told if a length is wrong.
 */
void *qemuio_create_iovec(BlockBackend *blk, QEMUIOVector *qiov,
                          int64_t offset, char **argv, int nr, int pattern);

/* True if all of the buffer is @pattern; else tell where it was read. */
bool qemuio_verify(const void *buf, size_t len, int pattern, int64_t offset);
void qemuio_dump(const void *buf, int64_t offset, int64_t len);

/* A request's result: what @op ("read", "wrote") moved since @start_ns. */
void qemuio_report(const char *op, int64_t start_ns, int64_t offset,
                   int64_t count, bool csv);
/* Nanoseconds of CLOCK_MONOTONIC. */
int64_t qemuio_now_ns(void);

/*
 * The breakpoints set with "break", so that closing the file can let go of
 * the requests that wait there.
 */
void qemuio_forget_breakpoints(BlockBackend *blk);

#endif
