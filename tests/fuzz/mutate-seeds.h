/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Small valid VMDK images, one of each subformat, and random changes of them.
 * After fuzz_init(), from the main thread.
 */
#ifndef MUTATE_SEEDS_H
#define MUTATE_SEEDS_H

#include "qemu/osdep.h"

typedef struct SeedFile {
    char *name;
    int64_t length;             /* of the file; zeroes after @content */
    GByteArray *content;
} SeedFile;

typedef struct Seed {
    const char *name;           /* subformat */
    GPtrArray *files;           /* SeedFile; the image is "x.vmdk" */
} Seed;

size_t seed_count(void);
/* Make number @n of seed_count(), in the folder of the fuzz targets. */
Seed *seed_new(size_t n);
void seed_free(Seed *seed);

/* After fuzz_begin(): put the files, as they are or changed. */
void seed_put(const Seed *seed);
void seed_put_changed(const Seed *seed, uint32_t number);

#endif
