/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packed rings: one ring of descriptors, which the driver makes available and
 * the device marks as used.  Two flags of each tell whose it is, by comparing
 * them with wrap counters, which change with each round.
 */
#include "qemu/osdep.h"
#include "virtqueue.h"

/* Words of the driver's and of the device's event suppression structure. */
enum {
    EVENT_OFF_WRAP = 0,
    EVENT_FLAGS = 1,
};

enum {
    EVENT_FLAGS_ENABLE = 0,
    EVENT_FLAGS_DISABLE = 1,
    EVENT_FLAGS_DESC = 2,
};

void virtqueue_packed_advance(const VirtQueue *vq, uint16_t *idx, bool *wrap,
                              unsigned n)
{
    unsigned next = *idx + n;

    if (next >= vq->num) {
        next -= vq->num;
        *wrap = !*wrap;
    }
    *idx = next;
}

static bool is_available(uint16_t flags, bool wrap)
{
    return !!(flags & VRING_PACKED_DESC_F_AVAIL) == wrap &&
           !!(flags & VRING_PACKED_DESC_F_USED) != wrap;
}

bool virtqueue_packed_has_work(VirtQueue *vq)
{
    return is_available(le16toh(qatomic_read(&vq->ring[vq->last_avail].flags)),
                        vq->avail_wrap);
}

static bool add_desc(VirtQueue *vq, VirtQueueElement *elem,
                     const VringPackedDesc *desc)
{
    uint16_t flags = desc->flags;

    if (!(flags & VRING_DESC_F_INDIRECT)) {
        return virtqueue_add_buffer(vq, elem, desc->addr, desc->len,
                                    flags & VRING_DESC_F_WRITE);
    }
    if (elem->n_desc || flags & VRING_DESC_F_NEXT) {
        return virtqueue_break(vq, "an indirect table is part of a chain");
    }
    return virtqueue_add_indirect(vq, elem, desc->addr, desc->len);
}

bool virtqueue_packed_pop(VirtQueue *vq, VirtQueueElement *elem)
{
    uint16_t idx = vq->last_avail;
    bool wrap = vq->avail_wrap;
    VringPackedDesc desc;

    if (!virtqueue_packed_has_work(vq)) {
        return false;
    }
    /* Pairs with the driver's barrier: the flags of the head come last. */
    smp_rmb();
    elem->n_desc = 0;
    elem->out_num = elem->in_num = 0;
    do {
        const VringPackedDesc *d = &vq->ring[idx];

        if (vq->slots_in_use + elem->n_desc >= vq->num ||
            elem->n_desc >= VIRTQUEUE_MAX_CHAIN) {
            return virtqueue_break(vq, "a chain is too long, or more is "
                                   "available than the ring has");
        }
        desc.addr = le64toh(qatomic_read(&d->addr));
        desc.len = le32toh(qatomic_read(&d->len));
        desc.id = le16toh(qatomic_read(&d->id));
        desc.flags = le16toh(qatomic_read(&d->flags));
        if (!add_desc(vq, elem, &desc)) {
            return false;
        }
        if (vq->region) {
            virtqueue_inflight_desc(vq, elem, &desc);
            if (vq->broken) {
                return false;
            }
        }
        elem->n_desc++;
        virtqueue_packed_advance(vq, &idx, &wrap, 1);
    } while (desc.flags & VRING_DESC_F_NEXT);
    /* The last descriptor of a chain has its id. */
    elem->index = desc.id;
    vq->slots_in_use += elem->n_desc;
    vq->last_avail = idx;
    vq->avail_wrap = wrap;
    return true;
}

void virtqueue_packed_push(VirtQueue *vq, const VirtQueueElement *elem,
                           uint32_t len)
{
    VringPackedDesc *d = &vq->ring[vq->used_idx];
    uint16_t flags = len ? VRING_DESC_F_WRITE : 0;

    if (vq->used_wrap) {
        flags |= VRING_PACKED_DESC_F_AVAIL | VRING_PACKED_DESC_F_USED;
    }
    qatomic_set(&d->id, htole16(elem->index));
    qatomic_set(&d->len, htole32(len));
    /* Pairs with the driver's barrier: the flags come last. */
    qatomic_store_release(&d->flags, htole16(flags));
    vq->slots_in_use -= elem->n_desc;
    if (vq->used_idx + elem->n_desc >= vq->num) {
        vq->signalled_used -= vq->num;
    }
    virtqueue_packed_advance(vq, &vq->used_idx, &vq->used_wrap, elem->n_desc);
}

bool virtqueue_packed_should_notify(VirtQueue *vq)
{
    uint16_t flags = le16toh(qatomic_read(&vq->avail[EVENT_FLAGS]));
    uint16_t old = vq->signalled_used;
    bool valid = vq->signalled_used_valid;
    uint16_t off_wrap, off;

    vq->signalled_used = vq->used_idx;
    vq->signalled_used_valid = true;
    if (flags == EVENT_FLAGS_DISABLE) {
        return false;
    }
    if (flags != EVENT_FLAGS_DESC || !vq->event_idx || !valid) {
        return true;
    }
    off_wrap = le16toh(qatomic_read(&vq->avail[EVENT_OFF_WRAP]));
    off = off_wrap & 0x7fff;
    if (off_wrap >> 15 != vq->used_wrap) {
        off -= vq->num;
    }
    return vring_need_event(off, vq->used_idx, old);
}

void virtqueue_packed_set_notification(VirtQueue *vq, bool enable)
{
    uint16_t flags = EVENT_FLAGS_DISABLE;

    if (enable && vq->event_idx) {
        qatomic_set(&vq->used[EVENT_OFF_WRAP],
                    htole16(vq->last_avail | vq->avail_wrap << 15));
        /* The driver reads the place only when the flags say so. */
        smp_wmb();
        flags = EVENT_FLAGS_DESC;
    } else if (enable) {
        flags = EVENT_FLAGS_ENABLE;
    }
    qatomic_set(&vq->used[EVENT_FLAGS], htole16(flags));
}
