/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory for requests that complete by callback.
 *
 * Freed requests stay with the thread that frees them, in a few lists by
 * size, each bounded; a request of a common size then costs no malloc().
 */
#include "qemu/osdep.h"
#include "qemu/aio.h"
#include "qemu/coroutine-tls.h"
#include "qemu/thread.h"

enum {
    AIOCB_GRANULE = 64,
    AIOCB_CLASSES = 4,          /* up to 256 bytes */
    AIOCB_KEEP = 128,           /* of each class */
};

typedef struct AiocbFree {
    struct AiocbFree *next;
} AiocbFree;

typedef struct {
    AiocbFree *free[AIOCB_CLASSES];
    unsigned count[AIOCB_CLASSES];
    Notifier thread_exit;
} AiocbCache;

QEMU_DEFINE_STATIC_CO_TLS(AiocbCache, cache)

static unsigned aiocb_class(size_t size)
{
#ifdef QEMU_SANITIZE_ADDRESS
    /* Leave the memory to the sanitizer, which finds uses after free. */
    return AIOCB_CLASSES;
#else
    return (size - 1) / AIOCB_GRANULE;
#endif
}

static void aiocb_thread_exit(Notifier *n, void *data)
{
    AiocbCache *cache = container_of(n, AiocbCache, thread_exit);
    unsigned i;

    for (i = 0; i < AIOCB_CLASSES; i++) {
        while (cache->free[i]) {
            AiocbFree *p = cache->free[i];

            cache->free[i] = p->next;
            g_free(p);
        }
        cache->count[i] = 0;
    }
    cache->thread_exit.notify = NULL;
}

static void *aiocb_alloc(size_t size)
{
    unsigned class = aiocb_class(size);
    AiocbCache *cache;
    AiocbFree *p;

    if (class >= AIOCB_CLASSES) {
        return g_malloc(size);
    }
    cache = get_ptr_cache();
    p = cache->free[class];
    if (!p) {
        return g_malloc((class + 1) * AIOCB_GRANULE);
    }
    cache->free[class] = p->next;
    cache->count[class]--;
    return p;
}

static void aiocb_free(void *ptr, size_t size)
{
    unsigned class = aiocb_class(size);
    AiocbCache *cache = get_ptr_cache();
    AiocbFree *p = ptr;

    if (class >= AIOCB_CLASSES || cache->count[class] >= AIOCB_KEEP) {
        g_free(ptr);
        return;
    }
    if (unlikely(!cache->thread_exit.notify)) {
        cache->thread_exit.notify = aiocb_thread_exit;
        qemu_thread_atexit_add(&cache->thread_exit);
    }
    p->next = cache->free[class];
    cache->free[class] = p;
    cache->count[class]++;
}

void *qemu_aio_get(const AIOCBInfo *aiocb_info, BlockCompletionFunc *cb,
                   void *opaque)
{
    BlockAIOCB *acb;

    assert(aiocb_info->aiocb_size >= sizeof(*acb));
    acb = aiocb_alloc(aiocb_info->aiocb_size);
    acb->aiocb_info = aiocb_info;
    acb->cb = cb;
    acb->opaque = opaque;
    return acb;
}

void qemu_aio_unref(void *p)
{
    BlockAIOCB *acb = p;

    aiocb_free(acb, acb->aiocb_info->aiocb_size);
}
