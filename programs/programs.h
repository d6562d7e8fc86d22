/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared by the programs.  Main thread, outside coroutines.
 */
#ifndef PROGRAMS_H
#define PROGRAMS_H

#include "block/block.h"

struct json_object;

/*
 * Before anything else: the name in messages, and a pipe that nobody reads is
 * an error of a write, not the end.
 */
void program_set_name(const char *argv0);

/* Make the main loop and the block layer.  False if that was reported. */
bool program_init(void);

/*
 * After the last image is closed: see that all output was written, end by the
 * signal that asked for it, and free what program_init() made.  Returns the
 * exit status: @status, or EXIT_FAILURE if output was lost.
 */
int program_end(int status);

/*
 * Print what bdrv_get_specific_info() returned as "info" of both programs
 * does: "Format specific information:" and the members of "data", 4 * @level
 * columns to the right.
 */
void program_print_specific_info(struct json_object *info, int level);

/*
 * A temporary overlay of @base, whose reference it takes over; NULL with @errp
 * set.  Of @flags, BDRV_O_UNMAP counts; @detect_zeroes may be NULL.
 */
BlockDriverState *program_open_overlay(BlockDriverState *base, int flags,
                                       const char *detect_zeroes,
                                       Error **errp);

#endif
