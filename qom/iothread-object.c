/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The object "iothread". */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "block/block.h"
#include "block/export.h"
#include "block/load.h"
#include "qapi/error.h"
#include "qom/objects.h"
#include "system/iothread.h"

static bool set_poll(IOThread *t, int64_t max_ns, int64_t grow,
                     int64_t shrink, Error **errp)
{
    return iothread_set_poll_params(t, max_ns, grow, shrink, errp);
}

static bool apply(IOThread *t, const IothreadProperties *p, Error **errp)
{
    if (!set_poll(t, p->has_poll_max_ns ? p->poll_max_ns : t->poll_max_ns,
                  p->has_poll_grow ? p->poll_grow : t->poll_grow,
                  p->has_poll_shrink ? p->poll_shrink : t->poll_shrink,
                  errp)) {
        return false;
    }
    if (p->has_poll_weight &&
        !iothread_set_poll_weight(t, p->poll_weight, errp)) {
        return false;
    }
    if (p->has_aio_max_batch &&
        !iothread_set_aio_max_batch(t, p->aio_max_batch, errp)) {
        return false;
    }
    return !(p->has_thread_pool_min || p->has_thread_pool_max) ||
           iothread_set_thread_pool_params(
               t, p->has_thread_pool_min ? p->thread_pool_min :
               t->thread_pool_min, p->has_thread_pool_max ?
               p->thread_pool_max : t->thread_pool_max, errp);
}

static void *create(const ObjectOptions *options, Error **errp)
{
    IOThread *t = iothread_create(options->id, errp);

    if (t && !apply(t, &options->u.iothread, errp)) {
        iothread_destroy(t);
        t = NULL;
    }
    return t;
}

static void destroy(void *object)
{
    iothread_destroy(object);
}

static bool can_be_deleted(void *object)
{
    AioContext *ctx = iothread_get_aio_context(object);

    return !blk_exp_uses_context(ctx) && !block_load_uses_context(ctx) &&
           bdrv_vacate_aio_context(ctx);
}

#define GET_INT(member)                                             \
    static struct json_object *get_##member(void *object)           \
    {                                                               \
        return json_object_new_int64(((IOThread *)object)->member); \
    }

GET_INT(poll_max_ns)
GET_INT(poll_grow)
GET_INT(poll_shrink)
GET_INT(poll_weight)
GET_INT(aio_max_batch)
GET_INT(thread_pool_min)
GET_INT(thread_pool_max)

static bool set_poll_max_ns(void *object, struct json_object *value,
                            Error **errp)
{
    IOThread *t = object;
    int64_t n;

    return property_to_int(value, "poll-max-ns", &n, errp) &&
           set_poll(t, n, t->poll_grow, t->poll_shrink, errp);
}

static bool set_poll_grow(void *object, struct json_object *value,
                          Error **errp)
{
    IOThread *t = object;
    int64_t n;

    return property_to_int(value, "poll-grow", &n, errp) &&
           set_poll(t, t->poll_max_ns, n, t->poll_shrink, errp);
}

static bool set_poll_shrink(void *object, struct json_object *value,
                            Error **errp)
{
    IOThread *t = object;
    int64_t n;

    return property_to_int(value, "poll-shrink", &n, errp) &&
           set_poll(t, t->poll_max_ns, t->poll_grow, n, errp);
}

static bool set_poll_weight(void *object, struct json_object *value,
                            Error **errp)
{
    int64_t n;

    return property_to_int(value, "poll-weight", &n, errp) &&
           iothread_set_poll_weight(object, n, errp);
}

static bool set_aio_max_batch(void *object, struct json_object *value,
                              Error **errp)
{
    int64_t n;

    return property_to_int(value, "aio-max-batch", &n, errp) &&
           iothread_set_aio_max_batch(object, n, errp);
}

static bool set_thread_pool_min(void *object, struct json_object *value,
                                Error **errp)
{
    IOThread *t = object;
    int64_t n;

    return property_to_int(value, "thread-pool-min", &n, errp) &&
           iothread_set_thread_pool_params(t, n, t->thread_pool_max, errp);
}

static bool set_thread_pool_max(void *object, struct json_object *value,
                                Error **errp)
{
    IOThread *t = object;
    int64_t n;

    return property_to_int(value, "thread-pool-max", &n, errp) &&
           iothread_set_thread_pool_params(t, t->thread_pool_min, n, errp);
}

static const ObjectProperty properties[] = {
    { "thread-pool-min", "int", get_thread_pool_min, set_thread_pool_min },
    { "aio-max-batch", "int", get_aio_max_batch, set_aio_max_batch },
    { "thread-pool-max", "int", get_thread_pool_max, set_thread_pool_max },
    { "poll-max-ns", "int", get_poll_max_ns, set_poll_max_ns },
    { "poll-grow", "int", get_poll_grow, set_poll_grow },
    { "poll-shrink", "int", get_poll_shrink, set_poll_shrink },
    { "poll-weight", "int", get_poll_weight, set_poll_weight },
    { NULL }
};

static const UserObjectType iothread_object_type = {
    .parent = "event-loop-base",
    .properties = properties,
    .create = create,
    .destroy = destroy,
    .can_be_deleted = can_be_deleted,
};

USER_OBJECT_TYPE(OBJECT_TYPE_IOTHREAD, iothread_object_type)
