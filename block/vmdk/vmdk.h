/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Private to the VMDK driver: the state of an open image and what its files
 * offer each other.
 *
 * Format: VMware "Virtual Disk Format 5.0".  A sector is 512 bytes.  A sparse
 * extent maps guest grains through a grain directory (GD, kept in memory) to
 * grain tables (GT, cached) of 32 bit little-endian sector numbers.
 *
 * All of this belongs to the home thread of the node; requests that come from
 * other threads go there.  Three rules keep concurrent requests right:
 *  - A grain that has data keeps its place until the image is closed, so who
 *    has looked it up may read and write it without any lock.
 *  - Who fills a grain announces it in extent->allocs; others wait there and
 *    look it up again.
 *  - extent->lock is held while tables are loaded, changed or written.  The
 *    cache shows a new entry only when it is in the file.
 */
#ifndef BLOCK_VMDK_H
#define BLOCK_VMDK_H

#include "block/block_int.h"

#define VMDK_KDMV_MAGIC 0x564d444bU     /* "KDMV" */
#define VMDK_COWD_MAGIC 0x44574f43U     /* "COWD" */
#define VMDK_NO_PARENT  0xffffffffU
#define VMDK_GD_AT_END  UINT64_MAX

#define VMDK_FLAG_NEWLINE_TEST  (1U << 0)
#define VMDK_FLAG_RGD           (1U << 1)
#define VMDK_FLAG_ZERO_GRAIN    (1U << 2)
#define VMDK_FLAG_COMPRESSED    (1U << 16)
#define VMDK_FLAG_MARKERS       (1U << 17)
#define VMDK_COMPRESSION_DEFLATE 1

/* Some editors put it before all text. */
#define VMDK_UTF8_MARK "\xef\xbb\xbf"

/* A grain table entry that says "zeroes" if the header allows it. */
#define VMDK_GTE_ZERO 1

#define VMDK_MAX_DESC_BYTES MiB
#define VMDK_MAX_EXTENTS 32768
/* As many as a descriptor has room for, whatever their names. */
#define VMDK_MAX_NEW_EXTENTS 4096
#define VMDK_MAX_GTES 512
#define VMDK_COWD_GTES 4096
/* Where the header of a COWD extent has its next free sector. */
#define VMDK_COWD_NEXT_FREE 28
/* Of all extents of an image together. */
#define VMDK_MAX_GD_ENTRIES (16 * MiB)
#define VMDK_MAX_GRAIN_SECTORS 0x200000
/* A compressed grain and its copy are in memory as a whole. */
#define VMDK_MAX_COMPRESSED_GRAIN (16 * MiB)
/* Grain tables kept in memory, per extent. */
#define VMDK_CACHE_BYTES (8 * MiB)
/* And of all extents of an image together, one table of each at least. */
#define VMDK_ALL_CACHES_BYTES (256 * MiB)
/* Tables that are loaded at once, at most, if they are asked for in order. */
#define VMDK_READ_AHEAD 64

typedef enum VmdkAccess {
    VMDK_RW,
    VMDK_RDONLY,
    VMDK_NOACCESS,
} VmdkAccess;

typedef enum VmdkExtentType {
    VMDK_FLAT,
    VMDK_SPARSE,
    VMDK_ZERO,
    VMDK_VMFS,
    VMDK_VMFSSPARSE,
    VMDK_SESPARSE,
    VMDK_TYPE__MAX,
} VmdkExtentType;

/* "FLAT", "SPARSE", ... as in descriptors. */
extern const char *const vmdk_type_names[VMDK_TYPE__MAX];

/* One "RW 4192256 SPARSE "name"" line. */
typedef struct VmdkExtentLine {
    VmdkAccess access;
    VmdkExtentType type;
    int64_t sectors;
    int64_t offset;             /* sectors, in the file; flat types only */
    char *path;                 /* NULL for ZERO without one */
} VmdkExtentLine;

