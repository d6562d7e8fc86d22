/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Questions about nodes, which poll: nodes may go meanwhile, as they do when a
 * job ends.
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "qapi/qapi-commands-block-info.h"
#include "qapi/qapi-commands-control.h"
#include "test-thread-loop.h"

static TestLoop *loop;

void qmp_quit(Error **errp)
{
    g_assert_not_reached();
}

static BlockDriverState *open_node(const char *options)
{
    return bdrv_open(NULL, NULL, qopts_parse(options, NULL, &error_abort),
                     BDRV_O_RDWR, &error_abort);
}

static bool is_going;           /* atomic */

static void node_goes(void *opaque)
{
    qatomic_set(&is_going, true);
    bdrv_unref(opaque);
}

/* In the loop: the question is not answered before node_goes() has begun. */
static void wait_for_going(void *opaque)
{
    while (!qatomic_read(&is_going)) {
        g_usleep(1000);
    }
}

static unsigned count_nodes(void)
{
    BlockDeviceInfoList *list = qmp_query_named_block_nodes(false, false,
                                                            &error_abort);
    BlockDeviceInfoList *l;
    unsigned n = 0;

    for (l = list; l; l = l->next) {
        n++;
    }
    qapi_free_BlockDeviceInfoList(list);
    return n;
}

/* The node whose turn it is loses its last user. */
static void test_node(void)
{
    BlockDriverState *a = open_node("driver=null-co,node-name=a");
    BlockDriverState *b = open_node("driver=null-co,node-name=b");

    g_assert_cmpint(bdrv_try_change_aio_context(a, loop->ctx, NULL,
                                                &error_abort), ==, 0);
    aio_bh_schedule_oneshot(loop->ctx, wait_for_going, NULL);
    aio_bh_schedule_oneshot(qemu_get_aio_context(), node_goes, a);
    g_assert_cmpuint(count_nodes(), ==, 2);
    g_assert_null(bdrv_find_node("a"));
    g_assert_cmpuint(count_nodes(), ==, 1);
    bdrv_unref(b);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    loop = test_loop_new();
    g_test_add_func("/block-query/node", test_node);
    ret = g_test_run();
    test_loop_free(loop);
    qemu_cleanup_main_loop();
    return ret;
}
