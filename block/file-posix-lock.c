/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Protocol driver "file": locks, as all programs of the QEMU family take them.
 *
 * Open file description locks on single bytes: byte 100 + n is locked for
 * reading by who uses permission n (1 << n in BLK_PERM_*), byte 200 + n by who
 * does not share it.  Taking them cannot fail for read locks; whether others
 * conflict is found out afterwards, by asking for a write lock: on 200 + n
 * for what one uses, on 100 + n for what one does not share.
 */
#include "qemu/osdep.h"
#include "file-posix.h"

#define RAW_LOCK_PERM_BASE   100
#define RAW_LOCK_SHARED_BASE 200

bool file_locks_supported(int fd)
{
    struct flock fl = {
        .l_whence = SEEK_SET, .l_len = 1, .l_type = F_WRLCK,
    };

    return RETRY_ON_EINTR(fcntl(fd, F_OFD_GETLK, &fl)) == 0;
}

static int file_lock_byte(int fd, off_t byte, short type)
{
    struct flock fl = {
        .l_whence = SEEK_SET, .l_start = byte, .l_len = 1, .l_type = type,
    };

    return RETRY_ON_EINTR(fcntl(fd, F_OFD_SETLK, &fl)) < 0 ? -errno : 0;
}

/* 0: nobody else holds @byte; -EAGAIN: somebody does. */
static int file_test_byte(int fd, off_t byte)
{
    struct flock fl = {
        .l_whence = SEEK_SET, .l_start = byte, .l_len = 1, .l_type = F_WRLCK,
    };

    if (RETRY_ON_EINTR(fcntl(fd, F_OFD_GETLK, &fl)) < 0) {
        return -errno;
    }
    return fl.l_type == F_UNLCK ? 0 : -EAGAIN;
}

/* Make the bytes from @base on locked just as @want says. */
static int file_lock_set(int fd, off_t base, uint64_t have, uint64_t want,
                         bool unlock, Error **errp)
{
    int i;

    for (i = 0; (1 << i) <= BLK_PERM_ALL; i++) {
        uint64_t bit = 1ull << i;
        int ret = 0;

        if ((want & bit) && !(have & bit)) {
            ret = file_lock_byte(fd, base + i, F_RDLCK);
        } else if (unlock && (have & bit) && !(want & bit)) {
            ret = file_lock_byte(fd, base + i, F_UNLCK);
        }
        if (ret < 0) {
            error_setg_errno(errp, -ret, "Failed to lock byte %d",
                             (int)base + i);
            return ret;
        }
    }
    return 0;
}

static int file_lock_conflict(const char *shared, uint64_t perm,
                              const char *filename, Error **errp)
{
    g_autofree char *name = bdrv_perm_names(perm);

    error_setg(errp, "Failed to get %s\"%s\" lock", shared, name);
    error_append_hint(errp, "Is another process using the image [%s]?\n",
                      filename);
    return -EAGAIN;
}

static int file_check_bytes(int fd, uint64_t perm, uint64_t shared,
                            const char *filename, Error **errp)
{
    int i;

    for (i = 0; (1 << i) <= BLK_PERM_ALL; i++) {
        uint64_t bit = 1ull << i;

        if ((perm & bit) &&
            file_test_byte(fd, RAW_LOCK_SHARED_BASE + i) == -EAGAIN) {
            return file_lock_conflict("", bit, filename, errp);
        }
        if (!(shared & bit) &&
            file_test_byte(fd, RAW_LOCK_PERM_BASE + i) == -EAGAIN) {
            return file_lock_conflict("shared ", bit, filename, errp);
        }
    }
    return 0;
}

/* Take the locks on @fd, which has none, and check nothing. */
static int file_copy_locks(int fd, uint64_t perm, uint64_t shared,
                           Error **errp)
{
    int ret = file_lock_set(fd, RAW_LOCK_PERM_BASE, 0, perm, false, errp);

    if (ret == 0) {
        ret = file_lock_set(fd, RAW_LOCK_SHARED_BASE, 0,
                            ~shared & BLK_PERM_ALL, false, errp);
    }
    return ret;
}

