/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names and versions that the programs print.
 *
 * QEMU_VERSION is the release of QEMU whose command lines and output they
 * have: scripts look for it.  QEMU puts the version of the package that it
 * came in between parentheses; this project puts its own name and version
 * there.
 */
#ifndef QEMU_VERSION_H
#define QEMU_VERSION_H

#define QEMU_PKGVERSION "qemu-laio " QEMU_LAIO_VERSION

#define QEMU_FULL_VERSION \
    QEMU_VERSION " (" QEMU_PKGVERSION ")"

#define QEMU_COPYRIGHT \
    "Copyright (c) 2026 The qemu-laio developers"

/* The end of --help. */
#define QEMU_HELP_BOTTOM \
    "This program is part of qemu-laio " QEMU_LAIO_VERSION \
    ", and not of QEMU:\n" \
    "please do not report its faults to the QEMU project.\n"

#endif
