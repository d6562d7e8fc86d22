/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-io: aio_read, aio_write, aio_flush.
 *
 * A command ends when its request is on its way; the result is printed when
 * it arrives, during a later command or at the end of the program.
 */
#include "qemu/osdep.h"
#include <getopt.h>
#include "qemu/defer-call.h"
#include "qemu-io.h"

#define PATTERN_READ  0xab
#define PATTERN_WRITE 0xcd

typedef struct AioRequest {
    BlockBackend *blk;
    IOArgs args;
    QEMUIOVector qiov;          /* not for zeroes */
    int64_t offset;
    int64_t bytes;
    BdrvRequestFlags flags;
    char *buf;                  /* NULL for zeroes */
    int64_t start_ns;
    BlockAcctCookie acct;
} AioRequest;

static void request_free(AioRequest *req)
{
    if (req->buf) {
        qemu_iovec_destroy(&req->qiov);
        qemuio_free(req->buf);
    }
    g_free(req);
}

static void write_done_cb(void *opaque, int ret)
{
    AioRequest *req = opaque;

    if (ret < 0) {
        printf("aio_write failed: %s\n", strerror(-ret));
        block_acct_failed(blk_get_stats(req->blk), &req->acct);
    } else {
        block_acct_done(blk_get_stats(req->blk), &req->acct);
        if (!req->args.quiet) {
            qemuio_report("wrote", req->start_ns, req->offset, req->bytes,
                          req->args.report_csv);
        }
    }
    request_free(req);
}

static void read_done_cb(void *opaque, int ret)
{
    AioRequest *req = opaque;

    if (ret < 0) {
        printf("readv failed: %s\n", strerror(-ret));
        block_acct_failed(blk_get_stats(req->blk), &req->acct);
        request_free(req);
        return;
    }
    block_acct_done(blk_get_stats(req->blk), &req->acct);
    if (req->args.pattern >= 0) {
        qemuio_verify(req->buf, req->bytes, req->args.pattern, req->offset);
    }
    if (!req->args.quiet) {
        if (req->args.dump) {
            qemuio_dump(req->buf, req->offset, req->bytes);
        }
        qemuio_report("read", req->start_ns, req->offset, req->bytes,
                      req->args.report_csv);
    }
    request_free(req);
}

/* -i: only the statistics are to see the request. */
static int invalid_request(AioRequest *req, enum BlockAcctType type,
                           const char *name)
{
    printf("injecting invalid %s request\n", name);
    block_acct_invalid(blk_get_stats(req->blk), type);
    request_free(req);
    return 0;
}

/* Takes @argv from optind on: "off len [len..]". */
static int parse_extent(AioRequest *req, int argc, char **argv, int pattern)
{
    req->offset = qemuio_parse_size(argv[optind++]);
    if (req->offset < 0) {
        return -EINVAL;
    }
    if (req->args.zeroes) {
        req->bytes = qemuio_parse_size(argv[optind]);
        return req->bytes < 0 ? -EINVAL : 0;
    }
    req->buf = qemuio_create_iovec(req->blk, &req->qiov, req->offset,
                                   argv + optind, argc - optind, pattern);
    if (!req->buf) {
        return -EINVAL;
    }
    qemuio_register(&req->args, req->buf, req->qiov.size);
    req->bytes = req->qiov.size;
    return 0;
}

static int aio_read_cmd(BlockBackend *blk, const QemuIOCommand *cmd,
                        int argc, char **argv)
{
    AioRequest *req = g_new0(AioRequest, 1);

    req->blk = blk;
    if (qemuio_parse_args(cmd, argc, argv, "CP:iqrv", &req->args) < 0) {
        goto fail;
    }
    if (optind > argc - 2) {
        qemuio_usage(cmd);
        goto fail;
    }
    if (parse_extent(req, argc, argv, PATTERN_READ) < 0) {
        goto fail;
    }
    if (req->args.invalid) {
        return invalid_request(req, BLOCK_ACCT_READ, "read");
    }
    req->start_ns = qemuio_now_ns();
    block_acct_start(blk_get_stats(blk), &req->acct, req->bytes,
                     BLOCK_ACCT_READ);
    defer_call_begin();
    blk_aio_preadv(blk, req->offset, &req->qiov,
                   req->args.registered ? BDRV_REQ_REGISTERED_BUF : 0,
                   read_done_cb, req);
    defer_call_end();
    return 0;

fail:
    request_free(req);
    return -EINVAL;
}

