/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Counting requests and how long they take.
 */
#include "qemu/osdep.h"
#include "system/block-backend.h"

void block_acct_start(BlockAcctStats *stats, BlockAcctCookie *cookie,
                      int64_t bytes, enum BlockAcctType type)
{
    assert(type < BLOCK_MAX_IOTYPE);
    cookie->bytes = bytes;
    cookie->start_time_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    cookie->type = type;
}

static void block_acct_end(BlockAcctStats *stats, BlockAcctCookie *cookie,
                           bool failed)
{
    int64_t now = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

    qemu_spin_lock(&stats->lock);
    if (failed) {
        stats->failed_ops[cookie->type]++;
    } else {
        stats->nr_bytes[cookie->type] += cookie->bytes;
        stats->nr_ops[cookie->type]++;
    }
    stats->total_time_ns[cookie->type] += now - cookie->start_time_ns;
    qemu_spin_unlock(&stats->lock);
    cookie->type = BLOCK_ACCT_NONE;
}

void block_acct_done(BlockAcctStats *stats, BlockAcctCookie *cookie)
{
    block_acct_end(stats, cookie, false);
}

void block_acct_failed(BlockAcctStats *stats, BlockAcctCookie *cookie)
{
    block_acct_end(stats, cookie, true);
}

void block_acct_invalid(BlockAcctStats *stats, enum BlockAcctType type)
{
    qemu_spin_lock(&stats->lock);
    stats->invalid_ops[type]++;
    qemu_spin_unlock(&stats->lock);
}

void block_acct_copy(BlockAcctStats *copy, BlockAcctStats *stats)
{
    qemu_spin_lock(&stats->lock);
    *copy = *stats;
    qemu_spin_unlock(&stats->lock);
    qemu_spin_init(&copy->lock);
}
