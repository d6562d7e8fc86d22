/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sectors of hosted sparse extents, as they are in the file: little-endian
 * (VMDK 5.0 specification, "Hosted Sparse Extent Header" and "Stream-Optimized
 * Compressed Sparse Extents").
 */
#ifndef BLOCK_VMDK_FORMAT_H
#define BLOCK_VMDK_FORMAT_H

#include "block/vmdk/vmdk.h"

typedef struct QEMU_PACKED KdmvHeader {
    uint32_t magic;
    uint32_t version;
    uint32_t flags;
    uint64_t capacity;
    uint64_t granularity;
    uint64_t desc_offset;
    uint64_t desc_size;
    uint32_t num_gtes_per_gt;
    uint64_t rgd_offset;
    uint64_t gd_offset;
    uint64_t overhead;
    uint8_t unclean;
    char newlines[4];
    uint16_t compress_algorithm;
    uint8_t pad[433];
} KdmvHeader;
QEMU_BUILD_BUG_ON(sizeof(KdmvHeader) != 512);

typedef enum VmdkMarkerType {
    VMDK_MARKER_END,
    VMDK_MARKER_TABLE,
    VMDK_MARKER_DIRECTORY,
    VMDK_MARKER_FOOTER,
} VmdkMarkerType;

/* In front of metadata of a stream; @size is 0, which it is of no grain. */
typedef struct QEMU_PACKED VmdkMarker {
    uint64_t sectors;           /* of what follows */
    uint32_t size;
    uint32_t type;
    uint8_t pad[496];
} VmdkMarker;
QEMU_BUILD_BUG_ON(sizeof(VmdkMarker) != 512);

static inline VmdkMarker vmdk_marker(VmdkMarkerType type, uint64_t sectors)
{
    return (VmdkMarker) {
        .sectors = GUINT64_TO_LE(sectors),
        .type = GUINT32_TO_LE((uint32_t)type),
    };
}

#endif
