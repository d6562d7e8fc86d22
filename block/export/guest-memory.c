/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The memory of a guest: mapped regions, and what a lost one leads to. */
#include "qemu/osdep.h"
#include <linux/magic.h>
#include <sched.h>
#include <sys/vfs.h>
#include "guest-memory.h"
#include "qapi/error.h"
#include "qemu/thread.h"

/*
 * The handler reads the list in any thread, at any time.  Mappings are put in
 * front, and taken out, by the main thread; one that is taken out is not in
 * use any more, so that nothing raises a signal for it.  Its next pointer
 * stays valid until it is freed: other threads may be walking the list only
 * because of a SIGBUS in another mapping, which the counter tells.
 */
static GuestMapping *mappings;
static int walkers;
static struct sigaction old_action;
static bool handler_is_set;

static void sigbus_handler(int sig, siginfo_t *info, void *context)
{
    uintptr_t addr = (uintptr_t)info->si_addr;
    int saved_errno = errno;
    bool found = false;
    GuestMapping *m;

    /* Pairs with guest_mapping_free(). */
    qatomic_inc(&walkers);
    for (m = qatomic_load_acquire(&mappings); m; m = qatomic_read(&m->next)) {
        uintptr_t base = (uintptr_t)m->base;

        if (addr >= base && addr - base < m->size) {
            found = mmap(m->base, m->size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED |
                         MAP_NORESERVE, -1, 0) == m->base;
            qatomic_set(&m->lost, true);
            break;
        }
    }
    qatomic_dec(&walkers);
    errno = saved_errno;
    if (!found) {
        /* Not ours: the access is repeated and ends as it would have. */
        sigaction(SIGBUS, &old_action, NULL);
    }
}

static void set_handler(void)
{
    struct sigaction action = {
        .sa_sigaction = sigbus_handler,
        .sa_flags = SA_SIGINFO | SA_NODEFER,
    };

    if (!handler_is_set) {
        sigemptyset(&action.sa_mask);
        sigaction(SIGBUS, &action, &old_action);
        handler_is_set = true;
    }
}

/* Offset and length of a mapping must be multiples of this. */
static uint64_t file_page_size(int fd)
{
    struct statfs fs;

    if (fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC) {
        return fs.f_bsize;
    }
    return qemu_real_host_page_size();
}

GuestMapping *guest_mapping_new(int fd, uint64_t offset, uint64_t size,
                                uint8_t **host, Error **errp)
{
    uint64_t page = file_page_size(fd);
    uint64_t start = ROUND_DOWN(offset, page);
    uint64_t length;
    GuestMapping *m;
    struct stat st;
    void *base;

    if (!size || size > INT64_MAX || offset > INT64_MAX - size) {
        error_setg(errp, "%" PRIu64 " bytes at offset %" PRIu64 " of a file "
                   "cannot be mapped", size, offset);
        return NULL;
    }
    if (fstat(fd, &st) < 0) {
        error_setg_errno(errp, errno, "Cannot examine a file of memory");
        return NULL;
    }
    /* Of a device the kernel knows what can be mapped. */
    if (S_ISREG(st.st_mode) && (uint64_t)st.st_size < offset + size) {
        error_setg(errp, "A file of memory has %" PRIu64 " bytes, less than "
                   "the %" PRIu64 " of its region", (uint64_t)st.st_size,
                   offset + size);
        return NULL;
    }
    length = ROUND_UP(offset + size, page) - start;
    base = mmap(NULL, length, PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_NORESERVE, fd, start);
    if (base == MAP_FAILED) {
        error_setg_errno(errp, errno, "Cannot map %" PRIu64 " bytes of memory",
                         size);
        return NULL;
    }
    set_handler();
    m = g_new0(GuestMapping, 1);
    m->base = base;
    m->size = length;
    m->next = mappings;
    qatomic_store_release(&mappings, m);
    *host = (uint8_t *)base + (offset - start);
    return m;
}

