/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random changes of a graph of nodes, backends and a kind of job, with the
 * rules of the graph checked after each: and whatever is refused must have
 * changed nothing.
 *
 * GRAPH_SEED=n runs one seed, GRAPH_SEEDS=n that many.
 */
#include "qemu/osdep.h"
#include "block/blk-int.h"
#include "system/iothread.h"

#define MAX_NODES 12
#define MAX_BLKS 5
#define MAX_JOBS 3
#define STEPS 400
#define DEFAULT_SEEDS 40

typedef struct {
    BdrvChild *child;
    int drained;
} Job;

static BlockDriverState *nodes[MAX_NODES];
static int sections[MAX_NODES];     /* drained by this test */
static BlockBackend *blks[MAX_BLKS];
static Job jobs[MAX_JOBS];
static IOThread *iothread;
static GRand *rng;
static unsigned next_name;

static int pick(int n)
{
    return g_rand_int_range(rng, 0, n);
}

/* --- drivers --- */

static int leaf_open(BlockDriverState *bs, QOpts *options, int flags,
                     Error **errp)
{
    return 0;
}

static int leaf_reopen_prepare(BDRVReopenState *state, Error **errp)
{
    return 0;
}

static int64_t coroutine_fn leaf_co_getlength(BlockDriverState *bs)
{
    return 1 * MiB;
}

static BlockDriver bdrv_leaf = {
    .format_name = "leaf",
    .protocol_name = "leaf",
    .supports_backing = true,
    .bdrv_open = leaf_open,
    .bdrv_reopen_prepare = leaf_reopen_prepare,
    .bdrv_co_getlength = leaf_co_getlength,
};

static BlockDriver bdrv_pass = {
    .format_name = "pass",
    .is_filter = true,
    .filtered_child_is_backing = true,
    .bdrv_open = leaf_open,
    .bdrv_reopen_prepare = leaf_reopen_prepare,
};

/* --- jobs --- */

static void job_drained_begin(BdrvChild *c)
{
    ((Job *)c->opaque)->drained++;
}

static void job_drained_end(BdrvChild *c)
{
    ((Job *)c->opaque)->drained--;
}

static char *job_get_parent_desc(BdrvChild *c)
{
    return g_strdup("a job");
}

static AioContext *job_get_parent_aio_context(BdrvChild *c)
{
    return qemu_get_aio_context();
}

/* It moves nowhere. */
static const BdrvChildClass child_test_job = {
    .stay_at_node = true,
    .get_parent_desc = job_get_parent_desc,
    .drained_begin = job_drained_begin,
    .drained_end = job_drained_end,
    .get_parent_aio_context = job_get_parent_aio_context,
};

/* --- the rules --- */

static int edges_of_test(BlockDriverState *bs)
{
    int i, n = 0;

    for (i = 0; i < MAX_NODES; i++) {
        n += nodes[i] == bs;
    }
    return n;
}

static void check_children(BlockDriverState *bs, int own_sections)
{
    int quiesced = own_sections;
    BdrvChild *c;

    QLIST_FOREACH(c, &bs->children, next) {
        uint64_t perm, shared;

        g_assert(c->opaque == bs && c->bs);
        g_assert(c->quiesced_parent == (c->bs->quiesce_counter > 0));
        quiesced += c->quiesced_parent;
        g_assert(c->bs->aio_context == bs->aio_context);
        bdrv_child_perms(bs, c, bs->cumulative_perms, bs->cumulative_shared,
                         &perm, &shared);
        g_assert_cmphex(c->perm, ==, perm);
        g_assert_cmphex(c->shared_perm, ==, shared);
    }
    g_assert_cmpint(bs->quiesce_counter, ==, quiesced);
}

static void check_parents(BlockDriverState *bs)
{
    uint64_t perm = 0, shared = BLK_PERM_ALL;
    BdrvChild *a, *b;
    int n = 0;

    QLIST_FOREACH(a, &bs->parents, next_parent) {
        g_assert(a->bs == bs);
        perm |= a->perm;
        shared &= a->shared_perm;
        n++;
        QLIST_FOREACH(b, &bs->parents, next_parent) {
            g_assert(a == b || !(a->perm & ~b->shared_perm));
        }
    }
    g_assert_cmphex(bs->cumulative_perms, ==, perm);
    g_assert_cmphex(bs->cumulative_shared, ==, shared);
    g_assert_cmpint(bs->refcnt, ==, n + edges_of_test(bs));
}

