/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzed command lines and options name files.  These definitions come before
 * those of the C library, for libraries too, and let none be reached but
 * those of one folder: the kernel resolves the names with RESOLVE_BENEATH, so
 * that neither "..", nor a symbolic link, nor another thread gets out.
 */
/* Each function under its own name, not "open" as another name of open64. */
#undef _FILE_OFFSET_BITS
#undef _FORTIFY_SOURCE
#include "qemu/osdep.h"
#include "fuzz.h"
#include <linux/openat2.h>
#include <sys/syscall.h>

static int folder_fd = -1;              /* -1: not confined */
static const char *folder_path;
static const char *artifact_prefix;

int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);

bool fuzz_can_confine(void)
{
    struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                            .resolve = RESOLVE_BENEATH };
    int fd = syscall(SYS_openat2, AT_FDCWD, ".", &how, sizeof(how));

    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

void fuzz_confine(const char *folder, const char *artifacts)
{
    int old = folder_fd;

    folder_path = folder;
    artifact_prefix = artifacts;
    folder_fd = folder ? syscall(SYS_openat, AT_FDCWD, folder,
                                 O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    if (folder && folder_fd < 0) {
        fprintf(stderr, "fuzz: cannot open '%s': %s\n", folder,
                strerror(errno));
        exit(1);
    }
    if (old >= 0) {
        close(old);
    }
}

#ifdef __clang__
#define HIDDEN_FROM_FUZZER __attribute__((no_sanitize("coverage")))
#else
#define HIDDEN_FROM_FUZZER
#endif

/*
 * What follows @prefix in @path; NULL if it does not begin with it.  libFuzzer
 * watches comparisons, also those of strncmp(3), and would learn the names of
 * folders, and put them into inputs.
 */
HIDDEN_FROM_FUZZER
static const char *after_prefix(const char *path, const char *prefix)
{
    while (*prefix) {
        if (*path++ != *prefix++) {
            return NULL;
        }
    }
    return path;
}

static bool is_artifact(const char *path)
{
    static const char *const kinds[] = {
        "crash-", "leak-", "oom-", "slow-unit-", "timeout-",
    };
    const char *name = artifact_prefix ? after_prefix(path, artifact_prefix)
                                       : NULL;
    size_t i;

    for (i = 0; name && i < ARRAY_SIZE(kinds); i++) {
        if (after_prefix(name, kinds[i])) {
            return !strchr(name, '/');
        }
    }
    return false;
}

/* Below the folder, which the kernel sees to. */
static int open_beneath(const char *path, int flags, mode_t mode)
{
    struct open_how how = {
        .flags = flags,
        .mode = flags & (O_CREAT | __O_TMPFILE) ? mode & 07777 : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    const char *inside = after_prefix(path, folder_path);
    int fd;

    if (inside && *inside == '/') {
        path = inside + 1;
    }
    fd = syscall(SYS_openat2, folder_fd, path, &how, sizeof(how));
    if (fd < 0 && errno == EXDEV) {
        errno = EACCES;
    }
    return fd;
}

static int open_checked(int dirfd, const char *path, int flags, mode_t mode)
{
    if (folder_fd < 0 || is_artifact(path) || !strcmp(path, "/dev/null")) {
        return syscall(SYS_openat, dirfd, path, flags, mode);
    }
    if (dirfd != AT_FDCWD) {
        errno = EACCES;
        return -1;
    }
    return open_beneath(path, flags, mode);
}

#define TAKE_MODE(flags, mode) do { \
        va_list ap_; \
        va_start(ap_, flags); \
        if ((flags) & (O_CREAT | __O_TMPFILE)) { \
            (mode) = va_arg(ap_, int); \
        } \
        va_end(ap_); \
    } while (0)

int open(const char *path, int flags, ...)
{
    mode_t mode = 0;

    TAKE_MODE(flags, mode);
    return open_checked(AT_FDCWD, path, flags, mode);
}

int openat(int dirfd, const char *path, int flags, ...)
{
    mode_t mode = 0;

    TAKE_MODE(flags, mode);
    return open_checked(dirfd, path, flags, mode);
}

int creat(const char *path, mode_t mode)
{
    return open_checked(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int __open_2(const char *path, int flags)
{
    return open_checked(AT_FDCWD, path, flags, 0);
}

FILE *fopen(const char *path, const char *mode)
{
    int flags = mode[0] == 'r' ? 0
                : O_CREAT | (mode[0] == 'a' ? O_APPEND : O_TRUNC);
    FILE *f;
    int fd;

    flags |= strchr(mode, '+') ? O_RDWR
             : mode[0] == 'r' ? O_RDONLY : O_WRONLY;
    flags |= (strchr(mode, 'e') ? O_CLOEXEC : 0)
             | (strchr(mode, 'x') ? O_EXCL : 0);
    fd = open_checked(AT_FDCWD, path, flags, 0666);
    if (fd < 0) {
        return NULL;
    }
    f = fdopen(fd, mode);
    if (!f) {
        close(fd);
    }
    return f;
}

int open64(const char *path, int flags, ...) __attribute__((alias("open")));
int openat64(int dirfd, const char *path, int flags, ...)
    __attribute__((alias("openat")));
int creat64(const char *path, mode_t mode) __attribute__((alias("creat")));
int __open64_2(const char *path, int flags)
    __attribute__((alias("__open_2")));
FILE *fopen64(const char *path, const char *mode)
    __attribute__((alias("fopen")));

/* --- what nothing under test needs: refused, wherever it is --- */

static bool refused(void)
{
    if (folder_fd < 0) {
        return false;
    }
    errno = EACCES;
    return true;
}

int unlink(const char *path)
{
    return refused() ? -1 : syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

int unlinkat(int dirfd, const char *path, int flags)
{
    return refused() ? -1 : syscall(SYS_unlinkat, dirfd, path, flags);
}

int remove(const char *path)
{
    return unlink(path);
}

int rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int rename(const char *from, const char *to)
{
    return refused() ? -1 : syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD,
                                    to, 0);
}

int link(const char *from, const char *to)
{
    return refused() ? -1 : syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to,
                                    0);
}

int symlink(const char *target, const char *path)
{
    return refused() ? -1 : syscall(SYS_symlinkat, target, AT_FDCWD, path);
}

int mkdir(const char *path, mode_t mode)
{
    return refused() ? -1 : syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

int chmod(const char *path, mode_t mode)
{
    return refused() ? -1 : syscall(SYS_fchmodat, AT_FDCWD, path, mode);
}

int chdir(const char *path)
{
    return refused() ? -1 : syscall(SYS_chdir, path);
}

int truncate(const char *path, off_t length)
{
    return refused() ? -1 : syscall(SYS_truncate, path, length);
}

int truncate64(const char *path, off64_t length)
    __attribute__((alias("truncate")));

int execve(const char *path, char *const argv[], char *const envp[])
{
    return refused() ? -1 : syscall(SYS_execve, path, argv, envp);
}
