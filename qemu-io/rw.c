/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-io: read, write, readv, writev, discard.  Each waits for its request.
 */
#include "qemu/osdep.h"
#include <getopt.h>
#include "qemu-io.h"

#define PATTERN_READ  0xab      /* what a buffer has before a read */
#define PATTERN_WRITE 0xcd

/* Print what went wrong with @op; returns @ret. */
static int report_failure(const char *op, int ret)
{
    printf("%s failed: %s\n", op, strerror(-ret));
    return ret;
}

/* The VM state, which -b asks for, has sectors. */
static int check_vmstate_alignment(int64_t offset, int64_t count)
{
    if (!QEMU_IS_ALIGNED(offset, BDRV_SECTOR_SIZE)) {
        printf("%" PRId64 " is not a sector-aligned value for 'offset'\n",
               offset);
        return -EINVAL;
    }
    if (!QEMU_IS_ALIGNED(count, BDRV_SECTOR_SIZE)) {
        printf("%" PRId64 " is not a sector-aligned value for 'count'\n",
               count);
        return -EINVAL;
    }
    return 0;
}

/* The two arguments "off len"; @max 0: no limit on len. */
static int parse_range(char **argv, int64_t max, const char *hint,
                       int64_t *offset, int64_t *count)
{
    *offset = qemuio_parse_size(argv[0]);
    if (*offset < 0) {
        return -EINVAL;
    }
    *count = qemuio_parse_size(argv[1]);
    if (*count < 0) {
        return -EINVAL;
    }
    if (max && *count > max) {
        printf("length cannot exceed %" PRId64 "%s, given %s\n",
               max, hint, argv[1]);
        return -EINVAL;
    }
    return 0;
}

/* --- read --- */

typedef struct VerifyRange {
    int64_t offset;             /* from the start of the buffer */
    int64_t len;
} VerifyRange;

static int parse_verify_range(const QemuIOCommand *cmd, const IOArgs *a,
                              int64_t count, VerifyRange *range)
{
    if (a->pattern < 0 && (a->s_arg || a->l_arg)) {
        return qemuio_usage(cmd);
    }
    range->offset = 0;
    if (a->s_arg) {
        range->offset = qemuio_parse_size(a->s_arg);
        if (range->offset < 0) {
            return -EINVAL;
        }
    }
    range->len = count - range->offset;
    if (a->l_arg) {
        range->len = qemuio_parse_size(a->l_arg);
        if (range->len < 0) {
            return -EINVAL;
        }
    }
    if (range->len < 0 || range->len > count - range->offset) {
        printf("pattern verification range exceeds end of read data\n");
        return -EINVAL;
    }
    return 0;
}

static int do_read(BlockBackend *blk, const IOArgs *a, int64_t offset,
                   int64_t count, const VerifyRange *range, char *buf)
{
    BdrvRequestFlags flags = a->registered ? BDRV_REQ_REGISTERED_BUF : 0;
    int64_t start = qemuio_now_ns();
    int ret = 0;

    if (a->vmstate) {
        /* no format of this program stores one */
        return report_failure("read", -ENOTSUP);
    }
    ret = blk_pread(blk, offset, count, buf, flags);
    if (ret < 0) {
        return report_failure("read", ret);
    }
    ret = 0;
    if (a->pattern >= 0 &&
        !qemuio_verify(buf + range->offset, range->len, a->pattern,
                       offset + range->offset)) {
        ret = -EINVAL;
    }
    if (a->quiet) {
        return ret;
    }
    if (a->dump) {
        qemuio_dump(buf, offset, count);
    }
    qemuio_report("read", start, offset, count, a->report_csv);
    return ret;
}