typedef struct VmdkDescriptor {
    char *create_type;
    char *parent_hint;          /* NULL: none */
    char *encoding;             /* of names; NULL: not told */
    bool change_tracking;       /* another file notes what was written */
    uint32_t cid;
    uint32_t parent_cid;
    GArray *lines;              /* of VmdkExtentLine */
} VmdkDescriptor;

/* The header of a sparse extent, of either kind, in host order; sectors. */
typedef struct VmdkHeader {
    uint32_t magic;
    uint32_t version;
    uint32_t flags;
    uint64_t capacity;
    uint64_t grain_sectors;
    uint64_t desc_offset;
    uint64_t desc_sectors;
    uint32_t gt_entries;
    uint64_t rgd_offset;
    uint64_t gd_offset;
    uint64_t gd_entries;
    uint64_t overhead;          /* where grains begin */
    uint16_t compression;
    bool unclean;
    bool as_text;               /* it was transferred as if it were text */
    bool has_footer;            /* or should have */
    bool lost_footer;           /* it should, but has not */
    bool from_footer;           /* this is it, and not the header */
} VmdkHeader;

typedef enum VmdkGrainKind {
    VMDK_GRAIN_UNALLOCATED,
    VMDK_GRAIN_ZERO,
    VMDK_GRAIN_DATA,
} VmdkGrainKind;

typedef struct VmdkTable {
    uint32_t index;             /* in the grain directory */
    bool used;                  /* looked up since the cache's hand passed */
    uint32_t entries[];         /* little-endian; seSparse: of 64 bits */
} VmdkTable;

/*
 * Grains being filled.  On extent->allocs from the reservation to the end;
 * on extent->pending from "data is in the file" until its table was written.
 */
typedef struct VmdkAlloc {
    int64_t first;              /* grain number in the extent */
    int64_t count;
    uint32_t sector;            /* in the file; 0: they become zero grains */
    uint32_t step;              /* sectors from grain to grain */
    bool was_zero;              /* zero grains: the backing file is hidden */
    bool done;                  /* @ret is valid */
    int ret;
    CoQueue waiters;
    QLIST_ENTRY(VmdkAlloc) next;
    QSIMPLEQ_ENTRY(VmdkAlloc) next_pending;
} VmdkAlloc;

/* Where the last grain of @a ends in the file. */
static inline int64_t vmdk_alloc_end_byte(const VmdkAlloc *a)
{
    uint64_t end = a->sector + (uint64_t)a->step * a->count;

    return (int64_t)end << BDRV_SECTOR_BITS;
}

/* Sectors of a file that hold metadata. */
typedef struct VmdkArea {
    uint64_t start;
    uint64_t end;
    bool shared;                /* overlaps others, or a grain; for check */
} VmdkArea;

