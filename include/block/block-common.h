/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Flags, limits and types that both users of the block layer and drivers
 * need.  Offsets and lengths are bytes, in int64_t, everywhere.
 */
#ifndef QEMU_BLOCK_COMMON_H
#define QEMU_BLOCK_COMMON_H

#include "qapi/qapi-types-block-core.h"

/* Run the coroutine function NAME_co_... and wait for it: a generated one. */
#define co_wrapper

#define BDRV_SECTOR_BITS 9
#define BDRV_SECTOR_SIZE (1ULL << BDRV_SECTOR_BITS)

/* The longest request: whole sectors, and an int. */
#define BDRV_REQUEST_MAX_BYTES \
    ((int64_t)QEMU_ALIGN_DOWN(INT_MAX, (int64_t)BDRV_SECTOR_SIZE))
#define BDRV_MAX_ALIGNMENT (1L << 30)
#define BDRV_MAX_LENGTH \
    ((int64_t)QEMU_ALIGN_DOWN(INT64_MAX, (int64_t)BDRV_MAX_ALIGNMENT))

/* How to open. */
#define BDRV_O_RDWR         0x0002
#define BDRV_O_RESIZE       0x0004  /* the size may be changed */
#define BDRV_O_SNAPSHOT     0x0008  /* writes go to a temporary overlay */
#define BDRV_O_TEMPORARY    0x0010
#define BDRV_O_NOCACHE      0x0020  /* cache.direct=on: O_DIRECT */
#define BDRV_O_NATIVE_AIO   0x0080
#define BDRV_O_NO_BACKING   0x0100
#define BDRV_O_NO_FLUSH     0x0200  /* cache.no-flush=on */
#define BDRV_O_COPY_ON_READ 0x0400
#define BDRV_O_INACTIVE     0x0800  /* another process may write: active.c */
#define BDRV_O_CHECK        0x1000  /* open for an image check only */
#define BDRV_O_UNMAP        0x4000  /* discard=unmap */
#define BDRV_O_PROTOCOL     0x8000  /* no format probing: a protocol layer */
#define BDRV_O_NO_IO        0x10000 /* metadata only */
#define BDRV_O_AUTO_RDONLY  0x20000
#define BDRV_O_IO_URING     0x40000
#define BDRV_O_NO_SHARE     0x80000 /* as BlockBackend: no other writer */
#define BDRV_O_CACHE_MASK   (BDRV_O_NOCACHE | BDRV_O_NO_FLUSH)

typedef enum BdrvRequestFlags {
    BDRV_REQ_COPY_ON_READ       = 0x1,
    BDRV_REQ_ZERO_WRITE         = 0x2,  /* internal: qiov may be NULL */
    BDRV_REQ_MAY_UNMAP          = 0x4,  /* zeroes by unmapping are fine */
    BDRV_REQ_FUA                = 0x10,
    BDRV_REQ_WRITE_COMPRESSED   = 0x20,
    BDRV_REQ_WRITE_UNCHANGED    = 0x40,
    BDRV_REQ_SERIALISING        = 0x80,
    BDRV_REQ_NO_FALLBACK        = 0x100, /* zeroes: quickly or not at all */
    BDRV_REQ_PREFETCH           = 0x200,
    BDRV_REQ_NO_WAIT            = 0x400,
    BDRV_REQ_REGISTERED_BUF     = 0x800, /* a hint */
    BDRV_REQ_MASK               = 0xfff,
} BdrvRequestFlags;

/*
 * Block status: DATA, ZERO (reads as zeroes), OFFSET_VALID (the map offset
 * in the returned file), ALLOCATED (this layer decides the content).
 */
#define BDRV_BLOCK_DATA         0x01
#define BDRV_BLOCK_ZERO         0x02
#define BDRV_BLOCK_OFFSET_VALID 0x04
#define BDRV_BLOCK_RAW          0x08    /* internal: ask the file child */
#define BDRV_BLOCK_ALLOCATED    0x10
#define BDRV_BLOCK_EOF          0x20
#define BDRV_BLOCK_RECURSE      0x40    /* internal: file may have holes */
#define BDRV_BLOCK_COMPRESSED   0x80

/* Permissions: what a user of a node does, and what it lets others do. */
enum {
    BLK_PERM_CONSISTENT_READ = 0x01,
    BLK_PERM_WRITE           = 0x02,
    BLK_PERM_WRITE_UNCHANGED = 0x04,
    BLK_PERM_RESIZE          = 0x08,
    BLK_PERM_ALL             = 0x0f,
};

typedef struct BlockDriverInfo {
    int cluster_size;           /* bytes; 0: not known */
    int64_t vm_state_offset;
    bool is_dirty;
    bool can_write_zeroes_with_unmap;
    bool needs_compressed_writes;
} BlockDriverInfo;

/* The result of a check; see bdrv_co_check(). */
typedef struct BdrvCheckResult {
    int corruptions;
    int leaks;
    int check_errors;
    int corruptions_fixed;
    int leaks_fixed;
    int64_t image_end_offset;
    int64_t allocated_clusters;
    int64_t total_clusters;
    int64_t fragmented_clusters;
    int64_t compressed_clusters;
} BdrvCheckResult;

typedef enum BdrvCheckMode {
    BDRV_FIX_LEAKS  = 1,
    BDRV_FIX_ERRORS = 2,
} BdrvCheckMode;

/* The roles that a child has for its parent. */
typedef enum BdrvChildRole {
    BDRV_CHILD_DATA     = 0x01, /* guest-visible data */
    BDRV_CHILD_METADATA = 0x02,
    BDRV_CHILD_FILTERED = 0x04, /* a filter: the child has the same data */
    BDRV_CHILD_COW      = 0x08, /* backing: read only */
    BDRV_CHILD_PRIMARY  = 0x10, /* the "file" of the node */
    /* The base of a commit: what is written there is above frozen links. */
    BDRV_CHILD_COMMIT   = 0x20,
    BDRV_CHILD_IMAGE    = BDRV_CHILD_DATA | BDRV_CHILD_METADATA
                          | BDRV_CHILD_PRIMARY,
} BdrvChildRole;

#endif