static int read_cmd(BlockBackend *blk, const QemuIOCommand *cmd,
                    int argc, char **argv)
{
    IOArgs a;
    VerifyRange range = { 0, 0 };
    int64_t offset, count;
    char *buf;
    int ret;

    ret = qemuio_parse_args(cmd, argc, argv, "bCl:pP:qrs:v", &a);
    if (ret < 0) {
        return ret;
    }
    if (optind != argc - 2) {
        return qemuio_usage(cmd);
    }
    ret = parse_range(argv + optind, BDRV_REQUEST_MAX_BYTES, "",
                      &offset, &count);
    if (ret == 0) {
        ret = parse_verify_range(cmd, &a, count, &range);
    }
    if (ret == 0 && a.vmstate) {
        ret = check_vmstate_alignment(offset, count);
    }
    if (ret < 0) {
        return ret;
    }
    buf = qemuio_alloc(blk, offset, count, PATTERN_READ);
    if (!buf) {
        return -ENOMEM;
    }
    qemuio_register(&a, buf, count);
    ret = do_read(blk, &a, offset, count, &range, buf);
    qemuio_free(buf);
    return ret;
}

/* --- write --- */

static int check_write_args(const IOArgs *a, BdrvRequestFlags *flags)
{
    int ret;

    if (a->vmstate && a->zeroes) {
        printf("-b and -z cannot be specified at the same time\n");
        return -EINVAL;
    }
    if (a->fua && (a->vmstate || a->compressed)) {
        printf("-f and -b or -c cannot be specified at the same time\n");
        return -EINVAL;
    }
    ret = qemuio_write_flags(a, flags);
    if (ret < 0) {
        return ret;
    }
    if (a->zeroes + (a->pattern >= 0) + (a->s_arg != NULL) > 1) {
        printf("Only one of -z, -P, and -s can be specified at the same "
               "time\n");
        return -EINVAL;
    }
    return 0;
}

static int do_write(BlockBackend *blk, const IOArgs *a, int64_t offset,
                    int64_t count, void *buf, BdrvRequestFlags flags)
{
    int64_t start = qemuio_now_ns();
    int ret;

    if (a->vmstate) {
        ret = -ENOTSUP;
    } else if (a->zeroes) {
        ret = blk_pwrite_zeroes(blk, offset, count, flags);
    } else if (a->compressed) {
        ret = blk_pwrite_compressed(blk, offset, count, buf);
    } else {
        ret = blk_pwrite(blk, offset, count, buf, flags);
    }
    if (ret < 0) {
        return report_failure("write", ret);
    }
    if (!a->quiet) {
        qemuio_report("wrote", start, offset, count, a->report_csv);
    }
    return 0;
}

static int write_cmd(BlockBackend *blk, const QemuIOCommand *cmd,
                     int argc, char **argv)
{
    IOArgs a;
    BdrvRequestFlags flags;
    int64_t offset, count;
    char *buf = NULL;
    int ret;

    ret = qemuio_parse_args(cmd, argc, argv, "bcCfnpP:qrs:uz", &a);
    if (ret < 0) {
        return ret;
    }
    if (optind != argc - 2) {
        return qemuio_usage(cmd);
    }
    ret = check_write_args(&a, &flags);
    if (ret == 0) {
        ret = parse_range(argv + optind,
                          a.no_fallback ? 0 : BDRV_REQUEST_MAX_BYTES,
                          " without -n", &offset, &count);
    }
    if (ret == 0 && (a.vmstate || a.compressed)) {
        ret = check_vmstate_alignment(offset, count);
    }
    if (ret < 0) {
        return ret;
    }
    if (!a.zeroes) {
        buf = a.s_arg ?
              qemuio_alloc_from_file(blk, offset, count, a.s_arg) :
              qemuio_alloc(blk, offset, count, a.pattern >= 0 ? a.pattern :
                           PATTERN_WRITE);
        if (!buf) {
            return -EINVAL;
        }
        qemuio_register(&a, buf, count);
    }
    ret = do_write(blk, &a, offset, count, buf, flags);
    qemuio_free(buf);
    return ret;
}

/* --- readv, writev --- */