static void check_depth(BlockDriverState *bs, int depth)
{
    BdrvChild *c;

    /* More than there are nodes: a circle. */
    g_assert_cmpint(depth, <, 4 * MAX_NODES);
    QLIST_FOREACH(c, &bs->children, next) {
        check_depth(c->bs, depth + 1);
    }
}

static int sections_of(BlockDriverState *bs)
{
    int i;

    for (i = 0; i < MAX_NODES; i++) {
        if (nodes[i] == bs) {
            return sections[i];
        }
    }
    return 0;
}

static void check_rules(void)
{
    BlockDriverState *bs;
    int i;

    for (bs = bdrv_next_node(NULL); bs; bs = bdrv_next_node(bs)) {
        check_children(bs, sections_of(bs));
        check_parents(bs);
        check_depth(bs, 0);
        g_assert(bs->driver_drained == (bs->quiesce_counter > 0));
    }
    for (i = 0; i < MAX_BLKS; i++) {
        if (blks[i] && blk_bs(blks[i])) {
            bs = blk_bs(blks[i]);
            g_assert(blk_get_aio_context(blks[i]) == bs->aio_context);
            g_assert_cmpint(blks[i]->quiesce_counter, ==,
                            bs->quiesce_counter > 0);
        } else if (blks[i]) {
            g_assert_cmpint(blks[i]->quiesce_counter, ==, 0);
        }
    }
    for (i = 0; i < MAX_JOBS; i++) {
        g_assert_cmpint(jobs[i].drained, ==, jobs[i].child &&
                        jobs[i].child->bs->quiesce_counter > 0);
    }
}

static void describe_edge(GString *s, const BdrvChild *c)
{
    g_string_append_printf(s, " %s=%s/%x/%" PRIx64 "/%" PRIx64 "%s", c->name,
                           c->bs->node_name, c->role, c->perm,
                           c->shared_perm, c->frozen ? "!" : "");
}

/* All that a refused change must leave as it is. */
static char *describe(void)
{
    GString *s = g_string_new(NULL);
    BlockDriverState *bs;
    BdrvChild *c;
    int i;

    for (bs = bdrv_next_node(NULL); bs; bs = bdrv_next_node(bs)) {
        g_string_append_printf(s, "%s[%x %d %d %s]", bs->node_name,
                               bs->open_flags, bs->quiesce_counter,
                               bs->refcnt, bs->aio_context ==
                               qemu_get_aio_context() ? "main" : "io");
        QLIST_FOREACH(c, &bs->children, next) {
            describe_edge(s, c);
        }
        g_string_append_c(s, '\n');
    }
    for (i = 0; i < MAX_BLKS; i++) {
        if (blks[i]) {
            g_string_append_printf(s, "blk%d %d", i, blks[i]->ctx ==
                                   qemu_get_aio_context());
            if (blks[i]->root) {
                describe_edge(s, blks[i]->root);
            }
            g_string_append_c(s, '\n');
        }
    }
    return g_string_free(s, false);
}

/* --- steps; < 0: refused --- */

static int random_node(void)
{
    int i = pick(MAX_NODES);

    return nodes[i] ? i : -1;
}

static uint64_t random_perm(void)
{
    return pick(2) ? 0 : pick(BLK_PERM_ALL + 1);
}

static uint64_t random_shared(void)
{
    return pick(3) ? BLK_PERM_ALL : pick(BLK_PERM_ALL + 1);
}

static void step_new_node(void)
{
    int i = pick(MAX_NODES);
    g_autofree char *name = g_strdup_printf("n%u", next_name++);

    if (!nodes[i]) {
        nodes[i] = bdrv_new_open_driver(pick(4) ? &bdrv_leaf : &bdrv_pass,
                                        name, pick(5) ? BDRV_O_RDWR : 0,
                                        &error_abort);
        /* Not all at once. */
        sections[i] = 0;
    }
}

