/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared by the QMP commands of the block layer.  Main thread.
 */
#ifndef BLOCK_QMP_H
#define BLOCK_QMP_H

#include "block/block.h"
#include "block/dirty-bitmap.h"
#include "qapi/qapi-types-transaction.h"
#include "qemu/job.h"
#include "qemu/transactions.h"

/* The node of that name, no reference; NULL with @errp set if there is none. */
BlockDriverState *block_qmp_node(const char *name, Error **errp);
/* The same, but no node may be above it: a filter would be beside those. */
BlockDriverState *block_qmp_root_node(const char *name, Error **errp);
/* JOB_MANUAL_* from the optional arguments of a command. */
int block_qmp_job_flags(bool has_auto_finalize, bool auto_finalize,
                        bool has_auto_dismiss, bool auto_dismiss);
BdrvDirtyBitmap *block_dirty_bitmap_lookup(const char *node, const char *name,
                                           BlockDriverState **pbs,
                                           Error **errp);

/* 0 is the default; false with @errp set if a mirror cannot have it. */
bool mirror_check_granularity(uint32_t granularity, Error **errp);

/*
 * Actions of transactions: each does its part and adds to @tran what makes it
 * final or takes it back; with @errp set it has done nothing.
 */
void block_dirty_bitmap_add_action(const BlockDirtyBitmapAdd *a,
                                   Transaction *tran, Error **errp);
void block_dirty_bitmap_remove_action(const BlockDirtyBitmap *a,
                                      Transaction *tran, Error **errp);
void block_dirty_bitmap_clear_action(const BlockDirtyBitmap *a,
                                     Transaction *tran, Error **errp);
void block_dirty_bitmap_enable_action(const BlockDirtyBitmap *a, bool enable,
                                      Transaction *tran, Error **errp);
void block_dirty_bitmap_merge_action(const BlockDirtyBitmapMerge *a,
                                     Transaction *tran, Error **errp);
void blockdev_backup_action(BlockdevBackup *a, JobTxn *txn, Transaction *tran,
                            Error **errp);
/* The part that blockdev-backup and drive-backup have in common. */
void backup_action(const BackupCommon *b, BlockDriverState *bs,
                   BlockDriverState *target, JobTxn *txn, Transaction *tran,
                   Error **errp);
void drive_backup_action(DriveBackup *a, JobTxn *txn, Transaction *tran,
                         Error **errp);
void blockdev_snapshot_sync_action(const BlockdevSnapshotSync *a,
                                   Transaction *tran, Error **errp);
void blockdev_snapshot_action(const BlockdevSnapshot *a, Transaction *tran,
                              Error **errp);

#endif