static void submit_write(AioRequest *req)
{
    req->start_ns = qemuio_now_ns();
    block_acct_start(blk_get_stats(req->blk), &req->acct, req->bytes,
                     BLOCK_ACCT_WRITE);
    defer_call_begin();
    if (req->args.zeroes) {
        blk_aio_pwrite_zeroes(req->blk, req->offset, req->bytes, req->flags,
                              write_done_cb, req);
    } else {
        blk_aio_pwritev(req->blk, req->offset, &req->qiov, req->flags,
                        write_done_cb, req);
    }
    defer_call_end();
}

static int aio_write_cmd(BlockBackend *blk, const QemuIOCommand *cmd,
                         int argc, char **argv)
{
    AioRequest *req = g_new0(AioRequest, 1);

    req->blk = blk;
    if (qemuio_parse_args(cmd, argc, argv, "CfiP:qruz", &req->args) < 0) {
        goto fail;
    }
    if (optind > argc - 2) {
        qemuio_usage(cmd);
        goto fail;
    }
    if (req->args.zeroes && optind != argc - 2) {
        printf("-z supports only a single length parameter\n");
        goto fail;
    }
    if (qemuio_write_flags(&req->args, &req->flags) < 0 ||
        parse_extent(req, argc, argv, req->args.pattern >= 0 ?
                     req->args.pattern : PATTERN_WRITE) < 0) {
        goto fail;
    }
    if (req->args.invalid) {
        return invalid_request(req, BLOCK_ACCT_WRITE, "write");
    }
    submit_write(req);
    return 0;

fail:
    request_free(req);
    return -EINVAL;
}

static int aio_flush_cmd(BlockBackend *blk, const QemuIOCommand *cmd,
                         int argc, char **argv)
{
    BlockAcctCookie cookie;

    block_acct_start(blk_get_stats(blk), &cookie, 0, BLOCK_ACCT_FLUSH);
    blk_drain_all();
    block_acct_done(blk_get_stats(blk), &cookie);
    return 0;
}

const QemuIOCommand qemuio_aio_cmds[] = {
    {
        .name = "aio_read",
        .run = aio_read_cmd,
        .argmin = 2,
        .argmax = -1,
        .args = "[-Ciqrv] [-P pattern] off len [len..]",
        .oneline = "asynchronously reads a number of bytes",
        .help =
"Starts to read one range into as many buffers as there are lengths.  The\n"
"command has succeeded when the request is on its way, whatever becomes of\n"
"it; aio_flush waits for all.\n"
"\n"
"Example:\n"
"  aio_read -v 512 1k 1k   read and dump 2 KiB at byte 512\n"
"\n"
"  -C   report in a form for programs\n"
"  -i   only count it, as an invalid request\n"
"  -P   verify that each byte read has this value\n"
"  -q   do not report\n"
"  -r   register the buffers first, for io_uring\n"
"  -v   dump what was read\n",
    },
    {
        .name = "aio_write",
        .run = aio_write_cmd,
        .argmin = 2,
        .argmax = -1,
        .perm = BLK_PERM_WRITE,
        .args = "[-Cfiqruz] [-P pattern] off len [len..]",
        .oneline = "asynchronously writes a number of bytes",
        .help =
"Starts to write one range from as many buffers as there are lengths, of\n"
"bytes 0xcd unless told otherwise.  The command has succeeded when the\n"
"request is on its way, whatever becomes of it; aio_flush waits for all.\n"
"\n"
"Example:\n"
"  aio_write 512 1k 1k   write 2 KiB at byte 512\n"
"\n"
"  -C   report in a form for programs\n"
"  -f   force unit access: on stable storage before it completes\n"
"  -i   only count it, as an invalid request\n"
"  -P   fill the buffers with this byte\n"
"  -q   do not report\n"
"  -r   register the buffers first, for io_uring\n"
"  -u   with -z: unmapping is fine\n"
"  -z   write zeroes without a buffer\n",
    },
    {
        .name = "aio_flush",
        .run = aio_flush_cmd,
        .oneline = "completes all outstanding aio requests",
    },
    { }
};
