/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Virtqueues: what both kinds share, and split rings. */
#include "qemu/osdep.h"
#include "virtqueue.h"
#include "qapi/error.h"

enum {
    VRING_USED_F_NO_NOTIFY = 1,     /* from the device */
    VRING_AVAIL_F_NO_INTERRUPT = 1, /* from the driver */
    /* Words of both rings before the entries. */
    VRING_FLAGS = 0,
    VRING_IDX = 1,
    VRING_ENTRIES = 2,
};

typedef struct VringUsedElem {
    uint32_t id;
    uint32_t len;
} VringUsedElem;

bool virtqueue_break(VirtQueue *vq, const char *what)
{
    if (!vq->broken) {
        vq->broken = what;
    }
    return false;
}

/* --- chains --- */

bool virtqueue_add_buffer(VirtQueue *vq, VirtQueueElement *elem, uint64_t addr,
                          uint32_t len, bool write)
{
    uint64_t left = len;

    if (!write && elem->in_num) {
        return virtqueue_break(vq, "a buffer to be read follows one to be "
                               "written");
    }
    if (!left) {
        return virtqueue_break(vq, "a buffer is empty");
    }
    if (addr > UINT64_MAX - left) {
        return virtqueue_break(vq, "a buffer wraps around");
    }
    while (left) {
        unsigned i = elem->out_num + elem->in_num;
        uint64_t part = left;

        if (i == VIRTQUEUE_MAX_IOV) {
            return virtqueue_break(vq, "a chain has too many buffers");
        }
        elem->iov[i].iov_base = guest_memory_at(vq->mem, addr, &part);
        if (!elem->iov[i].iov_base) {
            return virtqueue_break(vq, "a buffer is outside of the memory");
        }
        elem->iov[i].iov_len = part;
        if (write) {
            elem->in_num++;
        } else {
            elem->out_num++;
        }
        addr += part;
        left -= part;
    }
    return true;
}

/* A copy that the guest cannot change any more. */
static bool read_memory(VirtQueue *vq, uint64_t addr, void *buf, uint64_t len)
{
    while (len) {
        uint64_t part = len;
        void *p = guest_memory_at(vq->mem, addr, &part);

        if (!p) {
            return virtqueue_break(vq, "an indirect table is outside of the "
                                   "memory");
        }
        memcpy(buf, p, part);
        buf = (char *)buf + part;
        addr += part;
        len -= part;
    }
    return true;
}

static bool add_indirect_packed(VirtQueue *vq, VirtQueueElement *elem,
                                uint64_t addr, unsigned n)
{
    VringPackedDesc desc;
    unsigned i;

    for (i = 0; i < n; i++, addr += sizeof(desc)) {
        if (!read_memory(vq, addr, &desc, sizeof(desc))) {
            return false;
        }
        if (le16toh(desc.flags) & VRING_DESC_F_INDIRECT) {
            return virtqueue_break(vq, "an indirect table is in another one");
        }
        if (!virtqueue_add_buffer(vq, elem, le64toh(desc.addr),
                                  le32toh(desc.len),
                                  le16toh(desc.flags) & VRING_DESC_F_WRITE)) {
            return false;
        }
    }
    return true;
}

static bool add_indirect_split(VirtQueue *vq, VirtQueueElement *elem,
                               uint64_t addr, unsigned n)
{
    unsigned i = 0, count = 0;
    uint16_t flags;
    VringDesc desc;

    do {
        if (i >= n) {
            return virtqueue_break(vq, "a descriptor's next one is not in the "
                                   "table");
        }
        if (++count > MIN(n, VIRTQUEUE_MAX_CHAIN)) {
            return virtqueue_break(vq, "a chain is too long, or a loop");
        }
        if (!read_memory(vq, addr + i * sizeof(desc), &desc, sizeof(desc))) {
            return false;
        }
        flags = le16toh(desc.flags);
        if (flags & VRING_DESC_F_INDIRECT) {
            return virtqueue_break(vq, "an indirect table is in another one");
        }
        if (!virtqueue_add_buffer(vq, elem, le64toh(desc.addr),
                                  le32toh(desc.len),
                                  flags & VRING_DESC_F_WRITE)) {
            return false;
        }
        i = le16toh(desc.next);
    } while (flags & VRING_DESC_F_NEXT);
    return true;
}

