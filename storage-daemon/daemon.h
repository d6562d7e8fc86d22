/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The process of qemu-storage-daemon and qemu-nbd.  Main thread. */
#ifndef STORAGE_DAEMON_H
#define STORAGE_DAEMON_H

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

#endif