static int readv_cmd(BlockBackend *blk, const QemuIOCommand *cmd,
                     int argc, char **argv)
{
    IOArgs a;
    QEMUIOVector qiov;
    int64_t offset, start;
    char *buf;
    int ret;

    ret = qemuio_parse_args(cmd, argc, argv, "CP:qrv", &a);
    if (ret < 0) {
        return ret;
    }
    if (optind > argc - 2) {
        return qemuio_usage(cmd);
    }
    offset = qemuio_parse_size(argv[optind++]);
    if (offset < 0) {
        return -EINVAL;
    }
    buf = qemuio_create_iovec(blk, &qiov, offset, argv + optind,
                              argc - optind, PATTERN_READ);
    if (!buf) {
        return -EINVAL;
    }
    qemuio_register(&a, buf, qiov.size);
    start = qemuio_now_ns();
    ret = blk_preadv(blk, offset, qiov.size, &qiov,
                     a.registered ? BDRV_REQ_REGISTERED_BUF : 0);
    if (ret < 0) {
        report_failure("readv", ret);
        goto out;
    }
    ret = a.pattern < 0 ||
          qemuio_verify(buf, qiov.size, a.pattern, offset) ? 0 : -EINVAL;
    if (!a.quiet) {
        if (a.dump) {
            qemuio_dump(buf, offset, qiov.size);
        }
        qemuio_report("read", start, offset, qiov.size, a.report_csv);
    }
out:
    qemu_iovec_destroy(&qiov);
    qemuio_free(buf);
    return ret;
}

static int writev_cmd(BlockBackend *blk, const QemuIOCommand *cmd,
                      int argc, char **argv)
{
    IOArgs a;
    QEMUIOVector qiov;
    BdrvRequestFlags flags;
    int64_t offset, start;
    char *buf;
    int ret;

    ret = qemuio_parse_args(cmd, argc, argv, "CfP:qr", &a);
    if (ret == 0) {
        ret = qemuio_write_flags(&a, &flags);
    }
    if (ret < 0) {
        return ret;
    }
    if (optind > argc - 2) {
        return qemuio_usage(cmd);
    }
    offset = qemuio_parse_size(argv[optind++]);
    if (offset < 0) {
        return -EINVAL;
    }
    buf = qemuio_create_iovec(blk, &qiov, offset, argv + optind,
                              argc - optind, a.pattern >= 0 ? a.pattern :
                              PATTERN_WRITE);
    if (!buf) {
        return -EINVAL;
    }
    qemuio_register(&a, buf, qiov.size);
    start = qemuio_now_ns();
    ret = blk_pwritev(blk, offset, qiov.size, &qiov, flags);
    if (ret < 0) {
        report_failure("writev", ret);
    } else if (!a.quiet) {
        qemuio_report("wrote", start, offset, qiov.size, a.report_csv);
    }
    qemu_iovec_destroy(&qiov);
    qemuio_free(buf);
    return MIN(ret, 0);
}

static int discard_cmd(BlockBackend *blk, const QemuIOCommand *cmd,
                       int argc, char **argv)
{
    IOArgs a;
    int64_t offset, count, start;
    int ret;

    ret = qemuio_parse_args(cmd, argc, argv, "Cq", &a);
    if (ret < 0) {
        return ret;
    }
    if (optind != argc - 2) {
        return qemuio_usage(cmd);
    }
    ret = parse_range(argv + optind, BDRV_REQUEST_MAX_BYTES, "",
                      &offset, &count);
    if (ret < 0) {
        return ret;
    }
    start = qemuio_now_ns();
    ret = blk_pdiscard(blk, offset, count);
    if (ret < 0) {
        return report_failure("discard", ret);
    }
    if (!a.quiet) {
        qemuio_report("discard", start, offset, count, a.report_csv);
    }
    return 0;
}

