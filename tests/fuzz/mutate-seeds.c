/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Small valid VMDK images, one of each subformat, and random changes of them:
 * fields of headers, entries of tables, markers, words of descriptors, lengths
 * of files.
 */
#include "qemu/osdep.h"
#include <sys/resource.h>
#include "qapi/error.h"
#include "block/block_int.h"
#include "fuzz.h"
#include "mutate-seeds.h"
#include "vmdk-change.h"

#define IMAGE "x.vmdk"
/* More of a file is zeroes, or data of a flat extent. */
#define MAX_CONTENT (4 * MiB)
/* Header, descriptor and tables of a hosted extent end here. */
#define METADATA_BYTES (64 * KiB)
#define SECTOR 512
#define CAPACITY (5 * MiB)

/* --- making them --- */

/* Files of any length are made here; qemu-img may not make them. */
static void allow_length(bool allow)
{
    struct rlimit limit;

    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = allow ? limit.rlim_max : FUZZ_MAX_FILE;
    setrlimit(RLIMIT_FSIZE, &limit);
}

static void write_image(bool stream)
{
    static const int64_t offsets[] = { 0, 192 * KiB, 256 * KiB,
                                       CAPACITY - 64 * KiB };
    g_autofree char *data = g_malloc(64 * KiB);
    QOpts *opts = qopts_new();
    BlockBackend *blk;
    size_t i;

    memset(data, 'A', 64 * KiB);
    qopts_set_str(opts, "driver", "vmdk");
    blk = blk_new_open(IMAGE, NULL, opts, BDRV_O_RDWR, &error_abort);
    for (i = 0; i < ARRAY_SIZE(offsets); i++) {
        if (blk_pwrite(blk, offsets[i], stream ? 64 * KiB : 4 * KiB, data,
                       0) < 0) {
            abort();
        }
    }
    blk_unref(blk);
}

static void make_image(const char *options)
{
    bdrv_create(bdrv_find_format("vmdk"), IMAGE,
                qopts_parse(options, NULL, &error_abort), &error_abort);
    write_image(strstr(options, "streamOptimized"));
}

static void put_le(uint8_t *at, uint64_t value, int bytes)
{
    value = GUINT64_TO_LE(value);
    memcpy(at, &value, bytes);
}

/* An extent of ESX without grains: a header and a directory. */
static void put_cowd(const char *name)
{
    uint8_t image[8 * SECTOR] = { 0 };

    memcpy(image, "COWD", 4);
    put_le(image + 4, 1, 4);
    put_le(image + 8, 3, 4);
    put_le(image + 12, CAPACITY / SECTOR, 4);
    put_le(image + 16, 1, 4);
    put_le(image + 20, 4, 4);
    put_le(image + 24, 3, 4);
    put_le(image + 28, 8, 4);
    fuzz_put(name, image, sizeof(image));
}

static void make_vmfs_sparse(const char *options)
{
    static const char text[] =
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
        "createType=\"vmfsSparse\"\nRW 10240 VMFSSPARSE \"x-delta.vmdk\"\n";

    fuzz_put(IMAGE, text, strlen(text));
    put_cowd("x-delta.vmdk");
    write_image(false);
}

/* The other sparse extent of ESX, which is only read: two grains of a table. */
static void make_se_sparse(const char *options)
{
    static const char text[] =
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
        "createType=\"seSparse\"\nRW 10240 SESPARSE \"x-sesparse.vmdk\"\n";
    g_autofree uint8_t *image = g_malloc0(88 * SECTOR);
    static const struct {
        int sector;
        int at;
        uint64_t value;
    } fields[] = {
        { 0, 0, 0xcafebabe }, { 0, 8, 0x200000001 }, { 0, 16, 10240 },
        { 0, 24, 8 }, { 0, 32, 64 }, { 0, 80, 1 }, { 0, 128, 2 },
        { 0, 136, 1 }, { 0, 144, 8 }, { 0, 152, 64 }, { 0, 192, 72 },
        { 1, 0, 0xcafecafe }, { 2, 0, 1ull << 60 }, { 8, 0, 3ull << 60 },
        { 8, 8, 2ull << 60 }, { 8, 16, 3ull << 60 | 1ull << 48 },
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(fields); i++) {
        put_le(image + fields[i].sector * SECTOR + fields[i].at,
               fields[i].value, 8);
    }
    fuzz_put(IMAGE, text, strlen(text));
    fuzz_put("x-sesparse.vmdk", image, 88 * SECTOR);
}

