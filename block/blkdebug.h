/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * blkdebug: its rules, shared by the driver and the reader of the rules.
 */
#ifndef BLOCK_BLKDEBUG_H
#define BLOCK_BLKDEBUG_H

#include "block/block_int.h"

/* Bits of the kinds of request that an error rule is for. */
typedef enum BlkdebugIoType {
    BLKDEBUG_IO_READ         = 0x01,
    BLKDEBUG_IO_WRITE        = 0x02,
    BLKDEBUG_IO_WRITE_ZEROES = 0x04,
    BLKDEBUG_IO_DISCARD      = 0x08,
    BLKDEBUG_IO_FLUSH        = 0x10,
    BLKDEBUG_IO_BLOCK_STATUS = 0x20,
    /* Block status is no I/O of the guest: only when asked for by name. */
    BLKDEBUG_IO_DEFAULT      = 0x1f,
} BlkdebugIoType;

typedef enum BlkdebugAction {
    BLKDEBUG_INJECT_ERROR,      /* requests fail from the event on */
    BLKDEBUG_SET_STATE,
    BLKDEBUG_SUSPEND,           /* the request waits for "resume" */
} BlkdebugAction;

typedef struct BlkdebugRule {
    BlkdebugAction action;
    int state;                  /* only in this one; 0: in any */
    bool active;                /* an error rule whose event has happened */
    /* inject-error */
    int io_types;
    int error;                  /* errno */
    int64_t offset;             /* a byte the request contains; -1: any */
    bool once;
    bool immediately;           /* fail without a turn of the event loop */
    int64_t delay_ns;           /* before it fails, or goes on */
    /* set-state */
    int new_state;
    /* suspend */
    char *tag;
    QTAILQ_ENTRY(BlkdebugRule) next;    /* the list of its event */
} BlkdebugRule;

typedef QTAILQ_HEAD(, BlkdebugRule) BlkdebugRuleList;

/* Read rules from an INI file, or from "inject-error.N.*" and so on. */
int blkdebug_read_config(BlkdebugRuleList *rules, const char *filename,
                         Error **errp);
/* Takes them out of @options. */
int blkdebug_take_rules(BlkdebugRuleList *rules, QOpts *options,
                        Error **errp);
/* An index of BlkdebugEvent_lookup.array[], or -1. */
int blkdebug_find_event(const char *name);
void blkdebug_rule_free(BlkdebugRule *rule);

#endif
