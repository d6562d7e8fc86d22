/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The block layer for its users: nodes, their graph, and requests to them.
 *
 * Opening, closing, creating and changing the graph belong to the main thread
 * outside coroutines.  Request functions with _co_ in their name run in
 * coroutines of the node's AioContext; those without may be called from
 * either, and poll the node's AioContext outside coroutines.
 * All return 0 (or what they say) or -errno.
 */
#ifndef QEMU_BLOCK_H
#define QEMU_BLOCK_H

#include "qemu/aio.h"
#include "block/block-common.h"
#include "qemu/coroutine.h"
#include "qemu/iov.h"
#include "qemu/option.h"

/* Register all drivers; once, after qemu_init_main_loop(). */
void bdrv_init(void);

/* NULL if there is no such driver. */
BlockDriver *bdrv_find_format(const char *format_name);
/* Whether @filename is "json:..." or has the prefix of a known protocol. */
bool bdrv_filename_has_protocol(const char *filename);
/* The name for bdrv_open() of @backing, as the image @backed names it. */
char *bdrv_get_full_backing_filename_from_filename(const char *backed,
                                                   const char *backing,
                                                   Error **errp);
/* The protocol of a file name ("blkdebug:..."); "file" if it names none. */
BlockDriver *bdrv_find_protocol(const char *filename,
                                bool allow_protocol_prefix, Error **errp);
/* Call @it for each driver name, sorted. */
void bdrv_iterate_format(void (*it)(void *opaque, const char *name),
                         void *opaque, bool read_only);

/*
 * The flags of -t MODE: none, directsync, writeback, writethrough, unsafe,
 * off.  0, or -1 for an unknown name.  @flags keeps its other bits.
 */
int bdrv_parse_cache_mode(const char *mode, int *flags, bool *writethrough);
/* -i: threads, native, io_uring. */
int bdrv_parse_aio(const char *mode, int *flags);
/* -d: ignore, off, unmap, on. */
int bdrv_parse_discard_flags(const char *mode, int *flags);

/*
 * Open a node.  @filename may be a path, "protocol:...", or "json:{...}";
 * @reference names an existing node instead; @options is consumed (NULL is
 * fine).  Returns a reference.
 */
BlockDriverState *bdrv_open(const char *filename, const char *reference,
                            QOpts *options, int flags, Error **errp);
/*
 * Open what @options say under "@bdref_key." (or the node it names, or
 * @filename) and attach it to @parent as child @bdref_key.  NULL without an
 * error only if @allow_none and nothing was given.
 */
BdrvChild *bdrv_open_child(const char *filename, QOpts *options,
                           const char *bdref_key, BlockDriverState *parent,
                           BdrvChildRole role, bool allow_none,
                           Error **errp);
/* The common case: parent->file. */
int bdrv_open_file_child(const char *filename, QOpts *options,
                         const char *bdref_key, BlockDriverState *parent,
                         Error **errp);
/* Drop the child and its reference; NULL is fine. */
void bdrv_unref_child(BlockDriverState *parent, BdrvChild *child);
/*
 * A node by @drv that has no file name, as jobs insert them; @options is
 * consumed (NULL is fine).  @node_name NULL: invent one.  Returns a reference.
 */
BlockDriverState *bdrv_new_open_driver_opts(BlockDriver *drv,
                                            const char *node_name,
                                            QOpts *options, int flags,
                                            Error **errp);
BlockDriverState *bdrv_new_open_driver(BlockDriver *drv,
                                       const char *node_name, int flags,
                                       Error **errp);

/*
 * Changes of the graph: block/graph-mod.c.  Main thread, outside coroutines.
 * Each happens as a whole or not at all; the nodes concerned are drained
 * meanwhile.  0 or -errno with @errp set.
 */

/*
 * Put @bs_new, which has no backing child yet, above @bs_top: the users of
 * @bs_top become those of @bs_new.  References do not change hands.
 */
int bdrv_append(BlockDriverState *bs_new, BlockDriverState *bs_top,
                Error **errp);
