/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtqueues, from the device's side: split and packed rings, as section 2.7
 * and 2.8 of the specification of virtio 1.2 describe them.
 *
 * The driver in the guest is not trusted: what it can change at any time is
 * read once, and checked after that.  A queue that breaks the rules is marked
 * as broken, and gives no more elements until it is initialised again.
 *
 * All functions belong to the thread that serves the queue.  They do not
 * block, and allocate at initialisation only.
 */
#ifndef BLOCK_EXPORT_VIRTQUEUE_H
#define BLOCK_EXPORT_VIRTQUEUE_H

#include "guest-memory.h"

#define VIRTQUEUE_MAX_SIZE 1024
/* Descriptors in a chain at the most. */
#define VIRTQUEUE_MAX_CHAIN 130
/* A few more buffers, for those that lie across the end of a region. */
#define VIRTQUEUE_MAX_IOV (VIRTQUEUE_MAX_CHAIN + 6)

/* Feature bits that concern queues. */
enum {
    VIRTIO_RING_F_INDIRECT_DESC = 28,
    VIRTIO_RING_F_EVENT_IDX = 29,
    VIRTIO_F_VERSION_1 = 32,
    VIRTIO_F_RING_PACKED = 34,
};

typedef struct VringDesc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
    uint16_t next;
} VringDesc;

typedef struct VringPackedDesc {
    uint64_t addr;
    uint32_t len;
    uint16_t id;
    uint16_t flags;
} VringPackedDesc;

enum {
    VRING_DESC_F_NEXT = 1,
    VRING_DESC_F_WRITE = 2,
    VRING_DESC_F_INDIRECT = 4,
    VRING_PACKED_DESC_F_AVAIL = 1 << 7,
    VRING_PACKED_DESC_F_USED = 1 << 15,
};

/* What the driver has put into the queue. */
typedef struct VirtQueueElement {
    uint16_t index;             /* split: the head; packed: the buffer id */
    uint16_t n_desc;            /* packed: entries of the ring that it takes */
    uint16_t inflight;          /* packed: its entry of the inflight region */
    unsigned out_num;           /* buffers to be read, first in @iov */
    unsigned in_num;            /* buffers to be written, after those */
    struct iovec iov[VIRTQUEUE_MAX_IOV];
} VirtQueueElement;

/* Where the parts of a ring are in the client's memory. */
typedef struct VirtQueueAddresses {
    uint64_t desc, avail, used;
} VirtQueueAddresses;

typedef struct VirtQueue {
    const GuestMemory *mem;
    uint16_t num;               /* entries */
    bool packed;
    bool event_idx;
    bool indirect;

    /*
     * In the guest's memory: all of it can change at any time.  NULL: the
     * queue is stopped, or could not be initialised.
     */
    union {
        VringDesc *desc;
        VringPackedDesc *ring;
    };
    uint16_t *avail;            /* flags, idx, ring; packed: off_wrap, flags */
    uint16_t *used;             /* flags, idx, ring; packed: off_wrap, flags */

    uint16_t last_avail;
    uint16_t used_idx;
    bool avail_wrap;            /* packed only, as the next */
    bool used_wrap;
    uint16_t signalled_used;
    bool signalled_used_valid;
    bool notification;          /* we want to be told of new elements */
    unsigned in_use;            /* elements taken and not given back */
    unsigned slots_in_use;      /* packed: entries of the ring in those */
    unsigned long *taken;       /* split: bitmap of heads taken */
    const char *broken;         /* what is wrong with it */

    /* See virtqueue-inflight.c; NULL: not tracked. */
    void *region;
    uint64_t counter;
    uint16_t *resubmit;         /* entries of the region, in their order */
    unsigned n_resubmit;
    unsigned next_resubmit;
} VirtQueue;

