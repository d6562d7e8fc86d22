/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Split virtqueues, seen from the driver's side: what a right driver does, and
 * what a wrong one does.
 */
#include "qemu/osdep.h"
#include "virtqueue-driver.h"
#include "qapi/qapi-commands-control.h"

void qmp_quit(Error **errp)
{
}

/* --- split rings --- */

/* Descriptor @i of the table at @table. */
static void set_desc(Driver *d, unsigned table, unsigned i, uint64_t addr,
                     uint32_t len, uint16_t flags, uint16_t next)
{
    ((VringDesc *)(d->bytes + table))[i] = (VringDesc) {
        htole64(addr), htole32(len), htole16(flags), htole16(next),
    };
}

static void publish(Driver *d, uint16_t head)
{
    put16(d, AVAIL + 4 + 2 * (d->avail_idx % d->vq.num), head);
    put16(d, AVAIL + 2, ++d->avail_idx);
}

/* A buffer to be read and one to be written, from descriptor @i on. */
static void add_pair(Driver *d, unsigned i)
{
    set_desc(d, DESC, i, GUEST + DATA, 16, VRING_DESC_F_NEXT, i + 1);
    set_desc(d, DESC, i + 1, GUEST + DATA + 512, 512, VRING_DESC_F_WRITE, 0);
    publish(d, i);
}

static void check_used(Driver *d, unsigned i, uint32_t id, uint32_t len)
{
    uint32_t *used = (uint32_t *)(d->bytes + USED + 4) + 2 * i;

    g_assert_cmpuint(le32toh(used[0]), ==, id);
    g_assert_cmpuint(le32toh(used[1]), ==, len);
}

static void test_split(void)
{
    Driver *d = driver_new();
    VirtQueueElement second;

    driver_start(d, NUM, 0, 0);
    g_assert_false(virtqueue_has_work(&d->vq));
    g_assert_false(virtqueue_pop(&d->vq, &d->elem));
    add_pair(d, 2);
    add_pair(d, 5);
    g_assert_true(virtqueue_has_work(&d->vq));
    g_assert_true(virtqueue_pop(&d->vq, &d->elem));
    g_assert_cmpuint(d->elem.index, ==, 2);
    g_assert_cmpuint(d->elem.out_num, ==, 1);
    g_assert_cmpuint(d->elem.in_num, ==, 1);
    g_assert_cmpuint(d->elem.iov[0].iov_len, ==, 16);
    g_assert_cmpuint(d->elem.iov[1].iov_len, ==, 512);
    strcpy(d->elem.iov[1].iov_base, "here");
    g_assert_cmpstr((char *)d->bytes + DATA + 512, ==, "here");
    g_assert_true(virtqueue_pop(&d->vq, &second));
    g_assert_false(virtqueue_pop(&d->vq, &second));
    /* The other order. */
    virtqueue_push(&d->vq, &second, 7);
    g_assert_cmpuint(get16(d, USED + 2), ==, 1);
    virtqueue_push(&d->vq, &d->elem, 513);
    g_assert_cmpuint(get16(d, USED + 2), ==, 2);
    check_used(d, 0, 5, 7);
    check_used(d, 1, 2, 513);
    g_assert_cmpuint(virtqueue_stop(&d->vq), ==, 2);
    driver_start(d, NUM, 0, 2);
    g_assert_false(virtqueue_has_work(&d->vq));
    driver_free(d);
}

/* Indices have 16 bits, and go on from where the last server was. */
static void test_split_wrap(void)
{
    Driver *d = driver_new();
    unsigned i;

    put16(d, USED + 2, 65530);
    put16(d, AVAIL + 2, 65530);
    driver_start(d, NUM, 0, 65530);
    for (i = 0; i < 3 * NUM; i++) {
        add_pair(d, i % 4 * 2);
        g_assert_true(virtqueue_pop(&d->vq, &d->elem));
        g_assert_cmpuint(d->elem.index, ==, i % 4 * 2);
        virtqueue_push(&d->vq, &d->elem, i);
        check_used(d, (65530 + i) % NUM, i % 4 * 2, i);
        g_assert_cmpuint(get16(d, USED + 2), ==, (65530 + i + 1) & 0xffff);
    }
    g_assert_null(d->vq.broken);
    driver_free(d);
}

