/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How asynchronous is Linux AIO here?  For the file system of each directory
 * given: how many of 32 requests of 4 KiB are complete when io_submit(2)
 * returns, for the cases that differ.  The median of 5 rounds.
 *
 * Uses libaio itself, and nothing of the engine.  Needs 128 KiB of room.
 */
#include "qemu/osdep.h"
#include <libaio.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define REQUESTS 32
#define BYTES 4096
#define FILE_BYTES (REQUESTS * BYTES)
#define ROUNDS 5

typedef enum Content {
    EMPTY,                      /* a file of no bytes */
    HOLE,                       /* nothing but a hole */
    DATA,                       /* written, and on the disk */
    DIRTY,                      /* written, not yet on the disk */
} Content;

typedef struct Case {
    const char *name;
    bool direct;                /* O_DIRECT */
    int opcode;                 /* IO_CMD_* */
    Content content;
    off_t offset;               /* of the first request */
    unsigned skew;              /* of the buffers, from their alignment */
} Case;

static const Case cases[] = {
    { "buffered read", false, IO_CMD_PREAD, DATA, 0, 0 },
    { "buffered write", false, IO_CMD_PWRITE, DATA, 0, 0 },
    { "direct read of data", true, IO_CMD_PREAD, DATA, 0, 0 },
    { "direct read of a hole", true, IO_CMD_PREAD, HOLE, 0, 0 },
    { "direct read at the end", true, IO_CMD_PREAD, DATA, FILE_BYTES, 0 },
    { "direct overwrite", true, IO_CMD_PWRITE, DATA, 0, 0 },
    { "direct write to a hole", true, IO_CMD_PWRITE, HOLE, 0, 0 },
    { "direct extending write", true, IO_CMD_PWRITE, EMPTY, 0, 0 },
    { "direct read, misaligned", true, IO_CMD_PREAD, DATA, 0, 1 },
    { "fdsync", false, IO_CMD_FDSYNC, DIRTY, 0, 0 },
};

/* One more for the skew. */
static uint8_t buffer[FILE_BYTES + BYTES] __attribute__((aligned(BYTES)));

typedef struct Survey {
    io_context_t ctx;
    int fd;
    int direct_fd;              /* or -errno */
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

    if (ftruncate(fd, 0) < 0) {
        return -errno;
    }
    if (content == HOLE && ftruncate(fd, FILE_BYTES) < 0) {
        return -errno;
    }
    if (content == DATA || content == DIRTY) {
        ret = fill(fd);
    }
    if (ret == 0 && content != DIRTY) {
        if (fsync(fd) < 0) {
            return -errno;
        }
        /* So that a direct request finds nothing in the page cache. */
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    }
    return ret;
}

static void prepare_iocbs(const Case *test, int fd, struct iocb *iocbs,
                          struct iocb **list)
{
    unsigned i;

    for (i = 0; i < REQUESTS; i++) {
        uint8_t *buf = buffer + i * BYTES + test->skew;
        off_t offset = test->offset + i * BYTES;

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
    int fd = test->direct ? survey->direct_fd : survey->fd;
    unsigned accepted = 0;
    int i, n, ret;

    *result = (Result) { 0 };
    ret = prepare(survey->fd, test->content);
    if (ret < 0) {
        return ret;
    }
    prepare_iocbs(test, fd, iocbs, list);
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

static void print_row(const char *name, const Result *result)
{
    printf("  %-26s", name);
    if (result->refused) {
        printf("refused: %s\n", strerror(-result->refused));
    } else if (result->error) {
        printf("%2u of %d, failed: %s\n", result->complete, REQUESTS,
               strerror(-result->error));
    } else {
        printf("%2u of %d\n", result->complete, REQUESTS);
    }
}

/* 0 or -errno. */
static int run_case(Survey *survey, const Case *test)
{
    Result results[ROUNDS];
    int i, ret;

    if (test->direct && survey->direct_fd < 0) {
        results[0] = (Result) { .refused = survey->direct_fd };
        print_row(test->name, &results[0]);
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
    print_row(test->name, &results[ROUNDS / 2]);
    return 0;
}

/* The file has no name once it is open: nothing is ever left behind. */
static int open_files(Survey *survey, const char *dir)
{
    g_autofree char *path = g_strdup_printf("%s/aio-survey-XXXXXX", dir);

    survey->fd = mkostemp(path, O_CLOEXEC);
    if (survey->fd < 0) {
        return -errno;
    }
    survey->direct_fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
    if (survey->direct_fd < 0) {
        survey->direct_fd = -errno;
    }
    unlink(path);
    return 0;
}

static int survey_dir(const char *dir)
{
    Survey survey = { .fd = -1, .direct_fd = -1 };
    struct statfs fs;
    size_t i;
    int ret = open_files(&survey, dir);

    if (ret < 0) {
        return ret;
    }
    ret = io_setup(REQUESTS, &survey.ctx);
    if (ret < 0) {
        goto close_files;
    }
    printf("%s", dir);
    if (statfs(dir, &fs) == 0) {
        printf(" (file system type 0x%lx)", (unsigned long)fs.f_type);
    }
    printf(": complete when io_submit(2) returned\n");
    for (i = 0; i < ARRAY_SIZE(cases) && ret == 0; i++) {
        ret = run_case(&survey, &cases[i]);
    }
    io_destroy(survey.ctx);
close_files:
    if (survey.direct_fd >= 0) {
        close(survey.direct_fd);
    }
    close(survey.fd);
    return ret;
}

/* Every argument is looked at before anything is measured. */
static bool check_arguments(int argc, char **argv)
{
    int i;

    if (argc < 2) {
        fprintf(stderr, "aio-sync-survey: no directory given "
                "(usage: aio-sync-survey DIR...)\n");
        return false;
    }
    for (i = 1; i < argc; i++) {
        struct stat st;

        if (argv[i][0] == '-') {
            fprintf(stderr, "aio-sync-survey: unknown option '%s' "
                    "(usage: aio-sync-survey DIR...)\n", argv[i]);
            return false;
        }
        if (stat(argv[i], &st) < 0) {
            fprintf(stderr, "aio-sync-survey: '%s': %s\n", argv[i],
                    strerror(errno));
            return false;
        }
        if (!S_ISDIR(st.st_mode)) {
            fprintf(stderr, "aio-sync-survey: '%s' is not a directory\n",
                    argv[i]);
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    int i;

    if (argc == 2 && !strcmp(argv[1], "--help")) {
        printf("Usage: aio-sync-survey DIR...\n");
        return 0;
    }
    if (!check_arguments(argc, argv)) {
        return 1;
    }
    for (i = 1; i < argc; i++) {
        int ret = survey_dir(argv[i]);

        if (ret < 0) {
            fflush(stdout);
            fprintf(stderr, "aio-sync-survey: '%s': %s\n", argv[i],
                    strerror(-ret));
            return 1;
        }
    }
    return 0;
}
