/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libFuzzer's mutations of VMDK inputs: of the short form, as of any bytes;
 * of the image that it stands for; or of one field of it, to a value that
 * means something there.
 */
#include "qemu/osdep.h"
#include "vmdk-input.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size,
                               unsigned int seed);

/* Fields of the header of a hosted extent: where, and how many bytes. */
static const struct {
    size_t offset;
    int bytes;
} fields[] = {
    { 0, 4 }, { 4, 4 }, { 8, 4 }, { 12, 8 }, { 20, 8 }, { 28, 8 }, { 36, 8 },
    { 44, 4 }, { 48, 8 }, { 56, 8 }, { 64, 8 }, { 72, 1 }, { 77, 2 },
    /* COWD has 32 bits for each */
    { 12, 4 }, { 16, 4 }, { 20, 4 }, { 24, 4 }, { 28, 4 },
};

static const uint64_t values[] = {
    0, 1, 2, 3, 8, 16, 21, 127, 128, 129, 511, 512, 513, 4096, 0x10000,
    0x30001, 0x30005, 0x200000, 0x7fffffff, 0x80000000, 0xffffffff,
    0x100000000, INT64_MAX / 512, INT64_MAX, UINT64_MAX, 0x564d444b,
    0x44574f43,
};

static uint64_t pick_value(GRand *rand, size_t size)
{
    switch (g_rand_int_range(rand, 0, 4)) {
    case 0:
        return g_rand_int_range(rand, 0, size / 512 + 2);
    case 1:
        return 1ull << g_rand_int_range(rand, 0, 64);
    default:
        return values[g_rand_int_range(rand, 0, ARRAY_SIZE(values))];
    }
}

static void put_value(GByteArray *file, size_t offset, uint64_t value,
                      int bytes)
{
    value = GUINT64_TO_LE(value);
    if (offset + bytes <= file->len) {
        memcpy(file->data + offset, &value, bytes);
    }
}

/* A field of the header, or of its copy in the footer. */
static void change_field(GByteArray *file, GRand *rand)
{
    int n = g_rand_int_range(rand, 0, ARRAY_SIZE(fields));
    size_t base = 0;

    if (file->len >= 2048 && g_rand_int_range(rand, 0, 4) == 0) {
        base = file->len / 512 * 512 - 1024;
    }
    put_value(file, base + fields[n].offset, pick_value(rand, file->len),
              fields[n].bytes);
}

/* An entry of a table, or in a marker, wherever one may be. */
static void change_entry(GByteArray *file, GRand *rand)
{
    size_t sector = g_rand_int_range(rand, 0, file->len / 512);
    size_t entry = g_rand_boolean(rand) ? g_rand_int_range(rand, 0, 8)
                                        : g_rand_int_range(rand, 0, 128);

    put_value(file, sector * 512 + entry * 4, pick_value(rand, file->len), 4);
}

static size_t mutate_file(uint8_t *data, size_t size, size_t max_size,
                          GRand *rand)
{
    GByteArray *file = vmdk_input_unpack(data, size);
    GByteArray *packed;
    int changes = g_rand_int_range(rand, 1, 4);
    guint len = file->len;

    while (changes-- && len >= 512) {
        switch (g_rand_int_range(rand, 0, 5)) {
        case 0:
        case 1:
            change_field(file, rand);
            break;
        case 2:
        case 3:
            change_entry(file, rand);
            break;
        default:
            LLVMFuzzerMutate(file->data, len, len);
        }
    }
    packed = vmdk_input_pack(vmdk_input_kind(data, size), file->data, len);
    size = MIN(packed->len, max_size);
    memcpy(data, packed->data, size);
    g_byte_array_unref(packed);
    g_byte_array_unref(file);
    return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size,
                               unsigned int seed)
{
    GRand *rand = g_rand_new_with_seed(seed);

    if (vmdk_input_kind(data, size) == VMDK_INPUT_TEXT ||
        g_rand_int_range(rand, 0, 2) == 0) {
        size = LLVMFuzzerMutate(data, size, max_size);
    } else {
        size = mutate_file(data, size, max_size, rand);
    }
    g_rand_free(rand);
    return size;
}
