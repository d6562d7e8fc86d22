/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Private to "qemu-img check" for VMDK.  Coroutines of the node's AioContext,
 * with extent->lock held.
 */
#ifndef BLOCK_VMDK_CHECK_H
#define BLOCK_VMDK_CHECK_H

#include "block/vmdk/vmdk.h"

/* Tables that follow each other in the file are read together. */
typedef struct VmdkTableWindow {
    uint8_t *buf;
    uint64_t start;             /* what buf has, in sectors of the file */
    uint64_t end;
    uint64_t next;              /* behind the table that was asked for last */
} VmdkTableWindow;

typedef struct VmdkCheck {
    BlockDriverState *bs;
    VmdkExtent *e;
    BdrvCheckResult *result;
    BdrvCheckMode fix;
    GArray *areas;              /* of VmdkArea, by start */
    bool all_shared;            /* take all of them for shared */
    uint32_t *table;
    uint32_t *redundant;
    VmdkTableWindow tables;
    VmdkTableWindow copies_read;
    uint8_t *data;              /* of a compressed grain */
    uint8_t *used;              /* places of grains that primary tables have */
    uint8_t *copies;            /* VmdkCopy of each table */
    uint8_t *behind_eof;        /* whether a table has grains there */
} VmdkCheck;

typedef enum VmdkGrainFault {
    VMDK_FAULT_BEHIND_EOF,
    VMDK_FAULT_IN_METADATA,
    VMDK_FAULT_OF_ANOTHER,
    VMDK_FAULT_CUT,
    VMDK_FAULT_SHARED,
    VMDK_FAULT_NOT_PACKED,
} VmdkGrainFault;

static inline uint64_t vmdk_check_place(const VmdkCheck *c, uint64_t sector)
{
    return c->e->compressed ? sector : sector / c->e->grain_sectors;
}

/* check.c */

/* Whether nothing but the table at @sector is there. */
bool vmdk_check_may_write(const VmdkCheck *c, uint32_t sector);
/* As vmdk_table_read(); nothing may write to the tables in @w meanwhile. */
int coroutine_fn vmdk_check_window_read(VmdkExtent *e, VmdkTableWindow *w,
                                        uint32_t sector, uint32_t *entries);
/* The primary table @index into c->table; if it cannot be, that is said. */
bool coroutine_fn vmdk_check_read_table(VmdkCheck *c, uint32_t index);
/*
 * Say that the table @index, @what, could not be read, and count it.  It need
 * not be damaged, if it is in the file.
 */
void vmdk_check_unreadable(const VmdkExtent *e, BdrvCheckResult *result,
                           const char *what, uint32_t index, uint32_t sector,
                           int error);
/* Say what is wrong with the grain number @grain of @e, and count it. */
void vmdk_check_grain_fault(const VmdkExtent *e, BdrvCheckResult *result,
                            uint64_t grain, VmdkGrainFault fault);

/* Whether the entry @gte in place @n of table @index is of data. */
bool vmdk_check_is_grain(const VmdkCheck *c, uint32_t index, uint32_t n,
                         uint32_t gte);

/* check-eof.c */

/* After all tables: clear entries that lead behind the end of the file. */
void coroutine_fn vmdk_check_repair_eof(VmdkCheck *c);
/*
 * After all else: say if the end of a stream is lost.  It is written again if
 * that is wanted, and the check has found nothing else.
 */
void coroutine_fn vmdk_check_footer(VmdkCheck *c);

/* check-copies.c */

/* Compare with the table @index, which is in c->table. */
void coroutine_fn vmdk_check_copies(VmdkCheck *c, uint32_t index);
/*
 * After all tables: say what differs, and repair it if that is wanted.
 * -EINTR if a signal has ended that.
 */
int coroutine_fn vmdk_check_repair_copies(VmdkCheck *c);

#endif
