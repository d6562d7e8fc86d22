/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz target: VMDK images and descriptors of others.  Opened to read, looked
 * at in every way, then opened to write.  Whatever is in them, nothing
 * crashes, a failure has one clear line, what a write has put somewhere is
 * what a read finds there, writing leaves a sound image sound, and a repair
 * does not change what is on the disk.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "fuzz.h"
#include "vmdk-input.h"
#include <json-c/json.h>

#define IMAGE "x.vmdk"
#define EXTENT "e.vmdk"
#define MAX_RUNS 64             /* of one kind, that are looked at */
#define CHUNK (64 * KiB)
#define MAX_TEXT (64 * KiB)
#define MAX_CONTENT (256 * KiB)     /* that is compared */
#define UNREADABLE 0xee

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_init(argc, argv);
    return 0;
}

/* --- the files of an input --- */

static void put_descriptor(const char *type, const char *extent)
{
    g_autofree char *text = g_strdup_printf(
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
        "createType=\"%s\"\nRW 512 %s \"" EXTENT "\"\n", type, extent);

    fuzz_put(IMAGE, text, strlen(text));
}

/* What a descriptor can name, if @data does. */
static void put_neighbours(const uint8_t *data, size_t size)
{
    g_autofree uint8_t *flat = g_malloc(CHUNK);

    if (memmem(data, size, "flat.img", 8)) {
        memset(flat, 'F', CHUNK);
        fuzz_put("flat.img", flat, CHUNK);
    }
    if (memmem(data, size, "sparse.vmdk", 11)) {
        fuzz_put_image("sparse.vmdk", "vmdk", "size=1M,zeroed_grain=on");
    }
    if (memmem(data, size, "stream.vmdk", 11)) {
        fuzz_put_image("stream.vmdk", "vmdk",
                       "size=1M,subformat=streamOptimized");
    }
}

static void put_files(const uint8_t *data, size_t size)
{
    VmdkInputKind kind = vmdk_input_kind(data, size);
    GByteArray *file;

    put_neighbours(data, size);
    if (kind == VMDK_INPUT_TEXT) {
        fuzz_put(IMAGE, data + 1, MIN(size - 1, MAX_TEXT));
        return;
    }
    if (kind != VMDK_INPUT_IMAGE) {
        put_descriptor(kind == VMDK_INPUT_EXTENT ? "twoGbMaxExtentSparse"
                                                 : "vmfsSparse",
                       kind == VMDK_INPUT_EXTENT ? "SPARSE" : "VMFSSPARSE");
    }
    file = vmdk_input_unpack(data, size);
    fuzz_put(kind == VMDK_INPUT_IMAGE ? IMAGE : EXTENT, file->data,
             file->len);
    g_byte_array_unref(file);
}

/* --- requests --- */

static BlockBackend *open_image(const char *driver, int flags)
{
    Error *err = NULL;
    QOpts *opts = qopts_new();
    BlockBackend *blk;

    if (driver) {
        qopts_set_str(opts, "driver", driver);
    }
    blk = blk_new_open(IMAGE, NULL, opts, flags, &err);
    if (!blk) {
        /* What a descriptor says may be quoted, whatever it is. */
        fuzz_check_error(err, "(null)\n");
    }
    return blk;
}

/* Borders of the disk and of what grains and tables are likely to be. */
static int64_t place(int64_t length, int n)
{
    const int64_t places[] = {
        0, 513, 64 * KiB - 512, 64 * KiB, 128 * KiB - 1, length / 2,
        32 * MiB - 512, length - 64 * KiB, length - 512,
    };

    return CLAMP(places[n % ARRAY_SIZE(places)], 0, MAX(length - 1, 0));
}

static void read_places(BlockBackend *blk, int64_t length)
{
    g_autofree uint8_t *buf = g_malloc(CHUNK);
    int i;

    for (i = 0; i < 9 && length; i++) {
        int64_t offset = place(length, i);

        blk_pread(blk, offset, MIN(CHUNK, length - offset), buf, 0);
    }
}

static void map_runs(BlockBackend *blk, int64_t length)
{
    int64_t offset = 0;
    int64_t count;
    int i;

    for (i = 0; i < MAX_RUNS && offset < length; i++) {
        if (bdrv_is_allocated(blk_bs(blk), offset, length - offset,
                              &count) < 0) {
            count = 64 * KiB;
        }
        if (count <= 0 || count > length - offset) {
            if (offset + 64 * KiB < length) {
                abort();
            }
            break;
        }
        offset += count;
    }
}

