/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How asynchronous is Linux AIO here?  For the file system of each directory
 * given: how many of 32 requests of 4 KiB are complete when io_submit(2)
 * returns, for the cases that differ.  The median of 9 rounds, and the least
 * and the most where they differ.  A block device can be given, too: it is
 * only read.
 *
 * Uses libaio itself, and nothing of the engine.  Needs 128 KiB of room.
 */
#include "qemu/osdep.h"
#include <libaio.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>

#define REQUESTS 32
#define BYTES 4096
#define FILE_BYTES (REQUESTS * BYTES)
#define ROUNDS 9

typedef enum Content {
    EMPTY,                      /* a file of no bytes */
    HOLE,                       /* nothing but a hole */
    DATA,                       /* written, and on the disk */
    DIRTY,                      /* written, not yet on the disk */
    AS_IT_IS,                   /* a block device: left alone */
} Content;

typedef struct Case {
    const char *name;
    bool direct;                /* O_DIRECT */
    int opcode;                 /* IO_CMD_* */
    Content content;
    bool at_end;                /* begin where the file ends */
    unsigned skew;              /* of the buffers, from their alignment */
} Case;

static const Case file_cases[] = {
    { "buffered read", false, IO_CMD_PREAD, DATA },
    { "buffered write", false, IO_CMD_PWRITE, DATA },
    { "direct read of data", true, IO_CMD_PREAD, DATA },
    { "direct read of a hole", true, IO_CMD_PREAD, HOLE },
    { "direct read at the end", true, IO_CMD_PREAD, DATA, .at_end = true },
    { "direct overwrite", true, IO_CMD_PWRITE, DATA },
    { "direct write to a hole", true, IO_CMD_PWRITE, HOLE },
    { "direct extending write", true, IO_CMD_PWRITE, EMPTY },
    { "direct read, misaligned", true, IO_CMD_PREAD, DATA, .skew = 1 },
    { "fdsync", false, IO_CMD_FDSYNC, DIRTY },
};

static const Case device_cases[] = {
    { "buffered read", false, IO_CMD_PREAD, AS_IT_IS },
    { "direct read", true, IO_CMD_PREAD, AS_IT_IS },
    { "direct read at the end", true, IO_CMD_PREAD, AS_IT_IS,
      .at_end = true },
    { "direct read, misaligned", true, IO_CMD_PREAD, AS_IT_IS, .skew = 1 },
};

/* One more for the skew. */
static uint8_t buffer[FILE_BYTES + BYTES] __attribute__((aligned(BYTES)));

typedef struct Survey {
    io_context_t ctx;
    int fd;
    int direct_fd;              /* or -errno */
    off_t end;                  /* of the device, or of the file with DATA */
} Survey;

/* What a round has come to. */
typedef struct Result {
    unsigned complete;          /* when io_submit() returned */
    int refused;                /* -errno of io_submit(); 0: it took all */
    int error;                  /* -errno of a request, if one failed */
} Result;

/* 0 or -errno. */
static int fill(int fd)
{
    off_t done = 0;

    memset(buffer, 0x55, FILE_BYTES);
    while (done < FILE_BYTES) {
        ssize_t n = pwrite(fd, buffer + done, FILE_BYTES - done, done);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        done += MAX(n, 0);
    }
    return 0;
}

/* Make the file what the case wants it to be.  0 or -errno. */
static int prepare(int fd, Content content)
{
    int ret = 0;

    if (content != AS_IT_IS && ftruncate(fd, 0) < 0) {
        return -errno;
    }
    if (content == HOLE && ftruncate(fd, FILE_BYTES) < 0) {
        return -errno;
    }
    if (content == DATA || content == DIRTY) {
        ret = fill(fd);
    }
    if (ret == 0 && content != DIRTY) {
        if (content != AS_IT_IS && fsync(fd) < 0) {
            return -errno;
        }
        /* So that a direct request finds nothing in the page cache. */
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    }
    return ret;
}

static void prepare_iocbs(Survey *survey, const Case *test,
                          struct iocb *iocbs, struct iocb **list)
{
    int fd = test->direct ? survey->direct_fd : survey->fd;
    off_t start = test->at_end ? survey->end : 0;
    unsigned i;

