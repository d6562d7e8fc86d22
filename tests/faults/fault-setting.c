/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fault-inject: which call is to be disturbed and how, and how many there were.
 */
#include "qemu/osdep.h"
#include "fault-inject.h"
#include <sys/syscall.h>

static const char *const call_names[CALL__MAX] = {
    "io_submit", "io_setup", "eventfd", "pread", "preadv", "pwrite", "pwritev",
    "read", "write", "fdatasync", "fsync", "fallocate", "posix_fallocate",
    "ftruncate", "open", "mmap", "io_uring_setup", "io_uring_submit",
    "io_uring_enter",
};

static const char *const kind_names[] = {
    "", "fail", "short", "late", "cut", "event",
};

static const struct {
    const char *name;
    int error;
} errnos[] = {
    { "EACCES", EACCES }, { "EAGAIN", EAGAIN }, { "EBUSY", EBUSY },
    { "EINTR", EINTR }, { "EPERM", EPERM },
    { "EINVAL", EINVAL }, { "EIO", EIO }, { "EMFILE", EMFILE },
    { "ENOMEM", ENOMEM }, { "ENOSPC", ENOSPC }, { "EFBIG", EFBIG },
    { "ENOSYS", ENOSYS }, { "EOPNOTSUPP", EOPNOTSUPP },
};

/* From the environment; constant once the program runs. */
static Call fault_call = CALL__MAX;
static unsigned long fault_first, fault_last;
static Kind fault_kind;
int fault_errno;
static bool fault_mark;
bool fault_no_ring;

static unsigned long counts[CALL__MAX];         /* atomic */

/* --- what is wanted --- */

static void __attribute__((noreturn)) bad_setting(const char *what)
{
    fprintf(stderr, "fault-inject: LAIO_FAULT: bad %s\n", what);
    _exit(125);
}

static Call parse_call(const char *name)
{
    Call call;

    for (call = 0; call < CALL__MAX; call++) {
        if (!strcmp(name, call_names[call])) {
            return call;
        }
    }
    bad_setting("call");
}

static Kind parse_kind(const char *name)
{
    Kind kind;

    for (kind = KIND_FAIL; kind < ARRAY_SIZE(kind_names); kind++) {
        if (!strcmp(name, kind_names[kind])) {
            return kind;
        }
    }
    bad_setting("kind");
}

static int parse_errno(const char *name)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(errnos); i++) {
        if (!strcmp(name, errnos[i].name)) {
            return errnos[i].error;
        }
    }
    bad_setting("errno");
}

static void parse_setting(char *text)
{
    char *call = strtok(text, ":");
    char *number = strtok(NULL, ":");
    char *kind = strtok(NULL, ":");
    char *error = strtok(NULL, ":");
    char *end;

    if (!call || !number || !kind) {
        bad_setting("form");
    }
    fault_first = fault_last = strtoul(number, &end, 10);
    if (!strcmp(end, "+")) {
        fault_last = ULONG_MAX;
    } else if (*end || !fault_first) {
        bad_setting("number");
    }
    fault_kind = parse_kind(kind);
    if (fault_kind == KIND_FAIL || fault_kind == KIND_EVENT) {
        fault_errno = error ? parse_errno(error) : EIO;
    }
    fault_call = parse_call(call);
    if (fault_kind >= KIND_CUT && fault_call != CALL_IO_SUBMIT &&
        fault_call != CALL_IO_URING_SUBMIT) {
        bad_setting("kind for this call");
    }
}

static void __attribute__((constructor)) fault_init(void)
{
    const char *setting = getenv("LAIO_FAULT");

    fault_no_ring = getenv("LAIO_FAULT_NO_RING") != NULL;
    fault_mark = getenv("LAIO_FAULT_MARK") != NULL;
    if (fault_mark) {
        setvbuf(stdout, NULL, _IOLBF, 0);
    }
    if (setting && *setting) {
        char copy[64];

        if (strlen(setting) >= sizeof(copy)) {
            bad_setting("form");
        }
        strcpy(copy, setting);
        parse_setting(copy);
    }
}

static void __attribute__((destructor)) fault_report(void)
{
    const char *name = getenv("LAIO_FAULT_OUT");
    FILE *f = name ? fopen(name, "w") : NULL;
    Call call;

    if (f) {
        for (call = 0; call < CALL__MAX; call++) {
            fprintf(f, "%s %lu\n", call_names[call],
                    qatomic_read(&counts[call]));
        }
        fclose(f);
    }
}

Kind fault_count(Call call)
{
    unsigned long n = qatomic_fetch_inc(&counts[call]) + 1;

    if (call == fault_call && n >= fault_first && n <= fault_last) {
        return fault_kind;
    }
    return KIND_NONE;
}

void fault_mark_call(Call call)
{
    char line[64];
    int len = snprintf(line, sizeof(line), "@fault %s\n", call_names[call]);

    /* Not by write(), which is one of the calls here. */
    if (fault_mark && syscall(SYS_write, STDERR_FILENO, line, len) != len) {
        _exit(125);
    }
}

bool fault_apply(Call call, Kind kind)
{
    switch (kind) {
    case KIND_FAIL:
        fault_mark_call(call);
        errno = fault_errno;
        return true;
    case KIND_LATE:
        fault_mark_call(call);
        usleep(FAULT_LATE_US);
        return false;
    default:
        return false;
    }
}

bool fault_disturb(Call call)
{
    return fault_apply(call, fault_count(call));
}
