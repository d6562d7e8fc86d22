/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Scatter/gather lists: plain struct iovec arrays and QEMUIOVector.
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/iov.h"

size_t iov_size(const struct iovec *iov, const unsigned int iov_cnt)
{
    size_t total = 0;
    unsigned int i;

    for (i = 0; i < iov_cnt; i++) {
        bool overflow = __builtin_add_overflow(total, iov[i].iov_len, &total);

        assert(!overflow);
    }
    return total;
}

typedef void IovVisitFunc(void *base, size_t len, size_t done, void *opaque);

/*
 * Call @fn for each piece of the range; inlined into its callers, so that
 * @fn is a direct call there.  Returns the bytes visited.
 */
static QEMU_ALWAYS_INLINE
size_t iov_visit(const struct iovec *iov, unsigned int iov_cnt,
                 size_t offset, size_t bytes, IovVisitFunc *fn, void *opaque)
{
    size_t done = 0;
    unsigned int i;

    for (i = 0; i < iov_cnt && (offset || done < bytes); i++) {
        size_t len = iov[i].iov_len;

        if (offset >= len) {
            offset -= len;
            continue;
        }
        len = MIN(len - offset, bytes - done);
        if (!len) {
            return done;
        }
        fn((char *)iov[i].iov_base + offset, len, done, opaque);
        done += len;
        offset = 0;
    }
    assert(offset == 0);
    return done;
}

static void copy_in(void *base, size_t len, size_t done, void *opaque)
{
    memcpy(base, (const char *)opaque + done, len);
}

static void copy_out(void *base, size_t len, size_t done, void *opaque)
{
    memcpy((char *)opaque + done, base, len);
}

static void fill(void *base, size_t len, size_t done, void *opaque)
{
    memset(base, *(int *)opaque, len);
}

size_t iov_from_buf(const struct iovec *iov, unsigned int iov_cnt,
                    size_t offset, const void *buf, size_t bytes)
{
    return iov_visit(iov, iov_cnt, offset, bytes, copy_in, (void *)buf);
}

size_t iov_to_buf(const struct iovec *iov, unsigned int iov_cnt,
                  size_t offset, void *buf, size_t bytes)
{
    return iov_visit(iov, iov_cnt, offset, bytes, copy_out, buf);
}

size_t iov_memset(const struct iovec *iov, unsigned int iov_cnt,
                  size_t offset, int fillc, size_t bytes)
{
    return iov_visit(iov, iov_cnt, offset, bytes, fill, &fillc);
}

unsigned int iov_copy(struct iovec *dst_iov, unsigned int dst_iov_cnt,
                      const struct iovec *iov, unsigned int iov_cnt,
                      size_t offset, size_t bytes)
{
    unsigned int i, used = 0;

    for (i = 0; i < iov_cnt && used < dst_iov_cnt &&
         (offset || bytes); i++) {
        size_t len = iov[i].iov_len;

        if (offset >= len) {
            offset -= len;
            continue;
        }
        len = MIN(len - offset, bytes);
        if (!len) {
            return used;
        }
        dst_iov[used].iov_base = (char *)iov[i].iov_base + offset;
        dst_iov[used].iov_len = len;
        used++;
        bytes -= len;
        offset = 0;
    }
    assert(offset == 0);
    return used;
}

size_t iov_discard_front(struct iovec **iov, unsigned int *iov_cnt,
                         size_t bytes)
{
    size_t done = 0;

    while (*iov_cnt && done < bytes) {
        struct iovec *first = *iov;
        size_t len = MIN(first->iov_len, bytes - done);

        done += len;
        if (len < first->iov_len) {
            first->iov_base = (char *)first->iov_base + len;
            first->iov_len -= len;
            break;
        }
        (*iov)++;
        (*iov_cnt)--;
    }
    return done;
}

size_t iov_discard_back(struct iovec *iov, unsigned int *iov_cnt,
                        size_t bytes)
{
    size_t done = 0;

    while (*iov_cnt && done < bytes) {
        struct iovec *last = &iov[*iov_cnt - 1];
        size_t len = MIN(last->iov_len, bytes - done);

        done += len;
        if (len < last->iov_len) {
            last->iov_len -= len;
            break;
        }
        (*iov_cnt)--;
    }
    return done;
}

void iov_hexdump(const struct iovec *iov, const unsigned int iov_cnt,
                 FILE *fp, const char *prefix, size_t limit)
{
    size_t size = MIN(iov_size(iov, iov_cnt), limit);
    g_autofree char *buf = g_malloc(size);

    iov_to_buf(iov, iov_cnt, 0, buf, size);
    qemu_hexdump(fp, prefix, buf, size);
}

void qemu_iovec_init(QEMUIOVector *qiov, int alloc_hint)
{
    assert(alloc_hint >= 0);
    *qiov = (QEMUIOVector) {
        .iov = g_new(struct iovec, alloc_hint),
        .nalloc = alloc_hint,
    };
}

