/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Only what the series may use: vectors. */
#ifndef SERIES_QEMU_IOV_H
#define SERIES_QEMU_IOV_H

struct QEMUIOVector {
    struct iovec *iov;
    int niov;
    size_t size;
    int opaque_[8];
};

void qemu_iovec_init(QEMUIOVector *qiov, int alloc_hint);
void qemu_iovec_init_buf(QEMUIOVector *qiov, void *buf, size_t len);
void qemu_iovec_init_external(QEMUIOVector *qiov, struct iovec *iov, int niov);
void qemu_iovec_concat(QEMUIOVector *dst, QEMUIOVector *src, size_t soffset,
                       size_t sbytes);
size_t qemu_iovec_memset(QEMUIOVector *qiov, size_t offset, int fillc,
                         size_t bytes);
void qemu_iovec_reset(QEMUIOVector *qiov);
void qemu_iovec_destroy(QEMUIOVector *qiov);

#endif
