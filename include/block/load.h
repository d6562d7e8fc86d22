/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A load for a node: requests as a guest makes them, many at once, all the
 * time, with data that is checked when it is read again.
 *
 * The node is cut into as many stripes as there are requests at once, each with
 * a coroutine of its own, so that what a read must find is known.  What is
 * written follows from the seed, the place, and how often that place has been
 * written.  The load moves with the node to another AioContext.
 */
#ifndef BLOCK_LOAD_H
#define BLOCK_LOAD_H

#include "block/block.h"
#include "qapi/qapi-types-block-jobs.h"

typedef struct BlockLoad BlockLoad;

typedef struct BlockLoadOptions {
    uint64_t seed;
    unsigned iodepth;           /* requests at once, 1..1024; 0: 16 */
    uint64_t block_size;        /* the longest request, bytes; 0: 64 KiB */
    uint64_t size;              /* how much of the node; 0: all, <= 64 GiB */
    unsigned read_percent;      /* 0..100 */
    uint64_t interval_us;       /* of each coroutine, between two requests */
    /* As those of a guest's disk; "stop" stops the load, not a guest. */
    BlockdevOnError on_read_error;
    BlockdevOnError on_write_error;
    const char *qom_path;       /* for events; NULL: "" */
} BlockLoadOptions;

typedef struct BlockLoadStats {
    uint64_t reads;
    uint64_t writes;            /* zeroes and discards included */
    uint64_t flushes;
    uint64_t errors;            /* failed requests, those with "report" */
    uint64_t mismatches;        /* reads that found something else */
    uint64_t p50_us;            /* of the latency of all requests */
    uint64_t p99_us;
    uint64_t max_us;
} BlockLoadStats;

/* All of these: main thread, outside coroutines. */

/* Starts at once.  NULL with @errp set on failure. */
BlockLoad *block_load_new(BlockDriverState *bs, const BlockLoadOptions *opts,
                          Error **errp);
/* Waits for its requests, and frees.  NULL is fine. */
void block_load_free(BlockLoad *load);
/*
 * Whether it makes requests.  After an error with the action "stop" it does
 * not until it is set running: then the request that failed is made again.
 */
bool block_load_is_running(BlockLoad *load);
void block_load_set_running(BlockLoad *load, bool running);
/*
 * Whether a load has a coroutine in @ctx: one that sleeps, say, also after its
 * node has moved.
 */
bool block_load_uses_context(AioContext *ctx);
/* What has been so far; may be asked at any time. */
void block_load_get_stats(BlockLoad *load, BlockLoadStats *stats);
/* The first error or mismatch, for people; NULL if there was none. */
const char *block_load_first_error(BlockLoad *load);

#endif
