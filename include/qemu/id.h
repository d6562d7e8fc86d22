/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names that users give: of nodes, jobs, objects, monitors.
 */
#ifndef QEMU_ID_H
#define QEMU_ID_H

/* A letter, then letters, digits, '-', '.', '_'.  Any thread. */
bool id_wellformed(const char *id);

#endif