typedef struct VmdkExtent {
    BdrvChild *file;            /* NULL: nothing to read (ZERO, NOACCESS) */
    VmdkAccess access;
    VmdkExtentType type;
    bool embedded;              /* bs->file itself */
    int64_t start;              /* in the disk, bytes */
    int64_t bytes;
    int64_t flat_offset;        /* flat: in the file, bytes */

    /* Sparse types only, from here on; fixed after open. */
    uint32_t magic;
    bool compressed;
    bool has_markers;
    bool has_zero_grain;
    bool has_footer;            /* the header says so: see footer.c */
    bool lost_footer;           /* but it is not there */
    bool from_footer;           /* the tables are those at the end */
    bool stream_begun;          /* may be written, as far as the header goes */
    bool ends_in_footer;        /* after the last write */
    bool unclean;
    bool needs_end;             /* of a stream: perhaps it has none now */
    bool has_hole;              /* among its grains: it gets no end */
    bool tracked;               /* version 3: writing would not be noted */
    uint32_t grain_sectors;
    int64_t grain_bytes;
    uint32_t gt_entries;
    uint32_t gd_entries;
    int64_t gd_offset;          /* bytes */
    int64_t rgd_offset;         /* bytes; 0: no redundant copy */
    uint64_t overhead;          /* sectors; where grains should begin */
    uint64_t desc_sector;       /* the room for a descriptor */
    uint64_t desc_sectors;

    uint32_t *gd;               /* sectors of the tables, host order */
    uint32_t *rgd;              /* NULL: no redundant copy */
    uint64_t next_sector;       /* where the next grain goes */
    int64_t file_bytes;         /* what lies behind is of no grain */
    int64_t safe_bytes;         /* as long the file stays: see grow.c */
    bool grown;                 /* perhaps longer than it has to be */
    CoMutex grow_lock;
    GArray *areas;              /* of VmdkArea, by start, with gaps between */
    bool areas_overlap;         /* in the file, before they were merged */

    bool scanned;               /* what follows is valid: see scan.c */
    uint32_t last_grain;        /* its sector; 0: none */
    bool damage_reported;
    bool corruption_told;       /* by the event; under @lock */
    bool fatal_told;            /* the same, for writes */
    char *damage;               /* why it is not written; NULL: whole */
    uint8_t *shared;            /* places of more than one grain, or NULL */
    uint64_t nb_places;

    CoMutex lock;
    VmdkTable **tables;         /* by GD index; NULL: not cached */
    VmdkTable **cached;         /* those that are, for eviction */
    uint32_t nb_cached;
    uint32_t max_cached;
    uint32_t hand;
    uint32_t next_load;         /* the table behind those loaded last */
    uint32_t read_ahead;        /* tables to load at once */
    uint32_t *scratch;          /* one table, for writing; under @lock */
    uint8_t *copy_states;       /* by GD index; NULL: no redundant copy */
    GArray *copies_behind;      /* of uint32_t, GD indices; under @lock */
    QLIST_HEAD(, VmdkAlloc) allocs;
    QSIMPLEQ_HEAD(, VmdkAlloc) pending;
} VmdkExtent;

typedef struct VmdkGrainCache VmdkGrainCache;

typedef struct BDRVVmdkState {
    VmdkExtent *extents;        /* by start, without gaps */
    int nb_extents;
    uint64_t gd_entries;        /* of all extents */
    bool has_cache_bytes;
    uint64_t cache_bytes;       /* for the tables of all; as the user says */
    VmdkGrainCache *grains;     /* NULL: nothing was kept yet */
    VmdkDescriptor desc;
    int64_t desc_offset;        /* bytes, in bs->file */
    int64_t desc_bytes;
    bool desc_embedded;
    bool has_desc;              /* false: a COWD extent by itself */
    CoMutex lock;               /* of what follows */
    bool cid_updated;
    bool parent_checked;
} BDRVVmdkState;

/* The result of a lookup: grains of one kind, if DATA next to each other. */
typedef struct VmdkRun {
    VmdkGrainKind kind;
    int64_t bytes;              /* from the offset that was asked for */
    int64_t file_offset;        /* DATA: of that offset; compressed: of the
                                   grain's marker or data */
} VmdkRun;

extern BlockDriver bdrv_vmdk;

static inline bool vmdk_type_is_flat(VmdkExtentType type)
{
    return type == VMDK_FLAT || type == VMDK_VMFS;
}

static inline uint64_t vmdk_table_bytes(const VmdkExtent *e)
{
    return (uint64_t)e->gt_entries * (e->type == VMDK_SESPARSE
                                      ? sizeof(uint64_t) : sizeof(uint32_t));
}

static inline uint32_t vmdk_table_sectors(const VmdkExtent *e)
{
    return DIV_ROUND_UP(vmdk_table_bytes(e), BDRV_SECTOR_SIZE);
}

/* A row of bits, all clear; NULL without memory. */
static inline uint8_t *vmdk_bits_new(uint64_t count)
{
    return g_try_malloc0(count / 8 + 1);
}

static inline bool vmdk_test_bit(const uint8_t *bits, uint64_t n)
{
    return bits[n / 8] & (1 << n % 8);
}

static inline void vmdk_set_bit(uint8_t *bits, uint64_t n)
{
    bits[n / 8] |= 1 << n % 8;
}