static void test_split_indirect(void)
{
    Driver *d = driver_new();

    driver_start(d, NUM, F_INDIRECT, 0);
    /* The order of the table is its own. */
    set_desc(d, TABLE, 0, GUEST + DATA, 16, VRING_DESC_F_NEXT, 2);
    set_desc(d, TABLE, 2, GUEST + DATA + 64, 32, VRING_DESC_F_NEXT, 1);
    set_desc(d, TABLE, 1, GUEST + DATA + 128, 1, VRING_DESC_F_WRITE, 0);
    set_desc(d, DESC, 3, GUEST + TABLE, 48, VRING_DESC_F_INDIRECT, 0);
    publish(d, 3);
    g_assert_true(virtqueue_pop(&d->vq, &d->elem));
    g_assert_cmpuint(d->elem.out_num, ==, 2);
    g_assert_cmpuint(d->elem.in_num, ==, 1);
    g_assert_cmpuint(d->elem.iov[1].iov_len, ==, 32);
    g_assert_cmpuint(d->elem.iov[2].iov_len, ==, 1);
    driver_free(d);
}

/* A buffer and a table that go on in the next region. */
static void test_regions(void)
{
    Driver *d = driver_new();
    unsigned last = FIRST_SIZE - 8;
    VringDesc desc = {
        htole64(SECOND - 100), htole32(300), htole16(VRING_DESC_F_WRITE), 0,
    };

    driver_start(d, NUM, F_INDIRECT, 0);
    memcpy(d->bytes + last, &desc, 8);
    memcpy(d->bytes + FIRST_SIZE + 0x1000, (char *)&desc + 8, 8);
    set_desc(d, DESC, 0, GUEST + last, 16, VRING_DESC_F_INDIRECT, 0);
    publish(d, 0);
    g_assert_true(virtqueue_pop(&d->vq, &d->elem));
    g_assert_cmpuint(d->elem.in_num, ==, 2);
    g_assert_cmpuint(d->elem.iov[0].iov_len, ==, 100);
    g_assert_cmpuint(d->elem.iov[1].iov_len, ==, 200);
    driver_free(d);
}

/* --- what a split ring must not have --- */

typedef struct {
    const char *name;
    const char *words;          /* some of those that tell it */
    /* The element that is available: its head, and two descriptors. */
    uint16_t head;
    VringDesc desc[2];
    VringDesc table[2];         /* an indirect one */
} Fault;

#define GOOD { BUFFER, 16, 0, 0 }

static const Fault faults[] = {
    { "head", "available is not in", NUM, { GOOD } },
    { "next", "next one is not in the table", 0,
      { { BUFFER, 16, NEXT, NUM } } },
    { "loop", "a loop", 0, { { BUFFER, 16, NEXT, 1 },
                             { BUFFER, 16, NEXT, 0 } } },
    { "self", "a loop", 0, { { BUFFER, 16, NEXT, 0 } } },
    { "order", "follows one to be written", 0,
      { { BUFFER, 16, NEXT | WRITE, 1 }, GOOD } },
    { "empty", "is empty", 0, { { BUFFER, 0, 0, 0 } } },
    { "wraps", "wraps around", 0, { { UINT64_MAX - 3, 16, 0, 0 } } },
    { "before", "outside of the memory", 0, { { GUEST - 1, 16, 0, 0 } } },
    { "after", "outside of the memory", 0, { { END, 1, 0, 0 } } },
    { "end", "outside of the memory", 0, { { END - 15, 16, 0, 0 } } },
    { "length", "outside of the memory", 0,
      { { BUFFER, UINT32_MAX, 0, 0 } } },
    { "table-empty", "size that is impossible", 0,
      { { GUEST + TABLE, 0, INDIRECT, 0 } } },
    { "table-odd", "size that is impossible", 0,
      { { GUEST + TABLE, 17, INDIRECT, 0 } } },
    { "table-wraps", "size that is impossible", 0,
      { { UINT64_MAX - 7, 16, INDIRECT, 0 } } },
    { "table-outside", "table is outside", 0,
      { { END, 16, INDIRECT, 0 } } },
    { "table-end", "table is outside", 0,
      { { END - 8, 16, INDIRECT, 0 } } },
    { "table-chain", "follows an indirect", 0,
      { { GUEST + TABLE, 16, INDIRECT | NEXT, 1 }, GOOD }, { GOOD } },
    { "table-nested", "in another one", 0,
      { { GUEST + TABLE, 16, INDIRECT, 0 } },
      { { GUEST + TABLE, 16, INDIRECT, 0 } } },
    { "table-next", "next one is not in the table", 0,
      { { GUEST + TABLE, 32, INDIRECT, 0 } }, { { BUFFER, 16, NEXT, 2 } } },
    { "table-loop", "a loop", 0, { { GUEST + TABLE, 32, INDIRECT, 0 } },
      { { BUFFER, 16, NEXT, 1 }, { BUFFER, 16, NEXT, 0 } } },
};