static void step_drop_node(int i)
{
    while (sections[i] > 0) {
        sections[i]--;
        bdrv_drained_end(nodes[i]);
    }
    bdrv_unref(nodes[i]);
    nodes[i] = NULL;
}

static void step_drain(int i)
{
    if (sections[i] > 0 && pick(2)) {
        sections[i]--;
        bdrv_drained_end(nodes[i]);
    } else {
        sections[i]++;
        bdrv_drained_begin(nodes[i]);
    }
}

static int step_blk(Error **errp)
{
    int k = pick(MAX_BLKS), i = random_node();

    if (!blks[k]) {
        blks[k] = blk_new(pick(4) ? qemu_get_aio_context() :
                          iothread_get_aio_context(iothread),
                          random_perm(), random_shared());
        blk_set_allow_aio_context_change(blks[k], pick(2));
        return 0;
    }
    if (blks[k]->root && pick(2)) {
        return blk_set_perm(blks[k], random_perm(), random_shared(), errp);
    }
    if (blks[k]->root && pick(3) == 0) {
        return blk_set_aio_context(blks[k], pick(2) ?
                                   qemu_get_aio_context() :
                                   iothread_get_aio_context(iothread), errp);
    }
    if (blks[k]->root) {
        blk_remove_bs(blks[k]);
        if (pick(2)) {
            blk_unref(blks[k]);
            blks[k] = NULL;
        }
        return 0;
    }
    return i < 0 ? 0 : blk_insert_bs(blks[k], nodes[i], errp);
}

static int step_job(Error **errp)
{
    int k = pick(MAX_JOBS), i = random_node();

    if (jobs[k].child) {
        bdrv_root_unref_child(jobs[k].child);
        jobs[k].child = NULL;
        return 0;
    }
    if (i < 0) {
        return 0;
    }
    bdrv_ref(nodes[i]);
    jobs[k].child = bdrv_root_attach_child(nodes[i], "job", &child_test_job,
                                           0, random_perm(), random_shared(),
                                           &jobs[k], errp);
    return jobs[k].child ? 0 : -EPERM;
}

static int step_freeze(int i, Error **errp)
{
    BdrvChild *c = bdrv_filter_or_cow_child(nodes[i]);

    if (!c) {
        return 0;
    }
    if (c->frozen) {
        bdrv_unfreeze_backing_chain(nodes[i], c->bs);
        return 0;
    }
    return bdrv_freeze_backing_chain(nodes[i], c->bs, errp);
}

static int step_reopen(int i, int j, Error **errp)
{
    BlockReopenQueue *q = NULL;
    int k;

    for (k = 0; k < 2; k++) {
        int n = k ? j : i;
        QOpts *opts = qopts_new();

        qopts_set_bool(opts, "read-only", pick(2));
        if (!nodes[n]->drv->is_filter && pick(2)) {
            int b = random_node();

            qopts_set_str(opts, "backing", b < 0 ? NULL :
                          nodes[b]->node_name);
        }
        if (n == i && k) {
            qopts_unref(opts);
            break;
        }
        q = bdrv_reopen_queue(q, nodes[n], opts, true);
    }
    return bdrv_reopen_multiple(q, errp);
}

static bool has_frozen(BlockDriverState *bs)
{
    BdrvChild *c;

    QLIST_FOREACH(c, &bs->children, next) {
        if (c->frozen) {
            return true;
        }
    }
    return false;
}

static int step_two(int i, int j, Error **errp)
{
    BlockDriverState *a = nodes[i], *b = nodes[j];
    BdrvChild *c;

    switch (pick(6)) {
    case 0:
        if (a->backing || a == b) {
            return 0;
        }
        return bdrv_append(a, b, errp);
    case 1:
        return a == b ? 0 : bdrv_replace_node(a, b, errp);
    case 2:
        return bdrv_set_backing_hd(a, pick(3) ? b : NULL, errp);
    case 3:
        c = QLIST_FIRST(&a->children);
        return c ? bdrv_replace_child_bs(c, b, errp) : 0;
    case 4:
        return bdrv_filter_bs(a) ? bdrv_drop_filter(a, errp) : 0;
    default:
        return step_reopen(i, j, errp);
    }
}