/*
 * Open a node from @options (consumed; with "driver", and @bs as a child) and
 * put it above @bs.  Returns a reference, or NULL with @errp set.
 */
BlockDriverState *bdrv_insert_node(BlockDriverState *bs, QOpts *options,
                                   int flags, Error **errp);
/* The users of @from become those of @to, but for those that @to has below. */
int bdrv_replace_node(BlockDriverState *from, BlockDriverState *to,
                      Error **errp);
/* Let one edge lead to @new_bs; takes a reference of its own. */
int bdrv_replace_child_bs(BdrvChild *child, BlockDriverState *new_bs,
                          Error **errp);
/* Take the filter @bs out: its users become those of its child. */
int bdrv_drop_filter(BlockDriverState *bs, Error **errp);
/*
 * A node whose driver has a list of children, as quorum has, gets one more, or
 * loses one.  @errp is set if that cannot be; @child_bs stays the caller's.
 */
void bdrv_add_child(BlockDriverState *parent, BlockDriverState *child_bs,
                    Error **errp);
void bdrv_del_child(BlockDriverState *parent, BdrvChild *child, Error **errp);
/* Another backing file, or none (NULL); takes a reference of its own. */
int bdrv_set_backing_hd(BlockDriverState *bs, BlockDriverState *backing_hd,
                        Error **errp);

/*
 * No link from @bs down to @base (NULL: the whole chain) can change until it
 * is unfrozen.  -EPERM with @errp set if one is frozen already.
 */
int bdrv_freeze_backing_chain(BlockDriverState *bs, BlockDriverState *base,
                              Error **errp);
void bdrv_unfreeze_backing_chain(BlockDriverState *bs,
                                 BlockDriverState *base);
bool bdrv_is_backing_chain_frozen(BlockDriverState *bs,
                                  BlockDriverState *base, Error **errp);

/*
 * Backing chains.  Skip filters: the first node from @bs down that is no
 * filter; implicit ones only.  Next: the node below @bs in the chain that is
 * no filter.  Overlay: the node of the chain of @active whose next one is @bs.
 */
BlockDriverState *bdrv_skip_filters(BlockDriverState *bs);
BlockDriverState *bdrv_skip_implicit_filters(BlockDriverState *bs);
BlockDriverState *bdrv_backing_chain_next(BlockDriverState *bs);
BlockDriverState *bdrv_find_base(BlockDriverState *bs);
BlockDriverState *bdrv_find_overlay(BlockDriverState *active,
                                    BlockDriverState *bs);
/* Whether @base is @top or below it in its chain. */
bool bdrv_chain_contains(BlockDriverState *top, BlockDriverState *base);
/*
 * What the header of an overlay of @bs calls it: *@name and *@fmt are those of
 * an image, also where @bs is a filter.  They belong to the image.
 */
void bdrv_get_header_names(BlockDriverState *bs, const char **name,
                           const char **fmt);
/*
 * Whether @bs is the backing file of an image; @errp is set then, for what must
 * not be done to such a node.
 */
bool bdrv_is_backing_hd(BlockDriverState *bs, Error **errp);
/* The node of the chain of @bs that @backing_file is the name of, or NULL. */
BlockDriverState *bdrv_find_backing_image(BlockDriverState *bs,
                                          const char *backing_file);

void bdrv_ref(BlockDriverState *bs);
void bdrv_unref(BlockDriverState *bs);

BlockDriverState *bdrv_find_node(const char *node_name);
BlockDriverState *bdrv_next_node(BlockDriverState *bs);
/*
 * The same for a walk that polls: the next node gets a reference, so that it
 * stays listed, and that of @bs is given up.  Who ends the walk before the last
 * node gives up that of the node where it ends.
 */
BlockDriverState *bdrv_next_node_ref(BlockDriverState *bs);
const char *bdrv_get_node_name(const BlockDriverState *bs);
const char *bdrv_get_format_name(BlockDriverState *bs);
/* Of the first user that has a name; "" if none has. */
const char *bdrv_get_device_name(const BlockDriverState *bs);
const char *bdrv_get_device_or_node_name(const BlockDriverState *bs);
/* The home of @bs (NULL: the main context).  Any thread. */
AioContext *bdrv_get_aio_context(BlockDriverState *bs);
/*
 * Go on in the home of @bs, where the coroutine stays until bdrv_co_leave()
 * with what the first returned.  Counts as a request of @bs meanwhile.
 */