void guest_mapping_free(GuestMapping *m)
{
    GuestMapping **p;

    if (!m) {
        return;
    }
    for (p = &mappings; *p != m; p = &(*p)->next) {
        /* it is there */
    }
    qatomic_set(p, m->next);
    /* A handler that is on its way through the list may be at @m. */
    smp_mb();
    while (qatomic_read(&walkers)) {
        sched_yield();
    }
    munmap(m->base, m->size);
    g_free(m);
}

static bool overlaps(uint64_t a, uint64_t b, uint64_t a_size, uint64_t b_size)
{
    return a < b ? b - a < a_size : a - b < b_size;
}

static bool check_region(const GuestMemory *mem, const GuestRegionInfo *info,
                         Error **errp)
{
    unsigned i;

    if (mem->n_regions == GUEST_MEMORY_MAX_REGIONS) {
        error_setg(errp, "There are more than %d regions of memory",
                   GUEST_MEMORY_MAX_REGIONS);
        return false;
    }
    if (!info->size || info->guest_addr > UINT64_MAX - info->size ||
        info->user_addr > UINT64_MAX - info->size) {
        error_setg(errp, "A region of memory at 0x%" PRIx64 " with %" PRIu64
                   " bytes is impossible", info->guest_addr, info->size);
        return false;
    }
    for (i = 0; i < mem->n_regions; i++) {
        const GuestRegionInfo *other = &mem->regions[i].info;

        if (overlaps(info->guest_addr, other->guest_addr, info->size,
                     other->size) ||
            overlaps(info->user_addr, other->user_addr, info->size,
                     other->size)) {
            error_setg(errp, "A region of memory at 0x%" PRIx64 " overlaps "
                       "the one at 0x%" PRIx64, info->guest_addr,
                       other->guest_addr);
            return false;
        }
    }
    return true;
}

bool guest_memory_add(GuestMemory *mem, const GuestRegionInfo *info, int fd,
                      Error **errp)
{
    GuestRegion *r = &mem->regions[mem->n_regions];

    if (!check_region(mem, info, errp)) {
        return false;
    }
    r->mapping = guest_mapping_new(fd, info->mmap_offset, info->size, &r->host,
                                   errp);
    if (!r->mapping) {
        return false;
    }
    r->info = *info;
    mem->n_regions++;
    return true;
}

bool guest_memory_remove(GuestMemory *mem, const GuestRegionInfo *info,
                         Error **errp)
{
    unsigned i;

    for (i = 0; i < mem->n_regions; i++) {
        GuestRegion *r = &mem->regions[i];

        if (r->info.guest_addr == info->guest_addr &&
            r->info.user_addr == info->user_addr &&
            r->info.size == info->size) {
            guest_mapping_free(r->mapping);
            *r = mem->regions[--mem->n_regions];
            return true;
        }
    }
    error_setg(errp, "There is no region of memory at 0x%" PRIx64 " with %"
               PRIu64 " bytes", info->guest_addr, info->size);
    return false;
}

void guest_memory_clear(GuestMemory *mem)
{
    while (mem->n_regions) {
        guest_mapping_free(mem->regions[--mem->n_regions].mapping);
    }
}

void *guest_memory_at(const GuestMemory *mem, uint64_t addr, uint64_t *len)
{
    unsigned i;

    for (i = 0; i < mem->n_regions; i++) {
        const GuestRegion *r = &mem->regions[i];
        uint64_t offset = addr - r->info.guest_addr;

        if (addr >= r->info.guest_addr && offset < r->info.size) {
            *len = MIN(*len, r->info.size - offset);
            return r->host + offset;
        }
    }
    return NULL;
}

void *guest_memory_user(const GuestMemory *mem, uint64_t addr, uint64_t len)
{
    unsigned i;

    for (i = 0; i < mem->n_regions; i++) {
        const GuestRegion *r = &mem->regions[i];
        uint64_t offset = addr - r->info.user_addr;

        if (addr >= r->info.user_addr && offset < r->info.size) {
            return len <= r->info.size - offset ? r->host + offset : NULL;
        }
    }
    return NULL;
}

bool guest_memory_lost(const GuestMemory *mem)
{
    unsigned i;

    for (i = 0; i < mem->n_regions; i++) {
        if (qatomic_read(&mem->regions[i].mapping->lost)) {
            return true;
        }
    }
    return false;
}