static inline bool vmdk_line_has_file(const VmdkExtentLine *line)
{
    return line->type != VMDK_ZERO && line->access != VMDK_NOACCESS
           && line->sectors;
}

static inline bool vmdk_extent_is_sparse(const VmdkExtent *e)
{
    return e->type == VMDK_SPARSE || e->type == VMDK_VMFSSPARSE
           || e->type == VMDK_SESPARSE;
}

/* descriptor.c: no I/O, any thread. */

/*
 * Read the NUL-terminated @text of the file @name; @embedded: the extent is
 * that file, whatever its name in the text.  True, and @desc is to be
 * cleared; or false with @errp set.
 */
bool vmdk_desc_parse(VmdkDescriptor *desc, const char *text, bool embedded,
                     const char *name, Error **errp);
void vmdk_desc_clear(VmdkDescriptor *desc);
/* Whether @line, which may go on behind its end, begins as an extent does. */
bool vmdk_desc_is_extent(const char *line);

/* desc-text.c: no I/O, any thread. */

/*
 * A copy of @text with another CID; never shorter than @text, so that it
 * covers the old one.  NULL if there is no CID line.
 */
char *vmdk_desc_replace_cid(const char *text, uint32_t cid);
/* The same for the CID of the parent. */
char *vmdk_desc_replace_parent_cid(const char *text, uint32_t cid);
/*
 * A copy of @text, which has a line parentCID, with @hint as the name of the
 * parent, NULL: with none.  @hint has neither quotes nor ends of lines.
 */
char *vmdk_desc_replace_hint(const char *text, const char *hint);
/* 0..100: how much the @size bytes at @buf look like a descriptor. */
int vmdk_desc_probe(const char *buf, int size);
/* Whether it begins with the byte order mark of UTF-16. */
bool vmdk_desc_is_utf16(const char *text);

/* sparse.c: main thread, or the coroutine of a caller that may wait. */

/*
 * The length of @file in bytes, or -errno: bdrv_getlength() counts a sector
 * that is cut like a whole one.
 */
int64_t vmdk_exact_length(BdrvChild *file);
/*
 * Read and check the header of @file, footer included.  0 or -errno with
 * @errp set.
 */
int vmdk_header_read(BdrvChild *file, VmdkHeader *h, Error **errp);
/* Make @e a sparse extent over e->file as described by the checked @h. */
int vmdk_sparse_init(VmdkExtent *e, const VmdkHeader *h, uint64_t cache_bytes,
                     Error **errp);
/* The directory was read: what lookups need.  As vmdk_sparse_init(). */
int vmdk_tables_init(VmdkExtent *e, uint64_t cache_bytes, Error **errp);
void vmdk_sparse_free(VmdkExtent *e);

/* sesparse.c */

/* A seSparse extent begins with it: 64 bit, little-endian. */
#define VMDK_SESPARSE_MAGIC 0x00000000cafebabeull
/* As vmdk_sparse_init(), with the header. */
int vmdk_se_init(BDRVVmdkState *s, VmdkExtent *e, Error **errp);
/*
 * Where entry @n of @t leads, as an entry of other extents would tell it; to a
 * sector that no file has if it makes no sense.
 */
uint64_t vmdk_se_entry(const VmdkExtent *e, const VmdkTable *t, uint32_t n);
/*
 * Every grain is in the file, and used once.  0 or -errno, -EINTR if a signal
 * has ended it.  With e->lock held.
 */
int coroutine_fn vmdk_se_check(VmdkExtent *e, BdrvCheckResult *result);

/* limits.c: no I/O. */

/*
 * Another extent, in file @name, has a directory of @entries.  False with
 * @errp set if all together are too large to be read.
 */
bool vmdk_limit_directories(BDRVVmdkState *s, uint64_t entries,
                            const char *name, Error **errp);
/* How many bytes of tables an extent may keep before all are open. */
uint64_t vmdk_extent_cache(const BDRVVmdkState *s);
/* All extents are open: smaller caches if they are too large together. */
void vmdk_limit_caches(BDRVVmdkState *s);

