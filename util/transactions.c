/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A change in several steps that happens as a whole or not at all.
 */
#include "qemu/osdep.h"
#include "qemu/transactions.h"

typedef struct {
    const TransactionActionDrv *drv;
    void *opaque;
} TransactionAction;

struct Transaction {
    GArray *actions;            /* of TransactionAction, the oldest first */
};

Transaction *tran_new(void)
{
    Transaction *tran = g_new(Transaction, 1);

    tran->actions = g_array_new(false, false, sizeof(TransactionAction));
    return tran;
}

void tran_add(Transaction *tran, const TransactionActionDrv *drv,
              void *opaque)
{
    TransactionAction action = { .drv = drv, .opaque = opaque };

    g_array_append_val(tran->actions, action);
}

static void tran_clean(Transaction *tran)
{
    guint i;

    for (i = tran->actions->len; i > 0; i--) {
        TransactionAction *a = &g_array_index(tran->actions,
                                              TransactionAction, i - 1);

        if (a->drv->clean) {
            a->drv->clean(a->opaque);
        }
    }
    g_array_free(tran->actions, true);
    g_free(tran);
}

void tran_commit(Transaction *tran)
{
    guint i;

    for (i = 0; i < tran->actions->len; i++) {
        TransactionAction *a = &g_array_index(tran->actions,
                                              TransactionAction, i);

        if (a->drv->commit) {
            a->drv->commit(a->opaque);
        }
    }
    tran_clean(tran);
}

void tran_abort(Transaction *tran)
{
    guint i;

    for (i = tran->actions->len; i > 0; i--) {
        TransactionAction *a = &g_array_index(tran->actions,
                                              TransactionAction, i - 1);

        if (a->drv->abort) {
            a->drv->abort(a->opaque);
        }
    }
    tran_clean(tran);
}
