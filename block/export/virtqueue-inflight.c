/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elements in flight, tracked in memory that the client keeps: a server that
 * is started after one has died does again what was not completed.
 *
 * The layout and the order of the steps are those of the vhost-user protocol,
 * section "Inflight I/O tracking".  A process that is killed leaves what its
 * instructions have stored in the order of the program, so that compiler
 * barriers are enough.
 *
 * The client could write anything here; indices are checked when they are
 * read back.
 */
#include "qemu/osdep.h"
#include "virtqueue.h"
#include "qapi/error.h"

#define REGION_VERSION 1

#define store(ptr, value) qatomic_store_release(ptr, value)
/* Once: what is checked is what is used. */
#define load(ptr) qatomic_read(ptr)

typedef struct {
    uint8_t inflight;
    uint8_t padding[5];
    uint16_t next;              /* in the last batch that was used */
    uint64_t counter;           /* the order in which they were taken */
} SplitEntry;

typedef struct {
    uint64_t features;
    uint16_t version;
    uint16_t desc_num;
    uint16_t last_batch_head;
    uint16_t used_idx;          /* as it was when the last batch was done */
    SplitEntry desc[];
} SplitRegion;

typedef struct {
    uint8_t inflight;
    uint8_t padding;
    uint16_t next;
    uint16_t last;              /* of a head: the last one of its list */
    uint16_t num;               /* of a head: how many are in its list */
    uint64_t counter;
    uint16_t id;                /* as the descriptor has it, and the rest */
    uint16_t flags;
    uint32_t len;
    uint64_t addr;
} PackedEntry;

/* The fields "old" are those to go back to. */
typedef struct {
    uint64_t features;
    uint16_t version;
    uint16_t desc_num;
    uint16_t free_head;
    uint16_t old_free_head;
    uint16_t used_idx;
    uint16_t old_used_idx;
    uint8_t used_wrap_counter;
    uint8_t old_used_wrap_counter;
    uint8_t padding[7];
    PackedEntry desc[];
} PackedRegion;

size_t virtqueue_inflight_size(bool packed, unsigned num)
{
    size_t size = packed ? sizeof(PackedRegion) + num * sizeof(PackedEntry) :
                           sizeof(SplitRegion) + num * sizeof(SplitEntry);

    QEMU_BUILD_BUG_ON(sizeof(SplitEntry) != 16 || sizeof(SplitRegion) != 16);
    QEMU_BUILD_BUG_ON(sizeof(PackedEntry) != 32 || sizeof(PackedRegion) != 32);
    return ROUND_UP(size, VIRTQUEUE_INFLIGHT_ALIGN);
}

static bool region_error(Error **errp)
{
    error_setg(errp, "the region for requests in flight is damaged");
    return false;
}

/* --- what is to be done again --- */

static uint64_t entry_counter(VirtQueue *vq, unsigned i)
{
    return vq->packed ? ((PackedRegion *)vq->region)->desc[i].counter :
                        ((SplitRegion *)vq->region)->desc[i].counter;
}

static bool entry_in_flight(VirtQueue *vq, unsigned i)
{
    return vq->packed ? ((PackedRegion *)vq->region)->desc[i].inflight :
                        ((SplitRegion *)vq->region)->desc[i].inflight;
}

typedef struct {
    uint64_t counter;
    uint16_t index;
} Resubmit;

static int compare_counters(const void *a, const void *b)
{
    const Resubmit *x = a, *y = b;

    return x->counter < y->counter ? -1 : x->counter > y->counter;
}

/* Those in flight, in their order; and go on counting from there. */
static void collect(VirtQueue *vq)
{
    g_autofree Resubmit *list = g_new(Resubmit, vq->num);
    unsigned i, n = 0;

    for (i = 0; i < vq->num; i++) {
        if (entry_in_flight(vq, i)) {
            list[n].counter = entry_counter(vq, i);
            list[n++].index = i;
        }
    }
    qsort(list, n, sizeof(*list), compare_counters);
    for (i = 0; i < n; i++) {
        vq->resubmit[i] = list[i].index;
        vq->counter = list[i].counter + 1;
    }
    vq->n_resubmit = n;
}

/* --- split --- */