/* areas.c: no I/O. */

/*
 * All pieces of metadata, by start; they may overlap.  @each: one for each
 * grain table, also where tables follow each other.  To be unreffed.
 */
GArray *vmdk_areas_new(const VmdkExtent *e, bool each);
/* Fill e->areas, from the directories. */
void vmdk_areas_init(VmdkExtent *e);
/* A table was added, behind all that is in the file. */
void vmdk_areas_add_table(VmdkExtent *e, uint64_t sector);
/* The first sector from @sector on that has metadata; UINT64_MAX: none. */
uint64_t vmdk_areas_free_until(const VmdkExtent *e, uint64_t sector);

/* scan.c: main thread, or the coroutine of a caller that may wait. */

/*
 * Read all tables, unless that was done, and set e->damage and e->shared.
 * 0 or -errno.
 */
int vmdk_scan(VmdkExtent *e);
/*
 * The same if it does not take long, and nobody else may write the file; an
 * error is a warning.
 */
void vmdk_scan_at_open(VmdkExtent *e);
/* Before each write: 0 if the extent is known to be whole, or -errno. */
int coroutine_fn vmdk_scan_for_write(BlockDriverState *bs, VmdkExtent *e);
/* Whether more than one grain is in this place, as far as was scanned. */
bool vmdk_grain_is_shared(const VmdkExtent *e, uint64_t sector);

/* backing.c: main thread. */

/* @path as seen from the descriptor; NULL with @errp set. */
char *vmdk_resolve_path(BlockDriverState *bs, const char *path, Error **errp);
/* Whether the user said what child @name is. */
bool vmdk_child_is_given(const QOpts *options, const char *name);
/* Open what the user or the descriptor says.  0 or -errno. */
int vmdk_open_backing(BlockDriverState *bs, QOpts *options, int flags,
                      Error **errp);
/* The name for bdrv_open() of what a hint names; NULL with @errp set. */
char *vmdk_resolve_hint(BlockDriverState *bs, const char *hint,
                        Error **errp);
/* The image below, without filters; NULL if it is no VMDK. */
BlockDriverState *vmdk_parent(BlockDriverState *bs);

/* hint.c: main thread. */

/* The descriptor that the file is a part of, by its name, if it is there. */
char *vmdk_find_descriptor(BlockDriverState *bs);
/* Set @errp for a part of a disk, which is no disk by itself. */
void vmdk_no_descriptor(BlockDriverState *bs, Error **errp);
/* Set @errp for a file that is none; it begins with the @size bytes @buf. */
void vmdk_not_vmdk(BlockDriverState *bs, const char *buf, size_t size,
                   Error **errp);

/* open.c: the callbacks of the driver. */

/*
 * Whether an image opened with @flags may be written, if they say so; if not
 * it becomes read-only where the flags allow for that.
 */
int vmdk_check_writable(BlockDriverState *bs, int flags, Error **errp);
int vmdk_open(BlockDriverState *bs, QOpts *options, int flags, Error **errp);
void vmdk_close(BlockDriverState *bs);

/* corrupt.c: coroutines of the node's AioContext. */

/*
 * The extent is damaged, at @offset of its file (< 0: not at one place): tell
 * it, unless that was told, and refuse writes.  @fatal: something was to be
 * written.  @e->lock is held.
 */
void vmdk_signal_corruption(BlockDriverState *bs, VmdkExtent *e,
                            const char *message, int64_t offset, int64_t size,
                            bool fatal);
/* vmdk_map(); metadata that make it fail are told of. */
int coroutine_fn vmdk_map_checked(BlockDriverState *bs, VmdkExtent *e,
                                  int64_t offset, int64_t bytes,
                                  VmdkRun *run);

/* map.c: coroutines of the node's AioContext. */

/*
 * What is at @offset of the sparse extent, for at most @bytes.  Waits only
 * if the table of @offset is not in the cache.  0 or -errno: -EIO for tables
 * and grains that lie outside of the file.
 */