bool virtqueue_add_indirect(VirtQueue *vq, VirtQueueElement *elem,
                            uint64_t addr, uint32_t len)
{
    unsigned n = len / sizeof(VringDesc);

    if (!vq->indirect) {
        return virtqueue_break(vq, "there is an indirect table, which was not "
                               "negotiated");
    }
    if (!n || len % sizeof(VringDesc) || addr > UINT64_MAX - len) {
        return virtqueue_break(vq, "an indirect table has a size that is "
                               "impossible");
    }
    if (vq->packed) {
        return add_indirect_packed(vq, elem, addr, n);
    }
    return add_indirect_split(vq, elem, addr, n);
}

bool virtqueue_split_chain(VirtQueue *vq, VirtQueueElement *elem,
                           uint16_t head)
{
    unsigned i = head, count = 0;
    uint16_t flags;

    elem->index = head;
    elem->out_num = elem->in_num = 0;
    do {
        const VringDesc *desc = &vq->desc[i];
        uint64_t addr;
        uint32_t len;

        if (i >= vq->num) {
            return virtqueue_break(vq, "a descriptor's next one is not in the "
                                   "table");
        }
        if (++count > MIN(vq->num, VIRTQUEUE_MAX_CHAIN)) {
            return virtqueue_break(vq, "a chain is too long, or a loop");
        }
        addr = le64toh(qatomic_read(&desc->addr));
        len = le32toh(qatomic_read(&desc->len));
        flags = le16toh(qatomic_read(&desc->flags));
        i = le16toh(qatomic_read(&desc->next));
        if (!(flags & VRING_DESC_F_INDIRECT)) {
            if (!virtqueue_add_buffer(vq, elem, addr, len,
                                      flags & VRING_DESC_F_WRITE)) {
                return false;
            }
        } else if (flags & VRING_DESC_F_NEXT) {
            return virtqueue_break(vq, "a descriptor follows an indirect "
                                   "table");
        } else if (!virtqueue_add_indirect(vq, elem, addr, len)) {
            return false;
        }
    } while (flags & VRING_DESC_F_NEXT);
    return true;
}

/* --- split rings --- */

static bool split_has_work(VirtQueue *vq)
{
    return le16toh(qatomic_read(&vq->avail[VRING_IDX])) != vq->last_avail;
}

static bool split_pop(VirtQueue *vq, VirtQueueElement *elem)
{
    /* Pairs with the driver's barrier: the entries come before the index. */
    uint16_t avail = le16toh(qatomic_load_acquire(&vq->avail[VRING_IDX]));
    uint16_t head;

    if (avail == vq->last_avail) {
        return false;
    }
    if ((uint16_t)(avail - vq->last_avail) > vq->num) {
        return virtqueue_break(vq, "the index of the available ring moves by "
                               "more than the ring");
    }
    head = le16toh(qatomic_read(&vq->avail[VRING_ENTRIES + vq->last_avail %
                                           vq->num]));
    if (head >= vq->num) {
        return virtqueue_break(vq, "a descriptor that is available is not in "
                               "the table");
    }
    if (vq->taken[head / 64] >> (head % 64) & 1) {
        return virtqueue_break(vq, "a descriptor is available that is in use");
    }
    if (!virtqueue_split_chain(vq, elem, head)) {
        return false;
    }
    vq->taken[head / 64] |= 1UL << (head % 64);
    vq->last_avail++;
    return true;
}