static bool split_start(VirtQueue *vq, Error **errp)
{
    SplitRegion *r = vq->region;
    uint16_t batch = vq->used_idx - r->used_idx;
    uint16_t head = load(&r->last_batch_head);

    if (!r->version) {
        memset(r->desc, 0, vq->num * sizeof(r->desc[0]));
        r->features = 0;
        r->desc_num = vq->num;
        r->last_batch_head = 0;
        r->used_idx = vq->used_idx;
        store(&r->version, REGION_VERSION);
        return true;
    }
    if (r->version != REGION_VERSION || r->desc_num != vq->num) {
        return region_error(errp);
    }
    collect(vq);
    if (batch > vq->num && !vq->n_resubmit) {
        /* The driver has begun anew since. */
        batch = 0;
    }
    if (batch > vq->num) {
        return region_error(errp);
    }
    /* They were used, but the server did not get to say so. */
    for (; batch; batch--) {
        if (head >= vq->num) {
            return region_error(errp);
        }
        r->desc[head].inflight = 0;
        head = load(&r->desc[head].next);
    }
    store(&r->used_idx, vq->used_idx);
    collect(vq);
    vq->last_avail = vq->used_idx + vq->n_resubmit;
    return true;
}

static bool split_resubmit(VirtQueue *vq, VirtQueueElement *elem,
                           uint16_t head)
{
    if (!virtqueue_split_chain(vq, elem, head)) {
        return false;
    }
    vq->taken[head / 64] |= 1UL << (head % 64);
    return true;
}

/* --- packed --- */

static void packed_reset(VirtQueue *vq, PackedRegion *r)
{
    unsigned i;

    memset(r->desc, 0, vq->num * sizeof(r->desc[0]));
    for (i = 0; i < vq->num; i++) {
        r->desc[i].next = i + 1;
    }
    r->features = 0;
    r->desc_num = vq->num;
    r->free_head = r->old_free_head = 0;
    r->used_idx = r->old_used_idx = vq->used_idx;
    r->used_wrap_counter = r->old_used_wrap_counter = vq->used_wrap;
    store(&r->version, REGION_VERSION);
}

/* Was the last one given to the driver before the server died? */
static bool packed_was_used(VirtQueue *vq, PackedRegion *r)
{
    uint16_t idx = load(&r->old_used_idx);
    uint16_t flags = le16toh(load(&vq->ring[idx % vq->num].flags));
    bool wrap = r->old_used_wrap_counter;

    return !(!!(flags & VRING_PACKED_DESC_F_AVAIL) == wrap &&
             !!(flags & VRING_PACKED_DESC_F_USED) != wrap);
}

/* No entry of the list of free ones is in flight. */
static bool packed_clear_free(VirtQueue *vq, PackedRegion *r)
{
    unsigned i = load(&r->free_head), n = 0;

    while (i < vq->num) {
        if (++n > vq->num) {
            return false;
        }
        r->desc[i].inflight = 0;
        i = load(&r->desc[i].next);
    }
    return true;
}

static bool packed_start(VirtQueue *vq, Error **errp)
{
    PackedRegion *r = vq->region;
    unsigned i, slots = 0;

    if (!r->version) {
        packed_reset(vq, r);
        return true;
    }
    if (r->version != REGION_VERSION || r->desc_num != vq->num ||
        r->used_idx >= vq->num || r->old_used_idx >= vq->num) {
        return region_error(errp);
    }
    if ((r->used_idx != r->old_used_idx ||
         r->used_wrap_counter != r->old_used_wrap_counter) &&
        packed_was_used(vq, r)) {
        r->old_free_head = r->free_head;
        r->old_used_idx = r->used_idx;
        r->old_used_wrap_counter = r->used_wrap_counter;
    }
    r->free_head = r->old_free_head;
    r->used_idx = r->old_used_idx;
    r->used_wrap_counter = r->old_used_wrap_counter;
    if (!packed_clear_free(vq, r)) {
        return region_error(errp);
    }
    collect(vq);
    for (i = 0; i < vq->n_resubmit; i++) {
        slots += load(&r->desc[vq->resubmit[i]].num);
    }
    /* The client may know the indices from before the last server only. */
    vq->used_idx = vq->last_avail = load(&r->used_idx);
    if (slots > vq->num || vq->used_idx >= vq->num) {
        return region_error(errp);
    }
    vq->used_wrap = vq->avail_wrap = r->used_wrap_counter;
    virtqueue_packed_advance(vq, &vq->last_avail, &vq->avail_wrap, slots);
    if (!vq->n_resubmit) {
        packed_reset(vq, r);
    }
    return true;
}

