/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Strings, numbers, and paths.
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"

void pstrcpy(char *buf, int buf_size, const char *str)
{
    if (buf_size > 0) {
        g_strlcpy(buf, str, buf_size);
    }
}

char *pstrcat(char *buf, int buf_size, const char *s)
{
    int len = strlen(buf);

    if (len < buf_size) {
        pstrcpy(buf + len, buf_size - len, s);
    }
    return buf;
}

int strstart(const char *str, const char *val, const char **ptr)
{
    size_t len = strlen(val);

    if (strncmp(str, val, len)) {
        return 0;
    }
    if (ptr) {
        *ptr = str + len;
    }
    return 1;
}

int stristart(const char *str, const char *val, const char **ptr)
{
    size_t len = strlen(val);

    if (g_ascii_strncasecmp(str, val, len)) {
        return 0;
    }
    if (ptr) {
        *ptr = str + len;
    }
    return 1;
}

/*
 * What all qemu_strto*() do after strto*() has set @ep and errno: 0, -EINVAL
 * or -ERANGE as documented in the header.
 */
static int check_strto(const char *nptr, char *ep, const char **endptr)
{
    int libc_errno = errno;

    if (endptr) {
        *endptr = ep;
    }
    if (ep == nptr || (!endptr && *ep)) {
        return -EINVAL;
    }
    return libc_errno == ERANGE ? -ERANGE : 0;
}

/* NULL is no number; strto*() would crash. */
static bool strto_no_string(const char *nptr, const char **endptr)
{
    if (!nptr && endptr) {
        *endptr = nptr;
    }
    return !nptr;
}

int qemu_strtol(const char *nptr, const char **endptr, int base,
                long *result)
{
    char *ep;

    *result = 0;
    if (strto_no_string(nptr, endptr)) {
        return -EINVAL;
    }
    errno = 0;
    *result = strtol(nptr, &ep, base);
    return check_strto(nptr, ep, endptr);
}

int qemu_strtoul(const char *nptr, const char **endptr, int base,
                 unsigned long *result)
{
    char *ep;

    *result = 0;
    if (strto_no_string(nptr, endptr)) {
        return -EINVAL;
    }
    errno = 0;
    *result = strtoul(nptr, &ep, base);
    return check_strto(nptr, ep, endptr);
}

int qemu_strtoi64(const char *nptr, const char **endptr, int base,
                  int64_t *result)
{
    char *ep;

    *result = 0;
    if (strto_no_string(nptr, endptr)) {
        return -EINVAL;
    }
    errno = 0;
    *result = strtoll(nptr, &ep, base);
    return check_strto(nptr, ep, endptr);
}

int qemu_strtou64(const char *nptr, const char **endptr, int base,
                  uint64_t *result)
{
    char *ep;

    *result = 0;
    if (strto_no_string(nptr, endptr)) {
        return -EINVAL;
    }
    errno = 0;
    *result = strtoull(nptr, &ep, base);
    return check_strto(nptr, ep, endptr);
}

int qemu_strtoi(const char *nptr, const char **endptr, int base,
                int *result)
{
    int64_t wide;
    int ret = qemu_strtoi64(nptr, endptr, base, &wide);

    *result = wide < INT_MIN ? INT_MIN : MIN(wide, INT_MAX);
    return ret == 0 && *result != wide ? -ERANGE : ret;
}

int qemu_strtoui(const char *nptr, const char **endptr, int base,
                 unsigned int *result)
{
    int64_t wide;
    int ret = qemu_strtoi64(nptr, endptr, base, &wide);

    /* A negative number counts from the end of the type, as in strtoul(). */
    if (wide > UINT_MAX || wide < -(int64_t)UINT_MAX) {
        *result = UINT_MAX;
        return ret == 0 ? -ERANGE : ret;
    }
    *result = wide;
    return ret;
}

int parse_uint(const char *s, const char **endptr, int base, uint64_t *value)
{
    const char *p = s;

    while (p && g_ascii_isspace(*p)) {
        p++;
    }
    if (p && *p == '-') {
        *value = 0;
        if (endptr) {
            *endptr = s;
        }
        return -EINVAL;
    }
    return qemu_strtou64(s, endptr, base, value);
}

int parse_uint_full(const char *s, int base, uint64_t *value)
{
    int ret = parse_uint(s, NULL, base, value);

    if (ret == -EINVAL) {
        *value = 0;
    }
    return ret;
}

char *size_to_str(uint64_t val)
{
    static const char *const units[] = {
        "", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
    };
    double value = val;
    size_t i = 0;

    /* From here on, three digits would round to 1000. */
    while (value >= 999.5) {
        value /= 1024;
        i++;
    }
    return g_strdup_printf("%.3g %sB", value, units[i]);
}

/* One line of a dump: up to 16 bytes in hex, then as text. */
static void hexdump_line(GString *line, const uint8_t *buf, size_t len)
{
    size_t i;

    for (i = 0; i < 16; i++) {
        g_string_append(line, i && i % 4 == 0 ? "  " : " ");
        if (i < len) {
            g_string_append_printf(line, "%02x", buf[i]);
        } else {
            g_string_append(line, "  ");
        }
    }
    g_string_append(line, "   ");
    for (i = 0; i < len; i++) {
        g_string_append_c(line, g_ascii_isprint(buf[i]) ? buf[i] : '.');
    }
}

void qemu_hexdump(FILE *fp, const char *prefix, const void *bufptr,
                  size_t size)
{
    g_autoptr(GString) line = g_string_new(NULL);
    const uint8_t *buf = bufptr;
    size_t offset;

    for (offset = 0; offset < size; offset += 16) {
        g_string_truncate(line, 0);
        hexdump_line(line, buf + offset, MIN(size - offset, 16));
        fprintf(fp, "%s: %04zx:%s\n", prefix, offset, line->str);
    }
}

int path_is_absolute(const char *path)
{
    return path[0] == '/';
}

int path_has_protocol(const char *path)
{
    return path[strcspn(path, ":/")] == ':';
}

char *path_combine(const char *base_path, const char *filename)
{
    const char *folder_end, *slash;

    if (path_is_absolute(filename)) {
        return g_strdup(filename);
    }
    folder_end = base_path;
    if (path_has_protocol(base_path)) {
        folder_end = strchr(base_path, ':') + 1;
    }
    slash = strrchr(folder_end, '/');
    if (slash) {
        folder_end = slash + 1;
    }
    return g_strdup_printf("%.*s%s", (int)(folder_end - base_path),
                           base_path, filename);
}