int coroutine_fn vmdk_map(VmdkExtent *e, int64_t offset, int64_t bytes,
                          VmdkRun *run);
/* The table @index, which must exist.  With e->lock held. */
int coroutine_fn vmdk_table_get_locked(VmdkExtent *e, uint32_t index,
                                       VmdkTable **table);
/* Whether a table at @sector ends before the file does. */
bool vmdk_table_in_file(const VmdkExtent *e, uint32_t sector);
/*
 * How many tables from @index on follow each other in the file; one at least,
 * even if it is not there, and @max at most.
 */
uint32_t vmdk_count_tables(const VmdkExtent *e, uint32_t index, uint32_t max);
/* The byte of the file at which the grain number @grain has to end. */
uint64_t vmdk_grain_end(const VmdkExtent *e, uint64_t grain,
                        uint64_t sector);
/* Whether the grain is clear of all metadata. */
bool vmdk_grain_is_free(const VmdkExtent *e, uint64_t grain,
                        uint64_t sector);
/* The kind of a grain that has the entry @gte in its table. */
static inline VmdkGrainKind vmdk_entry_kind(const VmdkExtent *e, uint64_t gte)
{
    if (!gte) {
        return VMDK_GRAIN_UNALLOCATED;
    }
    if (gte == VMDK_GTE_ZERO && e->has_zero_grain) {
        return VMDK_GRAIN_ZERO;
    }
    return VMDK_GRAIN_DATA;
}
/* The sector that entry @n of @t leads to, 0 or VMDK_GTE_ZERO. */
static inline uint64_t vmdk_table_entry(const VmdkExtent *e,
                                        const VmdkTable *t, uint32_t n)
{
    return unlikely(e->type == VMDK_SESPARSE)
           ? vmdk_se_entry(e, t, n) : GUINT32_FROM_LE(t->entries[n]);
}
/* Read table @index at @sector into @entries, without the cache. */
int coroutine_fn vmdk_table_read(VmdkExtent *e, uint32_t sector,
                                 uint32_t *entries);

/* alloc.c: coroutines of the node's AioContext. */

/*
 * Announce that up to *@count grains of @kind (not DATA) from @first on get
 * filled; *@count becomes what is free to take, within one table.  False if
 * somebody is filling @first: then that has been waited for, and the caller
 * looks it up again.  Does not wait if it returns true.
 */
bool coroutine_fn vmdk_alloc_begin(VmdkExtent *e, VmdkAlloc *a,
                                   VmdkGrainKind kind, int64_t first,
                                   int64_t *count);
/*
 * Reserve @sectors of the file for each grain.  -EFBIG if the format's 32
 * bit sector numbers are used up.  Does not wait.
 */
int vmdk_alloc_reserve(VmdkExtent *e, VmdkAlloc *a, uint32_t sectors);
/*
 * Write the entries [@from, @to), and those that share sectors with them, of
 * @entries to the table at @sector.  0 or -errno: -EIO if it is not in the
 * file.
 */
int coroutine_fn vmdk_table_write(VmdkExtent *e, uint32_t sector,
                                  const uint32_t *entries, uint32_t from,
                                  uint32_t to);
/* The data is in the file: make the table entries point to it. */
int coroutine_fn vmdk_alloc_commit(VmdkExtent *e, VmdkAlloc *a);
/* After a commit or a failure: let others at the grains. */
void coroutine_fn vmdk_alloc_end(VmdkAlloc *a);

/* copies.c: with e->lock held, or in a coroutine that takes it. */

bool vmdk_copies_init(VmdkExtent *e);
void vmdk_copies_free(VmdkExtent *e);
/* Table @index was written: its copy is behind. */
void vmdk_copies_changed(VmdkExtent *e, uint32_t index);
/* Write the copies of tables that were flushed, then flush.  0 or -errno. */
int coroutine_fn vmdk_copies_flush(VmdkExtent *e);
/* Is any copy behind its table? */
static inline bool vmdk_copies_pending(const VmdkExtent *e)
{
    return e->copies_behind && e->copies_behind->len;
}
/*
 * There are no more writes: all copies, of which some are pending; they are not
 * flushed.  0 or -errno.
 */
