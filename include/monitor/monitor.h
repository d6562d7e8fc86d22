/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Monitors: QMP over character devices.
 *
 * A monitor reads requests when the main AioContext runs, wherever that is,
 * but commands run in monitor_dispatch() only, which the program's outermost
 * loop calls: a command never runs inside another one that waits.
 *
 * Limits of one monitor; docs/devel/monitor.rst tells why:
 *   a request has at most QMP_MAX_BYTES bytes and QMP_MAX_VALUES values, and
 *     is nested at most QMP_MAX_DEPTH deep;
 *   nothing is read from a client that leaves QMP_OUT_SOFT bytes unread;
 *   events are dropped for a client that leaves QMP_OUT_EVENTS bytes unread.
 *
 * Main thread, outside coroutines, unless a function says otherwise.
 */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include "chardev/char.h"
#include "qapi/qapi-types-control.h"
#include "qapi/qmp/dispatch.h"

#define QMP_MAX_BYTES (16 * 1024 * 1024)
#define QMP_MAX_VALUES (256 * 1024)
#define QMP_MAX_DEPTH 1024
#define QMP_OUT_SOFT (1024 * 1024)
#define QMP_OUT_EVENTS (4 * 1024 * 1024)
/* Requests that may wait, once the client has turned "oob" on. */
#define QMP_REQ_QUEUE_LEN_MAX 8

typedef struct Monitor Monitor;

/* Once, before the first monitor; registers the commands. */
void monitor_init_globals(void);
/* Delete all monitors, after their last output, and forget the commands. */
void monitor_cleanup(void);

/* A QMP monitor on @chr; NULL with @errp set if that is in use. */
Monitor *monitor_new_qmp(Chardev *chr, bool pretty, Error **errp);
/* The same, as --monitor describes it; false with @errp set. */
bool monitor_new(const MonitorOptions *opts, Error **errp);
void monitor_delete(Monitor *mon);

/* The monitor whose command runs; NULL if none does. */
Monitor *monitor_cur(void);

/*
 * Run the next command that waits, if no other runs.  True if there may be
 * more to do at once.
 */
bool monitor_dispatch(void);

#endif