AioContext *coroutine_fn bdrv_co_enter(BlockDriverState *bs);
void coroutine_fn bdrv_co_leave(BlockDriverState *bs, AioContext *old_ctx);
/*
 * Move @bs to @ctx, with all that hold it and all that it holds, or nothing.
 * @ignore_child is an edge whose parent moves by itself; NULL for none.
 */
int bdrv_try_change_aio_context(BlockDriverState *bs, AioContext *ctx,
                                BdrvChild *ignore_child, Error **errp);
/*
 * @detach before and @attached after the node moves, in the main thread while
 * it is drained.  Removal with the same arguments; callbacks may do that.
 */
void bdrv_add_aio_context_notifier(BlockDriverState *bs,
                                   void (*attached)(AioContext *new_context,
                                                    void *opaque),
                                   void (*detach)(void *opaque),
                                   void *opaque);
void bdrv_remove_aio_context_notifier(BlockDriverState *bs,
                                      void (*attached)(AioContext *, void *),
                                      void (*detach)(void *), void *opaque);
/* Whether a node or a BlockBackend is at home in @ctx. */
bool bdrv_aio_context_in_use(AioContext *ctx);
/*
 * Nodes that have no user but other nodes leave @ctx for the main thread's, if
 * all can that are at home there.  Whether bdrv_aio_context_in_use() says no.
 */
bool bdrv_vacate_aio_context(AioContext *ctx);
int bdrv_get_flags(BlockDriverState *bs);
bool bdrv_is_read_only(BlockDriverState *bs);
bool bdrv_is_writable(BlockDriverState *bs);
bool bdrv_is_inserted(BlockDriverState *bs);
/*
 * An inactive node is not written to, and other processes may do what they
 * want with the image; see block/active.c.  Activate: the children first.
 * Inactivate: the children as well that no active node uses.  0 or -errno with
 * @errp set; a failure may leave some nodes as they were to be.
 */
bool bdrv_is_inactive(const BlockDriverState *bs);
int bdrv_activate(BlockDriverState *bs, Error **errp);
int bdrv_inactivate(BlockDriverState *bs, Error **errp);
int bdrv_activate_all(Error **errp);
int bdrv_inactivate_all(Error **errp);
/*
 * For drivers: turn a node that was to be writable into a read-only one if
 * BDRV_O_AUTO_RDONLY allows, else -EACCES with @errmsg in @errp.
 */
int bdrv_apply_auto_read_only(BlockDriverState *bs, const char *errmsg,
                              Error **errp);
/* Rebuild bs->filename from the node's options. */
void bdrv_refresh_filename(BlockDriverState *bs);
/* Recompute bs->bl from the driver and the children. */
void bdrv_refresh_limits(BlockDriverState *bs, Error **errp);

/* Reopen with other flags or options ("-r", "-w", "-c", "-o" of qemu-io). */
int bdrv_reopen(BlockDriverState *bs, int flags, QOpts *options,
                Error **errp);
int bdrv_reopen_set_read_only(BlockDriverState *bs, bool read_only,
                              Error **errp);
/*
 * Reopen several nodes, all or none.  bdrv_reopen_queue() adds one (@queue
 * NULL: to a new queue) with @options (consumed; may name another "file" or
 * "backing" child).  What they do not say stays as it is if @keep_old_opts,
 * else it becomes the default.  bdrv_reopen_multiple() frees the queue.
 */
typedef struct BlockReopenQueue BlockReopenQueue;
BlockReopenQueue *bdrv_reopen_queue(BlockReopenQueue *queue,
                                    BlockDriverState *bs, QOpts *options,
                                    bool keep_old_opts);
void bdrv_reopen_queue_free(BlockReopenQueue *queue);
int bdrv_reopen_multiple(BlockReopenQueue *queue, Error **errp);

