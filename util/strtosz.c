/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sizes with unit suffixes.
 *
 * All in integers: a double has 53 bits, which is not enough for "every byte
 * below 2^64" once a fraction is involved.
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"

typedef unsigned __int128 Wide;

/* Digits of a fraction that count: 10^20 * 2^60 still fits into Wide. */
#define FRACTION_DIGITS 20

/* The number before the suffix: @integer + @fraction / @scale. */
typedef struct Decimal {
    uint64_t integer;
    Wide fraction;
    Wide scale;
    bool overflow;
} Decimal;

/* Bytes per unit of suffix @c; 0 if it is none. */
static uint64_t suffix_unit(char c, uint64_t base)
{
    static const char suffixes[] = "bkmgtpe";
    const char *found;
    uint64_t unit = 1;
    int i;

    found = c ? strchr(suffixes, g_ascii_tolower(c)) : NULL;
    if (!found) {
        return 0;
    }
    for (i = 0; i < found - suffixes; i++) {
        unit *= base;
    }
    return unit;
}

/* Digits from @p on, as the fraction of @d.  Returns what follows. */
static const char *parse_fraction(const char *p, Decimal *d)
{
    int digits;

    for (digits = 0; g_ascii_isdigit(*p); p++, digits++) {
        if (digits < FRACTION_DIGITS) {
            d->fraction = d->fraction * 10 + (*p - '0');
            d->scale *= 10;
        }
    }
    return p;
}

/* Returns what follows the number, or NULL if there is none. */
static const char *parse_decimal(const char *p, Decimal *d)
{
    bool hex, any;
    const char *end;

    while (g_ascii_isspace(*p)) {
        p++;
    }
    p += *p == '+';
    hex = p[0] == '0' && g_ascii_tolower(p[1]) == 'x' &&
          g_ascii_isxdigit(p[2]);
    any = g_ascii_isdigit(*p);
    if (any) {
        char *number_end;

        errno = 0;
        d->integer = g_ascii_strtoull(p, &number_end, hex ? 16 : 10);
        d->overflow = errno == ERANGE;
        p = number_end;
    }
    if (*p == '.' && !hex) {
        end = parse_fraction(p + 1, d);
        any |= end > p + 1;
        p = end;
    }
    return any ? p : NULL;
}

/* Returns 0 or -ERANGE. */
static int scale_decimal(const Decimal *d, uint64_t unit, uint64_t *result)
{
    Wide value = (Wide)d->integer * unit;

    value += (d->fraction * unit + d->scale / 2) / d->scale;
    if (d->overflow || value > UINT64_MAX) {
        *result = UINT64_MAX;
        return -ERANGE;
    }
    *result = value;
    return 0;
}

static int do_strtosz(const char *nptr, const char **end,
                      uint64_t default_unit, uint64_t base,
                      uint64_t *result)
{
    Decimal d = { .scale = 1 };
    const char *p = nptr ? parse_decimal(nptr, &d) : NULL;
    uint64_t unit;

    *result = 0;
    if (end) {
        *end = nptr;
    }
    if (!p) {
        return -EINVAL;
    }
    unit = suffix_unit(*p, base);
    if (unit) {
        p++;
    } else {
        unit = default_unit;
    }
    if ((d.fraction && unit == 1) || (!end && *p)) {
        return -EINVAL;
    }
    if (end) {
        *end = p;
    }
    return scale_decimal(&d, unit, result);
}

int qemu_strtosz(const char *nptr, const char **end, uint64_t *result)
{
    return do_strtosz(nptr, end, 1, 1024, result);
}

int qemu_strtosz_MiB(const char *nptr, const char **end, uint64_t *result)
{
    return do_strtosz(nptr, end, MiB, 1024, result);
}

int qemu_strtosz_metric(const char *nptr, const char **end, uint64_t *result)
{
    return do_strtosz(nptr, end, 1, 1000, result);
}
