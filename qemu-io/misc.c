/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-io: reopen, breakpoints, sleep, and how to die.
 */
#include "qemu/osdep.h"
#include <getopt.h>
#include "qemu/aio-wait.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/interrupt.h"
#include "qemu-io.h"

/* --- reopen --- */

typedef struct ReopenArgs {
    int flags;                  /* BDRV_O_*, as they are to be */
    bool writethrough;
    bool has_mode;              /* -r or -w */
    bool has_cache;             /* -c */
    QOpts *options;             /* -o; NULL: not given */
} ReopenArgs;

static int reopen_set_mode(ReopenArgs *r, bool writable)
{
    if (r->has_mode) {
        error_report("Only one -r/-w option may be given");
        return -EINVAL;
    }
    r->has_mode = true;
    r->flags = writable ? r->flags | BDRV_O_RDWR : r->flags & ~BDRV_O_RDWR;
    return 0;
}

static int reopen_set_options(ReopenArgs *r, const char *arg)
{
    Error *local_err = NULL;

    qopts_unref(r->options);
    r->options = qopts_parse(arg, NULL, &local_err);
    if (!r->options) {
        error_report_err(local_err);
        return -EINVAL;
    }
    return 0;
}

static int reopen_parse(const QemuIOCommand *cmd, int argc, char **argv,
                        ReopenArgs *r)
{
    int c;
    int ret = 0;

    while (ret == 0 && (c = getopt(argc, argv, "c:o:rw")) != -1) {
        switch (c) {
        case 'c':
            if (bdrv_parse_cache_mode(optarg, &r->flags,
                                      &r->writethrough) < 0) {
                error_report("Invalid cache option: %s", optarg);
                return -EINVAL;
            }
            r->has_cache = true;
            break;
        case 'o':
            ret = reopen_set_options(r, optarg);
            break;
        case 'r':
        case 'w':
            ret = reopen_set_mode(r, c == 'w');
            break;
        default:
            return qemuio_usage(cmd);
        }
    }
    if (ret == 0 && optind != argc) {
        return qemuio_usage(cmd);
    }
    return ret;
}

/* The same thing must not be said in two ways. */
static int reopen_check_conflicts(const ReopenArgs *r)
{
    if (r->has_mode && r->options && qopts_has(r->options, "read-only")) {
        error_report("Cannot set both -r/-w and 'read-only'");
        return -EINVAL;
    }
    if (r->has_cache && r->options &&
        (qopts_has(r->options, "cache.direct") ||
         qopts_has(r->options, "cache.no-flush"))) {
        error_report("Cannot set both -c and the cache options");
        return -EINVAL;
    }
    return 0;
}

/* A node can become read-only only when its user does not write. */
static int reopen_drop_write_perm(BlockBackend *blk, int flags)
{
    Error *local_err = NULL;
    uint64_t perm, shared;
    int ret;

    blk_get_perm(blk, &perm, &shared);
    if ((flags & BDRV_O_RDWR) ||
        !(perm & (BLK_PERM_WRITE | BLK_PERM_RESIZE))) {
        return 0;
    }
    perm &= ~(BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED | BLK_PERM_RESIZE);
    ret = blk_set_perm(blk, perm, shared, &local_err);
    if (ret < 0) {
        error_report_err(local_err);
    }
    return ret;
}

static int reopen_cmd(BlockBackend *blk, const QemuIOCommand *cmd,
                      int argc, char **argv)
{
    BlockDriverState *bs = blk_bs(blk);
    ReopenArgs r = {
        .flags = bdrv_get_flags(bs),
        .writethrough = !blk_enable_write_cache(blk),
    };
    Error *local_err = NULL;
    int ret;

    ret = reopen_parse(cmd, argc, argv, &r);
    if (ret == 0) {
        ret = reopen_check_conflicts(&r);
    }
    if (ret == 0) {
        ret = reopen_drop_write_perm(blk, r.flags);
    }
    if (ret < 0) {
        qopts_unref(r.options);
        return ret;
    }
    ret = bdrv_reopen(bs, r.flags, r.options ? r.options : qopts_new(),
                      &local_err);
    if (ret < 0) {
        error_report_err(local_err);
        return ret;
    }
    blk_set_enable_write_cache(blk, !r.writethrough);
    return 0;
}

/* --- breakpoints --- */

static GHashTable *breakpoint_tags;

static bool tag_is_known(const char *tag)
{
    return breakpoint_tags && g_hash_table_contains(breakpoint_tags, tag);
}

void qemuio_forget_breakpoints(BlockBackend *blk)
{
    GHashTableIter iter;
    gpointer tag;

    if (!breakpoint_tags) {
        return;
    }
    g_hash_table_iter_init(&iter, breakpoint_tags);
    while (blk && g_hash_table_iter_next(&iter, &tag, NULL)) {
        /* fails for those that have been resumed or removed */
        bdrv_debug_remove_breakpoint(blk_bs(blk), tag);
    }
    g_hash_table_destroy(breakpoint_tags);
    breakpoint_tags = NULL;
}