/*
 * Create an image.  bdrv_create(): by @drv from @opts (consumed), which
 * create_opts of the driver describes.  bdrv_create_file(): a protocol-level
 * file of 0 bytes for a format to fill.
 */
int bdrv_create(BlockDriver *drv, const char *filename, QOpts *opts,
                Error **errp);
int bdrv_create_file(const char *filename, QOpts *opts, Error **errp);
const QemuOptsList *bdrv_create_opts(BlockDriver *drv);

/* Requests through a child. */
int coroutine_fn bdrv_co_preadv(BdrvChild *child, int64_t offset,
                                int64_t bytes, QEMUIOVector *qiov,
                                BdrvRequestFlags flags);
int coroutine_fn bdrv_co_preadv_part(BdrvChild *child, int64_t offset,
                                     int64_t bytes, QEMUIOVector *qiov,
                                     size_t qiov_offset,
                                     BdrvRequestFlags flags);
int coroutine_fn bdrv_co_pwritev(BdrvChild *child, int64_t offset,
                                 int64_t bytes, QEMUIOVector *qiov,
                                 BdrvRequestFlags flags);
int coroutine_fn bdrv_co_pwritev_part(BdrvChild *child, int64_t offset,
                                      int64_t bytes, QEMUIOVector *qiov,
                                      size_t qiov_offset,
                                      BdrvRequestFlags flags);
int coroutine_fn bdrv_co_pread(BdrvChild *child, int64_t offset,
                               int64_t bytes, void *buf,
                               BdrvRequestFlags flags);
/*
 * As bdrv_co_pread(), but -EIO for what is past the end of the node, which may
 * be shorter than it was (a server's disk).
 */
int coroutine_fn bdrv_co_pread_within(BdrvChild *child, int64_t offset,
                                      int64_t bytes, void *buf);
int coroutine_fn bdrv_co_pwrite(BdrvChild *child, int64_t offset,
                                int64_t bytes, const void *buf,
                                BdrvRequestFlags flags);
/* Write, then flush. */
int coroutine_fn bdrv_co_pwrite_sync(BdrvChild *child, int64_t offset,
                                     int64_t bytes, const void *buf,
                                     BdrvRequestFlags flags);
int coroutine_fn bdrv_co_pwrite_zeroes(BdrvChild *child, int64_t offset,
                                       int64_t bytes,
                                       BdrvRequestFlags flags);
/*
 * Copy without reading: by the host, from file to file.  0, or -errno:
 * -ENOTSUP if it cannot be done, then read and write.  After any error a part
 * may have been copied.  Only within the length of @dst.
 */
int coroutine_fn bdrv_co_copy_range(BdrvChild *src, int64_t src_offset,
                                    BdrvChild *dst, int64_t dst_offset,
                                    int64_t bytes, BdrvRequestFlags read_flags,
                                    BdrvRequestFlags write_flags);
int coroutine_fn bdrv_co_pdiscard(BdrvChild *child, int64_t offset,
                                  int64_t bytes);
/*
 * All writes to @bs that have ended, and to what is below, are on the disk: 0,
 * or -errno.  For a driver's own order of writes, and before an operation:
 * what is below may tell of an error only once, so after one the next flush of
 * each parent of @bs fails as well, that of the caller, too.
 */
int coroutine_fn bdrv_co_flush(BlockDriverState *bs);
/*
 * The same on behalf of the parent, who passes the result on to those who have
 * asked for it.  It fails, too, if a flush of the node has failed since the
 * last call that the parent has not been told of.
 */
int coroutine_fn bdrv_co_flush_child(BdrvChild *child);
int coroutine_fn bdrv_co_truncate(BdrvChild *child, int64_t offset, bool exact,
                                  PreallocMode prealloc,
                                  BdrvRequestFlags flags, Error **errp);
int64_t coroutine_fn bdrv_co_getlength(BlockDriverState *bs);
int64_t coroutine_fn bdrv_co_get_allocated_file_size(BlockDriverState *bs);
int coroutine_fn bdrv_co_get_info(BlockDriverState *bs, BlockDriverInfo *bdi);
int coroutine_fn bdrv_co_check(BlockDriverState *bs, BdrvCheckResult *res,
                               BdrvCheckMode fix);
