/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared by block/graph.c, graph-mod.c, open.c, probe.c and reopen.c.
 * Main thread.
 */
#ifndef BLOCK_OPEN_H
#define BLOCK_OPEN_H

#include "block/block_int.h"

/* A node without driver, name and options; one reference. */
BlockDriverState *bdrv_new(void);
/* Free a node that has no parents. */
void bdrv_delete(BlockDriverState *bs);
/* Set the name (NULL: invent one), which no listed node may have. */
int bdrv_set_node_name(BlockDriverState *bs, const char *node_name,
                       Error **errp);
/* An error if a listed node has the name of @bs. */
int bdrv_check_node_name(BlockDriverState *bs, Error **errp);
/* Let @bs, which is open, be found by its name. */
void bdrv_list_node(BlockDriverState *bs);
/* The format that @buf looks most like; NULL for none. */
BlockDriver *bdrv_probe_all(const uint8_t *buf, int buf_size,
                            const char *filename);
/* The name of a format without a driver that @buf looks like, or NULL. */
const char *bdrv_probe_foreign(const uint8_t *buf, int buf_size,
                               const char *filename);
/* The format of @bs, by what @file has; an error if it has no driver. */
BlockDriver *bdrv_guess_format(BlockDriverState *bs, BlockDriverState *file,
                               const char *filename, Error **errp);
/* Tell the user that the guess "raw" is dangerous. */
void bdrv_warn_probed_raw(BlockDriverState *bs, const char *filename);

/*
 * Take the generic options that change flags (cache.*, read-only, ...) out of
 * @options and apply them to @flags.
 */
int bdrv_take_flag_options(QOpts *options, int *flags, bool *force_share,
                           Error **errp);

/* active.c: false with @errp set if @bs, which is open, must be active. */
bool bdrv_can_be_inactive(BlockDriverState *bs, Error **errp);

/*
 * filename.c: set the names of @bs, which has a file: those of the file, or
 * empty ones if they would not be enough.
 */
void bdrv_refresh_format_filename(BlockDriverState *bs);
/* bs->filename = "json:{...}", with the options of the nodes below. */
void bdrv_set_json_filename(BlockDriverState *bs);

/*
 * graph-mod.c: the limits and names of @bs, and of all nodes above it, follow
 * from what is below.
 */
void GRAPH_WRLOCK bdrv_refresh_limits_above(BlockDriverState *bs);

#endif
