/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packed virtqueues, seen from the driver's side; and for both kinds what the
 * next server finds of the requests of one that has died.
 */
#include "qemu/osdep.h"
#include "virtqueue-driver.h"
#include "qapi/qapi-commands-control.h"

#define BASE 0x80008000         /* both indices 0, both wrap counters 1 */

void qmp_quit(Error **errp)
{
}

/* Entry @i of the ring, available if the wrap counter is @wrap. */
static void put_entry(Driver *d, unsigned i, uint64_t addr, uint32_t len,
                      uint16_t id, uint16_t flags, bool wrap)
{
    flags |= wrap ? VRING_PACKED_DESC_F_AVAIL : VRING_PACKED_DESC_F_USED;
    ((VringPackedDesc *)(d->bytes + DESC))[i] = (VringPackedDesc) {
        htole64(addr), htole32(len), htole16(id), htole16(flags),
    };
}

/* The buffer to be read, and that to be written, from entry @i on. */
static void put_pair(Driver *d, unsigned i, uint16_t id, bool wrap)
{
    bool second_wrap = i + 1 < NUM ? wrap : !wrap;

    put_entry(d, (i + 1) % NUM, BUFFER + 512, 512, id, WRITE, second_wrap);
    put_entry(d, i, BUFFER, 16, 0x7777, NEXT, wrap);
}

static void check_entry(Driver *d, unsigned i, uint16_t id, uint32_t len,
                        bool wrap)
{
    const VringPackedDesc *e = (VringPackedDesc *)(d->bytes + DESC) + i;
    uint16_t flags = le16toh(e->flags);

    g_assert_cmpuint(le16toh(e->id), ==, id);
    g_assert_cmpuint(le32toh(e->len), ==, len);
    g_assert_cmpint(!!(flags & VRING_PACKED_DESC_F_AVAIL), ==, wrap);
    g_assert_cmpint(!!(flags & VRING_PACKED_DESC_F_USED), ==, wrap);
    g_assert_cmpint(!!(flags & WRITE), ==, len > 0);
}

static void expect_broken(Driver *d, const char *words)
{
    g_assert_false(virtqueue_pop(&d->vq, &d->elem));
    g_assert_nonnull(d->vq.broken);
    g_assert_nonnull(strstr(d->vq.broken, words));
    g_assert_false(virtqueue_has_work(&d->vq));
}

/* --- packed rings --- */

/* Three entries on the go, in a ring of eight: several rounds. */
static void test_packed(void)
{
    Driver *d = driver_new();
    unsigned i, at = 0;
    bool wrap = true;

    driver_start(d, NUM, F_PACKED, BASE);
    g_assert_false(virtqueue_has_work(&d->vq));
    for (i = 0; i < 3 * NUM; i++) {
        put_pair(d, at, 100 + i, wrap);
        g_assert_true(virtqueue_has_work(&d->vq));
        g_assert_true(virtqueue_pop(&d->vq, &d->elem));
        g_assert_cmpuint(d->elem.index, ==, 100 + i);
        g_assert_cmpuint(d->elem.n_desc, ==, 2);
        g_assert_cmpuint(d->elem.iov[0].iov_len, ==, 16);
        g_assert_cmpuint(d->elem.iov[1].iov_len, ==, 512);
        g_assert_false(virtqueue_pop(&d->vq, &d->elem));
        virtqueue_push(&d->vq, &d->elem, i);
        check_entry(d, at, 100 + i, i, wrap);
        at += 2;
        if (at >= NUM) {
            at -= NUM;
            wrap = !wrap;
        }
    }
    g_assert_cmphex(virtqueue_stop(&d->vq), ==,
                    at | wrap << 15 | at << 16 | (uint32_t)wrap << 31);
    driver_start(d, NUM, F_PACKED, BASE);
    driver_free(d);
}