/* One extent of each type. */
static void make_custom(const char *options)
{
    static const char text[] =
        "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=1\n"
        "parentCID=ffffffff\ncreateType=\"custom\"\n\n# Extent description\n"
        "RW 256 FLAT \"x-f.vmdk\" 0\nRW 256 FLAT \"x-f.vmdk\" 256\n"
        "RW 256 ZERO\nNOACCESS 128 ZERO\nRW 10240 SPARSE \"x-s.vmdk\"\n"
        "RW 10240 VMFSSPARSE \"x-v.vmdk\"\n\nddb.adapterType = \"ide\"\n"
        "ddb.geometry.cylinders = \"4\"\n";
    g_autofree char *flat = g_malloc(256 * KiB);

    memset(flat, 'F', 256 * KiB);
    fuzz_put("x-f.vmdk", flat, 256 * KiB);
    put_cowd("x-v.vmdk");
    bdrv_create(bdrv_find_format("vmdk"), "x-s.vmdk",
                qopts_parse("size=5M", NULL, &error_abort), &error_abort);
    fuzz_put(IMAGE, text, strlen(text));
}

/* As while it is written, and as QEMU writes it: without the end. */
static void make_stream_in_front(const char *options)
{
    uint8_t directories[16];
    int fd;

    make_image("size=5M,subformat=streamOptimized");
    fd = qemu_open(IMAGE, O_RDWR, &error_abort);
    put_le(directories, 21, 8);
    put_le(directories + 8, 26, 8);
    if (pwrite(fd, directories, sizeof(directories), 48) < 0) {
        abort();
    }
    close(fd);
}

static const struct {
    const char *name;
    void (*make)(const char *options);
    const char *options;
} kinds[] = {
    { "monolithicSparse", make_image, "size=5M" },
    { "zeroed_grain", make_image, "size=5M,zeroed_grain=on" },
    { "twoGbMaxExtentSparse", make_image,
      "size=2049M,subformat=twoGbMaxExtentSparse" },
    { "streamOptimized", make_image, "size=5M,subformat=streamOptimized" },
    { "streamOptimized-front", make_stream_in_front, NULL },
    { "monolithicFlat", make_image, "size=5M,subformat=monolithicFlat" },
    { "twoGbMaxExtentFlat", make_image,
      "size=2049M,subformat=twoGbMaxExtentFlat" },
    { "vmfsSparse", make_vmfs_sparse, NULL },
    { "seSparse", make_se_sparse, NULL },
    { "custom", make_custom, NULL },
};

size_t seed_count(void)
{
    return ARRAY_SIZE(kinds);
}

static void free_file(void *opaque)
{
    SeedFile *file = opaque;

    g_free(file->name);
    g_byte_array_unref(file->content);
    g_free(file);
}

/* NULL if it is not there. */
static SeedFile *read_file(const char *name)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    SeedFile *file;

    if (fd < 0) {
        return NULL;
    }
    file = g_new0(SeedFile, 1);
    file->name = g_strdup(name);
    file->content = g_byte_array_new();
    file->length = lseek(fd, 0, SEEK_END);
    g_byte_array_set_size(file->content, MIN(file->length, MAX_CONTENT));
    if (pread(fd, file->content->data, file->content->len, 0) !=
        file->content->len) {
        abort();
    }
    close(fd);
    return file;
}

