/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-io: arguments, buffers and reports of the reading and writing commands.
 */
#include "qemu/osdep.h"
#include <getopt.h>
#include "block/aio-bufs.h"
#include "qemu/cutils.h"
#include "qemu-io.h"

/* Off by this much from the alignment that direct I/O needs. */
#define MISALIGN_OFFSET 16

bool qemuio_misalign;

int64_t qemuio_parse_size(const char *arg)
{
    uint64_t value = 0;
    int ret = qemu_strtosz(arg, NULL, &value);

    if (!ret && value > INT64_MAX) {
        ret = -ERANGE;
    }
    if (ret == -ERANGE) {
        printf("Parsing error: argument too large -- %s\n", arg);
    } else if (ret < 0) {
        printf("Parsing error: non-numeric argument, "
               "or extraneous/unrecognized suffix -- %s\n", arg);
    }
    return ret < 0 ? ret : (int64_t)value;
}

int qemuio_parse_pattern(const char *arg)
{
    long value;

    if (qemu_strtol(arg, NULL, 0, &value) || value < 0 ||
        value > UCHAR_MAX) {
        printf("%s is not a valid pattern byte\n", arg);
        return -EINVAL;
    }
    return value;
}

/* The option that is one letter and nothing else; NULL if there is none. */
static bool *flag_of(IOArgs *a, int letter)
{
    switch (letter) {
    case 'C':
        return &a->report_csv;
    case 'q':
        return &a->quiet;
    case 'v':
        return &a->dump;
    case 'b':
        return &a->vmstate;
    case 'c':
        return &a->compressed;
    case 'f':
        return &a->fua;
    case 'i':
        return &a->invalid;
    case 'n':
        return &a->no_fallback;
    case 'r':
        return &a->registered;
    case 'u':
        return &a->unmap;
    case 'z':
        return &a->zeroes;
    default:
        return NULL;
    }
}

int qemuio_parse_args(const QemuIOCommand *cmd, int argc, char **argv,
                      const char *optstring, IOArgs *a)
{
    int c;

    *a = (IOArgs) { .pattern = -1 };
    while ((c = getopt(argc, argv, optstring)) != -1) {
        bool *flag = flag_of(a, c);

        if (flag) {
            *flag = true;
            continue;
        }
        switch (c) {
        case 'p':
            /* once "use pread"; accepted and ignored */
            break;
        case 'P':
            a->pattern = qemuio_parse_pattern(optarg);
            if (a->pattern < 0) {
                return -EINVAL;
            }
            break;
        case 's':
            a->s_arg = optarg;
            break;
        case 'l':
            a->l_arg = optarg;
            break;
        default:
            return qemuio_usage(cmd);
        }
    }
    return 0;
}

int qemuio_write_flags(const IOArgs *a, BdrvRequestFlags *flags)
{
    *flags = 0;
    if (a->no_fallback && !a->zeroes) {
        printf("-n requires -z to be specified\n");
        return -EINVAL;
    }
    if (a->unmap && !a->zeroes) {
        printf("-u requires -z to be specified\n");
        return -EINVAL;
    }
    if (a->fua) {
        *flags |= BDRV_REQ_FUA;
    }
    if (a->unmap) {
        *flags |= BDRV_REQ_MAY_UNMAP;
    }
    if (a->no_fallback) {
        *flags |= BDRV_REQ_NO_FALLBACK;
    }
    if (a->registered && !a->zeroes) {
        *flags |= BDRV_REQ_REGISTERED_BUF;
    }
    return 0;
}

/* A request that leaves the image fails, whatever is in its buffer. */
static bool leaves_image(BlockBackend *blk, int64_t offset, size_t len)
{
    int64_t length = blk_getlength(blk);

    return length < 0 || offset > length || len > length - offset;
}

void *qemuio_alloc(BlockBackend *blk, int64_t offset, size_t len, int pattern)
{
    size_t room = len + (qemuio_misalign ? MISALIGN_OFFSET : 0);
    char *buf = blk_try_blockalign(blk, room);

    if (!buf) {
        printf("cannot allocate a buffer of %zu bytes\n", len);
        return NULL;
    }
    if (qemuio_misalign) {
        buf += MISALIGN_OFFSET;
    }
    if (!leaves_image(blk, offset, len)) {
        memset(buf, pattern, len);
    }
    return buf;
}

void qemuio_register(const IOArgs *a, void *buf, size_t len)
{
    if (a->registered && buf) {
        aio_register_buf(buf, len);
    }
}

void qemuio_free(void *p)
{
    aio_unregister_buf(p);
    if (p && qemuio_misalign) {
        p = (char *)p - MISALIGN_OFFSET;
    }
    qemu_vfree(p);
}

/* Double what is there until the buffer is full. */
static void repeat_head(char *buf, size_t head, size_t len)
{
    while (head < len) {
        size_t n = MIN(head, len - head);

        memcpy(buf + head, buf, n);
        head += n;
    }
}