/* A chain across the end of a ring that is no power of two. */
static void test_packed_end(void)
{
    Driver *d = driver_new();
    unsigned i;

    driver_start(d, 5, F_PACKED, BASE);
    for (i = 0; i < 4; i++) {
        put_entry(d, i, BUFFER, 16, i, 0, true);
        g_assert_true(virtqueue_pop(&d->vq, &d->elem));
        virtqueue_push(&d->vq, &d->elem, 0);
    }
    put_entry(d, 0, BUFFER, 16, 9, 0, false);
    put_entry(d, 4, BUFFER, 16, 4, NEXT, true);
    g_assert_true(virtqueue_pop(&d->vq, &d->elem));
    g_assert_cmpuint(d->elem.index, ==, 9);
    g_assert_cmpuint(d->elem.n_desc, ==, 2);
    virtqueue_push(&d->vq, &d->elem, 0);
    check_entry(d, 4, 9, 0, true);
    put_entry(d, 1, BUFFER, 16, 3, 0, false);
    g_assert_true(virtqueue_pop(&d->vq, &d->elem));
    virtqueue_push(&d->vq, &d->elem, 5);
    check_entry(d, 1, 3, 5, false);
    driver_free(d);
}

static void test_packed_indirect(void)
{
    Driver *d = driver_new();
    VringPackedDesc *table = (VringPackedDesc *)(d->bytes + TABLE);

    driver_start(d, NUM, F_PACKED | F_INDIRECT, BASE);
    table[0] = (VringPackedDesc) { htole64(BUFFER), htole32(16), 0, 0 };
    table[1] = (VringPackedDesc) {
        htole64(BUFFER), htole32(32), 0, htole16(WRITE),
    };
    put_entry(d, 0, GUEST + TABLE, 32, 6, INDIRECT, true);
    g_assert_true(virtqueue_pop(&d->vq, &d->elem));
    g_assert_cmpuint(d->elem.index, ==, 6);
    g_assert_cmpuint(d->elem.n_desc, ==, 1);
    g_assert_cmpuint(d->elem.iov[1].iov_len, ==, 32);
    /* One within another, and one in a chain. */
    table[1].flags = htole16(INDIRECT);
    put_entry(d, 1, GUEST + TABLE, 32, 7, INDIRECT, true);
    expect_broken(d, "in another one");
    driver_stop(d);
    driver_start(d, NUM, F_PACKED | F_INDIRECT, BASE);
    put_entry(d, 1, BUFFER, 16, 6, 0, true);
    put_entry(d, 0, GUEST + TABLE, 16, 6, INDIRECT | NEXT, true);
    expect_broken(d, "part of a chain");
    driver_stop(d);
    driver_start(d, NUM, F_PACKED | F_INDIRECT, BASE);
    put_entry(d, 1, GUEST + TABLE, 16, 6, INDIRECT, true);
    put_entry(d, 0, BUFFER, 16, 6, NEXT, true);
    expect_broken(d, "part of a chain");
    driver_free(d);
}

/* All entries say that another one follows. */
static void test_packed_loop(void)
{
    Driver *d = driver_new();
    unsigned i;

    driver_start(d, NUM, F_PACKED, BASE);
    for (i = 0; i < NUM; i++) {
        put_entry(d, i, BUFFER, 16, i, NEXT, true);
    }
    expect_broken(d, "too long");
    driver_free(d);
}

/* Entries that are in use cannot be available again. */
static void test_packed_too_many(void)
{
    Driver *d = driver_new();
    unsigned i;

    driver_start(d, NUM, F_PACKED, BASE);
    for (i = 0; i < NUM; i++) {
        put_entry(d, i, BUFFER, 16, i, 0, true);
        g_assert_true(virtqueue_pop(&d->vq, &d->elem));
    }
    put_entry(d, 0, BUFFER, 16, 0, 0, false);
    expect_broken(d, "more is available");
    driver_free(d);
}