static void split_push(VirtQueue *vq, const VirtQueueElement *elem,
                       uint32_t len)
{
    VringUsedElem *ring = (VringUsedElem *)&vq->used[VRING_ENTRIES];
    VringUsedElem *used = &ring[vq->used_idx % vq->num];

    qatomic_set(&used->id, htole32(elem->index));
    qatomic_set(&used->len, htole32(len));
    vq->used_idx++;
    /* Pairs with the driver's barrier: the entry comes before the index. */
    qatomic_store_release(&vq->used[VRING_IDX], htole16(vq->used_idx));
    vq->taken[elem->index / 64] &= ~(1UL << (elem->index % 64));
}

/* The driver says which entry to signal, behind the available ring. */
static bool split_should_notify(VirtQueue *vq)
{
    uint16_t old = vq->signalled_used;
    bool valid = vq->signalled_used_valid;

    if (!vq->event_idx) {
        return !(le16toh(qatomic_read(&vq->avail[VRING_FLAGS])) &
                 VRING_AVAIL_F_NO_INTERRUPT);
    }
    vq->signalled_used = vq->used_idx;
    vq->signalled_used_valid = true;
    return !valid ||
           vring_need_event(le16toh(qatomic_read(
                                &vq->avail[VRING_ENTRIES + vq->num])),
                            vq->used_idx, old);
}

static void split_set_notification(VirtQueue *vq, bool enable)
{
    if (!vq->event_idx) {
        qatomic_set(&vq->used[VRING_FLAGS],
                    htole16(enable ? 0 : VRING_USED_F_NO_NOTIFY));
    } else if (enable) {
        /* Behind the used ring, whose entries have four words each. */
        qatomic_set(&vq->used[VRING_ENTRIES + 4 * vq->num],
                    htole16(vq->last_avail));
    }
}

/* --- both --- */

bool virtqueue_has_work(VirtQueue *vq)
{
    if (vq->broken) {
        return false;
    }
    if (vq->next_resubmit < vq->n_resubmit) {
        return true;
    }
    return vq->packed ? virtqueue_packed_has_work(vq) : split_has_work(vq);
}

bool virtqueue_pop(VirtQueue *vq, VirtQueueElement *elem)
{
    if (vq->broken) {
        return false;
    }
    if (vq->next_resubmit < vq->n_resubmit) {
        return virtqueue_inflight_pop(vq, elem);
    }
    if (vq->packed ? !virtqueue_packed_pop(vq, elem) : !split_pop(vq, elem)) {
        return false;
    }
    vq->in_use++;
    if (vq->region) {
        virtqueue_inflight_taken(vq, elem);
    }
    return true;
}

void virtqueue_push(VirtQueue *vq, const VirtQueueElement *elem, uint32_t len)
{
    assert(vq->in_use > 0);
    vq->in_use--;
    if (vq->region) {
        virtqueue_inflight_using(vq, elem);
    }
    if (vq->packed) {
        virtqueue_packed_push(vq, elem, len);
    } else {
        split_push(vq, elem, len);
    }
    if (vq->region) {
        virtqueue_inflight_used(vq, elem);
    }
}

void virtqueue_drop(VirtQueue *vq)
{
    assert(vq->broken && vq->in_use > 0);
    vq->in_use--;
}

bool virtqueue_should_notify(VirtQueue *vq)
{
    /* Our used index, or flags, before the driver's wish. */
    smp_mb();
    return vq->packed ? virtqueue_packed_should_notify(vq) :
                        split_should_notify(vq);
}

void virtqueue_set_notification(VirtQueue *vq, bool enable)
{
    vq->notification = enable;
    if (vq->packed) {
        virtqueue_packed_set_notification(vq, enable);
    } else {
        split_set_notification(vq, enable);
    }
    if (enable) {
        /* Our wish before the driver's index, which is read next. */
        smp_mb();
    }
}