static void look_at(BlockBackend *blk)
{
    BlockDriverInfo bdi;
    Error *err = NULL;
    struct json_object *info;

    bdrv_get_info(blk_bs(blk), &bdi);
    bdrv_get_allocated_file_size(blk_bs(blk));
    info = bdrv_get_specific_info(blk_bs(blk), &err);
    if (err) {
        fuzz_check_error(err, "(null)\n");
    } else if (info) {
        printf("%s\n", json_object_to_json_string(info));
        json_object_put(info);
    }
}

/* True if nothing is wrong with the image. */
static bool check(BlockBackend *blk, BdrvCheckMode fix)
{
    BdrvCheckResult result = { 0 };
    int ret = bdrv_check(blk_bs(blk), &result, fix);

    if (ret == 0) {
        printf("%d corruptions\n", result.corruptions);
    }
    return ret == 0 && !result.corruptions && !result.check_errors;
}

static void read_image(void)
{
    BlockBackend *blk = open_image("vmdk", BDRV_O_CHECK);
    int64_t length;

    if (!blk) {
        return;
    }
    length = blk_getlength(blk);
    if (length < 0) {
        abort();
    }
    look_at(blk);
    read_places(blk, length);
    map_runs(blk, length);
    check(blk, 0);
    blk_unref(blk);
}

/*
 * What was just written is there: at most a sector, which no two entries of
 * a damaged table can both be the place of.
 */
static void write_and_read(BlockBackend *blk, int64_t offset, int64_t bytes,
                           uint8_t pattern)
{
    uint8_t out[512], in[512];

    memset(out, pattern, bytes);
    if (blk_pwrite(blk, offset, bytes, out, 0) < 0) {
        return;
    }
    if (blk_pread(blk, offset, bytes, in, 0) < 0 || memcmp(in, out, bytes)) {
        g_printerr("fuzz: what was written at %" PRId64 " is not there\n",
                   offset);
        abort();
    }
}

/* How many places are written to: large grains are written as a whole. */
static int write_count(BlockBackend *blk)
{
    BlockDriverInfo bdi = { 0 };

    bdrv_get_info(blk_bs(blk), &bdi);
    return bdi.cluster_size <= 256 * KiB ? 9
           : bdi.cluster_size <= 16 * MiB ? 2 : 1;
}

static void write_places(BlockBackend *blk, int64_t length)
{
    g_autofree uint8_t *buf = g_malloc0(CHUNK);
    int count = write_count(blk);
    int i;

    for (i = 0; i < count && length; i++) {
        int64_t offset = place(length, i);
        int64_t bytes = MIN(CHUNK, length - offset);

        write_and_read(blk, offset, MIN(bytes, 512 - offset % 512), i + 1);
        if (i % 3 == 0) {
            blk_pwrite(blk, offset, bytes, buf, 0);
        } else if (i % 3 == 1) {
            blk_pwrite_zeroes(blk, offset, bytes, BDRV_REQ_MAY_UNMAP);
        } else {
            blk_pdiscard(blk, offset, bytes);
        }
    }
    blk_flush(blk);
}

static void ignore_result(void *opaque, int ret)
{
}

/* All at once: allocations that overlap, and reads of what is being filled. */
static void write_concurrently(BlockBackend *blk, int64_t length)
{
    g_autofree uint8_t *buf = g_malloc0(CHUNK);
    g_autofree uint8_t *in = g_malloc(CHUNK);
    QEMUIOVector qiovs[18];
    int count = write_count(blk);
    int i;

    for (i = 0; i < count && length; i++) {
        int64_t offset = place(length, i);
        int64_t bytes = MIN(CHUNK, length - offset);

        qemu_iovec_init_buf(&qiovs[2 * i], buf, MIN(bytes, 5000));
        blk_aio_pwritev(blk, offset, &qiovs[2 * i], 0, ignore_result, NULL);
        blk_aio_pwrite_zeroes(blk, offset, bytes, 0, ignore_result, NULL);
        qemu_iovec_init_buf(&qiovs[2 * i + 1], in, bytes);
        blk_aio_preadv(blk, offset, &qiovs[2 * i + 1], 0, ignore_result,
                       NULL);
    }
    blk_aio_flush(blk, ignore_result, NULL);
    blk_drain(blk);
}