static void test_packed_event(void)
{
    Driver *d = driver_new();
    unsigned i;

    driver_start(d, NUM, F_PACKED | F_EVENT, BASE);
    g_assert_cmpuint(get16(d, USED), ==, 0x8000);
    g_assert_cmpuint(get16(d, USED + 2), ==, 2);
    virtqueue_set_notification(&d->vq, false);
    g_assert_cmpuint(get16(d, USED + 2), ==, 1);
    for (i = 0; i < 2 * NUM; i++) {
        bool wrap = i < NUM;

        put_entry(d, i % NUM, BUFFER, 16, 0, 0, wrap);
        g_assert_true(virtqueue_pop(&d->vq, &d->elem));
        virtqueue_push(&d->vq, &d->elem, 0);
        /* The driver wants to know of entry 5, in the second round. */
        put16(d, AVAIL, 5);
        put16(d, AVAIL + 2, 2);
        g_assert_cmpint(virtqueue_should_notify(&d->vq), ==,
                        i == 0 || i == NUM + 5);
        if (i == 3) {
            put16(d, AVAIL + 2, 0);
            g_assert_true(virtqueue_should_notify(&d->vq));
            put16(d, AVAIL + 2, 1);
            g_assert_false(virtqueue_should_notify(&d->vq));
        }
    }
    driver_free(d);
}

/* --- in flight --- */

/* The descriptor of request @i: their order is not that of the table. */
static unsigned head_of(unsigned i)
{
    return i * 3 % NUM;
}

static void put_one(Driver *d, bool packed, unsigned i)
{
    unsigned head = head_of(i);

    if (packed) {
        put_entry(d, i, BUFFER + 16 * i, 16, head, 0, true);
        return;
    }
    ((VringDesc *)(d->bytes + DESC))[head] = (VringDesc) {
        htole64(BUFFER + 16 * i), htole32(16), 0, 0,
    };
    put16(d, AVAIL + 4 + 2 * (d->avail_idx % NUM), head);
    put16(d, AVAIL + 2, ++d->avail_idx);
}

/* Five are taken, two of them given back: the others are done again. */
static void test_inflight(gconstpointer opaque)
{
    bool packed = *(const bool *)opaque;
    Driver *d = driver_new();
    VirtQueueElement elems[5];
    static const unsigned left[] = { 0, 2, 4 };
    unsigned i;

    d->region = g_malloc0(64 * KiB);
    driver_start(d, NUM, packed ? F_PACKED : 0, packed ? BASE : 0);
    d->avail_idx = 0;
    for (i = 0; i < 5; i++) {
        put_one(d, packed, i);
        g_assert_true(virtqueue_pop(&d->vq, &elems[i]));
    }
    virtqueue_push(&d->vq, &elems[3], 0);
    virtqueue_push(&d->vq, &elems[1], 0);
    put_one(d, packed, 5);
    driver_stop(d);             /* as far as the memory is concerned: dies */

    driver_start(d, NUM, packed ? F_PACKED : 0,
                 packed ? 0x80008005 : 5);
    for (i = 0; i < 3; i++) {
        g_assert_true(virtqueue_has_work(&d->vq));
        g_assert_true(virtqueue_pop(&d->vq, &elems[i]));
        g_assert_cmpuint(elems[i].index, ==, head_of(left[i]));
        g_assert_true(elems[i].iov[0].iov_base ==
                      d->mem.regions[0].host + DATA + 16 * left[i]);
    }
    /* Then what is new. */
    g_assert_true(virtqueue_pop(&d->vq, &elems[3]));
    g_assert_cmpuint(elems[3].index, ==, head_of(5));
    for (i = 0; i < 4; i++) {
        virtqueue_push(&d->vq, &elems[i], 0);
    }
    if (!packed) {
        g_assert_cmpuint(get16(d, USED + 2), ==, 6);
    }
    virtqueue_stop(&d->vq);
    driver_start(d, NUM, packed ? F_PACKED : 0, packed ? 0x80008006 : 6);
    g_assert_false(virtqueue_has_work(&d->vq));
    driver_free(d);
}

int main(int argc, char **argv)
{
    static const bool no = false, yes = true;

    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtqueue/packed", test_packed);
    g_test_add_func("/virtqueue/packed/end", test_packed_end);
    g_test_add_func("/virtqueue/packed/indirect", test_packed_indirect);
    g_test_add_func("/virtqueue/packed/loop", test_packed_loop);
    g_test_add_func("/virtqueue/packed/too-many", test_packed_too_many);
    g_test_add_func("/virtqueue/packed/event", test_packed_event);
    g_test_add_data_func("/virtqueue/inflight/split", &no, test_inflight);
    g_test_add_data_func("/virtqueue/inflight/packed", &yes, test_inflight);
    return g_test_run();
}