void qemu_iovec_init_external(QEMUIOVector *qiov, struct iovec *iov, int niov)
{
    assert(niov >= 0);
    *qiov = (QEMUIOVector) {
        .iov = iov,
        .niov = niov,
        .nalloc = -1,
        .size = iov_size(iov, niov),
    };
}

/* Room for @extra more elements; @qiov owns its array. */
static void qemu_iovec_reserve(QEMUIOVector *qiov, size_t extra)
{
    size_t doubled;

    assert(qiov->nalloc != -1);
    if (extra <= (size_t)(qiov->nalloc - qiov->niov)) {
        return;
    }
    assert(extra <= (size_t)(INT_MAX - qiov->niov));
    doubled = MIN((size_t)qiov->nalloc * 2 + 1, INT_MAX);
    qiov->nalloc = MAX(doubled, qiov->niov + extra);
    qiov->iov = g_renew(struct iovec, qiov->iov, qiov->nalloc);
}

void qemu_iovec_add(QEMUIOVector *qiov, void *base, size_t len)
{
    size_t size;
    bool overflow = __builtin_add_overflow(qiov->size, len, &size);

    assert(!overflow);
    qemu_iovec_reserve(qiov, 1);
    qiov->iov[qiov->niov].iov_base = base;
    qiov->iov[qiov->niov].iov_len = len;
    qiov->niov++;
    qiov->size = size;
}

size_t qemu_iovec_concat_iov(QEMUIOVector *dst, struct iovec *src_iov,
                             unsigned int src_cnt, size_t soffset,
                             size_t sbytes)
{
    size_t done = 0;
    unsigned int i;

    assert(dst->nalloc != -1);
    for (i = 0; i < src_cnt && done < sbytes; i++) {
        size_t len = src_iov[i].iov_len;

        if (soffset >= len) {
            soffset -= len;
            continue;
        }
        len = MIN(len - soffset, sbytes - done);
        qemu_iovec_add(dst, (char *)src_iov[i].iov_base + soffset, len);
        done += len;
        soffset = 0;
    }
    assert(sbytes == 0 || soffset == 0);
    return done;
}

void qemu_iovec_concat(QEMUIOVector *dst, QEMUIOVector *src,
                       size_t soffset, size_t sbytes)
{
    qemu_iovec_concat_iov(dst, src->iov, src->niov, soffset, sbytes);
}

struct iovec *qemu_iovec_slice(QEMUIOVector *qiov,
                               size_t offset, size_t len,
                               size_t *head, size_t *tail, int *niov)
{
    struct iovec *first = qiov->iov, *last;

    assert(offset <= qiov->size && len <= qiov->size - offset);
    *head = *tail = 0;
    *niov = 0;
    if (!len) {
        return first;
    }
    while (offset >= first->iov_len) {
        offset -= first->iov_len;
        first++;
    }
    *head = offset;
    /* Now the distance of the range's end from the start of an element. */
    for (last = first, len += offset; len > last->iov_len; last++) {
        len -= last->iov_len;
    }
    *tail = last->iov_len - len;
    *niov = last - first + 1;
    return first;
}

void *qemu_iovec_single_buf(QEMUIOVector *qiov, size_t offset, size_t len)
{
    size_t head, tail;
    int niov;
    struct iovec *iov = qemu_iovec_slice(qiov, offset, len, &head, &tail,
                                         &niov);

    return niov == 1 ? (char *)iov->iov_base + head : NULL;
}

int qemu_iovec_subvec_niov(QEMUIOVector *qiov, size_t offset, size_t len)
{
    size_t head, tail;
    int niov;

    qemu_iovec_slice(qiov, offset, len, &head, &tail, &niov);
    return niov;
}

void qemu_iovec_init_slice(QEMUIOVector *qiov, QEMUIOVector *source,
                           size_t offset, size_t len)
{
    qemu_iovec_init(qiov, qemu_iovec_subvec_niov(source, offset, len));
    qemu_iovec_concat(qiov, source, offset, len);
}

int qemu_iovec_init_extended(QEMUIOVector *qiov,
                             void *head_buf, size_t head_len,
                             QEMUIOVector *mid_qiov,
                             size_t mid_offset, size_t mid_len,
                             void *tail_buf, size_t tail_len)
{
    int64_t niov = !!head_len + !!tail_len;
    size_t size;

    memset(qiov, 0, sizeof(*qiov));
    if (__builtin_add_overflow(head_len, mid_len, &size) ||
        __builtin_add_overflow(size, tail_len, &size)) {
        return -EINVAL;
    }
    if (mid_len) {
        niov += qemu_iovec_subvec_niov(mid_qiov, mid_offset, mid_len);
    }
    if (niov > INT_MAX) {
        return -EINVAL;
    }

    qemu_iovec_init(qiov, niov);
    if (head_len) {
        qemu_iovec_add(qiov, head_buf, head_len);
    }
    if (mid_len) {
        qemu_iovec_concat(qiov, mid_qiov, mid_offset, mid_len);
    }
    if (tail_len) {
        qemu_iovec_add(qiov, tail_buf, tail_len);
    }
    return 0;
}

