/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Scatter/gather lists: helpers on plain struct iovec arrays, and
 * QEMUIOVector, the growing list that every I/O request carries.
 *
 * All lengths and offsets are bytes.  No function blocks or locks: a list
 * belongs to one thread (or coroutine) at a time.  Total sizes never wrap:
 * a list that would pass SIZE_MAX bytes or INT_MAX elements aborts, except
 * where a function says that it returns an error.
 */
#ifndef QEMU_IOV_H
#define QEMU_IOV_H

/* Sum of all element lengths. */
size_t iov_size(const struct iovec *iov, const unsigned int iov_cnt);

/*
 * Copy between the vector, from @offset on, and @buf.  Return the bytes
 * copied: less than @bytes when the vector ends first.  @offset must not be
 * beyond the end of the vector.
 */
size_t iov_from_buf(const struct iovec *iov, unsigned int iov_cnt,
                    size_t offset, const void *buf, size_t bytes);
size_t iov_to_buf(const struct iovec *iov, unsigned int iov_cnt,
                  size_t offset, void *buf, size_t bytes);

/* Fill with @fillc; same rules and result as iov_from_buf(). */
size_t iov_memset(const struct iovec *iov, unsigned int iov_cnt,
                  size_t offset, int fillc, size_t bytes);

/*
 * Describe @bytes of @iov from @offset on in @dst_iov, without copying data.
 * Returns the number of elements filled, at most @dst_iov_cnt.
 */
unsigned int iov_copy(struct iovec *dst_iov, unsigned int dst_iov_cnt,
                      const struct iovec *iov, unsigned int iov_cnt,
                      size_t offset, size_t bytes);

/*
 * Remove @bytes from the front (advancing *@iov) or the back (shrinking
 * *@iov_cnt), changing elements in place.  Return the bytes removed: less
 * than @bytes when the vector was shorter.
 */
size_t iov_discard_front(struct iovec **iov, unsigned int *iov_cnt,
                         size_t bytes);
size_t iov_discard_back(struct iovec *iov, unsigned int *iov_cnt,
                        size_t bytes);

/* qemu_hexdump() of at most @limit bytes of the vector. */
void iov_hexdump(const struct iovec *iov, const unsigned int iov_cnt,
                 FILE *fp, const char *prefix, size_t limit);

struct QEMUIOVector {
    struct iovec *iov;
    int niov;
    /* Elements allocated; -1: @iov belongs to somebody else. */
    int nalloc;
    /* Total length; kept up to date by all functions below. */
    size_t size;
    /* Storage for QEMU_IOVEC_INIT_BUF() and qemu_iovec_init_buf(). */
    struct iovec local_iov;
};

/*
 * Initialiser of a one-element list over a buffer that outlives it.  @self
 * is the variable being initialised; no qemu_iovec_destroy() needed.
 */
#define QEMU_IOVEC_INIT_BUF(self, buf, len)             \
{                                                       \
    .iov = &(self).local_iov,                           \
    .niov = 1,                                          \
    .nalloc = -1,                                       \
    .size = (len),                                      \
    .local_iov = {                                      \
        .iov_base = (void *)(buf),                      \
        .iov_len = (len),                               \
    },                                                  \
}

/* The same at run time.  @qiov must not be copied afterwards. */
static inline void qemu_iovec_init_buf(QEMUIOVector *qiov,
                                       void *buf, size_t len)
{
    *qiov = (QEMUIOVector) QEMU_IOVEC_INIT_BUF(*qiov, buf, len);
}

/* The buffer of a list that has exactly one element. */
static inline void *qemu_iovec_buf(QEMUIOVector *qiov)
{
    assert(qiov->niov == 1);
    return qiov->iov[0].iov_base;
}

/* An empty list with room for @alloc_hint elements; grows as needed. */
void qemu_iovec_init(QEMUIOVector *qiov, int alloc_hint);

