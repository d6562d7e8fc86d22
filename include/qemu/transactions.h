/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A change in several steps that happens as a whole or not at all.
 *
 * Each step does its part at once and adds an action that makes it final or
 * takes it back:
 *
 *     Transaction *tran = tran_new();
 *
 *     ret = step_one(tran, errp);          calls tran_add() when it succeeds
 *     if (ret == 0) {
 *         ret = step_two(tran, errp);
 *     }
 *     tran_finalize(tran, ret);
 *
 * A step that fails has undone its own part and adds nothing.  A Transaction
 * belongs to one thread.
 */
#ifndef QEMU_TRANSACTIONS_H
#define QEMU_TRANSACTIONS_H

/* All are optional.  @clean comes last, whatever happened, to free memory. */
typedef struct TransactionActionDrv {
    void (*abort)(void *opaque);
    void (*commit)(void *opaque);   /* cannot fail */
    void (*clean)(void *opaque);
} TransactionActionDrv;

typedef struct Transaction Transaction;

Transaction *tran_new(void);

/* @drv must stay valid until the end; @opaque is for its callbacks. */
void tran_add(Transaction *tran, const TransactionActionDrv *drv,
              void *opaque);

/*
 * The end of @tran, which is freed.  Commit runs in the order in which the
 * actions were added; abort and clean run in the opposite order.
 */
void tran_commit(Transaction *tran);
void tran_abort(Transaction *tran);

/* @ret < 0: abort; otherwise commit. */
static inline void tran_finalize(Transaction *tran, int ret)
{
    if (ret < 0) {
        tran_abort(tran);
    } else {
        tran_commit(tran);
    }
}

#endif