/*
 * Begin to use the queue.  @num entries (1 to VIRTQUEUE_MAX_SIZE) at @addrs;
 * @features as negotiated; @base, from the client: the next entry of the
 * available ring, or of a packed ring bits 0 to 14: next available, 15: its
 * wrap counter, 16 to 30: next used, 31: its wrap counter.  @region of
 * @region_size bytes is where elements in flight are tracked, or NULL.  False
 * with @errp set if any of it cannot be: then the queue is stopped.
 */
bool virtqueue_init(VirtQueue *vq, const GuestMemory *mem, unsigned num,
                    const VirtQueueAddresses *addrs, uint64_t features,
                    uint32_t base, void *region, size_t region_size,
                    Error **errp);
/* No element is in use.  The base to begin with the next time. */
uint32_t virtqueue_stop(VirtQueue *vq);

/* Take the next element.  False: there is none, or the queue is broken. */
bool virtqueue_pop(VirtQueue *vq, VirtQueueElement *elem);
/* Give @elem back, with @len bytes written from the first one on. */
void virtqueue_push(VirtQueue *vq, const VirtQueueElement *elem, uint32_t len);
/* An element is not given back: the queue is broken. */
void virtqueue_drop(VirtQueue *vq);
/* Whether the driver wants to be told of what was pushed up to now. */
bool virtqueue_should_notify(VirtQueue *vq);
/* Whether there is something to pop. */
bool virtqueue_has_work(VirtQueue *vq);
/*
 * Ask the driver to tell about new elements, or not to; there may be some
 * already, so look after asking.  No more than a hint.
 */
void virtqueue_set_notification(VirtQueue *vq, bool enable);

/* --- between the files of virtqueues --- */

#define VIRTQUEUE_INFLIGHT_ALIGN 64
/* Bytes for tracking a queue of @num entries. */
size_t virtqueue_inflight_size(bool packed, unsigned num);
/* The region is used for the first time, or again: see there. */
bool virtqueue_inflight_start(VirtQueue *vq, Error **errp);
/* The next element to be done again; false with vq->broken set if it cannot. */
bool virtqueue_inflight_pop(VirtQueue *vq, VirtQueueElement *elem);
void virtqueue_inflight_taken(VirtQueue *vq, const VirtQueueElement *elem);
/* Around making @elem visible as used. */
void virtqueue_inflight_using(VirtQueue *vq, const VirtQueueElement *elem);
void virtqueue_inflight_used(VirtQueue *vq, const VirtQueueElement *elem);
/* Packed: an entry of the ring that belongs to @elem; before _taken(). */
void virtqueue_inflight_desc(VirtQueue *vq, VirtQueueElement *elem,
                             const VringPackedDesc *desc);

/* Mark as broken; false. */
bool virtqueue_break(VirtQueue *vq, const char *what);
/* Add the buffer of a descriptor; false: the queue is broken now. */
bool virtqueue_add_buffer(VirtQueue *vq, VirtQueueElement *elem, uint64_t addr,
                          uint32_t len, bool write);
/* The descriptors of an indirect table. */
bool virtqueue_add_indirect(VirtQueue *vq, VirtQueueElement *elem,
                            uint64_t addr, uint32_t len);
/* Split: the chain of @head, in the table of the ring. */
bool virtqueue_split_chain(VirtQueue *vq, VirtQueueElement *elem,
                           uint16_t head);
bool virtqueue_packed_pop(VirtQueue *vq, VirtQueueElement *elem);
void virtqueue_packed_push(VirtQueue *vq, const VirtQueueElement *elem,
                           uint32_t len);
bool virtqueue_packed_has_work(VirtQueue *vq);
bool virtqueue_packed_should_notify(VirtQueue *vq);
void virtqueue_packed_set_notification(VirtQueue *vq, bool enable);
/* Move index @idx of a packed ring by @n entries. */
void virtqueue_packed_advance(const VirtQueue *vq, uint16_t *idx, bool *wrap,
                              unsigned n);

/*
 * Whether index @event lies in what was passed by going from @old to @new:
 * section 2.7.7.2 of virtio 1.2.
 */
static inline bool vring_need_event(uint16_t event, uint16_t new,
                                    uint16_t old)
{
    return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

#endif