static void expect_broken(Driver *d, const char *words)
{
    g_assert_false(virtqueue_pop(&d->vq, &d->elem));
    g_assert_nonnull(d->vq.broken);
    g_assert_nonnull(strstr(d->vq.broken, words));
    /* It stays so. */
    g_assert_false(virtqueue_has_work(&d->vq));
    g_assert_false(virtqueue_pop(&d->vq, &d->elem));
}

static void test_fault(gconstpointer opaque)
{
    const Fault *fault = opaque;
    Driver *d = driver_new();
    unsigned i;

    driver_start(d, NUM, F_INDIRECT, 0);
    for (i = 0; i < 2; i++) {
        const VringDesc *desc = &fault->desc[i], *in = &fault->table[i];

        set_desc(d, DESC, i, desc->addr, desc->len, desc->flags, desc->next);
        set_desc(d, TABLE, i, in->addr, in->len, in->flags, in->next);
    }
    publish(d, fault->head);
    expect_broken(d, fault->words);
    driver_free(d);
}

static void test_fault_index(void)
{
    Driver *d = driver_new();

    driver_start(d, NUM, 0, 0);
    put16(d, AVAIL + 2, NUM + 1);
    expect_broken(d, "by more than the ring");
    driver_free(d);
}

static void test_fault_twice(void)
{
    Driver *d = driver_new();

    driver_start(d, NUM, 0, 0);
    add_pair(d, 0);
    add_pair(d, 0);
    g_assert_true(virtqueue_pop(&d->vq, &d->elem));
    expect_broken(d, "that is in use");
    driver_free(d);
}

static void test_fault_not_negotiated(void)
{
    Driver *d = driver_new();

    driver_start(d, NUM, 0, 0);
    set_desc(d, DESC, 0, GUEST + TABLE, 16, INDIRECT, 0);
    set_desc(d, TABLE, 0, BUFFER, 16, 0, 0);
    publish(d, 0);
    expect_broken(d, "not negotiated");
    driver_free(d);
}

/* As long as it may be, and one more. */
static void test_fault_long(void)
{
    Driver *d = driver_new();
    unsigned n;

    for (n = VIRTQUEUE_MAX_CHAIN; n <= VIRTQUEUE_MAX_CHAIN + 1; n++) {
        unsigned i;

        put16(d, AVAIL + 2, 0);
        put16(d, USED + 2, 0);
        driver_start(d, 256, 0, 0);
        for (i = 0; i < n; i++) {
            set_desc(d, DESC, i, BUFFER, 1, i + 1 < n ? NEXT : 0, i + 1);
        }
        publish(d, 0);
        if (n == VIRTQUEUE_MAX_CHAIN) {
            g_assert_true(virtqueue_pop(&d->vq, &d->elem));
            g_assert_cmpuint(d->elem.out_num, ==, n);
            driver_stop(d);
        } else {
            expect_broken(d, "too long");
        }
    }
    driver_free(d);
}

/* --- notifications of split rings --- */

static void pop_push(Driver *d, unsigned n)
{
    while (n--) {
        add_pair(d, 0);
        g_assert_true(virtqueue_pop(&d->vq, &d->elem));
        virtqueue_push(&d->vq, &d->elem, 0);
    }
}

static void test_split_flags(void)
{
    Driver *d = driver_new();

    driver_start(d, NUM, 0, 0);
    pop_push(d, 1);
    g_assert_true(virtqueue_should_notify(&d->vq));
    put16(d, AVAIL, 1);
    g_assert_false(virtqueue_should_notify(&d->vq));
    virtqueue_set_notification(&d->vq, false);
    g_assert_cmpuint(get16(d, USED), ==, 1);
    virtqueue_set_notification(&d->vq, true);
    g_assert_cmpuint(get16(d, USED), ==, 0);
    driver_free(d);
}

