/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libFuzzer's mutations of VMDK inputs: of the short form, as of any bytes;
 * of the image that it stands for; or of one field of it, to a value that
 * means something there.
 */
#include "qemu/osdep.h"
#include "vmdk-change.h"
#include "vmdk-input.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size,
                               unsigned int seed);

static size_t mutate_file(uint8_t *data, size_t size, size_t max_size,
                          GRand *rand)
{
    GByteArray *file = vmdk_input_unpack(data, size);
    GByteArray *packed;
    int changes = g_rand_int_range(rand, 1, 4);
    guint len = file->len;

    while (changes-- && len >= 512) {
        if (g_rand_int_range(rand, 0, 5) == 0) {
            LLVMFuzzerMutate(file->data, len, len);
        } else {
            vmdk_change_file(file, rand);
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
