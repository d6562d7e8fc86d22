/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Strings, numbers, sizes, paths, and the test for a buffer of zeroes.
 * All functions may be called from any thread.
 */
#ifndef QEMU_CUTILS_H
#define QEMU_CUTILS_H

/* Copy @str to @buf of @buf_size bytes, cut if needed, always terminated. */
void pstrcpy(char *buf, int buf_size, const char *str);
/* Append @s to the string in @buf under the same rules; returns @buf. */
char *pstrcat(char *buf, int buf_size, const char *s);

/*
 * Whether @str begins with @val; if so and @ptr is not NULL, *@ptr is what
 * follows.  stristart() ignores ASCII case.
 */
int strstart(const char *str, const char *val, const char **ptr);
int stristart(const char *str, const char *val, const char **ptr);

/*
 * Numbers.  @base as in strtol(3).  With @endptr NULL the whole string must
 * be a number, else *@endptr is set to what follows it (to @nptr if nothing
 * could be parsed).  Return 0, -EINVAL (no number, or trailing text and no
 * @endptr; *@result is 0 then unless a number was there), or -ERANGE
 * (*@result is then the nearest value that the type has).  The unsigned
 * variants accept a minus sign as strtoul(3) does: -1 is the largest value.
 */
int qemu_strtoi(const char *nptr, const char **endptr, int base,
                int *result);
int qemu_strtoui(const char *nptr, const char **endptr, int base,
                 unsigned int *result);
int qemu_strtol(const char *nptr, const char **endptr, int base,
                long *result);
int qemu_strtoul(const char *nptr, const char **endptr, int base,
                 unsigned long *result);
int qemu_strtoi64(const char *nptr, const char **endptr, int base,
                  int64_t *result);
int qemu_strtou64(const char *nptr, const char **endptr, int base,
                  uint64_t *result);

/*
 * An unsigned number that has no minus sign.  parse_uint() sets *@endptr
 * (NULL: nothing may follow), parse_uint_full() allows nothing after the
 * number.  Return 0, -EINVAL or -ERANGE.
 */
int parse_uint(const char *s, const char **endptr, int base, uint64_t *value);
int parse_uint_full(const char *s, int base, uint64_t *value);

/*
 * Sizes in bytes: a decimal number with an optional fraction, or a hex
 * number (0x..., no fraction), and an optional suffix b, k, m, g, t, p or e
 * in either case, which multiplies by powers of 1024 (_metric: 1000).
 * Without a suffix the unit is bytes (_MiB: mebibytes).  A fraction needs a
 * unit larger than a byte and is rounded to the nearest byte.
 *
 * @end, @result and the return value are as for qemu_strtou64(), but a
 * minus sign is -EINVAL (-0 included), and *@result is 0 on -EINVAL and
 * UINT64_MAX on -ERANGE.
 */
int qemu_strtosz(const char *nptr, const char **end, uint64_t *result);
int qemu_strtosz_MiB(const char *nptr, const char **end, uint64_t *result);
int qemu_strtosz_metric(const char *nptr, const char **end,
                        uint64_t *result);

/* @val as people read it: "4 KiB", "1.5 MiB", "1 GiB".  To be freed. */
char *size_to_str(uint64_t val);

/* True if all @len bytes are zero, also if @len is 0. */
bool buffer_is_zero(const void *buf, size_t len);

/*
 * For tests and benches: make buffer_is_zero() use its next slower
 * implementation.  Returns false when the slowest was in use already, and
 * goes back to the fastest.  Not thread-safe.
 */
bool test_buffer_is_zero_next_accel(void);
/* The name of the implementation in use: "avx2", "sse2", "int". */
const char *buffer_is_zero_accel_name(void);

/* 16 bytes a line, each line "PREFIX: offset: hex  ASCII". */
void qemu_hexdump(FILE *fp, const char *prefix, const void *bufptr,
                  size_t size);

/* Whether @path begins with '/'. */
int path_is_absolute(const char *path);

/* Whether @path begins with "PROTOCOL:" (a ':' before any '/'). */
int path_has_protocol(const char *path);

/*
 * @filename as seen from the folder of @base_path: itself if absolute, else
 * appended to that folder (after the protocol, if @base_path has one and no
 * folder).  To be freed.
 */
char *path_combine(const char *base_path, const char *filename);

#endif