static void write_image(void)
{
    BlockBackend *blk = open_image("vmdk", BDRV_O_RDWR | BDRV_O_CHECK);
    int64_t length;
    bool sound;

    if (!blk) {
        return;
    }
    length = blk_getlength(blk);
    sound = check(blk, 0);
    write_concurrently(blk, length);
    write_places(blk, length);
    read_places(blk, length);
    if (!check(blk, 0) && sound) {
        g_printerr("fuzz: writing has damaged the image\n");
        abort();
    }
    blk_unref(blk);
    read_image();
}

/* Sector by sector if need be, with UNREADABLE in what cannot be read. */
static void read_pieces(BlockBackend *blk, int64_t offset, int64_t bytes,
                        uint8_t *buf)
{
    int64_t i, n;

    if (blk_pread(blk, offset, bytes, buf, 0) == 0) {
        return;
    }
    for (i = 0; i < bytes; i += n) {
        n = MIN(bytes - i, 512);
        if (blk_pread(blk, offset + i, n, buf + i, 0) < 0) {
            memset(buf + i, UNREADABLE, n);
        }
    }
}

/* What the disk has, as far as it can be read; NULL if it does not open. */
static uint8_t *content(int64_t *bytes)
{
    BlockBackend *blk = open_image("vmdk", BDRV_O_CHECK);
    uint8_t *buf;
    int64_t i;

    if (!blk) {
        return NULL;
    }
    *bytes = MIN(blk_getlength(blk), MAX_CONTENT);
    buf = g_malloc0(*bytes + 1);
    for (i = 0; i < *bytes; i += 4096) {
        read_pieces(blk, i, MIN(4096, *bytes - i), buf + i);
    }
    blk_unref(blk);
    return buf;
}

/* @lost: what could not be read may be anything now. */
static void expect_same(const uint8_t *before, int64_t size_before,
                        const uint8_t *after, int64_t size_after,
                        bool lost, const char *what)
{
    int64_t i = 0;

    if (after && size_before == size_after) {
        while (i < size_before
               && (before[i] == after[i]
                   || (lost && before[i] == UNREADABLE))) {
            i++;
        }
        if (i == size_before) {
            return;
        }
    }
    g_printerr("fuzz: %s changed the disk at %" PRId64 "\n", what, i);
    abort();
}

/* Repairing an image does not change what can be read of the disk. */
static void repair_image(void)
{
    int64_t size_before, size_after;
    g_autofree uint8_t *before = content(&size_before);
    g_autofree uint8_t *after = NULL;
    BlockBackend *blk;

    if (!before) {
        return;
    }
    blk = open_image("vmdk", BDRV_O_RDWR | BDRV_O_CHECK);
    if (!blk) {
        return;
    }
    check(blk, BDRV_FIX_ERRORS | BDRV_FIX_LEAKS);
    blk_unref(blk);
    after = content(&size_after);
    expect_same(before, size_before, after, size_after, true, "a repair");
}

/* A write to one place of a sound image leaves the others as they are. */
static void overwrite_one_place(int n)
{
    int64_t size_before, size_after, offset;
    g_autofree uint8_t *before = content(&size_before);
    g_autofree uint8_t *after = NULL;
    uint8_t data[512];
    BlockBackend *blk;

    if (!before || !size_before) {
        return;
    }
    blk = open_image("vmdk", BDRV_O_RDWR | BDRV_O_CHECK);
    if (!blk) {
        return;
    }
    memset(data, 'O', sizeof(data));
    offset = QEMU_ALIGN_DOWN(place(size_before, n), 512);
    if (check(blk, 0) && offset + 512 <= size_before &&
        blk_pwrite(blk, offset, 512, data, 0) == 0) {
        memcpy(before + offset, data, 512);
    }
    blk_unref(blk);
    after = content(&size_after);
    expect_same(before, size_before, after, size_after, false,
                "a write to another place");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    BlockBackend *blk;

    if (!data || size < 2) {
        return 0;
    }
    fuzz_begin();
    put_files(data, size);
    blk = open_image(NULL, BDRV_O_NO_BACKING);
    blk_unref(blk);
    read_image();
    repair_image();
    overwrite_one_place(size);
    write_image();
    fuzz_end();
    return 0;
}