const QemuIOCommand qemuio_rw_cmds[] = {
    {
        .name = "read",
        .alias = "r",
        .run = read_cmd,
        .argmin = 2,
        .argmax = -1,
        .args = "[-bCqrv] [-P pattern [-s off] [-l len]] off len",
        .oneline = "reads a number of bytes at a specified offset",
        .help =
"Reads one range into one buffer, and dumps it if -v is given.\n"
"\n"
"Example:\n"
"  read -v 512 1k   read and dump 1 KiB at byte 512\n"
"\n"
"  -b   read the VM state, which no format of this version has\n"
"  -C   report in a form for programs\n"
"  -l   with -P: how many bytes to verify\n"
"  -p   ignored, for old scripts\n"
"  -P   verify that each byte read has this value\n"
"  -q   do not report\n"
"  -r   register the buffers first, for io_uring\n"
"  -s   with -P: verify from this offset of the data on\n"
"  -v   dump what was read\n",
    },
    {
        .name = "write",
        .alias = "w",
        .run = write_cmd,
        .argmin = 2,
        .argmax = -1,
        .perm = BLK_PERM_WRITE,
        .args = "[-bcCfnqruz] [-P pattern | -s source_file] off len",
        .oneline = "writes a number of bytes at a specified offset",
        .help =
"Writes one range from one buffer, of bytes 0xcd unless told otherwise.\n"
"\n"
"Example:\n"
"  write 512 1k   write 1 KiB at byte 512\n"
"\n"
"  -b   write the VM state, which no format of this version has\n"
"  -c   write compressed\n"
"  -C   report in a form for programs\n"
"  -f   force unit access: on stable storage before it completes\n"
"  -n   with -z: fail rather than write the zeroes slowly\n"
"  -p   ignored, for old scripts\n"
"  -P   fill the buffer with this byte\n"
"  -q   do not report\n"
"  -r   register the buffers first, for io_uring\n"
"  -s   fill the buffer from this file\n"
"  -u   with -z: unmapping is fine\n"
"  -z   write zeroes without a buffer\n",
    },
    {
        .name = "readv",
        .alias = "rv",
        .run = readv_cmd,
        .argmin = 2,
        .argmax = -1,
        .args = "[-Cqrv] [-P pattern] off len [len..]",
        .oneline = "reads a number of bytes at a specified offset",
        .help =
"Reads one range into as many buffers as there are lengths.\n"
"\n"
"Example:\n"
"  readv -v 512 1k 1k   read and dump 2 KiB at byte 512\n"
"\n"
"  -C   report in a form for programs\n"
"  -P   verify that each byte read has this value\n"
"  -q   do not report\n"
"  -r   register the buffers first, for io_uring\n"
"  -v   dump what was read\n",
    },
    {
        .name = "writev",
        .alias = "wv",
        .run = writev_cmd,
        .argmin = 2,
        .argmax = -1,
        .perm = BLK_PERM_WRITE,
        .args = "[-Cfqr] [-P pattern] off len [len..]",
        .oneline = "writes a number of bytes at a specified offset",
        .help =
"Writes one range from as many buffers as there are lengths, of bytes 0xcd\n"
"unless told otherwise.\n"
"\n"
"Example:\n"
"  writev 512 1k 1k   write 2 KiB at byte 512\n"
"\n"
"  -C   report in a form for programs\n"
"  -f   force unit access: on stable storage before it completes\n"
"  -P   fill the buffers with this byte\n"
"  -q   do not report\n"
"  -r   register the buffers first, for io_uring\n",
    },
    {
        .name = "discard",
        .alias = "d",
        .run = discard_cmd,
        .argmin = 2,
        .argmax = -1,
        .perm = BLK_PERM_WRITE,
        .args = "[-Cq] off len",
        .oneline = "discards a number of bytes at a specified offset",
        .help =
"Says that a range is not needed any more.\n"
"\n"
"Example:\n"
"  discard 512 1k   discard 1 KiB at byte 512\n"
"\n"
"  -C   report in a form for programs\n"
"  -q   do not report\n",
    },
    { }
};