/* One part of the ring: it must be in the memory, and aligned. */
static void *map_part(VirtQueue *vq, uint64_t addr, uint64_t size,
                      unsigned align, const char *what, Error **errp)
{
    void *p = guest_memory_user(vq->mem, addr, size);

    if (!p) {
        error_setg(errp, "the %s at 0x%" PRIx64 " with %" PRIu64 " bytes is "
                   "not in the memory", what, addr, size);
    } else if (!QEMU_PTR_IS_ALIGNED(p, align)) {
        error_setg(errp, "the %s at 0x%" PRIx64 " is not aligned to %u bytes",
                   what, addr, align);
        p = NULL;
    }
    return p;
}

static bool map_ring(VirtQueue *vq, const VirtQueueAddresses *addrs,
                     Error **errp)
{
    uint64_t avail = vq->packed ? 4 : 2 * (vq->num + 3);
    uint64_t used = vq->packed ? 4 : 2 * (4 * vq->num + 3);

    vq->desc = map_part(vq, addrs->desc, vq->num * sizeof(VringDesc), 16,
                        "descriptor area", errp);
    if (!vq->desc) {
        return false;
    }
    vq->avail = map_part(vq, addrs->avail, avail, vq->packed ? 4 : 2,
                         "driver area", errp);
    if (!vq->avail) {
        return false;
    }
    vq->used = map_part(vq, addrs->used, used, 4, "device area", errp);
    return vq->used;
}

static bool set_base(VirtQueue *vq, uint32_t base, Error **errp)
{
    if (!vq->packed) {
        vq->last_avail = base;
        vq->used_idx = le16toh(qatomic_read(&vq->used[VRING_IDX]));
        return true;
    }
    vq->last_avail = base & 0x7fff;
    vq->avail_wrap = base >> 15 & 1;
    vq->used_idx = base >> 16 & 0x7fff;
    vq->used_wrap = base >> 31;
    /* A client may know of one of the two indices only. */
    if (!(base >> 16)) {
        vq->used_idx = vq->last_avail;
        vq->used_wrap = vq->avail_wrap;
    }
    if (vq->last_avail >= vq->num || vq->used_idx >= vq->num) {
        error_setg(errp, "the indices 0x%x are not in a ring of %u entries",
                   base, vq->num);
        return false;
    }
    return true;
}

uint32_t virtqueue_stop(VirtQueue *vq)
{
    assert(!vq->in_use);
    g_clear_pointer(&vq->taken, g_free);
    g_clear_pointer(&vq->resubmit, g_free);
    vq->desc = NULL;
    if (!vq->packed) {
        return vq->last_avail;
    }
    return vq->last_avail | vq->avail_wrap << 15 |
           (uint32_t)vq->used_idx << 16 | (uint32_t)vq->used_wrap << 31;
}

bool virtqueue_init(VirtQueue *vq, const GuestMemory *mem, unsigned num,
                    const VirtQueueAddresses *addrs, uint64_t features,
                    uint32_t base, void *region, size_t region_size,
                    Error **errp)
{
    *vq = (VirtQueue) {
        .mem = mem,
        .num = num,
        .packed = features >> VIRTIO_F_RING_PACKED & 1,
        .event_idx = features >> VIRTIO_RING_F_EVENT_IDX & 1,
        .indirect = features >> VIRTIO_RING_F_INDIRECT_DESC & 1,
        .region = region,
        .notification = true,
    };
    if (!num || num > VIRTQUEUE_MAX_SIZE ||
        (!vq->packed && !is_power_of_2(num))) {
        error_setg(errp, "a ring cannot have %u entries", num);
        return false;
    }
    if (region && region_size < virtqueue_inflight_size(vq->packed, num)) {
        error_setg(errp, "the region for requests in flight is too small for "
                   "%u entries", num);
        return false;
    }
    vq->taken = g_new0(unsigned long, DIV_ROUND_UP(num, 64));
    vq->resubmit = region ? g_new(uint16_t, num) : NULL;
    if (!map_ring(vq, addrs, errp) || !set_base(vq, base, errp) ||
        (region && !virtqueue_inflight_start(vq, errp))) {
        virtqueue_stop(vq);
        return false;
    }
    virtqueue_set_notification(vq, true);
    return true;
}
