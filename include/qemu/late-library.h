/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Libraries that are loaded when they are first needed.
 *
 * A library with many others behind it makes every start of a program slower,
 * also where it is not used.  scripts/late-library.py makes the tables.
 */
#ifndef QEMU_LATE_LIBRARY_H
#define QEMU_LATE_LIBRARY_H

#include "qapi/error.h"

typedef struct LateLibrary {
    const char *soname;
    const char *const *names;
    size_t nb_names;
    void **symbols;             /* of @names; valid once @loaded is true */
    bool loaded;                /* under a lock of late-library.c */
} LateLibrary;

/*
 * Load @lib, which stays loaded.  False with @errp set: it cannot be loaded,
 * or lacks a symbol.  Any thread.
 */
bool late_library_load(LateLibrary *lib, Error **errp);

#endif