int coroutine_fn vmdk_copies_finish(VmdkExtent *e);

/* grow.c */

/*
 * The file is going to have something up to byte @end: its length will be
 * enough, even after a loss of power.  In a coroutine of the node's
 * AioContext.  0 or -errno.
 */
int coroutine_fn vmdk_grow(VmdkExtent *e, int64_t end);
/* There are no more writes: cut off what is not used.  Outside coroutines. */
void vmdk_trim(VmdkExtent *e);

/* cow.c: coroutines of the node's AioContext. */

/*
 * Read from the backing file, with zeroes beyond its end (or all zeroes, if
 * there is none).  @offset is of the disk.
 */
int coroutine_fn vmdk_read_backing(BlockDriverState *bs, int64_t offset,
                                   int64_t bytes, QEMUIOVector *qiov,
                                   size_t qiov_offset);
/*
 * Write a new run of grains in one request where possible: @bytes at @offset
 * of the extent from @qiov (NULL: zeroes), around it what reads as the old
 * content.
 */
int coroutine_fn vmdk_write_new(BlockDriverState *bs, VmdkExtent *e,
                                VmdkAlloc *a, int64_t offset, int64_t bytes,
                                QEMUIOVector *qiov, size_t qiov_offset,
                                BdrvRequestFlags flags);

/* io.c */
int coroutine_fn vmdk_co_preadv_part(BlockDriverState *bs, int64_t offset,
                                     int64_t bytes, QEMUIOVector *qiov,
                                     size_t qiov_offset,
                                     BdrvRequestFlags flags);
int coroutine_fn vmdk_co_pwritev_part(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, QEMUIOVector *qiov,
                                      size_t qiov_offset,
                                      BdrvRequestFlags flags);
int coroutine_fn vmdk_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset,
                                       int64_t bytes, BdrvRequestFlags flags);
int coroutine_fn vmdk_co_block_status(BlockDriverState *bs, bool want_zero,
                                      int64_t offset, int64_t bytes,
                                      int64_t *pnum, int64_t *map,
                                      BlockDriverState **file);

/* cid.c */

/* As BlockDriver.bdrv_check_backing; or in the node's home thread. */
bool vmdk_check_backing(BlockDriverState *bs, Error **errp);
/* The same for a request, once per open image: -EINVAL if that was reported. */
int coroutine_fn vmdk_check_parent(BlockDriverState *bs);
/* Before the first write: a new CID, flushed, since the content changes. */
int coroutine_fn vmdk_update_cid(BlockDriverState *bs);
/* A random one that is not VMDK_NO_PARENT. */
uint32_t vmdk_new_cid(void);
/* After a write to a descriptor file: cut what O_DIRECT has added. */
int coroutine_fn vmdk_restore_length(BlockDriverState *bs, int64_t length);

/* reparent.c */

/*
 * As BlockDriver.bdrv_co_change_backing_file.  -ENOENT for a parent that
 * cannot be opened, if the image has had none whose CID could stay.
 */
int coroutine_fn vmdk_co_change_backing_file(BlockDriverState *bs,
                                             const char *backing_file,
                                             const char *backing_fmt);

/* stream-read.c: compressed grains; coroutines of the node's AioContext. */

/*
 * The grain of @run, which begins at @offset, and perhaps those behind it, of
 * [@offset, @offset + @bytes).  Returns how many bytes were read, or -errno.
 */
int64_t coroutine_fn vmdk_stream_read(BDRVVmdkState *s, VmdkExtent *e,
                                      int64_t offset, const VmdkRun *run,
                                      int64_t bytes, QEMUIOVector *qiov,
                                      size_t qiov_offset);
/*
 * Read and unpack the grain at byte @file_offset of the file.  0, or -errno:
 * if *@readable, -EILSEQ says that it is another grain, -EIO that it is
 * damaged.
 */
