/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Nodes that belong to the monitor: what blockdev-add made, and blockdev-del
 * may delete.  Main thread, outside coroutines.
 */
#ifndef BLOCK_MONITOR_NODES_H
#define BLOCK_MONITOR_NODES_H

#include "block/block.h"

/* The node that @device or @node_name names; NULL with @errp set. */
BlockDriverState *block_qmp_lookup(const char *device, const char *node_name,
                                   Error **errp);
/* Delete the monitor's nodes, the last ones first. */
void blockdev_close_all(void);

#endif
