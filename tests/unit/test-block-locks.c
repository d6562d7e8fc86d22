/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Locks on files: each way from one set of permissions to another, against
 * each set that another user of the file has.
 *
 * Locks belong to open file descriptions, so that two nodes for one file are
 * to each other what two programs are.  A driver of this test has a file
 * child and asks of it what the test wants, depending on whether it is
 * writable, as an image format does.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "qemu/main-loop.h"
#include "system/block-backend.h"

typedef struct {
    uint64_t perm;
    uint64_t shared;
} State;

static const uint64_t perms[] = {
    0, BLK_PERM_CONSISTENT_READ, BLK_PERM_RESIZE, BLK_PERM_WRITE_UNCHANGED,
    BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE | BLK_PERM_RESIZE, BLK_PERM_ALL,
};
static const uint64_t shares[] = {
    0, BLK_PERM_ALL, BLK_PERM_ALL & ~BLK_PERM_WRITE,
    BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED,
};
#define N_STATES (ARRAY_SIZE(perms) * ARRAY_SIZE(shares))

static char *path;
static int probe_fd;

static State state_of(size_t i)
{
    return (State) {
        perms[i % ARRAY_SIZE(perms)], shares[i / ARRAY_SIZE(perms)],
    };
}

static bool writes(State s)
{
    return s.perm & (BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED);
}

static bool conflict(State a, State b)
{
    return (a.perm & ~b.shared) || (b.perm & ~a.shared);
}

/* --- the driver --- */

/* The permissions that nodes take on their file: [1] if writable. */
static State wanted[2];

static int asking_open(BlockDriverState *bs, QOpts *options, int flags,
                       Error **errp)
{
    return bdrv_open_file_child(NULL, options, "file", bs, errp);
}

static int asking_reopen_prepare(BDRVReopenState *state, Error **errp)
{
    return 0;
}

static void asking_child_perm(BlockDriverState *bs, BdrvChild *c,
                              BdrvChildRole role, uint64_t perm,
                              uint64_t shared, uint64_t *nperm,
                              uint64_t *nshared)
{
    const State *s = &wanted[bdrv_is_writable(bs)];

    *nperm = s->perm;
    *nshared = s->shared;
}

static BlockDriver bdrv_asking = {
    .format_name = "asking",
    .is_format = true,
    .bdrv_open = asking_open,
    .bdrv_reopen_prepare = asking_reopen_prepare,
    .bdrv_child_perm = asking_child_perm,
};

static BlockDriverState *open_asking(State s, bool writable, Error **errp)
{
    QOpts *opts = qopts_new();

    wanted[writable] = s;
    qopts_set_str(opts, "driver", "asking");
    qopts_set_str(opts, "file.driver", "file");
    qopts_set_str(opts, "file.filename", path);
    return bdrv_open(NULL, NULL, opts, writable ? BDRV_O_RDWR : 0, errp);
}

/* --- what is locked --- */

static bool is_locked(int byte)
{
    struct flock fl = {
        .l_whence = SEEK_SET, .l_start = byte, .l_len = 1, .l_type = F_WRLCK,
    };

    g_assert_cmpint(fcntl(probe_fd, F_OFD_GETLK, &fl), ==, 0);
    return fl.l_type != F_UNLCK;
}

/* The file is locked as @a and @b want it, and not more. */
static void check_bytes(State a, State b)
{
    int i;

    for (i = 0; i < 4; i++) {
        bool used = (a.perm | b.perm) & (1u << i);
        bool unshared = ~(a.shared & b.shared) & (1u << i);

        g_assert_cmpint(is_locked(100 + i), ==, used);
        g_assert_cmpint(is_locked(200 + i), ==, unshared);
    }
}

static void check_result(bool ok, State other, State to, Error *err)
{
    g_assert_cmpint(ok, ==, !conflict(other, to));
    if (!ok) {
        g_assert(strstr(error_get_pretty(err), "Failed to get"));
        error_free_or_abort(&err);
    }
}

/* --- the ways --- */

static const State nothing = { 0, BLK_PERM_ALL };

static void way_open(State other, State from, State to)
{
    Error *err = NULL;
    BlockDriverState *bs;

    if (from.perm || from.shared != BLK_PERM_ALL) {
        return;
    }
    bs = open_asking(to, true, &err);
    check_result(bs, other, to, err);
    check_bytes(other, bs ? to : nothing);
    bdrv_unref(bs);
    check_bytes(other, nothing);
}

/* The same description, with other permissions. */
static void way_set_perm(State other, State from, State to)
{
    Error *err = NULL;
    BlockDriverState *bs = open_asking(from, true, &error_abort);
    int ret;

    wanted[1] = to;
    ret = bdrv_refresh_perms(bs, &err);
    check_result(ret == 0, other, to, err);
    check_bytes(other, ret == 0 ? to : from);
    if (ret < 0) {
        wanted[1] = from;
    }
    bdrv_unref(bs);
    check_bytes(other, nothing);
}

