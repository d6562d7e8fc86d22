/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changes of VMDK files to values that mean something.
 */
#ifndef VMDK_CHANGE_H
#define VMDK_CHANGE_H

#include "qemu/osdep.h"

/* Whether it begins as a seSparse extent does: all numbers have 64 bits. */
bool vmdk_is_sesparse(const GByteArray *file);

/*
 * Change one field of the header or of the footer of @file, or four bytes
 * where an entry of a table or of a marker may be.  @file has at least a
 * sector.
 */
void vmdk_change_file(GByteArray *file, GRand *rand);

#endif