    for (i = 0; i < REQUESTS; i++) {
        uint8_t *buf = buffer + i * BYTES + test->skew;
        off_t offset = start + i * BYTES;

        list[i] = &iocbs[i];
        switch (test->opcode) {
        case IO_CMD_PREAD:
            io_prep_pread(&iocbs[i], fd, buf, BYTES, offset);
            break;
        case IO_CMD_PWRITE:
            io_prep_pwrite(&iocbs[i], fd, buf, BYTES, offset);
            break;
        default:
            io_prep_fdsync(&iocbs[i], fd);
            break;
        }
    }
}

/* Take events until there are @want in all; false if the kernel fails. */
static bool reap(io_context_t ctx, unsigned have, unsigned want,
                 Result *result)
{
    struct io_event events[REQUESTS];

    while (have < want) {
        int i, n = io_getevents(ctx, 1, want - have, events, NULL);

        if (n < 0 && n != -EINTR) {
            return false;
        }
        for (i = 0; i < n; i++) {
            if ((long)events[i].res < 0) {
                result->error = (long)events[i].res;
            }
        }
        have += MAX(n, 0);
    }
    return true;
}

/* 0 or -errno, if the round could not be carried out. */
static int run_round(Survey *survey, const Case *test, Result *result)
{
    struct iocb iocbs[REQUESTS];
    struct iocb *list[REQUESTS];
    struct io_event events[REQUESTS];
    struct timespec zero = { 0 };
    unsigned accepted = 0;
    int i, n, ret;

    *result = (Result) { 0 };
    ret = prepare(survey->fd, test->content);
    if (ret < 0) {
        return ret;
    }
    prepare_iocbs(survey, test, iocbs, list);
    while (accepted < REQUESTS && result->refused == 0) {
        ret = io_submit(survey->ctx, REQUESTS - accepted, list + accepted);
        accepted += MAX(ret, 0);
        result->refused = ret < 0 ? ret : ret == 0 ? -EAGAIN : 0;
    }
    n = io_getevents(survey->ctx, 0, REQUESTS, events, &zero);
    for (i = 0; i < n; i++) {
        if ((long)events[i].res < 0) {
            result->error = (long)events[i].res;
        }
    }
    result->complete = MAX(n, 0);
    return reap(survey->ctx, result->complete, accepted, result) ? 0 : -EIO;
}

static int compare_results(const void *a, const void *b)
{
    const Result *x = a, *y = b;

    return (x->complete > y->complete) - (x->complete < y->complete);
}

/* @results are in order; the first one alone if the kernel refused. */
static void print_row(const char *name, const Result *results)
{
    const Result *median = &results[ROUNDS / 2];
    unsigned least, most;

    printf("  %-26s", name);
    if (results[0].refused) {
        printf("refused: %s\n", strerror(-results[0].refused));
        return;
    }
    least = results[0].complete;
    most = results[ROUNDS - 1].complete;
    printf("%2u of %d", median->complete, REQUESTS);
    if (least != most) {
        printf(" (%u to %u)", least, most);
    }
    if (median->error) {
        printf(", failed: %s", strerror(-median->error));
    }
    printf("\n");
}

/* 0 or -errno. */
static int run_case(Survey *survey, const Case *test)
{
    Result results[ROUNDS];
    int i, ret;

    if (test->direct && survey->direct_fd < 0) {
        return 0;
    }
    for (i = 0; i < ROUNDS; i++) {
        ret = run_round(survey, test, &results[i]);
        if (ret < 0) {
            return ret;
        }
        if (results[i].refused) {
            print_row(test->name, &results[i]);
            return 0;
        }
    }
    qsort(results, ROUNDS, sizeof(results[0]), compare_results);
    print_row(test->name, results);
    return 0;
}