/*
 * Status of [@offset, @offset + *@pnum), at most @bytes: BDRV_BLOCK_* bits or
 * -errno.  The second looks through the layers from @bs down to, and without,
 * @base (NULL: all); a layer that ends before @offset reads as zeroes.
 */
int coroutine_fn bdrv_co_block_status(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, int64_t *pnum,
                                      int64_t *map, BlockDriverState **file);
int coroutine_fn bdrv_co_block_status_above(BlockDriverState *bs,
                                            BlockDriverState *base,
                                            int64_t offset, int64_t bytes,
                                            int64_t *pnum, int64_t *map,
                                            BlockDriverState **file);
/* 1: allocated in this layer; 0: not; -errno. */
int coroutine_fn bdrv_co_is_allocated(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, int64_t *pnum);
/*
 * The same for the layers from @top down to @base, which counts if
 * @include_base: the number of the layer, counted from 1 for @top; 0 if none
 * has it.  @base NULL: all.
 */
int coroutine_fn bdrv_co_is_allocated_above(BlockDriverState *top,
                                            BlockDriverState *base,
                                            bool include_base,
                                            int64_t offset, int64_t bytes,
                                            int64_t *pnum);
/* 1 if the range is known to read as zeroes; 0 if not; -errno. */
int coroutine_fn bdrv_co_is_zero_fast(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes);
/*
 * Whether the range is known to read as zeroes, holes of files included: for
 * jobs that would write zeroes otherwise.  An error counts as "not known".  So
 * does any overlay: what it has not allocated may become data, when the backing
 * file is written or opened.
 */
bool coroutine_fn bdrv_co_is_known_zero(BlockDriverState *bs, int64_t offset,
                                        int64_t bytes);
/* As bdrv_co_is_zero_fast(), for the whole node. */
int coroutine_fn bdrv_co_is_all_zeroes(BlockDriverState *bs);

/*
 * Note another backing file (NULL or "": none) in the metadata of @bs, which
 * is open for writing; its backing child stays as it is.  @require: without
 * @backing_fmt it is -EINVAL.  Main thread, outside coroutines.  -ENOTSUP for
 * formats without backing files; see BlockDriver.bdrv_co_change_backing_file.
 */
int bdrv_change_backing_file(BlockDriverState *bs, const char *backing_file,
                             const char *backing_fmt, bool require);
/*
 * Whether the backing file of each image from @bs down to @base, which does not
 * count (NULL: to the end), still has the content that the image is an overlay
 * of, as far as its format notes that: false with @errp set if not.  To be
 * asked before some of them become one image, or are said to belong together.
 * Main thread, outside coroutines.
 */
bool bdrv_check_backing(BlockDriverState *bs, BlockDriverState *base,
                        Error **errp);
/*
 * The same backing file again, after its content has changed in a way that
 * @bs, which may be read-only, does not see: what a format keeps to recognise
 * it is brought up to date.  0 or -errno.  Main thread, outside coroutines.
 */
int bdrv_refresh_backing_file(BlockDriverState *bs);

/*
 * The same outside coroutines (or inside): scripts/block-coroutine-wrapper.py
 * writes the functions with "co_wrapper".
 */
int co_wrapper bdrv_pread(BdrvChild *child, int64_t offset, int64_t bytes,
                          void *buf, BdrvRequestFlags flags);
int co_wrapper bdrv_pwrite(BdrvChild *child, int64_t offset, int64_t bytes,
                           const void *buf, BdrvRequestFlags flags);
int co_wrapper bdrv_pwrite_sync(BdrvChild *child, int64_t offset,
                                int64_t bytes, const void *buf,
                                BdrvRequestFlags flags);
int co_wrapper bdrv_pwrite_zeroes(BdrvChild *child, int64_t offset,
                                  int64_t bytes, BdrvRequestFlags flags);
