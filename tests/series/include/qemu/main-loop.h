/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Only what the series may use: the loop of a test program.  Not on the
 * list, but what every unit test of QEMU begins with.
 */
#ifndef SERIES_QEMU_MAIN_LOOP_H
#define SERIES_QEMU_MAIN_LOOP_H

int qemu_init_main_loop(Error **errp);

#endif
