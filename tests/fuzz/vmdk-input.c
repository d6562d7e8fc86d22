/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The short form of small VMDK images: see vmdk-input.h.
 */
#include "qemu/osdep.h"
#include "vmdk-input.h"

#define SECTOR 512
#define UNIT (4 * KiB)
#define SECTORS 0x80            /* of N in "00 N": what it counts */

VmdkInputKind vmdk_input_kind(const uint8_t *data, size_t size)
{
    static const char kinds[] = "tev";

    return size && data[0] && strchr(kinds, data[0]) ? data[0]
                                                     : VMDK_INPUT_IMAGE;
}

static void add_zeroes(GByteArray *out, size_t count)
{
    size_t old = out->len;

    count = MIN(count, VMDK_INPUT_MAX - old);
    g_byte_array_set_size(out, old + count);
    memset(out->data + old, 0, count);
}

static size_t zeroes_of(const GByteArray *out, uint8_t n)
{
    size_t rest = SECTOR - out->len % SECTOR;

    return n < SECTORS ? n + 1 : rest + (n - SECTORS) * SECTOR;
}

GByteArray *vmdk_input_unpack(const uint8_t *data, size_t size)
{
    GByteArray *out = g_byte_array_new();
    size_t least = size > 1 ? data[1] % 65 * UNIT : 0;
    size_t i;

    for (i = 2; i < size && out->len < VMDK_INPUT_MAX; i++) {
        if (data[i]) {
            g_byte_array_append(out, data + i, 1);
        } else if (++i < size) {
            add_zeroes(out, zeroes_of(out, data[i]));
        }
    }
    if (out->len < least) {
        add_zeroes(out, least - out->len);
    }
    return out;
}

static void pack_zeroes(GByteArray *out, size_t pos, size_t count)
{
    while (count) {
        size_t rest = SECTOR - pos % SECTOR;
        uint8_t code[2] = { 0 };
        size_t done;

        if (count >= rest) {
            size_t sectors = MIN((count - rest) / SECTOR, 0xff - SECTORS);

            code[1] = SECTORS + sectors;
            done = rest + sectors * SECTOR;
        } else {
            done = MIN(count, SECTORS);
            code[1] = done - 1;
        }
        g_byte_array_append(out, code, 2);
        pos += done;
        count -= done;
    }
}

GByteArray *vmdk_input_pack(VmdkInputKind kind, const uint8_t *file,
                            size_t size)
{
    GByteArray *out = g_byte_array_new();
    size_t end = MIN(size, VMDK_INPUT_MAX);
    uint8_t head[2] = { kind, 0 };
    size_t pos, from;

    if (end % UNIT == 0) {
        head[1] = end / UNIT;
        while (end && !file[end - 1]) {
            end--;
        }
    }
    g_byte_array_append(out, head, 2);
    for (pos = 0; pos < end;) {
        from = pos;
        while (pos < end && file[pos]) {
            pos++;
        }
        g_byte_array_append(out, file + from, pos - from);
        from = pos;
        while (pos < end && !file[pos]) {
            pos++;
        }
        pack_zeroes(out, from, pos - from);
    }
    return out;
}