int file_lock_new_file(int fd, uint64_t perm, uint64_t shared,
                       const char *filename, Error **errp)
{
    int ret;

    if (!file_locks_supported(fd)) {
        return 0;
    }
    ret = file_copy_locks(fd, perm, shared, errp);
    return ret < 0 ? ret : file_check_bytes(fd, perm, shared, filename, errp);
}

bool file_is_same_file(int fd1, int fd2)
{
    struct stat st1, st2;

    return fstat(fd1, &st1) == 0 && fstat(fd2, &st2) == 0 &&
           st1.st_dev == st2.st_dev && st1.st_ino == st2.st_ino;
}

/*
 * A reopen brings a new description, which has no locks.  Those of the old
 * one, which other programs have been checked against, stay until it is
 * closed.  The name may be another file by now, whose users are not known.
 */
static int file_lock_new_perm_fd(BDRVFileState *s, uint64_t perm,
                                 uint64_t shared, const char *filename,
                                 Error **errp)
{
    if (!file_is_same_file(s->fd, s->new_perm_fd)) {
        return file_lock_new_file(s->new_perm_fd, perm, shared, filename,
                                  errp);
    }
    return file_copy_locks(s->new_perm_fd, perm, shared, errp);
}

int file_check_perm(BlockDriverState *bs, uint64_t perm, uint64_t shared,
                    Error **errp)
{
    BDRVFileState *s = bs->opaque;
    uint64_t have_unshared = ~s->locked_shared_perm & BLK_PERM_ALL;
    int ret;

    if (s->new_perm_fd >= 0) {
        ret = bdrv_check_resize_perm(bs, perm, s->new_align, errp);
        if (ret < 0) {
            return ret;
        }
    }
    if (!s->use_lock) {
        return 0;
    }
    /*
     * The locks are held, and nobody has taken one against them.  An image of
     * many files asks each of them whenever the next one is opened.
     */
    if (s->new_perm_fd < 0 && perm == s->locked_perm &&
        shared == s->locked_shared_perm) {
        return 0;
    }
    /* The locks of one's own description do not show up in the check. */
    ret = file_lock_set(s->fd, RAW_LOCK_PERM_BASE, s->locked_perm, perm, false,
                        errp);
    if (ret == 0) {
        ret = file_lock_set(s->fd, RAW_LOCK_SHARED_BASE, have_unshared,
                            ~shared & BLK_PERM_ALL, false, errp);
    }
    if (ret == 0) {
        ret = file_check_bytes(s->fd, perm & ~s->locked_perm,
                               shared | have_unshared, bs->filename, errp);
    }
    if (ret == 0 && s->new_perm_fd >= 0) {
        ret = file_lock_new_perm_fd(s, perm, shared, bs->filename, errp);
    }
    if (ret < 0) {
        file_abort_perm_update(bs);
    }
    return ret;
}

void file_set_perm(BlockDriverState *bs, uint64_t perm, uint64_t shared)
{
    BDRVFileState *s = bs->opaque;

    /* The commit of a reopen closes the old description with its locks. */
    if (s->use_lock && s->new_perm_fd < 0) {
        file_lock_set(s->fd, RAW_LOCK_PERM_BASE, s->locked_perm, perm, true,
                      NULL);
        file_lock_set(s->fd, RAW_LOCK_SHARED_BASE,
                      ~s->locked_shared_perm & BLK_PERM_ALL,
                      ~shared & BLK_PERM_ALL, true, NULL);
    }
    s->locked_perm = perm;
    s->locked_shared_perm = shared;
}

void file_abort_perm_update(BlockDriverState *bs)
{
    BDRVFileState *s = bs->opaque;

    if (!s->use_lock) {
        return;
    }
    file_lock_set(s->fd, RAW_LOCK_PERM_BASE, BLK_PERM_ALL, s->locked_perm,
                  true, NULL);
    file_lock_set(s->fd, RAW_LOCK_SHARED_BASE, BLK_PERM_ALL,
                  ~s->locked_shared_perm & BLK_PERM_ALL, true, NULL);
    if (s->new_perm_fd >= 0) {
        file_lock_set(s->new_perm_fd, RAW_LOCK_PERM_BASE, BLK_PERM_ALL, 0,
                      true, NULL);
        file_lock_set(s->new_perm_fd, RAW_LOCK_SHARED_BASE, BLK_PERM_ALL, 0,
                      true, NULL);
    }
}
