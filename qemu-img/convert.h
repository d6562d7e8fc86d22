/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img: copying images, one after the other, to one target.
 */
#ifndef QEMU_IMG_CONVERT_H
#define QEMU_IMG_CONVERT_H

#include "qemu-img.h"
#include "qemu/ratelimit.h"

#define CONVERT_MAX_COROUTINES 16
#define CONVERT_MAX_SPARSE (16 * MiB)

typedef struct Convert {
    /* What is copied; all lengths in bytes. */
    BlockBackend **src;
    int64_t *src_start;         /* in the target; one more for the end */
    int nb_src;
    int64_t total;              /* of all sources */

    BlockBackend *target;
    bool target_is_zero;        /* where nothing was written yet */
    bool target_has_backing;
    int64_t target_backing_bytes;
    int64_t cluster;            /* of the target; 1: none */

    int coroutines;
    bool in_order;              /* the target is written from start to end */
    bool compressed;
    bool as_is;                 /* zeroes within data are data */
    bool offload;               /* let the host copy, until it refuses */
    bool salvage;               /* what cannot be read becomes zeroes */
    bool quiet;
    int64_t min_sparse;         /* shorter zeroes are data; 0: all is data */
    uint64_t rate;              /* bytes per second; 0: no limit */

    int64_t skip;               /* of the first source */

    /* For convert-copy.c alone. */
    CoMutex lock;               /* of the next piece */
    BlockDriverState *base;     /* data from here on is the target's already */
    ImgRun run;
    int64_t offset;
    int cur_src;                /* the source that @offset lies in */
    int64_t unit;               /* zeroes are looked for in blocks of this */
    int64_t buf_bytes;
    int64_t done;
    uint64_t next_ticket;       /* of the pieces that are taken in order */
    uint64_t write_ticket;
    CoQueue turn;
    bool writing;               /* whose turn it is has read its piece */
    int max_copying;            /* coroutines that may have a piece */
    int copying;                /* those that have one */
    CoQueue room;               /* the others */
    RateLimit limit;
    int running;                /* coroutines */
    int ret;                    /* of the first failure, which was reported */
} Convert;

/* What is asked for, by name. */
typedef struct ConvertArgs {
    Convert c;
    const char *fmt;
    const char *target_fmt;
    const char *target;
    const char *backing;
    const char *backing_fmt;
    const char *snapshot;
    char *options;              /* all -o; NULL if none */
    int src_flags;
    int target_flags;
    bool target_writethrough;
    bool image_opts;
    bool target_image_opts;
    bool target_is_zero;
    bool skip_create;
    bool bitmaps;
    bool skip_broken_bitmaps;
    bool sparse_given;
    bool progress;
    bool force_share;
    bool created;               /* the target, by this command */
    /* For dd: the part of the only source; bytes. */
    int64_t skip;
    int64_t max_bytes;          /* -1: up to the end */
} ConvertArgs;

/*
 * Open the sources @names, make or open the target, copy, and close all.
 * The exit status, after everything was reported.
 */
int convert_images(ConvertArgs *a, char **names);

/*
 * Copy all of it; outside coroutines.  0, also if a signal has ended it, or
 * -errno after that was reported.
 */
int convert_copy(Convert *c);

#endif