int coroutine_fn vmdk_stream_load(VmdkExtent *e, int64_t grain,
                                  int64_t file_offset, uint8_t *data,
                                  bool *readable);

/* grain-cache.c: grains that are unpacked; in the node's home thread. */

/*
 * What the grain of @e at byte @file_offset has; NULL: it is not kept.  Valid
 * until the next call of any of these functions.
 */
const uint8_t *vmdk_grain_cache_find(VmdkGrainCache *c, const VmdkExtent *e,
                                     int64_t file_offset);
/* Keep it, or not.  Takes @data, e->grain_bytes; makes *@cache if needed. */
void vmdk_grain_cache_add(VmdkGrainCache **cache, const VmdkExtent *e,
                          int64_t file_offset, uint8_t *data);
void vmdk_grain_cache_free(VmdkGrainCache *c);

/* stream.c: the same as stream-read.c, for writing. */

/*
 * Where the next grain goes: behind the last one, e->last_grain.  What is there
 * is the end of the stream, or was left by a writer that was killed.
 * *@needed_bytes, if that is not NULL, becomes where that grain ends, if it is
 * cut.
 */
int vmdk_stream_find_end(VmdkExtent *e, uint64_t *needed_bytes);
/*
 * Pack the first whole grains of a request, for vmdk_stream_write(); *@count
 * of them.  NULL if that is not worth it, or there is no memory: then
 * vmdk_stream_write() packs.
 */
typedef struct VmdkPackedGrain VmdkPackedGrain;
VmdkPackedGrain *coroutine_fn vmdk_stream_pack(VmdkExtent *e, int64_t offset,
                                               int64_t bytes,
                                               QEMUIOVector *qiov,
                                               size_t qiov_offset,
                                               int *count);
void vmdk_stream_free_packed(VmdkPackedGrain *packed, int count);
/*
 * One grain: [@offset, @offset + @bytes) does not cross its end.  @packed has
 * it perhaps.
 */
int coroutine_fn vmdk_stream_write(BlockDriverState *bs, VmdkExtent *e,
                                   int64_t offset, int64_t bytes,
                                   QEMUIOVector *qiov, size_t qiov_offset,
                                   VmdkPackedGrain *packed, int packed_count);

/* footer.c: the end of a stream; coroutines of the node's AioContext. */

/* Before each write: the image may have no footer now.  0 or -errno. */
int coroutine_fn vmdk_footer_begin(VmdkExtent *e);
/* There are no more writes, and e->needs_end.  0 or -errno. */
int coroutine_fn vmdk_footer_finish(VmdkExtent *e);
/*
 * Write the end of a stream that has e->lost_footer, as a write does that adds
 * nothing.  With e->lock held; the extent is scanned, and has no damage.  0 or
 * -errno; the image can be read as before then.
 */
int coroutine_fn vmdk_footer_restore_locked(VmdkExtent *e);

/* create.c */
extern const QemuOptsList vmdk_create_opts;
int coroutine_fn vmdk_co_create(BlockdevCreateOptions *options, Error **errp);
int coroutine_fn vmdk_co_create_opts(BlockDriver *drv, const char *filename,
                                     QOpts *opts, Error **errp);

/* check.c */
int coroutine_fn vmdk_co_check(BlockDriverState *bs, BdrvCheckResult *result,
                               BdrvCheckMode fix);

/* info.c */
int coroutine_fn vmdk_co_get_info(BlockDriverState *bs, BlockDriverInfo *bdi);
struct json_object *vmdk_get_specific_info(BlockDriverState *bs,
                                           Error **errp);
int64_t coroutine_fn vmdk_co_get_allocated_file_size(BlockDriverState *bs);
int vmdk_has_zero_init(BlockDriverState *bs);

/* vmdk.c */

/*
 * All requests were drained, and perhaps there will be no more writes: leave
 * the files as others are to find them.  Outside coroutines.  0 or -errno.
 */
int vmdk_finish(BlockDriverState *bs);

#endif