void *qemuio_alloc_from_file(BlockBackend *blk, int64_t offset, size_t len,
                             const char *path)
{
    char *buf = NULL;
    size_t got;
    FILE *f = fopen(path, "rb");

    if (!f) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return NULL;
    }
    buf = qemuio_alloc(blk, offset, len, 0);
    if (!buf) {
        goto out;
    }
    got = fread(buf, 1, len, f);
    if (ferror(f)) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        goto fail;
    }
    if (got == 0) {
        fprintf(stderr, "%s: file is empty\n", path);
        goto fail;
    }
    if (!leaves_image(blk, offset, len)) {
        repeat_head(buf, got, len);
    }
    goto out;

fail:
    qemuio_free(buf);
    buf = NULL;
out:
    fclose(f);
    return buf;
}

void *qemuio_create_iovec(BlockBackend *blk, QEMUIOVector *qiov,
                          int64_t offset, char **argv, int nr, int pattern)
{
    g_autofree size_t *sizes = g_new0(size_t, nr);
    size_t count = 0;
    char *buf, *p;
    int i;

    for (i = 0; i < nr; i++) {
        int64_t len = qemuio_parse_size(argv[i]);

        if (len < 0) {
            return NULL;
        }
        if (len > BDRV_REQUEST_MAX_BYTES) {
            printf("Argument '%s' exceeds maximum size %" PRId64 "\n",
                   argv[i], BDRV_REQUEST_MAX_BYTES);
            return NULL;
        }
        if (count > BDRV_REQUEST_MAX_BYTES - len) {
            printf("The total number of bytes exceed the maximum size %"
                   PRId64 "\n", BDRV_REQUEST_MAX_BYTES);
            return NULL;
        }
        sizes[i] = len;
        count += len;
    }
    buf = p = qemuio_alloc(blk, offset, count, pattern);
    if (buf) {
        qemu_iovec_init(qiov, nr);
        for (i = 0; i < nr; i++) {
            qemu_iovec_add(qiov, p, sizes[i]);
            p += sizes[i];
        }
    }
    return buf;
}

bool qemuio_verify(const void *buf, size_t len, int pattern, int64_t offset)
{
    const unsigned char *p = buf;

    /* All bytes equal the first one, and that is the right one. */
    if (len && (p[0] != pattern || memcmp(p, p + 1, len - 1))) {
        printf("Pattern verification failed at offset %" PRId64
               ", %zu bytes\n", offset, len);
        return false;
    }
    return true;
}

void qemuio_dump(const void *buf, int64_t offset, int64_t len)
{
    const unsigned char *p = buf;
    int64_t i;
    int j;

    for (i = 0; i < len; i += 16) {
        int n = MIN(len - i, 16);

        printf("%08" PRIx64 ":  ", offset + i);
        for (j = 0; j < n; j++) {
            printf("%02x ", p[i + j]);
        }
        putchar(' ');
        for (j = 0; j < n; j++) {
            putchar(isalnum(p[i + j]) ? p[i + j] : '.');
        }
        putchar('\n');
    }
}

char *qemuio_size_str(double value)
{
    static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB",
                                         "EiB" };
    const char *unit = "bytes";
    g_autofree char *str = NULL;
    char *zeroes;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(units) && value >= 1024; i++) {
        value /= 1024;
        unit = units[i];
    }
    str = g_strdup_printf(i ? "%.3f" : "%f", value);
    zeroes = strstr(str, ".000");
    if (zeroes) {
        *zeroes = '\0';
    }
    return g_strdup_printf("%s %s", str, unit);
}

int64_t qemuio_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * NANOSECONDS_PER_SECOND + ts.tv_nsec;
}

/* "00.12", or with hours, minutes and seconds if there are any. */
static char *time_str(int64_t ns, bool verbose)
{
    int64_t sec = ns / NANOSECONDS_PER_SECOND;
    int hundredths = ns % NANOSECONDS_PER_SECOND / 10000000;

    if (sec || verbose) {
        return g_strdup_printf("%" PRId64 ":%02d:%02d.%02d", sec / 3600,
                               (int)(sec / 60 % 60), (int)(sec % 60),
                               hundredths);
    }
    return g_strdup_printf("00.%02d", hundredths);
}

void qemuio_report(const char *op, int64_t start_ns, int64_t offset,
                   int64_t count, bool csv)
{
    int64_t ns = MAX(qemuio_now_ns() - start_ns, 1);
    double per_second = NANOSECONDS_PER_SECOND / (double)ns;
    g_autofree char *time = time_str(ns, csv);

    if (csv) {
        printf("%" PRId64 ",1,%s,%.3f,%.3f\n", count, time,
               count * per_second, per_second);
    } else {
        g_autofree char *amount = qemuio_size_str(count);
        g_autofree char *rate = qemuio_size_str(count * per_second);

        printf("%s %" PRId64 "/%" PRId64 " bytes at offset %" PRId64 "\n",
               op, count, count, offset);
        printf("%s, 1 ops; %s sec (%s/sec and %.4f ops/sec)\n",
               amount, time, rate, per_second);
    }
}