static int open_direct(const char *path, int flags)
{
    int fd = open(path, flags | O_DIRECT | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

/* The file has no name once it is open: nothing is ever left behind. */
static int open_files(Survey *survey, const char *dir)
{
    g_autofree char *path = g_strdup_printf("%s/aio-survey-XXXXXX", dir);

    survey->fd = mkostemp(path, O_CLOEXEC);
    if (survey->fd < 0) {
        return -errno;
    }
    survey->direct_fd = open_direct(path, O_RDWR);
    survey->end = FILE_BYTES;
    unlink(path);
    return 0;
}

static int open_device(Survey *survey, const char *path)
{
    uint64_t bytes;

    survey->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (survey->fd < 0) {
        return -errno;
    }
    survey->direct_fd = open_direct(path, O_RDONLY);
    if (ioctl(survey->fd, BLKGETSIZE64, &bytes) < 0) {
        return -errno;
    }
    survey->end = bytes;
    return 0;
}

static void print_head(const Survey *survey, const char *path, bool device)
{
    struct statfs fs;

    printf("%s", path);
    if (device) {
        printf(" (block device)");
    } else if (fstatfs(survey->fd, &fs) == 0) {
        printf(" (file system type 0x%lx)", (unsigned long)fs.f_type);
    }
    printf(": complete when io_submit(2) returned\n");
    if (survey->direct_fd < 0) {
        printf("  %-26srefused: %s\n", "O_DIRECT",
               strerror(-survey->direct_fd));
    }
}

/* NULL, or what failed with the -errno that is put in @ret. */
static const char *survey_one(const char *path, bool device, int *ret)
{
    Survey survey = { .fd = -1, .direct_fd = -1 };
    const Case *cases = device ? device_cases : file_cases;
    size_t i, count = device ? ARRAY_SIZE(device_cases) :
                               ARRAY_SIZE(file_cases);
    const char *failed = device ? "cannot be read" : "no file can be made";

    *ret = device ? open_device(&survey, path) : open_files(&survey, path);
    if (*ret < 0) {
        goto close_files;
    }
    if (survey.end < FILE_BYTES) {
        failed = "smaller than 128 KiB";
        *ret = -EINVAL;
        goto close_files;
    }
    failed = "no Linux AIO";
    *ret = io_setup(REQUESTS, &survey.ctx);
    if (*ret < 0) {
        goto close_files;
    }
    print_head(&survey, path, device);
    for (i = 0; i < count && *ret == 0; i++) {
        failed = cases[i].name;
        *ret = run_case(&survey, &cases[i]);
    }
    io_destroy(survey.ctx);
close_files:
    if (survey.direct_fd >= 0) {
        close(survey.direct_fd);
    }
    if (survey.fd >= 0) {
        close(survey.fd);
    }
    return *ret < 0 ? failed : NULL;
}

#define USAGE "Usage: aio-sync-survey DIR|BLOCK-DEVICE...\n"

static bool is_device(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISBLK(st.st_mode);
}

/* Every argument is looked at before anything is measured. */
static bool check_arguments(int argc, char **argv)
{
    int i;

    if (argc < 2) {
        fprintf(stderr, "aio-sync-survey: no directory given (see --help)\n");
        return false;
    }
    for (i = 1; i < argc; i++) {
        struct stat st;

        if (argv[i][0] == '-') {
            fprintf(stderr, "aio-sync-survey: unknown option '%s' "
                    "(see --help)\n", argv[i]);
            return false;
        }
        if (stat(argv[i], &st) < 0) {
            fprintf(stderr, "aio-sync-survey: '%s': %s\n", argv[i],
                    strerror(errno));
            return false;
        }
        if (!S_ISDIR(st.st_mode) && !S_ISBLK(st.st_mode)) {
            fprintf(stderr, "aio-sync-survey: '%s' is neither a directory "
                    "nor a block device\n", argv[i]);
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    struct utsname kernel;
    int i;

    if (argc == 2 && !strcmp(argv[1], "--help")) {
        printf(USAGE "How many of %d requests are complete when io_submit(2) "
               "returns, per kind of\nrequest; a block device is only read.\n",
               REQUESTS);
        return 0;
    }
    if (!check_arguments(argc, argv)) {
        return 1;
    }
    if (uname(&kernel) == 0) {
        printf("%s %s\n", kernel.sysname, kernel.release);
    }
    for (i = 1; i < argc; i++) {
        int ret;
        const char *failed = survey_one(argv[i], is_device(argv[i]), &ret);

        if (failed) {
            fflush(stdout);
            fprintf(stderr, "aio-sync-survey: '%s': %s: %s\n", argv[i],
                    failed, strerror(-ret));
            return 1;
        }
    }
    return 0;
}