static int break_cmd(BlockBackend *blk, const QemuIOCommand *cmd,
                     int argc, char **argv)
{
    int ret = bdrv_debug_breakpoint(blk_bs(blk), argv[1], argv[2]);

    if (ret < 0) {
        printf("Could not set breakpoint: %s\n", strerror(-ret));
        return ret;
    }
    if (!breakpoint_tags) {
        breakpoint_tags = g_hash_table_new_full(g_str_hash, g_str_equal,
                                                g_free, NULL);
    }
    g_hash_table_add(breakpoint_tags, g_strdup(argv[2]));
    return 0;
}

static int remove_break_cmd(BlockBackend *blk, const QemuIOCommand *cmd,
                            int argc, char **argv)
{
    int ret = bdrv_debug_remove_breakpoint(blk_bs(blk), argv[1]);

    if (ret < 0) {
        printf("Could not remove breakpoint %s: %s\n", argv[1],
               strerror(-ret));
    }
    return ret;
}

static int resume_cmd(BlockBackend *blk, const QemuIOCommand *cmd,
                      int argc, char **argv)
{
    int ret = bdrv_debug_resume(blk_bs(blk), argv[1]);

    if (ret < 0) {
        printf("Could not resume request: %s\n", strerror(-ret));
    }
    return ret;
}

static int wait_break_cmd(BlockBackend *blk, const QemuIOCommand *cmd,
                          int argc, char **argv)
{
    if (!tag_is_known(argv[1])) {
        error_report("no breakpoint has the tag '%s': it would never come",
                     argv[1]);
        return -ENOENT;
    }
    while (!bdrv_debug_is_suspended(blk_bs(blk), argv[1]) &&
           !qemu_interrupted()) {
        aio_poll(blk_get_aio_context(blk), true);
    }
    return 0;
}

/* --- sleep, abort, sigraise --- */

static void set_flag_cb(void *opaque)
{
    *(bool *)opaque = true;
}

static int sleep_cmd(BlockBackend *blk, const QemuIOCommand *cmd,
                     int argc, char **argv)
{
    bool expired = false;
    QEMUTimer *timer;
    int64_t ms;

    if (qemu_strtoi64(argv[1], NULL, 0, &ms) || ms < 0 ||
        ms > INT64_MAX / SCALE_MS / 2) {
        printf("%s is not a valid number\n", argv[1]);
        return -EINVAL;
    }
    timer = aio_timer_new(qemu_get_aio_context(), QEMU_CLOCK_REALTIME,
                          SCALE_NS, set_flag_cb, &expired);
    timer_mod(timer,
              qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + ms * SCALE_MS);
    while (!expired && !qemu_interrupted()) {
        main_loop_wait(false);
    }
    timer_free(timer);
    return 0;
}

static int abort_cmd(BlockBackend *blk, const QemuIOCommand *cmd,
                     int argc, char **argv)
{
    abort();
}

static int sigraise_cmd(BlockBackend *blk, const QemuIOCommand *cmd,
                        int argc, char **argv)
{
    int64_t sig = qemuio_parse_size(argv[1]);

    if (sig < 0) {
        return sig;
    }
    if (sig > NSIG) {
        printf("signal argument '%s' is too large to be a valid signal\n",
               argv[1]);
        return -EINVAL;
    }
    /*
     * A crash is what is asked for, and not an orderly end; but what was
     * said so far is to be seen.
     */
    fflush(stdout);
    qemu_interrupt_disable();
    raise(sig);
    return 0;
}

const QemuIOCommand qemuio_misc_cmds[] = {
    {
        .name = "reopen",
        .run = reopen_cmd,
        .argmax = -1,
        .args = "[(-r|-w)] [-c cache] [-o options]",
        .oneline = "reopens an image with new options",
        .help =
"Changes how the open image is used, without closing it.\n"
"\n"
"Example:\n"
"  reopen -r -c none   read only, past the page cache\n"
"\n"
"  -r   read only\n"
"  -w   read and write\n"
"  -c   another cache mode\n"
"  -o   options of the block driver, as for 'open'\n",
    },
    {
        .name = "break",
        .run = break_cmd,
        .argmin = 2,
        .argmax = 2,
        .args = "event tag",
        .oneline = "sets a breakpoint on event and tags the stopped "
                   "request as tag",
    },
    {
        .name = "remove_break",
        .run = remove_break_cmd,
        .argmin = 1,
        .argmax = 1,
        .args = "tag",
        .oneline = "remove a breakpoint by tag",
    },
    {
        .name = "resume",
        .run = resume_cmd,
        .argmin = 1,
        .argmax = 1,
        .args = "tag",
        .oneline = "resumes the request tagged as tag",
    },
    {
        .name = "wait_break",
        .run = wait_break_cmd,
        .argmin = 1,
        .argmax = 1,
        .args = "tag",
        .oneline = "waits for the suspension of a request",
    },
    {
        .name = "sleep",
        .run = sleep_cmd,
        .argmin = 1,
        .argmax = 1,
        .no_file = true,
        .oneline = "waits for the given value in milliseconds",
    },
    {
        .name = "abort",
        .run = abort_cmd,
        .no_file = true,
        .oneline = "simulate a program crash using abort(3)",
    },
    {
        .name = "sigraise",
        .run = sigraise_cmd,
        .argmin = 1,
        .argmax = 1,
        .no_file = true,
        .args = "signal",
        .oneline = "raises a signal",
        .help =
"Calls raise(3) for this program.\n"
"\n"
"Example:\n"
"  sigraise 15   SIGTERM\n",
    },
    { }
};