bool qemu_iovec_is_zero(QEMUIOVector *qiov, size_t offset, size_t bytes)
{
    struct iovec *iov;
    size_t head, tail;
    int i, niov;

    iov = qemu_iovec_slice(qiov, offset, bytes, &head, &tail, &niov);
    for (i = 0; i < niov; i++) {
        size_t start = i == 0 ? head : 0;
        size_t cut = i == niov - 1 ? tail : 0;

        if (!buffer_is_zero((char *)iov[i].iov_base + start,
                            iov[i].iov_len - start - cut)) {
            return false;
        }
    }
    return true;
}

void qemu_iovec_destroy(QEMUIOVector *qiov)
{
    if (qiov->nalloc != -1) {
        g_free(qiov->iov);
    }
    memset(qiov, 0, sizeof(*qiov));
}

void qemu_iovec_reset(QEMUIOVector *qiov)
{
    assert(qiov->nalloc != -1);
    qiov->niov = 0;
    qiov->size = 0;
}

size_t qemu_iovec_to_buf(QEMUIOVector *qiov, size_t offset,
                         void *buf, size_t bytes)
{
    return iov_to_buf(qiov->iov, qiov->niov, offset, buf, bytes);
}

size_t qemu_iovec_from_buf(QEMUIOVector *qiov, size_t offset,
                           const void *buf, size_t bytes)
{
    return iov_from_buf(qiov->iov, qiov->niov, offset, buf, bytes);
}

size_t qemu_iovec_memset(QEMUIOVector *qiov, size_t offset,
                         int fillc, size_t bytes)
{
    return iov_memset(qiov->iov, qiov->niov, offset, fillc, bytes);
}

ssize_t qemu_iovec_compare(QEMUIOVector *a, QEMUIOVector *b)
{
    size_t offset = 0;
    int i;

    assert(a->niov == b->niov);
    for (i = 0; i < a->niov; i++) {
        const uint8_t *p = a->iov[i].iov_base;
        const uint8_t *q = b->iov[i].iov_base;
        size_t len = a->iov[i].iov_len;
        size_t j = 0;

        assert(len == b->iov[i].iov_len);
        if (len && memcmp(p, q, len)) {
            while (p[j] == q[j]) {
                j++;
            }
            return offset + j;
        }
        offset += len;
    }
    return -1;
}

/* An element of the source of qemu_iovec_clone(). */
typedef struct ClonePart {
    int index;
    uintptr_t start;
    size_t len;
    void *clone;
} ClonePart;

static int clone_compare_start(const void *a, const void *b)
{
    const ClonePart *p = a, *q = b;

    return (p->start > q->start) - (p->start < q->start);
}

static int clone_compare_index(const void *a, const void *b)
{
    const ClonePart *p = a, *q = b;

    return (p->index > q->index) - (p->index < q->index);
}

void qemu_iovec_clone(QEMUIOVector *dest, const QEMUIOVector *src, void *buf)
{
    g_autofree ClonePart *parts = g_new(ClonePart, src->niov);
    uintptr_t end = 0;
    char *next = buf;
    int i;

    if (!src->niov) {
        return;
    }
    for (i = 0; i < src->niov; i++) {
        parts[i] = (ClonePart) {
            .index = i,
            .start = (uintptr_t)src->iov[i].iov_base,
            .len = src->iov[i].iov_len,
        };
    }
    /*
     * In order of address, each part shares with those before it what lies
     * below @end, so the clone needs new room only for the rest.
     */
    qsort(parts, src->niov, sizeof(parts[0]), clone_compare_start);
    for (i = 0; i < src->niov; i++) {
        size_t shared = i && end > parts[i].start ? end - parts[i].start : 0;

        parts[i].clone = next - shared;
        if (parts[i].len > shared || !i) {
            next += parts[i].len - shared;
            end = parts[i].start + parts[i].len;
        }
    }
    qsort(parts, src->niov, sizeof(parts[0]), clone_compare_index);
    for (i = 0; i < src->niov; i++) {
        qemu_iovec_add(dest, parts[i].clone, parts[i].len);
    }
}

void qemu_iovec_discard_back(QEMUIOVector *qiov, size_t bytes)
{
    unsigned int niov = qiov->niov;
    size_t done;

    assert(bytes <= qiov->size);
    done = iov_discard_back(qiov->iov, &niov, bytes);
    assert(done == bytes);
    qiov->niov = niov;
    qiov->size -= bytes;
}