int co_wrapper bdrv_flush(BlockDriverState *bs);
int co_wrapper bdrv_flush_child(BdrvChild *child);
int co_wrapper bdrv_truncate(BdrvChild *child, int64_t offset, bool exact,
                             PreallocMode prealloc, BdrvRequestFlags flags,
                             Error **errp);
int64_t bdrv_getlength(BlockDriverState *bs);
int64_t co_wrapper bdrv_get_allocated_file_size(BlockDriverState *bs);
int co_wrapper bdrv_get_info(BlockDriverState *bs, BlockDriverInfo *bdi);
int co_wrapper bdrv_check(BlockDriverState *bs, BdrvCheckResult *res,
                          BdrvCheckMode fix);
int co_wrapper bdrv_block_status(BlockDriverState *bs, int64_t offset,
                                 int64_t bytes, int64_t *pnum, int64_t *map,
                                 BlockDriverState **file);
int co_wrapper bdrv_block_status_above(BlockDriverState *bs,
                                       BlockDriverState *base, int64_t offset,
                                       int64_t bytes, int64_t *pnum,
                                       int64_t *map, BlockDriverState **file);
int co_wrapper bdrv_is_allocated(BlockDriverState *bs, int64_t offset,
                                 int64_t bytes, int64_t *pnum);
int co_wrapper bdrv_is_allocated_above(BlockDriverState *top,
                                       BlockDriverState *base,
                                       bool include_base, int64_t offset,
                                       int64_t bytes, int64_t *pnum);
/*
 * Format specific information as a JSON object {"type":..., "data":{...}}, a
 * reference for the caller; NULL if the driver has none.
 */
struct json_object *bdrv_get_specific_info(BlockDriverState *bs,
                                           Error **errp);
/* 1 if a new image reads as zeroes. */
int bdrv_has_zero_init(BlockDriverState *bs);
int bdrv_get_cluster_size(BlockDriverState *bs);

/*
 * Drain: no new requests from above, and all there are have ended; in a
 * section until the end.  Sections nest.  Main thread; or in a coroutine of
 * any thread that is itself no request, and is not counted as one, of the
 * nodes concerned.  A node that is opened in a section of all is drained, too.
 */
void bdrv_drained_begin(BlockDriverState *bs);
void bdrv_drained_end(BlockDriverState *bs);
void bdrv_drain(BlockDriverState *bs);
void bdrv_drain_all_begin(void);
void bdrv_drain_all_end(void);
void bdrv_drain_all(void);
/*
 * What @bs and the nodes below it have in flight is not wanted any more:
 * requests that wait for another program fail soon.  Main thread; does not
 * wait.
 */
void bdrv_cancel_in_flight(BlockDriverState *bs);

/* Memory aligned for direct requests to @bs; qemu_vfree() frees it. */
void *qemu_blockalign(BlockDriverState *bs, size_t size);
void *qemu_blockalign0(BlockDriverState *bs, size_t size);
void *qemu_try_blockalign(BlockDriverState *bs, size_t size);
size_t bdrv_opt_mem_align(BlockDriverState *bs);
size_t bdrv_min_mem_align(BlockDriverState *bs);
bool bdrv_qiov_is_aligned(BlockDriverState *bs, QEMUIOVector *qiov,
                          size_t qiov_offset, size_t bytes);

/* blkdebug: find the node below @bs that knows breakpoints.  -ENOTSUP. */
int bdrv_debug_breakpoint(BlockDriverState *bs, const char *event,
                          const char *tag);
int bdrv_debug_remove_breakpoint(BlockDriverState *bs, const char *tag);
int bdrv_debug_resume(BlockDriverState *bs, const char *tag);
bool bdrv_debug_is_suspended(BlockDriverState *bs, const char *tag);

/*
 * Check offset and length of a request: -EIO if they are not within what a
 * request may be.
 */
int bdrv_check_request32(int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                         size_t qiov_offset);

/* Run @fn(@arg) in a coroutine of @ctx and poll until it has returned. */
int bdrv_run_co(AioContext *ctx, int coroutine_fn (*fn)(void *arg), void *arg);

#endif
