/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz-vmdk-pack KIND FILE: an input of fuzz-vmdk, from an image, on stdout;
 * "-d INPUT": the image of an input.
 */
#include "qemu/osdep.h"
#include "vmdk-input.h"

int main(int argc, char **argv)
{
    g_autofree char *data = NULL;
    g_autoptr(GError) err = NULL;
    GByteArray *out;
    gsize size;
    size_t done;

    if (argc != 3) {
        fprintf(stderr, "Usage: %s s|e|v IMAGE, or %s -d INPUT\n", argv[0],
                argv[0]);
        return 1;
    }
    if (!g_file_get_contents(argv[2], &data, &size, &err)) {
        fprintf(stderr, "%s\n", err->message);
        return 1;
    }
    out = !strcmp(argv[1], "-d")
          ? vmdk_input_unpack((uint8_t *)data, size)
          : vmdk_input_pack(argv[1][0], (uint8_t *)data, size);
    done = fwrite(out->data, 1, out->len, stdout);
    if (done != out->len || fflush(stdout)) {
        fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
        return 1;
    }
    g_byte_array_unref(out);
    return 0;
}