Seed *seed_new(size_t n)
{
    static const char *const names[] = {
        IMAGE, "x-s001.vmdk", "x-s002.vmdk", "x-f001.vmdk", "x-f002.vmdk",
        "x-flat.vmdk", "x-delta.vmdk", "x-f.vmdk", "x-s.vmdk", "x-v.vmdk",
        "x-sesparse.vmdk",
    };
    Seed *seed = g_new0(Seed, 1);
    size_t i;

    seed->name = kinds[n].name;
    seed->files = g_ptr_array_new_with_free_func(free_file);
    fuzz_begin();
    allow_length(true);
    kinds[n].make(kinds[n].options);
    allow_length(false);
    for (i = 0; i < ARRAY_SIZE(names); i++) {
        SeedFile *file = read_file(names[i]);

        if (file) {
            g_ptr_array_add(seed->files, file);
        }
    }
    fuzz_end();
    return seed;
}

void seed_free(Seed *seed)
{
    g_ptr_array_unref(seed->files);
    g_free(seed);
}

/* --- changing them --- */

/* A word of the text from @data on is replaced, or a line is. */
static void change_text(GByteArray *text, GRand *rand)
{
    static const char *const words[] = {
        "RW", "RDONLY", "NOACCESS", "SPARSE", "FLAT", "ZERO", "VMFS",
        "VMFSSPARSE", "VMFSRDM", "SESPARSE", "\"x.vmdk\"", "\"\"", "\"",
        "0", "1", "-1", "512", "10240", "18446744073709551615",
        "4398046511104", "99999999999999999999", "CID=", "parentCID=1",
        "createType=\"custom\"", "createType=\"streamOptimized\"",
        "changeTrackPath=\"x\"", "parentFileNameHint=\"x.vmdk\"", "\r\n",
        "\n\n", "=", "#", "encoding=\"GBK\"", "RW 1 ZERO\n",
    };
    g_auto(GStrv) parts = NULL;
    g_autofree char *whole = g_strndup((char *)text->data, text->len);
    g_autofree char *joined = NULL;
    bool lines = g_rand_boolean(rand);
    char *other;
    guint count;
    guint one;

    parts = g_strsplit(whole, lines ? "\n" : " ", -1);
    count = g_strv_length(parts);
    if (!count) {
        return;
    }
    one = g_rand_int_range(rand, 0, count);
    switch (g_rand_int_range(rand, 0, 3)) {
    case 0:
        /* Another one, once more. */
        other = g_strdup(parts[g_rand_int_range(rand, 0, count)]);
        g_free(parts[one]);
        parts[one] = other;
        break;
    case 1:
        g_free(parts[one]);
        parts[one] = g_strdup(words[g_rand_int_range(rand, 0,
                                                     ARRAY_SIZE(words))]);
        break;
    default:
        if (*parts[one]) {
            parts[one][strlen(parts[one]) / 2] = g_rand_int_range(rand, 1,
                                                                  256);
        }
    }
    joined = g_strjoinv(lines ? "\n" : " ", parts);
    g_byte_array_set_size(text, 0);
    g_byte_array_append(text, (uint8_t *)joined, strlen(joined));
}

static bool is_text(const SeedFile *file)
{
    return file->content->len && file->content->data[0] == '#';
}

static bool is_sparse(const SeedFile *file)
{
    return file->content->len >= SECTOR &&
           (!memcmp(file->content->data, "KDMV", 4) ||
            !memcmp(file->content->data, "COWD", 4) ||
            vmdk_is_sesparse(file->content));
}