void virtqueue_inflight_desc(VirtQueue *vq, VirtQueueElement *elem,
                             const VringPackedDesc *desc)
{
    PackedRegion *r = vq->region;
    uint16_t free = load(&r->free_head);
    PackedEntry *head, *entry;

    if (!elem->n_desc) {
        elem->inflight = load(&r->old_free_head);
    }
    if (elem->inflight >= vq->num || free >= vq->num) {
        virtqueue_break(vq, "the region for requests in flight is damaged");
        return;
    }
    head = &r->desc[elem->inflight];
    entry = &r->desc[free];
    if (!elem->n_desc) {
        head->num = 0;
        head->counter = vq->counter++;
        store(&head->inflight, 1);
    }
    head->last = free;
    entry->addr = desc->addr;
    entry->len = desc->len;
    entry->flags = desc->flags;
    entry->id = desc->id;
    store(&head->num, head->num + 1);
    store(&r->free_head, entry->next);
    if (!(desc->flags & VRING_DESC_F_NEXT)) {
        store(&r->old_free_head, r->free_head);
    }
}

static void packed_using(VirtQueue *vq, const VirtQueueElement *elem)
{
    PackedRegion *r = vq->region;
    uint16_t last = load(&r->desc[elem->inflight].last);
    uint16_t idx = vq->used_idx;
    bool wrap = vq->used_wrap;

    if (last < vq->num) {
        r->desc[last].next = r->free_head;
    }
    store(&r->free_head, elem->inflight);
    virtqueue_packed_advance(vq, &idx, &wrap, elem->n_desc);
    r->used_wrap_counter = wrap;
    store(&r->used_idx, idx);
}

static void packed_used(VirtQueue *vq, const VirtQueueElement *elem)
{
    PackedRegion *r = vq->region;

    store(&r->desc[elem->inflight].inflight, 0);
    store(&r->old_free_head, r->free_head);
    r->old_used_wrap_counter = r->used_wrap_counter;
    store(&r->old_used_idx, r->used_idx);
}

static bool packed_add_entry(VirtQueue *vq, VirtQueueElement *elem,
                             const PackedEntry *e)
{
    if (e->flags & VRING_DESC_F_INDIRECT) {
        return virtqueue_add_indirect(vq, elem, e->addr, e->len);
    }
    return virtqueue_add_buffer(vq, elem, e->addr, e->len,
                                e->flags & VRING_DESC_F_WRITE);
}

static bool packed_resubmit(VirtQueue *vq, VirtQueueElement *elem,
                            uint16_t head)
{
    PackedRegion *r = vq->region;
    unsigned i = head, n, num = load(&r->desc[head].num);

    elem->inflight = head;
    elem->n_desc = num;
    elem->out_num = elem->in_num = 0;
    if (!num || vq->slots_in_use + num > vq->num) {
        return virtqueue_break(vq, "the region for requests in flight is "
                               "damaged");
    }
    for (n = 0; n < num; n++) {
        PackedEntry e;

        if (i >= vq->num) {
            return virtqueue_break(vq, "the region for requests in flight is "
                                   "damaged");
        }
        e.addr = load(&r->desc[i].addr);
        e.len = load(&r->desc[i].len);
        e.id = load(&r->desc[i].id);
        e.flags = load(&r->desc[i].flags);
        e.next = load(&r->desc[i].next);
        if (!packed_add_entry(vq, elem, &e)) {
            return false;
        }
        elem->index = e.id;
        i = e.next;
    }
    vq->slots_in_use += num;
    return true;
}

/* --- both --- */

bool virtqueue_inflight_start(VirtQueue *vq, Error **errp)
{
    return vq->packed ? packed_start(vq, errp) : split_start(vq, errp);
}

bool virtqueue_inflight_pop(VirtQueue *vq, VirtQueueElement *elem)
{
    uint16_t index = vq->resubmit[vq->next_resubmit++];

    if (vq->packed ? !packed_resubmit(vq, elem, index) :
                     !split_resubmit(vq, elem, index)) {
        return false;
    }
    vq->in_use++;
    return true;
}

void virtqueue_inflight_taken(VirtQueue *vq, const VirtQueueElement *elem)
{
    SplitRegion *r = vq->region;

    if (!vq->packed) {
        r->desc[elem->index].counter = vq->counter++;
        store(&r->desc[elem->index].inflight, 1);
    }
}

void virtqueue_inflight_using(VirtQueue *vq, const VirtQueueElement *elem)
{
    SplitRegion *r = vq->region;

    if (vq->packed) {
        packed_using(vq, elem);
        return;
    }
    r->desc[elem->index].next = r->last_batch_head;
    store(&r->last_batch_head, elem->index);
}

void virtqueue_inflight_used(VirtQueue *vq, const VirtQueueElement *elem)
{
    SplitRegion *r = vq->region;

    if (vq->packed) {
        packed_used(vq, elem);
        return;
    }
    store(&r->desc[elem->index].inflight, 0);
    store(&r->used_idx, vq->used_idx);
}
