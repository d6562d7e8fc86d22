/* SPDX-License-Identifier: GPL-2.0-or-later */
/* block-set-write-threshold: the event that a write went beyond an offset. */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "qapi/qapi-events-block-core.h"

void bdrv_write_threshold_exceeded(BlockDriverState *bs, uint64_t end)
{
    uint64_t threshold = qatomic_read(&bs->write_threshold);

    /* Of writes at the same time in several threads, one sends the event. */
    while (threshold && end > threshold) {
        uint64_t seen = qatomic_cmpxchg(&bs->write_threshold, threshold, 0);

        if (seen == threshold) {
            qapi_event_send_block_write_threshold(
                bs->node_name, end - threshold, threshold);
            return;
        }
        threshold = seen;
    }
}
