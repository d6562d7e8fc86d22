/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compression of grains, in the zlib format (RFC 1950): by libdeflate, which
 * takes whole buffers and is faster, where it is there; else by zlib.
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"
#include "block/vmdk/stream.h"
#ifdef CONFIG_LIBDEFLATE
#include <libdeflate.h>
#else
#include <zlib.h>
#endif

#ifdef CONFIG_LIBDEFLATE

/* zlib's default. */
#define LEVEL 6

static void free_compressor(void *opaque)
{
    libdeflate_free_compressor(opaque);
}

static void free_decompressor(void *opaque)
{
    libdeflate_free_decompressor(opaque);
}

/* One for each thread: they are large, and may not be shared. */
static GPrivate compressors = G_PRIVATE_INIT(free_compressor);
static GPrivate decompressors = G_PRIVATE_INIT(free_decompressor);

size_t vmdk_deflate_bound(size_t bytes)
{
    return libdeflate_zlib_compress_bound(NULL, bytes);
}

int vmdk_deflate(uint8_t *to, size_t *to_bytes, const uint8_t *from,
                 size_t from_bytes)
{
    struct libdeflate_compressor *c = g_private_get(&compressors);

    if (!c) {
        c = libdeflate_alloc_compressor(LEVEL);
        if (!c) {
            return -ENOMEM;
        }
        g_private_set(&compressors, c);
    }
    *to_bytes = libdeflate_zlib_compress(c, from, from_bytes, to, *to_bytes);
    return *to_bytes ? 0 : -ENOMEM;
}

int vmdk_inflate(uint8_t *to, size_t *to_bytes, const uint8_t *from,
                 size_t from_bytes)
{
    struct libdeflate_decompressor *d = g_private_get(&decompressors);
    size_t taken;

    if (!d) {
        d = libdeflate_alloc_decompressor();
        if (!d) {
            return -ENOMEM;
        }
        g_private_set(&decompressors, d);
    }
    return libdeflate_zlib_decompress_ex(d, from, from_bytes, to, *to_bytes,
                                         &taken, to_bytes)
           == LIBDEFLATE_SUCCESS ? 0 : -EIO;
}

#else

size_t vmdk_deflate_bound(size_t bytes)
{
    return compressBound(bytes);
}

int vmdk_deflate(uint8_t *to, size_t *to_bytes, const uint8_t *from,
                 size_t from_bytes)
{
    uLongf count = *to_bytes;

    if (compress(to, &count, from, from_bytes) != Z_OK) {
        return -ENOMEM;
    }
    *to_bytes = count;
    return 0;
}

int vmdk_inflate(uint8_t *to, size_t *to_bytes, const uint8_t *from,
                 size_t from_bytes)
{
    uLongf count = *to_bytes;

    switch (uncompress(to, &count, from, from_bytes)) {
    case Z_OK:
        *to_bytes = count;
        return 0;
    case Z_MEM_ERROR:
        return -ENOMEM;
    default:
        return -EIO;
    }
}

#endif
