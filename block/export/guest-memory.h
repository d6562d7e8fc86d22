/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The memory of a guest, as a vhost-user client shares it: regions of files
 * that are mapped here.
 *
 * The table changes in the main thread, while no thread uses the memory of
 * this client; lookups may come from several threads.
 *
 * A client may truncate a file that it has shared, and then an access raises
 * SIGBUS.  The signal handler puts zeroes in the place of the region, and
 * notes that it is lost: guest_memory_lost().  The kernel's accesses fail with
 * EFAULT instead, as for any other buffer.
 */
#ifndef BLOCK_EXPORT_GUEST_MEMORY_H
#define BLOCK_EXPORT_GUEST_MEMORY_H

/* As many as a client may add; those of other servers allow fewer. */
#define GUEST_MEMORY_MAX_REGIONS 64

/* A mapping that the SIGBUS handler knows. */
typedef struct GuestMapping {
    void *base;                 /* of the mapping, a page; NULL: none */
    size_t size;                /* bytes, from @base on */
    int lost;                   /* written by the signal handler */
    struct GuestMapping *next;  /* list of the signal handler */
} GuestMapping;

/* As the protocol describes it. */
typedef struct GuestRegionInfo {
    uint64_t guest_addr;        /* where the guest sees it */
    uint64_t size;              /* bytes */
    uint64_t user_addr;         /* where the client has it */
    uint64_t mmap_offset;       /* in the file */
} GuestRegionInfo;

typedef struct GuestRegion {
    GuestRegionInfo info;
    uint8_t *host;              /* its first byte here */
    GuestMapping *mapping;
} GuestRegion;

typedef struct GuestMemory {
    GuestRegion regions[GUEST_MEMORY_MAX_REGIONS];
    unsigned n_regions;
} GuestMemory;

/*
 * Map @size bytes of @fd from @offset on (any alignment); the file must have
 * them.  The descriptor may be closed afterwards.  *@host is the byte at
 * @offset.  NULL with @errp set on failure.  Main thread.
 */
GuestMapping *guest_mapping_new(int fd, uint64_t offset, uint64_t size,
                                uint8_t **host, Error **errp);
/* NULL is fine.  No thread may use it any more.  Main thread. */
void guest_mapping_free(GuestMapping *m);

/*
 * Add a region.  False with @errp set, and nothing added, if it is empty,
 * wraps around, overlaps another one, or is not in the file @fd, whose owner
 * remains the caller.
 */
bool guest_memory_add(GuestMemory *mem, const GuestRegionInfo *info, int fd,
                      Error **errp);
/* Remove the region with these addresses and this size. */
bool guest_memory_remove(GuestMemory *mem, const GuestRegionInfo *info,
                         Error **errp);
void guest_memory_clear(GuestMemory *mem);

/*
 * The memory at guest address @addr; *@len, bytes, is made smaller if the
 * region ends before.  NULL if there is none.  @len is not 0.
 */
void *guest_memory_at(const GuestMemory *mem, uint64_t addr, uint64_t *len);
/*
 * All of @len bytes at the client's address @addr, in one region; NULL if
 * that is not so.
 */
void *guest_memory_user(const GuestMemory *mem, uint64_t addr, uint64_t len);
/* Whether a region has turned out to be shorter than the client has said. */
bool guest_memory_lost(const GuestMemory *mem);

#endif
