/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inputs of fuzz-vmdk.
 *
 * Byte 0 is what the rest is: an image ('s'), a text descriptor ('t'), or the
 * extent of a fixed descriptor, hosted ('e') or of ESX ('v').  All others:
 * an image.  A text follows as it is.  Binaries are mostly zeroes, so
 *
 *   byte 1   how many times 4 KiB the file has at least (modulo 65)
 *   others   themselves, but 00 N: N + 1 zeroes, or for N >= 80h: zeroes up
 *            to the end of the sector, and N - 80h sectors more
 *
 * so that every input means something, and that sectors stay where they are
 * when bytes come or go before them.
 */
#ifndef VMDK_INPUT_H
#define VMDK_INPUT_H

#include "qemu/osdep.h"

#define VMDK_INPUT_MAX (256 * KiB)

typedef enum VmdkInputKind {
    VMDK_INPUT_IMAGE = 's',
    VMDK_INPUT_TEXT = 't',
    VMDK_INPUT_EXTENT = 'e',
    VMDK_INPUT_ESX_EXTENT = 'v',
} VmdkInputKind;

VmdkInputKind vmdk_input_kind(const uint8_t *data, size_t size);
/* The file, at most VMDK_INPUT_MAX bytes; not for texts. */
GByteArray *vmdk_input_unpack(const uint8_t *data, size_t size);
/* The reverse; @kind is not that of a text. */
GByteArray *vmdk_input_pack(VmdkInputKind kind, const uint8_t *file,
                            size_t size);

#endif