/* The descriptor in a hosted extent keeps its place. */
static void change_embedded(GByteArray *content, GRand *rand)
{
    size_t room = 20 * SECTOR;
    GByteArray *text = g_byte_array_new();

    if (content->len >= SECTOR + room && content->data[SECTOR] == '#') {
        g_byte_array_append(text, content->data + SECTOR, room);
        change_text(text, rand);
        memset(content->data + SECTOR, 0, room);
        memcpy(content->data + SECTOR, text->data, MIN(text->len, room));
    }
    g_byte_array_unref(text);
}

static void change_bytes(GByteArray *content, GRand *rand)
{
    int n = g_rand_int_range(rand, 1, 8);

    while (n--) {
        content->data[g_rand_int_range(rand, 0, content->len)] =
            g_rand_int_range(rand, 0, 256);
    }
}

/* Where the metadata are, or anywhere. */
static void change_binary(GByteArray *content, GRand *rand)
{
    guint len = g_rand_int_range(rand, 0, 4) ?
                MIN(content->len, METADATA_BYTES) : content->len;
    GByteArray *part = g_byte_array_new();

    g_byte_array_append(part, content->data, len);
    switch (g_rand_int_range(rand, 0, 8)) {
    case 0:
        change_embedded(part, rand);
        break;
    case 1:
        change_bytes(part, rand);
        break;
    default:
        vmdk_change_file(part, rand);
    }
    memcpy(content->data, part->data, len);
    g_byte_array_unref(part);
}

/* Shorter, or with a hole of up to 1 TiB at its end. */
static int64_t change_length(int64_t length, GRand *rand)
{
    int64_t less = g_rand_int_range(rand, 0, 3000);

    return g_rand_boolean(rand) ? 1ll << g_rand_int_range(rand, 0, 41)
           : MAX(length - less, 0);
}

static void change_file(SeedFile *file, GRand *rand)
{
    if (g_rand_int_range(rand, 0, 10) == 0 || !file->content->len) {
        file->length = change_length(file->length, rand);
    } else if (is_text(file)) {
        change_text(file->content, rand);
        file->length = file->content->len;
    } else if (is_sparse(file)) {
        change_binary(file->content, rand);
    } else {
        change_bytes(file->content, rand);
    }
}

/* Without the zeroes in between, which need no memory then. */
static void put_file(const SeedFile *file)
{
    static const uint8_t zeroes[4096];
    int fd = qemu_create(file->name, O_WRONLY | O_TRUNC, 0600, &error_abort);
    int64_t end = MIN(file->length, (int64_t)file->content->len);
    int64_t i, n;

    for (i = 0; i < end; i += n) {
        n = MIN((int64_t)sizeof(zeroes), end - i);
        if (memcmp(file->content->data + i, zeroes, n) &&
            pwrite(fd, file->content->data + i, n, i) != n) {
            abort();
        }
    }
    if (ftruncate(fd, file->length) < 0) {
        abort();
    }
    close(fd);
}

void seed_put(const Seed *seed)
{
    guint i;

    allow_length(true);
    for (i = 0; i < seed->files->len; i++) {
        put_file(seed->files->pdata[i]);
    }
    allow_length(false);
}

void seed_put_changed(const Seed *seed, uint32_t number)
{
    GRand *rand = g_rand_new_with_seed(number);
    Seed changed = {
        .files = g_ptr_array_new_with_free_func(free_file),
    };
    int changes = g_rand_int_range(rand, 1, 4);
    guint i;

    for (i = 0; i < seed->files->len; i++) {
        const SeedFile *file = seed->files->pdata[i];
        SeedFile *copy = g_new0(SeedFile, 1);

        copy->name = g_strdup(file->name);
        copy->length = file->length;
        copy->content = g_byte_array_new();
        g_byte_array_append(copy->content, file->content->data,
                            file->content->len);
        g_ptr_array_add(changed.files, copy);
    }
    while (changes--) {
        i = g_rand_int_range(rand, 0, changed.files->len);
        change_file(changed.files->pdata[i], rand);
    }
    seed_put(&changed);
    g_ptr_array_unref(changed.files);
    g_rand_free(rand);
}
