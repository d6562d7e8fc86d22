/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of qemu-storage-daemon share.  Main thread. */
#ifndef STORAGE_DAEMON_H
#define STORAGE_DAEMON_H

#include "qapi/util.h"

/*
 * Become a daemon: returns in the child, which is in a session of its own;
 * the parent waits for daemon_ready(), or exits with the child's failure.
 * Before threads are started.  False with @errp set on failure.
 */
bool daemonize(Error **errp);
/*
 * Startup is complete: the parent of a daemon exits, and standard input and
 * output become /dev/null.  Tells systemd, too, if that waits.
 */
void daemon_ready(void);
/* The end has begun. */
void daemon_stopping(void);

/*
 * Write the process id to the file @path and keep the file locked until the
 * end.  False with @errp set, also if another process has it.
 */
bool pidfile_create(const char *path, Error **errp);
/* Remove the file, if there is one. */
void pidfile_remove(void);

/*
 * An argument "key=value,..." or "{ JSON }" as a value of @type; @implied may
 * be NULL.  False with @errp set.
 */
bool parse_option(const QapiType *type, const char *text,
                  const char *implied, void *slot, Error **errp);

#endif
