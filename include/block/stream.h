/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Jobs that shorten a backing chain: stream copies up what an image needs of
 * those below it, commit copies down what images have into one below them.
 */
#ifndef BLOCK_STREAM_H
#define BLOCK_STREAM_H

#include "block/blockjob.h"

typedef struct ChainJobOptions {
    const char *job_id;
    const char *backing_file;   /* for the header; NULL: the base's name */
    int64_t speed;
    BlockdevOnError on_error;
    const char *filter_node_name;   /* of commit */
    int flags;                  /* JobCreateFlags */
    BlockCompletionFunc *cb;
    void *opaque;
} ChainJobOptions;

/* Main thread, both: a job that is not started; NULL with @errp set. */

/* All that is between @bs and @base (NULL: all that is below) goes into @bs. */
BlockJob *stream_job_create(BlockDriverState *bs, BlockDriverState *base,
                            const ChainJobOptions *opts, Error **errp);
/*
 * What @top, which is below @active, and those between it and @base have goes
 * into @base; the image above @top gets @base as its backing file.
 */
BlockJob *commit_job_create(BlockDriverState *active, BlockDriverState *top,
                            BlockDriverState *base,
                            const ChainJobOptions *opts, Error **errp);

#endif
