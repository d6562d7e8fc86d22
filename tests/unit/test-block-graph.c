/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The graph of nodes: names, edges, drain.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "qemu/aio-wait.h"
#include "qemu/main-loop.h"
#include "system/block-backend.h"

static BlockDriverState *open_node(const char *options, Error **errp)
{
    return bdrv_open(NULL, NULL, qopts_parse(options, NULL, &error_abort),
                     BDRV_O_RDWR | BDRV_O_UNMAP, errp);
}

/* --- names --- */

static void check_refused(const char *options, const char *message)
{
    Error *err = NULL;

    g_assert(!open_node(options, &err));
    g_assert_cmpstr(error_get_pretty(err), ==, message);
    error_free_or_abort(&err);
    /* What was refused has left no node behind. */
    g_assert(!bdrv_next_node(NULL));
}

static void test_names(void)
{
    BlockDriverState *bs;

    /* A node cannot be its own child: it is not there before it is open. */
    check_refused("driver=raw,node-name=a,file=a",
                  "Cannot find device='a' nor node-name='a'");
    check_refused("driver=raw,node-name=a,file.driver=raw,file.file=a",
                  "Cannot find device='a' nor node-name='a'");
    check_refused("driver=blkdebug,node-name=a,image=a",
                  "Cannot find device='a' nor node-name='a'");
    /* Nor can its child take its name first. */
    check_refused("driver=raw,node-name=a,file.driver=null-co,"
                  "file.node-name=a",
                  "Duplicate nodes with node-name='a'");
    check_refused("driver=blkdebug,node-name=a,image.driver=null-co,"
                  "image.node-name=a",
                  "Duplicate nodes with node-name='a'");
    check_refused("driver=null-co,node-name=1a", "Invalid node-name: '1a'");

    bs = open_node("driver=null-co,node-name=a", &error_abort);
    g_assert(bdrv_find_node("a") == bs);
    bdrv_unref(bs);
    g_assert(!bdrv_find_node("a"));
}

/* --- edges --- */

static void test_cycle(void)
{
    BlockDriverState *top, *file;
    Error *err = NULL;

    top = open_node("driver=raw,node-name=top,file.driver=raw,"
                    "file.node-name=mid,file.file.driver=null-co,"
                    "file.file.node-name=file", &error_abort);
    file = bdrv_find_node("file");
    bdrv_ref(top);
    g_assert(!bdrv_attach_child(file, top, "loop", BDRV_CHILD_DATA, &err));
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "Making 'top' a loop child of 'file' would create a "
                    "cycle");
    error_free_or_abort(&err);
    bdrv_ref(file);
    g_assert(!bdrv_attach_child(file, file, "self", BDRV_CHILD_DATA, &err));
    error_free_or_abort(&err);
    bdrv_unref(top);
    g_assert(!bdrv_next_node(NULL));
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();

    g_test_add_func("/block-graph/names", test_names);
    g_test_add_func("/block-graph/cycle", test_cycle);
    ret = g_test_run();

    qemu_cleanup_main_loop();
    return ret;
}