static int step(Error **errp)
{
    int i = random_node(), j = random_node();

    switch (pick(14)) {
    case 0:
    case 1:
        step_new_node();
        return 0;
    case 2:
    case 3:
        return step_blk(errp);
    case 4:
        return step_job(errp);
    case 5:
        if (i >= 0 && !has_frozen(nodes[i]) && pick(3) == 0) {
            step_drop_node(i);
        }
        return 0;
    case 6:
        if (i >= 0) {
            step_drain(i);
        }
        return 0;
    case 7:
        return i >= 0 ? step_freeze(i, errp) : 0;
    case 8:
        return i < 0 ? 0 : bdrv_try_change_aio_context(
            nodes[i], pick(2) ? qemu_get_aio_context() :
            iothread_get_aio_context(iothread), NULL, errp);
    default:
        return i >= 0 && j >= 0 ? step_two(i, j, errp) : 0;
    }
}

/* --- runs --- */

static void unfreeze_all(void)
{
    BlockDriverState *bs;
    BdrvChild *c;

    for (bs = bdrv_next_node(NULL); bs; bs = bdrv_next_node(bs)) {
        QLIST_FOREACH(c, &bs->children, next) {
            c->frozen = false;
        }
    }
}

static void drop_all(void)
{
    int i;

    unfreeze_all();
    for (i = 0; i < MAX_JOBS; i++) {
        if (jobs[i].child) {
            bdrv_root_unref_child(jobs[i].child);
            jobs[i].child = NULL;
        }
    }
    for (i = 0; i < MAX_BLKS; i++) {
        blk_unref(blks[i]);
        blks[i] = NULL;
    }
    for (i = 0; i < MAX_NODES; i++) {
        if (nodes[i]) {
            step_drop_node(i);
        }
    }
    g_assert(!bdrv_next_node(NULL));
    g_assert(!bdrv_aio_context_in_use(iothread->ctx));
}

static void run_seed(unsigned seed, unsigned *done, unsigned *refused)
{
    int i;

    rng = g_rand_new_with_seed(seed);
    for (i = 0; i < STEPS; i++) {
        g_autofree char *before = describe();
        Error *err = NULL;

        if (getenv("GRAPH_SEED")) {
            g_test_message("step %d\n%s", i, before);
        }

        if (step(&err) < 0) {
            g_autofree char *after = describe();

            if (!err || strcmp(before, after)) {
                g_test_message("seed %u, step %d: %s\n-- before\n%s-- "
                               "after\n%s", seed, i,
                               err ? error_get_pretty(err) : "no message",
                               before, after);
                g_test_fail();
            }
            ++*refused;
        } else {
            g_assert(!err);
            ++*done;
        }
        error_free(err);
        check_rules();
    }
    drop_all();
    g_rand_free(rng);
}

static void test_random(void)
{
    const char *one = getenv("GRAPH_SEED"), *count = getenv("GRAPH_SEEDS");
    unsigned n = count ? atoi(count) : DEFAULT_SEEDS;
    unsigned done = 0, refused = 0, seed;

    iothread = iothread_create("io0", &error_abort);
    if (one) {
        run_seed(atoi(one), &done, &refused);
    }
    for (seed = 1; !one && seed <= n && !g_test_failed(); seed++) {
        run_seed(seed, &done, &refused);
    }
    g_test_message("%u steps done, %u refused", done, refused);
    /* Both kinds are worth something only if there are enough of them. */
    g_assert_cmpuint(done, >, refused / 4);
    g_assert_cmpuint(refused, >, done / 40);
    iothread_destroy(iothread);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    bdrv_register(&bdrv_leaf);
    bdrv_register(&bdrv_pass);

    g_test_add_func("/graph-random/steps", test_random);
    ret = g_test_run();

    qemu_cleanup_main_loop();
    return ret;
}