static void reopen(BlockDriverState *bs, bool writable, State other,
                   State from, State to)
{
    Error *err = NULL;
    int ret;

    wanted[writable] = to;
    ret = bdrv_reopen(bs, writable ? BDRV_O_RDWR : 0, NULL, &err);
    check_result(ret == 0, other, to, err);
    check_bytes(other, ret == 0 ? to : from);
    g_assert_cmpint(bdrv_is_writable(bs), ==,
                    ret == 0 ? writable : !writable);
    bdrv_unref(bs);
    check_bytes(other, nothing);
}

/* A new description: from reading to writing, and back. */
static void way_reopen_rw(State other, State from, State to)
{
    if (!writes(from)) {
        reopen(open_asking(from, false, &error_abort), true, other, from, to);
    }
}

static void way_reopen_ro(State other, State from, State to)
{
    if (!writes(to)) {
        reopen(open_asking(from, true, &error_abort), false, other, from, to);
    }
}

static QOpts *writable_opts(void)
{
    QOpts *opts = qopts_new();

    qopts_set_bool(opts, "read-only", false);
    return opts;
}

/* Two nodes at once: when one refuses, the other is as before. */
static void way_abort(State other, State from, State to)
{
    BlockReopenQueue *queue;
    BlockDriverState *bs, *top;
    QOpts *opts;
    Error *err = NULL;

    if (!conflict(other, to) || writes(from)) {
        return;
    }
    bs = open_asking(from, false, &error_abort);
    opts = qopts_new();
    qopts_set_str(opts, "driver", "raw");
    qopts_set_str(opts, "file", bdrv_get_node_name(bs));
    top = bdrv_open(NULL, NULL, opts, 0, &error_abort);
    wanted[1] = to;
    queue = bdrv_reopen_queue(NULL, top, writable_opts(), true);
    queue = bdrv_reopen_queue(queue, bs, writable_opts(), true);
    g_assert_cmpint(bdrv_reopen_multiple(queue, &err), <, 0);
    error_free_or_abort(&err);
    check_bytes(other, from);
    g_assert(bdrv_is_read_only(top) && bdrv_is_read_only(bs));
    bdrv_unref(top);
    bdrv_unref(bs);
}

static void test_way(gconstpointer opaque)
{
    void (*way)(State other, State from, State to) = opaque;
    size_t o, f, t;

    for (o = 0; o < N_STATES; o++) {
        State other = state_of(o);
        BlockDriverState *bs = open_asking(other, true, &error_abort);

        for (f = 0; f < N_STATES; f++) {
            for (t = 0; t < N_STATES; t++) {
                State from = state_of(f);

                if (!conflict(other, from)) {
                    way(other, from, state_of(t));
                    /* The other one asks for what it did. */
                    wanted[1] = other;
                }
            }
        }
        bdrv_unref(bs);
    }
}

/*
 * While a reopen opens a file by its name, the name may become another file:
 * then the users of that one count.
 */
static void test_replaced(void)
{
    const State reader = { BLK_PERM_CONSISTENT_READ,
                           BLK_PERM_CONSISTENT_READ };
    g_autofree char *old = g_strdup_printf("%s.old", path);
    BlockDriverState *bs = open_asking(reader, false, &error_abort);
    BlockDriverState *other;
    Error *err = NULL;

    g_assert_cmpint(rename(path, old), ==, 0);
    g_assert(g_file_set_contents(path, "", 0, NULL));
    other = open_asking(reader, false, &error_abort);
    wanted[1] = (State) { BLK_PERM_WRITE, BLK_PERM_ALL };
    g_assert_cmpint(bdrv_reopen(bs, BDRV_O_RDWR, NULL, &err), <, 0);
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "Failed to get \"write\" lock");
    error_free_or_abort(&err);
    bdrv_unref(other);
    g_assert_cmpint(bdrv_reopen(bs, BDRV_O_RDWR, NULL, &error_abort), ==, 0);
    bdrv_unref(bs);
    unlink(path);
    g_assert_cmpint(rename(old, path), ==, 0);
}

int main(int argc, char **argv)
{
    g_autofree char *dir = NULL;
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    bdrv_register(&bdrv_asking);
    dir = g_dir_make_tmp("test-block-locks-XXXXXX", NULL);
    g_assert(dir);
    path = g_build_filename(dir, "image", NULL);
    g_assert(g_file_set_contents(path, "", 0, NULL));
    probe_fd = open(path, O_RDWR | O_CLOEXEC);
    g_assert_cmpint(probe_fd, >=, 0);

    g_test_add_data_func("/block-locks/open", way_open, test_way);
    g_test_add_data_func("/block-locks/set-perm", way_set_perm, test_way);
    g_test_add_data_func("/block-locks/reopen-rw", way_reopen_rw, test_way);
    g_test_add_data_func("/block-locks/reopen-ro", way_reopen_ro, test_way);
    g_test_add_data_func("/block-locks/abort", way_abort, test_way);
    g_test_add_func("/block-locks/replaced", test_replaced);
    ret = g_test_run();

    close(probe_fd);
    unlink(path);
    rmdir(dir);
    g_free(path);
    qemu_cleanup_main_loop();
    return ret;
}