/*
 * A list over a caller's array, which must outlive it.  It cannot grow;
 * qemu_iovec_destroy() leaves the array alone.
 */
void qemu_iovec_init_external(QEMUIOVector *qiov, struct iovec *iov, int niov);

/*
 * A new list over @len bytes of @source from @offset on (must be inside).
 * To be destroyed; @source may be destroyed before it, the data may not.
 */
void qemu_iovec_init_slice(QEMUIOVector *qiov, QEMUIOVector *source,
                           size_t offset, size_t len);

/*
 * A new list: @head_buf, then @mid_len bytes of @mid_qiov from @mid_offset
 * on, then @tail_buf; parts of length 0 are left out.  Returns 0, or -EINVAL
 * (and @qiov is empty) if the result is too long or has too many elements.
 */
int qemu_iovec_init_extended(QEMUIOVector *qiov,
                             void *head_buf, size_t head_len,
                             QEMUIOVector *mid_qiov,
                             size_t mid_offset, size_t mid_len,
                             void *tail_buf, size_t tail_len);

/* Append one element. */
void qemu_iovec_add(QEMUIOVector *qiov, void *base, size_t len);

/*
 * Append @sbytes of @src from @soffset on, by reference; stops where @src
 * ends.  qemu_iovec_concat_iov() returns the bytes appended.
 */
void qemu_iovec_concat(QEMUIOVector *dst, QEMUIOVector *src,
                       size_t soffset, size_t sbytes);
size_t qemu_iovec_concat_iov(QEMUIOVector *dst, struct iovec *src_iov,
                             unsigned int src_cnt, size_t soffset,
                             size_t sbytes);

/*
 * The elements that hold @len bytes from @offset on (must be inside).
 * Returns the first one; *@head bytes of it come before the range, *@tail
 * bytes of the last one after it, *@niov is their number (0 if @len is 0).
 */
struct iovec *qemu_iovec_slice(QEMUIOVector *qiov,
                               size_t offset, size_t len,
                               size_t *head, size_t *tail, int *niov);

/* The memory of @len bytes from @offset on, if one element has it; or NULL. */
void *qemu_iovec_single_buf(QEMUIOVector *qiov, size_t offset, size_t len);

/* Number of elements that hold @len bytes from @offset on. */
int qemu_iovec_subvec_niov(QEMUIOVector *qiov, size_t offset, size_t len);

/* True if @bytes from @offset on (must be inside) are all zero. */
bool qemu_iovec_is_zero(QEMUIOVector *qiov, size_t offset, size_t bytes);

/* Free the list (not the data); @qiov is then all zero bytes. */
void qemu_iovec_destroy(QEMUIOVector *qiov);

/* Empty the list, keep its storage.  Not for external lists. */
void qemu_iovec_reset(QEMUIOVector *qiov);

/* As the iov_* functions of these names, on a whole list. */
size_t qemu_iovec_to_buf(QEMUIOVector *qiov, size_t offset,
                         void *buf, size_t bytes);
size_t qemu_iovec_from_buf(QEMUIOVector *qiov, size_t offset,
                           const void *buf, size_t bytes);
size_t qemu_iovec_memset(QEMUIOVector *qiov, size_t offset,
                         int fillc, size_t bytes);

/*
 * Compare the data of two lists of the same shape.  Returns the offset of
 * the first difference, or -1 if they are equal.
 */
ssize_t qemu_iovec_compare(QEMUIOVector *a, QEMUIOVector *b);

/*
 * Fill the initialised, empty @dest with a list of the shape of @src whose
 * data lies in @buf (src->size bytes): elements that overlap in @src overlap
 * in the same way in @dest.  No data is copied.
 */
void qemu_iovec_clone(QEMUIOVector *dest, const QEMUIOVector *src, void *buf);

/* Drop the last @bytes of the list; it must have that many. */
void qemu_iovec_discard_back(QEMUIOVector *qiov, size_t bytes);

#endif
