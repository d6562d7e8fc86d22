/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the fuzz targets share: a folder that they cannot leave, the images in
 * it, and what the code under test said.
 *
 * A target is linked with libFuzzer (--enable-fuzzing), or with replay.c,
 * which runs the files that it is given once.  All of this belongs to the
 * main thread, but confine.c, whose functions take the place of libc's.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include "system/block-backend.h"

/* What libFuzzer, or replay.c, calls. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * Make the folder, the event loop and the block layer, set the limits, and
 * complete libFuzzer's options in @argc and @argv.  For
 * LLVMFuzzerInitialize().
 */
void fuzz_init(int *argc, char ***argv);

/*
 * Around an input: the folder is empty and no other file can be opened; what
 * goes to stdout and stderr is kept, for the functions below.
 */
void fuzz_begin(void);
void fuzz_end(void);

/* A file of the folder.  It has at most FUZZ_MAX_FILE bytes. */
#define FUZZ_MAX_FILE (8 * MiB)
void fuzz_put(const char *name, const void *data, size_t size);
/*
 * An image of our own making: made the first time, later put there as it was
 * then.  @options are those of bdrv_create(); the disk begins with "A"s.
 */
void fuzz_put_image(const char *name, const char *fmt, const char *options);

/* How much was said so far; and an assertion that it is more than @before. */
size_t fuzz_said(void);
void fuzz_expect_words(size_t before, const char *what);
/*
 * @err, of something that failed, is one clear line.  Frees it.  The text
 * that the fuzzer made, @input, may be in it.
 */
void fuzz_check_error(Error *err, const char *input);

/* An input from which numbers and bytes are taken; zeroes when it has ended. */
typedef struct FuzzInput {
    const uint8_t *data;
    size_t left;
} FuzzInput;

/* A number of so many bytes, the lowest first. */
uint64_t fuzz_take(FuzzInput *in, unsigned bytes);
/* The next *@len bytes, or as many as there are: *@len says. */
const uint8_t *fuzz_take_bytes(FuzzInput *in, size_t *len);

/* A string of the input: up to a NUL; to be freed. */
char *fuzz_string(const uint8_t *data, size_t size);

/* --- confine.c --- */

/*
 * From here on open(2) and its kin see only @folder (and /dev/null), and
 * nothing can be removed or renamed; NULL: the whole file system again.
 * What follows @artifacts, a path, and looks like a finding of libFuzzer can
 * always be written; it may be NULL.
 */
void fuzz_confine(const char *folder, const char *artifacts);
/* Whether the kernel can do it: Linux 5.6 has openat2(2). */
bool fuzz_can_confine(void);

#endif
