/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The folder of the fuzz targets cannot be left: by no call, through no
 * library, by no name.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "fuzz.h"
#include "qemu/main-loop.h"
#include <glib/gstdio.h>

static char *base;              /* has "outside", and the folder "in" */
static char *folder;

static const char *const outside[] = {
    "/etc/passwd", "../outside", "sub/../../outside", "link", "linkdir/x",
    "..", "/", "/proc/self/exe", "/proc/self/cwd", "/dev/zero",
};

static void assert_refused(int ret)
{
    g_assert_cmpint(ret, <, 0);
    g_assert_true(errno == EACCES || errno == ELOOP);
}

static void test_open(void)
{
    g_autofree char *name = g_build_filename(base, "outside", NULL);
    char *text;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(outside); i++) {
        assert_refused(open(outside[i], O_RDONLY));
        assert_refused(openat(AT_FDCWD, outside[i], O_RDONLY));
        g_assert_null(fopen(outside[i], "r"));
        g_assert_cmpint(errno, ==, EACCES);
        g_assert_false(g_file_get_contents(outside[i], &text, NULL, NULL));
    }
    assert_refused(open(name, O_RDONLY));
    assert_refused(open(name, O_RDWR));
    assert_refused(openat(open("/dev/null", O_RDONLY), "x", O_RDONLY));
}

static void test_create(void)
{
    g_autofree char *new = g_build_filename(base, "new", NULL);

    assert_refused(open("../new", O_CREAT | O_WRONLY, 0600));
    assert_refused(open(new, O_CREAT | O_WRONLY, 0600));
    assert_refused(creat("../new", 0600));
    g_assert_null(fopen("../new", "w"));
    g_assert_null(fopen("../new", "a+"));
    g_assert_cmpint(access(new, F_OK), ==, -1);
}

static void test_other_calls(void)
{
    g_autofree char *name = g_build_filename(base, "outside", NULL);
    g_autofree char *new = g_build_filename(base, "new", NULL);
    char *const args[] = { (char *)"true", NULL };

    assert_refused(unlink(name));
    assert_refused(remove(name));
    assert_refused(rename(name, new));
    assert_refused(link(name, new));
    assert_refused(symlink(name, new));
    assert_refused(mkdir(new, 0700));
    assert_refused(rmdir(base));
    assert_refused(chmod(name, 0));
    assert_refused(truncate(name, 0));
    assert_refused(chdir("/"));
    assert_refused(execve("/bin/true", args, NULL));
    g_assert_cmpint(access(name, F_OK), ==, 0);
    g_assert_cmpint(access(new, F_OK), ==, -1);
}

static void test_inside(void)
{
    g_autofree char *name = g_build_filename(folder, "here", NULL);
    g_autofree char *text = NULL;
    int fd = open("here", O_CREAT | O_WRONLY, 0600);
    FILE *f;

    g_assert_cmpint(write(fd, "text", 4), ==, 4);
    close(fd);
    f = fopen("sub/../here", "a");
    g_assert_nonnull(f);
    g_assert_cmpint(fputs("more", f), >=, 0);
    fclose(f);
    g_assert_true(g_file_get_contents(name, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "textmore");
}

static void test_block_layer(void)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(outside); i++) {
        Error *err = NULL;
        QOpts *opts = qopts_new();

        qopts_set_str(opts, "driver", "raw");
        g_assert_null(blk_new_open(outside[i], NULL, opts, 0, &err));
        g_assert_nonnull(strstr(error_get_pretty(err), "Could not open"));
        error_free(err);
        opts = qopts_parse("size=1M", NULL, &error_abort);
        g_assert_cmpint(bdrv_create_file(outside[i], opts, NULL), <, 0);
    }
}

/* A finding of libFuzzer is written wherever it is to be. */
static void test_artifacts(void)
{
    g_autofree char *prefix = g_strconcat(base, "/found-", NULL);
    g_autofree char *crash = g_strconcat(prefix, "crash-0123", NULL);
    g_autofree char *deep = g_strconcat(prefix, "crash-/../new", NULL);
    g_autofree char *other = g_strconcat(prefix, "other", NULL);
    int fd;

    fuzz_confine(folder, prefix);
    assert_refused(open(deep, O_CREAT | O_WRONLY, 0600));
    assert_refused(open(other, O_CREAT | O_WRONLY, 0600));
    fd = open(crash, O_CREAT | O_WRONLY, 0600);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
    fuzz_confine(NULL, NULL);
    g_assert_cmpint(unlink(crash), ==, 0);
    fuzz_confine(folder, NULL);
}

static void make_folders(void)
{
    g_autofree char *name = NULL;
    g_autofree char *sub = NULL;
    g_autofree char *link_name = NULL;
    g_autofree char *linkdir = NULL;

    base = g_dir_make_tmp("fuzz-confine-XXXXXX", NULL);
    folder = g_build_filename(base, "in", NULL);
    name = g_build_filename(base, "outside", NULL);
    sub = g_build_filename(folder, "sub", NULL);
    link_name = g_build_filename(folder, "link", NULL);
    linkdir = g_build_filename(folder, "linkdir", NULL);
    g_file_set_contents(name, "x", 1, NULL);
    g_assert_cmpint(g_mkdir(folder, 0700), ==, 0);
    g_assert_cmpint(g_mkdir(sub, 0700), ==, 0);
    g_assert_cmpint(symlink("../outside", link_name), ==, 0);
    g_assert_cmpint(symlink("..", linkdir), ==, 0);
}

static void remove_folders(void)
{
    static const char *const names[] = {
        "in/here", "in/link", "in/linkdir", "in/sub", "in", "outside", "",
    };
    size_t i;

    fuzz_confine(NULL, NULL);
    for (i = 0; i < ARRAY_SIZE(names); i++) {
        g_autofree char *path = g_build_filename(base, names[i], NULL);

        if (remove(path) < 0) {
            rmdir(path);
        }
    }
    g_assert_cmpint(access(base, F_OK), ==, -1);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!fuzz_can_confine()) {
        printf("1..0 # SKIP no openat2(2)\n");
        return 0;
    }
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    make_folders();
    fuzz_confine(folder, NULL);
    g_test_add_func("/confine/open", test_open);
    g_test_add_func("/confine/create", test_create);
    g_test_add_func("/confine/other-calls", test_other_calls);
    g_test_add_func("/confine/inside", test_inside);
    g_test_add_func("/confine/block-layer", test_block_layer);
    g_test_add_func("/confine/artifacts", test_artifacts);
    ret = g_test_run();
    remove_folders();
    return ret;
}