static void test_split_event(void)
{
    Driver *d = driver_new();
    unsigned used_event = AVAIL + 4 + 2 * NUM;
    unsigned avail_event = USED + 4 + 8 * NUM;

    driver_start(d, NUM, F_EVENT, 0);
    pop_push(d, 1);
    /* The first time nobody knows what the driver was told. */
    g_assert_true(virtqueue_should_notify(&d->vq));
    put16(d, used_event, 3);
    pop_push(d, 2);
    g_assert_false(virtqueue_should_notify(&d->vq));
    pop_push(d, 2);
    g_assert_true(virtqueue_should_notify(&d->vq));
    pop_push(d, 1);
    g_assert_false(virtqueue_should_notify(&d->vq));
    virtqueue_set_notification(&d->vq, true);
    g_assert_cmpuint(get16(d, avail_event), ==, 6);
    pop_push(d, 1);
    virtqueue_set_notification(&d->vq, false);
    g_assert_cmpuint(get16(d, avail_event), ==, 6);
    driver_free(d);
}

/* --- the beginning --- */

static void expect_no_init(Driver *d, unsigned num, uint64_t features,
                           uint32_t base, const VirtQueueAddresses *addrs,
                           const char *words)
{
    Error *err = NULL;
    VirtQueue vq;

    g_assert_false(virtqueue_init(&vq, &d->mem, num, addrs, features, base,
                                  d->region, d->region ? 100 : 0, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), words));
    /* As after the end: it has nothing of a memory that may go now. */
    g_assert_null(vq.desc);
    error_free(err);
}

static void test_init(void)
{
    Driver *d = driver_new();
    VirtQueueAddresses good = { USER + DESC, USER + AVAIL, USER + USED };
    VirtQueueAddresses bad = good;

    expect_no_init(d, 0, 0, 0, &good, "0 entries");
    expect_no_init(d, 6, 0, 0, &good, "6 entries");
    expect_no_init(d, 2048, 0, 0, &good, "2048 entries");
    expect_no_init(d, 6, F_PACKED, 6, &good, "not in a ring");
    bad.desc = USER + FIRST_SIZE - 16 * NUM + 16;
    expect_no_init(d, NUM, 0, 0, &bad, "descriptor area");
    bad.desc = USER + 8;
    expect_no_init(d, NUM, 0, 0, &bad, "not aligned to 16");
    bad = good;
    bad.avail = USER + FIRST_SIZE - 2 * NUM;
    expect_no_init(d, NUM, 0, 0, &bad, "driver area");
    bad = good;
    bad.used = USER - 4;
    expect_no_init(d, NUM, 0, 0, &bad, "device area");
    bad.used = UINT64_MAX - 3;
    expect_no_init(d, NUM, 0, 0, &bad, "device area");
    d->region = g_malloc0(64 * KiB);
    expect_no_init(d, NUM, 0, 0, &good, "too small");
    driver_start(d, NUM, 0, 0);
    driver_free(d);
}

int main(int argc, char **argv)
{
    unsigned i;

    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtqueue/init", test_init);
    g_test_add_func("/virtqueue/split", test_split);
    g_test_add_func("/virtqueue/split/wrap", test_split_wrap);
    g_test_add_func("/virtqueue/split/indirect", test_split_indirect);
    g_test_add_func("/virtqueue/split/flags", test_split_flags);
    g_test_add_func("/virtqueue/split/event", test_split_event);
    g_test_add_func("/virtqueue/regions", test_regions);
    for (i = 0; i < ARRAY_SIZE(faults); i++) {
        g_autofree char *path = g_strdup_printf("/virtqueue/fault/%s",
                                                faults[i].name);

        g_test_add_data_func(path, &faults[i], test_fault);
    }
    g_test_add_func("/virtqueue/fault/index", test_fault_index);
    g_test_add_func("/virtqueue/fault/twice", test_fault_twice);
    g_test_add_func("/virtqueue/fault/not-negotiated",
                    test_fault_not_negotiated);
    g_test_add_func("/virtqueue/fault/long", test_fault_long);
    return g_test_run();
}
