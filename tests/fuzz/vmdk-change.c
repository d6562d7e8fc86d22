/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changes of VMDK files to values that mean something: see vmdk-change.h.
 */
#include "qemu/osdep.h"
#include "vmdk-change.h"

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

bool vmdk_is_sesparse(const GByteArray *file)
{
    return file->len >= 8 && !memcmp(file->data, "\xbe\xba\xfe\xca\0\0\0", 8);
}

/* One of the first numbers of a sector; more often of the header. */
static void change_number(GByteArray *file, GRand *rand)
{
    size_t sector = g_rand_boolean(rand) ? 0 :
                    g_rand_int_range(rand, 0, file->len / 512);
    uint64_t value = pick_value(rand, file->len);

    if (sector && g_rand_boolean(rand)) {
        /* With a kind in its highest bits. */
        value = value >> 4 | (uint64_t)g_rand_int_range(rand, 0, 16) << 60;
    }
    put_value(file, sector * 512 + g_rand_int_range(rand, 0, 26) * 8, value, 8);
}

void vmdk_change_file(GByteArray *file, GRand *rand)
{
    if (vmdk_is_sesparse(file)) {
        change_number(file, rand);
    } else if (g_rand_boolean(rand)) {
        change_field(file, rand);
    } else {
        change_entry(file, rand);
    }
}
