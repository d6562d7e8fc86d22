/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exports: nodes that others use over a protocol.  Main thread.
 */
#ifndef BLOCK_EXPORT_H
#define BLOCK_EXPORT_H

#include "qapi/qapi-types-block-export.h"
#include "qemu/queue.h"
#include "system/block-backend.h"

typedef struct BlockExport BlockExport;

typedef struct BlockExportDriver {
    BlockExportType type;
    size_t instance_size;       /* the first member is BlockExport */
    bool has_iothread;          /* it runs in exp->ctx; else in the main one */
    bool has_multi_iothread;    /* it runs in all of exp->ctxs */
    bool has_inactive;          /* it can cope with an inactive node */
    bool keeps_size;            /* others may not resize; block_resize may */
    /* exp->blk is there.  False with @errp set: it has undone its part. */
    bool (*create)(BlockExport *exp, const BlockExportOptions *opts,
                   Error **errp);
    /* The last reference goes. */
    void (*delete)(BlockExport *exp);
    /* Let its clients go; each drops its reference when it has gone. */
    void (*request_shutdown)(BlockExport *exp);
} BlockExportDriver;

struct BlockExport {
    const BlockExportDriver *drv;
    char *id;
    int refcount;               /* the user's, and one for each client */
    bool user_owned;            /* not removed yet */
    BlockBackend *blk;
    /*
     * Where it runs, from its creation to its end, wherever the node moves:
     * requests may come from any context.  These contexts stay as long as the
     * export is there.  @ctx is the first of @ctxs.
     */
    AioContext *ctx;
    AioContext **ctxs;
    size_t n_ctxs;              /* at least 1 */
    QLIST_ENTRY(BlockExport) next;
};

extern const BlockExportDriver blk_exp_vhost_user_blk;
extern const BlockExportDriver blk_exp_fuse;

/* NULL with @errp set on failure. */
BlockExport *blk_exp_add(const BlockExportOptions *opts, Error **errp);
BlockExport *blk_exp_find(const char *id);
void blk_exp_ref(BlockExport *exp);
void blk_exp_unref(BlockExport *exp);
/* Drop the user's reference, and let the clients go. */
void blk_exp_request_shutdown(BlockExport *exp);
/*
 * Let block_resize change the size of nodes that exports keep (@share), and
 * nobody any more.  In the main thread.
 */
void blk_exp_share_resize(bool share);
/*
 * All of a type, or all for BLOCK_EXPORT_TYPE__MAX; waits until they are gone.
 */
void blk_exp_close_all_type(BlockExportType type);
void blk_exp_close_all(void);
/* Whether an export runs in @ctx. */
bool blk_exp_uses_context(AioContext *ctx);

#endif
